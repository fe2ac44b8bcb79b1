"""Networks of the paper's VAE, along the flattened section, and of its GAN."""

from __future__ import annotations

import math

import torch
from torch import nn

from skgrav._constraints import POSITIVE, checked
from skgrav.networks._codes import Critic, Decoder, Encoder
from skgrav.networks._sections import coarsened, upsampling


class PaperEncoder(Encoder):
    """Encoder of the paper's VAE: convolutions along the flattened section.

    Parameters
    ----------
    shape : tuple of two ints
        Layers and columns of the mesh.
    n_components : int
        Length of a code.

    See Also
    --------
    PaperDecoder : Maps codes to sections.

    Examples
    --------
    >>> from skgrav.networks import PaperEncoder
    >>> sum(p.numel() for p in PaperEncoder((51, 51), 15).parameters())
    41710570
    """

    @checked(shape=[tuple, list], n_components=[POSITIVE])
    def __init__(self, shape: tuple[int, ...], n_components: int) -> None:
        super().__init__(shape, n_components)
        self.convolutions = nn.Sequential(
            nn.Conv1d(1, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv1d(32, 64, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv1d(64, 128, 3, padding=1),
            nn.ReLU(),
        )
        length = math.ceil(self.n_block / 4)
        self.dense = nn.Sequential(nn.Linear(128 * length, 500), nn.ReLU())
        self.head = nn.Linear(500, 2 * n_components)

    def _encode(self, rho: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.convolutions(rho[:, None]).flatten(1)
        mean, log_variance = self.head(self.dense(features)).chunk(2, dim=1)
        return mean, log_variance


class PaperDecoder(Decoder):
    """Decoder of the paper's VAE: transposed convolutions along the flattened section.

    Parameters
    ----------
    shape : tuple of two ints
        Layers and columns of the mesh.
    n_components : int
        Length of a code.

    See Also
    --------
    PaperEncoder : Maps sections to codes.

    Examples
    --------
    >>> import torch
    >>> from skgrav.networks import PaperDecoder
    >>> PaperDecoder((10, 12), 4)(torch.randn(3, 4)).shape
    torch.Size([3, 120])
    """

    @checked(shape=[tuple, list], n_components=[POSITIVE])
    def __init__(self, shape: tuple[int, ...], n_components: int) -> None:
        super().__init__(shape, n_components)
        length = math.ceil(self.n_block / 4)
        self.dense = nn.Sequential(
            nn.Linear(n_components, 500), nn.ReLU(), nn.Linear(500, 128 * length), nn.ReLU()
        )
        self.convolutions = nn.Sequential(
            nn.ConvTranspose1d(128, 64, 3, stride=2, padding=1, output_padding=1),
            nn.ReLU(),
            nn.ConvTranspose1d(64, 32, 3, stride=2, padding=1, output_padding=1),
            nn.ReLU(),
            nn.ConvTranspose1d(32, 1, 3, padding=1),
        )

    def _decode(self, z: torch.Tensor) -> torch.Tensor:
        features = self.dense(z).unflatten(1, (128, -1))
        return torch.sigmoid(self.convolutions(features)[:, 0, : self.n_block])


class PaperGenerator(Decoder):
    """Generator of the paper's GAN: transposed convolutions up to the section.

    Parameters
    ----------
    shape : tuple of two ints
        Layers and columns of the mesh; 51 x 51 passes through 7, 13 and 26 cells.
    n_components : int
        Length of a code.

    See Also
    --------
    PaperDiscriminator : Is trained against it.

    Examples
    --------
    >>> from skgrav.networks import PaperGenerator
    >>> PaperGenerator((51, 51), 50).coarse
    (128, 7, 7)
    """

    @checked(shape=[tuple, list], n_components=[POSITIVE])
    def __init__(self, shape: tuple[int, ...], n_components: int) -> None:
        super().__init__(shape, n_components)
        sizes = coarsened(shape, 3)[::-1]
        self.coarse = (128, *sizes[0])
        self.dense = nn.Sequential(nn.Linear(n_components, math.prod(self.coarse)), nn.ReLU())
        self.upsample = nn.Sequential(
            upsampling(128, 64, sizes[0], sizes[1]),
            nn.ReLU(),
            upsampling(64, 32, sizes[1], sizes[2]),
            nn.ReLU(),
            upsampling(32, 1, sizes[2], sizes[3]),
        )

    def _decode(self, z: torch.Tensor) -> torch.Tensor:
        features = self.dense(z).unflatten(1, self.coarse)
        return torch.sigmoid(self.upsample(features)).flatten(1)


class PaperDiscriminator(Critic):
    """Discriminator of the paper's GAN: three strided convolutions and one dense layer.

    Parameters
    ----------
    shape : tuple of two ints
        Layers and columns of the mesh.

    See Also
    --------
    PaperGenerator : Is trained against it.

    Examples
    --------
    >>> import torch
    >>> from skgrav.networks import PaperDiscriminator
    >>> PaperDiscriminator((10, 12))(torch.rand(3, 120)).shape
    torch.Size([3])
    """

    @checked(shape=[tuple, list])
    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(shape)
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, 32, 3, stride=2, padding=1),
            nn.LeakyReLU(0.3),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            nn.LeakyReLU(0.3),
            nn.Conv2d(64, 128, 3, stride=2, padding=1),
            nn.LeakyReLU(0.3),
        )
        self.score = nn.Linear(128 * math.prod(coarsened(shape, 3)[-1]), 1)

    def _score(self, images: torch.Tensor) -> torch.Tensor:
        return self.score(self.convolutions(images).flatten(1))[:, 0]
