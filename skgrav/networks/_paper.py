"""The convolutional network of the paper."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real

import torch
from torch import nn

from skgrav._constraints import POSITIVE, Interval, checked
from skgrav.networks._checks import check_sizes, check_tensor


class PaperCNN(nn.Module):
    """Network of arXiv:2510.09632 from standardised gravity to density in [0, 1].

    Convolutions along the line of stations, then dense layers up to a sigmoid for each cell. Short
    lines get as many convolutions as fit.

    Parameters
    ----------
    n_data : int
        Number of data, stations times components.
    n_cells : int
        Number of cells.
    n_components : int
        Number of components, the input channels.
    filters : sequence of int, default=(32, 64, 128)
        Filters of the convolutions, of kernel size 3 and stride 2 without padding.
    hidden_layer_sizes : sequence of int, default=(250, 500, 1000, 1500)
        Widths of the dense layers.
    dropout : float, default=0.1
        Dropout after each dense layer.

    See Also
    --------
    skgrav.inverters.CNNInverter : Trains it.

    Examples
    --------
    >>> from skgrav.networks import PaperCNN
    >>> sum(p.numel() for p in PaperCNN(306, 2601, 2).parameters())
    6639487
    """

    @checked(
        n_data=[POSITIVE],
        n_cells=[POSITIVE],
        n_components=[POSITIVE],
        filters=[list, tuple],
        hidden_layer_sizes=[list, tuple],
        dropout=[Interval(Real, 0, 1, closed="both")],
    )
    def __init__(
        self,
        n_data: int,
        n_cells: int,
        n_components: int,
        *,
        filters: Sequence[int] = (32, 64, 128),
        hidden_layer_sizes: Sequence[int] = (250, 500, 1000, 1500),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        for name, sizes in (("filters", filters), ("hidden_layer_sizes", hidden_layer_sizes)):
            check_sizes(sizes, name, "positive integers", lengths=range(1000))
        self.n_data, self.n_components = n_data, n_components
        length, channels = n_data // n_components, n_components
        convolutions: list[nn.Module] = []
        for n_filters in filters:
            if length < 3:
                break
            convolutions += [nn.Conv1d(channels, n_filters, 3, stride=2), nn.LeakyReLU(0.3)]
            length, channels = (length - 3) // 2 + 1, n_filters
        dense: list[nn.Module] = []
        width = length * channels
        for size in hidden_layer_sizes:
            dense += [nn.Linear(width, size), nn.LeakyReLU(0.3), nn.Dropout(dropout)]
            width = size
        self.convolutions = nn.Sequential(*convolutions)
        self.dense = nn.Sequential(*dense, nn.Linear(width, n_cells), nn.Sigmoid())
        self.apply(_initialise)

    def forward(self, g: torch.Tensor) -> torch.Tensor:
        """Map data to densities.

        Parameters
        ----------
        g : torch.Tensor of shape (n_samples, n_data)
            Standardised gravity, component-major.

        Returns
        -------
        rho : torch.Tensor of shape (n_samples, n_cells)
            Densities in [0, 1].
        """
        check_tensor(g, "g", self.n_data, self.dense[0].weight)
        channels = g.unflatten(1, (self.n_components, -1))
        return self.dense(self.convolutions(channels).flatten(1))


def _initialise(layer: nn.Module) -> None:
    """Initialise weights as Keras does, which the paper used."""
    if isinstance(layer, nn.Linear | nn.Conv1d):
        nn.init.xavier_uniform_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


class DensityLoss(nn.Module):
    """Mean squared error of densities scaled to the paper's range, 12 units wide."""

    def forward(self, predicted: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
        """Return ``144 mean((predicted - true)**2)`` of densities scaled to [0, 1]."""
        if predicted.shape != true.shape:
            raise ValueError(
                f"the network returned shape {tuple(predicted.shape)} for densities of shape "
                f"{tuple(true.shape)}; 'architecture' must end in one value per cell."
            )
        return 144.0 * nn.functional.mse_loss(predicted, true)
