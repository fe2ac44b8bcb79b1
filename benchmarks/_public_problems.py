"""Variants of the public problems, and measures of estimates as cells of tables."""

import numpy as np

from skgrav import Mesh
from skgrav.benchmarking import Problem, block, bodies, slab
from skgrav.benchmarking import measures as figures


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
    found = figures(problem, operator, rho)
    forms = {"mass": ".2f", "centre off, m": ".1f", "Dice": ".2f"}
    return [
        f"{found['error']:.4f}",
        *(", ".join(f"{v:{form}}" for v in found[name]) for name, form in forms.items()),
        f"{found['chi factor']:.2f}",
        f"{found['largest, kg/m3']:.0f}",
    ]
