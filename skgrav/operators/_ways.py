"""Ways to apply a sensitivity; a new one is a class in `WAYS`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from skgrav.operators._cells import Geometry
from skgrav.operators._rows import RowOperator
from skgrav.operators._sensitivity import DenseMatrix, sensitivity
from skgrav.operators._svd import Products
from skgrav.operators._toeplitz import ToeplitzOperator

#: Bytes up to which a matrix is faster than FFTs: in the cache, and somewhat beyond for sections,
#: which are inverted in batches. Measured by benchmarks/bench_scaling.py, as are the next two.
_DENSE_BYTES = {2: 2**24, 3: 2**22}

#: Least number of samples and largest number of data for which a matrix is faster in 3D, too.
_BATCH, _BATCH_DATA = 16, 150


class Way(ABC):
    """A way to apply the sensitivity of a geometry in a `limit` of bytes; nothing is built yet."""

    #: Value of the parameter `method`.
    name: ClassVar[str]
    #: What is stored, with a place for the sizes.
    contents: ClassVar[str]

    def __init__(self, geometry: Geometry, precision: str, limit: float) -> None:
        self.geometry, self.precision, self.limit = geometry, precision, limit

    @property
    def fits(self) -> bool:
        """Whether the geometry allows it, whatever the memory."""
        return True

    @property
    @abstractmethod
    def n_bytes(self) -> int:
        """Bytes of the arrays."""

    def pays(self, n_samples: int) -> bool:
        """Whether it is faster than all later `WAYS`, for this many samples at a time."""
        return self.fits

    @abstractmethod
    def build(self) -> Products:
        """Build the matrix or spectra."""

    @property
    def sizes(self) -> str:
        """Text with the numbers of data and cells."""
        n_data, n_cells = self.geometry.shape
        return f"{n_data} data x {n_cells} cells"


class Dense(Way):
    """A matrix in memory."""

    name, contents = "dense", "a matrix of {}"

    @property
    def n_bytes(self) -> int:
        n_data, n_cells = self.geometry.shape
        return n_data * n_cells * np.dtype(self.precision).itemsize

    def pays(self, n_samples: int) -> bool:
        small = self.n_bytes <= _DENSE_BYTES[self.geometry.mesh.ndim]
        batch = n_samples >= _BATCH and self.geometry.shape[0] <= _BATCH_DATA
        return small or batch or bool(self.geometry.lattices.obstacle)

    def build(self) -> DenseMatrix:
        return DenseMatrix(sensitivity(self.geometry, self.precision))


class FFT(Way):
    """Spectra of the layers, for stations on lattices of the mesh's columns."""

    name, contents = "fft", "spectra of {}"

    @property
    def fits(self) -> bool:
        return not self.geometry.lattices.obstacle

    @property
    def n_bytes(self) -> int:
        found = self.geometry.lattices.found
        return ToeplitzOperator.required_bytes(self.geometry, found, self.precision)

    def build(self) -> ToeplitzOperator:
        return ToeplitzOperator(self.geometry, self.geometry.lattices.found, self.precision)


class Rows(Way):
    """Rows in memory a few at a time, computed again for each product."""

    name, contents = "rows", "rows of {}, computed for each product"

    @property
    def n_bytes(self) -> int:
        return RowOperator.required_bytes(self.geometry, self.limit)

    def build(self) -> RowOperator:
        return RowOperator(self.geometry, self.limit)


#: Ways by the value of `method`, the fastest first.
WAYS: dict[str, type[Way]] = {way.name: way for way in (Dense, FFT, Rows)}
