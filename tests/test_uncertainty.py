"""How sure regularised densities are: standard deviations, draws and resolution."""

import pickle

import numpy as np
import pytest
from conftest import norms
from scipy.stats import chisquare
from scipy.stats import norm as gaussian
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skgrav import (
    CellValues,
    ForwardOperator,
    JointOperator,
    MatrixOperator,
    Mesh,
    SparseInverter,
    Survey,
    TikhonovInverter,
)
from skgrav.inverters import _regularized
from skgrav.inverters._model_norm import ModelNorm
from skgrav.operators import _base

MESH = Mesh([[0, 20, 50, 90], np.cumsum(np.full(6, 30.0)), np.cumsum(np.full(7, 30.0))])
BLOCK = Mesh.regular((5, 8, 8), 50.0)
TIGHT = {"fft": {}, "anywhere": {"tol": 1e-8}}
INSIDE = {p: gaussian.ppf(0.5 + p / 2) for p in (0.5, 0.9)}


@pytest.fixture
def undecomposed(monkeypatch):
    """Make every operator count as too large to decompose."""
    monkeypatch.setattr(_base, "SVD_SIZE", 1)


def prior_draws(mesh, order, n, level=0.05, trend=None, weighting="sensitivity", around=None):
    """Give densities from the prior of a norm, an operator with its noise, and noisy data."""
    survey = Survey.grid(around or mesh, height=10.0)
    operator = ForwardOperator(mesh, survey).fit()
    norm = ModelNorm.of(operator, order, weighting)
    rng = np.random.default_rng(0)
    rho = norm.weighted(norm.draw(rng, n)) / norm.weights
    rho *= 50.0 / rho.std()
    clean = operator.transform(rho)
    sigma = level * np.sqrt(np.mean(clean**2))
    survey = Survey(survey.stations, "z", sigma, trend=trend)
    g = clean + sigma * rng.standard_normal(clean.shape)
    return ForwardOperator(mesh, survey).fit(), rho, g


def matrices(inverter, operator):
    """Give the covariance of a unit prior in cells, and the whitened sensitivity matrix."""
    norm = inverter._norm
    q = np.eye(len(norm.stiffness))
    modes = norm.weighted(q) / norm.weights
    whitening = inverter._noise(None).whitening
    return modes.T @ np.diag(1 / norm.stiffness) @ modes, whitening.matrix(operator.matrix_)


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("weighting", [None, "sensitivity"])
@pytest.mark.parametrize("active", [False, True])
def test_variance_of_the_norm_is_that_of_its_draws(order, weighting, active):
    mask = np.arange(MESH.n_cells).reshape(MESH.shape) % 7 > 0
    mesh = Mesh(MESH.edges, active=mask) if active else MESH
    operator = ForwardOperator(mesh, Survey.grid(MESH, height=10.0)).fit()
    norm = ModelNorm.of(operator, order, weighting)
    modes = norm.weighted(np.eye(len(norm.stiffness))) / norm.weights
    np.testing.assert_allclose(norm.variance, (modes**2).T @ (1 / norm.stiffness), rtol=1e-9)
    q = norm.draw(np.random.default_rng(0), 4000)
    np.testing.assert_allclose(np.mean(q**2, axis=0) * norm.stiffness, 1.0, atol=0.12)


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("trend", [None, 1])
def test_std_and_draws_are_those_of_dense_algebra(order, trend):
    operator, _, g = prior_draws(MESH, order, 3, trend=trend)
    inverter = TikhonovInverter(order=order, depth_weighting="sensitivity", operator=operator)
    rho, std = inverter.fit(g).predict(g, return_std=True)
    prior, A = matrices(inverter, operator)
    whitening = inverter._noise(None).whitening
    white, sigma = whitening(g), operator.survey_.uncertainty[0]
    drawn = inverter.sample_y(g, 600, random_state=1)
    for i in range(len(g)):
        # The most likely variance of the prior, by brute force.
        grid = np.logspace(-8, 2, 200) * np.mean(rho**2) / np.mean(np.diag(prior))
        data = A @ prior @ A.T
        cost = []
        for v in grid:
            total = v * data + sigma**2 * np.eye(len(data))
            cost.append(white[i] @ np.linalg.solve(total, white[i]) + np.linalg.slogdet(total)[1])
        v = grid[np.argmin(cost)]
        gain = v * prior @ A.T @ np.linalg.inv(v * data + sigma**2 * np.eye(len(data)))
        mean, covariance = gain @ white[i], v * prior - gain @ A @ (v * prior)
        expected = np.sqrt(np.diag(covariance) + (rho[i] - mean) ** 2)
        np.testing.assert_allclose(std[i], expected, rtol=0.05)
        away = (drawn[i].mean(axis=1) - mean) / np.sqrt(np.diag(covariance) / 600)
        assert np.mean(away**2) < 1.5
        found = drawn[i].std(axis=1) / np.sqrt(np.diag(covariance))
        np.testing.assert_allclose(found, 1.0, atol=0.15)


