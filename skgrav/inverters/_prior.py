"""Mean and covariance of densities, as far as data see them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf_shrinkage

from skgrav.solvers._gaussian import DataSpace

Array = NDArray[np.float64]

#: At most about this many sections tell the shrinkage.
_N_SHRUNK = 2000


@dataclass(frozen=True)
class GaussianPrior:
    """Gaussian of densities, or of errors of densities, learned from samples of them.

    The covariance of n_cells squared entries is never formed: of it, estimates need only the
    diagonal, and what a matrix from density to data makes of it. Draws need a factor of it.
    """

    mean: Array
    #: Variance of each cell.
    variance: Array
    #: Share of uncorrelated variance, which few samples need.
    shrinkage: float
    #: Mean of the data.
    data_mean: Array
    space: DataSpace
    #: Standard deviation of the uncorrelated part.
    white: float
    #: Factor of the correlated part, (at most n_cells, n_cells), if draws are wanted.
    factor: Array | None = None

    @classmethod
    def of(
        cls, rho: Array, matrix: Array, shrinkage: float | None = None, *, drawable: bool = False
    ) -> GaussianPrior:
        """Learn from densities, one a row, and the matrix; None shrinks as Ledoit and Wolf do."""
        mean = rho.mean(axis=0)
        rho = rho - mean
        if shrinkage is None and len(rho) == 1:
            shrinkage = 0.0  # of nothing
        if shrinkage is None:
            # It falls as one over the number of samples, so that some of many are enough.
            some = rho[np.random.RandomState(0).permutation(len(rho))[:_N_SHRUNK]]
            shrinkage = ledoit_wolf_shrinkage(some, assume_centered=True) * len(some) / len(rho)
        white = shrinkage * float(np.vdot(rho, rho)) / rho.size
        rho *= np.sqrt((1.0 - shrinkage) / len(rho))
        return cls(
            mean=mean,
            variance=np.einsum("ij,ij->j", rho, rho) + white,
            shrinkage=float(shrinkage),
            data_mean=matrix @ mean,
            space=DataSpace.of_samples(rho @ matrix.T, rho, matrix, white),
            white=float(np.sqrt(white)),
            factor=np.asarray(np.linalg.qr(rho, mode="r")) if drawable else None,
        )

    def draw(self, n_samples: int, rng: np.random.RandomState) -> Array:
        """Draw deviations from the mean, (n_samples, n_cells)."""
        assert self.factor is not None
        deviation = rng.normal(size=(n_samples, len(self.factor))) @ self.factor
        return deviation + self.white * rng.normal(size=deviation.shape)

    def std(self, gain: Array) -> Array:
        """Return the standard deviation left where data explain `gain` of the variance."""
        return np.sqrt(np.maximum(self.variance - gain, 0.0))
