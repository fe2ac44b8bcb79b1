"""Description of a training, to recognise it: parameters as text, and sums of its data."""

from __future__ import annotations

import hashlib
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator

#: Rows read at once.
_BLOCK = 512

#: Relative difference of sums that rounding on another machine may cause.
_ROUNDING = 1e-4

#: Parameters that do not affect the weights, or only through the seed, which is compared too.
_IMMATERIAL = {"checkpoint", "device", "random_state", "verbose"}


def parameters(estimator: BaseEstimator) -> dict[str, Any]:
    """Return the parameters that affect the weights, in the types of JSON."""
    found = estimator.get_params(deep=False).items()
    return {name: described(value) for name, value in found if name not in _IMMATERIAL}


def described(value: Any) -> Any:
    """Return a parameter in the types of JSON; other objects by their class only."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (tuple, list)):
        return [described(part) for part in value]
    if isinstance(value, dict):
        return {str(name): described(part) for name, part in value.items()}
    if isinstance(value, np.ndarray):
        content = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return f"array of {value.dtype} {value.shape} {content[:16]}"
    if isinstance(value, partial):
        return ["partial", described(value.func), described(value.args), described(value.keywords)]
    kind = value if hasattr(value, "__qualname__") else type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(value, BaseEstimator):
        return {"": name, **described(value.get_params(deep=False))}
    if is_dataclass(value) and not isinstance(value, type):
        return {"": name, **{f.name: described(getattr(value, f.name)) for f in fields(value)}}
    return name


def sketch(rows: Any, n_blocks: int | None = None) -> list[list[float]]:
    """Return a randomly weighted sum and the norm of each block of rows, or of the first ones.

    The sums change with any number and with the order, but hardly by rounding.
    """
    found = []
    for start in range(0, len(rows), _BLOCK)[:n_blocks]:
        places = np.arange(start, min(len(rows), start + _BLOCK))
        block = np.asarray(rows[places], dtype=np.float64).reshape(len(places), -1)
        weights = [_weights(n, start + i) for i, n in enumerate(block.shape)]
        found.append([float(weights[0] @ block @ weights[1]), float(np.linalg.norm(block))])
    return found


def alike(a: list[list[float]], b: list[list[float]]) -> bool:
    """Return whether two sketches agree up to rounding."""
    if len(a) != len(b):
        return False
    x, y = np.array(a), np.array(b)
    # The weights, of 1 to 4, sum up the rounding errors of all numbers.
    return bool(np.all(np.abs(x - y) <= _ROUNDING * np.maximum(x[:, 1:], y[:, 1:])))


def weights_hash(module: torch.nn.Module) -> str:
    """Return a hash of the weights of a module."""
    found = hashlib.sha256()
    for name, values in module.state_dict().items():
        found.update(name.encode())
        found.update(values.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()[:16]


def differences(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return the differences of two descriptions in words."""
    found = []
    for name in [*now, *(then.keys() - now.keys())]:
        old, new = then.get(name), now.get(name)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict) and old.get("") == new.get(""):
            found += [f"{name}.{text}" for text in differences(old, new)]
        else:
            found.append(f"{name} was {_short(old)} and is {_short(new)}")
    return found


def _short(value: Any) -> str:
    if isinstance(value, dict) and "" in value:
        return f"{value[''].rpartition('.')[2]}(...)"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _weights(n: int, seed: int) -> Any:
    rng = np.random.RandomState(seed % 2**32)
    return rng.choice([-1.0, 1.0], n) * rng.uniform(1.0, 2.0, n)
