"""Sections of density with physical axes, depth down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skgrav._typing import Array
from skgrav.geometry import Mesh
from skgrav.plotting._drawing import length_unit

#: Sections more stretched than this are drawn to fill their axes, not to scale.
_STRETCHED = 5.0


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
    #: Where other sections cut this one, in metres.
    cuts: tuple[float, float] | None = None
    #: Whether the vertical axis is positive down.
    down: bool = True

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

    def draw(self, ax: Any, scale: float, **keywords: Any) -> Any:
        """Draw the section in units of `scale` metres and return its QuadMesh."""
        x, y = self.x / scale, self.y / scale
        image = ax.pcolormesh(x, y, self.values, **keywords)
        ax.set(xlim=(x[0], x[-1]), ylim=(y[-1], y[0]) if self.down else (y[0], y[-1]))
        ax.set_title(self.title, fontsize="medium")
        # Small panels have room for few ticks.
        ax.locator_params(nbins=5)
        ax.set_aspect("equal" if self.to_scale else "auto")
        if self.cuts is not None:
            style = {"color": "k", "linewidth": 0.8, "linestyle": "--", "alpha": 0.6}
            ax.axvline(self.cuts[0] / scale, **style)
            ax.axhline(self.cuts[1] / scale, **style)
        return image


def sections_of(
    mesh: Mesh, rho: Array, title: str, kind: str, at: Sequence[float] | None = None
) -> list[Section]:
    """Return the section of a 2D density, or a depth slice and two vertical sections in 3D."""
    image = mesh.unflatten(rho)
    scale, unit = length_unit(*mesh.edges)
    # From above z = 0 on, as in elevations, z is not a depth below the ground.
    name, is_ = ("depth", "") if mesh.edges[0][0] >= 0 else ("z", "= ")
    across, north, depth = (f"{axis} ({unit})" for axis in ("x", "y", name))
    if mesh.ndim == 2:
        z, x = mesh.edges
        return [Section(title, kind, image, x, z, across, depth)]
    z, y, x = mesh.edges
    k, j, i = (_cell_of(mesh, axis, value) for axis, value in enumerate(at or strongest(mesh, rho)))
    z0, y0, x0 = (float(c[n]) for c, n in zip(mesh.centers, (k, j, i), strict=True))
    title = f"{title}\n{name} {is_}{z0 / scale:.4g} {unit}"
    titles = [title, f"y = {y0 / scale:.4g} {unit}", f"x = {x0 / scale:.4g} {unit}"]
    return [
        Section(titles[0], kind, image[k], x, y, across, north, (x0, y0), down=False),
        Section(titles[1], kind, image[:, j], x, z, across, depth, (x0, z0)),
        Section(titles[2], kind, image[:, :, i], y, z, north, depth, (y0, z0)),
    ]


def strongest(mesh: Mesh, rho: Array) -> tuple[float, ...]:
    """Return the centre of the cell whose density differs most from the median."""
    contrast = np.nan_to_num(np.abs(rho - np.nanmedian(rho)))
    return tuple(mesh.cell_centers[int(contrast.argmax())].tolist())


def _cell_of(mesh: Mesh, axis: int, value: float) -> int:
    edges = mesh.edges[axis]
    if not edges[0] <= value <= edges[-1]:
        raise ValueError(
            f"'at' is {value:g} along axis {axis}, but the mesh extends from {edges[0]:g} to "
            f"{edges[-1]:g} m; give (z, y, x) in metres within it."
        )
    return min(int(np.searchsorted(edges, value, side="right")) - 1, edges.size - 2)
