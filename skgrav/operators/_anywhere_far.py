"""Gravity on planes of lattice nodes by FFTs along the columns, and its transpose."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from skgrav._typing import Array, Indices
from skgrav.kernels import parity
from skgrav.operators._anywhere_lattice import Nodes
from skgrav.operators._cells import Geometry, attraction

#: Fraction of a layer up to which distances are equal.
_SAME = 1e-9

#: Values along an axis up to which a matrix is faster than FFTs.
_MATRIX = 256

#: Smallest singular value that counts in choosing unused entries; less would make them huge.
_RCOND = 1e-5


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
        self.columns = [
            _Waves(n, np.arange(axis.count), self.real, weights=w)
            for n, axis, w in zip(nodes.lengths, nodes.axes, self.resampling, strict=True)
        ]
        # Nodes are at the end of the transpose: weights of an inverse FFT, and phases.
        self.n_components = len(geometry.axes)
        self.at_nodes = [
            [
                _Waves(n, used, self.real, factors=_inverse(n, phase[:, c]))
                for n, used, phase in zip(nodes.lengths, nodes.used, self.phases, strict=True)
            ]
            for c in range(self.n_components)
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
        z = nodes.layers[layers.start : layers.stop + 1]
        for c, component in enumerate(geometry.axes):
            for planes, depths, first in _distinct(z, nodes.planes):
                table: NDArray[Any] = np.empty((*needed, len(depths) - 1), dtype=self.real)
                offsets = [e[None] for e in (depths, *edges)]
                for part, (cells,) in attraction(offsets, geometry.kernel, component):
                    values = (geometry.factor(component) * cells) ** self.power
                    for axis, n in enumerate(needed):
                        sign = parity(component, axis + 1) ** self.power
                        length, furthest = nodes.lengths[axis], nodes.furthest[axis]
                        to_spectrum = _half_transform(length, furthest, n, sign)
                        values = np.moveaxis(
                            np.tensordot(to_spectrum, values, axes=(1, axis + 1)), 0, axis + 1
                        )
                    table[..., part] = np.moveaxis(values, 0, -1)
                for p, start in zip(planes, first, strict=True):
                    spectra[..., p, c, :] = table[..., start : start + n_layers]
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

        `images` are densities, (*columns, n_samples, n_layers).
        """
        nodes, ndim, n_samples = self.nodes, len(self.nodes.axes), images.shape[-2]
        whole = tuple(n // 2 + 1 for n in nodes.lengths)
        n_fields = self.spectra[0].shape[-2]
        total: Any = np.zeros((*whole, n_fields, n_samples << ndim), dtype=self.real)
        for (layers, needed), kernels in zip(self.groups, self.spectra, strict=True):
            part: Any = np.ascontiguousarray(images[..., layers], dtype=self.real)
            for axis in reversed(range(ndim)):
                part = _on_axis(self.columns[axis].forward, part, axis, needed[axis])
            part = _parts_last(part.reshape(*part.shape[:ndim], -1), ndim)
            part = part.reshape(*needed, -1, kernels.shape[-1])
            total[tuple(slice(n) for n in needed)] += kernels @ part.swapaxes(-1, -2)
        total = total.reshape(*whole, n_fields, *(2,) * ndim, n_samples)
        fields = np.zeros((*nodes.lengths, n_fields, n_samples), dtype=self.real)
        for c in range(self.n_components):
            kept = slice(c, None, self.n_components)
            part = np.moveaxis(total[(slice(None),) * ndim + (kept,)], ndim, -2)
            part = _parts_first(part, ndim)
            for axis in range(ndim):
                part = _on_axis(self.at_nodes[c][axis].adjoint, part, axis, nodes.lengths[axis])
            at_used: Any = *np.ix_(*nodes.used), kept
            fields[at_used] = part
        return fields

    def adjoint(self, fields: NDArray[Any]) -> NDArray[Any]:
        """Apply the transpose to fields at the nodes, in the shapes of `forward`."""
        nodes, ndim, n_samples = self.nodes, len(self.nodes.axes), fields.shape[-1]
        whole = tuple(n // 2 + 1 for n in nodes.lengths)
        n_fields = self.spectra[0].shape[-2]
        total = np.empty((*whole, *(2,) * ndim, n_samples, n_fields), dtype=self.real)
        for c in range(self.n_components):
            kept = slice(c, None, self.n_components)
            at_used: Any = *np.ix_(*nodes.used), kept
            part: Any = np.ascontiguousarray(fields[at_used])
            for axis in reversed(range(ndim)):
                part = _on_axis(self.at_nodes[c][axis].forward, part, axis, whole[axis])
            part = _parts_last(part, ndim)
            total[..., kept] = np.moveaxis(part, -2, -1)
        total = total.reshape(*whole, -1, n_fields)
        parts = []
        for (_, needed), kernels in zip(self.groups, self.spectra, strict=True):
            part = total[tuple(slice(n) for n in needed)] @ kernels
            part = part.reshape(*needed, *(2,) * ndim, n_samples, kernels.shape[-1])
            part = _parts_first(part, ndim)
            for axis in range(ndim):
                part = _on_axis(self.columns[axis].adjoint, part, axis, nodes.lengths[axis])
            parts.append(part)
        return np.concatenate(parts, axis=-1)


class _Waves:
    """Real and imaginary parts of the wavenumbers of values along one axis, and the transpose.

    By a matrix, which is faster than FFTs unless there are many values.
    """

    def __init__(
        self,
        length: int,
        used: Indices,
        real: type,
        *,
        weights: NDArray[Any] | None = None,
        factors: NDArray[Any] | None = None,
    ) -> None:
        self.length, self.used, self.weights, self.factors = length, used, weights, factors
        self.matrix: NDArray[Any] | None = None
        n = len(used) if weights is None else weights.shape[1]
        if n <= _MATRIX:
            unit: NDArray[Any] = np.eye(n, dtype=real)[None]
            self.matrix = self._transform(unit, length // 2 + 1)[0].astype(real)

    def forward(self, values: NDArray[Any], needed: int) -> NDArray[Any]:
        """Transform (n, n_values, m) to (n, 2 * needed, m)."""
        if self.matrix is None:
            return self._transform(values, needed)
        return self.matrix[: 2 * needed] @ values

    def adjoint(self, parts: NDArray[Any], _: int) -> NDArray[Any]:
        """Transform (n, 2 * needed, m) to (n, n_values, m)."""
        if self.matrix is not None:
            return self.matrix[: parts.shape[1]].T @ parts
        n, m = parts.shape[1] // 2, self.length // 2
        spectrum = parts[:, ::2] + 1j * parts[:, 1::2]
        if self.factors is not None:
            spectrum *= np.conj(self.factors[:n, None])
        # All but the first and the last wavenumber count twice.
        spectrum[:, 1:m] *= 0.5
        values = fft.irfft(spectrum, self.length, axis=1, norm="forward")[:, self.used]
        return _along(None if self.weights is None else self.weights.T, values, 1)

    def _transform(self, values: NDArray[Any], needed: int) -> NDArray[Any]:
        values = _along(self.weights, values, 1)
        placed = np.zeros((len(values), self.length, values.shape[2]), dtype=values.dtype)
        placed[:, self.used] = values
        spectrum: Any = fft.rfft(placed, axis=1)[:, :needed]
        if self.factors is not None:
            spectrum = spectrum * self.factors[:needed, None]
        parts = np.stack([spectrum.real, spectrum.imag], axis=2)
        return parts.reshape(len(values), 2 * needed, -1)


def _on_axis(apply: Any, values: NDArray[Any], axis: int, n: int) -> NDArray[Any]:
    """Apply a transform of the middle one of three axes along one of several."""
    before, after = values.shape[:axis], values.shape[axis + 1 :]
    found = apply(values.reshape(int(np.prod(before)), values.shape[axis], -1), n)
    return found.reshape(*before, -1, *after)


def _parts_last(values: NDArray[Any], ndim: int) -> NDArray[Any]:
    """Move real and imaginary parts, which alternate along each axis, behind all axes."""
    pairs = values.reshape(
        *(x for n in values.shape[:ndim] for x in (n // 2, 2)), *values.shape[ndim:]
    )
    order = [*range(0, 2 * ndim, 2), *range(1, 2 * ndim, 2), *range(2 * ndim, pairs.ndim)]
    return pairs.transpose(order)


def _parts_first(values: NDArray[Any], ndim: int) -> NDArray[Any]:
    """Undo `_parts_last`."""
    order = [x for i in range(ndim) for x in (i, ndim + i)]
    shape = [2 * n for n in values.shape[:ndim]]
    return values.transpose(*order, *range(2 * ndim, values.ndim)).reshape(
        *shape, *values.shape[2 * ndim :]
    )


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
    chosen = -np.linalg.pinv(free, rcond=_RCOND) @ matrix[needed:, :n_fixed]
    found = np.zeros_like(first)
    found[:, :n_fixed] = first[:, :n_fixed] + first[:, n_fixed:] @ chosen
    return found


def _distinct(z: Array, planes: Array) -> list[tuple[Indices, Array, Indices]]:
    """Return planes, edges of layers less their depths, and the first edge of each plane.

    Planes whose distances are whole layers of one thickness see the same layers, shifted.
    """
    thickness = float((z[-1] - z[0]) / (len(z) - 1))
    steps = (planes[-1] - planes) / thickness
    first = np.rint(steps).astype(np.intp)
    even = z[0] + thickness * np.arange(len(z) + first[0]) - planes[-1]
    off = max(
        np.abs(even[: len(z)] - (z - planes[-1])).max() / thickness, np.abs(steps - first).max()
    )
    if off < _SAME and len(even) < len(planes) * len(z):
        return [(np.arange(len(planes)), even, first)]
    return [(np.array([p]), z - plane, np.array([0])) for p, plane in enumerate(planes)]


def _inverse(length: int, phase: NDArray[Any]) -> NDArray[Any]:
    """Return factors with which the transpose of an FFT is the inverse one with phases."""
    weights = np.full(length // 2 + 1, 2.0)
    weights[[0, -1]] = 1.0
    return np.conj(phase) * (weights / length).astype(phase.real.dtype)


def _along(weights: NDArray[Any] | None, values: NDArray[Any], axis: int) -> NDArray[Any]:
    """Return the product of a matrix with values along one axis."""
    if weights is None:
        return values
    return np.moveaxis(np.tensordot(weights, values, axes=(1, axis)), 0, axis)
