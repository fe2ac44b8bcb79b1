"""Compare regularised inversions of public problems with known answers, beside published results.

Usage: python benchmarks/public.py [--problem block] [--only Sparse] [--thorough]

On one thread. Problems: "block", a block in a half-space, from simpeg/validations; "bodies", two
bodies below topography, from SimPEG's user tutorials; "slab", a dipping slab and a ball, made here.
The first two need their files below the folder of the environment variable SKGRAV_DATA.
`--thorough` adds the block by five draws of noise and on halved cells.
"""

import argparse
import os
import tarfile
import time
import warnings
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from skgrav import ForwardOperator, Mesh, SparseInverter, Survey, TikhonovInverter
from skgrav.io import read_ubc_mesh, read_ubc_model, read_ubc_survey

BLOCK = "upstream/simpeg/validations/e8a2864889a20e7250ac6ecf654821ffc105fab1/assets/gravity/"
BODIES = (
    "upstream/simpeg/user-tutorials/a24c4d77d9b33648dc3b481c578eb2895b2568d5/assets/03-gravity/"
    "inv_gravity_anomaly_3d_files.tar.gz"
)


@dataclass
class Problem:
    """Data with the densities that they come from, and what others made of them."""

    mesh: Mesh
    survey: Survey
    g: np.ndarray
    rho: np.ndarray
    #: Expected lowest and highest density.
    contrast: tuple[float, float]
    #: Whether errors are weighted by volume.
    by_volume: bool
    #: Published or earlier results, as rows of the table.
    others: tuple[str, ...] = ()


def data_home():
    """Return the folder of public data."""
    if "SKGRAV_DATA" not in os.environ:
        raise SystemExit("Set SKGRAV_DATA to the folder of the public data files.")
    return Path(os.environ["SKGRAV_DATA"])


def block():
    """Return the block of 100 kg/m3 in a half-space."""
    folder = data_home() / BLOCK / "block_halfspace_gravity_inv_sparse_grav3d"
    mesh = read_ubc_mesh(folder / "mesh.txt")
    survey, g = read_ubc_survey(folder / "dobs.grv")
    others = []
    for name, file in (
        ("GRAV3D smooth", "smooth_grav3d/gzinv3d_002.den"),
        ("SimPEG smooth", "smooth_simpeg/recovered_model.den"),
        ("GRAV3D sparse", "sparse_grav3d/gzinv3d_014.den"),
        ("SimPEG sparse", "sparse_simpeg/recovered_model.den"),
    ):
        path = data_home() / BLOCK / f"block_halfspace_gravity_inv_{file}"
        others.append((f"{name} (published)", read_ubc_model(path, mesh)))
    rho = read_ubc_model(folder / "true_model.den", mesh)
    return Problem(mesh, survey, g, rho, (0.0, 100.0), False, tuple(others))


def bodies():
    """Return a block of -200 and a ball of +200 kg/m3 below topography."""
    with tarfile.open(data_home() / BODIES) as archive:
        files = {Path(m.name).name: archive.extractfile(m) for m in archive if m.isfile()}
        tables = {
            name: np.loadtxt(BytesIO(files[name].read()))
            for name in ("gravity_data.obs", "gravity_topo.txt")
        }
    data, topography = tables["gravity_data.obs"], tables["gravity_topo.txt"][:, ::-1] * [-1, 1, 1]
    g = -data[:, 3]
    stations = data[:, 2::-1] * [-1, 1, 1]
    survey = Survey(stations, ("z",), 0.02 * np.abs(g).max())
    padding = 5 * 1.3 ** np.arange(1, 6)
    side = np.r_[0, np.cumsum(np.r_[padding[::-1], np.full(40, 5.0), padding])]
    depth = topography[:, 0].min() + np.r_[0, np.cumsum(np.r_[np.full(15, 5.0), padding])]
    mesh = Mesh([depth, side - side[-1] / 2, side - side[-1] / 2])
    mesh = mesh.below(topography, survey=survey)
    z, y, x = mesh.cell_centers.T
    rho = np.zeros(mesh.n_cells)
    rho[(x > -50) & (x < -20) & (np.abs(y) < 15) & (z > -70) & (z < -50)] = -200
    rho[(x - 35) ** 2 + y**2 + (z + 60) ** 2 < 14**2] = 200
    others = (
        "| SimPEG, smooth (earlier run) | .942 | | | | | 4.7 | |",
        "| SimPEG 0.25.2, sparse (earlier run) | .802 | .99 .96 | 5 6.7 | 0 0 | | 15 | |",
    )
    return Problem(mesh, survey, g, rho, (-200.0, 200.0), True, others)


def slab(seed=1):
    """Return a dipping slab of -300 and a ball of +400 kg/m3."""
    padding = 30 * 1.35 ** np.arange(1, 6)
    sides = []
    for n in (34, 42):
        edges = np.r_[0, np.cumsum(np.r_[padding[::-1], np.full(n, 30.0), padding])]
        sides.append(edges - edges[-1] / 2)
    layers = np.r_[np.full(10, 20.0), np.full(12, 30.0), 42 * 1.4 ** np.arange(4)]
    mesh = Mesh([np.r_[0, np.cumsum(layers)], *sides])
    z, y, x = mesh.cell_centers.T
    rho = np.zeros(mesh.n_cells)
    dipping = np.abs(x + 300 - 0.8 * (z - 160)) < 75
    rho[(z > 60) & (z < 260) & (np.abs(y + 60) < 150) & dipping] = -300
    rho[(z - 330) ** 2 + (y - 90) ** 2 + (x - 270) ** 2 < 130**2] = 400
    x, y = np.meshgrid(np.linspace(-600, 600, 40), np.linspace(-480, 480, 40))
    height = -2 - 3 * np.random.default_rng(0).random(x.size)
    stations = np.column_stack([height, y.ravel(), x.ravel()])
    exact = ForwardOperator(mesh, Survey(stations, ("z",)), precision="float32", method="dense")
    g = exact.fit().transform(rho[None])[0]
    sigma = 0.02 * np.abs(g).max()
    g += sigma * np.random.default_rng(seed).standard_normal(len(g))
    others = (
        "| SimPEG 0.25.2, sparse (earlier run) | .664 | 1.01 1.06 | 22 42 | .74 0 | | 31 | |",
    )
    return Problem(mesh, Survey(stations, ("z",), sigma), g, rho, (-300.0, 400.0), False, others)


