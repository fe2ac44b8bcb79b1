"""Refiner: starts, solvers, noise and physics, and what it tells about them."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from conftest import sections_near_truth
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.dummy import DummyRegressor
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skgrav import ForwardOperator, MatrixOperator, Mesh, Refiner, Survey
from skgrav.metrics import chi_factor, relative_data_misfit, relative_l2_error, relative_l2_scorer
from skgrav.operators import PhysicsWarning
from skgrav.solvers import (
    CGLS,
    GMRES,
    ICG,
    LGMRES,
    SOLVERS,
    GradientDescent,
    Projection,
    SolverResult,
)

MESH = Mesh.square(20)
OPERATOR = ForwardOperator(MESH, Survey.line(MESH), units="normalized").fit()
RHO, START = sections_near_truth(MESH, 40)
G = OPERATOR.transform(RHO)
BOTH = np.hstack([START, G])  # as an inverter's transform hands them on

NAMES = pytest.mark.parametrize("name", SOLVERS)
ITERATIONS_MAY_RUN_OUT = pytest.mark.filterwarnings("ignore:.* of .* did not converge within")


def with_noise(g, level, seed=0):
    rms = np.sqrt(np.mean(g**2, axis=1, keepdims=True))
    return g + level * rms * np.random.default_rng(seed).normal(size=g.shape)


def noise_free(solver="cgls", **params):
    return Refiner(solver, **{"operator": OPERATOR, "noise_level": 0.0} | params)


class Start(RegressorMixin, BaseEstimator):
    """Knows a start that is 5 % off for each of the sections whose gravity is G."""

    def fit(self, X, y):
        self.n_fits_ = getattr(self, "n_fits_", 0) + 1
        return self

    def predict(self, X):
        return START[np.argmin(((X[:, None] - G) ** 2).sum(axis=2), axis=1)]


# Where the start comes from


@NAMES
@ITERATIONS_MAY_RUN_OUT
def test_start_may_come_from_a_step_an_estimator_or_be_zero(name):
    expected = SOLVERS[name]().solve(OPERATOR, G, START).rho
    np.testing.assert_allclose(noise_free(name).fit(BOTH, RHO).predict(BOTH), expected)
    inside = noise_free(name, init=Start()).fit(G, RHO)
    np.testing.assert_allclose(inside.predict(G), expected)
    from_zero = noise_free(name, init="zero").fit(G, RHO)
    np.testing.assert_allclose(from_zero.predict(G), SOLVERS[name]().solve(OPERATOR, G).rho)


def test_start_of_the_previous_step_in_a_pipeline_equals_the_one_fitted_inside():
    first = noise_free("projection", init="zero")
    chain = make_pipeline(clone(first), noise_free("gmres")).fit(G, RHO)
    inside = noise_free("gmres", init=clone(first)).fit(G, RHO)
    np.testing.assert_allclose(chain.predict(G), inside.predict(G))


def test_refiners_can_be_chained():
    chain = make_pipeline(
        noise_free("projection", init="zero"), noise_free(CGLS(max_iter=50)), noise_free("lgmres")
    )
    chain.fit(G, RHO)
    assert [step.n_features_in_ for _, step in chain.steps] == [120, 520, 520]
    assert chain[:2].transform(G).shape == (40, 520)
    assert relative_data_misfit(OPERATOR, chain.predict(G), G) < 1e-4


def test_init_is_cloned_and_fitted():
    init = Start()
    refiner = noise_free(init=init).fit(G, RHO)
    assert refiner.init_.n_fits_ == 1
    assert refiner.init_ is not init
    assert not hasattr(init, "n_fits_")


def test_frozen_init_is_not_fitted_again():
    init = Start().fit(G, RHO)
    refiner = noise_free(init=FrozenEstimator(init)).fit(G, RHO)
    assert init.n_fits_ == 1
    assert refiner.init_.estimator is init


def test_refining_improves_its_start_and_fits_the_data():
    rho = noise_free("projection").fit(BOTH, RHO).predict(BOTH)
    assert relative_l2_error(RHO, rho) < relative_l2_error(RHO, START)
    assert relative_data_misfit(OPERATOR, rho, G) < 1e-4 * relative_data_misfit(OPERATOR, START, G)


@pytest.mark.parametrize(
    ("operator", "X"),
    [(OPERATOR, G), (None, START), (None, G)],
    ids=["gravity alone", "density alone", "no operator"],
)
def test_missing_start_is_told(operator, X):
    text = rf"init=None, but X with {X.shape[1]} feature\(s\) has no start of 400 cells .* 'init'"
    with pytest.raises(ValueError, match=text):
        Refiner(operator=operator, noise_level=0).fit(X, RHO)


# Which solver


@NAMES
@ITERATIONS_MAY_RUN_OUT
def test_a_name_stands_for_the_solver_with_its_defaults(name):
    refiner = noise_free(name).fit(BOTH[:1], RHO[:1])
    assert type(refiner.solver_) is SOLVERS[name]
    assert refiner.solver_.get_params() == SOLVERS[name]().get_params()


@pytest.mark.parametrize(
    ("solver", "hint"),
    [
        ("lgmress", r" Did you mean 'lgmres'\?"),
        ("GMRES", r" Did you mean 'gmres'\?"),
        ("project", r" Did you mean 'projection'\?"),
        ("newton", ""),
    ],
)
def test_unknown_solver_is_told_and_the_nearest_name_proposed(solver, hint):
    text = rf"'solver' is '{solver}'\.{hint} Allowed are 'gd', 'gmres', 'lgmres', 'icg', 'cgls', 'l"
    with pytest.raises(ValueError, match=text):
        noise_free(solver).fit(BOTH, RHO)


@pytest.mark.parametrize("solver", [LGMRES, 3, None], ids=str)
def test_solver_must_be_a_name_or_an_object(solver):
    with pytest.raises(ValueError, match="'solver' parameter of Refiner must be an instance of"):
        noise_free(solver).fit(BOTH, RHO)


def test_solver_object_is_cloned():
    solver = LGMRES(inner_m=7)
    refiner = noise_free(solver).fit(BOTH, RHO)
    assert refiner.solver is solver
    assert refiner.solver_ is not solver
    assert refiner.solver_.inner_m == 7
    copied = clone(refiner)
    assert copied.solver is not solver
    assert copied.solver.inner_m == 7


def test_solver_parameters_can_be_set_and_searched_for_through_a_pipeline():
    chain = make_pipeline(FunctionTransformer(), noise_free(LGMRES(), init=Ridge()))
    chain.set_params(refiner__solver__inner_m=5)
    assert chain["refiner"].solver.inner_m == 5
    grid = {"refiner__solver__inner_m": [3, 9], "refiner__solver": [LGMRES(outer_k=5)]}
    search = GridSearchCV(chain, grid, cv=2, scoring=relative_l2_scorer).fit(G, RHO)
    assert search.best_estimator_["refiner"].solver_.inner_m in {3, 9}
    assert search.best_estimator_["refiner"].solver_.outer_k == 5


@ITERATIONS_MAY_RUN_OUT
def test_names_can_be_searched_for_in_processes():
    grid = {"solver": ["gd", "projection"], "init__alpha": [1e-3, 1.0]}
    search = GridSearchCV(
        noise_free(init=Ridge()), grid, cv=2, scoring=relative_l2_scorer, n_jobs=2
    ).fit(G, RHO)
    assert search.best_params_["solver"] == "projection"
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


# Noise


@pytest.mark.parametrize("level", [0.0, 0.001, 0.01, 0.05])
@NAMES
@ITERATIONS_MAY_RUN_OUT
def test_refining_never_makes_the_model_more_than_2_percent_worse(name, level):
    X = np.hstack([START, with_noise(G, level)])
    rho = noise_free(name, noise_level=level).fit(X, RHO).predict(X)
    assert relative_l2_error(RHO, rho) <= 1.02 * relative_l2_error(RHO, START)


@pytest.mark.parametrize("level", [0.01, 0.05])
def test_noise_level_makes_the_noise_the_stop(level):
    noisy = with_noise(G, level)
    X = np.hstack([START, noisy])
    stopped = noise_free("gmres", noise_level=level).fit(X, RHO)
    chi = chi_factor(OPERATOR, stopped.predict(X), noisy, noise_level=level)
    assert 0.8 < chi < 1.2
    assert stopped.n_iter_.mean() < 20


def test_noise_taken_for_signal_ruins_the_model():
    X = np.hstack([START, with_noise(G, 0.05)])
    with pytest.warns(PhysicsWarning, match="does not reproduce X from y"):
        refiner = noise_free("projection").fit(X, RHO)
    assert relative_l2_error(RHO, refiner.predict(X)) > 2 * relative_l2_error(RHO, START)


def surveyed(uncertainty):
    """Give the operator with a survey that knows its uncertainty."""
    survey = Survey(OPERATOR.survey_.stations, OPERATOR.survey_.components, uncertainty)
    return ForwardOperator(MESH, survey, units="normalized")


@pytest.mark.parametrize("uneven", [False, True])
@NAMES
@ITERATIONS_MAY_RUN_OUT
def test_uncertainty_of_the_survey_is_the_stop(name, uneven):
    level = 0.02 * np.sqrt(np.mean(G**2))
    uncertainty = level * (np.linspace(0.5, 1.5, 120) if uneven else np.ones(120))
    noisy = G + uncertainty * np.random.default_rng(0).normal(size=G.shape)
    X = np.hstack([START, noisy])
    refiner = Refiner(name, operator=surveyed(uncertainty)).fit(X, RHO)
    rho = refiner.predict(X)
    before = chi_factor(refiner.operator_, START, noisy, multioutput="raw_values")
    after = chi_factor(refiner.operator_, rho, noisy, multioutput="raw_values")
    if name != "gd":  # the paper's step scarcely moves
        assert np.all((after < 1.4) | (after <= before))
    assert np.all(after > np.minimum(0.7, 0.99 * before))
    assert relative_l2_error(RHO, rho) <= 1.02 * relative_l2_error(RHO, START)


def test_noise_level_goes_before_the_uncertainty_of_the_survey():
    X = np.hstack([START, with_noise(G, 0.02)])
    survey_says = Refiner("cgls", operator=surveyed(1e9)).fit(X, RHO)
    np.testing.assert_array_equal(survey_says.predict(X), START)
    refiner = Refiner("cgls", operator=surveyed(1e9), noise_level=0.02).fit(X, RHO)
    expected = noise_free("cgls", noise_level=0.02).fit(X, RHO).predict(X)
    np.testing.assert_allclose(refiner.predict(X), expected)


def test_unknown_noise_is_told_once():
    text = "'noise_level' is None and the survey .* fitted as if noise-free, .* or 0 if there is"
    with pytest.warns(UserWarning, match=text) as caught:
        refiner = Refiner("projection", operator=OPERATOR).fit(BOTH, RHO)
    assert [warning.filename for warning in caught] == [__file__]
    expected = noise_free("projection").fit(BOTH, RHO).predict(BOTH)
    np.testing.assert_array_equal(refiner.predict(BOTH), expected)


@pytest.mark.parametrize(
    "params",
    [{"noise_level": 0, "operator": OPERATOR}, {"operator": surveyed(0.1)}],
    ids=["noise-free", "survey with uncertainty"],
)
def test_known_noise_is_no_reason_to_warn(params):
    Refiner("projection", **params).fit(BOTH, RHO).predict(BOTH)


# Physics


@pytest.mark.parametrize("kernel", ["cell", "point"])
def test_default_operator_is_found_silently(kernel):
    g = ForwardOperator(MESH, kernel=kernel).fit().transform(RHO)
    refiner = Refiner("projection", init="zero", noise_level=0).fit(g, RHO)
    assert (refiner.operator_.kernel, refiner.operator_.units) == (kernel, "mGal")
    assert refiner.operator_.mesh_ == MESH


def test_default_operator_is_found_with_a_start_before_the_data():
    assert noise_free("projection", operator=None).fit(BOTH, RHO).operator_.mesh_ == MESH


def test_unknown_geometry_is_identified_with_a_warning():
    mesh = Mesh.square(6)
    rho, _ = sections_near_truth(mesh, 200)
    hidden = ForwardOperator(mesh, Survey.line(mesh, n_stations=7, components="z")).fit()
    g = hidden.transform(rho)
    with pytest.warns(PhysicsWarning, match="identified from 160 .* error of .* on held") as caught:
        refiner = Refiner("cgls", init="zero", noise_level=0).fit(g, rho)
    assert caught[0].filename == __file__
    assert isinstance(refiner.operator_, MatrixOperator)
    assert relative_data_misfit(hidden, refiner.predict(g), g) < 1e-3


@pytest.mark.parametrize(
    ("operator", "g", "text"),
    [
        (OPERATOR, -G, "does not reproduce X from y: .* The sign of X is reversed"),
        (OPERATOR, 1e3 * G, r"X is 1000 times the operator's gravity: check the 'units'"),
        (OPERATOR, G[:, 1:], "maps 400 cells to 120 data, but .* 400 cells and 119 data"),
        (
            ForwardOperator(Mesh.square(19)),
            G,
            r"'X' has 400 columns, but 'mesh' of shape \(19, 19\)",
        ),
    ],
    ids=["sign", "units", "data", "cells"],
)
def test_wrong_operator_is_refused(operator, g, text):
    with pytest.raises(ValueError, match=text):
        noise_free(init="zero", operator=operator).fit(g, RHO)


def test_matrix_operator_will_do():
    by_matrix = noise_free("gmres", operator=MatrixOperator(OPERATOR.matrix_)).fit(BOTH, RHO)
    expected = noise_free("gmres").fit(BOTH, RHO).predict(BOTH)
    np.testing.assert_allclose(by_matrix.predict(BOTH), expected)


# What is recorded


def test_iterations_and_misfits_of_the_training_samples_are_recorded():
    refiner = noise_free("gmres").fit(BOTH, RHO)
    history = refiner.residual_history_
    assert refiner.n_iter_.shape == (40,)
    assert history.shape == (refiner.n_iter_.max() + 1, 40)
    misfits = {
        0: relative_data_misfit(OPERATOR, START, G, multioutput="raw_values"),
        -1: relative_data_misfit(OPERATOR, refiner.predict(BOTH), G, multioutput="raw_values"),
    }
    for row, misfit in misfits.items():
        np.testing.assert_allclose(history[row], misfit, rtol=1e-5, atol=1e-9)


def test_at_most_200_samples_are_recorded():
    many = np.tile(BOTH, (6, 1))
    refiner = noise_free("projection").fit(many, np.tile(RHO, (6, 1)))
    assert refiner.n_iter_.shape == (200,)
    assert refiner.predict(many).shape == (240, 400)


@pytest.mark.parametrize(
    "solver",
    [GradientDescent(max_iter=2), GMRES(max_iter=1, restart=1), ICG(max_iter=1), CGLS(max_iter=1)],
    ids=lambda solver: type(solver).__name__,
)
def test_running_out_of_iterations_is_told(solver):
    text = r"40 of 40 samples did not converge within 'max_iter'\. Raise it, or loosen 'tol'"
    refiner = noise_free(solver).fit(BOTH, RHO)
    with pytest.warns(ConvergenceWarning, match=text) as caught:
        refiner.predict(BOTH)
    assert [warning.filename for warning in caught] == [__file__]


def test_refine_tells_how_the_solver_got_there():
    refiner = noise_free("gmres").fit(BOTH, RHO)
    result = refiner.refine(BOTH[:3])
    assert isinstance(result, SolverResult)
    np.testing.assert_array_equal(result.rho, refiner.predict(BOTH[:3]))
    np.testing.assert_array_equal(result.n_iter, refiner.n_iter_[:3])
    assert result.converged.all()


# Manners


def test_fit_and_predict_leave_parameters_and_data_alone():
    refiner = noise_free(LGMRES(inner_m=9), init=Ridge())
    params, state = refiner.get_params(), copy.deepcopy(refiner.solver.get_params())
    X, y = G.copy(), RHO.copy()
    refiner.fit(X, y).predict(X)
    assert all(refiner.get_params()[name] is value for name, value in params.items())
    assert refiner.solver.get_params() == state
    assert not hasattr(refiner.init, "coef_")
    np.testing.assert_array_equal(X, G)
    np.testing.assert_array_equal(y, RHO)


def test_transform_puts_the_refined_density_beside_the_data():
    refiner = noise_free("projection").fit(BOTH, RHO)
    np.testing.assert_array_equal(refiner.transform(BOTH), np.hstack([refiner.predict(BOTH), G]))


@pytest.mark.parametrize("init", [None, "zero"])
def test_pandas_output_names_cells_and_data(init):
    X = BOTH if init is None else G
    refiner = noise_free("projection", init=init).set_output(transform="pandas").fit(X, RHO)
    columns = refiner.transform(X).columns
    first = 400 if init is None else 0
    data = [f"x{i}" for i in range(first, first + 120)]
    assert list(columns) == [*(f"rho{i}" for i in range(400)), *data]


def test_pickles_leave_out_the_matrix_and_the_data():
    mesh = Mesh.square(30)
    rho, start = sections_near_truth(mesh, 5)
    operator = ForwardOperator(mesh).fit()
    X = np.hstack([start, operator.transform(rho)])
    refiner = noise_free("projection", operator=operator).fit(X, rho)
    dump = pickle.dumps(refiner)
    assert len(dump) < 20_000 < operator.matrix_.nbytes
    np.testing.assert_allclose(pickle.loads(dump).predict(X), refiner.predict(X))


def test_cross_validation_in_processes_equals_that_in_one():
    refiner = noise_free("projection", init=Ridge())
    one, two = (
        cross_val_score(refiner, G, RHO, cv=2, scoring=relative_l2_scorer, n_jobs=n_jobs)
        for n_jobs in (1, 2)
    )
    np.testing.assert_allclose(one, two, rtol=1e-6)


@NAMES
@ITERATIONS_MAY_RUN_OUT
@pytest.mark.parametrize("init", [None, "zero", DummyRegressor()], ids=str)
def test_one_sample_is_enough(name, init):
    X = BOTH if init is None else G
    refiner = noise_free(name, init=init).fit(X[:1], RHO[:1])
    assert refiner.predict(X[:1]).shape == (1, 400)
    assert np.isfinite(refiner.predict(X)).all()


def test_one_station_and_a_density_vector_will_do():
    rho = np.array([1.0, 2.0, 3.0])
    refiner = Refiner("cgls", init="zero", operator=MatrixOperator([[2.0]]), noise_level=0)
    np.testing.assert_allclose(refiner.fit(2 * rho[:, None], rho).predict([[8.0]]), [4.0])


def test_float32_data_give_float64_densities():
    X = BOTH.astype(np.float32)
    assert noise_free("projection").fit(X, RHO).predict(X).dtype == np.float64


@pytest.mark.parametrize("solver", [Projection(), GMRES(restart=60)], ids=["projection", "gmres"])
def test_samples_do_not_know_one_another(solver):
    refiner = noise_free(solver).fit(BOTH, RHO)
    rows = np.concatenate([refiner.predict(row[None]) for row in BOTH[:4]])
    np.testing.assert_allclose(rows, refiner.predict(BOTH)[:4], rtol=1e-6)


def with_one(bad, values):
    spoiled = values.copy()
    spoiled[3, -1] = bad
    return spoiled


@pytest.mark.parametrize(
    ("X", "y", "text"),
    [
        (with_one(np.nan, BOTH), RHO, "Input X contains NaN"),
        (with_one(np.inf, BOTH), RHO, "Input X contains infinity"),
        (BOTH, with_one(np.nan, RHO), "Input y contains NaN"),
        (BOTH.T, RHO.T, r"inconsistent numbers of samples: \[520, 400\]"),
        (BOTH[:7], RHO, r"inconsistent numbers of samples: \[7, 40\]"),
        (BOTH[:0], RHO[:0], r"0 sample\(s\)"),
        (BOTH[0], RHO[:1], "Expected 2D array, got 1D array"),
        (BOTH[:, :-1], RHO, "maps 400 cells to 120 data, but the training pairs .* 119 data"),
    ],
    ids=["NaN", "inf", "NaN in y", "transposed", "lengths", "none", "1-D", "width"],
)
def test_bad_data_are_refused(X, y, text):
    with pytest.raises(ValueError, match=text):
        noise_free().fit(X, y)


@pytest.mark.parametrize(
    ("params", "text"),
    [
        (
            {"noise_level": -0.1},
            r"'noise_level' parameter of Refiner must be .* range \[0.*Got -0\.1",
        ),
        ({"noise_level": np.nan}, "'noise_level' parameter of Refiner must be .* Got nan"),
        ({"noise_level": np.inf}, "'noise_level' parameter of Refiner must be .* Got inf"),
        ({"init": "cnn"}, "'init' parameter of Refiner must be an object implementing 'fit' and"),
        ({"operator": np.eye(3)}, "'operator' parameter of Refiner must be an instance of"),
    ],
    ids=["negative noise", "NaN noise", "infinite noise", "init", "operator"],
)
def test_bad_parameters_are_refused(params, text):
    with pytest.raises(ValueError, match=text):
        noise_free(**params).fit(BOTH, RHO)


def test_init_that_estimates_other_cells_is_refused():
    other = FrozenEstimator(Ridge().fit(G, RHO[:, 1:]))
    with pytest.raises(ValueError, match="399"):
        noise_free(init=other).fit(G, RHO)


def test_prediction_needs_a_fit_and_the_same_width():
    with pytest.raises(NotFittedError):
        noise_free().predict(BOTH)
    refiner = noise_free("projection").fit(BOTH, RHO)
    with pytest.raises(ValueError, match="X has 120 features, but Refiner is expecting 520"):
        refiner.predict(G)
    with pytest.raises(ValueError, match="X has 40 features, but Refiner is expecting 520"):
        refiner.predict(BOTH.T)


def test_data_frames_are_known_again():
    frame = pd.DataFrame(G, columns=[f"g{i}" for i in range(G.shape[1])])
    refiner = Refiner("cgls", init="zero", operator=OPERATOR, noise_level=0.01)
    refiner.fit(frame, RHO)  # a warning about names would be an error
    assert refiner.predict(frame[:3]).shape == (3, RHO.shape[1])
