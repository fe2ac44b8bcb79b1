"""Conversion of Harmonica's grids and sources to data, and of surveys and meshes to Harmonica."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from skgrav._checks import import_optional, real_array
from skgrav._typing import Array
from skgrav._warnings import warn
from skgrav.geometry import COMPONENTS, Mesh, Survey, component_unit, unit_size

_COORDINATES = ("upward", "northing", "easting")

#: Components by Harmonica's names of fields; g_z, g_ez and g_nz are positive down, as here.
_FIELDS = {
    "g_" + "".join({"x": "e", "y": "n", "z": "z"}[axis] for axis in component): component
    for component in COMPONENTS[3]
}


def from_harmonica(
    grid: Any, components: Mapping[str, str] | None = None, *, upward: Any = None
) -> tuple[Survey, Array]:
    """Convert a projected grid of Harmonica or Verde, or scattered data in the same form.

    Parameters
    ----------
    grid : Dataset or DataArray
        Values with the coordinates easting, northing and upward in metres. Nodes with the value NaN
        are left out. Values are in mGal and Eotvos, or in the unit of their attribute ``units``; gz
        is positive above a positive mass, as in Harmonica.
    components : dict of str, default=None
        Component of each variable to convert, as in ``{"gravity_disturbance": "z"}``. None takes
        the variables with Harmonica's names of fields, such as ``g_e``, ``g_n``, ``g_z``, ``g_ez``.
    upward : float or DataArray, default=None
        Height of the nodes in metres, for grids without this coordinate, such as those of Verde.

    Returns
    -------
    survey : Survey
        A station for each node with values, in the order of `grid`.
    X : ndarray of shape (1, n_data)
        The data.

    Raises
    ------
    ImportError
        If xarray, part of ``skgrav[bridges]``, is missing.
    TypeError
        If `grid` is not a Dataset or DataArray.
    ValueError
        If coordinates or components are missing or unknown, coordinates are degrees, or no node has
        values.

    See Also
    --------
    from_equivalent_sources : Data on a lattice from scattered stations.
    skgrav.Survey : Its `from_xarray` reads labelled data of this library.

    Examples
    --------
    >>> import xarray as xr
    >>> from skgrav.bridges import from_harmonica
    >>> grid = xr.Dataset(
    ...     {"g_z": (("northing", "easting"), [[1.0, 2.0], [3.0, 4.0]])},
    ...     {"northing": [0.0, 10.0], "easting": [0.0, 20.0]},
    ... )
    >>> survey, X = from_harmonica(grid, upward=5.0)
    >>> survey.stations[-1], X
    (array([-5., 10., 20.]), array([[1., 2., 3., 4.]]))
    """
    xarray = import_optional("xarray", "from_harmonica", "bridges")
    if isinstance(grid, xarray.DataArray):
        grid = grid.to_dataset(name=grid.name or "values")
    if not isinstance(grid, xarray.Dataset):
        raise TypeError(f"'grid' is of type {type(grid).__name__}; give a Dataset or DataArray.")
    chosen = _chosen(grid, components)
    if upward is not None:
        grid = grid.assign_coords(upward=upward)
    missing = [name for name in _COORDINATES if name not in grid.coords]
    if missing:
        degrees = {"longitude", "latitude"} & set(map(str, grid.coords))
        raise ValueError(
            f"'grid' lacks the coordinates {', '.join(missing)}, it has "
            f"{', '.join(map(str, grid.coords))}. "
            + (
                "Project it from degrees to metres, as by verde.project_grid."
                if degrees
                else "Rename them, or give 'upward'."
            )
        )
    columns = [grid.coords[name] for name in _COORDINATES]
    values = [grid[name] for name in chosen]
    arrays = xarray.broadcast(values[0], *values[1:], *columns)
    flat = [real_array(a.values.ravel(), "grid", finite=False) for a in arrays]
    known = np.isfinite(flat[: len(values)]).all(axis=0)
    if not known.any():
        raise ValueError("'grid' has no node with values; all are NaN.")
    sizes = [_size("length", column, "m") for column in columns]
    stations = np.column_stack(
        [size * f[known] for size, f in zip(sizes, flat[len(values) :], strict=True)]
    )
    data = [
        _size("gravity" if len(c) == 1 else "gradient", grid[name], component_unit(c)) * f[known]
        for (name, c), f in zip(chosen.items(), flat, strict=False)
    ]
    survey = Survey(stations * [-1.0, 1.0, 1.0] + 0.0, list(chosen.values()))  # no -0
    return survey, np.concatenate(data)[None]


def from_equivalent_sources(sources: Any, survey: Survey) -> Array:
    """Predict gravity at the stations of a survey with fitted equivalent sources.

    Scattered data are thus converted to data on a lattice, such as that of `Survey.grid`, for which
    FFTs can be used.

    Parameters
    ----------
    sources : harmonica.EquivalentSources or EquivalentSourcesGB
        Sources fitted to gz in mGal, positive above a positive mass.
    survey : Survey
        Stations of gz in 3D, above the sources.

    Returns
    -------
    X : ndarray of shape (1, n_data)
        The data.

    Raises
    ------
    ImportError
        If Harmonica, part of ``skgrav[bridges]``, is missing.
    TypeError
        If `sources` or `survey` is of another type.
    ValueError
        If the sources are not fitted, the survey has other components than gz, or stations are not
        above the highest source.

    Warns
    -----
    UserWarning
        If stations lie outside the extent of the fitted data.

    See Also
    --------
    from_harmonica : Conversion of grids and scattered data.

    Examples
    --------
    >>> import harmonica
    >>> import numpy as np
    >>> from skgrav import Mesh, Survey
    >>> from skgrav.bridges import from_equivalent_sources, to_harmonica
    >>> mesh = Mesh.regular((2, 3, 4), 100.0)
    >>> survey = Survey.grid(mesh, height=50.0)
    >>> sources = harmonica.EquivalentSources(depth=200.0, parallel=False)
    >>> sources = sources.fit(to_harmonica(survey), np.arange(12.0))
    >>> lattice = Survey.grid(mesh, height=80.0, shape=(2, 3))
    >>> from_equivalent_sources(sources, lattice).shape
    (1, 6)
    """
    harmonica = import_optional("harmonica", "from_equivalent_sources", "bridges")
    kinds = harmonica.EquivalentSources
    if not isinstance(sources, kinds):
        raise TypeError(
            f"'sources' is of type {type(sources).__name__}; give a fitted "
            "harmonica.EquivalentSources of projected coordinates."
        )
    if not hasattr(sources, "coefs_"):
        raise ValueError("'sources' is not fitted; call its fit with coordinates and data first.")
    coordinates = to_harmonica(survey)
    if survey.components != ("z",):
        raise ValueError(
            f"'survey' has the components {survey.components}; equivalent sources predict the "
            "field that they were fitted to, here ('z',)."
        )
    highest = float(np.max(sources.points_[2]))
    lowest = float(coordinates[2].min())
    if lowest <= highest:
        raise ValueError(
            f"'survey' has stations down to upward = {lowest:g} m, but the highest of 'sources' is "
            f"at {highest:g} m. Raise the stations, or fit deeper sources."
        )
    west, east, south, north = sources.region_
    beyond = (coordinates[0] < west) | (coordinates[0] > east)
    beyond |= (coordinates[1] < south) | (coordinates[1] > north)
    if beyond.any():
        warn(
            f"{np.count_nonzero(beyond)} of {survey.n_stations} stations lie beyond the data to "
            "which 'sources' were fitted, and are extrapolated. Use a smaller survey."
        )
    return np.asarray(sources.predict(coordinates), dtype=np.float64)[None]


def to_harmonica(geometry: Mesh | Survey) -> Any:
    """Convert the stations of a survey, or the cells of a mesh, to arguments of Harmonica.

    Parameters
    ----------
    geometry : Survey or Mesh
        Geometry in 3D.

    Returns
    -------
    coordinates : tuple of three ndarray of shape (n_stations,)
        For a survey: easting, northing and upward in metres.
    prisms : ndarray of shape (n_cells, 6)
        For a mesh: west, east, south, north, bottom and top of each active cell in metres, in the
        order of densities, so that ``harmonica.prism_gravity(coordinates, prisms, rho,
        field="g_z")`` equals gz of a `ForwardOperator`.

    Raises
    ------
    TypeError
        If `geometry` is of another type.
    ValueError
        If `geometry` is in 2D.

    See Also
    --------
    from_harmonica : The reverse conversion of data.

    Examples
    --------
    >>> from skgrav import Mesh
    >>> from skgrav.bridges import to_harmonica
    >>> to_harmonica(Mesh([[0, 10, 30], [0, 5], [0, 7]]))
    array([[  0.,   7.,   0.,   5., -10.,   0.],
           [  0.,   7.,   0.,   5., -30., -10.]])
    """
    if not isinstance(geometry, Mesh | Survey):
        raise TypeError(
            f"'geometry' is of type {type(geometry).__name__}; give a Survey or a Mesh."
        )
    if geometry.ndim != 3:
        raise ValueError(
            f"'geometry' is a {type(geometry).__name__} in 2D; Harmonica's prisms and stations "
            "are in 3D."
        )
    if isinstance(geometry, Survey):
        down, northing, easting = geometry.stations.T
        return easting, northing, 0.0 - down
    indices = np.unravel_index(geometry.cells, geometry.shape)
    columns = []
    for edges, i in zip(geometry.edges[::-1], indices[::-1], strict=True):
        columns += [edges[i], edges[i + 1]]
    west, east, south, north, top, bottom = columns
    return np.column_stack([west, east, south, north, 0.0 - bottom, 0.0 - top])


def _chosen(grid: Any, components: Mapping[str, str] | None) -> dict[str, str]:
    """Return the component of each variable to convert."""
    if components is None:
        chosen = {str(n): _FIELDS[n] for n in grid.data_vars if n in _FIELDS}
    else:
        chosen = dict(components)
    unknown = [n for n in chosen if n not in grid.data_vars]
    if unknown or not chosen:
        raise ValueError(
            f"'grid' has the variables {', '.join(map(str, grid.data_vars))}; gravity must be "
            f"among them as {', '.join(unknown or _FIELDS)}. Give 'components', as in "
            f"{{{str(next(iter(grid.data_vars), 'gravity'))!r}: 'z'}}."
        )
    strange = [c for c in chosen.values() if c not in COMPONENTS[3]]
    if strange:
        raise ValueError(
            f"'components' has {strange[0]!r}; allowed are {', '.join(COMPONENTS[3])}."
        )
    return chosen


def _size(quantity: str, array: Any, default: str) -> float:
    units = array.attrs.get("units", default)
    return unit_size(quantity, units, f"variable '{array.name}'")
