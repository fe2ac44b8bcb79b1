"""How stations lie: spacing, lattice, extent, stations far from the others, degrees for metres."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from scipy.spatial import KDTree

from skgrav._typing import Array, Mask
from skgrav._warnings import warn
from skgrav.geometry._values import AXES

#: Ratio of distances to the next neighbour and to the one after it, above which the nearer counts
#: as a repeated station, and number of neighbours looked at.
_REPEATED, _NEIGHBOURS = 5.0, 4

#: Distance from the median station, in units of that within which four of five stations lie, above
#: which a station does not belong to the survey.
_FAR, _MOST = 10.0, 0.8

#: Distance of coordinates from a lattice, in steps of it, that counts as rounding.
_LATTICE = 1e-3

#: Spacing below which coordinates are degrees, in metres: gravimeters do not stand closer; and the
#: one below which they are where heights differ by more than the extent of the survey.
_DEGREES, _DEGREES_RELIEF = 0.1, 1.0

#: The way from longitude and latitude to metres.
PROJECTION = (
    "Longitude and latitude are projected by x, y = pyproj.Transformer.from_crs('EPSG:4326', "
    "'EPSG:326..', always_xy=True).transform(longitude, latitude), with the code of your UTM zone."
)


class Layout:
    """Horizontal positions of the stations of a survey, without those far from all others."""

    def __init__(self, stations: Array) -> None:
        self.stations, self.ndim = stations, stations.shape[1]
        self.near = _near(stations[:, 1:])
        #: Positions, each once.
        self.positions = np.unique(stations[self.near, 1:], axis=0)
        self.low, self.high = self.positions.min(axis=0), self.positions.max(axis=0)

    @cached_property
    def extent(self) -> float:
        """Longest extent along an axis, 0 if all positions are the same."""
        extent = float((self.high - self.low).max())
        return extent if extent > 1e-9 * float(np.abs(self.positions).max()) else 0.0

    @cached_property
    def spacing(self) -> float:
        """Median distance to the nearest neighbour; infinite for a single position.

        Repeated stations some metres apart count once.
        """
        return _spacing(self.positions) if self.extent else float("inf")

    def step(self, axis: int) -> float | None:
        """Return the step of the lattice on which coordinates lie along an axis, if they do."""
        along = np.unique(self.positions[:, axis]) - self.low[axis]
        gaps = np.diff(along)
        gaps = gaps[gaps > 0.02 * self.spacing]
        if not gaps.size or gaps.min() < self.spacing / 4:
            return None
        step = float(gaps.min())
        for _ in range(2):  # a mean over all steps rounds less than the smallest gap
            number = np.rint(along / step)
            step = float(along[-1] / number[-1])
        return step if np.abs(along - number * step).max() <= _LATTICE * step else None

    @cached_property
    def surface(self) -> Array:
        """The highest station at each position, (n_positions, ndim)."""
        stations = self.stations[self.near]
        order = np.lexsort((stations[:, 0], *stations.T[1:]))
        first = np.r_[True, np.any(np.diff(stations[order, 1:], axis=0) != 0, axis=1)]
        return stations[order][first]

    @cached_property
    def deepest(self) -> float:
        """Largest depth of a station below another one at the same position."""
        stations = self.stations[self.near]
        at = KDTree(self.surface[:, 1:]).query(stations[:, 1:])[1]
        return float((stations[:, 0] - self.surface[at, 0]).max())

    def warn_far(self) -> None:
        """Warn of stations far from all others."""
        far = np.flatnonzero(~self.near)
        if far.size:
            place = _place(self.stations[far[0]], self.ndim)
            warn(
                f"{far.size} of {len(self.near)} stations of 'survey' lie more than {_FAR:g} times "
                f"as far from the middle as most others, the first, station {far[0]}, at {place}: "
                "the mesh does not extend to them. Correct their coordinates, or leave them out."
            )


def _near(positions: Array) -> Mask:
    if len(positions) < 5:
        return np.ones(len(positions), dtype=bool)
    away = np.linalg.norm(positions - np.median(positions, axis=0), axis=1)
    most = float(np.quantile(away, _MOST, method="lower"))
    return (away <= _FAR * most) | (most == 0.0)


def _spacing(positions: Array) -> float:
    """Return the median distance between neighbouring positions, at least two."""
    n = min(_NEIGHBOURS, len(positions) - 1)
    centred = positions - positions.mean(axis=0)  # UTM coordinates lose digits in squares
    distance = KDTree(centred).query(centred, n + 1)[0]
    medians = np.median(distance[:, 1:], axis=0)
    apart = np.flatnonzero(medians[1:] > _REPEATED * medians[:-1])
    return float(medians[apart[-1] + 1 if apart.size else 0])


def _place(station: Array, ndim: int) -> str:
    coordinates = zip(AXES[ndim], station, strict=True)
    return ", ".join(f"{name} = {value:.10g}" for name, value in coordinates) + " m"


def degrees(stations: Array) -> str | None:
    """Say where horizontal coordinates (z, x) or (z, y, x) seem to be degrees, not metres."""
    layout = Layout(stations)
    largest = np.abs(layout.positions).max(axis=0)
    if not layout.extent or (np.sort(largest) > [90, 360][-len(largest) :]).any():
        return None
    relief = float(np.ptp(stations[:, 0]))
    close = layout.spacing < _DEGREES
    steep = layout.ndim == 3 and len(layout.positions) > 3 and relief > layout.extent
    if not close and not (steep and layout.spacing < _DEGREES_RELIEF):
        return None
    ranges = [
        f"{name} = {a:.6g} to {b:.6g}"
        for name, a, b in zip(AXES[layout.ndim][1:], layout.low, layout.high, strict=True)
    ]
    way = PROJECTION
    if layout.ndim == 3:
        y, x = (layout.low + layout.high) / 2
        zone = (32700 if y < 0 else 32600) + int((x + 180) // 6) % 60 + 1
        way = way.replace("'EPSG:326..'", f"'EPSG:{zone}'").replace("your", "their")
    return (
        f"has stations at {' and '.join(ranges)}, {layout.spacing:.2g} apart: these seem to be "
        f"degrees, or kilometres; give metres. {way}"
    )


def by_axis_names(points: Any, name: str) -> Any:
    """Return the columns of a data frame in the order of axes; other points as they are."""
    names = list(getattr(points, "columns", ()))
    if not any(isinstance(n, str) for n in names):
        return points
    for axes in AXES.values():
        if len(names) == len(axes) and set(names) == set(axes):
            return points[list(axes)]
    geographic = any(str(n).lower().startswith(("lon", "lat")) for n in names)
    raise ValueError(
        f"'{name}' has the columns {names}; they must be z, x or z, y, x, in metres and z "
        f"positive down. Select and rename them, or drop the names by {name}.to_numpy()."
        + (f" {PROJECTION}" if geographic else "")
    )
