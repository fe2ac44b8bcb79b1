"""Smallest model norm within bounds, by the alternating direction method of multipliers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from skgrav._typing import Array, Indices, Mask
from skgrav.solvers._feasible import largest_square, least_misfit, misfit_bound, out_of_reach
from skgrav.solvers._gaussian import DataSpace
from skgrav.solvers._projection import discrepancy_strength
from skgrav.solvers._status import Status

#: Over-relaxation, which saves about a third of the iterations.
_RELAXATION = 1.6

#: Iterations between two checks of convergence and of the penalties.
_CHECK = 10

#: Penalties span this many decades on either side.
_DECADES = 8

#: Number of checks after which penalties are fixed, so that the method converges.
_ADAPTING = 60

#: Damping, relative to the largest eigenvalue, where no density within bounds fits the data.
_COMPROMISE = 1e-7

_TINY = float(np.finfo(float).tiny)


@dataclass
class BoundedLeastNorm:
    """Minimises ``||d - A q||^2 + alpha sum(stiffness q^2)`` with ``u = S q`` within bounds.

    Each sample has its alpha, or the norm of its misfit is bounded instead. Samples are rows. A
    penalty draws u toward a copy within the bounds; it takes few values, as each needs an
    eigendecomposition, which serves all samples and alphas.
    """

    #: From coefficients to data, (n_data, n_cells).
    matrix: Array
    stiffness: Array
    #: S from coefficients q to u, and its inverse.
    synthesis: Callable[[Array], Array]
    analysis: Callable[[Array], Array]
    #: Bounds of u, one for each cell.
    lower: Array
    upper: Array
    #: Weights of cells in the norm of u that equals the norm of q.
    masses: Array | float = 1.0
    max_iter: int = 2000
    tol: float = 1e-4
    _spaces: dict[int, DataSpace] = field(default_factory=dict)

    def solve(
        self, d: Array, start: Array, *, alpha: Array | None = None, radius: Array | None = None
    ) -> tuple[Array, Array, Indices, Indices]:
        """Return u, alphas, iterations, and the status of each sample.

        `start` has starting values of u, and either `alpha` or `radius` is given, the largest norm
        of the misfit. Where no density within the bounds fits the data, u has nearly the least
        misfit.
        """
        if radius is None:
            u, found, n_iter, converged = self._split(d, start, alpha=alpha)
            return u, found, n_iter, np.where(converged, Status.REACHED, Status.MAX_ITER)
        # S is orthogonal between the two norms, so this is the matrix from u to data.
        matrix = self.synthesis(self.matrix) * self.masses
        u, _, least = least_misfit(matrix, d, self.lower, self.upper, radius)
        beyond = out_of_reach(least, radius)
        found, n_iter = np.full(len(d), np.inf), np.zeros(len(d), dtype=int)
        status, i = np.full(len(d), Status.REACHED), np.flatnonzero(~beyond)
        lost = np.flatnonzero(beyond)
        if i.size:
            u[i], found[i], n_iter[i], converged = self._split(d[i], start[i], radius=radius[i])
            lost = np.append(lost, i[~converged])
        if lost.size:
            found[lost] = _COMPROMISE * largest_square(self.matrix / np.sqrt(self.stiffness))
            u[lost], _, n_iter[lost], _ = self._split(d[lost], u[lost], alpha=found[lost])
            residual = d[lost] - u[lost] @ matrix.T
            slope = residual @ matrix
            sharper = misfit_bound(slope, d[lost], residual, u[lost], self.lower, self.upper)
            beyond[lost] |= out_of_reach(sharper, radius[lost])
            status[lost] = np.where(beyond[lost], Status.BOUNDS, Status.MAX_ITER)
        return u, found, n_iter, status

    def _split(
        self, d: Array, start: Array, *, alpha: Array | None = None, radius: Array | None = None
    ) -> tuple[Array, Array, Indices, Mask]:
        """Return u, alphas, iterations, and which samples converged."""
        v, y = np.clip(start, self.lower, self.upper), np.zeros_like(start)
        level, n_iter = np.zeros((2, len(d)), dtype=int)
        converged = np.zeros(len(d), dtype=bool)
        found = np.full(len(d), np.inf) if alpha is None else alpha.copy()
        i = np.arange(len(d))
        for iteration in range(1, self.max_iter + 1):
            # Three updates in turn: q by least squares near v - y, the copy v by clipping, and the
            # scaled multipliers y by the difference of both.
            near = self.analysis(v[i] - y[i])
            q, found[i] = self._quadratic(
                d[i], near, level[i], *(None if x is None else x[i] for x in (alpha, radius))
            )
            u = self.synthesis(q)
            relaxed = _RELAXATION * u + (1 - _RELAXATION) * v[i]
            moved = -v[i]
            v[i] = np.clip(relaxed + y[i], self.lower, self.upper)
            y[i] += relaxed - v[i]
            moved += v[i]
            n_iter[i] += 1
            if iteration % _CHECK:
                continue
            # Primal and dual residuals, each relative to its terms. The copy v is returned, and
            # clipping may change data much, so its misfit is checked as well.
            pull = self.stiffness * q / self._penalty(level[i])[:, None]
            force = np.maximum(np.linalg.norm(y[i], axis=1), np.linalg.norm(pull, axis=1))
            apart, drift = _relative(u - v[i], np.linalg.norm(u, axis=1)), _relative(moved, force)
            worse = self._worse(d[i], q, v[i])
            converged[i] = (apart <= self.tol) & (drift <= self.tol) & (worse <= 10 * self.tol)
            if iteration <= _CHECK * _ADAPTING:
                level[i], factor = _adapted(level[i], apart, drift)
                y[i] *= factor[:, None]  # multipliers are in units of the penalty
            i = i[~converged[i]]
            if not i.size:
                break
        return v, found, n_iter, converged

    def _penalty(self, level: Indices) -> Array:
        base = float(np.median(self.stiffness)) or 1.0
        return np.asarray(base * 10.0**level, dtype=np.float64)

    def _quadratic(
        self, d: Array, near: Array, level: Indices, alpha: Array | None, radius: Array | None
    ) -> tuple[Array, Array]:
        """Return coefficients of least misfit, norm and distance from `near`, and alphas."""
        q, found = np.empty_like(near), np.empty(len(d))
        # Alpha also multiplies the penalty, ``misfit + alpha (stiffness q^2 + penalty (q -
        # near)^2)``, so that one space serves all alphas: q is the minimiser of the bracket plus
        # damped least squares with the stiffness ``stiffness + penalty``.
        penalties = self._penalty(level)
        for one in np.unique(level):
            k = np.flatnonzero(level == one)
            penalty = penalties[k[0]]
            space = self._space(int(one), penalty)
            q[k] = near[k] * (penalty / (self.stiffness + penalty))
            residual = d[k] - q[k] @ self.matrix.T
            if alpha is not None:
                found[k] = alpha[k]
            elif radius is not None:
                strength = discrepancy_strength(
                    np.sqrt(space.variance), space.coordinates(residual), radius[k] ** 2
                )
                found[k] = np.divide(1.0, strength, out=np.full(len(k), np.inf), where=strength > 0)
            q[k] += space.estimate(residual, found[k])
        return q, found

    def _space(self, level: int, penalty: float) -> DataSpace:
        if level not in self._spaces:
            weighted = self.matrix / (self.stiffness + penalty)
            self._spaces[level] = DataSpace.of(weighted @ self.matrix.T, weighted)
        return self._spaces[level]

    def _worse(self, d: Array, q: Array, v: Array) -> Array:
        """Return by how much the misfit of the copy within bounds is larger, relatively."""
        other = np.linalg.norm(d - self.analysis(v) @ self.matrix.T, axis=1)
        own = np.linalg.norm(d - q @ self.matrix.T, axis=1)
        return (other - own) / np.maximum(own, _TINY)


def _relative(values: Array, size: Array) -> Array:
    return np.linalg.norm(values, axis=1) / np.maximum(size, _TINY)


def _adapted(level: Indices, apart: Array, drift: Array) -> tuple[Indices, Array]:
    """Balance primal and dual residuals: return levels of penalties, and factors of multipliers."""
    least = np.maximum(1e-4 * apart, _TINY)  # below which the ratio is clipped
    ratio = np.clip(apart / np.maximum(drift, least), 1e-4, 1e4)
    new = np.clip(level + np.rint(np.log10(ratio) / 2).astype(int), -_DECADES, _DECADES)
    return new, 10.0 ** (level - new)
