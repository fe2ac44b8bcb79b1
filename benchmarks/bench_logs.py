"""What a borehole adds to gravity: errors near and far from a log, of linear and learned methods.

Sections of 16 x 32 cells, gz at three stations per column, and a vertical hole in the middle that
ends at a depth of ten of 16 layers. Prints the table and writes it to doc/other_data.md.
"""

import time

import numpy as np
from _timing import markdown, put_into, report, versions

from skgrav import (
    BayesLinearInverter,
    CellValues,
    CNNInverter,
    ForwardOperator,
    JointOperator,
    Mesh,
    Survey,
    TikhonovInverter,
)
from skgrav.datasets import make_density_models

N_TRAINING, N_TEST = 6000, 500
MESH = Mesh.regular((16, 32), 50.0)
COLUMN, LAYERS = 16, 10
SIGMA_LOG = 15.0

#: Distance from the hole in columns, of cells no deeper than it.
ZONES = {"in the hole": (0, 0), "1-2 cells": (1, 2), "3-6 cells": (3, 6), "7 and more": (7, 16)}


def zones():
    layer, column = np.indices(MESH.shape).reshape(2, -1)
    distance = np.abs(column - COLUMN)
    beside = {
        name: (layer < LAYERS) & (distance >= low) & (distance <= high)
        for name, (low, high) in ZONES.items()
    }
    return beside | {"below the hole": layer >= LAYERS, "all": layer >= 0}


def operators(rms):
    stations = Survey.line(MESH).stations
    gravity = ForwardOperator(MESH, Survey(stations, ("z",), uncertainty=0.01 * rms))
    hole = CellValues(MESH, np.arange(LAYERS) * MESH.shape[1] + COLUMN, uncertainty=SIGMA_LOG)
    return {"gravity": gravity, "gravity and log": JointOperator([gravity, hole])}


def methods(operator):
    return {
        "Tikhonov": TikhonovInverter(order=1, reference="mean", operator=operator),
        "BayesLinear": BayesLinearInverter(operator=operator),
        "CNN, residual": CNNInverter(
            operator=operator, max_epochs=15, training_noise=(0.0, 0.05), random_state=0
        ),
    }


def main():
    training, test = (
        make_density_models(n, mesh=MESH, density_range=(0.0, 600.0), random_state=seed)
        for n, seed in ((N_TRAINING, 0), (N_TEST, 1))
    )
    scale = operators(1.0)["gravity"].fit().transform(test)
    rows, cpu = [], time.process_time()
    for data, operator in operators(float(np.sqrt(np.mean(scale**2)))).items():
        operator.fit()
        X = operator.transform(training)
        noise = np.random.default_rng(0).normal(size=(N_TEST, operator.n_data_))
        noisy = operator.transform(test) + operator.stated_noise.uncertainty * noise
        for name, method in methods(operator).items():
            error = method.fit(X, training).predict(noisy) - test
            sizes = [
                np.mean(np.linalg.norm(error[:, k], axis=1) / np.linalg.norm(test[:, k], axis=1))
                for k in zones().values()
            ]
            rows.append([name, data, *(f"{size:.3f}" for size in sizes)])
    rows.sort(key=lambda row: list(methods(None)).index(row[0]))
    header = ["method", "data", *zones()]
    footer = (
        f"Mean relative L2 error over {N_TEST} sections of all families, in the cells down to the "
        f"end of the hole by their distance from it, and below. Densities of 0 to 600 kg/m3; noise "
        f"of 1 % of the rms of gz, and of {SIGMA_LOG:g} kg/m3 in the log. {N_TRAINING} training "
        f"sections, one seed, {time.process_time() - cpu:.0f} CPU seconds in all. "
        f"{versions('skgrav', 'numpy', 'torch')}."
    )
    report("logs", header, rows, footer)
    put_into("other_data.md", "table", f"{markdown(header, rows)}\n\n{footer}")


if __name__ == "__main__":
    main()
