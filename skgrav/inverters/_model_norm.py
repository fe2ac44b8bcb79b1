"""Norms of densities that regularisation keeps small: of themselves or their derivatives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skgrav._typing import Array
from skgrav.io import saved, sized
from skgrav.noise import Whitening
from skgrav.solvers import depth_weights, relative_volumes

#: Length over which smallness counts as much as the derivative: this share of the thickness of the
#: mesh, and at least so many cells. Data determine a constant and what is straight badly, and not
#: at all beside a trend; a longer length lets these run away, a shorter one undoes the smoothness.
_LENGTH, _LEAST_CELLS = 0.25, 3.0

#: Rows of a matrix that are transformed together.
_ROWS = 64


@saved
@dataclass(frozen=True)
class ModelNorm:
    """Mean square over volume of densities or their derivatives, diagonal in modes.

    With coefficients q of densities in the modes it is ``sum(stiffness * q**2)``, summed over
    cells like a plain square norm. Modes are products of one mode along each axis, since
    derivatives along the axes of a tensor mesh add up, and weights have one value for each layer.
    """

    #: Weight of each cell where cells are modes themselves; otherwise it is in the masses.
    weights: Array = field(metadata=sized("c"))
    #: Modes along each axis, one a column; none where cells are modes themselves.
    modes: tuple[Array, ...]
    #: Volume along each axis, relative to its mean, times the squared weight of the layer.
    masses: tuple[Array, ...]
    #: Norm of each mode, squared.
    stiffness: Array = field(metadata=sized("c"))

    @classmethod
    def of(
        cls,
        operator: Any,
        order: int,
        depth_weighting: float | str | None,
        whitening: Whitening | None = None,
    ) -> ModelNorm:
        """Build the norm for a fitted operator and the whitening of its data."""
        mesh = getattr(operator, "mesh_", None)
        volumes = relative_volumes(operator)
        weights = depth_weights(operator, depth_weighting, whitening)
        weights /= np.sqrt(np.average(weights**2, weights=volumes))
        if order == 0:
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
        laplacian = np.zeros(())
        for values, _, _ in axes:
            laplacian = np.add.outer(laplacian, values)
        # Powers of length^-2 - Laplacian: the modes of the first derivative serve the second, too,
        # which then is flat at the edges of the mesh instead of straight through its padding.
        stiffness = (laplacian.ravel() + _length(mesh) ** -2) ** order
        modes, masses = (tuple(a[k] for a in axes) for k in (1, 2))
        return cls(np.ones(len(weights)), modes, masses, stiffness)

    @property
    def cell_masses(self) -> Array:
        """Weights of cells in the norm that modes keep, (n_cells,)."""
        masses = np.ones(())
        for mass in self.masses:
            masses = np.multiply.outer(masses, mass)
        return np.broadcast_to(masses.ravel(), self.weights.shape)

    def operator_modes(self, matrix: Array) -> Array:
        """Return the matrix that acts on coefficients of modes; rows may be any images."""
        modes = np.empty(matrix.shape)
        # By blocks, since the matrix of an operator may take most of the memory.
        for i in range(0, len(matrix), _ROWS):
            block = matrix[i : i + _ROWS] / self.weights
            modes[i : i + _ROWS] = _along_axes(block, [m.T for m in self.modes])
        return modes

    def weighted(self, q: Array) -> Array:
        """Return densities of coefficients, times their weights, (n_samples, n_cells)."""
        return _along_axes(q, list(self.modes))

    def coefficients(self, u: Array) -> Array:
        """Return coefficients of weighted densities, (n_samples, n_cells)."""
        pairs = zip(self.modes, self.masses, strict=True)
        return _along_axes(u, [v.T * mass for v, mass in pairs])

    def norm(self, rho: Array) -> Array:
        """Return the norm of each sample, (n_samples,)."""
        q = self.coefficients(rho * self.weights)
        return np.sqrt(q**2 @ self.stiffness)


def _axis_modes(centers: Array, widths: Array, weights2: Array) -> tuple[Array, Array, Array]:
    """Return mean square derivatives of the modes along one axis, these as columns, and masses.

    With the squared weight of each cell, taken to faces by the mean of both sides. A weight within
    the derivative would instead make densities smooth that are divided by it, and leave what
    grows like its inverse undamped.
    """
    masses = weights2 * widths / widths.mean()
    steps = np.diff(centers)
    faces = (weights2[1:] + weights2[:-1]) / 2 * steps / widths.mean()
    root = np.sqrt(masses)
    scaled = np.diff(np.eye(len(centers)), axis=0) * np.sqrt(faces)[:, None] / steps[:, None] / root
    values, modes = np.linalg.eigh(scaled.T @ scaled)
    values[0] = 0.0  # that of the constant, whatever rounding says
    return np.maximum(values, 0.0), modes / root[:, None], masses


def _length(mesh: Any) -> float:
    """Return the length over which smallness counts as much as the derivative."""
    cells = max(float(np.median(widths)) for widths in mesh.widths)
    return max(_LENGTH * float(np.ptp(mesh.edges[0])), _LEAST_CELLS * cells)


def _along_axes(values: Array, matrices: list[Array]) -> Array:
    """Return rows of values with one matrix applied along each axis of their image."""
    image = values.reshape(len(values), *(m.shape[1] for m in matrices)) if matrices else values
    for axis, matrix in enumerate(matrices, start=1):
        image = np.moveaxis(np.tensordot(image, matrix, axes=(axis, 1)), -1, axis)
    return image.reshape(values.shape)
