"""What tests of LatentInverter share: pairs, generators, and what it should find, computed anew."""

import copy
from functools import partial

import numpy as np
import pytest
from conftest import with_noise
from sklearn.frozen import FrozenEstimator

from skgrav import (
    CNNInverter,
    LatentInverter,
    Mesh,
    Pipeline,
    VAEGenerator,
)
from skgrav.datasets import make_gravity_dataset
from skgrav.networks import PaperCNN

MESH = Mesh.square(12)
TRAIN = make_gravity_dataset(400, mesh=MESH, random_state=0)
TEST = make_gravity_dataset(40, mesh=MESH, random_state=1)
OPERATOR, RHO, UNSEEN = TRAIN.operator, TRAIN.target, TEST.target  # 144 cells, 72 data
K = 20
SMALL_NETWORK = partial(PaperCNN, filters=(8,), hidden_layer_sizes=(64,))
ITERATIONS_MAY_RUN_OUT = pytest.mark.filterwarnings("ignore:.* samples did not converge")
#: Training and unseen data by their noise.
X = {level: with_noise(TRAIN.data, level) for level in (0.0, 0.01, 0.05, 0.5)}
NEW = {level: with_noise(TEST.data, level, seed=1) for level in X}


def latent(generator, **params):
    # The seed is that of the noise that training data lack, too.
    defaults = {"operator": OPERATOR, "noise_level": 0.01, "random_state": 0}
    return LatentInverter(generator, **defaults | params)


def with_params(inverter, **params):
    """Give a fitted inverter that searches otherwise; what it learned stays."""
    return copy.copy(inverter).set_params(**params)


@pytest.fixture(scope="module")
def vae():
    """Give a small VAE that nobody may fit again."""
    return FrozenEstimator(VAEGenerator(K, max_epochs=5, random_state=0).fit(RHO))


@pytest.fixture(scope="module")
def in_vae(vae):
    """Give an inverter within the VAE, fitted at 1 % noise."""
    return latent(vae).fit(X[0.01], RHO)


@pytest.fixture(scope="module")
def cnn():
    """Give a small CNN, fitted at 1 % noise."""
    network = CNNInverter(SMALL_NETWORK, max_epochs=10, training_noise=0.01, random_state=0)
    return FrozenEstimator(network.fit(X[0.01], RHO))


def data_error(inverter, g):
    """Give mean and covariance of the errors of one sample's data, rounding included."""
    error, U = inverter._space.error, inverter._coordinates(inverter._noise())[0].U
    rows = np.ones(len(g))
    noise = max(inverter.noise_level or 0.0, 1e-6) * np.sqrt(np.mean(g**2)) * rows
    if inverter.noise_level is None:
        noise = inverter.operator_.survey_.uncertainty
        rows = 1.0 / inverter._noise().whitening.weights
    spread = (U / rows[:, None]) @ error.rotation
    covariance = spread @ np.diag(error.variance) @ spread.T + np.diag(noise**2)
    return U @ error.mean / rows, covariance


def objective(inverter, X, codes, centre=None):
    """Give what is minimised, for each sample: half the misfit and half the distance."""
    g, prior = X[:, -72:], inverter._space.prior
    centre = np.tile(prior.mean, (len(g), 1)) if centre is None else centre
    residual = inverter.operator_.transform(inverter.generator_.inverse_transform(codes)) - g
    values = []
    # What the operator cannot reach is noise alone, and no part of the misfit.
    U = inverter._coordinates(inverter._noise())[0].U
    for left, data, away in zip(residual, g, codes - centre, strict=True):
        mean, S = data_error(inverter, data)
        seen = U.T @ (left + mean)
        misfit2 = seen @ np.linalg.solve(U.T @ S @ U, seen)
        distance2 = np.sum(np.linalg.solve(prior.root, away) ** 2)
        values.append((misfit2 + inverter.prior * distance2) / 2)
    return np.array(values)


def first_codes(inverter, X):
    """Give whitened codes at which a search starts, and those codes themselves."""
    search = inverter._search(X, None, inverter._noise())
    u = inverter._first_codes(search, 0, np.random.RandomState(0))
    return u, inverter._space.prior.codes(u)


@pytest.fixture(scope="module")
def chained(vae, cnn):
    """Give a Pipeline of the network and the inverter within the VAE."""
    return Pipeline([cnn, latent(vae)]).fit(X[0.01], RHO)
