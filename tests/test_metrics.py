"""Errors, misfits, chi factors and their scorers: values, rules, and texts of errors."""

import pickle

import numpy as np
import pytest
from conftest import with_noise
from numpy.testing import assert_allclose
from sklearn.base import BaseEstimator, clone
from sklearn.dummy import DummyRegressor
from sklearn.model_selection import GridSearchCV, cross_val_score

from skgrav import ForwardOperator, MatrixOperator, Mesh, Survey
from skgrav.metrics import (
    DataMisfitScorer,
    chi_factor,
    relative_data_misfit,
    relative_l2_error,
    relative_l2_scorer,
)

MESH = Mesh.square(6)
OPERATOR = ForwardOperator(MESH).fit()
RHO = np.random.default_rng(0).uniform(1, 12, (5, 36))
G = OPERATOR.transform(RHO)


class Constant(BaseEstimator):
    """Estimator of always the same density, whatever the gravity."""

    def __init__(self, rho=None):
        self.rho = rho

    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def predict(self, X):
        return np.broadcast_to(self.rho, (len(X), np.shape(self.rho)[-1]))


def test_relative_error_is_the_mean_over_samples_of_ratios_of_norms():
    true, estimate = [[3, 4], [0, 2]], [[3, 3], [0, 3]]
    assert_allclose(relative_l2_error(true, estimate, multioutput="raw_values"), [0.2, 0.5])
    assert relative_l2_error(true, estimate) == pytest.approx(0.35)
    assert isinstance(relative_l2_error(true, estimate), float)
    assert relative_l2_error(true, estimate, sample_weight=[3, 1]) == pytest.approx(0.275)


def test_a_tenth_more_everywhere_is_a_tenth():
    assert relative_l2_error(RHO, 1.1 * RHO) == pytest.approx(0.1)
    assert relative_data_misfit(OPERATOR, 1.1 * RHO, G) == pytest.approx(0.1)
    assert relative_l2_error(RHO, RHO) == 0.0


def test_misfit_is_the_ratio_of_norms_of_residual_and_data():
    g = with_noise(G, 0.3)
    expected = np.linalg.norm(G - g, axis=1) / np.linalg.norm(g, axis=1)
    found = relative_data_misfit(OPERATOR, RHO, g, multioutput="raw_values")
    assert_allclose(found, expected)
    assert relative_data_misfit(OPERATOR, RHO, g) == pytest.approx(expected.mean())
    weighted = relative_data_misfit(OPERATOR, RHO, g, sample_weight=[1, 0, 0, 0, 0])
    assert weighted == pytest.approx(expected[0])


def test_error_relative_to_zero_is_zero_for_zero_and_infinite_otherwise():
    errors = relative_l2_error(np.zeros((2, 3)), [[0, 0, 0], [0, 1, 0]], multioutput="raw_values")
    assert errors.tolist() == [0.0, np.inf]
    assert relative_data_misfit(OPERATOR, 0 * RHO, 0 * G) == 0.0
    assert relative_data_misfit(OPERATOR, RHO, 0 * G) == np.inf


def test_vectors_are_samples_of_one_cell():
    assert relative_l2_error([1, 2], [1.5, 2]) == pytest.approx(0.25)
    assert relative_l2_error([1, 2], [[1.5], [2]]) == pytest.approx(0.25)


@pytest.mark.filterwarnings("ignore:the stations of 'survey' extend over")  # 20,000 of them
@pytest.mark.parametrize("level", [0.01, 0.3])
def test_chi_factor_is_one_for_noise_at_its_level(level):
    mesh = Mesh.square(6)
    survey = Survey.line(mesh, n_stations=20_000)
    operator = ForwardOperator(mesh, survey).fit()
    clean = operator.transform(RHO[:1])
    sigma = level * np.sqrt(np.mean(clean**2))
    g = clean + sigma * np.random.default_rng(0).normal(size=clean.shape)
    # 40,000 squared normal numbers: their mean is 1 within 0.007.
    assert chi_factor(operator, RHO[:1], g, uncertainty=sigma) == pytest.approx(1, abs=0.03)
    noisy_level = level / np.sqrt(1 + level**2)
    assert chi_factor(operator, RHO[:1], g, noise_level=noisy_level) == pytest.approx(1, abs=0.03)
    assert chi_factor(operator, RHO[:1], g, uncertainty=2 * sigma) == pytest.approx(0.25, abs=0.01)


def test_chi_factor_takes_the_surveys_uncertainty_unless_told_otherwise():
    uncertainty = np.linspace(0.1, 1, 36)
    survey = Survey(Survey.line(MESH).stations, uncertainty=uncertainty)
    operator = ForwardOperator(MESH, survey).fit()
    g = G + 2 * uncertainty
    assert chi_factor(operator, RHO, g) == pytest.approx(4)
    assert_allclose(chi_factor(operator, RHO, g, multioutput="raw_values"), [4] * 5)
    assert chi_factor(operator, RHO, g, uncertainty=2 * uncertainty) == pytest.approx(1)
    assert chi_factor(OPERATOR, RHO, g, uncertainty=uncertainty) == pytest.approx(4)


def test_chi_factor_without_noise_is_zero_for_a_perfect_fit_and_infinite_otherwise():
    assert chi_factor(OPERATOR, RHO, OPERATOR.transform(RHO), noise_level=0) == 0.0
    assert chi_factor(OPERATOR, 2 * RHO, G, noise_level=0) == np.inf
    assert chi_factor(OPERATOR, 0 * RHO, 0 * G, noise_level=0.1) == 0.0


