"""Refining of volumes: by FFTs, without a matrix of data by cells, within bounds or free."""

import tracemalloc
from functools import cache

import numpy as np
import pytest
from conftest import with_noise
from scipy.ndimage import gaussian_filter
from scipy.sparse import csr_array
from scipy.sparse.linalg import aslinearoperator

from skgrav import ForwardOperator, Mesh, Refiner, Survey, TikhonovInverter
from skgrav.operators import DenseMatrix, decomposed_gram
from skgrav.solvers import CGLS, LGMRES, GradientDescent, Projection, Status

MESH = Mesh.regular((6, 11, 13), 100.0)
#: Stations of differing noise over columns of cells, low, and higher up, where the operator is
#: badly conditioned.
LOW, HIGH = 5.0, 400.0
BOUNDS = (0.0, 1000.0)
LEVEL = 0.01
SOLVERS = {
    "projection": "projection",
    "within bounds": Projection(bounds=BOUNDS),
    "lgmres": "lgmres",
    "gmres": "gmres",
    "icg": "icg",
    "gd": GradientDescent(step_size="auto"),
    "cgls": "cgls",
    "lsmr": "lsmr",
    "tikhonov": "tikhonov",
}
EACH_SOLVER = pytest.mark.parametrize("name", SOLVERS)


def operator(method="fft", height=LOW, **survey):
    grid = Survey.grid(MESH, height=height)
    return ForwardOperator(MESH, Survey(grid.stations, "z", **survey), method=method).fit()


@cache
def problem(height=LOW):
    """Give noisy data of compact bodies, the bodies, and the bodies blurred."""
    rng = np.random.default_rng(0)
    rho = np.zeros((4, *MESH.shape))
    for body in rho:
        for _ in range(3):
            z, y, x = (rng.integers(0, n - 2) for n in MESH.shape)
            body[z : z + 3, y : y + 3, x : x + 3] = 1000.0
    blurred = np.stack([gaussian_filter(body, 1.0) for body in rho]).reshape(4, -1)
    rho = rho.reshape(4, -1)
    return with_noise(operator(height=height).transform(rho), LEVEL), rho, blurred


def refined(solver, operator, height=LOW, level=LEVEL):
    g, rho, start = problem(height)
    refiner = Refiner(solver, operator=operator, noise_level=level)
    X = np.hstack([start, g])
    return refiner.fit(X[:1], rho[:1]).refine(X)


def chi_factor(rho, height=LOW):
    g = problem(height)[0]
    sigma2 = LEVEL**2 * np.mean(g**2, axis=1)
    return np.mean((g - operator(height=height).transform(rho)) ** 2, axis=1) / sigma2


def errors(rho):
    return np.linalg.norm(rho - problem()[1], axis=1)


def without_matrix(monkeypatch):
    """Let no matrix of data by cells be built."""

    def refused(*args, **kwargs):
        raise AssertionError("a matrix was built")

    monkeypatch.setattr(DenseMatrix, "__init__", refused)


@EACH_SOLVER
@pytest.mark.parametrize("method", ["fft", "anywhere"])
def test_volumes_are_fitted_to_their_noise_without_a_matrix(name, method, monkeypatch):
    if name != "tikhonov":  # which takes the matrix of so few cells
        without_matrix(monkeypatch)
    found = refined(SOLVERS[name], operator(method))
    assert found.converged.all()
    chi = chi_factor(found.rho)
    assert 0.95 < chi.min() <= chi.max() < 1.3  # the 95 % quantile of 143 data is 1.2
    start = problem()[2]
    assert chi_factor(start).min() > 1.5
    assert (errors(found.rho) <= 1.01 * errors(start)).all()
    if name == "within bounds":
        assert BOUNDS[0] <= found.rho.min() <= found.rho.max() <= BOUNDS[1]


@EACH_SOLVER
def test_volumes_are_those_of_the_decomposed_matrix(name):
    found, dense = (refined(SOLVERS[name], operator(m)) for m in ("fft", "dense"))
    tolerance = {"within bounds": 1.0, "tikhonov": 0.1}.get(name, 1e-5)  # kg/m3
    np.testing.assert_allclose(found.rho, dense.rho, 0, tolerance)
    np.testing.assert_array_equal(found.status, dense.status)
    if name != "tikhonov":
        np.testing.assert_array_equal(found.n_iter, dense.n_iter)
        np.testing.assert_allclose(found.residual_history, dense.residual_history, 1e-3)


def test_bounds_lower_the_error_of_the_projection():
    free, within = (refined(SOLVERS[k], operator()).rho for k in ("projection", "within bounds"))
    assert errors(within).mean() < 0.999 * errors(free).mean()


def test_memory_is_far_below_that_of_the_matrix():
    mesh = Mesh.regular((10, 16, 16), 50.0)
    large = ForwardOperator(mesh, Survey.grid(mesh, height=1.0), method="fft").fit()
    rho = 1000.0 * (np.random.default_rng(0).random((3, mesh.n_cells)) < 0.05)
    g = with_noise(large.transform(rho), LEVEL)
    for solver in (Projection(bounds=BOUNDS), LGMRES()):
        fresh = ForwardOperator(mesh, Survey.grid(mesh, height=1.0), method="fft").fit()
        sigma = LEVEL * np.sqrt(np.mean(g**2, axis=1, keepdims=True))
        tracemalloc.start()
        assert solver.solve(fresh, g, 0.8 * rho, sigma=sigma).converged.all()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 0.75 * 8 * mesh.n_cells * large.n_data_


