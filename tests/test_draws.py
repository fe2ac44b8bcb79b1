"""The contract of sample_y: draws of every estimator that has them."""

from functools import cache

import numpy as np
import pytest
from conftest import with_noise
from sklearn.decomposition import PCA

from skgrav import (
    AnalogueInverter,
    BayesLinearInverter,
    ForwardOperator,
    LatentInverter,
    Mesh,
    Refiner,
    SparseInverter,
    Survey,
    TikhonovInverter,
)
from skgrav.datasets import make_gravity_dataset
from skgrav.inverters._model_norm import ModelNorm
from skgrav.metrics import chi_factor, relative_data_misfit

MESH = Mesh.square(12)
TRAIN = make_gravity_dataset(600, mesh=MESH, random_state=0)
TEST = make_gravity_dataset(40, mesh=MESH, random_state=1)
OPERATOR = TRAIN.operator
LEVELS = (0.0, 0.01)

MAKERS = {
    "bayes": lambda **p: BayesLinearInverter(store_covariance=True, **p),
    "analogues": lambda **p: AnalogueInverter(20, inflation=1.0, **p),
    "tikhonov": lambda **p: TikhonovInverter(reference="mean", **p),
    "bounded": lambda **p: TikhonovInverter(reference="mean", bounds=(-20, 30), tol=1e-3, **p),
    "sparse": lambda **p: SparseInverter(reference="mean", **p),
    "refiner": lambda **p: Refiner("bayes", init="zero", store_covariance=True, **p),
    "latent": lambda **p: LatentInverter(PCA(30), **p),
}
every = pytest.mark.parametrize("name", MAKERS)

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:.* densities"),
]


@cache
def fitted(name, level):
    data = with_noise(TRAIN.data, level)
    return MAKERS[name](operator=OPERATOR, noise_level=level).fit(data, TRAIN.target)


@cache
def unseen(name, level):
    """Give data, of a norm's own prior for inverters with a norm."""
    g = TEST.data
    if name in ("tikhonov", "bounded"):
        norm = ModelNorm.of(OPERATOR, 1, "sensitivity")
        rho = norm.weighted(norm.draw(np.random.default_rng(0), 40)) / norm.weights
        g = OPERATOR.transform(TRAIN.target.mean(axis=0) + rho / rho.std())
    return with_noise(g, level, seed=1)


def fits(measure, draws, g, **options):
    return [measure(OPERATOR, draws[:, :, k], g, **options) for k in range(draws.shape[2])]


@every
def test_draws_have_the_shape_and_the_seeds_of_scikit_learn(name):
    inverter, g = fitted(name, 0.01), unseen(name, 0.01)[:3]
    assert inverter.sample_y(g).shape == (3, 144, 1)
    draws = inverter.sample_y(g, n_samples=4, random_state=0)
    assert draws.shape == (3, 144, 4)
    assert draws.dtype == np.float64
    np.testing.assert_array_equal(inverter.sample_y(g, 4), draws)
    np.testing.assert_array_equal(inverter.sample_y(g, 4, np.random.RandomState(0)), draws)
    assert (np.abs(inverter.sample_y(g, 4, 1) - draws).mean(axis=(1, 2)) > 0.01).all()
    # Draws of a sample differ from one another.
    assert (draws.std(axis=2).mean(axis=1) > 0.01).all()


@every
@pytest.mark.parametrize(("n_samples", "error"), [(0, ValueError), (2.5, TypeError)])
def test_number_of_draws_is_a_whole_one(name, n_samples, error):
    with pytest.raises(error, match="n_samples"):
        fitted(name, 0.01).sample_y(TEST.data[:1], n_samples)


@every
def test_draws_fit_noisy_data_to_their_noise(name):
    inverter, g = fitted(name, 0.01), unseen(name, 0.01)
    draws = inverter.sample_y(g, 8)
    assert 0.95 < np.mean(fits(chi_factor, draws, g, noise_level=0.01)) < 1.05


@every
def test_draws_fit_exact_data(name):
    inverter, g = fitted(name, 0.0), unseen(name, 0.0)[:10]
    draws = inverter.sample_y(g, 3)
    assert np.max(fits(relative_data_misfit, draws, g)) < 5e-8
    assert draws.std(axis=2).mean() > 1e-4


@every
def test_mean_of_draws_is_about_the_estimate(name):
    inverter, g = fitted(name, 0.01), unseen(name, 0.01)[:4]
    draws = inverter.sample_y(g, 150)
    away = np.linalg.norm(draws.mean(axis=2) - inverter.predict(g), axis=1)
    assert (away < 0.6 * np.linalg.norm(draws.std(axis=2), axis=1)).all()


@every
def test_one_cell_has_draws_without_an_axis_of_cells(name):
    survey = Survey([[-10.0, -30.0], [-10.0, 5.0], [-10.0, 60.0]])
    operator = ForwardOperator(Mesh.regular((1, 1), 20.0), survey).fit()
    rho = np.random.default_rng(0).normal(5, 2, 40)
    g = with_noise(operator.transform(rho[:, None]), 0.05)
    makers = MAKERS | {"latent": lambda **p: LatentInverter(PCA(1), **p)}
    inverter = makers[name](operator=operator, noise_level=0.05).fit(g, rho)
    assert inverter.sample_y(g[:5], 3).shape == (5, 3)


def test_what_has_no_posterior_is_refused():
    cgls = Refiner("cgls", init="zero", operator=OPERATOR, noise_level=0.01)
    with pytest.raises(ValueError, match=r"sample_y.* 'cgls' does not estimate .*bayes"):
        cgls.fit(TEST.data, TEST.target).sample_y(TEST.data)
    without = Refiner("bayes", init="zero", operator=OPERATOR, noise_level=0.01)
    with pytest.raises(ValueError, match=r"'store_covariance' is False.* Set it to True"):
        without.fit(TEST.data, TEST.target).sample_y(TEST.data)
    flat = LatentInverter(PCA(5), prior=False, operator=OPERATOR, noise_level=0.01)
    with pytest.raises(ValueError, match=r"'prior' is False.* Set it to True"):
        flat.fit(TEST.data, TEST.target).sample_y(TEST.data)


@pytest.mark.parametrize("level", [0.001, 0.05])
def test_draws_of_a_refiner_have_the_std_that_it_predicts(level):
    refiner = fitted("refiner", 0.01)
    g = with_noise(TEST.data, level, seed=1)[:5]
    _, std = refiner.predict(g, return_std=True, noise_level=level)
    drawn = refiner.sample_y(g, 400, noise_level=level).std(axis=2)
    np.testing.assert_allclose(np.median(drawn / std, axis=1), 1.0, atol=0.05)


def test_draws_of_a_linear_generator_are_those_of_its_gaussian():
    # With all components there is no approximation error, and the prior is that of densities.
    inverter = LatentInverter(PCA(), operator=OPERATOR, noise_level=0.05)
    inverter.fit(with_noise(TRAIN.data, 0.05), TRAIN.target)
    bayes = fitted("bayes", 0.01)
    g = with_noise(TEST.data, 0.05, seed=1)[:5]
    rho, std = bayes.predict(g, return_std=True, noise_level=0.05)
    draws = inverter.sample_y(g, 120)
    away = np.linalg.norm(draws.mean(axis=2) - rho, axis=1) / np.linalg.norm(std, axis=1)
    assert (away < 0.3).all()
    np.testing.assert_allclose(np.median(draws.std(axis=2) / std, axis=1), 1.0, atol=0.1)
