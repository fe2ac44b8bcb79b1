"""Reference densities and weights of cells, as given to inverters."""

from __future__ import annotations

from typing import Any

import numpy as np

from skgrav._checks import LARGEST, real_array
from skgrav._typing import Array


def checked_cell_weights(cell_weights: Any, n_cells: int) -> Array | None:
    """Return weights of cells, (n_cells,), or raise ValueError."""
    if cell_weights is None:
        return None
    weights = real_array(cell_weights, "cell_weights")
    if weights.shape != (n_cells,) or not (weights >= 1.0 / LARGEST).all():
        raise ValueError(
            f"'cell_weights' has shape {weights.shape} and minimum "
            f"{weights.min(initial=np.inf):g}; it must be a positive number, of at least "
            f"{1.0 / LARGEST:g}, for each of {n_cells} cells. To fix a density, give equal "
            "'bounds'."
        )
    return weights


def checked_reference(reference: Any, rho: Array | None, n_cells: int) -> Array:
    """Return reference densities, (n_cells,), or raise ValueError; "mean" is that of `rho`."""
    if reference is None:
        return np.zeros(n_cells)
    if isinstance(reference, str):
        if rho is None:
            raise ValueError("'reference' is 'mean', but y is None. Give densities or numbers.")
        return np.asarray(rho.mean(axis=0))
    values = real_array(reference, "reference")
    if values.shape not in ((), (n_cells,)):
        raise ValueError(
            f"'reference' has shape {values.shape}; it must be a finite number, one for each of "
            f"{n_cells} cells, 'mean' or None."
        )
    return np.broadcast_to(values, (n_cells,)).copy()
