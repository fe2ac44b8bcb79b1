"""Checks of mesh against survey: upside down, swapped axes, far apart, in kilometres or degrees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from skgrav._typing import Array
from skgrav._warnings import warn
from skgrav.geometry import AXES, PROJECTION, Mesh, Survey, degrees, in_cells

#: Distance of all stations from the mesh, in units of its largest extent, that counts as far off.
_FAR = 10

#: Ratio between the extents of stations and mesh above which one of them seems to be in km.
_KILOMETRES = 300

#: Ratio of depth and width of a mesh of metres and degrees.
_DEEP = 10

#: Ratio of the relief of a line of stations to its length.
_FLAT = 0.1


class PhysicsWarning(UserWarning):
    """Mesh and survey seem wrong, or the operator does not reproduce the training pairs."""


@dataclass(frozen=True)
class Arrangement:
    """Positions of stations relative to a mesh."""

    mesh: Mesh
    stations: Array

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the axes, depth first."""
        return AXES[self.mesh.ndim]

    @property
    def top(self) -> float:
        """Depth of the top of the mesh, positive down."""
        return float(self.mesh.edges[0][0])

    @property
    def bottom(self) -> float:
        """Depth of the bottom of the mesh."""
        return float(self.mesh.edges[0][-1])

    @property
    def extents(self) -> Array:
        """Lengths of the mesh along its axes."""
        return np.array([e[-1] - e[0] for e in self.mesh.edges])

    @property
    def sideways(self) -> Array:
        """Horizontal distance of each station from the mesh, (n_stations,)."""
        gaps = [
            np.maximum(np.maximum(e[0] - s, s - e[-1]), 0.0)
            for e, s in zip(self.mesh.edges[1:], self.stations.T[1:], strict=True)
        ]
        return np.sqrt(np.sum(np.square(gaps), axis=0))

    @property
    def plausible(self) -> bool:
        """Whether the stations are above the bottom of the mesh, and not far off."""
        near = self.sideways.min() <= _FAR * self.extents.max()
        return bool(near and self.stations[:, 0].max() < self.bottom)


def _columns_swapped(a: Arrangement) -> str | None:
    """Find stations given as (x, z) or (x, y, z), which appear as a vertical line."""
    lengths = np.ptp(a.stations, axis=0)
    above = a.stations[:, 0].min() < a.top - lengths[0] / 4
    below = a.stations[:, 0].max() > a.bottom + a.extents[0]
    if not above and not below:  # as in a borehole
        return None
    for axis in range(1, a.mesh.ndim):
        order = list(range(a.mesh.ndim))
        order[0], order[axis] = axis, 0
        # Elevations vary less than positions, and after swapping the stations are near the mesh.
        swapped = Arrangement(a.mesh, a.stations[:, order])
        if lengths[axis] < _FLAT * lengths[0] and swapped.plausible:
            given = [a.names[k] for k in order]
            return (
                f"'survey' has stations from z = {a.stations[:, 0].min():.7g} to "
                f"{a.stations[:, 0].max():.7g} m, which differ little in {a.names[axis]}, but "
                f"'mesh' lies at z = {a.top:.7g} to {a.bottom:.7g} m: the columns of the stations "
                f"seem to be ({', '.join(given)}). Give them as ({', '.join(a.names)})."
            )
    return None


def _upside_down(a: Arrangement) -> str | None:
    """Find a mesh above all stations."""
    if a.stations[:, 0].min() < a.bottom:
        return None
    return (
        f"'mesh' lies at z = {a.top:.7g} to {a.bottom:.7g} m, wholly above the stations of "
        f"'survey', the highest at z = {a.stations[:, 0].min():.7g} m. z is positive down: give "
        "depths as positive and heights as negative numbers, and the columns of the stations as "
        f"({', '.join(a.names)})."
    )


