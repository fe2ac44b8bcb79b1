"""Ticks of coordinates; imports matplotlib, so it is imported where something is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.ticker import AutoLocator, Formatter

#: Width of a digit, and gap between labels, in font sizes.
_DIGIT, _GAP = 0.64, 0.6

#: Font sizes of a unit of matplotlib's `get_tick_space`, which expects labels of three digits.
_UNIT = 3.0


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
        room = _UNIT * axis.get_tick_space() / (high - low)
        while len(ticks) > 2:
            step = ticks[1] - ticks[0]
            longest = max(map(len, axis.get_major_formatter().format_ticks(ticks)))
            # From the offset on, so that 0 is kept.
            fewer = ticks[round((ticks[0] - self.offset) / step) % 2 :: 2]
            if room * step >= _DIGIT * longest + _GAP or len(fewer) < 2:
                break
            ticks = fewer
        return ticks
