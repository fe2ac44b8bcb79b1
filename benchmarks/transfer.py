"""Networks trained within minutes on random volumes, for field problems, beside inversions.

    python benchmarks/transfer.py                    # about 25 CPU minutes
    python benchmarks/transfer.py --problem bodies --seconds 300

"bodies" are the two bodies below topography of `public.py`, "laguna" is Laguna del Maule. The
network is trained for survey and ground of each, on one or two winding bodies, less the median of
each layer: contrasts to the country rock. Settings are the same for both, and regularised
inversions are on the same mesh, which has columns of one width as the network needs. Prints a table
and draws all estimates into `build/`.
"""

import argparse
import time
import warnings
from pathlib import Path

import matplotlib as mpl
import numpy as np
from _clock import Clock, fast_precision
from _public_problems import measures
from _timing import OUTPUT, markdown, processor, put_into, report, versions
from sklearn.frozen import FrozenEstimator

from skgrav import (
    CNNInverter,
    ForwardOperator,
    Mesh,
    Refiner,
    SparseInverter,
    Survey,
    TikhonovInverter,
)
from skgrav.benchmarking import Problem
from skgrav.datasets import fetch_laguna_del_maule, fetch_two_bodies, make_density_models
from skgrav.metrics import chi_factor
from skgrav.plotting import DensityDisplay

FAMILIES = ("random_walks",)
DENSITY_RANGE = (-300.0, 300.0)

#: Volumes of each epoch, drawn anew, and relative noise that they are given.
N_VOLUMES, TRAINING_NOISE = 500, (0.0, 0.2)

HEADER = [
    "method",
    "error",
    "mass",
    "centre off, m",
    "Dice",
    "chi factor",
    "largest, kg/m3",
    "CPU s",
]


def bodies():
    """Return the two bodies below topography on columns of 5 m, and where to cut them."""
    data = fetch_two_bodies()
    top = data.topography[:, 0].min()
    depth = top + np.r_[0, np.cumsum(np.r_[np.full(15, 5.0), 5 * 1.3 ** np.arange(1, 6)])]
    side = np.linspace(-110.0, 110.0, 45)
    mesh = Mesh([depth, side, side]).below(data.topography, survey=data.survey)
    rho = data.true_model(mesh)
    problem = Problem(mesh, data.survey, data.data, rho, (-200.0, 200.0), by_volume=True)
    return problem, (-60.0, 0.0, 35.0)


def laguna():
    """Return the survey of Laguna del Maule, without a truth, on columns of 500 m."""
    data = fetch_laguna_del_maule()
    survey = Survey(data.survey.stations, "z", uncertainty=0.3, trend=0)
    made = Mesh.for_survey(survey, cell=(100.0, 500.0, 500.0), depth=6000.0)
    sides = []
    for stations in survey.stations.T[1:]:
        middle = 500.0 * np.round((stations.min() + stations.max()) / 1000.0)
        n = int(np.ceil((np.ptp(stations) / 2 + 2500.0) / 500.0))
        sides.append(middle + 500.0 * np.arange(-n, n + 1))
    mesh = Mesh([made.edges[0], *sides]).below(survey, survey=survey)
    return Problem(mesh, survey, data.data, None, DENSITY_RANGE), None


PROBLEMS = {"bodies": bodies, "laguna": laguna}


class Contrasts:
    """Draws random volumes of bodies, less the median of each layer, with their gravity.

    Of twice as many the half is kept whose layers are the most even: in the others, the relief of
    the layers outweighs the bodies.
    """

    def __init__(self, operator):
        self.operator, self.mesh = operator, operator.mesh_

    def __call__(self, random_state):
        rho = make_density_models(
            2 * N_VOLUMES,
            mesh=self.mesh,
            families=FAMILIES,
            density_range=DENSITY_RANGE,
            random_state=random_state,
        )
        layer = np.unravel_index(self.mesh.cells, self.mesh.shape)[0]
        for k in np.unique(layer):
            rho[:, layer == k] -= np.median(rho[:, layer == k], axis=1, keepdims=True)
        uneven = np.count_nonzero(np.abs(rho) > 1e-6, axis=1)
        rho = rho[np.sort(np.argsort(uneven, kind="stable")[:N_VOLUMES])]
        return self.operator.transform(rho), rho


