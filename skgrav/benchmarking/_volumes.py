"""Sparse bodies of Huang et al. (2021) in 3D: errors of estimates, and published ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from skgrav._typing import Array
from skgrav.datasets import fetch_huang2021
from skgrav.metrics import chi_factor, relative_l2_error

#: Densities of the bodies, kg/m3.
BOUNDS = (0.0, 1000.0)

FAMILIES = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X")

#: Families with published errors.
COMPARED = FAMILIES[:6]

#: Standard deviation of the noise relative to the largest gz of each sample.
NOISE = 0.05

#: Noise level, relative to the rms of each sample, passed on for data without noise.
TOLD = 1e-3

#: Suffix of the names of results with noise.
NOISY = ", noise"

#: Number of volumes estimated at once.
_BLOCK = 250

#: Published errors and R² of a graph network, of noise-free data but for the last error.
GRAVIGNN: dict[str, Any] = {
    "errors": (0.621, 0.348, 0.421, 0.592, 0.534, 0.394, 0.517),
    "noisy": 0.808,
    "r2": 0.949,
    "cost": "3.2 h on a GPU",
}

#: Takes data and noise levels relative to the rms of each sample, returns densities.
Predict = Callable[[Array, Array], Array]


def with_noise(g: Array, seed: int) -> tuple[Array, Array]:
    """Return data with noise, and its level relative to the rms of each sample."""
    sigma = NOISE * np.abs(g).max(axis=1, keepdims=True)
    noisy = g + sigma * np.random.default_rng(seed).standard_normal(g.shape)
    return noisy, sigma[:, 0] / np.sqrt(np.mean(noisy**2, axis=1))


def evaluate(
    predict: Mapping[str, Predict],
    n_volumes: tuple[int, int] = (2000, 100),
    told: float = TOLD,
    subsets: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Return mean errors by family, R², chi factor, and CPU seconds per volume.

    Noise is the same for all estimators, and its level is passed on; for noise-free data it is
    `told`.

    Parameters
    ----------
    predict : mapping of str to callable
        Functions that estimate volumes from data without noise, "", and with noise, `NOISY`.
    n_volumes : tuple of two ints, default=(2000, 100)
        Number of validation volumes, and of volumes of each family.
    told : float, default=0.001
        Noise level passed on for data without noise.
    subsets : mapping of str to Bunch, default=None
        "validation" and "regular", as `fetch_huang2021` returns them; None fetches them.
    """
    found: dict[str, float] = {}
    seconds, n_estimates = 0.0, 0
    for subset, count, seed in zip(("validation", "regular"), n_volumes, (1, 2), strict=True):
        data = fetch_huang2021(subset) if subsets is None else subsets[subset]
        noisy, level = with_noise(data.data, seed)
        kinds = {"": (data.data, np.full(len(noisy), told)), NOISY: (noisy, level)}
        for family in dict.fromkeys(data.family):
            rows = np.flatnonzero(data.family == family)[:count]
            name = "validation" if subset == "validation" else str(family)
            for kind, (X, levels) in kinds.items():
                if kind not in predict:
                    continue
                (error, r2, chi), spent = _measured(predict[kind], data, X, levels, rows)
                found |= {
                    name + kind: error,
                    f"R² of {name}{kind}": r2,
                    f"chi of {name}{kind}": chi,
                }
                seconds += spent
                n_estimates += len(rows)
    return found | {"seconds": seconds / n_estimates}


def _measured(
    predict: Predict, data: Any, X: Array, level: Array, rows: Any
) -> tuple[tuple[float, float, float], float]:
    """Return mean error, R² and chi factor of rows, and CPU seconds of their estimates."""
    parts, seconds = [], 0.0
    for some in np.array_split(rows, -(-len(rows) // _BLOCK)):
        g, start = X[some], time.process_time()
        rho = predict(g, level[some])
        seconds += time.process_time() - start
        misfit = np.sum((data.operator.transform(rho) - g) ** 2, axis=1)
        parts.append(
            [
                relative_l2_error(data.density(some), rho, multioutput="raw_values"),
                1 - misfit / np.sum((g - g.mean(axis=1, keepdims=True)) ** 2, axis=1),
                chi_factor(
                    data.operator, rho, g, noise_level=level[some], multioutput="raw_values"
                ),
            ]
        )
    error, r2, chi = np.hstack(parts).mean(axis=1)
    return (float(error), float(r2), float(chi)), seconds
