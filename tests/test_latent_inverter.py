"""LatentInverter: closed form and search, errors of the generator, starts, noise and manners."""

import copy
import pickle
import random
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import least_squares
from scipy.stats import chi2
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA, FastICA, KernelPCA, TruncatedSVD
from sklearn.dummy import DummyRegressor
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skgrav import (
    CNNInverter,
    ForwardOperator,
    GANGenerator,
    LatentInverter,
    MatrixOperator,
    Mesh,
    Pipeline,
    Refiner,
    Survey,
    VAEGenerator,
    make_pipeline,
)
from skgrav.datasets import make_density_models, make_gravity_dataset
from skgrav.inverters import LatentResult
from skgrav.inverters._latent import _N_RECORDED
from skgrav.inverters._latent_space import CodePrior, CodeRegression, DataError
from skgrav.metrics import chi_factor, relative_data_misfit, relative_l2_error, relative_l2_scorer
from skgrav.networks import PaperCNN
from skgrav.operators import PhysicsWarning
from skgrav.solvers import NonlinearProblem, adam, gauss_newton, lbfgs

MESH = Mesh.square(12)
TRAIN = make_gravity_dataset(400, mesh=MESH, random_state=0)
TEST = make_gravity_dataset(40, mesh=MESH, random_state=1)
OPERATOR, RHO, UNSEEN = TRAIN.operator, TRAIN.target, TEST.target  # 144 cells, 72 data
K = 20

SMALL_NETWORK = partial(PaperCNN, filters=(8,), hidden_layer_sizes=(64,))
UNEVEN = 0.01 * np.sqrt(np.mean(TRAIN.data**2)) * np.linspace(0.5, 1.5, 72)

SOLVERS = pytest.mark.parametrize("solver", ["gauss-newton", "lbfgs", "adam"])
LEVELS = pytest.mark.parametrize("level", [0.0, 0.01, 0.05])
ITERATIONS_MAY_RUN_OUT = pytest.mark.filterwarnings("ignore:.* samples did not converge")


def with_noise(g, level, seed=0):
    rms = np.sqrt(np.mean(g**2, axis=1, keepdims=True))
    return g + level * rms * np.random.default_rng(seed).normal(size=g.shape)


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


def surveyed(uncertainty):
    """Give the operator with a survey that knows its uncertainty."""
    survey = Survey(OPERATOR.survey_.stations, OPERATOR.survey_.components, uncertainty)
    return ForwardOperator(MESH, survey, units="normalized")


def cubed(z):
    return z**3


class TorchPCA(PCA):
    """Principal components that can only be searched: they decode within torch."""

    def decode(self, z):
        components = torch.tensor(self.components_, dtype=z.dtype)
        return z @ components + torch.tensor(self.mean_, dtype=z.dtype)


class Memory(RegressorMixin, BaseEstimator):
    """Estimates for unseen data what it was given for them: a start of a known quality."""

    def __init__(self, rho):
        self.rho = rho

    def fit(self, X, y):
        self.n_fits_ = getattr(self, "n_fits_", 0) + 1
        return self

    def predict(self, X):
        return np.tile(self.rho, (len(X), 1))


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


# What the test computes by itself, in the space of data


def decoded_linearly(generator):
    """Give matrix and offset of a linear generator, from its codes to densities."""
    offset = generator.inverse_transform(np.zeros((1, K)))[0]
    return generator.inverse_transform(np.eye(K)) - offset, offset


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


def posterior_mean(inverter, g, m=None, C=None, beside=0.0):
    """Give ``m + C J' (J C J' + S)^-1 (g - A b - e - J m)`` of one sample.

    The density `beside` that of the generator is known.
    """
    prior = inverter._space.prior
    m = prior.mean if m is None else m
    C = prior.root @ prior.root.T if C is None else C
    matrix, offset = decoded_linearly(inverter.generator_)
    A = inverter.operator_.matrix_
    J = A @ matrix.T
    mean, S = data_error(inverter, g)
    left = g - A @ (offset + beside) - mean - J @ m
    return m + C @ J.T @ np.linalg.solve(J @ C @ J.T + S, left)


def least_squares_codes(inverter, g, prior=True):
    """Give the same, or without the prior, from whitened equations: less is lost by rounding."""
    matrix, offset = decoded_linearly(inverter.generator_)
    A = inverter.operator_.matrix_
    mean, S = data_error(inverter, g)
    whiten = np.linalg.inv(np.linalg.cholesky(S))
    equations, right = whiten @ A @ matrix.T, whiten @ (g - A @ offset - mean)
    if prior:
        towards = np.linalg.inv(inverter._space.prior.root)
        equations = np.vstack([equations, towards])
        right = np.concatenate([right, towards @ inverter._space.prior.mean])
    return np.linalg.lstsq(equations, right)[0]


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


# Linear generators


LINEAR = pytest.mark.parametrize(
    "generator",
    [
        PCA(K),
        PCA(K, whiten=True),
        TruncatedSVD(K, random_state=0),
        FastICA(K, whiten="unit-variance", max_iter=2000, tol=1e-2, random_state=0),
        make_pipeline(StandardScaler(), PCA(K)),
        FrozenEstimator(PCA(K).fit(RHO)),
    ],
    ids=["PCA", "whitened", "TruncatedSVD", "FastICA", "Pipeline", "frozen"],
)


@LINEAR
@pytest.mark.parametrize("approximation_error", [True, False])
def test_linear_generators_have_the_posterior_mean_in_closed_form(generator, approximation_error):
    inverter = latent(generator, approximation_error=approximation_error).fit(X[0.01], RHO)
    result = inverter.invert(NEW[0.01][:5])
    expected = [posterior_mean(inverter, g) for g in NEW[0.01][:5]]
    scale = np.abs(expected).max()
    np.testing.assert_allclose(result.codes, expected, rtol=0, atol=1e-10 * scale)
    np.testing.assert_array_equal(result.rho, inverter.generator_.inverse_transform(result.codes))


