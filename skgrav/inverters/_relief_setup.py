"""What is known of an interface: columns of the mesh, contrast, bounds, wells, and roughness."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from skgrav._checks import LARGEST, real_array
from skgrav._typing import Array, Indices
from skgrav.geometry import AXES, Mesh
from skgrav.io import saved, sized
from skgrav.operators import ContrastLaw, ForwardOperator, InterfaceModel

#: Difference of two depths at one place in its standard deviations that errors do not explain.
_CONTRADICTING = 5.0

#: Least depth of the decay relative to the thickness of the mesh.
_LEAST_LENGTH = 0.01


@saved
@dataclass(frozen=True)
class Relief:
    """Columns of a mesh with what is known of their interface."""

    #: Columns with active cells, in the flattened block of columns.
    columns: Indices = field(metadata=sized("k"))
    #: Depth of the ground, and of the interface of the reference Earth.
    ground: Array = field(metadata=sized("k"))
    reference: Array = field(metadata=sized("k"))
    contrast: Array = field(metadata=sized("k"))
    lower: Array = field(metadata=sized("k"))
    upper: Array = field(metadata=sized("k"))
    #: Position in `columns`, depth and standard deviation of each well.
    well_columns: Indices = field(metadata=sized("w"))
    well_depths: Array = field(metadata=sized("w"))
    well_std: Array = field(metadata=sized("w"))
    decay: str
    length: float
    order: int

    @property
    def wells(self) -> tuple[Indices, Array, Array]:
        """Column, depth and standard deviation of each well."""
        return self.well_columns, self.well_depths, self.well_std

    def model(self, operator: ForwardOperator) -> InterfaceModel:
        """Return the forward model at the stations of an operator."""
        return InterfaceModel(
            operator.mesh_,
            operator.survey_,
            operator.units,
            self.columns,
            self.ground,
            self.reference,
            self.contrast,
            ContrastLaw(self.decay, self.length),
        )

    def roughness(self, mesh: Mesh) -> Array:
        """Return the matrix of squared derivatives of the depth, a mean times the number.

        A smallness term of equal weight at the extent of the mesh determines constants.
        """
        shape, n = mesh.shape[1:], len(self.columns)
        position = np.full(int(np.prod(shape)), -1)
        position[self.columns] = np.arange(n)
        grid = position.reshape(shape)
        widths = np.meshgrid(*mesh.widths[1:], indexing="ij")
        area = np.prod(widths, axis=0).ravel()[self.columns]
        laplacian = sparse.csr_array((n, n))
        for axis, centers in enumerate(mesh.centers[1:]):
            first, second = (
                np.take(grid, np.arange(k, shape[axis] - 1 + k), axis).ravel() for k in (0, 1)
            )
            steps = np.broadcast_to(
                np.diff(centers).reshape([-1 if i == axis else 1 for i in range(len(shape))]),
                [s - (i == axis) for i, s in enumerate(shape)],
            ).ravel()
            both = (first >= 0) & (second >= 0)
            first, second, steps = first[both], second[both], steps[both]
            rows = np.arange(len(first))
            ones = np.ones(len(first))
            difference = sparse.csr_array(
                (np.r_[-ones, ones], (np.r_[rows, rows], np.r_[first, second])), (len(rows), n)
            )
            weights = (area[first] + area[second]) / 2 / steps**2
            laplacian = laplacian + difference.T @ (sparse.diags_array(weights) @ difference)
        extent = max(float(np.ptp(e)) for e in mesh.edges[1:])
        smallness = area / extent ** (2 * self.order)
        if self.order == 2:
            laplacian = laplacian @ (sparse.diags_array(1.0 / area) @ laplacian)
        return (laplacian.toarray() + np.diag(smallness)) * (n / area.sum())


def make_relief(
    operator: Any,
    *,
    contrast: ArrayLike,
    decay: str,
    decay_length: float | None,
    reference: ArrayLike | None,
    bounds: Any,
    wells: ArrayLike | None,
    wells_std: ArrayLike,
    order: int,
) -> Relief:
    """Check what is known of the interface and return it for the columns of a mesh."""
    if not isinstance(operator, ForwardOperator):
        raise ValueError(
            f"'operator' is a {type(operator).__name__} of {operator.n_data_} data and "
            f"{operator.n_cells_} cells, which has no mesh whose columns end at the interface. "
            "Give a ForwardOperator with its mesh and survey."
        )
    mesh = operator.mesh_
    gradients = [c for c in operator.survey_.components if len(c) > 1]
    if gradients:
        raise ValueError(
            f"'operator' has a survey of the gradients {gradients}; an interface is found from "
            f"gravity alone. Give a survey of components out of {AXES[mesh.ndim]}."
        )
    columns, ground, bottom = _columns(mesh)
    n_block = int(np.prod(mesh.shape[1:]))
    values = _of_columns(contrast, "contrast", columns, n_block)
    if not values.all():
        raise ValueError(
            f"'contrast' is {contrast!r}; it must not be 0. Give the density above the interface "
            "minus that below it, such as -400 kg/m3 for sediments."
        )
    interface = ground
    if reference is not None:
        interface = _of_columns(reference, "reference", columns, n_block)
        _check_inside("reference", interface, ground, bottom)
    lower, upper = _bounds(bounds, columns, n_block, ground, bottom)
    return Relief(
        columns,
        ground,
        interface,
        values,
        lower,
        upper,
        *_wells(wells, wells_std, mesh, columns, lower, upper),
        decay,
        _length(decay, decay_length, float(np.max(bottom - ground))),
        order,
    )


def _columns(mesh: Mesh) -> tuple[Indices, Array, Array]:
    """Return the columns with active cells, and the depths of their ground and bottom."""
    active = np.ones(mesh.shape, bool) if mesh.active is None else mesh.active
    active = active.reshape(mesh.shape[0], -1)
    columns = np.flatnonzero(active.any(axis=0))
    first = np.argmax(active[:, columns], axis=0)
    last = mesh.shape[0] - np.argmax(active[::-1, columns], axis=0)
    holes = columns[active[:, columns].sum(axis=0) < last - first]
    if holes.size:
        raise ValueError(
            f"'operator' has a mesh with inactive cells between active ones in column {holes[0]}; "
            "columns of rock must have no gaps. Take mesh.below(topography)."
        )
    return columns, mesh.edges[0][first], mesh.edges[0][last]


def _of_columns(values: ArrayLike, name: str, columns: Indices, n_block: int) -> Array:
    array = real_array(values, name)
    if array.shape not in ((), (n_block,)):
        raise ValueError(
            f"'{name}' has shape {array.shape}; it must be a number or one for each of the "
            f"{n_block} columns of the mesh."
        )
    return np.array(np.broadcast_to(array, (n_block,))[columns])


def _check_inside(name: str, depth: Array, ground: Array, bottom: Array) -> None:
    outside = (depth < ground) | (depth > bottom)
    if outside.any():
        k = int(np.argmax(outside))
        raise ValueError(
            f"'{name}' is {depth[k]:.7g} m in a column that reaches from {ground[k]:.7g} to "
            f"{bottom[k]:.7g} m. Give depths within the mesh, positive down, or a deeper mesh."
        )


def _bounds(
    bounds: Any, columns: Indices, n_block: int, ground: Array, bottom: Array
) -> tuple[Array, Array]:
    """Return the least and largest depth of each column."""
    if bounds is None:
        return ground, bottom
    n_parts = len(bounds) if hasattr(bounds, "__len__") else 0
    if n_parts != 2:
        has = f"has {n_parts} parts" if n_parts else f"is {bounds!r}"
        raise ValueError(
            f"'bounds' {has}; it must be the least and the largest depth of the "
            "interface, each a number or one for each column of the mesh."
        )
    lower, upper = (
        _of_columns(np.clip(real_array(b, "bounds", finite=False), -1e15, 1e15), "bounds", *where)
        for b, where in zip(bounds, [(columns, n_block)] * 2, strict=True)
    )
    wrong = ~(lower <= upper) | (lower > bottom) | (upper < ground)
    if wrong.any():
        k = int(np.argmax(wrong))
        raise ValueError(
            f"'bounds' of column {columns[k]} are {lower[k]:.7g} and {upper[k]:.7g} m, but its "
            f"rock reaches from {ground[k]:.7g} to {bottom[k]:.7g} m. Give depths, positive down, "
            "the least first; equal ones fix the depth, as at an outcrop."
        )
    return np.maximum(lower, ground), np.minimum(upper, bottom)


def _wells(
    wells: ArrayLike | None,
    std: ArrayLike,
    mesh: Mesh,
    columns: Indices,
    lower: Array,
    upper: Array,
) -> tuple[Indices, Array, Array]:
    """Return the position in `columns`, depth and standard deviation of each well."""
    ndim = mesh.ndim
    points = np.zeros((0, ndim)) if wells is None else real_array(wells, "wells")
    if points.ndim != 2 or points.shape[1] != ndim:
        axes = ", ".join(AXES[ndim])
        raise ValueError(
            f"'wells' has shape {points.shape}; it must be (n_wells, {ndim}) with columns "
            f"({axes}), z the depth of the interface."
        )
    sigma = real_array(std, "wells_std")
    if sigma.shape not in ((), (len(points),)) or not (sigma >= 1.0 / LARGEST).all():
        raise ValueError(
            f"'wells_std' is {std!r}; it must be one positive number, of at least "
            f"{1.0 / LARGEST:g}, or one for each of {len(points)} wells, the standard deviation of "
            "their depths in metres."
        )
    index = [
        np.searchsorted(e, c, side="right") - 1
        for e, c in zip(mesh.edges[1:], points.T[1:], strict=True)
    ]
    inside = [(i >= 0) & (i < n) for i, n in zip(index, mesh.shape[1:], strict=True)]
    flat = np.ravel_multi_index(
        [np.clip(i, 0, n - 1) for i, n in zip(index, mesh.shape[1:], strict=True)], mesh.shape[1:]
    )
    found = np.searchsorted(columns, flat).clip(max=len(columns) - 1)
    z = points[:, 0]
    good = np.logical_and.reduce([*inside, columns[found] == flat])
    good &= (z >= lower[found]) & (z <= upper[found])
    if not good.all():
        k = int(np.argmin(good))
        raise ValueError(
            f"'wells' has the point {tuple(points[k].tolist())}, which lies in no column of the "
            "mesh, or beyond the bounds of its depth. Check units and order of the columns; z is "
            "positive down."
        )
    sigma = np.array(np.broadcast_to(sigma, z.shape))
    _refuse_contradicting(points, sigma)
    return found, z.copy(), sigma


def _refuse_contradicting(wells: Array, sigma: Array) -> None:
    """Raise ValueError if depths at one place differ by much more than their errors."""
    order = np.lexsort(wells.T)  # by place, and within a place by depth
    wells, sigma = wells[order], sigma[order]
    same = (wells[1:, 1:] == wells[:-1, 1:]).all(axis=1)
    wrong = same & (np.diff(wells[:, 0]) > _CONTRADICTING * np.hypot(sigma[1:], sigma[:-1]))
    if wrong.any():
        k = int(np.argmax(wrong))
        raise ValueError(
            f"'wells' has the depths {wells[k, 0]:.7g} and {wells[k + 1, 0]:.7g} m at one place, "
            f"{tuple(wells[k, 1:].tolist())}, although 'wells_std' is {sigma[k]:.3g} and "
            f"{sigma[k + 1]:.3g} m there. Correct one of them, or give larger errors."
        )


def _length(decay: str, length: float | None, thickness: float) -> float:
    if decay == "constant":
        return 1.0
    if not length:
        raise ValueError(
            f"'decay' is {decay!r}, but 'decay_length' is {length!r}; give the depth in metres "
            "over which the contrast decays, negative if it grows."
        )
    if abs(length) < _LEAST_LENGTH * thickness:
        raise ValueError(
            f"'decay_length' is {length} m in a mesh of {thickness:.4g} m, in whose first "
            "hundredth the contrast changes by more than a factor of e. Give it in metres, such as "
            "3000 for a basin, or take decay='constant'."
        )
    if decay == "parabolic" and -thickness <= length < 0:
        raise ValueError(
            f"'decay_length' is {length}, so that the contrast is infinite at a depth of "
            f"{-length} m in the mesh. Take a longer one, or decay='exponential'."
        )
    return float(length)
