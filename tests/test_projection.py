"""The projection's chi factor and bounds: against peers, for real sections, and in the Refiner."""

import pickle
import warnings

import numpy as np
import pytest
from conftest import norms, sections_near_truth
from scipy.optimize import lsq_linear, minimize
from scipy.special import chdtri
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skgrav import Mesh, Refiner
from skgrav.datasets import make_gravity_dataset
from skgrav.metrics import chi_factor
from skgrav.solvers import Projection

MESH = Mesh.square(20)
BOUNDS = (0.0, 12.0)
N_SECTIONS = 200


def errors(rho, truth):
    return norms(rho - truth) / norms(truth)


def with_noise(g, level, seed=0):
    """Give noisy data and the noise that is told, `level` times the rms of each noisy sample."""
    rms = np.sqrt(np.mean(g**2, axis=1, keepdims=True))
    noisy = g + level * rms * np.random.default_rng(seed).normal(size=g.shape)
    return noisy, level * np.sqrt(np.mean(noisy**2, axis=1, keepdims=True))


@pytest.fixture(scope="module")
def sections():
    """Give the operator, sections, starts 5 % off and clean data."""
    operator = make_gravity_dataset(n_samples=1, mesh=MESH, random_state=0).operator
    rho, start = sections_near_truth(MESH, N_SECTIONS)
    return operator, rho, start, operator.transform(rho)


@pytest.fixture(scope="module")
def tiny():
    """Give a matrix of 8 data and 30 cells, densities in [0, 1] and starts beyond the bounds."""
    rng = np.random.default_rng(0)
    A = rng.normal(size=(8, 30))
    rho = np.clip(rng.uniform(-0.5, 1.5, size=(6, 30)), 0, 1)
    return A, rho, rho + rng.normal(size=rho.shape), rho @ A.T


# Chi factor


def test_chi_factor_is_met_for_noisy_sections(sections):
    operator, _, start, clean = sections
    g, sigma = with_noise(clean, 0.01)
    found = Projection(chi_factor=1.0).solve(operator, g, start, sigma=sigma)
    chi = chi_factor(operator, found.rho, g, noise_level=0.01, multioutput="raw_values")
    default = Projection().solve(operator, g, start, sigma=sigma).rho
    assert np.mean(chi) == pytest.approx(1, abs=0.02)
    assert np.mean((chi > 0.9) & (chi < 1.1)) >= 0.95
    assert chi_factor(operator, default, g, noise_level=0.01) > 1.03
    np.testing.assert_allclose(
        found.residual_history[-1] * norms(g), np.sqrt(chi * g.shape[1]) * sigma[:, 0], rtol=1e-6
    )


def test_no_sample_is_fitted_closer_than_the_smallest_of_twenty_noises(sections):
    operator, _, start, clean = sections
    g, sigma = with_noise(clean, 0.01)
    found = Projection(chi_factor=1e-3).solve(operator, g, start, sigma=sigma).rho
    U, s, _ = operator.svd_
    rank = np.sum(s > 1e-11 * s[0])
    within = norms((g - operator.transform(found)) @ U[:, :rank])
    np.testing.assert_allclose(within, sigma[:, 0] * np.sqrt(chdtri(rank, 0.95)), rtol=1e-4)


@pytest.mark.parametrize("bounds", [None, BOUNDS])
def test_start_below_the_chi_factor_is_left_alone(bounds, sections):
    operator, rho, _, clean = sections
    g, sigma = with_noise(clean, 0.01)
    found = Projection(chi_factor=2.0, bounds=bounds).solve(operator, g, rho, sigma=sigma)
    np.testing.assert_array_equal(found.rho, rho)
    assert (found.n_iter == 0).all()


@pytest.mark.parametrize("bounds", [None, BOUNDS])
def test_uncertainty_of_each_datum_weights_its_residual(bounds, sections):
    operator, _, start, clean = sections
    each = np.sqrt(np.mean(clean**2)) * np.geomspace(0.003, 0.03, clean.shape[1])
    g = clean + each * np.random.default_rng(0).normal(size=clean.shape)
    solver = Projection(chi_factor=1.0, bounds=bounds)
    before = chi_factor(operator, start, g, uncertainty=each, multioutput="raw_values")
    rho = solver.solve(operator, g, start, sigma=each[None]).rho
    chi = chi_factor(operator, rho, g, uncertainty=each, multioutput="raw_values")[before > 1]
    assert np.mean((chi > 0.9) & (chi < 1.1)) >= 0.95


def test_chi_factor_means_nothing_without_noise(sections):
    operator, _, start, g = sections
    found = Projection(chi_factor=1.0).solve(operator, g[:5], start[:5]).rho
    np.testing.assert_array_equal(found, Projection().solve(operator, g[:5], start[:5]).rho)


# Bounds, exact data