def _far_off(a: Arrangement) -> str | None:
    """Find stations that are all far from the mesh horizontally."""
    nearest = float(a.sideways.min())
    if nearest <= _FAR * a.extents.max():
        return None
    return (
        f"the stations of 'survey' are at least {nearest:.3g} m away from 'mesh', which is "
        f"{a.extents[1:].max():.3g} m wide: their data are hardly sensitive to its cells. Check "
        "that both have the same origin and unit, metres."
    )


def _in_degrees(a: Arrangement) -> str | None:
    """Find stations and columns in degrees, by layers that are in metres."""
    if a.mesh.ndim == 2 or a.extents[0] < _DEEP * a.extents[1:].max():
        return None
    seems = degrees(a.stations)
    return None if seems is None else f"'survey' {seems}"


def _kilometres(a: Arrangement) -> str | None:
    """Find stations or a mesh in kilometres while the other is in metres."""
    if len(a.stations) < 2:
        return None
    stations = float(np.ptp(a.stations[:, 1:], axis=0).max())
    mesh = float(a.extents[1:].max())
    column = min(float(w.min()) for w in a.mesh.widths[1:])
    # Wide padding may exceed a short line many times, but the line spans several columns.
    short = 0 < stations < min(column, mesh / _KILOMETRES)
    if not short and not stations > _KILOMETRES * mesh:
        return None
    return (
        f"the stations of 'survey' extend over {stations:.3g} m, but 'mesh' over {mesh:.3g} m: one "
        "of them seems to be in kilometres. Give both in metres."
        + ("" if degrees(a.stations) is None else f" {PROJECTION}")
    )


def _in_rock(a: Arrangement) -> str | None:
    """Find stations inside active cells, where the ground is known."""
    if a.mesh.active is None:
        return None
    inside = np.flatnonzero(in_cells(a.mesh.edges, a.mesh.active, a.stations))
    if not inside.size:
        return None
    first = ", ".join(str(i) for i in inside[:5]) + (", ..." if inside.size > 5 else "")
    place = ", ".join(
        f"{name} = {value:.7g}" for name, value in zip(a.names, a.stations[inside[0]], strict=True)
    )
    return (
        f"{inside.size} of {len(a.stations)} stations of 'survey' lie inside active cells of "
        f"'mesh': stations {first}, the first at {place} m. Make the cells that reach above a "
        "station inactive by mesh.below(topography, survey=survey), or correct the heights; z is "
        "positive down."
    )


def _inside(a: Arrangement) -> str | None:
    """Find stations inside the mesh, with cells above them."""
    if a.mesh.active is not None:
        return None
    rounding = 1e-9 * max(float(a.extents[0]), abs(a.top))
    depths = a.stations[:, 0] - a.top
    inside = (a.sideways == 0) & (depths > rounding)
    if not inside.any():
        return None
    deepest = float(depths[inside].max())
    lowest = float(a.stations[inside, 0].max())
    return (
        f"{np.count_nonzero(inside)} of {len(inside)} stations of 'survey' lie inside 'mesh', up "
        f"to {deepest:.4g} m below its top at z = {a.top:.7g} m: the cells above them count as "
        f"rock, not as air. Give a mesh whose top is at or below z = {lowest:.7g} m, unless the "
        "stations are underground; z is positive down."
    )


#: Checks, the most certain first, and whether the arrangement is impossible.
_CHECKS: tuple[tuple[Callable[[Arrangement], str | None], bool], ...] = (
    (_columns_swapped, True),
    (_upside_down, True),
    (_in_rock, True),
    (_in_degrees, False),
    (_kilometres, False),
    (_far_off, False),
    (_inside, False),
)


class CheckedGeometry:
    """Runs the checks when created; operators of equal geometry share the object."""

    def __init__(self, mesh: Mesh, survey: Survey) -> None:
        arrangement = Arrangement(mesh, survey.stations)
        for find, impossible in _CHECKS:
            found = find(arrangement)
            if found is None:
                continue
            if impossible:
                raise ValueError(found)
            warn(found, PhysicsWarning)
            return
