"""Lines of numbers in files of the UBC Geophysical Inversion Facility."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from decimal import Decimal
from math import isfinite
from typing import NoReturn

import numpy as np
from numpy.typing import ArrayLike

from skgrav._checks import real_array
from skgrav._typing import Array
from skgrav.io._container import checked_path, file_path

# float() also accepts "nan" and "1_000", and int() and Decimal() refuse very long digit strings.
# Fortran writes D before exponents of double precision.
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eEdD][+-]?[0-9]{1,4})?")
_COMMENT = re.compile(r"[!#].*")
_COUNT = re.compile(r"0*[1-9][0-9]{0,8}")


class UBCLines:
    """Non-blank lines of a file, read one by one, without comments after ``!`` or ``#``.

    Errors are ValueErrors with the file, the line and the remedy. `number` is the line read last,
    counted from 1 with comments and blanks.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = file_path(path)
        # Comments may be in any encoding; the replacement character is not part of a number.
        text = self._path.read_text(encoding="utf-8-sig", errors="replace")
        # DOS editors mark the end of a file by the character 26.
        lines = enumerate(text.partition("\x1a")[0].split("\n"), start=1)
        self._lines = ((n, _COMMENT.sub("", line).split()) for n, line in lines)
        self.number = 0

    def fail(self, problem: str) -> NoReturn:
        """Raise ValueError about the line read last."""
        self.fail_at(self.number, problem)

    def fail_at(self, number: int, problem: str) -> NoReturn:
        """Raise ValueError about a line."""
        raise ValueError(f"{self._path}, line {number}: {problem}")

    def words(self, wanted: str) -> list[str]:
        """Return the words of the next line, which should contain `wanted`."""
        words = self._next()
        if not words:
            self.fail(
                f"the file ends before {wanted}. It is truncated, or the counts in its head are "
                "wrong: get it again, or correct them."
            )
        return words

    def end(self, counted: str) -> None:
        """Fail if anything follows what was `counted`."""
        words = self._next()
        if words:
            self.fail(
                f"{words[0]!r} follows after the end of {counted}. Correct the counts in the head "
                "of the file, or delete the surplus."
            )

    def counts(self, n: int, wanted: str, place: str = "the first line") -> list[int]:
        """Return the `n` counts on the next line."""
        return self.counts_of(self.words(wanted), n, wanted, place)

    def counts_of(
        self, words: list[str], n: int, wanted: str, place: str = "the first line"
    ) -> list[int]:
        """Return the `n` counts of the line read last."""
        if len(words) != n:
            self.fail(
                f"{wanted} must be alone on {place}, which has {len(words)} entries: "
                f"{' '.join(words)[:60]!r}. Correct it."
            )
        return [self.count(word, wanted) for word in words]

    def count(self, word: str, wanted: str) -> int:
        """Return a count, at least 1."""
        if not _COUNT.fullmatch(word):
            self.fail(f"{word!r} in {wanted} is not a count: give a whole number of at least 1.")
        return int(word)

    def decimal(self, word: str) -> Decimal:
        """Return a number without rounding."""
        # Times 1000 it must still be finite, since g/cm3 become kg/m3.
        plain = word.upper().replace("D", "E")
        if not _NUMBER.fullmatch(word) or not isfinite(1e3 * float(plain)):
            self.fail(
                f"{word!r} is not a finite number. Correct it; comments begin with '!' or '#'."
            )
        return Decimal(plain)

    def _next(self) -> list[str]:
        """Return the words of the next line that is not blank, none at the end of the file."""
        for number, words in self._lines:
            self.number = number
            if words:
                return words
        return []


def finite_array(values: ArrayLike, name: str, shape: tuple[int, ...]) -> Array:
    """Return finite values of this shape as float64."""
    array = real_array(values, name, finite=False)
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(
            f"'{name}' has shape {array.shape}; it must be finite numbers of shape {shape}."
        )
    return array


def write_lines(path: str | os.PathLike[str], lines: Iterable[str]) -> None:
    """Write lines with the same line ends on every system."""
    with checked_path(path).open("w", encoding="ascii", newline="\n") as stream:
        stream.writelines(f"{line}\n" for line in lines)
