"""What a CNNInverter asks of an encoding: how pairs are presented to a network, and which one."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from numpy.typing import ArrayLike, NDArray
from torch import nn

from skgrav._typing import Array
from skgrav.operators import BaseOperator
from skgrav.training import TrainingNet

#: Numbers of any kind: what is computed from them is float64.
Numbers = NDArray[Any]


@dataclass(frozen=True)
class TrainingDefaults:
    """What the parameters of a training are where they are None."""

    max_epochs: int
    batch_size: int
    weight_decay: float
    training_noise: tuple[float, float]


class Encoding(Protocol):
    """Representation of gravity and density for a network, with all that depends on it.

    It is learned from the first training pairs and then fixed. The network between inputs and
    targets, its loss, its schedule and the noise of its batches follow from it.
    """

    #: What is trained with where a parameter is None.
    defaults: ClassVar[TrainingDefaults]
    #: Loss of the network.
    criterion: ClassVar[type[nn.Module]]
    #: Further parameters of AdamW, by skorch's names.
    optimizer: ClassVar[dict[str, Any]]
    #: Whether densities beyond the range of the first pairs may be returned.
    range_grows: ClassVar[bool]
    #: Whether the noise of a sample enters its estimate.
    takes_noise_level: ClassVar[bool]

    @classmethod
    def learn(cls, X: Numbers, y: Numbers, inverter: Any, seed: int) -> Any:
        """Learn the encoding from training pairs, with the parameters of an inverter."""

    @property
    def operator(self) -> BaseOperator | None:
        """The fitted operator, if the encoding needs the physics."""

    @property
    def n_images(self) -> int:
        """How often each section is among the encoded pairs."""

    def check_file(self, sizes: tuple[int, int], operator: BaseOperator | None) -> None:
        """Raise ValueError unless a file's numbers of data and cells, and operator, belong here."""

    def encode(self, X: Numbers, y: Numbers) -> tuple[Any, Any]:
        """Return inputs and targets of training pairs."""

    def network(self, architecture: Any, n_cells: int) -> Callable[[], nn.Module]:
        """Return what makes the network between inputs and targets."""

    def callbacks(self, own: Sequence[Any]) -> list[Any]:
        """Return the schedule of learning rates, a user's own callbacks, and what follows them."""

    def augmentation(self, training_noise: tuple[float, float], device: str) -> Any:
        """Return what is done to each batch of encoded pairs, or None."""

    def estimate(
        self,
        net: TrainingNet,
        X: Array,
        noise_level: ArrayLike | None,
        density_range: tuple[float, float],
    ) -> Array:
        """Return the densities that a trained network estimates from gravity."""


class PairEncoder:
    """Checks and encodes the pairs of a training, and keeps the range of their densities.

    Parameters
    ----------
    check : callable
        Function of X and y that returns valid pairs or raises ValueError.
    encoding : Encoding
        The encoding.
    density_range : tuple of two floats
        The range so far.
    fixed : bool
        Whether the user has given the range.
    """

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
        """Return encoded pairs of those that were checked."""
        low, high = self.density_range
        if self.grows:
            self.density_range = min(low, float(y.min())), max(high, float(y.max()))
        elif y.min() < low or y.max() > high:
            warnings.warn(
                f"'y' ranges from {y.min():g} to {y.max():g}, beyond density_range=({low:g}, "
                f"{high:g}), which the network cannot leave. Give a wider 'density_range'.",
                stacklevel=4,
            )
        return self.encoding.encode(X, y)

    def state_dict(self) -> dict[str, Any]:
        """Return the range of the densities so far."""
        return {"density_range": self.density_range}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the range of an earlier training."""
        self.density_range = state["density_range"]


def no_mirror(n_data: int, n_cells: int) -> ValueError:
    """Return the error of mirror images without a geometry."""
    return ValueError(
        "augment='mirror' needs 'operator', a ForwardOperator with mesh and survey: "
        f"{n_data} data and {n_cells} cells are not the paper's geometry."
    )
