"""Conversion to pyvista."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from skgrav._checks import import_optional
from skgrav._typing import Array, Mask

#: Cell data that say which cells are active.
_ACTIVE = "active"


def rectilinear_grid(edges: Sequence[Array], image: Array, name: str, active: Mask | None) -> Any:
    """Return a density on cells as a RectilinearGrid whose z is positive up."""
    pyvista = import_optional("pyvista", "Mesh.to_pyvista", "plot3d")
    if image.ndim != len(edges):
        raise ValueError(
            f"'rho' has {len(image)} samples; a grid shows one density of shape (n_cells,). Give "
            "one sample."
        )
    z, *horizontal = edges
    y = horizontal[0] if len(edges) == 3 else np.zeros(1)
    grid = pyvista.RectilinearGrid(horizontal[-1], y, -z[::-1])
    # VTK's order is also C order of (z, y, x), but with the lowest layer first.
    grid.cell_data[name] = image[::-1].ravel()
    if active is not None:
        grid.cell_data[_ACTIVE] = active[::-1].ravel().astype(np.uint8)
    return grid


def edges_and_active(grid: Any) -> tuple[list[Array], Mask | None]:
    """Return the edges of a RectilinearGrid along (z, x) or (z, y, x), and its active cells."""
    if not all(hasattr(grid, name) for name in ("x", "y", "z", "cell_data", "dimensions")) or (
        grid.n_points != grid.x.size * grid.y.size * grid.z.size
    ):
        raise ValueError(
            f"'grid' is a {type(grid).__name__}; give a pyvista.RectilinearGrid, whose cells are "
            "those of a tensor mesh."
        )
    x, y, z = (np.asarray(values, dtype=np.float64) for values in (grid.x, grid.y, grid.z))
    edges = [-z[::-1], x] if y.size == 1 else [-z[::-1], y, x]
    if _ACTIVE not in grid.cell_data:
        return edges, None
    active = np.asarray(grid.cell_data[_ACTIVE]).reshape([e.size - 1 for e in edges])
    return edges, active[::-1] != 0
