"""Least squares with a model norm of mixed powers, by iteratively reweighted least squares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage

from skgrav._typing import Array, Indices, Mask
from skgrav.solvers._conjugate import bounded, conjugate_gradients
from skgrav.solvers._face_norm import FaceNorm, Stiffness
from skgrav.solvers._status import Status

#: Alphas of the smooth start: the first relative to the misfit, and the least and largest factor
#: by which it falls.
_FIRST, _FALL = 10.0, (1.5, 4.0)

#: Length of the smooth start, as a share of the mean depth by sensitivity.
_SMOOTH = 0.3

#: The noise is out of reach where this many alphas lower the chi factor by less than this share
#: each.
_STALLED, _GAIN = 3, 0.1

#: Largest number of alphas of the smooth start.
_STARTS = 40

#: How often alpha is doubled again where the smooth start fits better than this share of the noise.
_RAISED, _OVERFITTED = 12, 0.9

#: Factor by which the magnitudes that count as zero fall, and the least, of densities and slopes,
#: relative to the largest of the smooth start.
_SHARPEN, _LEAST = 1.5, (1e-4, 1e-2)

#: Radius of a body relative to the geometric mean of its depth and of the size of cells, where no
#: contrast is given. Depth alone leaves a factor of two between bodies that are commonly sought,
#: cells alone more; that of cells tells what detail is expected.
_RADIUS = 1.4

#: Factor of the length that compensates for data and weights; 1 for a ball in uniform weights.
_SHARPNESS = 3.5

#: Factor of the length where slopes count axis by axis, whose sum is larger than the norm.
_BY_AXES = 0.6

#: Bodies are where densities exceed this share of the largest.
_BODY = 0.25

#: Iterations until the expected size of bodies is fixed, and until bounds hold that do not fix
#: a density.
_SIZED, _BOUNDED = 12, 8

#: Largest growth of the expected density beyond the largest one.
_GROWTH = 1.4

#: Iteration from which weights of densities are adapted to a contrast, the share of iterations
#: after which they are not, power and limits of the factor.
_ADAPTED, _SETTLED, _POWER, _LIMITS = 8, 0.8, 0.4, (0.85, 1.2)

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
    """

    chi_factor: Array
    alpha: Array
    change: Array
    largest: Array


@dataclass(frozen=True)
class MixedNormLeastSquares:
    """Minimises ``||d - A rho||^2 / sigma^2 + alpha R(rho)`` with a `FaceNorm` R, by reweighting.

    Samples are solved one after the other. Where alpha is not given it is chosen in each iteration
    such that the residual approaches the noise.
    """

    #: Product with densities and its adjoint, of rows of samples.
    forward: Callable[[Array], Array]
    adjoint: Callable[[Array], Array]
    #: Squared norms of the columns, (n_cells,).
    norms2: Array
    mesh: Any
    norm: FaceNorm
    #: Distance of each cell from the nearest station, (n_cells,).
    depth: Array
    #: Expected magnitude of negative and positive densities; None estimates it.
    contrast: tuple[float, float] | None
    #: Bounds of each cell; equal ones fix it.
    lower: Array
    upper: Array
    max_iter: int
    tol: float

    def solve(
        self, d: Array, sigma: Array, alpha: Array | None = None
    ) -> tuple[Array, Array, Indices, Indices, list[Iterations]]:
        """Return densities, alphas times sigma squared, iterations, status and their courses."""
        runs = []
        for k in range(len(d)):
            run = _Run(self, d[k] / sigma[k], sigma[k], None if alpha is None else alpha[k])
            runs.append(run.solve())
        rho, alphas, status, courses = map(list, zip(*runs, strict=True))
        n_iter = np.array([max(1, len(c.alpha)) for c in courses])
        return np.array(rho), np.array(alphas) * sigma**2, n_iter, np.array(status), courses

    @cached_property
    def fixed(self) -> Mask:
        """Which cells have a known density, shaped as the block."""
        return self.block(self.lower == self.upper) > 0

    @cached_property
    def depths(self) -> Array:
        return self.block(self.depth)

    @cached_property
    def cell_size(self) -> float:
        """Geometric mean of the median widths along the axes."""
        return float(np.exp(np.mean([np.log(np.median(w)) for w in self.mesh.widths])))

    @cached_property
    def volumes(self) -> Array:
        return self.block(self.mesh.volumes)

    def block(self, values: Array) -> Array:
        """Return values of the active cells as a block, 0 in the others."""
        if self.mesh.active is None:
            return np.asarray(values, dtype=float).reshape(self.mesh.shape)
        block = np.zeros(self.mesh.shape)
        block[self.mesh.active] = values
        return block

    def cells(self, block: Array) -> Array:
        """Return the values of the active cells of a block."""
        return block.ravel() if self.mesh.active is None else block[self.mesh.active]


