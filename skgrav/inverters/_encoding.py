"""Interface of the encodings: how a CNNInverter presents pairs to its network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from numpy.typing import ArrayLike, NDArray
from torch import nn

from skgrav._typing import Array
from skgrav._warnings import warn
from skgrav.operators import BaseOperator
from skgrav.training import TrainingNet

#: Arrays of any numeric type, from which float64 is computed.
Numbers = NDArray[Any]


@dataclass(frozen=True)
class TrainingDefaults:
    """Values of the training parameters that are None."""

    max_epochs: int
    batch_size: int
    weight_decay: float
    training_noise: tuple[float, float]
    learning_rate: float = 1e-3


class Encoding(Protocol):
    """Representation of gravity and density for a network, with the network and its training.

    It is learned from the first training pairs and then fixed.
    """

    defaults: ClassVar[TrainingDefaults]
    #: Loss of the network.
    criterion: ClassVar[type[nn.Module]]
    #: Further parameters of AdamW, or another optimiser and its parameters, by skorch's names.
    optimizer: ClassVar[dict[str, Any]]
    #: Whether later pairs may extend the range of the densities that are returned.
    range_grows: ClassVar[bool]
    #: Whether the noise of a sample enters its estimate.
    takes_noise_level: ClassVar[bool]

    @classmethod
    def learn(cls, X: Numbers, y: Numbers, inverter: Any, seed: int) -> Any:
        """Learn the encoding from training pairs, with the parameters of an inverter."""

    @property
    def operator(self) -> BaseOperator | None:
        """The fitted operator, if the encoding needs it."""

    @property
    def n_images(self) -> int:
        """Number of encoded pairs of each section."""

    def check_file(self, sizes: tuple[int, int], operator: BaseOperator | None) -> None:
        """Raise ValueError if the numbers of data and cells, or the operator, of a file differ."""

    def encode(self, X: Numbers, y: Numbers) -> tuple[Any, Any]:
        """Return inputs and targets of training pairs."""

    def network(self, architecture: Any, n_cells: int) -> Callable[[], nn.Module]:
        """Return a factory of the network."""

    def callbacks(self, own: Sequence[Any]) -> list[Any]:
        """Return all callbacks: the learning-rate schedule, the user's `own`, and others."""

    def augmentation(self, training_noise: tuple[float, float], device: str) -> Any:
        """Return the augmentation of each batch of encoded pairs, or None."""

    def estimate(
        self,
        net: TrainingNet,
        X: Array,
        noise_level: ArrayLike | None,
        density_range: tuple[float, float],
    ) -> Array:
        """Return the densities that a trained network estimates from gravity."""


class PairEncoder:
    """Validates and encodes training pairs, and tracks the range of densities unless `fixed`."""

    def __init__(
        self,
        check: Callable[[Any, Any], tuple[Numbers, Numbers]],
        encoding: Encoding,
        density_range: tuple[float, float],
        fixed: bool,
    ) -> None:
        self.check, self.encoding, self.density_range = check, encoding, density_range
        self.grows = encoding.range_grows and not fixed

    def __call__(self, X: Any, y: Any) -> tuple[Any, Any]:
        """Return encoded pairs."""
        return self.encode(*self.check(X, y))

    def encode(self, X: Numbers, y: Numbers) -> tuple[Any, Any]:
        """Return the encoding of pairs already checked."""
        low, high = self.density_range
        if self.grows:
            self.density_range = min(low, float(y.min())), max(high, float(y.max()))
        elif y.min() < low or y.max() > high:
            warn(
                f"'y' ranges from {y.min():g} to {y.max():g}, beyond density_range=({low:g}, "
                f"{high:g}), beyond which estimates are clipped. Give a wider 'density_range'."
            )
        return self.encoding.encode(X, y)

    def state_dict(self) -> dict[str, Any]:
        """Return the range of the densities so far."""
        return {"density_range": self.density_range}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the range of an earlier training."""
        self.density_range = state["density_range"]


def no_mirror(n_data: int, n_cells: int) -> ValueError:
    """Return the error of mirror images without mesh and survey."""
    return ValueError(
        "augment='mirror' needs 'operator', a ForwardOperator with mesh and survey: "
        f"{n_data} data and {n_cells} cells are not the paper's geometry."
    )
