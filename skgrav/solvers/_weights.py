"""Depth weighting: weights that decay with depth as the sensitivity does."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from skgrav._constraints import Interval, StrOptions
from skgrav._typing import Array
from skgrav.geometry import Mesh, ground_of
from skgrav.noise import Whitening
from skgrav.operators import BaseOperator, DenseMatrix

#: Values of the parameter `depth_weighting`.
DEPTH_WEIGHTING: list[Any] = [
    StrOptions({"sensitivity", "distance"}),
    Interval(Real, 0, None, closed="left"),
    None,
]

#: Least distance of a station from a cell, in sizes of cells, and pairs of both in a chunk.
_NEAR, _PAIRS = 0.5, 2_000_000

#: Least weight by sensitivity or distance relative to the largest, since weights are divided by.
_LEAST_WEIGHT = 1e-3

#: Least weight by a number relative to the largest: below it, estimates are rounding.
_LEAST_SHARE = 1e-8


def depth_weights(
    operator: Any, depth_weighting: float | str | None, whitening: Whitening | None = None
) -> Array:
    """Return the weight of each cell; `whitening` is that of the data."""
    if depth_weighting is None:
        return np.ones_like(relative_volumes(operator))
    if depth_weighting == "sensitivity":
        return _sensitivity_weights(operator, whitening)
    mesh, surveys = getattr(operator, "mesh_", None), getattr(operator, "surveys_", [])
    if mesh is None or not surveys:
        raise ValueError(
            f"'depth_weighting' is {depth_weighting!r}, but a {type(operator).__name__} has no "
            "mesh to define depths. Give 'operator', a ForwardOperator with its mesh, or take "
            "'sensitivity'."
        )
    stations = np.concatenate([survey.stations for survey, _ in surveys])
    if depth_weighting == "distance":
        return _distance_weights(mesh, stations)
    depth = _depths(mesh, stations)
    least = float(depth.min())
    if least <= 0:
        raise ValueError(
            f"'depth_weighting' is {depth_weighting!r}, but the mesh begins {-least:g} m above "
            "the mean station, where depth is not defined. Take 'sensitivity'."
        )
    weights = (depth / least) ** (-float(depth_weighting) / 2)
    if weights.min() < _LEAST_SHARE:
        raise ValueError(
            f"'depth_weighting' is {depth_weighting!r}, which makes the weight of the deepest "
            f"cells {weights.min():.1g} times the weight at the top. Gravity decays with exponent "
            "1 in 2D and 2 in 3D: take a number from 0 to 4, or 'sensitivity'."
        )
    return np.asarray(weights)


def _depths(mesh: Mesh, stations: Array) -> Array:
    """Return the depth of each active cell below the ground, plus the mean height of stations."""
    if mesh.active is None:
        layers = mesh.centers[0] - stations[:, 0].mean()
        return np.repeat(layers, mesh.n_cells // len(layers))
    ground = ground_of(mesh.edges, mesh.active)
    columns = [
        np.clip(np.searchsorted(e, s, side="right") - 1, 0, e.size - 2)
        for e, s in zip(mesh.edges[1:], stations.T[1:], strict=True)
    ]
    heights = ground[tuple(columns)] - stations[:, 0]
    height = np.maximum(heights[np.isfinite(heights)], 0.0).sum() / len(heights)
    below = mesh.centers[0].reshape(-1, *[1] * (mesh.ndim - 1)) - ground
    return np.asarray(below[mesh.active] + height)


def _distance_weights(mesh: Mesh, stations: Array) -> Array:
    """Return weights that decay with the distance from all stations as the kernel does."""
    # A station in or beside a cell is as far as its edges, so that no cell outweighs the others.
    near = _NEAR * float(np.exp(np.mean([np.log(np.median(w)) for w in mesh.widths])))
    power = 2.0 if mesh.ndim == 3 else 1.0
    weights, centers = np.empty(mesh.n_cells), mesh.cell_centers
    size = max(1, _PAIRS // len(stations))
    for first in range(0, len(weights), size):
        distance = cdist(centers[first : first + size], stations)
        distance += near
        weights[first : first + size] = np.sum(distance ** (-2 * power), axis=1) ** 0.25
    return np.maximum(weights, _LEAST_WEIGHT * weights.max())


def _sensitivity_weights(operator: Any, whitening: Whitening | None) -> Array:
    norms, volumes = _column_norms(operator, whitening), relative_volumes(operator)
    if not norms.any():
        return np.ones_like(volumes)
    mesh = getattr(operator, "mesh_", None)
    # Weights by cell would draw density into cells of little sensitivity, in padding and under
    # gaps between stations, as these are damped least. So a layer has one weight: the mean of
    # norm per volume, weighted by the norm itself, so that padding hardly counts.
    layer = np.arange(len(norms)) if mesh is None else np.unravel_index(mesh.cells, mesh.shape)[0]
    total = np.bincount(layer, volumes * norms)
    squares = np.divide(
        np.bincount(layer, norms**2), total, out=np.zeros_like(total), where=total > 0
    )
    weights = np.sqrt(squares)[layer]
    return np.maximum(weights, _LEAST_WEIGHT * weights.max())


def relative_volumes(operator: Any) -> Array:
    """Return the volume of each cell relative to the mean volume, 1 without a mesh."""
    mesh = getattr(operator, "mesh_", None)
    if mesh is None:
        return np.ones(operator.shape[1] if hasattr(operator, "shape") else operator.n_cells_)
    return mesh.volumes / mesh.volumes.mean()


def _column_norms(operator: Any, whitening: Whitening | None) -> Array:
    if isinstance(operator, BaseOperator):
        products = operator.products_
    elif isinstance(operator, np.ndarray):
        products = DenseMatrix(operator)
    else:
        raise ValueError(
            f"'depth_weighting' is 'sensitivity', but 'operator' is a {type(operator).__name__}, "
            "whose columns are not known. Take None, or scale the columns of the operator."
        )
    # Without removing the trend, which must not change the decay with depth.
    weights = np.ones(products.shape[0]) if whitening is None else whitening.weights**-2
    if getattr(operator, "mesh_", None) is not None:
        # Of gravity alone: cells of a log would outweigh all others of their layer.
        gravity = np.zeros(len(weights), dtype=bool)
        for _, data in operator.surveys_:
            gravity[data] = True
        weights = weights * gravity
    return np.sqrt(products.column_norms2(weights))
