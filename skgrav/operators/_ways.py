"""The ways to apply a sensitivity; another one is a class here, named in `WAYS`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from skgrav.operators._cells import Geometry
from skgrav.operators._rows import RowOperator
from skgrav.operators._sensitivity import DenseMatrix, sensitivity
from skgrav.operators._svd import Products
from skgrav.operators._toeplitz import ToeplitzOperator

#: Bytes up to which a matrix is faster than FFTs: in the cache, and for sections, which come in
#: batches, a little beyond. Measured by benchmarks/bench_scaling.py, as are the next two.
_DENSE_BYTES = {2: 2**24, 3: 2**22}

#: Samples and data from which on, and up to which, a matrix is faster for batches of volumes.
_BATCH, _BATCH_DATA = 16, 150


class Way(ABC):
    """One way to apply the sensitivity of a geometry, described before it is built.

    Parameters
    ----------
    geometry : Geometry
        Mesh, survey, kernel and units.
    precision : {"float64", "float32"}
        Precision of what is held.
    limit : float
        Bytes that may be used.
    """

    #: Value of the parameter `method`.
    name: ClassVar[str]

    def __init__(self, geometry: Geometry, precision: str, limit: float) -> None:
        self.geometry, self.precision, self.limit = geometry, precision, limit

    @property
    def fits(self) -> bool:
        """Whether this way is possible for this geometry, memory aside."""
        return True

    @property
    @abstractmethod
    def n_bytes(self) -> int:
        """Bytes that are held."""

    @property
    @abstractmethod
    def holds(self) -> str:
        """What is held, in words."""

    def pays(self, n_samples: int) -> bool:
        """Whether this way is the fastest of those that fit, for so many samples at a time."""
        return self.fits

    @abstractmethod
    def build(self) -> Products:
        """Build what is held."""

    @property
    def sizes(self) -> str:
        """Number of data and of cells, in words."""
        n_data, n_cells = self.geometry.shape
        return f"{n_data} data x {n_cells} cells"


class Dense(Way):
    """A matrix in memory."""

    name = "dense"

    @property
    def n_bytes(self) -> int:
        n_data, n_cells = self.geometry.shape
        return n_data * n_cells * np.dtype(self.precision).itemsize

    @property
    def holds(self) -> str:
        return f"a matrix of {self.sizes}"

    def pays(self, n_samples: int) -> bool:
        small = self.n_bytes <= _DENSE_BYTES[self.geometry.mesh.ndim]
        batch = n_samples >= _BATCH and self.geometry.shape[0] <= _BATCH_DATA
        return small or batch or not FFT(self.geometry, self.precision, self.limit).fits

    def build(self) -> DenseMatrix:
        return DenseMatrix(sensitivity(self.geometry, self.precision))


class FFT(Way):
    """Spectra of the layers, for stations on lattices of the mesh's columns."""

    name = "fft"

    @property
    def fits(self) -> bool:
        return not self.geometry.lattices.obstacle

    @property
    def n_bytes(self) -> int:
        found = self.geometry.lattices.found
        return ToeplitzOperator.required_bytes(self.geometry, found, self.precision)

    @property
    def holds(self) -> str:
        return f"spectra of {self.sizes}"

    def build(self) -> ToeplitzOperator:
        return ToeplitzOperator(self.geometry, self.geometry.lattices.found, self.precision)


class Rows(Way):
    """Nothing but some rows at a time, which each product computes anew."""

    name = "rows"

    @property
    def n_bytes(self) -> int:
        return RowOperator.required_bytes(self.geometry, self.limit)

    @property
    def holds(self) -> str:
        return f"rows of {self.sizes}, anew for each product"

    def build(self) -> RowOperator:
        return RowOperator(self.geometry, self.limit)


#: The ways by the names that `method` takes, the fastest first.
WAYS: dict[str, type[Way]] = {way.name: way for way in (Dense, FFT, Rows)}
