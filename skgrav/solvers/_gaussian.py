"""Linear estimates in data space: one eigendecomposition serves noise of any level."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from skgrav._typing import Array
from skgrav.io import saved, sized

#: Decades of variance below and above that of the signal in which noise is looked for, and steps
#: in each.
_BELOW, _ABOVE, _STEPS = 28, 8, 6

#: Samples whose likelihoods are computed together.
_BLOCK = 4096


@saved
@dataclass(frozen=True)
class DataSpace:
    """Estimates of targets that are jointly Gaussian with data, white noise added to the data.

    For targets t and noise-free data d of zero mean, ``E[t | d + n]`` is
    ``Cov(t, d) (Cov(d) + sigma**2 I)^-1 (d + n)``, and the noise of each sample only changes
    the diagonal that is inverted. Damped least squares is the same with ``alpha = sigma**2``.
    """

    #: Eigenvectors of the covariance of the data, one a column.
    rotation: Array = field(metadata=sized("d", "k"))
    #: Its eigenvalues, falling.
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
        """Prepare estimates from samples of data and targets whose second moments count.

        To these, targets add white variance of their own, which `matrix` takes to the data. No
        matrix is squared, so that exact data tell as much as their last digits do.
        """
        root, (n, n_targets), n_data = np.sqrt(white), targets.shape, data.shape[1]
        # Zeros beside few samples of few targets: each datum gets a coordinate.
        zeros = np.zeros((max(0, n_data - n - n_targets), n_data))
        factor = np.vstack([data, root * matrix.T, zeros])
        left, std, rotation = np.linalg.svd(factor, full_matrices=False)
        cross = left[:n].T @ targets + root * left[n : n + n_targets].T
        return cls(np.ascontiguousarray(rotation.T), std**2, std[:, None] * cross)

    def coordinates(self, data: Array) -> Array:
        """Return data in coordinates where signal and noise are independent."""
        return data @ self.rotation

    def weights(self, noise_variance: Array) -> Array:
        """Return one over the variance of each coordinate with noise, (n_samples, n_data)."""
        total = self.variance + noise_variance[:, None]
        # Where neither signal nor noise has any variance, nothing can be told.
        return np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)

    def estimate(self, data: Array, noise_variance: Array) -> Array:
        """Return the targets of data, (n_samples, n_targets), given each sample's noise."""
        return (self.coordinates(data) * self.weights(noise_variance)) @ self.cross

    def explained(self, noise_variance: Array) -> Array:
        """Return how much variance of each target the data explain, (n_samples, n_targets)."""
        return self.weights(noise_variance) @ self.cross**2

    def noise_variance(self, data: Array) -> Array:
        """Estimate the noise of each sample by maximum likelihood, (n_samples,).

        What a sample has in directions without signal is noise; the likelihood weighs all
        directions by how little signal they have.
        """
        coordinates2 = self.coordinates(data) ** 2
        signal = float(self.variance.mean()) or 1.0
        grid = signal * 10.0 ** np.linspace(-_BELOW, _ABOVE, (_BELOW + _ABOVE) * _STEPS + 1)
        weights = self.weights(grid)
        penalty = -np.sum(np.log(weights), axis=1)
        found = np.empty(len(data))
        step = np.log(grid[1] / grid[0])
        for start in range(0, len(data), _BLOCK):
            block = slice(start, start + _BLOCK)
            cost = coordinates2[block] @ weights.T + penalty
            best = np.clip(np.argmin(cost, axis=1), 1, len(grid) - 2)
            rows = np.arange(len(best))
            before, least, after = (cost[rows, best + k] for k in (-1, 0, 1))
            # The vertex of the parabola through the three lowest points.
            curvature = before - 2 * least + after
            with np.errstate(divide="ignore", invalid="ignore"):
                shift = np.where(curvature > 0, (before - after) / (2 * curvature), 0.0)
            found[block] = grid[best] * np.exp(step * np.clip(shift, -1.0, 1.0))
        return found
