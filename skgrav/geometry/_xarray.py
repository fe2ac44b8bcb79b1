"""Labelled arrays: densities and gravity with their coordinates, to xarray and back.

Cells are labelled by their centres, with both edges as further coordinates: they are cut along
with a slice, where edges in attributes would stay behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skgrav._checks import real_array
from skgrav.geometry._values import AXES

if TYPE_CHECKING:
    from skgrav.geometry._mesh import Mesh
    from skgrav.geometry._survey import Survey

Array = NDArray[np.float64]

_SAMPLE, _STATION = "sample", "station"


def density_array(mesh: Mesh, rho: ArrayLike, name: str, units: str) -> Any:
    """Return densities as a DataArray of dimensions (sample,) z, (y,) x."""
    xarray = _import_xarray("Mesh.to_xarray")
    images = mesh.unflatten(rho)
    if images.ndim > mesh.ndim + 1:
        raise ValueError(
            f"'rho' has shape {np.shape(rho)}; it must be (n_cells,) or (n_samples, n_cells)."
        )
    axes = AXES[mesh.ndim]
    coords: dict[str, Any] = {}
    for axis, edges, centers in zip(axes, mesh.edges, mesh.centers, strict=True):
        coords[axis] = axis, centers, _axis_attributes(axis, "cell centre")
        coords[f"{axis}_min"] = axis, edges[:-1], _axis_attributes(axis, "smaller edge")
        coords[f"{axis}_max"] = axis, edges[1:], _axis_attributes(axis, "larger edge")
    dims = (_SAMPLE, *axes)[-images.ndim :]
    attributes = {"long_name": name, "units": units}
    return xarray.DataArray(images, coords, dims, name=name, attrs=attributes)


def edges_of(array: Any) -> list[Array]:
    """Return the edges of the cells of a labelled array along each axis."""
    return [_edges_along(axis, array) for axis in _axes_of(array, "array")]


def density_image(mesh: Mesh, array: Any) -> NDArray[Any]:
    """Return a labelled array in the order of the mesh, once it lies on its cells."""
    axes = AXES[mesh.ndim]
    if _axes_of(array, "images") != axes or not hasattr(array, "values"):
        raise ValueError(f"'images' must be one DataArray of dimensions {axes}, as is this mesh.")
    for axis, centers in zip(axes, mesh.centers, strict=True):
        found = _values(array, axis)
        tolerance = 1e-6 * float(np.ptp(mesh.edges[axes.index(axis)]))
        if found.shape != centers.shape or not np.allclose(found, centers, 0, tolerance):
            raise ValueError(
                f"coordinate '{axis}' of 'images' are not the cell centres of this mesh along "
                f"{axis}. Interpolate with array.interp, or take Mesh.from_xarray(array)."
            )
    return array.transpose(..., *axes).values


def gravity_dataset(survey: Survey, g: ArrayLike, units: str) -> Any:
    """Return gravity as a Dataset with one variable per component."""
    xarray = _import_xarray("Survey.to_xarray")
    profiles = survey.unflatten(g)
    if profiles.ndim > 3:
        raise ValueError(
            f"'g' has shape {np.shape(g)}; it must be (n_data,) or (n_samples, n_data)."
        )
    coords = {
        axis: (_STATION, column, _axis_attributes(axis, "station"))
        for axis, column in zip(AXES[survey.ndim], survey.stations.T, strict=True)
    }
    dims = (_SAMPLE, _STATION)[-(profiles.ndim - 1) :]
    data: dict[str, Any] = {}
    for k, component in enumerate(survey.components):
        attributes = {"long_name": f"gravity, {component} component", "units": units}
        if component == "z":
            attributes["positive"] = "down"
        data[f"g{component}"] = dims, profiles[..., k, :], attributes
    if survey.uncertainty is not None:
        for component, sigma in zip(
            survey.components, survey.unflatten(survey.uncertainty), strict=True
        ):
            attributes = {"long_name": f"standard deviation of g{component}", "units": units}
            data[f"g{component}_uncertainty"] = _STATION, sigma, attributes
    return xarray.Dataset(data, coords)


def survey_arguments(dataset: Any) -> tuple[Array, tuple[str, ...], Array | None]:
    """Return stations, components and uncertainty of a labelled dataset."""
    axes = AXES[3] if "y" in dataset.coords else AXES[2]
    stations, _ = _stations(axes, dataset)
    components = tuple(str(n)[1:] for n in dataset.data_vars if n in {f"g{a}" for a in axes})
    if not components:
        raise ValueError(
            f"'dataset' has the variables {list(dataset.data_vars)}; gravity must be among them "
            f"as {', '.join(f'g{a}' for a in axes)}."
        )
    uncertain = [c for c in components if f"g{c}_uncertainty" in dataset]
    if not uncertain:
        return stations, components, None
    if len(uncertain) < len(components):
        raise ValueError(
            f"'dataset' has an uncertainty of components {uncertain} alone; give all of "
            f"{components} one, or drop it."
        )
    sigma = [real_array(dataset[n].values, n) for n in (f"g{c}_uncertainty" for c in components)]
    return stations, components, np.concatenate(sigma)


def gravity_profiles(survey: Survey, dataset: Any) -> Array:
    """Return a labelled dataset in the order of the survey, once its stations are the same."""
    missing = [f"g{c}" for c in survey.components if f"g{c}" not in dataset]
    if missing:
        raise ValueError(f"'profiles' lacks {', '.join(missing)}, which this survey has.")
    stations, along = _stations(AXES[survey.ndim], dataset)
    same = stations.shape == survey.stations.shape
    if not same or not np.allclose(stations, survey.stations, rtol=1e-9, atol=1e-6):
        raise ValueError(
            "'profiles' has other stations than this survey; take Survey.from_xarray(profiles)."
        )
    parts = [dataset[f"g{c}"].transpose(..., along).values for c in survey.components]
    return np.stack([real_array(part, "profiles", finite=False) for part in parts], axis=-2)


def _stations(axes: Sequence[str], dataset: Any) -> tuple[Array, str]:
    """Return the coordinates of stations as columns, and the dimension along which they lie."""
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
    """Tell whether values are xarray's, without loading xarray."""
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
            raise ValueError(
                f"cells along '{axis}' do not touch: each {axis}_min must be the {axis}_max of "
                "the cell before. Take neighbouring cells, in increasing order."
            )
        return np.append(lower, upper[-1])
    steps: Any = np.diff(centers)
    if centers.size < 2 or not np.allclose(steps, steps[0], rtol=1e-5):
        raise ValueError(
            f"the centres along '{axis}' do not tell the edges of cells of different widths; add "
            f"the coordinates '{axis}_min' and '{axis}_max', or build Mesh(edges)."
        )
    step = (centers[-1] - centers[0]) / (centers.size - 1)
    return np.asarray(centers[0] + step * (np.arange(centers.size + 1) - 0.5))


def _values(array: Any, name: str) -> Array:
    """Return a coordinate in metres, with z positive down; refuse what says that it isn't."""
    if name not in array.coords:
        raise ValueError(f"coordinate '{name}' is missing; give it in metres by assign_coords.")
    coordinate = array.coords[name]
    units = coordinate.attrs.get("units", "m")
    if units not in {"m", "metre", "metres", "meter", "meters"}:
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


def _axis_attributes(axis: str, what: str) -> dict[str, str]:
    name = "depth" if axis == "z" else axis
    attributes = {"long_name": f"{name} of {what}", "units": "m"}
    return attributes | ({"positive": "down"} if axis == "z" else {})


def _import_xarray(what: str) -> Any:
    try:
        import xarray
    except ImportError as error:
        raise ImportError(
            f"{what} needs xarray; install it by pip install 'skgrav[io]'."
        ) from error
    return xarray


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
