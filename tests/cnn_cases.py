"""What tests of CNNInverter share: small networks and pairs."""

from functools import partial

import pytest
import torch
from torch import nn

from skgrav import CNNInverter, Mesh, Survey
from skgrav.datasets import make_gravity_dataset
from skgrav.networks import PaperCNN

SMALL_NETWORK = partial(PaperCNN, filters=(8,), hidden_layer_sizes=(64,))
DATA = make_gravity_dataset(n_samples=60, mesh=Mesh.square(12), random_state=0)
X, Y = DATA.data, DATA.target  # 72 data, 144 cells


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def small(**params):
    """Give an inverter that trains in a moment."""
    defaults = {"architecture": SMALL_NETWORK, "max_epochs": 3, "random_state": 0}
    return CNNInverter(**defaults | params)


class Idle(nn.Module):
    """Network with a weight that never sees a gradient other than zero."""

    def __init__(self, n_data, n_cells, n_components):
        super().__init__()
        self.n_cells = n_cells
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, g):
        return 0 * self.weight * g[:, :1].expand(len(g), self.n_cells)


def recording(seen):
    """Give an architecture that notes what it is trained on."""

    class Recorder(PaperCNN):
        def forward(self, g):
            if self.training:
                seen.append(g.numpy().copy())
            return super().forward(g)

    return partial(Recorder, filters=(8,), hidden_layer_sizes=(16,))


ASIDE = Survey([[-1, -3], [-1, 0], [-1, 3], [-1, 4]])
