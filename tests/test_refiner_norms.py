"""Refining by departures of least model norm from the start."""

import pickle

import numpy as np
import pytest
from conftest import sections_near_truth, with_noise
from scipy.optimize import lsq_linear
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skgrav import (
    CellValues,
    ForwardOperator,
    JointOperator,
    Mesh,
    Refiner,
    SparseInverter,
    Survey,
    TikhonovInverter,
)
from skgrav.metrics import chi_factor

MESH = Mesh.square(10)
OPERATOR = ForwardOperator(MESH, Survey.line(MESH), units="normalized").fit()
RHO, START = sections_near_truth(MESH, 8)
LEVEL = 0.02
G = with_noise(OPERATOR.transform(RHO), LEVEL)
BOTH = np.hstack([START, G])


def refiner(solver="tikhonov", **params):
    return Refiner(solver, **{"operator": OPERATOR, "noise_level": LEVEL} | params)


def test_name_is_the_inverter_with_its_defaults():
    found = refiner().fit(BOTH, RHO).predict(BOTH)
    np.testing.assert_array_equal(refiner(TikhonovInverter()).fit(BOTH, RHO).predict(BOTH), found)
    # Order 0 in closed form: the start plus a multiple of the adjoint.
    alone = TikhonovInverter(operator=OPERATOR, noise_level=LEVEL)
    for start, g, rho in zip(START, G, found, strict=True):
        expected = clone(alone).set_params(reference=start).fit(G).predict(g[None])[0]
        np.testing.assert_allclose(rho, expected, atol=1e-8 * np.abs(rho).max())


@pytest.mark.parametrize(
    "solver",
    [
        TikhonovInverter(order=1, norm_weights=(1, 2, 0.5)),
        TikhonovInverter(order=2, bounds=(0.0, 12.0)),
        SparseInverter(norms=1, bounds=(0.0, 12.0)),
    ],
    ids=str,
)
def test_data_are_fitted_to_their_noise_near_the_start(solver):
    fitted = refiner(solver).fit(BOTH, RHO)
    result = fitted.refine(BOTH)
    chi = chi_factor(OPERATOR, result.rho, G, noise_level=LEVEL)
    np.testing.assert_allclose(chi, 1.0, atol=0.12)
    assert result.converged.all()
    if solver.bounds is not None:
        assert result.rho.min() >= 0
        assert result.rho.max() <= 12
    assert result.residual_history.shape == (2, 8)
    assert (result.residual_history[1] < result.residual_history[0]).all()
    zero = refiner(solver, init="zero").fit(G, RHO).predict(G)
    own, other = (np.linalg.norm(rho - RHO, axis=1) for rho in (result.rho, zero))
    assert (own < other).all()


def test_bounds_hold_for_densities_not_for_departures():
    bounds = (0.0, 8.0)
    solver = TikhonovInverter(1.0, bounds=bounds, tol=1e-7)
    found = refiner(solver).fit(BOTH, RHO).refine(BOTH).rho
    sigma = LEVEL * np.sqrt(np.mean(G**2, axis=1))
    for start, g, s, rho in zip(START, G, sigma, found, strict=True):
        stacked = np.vstack([OPERATOR.matrix_ / s, np.eye(MESH.n_cells)])
        peer = lsq_linear(stacked, np.r_[g / s, start], bounds=bounds, method="bvls", tol=1e-14)
        np.testing.assert_allclose(rho, peer.x, atol=1e-4)


def test_start_that_fits_is_kept():
    both = np.hstack([RHO, OPERATOR.transform(RHO)])
    result = refiner().fit(BOTH, RHO).refine(both)
    np.testing.assert_allclose(result.rho, RHO)
    assert result.converged.all()


def test_joint_data_and_active_cells():
    active = np.ones(MESH.shape, dtype=bool)
    active[0, :4] = False
    mesh = Mesh(MESH.edges, active=active)
    cells = np.array([20, 30, 40])
    line = Survey.line(MESH)
    survey = Survey(line.stations, line.components, uncertainty=0.5)
    joint = JointOperator(
        [
            ForwardOperator(mesh, survey, units="normalized"),
            CellValues(mesh, cells, uncertainty=0.1),
        ]
    ).fit()
    rho = RHO[:, active.ravel()]
    start = START[:, active.ravel()]
    clean = joint.transform(rho)
    rng = np.random.default_rng(0)
    sigma = np.r_[np.full(clean.shape[1] - 3, 0.5), np.full(3, 0.1)]
    g = clean + sigma * rng.normal(size=clean.shape)
    both = np.hstack([start, g])
    fitted = Refiner(TikhonovInverter(order=1), operator=joint).fit(both, rho)
    result = fitted.refine(both)
    assert result.rho.shape == rho.shape
    residual = (g - joint.transform(result.rho)) / sigma
    assert np.mean(residual**2) == pytest.approx(1, abs=0.1)


def test_fitted_refiner_survives_pickles_and_files(tmp_path):
    fitted = refiner(TikhonovInverter(order=1, bounds=(0.0, 12.0))).fit(BOTH, RHO)
    expected = fitted.predict(BOTH)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict(BOTH), expected)
    fitted.save(tmp_path / "refiner")
    np.testing.assert_array_equal(Refiner.load(tmp_path / "refiner").predict(BOTH), expected)


def test_unknown_noise_counts_as_none_as_with_other_solvers():
    g = OPERATOR.transform(RHO)
    both = np.hstack([START, g])
    with pytest.warns(UserWarning, match="fitted as if noise-free"):
        fitted = refiner(noise_level=None).fit(both, RHO)
    assert fitted.refine(both).residual_history[1].max() < 1e-5
    told = fitted.refine(both, noise_level=0.1)
    assert told.residual_history[1].max() > 0.01


def test_data_beyond_bounds_are_told_once():
    fitted = refiner(TikhonovInverter(bounds=(0.0, 0.1))).fit(BOTH, RHO)
    with pytest.warns(ConvergenceWarning, match=r"8 of 8 samples .* within 'bounds'") as told:
        fitted.predict(BOTH)
    assert len(told) == 1


@pytest.mark.parametrize(
    ("params", "name"),
    [({"noise_level": 0.1}, "noise_level"), ({"reference": 2.0}, "reference"),
     ({"operator": OPERATOR}, "operator")],
)  # fmt: skip
def test_what_the_refiner_sets_is_refused(params, name):
    with pytest.raises(ValueError, match=f"'solver' is a TikhonovInverter with '{name}'"):
        refiner(TikhonovInverter(**params)).fit(BOTH, RHO)


def test_misspelt_name_is_told():
    with pytest.raises(ValueError, match="Did you mean 'tikhonov'"):
        refiner("tichonov").fit(BOTH, RHO)
