"""Conjugate gradients for symmetric systems of one sample, free and within bounds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from skgrav._typing import Array, Mask

#: Largest number of steps, and the residual at which they stop relative to the first.
_STEPS, _TOL = 30, 0.2

#: Rounds within bounds, their steps, and how often a step is halved.
_ROUNDS, _ROUND_STEPS, _HALVINGS = 4, 12, 4

Matrix = Callable[[Array], Array]


def conjugate_gradients(
    matrix: Matrix, diagonal: Array, b: Array, x: Array, *, tol: float = _TOL
) -> Array:
    """Return x after conjugate gradients towards ``matrix(x) = b``."""
    return x + _step(matrix, diagonal, b - matrix(x), _STEPS, tol)


def bounded(
    matrix: Matrix, diagonal: Array, b: Array, x: Array, lower: Array, upper: Array
) -> Array:
    """Return x after steps towards the minimum of ``x matrix(x) / 2 - b x`` within bounds."""
    x = np.clip(x, lower, upper)
    product = matrix(x)
    cost = np.sum(x * (product / 2 - b))
    for _ in range(_ROUNDS):
        gradient = product - b
        free = ~((x <= lower) & (gradient > 0)) & ~((x >= upper) & (gradient < 0)) & (lower < upper)

        def within(p: Array, free: Mask = free) -> Array:
            return np.where(free, matrix(np.where(free, p, 0.0)), 0.0)

        step = _step(within, diagonal, np.where(free, -gradient, 0.0), _ROUND_STEPS, _TOL)
        for _ in range(_HALVINGS):
            trial = np.clip(x + step, lower, upper)
            product_ = matrix(trial)
            cost_ = np.sum(trial * (product_ / 2 - b))
            if cost_ <= cost:
                break
            step = step / 2
        else:
            break
        inside = np.array_equal(trial, x + step)
        x, product, cost = trial, product_, cost_
        if inside:
            break
    return x


def _step(matrix: Matrix, diagonal: Array, residual: Array, steps: int, tol: float) -> Array:
    """Return the solution of ``matrix(p) = residual`` by preconditioned conjugate gradients."""
    solution = np.zeros_like(residual)
    scaled = residual / diagonal
    direction, rho = scaled, np.sum(residual * scaled)
    least = tol**2 * rho
    for _ in range(steps):
        if rho <= least:
            break
        image = matrix(direction)
        length = rho / np.sum(direction * image)
        solution = solution + length * direction
        residual = residual - length * image
        scaled = residual / diagonal
        rho, last = np.sum(residual * scaled), rho
        direction = scaled + rho / last * direction
    return solution