def test_bounded_projection_is_that_of_a_peer(tiny):
    A, _, start, g = tiny
    found = Projection(bounds=(0, 1)).solve(A, g, start)
    assert found.converged.all()
    for rho, rho0, data in zip(found.rho, start, g, strict=True):
        peer = minimize(
            lambda x, rho0=rho0: 0.5 * np.sum((x - rho0) ** 2),
            np.full(30, 0.5),
            jac=lambda x, rho0=rho0: x - rho0,
            bounds=[(0, 1)] * 30,
            constraints={"type": "eq", "fun": lambda x, d=data: A @ x - d, "jac": lambda x: A},
            method="SLSQP",
            options={"ftol": 1e-15, "maxiter": 500},
        )
        np.testing.assert_allclose(rho, peer.x, atol=1e-6)


def test_bounded_projection_with_noise_is_that_of_a_peer(tiny):
    A, _, start, g = tiny
    sigma = 0.3
    target2 = sigma**2 * chdtri(8, 0.05)
    found = Projection(bounds=(0, 1)).solve(A, g, start, sigma=sigma)
    np.testing.assert_allclose(norms(found.rho @ A.T - g) ** 2, target2, rtol=3e-3)
    for rho, rho0, data in zip(found.rho, start, g, strict=True):
        # Where the residual is what it is, damping and distance are in balance: least squares.
        residual, free = data - A @ rho, (rho > 0) & (rho < 1)
        alpha = np.sum(residual @ A[:, free] * (rho - rho0)[free])
        alpha /= np.sum((rho - rho0)[free] ** 2)
        stacked = np.vstack([A / np.sqrt(alpha), np.eye(30)])
        peer = lsq_linear(
            stacked, np.concatenate([data / np.sqrt(alpha), rho0]), bounds=(0, 1), method="bvls"
        )
        np.testing.assert_allclose(rho, peer.x, atol=1e-4)


def test_alternating_projections_have_the_same_limit_but_are_slow(tiny):
    A, _, start, g = tiny
    found = Projection(bounds=(0, 1)).solve(A, g, start).rho
    inverse, rho, correction = np.linalg.pinv(A), start, np.zeros_like(start)
    distance = []
    for _ in range(3000):
        fitted = rho + (g - rho @ A.T) @ inverse.T
        rho = np.clip(fitted + correction, 0, 1)
        correction = fitted + correction - rho
        distance.append(np.max(np.abs(rho - found)))
    assert distance[-1] < 1e-6 < distance[20]


def test_sections_are_fitted_within_bounds_and_nearer_to_the_truth(sections):
    operator, truth, start, g = sections
    found = Projection(bounds=BOUNDS).solve(operator, g, start)
    free = Projection().solve(operator, g, start).rho
    assert found.converged.all()
    assert (free < 0).any()
    assert found.rho.min() >= 0
    assert found.rho.max() <= 12
    misfit = norms(operator.transform(found.rho) - g) / norms(g)
    clipped = norms(operator.transform(np.clip(free, *BOUNDS)) - g) / norms(g)
    assert misfit.max() < 1e-8 < 1e-4 < clipped.max()
    np.testing.assert_allclose(found.residual_history[-1], misfit, atol=1e-12)
    assert (errors(found.rho, truth) <= errors(free, truth) * (1 + 1e-3)).all()
    assert np.mean(errors(found.rho, truth)) < np.mean(errors(free, truth))


def test_sections_are_fitted_from_zero(sections):
    operator, truth, _, g = sections
    found = Projection(bounds=BOUNDS).solve(operator, g)
    free = Projection().solve(operator, g).rho
    assert found.converged.all()
    assert (norms(operator.transform(found.rho) - g) < 1e-8 * norms(g)).all()
    # The least singular values leave room within the tolerance of the fit.
    assert (errors(found.rho, truth) <= errors(free, truth) * (1 + 1e-2)).all()
    assert np.mean(errors(found.rho, truth)) < np.mean(errors(free, truth))


@pytest.mark.parametrize("bounds", [(-np.inf, np.inf), (-1e3, 1e3), [-np.inf, 1e3]], ids=str)
@pytest.mark.parametrize("level", [0.0, 0.01])
def test_bounds_out_of_reach_change_nothing(bounds, level, sections):
    operator, _, start, clean = sections
    g, sigma = with_noise(clean[:20], level)
    free = Projection().solve(operator, g, start[:20], sigma=sigma)
    found = Projection(bounds=bounds).solve(operator, g, start[:20], sigma=sigma)
    np.testing.assert_allclose(found.rho, free.rho, atol=1e-9)
    np.testing.assert_array_equal(found.n_iter, free.n_iter)


@pytest.mark.parametrize("bounds", [(0.0, np.inf), (-np.inf, 12.0)])
def test_one_side_may_be_open(bounds, sections):
    operator, _, start, g = sections
    found = Projection(bounds=bounds).solve(operator, g[:50], start[:50])
    assert found.converged.all()
    assert ((found.rho >= bounds[0]) & (found.rho <= bounds[1])).all()


# Bounds, noisy data


