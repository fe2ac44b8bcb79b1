"""What noisy data say of the noise-free ones, and how densities are made to agree with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skgrav._typing import Array, Indices
from skgrav.inverters._gaussian_prior import GaussianPrior

#: Least gain and noise, so that they can be divided by.
_TINY = float(np.finfo(float).tiny)


@dataclass(frozen=True)
class DataPosterior:
    """Gaussian posterior of noise-free data, given noisy ones.

    In the eigenvectors of their covariance, scaled to coordinates of unit variance, the posterior
    is independent for each coordinate.
    """

    #: Share of signal in each coordinate, (n_samples, n_coordinates), the noisy coordinates, and
    #: mean and standard deviation of their posterior.
    gain: Array
    observed: Array
    mean: Array
    std: Array
    #: Density per unit of each coordinate, (n_coordinates, n_cells).
    regression: Array
    #: Coordinates of densities, (n_cells, n_coordinates), less those of their mean.
    to_coordinates: Array
    centre: Array

    @classmethod
    def of(
        cls, prior: GaussianPrior, matrix: Array, residual: Array, sigma: Array
    ) -> DataPosterior:
        """Compute it from whitened data less their mean, and their noise."""
        space = prior.space
        scale = np.sqrt(np.where(space.variance > 0, space.variance, np.inf))
        gain = space.variance * space.weights(sigma**2)
        observed = space.coordinates(residual) / scale
        to_coordinates = matrix.T @ (space.rotation / scale)
        return cls(
            gain=gain,
            observed=observed,
            mean=gain * observed,
            std=np.sqrt(gain) * sigma[:, None] / scale,
            regression=space.cross / scale[:, None],
            to_coordinates=to_coordinates,
            centre=prior.mean @ to_coordinates,
        )

    def correction(self, i: int, rho: Array) -> tuple[Array, Array]:
        """Return changes of coordinates of densities, and the noise to be added to them.

        With both, residuals of all densities together are as large as those of draws from the
        posterior. In Matheron's rule changes are the gain times the residual, and the noise is that
        of the data, which is right for independent draws of the prior. Densities that are nearer to
        the data need more noise, those farther away larger changes. Coordinates of which the data
        say little keep the spread of the densities.
        """
        residual = self.observed[i] - (rho @ self.to_coordinates - self.centre)
        size2 = np.mean(residual**2, axis=0)
        left = np.maximum(1.0 - self.gain[i], _TINY)
        said = self._said(i)
        expected2 = (left * self.observed[i]) ** 2 + self.std[i] ** 2
        excess2 = np.maximum(1.0, left**2 * size2 / np.maximum(expected2, _TINY))
        change = np.where(excess2 > 1.0, 1.0 - left * excess2 ** (-said / 2), self.gain[i])
        lacking2 = np.maximum(expected2 - (1.0 - change) ** 2 * size2, 0.0)
        return change * residual, np.sqrt(said * lacking2)

    def moments(self, i: int, rho: Array) -> tuple[Array, Array]:
        """Return mean and variance, for each cell, of densities drawn by `draws`."""
        changes, noise = self.correction(i, rho)
        fitted = rho + changes @ self.regression
        return fitted.mean(axis=0), fitted.var(axis=0, ddof=1) + noise**2 @ self.regression**2

    def changes(self, i: int, rho: Array, order: Indices, rng: np.random.RandomState) -> Array:
        """Return changes of coordinates with which densities, in an order, fit sample i."""
        changes, noise = self.correction(i, rho)
        changes = changes[order]
        return changes + noise * rng.normal(size=changes.shape)

    def draws(self, i: int, rho: Array, order: Indices, rng: np.random.RandomState) -> Array:
        """Return densities, in an order, corrected to fit the data of sample i to their noise."""
        return rho[order] + self.changes(i, rho, order, rng) @ self.regression

    def fitted(self, i: int, rho: Array, rng: np.random.RandomState) -> Array:
        """Return densities near the posterior of sample i, fitted to its data and their noise.

        They may be about right for the data already, and change only as far as coordinates are
        more spread about the mean of the posterior than its draws. Where they are less, noise is
        added, as far as the data say something of them.
        """
        u = rho @ self.to_coordinates - self.centre
        mean, variance = self.mean[i], self.std[i] ** 2
        found = np.mean((u - mean) ** 2, axis=0)
        share = np.maximum(found - variance, 0.0) / np.maximum(found, _TINY)
        noise2 = share * variance + self._said(i) * np.maximum(variance - found, 0.0)
        change = share * (mean - u) + np.sqrt(noise2) * rng.normal(size=u.shape)
        return np.asarray(rho + change @ self.regression)

    def _said(self, i: int) -> Array:
        """Return how far the data say something of each coordinate."""
        return np.minimum(1.0, self.gain[i] / np.maximum(1.0 - self.gain[i], _TINY))
