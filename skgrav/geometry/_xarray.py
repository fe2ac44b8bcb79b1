"""Conversion of densities and gravity with their coordinates to xarray and back.

Cells are labelled by their centres, with both edges as further coordinates: unlike attributes,
these are selected together with the cells.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from skgrav._checks import import_optional, real_array
from skgrav._typing import Array, Mask
from skgrav.geometry._units import UNIT_SIZES, unit_name, unit_size
from skgrav.geometry._values import AXES, COMPONENTS, component_unit

_SAMPLE, _STATION = "sample", "station"

#: Coordinate that says which cells are active.
_ACTIVE = "active"

#: Attribute for the degree of a survey's trend.
_DEGREE = "trend_degree"

#: Other names of horizontal coordinates.
_HORIZONTAL = {"easting": "x", "northing": "y"}

#: End of the name of a variable with standard deviations.
_UNCERTAINTY = "_uncertainty"


def density_array(
    edges: Sequence[Array], images: Array, name: str, units: str, active: Mask | None
) -> Any:
    """Return densities as a DataArray of dimensions (sample,) z, (y,) x."""
    xarray = import_optional("xarray", "Mesh.to_xarray", "io")
    axes = AXES[len(edges)]
    if images.ndim > len(axes) + 1:
        n_cells = int(np.prod(images.shape[-len(axes) :]))
        raise ValueError(
            f"'rho' has shape {(*images.shape[: -len(axes)], n_cells)}; it must be (n_cells,) or "
            "(n_samples, n_cells)."
        )
    unit_size("density", units, "'units'")
    coords: dict[str, Any] = {}
    for axis, along in zip(axes, edges, strict=True):
        centers = (along[1:] + along[:-1]) / 2
        coords[axis] = axis, centers, _axis_attributes(axis, "cell centre")
        coords[f"{axis}_min"] = axis, along[:-1], _axis_attributes(axis, "smaller edge")
        coords[f"{axis}_max"] = axis, along[1:], _axis_attributes(axis, "larger edge")
    if active is not None:
        coords[_ACTIVE] = axes, active, {"long_name": "whether the cell is active"}
    dims = (_SAMPLE, *axes)[-images.ndim :]
    attributes = {"long_name": name, "units": units}
    return xarray.DataArray(images, coords, dims, name=name, attrs=attributes)


def edges_of(array: Any) -> list[Array]:
    """Return the edges of the cells of a labelled array along each axis."""
    return [_edges_along(axis, array) for axis in _axes_of(array, "array")]


def active_of(array: Any) -> Mask | None:
    """Return the active cells of a labelled array, None if all are or it does not say."""
    axes = _axes_of(array, "array")
    if _ACTIVE in array.coords:
        mask = array.coords[_ACTIVE]
        if set(mask.dims) != set(axes):
            raise ValueError(
                f"coordinate '{_ACTIVE}' of 'array' has dimensions {tuple(mask.dims)}; it must "
                f"have {axes}. Drop it by array.drop_vars('{_ACTIVE}'), or give all of them."
            )
        return np.asarray(mask.transpose(*axes).values != 0)
    values = getattr(array, "values", None)  # a method of a Dataset
    if not isinstance(values, np.ndarray) or values.dtype.kind != "f":
        return None
    known = ~np.isnan(array.transpose(..., *axes).values)
    return known if known.ndim == len(axes) else known.any(axis=0)


def density_image(edges: Sequence[Array], array: Any) -> Array:
    """Return a labelled array in kg/m3 and in the order of a mesh, if its cells match."""
    axes = AXES[len(edges)]
    if _axes_of(array, "images") != axes or not hasattr(array, "values"):
        raise ValueError(f"'images' must be one DataArray of dimensions {axes}, like this mesh.")
    for axis, along in zip(axes, edges, strict=True):
        found, centers = _values(array, axis), (along[1:] + along[:-1]) / 2
        tolerance = 1e-6 * float(np.ptp(along))
        if found.shape != centers.shape or not np.allclose(found, centers, 0, tolerance):
            remedy = "Interpolate with array.interp, or take Mesh.from_xarray(array)."
            if _decreases(found):
                remedy = f"They decrease: sort them by array.sortby('{axis}')."
            raise ValueError(
                f"coordinate '{axis}' of 'images' does not match the cell centres of this mesh. "
                f"{remedy}"
            )
    image = real_array(array.transpose(..., *axes).values, "images", finite=False)
    return image * unit_size("density", array.attrs.get("units", "kg/m3"), "'images'")


def ground_depth(grid: Any, n_axes: int, positive: str) -> tuple[Array, list[Array]]:
    """Return a grid of topography as depths, and its coordinates, both in increasing order."""
    axes = AXES[n_axes + 1][1:]
    if hasattr(grid, "data_vars"):
        names = list(grid.data_vars)
        if len(names) != 1:
            raise ValueError(
                f"'topography' is a Dataset with the variables {names}; give the one of the "
                "ground, as topography['elevation']."
            )
        grid = grid[names[0]]
    others = {n: a for n, a in _HORIZONTAL.items() if n in grid.dims and a not in grid.coords}
    grid = grid.rename(others)
    if set(grid.dims) != set(axes) or not hasattr(grid, "values"):
        raise ValueError(
            f"'topography' has dimensions {tuple(grid.dims)}; it must be one DataArray of "
            f"dimensions {axes}, or easting and northing. Rename them with rename."
        )
    units = str(grid.attrs.get("units", "m"))
    if unit_name(units) != "m":
        raise ValueError(f"'topography' is in {units!r}; convert it to metres.")
    positive = str(grid.attrs.get("positive", positive))
    if positive not in ("down", "up"):
        raise ValueError(f"attrs['positive'] of 'topography' is {positive!r}; give 'down' or 'up'.")
    grid = grid.transpose(*axes)
    values = real_array(grid.values, "topography", finite=False)
    coordinates = []
    for i, axis in enumerate(axes):
        along = _values(grid, axis)
        order = np.argsort(along)  # rows of images often begin in the north
        if (np.diff(along[order]) <= 0).any():
            raise ValueError(f"coordinate '{axis}' of 'topography' repeats; drop the duplicates.")
        coordinates.append(along[order])
        values = np.take(values, order, axis=i)
    return (-values if positive == "up" else values), coordinates


def gravity_dataset(
    stations: Array,
    profiles: Mapping[str, Array],
    uncertainty: Mapping[str, Array] | None,
    trend: int | Sequence[Mapping[str, Array]] | None,
    units: str,
) -> Any:
    """Return gravity as a Dataset with one variable per component."""
    xarray = import_optional("xarray", "Survey.to_xarray", "io")
    unit_of = _units_by_component(profiles, units)
    coords = {
        axis: (_STATION, column, _axis_attributes(axis, "station"))
        for axis, column in zip(AXES[stations.shape[1]], stations.T, strict=True)
    }
    data: dict[str, Any] = {}
    for component, g in profiles.items():
        if g.ndim > 2:
            shape = *g.shape[:-1], len(profiles) * len(stations)
            raise ValueError(f"'g' has shape {shape}; it must be (n_data,) or (n_samples, n_data).")
        quantity = _quantity(component)
        attributes = {
            "long_name": f"{quantity}, {component} component",
            "units": unit_of[component],
        }
        if component.count("z") == 1:
            attributes["positive"] = "down"
        data[f"g{component}"] = (_SAMPLE, _STATION)[-g.ndim :], g, attributes
    for component, sigma in (uncertainty or {}).items():
        attributes = {
            "long_name": f"standard deviation of g{component}",
            "units": unit_of[component],
        }
        data[f"g{component}_uncertainty"] = _STATION, sigma, attributes
    if trend is None or isinstance(trend, int):
        return xarray.Dataset(data, coords, {} if trend is None else {_DEGREE: trend})
    for i, column in enumerate(trend):
        for component, values in column.items():
            attributes = {"long_name": f"column {i} of the basis of the trend of g{component}"}
            data[f"g{component}_trend{i}"] = _STATION, values, attributes
    return xarray.Dataset(data, coords)


def _quantity(component: str) -> str:
    return "gravity" if component_unit(component) == "mGal" else "gradient"


def _units_by_component(components: Iterable[str], units: str) -> dict[str, str]:
    """Return the unit of each component: `units` for those that it fits, else mGal or E."""
    quantities = {c: _quantity(c) for c in components}
    fits = {q: unit_name(units) in UNIT_SIZES[q] for q in quantities.values()}
    if not any(fits.values()) and units != "mGal":
        unit_size(next(iter(fits)), units, "'units'")
    return {c: units if fits[q] else component_unit(c) for c, q in quantities.items()}


def survey_arguments(
    dataset: Any,
) -> tuple[Array, tuple[str, ...], Array | None, int | Array | None]:
    """Return stations, components, uncertainty in our units and trend of a labelled dataset."""
    if not hasattr(dataset, "data_vars"):
        raise TypeError(
            f"'dataset' is of type {type(dataset).__name__}; it must be an xarray.Dataset, as "
            "Survey.to_xarray gives it."
        )
    axes = AXES[3] if "y" in dataset.coords else AXES[2]
    stations, _ = _stations(axes, dataset)
    names = [f"g{c}" for c in COMPONENTS[len(axes)]]
    components = tuple(str(n)[1:] for n in dataset.data_vars if n in names)
    if not components:
        raise ValueError(
            f"'dataset' has the variables {list(dataset.data_vars)}; gravity must be among them "
            f"as {', '.join(names)}."
        )
    for component in components:
        _in_our_unit(dataset, component)
    trend = _trend(dataset, components)
    uncertain = [c for c in components if f"g{c}_uncertainty" in dataset]
    if not uncertain:
        return stations, components, None, trend
    if len(uncertain) < len(components):
        raise ValueError(
            f"'dataset' has an uncertainty of components {uncertain} alone; give one for each of "
            f"{components}, or drop it."
        )
    sigma = [
        real_array(dataset[f"g{c}{_UNCERTAINTY}"].values, f"g{c}{_UNCERTAINTY}")
        * _in_our_unit(dataset, c, _UNCERTAINTY)
        for c in components
    ]
    return stations, components, np.concatenate(sigma), trend


def _trend(dataset: Any, components: Sequence[str]) -> int | Array | None:
    """Return the degree of the trend, or its basis, or None."""
    if _DEGREE in dataset.attrs:
        return int(dataset.attrs[_DEGREE])
    columns: list[Array] = []
    while (name := f"_trend{len(columns)}") and f"g{components[0]}{name}" in dataset:
        parts = [real_array(dataset[f"g{c}{name}"].values, f"g{c}{name}") for c in components]
        columns.append(np.concatenate(parts))
    return np.column_stack(columns) if columns else None


def gravity_profiles(stations: Array, components: Sequence[str], dataset: Any) -> Array:
    """Return a labelled dataset in mGal, Eotvos and the survey's order, if its stations match."""
    missing = [f"g{c}" for c in components if f"g{c}" not in dataset]
    if missing:
        raise ValueError(f"'profiles' lacks {', '.join(missing)}, which this survey has.")
    found, along = _stations(AXES[stations.shape[1]], dataset)
    if found.shape != stations.shape or not np.allclose(found, stations, rtol=1e-9, atol=1e-6):
        raise ValueError(
            "the stations of 'profiles' do not match this survey; take "
            "Survey.from_xarray(profiles)."
        )
    return np.stack(
        [
            real_array(dataset[f"g{c}"].transpose(..., along).values, "profiles", finite=False)
            * _in_our_unit(dataset, c)
            for c in components
        ],
        axis=-2,
    )


