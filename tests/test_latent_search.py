"""What LatentInverter finds: the closed form, errors of the generator, and where iterations end."""

from functools import partial

import numpy as np
import pytest
import torch
from conftest import surveyed
from latent_cases import (  # noqa: F401
    ITERATIONS_MAY_RUN_OUT,
    NEW,
    OPERATOR,
    RHO,
    TEST,
    TRAIN,
    UNSEEN,
    K,
    X,
    data_error,
    first_codes,
    in_vae,
    latent,
    objective,
    vae,
    with_params,
)
from scipy.stats import chi2
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA, FastICA, KernelPCA, TruncatedSVD
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skgrav import (
    make_pipeline,
)
from skgrav.inverters import LatentResult
from skgrav.inverters._latent import _N_RECORDED
from skgrav.inverters._latent_space import CodePrior, DataError
from skgrav.metrics import chi_factor, relative_data_misfit, relative_l2_error

UNEVEN = 0.01 * np.sqrt(np.mean(TRAIN.data**2)) * np.linspace(0.5, 1.5, 72)
SOLVERS = pytest.mark.parametrize("solver", ["gauss-newton", "lbfgs", "adam"])


def cubed(z):
    return z**3


class TorchPCA(PCA):
    """Principal components that can only be searched: they decode within torch."""

    def decode(self, z):
        components = torch.tensor(self.components_, dtype=z.dtype)
        return z @ components + torch.tensor(self.mean_, dtype=z.dtype)


def decoded_linearly(generator):
    """Give matrix and offset of a linear generator, from its codes to densities."""
    offset = generator.inverse_transform(np.zeros((1, K)))[0]
    return generator.inverse_transform(np.eye(K)) - offset, offset


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
# Linear generators


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
    uneven = latent(PCA(K), operator=surveyed(UNEVEN, OPERATOR), **params).fit(X[0.0], RHO)
    g = TEST.data[:5] + UNEVEN * np.random.default_rng(0).normal(size=(5, 72))
    expected = [posterior_mean(uneven, row) for row in g]
    codes = uneven.invert(g).codes
    np.testing.assert_allclose(codes, expected, rtol=0, atol=1e-10 * np.abs(expected).max())
    even = latent(PCA(K), operator=surveyed(UNEVEN.mean(), OPERATOR), **params).fit(X[0.0], RHO)
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
    system = inverter._coordinates(inverter._noise())[0]
    data = system.forward(system.model_coordinates(left))
    np.testing.assert_allclose(data, OPERATOR.transform(left) @ system.U, rtol=0, atol=1e-12)
    # Coordinates of 1e-10 make the shrinkage depend on the order of sums, so that both take one.
    learned, expected = inverter._space.error, DataError.of(data)
    np.testing.assert_allclose(learned.mean, data.mean(axis=0), atol=1e-12)
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
    text = r"which is not linear and has no 'decode' .* Give VAEGenerator,"
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


@pytest.fixture(scope="module")
def solved(in_vae):
    """Give what each solver finds from the mean of the codes."""
    return {
        solver: with_params(in_vae, solver=solver, init="prior-mean", tol=1e-6).invert(
            NEW[0.01][:12]
        )
        for solver in ("gauss-newton", "lbfgs", "adam")
    }


# Solvers


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
