"""The tables that a benchmark returns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from skgrav._checks import import_optional

#: Columns of names, before those of figures.
_N_NAMES = 2

#: Name of the column that names the table in a frame of all tables.
_TABLE = "table"


@dataclass(frozen=True)
class BenchmarkTable:
    """Figures of one kind, as text and as numbers.

    Parameters
    ----------
    title : str
        Title of the table.
    header : tuple of str
        Names of the columns of the text.
    rows : tuple of tuple of str
        Cells of the text.
    notes : tuple of str
        Failures, cases that could not be evaluated, and warnings of an estimator.
    records : tuple of dict
        All figures as numbers, a dictionary for each method and case.

    See Also
    --------
    BenchmarkResult : Contains the tables.

    Examples
    --------
    >>> from skgrav.benchmarking import BenchmarkTable
    >>> rows = (("mean model", "trained", "0.39"),)
    >>> print(BenchmarkTable("Errors", ("method", "geology", "error"), rows, (), ()))
    Errors
    <BLANKLINE>
    method      geology  error
    mean model  trained   0.39
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...] = field(repr=False)
    notes: tuple[str, ...] = field(repr=False)
    records: tuple[dict[str, Any], ...] = field(repr=False)

    def __str__(self) -> str:
        lines = [self.header, *self.rows] if self.rows else []
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        text = ["  ".join(_aligned(line, widths)).rstrip() for line in lines]
        return "\n\n".join(filter(None, [self.title, "\n".join(text), "\n".join(self.notes)]))

    def to_markdown(self) -> str:
        """Return the table in Markdown, its title as a heading.

        Returns
        -------
        text : str
            Title, table and notes.
        """
        lines = [self.header, ("---",) * len(self.header), *self.rows] if self.rows else []
        table = "\n".join(f"| {' | '.join(map(_plain, line))} |" for line in lines)
        notes = "\n".join(f"- {_plain(note)}" for note in self.notes)
        return "\n\n".join(filter(None, [f"## {self.title}", table, notes]))

    def to_frame(self) -> Any:
        """Return all figures as numbers.

        Returns
        -------
        frame : pandas.DataFrame
            A row for each method and case.

        Raises
        ------
        ImportError
            If pandas, part of ``skgrav[io]``, is missing.
        """
        return import_optional("pandas", "BenchmarkTable.to_frame", "io").DataFrame(
            list(self.records)
        )

    def _repr_html_(self) -> str:
        """Return the table for notebooks."""
        head = "".join(f"<th>{escape(text)}</th>" for text in self.header)
        rows = "".join(
            f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>" for row in self.rows
        )
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        notes = "".join(f"<li>{escape(note)}</li>" for note in self.notes)
        return (
            f"<h4>{escape(self.title)}</h4>{table if self.rows else ''}"
            f"{f'<ul>{notes}</ul>' if notes else ''}"
        )


@dataclass(frozen=True)
class BenchmarkResult:
    """Tables of accuracy, calibration and public problems of one estimator.

    Parameters
    ----------
    inverter : str
        The estimator with its parameters.
    accuracy : BenchmarkTable or None
        Errors, misfits and CPU seconds; None if not requested, as for the other tables.
    calibration : BenchmarkTable or None
        Calibration of its predicted distributions.
    public : BenchmarkTable or None
        Problems with published results.

    See Also
    --------
    skgrav.benchmark : Returns it.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> import skgrav
    >>> result = skgrav.benchmark(
    ...     Ridge(), tables="accuracy", mesh=skgrav.Mesh.square(6), n_train=50, n_test=10
    ... )
    >>> result
    BenchmarkResult(inverter='Ridge()')
    >>> result.accuracy.header[:3]
    ('method', 'geology', 'error, 0 %')
    """

    inverter: str
    accuracy: BenchmarkTable | None = field(default=None, repr=False)
    calibration: BenchmarkTable | None = field(default=None, repr=False)
    public: BenchmarkTable | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return "\n\n\n".join([self.inverter, *(str(table) for _, table in self._tables())])

    def to_markdown(self) -> str:
        """Return all tables in Markdown.

        Returns
        -------
        text : str
            The tables, each with a heading.
        """
        tables = (table.to_markdown() for _, table in self._tables())
        return "\n\n".join([f"`{self.inverter}`", *tables])

    def to_frame(self) -> Any:
        """Return the figures of all tables as numbers.

        Returns
        -------
        frame : pandas.DataFrame
            A row for each table, method and case; NaN if a table has no such figure.

        Raises
        ------
        ImportError
            If pandas, part of ``skgrav[io]``, is missing.
        """
        pandas = import_optional("pandas", "BenchmarkResult.to_frame", "io")
        return pandas.DataFrame(
            [{_TABLE: name} | record for name, table in self._tables() for record in table.records]
        )

    def _repr_html_(self) -> str:
        """Return all tables for notebooks."""
        tables = "".join(table._repr_html_() for _, table in self._tables())
        return f"<p><code>{escape(self.inverter)}</code></p>{tables}"

    def _tables(self) -> Iterator[tuple[str, BenchmarkTable]]:
        for name in ("accuracy", "calibration", "public"):
            table = getattr(self, name)
            if table is not None:
                yield name, table


def _aligned(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Return cells of equal widths, names at the left and figures at the right."""
    cells = list(zip(line, widths, strict=True))
    return [
        *(text.ljust(width) for text, width in cells[:_N_NAMES]),
        *(text.rjust(width) for text, width in cells[_N_NAMES:]),
    ]


def _plain(text: str) -> str:
    return text.replace("|", "\\|")


def number(value: Any, form: str) -> str:
    """Return a number as text, "-" if there is none; several numbers are joined by commas."""
    if isinstance(value, tuple):
        return ", ".join(number(v, form) for v in value)
    return "-" if value is None or value != value else format(value, form)  # noqa: PLR0124


def percent(level: float) -> str:
    """Return a relative noise in percent."""
    return f"{100 * level:g} %"
