"""Base class of inverters that weigh the misfit against a model norm."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from skgrav._checks import LARGEST, real_array, validate_data
from skgrav._constraints import Interval, StrOptions
from skgrav._typing import Array, Indices, Mask
from skgrav._warnings import warn
from skgrav.inverters._base import InverterMixin
from skgrav.inverters._parts import PartsFit
from skgrav.inverters._plausible import warn_implausible, warn_not_gravity
from skgrav.io import Field
from skgrav.noise import Noise, Trend, Whitening, no_noise, noise_with_rounding
from skgrav.operators import BaseOperator, is_lazy, operator_of_data, resolve_operator
from skgrav.solvers import (
    DEPTH_WEIGHTING,
    Bounds,
    Iterations,
    Status,
    check_bounds,
    warn_below_noise,
    warn_unfitted,
)

#: Chi factor, or its inverse, at which a choice of alpha contradicts the stated noise.
_CONTRADICTED = 10.0


@dataclass(frozen=True)
class RegularizedResult:
    """Densities of each sample, with alpha, misfit and trend.

    Parameters
    ----------
    rho : ndarray of shape (n_samples, n_cells)
        The densities.
    alpha : ndarray of shape (n_samples,)
        Weight of the model norm; infinite where the reference already fits the data to their noise.
    misfit : ndarray of shape (n_samples,)
        Norm of the whitened residual ``(g - A rho - trend) / sigma``, in the unit of the data
        where the noise is not known.
    model_norm : ndarray of shape (n_samples,)
        Norm of ``W (rho - reference)``.
    n_iter : ndarray of shape (n_samples,)
        Number of iterations; 1 for a closed form.
    status : ndarray of shape (n_samples,)
        0 where the data are fitted as requested, 1 where `max_iter` was reached, 2 where no density
        fits the data to their noise, 3 where no density within the bounds does.
    sigma : ndarray of shape (n_samples,)
        Standard deviation of the noise, given or estimated by cross-validation; NaN where alpha is
        a number and the noise is not known. For data with uncertainties, their rms.
    chi_factor : ndarray of shape (n_samples,)
        Mean square of the residual in units of the noise; NaN where the noise is not known.
    trend : Trend
        Trend of the residual.
    iterations : list of Iterations, default=None
        Course of the iteration of each sample with mixed norms: arrays `chi_factor`, `alpha`,
        `change` and `largest`, of shape (n_iter,), and `contrast`, the magnitudes of negative and
        positive departures that were expected.

    See Also
    --------
    TikhonovInverter, SparseInverter : Return it.

    Examples
    --------
    >>> from skgrav import Mesh, TikhonovInverter
    >>> from skgrav.datasets import make_gravity_dataset
    >>> data = make_gravity_dataset(5, mesh=Mesh.square(8), noise_level=0.01, random_state=0)
    >>> inverter = TikhonovInverter("gcv", operator=data.operator).fit(data.data)
    >>> inverter.invert(data.data).alpha.shape
    (5,)
    """

    rho: Array
    alpha: Array
    misfit: Array
    model_norm: Array
    n_iter: Indices
    status: Indices
    sigma: Array
    chi_factor: Array
    trend: Trend
    iterations: list[Iterations] | None = None

    @property
    def converged(self) -> Mask:
        """Whether the data are fitted as requested, (n_samples,)."""
        return self.status == Status.REACHED


class Departure(NamedTuple):
    """Departures from the reference that fit whitened data."""

    #: (n_samples, n_cells).
    rho: Array
    model_norm: Array
    #: Alpha times the squared noise `sigma`.
    damping: Array
    n_iter: Indices
    status: Indices
    #: The noise of each sample, as given or as estimated by the choice of alpha.
    sigma: Array
    #: The course of each sample, for methods that iterate.
    iterations: list[Iterations] | None = None


class RegularizedInverter(InverterMixin, BaseEstimator, ABC):
    """Base class of inverters that weigh the misfit against a model norm."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "depth_weighting": DEPTH_WEIGHTING,
        "reference": [StrOptions({"mean"}), Real, "array-like", None],
        "bounds": ["array-like", None],
        "cell_weights": ["array-like", None],
        "noise_level": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"}), None],
        "operator": [BaseOperator, None],
        "max_iter": [Interval(Real, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="neither")],
    }
    _file_fields: ClassVar[tuple[Field, ...]] = (
        *InverterMixin._file_fields,
        Field("operator_", BaseOperator),
        Field("reference_", Array, ("n_outputs_",)),
        Field("_bounds", Bounds | None, ("n_outputs_",)),
        Field("_cell_weights", Array | None, ("n_outputs_",), optional=True),
        Field("_data_rms", float),
        Field("n_iter_", int),
    )

    alpha: Any
    reference: Any
    bounds: Any
    cell_weights: Any
    noise_level: Any
    operator: Any
    _cell_weights: Array | None = None

    def fit(self, X: ArrayLike, y: ArrayLike | None = None) -> Self:
        """Prepare the inversion, which `predict` makes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_data)
            Gravity, component-major.
        y : array-like of shape (n_samples, n_cells) or (n_samples,), default=None
            Densities, against which the operator is checked. May be None if `operator` is given or
            the number of data is that of the paper's geometry.

        Returns
        -------
        self : object
            The fitted inverter.
        """
        self._validate_params()
        if y is None:
            X = validate_data(self, X)
            self._y_ndim, rho = 2, None
            self.operator_ = operator_of_data(self.operator, X.shape[1])
        else:
            X, y = validate_data(self, X, y)
            self._y_ndim, rho = y.ndim, y.reshape(len(y), -1)
            self.operator_ = resolve_operator(self.operator, rho, X, noise_level=self.noise_level)
        self.n_outputs_ = self.operator_.n_cells_
        self._bounds = check_bounds(self.bounds, self.n_outputs_)
        self._check_cell_weights()
        self.reference_ = self._reference(rho)
        noise = self._noise(None)
        warn_not_gravity(X)
        self._data_rms = float(np.sqrt(np.mean(noise.rms(X) ** 2))) or 1.0
        self._prepare(noise.whitening)
        self.n_iter_ = 1
        return self

    @abstractmethod
    def _prepare(self, whitening: Whitening) -> None:
        """Prepare the inversion of data with a whitening."""

    @abstractmethod
    def _solve(self, white: Array, sigma: Array, choice: str | float) -> Departure:
        """Fit whitened data by departures from the reference.

        `choice` is alpha, or the name of its choice; damping is alpha times `sigma` squared.
        """

    def _trend_spread(self, damping: Array, sigma: Array, model_norm: Array) -> Array | None:
        """Return the covariance of the trend due to the uncertainty of densities, if known."""
        return None

    def predict(self, X: ArrayLike, *, noise_level: ArrayLike | None = None) -> Array:
        """Estimate densities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_data)
            Gravity, component-major.
        noise_level : float or array-like of shape (n_samples,), default=None
            Relative noise of each sample; None takes the parameter of the estimator.

        Returns
        -------
        rho : ndarray of shape (n_samples, n_cells) or (n_samples,)
            Densities.
        """
        if is_lazy(X):
            return self._lazily(self.predict, X, noise_level=noise_level)
        return self._as_fitted(self._invert(X, noise_level, spread=False).rho)

    def invert(self, X: ArrayLike, *, noise_level: ArrayLike | None = None) -> RegularizedResult:
        """Estimate densities, with alpha, misfit and trend of each sample.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_data)
            Gravity, component-major.
        noise_level : float or array-like of shape (n_samples,), default=None
            Relative noise of each sample; None takes the parameter of the estimator.

        Returns
        -------
        result : RegularizedResult
            Densities `rho` of shape (n_samples, n_cells), and `alpha`, `misfit`, `model_norm`,
            `n_iter`, `status`, `chi_factor` and `trend` of each sample.
        """
        return self._invert(X, noise_level)

    def _invert(
        self, X: ArrayLike, noise_level: ArrayLike | None, *, spread: bool = True
    ) -> RegularizedResult:
        check_is_fitted(self, "n_iter_")
        X = validate_data(self, X, reset=False)
        noise = self._noise(noise_level)
        sigma, choice = self._scale(noise, X), self.alpha
        if choice == "auto":
            choice = "discrepancy" if noise.is_known else "gcv"
        elif choice == "discrepancy" and not noise.is_known:
            raise ValueError(no_noise("alpha='discrepancy'", "alpha='auto'"))
        white = noise.whitening(X - self.operator_.transform(self.reference_[None]))
        if choice == "discrepancy":
            warn_below_noise(white, sigma)
        solved = self._solve(white, sigma, choice)
        parts = PartsFit(self.operator_, noise)
        if choice == "discrepancy" and parts.applies:
            self._fit_parts(parts, white, X, sigma, solved)
        departure, model_norm, damping, n_iter, status, found, iterations = solved
        rho = self.reference_ + departure
        if self._bounds is not None:
            rho = np.clip(rho, *self._bounds)  # exceeded by rounding only
        residual = X - self.operator_.transform(rho)
        misfit = np.linalg.norm(noise.whitening(residual), axis=1) / sigma
        chi = misfit**2 / noise.whitening.n_white
        warn_unfitted(status, chi, residual, noise, self.operator_)
        if noise.is_known and choice in ("gcv", "lcurve"):
            stated = noise.scale_or(X, 0.0) > 0  # noise of 0 counts as rounding
            _warn_contradicted(choice, chi[stated & (status == Status.REACHED)])
        warn_implausible(rho, self.operator_)
        known = of_trend = None
        if noise.is_known and noise.has_trend:
            known = sigma
            # By products it takes as long as some inversions.
            of_trend = self._trend_spread(damping, sigma, model_norm) if spread else None
        return RegularizedResult(
            rho=rho,
            alpha=damping / sigma**2,
            misfit=misfit,
            model_norm=model_norm,
            n_iter=n_iter,
            status=status,
            sigma=found if noise.is_known or isinstance(choice, str) else np.full(len(X), np.nan),
            chi_factor=chi if noise.is_known else np.full(len(X), np.nan),
            trend=noise.trend(residual, known, spread=of_trend),
            iterations=iterations,
        )

    def _fit_parts(
        self, parts: PartsFit, white: Array, X: Array, sigma: Array, solved: Departure
    ) -> None:
        """Lower alpha in `solved` where a part of a joint operator is not fitted to its noise."""

        def chi_of(departure: Array, k: Any) -> Array:
            rho = self.reference_ + departure
            return parts.chi(X[k] - self.operator_.transform(rho), sigma[k])

        chi = chi_of(solved.rho, slice(None))
        searched = (solved.status == Status.REACHED) & np.isfinite(solved.damping)
        missed = parts.missed(chi) & searched[:, None]
        for k in np.flatnonzero(missed.any(axis=1)):
            one = slice(k, k + 1)

            def trial(alpha: float, one: slice = one) -> tuple[Any, float]:
                found = self._solve(white[one], sigma[one], alpha)
                return found, float(chi_of(found.rho, one).max())

            found = parts.search(solved.damping[k] / sigma[k] ** 2, chi[k].max(), trial)
            if found is not None:
                solved.rho[one], solved.model_norm[one] = found.rho, found.model_norm
                solved.damping[one] = found.damping
                solved.n_iter[one] += found.n_iter
                if solved.iterations is not None:
                    solved.iterations[k] = found.iterations[0]
                missed[k] = False
        parts.warn(missed, chi)

    def _noise(self, noise_level: ArrayLike | None) -> Noise:
        return Noise.of(self.operator_, self.noise_level).at(noise_level)

    def _scale(self, noise: Noise, X: Array) -> Array:
        """Return the noise of each sample, at least its rounding; 1 where not known."""
        sigma = noise.scale_or(X, 1.0)
        if noise.is_relative:
            return noise_with_rounding(sigma, noise.rms(X), self._data_rms)
        return sigma

    def _check_cell_weights(self) -> None:
        self._cell_weights = None
        if self.cell_weights is None:
            return
        weights = real_array(self.cell_weights, "cell_weights")
        if weights.shape != (self.n_outputs_,) or not (weights >= 1.0 / LARGEST).all():
            raise ValueError(
                f"'cell_weights' has shape {weights.shape} and minimum "
                f"{weights.min(initial=np.inf):g}; it must be a positive number, of at least "
                f"{1.0 / LARGEST:g}, for each of {self.n_outputs_} cells. To fix a density, give "
                "equal 'bounds'."
            )
        self._cell_weights = weights

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


def _warn_contradicted(choice: str, chi: Array) -> None:
    """Warn where an alpha chosen without the stated noise leaves a misfit of another order."""
    apart = np.maximum(chi, 1.0 / np.maximum(chi, np.finfo(float).tiny))
    wrong = apart > _CONTRADICTED
    if wrong.any():
        warn(
            f"'alpha' is {choice!r}, which leaves a chi factor of {chi[np.argmax(apart)]:.2g} in "
            f"the worst of {wrong.sum()} of {len(chi)} samples: the noise that the data show is "
            "not the one stated, or they do not determine alpha. Take alpha='discrepancy' if the "
            "stated noise is right, otherwise correct 'noise_level' or 'uncertainty'."
        )
