"""Solvers against SciPy, closed forms and the paper's own loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from solver_problems import (
    ENGINE_PAIR,
    ENGINES,
    OURS_SCIPY,
    TALL,
    TALL_G,
    TALL_START,
    WIDE,
    WIDE_G,
    WIDE_START,
    mean_error,
    norms,
    random_problem,
    relative,
    with_noise,
)

from skgrav import ForwardOperator
from skgrav.solvers import CGLS, GMRES, ICG, LGMRES, GradientDescent, Projection

# GMRES and LGMRES against SciPy


@pytest.mark.parametrize("solver", [GMRES(restart=60), LGMRES(inner_m=60)], ids=["gmres", "lgmres"])
@pytest.mark.parametrize("from_zero", [False, True])
@ENGINES
def test_krylov_equals_scipy_where_no_restart_happens(solver, engine, from_zero, problem):
    operator, g, start = problem
    start = None if from_zero else start
    ours = clone(solver).set_params(engine=engine).solve(operator, g, start)
    scipy = clone(solver).set_params(engine="scipy").solve(operator, g, start)
    assert ours.n_iter.max() < 60
    # From zero the paper's operator needs 17 products, in which SciPy's basis loses orthogonality:
    # against 60 digits it is off by 4e-5, ours by 2e-6.
    tolerance = 1e-4 if from_zero and isinstance(operator, ForwardOperator) else 1e-9
    assert relative(ours.rho, scipy.rho) < tolerance
    assert ours.converged.all()
    assert scipy.converged.all()


@pytest.mark.parametrize(
    "solver",
    [GMRES(restart=5), LGMRES(inner_m=5, outer_k=3), LGMRES(inner_m=8)],
    ids=["gmres", "lgmres", "lgmres, all steps kept"],
)
def test_krylov_is_as_good_as_scipy_after_restarts(solver, small):
    operator, rho, start, g = small
    ours, scipy = (clone(solver).set_params(engine=e).solve(operator, g, start) for e in OURS_SCIPY)
    assert ours.n_iter.min() > 10
    gradient = norms((g - operator.transform(ours.rho)) @ operator.matrix_)
    assert (gradient <= 1e-6 * norms(g @ operator.matrix_)).all()
    misfit, reference = (np.mean(r.residual_history[-1]) for r in (ours, scipy))
    assert misfit == pytest.approx(reference, rel=0.15)  # measured: up to 0.05
    assert mean_error(ours.rho, rho) == pytest.approx(mean_error(scipy.rho, rho), rel=0.01)


@pytest.mark.parametrize(
    "solver", [GMRES(restart=5), LGMRES(inner_m=5), LGMRES(inner_m=5, outer_k=0)], ids=str
)
def test_krylov_equals_scipy_even_after_restarts_of_a_well_conditioned_problem(solver):
    ours, scipy = (
        clone(solver).set_params(engine=e).solve(WIDE, WIDE_G, WIDE_START) for e in OURS_SCIPY
    )
    assert ours.n_iter.min() > 5
    assert relative(ours.rho, scipy.rho) < 1e-9


def test_scipy_engine_refuses_noise():
    with pytest.raises(ValueError, match="engine='scipy' is the paper's noise-free reference"):
        GMRES(engine="scipy").solve(WIDE, WIDE_G, sigma=0.1)
    GMRES(engine="scipy", max_iter=1).solve(WIDE, WIDE_G, sigma=0.0)


# The projection


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_noise_free_projection_is_pythagoras(n_data, n_cells, seed):
    A, rho, start = random_problem(n_data, n_cells, 3, seed)
    g = rho @ A.T
    found = Projection(rcond=1e-12).solve(A, g, start).rho
    assert (norms(found - rho) <= norms(start - rho) * (1 + 1e-9)).all()
    np.testing.assert_allclose(
        norms(start - rho) ** 2, norms(found - rho) ** 2 + norms(found - start) ** 2, rtol=1e-6
    )
    condition = np.linalg.cond(A)
    assert (norms(found @ A.T - g) <= 1e-14 * (condition + 100) * norms(g)).all()


def test_noise_free_projection_is_the_pseudo_inverse_on_the_residual():
    expected = WIDE_START + (WIDE_G - WIDE_START @ WIDE.T) @ np.linalg.pinv(WIDE).T
    np.testing.assert_allclose(Projection().solve(WIDE, WIDE_G, WIDE_START).rho, expected)


@pytest.mark.parametrize(
    "solver", [CGLS(tol=1e-12), GMRES(tol=1e-12, restart=60), LGMRES(tol=1e-12, inner_m=60)]
)
@pytest.mark.parametrize("case", ["wide", "tall"])
@ENGINES
def test_iterations_converge_to_the_projection(solver, engine, case):
    problem = (WIDE, WIDE_G, WIDE_START) if case == "wide" else (TALL, TALL_G, TALL_START)
    found = clone(solver).set_params(engine=engine).solve(*problem)
    assert found.converged.all()
    assert relative(found.rho, Projection().solve(*problem).rho) < 1e-9


def test_projection_leaves_small_singular_values_alone():
    A = np.diag([1.0, 1e-3])
    np.testing.assert_allclose(Projection(rcond=1e-2).solve(A, [[1.0, 1.0]]).rho, [[1, 0]])
    np.testing.assert_allclose(Projection().solve(A, [[1.0, 1.0]]).rho, [[1, 1000]])


def test_damped_projection_is_tikhonovs():
    g, sigma = with_noise(WIDE_G, 0.1)
    step = Projection().solve(WIDE, g, WIDE_START, sigma=sigma).rho - WIDE_START
    residual = g - WIDE_START @ WIDE.T
    # (A^T A + alpha) step = A^T residual with one alpha for all cells.
    gradient = residual @ WIDE - step @ WIDE.T @ WIDE
    alpha = np.sum(gradient * step, axis=1) / np.sum(step**2, axis=1)
    assert (alpha > 0).all()
    np.testing.assert_allclose(gradient, alpha[:, None] * step, atol=1e-9)


# Gradient descent


@ENGINES
@pytest.mark.parametrize("max_iter", [1, 100])
def test_gradient_descent_is_the_papers_loop(engine, max_iter, small):
    operator, _, start, g = small
    eta, A = 1e-3, operator.matrix_
    rho = start.copy()
    for _ in range(max_iter):
        rho += eta * (g - rho @ A.T) @ A
    found = GradientDescent(step_size=eta, max_iter=max_iter, engine=engine).solve(
        operator, g, start
    )
    assert relative(found.rho, rho) < 1e-12
    assert (found.n_iter == max_iter).all()


@pytest.mark.parametrize("sigma", [None, 0.5])
def test_closed_form_of_gradient_descent_equals_its_loop(sigma):
    solver = GradientDescent(step_size=0.9 / np.linalg.norm(WIDE, 2) ** 2, max_iter=300, tol=1e-3)
    closed, loop = (
        clone(solver).set_params(engine=e).solve(WIDE, WIDE_G, WIDE_START, sigma=sigma)
        for e in ENGINE_PAIR
    )
    assert relative(closed.rho, loop.rho) < 1e-12
    np.testing.assert_array_equal(closed.n_iter, loop.n_iter)
    np.testing.assert_array_equal(closed.converged, loop.converged)
    assert closed.converged.all()
    np.testing.assert_allclose(closed.residual_history, loop.residual_history, rtol=1e-9)


@ENGINES
def test_gradient_descent_refuses_a_step_beyond_its_stable_limit(engine):
    limit = 2 / np.linalg.norm(WIDE, 2) ** 2
    text = rf"'step_size' is {1.01 * limit:g}, beyond the stable limit .*Take a smaller step, or"
    with pytest.raises(ValueError, match=text):
        GradientDescent(step_size=1.01 * limit, engine=engine).solve(WIDE, WIDE_G)
    found = GradientDescent(step_size=0.99 * limit, engine=engine).solve(WIDE, WIDE_G)
    assert (np.diff(found.residual_history, axis=0) <= 0).all()


# Conjugate gradients with weights


def icg_by_the_book(A, g, start, w_d, w_m, damping_factor, n_iter, reference):
    """Run PAPER's reconstruction of ICG, one sample, one step after the other."""
    S = w_d[:, None] * A / w_m
    m, origin = w_m * start, (w_m * start if reference == "start" else 0.0)
    e = w_d * g - S @ m
    alpha = e @ e / (m @ m)
    p, r_old = 0.0, None
    for _ in range(n_iter):
        r = S.T @ e - alpha * (m - origin)
        p = r if r_old is None else r + (r @ r) / (r_old @ r_old) * p
        u = S @ p
        t = r @ p / (u @ u + alpha * p @ p)
        m, e = m + t * p, e - t * u
        alpha, r_old = alpha * damping_factor, r
    return m / w_m


