"""Conversion of estimators to trees of JSON, with arrays apart, and back."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import is_dataclass
from numbers import Integral, Real
from typing import Any, NoReturn, get_args

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from skgrav.io._container import Tensors, cast
from skgrav.io._fields import Precision, check_field, described
from skgrav.io._registry import LEFT_OUT, Kind, kind_named, kind_of

#: Largest depth of a tree; estimators within estimators have far fewer levels.
_DEPTH = 60

PRECISIONS: tuple[Precision, ...] = get_args(Precision)

#: Lowest precision of numbers, or a function that returns it for the name of a weight.
Least = Precision | Callable[[str], Precision]


class UnknownContentError(ValueError):
    """A file contains something that only another version or package knows."""

    def __init__(self, content: str, remedy: str = "update skgrav") -> None:
        super().__init__(content)
        self.remedy = remedy


def unknown_class(name: Any) -> UnknownContentError:
    """Return the error about a class that is not registered."""
    content = f"the class {name!r}"
    if isinstance(name, str) and "." in name:
        return UnknownContentError(content, "import the module that defines and registers it")
    return UnknownContentError(content)


class Writer:
    """Converts objects to JSON and collects their arrays, in `dtype` where fields allow it."""

    def __init__(self, dtype: Precision) -> None:
        self.dtype = dtype
        self.tensors: Tensors = {}
        self._names: dict[tuple[Any, ...], str] = {}
        self._objects: list[Any] = []

    def node(self, value: Any, place: str, least: Least = "float64") -> Any:
        """Return the JSON of a value; `place` is its name in errors and among the arrays."""
        if value is None:
            return None
        if isinstance(value, str):
            return str(value)
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
            return {
                "dict": {
                    key: self.node(part, f"{place}.{key}", least(key) if callable(least) else least)
                    for key, part in value.items()
                }
            }
        return self._object(value, place)

    def _object(self, value: Any, place: str) -> Any:
        for k, known in enumerate(self._objects):
            if known is value:
                return {"same": k}
        kind = kind_of(type(value))
        if kind is None:
            _refuse(value, place)
        if hasattr(kind.cls, "_parameter_constraints"):
            value._validate_params()  # as reading the file will
        node: dict[str, Any] = {"object": kind.name}
        if kind.parameters:
            present = {name: getattr(value, name) for name in kind.parameters}
            given = _hook(value, "_file_parameters", lambda: present)()
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
        if not (kind.is_value or _is_fitted(value)):
            return None
        attributes = vars(value)
        declared = {*kind.fields, *kind.parameters, "_sklearn_output_config"}
        undeclared = set(attributes) - declared - set(getattr(kind.cls, "_file_left_out", ()))
        if kind.is_strict and undeclared:
            raise ValueError(
                f"{_join(place, min(undeclared))!r} is an attribute that is not saved. Delete it, "
                f"list it in the '_file_fields' of {kind.cls.__name__}, or pickle the estimator."
            )
        if not kind.fields:
            return None
        present = {name: attributes[name] for name in kind.fields if name in attributes}
        state = _hook(value, "_file_state", lambda: present)()
        sizes: dict[str, int] = {}
        nodes = {}
        for name, field in kind.fields.items():
            if name not in state and field.optional:
                continue
            if name not in state:
                raise ValueError(
                    f"{_join(place, name)!r} is missing: '_file_fields' of {kind.cls.__name__} "
                    "lists it, but 'fit' has not set it. Set it, or make the field optional."
                )
            check_field(field, state[name], sizes)
            nodes[name] = self.node(state[name], _join(place, name), field.least)
        return nodes

    def _array(self, values: NDArray[Any], place: str, least: Least) -> Any:
        if values.dtype == object and all(isinstance(v, str) for v in values.ravel()):
            return {"names": [str(v) for v in values]}
        if values.dtype.kind not in "biuf" or values.dtype.itemsize > 8:
            _refuse(values, place)
        # The order in memory is kept, since it changes the last digits of products.
        transposed = values.flags.f_contiguous and not values.flags.c_contiguous
        kept = values.T if transposed else values
        kept = np.asarray(kept, dtype=values.dtype.newbyteorder("="), order="C")
        dtype = str(kept.dtype)
        if dtype in PRECISIONS:
            lowest = "float64" if callable(least) else least
            wanted = max(self.dtype, lowest, key=PRECISIONS.index)
            if PRECISIONS.index(wanted) < PRECISIONS.index(dtype):
                kept = cast(place, kept, wanted)
        # Equal arrays, as of a frozen generator, are written once.
        name = self._names.setdefault((str(kept.dtype), kept.shape, kept.tobytes()), place)
        self.tensors.setdefault(name, kept)
        return {"array": name, "dtype": dtype} | ({"transposed": True} if transposed else {})


class Reader:
    """Converts JSON and arrays to objects of registered classes, on a torch device."""

    def __init__(self, tensors: Tensors, device: str) -> None:
        self.tensors, self.device = tensors, device
        self._objects: list[Any] = []
        self._given: set[str] = set()
        self._depth = 0

    def whole(self, tree: Any, cls: type) -> Any:
        """Return the estimator of a file, or raise an error if an array is left over."""
        estimator = self.value(tree, cls)
        if left := set(self.tensors) - self._given:
            raise UnknownContentError(f"the array {min(left)!r}")
        return estimator

    def value(self, node: Any, cls: type | None = None) -> Any:
        """Return the value of a node; an object of `cls`, if that is a subclass of its own."""
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
                    raise TypeError("its names are not all strings")
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
        # Attributes must not share memory, or changing one in place would change the other.
        copy = name in self._given
        self._given.add(name)
        return values.astype(dtype, copy=copy)

    def _object(self, name: Any, node: dict[str, Any], cls: type | None) -> Any:
        kind = kind_named(name)
        if kind is None:
            raise unknown_class(name)
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
        only_known(state, set(kind.fields), kind.name)
        values, sizes = {}, {}  # type: dict[str, Any], dict[str, int]
        for name, field in kind.fields.items():
            if name not in state and field.optional:
                continue
            values[name] = self.value(state[name])
            check_field(field, values[name], sizes)
        return values

    @staticmethod
    def _restore(value: Any, state: dict[str, Any]) -> None:
        operator, n_cells = state.get("operator_"), state.get("n_outputs_")
        if operator and n_cells and operator.n_features_in_ != n_cells:
            raise ValueError(
                f"its operator has {operator.n_features_in_} cells, but {n_cells} are estimated"
            )
        n_features = state.get("n_features_in_")
        # A step of a pipeline gets an estimate beside the data.
        if operator and n_cells and n_features:
            n_data = operator.n_data_
            if n_features not in (n_data, n_cells + n_data):
                raise ValueError(f"its operator has {n_data} data, but {n_features} are inverted")
        _hook(value, "_file_restore", lambda known: vars(value).update(known))(state)


def _random_state(state: Any) -> np.random.RandomState:
    algorithm, keys, position, has_gauss, gauss = state
    if keys.shape != (624,) or not 0 <= position <= len(keys):  # not checked by NumPy
        raise ValueError("its random state is not of a Mersenne twister")
    generator = np.random.RandomState(0)
    generator.set_state((algorithm, keys, position, has_gauss, gauss))
    return generator


def _hook(value: Any, name: str, otherwise: Callable[..., Any]) -> Callable[..., Any]:
    """Return the method that a class defines for its files, or the default."""
    # Of the class, since FrozenEstimator passes on the attributes of the estimator inside.
    return getattr(value, name) if hasattr(type(value), name) else otherwise


def _is_fitted(value: Any) -> bool:
    try:
        check_is_fitted(value)
    except (NotFittedError, TypeError):
        return False
    return True


def only_known(found: Any, known: set[str], name: str) -> None:
    """Raise an error if a file contains entries of other names than these."""
    if not isinstance(found, dict):
        raise TypeError(f"{name} has {described(found)} for a dict")
    if unknown := set(found) - known:
        raise UnknownContentError(f"{min(unknown)!r} of {name}")


def _join(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _refuse(value: Any, place: str) -> NoReturn:
    if isinstance(value, BaseEstimator) or is_dataclass(value):
        remedy = (
            f"Register {type(value).__name__} by the decorator skgrav.io.saved, replace it by a "
            "class of skgrav, or pickle the estimator"
        )
    elif callable(value):
        remedy = (
            "Functions and modules of your own are code. Use one that skgrav has by its name, or "
            "pickle the estimator, and save the weights alone by net_.save_params"
        )
    else:
        remedy = "Replace it by a class of skgrav, or pickle the estimator"
    raise ValueError(
        f"{place or 'the estimator'!r} is {described(value)}, which cannot be saved as numbers and "
        f"text. {remedy}."
    )
