"""Singular value decompositions: thin, of a matrix, and truncated, of an operator."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from sklearn.utils import check_random_state

from skgrav._typing import Array
from skgrav.operators._memory import decomposition_bytes, require

#: Random directions beyond the rank, which make the leading ones accurate.
_OVERSAMPLING = 10

RandomState = int | np.random.RandomState | None


class SVD(NamedTuple):
    """Singular value decomposition ``A = U @ diag(s) @ Vt``, thin or truncated.

    Parameters
    ----------
    U : ndarray of shape (n_data, rank)
        Left singular vectors, in the space of data.
    s : ndarray of shape (rank,)
        Singular values in descending order.
    Vt : ndarray of shape (rank, n_cells)
        Right singular vectors as rows, in the space of densities.

    See Also
    --------
    ForwardOperator : Its attribute `svd_`.

    Examples
    --------
    >>> from skgrav import ForwardOperator, Mesh
    >>> U, s, Vt = ForwardOperator(Mesh.square(4)).fit().svd_
    >>> Vt.shape
    (16, 16)
    """

    U: Array
    s: Array
    Vt: Array


class Products(Protocol):
    """Products of a sensitivity and its transpose with rows of samples."""

    @property
    def shape(self) -> tuple[int, int]:
        """Number of data and of cells."""

    def forward(self, rho: Array) -> Array:
        """Return the gravity of densities, (n_samples, n_data)."""

    def adjoint(self, g: Array) -> Array:
        """Apply the transpose, (n_samples, n_cells)."""

    def column_norms2(self, weights: Array) -> Array:
        """Return the sum of squares of each column, rows weighted, (n_cells,)."""


def thin_svd(matrix: NDArray[Any]) -> SVD:
    """Return the thin SVD of a matrix, read-only."""
    # A QR along the longer side leaves a square matrix for LAPACK's SVD: half the time, and less
    # memory.
    n_data, n_cells = matrix.shape
    require(
        decomposition_bytes(n_data, n_cells),
        f"the decomposition of {n_data} data x {n_cells} cells",
        "Take a coarser 'mesh' or fewer stations in 'survey'.",
    )
    tall = n_data > n_cells
    long = np.asarray(matrix if tall else matrix.T, dtype=np.float64)
    Q, R = linalg.qr(long, mode="economic", check_finite=False)
    U, s, Vt = linalg.svd(R if tall else R.T, full_matrices=False, check_finite=False)
    return _frozen(Q @ U, s, Vt) if tall else _frozen(U, s, Vt @ Q.T)


def randomized_svd(
    operator: Products, rank: int, n_power_iter: int, random_state: RandomState
) -> SVD:
    """Return the truncated SVD of an operator by random projection, read-only [1]_.

    References
    ----------
    .. [1] Halko, Martinsson and Tropp (2011), Finding structure with randomness, SIAM Review 53.
    """
    n_data, n_cells = operator.shape
    size = min(rank + _OVERSAMPLING, n_data, n_cells)
    # Rows of `basis` approach the leading left singular vectors with each power iteration, and are
    # orthonormalised before rounding removes the smaller directions.
    seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)
    basis = linalg.orth(np.random.default_rng(seed).standard_normal((n_data, size))).T
    for _ in range(n_power_iter):
        images = operator.forward(operator.adjoint(basis))
        basis = linalg.qr(images.T, mode="economic")[0].T
    U, s, Vt = thin_svd(operator.adjoint(basis))
    return _frozen(basis.T @ U[:, :rank], s[:rank], Vt[:rank])


def _frozen(*factors: Array) -> SVD:
    for factor in factors:
        factor.setflags(write=False)
    return SVD(*factors)
