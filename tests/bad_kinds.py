"""Kinds of bad input, and the judgement of what a callable makes of them."""

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
import torch
import xarray as xr


@dataclass(frozen=True)
class Call:
    """One array argument of a public callable."""

    name: str
    argument: str
    good: Any
    #: Calls with another value of the argument.
    run: Callable[[Any], Any]
    #: Whether the argument is a tensor, in which NaN and infinity go their way as in all of torch.
    tensor: bool = False
    #: Whether numbers are handed on as they are, whatever they are.
    layout: bool = False
    #: Largest difference of equal content, relative to the largest number of the answer.
    tolerance: float = 1e-9
    #: Whether its docstring has a rule by which the answer may be infinite.
    infinite: bool = False
    #: Other names that errors may use.
    aliases: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}({self.argument})"

    @cached_property
    def good_answer(self) -> list[np.ndarray]:
        """The numbers that good input gives, computed once for all that holds the same."""
        return answer(self, self.good)


def _with_one(value):
    def alter(a):
        altered = np.array(a, dtype=float)
        altered.flat[altered.size // 2] = value
        return altered

    return alter


def _masked(a):
    masked = np.ma.array(a, dtype=float)
    masked[(masked.shape[0] // 2,) + (0,) * (masked.ndim - 1)] = np.ma.masked
    return masked


def _read_only(a):
    a = np.array(a)
    a.setflags(write=False)
    return a


def _strided(a):
    wide = np.zeros((*a.shape[:-1], 2 * a.shape[-1]))
    wide[..., ::2] = a
    return wide[..., ::2]


def _transposed(a):
    return a.T if a.ndim > 1 else a[:, None]


def _frame(a):
    return pd.DataFrame(a.reshape(len(a), -1)) if a.ndim > 1 else pd.Series(a)


def _labelled(a):
    return xr.DataArray(a, dims=[f"axis{i}" for i in range(a.ndim)])


def _sparse(a):
    return scipy.sparse.csr_array(a.reshape(-1, a.shape[-1]))


def _scaled(largest):
    return lambda a: a * (largest / np.abs(a).max())


#: What is not what was asked for: an error that names the argument, or a finite answer.
OTHER: dict[str, Callable[[np.ndarray], Any]] = {
    "NaN": _with_one(np.nan),
    "inf": _with_one(np.inf),
    "masked": _masked,
    "empty": lambda a: a[:0],
    "text": lambda a: np.full(a.shape, "rock"),
    "complex": lambda a: a + 1j,
    "transposed": _transposed,
    "huge": _scaled(1e300),
    "tiny": _scaled(1e-300),
    "sparse": _sparse,
    "tensor with grad": lambda a: torch.tensor(a, dtype=torch.float64, requires_grad=True),
}

#: The same numbers in another container: the answer is that of a plain array.
SAME: dict[str, Callable[[np.ndarray], Any]] = {
    "bool": lambda a: a > np.median(a),
    "reversed": lambda a: a[::-1],
    "Fortran": np.asfortranarray,
    "strided": _strided,
    "object": lambda a: a.astype(object),
    "read-only": _read_only,
    "pandas": _frame,
    "xarray": _labelled,
    "torch": torch.tensor,
    "unmasked": np.ma.array,
}

KINDS = [*OTHER, *SAME]

#: Kinds that a tensor can be; others are no tensors at all.
_OF_TENSORS = {
    "NaN", "inf", "empty", "complex", "transposed", "huge", "tiny", "bool", "reversed", "Fortran",
    "strided", "torch", "tensor with grad",
}  # fmt: skip


def altered(call: Call, kind: str) -> Any:
    """Give the argument of a call in a kind."""
    value = (OTHER | SAME)[kind](call.good)
    if not call.tensor or kind not in _OF_TENSORS:
        return value
    if isinstance(value, torch.Tensor):
        return value.detach().float().requires_grad_(value.requires_grad)
    if value.dtype.kind == "f":
        value = np.clip(value, -1e38, 1e38) if kind == "huge" else value
        return torch.from_numpy(value.astype(np.float32, order="K").copy("K"))
    return torch.tensor(value)


def outcome(call: Call, kind: str) -> str:
    """Tell what came of a call: "answer", "error", "passed on", or what is wrong with it."""
    value = altered(call, kind)
    before = np.array(call.good)
    try:
        found = answer(call, value)
    except Exception as error:  # a defect, unless it names the argument
        return _verdict(call, error)
    if not np.array_equal(before, call.good):
        return "DEFECT: the input was changed"
    if kind in SAME:
        return _compared(call, value, found)
    if kind == "masked" and not call.tensor:
        return "DEFECT: masked values were taken"
    if call.infinite and not any(np.isnan(part).any() for part in found):
        return "answer"
    if all(np.isfinite(part).all() for part in found):
        return "answer"
    return "passed on" if call.tensor or call.layout else "DEFECT: silent NaN or infinity"


def answer(call: Call, value: Any) -> list[np.ndarray]:
    """Give the numbers that a call returns, with NumPy's warnings as errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for harmless in (UserWarning, FutureWarning):
            warnings.simplefilter("ignore", harmless)
        return numbers(call.run(value))


def _verdict(call: Call, error: Exception) -> str:
    names = "|".join((call.argument, *call.aliases))
    named = re.search(rf"\b({names})\b", str(error))
    if isinstance(error, ValueError | TypeError) and named:
        return "error"
    return f"DEFECT: {type(error).__name__}: {str(error)[:150]}"


def _compared(call: Call, value: Any, found: list[np.ndarray]) -> str:
    plain = value
    if isinstance(value, torch.Tensor):
        plain = torch.tensor(value.detach().numpy(), dtype=torch.float32).contiguous()
    plain = plain if call.tensor else np.array(np.asarray(value), dtype=call.good.dtype, order="C")
    same = not call.tensor and plain.dtype == call.good.dtype and np.array_equal(plain, call.good)
    try:
        expected = call.good_answer if same else answer(call, plain)
    except Exception as error:
        return f"DEFECT: answered, but not the plain array: {error}"
    for one, other in zip(found, expected, strict=True):
        if np.array_equal(one, other):  # infinities have no difference
            continue
        scale = max(np.abs(other).max(initial=0.0), np.finfo(float).tiny)
        if one.shape != other.shape or not np.abs(one - other).max(initial=0.0) <= (
            call.tolerance * scale
        ):
            return "DEFECT: another answer than for the plain array"
    return "answer"


def numbers(thing: Any) -> list[np.ndarray]:
    """Flatten what a callable returns to arrays of numbers."""
    if thing is None or isinstance(thing, str):
        return []
    if isinstance(thing, torch.Tensor):
        return [thing.detach().numpy().astype(float)]
    if isinstance(thing, dict):
        return [part for value in thing.values() for part in numbers(value)]
    if isinstance(thing, tuple | list):
        return [part for value in thing for part in numbers(value)]
    if hasattr(thing, "rho"):
        return numbers(thing.rho)
    return [np.asarray(thing, dtype=float)]
