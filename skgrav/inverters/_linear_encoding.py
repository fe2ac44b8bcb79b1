"""What encodings share that start from a linear estimate: physics, and the noise of samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from skgrav._typing import Array
from skgrav._warnings import warn
from skgrav.inverters._applicability import p_values, warn_atypical
from skgrav.inverters._checked_operator import checked_operator
from skgrav.inverters._encoding import Numbers
from skgrav.inverters._marginals import Marginals
from skgrav.inverters._plausible import warn_unexplained
from skgrav.inverters._rows import Rows
from skgrav.inverters._typicality import Typicality
from skgrav.io import sized
from skgrav.noise import CONTRADICTED, Noise, Whitening, at_least_typical
from skgrav.operators import N_CHECKED, BaseOperator, check_pairs
from skgrav.solvers import DataSpace
from skgrav.training import LEAST_NOISE, TrainingNet

#: Advice on pairs whose gravity is not that of their densities.
_IF_NOISE = "give X = operator.transform(y), to which 'training_noise' is added"


@dataclass(frozen=True, kw_only=True)
class LinearEncoding:
    """Operator, mean and size of whitened data, and the noise of data to invert.

    A subclass has `data_space`, the covariance of whitened data under the training densities.
    """

    #: Variances of a sample's signal, relative to `data_space`, with which noise is estimated.
    signal_scales: ClassVar[Sequence[float]] = (1.0,)

    operator: BaseOperator
    #: Constant part of the data that densities do not explain.
    data_offset: Array = field(metadata=sized("n_data"))
    #: Mean of whitened data.
    data_mean: Array = field(metadata=sized("d"))
    #: Rms of typical whitened data.
    data_rms: float
    #: Relative noise that noise-free training data seem to have, seldom exceeded.
    seeming_noise: float = 0.0
    #: Whether the network gives distributions of density.
    uncertainty: bool = False
    #: What is usual among data of training densities, if it is known for this survey.
    typicality: Typicality | None = None

    @property
    def data_space(self) -> DataSpace:
        """Coordinates of whitened data that are independent of each other."""
        raise NotImplementedError

    @property
    def noise(self) -> Noise:
        """Noise of the survey, which gives the whitening of data."""
        return Noise.of(self.operator, n_data=len(self.data_offset))

    def distributions(
        self, net: TrainingNet, X: Array, noise_level: ArrayLike | None
    ) -> tuple[Array, Marginals, Array]:
        """Return estimates, distributions about them, and the whitened noise of each sample."""
        raise NotImplementedError

    def noise_variance(self, white: Array) -> Array:
        """Estimate the variance of the noise of whitened data less their mean, (n_samples,)."""
        return self.data_space.noise_variance(white, self.signal_scales)

    def rms(self, white: Array) -> Array:
        """Return the rms of whitened data, to which noise levels are relative, (n_samples,)."""
        return at_least_typical(np.sqrt(np.mean(white**2, axis=1)), self.data_rms)

    def check_pairs(self, X: Numbers, y: Numbers) -> None:
        """Warn or raise ValueError if the operator does not reproduce pairs given after the fit."""
        some = np.linspace(0, len(y) - 1, min(len(y), N_CHECKED)).astype(np.intp)
        data = Rows(X)[some] - self.data_offset
        check_pairs(self.operator, Rows(y)[some], data, if_noise=_IF_NOISE)

    def p_values(
        self, X: Array, noise_level: ArrayLike | None, trained: tuple[float, float]
    ) -> Array:
        """Return the probability of data at least as unusual, (n_samples,)."""
        sigma = self._noise_of(X, noise_level, trained)
        return p_values(self.typicality, *self._tested(X, sigma))

    def warn_atypical(self, X: Array, sigma: Array) -> None:
        """Warn of data that are unlike the training data."""
        warn_atypical(self.typicality, *self._tested(X, sigma))

    def warn_unexplained(
        self, X: Array, sigma: Array, rho: Array, density_range: tuple[float, float]
    ) -> None:
        """Warn of data that estimates within the range of densities do not explain at all."""
        whitening = self.noise.whitening
        white = whitening(X - self.data_offset)
        warn_unexplained(rho, white, whitening, sigma, self.operator, density_range)

    def _tested(self, X: Array, sigma: Array) -> tuple[DataSpace, Array, Array, Array, float]:
        white = self.noise.whitening(X)
        return self.data_space, white, self.data_mean, sigma, self.data_rms

    def _noise_of(
        self, X: Array, noise_level: ArrayLike | None, trained: tuple[float, float]
    ) -> Array:
        """Return the whitened noise of each sample, given or estimated.

        Given are `noise_level`, the noise of the survey, or the only level of training. Warns where
        it is outside the range of levels `trained`.
        """
        (low, high), noise = trained, self.noise.at(noise_level)
        if noise_level is None and low == high and not noise.is_known:
            noise = noise.at(low)
        white, given = noise.whitening(X), noise.scale(X, self.data_rms)
        rms = self.rms(white)
        space = _Lenient(self, 0.0 if given is None else self.seeming_noise * rms)
        sigma = noise.estimated(X, white - self.data_mean, space, self.data_rms)
        # Errors of an identified operator add to the noise.
        unexplained = getattr(self.operator, "held_out_error_", 0.0)
        sigma = np.maximum(sigma, max(LEAST_NOISE, unexplained) * rms)
        # Estimates from few data are inaccurate, so they are clipped to the range of training
        # unless they contradict it.
        slack = CONTRADICTED if given is None else 1.0 + 1e-6
        level, high = (sigma if given is None else given) / rms, max(high, LEAST_NOISE)
        level = np.maximum(level, 0.1 * LEAST_NOISE)
        outside = (level > slack * high) | (level < low / slack) & (level < high)
        if given is None and low < high:
            sigma = np.where(outside, sigma, np.clip(sigma, low * rms, high * rms))
        if outside.any():
            worst = level[outside][np.argmax(np.abs(np.log(level[outside] / high)))]
            warn(
                f"{outside.sum()} of {len(X)} samples have relative noise that the network was not "
                f"trained for, such as {worst:.2g}; it was trained for {low:g} to {high:g}. Fit it "
                "with a wider 'training_noise'."
            )
        return sigma


class _Lenient:
    """Data space that sees only the noise beyond some, which does not contradict what is told."""

    def __init__(self, encoding: LinearEncoding, seeming: Array | float) -> None:
        self.encoding, self.seeming = encoding, seeming

    def noise_variance(self, data: Array) -> Array:
        return np.maximum(self.encoding.noise_variance(data) - self.seeming**2, 0.0)


def typical_rms(X: Numbers, whitening: Whitening) -> float:
    """Return the rms of whitened training data."""
    size2 = sum(np.sum(whitening(g) ** 2) for _, g in Rows(X).blocks())
    return float(np.sqrt(size2 / (len(X) * whitening.n_white))) or 1.0


def constant_part(X: Numbers, y: Numbers, operator: BaseOperator) -> Array:
    """Return the mean of the training data that their densities do not explain."""
    return Rows(X).mean() - operator.products_.forward(Rows(y).mean()[None])[0]


def operator_of_pairs(X: Numbers, y: Numbers, operator: BaseOperator | None) -> BaseOperator:
    """Return the operator of a network, checked against some of the training pairs."""
    return checked_operator(
        X,
        y,
        operator,
        offset=True,  # a TransformedTargetRegressor may have standardised y
        if_noise=_IF_NOISE,
    )
