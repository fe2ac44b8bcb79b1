"""Products with a sensitivity whose rows are computed on the fly, for stations off any lattice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from joblib import Parallel, cpu_count, delayed

from skgrav._typing import Array, Indices
from skgrav.operators._cells import Geometry

#: Bytes of rows that all threads together have in memory at a time, if the limit allows.
_BYTES = 2**27


class RowOperator:
    """Sensitivity whose rows are computed for each product, with the methods of `Products`.

    Threads compute blocks of stations; if the memory limit allows fewer rows than there are cores,
    some cores are idle.
    """

    def __init__(self, geometry: Geometry, limit: float) -> None:
        self.geometry, self.shape = geometry, geometry.shape
        n_rows = max(1, int(min(_BYTES, limit) // self._row_bytes(geometry)))
        self._n_jobs = min(cpu_count(), n_rows)
        self._size = n_rows // self._n_jobs

    def forward(self, rho: Array) -> Array:
        g = np.empty((len(rho), len(self.geometry.axes), self.geometry.survey.n_stations))

        def run(stations: Indices) -> None:
            g[..., stations] = np.moveaxis(self.geometry.rows(stations) @ rho.T, -1, 0)

        for _ in self._map(run):
            pass
        return g.reshape(len(rho), -1)

    def adjoint(self, g: Array) -> Array:
        profiles = g.reshape(len(g), len(self.geometry.axes), -1)

        def run(stations: Indices) -> Array:
            return np.tensordot(profiles[..., stations], self.geometry.rows(stations), axes=2)

        # Summed in the order of blocks, so that rounding does not depend on the threads.
        rho = np.zeros((len(g), self.shape[1]))
        for part in self._map(run):
            rho += part
        return rho

    def column_norms2(self, weights: Array) -> Array:
        of_station = weights.reshape(len(self.geometry.axes), -1)

        def run(stations: Indices) -> Array:
            return np.tensordot(of_station[:, stations], self.geometry.rows(stations) ** 2, axes=2)

        return sum(self._map(run), start=np.zeros(self.shape[1]))

    def _map(self, function: Callable[[Indices], Any]) -> Iterator[Any]:
        """Yield the results of a function of blocks of stations, in order."""
        stations = np.arange(self.geometry.survey.n_stations)
        blocks = (stations[i : i + self._size] for i in range(0, len(stations), self._size))
        parallel = Parallel(n_jobs=self._n_jobs, require="sharedmem", return_as="generator")
        return parallel(delayed(function)(block) for block in blocks)

    @staticmethod
    def _row_bytes(geometry: Geometry) -> int:
        return 8 * len(geometry.axes) * geometry.mesh.n_cells

    @classmethod
    def required_bytes(cls, geometry: Geometry, limit: float) -> int:
        """Return the size in bytes of the rows in memory at a time."""
        n_bytes = max(min(_BYTES, limit), cls._row_bytes(geometry))
        return int(min(n_bytes, cls._row_bytes(geometry) * geometry.survey.n_stations))
