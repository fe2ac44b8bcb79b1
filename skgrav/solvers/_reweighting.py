"""Iteratively reweighted least squares of one sample."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from skgrav._typing import Array
from skgrav.solvers._body_sizes import _BOUNDED, _SIZED, BodySizes
from skgrav.solvers._face_norm import Scales, Stiffness
from skgrav.solvers._status import Status

#: Alphas of the smooth start: the first relative to the misfit, and the least and largest factor
#: by which it falls.
_FIRST, _FALL = 10.0, (1.5, 4.0)

#: Length of the smooth start in cells.
_SMOOTH = 2.0

#: The noise is out of reach where this many alphas lower the chi factor by less than this share
#: each, and together by less than the last share of what it has fallen.
_STALLED, _GAIN, _OF_ALL = 3, 0.1, 0.1

#: Largest number of alphas of the smooth start.
_STARTS = 40

#: How often alpha is doubled again where the smooth start fits better than this share of the noise.
_RAISED, _OVERFITTED = 12, 0.9

#: Factor by which the magnitudes that count as zero fall, and the least, of densities and slopes,
#: relative to the largest of the smooth start.
_SHARPEN, _LEAST = 1.5, (1e-4, 1e-2)

#: Chi factors this close to one need no other alpha, and those within limits are reached: among few
#: cells it jumps when a face vanishes.
_CLOSE, _REACHED = 0.08, (0.5, 1.1)

#: Solves of an iteration, and of the last, with alphas that approach the noise, and limits of the
#: factor of alpha.
_SOLVES, _LAST_SOLVES, _FACTORS = 2, 6, (0.3, 3.0)


class Iterations(NamedTuple):
    """Course of the reweighting of one sample.

    Parameters
    ----------
    chi_factor : ndarray of shape (n_iter,)
        Mean square of the residual in units of the noise after each iteration.
    alpha : ndarray of shape (n_iter,)
        Weight of the model norm.
    change : ndarray of shape (n_iter,)
        Norm of the change of densities relative to that of the densities.
    largest : ndarray of shape (n_iter,)
        Largest magnitude of a density.
    contrast : ndarray of shape (2,)
        Expected magnitude of negative and of positive departures, as given or as estimated from
        mass, depth and cells; zero where the reference fits the data.
    scales : Scales
        Length and densities in whose units the last iteration measured departures and slopes.
    """

    chi_factor: Array
    alpha: Array
    change: Array
    largest: Array
    contrast: Array
    scales: Scales


class Quadratic(NamedTuple):
    """A misfit with weighted squares of densities and slopes, to be minimised."""

    stiffness: Stiffness
    beta: float
    #: Whitened data in units of their noise, and their product with the adjoint.
    d: Array
    b: Array
    #: The densities to start from.
    rho: Array
    bounds: tuple[Array, Array] | None


class Reweighting:
    """The inversion of one sample, in units of its noise; densities are shaped as the block."""

    def __init__(self, problem: Any, d: Array, sigma: float, alpha: float | None) -> None:
        self.problem, self.norm = problem, problem.norm
        self.d, self.sigma, self.alpha = d, sigma, alpha
        self.rho = np.zeros(problem.mesh.shape)
        self.beta, self.target, self.status = np.inf, 1.0, Status.REACHED
        self.sizes = BodySizes(problem)
        self.scales = Scales(*np.zeros(len(Scales._fields)))
        self.course: list[tuple[float, float, float, float]] = []

    @property
    def iterations(self) -> Iterations:
        """The course so far."""
        chi, alpha, change, largest = np.array(self.course).reshape(-1, 4).T
        return Iterations(chi, alpha, change, largest, self.sizes.expected, self.scales)

    def solve(self) -> None:
        """Find densities, alpha and status."""
        fixed = self.problem.lower == self.problem.upper
        if np.mean(self.d**2) <= 1 and self.alpha is None and not fixed.any():
            return
        self.b = self.problem.block(self.problem.adjoint(self.d[None])[0] / self.sigma)
        self._smooth()
        least = self._largest()
        if min(least) > 0:
            self._reweight(least)

    def _smooth(self) -> None:
        """Fit the data with squares, lowering alpha down to the noise."""
        stiffness = self.norm.quadratic(_SMOOTH * self.problem.cell_size)
        if self.alpha is not None:
            self.beta = self.alpha
            self._minimise(stiffness, -1)
            return
        self.beta = (
            _FIRST * float(self.problem.norms2.sum()) / self.sigma**2 / stiffness.diagonal.sum()
        )
        start = float(np.mean(self.d**2))
        passed: list[tuple[float, float, Array]] = []
        for _ in range(_STARTS):
            chi = self._minimise(stiffness, -1)
            if chi <= 1:
                break
            passed = [*passed, (chi, self.beta, self.rho)][-1 - _STALLED :]
            little = min((1 - (1 - _GAIN) ** _STALLED) * passed[0][0], _OF_ALL * (start - chi))
            # Of all, since the first alphas hardly fit what can be fitted, either.
            if len(passed) > _STALLED and passed[0][0] - chi < little:
                # Noise, or signal that the mesh does not explain, must not become density.
                self.target, self.beta, self.rho = passed[0]
                self.status = Status.OUT_OF_REACH
                return
            self.beta /= np.clip(chi, *_FALL)
        for _ in range(_RAISED):
            if chi >= _OVERFITTED:
                break
            self.beta *= 2
            chi = self._minimise(stiffness, -1)

    def _reweight(self, least: list[float]) -> None:
        """Reweight until densities do not change."""
        floor = [share * value for share, value in zip(_LEAST, least, strict=True)]
        for i in range(self.problem.max_iter):
            least = [max(v / _SHARPEN, f) for v, f in zip(least, floor, strict=True)]
            self.sizes.update(self.rho, i)
            self.scales = self.sizes.scales(least, i)
            stiffness = self.norm.reweighted(self.rho, self.scales)
            last = self.rho
            for _ in range(_LAST_SOLVES if i == self.problem.max_iter - 1 else _SOLVES):
                chi = self._minimise(stiffness, i)
                if self.alpha is not None:
                    break
                ratio = self.target / max(chi, 1e-12)
                self.beta *= np.clip(ratio, *_FACTORS)
                if abs(ratio - 1) < _CLOSE:
                    break
            change = np.linalg.norm(self.rho - last) / (np.linalg.norm(self.rho) or 1.0)
            largest = float(np.max(np.abs(self.rho)))
            self.course.append((chi, float(self.beta), float(change), largest))
            if change < self.problem.tol and i > _SIZED:
                break
        reached = _REACHED[0] <= chi / self.target <= _REACHED[1]
        if self.alpha is None and not reached and self.status == Status.REACHED:
            bounded_ = np.isfinite(self.problem.lower) | np.isfinite(self.problem.upper)
            held = chi > self.target and bounded_.any()
            self.status = Status.BOUNDS if held else Status.MAX_ITER

    def _minimise(self, stiffness: Stiffness, i: int) -> float:
        """Take the minimum of the misfit and squares; return the chi factor."""
        bounds = self._bounds(i)
        system = Quadratic(stiffness, self.beta, self.d, self.b, self.rho, bounds)
        self.rho, chi = self.problem.minimise(system, self.sigma)
        return chi

    def _bounds(self, i: int) -> tuple[Array, Array] | None:
        """Return the bounds of iteration i, None without any."""
        problem = self.problem
        if i < _BOUNDED:
            known = problem.lower == problem.upper
            if not known.any():
                return None
            lower = np.where(known, problem.lower, -np.inf)
            upper = np.where(known, problem.upper, np.inf)
        elif np.isneginf(problem.lower).all() and np.isposinf(problem.upper).all():
            return None
        else:
            lower, upper = problem.lower, problem.upper
        return problem.block(lower), problem.block(upper)

    def _largest(self) -> list[float]:
        """Return the largest density and slope of cells that are not known."""
        rho = np.where(self.problem.known, 0.0, self.rho)
        slopes = max(float(s.max(initial=0.0)) for s in self.norm.slopes(rho))
        return [float(np.max(np.abs(rho))), slopes]
