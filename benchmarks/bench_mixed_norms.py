"""Measure `SparseInverter` on small problems of many kinds, on which its constants were chosen.

Usage: python benchmarks/bench_mixed_norms.py [--only PART] [--axis-by-axis] [--contrast]
       [--set NAME=VALUE] [--large] [--sections]

On one thread. `--only` is part of the name of problems; `--contrast` tells the true contrast;
`--set` changes a constant of the solver, such as `_RADIUS=1.2`. Errors are weighted by volume.
`--large` instead inverts 10,000 stations over terrain on 100 x 100 x 40 cells, and `--sections` 200
sections of 50 x 50 cells, together and one by one.
"""

import argparse
import ast
import resource
import time
import warnings
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from skgrav import ForwardOperator, Mesh, SparseInverter, Survey
from skgrav.datasets import make_gravity_dataset
from skgrav.solvers import _body_sizes, _reweighting


class Problem(NamedTuple):
    """Data with the densities that they come from."""

    operator: ForwardOperator
    g: np.ndarray
    rho: np.ndarray
    #: Volumes of cells.
    volumes: np.ndarray


def padded(n, width, n_padding=4, growth=1.4):
    """Return edges of n cells of a width, with padding on both sides, about 0."""
    padding = width * growth ** np.arange(1, n_padding + 1)
    edges = np.r_[0, np.cumsum(np.r_[padding[::-1], np.full(n, width), padding])]
    return edges - edges[-1] / 2


def downward(n, width, n_padding=3, growth=1.4):
    """Return edges of n layers of a width, with padding below."""
    return np.r_[
        0, np.cumsum(np.r_[np.full(n, width), width * growth ** np.arange(1, 1 + n_padding)])
    ]


def problem(depth, sides, bodies, noise, *, stations=None, hill=None, seed=0):
    """Return the problem of bodies, pairs of a density and a function of coordinates.

    `stations` is the spacing of stations; `hill` a function of the sides that gives the ground.
    """
    mesh = Mesh([depth, *sides])
    half = [np.abs(s[4:-4]).max() for s in sides]
    lines = [np.arange(-h + stations / 2, h, stations) for h in half]
    grid = np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1).reshape(-1, len(sides))
    rng = np.random.default_rng(seed)
    ground = np.zeros(len(grid)) if hill is None else hill(*grid.T)
    where = np.column_stack([ground - 1 - 2 * rng.random(len(grid)), grid])
    survey = Survey(where, ("z",))
    if hill is not None:
        centers = np.meshgrid(*mesh.centers[1:], indexing="ij")
        z = hill(*centers)
        topography = np.column_stack([z.ravel(), *(c.ravel() for c in centers)])
        mesh = mesh.below(topography, survey=survey)
    rho = np.zeros(mesh.n_cells)
    for density, inside in bodies:
        rho[inside(*mesh.cell_centers.T)] = density
    exact = ForwardOperator(mesh, survey, precision="float32", method="dense").fit()
    g = exact.transform(rho[None])[0]
    sigma = noise * np.abs(g).max()
    g += sigma * rng.standard_normal(len(g))
    operator = ForwardOperator(
        mesh, Survey(where, ("z",), sigma), precision="float32", method="dense"
    ).fit()
    return Problem(operator, g, rho, mesh.volumes)


def box(z, y, x):
    """Return whether points are in a box, by the ranges of its coordinates."""
    return lambda *p: np.all([(a < c) & (c < b) for (a, b), c in zip((z, y, x), p, strict=True)], 0)


def ball(z, y, x, radius):
    return lambda *p: sum((c - k) ** 2 for c, k in zip(p, (z, y, x), strict=True)) < radius**2


def block():
    """A block of 5 x 6 x 6 cells, two cells below the ground."""
    return problem(
        downward(10, 25.0),
        [padded(16, 25.0)] * 2,
        [(250, box((50, 175), (-75, 75), (-100, 50)))],
        0.02,
        stations=30.0,
    )


def deep_ball():
    """A ball of a radius of 40 % of its depth, with little noise."""
    return problem(
        downward(11, 80.0),
        [padded(15, 80.0)] * 2,
        [(-400, ball(480, 60, -40, 200))],
        0.01,
        stations=110.0,
    )


def dyke():
    """A dyke of two cells that dips to the east."""
    return problem(
        downward(12, 10.0),
        [padded(14, 10.0), padded(20, 10.0)],
        [
            (
                500,
                lambda z, y, x: (
                    (np.abs(x + 20 - 0.7 * z) < 10) & (np.abs(y) < 50) & (z > 20) & (z < 90)
                ),
            )
        ],
        0.03,
        stations=12.0,
    )