@pytest.mark.parametrize("trend", [None, 1])
@pytest.mark.parametrize("by_products", [False, True])
def test_each_datum_is_compared_with_its_prediction_by_the_others(trend, by_products, monkeypatch):
    operator, _, g = prior_draws(MESH, 1, 2, trend=trend)
    if by_products:
        monkeypatch.setattr(_base, "SVD_SIZE", 1)
        operator = ForwardOperator(MESH, operator.survey_, method="fft").fit()
    inverter = TikhonovInverter(order=1, operator=operator, tol=1e-8).fit(g)
    found = inverter.leave_one_out(g)
    problem = inverter._solved(g, None)
    posterior = inverter._posterior(problem.white, inverter._sigma(problem))
    n, sigma, norm = g.shape[1], operator.survey_.uncertainty[0], inverter._norm
    of_modes = norm.operator_modes(operator.products_.adjoint(np.eye(n)))
    places = operator.survey_.stations[:, 1:]
    basis = np.column_stack([np.ones(n), places - places.mean(axis=0)])[:, : 3 if trend else 0]
    loose = 1e3 * g.std() * basis / np.sqrt(np.mean(basis**2, axis=0))  # next to a flat prior
    for i in range(2):
        v = sigma**2 / posterior.damping[i]
        covariance = v * (of_modes / norm.stiffness) @ of_modes.T + sigma**2 * np.eye(n)
        covariance = covariance + loose @ loose.T
        for k in range(0, n, 7):
            others = np.arange(n) != k
            weights = np.linalg.solve(covariance[np.ix_(others, others)], covariance[others, k])
            spread = np.sqrt(covariance[k, k] - weights @ covariance[others, k])
            away = (g[i, k] - weights @ g[i, others]) / spread
            np.testing.assert_allclose(found[i, k], away, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("order", [0, 1])
def test_intervals_of_models_from_the_prior_cover_what_they_say(order):
    operator, rho, g = prior_draws(BLOCK, order, 300, level=0.02)
    inverter = TikhonovInverter(order=order, depth_weighting="sensitivity", operator=operator)
    found, std = inverter.fit(g).predict(g, return_std=True)
    for level, size in INSIDE.items():
        assert np.mean(np.abs(found - rho) < size * std) == pytest.approx(level, abs=0.02)
    drawn = inverter.sample_y(g[:150], 19)
    volumes = BLOCK.volumes
    for level in INSIDE:
        low, high = np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2], 2, method="weibull")
        inside = (rho[:150] > low) & (rho[:150] < high)
        assert np.mean(inside) == pytest.approx(level, abs=0.02)
    # The true mass is as likely to have any rank among those of the draws.
    ranks = np.sum(np.einsum("ijk,j->ik", drawn, volumes) < (rho[:150] @ volumes)[:, None], axis=1)
    assert chisquare(np.histogram(ranks, 5, (0, 20))[0]).pvalue > 0.01


