"""What all solvers share: the problem they are handed, and the result they give back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtri
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, StrOptions

from skgrav._checks import check_array, real_array
from skgrav.solvers._system import (
    Engine,
    LinearSystem,
    as_linear_operator,
    check_operator,
    make_system,
)
from skgrav.solvers._weights import DEPTH_WEIGHTING, depth_weights

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SolverResult:
    """What a solver found for each sample.

    Parameters
    ----------
    rho : ndarray of shape (n_samples, n_cells)
        The densities.
    n_iter : ndarray of shape (n_samples,)
        Iterations taken; 0 where the start fits the data to their noise already.
    residual_history : ndarray of shape (max(n_iter) + 1, n_samples)
        Relative data misfit ``||A rho - g|| / ||g||`` at the start and after each iteration;
        after a sample's last iteration its last value is repeated. With ``engine="scipy"`` only
        the first and the last, since SciPy does not tell.
    converged : ndarray of shape (n_samples,)
        Whether the stopping rule was met before the iterations ran out.

    See Also
    --------
    Solver : What returns it.

    Examples
    --------
    >>> from skgrav.solvers import CGLS
    >>> import numpy as np
    >>> CGLS().solve(np.eye(2), [[1.0, 2.0]]).n_iter
    array([1])
    """

    rho: Array
    n_iter: NDArray[np.intp]
    residual_history: Array
    converged: NDArray[np.bool_]


@dataclass(frozen=True)
class Problem:
    """Samples at their start, in the coordinates of `system`; squared norms end in 2."""

    system: LinearSystem
    #: Residual ``g - A rho0``, (n_samples, n_data of the system).
    residual: Array
    #: Squared norm of the part of the residual that no model can change.
    lost2: Array
    #: Squared norm of the residual at which its noise is reached, 0 if there is none.
    target2: Array
    #: Squared norm of the data.
    data2: Array
    #: Norm of ``A^T g``, to which stopping rules are relative.
    gradient_norm: Array

    def at_noise(self, residual2: Array) -> NDArray[np.bool_]:
        """Return which samples fit their data to the noise, up to rounding."""
        return residual2 <= self.target2 * (1.0 + 1e-9)

    def history(self, residual2: Array) -> Array:
        """Turn squared norms of residual coordinates into relative data misfits."""
        misfit2 = np.maximum(residual2, 0.0) + self.lost2
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(misfit2 == 0, 0.0, np.sqrt(misfit2 / self.data2))


class Progress:
    """Squared residuals by iteration and sample, and which samples met the stopping rule."""

    def __init__(self, residual2: Array, converged: NDArray[np.bool_]) -> None:
        self.residual2 = residual2[None].copy()
        self.n_iter = np.zeros(len(residual2), dtype=np.intp)
        self.converged = converged.copy()

    def record(self, samples: NDArray[np.intp], residual2: Array) -> None:
        """Count one more iteration of some samples and note where it led."""
        if not samples.size:
            return
        self.n_iter[samples] += 1
        rows = self.n_iter[samples]
        if rows.max() >= len(self.residual2):
            self.residual2 = np.concatenate([self.residual2, np.zeros_like(self.residual2)])
        self.residual2[rows, samples] = residual2

    def history(self) -> Array:
        """Return the squared residuals, each sample's last one repeated to the end."""
        rows = np.arange(self.n_iter.max(initial=0) + 1)[:, None]
        return np.take_along_axis(self.residual2, np.minimum(rows, self.n_iter), axis=0)


class Solver(BaseEstimator, ABC):
    """Base of the solvers of ``A rho = g``, for all samples at once.

    A solver is a set of parameters: `solve` changes nothing in it. It starts from given
    densities and returns corrections in the range of A^T, so what the data cannot see stays as
    the start has it.

    See Also
    --------
    skgrav.inverters.Refiner : Puts a solver behind an inverter.

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
            Densities to start from; None starts from zero.
        sigma : array-like, default=None
            Standard deviation of the noise in the unit of `g`: a number, (n_samples, 1) or
            (1, n_data). Iterating stops once the residual has the size of this noise: the 95 %
            quantile of chi-squared, which the noise of one sample in twenty exceeds. None or 0
            treats the data as noise-free.

        Returns
        -------
        result : SolverResult
            Densities, iterations, histories.
        """
        self._validate_params()
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
        return self._solve(operator, g, rho0, *split_noise(sigma, g))

    def _solve(
        self, operator: Any, g: Array, rho0: Array, rows: Array | float, noise: Array
    ) -> SolverResult:
        weighting = getattr(self, "depth_weighting", None)
        weights = 1.0 if weighting is None else depth_weights(operator, weighting, rows)
        system = make_system(operator, self.engine, rows, 1.0 / weights)
        problem = make_problem(system, g * rows, rho0 * weights, noise)
        c, progress = self._iterate(problem)
        return make_result(problem, rho0 + system.model(c) / weights, progress)

    @abstractmethod
    def _iterate(self, problem: Problem) -> tuple[Array, Progress]:
        """Return the correction of each sample in model coordinates, and the record."""


