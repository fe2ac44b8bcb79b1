"""One Arnoldi cycle of GMRES or LGMRES for a batch of samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np

from skgrav._typing import Array, Indices, Mask
from skgrav.solvers._base import fraction_to_noise
from skgrav.solvers._system import LinearSystem

_EPS = np.finfo(np.float64).eps

#: Share of samples still iterating below which the others are removed from the arrays.
_COMPACT = 0.75


@dataclass
class _State:
    """State of the cycle, one row for each sample that still iterates."""

    #: Indices among all samples of the batch.
    rows: Indices
    #: Norm of the gradient at the start, and the last subdiagonal entry of the Hessenberg matrix.
    beta: Array
    last: Array
    #: Residual of the data at the start, and its squared norm.
    residual: Array
    residual2: Array
    #: Steps of past cycles that augment the space.
    memory: Array
    #: Orthonormal vectors of the Krylov space.
    basis: Array
    #: Rotations that make the Hessenberg matrix triangular, and the inverse of the triangle.
    cos: Array
    sin: Array
    inverse: Array
    #: ``Z^T B Z`` and ``Z^T gradient`` of directions Z.
    gram: Array
    slope: Array
    #: Rotated right-hand side, and coefficients of the directions.
    rhs: Array
    y: Array
    #: Norm of the gradient, and squared misfit, at which a sample has converged.
    tolerance: Array
    target2: Array

    def take(self, rows: Mask) -> _State:
        """Return the state of some of the samples."""
        return type(self)(*(getattr(self, f.name)[rows] for f in fields(self)))


class ArnoldiCycle:
    """One cycle of (flexible) Arnoldi for a batch, which samples leave when they have converged.

    With B the normal matrix, directions Z, Gram matrix ``Z^T B Z`` and slope ``Z^T gradient``, the
    squared data residual of each iterate is ``||d - A Z y||^2 = ||d||^2 - 2 y.slope + y.Gram.y``,
    so products with A are not needed. The rotated Hessenberg matrix is inverted column by column:
    the leading block of a triangular inverse is the inverse of the leading block.
    """

    def __init__(
        self,
        system: LinearSystem,
        gradient: Array,
        residual: Array,
        n_krylov: int,
        memory: Array,
        tolerance: Array,
        target2: Array,
    ) -> None:
        n, size = gradient.shape
        self.n_krylov = min(n_krylov, size)
        self.n_directions = total = self.n_krylov + memory.shape[1]
        self.system = system
        # Results of all samples of the batch: the step, and why it ended.
        self.step = np.zeros((n, size))
        self.reached, self.broken = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
        self.live = np.ones(n, dtype=bool)
        beta = np.linalg.norm(gradient, axis=1)
        basis, rhs = np.empty((n, total + 1, size)), np.zeros((n, total + 1))
        basis[:, 0], rhs[:, 0] = gradient / beta[:, None], beta
        self.state = _State(
            rows=np.arange(n),
            beta=beta,
            last=beta,
            residual=residual,
            residual2=np.sum(residual**2, axis=1),
            memory=memory,
            basis=basis,
            cos=np.zeros((n, total)),
            sin=np.zeros((n, total)),
            inverse=np.zeros((n, total, total)),
            gram=np.zeros((n, total, total)),
            slope=np.zeros((n, total)),
            rhs=rhs,
            y=np.zeros((n, total)),
            tolerance=tolerance,
            target2=target2,
        )

    def run(self) -> Iterator[tuple[Indices, Array]]:
        """Iterate until each sample has converged; yield who iterated, and squared misfits."""
        for j in range(self.n_directions):
            state = self.state
            broken = self._expand(j)
            before = state.y[:, : j + 1].copy()
            state.y[:, : j + 1] += state.rhs[:, j, None] * state.inverse[:, : j + 1, j]
            reached2 = self._misfit2(j + 1)
            yield state.rows[self.live], reached2[self.live]
            reached = np.abs(state.rhs[:, j + 1]) <= state.tolerance
            done = reached | broken | (reached2 <= state.target2) | (j == self.n_directions - 1)
            self._retire(done & self.live, before, reached, broken)
            if not self.live.any():
                return
            if self.live.mean() < _COMPACT:
                self.state = state.take(self.live)
                self.live = np.ones(len(self.state.rows), dtype=bool)

    def _retire(self, done: Mask, before: Array, reached: Mask, broken: Mask) -> None:
        """Keep the steps of samples that are done; `before` has the coefficients one earlier."""
        state = self.state
        rows, size = state.rows[done], before.shape[1]
        directions = self._directions(size)
        if not done.all():
            directions = directions[done]
        step = (state.y[done, None, :size] @ directions)[:, 0]
        target2 = state.target2[done]
        if target2.any():  # the last iteration is cut where it would fit noise
            last = (before[done, None] @ directions)[:, 0]
            residual, forward = state.residual[done], self.system.forward
            part = fraction_to_noise(residual - forward(last), residual - forward(step), target2)
            step = last + part[:, None] * (step - last)
        self.step[rows], self.reached[rows], self.broken[rows] = step, reached[done], broken[done]
        self.live &= ~done

    def _directions(self, size: int) -> Array:
        state = self.state
        krylov = state.basis[:, : min(size, self.n_krylov)]
        if size <= self.n_krylov:
            return krylov
        return np.concatenate([krylov, state.memory[:, : size - self.n_krylov]], axis=1)

    def _expand(self, j: int) -> Mask:
        """Add direction j; return where the space is exhausted."""
        state = self.state
        basis = state.basis[:, : j + 1]
        augmented = j >= self.n_krylov
        z = state.memory[:, j - self.n_krylov] if augmented else basis[:, j]
        w = self.system.normal(z)
        column = np.zeros((len(w), j + 2))
        if augmented:  # directions are not basis vectors: their products are not in `column`
            directions = self._directions(j + 1)
            state.gram[:, : j + 1, j] = (directions @ w[:, :, None])[:, :, 0]
            state.slope[:, j] = state.beta * np.sum(z * state.basis[:, 0], axis=1)
        passes = 2  # one pass of Gram-Schmidt would lose orthogonality
        if not augmented:  # B is symmetric: in exact arithmetic only the last two overlap
            passes = 1
            column[:, j] = np.einsum("ij,ij->i", w, z)
            w -= column[:, j, None] * z
            if j:
                column[:, j - 1] = state.last
                w -= state.last[:, None] * basis[:, j - 1]
        for _ in range(passes):
            h = (basis @ w[:, :, None])[:, :, 0]
            w -= (h[:, None, :] @ basis)[:, 0]
            column[:, : j + 1] += h
        if not augmented:
            state.gram[:, : j + 1, j] = column[:, : j + 1]
            state.slope[:, j] = state.beta if j == 0 else 0.0
        state.gram[:, j, :j] = state.gram[:, :j, j]
        after = np.sqrt(np.einsum("ij,ij->i", w, w))
        before2 = np.einsum("ij,ij->i", column, column)  # of the part taken from w
        broken = after <= 10 * _EPS * np.sqrt(before2)
        after[broken] = 0.0
        column[:, j + 1] = state.last = after
        np.divide(w, np.where(broken, 1.0, after)[:, None], out=state.basis[:, j + 1])
        self._rotate(column, j)
        return broken

    def _rotate(self, column: Array, j: int) -> None:
        """Bring column j to triangular form, and append a column to the inverse."""
        state = self.state
        first = 0
        if j < self.n_krylov:  # B is symmetric: entries above the tridiagonal are rounding
            first = max(0, j - 2)
            column[:, : max(0, j - 1)] = 0.0
        for k in range(first, j):
            cos, sin = state.cos[:, k], state.sin[:, k]
            above = column[:, k].copy()
            column[:, k] = cos * above + sin * column[:, k + 1]
            column[:, k + 1] = cos * column[:, k + 1] - sin * above
        pivot = np.hypot(column[:, j], column[:, j + 1])
        usable = pivot > 0
        scale = np.divide(1.0, pivot, out=np.zeros_like(pivot), where=usable)
        cos, sin = np.where(usable, column[:, j] * scale, 1.0), column[:, j + 1] * scale
        state.cos[:, j], state.sin[:, j] = cos, sin
        known = state.inverse[:, :j, :j] @ column[:, :j, None]
        state.inverse[:, :j, j] = -known[:, :, 0] * scale[:, None]
        state.inverse[:, j, j] = scale
        state.rhs[:, j + 1] = -sin * state.rhs[:, j]
        state.rhs[:, j] *= cos

    def _misfit2(self, size: int) -> Array:
        state = self.state
        y = state.y[:, :size]
        curvature = (state.gram[:, :size, :size] @ y[:, :, None])[:, :, 0]
        return state.residual2 + np.einsum("ij,ij->i", y, curvature - 2 * state.slope[:, :size])
