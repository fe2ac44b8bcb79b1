"""Projection onto the densities within bounds that fit the data, by products."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from skgrav._typing import Array, Indices
from skgrav.solvers._base import Problem, Progress
from skgrav.solvers._bounded_cg import BoundedLeastSquares
from skgrav.solvers._status import Status

#: Misfit of data without noise that counts as fitted, relative to data and start.
_EXACT = 1e-6


def project_by_products(
    problem: Problem, rho0: Array, lower: Any, upper: Any, damping: Array, first: Array
) -> tuple[Array, Progress, Indices]:
    """Return the nearest densities that fit the data, the record, and the status.

    Damped least squares within bounds whose damping is such that the misfit has its target, for
    each sample from `damping` and densities `first`; a NaN takes the largest damping.
    """
    system, d = problem.system, problem.residual
    d2 = np.sum(d**2, axis=1)
    scale = np.sqrt(problem.data2) + np.sqrt(d2)
    radius = np.maximum(np.sqrt(problem.target2), _EXACT * scale)

    def forward(u: Array) -> Array:
        return system.forward(system.model_coordinates(u))

    def adjoint(r: Array) -> Array:
        return system.model(system.adjoint(r))

    open_ = np.full(rho0.shape[1], np.inf)
    least_squares = BoundedLeastSquares(
        forward, adjoint, _unchanged, _unchanged, lower=-open_, upper=open_
    )
    rho, status = np.clip(rho0, lower, upper), np.full(len(d), Status.REACHED)
    for k in range(len(d)):
        within = replace(least_squares, lower=lower - rho0[k], upper=upper - rho0[k])
        # A projection without bounds that lies within them is the nearest.
        moved = first[k] - rho0[k]
        inside = np.all((moved >= within.lower) & (moved <= within.upper))
        if not (inside and np.linalg.norm(d[k] - forward(moved[None])[0]) <= 1.001 * radius[k]):
            found = within.solve(
                d[k : k + 1], moved[None], alpha=damping[k : k + 1], radius=radius[k : k + 1]
            )
            moved, status[k] = found[0][0], found[3][0]
        # Adding and subtracting the start may leave the bounds by rounding.
        rho[k] = np.clip(rho0[k] + moved, lower, upper)
    progress = Progress(d2, status == Status.REACHED)
    changed = np.flatnonzero((rho != rho0).any(axis=1))
    left = d[changed] - forward(rho[changed] - rho0[changed])
    progress.record(changed, np.sum(left**2, axis=1))
    return rho, progress, status


def _unchanged(u: Array) -> Array:
    return u
