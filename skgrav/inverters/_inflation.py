"""How much wider than the nearest sections of a library their distribution should be."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from skgrav._typing import Array
from skgrav.inverters._data_posterior import DataPosterior
from skgrav.inverters._gaussian_prior import GaussianPrior
from skgrav.inverters._section_library import SectionLibrary
from skgrav.io import saved, sized

#: Levels of noise, relative to the data, at which the inflation is learned, the sections for which
#: it is, the intervals that are to hold, its bounds, and the number of cells that are looked at.
_LEVELS, _N_LEFT_OUT = (1e-6, 1e-3, 1e-2, 1e-1), 100
_COVERED, _INFLATED, _N_CELLS = (0.5, 0.9), (0.5, 2.0), 500


@saved
@dataclass(frozen=True)
class Inflation:
    """Factor of the deviations of analogues from their mean, by the relative level of noise.

    Analogues are more like one another than like the truth, since they are chosen by the same data.
    """

    log_levels: Array = field(metadata=sized("l"))
    factors: Array = field(metadata=sized("l"))

    @classmethod
    def constant(cls, factor: float) -> Inflation:
        """Return the same factor at all levels."""
        return cls(np.zeros(1), np.full(1, float(factor)))

    @classmethod
    def learn(
        cls, library: SectionLibrary, prior: GaussianPrior, matrix: Array, n_neighbors: int
    ) -> Inflation:
        """Find the factors at which intervals cover sections that are left out of the library."""
        # The largest of k draws reach 1 / (k + 1) and one minus that.
        reached = tuple(c for c in _COVERED if c <= (n_neighbors - 1) / (n_neighbors + 1) + 1e-9)
        if len(library) < n_neighbors + 2 or not reached:
            return cls.constant(1.0)
        left_out = np.linspace(0, len(library) - 1, min(len(library), _N_LEFT_OUT)).astype(int)
        rho, rng = library[left_out], np.random.RandomState(0)
        white = rho @ matrix.T
        rms = np.sqrt(np.mean(white**2, axis=1))
        cells = slice(None, None, max(1, rho.shape[1] // _N_CELLS))
        factors = []
        for level in _LEVELS:
            sigma = level * rms
            noisy = white - prior.data_mean + sigma[:, None] * rng.normal(size=white.shape)
            posterior = DataPosterior.of(prior, matrix, noisy, sigma)
            needed = []
            for i, indices in enumerate(library.nearest(posterior, n_neighbors + 2)):
                # A section may be its own mirror image.
                itself = indices % len(library.sections) == left_out[i] % len(library.sections)
                others = library[indices[~itself][:n_neighbors]]
                changes = posterior.changes(i, others, np.arange(n_neighbors), rng)
                draws = others[:, cells] + changes @ posterior.regression[:, cells]
                needed.append(_needed(rho[i, cells], draws, reached))
            factors.append(_factor(np.concatenate(needed, axis=1), reached))
        return cls(np.log10(_LEVELS), np.clip(factors, *_INFLATED))

    def at(self, level: Array) -> Array:
        """Return the factor of each sample, (n_samples,)."""
        log_level = np.log10(np.maximum(level, 10.0 ** self.log_levels[0] * 1e-3))
        return np.interp(log_level, self.log_levels, self.factors)


def _needed(true: Array, draws: Array, covered: tuple[float, ...]) -> Array:
    """Return the factors at which the intervals reach the truth, (n_intervals, n_cells)."""
    mean = draws.mean(axis=0)
    levels = np.array(covered)
    p = np.concatenate([(1.0 - levels) / 2, (1.0 + levels) / 2])
    bounds = np.quantile(draws, p, axis=0, method="weibull") - mean
    below, above = np.split(bounds, 2)
    off = true - mean
    width = np.where(off < 0, below, above)
    # Where the interval lies on the other side of the mean no factor reaches the truth.
    reachable = width * np.sign(off) > 0
    return np.where(reachable, off / np.where(reachable, width, 1.0), np.inf)


def _factor(needed: Array, covered: tuple[float, ...]) -> float:
    """Return the factor at which intervals cover as much as they promise."""
    with np.errstate(invalid="ignore"):
        factors = [float(np.quantile(n, c)) for n, c in zip(needed, covered, strict=True)]
    factors = [f for f in factors if np.isfinite(f)]
    return float(np.mean(factors)) if factors else 1.0
