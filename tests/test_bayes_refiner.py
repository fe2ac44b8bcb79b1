"""Refiner("bayes"): a correction by the covariance of the start's own errors."""

import pickle

import numpy as np
import pytest
from conftest import sections_near_truth, surveyed, with_noise
from scipy.linalg import eigh
from scipy.stats import norm
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.covariance import LedoitWolf
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, KFold, ShuffleSplit, cross_val_predict
from sklearn.neighbors import KNeighborsRegressor

from skgrav import BayesLinearInverter, Mesh, Refiner
from skgrav.datasets import make_gravity_dataset
from skgrav.metrics import relative_l2_error, relative_l2_scorer
from skgrav.pipeline import make_pipeline
from skgrav.solvers import SOLVERS

MESH = Mesh.square(12)
TRAIN = make_gravity_dataset(600, mesh=MESH, random_state=0)
TEST = make_gravity_dataset(200, mesh=MESH, random_state=1)
OPERATOR, A = TRAIN.operator, TRAIN.operator.matrix_
RHO, UNSEEN = TRAIN.target, TEST.target

LEVELS = pytest.mark.parametrize("level", [0.0, 0.001, 0.01, 0.05])
IN_X = pytest.mark.filterwarnings("ignore:solver 'bayes' treats the starts")


def noisy_pairs(level):
    """Give training and test data with noise."""
    return with_noise(TRAIN.data, level, seed=0), with_noise(TEST.data, level, seed=1)


def bayes(level, **params):
    defaults = {"solver": "bayes", "operator": OPERATOR, "random_state": 0}
    return Refiner(noise_level=level, **defaults | params)


def error(rho):
    return relative_l2_error(UNSEEN, rho)


class Recorder(RegressorMixin, BaseEstimator):
    """Estimates the mean, and notes what all its clones are fitted to and asked for."""

    calls = []  # of all clones

    def fit(self, X, y):
        self.calls.append(("fit", X.copy()))
        self.mean_ = y.mean(axis=0)
        return self

    def predict(self, X):
        self.calls.append(("predict", X.copy()))
        return np.tile(self.mean_, (len(X), 1))


class KNeighborsTransformer(BaseEstimator):
    """Hands the nearest sections on beside the data."""

    def __init__(self, n_neighbors):
        self.n_neighbors = n_neighbors

    def fit(self, X, y):
        self.model_ = KNeighborsRegressor(self.n_neighbors).fit(X, y)
        return self

    def transform(self, X):
        return np.hstack([self.model_.predict(X), X])


def rows_of(X, g):
    """Give the numbers of the rows of `g` that are nearest to those of `X`."""
    return np.argmin(((X[:, None] - g) ** 2).sum(axis=2), axis=1)


# Closed form


@pytest.fixture(scope="module")
def independent():
    """Give an operator, sections, starts with Gaussian errors, and their mean and covariance."""
    operator = make_gravity_dataset(1, mesh=Mesh.square(5), random_state=0).operator
    rng = np.random.default_rng(0)
    rho = make_gravity_dataset(4000, mesh=Mesh.square(5), random_state=0).target
    errors = 0.5 + 0.1 * rng.normal(size=rho.shape) @ rng.normal(size=(25, 25))
    return operator, rho, rho - errors, errors.mean(axis=0), LedoitWolf().fit(errors).covariance_


@IN_X
@pytest.mark.parametrize("uneven", [False, True])
def test_errors_independent_of_the_noise_are_corrected_by_their_posterior_mean(uneven, independent):
    operator, rho, start, mean, C = independent
    clean, matrix = operator.transform(rho), operator.matrix_
    sigma = 0.02 * np.sqrt(np.mean(clean**2, axis=1, keepdims=True))
    if uneven:
        sigma = np.geomspace(0.2, 5, 30)[None] * sigma.mean()
        operator = surveyed(sigma[0], operator)
    g = clean + sigma * np.random.default_rng(1).normal(size=clean.shape)
    refiner = bayes(None if uneven else 0.02, operator=operator).fit(np.hstack([start, g]), rho)
    found, std = refiner.predict(np.hstack([start, g])[:5], return_std=True)
    for k in range(5):
        S = np.diag(np.broadcast_to(sigma[0] if uneven else sigma[k], 30) ** 2)
        gain = np.linalg.solve(matrix @ C @ matrix.T + S, matrix @ C).T
        expected = mean + gain @ (g[k] - matrix @ (start[k] + mean))
        # The share of each coordinate is learned to about 1 / sqrt(4000).
        off = np.linalg.norm(found[k] - start[k] - expected) / np.linalg.norm(expected)
        assert off < 0.03
        np.testing.assert_allclose(std[k] ** 2, np.diag(C - gain @ matrix @ C), rtol=0.03)


