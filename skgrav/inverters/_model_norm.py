"""Model norms: mean squares of densities or of their derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, ClassVar

import numpy as np

from skgrav._checks import real_array
from skgrav._typing import Array, Indices
from skgrav.io import saved, sized
from skgrav.noise import Whitening
from skgrav.solvers import depth_weights, relative_volumes

#: Length at which smallness and derivative have equal weight: a share of the thickness of the mesh,
#: and at least this many cells. Data hardly determine constant and linear densities, and with a
#: trend not at all: a longer length leaves these undamped, a shorter one undoes the smoothing.
_LENGTH, _LEAST_CELLS = 0.25, 3.0

#: Lengths may differ from that by this factor; beyond, one of both terms is rounding.
_LENGTHS = 1e4

#: Rows in a block of a matrix.
_ROWS = 64


@saved
@dataclass(frozen=True)
class ModelNorm:
    """Mean square over volume of densities or their derivatives, times the number of cells.

    With coefficients q of densities in the modes it is ``sum(stiffness * q**2)``. Modes are
    products of one mode along each axis, since the squared derivatives along the axes of a tensor
    mesh are summed, and each layer has one weight. They are those of the whole block: the norm of
    active cells is the least norm of any continuation into the inactive ones, as if these belonged
    to the prior and no datum were sensitive to them.
    """

    #: Whether coefficients make the squared norm a sum of weighted squares.
    is_factored: ClassVar[bool] = True

    #: Weight of each active cell where the modes are the cells; otherwise 1, as the masses include
    #: it.
    weights: Array = field(metadata=sized("a"))
    #: Modes along each axis as columns; empty where the modes are the cells.
    modes: tuple[Array, ...]
    #: Widths along each axis, relative to their mean; of layers times the squared weight.
    masses: tuple[Array, ...]
    #: Squared norm of each mode.
    stiffness: Array = field(metadata=sized("c"))
    #: Active cells of the block of the modes; None if all are.
    cells: Indices | None = field(default=None, metadata=sized("a"))

    @classmethod
    def of(
        cls,
        operator: Any,
        order: int,
        depth_weighting: float | str | None,
        whitening: Whitening | None = None,
        cell_weights: Array | None = None,
        norm_weights: Sequence[float] | None = None,
        length_scales: Sequence[float] | float | None = None,
    ) -> ModelNorm:
        """Build the norm for a fitted operator and the whitening of its data.

        `cell_weights` multiply squared densities, for order 0; `norm_weights` and `length_scales`
        are for orders 1 and 2.
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
                f"'order' is {order}, but a {type(operator).__name__} of {operator.n_data_} data "
                f"and {operator.n_cells_} cells has no mesh to take derivatives on. Give "
                "'operator', a ForwardOperator with its mesh, or take order=0."
            )
        smallness, slopes = axis_weights(mesh, norm_weights, length_scales)
        return cls.of_layers(mesh, weights**2, order, smallness, slopes)

    @classmethod
    def of_layers(
        cls, mesh: Any, weights2: Array, order: int, smallness: float, slopes: Array
    ) -> ModelNorm:
        """Build the norm of order 1 or 2 whose layers have the mean of squared weights of cells."""
        layers = _by_layer(mesh, weights2, mesh.volumes / mesh.volumes.mean())
        axes = [
            _axis_modes(centers, widths, layers if axis == 0 else np.ones(len(widths)))
            for axis, (centers, widths) in enumerate(zip(mesh.centers, mesh.widths, strict=True))
        ]
        pairs = zip(slopes, axes, strict=True)
        laplacian = reduce(np.add.outer, (weight * values for weight, (values, _, _) in pairs))
        # Powers of length^-2 - Laplacian: both orders have the same modes, of vanishing slope at
        # the edges of the mesh, so that order 2 does not grow linearly through the padding.
        stiffness = (laplacian.ravel() + smallness) ** order
        modes, masses = (tuple(a[k] for a in axes) for k in (1, 2))
        cells = None if mesh.active is None else mesh.cells
        return cls(np.ones(mesh.n_cells), modes, masses, stiffness, cells)

    @property
    def block_masses(self) -> Array:
        """Weights of cells in the norm in which modes are orthonormal, (n_block,)."""
        masses = reduce(np.multiply.outer, self.masses, np.ones(()))
        return np.broadcast_to(masses.ravel(), self.stiffness.shape)

    def operator_modes(self, matrix: Array) -> Array:
        """Return a matrix (m, n_cells) that acts on densities as one that acts on coefficients."""
        modes = np.empty((len(matrix), len(self.stiffness)))
        # In blocks, since the matrix of an operator may take most of the memory.
        for i in range(0, len(matrix), _ROWS):
            block = self.on_block(matrix[i : i + _ROWS] / self.weights, 0.0)
            modes[i : i + _ROWS] = _along_axes(block, [m.T for m in self.modes])
        return modes

    def weighted(self, q: Array) -> Array:
        """Return the weighted densities of coefficients, (n_samples, n_cells)."""
        return self.on_cells(self.synthesis(q))

    def synthesis(self, q: Array) -> Array:
        """Return the weighted densities of the block, (n_samples, n_block)."""
        return _along_axes(q, list(self.modes))

    def coefficients(self, u: Array) -> Array:
        """Return the coefficients of weighted densities of the block, (n_samples, n_block)."""
        pairs = zip(self.modes, self.masses, strict=True)
        return _along_axes(u, [v.T * mass for v, mass in pairs])

    def compliance(self, q: Array) -> Array:
        """Return the product of rows with the inverse of the matrix of the squared norm."""
        return q / self.stiffness

    @property
    def variance(self) -> Array:
        """Diagonal of the inverse of the matrix of the squared norm, in cells, (n_cells,)."""
        squares = _along_axes(1.0 / self.stiffness[None], [m**2 for m in self.modes])
        return np.asarray(self.on_cells(squares)[0] / self.weights**2)

    def draw(self, rng: Any, n: int) -> Array:
        """Return coefficients whose covariance is that inverse, (n, n_coefficients)."""
        return np.asarray(rng.standard_normal((n, len(self.stiffness))) / np.sqrt(self.stiffness))

    def product(self, u: Array) -> Array:
        """Return the product of weighted densities of the block with the squared norm's matrix."""
        return self.block_masses * self.synthesis(self.stiffness * self.coefficients(u))

    def inverse(self, u: Array) -> Array:
        """Return the product of rows over the block with the inverse of that matrix."""
        return self.synthesis(_along_axes(u, [m.T for m in self.modes]) / self.stiffness)

    def norm(self, q: Array) -> Array:
        """Return the norm of the coefficients of each sample, (n_samples,)."""
        return np.sqrt(q**2 @ self.stiffness)

    def on_block(self, values: Array, fill: float) -> Array:
        """Return values of the active cells, along the last axis, as those of the block."""
        if self.cells is None:
            return values
        block = np.full((*values.shape[:-1], len(self.stiffness)), fill)
        block[..., self.cells] = values
        return block

    def on_cells(self, block: Array) -> Array:
        """Return those values of the block that are of active cells."""
        return block if self.cells is None else block[..., self.cells]


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


