"""Norms with a weight of each cell: against dense algebra and the norm by modes."""

import numpy as np
import pytest
from test_tikhonov import LEVEL, explicit_rows, irregular, problem

from skgrav import ForwardOperator, Mesh, SparseInverter, Survey, TikhonovInverter
from skgrav.inverters import _cell_norm
from skgrav.inverters._cell_norm import CellNorm
from skgrav.inverters._model_norm import ModelNorm
from skgrav.solvers import CGLS, GMRES, ICG, LGMRES, LSMR, depth_weights

MESHES = [irregular((6, 7)), irregular((4, 3, 5)), Mesh.regular((1, 9), 0.5)]
ORDERS = pytest.mark.parametrize("order", [1, 2])


@pytest.fixture(params=[True, False], ids=["factored", "by products"])
def factored(request, monkeypatch):
    if not request.param:
        monkeypatch.setattr(_cell_norm, "_FACTORED", 0)
    return request.param


def cell_norm(operator, order, cell_weights=None, **params):
    every = {"depth_weighting": None, "whitening": None, "norm_weights": None}
    every |= {"length_scales": None} | params
    return CellNorm.of(operator, order, cell_weights=cell_weights, **every)


@pytest.mark.parametrize("mesh", MESHES, ids=str)
@ORDERS
def test_estimate_solves_the_normal_equations(mesh, order, factored):
    operator, sigma, g = problem(mesh, n_samples=4 if factored else 1)
    cell_weights = np.random.default_rng(1).uniform(0.2, 5.0, mesh.n_cells)
    inverter = TikhonovInverter(
        0.3, order=order, cell_weights=cell_weights, operator=operator, tol=1e-6
    ).fit(g)
    found = inverter.invert(g)
    A, W = operator.matrix_ / sigma[:, None], explicit_rows(mesh, order, np.sqrt(cell_weights))
    stacked = np.vstack([A, np.sqrt(0.3) * W])
    data = np.hstack([g / sigma, np.zeros((len(g), len(W)))])
    expected = np.linalg.lstsq(stacked, data.T, rcond=1e-13)[0].T
    np.testing.assert_allclose(found.rho, expected, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(found.model_norm, np.linalg.norm(expected @ W.T, axis=1), rtol=1e-5)


@pytest.mark.parametrize("mesh", MESHES, ids=str)
@ORDERS
def test_equal_weights_are_the_norm_by_modes(mesh, order):
    operator = problem(mesh)[0]
    axes = {"norm_weights": (0.5, 2.0, *[0.3] * (mesh.ndim - 1)), "length_scales": 1.5}
    own = cell_norm(operator, order, np.full(mesh.n_cells, 2.0), **axes)
    modes = ModelNorm.of(operator, order, None, **axes)
    u = np.random.default_rng(0).normal(size=(3, mesh.n_cells))
    np.testing.assert_allclose(own.product(u), 2.0 * modes.product(u), atol=1e-9)
    np.testing.assert_allclose(own.norm(own.coefficients(u)) ** 2, np.sum(u * own.product(u), 1))
    np.testing.assert_allclose(own.inverse(own.product(u)), u, atol=1e-8)
    np.testing.assert_allclose(modes.inverse(modes.product(u)), u, atol=1e-8)
    np.testing.assert_allclose(own.weighted(own.coefficients(u)), u, atol=1e-8)
    A = np.random.default_rng(1).normal(size=(4, mesh.n_cells))
    np.testing.assert_allclose(own.coefficients(u) @ own.operator_modes(A).T, u @ A.T, atol=1e-8)


@ORDERS
def test_draws_have_the_covariance_of_the_prior(order, factored):
    operator = problem(irregular((4, 5)))[0]
    own = cell_norm(operator, order, np.random.default_rng(0).uniform(0.5, 2.0, 20))
    covariance = np.linalg.inv(own.product(np.eye(20)))
    np.testing.assert_allclose(own.weighted(own.compliance(own.operator_modes(np.eye(20)))),
        covariance, atol=1e-6 * covariance.max())  # fmt: skip
    draws = own.weighted(own.draw(np.random.default_rng(1), 300 + 3700 * factored))
    np.testing.assert_allclose(np.cov(draws.T), covariance, atol=0.25 * covariance.max())
    if factored:
        np.testing.assert_allclose(own.variance, np.diag(covariance))
    else:
        assert own.variance is None


@ORDERS
def test_faces_to_inactive_cells_do_not_count(order):
    active = np.ones((6, 8), dtype=bool)
    active[:2, :3] = False
    mesh = Mesh([np.arange(7.0), np.arange(9.0)], active=active)
    operator = ForwardOperator(mesh, Survey.line(Mesh([np.arange(7.0), np.arange(9.0)]))).fit()
    own = cell_norm(operator, order, np.random.default_rng(0).uniform(0.5, 2, mesh.n_cells))
    every = np.eye(mesh.n_cells)
    K = own.product(every)
    np.testing.assert_allclose(K, K.T, atol=1e-12)
    np.testing.assert_allclose(own.inverse(K), every, atol=1e-8)
    if order == 1:  # a constant has smallness alone
        smallness = own.smallness.ravel()[own.cells]
        np.testing.assert_allclose(K @ np.ones(mesh.n_cells), smallness, atol=1e-12)


@pytest.mark.parametrize("rule", ["discrepancy", "gcv"])
def test_distance_weighting_fits_the_data(rule, factored):
    mesh = Mesh.square(10)
    operator = ForwardOperator(mesh, units="normalized").fit()
    rho = np.zeros((10, 10))
    rho[5:7, 4:6] = 5.0
    g = operator.transform(rho.reshape(1, -1))
    g += LEVEL * np.sqrt(np.mean(g**2)) * np.random.default_rng(0).normal(size=g.shape)
    inverter = TikhonovInverter(
        rule, order=1, depth_weighting="distance", noise_level=LEVEL, operator=operator
    )
    found = inverter.fit(g).invert(g)
    if rule == "discrepancy":
        assert found.chi_factor == pytest.approx(1.0, abs=1e-2)
    plain = TikhonovInverter(rule, order=1, noise_level=LEVEL, operator=operator).fit(g).predict(g)
    depth = mesh.cell_centers[:, 0]
    assert np.average(depth, weights=found.rho[0] ** 2) > np.average(depth, weights=plain[0] ** 2)


def test_distance_weights_are_the_sum_over_stations():
    mesh = irregular((3, 4, 5))
    operator = problem(mesh)[0]
    stations = operator.survey_.stations
    near = 0.5 * np.prod([np.median(w) for w in mesh.widths]) ** (1 / 3)
    expected = [
        np.sum((np.sqrt(np.sum((stations - cell) ** 2, axis=1)) + near) ** -4.0) ** 0.25
        for cell in mesh.cell_centers
    ]
    np.testing.assert_allclose(depth_weights(operator, "distance"), expected)


def test_distance_weights_are_limited_in_padding():
    side = np.r_[-1e5, -1e4, np.arange(-5.0, 6.0), 1e4, 1e5]
    mesh = Mesh([np.r_[np.arange(6.0), 1e4, 1e5], side])
    stations = np.column_stack([np.full(11, -0.01), np.arange(-5.0, 6.0)])
    weights = depth_weights(ForwardOperator(mesh, Survey(stations, "z")).fit(), "distance")
    assert weights.min() >= 1e-3 * weights.max()


def test_distance_weights_do_not_jump_at_inactive_cells():
    edges = [np.arange(0.0, 9.0), np.arange(0.0, 13.0)]
    active = np.ones((8, 12), dtype=bool)
    active[:3, :5] = False
    stations = np.column_stack([np.where(np.arange(12) < 5, 2.9, -0.1), np.arange(12) + 0.5])
    mesh = Mesh(edges, active=active)
    operator = ForwardOperator(mesh, Survey(stations, "z")).fit()
    image = mesh.unflatten(depth_weights(operator, "distance"))
    for axis in (0, 1):
        steps = np.abs(np.diff(np.log(image), axis=axis))
        assert np.nanmax(steps) < np.log(2.0)


@pytest.mark.parametrize("solver", [CGLS, LSMR, GMRES, LGMRES, ICG])
def test_solvers_take_distance_weights(solver):
    mesh = Mesh.square(8)
    operator = ForwardOperator(mesh, units="normalized").fit()
    rho = np.zeros((1, 64))
    rho[0, 35:37] = 5.0
    g = operator.transform(rho)
    depth = mesh.cell_centers[:, 0]
    found = [
        solver(depth_weighting=w).solve(operator, g, sigma=0.01 * np.abs(g).max()).rho[0]
        for w in (None, "distance")
    ]
    assert np.average(depth, weights=found[1] ** 2) > np.average(depth, weights=found[0] ** 2)


@pytest.mark.parametrize("norms", [1, None])
def test_sparse_inverter_takes_distance_weights(norms):
    operator = ForwardOperator(Mesh.square(8), units="normalized").fit()
    rho = np.zeros((1, 64))
    rho[0, 35:37] = 5.0
    g = operator.transform(rho)
    inverter = SparseInverter(
        norms=norms, depth_weighting="distance", noise_level=0.02, operator=operator
    )
    assert inverter.fit(g).invert(g).chi_factor == pytest.approx(1, abs=0.15)
