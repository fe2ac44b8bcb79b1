"""Do posteriors hold? Coverage, scores and ranks of each method, by noise, geology and seed.

On unseen sections in the paper's geometry, noise-free (as float32 holds them) and noisy, with the
noise told rightly, wrongly, or not at all; and on two families that were left out of the library
and of training. Marginals are judged by the error of the mean, CRPS and coverage, draws by the
energy score, ranks, interfaces and the fit to the data. Each method writes its figures to
build/benchmarks/calibration_METHOD.csv, and page fills doc/calibration.md with all that are there.

    python benchmarks/calibration.py bayes analogues network --jobs 2
    python benchmarks/calibration.py bayes-3d network-3d page
"""

import argparse
import csv
import time
import traceback
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import numpy as np
from _calibration_page import make_page
from _timing import OUTPUT
from accuracy import TRAINED, Source, default
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.utils import Bunch
from threadpoolctl import threadpool_limits

from skgrav import (
    AnalogueInverter,
    BayesLinearInverter,
    CNNInverter,
    LatentInverter,
    Refiner,
    TikhonovInverter,
)
from skgrav.benchmarking import HELD_OUT, QUANTILES, ROUNDING, pairs, ranks
from skgrav.benchmarking import of_draws as judged_draws
from skgrav.benchmarking import of_marginals as judged_marginals
from skgrav.datasets import fetch_huang2021, make_gravity_dataset

LEVELS = (0.0, 0.001, 0.01, 0.05)

#: The level that is told, as a multiple of the true one; None leaves the method to estimate it.
TELLINGS = {"told": 1.0, "estimated": None, "half": 0.5, "twice": 2.0}

#: Draws for the scores, whose ranks fall evenly into ten bins, and those that are timed.
N_DRAWS, N_TIMED = 49, 100


@dataclass(frozen=True)
class Method:
    """How an inverter is made of a library, and how its marginals are given."""

    #: Returns a fitted inverter.
    make: Any
    #: "gaussian" by mean and standard deviation, "quantiles", or "draws".
    marginals: str = "gaussian"
    #: Whether noise that is not told is estimated.
    estimates: bool = True
    #: Whether it can learn from a library without some families.
    learns: bool = False


def bayes(library, options):
    inverter = BayesLinearInverter(operator=library.operator, store_covariance=True)
    return inverter.fit(library.data, library.target)


def analogues(library, options, **parameters):
    inverter = AnalogueInverter(
        operator=library.operator, augment="mirror", precision="float16", **parameters
    )
    return inverter.fit(library.data, library.target)


def analogues_as_they_are(library, options):
    return analogues(library, options, inflation=1.0)


def network(library, options):
    """Return the pretrained network, or one trained anew on the library's families."""
    if library.families is None:
        return CNNInverter.from_pretrained("paper")
    inverter = default(library.seed, operator=library.operator, max_epochs=options.epochs)
    return inverter.fit(Source(families=library.families))


def refined(library, options):
    pretrained = FrozenEstimator(CNNInverter.from_pretrained("paper"))
    inverter = Refiner(
        "bayes",
        init=pretrained,
        operator=library.operator,
        noise_level=0.0,
        cv="prefit",
        store_covariance=True,
    )
    return inverter.fit(library.data, library.target)


def latent(library, options):
    inverter = LatentInverter(PCA(64), operator=library.operator, noise_level=0.0)
    return inverter.fit(library.data, library.target)


def tikhonov(library, options):
    return TikhonovInverter(order=1, operator=library.operator).fit(library.data[:2])


METHODS = {
    "bayes": Method(bayes, learns=True),
    "analogues": Method(analogues, "draws", learns=True),
    "analogues as they are": Method(analogues_as_they_are, "draws"),
    "network": Method(network, "quantiles", learns=True),
    "refined": Method(refined, estimates=False),
    "latent": Method(latent, "draws", estimates=False),
    "tikhonov": Method(tikhonov, estimates=False),
}


def cases(n_sections, seed, families, estimates):
    """Yield noise, how it is told, the level told, pairs and noisy data."""
    data = pairs(n_sections, 1_000_000 + seed, families)
    rms = np.sqrt(np.mean(data.data**2, axis=1, keepdims=True))
    noise = np.random.default_rng(seed).normal(size=data.data.shape)
    for level in LEVELS:
        X = data.data + level * rms * noise
        for telling, factor in TELLINGS.items():
            if factor is None:
                if estimates:
                    yield level, telling, None, data, X
            elif factor == 1.0 or level > 0:
                yield level, telling, factor * max(level, ROUNDING), data, X


def marginals(method, inverter, X, told, draws):
    """Return the means, what metrics take as the distributions, and keywords."""
    if method.marginals == "quantiles":
        mean = inverter.predict(X, noise_level=told)
        quantiles = inverter.predict_quantiles(X, QUANTILES, noise_level=told)
        return mean, (quantiles,), {"quantiles": QUANTILES}
    if method.marginals == "gaussian":
        mean, std = inverter.predict(X, return_std=True, noise_level=told)
        return mean, (mean, std), {}
    return inverter.predict(X, noise_level=told), (draws,), {}


def of_marginals(method, inverter, data, X, told, draws):
    """Return error of the mean, CRPS and coverages, those of families included."""
    start = time.process_time()
    found = marginals(method, inverter, X, told, draws)
    seconds = time.process_time() - start
    return judged_marginals(data, *found) | {"ms of marginals": 1e3 * seconds / len(X)}


