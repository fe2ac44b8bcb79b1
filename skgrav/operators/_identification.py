"""Checking an operator against training pairs, and identifying one from them."""

from __future__ import annotations

from collections.abc import Iterator
from math import isqrt
from typing import Literal

import numpy as np
from sklearn.base import clone

from skgrav._checks import check_array
from skgrav._constraints import checked
from skgrav._typing import Array, Indices
from skgrav._warnings import warn
from skgrav.geometry import Mesh
from skgrav.noise import Noise
from skgrav.operators._base import BaseOperator
from skgrav.operators._forward import ForwardOperator
from skgrav.operators._geometry import PhysicsWarning
from skgrav.operators._joint import JointOperator
from skgrav.operators._matrix import MatrixOperator

#: Largest number of pairs to compare; five times as many identify an operator.
N_CHECKED = 1000

#: Relative misfit up to which an operator reproduces noise-free pairs.
_TOLERANCE = 1e-3

#: Relative misfit above which an operator is refused.
_REFUSED = 0.5

#: Smallest number of residuals to be tested for whiteness, and the critical value of the test in
#: standard deviations.
_N_RESIDUALS, _CRITICAL = 1000, 4.0


@checked(operator=[BaseOperator, None])
def resolve_operator(
    operator: BaseOperator | None,
    rho: Array,
    g: Array,
    *,
    noise_level: float | Literal["auto"] | None = None,
    offset: bool = False,
    if_noise: str = "give 'noise_level'",
) -> BaseOperator:
    """Return a fitted operator that reproduces training pairs.

    Parameters
    ----------
    operator : ForwardOperator, MatrixOperator or None
        The operator to check. None tries the paper's geometry for these sizes and, if that does
        not reproduce the pairs, identifies the operator by ridge regression.
    rho : ndarray of shape (n_samples, n_cells)
        Training densities.
    g : ndarray of shape (n_samples, n_data)
        Training gravity, component-major.
    noise_level : float or "auto", default=None
        Relative noise of the training gravity; None takes the uncertainty of the operator's survey.
        If it is not known, a misfit without correlation between data counts as noise.
    offset : bool, default=False
        Whether an identified operator may have an intercept, a gravity common to all pairs.
    if_noise : str, default="give 'noise_level'"
        Advice in warnings for a misfit that may be noise.

    Returns
    -------
    operator : BaseOperator
        A fitted clone of `operator`, the default one, or an identified one.

    Raises
    ------
    ValueError
        If the sizes of the given operator do not match the pairs, or its relative misfit is above
        0.5.

    Warns
    -----
    PhysicsWarning
        If the operator was identified, or its misfit exceeds the noise of the pairs.

    See Also
    --------
    skgrav.inverters.Refiner : Resolves its operator in this way.

    Examples
    --------
    >>> from skgrav.datasets import make_gravity_dataset
    >>> from skgrav.operators import resolve_operator
    >>> data = make_gravity_dataset(n_samples=10, random_state=0)
    >>> resolve_operator(None, data.target, data.data)
    ForwardOperator(units='normalized')
    """
    # Large sets of volumes stay in single precision; only the compared pairs are converted.
    rho = check_array(rho, "rho", dtype=(np.float64, np.float32))
    g = check_array(g, "g")
    if len(rho) != len(g):
        raise ValueError(f"'g' has {len(g)} samples, but 'rho' has {len(rho)}; give pairs.")
    if operator is not None:
        return _checked(operator, rho, g, noise_level, if_noise)
    level = Noise.of(None, noise_level, n_data=g.shape[1]).relative(g)
    defaults = [c.fit(rho[:1]) for c in _default_operators(rho.shape[1], g.shape[1])]
    if defaults:
        some = _evenly_chosen(len(rho))
        misfits = [relative_misfit(c, rho[some], g[some]) for c in defaults]
        best = int(np.argmin(misfits))
        residual = g[some] - defaults[best].transform(rho[some])
        if _tolerable(misfits[best], residual, level):
            return defaults[best]
    rho, g = rho[: 6 * N_CHECKED], g[: 6 * N_CHECKED]
    means = (rho.mean(axis=0), g.mean(axis=0)) if offset and len(rho) > 1 else (0.0, 0.0)
    found = _identified(rho - means[0], g - means[1], defaults, if_noise)
    if isinstance(found, MatrixOperator) and (norm := np.linalg.norm(g)) > 0:
        found.held_out_error_ *= float(np.linalg.norm(g - means[1]) / norm)
    return found


def _evenly_chosen(n_samples: int) -> Indices:
    return np.linspace(0, n_samples - 1, min(n_samples, N_CHECKED)).astype(np.intp)


