"""Entries of tables: text of any delimiter, decimal mark and encoding, and sheets of Excel."""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from skgrav._checks import import_optional

#: What begins a comment; ``/`` is that of Geosoft.
_COMMENTS = ("#", "!", "%", "/")

#: Engine of pandas for each kind of sheet, and its package.
_SHEETS = {".xlsx": "openpyxl", ".xlsm": "openpyxl", ".xls": "xlrd", ".ods": "odf"}

#: Lines among which a title may end.
_N_TITLES = 20

_DELIMITERS = {"tab": "\t", "blank": None}

_NUMBER = re.compile(
    r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eEdD][+-]?\d+)?|[+-]?nan|[+-]?inf", re.IGNORECASE
)
_WITH_COMMA = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?")

#: Marks of a missing value; NaN is one, too.
MISSING = re.compile(r"\**|-+|[+-]?nan|n/?a|#n/a|<na>|null|none", re.IGNORECASE)

#: A line of Geosoft's XYZ format that begins a line of the survey, as ``Line 100`` or ``T20``.
_SURVEY_LINE = re.compile(
    r"(line|tie|base|test|trend|special|random)(?:\s*([\w.:+-]*\d[\w.:+-]*))?|([lt])(\d[\w.:+-]*)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Entries:
    """Rows of a table that are neither blank nor comments."""

    words: Any  # a DataFrame of strings, short rows filled with ""
    #: Number of each row in the file, from 1.
    lines: list[int]
    #: The delimiter; None for blanks, "" for sheets.
    delimiter: str | None
    #: Words of each comment before the first row.
    comments: list[list[str]]
    #: Line of the survey that each row belongs to, in the format of Geosoft.
    survey_lines: list[str] | None


def is_number(word: str) -> bool:
    """Return whether a word is a number, with a decimal point or comma."""
    return bool(_NUMBER.fullmatch(word))


def survey_line(text: str) -> str | None:
    """Return the name of a line of a survey, as L100 or T20, or None."""
    found = _SURVEY_LINE.fullmatch(text.strip())
    if found is None:
        return None
    kind, number = found[1] or found[3], found[2] or found[4] or ""
    if kind.lower() in {"line", "tie", "l", "t"}:
        return f"{kind[0].upper()}{number}" if number else None
    return f"{kind.capitalize()} {number}".strip()


def read_entries(path: Path, delimiter: str | None, sheet: str | int | None, pd: Any) -> Entries:
    """Return the entries of a file of text or a sheet."""
    is_sheet = path.suffix.lower() in _SHEETS
    if delimiter is not None and is_sheet:
        raise ValueError(f"'delimiter' is {delimiter!r}, but {path} is a sheet. Leave it out.")
    if sheet is not None and not is_sheet:
        raise ValueError(f"'sheet' is {sheet!r}, but {path} is a file of text. Leave it out.")
    return _of_sheet(path, sheet, pd) if is_sheet else _of_text(path, delimiter, pd)


def _of_text(path: Path, delimiter: str | None, pd: Any) -> Entries:
    numbered: list[tuple[int, str]] = []
    comments: list[str] = []
    survey_lines: list[str] = []
    current = None
    for number, text in enumerate(_text(path).splitlines(), start=1):
        line = text.strip(" ")
        if line.startswith(_COMMENTS):
            if not numbered:
                comments.append(line.lstrip("#!%/ "))
        elif line[:1].isalpha() and (name := survey_line(line)):
            current = name
        elif line.strip(" ,;\t"):
            numbered.append((number, line))
            survey_lines.append(current or "")
    if not numbered:
        return Entries(pd.DataFrame(), [], delimiter, [], None)
    n_titles = _count_titles([line for _, line in numbered], delimiter)
    comments += [line for _, line in numbered[:n_titles]]
    numbered, survey_lines = numbered[n_titles:], survey_lines[n_titles:]
    lines, texts = (list(part) for part in zip(*numbered, strict=True))
    separator = _delimiter(delimiter, texts)
    if separator is None:
        texts = [re.sub(r"\s[#!].*", "", t) if "#" in t or "!" in t else t for t in texts]
    words = _split(path, separator, texts, pd)
    if len(words) != len(lines):
        raise ValueError(f"{path} has a quotation that does not end on its line. Close the quotes.")
    # pandas fills short rows with NaN.
    words = _without_margin(words.fillna("").apply(lambda column: column.str.strip()))
    noted = [[word.strip() for word in comment.split(separator)] for comment in comments]
    return Entries(words, lines, separator, noted, survey_lines if current else None)


def _count_titles(texts: list[str], delimiter: str | None) -> int:
    """Return the number of lines of words above a table, which lack its delimiter."""
    for n, text in enumerate(texts[:_N_TITLES]):
        separator = _delimiter(delimiter, [text])
        if separator and separator in text:
            words = all(re.search(r"[^\W\d]", title) for title in texts[:n])
            return n if words and all(separator in row for row in texts[n:]) else 0
    return 0


def _delimiter(given: str | None, texts: list[str]) -> str | None:
    """Return the delimiter of lines, None for blanks."""
    if given is not None:
        separator = _DELIMITERS.get(given, given)
        if separator is not None and len(separator) != 1:
            raise ValueError(
                f"'delimiter' is {given!r}; it must be one character, 'tab' or 'blank'."
            )
        return None if separator == " " else separator
    # A count of rows on the first line has no delimiter.
    head = texts[1] if texts[0].isdigit() and len(texts) > 1 else texts[0]
    found = next((d for d in ";\t|," if d in head), None)
    apart = head.split()
    # Numbers with decimal commas between blanks.
    if found == "," and len(apart) > 1 and all(is_number(word) for word in apart):
        return None if any(_WITH_COMMA.fullmatch(word) for word in apart) else found
    return found


def _split(path: Path, separator: str | None, texts: list[str], pd: Any) -> Any:
    try:
        with warnings.catch_warnings():
            # Of entries that quotes hide from the count of columns, and that would be lost.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(
                io.StringIO("\n".join(texts)),
                sep=separator or r"\s+",
                header=None,
                names=range(max(len(text.split(separator)) for text in texts)),
                index_col=False,
                dtype=str,
                keep_default_na=False,
                skipinitialspace=True,
            )
    except (ValueError, pd.errors.ParserWarning) as error:
        raise ValueError(f"{path} cannot be read as a table: {error}") from error


