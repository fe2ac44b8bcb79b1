"""Checks of parameters that several data sets have."""

from __future__ import annotations

from numbers import Integral
from typing import Any

from skgrav.geometry import Mesh

#: Sections of one cell beyond this number fill the memory of any machine.
_MOST = 10**10


def check_n_samples(n_samples: Any) -> int:
    """Return a positive number of sections, or raise ValueError."""
    if isinstance(n_samples, bool) or not isinstance(n_samples, Integral) or n_samples < 1:
        raise ValueError(
            f"'n_samples' must be a positive integer, got {n_samples!r}; "
            "ask for at least one section."
        )
    if int(n_samples) > _MOST:
        raise ValueError(f"'n_samples' is {n_samples}; draw at most {_MOST:,} sections at once.")
    return int(n_samples)


def check_mesh(mesh: Any) -> Mesh:
    """Return a mesh, or raise ValueError."""
    if not isinstance(mesh, Mesh):
        raise ValueError(
            f"'mesh' must be a skgrav.Mesh, got {mesh!r}; build one with Mesh([z_edges, x_edges]) "
            "or Mesh([z_edges, y_edges, x_edges])."
        )
    return mesh


def check_section_mesh(mesh: Any) -> Mesh:
    """Return a mesh of two dimensions, or raise ValueError."""
    if not isinstance(mesh, Mesh) or mesh.ndim != 2:
        raise ValueError(
            f"'mesh' must be a skgrav.Mesh of two dimensions (z, x), got {mesh!r}; "
            "build one with Mesh([z_edges, x_edges])."
        )
    return mesh
