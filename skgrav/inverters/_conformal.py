"""Intervals of any inverter with their nominal coverage: split conformal prediction."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import check_is_fitted

from skgrav._checks import real_array, validate_data
from skgrav._constraints import HasMethods, Interval, StrOptions
from skgrav._typing import Array
from skgrav.inverters._base import InverterMixin, has_std, takes_noise_level
from skgrav.io import Estimator, Field, saved
from skgrav.operators import BaseOperator, check_pairs, is_lazy

#: Least standard deviation that residuals are divided by, relative to the largest.
_LEAST_STD = 1e-9


@saved
class ConformalInverter(InverterMixin, BaseEstimator):
    """Inverter with intervals of density that have their nominal coverage.

    Split conformal prediction [1]_: residuals of sections that the inverter was not fitted to are
    the widths of the intervals of others, cell by cell. The coverage holds for any inverter,
    whether it estimates its own errors or not, and for any number of sections.

    Parameters
    ----------
    inverter : estimator
        The inverter, or any regressor from gravity to density, of which a copy is fitted. One that
        is fitted already, as ``FrozenEstimator(inverter)``, is not fitted again: all pairs that are
        given calibrate, and must not be those that it was fitted to.
    calibration_fraction : float, default=0.2
        Share of the pairs that calibrate.
    noise_level : float, "auto" or None, default=None
        Noise of the data relative to the rms of each sample, passed to `predict` of the inverter.
    random_state : int, RandomState instance or None, default=None
        Seed with which pairs are drawn to calibrate.

    Attributes
    ----------
    inverter_ : estimator
        The fitted inverter.
    scores_ : ndarray of shape (n_calibration, n_cells)
        Absolute residuals of each cell in ascending order, over the standard deviations of the
        inverter if its `predict` has ``return_std``.
    n_outputs_ : int
        Number of cells.
    n_features_in_ : int
        Number of data.

    Raises
    ------
    ValueError
        If there are too few pairs to set some aside, the densities that the inverter returns have
        another number of cells, or it takes no noise level but one is given.

    See Also
    --------
    AnalogueInverter : Intervals and draws from the posterior, without calibration.
    skgrav.metrics.interval_coverage : Measures what intervals cover.

    Notes
    -----
    With n sections that calibrate, the half-width of an interval of probability c is the residual
    of rank ``ceil((n + 1) c)``, times the standard deviation where there is one. If these sections
    and a new one are exchangeable, as draws of one distribution with noise of one kind are, it
    covers the density of each cell with probability at least c and at most ``c + 1 / (n + 1)``.

    This holds on average over sections: not for each kind of geology, nor for all cells of a
    section at once, and not for other geology or noise than that which calibrated. Files and
    pickles contain the residuals.

    References
    ----------
    .. [1] Lei, G'Sell, Rinaldo, Tibshirani and Wasserman (2018), Distribution-free predictive
       inference for regression, Journal of the American Statistical Association 113.

    Examples
    --------
    >>> from skgrav import BayesLinearInverter, ConformalInverter, Mesh
    >>> from skgrav.datasets import make_gravity_dataset
    >>> data = make_gravity_dataset(200, mesh=Mesh.square(8), random_state=0)
    >>> linear = BayesLinearInverter(0.0, operator=data.operator)
    >>> inverter = ConformalInverter(linear, random_state=0).fit(data.data, data.target)
    >>> inverter.predict_quantiles(data.data[:3], [0.1, 0.9]).shape
    (3, 64, 2)
    """

    _parameter_constraints: dict[str, list[Any]] = {
        "inverter": [HasMethods(["fit", "predict"])],
        "calibration_fraction": [Interval(Real, 0, 1, closed="neither")],
        "noise_level": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left"), None],
        "random_state": ["random_state"],
    }
    _file_fields: ClassVar = (
        *InverterMixin._file_fields,
        Field("inverter_", Estimator),
        Field("scores_", Array, ("n", "n_outputs_"), "float32"),
    )

    def __init__(
        self,
        inverter: BaseEstimator,
        *,
        calibration_fraction: float = 0.2,
        noise_level: float | Literal["auto"] | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.inverter = inverter
        self.calibration_fraction = calibration_fraction
        self.noise_level = noise_level
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit the inverter to a part of the pairs, and calibrate it with the others.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_data)
            Gravity, component-major, with noise like that of the data to invert. Where the inverter
            must be fitted to noise-free data, freeze it and give noisy ones here.
        y : array-like of shape (n_samples, n_cells) or (n_samples,)
            Densities.

        Returns
        -------
        self : ConformalInverter
            The fitted inverter.
        """
        self._validate_params()
        inverter = clone(self.inverter)
        frozen = isinstance(inverter, FrozenEstimator)
        least = 1 if frozen else 2  # some are held out
        X, y = validate_data(self, X, y, dtype=(np.float64, np.float32), ensure_min_samples=least)
        self._y_ndim, self.n_outputs_ = y.ndim, y.size // len(y)
        if not frozen:
            rows, held_out = train_test_split(
                np.arange(len(X)),
                test_size=self.calibration_fraction,
                random_state=self.random_state,
            )
            inverter.fit(X[rows], y[rows])
            X, y = X[held_out], y[held_out]
        else:
            self._check_pairs(inverter, X, y.reshape(len(y), -1))
        self.inverter_ = inverter
        rho, width = self._estimate(X, None)
        self.scores_ = np.sort(np.abs(y.reshape(len(y), -1) - rho) / width, axis=0)
        return self

    def predict(
        self, X: ArrayLike, return_std: bool = False, *, noise_level: ArrayLike | None = None
    ) -> Any:
        """Estimate densities by the inverter.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_data)
            Gravity, component-major.
        return_std : bool, default=False
            Whether to return the inverter's standard deviations as well, as they are.
        noise_level : float or array-like of shape (n_samples,), default=None
            Relative noise of each sample; None takes the parameter of the estimator.

        Returns
        -------
        rho : ndarray of shape (n_samples, n_cells) or (n_samples,)
            Densities.
        std : ndarray of shape (n_samples, n_cells) or (n_samples,)
            Standard deviations. Only if `return_std` is True.
        """
        if is_lazy(X):
            return self._lazily(self.predict, X, return_std=return_std, noise_level=noise_level)
        check_is_fitted(self)
        if return_std and not self._has_std:
            raise ValueError(
                f"'return_std' is True, but `predict` of {type(self.inverter_).__name__} has no "
                "'return_std'. Take `predict_quantiles`."
            )
        rho, std = self._estimate(validate_data(self, X, reset=False), noise_level)
        return (self._as_fitted(rho), self._as_fitted(std)) if return_std else self._as_fitted(rho)

    def predict_quantiles(
        self, X: ArrayLike, quantiles: ArrayLike, *, noise_level: ArrayLike | None = None
    ) -> Array:
        """Estimate the ends of intervals of the density of each cell.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_data)
            Gravity, component-major.
        quantiles : float or array-like of shape (n_quantiles,)
            Probabilities. Between p and 1 - p lies the true density with probability 1 - 2p; 0.5 is
            the estimate. Residuals of n sections reach from ``1 / (2 (n + 1))`` to one minus that.
        noise_level : float or array-like of shape (n_samples,), default=None
            Relative noise of each sample; None takes the parameter of the estimator.

        Returns
        -------
        rho : ndarray of shape (n_samples, n_cells, n_quantiles) or (n_samples, n_quantiles)
            Ends of intervals, symmetric about the estimate.
        """
        check_is_fitted(self)
        p = np.atleast_1d(real_array(quantiles, "quantiles"))
        n = len(self.scores_)
        least = 0.5 / (n + 1)
        if p.ndim != 1 or not p.size or p.min() < least - 1e-12 or p.max() > 1 - least + 1e-12:
            raise ValueError(
                f"'quantiles' is {quantiles!r}; it must be probabilities from {least:.4g} to "
                f"{1 - least:.4g}, which the residuals of {n} sections reach. Calibrate with more."
            )
        rho, width = self._estimate(validate_data(self, X, reset=False), noise_level)
        rank = np.ceil((n + 1) * np.abs(1.0 - 2.0 * p) - 1e-9).astype(int)
        score = np.where(rank > 0, self.scores_[np.clip(rank, 1, n) - 1].T, 0.0)
        ends = rho[:, :, None] + np.sign(p - 0.5) * width[:, :, None] * score
        return ends[:, 0] if self._y_ndim == 1 else ends

    def _check_pairs(self, inverter: Any, X: Array, y: Array) -> None:
        """Check pairs against the operator that a fitted inverter has, as its `fit` does."""
        operator = getattr(inverter, "operator_", None)
        if not isinstance(operator, BaseOperator) or operator.n_data_ != X.shape[1]:
            return
        if operator.n_cells_ != y.shape[1]:
            return  # is refused with the estimates
        level = self.noise_level
        level = getattr(inverter, "noise_level", None) if level is None else level
        check_pairs(operator, y, X, level)

    @property
    def _has_std(self) -> bool:
        return has_std(self.inverter_)

    def _estimate(self, X: Array, noise_level: ArrayLike | None) -> tuple[Array, Array]:
        """Return estimates, and what residuals are in units of, both (n_samples, n_cells)."""
        level = self.noise_level if noise_level is None else noise_level
        options: dict[str, Any] = {} if level is None else {"noise_level": level}
        if options and not takes_noise_level(self.inverter_):
            raise ValueError(
                f"'noise_level' is {level!r}, but `predict` of {type(self.inverter_).__name__} "
                "takes none. Leave it out."
            )
        if self._has_std:
            rho, std = self.inverter_.predict(X, return_std=True, **options)
        else:
            rho, std = self.inverter_.predict(X, **options), np.ones(1)
        rho = np.asarray(rho, dtype=np.float64).reshape(len(X), -1)
        if rho.shape[1] != self.n_outputs_:
            raise ValueError(
                f"'inverter' returns {rho.shape[1]} cells, but 'y' has {self.n_outputs_}. Give an "
                "inverter for this mesh."
            )
        std = np.broadcast_to(np.reshape(std, (len(std), -1)), rho.shape)
        return rho, np.maximum(std, _LEAST_STD * (std.max(initial=0.0) or 1.0))
