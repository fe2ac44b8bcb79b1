"""LatentInverter: its generator, noise and physics, and scikit-learn's ways."""

import copy

import numpy as np
import pytest
import torch
from conftest import surveyed, with_noise
from latent_cases import (  # noqa: F401
    MESH,
    NEW,
    OPERATOR,
    RHO,
    TRAIN,
    UNSEEN,
    K,
    X,
    chained,
    cnn,
    in_vae,
    latent,
    vae,
    with_params,
)
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV

from skgrav import (
    ForwardOperator,
    GANGenerator,
    MatrixOperator,
    Mesh,
    Refiner,
    Survey,
    VAEGenerator,
    make_pipeline,
)
from skgrav.datasets import make_density_models, make_gravity_dataset
from skgrav.metrics import relative_data_misfit, relative_l2_error, relative_l2_scorer
from skgrav.operators import PhysicsWarning

# The generator


def test_weights_of_the_generator_never_change(vae):
    module = vae.net_.module_
    module.zero_grad()  # those of its training
    before = copy.deepcopy(module.state_dict())
    for solver in ("gauss-newton", "lbfgs"):
        latent(vae, solver=solver, init=Ridge()).fit(X[0.01], RHO).predict(NEW[0.01])
    after = module.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(weight.grad is None for weight in module.parameters())
    assert not module.training


def test_frozen_generator_is_the_very_same(vae, in_vae):
    assert in_vae.generator_ is vae
    assert in_vae.generator_.estimator is vae.estimator


def test_generator_is_cloned_and_fitted_to_the_densities():
    generator = VAEGenerator(8, max_epochs=1, random_state=0)
    inverter = latent(generator).fit(X[0.01], RHO)
    assert inverter.generator_ is not generator
    assert not hasattr(generator, "net_")
    assert inverter.n_components_ == 8
    expected = clone(generator).fit(RHO).transform(UNSEEN)
    np.testing.assert_allclose(inverter.generator_.transform(UNSEEN), expected, atol=1e-5)


def test_gan_will_do():
    generator = GANGenerator(10, max_epochs=2, random_state=0)
    rho = latent(generator).fit(X[0.01][:200], RHO[:200]).predict(NEW[0.01])
    mean = np.tile(RHO.mean(axis=0), (40, 1))
    assert relative_l2_error(UNSEEN, rho) < 0.9 * relative_l2_error(UNSEEN, mean)


def test_gan_learns_its_errors_from_enough_sections(monkeypatch):
    # From 300 sections, errors in the paper's geometry were up to a third larger.
    data = make_gravity_dataset(1200, mesh=Mesh.square(8), random_state=0)
    searched = []
    nearest = GANGenerator._nearest

    def counted(self, X, *args):
        searched.append(len(X))
        return nearest(self, X, *args)

    monkeypatch.setattr(GANGenerator, "_nearest", counted)
    generator = GANGenerator(10, max_epochs=1, random_state=0)
    latent(generator, operator=data.operator).fit(data.data, data.target)
    assert sum(searched) >= 1000


def test_mean_model_is_beaten_and_more_components_are_better(in_vae):
    mean = relative_l2_error(UNSEEN, np.tile(RHO.mean(axis=0), (40, 1)))
    few, many = (
        relative_l2_error(UNSEEN, latent(PCA(k)).fit(X[0.01], RHO).predict(NEW[0.01]))
        for k in (2, K)
    )
    assert many < 0.95 * few < 0.95 * mean
    assert relative_l2_error(UNSEEN, in_vae.predict(NEW[0.01])) < 0.9 * mean


# Noise and physics


def test_unknown_noise_is_told_once():
    text = "'noise_level' is None and the survey .* fitted as if noise-free.* or 0 if there is none"
    with pytest.warns(UserWarning, match=text) as caught:
        inverter = latent(PCA(K), noise_level=None).fit(X[0.0], RHO)
    assert [warning.filename for warning in caught] == [__file__]
    expected = latent(PCA(K), noise_level=0.0).fit(X[0.0], RHO)
    np.testing.assert_array_equal(inverter.predict(NEW[0.0]), expected.predict(NEW[0.0]))


