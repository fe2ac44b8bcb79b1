"""Noise of gravity data: independent errors, and a trend."""

from __future__ import annotations

from copy import copy
from typing import Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike

from skgrav._checks import check_array, check_basis, check_uncertainty
from skgrav._constraints import COUNT, checked
from skgrav._typing import Array
from skgrav._warnings import warn
from skgrav.geometry import Survey, component_unit
from skgrav.noise._levels import (
    ROUNDING,
    Level,
    at_least_typical,
    check_level,
    least_noise,
    of_each,
    with_visible_rounding,
)
from skgrav.noise._stated import Trend
from skgrav.noise._whitening import Whitening

#: Share of the stated noise that training data may lack before noise is added to them.
_LACKING = 0.3

#: Ratio of visible to stated noise above which data contradict the stated one.
CONTRADICTED = 3.0


class _DataSpace(Protocol):
    """Implemented by `skgrav.solvers.DataSpace`, which is above this module."""

    def noise_variance(self, data: Array) -> Array:
        """Estimate the noise of each sample, (n_samples,)."""


class Noise:
    """The part of the data that the mesh cannot explain: independent errors, and a trend.

    Independent errors have a standard deviation for each datum: a level relative to each sample's
    own data, or an uncertainty in their unit. The coherent part, the trend, is a combination of the
    columns of a basis with free coefficients. As noise of infinite variance, it is projected out of
    data and operator by `whitening`.

    Parameters
    ----------
    n_data : int
        Number of data of a sample.
    level : float, array-like of shape (n_samples,), "auto" or None, default=None
        Standard deviation of the noise relative to the rms of each sample's own data without
        their trend; ``"auto"`` is estimated from the data. None takes the uncertainty.
    uncertainty : float or array-like of shape (n_data,), default=None
        Standard deviation of each datum, in the unit of the data. With a level it only
        distributes the noise among the data.
    trend : array-like of shape (n_data, n_coefficients), default=None
        Basis of the trend, one column for each coefficient.
    trend_names : sequence of str, default=()
        Name of each coefficient.
    units : tuple of str, default=()
        Kinds of data of joined operators. Where there are several, data are compared in units of
        their uncertainties, and a level is refused, since it is relative to the rms of a sample.
    scales : array-like of shape (n_data,), default=None
        Typical size of each datum, where one survey has gravity and gradients: the rms is then that
        of the data in these sizes, or in units of their uncertainty, and without an uncertainty the
        sizes distribute the noise among the data.

    Attributes
    ----------
    whitening : Whitening
        Map that makes the noise white and removes the trend.
    has_scales : bool
        Whether data have different units.

    Raises
    ------
    ValueError
        If a level is negative or an uncertainty not positive, their sizes do not match the data,
        columns of the trend are linearly dependent, or a level is given for data of several units.

    See Also
    --------
    skgrav.Survey : Has an uncertainty and a trend.
    skgrav.metrics.chi_factor : The misfit in units of the noise.

    Notes
    -----
    Everywhere in skgrav the noise is the first of these that is not None: the argument
    `noise_level` of a method, the parameter `noise_level` of the estimator, the uncertainty of the
    operator's survey. Without any, methods that can estimate it do so. The trend is the survey's.
    A JointOperator has the uncertainties and trends of its parts, so that a trend of the gravity
    leaves other data alone.

    One level for gravity in mGal and gradients in Eotvos is relative to the rms of a sample whose
    data are in units of their uncertainty, or, if there is none, of their typical size: 1 for
    gravity, and for gradients the ratio of both for masses below the stations. So the noise of each
    of the two is that level of its own rms, as far as their ratio is the typical one, and the chi
    factor of both together is right in any case.

    Examples
    --------
    >>> import numpy as np
    >>> from skgrav.noise import Noise
    >>> noise = Noise(4, level=0.01, trend=np.ones((4, 1)))
    >>> g = np.array([[101.0, 99.0, 101.0, 99.0]])
    >>> noise.std(g).round(4)
    array([[0.01, 0.01, 0.01, 0.01]])
    """

    @checked(n_data=[COUNT])
    def __init__(
        self,
        n_data: int,
        *,
        level: ArrayLike | Literal["auto"] | None = None,
        uncertainty: ArrayLike | None = None,
        trend: ArrayLike | None = None,
        trend_names: tuple[str, ...] = (),
        units: tuple[str, ...] = (),
        scales: ArrayLike | None = None,
    ) -> None:
        weights = np.ones(n_data)
        self.units = tuple(dict.fromkeys(units))
        self.has_scales = scales is not None or len(self.units) > 1
        self._lacks_scales = False
        if scales is not None:
            weights = check_uncertainty(scales, n_data, "scales")
            weights = weights / weights.min()
        self._absolute: float | None = None
        if uncertainty is not None:
            sigma = check_uncertainty(uncertainty, n_data)
            # Scaled, since squares of tiny numbers underflow.
            largest = sigma.max()
            self._absolute = float(largest * np.sqrt(np.mean((sigma / largest) ** 2)))
            weights = sigma / self._absolute if np.ptp(sigma) else weights
        basis = np.zeros((n_data, 0)) if trend is None else check_basis(trend, n_data)
        self.level: Level = self._checked_level(level)
        self.trend_names = trend_names or tuple(f"trend{i}" for i in range(basis.shape[1]))
        self.whitening = Whitening(weights, basis)

    @classmethod
    @checked(n_data=[COUNT, None])
    def of(
        cls,
        source: Any,
        level: Any = None,
        *,
        uncertainty: ArrayLike | None = None,
        n_data: int | None = None,
    ) -> Self:
        """Return the noise of data of a survey, or of an operator with or without a survey.

        Parameters
        ----------
        source : Survey, ForwardOperator, MatrixOperator, ndarray or None
            The survey or operator, fitted or not; a MatrixOperator states no noise.
        level : float, array-like of shape (n_samples,), "auto" or None, default=None
            Relative noise, which takes precedence over the survey's uncertainty.
        uncertainty : float or array-like of shape (n_data,), default=None
            Standard deviation of each datum in place of the survey's.
        n_data : int, default=None
            Number of data, by default the operator's; if the survey has another, it is ignored.

        Returns
        -------
        noise : Noise
            The noise.
        """
        if level is not None and uncertainty is not None:
            raise ValueError("'noise_level' and 'uncertainty' are both given; give one of them.")
        stated = source if isinstance(source, Survey) else getattr(source, "stated_noise", None)
        if stated is not None and n_data in (None, stated.n_data):
            uncertainty = stated.uncertainty if uncertainty is None else uncertainty
            kinds = {component_unit(c) for c in getattr(stated, "components", ())}
            scales = None
            if len(kinds) > 1:
                scales = getattr(source, "data_scales_", None) if uncertainty is None else 1.0
            noise = cls(
                stated.n_data,
                level=level,
                uncertainty=uncertainty,
                trend=stated.trend_basis,
                trend_names=stated.trend_names,
                units=getattr(stated, "units", ()),
                scales=scales,
            )
            noise._lacks_scales = len(kinds) > 1 and scales is None
            return noise
        if n_data is None:
            n_data = getattr(source, "n_data_", None) or _n_rows(source)
        return cls(n_data, level=level, uncertainty=uncertainty)

    def at(self, level: Any, *, estimable: bool = True) -> Self:
        """Return the same noise at another level.

        Parameters
        ----------
        level : float, array-like of shape (n_samples,), "auto" or None
            Relative noise; None returns this object.
        estimable : bool, default=True
            Whether the method can estimate the noise, so that ``"auto"`` is allowed.

        Returns
        -------
        noise : Noise
            The noise, which shares the whitening.
        """
        if level is None:
            return self
        if not estimable and isinstance(level, str) and level == "auto":
            raise ValueError(
                "'noise_level' is 'auto', but this method does not estimate the noise; give a "
                "number of at least 0 or one for each sample, relative to the rms of its data."
            )
        other = copy(self)
        other.level = self._checked_level(level)
        return other

    def _checked_level(self, level: Any) -> Level:
        level = check_level(level)
        if len(self.units) > 1 and level is not None and not isinstance(level, str):
            raise ValueError(
                f"'noise_level' is relative to the rms of a sample's data, but these have several "
                f"units, of {' and '.join(self.units)}. Leave it out: the noise is the "
                "'uncertainty' of each part of the JointOperator."
            )
        return level

    @property
    def is_known(self) -> bool:
        """Whether the size of the noise is given, by a level or an uncertainty."""
        return self.is_relative or (self.level is None and self._absolute is not None)

    @property
    def is_relative(self) -> bool:
        """Whether a level relative to each sample's data is given."""
        return self.level is not None and not isinstance(self.level, str)

    @property
    def has_trend(self) -> bool:
        """Whether there is a coherent part."""
        return self.whitening.n_white < self.whitening.n_data

    def rms(self, g: Array) -> Array:
        """Return the rms to which levels are relative.

        Parameters
        ----------
        g : ndarray of shape (n_samples, n_data)
            Gravity, component-major.

        Returns
        -------
        rms : ndarray of shape (n_samples,)
            The rms of each sample without its trend, of data of several units in their scales.
        """
        return np.sqrt(np.mean(self.comparable(g) ** 2, axis=1))

    def comparable(self, g: Array) -> Array:
        """Return data without their trend, those of several units in their scales.

        Parameters
        ----------
        g : ndarray of shape (n_samples, n_data)
            Data, or their residuals.

        Returns
        -------
        comparable : ndarray of shape (n_samples, n_data)
            Data in their unit or, where they have several, divided by their relative uncertainty or
            typical size.
        """
        if self._lacks_scales:
            raise ValueError(
                "'source' is a survey of gravity in mGal and gradients in E, whose sizes follow "
                "from the mesh. Give a fitted operator, or the survey an 'uncertainty'."
            )
        detrended = self.whitening.detrended(g)
        return detrended / self.whitening.weights if self.has_scales else detrended

    def scale(self, g: Array, typical_rms: float = 0.0) -> Array | None:
        """Return the standard deviation of each sample's whitened noise, or None if not known.

        Parameters
        ----------
        g : ndarray of shape (n_samples, n_data)
            Gravity, component-major.
        typical_rms : float, default=0.0
            Rms of typical data; a level is relative to at least a thousandth of it.

        Returns
        -------
        sigma : ndarray of shape (n_samples,) or None
            The standard deviations.
        """
        if self.is_relative:
            rms = at_least_typical(self.rms(g), typical_rms)
            return of_each(self.level, "noise_level", len(g)) * rms
        return np.full(len(g), self._absolute) if self.is_known else None

    def scale_or(self, g: Array, unknown: float) -> Array:
        """Return the standard deviation of whitened noise, or a number if it is not known.

        Parameters
        ----------
        g : ndarray of shape (n_samples, n_data)
            Gravity, component-major.
        unknown : float
            The number.

        Returns
        -------
        sigma : ndarray of shape (n_samples,)
            The standard deviations.
        """
        sigma = self.scale(g)
        return np.full(len(g), unknown) if sigma is None else sigma

    def std(self, g: ArrayLike) -> Array | None:
        """Return the standard deviation of each datum, or None if the noise is not known.

        Parameters
        ----------
        g : array-like of shape (n_samples, n_data)
            Gravity, component-major.

        Returns
        -------
        std : ndarray of shape (n_samples, n_data) or None
            The standard deviations, in the unit of the data.
        """
        sigma = self.scale(self._checked(g))
        return None if sigma is None else sigma[:, None] * self.whitening.weights

    def relative(self, g: Array) -> float | None:
        """Return the level of the noise in all data together.

        Parameters
        ----------
        g : ndarray of shape (n_samples, n_data)
            Gravity, component-major.

        Returns
        -------
        level : float or None
            Standard deviation relative to the rms of the data, the greatest if it is given for
            each sample; None if the noise is not known.
        """
        if self.is_relative:
            return float(np.max(np.asarray(self.level)))
        sigma = self.scale(g)
        if sigma is None:
            return None
        rms = float(np.sqrt(np.mean(self.rms(g) ** 2))) or 1.0
        return float(np.sqrt(np.mean(sigma**2))) / rms

    def chi_factor(self, residual: Array, g: Array) -> Array | None:
        """Return the mean of ``(residual / std)**2`` of each sample, without the trend.

        The mean is over the degrees of freedom, the data less the coefficients of the trend.

        Parameters
        ----------
        residual : ndarray of shape (n_samples, n_data)
            Data less the gravity of their densities.
        g : ndarray of shape (n_samples, n_data)
            Data, to whose rms a level is relative.

        Returns
        -------
        chi : ndarray of shape (n_samples,) or None
            The chi factors; None if the noise is not known.
        """
        sigma = self.scale(g)
        if sigma is None:
            return None
        size = np.sqrt(np.mean(self.whitening(residual) ** 2, axis=1))
        # Without noise, an exact fit has chi factor 0, any other infinity.
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return np.where(size == 0, 0.0, size / sigma) ** 2

    def trend(
        self, residual: ArrayLike, sigma: ArrayLike | None = None, *, spread: Array | None = None
    ) -> Trend:
        """Fit the trend to residuals, data less the gravity of the estimated density.

        Parameters
        ----------
        residual : array-like of shape (n_samples, n_data)
            Residuals with their trend.
        sigma : array-like of shape (n_samples,), default=None
            Standard deviation of the whitened noise; None takes the uncertainty, if it is given.
        spread : ndarray of shape (n_samples, k, k), default=None
            Covariance of the coefficients due to the uncertainty of the density, NaN if that is not
            known; None takes the density as exact.

        Returns
        -------
        trend : Trend
            Coefficients, their standard deviations, and the trend at each datum.
        """
        residual = self._checked(residual, "residual")
        n = len(residual)
        coefficients = self.whitening.coefficients(residual)
        if sigma is None:
            known = self._absolute if self.level is None else None
            std = np.full(n, np.nan if known is None else known)
        else:
            std = of_each(sigma, "sigma", n)
        variance = std[:, None] ** 2 * self.whitening.coefficient_variance
        if spread is not None:
            variance = variance + np.diagonal(spread, axis1=1, axis2=2)
        return Trend(
            coefficients=coefficients,
            std=np.sqrt(variance),
            values=coefficients @ self.whitening.basis.T,
            names=self.trend_names,
        )

    def estimated(
        self,
        g: Array,
        white_residual: Array,
        space: _DataSpace,
        typical_rms: float,
    ) -> Array:
        """Return the standard deviation of each sample's whitened noise, given or estimated.

        Parameters
        ----------
        g : ndarray of shape (n_samples, n_data)
            Gravity.
        white_residual : ndarray of shape (n_samples, n_white)
            Whitened data less their mean.
        space : DataSpace
            Separates signal and noise.
        typical_rms : float
            Rms of typical whitened data.

        Returns
        -------
        sigma : ndarray of shape (n_samples,)
            The standard deviations, at least the rounding of the data.

        Warns
        -----
        UserWarning
            If the data contradict the stated noise.
        """
        rms = at_least_typical(self.rms(g), typical_rms)
        visible = np.sqrt(space.noise_variance(white_residual))
        stated = self.scale(g, typical_rms)
        if stated is None:
            return np.maximum(visible, least_noise(rms, typical_rms))
        contradicted = visible > CONTRADICTED * np.maximum(stated, ROUNDING * rms)
        if contradicted.any():
            worst = int(np.argmax(np.where(contradicted, visible / rms, 0.0)))
            source = "'noise_level'" if self.is_relative else "the 'uncertainty' of the survey"
            warn(
                f"{source} is {stated[worst] / rms[worst]:.2g} of the rms of the data, but "
                f"{contradicted.sum()} of {len(rms)} samples contain more that no density like the "
                f"training densities explains, up to {visible[worst] / rms[worst]:.2g}: it is "
                f"fitted as if it were signal. Give a larger one, or noise_level='auto'."
            )
        return with_visible_rounding(stated, visible, rms, typical_rms)

    def missing(self, residual: Array, g: Array) -> tuple[Array, float]:
        """Return the noise to add to training data, so that they have the stated noise.

        Parameters
        ----------
        residual : ndarray of shape (n_samples, n_data)
            Training data less the gravity of their densities.
        g : ndarray of shape (n_samples, n_data)
            Training data.

        Returns
        -------
        std : ndarray of shape (n_samples, n_data) or (1, 1)
            Standard deviation of the noise to add.
        share : float
            Its share of the stated noise. Both are zero if the data lack less than 0.3 of it.
        """
        sigma = self.scale(g)
        if sigma is None or not sigma.any():
            return np.zeros((1, 1)), 0.0
        stated = np.sqrt(self.whitening.n_white) * np.linalg.norm(sigma)
        # Variances of independent noise add up: present**2 + share**2 = 1.
        present = min(1.0, float(np.linalg.norm(self.whitening(residual)) / stated))
        share = float(np.sqrt(1.0 - present**2))
        if share <= _LACKING:
            return np.zeros((1, 1)), 0.0
        return share * sigma[:, None] * self.whitening.weights, share

    def _checked(self, g: ArrayLike, name: str = "g") -> Array:
        g = check_array(g, name)
        if g.shape[1] != self.whitening.n_data:
            raise ValueError(
                f"'{name}' has shape {g.shape}; it must be (n_samples, {self.whitening.n_data}), "
                "the number of data of this noise."
            )
        return g


def _n_rows(source: Any) -> int:
    """Return the number of data of a matrix."""
    if np.ndim(source) != 2:
        raise TypeError(
            f"'source' is of type {type(source).__name__}, which does not say how many data there "
            "are; give a Survey, an operator or a matrix, or 'n_data'."
        )
    return int(np.shape(source)[0])
