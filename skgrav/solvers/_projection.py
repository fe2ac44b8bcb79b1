"""Projection onto the densities that fit the data: the limit of the iterative solvers."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import replace
from numbers import Real
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import chdtri

from skgrav._checks import real_array, refuse_missing
from skgrav._constraints import Interval, StrOptions
from skgrav._typing import Array, Indices
from skgrav.noise import Whitening
from skgrav.solvers._base import Problem, Progress, Solver, SolverResult, make_problem, make_result
from skgrav.solvers._bounded import BoundedProjection
from skgrav.solvers._projection_products import project_by_products
from skgrav.solvers._status import Status
from skgrav.solvers._system import DecomposedSystem, Engine, SVDSystem, make_system

#: Least difference of bounds, whose square is a normal number.
_LEAST_WIDTH = 1e-140

#: Least share of the target, a squared norm, for the residual in reach, however much of it lies
#: along singular values that are cut.
IN_REACH = 0.25

#: Misfit of noise-free data with bounds, relative to data and start: the target, and the one that
#: counts as fitted where rounding prevents it.
_EXACT, _FITTED = 1e-11, 1e-9

#: Rounding of residuals, relative to the same: the least tolerance of stationarity.
_ROUNDING = 2e-13


#: Lower and upper bound, each a number or one for each cell.
Bounds = tuple[float, float] | tuple[Array, Array]


class Projection(Solver):
    """Projection ``rho0 + A^+ (g - A rho0)`` onto the densities that fit the data.

    Noise-free data are fitted exactly, which never increases the distance to the true density.
    With noise the pseudo-inverse is damped as Tikhonov's, so that the residual of each sample is
    as large as its noise (the discrepancy principle). With `bounds` the projection is onto the
    densities within them that fit the data.

    Parameters
    ----------
    rcond : float, default=1e-8
        Singular values below `rcond` times the largest are taken as zero.
    engine : {"auto", "svd", "operator"}, default="auto"
        ``"svd"`` takes the thin SVD of the matrix, ``"operator"`` products alone, which fit data
        without noise to 1e-6. ``"auto"`` takes the SVD where it is affordable; where products are
        by FFTs and the operator is well conditioned, it forms no matrix of data by cells, but for
        bounds without noise.
    chi_factor : float, default=None
        Chi factor to be reached: the mean square of the residual in units of the noise, over all
        data. A start below it is left unchanged. The residual in the range of A is never reduced
        below the 5 % quantile of its noise, so that with much noise outside that range, or a
        factor far below one, the result is above `chi_factor`. None takes the 95 % quantile of
        the noise in the range of A. Without noise it has no effect.
    bounds : tuple of two floats or of two arrays of shape (n_cells,), default=None
        Lowest and highest density, in the unit of the densities, of all cells or of each one;
        infinities are allowed, and equal ones fix the density of a cell. None leaves densities
        free. Where bounds contradict the data, the result is close to the best fit within them,
        usually to 0.1 % of the misfit, and is marked as not converged.

    Raises
    ------
    ValueError
        If `bounds` are invalid, or engine="svd" has no matrix.

    See Also
    --------
    CGLS : The same limit by iteration, without bounds.
    skgrav.metrics.chi_factor : The chi factor of densities.

    Notes
    -----
    Correction ``V f(s) / s U^T r`` with ``f = 1`` or ``s**2 / (s**2 + alpha)``; alpha solves
    ``||(1 - f) U^T r|| = T`` by Newton's method on the reciprocal of the norm, concave in
    ``1 / alpha``, so that it converges from below [1]_. ``T**2`` is sigma squared times the
    95 % quantile of chi-squared for as many degrees of freedom as the rank, or with a
    `chi_factor` it is ``chi_factor n_data sigma**2 - ||g - U U^T g||**2``, at least the 5 %
    quantile.

    With bounds ``l`` and ``u`` the result solves

        min ||rho - rho0||^2 / 2  subject to  ||U^T (g - A rho)|| <= T  and  l <= rho <= u,

    where T without noise is 1e-11 times the norms of the data and of the residual of the start. It
    is ``rho = clip(rho0 + V nu, l, u)``, where nu has one entry per singular value and, with
    ``p = nu / s``, minimises the convex dual, whose gradient is

        F(nu) = V^T (rho - rho0) + (T / ||p|| + alpha) p / s - U^T r / s.

    F is piecewise smooth; semismooth Newton, equal to the primal-dual active set method [2]_,
    with step halving finds its zero by solving few systems of the size of the rank. Alpha is
    negligible; samples that need more than 20 steps are solved with an alpha that falls from
    ``1e-2 s[0]**2``, which also gives the best fit where there is no solution. Alternating
    projections [3]_ have the same limit, but need very many steps; clipping the projection would
    spoil the fit.

    If the true density lies within the bounds and data are exact, bounds never increase the
    distance to it by more than T allows. `solve` counts the projection as one iteration.

    References
    ----------
    .. [1] Hansen (1998), Rank-Deficient and Discrete Ill-Posed Problems, SIAM, section 7.2.
    .. [2] Hintermuller, Ito and Kunisch (2002), The primal-dual active set strategy as a
       semismooth Newton method, SIAM Journal on Optimization 13.
    .. [3] Boyle and Dykstra (1986), A method for finding projections onto the intersection of
       convex sets in Hilbert spaces, Lecture Notes in Statistics 37.

    Examples
    --------
    >>> import numpy as np
    >>> from skgrav.solvers import Projection
    >>> A = np.array([[1.0, 0.0, 1.0], [0.0, 2.0, 0.0]])
    >>> Projection().solve(A, [[2.0, 2.0]], [[4.0, 0.0, 2.0]]).rho.round(6)
    array([[2., 1., 0.]])
    >>> Projection(bounds=(0.5, np.inf)).solve(A, [[2.0, 2.0]], [[4.0, 0.0, 2.0]]).rho.round(6)
    array([[1.5, 1. , 0.5]])
    """

    _parameter_constraints: dict[str, list[Any]] = {
        "rcond": [Interval(Real, 0, 1, closed="left")],
        "engine": [StrOptions({"auto", "svd", "operator"})],
        "chi_factor": [Interval(Real, 0, None, closed="neither"), None],
        "bounds": ["array-like", None],
    }

    def __init__(
        self,
        *,
        rcond: float = 1e-8,
        engine: Literal["auto", "svd", "operator"] = "auto",
        chi_factor: float | None = None,
        bounds: tuple[ArrayLike, ArrayLike] | None = None,
    ) -> None:
        self.rcond = rcond
        self.engine = engine
        self.chi_factor = chi_factor
        self.bounds = bounds

    def _solve(
        self, operator: Any, g: Array, rho0: Array, whitening: Whitening, sigma: Array
    ) -> SolverResult:
        bounds = check_bounds(self.bounds, rho0.shape[1])
        engine: Engine = self.engine
        if engine == "auto" and bounds is not None and not sigma.all():
            # Bounds without noise need the right singular vectors.
            engine = "svd" if getattr(operator, "is_decomposable_", False) else engine
        system = make_system(operator, engine, whitening)
        problem = make_problem(system, whitening(g), rho0, sigma)
        if self.chi_factor is not None:
            noise2 = problem.sigma**2
            # The factor is over all data, so the residual outside the range of A is subtracted.
            wanted = self.chi_factor * whitening.n_white * noise2 - problem.lost2
            least = noise2 * chdtri(system.n_data, 0.95)
            problem = replace(problem, target2=np.maximum(wanted, least))
        if not isinstance(system, DecomposedSystem):
            unknown = np.full(len(g), np.nan)
            return _by_products(problem, rho0, bounds, unknown, rho0)
        c, progress = self._iterate(problem)
        if bounds is None:
            return make_result(problem, rho0 + system.model(c), progress)
        if isinstance(system, SVDSystem):
            rho, progress, status = self._within(bounds, problem, rho0, c)
            return _bounded_result(problem, rho, progress, status)
        with np.errstate(divide="ignore"):
            damping = 1.0 / discrepancy_strength(system.s, problem.residual, problem.target2)
        # The vectors are as many as the data, so that a rotation leads to the data themselves.
        direct = replace(
            problem,
            system=make_system(operator, "operator", whitening),
            residual=problem.residual @ system.U.T,
        )
        return _by_products(direct, rho0, bounds, damping, rho0 + system.model(c))

    def _iterate(self, problem: Problem) -> tuple[Array, Progress]:
        system = problem.system
        assert isinstance(system, DecomposedSystem)  # else by products
        s, d = system.s, problem.residual
        d2 = np.sum(d**2, axis=1)
        kept = np.where(s > self.rcond * s[0], s, 0.0)
        noisy = problem.target2 > 0
        strength = np.full(len(d), np.inf)
        strength[noisy] = discrepancy_strength(kept, d[noisy], problem.target2[noisy])
        # Share of each residual that is left, 1 / (1 + s^2 / alpha), with strength 1 / alpha.
        with np.errstate(invalid="ignore"):
            remaining = np.where(kept > 0, 1.0 / (1.0 + kept**2 * strength[:, None]), 1.0)
        correction = np.divide(1.0 - remaining, kept, out=np.zeros_like(d), where=kept > 0) * d
        moved = np.flatnonzero(strength > 0)
        progress = Progress(d2, np.ones(len(d), dtype=bool))
        progress.record(moved, np.sum((remaining * d)[moved] ** 2, axis=1))
        return correction, progress

    def _within(
        self, bounds: Bounds, problem: Problem, rho0: Array, correction: Array
    ) -> tuple[Array, Progress, Indices]:
        """Return the nearest densities within bounds, the record, and the status."""
        system, d = problem.system, problem.residual
        assert isinstance(system, SVDSystem)  # else by products
        kept = system.s > self.rcond * system.s[0]
        # Coordinates that are cut keep their residual, so less of the target is left for others.
        d2, cut2 = np.sum(d**2, axis=1), np.sum(d[:, ~kept] ** 2, axis=1)
        scale = np.sqrt(problem.data2) + np.sqrt(d2)
        noise = np.sqrt(np.maximum(problem.target2 - cut2, IN_REACH * problem.target2))
        projection = BoundedProjection(
            Vt=system.Vt[kept],
            s=system.s[kept],
            lower=bounds[0],
            upper=bounds[1],
            rho0=rho0,
            d=d[:, kept],
            radius=np.maximum(noise, _EXACT * scale),
            tolerance=np.maximum(1e-6 * noise, _ROUNDING * scale),
        )
        rho, status = projection.solve(correction[:, kept])
        fits = status == Status.REACHED
        fits |= np.linalg.norm(projection.residual(rho), axis=1) <= _FITTED * scale
        progress = Progress(d2, fits)
        moved = np.flatnonzero((rho != rho0).any(axis=1))
        step = system.forward(system.model_coordinates(rho[moved] - rho0[moved]))
        progress.record(moved, np.sum((d[moved] - step) ** 2, axis=1))
        return rho, progress, status


def _by_products(
    problem: Problem, rho0: Array, bounds: Bounds | None, damping: Array, first: Array
) -> SolverResult:
    """Return the result of `project_by_products`."""
    lower, upper = bounds or (-np.inf, np.inf)
    rho, progress, status = project_by_products(problem, rho0, lower, upper, damping, first)
    if bounds is None:
        status = np.where(status == Status.BOUNDS, Status.OUT_OF_REACH, status)
    return _bounded_result(problem, rho, progress, status)


def _bounded_result(
    problem: Problem, rho: Array, progress: Progress, status: Indices
) -> SolverResult:
    """Return the result with the status found within bounds."""
    result = make_result(problem, rho, progress)
    return replace(result, status=np.where(result.converged, result.status, status))


def check_bounds(bounds: Any, n_cells: int) -> Bounds | None:
    """Return the lower and the upper bound, each a number or one for each cell.

    Raises ValueError unless the lower is below the upper; per cell they may be equal.
    """
    if bounds is None:
        return None
    refuse_missing(bounds, "bounds", nan=False)
    example = "Give for example (0.0, 12.0), with an infinity for an open side."
    try:
        lower, upper = (real_array(b, "bounds", finite=False) for b in bounds)
    except (TypeError, ValueError):
        given = type(bounds).__name__
        if isinstance(bounds, Sized):
            given = repr(bounds) if len(bounds) <= 3 else f"{given} of {len(bounds)}"
        raise ValueError(
            f"'bounds' is {given}; it must be two numbers, the lower below the upper, or two "
            f"arrays with a number for each cell. {example}"
        ) from None
    if lower.ndim == upper.ndim == 0:
        if not lower < upper:
            raise ValueError(
                f"'bounds' is {bounds!r}; it must be two numbers, the lower below the upper, or "
                f"two arrays with a number for each cell. {example}"
            )
        if upper - lower < _LEAST_WIDTH:
            raise ValueError(
                f"'bounds' is {bounds!r}, whose difference has a square that underflows. Check the "
                "unit of density."
            )
        return float(lower), float(upper)
    for b in (lower, upper):
        if b.shape not in ((), (n_cells,)):
            raise ValueError(
                f"'bounds' has arrays of shapes {lower.shape} and {upper.shape}; each must be a "
                f"number or have one for each of {n_cells} cells."
            )
    lower, upper = np.broadcast_to(lower, n_cells).copy(), np.broadcast_to(upper, n_cells).copy()
    wrong = ~(lower <= upper) | np.isposinf(lower) | np.isneginf(upper)
    if wrong.any():
        k = int(np.argmax(wrong))
        raise ValueError(
            f"'bounds' of {wrong.sum()} of {n_cells} cells are wrong, first of cell {k}: "
            f"{lower[k]:g} to {upper[k]:g}. The lower must not exceed the upper; equal ones fix "
            "the density."
        )
    if (lower == upper).all():
        raise ValueError("'bounds' are equal in all cells, which fixes every density. Widen them.")
    return lower, upper


def discrepancy_strength(s: Array, d: Array, target2: Array) -> Array:
    """Return ``1 / alpha`` at which the damped residual of each sample has its target norm."""
    h, target = s**2, np.sqrt(target2)
    strength = np.zeros(len(d))
    # The residual along singular values taken as zero cannot be fitted.
    floor2 = np.sum(np.where(h == 0, d, 0.0) ** 2, axis=1)
    target = np.sqrt(np.maximum(target2, floor2 + IN_REACH * target2))
    for _ in range(100):
        damped = d / (1.0 + h * strength[:, None])
        norm2 = np.sum(damped**2, axis=1)
        norm = np.sqrt(norm2)
        active = norm > target * (1.0 + 1e-10)
        if not active.any():
            break
        # Newton's method on 1 / norm, concave in the strength, approaches the solution from below.
        slope = np.sum(damped**2 * h / (1.0 + h * strength[:, None]), axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            newton = norm2 * (norm / target - 1.0) / slope
        strength = np.where(active, strength + newton, strength)
    return strength