def _without_margin(words: Any) -> Any:
    """Return a table without the blank columns at its right."""
    filled = (words != "").any().to_numpy()
    return words.iloc[:, : int(filled.nonzero()[0].max(initial=-1)) + 1]


def _of_sheet(path: Path, sheet: str | int | None, pd: Any) -> Entries:
    engine = _SHEETS[path.suffix.lower()]
    if engine == "openpyxl":
        import_optional(engine, str(path), "xlsx")
    try:
        sheets = pd.read_excel(path, sheet_name=None, header=None, dtype=str, engine=engine)
    except ImportError as error:
        raise ImportError(f"{path}: {error} Or save the sheet as .xlsx or CSV.") from error
    sheets = {name: words for name, words in sheets.items() if not words.empty}
    if sheet is None and len(sheets) > 1:
        _refuse_sheets(path, sheet, "has more than one sheet", sheets)
    name = next(iter(sheets), None) if sheet is None else sheet
    if isinstance(name, int) and name not in sheets and name < len(sheets):
        name = list(sheets)[name]
    if sheet is not None and name not in sheets:
        _refuse_sheets(path, sheet, f"has no sheet {sheet!r}", sheets)
    if name is None:
        return Entries(pd.DataFrame(), [], "", [], None)
    words = sheets[name].fillna("").apply(lambda column: column.str.strip())
    words = words[(words != "").any(axis=1) & ~words[0].str.startswith(_COMMENTS)]
    return Entries(_without_margin(words), [int(row) + 1 for row in words.index], "", [], None)


def _refuse_sheets(path: Path, sheet: Any, problem: str, sheets: Any) -> NoReturn:
    raise ValueError(f"{path} {problem}; choose one of {list(sheets)} by 'sheet', got {sheet!r}.")


def _utf_16(head: bytes) -> str | None:
    """Return the kind of UTF-16 that begins with a mark, or an ASCII letter, or None."""
    if head in {b"\xff\xfe", b"\xfe\xff"}:
        return "utf-16"
    if head[1:] == b"\0":
        return "utf-16-le"
    return "utf-16-be" if head[:1] == b"\0" else None


def _text(path: Path) -> str:
    """Return a text in UTF-8 or UTF-16, otherwise in the encoding of Windows."""
    raw = path.read_bytes()
    encoding = _utf_16(raw[:2])
    if encoding:
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path} is no text and no sheet. Export it as text or .xlsx."
            ) from error
    # DOS editors mark the end of a file by the character 26.
    raw = raw.partition(b"\x1a")[0]
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace")
