"""Conversion of the weights of networks to arrays and back."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from skgrav.io import Precision, Weights
from skgrav.networks._averaging import AveragedWeights
from skgrav.networks._settings import own_settings

#: Beginnings of the names, in an `AveragedWeights`, of what is only for training.
_LAST = ("live.", "n_steps")


def least_precision(name: str) -> Precision:
    """Return the lowest precision of the weights of a name in a file."""
    # Scales are in the unit of density and may exceed the range of half precision.
    return "float32" if name.rpartition(".")[2] == "scale" else "float16"


def weights_of(module: nn.Module) -> Weights:
    """Return the weights of a module on any device."""
    return {name: values.cpu().numpy() for name, values in _kept(module).items()}


def check_weights(make: Callable[[], nn.Module], weights: Weights) -> None:
    """Raise ValueError unless the weights fit a module, without allocating it."""
    with own_settings(), torch.device("meta"):
        check_fit(make(), weights)


def check_fit(module: nn.Module, weights: Weights) -> None:
    """Raise ValueError unless weights have the names and shapes of a module's."""
    wanted = {name: tuple(values.shape) for name, values in _kept(module).items()}
    found = {name: values.shape for name, values in weights.items()}
    wrong = sorted(n for n in wanted | found if wanted.get(n) != found.get(n))
    if wrong:
        raise ValueError(f"weights are missing, unknown or of another shape: {', '.join(wrong)}")


def put_weights(module: nn.Module, weights: Weights) -> None:
    """Load weights into a module."""
    check_fit(module, weights)
    with own_settings():
        state = {name: torch.tensor(values) for name, values in weights.items()}
        module.load_state_dict(module.state_dict() | state)
    for _, part in _averaged(module):
        part.restart()
    module.eval()


def _averaged(module: nn.Module) -> list[tuple[str, AveragedWeights]]:
    return [(n, part) for n, part in module.named_modules() if isinstance(part, AveragedWeights)]


def _kept(module: nn.Module) -> dict[str, torch.Tensor]:
    """Return the weights that estimate: averages, without those of the last step."""
    last = [f"{name}{'.' * bool(name)}{own}" for name, _ in _averaged(module) for own in _LAST]
    return {
        name: values
        for name, values in module.state_dict().items()
        if not name.startswith(tuple(last))
    }
