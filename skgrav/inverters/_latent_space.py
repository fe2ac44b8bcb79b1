"""Decoder, prior and approximation errors of a generator, learned from training sections."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import linalg
from sklearn.covariance import ledoit_wolf

from skgrav._typing import Array
from skgrav.io import saved, sized
from skgrav.solvers import DataSpace

#: Relative deviation up to which a decoder counts as linear.
_LINEAR = 1e-9


@saved
@dataclass(frozen=True)
class LinearDecoder:
    """Map ``rho = z @ matrix + offset`` from codes to densities."""

    matrix: Array = field(metadata=sized("k", "c"))
    offset: Array = field(metadata=sized("c"))

    @classmethod
    def of(cls, generator: Any, n_components: int) -> LinearDecoder | None:
        """Return the map of a generator whose `inverse_transform` is linear, or None."""
        offset = generator.inverse_transform(np.zeros((1, n_components)))[0]
        matrix = generator.inverse_transform(np.eye(n_components)) - offset
        z = np.random.default_rng(0).normal(size=(3, n_components))
        deviation = generator.inverse_transform(z) - (z @ matrix + offset)
        scale = max(float(np.abs(matrix).max()), float(np.abs(offset).max()))
        if np.abs(deviation).max() > _LINEAR * scale * n_components:
            return None
        return cls(matrix, offset)

    @classmethod
    def fitted(cls, z: Array, rho: Array) -> LinearDecoder:
        """Return the least-squares map from codes to densities."""
        mean = z.mean(axis=0)
        matrix = np.linalg.lstsq(z - mean, rho - rho.mean(axis=0), rcond=1e-6)[0]
        return cls(matrix, rho.mean(axis=0) - mean @ matrix)


@saved
@dataclass(frozen=True)
class CodePrior:
    """Gaussian ``z = root @ u`` with ``u ~ N(centre, I)``, optionally conditional on a start."""

    mean: Array = field(metadata=sized("k"))
    root: Array = field(metadata=sized("k", "k"))
    #: Mean of the codes of starts, and the regression of codes on them.
    start_mean: Array = field(metadata=sized("s"))
    regression: Array = field(metadata=sized("s", "k"))

    @classmethod
    def of(cls, z: Array, starts: Array | None = None) -> CodePrior:
        """Learn the prior of codes, or of codes given the codes of starts."""
        k = z.shape[1]
        joint = z if starts is None else np.hstack([z, starts])
        mean, covariance = shrunk_covariance(joint)
        empty = np.zeros((0, k))
        if starts is None:
            return cls(mean, root_of(covariance), np.zeros(0), empty)
        cross = covariance[k:, :k]
        regression = linalg.solve(covariance[k:, k:], cross, assume_a="pos")
        posterior = covariance[:k, :k] - cross.T @ regression
        return cls(mean[:k], root_of(posterior), mean[k:], regression)

    def centre(self, starts: Array | None) -> Array:
        """Return the mean of the whitened codes, (n_samples or 1, k)."""
        mean = self.mean[None]
        if starts is not None:
            mean = mean + (starts - self.start_mean) @ self.regression
        return self.whitened(mean)

    def whitened(self, z: Array) -> Array:
        """Return the whitened codes u."""
        return linalg.solve_triangular(self.root, z.T, lower=True).T

    def codes(self, u: Array) -> Array:
        """Return the codes of whitened codes."""
        return u @ self.root.T


@dataclass(frozen=True)
class Starts:
    """Estimates at which a search starts, their nearest codes, and the remainders."""

    rho: Array
    codes: Array
    remainder: Array

    def best_share(self, found: Array, true: Array) -> float:
        """Return the share of the change from the start that leaves the smallest error."""
        change = found - self.rho
        gain, length2 = np.sum(change * (true - self.rho)), np.sum(change**2)
        return float(np.clip(gain / length2, 0.0, 1.0)) if length2 > 0 else 1.0


@saved
@dataclass(frozen=True)
class DataError:
    """Errors of the data, noise and approximation error, in coordinates where they are independent.

    No generator represents the true density exactly, so ``A (rho - G(z))`` with the best code z is
    an error of the data like noise.
    """

    mean: Array = field(metadata=sized("d"))
    rotation: Array = field(metadata=sized("d", "d"))
    variance: Array = field(metadata=sized("d"))

    @classmethod
    def none(cls, n_data: int) -> DataError:
        """Return no approximation errors."""
        return cls(np.zeros(n_data), np.eye(n_data), np.zeros(n_data))

    @classmethod
    def of(cls, residual: Array) -> DataError:
        """Learn approximation errors from the residuals of training sections, one a row."""
        mean, covariance = shrunk_covariance(residual)
        variance, rotation = np.linalg.eigh(covariance)
        return cls(mean, rotation, np.maximum(variance, 0.0))

    def rotated(self, data: Array) -> Array:
        """Return the coordinates of data minus the mean error."""
        return (data - self.mean) @ self.rotation

    def weights(self, sigma: Array) -> Array:
        """Return one over the standard deviation of each coordinate, (n_samples, n_data)."""
        weights = 1.0 / np.sqrt(sigma[:, None] ** 2 + self.variance)
        return weights[:1] if np.ptp(sigma) == 0 else weights


@saved
@dataclass(frozen=True)
class CodeRegression:
    """Best linear estimate of codes from noisy data."""

    code_mean: Array = field(metadata=sized("k"))
    data_mean: Array = field(metadata=sized("d"))
    space: DataSpace

    @classmethod
    def of(cls, data: Array, z: Array) -> CodeRegression:
        """Learn from data coordinates and codes of training sections."""
        code_mean, data_mean = z.mean(axis=0), data.mean(axis=0)
        centred = data - data_mean
        covariance, cross = centred.T @ centred / len(data), centred.T @ (z - code_mean) / len(data)
        return cls(code_mean, data_mean, DataSpace.of(covariance, cross))

    def __call__(self, data: Array, sigma: Array) -> Array:
        """Return codes from data whose noise has the standard deviation `sigma`."""
        return self.code_mean + self.space.estimate(data - self.data_mean, sigma**2)


@saved
@dataclass(frozen=True)
class LatentSpace:
    """All that was learned of a generator, in the data coordinates of an operator."""

    #: The decoder, or its linear approximation.
    decoder: LinearDecoder
    is_linear: bool
    prior: CodePrior
    error: DataError
    regression: CodeRegression
    #: Root mean square of the data of training sections, or 1 if they have none.
    data_rms: float


def shrunk_covariance(values: Array) -> tuple[Array, Array]:
    """Return mean and covariance, with the correlations shrunk as by Ledoit and Wolf."""
    mean, std = values.mean(axis=0), values.std(axis=0)
    std = np.where(std > 1e-10 * (std.max() or 1.0), std, 1e-5 * (std.max() or 1.0))
    correlation, _ = ledoit_wolf((values - mean) / std, assume_centered=True)
    # Constant values get a small variance, so that they can be whitened.
    correlation[np.diag_indices_from(correlation)] += 1e-10
    return mean, correlation * np.outer(std, std)


def root_of(covariance: Array) -> Array:
    """Return the Cholesky factor of a covariance that may be singular."""
    diagonal = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(diagonal, diagonal)
    correlation[np.diag_indices_from(correlation)] += 1e-10
    return diagonal[:, None] * np.linalg.cholesky(correlation)
