"""Coordinates in which a solver iterates: of the thin SVD, or of the operator itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal, Protocol

import numpy as np
from scipy.sparse import issparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from skgrav._checks import check_array, check_matrix, real_array
from skgrav._typing import Array
from skgrav.noise import Whitening
from skgrav.operators import SVD, SVD_SIZE, BaseOperator, DenseMatrix, decomposed_gram

Engine = Literal["auto", "svd", "operator"]

#: Singular values below this share of the largest are rounding.
_NEGLIGIBLE = 1e-11


class LinearSystem(Protocol):
    """Whitened operator ``W A diag(columns)``, applied to rows of coordinates."""

    #: Dimension of the data coordinates, and of the whitened data outside the range of A.
    n_data: int
    n_lost: int

    def forward(self, c: Array) -> Array:
        """Map model coordinates to data coordinates."""

    def adjoint(self, d: Array) -> Array:
        """Map data coordinates to model coordinates."""

    def normal(self, c: Array) -> Array:
        """Apply the normal equations, `adjoint` after `forward`."""

    def data_coordinates(self, data: Array) -> Array:
        """Return the coordinates of whitened data in the range of A."""

    def lost2(self, data: Array) -> Array:
        """Return the squared norm of the part of whitened data outside the range of A."""

    def model_coordinates(self, m: Array) -> Array:
        """Return the coordinates of weighted models in the range of A^T."""

    def model(self, c: Array) -> Array:
        """Return the weighted models of coordinates."""


class DecomposedSystem(ABC):
    """``diag(s)``, exact for Krylov methods, whose iterates lie in the range of A^T."""

    def __init__(self, U: Array, s: Array) -> None:
        self.U, self.s = U, s
        self.n_data, self.n_lost = len(s), len(U) - len(s)

    def forward(self, c: Array) -> Array:
        return c * self.s

    def adjoint(self, d: Array) -> Array:
        return d * self.s

    def normal(self, c: Array) -> Array:
        return c * self.s**2

    def data_coordinates(self, data: Array) -> Array:
        return data @ self.U

    def lost2(self, data: Array) -> Array:
        if not self.n_lost:
            return np.zeros(len(data))
        return np.sum((data - (data @ self.U) @ self.U.T) ** 2, axis=1)

    @abstractmethod
    def model_coordinates(self, m: Array) -> Array: ...

    @abstractmethod
    def model(self, c: Array) -> Array: ...


class SVDSystem(DecomposedSystem):
    """Coordinates of the thin SVD."""

    def __init__(self, svd: SVD) -> None:
        U, s, Vt = svd
        rank = max(1, int(np.sum(s > _NEGLIGIBLE * s[0])))
        super().__init__(U[:, :rank], s[:rank])
        self.Vt = Vt[:rank]

    def model_coordinates(self, m: Array) -> Array:
        return m @ self.Vt.T

    def model(self, c: Array) -> Array:
        return c @ self.Vt


class GramSystem(DecomposedSystem):
    """The same coordinates by products: ``V = A^T W^T U / s``, of a well conditioned operator."""

    def __init__(
        self,
        operator: BaseOperator,
        whitening: Whitening,
        columns: Array | float,
        U: Array,
        s: Array,
    ) -> None:
        super().__init__(U, s)
        self.products, self.whitening, self.columns = operator.products_, whitening, columns

    def model_coordinates(self, m: Array) -> Array:
        return self.whitening(self.products.forward(m * self.columns)) @ self.U / self.s

    def model(self, c: Array) -> Array:
        data = self.whitening.adjoint((c / self.s) @ self.U.T)
        return self.products.adjoint(data) * self.columns


class OperatorSystem:
    """Any linear operator, whitened and with scaled columns, applied to all samples at once."""

    n_lost = 0  # the range of A is not known

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
    """Return an operator or a matrix as a SciPy LinearOperator."""
    if hasattr(operator, "aslinearoperator"):
        return operator.aslinearoperator()
    return aslinearoperator(operator)


def check_operator(operator: Any) -> Any:
    """Return an operator unchanged, and array-likes as checked matrices."""
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
    if engine == "auto" and affordable and isinstance(operator, BaseOperator):
        found = decomposed_gram(operator, whitening, columns)
        if found is not None and found.U is not None and found.s is not None:
            return GramSystem(operator, whitening, columns, found.U, found.s)
    if engine == "svd" or (engine == "auto" and affordable):
        dense = getattr(operator, "dense_", None) or DenseMatrix(np.array(operator, np.float64))
        return SVDSystem(dense.whitened(whitening, columns).svd)
    return OperatorSystem(as_linear_operator(operator), whitening, columns)
