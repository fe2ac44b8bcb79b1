"""Model norms: mean squares of densities or of their derivatives."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np

from skgrav._typing import Array
from skgrav.io import saved, sized
from skgrav.noise import Whitening
from skgrav.solvers import depth_weights, relative_volumes

#: Length at which smallness and derivative have equal weight: a share of the thickness of the mesh,
#: and at least this many cells. Data hardly determine constant and linear densities, and with a
#: trend not at all: a longer length leaves these undamped, a shorter one undoes the smoothing.
_LENGTH, _LEAST_CELLS = 0.25, 3.0

#: Rows in a block of a matrix.
_ROWS = 64


@saved
@dataclass(frozen=True)
class ModelNorm:
    """Mean square over volume of densities or their derivatives, times the number of cells.

    With coefficients q of densities in the modes it is ``sum(stiffness * q**2)``. Modes are
    products of one mode along each axis, since the squared derivatives along the axes of a tensor
    mesh are summed, and each layer has one weight.
    """

    #: Weight of each cell where the modes are the cells; otherwise 1, as the masses include it.
    weights: Array = field(metadata=sized("c"))
    #: Modes along each axis as columns; empty where the modes are the cells.
    modes: tuple[Array, ...]
    #: Widths along each axis, relative to their mean; of layers times the squared weight.
    masses: tuple[Array, ...]
    #: Squared norm of each mode.
    stiffness: Array = field(metadata=sized("c"))

    @classmethod
    def of(
        cls,
        operator: Any,
        order: int,
        depth_weighting: float | str | None,
        whitening: Whitening | None = None,
        cell_weights: Array | None = None,
    ) -> ModelNorm:
        """Build the norm for a fitted operator and the whitening of its data.

        `cell_weights` multiply squared densities, for order 0.
        """
        mesh = getattr(operator, "mesh_", None)
        volumes = relative_volumes(operator)
        weights = depth_weights(operator, depth_weighting, whitening)
        weights /= np.sqrt(np.average(weights**2, weights=volumes))
        if order == 0:
            if cell_weights is not None:
                weights = weights * np.sqrt(cell_weights)
            return cls(weights * np.sqrt(volumes), (), (), np.ones(len(weights)))
        if mesh is None:
            raise ValueError(
                f"'order' is {order}, but {operator!r} has no mesh to take derivatives on. Give "
                "'operator', a ForwardOperator with its mesh, or take order=0."
            )
        layers = weights.reshape(mesh.shape[0], -1)[:, 0] ** 2
        axes = [
            _axis_modes(centers, widths, layers if axis == 0 else np.ones(len(widths)))
            for axis, (centers, widths) in enumerate(zip(mesh.centers, mesh.widths, strict=True))
        ]
        laplacian = reduce(np.add.outer, (values for values, _, _ in axes))
        # Powers of length^-2 - Laplacian: both orders have the same modes, of vanishing slope at
        # the edges of the mesh, so that order 2 does not grow linearly through the padding.
        stiffness = (laplacian.ravel() + _length(mesh) ** -2) ** order
        modes, masses = (tuple(a[k] for a in axes) for k in (1, 2))
        return cls(np.ones(len(weights)), modes, masses, stiffness)

    @property
    def cell_masses(self) -> Array:
        """Weights of cells in the norm in which modes are orthonormal, (n_cells,)."""
        masses = reduce(np.multiply.outer, self.masses, np.ones(()))
        return np.broadcast_to(masses.ravel(), self.weights.shape)

    def operator_modes(self, matrix: Array) -> Array:
        """Return a matrix (m, n_cells) that acts on densities as one that acts on coefficients."""
        modes = np.empty(matrix.shape)
        # In blocks, since the matrix of an operator may take most of the memory.
        for i in range(0, len(matrix), _ROWS):
            block = matrix[i : i + _ROWS] / self.weights
            modes[i : i + _ROWS] = _along_axes(block, [m.T for m in self.modes])
        return modes

    def weighted(self, q: Array) -> Array:
        """Return the weighted densities of coefficients, (n_samples, n_cells)."""
        return _along_axes(q, list(self.modes))

    def coefficients(self, u: Array) -> Array:
        """Return the coefficients of weighted densities, (n_samples, n_cells)."""
        pairs = zip(self.modes, self.masses, strict=True)
        return _along_axes(u, [v.T * mass for v, mass in pairs])

    def norm(self, rho: Array) -> Array:
        """Return the norm of each sample, (n_samples,)."""
        q = self.coefficients(rho * self.weights)
        return np.sqrt(q**2 @ self.stiffness)


def _axis_modes(centers: Array, widths: Array, weights2: Array) -> tuple[Array, Array, Array]:
    """Return mean square derivatives of the modes along one axis, modes as columns, and masses.

    Faces have the mean of the squared weights of both cells. A weight inside the derivative would
    smooth the weighted density instead, and leave densities that grow as its inverse undamped.
    """
    masses = weights2 * widths / widths.mean()
    steps = np.diff(centers)
    faces = (weights2[1:] + weights2[:-1]) / 2 * steps / widths.mean()
    root = np.sqrt(masses)
    scaled = np.diff(np.eye(len(centers)), axis=0) * np.sqrt(faces)[:, None] / steps[:, None] / root
    values, modes = np.linalg.eigh(scaled.T @ scaled)
    values[0] = 0.0  # of the constant, exactly
    return np.maximum(values, 0.0), modes / root[:, None], masses


def _length(mesh: Any) -> float:
    """Return the length at which smallness and derivative have equal weight."""
    cells = max(float(np.median(widths)) for widths in mesh.widths)
    return max(_LENGTH * float(np.ptp(mesh.edges[0])), _LEAST_CELLS * cells)


def _along_axes(values: Array, matrices: list[Array]) -> Array:
    """Apply one matrix along each axis of the image of each row."""
    image = values.reshape(len(values), *(m.shape[1] for m in matrices)) if matrices else values
    for axis, matrix in enumerate(matrices, start=1):
        image = np.moveaxis(np.tensordot(image, matrix, axes=(axis, 1)), -1, axis)
    return image.reshape(values.shape)
