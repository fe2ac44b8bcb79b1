"""Tables of stations: their columns, units and rows with missing values."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from numbers import Integral
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from skgrav._checks import DUMMIES, find_dummies, import_optional
from skgrav._constraints import SEVERAL
from skgrav._typing import Array, Mask
from skgrav._warnings import warn
from skgrav.geometry import unit_name, unit_size
from skgrav.io._container import file_path
from skgrav.io._table_names import bare_name, is_geographic, split_unit
from skgrav.io._table_text import MISSING, Entries, is_number, read_entries, survey_line

_DECIMAL_COMMA = r"^([+-]?\d*),(\d*(?:[eE][+-]?\d+)?)$"

#: Exponents of Fortran's double precision, as in 1.5D+02.
_FORTRAN = r"(?<=[\d.])[dD](?=[+-]?\d+$)"

#: Marks of missing values beside those of `find_dummies`, of UBC-GIF, grids and Geosoft.
_MARKS = np.array([1e8, 1e30, 1e32, 1.70141e38, 1.70141183e38, 3.4028235e38])

#: Marks of missing elevations, which need not be far from the others: no ground is there.
MARKS_OF_ELEVATION = np.r_[DUMMIES[DUMMIES >= 9999], _MARKS]

_PROJECT = """
    from pyproj import Transformer
    from skgrav.io import read_table
    table = read_table({path!r})
    utm = Transformer.from_crs(4326, 32719, always_xy=True)  # to your zone, here 19 south
    table["x"], table["y"] = utm.transform(table[{lon!r}], table[{lat!r}])
    table.to_csv("projected.csv", index=False)"""

#: How many lines a warning names.
_N_NAMED = 5


@dataclass(frozen=True)
class Table:
    """The text of a table by column, its row of units, and the line number of each row."""

    path: Path
    words: Any  # a DataFrame of strings
    units: dict[str, str]
    lines: list[int]
    #: Spelling of an argument in errors, as in ``--length-unit``.
    spell: Callable[[str], str]
    #: Whether a comma may be a decimal mark.
    commas: bool = False
    #: Whether the table has no header, so that columns go by their numbers, too.
    headerless: bool = False
    #: Line of the survey of each row, in the format of Geosoft.
    survey_lines: tuple[str, ...] | None = None

    def fail(self, row: int, problem: str) -> NoReturn:
        """Raise ValueError about a row."""
        raise ValueError(f"{self.path}, line {self.lines[row]}: {problem}")

    def rows(self, kept: Mask) -> Table:
        """Return the table of some rows."""
        rows = np.flatnonzero(kept)
        lines, groups = [self.lines[i] for i in rows], self.survey_lines
        groups = None if groups is None else tuple(groups[i] for i in rows)
        return replace(self, words=self.words.iloc[rows], lines=lines, survey_lines=groups)

    def on_lines(self, line: str | int | Iterable[str | int] | None) -> Table:
        """Return the rows of some lines of a survey."""
        if line is None:
            return self
        wanted = [line] if isinstance(line, str | int) else list(line)
        groups = self.groups(self.spell("line"))
        labels = np.array([_label(group) for group in groups])
        kept = np.zeros(len(groups), dtype=bool)
        for name in wanted:
            found = labels == _label(str(name))
            if not found.any():
                several = list(dict.fromkeys(groups))
                more = f" and {len(several) - 20} more" if len(several) > 20 else ""
                raise ValueError(
                    f"{self.spell('line')} is {str(name)!r}, but {self.path} has the lines "
                    f"{', '.join(several[:20])}{more}. Choose among them."
                )
            kept |= found
        return self.rows(kept)

    def groups(self, asked_by: str) -> list[str]:
        """Return the line of the survey of each row."""
        if self.survey_lines is not None:
            return list(self.survey_lines)
        return list(self.words[self.column("line", asked_by)])

    def has(self, name: str) -> bool:
        """Return whether a name means a column."""
        return name in self.words or len(self._alike(name)) == 1

    def _alike(self, name: str) -> list[str]:
        plain = name.casefold()
        return [c for c in self.words if plain in {c.casefold(), bare_name(c).casefold()}]

    def column(self, name: str, asked_by: str) -> str:
        """Return the column that a name means: in any case, and with or without its unit."""
        if name in self.words:
            return name
        if self.headerless and name.isdigit() and 0 < int(name) <= self.words.shape[1]:
            return str(self.words.columns[int(name) - 1])
        alike = self._alike(name)
        if len(alike) == 1:
            return str(alike[0])
        problem = f"has the columns {list(self.words)}, not '{name}'"
        if alike:
            problem = f"has the columns {alike}, which may all be '{name}'"
        if self.headerless:
            problem += (
                f". Without a header they have numbers, or names by {self.spell('names')}; lines "
                "of a title begin with #"
            )
        raise ValueError(f"{self.path} {problem}. Name it by {asked_by}.")

    def numbers(self, name: str, asked_by: str, known_marks: Array = _MARKS) -> Array:
        """Return the numbers of a column that the argument `asked_by` names, NaN if missing."""
        words = self.words[self.column(name, asked_by)]
        if words.empty:
            raise ValueError(f"column '{name}' of {self.path} is empty.")
        values = _numbers(words)
        missing = np.isnan(values)
        if missing.any():
            others = words[missing]
            blank = others.str.fullmatch(MISSING.pattern, case=False).to_numpy(dtype=bool)
            plain = others.str.replace(_FORTRAN, "e", regex=True).str.replace("−", "-")
            if self.commas:
                self._refuse_mixed(words)
                plain = plain.str.replace(_DECIMAL_COMMA, r"\1.\2", regex=True)
            values[missing] = _numbers(plain)
            missing[missing] = blank
        wrong = ~missing & ~np.isfinite(values)
        if wrong.any():
            row = int(np.argmax(wrong))
            self.fail(
                row,
                f"'{words.iloc[row]}' in column '{name}' is not a finite number. Correct it, or "
                "mark it as missing by NaN.",
            )
        known = np.flatnonzero(~missing)
        size = np.abs(values[known])
        marks = reduce(np.logical_or, (np.isclose(size, mark, 1e-7, 0) for mark in known_marks))
        values[known[marks]] = np.nan
        known = known[~marks]
        values[known[find_dummies(values[known])]] = np.nan
        return values

    def _refuse_mixed(self, words: Any) -> None:
        """Raise ValueError if commas are beside points, so that they may separate thousands."""
        comma = words.str.fullmatch(_DECIMAL_COMMA).to_numpy(dtype=bool)
        if comma.any() and not comma.all():
            point = words.str.fullmatch(r"[+-]?\d*\.\d*").to_numpy(dtype=bool)
            if point.any():
                row, other = int(np.argmax(comma)), int(np.argmax(point))
                self.fail(
                    row,
                    f"'{words.iloc[row]}' has a comma, but '{words.iloc[other]}' in line "
                    f"{self.lines[other]} a point. Write decimal marks in one way, and leave out "
                    "those of thousands.",
                )

    def complete(self, columns: Mapping[str, str | float]) -> tuple[Table, dict[str, Array]]:
        """Return the rows without missing values, and columns and numbers by argument.

        Of the other rows it warns.
        """
        values, missing = {}, {}
        for argument, name in columns.items():
            if isinstance(name, str):
                marks = MARKS_OF_ELEVATION if argument == "elevation" else _MARKS
                values[argument] = self.numbers(name, self.spell(argument), marks)
                missing[name] = np.isnan(values[argument])
                if argument.startswith("uncertainty") and (values[argument] <= 0).any():
                    row = int(np.argmax(values[argument] <= 0))
                    self.fail(
                        row,
                        f"'{self.words[self.column(name, '')].iloc[row]}' in column '{name}' is no "
                        "standard deviation, which is positive. Correct it, or mark it by NaN.",
                    )
            else:
                values[argument] = np.full(len(self.lines), float(name))
        left_out = np.any(list(missing.values()), axis=0)
        n = int(left_out.sum())
        if n == len(left_out):
            raise ValueError(
                f"{self.path} has no row without missing values in the columns {list(missing)}."
            )
        if n:
            where = [
                f"'{name}' in {self._named(gaps, name)}"
                for name, gaps in missing.items()
                if gaps.any()
            ]
            warn(
                f"{self.path}: {n} of {len(left_out)} rows are left out, since values are missing: "
                f"{'; '.join(where)}."
            )
        return self.rows(~left_out), {name: v[~left_out] for name, v in values.items()}

    def _named(self, gaps: Mask, name: str) -> str:
        """Return the line numbers of gaps in a column as text, the first few, and their marks."""
        rows = np.flatnonzero(gaps)
        marks = dict.fromkeys(self.words[self.column(name, "")].iloc[rows])
        numbers = ", ".join(str(self.lines[row]) for row in rows[:_N_NAMED])
        more = f" and {len(rows) - _N_NAMED} more" if len(rows) > _N_NAMED else ""
        found = ", ".join(mark or "blank" for mark in list(marks)[:_N_NAMED])
        return f"line{'s' if len(rows) > 1 else ''} {numbers}{more} ({found})"

    def stated(self, column: str, quantity: str) -> str | None:
        """Return the unit that a row of units or the name of a column states, or None."""
        unit = self.units.get(column) or split_unit(column, quantity)[1]
        # (E) and (N) are directions.
        return None if quantity == "length" and unit and unit.upper() in {"E", "N"} else unit

    def sizes(
        self, columns: Mapping[str, str | float], unit_argument: str, unit: str | None
    ) -> dict[str, float]:
        """Return the size of the unit of columns and numbers, by the arguments that give them.

        It is `unit`, which no column may contradict, or without it that which the column states.
        What states none is in metres, mGal or Eotvos, unless another one states another unit.
        """
        option = self.spell(unit_argument)
        quantity = "length" if unit_argument in _LENGTHS else unit_argument.removesuffix("_unit")
        sizes: dict[str, float] = {}
        stated: dict[str, str] = {}
        for argument, name in columns.items():
            if isinstance(name, str):
                column = self.column(name, self.spell(argument))
                text = self.stated(column, quantity)
                if text:
                    stated[argument] = text
                    where = f"column '{name}' of {self.path}"
                    sizes[argument] = unit_size(quantity, text, where)
        if unit is not None:
            size = unit_size(quantity, unit, option)
            for argument, text in stated.items():
                if sizes[argument] != size:
                    raise ValueError(
                        f"{self.spell(argument)} '{columns[argument]}' is in {text}, but {option} "
                        f"is {unit}. Correct one of them."
                    )
            return dict.fromkeys(columns, size)
        silent = [argument for argument in columns if argument not in stated]
        other = next((argument for argument in stated if sizes[argument] != 1), None)
        if silent and other:
            argument = silent[0]
            if unit_argument == "length_unit" and argument in _UPWARD:
                option = self.spell("elevation_unit")
            raise ValueError(
                f"{self.path}: {self.spell(other)} '{columns[other]}' is in {stated[other]}, but "
                f"{self.spell(argument)} {columns[argument]!r} states no unit. Give {option}."
            )
        return sizes | dict.fromkeys(silent, 1.0)

    def length_sizes(
        self,
        places: Mapping[str, str | float],
        length_unit: str | None,
        elevation_unit: str | None,
    ) -> dict[str, float]:
        """Return the size of the unit of coordinates and elevations, columns or numbers."""
        up_unit = elevation_unit or length_unit
        upward = {a: name for a, name in places.items() if a in _UPWARD}
        along = {a: name for a, name in places.items() if a not in _UPWARD}
        for argument, name in along.items():
            if isinstance(name, str):
                self._refuse_geographic(argument, name, along)
        up = upward.get("elevation")
        if isinstance(up, str) and re.search("depth|tvd", up.lower()):
            raise ValueError(
                f"'{up}' of {self.path} is a depth by its name, but elevations are positive up. "
                "Change its sign and its name."
            )
        if up_unit is None:
            return self.sizes(along | upward, "length_unit", None)
        own = None
        if isinstance(up, str) and elevation_unit is None:
            own = self.stated(self.column(up, self.spell("elevation")), "length")
        if own:
            # Elevations need not be in the unit of distances, but all of them must be in one.
            up_unit, is_other = own, unit_name(own) != unit_name(up_unit)
            number = next((a for a in upward if a != "elevation"), None)
            if number and is_other:
                raise ValueError(
                    f"{self.path}: {self.spell('elevation')} '{up}' is in {own}, but "
                    f"{self.spell(number)} {upward[number]!r} in {length_unit}, by "
                    f"{self.spell('length_unit')}. Give {self.spell('elevation_unit')}."
                )
        return self.sizes(along, "length_unit", length_unit) | self.sizes(
            upward, "elevation_unit", up_unit
        )

    def _refuse_geographic(self, argument: str, name: str, along: Mapping[str, Any]) -> None:
        column = self.column(name, self.spell(argument))
        if not is_geographic(column, self.stated(column, "length") or ""):
            return
        lon, lat = along.get("x") or "lon", along.get("y") or "lat"
        raise ValueError(
            f"{self.spell(argument)} '{name}' of {self.path} is a geographic coordinate in "
            "degrees; stations need metres. Project them, for example:"
            + _PROJECT.format(path=str(self.path), lon=lon, lat=lat)
        )

    def frame(self) -> Any:
        """Return the columns as numbers where all entries are, otherwise as text."""
        frame = self.words.copy()
        for name in frame:
            try:
                frame[name] = self.numbers(name, "")
            except ValueError:
                continue
        if self.survey_lines is not None:
            frame.insert(0, "line", list(self.survey_lines))
        frame.index = self.lines
        frame.index.name = "row"
        frame.attrs["units"] = dict(self.units)
        return frame


def _numbers(words: Any) -> Array:
    """Return the numbers that a column of texts holds, rounded as by Python, NaN for other texts.

    Python's own conversion would also take 1_000, and that of pandas errs in the 14th digit.
    """
    import pandas as pd

    values = pd.to_numeric(words, errors="coerce").to_numpy(np.float64, copy=True)
    known = np.isfinite(values)
    values[known] = [float(word) for word in words[known]]
    return values


#: What options of all tables may be.
TABLE_OPTIONS: dict[str, Any] = {
    "names": [*SEVERAL, None],
    "delimiter": [str, None],
    "sheet": [str, Integral, None],
}
#: And those of tables with lines of a survey.
LINE_OPTION: list[Any] = [str, Integral, set, *SEVERAL, None]

_LENGTHS = ("length_unit", "elevation_unit")
_UPWARD = ("elevation", "height", "top")


def open_table(
    path: str | os.PathLike[str],
    spell: Callable[[str], str],
    *,
    names: Sequence[str] | None = None,
    delimiter: str | None = None,
    sheet: str | int | None = None,
    line: str | int | Iterable[str | int] | None = None,
) -> Table:
    """Return the text of a table, in the layouts that `read_stations` documents."""
    path = file_path(path)
    pd = import_optional("pandas", str(path), "io")
    entries = read_entries(path, delimiter, sheet, pd)
    rows = entries.words.to_numpy()
    first, counted = 0, None
    if len(rows) > 1 and rows[0, 0].isdigit() and not any(rows[0, 1:]) and any(rows[1, 1:]):
        first, counted = 1, int(rows[0, 0])
    if len(rows) <= first or not rows.shape[1]:
        return Table(path, pd.DataFrame(), {}, [], spell)
    head, first = _header(rows, first)
    units: dict[str, str] = {}
    if names is None:
        found = head or _noted_header(entries, rows[first:])
    else:
        found = [str(name) for name in names]
        if len(found) != rows.shape[1]:
            raise ValueError(
                f"{spell('names')} is {found}, but {path} has {rows.shape[1]} columns. Name each."
            )
    if head and len(rows) > first + 1 and _is_units(rows[first]):
        units = {n: u.strip("[]() ") for n, u in zip(found or [], rows[first], strict=True) if n}
        first += 1
    if counted not in {None, len(rows) - first}:
        raise ValueError(
            f"{path}, line {entries.lines[0]}: {counted} rows should follow, but there are "
            f"{len(rows) - first}. The table is truncated, or the number is wrong."
        )
    found = found or [str(k + 1) for k in range(rows.shape[1])]
    _check_rows(path, entries, found, first, blanks=entries.delimiter is None)
    words = entries.words.iloc[first:].set_axis(found, axis=1)
    lines, groups = entries.lines[first:], entries.survey_lines
    table = Table(
        path,
        words[list(filter(None, found))],
        units,
        lines,
        spell,
        commas=entries.delimiter != ",",
        headerless=head is None,
        survey_lines=None if groups is None else tuple(groups[first:]),
    )
    return table.on_lines(line)


def _header(rows: Any, first: int) -> tuple[list[str] | None, int]:
    """Return the names in the first row, if it is no row of numbers, and the row after it."""
    if any(is_number(word) for word in rows[first]):
        return None, first
    return list(rows[first]), first + 1


def _noted_header(entries: Entries, rows: Any) -> list[str] | None:
    """Return the names in the last comment before the rows that has as many words as they."""
    for words in reversed(entries.comments):
        if len(words) == rows.shape[1] and not any(is_number(w) or not w for w in words):
            return words if len(set(words)) == len(words) else None
    return None


def _is_units(words: Any) -> bool:
    return not any(is_number(w) for w in words) and not all(MISSING.fullmatch(w) for w in words)


def _check_rows(
    path: Path, entries: Entries, names: list[str], first: int, *, blanks: bool
) -> None:
    """Raise ValueError if a name is repeated, or a row has too many entries, or an unseen gap."""
    named = [name for name in names if name]
    if len(set(named)) < len(named):
        raise ValueError(f"{path} has columns of the same name: {named}. Rename them.")
    # A column without a name before others is an index.
    n_columns = max((k + 1 for k, name in enumerate(names) if name), default=0)
    rows, lines = entries.words.to_numpy()[first:], entries.lines[first:]
    surplus = (rows[:, n_columns:] != "").any(axis=1)
    if surplus.any():
        raise ValueError(
            f"{path}, line {lines[int(np.argmax(surplus))]}: the row has more entries than the "
            f"columns {named}. Check delimiters and decimal marks."
        )
    short = rows[:, n_columns - 1] == ""
    if blanks and short.any():
        row = int(np.argmax(short))
        raise ValueError(
            f"{path}, line {lines[row]}: the row has {int((rows[row] != '').sum())} entries for "
            f"the columns {named}, and blanks do not say which one is missing. Write NaN for it."
        )


def _label(group: str) -> str:
    """Return the name of a line of a survey, the same for L100, "Line 100" and 100."""
    name = (survey_line(group) or group.strip()).upper()
    name = name[1:] if re.fullmatch(r"L\d.*", name) else name
    return name.removesuffix(".0")
