"""Sparse bodies of Huang et al. (2021) in 3D: methods, their errors, and tables of them.

A further row is one more line in `METHODS`.
"""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from _timing import in_fresh_process

import skgrav
from skgrav import BayesLinearInverter, CNNInverter, SparseInverter, TikhonovInverter
from skgrav.datasets import fetch_huang2021
from skgrav.metrics import chi_factor, relative_l2_error

BOUNDS = (0.0, 1000.0)
FAMILIES = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X")

#: Families that others published errors of.
COMPARED = FAMILIES[:6]

#: Standard deviation of the noise relative to the largest gz of each sample.
NOISE = 0.05

#: Noise relative to the rms of each sample that is told with data without noise.
TOLD = 1e-3

#: What the names of results with noise end with.
NOISY = ", noise"

#: Volumes that are estimated at once.
_BLOCK = 250

#: Weights that training ships, if it has.
WEIGHTS = Path(skgrav.__file__).parent / "pretrained" / "huang2021.safetensors"

CLEAN_HEADER = [
    "method",
    "validation",
    *COMPARED,
    "mean of I-VI",
    *FAMILIES[6:],
    "validation, noise",
    "R²",
    "chi factor, noise",
    "volumes",
    "fit, CPU s",
    "per volume, CPU s",
    "memory, MB",
]
NOISY_HEADER = ["method", "validation", *COMPARED, "mean of I-VI", *FAMILIES[6:]]

#: Published errors and R², of noise-free data but for the last error.
GRAVIGNN = {
    "errors": (0.621, 0.348, 0.421, 0.592, 0.534, 0.394, 0.517),
    "noisy": 0.808,
    "r2": 0.949,
    "cost": "3.2 h on a GPU",
}


@dataclass(frozen=True)
class Method:
    """How an estimate is made, and on how many volumes it is judged."""

    #: Returns a fitted inverter for the operator of the data.
    fit: Callable[[Any], Any]
    #: Number of validation volumes, and of volumes of each family.
    n_volumes: tuple[int, int] = (2000, 100)
    #: Whether densities are clipped to the bounds.
    clip: bool = False
    #: Noise relative to the rms that is told with data without noise.
    told: float = TOLD


class MeanModel:
    """The mean of the training densities, whatever the data."""

    def __init__(self, density):
        self.density = density

    def predict(self, X, *, noise_level=None):
        """Return the mean for each row of X."""
        return np.tile(self.density, (len(X), 1))


def mean_model(operator):
    return MeanModel(fetch_huang2021("train").bodies.mean(axis=0) * BOUNDS[1])


def best_linear(operator):
    train = fetch_huang2021("train")
    return BayesLinearInverter(operator=operator).fit(train.data, train.density())


def without_training(inverter):
    """Return a function that fits an inverter that learns nothing from densities."""
    return lambda operator: inverter.set_params(operator=operator).fit(
        np.ones((1, operator.n_data_))
    )


def of_training(fit):
    """Return a function that fits to the volumes of training."""
    return lambda operator: fit(fetch_huang2021("train"))


def unet(operator):
    return CNNInverter.from_pretrained("huang2021")


def methods():
    """Return all methods that can be had, by name."""
    smooth = TikhonovInverter(order=1, depth_weighting="sensitivity")
    few = {"n_volumes": (100, 10)}  # they take about a second each
    found = {
        "mean model": Method(mean_model),
        "best linear, clipped": Method(best_linear, clip=True),
        "smooth": Method(without_training(smooth)),
        "compact, bounds given": Method(without_training(SparseInverter(bounds=BOUNDS)), **few),
        "compact, contrast given": Method(without_training(SparseInverter(contrast=BOUNDS)), **few),
    }
    if find_spec("_volume_generators"):
        import _volume_generators as latent

        # Searches among the codes of a VAE take long; those of components are in closed form.
        found["PCA, latent, clipped"] = Method(of_training(latent.by_components), clip=True)
        found["VAE, latent, clipped"] = Method(
            of_training(latent.by_vae), n_volumes=(200, 20), clip=True
        )
    if WEIGHTS.exists():
        found["U-Net"] = Method(unet, told=0.0)
    return found


def with_noise(g, seed):
    """Return data with noise, and its level relative to the rms of each sample."""
    sigma = NOISE * np.abs(g).max(axis=1, keepdims=True)
    noisy = g + sigma * np.random.default_rng(seed).standard_normal(g.shape)
    return noisy, sigma[:, 0] / np.sqrt(np.mean(noisy**2, axis=1))


