"""BayesLinearInverter: the posterior mean, its uncertainty, and the noise it takes."""

import pickle
import warnings
from itertools import pairwise

import numpy as np
import pytest
from conftest import surveyed, with_noise
from scipy.linalg import lstsq
from scipy.stats import norm
from sklearn.covariance import LedoitWolf
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV

from skgrav import BayesLinearInverter, MatrixOperator, Mesh, Refiner, Survey
from skgrav.datasets import make_gravity_dataset
from skgrav.inverters._gaussian_prior import GaussianPrior
from skgrav.metrics import chi_factor, relative_l2_error, relative_l2_scorer
from skgrav.operators import PhysicsWarning
from skgrav.pipeline import make_pipeline

MESH = Mesh.square(12)
TRAIN = make_gravity_dataset(800, mesh=MESH, random_state=0)
TEST = make_gravity_dataset(200, mesh=MESH, random_state=1)
OPERATOR, A = TRAIN.operator, TRAIN.operator.matrix_
X, RHO = TRAIN.data, TRAIN.target
G, UNSEEN = TEST.data, TEST.target
RMS = np.sqrt(np.mean(G**2, axis=1))
ZERO = np.zeros((1, G.shape[1]))

LEVELS = [0.0, 0.001, 0.01, 0.05, 1.0]


def fitted(noise_level=None, **params):
    return BayesLinearInverter(noise_level, **{"operator": OPERATOR} | params).fit(X, RHO)


@pytest.fixture(scope="module")
def inverter():
    return fitted()


def covariance_of(rho, shrinkage="auto"):
    """Give mean and covariance in full, shrunk toward that of uncorrelated cells."""
    empirical = np.cov(rho.T, bias=True)
    if shrinkage == "auto":
        shrinkage = LedoitWolf().fit(rho).shrinkage_
    white = np.trace(empirical) / len(empirical) * np.eye(len(empirical))
    return rho.mean(axis=0), (1 - shrinkage) * empirical + shrinkage * white


def posterior(mean, C, g, sigma, matrix=A):
    """Give mean and covariance of densities given data with noise `sigma` of each, in full."""
    S = np.diag(np.broadcast_to(sigma, len(matrix)) ** 2)
    gain = np.linalg.solve(matrix @ C @ matrix.T + S, matrix @ C).T
    return mean + gain @ (g - matrix @ mean), C - gain @ matrix @ C


# Closed form


def test_one_cell_and_one_station_are_weighted_by_their_variances():
    rho, a, level = np.array([1.0, 2.0, 3.0, 6.0]), 2.0, 0.5
    inverter = BayesLinearInverter(level, operator=MatrixOperator([[a]])).fit(a * rho[:, None], rho)
    found, std = inverter.predict([[8.0]], return_std=True)
    v, s2 = rho.var(), (level * 8.0) ** 2
    np.testing.assert_allclose(found, [3 + v * a / (v * a**2 + s2) * (8 - a * 3)])
    np.testing.assert_allclose(std, [np.sqrt(v * s2 / (v * a**2 + s2))])


@pytest.mark.parametrize("shrinkage", ["auto", 0.0, 0.3, 1.0])
@pytest.mark.parametrize("level", [0.001, 0.01, 1.0])
def test_estimate_and_std_are_those_of_the_covariance_in_full(level, shrinkage):
    inverter = fitted(level, shrinkage=shrinkage)
    g = with_noise(G[:5], level)
    rho, std = inverter.predict(g, return_std=True)
    mean, C = covariance_of(RHO, shrinkage)
    np.testing.assert_allclose(inverter.mean_, mean)
    np.testing.assert_allclose(inverter.variance_, np.diag(C))
    for row, found, uncertain in zip(g, rho, std, strict=True):
        expected, left = posterior(mean, C, row, level * np.sqrt(np.mean(row**2)))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)
        np.testing.assert_allclose(uncertain, np.sqrt(np.diag(left)), rtol=0, atol=1e-6)


def test_estimate_minimises_misfit_and_distance_from_the_mean():
    level, g = 0.01, with_noise(G[:1], 0.01)[0]
    mean, C = covariance_of(RHO)
    sigma = level * np.sqrt(np.mean(g**2))
    whitened = np.linalg.inv(np.linalg.cholesky(C))
    system = np.vstack([A / sigma, whitened])
    expected = lstsq(system, np.concatenate([g / sigma, whitened @ mean]))[0]
    found = fitted(level).predict(g[None])[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_noise_of_each_datum_weights_it():
    uncertainty = np.sqrt(np.mean(X**2)) * np.geomspace(0.002, 0.05, X.shape[1])
    inverter = fitted(operator=surveyed(uncertainty, OPERATOR))
    g = G[:3] + uncertainty * np.random.default_rng(0).normal(size=G[:3].shape)
    rho, std = inverter.predict(g, return_std=True)
    mean, C = covariance_of(RHO)
    for row, found, uncertain in zip(g, rho, std, strict=True):
        expected, left = posterior(mean, C, row, uncertainty)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)
        np.testing.assert_allclose(uncertain, np.sqrt(np.diag(left)), rtol=0, atol=1e-6)