#: Chi factor, alpha, change and largest density of each iteration.
Course = list[tuple[float, float, float, float]]


class _Run:
    """The inversion of one sample, in units of its noise; densities are shaped as the block."""

    def __init__(
        self, problem: MixedNormLeastSquares, d: Array, sigma: float, alpha: float | None
    ) -> None:
        self.problem, self.norm = problem, problem.norm
        self.d, self.sigma, self.alpha = d, sigma, alpha
        self.b = self._adjoint(d)
        self.norms2 = problem.block(problem.norms2) / sigma**2
        self.rho = np.zeros(problem.mesh.shape)
        self.target, self.status = 1.0, Status.REACHED
        self.sizes = _Sizes(problem)

    def solve(self) -> tuple[Array, float, Status, Iterations]:
        """Return densities, alpha, status and the course of the iteration."""
        course: Course = []
        chi = float(np.mean(self.d**2))
        if chi > 1 or self.alpha is not None or self.problem.fixed.any():
            self._smooth()
            least = self._largest()
            if min(least) > 0:
                chi = self._reweight(least, course)
        else:
            self.beta = np.inf
        rho = self.problem.cells(self.rho)
        return rho, self.beta, self.status, Iterations(*np.array(course).reshape(-1, 4).T)

    def _smooth(self) -> None:
        """Fit the data with squares, lowering alpha down to the noise."""
        share = self.problem.volumes * self.norms2
        length = _SMOOTH * float(np.sum(share * self.problem.depths) / np.sum(share))
        stiffness = self.norm.quadratic(length)
        first = _FIRST * float(self.norms2.sum() / stiffness.diagonal.sum())
        self.beta = first if self.alpha is None else self.alpha
        if self.alpha is not None:
            self._minimise(stiffness, -1)
            return
        passed: list[tuple[float, float, Array]] = []
        for _ in range(_STARTS):
            chi = self._minimise(stiffness, -1)
            if chi <= 1:
                break
            passed = [*passed, (chi, self.beta, self.rho)][-1 - _STALLED :]
            if len(passed) > _STALLED and chi > (1 - _GAIN) ** _STALLED * passed[0][0]:
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

    def _reweight(self, least: list[float], course: Course) -> float:
        """Reweight until densities do not change; return the chi factor."""
        floor = [share * value for share, value in zip(_LEAST, least, strict=True)]
        for i in range(self.problem.max_iter):
            least = [max(v / _SHARPEN, f) for v, f in zip(least, floor, strict=True)]
            self.sizes.update(self.rho, i)
            stiffness = self.norm.reweighted(
                self.rho,
                self.sizes.length,
                self.sizes.size,
                self.sizes.of_cells(self.rho),
                (least[0], least[1]),
            )
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
            course.append((chi, float(self.beta), float(change), largest))
            if change < self.problem.tol and i > _SIZED and not self.sizes.adapts(i):
                break
        reached = _REACHED[0] <= chi / self.target <= _REACHED[1]
        if self.alpha is None and not reached and self.status == Status.REACHED:
            bounded_ = np.isfinite(self.problem.lower) | np.isfinite(self.problem.upper)
            held = chi > self.target and bounded_.any()
            self.status = Status.BOUNDS if held else Status.MAX_ITER
        return chi

    def _minimise(self, stiffness: Stiffness, i: int) -> float:
        """Minimise the misfit and squares from the last densities; return the chi factor."""

        def matrix(rho: Array) -> Array:
            return self._adjoint(self._forward(rho)) + self.beta * stiffness(rho)

        diagonal = self.norms2 + self.beta * stiffness.diagonal
        diagonal[diagonal == 0] = 1.0  # inactive cells
        bounds = self._bounds(i)
        if bounds is None:
            self.rho = conjugate_gradients(matrix, diagonal, self.b, self.rho)
        else:
            self.rho = bounded(matrix, diagonal, self.b, self.rho, *bounds)
        return float(np.mean((self._forward(self.rho) - self.d) ** 2))

    def _bounds(self, i: int) -> tuple[Array, Array] | None:
        """Return the bounds of iteration i, None without any."""
        problem = self.problem
        if i < _BOUNDED:
            # Bounds that are tight from the start keep bodies where the smooth start has them.
            if not problem.fixed.any():
                return None
            known = problem.lower == problem.upper
            lower = np.where(known, problem.lower, -np.inf)
            upper = np.where(known, problem.upper, np.inf)
        elif np.isneginf(problem.lower).all() and np.isposinf(problem.upper).all():
            return None
        else:
            lower, upper = problem.lower, problem.upper
        return problem.block(lower), problem.block(upper)

    def _largest(self) -> list[float]:
        """Return the largest density and slope of cells that are not known."""
        rho = np.where(self.problem.fixed, 0.0, self.rho)
        slopes = max(float(s.max(initial=0.0)) for s in self.norm.slopes(rho))
        return [float(np.max(np.abs(rho))), slopes]

    def _forward(self, rho: Array) -> Array:
        return self.problem.forward(self.problem.cells(rho)[None])[0] / self.sigma

    def _adjoint(self, white: Array) -> Array:
        return self.problem.block(self.problem.adjoint(white[None])[0] / self.sigma)


