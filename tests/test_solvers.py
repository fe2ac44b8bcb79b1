"""Solvers by one contract: engines, noise, the paper's figures, bad input."""

import pickle

import numpy as np
import pytest
from conftest import dot_test_error, sections_near_truth
from scipy.sparse import csr_array
from scipy.sparse.linalg import aslinearoperator
from scipy.special import chdtri
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from solver_problems import (
    ENGINE_PAIR,
    ENGINES,
    NAMES,
    TALL,
    TALL_G,
    TALL_START,
    WIDE,
    WIDE_G,
    WIDE_RHO,
    WIDE_START,
    matrix_of,
    mean_error,
    norms,
    operator_of,
    random_problem,
    relative,
    solver_of,
    with_noise,
)

from skgrav import ForwardOperator, MatrixOperator, Mesh, Survey
from skgrav.noise import Noise, Whitening
from skgrav.solvers import CGLS, GMRES, ICG, LGMRES, SOLVERS, GradientDescent, Projection
from skgrav.solvers._status import _neighbours
from skgrav.solvers._system import OperatorSystem, SVDSystem, make_system


@pytest.fixture(scope="module")
def paper():
    """Give the paper's operator, n = 51, and sections whose start is 5 % off."""
    operator = operator_of(51)
    rho, start = sections_near_truth(operator.mesh_, 100)
    return operator, rho, start, operator.transform(rho)


# Coordinates and engines


@pytest.mark.parametrize("scaled", [False, True])
@ENGINES
def test_systems_have_an_adjoint(engine, scaled):
    rng = np.random.default_rng(0)
    weights, columns = (
        (rng.uniform(1, 2, 30), rng.uniform(1, 2, 50)) if scaled else (np.ones(30), 1)
    )
    basis = rng.normal(size=(30, 2 if scaled else 0))
    system = make_system(WIDE, engine, Whitening(weights, basis), columns)
    assert isinstance(system, SVDSystem if engine == "svd" else OperatorSystem)
    n_out = 28 if scaled else 30
    n_in = n_out if engine == "svd" else 50
    assert dot_test_error(system.forward, system.adjoint, n_in, n_out) < 1e-13


@ENGINES
def test_systems_stand_for_the_scaled_operator(engine):
    rng = np.random.default_rng(0)
    whitening, columns = (
        Whitening(rng.uniform(1, 2, 30), rng.normal(size=(30, 2))),
        rng.uniform(1, 2, 50),
    )
    system = make_system(WIDE, engine, whitening, columns)
    d = rng.normal(size=(3, 28))
    image = system.model(system.adjoint(system.data_coordinates(d)))
    np.testing.assert_allclose(image, d @ (whitening.matrix(WIDE) * columns), atol=1e-12)


@pytest.mark.parametrize(
    ("solver", "tolerance"),
    [
        (GradientDescent(step_size=1e-3), 1e-12),
        (GMRES(), 1e-7),  # a restart magnifies rounding
        (GMRES(restart=60), 1e-10),
        (LGMRES(inner_m=60), 1e-10),
        (CGLS(max_iter=3), 1e-10),
        (CGLS(), 1e-3),  # conjugacy is lost to rounding, in each engine in its own way
        (ICG(max_iter=30), 1e-10),
    ],
    ids=str,
)
def test_svd_and_operator_engines_agree(solver, tolerance, problem):
    operator, g, start = problem
    svd, plain = (clone(solver).set_params(engine=e).solve(operator, g, start) for e in ENGINE_PAIR)
    assert relative(svd.rho, plain.rho) < tolerance
    np.testing.assert_allclose(svd.residual_history[0], plain.residual_history[0])


@NAMES
@ENGINES
def test_engines_agree_with_noise_where_the_data_are_independent(name, engine):
    g, sigma = with_noise(WIDE_G, 0.05)
    found = solver_of(name, engine).solve(WIDE, g, WIDE_START, sigma=sigma)
    reference = solver_of(name).solve(WIDE, g, WIDE_START, sigma=sigma)
    assert relative(found.rho, reference.rho) < 1e-8


# Noise


@NAMES
@ENGINES
def test_start_that_fits_to_its_noise_is_returned(name, engine, small):
    operator, rho, _, g = small
    found = solver_of(name, engine).solve(operator, 1.01 * g, rho, sigma=0.05 * norms(g)[:, None])
    np.testing.assert_allclose(found.rho, rho, rtol=1e-12)
    assert (found.n_iter == 0).all()
    assert found.converged.all()
    assert len(found.residual_history) == 1


