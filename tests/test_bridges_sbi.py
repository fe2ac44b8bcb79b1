"""Codes of a generator as the parameters of sbi."""

import numpy as np
import pytest
import torch
from bridged import bridged
from sklearn.decomposition import PCA

from skgrav import ForwardOperator, MatrixOperator, Mesh, Survey, VAEGenerator
from skgrav.bridges import CodeSimulator
from skgrav.datasets import make_gravity_dataset

sbi = bridged("sbi")
inference = bridged("sbi.inference")
checks = bridged("sbi.utils.user_input_checks")

MESH = Mesh.square(8)
DATA = make_gravity_dataset(400, mesh=MESH, random_state=0)
PCA5 = PCA(5).fit(DATA.target)
SIMULATOR = CodeSimulator(PCA5, DATA.operator, noise_level=0.05)


def test_sbi_accepts_prior_and_simulator():
    prior, n_codes, is_numpy = checks.process_prior(SIMULATOR.prior(DATA.target))
    assert (n_codes, is_numpy) == (5, False)
    simulator = checks.process_simulator(SIMULATOR, prior, is_numpy)
    checks.check_sbi_inputs(simulator, prior)
    theta, x = inference.simulate_for_sbi(
        simulator, prior, 20, simulation_batch_size=7, seed=0, show_progress_bar=False
    )
    assert theta.shape == (20, 5)
    assert x.shape == (20, DATA.data.shape[1])
    assert x.dtype == torch.float32


def test_prior_has_mean_and_covariance_of_the_codes():
    prior, codes = SIMULATOR.prior(DATA.target), PCA5.transform(DATA.target)
    np.testing.assert_allclose(prior.mean, codes.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(prior.variance, codes.var(axis=0), rtol=1e-5)
    with pytest.raises(ValueError, match="codes do not vary"):
        SIMULATOR.prior(DATA.target[:1])


def test_noise_of_simulations_and_of_pairs():
    theta = torch.tensor(PCA5.transform(DATA.target[:3]), dtype=torch.float32)
    g = DATA.operator.transform(PCA5.inverse_transform(theta.double().numpy()))
    std = 0.05 * np.sqrt(np.mean(g**2, axis=1))
    torch.manual_seed(0)
    x = SIMULATOR(theta.repeat(400, 1)).reshape(400, 3, -1).double().numpy()
    np.testing.assert_allclose((x - g).std(axis=(0, 2)), std, rtol=0.03)
    torch.manual_seed(0)
    assert torch.equal(SIMULATOR(theta), SIMULATOR(theta)) is False
    codes, data = SIMULATOR.pairs(DATA.target, random_state=0)
    np.testing.assert_allclose(codes, PCA5.transform(DATA.target), atol=1e-4)
    g = DATA.operator.transform(DATA.target)
    errors = (data.double().numpy() - g) / np.sqrt(np.mean(g**2, axis=1, keepdims=True))
    assert errors.std() == pytest.approx(0.05, rel=0.03)
    assert torch.equal(SIMULATOR.pairs(DATA.target, random_state=0)[1], data)
    assert not torch.equal(SIMULATOR.pairs(DATA.target, random_state=1)[1], data)


def test_trend_is_left_out_of_simulations_and_observations():
    stations = Survey.line(MESH).stations
    operator = ForwardOperator(MESH, Survey(stations, ("z",), uncertainty=0.01, trend=1)).fit()
    simulator = CodeSimulator(PCA5, operator)
    X = operator.transform(DATA.target[:3])
    plane = 7.0 - 0.3 * stations[:, 1]
    x = simulator.observe(X)
    assert x.shape == (3, len(stations) - 2)
    torch.testing.assert_close(simulator.observe(X + plane), x, rtol=1e-3, atol=1e-4)
    assert simulator(torch.zeros(1, 5)).shape == (1, len(stations) - 2)


@pytest.mark.filterwarnings("ignore:Maximum number of epochs:UserWarning")
def test_posterior_of_a_linear_problem_is_the_gaussian_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where sbi leaves its logs
    # Two codes, a linear operator: the posterior is known, and close to it is what NPE must come.
    rng = np.random.default_rng(0)
    y = rng.normal(size=(3000, 2)) * [1.0, 2.0]
    pca = PCA(2).fit(y)
    A = np.array([[1.0, 0.5], [0.2, 1.0], [0.7, -0.3]])
    survey_free = MatrixOperator(A).fit(y)
    simulator = CodeSimulator(pca, survey_free, noise_level=0.3)
    torch.manual_seed(0)
    trainer = inference.NPE(simulator.prior(y), density_estimator="mdn", show_progress_bars=False)
    trainer.append_simulations(*simulator.pairs(y))
    trainer.train(max_num_epochs=10, training_batch_size=100, learning_rate=5e-3)
    X = np.array([[1.5, 2.0, 0.0]])
    posterior = trainer.build_posterior()
    state = torch.random.get_rng_state()
    draws = simulator.sample_y(posterior, X, 400, random_state=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert draws.shape == (1, 2, 400)
    variance = (0.3 * np.sqrt(np.mean(X**2))) ** 2
    covariance = np.linalg.inv(A.T @ A / variance + np.diag([1.0, 0.25]))
    mean = covariance @ A.T @ X[0] / variance
    std = np.sqrt(np.diag(covariance))
    assert (np.abs(draws[0].mean(axis=1) - mean) < 0.6 * std).all()
    ratio = draws[0].std(axis=1) / std
    assert (ratio > 0.6).all()
    assert (ratio < 1.7).all()


def test_draws_are_densities_of_the_generator():
    vae = VAEGenerator(4, max_epochs=1, random_state=0).fit(DATA.target)
    simulator = CodeSimulator(vae, DATA.operator, noise_level=0.05)

    class Prior:
        def sample(self, shape, x, show_progress_bars):
            return simulator.prior(DATA.target).sample(shape)

    draws = simulator.sample_y(Prior(), DATA.data[:2], 3, random_state=0)
    assert draws.shape == (2, 64, 3)
    np.testing.assert_array_equal(
        draws, simulator.sample_y(Prior(), DATA.data[:2], 3, random_state=0)
    )
    assert not np.array_equal(draws, simulator.sample_y(Prior(), DATA.data[:2], 3, random_state=1))
    low, high = vae.density_range_
    assert low <= draws.min() < draws.max() <= high


def test_what_does_not_fit_together_is_refused_by_name():
    with pytest.raises(ValueError, match="'noise_level' is None and the survey has no uncertainty"):
        CodeSimulator(PCA5, DATA.operator)
    with pytest.raises(TypeError, match=r"'generator' is .* no method transform"):
        CodeSimulator(object(), DATA.operator, noise_level=0.1)
    with pytest.raises(TypeError, match="'operator' is of type ndarray"):
        CodeSimulator(PCA5, np.eye(3), noise_level=0.1)
    other = ForwardOperator(Mesh.square(6)).fit()
    with pytest.raises(ValueError, match="'generator' has densities of 64 cells"):
        CodeSimulator(PCA5, other, noise_level=0.1)
    with pytest.raises(ValueError, match="'X' has 3 data"):
        SIMULATOR.observe(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="'y' has 3 cells"):
        SIMULATOR.pairs(np.zeros((1, 3)))
    with pytest.raises(TypeError, match="'posterior' is 3"):
        SIMULATOR.sample_y(3, DATA.data)
