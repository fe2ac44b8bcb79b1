"""Spectra of matrices that are only applied, by quadrature in Krylov spaces of random vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import eigh_tridiagonal

from skgrav._typing import Array

#: Largest size at which the matrix itself is computed, and rows in a block of it.
_EXACT, _ROWS = 500, 16

#: Number of random vectors: this many over the size of the matrix, within limits.
_VECTORS, _FEWEST, _MOST = 8000, 2, 16


class _Course(NamedTuple):
    """Lanczos iterations of several vectors."""

    #: Entries of the tridiagonal matrices, (n_iterations, n_vectors).
    diagonal: Array
    off: Array
    vector: Array
    previous: Array


class Spectrum:
    """Eigenvalues of a symmetric matrix with weights, as traces of its functions need them.

    Each random vector of signs z gives in its Krylov space the quadrature of ``z^T f(B) z``, whose
    expectation is the trace of f(B), with the standard deviation ``sqrt(2 tr(f(B)^2) / n)`` at
    most for n vectors [1]_. The vectors have a fixed seed. They are not reorthogonalised, which
    only delays the quadrature, so there is no basis to keep.

    References
    ----------
    .. [1] Ubaru, Chen and Saad (2017), Fast estimation of tr(f(A)) via stochastic Lanczos
       quadrature, SIAM Journal on Matrix Analysis and Applications 38.
    """

    def __init__(self, product: Callable[[Array], Array], size: int) -> None:
        #: Product of rows with the matrix.
        self.product = product
        self.size = size
        self._course: _Course | None = None
        self._eigenvalues: Array | None = None

    def quadrature(self, n_iter: int) -> tuple[Array, Array]:
        """Return nodes and weights, whose sum is the size, after a number of iterations.

        They do not depend on the iterations that were made before.
        """
        if self.size <= _EXACT:
            if self._eigenvalues is None:
                rows = [
                    self.product(np.eye(min(_ROWS, self.size - i), self.size, i))
                    for i in range(0, self.size, _ROWS)
                ]
                matrix = np.concatenate(rows)
                self._eigenvalues = np.maximum(np.linalg.eigvalsh((matrix + matrix.T) / 2), 0.0)
            return self._eigenvalues, np.ones(self.size)
        n_iter = min(n_iter, self.size)
        course = self._course or self._start()
        if len(course.diagonal) < n_iter:
            course = self._continued(course, n_iter)
            self._course = course  # as a whole, for threads
        nodes, weights = [], []
        n_vectors = course.diagonal.shape[1]
        for j in range(n_vectors):
            values, vectors = eigh_tridiagonal(
                course.diagonal[:n_iter, j], course.off[: n_iter - 1, j]
            )
            nodes.append(np.maximum(values, 0.0))
            weights.append(vectors[0] ** 2 * (self.size / n_vectors))
        return np.concatenate(nodes), np.concatenate(weights)

    def _start(self) -> _Course:
        n = int(np.clip(-(-_VECTORS // self.size), _FEWEST, _MOST))
        signs = np.random.default_rng(0).choice([-1.0, 1.0], (n, self.size))
        none = np.zeros((0, n))
        return _Course(none, none, signs / np.sqrt(self.size), np.zeros_like(signs))

    def _continued(self, course: _Course, n_iter: int) -> _Course:
        diagonal, off, vector, previous = course
        diagonals, offs = list(diagonal), list(off)
        while len(diagonals) < n_iter:
            image = self.product(vector)
            if offs:
                image -= offs[-1][:, None] * previous
            diagonals.append(np.sum(vector * image, axis=1))
            image -= diagonals[-1][:, None] * vector
            offs.append(np.linalg.norm(image, axis=1))
            # Where nothing is left, zeros follow, which have no weight.
            size = np.where(offs[-1] > 0, offs[-1], 1.0)
            vector, previous = image / size[:, None], vector
        return _Course(np.array(diagonals), np.array(offs), vector, previous)

    def __getstate__(self) -> dict[str, Any]:
        # What can be computed again is not pickled.
        return vars(self) | {"_course": None, "_eigenvalues": None}
