"""Conversion of the weights of networks to arrays and back."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from skgrav.io import Precision, Weights
from skgrav.networks._settings import own_settings


def least_precision(name: str) -> Precision:
    """Return the lowest precision of the weights of a name in a file."""
    # Scales are in the unit of density and may exceed the range of half precision.
    return "float32" if name.rpartition(".")[2] == "scale" else "float16"


def weights_of(module: nn.Module) -> Weights:
    """Return the weights of a module on any device."""
    return {name: values.cpu().numpy() for name, values in module.state_dict().items()}


def check_weights(make: Callable[[], nn.Module], weights: Weights) -> None:
    """Raise ValueError unless the weights fit a module, without allocating it."""
    with own_settings(), torch.device("meta"):
        check_fit(make(), weights)


def check_fit(module: nn.Module, weights: Weights) -> None:
    """Raise ValueError unless weights have the names and shapes of a module's."""
    wanted = {name: tuple(values.shape) for name, values in module.state_dict().items()}
    found = {name: values.shape for name, values in weights.items()}
    wrong = sorted(n for n in wanted | found if wanted.get(n) != found.get(n))
    if wrong:
        raise ValueError(f"weights are missing, unknown or of another shape: {', '.join(wrong)}")


def put_weights(module: nn.Module, weights: Weights) -> None:
    """Load weights into a module."""
    check_fit(module, weights)
    with own_settings():
        module.load_state_dict({name: torch.tensor(values) for name, values in weights.items()})
    module.eval()
