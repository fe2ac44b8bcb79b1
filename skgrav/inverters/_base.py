"""Mixin of the estimators from gravity to density."""

from __future__ import annotations

import warnings
from inspect import signature
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import RegressorMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted

from skgrav._checks import validate_data
from skgrav._typing import Array
from skgrav._warnings import warn
from skgrav.inverters._plausible import IMPLAUSIBLE
from skgrav.io import FEATURES, Field, SavedMixin
from skgrav.noise import Noise
from skgrav.operators import is_lazy, lazily


class InverterMixin(SavedMixin, TransformerMixin, RegressorMixin):
    """Mixin of inverters: regressors that as transformers return their estimate and the data.

    `fit` keeps the dimension of y in `_y_ndim` and the number of cells in `n_outputs_`; `predict`
    returns densities of the same dimension.

    A subclass has `save` and `load` if it is decorated by `skgrav.io.saved` and lists the fitted
    attributes in ``_file_fields``.

    See Also
    --------
    CNNInverter, Refiner : Inverters.
    skgrav.io.saved : The decorator.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.base import BaseEstimator
    >>> from sklearn.utils.validation import validate_data
    >>> from skgrav.inverters import InverterMixin
    >>> from skgrav.io import Field, saved
    >>> learned = Field("mean_", np.ndarray, ("n_outputs_",))
    >>> @saved
    ... class Mean(InverterMixin, BaseEstimator):
    ...     _file_fields = (*InverterMixin._file_fields, learned)
    ...
    ...     def fit(self, X, y):
    ...         X, y = validate_data(self, X, y, multi_output=True)
    ...         self.n_outputs_, self._y_ndim, self.mean_ = y.shape[1], y.ndim, y.mean(axis=0)
    ...         return self
    ...
    ...     def predict(self, X):
    ...         return np.tile(self.mean_, (len(X), 1))
    >>> Mean().fit([[1.0], [3.0]], [[2.0, 4.0], [4.0, 6.0]]).transform([[5.0]])
    array([[3., 5., 5.]])
    """

    #: Fields in the file of any inverter.
    _file_fields: ClassVar[tuple[Field, ...]] = (
        *FEATURES,
        Field("n_outputs_", int),
        Field("_y_ndim", int),
    )

    n_outputs_: int
    _y_ndim: int

    def transform(self, X: ArrayLike) -> Array:
        """Put the estimated density before the data, for the next step of a Pipeline.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_data)
            Gravity, component-major.

        Returns
        -------
        estimate_and_data : ndarray of shape (n_samples, n_cells + n_data)
            ``[predict(X) | X]``, as StackingRegressor does with ``passthrough=True``.
        """
        if is_lazy(X):
            return lazily(self.transform, X)
        check_is_fitted(self)
        rho = np.asarray(self.predict(X), dtype=np.float64)
        data = self._data(validate_data(self, X, reset=False))
        return np.hstack([rho.reshape(len(data), -1), data])

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> NDArray[np.object_]:
        """Get the names of the columns that `transform` returns.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the data; None takes the names in `fit`.

        Returns
        -------
        names : ndarray of shape (n_cells + n_data,)
            ``rho0`` and so on for the cells, then the names of the data.
        """
        check_is_fitted(self)
        data = self._data(np.asarray(_check_feature_names_in(self, input_features))[None])[0]
        return np.array([*(f"rho{i}" for i in range(self.n_outputs_)), *data], dtype=object)

    def _lazily(self, method: Any, X: Any, **options: Any) -> Any:
        """Apply a method lazily to the rows of a dask array."""
        return lazily(method, X, as_vectors=getattr(self, "_y_ndim", 2) == 1, **options)

    def _data(self, X: NDArray) -> NDArray:
        """Return the columns of `X` that are gravity."""
        return X

    def _as_fitted(self, rho: Array) -> Array:
        """Return densities with the dimension of y in `fit`."""
        return rho.ravel() if self._y_ndim == 1 else rho

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def warn_unknown_noise(noise: Noise) -> None:
    """Warn in `fit` that data are fitted as if noise-free, if their noise is not known."""
    if not noise.is_known:
        warn(
            "'noise_level' is None and the survey of 'operator' has no uncertainty: the data are "
            "fitted as if noise-free, which turns noise into density. Give the noise relative to "
            "the rms of a sample's data, or 0 if there is none."
        )


def takes_noise_level(inverter: Any) -> bool:
    """Return whether `predict` takes the noise of a sample."""
    takes = "noise_level" in signature(inverter.predict).parameters
    return bool(getattr(inverter, "_takes_noise_level", takes))


def has_std(inverter: Any) -> bool:
    """Return whether `predict` of a fitted inverter returns standard deviations."""
    takes = "return_std" in signature(inverter.predict).parameters
    return takes and bool(getattr(inverter, "_has_std", True))


def predicted_start(init: Any, g: Array, noise_level: ArrayLike | None) -> Array:
    """Return the estimate of a fitted `init`, (n_samples, n_cells).

    The noise level is passed on if its `predict` takes one; the paper's networks refuse it.
    """
    told = noise_level is not None and takes_noise_level(init)
    options = {"noise_level": noise_level} if told else {}
    with warnings.catch_warnings():
        # Whoever starts from these densities checks what becomes of them.
        warnings.filterwarnings("ignore", f".*{IMPLAUSIBLE}")
        rho = init.predict(g, **options)
    return np.asarray(rho, dtype=np.float64).reshape(len(g), -1)
