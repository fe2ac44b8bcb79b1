"""Products with the sensitivity of stations anywhere: FFTs, interpolation and a near field."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from threadpoolctl import threadpool_limits

from skgrav._typing import Array
from skgrav._warnings import warn
from skgrav.operators._anywhere_far import FarField
from skgrav.operators._anywhere_lattice import Layout, obstacle
from skgrav.operators._anywhere_near import NearField, interpolation
from skgrav.operators._cells import Geometry
from skgrav.operators._stencil import Stencil
from skgrav.operators._toeplitz import TYPES

#: Values of the densities and fields of the samples that are transformed together.
_BLOCK_SIZE = 2**18

#: Seconds on one core of 2026, to a factor of about 3: for each exact entry and value of spectra in
#: setting up, each stored entry of a sparse matrix and each layer at a lattice point in a product.
_EXACT, _SPECTRUM, _ENTRY, _POINT = 1e-7, 1e-7, 1.3e-9, 7e-9

#: Stations whose rows are compared, and entries of all rows of one component beyond three.
_N_CHECKED, _CHECKED_ENTRIES = 10, 2**22


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an error takes; see `Stencil` for the first six."""

    width: int
    n_planes: int
    reach: int
    n_points: int
    svd_cut: float
    shells: tuple[float, ...]
    #: Near entries of gravity below this fraction of the largest are left out.
    entry_cut: float
    #: Decay of wavenumbers that are left out.
    wave_cut: float
    #: Lattice columns that stand for the end of a wider column.
    moments: int
    #: Fraction of the near entries that is left, a safe estimate.
    kept: float

    def stencil(self, layout: Layout, power: int = 1) -> Stencil:
        """Return the stencil of a lattice, for fields or for their squares."""
        spacings = layout.nodes.spacings
        return Stencil(
            width=self.width,
            n_planes=self.n_planes,
            reach=self.reach,
            columns=tuple(h / max(spacings) for h in spacings),
            n_points=self.n_points,
            cut=self.svd_cut,
            shells=self.shells,
            power=power,
        )


#: Settings by the error that they meet, relative to the largest datum. Errors are about a third
#: of it for gravity and half for gradients, of random cells and of constant density alike.
SETTINGS = {
    1e-4: Settings(
        width=4,
        n_planes=4,
        reach=4,
        n_points=8,
        svd_cut=1e-11,
        shells=(1.0, 3.0),
        entry_cut=1e-6,
        wave_cut=1e-5,
        moments=6,
        kept=0.4,
    ),
    1e-6: Settings(
        width=6,
        n_planes=4,
        reach=5,
        n_points=9,
        svd_cut=1e-11,
        shells=(1.0, 3.0),
        entry_cut=5e-8,
        wave_cut=1e-7,
        moments=8,
        kept=0.5,
    ),
    1e-8: Settings(
        width=6,
        n_planes=6,
        reach=6,
        n_points=12,
        svd_cut=1e-10,
        shells=(1.0, 1.5, 3.0, 10.0),
        entry_cut=2e-10,
        wave_cut=1e-10,
        moments=14,
        kept=0.7,
    ),
}


def settings_for(tol: float) -> Settings:
    """Return the fastest settings that meet an error, or the most accurate."""
    return SETTINGS[max((t for t in SETTINGS if t <= 1.001 * tol), default=min(SETTINGS))]


