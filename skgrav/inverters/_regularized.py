"""What inverters share that weigh the misfit against a norm of the density."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from skgrav._checks import real_array, validate_data
from skgrav.inverters._base import InverterMixin
from skgrav.inverters._noise import noise_with_rounding, relative_noise
from skgrav.operators._base import BaseOperator
from skgrav.operators._lazy import is_lazy, lazily
from skgrav.operators._physics import operator_of_data, resolve_operator
from skgrav.solvers._projection import check_bounds

Array = NDArray[np.float64]

#: Training samples that are inverted in `fit` to record their alphas.
_N_RECORDED = 200


@dataclass(frozen=True)
class RegularizedResult:
    """What a regularised inversion found for each sample.

    Parameters
    ----------
    rho : ndarray of shape (n_samples, n_cells)
        The densities.
    alpha : ndarray of shape (n_samples,)
        Weight of the model norm; infinite where the reference fits to the noise already.
    misfit : ndarray of shape (n_samples,)
        Norm of the residual ``(g - A rho) / sigma``, in the unit of the data where no noise is
        known.
    model_norm : ndarray of shape (n_samples,)
        Norm of ``W (rho - reference)``.
    n_iter : ndarray of shape (n_samples,)
        Iterations taken; a closed form counts as one.
    converged : ndarray of shape (n_samples,)
        Whether the stopping rule was met before the iterations ran out.

    See Also
    --------
    TikhonovInverter, SparseInverter : What returns it.

    Examples
    --------
    >>> from skgrav import Mesh, TikhonovInverter
    >>> from skgrav.datasets import make_gravity_dataset
    >>> data = make_gravity_dataset(
    ...     n_samples=5, mesh=Mesh.square(8), noise_level=0.01, random_state=0
    ... )
    >>> inverter = TikhonovInverter("gcv", operator=data.operator).fit(data.data)
    >>> inverter.invert(data.data).alpha.shape
    (5,)
    """

    rho: Array
    alpha: Array
    misfit: Array
    model_norm: Array
    n_iter: NDArray[np.intp]
    converged: NDArray[np.bool_]


class RegularizedInverter(InverterMixin, BaseEstimator, ABC):
    """Base of inverters that weigh the misfit against a norm of weighted densities."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "depth_weighting": [
            StrOptions({"sensitivity"}),
            Interval(Real, 0, None, closed="left"),
            None,
        ],
        "reference": [StrOptions({"mean"}), Real, "array-like", None],
        "bounds": ["array-like", None],
        "noise_level": [Interval(Real, 0, None, closed="left"), None],
        "operator": [BaseOperator, None],
        "max_iter": [Interval(Real, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="neither")],
    }
    _file_forms: ClassVar[dict[str, str]] = {
        **InverterMixin._file_forms,
        "operator_": "ForwardOperator | MatrixOperator",
        "reference_": "[n_outputs_]",
        "_bounds": "values",
        "_uncertainty": "[n_features_in_] | None",
        "_data_rms": "float",
        "alpha_": "[r]",
        "n_iter_": "int",
    }

    #: What an error advises beside, where no noise is known.
    _without_noise: ClassVar[str] = ""

    alpha: Any
    reference: Any
    bounds: Any
    noise_level: Any
    operator: Any

    def fit(self, X: ArrayLike, y: ArrayLike | None = None) -> Self:
        """Prepare the inversion; nothing is learned but sizes, and the mean if asked for.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_data)
            Gravity, component-major.
        y : array-like of shape (n_samples, n_cells) or (n_samples,), default=None
            Densities, against which the operator is checked. May be left out if `operator` is
            given or the number of data is one of the paper's.

        Returns
        -------
        self : object
            The fitted inverter.
        """
        self._validate_params()
        self._bounds = check_bounds(self.bounds)
        if y is None:
            X = validate_data(self, X)
            self._y_ndim, rho = 2, None
            self.operator_ = operator_of_data(self.operator, X.shape[1])
        else:
            X, y = validate_data(self, X, y)
            self._y_ndim, rho = y.ndim, y.reshape(len(y), -1)
            level = relative_noise(self.operator, X, self.noise_level)
            self.operator_ = resolve_operator(self.operator, rho, X, noise_level=level)
        self.n_outputs_ = self.operator_.n_cells_
        self.reference_ = self._reference(rho)
        survey = getattr(self.operator_, "survey_", None)
        known = None if survey is None or self.noise_level is not None else survey.uncertainty
        self._uncertainty = known
        if self.alpha == "discrepancy" and known is None and self.noise_level is None:
            raise ValueError(
                "'alpha' is 'discrepancy', but no noise is known. Give 'noise_level', relative to "
                "the rms of a sample's data, or an operator whose survey has an uncertainty"
                f"{self._without_noise}."
            )
        self._prepare(1.0 if known is None else 1.0 / known)
        self._data_rms = float(np.sqrt(np.mean(X**2))) or 1.0
        recorded = self._invert(X[:_N_RECORDED])
        self.alpha_, self.n_iter_ = recorded.alpha, int(recorded.n_iter.max())
        return self

    @abstractmethod
    def _prepare(self, rows: Array | float) -> None:
        """Prepare the inversion; `rows` weigh data by the survey's uncertainty, if any."""

    @abstractmethod
    def _solve(self, d: Array, sigma: Array) -> tuple[Array, Array, Any, Any]:
        """Return departures from the reference, alphas in units of sigma, n_iter, converged."""

    @abstractmethod
    def _model_norm(self, departure: Array) -> Array:
        """Return the norm of departures from the reference, (n_samples,)."""

    def predict(self, X: ArrayLike) -> Array:
        """Estimate densities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_data)
            Gravity, component-major.

        Returns
        -------
        rho : ndarray of shape (n_samples, n_cells) or (n_samples,)
            Densities.
        """
        if is_lazy(X):
            return lazily(self.predict, X)
        return self._as_fitted(self.invert(X).rho)

    def invert(self, X: ArrayLike) -> RegularizedResult:
        """Estimate densities and tell what they cost.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_data)
            Gravity, component-major.

        Returns
        -------
        result : RegularizedResult
            Densities `rho` of shape (n_samples, n_cells), and `alpha`, `misfit`, `model_norm`,
            `n_iter` and `converged` of each sample.
        """
        check_is_fitted(self)
        return self._invert(validate_data(self, X, reset=False))

    def _invert(self, X: Array) -> RegularizedResult:
        d, sigma = self._weighted(X)
        departure, alpha, n_iter, converged = self._solve(d, sigma)
        rho = self.reference_ + departure
        if self._bounds is not None:
            rho = np.clip(rho, *self._bounds)  # what rounding has left
        residual = X - self.operator_.transform(rho)
        if self._uncertainty is not None:
            residual = residual / self._uncertainty
        if not converged.all():
            warnings.warn(
                f"{np.sum(~converged)} of {len(X)} samples did not converge: the bounds contradict "
                "the data, or 'max_iter' is too small or 'tol' too strict.",
                ConvergenceWarning,
                stacklevel=3,
            )
        return RegularizedResult(
            rho=rho,
            alpha=alpha,
            misfit=np.linalg.norm(residual, axis=1) / sigma,
            model_norm=self._model_norm(rho - self.reference_),
            n_iter=n_iter,
            converged=converged,
        )

    def _weighted(self, X: Array) -> tuple[Array, Array]:
        """Return what the reference leaves of data, and the noise of each sample beside it."""
        d = X - self.operator_._applied.forward(self.reference_[None])
        if self._uncertainty is not None:
            return d / self._uncertainty, np.ones(len(X))
        if self.noise_level is None:
            return d, np.ones(len(X))
        rms = np.sqrt(np.mean(X**2, axis=1))
        return d, noise_with_rounding(self.noise_level * rms, X, self._data_rms)

    def _reference(self, rho: Array | None) -> Array:
        if self.reference is None:
            return np.zeros(self.n_outputs_)
        if isinstance(self.reference, str):
            if rho is None:
                raise ValueError("'reference' is 'mean', but y is None. Give densities or numbers.")
            return rho.mean(axis=0)
        reference = real_array(self.reference, "reference")
        if reference.shape not in ((), (self.n_outputs_,)):
            raise ValueError(
                f"'reference' has shape {reference.shape}; it must be a finite number, one for "
                f"each of {self.n_outputs_} cells, 'mean' or None."
            )
        return np.broadcast_to(reference, (self.n_outputs_,)).copy()

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        return tags