def of_draws(inverter, data, X, told, draws):
    """Return scores of draws, and the counts of ranks, which are pooled over seeds."""
    start = time.process_time()
    inverter.sample_y(X[:20], N_TIMED, noise_level=told)
    seconds = time.process_time() - start
    found = judged_draws(data, X, told, draws)
    found["ms of 100 draws"] = 1e3 * seconds / len(X[:20])
    for name, histogram in ranks(data, draws, n_bins=10).items():
        found[f"ranks {name}"] = " ".join(map(str, histogram.counts))
    return found


def rows_of(name, seed, unseen, options):
    """Return the figures of a method with one seed, on the families it has seen or on others."""
    method, families = METHODS[name], (HELD_OUT if unseen else None)
    learned = TRAINED if unseen else None
    rows = []
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that noise told wrong does not fit the data
        library = make_gravity_dataset(options.library, families=learned, random_state=seed)
        library.families, library.seed = learned, seed
        start = time.process_time()
        inverter = method.make(library, options)
        size = {"sections": options.sections, "library": options.library}
        size["fit seconds"] = time.process_time() - start
        for level, telling, told, data, X in cases(
            options.sections, seed, families, method.estimates
        ):
            if unseen and telling != "told":
                continue
            draws = None
            if telling == "told" or method.marginals == "draws":
                draws = inverter.sample_y(X, N_DRAWS, random_state=seed, noise_level=told)
            row = {"seed": seed, "families": "unseen" if unseen else "all"}
            row |= {"noise": level, "telling": telling} | size
            row |= of_marginals(method, inverter, data, X, told, draws)
            if telling == "told":
                row |= of_draws(inverter, data, X, told, draws)
            rows.append(row)
            report(name, row)
    return rows


def bayes_of_volumes(operator, options):
    train = fetch_huang2021("train")
    some = np.linspace(0, len(train.data) - 1, options.library).astype(int)
    return BayesLinearInverter(operator=operator).fit(train.data[some], train.density(some))


def network_of_volumes(operator, options):
    return CNNInverter.from_pretrained("huang2021")


OF_VOLUMES = {
    "bayes-3d": Method(bayes_of_volumes),
    "network-3d": Method(network_of_volumes, "quantiles"),
}


def rows_of_volumes(name, options):
    """Return the figures of marginals for volumes, noise told."""
    method, rows, some = OF_VOLUMES[name], [], slice(options.volumes)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = fetch_huang2021("validation")
        start = time.process_time()
        inverter = method.make(data.operator, options)
        size = {"sections": options.volumes, "library": options.library}
        size["fit seconds"] = time.process_time() - start
        true = Bunch(target=data.density(some), family=data.family[some])
        g = data.data[some]
        rms = np.sqrt(np.mean(g**2, axis=1, keepdims=True))
        noise = np.random.default_rng(0).normal(size=g.shape)
        for level in LEVELS:
            row = {"seed": 0, "families": "volumes", "noise": level, "telling": "told"} | size
            X, told = g + level * rms * noise, max(level, ROUNDING)
            row |= of_marginals(method, inverter, true, X, told, None)
            rows.append(row)
            report(name, row)
    return rows


def report(name, row):
    where = [row[key] for key in ("seed", "families", "noise", "telling")]
    figures = [f"{key} {row[key]:.3g}" for key in ("crps", "cover 50", "cover 90")]
    print(name, *where, *figures, flush=True)


def write(name, rows):
    OUTPUT.mkdir(parents=True, exist_ok=True)
    fields = dict.fromkeys(key for row in rows for key in row)
    with (OUTPUT / f"calibration_{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fields)
        writer.writeheader()
        writer.writerows(rows)


def written(name, futures):
    """Write the figures of a method, and return whether there are any."""
    try:
        write(name, [row for future in futures for row in future.result()])
    except Exception:  # of one method, which must not lose the others
        traceback.print_exc()
        return False
    return True


def main():
    options = parsed()
    tasks = [
        (name, seed, unseen, options)
        for name in options.parts
        if name in METHODS
        for unseen in ((False, True) if METHODS[name].learns else (False,))
        for seed in range(options.seeds)
    ]
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        found = [pool.submit(rows_of, *task) for task in tasks]
        of_volumes = {
            name: pool.submit(rows_of_volumes, name, options)
            for name in options.parts
            if name in OF_VOLUMES
        }
        futures = {name: [] for name, *_ in tasks}
        for task, future in zip(tasks, found, strict=True):
            futures[task[0]].append(future)
        futures |= {name: [future] for name, future in of_volumes.items()}
        failed = [name for name, parts in futures.items() if not written(name, parts)]
    if "page" in options.parts:
        make_page(METHODS)
    if failed:
        raise SystemExit(f"These failed: {', '.join(failed)}. The others are written.")


def parsed():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("parts", nargs="+", choices=[*METHODS, *OF_VOLUMES, "page"])
    parser.add_argument("--library", type=int, default=20_000, help="sections to learn from")
    parser.add_argument("--sections", type=int, default=150, help="unseen sections of each seed")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--volumes", type=int, default=100, help="volumes in 3D")
    parser.add_argument(
        "--epochs", type=int, default=8, help="of 20,000 sections each, for unseen families"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    return parser.parse_args()


if __name__ == "__main__":
    main()
