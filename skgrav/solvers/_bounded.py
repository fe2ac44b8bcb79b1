"""Nearest densities within bounds that fit the data, by semismooth Newton on the dual."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import numpy as np

from skgrav._typing import Array, Indices, Mask
from skgrav.solvers._feasible import misfit_bound, out_of_reach
from skgrav.solvers._status import Status

#: Bytes of temporaries that a chunk of samples may take.
_CHUNK_BYTES = 128 * 2**20

#: Damping of the first attempt, relative to the largest squared singular value.
_LEAST = 1e-20

#: Dampings by which samples that did not converge approach it, each from the last solution.
_CONTINUATION = tuple(10.0**-k for k in range(2, 21, 2))

#: From this damping on, bounds contradict data whose excess falls by less than a tenth.
_STALL = 1e-5

#: The misfit of a solution with less damping must fall by this factor for it to be taken.
_GAIN = 0.999

#: Newton steps of the first attempt.
_FIRST_STEPS = 20

#: Newton steps at each damping of the continuation; some sections of 50 x 50 cells take 150.
_MORE_STEPS = 200


@dataclass(frozen=True)
class BoundedProjection:
    """Nearest densities within bounds whose residual, in SVD coordinates, lies within a ball.

    ``min ||rho - rho0||^2 / 2`` subject to ``||d - s V^T (rho - rho0)|| <= radius`` and
    ``lower <= rho <= upper``. Samples are rows.
    """

    Vt: Array
    s: Array
    lower: float | Array
    upper: float | Array
    #: Starting densities, (n_samples, n_cells).
    rho0: Array
    #: Their residuals, (n_samples, rank).
    d: Array
    #: Largest norm of the residual, (n_samples,).
    radius: Array
    #: Tolerance of the radius and of stationarity, in units of the residual, (n_samples,).
    tolerance: Array

    def take(self, samples: Indices | Mask | slice) -> Self:
        """Return the problem of some samples."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        shared = {"Vt", "s", "lower", "upper"}
        return type(self)(**{k: v if k in shared else v[samples] for k, v in values.items()})

    def density(self, nu: Array) -> Array:
        """Return the densities ``clip(rho0 + V nu)`` of multipliers."""
        return self.nearest(self.rho0 + nu @ self.Vt)

    def nearest(self, trial: Array) -> Array:
        """Return the nearest densities within bounds."""
        return np.clip(trial, self.lower, self.upper)

    def free(self, trial: Array) -> Mask:
        """Return which densities are not at a bound."""
        return (trial > self.lower) & (trial < self.upper)

    def ball(self, p: Array) -> Array:
        """Return the damping that the constraint amounts to, at ``p = nu / s``."""
        return self.radius / np.linalg.norm(p, axis=1)

    def ball_slope(self, p: Array) -> Array:
        """Return the factor of p in the negative gradient of that damping."""
        return self.ball(p) / np.sum(p**2, axis=1)

    def residual(self, rho: Array) -> Array:
        """Return the residuals of densities."""
        return self.d - self.s * ((rho - self.rho0) @ self.Vt.T)

    def fits(self, rho: Array) -> Mask:
        """Return which residuals lie within their ball, up to the tolerance."""
        excess = np.linalg.norm(self.residual(rho), axis=1) - self.radius
        fits: Mask = excess <= np.maximum(2.0 * self.tolerance, 1e-3 * self.radius)
        return fits

    def solve(self, correction: Array) -> tuple[Array, Indices]:
        """Return densities and status; those that do not fit have nearly the least misfit.

        `correction` is the projection without bounds, in the coordinates V.
        """
        solved = [_solve(self.take(k), correction[k]) for k in chunks(self.Vt, len(self.d))]
        rho, fits = (np.concatenate(values) for values in zip(*solved, strict=True))
        status = np.where(fits, Status.REACHED, Status.MAX_ITER)
        i = np.flatnonzero(~fits)
        if i.size:
            rest, moved = self.take(i), rho[i] - self.rho0[i]
            residual = rest.residual(rho[i])
            least = misfit_bound(
                (residual * self.s) @ self.Vt,
                rest.d,
                residual,
                moved,
                self.lower - rest.rho0,
                self.upper - rest.rho0,
            )
            status[i[out_of_reach(least, rest.radius)]] = Status.BOUNDS
        return rho, status


