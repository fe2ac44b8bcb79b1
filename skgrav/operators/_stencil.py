"""Weights that interpolate fields of distant sources from lattice nodes to any station.

Polynomials would need a finer lattice: only fields that are harmonic near a station have to be met,
and so few nodes suffice. The weights are fitted to the fields of sources around the station.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.polynomial import chebyshev
from scipy import linalg
from threadpoolctl import threadpool_limits

from skgrav._typing import Array, Indices

#: Chebyshev points of sources along each axis of a face, by dimension.
_SOURCES = {2: 40, 3: 12}


@dataclass(frozen=True)
class Stencil:
    """Nodes around the home cell of a station: home column along each horizontal axis, one slab.

    Lengths are in units of the wider column. Planes of nodes are one such unit apart, and stations
    lie between the two in the middle.
    """

    #: Nodes along each horizontal axis, an even number: they are at corners of columns.
    width: int
    #: Number of planes, an even number.
    n_planes: int
    #: Distance of the sources from the home cell that the weights are fitted to, in columns.
    reach: int
    #: Width of columns along each horizontal axis.
    columns: tuple[float, ...]
    #: Chebyshev points of the table of weights along each axis of the home cell.
    n_points: int
    #: Singular values below this fraction of the largest are cut off.
    cut: float
    #: Scales of the boxes of sources.
    shells: tuple[float, ...]
    #: Power of the fields that are interpolated: 1, or 2 for squares of gravity.
    power: int = 1

    @property
    def offsets(self) -> Indices:
        """Nodes relative to the corner of the home column, along one horizontal axis."""
        return np.arange(self.width) - (self.width // 2 - 1)

    @property
    def planes(self) -> Indices:
        """Planes relative to the one above the station."""
        return np.arange(self.n_planes) - (self.n_planes // 2 - 1)

    @property
    def nodes(self) -> Array:
        """Coordinates (n_nodes, ndim), in the order (horizontal axes, planes)."""
        horizontal = [self.offsets * h for h in self.columns]
        grid = np.meshgrid(*horizontal, self.planes.astype(float), indexing="ij")
        return np.stack([grid[-1], *grid[:-1]], axis=-1).reshape(-1, len(grid))

    def weights(self, place: Array) -> Array:
        """Return the weights of the nodes, (n_stations, n_nodes).

        `place` has the coordinates of each station within its home cell, from 0 to 1 along each
        axis, depth first.
        """
        powers = self.degrees
        terms = [chebyshev.chebvander(2 * x - 1, self.n_points - 1) for x in place.T]
        basis = terms[0][:, powers[:, 0]]
        for term, power in zip(terms[1:], powers.T[1:], strict=True):
            basis *= term[:, power]
        return basis @ _table(self)

    @property
    def degrees(self) -> Indices:
        """Degrees of the polynomials of the table along each axis, (n_polynomials, ndim)."""
        every = np.indices((self.n_points,) * (1 + len(self.columns))).reshape(
            1 + len(self.columns), -1
        )
        return every[:, every.sum(axis=0) < self.n_points].T


@lru_cache(maxsize=16)
def _table(stencil: Stencil) -> Array:
    """Return the Chebyshev coefficients of the weights, (n_polynomials, n_nodes)."""
    ndim, n_points = 1 + len(stencil.columns), stencil.n_points
    points = chebyshev.chebpts1(n_points)
    # Weights at a place that is mirrored along an axis are those of the mirrored nodes.
    half = (points[: (n_points + 1) // 2] + 1) / 2
    unit = np.stack(np.meshgrid(*[half] * ndim, indexing="ij"), -1).reshape(-1, ndim)
    # A small problem, which threads of BLAS would slow down by far on a busy machine.
    with threadpool_limits(1, user_api="blas"):
        at_nodes = _fields(stencil, stencil.nodes)
        U, s, Vt = linalg.svd(at_nodes, full_matrices=False, check_finite=False)
        kept = s > stencil.cut * s[0]
        inverse = (Vt[kept].T / s[kept]) @ U[:, kept].T
        weights = inverse @ _fields(stencil, unit * [1.0, *stencil.columns])
        # From values at the points to coefficients, axis by axis.
        to_degrees = np.linalg.inv(chebyshev.chebvander(points, n_points - 1))
        # Axes of places, depth first, and of nodes, depth last.
        n_nodes = *[stencil.width] * (ndim - 1), stencil.n_planes
        values = weights.T.reshape(*[len(half)] * ndim, *n_nodes)
        for axis in range(ndim):
            mirrored = np.flip(values, (axis, ndim + (axis - 1) % ndim))
            mirrored = mirrored[(slice(None),) * axis + (slice(n_points % 2, None),)]
            values = np.concatenate([values, mirrored], axis=axis)
        values = values.reshape(*[n_points] * ndim, -1)
        for axis in range(ndim):
            values = np.moveaxis(np.tensordot(to_degrees, values, axes=(1, axis)), 0, axis)
    table = values[tuple(stencil.degrees.T)]
    table.setflags(write=False)
    return table


def _fields(stencil: Stencil, points: Array) -> Array:
    """Return the fields of all sources at some points, (n_fields, n_points)."""
    fields = []
    for scale in stencil.shells:
        offsets = np.moveaxis(_sources(stencil, scale)[:, None] - points, -1, 0)
        r2 = np.sum(offsets**2, axis=0)
        if stencil.power == 2:
            fields += [scale**3 * d * d / r2 ** len(offsets) for d in offsets]
        elif len(offsets) == 3:
            fields.append(scale / np.sqrt(r2))
        else:
            fields += [scale * d / r2 for d in offsets]
    return np.concatenate(fields)


def _sources(stencil: Stencil, scale: float) -> Array:
    """Return Chebyshev points on the faces of the near box, (n_sources, ndim)."""
    ndim = 1 + len(stencil.columns)
    middle = np.array([1.0, *stencil.columns]) / 2
    half = scale * (middle + stencil.reach)
    ticks = chebyshev.chebpts1(_SOURCES[ndim])
    faces = []
    for axis, side in product(range(ndim), (-1.0, 1.0)):
        face = np.stack(np.meshgrid(*[ticks] * (ndim - 1), indexing="ij"), -1).reshape(-1, ndim - 1)
        faces.append(np.insert(face, axis, side, axis=1))
    return middle + half * np.concatenate(faces)
