"""Alphas that are chosen without a noise level: the misfit they leave, on many draws."""

import warnings
from functools import cache

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from skgrav import ForwardOperator, Mesh, SparseInverter, Survey, TikhonovInverter
from skgrav.datasets import make_gravity_dataset
from skgrav.inverters._damping import DampedLeastSquares
from skgrav.inverters._krylov_spectrum import Spectrum
from skgrav.operators import _base

CRITERIA = ["gcv", "lcurve"]


@cache
def line_draws(level, n_samples=24):
    """Give the operator of a padded line, and noisy gravity of three blocks in each section."""
    x = np.linspace(0, 10e3, 101)
    growing = np.cumsum(100 * 1.4 ** np.arange(1, 11))
    edges = np.r_[-50 - growing[::-1], np.arange(-50, 10051, 100.0), 10050 + growing]
    mesh = Mesh([np.r_[0, np.cumsum(50 * 1.08 ** np.arange(25))], edges])
    operator = ForwardOperator(mesh, Survey(np.column_stack([np.full(101, -1.0), x]), "z")).fit()
    z, x = np.meshgrid(*mesh.centers, indexing="ij")
    rng, rho = np.random.default_rng(0), np.zeros((n_samples, *mesh.shape))
    for i in range(n_samples):
        for _ in range(3):
            depth, middle = rng.uniform(200, 1500), rng.uniform(500, 9500)
            height, width = rng.uniform(150, 500), rng.uniform(200, 1200)
            inside = (np.abs(z - depth) < height) & (np.abs(x - middle) < width)
            rho[i] += rng.choice([-1, 1]) * rng.uniform(100, 400) * inside
    clean = operator.transform(rho.reshape(n_samples, -1))
    sigma = level * np.sqrt(np.mean(clean**2, axis=1, keepdims=True))
    return operator, clean + sigma * rng.standard_normal(clean.shape), sigma[:, 0]


@cache
def section_draws(level, n_samples=40):
    drawn = make_gravity_dataset(
        n_samples=n_samples, mesh=Mesh.square(14), noise_level=level, random_state=1
    )
    return drawn.operator, drawn.data, level * np.sqrt(np.mean(drawn.data**2, axis=1))


