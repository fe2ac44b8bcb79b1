"""Validation of input arrays: dense, real, finite numbers whose squares are finite.

Missing values are refused however they are marked: by NaN, a mask, pandas' NA, or a number such as
-9999 far from all others.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import validation

from skgrav._typing import Array, Mask

#: Largest number allowed: a million of its squares have a finite sum in single precision.
#: Densities, gravity and lengths are far below it in any unit.
LARGEST = 1e15

#: Numbers that mark missing values in tables, well logs and grids: rows of nines, also with a
#: quarter, and those of GIS files.
DUMMIES = np.array(
    [float(f"{'9' * n}{tail}") for n in range(3, 9) for tail in ("", ".9", ".99", ".25")]
    + [32767.0, 32768.0]
)

#: Distance of a dummy from the other values, in units of their range.
_FAR = 10.0

#: Smallest maximum of a matrix: its square, and that of a thousandth of it, are normal numbers.
_SMALLEST = 1e-140

#: Singular value, relative to unit columns, below which the basis of a trend is rank-deficient.
_DEPENDENT = 1e-10

_REMEDY = "Leave missing values out, with their station or cell, or fill them in by interpolation."


def validate_data(
    estimator: Any,
    X: ArrayLike,
    y: Any = "no_validation",
    *,
    reset: bool = True,
    dtype: Any = np.float64,
    y_dtype: Any = None,
    **params: Any,
) -> Any:
    """Validate as scikit-learn does, with errors that name the argument.

    X, and y if given, are copied only to convert them to `dtype`, so memory maps stay on disk; y to
    `y_dtype`, if that is given.
    """
    alone = y is None or isinstance(y, str)
    refuse_missing(X, "X")
    given = X
    if getattr(X, "ndim", 2) == 1:  # scikit-learn would print all its values
        raise ValueError(
            f"Expected 2D array, but 'X' has shape {np.shape(X)}; it must have one row per sample. "
            "Reshape your data: give a single sample as [X]."
        )
    with named("X"):
        X = validation.validate_data(
            estimator,
            X,
            y if alone else "no_validation",
            reset=reset,
            dtype=dtype,
            ensure_all_finite=False,
            **params,
        )
    _check_values(X, "X", given)
    if alone:
        return X
    y = check_array(y, "y", dtype=y_dtype or dtype, ensure_2d=False, estimator=estimator)
    if len(y) != len(X):
        raise ValueError(
            f"'X' and 'y' have inconsistent numbers of samples: [{len(X)}, {len(y)}]. They must "
            "be pairs."
        )
    return X, y


def check_array(
    values: ArrayLike, name: str, *, dtype: Any = np.float64, **params: Any
) -> NDArray[Any]:
    """Validate as scikit-learn does, with errors that name the argument."""
    refuse_missing(values, name)
    with named(name):
        array = validation.check_array(
            values, dtype=dtype, input_name=name, ensure_all_finite=False, **params
        )
    _check_values(array, name, values)
    return array


def real_array(values: ArrayLike, name: str, *, finite: bool = True, copy: bool = False) -> Array:
    """Return a float64 array of any shape, with errors that name the argument."""
    refuse_missing(values, name, nan=finite)
    with named(name):
        array = np.asarray(values)
        if array.dtype.kind not in "fiub":
            array = np.asarray([_real(value) for value in array.flat]).reshape(array.shape)
        array = np.array(array, dtype=np.float64, order="C", copy=copy or None)
    if finite:
        if not np.isfinite(array).all():
            raise ValueError(
                f"'{name}' contains NaN or infinity; each value must be a finite number."
            )
        check_size(array, name)
    return array


def refuse_missing(values: Any, name: str, *, nan: bool = True) -> None:
    """Raise ValueError if a mask, or with `nan` also pandas, marks values as missing."""
    if isinstance(values, list | tuple):
        for value in values:
            if isinstance(value, list | tuple | np.ma.MaskedArray):
                refuse_missing(value, name, nan=nan)
    elif isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        mask = np.atleast_1d(np.ma.getmaskarray(values))
        raise ValueError(
            f"'{name}' is masked in {np.count_nonzero(mask)} of {mask.size} places, first at "
            f"{_first_index(mask)}: these values are missing. {_REMEDY}"
        )
    elif nan and type(values).__module__.startswith("pandas") and hasattr(values, "isna"):
        missing = np.asarray(values.isna())
        if missing.any():
            raise ValueError(
                f"Input {name} contains NaN or NA, first at {_first_index(missing)}"
                f"{_column(values, missing)}. {_REMEDY}"
            )


def _check_values(array: NDArray[Any], name: str, given: Any) -> None:
    """Raise ValueError unless numbers are finite, not too large, and none is a dummy value."""
    if not array.size:
        return
    # The extremes are NaN or infinite if any number is, and need no mask as large as the array.
    if not np.isfinite([array.min(), array.max()]).all():
        kind = "NaN" if np.isnan(array.min()) else "infinity"
        wrong = np.isnan(array) if kind == "NaN" else np.isinf(array)
        raise ValueError(
            f"Input {name} contains {kind}, first at {_first_index(wrong)}"
            f"{_column(given, wrong)}. {_REMEDY}"
        )
    check_size(array, name)
    check_dummies(array, name, zeros_are_background=True)


def _first_index(wrong: Mask) -> str:
    return f"[{', '.join(map(str, np.argwhere(wrong)[0]))}]"


def _column(values: Any, wrong: Mask) -> str:
    """Return the name of the first wrong column, if columns have names."""
    columns = getattr(values, "columns", None)
    if columns is None or wrong.ndim != 2:
        return ""
    return f" in column {columns[int(np.argwhere(wrong)[0][1])]!r}"


def check_dummies(array: NDArray[Any], name: str, *, zeros_are_background: bool = False) -> None:
    """Raise ValueError if a number such as -9999 marks missing values.

    The unit of X is unknown, so size alone is not a criterion. A dummy value is one of `DUMMIES` to
    the last digit, and farther from the other values than ten times their range. Fewer than three
    others have no range to compare with, nor have zeros where they may be the background of a body.
    """
    marks = find_dummies(array, zeros_are_background=zeros_are_background)
    if marks.any():
        first = float(array[marks][0])
        rest = array[~_like_dummies(array)]
        raise ValueError(
            f"'{name}' contains {first:.10g}, {np.count_nonzero(array == first)} times and far "
            f"from all other values, which are {rest.min():.4g} to {rest.max():.4g}: it marks "
            f"missing values. {_REMEDY}"
        )


def find_dummies(array: NDArray[Any], *, zeros_are_background: bool = False) -> Mask:
    """Return which numbers mark missing values, as `check_dummies` says."""
    none = np.zeros(array.shape, dtype=bool)
    if not array.size:
        return none
    for extreme in (float(array.min()), float(array.max())):
        # Single precision rounds 99999.9 in the eighth digit.
        if np.isclose(DUMMIES, abs(extreme), rtol=1e-7, atol=0).any():
            break
    else:
        return none
    # A file may use several dummies, which must not widen the range of the others.
    like = _like_dummies(array)
    rest = array[~like]
    if rest.size < 3 or (zeros_are_background and not rest.any()):
        return none
    low, high = float(rest.min()), float(rest.max())
    distance = np.maximum(low - array.astype(np.float64), array - high)
    return np.asarray(like & (distance > _FAR * (high - low)))


def _like_dummies(array: NDArray[Any]) -> Mask:
    size = np.abs(array)
    return np.asarray(reduce(np.logical_or, (np.isclose(size, d, 1e-7, 0) for d in DUMMIES)))


def check_size(array: Array, name: str) -> None:
    """Raise ValueError if a number is so large that its square may overflow."""
    # As Python's floats, since the largest number allowed overflows half precision.
    if array.size and (largest := max(float(array.max()), -float(array.min()))) > LARGEST:
        raise ValueError(
            f"'{name}' contains {largest:.3g}; numbers of at most {LARGEST:g} are allowed. Check "
            "the units, and for marks of missing values."
        )


def check_range(values: Any, name: str) -> tuple[float, float]:
    """Return two finite numbers, the lower first."""
    bounds = real_array(values, name, finite=False)
    if bounds.shape != (2,) or not np.isfinite(bounds).all() or not bounds[0] < bounds[1]:
        raise ValueError(f"'{name}' is {values!r}; it must be two finite numbers, the lower first.")
    check_size(bounds, name)
    return float(bounds[0]), float(bounds[1])


def check_matrix(matrix: Array, name: str) -> Array:
    """Return a matrix, or raise ValueError if the squares of its entries underflow."""
    largest = float(np.abs(matrix).max(initial=0.0))
    if 0 < largest < _SMALLEST:
        raise ValueError(
            f"'{name}' has no entry above {largest:.3g}, whose square underflows. Check its unit, "
            "or multiply it and the gravity by a constant."
        )
    return matrix


def check_uncertainty(uncertainty: ArrayLike, n_data: int, name: str = "uncertainty") -> Array:
    """Return a positive standard deviation for each datum, or raise ValueError."""
    sigma = real_array(uncertainty, name)
    if sigma.shape not in ((), (n_data,)) or not (sigma > 0).all():
        raise ValueError(
            f"'{name}' has shape {sigma.shape} and minimum {sigma.min(initial=np.inf):g}; it "
            f"must be one positive number or one for each of {n_data} data."
        )
    return np.broadcast_to(sigma, n_data)


def check_basis(basis: ArrayLike, n_data: int) -> Array:
    """Return the basis of a trend, or raise ValueError if its columns are linearly dependent."""
    basis = real_array(basis, "trend")
    basis = basis[:, None] if basis.ndim == 1 else basis
    if basis.ndim != 2 or basis.shape[0] != n_data:
        raise ValueError(
            f"'trend' has shape {basis.shape}; a basis has one row for each of {n_data} data and "
            "one column for each coefficient."
        )
    n_columns = basis.shape[1]
    if not n_columns:
        return basis
    size = np.linalg.norm(basis, axis=0)
    unit = np.divide(basis, size, out=np.zeros_like(basis), where=size > 0)
    rank = int(np.sum(np.linalg.svd(unit, compute_uv=False) > _DEPENDENT))
    if rank < n_columns or n_columns >= n_data:
        raise ValueError(
            f"'trend' has {n_columns} coefficients, but the stations determine only "
            f"{min(rank, n_data - 1)} of {n_data} data. Take a lower degree or fewer columns."
        )
    return basis


@contextmanager
def named(name: str) -> Iterator[None]:
    """Name the argument in errors raised within the context."""
    try:
        yield
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        text = str(error)
        if f"'{name}'" in text or text.startswith((f"Input {name} ", f"{name} ")):
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"'{name}' cannot be used: {text}") from error


def import_optional(module: str, user: str, extra: str) -> Any:
    """Import a module, or raise ImportError that says which extra of skgrav installs it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{user} needs {module.partition('.')[0]}; install it by pip install 'skgrav[{extra}]'."
        ) from error


def _real(value: Any) -> float:
    if isinstance(value, str | bytes):
        raise TypeError(f"{value!r} is text; give numbers.")
    if value is np.ma.masked:
        raise ValueError("a value is masked: it is missing. Leave it out, or fill it in.")
    if isinstance(value, complex | np.complexfloating):
        raise TypeError(f"{value!r} is complex; give real numbers.")
    return float(value)
