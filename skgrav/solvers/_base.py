"""Problem, result and base class of the solvers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from numbers import Real
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import chdtri
from sklearn.base import BaseEstimator

from skgrav._checks import check_array, real_array
from skgrav._constraints import POSITIVE, Interval, StrOptions
from skgrav._typing import Array, Indices, Mask
from skgrav.noise import Noise, Whitening
from skgrav.solvers._status import Status, noise_in_data
from skgrav.solvers._system import (
    Engine,
    LinearSystem,
    as_linear_operator,
    check_operator,
    make_system,
)
from skgrav.solvers._weights import DEPTH_WEIGHTING, depth_weights

#: Share of the noise of one datum by which an iteration that fits a parameter lowers the misfit.
_GAIN = 0.1


@dataclass(frozen=True)
class SolverResult:
    """Densities of each sample, and the course of the iterations.

    Parameters
    ----------
    rho : ndarray of shape (n_samples, n_cells)
        The densities.
    n_iter : ndarray of shape (n_samples,)
        Number of iterations; 0 where the start already fits the data to their noise.
    residual_history : ndarray of shape (max(n_iter) + 1, n_samples)
        Relative data misfit ``||A rho - g|| / ||g||`` at the start and after each iteration;
        after a sample's last iteration its last value is repeated. With ``engine="scipy"``, which
        does not report it, only the first and the last.
    status : ndarray of shape (n_samples,)
        0 where the stopping rule was met, 1 where `max_iter` was reached, 2 where no density fits
        the data to their noise, 3 where no density within the bounds does.

    See Also
    --------
    Solver : Returns it.

    Examples
    --------
    >>> from skgrav.solvers import CGLS
    >>> import numpy as np
    >>> CGLS().solve(np.eye(2), [[1.0, 2.0]]).n_iter
    array([1])
    """

    rho: Array
    n_iter: Indices
    residual_history: Array
    status: Indices

    @property
    def converged(self) -> Mask:
        """Whether the stopping rule was met, (n_samples,)."""
        return self.status == Status.REACHED


@dataclass(frozen=True)
class Problem:
    """Samples at their start, in the coordinates of `system`; names of squared norms end in 2."""

    system: LinearSystem
    #: Residual ``g - A rho0``, (n_samples, n_data of the system).
    residual: Array
    #: Squared norm of the part of the residual that no model can change.
    lost2: Array
    #: Standard deviation of the noise, and where it was raised since the data show more.
    sigma: Array
    exceeds: Mask
    #: Squared norm of the residual at which the data are fitted to their noise; 0 without noise.
    target2: Array
    #: Squared norm of the data.
    data2: Array
    #: Norm of ``A^T g``, to which stopping rules are relative.
    gradient_norm: Array

    def at(self, samples: Mask) -> Problem:
        """Return the problem of some of the samples."""
        parts = {f.name: getattr(self, f.name)[samples] for f in fields(self)[1:]}
        return replace(self, **parts)

    def at_noise(self, residual2: Array) -> Mask:
        """Return which samples fit their data to the noise, up to rounding."""
        return residual2 <= self.target2 * (1.0 + 1e-9)

    def missed(self, progress: Progress) -> Mask:
        """Return which samples ended above their noise, where `lost2` is not known beforehand."""
        if self.system.n_lost:  # `sigma` has been raised at the start, by `lost2`
            return np.zeros(len(self.residual), dtype=bool)
        return (self.target2 > 0) & ~self.at_noise(progress.last2())

    def raised(self, progress: Progress, missed: Mask) -> Problem:
        """Return the problem with noise estimated from the residual where the target was missed.

        The last iterate is close to least squares and k iterations fit about k parameters, so a
        residual of norm r means a noise of ``r / (n - k)**0.5``. Iterations that hardly lower the
        misfit are not counted: rounding adds any number of them, which fit nothing new.
        """
        n = self.system.n_data
        last2 = progress.last2()
        gained = np.diff(progress.history(), axis=0) < -_GAIN * last2 / n
        k = np.clip(np.count_nonzero(gained, axis=0), 1, n // 2)
        noise2 = last2 / (n - k)
        return replace(
            self,
            exceeds=self.exceeds | missed,
            sigma=np.where(missed, np.sqrt(noise2), self.sigma),
            target2=np.where(missed, last2 + noise2 * chdtri(k, 0.95), self.target2),
        )

    def history(self, residual2: Array) -> Array:
        """Turn squared norms of residual coordinates into relative data misfits."""
        misfit2 = np.maximum(residual2, 0.0) + self.lost2
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(misfit2 == 0, 0.0, np.sqrt(misfit2 / self.data2))


class Progress:
    """Squared residuals of each iteration and sample, and which samples met the stopping rule."""

    def __init__(self, residual2: Array, converged: Mask) -> None:
        self.residual2 = residual2[None].copy()
        self.n_iter = np.zeros(len(residual2), dtype=np.intp)
        self.converged = converged.copy()

    def record(self, samples: Indices, residual2: Array) -> None:
        """Add an iteration of some samples."""
        if not samples.size:
            return
        self.n_iter[samples] += 1
        rows = self.n_iter[samples]
        if rows.max() >= len(self.residual2):
            self.residual2 = np.concatenate([self.residual2, np.zeros_like(self.residual2)])
        self.residual2[rows, samples] = residual2

    def last2(self) -> Array:
        """Return the squared residual of each sample after its last iteration."""
        return self.residual2[self.n_iter, np.arange(len(self.n_iter))]

    def replace(self, samples: Mask, other: Progress) -> None:
        """Replace the record of some samples by that of another run."""
        history = other.history()
        grown = max(len(self.residual2), len(history)) - len(self.residual2)
        self.residual2 = np.pad(self.residual2, ((0, grown), (0, 0)))
        self.residual2[: len(history), samples] = history
        self.n_iter[samples], self.converged[samples] = other.n_iter, other.converged

    def history(self) -> Array:
        """Return the squared residuals, each sample's last one repeated to the end."""
        rows = np.arange(self.n_iter.max(initial=0) + 1)[:, None]
        return np.take_along_axis(self.residual2, np.minimum(rows, self.n_iter), axis=0)


