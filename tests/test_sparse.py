"""Sparse estimates: against scikit-learn's Lasso, compact bodies, within bounds."""

from functools import partial

import numpy as np
import pytest
from conftest import norms
from scipy.optimize import linprog
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso
from sklearn.model_selection import GridSearchCV

from skgrav import ForwardOperator, MatrixOperator, Mesh, SparseInverter, Survey, TikhonovInverter
from skgrav.metrics import chi_factor, relative_l2_error, relative_l2_scorer

LEVEL = 0.01

#: The least sum of absolute departures.
exact = partial(SparseInverter, norms=1)


@pytest.fixture(scope="module")
def tiny():
    """Give a matrix of 12 data and 30 cells, densities in few of them and noisy data."""
    rng = np.random.default_rng(0)
    A, rho = rng.normal(size=(12, 30)), np.zeros((5, 30))
    rho[:, :4] = 3 * rng.normal(size=(5, 4))
    return A, rho, rho @ A.T + 0.1 * rng.normal(size=(5, 12))


@pytest.fixture(scope="module")
def bodies():
    """Give the operator, ten sections with one square body each, and noisy data."""
    rng = np.random.default_rng(0)
    mesh = Mesh.square(14)
    operator = ForwardOperator(mesh, units="normalized").fit()
    rho = np.zeros((10, 14, 14))
    for section in rho:
        i, j = rng.integers(1, 7), rng.integers(2, 10)
        section[i : i + 3, j : j + 3] = 5.0
    rho = rho.reshape(10, -1)
    g = operator.transform(rho)
    rms = np.sqrt(np.mean(g**2, axis=1, keepdims=True))
    return operator, rho, g + LEVEL * rms * rng.normal(size=g.shape)


def lasso(A, data, alpha):
    """Give scikit-learn's minimiser of ``||d - A x||^2 + alpha |x|``."""
    model = Lasso(alpha / (2 * len(data)), fit_intercept=False, tol=1e-14, max_iter=10**6)
    return model.fit(A, data).coef_


# Against peers


@pytest.mark.parametrize("alpha", [0.05, 0.5, 5.0])
def test_estimate_is_that_of_lasso(alpha, tiny):
    A, _, g = tiny
    inverter = exact(alpha, operator=MatrixOperator(A), tol=1e-8).fit(g)
    found = inverter.invert(g)
    for rho, data, size in zip(found.rho, g, found.model_norm, strict=True):
        peer = lasso(A, data, alpha)
        np.testing.assert_allclose(rho, peer, atol=1e-6)
        assert np.sum(np.abs(peer)) == pytest.approx(size, rel=1e-6)
    np.testing.assert_allclose(found.misfit, norms(g - found.rho @ A.T))
    np.testing.assert_array_equal(found.alpha, alpha)


def test_discrepancy_finds_the_alpha_of_its_misfit(tiny):
    A, _, g = tiny
    inverter = exact(noise_level=0.05, operator=MatrixOperator(A), tol=1e-8).fit(g)
    found = inverter.invert(g)
    np.testing.assert_allclose(found.misfit**2 / 12, 1, rtol=1e-4)
    sigma = 0.05 * np.sqrt(np.mean(g**2, axis=1))
    for rho, data, alpha in zip(found.rho, g, found.alpha * sigma**2, strict=True):
        np.testing.assert_allclose(rho, lasso(A, data, alpha), atol=1e-6)
    again = [
        exact(alpha, noise_level=0.05, operator=MatrixOperator(A), tol=1e-8)
        .fit(g[[i]])
        .predict(g[[i]])
        for i, alpha in enumerate(found.alpha)
    ]
    np.testing.assert_allclose(np.vstack(again), found.rho, atol=1e-6)


def test_weights_reference_and_uncertainty_enter_as_the_docs_say():
    rng = np.random.default_rng(0)
    mesh = Mesh([np.cumsum(rng.uniform(0.5, 2.0, n + 1)) for n in (4, 5)])
    survey = Survey.line(mesh, n_stations=5)
    sigma = rng.uniform(0.05, 0.2, 10)
    survey = Survey(survey.stations, survey.components, sigma)
    operator = ForwardOperator(mesh, survey, units="normalized").fit()
    rho = 1.0 + 3.0 * (rng.uniform(size=(3, 20)) > 0.8)
    g = operator.transform(rho) + sigma * rng.normal(size=(3, 10))
    found = exact(2.0, depth_weighting=1.0, reference=1.0, operator=operator, tol=1e-8).fit(g)
    depth = np.repeat(mesh.centers[0], 5) - survey.stations[0, 0]
    weight = depth**-0.5
    weight /= np.sqrt(np.average(weight**2, weights=mesh.volumes))
    weight *= mesh.volumes / mesh.volumes.mean()
    A = operator.matrix_ / sigma[:, None]
    for row, data in zip(found.predict(g), g / sigma - A.sum(axis=1), strict=True):
        np.testing.assert_allclose(row - 1, lasso(A / weight, data, 2.0) / weight, atol=1e-5)


def test_bounded_norm_of_exact_data_is_that_of_a_linear_program(tiny):
    A, rho, _ = tiny
    rho = np.clip(rho, -2.0, 2.0)
    g = rho @ A.T
    inverter = exact(
        bounds=(-2.0, 2.0), noise_level=1e-5, operator=MatrixOperator(A), tol=1e-7
    ).fit(g)
    found = inverter.invert(g)
    assert found.converged.all()
    for size, data in zip(found.model_norm, g, strict=True):
        peer = linprog(np.ones(60), A_eq=np.hstack([A, -A]), b_eq=data, bounds=(0.0, 2.0))
        assert size == pytest.approx(peer.fun, rel=1e-4)


