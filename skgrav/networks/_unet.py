"""U-Net over the columns of a mesh, whose layers are channels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn.functional import avg_pool1d, avg_pool2d, interpolate, pad, rms_norm

from skgrav._constraints import POSITIVE, SEVERAL, WHOLE, checked
from skgrav.networks._checks import check_sizes, check_tensor
from skgrav.networks._mixtures import begun, shared
from skgrav.networks._sections import damped

#: Factor of the initial weights of the last layer, so that the output begins small.
_LAST = 0.1

#: Channels of the convolutions of the spread.
_SPREAD_WIDTH = 64

_CONVOLUTIONS: dict[int, tuple[Any, Any, Any]] = {
    1: (nn.Conv1d, avg_pool1d, torch.contiguous_format),
    2: (nn.Conv2d, avg_pool2d, torch.channels_last),
}


class UNet(nn.Module):
    """Convolutions over the columns of a mesh at several resolutions, with skip connections.

    The layers of a mesh are channels, so that images have one axis for a section and two for a
    volume, of any number of columns. Pairs of columns along each axis become channels, too: the
    same number of operations at half the resolution has four times the weights.

    The first channels are an estimate of the output, and a share of them is added to it. The shares
    are trained, as an estimate from noise-free data is too rough to be corrected.

    Parameters
    ----------
    n_in : int
        Number of channels.
    n_out : int
        Number of channels that it returns, at most `n_in`.
    ndim : {1, 2}, default=2
        Number of horizontal axes.
    widths : sequence of int, default=(112, 176, 256)
        Channels at half of the resolution, at a quarter, and so on.
    spread : sequence of float, default=()
        Initial values of further images for each channel that it returns, of the spread about it.
        They are made of features and output.

    Raises
    ------
    ValueError
        If `ndim` is another number, or `widths` is empty.

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

    @checked(
        n_in=[POSITIVE], n_out=[POSITIVE], ndim=[WHOLE], widths=[list, tuple], spread=[*SEVERAL]
    )
    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        ndim: int = 2,
        widths: Sequence[int] = (112, 176, 256),
        spread: Sequence[float] = (),
    ) -> None:
        super().__init__()
        if ndim not in _CONVOLUTIONS:
            raise ValueError(f"'ndim' is {ndim!r}; it must be 1 for sections or 2 for volumes.")
        check_sizes(widths, "widths")
        convolution, _, memory_format = _CONVOLUTIONS[ndim]
        self.n_in, self.ndim = n_in, ndim
        self.multiple = 2 ** len(widths)
        sizes = [n_in * 2**ndim, *widths]
        self.encoders = nn.ModuleList(_Block(convolution, n, m) for n, m in pairwise(sizes))
        self.decoders = nn.ModuleList(_Block(convolution, m + n, n) for n, m in pairwise(widths))
        self.last = damped(convolution(widths[0], n_out * 2**ndim, 3, padding=1), _LAST)
        self.share = nn.Parameter(torch.ones(n_out))
        self.spread: nn.Module | None = None
        if spread:
            n = n_out * 2**ndim
            block = _Block(convolution, widths[0] + n, _SPREAD_WIDTH)
            last = damped(convolution(_SPREAD_WIDTH, len(spread) * n, 1), _LAST)
            self.spread = nn.Sequential(block, begun(last, spread))
        whole: Any = self  # torch does not annotate this way to call `to`
        whole.to(memory_format=memory_format)

    def forward(
        self, x: torch.Tensor, *, with_spread: bool = False
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Map images to images.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_in, nx) or (n_samples, n_in, ny, nx)
            Images.
        with_spread : bool, default=False
            Whether to return the images of the spread as well.

        Returns
        -------
        images : torch.Tensor of shape (n_samples, n_out, nx) or (n_samples, n_out, ny, nx)
            Images of the same columns.
        spread : torch.Tensor of shape (n_samples, len(spread) * n_out, nx) or (..., ny, nx)
            Images of the spread. Only if `with_spread` is True.
        """
        check_tensor(x, "x", self.n_in, self.last.weight, self.ndim)
        columns, estimate = x.shape[2:], x[:, : len(self.share)]
        inside: Any = (..., *(slice(n) for n in columns))
        features = self._features(x)
        out = self.last(features)
        share = self.share.unflatten(0, (-1, *(1 for _ in columns)))
        images = _unpaired(out)[inside] + share * estimate
        if not with_spread:
            return images
        if self.spread is None:
            raise ValueError("'with_spread' is True, but the network has none; give 'spread'.")
        given = [shared(features), _paired(self._padded(images.detach()))]
        return images, _unpaired(self.spread(torch.cat(given, dim=1)))[inside]

    def _features(self, x: torch.Tensor) -> torch.Tensor:
        """Return the channels of pairs of columns before the last layer."""
        x = _paired(self._padded(x))
        _, pool, memory_format = _CONVOLUTIONS[self.ndim]  # formats of torch cannot be pickled
        x = x.contiguous(memory_format=memory_format)
        skipped = []
        for encoder in self.encoders[:-1]:
            x = encoder(x)
            skipped.append(x)
            x = pool(x, 2)
        x = self.encoders[-1](x)
        for decoder in self.decoders[::-1]:
            x = decoder(torch.cat([interpolate(x, scale_factor=2), skipped.pop()], dim=1))
        return x

    def _padded(self, x: torch.Tensor) -> torch.Tensor:
        """Return images with columns of zeros, to a number that can be halved often enough."""
        lacking = [(0, -n % self.multiple) for n in reversed(x.shape[2:])]
        return pad(x, [n for pair in lacking for n in pair])


class _Block(nn.Module):
    """Two normalised convolutions of three columns."""

    def __init__(self, convolution: Any, n_in: int, n_out: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for n in (n_in, n_out):
            layers += [convolution(n, n_out, 3, padding=1), _ColumnNorm(n_out), nn.GELU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class _ColumnNorm(nn.Module):
    """Division by the rms of the channels of a column, which does not depend on other columns."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(n_channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gain = self.gain.to(x.dtype)
        return rms_norm(x.movedim(1, -1), gain.shape, gain, 1e-4).movedim(-1, 1)


def _paired(images: torch.Tensor) -> torch.Tensor:
    """Make channels of pairs of columns along each axis."""
    for axis in range(2, images.ndim):
        images = images.unflatten(axis, (-1, 2)).movedim(axis + 1, 2).flatten(1, 2)
    return images


def _unpaired(images: torch.Tensor) -> torch.Tensor:
    """Make columns of channels that `_paired` made of them."""
    for axis in range(images.ndim - 1, 1, -1):
        pairs = images.unflatten(1, (-1, 2)).movedim(2, axis + 1)
        images = pairs.flatten(axis, axis + 1)
    return images
