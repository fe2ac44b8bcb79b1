"""The core of a mesh, without the padding beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skgrav._typing import Array

if TYPE_CHECKING:
    from skgrav.geometry._mesh import Mesh

#: Width of a column, relative to the narrowest, above which it may be padding.
_WIDER = 1.2


def core_of(mesh: Mesh, stations: Array | None = None) -> tuple[slice, ...]:
    """Return the rows and columns that are no padding, a slice for each horizontal axis.

    Padding are columns on both sides that are wider than the narrowest one and do not become
    narrower outward. Columns with stations, (n_stations, ndim), are none.
    """
    slices = []
    for axis in range(1, mesh.ndim):
        edges, widths = mesh.edges[axis], mesh.widths[axis]
        first, last = _narrow(widths)
        if stations is not None:
            at = np.searchsorted(edges, stations[:, axis], side="right") - 1
            at = np.clip(at, 0, len(widths) - 1)
            first, last = min(first, int(at.min())), max(last, int(at.max()))
        slices.append(slice(first, last + 1))
    return tuple(slices)


def _narrow(widths: Array) -> tuple[int, int]:
    """Return the first and last column of the core."""
    whole = 0, len(widths) - 1
    is_narrow = widths <= _WIDER * widths.min()
    narrow = np.flatnonzero(is_narrow)
    first, last = int(narrow[0]), int(narrow[-1])
    if first == whole[0] or last == whole[1] or not is_narrow[first : last + 1].all():
        return whole
    # Columns of an irregular mesh are no padding.
    growth = np.r_[-np.diff(widths[: first + 1]), np.diff(widths[last:])]
    return (first, last) if (growth >= -1e-9 * widths.max()).all() else whole


def cut_to(mesh: Mesh, columns: tuple[slice, ...]) -> Mesh:
    """Return some rows and columns of a mesh, with those of their cells active that were."""
    edges = [e[s.start : s.stop + 1] for e, s in zip(mesh.edges[1:], columns, strict=True)]
    active = None if mesh.active is None else mesh.active[:, *columns]
    return type(mesh)([mesh.edges[0], *edges], active)
