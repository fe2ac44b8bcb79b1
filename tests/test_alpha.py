"""Alphas that are chosen without a noise level: the misfit they leave, on many draws."""

import warnings
from functools import cache

import numpy as np
import pytest

from skgrav import ForwardOperator, Mesh, Survey, TikhonovInverter
from skgrav.datasets import make_gravity_dataset
from skgrav.inverters._damping import DampedLeastSquares

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