def test_uncertainty_of_the_survey_is_known_noise():
    sigma = 0.02 * np.sqrt(np.mean(TRAIN.data**2))
    inverter = latent(PCA(K), operator=surveyed(sigma, OPERATOR), noise_level=None)
    told = inverter.fit(X[0.0], RHO).predict(NEW[0.01])
    exact = latent(PCA(K), noise_level=0.0).fit(X[0.0], RHO)
    with pytest.warns(UserWarning, match="40 of 40 samples contain more than the noise"):
        expected = exact.predict(NEW[0.01])
    assert relative_l2_error(UNSEEN, told) < 0.95 * relative_l2_error(UNSEEN, expected)


def test_blind_survey_leaves_the_mean():
    blind = latent(PCA(K), noise_level=None, operator=surveyed(1e9, OPERATOR)).fit(X[0.0], RHO)
    mean = np.tile(RHO.mean(axis=0), (40, 1))
    np.testing.assert_allclose(blind.predict(NEW[0.01]), mean, atol=1e-6)


@pytest.mark.parametrize("linear", [True, False], ids=["PCA", "VAE"])
def test_large_noise_leaves_a_sensible_model(linear, vae):
    inverter = latent(PCA(K) if linear else vae, noise_level=0.5).fit(X[0.5], RHO)
    rho = inverter.predict(NEW[0.5])
    mean = np.tile(RHO.mean(axis=0), (40, 1))
    assert np.isfinite(rho).all()
    assert relative_l2_error(UNSEEN, rho) < 1.05 * relative_l2_error(UNSEEN, mean)
    exact = latent(PCA(K), noise_level=0.0).fit(X[0.0], RHO)
    with pytest.warns(UserWarning, match="40 of 40 samples contain more than the noise"):
        clean = exact.predict(NEW[0.5])
    assert relative_l2_error(UNSEEN, rho) < 0.5 * relative_l2_error(UNSEEN, clean)


def test_noise_taken_for_signal_is_told():
    with pytest.warns(PhysicsWarning, match="does not reproduce X from y: relative misfit 0.05"):
        latent(PCA(K), noise_level=0.0).fit(X[0.05], RHO)


def test_unknown_geometry_is_identified_with_a_warning():
    mesh = Mesh.square(6)
    rho = make_density_models(200, mesh=mesh, random_state=0)
    hidden = ForwardOperator(mesh, Survey.line(mesh, n_stations=7, components="z")).fit()
    g = hidden.transform(rho)
    with pytest.warns(PhysicsWarning, match="identified from 160 .* error of .* on held"):
        inverter = latent(PCA(10), operator=None, noise_level=0.0).fit(g, rho)
    assert isinstance(inverter.operator_, MatrixOperator)
    expected = latent(PCA(10), operator=hidden, noise_level=0.0).fit(g, rho)
    assert relative_l2_error(expected.predict(g), inverter.predict(g)) < 1e-2


# Manners


def test_number_of_components_can_be_searched_for():
    search = GridSearchCV(
        latent(PCA(), noise_level=0.05),
        {"generator__n_components": [1, 5, K]},
        cv=2,
        scoring=relative_l2_scorer,
    ).fit(X[0.05], RHO)
    assert search.best_params_["generator__n_components"] == K
    assert np.all(np.diff(search.cv_results_["mean_test_score"]) > 0)
    assert search.best_estimator_.n_components_ == K


def test_densities_given_as_a_vector_come_back_as_one():
    rho = np.array([1.0, 2.0, 4.0, 5.0])
    inverter = latent(PCA(1), operator=MatrixOperator([[2.0]]), noise_level=0.0)
    inverter.fit(2 * rho[:, None], rho)
    estimate, candidates = inverter.predict([[8.0], [3.0]], return_candidates=True)
    np.testing.assert_allclose(estimate, [4.0, 1.5])
    assert candidates.shape == (1, 2, 1)
    np.testing.assert_allclose(inverter.transform([[8.0]]), [[4.0, 8.0]])


