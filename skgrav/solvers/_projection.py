"""The limit of the iterative solvers, in one step: projection onto the data, filtered by noise."""

from __future__ import annotations

from dataclasses import replace
from numbers import Real
from typing import Any, Literal

import numpy as np
from scipy.special import chdtri

from skgrav._constraints import Interval, StrOptions
from skgrav._typing import Array, Indices
from skgrav.noise import Whitening
from skgrav.solvers._base import (
    Problem,
    Progress,
    Solver,
    SolverResult,
    make_problem,
    make_result,
)
from skgrav.solvers._bounded import BoundedProjection
from skgrav.solvers._status import Status
from skgrav.solvers._system import SVDSystem, make_system

#: Share of the noise's squared norm that is in reach, whatever the cut singular values hold.
_IN_REACH = 0.25

#: Misfit, relative to data and start, that bounded densities of noise-free data are to reach.
_EXACT = 1e-11

#: And the misfit that is good enough where rounding is in the way.
_FITTED = 1e-9

#: Rounding of residuals, relative to the same; nothing is stationary to less.
_ROUNDING = 2e-13


class Projection(Solver):
    """Projection ``rho0 + A^+ (g - A rho0)`` onto the densities that fit the data.

    Noise-free data are fitted exactly, which never increases the distance to the true density
    (Pythagoras). With noise the pseudo-inverse is Tikhonov's, damped for each sample until its
    residual is as large as the noise (the discrepancy principle). With `bounds` the projection is
    onto the densities that fit the data and keep to the bounds.

    Parameters
    ----------
    rcond : float, default=1e-8
        Singular values below `rcond` times the largest are taken as zero.
    engine : {"auto", "svd"}, default="auto"
        The projection is computed from the thin SVD; both names mean that.
    chi_factor : float, default=None
        Residual at which noisy data count as fitted, as the mean of its squares in units of the
        noise over all data, the part that no density can change included. A start below it is
        left as it is. The part that densities can change is never fitted closer than noise would
        be in one sample of twenty, so that a sample with much noise where no density reaches, or
        a factor far below one, ends above the `chi_factor`. None holds that part alone to the
        95 % quantile of its noise. Without noise it has no effect.
    bounds : tuple of two floats, default=None
        Lowest and highest density, in the unit of the densities; infinities are allowed. None
        leaves densities free. Bounds that contradict the data, or their noise, give a density
        within them that fits best, to 0.1 % of the misfit as far as found; such samples are
        marked as not converged.

    Raises
    ------
    ValueError
        If the operator is no matrix and so has no affordable SVD, or `bounds` are none.

    See Also
    --------
    CGLS : The same limit by iteration, for operators without an SVD.
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

    in which T is 1e-11 of the data and the start's residual without noise. It is
    ``rho = clip(rho0 + V nu, l, u)``, where nu has one entry per singular value and, with
    ``p = nu / s``, minimises the convex dual, whose gradient is

        F(nu) = V^T (rho - rho0) + (T / ||p|| + alpha) p / s - U^T r / s.

    F is piecewise smooth; semismooth Newton, equal to the primal-dual active set method [2]_,
    with halved steps finds its zero in a few systems as large as the rank. Alpha is next to
    nothing; samples that need more than 20 steps are solved with an alpha that falls from
    ``1e-2 s[0]**2``, which also finds the compromise where there is no solution. Alternating
    projections [3]_ have the same limit, but take very many steps to get near it; clipping the
    projection breaks the fit.

    If the truth keeps to the bounds and data are exact, the bounds never increase the distance to
    it, up to what T leaves open. `solve` counts the whole projection as one iteration.

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
        "engine": [StrOptions({"auto", "svd"})],
        "chi_factor": [Interval(Real, 0, None, closed="neither"), None],
        "bounds": ["array-like", None],
    }

    def __init__(
        self,
        *,
        rcond: float = 1e-8,
        engine: Literal["auto", "svd"] = "auto",
        chi_factor: float | None = None,
        bounds: tuple[float, float] | None = None,
    ) -> None:
        self.rcond = rcond
        self.engine = engine
        self.chi_factor = chi_factor
        self.bounds = bounds

    def _solve(
        self, operator: Any, g: Array, rho0: Array, whitening: Whitening, sigma: Array
    ) -> SolverResult:
        bounds = check_bounds(self.bounds)
        system = make_system(operator, self.engine, whitening)
        problem = make_problem(system, whitening(g), rho0, sigma)
        if self.chi_factor is not None:
            noise2 = problem.sigma**2
            # The factor is of all data: what no density reaches uses up its part of the target.
            wanted = self.chi_factor * whitening.n_white * noise2 - problem.lost2
            least = noise2 * chdtri(system.n_data, 0.95)
            problem = replace(problem, target2=np.maximum(wanted, least))
        c, progress = self._iterate(problem)
        if bounds is None:
            return make_result(problem, rho0 + system.model(c), progress)
        rho, progress, status = self._within(bounds, problem, rho0, c)
        result = make_result(problem, rho, progress)
        return replace(result, status=np.where(result.converged, result.status, status))

    def _iterate(self, problem: Problem) -> tuple[Array, Progress]:
        system = problem.system
        if not isinstance(system, SVDSystem):
            raise ValueError(
                "solver 'projection' needs the SVD of 'operator', which is no matrix or too "
                "large. Use 'cgls', which has the same limit."
            )
        s, d = system.s, problem.residual
        d2 = np.sum(d**2, axis=1)
        kept = np.where(s > self.rcond * s[0], s, 0.0)
        noisy = problem.target2 > 0
        strength = np.full(len(d), np.inf)
        strength[noisy] = discrepancy_strength(kept, d[noisy], problem.target2[noisy])
        # Share of each residual that is left, 1 / (1 + s^2 / alpha); infinity is no damping at all.
        with np.errstate(invalid="ignore"):
            remaining = np.where(kept > 0, 1.0 / (1.0 + kept**2 * strength[:, None]), 1.0)
        correction = np.divide(1.0 - remaining, kept, out=np.zeros_like(d), where=kept > 0) * d
        moved = np.flatnonzero(strength > 0)
        progress = Progress(d2, np.ones(len(d), dtype=bool))
        progress.record(moved, np.sum((remaining * d)[moved] ** 2, axis=1))
        return correction, progress

    def _within(
        self, bounds: tuple[float, float], problem: Problem, rho0: Array, correction: Array
    ) -> tuple[Array, Progress, Indices]:
        """Return the nearest densities within bounds, the record, and the status."""
        system, d = problem.system, problem.residual
        assert isinstance(system, SVDSystem)  # `_iterate` has refused all else
        kept = system.s > self.rcond * system.s[0]
        # Coordinates that are cut keep their residual, which the ball of the others has to make up.
        d2, cut2 = np.sum(d**2, axis=1), np.sum(d[:, ~kept] ** 2, axis=1)
        scale = np.sqrt(problem.data2) + np.sqrt(d2)
        noise = np.sqrt(np.maximum(problem.target2 - cut2, _IN_REACH * problem.target2))
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


def check_bounds(bounds: Any) -> tuple[float, float] | None:
    """Return the lower and the upper bound, or raise ValueError."""
    if bounds is None:
        return None
    shapes = [np.shape(b) for b in bounds] if len(bounds) == 2 else []
    if any(shape != () for shape in shapes):
        raise ValueError(
            f"'bounds' holds arrays of shapes {shapes[0]} and {shapes[1]}; bounds that differ "
            "between cells are not supported. Give two numbers for all cells."
        )
    try:
        lower, upper = map(float, bounds)
    except (TypeError, ValueError):
        lower = upper = np.nan
    if not lower < upper:
        given = repr(bounds) if len(bounds) <= 3 else f"{type(bounds).__name__} of {len(bounds)}"
        raise ValueError(
            f"'bounds' is {given}; it must hold two numbers, the lower below the upper. Give "
            "for example (0.0, 12.0), or an infinity for the side that is open."
        )
    return lower, upper


def discrepancy_strength(s: Array, d: Array, target2: Array, max_iter: int = 100) -> Array:
    """Return ``1 / alpha`` at which the damped residual of each sample has its target norm."""
    h, target = s**2, np.sqrt(target2)
    strength = np.zeros(len(d))
    # What singular values taken as zero hold can't be fitted; half the noise is always in reach.
    floor2 = np.sum(np.where(h == 0, d, 0.0) ** 2, axis=1)
    target = np.sqrt(np.maximum(target2, floor2 + _IN_REACH * target2))
    for _ in range(max_iter):
        damped = d / (1.0 + h * strength[:, None])
        norm2 = np.sum(damped**2, axis=1)
        norm = np.sqrt(norm2)
        active = norm > target * (1.0 + 1e-10)
        if not active.any():
            break
        # Newton on 1 / norm, which is concave in the strength: it stays below the solution.
        slope = np.sum(damped**2 * h / (1.0 + h * strength[:, None]), axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            newton = norm2 * (norm / target - 1.0) / slope
        strength = np.where(active, strength + newton, strength)
    return strength
