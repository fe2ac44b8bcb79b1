"""Where the stations of a survey lie among planes of lattice nodes, and the columns of a mesh."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import prod

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from skgrav._typing import Array, Indices
from skgrav.geometry import AXES, Mesh

#: Widths that differ by less than this fraction are equal.
_EVEN = 1e-8

#: Largest number of lattice columns for one column of the mesh, and least fraction of equal ones.
_LATTICE_COLUMNS, _CORE = 8, 0.25


@dataclass(frozen=True)
class Axis:
    """Columns along one horizontal axis as columns of a lattice, all of one width."""

    edges: Array
    #: Width of the lattice's columns, where its first begins, and their number.
    spacing: float
    origin: float
    count: int
    #: Lattice column of the mesh's first column, were it as wide as the others.
    shift: int
    #: Number of lattice columns that stand for the end of a wider column.
    moments: int
    #: Whether the mass of a column is at its centre.
    points: bool
    #: Range of lattice columns that are each one column and part of no other; None if all are.
    even: tuple[int, int] | None = None

    @classmethod
    def of(cls, edges: Array, moments: int, points: bool = False) -> Axis:
        """Find the columns of equal width, and a lattice that holds those beside them, too."""
        widths = np.diff(edges)
        spacing = float((edges[-1] - edges[0]) / len(widths))
        furthest = np.spacing(np.abs(edges).max()) / spacing
        if np.ptp(widths) <= (_EVEN + 8 * furthest) * spacing:
            return cls(edges, spacing, float(edges[0]), len(widths), 0, moments, points)
        first, last = _longest_run(widths)
        spacing = float((edges[last] - edges[first]) / (last - first))
        before = int(np.ceil((edges[first] - edges[0]) / spacing)) + moments
        after = int(np.ceil((edges[-1] - edges[last]) / spacing)) + moments
        origin = float(edges[first] - before * spacing)
        even = before + moments // 2, before + last - first - moments // 2
        count = before + last - first + after
        return cls(edges, spacing, origin, count, before - first, moments, points, even)

    @property
    def obstacle(self) -> str:
        """Why the columns do not fit a lattice, a clause that follows "since", or nothing."""
        n = len(self.edges) - 1
        if self.even is None:
            return ""
        widths = np.diff(self.edges)
        uneven = f"are {widths.min():.7g} to {widths.max():.7g} m wide"
        n_even = self.even[1] - self.even[0] + self.moments
        if n_even < max(2, _CORE * n):
            return f"{uneven}, too few of them equally wide"
        if self.count > _LATTICE_COLUMNS * n + 2 * self.moments:
            return f"{uneven}, {self.count} times {self.spacing:.7g} m in all"
        return ""

    @cached_property
    def _weights(self) -> Array | None:
        if self.even is None:
            return None
        weights = np.zeros((self.count, len(self.edges) - 1))
        ends = (self.edges - self.origin) / self.spacing
        ends = np.where(np.abs(ends - np.rint(ends)) < 1e-6, np.rint(ends), ends)
        for column, (a, b) in zip(weights.T, pairwise(ends), strict=True):
            first, last = int(np.ceil(a)), int(np.floor(b))
            if a == first and b == first + 1:
                column[first] = 1.0
                continue
            if self.points:
                pieces = [((a + b) / 2, (a + b) / 2)]
            else:
                column[first:last] += 1.0
                pieces = [(a, b)] if first > last else [(a, first), (last, b)]
            for start, stop in pieces:
                if stop > start or self.points:
                    low = int(np.rint((start + stop) / 2)) - self.moments // 2
                    found = _of_same_moments(start - low, stop - low, self.moments)
                    column[low : low + self.moments] += found * (b - a if self.points else 1.0)
        return weights

    def resampling(self, power: int = 1) -> Array | None:
        """Return weights (n_lattice, n_columns) of lattice columns for each column.

        A column consists of whole lattice columns and two ends, for which some around them stand
        that have the same moments; so they do for a mass at its centre. None if columns are those
        of the lattice. For squares of fields, which hardly differ along a distant column, each
        counts as often as the column is wide.
        """
        if self._weights is None or power == 1:
            return self._weights
        return self._weights * (np.diff(self.edges) / self.spacing) ** (power - 1)

    @cached_property
    def footprints(self) -> Indices:
        """First and last lattice column that stands for each column, (n_columns, 2)."""
        assert self._weights is not None
        used = self._weights != 0
        return np.stack([used.argmax(0), self.count - 1 - used[::-1].argmax(0)], axis=1)

    def position(self, coordinate: Array) -> tuple[Indices, Array]:
        """Return the lattice columns of coordinates, and places in them from 0 to 1."""
        steps = (coordinate - self.origin) / self.spacing
        home = np.floor(steps)
        return home.astype(np.intp), steps - home

    def is_even(self, home: Indices, n_beside: int) -> NDArray[np.bool_]:
        """Return whether all lattice columns around a home are columns, or beside the mesh."""
        if self.even is None:
            return np.ones(len(home), dtype=bool)
        return (home - n_beside >= self.even[0]) & (home + n_beside < self.even[1])


def _of_same_moments(start: float, stop: float, n: int) -> Array:
    """Return weights of `n` unit intervals from 0 on that have the moments of another one.

    If its length is 0, weights of their middles that have the moments of a unit mass there.
    """
    powers = np.arange(1, n + 1)
    if start == stop:
        middles = np.arange(n) + 0.5 - n / 2
        return np.linalg.solve(
            middles ** (powers[:, None] - 1.0), (start - n / 2) ** (powers - 1.0)
        )
    sides = (np.arange(n + 1.0) - n / 2)[:, None] ** powers / powers
    ends = (np.array([start, stop]) - n / 2)[:, None] ** powers / powers
    return np.linalg.solve(np.diff(sides, axis=0).T, np.diff(ends, axis=0)[0])


def _longest_run(widths: Array) -> tuple[int, int]:
    """Return the first and the last but one of the most neighbours of equal width."""
    breaks = np.abs(np.diff(widths)) > _EVEN * 100 * widths[:-1]
    ends = np.concatenate([[0], np.flatnonzero(breaks) + 1, [len(widths)]])
    longest = int(np.argmax(np.diff(ends)))
    return int(ends[longest]), int(ends[longest + 1])


@dataclass(frozen=True)
class Nodes:
    """Planes of nodes at the corners of lattice columns."""

    #: Coordinates of the planes, positive down.
    planes: Array
    axes: tuple[Axis, ...]
    #: Lengths of the FFTs along each horizontal axis, even.
    lengths: tuple[int, ...]
    #: Number of offsets that occur between nodes and columns, to one side.
    furthest: tuple[int, ...]
    #: Edges of the layers.
    layers: Array
    #: Decay of wavenumbers that are left out.
    cutoff: float
    #: Nodes that stations use along each horizontal axis, modulo the lengths.
    used: tuple[Indices, ...]

    @property
    def spacings(self) -> tuple[float, ...]:
        """Distance of nodes along each horizontal axis."""
        return tuple(axis.spacing for axis in self.axes)

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of lattice columns along each horizontal axis."""
        return tuple(axis.count for axis in self.axes)

    @property
    def n_layers(self) -> int:
        """Number of layers of the mesh."""
        return len(self.layers) - 1

    @property
    def groups(self) -> list[tuple[slice, tuple[int, ...]]]:
        """Slices of layers and the number of wavenumbers that they need along each axis.

        Fields decay as ``exp(-k d)`` with the distance d between layer and plane; what is below
        `cutoff` is left out.
        """
        above = self.layers[:-1, None] - self.planes
        below = self.planes - self.layers[1:, None]
        gap = np.maximum(np.maximum(above, below), 0.0).min(axis=1)
        lengths, spacings = np.array(self.lengths), np.array(self.spacings)
        # As many wavenumbers as offsets that do not occur need to hide a step.
        room = 2 * (lengths // 2 - self.furthest) * spacings
        distance = np.clip(gap[:, None], 1e-6 * spacings, room)
        whole = lengths // 2 + 1
        wanted = -np.log(self.cutoff) / (2 * np.pi) * lengths * spacings / distance
        needed = np.minimum(np.ceil(wanted) + 1, whole).astype(np.intp)
        # Layers that need between 1 / 2**i and 1 / 2**(i+1) of the wavenumbers are one group.
        group = np.floor(np.log2((whole / needed).min(axis=1)))
        first = [0, *(np.flatnonzero(np.diff(group)) + 1).tolist()]
        last = [*first[1:], self.n_layers]
        return [
            (slice(i, j), tuple(map(int, needed[i:j].max(axis=0))))
            for i, j in zip(first, last, strict=True)
        ]


@dataclass(frozen=True)
class Layout:
    """Stations in home cells between nodes, and those of which rows are stored instead."""

    nodes: Nodes
    #: Indices of the stations among the nodes, and of the others.
    stations: Indices
    others: Indices
    #: Home column in the lattice along each horizontal axis, (n_stations, n_horizontal).
    column: Indices
    #: First of the planes that a station uses, (n_stations,).
    plane: Indices
    #: Place in the home cell, from 0 to 1 along each axis, depth first.
    place: Array

    @classmethod
    def of(
        cls,
        mesh: Mesh,
        stations: Array,
        width: int,
        n_planes: int,
        moments: int,
        points: bool,
        cutoff: float,
    ) -> Layout:
        """Place planes through the stations, where that takes less than the rows of a matrix."""
        axes = tuple(Axis.of(e, moments, points) for e in mesh.edges[1:])
        step = max(axis.spacing for axis in axes)
        found = [axis.position(s) for axis, s in zip(axes, stations.T[1:], strict=True)]
        column = np.stack([home for home, _ in found], axis=1)
        slab = _slabs(stations[:, 0], step)[0]
        kept = _among_nodes(mesh, axes, column, slab, width, n_planes, cutoff)
        chosen = np.flatnonzero(kept)
        slab, place, start = _slabs(stations[chosen, 0], step)
        used = np.unique(slab[:, None] + np.arange(n_planes))
        planes = start + step * (used - (n_planes // 2 - 1))
        furthest = _furthest(axes, column[chosen], width)
        lengths = _lengths(furthest, cutoff)
        nodes_used = _used(column[chosen], width, lengths)
        nodes = Nodes(planes, axes, lengths, furthest, mesh.edges[0], cutoff, nodes_used)
        places = np.stack([place, *(inside[chosen] for _, inside in found)], axis=1)
        first = np.searchsorted(used, slab)
        return cls(nodes, chosen, np.flatnonzero(~kept), column[chosen], first, places)


def obstacle(mesh: Mesh, moments: int) -> str:
    """Return why there is no lattice of the mesh's columns, a clause that follows "since"."""
    for name, edges in zip(AXES[mesh.ndim][1:], mesh.edges[1:], strict=True):
        found = Axis.of(edges, moments).obstacle
        if found:
            return f"the columns along {name} {found}"
    return ""


def _slabs(z: Array, step: float) -> tuple[Indices, Array, float]:
    """Return slabs of one step that hold heights, the places in them, and where they start."""
    if not len(z):
        return np.empty(0, dtype=np.intp), np.empty(0), 0.0
    low, high = float(z.min()), float(z.max())
    n_slabs = max(1, int(np.ceil((high - low) / step - 1e-9)))
    start = (low + high - n_slabs * step) / 2
    slab = np.clip(np.floor((z - start) / step), 0, n_slabs - 1)
    return slab.astype(np.intp), (z - start) / step - slab, start


def _furthest(axes: tuple[Axis, ...], column: Indices, width: int) -> tuple[int, ...]:
    """Return the number of offsets that occur between nodes and columns, to one side."""
    return tuple(
        int(max(axis.count - home.min() + width // 2 - 1, home.max() + width // 2))
        if len(home)
        else axis.count
        for axis, home in zip(axes, column.T, strict=True)
    )


def _used(column: Indices, width: int, lengths: tuple[int, ...]) -> tuple[Indices, ...]:
    """Return the range of nodes that stations use along each horizontal axis."""
    if not len(column):
        return tuple(np.empty(0, dtype=np.intp) for _ in lengths)
    return tuple(
        np.arange(home.min() - width // 2 + 1, home.max() + width // 2 + 1) % n
        for home, n in zip(column.T, lengths, strict=True)
    )


def _lengths(furthest: tuple[int, ...], cutoff: float) -> tuple[int, ...]:
    """Return even lengths of FFTs at which offsets to both sides do not overlap.

    With as much room between them that half of the wavenumbers are enough for deep layers.
    """
    room = int(np.ceil(-np.log(cutoff) / np.pi))
    return tuple(2 * fft.next_fast_len(n + room, real=True) for n in furthest)


def _among_nodes(
    mesh: Mesh,
    axes: tuple[Axis, ...],
    column: Indices,
    slab: Indices,
    width: int,
    n_planes: int,
    cutoff: float,
) -> NDArray[np.bool_]:
    """Return for which stations nodes take less memory than their rows.

    Stations far beside the mesh make all FFTs longer, and few at a height of their own need planes.
    """
    counts = np.array([axis.count for axis in axes])
    beside = np.maximum(np.maximum(-column, column - counts + 1), 0).max(axis=1)
    best = np.zeros(len(column), dtype=bool)
    least = float(len(column) * mesh.n_cells)
    for reach in _reaches(int(beside.max())):
        kept = beside <= reach
        if not kept.any():
            continue
        lengths = _lengths(_furthest(axes, column[kept], width), cutoff)
        of_plane = mesh.shape[0] * prod(n // 2 + 1 for n in lengths)
        kept[kept] = _worthwhile(slab[kept], n_planes, of_plane / mesh.n_cells)
        n_used = len(np.unique(slab[kept, None] + np.arange(n_planes)))
        size = float(n_used * of_plane + np.count_nonzero(~kept) * mesh.n_cells)
        if size < least:
            best, least = kept, size
    return best


def _reaches(furthest: int) -> Iterator[int]:
    """Yield distances beside the mesh, each twice the one before."""
    reach = 0
    while reach < furthest:
        yield reach
        reach = max(1, 2 * reach)
    yield furthest


def _worthwhile(slab: Indices, n_planes: int, price: float) -> NDArray[np.bool_]:
    """Return for each station whether those of its slab outnumber the `price` of planes it needs.

    `price` is that of one plane in stations.
    """
    distinct, label, n_stations = np.unique(slab, return_inverse=True, return_counts=True)
    # Wide gaps between slabs count as gaps that are just wide enough.
    steps = np.minimum(np.diff(distinct, prepend=distinct[0]), n_planes)
    first = np.cumsum(steps)
    kept = np.ones(len(distinct), dtype=bool)
    users = np.zeros(first[-1] + n_planes, dtype=np.intp)
    np.add.at(users, first[:, None] + np.arange(n_planes), 1)
    while kept.any():
        own = (users[first[:, None] + np.arange(n_planes)] == 1).sum(axis=1)
        loss = np.where(kept, own * price - n_stations, 0.0)
        worst = int(np.argmax(loss))
        if loss[worst] <= 0:
            break
        kept[worst] = False
        users[first[worst] : first[worst] + n_planes] -= 1
    return kept[label]
