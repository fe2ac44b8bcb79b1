"""Gauss-Newton for the depth of an interface, one sample at a time, within bounds."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from skgrav._typing import Array, Indices, Mask
from skgrav.inverters._damping import DampedLeastSquares
from skgrav.noise import Whitening
from skgrav.operators import InterfaceModel
from skgrav.solvers import Status

#: Range of alpha relative to the ratio of the traces of data and roughness.
_LEAST, _LARGEST = 1e-12, 1e8

#: Accuracy of the logarithm of the squared misfit, and number of trials of alpha for it.
_CLOSE, _N_TRIALS = 5e-3, 40

#: A step lowers the squared misfit at most by this factor, since the problem is nonlinear.
_FASTEST = 0.01

#: Where the data cannot be fitted to their noise, squared misfit relative to the least possible,
#: and that without bounds at which these are the reason.
_ABOVE_LEAST, _BOUNDED = 1.1, 0.5

#: Squared misfit relative to its target up to which data count as fitted.
_FITTED = 1.02

#: Mean square misfit of wells above which their weight rises, by how much at most in an iteration,
#: and to what.
_OFF_WELLS, _RISE, _EMPHASIS = 1.1, 10.0, 1e4

#: Iterations in which cross-validation chooses alpha again.
_N_CHOICES = 6

#: Halvings of a step, and changes of the set of columns at their bounds for each alpha.
_N_HALVINGS, _N_SETS = 10, 10


@dataclass(frozen=True)
class Roughness:
    """Squared roughness of depths, shared by all samples."""

    matrix: Array

    @cached_property
    def modes(self) -> tuple[Array, Array]:
        """Squared roughness of orthonormal modes, and the modes as columns."""
        stiffness, modes = np.linalg.eigh(self.matrix)
        return np.maximum(stiffness, 1e-14 * stiffness[-1]), modes


@dataclass(frozen=True)
class ReliefProblem:
    """Squared misfit of one sample, plus wells, plus alpha times the roughness of depths."""

    model: InterfaceModel
    whitening: Whitening
    data: Array
    sigma: float
    rough: Roughness
    lower: Array
    upper: Array
    #: Column, depth and standard deviation of each well.
    wells: tuple[Indices, Array, Array]
    #: Weight of their misfit, at least 1.
    emphasis: float = 1.0

    @property
    def roughness(self) -> Array:
        """Matrix of the squared roughness of departures from the model's reference."""
        return self.rough.matrix

    def wells2(self, depth: Array) -> float:
        """Return the squared misfit of depths at the wells."""
        column, known, std = self.wells
        return float(np.sum(((depth[column] - known) / std) ** 2))

    def without_wells(self) -> ReliefProblem:
        """Return the problem of the data alone."""
        none = np.zeros(0)
        return replace(self, wells=(np.zeros(0, dtype=np.intp), none, none), emphasis=1.0)

    @property
    def free(self) -> Mask:
        """Columns whose bounds differ."""
        return self.lower < self.upper

    @property
    def target(self) -> float:
        """Squared misfit of data fitted to their noise."""
        return float(self.whitening.n_white)

    def misfit2(self, depth: Array) -> float:
        """Return the squared misfit of depths."""
        left = self.whitening((self.data - self.model.gravity(depth))[None])[0] / self.sigma
        return float(left @ left)

    def norm2(self, depth: Array) -> float:
        """Return the squared roughness of depths."""
        away = depth - self.model.reference
        return float(away @ self.roughness @ away)

    def linearised(self, depth: Array) -> Linearised:
        """Return the linear problem about depths."""
        return Linearised(self, depth, *self.model.linearised(depth))


@dataclass(frozen=True)
class Linearised:
    """Whitened data in units of the noise as a linear function of depths, about one of them."""

    problem: ReliefProblem
    depth: Array
    #: Gravity at these depths and its derivatives, (n_data,) and (n_data, n_columns).
    gravity: Array
    derivatives: Array

    @cached_property
    def residual(self) -> Array:
        """Whitened residual in units of the noise."""
        p = self.problem
        return p.whitening((p.data - self.gravity)[None])[0] / p.sigma

    @cached_property
    def jacobian(self) -> Array:
        """Derivatives of the whitened gravity in units of the noise."""
        return self.problem.whitening.matrix(self.derivatives) / self.problem.sigma

    @property
    def misfit2(self) -> float:
        """Squared misfit of these depths."""
        return float(self.residual @ self.residual)

    def misfit2_at(self, depth: Array) -> float:
        """Return the squared misfit that the linear function gives."""
        left = self.residual - self.jacobian @ (depth - self.depth)
        return float(left @ left)

    def objective(self, alpha: float) -> float:
        """Return the function that a step at an alpha lowers."""
        p = self.problem
        of_wells = p.emphasis * p.wells2(self.depth)
        return self.misfit2 + of_wells + alpha * p.norm2(self.depth)

    def normal_equations(self) -> tuple[Array, Array]:
        """Return matrix and right-hand side of depths of least misfit to data and wells."""
        matrix = self.jacobian.T @ self.jacobian
        side = self.jacobian.T @ (self.residual + self.jacobian @ self.depth)
        column, known, std = self.problem.wells
        weight = self.problem.emphasis / std**2
        np.add.at(matrix, (column, column), weight)
        np.add.at(side, column, weight * known)
        return matrix, side


