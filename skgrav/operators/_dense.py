"""Dense sensitivity matrices: built from unique offsets or in blocks, shared, with their SVD."""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.constants import gravitational_constant

from skgrav.geometry import AXES, Mesh, Survey
from skgrav.kernels import NODE_FUNCTIONS, point

Array = NDArray[np.float64]

#: Factor from density times the integral of ``d / r**ndim`` to gravity, by unit and dimension.
UNITS = {
    "mGal": {2: 2e5 * gravitational_constant, 3: 1e5 * gravitational_constant},
    "normalized": {2: 1.0, 3: 1.0},
}

#: Bytes of temporaries that a block of stations off the lattice may take.
_BLOCK_BYTES = 64 * 2**20

#: Station coordinates count as lattice points up to this fraction of the spacing.
_LATTICE_TOLERANCE = 1e-9


class SVD(NamedTuple):
    """Thin singular value decomposition ``A = U @ diag(s) @ Vt``.

    Parameters
    ----------
    U : ndarray of shape (n_data, rank)
        Left singular vectors, in the space of data.
    s : ndarray of shape (rank,)
        Singular values, falling.
    Vt : ndarray of shape (rank, n_cells)
        Right singular vectors, in the space of densities, one a row.

    See Also
    --------
    ForwardOperator : Has one as `svd_`.

    Examples
    --------
    >>> from skgrav import ForwardOperator, Mesh
    >>> U, s, Vt = ForwardOperator(Mesh.square(4)).fit().svd_
    >>> Vt.shape
    (16, 16)
    """

    U: NDArray[np.float64]
    s: NDArray[np.float64]
    Vt: NDArray[np.float64]


class DenseMatrix:
    """A read-only matrix that computes its thin SVD once, when first asked."""

    def __init__(self, matrix: NDArray[np.float64]) -> None:
        matrix.setflags(write=False)
        self.matrix = matrix
        self._last_scaled: tuple[tuple[bytes, bytes], DenseMatrix | None] = ((b"", b""), None)

    @cached_property
    def svd(self) -> SVD:
        # Of a wide matrix, LAPACK's SVD takes half the time after a QR of the transpose.
        Q, R = linalg.qr(self.matrix.T, mode="economic", check_finite=False)
        U, s, Vt = linalg.svd(R.T, full_matrices=False, check_finite=False)
        factors = U, s, Vt @ Q.T
        for factor in factors:
            factor.setflags(write=False)
        return SVD(*factors)

    def __reduce__(self) -> tuple[type[DenseMatrix], tuple[NDArray[np.float64]]]:
        # Pickles leave the SVD behind, and what they bring back is read-only again.
        return DenseMatrix, (self.matrix,)

    def scaled(
        self, rows: NDArray[np.float64] | float = 1.0, columns: NDArray[np.float64] | float = 1.0
    ) -> DenseMatrix:
        """Return ``diag(rows) A diag(columns)``; the last one asked for is kept with its SVD."""
        rows, columns = np.atleast_1d(rows), np.atleast_1d(columns)
        if (rows == 1.0).all() and (columns == 1.0).all():
            return self
        key = rows.tobytes(), columns.tobytes()
        kept_key, kept = self._last_scaled
        if kept is None or kept_key != key:
            kept = DenseMatrix(self.matrix * rows[:, None] * columns)
            self._last_scaled = key, kept
        return kept


#: Clones of an operator share one matrix, for as long as one of them lives.
_shared: weakref.WeakValueDictionary[tuple[object, ...], DenseMatrix] = (
    weakref.WeakValueDictionary()
)
_sharing = threading.Lock()


def shared_matrix(mesh: Mesh, survey: Survey, kernel: str, units: str) -> DenseMatrix:
    """Return the sensitivity matrix of a geometry, built unless an equal operator has it."""
    key = (mesh, survey.stations.tobytes(), survey.components, kernel, units)
    with _sharing:  # the threads of a worker start together, and one matrix is enough
        dense = _shared.get(key)
        if dense is None:
            dense = _shared[key] = DenseMatrix(sensitivity(mesh, survey, kernel, units))
    return dense


def required_bytes(mesh: Mesh, survey: Survey) -> int:
    """Return the size of the dense matrix in bytes."""
    return 8 * mesh.n_cells * survey.n_data


def check_memory(mesh: Mesh, survey: Survey) -> None:
    """Raise MemoryError, before anything is built, if the matrix does not fit."""
    required, available = required_bytes(mesh, survey), available_bytes()
    if required > available:
        raise MemoryError(
            f"method='dense' needs {required / 1e9:.1f} GB for {survey.n_data} data x "
            f"{mesh.n_cells} cells, but {available / 1e9:.1f} GB are free. Take a coarser 'mesh' "
            "or fewer stations in 'survey'."
        )


