"""Whether data are like those of the training densities."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import bdtrc
from sklearn.utils.validation import check_is_fitted

from skgrav._checks import validate_data
from skgrav._typing import Array
from skgrav._warnings import warn
from skgrav.inverters._gaussian_prior import GaussianPrior
from skgrav.inverters._typicality import LEAST, Typicality
from skgrav.noise import Noise
from skgrav.operators import BaseOperator, is_lazy, lazily
from skgrav.solvers import DataSpace

#: p-value below which data are unlike the training data, and probability by chance below which so
#: many of them, or so small a p-value, are worth a warning.
_ATYPICAL, _CHANCE = 1e-3, 0.01


class ApplicabilityMixin:
    """Mixin of inverters that learn from training sections how usual data are.

    A subclass has `_p_values`.
    """

    def applicability(self, X: ArrayLike, *, noise_level: ArrayLike | None = None) -> Array:
        """Test whether data are like those of the training densities.

        `predict` warns of data with p-values below 0.001, unless so few among many samples are to
        be expected by chance.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_data)
            Gravity, component-major.
        noise_level : float, array-like of shape (n_samples,) or "auto", default=None
            Relative noise of each sample, as in `predict`. An estimate takes roughness of the data
            for noise, so give the level if it is known.

        Returns
        -------
        p : ndarray of shape (n_samples,)
            Share of data of the training densities, with the noise of the sample, that are at least
            as unusual. For such data it is uniform between 0 and 1.

        Raises
        ------
        ValueError
            If the inverter has not learned it: it was fitted to fewer than 2000 sections, read from
            a file without it, or made for another survey by `with_operator`.

        Notes
        -----
        Small p-values show data of wrong size, sign, order, unit or noise, or of densities without
        the structure of the training sections. Large ones are no proof: geology that the training
        sections lack may have data as usual as any.

        The statistic combines the energies of the data in bands of eigenvectors of their
        covariance, relative to those of signal and noise, and the distances of their leading
        coordinates to the nearest of 500 training sections. Its distribution is learned in `fit`
        from up to 4000 others, for noise from none to the size of the data; p-values below 0.03 are
        those of a generalised Pareto distribution fitted to the largest three in a hundred.
        """
        if is_lazy(X):
            return lazily(self.applicability, X, as_vectors=True, noise_level=noise_level)
        check_is_fitted(self)
        return self._p_values(validate_data(self, X, reset=False), noise_level)

    def _p_values(self, X: Array, noise_level: ArrayLike | None) -> Array:
        raise NotImplementedError


class PriorApplicability(ApplicabilityMixin):
    """Mixin of inverters that have learned a Gaussian prior, to whose data others are compared."""

    noise_level: float | Literal["auto"] | None
    operator_: BaseOperator
    _prior: GaussianPrior
    _data_rms: float
    _typicality: Typicality | None

    def _p_values(self, X: Array, noise_level: ArrayLike | None) -> Array:
        return p_values(self._typicality, *self._tested(X, noise_level))

    def _tested(
        self, X: Array, noise_level: ArrayLike | None
    ) -> tuple[DataSpace, Array, Array, Array, float]:
        """Return whitened data, the standard deviation of their noise, and what they are of."""
        noise, prior = self._noise().at(noise_level), self._prior
        white = noise.whitening(X)
        sigma = noise.estimated(X, white - prior.data_mean, prior.space, self._data_rms)
        return prior.space, white, prior.data_mean, sigma, self._data_rms

    def _noise(self) -> Noise:
        return Noise.of(self.operator_, self.noise_level)


def p_values(typicality: Typicality | None, *data: Any) -> Array:
    """Return the p-values of whitened data, or raise ValueError if none have been learned."""
    if typicality is None:
        raise ValueError(
            f"'applicability' compares data with at least {LEAST} training sections, but the "
            "inverter has none: it was fitted to fewer, read from a file that lacks them, or made "
            f"for another survey by `with_operator`. Fit it to {LEAST} sections or more."
        )
    return typicality.p_values(*data)


def warn_atypical(
    typicality: Typicality | None,
    space: DataSpace,
    white: Array,
    mean: Array,
    sigma: Array,
    data_rms: float,
) -> None:
    """Warn of whitened data that are unlike those of the training densities, where known."""
    if typicality is None:
        return
    p = typicality.p_values(space, white, mean, sigma, data_rms)
    n = int(np.sum(p < _ATYPICAL))
    # Of many usual samples some have small p-values.
    by_chance = min(float(bdtrc(n - 1, len(p), _ATYPICAL)), len(p) * float(p.min(initial=1.0)))
    if n and by_chance < _CHANCE:
        warn(
            f"{n} of {len(p)} samples are unlike the training data, with p-values down to "
            f"{p.min():.1g}, as `applicability` finds: the estimate may be far off. Check the "
            "units, signs and order of the data and their noise, or fit to sections like those "
            "expected."
        )