def operator_of_data(operator: BaseOperator | None, n_data: int) -> BaseOperator:
    """Return a fitted operator for data without known densities.

    None, and a ForwardOperator without mesh and survey, take the paper's geometry if the number of
    data is a multiple of 6; None with a PhysicsWarning, since there are no densities to check it.
    """
    n, remainder = divmod(n_data, 6)
    papers = operator is None or (
        isinstance(operator, ForwardOperator) and operator.mesh is None and operator.survey is None
    )
    if papers and (remainder or not n):
        raise ValueError(
            f"'operator' is {operator!r} and y is None, but {n_data} data are not the 6n of the "
            "paper's geometry. Give 'operator' with its mesh and survey, or densities as y."
        )
    if operator is None:
        warn(
            f"'operator' and y are None: the paper's geometry of {n} x {n} cells in normalised "
            "units is assumed. Give 'operator' to be sure.",
            PhysicsWarning,
        )
        operator = ForwardOperator(units="normalized")
    matrix = getattr(operator, "matrix", None)
    if papers:
        fitted = clone(operator).fit(np.zeros((1, n * n)))
    elif matrix is not None:
        fitted = clone(operator).fit(np.zeros((1, np.shape(matrix)[-1])))
    elif isinstance(operator, JointOperator) or getattr(operator, "mesh", None) is not None:
        fitted = clone(operator).fit()
    else:
        raise ValueError(
            f"'operator' is {operator!r}, whose cells are unknown, and y is None. Give its mesh or "
            "matrix, or densities as y."
        )
    if fitted.n_data_ != n_data:
        raise ValueError(
            f"'operator' has {fitted.n_data_} data, but X has {n_data}. Give the operator of the "
            "survey that measured X."
        )
    return fitted


def relative_misfit(operator: BaseOperator, rho: Array, g: Array) -> float:
    """Return ``||A rho - g|| / ||g||`` over all pairs without their trend, 0 if both are zero."""
    comparable = Noise.of(operator).comparable
    norm = np.linalg.norm(comparable(g))
    misfit = np.linalg.norm(comparable(operator.transform(rho) - g))
    return float(misfit / norm) if norm > 0 else float(misfit > 0)


def _tolerable(misfit: float, residual: Array, noise_level: float | None) -> bool:
    """Return whether rounding or noise, stated or apparent, explains a misfit."""
    if misfit <= max(_TOLERANCE, 2 * (noise_level or 0.0)):
        return True
    return noise_level is None and misfit <= _REFUSED and _looks_like_noise(residual)


def _looks_like_noise(residual: Array) -> bool:
    """Return whether residuals are uncorrelated between data, as white noise is.

    Residuals of a wrong operator are smooth along the line, or similar in many samples. The sum of
    squared correlations detects both (Schott, 2005), that of neighbours also in few samples.
    """
    n, m = residual.shape
    if residual.size < _N_RESIDUALS or m < 2:
        return False
    for axis in (1, 0):  # the noise may vary between samples and between data
        rms = np.sqrt(np.mean(residual**2, axis=axis, keepdims=True))
        residual = np.divide(residual, rms, out=np.zeros_like(residual), where=rms > 0)
    neighbours = residual[:, 1:] * residual[:, :-1]
    covariance = residual.T @ residual / n
    apart2 = np.sum(covariance**2) - np.sum(np.diag(covariance) ** 2)
    # For white noise n times the sum over pairs of data has mean m (m - 1) / 2, variance m (m - 1).
    excess = (n * apart2 / 2 - m * (m - 1) / 2) / np.sqrt(m * (m - 1))
    return bool(max(abs(neighbours.mean()) * np.sqrt(neighbours.size), excess) < _CRITICAL)


def _default_operators(n_cells: int, n_data: int) -> Iterator[ForwardOperator]:
    """Yield the operators of the paper's geometry, if the sizes are its own."""
    n = isqrt(n_cells)
    if n * n == n_cells and n_data == 6 * n:
        for units in ("normalized", "mGal"):
            for kernel in ("cell", "point"):
                yield ForwardOperator(kernel=kernel, units=units)


def _checked(
    operator: BaseOperator,
    rho: Array,
    g: Array,
    noise_level: float | Literal["auto"] | None,
    if_noise: str,
) -> BaseOperator:
    some = _evenly_chosen(len(rho)) if isinstance(operator, ForwardOperator) else slice(None)
    fitted = clone(operator).fit(rho[some], g[some])
    if fitted.n_data_ != g.shape[1]:
        raise ValueError(
            f"'operator' maps {fitted.n_cells_} cells to {fitted.n_data_} data, but the training "
            f"pairs have {rho.shape[1]} cells and {g.shape[1]} data. Give the operator of the "
            "survey that measured X."
        )
    check_pairs(fitted, rho, g, noise_level, if_noise)
    return fitted


def check_pairs(
    operator: BaseOperator,
    rho: Array,
    g: Array,
    noise_level: float | Literal["auto"] | None = None,
    if_noise: str = "give 'noise_level'",
) -> None:
    """Warn or raise ValueError if a fitted operator does not reproduce pairs."""
    Noise.of(operator, noise_level)  # refuses a level that does not suit the data
    # Part by part, since a small part of other units would not show in the misfit of all data.
    for i, (part, data) in enumerate(operator.parts_):
        which = "'operator'"
        if part is not operator:
            which = f"part {i} of 'operator', a {type(part).__name__},"
        level = Noise.of(part, noise_level).relative(g[:, data])
        if unexplained := getattr(part, "held_out_error_", 0.0):  # of an identified matrix
            level = max(level or 0.0, unexplained)
        _check_part(part, which, rho, g[:, data], level, if_noise)


