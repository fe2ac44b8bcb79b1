"""Standardised data and scaled densities: the encoding of the paper's and of users' networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from torch import nn

from skgrav._checks import check_range
from skgrav._typing import Array, Array32
from skgrav.inverters._encoding import Numbers, TrainingDefaults, no_mirror
from skgrav.inverters._rows import Encoded, Rows
from skgrav.io import saved, sized
from skgrav.networks import DensityLoss, PaperCNN
from skgrav.noise import Noise, Whitening
from skgrav.operators import BaseOperator, CellValues, ForwardOperator, JointOperator
from skgrav.training import Augmentation, ExponentialDecay, Mirror, TrainingNet

#: Learning rate after 100 epochs relative to the first, as in the paper.
_DECAY = 0.8


@saved
@dataclass(frozen=True)
class StandardisedEncoding:
    """Standardised data, and densities scaled to [0, 1]."""

    defaults: ClassVar[TrainingDefaults] = TrainingDefaults(100, 25, 1e-4, (0.0, 0.0))
    criterion: ClassVar[type[nn.Module]] = DensityLoss
    optimizer: ClassVar[dict[str, Any]] = {"optimizer__eps": 1e-7}
    range_grows: ClassVar[bool] = False
    takes_noise_level: ClassVar[bool] = False
    operator: ClassVar[None] = None
    n_images: ClassVar[int] = 1

    mean: Array = field(metadata=sized("d"))
    scale: Array = field(metadata=sized("d"))
    density_range: tuple[float, float]
    mirror: Mirror | None
    #: Number of components of the survey, the channels of the network.
    n_channels: int
    #: Basis of the trend that is removed from the data, one column for each coefficient.
    trend: Array = field(metadata=sized("d", "t"))
    #: Typical size of each datum, if data have several units.
    data_scales: Array | None = field(default=None, metadata=sized("d"))

    @classmethod
    def learn(cls, X: Numbers, y: Numbers, inverter: Any, seed: int) -> StandardisedEncoding:
        """Learn the scales from training pairs, and the symmetry from the geometry."""
        density_range = float(y.min()), float(y.max())
        if inverter.density_range is not None:
            density_range = check_range(inverter.density_range, "density_range")
        operator = _geometry(inverter.operator, X.shape[1], y.shape[1])
        mirror = None
        if inverter.augment == "mirror":
            if operator is None:
                raise no_mirror(X.shape[1], y.shape[1])
            mirror = Mirror.of(operator.mesh_, operator.survey_, operator.fraction_)
        noise = Noise.of(operator, n_data=X.shape[1])
        whitening = noise.whitening
        X = whitening.detrended(X)
        rows = Rows(X) if mirror is None else Rows(X, mirror.data, mirror.sign)
        mean = rows.mean()
        scale = np.sqrt(rows.square(mean))
        scale = np.where(scale > 1e-12 * np.abs(mean), scale, 1.0)
        n_channels = 1 if operator is None else len(operator.survey_.components)
        scales = whitening.weights if noise.has_scales else None
        return cls(mean, scale, density_range, mirror, n_channels, whitening.basis, scales)

    def check_file(self, sizes: tuple[int, int], operator: BaseOperator | None) -> None:
        if len(self.mean) != sizes[0]:
            raise ValueError(f"its sizes are {sizes}, but {len(self.mean)} data in its network")

    def encode(self, X: Numbers, y: Numbers) -> tuple[Encoded, Encoded]:
        """Return inputs and targets, computed batch by batch."""
        return Encoded(self.inputs, Rows(X)), Encoded(self._targets, Rows(y))

    def inputs(self, X: Array) -> Array32:
        """Return standardised data without their trend."""
        if self.trend.size:
            X = Whitening(np.ones(len(self.mean)), self.trend).detrended(X)
        return ((X - self.mean) / self.scale).astype(np.float32, order="C")

    def network(self, architecture: Any, n_cells: int) -> Callable[[], nn.Module]:
        make = PaperCNN if architecture == "paper" else architecture
        return partial(make, len(self.mean), n_cells, self.n_channels)

    def callbacks(self, own: Sequence[Any]) -> list[Any]:
        """Return the exponential decay of the paper, and the user's callbacks."""
        return [("decay", ExponentialDecay(_DECAY)), *own]

    def augmentation(self, training_noise: tuple[float, float], device: str) -> Augmentation | None:
        """Return the augmentation by noise and mirror images, or None."""
        if training_noise[1] == 0 and self.mirror is None:
            return None
        return Augmentation(
            training_noise, self.mean, self.scale, self.mirror, device, self.data_scales
        )

    def estimate(
        self,
        net: TrainingNet,
        X: Array,
        noise_level: ArrayLike | None,
        density_range: tuple[float, float],
    ) -> Array:
        if noise_level is not None:
            raise ValueError(
                f"'noise_level' is {noise_level!r}, but only networks of architecture='residual' "
                "or 'unet' use the noise of a sample. Leave it out."
            )
        low, high = self.density_range
        rho = low + (high - low) * net.predict(self.inputs(X)).astype(np.float64)
        return np.clip(rho, *density_range, out=rho)

    def _targets(self, y: Array) -> Array32:
        low, high = self.density_range
        return ((y - low) / ((high - low) or 1.0)).astype(np.float32)


def _geometry(operator: Any, n_data: int, n_cells: int) -> ForwardOperator | None:
    """Return the operator that gives components and symmetry; the paper's for its sizes."""
    if operator is None and n_data**2 == 36 * n_cells:
        operator = ForwardOperator()
    if isinstance(operator, JointOperator | CellValues):
        raise ValueError(
            f"'operator' is a {type(operator).__name__}, but only a network of "
            "architecture='residual' takes other data than gravity. Take it, or gravity alone."
        )
    if not isinstance(operator, ForwardOperator):
        return None
    operator = clone(operator).fit(np.zeros((1, n_cells)))
    if operator.n_data_ != n_data:
        raise ValueError(
            f"'operator' has {operator.n_data_} data, but X has {n_data} columns. Give the "
            "operator of the survey that measured X."
        )
    return operator
