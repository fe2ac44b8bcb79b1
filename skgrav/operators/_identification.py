"""Whether an operator reproduces the gravity of training pairs, and which one does."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from math import isqrt

import numpy as np
from sklearn.base import clone

from skgrav._checks import check_array
from skgrav._typing import Array
from skgrav.noise import Noise
from skgrav.operators._base import BaseOperator
from skgrav.operators._forward import ForwardOperator
from skgrav.operators._geometry import PhysicsWarning
from skgrav.operators._matrix import MatrixOperator

#: At most this many pairs are compared, and at most five times as many identify an operator.
_N_CHECKED = 1000

#: Relative misfit up to which an operator counts as reproducing noise-free pairs.
_TOLERANCE = 1e-3

#: Relative misfit from which on an operator is no explanation of the pairs.
_REFUSED = 0.5

#: Numbers below which residuals do not tell whether they are noise, and the standard deviations
#: by which the correlation of noise may differ from none.
_N_NUMBERS, _CHANCE = 1000, 4.0


def resolve_operator(
    operator: BaseOperator | None,
    rho: Array,
    g: Array,
    *,
    noise_level: float | None = None,
    offset: bool = False,
    if_noise: str = "give 'noise_level'",
) -> BaseOperator:
    """Return a fitted operator that reproduces training pairs, or say why there is none.

    Parameters
    ----------
    operator : ForwardOperator, MatrixOperator or None
        The operator to check. None tries the paper's geometry for these sizes, and identifies
        the operator from the pairs by ridge regression where that does not reproduce them.
    rho : ndarray of shape (n_samples, n_cells)
        Training densities.
    g : ndarray of shape (n_samples, n_data)
        Training gravity, component-major.
    noise_level : float, default=None
        Relative noise of the training gravity, if known. Where it isn't, a misfit without
        correlation between stations counts as noise.
    offset : bool, default=False
        Whether an identified operator may leave a constant part of the gravity, the same for all
        pairs, unexplained.
    if_noise : str, default="give 'noise_level'"
        What a warning advises where the misfit may be noise.

    Returns
    -------
    operator : BaseOperator
        A fitted clone of `operator`, the default one, or an identified one.

    Raises
    ------
    ValueError
        If the given operator has other sizes than the pairs, or leaves more than half of the
        training gravity unexplained.

    Warns
    -----
    PhysicsWarning
        If the operator was identified, or reproduces the pairs less well than their noise.

    See Also
    --------
    skgrav.inverters.Refiner : Resolves its operator so.

    Examples
    --------
    >>> from skgrav.datasets import make_gravity_dataset
    >>> from skgrav.operators import resolve_operator
    >>> data = make_gravity_dataset(n_samples=10, random_state=0)
    >>> resolve_operator(None, data.target, data.data)
    ForwardOperator(units='normalized')
    """
    rho, g = check_array(rho, "rho"), check_array(g, "g")
    if len(rho) != len(g):
        raise ValueError(f"'g' has {len(g)} samples, but 'rho' has {len(rho)}; give pairs.")
    if operator is not None:
        return _checked(operator, rho, g, noise_level, if_noise)
    held_out = np.linspace(0, len(rho) - 1, min(len(rho), _N_CHECKED)).astype(int)
    candidates = [c.fit(rho[:1]) for c in _default_operators(rho.shape[1], g.shape[1])]
    if candidates:
        errors = [relative_misfit(c, rho[held_out], g[held_out]) for c in candidates]
        best = int(np.argmin(errors))
        residual = g[held_out] - candidates[best].transform(rho[held_out])
        if _tolerable(errors[best], residual, noise_level):
            return candidates[best]
    rho, g = rho[: 6 * _N_CHECKED], g[: 6 * _N_CHECKED]
    centres = (rho.mean(axis=0), g.mean(axis=0)) if offset and len(rho) > 1 else (0.0, 0.0)
    found = _identified(rho - centres[0], g - centres[1], candidates, if_noise)
    if isinstance(found, MatrixOperator) and (norm := np.linalg.norm(g)) > 0:
        found.held_out_error_ *= float(np.linalg.norm(g - centres[1]) / norm)
    return found


def operator_of_data(operator: BaseOperator | None, n_data: int) -> BaseOperator:
    """Return a fitted operator for data of which no densities are known.

    Parameters
    ----------
    operator : ForwardOperator, MatrixOperator or None
        The operator. None, and a ForwardOperator without mesh and survey, take the paper's
        geometry if the number of data is one of its own.
    n_data : int
        Number of data.

    Returns
    -------
    operator : BaseOperator
        A fitted clone of `operator`, or the paper's in normalised units.

    Raises
    ------
    ValueError
        If the operator has another number of data, or its cells cannot be told.

    Warns
    -----
    PhysicsWarning
        If `operator` is None: nothing tells whether the paper's geometry is the right one.
    """
    n, incomplete = divmod(n_data, 6)
    papers = operator is None or (
        isinstance(operator, ForwardOperator) and operator.mesh is None and operator.survey is None
    )
    if papers and (incomplete or not n):
        raise ValueError(
            f"'operator' is {operator!r} and y is None, but {n_data} data are not the 6n of the "
            "paper's geometry. Give 'operator' with its mesh and survey, or densities as y."
        )
    if operator is None:
        warnings.warn(
            f"'operator' and y are None: the paper's geometry of {n} x {n} cells in normalised "
            "units is assumed. Give 'operator' to be sure.",
            PhysicsWarning,
            stacklevel=3,
        )
        operator = ForwardOperator(units="normalized")
    matrix = getattr(operator, "matrix", None)
    if papers:
        fitted = clone(operator).fit(np.zeros((1, n * n)))
    elif matrix is not None:
        fitted = clone(operator).fit(np.zeros((1, np.shape(matrix)[-1])))
    elif getattr(operator, "mesh", None) is not None:
        fitted = clone(operator).fit()
    else:
        raise ValueError(
            f"'operator' is {operator!r}, which does not tell its cells, and y is None. Give its "
            "mesh or matrix, or densities as y."
        )
    if fitted.n_data_ != n_data:
        raise ValueError(
            f"'operator' has {fitted.n_data_} data, but X has {n_data}. Give the operator of the "
            "survey that measured X."
        )
    return fitted


def relative_misfit(operator: BaseOperator, rho: Array, g: Array) -> float:
    """Return ``||A rho - g|| / ||g||`` over all pairs without their trend, 0 if both are zero."""
    detrended = Noise.of(operator).whitening.detrended
    norm = np.linalg.norm(detrended(g))
    misfit = np.linalg.norm(detrended(operator.transform(rho) - g))
    return float(misfit / norm) if norm > 0 else float(misfit > 0)


def _tolerable(misfit: float, residual: Array, noise_level: float | None) -> bool:
    """Tell whether rounding or noise, known or apparent, explains a misfit."""
    if misfit <= max(_TOLERANCE, 2 * (noise_level or 0.0)):
        return True
    return noise_level is None and misfit <= _REFUSED and _looks_like_noise(residual)


def _looks_like_noise(residual: Array) -> bool:
    """Tell whether residuals are as little correlated, between any data, as white noise is.

    Wrong physics leaves what is smooth along the line, or the same in many samples. Sums of
    squared correlations show both (Schott, 2005), and that of neighbours shows it in few samples.
    """
    n, m = residual.shape
    if residual.size < _N_NUMBERS or m < 2:
        return False
    for axis in (1, 0):  # samples may differ in their noise, and data, too
        rms = np.sqrt(np.mean(residual**2, axis=axis, keepdims=True))
        residual = np.divide(residual, rms, out=np.zeros_like(residual), where=rms > 0)
    neighbours = residual[:, 1:] * residual[:, :-1]
    covariance = residual.T @ residual / n
    apart2 = np.sum(covariance**2) - np.sum(np.diag(covariance) ** 2)
    excess = (n * apart2 / 2 - m * (m - 1) / 2) / np.sqrt(m * (m - 1))
    return bool(abs(neighbours.mean()) * np.sqrt(neighbours.size) < _CHANCE and excess < _CHANCE)


def _default_operators(n_cells: int, n_data: int) -> Iterator[ForwardOperator]:
    """Yield the operators of the paper's geometry, if the sizes are its own."""
    n = isqrt(n_cells)
    if n * n == n_cells and n_data == 6 * n:
        for units in ("normalized", "mGal"):
            for kernel in ("cell", "point"):
                yield ForwardOperator(kernel=kernel, units=units)


