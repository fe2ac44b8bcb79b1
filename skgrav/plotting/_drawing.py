"""Drawing shared by displays: colours, lengths, axes and colour bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skgrav._checks import check_size, import_optional, real_array
from skgrav._typing import Array
from skgrav.geometry import component_unit

#: Perceptually uniform maps: CIELAB steps of coolwarm vary by 6 %, of RdBu or PuOr by 25 %, and
#: its blue and red can be distinguished by the colour-blind.
SEQUENTIAL, DIVERGING = "viridis", "coolwarm"

#: Unit of density by the `units` of an operator.
DENSITY_UNITS = {"mGal": "kg/m³", "normalized": "normalized units"}

_KILOMETRES_FROM = 10e3  # metres


def pyplot(display: object) -> Any:
    """Return matplotlib's pyplot, or raise ImportError."""
    return import_optional("matplotlib.pyplot", type(display).__name__, "plot")


def check_units(units: str) -> None:
    """Raise ValueError unless units are of an operator."""
    if units not in DENSITY_UNITS:
        raise ValueError(
            f"'units' is {units!r}; allowed are {', '.join(map(repr, DENSITY_UNITS))}."
        )


def gravity_unit(component: str, units: str) -> str:
    """Return the unit of gravity or of a gradient by the `units` of an operator."""
    return component_unit(component) if units == "mGal" else "normalized units"


def length_unit(*coordinates: Array) -> tuple[float, str]:
    """Return the length unit in metres and its name, by the largest extent."""
    extent = max(float(np.ptp(c)) for c in coordinates)
    return (1e3, "km") if extent >= _KILOMETRES_FROM else (1.0, "m")


def shown(values: ArrayLike, name: str) -> Array:
    """Return numbers to draw, in which NaN is a gap; errors name the argument."""
    array = real_array(values, name, finite=False)
    check_size(array[~np.isnan(array)], name)
    return array


def limits_of(given: ArrayLike | None, values: Sequence[Array]) -> tuple[float, float]:
    """Return the given limits of colours, or the range of all values."""
    if given is None:
        return value_range(values)
    limits = real_array(given, "limits")
    if limits.shape != (2,) or limits[0] > limits[1]:
        raise ValueError(f"'limits' is {given!r}; give two numbers, the lower one first.")
    return float(limits[0]), float(limits[1])


def value_range(values: Sequence[Array]) -> tuple[float, float]:
    """Return the minimum and maximum of all finite values."""
    finite = np.concatenate([np.empty(0), *(v[np.isfinite(v)] for v in values)])
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


def is_contrast(limits: tuple[float, float]) -> bool:
    """Return whether densities are contrasts: negative by more than an overshoot."""
    low, high = limits
    return -low > 0.1 * max(high, 0.0)


def has_both_signs(limits: tuple[float, float]) -> bool:
    """Return whether values have both signs, neither by an overshoot."""
    low, high = limits
    return is_contrast((low, high)) and is_contrast((-high, -low))


def colours(
    limits: tuple[float, float], given: Mapping[str, Any] | None, *, centred: bool | None = None
) -> dict[str, Any]:
    """Return keywords of colour for values between limits, which `given` overrides."""
    given = dict(given or {})
    low, high = limits
    if centred if centred is not None else has_both_signs(limits):
        high = max(-low, high) or 1.0
        low, cmap = -high, DIVERGING
    else:
        cmap = SEQUENTIAL
        if low == high:
            low, high = low - 0.5, high + 0.5
    chosen: dict[str, Any] = {"cmap": cmap}
    if "norm" not in given:
        chosen |= {"vmin": low, "vmax": high}
    return chosen | given


def colour_bar(images: Sequence[Any], axes: Sequence[Any], label: str, **kwargs: Any) -> Any:
    """Draw the colour bar of images with common colours, with arrows if values exceed them."""
    low, high = value_range([np.ma.filled(image.get_array(), np.nan) for image in images])
    norm = images[0].norm
    slack = 1e-9 * abs(norm.vmax - norm.vmin)
    below, above = low < norm.vmin - slack, high > norm.vmax + slack
    extend = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[below, above]
    figure = axes[0].figure
    keywords = {"label": label, "extend": extend, "shrink": 0.9} | kwargs
    return figure.colorbar(images[0], ax=list(axes), **keywords)


def given_axes(ax: Any, n: int, what: str) -> list[Any]:
    """Return the given axes, checked to be `n`."""
    axes = list(np.asarray(ax, dtype=object).ravel())
    if len(axes) != n:
        raise ValueError(
            f"'ax' has {len(axes)} axes, but {n} are needed, one for each {what}. Make as many "
            "by plt.subplots, or leave 'ax' out."
        )
    return axes
