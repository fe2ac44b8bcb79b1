"""Conversion to pyvista."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from skgrav._checks import import_optional
from skgrav._typing import Array


def rectilinear_grid(edges: Sequence[Array], image: Array, name: str) -> Any:
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
    return grid