def available_bytes() -> float:
    """Return the memory that can be had without swapping; infinity where nobody tells."""
    with suppress(OSError):  # Linux counts caches in, which make room when asked
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    with suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return float("inf")


def sensitivity(mesh: Mesh, survey: Survey, kernel: str, units: str) -> NDArray[np.float64]:
    """Build the matrix from density to gravity, component-major, of shape (n_data, n_cells)."""
    matrix = np.empty((survey.n_data, mesh.n_cells))
    rows = matrix.reshape(len(survey.components), survey.n_stations, mesh.n_cells)
    axes = [AXES[mesh.ndim].index(c) for c in survey.components]
    lattice = _lattice(mesh, survey)
    if lattice is None:
        _fill_by_blocks(rows, mesh, survey, kernel, axes)
    else:
        _fill_from_table(rows, mesh, survey, kernel, axes, lattice)
    factor = UNITS[units][mesh.ndim]
    if factor != 1.0:
        matrix *= factor
    return matrix


def _lattice(mesh: Mesh, survey: Survey) -> NDArray[np.intp] | None:
    """Return the stations' horizontal lattice indices, or None where a table would not pay."""
    indices = []
    table_size = 1
    for edges, coordinate in zip(mesh.edges[1:], survey.stations.T[1:], strict=True):
        spacing = (edges[-1] - edges[0]) / (edges.size - 1)
        uniform = edges[0] + spacing * np.arange(edges.size)
        steps = (coordinate - coordinate[0]) / spacing
        index = np.rint(steps)
        deviation = max(np.abs(steps - index).max(), np.abs(edges - uniform).max() / spacing)
        if deviation > _LATTICE_TOLERANCE:
            return None
        indices.append(index.astype(np.intp) - int(index.min()))
        table_size *= edges.size + int(np.ptp(index))
    n_heights = np.unique(survey.stations[:, 0]).size
    n_columns = np.prod([e.size for e in mesh.edges[1:]])
    if n_heights * table_size > survey.n_stations * n_columns:
        return None
    return np.stack(indices, axis=1)


def _fill_from_table(
    rows: Array, mesh: Mesh, survey: Survey, kernel: str, axes: list[int], lattice: NDArray[np.intp]
) -> None:
    """Compute each unique offset once per station height; every station's row is a window."""
    top = lattice.max(axis=0)
    for height in np.unique(survey.stations[:, 0]):
        stations = np.flatnonzero(survey.stations[:, 0] == height)
        offsets = [mesh.edges[0] - height]
        for axis, n_max in enumerate(top, start=1):
            edges = mesh.edges[axis]
            spacing = (edges[-1] - edges[0]) / (edges.size - 1)
            last = survey.stations[0, axis] + spacing * (n_max - lattice[0, axis - 1])
            offsets.append(edges[0] - last + spacing * np.arange(edges.size + n_max))
        starts = top - lattice[stations]
        for row, component in zip(rows, axes, strict=True):
            table = _cells([e[None] for e in offsets], kernel, component)[0]
            for station, start in zip(stations, starts, strict=True):
                window = tuple(slice(i, i + n) for i, n in zip(start, mesh.shape[1:], strict=True))
                row[station].reshape(mesh.shape)[...] = table[(slice(None), *window)]


def _fill_by_blocks(rows: Array, mesh: Mesh, survey: Survey, kernel: str, axes: list[int]) -> None:
    """Compute the nodes of all cells for one block of stations after the other."""
    n_nodes = np.prod([e.size for e in mesh.edges])
    size = max(1, int(_BLOCK_BYTES // (6 * 8 * n_nodes)))
    for first in range(0, survey.n_stations, size):
        block = slice(first, first + size)
        offsets = [
            e[None] - s[:, None] for e, s in zip(mesh.edges, survey.stations[block].T, strict=True)
        ]
        for row, component in zip(rows, axes, strict=True):
            row[block] = _cells(offsets, kernel, component).reshape(-1, mesh.n_cells)


def _cells(edges: list[NDArray[np.float64]], kernel: str, component: int) -> NDArray[np.float64]:
    """Return the attraction of all cells; `edges` holds offsets of shape (n_stations, n + 1)."""
    ndim = len(edges)

    def along(axis: int, values: NDArray[np.float64]) -> NDArray[np.float64]:
        shape = [len(values)] + [1] * ndim
        shape[axis + 1] = -1
        return values.reshape(shape)

    if kernel == "point":
        centers = tuple(along(i, (e[:, 1:] + e[:, :-1]) / 2) for i, e in enumerate(edges))
        values = point(centers, component)
        for i, e in enumerate(edges):
            values = values * along(i, np.diff(e))
        return values
    values = NODE_FUNCTIONS[ndim](tuple(along(i, e) for i, e in enumerate(edges)), component)
    for axis in range(1, ndim + 1):
        values = np.diff(values, axis=axis)
    return values
