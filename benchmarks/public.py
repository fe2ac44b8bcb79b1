"""Regularised inversions of problems with known densities, beside SimPEG's and published ones.

    python benchmarks/public.py               # about 45 CPU minutes; fills doc/public_problems.md
    python benchmarks/public.py --thorough    # draws of noise, halved cells, SimPEG's settings
    python benchmarks/public.py --problem bodies --only sparse  # prints what is asked for

Problems: "block", a block in a half-space, from SimPEG's validations; "bodies", two bodies below
topography, from its user tutorials; "slab", a dipping slab and a ball, made here. Settings are the
same for all problems; what is told to an inversion beside data and noise is in its name. Each one
runs on one thread in a process of its own, after imports and a tiny inversion that compiles, and is
timed from the mesh to the densities. "volumes" are 3,000 models of sparse bodies of Huang et al.
(2021), inverted by methods that learn from 20,000 others, and by some that do not.
"""

import argparse
import os
import time
import warnings

import numpy as np
from _comparison_page import fill
from _public_problems import PROBLEMS, measures
from _public_volumes import CLEAN_HEADER, NOISY_HEADER, tables
from _simpeg_inversion import SPARSE, TRIED
from _simpeg_inversion import invert as invert_by_simpeg
from _timing import in_fresh_process, markdown, processor, put_into, report, versions
from threadpoolctl import threadpool_limits

from skgrav import ForwardOperator, Mesh, SparseInverter, Survey, TikhonovInverter
from skgrav.benchmarking import Problem, published

MAIN = ("block", "bodies", "slab")
VOLUMES = "volumes"

HEADER = [
    "method",
    "error",
    "mass",
    "centre off, m",
    "Dice",
    "chi factor",
    "largest, kg/m3",
    "set-up, CPU s",
    "in all, CPU s",
    "memory, MB",
]


def smooth(order):
    return TikhonovInverter(order=order, depth_weighting="sensitivity")


#: Inverters by name, as functions of the contrast of the bodies.
METHODS = {
    "smooth, order 0": lambda contrast: smooth(0),
    "smooth, order 1": lambda contrast: smooth(1),
    "smooth, order 2": lambda contrast: smooth(2),
    "compact": lambda contrast: SparseInverter(),
    "compact, axis by axis": lambda contrast: SparseInverter(isotropic=False),
    "compact, contrast given": lambda contrast: SparseInverter(contrast=contrast),
    "compact, bounds given": lambda contrast: SparseInverter(bounds=contrast),
}


def tiny():
    """Return a problem that takes no time, but compiles what is compiled."""
    mesh = Mesh.regular((4, 6, 6), 10.0)
    rho = np.zeros(mesh.shape)
    rho[1:3, 2:4, 2:4] = 500.0
    survey = Survey(Survey.grid(mesh, height=5.0).stations, "z", uncertainty=1e-3)
    g = ForwardOperator(mesh, survey).fit().transform(rho.reshape(1, -1))[0]
    return Problem(mesh, survey, g, rho.ravel(), (0.0, 500.0))


