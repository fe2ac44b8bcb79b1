"""Operator without geometry: a given matrix, or one identified from pairs."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.linear_model import Ridge
from sklearn.utils import Tags

from skgrav._checks import check_array, check_matrix, validate_data
from skgrav._constraints import Interval
from skgrav._typing import Array
from skgrav.io import FEATURES, Field, saved
from skgrav.operators._base import BaseOperator, Held
from skgrav.operators._sensitivity import DenseMatrix


@saved
class MatrixOperator(BaseOperator):
    """Linear operator from density to gravity, given as a matrix or identified from pairs.

    Parameters
    ----------
    matrix : array-like of shape (n_data, n_cells), default=None
        The sensitivity matrix, in the units of the data. None identifies it in `fit` from pairs of
        density and gravity by ridge regression without intercept.
    alpha : float, default=1e-8
        Ridge penalty, relative to the mean eigenvalue of the densities' Gram matrix.

    Attributes
    ----------
    matrix_ : ndarray of shape (n_data, n_cells)
        Sensitivity matrix, read-only.
    svd_ : SVD
        Thin singular value decomposition of the matrix, computed at first use; if the smaller side
        is above 4,000, its 200 largest singular values.
    held_out_error_ : float
        Misfit on held-out pairs, relative to their gravity, that noise does not explain; only if
        `resolve_operator` identified the matrix.
    n_cells_, n_features_in_ : int
        Number of cells.
    n_data_ : int
        Number of data.

    Raises
    ------
    ValueError
        If the densities do not match the matrix, or neither matrix nor gravity is given.

    See Also
    --------
    ForwardOperator : The operator of a mesh and a survey.

    Examples
    --------
    >>> import numpy as np
    >>> from skgrav import MatrixOperator
    >>> rng = np.random.default_rng(0)
    >>> rho, A = rng.normal(size=(50, 4)), rng.normal(size=(3, 4))
    >>> identified = MatrixOperator().fit(rho, rho @ A.T)
    >>> bool(np.allclose(identified.matrix_, A, rtol=1e-5))
    True
    """

    _parameter_constraints: dict[str, list[Any]] = {
        "matrix": ["array-like", None],
        "alpha": [Interval(Real, 0, None, closed="neither")],
    }

    _file_fields: ClassVar = (
        *FEATURES,
        Field("matrix_", Array, ("n_data", "n_features_in_")),
        Field("held_out_error_", float, optional=True),
    )
    _file_left_out: ClassVar = {"_held"}

    held_out_error_: float
    _held: Held

    def __init__(self, matrix: ArrayLike | None = None, *, alpha: float = 1e-8) -> None:
        self.matrix = matrix
        self.alpha = alpha

    def fit(self, X: ArrayLike, y: ArrayLike | None = None) -> Self:
        """Check or identify the matrix.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_cells)
            Densities.
        y : array-like of shape (n_samples, n_data), default=None
            Gravity of these densities; needed only if `matrix` is None.

        Returns
        -------
        self : MatrixOperator
            The fitted operator.
        """
        self._validate_params()
        if self.matrix is not None:
            X = validate_data(self, X)
            matrix = check_matrix(check_array(self.matrix, "matrix", copy=True), "matrix")
            if matrix.shape[1] != X.shape[1]:
                raise ValueError(
                    f"'X' has {X.shape[1]} columns, but 'matrix' of shape {matrix.shape} maps "
                    f"{matrix.shape[1]} cells."
                )
        else:
            if y is None:
                raise ValueError(
                    "requires y to be passed, but the target y is None: 'matrix' is None too, and "
                    "is identified from densities and their gravity. Give one of them."
                )
            X, y = validate_data(self, X, y)
            matrix = self._identify(X, y.reshape(len(X), -1))
        self._held = Held(DenseMatrix(matrix))
        self.__dict__.pop("held_out_error_", None)  # of an earlier fit
        return self

    def _file_parameters(self) -> dict[str, Any]:
        matrix = None if self.matrix is None else np.asarray(self.matrix)
        return {"matrix": matrix, "alpha": self.alpha}

    def _file_state(self) -> dict[str, Any]:
        return vars(self) | {"matrix_": self.matrix_}

    def _file_restore(self, state: dict[str, Any]) -> None:
        self._held = Held(DenseMatrix(state.pop("matrix_")))
        self.__dict__.update(state)

    def _kept(self) -> Held:
        return self._held

    @property
    def identity_(self) -> tuple[object, ...]:
        return self.dense_.digest

    def _identify(self, rho: Array, g: Array) -> Array:
        # Mean of the nonzero eigenvalues of the Gram matrix: its trace by its largest rank.
        scale = np.sum(rho**2) / min(rho.shape) or 1.0
        ridge = Ridge(alpha=self.alpha * scale, fit_intercept=False, solver="cholesky")
        return ridge.fit(rho, g).coef_.reshape(g.shape[1], rho.shape[1])

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_held")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = self.matrix is None
        return tags
