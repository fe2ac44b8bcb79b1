"""CNNInverter.sample_y: the contract of draws, its library, and files."""

import pickle

import numpy as np
import pytest
from conftest import with_noise

from skgrav import CNNInverter, Mesh
from skgrav.datasets import make_gravity_dataset
from skgrav.metrics import chi_factor, relative_data_misfit

MESH = Mesh.square(12)
BLOCK = Mesh.regular((4, 8, 8), 50.0)
TRAIN = {
    "residual": make_gravity_dataset(300, mesh=MESH, random_state=0),
    "unet": make_gravity_dataset(100, mesh=BLOCK, random_state=0),
}
NEW = {
    "residual": make_gravity_dataset(20, mesh=MESH, random_state=1),
    "unet": make_gravity_dataset(6, mesh=BLOCK, random_state=1),
}
every = pytest.mark.parametrize("name", TRAIN)


def make(name, **params):
    settings = {"operator": TRAIN[name].operator, "max_epochs": 2, "augment": "mirror"}
    return CNNInverter(name, random_state=0, **settings | params)


@pytest.fixture(scope="module")
def networks():
    return {name: make(name).fit(data.data, data.target) for name, data in TRAIN.items()}


@every
def test_draws_have_the_shape_and_the_seeds_of_scikit_learn(networks, name):
    network, g = networks[name], NEW[name].data[:3]
    assert network.sample_y(g).shape == (3, NEW[name].target.shape[1], 1)
    draws = network.sample_y(g, n_samples=4, random_state=0)
    np.testing.assert_array_equal(network.sample_y(g, 4), draws)
    np.testing.assert_array_equal(network.sample_y(g, 4, np.random.RandomState(0)), draws)
    assert (np.abs(network.sample_y(g, 4, 1) - draws).mean(axis=(1, 2)) > 0.01).all()
    assert (draws.std(axis=2).mean(axis=1) > 0.01).all()


@every
def test_draws_fit_the_data(networks, name):
    data, network = NEW[name], networks[name]
    draws = network.sample_y(data.data, 3, noise_level=0.0)
    exact = [relative_data_misfit(data.operator, draws[:, :, k], data.data) for k in range(3)]
    assert max(exact) < 5e-8
    g = with_noise(data.data, 0.01, seed=1)
    draws = network.sample_y(g, 8, noise_level=0.01)
    chi = [chi_factor(data.operator, draws[:, :, k], g, noise_level=0.01) for k in range(8)]
    assert 0.95 < np.mean(chi) < 1.05


@every
def test_mean_of_draws_is_about_the_estimate(networks, name):
    network, g = networks[name], with_noise(NEW[name].data[:4], 0.01)
    rho, std = network.predict(g, return_std=True, noise_level=0.01)
    draws = network.sample_y(g, 100, noise_level=0.01)
    away = np.linalg.norm(draws.mean(axis=2) - rho, axis=1)
    assert (away < 0.9 * np.linalg.norm(std, axis=1)).all()


@every
def test_library_is_in_files_and_pickles(networks, name, tmp_path):
    network, g = networks[name], NEW[name].data[:2]
    draws = network.sample_y(g, 2, noise_level=0.01)
    network.save(tmp_path / "network.safetensors")
    for copy in (
        CNNInverter.load(tmp_path / "network.safetensors"),
        pickle.loads(pickle.dumps(network)),
    ):
        found = copy.sample_y(g, 2, noise_level=0.01)
        np.testing.assert_allclose(found, draws, atol=0.05 * draws.std())


def test_library_has_the_number_of_sections_that_is_asked_for():
    data = TRAIN["residual"]
    network = make("residual", n_analogues=50).fit(data.data, data.target)
    size = len(pickle.dumps(network))
    assert network._analogues.sections.shape == (50, 144)
    network.set_params(n_analogues=0).fit(data.data, data.target)
    assert size - len(pickle.dumps(network)) > 2 * 50 * 144
    with pytest.raises(ValueError, match=r"'n_analogues' is 0 .* 'n_analogues' above 0"):
        network.sample_y(data.data[:1])


def test_another_survey_on_the_same_mesh_has_draws_and_another_mesh_none(networks):
    network, data = networks["unet"], NEW["unet"]
    other = network.with_operator(data.operator)
    assert other.sample_y(data.data[:1], 2).shape == (1, 256, 2)
    wider = make_gravity_dataset(1, mesh=Mesh.regular((4, 8, 12), 50.0), random_state=0)
    with pytest.raises(ValueError, match=r"training sections of this mesh"):
        network.with_operator(wider.operator).sample_y(wider.data)
