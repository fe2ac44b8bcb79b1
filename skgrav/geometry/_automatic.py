"""A mesh for a survey: columns by station spacing, layers below the ground, padding."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from skgrav._checks import real_array
from skgrav._typing import Array
from skgrav._warnings import warn
from skgrav.geometry._stations import Layout, by_axis_names, degrees
from skgrav.geometry._topography import ground_below
from skgrav.geometry._values import AXES, whole_numbers

_logger = logging.getLogger(__name__)

#: Growth from one layer to the next, and from one column of padding to the next.
_GROWTH, _PADDING_GROWTH = 1.1, 1.3

#: Depth of the mesh in extents of the survey. A mass at this depth below the middle has an anomaly
#: as wide as the survey, at half of its height; those of deeper masses resemble a trend.
_DEPTH = 0.5

#: Largest number of layers through the relief of the ground, and smallest number below it.
_RELIEF_LAYERS, _LEAST_LAYERS = 20, 10

#: Largest number of cells. In 3D an inversion by products then takes about 30 MB for densities, in
#: 2D a matrix for 1,000 stations 0.4 GB. The mesh does not depend on the memory of the machine.
_MAX_CELLS = {2: 50_000, 3: 250_000}

#: Growth of columns until there are few enough.
_COARSER = 1.1

#: Columns along each axis from whose ground the number of layers is estimated.
_SAMPLED = 33


class AutomaticMesh(NamedTuple):
    """Edges of a mesh, the ground at its columns if that is not flat, and what was chosen why."""

    edges: list[Array]
    ground: Array | None
    text: str


@dataclass(frozen=True)
class Sizes:
    """Sizes of a mesh that the caller gives; None is to be chosen."""

    #: Thickness of the first layer, and widths of the columns along each axis.
    first: float | None
    widths: tuple[float, ...] | None
    depth: float | None
    #: Length of the padding, 0 without.
    padding: float | None
    max_cells: int

    @classmethod
    def checked(
        cls, ndim: int, cell: Any, depth: Any, padding: Any, max_cells: int | None
    ) -> Sizes:
        """Check the parameters of `Mesh.for_survey`."""
        first, widths = None, None
        if cell is not None:
            sizes = real_array(cell, "cell")
            if sizes.shape not in ((), (ndim,)) or not (sizes > 0).all():
                raise ValueError(
                    f"'cell' is {cell!r}; it must be a positive width of the columns in metres, or "
                    f"a thickness of the first layer and widths, one for each of {AXES[ndim]}."
                )
            first = float(sizes[0]) if sizes.ndim else None
            widths = tuple(sizes[1:].tolist()) if sizes.ndim else (float(sizes),) * (ndim - 1)
        if padding is None:
            padding = 0.0
        elif isinstance(padding, str):
            if padding != "extent":
                raise ValueError(f"'padding' is {padding!r}; it must be 'extent', metres, or None.")
            padding = None
        else:
            padding = _length(padding, "padding", zero=True)
        if max_cells is None:
            max_cells = _MAX_CELLS[ndim]
        else:
            (max_cells,) = whole_numbers([max_cells], "max_cells")
        return cls(
            first, widths, None if depth is None else _length(depth, "depth"), padding, max_cells
        )


def _length(value: ArrayLike, name: str, *, zero: bool = False) -> float:
    length = real_array(value, name)
    if length.shape != () or not (length >= 0 if zero else length > 0):
        raise ValueError(f"'{name}' is {value!r}; it must be a positive number of metres.")
    return float(length)


def automatic_mesh(survey: Any, topography: Any, sizes: Sizes, positive: str) -> AutomaticMesh:
    """Choose a mesh for a survey."""
    layout = Layout(survey.stations)
    if sizes.widths is None or max(sizes.widths) >= layout.extent:
        seems = degrees(survey.stations)
        if seems is not None:
            raise ValueError(f"'survey' {seems}")
    layout.warn_far()
    if not layout.extent and (sizes.widths is None or sizes.depth is None):
        raise ValueError(
            "all stations of 'survey' have the same horizontal position, and so neither a spacing "
            "nor an extent for a mesh. Give 'cell' and 'depth', in metres."
        )
    depth = _DEPTH * layout.extent if sizes.depth is None else sizes.depth
    length = sizes.padding
    if length is None:
        length = layout.extent or depth / _DEPTH
    terrain = _Terrain(layout, topography, positive, sizes.widths)
    columns, coarser = _few_enough(layout, terrain, sizes, depth, length)
    if depth < min(columns.widths) / 2:
        warn(
            f"'depth' is {depth:g} m, less than half the width of the columns, {columns.size}. "
            "Check its unit, or give narrower columns by 'cell'."
        )
    ground, relief = terrain.below(columns.core), terrain.relief
    layers = _Layers.of(terrain, columns, sizes.first, depth)
    terrain.warn_of_stations(max(columns.widths), layers.thickness)
    if ground is not None:
        ground = np.pad(ground, [(n, n) for n in columns.n_padding], mode="edge")
    text = "\n".join(
        [
            f"ground: {terrain.text}{terrain.given}{terrain.clearance(min(columns.widths) / 2)}",
            f"columns: {coarser or columns.text}",
            f"layers: {layers.text}",
            f"depth: {depth:.6g} m below the {'lowest ' if relief else ''}ground, "
            + ("as given" if sizes.depth else f"half the {layout.extent:.6g} m of the survey"),
            f"padding: {columns.padding_text}",
        ]
    )
    _logger.info("%s", text)
    return AutomaticMesh([layers.edges, *columns.edges], ground, text)


def _few_enough(
    layout: Layout, terrain: _Terrain, sizes: Sizes, depth: float, length: float
) -> tuple[_Columns, str]:
    """Return columns that make no more cells than allowed, and what was coarsened for it."""
    spacing, wanted = layout.spacing, ""
    sampled = _Columns.of(layout, sizes.widths, spacing, depth, length).core
    terrain.below([np.linspace(e[0], e[-1], min(_SAMPLED, e.size)) for e in sampled])
    while True:
        columns = _Columns.of(layout, sizes.widths, spacing, depth, length)
        n_layers = _Layers.of(terrain, columns, sizes.first, depth).edges.size - 1
        n_cells = n_layers * int(np.prod([float(e.size - 1) for e in columns.edges]))
        if n_cells <= sizes.max_cells:
            break
        if sizes.widths is not None:
            raise ValueError(
                f"'cell' makes {n_cells:.3g} cells, more than the {sizes.max_cells} of "
                "'max_cells': take larger cells, less 'depth' or 'padding', or more 'max_cells'."
            )
        wanted = wanted or f"{columns.size}, for {n_cells:.3g} cells"
        if spacing > 4 * layout.extent + 4 * depth:
            raise ValueError(
                f"'max_cells' is {sizes.max_cells}, too few for {n_layers} layers: give more."
            )
        spacing *= _COARSER
    if not wanted:
        return columns, ""
    coarser = f"{columns.size} instead of {wanted}, more than the {sizes.max_cells} of 'max_cells'"
    warn(f"The columns are {coarser}; give 'max_cells', or 'cell', to change that.")
    return columns, coarser


class _Columns(NamedTuple):
    """Edges along the horizontal axes."""

    core: list[Array]
    n_padding: list[int]
    edges: list[Array]
    text: str
    padding_text: str

    @property
    def widths(self) -> list[float]:
        """Widths in the core."""
        return [float((e[-1] - e[0]) / (e.size - 1)) for e in self.core]

    @property
    def size(self) -> str:
        """Widths as text."""
        return f"{' x '.join(dict.fromkeys(f'{w:.6g}' for w in self.widths))} m"

    @classmethod
    def of(
        cls,
        layout: Layout,
        widths: tuple[float, ...] | None,
        spacing: float,
        depth: float,
        length: float,
    ) -> _Columns:
        """Lay columns of a spacing below the stations, and padding of a length beside them."""
        core, on_lattice = [], True
        for axis in range(layout.ndim - 1):
            step = layout.step(axis)
            width = widths[axis] if widths else _width(step, spacing)
            same = layout.low[axis] == layout.high[axis]
            ratio = None if step is None else max(step, width) / min(step, width)
            on_lattice &= same or (ratio is not None and abs(ratio - np.rint(ratio)) < 1e-3)
            anchored = same or step is not None
            core.append(_core(layout.low[axis], layout.high[axis], width, depth, anchored))
        n_padding, edges = [], []
        for e in core:
            w = (e[-1] - e[0]) / (e.size - 1)
            growth = _PADDING_GROWTH
            n = int(np.ceil(np.log1p(length / w * (1 - 1 / growth)) / np.log(growth) - 1e-9))
            beyond = np.cumsum(w * growth ** np.arange(1, n + 1))
            n_padding.append(n)
            edges.append(np.r_[e[0] - beyond[::-1], e, e[-1] + beyond])
        made = cls(core, n_padding, edges, "", "none, as asked for")
        why = "as given" if widths else f"the stations are {layout.spacing:.6g} m apart (median)"
        if on_lattice:
            why += ", on a lattice that they match"
        padding = (
            f"{' and '.join(dict.fromkeys(map(str, n_padding)))} columns on each side, growing by "
            f"{_PADDING_GROWTH:g} to {np.diff(edges[-1])[0]:.4g} m, for sources up to "
            f"{core[-1][0] - edges[-1][0]:.4g} m beyond"
        )
        counts = " x ".join(str(e.size - 1) for e in core)
        made = made._replace(text=f"{counts} of {made.size}; {why}")
        return made._replace(padding_text=padding) if length else made


def _width(step: float | None, spacing: float) -> float:
    """Return a width about the spacing of stations: a fraction or multiple of their lattice's."""
    if step is None:
        return float(f"{spacing:.1e}")
    if step >= spacing:
        return step / max(1, round(step / spacing))
    return step * max(1, round(spacing / step))