def chi_of_each(operator, g, sigma, **params):
    """Give the chi factor of each sample, and whether it came with a warning."""
    inverter = TikhonovInverter(operator=operator, **params)
    chi, warned = np.empty((2, len(g)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inverter.fit(g)
    for i in range(len(g)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            residual = g[i] - operator.transform(inverter.predict(g[i : i + 1]))[0]
        chi[i] = np.mean(residual**2) / sigma[i] ** 2
        warned[i] = any("'alpha' is" in str(w.message) for w in caught)
    return chi, warned.astype(bool)


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("level", [0.001, 0.01, 0.05])
@pytest.mark.parametrize("criterion", CRITERIA)
def test_sections_are_fitted_to_about_their_noise(criterion, level, order):
    chi, warned = chi_of_each(*section_draws(level), alpha=criterion, order=order)
    assert np.mean((chi > 0.5) & (chi < 2)) >= (0.9 if order else 0.85)
    assert not warned.any()
    assert 0.6 < np.median(chi) < 1.1


@pytest.mark.parametrize(("order", "depth_weighting"), [(1, None), (1, "sensitivity"), (2, None)])
@pytest.mark.parametrize("criterion", CRITERIA)
def test_lines_are_fitted_to_about_their_noise(criterion, order, depth_weighting):
    chi, warned = chi_of_each(
        *line_draws(0.05), alpha=criterion, order=order, depth_weighting=depth_weighting
    )
    assert np.mean((chi > 0.5) & (chi < 2)) >= (0.9 if criterion == "gcv" else 0.85)
    assert warned.mean() < 0.1


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("depth_weighting", [None, "sensitivity"])
@pytest.mark.parametrize("level", [0.001, 0.01, 0.05])
@pytest.mark.parametrize("criterion", CRITERIA)
def test_no_misfit_is_off_by_orders_of_magnitude_in_silence(
    criterion, level, depth_weighting, order
):
    # With small errors and shallow cells between the stations anything fits: say so.
    chi, warned = chi_of_each(
        *line_draws(level, 10), alpha=criterion, order=order, depth_weighting=depth_weighting
    )
    assert ((chi > 0.05) & (chi < 20) | warned).all()
    assert chi.min() > 1e-3


def test_exact_data_leave_alpha_open():
    drawn = make_gravity_dataset(n_samples=3, mesh=Mesh.square(8), random_state=0)
    inverter = TikhonovInverter("gcv", operator=drawn.operator)
    with pytest.warns(UserWarning, match="'alpha' is 'gcv', but 3 of 3 samples do not determine"):
        inverter.fit(drawn.data).predict(drawn.data)


def test_effective_parameters_are_the_trace_of_the_influence():
    rng = np.random.default_rng(0)
    A, stiffness = rng.normal(size=(9, 20)), rng.uniform(0.5, 2, 20)
    system = DampedLeastSquares.of(A, stiffness)
    for alpha in (0.1, 3.0):
        influence = A @ np.linalg.solve(A.T @ A + alpha * np.diag(stiffness), A.T)
        found = system.effective_parameters(np.array([alpha]))
        np.testing.assert_allclose(found, np.trace(influence))


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("factor", [0.1, 1.0, 10.0])
def test_alphas_that_contradict_the_stated_noise_are_warned_of(criterion, factor):
    operator, g, _ = section_draws(0.05, 20)
    inverter = TikhonovInverter(criterion, operator=operator, noise_level=0.05 * factor)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        chi = inverter.fit(g).invert(g).chi_factor
    texts = [str(w.message) for w in caught if "leaves a chi factor of" in str(w.message)]
    wrong = (chi > 10) | (chi < 0.1)
    assert len(texts) == wrong.any()
    if factor != 1:
        assert wrong.mean() > 0.9
        assert f"'alpha' is '{criterion}'" in texts[0]
        assert f"the worst of {wrong.sum()} of 20 samples" in texts[0]


# Operators too large to decompose


def grid_draws(n_stations, n_samples, level=0.02):
    """Give noisy gravity of a ball over a grid of stations, and its noise."""
    mesh = Mesh.regular((4, 9, 9), 50.0)
    survey = Survey.grid(mesh, height=20.0, shape=(n_stations, n_stations))
    operator = ForwardOperator(mesh, survey).fit()
    z, y, x = (mesh.cell_centers - [100.0, 200.0, 250.0]).T
    clean = operator.transform(300.0 * (z**2 + y**2 + x**2 < 90.0**2)[None])
    sigma = level * np.sqrt(np.mean(clean**2))
    noise = np.random.default_rng(0).standard_normal((n_samples, clean.shape[1]))
    return operator, clean + sigma * noise, sigma


def by_both_ways(monkeypatch, g, **params):
    """Give the fitted inverter that decomposes the operator and the one that does not."""
    decomposed = TikhonovInverter(**params).fit(g)
    monkeypatch.setattr(_base, "SVD_SIZE", 1)
    return decomposed, TikhonovInverter(**params).fit(g)


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("criterion", CRITERIA)
def test_products_alone_choose_the_same_alpha(criterion, order, monkeypatch):
    operator, g, sigma = grid_draws(17, 3)
    both = by_both_ways(monkeypatch, g, alpha=criterion, order=order, operator=operator)
    decomposed, applied = (inverter.invert(g) for inverter in both)
    assert applied.converged.all()
    np.testing.assert_allclose(applied.alpha, decomposed.alpha, rtol=0.02)
    np.testing.assert_allclose(applied.sigma, decomposed.sigma, rtol=2e-3)
    np.testing.assert_allclose(applied.sigma, sigma, rtol=0.3)


def test_traces_from_a_space_of_random_vectors_are_those_of_the_matrix():
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.normal(size=(600, 600)))[0]
    values = 0.9 ** np.arange(600)
    matrix = (rotation * values) @ rotation.T
    spectrum = Spectrum(lambda rows: rows @ matrix, 600)
    nodes, weights = spectrum.quadrature(160)
    assert len(nodes) == 160
    assert weights.sum() == pytest.approx(600)
    # Eigenvalues far above alpha are found, and leave no randomness.
    for alpha, tolerance in ((1e-4, 0.1), (1e-2, 1e-3)):
        exact = np.sum(values / (values + alpha))
        assert weights @ (nodes / (nodes + alpha)) == pytest.approx(exact, rel=tolerance)
    # Whether more iterations were made before does not matter.
    again = spectrum.quadrature(20)
    fresh = Spectrum(lambda rows: rows @ matrix, 600).quadrature(20)
    for one, other in zip(again, fresh, strict=True):
        np.testing.assert_allclose(one, other)


def test_curves_by_products_are_those_of_the_decomposition(monkeypatch):
    operator, g, _ = grid_draws(9, 2)
    # `alpha_curve` would decompose what can be.
    decomposed, applied = by_both_ways(monkeypatch, g, order=1, noise_level=0.02, operator=operator)
    alphas = decomposed.invert(g).alpha.mean() * np.array([0.1, 1.0, 10.0])
    expected, found = (inverter.alpha_curve(g, alphas=alphas) for inverter in (decomposed, applied))
    for name in ("alpha", "misfit", "model_norm", "gcv", "chi_factor"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=2e-2)
    whole = applied.alpha_curve(g)
    assert whole.alpha.shape == whole.gcv.shape
    assert np.isfinite(whole.gcv).all()
    assert (np.diff(whole.misfit, axis=0) >= 0).all()
    short = TikhonovInverter(order=1, noise_level=0.02, operator=operator, max_iter=12).fit(g)
    with pytest.warns(ConvergenceWarning, match="did not converge within 'max_iter' at"):
        curve = short.alpha_curve(g, alphas=1e-6 * alphas)
    assert np.isnan(curve.misfit).any()


def test_exact_data_leave_alpha_open_by_products(monkeypatch):
    operator, g, _ = grid_draws(9, 2, level=0.0)
    monkeypatch.setattr(_base, "SVD_SIZE", 1)
    inverter = TikhonovInverter("gcv", order=1, operator=operator).fit(g)
    with pytest.warns(UserWarning, match="'alpha' is 'gcv', but 2 of 2 samples do not determine"):
        inverter.invert(g)


def test_mixed_norms_find_the_noise_by_products(monkeypatch):
    operator, g, _ = grid_draws(12, 1)
    inverter = SparseInverter("gcv", operator=operator, max_iter=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        expected = inverter.fit(g).invert(g).sigma
        monkeypatch.setattr(_base, "SVD_SIZE", 1)
        np.testing.assert_allclose(inverter.fit(g).invert(g).sigma, expected, rtol=5e-3)