def _in_our_unit(dataset: Any, component: str, suffix: str = "") -> float:
    """Return the factor that converts a variable to mGal or Eotvos, with z positive down."""
    name = f"g{component}{suffix}"
    attributes = dataset[name].attrs
    units = attributes.get("units", component_unit(component))
    size = unit_size(_quantity(component), units, f"variable '{name}'")
    if "positive" not in attributes or suffix:
        return size
    sign = {"down": 1.0, "up": -1.0}.get(attributes["positive"]) if "z" in component else None
    if sign is None:
        raise ValueError(
            f"variable '{name}' is positive {attributes['positive']!r}; gz may be positive 'down' "
            "or 'up', and gx and gy are positive toward larger x and y. Change the sign of the "
            "values where needed, and delete attrs['positive']."
        )
    return sign ** component.count("z") * size


def _stations(axes: Sequence[str], dataset: Any) -> tuple[Array, str]:
    """Return the coordinates of stations as columns, and their dimension."""
    columns = [_values(dataset, axis) for axis in axes]
    dims = {dataset.coords[axis].dims for axis in axes}
    if len(dims) > 1 or columns[0].ndim != 1:
        raise ValueError(
            f"coordinates {', '.join(axes)} must lie along one dimension of stations, got "
            f"{sorted(dims)}. Stack a grid by dataset.stack(station=('y', 'x')) and give z to each "
            "station."
        )
    return np.column_stack(columns), str(dims.pop()[0])


