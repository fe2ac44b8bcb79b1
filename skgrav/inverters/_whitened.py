"""Whitened data and errors of the linear estimate: the encoding of the residual network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils.extmath import randomized_svd
from skorch.callbacks import GradientNormClipping
from torch import nn

from skgrav._typing import Array, Array32
from skgrav.inverters._encoding import Numbers, TrainingDefaults, no_mirror
from skgrav.inverters._gaussian_prior import GaussianPrior
from skgrav.inverters._linear_encoding import (
    LinearEncoding,
    constant_part,
    operator_of_pairs,
    typical_rms,
)
from skgrav.inverters._marginals import Marginals
from skgrav.inverters._rows import Encoded, Rows
from skgrav.inverters._typicality import N_USED, Typicality
from skgrav.io import saved, sized
from skgrav.networks import NullSpaceNetwork, RelativeLoss, ResidualMLP, fast_physics
from skgrav.noise import Noise
from skgrav.operators import (
    BaseOperator,
    CellValues,
    ForwardOperator,
    JointOperator,
)
from skgrav.solvers import DataSpace, Projection
from skgrav.training import LEAST_NOISE, Mirror, OneCycle, TrainingNet, draw_levels

#: Sections from which components are learned.
_N_COMPONENT_SECTIONS = 10_000

#: Standard deviation of constant data, so that it can be divided by.
_NO_STD = 1e-30


@saved
@dataclass(frozen=True, kw_only=True)
class WhitenedEncoding(LinearEncoding):
    """Whitened data, and principal components of the error of the best linear estimate.

    In the eigenvectors of their covariance noise-free data have independent coordinates, scaled to
    u of unit variance. Inputs of the network are their posterior means z, ``variance / (variance +
    sigma**2)`` times noisy u, near zero where noise dominates; the linear estimate is
    ``z @ regression``.
    """

    defaults: ClassVar[TrainingDefaults] = TrainingDefaults(50, 128, 1e-2, (0.0, 0.1))
    criterion: ClassVar[type[nn.Module]] = RelativeLoss
    optimizer: ClassVar[dict[str, Any]] = {"optimizer__betas": (0.9, 0.99)}
    range_grows: ClassVar[bool] = True
    takes_noise_level: ClassVar[bool] = True

    #: Mean of densities.
    mean: Array = field(metadata=sized("c"))
    #: Eigenvectors of the covariance of whitened data, one a column, and eigenvalues.
    rotation: Array = field(metadata=sized("d", "e"))
    variance: Array = field(metadata=sized("e"))
    #: Densities per unit of u, (n_live, n_cells), for the coordinates with signal.
    # Half precision would overflow where the unit of density makes numbers large.
    regression: Array = field(metadata=sized("l", "c", least="float32"))
    #: Principal components of density, (n_components, n_cells), and the standard deviations of
    #: the errors of the linear estimate in them.
    components: Array = field(metadata=sized("k", "c", least="float16"))
    scale: Array = field(metadata=sized("k", least="float32"))
    mirror: Mirror | None
    #: Whether the network returns densities of all cells that fit the data, instead of components.
    data_consistent: bool

    @classmethod
    def learn(cls, X: Numbers, y: Numbers, inverter: Any, seed: int) -> WhitenedEncoding:
        """Check the operator, and learn means and covariances from training pairs."""
        operator = operator_of_pairs(X, y, inverter.operator)
        mirror = None
        if inverter.augment == "mirror":
            if isinstance(operator, JointOperator | CellValues):
                raise ValueError(
                    f"augment='mirror' needs gravity alone, but 'operator' is a "
                    f"{type(operator).__name__}, whose cells have no mirror images among the data; "
                    "use augment=None."
                )
            if not isinstance(operator, ForwardOperator):
                raise no_mirror(X.shape[1], y.shape[1])
            mirror = Mirror.of(operator.mesh_, operator.survey_, operator.fraction_)
        whitening = Noise.of(operator, n_data=X.shape[1]).whitening
        matrix = whitening.matrix(operator.matrix_)
        data_rms = typical_rms(X, whitening)
        offset = constant_part(X, y, operator)
        sections = Rows(y)
        if mirror is not None:
            sections = Rows(y, mirror.cells)
            offset = (offset + offset[mirror.data] * mirror.sign) / 2
        prior = GaussianPrior.of(sections, matrix)
        variance, cross = prior.space.variance, prior.space.cross
        live = max(1, int(np.sum(variance > (0.1 * LEAST_NOISE * data_rms) ** 2)))
        std = np.sqrt(variance[:live, None])
        order = np.random.RandomState(seed).permutation(len(sections))
        some = sections[order[:_N_COMPONENT_SECTIONS]]
        some -= prior.mean
        n_components = min(inverter.n_components, y.shape[1], len(some))
        components = randomized_svd(some, n_components, random_state=seed)[2]
        encoding = cls(
            operator=operator,
            data_offset=offset,
            mean=prior.mean,
            data_mean=prior.data_mean + whitening(offset[None])[0],
            rotation=prior.space.rotation,
            variance=variance,
            regression=np.divide(cross[:live], std, out=0 * cross[:live], where=std > 0),
            components=components,
            scale=np.ones(n_components),
            data_rms=data_rms,
            mirror=mirror,
            data_consistent=inverter.data_consistency,
            uncertainty=inverter.uncertainty and not inverter.data_consistency,
        )
        data = some @ matrix.T
        typicality = Typicality.learn(
            prior.space, data[:N_USED] + encoding.data_mean, encoding.data_mean, data_rms
        )
        linear = encoding._coordinates(data) @ (encoding.regression @ components.T)
        scale = np.std(some @ components.T - linear, axis=0)
        return replace(encoding, scale=np.where(scale > 0, scale, 1.0), typicality=typicality)

    @property
    def data_space(self) -> DataSpace:
        return DataSpace(self.rotation, self.variance, np.empty((len(self.variance), 0)))

    @property
    def matrix(self) -> Array:
        """Map from density to whitened data, (n_white, n_cells)."""
        return self.noise.whitening.matrix(self.operator.matrix_)

    @property
    def std(self) -> Array:
        """Standard deviations of the coordinates before whitening, (n_live,)."""
        return np.sqrt(self.variance[: len(self.regression)])

    @property
    def n_images(self) -> int:
        return 1 if self.mirror is None else 2

    def check_file(self, sizes: tuple[int, int], operator: BaseOperator | None) -> None:
        own = len(self.data_offset), len(self.mean)
        if operator is not self.operator or len(self.data_mean) != self.noise.whitening.n_white:
            raise ValueError("its operators or their noise differ")
        if sizes != own:
            raise ValueError(f"its sizes are {sizes}, but {own} in its network")

    def encode(self, X: Numbers, y: Numbers) -> tuple[Array32, Array32 | Encoded]:
        """Return u and rms of noise-free data, and targets.

        Targets are components of density, the squared norm of the linear estimate's error outside
        the components, the norm of the density, and for a spread the density of all cells.
        """
        sections = Rows(y) if self.mirror is None else Rows(y, self.mirror.cells)
        n_targets = 0 if self.data_consistent else len(self.scale)
        inputs = np.empty((len(sections), len(self.regression) + 1), dtype=np.float32)
        targets = np.zeros((len(sections), n_targets + 2), dtype=np.float32)
        matrix = self.matrix
        for place, rho in sections.blocks():
            deviation = rho - self.mean
            data = deviation @ matrix.T
            inputs[place, :-1] = u = self._coordinates(data)
            inputs[place, -1] = self.rms(data + self.data_mean)
            targets[place, -1] = np.linalg.norm(rho, axis=1)
            if not self.data_consistent:
                targets[place, :-2] = self._expressed(deviation)
                deviation -= u @ self.regression
                inside2 = np.sum(self._expressed(deviation) ** 2, axis=1)
                missed2 = np.einsum("ij,ij->i", deviation, deviation)
                targets[place, -2] = np.maximum(missed2 - inside2, 0.0)
        usual = float(np.sqrt(np.mean(targets[:, -1] ** 2))) or 1.0
        np.maximum(targets[:, -1], 1e-3 * usual, out=targets[:, -1])
        # Stored deviations of all cells would take as much memory as the sections.
        if self.data_consistent:
            return inputs, Encoded(self._after_deviation, sections, targets)
        if self.uncertainty:
            single = Rows(sections.array, sections.order, dtype=np.float32)
            return inputs, Encoded(_with_densities, single, targets)
        return inputs, targets

    def inputs(self, X: Array, sigma: Array) -> tuple[Array32, Array]:
        """Return the inputs of the network, posterior means and noise, and the linear estimate."""
        u = self._coordinates(self.noise.whitening(X) - self.data_mean)
        z = u * (self.std**2 / (self.std**2 + sigma[:, None] ** 2))
        level = np.log10(sigma / self.data_rms)
        return np.column_stack([z, level]).astype(np.float32), self.mean + z @ self.regression

    def network(self, architecture: Any, n_cells: int) -> Callable[[], nn.Module]:
        make = partial(ResidualMLP, len(self.regression), self.scale)
        if not self.data_consistent:
            return partial(make, components=self.components) if self.uncertainty else make
        rotation = self.rotation[:, : len(self.regression)]
        std = np.maximum(self.std, _NO_STD)
        to_coordinates = self.noise.whitening.adjoint(rotation.T).T
        geometry = (
            self.components,
            self.regression,
            rotation.T @ self.matrix,
            std,
            self.data_rms,
        )
        physics = partial(fast_physics, self.operator, to_coordinates)
        return partial(_null_space_network, make, geometry, physics)

    def callbacks(self, own: Sequence[Any]) -> list[Any]:
        """Return one cycle of learning rates, the user's callbacks, and clipping after them."""
        return [("one_cycle", OneCycle()), *own, ("clip", GradientNormClipping(1.0))]

    def augmentation(self, training_noise: tuple[float, float], device: str) -> NoisyCoordinates:
        """Return the augmentation, which draws the noise of each batch."""
        return NoisyCoordinates(training_noise, self, device)

    def estimate(
        self,
        net: TrainingNet,
        X: Array,
        noise_level: ArrayLike | None,
        density_range: tuple[float, float],
    ) -> Array:
        """Return the linear estimate plus the network's correction, at the noise of each sample."""
        sigma = self._noise_of(X, noise_level, net.augment.noise_level)
        self.warn_atypical(X, sigma)
        inputs, rho = self.inputs(X, sigma)
        correction = net.predict(inputs).astype(np.float64)
        rho += correction if self.data_consistent else correction @ self.components
        self.warn_unexplained(X, sigma, rho, density_range)
        if not self.data_consistent:
            return np.clip(rho, *density_range, out=rho)
        # The network fits the data only up to the rounding of float32.
        g, whitening = X - self.data_offset, self.noise.whitening
        return Projection().solve_whitened(self.operator, g, rho, whitening, sigma).rho

    def distributions(
        self, net: TrainingNet, X: Array, noise_level: ArrayLike | None
    ) -> tuple[Array, Marginals, Array]:
        sigma = self._noise_of(X, noise_level, net.augment.noise_level)
        self.warn_atypical(X, sigma)
        inputs, linear = self.inputs(X, sigma)
        correction, weight, first, second, *stds = net.mixtures(inputs)
        marginals = Marginals(weight, linear + first, linear + second, *stds)
        return linear + correction, marginals, sigma

    def _expressed(self, deviation: Array) -> Array:
        """Return deviations of density in the outputs of the network."""
        return deviation if self.data_consistent else deviation @ self.components.T

    def _coordinates(self, data: Array) -> Array:
        """Return u of centred data."""
        c = data @ self.rotation[:, : len(self.regression)]
        return np.divide(c, self.std, out=np.zeros_like(c), where=self.std > 0)

    def _after_deviation(self, rho: Array, targets: Array32) -> Array32:
        return np.hstack([(rho - self.mean).astype(np.float32), targets])


