"""Minima and corners of curves over alpha, for many samples at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from skgrav._typing import Array, Indices, Mask
from skgrav._warnings import warn

#: Of corners with at least this share of the largest curvature, the one with most damping is taken,
#: and of all if the largest is below the second number: in data of little but noise, corners
#: of little damping fit the noise.
_SHARP, _FAINT = 0.25, 0.5

#: Step of log alpha to which minima are rounded.
_FINE = 1e-3

#: Choices of alpha that need no noise level.
CRITERIA = ("gcv", "lcurve")


class Choice(NamedTuple):
    """Alphas chosen by a criterion, times the variance of the noise, for each sample."""

    alpha: Array
    #: Whether the data do not determine it.
    is_open: Mask
    #: Whether the alphas at which curves are known include all that may be as good.
    is_settled: Mask


def most_damped_corner(
    curvature: Array, plausible: Mask, otherwise: Indices
) -> tuple[Indices, Mask]:
    """Return the index of the last plausible peak of each row not far below the highest.

    The second array says whether there is one; where not, the index is `otherwise`.
    """
    inner = curvature[:, 1:-1]
    peak = (inner >= curvature[:, :-2]) & (inner >= curvature[:, 2:]) & (inner > 0)
    peak &= plausible[:, 1:-1]
    highest = np.max(inner, axis=1, where=peak, initial=0.0)
    peak &= inner >= np.where(highest > _FAINT, _SHARP * highest, 0.0)[:, None]
    last = inner.shape[1] - np.argmax(peak[:, ::-1], axis=1)
    found = np.asarray(peak.any(axis=1))
    return np.where(found, last, otherwise), found


def warn_open(criterion: str, is_open: Mask) -> None:
    """Warn where the data do not determine alpha."""
    if is_open.any():
        warn(
            f"'alpha' is {criterion!r}, but {is_open.sum()} of {len(is_open)} samples do not "
            "determine it: alphas of very different misfit are about as good, so that their "
            "estimates may fit noise or miss signal. Give 'noise_level', or the survey an "
            "'uncertainty', for alpha='discrepancy', or take a number or a higher 'order'."
        )


def refined(cost: Callable[[Array, Array], Array], c: Array, grid: Array, best: Indices) -> Array:
    """Return minimisers between the neighbours on the grid of the best alphas."""
    best = np.clip(best, 1, len(grid) - 2)
    low, high = np.log(grid[best - 1]), np.log(grid[best + 1])
    log = _golden(lambda log: cost(c, np.exp(log)[:, None])[:, 0], low, high)
    # A minimum is flat, so rounding errors, as from removing a trend, move it by
    # their square root. Rounded to a fine grid, alpha does not depend on them.
    return np.asarray(np.exp(_FINE * np.round(log / _FINE)))


def _golden(cost: Callable[[Array], Array], low: Array, high: Array) -> Array:
    """Return minimisers between bounds by golden-section search, for all samples at once."""
    ratio = (np.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = cost(left), cost(right)
    for _ in range(32):
        lower = at_left <= at_right
        low, high = np.where(lower, low, left), np.where(lower, right, high)
        new = np.where(lower, high - ratio * (high - low), low + ratio * (high - low))
        at_new = cost(new)
        left, right = np.where(lower, new, right), np.where(lower, left, new)
        at_left, at_right = np.where(lower, at_new, at_right), np.where(lower, at_left, at_new)
    return (low + high) / 2
