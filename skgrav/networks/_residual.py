"""Default network of CNNInverter: the correction of a linear estimate, from whitened data."""

from __future__ import annotations

from numbers import Integral

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn
from torch.nn.functional import gelu

from skgrav._checks import check_array, real_array
from skgrav._constraints import POSITIVE, Interval, checked
from skgrav._typing import Array
from skgrav.networks._checks import check_tensor
from skgrav.networks._consistency import DataConsistency
from skgrav.networks._mixtures import INITIAL, CellMixtures, shared, some_cells
from skgrav.networks._sections import damped

#: Width of the layers of the spread, and number of images that each of its numbers is a sum of; it
#: is trained at one cell in `_STEP`.
_SPREAD_WIDTH, _N_IMAGES, _STEP = 256, 160, 8


class ResidualMLP(nn.Module):
    """Network from whitened data and their noise to the correction of the best linear estimate.

    Residual blocks of two dense layers with layer normalisation. Data are divided by their rms,
    which is a further input, as is the noise. The last layer starts at zero, so that training
    starts from the linear estimate.

    Parameters
    ----------
    n_data : int
        Number of whitened data.
    scale : array-like of shape (n_components,)
        Typical sizes of the components of the correction.
    width : int, default=512
        Width of the dense layers.
    n_blocks : int, default=4
        Number of residual blocks.
    components : array-like of shape (n_components, n_cells), default=None
        The components, for distributions of each cell about the corrected estimate. None makes a
        network without them.

    See Also
    --------
    skgrav.inverters.CNNInverter : Trains it.

    Examples
    --------
    >>> import torch
    >>> from skgrav.networks import ResidualMLP
    >>> ResidualMLP(120, [1.0] * 200)(torch.randn(3, 121)).shape
    torch.Size([3, 200])
    """

    #: Further inputs: three functions of the noise, and the size of the data.
    _N_FURTHER = 4

    @checked(
        n_data=[POSITIVE], width=[POSITIVE], n_blocks=[Interval(Integral, 0, 10_000, closed="both")]
    )
    def __init__(
        self,
        n_data: int,
        scale: ArrayLike,
        *,
        width: int = 512,
        n_blocks: int = 4,
        components: ArrayLike | None = None,
    ) -> None:
        super().__init__()
        self.n_data = n_data
        self.scale: torch.Tensor
        self.components: torch.Tensor
        sizes = check_array(scale, "scale", ensure_2d=False)
        self.register_buffer("scale", torch.tensor(sizes.ravel(), dtype=torch.float32))
        self.first = nn.Linear(n_data + self._N_FURTHER, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, width),
                nn.GELU(),
                damped(nn.Linear(width, width)),
            )
            for _ in range(n_blocks)
        )
        self.norm = nn.LayerNorm(width)
        self.last = damped(nn.Linear(width, len(self.scale)))
        self.spread: nn.Module | None = None
        if components is not None:
            frame = _of_shape(components, "components", (len(sizes.ravel()), None), "for 'scale'")
            buffer = torch.tensor(frame, dtype=torch.float32)
            self.register_buffer("components", buffer, persistent=False)
            self.unit = float(np.linalg.norm(sizes) / np.sqrt(frame.shape[1])) or 1.0
            n, n_numbers, n_cells = _SPREAD_WIDTH, len(INITIAL), frame.shape[1]
            self.spread = nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, n),
                nn.GELU(),
                nn.Linear(n, n),
                nn.GELU(),
                damped(nn.Linear(n, n_numbers * _N_IMAGES)),
                nn.Unflatten(1, (n_numbers, _N_IMAGES)),
            )
            # With a layer from the features to all cells instead, the spread took twice the time.
            self.spread_images = nn.Parameter(torch.randn(_N_IMAGES, n_cells) / _N_IMAGES**0.5)
            self.spread_mean = nn.Parameter(torch.tensor(INITIAL)[:, None].repeat(1, n_cells))

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, CellMixtures]:
        """Map whitened data to components of density.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_data + 1)
            Posterior means of the whitened data, and in the last column the decimal logarithm
            of the noise relative to `data_rms`.

        Returns
        -------
        components : torch.Tensor of shape (n_samples, n_components)
            Components of the correction, in the unit of density.
        mixtures : CellMixtures
            Distributions of corrections of some cells, for the loss. Only in training mode, and
            with `components`.
        """
        found, h = self._mapped(x)
        if self.spread is None or not self.training:
            return found
        return found, self._mixtures(found, h, some_cells(self.components.shape[1], _STEP))

    def mixtures(self, x: torch.Tensor) -> CellMixtures:
        """Return distributions of the corrections of all cells.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_data + 1)
            Posterior means of the whitened data and their noise, as of `forward`.

        Returns
        -------
        mixtures : CellMixtures
            Distributions of all cells.
        """
        return self._mixtures(*self._mapped(x), slice(None))

    def _mixtures(self, found: torch.Tensor, h: torch.Tensor, cells: slice) -> CellMixtures:
        if self.spread is None:
            raise ValueError("the network has no spread; give 'components'.")
        found, features = found.detach(), self.spread(shared(h))
        raw = features @ self.spread_images[:, cells] + self.spread_mean[:, cells]
        return CellMixtures(raw, found @ self.components[:, cells], self.unit, cells)

    def _mapped(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return components, and the features they are made of."""
        check_tensor(x, "x", self.n_data + 1, self.last.weight)
        z, level = x[:, :-1], x[:, -1:]
        size = torch.sqrt(z.square().mean(dim=1, keepdim=True) + 0.01)
        further = [(level + 3.0) / 2.0, torch.sin(level), torch.cos(level), torch.log(size)]
        h = self.first(torch.cat([z / size, *further], dim=1))
        for block in self.blocks:
            h = h + block(h)
        return self.last(gelu(self.norm(h))) * self.scale, h


class NullSpaceNetwork(nn.Module):
    """Network whose correction of the linear estimate lies in the null space: it fits the data.

    Parameters
    ----------
    network : torch.nn.Module
        Network from posterior means and noise to components of the correction.
    components : ndarray of shape (n_components, n_cells)
        The components.
    regression : ndarray of shape (n_data, n_cells)
        Linear estimate of density from posterior means.
    matrix : ndarray of shape (n_data, n_cells)
        Map from density to data before whitening.
    std : ndarray of shape (n_data,)
        Standard deviations of noise-free data.
    data_rms : float
        Rms of the training data, to which the noise is relative.
    physics : torch.nn.Module, default=None
        Applies `matrix` to densities; None multiplies by it.

    See Also
    --------
    DataConsistency : The last layer.
    ResidualMLP : A network for it.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from skgrav.networks import NullSpaceNetwork, ResidualMLP
    >>> frame = np.eye(2, 3), np.eye(2, 3), np.eye(2, 3), np.ones(2), 1.0
    >>> NullSpaceNetwork(ResidualMLP(2, [1.0, 1.0]), *frame)(torch.zeros(4, 3)).shape
    torch.Size([4, 3])
    """

    std: torch.Tensor
    regression: torch.Tensor
    components: torch.Tensor

    def __init__(
        self,
        network: nn.Module,
        components: ArrayLike,
        regression: ArrayLike,
        matrix: ArrayLike,
        std: ArrayLike,
        data_rms: float,
        physics: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.network, self.data_rms = network, data_rms
        self.consistency = DataConsistency(matrix, physics=physics)
        n_data, n_cells = self.consistency.n_data, self.consistency.n_cells
        of = f"for a 'matrix' of shape ({n_data}, {n_cells})"
        frame = {
            "components": _of_shape(components, "components", (None, n_cells), of),
            "regression": _of_shape(regression, "regression", (n_data, n_cells), of),
            "std": _of_shape(std, "std", (n_data,), of),
        }
        if not (frame["std"].astype(np.float32) > 0).all():
            raise ValueError(f"'std' has minimum {frame['std'].min():g}; give positive numbers.")
        for name, values in frame.items():
            buffer = torch.tensor(values, dtype=torch.float32)
            self.register_buffer(name, buffer, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map whitened data to the correction of the linear estimate.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_data + 1)
            Posterior means of the whitened data, and the decimal logarithm of the noise relative
            to `data_rms`.

        Returns
        -------
        correction : torch.Tensor of shape (n_samples, n_cells)
            Density that the linear estimate lacks.
        """
        check_tensor(x, "x", len(self.std) + 1)
        components = self.network(x).float()
        with torch.autocast(x.device.type, enabled=False):  # half precision cannot fit the data
            z, sigma = x[:, :-1], self.data_rms * 10.0 ** x[:, -1]
            # Posterior means are z = std data / (std**2 + sigma**2).
            data = z * (self.std + sigma[:, None].square() / self.std)
            linear = z @ self.regression
            estimate = linear + components @ self.components
            return self.consistency(estimate, data, sigma) - linear


def _of_shape(values: ArrayLike, name: str, shape: tuple[int | None, ...], of: str) -> Array:
    """Return finite numbers of a shape, in which None allows any length."""
    array = real_array(values, name, copy=True)
    if array.ndim != len(shape) or any(
        found == 0 or wanted not in (None, found)
        for found, wanted in zip(array.shape, shape, strict=True)
    ):
        wanted = str(shape).replace("None", "n")
        raise ValueError(f"'{name}' has shape {array.shape}; it must be {wanted} {of}.")
    return array
