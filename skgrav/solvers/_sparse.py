"""Sparse departures that fit data: proximal points, by semismooth Newton on the dual."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from skgrav._typing import Array, Indices, Mask
from skgrav.solvers._bounded import BoundedProjection, chunks, newton
from skgrav.solvers._feasible import least_misfit, out_of_reach
from skgrav.solvers._status import Status

#: Threshold of the first proximal point, relative to the size of departures.
_FIRST = 0.3

#: Factors of the threshold after a proximal point that converged, and after one that did not.
_RISE, _FALL = 3.0, 0.1

#: Largest threshold, relative to the same.
_LAST = 1e5

#: Damping of Newton systems, and of the first multipliers, relative to the largest s squared.
_LEAST, _START = 1e-20, 1e-2

#: Damping where no proximal point converged, relative to the same.
_DAMPED = 1e-6

#: Largest number of Newton steps of a proximal point.
_NEWTON_STEPS = 100


@dataclass(frozen=True)
class _ProximalPoint(BoundedProjection):
    """Nearest point to `rho0` with a penalty ``threshold |u|``, within a ball or with damping."""

    #: Weight of the penalty of each sample.
    threshold: Array
    #: Damping of the misfit, 0 where its norm is bounded by a radius instead.
    damping: Array

    def nearest(self, trial: Array) -> Array:
        return np.clip(self._shrunk(trial), self.lower, self.upper)

    def free(self, trial: Array) -> Mask:
        shrunk = self._shrunk(trial)
        return (shrunk != 0) & (shrunk > self.lower) & (shrunk < self.upper)

    def ball(self, p: Array) -> Array:
        return self.damping if self.damping.any() else super().ball(p)

    def ball_slope(self, p: Array) -> Array:
        return np.zeros(len(p)) if self.damping.any() else super().ball_slope(p)

    def _shrunk(self, trial: Array) -> Array:
        t = self.threshold[:, None]
        return trial - np.clip(trial, -t, t)


@dataclass(frozen=True)
class SparseLeastSquares:
    """Minimises ``||d - s V^T u||^2 + alpha |u|``, or ``|u|`` within a ball of misfits.

    Samples are rows. Each iteration adds the squared distance from the last point, weighted less
    and less, so that its dual is smooth and has one entry per singular value.
    """

    Vt: Array
    s: Array
    #: Bounds of each cell.
    lower: Array
    upper: Array
    max_iter: int = 100
    tol: float = 1e-4

    def solve(
        self, d: Array, size: Array, *, alpha: Array | None = None, radius: Array | None = None
    ) -> tuple[Array, Array, Indices, Indices]:
        """Return departures, alphas, iterations and the status of each sample.

        Data are in the coordinates U, (n_samples, rank); `size` is the typical size of departures,
        and either `alpha` or `radius` is given, the largest norm of the misfit. Where no density
        within the bounds fits the data, departures have nearly the least misfit.
        """
        parts = [
            self._solve(d[k], size[k], _take(alpha, k), _take(radius, k))
            for k in chunks(self.Vt, len(d))
        ]
        u, found, n_iter, status = (np.concatenate(p) for p in zip(*parts, strict=True))
        return u, found, n_iter, status

    def _solve(
        self, d: Array, size: Array, alpha: Array | None, radius: Array | None
    ) -> tuple[Array, Array, Indices, Indices]:
        n = len(d)
        u = np.tile(np.clip(0.0, self.lower, self.upper), (n, 1))
        residual = d - self.s * (u @ self.Vt.T)
        nu = self._first_multipliers(residual)
        threshold, found = _FIRST * size, np.full(n, np.inf)
        n_iter = np.zeros(n, dtype=int)
        reached, converged, beyond = np.zeros((3, n), dtype=bool)
        if radius is not None:
            converged = np.linalg.norm(residual, axis=1) <= radius
            beyond = self._out_of_reach(d, radius)
        i = np.flatnonzero(~converged & ~beyond)
        for _ in range(self.max_iter):
            if not i.size:
                break
            point = self._point(d[i], u[i], threshold[i], *(_take(x, i) for x in (alpha, radius)))
            trial, done = newton(point, nu[i], _LEAST, max_iter=_NEWTON_STEPS)
            new = point.density(trial)
            n_iter[i] += 1
            if radius is not None:
                done &= point.fits(new)
            k = i[done]
            gap = self._gap(new[done] - u[k], new[done], threshold[k])
            converged[k], reached[k] = gap <= self.tol, True
            u[k], nu[k] = new[done], trial[done]
            found[k] = (2 * threshold[i] * point.ball(trial / self.s))[done]
            # A higher threshold gives the distance from the last point less weight, so that fewer
            # points suffice, but makes Newton's problem harder.
            factor = np.where(done, np.minimum(_RISE, _LAST * size[i] / threshold[i]), _FALL)
            threshold[i] *= factor
            nu[i] *= factor[:, None]  # multipliers are in units of the threshold
            i = i[~converged[i]]
        lost = np.append(i[~reached[i]], np.flatnonzero(beyond))
        if lost.size and radius is None:
            u[lost] = self._damped(d[lost], u[lost], size[lost], _take(alpha, lost))
        elif lost.size and radius is not None:
            u[lost], nearest = self._nearest(d[lost], u[lost], radius[lost])
            beyond[lost] |= nearest == Status.BOUNDS
        stopped = np.where(beyond, Status.BOUNDS, Status.MAX_ITER)
        status = np.where(converged, Status.REACHED, stopped)
        return u, found if alpha is None else alpha, np.maximum(n_iter, 1), status

    def _damped(self, d: Array, u: Array, size: Array, alpha: Array | None) -> Array:
        """Return departures with damped Newton systems, where no proximal point converged."""
        point = self._point(d, u, _FIRST * size, alpha, None)
        start = self._first_multipliers(point.d)
        return point.density(newton(point, start, _DAMPED, max_iter=_NEWTON_STEPS)[0])

    def _nearest(self, d: Array, u: Array, radius: Array) -> tuple[Array, Indices]:
        """Return the fitting departures nearest to `u`, or of least misfit, and their status.

        Where bounds determine the departures, a norm of squares serves as well.
        """
        point = self._point(d, u, np.zeros(len(d)), None, radius)
        shared = {f.name: getattr(point, f.name) for f in fields(BoundedProjection)}
        return BoundedProjection(**shared).solve(self._first_multipliers(point.d))

    def _first_multipliers(self, residual: Array) -> Array:
        return residual * self.s / (self.s**2 + _START * self.s[0] ** 2)

    def _out_of_reach(self, d: Array, radius: Array) -> Mask:
        """Return which samples cannot be fitted within the bounds."""
        if np.isneginf(self.lower).all() and np.isposinf(self.upper).all():
            return np.zeros(len(d), dtype=bool)
        matrix = self.s[:, None] * self.Vt
        _, _, least = least_misfit(matrix, d, self.lower, self.upper, radius)
        return out_of_reach(least, radius)

    def _point(
        self, d: Array, u: Array, threshold: Array, alpha: Array | None, radius: Array | None
    ) -> _ProximalPoint:
        zeros = np.zeros(len(d))
        norm = np.linalg.norm(d, axis=1)
        return _ProximalPoint(
            Vt=self.Vt,
            s=self.s,
            lower=self.lower,
            upper=self.upper,
            rho0=u,
            d=d - self.s * (u @ self.Vt.T),
            radius=zeros if radius is None else radius,
            tolerance=(1e-9 * norm if radius is None else 1e-5 * radius) + 2e-13 * norm,
            threshold=threshold,
            # The problem is scaled by threshold / alpha, which makes the penalty the threshold.
            damping=zeros if alpha is None else alpha / (2 * threshold),
        )

    @staticmethod
    def _gap(moved: Array, u: Array, threshold: Array) -> Array:
        """Return by how much the sum of departures may exceed the minimum, relatively."""
        # The step over the threshold is minus a subgradient, so the sum exceeds the minimum by at
        # most its norm times the distance to the minimiser, estimated as twice the norm of u.
        gap = 2 * np.linalg.norm(moved, axis=1) * np.linalg.norm(u, axis=1) / threshold
        total = np.sum(np.abs(u), axis=1)
        return np.divide(gap, total, out=np.zeros_like(gap), where=total > 0)


def _take(values: Array | None, i: Indices | slice) -> Array | None:
    return None if values is None else values[i]
