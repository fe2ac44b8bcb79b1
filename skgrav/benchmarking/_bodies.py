"""Problems of one survey over known bodies in 3D, and measures of estimates of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skgrav._typing import Array
from skgrav.datasets import fetch_block_halfspace, fetch_two_bodies, get_data_home
from skgrav.geometry import Mesh, Survey
from skgrav.io import read_ubc_model
from skgrav.operators import ForwardOperator

#: Path of the published results of the block below the folder of public data.
_PUBLISHED = (
    "upstream/simpeg/validations/e8a2864889a20e7250ac6ecf654821ffc105fab1/assets/gravity/"
    "block_halfspace_gravity_inv_"
)


@dataclass
class Problem:
    """Data with their true densities."""

    mesh: Mesh
    survey: Survey
    g: Array
    rho: Array
    #: Lowest and highest density of the bodies.
    contrast: tuple[float, float]
    #: Whether errors are weighted by volume.
    by_volume: bool = False

    def operator(self) -> ForwardOperator:
        """Return the operator for the misfit of all estimates, published ones included."""
        return ForwardOperator(self.mesh, self.survey, precision="float32", method="dense").fit()


def block() -> Problem:
    """Return the block of 100 kg/m3 in a half-space."""
    data = fetch_block_halfspace()
    return Problem(data.mesh, data.survey, data.data, data.density, (0.0, 100.0))


def published() -> dict[str, Array]:
    """Return published densities of the block by name, if their files are in the data home."""
    files = {
        "GRAV3D, smooth": "smooth_grav3d/gzinv3d_002.den",
        "SimPEG, smooth": "smooth_simpeg/recovered_model.den",
        "GRAV3D, sparse": "sparse_grav3d/gzinv3d_014.den",
        "SimPEG, sparse": "sparse_simpeg/recovered_model.den",
    }
    folder, mesh = Path(get_data_home()), fetch_block_halfspace().mesh
    return {
        f"{name}, as published": read_ubc_model(folder / f"{_PUBLISHED}{file}", mesh)
        for name, file in files.items()
        if (folder / f"{_PUBLISHED}{file}").exists()
    }


def bodies() -> Problem:
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


def slab(seed: int = 1) -> Problem:
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


#: Problems by name.
PROBLEMS: dict[str, Callable[[], Problem]] = {
    "block in a half-space": block,
    "two bodies below topography": bodies,
    "dipping slab and ball": slab,
}


def measures(problem: Problem, operator: ForwardOperator, rho: Array) -> dict[str, Any]:
    """Return error, masses, distances of centres, Dice coefficients, chi factor, largest density.

    Masses are relative to the true ones. Masses, distances of the centres of mass, and Dice
    coefficients of the cells above half the contrast are tuples, with the negative body first.
    """
    mesh = problem.mesh
    volumes = mesh.volumes
    weights = volumes if problem.by_volume else np.ones(mesh.n_cells)
    error = np.sqrt(np.sum(weights * (rho - problem.rho) ** 2) / np.sum(weights * problem.rho**2))
    masses, distances, dices = [], [], []
    for sign, contrast in zip((-1, 1), problem.contrast, strict=True):
        if contrast == 0:
            continue
        found, true = (np.maximum(sign * r, 0) * volumes for r in (rho, problem.rho))
        centers = [m @ mesh.cell_centers / max(m.sum(), 1e-300) for m in (found, true)]
        body, truth = sign * rho > abs(contrast) / 2, problem.rho * sign > 0
        masses.append(float(found.sum() / true.sum()))
        distances.append(float(np.linalg.norm(centers[0] - centers[1])))
        dices.append(float(2 * np.sum(body & truth) / (np.sum(body) + np.sum(truth))))
    residual = (operator.transform(rho[None])[0] - problem.g) / problem.survey.uncertainty
    return {
        "error": float(error),
        "mass": tuple(masses),
        "centre off, m": tuple(distances),
        "Dice": tuple(dices),
        "chi factor": float(np.mean(residual**2)),
        "largest, kg/m3": float(np.abs(rho).max()),
    }
