"""How pairs of gravity and density stand before a network, and its output after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.extmath import randomized_svd
from torch import nn

from skgrav.inverters._noise import noise_of, usual_rms
from skgrav.inverters._prior import GaussianPrior
from skgrav.inverters._rows import Encoded, Rows
from skgrav.io import saved, sized
from skgrav.networks._augmentation import LEAST_NOISE, Augmentation, Mirror, draw_levels
from skgrav.networks._consistency import fast_physics
from skgrav.networks._residual import NullSpaceNetwork, ResidualMLP
from skgrav.operators import BaseOperator
from skgrav.solvers import DataSpace

Array = NDArray[np.float64]
Array32 = NDArray[np.float32]

#: Sections that tell the components.
_N_TELLING = 10_000

#: What stands for the standard deviation of constant data.
_NO_STD = 1e-30


@saved
@dataclass(frozen=True)
class ScaledPairs:
    """Standardised data, and densities scaled to [0, 1]."""

    mean: Array = field(metadata=sized("d"))
    scale: Array = field(metadata=sized("d"))
    density_range: tuple[float, float]
    mirror: Mirror | None

    @classmethod
    def of(cls, X: Array, density_range: tuple[float, float], mirror: Mirror | None) -> ScaledPairs:
        """Learn the scales from training data."""
        rows = Rows(X) if mirror is None else Rows(X, mirror.data, mirror.sign)
        mean = rows.mean()
        scale = np.sqrt(rows.square(mean))
        scale = np.where(scale > 1e-12 * np.abs(mean), scale, 1.0)
        return cls(mean, scale, density_range, mirror)

    def encode(self, X: Array, y: Array) -> tuple[Encoded, Encoded]:
        """Return inputs and targets of training pairs."""
        return Encoded(self.inputs, Rows(X)), Encoded(self._targets, Rows(y))

    def inputs(self, X: Array) -> Array32:
        """Return standardised data."""
        return ((X - self.mean) / self.scale).astype(np.float32)

    def densities(self, output: Array32) -> Array:
        """Return the densities that a network's output stands for."""
        low, high = self.density_range
        return low + (high - low) * output.astype(np.float64)

    def augmentation(self, noise_level: tuple[float, float], device: str) -> Augmentation | None:
        """Return what is done to each batch of encoded pairs."""
        if noise_level[1] == 0 and self.mirror is None:
            return None
        return Augmentation(noise_level, self.mean, self.scale, self.mirror, device)

    def _targets(self, y: Array) -> Array32:
        low, high = self.density_range
        return ((y - low) / ((high - low) or 1.0)).astype(np.float32)


