"""Stations and their gravity from tables."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from numbers import Real
from typing import Any, NoReturn

import numpy as np

from skgrav._constraints import ANY_NUMBER, Interval, checked
from skgrav._typing import Array
from skgrav._warnings import warn
from skgrav.geometry import Survey, component_unit
from skgrav.io._table import LINE_OPTION, TABLE_OPTIONS, Table, open_table

#: Arguments that name a column or a unit.
_NAMES = (
    *("y", "elevation", "gz", "gx", "gy", "gxx", "gxy", "gxz", "gyy", "gyz", "gzz"),
    *("length_unit", "elevation_unit", "gravity_unit", "gradient_unit"),
)

#: Sign of gz relative to skgrav's, by the direction in which the data are positive.
_SIGNS = {"down": 1.0, "up": -1.0}


@checked(
    x=[str],
    height=[ANY_NUMBER],
    positive=[str],
    uncertainty=[str, Interval(Real, 0, None, closed="neither"), Mapping, None],
    **{name: [str, None] for name in _NAMES},
    line=LINE_OPTION,
    **TABLE_OPTIONS,
)
def read_stations(
    path: str | os.PathLike[str],
    *,
    x: str = "x",
    y: str | None = None,
    elevation: str | None = None,
    height: float = 0.0,
    gz: str | None = "gz",
    gx: str | None = None,
    gy: str | None = None,
    gxx: str | None = None,
    gxy: str | None = None,
    gxz: str | None = None,
    gyy: str | None = None,
    gyz: str | None = None,
    gzz: str | None = None,
    uncertainty: str | float | Mapping[str, str | float] | None = None,
    positive: str = "down",
    length_unit: str | None = None,
    elevation_unit: str | None = None,
    gravity_unit: str | None = None,
    gradient_unit: str | None = None,
    line: str | int | Iterable[str | int] | None = None,
    names: Sequence[str] | None = None,
    delimiter: str | None = None,
    sheet: str | int | None = None,
) -> tuple[Survey, Array | None]:
    r"""Read stations and their gravity from a table.

    Parameters
    ----------
    path : str or path-like
        The table: text or a sheet of Excel, in one of the layouts under Notes.
    x : str, default="x"
        Column of the distance, in 3D of the easting. Columns are found by their name in any case,
        with or without its unit: "x" also means ``X`` and ``x [km]``.
    y : str, default=None
        Column of the northing; None reads a line, in 2D.
    elevation : str, default=None
        Column of the elevation, positive up.
    height : float, default=0.0
        Elevation of all stations without a column `elevation`, in `elevation_unit`.
    gz, gx, gy : str, default=None
        Columns of gravity; by default gz from "gz".
    gxx, gxy, gxz, gyy, gyz, gzz : str, default=None
        Columns of its gradients. Without any column of data only stations are read.
    uncertainty : str, float or dict, default=None
        Column of the standard deviation of each datum, the same for all components, or one
        number, in the unit of the data; or a dict of these by component, such as
        ``{"z": 0.1, "zz": "std"}``, as gravity beside gradients needs.
    positive : {"down", "up"}, default="down"
        Direction in which gz is positive in the table; "up" changes its sign and that of gxz and
        gyz.
    length_unit : str, default=None
        Unit of the coordinates: m, km, cm or ft. None takes that of a name such as ``x_km`` or
        ``x [km]`` or of a row of units, otherwise metres. A unit that is given must not contradict
        them.
    elevation_unit : str, default=None
        Unit of `elevation` and `height`; None takes that which the column states, otherwise
        `length_unit`.
    gravity_unit : str, default=None
        Unit of the data: mGal, uGal, Gal, gu, um/s2, nm/s2, mm/s2 or m/s2, in any usual spelling.
        None takes that of the names or of a row of units, otherwise mGal.
    gradient_unit : str, default=None
        Unit of gradients: E, 1/s2, mGal/m or uGal/m. None takes that of the names or of a row of
        units, otherwise E.
    line : str, int or sequence of these, default=None
        Lines of the survey to read, as ``100`` or ``["L100", "T20"]``, from Geosoft's XYZ format or
        a column "line"; None reads all.
    names : sequence of str, default=None
        Names of all columns, in place of a header.
    delimiter : str, default=None
        Delimiter of a text, one character, "tab" or "blank"; None finds it.
    sheet : str or int, default=None
        Sheet of a workbook; None reads the only one.

    Returns
    -------
    survey : Survey
        Stations in the order of the table, with columns ``(z, x)`` or ``(z, y, x)`` in metres, z
        positive down.
    data : ndarray of shape (n_data,) or None
        Gravity in mGal, then gradients in Eotvos, component-major; None without columns of data.

    Raises
    ------
    ImportError
        If pandas, part of ``skgrav[io]``, is missing, or the package it needs for a sheet.
    OSError
        If the file cannot be read.
    ValueError
        If a column is missing or geographic, an entry is not a number, lines of a survey that lie
        beside one another are read without `y`, or a unit is unknown, contradicts the argument, or
        is given for some columns alone. The message names file, line and column.

    Warns
    -----
    UserWarning
        If rows with missing values are left out, or stations are repeated, with their lines.

    See Also
    --------
    read_table : All columns, with the line of the survey that each row belongs to.
    read_ubc_survey : Stations from UBC-GIF files.

    Notes
    -----
    Text is separated by commas, semicolons, tabs, bars or blanks, with points or commas as decimal
    marks, in UTF-8, UTF-16 or the encoding of Windows. Blank lines, and comments after ``#``,
    ``!``, ``%`` or ``/``, are skipped, as are titles without the delimiter above a table; a count
    of rows on the first line and a row of units below the header are recognised. Without a header,
    a comment above the first row with one word for each column names the columns; otherwise they
    are "1", "2" and so on.

    Values are missing where an entry is blank, NaN, NA, ``*``, or a mark such as -9999, 99999,
    -1e8 or 1e30 far from the others. Rows in which a value is missing are left out. Repeated
    stations are kept: each is a datum of its own.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from skgrav.io import read_stations
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "profile.csv")
    ...     _ = path.write_text("x_km;gz\n0,5;1,5\n1;2\n")
    ...     survey, data = read_stations(path, height=20, elevation_unit="m")
    >>> survey.stations.tolist(), data.tolist()
    ([[-20.0, 500.0], [-20.0, 1000.0]], [1.5, 2.0])
    """
    table = open_table(
        path, "'{}'".format, names=names, delimiter=delimiter, sheet=sheet, line=line
    )
    _, survey, data = stations_of(
        table,
        {"y": y, "x": x} | upward(elevation, height),
        {
            "x": gx,
            "y": gy,
            "z": gz,
            "xx": gxx,
            "xy": gxy,
            "xz": gxz,
            "yy": gyy,
            "yz": gyz,
            "zz": gzz,
        },
        uncertainty,
        positive,
        {
            "length_unit": length_unit,
            "elevation_unit": elevation_unit,
            "gravity_unit": gravity_unit,
            "gradient_unit": gradient_unit,
        },
    )
    return survey, data


@checked(line=LINE_OPTION, **TABLE_OPTIONS)
def read_table(
    path: str | os.PathLike[str],
    *,
    line: str | int | Iterable[str | int] | None = None,
    names: Sequence[str] | None = None,
    delimiter: str | None = None,
    sheet: str | int | None = None,
) -> Any:
    r"""Read all columns of a table.

    Parameters
    ----------
    path : str or path-like
        The table, in any layout of `read_stations`.
    line : str, int or sequence of these, default=None
        Lines of the survey to read, as in `read_stations`; None reads all.
    names : sequence of str, default=None
        Names of all columns, in place of a header.
    delimiter : str, default=None
        Delimiter of a text, one character, "tab" or "blank"; None finds it.
    sheet : str or int, default=None
        Sheet of a workbook; None reads the only one.

    Returns
    -------
    table : pandas.DataFrame
        A column is of numbers, NaN where they are missing, if all its entries are numbers, and
        otherwise of text. The index is the line of each row in the file. Tables in Geosoft's XYZ
        format have a column "line" of the line of the survey, such as L100 or T20.
        ``attrs["units"]`` is the row of units, by column.

    Raises
    ------
    ImportError
        If pandas, part of ``skgrav[io]``, is missing, or the package it needs for a sheet.
    OSError
        If the file cannot be read.
    ValueError
        If the rows do not fit the columns; the message names file and line.

    See Also
    --------
    read_stations : A survey and its data, in metres and mGal.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from skgrav.io import read_table
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "area.xyz")
    ...     _ = path.write_text("/ x y gz\nLine 10\n0 5 1.5\n9 5 *\nTie 2\n4 0 1.2\n")
    ...     print(read_table(path).to_csv(lineterminator="\n"))
    row,line,x,y,gz
    3,L10,0.0,5.0,1.5
    4,L10,9.0,5.0,
    6,T2,4.0,0.0,1.2
    <BLANKLINE>
    """
    spell = "'{}'".format
    return open_table(path, spell, names=names, delimiter=delimiter, sheet=sheet, line=line).frame()


def stations_of(
    table: Table,
    places: Mapping[str, str | float | None],
    components: Mapping[str, str | None],
    uncertainty: str | float | Mapping[str, str | float] | None,
    positive: str,
    units: Mapping[str, str | None],
) -> tuple[Table, Survey, Array | None]:
    """Return the rows without missing values, their survey and their data.

    `places` are columns of y and x and a column or number of elevations, by argument, `components`
    are columns by component, and `units` those of `read_stations`, by argument.
    """
    if positive not in _SIGNS:
        raise ValueError(
            f"{table.spell('positive')} is {positive!r}; it must be 'down' or 'up', the direction "
            "in which gz is positive."
        )
    if places.get("y") is None and len(set(table.survey_lines or ())) > 1:
        _refuse_lines(table)
    lengths = {argument: place for argument, place in places.items() if place is not None}
    names = {component: name for component, name in components.items() if name is not None}
    sigmas = _by_component(uncertainty, list(names), table.spell("uncertainty"))
    sizes = table.length_sizes(lengths, units["length_unit"], units["elevation_unit"])
    columns: dict[str, str | float] = {}
    for argument, unit in (("gravity_unit", "mGal"), ("gradient_unit", "E")):
        these = [component for component in names if component_unit(component) == unit]
        asked: dict[str, str | float] = {f"g{c}": names[c] for c in these}
        asked |= {f"uncertainty of g{c}": sigmas[c] for c in these if c in sigmas}
        sizes |= table.sizes(asked, argument, units[argument])
        columns |= asked
    table, values = table.complete(lengths | columns)
    values = {argument: sizes[argument] * v for argument, v in values.items()}
    up = next((values[a] for a in ("elevation", "height") if a in values), 0.0)
    # Not -up, which is -0.0 at sea level: surveys are compared by bytes.
    axes = [0.0 - up, *(values[axis] for axis in ("y", "x") if axis in values)]
    stations = np.column_stack(np.broadcast_arrays(*axes))
    data = [_SIGNS[positive] ** c.count("z") * values[f"g{c}"] for c in names]
    if "y" not in values and table.has("line") and _overlap(table.groups(""), values["x"]):
        _refuse_lines(table)
    _warn_repeated(table, stations, data)
    if not names:
        return table, Survey(stations, ("z",)), None
    sigma = [values[f"uncertainty of g{c}"] for c in sigmas]
    survey = Survey(stations, tuple(names), np.concatenate(sigma) if sigma else None)
    return table, survey, np.concatenate(data)


def upward(elevation: str | None, height: float) -> dict[str, str | float | None]:
    """Return the column of elevations, or their number unless it is zero in any unit."""
    return {"elevation": elevation, "height": (height or None) if elevation is None else None}


def _by_component(
    uncertainty: str | float | Mapping[str, str | float] | None, measured: list[str], name: str
) -> dict[str, str | float]:
    """Return the uncertainty of each component, a column or a number."""
    if uncertainty is None:
        return {}
    if not isinstance(uncertainty, Mapping):
        if len({component_unit(c) for c in measured}) > 1:
            raise ValueError(
                f"{name} is {uncertainty!r} for the components {measured}, in mGal and in E. Give "
                "one for each of them."
            )
        return dict.fromkeys(measured, uncertainty)
    if set(uncertainty) != set(measured):
        raise ValueError(
            f"{name} has the components {list(uncertainty)}; give one for each of {measured}."
        )
    return {component: uncertainty[component] for component in measured}


def _refuse_lines(table: Table) -> NoReturn:
    """Raise ValueError about lines beside one another that are read as one profile."""
    raise ValueError(
        f"{table.path} has the lines {', '.join(dict.fromkeys(table.groups('')))}. Choose one by "
        f"{table.spell('line')}, or read the area by {table.spell('y')}."
    )


def _overlap(groups: list[str], x: Array) -> bool:
    """Return whether lines of a survey, not single stations, extend over the same places."""
    names, group = np.unique(groups, return_inverse=True)
    first, last = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    np.minimum.at(first, group, x)
    np.maximum.at(last, group, x)
    lines = sorted((a, b) for a, b in zip(first, last, strict=True) if a < b)
    return any(start < end for (_, end), (start, _) in pairwise(lines))


def _warn_repeated(table: Table, stations: Array, data: list[Array]) -> None:
    """Warn if rows have the same station."""
    _, first, group = np.unique(stations, axis=0, return_index=True, return_inverse=True)
    first = first[group.ravel()]
    repeated = np.flatnonzero(first != np.arange(len(stations)))
    if not repeated.size:
        return
    row, other = int(repeated[0]), int(first[repeated[0]])
    what = ""
    if data:
        same = all(column[row] == column[other] for column in data)
        what = f", with {'the same' if same else 'different'} data"
    warn(
        f"{table.path}: stations are repeated in {repeated.size} of {len(stations)} rows, first in "
        f"line {table.lines[row]}, which repeats line {table.lines[other]}{what}. All are kept, as "
        "measurements of their own: drop copies of one measurement."
    )
