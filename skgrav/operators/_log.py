"""Averages over the cells that the samples of a borehole log cross."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from skgrav._checks import check_dummies, real_array
from skgrav._typing import Array, Indices
from skgrav.geometry import AXES, Mesh


def log_ends(mesh: Mesh, start: ArrayLike, end: ArrayLike | None, at: Any) -> tuple[Array, Array]:
    """Return both ends of each sample, (n_samples, ndim); equal ends are points."""
    names = AXES[mesh.ndim]
    first = real_array(start, "start")
    last = first if end is None else real_array(end, "end")
    if first.shape != last.shape:
        raise ValueError(
            f"'start' has shape {first.shape}, but 'end' {last.shape}; each sample has one of both."
        )
    if first.ndim == 1:
        place = np.atleast_1d(real_array([] if at is None else at, "at"))
        if place.shape != (mesh.ndim - 1,):
            raise ValueError(
                f"'start' has depths alone and 'at' is {at!r}; give 'at', the position "
                f"({', '.join(names[1:])}) of a vertical hole, or points ({', '.join(names)})."
            )
        first, last = (np.column_stack([z, np.tile(place, (len(z), 1))]) for z in (first, last))
    elif at is not None:
        raise ValueError("'at' is for 'start' of depths alone; leave it out, or give depths.")
    if first.ndim != 2 or first.shape[1] != mesh.ndim or not len(first):
        raise ValueError(
            f"'start' has shape {first.shape}; it must be (n_samples, {mesh.ndim}), points "
            f"({', '.join(names)}), or depths of shape (n_samples,) with 'at'."
        )
    return first, last


def log_values(values: ArrayLike, n_samples: int, name: str = "values") -> Array:
    """Return one number for each sample of a log."""
    array = real_array(values, name)
    check_dummies(array, name)
    if array.shape != (n_samples,):
        raise ValueError(f"'{name}' has shape {array.shape}, but the log has {n_samples} samples.")
    return array


def crossed_cells(mesh: Mesh, first: Array, last: Array) -> csr_array:
    """Return the share of each sample in the cells that it crosses, (n_samples, n_cells).

    A point or a segment on a face belongs to the cell after it, at the end of the mesh to the last.
    """
    samples, places, shares = [], [], []
    for k, (a, b) in enumerate(zip(first, last, strict=True)):
        cuts = [np.array([0.0, 1.0])]
        for e, low, high in zip(mesh.edges, a, b, strict=True):
            if high != low:
                t = (e - low) / (high - low)
                cuts.append(t[(t > 0) & (t < 1)])
        t = np.unique(np.concatenate(cuts))
        middle = (t[1:] + t[:-1]) / 2
        samples.append(np.full(len(middle), k))
        places.append(a + middle[:, None] * (b - a))
        shares.append(np.diff(t))
    sample, point, share = (np.concatenate(parts) for parts in (samples, places, shares))
    column = _columns(mesh, point)
    _refuse_outside(mesh, sample[column < 0], first, last)
    return csr_array((share, (sample, column)), shape=(len(first), mesh.n_cells))


def averaged(shares: csr_array, length: Array) -> tuple[csr_array, csr_array]:
    """Average the samples that are mostly in one cell, weighted by length.

    Returns the averages over cells, (n_data, n_cells), and over samples, (n_data, n_samples), in
    the order in which the hole enters the cells.
    """
    largest = np.array([row.indices[np.argmax(row.data)] for row in _rows(shares)])
    _, entered, datum = np.unique(largest, return_index=True, return_inverse=True)
    datum = np.argsort(np.argsort(entered))[datum]
    total = np.bincount(datum, length)
    n = len(length)
    means = csr_array((length / total[datum], (datum, np.arange(n))), shape=(len(total), n))
    return csr_array(means @ shares), means


def _rows(matrix: csr_array) -> list[Any]:
    return [matrix[[k]] for k in range(matrix.shape[0])]


def _columns(mesh: Mesh, points: Array) -> Indices:
    """Return the active cell of each point, -1 where there is none."""
    numbers = np.full(int(np.prod(mesh.shape)), -1)
    numbers[mesh.cells] = np.arange(mesh.n_cells)
    inside, index = np.ones(len(points), dtype=bool), []
    for e, x in zip(mesh.edges, points.T, strict=True):
        inside &= (x >= e[0]) & (x <= e[-1])
        index.append(np.clip(np.searchsorted(e, x, side="right") - 1, 0, e.size - 2))
    return np.where(inside, numbers[np.ravel_multi_index(index, mesh.shape)], -1)


def _refuse_outside(mesh: Mesh, samples: Indices, first: Array, last: Array) -> None:
    """Raise ValueError if samples leave the active cells."""
    outside = np.unique(samples)
    if not outside.size:
        return
    k = outside[0]
    text = ", ".join(map(str, outside[:5])) + (", ..." if outside.size > 5 else "")
    ends = " to ".join(
        f"({', '.join(f'{v:.7g}' for v in end)})"
        for end in (first[k : k + 1] if (first[k] == last[k]).all() else [first[k], last[k]])
    )
    raise ValueError(
        f"{outside.size} of {len(first)} samples of the log lie outside the active cells of "
        f"'mesh', wholly or in part: samples {text}, the first at {ends} m; 'mesh' is {mesh!r}. "
        "Leave them out, or extend the mesh; z is positive down, from the datum of the mesh and "
        "not from the collar."
    )
