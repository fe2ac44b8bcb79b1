"""Encoder, decoder and critic of density sections: convolutions around a linear code."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

import torch
from torch import nn
from torch.nn.functional import pad, softplus
from torch.nn.utils.parametrizations import spectral_norm

from skgrav.networks._checks import check_tensor

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d, nn.ConvTranspose2d)

#: Sharpness of the bounds of a density: they are felt within about 1 / 50 of the range.
_SHARPNESS = 50.0


class SectionEncoder(nn.Module):
    """Code of a section: a linear map, corrected by strided convolutions.

    Parameters
    ----------
    shape : tuple of two ints
        Layers and columns of the mesh.
    n_components : int
        Length of a code.
    filters : sequence of int, default=(16, 32, 32)
        Filters of the convolutions, of kernel size 3 and stride 2.

    See Also
    --------
    SectionDecoder : The way back.

    Examples
    --------
    >>> import torch
    >>> from skgrav.networks import SectionEncoder
    >>> mean, log_variance = SectionEncoder((10, 12), 4)(torch.rand(3, 120))
    >>> mean.shape
    torch.Size([3, 4])
    """

    def __init__(
        self, shape: tuple[int, int], n_components: int, *, filters: Sequence[int] = (16, 32, 32)
    ) -> None:
        super().__init__()
        self.shape = shape
        self.linear = nn.Linear(shape[0] * shape[1], n_components)
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise([1, *filters]):
            layers += [nn.Conv2d(n_in, n_out, 3, stride=2, padding=1), nn.GELU()]
        self.convolutions = nn.Sequential(*layers)
        nz, nx = coarsened(shape, len(filters))[-1]
        self.head = zeroed(nn.Linear(filters[-1] * nz * nx, 2 * n_components))

    def forward(self, rho: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Map densities to the posterior of their codes.

        Parameters
        ----------
        rho : torch.Tensor of shape (n_samples, n_cells)
            Densities in [0, 1].

        Returns
        -------
        mean, log_variance : torch.Tensor of shape (n_samples, n_components)
            Gaussian posterior of each code.
        """
        check_tensor(rho, "rho", self.linear.in_features, self.linear.weight)
        sections = 2.0 * rho.unflatten(1, (1, *self.shape)) - 1.0
        correction, log_variance = self.head(self.convolutions(sections).flatten(1)).chunk(2, dim=1)
        return self.linear(rho) + correction, log_variance.clamp(-15.0, 5.0)