def sheet():
    """A flat sheet of two layers, broad against its depth."""
    return problem(
        downward(10, 20.0),
        [padded(18, 20.0)] * 2,
        [(-300, box((60, 100), (-120, 100), (-80, 120)))],
        0.02,
        stations=24.0,
    )


def below_hill():
    """A block and a ball of either sign below a hill."""
    return problem(
        np.r_[-40.0, -40 + downward(15, 10.0)[1:]],
        [padded(16, 10.0), padded(20, 10.0)],
        [(-250, box((0, 30), (-40, 10), (-80, -40))), (350, ball(38, 10, 40, 22))],
        0.02,
        stations=12.0,
        hill=lambda y, x: -35 * np.exp(-((y - 20) ** 2 + x**2) / 60**2),
    )


def neighbours():
    """Two bodies of one sign and different density and depth, side by side."""
    return problem(
        downward(11, 40.0),
        [padded(15, 40.0), padded(20, 40.0)],
        [
            (200, box((80, 200), (-120, 80), (-280, -80))),
            (400, box((160, 320), (-80, 80), (120, 280))),
        ],
        0.03,
        stations=50.0,
    )


def basin():
    """Sediments that reach the ground, in a section."""
    return problem(
        downward(16, 100.0),
        [padded(40, 100.0)],
        [(-350, lambda z, x: z < 900 * np.exp(-(((x + 100) / 900) ** 2)) - 150)],
        0.01,
        stations=80.0,
    )


def dipping_section():
    """A dipping dyke in a section of small cells, with much noise."""
    return problem(
        downward(24, 10.0),
        [padded(50, 10.0)],
        [(400, lambda z, x: (np.abs(x + 20 - z) < 25) & (z > 40) & (z < 150))],
        0.05,
        stations=10.0,
    )


def two_in_section():
    """Two rectangles of either sign in a section."""
    return problem(
        downward(18, 25.0),
        [padded(40, 25.0)],
        [
            (300, lambda z, x: (np.abs(x + 200) < 75) & (z > 100) & (z < 250)),
            (-200, lambda z, x: (np.abs(x - 220) < 130) & (z > 75) & (z < 175)),
        ],
        0.02,
        stations=20.0,
    )


def wide_block():
    """A block twice as wide as deep, near the ground, among cells that are large."""
    return problem(
        downward(8, 100.0),
        [padded(14, 100.0)] * 2,
        [(150, box((100, 300), (-200, 200), (-300, 200)))],
        0.02,
        stations=100.0,
    )


def step():
    """A step of the basement below a valley, in a section."""
    return problem(
        np.r_[-60.0, -60 + downward(22, 30.0)[1:]],
        [padded(44, 30.0)],
        [(300, lambda z, x: (z > 150 + 100 * (x > 60)) & (z < 450) & (np.abs(x) < 420))],
        0.02,
        stations=25.0,
        hill=lambda x: -50 * (1 - np.exp(-((x / 300) ** 2))),
    )


def small_ball():
    """A ball of a radius of a quarter of its depth, with a dense body beside it."""
    return problem(
        downward(14, 15.0),
        [padded(20, 15.0)] * 2,
        [(-500, ball(120, -40, -50, 33)), (600, box((45, 90), (30, 75), (15, 75)))],
        0.02,
        stations=20.0,
    )


PROBLEMS = (
    block,
    wide_block,
    deep_ball,
    small_ball,
    dyke,
    sheet,
    below_hill,
    neighbours,
    basin,
    step,
    dipping_section,
    two_in_section,
)


def quality(problem, rho):
    """Return error, mass of the larger sign, and its distance of centres in roots of its volume."""
    volumes = problem.volumes
    error = np.sqrt(np.sum(volumes * (rho - problem.rho) ** 2) / np.sum(volumes * problem.rho**2))
    rows = []
    for sign in (-1, 1):
        found, true = (np.maximum(sign * r, 0) * volumes for r in (rho, problem.rho))
        if true.any():
            centers = problem.operator.mesh_.cell_centers
            a, b = (m @ centers / max(m.sum(), 1e-300) for m in (found, true))
            size = volumes[true > 0].sum() ** (1 / centers.shape[1])
            rows.append((found.sum() / true.sum(), np.linalg.norm(a - b) / size))
    return error, *np.transpose(rows)


def ground(y, x):
    """Return the height of a hill, positive down."""
    return -80 * np.exp(-((y - 200) ** 2 + (x + 300) ** 2) / 800**2) - 30 * np.cos(x / 700)


