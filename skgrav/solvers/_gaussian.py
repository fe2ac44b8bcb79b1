"""Linear estimates in data space, with one eigendecomposition for all noise levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from skgrav._typing import Array
from skgrav.io import saved, sized

#: Decades of the variance of noise below and above that of the signal that are searched, and
#: steps in each.
_BELOW, _ABOVE, _STEPS = 28, 8, 6

#: Samples whose likelihoods are computed together.
_BLOCK = 4096


@saved
@dataclass(frozen=True)
class DataSpace:
    """Estimates of targets that are jointly Gaussian with data, from data with white noise.

    For targets t and noise-free data d of zero mean, ``E[t | d + n]`` is
    ``Cov(t, d) (Cov(d) + sigma**2 I)^-1 (d + n)``. In the eigenvectors of Cov(d) the matrix to be
    inverted is diagonal for any noise. Damped least squares is the same with ``alpha = sigma**2``.
    """

    #: Eigenvectors of the covariance of the data, one a column.
    rotation: Array = field(metadata=sized("d", "k"))
    #: Its eigenvalues, in descending order.
    variance: Array = field(metadata=sized("k"))
    #: Covariance of rotated data and targets, (n_data, n_targets).
    cross: Array = field(metadata=sized("k", "t"))

    @classmethod
    def of(cls, covariance: Array, cross: Array) -> DataSpace:
        """Prepare estimates from Cov(d), (n_data, n_data), and Cov(d, t), (n_data, n_targets)."""
        covariance = covariance + covariance.T
        covariance /= 2
        variance, rotation = np.linalg.eigh(covariance)
        rotation = np.ascontiguousarray(rotation[:, ::-1])
        return cls(rotation, np.maximum(variance[::-1], 0.0), rotation.T @ cross)

    @classmethod
    def of_samples(cls, data: Array, targets: Array, matrix: Array, white: float) -> DataSpace:
        """Prepare estimates from samples whose second moments are the covariances.

        To that of the targets the variance `white` is added, and to that of the data its image by
        `matrix`. By singular values, not by products of matrices, which would lose half the digits
        of exact data.
        """
        root, (n, n_targets), n_data = np.sqrt(white), targets.shape, data.shape[1]
        # With rows of zeros there are as many coordinates as data.
        zeros = np.zeros((max(0, n_data - n - n_targets), n_data))
        factor = np.vstack([data, root * matrix.T, zeros])
        left, std, rotation = np.linalg.svd(factor, full_matrices=False)
        cross = left[:n].T @ targets + root * left[n : n + n_targets].T
        return cls(np.ascontiguousarray(rotation.T), std**2, std[:, None] * cross)

    def coordinates(self, data: Array) -> Array:
        """Return data in coordinates that are independent of each other."""
        return data @ self.rotation

    def weights(self, noise_variance: Array) -> Array:
        """Return one over the variance of each coordinate with noise, 0 where that is 0."""
        total = self.variance + noise_variance[:, None]
        return np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)

    def estimate(self, data: Array, noise_variance: Array) -> Array:
        """Return the targets of data, (n_samples, n_targets), given each sample's noise."""
        return (self.coordinates(data) * self.weights(noise_variance)) @ self.cross

    def explained(self, noise_variance: Array) -> Array:
        """Return the variance of each target that the data explain, (n_samples, n_targets)."""
        return self.weights(noise_variance) @ self.cross**2

    def noise_variance(self, data: Array, signal_scales: Sequence[float] = (1.0,)) -> Array:
        """Estimate the variance of the noise of each sample by maximum likelihood, (n_samples,).

        Mostly the coordinates with little signal determine it. The variance of the signal is that
        of the space times the likeliest of `signal_scales`, where samples differ in size.
        """
        coordinates2 = self.coordinates(data) ** 2
        signal = float(self.variance.mean()) or 1.0
        grid = signal * 10.0 ** np.linspace(-_BELOW, _ABOVE, (_BELOW + _ABOVE) * _STEPS + 1)
        found, likeliest = np.empty(len(data)), np.full(len(data), np.inf)
        for i, scale in enumerate(signal_scales):
            weights = replace(self, variance=scale * self.variance).weights(grid)
            penalty = -np.sum(np.log(weights), axis=1)
            for start in range(0, len(data), _BLOCK):
                block = slice(start, start + _BLOCK)
                variance, least = _vertex(grid, coordinates2[block] @ weights.T + penalty)
                better = (least < likeliest[block]) | (i == 0)
                likeliest[block][better], found[block][better] = least[better], variance[better]
        return found


def _vertex(grid: Array, cost: Array) -> tuple[Array, Array]:
    """Return where the cost, (n_samples, n_grid), of each sample is least, and the least on grid.

    It is the vertex of the parabola through the least value and its neighbours.
    """
    best = np.clip(np.argmin(cost, axis=1), 1, len(grid) - 2)
    rows = np.arange(len(best))
    before, least, after = (cost[rows, best + k] for k in (-1, 0, 1))
    curvature = before - 2 * least + after
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = np.where(curvature > 0, (before - after) / (2 * curvature), 0.0)
    return grid[best] * np.exp(np.log(grid[1] / grid[0]) * np.clip(shift, -1.0, 1.0)), least