@saved
@dataclass(frozen=True)
class WhitenedPairs:
    """Whitened data, and the principal components of what the best linear estimate misses.

    Data have independent coordinates, u of unit variance without noise. A network sees their
    posterior means z, ``variance / (variance + sigma**2)`` times noisy u: what data do not tell is
    zero at any noise, and the linear estimate is ``z @ regression``.
    """

    operator: BaseOperator
    #: Weights that make the noise of all data alike, (n_data,).
    rows: Array = field(metadata=sized("d"))
    #: Means of densities and of weighted data.
    mean: Array = field(metadata=sized("c"))
    data_mean: Array = field(metadata=sized("d"))
    #: Eigenvectors of the covariance of weighted data, one a column, and eigenvalues.
    rotation: Array = field(metadata=sized("d", "e"))
    variance: Array = field(metadata=sized("e"))
    #: Densities that one unit of u stands for, (n_live, n_cells); no data tell the u beyond.
    # Half precision would overflow where the unit of density makes numbers large.
    regression: Array = field(metadata=sized("l", "c", least="float32"))
    #: Principal components of density, (n_components, n_cells), and how much of each is missed.
    components: Array = field(metadata=sized("k", "c", least="float16"))
    scale: Array = field(metadata=sized("k", least="float32"))
    #: Rms of usual weighted data.
    data_rms: float
    mirror: Mirror | None
    #: Whether a network returns whole densities, not components.
    whole: bool

    @classmethod
    def of(
        cls,
        X: Array,
        y: Array,
        operator: BaseOperator,
        *,
        rows: Array,
        mirror: Mirror | None,
        whole: bool,
        n_components: int,
        seed: int,
    ) -> WhitenedPairs:
        """Learn means and covariances from training pairs and the operator between them."""
        matrix = rows[:, None] * operator.matrix_
        data_rms = float(np.sqrt(np.mean(Rows(X).square() * rows**2))) or 1.0
        # Which no density need explain.
        level = Rows(X).mean() * rows - matrix @ Rows(y).mean()
        sections = Rows(y)
        if mirror is not None:
            sections = Rows(y, mirror.cells)
            level = (level + level[mirror.data] * mirror.sign) / 2
        prior = GaussianPrior.of(sections, matrix)
        variance, cross = prior.space.variance, prior.space.cross
        live = max(1, int(np.sum(variance > (0.1 * LEAST_NOISE * data_rms) ** 2)))
        std = np.sqrt(variance[:live, None])
        some = sections[np.random.RandomState(seed).permutation(len(sections))[:_N_TELLING]]
        some -= prior.mean
        n_components = min(n_components, y.shape[1], len(some))
        components = randomized_svd(some, n_components, random_state=seed)[2]
        pairs = cls(
            operator=operator,
            rows=rows,
            mean=prior.mean,
            data_mean=prior.data_mean + level,
            rotation=prior.space.rotation,
            variance=variance,
            regression=np.divide(cross[:live], std, out=0 * cross[:live], where=std > 0),
            components=components,
            scale=np.ones(n_components),
            data_rms=data_rms,
            mirror=mirror,
            whole=whole,
        )
        linear = pairs._coordinates(some @ matrix.T) @ (pairs.regression @ components.T)
        scale = np.std(some @ components.T - linear, axis=0)
        return replace(pairs, scale=np.where(scale > 0, scale, 1.0))

    @property
    def matrix(self) -> Array:
        """Map from density to weighted data, (n_data, n_cells)."""
        return self.rows[:, None] * self.operator.matrix_

    @property
    def level(self) -> Array:
        """Part of the data that no density explains, the same in all of them, (n_data,)."""
        return (self.data_mean - self.matrix @ self.mean) / self.rows

    @property
    def std(self) -> Array:
        """Standard deviations of the coordinates before whitening, (n_live,)."""
        return np.sqrt(self.variance[: len(self.regression)])

    def encode(self, X: Array, y: Array) -> tuple[Array32, Array32 | Encoded]:
        """Return u and the rms of the data, and the targets of noise-free pairs.

        Targets are components of density, the squared norm of what components miss of the
        linear estimate's error, and the norm of the density. With a mirror there are twice as
        many pairs.
        """
        sections = Rows(y) if self.mirror is None else Rows(y, self.mirror.cells)
        n_targets = 0 if self.whole else len(self.scale)
        inputs = np.empty((len(sections), len(self.regression) + 1), dtype=np.float32)
        targets = np.zeros((len(sections), n_targets + 2), dtype=np.float32)
        matrix = self.matrix
        for place, rho in sections.blocks():
            deviation = rho - self.mean
            data = deviation @ matrix.T
            inputs[place, :-1] = u = self._coordinates(data)
            inputs[place, -1] = usual_rms(data + self.data_mean, self.data_rms)
            targets[place, -1] = np.linalg.norm(rho, axis=1)
            if not self.whole:
                targets[place, :-2] = self._expressed(deviation)
                deviation -= u @ self.regression
                inside2 = np.sum(self._expressed(deviation) ** 2, axis=1)
                missed2 = np.einsum("ij,ij->i", deviation, deviation)
                targets[place, -2] = np.maximum(missed2 - inside2, 0.0)
        usual = float(np.sqrt(np.mean(targets[:, -1] ** 2))) or 1.0
        np.maximum(targets[:, -1], 1e-3 * usual, out=targets[:, -1])
        # Deviations of all cells would be as large as the sections themselves.
        return inputs, Encoded(self._after_deviation, sections, targets) if self.whole else targets

    def rms(self, X: Array) -> Array:
        """Return the rms of weighted data, to which levels of noise are relative, (n_samples,)."""
        return usual_rms(X * self.rows, self.data_rms)

    def noise(self, X: Array, announced: Array | None) -> Array:
        """Return the noise of weighted data, told or estimated, (n_samples,)."""
        rms = self.rms(X)
        space = DataSpace(self.rotation, self.variance, np.empty((len(self.variance), 0)))
        residual = X * self.rows - self.data_mean
        sigma = noise_of(space, residual, rms, self.data_rms, announced)
        # What an identified operator gets wrong is noise that no sample shows.
        unexplained = getattr(self.operator, "held_out_error_", 0.0)
        return np.maximum(sigma, max(LEAST_NOISE, unexplained) * rms)

    def inputs(self, X: Array, sigma: Array) -> tuple[Array32, Array]:
        """Return posterior means and noise, as a network sees them, and the linear estimate."""
        u = self._coordinates(X * self.rows - self.data_mean)
        z = u * (self.std**2 / (self.std**2 + sigma[:, None] ** 2))
        level = np.log10(sigma / self.data_rms)
        return np.column_stack([z, level]).astype(np.float32), self.mean + z @ self.regression

    def densities(self, linear: Array, output: Array32) -> Array:
        """Return the densities that a network's output stands for, in place of the linear ones."""
        missed = output.astype(np.float64)
        linear += missed if self.whole else missed @ self.components
        return linear

    def network(self) -> Callable[[], nn.Module]:
        """Return what makes the network between inputs and targets."""
        make = partial(ResidualMLP, len(self.regression), self.scale)
        if not self.whole:
            return make
        rotation = self.rotation[:, : len(self.regression)]
        std = np.maximum(self.std, _NO_STD)
        physics = fast_physics(self.operator, self.rows[:, None] * rotation)
        frame = (
            self.components,
            self.regression,
            rotation.T @ self.matrix,
            std,
            self.data_rms,
            physics,
        )
        return partial(_null_space_network, make, frame)

    def augmentation(self, noise_level: tuple[float, float], device: str) -> NoisyCoordinates:
        """Return what is done to each batch of encoded pairs."""
        return NoisyCoordinates(noise_level, self, device)

    def _expressed(self, deviation: Array) -> Array:
        """Return deviations of density as a network returns them."""
        return deviation if self.whole else deviation @ self.components.T

    def _coordinates(self, data: Array) -> Array:
        """Return u of centred data."""
        c = data @ self.rotation[:, : len(self.regression)]
        return np.divide(c, self.std, out=np.zeros_like(c), where=self.std > 0)

    def _after_deviation(self, rho: Array, targets: Array32) -> Array32:
        return np.hstack([(rho - self.mean).astype(np.float32), targets])