@NAMES
@ENGINES
def test_residual_ends_at_the_noise(name, engine):
    g, sigma = with_noise(WIDE_G, 0.1)
    found = solver_of(name, engine).solve(WIDE, g, WIDE_START, sigma=sigma)
    target = sigma[:, 0] * np.sqrt(chdtri(30, 0.05))
    np.testing.assert_allclose(norms(found.rho @ WIDE.T - g), target, rtol=1e-8)
    np.testing.assert_allclose(found.residual_history[-1] * norms(g), target, rtol=1e-8)
    assert found.converged.all()


@NAMES
def test_only_the_part_of_the_residual_that_a_model_can_change_is_held_to_the_noise(name, paper):
    operator, _, start, g = paper
    g, sigma = with_noise(g[:10], 0.01)
    solver = solver_of(name) if name != "gd" else GradientDescent(step_size="auto", max_iter=20000)
    found = solver.solve(operator, g, start[:10], sigma=sigma)
    system = make_system(operator, "svd", Noise.of(operator).whitening)
    rank = system.n_data
    assert rank < operator.n_data_
    before, after = ((g - operator.transform(r)) @ system.U for r in (start[:10], found.rho))
    target = np.minimum(norms(before), sigma[:, 0] * np.sqrt(chdtri(rank, 0.05)))
    np.testing.assert_allclose(norms(after), target, rtol=1e-6)


@NAMES
@ENGINES
def test_noise_per_datum_weights_the_data(name, engine):
    each = np.geomspace(0.1, 2, 30)
    noise = each * np.random.default_rng(0).normal(size=WIDE_G.shape)
    g = WIDE_G + noise
    found = solver_of(name, engine).solve(WIDE, g, WIDE_START, sigma=each[None])
    chi2 = np.sum(((found.rho @ WIDE.T - g) / each) ** 2, axis=1)
    np.testing.assert_allclose(chi2, chdtri(30, 0.05), rtol=1e-7)
    level = each.mean()
    white = solver_of(name, engine).solve(
        WIDE * (level / each)[:, None], g * level / each, WIDE_START, sigma=level
    )
    assert relative(found.rho, white.rho) < 1e-9


@NAMES
def test_a_datum_that_is_all_noise_is_ignored(name):
    g, each = WIDE_G.copy(), np.full((1, 30), 0.05)
    g[:, 7], each[0, 7] = 1e4, 1e5
    found = solver_of(name).solve(WIDE, g, WIDE_START, sigma=each)
    assert mean_error(found.rho, WIDE_RHO) < mean_error(WIDE_START, WIDE_RHO)


@NAMES
def test_sigma_may_be_a_number_a_column_or_a_row(name):
    solve = solver_of(name).solve
    one = solve(WIDE, WIDE_G, WIDE_START, sigma=0.4).rho
    for sigma in (np.full((5, 1), 0.4), np.full((1, 30), 0.4), np.full((5, 30), 0.4)):
        np.testing.assert_array_equal(solve(WIDE, WIDE_G, WIDE_START, sigma=sigma).rho, one)
    levels = np.array([[0.1], [0.2], [0.4], [0.8], [0.0]])
    each = solve(WIDE, WIDE_G, WIDE_START, sigma=levels).rho
    np.testing.assert_allclose(each[2], one[2], rtol=1e-9)


@NAMES
def test_zero_noise_is_no_noise(name):
    zero, none = (solver_of(name).solve(WIDE, WIDE_G, WIDE_START, sigma=s) for s in (0.0, None))
    np.testing.assert_array_equal(zero.rho, none.rho)


@NAMES
@pytest.mark.parametrize("level", [0.0, 0.001, 0.01, 0.05])
def test_refining_never_makes_the_model_more_than_2_percent_worse(name, level, paper):
    operator, rho, start, clean = paper
    g, _ = with_noise(clean, level)
    sigma = level * np.sqrt(np.mean(g**2, axis=1, keepdims=True))
    found = SOLVERS[name]().solve(operator, g, start, sigma=sigma)
    assert mean_error(found.rho, rho) <= 1.02 * mean_error(start, rho)
    if level <= 0.01:  # more noise leaves nothing to learn from data that miss by 2 %
        assert mean_error(found.rho, rho) < mean_error(start, rho)


@pytest.mark.parametrize("solver", [GMRES(max_iter=50), LGMRES()], ids=["gmres", "lgmres"])
def test_the_papers_stop_destroys_noisy_data(solver, paper):
    operator, rho, start, clean = paper
    g, _ = with_noise(clean[:20], 0.01)
    found = solver.solve(operator, g, start[:20])
    assert mean_error(found.rho, rho[:20]) > 5 * mean_error(start[:20], rho[:20])


