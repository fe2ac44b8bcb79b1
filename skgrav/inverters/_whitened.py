"""Whitened data, and what the best linear estimate misses: the encoding of the residual network."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.extmath import randomized_svd
from skorch.callbacks import GradientNormClipping
from torch import nn

from skgrav.inverters._encoding import Numbers, TrainingDefaults, no_mirror
from skgrav.inverters._noise import CONTRADICTED, check_levels, noise_of, relative_noise, usual_rms
from skgrav.inverters._prior import GaussianPrior
from skgrav.inverters._rows import Encoded, Rows
from skgrav.networks import NullSpaceNetwork, RelativeLoss, ResidualMLP, fast_physics
from skgrav.operators import BaseOperator, ForwardOperator, MatrixOperator, resolve_operator
from skgrav.solvers import DataSpace, Projection
from skgrav.training import LEAST_NOISE, Mirror, OneCycle, TrainingNet, draw_levels

Array = NDArray[np.float64]
Array32 = NDArray[np.float32]

#: Pairs by which the physics is checked, and sections of which the components are learned.
_N_PHYSICS_PAIRS, _N_COMPONENT_SECTIONS = 6000, 10_000

#: Standard deviation that constant data are given.
_NO_STD = 1e-30


@dataclass(frozen=True)
class WhitenedEncoding:
    """Whitened data, and the principal components of what the best linear estimate misses.

    Data have independent coordinates, u of unit variance without noise. A network sees their
    posterior means z, ``variance / (variance + sigma**2)`` times noisy u: what noise hides is
    zero, and the linear estimate is ``z @ regression``.
    """

    #: The estimate needs some only roughly; those in the unit of density exceed half precision.
    _file_forms: ClassVar = {
        "operator": "ForwardOperator | MatrixOperator",
        "data_weights": "[d]",
        "mean": "[c]",
        "data_mean": "[d]",
        "rotation": "[d e]",
        "variance": "[e]",
        "regression": "single [l c]",
        "components": "half [k c]",
        "scale": "single [k]",
        "data_rms": "float",
        "mirror": "Mirror | None",
        "data_consistent": "bool",
        "survey_noise": "float | None",
    }
    defaults: ClassVar[TrainingDefaults] = TrainingDefaults(50, 128, 1e-2, (0.0, 0.1))
    criterion: ClassVar[type[nn.Module]] = RelativeLoss
    optimizer: ClassVar[dict[str, Any]] = {"optimizer__betas": (0.9, 0.99)}
    range_grows: ClassVar[bool] = True

    operator: BaseOperator
    #: Weights that make the noise of all data alike, (n_data,).
    data_weights: Array
    #: Means of densities and of weighted data.
    mean: Array
    data_mean: Array
    #: Eigenvectors of the covariance of weighted data, one a column, and eigenvalues.
    rotation: Array
    variance: Array
    #: Densities that one unit of u stands for, (n_live, n_cells); further u are below rounding.
    regression: Array
    #: Principal components of density, (n_components, n_cells), and how much of each is missed.
    components: Array
    scale: Array
    #: Rms of usual weighted data.
    data_rms: float
    mirror: Mirror | None
    #: Whether a network returns the densities of all cells, fitted to the data, not components.
    data_consistent: bool
    #: Standard deviation of the noise of weighted data, if the survey has an uncertainty.
    survey_noise: float | None

    @classmethod
    def learn(cls, X: Numbers, y: Numbers, inverter: Any, seed: int) -> WhitenedEncoding:
        """Check the physics, and learn means and covariances from training pairs."""
        operator = _checked_operator(X, y, inverter.operator)
        data_weights, survey_noise = noise_weights(operator, X.shape[1])
        mirror = None
        if inverter.augment == "mirror":
            if not isinstance(operator, ForwardOperator):
                raise no_mirror(X.shape[1], y.shape[1])
            mirror = Mirror.of(operator.mesh_, operator.survey_)
        matrix = data_weights[:, None] * operator.matrix_
        data_rms = float(np.sqrt(np.mean(Rows(X).square() * data_weights**2))) or 1.0
        # A part that is the same in all data need not be explained by densities.
        offset = Rows(X).mean() * data_weights - matrix @ Rows(y).mean()
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
            data_weights=data_weights,
            mean=prior.mean,
            data_mean=prior.data_mean + offset,
            rotation=prior.space.rotation,
            variance=variance,
            regression=np.divide(cross[:live], std, out=0 * cross[:live], where=std > 0),
            components=components,
            scale=np.ones(n_components),
            data_rms=data_rms,
            mirror=mirror,
            data_consistent=inverter.data_consistency,
            survey_noise=survey_noise,
        )
        linear = encoding._coordinates(some @ matrix.T) @ (encoding.regression @ components.T)
        scale = np.std(some @ components.T - linear, axis=0)
        return replace(encoding, scale=np.where(scale > 0, scale, 1.0))

    @property
    def matrix(self) -> Array:
        """Map from density to weighted data, (n_data, n_cells)."""
        return self.data_weights[:, None] * self.operator.matrix_

    @property
    def data_offset(self) -> Array:
        """Part that is the same in all data and that densities do not explain, (n_data,)."""
        return (self.data_mean - self.matrix @ self.mean) / self.data_weights

    @property
    def std(self) -> Array:
        """Standard deviations of the coordinates before whitening, (n_live,)."""
        return np.sqrt(self.variance[: len(self.regression)])

    @property
    def n_images(self) -> int:
        """How often each section is among the encoded pairs."""
        return 1 if self.mirror is None else 2

    def encode(self, X: Numbers, y: Numbers) -> tuple[Array32, Array32 | Encoded]:
        """Return u and the rms of the data, and the targets of noise-free pairs.

        Targets are components of density, the squared norm of what components miss of the
        linear estimate's error, and the norm of the density. With a mirror there are twice as
        many pairs.
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
            inputs[place, -1] = usual_rms(data + self.data_mean, self.data_rms)
            targets[place, -1] = np.linalg.norm(rho, axis=1)
            if not self.data_consistent:
                targets[place, :-2] = self._expressed(deviation)
                deviation -= u @ self.regression
                inside2 = np.sum(self._expressed(deviation) ** 2, axis=1)
                missed2 = np.einsum("ij,ij->i", deviation, deviation)
                targets[place, -2] = np.maximum(missed2 - inside2, 0.0)
        usual = float(np.sqrt(np.mean(targets[:, -1] ** 2))) or 1.0
        np.maximum(targets[:, -1], 1e-3 * usual, out=targets[:, -1])
        if not self.data_consistent:
            return inputs, targets
        # Deviations of all cells would be as large as the sections themselves.
        return inputs, Encoded(self._after_deviation, sections, targets)

    def rms(self, X: Array) -> Array:
        """Return the rms of weighted data, to which levels of noise are relative, (n_samples,)."""
        return usual_rms(X * self.data_weights, self.data_rms)

    def inputs(self, X: Array, sigma: Array) -> tuple[Array32, Array]:
        """Return posterior means and noise, as a network sees them, and the linear estimate."""
        u = self._coordinates(X * self.data_weights - self.data_mean)
        z = u * (self.std**2 / (self.std**2 + sigma[:, None] ** 2))
        level = np.log10(sigma / self.data_rms)
        return np.column_stack([z, level]).astype(np.float32), self.mean + z @ self.regression

    def network(self, architecture: Any, n_cells: int) -> Callable[[], nn.Module]:
        """Return what makes the network between inputs and targets."""
        make = partial(ResidualMLP, len(self.regression), self.scale)
        if not self.data_consistent:
            return make
        rotation = self.rotation[:, : len(self.regression)]
        std = np.maximum(self.std, _NO_STD)
        physics = fast_physics(self.operator, self.data_weights[:, None] * rotation)
        geometry = (
            self.components,
            self.regression,
            rotation.T @ self.matrix,
            std,
            self.data_rms,
            physics,
        )
        return partial(_null_space_network, make, geometry)

    def callbacks(self, own: Sequence[Any]) -> list[Any]:
        """Return one cycle of learning rates, a user's own callbacks, and clipping."""
        # What is clipped is the gradient that callbacks leave.
        return [("one_cycle", OneCycle()), *own, ("clip", GradientNormClipping(1.0))]

    def augmentation(self, training_noise: tuple[float, float], device: str) -> NoisyCoordinates:
        """Return what draws the noise of each batch of encoded pairs."""
        return NoisyCoordinates(training_noise, self, device)

    def estimate(
        self,
        net: TrainingNet,
        X: Array,
        noise_level: ArrayLike | None,
        density_range: tuple[float, float],
    ) -> Array:
        """Return the linear estimate with what the network adds, at the noise of each sample."""
        sigma = self.noise(X, noise_level, net.augment.noise_level)
        inputs, rho = self.inputs(X, sigma)
        missed = net.predict(inputs).astype(np.float64)
        rho += missed if self.data_consistent else missed @ self.components
        if not self.data_consistent:
            return np.clip(rho, *density_range, out=rho)
        # The network fits as well as float32 can; this does so in float64.
        noise = sigma[:, None]
        if self.survey_noise is not None:
            noise = self.survey_noise / self.data_weights[None]
        return Projection().solve(self.operator, X - self.data_offset, rho, sigma=noise).rho

    def noise(self, X: Array, noise_level: ArrayLike | None, trained: tuple[float, float]) -> Array:
        """Return the noise of weighted data, (n_samples,): given, or estimated from them.

        It is `noise_level`, the survey's, or the one level that the network was `trained` for. A
        warning says if the network was not trained for it.
        """
        (low, high), rms, given = trained, self.rms(X), None
        if self.survey_noise is not None:
            given = np.full(len(X), self.survey_noise)
            if noise_level is not None:
                raise ValueError(
                    f"'noise_level' is {noise_level!r}, but the operator's survey tells the "
                    "uncertainty of each datum already; leave one of them out."
                )
        elif noise_level is None and low == high:
            given = low * rms
        elif noise_level is not None and not (
            isinstance(noise_level, str) and noise_level == "auto"
        ):
            given = check_levels(noise_level, len(X)) * rms
        space = DataSpace(self.rotation, self.variance, np.empty((len(self.variance), 0)))
        residual = X * self.data_weights - self.data_mean
        sigma = noise_of(space, residual, rms, self.data_rms, given)
        # What an identified operator gets wrong is noise that no sample shows.
        unexplained = getattr(self.operator, "held_out_error_", 0.0)
        sigma = np.maximum(sigma, max(LEAST_NOISE, unexplained) * rms)
        # From few data the noise is estimated badly: estimates are kept to the range of training
        # unless they contradict it.
        slack = CONTRADICTED if given is None else 1.0 + 1e-6
        level, high = (sigma if given is None else given) / rms, max(high, LEAST_NOISE)
        level = np.maximum(level, 0.1 * LEAST_NOISE)
        outside = (level > slack * high) | (level < low / slack) & (level < high)
        if given is None and low < high:
            sigma = np.where(outside, sigma, np.clip(sigma, low * rms, high * rms))
        if outside.any():
            worst = level[outside][np.argmax(np.abs(np.log(level[outside] / high)))]
            warnings.warn(
                f"{outside.sum()} of {len(X)} samples have relative noise that the network was not "
                f"trained for, such as {worst:.2g}; it was trained for {low:g} to {high:g}. Fit it "
                "with another 'training_noise'.",
                stacklevel=4,
            )
        return sigma

    def _expressed(self, deviation: Array) -> Array:
        """Return deviations of density as a network returns them."""
        return deviation if self.data_consistent else deviation @ self.components.T

    def _coordinates(self, data: Array) -> Array:
        """Return u of centred data."""
        c = data @ self.rotation[:, : len(self.regression)]
        return np.divide(c, self.std, out=np.zeros_like(c), where=self.std > 0)

    def _after_deviation(self, rho: Array, targets: Array32) -> Array32:
        return np.hstack([(rho - self.mean).astype(np.float32), targets])


