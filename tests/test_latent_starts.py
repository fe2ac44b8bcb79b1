"""Where LatentInverter's search starts, and searches from several starts."""

import numpy as np
import pytest
from latent_cases import (  # noqa: F401
    ITERATIONS_MAY_RUN_OUT,
    NEW,
    OPERATOR,
    RHO,
    SMALL_NETWORK,
    UNSEEN,
    K,
    X,
    chained,
    cnn,
    first_codes,
    in_vae,
    latent,
    objective,
    vae,
    with_params,
)
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.decomposition import PCA
from sklearn.dummy import DummyRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge

from skgrav import (
    CNNInverter,
    MatrixOperator,
    Pipeline,
)
from skgrav.inverters._latent_space import CodeRegression
from skgrav.metrics import relative_data_misfit, relative_l2_error

LEVELS = pytest.mark.parametrize("level", [0.0, 0.01, 0.05])


class Memory(RegressorMixin, BaseEstimator):
    """Estimates for unseen data what it was given for them: a start of a known quality."""

    def __init__(self, rho):
        self.rho = rho

    def fit(self, X, y):
        self.n_fits_ = getattr(self, "n_fits_", 0) + 1
        return self

    def predict(self, X):
        return np.tile(self.rho, (len(X), 1))


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
    text = "the estimates in 'X' were made from data with less noise than 'noise_level', so"
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
    text = rf"init=None, but X with {x.shape[1]} feature\(s\) has no start of 144 cells"
    with pytest.raises(ValueError, match=text):
        latent(PCA(K), init=None, operator=operator).fit(x, RHO)


@pytest.fixture(scope="module")
def several(in_vae):
    """Give three searches of each sample that end as soon as its noise is reached."""
    params = {"prior": False, "solver": "adam", "init": "random", "random_state": 0}
    blind = latent(in_vae.generator_, approximation_error=False, noise_level=0.05)
    blind.fit(X[0.05], RHO).set_params(n_starts=3, **params)
    return blind, blind.invert(NEW[0.05][:6])


# Several starts


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
