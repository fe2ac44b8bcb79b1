"""The noise of each sample: announced, or estimated from the data themselves."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skgrav._checks import real_array
from skgrav.solvers import DataSpace

Array = NDArray[np.float64]

#: Relative noise that rounding makes of data, at least (as computed) and at most (as stored).
_EXACT, _ROUNDING = 1e-12, 1e-6

#: Training data that lack less than this share of the announced noise are taken as they are.
_LACKING = 0.3

#: Data that show this many times the announced noise, or rounding, contradict it.
CONTRADICTED = 3.0


def noise_with_rounding(sigma: Array, data: Array, scale: float) -> Array:
    """Return noise levels that are at least what rounding makes of data of a usual size."""
    return np.maximum(sigma, _ROUNDING * usual_rms(data, scale))


def noise_with_visible_rounding(sigma: Array, visible: Array, rms: Array, scale: float) -> Array:
    """Return noise levels that are at least the rounding which samples show, (n_samples,)."""
    return np.maximum(sigma, np.clip(visible, least_noise(rms, scale), _ROUNDING * rms))


def least_noise(rms: Array, scale: float) -> Array:
    """Return the noise of exact samples, from which data of a usual size are subtracted."""
    return _EXACT * np.maximum(rms, scale)


def usual_rms(data: Array, scale: float) -> Array:
    """Return the rms of each sample, (n_samples,), at least a thousandth of a usual one."""
    return np.maximum(np.sqrt(np.mean(data**2, axis=1)), 1e-3 * scale)


def relative_noise(operator: Any, g: Array, noise_level: float | None) -> float | None:
    """Return what is known of the noise of pairs before their operator is fitted."""
    uncertainty = getattr(getattr(operator, "survey", None), "uncertainty", None)
    if noise_level is not None or uncertainty is None:
        return noise_level
    return float(np.sqrt(np.mean(uncertainty**2) / (np.mean(g**2) or 1.0)))


def missing_noise(operator: Any, g: Array, rho: Array, sigma: Array | None) -> tuple[Array, float]:
    """Return the standard deviation that training data lack of the announced noise, and its share.

    Both are zero where the data miss nothing, or next to nothing, of their noise; else the former
    has the shape of `sigma`, (n_samples, 1) or (1, n_data).
    """
    if sigma is None or not sigma.any():
        return np.zeros((1, 1)), 0.0
    residual = g - operator.transform(rho)
    announced = np.linalg.norm(np.broadcast_to(sigma, residual.shape))
    present = min(1.0, float(np.linalg.norm(residual) / announced))
    share = float(np.sqrt(1.0 - present**2))
    return (share * sigma, share) if share > _LACKING else (np.zeros((1, 1)), 0.0)


def noise_of(
    space: DataSpace,
    residual: Array,
    rms: Array,
    scale: float,
    announced: Array | None,
    remedy: str = "Give the true noise of each, or 'auto'.",
) -> Array:
    """Return the standard deviation of the noise of each sample, (n_samples,).

    Parameters
    ----------
    space : DataSpace
        Where signal and noise can be told apart.
    residual : ndarray of shape (n_samples, n_data)
        Data without their mean.
    rms : ndarray of shape (n_samples,)
        Rms of the data.
    scale : float
        Rms of usual data.
    announced : ndarray of shape (n_samples,) or None
        What is told of the noise; None estimates it.
    remedy : str
        What to do if the data contradict it.
    """
    visible = np.sqrt(space.noise_variance(residual))
    if announced is None:
        return np.maximum(visible, least_noise(rms, scale))
    contradicted = visible > CONTRADICTED * np.maximum(announced, _ROUNDING * rms)
    if contradicted.any():
        worst = int(np.argmax(np.where(contradicted, visible / rms, 0.0)))
        warnings.warn(
            f"Noise of {announced[worst] / rms[worst]:.2g} of the rms is announced, but "
            f"{contradicted.sum()} of {len(rms)} samples hold more that no density of the "
            f"training kind explains, up to {visible[worst] / rms[worst]:.2g}: it will be fitted "
            f"as if it were signal. {remedy}",
            stacklevel=5,
        )
    return noise_with_visible_rounding(announced, visible, rms, scale)


def check_levels(noise_level: Any, n_samples: int) -> Array:
    """Return one relative level per sample, or raise ValueError."""
    try:
        level = real_array(noise_level, "noise_level")
    except (TypeError, ValueError):
        level = np.array(np.nan)
    if level.shape not in ((), (n_samples,)) or not ((level >= 0) & np.isfinite(level)).all():
        raise ValueError(
            f"'noise_level' is {noise_level!r}; it must be a number of at least 0 or one for each "
            f"of {n_samples} samples, the standard deviation of the noise relative to the rms of a "
            "sample's data, or 'auto'."
        )
    return np.broadcast_to(level, (n_samples,))
