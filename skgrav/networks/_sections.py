"""Encoder, decoder and critic of sections and volumes: convolutions around a linear code."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

import torch
from torch import nn
from torch.nn.functional import pad, softplus
from torch.nn.utils.parametrizations import spectral_norm

from skgrav._constraints import POSITIVE, checked
from skgrav.networks._checks import check_sizes
from skgrav.networks._codes import Critic, Decoder, Encoder

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d, nn.ConvTranspose2d)

#: Inverse width of the smooth bounds of density, relative to the range.
_SHARPNESS = 50.0


class SectionEncoder(Encoder):
    """Encoder of sections or volumes: a linear map, corrected by strided convolutions.

    Parameters
    ----------
    shape : tuple of two or three ints
        Layers and columns of a section, or layers, rows and columns of a volume, whose layers are
        the channels of 2D convolutions over the map.
    n_components : int
        Length of a code.
    filters : sequence of int, default=None
        Filters of the convolutions, of kernel size 3 and stride 2. None takes (16, 32, 32), and
        for volumes (64, 64, 64).

    See Also
    --------
    SectionDecoder : Maps codes to sections.

    Examples
    --------
    >>> import torch
    >>> from skgrav.networks import SectionEncoder
    >>> mean, log_variance = SectionEncoder((10, 12), 4)(torch.rand(3, 120))
    >>> mean.shape
    torch.Size([3, 4])
    """

    @checked(shape=[list, tuple], n_components=[POSITIVE], filters=[list, tuple, None])
    def __init__(
        self,
        shape: tuple[int, ...],
        n_components: int,
        *,
        filters: Sequence[int] | None = None,
    ) -> None:
        super().__init__(shape, n_components)
        if filters is None:
            filters = self._sized((16, 32, 32), (64, 64, 64))
        check_sizes(filters, "filters")
        self.linear = nn.Linear(self.n_block, n_components)
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise([self.image[0], *filters]):
            layers += [nn.Conv2d(n_in, n_out, 3, stride=2, padding=1), nn.GELU()]
        self.convolutions = nn.Sequential(*layers)
        size = coarsened(self.image[1:], len(filters))[-1]
        self.head = damped(nn.Linear(filters[-1] * math.prod(size), 2 * n_components))

    def _encode(self, rho: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        images = 2.0 * rho.unflatten(1, self.image) - 1.0
        correction, log_variance = self.head(self.convolutions(images).flatten(1)).chunk(2, dim=1)
        return self.linear(rho) + correction, log_variance.clamp(-15.0, 5.0)


class SectionDecoder(Decoder):
    """Decoder of sections or volumes: a linear map, sharpened by convolutions, within bounds.

    The linear map blurs densities; four convolutions at half the resolution restore edges, and a
    smooth clip keeps densities within [0, 1].

    Parameters
    ----------
    shape : tuple of two or three ints
        Layers and columns of a section, or layers, rows and columns of a volume, whose layers are
        the channels of 2D convolutions over the map.
    n_components : int
        Length of a code.
    width : int, default=None
        Channels of the convolutions. None takes 16, and for volumes 64.

    See Also
    --------
    SectionEncoder : Maps sections to codes.

    Examples
    --------
    >>> import torch
    >>> from skgrav.networks import SectionDecoder
    >>> SectionDecoder((10, 12), 4)(torch.randn(3, 4)).shape
    torch.Size([3, 120])
    """

    @checked(shape=[list, tuple], n_components=[POSITIVE], width=[POSITIVE, None])
    def __init__(
        self, shape: tuple[int, ...], n_components: int, *, width: int | None = None
    ) -> None:
        super().__init__(shape, n_components)
        width = width or self._sized(16, 64)
        n_in = 4 * self.image[0]
        self.linear = nn.Linear(n_components, self.n_block)
        self.sharpen = nn.Sequential(
            nn.PixelUnshuffle(2),
            nn.Conv2d(n_in, width, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GELU(),
            damped(nn.Conv2d(width, n_in, 3, padding=1)),
            nn.PixelShuffle(2),
        )

    def _decode(self, z: torch.Tensor) -> torch.Tensor:
        _, rows, columns = self.image
        blurred = self.linear(z).unflatten(1, self.image)
        even = pad(2.0 * blurred - 1.0, (0, columns % 2, 0, rows % 2), mode="replicate")
        return bounded(blurred + self.sharpen(even)[..., :rows, :columns]).flatten(1)


class SectionGenerator(Decoder):
    """Generator of sections or volumes: a linear map plus transposed convolutions, within bounds.

    Parameters
    ----------
    shape : tuple of two or three ints
        Layers and columns of a section, or layers, rows and columns of a volume, whose layers are
        the channels of 2D convolutions over the map.
    n_components : int
        Length of a code.
    filters : sequence of int, default=(64, 32, 16)
        Channels of the image at an eighth, a quarter and half of the resolution.

    See Also
    --------
    SectionCritic : Is trained against it.

    Examples
    --------
    >>> import torch
    >>> from skgrav.networks import SectionGenerator
    >>> SectionGenerator((10, 12), 4)(torch.randn(3, 4)).shape
    torch.Size([3, 120])
    """

    @checked(shape=[list, tuple], n_components=[POSITIVE], filters=[list, tuple])
    def __init__(
        self, shape: tuple[int, ...], n_components: int, *, filters: Sequence[int] = (64, 32, 16)
    ) -> None:
        super().__init__(shape, n_components)
        check_sizes(filters, "filters")
        sizes = coarsened(self.image[1:], len(filters))[::-1]
        self.linear = nn.Linear(n_components, self.n_block)
        self.coarse = (filters[0], *sizes[0])
        self.dense = nn.Linear(n_components, math.prod(self.coarse))
        layers: list[nn.Module] = []
        for (n_in, n_out), (size, target) in zip(
            pairwise([*filters, self.image[0]]), pairwise(sizes), strict=True
        ):
            layer = upsampling(n_in, n_out, size, target)
            layers += [nn.GELU(), layer]
        damped(layer, 0.1)
        self.upsample = nn.Sequential(*layers)

    def _decode(self, z: torch.Tensor) -> torch.Tensor:
        drawn = self.upsample(self.dense(z).unflatten(1, self.coarse))
        return bounded(self.linear(z) + drawn.flatten(1))


class SectionCritic(Critic):
    """Score of how real a section or a volume looks, with spectral norm in every layer.

    A further channel is the spread over the batch, which shows if all samples are alike.

    Parameters
    ----------
    shape : tuple of two or three ints
        Layers and columns of a section, or layers, rows and columns of a volume, whose layers are
        the channels of 2D convolutions over the map.
    filters : sequence of int, default=(16, 32, 64)
        Filters of the convolutions, of kernel size 3 and stride 2.

    See Also
    --------
    SectionGenerator : Is trained against it.

    Examples
    --------
    >>> import torch
    >>> from skgrav.networks import SectionCritic
    >>> SectionCritic((10, 12))(torch.rand(3, 120)).shape
    torch.Size([3])
    """

    @checked(shape=[list, tuple], filters=[list, tuple])
    def __init__(self, shape: tuple[int, ...], *, filters: Sequence[int] = (16, 32, 64)) -> None:
        super().__init__(shape)
        check_sizes(filters, "filters")
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise([self.image[0], *filters]):
            convolution = nn.Conv2d(n_in, n_out, 3, stride=2, padding=1)
            layers += [spectral_norm(convolution), nn.LeakyReLU(0.2)]
        self.convolutions = nn.Sequential(*layers)
        size = coarsened(self.image[1:], len(filters))[-1]
        self.score = spectral_norm(nn.Linear((filters[-1] + 1) * math.prod(size), 1))

    def _score(self, images: torch.Tensor) -> torch.Tensor:
        features = self.convolutions(2.0 * images - 1.0)
        spread = features.std(dim=0, correction=0).mean()
        spread = spread.expand(len(features), 1, *features.shape[2:])
        return self.score(torch.cat([features, spread], dim=1).flatten(1))[:, 0]


def damped(layer: Layer, factor: float = 0.0) -> Layer:
    """Scale the initial weights of a layer down and set its bias to zero."""
    with torch.no_grad():
        layer.weight.mul_(factor)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def bounded(rho: torch.Tensor) -> torch.Tensor:
    """Bound densities to [0, 1] smoothly, without changing values well inside."""
    near = rho.clamp(-3.0, 4.0)  # the difference would lose precision farther out
    clipped = softplus(near, _SHARPNESS) - softplus(near - 1.0, _SHARPNESS)
    return clipped.clamp(0.0, 1.0)


def coarsened(shape: tuple[int, ...], n_times: int) -> list[tuple[int, ...]]:
    """Return a shape and the shapes after each convolution of stride 2 with padding 1."""
    sizes = [tuple(shape)]
    for _ in range(n_times):
        sizes.append(tuple((n + 1) // 2 for n in sizes[-1]))
    return sizes


def upsampling(
    n_in: int, n_out: int, size: tuple[int, ...], target: tuple[int, ...]
) -> nn.ConvTranspose2d:
    """Return the transposed convolution of stride 2 from one size to another."""
    extra = target[0] - (2 * size[0] - 1), target[1] - (2 * size[1] - 1)
    return nn.ConvTranspose2d(n_in, n_out, 3, stride=2, padding=1, output_padding=extra)
