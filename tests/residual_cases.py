"""What tests of the residual network share: pairs, and networks on them."""

import pytest

from skgrav import (
    CNNInverter,
    Mesh,
)
from skgrav.datasets import make_gravity_dataset

MESH = Mesh.square(12)
TRAIN = make_gravity_dataset(2000, mesh=MESH, random_state=0)
TEST = make_gravity_dataset(300, mesh=MESH, random_state=1)
OPERATOR = TRAIN.operator
X, RHO = TRAIN.data, TRAIN.target  # 72 data, 144 cells
G, UNSEEN = TEST.data, TEST.target
FEW, FEW_RHO = X[:150], RHO[:150]


def unfitted(**params):
    return CNNInverter(**{"operator": OPERATOR, "max_epochs": 3, "random_state": 0} | params)


def fitted(x=FEW, y=FEW_RHO, **params):
    return unfitted(**params).fit(x, y)


def untrained(x=X, y=RHO, **params):
    """Give an inverter without spread whose last layer is as it started, zero."""
    inverter = fitted(x, y, max_epochs=1, learning_rate=1e-35, **{"uncertainty": False} | params)
    assert inverter.net_.module_.last.weight.abs().max() < 1e-30
    return inverter


@pytest.fixture(scope="module")
def start():
    return untrained()


@pytest.fixture(scope="module")
def trained():
    return fitted(X, RHO, max_epochs=15)


class Source:
    """Draws pairs, and remembers how often and with which seeds."""

    def __init__(self, n_samples=100, pair=False):
        self.n_samples, self.pair = n_samples, pair
        self.seeds, self.drawn = [], []

    def __call__(self, *, random_state):
        data = make_gravity_dataset(self.n_samples, mesh=MESH, random_state=random_state)
        self.seeds.append(random_state)
        self.drawn.append(data.target)
        return (data.data, data.target) if self.pair else data
