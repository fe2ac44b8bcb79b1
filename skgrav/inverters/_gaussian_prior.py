"""Gaussian prior of densities."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from sklearn.covariance import ledoit_wolf_shrinkage

from skgrav._typing import Array
from skgrav.inverters._rows import Rows
from skgrav.io import saved, sized
from skgrav.solvers import DataSpace

#: Largest number of sections from which the shrinkage is estimated.
_N_SHRUNK = 2000

#: Samples in one QR decomposition, as a multiple of the number of data.
_TURNED = 8


@saved
@dataclass(frozen=True)
class GaussianPrior:
    """Gaussian of densities, or of errors of densities, learned from samples.

    The covariance, of n_cells squared entries, is never formed: estimates need only its diagonal
    and its products with the operator, draws a factor of it.
    """

    mean: Array = field(metadata=sized("c"))
    #: Variance of each cell.
    variance: Array = field(metadata=sized("c"))
    #: Share of uncorrelated variance.
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
        """Learn from densities and the matrix to data; None takes Ledoit and Wolf's shrinkage."""
        rows = rho if isinstance(rho, Rows) else Rows(rho)
        n, mean = len(rows), rows.mean()
        if shrinkage is None and n == 1:
            shrinkage = 0.0  # the variance is zero
        if shrinkage is None:
            # It is inversely proportional to the number of samples, so a subset is enough.
            some = rows[np.random.RandomState(0).permutation(n)[:_N_SHRUNK]] - mean
            # Rounding makes that of two samples negative.
            shrinkage = max(0.0, _shrinkage(some)) * len(some) / n
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
        """Return the standard deviation after data have explained `gain` of the variance."""
        return np.sqrt(np.maximum(self.variance - gain, 0.0))


def _shrinkage(rows: Array) -> float:
    """Return the shrinkage of Ledoit and Wolf for centred samples."""
    n, p = rows.shape
    if n >= p:
        return float(ledoit_wolf_shrinkage(rows, assume_centered=True))
    # The same from products of samples, which are fewer than those of cells.
    gram = rows @ rows.T / n
    size2 = float(np.sum(gram**2))
    error = (np.sum(np.diag(gram) ** 2) - size2 / n) / p
    distance = (size2 - np.trace(gram) ** 2 / p) / p
    return float(min(error, distance) / distance) if error > 0 else 0.0


def _condensed(rows: Rows, mean: Array, matrix: Array) -> tuple[Array, Array, Array]:
    """Return few samples of data and targets with the second moments of all, and variances.

    QR decompositions reduce the samples to the number of data, without forming the moments, which
    would lose digits. Each takes many samples, since it turns the targets of all before it again:
    first their data, which are few numbers, then their targets block by block.
    """
    data, targets = np.empty((0, len(matrix))), np.empty((0, len(mean)))
    variance = np.zeros(len(mean))
    fresh: list[Array] = []
    parts: list[slice] = []
    for part, rho in rows.blocks():
        deviation = rho - mean
        variance += np.einsum("ij,ij->j", deviation, deviation)
        fresh.append(deviation @ matrix.T)
        parts.append(part)
        if sum(map(len, fresh)) > _TURNED * len(matrix) or part.stop == len(rows):
            deviations = (rows[np.arange(p.start, p.stop)] - mean for p in parts)
            data, targets = _turned(np.vstack([data, *fresh]), targets, deviations)
            fresh, parts = [], []
    return data, targets, variance / len(rows)


def _turned(data: Array, targets: Array, others: Iterable[Array]) -> tuple[Array, Array]:
    """Return few samples with the second moments of data, and of targets followed by others."""
    if len(data) <= data.shape[1]:
        return data, np.vstack([targets, *others])
    turn, factor = np.linalg.qr(data)
    start = len(targets)
    turned = turn[:start].T @ targets
    for some in others:
        turned += turn[start : start + len(some)].T @ some
        start += len(some)
    return factor, turned