@dataclass
class ReliefStep:
    """Minimisers of a linearised problem within bounds, for any alpha."""

    linear: Linearised
    #: -1 and 1 for columns at their lower and upper bounds, to begin with.
    at_bound: Indices

    def __post_init__(self) -> None:
        self.problem = self.linear.problem
        #: Whether bounds keep the data from being fitted to their noise.
        self.is_bounded = False
        self.matrix, self.side = self.linear.normal_equations()
        # Rounding would make the matrix of data alone indefinite.
        size = float(np.trace(self.matrix))
        self.matrix[np.diag_indices_from(self.matrix)] += 1e-15 * size + np.finfo(float).tiny
        self.scale = size / float(np.trace(self.problem.roughness)) or 1.0

    def minimiser(self, alpha: float) -> Array:
        """Return the depths of least objective, by an active set that is kept for the next."""
        p, at = self.problem, self.at_bound
        matrix = self.matrix + alpha * p.roughness
        side = self.side + alpha * (p.roughness @ p.model.reference)
        for _ in range(_N_SETS):
            depth = np.where(at < 0, p.lower, p.upper)
            free = np.flatnonzero(at == 0)
            depth[free] = 0.0
            if free.size:
                part = matrix if free.size == len(at) else matrix[np.ix_(free, free)]
                rest = side[free] - matrix[free] @ depth
                depth[free] = cho_solve(cho_factor(part, check_finite=False), rest)
            slope = matrix @ depth - side
            new = np.zeros_like(at)
            new[(depth < p.lower) | ((at < 0) & (slope > 0)) | ~p.free] = -1
            new[(depth > p.upper) | ((at > 0) & (slope < 0))] = 1
            if np.array_equal(new, at):
                break
            at = new
        self.at_bound = at
        return np.clip(depth, p.lower, p.upper)

    def discrepancy(self, target: float, alpha: float) -> tuple[float, Array]:
        """Return the alpha whose linear misfit is the target, or near the least possible."""
        least, largest = _LEAST * self.scale, _LARGEST * self.scale
        target = max(target, _FASTEST * self.linear.misfit2)
        alpha = float(np.clip(alpha or self.scale, least, largest))
        low, high = None, None
        for _ in range(_N_TRIALS):
            depth = self.minimiser(alpha)
            reached = self.linear.misfit2_at(depth)
            error = np.log(max(reached, np.finfo(float).tiny) / target)
            if abs(error) < _CLOSE:
                break
            if error > 0:
                high = np.log(alpha), error
            else:
                low = np.log(alpha), error
            if low is None and alpha <= least:
                target, low, high = self._least(reached, alpha), (np.log(alpha), -0.1), None
            elif high is None and alpha >= largest:
                break
            alpha = float(np.clip(_next_alpha(low, high), least, largest))
        return alpha, depth

    def _least(self, reached: float, alpha: float) -> float:
        """Return the target where the least misfit within the bounds is above the noise."""
        roughness = self.problem.roughness
        factor = cho_factor(self.matrix + alpha * roughness, check_finite=False)
        depth = cho_solve(factor, self.side + alpha * (roughness @ self.problem.model.reference))
        self.is_bounded = self.linear.misfit2_at(depth) < _BOUNDED * reached
        return reached + self.problem.target if self.is_bounded else _ABOVE_LEAST * reached


def _next_alpha(low: tuple[float, float] | None, high: tuple[float, float] | None) -> float:
    """Return the next alpha to try, from logarithms of alphas below and above and their errors."""
    if low is None or high is None:
        known = low or high
        assert known is not None
        return float(np.exp(known[0] + (2.3 if low else -2.3)))
    (a, fa), (b, fb) = low, high
    share = np.clip(-fa / (fb - fa), 0.1, 0.9)
    return float(np.exp(a + share * (b - a)))


