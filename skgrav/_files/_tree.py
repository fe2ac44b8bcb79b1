"""Estimators as trees of JSON whose arrays stand elsewhere, and back."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from skgrav._files._container import Tensors, cast
from skgrav._files._forms import check_form, described, least_of_weights, least_precision
from skgrav._files._registry import LEFT_OUT, Kind, kind_named, kind_of

#: Levels of a tree: those of estimators within estimators are far fewer.
_DEPTH = 60

PRECISIONS = ("float16", "float32", "float64")


class UnknownContentError(ValueError):
    """A file holds what this version does not know, which another one may."""


class Writer:
    """Turns objects into JSON, and gathers their arrays.

    Parameters
    ----------
    dtype : {"float64", "float32", "float16"}
        Numbers in which arrays are kept whose form allows it.
    """

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype
        self.tensors: Tensors = {}
        self._names: dict[tuple[Any, ...], str] = {}
        self._objects: list[Any] = []

    def node(self, value: Any, place: str, least: str = "float64") -> Any:
        """Return the JSON of a value; `place` is its name in errors and among the arrays."""
        if value is None or isinstance(value, str):
            return value if value is None else str(value)
        if isinstance(value, bool | np.bool_):
            return bool(value)
        if isinstance(value, Integral):
            return int(value)
        if isinstance(value, Real):
            number = float(value)
            return number if math.isfinite(number) else {"float": repr(number)}
        if isinstance(value, np.ndarray):
            return self._array(value, place, least)
        if isinstance(value, list):
            return [self.node(v, f"{place}.{i}", least) for i, v in enumerate(value)]
        if isinstance(value, tuple):
            return {"tuple": [self.node(v, f"{place}.{i}", least) for i, v in enumerate(value)]}
        if type(value) is np.random.RandomState:
            return {"random_state": self.node(list(value.get_state()), place)}
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            return {"dict": {k: self.node(v, f"{place}.{k}", least) for k, v in value.items()}}
        return self._object(value, place)

    def weights(self, weights: Tensors, place: str) -> Any:
        """Return the JSON of a network's weights, by name."""
        return {
            "dict": {
                name: self._array(values, f"{place}.{name}", least_of_weights(name))
                for name, values in weights.items()
            }
        }

    def _object(self, value: Any, place: str) -> Any:
        for k, known in enumerate(self._objects):
            if known is value:
                return {"same": k}
        kind = kind_of(type(value))
        if kind is None:
            _refuse(value, place)
        if hasattr(kind.cls, "_parameter_constraints"):
            value._validate_params()  # or the file could not be read
        node: dict[str, Any] = {"object": kind.name}
        given = _hook(value, "_file_parameters", lambda: _parameters(kind, value))()
        if kind.parameters:
            node["parameters"] = {
                name: self.node(v, _join(place, name))
                for name, v in given.items()
                if name not in LEFT_OUT
            }
        if isinstance(value, BaseEstimator):
            output = vars(value).get("_sklearn_output_config", {}).get("transform")
            node |= {} if output is None else {"output": output}
        node["state"] = self._state(kind, value, place)
        self._objects.append(value)
        return node

    def _state(self, kind: Kind, value: Any, place: str) -> Any:
        if not kind.forms or not (kind.is_value or _is_fitted(value)):
            return None
        attributes = vars(value)
        foreseen = {*kind.forms, *kind.parameters, "_sklearn_output_config"}
        foreseen |= set(getattr(kind.cls, "_file_left_out", ()))
        if kind.is_strict and set(attributes) - foreseen:
            name = min(set(attributes) - foreseen)
            raise ValueError(
                f"{_join(place, name)!r} is an attribute that files do not know. Delete it, or "
                "pickle the estimator."
            )
        present = {name: attributes[name] for name in kind.forms if name in attributes}
        state = _hook(value, "_file_state", lambda: present)()
        sizes: dict[str, int] = {}
        nodes = {}
        for name, form in kind.forms.items():
            if name not in state and form.endswith("?"):
                continue
            check_form(form, name, state[name], sizes)
            where = _join(place, name)
            if form.rstrip("?") == "weights":
                nodes[name] = self.weights(state[name], where)
            else:
                nodes[name] = self.node(state[name], where, least_precision(form))
        return nodes

    def _array(self, values: NDArray[Any], place: str, least: str) -> Any:
        if values.dtype == object and all(isinstance(v, str) for v in values.ravel()):
            return {"names": [str(v) for v in values]}
        if values.dtype.kind not in "biuf" or values.dtype.itemsize > 8:
            _refuse(values, place)
        # Products of a matrix and of its copy in another order differ in their last digits.
        transposed = values.flags.f_contiguous and not values.flags.c_contiguous
        kept = values.T if transposed else values
        kept = np.asarray(kept, dtype=values.dtype.newbyteorder("="), order="C")
        dtype = str(kept.dtype)
        if dtype in PRECISIONS:
            wanted = max(self.dtype, least, key=PRECISIONS.index)
            if PRECISIONS.index(wanted) < PRECISIONS.index(dtype):
                kept = cast(place, kept, wanted)
        # What an estimator holds twice, as generators that were frozen, is written once.
        key = str(kept.dtype), kept.shape, kept.tobytes()
        node: dict[str, Any] = {"array": self._named(key, place, kept), "dtype": dtype}
        return node | ({"transposed": True} if transposed else {})

    def _named(self, key: tuple[Any, ...], place: str, kept: NDArray[Any]) -> str:
        name = self._names.setdefault(key, place)
        self.tensors.setdefault(name, kept)
        return name