def test_correction_of_zero_is_the_best_linear_estimate():
    g, new = noisy_pairs(0.01)
    refiner = bayes(0.01, init="zero").fit(g, RHO)
    linear = BayesLinearInverter(0.01, operator=OPERATOR).fit(g, RHO)
    off = np.linalg.norm(refiner.predict(new) - linear.predict(new), axis=1)
    assert np.max(off / np.linalg.norm(UNSEEN, axis=1)) < 0.02
    assert error(refiner.predict(new)) == pytest.approx(error(linear.predict(new)), rel=0.005)


@IN_X
def test_share_of_each_coordinate_is_that_which_lowers_the_errors():
    g, _ = noisy_pairs(0.02)
    start = Ridge(1.0).fit(g, RHO).predict(with_noise(TRAIN.data, 0.02, seed=5))
    refiner = bayes(0.02).fit(np.hstack([start, g]), RHO)
    sigma2 = (0.02**2) * np.mean(g**2, axis=1)
    errors = RHO - start
    mean, C = errors.mean(axis=0), LedoitWolf().fit(errors).covariance_
    variance, rotation = eigh(A @ C @ A.T)
    # One share for each coordinate, the largest first, by least squares over all cells.
    residual = (g - (start + mean) @ A.T) @ rotation
    steps = residual / (variance + sigma2[:, None])
    for k in range(1, 9):
        step = steps[:, -k, None] * (rotation[:, -k] @ A @ C)
        best = np.sum(step * (errors - mean)) / np.sum(step**2)
        assert refiner.solver_.share[k - 1] == pytest.approx(np.clip(best, 0, 1), abs=1e-6)


# Held-out errors


def test_start_that_knows_its_training_sections_by_heart_is_not_trusted():
    g, new = noisy_pairs(0.01)
    nearest = KNeighborsRegressor(1).fit(g, RHO)
    np.testing.assert_array_equal(nearest.predict(g), RHO)
    crossed = bayes(0.01, init=KNeighborsRegressor(1)).fit(g, RHO)
    by_training_errors = bayes(0.01, init=nearest, cv="prefit").fit(g, RHO)
    start = nearest.predict(new)
    with pytest.warns(UserWarning, match="leaves a chi factor of .* pairs that it was not trained"):
        np.testing.assert_array_equal(by_training_errors.predict(new), start)
    assert error(crossed.predict(new)) < 0.92 * error(start)
    assert by_training_errors.predict(new, return_std=True)[1].max() == 0
    assert crossed.predict(new, return_std=True)[1].mean() > 0.5


def test_no_clone_predicts_what_it_was_fitted_to():
    Recorder.calls.clear()
    g, y = TRAIN.data[:30], RHO[:30]
    bayes(0.0, init=Recorder(), cv=KFold(3, shuffle=True, random_state=0)).fit(g, y)
    calls = [(what, set(rows_of(X, g))) for what, X in Recorder.calls]
    assert calls[0] == ("fit", set(range(30)))
    asked = set()
    for (fit, train), (predict, test) in zip(calls[1:7:2], calls[2:7:2], strict=True):
        assert (fit, predict) == ("fit", "predict")
        assert train | test == set(range(30))
        assert not train & test
        asked |= test
    assert asked == set(range(30))


@pytest.mark.parametrize("level", [0.0, 0.05])
def test_clones_are_fitted_to_the_data_as_they_came_and_asked_for_noisy_ones(level):
    Recorder.calls.clear()
    g, y = TRAIN.data[:30], RHO[:30]
    bayes(level, init=Recorder(), cv=3).fit(g, y)
    fits = [X for what, X in Recorder.calls if what == "fit"]
    asked = [X for what, X in Recorder.calls if what == "predict"][:3]
    for X in fits:
        np.testing.assert_array_equal(g[rows_of(X, g)], X)
    noise = np.vstack(asked) - g
    relative = np.sqrt(np.mean(noise**2, axis=1) / np.mean(g**2, axis=1))
    assert relative.mean() == pytest.approx(level, rel=0.1)