class Solver(BaseEstimator, ABC):
    """Base class of the solvers of ``A rho = g``, for all samples at once.

    A solver is a set of parameters, which `solve` does not change. It corrects given densities
    within the range of A^T; their part in the null space of A is kept.

    See Also
    --------
    skgrav.inverters.Refiner : Applies a solver to the estimate of an inverter.

    Examples
    --------
    >>> from skgrav.solvers import GMRES, Solver
    >>> isinstance(GMRES(restart=30), Solver)
    True
    """

    _engine_constraint: ClassVar[list[Any]] = [StrOptions({"auto", "svd", "operator"})]

    engine: Any

    def solve(
        self,
        operator: Any,
        g: ArrayLike,
        rho0: ArrayLike | None = None,
        *,
        sigma: ArrayLike | None = None,
    ) -> SolverResult:
        """Solve for the densities of gravity data.

        Parameters
        ----------
        operator : ForwardOperator, MatrixOperator, ndarray, sparse array or LinearOperator
            Map from density to gravity of shape (n_data, n_cells).
        g : array-like of shape (n_samples, n_data)
            Gravity, component-major.
        rho0 : array-like of shape (n_samples, n_cells), default=None
            Starting densities; None starts from zero.
        sigma : array-like, default=None
            Standard deviation of the noise in the unit of `g`: a number, (n_samples, 1) or
            (1, n_data). Iterating stops once the residual has the size of this noise: the 95 %
            quantile of chi-squared, which the noise of one sample in twenty exceeds. None takes
            the uncertainty of the operator's survey; without one, or with 0, data are noise-free.
            The trend of the survey is removed in any case.

        Returns
        -------
        result : SolverResult
            Densities, iterations, histories.
        """
        operator = check_operator(operator)
        shape = as_linear_operator(operator).shape
        g = check_array(g, "g")
        _check_width("g", g, shape[0], "data")
        if rho0 is None:
            rho0 = np.zeros((len(g), shape[1]))
        rho0 = check_array(rho0, "rho0")
        _check_width("rho0", rho0, shape[1], "cells")
        if len(rho0) != len(g):
            raise ValueError(f"'rho0' has {len(rho0)} samples, but 'g' has {len(g)}.")
        return self.solve_whitened(operator, g, rho0, *stated_noise(operator, sigma, g))

    def solve_whitened(
        self, operator: Any, g: Array, rho0: Array, whitening: Whitening, sigma: Array
    ) -> SolverResult:
        """Solve for data already validated, with a given whitening.

        Parameters
        ----------
        operator : ForwardOperator, MatrixOperator, ndarray, sparse array or LinearOperator
            Map from density to gravity of shape (n_data, n_cells).
        g : ndarray of shape (n_samples, n_data)
            Gravity, component-major.
        rho0 : ndarray of shape (n_samples, n_cells)
            Starting densities.
        whitening : Whitening
            Whitens the noise of the data and removes their trend.
        sigma : ndarray of shape (n_samples,)
            Standard deviation of the whitened noise; 0 is noise-free.

        Returns
        -------
        result : SolverResult
            Densities, iterations, histories.
        """
        self._validate_params()
        return self._solve(operator, g, rho0, whitening, sigma)

    def _solve(
        self, operator: Any, g: Array, rho0: Array, whitening: Whitening, sigma: Array
    ) -> SolverResult:
        weighting = getattr(self, "depth_weighting", None)
        weights = 1.0 if weighting is None else depth_weights(operator, weighting, whitening)
        system = make_system(operator, self.engine, whitening, 1.0 / weights)
        problem = make_problem(system, whitening(g), rho0 * weights, sigma)
        c, progress = self._iterate(problem)
        missed = self._missed(problem, progress)
        if missed.any():
            problem = problem.raised(progress, missed)
            c[missed], again = self._iterate(problem.at(missed))
            progress.replace(missed, again)
        return make_result(problem, rho0 + system.model(c) / weights, progress)

    def _missed(self, problem: Problem, progress: Progress) -> Mask:
        """Return which samples ended close to least squares, but above their noise."""
        return problem.missed(progress)

    @abstractmethod
    def _iterate(self, problem: Problem) -> tuple[Array, Progress]:
        """Return the correction of each sample in model coordinates, and the record."""