def test_ten_sections_can_be_learned_by_heart():
    inverter = BayesLinearInverter(0.0, operator=OPERATOR, shrinkage=0.0).fit(X[:10], RHO[:10])
    rho, std = inverter.predict(X[:10], return_std=True)
    assert relative_l2_error(RHO[:10], rho) < 1e-6
    assert std.max() < 1e-6


def test_shrinkage_of_many_sections_is_that_of_ledoit_and_wolf():
    rho = make_gravity_dataset(4100, mesh=Mesh.square(5), random_state=0).target
    found = GaussianPrior.of(rho, np.eye(25)).shrinkage  # learned from a third of them
    assert found == pytest.approx(LedoitWolf().fit(rho).shrinkage_, rel=0.05)


# What it is worth


@pytest.mark.parametrize("level", [0.0, 0.01, 0.05])
def test_estimate_beats_the_mean_the_minimum_norm_and_any_ridge(level, inverter):
    g, training = with_noise(G, level, seed=1), with_noise(X, level)
    error = relative_l2_error(UNSEEN, inverter.predict(g))
    ridges = [
        relative_l2_error(UNSEEN, Ridge(alpha).fit(training, RHO).predict(g))
        for alpha in np.geomspace(1e-6, 1e4, 11)
    ]
    norms = [
        relative_l2_error(UNSEEN, OPERATOR.inverse_transform(g, rcond=rcond))
        for rcond in np.geomspace(1e-11, 0.5, 12)
    ]
    mean = np.tile(RHO.mean(axis=0), (len(G), 1))
    assert error < 0.75 * relative_l2_error(UNSEEN, mean)
    assert error < min(ridges)
    assert error < 0.97 * min(norms)


# Noise


def test_estimate_tuned_for_exact_data_falls_into_the_trap_of_noise_and_says_so(inverter):
    noisy = with_noise(G, 0.01)
    text = (
        r"'noise_level' is 1e-06 of the rms .*, but 200 of 200 samples contain more .*, up to 0\.01"
    )
    with (
        pytest.warns(UserWarning, match="200 of 200 samples have densities far from"),
        pytest.warns(UserWarning, match=text) as caught,
    ):
        trapped = inverter.predict(noisy, noise_level=1e-6)
    assert {warning.filename for warning in caught} == {__file__}
    assert len(caught) == 2
    assert relative_l2_error(UNSEEN, trapped) > 50
    assert relative_l2_error(UNSEEN, inverter.predict(noisy)) < 0.26
    assert relative_l2_error(UNSEEN, inverter.predict(G, noise_level=1e-6)) < 0.21


@pytest.mark.parametrize("level", [1e-5, 1e-4, 1e-3, 0.05])
def test_noise_far_above_what_is_announced_is_told(level, inverter):
    with pytest.warns(UserWarning, match="of 200 samples contain more that no density"):
        inverter.predict(with_noise(G, level), noise_level=level / 10)
    inverter.predict(with_noise(G, level), noise_level=level)  # a warning would be an error


def test_few_noisy_samples_are_counted_and_the_worst_is_told(inverter):
    g = np.vstack([G[:5], with_noise(G[5:6], 0.02), with_noise(G[6:7], 0.1)])
    with (
        pytest.warns(UserWarning, match="2 of 7 samples have densities far from"),
        pytest.warns(UserWarning, match=r"but 2 of 7 samples contain more .*, up to 0\.(0[89]|1)"),
    ):
        inverter.predict(g, noise_level=0.0)


@pytest.mark.parametrize("level", [1e-6, 1e-4, 0.001, 0.01, 0.05, 0.2, 1.0])
def test_auto_finds_the_noise_and_loses_nothing_by_it(level, inverter):
    g = with_noise(G, level)
    found = inverter._posterior(g, None)[1] / (level * RMS)
    assert np.median(found) == pytest.approx(1, abs=0.05)
    assert np.mean((found > 1 / 1.4) & (found < 1.4)) > 0.99
    known = relative_l2_error(UNSEEN, inverter.predict(g, noise_level=level))
    assert relative_l2_error(UNSEEN, inverter.predict(g)) < 1.01 * known


