"""Expected density and radius of bodies, which gravity hardly determines."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage

from skgrav._typing import Array
from skgrav.solvers._face_norm import Scales

#: Radius of a body relative to the geometric mean of its depth and of the size of cells, where no
#: contrast is given. Depth alone leaves a factor of two between bodies that are commonly sought,
#: cells alone more; that of cells tells what detail is expected. The geometric mean over the bodies
#: of benchmarks/bench_mixed_norms.py is 1.47, and their errors hardly change from 1.2 to 1.6.
_RADIUS = 1.4

#: Factor of the length that compensates for data and weights; 1 for a ball in uniform weights. It
#: has the least mean error on the same problems where their contrast is told.
_SHARPNESS = 3.5

#: Factor of the length where slopes count axis by axis, whose sum is larger than the norm.
_BY_AXES = 0.6

#: Bodies are where densities exceed this share of the largest.
_BODY = 0.25

#: Iterations until the expected size of bodies is fixed.
_SIZED = 12

#: Iterations until bounds, and contrasts of one sign, hold: from the start they would keep bodies
#: where the smooth start has them.
_BOUNDED = 8

#: Unit of departures of the sign with the lower contrast, relative to that of the other, at least.
_UNEXPECTED = 0.25

#: Largest growth of the expected density beyond the largest one.
_GROWTH = 1.2


class BodySizes:
    """Expected density and radius of bodies, which data hardly determine.

    A ball of radius r, whose density follows from its mass, has the least cost where the length is
    three times its radius, in 2D twice. The radius is a share of the depth of bodies, or follows
    from mass and contrast. The density may grow by a factor in each iteration, since bodies of the
    smooth start that counted as small would vanish.
    """

    def __init__(self, problem: Any) -> None:
        self.problem = problem
        self.expected = np.zeros(2)

    def update(self, rho: Array, i: int) -> None:
        """Take over the densities before iteration i."""
        rho = np.where(self.problem.known, 0.0, rho)
        if i <= _SIZED:
            self._estimate(rho)
        self.size = min(self.expected.max(), _GROWTH * float(np.max(np.abs(rho))))

    def scales(self, least: list[float], i: int) -> Scales:
        """Return the units of departures and slopes of iteration i; `least` counts as zero."""
        limits = self.expected * (self.size / self.expected.max())
        # Bodies of a sign that is not expected must not be cheap.
        units = np.maximum(limits, _UNEXPECTED * self.size)
        if i < _BOUNDED:
            limits = units
        return Scales(self.length, self.size, *units.tolist(), *limits.tolist(), *least)

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


def _masses_of_bodies(rho: Array, mass: Array) -> Array:
    """Return the mass of each connected body of one sign."""
    least = _BODY * np.max(np.abs(rho))
    masses = []
    for sign in (-1.0, 1.0):
        labels, n = ndimage.label(sign * rho > least)
        masses.append(np.atleast_1d(ndimage.sum(mass, labels, np.arange(1, n + 1))))
    return np.concatenate(masses)