def _checked(
    operator: BaseOperator, rho: Array, g: Array, noise_level: float | None, if_noise: str
) -> BaseOperator:
    fitted = clone(operator).fit(rho, g)
    if fitted.n_data_ != g.shape[1]:
        raise ValueError(
            f"'operator' maps {fitted.n_cells_} cells to {fitted.n_data_} data, but the training "
            f"pairs have {rho.shape[1]} cells and {g.shape[1]} data. Give the operator of the "
            "survey that measured X."
        )
    rows = np.linspace(0, len(rho) - 1, min(len(rho), _N_CHECKED)).astype(int)
    rho, g = rho[rows], g[rows]
    misfit = relative_misfit(fitted, rho, g)
    residual = Noise.of(fitted).whitening.detrended(g - fitted.transform(rho))
    if not _tolerable(misfit, residual, noise_level):
        message = (
            f"'operator' does not reproduce X from y: relative misfit {misfit:.2g} over "
            f"{len(rows)} training pairs. {_diagnosis(fitted, rho, g, if_noise)}"
        )
        if misfit > _REFUSED:
            raise ValueError(message)
        warnings.warn(message, PhysicsWarning, stacklevel=4)
    return fitted


def _diagnosis(operator: BaseOperator, rho: Array, g: Array, if_noise: str) -> str:
    """Name the usual mistake that would explain the misfit."""
    detrended = Noise.of(operator).whitening.detrended
    g, predicted = detrended(g), detrended(operator.transform(rho))
    # Noise is left by the right advice as well, but not most of what the wrong physics leaves.
    limit = float(min(0.1 * np.linalg.norm(g), 0.5 * np.linalg.norm(predicted - g)))
    if isinstance(operator, ForwardOperator):
        names, shape = operator.survey_.components, operator.mesh_.shape
        images = rho.reshape(-1, *shape)
        gravities = {
            f"The components of X are in reverse order: the operator has {names}.": (
                g.reshape(len(g), len(names), -1)[:, ::-1]
            ),
            "X is station-major: it must hold all stations of one component, then the next.": (
                g.reshape(len(g), -1, len(names)).swapaxes(1, 2)
            ),
            "The sign of X is reversed: gz is positive toward a positive mass below.": -g,
        }
        densities = {
            "y is upside down: the top layer comes first, z is positive down.": images[:, ::-1],
            "y is mirrored: x must increase along each layer.": images[..., ::-1],
            "y is transposed: flatten each section (nz, nx) in C order.": (
                rho.reshape(-1, *shape[::-1]).swapaxes(1, -1)
            ),
        }
        for advice, other in gravities.items():
            if _explains(predicted, other.reshape(g.shape), limit):
                return advice
        for advice, other in densities.items():
            if _explains(detrended(operator.transform(other.reshape(rho.shape))), g, limit):
                return advice
    scale = np.sum(predicted * g) / (np.sum(predicted**2) or 1.0)
    if _explains(scale * predicted, g, limit):
        return f"X is {scale:.4g} times the operator's gravity: check the 'units' of both."
    return f"Check mesh, survey and units; if this is noise, {if_noise}."


