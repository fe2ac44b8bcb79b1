"""Solvers and Tikhonov's regularisation on operators that are applied, never decomposed."""

import numpy as np
import pytest
from scipy.sparse.linalg import LinearOperator, lsmr
from sklearn.exceptions import ConvergenceWarning

from skgrav import ForwardOperator, MatrixOperator, Mesh, Refiner, Survey, TikhonovInverter
from skgrav.inverters import _tikhonov
from skgrav.operators import _base, _ways
from skgrav.solvers import CGLS, GMRES, LGMRES, LSMR
from skgrav.solvers import SOLVERS as SOLVER_TYPES

MESH = Mesh([[0, 1, 2, 4], np.arange(7.0), np.arange(6.0)])
SURVEY = Survey.grid(MESH, height=0.5, shape=(8, 9))
OPERATOR = ForwardOperator(MESH, SURVEY, units="normalized").fit()
SOLVERS = [
    CGLS(tol=1e-12, max_iter=200),
    LSMR(tol=1e-12, max_iter=200),
    GMRES(tol=1e-12, restart=80),
    LGMRES(tol=1e-12, inner_m=80),
]
LARGE = Mesh.regular((20, 70, 65), 50.0)


def gravity(operator, n_samples=3, noise=0.01, seed=0):
    """Give densities and their noisy gravity."""
    rng = np.random.default_rng(seed)
    rho = rng.uniform(0, 1, (n_samples, operator.n_cells_))
    g = operator.transform(rho)
    rms = np.sqrt(np.mean(g**2, axis=1, keepdims=True))
    return rho, g + noise * rms * rng.normal(size=g.shape)


@pytest.fixture
def undecomposed(monkeypatch):
    """Make every operator count as too large to decompose."""
    monkeypatch.setattr(_base, "SVD_SIZE", 1)


@pytest.fixture(scope="module")
def large():
    """Give an operator of 4,550 data and 91,000 cells, two bodies, and their noisy gravity."""
    survey = Survey.grid(LARGE, height=25.0)
    truth = np.zeros(LARGE.shape)
    truth[4:10, 20:35, 20:40] = 300.0
    truth[6:12, 45:55, 35:50] = -200.0
    clean = ForwardOperator(LARGE, survey).fit().transform(truth.reshape(1, -1))
    sigma = 0.01 * np.sqrt(np.mean(clean**2))
    operator = ForwardOperator(LARGE, Survey(survey.stations, "z", uncertainty=sigma)).fit()
    assert operator.plan_.method == "fft"
    return operator, truth, clean + sigma * np.random.default_rng(0).normal(size=clean.shape)


@pytest.mark.parametrize("n_iter", [1, 2, 7])
@pytest.mark.parametrize("engine", ["svd", "operator"])
def test_lsmr_takes_the_steps_of_scipys(n_iter, engine):
    rho0, g = gravity(OPERATOR)
    rho0 = rho0[::-1]
    found = LSMR(tol=1e-14, max_iter=n_iter, engine=engine).solve(OPERATOR, g, rho0)
    for i in range(len(g)):
        residual = g[i] - OPERATOR.matrix_ @ rho0[i]
        step = lsmr(OPERATOR.matrix_, residual, atol=0, btol=0, conlim=0, maxiter=n_iter)[0]
        scale = np.abs(step).max()
        np.testing.assert_allclose(found.rho[i] - rho0[i], step, atol=1e-9 * scale)


