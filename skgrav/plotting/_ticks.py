"""Ticks of coordinates; imports matplotlib, so it is imported where something is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.ticker import AutoLocator, Formatter

#: Width of a digit, gap between labels beside each other, and distance of lines, in font sizes.
_DIGIT, _GAP, _LINE = 0.64, 0.6, 1.2

#: Font sizes of a unit of matplotlib's `get_tick_space`, for which labels have three digits.
_UNIT = {"x": 3.0, "y": 2.0}


class OffsetFormatter(Formatter):
    """Plain numbers, of which an offset is left out."""

    def __init__(self, offset: float) -> None:
        self.offset = offset

    def __call__(self, x: float, pos: int | None = None) -> str:
        """Return the label of a tick."""
        return f"{x - self.offset:.6g}".replace("-", "−")


class SpacedLocator(AutoLocator):
    """Every other tick, or every fourth, where the labels of all would meet."""

    def __init__(self, offset: float) -> None:
        super().__init__()
        self.offset = offset

    def __call__(self) -> Any:
        """Return the ticks in view."""
        axis: Any = self.axis
        low, high = sorted(axis.get_view_interval())
        ticks = np.asarray(super().__call__())
        ticks = ticks[(ticks >= low) & (ticks <= high)]
        room = _UNIT[axis.axis_name] * axis.get_tick_space() / (high - low)
        while len(ticks) > 2:
            step = ticks[1] - ticks[0]
            longest = max(map(len, axis.get_major_formatter().format_ticks(ticks)))
            size = _DIGIT * longest + _GAP if axis.axis_name == "x" else _LINE
            # From the offset on, so that 0 is kept.
            fewer = ticks[round((ticks[0] - self.offset) / step) % 2 :: 2]
            if room * step >= size or len(fewer) < 2:
                break
            ticks = fewer
        return ticks