@dataclass(frozen=True)
class ReliefFit:
    """Depths of one sample, the linear problem about them, and how they were found."""

    linear: Linearised
    alpha: float
    n_iter: int
    status: int

    @property
    def sigma(self) -> float:
        """Noise given, or found by cross-validation."""
        return self.linear.problem.sigma

    def covariance(self) -> Array | None:
        """Return the covariance of errors of depths, linearised; None where it is not known.

        The prior is Gaussian with the precision ``roughness / v``. v follows from the roughness of
        the estimate: by the discrepancy principle alpha is larger than 1 / v.
        """
        problem, alpha = self.linear.problem, self.alpha
        if not np.isfinite(alpha):
            return None
        free = np.flatnonzero(problem.free)
        block, n = np.ix_(free, free), len(free)
        full = np.zeros_like(problem.roughness)
        if not n:
            return full
        roughness = problem.roughness[block]
        inverse = np.linalg.inv(self.linear.normal_equations()[0][block] + alpha * roughness)
        filtered = inverse @ roughness
        trace, trace2 = float(np.trace(filtered)), float(np.sum(filtered * filtered.T))
        # Of the expected roughness of the estimate, the share of v and the part due to the noise.
        share, of_noise = n - 2 * alpha * trace + alpha**2 * trace2, trace - alpha * trace2
        v = max((problem.norm2(self.linear.depth) - of_noise) / max(share, 1e-12 * n), 0.0)
        found = inverse + (alpha**2 * v - alpha) * filtered @ inverse
        column, _, std = problem.wells
        told = np.isin(column, free)
        of_wells = inverse[:, np.searchsorted(free, column[told])] / std[told]
        found += (problem.emphasis**2 - problem.emphasis) * of_wells @ of_wells.T
        full[block] = (found + found.T) / 2
        return full


def fit_relief(
    problem: ReliefProblem, start: Array, choice: str | float, max_iter: int, tol: float
) -> ReliefFit:
    """Return the depths that fit one sample, from a start."""
    reference = np.clip(problem.model.reference, problem.lower, problem.upper)
    by_noise = choice == "discrepancy"
    enough = problem.target if by_noise else 0.0
    if not problem.wells[0].size and problem.misfit2(reference) <= enough:
        return ReliefFit(problem.linearised(reference), np.inf, 0, Status.REACHED)
    linear = problem.linearised(np.clip(start, problem.lower, problem.upper))
    thinnest = 1e-3 * float(np.ptp(problem.model.mesh.edges[0]))
    alpha = 0.0 if isinstance(choice, str) else float(choice)
    at_bound, settled = np.where(problem.free, 0, -1), False
    for n_iter in range(1, max_iter + 1):
        if choice == "gcv" and n_iter <= _N_CHOICES:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # said of the last estimate
                alpha, noise = cross_validation(linear)
            # From here on in units of the noise that was found.
            problem, alpha = replace(problem, sigma=problem.sigma * noise), alpha / noise**2
            linear = replace(linear, problem=problem)
        step = ReliefStep(linear, at_bound)
        if by_noise:
            alpha, goal = step.discrepancy(problem.target, alpha)
        else:
            goal = step.minimiser(alpha)
        at_bound = step.at_bound
        moved = _towards(linear, goal, alpha)
        change = float(np.max(np.abs(moved.depth - linear.depth)))
        linear = moved
        thickness = float(np.max(np.abs(linear.depth - problem.model.reference)))
        settled = change <= tol * max(thickness, thinnest)
        if isinstance(choice, str):
            # An alpha that leaves the data no more than their noise leaves wells more than theirs.
            excess = problem.wells2(linear.depth) / max(len(problem.wells[0]), 1)
            if excess > _OFF_WELLS and problem.emphasis < _EMPHASIS:
                emphasis = min(problem.emphasis * min(excess, _RISE), _EMPHASIS)
                problem = replace(problem, emphasis=emphasis)
                linear, settled = replace(linear, problem=problem), False
        if settled:
            break
    status = Status.REACHED if settled else Status.MAX_ITER
    if by_noise and settled and linear.misfit2 > _FITTED * problem.target:
        status = Status.BOUNDS if step.is_bounded else Status.OUT_OF_REACH
    if choice == "gcv":
        cross_validation(linear)
    return ReliefFit(linear, alpha, n_iter, status)


def cross_validation(linear: Linearised) -> tuple[float, float]:
    """Return the alpha of least cross-validation without bounds and wells, and the noise.

    Both are in the units of the linear problem.
    """
    stiffness, modes = linear.problem.rough.modes
    system = DampedLeastSquares.of(linear.jacobian @ modes, stiffness)
    away = linear.depth - linear.problem.model.reference
    c = system.coordinates((linear.residual + linear.jacobian @ away)[None])
    damping = system.search(c, "gcv")
    noise = float(system.noise(c, damping)[0])
    return float(damping[0]), noise or 1.0


def _towards(linear: Linearised, goal: Array, alpha: float) -> Linearised:
    """Return the linear problem on the way to a goal where the objective is lower."""
    before = linear.objective(alpha)
    for k in range(_N_HALVINGS):
        depth = linear.depth + 0.5**k * (goal - linear.depth)
        moved = linear.problem.linearised(depth)
        if moved.objective(alpha) <= before:
            return moved
    return linear