def _core(low: float, high: float, width: float, least: float, anchored: bool) -> Array:
    """Return edges of equal columns from below `low` to above `high`, and at least so long.

    Anchored, the first station is in the middle of a column; otherwise edges are multiples of the
    width.
    """
    start = low - width / 2
    if not anchored:
        start = float(np.floor(start / width)) * width
    n = int(np.ceil((high + width / 2 - start) / width - 1e-3))
    more = max(0, int(np.ceil((least - n * width) / (2 * width) - 1e-9)))
    return np.asarray(start + width * (np.arange(n + 2 * more + 1) - more), dtype=np.float64)


class _Layers(NamedTuple):
    """Edges along z."""

    edges: Array
    #: Of the layers in the relief, or the first one.
    thickness: float
    text: str

    @classmethod
    def of(cls, terrain: _Terrain, columns: _Columns, given: float | None, depth: float) -> _Layers:
        """Lay equal layers through the relief of the ground, and thickening ones below."""
        half, high = min(columns.widths) / 2, terrain.height / 2
        first, why = (
            (half, "half a column") if half >= high else (high, "half the stations' height")
        )
        if given is not None:
            first, why = given, "as given"
        elif first > depth / _LEAST_LAYERS:
            first, why = depth / _LEAST_LAYERS, f"1/{_LEAST_LAYERS} of the depth"
        relief, n_relief = terrain.relief, 0
        if first < relief / _RELIEF_LAYERS:
            first, why = relief / _RELIEF_LAYERS, f"1/{_RELIEF_LAYERS} of the relief"
        if relief > first / 4:
            n_relief = int(np.ceil(relief / first - 1e-9))
        n = max(1, int(np.ceil(np.log1p(depth / first * (_GROWTH - 1)) / np.log(_GROWTH) - 1e-9)))
        below = first * _GROWTH ** np.arange(n)
        below *= depth / below.sum()
        layers = np.r_[np.full(n_relief, first), below]
        through = f"{n_relief} of {first:.4g} m through the relief of {relief:.4g} m, and "
        text = (
            f"{through if n_relief else ''}{n} growing by {_GROWTH:g} from {below[0]:.4g} to "
            f"{below[-1]:.4g} m; the first is {why}"
        )
        edges = terrain.top + np.r_[0.0, np.cumsum(layers)]
        edges[-1] = terrain.top + n_relief * first + depth  # without the rounding of the sum
        return cls(edges, float(layers[0]), text)


