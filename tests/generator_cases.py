"""What tests of generators share: sections, and generators of them."""

import copy

import numpy as np
import pytest
from scipy.special import expit

from skgrav import GANGenerator, Mesh, VAEGenerator
from skgrav.datasets import make_density_models
from skgrav.generators import _base
from skgrav.training._callbacks import KeepBest

MESH = Mesh.square(12)
X = make_density_models(100, mesh=MESH, random_state=0)
UNSEEN = make_density_models(50, mesh=MESH, random_state=1)
TINY = make_density_models(100, mesh=Mesh.square(6), random_state=0)
PAPER_GAN_COLLAPSES = pytest.mark.filterwarnings("ignore:the samples have only")


def small(kind=VAEGenerator, **params):
    """Give a generator that trains in a moment."""
    defaults = {"n_components": 6, "max_epochs": 3, "batch_size": 25, "random_state": 0}
    return kind(**defaults | params)


def slopes(n_samples, seed):
    """Give dense rock below an interface of random depth and dip: two numbers make a section."""
    rng = np.random.default_rng(seed)
    depth, dip = rng.uniform([3, -0.4], [9, 0.4], (n_samples, 2)).T[:, :, None, None]
    z, x = np.mgrid[:12, :12]
    return (2 + 8 * expit(3 * (z + 0.5 - depth - dip * (x - 5.5)))).reshape(n_samples, -1)


def reconstructed(generator, rho):
    return generator.inverse_transform(generator.transform(rho))


def objective(generator, z, rho):
    """Give what the nearest code minimises, for each sample."""
    low, high = generator.density_range_
    misfit = (generator.inverse_transform(z) - rho) / (_base._CLOSENESS * (high - low))
    return np.sum(misfit**2, axis=1) + np.sum(z**2, axis=1)


def weights(generator):
    return copy.deepcopy(generator.net_.module_.state_dict())


def noting_weights(monkeypatch):
    """Note the weights that decode at the end of each epoch."""
    on_epoch_end, states = KeepBest.on_epoch_end, []

    def note(self, net, **kwargs):
        states.append(copy.deepcopy(net.module_.state_dict()))
        on_epoch_end(self, net, **kwargs)

    monkeypatch.setattr(KeepBest, "on_epoch_end", note)
    return states


@pytest.fixture(scope="module")
def gan():
    return small(GANGenerator, n_components=20, max_epochs=20).fit(X)