def is_labelled(values: Any) -> bool:
    """Return whether values are an xarray object, without loading xarray."""
    return hasattr(values, "dims") and hasattr(values, "coords")


def _axes_of(array: Any, argument: str) -> tuple[str, ...]:
    if not is_labelled(array):
        raise ValueError(f"'{argument}' is a {type(array).__name__}; give a labelled xarray array.")
    axes: tuple[str, ...] = AXES[3] if "y" in array.dims else AXES[2]
    others = [d for d in array.dims if d not in axes]
    if not set(axes) <= set(array.dims) or len(others) > 1:
        raise ValueError(
            f"'{argument}' has dimensions {tuple(array.dims)}; they must be (z, x) or (z, y, x), "
            "and samples before them. Rename them with array.rename, and keep an axis of one "
            "cell by array.isel(z=[0])."
        )
    return axes


def _edges_along(axis: str, array: Any) -> Array:
    centers = _values(array, axis)
    if {f"{axis}_min", f"{axis}_max"} <= set(array.coords):
        lower, upper = (_values(array, f"{axis}_{end}") for end in ("min", "max"))
        if not np.array_equal(lower[1:], upper[:-1]):
            remedy = "Take neighbouring cells, in increasing order."
            if _decreases(centers):
                remedy = f"They decrease: sort them by array.sortby('{axis}')."
            raise ValueError(
                f"cells along '{axis}' do not touch: each {axis}_min must be the {axis}_max of "
                f"the cell before. {remedy}"
            )
        return np.append(lower, upper[-1])
    if _decreases(centers):
        raise ValueError(
            f"the centres along '{axis}' decrease; sort them by array.sortby('{axis}')."
        )
    steps: Any = np.diff(centers)
    # Two centres are always equally spaced, whatever the widths of their cells.
    if centers.size < 3 or not np.allclose(steps, steps[0], rtol=1e-5, atol=0):
        raise ValueError(
            f"the edges along '{axis}' do not follow from {centers.size} centres: cells are taken "
            "as equal only if three or more centres are equally spaced. Add the coordinates "
            f"'{axis}_min' and '{axis}_max', or build Mesh(edges)."
        )
    step = (centers[-1] - centers[0]) / (centers.size - 1)
    return np.asarray(centers[0] + step * (np.arange(centers.size + 1) - 0.5))