class AnywhereOperator:
    """Sensitivity of stations anywhere, with the methods of `Products`.

    Gravity is computed by FFTs on planes of nodes at the corners of the columns, and interpolated
    to stations by a sparse matrix; a second one holds what this misses of the cells near a station.
    Rows are stored of stations that are too few and far off for that.

    References
    ----------
    Particle-mesh methods: Hockney and Eastwood (1988), Computer Simulation Using Particles.
    """

    def __init__(self, geometry: Geometry, precision: str, tol: float, *, power: int = 1) -> None:
        self.shape = geometry.shape
        self._remake = geometry, precision, tol
        self.real, _ = types = TYPES[precision]
        settings = settings_for(tol)
        layout = layout_of(geometry, tol)
        self.mesh, self.n_components = geometry.mesh, len(geometry.axes)
        rows = np.arange(self.shape[0]).reshape(self.n_components, -1)
        #: Data of stations among the nodes and of the others, (n_components, n_stations).
        self.rows, self.other_rows = rows[:, layout.stations], rows[:, layout.others]
        self.others = geometry.rows(layout.others).reshape(-1, self.shape[1]) ** power
        self.others = self.others.astype(self.real, copy=False)
        self.far: FarField | None = None
        if len(layout.stations):
            stencil = settings.stencil(layout, power)
            self.far = FarField(geometry, layout.nodes, types, power)
            weights = stencil.weights(layout.place)
            self.interpolation = interpolation(layout, weights, stencil).astype(self.real)
            near = NearField(geometry, layout, stencil, weights, settings.entry_cut)
            # Small products, which threads of BLAS would slow down.
            with threadpool_limits(1, user_api="blas"):
                parts = [near.matrix(c).astype(self.real) for c in geometry.axes]
            self.near = parts[0] if len(parts) == 1 else sparse.vstack(parts, format="csr")
        self.error = 0.0
        if power == 1 and self.far is not None:
            self.error = self._measured_error(geometry, layout)
            if self.error > tol:
                finer = "a smaller 'tol', or " if tol > min(SETTINGS) else ""
                warn(
                    f"'tol' is {tol:g}, but gravity by method='anywhere' is up to {self.error:.2g} "
                    "of the largest datum off, at some stations for which it was computed exactly. "
                    f"Take {finer}method='dense' or 'rows', which are exact."
                )

    @property
    def n_bytes(self) -> int:
        """Bytes of all arrays."""
        arrays: list[NDArray[Any]] = [self.others]
        if self.far is not None:
            arrays += self.far.spectra
            for matrix in (self.interpolation, self.near):
                arrays += [matrix.data, matrix.indices, matrix.indptr]
        return sum(a.nbytes for a in arrays)

    def forward(self, rho: Array) -> Array:
        g = np.empty((len(rho), self.shape[0]))
        rho = np.asarray(rho, dtype=self.real)
        if self.other_rows.size:
            g[:, self.other_rows.ravel()] = rho @ self.others.T
        if self.far is None:
            return g
        for samples in self._sample_blocks(len(rho)):
            block = rho[samples]
            images = np.moveaxis(self.mesh.unflatten(block, fill=0.0), (0, 1), (-2, -1))
            fields = self.far.forward(images).reshape(self.interpolation.shape[1], -1)
            # Of each station, components by samples.
            far = self.interpolation @ np.ascontiguousarray(fields)
            near = self.near @ np.ascontiguousarray(block.T)
            far = far.reshape(-1, self.n_components, len(block)).swapaxes(0, 1)
            total = near.reshape(far.shape) + far
            g[samples, self.rows.ravel()] = total.reshape(-1, len(block)).T
        return g

    def adjoint(self, g: Array) -> Array:
        g = np.asarray(g, dtype=self.real)
        rho = np.zeros((len(g), self.shape[1]))
        if self.other_rows.size:
            rho += g[:, self.other_rows.ravel()] @ self.others
        if self.far is None:
            return rho
        for samples in self._sample_blocks(len(g)):
            block = np.ascontiguousarray(g[samples, self.rows.ravel()].T)
            by_station = block.reshape(self.n_components, -1, block.shape[1]).swapaxes(0, 1)
            far = by_station.reshape(len(by_station), -1)
            fields = self.interpolation.T @ np.ascontiguousarray(far)
            fields = fields.reshape(*self.far.nodes.lengths, -1, block.shape[1])
            images = np.moveaxis(self.far.adjoint(fields), (-2, -1), (0, 1))
            rho[samples] += self.mesh.flatten(images)
            rho[samples] += (self.near.T @ block).T
        return rho

    def column_norms2(self, weights: Array) -> Array:
        # Squares are not harmonic, but their own weights give them to about 1e-3.
        geometry, precision, tol = self._remake
        squared = AnywhereOperator(geometry, precision, tol, power=2)
        return np.maximum(squared.adjoint(weights[None])[0], 0.0)

    def _sample_blocks(self, n_samples: int) -> list[slice]:
        assert self.far is not None
        size = max(1, _BLOCK_SIZE // (self.mesh.shape[0] * prod(self.far.nodes.lengths)))
        return [slice(first, first + size) for first in range(0, n_samples, size)]

    def _measured_error(self, geometry: Geometry, layout: Layout) -> float:
        """Return the largest error at some stations, relative to the largest datum.

        Of random densities, in which near cells count most, and constant ones, in which all do.
        """
        rng = np.random.default_rng(0)
        n = max(3, min(_N_CHECKED, _CHECKED_ENTRIES // self.shape[1]))
        n = min(n, len(layout.stations))
        checked = np.sort(rng.permutation(layout.stations)[:n])
        rho = np.stack([rng.uniform(-1, 1, self.shape[1]), np.ones(self.shape[1])])
        g = self.forward(rho).reshape(2, self.n_components, -1)
        exact = np.empty((2, self.n_components, n))
        for i in range(n):
            exact[..., i] = (geometry.rows(checked[i : i + 1])[:, 0] @ rho.T).T
        largest = np.maximum(np.abs(g).max(axis=2), np.finfo(float).tiny)
        return float((np.abs(g[..., checked] - exact).max(axis=2) / largest).max())


def layout_of(geometry: Geometry, tol: float) -> Layout:
    """Place the stations of a geometry among nodes."""
    settings = settings_for(tol)
    stations = geometry.survey.stations
    return Layout.of(
        geometry.mesh,
        stations,
        settings.width,
        settings.n_planes,
        settings.moments,
        geometry.kernel == "point",
        settings.wave_cut,
    )


class Forecast:
    """What the operator of a geometry will need, before it is built."""

    def __init__(self, geometry: Geometry, tol: float, precision: str) -> None:
        settings = settings_for(tol)
        self.obstacle = obstacle(geometry.mesh, settings.moments)
        self.n_bytes, self.seconds = 0, (0.0, 0.0)
        if self.obstacle:
            return
        layout = layout_of(geometry, tol)
        itemsize, n_components = np.dtype(precision).itemsize, len(geometry.axes)
        rows = len(layout.others) * n_components * geometry.mesh.n_cells
        near, entries, spectra, points = 0, 0, 0, 0
        if len(layout.stations):
            stencil = settings.stencil(layout)
            near = NearField(geometry, layout, stencil, None, settings.entry_cut).n_entries
            near *= n_components
            # In 2D entries decay more slowly.
            kept = settings.kept if geometry.mesh.ndim == 3 else 1.0
            entries = len(layout.stations) * len(stencil.nodes) + int(kept * near)
            spectra = FarField.required_bytes(geometry, layout.nodes, itemsize)
            points = prod(layout.nodes.lengths) * (layout.nodes.n_layers + len(layout.nodes.planes))
        #: About the bytes of all arrays.
        self.n_bytes = itemsize * rows + (itemsize + 4) * entries + spectra
        build = 0.1 + _EXACT * (rows + near) + _SPECTRUM * spectra / itemsize
        product = 3e-4 + _ENTRY * (rows / 8 + entries) + _POINT * points
        #: Seconds to build it and of one product, on one core.
        self.seconds = build, product
