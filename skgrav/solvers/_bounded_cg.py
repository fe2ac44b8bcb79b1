"""Damped least squares within bounds, by products and conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from skgrav._typing import Array, Indices, Mask
from skgrav.solvers._feasible import misfit_bound, out_of_reach
from skgrav.solvers._status import Status

Map = Callable[[Array], Array]

#: Conjugate gradients on the free cells stop at this residual relative to their first, or at this
#: share of the squared one that is accurate enough.
_FORCING, _PART = 0.1, 0.1

#: How often a step that raises the cost is halved.
_HALVINGS = 30

#: Largest number of alphas, and the largest factor from one to the next.
_ALPHAS, _FACTOR = 40, 30.0

#: Where only one side of the root is known: first guess of the logarithm of alpha by that of the
#: misfit, least step, and factor of later steps. Otherwise the least share of the interval.
_POWER, _LEAST_STEP, _BEYOND, _INSIDE = 4.0, 0.02, 1.5, 0.02

#: The misfit reaches its target within this many tolerances, relatively.
_WITHIN = 1.0

#: While the misfit is far from its target, densities are as accurate as this share of the distance,
#: at most the second number.
_ACCURACY, _ROUGH = 0.3, 0.03

#: Where no density within bounds fits the data: least damping relative to the largest eigenvalue,
#: share by which the misfit may exceed the least, least share by which it must fall, and factor
#: between dampings.
_COMPROMISE, _NEARLY, _GAIN, _FALL = 1e-9, 1e-2, 1e-3, 5.0


@dataclass
class BoundedLeastSquares:
    """Minimises ``||d - A u||^2 + alpha u^T K u`` with u within bounds, by products.

    Each sample has its alpha, or the norm of its misfit is bounded instead. Conjugate gradients
    solve for the cells that are not at a bound, preconditioned by K. Cells that leave the bounds
    are set to them and the others solved for again; those at a bound that the gradient draws
    inside are free in the next step (primal-dual active sets [1]_, made to descend).

    References
    ----------
    .. [1] Hintermueller, Ito and Kunisch (2003), The primal-dual active set strategy as a
       semismooth Newton method, SIAM Journal on Optimization 13.
    """

    #: A and its transpose, on rows.
    forward: Map
    adjoint: Map
    #: K, and its inverse or nearly so.
    stiffness: Map
    compliance: Map
    #: Bounds of u, one for each cell.
    lower: Array
    upper: Array
    max_iter: int = 2000
    tol: float = 1e-4

    def solve(
        self, d: Array, start: Array, *, alpha: Array, radius: Array | None = None
    ) -> tuple[Array, Array, Indices, Indices]:
        """Return u, alphas, iterations, and the status of each sample.

        With `radius`, the largest norm of the misfit, `alpha` and `start` are where to begin.
        Where no density within the bounds fits the data, u has nearly the least misfit.
        """
        found = []
        for k, data in enumerate(d):
            sample = _Sample(self, data, start[k])
            if radius is None:
                sample.minimise(alpha[k], self.tol)
            else:
                sample.search(alpha[k], radius[k])
            found.append((sample.u, sample.alpha, sample.n_iter, sample.status))
        u, alphas, n_iter, status = (np.array(values) for values in zip(*found, strict=True))
        return u, alphas, n_iter, status

    @cached_property
    def movable(self) -> Mask:
        """Cells whose bounds differ."""
        return np.asarray(self.lower < self.upper)

    @cached_property
    def least_norm(self) -> Array:
        """The densities of least norm within bounds, (n_cells,)."""
        u = np.clip(np.zeros(len(self.lower)), self.lower, self.upper)
        if u.any():
            nothing = np.zeros((1, 0))
            norm = replace(self, forward=lambda _: nothing, adjoint=lambda _: np.zeros((1, u.size)))
            u = norm.solve(nothing, u[None], alpha=np.ones(1))[0][0]
        return u

    @cached_property
    def largest(self) -> float:
        """The largest eigenvalue of ``A K^-1 A^T``, by power iteration."""
        start = self.forward(np.zeros((1, len(self.lower))))
        v = np.random.default_rng(0).standard_normal(start.shape)
        for _ in range(15):
            v /= np.linalg.norm(v) or 1.0
            v = self.forward(self.compliance(self.adjoint(v)))
        return float(np.linalg.norm(v)) or 1.0


class _Point(NamedTuple):
    """Densities within bounds, their residual, their product with K, and the cost."""

    u: Array
    residual: Array
    force: Array
    cost: float


class _Sample:
    """Densities of one sample, and how they were found."""

    def __init__(self, problem: BoundedLeastSquares, d: Array, u: Array) -> None:
        self.problem, self.d = problem, d
        self.u = np.clip(u, problem.lower, problem.upper)
        self.alpha, self.n_iter, self.status = np.inf, 0, Status.REACHED
        self.residual = d

    def minimise(self, alpha: float, tol: float) -> None:
        """Minimise the cost for an alpha, from the last densities."""
        p, self.alpha = self.problem, alpha
        at = last = self._point(self.u)
        #: The step to `at` while the cost is above that of `last`, and the cells it leaves out.
        first, held = None, np.zeros(len(self.u), dtype=bool)
        while True:
            descent = p.adjoint(at.residual[None])[0] - alpha * at.force
            free = p.movable & ~((at.u <= p.lower) & (descent < 0)) & ~held
            free &= ~((at.u >= p.upper) & (descent > 0))
            descent = np.where(free, descent, 0.0)
            scaled = self._scaled(descent, free)
            # What a step without data would gain bounds what is left to gain.
            least = tol**2 * at.cost
            if descent @ scaled <= least * alpha:
                if first is None:
                    break
                at = self._halved(last, first)
                if at is last:
                    break
                first, held, last = None, np.zeros_like(held), at
                continue
            if self.n_iter >= p.max_iter:
                self.status = Status.MAX_ITER
                break
            step = self._step(descent, scaled, free, _PART * least * alpha)
            new = self._point(np.clip(at.u + step, p.lower, p.upper))
            if new.cost < last.cost:
                first, held, last = None, np.zeros_like(held), new
            else:
                # Cells that came to a bound stay there until the others have adapted.
                first = step if first is None else first
                held |= (new.u <= p.lower) | (new.u >= p.upper)
            at = new
        self.u, self.residual = last.u, last.residual

    def _point(self, u: Array) -> _Point:
        residual = self.d - self.problem.forward(u[None])[0]
        force = self.problem.stiffness(u[None])[0]
        return _Point(u, residual, force, residual @ residual + self.alpha * (u @ force))

    def _scaled(self, r: Array, free: Mask) -> Array:
        return np.where(free, self.problem.compliance(r[None])[0], 0.0)

    def _step(self, r: Array, z: Array, free: Mask, least: float) -> Array:
        """Return the step of the free cells by preconditioned conjugate gradients."""
        p = self.problem
        x, direction, rho = np.zeros_like(r), z, float(r @ z)
        least = max(least, _FORCING**2 * rho)
        while rho > least and self.n_iter < p.max_iter:
            image = p.adjoint(p.forward(direction[None]))[0]
            image += self.alpha * p.stiffness(direction[None])[0]
            image = np.where(free, image, 0.0)
            length = rho / (direction @ image)
            x += length * direction
            r = r - length * image
            z = self._scaled(r, free)
            rho, before = float(r @ z), rho
            direction = z + (rho / before) * direction
            self.n_iter += 1
        return x

    def _halved(self, last: _Point, step: Array) -> _Point:
        """Return the point that a halved and clipped step leads to, `last` if none is lower."""
        p = self.problem
        for k in range(1, _HALVINGS):
            new = self._point(np.clip(last.u + step / 2**k, p.lower, p.upper))
            if new.cost < last.cost:
                return new
        return last

    def search(self, alpha: float, radius: float) -> None:
        """Change alpha, from a first one, until the misfit is the radius."""
        p = self.problem
        free = p.least_norm
        if np.linalg.norm(self.d - p.forward(free[None])[0]) <= radius:
            self.u = free
            return
        if not 0 < alpha < np.inf:
            alpha, self.u = p.largest, free
        search, tol = _Search(), _ROUGH
        for _ in range(_ALPHAS):
            self.minimise(alpha, tol)
            value = np.log(np.linalg.norm(self.residual) / radius)
            if value > 0 and out_of_reach(np.array(self._least()), np.array(radius)):
                self._compromise(alpha)
                return
            if self.status == Status.MAX_ITER or (abs(value) <= _WITHIN * p.tol >= tol * _WITHIN):
                return
            # A misfit that is as far from its target as it is accurate tells nothing.
            told = _ACCURACY * abs(value) >= tol or tol <= p.tol
            tol = np.clip(_ACCURACY * abs(value), p.tol, tol)
            if told:
                alpha = search.next(alpha, value)
        self.status = Status.MAX_ITER

    def _least(self) -> float:
        """Return a lower bound of the misfit within bounds."""
        p, residual = self.problem, self.residual[None]
        slope = p.adjoint(residual)
        least = misfit_bound(slope, self.d[None], residual, self.u[None], p.lower, p.upper)
        return float(least[0])

    def _compromise(self, alpha: float) -> None:
        """Fit the data nearly as well as bounds allow."""
        last, misfit = _COMPROMISE * self.problem.largest, np.inf
        while alpha > last and self.n_iter < self.problem.max_iter:
            alpha /= _FALL
            self.minimise(alpha, self.problem.tol)
            misfit, before = float(np.linalg.norm(self.residual)), misfit
            if misfit <= (1 + _NEARLY) * self._least() or misfit >= (1 - _GAIN) * before:
                break
        self.status = Status.BOUNDS


class _Search:
    """Root of the logarithm of misfits relative to their target, by that of alpha."""

    def __init__(self) -> None:
        self.low = self.high = self.last = (np.nan, np.nan)

    def next(self, alpha: float, value: float) -> float:
        """Return the next alpha to try."""
        at = (float(np.log(alpha)), value)
        if value > 0:
            self.high = at
        else:
            self.low = at
        (x0, y0), (x1, y1) = self.low, self.high
        width, (x, y) = x1 - x0, self.last
        self.last = at
        if np.isfinite(width):
            secant = x0 - y0 * width / (y1 - y0)
            return float(np.exp(np.clip(secant, x0 + _INSIDE * width, x1 - _INSIDE * width)))
        # While all are on one side, steps go beyond the root of the secant.
        slope = (value - y) / (at[0] - x)
        size = abs(_BEYOND * value / slope) if slope > 0 else _POWER * abs(value)
        size = np.clip(size, _LEAST_STEP, np.log(_FACTOR))
        return float(np.exp(at[0] - np.sign(value) * size))
