"""How usual data are among those of training densities: the distribution of a statistic."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from sklearn.utils import gen_batches

from skgrav._typing import Array, Array32
from skgrav.inverters._rows import Rows
from skgrav.io import saved, sized
from skgrav.noise import at_least_typical
from skgrav.solvers import DataSpace

#: Least number of training sections: with fewer, their covariance fits them better than others.
LEAST = 2000

#: Largest numbers of sections that are kept, and of others, which give the null distribution.
_N_KEPT, _N_NULL = 500, 4000

#: Sections that are of use.
N_USED = _N_KEPT + _N_NULL

#: Numbers of leading coordinates in which the distance to the nearest kept section is measured.
_NEAR = (6, 12, 24)

#: Noise, relative to the rms of a sample, that is tolerated without being told: of rounding and
#: discretisation. Added noise at which the null distribution is learned.
_TOLERATED, _LEVELS = 1e-4, (0.0, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0)

#: Error of the log variance of the noise that is tolerated, share of the noise that may be missing
#: unnoticed, and variance of the log energy of a band that is always allowed.
_LOG_NOISE, _MISSING, _LOG_ENERGY = 0.5, 0.3, 0.01

#: Samples whose distances are computed together.
_BLOCK = 256

#: Probabilities of exceeding the quantiles that are kept; beyond the last a tail is fitted.
_EXCEEDED = np.array([0.999, 0.99, *np.linspace(0.95, 0.1, 18), 0.07, 0.05, 0.04, 0.03])


@saved
@dataclass(frozen=True)
class Typicality:
    """Null distribution of a statistic of whitened data, by the relative level of noise.

    In the eigenvectors of the covariance of noise-free data, coordinates have the variance of
    signal and noise. The statistic is the largest of several parts, each less its median and over
    its distance from there to the 95 % quantile: the Mahalanobis distance of the logarithms of the
    energies in bands of coordinates, and logarithms of the distances, in the leading coordinates,
    to the nearest of the training sections that are kept. Beyond the 97 % quantile it is taken to
    have a generalised Pareto distribution.
    """

    #: Leading eigenvectors, one a column. Computed anew, on another processor, they may have other
    #: signs, and for equal eigenvalues, as symmetric surveys have, they may be turned.
    basis: Array32 = field(metadata=sized("d", "k"))
    #: Coordinates of kept sections over the standard deviation of their signal.
    kept: Array32 = field(metadata=sized("m", "k", least="float16"))
    #: log10 of the relative noise, that tolerated included.
    log_levels: Array = field(metadata=sized("l"))
    #: Mean of the log energies of bands, and inverse of a root of their covariance.
    mean: Array = field(metadata=sized("l", "b"))
    root: Array = field(metadata=sized("l", "b", "b"))
    #: Median of each part, and distance to the 95 % quantile.
    median: Array = field(metadata=sized("l", "p"))
    width: Array = field(metadata=sized("l", "p"))
    #: Quantiles of the statistic, and scale and shape of the tail.
    quantiles: Array = field(metadata=sized("l", "q"))
    tail: Array = field(metadata=sized("l", "t"))

    def __post_init__(self) -> None:
        sizes = self.quantiles.shape[1:], self.width.shape[1:], self.tail.shape[1:]
        if sizes != ((len(_EXCEEDED),), (1 + len(_NEAR),), (2,)):
            raise ValueError(f"the sizes of its Typicality are {sizes}")

    @classmethod
    def learn(cls, space: DataSpace, white: Array, mean: Array, data_rms: float) -> Self | None:
        """Learn from whitened noise-free data of training sections in random order.

        None if they are too few.
        """
        if len(white) < LEAST:
            return None
        std = np.sqrt(space.variance[: _NEAR[-1]])
        basis = space.rotation[:, : len(std)].astype(np.float32)
        kept = (white[:_N_KEPT] - mean) @ basis
        kept = np.divide(kept, std, out=np.zeros_like(kept), where=std > 0).astype(np.float32)
        others = white[_N_KEPT : _N_KEPT + _N_NULL]
        rms, residual = rms_of(others, data_rms), others - mean
        noise = np.random.RandomState(0).normal(size=others.shape)  # the same at all levels
        tables = []
        for level in _LEVELS:
            sigma = level * rms
            noisy = residual + sigma[:, None] * noise
            tables.append(_table(*_parts(space, basis, kept, noisy, sigma, rms, data_rms)))
        parts = (np.stack(part) for part in zip(*tables, strict=True))
        return cls(basis, kept, _log_level(np.array(_LEVELS)), *parts)

    def p_values(
        self, space: DataSpace, white: Array, mean: Array, sigma: Array, data_rms: float
    ) -> Array:
        """Return the probability of data at least as unusual as whitened data, (n_samples,).

        `sigma` is the standard deviation of their noise.
        """
        rms = rms_of(white, data_rms)
        data = white - mean, sigma, rms, data_rms
        energies, _, near = _parts(space, self.basis, self.kept, *data)
        usual, root, median, width, quantiles, tail = self._at(sigma / rms)
        parts = (_raw(energies, near, usual, root) - median) / width
        return _exceedance(parts.max(axis=1), quantiles, tail)

    def _at(self, level: Array) -> tuple[Array, ...]:
        """Return the table at the level of each sample, interpolated."""
        x = np.interp(_log_level(level), self.log_levels, np.arange(len(self.log_levels)))
        below = np.minimum(x.astype(int), len(self.log_levels) - 2)
        t = x - below
        found = []
        for name in ("mean", "root", "median", "width", "quantiles", "tail"):
            table = getattr(self, name)
            share = t.reshape(-1, *[1] * (table.ndim - 1))
            found.append((1 - share) * table[below] + share * table[below + 1])
        return tuple(found)


def training_data(sections: Rows, matrix: Array) -> Array:
    """Return whitened noise-free data of sections in random order, as many as are of use."""
    order = np.random.RandomState(0).permutation(len(sections))[:N_USED]
    return np.concatenate([sections[order[b]] @ matrix.T for b in gen_batches(len(order), _BLOCK)])


def rms_of(white: Array, data_rms: float) -> Array:
    """Return the rms of whitened data, to which noise is relative, (n_samples,)."""
    return at_least_typical(np.sqrt(np.mean(white**2, axis=1)), data_rms)


def _log_level(level: Array) -> Array:
    return np.log10(np.hypot(level, _TOLERATED))


def _parts(
    space: DataSpace,
    basis: Array32,
    kept: Array32,
    residual: Array,
    sigma: Array,
    rms: Array,
    data_rms: float,
) -> tuple[Array, Array, Array]:
    """Return log energies of bands, shares of noise in them, and log distances to the nearest."""
    noise = sigma**2 + (_TOLERATED * rms) ** 2
    # Coordinates without signal are one band, whose energy is what the others leave.
    n_live = max(1, int(np.sum(space.variance > (0.1 * _TOLERATED * data_rms) ** 2)))
    coordinates, variance = residual @ space.rotation[:, :n_live], space.variance[:n_live]
    weights = 1.0 / (variance + noise[:, None])
    squares = coordinates**2
    starts = 2 ** np.arange(1, n_live.bit_length() + 1) - 2
    starts = starts[starts < n_live]
    size = np.diff(np.append(starts, n_live))
    energy = np.add.reduceat(squares * weights, starts, axis=1) / size
    share = noise[:, None] * np.add.reduceat(weights, starts, axis=1) / size
    if n_rest := residual.shape[1] - n_live:
        left = np.maximum(np.sum(residual**2, axis=1) - squares.sum(axis=1), 0.0) / n_rest
        expected = noise + space.variance[n_live:].sum() / n_rest
        energy = np.column_stack([energy, left / expected])
        share = np.column_stack([share, noise / expected])
    # Noise may be overestimated without being unusual.
    log_energy = np.log(np.maximum(energy + _MISSING * share, 1e-30))
    leading = residual @ basis[:, :n_live]
    return log_energy, share, _log_distances(kept, leading, variance, weights)


def _log_distances(kept: Array32, coordinates: Array, variance: Array, weights: Array) -> Array:
    """Return log distances to the nearest kept section, (n_samples, n_parts)."""
    n = coordinates.shape[1]
    weights, std = weights[:, :n], np.sqrt(variance[:n])
    weighted = coordinates * weights
    factors = np.stack([weights * variance[:n], -2.0 * std * weighted], axis=2, dtype=np.float32)
    kept = kept[:, :n]
    images = np.stack([kept**2, kept], axis=2)
    own = np.cumsum(coordinates * weighted, axis=1)
    near = np.empty((len(coordinates), len(_NEAR)))
    for block in gen_batches(len(coordinates), _BLOCK):
        distances, start = np.float32(0.0), 0
        for k, end in enumerate(_NEAR):
            some = slice(start, end)
            if start < n:
                distances = distances + _products(factors[block, some], images[:, some])
            near[block, k] = distances.min(axis=1) + own[block, min(end, n) - 1]
            start = end
    return np.log(np.maximum(near, 1e-6))


def _products(left: Array32, right: Array32) -> Array32:
    return left.reshape(len(left), -1) @ right.reshape(len(right), -1).T


def _raw(energies: Array, near: Array, mean: Array, root: Array) -> Array:
    """Return the parts of the statistic before they are standardised, (n_samples, n_parts)."""
    deviation = (root @ (energies - mean)[..., None])[..., 0]
    distance = np.sum(deviation**2, axis=1)
    return np.column_stack([np.log(np.maximum(distance, 1e-30)), near])


def _table(energies: Array, share: Array, near: Array) -> tuple[Array, ...]:
    """Return all of the null distribution at one level of noise."""
    mean, noise = energies.mean(axis=0), share.mean(axis=0)
    covariance = np.cov(energies.T) + _LOG_NOISE**2 * np.outer(noise, noise)
    covariance += _LOG_ENERGY * np.eye(len(mean))
    root = np.linalg.inv(np.linalg.cholesky(covariance))
    raw = _raw(energies, near, mean, root)
    median, high = np.quantile(raw, [0.5, 0.95], axis=0)
    width = np.maximum(high - median, 1e-3)
    statistic = ((raw - median) / width).max(axis=1)
    quantiles = np.quantile(statistic, 1.0 - _EXCEEDED)
    return mean, root, median, width, quantiles, _tail(statistic, quantiles[-1])


def _tail(statistic: Array, start: float) -> Array:
    """Return scale and shape of the excess over `start` by probability-weighted moments."""
    excess = np.sort(statistic[statistic > start] - start)
    if len(excess) < 2:  # nearly all sections are the same
        return np.array([1.0, 0.0])
    first = excess.mean()
    second = np.mean(excess * (1.0 - (np.arange(len(excess)) + 0.65) / len(excess)))
    shape = 2.0 - first / (first - 2.0 * second)
    # A bounded tail would make data impossible from a few thousand sections.
    shape = float(np.clip(shape, 0.0, 0.5))
    return np.array([first * (1.0 - shape), shape])


def _exceedance(statistic: Array, quantiles: Array, tail: Array) -> Array:
    """Return the probability of a larger statistic, of each sample with its table."""
    start, (scale, shape) = quantiles[:, -1], tail.T
    excess = np.maximum(statistic - start, 0.0) / scale
    steps = np.where(shape > 1e-6, np.log1p(shape * excess) / np.maximum(shape, 1e-6), excess)
    beyond = _EXCEEDED[-1] * np.exp(-steps)
    # Within the quantiles it is interpolated.
    k = np.clip(np.sum(statistic[:, None] > quantiles, axis=1), 1, len(_EXCEEDED) - 1)
    low, high = (quantiles[np.arange(len(k)), j] for j in (k - 1, k))
    t = np.clip((statistic - low) / np.maximum(high - low, 1e-12), 0.0, 1.0)
    within = (1.0 - t) * _EXCEEDED[k - 1] + t * _EXCEEDED[k]
    return np.where(statistic > start, beyond, within)
