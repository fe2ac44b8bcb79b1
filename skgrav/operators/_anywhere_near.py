"""What interpolation from nodes misses of the cells near each station, as a sparse matrix."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from skgrav._typing import Array, Indices
from skgrav.kernels import parity
from skgrav.operators._anywhere_lattice import Axis, Layout
from skgrav.operators._cells import Geometry, attraction
from skgrav.operators._stencil import Stencil

#: Nodes of cells computed together, so that their temporaries fit into the cache.
_BLOCK_NODES = 2**16

#: Part of the smallest entries that matters for gradients.
_GRADIENT_CUT = 0.25


def interpolation(layout: Layout, weights: Array, stencil: Stencil) -> sparse.csr_array:
    """Return weights of the nodes around stations as those of all nodes of all planes."""
    nodes, n_stations = layout.nodes, len(layout.stations)
    steps = [
        *(
            (c[:, None] + stencil.offsets) % n
            for c, n in zip(layout.column.T, nodes.lengths, strict=True)
        ),
        layout.plane[:, None] + np.arange(stencil.n_planes),
    ]
    sizes = [*nodes.lengths, len(nodes.planes)]
    flat = np.zeros((n_stations, 1), dtype=np.intp)
    for step, n in zip(steps, sizes, strict=True):
        flat = (flat[:, :, None] * n + step[:, None]).reshape(n_stations, -1)
    starts = np.arange(n_stations + 1) * flat.shape[1]
    shape = n_stations, int(np.prod(sizes))
    return sparse.csr_array((weights.ravel(), as_indices(flat.ravel()), as_indices(starts)), shape)


def as_indices(indices: NDArray[Any]) -> NDArray[Any]:
    """Return indices as 32-bit numbers, if they fit."""
    fits = not indices.size or indices.max() < np.iinfo(np.int32).max
    return indices.astype(np.int32 if fits else np.int64)


class NearField:
    """Entries of the cells near a station, less what the nodes give for them."""

    def __init__(
        self,
        geometry: Geometry,
        layout: Layout,
        stencil: Stencil,
        weights: Array | None,
        cut: float,
    ) -> None:
        self.geometry, self.layout, self.stencil = geometry, layout, stencil
        self.weights, self.cut, self.power = weights, cut, stencil.power
        nodes = layout.nodes
        self.reach = stencil.reach * max(nodes.spacings)
        #: Lattice columns on both sides that are near, along each horizontal axis.
        self.n_beside = [int(np.ceil(self.reach / h - 1e-9)) for h in nodes.spacings]
        self.stations = geometry.survey.stations[layout.stations]
        #: Number of each active cell of the block, else -1, as of the last entry; None if all are.
        self.numbers: Indices | None = None
        if geometry.mesh.active is not None:
            self.numbers = np.full(geometry.mesh.active.size + 1, -1)
            self.numbers[geometry.mesh.cells] = np.arange(geometry.mesh.n_cells)
        self._halves: dict[Any, Array] = {}

    def layers(self, plane: int) -> slice:
        """Return the layers within reach of stations whose first plane is given."""
        nodes, middle = self.layout.nodes, plane + self.stencil.n_planes // 2
        above, below = nodes.planes[middle - 1] - self.reach, nodes.planes[middle] + self.reach
        first = int(np.searchsorted(nodes.layers[1:], above, side="right"))
        last = int(np.searchsorted(nodes.layers[:-1], below, side="left"))
        return slice(min(first, last), last)

    @property
    def n_entries(self) -> int:
        """Upper limit of the number of entries of one component."""
        n_layers = np.zeros(len(self.layout.nodes.planes), dtype=np.int64)
        for plane in np.unique(self.layout.plane).tolist():
            near = self.layers(plane)
            n_layers[plane] = near.stop - near.start
        counts = n_layers[self.layout.plane]
        for column, axis, n in zip(
            self.layout.column.T, self.layout.nodes.axes, self.n_beside, strict=True
        ):
            low, high = np.maximum(column - n, 0), np.minimum(column + n + 1, axis.count)
            counts *= np.maximum(high - low, 0)
        return int(counts.sum())

    def matrix(self, component: Any) -> sparse.csr_array:
        """Return the rows of one component, those of all stations of the layout in order."""
        n_stations = len(self.stations)
        counts = np.zeros(n_stations, dtype=np.int64)
        order, values, indices, largest = [], [], [], 0.0
        # Gradients cancel more.
        cut = self.cut * (1.0 if isinstance(component, int) else _GRADIENT_CUT)
        for rows, entries, size, cells in self._blocks(component):
            largest = max(largest, size)
            kept = np.abs(entries) > cut * largest
            kept &= cells >= 0
            counts[rows] = kept.sum(axis=1)
            order.append(rows)
            values.append(entries[kept])
            indices.append(as_indices(np.broadcast_to(cells, kept.shape)[kept]))
        # The blocks are not in order, and lack the rows without near cells.
        done = np.concatenate([*order, np.empty(0, dtype=np.intp)])
        rows = np.append(done, np.setdiff1d(np.arange(n_stations), done))
        starts = as_indices(np.concatenate([[0], np.cumsum(counts[rows])]))
        data = np.concatenate([*values, np.empty(0)])
        columns = np.concatenate([*indices, np.empty(0, dtype=np.int32)])
        shape = n_stations, self.geometry.mesh.n_cells
        matrix = sparse.csr_array((data, columns, starts), shape)
        return matrix if (np.diff(rows) == 1).all() else matrix[np.argsort(rows)]

    def _blocks(self, component: Any) -> Iterator[tuple[Indices, Array, float, Any]]:
        """Yield rows, their entries, the largest exact one, and cells, -1 where there is none."""
        axes, column = self.layout.nodes.axes, self.layout.column
        # Homes among even columns see the same of them; the others are taken one by one.
        keys = [self.layout.plane]
        for axis, home, n in zip(axes, column.T, self.n_beside, strict=True):
            keys.append(np.where(axis.is_even(home, n), np.iinfo(np.intp).min, home))
        distinct, group = np.unique(np.stack(keys, axis=1), axis=0, return_inverse=True)
        order = np.argsort(group.ravel(), kind="stable")
        ends = np.cumsum(np.bincount(group.ravel(), minlength=len(distinct)))
        for key, rows in zip(distinct.tolist(), np.split(order, ends[:-1]), strict=True):
            layers = self.layers(key[0])
            if layers.start < layers.stop:
                sides = [
                    _Even(axis, h, n, self.stencil.offsets)
                    if of_axis == np.iinfo(np.intp).min
                    else _Uneven(axis, of_axis, n, self.stencil.offsets, self.power)
                    for axis, h, n, of_axis in zip(
                        axes, self.layout.nodes.spacings, self.n_beside, key[1:], strict=True
                    )
                ]
                yield from self._group(rows, key[0], layers, sides, component)

    def _group(
        self, rows: Indices, plane: int, layers: slice, sides: list[Any], component: Any
    ) -> Iterator[tuple[Indices, Array, float, Any]]:
        """Yield blocks of stations that see their near cells alike."""
        layout, geometry, shape = self.layout, self.geometry, self.geometry.mesh.shape
        columns = [side.columns(layout.column[rows, i]) for i, side in enumerate(sides)]
        touching = np.logical_and.reduce([(c >= 0).any(axis=1) for c in columns])
        if not touching.any():
            return
        rows, columns = rows[touching], [c[touching] for c in columns]
        seen = self._seen_by_nodes(plane, layers, sides, component)
        n_layers, factor = layers.stop - layers.start, geometry.factor(component)
        corners = (n_layers + 1) * int(np.prod([c.shape[1] + 1 for c in columns]))
        size = max(1, _BLOCK_NODES // corners)
        for start in range(0, len(rows), size):
            block = slice(start, start + size)
            stations, place = self.stations[rows[block]], layout.place[rows[block]]
            edges = [geometry.mesh.edges[0][layers.start : layers.stop + 1] - stations[:, :1]]
            edges += [
                side.edges(stations[:, i], place[:, i]) for i, side in enumerate(sides, start=1)
            ]
            entries = np.empty((len(stations), n_layers, *(c.shape[1] for c in columns)))
            for part, values in attraction(edges, geometry.kernel, component):
                np.multiply(values, factor, out=entries[:, part])
            entries = entries.reshape(len(stations), -1) ** self.power
            largest = float(np.abs(entries).max())
            assert self.weights is not None
            entries -= self.weights[rows[block]] @ seen
            cells: Any = reduce(
                lambda flat, pair: _combined(flat, pair[0][block], pair[1]),
                zip(columns, shape[1:], strict=True),
                np.arange(layers.start, layers.stop)[None],
            )
            if self.numbers is not None:
                cells = self.numbers[cells]
            yield rows[block], entries, largest, cells

    def _seen_by_nodes(self, plane: int, layers: slice, sides: list[Any], component: Any) -> Array:
        """Return what the nodes give for the same cells, (n_nodes, n_near)."""
        n_planes = self.stencil.n_planes
        table = self._half(plane, layers, tuple(side.n_steps for side in sides), component)
        for i, side in enumerate(sides):
            table = side.from_half(table, 2 + 2 * i, parity(component, i + 1) ** self.power)
        # (planes, layers, nodes, columns, ...) to (nodes, ..., planes, layers, columns, ...)
        n = len(sides)
        of_nodes, of_columns = [2 + 2 * i for i in range(n)], [3 + 2 * i for i in range(n)]
        table = table.transpose(*of_nodes, 0, 1, *of_columns)
        return table.reshape(n_planes * len(self.stencil.offsets) ** n, -1)

    def _half(self, plane: int, layers: slice, n_steps: tuple[int, ...], component: Any) -> Array:
        """Return half a table of offsets to the nodes of a slab, (n_planes, n_layers, ...)."""
        kept = self._halves.get((plane, component))
        if kept is None or any(n > m for n, m in zip(n_steps, kept.shape[2:], strict=True)):
            if kept is not None:  # more than is needed, since the next home may need more
                n_steps = tuple(n + n // 4 for n in np.maximum(n_steps, kept.shape[2:]).tolist())
            geometry, nodes = self.geometry, self.layout.nodes
            # From half a column on, as the tables of the far field.
            halves = [h * np.arange(n + 1.0) for n, h in zip(n_steps, nodes.spacings, strict=True)]
            n_planes, factor = self.stencil.n_planes, geometry.factor(component)
            kept = np.empty((n_planes, layers.stop - layers.start, *n_steps))
            z = geometry.mesh.edges[0][layers.start : layers.stop + 1]
            for of_plane, depth in zip(kept, nodes.planes[plane : plane + n_planes], strict=True):
                edges = [e[None] for e in (z - depth, *halves)]
                for part, (cells,) in attraction(edges, geometry.kernel, component):
                    of_plane[part] = (factor * cells) ** self.power
            self._halves = {(plane, component): kept}
        return kept


class _Even:
    """The near columns of stations among equal columns, along one axis."""

    def __init__(self, axis: Axis, spacing: float, n_beside: int, offsets: Indices) -> None:
        self.axis, self.spacing = axis, spacing
        self.beside = np.arange(-n_beside, n_beside + 1)
        steps = self.beside - offsets[:, None]
        # The centre of a column is half a column after its corner.
        self.index, self.sign = np.where(steps < 0, -1 - steps, steps), np.where(steps < 0, -1, 1)
        self.n_steps = int(self.index.max()) + 1

    def columns(self, home: Indices) -> Indices:
        """Return the near columns of the mesh, (n_stations, n_near), -1 where there is none."""
        columns = home[:, None] - self.axis.shift + self.beside
        inside = (columns >= 0) & (columns < len(self.axis.edges) - 1)
        return np.where(inside, columns, -1)

    def edges(self, coordinate: Array, place: Array) -> Array:
        """Return their edges less the station, (n_stations, n_near + 1)."""
        return self.spacing * (np.append(self.beside, self.beside[-1] + 1) - place[:, None])

    def from_half(self, table: Array, axis: int, sign: int) -> Array:
        """Return what nodes see of the columns, from a table of one half, as two axes."""
        table = np.take(table, self.index, axis=axis)
        if sign < 0:
            shape = [1] * table.ndim
            shape[axis : axis + 2] = self.sign.shape
            table = table * self.sign.reshape(shape)
        return table


class _Uneven:
    """The near columns of one home of which some are wider than those of the lattice."""

    def __init__(self, axis: Axis, home: int, n_beside: int, offsets: Indices, power: int) -> None:
        self.axis = axis
        first, last = axis.footprints.T
        near = np.flatnonzero((last >= home - n_beside) & (first <= home + n_beside))
        self.any = len(near) > 0
        # With those between, which may be near only through the end of another column.
        self.near = np.arange(near[0], near[-1] + 1) if self.any else np.array([0])
        low, high = first[self.near].min(), last[self.near].max() + 1
        weights = axis.resampling(power)
        assert weights is not None
        self.weights = weights[low:high, self.near]
        steps = np.arange(low, high) - home - offsets[:, None]
        self.index, self.sign = np.where(steps < 0, -1 - steps, steps), np.where(steps < 0, -1, 1)
        self.n_steps = int(self.index.max()) + 1

    def columns(self, home: Indices) -> Indices:
        columns = self.near if self.any else -np.ones_like(self.near)
        return np.broadcast_to(columns, (len(home), len(self.near)))

    def edges(self, coordinate: Array, place: Array) -> Array:
        edges = self.axis.edges[self.near[0] : self.near[-1] + 2]
        return edges - coordinate[:, None]

    def from_half(self, table: Array, axis: int, sign: int) -> Array:
        # Steps from nodes to lattice columns, and their weights, as one matrix.
        n_nodes, n_lattice = self.index.shape
        maps = np.zeros((n_nodes, len(self.near), table.shape[axis]))
        signs = self.sign if sign < 0 else np.ones_like(self.sign)
        for k in range(n_lattice):
            maps[np.arange(n_nodes), :, self.index[:, k]] += signs[:, k, None] * self.weights[k]
        found = np.tensordot(table, maps, axes=(axis, 2))
        return np.moveaxis(found, (-2, -1), (axis, axis + 1))


def _combined(flat: Indices, step: Indices, n: int) -> Indices:
    """Return flat indices with one more axis, -1 where either is."""
    both = flat[:, :, None] * n + step[:, None]
    if flat.min() >= 0 and step.min() >= 0:
        return both.reshape(len(both), -1)
    none = (flat[:, :, None] < 0) | (step[:, None] < 0)
    return np.where(none, -1, both).reshape(len(both), -1)