# The paper's figures


@pytest.mark.parametrize(
    ("name", "error", "lowest", "highest"),
    [
        ("gmres", 0.047, 1e-5, 2e-4),
        ("lgmres", 0.047, 1e-5, 2e-4),
        ("icg", 0.047, 1e-5, 2e-4),
        ("cgls", 0.047, 1e-5, 2e-4),
        ("projection", 0.0453, 0, 1e-9),
        ("gd", 0.05, 1e-3, 1e-2),
    ],
)
def test_table_one_noise_free_from_a_smooth_start_5_percent_off(
    name, error, lowest, highest, paper
):
    operator, rho, start, g = paper
    found = SOLVERS[name]().solve(operator, g, start)
    assert mean_error(start, rho) == pytest.approx(0.05)
    assert mean_error(found.rho, rho) < 0.05
    assert mean_error(found.rho, rho) == pytest.approx(error, abs=1.5e-3)
    misfit = mean_error(operator.transform(found.rho), g)
    assert lowest < misfit < highest
    assert misfit < mean_error(operator.transform(start), g)


def test_projection_beats_the_iterations_it_is_the_limit_of(paper):
    operator, rho, start, g = paper
    errors = {n: mean_error(S().solve(operator, g, start).rho, rho) for n, S in SOLVERS.items()}
    assert min(errors, key=errors.get) == "projection"
    assert max(errors, key=errors.get) == "gd"


# Contract


@NAMES
@ENGINES
def test_history_goes_from_the_starts_misfit_to_the_results(name, engine, problem):
    operator, g, start = problem
    found = solver_of(name, engine).solve(operator, g, start)
    A = matrix_of(operator)
    history = found.residual_history
    assert history.shape == (found.n_iter.max() + 1, len(g))
    before, after = (norms(r @ A.T - g) / norms(g) for r in (start, found.rho))
    np.testing.assert_allclose(history[0], before)
    np.testing.assert_allclose(history[-1], after, rtol=1e-4, atol=1e-7 * before.max())
    for sample, last in enumerate(found.n_iter):
        assert (history[last:, sample] == history[last, sample]).all()


@pytest.mark.parametrize("sigma", [None, 0.2])
@pytest.mark.parametrize("name", ["cgls", "gd", "gmres"])
@ENGINES
def test_misfit_never_rises(name, engine, sigma):
    found = solver_of(name, engine).solve(WIDE, WIDE_G, WIDE_START, sigma=sigma)
    assert (np.diff(found.residual_history, axis=0) <= 1e-12).all()
    assert found.residual_history[-1].max() < found.residual_history[0].min()


@pytest.mark.parametrize("name", ["gd", "gmres", "lgmres", "icg", "cgls"])
@ENGINES
def test_running_out_of_iterations_is_reported(name, engine):
    params = {"restart": 2} if name == "gmres" else {"inner_m": 2} if name == "lgmres" else {}
    found = solver_of(name, engine, max_iter=2, **params).solve(WIDE, WIDE_G, WIDE_START)
    assert not found.converged.any()
    assert len(set(found.n_iter)) == 1
    assert found.n_iter[0] in {2, 4, 5}
    assert solver_of(name, engine).solve(WIDE, WIDE_G, WIDE_START).converged.all()


@pytest.mark.parametrize(
    ("name", "engine", "sigma"),
    [
        *((n, e, s) for n in SOLVERS for e in ENGINE_PAIR for s in (None, 0.3)),
        ("gmres", "scipy", None),
        ("lgmres", "scipy", None),
    ],
)
def test_samples_do_not_know_one_another(name, engine, sigma):
    solver = solver_of(name, engine)
    batch = solver.solve(WIDE, WIDE_G, WIDE_START, sigma=sigma)
    for i in range(5):
        one = solver.solve(WIDE, WIDE_G[[i]], WIDE_START[[i]], sigma=sigma)
        assert relative(one.rho, batch.rho[[i]]) < 1e-8
        assert one.n_iter[0] == batch.n_iter[i]
        assert one.converged[0] == batch.converged[i]


@NAMES
@pytest.mark.parametrize("sigma", [None, 0.3])
def test_many_samples_that_finish_at_different_times_stay_apart(name, sigma):
    A, rho, start = random_problem(30, 50, n_samples=600)
    start = rho + (start - rho) * np.geomspace(1e-7, 10, 600)[:, None]
    order = np.random.default_rng(0).permutation(600)
    solver = solver_of(name)
    batch = solver.solve(A, rho[order] @ A.T, start[order], sigma=sigma)
    if name != "projection":
        assert np.ptp(batch.n_iter) > 2
    for i in range(0, 600, 97):
        one = solver.solve(A, rho[order[[i]]] @ A.T, start[order[[i]]], sigma=sigma)
        assert relative(one.rho, batch.rho[[i]]) < 1e-8
        assert one.n_iter[0] == batch.n_iter[i]
        last = batch.residual_history[-1, i]
        assert last == pytest.approx(one.residual_history[-1, 0], rel=1e-6, abs=1e-12)