class _Sizes:
    """Expected density and radius of bodies, which data hardly determine.

    A ball of radius r, whose density follows from its mass, has the least cost where the length is
    three times its radius, in 2D twice. The radius is a share of the depth of bodies, or follows
    from mass and contrast. The density may grow by a factor in each iteration, since bodies of the
    smooth start that counted as small would vanish.
    """

    def __init__(self, problem: MixedNormLeastSquares) -> None:
        self.problem = problem
        self.factors = np.ones(2)
        self.last = np.zeros(2)

    def update(self, rho: Array, i: int) -> None:
        """Take over the densities before iteration i."""
        rho = np.where(self.problem.fixed, 0.0, rho)
        self.largest = np.array([max(-rho.min(), 0.0), max(rho.max(), 0.0)])
        if i <= _SIZED:
            self._estimate(rho)
        self.size = min(self.expected.max(), _GROWTH * self.largest.max())
        if i >= _ADAPTED and self.adapts(i):
            self._adapt()
        self.last = self.largest

    def adapts(self, i: int) -> bool:
        """Return whether weights are adapted to a contrast in iteration i or later."""
        return self.problem.contrast is not None and i < _SETTLED * self.problem.max_iter

    def of_cells(self, rho: Array) -> Array:
        """Return the expected density of each cell, by its sign."""
        negative, positive = self.expected * (self.size / self.expected.max()) * self.factors
        return np.where(rho < 0, negative, positive)

    def _estimate(self, rho: Array) -> None:
        problem, ndim = self.problem, self.problem.mesh.ndim
        mass = np.abs(rho) * problem.volumes
        bodies = _masses_of_bodies(rho, mass)
        n_bodies = 1.0 / np.sum((bodies / bodies.sum()) ** 2)
        ball = mass.sum() / n_bodies / (4 / 3 * np.pi if ndim == 3 else np.pi)
        if problem.contrast is None:
            body = np.where(np.abs(rho) > _BODY * np.max(np.abs(rho)), mass, 0.0)
            depth = np.sum(body * problem.depths) / np.sum(body)
            radius = _RADIUS * np.sqrt(depth * problem.cell_size)
            self.expected = np.full(2, ball / radius**ndim)
        else:
            self.expected = np.array(problem.contrast, dtype=float)
            radius = (ball / self.expected.max()) ** (1 / ndim)
        share = 1.0 if problem.norm.isotropic else _BY_AXES
        self.length = float(share * ndim * radius / _SHARPNESS)

    def _adapt(self) -> None:
        """Raise the weight of densities where bodies stay below their contrast, or lower it."""
        ratio = self.expected / np.maximum(self.largest, 1e-3 * self.size)
        # Not while they grow by themselves.
        growing = (ratio > 1) & (self.largest > 1.05 * self.last)
        step = np.clip(ratio**_POWER, *_LIMITS)
        self.factors = self.factors * np.where(growing, 1.0, step)


def _masses_of_bodies(rho: Array, mass: Array) -> Array:
    """Return the mass of each connected body of one sign."""
    least = _BODY * np.max(np.abs(rho))
    masses = []
    for sign in (-1.0, 1.0):
        labels, n = ndimage.label(sign * rho > least)
        masses.append(np.atleast_1d(ndimage.sum(mass, labels, np.arange(1, n + 1))))
    return np.concatenate(masses)
