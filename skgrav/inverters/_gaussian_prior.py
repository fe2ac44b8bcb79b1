"""Mean and covariance of densities, as far as data see them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from sklearn.covariance import ledoit_wolf_shrinkage

from skgrav._typing import Array
from skgrav.inverters._rows import Rows
from skgrav.io import saved, sized
from skgrav.solvers import DataSpace

#: At most about this many sections tell the shrinkage.
_N_SHRUNK = 2000


@saved
@dataclass(frozen=True)
class GaussianPrior:
    """Gaussian of densities, or of errors of densities, learned from samples of them.

    The covariance of n_cells squared entries is never formed: of it, estimates need only the
    diagonal, and what a matrix from density to data makes of it. Draws need a factor of it.
    """

    mean: Array = field(metadata=sized("c"))
    #: Variance of each cell.
    variance: Array = field(metadata=sized("c"))
    #: Share of uncorrelated variance, which few samples need.
    shrinkage: float
    #: Mean of the data.
    data_mean: Array = field(metadata=sized("d"))
    space: DataSpace
    #: Standard deviation of the uncorrelated part.
    white: float
    #: Factor of the correlated part, (at most n_cells, n_cells), if draws are wanted.
    factor: Array | None = field(default=None, metadata=sized("f", "c"))

    @classmethod
    def of(
        cls,
        rho: Array | Rows,
        matrix: Array,
        shrinkage: float | None = None,
        *,
        drawable: bool = False,
    ) -> GaussianPrior:
        """Learn from densities, one a row, and the matrix; None shrinks as Ledoit and Wolf do."""
        rows = rho if isinstance(rho, Rows) else Rows(rho)
        n, mean = len(rows), rows.mean()
        if shrinkage is None and n == 1:
            shrinkage = 0.0  # of nothing
        if shrinkage is None:
            # It falls as one over the number of samples, so that some of many are enough.
            some = rows[np.random.RandomState(0).permutation(n)[:_N_SHRUNK]] - mean
            # Rounding makes that of two samples negative.
            shrinkage = max(0.0, ledoit_wolf_shrinkage(some, assume_centered=True)) * len(some) / n
        data, targets, variance = _condensed(rows, mean, matrix)
        white, share = shrinkage * float(variance.mean()), 1.0 - shrinkage
        root = np.sqrt(share / n)
        return cls(
            mean=mean,
            variance=share * variance + white,
            shrinkage=float(shrinkage),
            data_mean=matrix @ mean,
            space=DataSpace.of_samples(root * data, root * targets, matrix, white),
            white=float(np.sqrt(white)),
            factor=root * np.linalg.qr(rows[np.arange(n)] - mean, mode="r") if drawable else None,
        )

    def draw(self, n_samples: int, rng: np.random.RandomState) -> Array:
        """Draw deviations from the mean, (n_samples, n_cells)."""
        assert self.factor is not None
        deviation = rng.normal(size=(n_samples, len(self.factor))) @ self.factor
        return deviation + self.white * rng.normal(size=deviation.shape)

    def std(self, gain: Array) -> Array:
        """Return the standard deviation left where data explain `gain` of the variance."""
        return np.sqrt(np.maximum(self.variance - gain, 0.0))


def _condensed(rows: Rows, mean: Array, matrix: Array) -> tuple[Array, Array, Array]:
    """Return few samples of data and targets that have the second moments of all, and variances.

    Block by block, a QR decomposition turns the samples until each datum needs but one: no moment
    is squared on the way.
    """
    data, targets = np.empty((0, len(matrix))), np.empty((0, len(mean)))
    variance = np.zeros(len(mean))
    for _, rho in rows.blocks():
        deviation = rho - mean
        variance += np.einsum("ij,ij->j", deviation, deviation)
        data = np.vstack([data, deviation @ matrix.T])
        targets = np.vstack([targets, deviation])
        if len(data) > len(matrix):
            turn, data = np.linalg.qr(data)
            targets = turn.T @ targets
    return data, targets, variance / len(rows)
