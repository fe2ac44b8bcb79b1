"""Whether any density within bounds fits the data, decided before the problem is solved."""

from __future__ import annotations

import numpy as np

from skgrav._typing import Array, Mask

#: Iterations between two checks, and their largest number.
_CHECK, _MAX_ITER = 10, 500

#: An infinite bound counts as this many times the largest density so far.
_OPEN = 10.0

#: A misfit is out of reach if the least misfit exceeds it by this share.
_BEYOND = 1e-3


def least_misfit(
    matrix: Array, d: Array, lower: float | Array, upper: float | Array, enough: Array
) -> tuple[Array, Array, Array]:
    """Minimise the misfit within bounds until it is small enough, or shown to be out of reach.

    Projected gradients with momentum, restarted where the misfit rises [1]_, for a matrix (n_data,
    n_cells), data (n_samples, n_data) and norms of the misfit to be reached, (n_samples,). Returns
    densities within bounds, the norms of their misfits, and lower bounds of these norms.

    References
    ----------
    .. [1] O'Donoghue and Candes (2015), Adaptive restart for accelerated gradient schemes,
       Foundations of Computational Mathematics 15.
    """
    # Columns are scaled to equal norm, since deep cells would hardly change otherwise.
    norms = np.linalg.norm(matrix, axis=0)
    scale = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
    scaled = matrix * scale
    with np.errstate(divide="ignore", invalid="ignore"):  # without sensitivity bounds are unscaled
        low, high = (np.where(scale > 0, b / scale, b) for b in (lower, upper))
    step = 1.0 / (1.05 * largest_square(scaled))
    u = np.tile(np.clip(0.0, low, high), (len(d), 1))
    misfit, least = np.zeros((2, len(d)))
    last = np.full(len(d), np.inf)
    ahead, momentum = u.copy(), np.ones(len(d))
    i = np.arange(len(d))
    for iteration in range(_MAX_ITER + 1):
        if iteration % _CHECK == 0:
            residual = d[i] - u[i] @ scaled.T
            misfit[i] = np.linalg.norm(residual, axis=1)
            if iteration:  # the bound needs the size of densities where bounds are infinite
                least[i] = misfit_bound(residual @ scaled, d[i], residual, u[i], low, high)
            momentum[i[misfit[i] > last[i]]] = 1.0
            last[i] = misfit[i]
            i = i[(misfit[i] > enough[i]) & (least[i] <= (1 + _BEYOND) * enough[i])]
            if not i.size:
                break
        gradient = (d[i] - ahead[i] @ scaled.T) @ scaled
        new = np.clip(ahead[i] + step * gradient, low, high)
        following = (1 + np.sqrt(1 + 4 * momentum[i] ** 2)) / 2
        weight = (momentum[i] - 1) / following
        ahead[i] = new + weight[:, None] * (new - u[i])
        u[i], momentum[i] = new, following
    return np.clip(u * scale, lower, upper), misfit, least


def misfit_bound(
    slope: Array, d: Array, residual: Array, rho: Array, lower: float | Array, upper: float | Array
) -> Array:
    """Return lower bounds of the norm of the misfit over densities within bounds, (n_samples,).

    `slope` is the product of the residual with the matrix, (n_samples, n_cells).

    By duality: along any direction r, misfits have at least the component ``r d - max(r A rho)``,
    where the maximum over the bounds is a sum over cells. The direction of the residual at the
    minimiser makes this exact.
    """
    # With infinite bounds the maximum is infinite, so densities are limited to _OPEN times the
    # largest one.
    finite = [np.abs(b[np.isfinite(b)]).max(initial=0.0) for b in map(np.asarray, (lower, upper))]
    far = _OPEN * np.maximum(np.abs(rho).max(axis=1), max(finite))[:, None]
    low, high = np.maximum(lower, -far), np.minimum(upper, far)
    largest = np.sum(np.where(slope > 0, slope * high, slope * low), axis=1)
    size = np.linalg.norm(residual, axis=1)
    along = np.sum(residual * d, axis=1) - largest
    return np.maximum(np.divide(along, size, out=np.zeros_like(size), where=size > 0), 0.0)


def out_of_reach(least: Array, radius: Array) -> Mask:
    """Return where the least misfit within bounds exceeds the one to be reached."""
    beyond: Mask = least > (1 + _BEYOND) * radius
    return beyond


def largest_square(matrix: Array) -> float:
    """Return the largest squared singular value by power iteration, from a fixed start."""
    v = np.random.default_rng(0).standard_normal(len(matrix))
    for _ in range(30):
        v /= np.linalg.norm(v) or 1.0
        v = matrix @ (v @ matrix)
    return float(np.linalg.norm(v)) or 1.0
