"""Conjugate gradients for symmetric systems of many samples at once, free and within bounds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from skgrav._typing import Array, Indices, Mask

#: Largest number of steps, and the residual at which they stop relative to the first.
_STEPS, _TOL = 30, 0.2

#: Rounds within bounds, their steps, and how often a step is halved.
_ROUNDS, _ROUND_STEPS, _HALVINGS = 4, 12, 4

#: Products of rows with the matrices of the samples whose numbers are given.
Matrices = Callable[[Array, Indices], Array]


def conjugate_gradients(
    matrices: Matrices,
    diagonal: Array,
    b: Array,
    x: Array,
    *,
    tol: float = _TOL,
    steps: int = _STEPS,
) -> Array:
    """Return x after conjugate gradients toward ``matrices(x) = b``, (n_samples, n) each."""
    step, _ = _step(matrices, diagonal, b - matrices(x, np.arange(len(x))), steps, tol)
    return x + step


def bounded(
    matrices: Matrices,
    diagonal: Array,
    b: Array,
    x: Array,
    lower: Array,
    upper: Array,
    *,
    tol: float = _TOL,
    steps: int = _ROUND_STEPS,
) -> Array:
    """Return x after steps toward the minimum of ``x matrices(x) / 2 - b x`` within bounds."""
    x = np.clip(x, lower, upper)
    rows = np.arange(len(x))
    product = matrices(x, rows)
    cost = _dot(x, product / 2 - b)
    for _ in range(_ROUNDS):
        here, low, high = x[rows], lower[rows], upper[rows]
        gradient = product[rows] - b[rows]
        free = ~((here <= low) & (gradient > 0)) & ~((here >= high) & (gradient < 0)) & (low < high)

        def within(p: Array, k: Indices, free: Mask = free, rows: Indices = rows) -> Array:
            return np.where(free[k], matrices(p, rows[k]), 0.0)

        step, arrived = _step(within, diagonal[rows], np.where(free, -gradient, 0.0), steps, tol)
        onward = ~arrived
        trying = np.arange(len(rows))
        for _ in range(_HALVINGS):
            wanted = here[trying] + step[trying]
            trial = np.clip(wanted, low[trying], high[trying])
            number = rows[trying]
            product_ = matrices(trial, number)
            cost_ = _dot(trial, product_ / 2 - b[number])
            lower_cost = cost_ <= cost[number]
            kept = number[lower_cost]
            x[kept], product[kept], cost[kept] = (v[lower_cost] for v in (trial, product_, cost_))
            # Where no bound was met the step was the minimum, unless steps ran out.
            onward[trying[lower_cost]] |= (trial != wanted)[lower_cost].any(axis=1)
            trying = trying[~lower_cost]
            if not len(trying):
                break
            step[trying] /= 2
        onward[trying] = False
        rows = rows[onward]
        if not len(rows):
            break
    return x


def _step(
    matrices: Matrices, diagonal: Array, residual: Array, steps: int, tol: float
) -> tuple[Array, Mask]:
    """Return the solution of ``matrices(p) = residual`` by preconditioned conjugate gradients.

    Also returns for which samples it is as accurate as `tol`.
    """
    solution = np.zeros_like(residual)
    scaled = residual / diagonal
    direction, rho = scaled, _dot(residual, scaled)
    least = tol**2 * rho
    rows = np.arange(len(residual))
    arrived = np.ones(len(residual), dtype=bool)
    for _ in range(steps):
        running = rho > least
        if not running.all():
            # Samples that have arrived drop out.
            rows, rho, least = rows[running], rho[running], least[running]
            residual, direction, diagonal = (v[running] for v in (residual, direction, diagonal))
        if not len(rows):
            break
        image = matrices(direction, rows)
        length = (rho / _dot(direction, image))[:, None]
        solution[rows] += length * direction
        residual = residual - length * image
        scaled = residual / diagonal
        rho, last = _dot(residual, scaled), rho
        direction = scaled + (rho / last)[:, None] * direction
    arrived[rows[rho > least]] = False
    return solution, arrived


def _dot(a: Array, b: Array) -> Array:
    """Return the product of each row of a with that of b."""
    return np.einsum("ij,ij->i", a, b)
