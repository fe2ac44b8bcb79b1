"""Shared by meshes and surveys: the order of axes, read-only arrays, equality by value."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import fields
from operator import index
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skgrav._checks import named, real_array
from skgrav._typing import Array

#: Axis names by number of dimensions, in the order of mesh axes and station columns.
AXES = {2: ("z", "x"), 3: ("z", "y", "x")}

#: Components of gravity, then of its gradient, by number of dimensions.
COMPONENTS = {
    2: (*AXES[2], "xx", "xz", "zz"),
    3: (*AXES[3], "xx", "xy", "xz", "yy", "yz", "zz"),
}


def component_unit(component: str) -> str:
    """Return the unit of a component, mGal for gravity and Eotvos for a gradient."""
    return "mGal" if len(component) == 1 else "E"


def frozen(values: ArrayLike, name: str) -> Array:
    """Return a read-only float64 copy of finite `values`."""
    array = real_array(values, name, copy=True)
    array.setflags(write=False)
    return array


def whole_numbers(values: Sequence[Any], name: str) -> tuple[int, ...]:
    """Return whole numbers of at least 1."""
    with named(name):
        # NumPy 2.0 takes its booleans for indices, with a warning.
        numbers = tuple(0 if isinstance(value, np.bool) else index(value) for value in values)
    if not numbers or min(numbers) < 1:
        raise ValueError(f"'{name}' is {values!r}; it must be whole numbers of at least 1.")
    return numbers


class ValueObject(ABC):
    """Equality, hash, copy and pickle by the bytes of the arrays of a frozen dataclass."""

    @abstractmethod
    def _key(self) -> tuple[Any, ...]:
        """Return a hashable key, the same for equal objects."""

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self

    def __reduce__(self):
        # Through the constructor, since unpickled arrays are writeable.
        return type(self), tuple(getattr(self, f.name) for f in fields(self))  # type: ignore[arg-type]


def single_component(name: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
    """Return a component that is named by a string, unless it may be meant as several."""
    letters = tuple(name)
    if len(letters) > 1 and len(set(letters)) == len(letters) and set(letters) <= set(allowed):
        gradient = f"('{name}',) for the gradient, or " if name in allowed else ""
        raise ValueError(
            f"'components' is '{name}', but a string is one component: give {gradient}{letters!r} "
            "for gravity."
        )
    return (name,)
