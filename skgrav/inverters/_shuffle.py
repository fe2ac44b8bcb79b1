"""Draws with given distributions of cells, in the order of similar training sections."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from skgrav._typing import Array, Indices
from skgrav.inverters._data_posterior import DataPosterior
from skgrav.inverters._gaussian_prior import GaussianPrior
from skgrav.inverters._marginals import Marginals
from skgrav.inverters._rows import Rows
from skgrav.inverters._section_library import SectionLibrary, mirrored_cells
from skgrav.io import saved, sized
from skgrav.noise import Noise, Whitening
from skgrav.operators import BaseOperator

#: Least number of analogues, also of fewer draws, and sections of the library for each of more.
_LEAST_ANALOGUES, _SECTIONS_PER_ANALOGUE = 50, 200

#: Largest matrix of cells by data, of which several are held: 2 GB together.
_MAX_SIZE = 40_000_000

#: Largest density that is kept in the unit of densities.
_LARGEST = 10_000.0

#: Cells of an axis for each cell on either side in the windows of the guided filter.
_CELLS_PER_STEP = 20

#: Variance of an analogue in a window below which its differences are kept as they are, in mean
#: variances of the cells.
_LEAST_VARIANCE = 0.01


@saved
@dataclass(frozen=True)
class DrawnSections:
    """Sections of `skgrav.datasets.make_density_models` that files need not contain."""

    n_samples: int
    seed: int
    density_range: tuple[float, float]
    families: list[str] | None = None

    def __call__(self, operator: Any) -> Array:
        """Draw them on the mesh of an operator."""
        import skgrav  # whose data sets are above inverters

        rho: Array = skgrav.datasets.make_density_models(
            self.n_samples,
            mesh=operator.mesh_,
            families=self.families,
            density_range=self.density_range,
            random_state=self.seed,
        )
        return rho


@saved
@dataclass(frozen=True)
class Analogues:
    """Training sections, of which those with similar gravity order the draws of a network.

    The Schaake shuffle [1]_: the quantiles of each cell are put into the order of that cell in
    analogues that fit the data, so that draws have about the distribution of the network in each
    cell. A guided filter [2]_ then takes from the analogue its interfaces, and from the quantiles
    the densities on either side.

    References
    ----------
    .. [1] Clark, Gangopadhyay, Hay, Rajagopalan and Wilby (2004), The Schaake shuffle, Journal of
       Hydrometeorology 5.
    .. [2] He, Sun and Tang (2013), Guided image filtering, IEEE Transactions on Pattern Analysis
       and Machine Intelligence 35.
    """

    _file_left_out: ClassVar = {"_prepared"}

    operator: BaseOperator
    #: Densities in half precision, or how they are drawn again.
    sections: NDArray[Any] | DrawnSections = field(metadata=sized("n", "c", least="float16"))
    #: Order of the cells in mirror images, if there are any.
    cells: Indices | None = field(default=None, metadata=sized("c"))
    #: Unit of densities.
    unit: float = 1.0

    @classmethod
    def of(
        cls, operator: BaseOperator, rho: NDArray[Any], n_sections: int, *, mirrored: bool
    ) -> Analogues:
        """Keep some of the training sections, evenly chosen."""
        rows = np.linspace(0, len(rho) - 1, min(n_sections, len(rho))).astype(int)
        some = np.array(rho[rows])
        # In a unit in which they are within the range of half precision.
        unit = max(1.0, float(np.abs(some).max()) / _LARGEST)
        cells = mirrored_cells(operator) if mirrored else None
        return cls(operator, (some / unit).astype(np.float16), cells, unit)

    def for_operator(self, operator: Any) -> Analogues | None:
        """Return those for another survey, or None if they are not on its mesh."""
        own: Any = self.operator
        known, other = (
            mesh.unflatten(np.ones(mesh.n_cells)) for mesh in (own.mesh_, operator.mesh_)
        )
        same = np.array_equal(known, other, equal_nan=True)
        return replace(self, operator=operator) if same else None

    @property
    def _whitening(self) -> Whitening:
        return Noise.of(self.operator).whitening

    @cached_property
    def _prepared(self) -> tuple[Array, GaussianPrior, SectionLibrary]:
        """The matrix to whitened data, the prior of the sections, and their data."""
        operator: Any = self.operator
        n_cells, n_data = operator.n_cells_, operator.n_data_
        if n_cells * n_data > _MAX_SIZE:
            raise ValueError(
                f"'sample_y' needs matrices of {n_cells} cells by {n_data} data, of at most "
                f"{_MAX_SIZE:,} numbers. Draw for fewer stations or cells."
            )
        sections = self.sections
        if isinstance(sections, DrawnSections):
            sections = sections(self.operator).astype(np.float16)
        elif self.unit != 1.0:
            sections = np.float32(self.unit) * sections
        matrix = self._whitening.matrix(self.operator.matrix_)
        prior = GaussianPrior.of(Rows(sections, self.cells), matrix)
        return matrix, prior, SectionLibrary.of(sections, self.cells, prior, matrix)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_prepared"}

    def draws(
        self,
        g: Array,
        sigma: Array,
        marginals: Marginals,
        density_range: tuple[float, float],
        n_draws: int,
        rng: np.random.RandomState,
    ) -> Array:
        """Draw densities that fit data to their whitened noise, (n_samples, n_cells, n_draws)."""
        matrix, prior, library = self._prepared
        residual = self._whitening(g) - prior.data_mean
        posterior = DataPosterior.of(prior, matrix, residual, sigma)
        # More draws take analogues more than once, rather than some that are far from the data.
        n = max(n_draws, _LEAST_ANALOGUES)
        n_analogues = max(_LEAST_ANALOGUES, min(n, len(library) // _SECTIONS_PER_ANALOGUE))
        nearest = library.nearest(posterior, min(n_analogues, len(library)))
        p = (np.arange(n) + 0.5) / n
        found = np.empty((*marginals.weight.shape, n_draws))
        for i, indices in enumerate(nearest):
            # In random order, so that ties between them are broken at random.
            order = np.resize(rng.permutation(len(indices)), n)
            analogues = posterior.draws(i, library[indices], order, rng)
            own = marginals.of(i)
            quantiles = np.clip(own.quantiles(p)[0], *density_range)
            ranks = np.ascontiguousarray(analogues.T).argsort(axis=1)
            shuffled = np.empty_like(quantiles)
            np.put_along_axis(shuffled, ranks, quantiles, axis=1)
            least = _LEAST_VARIANCE * np.mean(own.std**2) + np.finfo(float).tiny
            filtered = self._guided(shuffled.T, analogues, least)
            found[i] = posterior.fitted(i, filtered, rng)[:n_draws].T
        return found

    def _guided(self, rho: Array, guide: Array, least_variance: float) -> Array:
        """Return densities (n, n_cells) as functions of a guide that are linear near each cell."""
        mesh = getattr(self.operator, "mesh_", None)
        if mesh is None:
            return rho
        sizes = [2 * (n // _CELLS_PER_STEP) + 1 for n in mesh.shape]
        ones = mesh.unflatten(np.ones(mesh.n_cells), fill=0.0)
        active = uniform_filter(ones, sizes, mode="constant")

        def mean(values: Array) -> Array:
            image = mesh.unflatten(values, fill=0.0)
            found = uniform_filter(image, [1, *sizes], mode="constant")
            return np.asarray(mesh.flatten(found / np.where(active > 0, active, 1.0)))

        guide_mean, rho_mean = mean(guide), mean(rho)
        covariance = mean(guide * rho) - guide_mean * rho_mean
        variance = np.maximum(mean(guide**2) - guide_mean**2, 0.0)
        slope = (covariance + least_variance) / (variance + least_variance)
        return mean(slope) * guide + mean(rho_mean - slope * guide_mean)
