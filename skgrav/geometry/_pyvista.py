"""Grids for pyvista's views in 3D."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from skgrav.geometry._mesh import Mesh


def rectilinear_grid(mesh: Mesh, rho: ArrayLike, name: str) -> Any:
    """Return a mesh and a density on it as a RectilinearGrid whose z is positive up."""
    try:
        import pyvista
    except ImportError as error:
        raise ImportError(
            "Mesh.to_pyvista needs pyvista; install it by pip install 'skgrav[plot3d]'."
        ) from error
    image = mesh.unflatten(rho)
    if image.ndim != mesh.ndim:
        raise ValueError(
            f"'rho' has shape {np.shape(rho)}; a grid shows one density of shape "
            f"({mesh.n_cells},). Give one sample."
        )
    z, *horizontal = mesh.edges
    y = horizontal[0] if mesh.ndim == 3 else np.zeros(1)
    grid = pyvista.RectilinearGrid(horizontal[-1], y, -z[::-1])
    # VTK has x fastest and z slowest, as we have, but its lowest layer comes first.
    grid.cell_data[name] = image[::-1].ravel()
    return grid
