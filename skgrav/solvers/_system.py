"""The coordinates in which a solver iterates: of the thin SVD, or those of the operator itself."""

from __future__ import annotations

from typing import Any, Literal, Protocol

import numpy as np
from scipy.sparse import issparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from skgrav._checks import check_array, check_matrix, real_array
from skgrav._typing import Array
from skgrav.noise import Whitening
from skgrav.operators import SVD, SVD_SIZE, BaseOperator, DenseMatrix

Engine = Literal["auto", "svd", "operator"]

#: Singular values below this share of the largest carry nothing but rounding.
_NEGLIGIBLE = 1e-11


class LinearSystem(Protocol):
    """Whitened operator ``W A diag(columns)`` on batches of coordinates, one row each."""

    #: Dimension of the data coordinates, and of the whitened data that no model can change.
    n_data: int
    n_lost: int

    def forward(self, c: Array) -> Array:
        """Map model coordinates to data coordinates."""

    def adjoint(self, d: Array) -> Array:
        """Map data coordinates to model coordinates."""

    def normal(self, c: Array) -> Array:
        """Apply the normal equations, `adjoint` after `forward`."""

    def data_coordinates(self, data: Array) -> Array:
        """Return the part of whitened data that a model can change."""

    def lost2(self, data: Array) -> Array:
        """Return the squared norm of the part of whitened data that no model can change."""

    def model_coordinates(self, m: Array) -> Array:
        """Return the part of weighted models that the data see."""

    def model(self, c: Array) -> Array:
        """Return the weighted models that coordinates stand for."""


class SVDSystem:
    """``diag(s)``: every Krylov iterate lies in the range of A^T, so nothing is lost."""

    def __init__(self, svd: SVD) -> None:
        U, s, Vt = svd
        rank = max(1, int(np.sum(s > _NEGLIGIBLE * s[0])))
        self.U, self.s, self.Vt = U[:, :rank], s[:rank], Vt[:rank]
        self.n_data, self.n_lost = rank, len(U) - rank

    def forward(self, c: Array) -> Array:
        return c * self.s

    def adjoint(self, d: Array) -> Array:
        return d * self.s

    def normal(self, c: Array) -> Array:
        return c * self.s**2

    def data_coordinates(self, data: Array) -> Array:
        return data @ self.U

    def lost2(self, data: Array) -> Array:
        return np.sum((data - (data @ self.U) @ self.U.T) ** 2, axis=1)

    def model_coordinates(self, m: Array) -> Array:
        return m @ self.Vt.T

    def model(self, c: Array) -> Array:
        return c @ self.Vt


class OperatorSystem:
    """Any linear operator, whitened and with columns scaled, applied to all samples at once."""

    n_lost = 0

    def __init__(self, operator: LinearOperator, whitening: Whitening, columns: Array | float):
        self.operator, self.whitening, self.columns = operator, whitening, columns
        self.n_data = whitening.n_white

    def forward(self, c: Array) -> Array:
        return self.whitening(self.operator.matmat((c * self.columns).T).T)

    def adjoint(self, d: Array) -> Array:
        return self.operator.rmatmat(self.whitening.adjoint(d).T).T * self.columns

    def normal(self, c: Array) -> Array:
        return self.adjoint(self.forward(c))

    def data_coordinates(self, data: Array) -> Array:
        return data

    def lost2(self, data: Array) -> Array:
        return np.zeros(len(data))

    def model_coordinates(self, m: Array) -> Array:
        return m

    def model(self, c: Array) -> Array:
        return c


def as_linear_operator(operator: Any) -> LinearOperator:
    """Return a SciPy LinearOperator of one of ours, a matrix or a LinearOperator."""
    if hasattr(operator, "aslinearoperator"):
        return operator.aslinearoperator()
    return aslinearoperator(operator)


def check_operator(operator: Any) -> Any:
    """Return an operator as it is, and array-likes as matrices that products do not lose."""
    if isinstance(operator, BaseOperator | LinearOperator):
        return operator
    if issparse(operator):
        check_matrix(real_array(operator.data, "operator"), "operator")
        return operator
    return check_matrix(check_array(operator, "operator"), "operator")


def make_system(
    operator: Any, engine: Engine, whitening: Whitening, columns: Array | float = 1.0
) -> LinearSystem:
    """Return ``W A diag(columns)`` in the coordinates of `engine`."""
    affordable = False
    if isinstance(operator, BaseOperator):
        affordable = operator.is_decomposable_
    elif isinstance(operator, np.ndarray):
        affordable = min(operator.shape) <= SVD_SIZE
    elif engine == "svd":
        raise ValueError(
            f"engine='svd' needs a matrix, but 'operator' is a {type(operator).__name__}. Use "
            "engine='operator'."
        )
    if engine == "svd" or (engine == "auto" and affordable):
        dense = getattr(operator, "dense_", None) or DenseMatrix(np.array(operator, np.float64))
        return SVDSystem(dense.whitened(whitening, columns).svd)
    return OperatorSystem(as_linear_operator(operator), whitening, columns)
