"""Warnings at the line of the user's code."""

from __future__ import annotations

import warnings
from inspect import currentframe

#: Packages whose lines the user did not write.
_LIBRARIES = frozenset({"skgrav", "sklearn", "skorch", "joblib", "dask", "contextlib"})


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the innermost line outside the libraries.

    A fixed stack level would point into a library where an estimator is a step of a Pipeline or the
    start of another.
    """
    level, frame = 1, currentframe()
    while (
        frame
        and frame.f_back
        and frame.f_globals.get("__name__", "").partition(".")[0] in _LIBRARIES
    ):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
