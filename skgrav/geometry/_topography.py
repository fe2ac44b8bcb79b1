"""Depth of the ground at the columns of a mesh, and the cells below it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from scipy.interpolate import LinearNDInterpolator, RegularGridInterpolator
from scipy.spatial import KDTree, QhullError

from skgrav._checks import named, real_array
from skgrav._typing import Array, Mask
from skgrav._warnings import warn
from skgrav.geometry import _xarray
from skgrav.geometry._stations import by_axis_names
from skgrav.geometry._values import AXES

#: Depths and positions that are equal up to this share of the extent of the mesh.
_ROUNDING = 1e-9


class Ground(NamedTuple):
    """Depth of the ground at the columns of a mesh, of the shape of a layer."""

    depth: Array
    #: Distance of each column from the topography, 0 within.
    beyond: Array
    #: What the topography consists of.
    parts: str


def below(edges: tuple[Array, ...], topography: Any, survey: Any, positive: str) -> Mask:
    """Return the cells of a block whose centre is below the ground, of the shape of the block."""
    _check_positive(positive)
    z, *horizontal = edges
    ground = ground_below(horizontal, topography, positive)
    _warn_beyond(ground)
    centers = ((z[1:] + z[:-1]) / 2).reshape(-1, *[1] * len(horizontal))
    active = centers >= ground.depth
    if not active.any():
        top, lowest = ground.depth.min(), ground.depth.max()
        raise ValueError(
            f"'topography' has the ground at z = {top:.7g} to {lowest:.7g} m, below "
            f"the mesh at z = {z[0]:.7g} to {z[-1]:.7g} m: no cell is active. z is positive down; "
            "take positive='up' for elevations, or a deeper mesh."
        )
    if survey is not None:
        if not hasattr(survey, "stations"):
            raise TypeError(f"'survey' is of type {type(survey).__name__}; give a Survey.")
        _clear_above(active, edges, survey.stations)
        if not active.any():
            raise ValueError(
                "'survey' has stations below all cells; z is positive down, so give heights as "
                "negative numbers."
            )
    return active


def fraction_below(edges: tuple[Array, ...], active: Mask, topography: Any, positive: str) -> Array:
    """Return the fraction of the cells of a block that gives each column its rock, 1 below it."""
    _check_positive(positive)
    z, *horizontal = edges
    ground = ground_below(horizontal, topography, positive)
    _warn_beyond(ground)
    known, highest = active.any(axis=0), np.argmax(active, axis=0)
    top, thickness = z[highest], np.diff(z)[highest]
    below = known & (ground.depth > top + thickness / 2 + _ROUNDING * np.ptp(z))
    if below.any():
        column = tuple(np.argwhere(below)[0])
        raise ValueError(
            f"'topography' has the ground below the centre of the highest active cell in "
            f"{below.sum()} of {below.size} columns, first at z = {ground.depth[column]:.7g} m, "
            f"where that cell begins at z = {top[column]:.7g} m. Take mesh.below(topography) "
            "first, or Mesh.for_survey(..., return_fraction=True)."
        )
    # Rock above the block is no part of it.
    above = top - np.maximum(ground.depth, z[0])
    fraction = np.ones(active.shape)
    share = np.where(known, 1.0 + above / thickness, 1.0)
    np.put_along_axis(fraction, highest[None], share[None], axis=0)
    return fraction


def _check_positive(positive: Any) -> None:
    if str(positive) not in ("down", "up"):
        raise ValueError(f"'positive' is {positive!r}; it must be 'down' or 'up'.")


def in_cells(edges: tuple[Array, ...], active: Mask, stations: Array) -> Mask:
    """Return which stations lie inside active cells, or on a face between them."""
    inside = np.ones(len(stations), dtype=bool)
    # A station on a face, edge or corner is in rock where all cells that meet there are.
    for signs in product((-1.0, 1.0), repeat=len(edges)):
        cell = []
        for e, s, sign in zip(edges, stations.T, signs, strict=True):
            tolerance = _ROUNDING * max(float(np.ptp(e)), float(np.abs(e).max()) * 1e-3)
            i = np.searchsorted(e, s + sign * tolerance, side="right") - 1
            inside &= (i >= 0) & (i < e.size - 1)
            cell.append(np.clip(i, 0, e.size - 2))
        inside &= active[tuple(cell)]
    return inside


def ground_of(edges: tuple[Array, ...], active: Mask) -> Array:
    """Return the depth of the highest active cell of each column, NaN in columns without."""
    tops = edges[0][np.argmax(active, axis=0)]
    return np.where(active.any(axis=0), tops, np.nan)


def _clear_above(active: Mask, edges: tuple[Array, ...], stations: Array) -> None:
    """Make the cells that reach above a station in their column inactive."""
    z, *horizontal = edges
    highest = np.full(active.shape[1:], -np.inf)
    inside = np.ones(len(stations), dtype=bool)
    ends = []
    for e, s in zip(horizontal, stations.T[1:], strict=True):
        inside &= (s >= e[0]) & (s <= e[-1])
        tolerance = _ROUNDING * float(np.ptp(e))
        # On a face a station is in the columns on both sides.
        ends.append(
            [np.clip(np.searchsorted(e, s + t) - 1, 0, e.size - 2) for t in (-tolerance, tolerance)]
        )
    for column in np.stack(np.meshgrid(*[(0, 1)] * len(ends)), axis=-1).reshape(-1, len(ends)):
        index = tuple(end[side][inside] for end, side in zip(ends, column, strict=True))
        np.maximum.at(highest, index, stations[inside, 0])
    tops = z[:-1].reshape(-1, *[1] * len(horizontal))
    active &= tops >= highest - _ROUNDING * float(np.ptp(z))


def ground_below(edges: list[Array], topography: Any, positive: str) -> Ground:
    """Return the depth of the ground at the columns between horizontal edges."""
    centers = [(e[1:] + e[:-1]) / 2 for e in edges]
    shape, sign = tuple(c.size for c in centers), -1.0 if positive == "up" else 1.0
    columns = list(np.meshgrid(*centers, indexing="ij"))
    if _xarray.is_labelled(topography):
        depths, nodes = _xarray.ground_depth(topography, len(edges), positive)
        _refuse_apart(edges, nodes)
        return _from_grid(depths, nodes, columns)
    if hasattr(topography, "stations"):
        _refuse_apart(edges, list(topography.stations.T[1:]))
        return _from_points(topography.stations, columns)
    if callable(topography):
        return _at_each(sign * _from_function(topography, columns))
    values = real_array(by_axis_names(topography, "topography"), "topography")
    if values.shape in ((), shape):
        return _at_each(np.broadcast_to(sign * values, shape).copy())
    if values.ndim == 2 and values.shape[1] == len(edges) + 1:
        _refuse_apart(edges, list(values.T[1:]))
        return _from_points(values * np.r_[sign, np.ones(len(edges))], columns)
    axes = ", ".join(AXES[len(edges) + 1])
    raise ValueError(
        f"'topography' has shape {values.shape}; it must be one depth, one for each column, "
        f"{shape}, or points with columns ({axes}). Interpolate a grid of other nodes, or give it "
        "as an xarray DataArray with its coordinates."
    )


def _refuse_apart(edges: list[Array], places: Sequence[Array]) -> None:
    """Raise ValueError if a topography lies farther from the mesh than that is long."""
    ends = [(e[0], e[-1], a.min(), a.max()) for e, a in zip(edges, places, strict=True) if a.size]
    gap = max((max(low - last, first - high) for first, last, low, high in ends), default=0.0)
    if gap > max(float(np.ptp(e)) for e in edges):
        ranges = [
            f"{axis} = {low:.7g} to {high:.7g} m, but the mesh at {first:.7g} to {last:.7g} m"
            for axis, (first, last, low, high) in zip(AXES[len(ends) + 1][1:], ends, strict=True)
        ]
        raise ValueError(
            f"'topography' lies at {'; at '.join(ranges)}, farther away than the mesh is long. "
            "Give both in coordinates of one origin, in metres."
        )


def _at_each(depth: Array) -> Ground:
    return Ground(depth, np.zeros(depth.shape), "columns")


def _from_function(function: Callable[..., Any], columns: list[Array]) -> Array:
    with named("topography"):
        values = real_array(function(*columns), "topography")
        return np.broadcast_to(values, columns[0].shape).copy()


def _from_grid(grid: Array, axes: list[Array], columns: list[Array]) -> Ground:
    at = np.stack([c.ravel() for c in columns], axis=-1)
    nearest = np.stack([np.clip(a, e[0], e[-1]) for a, e in zip(at.T, axes, strict=True)], axis=-1)
    known = np.isfinite(grid)
    if not known.all() or min(grid.shape) < 2:
        nodes = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)[known]
        return _from_points(np.column_stack([grid[known], nodes]), columns)
    shape, beyond = columns[0].shape, np.linalg.norm(at - nearest, axis=1)
    depth = RegularGridInterpolator(axes, grid)(nearest)
    return Ground(depth.reshape(shape), beyond.reshape(shape), "grid")


def _from_points(points: Array, columns: list[Array]) -> Ground:
    if not len(points):
        raise ValueError("'topography' has no points; give at least one.")
    at = np.stack([c.ravel() for c in columns], axis=-1)
    # Repeated positions count once, with their mean depth.
    places, which = np.unique(points[:, 1:], axis=0, return_inverse=True)
    depth = np.bincount(which.ravel(), points[:, 0]) / np.bincount(which.ravel())
    origin = places.mean(axis=0)  # coordinates such as UTM would lose digits in the triangulation
    places, at = places - origin, at - origin
    distance, nearest = KDTree(places).query(at)
    if at.shape[1] == 1:
        x = places[:, 0]
        ground = np.interp(at[:, 0], x, depth)
        beyond = (at[:, 0] < x[0]) | (at[:, 0] > x[-1])
    else:
        try:
            ground = LinearNDInterpolator(places, depth)(at)
        except (QhullError, ValueError):  # points on one line have no triangulation
            ground = np.full(len(at), np.nan)
        beyond = np.isnan(ground)
        ground[beyond] = depth[nearest[beyond]]
    shape, distance = columns[0].shape, np.where(beyond, distance, 0.0)
    return Ground(ground.reshape(shape), distance.reshape(shape), "points")


def _warn_beyond(ground: Ground) -> None:
    """Warn of columns beyond the topography, by their distance from it."""
    beyond = ground.beyond > 0
    if beyond.any():
        warn(
            f"{beyond.sum()} of {beyond.size} columns of the mesh lie beyond the {ground.parts} of "
            f"'topography', up to {ground.beyond.max():.3g} m: they take the depth of the nearest."
        )