def test_auto_tells_noisy_samples_from_exact_ones_beside_them(inverter):
    g = np.where(np.arange(len(G))[:, None] % 2, with_noise(G, 0.05), G)
    found = inverter._posterior(g, None)[1] / RMS
    assert found[::2].max() < 1e-10
    assert found[1::2].min() > 0.03


@pytest.mark.parametrize("told", ["auto", 0.0, 1e-9])
def test_rounding_is_no_signal(told, inverter):
    g = G.astype(np.float32)
    rho = inverter.predict(g, noise_level=told)
    assert rho.dtype == np.float64
    exact = relative_l2_error(UNSEEN, inverter.predict(G, noise_level=told))
    assert exact < relative_l2_error(UNSEEN, rho) < 1.2 * exact


@pytest.mark.parametrize("told", ["auto", *LEVELS, 1e6])
@pytest.mark.parametrize("scale", [0.0, 1e-12, 1.0, 1e3])
def test_estimate_stays_finite_at_any_noise_and_size(told, scale, inverter):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a thousand times more is no section
        rho, std = inverter.predict(scale * with_noise(G, 0.01), True, noise_level=told)
    assert np.isfinite(rho).all()
    assert (std >= 0).all()
    assert (std**2 <= inverter.variance_ * (1 + 1e-9)).all()


@pytest.mark.parametrize("told", ["auto", *LEVELS])
def test_zero_data_give_next_to_nothing(told, inverter):
    rho = inverter.predict(ZERO, noise_level=told)
    assert np.abs(rho).max() < 0.15 * RHO.max()


def test_much_noise_leaves_the_prior(inverter):
    rho, std = inverter.predict(G, return_std=True, noise_level=1e6)
    np.testing.assert_allclose(rho, np.tile(inverter.mean_, (len(G), 1)), atol=1e-6)
    np.testing.assert_allclose(std, np.tile(np.sqrt(inverter.variance_), (len(G), 1)))


def test_uncertainty_of_the_survey_counts_and_is_held_against_the_data():
    uncertainty = 0.01 * np.sqrt(np.mean(X**2))
    rng = np.random.default_rng(0)
    noisy = X + uncertainty * rng.normal(size=X.shape)
    inverter = BayesLinearInverter(operator=surveyed(uncertainty, OPERATOR))
    inverter.fit(noisy, RHO)  # no warning
    g = G + uncertainty * rng.normal(size=G.shape)
    levels = uncertainty / np.sqrt(np.mean(g**2, axis=1))
    expected = fitted().predict(g, noise_level=levels)
    np.testing.assert_allclose(inverter.predict(g), expected, rtol=0, atol=1e-8)
    with pytest.warns(
        UserWarning, match=r"the 'uncertainty' of the survey is .* contain more .* Give a larger"
    ):
        inverter.predict(with_noise(g, 0.3))


def test_auto_goes_before_the_level_and_the_uncertainty_of_the_survey(inverter):
    g = with_noise(G, 0.1)
    for other in (fitted(operator=surveyed(1e9, OPERATOR)), fitted(0.03)):
        found = other.predict(g, noise_level="auto")
        np.testing.assert_allclose(found, inverter.predict(g, noise_level="auto"))


# Uncertainty


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("level", LEVELS)
def test_90_percent_interval_covers_about_90_percent_of_unseen_cells(level, told, inverter):
    g = with_noise(G, level, seed=2)
    rho, std = inverter.predict(g, return_std=True, noise_level=level if told else None)
    covered = np.abs(rho - UNSEEN) <= norm.ppf(0.95) * std
    assert 0.87 < covered.mean() < 0.93
    # Sizes of errors, too: the mean square is what the std says to 30 %, from 800 sections.
    assert 0.85 < np.mean((rho - UNSEEN) ** 2) / np.mean(std**2) < 1.35


def test_std_grows_with_noise(inverter):
    stds = [inverter.predict(G[:5], return_std=True, noise_level=level)[1] for level in LEVELS]
    for less, more in pairwise(stds):
        assert (less <= more + 1e-9).all()
    assert stds[-1].mean() > 2 * stds[0].mean()


SMALL = make_gravity_dataset(60, mesh=Mesh.square(5), random_state=0)


