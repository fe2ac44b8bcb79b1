"""Attraction of all cells of a mesh: node by node in blocks, or by a table of unique offsets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.constants import gravitational_constant

from skgrav._typing import Array, Indices, Mask
from skgrav.geometry import AXES, Mesh, Survey
from skgrav.kernels import NODE_FUNCTIONS, Component, parity, point

#: Factor from density times the integral of ``d / r**ndim`` to gravity, by unit and dimension.
UNITS = {
    "mGal": {2: 2e5 * gravitational_constant, 3: 1e5 * gravitational_constant},
    "normalized": {2: 1.0, 3: 1.0},
}

#: Gradient in Eotvos of 1 mGal per metre, and the same in normalized units.
_GRADIENTS = {"mGal": 1e4, "normalized": 1.0}

#: Nodes computed together: their temporaries fit into the cache, which is three times as fast as
#: writing them to memory.
_BLOCK_NODES = 2**16

#: Tolerance of lattice points as a fraction of the spacing. Moving a station by it changes the
#: gravity of the nearest cells by about the same fraction, and of others by less.
_LATTICE_TOLERANCE = 1e-8

#: Rounding of coordinates far from the origin, such as UTM, in units in the last place.
_LAST_PLACES = 4


@dataclass(frozen=True)
class Geometry:
    """Mesh, survey, kernel and units, which determine the sensitivity."""

    mesh: Mesh
    survey: Survey
    kernel: str
    units: str

    @property
    def key(self) -> tuple[object, ...]:
        """Hashable key, the same for equal sensitivities; uncertainties do not enter."""
        survey = self.survey
        return self.mesh, survey.stations.tobytes(), survey.components, self.kernel, self.units

    @property
    def shape(self) -> tuple[int, int]:
        """Number of data and of cells."""
        return self.survey.n_data, self.mesh.n_cells

    @property
    def axes(self) -> list[Component]:
        """Axis of each component, or both axes of a gradient, the smaller first."""
        index = AXES[self.mesh.ndim].index
        return [
            index(c) if len(c) == 1 else (min(map(index, c)), max(map(index, c)))
            for c in self.survey.components
        ]

    def factor(self, component: Component) -> float:
        """Return the factor from the attraction of a cell to gravity or its gradient."""
        factor = UNITS[self.units][self.mesh.ndim]
        return factor if isinstance(component, int) else factor * _GRADIENTS[self.units]

    @cached_property
    def lattices(self) -> Lattices:
        """The lattices of the stations, if a table of offsets is smaller than the matrix."""
        return find_lattices(self.mesh, self.survey)

    def rows(self, stations: Indices, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Compute the rows of some stations, (n_components, len(stations), n_cells)."""
        mesh = self.mesh
        if out is None:
            out = np.empty((len(self.axes), len(stations), mesh.n_cells))
        n_nodes = int(np.prod([e.size for e in mesh.edges]))
        size = max(1, _BLOCK_NODES // n_nodes)
        for first in range(0, len(stations), size):
            block = slice(first, first + size)
            coordinates = self.survey.stations[stations[block]].T
            offsets = [e - s[:, None] for e, s in zip(mesh.edges, coordinates, strict=True)]
            for rows, component in zip(out, self.axes, strict=True):
                factor = self.factor(component)
                for layers, cells in attraction(offsets, self.kernel, component):
                    columns, active = self.columns(layers)
                    values = cells.reshape(*cells.shape[:1], -1)[:, active]
                    target = rows[block][:, columns]
                    np.multiply(values, factor, out=target, casting="same_kind")
        return out

    def columns(self, layers: slice) -> tuple[slice, slice | Mask]:
        """Return the columns of the sensitivity for some layers, and their active cells."""
        size, active = int(np.prod(self.mesh.shape[1:])), self.mesh.active
        first, stop, _ = layers.indices(self.mesh.shape[0])
        if active is None:
            return slice(first * size, stop * size), slice(None)
        before = self._active_above
        return slice(before[first], before[stop]), active[first:stop].ravel()

    @cached_property
    def _active_above(self) -> Indices:
        """Number of active cells above each edge of a layer."""
        assert self.mesh.active is not None
        by_layer = self.mesh.active.reshape(self.mesh.shape[0], -1).sum(axis=1)
        return np.append(0, np.cumsum(by_layer))


@dataclass(frozen=True)
class Lattice:
    """Stations of one height that differ by whole cells of a horizontally uniform mesh."""

    #: Indices of the stations in the survey.
    stations: Indices
    #: Lattice point of each station, (n_stations, n_horizontal), from 0 along each axis.
    index: Indices
    #: Coordinates of lattice point 0, the height first.
    origin: Array

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of lattice points along each horizontal axis."""
        return tuple(int(n) + 1 for n in self.index.max(axis=0))

    def table_shape(self, mesh: Mesh) -> tuple[int, ...]:
        """Return the number of unique offsets along each horizontal axis."""
        return tuple(m + n - 1 for m, n in zip(self.counts, mesh.shape[1:], strict=True))

    def table(self, geometry: Geometry, component: Component) -> Iterator[tuple[slice, Array]]:
        """Yield layers and their gravity at all offsets, from ``-(m - 1)`` to ``n - 1`` cells."""
        offsets, mirrored = [geometry.mesh.edges[0] - self.origin[0]], []
        for axis, (count, edges) in enumerate(
            zip(self.counts, geometry.mesh.edges[1:], strict=True), start=1
        ):
            steps = np.arange(1 - count, edges.size)
            offset = edges[0] - self.origin[axis] + _spacing(edges) * steps
            # Gradients jump at faces, where rounding would decide the side.
            offset[np.abs(offset) <= _LATTICE_TOLERANCE * _spacing(edges)] = 0.0
            # The attraction is odd or even along each axis, so that half of a centred table is
            # enough.
            if abs(offset[0] + offset[-1]) <= _LATTICE_TOLERANCE * _spacing(edges):
                mirrored.append((axis, len(offset) - 1, parity(component, axis)))
                offset = (offset - offset[::-1])[(len(offset) - 1) // 2 :] / 2
            offsets.append(offset)
        for layers, cells in attraction([o[None] for o in offsets], geometry.kernel, component):
            table = cells[0]
            table *= geometry.factor(component)
            for axis, n, sign in mirrored:
                half = np.moveaxis(table, axis, 0)
                whole = np.empty((n, *half.shape[1:]))
                whole[n // 2 :] = half
                np.multiply(half[::-1][: n // 2], sign, out=whole[: n // 2])
                table = np.moveaxis(whole, 0, axis)
            yield layers, table


class Lattices(NamedTuple):
    """Stations sorted into lattices, or the reason why they cannot be."""

    found: list[Lattice]
    #: Why there are none, a clause that follows "since"; empty if there are some.
    obstacle: str


def find_lattices(mesh: Mesh, survey: Survey) -> Lattices:
    """Sort the stations into lattices, if a table of their offsets is smaller than the matrix."""
    steps, tolerances = [], []
    for name, edges, coordinate in zip(
        AXES[mesh.ndim][1:], mesh.edges[1:], survey.stations.T[1:], strict=True
    ):
        spacing, tolerance = _spacing(edges), _tolerance(edges, coordinate)
        uniform = edges[0] + spacing * np.arange(edges.size)
        off = float(np.abs(edges - uniform).max())
        if off > 0.01 * spacing:
            widths = np.diff(edges)
            uneven = f"{widths.min():.7g} to {widths.max():.7g} m wide"
            return Lattices([], f"the columns along {name} are {uneven}")
        if off > tolerance * spacing:
            return Lattices([], f"the edges along {name} are up to {off:.3g} m off even spacing")
        steps.append((coordinate - edges[0]) / spacing)
        tolerances.append(tolerance)
    # Stations of one lattice have the same height and the same phase along each axis.
    of_set = np.unique(survey.stations[:, 0], return_inverse=True)[1]
    points = []
    for step, tolerance in zip(steps, tolerances, strict=True):
        label, phase = _phases(step, tolerance)
        points.append(np.rint(step - phase).astype(np.intp))
        if label.any():
            of_set = np.unique(of_set * (label.max() + 1) + label, return_inverse=True)[1]
    n_sets = int(of_set.max()) + 1
    if survey.n_stations < 2 * n_sets and survey.n_stations > 1:
        return Lattices([], _scatter(mesh, survey, steps, tolerances))
    index = np.stack(points, axis=1)
    found = []
    for label in range(n_sets):
        stations = np.flatnonzero(of_set == label)
        lowest = index[stations].min(axis=0)
        first = stations[0]
        spacings = [_spacing(e) for e in mesh.edges[1:]]
        origin = survey.stations[first].copy()
        origin[1:] -= (index[first] - lowest) * spacings
        found.append(Lattice(stations, index[stations] - lowest, origin))
    # Most offsets in the table of few, distant stations would be unused.
    size = sum(int(np.prod(lattice.table_shape(mesh))) for lattice in found)
    if size > survey.n_stations * int(np.prod(mesh.shape[1:])):
        return Lattices([], "the stations are few and far apart")
    return Lattices(found, "")


def _scatter(mesh: Mesh, survey: Survey, steps: list[Array], tolerances: list[float]) -> str:
    """Return how far stations are off one lattice of whole columns, as an obstacle."""
    for name, edges, step, tolerance in zip(
        AXES[mesh.ndim][1:], mesh.edges[1:], steps, tolerances, strict=True
    ):
        # About the mean phase on the circle, where 0.01 and 0.99 of a column are close.
        turn = np.exp(2j * np.pi * step)
        off = float(np.abs(np.angle(turn * np.conj(turn.mean()))).max() / (2 * np.pi))
        if off > tolerance:
            return (
                f"the stations are up to {off * _spacing(edges):.3g} m off whole columns of "
                f"{_spacing(edges):g} m along {name}"
            )
    n_heights = len(np.unique(survey.stations[:, 0]))
    return f"the {survey.n_stations} stations have {n_heights} heights"


def attraction(
    edges: list[Array], kernel: str, component: Component
) -> Iterator[tuple[slice, Array]]:
    """Yield layers and the attraction of their cells, (n_stations, n_layers, ...).

    `edges` holds offsets source minus station along each axis, (n_stations, n + 1).
    """
    z, *horizontal = edges
    n_layers = z.shape[1] - 1
    plane = len(z) * int(np.prod([e.shape[1] for e in horizontal]))
    size = max(1, _BLOCK_NODES // plane)
    for first in range(0, n_layers, size):
        block = z[:, first : first + size + 1]
        yield slice(first, first + size), _cells([block, *horizontal], kernel, component)


def _cells(edges: list[Array], kernel: str, component: Component) -> Array:
    ndim = len(edges)

    def along(axis: int, values: Array) -> Array:
        shape = [len(values)] + [1] * ndim
        shape[axis + 1] = -1
        return values.reshape(shape)

    if kernel == "point":
        centers = tuple(along(i, (e[:, 1:] + e[:, :-1]) / 2) for i, e in enumerate(edges))
        values = point(centers, component)
        for i, e in enumerate(edges):
            values = values * along(i, np.diff(e))
        return values
    # The integral over a cell is the mixed difference of its node function over the corners.
    values = NODE_FUNCTIONS[ndim](tuple(along(i, e) for i, e in enumerate(edges)), component)
    for axis in range(1, ndim + 1):
        values = np.diff(values, axis=axis)
    return values


def _spacing(edges: Array) -> float:
    return float((edges[-1] - edges[0]) / (edges.size - 1))


def _tolerance(edges: Array, coordinate: Array) -> float:
    """Return the tolerance of lattice points in units of the spacing, including rounding."""
    furthest = max(np.abs(edges).max(), np.abs(coordinate).max())
    return _LATTICE_TOLERANCE + _LAST_PLACES * float(np.spacing(furthest)) / _spacing(edges)


def _phases(steps: Array, tolerance: float) -> tuple[Indices, Array]:
    """Return labels of coordinates that differ by whole steps, and distances from whole steps."""
    phase = steps - np.rint(steps)
    if np.ptp(phase) <= tolerance:
        return np.zeros(len(steps), dtype=np.intp), phase
    order = np.argsort(phase)
    label = np.empty(len(steps), dtype=np.intp)
    # A new label at each gap between sorted phases.
    label[order] = np.cumsum(np.diff(phase[order], prepend=phase[order[0]]) > tolerance)
    if phase[order[-1]] - phase[order[0]] > 1 - tolerance:  # -0.5 and 0.5 are the same phase
        phase = np.where(label == label.max(), phase - 1, phase)
        label[label == label.max()] = 0
    return label, phase
