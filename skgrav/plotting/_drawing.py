"""What displays share: colours, lengths, axes and colour bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skgrav._checks import check_size, real_array
from skgrav._typing import Array

#: Lightness of viridis rises in equal steps. That of coolwarm falls alike to both sides of a light
#: zero, in steps of CIELAB that are equal to 6 %, where those of RdBu or PuOr vary by 25 %; blue
#: and red are told apart by the colour-blind, too.
SEQUENTIAL, DIVERGING = "viridis", "coolwarm"

#: Unit of density and gravity by the `units` of an operator.
DENSITY_UNITS = {"mGal": "kg/m³", "normalized": "normalized units"}
GRAVITY_UNITS = {"mGal": "mGal", "normalized": "normalized units"}

_KILOMETRES_FROM = 10e3  # metres


def pyplot(display: object) -> Any:
    """Return matplotlib's pyplot, or say what a display needs."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f"{type(display).__name__} needs matplotlib; install it by pip install 'skgrav[plot]'."
        ) from error
    return plt


def check_units(units: str) -> None:
    """Refuse units that no operator has."""
    if units not in DENSITY_UNITS:
        raise ValueError(
            f"'units' is {units!r}; allowed are {', '.join(map(repr, DENSITY_UNITS))}."
        )


def length_unit(*coordinates: Array) -> tuple[float, str]:
    """Return the length of a unit in metres and its name, by the largest extent."""
    extent = max(float(np.ptp(c)) for c in coordinates)
    return (1e3, "km") if extent >= _KILOMETRES_FROM else (1.0, "m")


def shown(values: ArrayLike, name: str) -> Array:
    """Return numbers to draw, where NaN is a gap, with errors that name them."""
    array = real_array(values, name, finite=False)
    check_size(array[~np.isnan(array)], name)
    return array


def limits_of(given: ArrayLike | None, values: Sequence[Array]) -> tuple[float, float]:
    """Return the limits of colours that were given, or those of all values."""
    if given is None:
        return value_range(values)
    limits = real_array(given, "limits")
    if limits.shape != (2,) or limits[0] > limits[1]:
        raise ValueError(f"'limits' is {given!r}; it must be two numbers, the least first.")
    return float(limits[0]), float(limits[1])


def value_range(values: Sequence[Array]) -> tuple[float, float]:
    """Return the least and the greatest of all values, NaN aside."""
    finite = np.concatenate([np.empty(0), *(v[np.isfinite(v)] for v in values)])
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


def is_contrast(limits: tuple[float, float]) -> bool:
    """Tell whether densities are negative, and not by a slight overshoot below zero."""
    low, high = limits
    return -low > 0.1 * max(high, 0.0)


def has_both_signs(limits: tuple[float, float]) -> bool:
    """Tell whether values have both signs, neither of them slightly."""
    low, high = limits
    return is_contrast((low, high)) and is_contrast((-high, -low))


def colours(
    limits: tuple[float, float], given: Mapping[str, Any] | None, *, centred: bool | None = None
) -> dict[str, Any]:
    """Return keywords of colour for values between limits; those that are given win."""
    given = dict(given or {})
    low, high = limits
    if centred if centred is not None else has_both_signs(limits):
        high = max(-low, high) or 1.0
        low, cmap = -high, DIVERGING
    else:
        cmap = SEQUENTIAL
        if low == high:  # a constant has no range
            low, high = low - 0.5, high + 0.5
    chosen: dict[str, Any] = {"cmap": cmap}
    if "norm" not in given:
        chosen |= {"vmin": low, "vmax": high}
    return chosen | given


def colour_bar(images: Sequence[Any], axes: Sequence[Any], label: str, **kwargs: Any) -> Any:
    """Draw the colour bar of images that share their colours, with arrows if some exceed them."""
    low, high = value_range([np.ma.filled(image.get_array(), np.nan) for image in images])
    norm = images[0].norm
    slack = 1e-9 * abs(norm.vmax - norm.vmin)
    below, above = low < norm.vmin - slack, high > norm.vmax + slack
    extend = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[below, above]
    figure = axes[0].figure
    keywords = {"label": label, "extend": extend, "shrink": 0.9} | kwargs
    return figure.colorbar(images[0], ax=list(axes), **keywords)


def given_axes(ax: Any, n: int, what: str) -> list[Any]:
    """Return the axes that were given, as many as are needed."""
    axes = list(np.asarray(ax, dtype=object).ravel())
    if len(axes) != n:
        raise ValueError(
            f"'ax' holds {len(axes)} axes, but {n} are needed, one for each {what}. Make as many "
            "by plt.subplots, or leave 'ax' out."
        )
    return axes
