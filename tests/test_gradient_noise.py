"""Noise and inversion of gravity and gradients together, whose sizes differ by orders."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from skgrav import (
    AnalogueInverter,
    BayesLinearInverter,
    CNNInverter,
    ForwardOperator,
    LatentInverter,
    Mesh,
    Refiner,
    SparseInverter,
    Survey,
    TikhonovInverter,
)
from skgrav.datasets import make_gravity_dataset
from skgrav.metrics import chi_factor, relative_data_misfit, relative_l2_error
from skgrav.noise import Noise
from skgrav.training import Augmentation

LEVEL = 0.01
MESH = Mesh.regular((10, 12), 50.0)


def dataset(components, n_samples=60, noise_level=LEVEL, **kwargs):
    """Give sections in kg/m3 with data of some components."""
    survey = Survey.line(MESH, n_stations=24, components=components, **kwargs)
    return make_gravity_dataset(
        n_samples,
        mesh=MESH,
        survey=survey,
        density_range=(0.0, 1000.0),
        noise_level=noise_level,
        units="mGal",
        random_state=0,
    )


@pytest.fixture(scope="module")
def mixed():
    return dataset(("z", "zz"))


def rms_by_kind(data, g):
    """Give the rms of gravity and of gradients of each sample."""
    profiles = data.operator.survey_.unflatten(g)
    return np.sqrt(np.mean(profiles**2, axis=-1))


def test_simulated_noise_is_relative_to_the_rms_of_its_own_kind(mixed):
    clean = dataset(("z", "zz"), noise_level=0.0)
    np.testing.assert_array_equal(clean.target, mixed.target)
    level = rms_by_kind(mixed, mixed.data - clean.data) / rms_by_kind(mixed, clean.data)
    np.testing.assert_allclose(np.sqrt(np.mean(level**2, axis=0)), LEVEL, rtol=0.05)
    assert "gz, then gzz; mGal and E" in mixed.DESCR
    assert "gravity and of gradients" in mixed.DESCR


def test_scales_are_the_ratio_of_gradients_to_gravity_of_masses_and_of_such_sections(mixed):
    scales = mixed.operator.data_scales_
    assert scales[0] == 1.0
    rms = rms_by_kind(mixed, mixed.data)
    typical = np.exp(np.mean(np.log(rms[:, 1] / rms[:, 0])))
    assert 0.5 * typical < scales[-1] < 2 * typical
    other = ForwardOperator(MESH, mixed.operator.survey_, units="normalized").fit()
    np.testing.assert_allclose(1e4 * other.data_scales_[-1], scales[-1])
    alone = ForwardOperator(MESH, Survey.line(MESH, components=("xz", "zz"))).fit()
    np.testing.assert_array_equal(alone.data_scales_, 1.0)
    one = Survey([[-10.0, 0.0]], ("x", "zz"))
    assert np.isfinite(ForwardOperator(MESH, one).fit().data_scales_).all()


def test_one_level_is_the_noise_of_both(mixed):
    noise = Noise.of(mixed.operator, LEVEL)
    stated = rms_by_kind(mixed, noise.std(mixed.data)) / rms_by_kind(mixed, mixed.data)
    assert np.all((stated > LEVEL / 2) & (stated < LEVEL * 2))
    chi = chi_factor(mixed.operator, mixed.target, mixed.data, noise_level=LEVEL)
    assert chi == pytest.approx(1.0, abs=0.05)


def test_a_level_with_an_uncertainty_is_relative_to_data_in_its_units(mixed):
    survey = mixed.operator.survey_
    sigma = np.repeat([0.1, 5.0], 24)
    noise = Noise.of(Survey(survey.stations, survey.components, sigma), LEVEL)
    std = noise.std(mixed.data)
    np.testing.assert_allclose(std / std[:, :1], np.tile(sigma / 0.1, (60, 1)))
    weighted = np.sqrt(np.mean((mixed.data / sigma) ** 2, axis=1))
    np.testing.assert_allclose(std[:, 0], LEVEL * 0.1 * weighted)


def test_sizes_that_are_not_known_are_asked_for(mixed):
    noise = Noise.of(mixed.operator.survey_, LEVEL)
    with pytest.raises(ValueError, match="'source' is a survey of gravity in mGal and gradients"):
        noise.std(mixed.data)


def test_a_misfit_of_gravity_counts_beside_gradients(mixed):
    operator, g = mixed.operator, mixed.operator.transform(mixed.target)
    wrong = operator.survey_.unflatten(g).copy()
    wrong[:, 0] *= 2
    wrong = operator.survey_.flatten(wrong)
    assert 0.2 < relative_data_misfit(operator, mixed.target, wrong) < 0.5
    with pytest.raises(ValueError, match="'operator' does not reproduce X from y"):
        BayesLinearInverter(operator=operator).fit(
            operator.survey_.flatten(operator.survey_.unflatten(g) * [[20.0], [1.0]]), mixed.target
        )


def test_training_noise_is_relative_to_data_in_their_sizes():
    g = np.concatenate([np.full((5, 3000), 2.0), np.full((5, 3000), 80.0)], axis=1)
    scales = np.repeat([1.0, 40.0], 3000)
    augment = Augmentation((LEVEL, LEVEL), 0 * scales, 7 * scales, None, "cpu", scales)
    batch = torch.tensor(g / (7 * scales), dtype=torch.float32)
    noise = augment(batch, torch.zeros(5, 1))[0].numpy() * 7 * scales - g
    found = np.std(noise.reshape(5, 2, -1), axis=2)
    np.testing.assert_allclose(found, LEVEL * np.array([[2.0, 80.0]] * 5), rtol=0.1)


METHODS = {
    "tikhonov": lambda o: TikhonovInverter(noise_level=LEVEL, operator=o),
    "tikhonov, gcv": lambda o: TikhonovInverter("gcv", operator=o),
    "sparse": lambda o: SparseInverter(noise_level=LEVEL, operator=o),
    "analogue": lambda o: AnalogueInverter(10, noise_level=LEVEL, operator=o),
    "bayes": lambda o: BayesLinearInverter(LEVEL, operator=o),
    "bayes, auto": lambda o: BayesLinearInverter("auto", operator=o),
    "refiner": lambda o: Refiner("cgls", init="zero", noise_level=LEVEL, operator=o),
    "latent": lambda o: LatentInverter(PCA(20), noise_level=LEVEL, operator=o, projection=True),
    "residual": lambda o: CNNInverter(
        operator=o, max_epochs=2, n_components=10, training_noise=LEVEL, random_state=0
    ),
    "paper": lambda o: CNNInverter(
        architecture="paper", operator=o, max_epochs=2, training_noise=LEVEL, random_state=0
    ),
}


@pytest.mark.parametrize("name", METHODS)
def test_methods_fit_both_to_their_noise(name, mixed):
    method = METHODS[name](mixed.operator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = method.fit(mixed.data, mixed.target).predict(mixed.data[:8])
    assert np.isfinite(found).all()
    if name in ("residual", "paper"):
        return
    residual = mixed.data[:8] - mixed.operator.transform(found)
    level = rms_by_kind(mixed, residual) / rms_by_kind(mixed, mixed.data[:8])
    assert np.all(level < 4 * LEVEL)
    if name == "tikhonov":
        chi = chi_factor(mixed.operator, found, mixed.data[:8], noise_level=LEVEL)
        assert chi == pytest.approx(1.0, abs=0.01)


@pytest.mark.filterwarnings("ignore:'noise_level' is .* like the training densities")
def test_gradients_add_to_gravity():
    errors = []
    for components in (("z",), ("z", "zz")):
        data = dataset(components, 400)
        inverter = BayesLinearInverter(LEVEL, operator=data.operator)
        inverter.fit(data.data[:300], data.target[:300])
        errors.append(relative_l2_error(data.target[300:], inverter.predict(data.data[300:])))
    assert errors[1] < errors[0]


@pytest.mark.parametrize("name", ["bayes", "paper"])
def test_estimators_of_both_come_back_from_files(name, mixed, tmp_path):
    method = METHODS[name](mixed.operator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = method.fit(mixed.data, mixed.target).predict(mixed.data[:3])
        method.save(tmp_path / "estimator.safetensors")
        again = type(method).load(tmp_path / "estimator.safetensors")
        np.testing.assert_array_equal(again.predict(mixed.data[:3]), found)
    if name == "paper":
        np.testing.assert_array_equal(again._encoding.data_scales, mixed.operator.data_scales_)
