"""Elevations of the ground from tables and grids."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skgrav._checks import find_dummies, import_optional
from skgrav._constraints import checked
from skgrav._typing import Array
from skgrav._warnings import warn
from skgrav.geometry import unit_size
from skgrav.io._container import file_path
from skgrav.io._table import MARKS_OF_ELEVATION, TABLE_OPTIONS, open_table
from skgrav.io._table_names import is_geographic

#: Names of coordinates beside those that are asked for.
_OTHER_NAMES = {
    "x": ("x", "easting", "east", "projection_x_coordinate"),
    "y": ("y", "northing", "north", "projection_y_coordinate"),
}

_spell = "'{}'".format


@checked(
    x=[str],
    y=[str, None],
    elevation=[str],
    length_unit=[str, None],
    elevation_unit=[str, None],
    **TABLE_OPTIONS,
)
def read_topography(
    path: str | os.PathLike[str],
    *,
    x: str = "x",
    y: str | None = "y",
    elevation: str = "elevation",
    length_unit: str | None = None,
    elevation_unit: str | None = None,
    names: Sequence[str] | None = None,
    delimiter: str | None = None,
    sheet: str | int | None = None,
) -> Any:
    r"""Read the elevation of the ground from a table or a grid.

    Parameters
    ----------
    path : str or path-like
        A grid in netCDF (``.nc``, ``.grd``) or GeoTIFF (``.tif``), or in the ASCII format of ESRI
        (``.asc``) or that of Surfer (``.grd``); any other file is a table in the layouts of
        `read_stations`, with a line for each point, such as ``.xyz``, ``.csv`` and the topography
        of UBC-GIF.
    x, y : str, default="x", "y"
        Columns or dimensions of easting and northing, for which those names are found, too. None
        for `y` reads a line, in 2D.
    elevation : str, default="elevation"
        Column of the elevation, positive up, or variable of a file with several. It need not be
        named where it is z, or the third column of a table of three.
    length_unit : str, default=None
        Unit of the coordinates: m, km, cm or ft. None takes that of the file, otherwise metres.
    elevation_unit : str, default=None
        Unit of the elevation; None takes `length_unit`.
    names : sequence of str, default=None
        Names of all columns of a table, in place of a header.
    delimiter : str, default=None
        Delimiter of a text, one character, "tab" or "blank"; None finds it.
    sheet : str or int, default=None
        Sheet of a workbook; None reads the only one.

    Returns
    -------
    topography : xarray.DataArray of dimensions (y, x), or ndarray of shape (n_points, ndim)
        Of a grid the elevation in metres, positive up, over increasing coordinates in metres, NaN
        where it is missing. Of a table the points with columns ``(z, y, x)`` or ``(z, x)``, z
        positive down.

    Raises
    ------
    ImportError
        If a package is missing: pandas and xarray are part of ``skgrav[io]``, rasterio of
        ``skgrav[geotiff]``.
    OSError
        If the file cannot be read.
    ValueError
        If the coordinates are geographic, a column or variable is missing, or a unit is unknown
        or contradicts the argument.

    Warns
    -----
    UserWarning
        If values are missing in rows of a table, or marked by numbers such as -9999 in a grid.

    See Also
    --------
    read_stations : Stations and their gravity.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from skgrav.io import read_topography
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "ground.topo")
    ...     _ = path.write_text("2\n0 100 25.5\n50 100 27\n")
    ...     read_topography(path).tolist()
    [[-25.5, 100.0, 0.0], [-27.0, 100.0, 50.0]]
    """
    path = file_path(path)
    kind = _kind(path)
    if kind is None:
        table = open_table(path, _spell, names=names, delimiter=delimiter, sheet=sheet)
        return _points(table, x, y, elevation, length_unit, elevation_unit)
    given = {"names": names, "delimiter": delimiter, "sheet": sheet}
    for argument, value in given.items():
        if value is not None:
            raise ValueError(f"'{argument}' is {value!r}, but {path} is a grid. Leave it out.")
    if y is None:
        raise ValueError(f"'y' is None, but {path} is a grid. Name its northing.")
    if kind == "raster":
        grid, units = _raster(path)
    else:
        grid, units = _netcdf(path, x, y, elevation)
    return _in_metres(path, grid, units, length_unit, elevation_unit)


def _kind(path: Path) -> str | None:
    """Return "netcdf", "raster", or None for a table."""
    suffix = path.suffix.lower()
    if suffix in {".nc", ".nc4", ".cdf"}:
        return "netcdf"
    if suffix in {".tif", ".tiff"}:
        return "raster"
    with path.open("rb") as stream:
        head = stream.read(8)
    if suffix == ".grd" and (head[:3] == b"CDF" or head[1:4] == b"HDF"):
        return "netcdf"
    if suffix in {".grd", ".asc"} and head[:4].upper() in {b"DSAA", b"DSBB", b"DSRB", b"NCOL"}:
        return "raster"
    return None


def _points(
    table: Any,
    x: str,
    y: str | None,
    elevation: str,
    length_unit: str | None,
    elevation_unit: str | None,
) -> Array:
    """Return the points of a table, with columns (z, y, x) or (z, x)."""
    places = {"x": x} if y is None else {"x": x, "y": y}
    names = [str(name) for name in table.words]
    if table.headerless and names == [str(k + 1) for k in range(len(places) + 1)]:
        places = dict(zip([*places, "elevation"], names, strict=True))
    else:
        places = {axis: _column(table, axis, name) for axis, name in places.items()}
        found = {table.column(name, _spell(axis)) for axis, name in places.items()}
        others = [name for name in names if name not in found]
        places["elevation"] = elevation
        if not table.has(elevation):
            if table.has("z"):
                places["elevation"] = "z"
            elif len(others) == 1:
                places["elevation"] = others[0]
    sizes = table.length_sizes(places, length_unit, elevation_unit)
    _, values = table.complete(places)
    axes = ["y", "x"] if "y" in places else ["x"]
    up = sizes["elevation"] * values["elevation"]
    return np.column_stack([0.0 - up, *(sizes[axis] * values[axis] for axis in axes)])


def _column(table: Any, axis: str, name: str) -> str:
    """Return the column of a coordinate."""
    others = (other for other in _OTHER_NAMES[axis] if table.has(other))
    return name if table.has(name) else next(others, name)


def _netcdf(path: Path, x: str, y: str, elevation: str) -> tuple[Any, dict[str, str | None]]:
    """Return the elevation of a netCDF file over (y, x), and the units that it states."""
    xarray = import_optional("xarray", str(path), "io")
    try:
        dataset = xarray.load_dataset(path, decode_times=False).squeeze(drop=True)
    except ValueError as error:
        with path.open("rb") as stream:
            in_hdf5 = stream.read(4)[1:] == b"HDF"
        if in_hdf5 and "dependencies" in str(error):
            raise ImportError(
                f"{path} is netCDF 4, for which xarray needs h5netcdf or netCDF4; install one by "
                "pip install h5netcdf."
            ) from error
        raise ValueError(f"{path} cannot be read as netCDF: {error}") from error
    grids = [name for name, variable in dataset.data_vars.items() if variable.ndim == 2]
    name = elevation if elevation in grids else next(iter(grids), None)
    if name is None or (len(grids) > 1 and name != elevation):
        raise ValueError(
            f"{path} has the grids {grids}, not '{elevation}'. Name that of the elevation by "
            "'elevation'."
        )
    grid = dataset[name]
    found = {axis: _dimension(path, grid, axis, named) for axis, named in (("y", y), ("x", x))}
    units = {axis: grid[dim].attrs.get("units") for axis, dim in found.items()}
    for dim, unit in zip(found.values(), units.values(), strict=True):
        if is_geographic(f"{dim} {grid[dim].attrs.get('standard_name', '')}", unit or ""):
            _refuse_geographic(path)
    values = grid.transpose(found["y"], found["x"])
    if values.attrs.get("positive") == "down":
        values = -values
    coords = {axis: grid[dim].values.astype(np.float64) for axis, dim in found.items()}
    units["elevation"] = grid.attrs.get("units")
    return xarray.DataArray(values.values.astype(np.float64), coords, ("y", "x")), units


def _dimension(path: Path, grid: Any, axis: str, name: str) -> str:
    """Return the dimension of a grid along an axis."""
    if name in grid.dims:
        return name
    for dim in grid.dims:
        coordinate = grid[dim]
        known = {str(dim).lower(), str(coordinate.attrs.get("standard_name", "")).lower()}
        if is_geographic(" ".join(known), str(coordinate.attrs.get("units", ""))):
            _refuse_geographic(path)
        if known & set(_OTHER_NAMES[axis]):
            return str(dim)
    raise ValueError(
        f"the grid of {path} has the dimensions {list(grid.dims)}, not '{name}'. Name it by "
        f"'{axis}'."
    )


def _raster(path: Path) -> tuple[Any, dict[str, Any]]:
    """Return the elevation of a raster over (y, x), and the units that it states."""
    rasterio = import_optional("rasterio", str(path), "geotiff")
    xarray = import_optional("xarray", str(path), "io")
    with _opened(rasterio, path) as raster:
        place, crs = raster.transform, raster.crs
        if crs is not None and crs.is_geographic:
            _refuse_geographic(path)
        if raster.count != 1 or place.b or place.d:
            raise ValueError(
                f"{path} has {raster.count} bands and the transform {tuple(place)[:6]}; give one "
                "band of elevations whose rows lie along x."
            )
        try:
            values = raster.read(1, masked=True).astype(np.float64).filled(np.nan)
        except rasterio.errors.RasterioIOError as error:
            raise OSError(f"{path} cannot be read, it may be truncated: {error}") from error
        values = values * raster.scales[0] + raster.offsets[0]
        along = None if crs is None else crs.linear_units_factor[1]
        units = {"x": along, "y": along, "elevation": raster.units[0]}
    ny, nx = values.shape
    x = place.c + place.a * (np.arange(nx) + 0.5)
    y = place.f + place.e * (np.arange(ny) + 0.5)
    return xarray.DataArray(values, {"y": y, "x": x}, ("y", "x")), units


def _opened(rasterio: Any, path: Path) -> Any:
    """Open a raster."""
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist.")
    try:
        return rasterio.open(path)
    except rasterio.errors.RasterioIOError as error:
        raise OSError(f"{path} cannot be read as a raster: {error}") from error


def _in_metres(
    path: Path,
    grid: Any,
    units: dict[str, Any],
    length_unit: str | None,
    elevation_unit: str | None,
) -> Any:
    """Return a grid in metres over increasing coordinates, with NaN for marks."""
    up_unit = elevation_unit or length_unit
    sizes = {axis: _size(path, axis, units[axis], "length_unit", length_unit) for axis in "yx"}
    if up_unit is None and not units["elevation"] and sizes["x"] != 1:
        raise ValueError(
            f"{path} states that x is in units of {sizes['x']:g} m, but not the unit of the "
            "elevation. Give 'elevation_unit'."
        )
    up = _size(path, "elevation", units["elevation"], "elevation_unit", up_unit)
    known = np.isfinite(grid.values)
    if not known.any():
        raise ValueError(f"{path} has no elevation: all its values are missing.")
    values = grid.values.copy()
    size = np.abs(values[known])
    marks = np.zeros(known.shape, dtype=bool)
    marks[known] = find_dummies(values[known]) | np.isin(size, MARKS_OF_ELEVATION) | (size > 1e15)
    if marks.any():
        warn(
            f"{path}: {marks.sum()} of {marks.size} nodes are taken as missing, since they are "
            f"{', '.join(f'{v:.10g}' for v in np.unique(values[marks]))}."
        )
        values[marks] = np.nan
    grid = grid.copy(data=up * values).assign_coords(
        {axis: sizes[axis] * grid[axis].values for axis in "yx"}
    )
    grid = grid.sortby(["y", "x"]).rename("elevation")
    grid.attrs = {"units": "m", "positive": "up", "long_name": "elevation of the ground"}
    for axis in "yx":
        grid[axis].attrs["units"] = "m"
    return grid


def _size(path: Path, axis: str, stated: Any, argument: str, unit: str | None) -> float:
    """Return the size of a unit that a file states, by name or in metres, or an argument gives."""
    size = stated if isinstance(stated, float) else None
    if size is None and stated:
        size = unit_size("length", stated, f"{axis} of {path}")
    if unit is None:
        return 1.0 if size is None else size
    given = unit_size("length", unit, f"'{argument}'")
    if size is not None and not np.isclose(size, given, rtol=1e-5, atol=0):
        raise ValueError(
            f"{axis} of {path} is in units of {size:g} m, but '{argument}' is {unit}. Correct one "
            "of them."
        )
    return given if size is None else size


def _refuse_geographic(path: Path) -> None:
    raise ValueError(
        f"{path} is in degrees; meshes need metres. Project it, for example by rasterio to UTM "
        "zone 19 south, or that of yours:\n"
        f"    rio warp {path} projected.tif --dst-crs EPSG:32719"
    )
