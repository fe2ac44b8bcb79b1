"""What inversion in a latent space needs to know: decoder, prior, and errors of the generator."""

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
        """Return the map that comes nearest to pairs of codes and densities."""
        mean = z.mean(axis=0)
        matrix = np.linalg.lstsq(z - mean, rho - rho.mean(axis=0), rcond=1e-6)[0]
        return cls(matrix, rho.mean(axis=0) - mean @ matrix)


@saved
@dataclass(frozen=True)
class CodePrior:
    """Gaussian ``z = root @ u`` with ``u ~ N(centre, I)``, its mean perhaps led by a start."""

    mean: Array = field(metadata=sized("k"))
    root: Array = field(metadata=sized("k", "k"))
    #: Mean of the codes of starts, and the regression of codes on them.
    start_mean: Array = field(metadata=sized("s"))
    regression: Array = field(metadata=sized("s", "k"))

    @classmethod
    def of(cls, z: Array, starts: Array | None = None) -> CodePrior:
        """Learn the prior of codes, or of codes given those of starts, from training sections."""
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
        """Return the coordinates u of codes."""
        return linalg.solve_triangular(self.root, z.T, lower=True).T

    def codes(self, u: Array) -> Array:
        """Return the codes of coordinates."""
        return u @ self.root.T


@dataclass(frozen=True)
class Starts:
    """Estimates that a search starts from, the codes nearest to them, and what those leave."""

    rho: Array
    codes: Array
    remainder: Array

    def share_that_pays(self, found: Array, true: Array) -> float:
        """Return the share of the change from start to end that leaves the smallest error."""
        change = found - self.rho
        gain, length2 = np.sum(change * (true - self.rho)), np.sum(change**2)
        return float(np.clip(gain / length2, 0.0, 1.0)) if length2 > 0 else 1.0


@saved
@dataclass(frozen=True)
class DataError:
    """Errors of data in coordinates where they are independent: noise, and the generator's own.

    No generator represents the true density, so ``A (rho - G(z))`` of the best codes z is an
    error of the data like noise [1]_.

    References
    ----------
    .. [1] Kaipio and Somersalo (2005), Statistical and Computational Inverse Problems, Springer,
       section 5.8.
    """

    mean: Array = field(metadata=sized("d"))
    rotation: Array = field(metadata=sized("d", "d"))
    variance: Array = field(metadata=sized("d"))

    @classmethod
    def none(cls, n_data: int) -> DataError:
        """Return errors of a generator that represents everything."""
        return cls(np.zeros(n_data), np.eye(n_data), np.zeros(n_data))

    @classmethod
    def of(cls, residual: Array) -> DataError:
        """Learn the generator's errors from those of training sections, one a row."""
        mean, covariance = shrunk_covariance(residual)
        variance, rotation = np.linalg.eigh(covariance)
        return cls(mean, rotation, np.maximum(variance, 0.0))

    def rotated(self, data: Array) -> Array:
        """Return coordinates of data without the mean error."""
        return (data - self.mean) @ self.rotation

    def weights(self, sigma: Array) -> Array:
        """Return one over the standard deviation of each coordinate, (n_samples, n_data)."""
        weights = 1.0 / np.sqrt(sigma[:, None] ** 2 + self.variance)
        return weights[:1] if np.ptp(sigma) == 0 else weights


@saved
@dataclass(frozen=True)
class CodeRegression:
    """Best linear estimate of codes from data with noise, learned from training pairs."""

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
        """Return the codes of data whose noise has standard deviation `sigma`."""
        return self.code_mean + self.space.estimate(data - self.data_mean, sigma**2)


@saved
@dataclass(frozen=True)
class LatentSpace:
    """What training sections tell about a generator, in the data coordinates of an operator."""

    #: The decoder, or the linear map that comes nearest to it.
    decoder: LinearDecoder
    is_linear: bool
    prior: CodePrior
    error: DataError
    regression: CodeRegression
    #: Root mean square of the data of training sections, or 1 if they have none.
    data_rms: float


def shrunk_covariance(values: Array) -> tuple[Array, Array]:
    """Return mean and covariance, its correlations shrunk as few samples need it."""
    mean, std = values.mean(axis=0), values.std(axis=0)
    std = np.where(std > 1e-10 * (std.max() or 1.0), std, 1e-5 * (std.max() or 1.0))
    correlation, _ = ledoit_wolf((values - mean) / std, assume_centered=True)
    # Values that never vary keep a trace of variance, so that they can be whitened.
    correlation[np.diag_indices_from(correlation)] += 1e-10
    return mean, correlation * np.outer(std, std)


def root_of(covariance: Array) -> Array:
    """Return the Cholesky factor of a covariance that may be singular up to rounding."""
    diagonal = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(diagonal, diagonal)
    correlation[np.diag_indices_from(correlation)] += 1e-10
    return diagonal[:, None] * np.linalg.cholesky(correlation)