class _Terrain:
    """The ground: given, or as high as the stations."""

    def __init__(
        self, layout: Layout, topography: Any, positive: str, widths: tuple[float, ...] | None
    ) -> None:
        if str(positive) not in ("down", "up"):
            raise ValueError(f"'positive' is {positive!r}; it must be 'down' or 'up'.")
        self._layout, self._positive, self._is_guess = layout, positive, topography is None
        self._topography: Any = None
        #: Highest ground, its relief, and height of the median station above it.
        self.top, self.relief, self.height = 0.0, 0.0, 0.0
        #: Depth of stations below the ground, and distance from the topography.
        self._buried, self._beyond = np.zeros(1), np.zeros(1)
        if topography is None:
            self._from_stations(min(widths) if widths else layout.spacing)
            return
        self.text = "as given by 'topography'"
        sign = -1.0 if positive == "up" else 1.0
        if callable(topography) or hasattr(topography, "stations") or hasattr(topography, "dims"):
            self._topography = topography
            return
        values = real_array(by_axis_names(topography, "topography"), "topography")
        if values.shape == ():
            self.top = sign * float(values)
            self.text = f"flat at z = {self.top + 0.0:.7g} m"
        elif values.ndim == 2 and values.shape[1] == layout.ndim and len(values):
            self._topography = _Points(values * np.r_[sign, np.ones(layout.ndim - 1)])
        else:
            axes = ", ".join(AXES[layout.ndim])
            raise ValueError(
                f"'topography' has shape {values.shape}; it must be points with columns ({axes}), "
                "a function, a grid as a DataArray, a survey, or one depth."
            )

    def _from_stations(self, width: float) -> None:
        z = self._layout.surface[:, 0]
        relief = float(np.ptp(z))
        if self._layout.deepest > width / 2:
            self.top = float(z.min())
            self.text = (
                f"flat at the highest station, z = {self.top:.7g} m, since stations lie below "
                "others, as in a borehole; give 'topography' for another ground"
            )
        elif relief <= width / 4:
            self.top = float(self._layout.stations[self._layout.near, 0].max())
            same = "at the height of the stations" if relief == 0 else "at the lowest station"
            self.text = f"flat {same}, z = {self.top:.7g} m; give 'topography' for another ground"
        else:
            self._topography = _Points(self._layout.surface)
            self.text = (
                f"as high as the stations, z = {z.min():.7g} to {z.max():.7g} m, linear between "
                "and constant beyond them; give 'topography' where they do not stand on it"
            )

    def below(self, edges: list[Array]) -> Array | None:
        """Return the ground at columns, and note its top and relief; None if it is flat."""
        stations = self._layout.stations[self._layout.near]
        depth, at_stations = None, np.full(len(stations), self.top)
        if self._topography is not None:
            ground = ground_below(edges, self._topography, self._positive)
            depth = ground.depth
            self.top, self.relief = float(depth.min()), float(np.ptp(depth))
            column = tuple(
                np.clip(np.searchsorted(e, s) - 1, 0, e.size - 2)
                for e, s in zip(edges, stations.T[1:], strict=True)
            )
            at_stations, self._beyond = depth[column], ground.beyond[column]
        self._buried = stations[:, 0] - at_stations
        self.height = max(0.0, -float(np.median(self._buried)))
        return depth

    @property
    def given(self) -> str:
        """Between what depths the ground is, where it is given and not flat."""
        if self._is_guess or self._topography is None:
            return ""
        low, high = self.top, self.top + self.relief
        return f", z = {low:.4g} to {high:.4g} m, continued into the padding"

    def clearance(self, least: float) -> str:
        """Say how high the stations are above a ground that is given, if that is much."""
        if self._is_guess or self.height <= least:
            return ""
        return f"; half of the stations are {self.height:.4g} m or more above it"

    def warn_of_stations(self, width: float, thickness: float) -> None:
        """Warn of stations below the ground, or where it is not known."""
        if self._is_guess:
            return
        beyond = self._beyond > 2 * width
        if beyond.any():
            warn(
                f"{np.count_nonzero(beyond)} of {beyond.size} stations of 'survey' lie beyond "
                f"'topography', up to {self._beyond.max():.4g} m: the ground there is that of the "
                "nearest point or node. Give a larger topography, with the same origin."
            )
        buried = self._buried > thickness
        if buried.any():
            warn(
                f"{np.count_nonzero(buried)} of {buried.size} stations of 'survey' lie below the "
                f"ground of 'topography', up to {self._buried.max():.4g} m: the cells above them "
                "are no rock of the mesh. Correct heights or topography; z is positive down, and "
                "elevations are positive='up'."
            )


class _Points(NamedTuple):
    """Points of the ground, which `ground_below` takes like the stations of a survey."""

    stations: Array