def test_refiner_follows_in_a_pipeline():
    refiner = Refiner("projection", operator=OPERATOR, noise_level=0.0)
    chain = make_pipeline(latent(PCA(K), noise_level=0.0), refiner).fit(X[0.0], RHO)
    rho = chain.predict(NEW[0.0])
    expected = latent(PCA(K), noise_level=0.0, projection=True).fit(X[0.0], RHO)
    np.testing.assert_allclose(rho, expected.predict(NEW[0.0]), atol=1e-8)
    before = chain[:1].transform(NEW[0.0])[:, :144]
    assert relative_data_misfit(OPERATOR, rho, NEW[0.0]) < 1e-6
    assert relative_l2_error(UNSEEN, rho) < relative_l2_error(UNSEEN, before)


SIZES = [
    (Mesh.square(6), {"n_stations": 1}),
    (Mesh.square(6), {"n_stations": 1, "components": "z"}),
    (Mesh.square(6), {"n_stations": 18, "components": ("x", "z")}),
    (Mesh.square(5), {"n_stations": 40}),
]


@pytest.mark.parametrize("linear", [True, False], ids=["PCA", "VAE"])
@pytest.mark.parametrize(
    ("mesh", "line"), SIZES, ids=["one station", "one datum", "as many", "more data than cells"]
)
def test_any_number_of_data_will_do(mesh, line, linear):
    operator = ForwardOperator(mesh, Survey.line(mesh, **line), units="normalized").fit()
    rho = make_density_models(120, mesh=mesh, random_state=0)
    g = with_noise(operator.transform(rho), 0.01)
    generator = PCA(8) if linear else VAEGenerator(8, max_epochs=1, random_state=0)
    inverter = latent(generator, operator=operator).fit(g[:100], rho[:100])
    mean = np.tile(rho[:100].mean(axis=0), (20, 1))
    error = relative_l2_error(rho[100:], inverter.predict(g[100:]))
    assert error < relative_l2_error(rho[100:], mean)


@pytest.mark.parametrize("solver", ["gauss-newton", "lbfgs"])
def test_two_training_samples_are_enough(solver, vae):
    inverter = latent(vae, solver=solver).fit(X[0.01][:2], RHO[:2])
    assert np.isfinite(inverter.predict(NEW[0.01])).all()
    one = latent(PCA(1)).fit(X[0.01][:2], RHO[:2])
    assert relative_l2_error(RHO[:2], one.predict(X[0.01][:2])) < 0.05


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"init": "cnn"}, "'init' parameter of LatentInverter must be a str among"),
        ({"solver": "newton"}, "'solver' parameter of LatentInverter must be a str among"),
        ({"n_starts": 0}, "'n_starts' parameter of LatentInverter must be an int in"),
        ({"max_iter": 0}, "'max_iter' parameter of LatentInverter must be an int in"),
        ({"learning_rate": 0.0}, "'learning_rate' parameter of LatentInverter must be a float"),
        ({"prior": 2}, "'prior' parameter of LatentInverter must be an instance of 'bool'"),
        ({"generator": Ridge()}, "'generator' parameter of LatentInverter must be an object imp"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_parameters_are_refused(params, text):
    with pytest.raises(ValueError, match=text):
        latent(**{"generator": PCA(K)} | params).fit(X[0.01], RHO)


@pytest.mark.parametrize("kind", ["PCA", "VAE"])
def test_data_that_are_all_zero_have_an_estimate(kind, vae):
    inverter = latent(PCA(K) if kind == "PCA" else vae, noise_level=0.0, max_iter=100)
    rho = inverter.fit(X[0.0], RHO).set_params(tol=0.1).predict(0 * NEW[0.0][:3])
    assert np.isfinite(rho).all()
    np.testing.assert_allclose(rho, rho[:1].repeat(3, axis=0), atol=1e-3)


def test_fit_needs_no_seed_unless_a_start_gets_noise(vae):
    found = [
        latent(PCA(K), noise_level=0.01, random_state=None).fit(X[0.0], RHO).predict(NEW[0.01])
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*found)
