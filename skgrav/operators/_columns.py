"""Gravity of an interface under the stations: columns of rock whose lower end is unknown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from skgrav._typing import Array, Indices, Mask
from skgrav.geometry import AXES, Mesh, Survey
from skgrav.kernels import NODE_FUNCTIONS
from skgrav.operators._cells import UNITS

#: Gauss points over the depth of a column at a station, where the change of the contrast is added
#: to a closed form; they are dense at the upper end, at which the station may stand.
_CLOSE_POINTS = 20

#: Error of the quadrature for columns aside of a station.
_ACCURACY = 1e-7

#: Distance in widths beyond which the width of a column enters by its second moments.
_FAR = 9.0

#: Pairs of station and column computed together.
_BLOCK = 2**16


@dataclass(frozen=True)
class ContrastLaw:
    """Decay of a density contrast with the depth below the ground."""

    #: "constant", "exponential" or "parabolic".
    kind: str
    #: Depth over which it decays, in metres; negative where it grows.
    length: float = 1.0

    def factor(self, depth: Array) -> Array:
        """Return the contrast at depths below the ground, relative to that at the ground."""
        if self.kind == "constant":
            return np.ones_like(depth)
        if self.kind == "exponential":
            return np.exp(-depth / self.length)
        return (1.0 + depth / self.length) ** -2

    def integral(self, depth: Array) -> Array:
        """Return the integral of `factor` from the ground to depths below it."""
        if self.kind == "constant":
            return depth
        if self.kind == "exponential":
            return -self.length * np.expm1(-depth / self.length)
        return depth / (1.0 + depth / self.length)

    def depth(self, integral: Array) -> Array:
        """Return the depths of integrals, infinity where none is so large."""
        share = integral / self.length
        if self.kind == "constant":
            return integral
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.kind == "exponential":
                depth = -self.length * np.log1p(-share)
            else:
                depth = integral / (1.0 - share)
        return np.where(share < 1.0, depth, np.inf)


@dataclass(frozen=True)
class InterfaceModel:
    """Gravity at the stations of a survey of columns between a reference and an interface.

    A column of the mesh has the contrast of the rock above the interface to that below where the
    interface is below the reference, and the negative of it where it is above.
    """

    mesh: Mesh
    survey: Survey
    units: str
    #: Columns in use, as indices of the flattened horizontal axes, (n_columns,).
    columns: Indices
    #: Depth of the ground, and of the reference, (n_columns,).
    ground: Array
    reference: Array
    #: Contrast at the ground, (n_columns,).
    contrast: Array
    law: ContrastLaw

    @property
    def edges(self) -> tuple[tuple[Array, Array], ...]:
        """Lower and upper edge of each column along each horizontal axis."""
        index = np.unravel_index(self.columns, self.mesh.shape[1:])
        return tuple((e[i], e[i + 1]) for e, i in zip(self.mesh.edges[1:], index, strict=True))

    @property
    def slab(self) -> Array:
        """Vertical gravity of an infinite slab, per metre, with the contrast of each column."""
        ndim = self.mesh.ndim
        return (ndim - 1) * np.pi * UNITS[self.units][ndim] * self.contrast

    def slab_depth(self, gz: Array) -> Array:
        """Return the depths at which infinite slabs have a vertical gravity, (n_columns,)."""
        integral = self.law.integral(self.reference - self.ground)
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.ground + self.law.depth(integral + gz / self.slab)

    def gravity(self, depth: Array) -> Array:
        """Return the gravity of an interface, (n_data,)."""
        return self._evaluate(depth, None)

    def linearised(self, depth: Array) -> tuple[Array, Array]:
        """Return the gravity of an interface, and its derivatives, (n_data, n_columns).

        The derivative is the attraction of a thin sheet at the interface.
        """
        jacobian = np.empty((self.survey.n_data, len(self.columns)))
        return self._evaluate(depth, jacobian), jacobian

    def densities(self, depth: Array) -> Array:
        """Return mean contrasts of the cells, (n_cells,): of a cell that is cut, its share."""
        edges = self.mesh.edges[0][:, None]
        upper = np.minimum(depth, self.reference)
        lower = np.maximum(depth, self.reference)
        mass = self.law.integral(np.clip(edges, upper, lower) - self.ground)
        signed = np.sign(depth - self.reference) * self.contrast
        values = signed * np.diff(mass, axis=0) / np.diff(edges, axis=0)
        images = np.zeros((self.mesh.shape[0], int(np.prod(self.mesh.shape[1:]))))
        images[:, self.columns] = values
        return self.mesh.flatten(images.reshape(self.mesh.shape))

    def _evaluate(self, depth: Array, jacobian: Array | None) -> Array:
        survey, n_stations = self.survey, self.survey.n_stations
        factor = UNITS[self.units][self.mesh.ndim]
        at_interface = self.contrast * self.law.factor(depth - self.ground)
        g = np.zeros((len(survey.components), n_stations))
        if jacobian is None and np.array_equal(depth, self.reference):
            return g.ravel()
        derivative = None if jacobian is None else jacobian.reshape(*g.shape, -1)
        for stations in self._blocks():
            away = self._offsets(survey.stations[stations])
            for k, name in enumerate(survey.components):
                component = AXES[self.mesh.ndim].index(name)
                pulls = self._pulls(away, depth, component)
                g[k, stations] = factor * pulls.sum(axis=1)
                if derivative is not None:
                    sheets = self._sheets(away, depth, component)
                    np.multiply(factor * at_interface, sheets, out=derivative[k, stations])
        return g.ravel()

    def _blocks(self) -> Iterator[slice]:
        size = max(1, _BLOCK // len(self.columns))
        return (slice(i, i + size) for i in range(0, self.survey.n_stations, size))

    def _offsets(self, stations: Array) -> _Offsets:
        horizontal = [
            (low - s[:, None], high - s[:, None])
            for (low, high), s in zip(self.edges, stations.T[1:], strict=True)
        ]
        return _Offsets(stations[:, :1], horizontal)

    def _pulls(self, away: _Offsets, depth: Array, component: int) -> Array:
        """Return the attraction of each column at each station, (n_stations, n_columns)."""
        every = np.arange(len(depth))
        if (self.mesh.ndim, component) != (3, 0):
            return self._close(away, every, depth, component)
        pulls = self._aside(away.distant_sheet, every, depth, _FAR)
        not_far, close = away.zones(np.abs(depth - self.reference))
        for which, is_close in ((not_far & ~close, False), (close, True)):
            station, column = np.nonzero(which)
            pairs = away.pairs(station, column)
            if is_close:
                pulls[which] = self._close(pairs, column, depth[column], component)
            else:
                pulls[which] = self._aside(pairs.rectangle, column, depth[column], 1.0)
        return pulls

    def _close(self, away: _Offsets, column: Indices, depth: Array, component: int) -> Array:
        """Return attractions: closed form for the contrast of the upper end, plus its change."""
        reference, ground = self.reference[column], self.ground[column]
        upper, lower = np.minimum(depth, reference), np.maximum(depth, reference)
        start = self.law.factor(upper - ground)
        node = NODE_FUNCTIONS[self.mesh.ndim]
        pulls = start * (
            away.corners(node, lower, component) - away.corners(node, upper, component)
        )
        if self.law.kind != "constant":
            # Squares of the points are dense at the upper end.
            for u, w in _gauss(_CLOSE_POINTS):
                z = upper + u**2 * (lower - upper)
                change = (self.law.factor(z - ground) - start) * 2 * u * w * (lower - upper)
                pulls = pulls + change * away.sheets(z, component)
        return np.sign(depth - reference) * self.contrast[column] * pulls

    def _aside(
        self, sheet: Callable[[Array], Array], column: Indices, depth: Array, widths: float
    ) -> Array:
        """Return vertical attractions of columns at a distance of widths, by points over depth."""
        reference, ground = self.reference[column], self.ground[column]
        n_points = self._n_points(float(np.max(np.abs(depth - reference), initial=0.0)), widths)
        pulls: Any = 0.0
        for u, w in _gauss(n_points):
            z = reference + u * (depth - reference)
            pulls = pulls + w * self.law.factor(z - ground) * sheet(z)
        return self.contrast[column] * (depth - reference) * pulls

    def _n_points(self, thickness: float, widths: float) -> int:
        """Return the number of Gauss points for columns farther than widths and thickness."""
        width = min(float(w.min()) for w in self.mesh.widths[1:])
        distance = max(thickness, widths * width) / max(thickness, 1e-9 * width)
        # The integrand is analytic in an ellipse through the depth of the station.
        ellipse = 2 * distance + np.sqrt(4 * distance**2 + 1)
        n = int(np.ceil(-np.log(_ACCURACY) / (2 * np.log(ellipse))))
        if self.law.kind != "constant":
            n += int(np.ceil(min(thickness / abs(self.law.length), 8.0)))
        return max(n, 2)

    def _sheets(self, away: _Offsets, depth: Array, component: int) -> Array:
        """Return the attraction of a sheet of each column at its interface."""
        if (self.mesh.ndim, component) != (3, 0):
            return away.sheets(depth, component)
        sheets = away.distant_sheet(depth)
        station, column = np.nonzero(away.zones(np.zeros_like(depth))[0])
        sheets[station, column] = away.pairs(station, column).rectangle(depth[column])
        return sheets


@dataclass(frozen=True)
class _Offsets:
    """Offsets from stations to columns; of all pairs, or of some as vectors."""

    #: Depth of the stations.
    z: Array
    #: Offsets of the lower and upper edges along each horizontal axis.
    horizontal: list[tuple[Array, Array]]

    def pairs(self, station: Indices, column: Indices) -> _Offsets:
        """Return the offsets of pairs of station and column."""
        horizontal = [
            (low[station, column], high[station, column]) for low, high in self.horizontal
        ]
        return _Offsets(self.z[station, 0], horizontal)

    @cached_property
    def _centres2(self) -> list[Array]:
        return [((low + high) / 2) ** 2 for low, high in self.horizontal]

    @cached_property
    def _widths(self) -> list[Array]:
        """Width of each column along each axis, the same for all stations."""
        return [(high - low)[0] for low, high in self.horizontal]

    @cached_property
    def _moments(self) -> tuple[Array, Array]:
        """Squared horizontal distance, and sum of squares of coordinate times width."""
        (wy, wx), (cy, cx) = self._widths, self._centres2
        return cy + cx, wy * wy * cy + wx * wx * cx

    def zones(self, thickness: Array) -> tuple[Mask, Mask]:
        """Return which columns of a thickness are not far from a station, and which are close."""
        width = np.maximum(*self._widths)
        distance2 = self._moments[0]
        close = distance2 < (thickness + width) ** 2
        return (distance2 < (_FAR * width) ** 2) | close, close

    def corners(self, node: Any, depth: Array, component: int) -> Array:
        """Return the difference of a node function over the corners of columns at a depth."""
        z = depth - self.z
        if len(self.horizontal) == 1:
            ((low, high),) = self.horizontal
            return node((z, high), component) - node((z, low), component)
        y, x = self.horizontal
        return (
            node((z, y[1], x[1]), component)
            - node((z, y[1], x[0]), component)
            - node((z, y[0], x[1]), component)
            + node((z, y[0], x[0]), component)
        )

    def sheets(self, depth: Array, component: int) -> Array:
        """Return the attraction of sheets at a depth."""
        if (len(self.horizontal), component) == (2, 0):
            return self.rectangle(depth)
        return self.corners(_sheet_node, depth, component)

    def rectangle(self, depth: Array) -> Array:
        """Return the vertical attraction of rectangular sheets, their solid angle.

        In the plane of a sheet it is that just above.
        """
        z = depth - self.z
        below, angle = np.abs(z), []
        y, x = self.horizontal
        squares = z * z, [v * v for v in y], [v * v for v in x]
        for j in (0, 1):
            # The difference of two angles is that of the product of complex numbers.
            first, second = (
                (y[j] * x[i], below * np.sqrt(squares[0] + squares[1][j] + squares[2][i]))
                for i in (1, 0)
            )
            sine = first[0] * second[1] - first[1] * second[0]
            angle.append(np.arctan2(sine, first[1] * second[1] + first[0] * second[0]))
        return np.where(z < 0, -1.0, 1.0) * (angle[1] - angle[0])

    def distant_sheet(self, depth: Array) -> Array:
        """Return the vertical attraction of rectangular sheets, by mass and second moments."""
        (ly, lx), (distance2, moment) = self._widths, self._moments
        z = depth - self.z
        inverse = 1.0 / (distance2 + z * z)
        # z / r**3 plus width**2 / 24 times its second derivative along each axis.
        shape = 1.0 + (5.0 / 8.0 * moment * inverse - (ly * ly + lx * lx) / 8.0) * inverse
        return ly * lx * z * inverse * np.sqrt(inverse) * shape


def _gauss(n: int) -> list[tuple[float, float]]:
    """Return points and weights of Gauss's quadrature from 0 to 1."""
    points, weights = np.polynomial.legendre.leggauss(n)
    return list(zip((points + 1) / 2, weights / 2, strict=True))


def _sheet_node(offsets: tuple[Array, ...], component: int) -> Array:
    """Evaluate the function whose difference over corners is the attraction of a sheet.

    It is the derivative of the node function of a rectangle or prism with respect to depth.
    """
    z, *horizontal = offsets
    if component == 0:  # in two dimensions
        return np.where(z < 0, -1.0, 1.0) * np.arctan2(horizontal[0], np.abs(z))
    tiny = np.finfo(np.float64).tiny
    if len(horizontal) == 1:
        return 0.5 * np.log(np.maximum(z * z + horizontal[0] ** 2, tiny))
    along = horizontal[component - 1]
    across = horizontal[2 - component]
    rest = np.maximum(z * z + along * along, tiny)
    r = np.sqrt(rest + across * across)
    return -np.copysign(1.0, across) * (np.log(np.abs(across) + r) - 0.5 * np.log(rest))
