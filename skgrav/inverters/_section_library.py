"""Library of density sections, in which those with similar gravity are found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skgrav._typing import Array, Array32, Indices
from skgrav.inverters._data_posterior import DataPosterior
from skgrav.inverters._gaussian_prior import GaussianPrior
from skgrav.inverters._rows import Rows
from skgrav.io import saved, sized
from skgrav.operators import BaseOperator, ForwardOperator

#: Smallest standard deviation of a coordinate of the data, relative to the largest, that counts.
_LEAST_STD = 1e-8

#: Numbers of distances that are computed at once.
_BLOCK = 4_000_000

#: Power of a coordinate's effect on density by which distances weight it. At 1 the distance is
#: about that of the linear estimates; less weight of the largest effects lowers the continuous
#: ranked probability score without noise, from .91 to .88 of the Gaussian's, as details of the data
#: tell sections apart.
_POWER = 0.25


@saved
@dataclass(frozen=True)
class SectionLibrary:
    """Density sections with the coordinates of their noise-free data, and their mirror images.

    Coordinates are those in which noise-free data are independent, of unit variance.
    """

    #: Densities in any precision; memory-mapped arrays stay on disk.
    sections: NDArray[Any] = field(metadata=sized("n", "c", least="float16"))
    #: Coordinates of sections and, after all of them, of mirror images.
    coordinates: Array32 = field(metadata=sized("m", "k", least="float32"))
    #: Density per unit of each coordinate, as a root mean square.
    effect: Array = field(metadata=sized("k"))
    #: Order of the cells in mirror images, if there are any.
    cells: Indices | None = field(default=None, metadata=sized("c"))

    @classmethod
    def of(
        cls, sections: NDArray[Any], cells: Indices | None, prior: GaussianPrior, matrix: Array
    ) -> SectionLibrary:
        """Compute the coordinates of sections, of which `matrix` makes whitened data."""
        std = np.sqrt(prior.space.variance)
        live = max(1, int(np.sum(std > _LEAST_STD * std[0])))
        scale = np.where(std[:live] > 0, std[:live], 1.0)
        rows = Rows(sections, cells)
        coordinates = np.empty((len(rows), live), dtype=np.float32)
        to_coordinates = matrix.T @ (prior.space.rotation[:, :live] / scale)
        centre = prior.mean @ to_coordinates
        for place, rho in rows.blocks():
            coordinates[place] = rho @ to_coordinates - centre
        effect = np.sqrt(np.mean(prior.space.cross[:live] ** 2, axis=1)) / scale
        return cls(sections, coordinates, effect, cells)

    def __len__(self) -> int:
        return len(self.coordinates)

    def __getitem__(self, indices: Indices) -> Array:
        """Return sections or mirror images, (n, n_cells)."""
        return Rows(self.sections, self.cells)[indices]

    def nearest(self, posterior: DataPosterior, n_neighbors: int) -> Iterator[Indices]:
        """Yield the indices of the sections nearest in data to each sample.

        Differences from the posterior mean of noise-free coordinates count as far as data determine
        them, and are weighted by their effect.
        """
        n_live = self.coordinates.shape[1]
        share = (self.effect / (self.effect.max() or 1.0)) ** _POWER
        weight = (posterior.gain[:, :n_live] * share) ** 2
        # |z - u_j|^2 less |z|^2, by products with the library in blocks of samples.
        linear = (-2.0 * weight * posterior.mean[:, :n_live]).astype(np.float32)
        weight, squares = weight.astype(np.float32), np.square(self.coordinates)
        size = max(1, _BLOCK // len(self))
        for start in range(0, len(weight), size):
            distances = linear[start : start + size] @ self.coordinates.T
            distances += weight[start : start + size] @ squares.T
            for row in distances:
                yield np.argpartition(row, n_neighbors - 1)[:n_neighbors]


def kept(rho: NDArray[Any], precision: str) -> NDArray[Any]:
    """Return a copy of densities in a precision, but memory-mapped ones as they are."""
    if _is_mapped(rho):
        return rho
    largest = float(np.finfo(precision).max)
    if max(-float(rho.min()), float(rho.max())) > largest:
        raise ValueError(
            f"'precision' is {precision!r}, whose numbers end at {largest:g}, but 'y' has "
            f"densities from {rho.min():g} to {rho.max():g}. Take 'float32'."
        )
    return rho.astype(precision)


def mirrored_cells(operator: BaseOperator) -> Indices:
    """Return the order of cells in mirror images, or raise ValueError if there are none."""
    from skgrav.training import Mirror  # imported when asked for, as it needs torch

    if not isinstance(operator, ForwardOperator):
        raise ValueError(
            f"augment='mirror' needs a ForwardOperator, which has a mesh and stations, but "
            f"'operator' is a {type(operator).__name__}; use augment=None."
        )
    return Mirror.of(operator.mesh_, operator.survey_, operator.fraction_).cells


def _is_mapped(array: Any) -> bool:
    """Return whether an array is memory-mapped, or a view of one that is."""
    while array is not None and not isinstance(array, np.memmap):
        array = getattr(array, "base", None)
    return array is not None