@pytest.mark.parametrize("approximation_error", [True, False])
def test_closed_form_is_exact_for_clean_data_down_to_their_rounding(approximation_error):
    inverter = latent(PCA(K), noise_level=0.0, approximation_error=approximation_error)
    result = inverter.fit(X[0.0], RHO).invert(NEW[0.0][:5])
    expected = [least_squares_codes(inverter, g) for g in NEW[0.0][:5]]
    # Damped by 1e-6, either way of solving it loses six digits, and which ones the machine decides.
    atol = 1e-9 * np.abs(expected).max()
    np.testing.assert_allclose(result.codes, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("approximation_error", [True, False])
def test_closed_form_knows_the_noise_of_each_datum(approximation_error):
    params = {"noise_level": None, "approximation_error": approximation_error}
    uneven = latent(PCA(K), operator=surveyed(UNEVEN), **params).fit(X[0.0], RHO)
    g = TEST.data[:5] + UNEVEN * np.random.default_rng(0).normal(size=(5, 72))
    expected = [posterior_mean(uneven, row) for row in g]
    codes = uneven.invert(g).codes
    np.testing.assert_allclose(codes, expected, rtol=0, atol=1e-10 * np.abs(expected).max())
    even = latent(PCA(K), operator=surveyed(UNEVEN.mean()), **params).fit(X[0.0], RHO)
    assert np.abs(even.invert(g).codes - codes).max() > 1e-3 * np.abs(codes).max()


def test_closed_form_without_prior_is_that_of_least_squares():
    inverter = latent(PCA(K), prior=False, approximation_error=False).fit(X[0.01], RHO)
    codes = inverter.invert(NEW[0.01][:5]).codes
    expected = [least_squares_codes(inverter, g, prior=False) for g in NEW[0.01][:5]]
    np.testing.assert_allclose(codes, expected, rtol=0, atol=1e-8 * np.abs(expected).max())
    posterior = [posterior_mean(inverter, g) for g in NEW[0.01][:5]]
    assert np.linalg.norm(codes) > 1.1 * np.linalg.norm(posterior)


def test_start_beside_the_data_leads_the_posterior_mean():
    rng = np.random.default_rng(0)
    start, new = (rho + rng.normal(size=rho.shape) for rho in (RHO, UNSEEN[:5]))
    inverter = latent(PCA(K)).fit(np.hstack([start, X[0.01]]), RHO)
    result = inverter.invert(np.hstack([new, NEW[0.01][:5]]))
    # Codes and those of their starts are jointly Gaussian, correlations shrunk as usual.
    pca = inverter.generator_
    joint = np.hstack([pca.transform(RHO), pca.transform(start)])
    mean, std = joint.mean(axis=0), joint.std(axis=0)
    correlation = LedoitWolf(assume_centered=True).fit((joint - mean) / std).covariance_
    C = correlation * np.outer(std, std)
    gain = C[:K, K:] @ np.linalg.inv(C[K:, K:])
    given = C[:K, :K] - gain @ C[K:, :K]
    codes = pca.transform(new)
    remainders = new - pca.inverse_transform(codes)
    expected = [
        posterior_mean(inverter, g, mean[:K] + gain @ (z - mean[K:]), given, beside)
        for g, z, beside in zip(NEW[0.01], codes, remainders, strict=False)
    ]
    scale = np.abs(expected).max()
    np.testing.assert_allclose(result.codes, expected, rtol=0, atol=1e-6 * scale)
    # Only codes change; the rest of the start stays.
    changes = result.rho - new
    inside = pca.inverse_transform(result.codes) - pca.inverse_transform(codes)
    share = np.sum(changes * inside) / np.sum(inside**2)
    np.testing.assert_allclose(changes, share * inside, rtol=0, atol=1e-9)
    assert 0 < share <= 1


def test_errors_of_the_generator_are_learned_from_what_training_sections_leave():
    inverter = latent(PCA(K)).fit(X[0.01], RHO)
    left = RHO - inverter.generator_.inverse_transform(inverter.generator_.transform(RHO))
    left = OPERATOR.transform(left) @ inverter._coordinates(inverter._noise())[0].U
    learned, expected = inverter._space.error, DataError.of(left)
    np.testing.assert_allclose(learned.mean, left.mean(axis=0), atol=1e-12)
    covariances = [e.rotation @ np.diag(e.variance) @ e.rotation.T for e in (learned, expected)]
    np.testing.assert_allclose(*covariances, rtol=0, atol=1e-9 * covariances[1].max())


def test_covariances_are_those_of_ledoit_and_wolf_whatever_the_scale_of_each_value():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(30, 8)) @ rng.normal(size=(8, 8)) + 5
    std = values.std(axis=0)
    standardised = (values - values.mean(axis=0)) / std
    shrunk = LedoitWolf(assume_centered=True).fit(standardised).covariance_
    empirical = np.corrcoef(values.T)
    assert np.abs(shrunk - empirical).max() > 0.01
    for scales in (np.ones(8), 10.0 ** np.linspace(-2, 2, 8)):
        error = DataError.of(values * scales)
        covariance = error.rotation @ np.diag(error.variance) @ error.rotation.T
        np.testing.assert_allclose(
            covariance / np.outer(std * scales, std * scales), shrunk, atol=1e-6
        )
    prior = CodePrior.of(values)
    np.testing.assert_allclose(prior.root @ prior.root.T / np.outer(std, std), shrunk, atol=1e-6)


def test_whitening_codes_changes_nothing():
    plain, whitened = (latent(PCA(K, whiten=w)).fit(X[0.01], RHO) for w in (False, True))
    np.testing.assert_allclose(
        plain.predict(NEW[0.01]), whitened.predict(NEW[0.01]), atol=1e-8 * np.abs(RHO).max()
    )


@pytest.mark.parametrize(
    "generator",
    [
        KernelPCA(5, kernel="rbf", fit_inverse_transform=True),
        make_pipeline(PCA(5), FunctionTransformer(np.cbrt, inverse_func=cubed)),
    ],
    ids=["KernelPCA", "Pipeline"],
)
def test_nonlinear_generator_that_torch_cannot_decode_is_refused(generator):
    text = r"whose inverse_transform is not linear and which has no 'decode' .* Give VAEGenerator,"
    with pytest.raises(ValueError, match=text):
        latent(generator).fit(X[0.01], RHO)


@SOLVERS
@pytest.mark.parametrize("approximation_error", [True, False])
def test_search_finds_what_the_closed_form_gives(solver, approximation_error):
    params = {"approximation_error": approximation_error, "tol": 1e-5}
    exact = latent(PCA(K), **params).fit(X[0.01], RHO).invert(NEW[0.01][:10])
    found = latent(TorchPCA(K), solver=solver, **params).fit(X[0.01], RHO).invert(NEW[0.01][:10])
    np.testing.assert_allclose(found.objective, exact.objective, rtol=1e-3)
    assert relative_l2_error(exact.rho, found.rho) < 0.01


# Errors of the generator, and the projection


@pytest.mark.parametrize("k", [10, 20, 30])
def test_clean_data_ruin_the_model_unless_the_generators_errors_count(k):
    errors = [
        relative_l2_error(
            UNSEEN,
            latent(PCA(k), noise_level=0.0, approximation_error=counts)
            .fit(X[0.0], RHO)
            .predict(NEW[0.0]),
        )
        for counts in (True, False)
    ]
    assert errors[1] > 3 * errors[0]


