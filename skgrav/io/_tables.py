"""Tables of stations: text of any delimiter, decimal mark and encoding, and sheets of Excel."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from skgrav._checks import check_dummies, import_optional
from skgrav._typing import Array
from skgrav.geometry import Survey, unit_name, unit_size

_COMMENTS = ("#", "!", "%", "//")
_SHEETS = {".xlsx": "openpyxl", ".xlsm": "openpyxl", ".xls": "xlrd", ".ods": "odf"}

_DECIMAL_COMMA = r"^([+-]?\d*),(\d*(?:[eE][+-]?\d+)?)$"
_NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?nan|[+-]?inf"

#: A unit at the end of a column's name, as in ``gz [mGal]`` or ``gz (um/s2)``.
_IN_BRACKETS = re.compile(r"[\[(]([^\[\]()]*)[\])]\s*$")

#: Text that looks like a unit after a blank or ``_``, known or not: ``lb/ft3``, ``kGal``.
_LIKE_A_UNIT = re.compile(
    r"^(\S*[/^²³⁻]\S*|\S*gals?|\S+ s-?2|[unmµμ]?m[_.*·]?s-?2|mi|miles?|yd|inch|usft|deg)$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Table:
    """The text of a table by column, its row of units, and the line number of each row."""

    path: Path
    words: Any  # a DataFrame of strings
    units: dict[str, str]
    lines: list[int]
    #: Spelling of an argument in errors, as in ``--length-unit``.
    spell: Callable[[str], str]

    def fail(self, row: int, problem: str) -> NoReturn:
        """Raise ValueError about a row."""
        raise ValueError(f"{self.path}, line {self.lines[row]}: {problem}")

    def numbers(self, name: str, asked_by: str) -> Array:
        """Return the finite numbers of a column that the argument `asked_by` names."""
        import pandas as pd

        if name not in self.words:
            raise ValueError(
                f"{self.path} has the columns {list(self.words)}, not '{name}'. Name it by "
                f"{asked_by}."
            )
        words = self.words[name]
        if words.empty:
            raise ValueError(f"column '{name}' of {self.path} is empty.")
        values = pd.to_numeric(words, errors="coerce").to_numpy(np.float64)
        wrong = ~np.isfinite(values)
        if wrong.any():
            row = int(np.argmax(wrong))
            self.fail(
                row,
                f"'{words.iloc[row]}' in column '{name}' is not a finite number. Correct it or "
                "drop the line.",
            )
        try:
            check_dummies(values, f"column {name}")
        except ValueError as error:
            self.fail(int(np.argmax(np.abs(values - np.median(values)))), str(error))
        return values

    def quantity(self, argument: str, name: str, unit_argument: str, unit: str) -> Array:
        """Return a column in metres or mGal, which is in `unit`, by the arguments for both."""
        asked_by, option = self.spell(argument), self.spell(unit_argument)
        quantity = "gravity" if unit_argument == "gravity_unit" else "length"
        values = self.numbers(name, asked_by)
        size = unit_size(quantity, unit, option)
        stated = self.units.get(name) or _unit_in(name)
        if stated and unit_size(quantity, stated, f"column '{name}' of {self.path}") != size:
            raise ValueError(
                f"{asked_by} '{name}' is in {stated}, but {option} is {unit}. Correct one of them."
            )
        return size * values

    def survey(
        self,
        places: dict[str, str | None],
        components: dict[str, str | None],
        uncertainty: str | float | None,
        height: float,
        length_unit: str,
        elevation_unit: str | None,
        gravity_unit: str,
    ) -> tuple[Survey, Array | None]:
        """Return stations and data, as `read_stations` does.

        `places` are columns of elevation, y and x, the last two in this order, and `components`
        columns of gravity by axis.
        """
        along = ("length_unit", length_unit)
        up = ("elevation_unit", elevation_unit or length_unit)
        lengths = {
            axis: self.quantity(axis, name, *(up if axis == "elevation" else along))
            for axis, name in places.items()
            if name is not None
        }
        profiles = {
            axis: self.quantity(f"g{axis}", name, "gravity_unit", gravity_unit)
            for axis, name in components.items()
            if name is not None
        }
        above = unit_size("length", up[1], self.spell(up[0])) * height
        # Not -up, which is -0.0 at sea level: surveys are compared by bytes.
        top = 0.0 - lengths.pop("elevation", above)
        stations = np.column_stack(np.broadcast_arrays(top, *lengths.values()))
        data = np.reshape(list(profiles.values()), (-1, len(stations)))
        self._refuse_repeated(stations, data)
        if not profiles:
            return Survey(stations, ("z",)), None
        sigma: Any = uncertainty
        if isinstance(uncertainty, str):
            column = self.quantity("uncertainty", uncertainty, "gravity_unit", gravity_unit)
            sigma = np.tile(column, len(profiles))
        elif uncertainty is not None:
            sigma = uncertainty * unit_size("gravity", gravity_unit, self.spell("gravity_unit"))
        return Survey(stations, tuple(profiles), sigma), data.ravel()

    def _refuse_repeated(self, stations: Array, data: Array) -> None:
        """Raise ValueError if two rows have the same station."""
        _, first, group = np.unique(stations, axis=0, return_index=True, return_inverse=True)
        first = first[group.ravel()]
        repeated = np.flatnonzero(first != np.arange(len(stations)))
        if not repeated.size:
            return
        row, other = int(repeated[0]), int(first[repeated[0]])
        if np.array_equal(data[:, row], data[:, other]):
            remedy = "the same data. Drop one of them."
        else:
            remedy = "different data. Drop one of them, or take their mean."
        self.fail(row, f"this station repeats line {self.lines[other]}, with {remedy}")


def read_table(path: str | os.PathLike[str], spell: Callable[[str], str]) -> Table:
    """Return the text of a table, in the layouts that `read_stations` documents."""
    path = Path(path)
    pd = import_optional("pandas", str(path), "io")
    if path.suffix.lower() in _SHEETS:
        words, lines = _words_of_sheet(path, pd)
    else:
        words, lines = _words_of_text(path, pd)
    rows = words.to_numpy()
    first, counted = 0, None
    if len(rows) > 1 and rows[0, 0].isdigit() and not any(rows[0, 1:]) and any(rows[1, 1:]):
        first, counted = 1, int(rows[0, 0])
    if len(rows) <= first:
        return Table(path, pd.DataFrame(), {}, [], spell)
    names, units = [str(k + 1) for k in range(words.shape[1])], {}
    if not _has_number(rows[first]):
        names = list(rows[first])
        first += 1
        if len(rows) > first + 1 and not _has_number(rows[first]):
            units = {n: unit.strip("[]() ") for n, unit in zip(names, rows[first], strict=True)}
            first += 1
    if counted not in {None, len(rows) - first}:
        raise ValueError(
            f"{path}, line {lines[0]}: {counted} rows should follow, but there are "
            f"{len(rows) - first}. The table is truncated, or the number is wrong."
        )
    _check_names(path, names, rows[first:], lines[first:])
    words = words.iloc[first:].set_axis(names, axis=1)
    return Table(path, words[list(filter(None, names))], units, lines[first:], spell)


def _check_names(path: Path, names: list[str], rows: Any, lines: list[int]) -> None:
    """Raise ValueError if a name is repeated, or a row is longer than the header."""
    named = [name for name in names if name]
    if len(set(named)) < len(named):
        raise ValueError(f"{path} has columns of the same name: {named}. Rename them.")
    # A column without a name before others is an index.
    n_columns = max((k + 1 for k, name in enumerate(names) if name), default=0)
    for number, row in zip(lines, rows, strict=True):
        if any(row[n_columns:]):
            raise ValueError(
                f"{path}, line {number}: the row has more entries than the columns {named}. Check "
                "delimiters and decimal marks."
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
    uncertainty: str | float | None = None,
    length_unit: str = "m",
    elevation_unit: str | None = None,
    gravity_unit: str = "mGal",
) -> tuple[Survey, Array | None]:
    r"""Read stations and their gravity from a table.

    Parameters
    ----------
    path : str or path-like
        The table: text separated by commas, semicolons, tabs or blanks, with points or commas as
        decimal marks, or a sheet of Excel. Blank lines, and comments after ``#``, ``!``, ``%`` or
        ``//``, are skipped; a count of rows on the first line and a row of units below the header
        are recognised. Without a header columns are named "1", "2" and so on.
    x : str, default="x"
        Column of the distance, in 3D of the easting.
    y : str, default=None
        Column of the northing; None reads a line, in 2D.
    elevation : str, default=None
        Column of the elevation, positive up.
    height : float, default=0.0
        Elevation of all stations without a column `elevation`, in `elevation_unit`.
    gz, gx, gy : str, default=None
        Columns of the components, gz positive down; by default gz from "gz". If all are None, only
        stations are read.
    uncertainty : str or float, default=None
        Column of the standard deviation of each datum, the same for all components, or one
        number, in `gravity_unit`.
    length_unit : str, default="m"
        Unit of the coordinates: m, km, cm or ft. A name such as ``x_km`` or ``x [km]``, or a row of
        units, must not contradict it.
    elevation_unit : str, default=None
        Unit of `elevation` and `height`; None takes `length_unit`.
    gravity_unit : str, default="mGal"
        Unit of the data: mGal, uGal, Gal, gu, um/s2, nm/s2, mm/s2 or m/s2, in any usual spelling.

    Returns
    -------
    survey : Survey
        Stations with columns ``(z, x)`` or ``(z, y, x)`` in metres, z positive down.
    data : ndarray of shape (n_data,) or None
        Gravity in mGal, component-major; None without columns of data.

    Raises
    ------
    ImportError
        If pandas, part of ``skgrav[io]``, is missing, or the package it needs for a sheet.
    OSError
        If the file cannot be read.
    ValueError
        If a column is missing, a value is missing or not a number, a unit is unknown or
        contradicts the argument, or a station is repeated. The message names file, line and
        column.

    See Also
    --------
    read_ubc_survey : Stations from UBC-GIF files.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from skgrav.io import read_stations
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "profile.csv")
    ...     _ = path.write_text("x_km;gz\n0,5;1,5\n1;2\n")
    ...     survey, data = read_stations(path, x="x_km", height=0.02, length_unit="km")
    >>> survey.stations.tolist(), data.tolist()
    ([[-20.0, 500.0], [-20.0, 1000.0]], [1.5, 2.0])
    """
    return read_table(path, "'{}'".format).survey(
        {"elevation": elevation, "y": y, "x": x},
        {"x": gx, "y": gy, "z": gz},
        uncertainty,
        height,
        length_unit,
        elevation_unit,
        gravity_unit,
    )


def _words_of_text(path: Path, pd: Any) -> tuple[Any, list[int]]:
    """Return the entries of all lines that are neither blank nor comments, and line numbers."""
    numbered = [(n, line.strip(" ")) for n, line in enumerate(_text(path).splitlines(), start=1)]
    numbered = [
        (n, line) for n, line in numbered if line.strip(" ,;\t") and not line.startswith(_COMMENTS)
    ]
    if not numbered:
        return pd.DataFrame(), []
    lines, texts = (list(part) for part in zip(*numbered, strict=True))
    # A count of rows on the first line has no delimiter.
    head = texts[1] if texts[0].isdigit() and len(texts) > 1 else texts[0]
    delimiter = next((d for d in ";\t," if d in head), None)
    width = max(len(t.split(delimiter)) for t in texts)
    try:
        words = pd.read_csv(
            io.StringIO("\n".join(texts)),
            sep=delimiter or r"\s+",
            header=None,
            names=range(width),
            index_col=False,
            dtype=str,
            keep_default_na=False,
            skipinitialspace=True,
        )
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as a table: {error}") from error
    if len(words) != len(lines):
        raise ValueError(f"{path} has a quotation that does not end on its line. Close the quotes.")
    # pandas fills short rows with NaN.
    words = words.fillna("").apply(lambda column: column.str.strip())
    if delimiter != ",":
        words = words.replace(_DECIMAL_COMMA, r"\1.\2", regex=True)
    return words.loc[:, (words != "").any()], lines


def _words_of_sheet(path: Path, pd: Any) -> tuple[Any, list[int]]:
    try:
        engine = _SHEETS[path.suffix.lower()]
        words = pd.read_excel(path, header=None, dtype=str, engine=engine).fillna("")
    except ImportError as error:
        raise ImportError(f"{path}: {error} Or save the sheet as CSV.") from error
    words = words.apply(lambda column: column.str.strip())
    kept = (words != "").any(axis=1) & ~words[0].str.startswith(_COMMENTS)
    words = words[kept]
    return words.loc[:, (words != "").any()], [int(row) + 1 for row in words.index]


def _text(path: Path) -> str:
    """Return a text in UTF-8 or UTF-16, otherwise in the encoding of Windows."""
    raw = path.read_bytes()
    if raw[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        return raw.decode("utf-16")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace")


def _has_number(words: Any) -> bool:
    return any(re.fullmatch(_NUMBER, word, re.IGNORECASE) for word in words)


def _unit_in(name: str) -> str | None:
    """Return the unit in a column's name, or None."""
    bracketed = _IN_BRACKETS.search(name)
    if bracketed:
        return bracketed[1].strip()
    for blank in re.finditer(r"[_\s]", name):
        end = name[blank.end() :].strip()
        if unit_name(end) or _LIKE_A_UNIT.search(end):
            return end
    return None
