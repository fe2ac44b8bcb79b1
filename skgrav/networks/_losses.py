"""Loss of networks from gravity to density and its spread."""

from __future__ import annotations

import torch
from torch import nn

from skgrav.networks._mixtures import CellMixtures

#: Added to squared relative errors, as the root has no derivative at 0.
_LEAST = 1e-12


class RelativeLoss(nn.Module):
    """Mean relative L2 error of densities, from their components, and CRPS of their spread.

    Targets are the components, the squared norm of the remainder, the norm of the density, and for
    a network with spread, unless components are cells, densities of cells.

    The value is the error alone, so that it compares with that of a network without spread; its
    gradient is that of the sum of both. The spread is about a mean without gradient: the two share
    features, but the mean is trained for its own error.
    """

    def forward(
        self, predicted: torch.Tensor | tuple[torch.Tensor, CellMixtures], true: torch.Tensor
    ) -> torch.Tensor:
        """Return the mean over samples of ``||rho - rhohat|| / ||rho||``."""
        mixtures = None
        if isinstance(predicted, tuple):
            predicted, mixtures = predicted
        n = predicted.shape[1]
        if true.shape[0] != len(predicted) or true.shape[1] < n + 2:
            raise ValueError(
                f"the network returned shape {tuple(predicted.shape)} for targets of shape "
                f"{tuple(true.shape)}; it must end in one value per component."
            )
        components, remainder2, norm, cells = true.tensor_split((n, n + 1, n + 2), dim=1)
        error2 = (predicted - components).square().sum(dim=1) + remainder2[:, 0]
        error = (error2 / norm[:, 0].square() + _LEAST).sqrt().mean()
        if mixtures is None:
            return error
        crps = mixtures.crps(cells if cells.shape[1] else components)
        return error + crps - crps.detach()
