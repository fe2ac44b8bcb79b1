"""The noise of each sample: announced, or estimated from the data themselves."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skgrav.solvers._gaussian import DataSpace

Array = NDArray[np.float64]

#: Relative noise that rounding makes of any data.
_ROUNDING = 1e-6

#: Training data that lack less than this share of the announced noise are taken as they are.
_LACKING = 0.3

#: Data that show this many times the announced noise contradict it.
_CONTRADICTED = 3.0

#: Announced noise counts as at least this level when it is compared with what the data show.
_VISIBLE = 1e-3


def noise_with_rounding(sigma: Array, data: Array, scale: float) -> Array:
    """Return noise levels that are at least what rounding makes of data of a usual size."""
    return np.maximum(sigma, _ROUNDING * usual_rms(data, scale))


def usual_rms(data: Array, scale: float) -> Array:
    """Return the rms of each sample, (n_samples,), at least a thousandth of a usual one."""
    return np.maximum(np.sqrt(np.mean(data**2, axis=1)), 1e-3 * scale)


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
    g: Array,
    noise_level: ArrayLike | Literal["auto"],
    scale: float,
) -> Array:
    """Return the standard deviation of the noise of each sample, (n_samples,).

    Parameters
    ----------
    space : DataSpace
        Where signal and noise can be told apart.
    residual : ndarray of shape (n_samples, n_data)
        Data without their mean.
    g : ndarray of shape (n_samples, n_data)
        Data, to whose rms levels are relative.
    noise_level : "auto", float or array-like of shape (n_samples,)
        Relative levels; "auto" estimates them.
    scale : float
        Rms of usual data.
    """
    estimated = np.sqrt(space.noise_variance(residual))
    if isinstance(noise_level, str):
        return noise_with_rounding(estimated, g, scale)
    level = check_levels(noise_level, len(g))
    rms = usual_rms(g, scale)
    contradicted = estimated > _CONTRADICTED * np.maximum(level, _VISIBLE) * rms
    if contradicted.any():
        worst = int(np.argmax(np.where(contradicted, estimated / rms, 0.0)))
        warnings.warn(
            f"'noise_level' is {level[worst]:g}, but {contradicted.sum()} of {len(g)} samples "
            f"hold more that no density of the training kind explains, up to "
            f"{estimated[worst] / rms[worst]:.2g} of their rms: it will be fitted as if it were "
            "signal. Give their true level, or 'auto'.",
            stacklevel=4,
        )
    return noise_with_rounding(level * rms, g, scale)


def check_levels(noise_level: Any, n_samples: int) -> Array:
    """Return one relative level per sample, or raise ValueError."""
    level = np.asarray(noise_level, dtype=np.float64)
    if level.shape not in ((), (n_samples,)) or not ((level >= 0) & np.isfinite(level)).all():
        raise ValueError(
            f"'noise_level' is {noise_level!r}; it must be a number of at least 0 or one for each "
            f"of {n_samples} samples, the standard deviation of the noise relative to the rms of a "
            "sample's data, or 'auto'."
        )
    return np.broadcast_to(level, (n_samples,))
