"""Network from whitened data through linear images of density on the mesh."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import nn

from skgrav._typing import Array, Array32, Indices, Mask
from skgrav.networks._averaging import AveragedWeights
from skgrav.networks._checks import check_tensor
from skgrav.networks._mixtures import INITIAL, CellMixtures, some_cells

#: The spread is trained at one cell in so many.
_STEP = 4


@dataclass(frozen=True, eq=False)
class ImageFrame:
    """What an `ImageNetwork` knows of mesh and survey, which may change after training."""

    #: Eigenvectors of the covariance of whitened data in units of their typical rms, one a column,
    #: and eigenvalues.
    rotation: Array
    variance: Array
    #: Covariance of each coordinate and the images, (n_white, n_maps, nx) or (..., ny, nx): the
    #: layers of density in units of `scale`, then maps of data.
    gain: Array32
    #: Active cells of the flattened block, and the block as a mask.
    cells: Indices
    active: Mask


class ImageNetwork(nn.Module):
    """Network from whitened data to density, through linear images of it.

    Each image is the best linear estimate at another level of noise: the noise itself, and higher
    ones, which blur. A batch in training is turned or mirrored at random, and its output turned
    back. Estimates are means over all such images.

    Parameters
    ----------
    body : torch.nn.Module
        Network from `n_channels` images to the layers of density in units of `scale`.
    frame : callable
        Returns the `ImageFrame` when first needed, and after unpickling, since it is large.
    levels : sequence of float
        Noise added to that of a sample for each image, relative to the rms of the data.
    mean : ndarray of shape (n_layers,)
        Mean density in units of `scale`.
    scale : float
        Unit of density.
    symmetry : {None, "mirror", "turns"}
        Images to train on.
    masked : bool
        Whether the mask of active cells is among the channels.
    spread : bool
        Whether the body has images of the spread, from which `mixtures` are made.
    """

    #: Least rms of data relative to the typical one.
    _LEAST = 1e-3

    mean: torch.Tensor
    levels: torch.Tensor

    def __init__(
        self,
        body: nn.Module,
        frame: Callable[[], ImageFrame],
        *,
        levels: Any,
        mean: Array,
        scale: float,
        symmetry: str | None,
        masked: bool,
        spread: bool = False,
    ) -> None:
        super().__init__()
        self.body = AveragedWeights(body)
        self._frame = frame
        self._held: dict[Any, Any] | None = None
        self.scale, self.symmetry, self.masked = scale, symmetry, masked
        self.spread = spread
        as_buffer = {"mean": np.asarray(mean), "levels": np.asarray(levels)}
        for name, values in as_buffer.items():
            buffer = torch.tensor(values, dtype=torch.float32)
            self.register_buffer(name, buffer, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, CellMixtures]:
        """Map whitened data to densities.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_white + 1)
            Whitened data less their mean, in units of their typical rms, and the decimal logarithm
            of their noise in this unit.

        Returns
        -------
        rho : torch.Tensor of shape (n_samples, n_cells)
            Densities.
        mixtures : CellMixtures
            Distributions of some cells, for the loss. Only in training mode, and with `spread`.
        """
        check_tensor(x, "x", len(self._tensors(x.device)["rotation"]) + 1)
        channels, turns = self.channels(x), self._turns()
        if not self.training:
            return self._sum(channels, turns) / len(turns)
        turn = turns[int(torch.randint(len(turns), ()))]  # one of them at random
        if not self.spread:
            return self._estimate(channels, turn)
        rho, raw = self._with_spread(channels, turn)
        cells = some_cells(rho.shape[1], _STEP)
        return rho, CellMixtures(raw[:, :, cells], rho.detach()[:, cells], self.scale, cells)

    def mixtures(self, x: torch.Tensor) -> CellMixtures:
        """Return the distributions of all cells, for inputs as of `forward`.

        Means are over all turned images, spreads are those of the first.
        """
        channels, (first, *turns) = self.channels(x), self._turns()
        rho, raw = self._with_spread(channels, first)
        if turns:
            rho = (rho + self._sum(channels, turns)) / (1 + len(turns))
        return CellMixtures(raw, rho, self.scale)

    def _sum(self, channels: torch.Tensor, turns: list[tuple[bool, ...]]) -> torch.Tensor:
        return torch.stack([self._estimate(channels, turn) for turn in turns]).sum(dim=0)

    def _estimate(self, channels: torch.Tensor, turn: tuple[bool, ...]) -> torch.Tensor:
        return self._densities(self.body(_turned(channels, turn)), turn)

    def _with_spread(
        self, channels: torch.Tensor, turn: tuple[bool, ...]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return densities and raw spreads, (n_samples, 5, n_cells)."""
        out, raw = self.body(_turned(channels, turn), with_spread=True)
        raw = _turned_back(raw, turn).float().unflatten(1, (len(INITIAL), -1)).flatten(2)
        return self._densities(out, turn), self._active(raw)

    def _densities(self, out: torch.Tensor, turn: tuple[bool, ...]) -> torch.Tensor:
        out = _turned_back(out, turn).float()
        out = out + self.mean[(slice(None), *(None for _ in out.shape[2:]))]
        return self._active(out.flatten(1)) * self.scale

    def _active(self, values: torch.Tensor) -> torch.Tensor:
        """Return the values of active cells, on the last axis."""
        cells = self._tensors(values.device)["cells"]
        return values if cells is None else values[..., cells]

    def channels(self, x: torch.Tensor) -> torch.Tensor:
        """Return the channels of the body, the first image first."""
        held = self._tensors(x.device)
        gain, shape = held["gain"], held["shape"]
        with torch.autocast(x.device.type, enabled=False):  # small eigenvalues need the digits
            data, sigma = x[:, :-1], 10.0 ** x[:, -1:]
            size2 = data.square().mean(dim=1, keepdim=True)
            size2 = size2.clamp_min(self._LEAST**2)
            noise2 = sigma.square() + self.levels.square() * size2
            level = torch.log10(sigma.square() / size2) / 2
            c = (data.to(held["rotation"].dtype) @ held["rotation"])[:, None]
            c = (c / (held["variance"] + noise2[:, :, None])).float()
        if torch.is_autocast_enabled(x.device.type):
            # Autocast itself would convert this large matrix at every step.
            precision = torch.get_autocast_dtype(x.device.type)
            if precision not in held:
                held[precision] = gain.to(precision)
            gain = held[precision]
        images = (c @ gain).unflatten(2, shape)
        plane = ((level + 3.0) / 2.0)[(..., *(None for _ in shape[1:]))]
        plane = plane.expand(-1, 1, *shape[1:])
        parts = [images.flatten(1, 2), plane.to(images.dtype)]
        if self.masked:
            parts.append(held["active"].to(images.dtype).expand(len(x), *held["active"].shape))
        return torch.cat(parts, dim=1)

    def _turns(self) -> list[tuple[bool, ...]]:
        """Return all choices of whether to flip each horizontal axis and to exchange both."""
        if self.symmetry is None:
            return [()]
        n = self._tensors(self.mean.device)["active"].ndim - 1 + (self.symmetry == "turns")
        return list(product((False, True), repeat=n))

    def _tensors(self, device: torch.device) -> dict[Any, Any]:
        if self._held is None or self._held["device"] != device:
            frame = self._frame()
            gain = torch.tensor(frame.gain, device=device)
            # Divided by small eigenvalues, rounding errors of single precision would be seen.
            digits = torch.float32 if device.type == "mps" else torch.float64
            self._held = {
                "device": device,
                "rotation": torch.tensor(frame.rotation, dtype=digits, device=device),
                "variance": torch.tensor(frame.variance, dtype=digits, device=device),
                "gain": gain.flatten(1),
                "shape": gain.shape[1:],
                # Indexing has a slow gradient, and most meshes have active cells alone.
                "cells": None if frame.active.all() else torch.tensor(frame.cells, device=device),
                "active": torch.tensor(frame.active, device=device),
            }
        return self._held

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_held": None}


def _turned(images: torch.Tensor, turn: tuple[bool, ...]) -> torch.Tensor:
    flipped = [-1 - axis for axis in range(min(2, len(turn))) if turn[axis]]
    images = images.flip(flipped) if flipped else images
    return images.transpose(-1, -2) if len(turn) > 2 and turn[2] else images


def _turned_back(images: torch.Tensor, turn: tuple[bool, ...]) -> torch.Tensor:
    images = images.transpose(-1, -2) if len(turn) > 2 and turn[2] else images
    flipped = [-1 - axis for axis in range(min(2, len(turn))) if turn[axis]]
    return images.flip(flipped) if flipped else images
