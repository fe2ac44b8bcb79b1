"""U-Net over the columns of a mesh, whose layers are channels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn.functional import gelu, pad

from skgrav.networks._checks import check_tensor
from skgrav.networks._sections import damped

#: Factor of the initial weights of the last layer, so that the correction begins small.
_LAST = 0.1

_CONVOLUTIONS: dict[int, tuple[Any, Any]] = {
    1: (nn.Conv1d, torch.contiguous_format),
    2: (nn.Conv2d, torch.channels_last),
}


class UNet(nn.Module):
    """Convolutions over the columns of a mesh at several resolutions, with skip connections.

    The layers of a mesh are channels, so that images have one axis for a section and two for a
    volume, of any number of columns.

    Parameters
    ----------
    n_in : int
        Number of channels.
    n_out : int
        Number of channels that it returns.
    ndim : {1, 2}, default=2
        Number of horizontal axes.
    widths : sequence of int, default=(64, 96, 128)
        Channels at full resolution, at half of it, and so on.

    See Also
    --------
    skgrav.inverters.CNNInverter : Trains it.

    Examples
    --------
    >>> import torch
    >>> from skgrav.networks import UNet
    >>> UNet(20, 4)(torch.randn(3, 20, 9, 12)).shape
    torch.Size([3, 4, 9, 12])
    """

    def __init__(
        self, n_in: int, n_out: int, *, ndim: int = 2, widths: Sequence[int] = (64, 96, 128)
    ) -> None:
        super().__init__()
        convolution, self._format = _CONVOLUTIONS[ndim]
        self.n_in, self.ndim = n_in, ndim
        self.multiple = 2 ** (len(widths) - 1)
        self.encoders = nn.ModuleList(
            _Block(convolution, n, m) for n, m in pairwise([n_in, *widths])
        )
        self.down = nn.ModuleList(convolution(n, n, 2, stride=2, groups=n) for n in widths[:-1])
        self.up = nn.ModuleList(convolution(n, m, 1) for m, n in pairwise(widths))
        self.decoders = nn.ModuleList(_Block(convolution, 2 * n, n) for n in widths[:-1])
        self.last = damped(convolution(widths[0], n_out, 1), _LAST)
        whole: Any = self  # torch does not annotate this way to call `to`
        whole.to(memory_format=self._format)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images to images.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_in, nx) or (n_samples, n_in, ny, nx)
            Images.

        Returns
        -------
        images : torch.Tensor of shape (n_samples, n_out, nx) or (n_samples, n_out, ny, nx)
            Images of the same columns.
        """
        check_tensor(x, "x", self.n_in, self.last.weight, self.ndim)
        columns = x.shape[2:]
        lacking = [(0, -n % self.multiple) for n in reversed(columns)]
        x = pad(x, [n for pair in lacking for n in pair]).contiguous(memory_format=self._format)
        skipped = []
        for encoder, down in zip(self.encoders[:-1], self.down, strict=True):
            x = encoder(x)
            skipped.append(x)
            x = down(x)
        x = self.encoders[-1](x)
        for up, decoder in zip(self.up[::-1], self.decoders[::-1], strict=True):
            x = nn.functional.interpolate(up(x), scale_factor=2)
            x = decoder(torch.cat([x, skipped.pop()], dim=1))
        x = self.last(x)
        return x[(..., *(slice(n) for n in columns))]


class _Block(nn.Module):
    """Two convolutions of three columns; the second adds to the first."""

    def __init__(self, convolution: Any, n_in: int, n_out: int) -> None:
        super().__init__()
        self.first = convolution(n_in, n_out, 3, padding=1)
        self.second = convolution(n_out, n_out, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = gelu(self.first(x))
        return x + gelu(self.second(x))
