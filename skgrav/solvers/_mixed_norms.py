"""Least squares with a model norm of mixed powers, by iteratively reweighted least squares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from skgrav._typing import Array, Indices, Mask
from skgrav.solvers._conjugate import bounded, conjugate_gradients
from skgrav.solvers._face_norm import FaceNorm, Scales, Stiffness
from skgrav.solvers._reweighting import Iterations, Quadratic, Reweighting

#: Tolerance and largest number of steps of a draw.
_DRAW_TOL, _DRAW_STEPS = 1e-2, 300


@dataclass(frozen=True)
class MixedNormLeastSquares:
    """Minimises ``||d - A rho||^2 / sigma^2 + alpha R(rho)`` with a `FaceNorm` R, by reweighting.

    Samples are solved one after the other: iterations amplify rounding, so that with common
    products estimates would depend on the other samples. Where alpha is not given it is chosen in
    each iteration such that the residual approaches the noise.
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
    #: Cells whose density was measured, of the active ones.
    measured: Mask
    max_iter: int
    tol: float

    def solve(
        self, d: Array, sigma: Array, alpha: Array | None = None
    ) -> tuple[Array, Array, Indices, Indices, list[Iterations]]:
        """Return densities, alphas times sigma squared, iterations, status and their courses."""
        runs = []
        for k, data in enumerate(d):
            run = Reweighting(self, data / sigma[k], sigma[k], None if alpha is None else alpha[k])
            run.solve()
            runs.append(run)
        rho = np.array([self.cells(run.rho) for run in runs])
        damping = np.array([run.beta for run in runs]) * sigma**2
        courses = [run.iterations for run in runs]
        n_iter = np.array([max(1, len(c.alpha)) for c in courses])
        return rho, damping, n_iter, np.array([run.status for run in runs]), courses

    def minimise(self, system: Quadratic, sigma: float) -> tuple[Array, float]:
        """Return the approximate minimum of a quadratic, as a block, and its chi factor."""
        sigmas, beta = np.array([sigma]), np.array([system.beta])
        faces = tuple(f[None] for f in system.stiffness.faces)
        stiffness = Stiffness(system.stiffness.cells[None], faces)
        diagonal = self._diagonal(stiffness, beta, sigmas)
        matrices = self._matrices(stiffness, beta, sigmas)
        b, rho = system.b.reshape(1, -1), system.rho.reshape(1, -1)
        if system.bounds is None:
            rho = conjugate_gradients(matrices, diagonal, b, rho)
        else:
            lower, upper = (v.reshape(1, -1) for v in system.bounds)
            rho = bounded(matrices, diagonal, b, rho, lower, upper)
        residual = self._forward(rho, sigmas)[0] - system.d
        return rho.reshape(self.mesh.shape), float(np.mean(residual**2))

    def draw(
        self,
        rho: Array,
        sigma: float,
        damping: float,
        scales: Scales,
        n_draws: int,
        rng: np.random.RandomState,
    ) -> Array:
        """Return draws from the Gaussian of the last quadratic of one sample, (n_draws, n_cells).

        `rho`, `damping` and `scales` are those of its solution. Each draw is the minimum for
        perturbed data and perturbed squares, whose covariance is the inverse of the matrix.
        """
        block = self.block(rho)
        stiffness = self.norm.reweighted(block, scales)
        beta, n_data = damping / sigma**2, self.forward(rho[None]).shape[1]
        force = np.sqrt(beta) * stiffness.sample(rng, n_draws).reshape(n_draws, -1)
        sigmas, start = np.full(n_draws, sigma), np.tile(block.ravel(), (n_draws, 1))
        force += self._adjoint(rng.standard_normal((n_draws, n_data)), sigmas)
        stiffness = Stiffness(
            np.broadcast_to(stiffness.cells, (n_draws, *block.shape)),
            tuple(np.broadcast_to(f, (n_draws, *f.shape)) for f in stiffness.faces),
        )
        matrices = self._matrices(stiffness, np.full(n_draws, beta), sigmas)
        diagonal = self._diagonal(stiffness, np.full(n_draws, beta), sigmas)
        accuracy: Any = {"tol": _DRAW_TOL, "steps": _DRAW_STEPS}
        if np.isinf(self.lower).all() and np.isinf(self.upper).all():
            drawn = start + conjugate_gradients(matrices, diagonal, force, 0 * start, **accuracy)
        else:
            shape = (n_draws, block.size)
            lower, upper = (
                np.broadcast_to(self.block(v).ravel(), shape) for v in (self.lower, self.upper)
            )
            b = force + matrices(start, np.arange(n_draws))
            drawn = bounded(matrices, diagonal, b, start, lower, upper, **accuracy)
        return drawn if self.mesh.active is None else drawn[:, self.mesh.active.ravel()]

    def _diagonal(self, stiffness: Stiffness, beta: Array, sigma: Array) -> Array:
        """Return the diagonals of the matrices of samples."""
        diagonal = self.block(self.norms2).ravel() / sigma[:, None] ** 2
        diagonal += beta[:, None] * stiffness.diagonal.reshape(len(beta), -1)
        diagonal[diagonal == 0] = 1.0  # inactive cells
        return diagonal

    def _matrices(
        self, stiffness: Stiffness, beta: Array, sigma: Array
    ) -> Callable[[Array, Indices], Array]:
        """Return the products of rows with the matrices of samples, which have leading axes."""

        def product(rho: Array, rows: Indices) -> Array:
            part = stiffness
            if len(rows) < len(beta):
                part = Stiffness(stiffness.cells[rows], tuple(f[rows] for f in stiffness.faces))
            product = part(rho.reshape(-1, *self.mesh.shape)).reshape(len(rho), -1)
            product *= beta[rows, None]
            product += self._adjoint(self._forward(rho, sigma[rows]), sigma[rows])
            return product

        return product

    def _forward(self, rho: Array, sigma: Array) -> Array:
        """Return the whitened data of rows of the block."""
        if self.mesh.active is not None:
            rho = rho[:, self.mesh.active.ravel()]
        return self.forward(rho) / sigma[:, None]

    def _adjoint(self, white: Array, sigma: Array) -> Array:
        product = self.adjoint(white / sigma[:, None])
        if self.mesh.active is None:
            return product
        blocks = np.zeros((len(white), self.mesh.active.size))
        blocks[:, self.mesh.active.ravel()] = product
        return blocks

    @cached_property
    def known(self) -> Mask:
        """Which cells have a known density, shaped as the block.

        They tell nothing of the size of densities that are looked for.
        """
        return self.block(self.measured | (self.lower == self.upper)) > 0

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