def test_metrics_take_operators_that_give_frames():
    operator = clone(OPERATOR).set_output(transform="pandas").fit()
    g = with_noise(G, 0.1)
    for metric in (relative_data_misfit, chi_factor):
        options = {"noise_level": 0.1} if metric is chi_factor else {}
        raw = metric(operator, RHO, g, multioutput="raw_values", **options)
        assert type(raw) is np.ndarray
        assert_allclose(raw, metric(OPERATOR, RHO, g, multioutput="raw_values", **options))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: relative_l2_error(RHO, RHO[:, 1:]), r"'y_pred' has shape \(5, 35\), but 'y_true'"),
        (lambda: relative_l2_error(RHO, RHO[:1]), r"'y_pred' has shape \(1, 36\)"),
        (lambda: relative_l2_error([1, 2], RHO[:2]), r"'y_true' \(2, 1\); .* samples and cells"),
        (lambda: relative_l2_error(RHO, RHO * np.nan), "Input y_pred contains NaN"),
        (lambda: relative_l2_error(RHO, RHO, multioutput="sum"), "'multioutput' is 'sum'; allowed"),
        (lambda: relative_l2_error(RHO, RHO, sample_weight=[1]), "'sample_weight' has shape"),
        (lambda: relative_data_misfit(OPERATOR, RHO[:, 1:], G), "X has 35 features"),
        (lambda: relative_data_misfit(OPERATOR, RHO[:1], G), r"'g' .* \(5, 36\).*\(1, 36\)"),
        (lambda: relative_data_misfit(OPERATOR, RHO, G[:, 1:]), r"'g' .* \(5, 35\).*\(5, 36\)"),
        (lambda: chi_factor(OPERATOR, RHO[:1], G, noise_level=1), r"'g' .* \(5, 36\).*\(1, 36\)"),
        (lambda: chi_factor(OPERATOR, RHO, G), "the chi factor needs the noise of the data"),
        (
            lambda: chi_factor(OPERATOR, RHO, G, noise_level=0.1, uncertainty=1),
            "'noise_level' and 'uncertainty' are both given",
        ),
        (
            lambda: chi_factor(OPERATOR, RHO, G, noise_level=-0.1),
            "'noise_level' is -0.1; .*least 0",
        ),
        (lambda: chi_factor(OPERATOR, RHO, G, noise_level=np.nan), "'noise_level' is nan"),
        (
            lambda: chi_factor(OPERATOR, RHO, G, uncertainty=0),
            r"'uncertainty' has shape \(\) and minimum 0; .*pos",
        ),
        (lambda: chi_factor(OPERATOR, RHO, G, uncertainty=[1, 2]), r"shape \(2,\) .* of 36 data"),
        (lambda: DataMisfitScorer(OPERATOR, metric="l1"), "'metric' is 'l1'; allowed are 'rel"),
    ],
)
def test_bad_input_is_refused(call, text):
    with pytest.raises(ValueError, match=text):
        call()


def test_scorer_of_the_error_is_its_negative():
    estimator = DummyRegressor().fit(G, RHO)
    error = relative_l2_error(RHO, estimator.predict(G))
    assert relative_l2_scorer(estimator, G, RHO) == pytest.approx(-error)
    assert error > 0


@pytest.mark.parametrize("fitted", [True, False])
def test_scorer_of_field_data_is_the_negative_misfit_and_needs_no_truth(fitted):
    scorer = DataMisfitScorer(OPERATOR if fitted else clone(OPERATOR))
    estimator = Constant(RHO[:1])
    expected = relative_data_misfit(OPERATOR, np.repeat(RHO[:1], 5, axis=0), G)
    assert scorer(estimator, G) == scorer(estimator, G, RHO) == pytest.approx(-expected)
    assert scorer(estimator, G[:1]) == pytest.approx(0, abs=1e-12)


def test_scorer_by_chi_punishes_fitting_noise_as_much_as_not_fitting_data():
    matrix = np.eye(4)
    operator = MatrixOperator(matrix).fit(matrix)
    g = np.array([[1.0, -1.0, 1.0, -1.0]])
    scorer = DataMisfitScorer(operator, noise_level=0.1, metric="chi")
    assert scorer(Constant(1.1 * g), g) == pytest.approx(0)
    assert scorer(Constant(g), g) == pytest.approx(-1)
    assert scorer(Constant((1 + 0.1 * np.sqrt(2)) * g), g) == pytest.approx(-1)


@pytest.mark.parametrize(
    "scorer", [relative_l2_scorer, DataMisfitScorer(OPERATOR, noise_level=0.1, metric="chi")]
)
def test_scorers_survive_pickling_small(scorer):
    pickled = pickle.dumps(scorer)
    assert len(pickled) < 5_000
    again = pickle.loads(pickled)
    estimator = Constant(2 * RHO[:1])
    assert again(estimator, G, RHO) == scorer(estimator, G, RHO)


def test_search_with_field_data_picks_the_density_that_fits():
    g = np.repeat(G[:1], 6, axis=0)
    search = GridSearchCV(
        Constant(), {"rho": [2 * RHO[0], RHO[0]]}, scoring=DataMisfitScorer(OPERATOR), n_jobs=2
    )
    search.fit(g)
    assert search.best_index_ == 1
    assert search.best_score_ == pytest.approx(0, abs=1e-12)


def test_cross_validation_takes_the_scorer_of_the_error():
    scores = cross_val_score(DummyRegressor(), G, RHO, scoring=relative_l2_scorer, cv=2)
    assert scores.shape == (2,)
    assert (scores < 0).all()
