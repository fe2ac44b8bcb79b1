"""Spectra of matrices that are only applied, by quadrature in Krylov spaces of random vectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from skgrav._typing import Array
from skgrav.inverters._krylov_block import LARGEST, BlockSpace, Product

#: Residual of an eigenvector in the space, relative to its eigenvalue, at which it counts as found.
_FOUND = 1e-2

#: Eigenvalues below this share of alpha explain next to nothing.
_EXPLAINED = 0.1

#: Number of random vectors, and of rows in a block.
_VECTORS = 16


class Spectrum:
    """Eigenvalues of a symmetric matrix with weights, as traces of its functions need them.

    Random vectors of signs z give in their common Krylov space the quadratures of ``z^T f(B) z``,
    whose expectation is the trace of f(B), with the standard deviation ``sqrt(2 tr(f(B)^2) / n)``
    at most for n vectors [1]_, and less since eigenvalues that the space contains count as they
    are. The vectors have a fixed seed.

    References
    ----------
    .. [1] Ubaru, Chen and Saad (2017), Fast estimation of tr(f(A)) via stochastic Lanczos
       quadrature, SIAM Journal on Matrix Analysis and Applications 38.
    """

    def __init__(self, product: Product, size: int) -> None:
        #: Product of rows with the matrix.
        self.product = product
        self.size = size
        self._space: BlockSpace | None = None
        self._known: dict[int, tuple[Array, Array]] = {}

    def quadrature(self, n_nodes: int) -> tuple[Array, Array]:
        """Return at least as many nodes, and weights, whose sum is the size.

        They do not depend on those that were asked for before.
        """
        n_nodes = min(self.size, LARGEST, -(-n_nodes // _VECTORS) * _VECTORS)
        if n_nodes not in self._known:
            self._known[n_nodes] = self._drawn(n_nodes)
        return self._known[n_nodes]

    def _drawn(self, n_nodes: int) -> tuple[Array, Array]:
        space, signs = self._grown(n_nodes), self._signs
        n_nodes = min(n_nodes, len(space.basis))
        values, vectors = np.linalg.eigh(space.matrix[:n_nodes, :n_nodes])
        # The vectors lie in the first block of the basis.
        c = (signs @ space.basis[:_VECTORS].T) @ vectors[:_VECTORS]
        weights = np.mean(c**2, axis=0)
        # Eigenvalues that the space contains have the weight 1, and only the others a random one.
        found = np.linalg.norm(space.coupling(n_nodes) @ vectors, axis=0) <= _FOUND * values
        weights[~found] *= (self.size - found.sum()) / max(weights[~found].sum(), 1e-300)
        weights[found] = 1.0
        return np.maximum(values, 0.0), weights

    @property
    def _signs(self) -> Array:
        return np.random.default_rng(0).choice([-1.0, 1.0], (_VECTORS, self.size))

    def _grown(self, n_nodes: int) -> BlockSpace:
        """Return a space of at least that size, unless a smaller one is whole."""
        space = self._space or BlockSpace.of(self._signs)
        while len(space.basis) < n_nodes and not space.is_whole:
            space = space.grown(self.product)
        self._space = space  # as a whole, for threads
        return space

    def space(self, alpha: float, n_iter: int) -> tuple[BlockSpace, bool]:
        """Return a space of all eigenvectors whose eigenvalues are not far below alpha.

        The last value says whether these are found within a number of iterations.
        """
        n_nodes, explained = _VECTORS, False
        most = min(self.size, LARGEST, n_iter * _VECTORS)
        while not explained and n_nodes < most:
            n_nodes = min(int(1.6 * n_nodes) + _VECTORS, most)
            nodes, weights = self.quadrature(n_nodes)
            # Only eigenvalues that are found have the weight 1.
            explained = bool((weights[nodes > _EXPLAINED * alpha] == 1.0).all())
        space = self._grown(n_nodes).first(n_nodes)
        return space, explained or space.is_whole

    def __getstate__(self) -> dict[str, Any]:
        # What can be computed again is not pickled.
        return vars(self) | {"_space": None, "_known": {}}