@pytest.mark.parametrize("reference", ["zero", "start"])
@pytest.mark.parametrize("weighting", [None, "sensitivity", 1.0])
@pytest.mark.parametrize("n_iter", [1, 2, 15])
@ENGINES
def test_icg_is_the_papers_reconstruction(engine, n_iter, weighting, reference, small):
    operator, _, start, g = small
    A = operator.matrix_
    depth = np.repeat(operator.mesh_.centers[0] - operator.survey_.stations[0, 0], 20)
    columns = norms(A.T).reshape(20, 20)
    layers = np.sum(columns**2, axis=1) / np.sum(columns, axis=1)
    w_m = {
        None: np.ones(400),
        "sensitivity": np.repeat(layers**0.5, 20),
        1.0: depth**-0.5,
    }[weighting]
    expected = [
        icg_by_the_book(A, data, rho, np.ones(len(A)), w_m, 0.25, n_iter, reference)
        for data, rho in zip(g, start, strict=True)
    ]
    found = ICG(
        depth_weighting=weighting, reference=reference, max_iter=n_iter, engine=engine
    ).solve(operator, g, start)
    assert relative(found.rho, np.array(expected)) < 1e-10
    assert (found.n_iter == n_iter).all()


@pytest.mark.parametrize("reference", ["zero", "start"])
@pytest.mark.parametrize("weighting", [None, "sensitivity"])
@pytest.mark.parametrize("cut", ["step", "stall"])
@pytest.mark.parametrize("damping_factor", [0.25, 0.7])
@pytest.mark.parametrize("noise", ["none", "relative", "per datum"])
def test_icg_engines_agree_for_each_option(reference, weighting, cut, damping_factor, noise):
    g, sigma = with_noise(WIDE_G, 0.05)
    sigma = {"none": None, "relative": sigma, "per datum": np.linspace(0.2, 0.4, 30)[None]}[noise]
    svd, plain = (
        ICG(
            depth_weighting=weighting,
            reference=reference,
            cut=cut,
            damping_factor=damping_factor,
            max_iter=30,
            engine=engine,
        ).solve(WIDE, g, WIDE_START, sigma=sigma)
        for engine in ENGINE_PAIR
    )
    assert relative(svd.rho, plain.rho) < 1e-10
    np.testing.assert_array_equal(svd.n_iter, plain.n_iter)