def _null_space_network(make: Callable[[], nn.Module], frame: tuple[Any, ...]) -> nn.Module:
    return NullSpaceNetwork(make(), *frame)


class NoisyCoordinates:
    """Draw fresh noise for a batch of encoded pairs, and turn them into what a network sees.

    Parameters
    ----------
    noise_level : tuple of two floats
        Bounds of the relative noise, between which `draw_levels` draws.
    pairs : WhitenedPairs
        The frame.
    device : str
        Device of the batches.
    """

    #: Validation data need it, too.
    always = True

    def __init__(self, noise_level: tuple[float, float], pairs: WhitenedPairs, device: str) -> None:
        self.noise_level = noise_level
        self.data_rms = pairs.data_rms
        std = np.maximum(pairs.std, _NO_STD)
        self.std = torch.tensor(std, dtype=torch.float32, device=device)
        self.regression = torch.tensor(
            pairs._expressed(pairs.regression), dtype=torch.float32, device=device
        )

    def __call__(self, X: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        u, rms = X[:, :-1], X[:, -1:]
        sigma = draw_levels(*self.noise_level, rms) * rms
        ratio = sigma / self.std
        shrunk = 1.0 / (1.0 + ratio.square())
        z = shrunk * u + shrunk * ratio * torch.randn_like(u)
        x = torch.cat([z, torch.log10(sigma / self.data_rms)], dim=1)
        return x, torch.cat([y[:, :-2] - z @ self.regression, y[:, -2:]], dim=1)


def row_weights(operator: Any, n_data: int) -> tuple[Array, float | None]:
    """Return weights that make the noise of a survey's data alike, and their noise after it."""
    uncertainty = getattr(getattr(operator, "survey_", None), "uncertainty", None)
    if uncertainty is None:
        return np.ones(n_data), None
    uncertainty = np.broadcast_to(np.asarray(uncertainty, dtype=np.float64), n_data)
    level = float(np.mean(uncertainty))
    return level / uncertainty, level