def _explains(predicted: Array, g: Array, limit: float) -> bool:
    return bool(np.linalg.norm(predicted - g) <= limit)


def _identified(
    rho: Array, g: Array, defaults: list[ForwardOperator], if_noise: str
) -> BaseOperator:
    """Identify the operator, unless a default one predicts held-out gravity at least as well."""
    n_test = min(max(1, len(rho) // 5), _N_CHECKED)
    train, test = slice(n_test, n_test + 5 * _N_CHECKED), slice(0, n_test)
    if len(rho) < 2:
        train = test
    identified = MatrixOperator().fit(rho[train], g[train])
    fitted = [identified, *defaults]
    errors = [relative_misfit(operator, rho[test], g[test]) for operator in fitted]
    best = int(np.argmin(errors))
    if best:
        message = (
            f"'operator' is None and the paper's geometry reproduces X from y only to a relative "
            f"misfit of {errors[best]:.2g}, better than any linear map that the pairs themselves "
            f"tell: what remains is taken as noise. Give 'operator', or {if_noise}."
        )
    else:
        message = (
            f"'operator' is None and the paper's geometry does not fit these pairs: the operator "
            f"was identified from {len(rho[train])} of them by ridge regression, with a relative "
            f"error of {errors[0]:.2g} on held-out pairs. Give 'operator' to use exact physics."
        )
    warnings.warn(message, PhysicsWarning, stacklevel=4)
    residual = g[test] - identified.transform(rho[test])
    identified.held_out_error_ = 0.0 if _looks_like_noise(residual) else errors[0]
    return fitted[best]