PROBLEMS = {"block": block, "bodies": bodies, "slab": slab}


def quality(problem, rho):
    """Return error, and for each sign mass, distance of centres and Dice coefficient."""
    mesh = problem.mesh
    volumes = mesh.volumes
    weights = volumes if problem.by_volume else np.ones(mesh.n_cells)
    error = np.sqrt(np.sum(weights * (rho - problem.rho) ** 2) / np.sum(weights * problem.rho**2))
    rows = []
    for sign, contrast in zip((-1, 1), problem.contrast, strict=True):
        if contrast == 0:
            continue
        found, true = (np.maximum(sign * r, 0) * volumes for r in (rho, problem.rho))
        centers = [m @ mesh.cell_centers / max(m.sum(), 1e-300) for m in (found, true)]
        body, truth = sign * rho > abs(contrast) / 2, problem.rho * sign > 0
        rows.append(
            (
                found.sum() / true.sum(),
                np.linalg.norm(centers[0] - centers[1]),
                2 * np.sum(body & truth) / (np.sum(body) + np.sum(truth)),
            )
        )
    return error, rows


def row(name, error, rows, chi="", seconds="", largest=""):
    """Return a row of the table."""
    mass, centers, dice = (" ".join(f"{r[k]:.{d}f}" for r in rows) for k, d in enumerate((2, 1, 2)))
    return f"| {name} | {error:.3f} | {mass} | {centers} | {dice} | {chi} | {seconds} | {largest} |"


def methods(problem):
    """Return inverters by name."""
    bounds = problem.contrast
    smooth = {"order": 1, "depth_weighting": "sensitivity"}
    if problem.mesh.active is None:  # first order needs the whole block here
        yield "TikhonovInverter, order 1", TikhonovInverter(**smooth)
    yield "SparseInverter", SparseInverter()
    yield "SparseInverter, axis by axis", SparseInverter(isotropic=False)
    yield "SparseInverter, contrast given", SparseInverter(contrast=bounds)
    yield "SparseInverter, bounds given", SparseInverter(bounds=bounds)


def run(inverter, operator, g):
    """Return densities, chi factor, CPU seconds and the largest density."""
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = inverter.set_params(operator=operator).fit(g[None]).invert(g[None])
    seconds = time.process_time() - start
    rho = result.rho[0]
    return rho, f"{result.chi_factor[0]:.2f}", f"{seconds:.1f}", f"{np.abs(rho).max():.0f}"


def table(name, only=None):
    """Print the table of one problem."""
    problem = PROBLEMS[name]()
    start = time.process_time()
    operator = ForwardOperator(
        problem.mesh, problem.survey, precision="float32", method="dense"
    ).fit()
    print(f"\n{name}: {problem.mesh}, {problem.survey.n_data} data; ", end="")
    print(f"the matrix took {time.process_time() - start:.1f} CPU s")
    print("| method | error | mass | centre off, m | Dice | chi | CPU s | largest |")
    print("|---|---|---|---|---|---|---|---|")
    for other in problem.others:
        text = other if isinstance(other, str) else row(other[0], *quality(problem, other[1]))
        print(text, flush=True)
    for label, inverter in methods(problem):
        if only is None or only in label:
            rho, *rest = run(inverter, operator, problem.g)
            print(row(label, *quality(problem, rho), *rest), flush=True)


def draws():
    """Print the results of the block by five draws of noise, and on halved cells."""
    problem = block()
    sigma = problem.survey.uncertainty[0]
    for name, mesh in (("given cells", problem.mesh), ("halved cells", halved(problem.mesh))):
        index = [
            np.searchsorted(e, c) - 1 for e, c in zip(problem.mesh.edges, mesh.centers, strict=True)
        ]
        rho = problem.mesh.unflatten(problem.rho)[np.ix_(*index)].ravel()
        operator = ForwardOperator(mesh, problem.survey, precision="float32", method="dense").fit()
        exact = operator.transform(rho[None])[0]
        for seed in range(5 if name == "given cells" else 1):
            g = exact + sigma * np.random.default_rng(seed).standard_normal(len(exact))
            one = Problem(mesh, problem.survey, g, rho, problem.contrast, False)
            found, *rest = run(SparseInverter(), operator, g)
            print(row(f"{name}, draw {seed}", *quality(one, found), *rest), flush=True)


def halved(mesh):
    """Return the mesh with the cells of its core halved, and padding as it is."""
    edges = []
    for e in mesh.edges:
        core = np.flatnonzero(np.isclose(np.diff(e), np.diff(e).min()))
        edges.append(np.sort(np.r_[e, (e[core] + e[core + 1]) / 2]))
    return Mesh(edges)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problem", choices=PROBLEMS, action="append")
    parser.add_argument("--only", help="part of the name of methods")
    parser.add_argument("--thorough", action="store_true", help="draws of noise and halved cells")
    arguments = parser.parse_args()
    with threadpool_limits(1):
        for name in arguments.problem or PROBLEMS:
            table(name, arguments.only)
        if arguments.thorough:
            draws()


if __name__ == "__main__":
    main()