class LeastSquaresSolver(Solver):
    """Base of iterations on the least-squares problem that have a tolerance and an end."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "tol": [Interval(Real, 0, 1, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "depth_weighting": DEPTH_WEIGHTING,
        "engine": Solver._engine_constraint,
    }

    def __init__(
        self,
        *,
        tol: float = 1e-6,
        max_iter: int = 1000,
        depth_weighting: float | Literal["sensitivity"] | None = None,
        engine: Engine = "auto",
    ) -> None:
        self.tol = tol
        self.max_iter = max_iter
        self.depth_weighting = depth_weighting
        self.engine = engine


def make_problem(system: LinearSystem, data: Array, m: Array, noise: Array) -> Problem:
    """Express weighted data and models at the start in the coordinates of a system."""
    coordinates = system.data_coordinates(data)
    return Problem(
        system=system,
        residual=coordinates - system.forward(system.model_coordinates(m)),
        lost2=system.lost2(data),
        # White noise spreads evenly, so the part a model can change carries its share of it. Its
        # 95 % quantile, since at its mean half of all samples would have part of it fitted.
        target2=noise**2 * chdtri(system.n_data, 0.05),
        data2=np.sum(data**2, axis=1),
        gradient_norm=np.linalg.norm(system.adjoint(coordinates), axis=1),
    )


def make_result(problem: Problem, rho: Array, progress: Progress) -> SolverResult:
    """Collect what was found and recorded."""
    history = problem.history(progress.history())
    return SolverResult(rho, progress.n_iter, history, progress.converged)


def fraction_to_noise(before: Array, after: Array, target2: Array) -> Array:
    """Return the fraction, at most 1, of a step after which the residual has its target norm.

    A whole step may overshoot the noise and fit it; the misfit is a parabola along the step.
    """
    step = after - before
    a = np.sum(step**2, axis=1)
    half_b = np.sum(before * step, axis=1)
    above = np.sum(before**2, axis=1) - target2
    root = np.sqrt(np.maximum(half_b**2 - a * above, 0.0))
    crossing = np.divide(-half_b - root, a, out=np.ones_like(a), where=a > 0)
    overshot = (target2 > 0) & (np.sum(after**2, axis=1) < target2) & (above > 0)
    return np.where(overshot, np.clip(crossing, 0.0, 1.0), 1.0)


def split_noise(sigma: ArrayLike | None, g: Array) -> tuple[Array | float, Array]:
    """Return row weights that make the noise white, and its level per sample after them."""
    if sigma is None:
        return 1.0, np.zeros(len(g))
    sigma = real_array(sigma, "sigma")
    if not (sigma >= 0).all():
        raise ValueError(
            f"'sigma' has minimum {np.min(sigma)}; standard deviations are finite and at least 0."
        )
    if sigma.ndim == 2 and sigma.shape[0] == 1 and np.ptp(sigma) > 0:
        level = sigma.mean()
        if not (sigma > 0).all():
            raise ValueError("'sigma' is zero for some data only; give each datum its noise.")
        return level / sigma[0], np.full(len(g), level)
    if sigma.ndim == 2 and sigma.shape[1] > 1:
        sigma = sigma[:, :1] if np.ptp(sigma, axis=1).max() == 0 else sigma
    try:
        return 1.0, np.broadcast_to(sigma.reshape(-1), (len(g),)).copy()
    except ValueError:
        raise ValueError(
            f"'sigma' has shape {sigma.shape}; it must be a number, ({len(g)}, 1) for one level "
            f"per sample or (1, {g.shape[1]}) for one per datum."
        ) from None


def _check_width(name: str, values: Array, width: int, what: str) -> None:
    if values.shape[1] != width:
        raise ValueError(
            f"'{name}' has shape {values.shape}; the operator has {width} {what}, so it must be "
            f"(n_samples, {width})."
        )
