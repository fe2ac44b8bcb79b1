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
from sklearn.frozen import FrozenEstimator

import skgrav
from skgrav import BayesLinearInverter, CNNInverter, Refiner, SparseInverter, TikhonovInverter
from skgrav.benchmarking import BOUNDS, COMPARED, FAMILIES, GRAVIGNN, NOISY, TOLD
from skgrav.benchmarking import evaluate as judged
from skgrav.datasets import fetch_huang2021
from skgrav.solvers import Projection

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


def refined(operator):
    """Return the U-Net, whose estimates are fitted to the data within the bounds."""
    train, network = fetch_huang2021("train"), unet(operator)
    refiner = Refiner(
        Projection(bounds=BOUNDS),
        init=FrozenEstimator(network),
        operator=network.operator_,
        noise_level=TOLD,
    )
    return refiner.fit(train.data[:2], train.density(slice(2)))


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
        found["U-Net, fitted to data"] = Method(refined, n_volumes=(500, 50))
    return found


def evaluate(inverter, n_volumes=(2000, 100), clip=False, told=TOLD):
    """Return the figures of an inverter whose `predict` is told the noise."""

    def predict(g, level):
        rho = inverter.predict(g, noise_level=level)
        return np.clip(rho, *BOUNDS) if clip else rho

    return judged({"": predict, NOISY: predict}, n_volumes, told)


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
        "GraviGNN, as published",
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