@pytest.mark.parametrize("init", [Ridge(1.0), KNeighborsRegressor(10)], ids=str)
def test_noise_that_training_data_lack_is_added_before_errors_are_learned(init):
    _, new = noisy_pairs(1.0)
    refiner = bayes(1.0, init=init).fit(TRAIN.data, RHO)
    start = refiner.init_.predict(new)
    np.testing.assert_array_equal(start, clone(init).fit(TRAIN.data, RHO).predict(new))
    assert error(refiner.predict(new)) <= 1.01 * error(start)


def test_prefit_start_and_frozen_one_are_not_fitted_again():
    g, new = noisy_pairs(0.01)
    init = KNeighborsRegressor(5).fit(g[:300], RHO[:300])
    first, second = (
        bayes(0.01, **params).fit(g[300:], RHO[300:])
        for params in ({"init": init, "cv": "prefit"}, {"init": FrozenEstimator(init)})
    )
    np.testing.assert_array_equal(first.init_.predict(new), init.predict(new))
    assert first.init_ is init
    assert second.init_.estimator is init
    np.testing.assert_allclose(first.predict(new), second.predict(new))
    assert error(first.predict(new)) < 0.95 * error(init.predict(new))


def test_prefit_start_must_be_fitted():
    with pytest.raises(NotFittedError):
        bayes(0.01, init=KNeighborsRegressor(), cv="prefit").fit(*noisy_pairs(0.01)[:1], RHO)


def test_folds_hold_out_each_pair_once():
    refiner = bayes(0.0, init=Ridge(), cv=ShuffleSplit(3, random_state=0))
    with pytest.raises(
        ValueError, match=r"'cv' is ShuffleSplit\(.* pairs out never or more than on"
    ):
        refiner.fit(TRAIN.data, RHO)
    with pytest.raises(
        ValueError, match="n_splits=5 greater than the number of samples: n_samples=4"
    ):
        bayes(0.0, init=Ridge()).fit(TRAIN.data[:4], RHO[:4])


def test_starts_of_a_previous_step_are_taken_for_held_out_ones_with_a_warning():
    g, new = noisy_pairs(0.01)
    text = (
        r"solver 'bayes' treats the starts in 'X' as held-out ones\. .* as 'init', which is cross-f"
    )
    with pytest.warns(UserWarning, match=text):
        chain = make_pipeline(KNeighborsTransformer(1), bayes(0.01)).fit(g, RHO)
    # It has seen training errors alone: none.
    with pytest.warns(UserWarning, match="leaves a chi factor of"):
        np.testing.assert_array_equal(chain.predict(new), chain[0].model_.predict(new))
    held_out = cross_val_predict(KNeighborsRegressor(1), g, RHO, cv=5)
    with pytest.warns(UserWarning, match=text) as caught:
        refiner = bayes(0.01).fit(np.hstack([held_out, g]), RHO)
    assert [warning.filename for warning in caught] == [__file__]
    X = np.hstack([KNeighborsRegressor(1).fit(g, RHO).predict(new), new])
    inside = bayes(0.01, init=KNeighborsRegressor(1)).fit(g, RHO)
    np.testing.assert_allclose(refiner.predict(X), inside.predict(new), atol=1e-8)


# What it is worth

REGRESSIONS = [Ridge(100.0), Ridge(1e4), KNeighborsRegressor(1), KNeighborsRegressor(10)]


def errors_of(level, init, *solvers):
    """Give the error of a start and of what each solver makes of it, for unseen sections."""
    g, new = noisy_pairs(level)
    refiners = [bayes(level, solver=solver, init=init).fit(g, RHO) for solver in solvers]
    return [error(refiners[0].init_.predict(new)), *(error(r.predict(new)) for r in refiners)]


@LEVELS
@pytest.mark.parametrize("init", REGRESSIONS, ids=str)
def test_correction_is_better_than_lgmres_and_projection_after_a_regression(init, level):
    start, lgmres, projection, corrected = errors_of(level, init, "lgmres", "projection", "bayes")
    assert corrected <= 1.001 * min(start, lgmres, projection)
    if level == 0 or not isinstance(init, Ridge):
        assert corrected < 0.96 * min(start, lgmres, projection)


