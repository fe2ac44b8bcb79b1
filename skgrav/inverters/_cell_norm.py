"""Model norms with a weight of each cell, which have no modes along the axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np
from scipy.linalg import cho_solve_banded, cholesky_banded
from scipy.linalg.lapack import dtbtrs

from skgrav._typing import Array, Indices
from skgrav.inverters._model_norm import ModelNorm, axis_weights
from skgrav.io import saved, sized
from skgrav.noise import Whitening
from skgrav.solvers import FaceNorm, Stiffness, depth_weights, relative_volumes

#: Largest number of entries of a triangular factor.
_FACTORED = 1e7

#: Largest number of cells whose prior variances are computed, and rows at a time.
_DIAGONAL, _ROWS = 5000, 64

#: Residual of the inverse of D by conjugate gradients, relative to the first.
_ACCURACY = 1e-8


@saved
@dataclass(frozen=True)
class CellNorm:
    """Mean square of densities and their slopes with a weight of each cell.

    Slopes are those across faces between active cells, with the mean of the weights of both. The
    matrix D of order 1 is factored where its band is narrow; coefficients are then such that the
    squared norm is the sum of their squares. Otherwise they are densities, and D is inverted by
    conjugate gradients preconditioned by the norm whose layers have the mean weights.
    """

    order: int
    #: Weights of cells, shaped as the block of the mesh with zeros in inactive cells, and of the
    #: faces across each axis.
    smallness: Array
    slopes: tuple[Array, ...]
    #: Volume of each cell times its squared weight.
    masses: Array = field(metadata=sized("a"))
    #: Root of squared weights relative to those of the layer.
    lateral: Array = field(metadata=sized("a"))
    layered: ModelNorm
    #: Active cells of the block.
    cells: Indices = field(metadata=sized("a"))
    #: Banded triangular factor of D, and the place of each cell in it; None if too large.
    factor: Array | None = None
    places: Indices | None = field(default=None, metadata=sized("a"))

    @classmethod
    def of(
        cls,
        operator: Any,
        order: int,
        depth_weighting: float | str | None,
        whitening: Whitening | None,
        cell_weights: Array | None,
        norm_weights: Sequence[float] | None,
        length_scales: Sequence[float] | float | None,
    ) -> Self:
        """Build the norm for a fitted operator; `cell_weights` multiply squares."""
        mesh = operator.mesh_
        volumes = relative_volumes(operator)
        weights2 = depth_weights(operator, depth_weighting, whitening) ** 2
        weights2 /= np.average(weights2, weights=volumes)
        if cell_weights is not None:
            weights2 = weights2 * cell_weights
        smallness, slopes = axis_weights(mesh, norm_weights, length_scales)
        every = (smallness, *slopes)
        norm = FaceNorm.of(mesh, weights2, [2.0] * len(every), every, False).quadratic(1.0)
        layer = np.unravel_index(mesh.cells, mesh.shape)[0]
        volume = np.bincount(layer, volumes)
        mean = np.bincount(layer, volumes * weights2) / np.where(volume > 0, volume, 1.0)
        layered = ModelNorm.of_layers(mesh, mean[layer], 1, smallness, slopes)
        factor, places = _factored(norm, mesh)
        return cls(
            order, norm.cells, norm.faces, volumes * weights2, np.sqrt(weights2 / mean[layer]),
            layered, mesh.cells, factor, places,
        )  # fmt: skip

    @property
    def is_factored(self) -> bool:
        """Whether coefficients make the squared norm a sum of squares."""
        return self.factor is not None

    @property
    def weights(self) -> Array:
        """Ones, as masses include the weights of cells."""
        return np.ones(len(self.masses))

    @property
    def stiffness(self) -> Array:
        """Squared norm of each coefficient, where they make it a sum of squares."""
        return np.ones(len(self.masses))

    def operator_modes(self, matrix: Array) -> Array:
        """Return a matrix (m, n_cells) that acts on densities as one that acts on coefficients."""
        if self.factor is None:
            return matrix
        if self.order == 2:
            return self._solved(matrix) * np.sqrt(self.masses)
        return self._triangular(matrix, "T")

    def weighted(self, q: Array) -> Array:
        """Return the densities of coefficients, (n_samples, n_cells)."""
        if self.factor is None:
            return q
        if self.order == 2:
            return self._solved(q * np.sqrt(self.masses))
        return self._triangular(q, "N")

    def synthesis(self, q: Array) -> Array:
        """Return the densities of coefficients."""
        return self.weighted(q)

    def coefficients(self, u: Array) -> Array:
        """Return the coefficients of densities, (n_samples, n_cells)."""
        if self.factor is None:
            return u
        if self.order == 2:
            return self._flow(u) / np.sqrt(self.masses)
        assert self.places is not None
        band, q = len(self.factor) - 1, np.zeros_like(u)
        ranked = np.zeros_like(u)
        ranked[:, self.places] = u
        for k in range(band + 1):
            n = u.shape[1] - k
            q[:, :n] += self.factor[band - k, k:] * ranked[:, k:]
        return q

    def product(self, u: Array) -> Array:
        """Return the product of densities with the matrix of the squared norm."""
        flow = self._flow(u)
        return self._flow(flow / self.masses) if self.order == 2 else flow

    def inverse(self, u: Array) -> Array:
        """Return the product of rows with the inverse of that matrix, or with nearly that."""
        if self.order == 2:
            return self._solved(self._solved(u) * self.masses)
        # As a preconditioner the norm by layers does.
        return self._solved(u) if self.is_factored else self._by_layers(u)

    def compliance(self, q: Array) -> Array:
        """Return the product of coefficients with the inverse of the matrix of the squared norm."""
        if self.is_factored:
            return q
        return self.inverse(q) if self.order == 2 else self._solved(q)

    @property
    def variance(self) -> Array | None:
        """Diagonal of that inverse in cells, (n_cells,); None where it takes too long."""
        n = len(self.masses)
        if not self.is_factored or n > _DIAGONAL:
            return None
        blocks = (np.eye(min(_ROWS, n - k), n, k) for k in range(0, n, _ROWS))
        return np.concatenate([np.sum(self.operator_modes(b) ** 2, axis=1) for b in blocks])

    def draw(self, rng: Any, n: int) -> Array:
        """Return coefficients whose covariance is that inverse, (n, n_coefficients)."""
        white = rng.standard_normal((n, len(self.masses)))
        if self.is_factored:
            return np.asarray(white)
        if self.order == 2:
            return self._solved(white * np.sqrt(self.masses))
        # D is a sum of squares of densities and of differences across faces.
        pull = np.zeros((n, *self.smallness.shape))
        pull.reshape(n, -1)[:, self.cells] = white
        pull *= np.sqrt(self.smallness)
        for axis, faces in enumerate(self.slopes, start=1):
            flow = np.sqrt(faces) * rng.standard_normal((n, *faces.shape))
            none = np.zeros_like(np.take(pull, [0], axis))
            pull -= np.diff(flow, axis=axis, prepend=none, append=none)
        return self._solved(pull.reshape(n, -1)[:, self.cells])

    def norm(self, q: Array) -> Array:
        """Return the norm of the coefficients of each sample, (n_samples,)."""
        if self.factor is not None:
            return np.linalg.norm(q, axis=1)
        return np.sqrt(np.sum(q * self.product(q), axis=1))

    def on_block(self, values: Array, fill: float) -> Array:
        """Return the values: inactive cells do not belong to this norm."""
        return values

    def on_cells(self, block: Array) -> Array:
        """Return the values."""
        return block

    @cached_property
    def _matrix(self) -> Stiffness:
        return Stiffness(self.smallness, self.slopes)

    def _flow(self, u: Array) -> Array:
        """Return the products with D."""
        found, block = np.empty_like(u), np.zeros(self.smallness.size)
        for row, values in zip(found, u, strict=True):
            block[self.cells] = values
            row[:] = self._matrix(block.reshape(self.smallness.shape)).ravel()[self.cells]
        return found

    def _solved(self, rows: Array) -> Array:
        """Return the products of rows with the inverse of D."""
        if self.factor is None:
            return np.array([self._conjugate(row[None])[0] for row in rows])
        ranked = np.empty_like(rows)
        ranked[:, self.places] = rows
        return np.asarray(cho_solve_banded((self.factor, False), ranked.T).T[:, self.places])

    def _by_layers(self, u: Array) -> Array:
        """Return nearly the products with the inverse of D."""
        block = self.layered.inverse(self.layered.on_block(u / self.lateral, 0.0))
        return self.layered.on_cells(block) / self.lateral

    def _conjugate(self, residual: Array) -> Array:
        """Return the product of a row with the inverse of D, by conjugate gradients."""
        solution, direction = np.zeros_like(residual), self._by_layers(residual)
        rho = float(np.sum(residual * direction))
        least = _ACCURACY**2 * rho
        while rho > least:
            image = self._flow(direction)
            length = rho / np.sum(direction * image)
            solution += length * direction
            residual = residual - length * image
            scaled = self._by_layers(residual)
            rho, last = float(np.sum(residual * scaled)), rho
            direction = scaled + (rho / last) * direction
        return solution

    def _triangular(self, rows: Array, transposed: str) -> Array:
        """Return coefficients times the inverse factor ("N"), or its transpose times rows ("T")."""
        ranked = rows
        if transposed == "T":
            ranked = np.empty_like(rows)
            ranked[:, self.places] = rows
        solved, _ = dtbtrs(self.factor, ranked.T, uplo="U", trans=transposed)
        return np.ascontiguousarray(solved.T if transposed == "T" else solved.T[:, self.places])


def _factored(matrix: Stiffness, mesh: Any) -> tuple[Array | None, Indices | None]:
    """Return the banded factor of a matrix and the places of cells, None if it is too large."""
    shape = matrix.cells.shape
    # The longest axis outermost has the narrowest band.
    outer = np.argsort(shape)[::-1]
    strides = np.ones(len(shape), dtype=int)
    for inner, axis in zip(outer[:0:-1], outer[-2::-1], strict=True):
        strides[axis] = strides[inner] * shape[inner]
    full = sum(k * s for k, s in zip(np.unravel_index(mesh.cells, shape), strides, strict=True))
    places = np.empty(len(full), dtype=int)
    places[np.argsort(full)] = np.arange(len(full))
    block = np.full(matrix.cells.size, -1)
    block[mesh.cells] = places
    block = block.reshape(shape)
    pairs = []
    for axis, face in enumerate(matrix.faces):
        low, high = (
            np.take(block, k, axis) for k in (range(shape[axis] - 1), range(1, shape[axis]))
        )
        counts = face > 0
        pairs.append((low[counts], high[counts], face[counts]))
    band = max((int(np.abs(high - low).max(initial=0)) for low, high, _ in pairs), default=0)
    if len(places) * (band + 1) > _FACTORED:
        return None, None
    banded = np.zeros((band + 1, len(places)))
    banded[band, places] = matrix.diagonal.ravel()[mesh.cells]
    for low, high, face in pairs:
        first, second = np.minimum(low, high), np.maximum(low, high)
        banded[band + first - second, second] = -face
    return cholesky_banded(banded), places
