"""Powers of densities and of their slopes, summed over the cells and faces of a mesh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np

from skgrav._typing import Array


class Scales(NamedTuple):
    """Units of departures and slopes.

    Parameters
    ----------
    length : float
        Length that multiplies slopes.
    size : float
        Density of bodies, in whose units slopes times the length count.
    negative, positive : float
        Densities in whose units negative and positive departures count.
    lowest, highest : float
        Magnitudes of negative and positive departures beyond which they count as squares.
    least_density, least_slope : float
        Magnitudes below which densities and slopes count as zero.
    """

    length: float
    size: float
    negative: float
    positive: float
    lowest: float
    highest: float
    least_density: float
    least_slope: float


@dataclass(frozen=True)
class Stiffness:
    """Matrix of a sum of weighted squares of densities, and of differences over faces.

    All arrays may have one more, leading axis of samples.
    """

    #: Weights of cells, shaped as the block of the mesh.
    cells: Array
    #: Weights of the faces across each axis.
    faces: tuple[Array, ...]

    def __call__(self, rho: Array) -> Array:
        """Return the product with densities of the block."""
        product = self.cells * rho
        for axis, weights in enumerate(self.faces, start=rho.ndim - len(self.faces)):
            low, high = _sides(axis, rho.ndim)
            flow = weights * (rho[high] - rho[low])
            product[low] -= flow
            product[high] += flow
        return product

    @property
    def diagonal(self) -> Array:
        """Diagonal of the matrix, shaped as the block."""
        diagonal = self.cells.copy()
        for axis, weights in enumerate(self.faces, start=diagonal.ndim - len(self.faces)):
            low, high = _sides(axis, diagonal.ndim)
            diagonal[low] += weights
            diagonal[high] += weights
        return diagonal

    def sample(self, rng: np.random.RandomState, n: int) -> Array:
        """Return n vectors of zero mean whose covariance is the matrix, shaped as the block."""
        drawn = np.sqrt(self.cells) * rng.standard_normal((n, *self.cells.shape))
        for axis, weights in enumerate(self.faces, start=1):
            low, high = _sides(axis, drawn.ndim)
            flow = np.sqrt(weights) * rng.standard_normal((n, *weights.shape))
            drawn[low] -= flow
            drawn[high] += flow
        return drawn


@dataclass(frozen=True)
class FaceNorm:
    """Sum over cells of densities to a power, and over faces of their slopes to others.

    Faces have the mean weight and the mean volume of their two cells. Those to inactive cells and
    to the outside of the mesh do not count, so that densities are free there. All arrays are
    shaped as the block of the mesh, with zeros in inactive cells.
    """

    #: Weight of each cell, which includes its volume relative to the mean.
    cells: Array
    #: Weights of the faces across each axis.
    faces: tuple[Array, ...]
    #: One over the distance of the centres of the two cells of a face, 0 where it does not count.
    steps: tuple[Array, ...]
    #: Powers of densities and of slopes along each axis.
    norms: tuple[float, ...]
    #: Whether the slope of a face is the norm of the gradient.
    isotropic: bool

    @classmethod
    def of(
        cls,
        mesh: Any,
        weights: Array,
        norms: Sequence[float],
        norm_weights: Sequence[float],
        isotropic: bool,
        cell_weights: Array | float = 1.0,
    ) -> Self:
        """Build the norm; `norms` and `norm_weights` are those of cells, then along each axis.

        `weights` are those of cells and, as means of two cells, of faces; `cell_weights` multiply
        those of cells alone.
        """
        active = np.ones(mesh.shape, dtype=bool) if mesh.active is None else mesh.active
        volumes = mesh.unflatten(mesh.volumes / mesh.volumes.mean(), fill=0.0)
        cells = mesh.unflatten(weights, fill=0.0)
        faces, steps = [], []
        for axis, centers in enumerate(mesh.centers):
            low, high = _sides(axis, mesh.ndim)
            share = (volumes[low] + volumes[high]) * (cells[low] + cells[high]) / 4
            distance = np.diff(centers).reshape([-1 if k == axis else 1 for k in range(mesh.ndim)])
            counts = active[low] & active[high]
            faces.append(norm_weights[1 + axis] * np.where(counts, share, 0.0))
            steps.append(np.where(counts, 1.0 / distance, 0.0))
        cells = norm_weights[0] * volumes * mesh.unflatten(weights * cell_weights, fill=0.0)
        return cls(cells, tuple(faces), tuple(steps), tuple(norms), isotropic)

    def quadratic(self, length: float) -> Stiffness:
        """Return the matrix of squared densities and of squared slopes times a length."""
        pairs = zip(self.faces, self.steps, strict=True)
        return Stiffness(self.cells, tuple(f * (length * s) ** 2 for f, s in pairs))

    def reweighted(self, rho: Array, scales: Scales) -> Stiffness:
        """Return the matrix whose squares are the powers at densities `rho`.

        Densities, and slopes times the length, count as the power of their magnitude in units of
        the density of bodies: so a body of that density with sharp edges costs the same at any
        power, and that of slopes grows with the length for power 1.
        """
        p, length, size = self.norms[0], scales.length, scales.size
        sizes = np.where(rho < 0, scales.negative, scales.positive)
        cells = self.cells * sizes ** (2 - p) * (rho**2 + scales.least_density**2) ** (p / 2 - 1)
        # Beyond their size densities cost as squares again, which keeps bodies from shrinking.
        limits = np.where(rho < 0, scales.lowest, scales.highest)
        cells *= np.maximum(np.abs(rho) / limits, 1.0) ** (2 - p)
        faces = []
        slopes = self.slopes(rho)
        for p, weights, step, slope in zip(
            self.norms[1:], self.faces, self.steps, slopes, strict=True
        ):
            power = size ** (2 - p) * (slope**2 + scales.least_slope**2) ** (p / 2 - 1)
            faces.append(length**p * weights * step**2 * power)
        return Stiffness(cells, tuple(faces))

    def slopes(self, rho: Array) -> list[Array]:
        """Return the magnitude of the slope at each face across each axis, per metre."""
        differences = [step * np.diff(rho, axis=axis) for axis, step in enumerate(self.steps)]
        if not self.isotropic:
            return [np.abs(d) for d in differences]
        # The norm of the gradient: squares averaged from faces to cells, summed, and back.
        gradient2 = np.zeros(rho.shape)
        for axis, (difference, step) in enumerate(zip(differences, self.steps, strict=True)):
            low, high = _sides(axis, rho.ndim)
            total, count = np.zeros(rho.shape), np.zeros(rho.shape)
            for side in (low, high):
                total[side] += difference**2
                count[side] += step > 0
            gradient2 += total / np.maximum(count, 1.0)
        slopes = []
        for axis, step in enumerate(self.steps):
            low, high = _sides(axis, rho.ndim)
            slopes.append(np.sqrt((gradient2[low] + gradient2[high]) / 2) * (step > 0))
        return slopes

    def value(self, rho: Array, length: float = 1.0) -> float:
        """Return the sum of powers, with densities and slopes of 1 per cent of the largest as 0."""
        total = 0.0
        values = [np.abs(rho), *(length * s for s in self.slopes(rho))]
        weights = [self.cells, *self.faces]
        for p, value, weight in zip(self.norms, values, weights, strict=True):
            counts = value > 0.01 * value.max(initial=0.0)
            total += float(np.sum(weight[counts] * value[counts] ** p))
        return total


def _sides(axis: int, ndim: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return the index of the cells below, and of those above, the faces across an axis."""
    low, high = ([slice(None)] * ndim for _ in range(2))
    low[axis], high[axis] = slice(None, -1), slice(1, None)
    return tuple(low), tuple(high)