def trained(operator, seconds, seed):
    """Return a network trained for some CPU seconds, volumes included."""
    draw = Contrasts(operator)

    def fit(n_epochs):
        clock = Clock()
        network = CNNInverter(
            "unet",
            operator=operator,
            training_noise=TRAINING_NOISE,
            max_epochs=n_epochs,
            precision=fast_precision(),
            random_state=seed,
            callbacks=[clock],
        )
        return network.fit(draw), clock

    start = time.process_time()
    _, clock = fit(2)
    each = clock.begun[1] - clock.begun[0]
    before = time.process_time() - start - 2 * each
    return fit(max(2, int((seconds - before) / each)))[0]


def estimates(problem, operator, seconds, seed):
    """Yield the name of each method, its densities, and CPU seconds."""
    g = problem.g[None]

    def timed(estimator, *data):
        start = time.process_time()
        rho = estimator.fit(*data).predict(g)[0]
        return rho, time.process_time() - start

    smooth = TikhonovInverter(order=1, depth_weighting="sensitivity", operator=operator)
    yield "smooth", *timed(smooth, g)
    # Without bounds, cells on summits far from all stations get -26,000 kg/m3 at Laguna del Maule.
    known = {} if problem.rho is not None else {"bounds": problem.contrast}
    compact = SparseInverter(operator=operator, **known)
    yield "compact" + ", bounds given" * bool(known), *timed(compact, g)
    start = time.process_time()
    network = trained(operator, seconds, seed)
    spent = time.process_time() - start
    start = time.process_time()
    rho = network.predict(g)[0]
    yield "network", rho, spent + time.process_time() - start
    refiner = Refiner("projection", init=FrozenEstimator(network), operator=operator)
    volumes = Contrasts(operator)(seed)
    rho, further = timed(refiner, *(part[:50] for part in volumes))
    yield "network, projected onto the data", rho, spent + further


def judged(problem, operator, rho):
    """Return cells of the table; without a truth the chi factor and the largest density."""
    if problem.rho is not None:
        return measures(problem, operator, rho)
    chi = chi_factor(operator, rho[None], problem.g[None])
    z = problem.mesh.cell_centers[np.argmin(rho)]
    print("least density", f"{rho.min():.0f} at", *np.round(z), f"largest {rho.max():.0f}")
    return ["", "", "", "", f"{chi:.2f}", f"{np.abs(rho).max():.0f}"]


def pictures(problem, found, at, name):
    """Draw all estimates, cut in the same places."""
    if at is None:
        at = problem.mesh.cell_centers[np.argmin(found["smooth"])]
    mpl.use("agg")
    if problem.rho is not None:
        found = {"truth": problem.rho, **found}
    for method, rho in found.items():
        display = DensityDisplay.from_predictions(None, rho, mesh=problem.mesh, at=tuple(at))
        display.figure_.suptitle(method)
        file = f"transfer_{name}_{method.split(',')[-1].strip().replace(' ', '_')}.png"
        display.figure_.savefig(Path("build") / file, dpi=80)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problem", choices=PROBLEMS, action="append")
    parser.add_argument("--seconds", type=float, default=600.0, help="CPU seconds of training")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for name in options.problem or PROBLEMS:
        problem, at = PROBLEMS[name]()
        operator = ForwardOperator(problem.mesh, problem.survey, precision="float32").fit()
        print(problem.mesh, operator.plan_, sep="\n")
        found, rows = {}, []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for method, rho, seconds in estimates(problem, operator, options.seconds, options.seed):
                found[method] = rho
                rows.append([method, *judged(problem, operator, rho), f"{seconds:.3g}"])
                print(*rows[-1], sep=" | ", flush=True)
        footer = f"{processor()}; {versions('skgrav', 'numpy', 'scipy', 'torch')}"
        report(f"transfer_{name}", HEADER, rows, footer)
        np.savez_compressed(OUTPUT / f"transfer_{name}.npz", **found)
        pictures(problem, found, at, name)
        put_into("public_problems.md", f"transfer {name}", f"{markdown(HEADER, rows)}\n\n{footer}.")


if __name__ == "__main__":
    main()