@pytest.mark.parametrize("level", [0.0, 0.05])
@pytest.mark.parametrize("order", [0, 1])
def test_draws_fit_the_data_to_their_noise(order, level):
    operator, _, g = prior_draws(BLOCK, order, 30, level=level or 1e-9)
    inverter = TikhonovInverter(order=order, noise_level=level, operator=operator).fit(g)
    drawn = inverter.sample_y(g, 4)
    assert drawn.shape == (30, BLOCK.n_cells, 4)
    residual = g[..., None] - np.stack([operator.transform(d) for d in np.moveaxis(drawn, 2, 0)], 2)
    # Exact data are fitted to their rounding.
    sigma = max(level, 1e-6) * np.sqrt(np.mean(g**2, axis=1))[:, None]
    chi = np.mean(residual**2, axis=1) / sigma**2
    assert 0.95 < chi.mean() < 1.05 if level else chi.max() < 2
    same, other = (inverter.sample_y(g[:2], 4, random_state=seed) for seed in (0, 1))
    np.testing.assert_allclose(same, drawn[:2])
    assert np.abs(other - same).max() > 0


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("method", ["fft", "anywhere"])
def test_large_operators_draw_the_same(order, method, undecomposed, monkeypatch):
    operator, _, g = prior_draws(MESH, order, 2)
    inverter = TikhonovInverter(order=order, operator=operator, tol=1e-7)
    with monkeypatch.context() as patch:
        patch.setattr(_base, "SVD_SIZE", 4000)
        decomposed = inverter.fit(g).sample_y(g, 3)
        std = inverter.predict(g, return_std=True)[1]
    applied = ForwardOperator(MESH, operator.survey_, method=method, **TIGHT[method])
    inverter.set_params(operator=applied).fit(g)
    scale = np.abs(decomposed).max()
    np.testing.assert_allclose(inverter.sample_y(g, 3), decomposed, atol=1e-3 * scale)
    np.testing.assert_allclose(inverter.predict(g, return_std=True)[1], std, rtol=1e-3)
    # Many draws, which begin with the leading eigenvectors, do not depend on what was asked before.
    many = inverter.sample_y(g, 10)
    np.testing.assert_allclose(many[..., 9], clone(inverter).fit(g).sample_y(g, 10)[..., 9])


def test_draws_stay_within_bounds_and_fit(monkeypatch):
    monkeypatch.setattr(_regularized, "N_DRAWS", 4)
    operator, _, g = prior_draws(MESH, 1, 2)
    free = TikhonovInverter(order=1, operator=operator).fit(g).predict(g)
    bounds = np.quantile(free, [0.02, 0.98])
    lower, upper = (np.full(MESH.n_cells, b) for b in bounds)
    lower[-1] = upper[-1] = 1.0
    inverter = TikhonovInverter(order=1, bounds=(lower, upper), operator=operator, tol=1e-3).fit(g)
    drawn = inverter.sample_y(g, 3)
    assert drawn.min() >= bounds[0]
    assert drawn.max() <= bounds[1]
    np.testing.assert_array_equal(drawn[:, -1], 1.0)
    rho, std = inverter.predict(g[:1], return_std=True)
    assert std[0, -1] == 0
    assert np.mean(std[:, :-1] > 0) > 0.8  # the others are at a bound in all of few draws
    sigma = operator.survey_.uncertainty[0]
    own = norms(g[:1] - operator.transform(rho)) / sigma
    residual = g[:1] - operator.transform(drawn[0].T)
    assert np.median(norms(residual) / sigma) < 1.5 * max(own[0], np.sqrt(g.shape[1]))


@pytest.mark.filterwarnings("ignore:'alpha' is 'gcv'")
@pytest.mark.parametrize("alpha", ["gcv", 1.0])
def test_noise_that_is_not_told_is_found(alpha):
    operator, _, g = prior_draws(BLOCK, 1, 20)
    sigma = operator.survey_.uncertainty[0]
    silent = ForwardOperator(BLOCK, Survey(operator.survey_.stations, "z")).fit()
    told = TikhonovInverter(order=1, operator=operator).fit(g)
    # A number refers to data in their unit.
    number = np.median(told.invert(g).alpha) * sigma**2
    alpha = alpha if alpha == "gcv" else number
    std = TikhonovInverter(alpha, order=1, operator=silent).fit(g).predict(g, return_std=True)[1]
    expected = told.predict(g, return_std=True)[1]
    assert np.median(std / expected) == pytest.approx(1, abs=0.1)


