"""Gravity on planes of lattice nodes by FFTs along the columns, and its transpose."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from skgrav._typing import Array
from skgrav.kernels import parity
from skgrav.operators._anywhere_lattice import Nodes
from skgrav.operators._cells import Geometry, attraction


class FarField:
    """Fields of all layers on all planes, as products of spectra.

    Tables of fields are even or odd along each axis, so that their spectra are real and a quarter
    of the wavenumbers is enough. Those of densities are split into cosines and sines, real, too.
    """

    def __init__(
        self,
        geometry: Geometry,
        nodes: Nodes,
        types: tuple[type, type],
        power: int = 1,
    ) -> None:
        self.nodes, self.power = nodes, power
        self.real, self.complex = types
        self.groups = nodes.groups
        self.spectra = [self._spectra(geometry, *group) for group in self.groups]
        self.phases = [self._phase(geometry, axis) for axis in range(len(nodes.axes))]
        self.resampling: list[NDArray[Any] | None] = [
            None if w is None else w.astype(self.real)
            for w in (axis.resampling(power) for axis in nodes.axes)
        ]

    @staticmethod
    def required_bytes(geometry: Geometry, nodes: Nodes, itemsize: int) -> int:
        """Return the size of the spectra in bytes."""
        of_plane = sum((g.stop - g.start) * int(np.prod(k)) for g, k in nodes.groups)
        return itemsize * of_plane * len(nodes.planes) * len(geometry.axes)

    def _spectra(self, geometry: Geometry, layers: slice, needed: tuple[int, ...]) -> NDArray[Any]:
        """Return the spectra of some layers, (*needed, n_planes * n_components, n_layers)."""
        nodes, n_layers = self.nodes, layers.stop - layers.start
        shape = *needed, len(nodes.planes), len(geometry.axes), n_layers
        spectra = np.empty(shape, dtype=self.real)
        # From half a column on, since nodes are at corners.
        edges = [
            h * np.arange(n // 2 + 1.0) for h, n in zip(nodes.spacings, nodes.lengths, strict=True)
        ]
        for p, plane in enumerate(nodes.planes):
            z = nodes.layers[layers.start : layers.stop + 1] - plane
            for c, component in enumerate(geometry.axes):
                offsets = [e[None] for e in (z, *edges)]
                for part, (cells,) in attraction(offsets, geometry.kernel, component):
                    table = (geometry.factor(component) * cells) ** self.power
                    for axis, n in enumerate(needed):
                        sign = parity(component, axis + 1) ** self.power
                        length, furthest = nodes.lengths[axis], nodes.furthest[axis]
                        to_spectrum = _half_transform(length, furthest, n, sign)
                        table = np.moveaxis(
                            np.tensordot(to_spectrum, table, axes=(1, axis + 1)), 0, axis + 1
                        )
                    spectra[..., p, c, part] = np.moveaxis(table, 0, -1)
        return spectra.reshape(*needed, -1, n_layers)

    def _phase(self, geometry: Geometry, axis: int) -> NDArray[Any]:
        """Return the phases of spectra along one axis, (n_wavenumbers, n_planes * n_components)."""
        n = self.nodes.lengths[axis]
        # Nodes lie half a column before the centres, and spectra of odd fields are imaginary.
        turn = np.exp(-1j * np.pi * np.arange(n // 2 + 1) / n)
        signs = [parity(c, axis + 1) ** self.power for c in geometry.axes]
        factors = np.tile(np.where(np.array(signs) < 0, 1j, 1.0), len(self.nodes.planes))
        return (turn[:, None] * factors).astype(self.complex)

    def forward(self, images: NDArray[Any]) -> NDArray[Any]:
        """Return fields at the nodes, (*lengths, n_planes * n_components, n_samples).

        `images` are densities, (*columns, n_layers, n_samples).
        """
        lengths, ndim, n_samples = self.nodes.lengths, len(self.nodes.axes), images.shape[-1]
        whole = tuple(n // 2 + 1 for n in lengths)
        n_fields = self.spectra[0].shape[-2]
        total: Any = np.zeros((*whole, n_fields, n_samples << ndim), dtype=self.real)
        for (layers, needed), kernels in zip(self.groups, self.spectra, strict=True):
            part: Any = np.ascontiguousarray(images[..., layers, :], dtype=self.real)
            for axis in reversed(range(ndim)):
                part = _along(self.resampling[axis], part, axis)
                part = self._spectrum(part, axis, needed[axis])
            part = part.reshape(*needed, kernels.shape[-1], -1)
            total[tuple(slice(n) for n in needed)] += kernels @ part
        for axis in range(ndim):
            total = self._image(total, axis, n_samples, lengths[axis], self.phases[axis])
        return total.reshape(*lengths, n_fields, n_samples)

    def adjoint(self, fields: NDArray[Any]) -> NDArray[Any]:
        """Apply the transpose to fields at the nodes, in the shapes of `forward`."""
        nodes, ndim, n_samples = self.nodes, len(self.nodes.axes), fields.shape[-1]
        for axis in reversed(range(ndim)):
            fields = self._spectrum(fields, axis, phase=self.phases[axis])
        fields = fields.reshape(*fields.shape[: ndim + 1], -1)
        parts = []
        for (_, needed), kernels in zip(self.groups, self.spectra, strict=True):
            part = kernels.swapaxes(-1, -2) @ fields[tuple(slice(n) for n in needed)]
            for axis in range(ndim):
                part = self._image(part, axis, n_samples, nodes.counts[axis])
                weights = self.resampling[axis]
                part = _along(None if weights is None else weights.T, part, axis)
            parts.append(part.reshape(*part.shape[: ndim + 1], n_samples))
        return np.concatenate(parts, axis=-2)

    def _spectrum(
        self, values: NDArray[Any], axis: int, needed: int | None = None, phase: Any = None
    ) -> NDArray[Any]:
        """Transform along one axis; real and imaginary parts become the last axis."""
        spectrum: Any = fft.rfft(values, self.nodes.lengths[axis], axis=axis)
        spectrum = spectrum[(slice(None),) * axis + (slice(needed),)]
        if phase is not None:
            spectrum = spectrum * np.conj(self._beside(phase, axis, spectrum.ndim))
        return np.ascontiguousarray(spectrum)[..., None].view(self.real)

    def _image(
        self, values: NDArray[Any], axis: int, n_samples: int, count: int, phase: Any = None
    ) -> NDArray[Any]:
        """Transform back along one axis, whose parts are the last axis, and cut."""
        # Samples are followed by the parts of each axis that has not been transformed back.
        shape = *values.shape[: len(self.phases) + 1], n_samples, -1, 2
        spectrum: Any = values.reshape(shape).view(self.complex)[..., 0]
        if phase is not None:
            spectrum = spectrum * self._beside(phase, axis, spectrum.ndim)
        images = fft.irfft(spectrum, self.nodes.lengths[axis], axis=axis)
        return images[(slice(None),) * axis + (slice(count),)]

    def _beside(self, phase: NDArray[Any], axis: int, ndim: int) -> NDArray[Any]:
        """Return phases in the shape that multiplies spectra along `axis`."""
        shape = [1] * ndim
        shape[axis], shape[len(self.phases)] = phase.shape
        return phase.reshape(shape)


@lru_cache(maxsize=64)
def _half_transform(length: int, n_fixed: int, needed: int, sign: int) -> Array:
    """Return the matrix from half of an even or odd table to its first wavenumbers.

    The half begins half a column from 0. Entries after the first `n_fixed` belong to offsets that
    do not occur, and are chosen so that the wavenumbers left out are as small as possible: without
    that, a step where the table repeats itself would need all of them.
    """
    half = length // 2
    angle = 2 * np.pi * np.outer(np.arange(half + 1), np.arange(half) + 0.5) / length
    matrix = 2 * (np.cos(angle) if sign > 0 else np.sin(angle))
    first, free = matrix[:needed], matrix[needed:, n_fixed:]
    if not free.size:
        return first
    chosen = -np.linalg.pinv(free, rcond=1e-8) @ matrix[needed:, :n_fixed]
    found = np.zeros_like(first)
    found[:, :n_fixed] = first[:, :n_fixed] + first[:, n_fixed:] @ chosen
    return found


def _along(weights: NDArray[Any] | None, values: NDArray[Any], axis: int) -> NDArray[Any]:
    """Return the product of a matrix with values along one axis."""
    if weights is None:
        return values
    return np.moveaxis(np.tensordot(weights, values, axes=(1, axis)), 0, axis)
