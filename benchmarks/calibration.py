"""Do posteriors hold? Coverage, scores and ranks of each method, at several levels of noise.

On unseen sections of all families in the paper's geometry, noise-free (as float32 holds them) and
noisy, the noise told. Each method writes its figures to build/benchmarks/calibration_METHOD.csv,
and page fills doc/calibration.md with all that are there.

    python benchmarks/calibration.py bayes analogues
    python benchmarks/calibration.py page
"""

import argparse
import csv
import time

import numpy as np
from _timing import OUTPUT, markdown, put_into
from threadpoolctl import threadpool_limits

from skgrav import AnalogueInverter, BayesLinearInverter
from skgrav.datasets import make_gravity_dataset
from skgrav.metrics import (
    chi_factor,
    crps,
    energy_score,
    interface_spread,
    interval_coverage,
    rank_histogram,
    relative_data_misfit,
    relative_l2_error,
)

LEVELS = (0.0, 0.001, 0.01, 0.05)
#: Relative rounding of float32, the noise of data without other noise.
ROUNDING = 3e-8
N_DRAWS = 50
FUNCTIONALS = ("lower_half", "std", "mass", "centroid_depth")

#: Makers of inverters, and whether their marginals are Gaussian.
METHODS = {
    "bayes": (lambda o: BayesLinearInverter(operator=o, store_covariance=True), True),
    "analogues": (
        lambda o: AnalogueInverter(N_DRAWS, operator=o, augment="mirror", precision="float16"),
        False,
    ),
    "analogues as they are": (
        lambda o: AnalogueInverter(
            N_DRAWS, operator=o, augment="mirror", precision="float16", inflation=1.0
        ),
        False,
    ),
}

COLUMNS = {
    "error": "error of the mean",
    "crps": "CRPS",
    "cover 50": "cover of 50 %",
    "cover 90": "of 90 %",
    "energy": "energy score",
    "chi": "chi factor",
    "spread": "interface spread",
    **{f"p {name}": f"p, {name.replace('_', ' ')}" for name in FUNCTIONALS},
    "ms": "ms a section",
}


def cases(n_sections):
    """Yield the level of noise, the level that is told, pairs and noisy data."""
    data = make_gravity_dataset(n_sections, random_state=1_000_000)
    data.data = data.data.astype(np.float32).astype(np.float64)
    rms = np.sqrt(np.mean(data.data**2, axis=1, keepdims=True))
    noise = np.random.default_rng(1).normal(size=data.data.shape)
    for level in LEVELS:
        yield level, max(level, ROUNDING), data, data.data + level * rms * noise


def measured(inverter, gaussian, told, data, X):
    """Return the figures of a method at one level of noise, those of families included."""
    operator, true, mesh = data.operator, data.target, data.operator.mesh_
    start = time.process_time()
    draws = inverter.sample_y(X, N_DRAWS, noise_level=told)
    seconds = time.process_time() - start
    mean, std = inverter.predict(X, return_std=True, noise_level=told)
    marginals = (mean, std) if gaussian else (draws,)
    half, most = interval_coverage(true, *marginals)
    fits = [draws[:, :, k] for k in range(5)]
    found = {
        "error": relative_l2_error(true, mean),
        "crps": crps(true, *marginals),
        "cover 50": half,
        "cover 90": most,
        "energy": energy_score(true, draws),
        "chi": np.mean([chi_factor(operator, rho, X, noise_level=told) for rho in fits]),
        "misfit": np.max([relative_data_misfit(operator, rho, X) for rho in fits]),
        "spread": np.mean([interface_spread(rho, mesh) for rho in fits]),
        "ms": 1e3 * seconds / len(X),
    }
    for name in FUNCTIONALS:
        found[f"p {name}"] = rank_histogram(true, draws, name, mesh=mesh).p_value
    by_family = interval_coverage(true, *marginals, levels=0.9, labels=data.family)
    return found | {f"cover 90 of {name}": cover[0] for name, cover in by_family.items()}


def run(name, library, n_sections):
    make, gaussian = METHODS[name]
    inverter = make(library.operator)
    start = time.process_time()
    inverter.fit(library.data, library.target)
    fit = time.process_time() - start
    rows = []
    for level, told, data, X in cases(n_sections):
        found = measured(inverter, gaussian, told, data, X)
        size = {"sections": n_sections, "library": len(library.target), "fit seconds": fit}
        rows.append({"noise": level} | found | size)
        print(name, {k: f"{v:.3g}" for k, v in rows[-1].items()}, flush=True)
    OUTPUT.mkdir(parents=True, exist_ok=True)
    with (OUTPUT / f"calibration_{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def figures():
    """Return what has been written, by method."""
    found = {}
    for name in METHODS:
        path = OUTPUT / f"calibration_{name}.csv"
        if path.exists():
            with path.open() as file:
                rows = csv.DictReader(file)
                found[name] = [{k: float(v) for k, v in row.items()} for row in rows]
    return found


def make_page():
    found = figures()
    first = found["bayes"]
    header = ["method", "noise", *COLUMNS.values()]
    rows, families = [], []
    names = [key for key in first[0] if key.startswith("cover 90 of ")]
    for method, of_levels in found.items():
        for row, reference in zip(of_levels, first, strict=True):
            cells = {key: f"{row[key]:.2f}" for key in COLUMNS}
            cells["error"] = f"{row['error']:.3f}"
            for key in ("crps", "energy"):
                cells[key] = f"{row[key]:.3f} ({row[key] / reference[key]:.2f})"
            for name in FUNCTIONALS:
                p = row[f"p {name}"]
                cells[f"p {name}"] = f"{p:.2f}" if p >= 0.01 else "< 0.01"
            if row["noise"] == 0:
                cells["p mass"] = "-"  # exact data determine the mass
                cells["chi"] = "-"
            cells["ms"] = f"{row['ms']:.1f}"
            noise = f"{100 * row['noise']:g} %"
            rows.append([method, noise, *cells.values()])
            families.append([method, noise, *(f"{row[name]:.2f}" for name in names)])
    put_into("calibration.md", "table of methods", f"{markdown(header, rows)}\n\n{_sizes(found)}")
    labels = [name.removeprefix("cover 90 of ").replace("_", " ") for name in names]
    put_into(
        "calibration.md", "table of families", markdown(["method", "noise", *labels], families)
    )


def _sizes(found):
    row = next(iter(found.values()))[0]
    fits = [f"{method} {rows[0]['fit seconds']:.0f}" for method, rows in found.items()]
    exact = [f"{method} {rows[0]['misfit']:.0e}" for method, rows in found.items()]
    return (
        f"{row['library']:.0f} training sections, {row['sections']:.0f} unseen ones, {N_DRAWS} "
        f"draws of each; one seed. In parentheses ratios to the first method. CPU seconds of "
        f"`fit`: {', '.join(fits)}. Largest mean misfit of draws without noise: {', '.join(exact)}."
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("parts", nargs="+", choices=[*METHODS, "page"])
    parser.add_argument("--library", type=int, default=20_000)
    parser.add_argument("--sections", type=int, default=400)
    chosen = parser.parse_args()
    methods = [part for part in chosen.parts if part != "page"]
    if methods:
        library = make_gravity_dataset(chosen.library, random_state=1)
        for method in methods:
            run(method, library, chosen.sections)
    if "page" in chosen.parts:
        make_page()


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
