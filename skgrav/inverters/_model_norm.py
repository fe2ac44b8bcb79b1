"""Norms of densities that regularisation keeps small: of themselves or their derivatives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skgrav.io import saved, sized
from skgrav.noise import Whitening
from skgrav.solvers import depth_weights, relative_volumes

Array = NDArray[np.float64]

#: Derivatives smaller than this share of the largest are those of constants and straight lines.
_ROUNDING = 1e-12


@saved
@dataclass(frozen=True)
class ModelNorm:
    """Mean square over volume of a derivative of weighted densities, diagonal in modes.

    With ``u = weights * rho`` and coefficients q of u in the modes, it is
    ``sum(stiffness * q**2)``, summed over cells like a plain square norm. Modes are products of
    one mode along each axis, since derivatives along the axes of a tensor mesh add up.
    """

    #: Weight of each cell.
    weights: Array = field(metadata=sized("c"))
    #: Modes along each axis, one a column; none where cells are modes themselves.
    modes: tuple[Array, ...]
    #: Volume along each axis, relative to its mean.
    masses: tuple[Array, ...]
    #: Mean square derivative of each mode.
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
        return _along_axes(matrix / self.weights, [m.T for m in self.modes])

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
