"""Problems with known densities, what others published about them, and measures of estimates."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skgrav import ForwardOperator, Mesh, Survey
from skgrav.datasets import fetch_block_halfspace, fetch_two_bodies, get_data_home
from skgrav.io import read_ubc_model

#: Where the results published with the block lie below the folder of public data.
PUBLISHED = (
    "upstream/simpeg/validations/e8a2864889a20e7250ac6ecf654821ffc105fab1/assets/gravity/"
    "block_halfspace_gravity_inv_"
)


@dataclass
class Problem:
    """Data with the densities that they come from."""

    mesh: Mesh
    survey: Survey
    g: np.ndarray
    rho: np.ndarray
    #: Lowest and highest density of the bodies.
    contrast: tuple[float, float]
    #: Whether errors are weighted by volume.
    by_volume: bool = False

    def operator(self):
        """Return the operator by which all estimates are judged, published ones, too."""
        return ForwardOperator(self.mesh, self.survey, precision="float32", method="dense").fit()


def block():
    """Return the block of 100 kg/m3 in a half-space."""
    data = fetch_block_halfspace()
    return Problem(data.mesh, data.survey, data.data, data.density, (0.0, 100.0))


def published():
    """Return published densities of the block by name."""
    files = {
        "GRAV3D, smooth": "smooth_grav3d/gzinv3d_002.den",
        "SimPEG, smooth": "smooth_simpeg/recovered_model.den",
        "GRAV3D, sparse": "sparse_grav3d/gzinv3d_014.den",
        "SimPEG, sparse": "sparse_simpeg/recovered_model.den",
    }
    folder, mesh = Path(get_data_home()), fetch_block_halfspace().mesh
    return {
        f"{name}, as published": read_ubc_model(folder / f"{PUBLISHED}{file}", mesh)
        for name, file in files.items()
        if (folder / f"{PUBLISHED}{file}").exists()
    }


def bodies():
    """Return a block of -200 and a ball of 200 kg/m3 below topography, on the tutorial's mesh."""
    data = fetch_two_bodies()
    padding = 5 * 1.3 ** np.arange(1, 6)
    side = np.r_[0, np.cumsum(np.r_[padding[::-1], np.full(40, 5.0), padding])]
    top = data.topography[:, 0].min()
    depth = top + np.r_[0, np.cumsum(np.r_[np.full(15, 5.0), padding])]
    mesh = Mesh([depth, side - side[-1] / 2, side - side[-1] / 2])
    mesh = mesh.below(data.topography, survey=data.survey)
    rho = data.true_model(mesh)
    return Problem(mesh, data.survey, data.data, rho, (-200.0, 200.0), by_volume=True)


def slab(seed=1):
    """Return a dipping slab of -300 and a ball of 400 kg/m3."""
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
    return Problem(mesh, Survey(stations, ("z",), sigma), g, rho, (-300.0, 400.0))


def halved(mesh):
    """Return the mesh with the cells of its core halved, and padding as it is."""
    edges = []
    for e in mesh.edges:
        core = np.flatnonzero(np.isclose(np.diff(e), np.diff(e).min()))
        edges.append(np.sort(np.r_[e, (e[core] + e[core + 1]) / 2]))
    return Mesh(edges)


def drawn(seed, halves=False):
    """Return the block with another draw of its noise, on its own cells or on halved ones."""
    given = block()
    mesh = halved(given.mesh) if halves else given.mesh
    index = [np.searchsorted(e, c) - 1 for e, c in zip(given.mesh.edges, mesh.centers, strict=True)]
    rho = given.mesh.unflatten(given.rho)[np.ix_(*index)].ravel()
    problem = Problem(mesh, given.survey, given.g, rho, given.contrast)
    noise = given.survey.uncertainty * np.random.default_rng(seed).standard_normal(len(given.g))
    problem.g = problem.operator().transform(rho[None])[0] + noise
    return problem


PROBLEMS = {
    "block": block,
    "bodies": bodies,
    "slab": slab,
    **{f"draw {seed}": lambda seed=seed: drawn(seed) for seed in range(5)},
    "halved cells": lambda: drawn(0, halves=True),
}


def measures(problem, operator, rho):
    """Return cells of a table: error, mass, distance of centres, Dice, chi factor, largest density.

    Mass is relative to the truth's, and those of two signs stand side by side, as do the distances
    of the centres of mass and the Dice coefficients of what exceeds half the contrast.
    """
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
                f"{found.sum() / true.sum():.2f}",
                f"{np.linalg.norm(centers[0] - centers[1]):.1f}",
                f"{2 * np.sum(body & truth) / (np.sum(body) + np.sum(truth)):.2f}",
            )
        )
    residual = (operator.transform(rho[None])[0] - problem.g) / problem.survey.uncertainty
    return [
        f"{error:.4f}",
        *(", ".join(column) for column in zip(*rows, strict=True)),
        f"{np.mean(residual**2):.2f}",
        f"{np.abs(rho).max():.0f}",
    ]