def test_gradient_of_lsmr_falls_with_every_iteration():
    _, g = gravity(OPERATOR, 1)
    norms = [
        np.linalg.norm(OPERATOR.adjoint(g - OPERATOR.transform(result.rho)))
        for n in range(1, 30)
        if (result := LSMR(tol=1e-14, max_iter=n).solve(OPERATOR, g))
    ]
    assert (np.diff(norms) <= 1e-12 * norms[0]).all()


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("weighting", [2.0, "sensitivity"])
@pytest.mark.parametrize("engine", ["svd", "operator"])
def test_depth_weighted_corrections_are_least_in_their_norm(solver, weighting, engine):
    n_cells = OPERATOR.n_cells_
    tall = Survey.grid(MESH, height=0.5, shape=(4, 4))
    operator = ForwardOperator(MESH, tall, units="normalized").fit()
    rho0, g = gravity(operator, noise=0.0)
    rho0 = rho0[::-1]
    if weighting == 2.0:
        weights = np.repeat(1.0 / (MESH.centers[0] + 0.5), n_cells // 3)
    else:
        norms, volumes = operator.column_norms_.reshape(3, -1), MESH.volumes.reshape(3, -1)
        layers = np.sum(norms**2, axis=1) / np.sum(volumes * norms, axis=1)
        weights = np.repeat(np.sqrt(layers), n_cells // 3)
    A = operator.matrix_ / weights
    expected = rho0 + (g - rho0 @ operator.matrix_.T) @ np.linalg.pinv(A).T / weights
    solver = type(solver)(**solver.get_params() | {"depth_weighting": weighting, "engine": engine})
    found = solver.solve(operator, g, rho0)
    np.testing.assert_allclose(found.rho, expected, atol=2e-5)
    assert np.linalg.norm((found.rho - rho0) * weights) < np.linalg.norm(
        (CGLS(tol=1e-12).solve(operator, g, rho0).rho - rho0) * weights
    )


@pytest.mark.parametrize("solver", [CGLS, LSMR, GMRES, LGMRES])
def test_depth_weighting_moves_what_is_deep_and_conditions_the_system(solver):
    rho = np.zeros((1, *MESH.shape))
    rho[0, 2, 3, 2] = 1.0
    g = OPERATOR.transform(rho.reshape(1, -1))
    depth = {}
    for weighting in (None, 2.0):
        found = solver(depth_weighting=weighting).solve(OPERATOR, g, sigma=1e-3 * g.max()).rho
        layers = np.sum(MESH.unflatten(found)[0] ** 2, axis=(1, 2))
        depth[weighting] = layers @ MESH.centers[0] / layers.sum()
    assert depth[2.0] > depth[None] + 0.15


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("method", ["fft", "rows"])
def test_solvers_find_the_same_with_products_alone(solver, method, undecomposed):
    rho0, g = gravity(OPERATOR)
    applied = ForwardOperator(MESH, SURVEY, units="normalized", method=method).fit()
    sigma = 0.01 * np.sqrt(np.mean(g**2, axis=1, keepdims=True))
    solver = type(solver)(**solver.get_params() | {"depth_weighting": "sensitivity"})
    found = solver.solve(applied, g, rho0[::-1], sigma=sigma)
    dense = solver.set_params(engine="svd").solve(OPERATOR, g, rho0[::-1], sigma=sigma)
    # To the noise both take the same steps, whose roundings differ.
    np.testing.assert_array_equal(found.n_iter, dense.n_iter)
    np.testing.assert_allclose(found.rho, dense.rho, atol=1e-6)


@pytest.mark.parametrize("weighting", [2.0, "sensitivity"])
def test_depth_weighting_of_what_has_no_depth_is_refused(weighting):
    matrix = OPERATOR.matrix_
    g = np.ones((1, len(matrix)))
    blind = LinearOperator(matrix.shape, matvec=matrix.dot, rmatvec=matrix.T.dot)
    with pytest.raises(ValueError, match=f"'depth_weighting' is {weighting!r}"):
        LSMR(depth_weighting=weighting).solve(blind, g)
    with pytest.raises(ValueError, match="which engine='scipy' does not support"):
        GMRES(depth_weighting=weighting, engine="scipy").solve(OPERATOR, g)
    by_columns = LSMR(depth_weighting="sensitivity")
    given = MatrixOperator(matrix).fit(np.ones((1, matrix.shape[1])))
    np.testing.assert_allclose(by_columns.solve(matrix, g).rho, by_columns.solve(given, g).rho)


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("weighting", [None, 2.0, "sensitivity"])
@pytest.mark.parametrize("alpha", ["discrepancy", 0.1])
@pytest.mark.parametrize("per_datum", [False, True])
def test_tikhonov_by_lanczos_is_tikhonov(order, weighting, alpha, per_datum, monkeypatch):
    _, g = gravity(OPERATOR)
    survey, level = SURVEY, 0.01
    if per_datum:
        uncertainty = np.random.default_rng(0).uniform(0.005, 0.02, g.shape[1]) * g.std()
        survey, level = Survey(SURVEY.stations, "z", uncertainty), None
    results = []
    for method, size in (("dense", 4000), ("fft", 1)):
        monkeypatch.setattr(_base, "SVD_SIZE", size)
        operator = ForwardOperator(MESH, survey, units="normalized", method=method)
        inverter = TikhonovInverter(
            alpha, order=order, depth_weighting=weighting, noise_level=level, operator=operator
        )
        results.append(inverter.set_params(reference=0.2, tol=1e-6).fit(g).invert(g))
    dense, applied = results
    assert applied.converged.all()
    assert (applied.n_iter > 1).all()
    np.testing.assert_allclose(applied.rho, dense.rho, atol=1e-4)
    np.testing.assert_allclose(applied.alpha, dense.alpha, rtol=1e-4)
    np.testing.assert_allclose(applied.misfit, dense.misfit, rtol=1e-5)
    np.testing.assert_allclose(applied.model_norm, dense.model_norm, rtol=1e-5)


def test_data_below_their_noise_are_fitted_by_the_reference(undecomposed):
    g = 1e-3 * np.random.default_rng(0).normal(size=(2, OPERATOR.n_data_))
    inverter = TikhonovInverter(noise_level=2.0, operator=OPERATOR, reference=0.0).fit(g)
    with pytest.warns(UserWarning, match="2 of 2 samples differ from 'reference' by less than"):
        result = inverter.invert(g)
    np.testing.assert_array_equal(result.rho, 0.0)
    assert np.isinf(result.alpha).all()
    assert result.converged.all()


def test_too_few_iterations_are_told(undecomposed):
    _, g = gravity(OPERATOR)
    inverter = TikhonovInverter(noise_level=0.001, operator=OPERATOR, max_iter=4)
    with pytest.warns(ConvergenceWarning, match="did not converge within 'max_iter'"):
        inverter.fit(g).predict(g)


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("alpha", ["discrepancy", 20.0])
def test_bounds_by_products_are_those_of_a_matrix(order, alpha, monkeypatch):
    rho, g = gravity(OPERATOR)
    lower, upper = np.full((2, rho.shape[1]), [[0.1], [0.9]])
    lower[-6:] = upper[-6:] = 0.5  # known
    inverter = TikhonovInverter(
        alpha, order=order, bounds=(lower, upper), noise_level=0.01, operator=OPERATOR, tol=1e-5
    )
    expected = inverter.fit(g).invert(g)
    monkeypatch.setattr(_base, "SVD_SIZE", 1)
    found = inverter.fit(g).invert(g)
    assert found.converged.all()
    assert (found.rho >= lower).all()
    assert (found.rho <= upper).all()
    np.testing.assert_allclose(found.chi_factor, expected.chi_factor, rtol=1e-3)
    np.testing.assert_allclose(found.rho, expected.rho, atol=1e-3)
    assert ((found.rho == lower) | (found.rho == upper)).sum() > 18


@pytest.mark.parametrize("order", [0, 1])
def test_decomposition_that_does_not_pay_is_left_until_curves_need_it(order, monkeypatch):
    fft = ForwardOperator(MESH, SURVEY, units="normalized", method="fft").fit()
    _, g = gravity(fft)
    inverter = TikhonovInverter(order=order, noise_level=0.01, operator=fft, tol=1e-10)
    decomposed = inverter.fit(g).invert(g)
    curve = inverter.alpha_curve(g, alphas=[0.1, 1.0])
    monkeypatch.setattr(_tikhonov, "_DECOMPOSED", 0.0)
    result = inverter.fit(g).invert(g)
    assert (decomposed.n_iter == 1).all()
    assert (result.n_iter > 1).all()
    np.testing.assert_allclose(result.alpha, decomposed.alpha, rtol=1e-4)
    scale = np.abs(decomposed.rho).max()
    np.testing.assert_allclose(result.rho, decomposed.rho, atol=1e-4 * scale)
    again = inverter.alpha_curve(g, alphas=[0.1, 1.0])
    np.testing.assert_array_equal(again.misfit, curve.misfit)


@pytest.mark.parametrize("order", [0, 1])
def test_volume_is_inverted_to_its_noise_without_a_matrix(order, large, monkeypatch):
    operator, truth, g = large
    monkeypatch.setattr(_ways, "sensitivity", None)  # nobody may build one
    inverter = TikhonovInverter(order=order, depth_weighting=2.0, operator=operator).fit(g)
    result = inverter.invert(g)
    chi = result.misfit[0] ** 2 / operator.n_data_
    assert abs(chi - 1.0) < 1e-3
    found = LARGE.unflatten(result.rho)[0]
    # The bodies are where they were, in the plane and by their sign.
    light, heavy = found.sum(axis=0).min(), found.sum(axis=0).max()
    y, x = np.argwhere(found.sum(axis=0) == heavy)[0]
    assert 20 <= y < 35
    assert 20 <= x < 40
    y, x = np.argwhere(found.sum(axis=0) == light)[0]
    assert 45 <= y < 55
    assert 35 <= x < 50
    assert np.corrcoef(found.ravel(), truth.ravel())[0, 1] > 0.3


@pytest.mark.parametrize("solver", ["cgls", "lsmr", "gmres", "lgmres"])
def test_refiner_fits_a_volume_without_a_matrix(solver, large, monkeypatch):
    operator, truth, g = large
    monkeypatch.setattr(_ways, "sensitivity", None)
    refiner = Refiner(SOLVER_TYPES[solver](depth_weighting=2.0), init="zero", operator=operator)
    g, truth = np.concatenate([g, -g]), np.stack([truth.ravel(), -truth.ravel()])
    rho = refiner.fit(g, truth).predict(g)
    residual = (operator.transform(rho) - g) / operator.survey_.uncertainty
    assert (np.mean(residual**2, axis=1) < 1.1).all()
    np.testing.assert_allclose(rho[0], -rho[1], atol=1e-9 * np.abs(rho).max())


@pytest.mark.parametrize("order", [0, 1])
def test_trend_by_products_has_the_standard_deviation_of_the_decomposition(order, monkeypatch):
    survey = Survey(SURVEY.stations, SURVEY.components, uncertainty=0.05, trend=0)
    operator = ForwardOperator(MESH, survey, units="normalized", method="fft").fit()
    _, g = gravity(operator)
    inverter = TikhonovInverter(order=order, operator=operator)
    decomposed = inverter.fit(g).invert(g).trend.std
    noise_alone = inverter._noise(None).trend(g).std
    assert (decomposed > 1.2 * noise_alone).all()
    monkeypatch.setattr(_tikhonov, "_DECOMPOSED", 0.0)
    np.testing.assert_allclose(inverter.fit(g).invert(g).trend.std, decomposed, rtol=0.3)