@NAMES
@ENGINES
def test_correction_lies_in_the_range_of_the_adjoint(name, engine):
    options = {"reference": "start"} if name == "icg" else {}
    found = solver_of(name, engine, **options).solve(WIDE, WIDE_G, WIDE_START)
    correction = found.rho - WIDE_START
    projected = correction @ WIDE.T @ np.linalg.pinv(WIDE).T
    np.testing.assert_allclose(projected, correction, atol=1e-10)


OPERATORS = {
    "sparse array": csr_array(WIDE),
    "LinearOperator": aslinearoperator(WIDE),
    "MatrixOperator": MatrixOperator(WIDE).fit(WIDE_RHO),
    "float32": WIDE.astype(np.float32),
    "Fortran order": np.asfortranarray(WIDE),
}


@pytest.mark.parametrize("name", ["gd", "gmres", "lgmres", "icg", "cgls"])
@pytest.mark.parametrize("kind", OPERATORS)
def test_operators_of_any_kind_are_solved(name, kind):
    g, sigma = with_noise(WIDE_G, 0.05)
    found = solver_of(name, "auto").solve(OPERATORS[kind], g, WIDE_START, sigma=sigma)
    expected = solver_of(name).solve(WIDE, g, WIDE_START, sigma=sigma)
    assert found.rho.dtype == np.float64
    assert relative(found.rho, expected.rho) < (1e-5 if kind == "float32" else 1e-8)


@NAMES
def test_one_datum_one_cell_one_sample_are_enough(name):
    found = solver_of(name).solve(np.array([[2.0]]), [[4.0]])
    np.testing.assert_allclose(found.rho, [[2.0]], rtol=1e-5)
    wide = solver_of(name).solve(np.array([[3.0, 4.0]]), [[25.0]])
    np.testing.assert_allclose(wide.rho, [[3.0, 4.0]], rtol=1e-5)


@NAMES
@ENGINES
def test_no_start_is_a_start_from_zero(name, engine):
    none, zero = (solver_of(name, engine).solve(WIDE, WIDE_G, r) for r in (None, 0 * WIDE_RHO))
    np.testing.assert_array_equal(none.rho, zero.rho)
    np.testing.assert_allclose(none.residual_history[0], 1)
    np.testing.assert_allclose(none.rho @ WIDE.T, WIDE_G, atol=1e-3)


@NAMES
@ENGINES
@pytest.mark.parametrize("sigma", [None, [[0.0], [0.1]]])
def test_no_gravity_is_no_density(name, engine, sigma):
    g = np.stack([np.zeros(30), WIDE_G[0]])
    found = solver_of(name, engine).solve(WIDE, g, sigma=sigma)
    np.testing.assert_array_equal(found.rho[0], 0)
    assert found.converged[0]
    assert found.residual_history[-1][0] == 0
    assert np.isfinite(found.rho).all()


@NAMES
@ENGINES
def test_data_that_no_density_explains_are_fitted_in_the_least_squares_sense(name, engine):
    found = solver_of(name, engine).solve(TALL, TALL_G, TALL_START)
    expected = TALL_G @ np.linalg.pinv(TALL).T
    np.testing.assert_allclose(found.rho, expected, atol=1e-4)


@NAMES
def test_solving_changes_neither_the_solver_nor_its_input(name):
    solver = solver_of(name)
    params, g, start = solver.get_params(), WIDE_G.copy(), WIDE_START.copy()
    first = solver.solve(WIDE, g, start)
    np.testing.assert_array_equal(g, WIDE_G)
    np.testing.assert_array_equal(start, WIDE_START)
    assert solver.get_params() == params
    assert set(vars(solver)) == set(params)
    again = pickle.loads(pickle.dumps(clone(solver))).solve(WIDE, g, start)
    np.testing.assert_array_equal(again.rho, first.rho)


def test_weighted_svd_is_computed_once(small, monkeypatch):
    operator, _, start, g = small
    sigma = np.linspace(1, 2, operator.n_data_)[None]
    CGLS().solve(operator, g, start, sigma=sigma)
    monkeypatch.setattr("scipy.linalg.svd", None)
    CGLS().solve(operator, g, start, sigma=sigma)
    Projection().solve(operator, g, start, sigma=sigma)


