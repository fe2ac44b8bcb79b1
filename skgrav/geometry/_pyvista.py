"""Grids for pyvista's views in 3D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from skgrav._typing import Array


def rectilinear_grid(edges: Sequence[Array], image: Array, name: str) -> Any:
    """Return a density on cells as a RectilinearGrid whose z is positive up."""
    try:
        import pyvista
    except ImportError as error:
        raise ImportError(
            "Mesh.to_pyvista needs pyvista; install it by pip install 'skgrav[plot3d]'."
        ) from error
    if image.ndim != len(edges):
        raise ValueError(
            f"'rho' holds {len(image)} samples; a grid shows one density of shape "
            "(n_cells,). Give one sample."
        )
    z, *horizontal = edges
    y = horizontal[0] if len(edges) == 3 else np.zeros(1)
    grid = pyvista.RectilinearGrid(horizontal[-1], y, -z[::-1])
    # VTK has x fastest and z slowest, as we have, but its lowest layer comes first.
    grid.cell_data[name] = image[::-1].ravel()
    return grid
