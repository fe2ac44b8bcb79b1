"""Products with the sensitivity by FFT, since layers of a regular mesh are Toeplitz blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from skgrav._typing import Array
from skgrav.operators._cells import Geometry, Lattice

#: Size of spectra transformed together, so that they fit into the cache.
_BLOCK_SIZE = 2**15

#: Real and complex types of each precision.
_TYPES: dict[str, tuple[type, type]] = {
    "float64": (np.float64, np.complex128),
    "float32": (np.float32, np.complex64),
}


class ToeplitzOperator:
    """Sensitivity stored as spectra of its layers, with the methods of `Products`.

    The gravity at lattice point i of cells j is ``sum_j K_l(j - i) rho_lj``, summed over layers l:
    a correlation, with the spectrum ``sum_l conj(K_l) rho_l``. The adjoint is a convolution.
    """

    def __init__(
        self, geometry: Geometry, lattices: list[Lattice], precision: str, power: int = 1
    ) -> None:
        self.shape, self.mesh = geometry.shape, geometry.mesh
        self._remake = geometry, lattices, precision
        self.blocks = [ToeplitzBlock(geometry, lattice, precision, power) for lattice in lattices]

    def forward(self, rho: Array) -> Array:
        g = np.empty((len(rho), self.shape[0]))
        images = self.mesh.unflatten(rho, fill=0.0)
        for block in self.blocks:
            block.forward(images, g)
        return g

    def adjoint(self, g: Array) -> Array:
        images = np.zeros((len(g), *self.mesh.shape))
        for block in self.blocks:
            block.adjoint(g, images)
        return self.mesh.flatten(images)

    def column_norms2(self, weights: Array) -> Array:
        # Squared entries also depend on offsets alone, so they are a Toeplitz operator. Rounding
        # by the FFTs may be negative.
        squared = ToeplitzOperator(*self._remake, power=2)
        return np.maximum(squared.adjoint(weights[None])[0], 0.0)

    @staticmethod
    def required_bytes(geometry: Geometry, lattices: list[Lattice], precision: str) -> int:
        """Return the size of the spectra in bytes."""
        size = sum(prod(Layout.of(geometry, lattice).spectrum) for lattice in lattices)
        itemsize = np.dtype(_TYPES[precision][1]).itemsize
        return size * itemsize * geometry.mesh.shape[0] * len(geometry.axes)


@dataclass(frozen=True)
class Layout:
    """Sizes of one lattice, and the blocks that are transformed together."""

    #: Number of layers and of columns along each horizontal axis.
    cells: tuple[int, ...]
    #: Number of lattice points of stations, and lengths of the FFTs, along each horizontal axis.
    points: tuple[int, ...]
    lengths: tuple[int, ...]

    @classmethod
    def of(cls, geometry: Geometry, lattice: Lattice) -> Layout:
        """Return the sizes, with FFT lengths at which circular offsets do not overlap."""
        shape = lattice.table_shape(geometry.mesh)
        lengths = tuple(fft.next_fast_len(n, real=True) for n in shape)
        return cls(geometry.mesh.shape, lattice.counts, lengths)

    @property
    def spectrum(self) -> tuple[int, ...]:
        """Shape of a spectrum of real values."""
        return *self.lengths[:-1], self.lengths[-1] // 2 + 1

    def sample_blocks(self, n_samples: int) -> Iterator[slice]:
        """Return slices of samples whose layers are transformed together."""
        size = max(1, _BLOCK_SIZE // (self.cells[0] * prod(self.spectrum)))
        return (slice(first, first + size) for first in range(0, n_samples, size))

    def layer_blocks(self, n_layers: int | None = None) -> Iterator[slice]:
        """Return slices of layers that are transformed together."""
        size = max(1, _BLOCK_SIZE // prod(self.spectrum))
        return (slice(first, first + size) for first in range(0, n_layers or self.cells[0], size))


class ToeplitzBlock:
    """The stations of one lattice, with the spectra of its tables."""

    def __init__(self, geometry: Geometry, lattice: Lattice, precision: str, power: int) -> None:
        self.layout = Layout.of(geometry, lattice)
        self.cells, self.points = self.layout.cells, self.layout.points
        self.lengths = self.layout.lengths
        self.real, self.complex = _TYPES[precision]
        n_components = len(geometry.axes)
        self.rows = np.arange(geometry.shape[0]).reshape(n_components, -1)[:, lattice.stations]
        self.flat = np.ravel_multi_index(tuple(lattice.index.T), self.points)
        self.distinct = np.bincount(self.flat).max() == 1
        shape = n_components, self.cells[0], *self.layout.spectrum
        self.spectra: Any = np.empty(shape, dtype=self.complex)
        for spectrum, component in zip(self.spectra, geometry.axes, strict=True):
            for layers, table in lattice.table(geometry, component):
                for part in self.layout.layer_blocks(len(table)):
                    image = table[part] if power == 1 else table[part] ** power
                    spectrum[layers][part] = self._transform(self._wrapped(image))

    def forward(self, images: Array, g: Array) -> None:
        """Write the gravity of densities of the whole block."""
        for samples in self.layout.sample_blocks(len(images)):
            block = images[samples]
            total: Any = np.zeros(
                (len(block), len(self.spectra), *self.spectra.shape[2:]), dtype=self.complex
            )
            for layers in self.layout.layer_blocks():
                spectrum = self._transform(block[:, layers])
                # conj(K) rho = conj(K conj(rho)): densities are conjugated, which are smaller than
                # the kernels, and their sum once at the end.
                np.conj(spectrum, out=spectrum)
                for i, kernel in enumerate(self.spectra[:, layers]):
                    total[:, i] += np.sum(spectrum * kernel, axis=1)
            values = self._restore(np.conj(total, out=total), self.points)
            g[samples, self.rows] = values.reshape(*total.shape[:2], -1)[..., self.flat]

    def adjoint(self, g: Array, images: Array) -> None:
        """Add the transpose applied to gravity."""
        for samples in self.layout.sample_blocks(len(g)):
            values = g[samples, self.rows]
            grid = np.zeros((*values.shape[:2], int(np.prod(self.points))), dtype=self.real)
            # Plain assignment is much faster than add.at, but counts a repeated station once.
            if self.distinct:
                grid[..., self.flat] = values
            else:
                np.add.at(grid, np.s_[..., self.flat], values)  # type: ignore[arg-type]
            spectrum = self._transform(grid.reshape(*values.shape[:2], *self.points))
            for layers in self.layout.layer_blocks():
                kernels = self.spectra[:, layers]
                total = spectrum[:, :1] * kernels[0]
                for i, kernel in enumerate(kernels[1:], start=1):
                    total += spectrum[:, i : i + 1] * kernel
                images[samples, layers] += self._restore(total, self.cells[1:])

    def _wrapped(self, table: Array) -> Array:
        """Return the table in the order of circular offsets: those below zero go to the end."""
        wrapped = np.zeros((len(table), *self.lengths))
        halves = [
            ((np.s_[m - 1 :], np.s_[: n - m + 1]), (np.s_[: m - 1], np.s_[length - m + 1 :]))
            for m, n, length in zip(self.points, table.shape[1:], self.lengths, strict=True)
        ]
        for pieces in product(*halves):
            source, target = zip(*pieces, strict=True)
            wrapped[:, *target] = table[:, *source]
        return wrapped

    def _transform(self, images: Array) -> NDArray[np.complexfloating]:
        """Return the spectra of images, padded with zeros."""
        spectrum = fft.rfft(np.asarray(images, dtype=self.real), self.lengths[-1])
        for axis, length in enumerate(self.lengths[-2::-1], start=2):
            spectrum = fft.fft(spectrum, length, axis=-axis, overwrite_x=True)
        return spectrum

    def _restore(self, spectra: NDArray[np.complexfloating], counts: tuple[int, ...]) -> Array:
        """Return the first `counts` values along each axis of the images of spectra."""
        # Cut along each axis before transforming the next, which saves time.
        for axis, count in enumerate(counts[-2::-1], start=2):
            images = fft.ifft(spectra, axis=-axis, overwrite_x=True)
            spectra = images[(..., slice(count), *[slice(None)] * (axis - 1))]
        return fft.irfft(spectra, self.lengths[-1], overwrite_x=True)[..., : counts[-1]]