@pytest.mark.parametrize("factor", [None, 1.0])
def test_noisy_sections_are_fitted_to_their_noise_within_bounds(factor, sections):
    operator, truth, start, clean = sections
    g, sigma = with_noise(clean, 0.01)
    found = Projection(bounds=BOUNDS, chi_factor=factor).solve(operator, g, start, sigma=sigma)
    free = Projection(chi_factor=factor).solve(operator, g, start, sigma=sigma)
    # Now and then noise leaves no density within the bounds that fits as closely as asked.
    assert np.mean(found.converged) >= 0.97
    assert ((found.rho >= 0) & (found.rho <= 12)).all()
    assert np.mean(errors(found.rho, truth)) < np.mean(errors(free.rho, truth))
    np.testing.assert_allclose(
        found.residual_history[-1][found.converged],
        free.residual_history[-1][found.converged],
        rtol=1e-3,
    )
    if factor is not None:
        chi = chi_factor(operator, found.rho, g, noise_level=0.01, multioutput="raw_values")
        assert np.mean((chi > 0.9) & (chi < 1.1)) >= 0.95


# Contradictions


@pytest.mark.parametrize("level", [0.0, 0.01])
def test_bounds_that_contradict_the_data_give_the_best_compromise(level, sections):
    operator, _, start, clean = sections
    g, sigma = with_noise(clean[:20], level)
    found = Projection(bounds=(0, 1)).solve(operator, g, start[:20], sigma=sigma)
    assert not found.converged.any()
    assert ((found.rho >= 0) & (found.rho <= 1)).all()
    misfit = norms(operator.transform(found.rho) - g)
    for i in range(3):
        best = lsq_linear(operator.matrix_, g[i], bounds=(0, 1), tol=1e-12)
        assert misfit[i] <= 1.002 * np.sqrt(2 * best.cost) + 3 * sigma[i, 0]
        assert misfit[i] >= 0.999 * np.sqrt(2 * best.cost)


def test_refiner_tells_of_contradictions_and_only_of_them(sections):
    operator, rho, _, g = sections
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        refiner = Refiner(
            Projection(bounds=BOUNDS), init="zero", operator=operator, noise_level=0.0
        ).fit(g, rho)
        found = refiner.predict(g[:50])
    assert ((found >= 0) & (found <= 12)).all()
    np.testing.assert_allclose(operator.transform(found), g[:50], rtol=0, atol=1e-6)
    strict = clone(refiner).set_params(solver__bounds=(0, 1))
    with pytest.warns(ConvergenceWarning, match="of 20 samples cannot be fitted within 'bounds'"):
        strict.fit(g[:20], rho[:20]).predict(g[:20])


# Manners


@pytest.mark.parametrize("level", [0.0, 0.01])
def test_samples_do_not_know_one_another(level, sections, monkeypatch):
    operator, _, start, clean = sections
    g, sigma = with_noise(clean[:12], level)
    solver = Projection(bounds=BOUNDS, chi_factor=1.0)
    together = solver.solve(operator, g, start[:12], sigma=sigma).rho
    monkeypatch.setattr("skgrav.solvers._bounded._CHUNK_BYTES", 1)
    np.testing.assert_allclose(
        solver.solve(operator, g, start[:12], sigma=sigma).rho, together, atol=1e-6
    )
    one = solver.solve(operator, g[:1], start[:1], sigma=sigma[:1])
    np.testing.assert_allclose(one.rho, together[:1], atol=1e-6)


def test_nothing_at_all_is_solved():
    found = Projection(bounds=(0, 1)).solve(np.eye(2), [[0.0, 0.0], [0.5, 2.0]])
    np.testing.assert_allclose(found.rho, [[0, 0], [0.5, 1]], atol=1e-2)
    np.testing.assert_array_equal(found.converged, [True, False])
    above = Projection(bounds=(1, 2)).solve(np.eye(2), [[0.0, 0.0]])
    np.testing.assert_allclose(above.rho, [[1, 1]])
    assert not above.converged[0]


def test_clones_and_pickles_keep_the_parameters(tiny):
    A, _, start, g = tiny
    solver = Projection(bounds=(0, 1), chi_factor=1.5)
    again = pickle.loads(pickle.dumps(clone(solver)))
    assert again.get_params() == solver.get_params()
    first = solver.solve(A, g, start, sigma=0.1).rho
    np.testing.assert_array_equal(again.solve(A, g, start, sigma=0.1).rho, first)


@pytest.mark.parametrize(
    "bounds", [(12, 0), (1, 1), (0, np.nan), (0, 1, 2), ("a", 1), [None, 1], (np.inf, np.inf)]
)
def test_bounds_that_are_none_are_refused(bounds):
    asked = r"'bounds' is .*, the lower below the upper, or two arrays .* for each cell\. Give"
    with pytest.raises(ValueError, match=asked):
        Projection(bounds=bounds).solve(np.eye(2), [[1.0, 2.0]])


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"chi_factor": 0}, "'chi_factor' parameter of Projection must be .* Got 0"),
        ({"chi_factor": np.nan}, "'chi_factor' parameter of Projection must be .* Got nan"),
        ({"bounds": 12.0}, "'bounds' parameter of Projection must be .* Got 12.0"),
    ],
)
def test_bad_parameters_are_refused(params, text):
    with pytest.raises(ValueError, match=text):
        Projection(**params).solve(np.eye(2), [[1.0, 2.0]])
