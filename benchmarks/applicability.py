"""Are data like the training data? False alarms, odd data that are found, and geology that is not.

In the paper's geometry with BayesLinearInverter, whose `applicability` is that of all inverters.
Fills the tables of doc/calibration.md.

    python benchmarks/applicability.py
"""

import argparse
import warnings

import numpy as np
from _timing import markdown, put_into
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

from skgrav import BayesLinearInverter
from skgrav.datasets import make_gravity_dataset

LEVELS = (0.0, 0.01, 0.05)
ALARMS = (0.05, 0.01, 0.001)
FAMILIES = (
    "flat_layers",
    "folded_layers",
    "dipping_layers",
    "faults",
    "salt_domes",
    "intrusions",
    "basins",
    "blocks",
    "dykes",
)


def random_blocks(size):
    """Return a maker of the gravity of square blocks of independent uniform densities."""

    def make(unseen):
        n = len(unseen.data)
        rng = np.random.default_rng(2)
        blocks = rng.uniform(0.0, 12.0, (n, 50 // size, 50 // size))
        rho = np.kron(blocks, np.ones((size, size))).reshape(n, -1)
        return unseen.operator.transform(rho)

    return make


def reversed_stations(unseen):
    return unseen.data.reshape(len(unseen.data), 2, -1)[:, :, ::-1].reshape(unseen.data.shape)


ODD = {
    "blocks of 10 x 10 cells": random_blocks(10),
    "of 5 x 5": random_blocks(5),
    "of 2 x 2": random_blocks(2),
    "single cells": random_blocks(1),
    "ten times too large": lambda unseen: 10.0 * unseen.data,
    "three times": lambda unseen: 3.0 * unseen.data,
    "a tenth": lambda unseen: 0.1 * unseen.data,
    "a third": lambda unseen: unseen.data / 3.0,
    "stations reversed": reversed_stations,
    "gx of the wrong sign": lambda unseen: unseen.data * np.repeat([-1.0, 1.0], 150),
}


def noisy(g, level, seed):
    rms = np.sqrt(np.mean(g**2, axis=1, keepdims=True))
    return g + level * rms * np.random.default_rng(seed).normal(size=g.shape)


def auc(usual, odd):
    """Return the probability that the p-value of odd data is below that of usual ones."""
    is_usual = np.repeat([1, 0], [len(usual), len(odd)])
    return roc_auc_score(is_usual, np.concatenate([usual, odd]))


def false_alarms(inverter, unseen):
    """Return rows of the shares of unseen sections of all families that are taken for odd."""
    rows = []
    for level in LEVELS:
        X = noisy(unseen.data, level, 3)
        for told, noise_level in (("stated", level), ("estimated", "auto")):
            p = inverter.applicability(X, noise_level=noise_level)
            shares = [f"{np.mean(p < alarm):.4f}" for alarm in ALARMS]
            rows.append([f"{100 * level:g} %", told, *shares])
    return rows


def odd_data(inverter, unseen):
    """Return rows of how well odd data are told from unseen sections."""
    usual = [
        inverter.applicability(noisy(unseen.data, level, 3), noise_level=level) for level in LEVELS
    ]
    rows = []
    for name, make in ODD.items():
        g, cells = make(unseen), []
        for level, p in zip(LEVELS, usual, strict=True):
            odd = inverter.applicability(noisy(g, level, 4), noise_level=level)
            shares = "/".join(f"{np.mean(odd < alarm):.2f}" for alarm in (0.05, 0.001))
            cells.append(f"{auc(p, odd):.3f} ({shares})")
        rows.append([name, *cells])
    return rows


def left_out_families(n_training, unseen):
    """Return rows of how well a family that was not trained on is told from those that were."""
    rows = []
    for name in FAMILIES:
        others = [family for family in FAMILIES if family != name]
        training = make_gravity_dataset(n_training, families=others, random_state=1)
        inverter = BayesLinearInverter(operator=training.operator)
        inverter.fit(training.data, training.target)
        is_new, cells = unseen.family == name, []
        for level in LEVELS:
            p = inverter.applicability(noisy(unseen.data, level, 3), noise_level=level)
            share = np.mean(p[is_new] < 0.001)
            cells.append(f"{auc(p[~is_new], p[is_new]):.2f} ({share:.3f})")
        rows.append([name.replace("_", " "), *cells])
        print(rows[-1], flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--training", type=int, default=10_000)
    parser.add_argument("--sections", type=int, default=6000)
    chosen = parser.parse_args()
    warnings.filterwarnings("ignore", "'noise_level' is")  # odd data contradict their noise
    training = make_gravity_dataset(chosen.training, random_state=1)
    unseen = make_gravity_dataset(chosen.sections, random_state=1_000_000)
    inverter = BayesLinearInverter(operator=training.operator)
    inverter.fit(training.data, training.target)
    noises = [f"noise of {100 * level:g} %" for level in LEVELS]
    alarms = markdown(
        ["noise", "noise level", *(f"p < {alarm:g}" for alarm in ALARMS)],
        false_alarms(inverter, unseen),
    )
    sizes = f"{chosen.training} training sections, {chosen.sections} unseen ones; one seed."
    put_into("calibration.md", "table of false alarms", f"{alarms}\n\n{sizes}")
    put_into(
        "calibration.md",
        "table of odd data",
        markdown(["odd data", *noises], odd_data(inverter, unseen)),
    )
    put_into(
        "calibration.md",
        "table of families left out",
        markdown(["family", *noises], left_out_families(chosen.training, unseen)),
    )


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