@pytest.mark.parametrize("n_sections", [12, 60], ids=["fewer than cells", "more than cells"])
@pytest.mark.parametrize("level", [0.001, 0.1])
def test_draws_have_the_mean_and_covariance_of_the_posterior(n_sections, level):
    rho, g = SMALL.target[:n_sections], with_noise(SMALL.data[:2], level)
    inverter = BayesLinearInverter(level, operator=SMALL.operator, store_covariance=True)
    inverter.fit(SMALL.data[:n_sections], rho)
    n_draws = 20_000
    draws = inverter.sample_y(g, n_draws, random_state=0)
    assert draws.shape == (2, 25, n_draws)
    mean, C = covariance_of(rho)
    for row, drawn in zip(g, draws, strict=True):
        sigma = level * np.sqrt(np.mean(row**2))
        expected, left = posterior(mean, C, row, sigma, SMALL.operator.matrix_)
        v = np.diag(left)
        off = np.abs(drawn.mean(axis=1) - expected)
        assert (off < 5 * np.sqrt(v / n_draws)).all()
        off = np.abs(np.cov(drawn) - left)
        assert (off < 5.5 * np.sqrt((np.outer(v, v) + left**2) / n_draws)).all()


def test_draws_fit_the_data_to_their_noise():
    # Sections that the prior draws itself, so that it is right for them.
    inverter = fitted(store_covariance=True)
    sections = inverter.sample_y(G, 1, random_state=1, noise_level=1e6)[:, :, 0]
    g = with_noise(OPERATOR.transform(sections), 0.02)
    draws = inverter.sample_y(g, 5, random_state=0, noise_level=0.02)
    chi = [chi_factor(OPERATOR, draws[:, :, k], g, noise_level=0.02) for k in range(5)]
    np.testing.assert_allclose(chi, 1, atol=0.05)
    # The sections themselves lie among the draws as one more of them.
    rank = np.mean(draws < sections[:, :, None], axis=2)
    assert rank.mean() == pytest.approx(0.5, abs=0.03)
    assert np.mean(rank == 0) == pytest.approx(1 / 6, abs=0.03)


def test_draws_of_a_density_vector_and_of_uneven_noise():
    rho = np.array([1.0, 2.0, 3.0, 6.0])
    one = BayesLinearInverter(0.5, operator=MatrixOperator([[2.0]]), store_covariance=True)
    one.fit(2 * rho[:, None], rho)
    draws = one.sample_y([[8.0], [4.0]], 4000)
    assert draws.shape == (2, 4000)
    mean, std = one.predict([[8.0], [4.0]], return_std=True)
    np.testing.assert_allclose(draws.mean(axis=1), mean, atol=5 * std.max() / np.sqrt(4000))
    np.testing.assert_allclose(draws.std(axis=1), std, rtol=0.05)
    uncertainty = np.sqrt(np.mean(SMALL.data**2)) * np.geomspace(0.01, 0.2, 30)
    uneven = BayesLinearInverter(
        operator=surveyed(uncertainty, SMALL.operator), store_covariance=True
    ).fit(SMALL.data, SMALL.target)
    draws = uneven.sample_y(SMALL.data[:1], 4000)[0]
    mean, std = uneven.predict(SMALL.data[:1], return_std=True)
    np.testing.assert_allclose(draws.std(axis=1), std[0], rtol=0.06)


def test_same_seed_same_draws_and_other_seed_other_draws():
    inverter = BayesLinearInverter(operator=SMALL.operator, store_covariance=True)
    inverter.fit(SMALL.data, SMALL.target)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    draws = inverter.sample_y(SMALL.data[:3], 4, random_state=0)
    np.testing.assert_array_equal(inverter.sample_y(SMALL.data[:3], 4, random_state=0), draws)
    np.testing.assert_array_equal(inverter.sample_y(SMALL.data[:3], 2), draws[:, :, :2])
    assert np.abs(inverter.sample_y(SMALL.data[:3], 4, random_state=1) - draws).min() > 0
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_draws_need_the_covariance_and_a_number(inverter):
    with pytest.raises(
        ValueError, match=r"'store_covariance' is False, but draws need .* fit again"
    ):
        inverter.sample_y(G[:1])
    drawable = BayesLinearInverter(store_covariance=True).fit(SMALL.data, SMALL.target)
    with pytest.raises(ValueError, match="n_samples == 0, must be >= 1"):
        drawable.sample_y(SMALL.data, 0)
    with pytest.raises(NotFittedError):
        BayesLinearInverter().sample_y(G)


# Physics


