"""What parameters may be, in scikit-learn's terms, of estimators and of functions.

Its module is private, though estimators outside scikit-learn need it: what changes there is mended
here.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, TypeVar

import numpy as np
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    Options,
    StrOptions,
    validate_parameter_constraints,
)

__all__ = [
    "ANY_NUMBER",
    "COUNT",
    "POSITIVE",
    "SEVERAL",
    "WHOLE",
    "HasMethods",
    "Interval",
    "Options",
    "StrOptions",
    "checked",
]

#: A number of things to make: more would not fit into any memory.
COUNT = Interval(Integral, 1, 10**9, closed="both")

#: A number of at least 1, however large: what files ask for is refused by its shape.
POSITIVE = Interval(Integral, 1, None, closed="left")

#: A number whose sign is checked where it is used.
WHOLE = Interval(Integral, -(10**9), 10**9, closed="both")

#: A finite number, as large as the largest array entry.
ANY_NUMBER = Interval(Real, -1e15, 1e15, closed="both")

#: Several of something: what is only "array-like" for scikit-learn may be a class with a `shape`.
SEVERAL: tuple[Any, ...] = (list, tuple, np.ndarray, HasMethods("to_numpy"))

Function = TypeVar("Function", bound=Callable[..., Any])


def checked(**constraints: Any) -> Callable[[Function], Function]:
    """Check arguments of a function before it runs, by scikit-learn's rules for parameters.

    Scikit-learn's own decorator also renames the errors of estimators that the function fits.
    """

    def decorate(function: Function) -> Function:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                bound = signature.bind(*args, **kwargs).arguments
            except TypeError:  # Python's own error says more
                return function(*args, **kwargs)
            given = {name: bound[name] for name in constraints if name in bound}
            given = {name: _scalar(value) for name, value in given.items()}
            validate_parameter_constraints(constraints, given, function.__qualname__)
            return function(*args, **kwargs)

        return call  # type: ignore[return-value]

    return decorate


def _scalar(value: Any) -> Any:
    """Return the number in an array without axes, which is as good."""
    return value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value