@pytest.mark.parametrize("options", [{}, {"cut": "stall"}, {"reference": "start"}], ids=str)
@ENGINES
def test_icg_fits_noise_free_data(options, engine):
    found = ICG(max_iter=500, engine=engine, **options).solve(WIDE, WIDE_G, WIDE_START)
    assert found.converged.all()
    assert (norms(found.rho @ WIDE.T - WIDE_G) <= 1.01e-6 * norms(WIDE_G)).all()


@pytest.mark.parametrize("reference", ["zero", "start"])
@ENGINES
def test_icg_that_never_cuts_is_tikhonov(engine, reference):
    found = ICG(damping_factor=1.0, reference=reference, engine=engine, max_iter=300).solve(
        WIDE, WIDE_G, WIDE_START
    )
    for rho, g, start in zip(found.rho, WIDE_G, WIDE_START, strict=True):
        alpha = np.sum((g - WIDE @ start) ** 2) / np.sum(start**2)
        origin = start if reference == "start" else 0 * start
        normal = WIDE.T @ WIDE + alpha * np.eye(50)
        expected = origin + np.linalg.solve(normal, WIDE.T @ (g - WIDE @ origin))
        np.testing.assert_allclose(rho, expected, atol=1e-6)


def test_model_weights_put_a_deep_body_deeper(small):
    operator = small[0]
    body = np.zeros((1, 20, 20))
    body[:, 10:13, 8:12] = 1
    g, sigma = with_noise(operator.transform(body.reshape(1, 400)), 0.01)
    depths = []
    for weighting in (None, "sensitivity", 1.0):
        found = ICG(depth_weighting=weighting).solve(operator, g, sigma=sigma).rho
        layers = operator.mesh_.unflatten(np.maximum(found, 0))[0].sum(axis=1)
        depths.append(np.average(np.arange(20), weights=layers))
    assert depths[0] + 0.2 < min(depths[1:])