@ITERATIONS_MAY_RUN_OUT
def test_generators_errors_cost_misfit_and_save_the_model_within_the_vae(vae):
    inverters = [
        latent(vae, approximation_error=counts).fit(X[0.01], RHO) for counts in (True, False)
    ]
    results = [inverter.invert(NEW[0.01]) for inverter in inverters]
    errors = [relative_l2_error(UNSEEN, result.rho) for result in results]
    assert results[0].misfit.mean() > 1.2 * results[1].misfit.mean()
    assert errors[0] < 0.98 * errors[1]


@pytest.mark.parametrize("linear", [True, False], ids=["PCA", "VAE"])
def test_projection_fits_clean_data_and_does_not_raise_the_error(linear, vae):
    inverter = latent(PCA(K) if linear else vae, noise_level=0.0).fit(X[0.0], RHO)
    projected = with_params(inverter, projection=True)
    before, after = inverter.invert(NEW[0.0]), projected.invert(NEW[0.0])
    assert before.misfit.min() > 1e-4
    assert after.misfit.max() < 1e-6
    # Pythagoras: what is added is orthogonal to what is left, for each sample.
    raw = partial(relative_l2_error, multioutput="raw_values")
    assert np.all(raw(UNSEEN, after.rho) <= raw(UNSEEN, before.rho) + 1e-9)
    assert relative_l2_error(UNSEEN, after.rho) < 0.98 * relative_l2_error(UNSEEN, before.rho)


@pytest.mark.parametrize("linear", [True, False], ids=["PCA", "VAE"])
def test_projection_fits_noisy_data_to_their_noise(linear, vae):
    inverter = latent(PCA(K) if linear else vae).fit(X[0.01], RHO)
    projected = with_params(inverter, projection=True).predict(NEW[0.01])
    chi = [
        chi_factor(OPERATOR, rho, NEW[0.01], noise_level=0.01, multioutput="raw_values")
        for rho in (inverter.predict(NEW[0.01]), projected)
    ]
    assert 0.8 < chi[1].mean() < 1.3 < chi[0].max()
    assert relative_l2_error(UNSEEN, projected) <= 1.01 * relative_l2_error(
        UNSEEN, inverter.predict(NEW[0.01])
    )


# Solvers


@pytest.fixture(scope="module")
def solved(in_vae):
    """Give what each solver finds from the mean of the codes."""
    return {
        solver: with_params(in_vae, solver=solver, init="prior-mean", tol=1e-6).invert(
            NEW[0.01][:12]
        )
        for solver in ("gauss-newton", "lbfgs", "adam")
    }


def test_solvers_reach_the_same_objective(solved):
    expected = solved["gauss-newton"].objective
    for solver in ("lbfgs", "adam"):
        np.testing.assert_allclose(solved[solver].objective, expected, rtol=1e-4)
        assert relative_l2_error(solved["gauss-newton"].rho, solved[solver].rho) < 1e-3


@SOLVERS
def test_all_samples_converge(solver, solved):
    limits = {"gauss-newton": 30, "lbfgs": 200, "adam": 5000}
    assert solved[solver].converged.all()
    assert 1 <= solved[solver].n_iter.min() <= solved[solver].n_iter.max() <= limits[solver]


def test_newton_steps_are_few(solved):
    assert solved["gauss-newton"].n_iter.max() <= 30
    assert solved["gauss-newton"].n_iter.mean() < solved["adam"].n_iter.mean() / 10


@SOLVERS
def test_objective_is_that_of_the_codes_and_below_its_start(solver, solved, in_vae):
    result, g = solved[solver], NEW[0.01][:12]
    expected = objective(in_vae, g, result.codes)
    np.testing.assert_allclose(result.objective, [expected], rtol=1e-4)
    start = objective(in_vae, g, np.tile(in_vae._space.prior.mean, (12, 1)))
    assert np.all(result.objective <= start)
    assert result.objective.mean() < start.mean() / 10


@SOLVERS
@ITERATIONS_MAY_RUN_OUT
def test_no_number_of_iterations_ends_above_the_start(solver, in_vae):
    inverter = with_params(in_vae, init="random")
    start = objective(in_vae, NEW[0.01], first_codes(inverter, NEW[0.01])[1])
    for max_iter in (1, 2, 5):
        params = {"solver": solver, "init": "random", "random_state": 0, "learning_rate": 10.0}
        result = with_params(in_vae, max_iter=max_iter, **params).invert(NEW[0.01])
        assert np.all(result.objective[0] <= start * (1 + 1e-5))


def test_samples_do_not_know_one_another(in_vae):
    together = in_vae.predict(NEW[0.01])
    alone = np.concatenate([in_vae.predict(row[None]) for row in NEW[0.01][:8]])
    np.testing.assert_allclose(alone, together[:8], atol=1e-3 * np.abs(RHO).max())
    # More samples than are searched at once.
    many = in_vae.predict(np.tile(NEW[0.01], (7, 1)))
    np.testing.assert_allclose(many, np.tile(together, (7, 1)), atol=1e-3 * np.abs(RHO).max())


def test_result_tells_densities_misfits_and_shapes(in_vae):
    result = in_vae.invert(NEW[0.01])
    assert isinstance(result, LatentResult)
    np.testing.assert_array_equal(result.rho, in_vae.predict(NEW[0.01]))
    np.testing.assert_array_equal(result.rho, in_vae.generator_.inverse_transform(result.codes))
    np.testing.assert_allclose(
        result.misfit,
        relative_data_misfit(OPERATOR, result.rho, NEW[0.01], multioutput="raw_values"),
    )
    assert (result.codes.shape, result.objective.shape) == ((40, K), (1, 40))
    assert (result.n_iter.shape, result.converged.shape) == ((40,), (40,))
    np.testing.assert_array_equal(result.candidates, result.rho[None])


def test_estimates_stay_within_the_range_of_the_generator(in_vae):
    rho = in_vae.predict(100 * NEW[0.01])
    assert RHO.min() <= rho.min() < rho.max() <= RHO.max()


def test_iterations_of_training_samples_are_recorded(vae):
    inverter = latent(vae, noise_level=0.0).fit(X[0.0], RHO)
    assert inverter.n_iter_ == inverter.invert(X[0.0][:_N_RECORDED]).n_iter.max()


# Least squares of small problems, in float64


def bent(u):
    """Map two codes to three data, not linearly, and not alike in both."""
    return torch.stack([10 * (u[:, 1] - u[:, 0] ** 2), 1 - u[:, 0], torch.sin(u).sum(dim=1)], dim=1)


