"""Samples in dask arrays: estimators map them block by block, when the result is computed."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import check_is_fitted

from skgrav._typing import Array


def is_lazy(X: Any) -> bool:
    """Tell whether `X` is a dask array."""
    # Who has one has imported dask, which nobody else should wait for.
    dask_array = sys.modules.get("dask.array")
    return dask_array is not None and isinstance(X, dask_array.Array)


def lazily(method: Any, X: Any, *, as_vectors: bool = False, **options: Any) -> Any:
    """Return what a method of an estimator makes of the rows of a dask array, as a dask array.

    It is `predict`, `transform` or `inverse_transform`, whose widths the estimator tells. Columns
    need not be in one chunk, and the number of rows may be unknown. Options are those of the
    method; vectors have a value for each row, and ``return_std=True`` gives a pair of arrays.
    Results of one column become vectors with `as_vectors`.
    """
    import dask
    import dask.array as da

    name, estimator = method.__name__, method.__self__
    check_is_fitted(estimator)
    n_in, n_out = _widths(estimator, name)
    _check(f"{name} of this {type(estimator).__name__}", X, n_in, options)
    if name == "transform" and _get_output_config(name, estimator)["dense"] != "default":
        raise ValueError(
            "'X' is a dask array, all of which a data frame would gather; call "
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
        # A node of its own: it goes to each worker once, and there builds its matrix once.
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
    if len(X) == 0:  # a selection may leave nothing of a block
        return np.empty((0, width))
    options = options | dict(zip(per_row, rows, strict=True))
    found = getattr(estimator, method)(X, **options)
    parts = found if isinstance(found, tuple) else (found,)
    return np.hstack([np.reshape(part, (len(X), -1)) for part in parts])


def _widths(estimator: Any, name: str) -> tuple[int, int]:
    """Return the numbers of columns that a method takes and gives."""
    if name == "predict":
        return estimator.n_features_in_, estimator.n_outputs_
    there = estimator.n_features_in_, len(estimator.get_feature_names_out())
    return there if name == "transform" else there[::-1]


def _check(method: str, X: Any, n_in: int, options: dict[str, Any]) -> None:
    """Refuse now what would fail in the workers."""
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