def large():
    """Print the cost of an inversion of 10,000 stations on a hill and up to 400,000 cells."""
    side = np.linspace(-2500, 2500, 101)
    mesh = Mesh([np.linspace(-120, 1480, 41), side, side])
    rng = np.random.default_rng(0)
    lattice = np.meshgrid(*[np.linspace(-2450, 2450, 100)] * 2, indexing="ij")
    y, x = (c.ravel() + rng.uniform(-15, 15, c.size) for c in lattice)
    stations = np.column_stack([ground(y, x) - 2, y, x])
    y, x = (c.ravel() for c in np.meshgrid(*mesh.centers[1:], indexing="ij"))
    mesh = mesh.below(np.column_stack([ground(y, x), y, x]), survey=Survey(stations, ("z",)))
    z, y, x = mesh.cell_centers.T
    rho = np.zeros(mesh.n_cells)
    rho[box((200, 600), (200, 800), (400, 1000))(z, y, x)] = 300
    rho[ball(500, -700, -600, 350)(z, y, x)] = -250
    g = ForwardOperator(mesh, Survey(stations, ("z",))).fit().transform(rho[None])
    sigma = 0.02 * np.abs(g).max()
    g += sigma * rng.standard_normal(g.shape)
    for contrast in (None, (-250.0, 300.0)):
        start = time.process_time()
        operator = ForwardOperator(mesh, Survey(stations, ("z",), sigma))
        found = SparseInverter(contrast=contrast, operator=operator).fit(g).invert(g)
        seconds = time.process_time() - start
        one = Problem(operator.fit(), g[0], rho, mesh.volumes)
        error, mass, off = quality(one, found.rho[0])
        print(
            f"{mesh}, contrast {contrast}: error {error:.3f}, mass {mass.round(2)}, centre off "
            f"{off.round(2)}, chi {found.chi_factor[0]:.2f}, {seconds:.0f} CPU s, peak "
            f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB",
            flush=True,
        )


def sections():
    """Print the CPU seconds of many sections together and, of some, one by one."""
    data = make_gravity_dataset(200, mesh=Mesh.square(50), noise_level=0.02, random_state=0)
    g = data.data
    inverter = SparseInverter(noise_level=0.02, operator=data.operator).fit(g)
    start = time.process_time()
    inverter.predict(g)
    together = (time.process_time() - start) / len(g)
    start = time.process_time()
    for one in g[:20]:
        inverter.predict(one[None])
    alone = (time.process_time() - start) / 20
    print(f"CPU s per section: together {together:.3f}, one by one {alone:.3f}")


def measure(build, axis_by_axis, contrast):
    """Print the result of one problem; return its error."""
    one = build()
    inverter = SparseInverter(
        isotropic=not axis_by_axis,
        contrast=(one.rho.min(), one.rho.max()) if contrast else None,
        operator=one.operator,
    )
    start = time.process_time()
    found = inverter.fit(one.g[None]).invert(one.g[None])
    seconds = time.process_time() - start
    error, mass, off = quality(one, found.rho[0])
    print(
        f"| {build.__name__} | {error:.3f} | {' '.join(f'{m:.2f}' for m in mass)} | "
        f"{' '.join(f'{m:.2f}' for m in off)} | {found.chi_factor[0]:.2f} | "
        f"{found.n_iter[0]} | {found.rho.min():.0f} {found.rho.max():.0f} | {seconds:.1f} |",
        flush=True,
    )
    return error


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="part of the name of problems")
    parser.add_argument("--axis-by-axis", action="store_true")
    parser.add_argument("--contrast", action="store_true", help="tell the true contrast")
    parser.add_argument("--set", action="append", default=[], help="a constant, NAME=VALUE")
    parser.add_argument("--large", action="store_true", help="time a large problem")
    parser.add_argument("--sections", action="store_true", help="time many sections")
    arguments = parser.parse_args()
    for text in arguments.set:
        name, value = text.split("=")
        module = _body_sizes if hasattr(_body_sizes, name) else _reweighting
        getattr(module, name)
        setattr(module, name, ast.literal_eval(value))
    with threadpool_limits(1), warnings.catch_warnings():
        if arguments.large or arguments.sections:
            (large if arguments.large else sections)()
            return
        print("| problem | error | mass | centre off, sizes | chi | iterations | range | CPU s |")
        print("|---|---|---|---|---|---|---|---|")
        builds = [b for b in PROBLEMS if arguments.only in b.__name__]
        errors = [measure(b, arguments.axis_by_axis, arguments.contrast) for b in builds]
    print(f"| mean | {np.mean(errors):.4f} |")


if __name__ == "__main__":
    main()