def test_unknown_geometry_is_identified_with_a_warning():
    mesh = Mesh.square(6)
    survey = Survey.line(mesh, n_stations=7, components="z")
    data = make_gravity_dataset(300, mesh=mesh, survey=survey, random_state=0)
    with pytest.warns(PhysicsWarning, match="identified from 240 of them"):
        found = BayesLinearInverter().fit(data.data, data.target)
    known = BayesLinearInverter(operator=data.operator).fit(data.data, data.target)
    assert found.predict(data.data).shape == (300, 36)  # from 7 data
    errors = [relative_l2_error(data.target, i.predict(data.data)) for i in (found, known)]
    assert errors[0] < 1.2 * errors[1]


def test_noisy_pairs_are_no_reason_to_warn():
    noisy = with_noise(X, 0.02)
    told = BayesLinearInverter(0.02, operator=OPERATOR).fit(noisy, RHO)
    # The prior knows the densities alone.
    np.testing.assert_array_equal(told.predict(G), fitted(0.02).predict(G))
    found = BayesLinearInverter(operator=OPERATOR).fit(noisy, RHO)  # it is seen to be noise
    np.testing.assert_array_equal(found.predict(G), fitted().predict(G))
    smooth = with_noise(X, 0.02) + 0.02 * np.roll(X, 1, axis=0)  # another section's gravity
    with pytest.warns(PhysicsWarning, match="if this is noise, give 'noise_level'"):
        BayesLinearInverter(operator=OPERATOR).fit(smooth, RHO)


# Manners


def test_one_section_and_constant_densities_give_themselves():
    for rho in (RHO[:1], np.tile(RHO[:1], (4, 1)), np.full((4, 144), 3.0), np.zeros((4, 144))):
        inverter = BayesLinearInverter(operator=OPERATOR).fit(OPERATOR.transform(rho), rho)
        found, std = inverter.predict(G, return_std=True)
        np.testing.assert_allclose(found, np.tile(rho[0], (len(G), 1)), atol=1e-6)
        np.testing.assert_allclose(std, 0, atol=1e-6)


def test_two_sections_are_enough():
    # Rounding decides the sign of what Ledoit and Wolf find in two.
    for k in range(0, 80, 2):
        rho = (
            BayesLinearInverter(operator=OPERATOR).fit(X[k : k + 2], RHO[k : k + 2]).predict(G[:1])
        )
        assert np.isfinite(rho).all()


def test_more_data_than_sections_and_cells_together():
    rho = np.array([1.0, 2.0, 4.0])
    matrix = np.linspace(1, 2, 9)[:, None]
    inverter = BayesLinearInverter(operator=MatrixOperator(matrix)).fit(
        rho[:, None] @ matrix.T, rho
    )
    noisy = 3 * matrix.T + 0.01 * np.random.default_rng(0).normal(size=(1, 9))
    found, std = inverter.predict(noisy, return_std=True)
    assert abs(found[0] - 3) < 3 * std[0] < 0.03
    assert inverter._posterior(noisy, None)[1][0] == pytest.approx(0.01, rel=0.5)


def test_pickle_is_as_large_as_the_prior(inverter):
    dump, held = pickle.dumps(inverter), inverter._prior.space
    assert len(dump) < held.rotation.nbytes + held.cross.nbytes + 20_000 < RHO.nbytes / 4
    drawable = pickle.dumps(fitted(store_covariance=True))
    assert len(drawable) - len(dump) < 8 * 144**2 + 1000


def test_noise_level_can_be_searched_for():
    noisy = with_noise(X[:300], 0.02)
    search = GridSearchCV(
        BayesLinearInverter(0.02, operator=OPERATOR),
        {"noise_level": [0.02, 0.2, 1.0], "shrinkage": ["auto", 0.6]},
        cv=2,
        scoring=relative_l2_scorer,
    ).fit(noisy, RHO[:300])
    assert search.best_params_["noise_level"] == 0.02
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_pipeline_hands_the_estimate_on_to_a_refiner(inverter):
    chain = make_pipeline(
        BayesLinearInverter(operator=OPERATOR),
        Refiner("projection", operator=OPERATOR, noise_level=0.0),
    ).fit(X, RHO)
    assert chain[:-1].transform(G).shape == (200, 216)
    expected = Refiner(
        "projection", init=BayesLinearInverter(operator=OPERATOR), operator=OPERATOR, noise_level=0
    ).fit(X, RHO)
    np.testing.assert_allclose(chain.predict(G), expected.predict(G), atol=1e-8)


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"shrinkage": 1.1}, r"'shrinkage' parameter of BayesLinearInverter .* Got 1\.1"),
        ({"store_covariance": "yes"}, "'store_covariance' parameter of .* Got 'yes'"),
    ],
)
def test_bad_parameters_are_refused(params, text):
    with pytest.raises(ValueError, match=text):
        fitted(**params)
