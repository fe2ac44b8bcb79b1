"""Spread of densities about the mean of a network: two Gaussians for each cell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self, TypeVar

import torch
from torch import nn

Layer = TypeVar("Layer", bound=nn.Module)

#: Numbers of a network for each cell at the start of training: logit of the weight of the first
#: Gaussian, shifts of both from the mean, and logarithms of both standard deviations.
INITIAL = (0.0, 0.0, 0.0, -0.7, -1.3)

#: Share of the gradient of the spread that reaches the features of the mean. With all of it
#: small networks estimate worse, and without it the spread is worse.
_SHARED = 0.3

#: Range of the logarithms, in the unit of `CellMixtures`: the mean is not known to less.
_LEAST, _MOST = -7.0, 3.0

_SQRT2, _SQRT2PI = math.sqrt(2.0), math.sqrt(2.0 * math.pi)


@torch.no_grad()
def begun(layer: Layer, initial: Sequence[float]) -> Layer:
    """Return a layer whose outputs, in as many parts, begin near some numbers."""
    bias: Any = layer.bias
    bias.unflatten(0, (len(initial), -1)).copy_(torch.tensor(initial)[:, None])
    return layer


def shared(features: torch.Tensor) -> torch.Tensor:
    """Return features whose gradient is reduced, so that they are made for the mean first."""
    return features.detach().lerp(features, _SHARED)


def some_cells(n_cells: int, step: int) -> slice:
    """Return one cell in `step`, from a random one on, at which the spread is trained."""
    return slice(int(torch.randint(min(step, n_cells), ())), None, step)


@dataclass(frozen=True)
class CellMixtures:
    """Mixtures of two Gaussians in some cells, as a network gives them.

    `raw` has shape (n_samples, 5, n_cells), `mean` is the network's, (n_samples, n_cells), in a
    unit of density, and `cells` selects the cells among all.
    """

    raw: torch.Tensor
    mean: torch.Tensor
    unit: float
    cells: slice = field(default_factory=partial(slice, None))

    def parameters(self) -> tuple[torch.Tensor, ...]:
        """Return weights of the first Gaussians, means and standard deviations of both."""
        logit, a, b, log_a, log_b = self.raw.unbind(dim=1)
        centres = (self.mean + self.unit * shift for shift in (a, b))
        stds = (self.unit * log.clamp(_LEAST, _MOST).exp() for log in (log_a, log_b))
        return (torch.sigmoid(logit), *centres, *stds)

    def crps(self, true: torch.Tensor) -> torch.Tensor:
        """Return the mean CRPS of densities of all cells, in the unit [1]_.

        References
        ----------
        .. [1] Grimit, Gneiting, Berrocal and Johnson (2006), The continuous ranked probability
           score for circular variables and its application to mesoscale forecast ensemble
           verification, Quarterly Journal of the Royal Meteorological Society 132.
        """
        w, a, b, s, t = (p / self.unit if i else p for i, p in enumerate(self.parameters()))
        y = true[:, self.cells] / self.unit
        v = 1.0 - w
        near = w * _absolute(y - a, s) + v * _absolute(y - b, t)
        apart = 2.0 * (w.square() * s + v.square() * t) / math.sqrt(math.pi)
        apart = apart + 2.0 * w * v * _absolute(a - b, (s.square() + t.square()).sqrt())
        return (near - apart / 2.0).mean()

    def float(self) -> Self:
        """Return mixtures in single precision."""
        return type(self)(self.raw.float(), self.mean.float(), self.unit, self.cells)


def _absolute(mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """Return the mean absolute value of a Gaussian variable."""
    z = mean / std
    density = torch.exp(-0.5 * z.square()) / _SQRT2PI
    return mean * torch.erf(z / _SQRT2) + 2.0 * std * density