def by_skgrav(problem, method):
    """Return densities and the CPU seconds of the set-up of the operator."""
    start = time.process_time()
    # Many iterations are quicker with a matrix, few without. All compute with float32, as SimPEG.
    how = {"method": "dense"} if "compact" in method else {"method": "anywhere", "tol": 1e-4}
    operator = ForwardOperator(problem.mesh, problem.survey, precision="float32", **how).fit()
    seconds = time.process_time() - start
    inverter = METHODS[method](problem.contrast).set_params(operator=operator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return inverter.fit(problem.g[None]).predict(problem.g[None])[0], seconds


def by_simpeg(problem, variant):
    """Return densities and the CPU seconds of the set-up of the sensitivities."""
    return invert_by_simpeg(
        problem.mesh,
        problem.survey,
        problem.g,
        problem.survey.uncertainty,
        problem.contrast,
        variant,
    )


def prepared(invert, name, method):
    """Return what inverts a problem, and is measured."""
    problem = PROBLEMS[name]()
    invert(tiny(), method)
    return lambda: invert(problem, method)


def line(problem, operator, label, invert, name, method):
    """Invert in a process of its own, print and return a row of the table."""
    seconds, megabytes, (rho, setup) = in_fresh_process(prepared, invert, name, method)
    costs = [f"{setup:.3g}", f"{seconds:.3g}", f"{megabytes:.0f}"]
    row = [label, *measures(problem, operator, rho), *costs]
    print(*row, sep=" | ", flush=True)
    return row


def table(name, only=None):
    """Return the rows of the table of one problem."""
    problem = PROBLEMS[name]()
    operator = problem.operator()
    print(f"\n{name}: {problem.mesh}, {problem.survey.n_data} data", *HEADER, sep=" | ", flush=True)
    if name == "block":
        rows = [
            [label, *measures(problem, operator, rho), "", "", ""]
            for label, rho in published().items()
        ]
        for row in rows:
            print(*row, sep=" | ")
    else:
        rows = []
    runs = [("SimPEG", by_simpeg, v) for v in ("smooth", *SPARSE)]
    runs += [("skgrav", by_skgrav, m) for m in METHODS]
    for engine, invert, method in runs:
        label = f"{engine}, {method}"
        if only is None or only in label:
            rows.append(line(problem, operator, label, invert, name, method))
    return rows


def thorough():
    """Print how the block's compact inversion varies with noise and cells, and SimPEG's settings.

    The latter are those that were tried, and are not in the tables since they are no better.
    """
    for name in PROBLEMS:
        problem = PROBLEMS[name]()
        operator = problem.operator()
        if name in MAIN:
            for variant in TRIED:
                line(problem, operator, f"{name}: SimPEG, {variant}", by_simpeg, name, variant)
        else:
            line(problem, operator, f"block, {name}: skgrav, compact", by_skgrav, name, "compact")


def quicker(rows):
    """Return by how much the smooth inversion is quicker than SimPEG's, in words."""
    found = {row[0]: [float(row[k]) for k in (7, 8)] for row in rows if row[8]}
    (setup, whole), (own_setup, own) = found["SimPEG, smooth"], found["skgrav, smooth, order 1"]
    ratio, without = whole / own, (whole - setup) / max(own - own_setup, 0.1)
    return f"Smooth, SimPEG took {ratio:.0f} times as long, {without:.0f} times without set-up"


def compare_with_simpeg(name, only):
    """Invert one problem by all methods, and fill its table unless only some are asked for."""
    rows = table(name, only)
    if only is None:
        footer = (
            f"{quicker(rows)}. One thread; {processor()}; "
            f"{versions('skgrav', 'simpeg', 'choclo', 'numpy', 'scipy')}"
        )
        report(f"public_{name}", HEADER, rows, footer)
        put_into("public_problems.md", f"public {name}", f"{markdown(HEADER, rows)}\n\n{footer}.")


def compare_volumes(only):
    """Judge methods on the models of sparse bodies, and fill the tables of all of them."""
    clean, noisy = tables(only)
    if only is None:
        footer = f"One thread; {processor()}; {versions('skgrav', 'numpy', 'scipy', 'torch')}"
        report("public_volumes", CLEAN_HEADER, clean, footer)
        report("public_volumes_noise", NOISY_HEADER, noisy, footer)
        content = f"{markdown(CLEAN_HEADER, clean)}\n\n{footer}."
        put_into("public_problems.md", "public volumes", content)
        put_into("public_problems.md", "public volumes, noise", markdown(NOISY_HEADER, noisy))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problem", choices=(*MAIN, VOLUMES), action="append")
    parser.add_argument("--only", help="part of the name of methods; fills no page")
    parser.add_argument("--thorough", action="store_true")
    arguments = parser.parse_args()
    if arguments.thorough:
        thorough()
        return
    start = time.perf_counter()
    for name in arguments.problem or (*MAIN, VOLUMES):
        if name == VOLUMES:
            compare_volumes(arguments.only)
        else:
            compare_with_simpeg(name, arguments.only)
    if arguments.only is None:
        fill()
    spent = f"{sum(os.times()[:4]) / 60:.0f} CPU minutes"
    taken = f"Everything took {(time.perf_counter() - start) / 60:.0f} minutes, {spent}"
    print(f"{taken}.")
    if arguments.only is None and arguments.problem is None:
        put_into("public_problems.md", "public time", f"{taken}, one thread; {processor()}.")


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
