"""Bases of the networks of sections and volumes: sizes, checks of inputs, documented calls."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Self, TypeVar

import torch
from torch import nn

from skgrav._typing import Indices
from skgrav.networks._checks import check_sizes, check_tensor

Size = TypeVar("Size")

#: Scaled density of inactive cells, which the networks centre to 0, the value of their padding.
FILL = 0.5


class SectionModule(nn.Module):
    """Base of networks of sections or volumes, which know their shape and their active cells.

    Convolutions see a section as an image of layers by columns, and a volume as a map of columns,
    (ny, nx), whose channels are the layers.
    """

    cells: torch.Tensor | None

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        wanted = "(nz, nx) of a section or (nz, ny, nx) of a volume, in cells"
        check_sizes(shape, "shape", wanted, lengths=(2, 3))
        self.shape, self.n_block = shape, math.prod(shape)
        #: Channels, rows and columns of the image that convolutions see.
        self.image = tuple(shape) if len(shape) == 3 else (1, *shape)
        self.n_cells = self.n_block
        self.register_buffer("cells", None, persistent=False)

    def restricted(self, cells: Indices | None) -> Self:
        """Take or return the densities of some cells of the block alone.

        Parameters
        ----------
        cells : sequence of int, or None
            Their indices in the flattened block; the input of the others is 0.5. None keeps
            all.

        Returns
        -------
        self : SectionModule
            The network.
        """
        if cells is not None:
            self.cells, self.n_cells = torch.tensor(cells), len(cells)
        return self

    def _sized(self, section: Size, volume: Size) -> Size:
        """Return the size that networks of sections or of volumes have by default."""
        return section if len(self.shape) == 2 else volume

    def _filled(self, rho: torch.Tensor) -> torch.Tensor:
        """Return densities of the whole block, with `FILL` in inactive cells."""
        if self.cells is None:
            return rho
        return rho.new_full((len(rho), self.n_block), FILL).index_copy(1, self.cells, rho)

    def _active(self, rho: torch.Tensor) -> torch.Tensor:
        """Return the densities of the active cells of whole blocks."""
        return rho if self.cells is None else rho[:, self.cells]


class Encoder(SectionModule):
    """Base of networks from sections or volumes to the posterior of their codes."""

    def __init__(self, shape: tuple[int, ...], n_components: int) -> None:
        super().__init__(shape)
        self.n_components = n_components

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
        return self._encode(self._filled(rho))

    @abstractmethod
    def _encode(self, rho: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]: ...


class Decoder(SectionModule):
    """Base of networks from codes to sections or volumes."""

    def __init__(self, shape: tuple[int, ...], n_components: int) -> None:
        super().__init__(shape)
        self.n_components = n_components

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
        return self._active(self._decode(z))

    @abstractmethod
    def _decode(self, z: torch.Tensor) -> torch.Tensor: ...


class Critic(SectionModule):
    """Base of networks that score sections or volumes."""

    def forward(self, rho: torch.Tensor) -> torch.Tensor:
        """Score densities.

        Parameters
        ----------
        rho : torch.Tensor of shape (n_samples, n_cells)
            Densities in [0, 1]; a critic may compare those of a batch.

        Returns
        -------
        score : torch.Tensor of shape (n_samples,)
            Higher is more realistic; log-odds in the paper's network.
        """
        check_tensor(rho, "rho", self.n_cells, next(self.parameters()))
        return self._score(self._filled(rho).unflatten(1, self.image))

    @abstractmethod
    def _score(self, images: torch.Tensor) -> torch.Tensor: ...
