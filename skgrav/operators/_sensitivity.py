"""Sensitivity matrices in memory, built from unique offsets or row by row, and their SVD."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skgrav._typing import Array
from skgrav.noise import Whitening
from skgrav.operators._cells import Geometry
from skgrav.operators._svd import SVD, thin_svd


class DenseMatrix:
    """Read-only matrix with the methods of `Products` and its thin SVD, computed at first use."""

    def __init__(self, matrix: NDArray[Any]) -> None:
        matrix.setflags(write=False)
        self.matrix = matrix
        self._last_whitened: tuple[tuple[bytes, ...], DenseMatrix | None] = ((), None)

    @property
    def shape(self) -> tuple[int, int]:
        return self.matrix.shape

    def forward(self, rho: Array) -> Array:
        return np.asarray(np.asarray(rho, dtype=self.matrix.dtype) @ self.matrix.T, np.float64)

    def adjoint(self, g: Array) -> Array:
        return np.asarray(np.asarray(g, dtype=self.matrix.dtype) @ self.matrix, np.float64)

    def column_norms2(self, weights: Array) -> Array:
        return np.einsum("i,ij,ij->j", weights, self.matrix, self.matrix, dtype=np.float64)

    @cached_property
    def svd(self) -> SVD:
        return thin_svd(self.matrix)

    @cached_property
    def digest(self) -> tuple[object, ...]:
        """Key of the matrix: shape, type and a hash of the entries."""
        entries = hashlib.blake2b(np.ascontiguousarray(self.matrix).data).digest()
        return *self.matrix.shape, self.matrix.dtype.str, entries

    def __reduce__(self) -> tuple[type[DenseMatrix], tuple[NDArray[Any]]]:
        # Without the SVD, and through the constructor, which makes the matrix read-only again.
        return DenseMatrix, (self.matrix,)

    def whitened(self, whitening: Whitening, columns: Array | float = 1.0) -> DenseMatrix:
        """Return ``W A diag(columns)``; the last result is cached with its SVD."""
        columns = np.atleast_1d(columns)
        if whitening.is_identity and (columns == 1.0).all():
            return self
        key = *whitening.key, columns.tobytes()
        kept_key, kept = self._last_whitened
        if kept is None or kept_key != key:
            kept = DenseMatrix(whitening.matrix(np.asarray(self.matrix, np.float64)) * columns)
            self._last_whitened = key, kept
        return kept


def sensitivity(geometry: Geometry, precision: str = "float64") -> NDArray[Any]:
    """Build the matrix from density to gravity, component-major, of shape (n_data, n_cells)."""
    mesh, n_stations = geometry.mesh, geometry.survey.n_stations
    matrix = np.empty(geometry.shape, dtype=precision)
    rows = matrix.reshape(len(geometry.axes), n_stations, -1)
    found = geometry.lattices.found
    if not found:
        # Station by station, written in place: the matrix is the only large array.
        for station in range(n_stations):
            geometry.rows(np.array([station]), out=rows[:, station : station + 1])
        return matrix
    for lattice in found:
        # The row of each station is a window of the table of unique offsets.
        starts = np.array(lattice.counts) - 1 - lattice.index
        windows = [
            (slice(None), *(slice(i, i + n) for i, n in zip(start, mesh.shape[1:], strict=True)))
            for start in starts.tolist()
        ]
        stations = lattice.stations.tolist()
        for row, component in zip(rows, geometry.axes, strict=True):
            for layers, table in lattice.table(geometry, component):
                columns, active = geometry.columns(layers)
                for station, window in zip(stations, windows, strict=True):
                    row[station, columns] = table[window].ravel()[active]
    return matrix
