"""Whether densities within bounds can fit data at all, found out before a problem is solved."""

from __future__ import annotations

import numpy as np

from skgrav._typing import Array, Mask

#: Iterations between two looks at what is decided, and their largest number.
_LOOK, _MAX_ITER = 10, 500

#: Bounds that are open count as this many times the largest density so far.
_OPEN = 10.0

#: A misfit is out of reach where the least exceeds it by this share.
_BEYOND = 1e-3


def least_misfit(
    matrix: Array, d: Array, lower: float | Array, upper: float | Array, enough: Array
) -> tuple[Array, Array, Array]:
    """Minimise the misfit within bounds until it is decided whether it can be small enough.

    Projected gradients with momentum, restarted where the misfit rises [1]_. They stop where a
    sample fits, or where no density within the bounds can make it fit.

    Parameters
    ----------
    matrix : ndarray of shape (n_data, n_cells)
        Maps densities to data.
    d : ndarray of shape (n_samples, n_data)
        Data.
    lower, upper : float or ndarray of shape (n_cells,)
        Bounds of densities.
    enough : ndarray of shape (n_samples,)
        Norm of the misfit that is asked for.

    Returns
    -------
    rho : ndarray of shape (n_samples, n_cells)
        Densities within bounds.
    misfit : ndarray of shape (n_samples,)
        Norms of their misfits.
    least : ndarray of shape (n_samples,)
        Norms that no misfit within bounds falls below.

    References
    ----------
    .. [1] O'Donoghue and Candes (2015), Adaptive restart for accelerated gradient schemes,
       Foundations of Computational Mathematics 15.
    """
    # Columns of equal norm, since deep cells would hardly move otherwise.
    norms = np.linalg.norm(matrix, axis=0)
    scale = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
    scaled, low, high = matrix * scale, *_divided(lower, upper, scale)
    step = 1.0 / (1.05 * largest_square(scaled))
    u = np.tile(np.clip(0.0, low, high), (len(d), 1))
    misfit, least = np.zeros((2, len(d)))
    last = np.full(len(d), np.inf)
    ahead, momentum = u.copy(), np.ones(len(d))
    i = np.arange(len(d))
    for iteration in range(_MAX_ITER + 1):
        if iteration % _LOOK == 0:
            residual = d[i] - u[i] @ scaled.T
            misfit[i] = np.linalg.norm(residual, axis=1)
            # Nothing is known of how large densities may become before the first steps.
            if iteration:
                least[i] = misfit_bound(scaled, d[i], residual, u[i], low, high)
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
    matrix: Array,
    d: Array,
    residual: Array,
    rho: Array,
    lower: float | Array,
    upper: float | Array,
) -> Array:
    """Return norms that no misfit of densities within bounds falls below, (n_samples,).

    Along any direction r the misfit of each density has at least the component
    ``r d - max(r A rho)``, with the maximum over the bounds, a sum over cells. At the minimiser
    the direction of its own residual makes this exact, which is how a dual proves it optimal.
    """
    slope = residual @ matrix
    # Open bounds leave no bound at all; densities far beyond those at hand are out of question.
    finite = [np.abs(b[np.isfinite(b)]).max(initial=0.0) for b in map(np.asarray, (lower, upper))]
    far = _OPEN * np.maximum(np.abs(rho).max(axis=1), max(finite))[:, None]
    low, high = np.maximum(lower, -far), np.minimum(upper, far)
    largest = np.sum(np.where(slope > 0, slope * high, slope * low), axis=1)
    size = np.linalg.norm(residual, axis=1)
    along = np.sum(residual * d, axis=1) - largest
    return np.maximum(np.divide(along, size, out=np.zeros_like(size), where=size > 0), 0.0)


def out_of_reach(least: Array, radius: Array) -> Mask:
    """Return where the least misfit within bounds exceeds the one that is asked for."""
    beyond: Mask = least > (1 + _BEYOND) * radius
    return beyond


def _divided(lower: float | Array, upper: float | Array, scale: Array) -> tuple[Array, Array]:
    """Return bounds of scaled densities; cells that no datum sees stay at zero, or next to it."""
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = (np.where(scale > 0, b / scale, b) for b in (lower, upper))
    return low, high


def largest_square(matrix: Array, n_iter: int = 30) -> float:
    """Return the largest squared singular value by power iteration, from a fixed start."""
    v = np.random.default_rng(0).standard_normal(len(matrix))
    for _ in range(n_iter):
        v /= np.linalg.norm(v) or 1.0
        v = matrix @ (v @ matrix)
    return float(np.linalg.norm(v)) or 1.0