def problem(forward=bent, n_samples=6, prior=1.0, target=0.0, seed=0):
    """Give a problem with a weight for each datum of each sample, and a start."""
    rng = np.random.default_rng(seed)
    jacobian = torch.tensor([[0.0, -1.0, 1.0], [10.0, 0.0, 1.0]], dtype=torch.float64)
    made = NonlinearProblem(
        forward=forward,
        data=torch.tensor(rng.normal(size=(n_samples, 3))),
        weights=torch.tensor(rng.uniform(0.5, 2, size=(n_samples, 3))),
        jacobian=jacobian,
        centre=torch.tensor(rng.normal(size=(n_samples, 2))),
        prior=prior,
        target=target,
    )
    return made, torch.tensor(rng.normal(size=(n_samples, 2)))


def cost(made, u):
    residual = made.weights * (made.forward(u) - made.data)
    return (residual.square().sum(1) + made.prior * (u - made.centre).square().sum(1)) / 2


MINIMISE = pytest.mark.parametrize(
    ("minimise", "max_iter"),
    [(gauss_newton, 100), (lbfgs, 300), (partial(adam, learning_rate=0.05), 20_000)],
    ids=["gauss-newton", "lbfgs", "adam"],
)


@pytest.mark.parametrize("prior", [0.0, 2.0])
def test_gradient_is_that_of_autograd(prior):
    made, u = problem(prior=prior)
    u.requires_grad_()
    expected = cost(made, u)
    (slope,) = torch.autograd.grad(expected.sum(), u)
    value, misfit2, gradient = made.gradient(u.detach())
    torch.testing.assert_close(value, expected.detach())
    torch.testing.assert_close(gradient, slope)
    distance2 = prior * (u - made.centre).square().sum(1)
    torch.testing.assert_close(misfit2, (2 * expected - distance2).detach())
    for one, other in zip(made.values(u), (value, misfit2), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("prior", [0.0, 2.0])
def test_hessian_is_that_of_gauss_and_newton(prior):
    made, u = problem(prior=prior)
    step = 1e-6
    columns = [
        (made.forward(u + step * e) - made.forward(u - step * e)) / (2 * step)
        for e in torch.eye(2, dtype=torch.float64)
    ]
    weighted = made.weights[..., None] * torch.stack(columns, dim=2)
    expected = weighted.mT @ weighted + prior * torch.eye(2, dtype=torch.float64)
    direction = torch.tensor(np.random.default_rng(1).normal(size=(6, 2)))
    hessian = made.linearised(u)[3]
    torch.testing.assert_close(
        hessian(direction), (expected @ direction[..., None])[..., 0], rtol=1e-6, atol=1e-6
    )


def test_one_newton_step_solves_a_linear_problem():
    made, u = problem(lambda u: u @ made.jacobian + 3.0)
    found = gauss_newton(made, u, 1, 0.0)
    for i in range(len(u)):
        equations = torch.cat(
            [made.weights[i][:, None] * made.jacobian.T, torch.eye(2, dtype=torch.float64)]
        )
        right = torch.cat([made.weights[i] * (made.data[i] - 3.0), made.centre[i]])
        expected = torch.linalg.lstsq(equations, right[:, None]).solution[:, 0]
        torch.testing.assert_close(found.u[i], expected, rtol=1e-3, atol=1e-3)
    assert (found.n_iter == 1).all()
    assert not torch.allclose(found.u, u, atol=0.1)


@MINIMISE
@pytest.mark.parametrize("prior", [0.0, 1.0])
def test_solvers_find_the_minima_that_scipy_finds(minimise, max_iter, prior):
    made, u = problem(prior=prior)
    found = minimise(made, u, max_iter, 1e-12)
    for i, start in enumerate(u.numpy()):
        one = made.take(torch.tensor([i]))

        def residual(u, one=one):
            row = torch.tensor(u)[None]
            away = np.sqrt(prior) * (row - one.centre)
            return torch.cat([one.weights * (bent(row) - one.data), away], dim=1)[0].numpy()

        # From the solution scipy goes on to a better point, if there is one near.
        polished = least_squares(residual, found.u[i].numpy(), xtol=1e-15, ftol=1e-15, gtol=1e-15)
        assert found.objective[i].item() == pytest.approx(polished.cost, rel=1e-5, abs=1e-9)
        np.testing.assert_allclose(found.u[i], polished.x, atol=1e-2)
        own = least_squares(residual, start)
        assert found.objective[i].item() < 1.01 * own.cost + 1e-9 or own.cost < 0.01
    assert found.converged.all()
    torch.testing.assert_close(found.objective, cost(made, found.u))


@MINIMISE
def test_samples_stop_at_their_target_and_others_go_on(minimise, max_iter):
    free, u = problem(prior=0.0, n_samples=20)
    before = free.values(u)[1]
    target = before.quantile(0.3).item()
    made = replace(free, target=target)
    found, best = (minimise(p, u, max_iter, 1e-6) for p in (made, free))
    already = before <= target
    assert (found.n_iter[already] == 0).all()
    torch.testing.assert_close(found.u[already], u[already], rtol=0, atol=0)
    stopped = ~already & (best.misfit2 < 0.1 * target)
    assert stopped.sum() > 5
    assert (found.misfit2[stopped] <= target).all()
    assert (found.n_iter[stopped] < best.n_iter[stopped]).all()
    assert found.misfit2[stopped].mean() > 2 * best.misfit2[stopped].mean()
    assert (best.n_iter > 0).all()


@MINIMISE
def test_iterations_that_run_out_are_told_of(minimise, max_iter):
    made, u = problem()
    found = minimise(made, u, 1, 1e-12)
    assert (found.n_iter == 1).all()
    assert not found.converged.any()
    assert (found.objective <= cost(made, u)).all()


@MINIMISE
def test_rows_of_a_problem_are_solved_as_in_the_whole(minimise, max_iter):
    made, u = problem()
    rows = torch.tensor([4, 1])
    whole, part = minimise(made, u, 20, 1e-9), minimise(made.take(rows), u[rows], 20, 1e-9)
    torch.testing.assert_close(part.u, whole.u[rows])
    torch.testing.assert_close(part.n_iter, whole.n_iter[rows])


# Where the search starts


def test_regression_of_codes_is_that_of_ridge():
    rng = np.random.default_rng(0)
    data, z = rng.normal(size=(50, 7)) + 3, rng.normal(size=(50, 4)) - 1
    new = rng.normal(size=(9, 7))
    for sigma in (0.5, 2.0):
        expected = Ridge(50 * sigma**2).fit(data, z).predict(new)
        codes = CodeRegression.of(data, z)(new, np.full(9, sigma))
        np.testing.assert_allclose(codes, expected)


def test_regression_starts_nearer_to_the_codes_than_their_mean(in_vae):
    true = in_vae.generator_.transform(UNSEEN)
    codes, mean = (
        first_codes(with_params(in_vae, init=init), NEW[0.01])[1]
        for init in ("regression", "prior-mean")
    )
    errors = [np.linalg.norm(z - true, axis=1) for z in (codes, mean)]
    assert errors[0].mean() < 0.9 * errors[1].mean()
    starts = [objective(in_vae, NEW[0.01], z) for z in (codes, mean)]
    assert np.median(starts[0]) < np.median(starts[1]) / 10
    np.testing.assert_allclose(mean, np.tile(in_vae._space.prior.mean, (40, 1)))


def test_auto_without_a_start_is_the_regression(in_vae):
    regression = with_params(in_vae, init="regression")
    np.testing.assert_array_equal(in_vae.predict(NEW[0.01]), regression.predict(NEW[0.01]))


def test_random_starts_are_drawn_from_the_prior(in_vae):
    u, _ = first_codes(with_params(in_vae, init="random"), np.tile(NEW[0.01], (20, 1)))
    centred = u - in_vae._space.prior.centre(None)
    np.testing.assert_allclose(centred.mean(axis=0), 0, atol=0.15)
    np.testing.assert_allclose(np.cov(centred.T), np.eye(K), atol=0.2)


@ITERATIONS_MAY_RUN_OUT
def test_random_starts_follow_the_seed(in_vae):
    def codes(random_state, n_times=1):
        params = {"init": "random", "max_iter": 1, "solver": "adam"}
        inverter = with_params(in_vae, random_state=random_state, **params)
        return [inverter.invert(NEW[0.01]).codes for _ in range(n_times)]

    once, again = codes(0, 2)
    np.testing.assert_array_equal(once, again)
    for others in (codes(1), codes(np.random.RandomState(0), 2)[1:], codes(None)):
        assert np.abs(others[0] - once).max() > 0.1


def test_other_starts_do_not_depend_on_the_seed(in_vae):
    one, other = (with_params(in_vae, random_state=i).predict(NEW[0.01]) for i in (0, 1))
    np.testing.assert_array_equal(one, other)


@pytest.fixture(scope="module")
def chained(vae, cnn):
    """Give a Pipeline of the network and the inverter within the VAE."""
    return Pipeline([cnn, latent(vae)]).fit(X[0.01], RHO)


def test_start_of_the_previous_step_is_found_and_used(chained, in_vae, cnn):
    last = chained[-1]
    assert (last.n_features_in_, in_vae.n_features_in_) == (216, 72)
    rho = chained.predict(NEW[0.01])
    np.testing.assert_array_equal(rho, last.predict(np.hstack([cnn.predict(NEW[0.01]), NEW[0.01]])))
    assert relative_l2_error(in_vae.predict(NEW[0.01]), rho) > 0.01
    others = np.hstack([cnn.predict(NEW[0.01])[::-1], NEW[0.01]])
    assert relative_l2_error(rho, last.predict(others)) > 0.01


@pytest.mark.parametrize("told", [True, False])
def test_start_is_found_with_the_default_geometry_and_a_matrix(told, vae, chained):
    operator = MatrixOperator(OPERATOR.matrix_) if told else None
    inverter = latent(vae, operator=operator).fit(chained[:1].transform(X[0.01]), RHO)
    assert inverter.operator_.n_data_ == 72
    np.testing.assert_allclose(
        inverter.predict(chained[:1].transform(NEW[0.01])), chained.predict(NEW[0.01]), atol=1e-2
    )


def test_start_none_is_that_of_the_previous_step(vae, cnn, chained):
    explicit = Pipeline([cnn, latent(vae, init=None)]).fit(X[0.01], RHO)
    np.testing.assert_array_equal(explicit.predict(NEW[0.01]), chained.predict(NEW[0.01]))


def test_start_fitted_inside_equals_that_of_the_previous_step(vae, cnn):
    inside = latent(vae, init=cnn, noise_level=0.0).fit(X[0.0], RHO)
    chain = Pipeline([cnn, latent(vae, noise_level=0.0)]).fit(X[0.0], RHO)
    assert inside.init_ is cnn
    np.testing.assert_allclose(inside.predict(NEW[0.0]), chain.predict(NEW[0.0]), atol=1e-3)


def test_search_starts_at_the_code_nearest_to_the_estimate(vae, cnn, chained):
    z0 = vae.nearest_code(cnn.predict(NEW[0.01]))
    last = chained[-1]
    data = chained[:1].transform(NEW[0.01])
    starts = last._starts(data, NEW[0.01])
    np.testing.assert_allclose(starts.codes, z0, atol=1e-4)
    assert np.abs(vae.transform(cnn.predict(NEW[0.01])) - z0).max() > 0.1
    # What is searched is the change; the section that lies nearest counts as the start.
    nearest = cnn.predict(NEW[0.01]) - vae.inverse_transform(z0)
    np.testing.assert_allclose(starts.remainder, nearest, atol=1e-3)
    # The mean of codes given those of their starts, nearly as ordinary least squares has it.
    z, z0_train = vae.transform(RHO), vae.nearest_code(cnn.predict(X[0.01]))
    expected = Ridge(1.0).fit(z0_train, z).predict(z0)
    search = last._search(NEW[0.01], starts, last._noise())
    mean = last._space.prior.codes(last._first_codes(search, 0, None))
    assert np.linalg.norm(mean - expected) < 0.5 * np.linalg.norm(z0 - expected)


def test_training_data_get_the_noise_that_is_announced():
    # What it estimates from noisy data is far worse than clean training data tell.
    start = FrozenEstimator(Ridge(1e-6).fit(X[0.0], RHO))
    errors = [
        relative_l2_error(
            UNSEEN,
            latent(PCA(K), init=start, noise_level=0.05).fit(X[level], RHO).predict(NEW[0.05]),
        )
        for level in (0.0, 0.05)
    ]
    assert errors[0] == pytest.approx(errors[1], rel=0.05)
    assert errors[0] < 0.8 * relative_l2_error(UNSEEN, start.predict(NEW[0.05]))


def test_starts_made_of_data_with_too_little_noise_are_told():
    text = "the estimates in X were made from data with less noise than 'noise_level' says"
    with pytest.warns(UserWarning, match=text) as caught:
        latent(PCA(K)).fit(np.hstack([RHO, X[0.0]]), RHO)
    assert [warning.filename for warning in caught] == [__file__]


def test_init_is_cloned_and_fitted(vae):
    init = Ridge(1.0)
    inverter = latent(vae, init=init).fit(X[0.01], RHO)
    assert inverter.init_ is not init
    assert not hasattr(init, "coef_")
    np.testing.assert_array_equal(inverter.init_.coef_, Ridge(1.0).fit(X[0.01], RHO).coef_)
    frozen = Memory(RHO[0]).fit(X[0.01], RHO)
    latent(vae, init=FrozenEstimator(frozen)).fit(X[0.01], RHO)
    assert frozen.n_fits_ == 1


@pytest.mark.parametrize("linear", [True, False], ids=["PCA", "VAE"])
@LEVELS
def test_start_is_never_made_more_than_1_percent_worse(level, linear, vae):
    generator = PCA(K) if linear else vae
    network = CNNInverter(SMALL_NETWORK, max_epochs=20, training_noise=level, random_state=0)
    starts = [Ridge(1e-2), network, FrozenEstimator(DummyRegressor().fit(X[level], RHO))]
    for start in starts:
        inverter = latent(generator, init=start, noise_level=level).fit(X[level], RHO)
        error = relative_l2_error(UNSEEN, inverter.init_.predict(NEW[level]))
        assert relative_l2_error(UNSEEN, inverter.predict(NEW[level])) < 1.01 * error


def test_poor_start_is_improved(vae):
    start = FrozenEstimator(DummyRegressor().fit(X[0.01], RHO))
    rho = latent(vae, init=start).fit(X[0.01], RHO).predict(NEW[0.01])
    mean = start.predict(NEW[0.01])
    assert relative_l2_error(UNSEEN, rho) < 0.8 * relative_l2_error(UNSEEN, mean)


@pytest.mark.parametrize(
    ("operator", "x"),
    [(OPERATOR, X[0.01]), (None, X[0.01]), (None, RHO)],
    ids=["gravity alone", "no operator", "density alone"],
)
def test_missing_start_is_told(operator, x):
    text = rf"init=None, but X with {x.shape[1]} feature\(s\) holds no start of 144 cells"
    with pytest.raises(ValueError, match=text):
        latent(PCA(K), init=None, operator=operator).fit(x, RHO)


# Several starts


@pytest.fixture(scope="module")
def several(in_vae):
    """Give three searches of each sample that end as soon as its noise is reached."""
    params = {"prior": False, "solver": "adam", "init": "random", "random_state": 0}
    blind = latent(in_vae.generator_, approximation_error=False, noise_level=0.05)
    blind.fit(X[0.05], RHO).set_params(n_starts=3, **params)
    return blind, blind.invert(NEW[0.05][:6])


def test_start_with_the_lowest_objective_is_kept(several):
    inverter, result = several
    assert result.objective.shape == (3, 6)
    assert result.candidates.shape == (3, 6, 144)
    best = result.objective.argmin(axis=0)
    assert len(np.unique(best)) > 1
    np.testing.assert_array_equal(result.rho, result.candidates[best, np.arange(6)])
    np.testing.assert_array_equal(result.rho, inverter.generator_.inverse_transform(result.codes))
    for i in range(3):
        misfit = OPERATOR.transform(result.candidates[i]) - NEW[0.05][:6]
        sigma = 0.05 * np.sqrt(np.mean(NEW[0.05][:6] ** 2, axis=1))
        in_reach = misfit @ inverter._coordinates(inverter._noise())[0].U
        chi = np.sum(in_reach**2, axis=1) / sigma**2
        np.testing.assert_allclose(result.objective[i], chi / 2, rtol=1e-3)


def test_candidates_fit_alike_but_differ_where_data_are_blind(several):
    _, result = several
    g = NEW[0.05][:6]
    for rho in result.candidates:
        assert relative_data_misfit(OPERATOR, rho, g, multioutput="raw_values").max() < 0.08
    between = result.candidates[[0, 0, 1]] - result.candidates[[1, 2, 2]]
    away = np.linalg.norm(between, axis=2) / np.linalg.norm(result.rho, axis=1)
    assert away.mean() > 0.2
    assert away.min() > 0.05
    # What data see well, above their noise, is the range of the leading singular vectors.
    _, s, Vt = OPERATOR.svd_
    seen = Vt[s > 0.05 * s[0]]

    def share(differences):
        return np.sum((differences @ seen.T) ** 2) / np.sum(differences**2)

    assert share(between.reshape(-1, 144)) < 0.25
    assert share(between.reshape(-1, 144)) < 0.4 * share(np.diff(UNSEEN, axis=0))


def test_candidates_are_returned_on_request(several):
    inverter, result = several
    rho, candidates = inverter.predict(NEW[0.05][:6], return_candidates=True)
    np.testing.assert_array_equal(rho, result.rho)
    np.testing.assert_array_equal(candidates, result.candidates)


def test_more_starts_never_end_higher(in_vae):
    objectives = [
        with_params(in_vae, n_starts=n, random_state=0).invert(NEW[0.01]).objective for n in (1, 3)
    ]
    np.testing.assert_array_equal(objectives[1][0], objectives[0][0])
    assert np.all(objectives[1].min(axis=0) <= objectives[0][0])


def test_linear_generators_have_one_minimum(cnn):
    result = latent(PCA(K), n_starts=2).fit(X[0.01], RHO).invert(NEW[0.01])
    np.testing.assert_allclose(*result.candidates)
    np.testing.assert_allclose(*result.objective)


# The paper's mode, and where iterations end


def test_default_beats_the_papers_mode(in_vae, vae):
    paper = latent(
        vae,
        solver="adam",
        init="random",
        prior=False,
        approximation_error=False,
        noise_level=0.0,
        max_iter=200,
        random_state=0,
    )
    with pytest.warns(ConvergenceWarning, match=r"\d+ of 100 samples did not converge; raise 'm"):
        paper.fit(X[0.0], RHO)
    with pytest.warns(ConvergenceWarning, match=r"40 of 40 samples did not converge") as caught:
        theirs = relative_l2_error(UNSEEN, paper.predict(NEW[0.0]))
    assert [warning.filename for warning in caught] == [__file__]
    default = latent(vae, noise_level=0.0).fit(X[0.0], RHO)
    assert relative_l2_error(UNSEEN, default.predict(NEW[0.0])) < 0.7 * theirs


@SOLVERS
def test_running_out_of_iterations_is_told(solver, in_vae):
    inverter = with_params(in_vae, solver=solver, init="prior-mean", max_iter=1)
    text = r"\d+ of 40 samples did not converge; raise 'max_iter' or 'tol'\."
    with pytest.warns(ConvergenceWarning, match=text):
        result = inverter.invert(NEW[0.01])
    assert (result.n_iter == 1).all()
    assert not result.converged.all()


def test_tolerance_is_relative_to_the_objective(in_vae):
    params = {"init": "prior-mean"}
    loose = with_params(in_vae, tol=10.0, **params).invert(NEW[0.01])
    tight = with_params(in_vae, tol=1e-5, **params).invert(NEW[0.01])
    assert loose.converged.all()
    assert loose.n_iter.mean() < tight.n_iter.mean()
    assert loose.objective.mean() > tight.objective.mean()


@pytest.mark.parametrize("approximation_error", [True, False])
def test_search_without_prior_stops_at_the_errors_of_the_data(approximation_error, vae):
    inverter = latent(vae, approximation_error=approximation_error, noise_level=0.05)
    inverter.fit(X[0.05], RHO).set_params(
        prior=False, solver="adam", init="random", random_state=0, learning_rate=0.02
    )
    result = inverter.invert(NEW[0.05][:15])
    # As many degrees of freedom as the operator has data that are not negligible.
    rank = len(inverter._space.error.mean)
    stop = chi2.ppf(0.95, rank)
    assert result.converged.all()
    misfit2 = 2 * result.objective[0]
    assert np.quantile(misfit2, 0.8) <= stop * (1 + 1e-4)
    assert np.median(misfit2) > 0.9 * stop
    np.testing.assert_allclose(
        result.objective[0], objective(inverter, NEW[0.05][:15], result.codes), rtol=1e-3
    )


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
    text = (
        "'noise_level' is None and the survey .*: data count as noise-free.* or 0 if there is none"
    )
    with pytest.warns(UserWarning, match=text) as caught:
        inverter = latent(PCA(K), noise_level=None).fit(X[0.0], RHO)
    assert [warning.filename for warning in caught] == [__file__]
    expected = latent(PCA(K), noise_level=0.0).fit(X[0.0], RHO)
    np.testing.assert_array_equal(inverter.predict(NEW[0.0]), expected.predict(NEW[0.0]))


def test_uncertainty_of_the_survey_is_known_noise():
    sigma = 0.02 * np.sqrt(np.mean(TRAIN.data**2))
    inverter = latent(PCA(K), operator=surveyed(sigma), noise_level=None)
    told = inverter.fit(X[0.0], RHO).predict(NEW[0.01])
    expected = latent(PCA(K), noise_level=0.0).fit(X[0.0], RHO).predict(NEW[0.01])
    assert relative_l2_error(UNSEEN, told) < 0.95 * relative_l2_error(UNSEEN, expected)


def test_noise_level_goes_before_the_uncertainty_of_the_survey():
    params = {"operator": surveyed(1e9)}
    blind = latent(PCA(K), noise_level=None, **params).fit(X[0.0], RHO)
    np.testing.assert_allclose(
        blind.predict(NEW[0.01]), np.tile(RHO.mean(axis=0), (40, 1)), atol=1e-6
    )
    told = latent(PCA(K), **params).fit(X[0.01], RHO).predict(NEW[0.01])
    expected = latent(PCA(K)).fit(X[0.01], RHO).predict(NEW[0.01])
    np.testing.assert_allclose(told, expected)


@pytest.mark.parametrize("linear", [True, False], ids=["PCA", "VAE"])
def test_large_noise_leaves_a_sensible_model(linear, vae):
    inverter = latent(PCA(K) if linear else vae, noise_level=0.5).fit(X[0.5], RHO)
    rho = inverter.predict(NEW[0.5])
    mean = np.tile(RHO.mean(axis=0), (40, 1))
    assert np.isfinite(rho).all()
    assert relative_l2_error(UNSEEN, rho) < 1.05 * relative_l2_error(UNSEEN, mean)
    clean = latent(PCA(K), noise_level=0.0).fit(X[0.0], RHO).predict(NEW[0.5])
    assert relative_l2_error(UNSEEN, rho) < 0.5 * relative_l2_error(UNSEEN, clean)


@pytest.mark.parametrize(
    ("operator", "g", "text"),
    [
        (OPERATOR, -X[0.0], "does not reproduce X from y: .* The sign of X is reversed"),
        (OPERATOR, 1e3 * X[0.0], r"X is 1000 times the operator's gravity: check the 'units'"),
        (OPERATOR, X[0.0][:, 1:], "maps 144 cells to 72 data, but .* 144 cells and 71 data"),
        (
            ForwardOperator(Mesh.square(11)),
            X[0.0],
            r"144 columns, but 'mesh' of shape \(11, 11\) has 121 cells",
        ),
    ],
    ids=["sign", "units", "data", "cells"],
)
def test_wrong_operator_is_refused(operator, g, text):
    with pytest.raises(ValueError, match=text):
        latent(PCA(K), operator=operator).fit(g, RHO)


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


def test_default_operator_is_found_silently():
    inverter = latent(PCA(K), operator=None, noise_level=0.0).fit(X[0.0], RHO)
    assert inverter.operator_.mesh_ == MESH


# Manners


@pytest.mark.parametrize("linear", [True, False], ids=["PCA", "VAE"])
def test_clones_know_the_parameters_alone(linear, vae):
    inverter = latent(PCA(K) if linear else vae, solver="lbfgs", n_starts=2, init=Ridge(3.0))
    copied = clone(inverter.fit(X[0.01], RHO))
    assert not hasattr(copied, "operator_")
    params, expected = copied.get_params(), inverter.get_params()
    assert params.keys() == expected.keys()
    for name in ("solver", "n_starts", "init__alpha", "noise_level", "prior", "tol"):
        assert params[name] == expected[name]
    assert params["init"] is not expected["init"]


def test_fit_and_predict_leave_parameters_and_data_alone(vae):
    inverter = latent(vae, init=Ridge(), max_iter=100)
    params = inverter.get_params()
    x, y = X[0.01].copy(), RHO.copy()
    inverter.fit(x, y).predict(x)
    assert all(inverter.get_params()[name] is value for name, value in params.items())
    np.testing.assert_array_equal(x, X[0.01])
    np.testing.assert_array_equal(y, RHO)


@pytest.mark.parametrize("kind", ["PCA", "VAE", "start"])
def test_pickles_predict_alike_and_hold_no_training_data(kind, vae):
    params = {"init": FrozenEstimator(Ridge().fit(X[0.01], RHO))} if kind == "start" else {}
    inverter = latent(PCA(K) if kind == "PCA" else vae, **params)
    sizes = []
    for n in (100, 400):
        dump = pickle.dumps(inverter.fit(X[0.01][:n], RHO[:n]))
        sizes.append(len(dump))
        np.testing.assert_allclose(
            pickle.loads(dump).predict(NEW[0.01]), inverter.predict(NEW[0.01]), atol=1e-3
        )
    assert abs(sizes[1] - sizes[0]) < 100
    assert sizes[1] < RHO.nbytes


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


def test_transform_puts_the_estimate_beside_the_data(in_vae, chained):
    rho = in_vae.predict(NEW[0.01])
    np.testing.assert_array_equal(in_vae.transform(NEW[0.01]), np.hstack([rho, NEW[0.01]]))
    both = chained.transform(NEW[0.01])
    np.testing.assert_array_equal(both, np.hstack([chained.predict(NEW[0.01]), NEW[0.01]]))


@pytest.mark.parametrize("started", [False, True])
def test_pandas_output_names_cells_and_data(started):
    x = np.hstack([RHO, X[0.01]]) if started else X[0.01]
    inverter = latent(PCA(K)).set_output(transform="pandas").fit(x, RHO)
    first = 144 if started else 0
    data = [f"x{i}" for i in range(first, first + 72)]
    assert list(inverter.transform(x).columns) == [*(f"rho{i}" for i in range(144)), *data]


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
    (Mesh.square(6), {"n_stations": 18, "components": "xz"}),
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


@pytest.mark.parametrize("projection", [True, False])
def test_one_sample_can_be_inverted(projection, in_vae):
    rho = with_params(in_vae, projection=projection, n_starts=2).predict(NEW[0.01][:1])
    assert rho.shape == (1, 144)
    assert np.isfinite(rho).all()


@pytest.mark.parametrize("solver", ["gauss-newton", "lbfgs"])
def test_two_training_samples_are_enough(solver, vae):
    inverter = latent(vae, solver=solver).fit(X[0.01][:2], RHO[:2])
    assert np.isfinite(inverter.predict(NEW[0.01])).all()
    one = latent(PCA(1)).fit(X[0.01][:2], RHO[:2])
    assert relative_l2_error(RHO[:2], one.predict(X[0.01][:2])) < 0.05


def test_float32_data_give_float64_densities(in_vae):
    rho = in_vae.predict(NEW[0.01].astype(np.float32))
    assert rho.dtype == np.float64
    np.testing.assert_allclose(rho, in_vae.predict(NEW[0.01]), atol=0.01)


def test_global_random_states_stay_untouched(vae):
    before = torch.get_rng_state(), np.random.get_state()[1], random.getstate()  # noqa: NPY002
    inverter = latent(vae, init=Ridge(), n_starts=2, random_state=0).fit(X[0.01], RHO)
    inverter.predict(NEW[0.01])
    after = torch.get_rng_state(), np.random.get_state()[1], random.getstate()  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    np.testing.assert_array_equal(before[1], after[1])
    assert before[2] == after[2]


def with_one(bad, values):
    spoiled = values.copy()
    spoiled[3, -1] = bad
    return spoiled


@pytest.mark.parametrize(
    ("x", "y", "text"),
    [
        (with_one(np.nan, X[0.01]), RHO, "Input X contains NaN"),
        (with_one(np.inf, X[0.01]), RHO, "Input X contains infinity"),
        (X[0.01], with_one(np.nan, RHO), "Input y contains NaN"),
        (X[0.01][:7], RHO, r"inconsistent numbers of samples: \[7, 400\]"),
        (X[0.01][:0], RHO[:0], r"0 sample\(s\)"),
        (X[0.01][0], RHO[:1], "Expected 2D array, got 1D array"),
    ],
    ids=["NaN", "inf", "NaN in y", "lengths", "none", "1-D"],
)
def test_bad_data_are_refused(x, y, text):
    with pytest.raises(ValueError, match=text):
        latent(PCA(K)).fit(x, y)


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"noise_level": -0.1}, "'noise_level' parameter of LatentInverter must be .* Got -0"),
        ({"noise_level": np.nan}, "'noise_level' parameter of LatentInverter must be .* Got nan"),
        ({"init": "cnn"}, "'init' parameter of LatentInverter must be a str among"),
        ({"solver": "newton"}, "'solver' parameter of LatentInverter must be a str among"),
        ({"n_starts": 0}, "'n_starts' parameter of LatentInverter must be an int in"),
        ({"max_iter": 0}, "'max_iter' parameter of LatentInverter must be an int in"),
        ({"learning_rate": 0.0}, "'learning_rate' parameter of LatentInverter must be a float"),
        ({"prior": 2}, "'prior' parameter of LatentInverter must be an instance of 'bool'"),
        ({"generator": Ridge()}, "'generator' parameter of LatentInverter must be an object imp"),
        ({"operator": np.eye(3)}, "'operator' parameter of LatentInverter must be an instance of"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_parameters_are_refused(params, text):
    with pytest.raises(ValueError, match=text):
        latent(**{"generator": PCA(K)} | params).fit(X[0.01], RHO)


def test_prediction_needs_a_fit_and_the_same_width(in_vae, vae):
    with pytest.raises(NotFittedError):
        latent(vae).predict(NEW[0.01])
    for bad in (NEW[0.01][:, 1:], np.hstack([UNSEEN, NEW[0.01]])):
        text = f"X has {bad.shape[1]} features, but LatentInverter is expecting 72"
        with pytest.raises(ValueError, match=text):
            in_vae.predict(bad)
    with pytest.raises(ValueError, match="Input X contains NaN"):
        in_vae.predict(with_one(np.nan, NEW[0.01]))


@pytest.mark.parametrize("kind", ["PCA", "VAE"])
def test_data_that_are_all_zero_have_an_estimate(kind, vae):
    inverter = latent(PCA(K) if kind == "PCA" else vae, noise_level=0.0, max_iter=100)
    rho = inverter.fit(X[0.0], RHO).set_params(tol=0.1).predict(0 * NEW[0.0][:3])
    assert np.isfinite(rho).all()
    np.testing.assert_allclose(rho, rho[:1].repeat(3, axis=0), atol=1e-3)


def test_one_training_section_is_too_few():
    with pytest.raises(ValueError, match="Found array with 1 sample"):
        latent(PCA(1)).fit(X[0.0][:1], RHO[:1])


def test_fit_needs_no_seed_unless_a_start_gets_noise(vae):
    found = [
        latent(PCA(K), noise_level=0.01, random_state=None).fit(X[0.0], RHO).predict(NEW[0.01])
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*found)


def test_a_sample_that_no_step_improves_is_stuck_and_not_converged():
    # A derivative of the wrong sign: every step promises much and none keeps it.
    class Wrong(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(u):
            return -u

        @staticmethod
        def setup_context(ctx, inputs, output):
            pass

        @staticmethod
        def backward(ctx, gradient):
            return gradient

        @staticmethod
        def jvp(ctx, direction):
            return direction

    problem = NonlinearProblem(
        forward=Wrong.apply,
        data=torch.ones(1, 2),
        weights=torch.ones(1, 2),
        jacobian=torch.eye(2),
        centre=torch.zeros(1, 2),
    )
    for minimise in (gauss_newton, lbfgs):
        solution = minimise(problem, torch.ones(1, 2), 30, 1e-3)
        assert solution.stuck.all()
        assert not solution.converged.any()
        assert solution.n_iter.item() == 1


def test_data_frames_are_known_again():
    frame = pd.DataFrame(X[0.01], columns=[f"g{i}" for i in range(X[0.01].shape[1])])
    inverter = latent(PCA(K)).fit(frame, RHO)  # a warning about names would be an error
    assert inverter.predict(frame[:3]).shape == (3, RHO.shape[1])