@pytest.mark.parametrize(
    ("solve", "text"),
    [
        (lambda: CGLS().solve(WIDE, WIDE_G[:, 1:]), r"'g' has shape \(5, 29\).*has 30 data"),
        (lambda: CGLS().solve(WIDE, WIDE_G.T), r"'g' has shape \(30, 5\)"),
        (lambda: CGLS().solve(WIDE, WIDE_G, WIDE_RHO[:, 1:]), r"'rho0' has shape \(5, 49\).*50 ce"),
        (lambda: CGLS().solve(WIDE, WIDE_G, WIDE_RHO[1:]), "'rho0' has 4 samples, but 'g' has 5"),
        (lambda: CGLS().solve(WIDE, WIDE_G * np.nan), "Input g contains NaN"),
        (lambda: CGLS().solve(WIDE, WIDE_G, WIDE_RHO + np.inf), "Input rho0 contains infinity"),
        (lambda: CGLS().solve(WIDE, WIDE_G[0]), "Expected 2D array"),
        (lambda: CGLS().solve(WIDE, WIDE_G[:0]), "Found array with 0 sample"),
        (lambda: CGLS().solve(WIDE, WIDE_G, sigma=-1), "'sigma' has minimum -1.* at least 0"),
        (lambda: CGLS().solve(WIDE, WIDE_G, sigma=np.nan), "'sigma' contains NaN"),
        (lambda: CGLS().solve(WIDE, WIDE_G, sigma=[1, 2]), r"'sigma' has shape \(2,\).*\(5, 1\)"),
        (
            lambda: CGLS().solve(WIDE, WIDE_G, sigma=np.arange(1, 151).reshape(5, 30)),
            r"'sigma' has shape \(5, 30\); it must be a number, \(5, 1\) .* or \(1, 30\)",
        ),
        (
            lambda: CGLS().solve(WIDE, WIDE_G, sigma=np.arange(30.0)[None]),
            "'sigma' is zero for some data only",
        ),
        (
            lambda: CGLS(engine="svd").solve(csr_array(WIDE), WIDE_G),
            "engine='svd' needs a matrix, but 'operator' is a csr_array. Use engine='operator'",
        ),
        (
            lambda: Projection(engine="svd").solve(aslinearoperator(WIDE), WIDE_G),
            "engine='svd' needs a matrix, but 'operator' is a .*. Use engine='operator'",
        ),
        (
            lambda: ICG(depth_weighting="sensitivity").solve(csr_array(WIDE), WIDE_G),
            "'depth_weighting' is 'sensitivity', but 'operator' is a csr_array, .* Take None",
        ),
        (
            lambda: ICG(depth_weighting=1.0).solve(WIDE, WIDE_G),
            "(?s)'depth_weighting' is 1.0, but .* has no mesh to define depths. Give 'operator', a",
        ),
        (lambda: GMRES(engine="gpu").solve(WIDE, WIDE_G), "The 'engine' parameter .*'gpu'"),
        (lambda: CGLS(engine="scipy").solve(WIDE, WIDE_G), "The 'engine' parameter .*'scipy'"),
        (lambda: GMRES(restart=0).solve(WIDE, WIDE_G), "The 'restart' parameter"),
        (lambda: LGMRES(outer_k=-1).solve(WIDE, WIDE_G), "The 'outer_k' parameter"),
        (lambda: GradientDescent(step_size=0.0).solve(WIDE, WIDE_G), "The 'step_size' parameter"),
        (lambda: ICG(damping_factor=1.5).solve(WIDE, WIDE_G), "The 'damping_factor' parameter"),
        (lambda: CGLS(tol=0).solve(WIDE, WIDE_G), "The 'tol' parameter"),
        (lambda: Projection(rcond=1.0).solve(WIDE, WIDE_G), "The 'rcond' parameter"),
    ],
)
def test_bad_input_is_refused(solve, text):
    with pytest.raises(ValueError, match=text):
        solve()


def test_operator_must_be_fitted():
    with pytest.raises(NotFittedError):
        CGLS().solve(ForwardOperator(Mesh.square(2)), np.zeros((1, 12)))


@pytest.mark.parametrize("copies", [1, 2, 3])
def test_no_station_of_an_area_is_its_own_neighbour(copies):
    places = np.insert(np.random.default_rng(0).uniform(0, 1000, (50, 2)), 0, 0.0, axis=1)
    first, second = _neighbours(Survey(np.tile(places, (copies, 1)), ("z",)))
    assert len(first) == 50 * copies
    assert np.all(first != second)
