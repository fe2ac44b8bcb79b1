"""Base class of operators."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.linalg import LinearOperator
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from skgrav._checks import check_array, validate_data
from skgrav._constraints import WHOLE, Interval, checked
from skgrav._typing import Array
from skgrav._warnings import warn
from skgrav.operators._fraction import whole_cells
from skgrav.operators._lazy import is_lazy, lazily
from skgrav.operators._rows import RowOperator
from skgrav.operators._sensitivity import DenseMatrix
from skgrav.operators._svd import SVD, Products, RandomState, randomized_svd

if TYPE_CHECKING:
    from skgrav.geometry import Survey
    from skgrav.noise import StatedNoise
    from skgrav.operators._torch import TorchOperator

#: Limits for the full SVD: the smaller side, and the bytes of a matrix that must first be built.
SVD_SIZE, _SVD_BYTES = 4000, 2**30

#: Number of singular values computed for larger operators.
_RANK = 200


def decomposable(n_data: int, n_cells: int, *, held: bool) -> bool:
    """Return whether the full SVD is affordable, of a matrix that is `held` or must be built."""
    return min(n_data, n_cells) <= SVD_SIZE and (held or 8 * n_data * n_cells <= _SVD_BYTES)


class Held:
    """Results of one `fit`, replaced as a whole by the next.

    The matrix and the leading part of the SVD are computed at first use.
    """

    def __init__(
        self, products: Products, build_dense: Callable[[], DenseMatrix] | None = None
    ) -> None:
        self.products, self._build_dense = products, build_dense
        #: The last data-space decomposition, which is shared while it is kept.
        self.gram: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Held, (self.products, self._build_dense)

    @cached_property
    def dense(self) -> DenseMatrix:
        if isinstance(self.products, DenseMatrix):
            return self.products
        assert self._build_dense is not None
        return self._build_dense()

    @cached_property
    def leading(self) -> SVD:
        return randomized_svd(self.products, _RANK, n_power_iter=2, random_state=0)


class BaseOperator(TransformerMixin, BaseEstimator, ABC):
    """Transformer from density to gravity."""

    @abstractmethod
    def _kept(self) -> Held:
        """Return the results of `fit`, rebuilt after unpickling."""

    @property
    @abstractmethod
    def identity_(self) -> tuple[object, ...]:
        """Key of `shared`, the same for fitted operators that are equal to the last digit."""

    @property
    def products_(self) -> Products:
        """Products with validated arrays, such as those of a `DenseMatrix`."""
        return self._kept().products

    @property
    def dense_(self) -> DenseMatrix:
        """The matrix with its SVD and whitened copies; built at first use."""
        return self._kept().dense

    @property
    def matrix_(self) -> Array:
        """Read-only sensitivity matrix of shape (n_data, n_cells)."""
        check_is_fitted(self)
        return self.dense_.matrix

    @property
    def svd_(self) -> SVD:
        """Thin SVD ``(U, s, Vt)`` of the matrix, truncated for large operators; see the class."""
        check_is_fitted(self)
        return self.dense_.svd if self.is_decomposable_ else self._kept().leading

    @property
    def is_decomposable_(self) -> bool:
        """Whether the full SVD is affordable."""
        return decomposable(*self.products_.shape, held=isinstance(self.products_, DenseMatrix))

    @property
    def parts_(self) -> list[tuple[BaseOperator, slice]]:
        """The operators that are joined, each with its data; this one alone unless overridden."""
        return [(self, slice(0, self.n_data_))]

    @property
    def surveys_(self) -> list[tuple[Survey, slice]]:
        """Each survey with its data, the gravity; empty without geometry."""
        surveys = ((getattr(part, "survey_", None), data) for part, data in self.parts_)
        return [(survey, data) for survey, data in surveys if survey is not None]

    @property
    def stated_noise(self) -> Survey | StatedNoise | None:
        """What is stated of the noise: by default the survey, None without one."""
        return getattr(self, "survey_", getattr(self, "survey", None))

    @property
    def column_norms_(self) -> Array:
        """Norm of each column of the matrix, (n_cells,): the sensitivity to each cell."""
        check_is_fitted(self)
        return np.sqrt(self.products_.column_norms2(np.ones(self.n_data_)))

    @property
    def n_cells_(self) -> int:
        """Number of cells, the length of a density vector."""
        return int(self.n_features_in_)

    @property
    def n_data_(self) -> int:
        """Number of data, the length of a gravity vector."""
        check_is_fitted(self)
        return self.products_.shape[0]

    def transform(self, X: ArrayLike) -> Array:
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
        X = validate_data(self, X, reset=False)
        return self.products_.forward(X)

    def adjoint(self, X: ArrayLike) -> Array:
        """Apply the transpose of the operator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_data)
            Data, component-major.

        Returns
        -------
        image : ndarray of shape (n_samples, n_cells)
            ``X @ A``, for instance the gradient of a misfit.
        """
        return self.products_.adjoint(self._checked_data(X))

    @checked(
        rank=[WHOLE],
        n_power_iter=[Interval(Integral, 0, 100, closed="both")],
        random_state=["random_state"],
    )
    def truncated_svd(
        self, rank: int, *, n_power_iter: int = 2, random_state: RandomState = 0
    ) -> SVD:
        """Compute the largest singular values by random projection, without a matrix.

        Parameters
        ----------
        rank : int
            Number of singular values.
        n_power_iter : int, default=2
            Power iterations; each reduces the error due to smaller singular values by their squared
            ratio to the larger ones, at the cost of a product and an adjoint of rank + 10 vectors.
        random_state : int, RandomState instance or None, default=0
            Seed of the projection.

        Returns
        -------
        svd : SVD
            The `rank` largest singular values and vectors.
        """
        check_is_fitted(self)
        if not 1 <= rank <= min(self.products_.shape):
            raise ValueError(
                f"'rank' is {rank}; it must be between 1 and {min(self.products_.shape)}, the "
                "smaller side of this operator."
            )
        return randomized_svd(self.products_, rank, n_power_iter, random_state)

    @checked(rcond=[Real])
    def inverse_transform(self, X: ArrayLike, *, rcond: float = 1e-2) -> Array:
        """Compute the minimum-norm density by the truncated SVD.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_data)
            Gravity, component-major.
        rcond : float, default=1e-2
            Singular values below `rcond` times the largest are cut off. Noise is amplified by up
            to ``1 / rcond``, so choose it by the noise of the data.

        Returns
        -------
        rho : ndarray of shape (n_samples, n_cells)
            The density of minimum norm, without any part in the null space of the operator.
        """
        if is_lazy(X):
            return lazily(self.inverse_transform, X, rcond=rcond)
        X = self._checked_data(X)
        if not 0 <= rcond < 1:
            raise ValueError(f"'rcond' is {rcond}; it must be at least 0 and below 1.")
        U, s, Vt = self.svd_
        kept = s > rcond * s[0]
        if kept.all() and not self.is_decomposable_:
            warn(
                f"'rcond' is {rcond}, but only the {len(s)} largest singular values of this large "
                f"operator are computed, down to {s[-1] / s[0]:.2g} of the largest. Use "
                "TikhonovInverter for more detail."
            )
        return (X @ U[:, kept] / s[kept]) @ Vt[kept]

    def aslinearoperator(self) -> LinearOperator:
        """Return the operator as a SciPy LinearOperator.

        Returns
        -------
        linear_operator : scipy.sparse.linalg.LinearOperator
            Operator of shape (n_data, n_cells) with its adjoint.
        """
        check_is_fitted(self)
        applied = self.products_
        return LinearOperator(
            applied.shape,
            matvec=lambda rho: applied.forward(rho.reshape(1, -1))[0],
            rmatvec=lambda g: applied.adjoint(g.reshape(1, -1))[0],
            matmat=lambda rho: applied.forward(rho.T).T,
            rmatmat=lambda g: applied.adjoint(g.T).T,
            dtype=np.float64,
        )

    def to_torch(self, *, device: Any = "cpu", dtype: Any = None) -> TorchOperator:
        """Return the operator as a differentiable torch module.

        Parameters
        ----------
        device : str or torch.device, default="cpu"
            Device of the matrix or spectra.
        dtype : torch.dtype, default=None
            Precision of the module and of its input; None takes torch's default.

        Returns
        -------
        module : TorchOperator
            Maps (n_samples, n_cells) to (n_samples, n_data), with a method `adjoint`.

        Raises
        ------
        ValueError
            If rows are computed on the fly, or torch cannot use the device.
        """
        from skgrav.operators._torch import TorchOperator, made_on

        check_is_fitted(self)
        if isinstance(whole_cells(self.products_), RowOperator):
            raise ValueError(
                "method='rows' computes rows by NumPy for each product, which torch cannot "
                "differentiate. Take method='anywhere', or method='dense' if memory allows."
            )
        return made_on(device, lambda: TorchOperator(self, dtype))

    def to_deepinv(
        self,
        *,
        shape: Sequence[int] | None = None,
        noise_model: Any = None,
        rcond: float = 1e-2,
        device: Any = "cpu",
        dtype: Any = None,
    ) -> Any:
        """Return the operator as a ``deepinv.physics.LinearPhysics``.

        Parameters
        ----------
        shape : sequence of int, default=None
            Shape of an image. None takes that of the mesh with all its cells; inactive cells have
            no gravity. Without a mesh it is ``(n_cells,)``.
        noise_model : deepinv.physics.NoiseModel or float, default=None
            Noise that the physics adds; a number is the standard deviation of Gaussian noise, in
            the unit of the data. None adds none.
        rcond : float, default=1e-2
            Cut-off of singular values in ``A_dagger``, relative to the largest, as in
            `inverse_transform`.
        device : str or torch.device, default="cpu"
            Device of the matrix or spectra.
        dtype : torch.dtype, default=None
            Precision of images and data; None takes torch's default.

        Returns
        -------
        physics : deepinv.physics.LinearPhysics
            Maps images (n_samples, 1, nz, nx) or (n_samples, 1, nz, ny, nx), in kg/m3, to data
            (n_samples, n_data). ``A_adjoint`` is the exact transpose. ``A_dagger`` is the
            minimum-norm density of the truncated SVD, instead of deepinv's iterations, whose
            damping and tolerances depend on units. deepinv's other algorithms also assume a physics
            of about unit norm.

        Raises
        ------
        ImportError
            If deepinv, part of ``skgrav[bridges]``, is missing.
        ValueError
            If rows are computed on the fly, or `shape` does not fit the cells.
        """
        from skgrav.operators._deepinv import linear_physics

        check_is_fitted(self)
        return linear_physics(self, shape, noise_model, rcond, device, dtype)

    def _checked_data(self, X: ArrayLike) -> Array:
        check_is_fitted(self)
        X = check_array(X, "X")
        if X.shape[1] != self.n_data_:
            raise ValueError(f"'X' has {X.shape[1]} data, but this operator has {self.n_data_}.")
        return X

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> NDArray[np.object_]:
        """Get the names of the data.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Ignored, for scikit-learn's interface.

        Returns
        -------
        names : ndarray of shape (n_data,)
            Names such as ``gz12``, component and station; ``g12`` without a survey.
        """
        check_is_fitted(self)
        return np.array(self._data_names(), dtype=object)

    def _data_names(self) -> list[str]:
        return [f"g{i}" for i in range(self.n_data_)]
