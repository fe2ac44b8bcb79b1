"""Averages of weights over the last steps of training."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn


class AveragedWeights(nn.Module):
    """Network that is trained, and an exponential moving average of it that estimates.

    In training mode it is the network, otherwise the average. At first the average is over the last
    ninth of the steps, so that the initial weights are soon forgotten.

    Parameters
    ----------
    live : torch.nn.Module
        The network.
    decay : float, default=0.998
        Factor of older weights at each step.
    """

    n_steps: torch.Tensor

    def __init__(self, live: nn.Module, decay: float = 0.998) -> None:
        super().__init__()
        self.live, self.decay = live, decay
        self.average = copy.deepcopy(live).requires_grad_(False)
        self.register_buffer("n_steps", torch.tensor(0))

    def forward(self, x: torch.Tensor, **options: Any) -> Any:
        """Return the output of the network in training mode, otherwise of the average."""
        return (self.live if self.training else self.average)(x, **options)

    @torch.no_grad()
    def update(self) -> None:
        """Take the present weights into the average."""
        self.n_steps += 1
        # A tensor, as a number would be waited for at each step on a GPU.
        share = (9.0 / (self.n_steps + 8)).clamp(min=1.0 - self.decay)
        for average, live in zip(self.average.parameters(), self.live.parameters(), strict=True):
            average.lerp_(live, share.to(average.dtype))

    def restart(self) -> None:
        """Continue training from the average."""
        self.live.load_state_dict(self.average.state_dict())
        self.n_steps.zero_()
