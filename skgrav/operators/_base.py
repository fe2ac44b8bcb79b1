"""What every operator that holds a matrix can do."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.linalg import LinearOperator, aslinearoperator
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from skgrav.operators._dense import SVD, DenseMatrix
from skgrav.operators._lazy import is_lazy, lazily


class BaseOperator(TransformerMixin, BaseEstimator, ABC):
    """Transformer from density to gravity through the matrix of `_dense`."""

    @property
    @abstractmethod
    def _dense(self) -> DenseMatrix:
        """Matrix of the fitted operator."""

    @property
    def matrix_(self) -> NDArray[np.float64]:
        """Read-only sensitivity matrix of shape (n_data, n_cells)."""
        check_is_fitted(self)
        return self._dense.matrix

    @property
    def svd_(self) -> SVD:
        """Thin SVD ``(U, s, Vt)`` of the matrix, computed once."""
        check_is_fitted(self)
        return self._dense.svd

    @property
    def n_cells_(self) -> int:
        """Number of cells, the length of a density vector."""
        return int(self.n_features_in_)

    @property
    def n_data_(self) -> int:
        """Number of data, the length of a gravity vector."""
        return self.matrix_.shape[0]

    def transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """Compute the gravity of densities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_cells)
            Densities, or density contrasts.

        Returns
        -------
        g : ndarray of shape (n_samples, n_data)
            Gravity, component-major; gz is positive toward a positive mass below.
        """
        if is_lazy(X):
            return lazily(self.transform, X)
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        return X @ self.matrix_.T

    def inverse_transform(self, X: ArrayLike, *, rcond: float = 1e-2) -> NDArray[np.float64]:
        """Compute the filtered minimum-norm density that explains gravity.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_data)
            Gravity, component-major.
        rcond : float, default=1e-2
            Singular values below `rcond` times the largest are cut off. Noise passes amplified
            by up to ``1 / rcond``, so choose it by the noise of the data.

        Returns
        -------
        rho : ndarray of shape (n_samples, n_cells)
            The density of least norm; the null space of the operator stays empty.
        """
        if is_lazy(X):
            return lazily(self.inverse_transform, X, rcond=rcond)
        check_is_fitted(self)
        X = check_array(X, dtype=np.float64, input_name="X")
        if X.shape[1] != self.n_data_:
            raise ValueError(f"'X' has {X.shape[1]} data, but this operator has {self.n_data_}.")
        if not 0 <= rcond < 1:
            raise ValueError(f"'rcond' is {rcond}; it must be at least 0 and below 1.")
        U, s, Vt = self.svd_
        kept = s > rcond * s[0]
        return (X @ U[:, kept] / s[kept]) @ Vt[kept]

    def aslinearoperator(self) -> LinearOperator:
        """Return the operator as a SciPy LinearOperator.

        Returns
        -------
        linear_operator : scipy.sparse.linalg.LinearOperator
            Operator of shape (n_data, n_cells) with its adjoint.
        """
        return aslinearoperator(self.matrix_)

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> NDArray[np.object_]:
        """Get the names of the data.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Ignored, for scikit-learn's interface.

        Returns
        -------
        names : ndarray of shape (n_data,)
            Names such as ``gz12``, component and station; ``g12`` where there is no survey.
        """
        check_is_fitted(self)
        return np.array(self._data_names(), dtype=object)

    def _data_names(self) -> list[str]:
        return [f"g{i}" for i in range(self.n_data_)]
