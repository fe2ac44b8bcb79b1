"""Access of displays to estimators: their parts, geometry and samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from numbers import Integral
from typing import Any

from numpy.typing import ArrayLike
from sklearn.frozen import FrozenEstimator

from skgrav._checks import real_array
from skgrav._typing import Array
from skgrav.geometry import Mesh, Survey
from skgrav.plotting._drawing import shown

#: Attributes that are fitted estimators.
_NESTED = ("best_estimator_", "regressor_", "estimator_", "inverter_", "generator_", "init_")


def parts_of(estimator: Any) -> Iterator[Any]:
    """Yield the fitted estimators within an estimator, in the order of use, then itself."""
    if isinstance(estimator, FrozenEstimator):
        yield from parts_of(estimator.estimator)
        return
    for _, step in getattr(estimator, "steps", []):
        if step is not None and not isinstance(step, str):
            yield from parts_of(step)
    for name in _NESTED:
        nested = getattr(estimator, name, None)
        if hasattr(nested, "fit"):
            yield from parts_of(nested)
    yield estimator


def operator_of(estimator: Any) -> Any:
    """Return the fitted operator of an estimator or of its last part that has one, or None."""
    for part in reversed(list(parts_of(estimator))):
        for name in ("operator_", "operator"):
            operator = getattr(part, name, None)
            if hasattr(operator, "n_features_in_"):  # fitted
                return operator
    return None


def mesh_of(mesh: Mesh | None, operator: Any) -> Mesh:
    """Return the given mesh, or the operator's."""
    return _geometry_of(mesh, operator, "mesh", Mesh)


def survey_of(survey: Survey | None, operator: Any) -> Survey:
    """Return the given survey, or the operator's."""
    return _geometry_of(survey, operator, "survey", Survey)


def _geometry_of(given: Any, operator: Any, name: str, kind: type) -> Any:
    found = getattr(operator, f"{name}_", None) if given is None else given
    if not isinstance(found, kind):
        lack = f"the {type(operator).__name__} has no {name}"
        if operator is None:
            lack = "no operator was given or found"
        raise ValueError(f"'{name}' is {given!r}, and {lack}; give '{name}', a {kind.__name__}.")
    return found


def units_of(units: str | None, operator: Any) -> str:
    """Return the given units, or the operator's, or mGal."""
    return str(getattr(operator, "units", "mGal") if units is None else units)


def row_of(values: ArrayLike, sample: int, size: int, argument: str) -> Array:
    """Return one sample of vectors of a size; a single vector is returned as it is."""
    array = shown(values, argument)
    if array.ndim > 2 or array.shape[-1:] != (size,):
        raise ValueError(
            f"'{argument}' has shape {array.shape}; it must be ({size},) or (n_samples, {size})."
        )
    if array.ndim == 1:
        return array
    if not isinstance(sample, Integral) or isinstance(sample, bool):
        raise TypeError(f"'sample' is {sample!r}; it must be the number of a row, from 0 on.")
    if not -len(array) <= sample < len(array):
        raise ValueError(
            f"'sample' is {sample}, but '{argument}' has {len(array)} rows; give one of them."
        )
    return array[sample]


def named(values: Any, name: str) -> dict[str, Any]:
    """Return estimates by name; a single one gets `name`."""
    return dict(values) if isinstance(values, Mapping) else {name: values}


def one_row(X: Any, sample: int) -> Array:
    """Return the row of X to predict, as a batch of one."""
    X = real_array(X, "X", finite=False)  # the estimator checks NaN
    if X.ndim != 2:
        raise ValueError(f"'X' has shape {X.shape}; it must be (n_samples, n_data).")
    return row_of(X, sample, X.shape[1], "X")[None]