def _values(array: Any, name: str) -> Array:
    """Return a coordinate in metres, z positive down; refuse one whose attributes differ."""
    if name not in array.coords:
        raise ValueError(f"coordinate '{name}' is missing; give it in metres by assign_coords.")
    coordinate = array.coords[name]
    units = coordinate.attrs.get("units", "m")
    if unit_name(str(units)) != "m":
        raise ValueError(
            f"coordinate '{name}' is in {units!r}; it must be in metres. Convert the values and "
            "set attrs['units'] = 'm'."
        )
    if coordinate.attrs.get("positive", "down") != "down":
        raise ValueError(
            f"coordinate '{name}' is positive {coordinate.attrs['positive']}; z must be positive "
            "down. Change the sign, sort by z and set attrs['positive'] = 'down'."
        )
    return real_array(coordinate.values, f"coordinate {name}")


def _decreases(values: Array) -> bool:
    return values.size > 1 and bool((np.diff(values) < 0).all())


def _axis_attributes(axis: str, what: str) -> dict[str, str]:
    name = "depth" if axis == "z" else axis
    attributes = {"long_name": f"{name} of {what}", "units": "m"}
    return attributes | ({"positive": "down"} if axis == "z" else {})


def as_array(values: Any, shape: Sequence[int], argument: str, what: str) -> Array:
    """Return images whose last axes have the given shape as float64."""
    array = real_array(values, argument, finite=False)
    n = len(shape)
    if array.ndim < n or array.shape[-n:] != tuple(shape):
        raise ValueError(
            f"'{argument}' has shape {array.shape}; its last {n} axes must be {tuple(shape)}, "
            f"{what}."
        )
    return array
