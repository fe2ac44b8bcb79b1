"""Noise and misfit that alpha="gcv" finds without a noise level.

Prints the block in a half-space of `public.py` by twenty draws of noise, with the operator
decomposed and by products alone, and seconds on grids of stations up to 100,000 data.

Usage: SKGRAV_DATA=... python benchmarks/bench_alpha.py [--draws 20] [--only-grids] [--large]
"""

import argparse
import time
import warnings

import numpy as np
from _public_problems import block
from threadpoolctl import threadpool_limits

from skgrav import ForwardOperator, Mesh, Survey, TikhonovInverter
from skgrav.inverters._damping_krylov import KrylovLeastSquares


class ByProducts(TikhonovInverter):
    """Never decomposes the operator."""

    _decomposes = False


def draws(n):
    """Print chi factors of draws of noise, relative to the noise that was added."""
    problem = block()
    sigma = problem.survey.uncertainty[0]
    survey = Survey(problem.survey.stations, problem.survey.components)
    operator = ForwardOperator(problem.mesh, survey, precision="float32", method="dense").fit()
    exact = operator.transform(problem.rho[None])
    g = exact + sigma * np.random.default_rng(0).standard_normal((n, exact.shape[1]))
    print(f"\nThe block, {n} draws, noise {sigma:g} mGal")
    print("| order | depth weighting | way | within 15 % | chi median, min, max | CPU s |")
    print("|---|---|---|---|---|---|")
    for order, weighting in ((1, "sensitivity"), (1, None), (0, "sensitivity"), (0, None)):
        for name, way in (("decomposed", TikhonovInverter), ("products", ByProducts)):
            inverter = way("gcv", order=order, depth_weighting=weighting, operator=operator)
            start = time.process_time()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = inverter.fit(g).invert(g)
            seconds = time.process_time() - start
            chi = np.mean(((g - operator.transform(found.rho)) / sigma) ** 2, axis=1)
            close = np.sum(np.abs(found.sigma / sigma - 1) < 0.15)
            print(
                f"| {order} | {weighting} | {name} | {close} of {n} "
                f"| {np.median(chi):.2f} {chi.min():.2f} {chi.max():.2f} | {seconds:.1f} |",
                flush=True,
            )


def grid(n_stations, layers):
    """Print what a grid of stations over as many columns takes."""
    mesh = Mesh.regular((layers, n_stations, n_stations), 50.0)
    survey = Survey.grid(mesh, height=25.0)
    operator = ForwardOperator(mesh, survey, method="fft").fit()
    rho = np.zeros(mesh.shape)
    a, b, c, d = (int(share * n_stations) for share in (0.3, 0.5, 0.6, 0.8))
    rho[4:10, a:b, a:c] = 300.0
    rho[6:12, c:d, b:d] = -200.0
    exact = operator.transform(rho.reshape(1, -1))
    sigma = 0.02 * np.sqrt(np.mean(exact**2))
    g = exact + sigma * np.random.default_rng(0).standard_normal(exact.shape)
    inverter = TikhonovInverter("gcv", order=1, depth_weighting="sensitivity", operator=operator)
    start = time.process_time()
    inverter.fit(g)
    assert isinstance(inverter._system, KrylovLeastSquares)
    found = inverter.invert(g)
    seconds = time.process_time() - start
    print(
        f"{operator.n_data_} data, {mesh.n_cells} cells: sigma {found.sigma[0] / sigma:.3f} of the "
        f"true one, {found.n_iter[0]} iterations, {seconds:.0f} CPU s, status {found.status[0]}",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--only-grids", action="store_true", help="leave the block out")
    parser.add_argument("--large", action="store_true", help="100,000 data as well")
    arguments = parser.parse_args()
    with threadpool_limits(1):
        if not arguments.only_grids:
            draws(arguments.draws)
        grid(100, 20)
        if arguments.large:
            grid(316, 12)


if __name__ == "__main__":
    main()
