"""Noise: what of the data is not gravity of the mesh."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg

from skgrav._checks import check_array, check_basis, check_size, check_uncertainty, real_array
from skgrav._typing import Array

__all__ = ["Noise", "Trend", "Whitening"]

Level = float | Array | Literal["auto"] | None

#: Relative noise that rounding makes of data: of data as computed, and of data as stored.
_EXACT, _ROUNDING = 1e-12, 1e-6

#: Training data whose noise falls short by less than this share of the stated noise are taken as
#: they are.
_LACKING = 0.3

#: Data that show this many times the stated noise, or rounding, contradict it.
CONTRADICTED = 3.0


@dataclass(frozen=True)
class Trend:
    """The coherent part of the noise that residuals hold: a level, a plane, a regional field.

    Parameters
    ----------
    coefficients : ndarray of shape (n_samples, n_coefficients)
        Coefficients of the columns of the basis. For a trend of given degree they belong to powers
        of the horizontal coordinates, in metres from the mean station, and are in the unit of the
        data per metre to that power.
    std : ndarray of shape (n_samples, n_coefficients)
        Their standard deviations; NaN where the noise is not known.
    values : ndarray of shape (n_samples, n_data)
        The trend at each datum.
    names : tuple of str
        What each coefficient multiplies, such as ``"gz"``, the level, and ``"gz x"``, the slope.

    See Also
    --------
    Noise.trend : Fits it to residuals.
    skgrav.Survey : Has a trend as a parameter.

    Examples
    --------
    >>> from skgrav import Survey
    >>> from skgrav.noise import Noise
    >>> survey = Survey([[0.0, 0.0], [0.0, 50.0], [0.0, 100.0]], ("z",), 0.1, trend=0)
    >>> trend = Noise.of_survey(survey).trend([[4.0, 5.0, 6.0]])
    >>> trend.names, float(trend.coefficients[0, 0].round(6)), float(trend.std[0, 0].round(3))
    (('gz',), 5.0, 0.058)
    """

    coefficients: Array
    std: Array
    values: Array
    names: tuple[str, ...]


class Whitening:
    """Linear map of data after which independent errors have one standard deviation.

    Data are divided by their weights and, where there is a trend, turned so that its basis fills
    the first coordinates, which are left out: its coefficients are free, so these coordinates
    hold no information about densities. As the turn is orthogonal, white noise stays white.

    Parameters
    ----------
    weights : ndarray of shape (n_data,)
        Standard deviations of the data relative to each other.
    basis : ndarray of shape (n_data, n_coefficients)
        Columns that span the trend, linearly independent; without columns there is no trend.

    See Also
    --------
    Noise : Has one as `whitening`.

    Examples
    --------
    >>> import numpy as np
    >>> from skgrav.noise import Whitening
    >>> whitening = Whitening(np.ones(4), np.ones((4, 1)))
    >>> bool(np.allclose(whitening(np.full((1, 4), 7.0)), 0.0))
    True
    """

    def __init__(self, weights: Array, basis: Array) -> None:
        self.weights, self.basis = weights, basis
        #: Number of data, and of whitened data.
        self.n_data, self.n_white = len(weights), len(weights) - basis.shape[1]
        self._is_weighted = bool(np.any(weights != 1.0))

    @property
    def is_identity(self) -> bool:
        """Whether data stay as they are."""
        return not self._is_weighted and self.n_white == self.n_data

    @property
    def key(self) -> tuple[bytes, bytes]:
        """What makes two of them equal."""
        return self.weights.tobytes(), self.basis.tobytes()

    @cached_property
    def _reflectors(self) -> tuple[Array, Array]:
        # Q = H_1 ... H_k = I - V T V^T, the compact form of the Householder reflectors of the QR
        # decomposition: n_data * k numbers where Q itself has n_data^2.
        weighted = self.basis / self.weights[:, None]
        (qr, tau), _ = linalg.qr(weighted / np.linalg.norm(weighted, axis=0), mode="raw")
        k = len(tau)
        V = np.tril(qr, -1)
        V[np.arange(k), np.arange(k)] = 1.0
        T = np.zeros((k, k))
        for j in range(k):
            T[:j, j] = -tau[j] * T[:j, :j] @ (V[:, :j].T @ V[:, j])
            T[j, j] = tau[j]
        return V, T

    def __call__(self, data: Array) -> Array:
        """Return whitened data, (n_samples, n_white)."""
        if self._is_weighted:
            data = data / self.weights
        if self.n_white == self.n_data:
            return data
        V, T = self._reflectors
        return (data - ((data @ V) @ T) @ V.T)[:, self.n_data - self.n_white :]

    def adjoint(self, white: Array) -> Array:
        """Apply the transpose.

        Parameters
        ----------
        white : ndarray of shape (n_samples, n_white)
            Whitened data.

        Returns
        -------
        image : ndarray of shape (n_samples, n_data)
            Such as the gradient of a misfit with respect to the data.
        """
        if self.n_white < self.n_data:
            V, T = self._reflectors
            padded = np.zeros((len(white), self.n_data))
            padded[:, self.n_data - self.n_white :] = white
            white = padded - ((padded @ V) @ T.T) @ V.T
        return white / self.weights if self._is_weighted else white

    def matrix(self, matrix: Array) -> Array:
        """Whiten the columns of a sensitivity matrix.

        Parameters
        ----------
        matrix : ndarray of shape (n_data, n_cells)
            Map from densities to data.

        Returns
        -------
        white : ndarray of shape (n_white, n_cells)
            Map from densities to whitened data.
        """
        return matrix if self.is_identity else self(matrix.T).T

    @cached_property
    def _inverse(self) -> Array:
        """Least-squares map of weighted data to the coefficients, (n_coefficients, n_data)."""
        weighted = self.basis / self.weights[:, None]
        size = np.linalg.norm(weighted, axis=0)
        return np.linalg.pinv(weighted / size) / size[:, None]

    def coefficients(self, data: Array) -> Array:
        """Fit the trend to data.

        Parameters
        ----------
        data : ndarray of shape (n_samples, n_data)
            Data.

        Returns
        -------
        coefficients : ndarray of shape (n_samples, n_coefficients)
            Coefficients of the trend that fits them best.
        """
        return (data / self.weights) @ self._inverse.T

    def covariance(self) -> Array:
        """Return the covariance of the coefficients.

        Returns
        -------
        covariance : ndarray of shape (n_coefficients, n_coefficients)
            Their covariance for whitened noise of variance 1.
        """
        return self._inverse @ self._inverse.T

    def detrended(self, data: Array) -> Array:
        """Return data less the trend that fits them best.

        Parameters
        ----------
        data : ndarray of shape (n_samples, n_data)
            Data.

        Returns
        -------
        detrended : ndarray of shape (n_samples, n_data)
            Data without their trend.
        """
        if self.n_white == self.n_data:
            return data
        return data - self.coefficients(data) @ self.basis.T


class _DataSpace(Protocol):
    """Where signal and noise can be separated: `skgrav.solvers.DataSpace`."""

    def noise_variance(self, data: Array) -> Array:
        """Estimate the noise of each sample, (n_samples,)."""


class Noise:
    """What of the data the mesh cannot explain: independent errors, and a trend.

    Independent errors have a standard deviation for each datum: a level relative to each sample's
    own data, or an uncertainty in their unit. The coherent part, the trend, is any combination of
    the columns of a basis with free coefficients. It is projected out of data and operator by
    `whitening`, as noise whose variance is infinite.

    Parameters
    ----------
    n_data : int
        Number of data of a sample.
    level : float, array-like of shape (n_samples,), "auto" or None, default=None
        Standard deviation of the noise relative to the rms of each sample's own data without
        their trend; ``"auto"`` is to be estimated from the data. None takes the uncertainty.
    uncertainty : float or array-like of shape (n_data,), default=None
        Standard deviation of each datum, in the unit of the data. With a level it only
        distributes the noise among the data.
    trend : array-like of shape (n_data, n_coefficients), default=None
        Basis of the trend, one column for each coefficient.
    trend_names : sequence of str, default=()
        What each coefficient multiplies.

    Attributes
    ----------
    whitening : Whitening
        Makes the noise white and leaves the trend out.

    Raises
    ------
    ValueError
        If a level is negative or an uncertainty not positive, their sizes do not match the data,
        or columns of the trend depend on each other.

    See Also
    --------
    skgrav.Survey : Holds uncertainty and trend of a survey.
    skgrav.metrics.chi_factor : The misfit in units of the noise.

    Notes
    -----
    Everywhere in skgrav the noise is taken from the first of these that is not None: the argument
    `noise_level` of a method, the parameter `noise_level` of the estimator, the uncertainty of the
    operator's survey. Without any, it is estimated where the method can do that. The trend is that
    of the survey.

    Examples
    --------
    >>> import numpy as np
    >>> from skgrav.noise import Noise
    >>> noise = Noise(4, level=0.01, trend=np.ones((4, 1)))
    >>> g = np.array([[101.0, 99.0, 101.0, 99.0]])
    >>> noise.std(g).round(4)
    array([[0.01, 0.01, 0.01, 0.01]])
    """

    def __init__(
        self,
        n_data: int,
        *,
        level: ArrayLike | Literal["auto"] | None = None,
        uncertainty: ArrayLike | None = None,
        trend: ArrayLike | None = None,
        trend_names: tuple[str, ...] = (),
    ) -> None:
        weights = np.ones(n_data)
        self._absolute: float | None = None
        if uncertainty is not None:
            sigma = check_uncertainty(uncertainty, n_data)
            peak = sigma.max()  # squares of tiny ones vanish
            self._absolute = float(peak * np.sqrt(np.mean((sigma / peak) ** 2)))
            weights = sigma / self._absolute if np.ptp(sigma) else weights
        basis = np.zeros((n_data, 0)) if trend is None else check_basis(trend, n_data)
        self.level: Level = check_level(level)
        self.trend_names = trend_names or tuple(f"trend{i}" for i in range(basis.shape[1]))
        self.whitening = Whitening(weights, basis)

    @classmethod
    def of_survey(
        cls, survey: Any, level: Any = None, *, uncertainty: ArrayLike | None = None
    ) -> Self:
        """Return the noise of data of a survey.

        Parameters
        ----------
        survey : Survey
            The survey, whose trend counts, and its uncertainty unless that is given.
        level : float, array-like of shape (n_samples,), "auto" or None, default=None
            Relative noise, which takes precedence over the survey's uncertainty.
        uncertainty : float or array-like of shape (n_data,), default=None
            Standard deviation of each datum in place of the survey's.

        Returns
        -------
        noise : Noise
            The noise.
        """
        if level is not None and uncertainty is not None:
            raise ValueError("'noise_level' and 'uncertainty' are both given; give one of them.")
        return cls(
            survey.n_data,
            level=level,
            uncertainty=survey.uncertainty if uncertainty is None else uncertainty,
            trend=survey.trend_basis,
            trend_names=survey.trend_names,
        )

    @classmethod
    def of(
        cls,
        operator: Any,
        level: Any = None,
        *,
        uncertainty: ArrayLike | None = None,
        n_data: int | None = None,
    ) -> Self:
        """Return the noise of data of an operator: that of its survey, if it has one.

        Parameters
        ----------
        operator : ForwardOperator, MatrixOperator, ndarray or None
            The operator, fitted or not; others than a ForwardOperator have no survey.
        level : float, array-like of shape (n_samples,), "auto" or None, default=None
            Relative noise, which takes precedence over the survey's uncertainty.
        uncertainty : float or array-like of shape (n_data,), default=None
            Standard deviation of each datum in place of the survey's.
        n_data : int, default=None
            Number of data; None takes that of the operator.

        Returns
        -------
        noise : Noise
            The noise.
        """
        survey = getattr(operator, "survey_", None) or getattr(operator, "survey", None)
        if survey is not None and n_data in (None, survey.n_data):
            return cls.of_survey(survey, level, uncertainty=uncertainty)
        if level is not None and uncertainty is not None:
            raise ValueError("'noise_level' and 'uncertainty' are both given; give one of them.")
        if n_data is None:
            n_data = getattr(operator, "n_data_", None) or operator.shape[0]
        return cls(n_data, level=level, uncertainty=uncertainty)

    def at(self, level: Any) -> Self:
        """Return the same noise at another level.

        Parameters
        ----------
        level : float, array-like of shape (n_samples,), "auto" or None
            Relative noise; None returns the noise as it is.

        Returns
        -------
        noise : Noise
            The noise, with the whitening of this one.
        """
        if level is None:
            return self
        other = object.__new__(type(self))
        other.__dict__.update(vars(self) | {"level": check_level(level)})
        return other

    @property
    def is_known(self) -> bool:
        """Whether the size of the noise is given, and need not be estimated."""
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
            The rms of each sample without its trend.
        """
        return np.sqrt(np.mean(self.whitening.detrended(g) ** 2, axis=1))

    def scale(self, g: Array, typical_rms: float = 0.0) -> Array | None:
        """Return the standard deviation of each sample's whitened noise, or None if not known.

        Parameters
        ----------
        g : ndarray of shape (n_samples, n_data)
            Gravity, component-major.
        typical_rms : float, default=0.0
            Rms of typical data, of which a level is relative to a thousandth at least.

        Returns
        -------
        sigma : ndarray of shape (n_samples,) or None
            The standard deviations.
        """
        if self.is_relative:
            rms = at_least_typical(self.rms(g), typical_rms)
            return check_levels(self.level, len(g)) * rms
        if self.level is None and self._absolute is not None:
            return np.full(len(g), self._absolute)
        return None

    def std(self, g: ArrayLike) -> Array | None:
        """Return the standard deviation of each datum, or None where the noise is not known.

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
            Standard deviation relative to the rms of the data; the greatest where samples have
            levels of their own, None where the noise is not known.
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

        The trend uses up one datum for each coefficient, so the mean is over those that are left.

        Parameters
        ----------
        residual : ndarray of shape (n_samples, n_data)
            Data less the gravity of their densities.
        g : ndarray of shape (n_samples, n_data)
            Data, to whose rms a level is relative.

        Returns
        -------
        chi : ndarray of shape (n_samples,) or None
            The chi factors; None where the noise is not known.
        """
        sigma = self.scale(g)
        if sigma is None:
            return None
        size = np.sqrt(np.mean(self.whitening(residual) ** 2, axis=1))
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
            Standard deviation of the whitened noise; None takes the uncertainty, where it is given.
        spread : ndarray of shape (n_samples, k, k), default=None
            Covariance of the coefficients that comes from the uncertainty of the density; None
            takes the density as exact.

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
            std = _check_sigma(sigma, n)
        size2 = std**2
        variance = size2[:, None] * np.diag(self.whitening.covariance())
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
        *,
        stacklevel: int = 4,
    ) -> Array:
        """Return the standard deviation of each sample's whitened noise, given or estimated.

        Parameters
        ----------
        g : ndarray of shape (n_samples, n_data)
            Gravity.
        white_residual : ndarray of shape (n_samples, n_white)
            Whitened data less their mean.
        space : DataSpace
            Where signal and noise can be separated.
        typical_rms : float
            Rms of typical whitened data.
        stacklevel : int, default=4
            That of the warning.

        Returns
        -------
        sigma : ndarray of shape (n_samples,)
            At least the rounding of the data.

        Warns
        -----
        UserWarning
            If the data contradict the level that is given.
        """
        rms = at_least_typical(self.rms(g), typical_rms)
        visible = np.sqrt(space.noise_variance(white_residual))
        stated = self.scale(g, typical_rms)
        if stated is None:
            return np.maximum(visible, least_noise(rms, typical_rms))
        contradicted = visible > CONTRADICTED * np.maximum(stated, _ROUNDING * rms)
        if contradicted.any():
            worst = int(np.argmax(np.where(contradicted, visible / rms, 0.0)))
            source = "'noise_level'" if self.is_relative else "the 'uncertainty' of the survey"
            warnings.warn(
                f"{source} is {stated[worst] / rms[worst]:.2g} of the rms of the data, but "
                f"{contradicted.sum()} of {len(rms)} samples hold more that no density of the "
                f"training kind explains, up to {visible[worst] / rms[worst]:.2g}: it is fitted "
                f"as if it were signal. Give a larger one, or noise_level='auto'.",
                stacklevel=stacklevel,
            )
        return with_visible_rounding(stated, visible, rms, typical_rms)

    def missing(self, residual: Array, g: Array) -> tuple[Array, float]:
        """Return the standard deviation that training data lack of the stated noise, and its share.

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
            Its share of the stated noise. Both are zero where the data lack next to nothing.
        """
        sigma = self.scale(g)
        if sigma is None or not sigma.any():
            return np.zeros((1, 1)), 0.0
        stated = np.sqrt(self.whitening.n_white) * np.linalg.norm(sigma)
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
                "as many data as this noise has."
            )
        return g