class Reader:
    """Turns JSON back into objects of the registry, by their own constructors.

    Parameters
    ----------
    tensors : dict of ndarray
        The arrays.
    device : str
        Torch device of all estimators that have one.
    """

    def __init__(self, tensors: Tensors, device: str) -> None:
        self.tensors, self.device = tensors, device
        self._objects: list[Any] = []
        self._given: set[str] = set()
        self._depth = 0

    def whole(self, tree: Any, cls: type) -> Any:
        """Return the estimator of a file, which needs all of its arrays."""
        estimator = self.value(tree, cls)
        if set(self.tensors) - self._given:
            raise UnknownContentError(f"the array {min(set(self.tensors) - self._given)!r}")
        return estimator

    def value(self, node: Any, cls: type | None = None) -> Any:
        """Return what a node holds; an object of `cls`, if that is a subclass of its own."""
        self._depth += 1
        if self._depth > _DEPTH:
            raise ValueError(f"its header is nested deeper than {_DEPTH} levels")
        try:
            if node is None or isinstance(node, bool | int | float | str):
                return node
            if isinstance(node, list):
                return [self.value(part) for part in node]
            return self._tagged(node, cls)
        finally:
            self._depth -= 1

    def _tagged(self, node: dict[str, Any], cls: type | None) -> Any:
        match node:
            case {"object": name, **rest}:
                return self._object(name, rest, cls)
            case {"array": name, "dtype": dtype, **rest} if rest in ({}, {"transposed": True}):
                return self._array(name, dtype).T if rest else self._array(name, dtype)
            case {"tuple": list(parts), **rest} if not rest:
                return tuple(self.value(part) for part in parts)
            case {"dict": dict(parts), **rest} if not rest:
                return {key: self.value(part) for key, part in parts.items()}
            case {"names": list(names), **rest} if not rest:
                if not all(isinstance(name, str) for name in names):
                    raise TypeError("its names are not all texts")
                return np.array(names, dtype=object)
            case {"float": str(text), **rest} if not rest:
                return {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}[text]
            case {"same": int(k), **rest} if not rest and 0 <= k < len(self._objects):
                return self._objects[k]
            case {"random_state": state, **rest} if not rest:
                return _random_state(self.value(state))
        raise UnknownContentError(f"a node of {', '.join(sorted(map(repr, node)))}")

    def _array(self, name: str, dtype: str) -> NDArray[Any]:
        values = self.tensors[name]
        if dtype not in (*PRECISIONS, str(values.dtype)):
            raise TypeError(f"{name!r} is of {values.dtype}, not of {dtype!r}")
        copy = name in self._given  # or what is changed in one place would be so in another
        self._given.add(name)
        return values.astype(dtype, copy=copy)

    def _object(self, name: Any, node: dict[str, Any], cls: type | None) -> Any:
        kind = kind_named(name)
        if kind is None:
            raise UnknownContentError(f"the class {name!r}")
        only_known(node, {"parameters", "state", "output"}, name)
        made = cls if cls is not None and issubclass(cls, kind.cls) else kind.cls
        parameters = node.get("parameters") or {}
        only_known(parameters, set(kind.parameters) - LEFT_OUT, name)
        state = node["state"]
        if kind.is_value:
            value = made(**self._state(kind, state))
        else:
            given = {key: self.value(part) for key, part in parameters.items()}
            given |= {"device": self.device} if "device" in kind.parameters else {}
            value = made(**given)
            if hasattr(made, "_parameter_constraints"):
                value._validate_params()
            if "output" in node:
                value.set_output(transform=node["output"])
            if state is not None:
                self._restore(value, self._state(kind, state))
        self._objects.append(value)
        return value

    def _state(self, kind: Kind, state: Any) -> dict[str, Any]:
        only_known(state, set(kind.forms), kind.name)
        values, sizes = {}, {}  # type: dict[str, Any], dict[str, int]
        for name, form in kind.forms.items():
            if name not in state and form.endswith("?"):
                continue
            values[name] = self.value(state[name])
            check_form(form, name, values[name], sizes)
        return values

    @staticmethod
    def _restore(value: Any, state: dict[str, Any]) -> None:
        operator, n_cells = state.get("operator_"), state.get("n_outputs_")
        if operator and n_cells and operator.n_features_in_ != n_cells:
            raise ValueError(
                f"its operator has {operator.n_features_in_} cells, but {n_cells} are estimated"
            )
        _hook(value, "_restore", lambda known: vars(value).update(known))(state)