class SectionDecoder(nn.Module):
    """Section of a code: a linear map, sharpened by convolutions, within bounds.

    Densities leave the linear map blurred; four convolutions at half the resolution restore
    edges, and a smooth clip keeps them within [0, 1]. With `width` 0 there are no convolutions.

    Parameters
    ----------
    shape : tuple of two ints
        Layers and columns of the mesh.
    n_components : int
        Length of a code.
    width : int, default=16
        Channels of the convolutions.

    See Also
    --------
    SectionEncoder : The way back.

    Examples
    --------
    >>> import torch
    >>> from skgrav.networks import SectionDecoder
    >>> SectionDecoder((10, 12), 4)(torch.randn(3, 4)).shape
    torch.Size([3, 120])
    """

    def __init__(self, shape: tuple[int, int], n_components: int, *, width: int = 16) -> None:
        super().__init__()
        self.shape = shape
        self.linear = nn.Linear(n_components, shape[0] * shape[1])
        last = zeroed(nn.Conv2d(width, 4, 3, padding=1))
        self.sharpen = nn.Sequential(
            nn.PixelUnshuffle(2),
            nn.Conv2d(4, width, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GELU(),
            last,
            nn.PixelShuffle(2),
        )

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Map codes to densities.

        Parameters
        ----------
        z : torch.Tensor of shape (n_samples, n_components)
            Codes.

        Returns
        -------
        rho : torch.Tensor of shape (n_samples, n_cells)
            Densities in [0, 1].
        """
        check_tensor(z, "z", self.linear.in_features, self.linear.weight)
        nz, nx = self.shape
        blurred = self.linear(z).unflatten(1, (1, nz, nx))
        even = pad(2.0 * blurred - 1.0, (0, nx % 2, 0, nz % 2), mode="replicate")
        return bounded(blurred + self.sharpen(even)[..., :nz, :nx]).flatten(1)


class SectionGenerator(nn.Module):
    """Section of a code: a linear map, on which transposed convolutions draw, within bounds.

    Parameters
    ----------
    shape : tuple of two ints
        Layers and columns of the mesh.
    n_components : int
        Length of a code.
    filters : sequence of int, default=(64, 32, 16)
        Channels of the section at an eighth, a quarter and half of the resolution.

    See Also
    --------
    SectionCritic : What it is trained against.

    Examples
    --------
    >>> import torch
    >>> from skgrav.networks import SectionGenerator
    >>> SectionGenerator((10, 12), 4)(torch.randn(3, 4)).shape
    torch.Size([3, 120])
    """

    def __init__(
        self, shape: tuple[int, int], n_components: int, *, filters: Sequence[int] = (64, 32, 16)
    ) -> None:
        super().__init__()
        sizes = coarsened(shape, len(filters))[::-1]
        self.linear = nn.Linear(n_components, shape[0] * shape[1])
        self.coarse = (filters[0], *sizes[0])
        self.dense = nn.Linear(n_components, math.prod(self.coarse))
        layers: list[nn.Module] = []
        for (n_in, n_out), (size, target) in zip(
            pairwise([*filters, 1]), pairwise(sizes), strict=True
        ):
            layer = upsampling(n_in, n_out, size, target)
            layers += [nn.GELU(), layer]
        zeroed(layer, 0.1)
        self.upsample = nn.Sequential(*layers)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Map codes to densities.

        Parameters
        ----------
        z : torch.Tensor of shape (n_samples, n_components)
            Codes.

        Returns
        -------
        rho : torch.Tensor of shape (n_samples, n_cells)
            Densities in [0, 1].
        """
        check_tensor(z, "z", self.linear.in_features, self.linear.weight)
        drawn = self.upsample(self.dense(z).unflatten(1, self.coarse))
        return bounded(self.linear(z) + drawn.flatten(1))


class SectionCritic(nn.Module):
    """Score of how real a section looks, with spectral norm in every layer.

    One more channel holds the spread over the batch, so that samples which are all alike give
    themselves away.

    Parameters
    ----------
    shape : tuple of two ints
        Layers and columns of the mesh.
    filters : sequence of int, default=(16, 32, 64)
        Filters of the convolutions, of kernel size 3 and stride 2.

    See Also
    --------
    SectionGenerator : What is trained against it.

    Examples
    --------
    >>> import torch
    >>> from skgrav.networks import SectionCritic
    >>> SectionCritic((10, 12))(torch.rand(3, 120)).shape
    torch.Size([3])
    """

    def __init__(self, shape: tuple[int, int], *, filters: Sequence[int] = (16, 32, 64)) -> None:
        super().__init__()
        self.shape = shape
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise([1, *filters]):
            convolution = nn.Conv2d(n_in, n_out, 3, stride=2, padding=1)
            layers += [spectral_norm(convolution), nn.LeakyReLU(0.2)]
        self.convolutions = nn.Sequential(*layers)
        nz, nx = coarsened(shape, len(filters))[-1]
        self.score = spectral_norm(nn.Linear((filters[-1] + 1) * nz * nx, 1))

    def forward(self, rho: torch.Tensor) -> torch.Tensor:
        """Score densities.

        Parameters
        ----------
        rho : torch.Tensor of shape (n_samples, n_cells)
            Densities in [0, 1], a batch to be judged together.

        Returns
        -------
        score : torch.Tensor of shape (n_samples,)
            Higher is more real.
        """
        check_tensor(rho, "rho", math.prod(self.shape), self.score.bias)
        features = self.convolutions(2.0 * rho.unflatten(1, (1, *self.shape)) - 1.0)
        spread = features.std(dim=0, correction=0).mean()
        spread = spread.expand(len(features), 1, *features.shape[2:])
        return self.score(torch.cat([features, spread], dim=1).flatten(1))[:, 0]


def zeroed(layer: Layer, left: float = 0.0) -> Layer:
    """Scale the weights of a layer down and take its bias away, so that it starts with little."""
    with torch.no_grad():
        layer.weight.mul_(left)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def bounded(rho: torch.Tensor) -> torch.Tensor:
    """Keep densities within [0, 1], smoothly, and leave those well inside as they are."""
    near = rho.clamp(-3.0, 4.0)  # farther out nothing changes but the rounding
    clipped = softplus(near, _SHARPNESS) - softplus(near - 1.0, _SHARPNESS)
    return clipped.clamp(0.0, 1.0)


def coarsened(shape: tuple[int, int], n_times: int) -> list[tuple[int, int]]:
    """Return a shape and those after convolutions of stride 2 with padding 1."""
    sizes = [shape]
    for _ in range(n_times):
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    return sizes


def upsampling(
    n_in: int, n_out: int, size: tuple[int, int], target: tuple[int, int]
) -> nn.ConvTranspose2d:
    """Return the transposed convolution of stride 2 from one size to another."""
    extra = target[0] - (2 * size[0] - 1), target[1] - (2 * size[1] - 1)
    return nn.ConvTranspose2d(n_in, n_out, 3, stride=2, padding=1, output_padding=extra)