def _with_densities(rho: Array32, targets: Array32) -> Array32:
    return np.hstack([targets, rho])


def _null_space_network(
    make: Callable[[], nn.Module],
    geometry: tuple[Array, Array, Array, Array, float],
    physics: Callable[[], nn.Module | None],
) -> nn.Module:
    # Each network has its own physics, which follows it to its device.
    return NullSpaceNetwork(make(), *geometry, physics())


class NoisyCoordinates:
    """Augmentation that adds noise, of levels between two bounds, to encoded pairs.

    From these it computes inputs and targets of the network.
    """

    always = True  # for validation data, too

    def __init__(
        self, noise_level: tuple[float, float], encoding: WhitenedEncoding, device: str
    ) -> None:
        self.noise_level = noise_level
        self.data_rms = encoding.data_rms
        std = np.maximum(encoding.std, _NO_STD)
        self.std = torch.tensor(std, dtype=torch.float32, device=device)
        self.mean = torch.tensor(encoding.mean, dtype=torch.float32, device=device)
        self.of_cells = torch.tensor(encoding.regression, dtype=torch.float32, device=device)
        expressed = encoding._expressed(encoding.regression)
        self.regression = torch.tensor(expressed, dtype=torch.float32, device=device)

    def __call__(self, X: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        u, rms = X[:, :-1], X[:, -1:]
        sigma = draw_levels(*self.noise_level, rms) * rms
        ratio = sigma / self.std
        shrunk = 1.0 / (1.0 + ratio.square())
        z = shrunk * u + shrunk * ratio * torch.randn_like(u)
        x = torch.cat([z, torch.log10(sigma / self.data_rms)], dim=1)
        n = self.regression.shape[1]
        parts = [y[:, :n] - z @ self.regression, y[:, n : n + 2]]
        if y.shape[1] > n + 2:
            parts.append(y[:, n + 2 :] - torch.addmm(self.mean, z, self.of_cells))
        return x, torch.cat(parts, dim=1)
