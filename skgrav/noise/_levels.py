"""Levels of noise, and the rounding below which no data are exact."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from skgrav._checks import real_array, refuse_missing
from skgrav._typing import Array

Level = float | Array | Literal["auto"] | None

#: Relative rounding noise of computed data, and of stored data.
_EXACT, ROUNDING = 1e-12, 1e-6


def noise_with_rounding(sigma: Array, rms: Array, typical_rms: float) -> Array:
    """Return the noise, at least the rounding of stored data."""
    return np.maximum(sigma, ROUNDING * at_least_typical(rms, typical_rms))


def with_visible_rounding(sigma: Array, visible: Array, rms: Array, typical_rms: float) -> Array:
    """Return the noise, at least the rounding visible in samples, (n_samples,)."""
    return np.maximum(sigma, np.clip(visible, least_noise(rms, typical_rms), ROUNDING * rms))


def least_noise(rms: Array, typical_rms: float) -> Array:
    """Return the rounding of computed samples less data of typical size."""
    return _EXACT * np.maximum(rms, typical_rms)


def at_least_typical(rms: Array, typical_rms: float) -> Array:
    """Return the rms of samples, at least a thousandth of the typical rms."""
    return np.maximum(rms, 1e-3 * typical_rms)


def check_level(level: Any) -> Level:
    """Return a relative level, one for each sample, "auto" or None; or raise ValueError."""
    if level is None:
        return None
    if isinstance(level, str) and level == "auto":
        return "auto"
    refuse_missing(level, "noise_level")
    try:
        array = real_array(level, "noise_level")
        if np.asarray(level).dtype == bool:  # True would count as noise as large as the data
            array = np.array(np.nan)
    except (TypeError, ValueError):
        array = np.array(np.nan)
    if array.ndim > 1 or not ((array >= 0) & np.isfinite(array)).all():
        raise ValueError(
            f"'noise_level' is {level!r}; it must be a number of at least 0 or one for each "
            "sample, the standard deviation of the noise relative to the rms of a sample's data, "
            "or 'auto'."
        )
    return float(array) if array.ndim == 0 else array


def of_each(values: Any, name: str, n_samples: int) -> Array:
    """Return one number of at least 0 for each sample, or raise ValueError."""
    array = real_array(values, name)
    if array.shape not in ((), (n_samples,)) or not (array >= 0).all():
        raise ValueError(
            f"'{name}' has shape {array.shape} and minimum {array.min(initial=np.inf):g}; it must "
            f"be a number of at least 0 or one for each of {n_samples} samples."
        )
    return np.broadcast_to(array, (n_samples,))


def no_noise(what: str, remedy: str) -> str:
    """Return the error text for a method that needs the noise, if none is given."""
    return (
        f"{what} needs the noise of the data: 'noise_level' is None and the survey of 'operator' "
        "has no uncertainty. Give noise_level=..., relative to the rms of a sample's data, or a "
        f"Survey with 'uncertainty', or take {remedy}."
    )
