"""One Arnoldi cycle of GMRES or LGMRES for a batch of samples."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from skgrav.solvers._base import Array, fraction_to_noise
from skgrav.solvers._system import LinearSystem

_EPS = np.finfo(np.float64).eps

#: Share of samples still iterating below which the others are left out of the arrays.
_CROWDED = 0.75


class ArnoldiCycle:
    """One cycle of (flexible) Arnoldi for a batch, from which samples retire when they are done.

    The data residual of every iterate follows from small products alone: with directions Z,
    Gram matrix ``Z^T B Z`` and slope ``Z^T gradient``, ``||d - A Z y||^2 = ||d||^2 - 2 y.slope +
    y.Gram.y``. The rotated Hessenberg matrix is inverted column by column, since the leading
    block of a triangular inverse is the inverse of the leading block.
    """

    #: Arrays with a row for each sample that still iterates.
    _per_sample = (
        "rows",
        "beta",
        "last",
        "residual",
        "residual2",
        "memory",
        "basis",
        "cos",
        "sin",
        "inverse",
        "gram",
        "slope",
        "rhs",
        "y",
        "tolerance",
        "target2",
    )

    def __init__(
        self, system: LinearSystem, gradient: Array, residual: Array, n_krylov: int, memory: Array
    ) -> None:
        n, size = gradient.shape
        self.n_krylov = min(n_krylov, size)
        total = self.n_krylov + memory.shape[1]
        self.system = system
        # Of all samples, as they came: the step, and why it ended.
        self.step = np.zeros((n, size))
        self.reached, self.broken = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
        self.rows, self.live = np.arange(n), np.ones(n, dtype=bool)
        self.residual, self.memory = residual, memory
        self.residual2 = np.sum(residual**2, axis=1)
        self.beta = self.last = np.linalg.norm(gradient, axis=1)
        self.basis = np.empty((n, total + 1, size))
        self.basis[:, 0] = gradient / self.beta[:, None]
        self.cos, self.sin = np.zeros((n, total)), np.zeros((n, total))
        self.inverse = np.zeros((n, total, total))
        self.gram = np.zeros((n, total, total))
        self.slope = np.zeros((n, total))
        self.rhs = np.zeros((n, total + 1))
        self.rhs[:, 0] = self.beta
        self.y = np.zeros((n, total))

    def run(self, tolerance: Array, target2: Array) -> Iterator[tuple[NDArray[np.intp], Array]]:
        """Iterate until each sample meets its tolerance; yield who iterated, and its misfit."""
        self.tolerance, self.target2 = tolerance, target2
        total = self.slope.shape[1]
        for j in range(total):
            broken = self._expand(j)
            before = self.y[:, : j + 1].copy()
            self.y[:, : j + 1] += self.rhs[:, j, None] * self.inverse[:, : j + 1, j]
            reached2 = self._misfit2(j + 1)
            yield self.rows[self.live], reached2[self.live]
            reached = np.abs(self.rhs[:, j + 1]) <= self.tolerance
            done = reached | broken | (reached2 <= self.target2) | (j == total - 1)
            self._retire(done & self.live, before, reached, broken)
            if not self.live.any():
                return
            if self.live.mean() < _CROWDED:  # go on with the others alone
                for name in self._per_sample:
                    setattr(self, name, getattr(self, name)[self.live])
                self.live = np.ones(len(self.rows), dtype=bool)

    def _retire(
        self,
        done: NDArray[np.bool_],
        before: Array,
        reached: NDArray[np.bool_],
        broken: NDArray[np.bool_],
    ) -> None:
        """Note the steps of samples that are done; `before` led to the last but one iterate."""
        rows, size = self.rows[done], before.shape[1]
        directions = self._directions(size)
        if not done.all():
            directions = directions[done]
        step = (self.y[done, None, :size] @ directions)[:, 0]
        target2 = self.target2[done]
        if target2.any():  # of the last iteration take only what the noise allows
            last = (before[done, None] @ directions)[:, 0]
            residual, forward = self.residual[done], self.system.forward
            part = fraction_to_noise(residual - forward(last), residual - forward(step), target2)
            step = last + part[:, None] * (step - last)
        self.step[rows], self.reached[rows], self.broken[rows] = step, reached[done], broken[done]
        self.live &= ~done

    def _directions(self, size: int) -> Array:
        krylov = self.basis[:, : min(size, self.n_krylov)]
        if size <= self.n_krylov:
            return krylov
        return np.concatenate([krylov, self.memory[:, : size - self.n_krylov]], axis=1)

    def _expand(self, j: int) -> NDArray[np.bool_]:
        """Add direction j; return where the space is exhausted."""
        basis = self.basis[:, : j + 1]
        augmented = j >= self.n_krylov
        z = self.memory[:, j - self.n_krylov] if augmented else basis[:, j]
        w = self.system.normal(z)
        column = np.zeros((len(w), j + 2))
        if augmented:  # basis and directions differ: their products must be taken anew
            directions = self._directions(j + 1)
            self.gram[:, : j + 1, j] = (directions @ w[:, :, None])[:, :, 0]
            self.slope[:, j] = self.beta * np.sum(z * self.basis[:, 0], axis=1)
        passes = 2  # since one pass of Gram-Schmidt loses orthogonality
        if not augmented:  # B is symmetric: in exact arithmetic only the last two overlap
            passes = 1
            column[:, j] = np.einsum("ij,ij->i", w, z)
            w -= column[:, j, None] * z
            if j:
                column[:, j - 1] = self.last
                w -= self.last[:, None] * basis[:, j - 1]
        for _ in range(passes):
            h = (basis @ w[:, :, None])[:, :, 0]
            w -= (h[:, None, :] @ basis)[:, 0]
            column[:, : j + 1] += h
        if not augmented:
            self.gram[:, : j + 1, j] = column[:, : j + 1]
            self.slope[:, j] = self.beta if j == 0 else 0.0
        self.gram[:, j, :j] = self.gram[:, :j, j]
        after = np.sqrt(np.einsum("ij,ij->i", w, w))
        before2 = np.einsum("ij,ij->i", column, column)  # Pythagoras spares the norm of w
        broken = after <= 10 * _EPS * np.sqrt(before2)
        after[broken] = 0.0
        column[:, j + 1] = self.last = after
        np.divide(w, np.where(broken, 1.0, after)[:, None], out=self.basis[:, j + 1])
        self._rotate(column, j)
        return broken

    def _rotate(self, column: Array, j: int) -> None:
        """Bring column j to triangular form, and append a column to the inverse."""
        first = 0
        if j < self.n_krylov:  # B is symmetric: what stands above the tridiagonal is rounding
            first = max(0, j - 2)
            column[:, : max(0, j - 1)] = 0.0
        for k in range(first, j):
            cos, sin = self.cos[:, k], self.sin[:, k]
            above = column[:, k].copy()
            column[:, k] = cos * above + sin * column[:, k + 1]
            column[:, k + 1] = cos * column[:, k + 1] - sin * above
        pivot = np.hypot(column[:, j], column[:, j + 1])
        usable = pivot > 0
        scale = np.divide(1.0, pivot, out=np.zeros_like(pivot), where=usable)
        cos, sin = np.where(usable, column[:, j] * scale, 1.0), column[:, j + 1] * scale
        self.cos[:, j], self.sin[:, j] = cos, sin
        known = self.inverse[:, :j, :j] @ column[:, :j, None]
        self.inverse[:, :j, j] = -known[:, :, 0] * scale[:, None]
        self.inverse[:, j, j] = scale
        self.rhs[:, j + 1] = -sin * self.rhs[:, j]
        self.rhs[:, j] *= cos

    def _misfit2(self, size: int) -> Array:
        y = self.y[:, :size]
        curvature = (self.gram[:, :size, :size] @ y[:, :, None])[:, :, 0]
        return self.residual2 + np.einsum("ij,ij->i", y, curvature - 2 * self.slope[:, :size])