@LEVELS
@pytest.mark.parametrize(
    "init",
    [
        Ridge(1e-3),
        Ridge(1.0),
        BayesLinearInverter(operator=OPERATOR),
        BayesLinearInverter(0.03, operator=OPERATOR),
        KNeighborsRegressor(3),
        "zero",
    ],
    ids=str,
)
@pytest.mark.parametrize("n_pairs", [60, 600])
@pytest.mark.filterwarnings("ignore::skgrav.operators.PhysicsWarning")
def test_start_is_never_made_worse_by_more_than_1_percent(n_pairs, init, level):
    g, new = noisy_pairs(level)
    refiner = bayes(level, init=init).fit(g[:n_pairs], RHO[:n_pairs])
    start = error(refiner._start(new, new))
    assert error(refiner.predict(new)) <= 1.01 * start


@IN_X
@LEVELS
@pytest.mark.parametrize("off", [0.05, 0.002])
@pytest.mark.parametrize("n_pairs", [60, 600])
def test_start_near_the_truth_comes_nearer(n_pairs, off, level):
    (rho, start), (unseen, near) = (
        sections_near_truth(MESH, n, error=off, seed=seed) for n, seed in ((n_pairs, 0), (200, 1))
    )
    g = with_noise(OPERATOR.transform(rho), level, seed=2)
    new = with_noise(OPERATOR.transform(unseen), level, seed=3)
    found = bayes(level).fit(np.hstack([start, g]), rho).predict(np.hstack([near, new]))
    before, after = relative_l2_error(unseen, near), relative_l2_error(unseen, found)
    assert after <= before  # what is far below the noise cannot be told, and is left alone
    if level == 0 or off == 0.05:
        assert after < (0.6 if level == 0 else 0.97) * before


@pytest.mark.parametrize("level", [0.001, 0.01, 0.05])
def test_best_linear_estimate_is_left_alone(level):
    g, new = noisy_pairs(level)
    refiner = bayes(level, init=BayesLinearInverter(level, operator=OPERATOR)).fit(g, RHO)
    np.testing.assert_array_equal(refiner.predict(new), refiner.init_.predict(new))
    # The std is then that of the held-out errors, mean and all.
    held_out = cross_val_predict(refiner.init, g, RHO, cv=5)
    std = refiner.predict(new, return_std=True)[1]
    expected = np.mean(np.sum((RHO - held_out) ** 2, axis=1))
    np.testing.assert_allclose(np.sum(std**2, axis=1), expected)


# Uncertainty


@LEVELS
@pytest.mark.parametrize(
    "init",
    [Ridge(1.0), Ridge(1e4), KNeighborsRegressor(1), KNeighborsRegressor(10), "zero"],
    ids=str,
)
def test_90_percent_interval_covers_about_90_percent_of_unseen_cells(init, level):
    g, new = noisy_pairs(level)
    rho, std = bayes(level, init=init).fit(g, RHO).predict(new, return_std=True)
    covered = np.abs(rho - UNSEEN) <= norm.ppf(0.95) * std
    assert 0.86 < covered.mean() < 0.94
    assert 0.85 < np.mean((rho - UNSEEN) ** 2) / np.mean(std**2) < 1.4


@IN_X
@pytest.mark.parametrize("told", [0.06, 0.1, 0.3])
def test_std_stays_right_where_the_noise_is_not_what_is_told(told, independent):
    operator, rho, start, *_ = independent
    X = np.hstack([start, with_noise(operator.transform(rho), 0.1)])
    refiner = bayes(told, operator=operator).fit(X[:3000], rho[:3000])
    found, std = refiner.predict(X[3000:], return_std=True)
    assert np.mean((found - rho[3000:]) ** 2) == pytest.approx(np.mean(std**2), rel=0.03)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.filterwarnings("ignore:.* did not converge within")
def test_other_solvers_know_no_std(solver):
    refiner = bayes(0.01, solver=solver, init="zero").fit(noisy_pairs(0.01)[0][:10], RHO[:10])
    text = rf"return_std=True, but solver '{solver}' does not .* Use Refiner\('bayes'\)"
    with pytest.raises(ValueError, match=text):
        refiner.predict(TEST.data, return_std=True)


def test_std_needs_a_fit():
    with pytest.raises(NotFittedError):
        bayes(0.01, init=Ridge()).predict(TEST.data, return_std=True)


# Manners


@pytest.mark.parametrize("name", ["Bayes", "baies", "bayess"])
def test_name_is_proposed(name):
    text = rf"'solver' is '{name}'\. Did you mean 'bayes'\? Allowed are .*'tikhonov', 'bayes'\."
    with pytest.raises(ValueError, match=text):
        bayes(0.0, solver=name, init="zero").fit(TRAIN.data, RHO)