# Bodies


@pytest.mark.filterwarnings("ignore:'norms' is 1 and 'depth_weighting' is 'sensitivity' without")
@pytest.mark.parametrize("depth_weighting", [None, 1.0, "sensitivity"])
@pytest.mark.parametrize("bounds", [None, (0.0, 5.0)])
def test_noise_is_what_is_left(depth_weighting, bounds, bodies):
    operator, _, g = bodies
    inverter = exact(
        depth_weighting=depth_weighting, bounds=bounds, noise_level=LEVEL, operator=operator
    ).fit(g)
    found = inverter.invert(g)
    chi = chi_factor(operator, found.rho, g, noise_level=LEVEL, multioutput="raw_values")
    np.testing.assert_allclose(chi, 1, atol=1e-3)
    assert found.converged.all()
    assert found.n_iter.max() < 50
    if bounds is not None:
        assert found.rho.min() >= 0
        assert found.rho.max() <= 5


def test_compact_bodies_are_sharper_than_tikhonovs(bodies):
    operator, rho, g = bodies
    common = {
        "depth_weighting": 1.0,
        "bounds": (0.0, 5.0),
        "noise_level": LEVEL,
        "operator": operator,
    }
    sparse = exact(**common).fit(g).predict(g)
    smooth = TikhonovInverter(**common).fit(g).predict(g)
    error, peer = (norms(r - rho) / norms(rho) for r in (sparse, smooth))
    assert (error < peer).all()
    assert 3 * error.mean() < peer.mean()
    # Nine cells hold the body; Tikhonov spreads it over many more.
    cells, more = (np.count_nonzero(r > 0.5, axis=1).mean() for r in (sparse, smooth))
    assert cells < 12 < 2 * cells < more
    truly = exact(noise_level=LEVEL, operator=operator).fit(g).predict(g)
    assert np.count_nonzero(truly, axis=1).max() < g.shape[1]


# Contradictions and limits


def test_bounds_that_contradict_the_data_are_told(bodies):
    operator, _, g = bodies
    inverter = exact(bounds=(0.0, 0.01), noise_level=LEVEL, operator=operator, max_iter=15)
    with pytest.warns(ConvergenceWarning, match=r"10 of 10 samples .* within 'bounds'\. Widen"):
        found = inverter.fit(g).invert(g)
    assert ((found.rho >= 0) & (found.rho <= 0.01)).all()
    # All that is allowed is used.
    assert (norms(g - operator.transform(found.rho)) < norms(g)).all()


def test_too_few_iterations_are_told(bodies):
    operator, _, g = bodies
    inverter = exact(noise_level=LEVEL, operator=operator, max_iter=2).fit(g)
    with pytest.warns(ConvergenceWarning, match="did not converge within 'max_iter'. Raise it"):
        assert inverter.invert(g).n_iter.max() == 2


def test_data_without_signal_give_the_reference(bodies):
    operator, _, g = bodies
    inverter = exact(reference=2.0, noise_level=LEVEL, operator=operator).fit(g)
    found = inverter.invert(operator.transform(np.full((1, 196), 2.0)))
    np.testing.assert_allclose(found.rho, 2.0)
    assert found.alpha == np.inf
    zeros = exact(noise_level=LEVEL, operator=operator).fit(g).predict(0 * g[:1])
    np.testing.assert_array_equal(zeros, 0)


def test_noise_must_be_known(bodies):
    operator, _, g = bodies
    inverter = exact("discrepancy", operator=operator).fit(g)
    with pytest.raises(ValueError, match=r"alpha='discrepancy' needs the noise .* alpha='auto'"):
        inverter.predict(g)


def test_operator_that_sees_nothing_is_refused():
    with pytest.raises(ValueError, match="'operator' maps every density to zero"):
        exact(1.0, operator=MatrixOperator(np.zeros((3, 4)))).fit(np.ones((2, 3)))


@pytest.mark.parametrize("params", [{"alpha": "lcurve"}, {"alpha": 0}, {"tol": 0}, {"max_iter": 0}])
def test_bad_parameters_are_refused(params, bodies):
    operator, _, g = bodies
    name = next(iter(params))
    with pytest.raises(ValueError, match=f"'{name}' parameter of SparseInverter must be .* Got"):
        exact(**{"alpha": 1.0, "operator": operator} | params).fit(g)


# Manners


def test_chunks_of_samples_are_estimated_alike(bodies, monkeypatch):
    operator, _, g = bodies
    inverter = exact(
        bounds=(0.0, 5.0), depth_weighting=1.0, noise_level=LEVEL, operator=operator, tol=1e-7
    ).fit(g)
    together = inverter.predict(g)
    monkeypatch.setattr("skgrav.solvers._bounded._CHUNK_BYTES", 1)
    np.testing.assert_allclose(inverter.predict(g), together, atol=1e-4)


def test_weighting_can_be_searched_for(bodies):
    operator, rho, g = bodies
    inverter = exact(bounds=(0.0, 5.0), noise_level=LEVEL, operator=operator)
    search = GridSearchCV(
        inverter, {"depth_weighting": [None, 1.0]}, scoring=relative_l2_scorer, cv=2
    ).fit(g, rho)
    assert search.best_params_ == {"depth_weighting": 1.0}
    assert relative_l2_error(rho, search.predict(g)) < 0.3
