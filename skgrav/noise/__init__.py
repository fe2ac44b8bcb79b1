"""Noise of gravity data: independent errors, and a trend."""

from skgrav.noise._levels import (
    at_least_typical,
    no_noise,
    noise_with_rounding,
    with_visible_rounding,
)
from skgrav.noise._noise import CONTRADICTED, Noise
from skgrav.noise._stated import StatedNoise, Trend, trend_texts
from skgrav.noise._whitening import Whitening

__all__ = ["Noise", "Trend", "Whitening"]
