"""Checks of the arguments of a benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from skgrav.datasets import DEFAULTS

TABLES = ("accuracy", "calibration", "public")


def seed_of(random_state: Any) -> int:
    """Return the seed, drawn from a generator unless it is given."""
    rng = check_random_state(random_state)
    is_seed = isinstance(random_state, Integral)
    return int(random_state) if is_seed else int(rng.randint(2**31 - 1))


def _listed(values: Any, name: str) -> tuple[Any, ...]:
    """Return values as a tuple, a single value as a tuple of one."""
    if isinstance(values, str | Real):
        return (values,)
    try:
        return tuple(values)
    except TypeError:
        raise TypeError(f"'{name}' is {values!r}; it must be a sequence.") from None


def checked_tables(tables: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names of tables, or refuse others."""
    given = _listed(tables, "tables")
    unknown = [name for name in given if name not in TABLES]
    if unknown or not given:
        raise ValueError(
            f"'tables' is {tables!r}; it must be one or some of {', '.join(map(repr, TABLES))}."
        )
    return given


def checked_levels(levels: Sequence[float]) -> list[float]:
    """Return noise levels if they are distinct and at least 0."""
    numbers = _listed(levels, "noise_levels")
    valid = all(isinstance(v, Real) and 0 <= float(v) < np.inf for v in numbers)
    if not numbers or not valid or len(set(numbers)) < len(numbers):
        raise ValueError(
            f"'noise_levels' is {levels!r}; it must be distinct finite numbers of at least 0, "
            "relative to the rms of the data, such as (0, 0.01)."
        )
    return [float(v) for v in numbers]


def checked_families(held_out: Sequence[str], ndim: int) -> tuple[str, ...]:
    """Return the families left out, which must be some of those of sections or volumes."""
    names = _listed(held_out, "held_out")
    known = DEFAULTS[ndim]
    if set(names) - set(known) or len(names) != len(set(names)) or len(names) == len(known):
        raise ValueError(
            f"'held_out' is {held_out!r}; it must be distinct families out of {', '.join(known)}, "
            "but not all of them."
        )
    return names


def checked_volumes(n_volumes: Sequence[int]) -> tuple[int, int, int]:
    """Return the numbers of volumes, if that many exist."""
    most = (20_000, 2000, 100)
    given = _listed(n_volumes, "n_volumes")
    valid = len(given) == len(most) and all(
        isinstance(n, Integral) and 1 <= int(n) <= top for n, top in zip(given, most, strict=True)
    )
    if not valid:
        raise ValueError(
            f"'n_volumes' is {n_volumes!r}; it must be three numbers of at least 1 and at most "
            "20000 volumes of training, 2000 of validation and 100 of each family."
        )
    return int(given[0]), int(given[1]), int(given[2])
