"""A 3D inversion from data to density, side by side with SimPEG's.

Both minimise the misfit plus beta times the sum of squares of (z + z0)^-1 rho, on the same cubes
and data with 1 % noise, down to a chi factor of 1. SimPEG has its settings for linear L2 inversions
of gravity: sensitivities in memory as float32 by the compiled engine, projected Gauss-Newton with
at most 10 CG iterations to 1e-3, beta estimated by the largest eigenvalue and divided by 5 after
each iteration, with and without its preconditioner. Here the discrepancy principle finds beta
itself, in float64 and without a matrix. Everything runs in a process of its own, after imports and
a tiny inversion that compiles.
"""

import contextlib
import io
import statistics

import numpy as np
from _peers import HEIGHT, SPACING, simpeg_simulation
from _timing import in_fresh_process, processor, report, versions
from threadpoolctl import threadpool_limits

from skgrav import ForwardOperator, Mesh, Survey, TikhonovInverter

BOTH, LARGE, TINY = (30, 60, 60), (40, 100, 100), (4, 8, 8)
NOISE, N_RUNS = 0.01, 5


def problem(shape):
    """Return a mesh, two bodies in it, stations, gravity with noise, and its uncertainty."""
    mesh = Mesh.regular(shape, SPACING)
    stations = Survey.grid(mesh, height=HEIGHT).stations
    truth = np.zeros(shape)
    for body, density in (
        (((0.20, 0.50), (0.20, 0.45), (0.25, 0.55)), 300.0),
        (((0.15, 0.40), (0.60, 0.80), (0.55, 0.80)), -200.0),
    ):
        box = tuple(slice(int(a * n), int(b * n)) for (a, b), n in zip(body, shape, strict=True))
        truth[box] = density
    clean = ForwardOperator(mesh, Survey(stations, "z")).fit().transform(truth.reshape(1, -1))
    sigma = NOISE * float(np.sqrt(np.mean(clean**2)))
    noise = sigma * np.random.default_rng(0).normal(size=clean.shape)
    return mesh, truth.ravel(), stations, clean + noise, sigma


def skgrav(shape):
    """Return what inverts with this library."""

    def run(shape=shape):
        mesh, _, stations, g, sigma = problem(shape)
        operator = ForwardOperator(mesh, Survey(stations, "z", uncertainty=sigma)).fit()
        inverter = TikhonovInverter(depth_weighting=2.0, operator=operator).fit(g)
        return inverter.predict(g)[0]

    run(TINY)
    return run


def simpeg(shape, preconditioned):
    """Return what inverts with SimPEG."""
    from simpeg import (
        data,
        data_misfit,
        directives,
        inverse_problem,
        inversion,
        maps,
        optimization,
        regularization,
        utils,
    )

    def run(shape=shape):
        mesh, _, stations, g, sigma = problem(shape)
        simulation = simpeg_simulation(mesh, Survey(stations, "z"))
        observed = data.Data(simulation.survey, dobs=-g[0], standard_deviation=sigma)
        weights = utils.depth_weighting(simulation.mesh, HEIGHT, exponent=2.0, threshold=0.0)
        norm = regularization.Smallness(simulation.mesh, mapping=maps.IdentityMap(nP=mesh.n_cells))
        norm.set_weights(depth=weights**2)  # its weights multiply squares
        steps = [
            directives.BetaEstimate_ByEig(beta0_ratio=1.0, random_seed=0),
            directives.BetaSchedule(coolingFactor=5.0, coolingRate=1),
            *([directives.UpdatePreconditioner()] if preconditioned else []),
            directives.TargetMisfit(chifact=1.0),
        ]
        optimizer = optimization.ProjectedGNCG(
            maxIter=30, maxIterLS=20, cg_maxiter=10, cg_rtol=1e-3
        )
        objective = inverse_problem.BaseInvProblem(
            data_misfit.L2DataMisfit(data=observed, simulation=simulation), norm, optimizer
        )
        with contextlib.redirect_stdout(io.StringIO()):
            found = inversion.BaseInversion(objective, steps).run(np.zeros(mesh.n_cells))
        return 1e3 * found.reshape(shape)[::-1].ravel()

    run(TINY)
    return run


def line(shape, name, runs, ours):
    """Return a line of the table from the runs of one engine, relative to the runs of ours."""
    mesh, truth, stations, g, sigma = problem(shape)
    rho = runs[0][2]
    residual = ForwardOperator(mesh, Survey(stations, "z")).fit().transform(rho[None]) - g
    cells = [" x ".join(map(str, shape[::-1])), f"{g.size:,}", name]
    for i, form in ((0, ".3g"), (1, ",.3g")):
        value, own = (statistics.median(run[i] for run in of) for of in (runs, ours))
        cells += [f"{value:{form}}", f"{value / own:.3g}"]
    chi = np.mean(residual**2) / sigma**2
    error = np.linalg.norm(rho - truth) / np.linalg.norm(truth)
    return [*cells, f"{chi:.3f}", f"{error:.4f}"]


def main():
    engines = {
        "skgrav": (skgrav,),
        "SimPEG": (simpeg, False),
        "SimPEG, preconditioned": (simpeg, True),
    }
    runs = {name: [] for name in engines}
    for _ in range(N_RUNS):
        for name, (prepare, *options) in engines.items():
            runs[name].append(in_fresh_process(prepare, BOTH, *options))
    large = [in_fresh_process(skgrav, LARGE) for _ in range(N_RUNS)]
    report(
        "inversion",
        ["cells", "data", "engine", "CPU s", "ratio", "memory, MB", "ratio", "chi factor", "error"],
        [
            *(line(BOTH, name, found, runs["skgrav"]) for name, found in runs.items()),
            line(LARGE, "skgrav", large, large),
        ],
        f"One thread, medians of {N_RUNS} alternating runs; error is the relative L2 error of the "
        f"density; {processor()}; "
        + versions("skgrav", "simpeg", "discretize", "choclo", "numba", "numpy", "scipy"),
    )


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
