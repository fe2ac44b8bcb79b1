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

#: Distance from the origin, in extents, from which ticks are labelled from an offset.
_REMOTE = 20.0

#: Share of a step of offsets by which coordinates may be below their offset: stations often begin
#: at a round number, and cells half a width before it.
_BEFORE = 0.3

#: Values that may lie beyond robust limits at either end, beside one, and by how much these narrow
#: the range.
_BEYOND, _NARROWER = 1 / 5000, 1.5


def pyplot(display: object) -> Any:
    """Return matplotlib's pyplot, or raise ImportError."""
    return import_optional("matplotlib.pyplot", type(display).__name__, "plot")


def canvas(display: object, ax: Any) -> tuple[Any, Any]:
    """Return what makes subplots, and the axes to draw on; a Figure is filled with new ones."""
    plt = pyplot(display)
    return (_Filled(ax), None) if hasattr(ax, "subplots") else (plt, ax)


class _Filled:
    """A figure whose size and axes are made as by pyplot, which does not know it."""

    def __init__(self, figure: Any) -> None:
        self.figure = figure

    def subplots(
        self, *shape: int, figsize: Any = None, layout: str | None = None, **options: Any
    ) -> tuple[Any, Any]:
        """Return the figure and its new axes."""
        if figsize is not None and hasattr(self.figure, "set_size_inches"):  # no subfigure
            self.figure.set_size_inches(figsize)
            self.figure.set_layout_engine(layout)
        return self.figure, self.figure.subplots(*shape, **options)


def check_units(units: str) -> None:
    """Raise ValueError unless units are of an operator."""
    if str(units) not in DENSITY_UNITS:
        raise ValueError(
            f"'units' is {units!r}; allowed are {', '.join(map(repr, DENSITY_UNITS))}."
        )


def gravity_unit(component: str, units: str) -> str:
    """Return the unit of gravity or of a gradient by the `units` of an operator."""
    return component_unit(component) if units == "mGal" else "normalized units"


def units_along(*coordinates: Array) -> tuple[float, str, list[float]]:
    """Return the length unit in metres, its name, and the offset of each axis in this unit."""
    extent = max(float(np.ptp(c)) for c in coordinates)
    scale, unit = (1e3, "km") if extent >= _KILOMETRES_FROM else (1.0, "m")
    return scale, unit, [tick_offset(c / scale) for c in coordinates]


def shown(values: ArrayLike, name: str) -> Array:
    """Return numbers to draw, in which NaN is a gap; errors name the argument."""
    array = real_array(values, name, finite=False)
    check_size(array[~np.isnan(array)], name)
    return array


def tick_offset(coordinates: Array) -> float:
    """Return what tick labels leave out of coordinates far from the origin, such as UTM's."""
    low, high = float(coordinates.min()), float(coordinates.max())
    extent = high - low
    if extent == 0 or max(-low, high) < _REMOTE * extent:
        return 0.0
    step = 10.0 ** np.floor(np.log10(extent))
    return float(step * np.floor(low / step + _BEFORE))


def axis_label(name: str, offset: float, unit: str) -> str:
    """Return the label of a horizontal axis whose ticks leave out an offset."""
    if not offset:
        return f"{name} ({unit})"
    return f"{name} {'−' if offset > 0 else '+'} {abs(offset):.12g} ({unit})"


def set_ticks(axis: Any, offset: float) -> None:
    """Label the ticks of an axis by plain numbers, from an offset, that do not meet."""
    from matplotlib.ticker import AutoLocator, ScalarFormatter

    from skgrav.plotting._ticks import OffsetFormatter, SpacedLocator

    if isinstance(axis.get_major_locator(), AutoLocator):
        axis.set_major_locator(SpacedLocator(offset))
    if offset:
        axis.set_major_formatter(OffsetFormatter(offset))
    elif isinstance(formatter := axis.get_major_formatter(), ScalarFormatter):
        formatter.set_useOffset(False)
        formatter.set_scientific(False)


def limits_of(given: Any, values: Sequence[Array]) -> tuple[float, float]:
    """Return the given limits of colours, or the range of all values, or of all but a few."""
    if given is None:
        return robust_range(values)
    if isinstance(given, str) and given == "full":
        return value_range(values)
    limits = real_array(given, "limits")
    if limits.shape != (2,) or limits[0] > limits[1]:
        raise ValueError(
            f"'limits' is {given!r}; give two numbers, the lower one first, or 'full'."
        )
    return float(limits[0]), float(limits[1])


def value_range(values: Sequence[Array]) -> tuple[float, float]:
    """Return the minimum and maximum of all finite values."""
    finite = np.concatenate([np.empty(0), *(v[np.isfinite(v)] for v in values)])
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


def robust_range(values: Sequence[Array]) -> tuple[float, float]:
    """Return the range of the values, without a few that would widen it by half or more.

    At most one value and a five-thousandth of all are left out at either end. Single bodies in
    nothing else remain, as without them there would be no range.
    """
    low, high = value_range(values)
    finite = np.concatenate([np.empty(0), *(v[np.isfinite(v)] for v in values)])
    n = 1 + int(_BEYOND * finite.size)
    if finite.size <= 2 * n:
        return low, high
    inner = np.partition(finite, [n, finite.size - 1 - n])
    least, most = float(inner[n]), float(inner[finite.size - 1 - n])
    width = _NARROWER * (most - least)
    if width == 0:
        return low, high
    return least if most - low > width else low, most if high - least > width else high


def unless_constant(limits: tuple[float, float]) -> tuple[float, float] | None:
    """Return the range of a truth; None if it has none that other densities can be drawn in."""
    return limits if limits[0] < limits[1] else None


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