def _by_layer(mesh: Any, values: Array, volumes: Array) -> Array:
    """Return the mean over the active cells of each layer; layers without take the nearest."""
    n_layers = mesh.shape[0]
    layer = np.unravel_index(mesh.cells, mesh.shape)[0]
    volume = np.bincount(layer, volumes, n_layers)
    known = np.flatnonzero(volume)
    means = np.bincount(layer, values * volumes, n_layers)[known] / volume[known]
    return np.asarray(np.interp(np.arange(n_layers), known, means))


def axis_weights(
    mesh: Any, norm_weights: Sequence[float] | None, length_scales: Sequence[float] | float | None
) -> tuple[float, Array]:
    """Return the weight of squared densities, and of squared slopes along each axis of the mesh."""
    n = mesh.ndim
    weights = np.array(
        check_per_axis([1.0] * (1 + n) if norm_weights is None else norm_weights, "norm_weights", n)
    )
    if not weights[0]:
        raise ValueError(
            f"'norm_weights' is {norm_weights!r}, so that a constant density does not count; the "
            "first weight must be positive, if small."
        )
    usual = _length(mesh)
    lengths = np.full(n, usual)
    if length_scales is not None:
        lengths = real_array(length_scales, "length_scales")
        least, most = usual / _LENGTHS, usual * _LENGTHS
        if lengths.shape not in ((), (n,)) or not ((lengths >= least) & (lengths <= most)).all():
            raise ValueError(
                f"'length_scales' is {length_scales!r}; it must be a number of metres, or one for "
                f"each of the axes {'x, y, z' if n == 3 else 'x, z'}, from {least:.2g} to "
                f"{most:.2g}."
            )
        lengths = np.broadcast_to(lengths, (n,))
    # Of (x, y, z), in the order (z, y, x) of the mesh.
    slopes, lengths = weights[:0:-1], lengths[::-1]
    if np.ptp(lengths) == 0:  # without the rounding of their mean
        return float(weights[0] * lengths[0] ** -2), slopes
    mean = np.exp(np.mean(np.log(lengths)))
    return float(weights[0] / mean**2), slopes * (lengths / mean) ** 2


def check_per_axis(values: Any, name: str, ndim: int, most: float = np.inf) -> tuple[float, ...]:
    """Return one number from 0 to `most` for departures and one for each axis."""
    numbers = real_array(values, name)
    if numbers.shape != (1 + ndim,) or not ((numbers >= 0) & (numbers <= most)).all():
        axes = "x, y, z" if ndim == 3 else "x, z"
        limits = f"from 0 to {most:g}" if np.isfinite(most) else "not negative"
        raise ValueError(
            f"'{name}' is {values!r}; it must have {1 + ndim} numbers, {limits}: for departures, "
            f"then for their slopes along {axes}."
        )
    return tuple(float(v) for v in numbers)


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
