"""Attributes in files: their types, and shape and precision of arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import (
    Any,
    Literal,
    Protocol,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    runtime_checkable,
)

import numpy as np
from numpy.typing import NDArray

Precision = Literal["float16", "float32", "float64"]

#: Arrays of a network, by the names of its weights.
Weights = dict[str, NDArray[Any]]

#: Kinds of NumPy numbers allowed for an array of each kind, in any precision.
_KINDS = {"f": "f", "i": "iu", "u": "iu", "b": "b", "O": "O"}


@dataclass(frozen=True)
class Field:
    """Attribute of a fitted estimator that is saved.

    Parameters
    ----------
    name : str
        Name of the attribute.
    type : type
        Its type: a class, ``float``, ``np.ndarray``, ``NDArray[np.float64]``,
        ``tuple[float, float]``, ``list[float]``, or a union such as ``np.ndarray | None``.
    shape : tuple of str, default=None
        Name of each axis of an array. Axes of one name have the same length in all fields of an
        estimator; the name of a field of type ``int`` stands for its value. None allows any shape.
    least : {"float16", "float32", "float64"} or callable, default="float64"
        Lowest precision in which `save` may write the numbers, whatever its `dtype`. A callable
        returns it for the name of each weight of a network.
    optional : bool, default=False
        Whether the attribute may be missing.

    See Also
    --------
    saved : Registers the class of an estimator.

    Examples
    --------
    >>> import numpy as np
    >>> from skgrav.io import Field
    >>> Field("mean_", np.ndarray, ("n_outputs_",)).name
    'mean_'
    """

    name: str
    type: Any
    shape: tuple[str, ...] | None = None
    least: Precision | Callable[[str], Precision] = "float64"
    optional: bool = False


#: Number and names of the columns to which every estimator was fitted.
FEATURES = (
    Field("n_features_in_", int),
    Field("feature_names_in_", NDArray[np.object_], optional=True),
)


@runtime_checkable
class Estimator(Protocol):
    """An object with `fit`, unlike solvers and value objects."""

    def fit(self, X: Any, y: Any = None) -> Any:
        """Fit to data."""


def sized(*shape: str, least: Precision = "float64") -> dict[str, Any]:
    """Return the metadata of a dataclass field that is an array; see `Field`."""
    return {"skgrav": {"shape": shape, "least": least}}


def fields_of(cls: type) -> tuple[Field, ...]:
    """Return the fields of a dataclass, by its annotations, or of an estimator."""
    if not dataclasses.is_dataclass(cls):
        return getattr(cls, "_file_fields", ())
    hints = get_type_hints(cls)
    # A field with a default may be missing in files that are older than it.
    return tuple(
        Field(
            part.name,
            hints[part.name],
            optional=part.default is not dataclasses.MISSING,
            **part.metadata.get("skgrav", {}),
        )
        for part in dataclasses.fields(cls)
        if part.init
    )


def check_field(field: Field, value: Any, sizes: dict[str, int]) -> None:
    """Raise TypeError unless type and shape of a value match; `sizes` collects lengths of axes."""
    fits = _fits(field.type, value, field.shape, sizes)
    if field.type is int and fits:
        fits = sizes.setdefault(field.name, int(value)) == value
    if not fits:
        names = dict.fromkeys([*(field.shape or ()), field.name])
        known = ", ".join(f"{name} = {sizes[name]}" for name in names if name in sizes)
        raise TypeError(
            f"{field.name!r} is {described(value)}, but it must be "
            f"{_text(field.type, field.shape)}{f' with {known}' if known else ''}"
        )


def described(value: Any) -> str:
    """Return a short text of a value, for errors."""
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} of shape {value.shape}"
    if value is None or isinstance(value, bool | int | float | str):
        text = repr(value)
        return text if len(text) < 60 else f"{text[:57]}..."
    return f"a {type(value).__name__}"


def _fits(hint: Any, value: Any, shape: tuple[str, ...] | None, sizes: dict[str, int]) -> bool:
    """Return whether a value is of a type, and an array of a shape."""
    hint = _unaliased(hint)
    origin, parts = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, UnionType):
        return any(_fits(part, value, shape, sizes) for part in parts)
    if np.ndarray in (hint, origin):
        return isinstance(value, np.ndarray) and _is_array(hint, value, shape, sizes)
    if origin is tuple and parts[-1] is not ...:
        return (
            isinstance(value, tuple)
            and len(value) == len(parts)
            and all(_fits(*pair, shape, sizes) for pair in zip(parts, value, strict=True))
        )
    if origin in (tuple, list):
        return isinstance(value, origin) and all(_fits(parts[0], v, shape, sizes) for v in value)
    if origin is dict:
        return isinstance(value, dict) and all(
            isinstance(key, str) and _fits(parts[1], v, shape, sizes) for key, v in value.items()
        )
    if hint in (int, float):
        number = Integral if hint is int else Real
        return isinstance(value, number) and not isinstance(value, bool | np.bool_)
    if hint is bool:
        return isinstance(value, bool | np.bool_)
    return value is None if hint is None else isinstance(value, hint)


def _unaliased(hint: Any) -> Any:
    """Return what an alias stands for, such as NDArray in numpy 2.5."""
    alias = hint if get_origin(hint) is None else get_origin(hint)
    value = getattr(alias, "__value__", None)
    if value is None:
        return hint
    parts = get_args(hint)
    return value[parts] if parts else value


def _is_array(
    hint: Any, value: NDArray[Any], shape: tuple[str, ...] | None, sizes: dict[str, int]
) -> bool:
    number = _number(hint)
    kinds = "biuf" if number is Any else _KINDS[np.dtype(number).kind]
    if value.dtype.kind not in kinds or (shape is not None and len(shape) != value.ndim):
        return False
    return all(
        sizes.setdefault(name, size) == size
        for name, size in zip(shape or (), value.shape, strict=False)
    )


def _number(hint: Any) -> Any:
    """Return the type of an array's numbers, Any for a bare ``np.ndarray``."""
    parts = get_args(hint)
    return get_args(parts[1])[0] if parts else Any


def _text(hint: Any, shape: tuple[str, ...] | None) -> str:
    """Return the text of a type, for errors."""
    hint = _unaliased(hint)
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(_text(part, shape) for part in parts)
    if np.ndarray in (hint, origin):
        number = _number(hint)
        kind = "numbers" if number is Any else np.dtype(number).name
        axes = "" if shape is None else f" of shape ({', '.join(shape)}{',' * (len(shape) == 1)})"
        return f"an array of {kind}{axes}"
    if hint is NoneType:
        return "None"
    return hint.__name__ if isinstance(hint, type) and origin is None else str(hint)
