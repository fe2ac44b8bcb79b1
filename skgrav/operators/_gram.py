"""Data-space decomposition of an operator that is applied by FFTs: no matrix is formed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from skgrav._typing import Array
from skgrav.noise import Whitening
from skgrav.operators._anywhere import AnywhereOperator
from skgrav.operators._base import BaseOperator
from skgrav.operators._fraction import whole_cells
from skgrav.operators._shared import shared
from skgrav.operators._toeplitz import ToeplitzOperator

#: Smallest singular value relative to the largest. Squares lose half the digits, so that smaller
#: ones would be wrong by more than 1e-10.
_SMALLEST = 1e-3

#: Rows of the product that are computed together.
_ROWS = 32


@dataclass(frozen=True)
class GramDecomposition:
    """Left singular vectors and singular values of ``W A diag(columns)``.

    From the eigenvectors of its product with its transpose, of the size of the data squared. Both
    are None where the operator is too badly conditioned for that.
    """

    U: Array | None
    s: Array | None


def decomposed_gram(
    operator: BaseOperator, whitening: Whitening, columns: Array | float
) -> GramDecomposition | None:
    """Return the decomposition of an operator applied by FFTs, None where it does not serve."""
    products = operator.products_
    n_data, n_cells = products.shape
    fast = isinstance(whole_cells(products), ToeplitzOperator | AnywhereOperator)
    if not fast or n_data > n_cells:
        return None
    columns2 = np.atleast_1d(columns) ** 2

    def build() -> GramDecomposition:
        gram = np.empty((n_data, n_data))
        for start in range(0, n_data, _ROWS):
            rows = np.zeros((min(_ROWS, n_data - start), n_data))
            rows[np.arange(len(rows)), start + np.arange(len(rows))] = 1.0
            gram[start : start + _ROWS] = products.forward(products.adjoint(rows) * columns2)
        white = whitening(whitening(gram).T)
        values, vectors = linalg.eigh((white + white.T) / 2, check_finite=False)
        if not values[0] > _SMALLEST**2 * values[-1]:
            return GramDecomposition(None, None)
        U, s = np.ascontiguousarray(vectors[:, ::-1]), np.sqrt(values[::-1])
        for part in (U, s):
            part.setflags(write=False)
        return GramDecomposition(U, s)

    key = *operator.identity_, "gram", *whitening.key, columns2.tobytes()
    found = shared(key, build)
    operator._kept().gram = found  # kept as long as the operator
    return found if found.U is not None else None