def _check_part(
    operator: BaseOperator, which: str, rho: Array, g: Array, level: float | None, if_noise: str
) -> None:
    """Warn or raise ValueError if an operator does not reproduce its data of training pairs."""
    some = _evenly_chosen(len(rho))
    rho, g = rho[some], g[some]
    misfit = relative_misfit(operator, rho, g)
    residual = Noise.of(operator).whitening.detrended(g - operator.transform(rho))
    if _tolerable(misfit, residual, level):
        return
    message = (
        f"{which} does not reproduce X from y: relative misfit {misfit:.2g} over "
        f"{len(rho)} training pairs. {_diagnosis(operator, rho, g, if_noise)}"
    )
    if misfit > _REFUSED:
        raise ValueError(message)
    warn(message, PhysicsWarning)


def _diagnosis(operator: BaseOperator, rho: Array, g: Array, if_noise: str) -> str:
    """Return advice for the usual mistake that would explain the misfit."""
    detrended = Noise.of(operator).comparable
    g, predicted = detrended(g), detrended(operator.transform(rho))
    # Correcting the mistake leaves noise, but must remove most of the misfit.
    limit = float(min(0.1 * np.linalg.norm(g), 0.5 * np.linalg.norm(predicted - g)))
    if isinstance(operator, ForwardOperator):
        names, mesh = operator.survey_.components, operator.mesh_
        gravities = {
            f"The components of X are in reverse order: the operator has {names}.": (
                g.reshape(len(g), len(names), -1)[:, ::-1]
            ),
            "X is station-major: all stations of one component come first, then the next.": (
                g.reshape(len(g), -1, len(names)).swapaxes(1, 2)
            ),
            "The sign of X is reversed: gz is positive toward a positive mass below.": -g,
        }
        for advice, other in gravities.items():
            if _explains(predicted, other.reshape(g.shape), limit):
                return advice
        for advice, other in _other_orders(mesh, rho):
            if _explains(detrended(operator.transform(other)), g, limit):
                return advice
    # The factor of least squares reveals other units, 1000 for g/cm3 or 1e-5 for m/s2.
    scale = np.sum(predicted * g) / (np.sum(predicted**2) or 1.0)
    if _explains(scale * predicted, g, limit):
        return f"X is {scale:.4g} times the operator's gravity: check the 'units' of both."
    return f"Check mesh, survey and units; if this is noise, {if_noise}."


def _other_orders(mesh: Mesh, rho: Array) -> Iterator[tuple[str, Array]]:
    """Yield advice and densities for each order in which cells may have been given."""
    images = mesh.unflatten(rho)
    flipped = {
        "y is upside down: the top layer comes first, z is positive down.": images[:, ::-1],
        "y is mirrored: x must increase along each layer.": images[..., ::-1],
    }
    for advice, other in flipped.items():
        values = mesh.flatten(other)
        if not np.isnan(values).any():  # else the active cells lie otherwise after flipping
            yield advice, values
    if mesh.active is None:
        transposed = rho.reshape(-1, *mesh.shape[::-1]).swapaxes(1, -1)
        advice = "y is transposed: flatten each section (nz, nx) in C order."
        yield advice, transposed.reshape(rho.shape)


def _explains(predicted: Array, g: Array, limit: float) -> bool:
    return bool(np.linalg.norm(predicted - g) <= limit)


def _identified(
    rho: Array, g: Array, defaults: list[ForwardOperator], if_noise: str
) -> BaseOperator:
    """Identify the operator, unless a default one predicts held-out gravity at least as well."""
    n_test = min(max(1, len(rho) // 5), N_CHECKED)
    train, test = slice(n_test, n_test + 5 * N_CHECKED), slice(0, n_test)
    if len(rho) < 2:
        train = test
    identified = MatrixOperator().fit(rho[train], g[train])
    fitted = [identified, *defaults]
    errors = [relative_misfit(operator, rho[test], g[test]) for operator in fitted]
    # Gravity of 0, as of a default in other units, has a misfit of 1, too.
    best = min((i for i, e in enumerate(errors) if not i or e <= _REFUSED), key=errors.__getitem__)
    if best:
        message = (
            f"'operator' is None and the paper's geometry reproduces X from y only to a relative "
            f"misfit of {errors[best]:.2g}, better than a linear map identified from the pairs: "
            f"the residuals are taken as noise. Give 'operator', or {if_noise}."
        )
    else:
        message = (
            f"'operator' is None and the paper's geometry does not fit these pairs: the operator "
            f"was identified from {len(rho[train])} of them by ridge regression, with a relative "
            f"error of {errors[0]:.2g} on held-out pairs. Give 'operator' to use exact physics."
        )
        if errors[0] > _REFUSED:
            message += (
                " That explains little of X: check that X and y are pairs in the same order, and "
                "that neither was scaled."
            )
    warn(message, PhysicsWarning)
    # Noise of the pairs is not an error of the operator.
    residual = g[test] - identified.transform(rho[test])
    identified.held_out_error_ = 0.0 if _looks_like_noise(residual) else errors[0]
    return fitted[best]