@pytest.mark.parametrize("weighting", [None, "sensitivity", 2.0])
@pytest.mark.parametrize("trend", [None, 1])
def test_weights_and_trends_are_those_of_the_decomposed_matrix(weighting, trend):
    rng = np.random.default_rng(0)
    survey = {"uncertainty": rng.uniform(0.01, 0.05, operator().n_data_), "trend": trend}
    g, _, start = problem()
    found = [
        LGMRES(depth_weighting=weighting).solve(operator(m, **survey), g, start)
        for m in ("fft", "dense")
    ]
    np.testing.assert_allclose(found[0].rho, found[1].rho, 0, 1e-4)
    assert np.abs(found[0].rho - start).max() > 1.0


# Which decomposition


def gram(operator):
    return decomposed_gram(operator, operator.survey_ and whitening(operator), 1.0)


def whitening(operator):
    from skgrav.noise import Noise

    return Noise.of(operator, n_data=operator.n_data_).whitening


def test_gram_has_the_singular_values_of_the_matrix():
    found = gram(operator())
    U, s, _ = operator("dense").svd_
    np.testing.assert_allclose(found.s, s, 1e-12)
    np.testing.assert_allclose(np.abs(np.sum(found.U * U, axis=0)), 1.0, 1e-6)


def test_badly_conditioned_operators_are_decomposed_by_their_matrix():
    assert gram(operator(height=HIGH)) is None
    assert gram(operator("dense")) is None
    for solver in (Projection(), Projection(bounds=BOUNDS)):
        found, dense = (refined(solver, operator(m, HIGH), HIGH) for m in ("fft", "dense"))
        np.testing.assert_allclose(found.rho, dense.rho, 0, 1e-3)


def test_decomposition_is_kept_and_shared_until_the_operator_is_fitted_anew(monkeypatch):
    fitted = operator()
    first = gram(fitted)
    assert gram(fitted) is first
    assert gram(operator()) is first  # of an equal operator
    fitted.set_params(survey=Survey.grid(MESH, height=20.0)).fit()
    assert np.abs(gram(fitted).s / first.s - 1).max() > 0.01


# Projection by products


def test_projection_by_products_is_that_of_the_svd():
    g, _, start = problem()
    sigma = LEVEL * np.sqrt(np.mean(g**2, axis=1, keepdims=True))
    for bounds in (None, BOUNDS):
        svd = Projection(bounds=bounds, engine="svd").solve(operator(), g, start, sigma=sigma)
        for given in (operator(), csr_array(operator("dense").matrix_)):
            solver = Projection(bounds=bounds, engine="operator")
            found = solver.solve(given, g, start, sigma=sigma)
            assert found.converged.all()
            np.testing.assert_allclose(found.rho, svd.rho, 0, 1.0)


def test_operators_without_a_matrix_are_projected_by_products():
    g, _, start = problem()
    linear = aslinearoperator(operator("dense").matrix_)
    exact = Projection().solve(operator("dense"), g, start)
    found = Projection().solve(linear, g, start)
    assert found.converged.all()
    assert found.residual_history[-1].max() < 1e-5
    np.testing.assert_allclose(found.rho, exact.rho, 0, 0.1)


def test_bounds_without_noise_are_fitted_as_exactly_as_with_a_matrix():
    g, rho, start = problem()
    g = operator().transform(rho)
    found, dense = (
        Projection(bounds=BOUNDS).solve(operator(m), g, start) for m in ("fft", "dense")
    )
    np.testing.assert_allclose(found.rho, dense.rho, 0, 1e-4)
    assert found.residual_history[-1].max() < 1e-8


def test_start_that_fits_is_kept_and_bounds_that_contradict_the_data_are_told():
    g, rho, _ = problem()
    sigma = LEVEL * np.sqrt(np.mean(g**2, axis=1, keepdims=True))
    kept = Projection(bounds=(0, 2000)).solve(operator(), g, rho, sigma=1.2 * sigma)
    np.testing.assert_array_equal(kept.rho, rho)
    for engine in ("auto", "operator"):
        solver = Projection(bounds=(0.0, 10.0), engine=engine)
        found = solver.solve(operator(), g, np.zeros_like(rho), sigma=sigma)
        np.testing.assert_array_equal(found.status, Status.BOUNDS)
        assert 0.0 <= found.rho.min() <= found.rho.max() <= 10.0


# Gradient descent


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_gradient_descent_that_ran_out_of_steps_is_no_noise():
    g, _, start = problem()
    sigma = LEVEL * np.sqrt(np.mean(g**2, axis=1, keepdims=True))
    for engine in ("svd", "operator", "auto"):
        found = GradientDescent(engine=engine, max_iter=5).solve(operator(), g, start, sigma=sigma)
        np.testing.assert_array_equal(found.status, Status.MAX_ITER)
        np.testing.assert_array_equal(found.n_iter, 5)
    assert CGLS().solve(operator(), g, start, sigma=sigma).converged.all()


def test_tikhonov_within_bounds_departs_from_the_start_as_the_projection_does():
    found = refined(TikhonovInverter(order=0, bounds=BOUNDS), operator())
    projected = refined(Projection(bounds=BOUNDS, chi_factor=1.0), operator())
    np.testing.assert_allclose(found.rho, projected.rho, 0, 1.0)
