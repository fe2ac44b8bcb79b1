"""Bases of the networks of sections: sizes, checks of inputs and documented calls."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import nn

from skgrav.networks._checks import check_tensor


class Encoder(nn.Module):
    """Base of networks from sections to the posterior of their codes."""

    def __init__(self, shape: tuple[int, int], n_components: int) -> None:
        super().__init__()
        self.shape, self.n_cells, self.n_components = shape, math.prod(shape), n_components

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
        check_tensor(rho, "rho", self.n_cells, next(self.parameters()))
        return self._encode(rho)

    @abstractmethod
    def _encode(self, rho: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]: ...


class Decoder(nn.Module):
    """Base of networks from codes to sections."""

    def __init__(self, shape: tuple[int, int], n_components: int) -> None:
        super().__init__()
        self.shape, self.n_cells, self.n_components = shape, math.prod(shape), n_components

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
        check_tensor(z, "z", self.n_components, next(self.parameters()))
        return self._decode(z)

    @abstractmethod
    def _decode(self, z: torch.Tensor) -> torch.Tensor: ...


class Critic(nn.Module):
    """Base of networks that score sections."""

    def __init__(self, shape: tuple[int, int]) -> None:
        super().__init__()
        self.shape, self.n_cells = shape, math.prod(shape)

    def forward(self, rho: torch.Tensor) -> torch.Tensor:
        """Score densities.

        Parameters
        ----------
        rho : torch.Tensor of shape (n_samples, n_cells)
            Densities in [0, 1]; a critic may compare the sections of a batch.

        Returns
        -------
        score : torch.Tensor of shape (n_samples,)
            Higher is more realistic; log-odds in the paper's network.
        """
        check_tensor(rho, "rho", self.n_cells, next(self.parameters()))
        return self._score(rho.unflatten(1, (1, *self.shape)))

    @abstractmethod
    def _score(self, sections: torch.Tensor) -> torch.Tensor: ...