def noise_with_rounding(sigma: Array, rms: Array, typical_rms: float) -> Array:
    """Return noise that is at least the rounding of data as stored."""
    return np.maximum(sigma, _ROUNDING * at_least_typical(rms, typical_rms))


def with_visible_rounding(sigma: Array, visible: Array, rms: Array, typical_rms: float) -> Array:
    """Return noise that is at least the rounding which samples show, (n_samples,)."""
    return np.maximum(sigma, np.clip(visible, least_noise(rms, typical_rms), _ROUNDING * rms))


def least_noise(rms: Array, typical_rms: float) -> Array:
    """Return the noise of exact samples, from which data of a typical size are subtracted."""
    return _EXACT * np.maximum(rms, typical_rms)


def at_least_typical(rms: Array, typical_rms: float) -> Array:
    """Return the rms of samples, at least a thousandth of a typical one."""
    return np.maximum(rms, 1e-3 * typical_rms)


def check_level(level: Any) -> Level:
    """Return a relative level, one for each sample, "auto" or None; or raise ValueError."""
    if level is None:
        return None
    if isinstance(level, str) and level == "auto":
        return "auto"
    try:
        array = real_array(level, "noise_level")
    except (TypeError, ValueError):
        array = np.array(np.nan)
    if array.ndim > 1 or not ((array >= 0) & np.isfinite(array)).all():
        raise ValueError(
            f"'noise_level' is {level!r}; it must be a number of at least 0 or one for each "
            "sample, the standard deviation of the noise relative to the rms of a sample's data, "
            "or 'auto'."
        )
    return float(array) if array.ndim == 0 else array


