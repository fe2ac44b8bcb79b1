"""The mixed norm of an operator: what `SparseInverter` prepares of it, and its solutions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from scipy.spatial import KDTree

from skgrav._typing import Array, Indices, Mask
from skgrav.inverters._alpha_search import warn_open
from skgrav.inverters._damping import DampedLeastSquares
from skgrav.inverters._damping_krylov import KrylovLeastSquares
from skgrav.inverters._model_norm import ModelNorm
from skgrav.io import saved, sized
from skgrav.noise import Whitening
from skgrav.operators import CellValues, shared
from skgrav.solvers import FaceNorm, Iterations, MixedNormLeastSquares, depth_weights

#: Least weight by sensitivity relative to the largest, and the largest relative to the quantile
#: of its layer: single cells beside a station are far more sensitive than the others.
_LEAST, _QUANTILE, _MOST = 1e-3, 0.9, 3.0

#: Largest number of iterations, and tolerance, of the noise by products.
_NOISE_ITER, _NOISE_TOL = 1000, 1e-3


@saved
@dataclass(frozen=True)
class MixedNorms:
    """Powers and weights of a mixed norm, with the sensitivity and the depth of cells."""

    #: Powers and weights of densities, and of slopes along each axis, in the order of the mesh.
    norms: tuple[float, ...]
    norm_weights: tuple[float, ...]
    isotropic: bool
    weights: Array = field(metadata=sized("c"))
    #: Weights of departures alone, without their slopes.
    cell_weights: Array = field(metadata=sized("c"))
    #: Squared norms of the columns for whitened data.
    norms2: Array = field(metadata=sized("c"))
    #: Distance from the nearest station.
    depth: Array = field(metadata=sized("c"))

    @classmethod
    def of(
        cls,
        operator: Any,
        whitening: Whitening,
        norms: Sequence[float],
        norm_weights: Sequence[float],
        isotropic: bool,
        depth_weighting: float | str | None,
        cell_weights: Array | None,
    ) -> Self:
        """Prepare the norm for a fitted operator; norms are (s, x, y, z) or (s, x, z)."""
        norms2 = operator.products_.column_norms2(whitening.weights**-2)
        mesh = operator.mesh_
        if depth_weighting in (None, "sensitivity"):
            weights = _sensitivity_weights(operator, whitening)
        else:
            weights = depth_weights(operator, depth_weighting, whitening)
        return cls(
            _by_axes(norms),
            _by_axes(norm_weights),
            isotropic,
            weights / weights.max(),
            np.ones(len(weights)) if cell_weights is None else cell_weights,
            norms2,
            _depth(operator, mesh),
        )

    def solve(
        self,
        operator: Any,
        whitening: Whitening,
        white: Array,
        sigma: Array,
        choice: str | float,
        *,
        contrast: tuple[float, float] | None,
        bounds: tuple[Array | float, Array | float],
        max_iter: int,
        tol: float,
    ) -> tuple[Array, Array, Indices, Indices, Array, list[Iterations]]:
        """Return departures, damping, n_iter, status, noise and course of whitened data."""
        problem = self._problem(operator, whitening, contrast, bounds, max_iter, tol)
        alpha = None if isinstance(choice, str) else np.full(len(white), float(choice))
        if choice == "gcv":
            sigma = _cross_validated_noise(operator, whitening, white)
        # Data that are zero have no noise in their residuals, and any unit will do.
        unit = np.where(sigma > 0, sigma, 1.0)
        rho, damping, n_iter, status, courses = problem.solve(white, unit, alpha)
        return rho, damping, n_iter, status, sigma, courses

    def draws(
        self,
        operator: Any,
        whitening: Whitening,
        solved: Any,
        n_draws: int,
        rng: np.random.RandomState,
        *,
        bounds: tuple[Array | float, Array | float],
    ) -> Array:
        """Return draws of departures about those of a `Departure`, (n_samples, n_cells, n_draws).

        They are those of the Gaussian that the last reweighted squares describe.
        """
        problem = self._problem(operator, whitening, None, bounds, 1, 1.0)
        drawn = np.repeat(solved.rho[:, :, None], n_draws, axis=2)
        for k in np.flatnonzero(np.isfinite(solved.damping)):
            scales = solved.iterations[k].scales
            if scales.length > 0:
                one = solved.rho[k], solved.sigma[k] or 1.0, solved.damping[k], scales
                drawn[k] = problem.draw(*one, n_draws, rng).T
        return drawn

    def _problem(
        self,
        operator: Any,
        whitening: Whitening,
        contrast: tuple[float, float] | None,
        bounds: tuple[Array | float, Array | float],
        max_iter: int,
        tol: float,
    ) -> MixedNormLeastSquares:
        products = operator.products_
        lower, upper = (np.broadcast_to(b, len(self.weights)) for b in bounds)
        return MixedNormLeastSquares(
            lambda rho: whitening(products.forward(rho)),
            lambda d: products.adjoint(whitening.adjoint(d)),
            self.norms2,
            operator.mesh_,
            self._on(operator.mesh_),
            self.depth,
            contrast,
            lower,
            upper,
            _measured(operator),
            max_iter,
            tol,
        )

    def value(self, operator: Any, departure: Array) -> Array:
        """Return the norm of departures, (n_samples,)."""
        mesh = operator.mesh_
        norm = self._on(mesh)
        return np.array([norm.value(rho) for rho in mesh.unflatten(departure, fill=0.0)])

    def _on(self, mesh: Any) -> FaceNorm:
        """Return the norm of densities on a mesh."""
        return FaceNorm.of(
            mesh, self.weights, self.norms, self.norm_weights, self.isotropic, self.cell_weights
        )


def _by_axes(values: Sequence[float]) -> tuple[float, ...]:
    """Return values of (s, x, y, z) in the order (s, z, y, x) of the mesh."""
    first, *slopes = (float(v) for v in values)
    return (first, *slopes[::-1])


def _sensitivity_weights(operator: Any, whitening: Whitening) -> Array:
    """Return the norm of each column per volume, within limits."""
    counts = whitening.weights**-2
    known = [data for part, data in operator.parts_ if isinstance(part, CellValues)]
    if len(known) < len(operator.parts_):
        # A log tells of its own cells alone, whose weights must not differ from those beside them.
        for data in known:
            counts[data] = 0.0
    weights = np.sqrt(operator.products_.column_norms2(counts)) / operator.mesh_.volumes
    layer = np.unravel_index(operator.mesh_.cells, operator.mesh_.shape)[0]
    for k in np.unique(layer):
        cells = layer == k
        most = _MOST * np.quantile(weights[cells], _QUANTILE)
        weights[cells] = np.minimum(weights[cells], most) if most > 0 else weights[cells]
    if not weights.any():
        raise ValueError("'operator' maps every density to zero; give one with sensitivity.")
    return np.maximum(weights, _LEAST * weights.max())


def _measured(operator: Any) -> Mask:
    """Return which cells have a measured density, unless all have."""
    data = np.zeros(operator.n_data_)
    for part, own in operator.parts_:
        if isinstance(part, CellValues):
            data[own] = 1.0
    measured: Mask = operator.products_.column_norms2(data) > 0
    return measured & ~measured.all()


def _depth(operator: Any, mesh: Any) -> Array:
    """Return the distance of each cell from the nearest station, or its depth without any."""
    centers = mesh.cell_centers
    survey = getattr(operator, "survey_", None)
    surveys = [s for s, _ in getattr(operator, "surveys_", ())] or [survey]
    if surveys[0] is None:
        return np.asarray(centers[:, 0] - mesh.edges[0][0])
    distance, _ = KDTree(np.vstack([s.stations for s in surveys])).query(centers)
    return np.asarray(distance)


def _cross_validated_noise(operator: Any, whitening: Whitening, white: Array) -> Array:
    """Return the noise that cross-validation of smooth densities finds."""
    norm = ModelNorm.of(operator, 1, None, whitening)
    if not operator.is_decomposable_:
        system = KrylovLeastSquares.of(
            operator, norm, whitening, max_iter=_NOISE_ITER, tol=_NOISE_TOL
        )
        chosen, noise = system.choose("gcv", white, np.ones(len(white)))
        warn_open("gcv", chosen.is_open | ~chosen.is_settled)
        return noise

    def build() -> DampedLeastSquares:
        matrix = norm.operator_modes(whitening.matrix(operator.matrix_))
        return DampedLeastSquares.of(matrix, norm.stiffness)

    curves = shared((*operator.identity_, *whitening.key, "mixed norms"), build)
    c = curves.coordinates(white)
    return curves.noise(c, curves.search(c, "gcv"))
