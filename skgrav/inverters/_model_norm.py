"""Norms of densities that regularisation keeps small: of themselves or their derivatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from skgrav.solvers._weights import depth_weights, relative_volumes

Array = NDArray[np.float64]

#: Derivatives smaller than this share of the largest are those of constants and straight lines.
_ROUNDING = 1e-12

#: Rows of a matrix that are transformed together.
_ROWS = 64


@dataclass(frozen=True)
class ModelNorm:
    """Mean square over volume of a derivative of weighted densities, diagonal in modes.

    With ``u = weights * rho`` and coefficients q of u in the modes, it is
    ``sum(stiffness * q**2)``, summed over cells like a plain square norm. Modes are products of
    one mode along each axis, since derivatives along the axes of a tensor mesh add up.
    """

    _file_forms: ClassVar = {
        "weights": "[c]",
        "modes": "values",
        "masses": "values",
        "stiffness": "[c]",
    }

    #: Weight of each cell.
    weights: Array
    #: Modes along each axis, one a column; none where cells are modes themselves.
    modes: tuple[Array, ...]
    #: Volume along each axis, relative to its mean.
    masses: tuple[Array, ...]
    #: Mean square derivative of each mode.
    stiffness: Array

    @classmethod
    def of(
        cls,
        operator: Any,
        order: int,
        depth_weighting: float | str | None,
        rows: Array | float = 1.0,
    ) -> ModelNorm:
        """Build the norm for a fitted operator and the weights of its rows."""
        mesh = getattr(operator, "mesh_", None)
        volumes = relative_volumes(operator)
        weights = depth_weights(operator, depth_weighting, rows)
        weights /= np.sqrt(np.average(weights**2, weights=volumes))
        if order == 0:
            return cls(weights * np.sqrt(volumes), (), (), np.ones(len(weights)))
        if mesh is None:
            raise ValueError(
                f"'order' is {order}, but {operator!r} has no mesh to take derivatives on. Give "
                "'operator', a ForwardOperator with its mesh, or take order=0."
            )
        masses = tuple(w / w.mean() for w in mesh.widths)
        axes = [
            _axis_modes(centers, widths, order)
            for centers, widths in zip(mesh.centers, mesh.widths, strict=True)
        ]
        stiffness = np.zeros(())
        for values, _ in axes:
            stiffness = np.add.outer(stiffness, values)
        stiffness = stiffness.ravel()
        stiffness[stiffness <= _ROUNDING * stiffness.max()] = 0.0
        return cls(weights, tuple(v for _, v in axes), masses, stiffness)

    def operator_modes(self, matrix: Array) -> Array:
        """Return the matrix that acts on coefficients of modes; rows may be any images."""
        modes = np.empty(matrix.shape)
        # By blocks, since the matrix of an operator may take most of the memory.
        for i in range(0, len(matrix), _ROWS):
            block = matrix[i : i + _ROWS] / self.weights
            modes[i : i + _ROWS] = _along_axes(block, [m.T for m in self.modes])
        return modes

    def weighted(self, q: Array) -> Array:
        """Return weighted densities of coefficients, (n_samples, n_cells)."""
        return _along_axes(q, list(self.modes))

    def coefficients(self, u: Array) -> Array:
        """Return coefficients of weighted densities, (n_samples, n_cells)."""
        pairs = zip(self.modes, self.masses, strict=True)
        return _along_axes(u, [v.T * mass for v, mass in pairs])

    def norm(self, rho: Array) -> Array:
        """Return the norm of each sample, (n_samples,)."""
        q = self.coefficients(rho * self.weights)
        return np.sqrt(q**2 @ self.stiffness)


def _axis_modes(centers: Array, widths: Array, order: int) -> tuple[Array, Array]:
    """Return mean square derivatives of the modes along one axis, and the modes as columns."""
    derivative, lengths = np.eye(len(centers)), widths
    if order >= 1:
        lengths = np.diff(centers)
        derivative = np.diff(derivative, axis=0) / lengths[:, None]
    if order == 2:
        lengths = widths[1:-1]
        derivative = np.diff(derivative, axis=0) / lengths[:, None]
    root = np.sqrt(widths / widths.mean())
    scaled = derivative * np.sqrt(lengths / widths.mean())[:, None] / root
    values, modes = np.linalg.eigh(scaled.T @ scaled)
    # The derivative of a polynomial below its order is zero, whatever rounding says.
    values[: len(values) - len(derivative)] = 0.0
    return np.maximum(values, 0.0), modes / root[:, None]


def _along_axes(values: Array, matrices: list[Array]) -> Array:
    """Return rows of values with one matrix applied along each axis of their image."""
    image = values.reshape(len(values), *(m.shape[1] for m in matrices)) if matrices else values
    for axis, matrix in enumerate(matrices, start=1):
        image = np.moveaxis(np.tensordot(image, matrix, axes=(axis, 1)), -1, axis)
    return image.reshape(values.shape)
