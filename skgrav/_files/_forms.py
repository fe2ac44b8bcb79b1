"""What values a file may hold under a name, written as short texts beside the classes.

Forms are ``"int"``, ``"float"``, ``"bool"``, ``"str"``, ``"None"``, the name of a class, and

- ``"[d c]"``, an array of floats of d by c entries; letters mean the same throughout an object,
  and may be the name of one of its ints; before it stands ``int``, or ``half`` or ``single`` for
  numbers that a smaller file may hold in that precision;
- ``"floats"``, a list of numbers; ``"pair"``, a tuple of two; ``"shape"``, a tuple of two sizes;
- ``"names"``, an array of texts; ``"weights"``, arrays by the names that a network gives them;
- ``"estimator"`` and ``"solver"``, any that a file may hold; ``"values"``, anything.

``|`` separates alternatives, and ``?`` follows what may be missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from skgrav._files._registry import kind_of

#: Precision down to which numbers may be kept, by the word before an array's shape.
_LEAST = {"half": "float16", "single": "float32"}


def check_form(form: str, name: str, value: Any, sizes: dict[str, int]) -> None:
    """Raise TypeError unless a value has its form; `sizes` learns what letters mean."""
    form = form.rstrip("?")
    fits = any(_has_form(alternative, value, sizes) for alternative in form.split(" | "))
    if form == "int" and fits:
        fits = sizes.setdefault(name, int(value)) == value
    if not fits:
        letters = dict.fromkeys([*re.findall(r"\w+", form.partition("[")[2]), name])
        known = ", ".join(f"{n} = {sizes[n]}" for n in letters if n in sizes)
        told = f" with {known}" if known else ""
        raise TypeError(f"{name!r} is {described(value)}, but it must be {form}{told}")


def least_precision(form: str) -> str:
    """Return the precision down to which the numbers of a form may be kept."""
    return next((dtype for word, dtype in _LEAST.items() if form.startswith(word)), "float64")


def least_of_weights(name: str) -> str:
    """Return the precision down to which weights of a network may be kept."""
    # Sizes of components are in the unit of density, and may exceed half precision.
    return "float32" if name.rpartition(".")[2] == "scale" else "float16"


def described(value: Any) -> str:
    """Return a short text of what was found instead."""
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} of shape {value.shape}"
    if value is None or isinstance(value, bool | int | float | str):
        text = repr(value)
        return text if len(text) < 60 else f"{text[:57]}..."
    return f"a {type(value).__name__}"


def _has_form(form: str, value: Any, sizes: dict[str, int]) -> bool:
    if form.endswith("]"):
        return _has_shape(form, value, sizes)
    if form in _SIMPLE:
        return _SIMPLE[form](value)
    kind = kind_of(type(value))
    return kind is not None and kind.name == form


def _has_shape(form: str, value: Any, sizes: dict[str, int]) -> bool:
    word, _, letters = form.rstrip("]").rpartition("[")
    names = letters.split()
    if not isinstance(value, np.ndarray) or value.ndim != len(names):
        return False
    if value.dtype.kind not in ("iu" if word.strip() == "int" else "f"):
        return False
    return all(
        sizes.setdefault(name, size) == size for name, size in zip(names, value.shape, strict=True)
    )


def _is_int(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_float(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_)


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(map(_is_float, value))


def _is_registered(value: Any, *methods: str) -> bool:
    cls = type(value)
    return kind_of(cls) is not None and all(hasattr(cls, method) for method in methods)


_SIMPLE: dict[str, Callable[[Any], bool]] = {
    "None": lambda value: value is None,
    "bool": lambda value: isinstance(value, bool | np.bool_),
    "int": _is_int,
    "float": _is_float,
    "str": lambda value: isinstance(value, str),
    "floats": lambda value: isinstance(value, list) and all(map(_is_float, value)),
    "pair": _is_pair,
    "shape": lambda value: _is_pair(value) and all(_is_int(n) and n > 0 for n in value),
    "names": lambda value: isinstance(value, np.ndarray) and value.dtype == object,
    "weights": lambda value: (
        isinstance(value, dict) and all(isinstance(w, np.ndarray) for w in value.values())
    ),
    "estimator": lambda value: isinstance(value, BaseEstimator) and _is_registered(value, "fit"),
    "solver": lambda value: isinstance(value, BaseEstimator) and _is_registered(value, "solve"),
    "values": lambda value: True,
}