@pytest.mark.filterwarnings("ignore:1 of 3 samples differ from 'reference' by less")
def test_data_that_are_but_noise_hide_what_is_as_small():
    operator, _, g = prior_draws(MESH, 0, 3)
    sigma = operator.survey_.uncertainty[0]
    g[0] = 1e-3 * sigma * np.sin(np.arange(g.shape[1]))
    inverter = TikhonovInverter(operator=operator).fit(g)
    with pytest.warns(UserWarning, match="1 of 3 samples differ from 'reference' by no more than"):
        drawn = inverter.sample_y(g, 50)
    data = operator.transform(drawn[0].T)
    assert 0.1 * sigma < np.sqrt(np.mean(data**2)) < 2 * sigma


def test_rows_of_a_dask_array_have_the_same_std():
    da = pytest.importorskip("dask.array")
    operator, _, g = prior_draws(MESH, 1, 5)
    inverter = TikhonovInverter(order=1, operator=operator).fit(g)
    together = inverter.predict(da.from_array(g, chunks=(2, -1)), return_std=True)
    for lazy, eager in zip(together, inverter.predict(g, return_std=True), strict=True):
        np.testing.assert_allclose(lazy.compute(), eager, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("order", [0, 1])
def test_active_cells_below_a_trend_draw_the_same_by_products(order, monkeypatch):
    mask = np.arange(MESH.n_cells).reshape(MESH.shape) % 7 > 0
    mesh = Mesh(MESH.edges, active=mask)
    operator, _, g = prior_draws(mesh, order, 1, trend=0, around=MESH)
    inverter = TikhonovInverter(order=order, operator=operator, tol=1e-7)
    decomposed = inverter.fit(g).sample_y(g, 3)
    monkeypatch.setattr(_base, "SVD_SIZE", 1)
    scale = np.abs(decomposed).max()
    np.testing.assert_allclose(inverter.fit(g).sample_y(g, 3), decomposed, atol=1e-3 * scale)


# Resolution


def dense_resolution(inverter, operator, damping):
    prior, A = matrices(inverter, operator)
    data = A @ prior @ A.T
    return prior @ A.T @ np.linalg.solve(data + damping * np.eye(len(data)), A)


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("case", ["plain", "active", "trend", "joint"])
def test_resolution_is_that_of_dense_algebra(order, case):
    mask = np.arange(MESH.n_cells).reshape(MESH.shape) % 7 > 0
    mesh = Mesh(MESH.edges, active=mask) if case == "active" else MESH
    rng = np.random.default_rng(0)
    stations = Survey.grid(MESH, height=10.0).stations
    survey = Survey(stations, "z", 1e-3, trend=0 if case == "trend" else None)
    operator = ForwardOperator(mesh, survey)
    if case == "joint":
        operator = JointOperator([operator, CellValues(mesh, [3, 40], uncertainty=5.0)])
    g = operator.fit().transform(rng.normal(0, 50, (2, mesh.n_cells)))
    inverter = TikhonovInverter(order=order, depth_weighting=None, operator=operator).fit(g)
    found = inverter.resolution(g)
    spread = pickle.loads(pickle.dumps(found)).point_spread([5, 50])
    damping = inverter.invert(g).alpha * np.mean(inverter._noise(None).scale(g) ** 2)
    for i in range(2):
        expected = dense_resolution(inverter, operator, damping[i])
        np.testing.assert_allclose(found.diagonal[i], np.diag(expected), atol=1e-6)
        np.testing.assert_allclose(spread[i], expected[:, [5, 50]], atol=1e-6)
        doi = np.abs(1 - expected.sum(axis=1))
        np.testing.assert_allclose(found.depth_of_investigation[i], doi, atol=1e-6)


def test_depth_of_investigation_compares_two_references():
    operator, _, g = prior_draws(MESH, 0, 1)
    inverter = TikhonovInverter(0.1, operator=operator).fit(g)
    first, second = (
        TikhonovInverter(0.1, reference=r, operator=operator).fit(g).predict(g) for r in (-30, 70)
    )
    doi = inverter.resolution(g).depth_of_investigation
    np.testing.assert_allclose(doi, np.abs(second - first) / 100, atol=1e-9)
    deep = MESH.unflatten(doi)[0]
    assert deep[-1].mean() > deep[0].mean()


@pytest.mark.parametrize("order", [0, 1])
def test_resolution_of_large_operators_is_about_the_same(order, undecomposed, monkeypatch):
    # The data determine far fewer parameters than there are data.
    fine = Mesh.regular((3, 16, 16), 25.0)
    operator, _, g = prior_draws(BLOCK, order, 1, level=0.3, around=fine)
    inverter = TikhonovInverter(order=order, depth_weighting=1.0, operator=operator, tol=1e-6)
    with monkeypatch.context() as patch:
        patch.setattr(_base, "SVD_SIZE", 4000)
        exact, std = inverter.fit(g).resolution(g), inverter.predict(g, return_std=True)[1]
    found = inverter.fit(g).resolution(g)
    spread = found.point_spread([8])
    np.testing.assert_allclose(spread, exact.point_spread([8]), atol=1e-4)
    doi = exact.depth_of_investigation
    np.testing.assert_allclose(found.depth_of_investigation, doi, atol=1e-3)
    largest = exact.diagonal.max()
    np.testing.assert_allclose(found.diagonal, exact.diagonal, atol=0.05 * largest)
    np.testing.assert_allclose(inverter.predict(g, return_std=True)[1], std, rtol=0.03)
    damping = inverter.invert(g).alpha * operator.survey_.uncertainty[0] ** 2
    n = sum(len(b.variance) for b in inverter._system.coordinates_by_blocks(damping))
    assert n < 256


@pytest.mark.parametrize("cells", [[-1], [0.5], [10_000], 3])
def test_cells_that_are_none_are_refused(cells):
    operator, _, g = prior_draws(MESH, 0, 1)
    resolution = TikhonovInverter(operator=operator).fit(g).resolution(g)
    with pytest.raises(ValueError, match=r"'cells' is .* whole numbers from 0 to"):
        resolution.point_spread(cells)


def test_exact_sums_of_departures_have_no_draws():
    operator, _, g = prior_draws(MESH, 0, 1)
    inverter = SparseInverter(norms=1, operator=operator).fit(g)
    with pytest.raises(ValueError, match="about whose exact minimum there are no draws"):
        inverter.sample_y(g)
    with pytest.raises(ValueError, match="about whose exact minimum there are no draws"):
        inverter.predict(g, return_std=True)
    with pytest.raises(ValueError, match=r"^SparseInverter has no resolution"):
        inverter.resolution(g)


def test_without_a_mesh_remedies_need_none():
    operator, g = MatrixOperator(np.eye(3, 4)), np.ones((1, 3))
    inverter = SparseInverter(1.0, depth_weighting="sensitivity", operator=operator)
    with pytest.warns(
        match=r"'norms' is 1 \(as it is without a mesh .* single cells. Give 'bounds'"
    ):
        inverter.fit(g)
    with pytest.raises(ValueError, match=r"no draws\. Take TikhonovInverter, or give a Forward"):
        inverter.sample_y(g)


@pytest.mark.filterwarnings("ignore:1 of 1 s.* did not converge")
def test_priors_that_do_not_converge_are_told_of(undecomposed, monkeypatch):
    operator, _, g = prior_draws(BLOCK, 1, 1, level=1e-4)
    inverter = TikhonovInverter(order=1, operator=operator, max_iter=12).fit(g)
    with pytest.warns(ConvergenceWarning, match="variance of the prior of 1 of 1 samples did not"):
        inverter.sample_y(g)