def check_levels(level: Any, n_samples: int) -> Array:
    """Return one relative level for each sample, or raise ValueError."""
    array = np.asarray(level, dtype=np.float64)
    if array.shape not in ((), (n_samples,)):
        raise ValueError(
            f"'noise_level' has {array.size} values; it must be a number of at least 0 or one for "
            f"each of {n_samples} samples."
        )
    return np.broadcast_to(array, (n_samples,))


def _check_sigma(sigma: ArrayLike, n_samples: int) -> Array:
    """Return one standard deviation for each sample, or raise ValueError."""
    array = real_array(sigma, "sigma")
    check_size(array, "sigma")
    if array.shape not in ((), (n_samples,)) or not (array >= 0).all():
        raise ValueError(
            f"'sigma' has shape {array.shape} and minimum {array.min(initial=np.inf):g}; it must "
            f"be a number of at least 0 or one for each of {n_samples} samples."
        )
    return np.broadcast_to(array, (n_samples,))


def no_noise(what: str, remedy: str) -> str:
    """Return the text of the error where `what` needs a noise level that nothing gives."""
    return (
        f"{what} needs the noise of the data: 'noise_level' is None and the survey of 'operator' "
        "has no uncertainty. Give noise_level=..., relative to the rms of a sample's data, or a "
        f"Survey with 'uncertainty', or take {remedy}."
    )
