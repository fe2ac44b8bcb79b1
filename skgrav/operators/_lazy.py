"""Dask arrays of samples, mapped by estimators block by block when the result is computed."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import check_is_fitted

from skgrav._typing import Array


def is_lazy(X: Any) -> bool:
    """Return whether `X` is a dask array, without importing dask."""
    dask_array = sys.modules.get("dask.array")
    return dask_array is not None and isinstance(X, dask_array.Array)


def lazily(method: Any, X: Any, *, as_vectors: bool = False, **options: Any) -> Any:
    """Map the rows of a dask array by a method of an estimator, to a dask array.

    The method is `predict`, `transform`, `inverse_transform` or `applicability`, with its options;
    vectors among them have a value for each row, and ``return_std=True`` gives a pair of arrays.
    Columns may be in several chunks, and the number of rows may be unknown. With `as_vectors`,
    results of one column become vectors.
    """
    import dask
    import dask.array as da

    name, estimator = method.__name__, method.__self__
    check_is_fitted(estimator)
    n_in, n_out = _widths(estimator, name)
    _check(f"{name} of this {type(estimator).__name__}", X, n_in, options)
    if name == "transform" and _get_output_config(name, estimator)["dense"] != "default":
        raise ValueError(
            "'X' is a dask array, which a data frame would gather in memory; call "
            "set_output(transform='default')."
        )
    n_parts = 2 if options.get("return_std") else 1
    per_row = {key: value for key, value in options.items() if np.ndim(value) == 1}
    rows: list[Any] = []
    for value in per_row.values():
        rows += [da.asarray(value).rechunk(X.chunks[:1]), "i"]
    result = da.blockwise(
        _apply,
        "ik",
        # A separate node is sent to each worker once, where its matrix is built once.
        dask.delayed(estimator, traverse=False),
        None,
        X,
        "ij",
        *rows,
        method=name,
        width=n_parts * n_out,
        per_row=tuple(per_row),
        options={key: value for key, value in options.items() if key not in per_row},
        new_axes={"k": n_parts * n_out},
        concatenate=True,
        dtype=np.float64,
        meta=np.empty((0, 0)),
        token=f"{type(estimator).__name__}-{name}",
    )
    parts = [result[:, i * n_out : (i + 1) * n_out] for i in range(n_parts)]
    if as_vectors:
        parts = [part[:, 0] for part in parts]
    return parts[0] if n_parts == 1 else tuple(parts)


def _apply(
    estimator: Any,
    X: NDArray[Any],
    *rows: NDArray[Any],
    method: str,
    width: int,
    per_row: tuple[str, ...],
    options: dict[str, Any],
) -> Array:
    if len(X) == 0:  # as after a selection of rows
        return np.empty((0, width))
    options = options | dict(zip(per_row, rows, strict=True))
    found = getattr(estimator, method)(X, **options)
    parts = found if isinstance(found, tuple) else (found,)
    return np.hstack([np.reshape(part, (len(X), -1)) for part in parts])


def _widths(estimator: Any, name: str) -> tuple[int, int]:
    """Return the numbers of columns of the input and output of a method."""
    if name == "predict":
        return estimator.n_features_in_, estimator.n_outputs_
    if name == "applicability":  # a p-value for each sample
        return estimator.n_features_in_, 1
    widths = estimator.n_features_in_, len(estimator.get_feature_names_out())
    return widths if name == "transform" else widths[::-1]


def _check(method: str, X: Any, n_in: int, options: dict[str, Any]) -> None:
    """Raise errors before they would occur in the workers."""
    if X.ndim != 2:
        raise ValueError(f"'X' is a dask array of {X.ndim} axes, but {method} takes 2.")
    n_rows, n_columns = X.shape
    if n_columns != n_in:
        hint = " Call X.compute_chunk_sizes() first." if np.isnan(n_columns) else ""
        raise ValueError(f"'X' has {n_columns} columns, but {method} takes {n_in}.{hint}")
    for key, value in options.items():
        if np.ndim(value) == 1 and not len(value) == n_rows:
            raise ValueError(
                f"'{key}' has {len(value)} values, but 'X' has {n_rows} rows; give one number, or "
                "one for each row of a dask array of known chunk sizes."
            )