def test_same_seed_same_correction_and_other_seed_another():
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    first, again, other = (
        bayes(0.02, init=KNeighborsRegressor(3), random_state=seed)
        .fit(TRAIN.data, RHO)
        .predict(TEST.data)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_seed_does_not_matter_where_data_have_their_noise():
    g, new = noisy_pairs(0.02)
    first, other = (
        bayes(0.02, init=KNeighborsRegressor(3), random_state=seed).fit(g, RHO).predict(new)
        for seed in (0, 1)
    )
    np.testing.assert_array_equal(first, other)


@pytest.mark.parametrize("level", [0.0, 0.01, 1.0])
def test_zero_and_enormous_data_give_finite_densities(level):
    refiner = bayes(level, init=Ridge(1.0)).fit(noisy_pairs(level)[0], RHO)
    rho, std = refiner.predict(np.zeros((1, 72)), return_std=True)
    assert np.abs(rho).max() < RHO.max()
    assert np.isfinite(std).all()
    rho, std = refiner.predict(1e9 * TEST.data, return_std=True)
    assert np.isfinite(rho).all()
    assert np.isfinite(std).all()


def test_float32_data_are_exact_to_their_rounding():
    exact, rounded = (
        bayes(0.0, init=Ridge(1.0)).fit(*pairs).predict(new)
        for pairs, new in (
            ((TRAIN.data, RHO), TEST.data),
            ((TRAIN.data.astype(np.float32), RHO), TEST.data.astype(np.float32)),
        )
    )
    assert rounded.dtype == np.float64
    assert error(exact) < error(rounded) < 1.15 * error(exact)


def test_uncertainty_of_the_survey_weights_the_data():
    uncertainty = np.sqrt(np.mean(TRAIN.data**2)) * np.geomspace(1e-4, 0.3, 72)
    rng = np.random.default_rng(0)
    g, new = (data + uncertainty * rng.normal(size=data.shape) for data in (TRAIN.data, TEST.data))
    known = surveyed(uncertainty, OPERATOR)
    weighted = Refiner("bayes", init=KNeighborsRegressor(10), operator=known).fit(g, RHO)
    level = float(np.sqrt(np.mean(uncertainty**2) / np.mean(g**2)))
    alike = bayes(level, init=KNeighborsRegressor(10)).fit(g, RHO)
    assert error(weighted.predict(new)) < 0.95 * error(alike.predict(new))


def test_two_samples_are_enough():
    refiner = bayes(0.01, init="zero").fit(TRAIN.data[:2], RHO[:2])
    assert np.isfinite(refiner.predict(TEST.data, return_std=True)).all()


def test_perfect_starts_are_left_alone():
    refiner = bayes(0.0, init="zero").fit(np.zeros((20, 72)), np.zeros((20, 144)))
    rho, std = refiner.predict(np.zeros((3, 72)), return_std=True)
    np.testing.assert_array_equal(rho, 0)
    np.testing.assert_array_equal(std, 0)


def test_misfits_are_recorded():
    g, _ = noisy_pairs(0.01)
    refiner = bayes(0.01, init=KNeighborsRegressor(10)).fit(g, RHO)
    before, after = refiner.residual_history_
    misfit = np.linalg.norm(g[:200] - OPERATOR.transform(refiner.predict(g[:200])), axis=1)
    np.testing.assert_allclose(after, misfit / np.linalg.norm(g[:200], axis=1))
    assert after.mean() < 0.5 * before.mean()


def test_pickle_is_as_large_as_the_prior():
    refiner = bayes(0.01, init="zero").fit(TRAIN.data, RHO)
    dump, held = pickle.dumps(refiner), refiner.solver_.prior.space
    assert len(dump) < held.rotation.nbytes + held.cross.nbytes + 30_000 < RHO.nbytes / 4


def test_solvers_can_be_searched_for():
    g, _ = noisy_pairs(0.01)
    search = GridSearchCV(
        bayes(0.01, init=KNeighborsRegressor()),
        {"solver": ["projection", "bayes"], "init__n_neighbors": [1, 10]},
        cv=2,
        scoring=relative_l2_scorer,
    ).fit(g[:300], RHO[:300])
    assert search.best_params_ == {"solver": "bayes", "init__n_neighbors": 10}
