"""Distribution of the density of each cell: a mixture of two Gaussians."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr, ndtri

from skgrav._typing import Array, Indices

#: Standard scores, of each component, at which the distribution function is tabulated.
_SCORES = np.linspace(-4.0, 4.0, 17)

#: Standard scores at which calibrations are tabulated.
CALIBRATION_SCORES = np.linspace(-3.0, 3.0, 25)

#: Largest standard score of a calibrated probability.
LARGEST_SCORE = 8.0

#: Steps of quantiles, in standard deviations of the mixture, that are not followed by another.
_TOLERANCE = 1e-3

#: Most steps; halving alone takes half as many.
_MAX_STEPS = 60

#: Quantiles that are computed together, in the cache of a processor.
_BLOCK = 20_000

#: Least standard deviation of a component, in those of the mixture.
_LEAST_STD = 1e-9


@dataclass(frozen=True)
class Marginals:
    """Mixture of two Gaussians for each cell; arrays are (n_samples, n_cells) if not stated."""

    #: Weight of the first component.
    weight: Array
    #: Means of the components.
    first: Array
    second: Array
    #: Their standard deviations.
    first_std: Array
    second_std: Array
    #: Standard scores under the mixture for `CALIBRATION_SCORES`, (n_samples, n_scores).
    scores: Array | None = None

    @property
    def mean(self) -> Array:
        """Mean of each cell."""
        return self.second + self.weight * (self.first - self.second)

    @property
    def std(self) -> Array:
        """Standard deviation of each cell."""
        w = self.weight
        within = w * self.first_std**2 + (1.0 - w) * self.second_std**2
        between = w * (1.0 - w) * (self.first - self.second) ** 2
        return np.asarray(np.sqrt(within + between))

    def of(self, i: int) -> Marginals:
        """Return those of one sample."""
        each = {name: part[i : i + 1] for name, part in vars(self).items() if part is not None}
        return replace(self, **each)

    def cdf(self, x: Array | float) -> Array:
        """Return the probability, before calibration, of densities of at most `x`."""
        least = self._least_std()
        first = ndtr((x - self.first) / np.maximum(self.first_std, least))
        second = ndtr((x - self.second) / np.maximum(self.second_std, least))
        return self.weight * first + (1.0 - self.weight) * second

    def quantiles(self, p: Array) -> Array:
        """Return the quantiles of increasing probabilities, (n_samples, n_cells, n_p)."""
        least = self._least_std()
        stds = np.maximum(self.first_std, least), np.maximum(self.second_std, least)
        parts = np.stack([self.weight, self.first, self.second, *stds]).reshape(5, -1)
        enough = _TOLERANCE * np.maximum(self.std, least).ravel()
        n_samples, n_cells = self.weight.shape
        each = np.broadcast_to(self._uncalibrated(p), (n_samples, n_cells, len(p)))
        each = each.reshape(-1, len(p))
        found = np.empty(each.shape)
        size = max(1, _BLOCK // len(p))
        for block in (slice(k, k + size) for k in range(0, len(enough), size)):
            found[block] = _quantiles(parts[:, block], enough[block], each[block])
        return found.reshape(n_samples, n_cells, len(p))

    def _uncalibrated(self, p: Array) -> Array:
        """Return the probabilities under the mixture of calibrated ones, (n_samples, 1, n_p)."""
        if self.scores is None:
            return p
        score = ndtri(p)
        within = np.clip(score, CALIBRATION_SCORES[0], CALIBRATION_SCORES[-1])
        found = np.array([np.interp(within, CALIBRATION_SCORES, scores) for scores in self.scores])
        return ndtr(np.clip(found + score - within, -LARGEST_SCORE, LARGEST_SCORE))[:, None]

    def _least_std(self) -> Array:
        """Return standard deviations that can be divided by."""
        tiny = np.finfo(float).eps * np.maximum(np.abs(self.first), np.abs(self.second))
        return np.maximum(_LEAST_STD * self.std, np.maximum(tiny, np.finfo(float).tiny))


def _quantiles(parts: Array, enough: Array, p: Array) -> Array:
    """Return quantiles of some cells, until steps are less than `enough`.

    `parts` are weights, means and standard deviations, (5, n_cells), and `p` probabilities,
    (n_cells, n_p), as are the quantiles. A table of the distribution function gives brackets and
    first guesses, Newton steps within the brackets the rest.
    """
    n = parts.shape[1]
    # The first and last nodes are beyond all quantiles.
    ends = ndtri(p[:, [0, -1]]) + [-1e-3, 1e-3]
    scores = np.concatenate([np.broadcast_to(_SCORES, (n, len(_SCORES))), ends], axis=1)
    _, a, b, s, t = columns = parts[:, :, None]
    nodes = np.sort(np.concatenate([a + s * scores, b + t * scores], axis=1), axis=1)
    below, density = _distribution(columns, nodes)
    row = np.arange(n)[:, None]
    place = np.searchsorted((below + row).ravel(), (p + row).ravel()).reshape(n, -1)
    first = row * nodes.shape[1]
    place = np.clip(place, first + 1, first + nodes.shape[1] - 1)
    low, high = nodes.ravel()[place - 1], nodes.ravel()[place]
    x = _guess(low, high, below.ravel(), density.ravel(), place, p)
    newer = _step(columns, x, low, high, p)
    # Probabilities near 0 or between distant components are nearly the same in a wide range, where
    # Newton steps are long and the bracket is halved instead.
    left = np.nonzero(np.abs(newer - x) > enough[:, None])
    x, low, high = newer, low[left], high[left]
    for _ in range(_MAX_STEPS):
        cell, k = left
        if not cell.size:
            break
        at = x[left]
        x[left] = newer = _step(parts[:, cell], at, low, high, p[left])
        far = np.abs(newer - at) > enough[cell]
        left, low, high = (cell[far], k[far]), low[far], high[far]
    return x


def _step(parts: Array, x: Array, low: Array, high: Array, p: Array) -> Array:
    """Narrow the brackets in place, and return the next guesses of quantiles."""
    found, slope = _distribution(parts, x)
    missing = p - found
    np.copyto(low, x, where=missing >= 0)
    np.copyto(high, x, where=missing <= 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        newer = x + missing / slope
    return np.where((newer >= low) & (newer <= high), newer, (low + high) / 2)


def _distribution(parts: Array, x: Array) -> tuple[Array, Array]:
    """Return the probability of densities below x, and its derivative."""
    w, a, b, s, t = parts
    u, v = (x - a) / s, (x - b) / t
    slope = w / s * np.exp(-0.5 * u * u) + (1.0 - w) / t * np.exp(-0.5 * v * v)
    return w * ndtr(u) + (1.0 - w) * ndtr(v), slope / np.sqrt(2.0 * np.pi)


def _guess(
    low: Array, high: Array, below: Array, density: Array, place: Indices, p: Array
) -> Array:
    """Interpolate the inverse of a tabulated distribution by monotone cubics."""
    start, width = below[place - 1], high - low
    rise = below[place] - start
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(rise > 0, (p - start) / rise, 0.5).clip(0.0, 1.0)
        slopes = [rise / density[k] for k in (place - 1, place)]
    # A slope of at most three times the mean one keeps the cubic monotone.
    c, d = (np.where(k < 3.0 * width, k, 3.0 * width) for k in slopes)
    rest = 1.0 - share
    return low + share * (share * (3.0 - 2.0 * share) * width + rest * (rest * c - share * d))
