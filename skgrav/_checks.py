"""What arrays must be at the door: dense, real and finite numbers, with squares that are finite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import validation

Array = NDArray[np.float64]

#: Largest number that is taken: a million of its squares have a finite sum in single precision.
#: Whatever the unit, densities, gravity and lengths are far below it.
LARGEST = 1e15

#: Largest number of a matrix, at least: its square, and that of a thousandth of it, are normal.
SMALLEST = 1e-140

#: Columns of a trend's basis whose directions agree to this share are dependent.
_DEPENDENT = 1e-10


def validate_data(
    estimator: Any,
    X: ArrayLike,
    y: Any = "no_validation",
    *,
    reset: bool = True,
    dtype: Any = np.float64,
    **params: Any,
) -> Any:
    """Validate as scikit-learn does, with errors that name the argument.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
        Finite numbers of `dtype`, float64 if it is not given. What is of one that is allowed is
        no copy, so that arrays on disk stay there.
    y : ndarray of shape (n_samples, n_outputs) or (n_samples,)
        The same; only if `y` is given.
    """
    alone = y is None or isinstance(y, str)
    with named("X"):
        X = validation.validate_data(
            estimator, X, y if alone else "no_validation", reset=reset, dtype=dtype, **params
        )
    check_size(X, "X")
    if alone:
        return X
    y = check_array(y, "y", dtype=dtype, ensure_2d=False, estimator=estimator)
    if len(y) != len(X):
        raise ValueError(
            f"'X' and 'y' have inconsistent numbers of samples: [{len(X)}, {len(y)}]. They must "
            "be pairs."
        )
    return X, y


def check_array(
    values: ArrayLike, name: str, *, dtype: Any = np.float64, **params: Any
) -> NDArray[Any]:
    """Return finite numbers by scikit-learn's check, with errors that name them."""
    with named(name):
        array = validation.check_array(values, dtype=dtype, input_name=name, **params)
    check_size(array, name)
    return array


def real_array(values: ArrayLike, name: str, *, finite: bool = True, copy: bool = False) -> Array:
    """Return float64 numbers of any shape, with errors that name them."""
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


def check_size(array: Array, name: str) -> None:
    """Raise ValueError if a number is so large that its square may overflow."""
    if array.size and max(array.max(), -array.min()) > LARGEST:
        raise ValueError(
            f"'{name}' contains {max(array.max(), -array.min()):.3g}; numbers of at most "
            f"{LARGEST:g} are allowed. Check the units, and for marks of missing values."
        )


def check_range(values: Any, name: str) -> tuple[float, float]:
    """Return two finite numbers, the lower first."""
    bounds = real_array(values, name, finite=False)
    if bounds.shape != (2,) or not np.isfinite(bounds).all() or not bounds[0] < bounds[1]:
        raise ValueError(f"'{name}' is {values!r}; it must be two finite numbers, the lower first.")
    check_size(bounds, name)
    return float(bounds[0]), float(bounds[1])


def check_matrix(matrix: Array, name: str) -> Array:
    """Return a matrix, unless it is so small that its squares are lost."""
    largest = float(np.abs(matrix).max(initial=0.0))
    if 0 < largest < SMALLEST:
        raise ValueError(
            f"'{name}' has no number above {largest:.3g}, whose square is lost in rounding. Check "
            "its unit, or multiply it and the gravity."
        )
    return matrix


def check_uncertainty(uncertainty: ArrayLike, n_data: int) -> Array:
    """Return a positive standard deviation for each datum, or raise ValueError."""
    sigma = real_array(uncertainty, "uncertainty")
    if sigma.shape not in ((), (n_data,)) or not (sigma > 0).all():
        raise ValueError(
            f"'uncertainty' has shape {sigma.shape} and minimum {sigma.min(initial=np.inf):g}; it "
            f"must be one positive number or one for each of {n_data} data."
        )
    return np.broadcast_to(sigma, n_data)


def check_basis(basis: ArrayLike, n_data: int) -> Array:
    """Return the basis of a trend with independent columns, or raise ValueError."""
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
            f"{min(rank, n_data - 1)} and leave something of the {n_data} data. Take a lower "
            "degree or fewer columns."
        )
    return basis


@contextmanager
def named(name: str) -> Iterator[None]:
    """Put the name of an argument before errors that do not tell it."""
    try:
        yield
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        text = str(error)
        if f"'{name}'" in text or text.startswith((f"Input {name} ", f"{name} ")):
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"'{name}' cannot be used: {text}") from error


def _real(value: Any) -> float:
    if isinstance(value, str | bytes):
        raise TypeError(f"{value!r} is text; give numbers.")
    if isinstance(value, complex | np.complexfloating):
        raise TypeError(f"{value!r} is a complex number; give real ones.")
    return float(value)
