"""Sections of density with physical axes, depth down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skgrav._typing import Array, Mask
from skgrav.geometry import Mesh, Survey, core_of
from skgrav.plotting._drawing import axis_label, set_ticks, units_along

#: Sections more stretched than this are drawn to fill their axes, not to scale.
_STRETCHED = 5.0

#: Lines of the ground, in numbers of rows and columns, from which on they are drawn thin.
_LINES = 4

#: Stations of a map from which on their dots shrink.
_STATIONS = 600


@dataclass(frozen=True)
class Section:
    """Values in a plane of cells: a vertical section or a depth slice."""

    title: str
    #: Kind of values, which share colours: "density", "difference" or "std".
    kind: str
    values: Array
    #: Edges of the cells in metres, horizontal and vertical in the picture.
    x: Array
    y: Array
    xlabel: str
    ylabel: str
    #: Length unit of the picture in metres, and what ticks leave out in it, as `x` and `y`.
    scale: float
    offsets: tuple[float, float]
    #: Where other sections cut this one, in metres.
    cuts: tuple[float, float] | None = None
    #: Whether the vertical axis is positive down.
    down: bool = True
    #: Which cells are active; None if all are.
    active: Mask | None = None
    #: Whether the vertical axis shows elevations, the negative of z.
    elevation: bool = False
    #: Positions of stations in metres, (n_stations, 2), as `x` and `y`.
    stations: Array | None = None

    @property
    def ratio(self) -> float:
        """Height over width in the picture."""
        ratio = float(np.ptp(self.y) / np.ptp(self.x))
        return ratio if self.to_scale else 0.3 if ratio < 1 else 2.0

    @property
    def to_scale(self) -> bool:
        """Whether both axes have the same scale."""
        return bool(1 / _STRETCHED <= np.ptp(self.y) / np.ptp(self.x) <= _STRETCHED)

    def in_plane_of(self, other: Section | None) -> bool:
        """Return whether another section has the same axes."""
        return other is not None and self.x is other.x and self.y is other.y

    def in_row(self, name: str) -> Section:
        """Return the section with the name of its row in the label of its vertical axis."""
        return replace(self, ylabel=f"{name}\n{self.ylabel}")

    def draw(self, ax: Any, **keywords: Any) -> Any:
        """Draw the section and return its QuadMesh."""
        scale = self.scale
        x, y = self.x / scale, self._upright(self.y) / scale
        image = ax.pcolormesh(x, y, self.values, **keywords)
        ax.set(xlim=(x[0], x[-1]), ylim=(y[-1], y[0]) if self.down else (y[0], y[-1]))
        ax.set_title(self.title, fontsize="medium")
        set_ticks(ax.xaxis, self.offsets[0])
        set_ticks(ax.yaxis, self.offsets[1])
        # Small panels have room for few ticks.
        ax.locator_params(axis="x", nbins=4)
        ax.locator_params(axis="y", nbins=5)
        ax.set_aspect("equal" if self.to_scale else "auto")
        if self.active is not None:
            self._draw_ground(ax)
        if self.stations is not None:
            self._draw_stations(ax)
        if self.cuts is not None:
            style = {"color": "k", "linewidth": 0.8, "linestyle": "--", "alpha": 0.6}
            ax.axvline(self.cuts[0] / scale, **style)
            ax.axhline(self._upright(self.cuts[1]) / scale, **style)
        return image

    def _upright(self, y: Any) -> Any:
        """Return vertical positions as they are drawn."""
        return -y if self.elevation else y

    def _draw_stations(self, ax: Any) -> None:
        """Draw the stations, those above the cells on their upper edge."""
        assert self.stations is not None
        x, y = self.stations.T
        within = (x >= self.x[0]) & (x <= self.x[-1])
        if not self.down:
            within &= (y >= self.y[0]) & (y <= self.y[-1])
        x, y = x[within], y[within]
        size = 6.0 * min(1.0, max(0.1, _STATIONS / max(1, len(x))))  # so that densities are seen
        style: dict[str, Any] = {"marker": ".", "s": size, "color": "k", "linewidths": 0.0}
        if self.down:
            y = np.maximum(y, self.y[0])
            style = {"marker": "v", "s": 9.0, "color": "k", "linewidths": 0.0, "clip_on": False}
        ax.scatter(x / self.scale, self._upright(y) / self.scale, **style)

    def _draw_ground(self, ax: Any) -> None:
        """Draw the faces between active and inactive cells, which are left blank."""
        from matplotlib.collections import LineCollection

        assert self.active is not None
        x, y = self.x / self.scale, self._upright(self.y) / self.scale
        row, column = np.nonzero(np.diff(self.active.astype(np.int8), axis=0))
        flat = [[(x[j], y[i + 1]), (x[j + 1], y[i + 1])] for i, j in zip(row, column, strict=True)]
        row, column = np.nonzero(np.diff(self.active.astype(np.int8), axis=1))
        steep = [[(x[j + 1], y[i]), (x[j + 1], y[i + 1])] for i, j in zip(row, column, strict=True)]
        lines = [*flat, *steep]
        # In a slice near a rough surface there is a line beside most cells.
        width = 1.0 if len(lines) < _LINES * sum(self.active.shape) else 0.2
        ax.add_collection(LineCollection(lines, colors="k", linewidths=width))


def sections_of(
    mesh: Mesh,
    rho: Array,
    title: str,
    kind: str,
    at: Sequence[float] | None = None,
    *,
    depths: Sequence[float] | None = None,
    elevation: bool = False,
    survey: Survey | None = None,
) -> list[Section]:
    """Return the section of a 2D density, or a depth slice and two vertical sections in 3D.

    With `depths`, volumes are cut by a slice at each of them instead.
    """
    image, active = mesh.unflatten(rho), mesh.active
    if survey is None:
        sides = zip(mesh.edges[1:], core_of(mesh), strict=True)
        scale, unit, offsets = units_along(*(e[s.start : s.stop + 1] for e, s in sides))
    else:  # as in pictures of its data
        scale, unit, offsets = units_along(*survey.stations.T[1:])
    name, is_ = ("z", "= ") if has_elevations(mesh) else ("depth", "")
    if elevation:
        name, is_ = "elevation", ""
    stations = None if survey is None else survey.stations
    vertical = f"{name} ({unit})"
    if mesh.ndim == 2:
        z, x = mesh.edges
        across = axis_label("x", offsets[0], unit)
        places = None if stations is None else stations[:, ::-1]
        up: dict[str, Any] = {"active": active, "elevation": elevation, "stations": places}
        frame: Any = scale, (offsets[0], 0.0)
        return [Section(title, kind, image, x, z, across, vertical, *frame, **up)]
    z, y, x = mesh.edges
    north, across = (axis_label(name, o, unit) for name, o in zip("yx", offsets, strict=True))

    def position(axis: int, cell: int) -> str:
        sign = -1 if elevation and axis == 0 else 1
        return f"{coordinate(sign * mesh.centers[axis][cell], mesh.edges[axis], scale)} {unit}"

    def plan(k: int, cuts: tuple[float, float] | None = None) -> Section:
        at_z = f"{title}\n{name} {is_}{position(0, k)}"
        mask = None if active is None else active[k]
        places = None if stations is None else stations[:, :0:-1]
        parts: dict[str, Any] = {"active": mask, "stations": places}
        frame = scale, (offsets[1], offsets[0])
        return Section(at_z, kind, image[k], x, y, across, north, *frame, cuts, False, **parts)

    if depths is not None:
        return [plan(cell_of(mesh, 0, depth, "depths")) for depth in depths]
    at = strongest(mesh, rho) if at is None else at
    k, j, i = (cell_of(mesh, axis, value) for axis, value in enumerate(at))
    z0, y0, x0 = (float(c[n]) for c, n in zip(mesh.centers, (k, j, i), strict=True))
    along_x: dict[str, Any] = {"elevation": elevation}
    along_y = dict(along_x)
    if active is not None:
        along_x["active"], along_y["active"] = active[:, j], active[:, :, i]
    if stations is not None:  # in the row and the column that are cut
        in_row = (stations[:, 1] >= y[j]) & (stations[:, 1] < y[j + 1])
        in_column = (stations[:, 2] >= x[i]) & (stations[:, 2] < x[i + 1])
        along_x["stations"] = stations[in_row][:, [2, 0]]
        along_y["stations"] = stations[in_column][:, [1, 0]]
    at_y, at_x = f"y = {position(1, j)}", f"x = {position(2, i)}"
    frame_x, frame_y = (scale, (offsets[1], 0.0)), (scale, (offsets[0], 0.0))
    cuts_x, cuts_y = (x0, z0), (y0, z0)
    return [
        plan(k, (x0, y0)),
        Section(at_y, kind, image[:, j], x, z, across, vertical, *frame_x, cuts_x, **along_x),
        Section(at_x, kind, image[:, :, i], y, z, north, vertical, *frame_y, cuts_y, **along_y),
    ]


def has_elevations(mesh: Mesh) -> bool:
    """Return whether vertical positions are elevations: z is no depth below a flat ground at 0."""
    return mesh.edges[0][0] < 0 or mesh.active is not None


def strongest(mesh: Mesh, rho: Array) -> tuple[float, ...]:
    """Return the centre of the cell whose density differs most from the median."""
    contrast = np.nan_to_num(np.abs(rho - np.nanmedian(rho)))
    return tuple(mesh.cell_centers[int(contrast.argmax())].tolist())


def coordinate(value: float, edges: Array, scale: float) -> str:
    """Return a position in the unit of the picture, to three digits of the narrowest cell."""
    decimals = max(0, 2 - int(np.floor(np.log10(np.diff(edges).min() / scale))))
    return np.format_float_positional(round(value / scale, decimals) + 0.0, trim="-")


def cell_of(mesh: Mesh, axis: int, value: float, argument: str = "at") -> int:
    """Return the row, column or layer of a position along an axis, the last one at its end."""
    edges = mesh.edges[axis]
    if not edges[0] <= value <= edges[-1]:
        give = "depths" if argument == "depths" else "(z, y, x) in metres"
        raise ValueError(
            f"'{argument}' is {value:.10g} along {'zyx'[axis]}, but the mesh extends from "
            f"{edges[0]:.10g} to {edges[-1]:.10g} m; give {give} within it."
        )
    return min(int(np.searchsorted(edges, value, side="right")) - 1, edges.size - 2)
