"""The generators of the paper: a VAE along the flattened section, and a GAN."""

from __future__ import annotations

import math

import torch
from torch import nn

from skgrav.networks._checks import check_tensor
from skgrav.networks._sections import coarsened, upsampling


class PaperEncoder(nn.Module):
    """Encoder of the paper's VAE: convolutions along the flattened section.

    Parameters
    ----------
    shape : tuple of two ints
        Layers and columns of the mesh.
    n_components : int
        Length of a code.

    See Also
    --------
    PaperDecoder : The way back.

    Examples
    --------
    >>> from skgrav.networks import PaperEncoder
    >>> sum(p.numel() for p in PaperEncoder((51, 51), 15).parameters())
    41710570
    """

    def __init__(self, shape: tuple[int, int], n_components: int) -> None:
        super().__init__()
        self.n_cells = math.prod(shape)
        self.convolutions = nn.Sequential(
            nn.Conv1d(1, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv1d(32, 64, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv1d(64, 128, 3, padding=1),
            nn.ReLU(),
        )
        length = math.ceil(self.n_cells / 4)
        self.dense = nn.Sequential(nn.Linear(128 * length, 500), nn.ReLU())
        self.head = nn.Linear(500, 2 * n_components)

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
        check_tensor(rho, "rho", self.n_cells, self.head.weight)
        features = self.convolutions(rho[:, None]).flatten(1)
        mean, log_variance = self.head(self.dense(features)).chunk(2, dim=1)
        return mean, log_variance


class PaperDecoder(nn.Module):
    """Decoder of the paper's VAE: transposed convolutions along the flattened section.

    Parameters
    ----------
    shape : tuple of two ints
        Layers and columns of the mesh.
    n_components : int
        Length of a code.

    See Also
    --------
    PaperEncoder : The way back.

    Examples
    --------
    >>> import torch
    >>> from skgrav.networks import PaperDecoder
    >>> PaperDecoder((10, 12), 4)(torch.randn(3, 4)).shape
    torch.Size([3, 120])
    """

    def __init__(self, shape: tuple[int, int], n_components: int) -> None:
        super().__init__()
        self.n_cells, self.n_components = math.prod(shape), n_components
        length = math.ceil(self.n_cells / 4)
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
        check_tensor(z, "z", self.n_components, self.convolutions[0].weight)
        features = self.dense(z).unflatten(1, (128, -1))
        return torch.sigmoid(self.convolutions(features)[:, 0, : self.n_cells])


class PaperGenerator(nn.Module):
    """Generator of the paper's GAN: transposed convolutions up to the section.

    Parameters
    ----------
    shape : tuple of two ints
        Layers and columns of the mesh; 51 x 51 goes over 7, 13 and 26 cells.
    n_components : int
        Length of a code.

    See Also
    --------
    PaperDiscriminator : What it is trained against.

    Examples
    --------
    >>> from skgrav.networks import PaperGenerator
    >>> PaperGenerator((51, 51), 50).coarse
    (128, 7, 7)
    """

    def __init__(self, shape: tuple[int, int], n_components: int) -> None:
        super().__init__()
        self.n_components = n_components
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
        check_tensor(z, "z", self.n_components, self.upsample[0].weight)
        features = self.dense(z).unflatten(1, self.coarse)
        return torch.sigmoid(self.upsample(features)).flatten(1)


class PaperDiscriminator(nn.Module):
    """Discriminator of the paper's GAN: three strided convolutions and one dense layer.

    Parameters
    ----------
    shape : tuple of two ints
        Layers and columns of the mesh.

    See Also
    --------
    PaperGenerator : What is trained against it.

    Examples
    --------
    >>> import torch
    >>> from skgrav.networks import PaperDiscriminator
    >>> PaperDiscriminator((10, 12))(torch.rand(3, 120)).shape
    torch.Size([3])
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        super().__init__()
        self.shape = shape
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, 32, 3, stride=2, padding=1),
            nn.LeakyReLU(0.3),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            nn.LeakyReLU(0.3),
            nn.Conv2d(64, 128, 3, stride=2, padding=1),
            nn.LeakyReLU(0.3),
        )
        self.score = nn.Linear(128 * math.prod(coarsened(shape, 3)[-1]), 1)

    def forward(self, rho: torch.Tensor) -> torch.Tensor:
        """Score densities.

        Parameters
        ----------
        rho : torch.Tensor of shape (n_samples, n_cells)
            Densities in [0, 1].

        Returns
        -------
        score : torch.Tensor of shape (n_samples,)
            Log-odds of being real.
        """
        check_tensor(rho, "rho", math.prod(self.shape), self.score.weight)
        sections = rho.unflatten(1, (1, *self.shape))
        return self.score(self.convolutions(sections).flatten(1))[:, 0]