def _random_state(state: Any) -> np.random.RandomState:
    algorithm, keys, position, has_gauss, gauss = state
    if keys.shape != (624,) or not 0 <= position <= len(keys):  # NumPy believes the position
        raise ValueError("its random state is none of a Mersenne twister")
    generator = np.random.RandomState(0)
    generator.set_state((algorithm, keys, position, has_gauss, gauss))
    return generator


def _hook(value: Any, name: str, otherwise: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that the class of an object has for its files, or what all others do."""
    # An attribute of the object itself may be that of an estimator inside, as FrozenEstimator's.
    return getattr(value, name) if hasattr(type(value), name) else otherwise


def _parameters(kind: Kind, value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in kind.parameters}


def _is_fitted(value: Any) -> bool:
    try:
        check_is_fitted(value)
    except (NotFittedError, TypeError):
        return False
    return True


def only_known(found: Any, known: set[str], name: str) -> None:
    """Raise an error about what stands in a file under names that are not known."""
    if not isinstance(found, dict):
        raise TypeError(f"{name} has {described(found)} for a dict")
    if set(found) - known:
        raise UnknownContentError(f"{min(set(found) - known)!r} of {name}")


def _join(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _refuse(value: Any, place: str) -> NoReturn:
    if callable(value) and not isinstance(value, BaseEstimator):
        remedy = (
            "Functions and modules of your own are code. Give what the library knows by its name, "
            "or pickle the estimator, and the weights alone by net_.save_params"
        )
    else:
        remedy = "Replace it by a class of skgrav, or pickle the estimator"
    raise ValueError(
        f"{place or 'the estimator'!r} is {described(value)}, which files of numbers and text do "
        f"not hold. {remedy}."
    )
