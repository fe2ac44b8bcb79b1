"""Refiner: starts, solvers, noise and physics, and what it tells about them."""

import pickle

import numpy as np
import pytest
from conftest import sections_near_truth, surveyed, with_noise
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.dummy import DummyRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skgrav import CNNInverter, ForwardOperator, MatrixOperator, Mesh, Refiner, Survey
from skgrav.metrics import chi_factor, relative_data_misfit, relative_l2_error, relative_l2_scorer
from skgrav.operators import PhysicsWarning
from skgrav.solvers import (
    CGLS,
    GMRES,
    ICG,
    LGMRES,
    SOLVERS,
    GradientDescent,
    SolverResult,
)

MESH = Mesh.square(20)
OPERATOR = ForwardOperator(MESH, Survey.line(MESH), units="normalized").fit()
RHO, START = sections_near_truth(MESH, 40)
G = OPERATOR.transform(RHO)
BOTH = np.hstack([START, G])  # as an inverter's transform hands them on

NAMES = pytest.mark.parametrize("name", SOLVERS)
ITERATIONS_MAY_RUN_OUT = pytest.mark.filterwarnings("ignore:.* of .* did not converge within")


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
def test_names_can_be_searched_for():
    grid = {"solver": ["gd", "projection"], "init__alpha": [1e-3, 1.0]}
    search = GridSearchCV(noise_free(init=Ridge()), grid, cv=2, scoring=relative_l2_scorer).fit(
        G, RHO
    )
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


@pytest.mark.parametrize("frozen", [False, True])
def test_start_that_takes_no_noise_level_gets_none(frozen):
    network = CNNInverter("paper", max_epochs=1, random_state=0)
    init = FrozenEstimator(network.fit(G, RHO)) if frozen else network
    refiner = noise_free("projection", init=init).fit(G, RHO)
    expected = noise_free("projection", init=init, noise_level=0.01).fit(G, RHO).predict(G)
    np.testing.assert_array_equal(refiner.predict(G, noise_level=0.01), expected)


def test_noise_taken_for_signal_ruins_the_model():
    X = np.hstack([START, with_noise(G, 0.05)])
    with pytest.warns(PhysicsWarning, match="does not reproduce X from y"):
        refiner = noise_free("projection").fit(X, RHO)
    assert relative_l2_error(RHO, refiner.predict(X)) > 2 * relative_l2_error(RHO, START)


@pytest.mark.parametrize("uneven", [False, True])
@NAMES
@ITERATIONS_MAY_RUN_OUT
def test_uncertainty_of_the_survey_is_the_stop(name, uneven):
    level = 0.02 * np.sqrt(np.mean(G**2))
    uncertainty = level * (np.linspace(0.5, 1.5, 120) if uneven else np.ones(120))
    noisy = G + uncertainty * np.random.default_rng(0).normal(size=G.shape)
    X = np.hstack([START, noisy])
    refiner = Refiner(name, operator=surveyed(uncertainty, OPERATOR)).fit(X, RHO)
    rho = refiner.predict(X)
    before = chi_factor(refiner.operator_, START, noisy, multioutput="raw_values")
    after = chi_factor(refiner.operator_, rho, noisy, multioutput="raw_values")
    if name != "gd":  # the paper's step scarcely moves
        assert np.all((after < 1.4) | (after <= before))
    assert np.all(after > np.minimum(0.7, 0.99 * before))
    assert relative_l2_error(RHO, rho) <= 1.02 * relative_l2_error(RHO, START)


def test_start_that_fits_to_the_uncertainty_is_left_alone():
    X = np.hstack([START, with_noise(G, 0.02)])
    refiner = Refiner("cgls", operator=surveyed(1e9, OPERATOR)).fit(X, RHO)
    np.testing.assert_array_equal(refiner.predict(X), START)


def test_unknown_noise_is_told_once():
    text = "'noise_level' is None and the survey .* fitted as if noise-free, .* or 0 if there is"
    with pytest.warns(UserWarning, match=text) as caught:
        refiner = Refiner("projection", operator=OPERATOR).fit(BOTH, RHO)
    assert [warning.filename for warning in caught] == [__file__]
    expected = noise_free("projection").fit(BOTH, RHO).predict(BOTH)
    np.testing.assert_array_equal(refiner.predict(BOTH), expected)


@pytest.mark.parametrize(
    "params",
    [{"noise_level": 0, "operator": OPERATOR}, {"operator": surveyed(0.1, OPERATOR)}],
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


def test_pickles_leave_out_the_matrix_and_the_data():
    mesh = Mesh.square(30)
    rho, start = sections_near_truth(mesh, 5)
    operator = ForwardOperator(mesh).fit()
    X = np.hstack([start, operator.transform(rho)])
    refiner = noise_free("projection", operator=operator).fit(X, rho)
    dump = pickle.dumps(refiner)
    assert len(dump) < 20_000 < operator.matrix_.nbytes
    np.testing.assert_allclose(pickle.loads(dump).predict(X), refiner.predict(X))


@NAMES
@ITERATIONS_MAY_RUN_OUT
@pytest.mark.parametrize("init", [None, "zero", DummyRegressor()], ids=str)
def test_one_sample_is_enough(name, init):
    X = BOTH if init is None else G
    refiner = noise_free(name, init=init).fit(X[:1], RHO[:1])
    assert refiner.predict(X[:1]).shape == (1, 400)
    assert np.isfinite(refiner.predict(X)).all()


def test_init_must_be_an_estimator():
    text = "'init' parameter of Refiner must be an object implementing 'fit' and"
    with pytest.raises(ValueError, match=text):
        noise_free(init="cnn").fit(BOTH, RHO)


def test_init_that_estimates_other_cells_is_refused():
    other = FrozenEstimator(Ridge().fit(G, RHO[:, 1:]))
    with pytest.raises(ValueError, match="399"):
        noise_free(init=other).fit(G, RHO)