class LeastSquaresSolver(Solver):
    """Base class of iterations on the least-squares problem with `tol` and `max_iter`."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "tol": [Interval(Real, 0, 1, closed="neither")],
        "max_iter": [POSITIVE],
        "depth_weighting": DEPTH_WEIGHTING,
        "engine": Solver._engine_constraint,
    }

    def __init__(
        self,
        *,
        tol: float = 1e-6,
        max_iter: int = 1000,
        depth_weighting: float | Literal["sensitivity", "distance"] | None = None,
        engine: Engine = "auto",
    ) -> None:
        self.tol = tol
        self.max_iter = max_iter
        self.depth_weighting = depth_weighting
        self.engine = engine


def make_problem(system: LinearSystem, white: Array, m: Array, sigma: Array) -> Problem:
    """Express whitened data and starting models in the coordinates of a system."""
    coordinates = system.data_coordinates(white)
    lost2 = system.lost2(white)
    noise, exceeds = noise_in_data(sigma, lost2, system.n_lost)
    # White noise spreads evenly over coordinates, so the residual in the range of A has n_data
    # degrees of freedom. The target is its 95 % quantile: at the mean, noise would be fitted in
    # half of all samples. Where the mesh does not explain the data, the noise is only estimated,
    # and the 5 % quantile keeps close to least squares.
    quantile = np.where(exceeds, chdtri(system.n_data, 0.95), chdtri(system.n_data, 0.05))
    return Problem(
        system=system,
        residual=coordinates - system.forward(system.model_coordinates(m)),
        lost2=lost2,
        sigma=noise,
        exceeds=exceeds,
        target2=noise**2 * quantile,
        data2=np.sum(white**2, axis=1),
        gradient_norm=np.linalg.norm(system.adjoint(coordinates), axis=1),
    )


def make_result(problem: Problem, rho: Array, progress: Progress) -> SolverResult:
    """Return the result with the history and the status of each sample."""
    history = problem.history(progress.history())
    status = np.where(progress.converged, Status.REACHED, Status.MAX_ITER)
    status = np.where(problem.exceeds, Status.OUT_OF_REACH, status)
    return SolverResult(rho, progress.n_iter, history, status)


def fraction_to_noise(before: Array, after: Array, target2: Array) -> Array:
    """Return the fraction, at most 1, of a step after which the residual has its target norm.

    A full step may fit noise. The misfit is a parabola along the step.
    """
    step = after - before
    a = np.sum(step**2, axis=1)
    half_b = np.sum(before * step, axis=1)
    above = np.sum(before**2, axis=1) - target2
    root = np.sqrt(np.maximum(half_b**2 - a * above, 0.0))
    crossing = np.divide(-half_b - root, a, out=np.ones_like(a), where=a > 0)
    overshot = (target2 > 0) & (np.sum(after**2, axis=1) < target2) & (above > 0)
    return np.where(overshot, np.clip(crossing, 0.0, 1.0), 1.0)


def stated_noise(operator: Any, sigma: ArrayLike | None, g: Array) -> tuple[Whitening, Array]:
    """Return the whitening of the data, and the standard deviation of the whitened noise."""
    n_samples, n_data = g.shape
    if sigma is None:
        noise = Noise.of(operator, n_data=n_data)
        return noise.whitening, noise.scale_or(g, 0.0)
    sigma = real_array(sigma, "sigma")
    if not (sigma >= 0).all():
        raise ValueError(
            f"'sigma' has minimum {np.min(sigma)}; standard deviations are finite and at least 0."
        )
    uncertainty: ArrayLike = 1.0
    if sigma.ndim == 2 and sigma.shape[0] == 1 and np.ptp(sigma) > 0:
        if not (sigma > 0).all():
            raise ValueError("'sigma' is zero for some data only; give each datum its noise.")
        uncertainty, sigma = sigma[0], np.sqrt(np.mean(sigma**2))
    elif sigma.ndim == 2 and sigma.shape[1] > 1 and np.ptp(sigma, axis=1).max() == 0:
        sigma = sigma[:, 0]
    try:
        scale = np.broadcast_to(sigma.reshape(-1), (n_samples,)).copy()
    except ValueError:
        raise ValueError(
            f"'sigma' has shape {sigma.shape}; it must be a number, ({n_samples}, 1) for one level "
            f"per sample or (1, {n_data}) for one per datum."
        ) from None
    return Noise.of(operator, uncertainty=uncertainty, n_data=n_data).whitening, scale


def _check_width(name: str, values: Array, width: int, what: str) -> None:
    if values.shape[1] != width:
        raise ValueError(
            f"'{name}' has shape {values.shape}; the operator has {width} {what}, so it must be "
            f"(n_samples, {width})."
        )
