"""Ways to apply a sensitivity; a new one is a class in `WAYS`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import ClassVar

import numpy as np

from skgrav.operators._anywhere import AnywhereOperator, Forecast
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

#: Bytes up to which a matrix is faster than interpolation for stations anywhere, and how often as
#: many for a batch in 3D. Measured by benchmarks/bench_anywhere.py.
_SCATTERED_BYTES, _SCATTERED_BATCH = {2: 2**25, 3: 2**26}, 4

#: Seconds on one core of 2026, to a factor of about 3: for each entry computed and each byte of a
#: matrix read, and for each byte of spectra made and applied.
_ENTRY, _BYTE = 4e-8, 1e-10
_SPECTRA_MADE, _SPECTRA_APPLIED = 4e-9, 8e-10


class Way(ABC):
    """A way to apply the sensitivity of a geometry in a `limit` of bytes; nothing is built yet."""

    #: Value of the parameter `method`.
    name: ClassVar[str]
    #: What is stored, with a place for the sizes.
    contents: ClassVar[str]

    def __init__(self, geometry: Geometry, precision: str, limit: float, tol: float) -> None:
        self.geometry, self.precision, self.limit, self.tol = geometry, precision, limit, tol

    @property
    def obstacle(self) -> str:
        """Why the geometry does not allow it, whatever the memory, or nothing."""
        return ""

    @property
    def key(self) -> tuple[object, ...]:
        """What distinguishes the products of one geometry and precision."""
        # The bytes distinguish rows computed under different limits.
        return self.name, self.n_bytes

    @property
    def error(self) -> float:
        """Error of gravity that is accepted, relative to the largest datum."""
        return 0.0

    @property
    @abstractmethod
    def n_bytes(self) -> int:
        """Bytes of the arrays."""

    def pays(self, n_samples: int) -> bool:
        """Whether it is faster than all later `WAYS`, for this many samples at a time."""
        return not self.obstacle

    @property
    @abstractmethod
    def seconds(self) -> tuple[float, float]:
        """Seconds to build it and of one product, on one core, to a factor of about 3."""

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
        ndim, batch = self.geometry.mesh.ndim, n_samples >= _BATCH
        if self.geometry.lattices.obstacle:
            return self.n_bytes <= _SCATTERED_BYTES[ndim] * (
                _SCATTERED_BATCH if batch and ndim == 3 else 1
            )
        few = batch and self.geometry.shape[0] <= _BATCH_DATA
        return self.n_bytes <= _DENSE_BYTES[ndim] or few

    @property
    def seconds(self) -> tuple[float, float]:
        n_data, n_cells = self.geometry.shape
        # Lattices share their offsets, and rows are copied from a table.
        entry = _ENTRY if self.geometry.lattices.obstacle else 8 * _BYTE
        return entry * n_data * n_cells, _BYTE * self.n_bytes

    def build(self) -> DenseMatrix:
        return DenseMatrix(sensitivity(self.geometry, self.precision))


class FFT(Way):
    """Spectra of the layers, for stations on lattices of the mesh's columns."""

    name, contents = "fft", "spectra of {}"

    @property
    def obstacle(self) -> str:
        return self.geometry.lattices.obstacle

    @property
    def n_bytes(self) -> int:
        found = self.geometry.lattices.found
        return ToeplitzOperator.required_bytes(self.geometry, found, self.precision)

    @property
    def seconds(self) -> tuple[float, float]:
        return _SPECTRA_MADE * self.n_bytes, _SPECTRA_APPLIED * self.n_bytes

    def build(self) -> ToeplitzOperator:
        return ToeplitzOperator(self.geometry, self.geometry.lattices.found, self.precision)


class Anywhere(Way):
    """FFTs on planes of nodes, interpolation to the stations, and a near field of each."""

    name, contents = "anywhere", "spectra, weights and near cells of {}"

    @cached_property
    def _forecast(self) -> Forecast:
        return Forecast(self.geometry, self.tol, self.precision)

    @property
    def obstacle(self) -> str:
        return self._forecast.obstacle

    @property
    def key(self) -> tuple[object, ...]:
        return *super().key, self.tol

    @property
    def error(self) -> float:
        return self.tol

    @property
    def n_bytes(self) -> int:
        return self._forecast.n_bytes

    def pays(self, n_samples: int) -> bool:
        if not self.geometry.lattices.obstacle or self.obstacle:
            return False
        return 2 * self.n_bytes <= Dense(self.geometry, self.precision, self.limit, 0.0).n_bytes

    @property
    def seconds(self) -> tuple[float, float]:
        return self._forecast.seconds

    def build(self) -> AnywhereOperator:
        return AnywhereOperator(self.geometry, self.precision, self.tol)


class Rows(Way):
    """Rows in memory a few at a time, computed again for each product."""

    name, contents = "rows", "rows of {}, computed for each product"

    @property
    def n_bytes(self) -> int:
        return RowOperator.required_bytes(self.geometry, self.limit)

    def pays(self, n_samples: int) -> bool:
        return False  # only where nothing else fits

    @property
    def seconds(self) -> tuple[float, float]:
        n_data, n_cells = self.geometry.shape
        return 0.0, _ENTRY * n_data * n_cells

    def build(self) -> RowOperator:
        return RowOperator(self.geometry, self.limit)


#: Ways by the value of `method`, the fastest first.
WAYS: dict[str, type[Way]] = {way.name: way for way in (Dense, FFT, Anywhere, Rows)}
