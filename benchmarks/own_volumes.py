"""Errors of other methods on the volumes of skgrav on which `train_volumes.py` judges a network.

    python benchmarks/own_volumes.py smooth "best linear, clipped" "compact, bounds given"

Methods are those of `public.py`, by their names there. Best linear estimates have learned from the
public volumes of training, as the network has; compact inversion, which takes a second each, is
judged on a quarter of the volumes.
"""

import sys

import numpy as np
from _public_volumes import BOUNDS, TOLD, methods
from _timing import report, versions
from train_volumes import N_OWN, OWN_UNSEEN, own_volumes

from skgrav.datasets import fetch_huang2021
from skgrav.metrics import relative_l2_error


def main(names):
    operator = fetch_huang2021("validation").operator
    volumes, families = own_volumes(N_OWN, OWN_UNSEEN, operator)
    rows = []
    for name in names:
        method = methods()[name]
        inverter = method.fit(operator)
        some = np.linspace(0, N_OWN - 1, N_OWN // 4 if "compact" in name else N_OWN).astype(int)
        rho = np.concatenate(
            [
                inverter.predict(operator.transform(volumes[part]), noise_level=TOLD)
                for part in np.array_split(some, 8)
            ]
        )
        rho = np.clip(rho, *BOUNDS) if method.clip else rho
        errors = relative_l2_error(volumes[some], rho, multioutput="raw_values")
        kinds = np.unique(families)
        rows.append([name, *(f"{errors[families[some] == kind].mean():.3f}" for kind in kinds)])
    report("own_volumes", ["method", *kinds], rows, versions("skgrav", "numpy"))


if __name__ == "__main__":
    main(sys.argv[1:] or ["smooth"])