def chunks(Vt: Array, n_samples: int) -> list[slice]:
    """Return slices of samples whose temporaries fit into _CHUNK_BYTES."""
    rank, n_cells = Vt.shape
    size = max(1, _CHUNK_BYTES // (8 * (5 * rank**2 + 10 * n_cells)))
    return [slice(i, i + size) for i in range(0, n_samples, size)]


def _solve(problem: BoundedProjection, correction: Array) -> tuple[Array, Mask]:
    rho: Array = np.clip(problem.rho0, problem.lower, problem.upper)
    fits: Mask = problem.fits(rho)
    # A projection without bounds that lies within them is the solution.
    free = problem.rho0 + correction @ problem.Vt
    inside: Mask = np.all((free >= problem.lower) & (free <= problem.upper), axis=1)
    reached: Mask = ~fits & inside & problem.fits(free)
    rho[reached] = free[reached]
    fits = fits | reached
    i = np.flatnonzero(~fits)
    if i.size:
        rest = problem.take(i)
        nu = np.where(
            np.any(correction[i], axis=1, keepdims=True), correction[i], _damped(rest, 1e-2)
        )
        nu, done = newton(rest, nu, _LEAST, max_iter=_FIRST_STEPS)
        rho[i] = rest.density(nu)
        fits[i] = done & rest.fits(rho[i])
    i = np.flatnonzero(~fits)
    if i.size:
        rho[i], fits[i] = _continue(problem.take(i))
    return rho, fits


def _continue(problem: BoundedProjection) -> tuple[Array, Mask]:
    """Lower the damping until the data are fitted or, where bounds prevent it, no longer better."""
    nu = _damped(problem, _CONTINUATION[0])
    rho = problem.density(nu)
    fits = np.zeros(len(nu), dtype=bool)
    best, last = np.full((2, len(nu)), np.inf)
    i = np.arange(len(nu))
    for alpha in _CONTINUATION:
        rest = problem.take(i)
        nu[i], done = newton(rest, nu[i], alpha, max_iter=_MORE_STEPS)
        found = rest.density(nu[i])
        size = np.linalg.norm(rest.residual(found), axis=1)
        fits[i] = done & rest.fits(found)
        # With less damping densities move far from the start, often for a negligible gain.
        better = fits[i] | (done & (size < _GAIN * best[i]))
        rho[i[better]], best[i[better]] = found[better], size[better]
        excess = size - rest.radius
        falls = (alpha > _STALL) | (excess < 0.9 * last[i])
        last[i] = excess
        i = i[done & falls & ~fits[i]]
        if not i.size:
            break
    return rho, fits


def _damped(problem: BoundedProjection, alpha: float) -> Array:
    """Return the Tikhonov correction of the clipped starts, in the coordinates V."""
    s = problem.s
    residual = problem.residual(np.clip(problem.rho0, problem.lower, problem.upper))
    return residual * s / (s**2 + alpha * s[0] ** 2)


def newton(
    problem: BoundedProjection, nu: Array, alpha: float, max_iter: int
) -> tuple[Array, Mask]:
    """Minimise the damped dual; return multipliers and which samples converged."""
    nu, s = nu.copy(), problem.s
    done = np.zeros(len(nu), dtype=bool)
    for _ in range(max_iter):
        i = np.flatnonzero(~done)
        rest = problem.take(i)
        gradient, damping = _gradient(rest, nu[i], alpha)
        # Times s, the gradient is in units of the residual, as the tolerance is.
        done[i] = np.linalg.norm(gradient * s, axis=1) <= rest.tolerance
        left = ~done[i]
        if not left.any():
            break
        i, rest = i[left], rest.take(left)
        step = _newton_step(rest, nu[i], gradient[left], damping[left])
        nu[i] += _line_search(rest, nu[i], gradient[left], step, alpha)[:, None] * step
    return nu, done


def _gradient(problem: BoundedProjection, nu: Array, alpha: float) -> tuple[Array, Array]:
    """Return the gradient of the dual and the damping, of alpha and of the ball together."""
    # At the minimum the residual is parallel to p, ``residual = damping p``, of norm radius.
    p = nu / problem.s
    damping = problem.ball(p) + alpha * problem.s[0] ** 2
    residual = problem.residual(problem.density(nu))
    return (damping[:, None] * p - residual) / problem.s, damping


def _newton_step(problem: BoundedProjection, nu: Array, gradient: Array, damping: Array) -> Array:
    s, Vt = problem.s, problem.Vt
    rank, n_cells = Vt.shape
    trial = problem.rho0 + nu @ Vt
    free = problem.free(trial)
    H = np.empty((len(nu), rank, rank))
    for k, cells in enumerate(free):
        # Rows of Vt are orthonormal, so the smaller of the two sets of cells is enough.
        if 2 * np.count_nonzero(cells) > n_cells:
            V = Vt[:, ~cells]
            H[k] = np.eye(rank) - V @ V.T
        else:
            V = Vt[:, cells]
            H[k] = V @ V.T
    # The damping of the ball falls with the norm of p: its derivative is a matrix of rank one.
    q = nu / s**2
    H -= problem.ball_slope(nu / s)[:, None, None] * q[:, :, None] * q[:, None, :]
    diagonal = np.arange(rank)
    H[:, diagonal, diagonal] += damping[:, None] / s**2
    # The diagonal spans sixteen decades and more; with a unit diagonal the condition number
    # depends only on the cells that are free.
    balance = 1.0 / np.sqrt(np.maximum(H[:, diagonal, diagonal], 1e-14))
    H *= balance[:, :, None] * balance[:, None, :]
    H[:, diagonal, diagonal] += 1e-14
    return -balance * np.linalg.solve(H, (balance * gradient)[:, :, None])[:, :, 0]


def _line_search(
    problem: BoundedProjection, nu: Array, gradient: Array, step: Array, alpha: float
) -> Array:
    """Halve steps until the convex dual does not rise at their end; return the fractions."""
    origin, along = problem.rho0 + nu @ problem.Vt, step @ problem.Vt
    slope = np.abs(np.sum(gradient * step, axis=1))
    w, s = problem.d / problem.s, problem.s
    t = np.ones(len(nu))
    # By slopes, since near the minimum values differ by less than their rounding.
    for _ in range(40):
        moved = problem.nearest(origin + t[:, None] * along) - problem.rho0
        p = (nu + t[:, None] * step) / s
        damping = problem.ball(p) + alpha * s[0] ** 2
        ahead = np.sum(moved * along, axis=1)
        ahead += np.sum((damping[:, None] * p / s - w) * step, axis=1)
        rising = ahead > 0.1 * slope
        if not rising.any():
            break
        t[rising] *= 0.5
    return t
