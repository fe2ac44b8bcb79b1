"""Figures of many sections: their axes, labels and colour bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import numpy as np

from skgrav.plotting._drawing import colour_bar, given_axes
from skgrav.plotting._sections import Section

Grid = Sequence[Sequence[Section | None]]

_WIDTH, _WIDE = 2.6, 7.5  # inches of a panel, and of a single panel in a row
_TITLE = 28  # characters of a line above a panel
_FLAT = 0.45  # height over width below which sections are stacked in one column


@dataclass(frozen=True)
class Drawn:
    """Sections with their axes and images, row by row."""

    sections: list[Section]
    axes: list[Any]
    images: list[Any]

    def colour_bars(self, labels: Mapping[str, str]) -> dict[str, Any]:
        """Draw a colour bar for each kind of section."""
        bars = {}
        for kind, label in labels.items():
            chosen = [i for i, section in enumerate(self.sections) if section.kind == kind]
            if chosen:
                images, axes = [self.images[i] for i in chosen], [self.axes[i] for i in chosen]
                bars[kind] = colour_bar(images, axes, label)
        return bars


def wrapped(sections: Sequence[Section | None], n_columns: int) -> Grid:
    """Return sections in rows of at most `n_columns`, flat ones in one column."""
    flat = all(section is None or section.ratio < _FLAT for section in sections)
    n_columns = 1 if flat else min(n_columns, len(sections))
    sections = [s for s in sections if s is not None] if flat else sections
    return [sections[i : i + n_columns] for i in range(0, len(sections), n_columns)]


def draw_sections(
    plt: Any, grid: Grid, ax: Any, keywords: Mapping[str, dict[str, Any]], *, share: bool
) -> Drawn:
    """Draw sections by row and column, on given axes or in a new figure of `plt`."""
    sections = [section for row in grid for section in row if section is not None]
    if ax is None:
        axes = _new_axes(plt, grid, share=share)
    else:
        axes = given_axes(ax, len(sections), "section")
    images = [
        section.draw(panel, **keywords[section.kind])
        for section, panel in zip(sections, axes, strict=True)
    ]
    if ax is None:
        _label_outer(grid, axes)
        if max(map(len, grid)) > 1:  # so that titles of neighbours do not meet
            for panel in axes:
                lines = panel.get_title().split("\n")
                panel.set_title("\n".join(fill(line, _TITLE) for line in lines), fontsize="medium")
    else:
        for section, panel in zip(sections, axes, strict=True):
            panel.set(xlabel=section.xlabel, ylabel=section.ylabel)
    return Drawn(sections, axes, images)


def _new_axes(plt: Any, grid: Grid, *, share: bool) -> list[Any]:
    """Return the axes of a new figure, row by row, without gaps."""
    n_columns = max(map(len, grid))
    first = [section for section in grid[0] if section is not None]
    lengths = [1.0] * n_columns if share else [float(np.ptp(section.x)) for section in first]
    width = _WIDE if n_columns == 1 and first[0].ratio < _FLAT else _WIDTH
    widths = width * np.array(lengths) / max(lengths)
    height = max(s.ratio * w for s, w in zip(first, widths, strict=False))
    _, axes = plt.subplots(
        len(grid),
        n_columns,
        figsize=(float(widths.sum()) + (1.6 if share else 3.2), (height + 0.55) * len(grid) + 0.3),
        # The compressed layout cannot have the three panels of different shape of 3D.
        layout="compressed" if share else "constrained",
        sharex=share,
        sharey=share,
        squeeze=False,
        width_ratios=lengths,
    )
    kept = []
    for row, panels in zip(grid, axes, strict=True):
        for j, panel in enumerate(panels):
            if j < len(row) and row[j] is not None:
                kept.append(panel)
            else:
                panel.remove()
    return kept


def _label_outer(grid: Grid, axes: Sequence[Any]) -> None:
    """Label axes unless the panel below or to the left has the same."""
    panels = iter(axes)
    for i, row in enumerate(grid):
        for j, section in enumerate(row):
            if section is None:
                continue
            below = grid[i + 1][j] if i + 1 < len(grid) and j < len(grid[i + 1]) else None
            bottom = not section.in_plane_of(below)
            left = not section.in_plane_of(row[j - 1] if j else None)
            panel = next(panels)
            panel.tick_params(labelbottom=bottom, labelleft=left)
            panel.set(
                xlabel=section.xlabel if bottom else "", ylabel=section.ylabel if left else ""
            )
