"""Functions of a matrix that is only applied, on several vectors, in one common Krylov space."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, Self

import numpy as np
from scipy import linalg

from skgrav._typing import Array, Mask

Product = Callable[[Array], Array]

#: Least damping relative to the largest eigenvalue, at which rounding leaves a positive matrix.
_LEAST = 1e-15

#: Directions of a block below this share of the largest are rounding.
_RANK = 1e-12

#: Largest space, whose matrix is factorised in seconds.
LARGEST = 4000

#: Share by which a space grows between two looks at its solutions.
_SHARE = 0.2


class BlockSpace(NamedTuple):
    """An orthonormal basis of a block Krylov space, and the matrix in it.

    Several vectors need far fewer products in a common space than each in its own, since the
    leading eigenvectors are found once.
    """

    #: Rows, (n_basis, n).
    basis: Array
    matrix: Array
    #: The part out of the space of the images of its last rows, and an orthonormal basis of it.
    beyond: Array
    ahead: Array
    #: Number of rows of the basis after each growth.
    sizes: tuple[int, ...] = ()

    @classmethod
    def of(cls, rows: Array) -> Self:
        """Return an empty space that begins with vectors."""
        none = np.zeros((0, rows.shape[1]))
        return cls(none, np.zeros((0, 0)), none, none).with_rows(rows)

    def with_rows(self, rows: Array) -> Self:
        """Return the space with further vectors ahead."""
        size = np.linalg.norm(rows, axis=1, keepdims=True)
        out = np.divide(rows, size, out=np.zeros_like(rows), where=size > 0)
        for _ in range(2):  # once would lose orthogonality
            out -= (out @ self.basis.T) @ self.basis
        return self._replace(ahead=_orthonormal(np.concatenate([self.ahead, out]), 1.0))

    def first(self, n: int) -> Self:
        """Return the space as it was when it had at least n vectors."""
        k = int(np.searchsorted(self.sizes, n))
        if k >= len(self.sizes) - 1:
            return self
        last, end, ahead = (0, *self.sizes)[k : k + 3]
        return type(self)(
            self.basis[:end],
            self.matrix[:end, :end],
            self.matrix[last:end, end:ahead] @ self.basis[end:ahead],
            self.basis[end:ahead],
            self.sizes[: k + 1],
        )

    @property
    def is_whole(self) -> bool:
        """Whether the matrix maps the space into itself."""
        return len(self.ahead) == 0

    def coupling(self, n: int) -> Array:
        """Return the images of the first n rows of the basis out of their space, in some frame."""
        if n < len(self.basis):
            return self.matrix[n:, :n]
        last = linalg.qr(self.beyond.T, mode="r")[0][: len(self.beyond)]
        return np.hstack([np.zeros((len(last), n - len(self.beyond))), last])

    def grown(self, product: Product) -> BlockSpace:
        """Return the space with the rows ahead, whose images by the matrix are computed."""
        start, ahead = len(self.basis), self.ahead
        basis = np.concatenate([self.basis, ahead])
        image = product(ahead)
        columns = basis @ image.T
        matrix = np.zeros((len(basis), len(basis)))
        matrix[:start, :start] = self.matrix
        matrix[:, start:], matrix[start:, :] = columns, columns.T
        image -= columns.T @ basis
        image -= (image @ basis.T) @ basis  # once would lose orthogonality
        scale = float(np.abs(np.diag(matrix)).max(initial=0.0))
        ahead = _orthonormal(image, scale)[: basis.shape[1] - len(basis)]
        if len(ahead) == 0:
            image = np.zeros_like(image)
        return BlockSpace(basis, matrix, image, ahead, (*self.sizes, len(basis)))

    def solve(self, rows: Array, alpha: float) -> tuple[Array, Array]:
        """Return solutions of the damped system and the norms of their residuals."""
        least = _LEAST * len(self.matrix) * np.abs(np.diag(self.matrix)).max()
        damped = self.matrix + max(alpha, least) * np.eye(len(self.matrix))
        y = linalg.solve(damped, self.basis @ rows.T, assume_a="pos", overwrite_a=True)
        left = y[len(y) - len(self.beyond) :].T @ self.beyond
        return (self.basis.T @ y).T, np.linalg.norm(left, axis=1)


def block_spaces(
    product: Product, rows: Array, n_iter: int, start: BlockSpace | None = None
) -> Iterator[BlockSpace]:
    """Iterate over growing spaces of vectors, or of these and a space, at increasing distances."""
    space = BlockSpace.of(rows) if start is None else start.with_rows(rows)
    if space.is_whole:
        yield space
        return
    known = look = len(space.basis)
    for k in range(n_iter):
        space = space.grown(product)
        is_last = space.is_whole or k == n_iter - 1 or len(space.basis) >= LARGEST
        if is_last or len(space.basis) >= look:
            look = int(len(space.basis) + _SHARE * (len(space.basis) - known))
            yield space
        if is_last:
            return


def solved_together(
    product: Product,
    rows: Array,
    alpha: float,
    n_iter: int,
    tol: float,
    start: BlockSpace | None = None,
) -> tuple[Array, Mask]:
    """Return ``(B + alpha)^-1`` times rows, and which of these have converged."""
    for space in block_spaces(product, rows, n_iter, start):
        found, left = space.solve(rows, alpha)
        converged = left <= tol * alpha * np.linalg.norm(found, axis=1)
        if converged.all():
            break
    return found, converged


def _orthonormal(rows: Array, scale: float = 0.0) -> Array:
    """Return an orthonormal basis of rows, less what is rounding relative to a scale."""
    q, r, _ = linalg.qr(rows.T, mode="economic", pivoting=True)
    size = np.abs(np.diag(r))
    return np.ascontiguousarray(q.T[size > _RANK * max(scale, size.max(initial=0.0))])