def _null_space_network(make: Callable[[], nn.Module], geometry: tuple[Any, ...]) -> nn.Module:
    return NullSpaceNetwork(make(), *geometry)


class NoisyCoordinates:
    """Draw fresh noise for a batch of encoded pairs, and turn them into what a network sees.

    Parameters
    ----------
    noise_level : tuple of two floats
        Bounds of the relative noise, between which `draw_levels` draws.
    encoding : WhitenedEncoding
        The encoding.
    device : str
        Device of the batches.
    """

    #: Validation data need it, too.
    always = True

    def __init__(
        self, noise_level: tuple[float, float], encoding: WhitenedEncoding, device: str
    ) -> None:
        self.noise_level = noise_level
        self.data_rms = encoding.data_rms
        std = np.maximum(encoding.std, _NO_STD)
        self.std = torch.tensor(std, dtype=torch.float32, device=device)
        self.regression = torch.tensor(
            encoding._expressed(encoding.regression), dtype=torch.float32, device=device
        )

    def __call__(self, X: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        u, rms = X[:, :-1], X[:, -1:]
        sigma = draw_levels(*self.noise_level, rms) * rms
        ratio = sigma / self.std
        shrunk = 1.0 / (1.0 + ratio.square())
        z = shrunk * u + shrunk * ratio * torch.randn_like(u)
        x = torch.cat([z, torch.log10(sigma / self.data_rms)], dim=1)
        return x, torch.cat([y[:, :-2] - z @ self.regression, y[:, -2:]], dim=1)


def _checked_operator(X: Numbers, y: Numbers, operator: BaseOperator | None) -> BaseOperator:
    """Return the operator that reproduces training pairs, by some of them."""
    # Only an operator that is learned from the pairs may need them all.
    learned = isinstance(operator, MatrixOperator) and operator.matrix is None
    n_pairs = len(y) if learned else min(len(y), _N_PHYSICS_PAIRS)
    pairs = np.linspace(0, len(y) - 1, n_pairs).astype(int)
    g, rho = Rows(X)[pairs], Rows(y)[pairs]
    return resolve_operator(
        operator,
        rho,
        g,
        noise_level=relative_noise(operator, g, None),  # that of training is drawn, not in X
        offset=True,  # a TransformedTargetRegressor may have standardised y
        if_noise="give X = operator.transform(y), to which 'training_noise' is added",
    )


def noise_weights(operator: Any, n_data: int) -> tuple[Array, float | None]:
    """Return weights that make the noise of a survey's data alike, and their noise after it."""
    uncertainty = getattr(getattr(operator, "survey_", None), "uncertainty", None)
    if uncertainty is None:
        return np.ones(n_data), None
    uncertainty = np.broadcast_to(np.asarray(uncertainty, dtype=np.float64), n_data)
    usual = float(np.mean(uncertainty))
    return usual / uncertainty, usual