def evaluate(inverter, n_volumes=(2000, 100), clip=False, told=TOLD):
    """Return mean errors by family, R², chi factor, and CPU seconds per volume of an inverter.

    Noise is the same for all inverters, and its level is told; that of noise-free data is `told`.
    """
    found, seconds, n_estimates = {}, 0.0, 0
    for subset, count, seed in zip(("validation", "regular"), n_volumes, (1, 2), strict=True):
        data = fetch_huang2021(subset)
        noisy, level = with_noise(data.data, seed)
        kinds = {"": (data.data, np.full(len(noisy), told)), NOISY: (noisy, level)}
        for family in dict.fromkeys(data.family):
            rows = np.flatnonzero(data.family == family)[:count]
            name = "validation" if subset == "validation" else family
            for kind, (X, levels) in kinds.items():
                (error, r2, chi), spent = _measured(inverter, data, X, levels, rows, clip)
                found |= {
                    name + kind: error,
                    f"R² of {name}{kind}": r2,
                    f"chi of {name}{kind}": chi,
                }
                seconds += spent
                n_estimates += len(rows)
    return found | {"seconds": seconds / n_estimates}


def _measured(inverter, data, X, level, rows, clip):
    """Return mean error, R² and chi factor of rows, and CPU seconds of their estimates."""
    parts, seconds = [], 0.0
    for some in np.array_split(rows, -(-len(rows) // _BLOCK)):
        g, start = X[some], time.process_time()
        rho = inverter.predict(g, noise_level=level[some])
        seconds += time.process_time() - start
        if clip:
            rho = np.clip(rho, *BOUNDS)
        misfit = np.sum((data.operator.transform(rho) - g) ** 2, axis=1)
        raw = {"multioutput": "raw_values"}
        parts.append(
            [
                relative_l2_error(data.density(some), rho, **raw),
                1 - misfit / np.sum((g - g.mean(axis=1, keepdims=True)) ** 2, axis=1),
                chi_factor(data.operator, rho, g, noise_level=level[some], **raw),
            ]
        )
    return np.hstack(parts).mean(axis=1), seconds


def row(label, found, method, fit_seconds, megabytes):
    """Return the rows of both tables."""

    def errors(kind):
        each = [found[name + kind] for name in ("validation", *FAMILIES)]
        each.insert(len(COMPARED) + 1, np.mean(each[1 : len(COMPARED) + 1]))
        return [f"{error:.3f}" for error in each]

    numbers = "{} + 10 x {}".format(*method.n_volumes)
    clean = [label, *errors(""), f"{found['validation' + NOISY]:.3f}"]
    clean += [f"{found['R² of validation']:.3f}", f"{found['chi of validation' + NOISY]:.2f}"]
    clean += [numbers, f"{fit_seconds:.3g}", f"{found['seconds']:.2g}", f"{megabytes:.0f}"]
    return clean, [label, *errors(NOISY)]


def published():
    """Return the row of published errors in the first table."""
    validation, *families = GRAVIGNN["errors"]
    return [
        "GraviGNN, as published, own validation",
        *(f"{e:.3f}" for e in (validation, *families, np.mean(families))),
        *[""] * len(FAMILIES[6:]),
        f"{GRAVIGNN['noisy']:.3f}",
        f"{GRAVIGNN['r2']:.3f}",
        "",
        "2000 + 6 x 100",
        GRAVIGNN["cost"],
        "",
        "",
    ]


def prepared(name):
    """Return what fits and judges a method, and is measured."""
    method = methods()[name]

    def run():
        start = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            inverter = method.fit(fetch_huang2021("validation").operator)
            seconds = time.process_time() - start
            return seconds, evaluate(inverter, method.n_volumes, method.clip, method.told)

    return run


def tables(only=None):
    """Return the rows of the table without noise and of that with noise."""
    clean, noisy = [published()], []
    print("\nvolumes", *CLEAN_HEADER, sep=" | ", flush=True)
    for name, method in methods().items():
        if only is None or only in name:
            _, megabytes, (seconds, found) = in_fresh_process(prepared, name)
            first, second = row(name, found, method, seconds, megabytes)
            print(*first, sep=" | ", flush=True)
            print("with noise", *second[1:], sep=" | ", flush=True)
            clean.append(first)
            noisy.append(second)
    return clean, noisy
