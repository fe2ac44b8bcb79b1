"""The home of noise: levels, whitening with a trend, and that every method takes both alike."""

from functools import partial

import numpy as np
import pytest
from sklearn.decomposition import PCA

from skgrav import (
    AnalogueInverter,
    BayesLinearInverter,
    CNNInverter,
    ForwardOperator,
    LatentInverter,
    Mesh,
    Refiner,
    SparseInverter,
    Survey,
    TikhonovInverter,
)
from skgrav.datasets import make_density_models
from skgrav.metrics import chi_factor, relative_data_misfit, relative_l2_error, residual_trend
from skgrav.noise import Noise, Whitening
from skgrav.solvers import SOLVERS, Projection

MESH = Mesh.regular((8, 12), 50.0)
X_LINE = np.linspace(-400.0, 400.0, 31)
LINE = np.column_stack([np.full(31, -10.0), X_LINE])
UNEVEN = np.random.default_rng(3).uniform(0.5, 2.0, 62)
RHO = make_density_models(60, mesh=MESH, density_range=(-300.0, 300.0), random_state=0)


def surveyed(trend=None, uncertainty=0.01 * UNEVEN, components=("x", "z")):
    return ForwardOperator(MESH, Survey(LINE, components, uncertainty, trend)).fit()


def noisy(operator, seed=0):
    g = operator.transform(RHO)
    return g + operator.survey_.uncertainty * np.random.default_rng(seed).normal(size=g.shape)


# Whitening


@pytest.mark.parametrize("degree", [None, 0, 1, 2])
@pytest.mark.parametrize("ndim", [2, 3])
def test_whitening_removes_the_trend_and_leaves_white_noise(ndim, degree):
    rng = np.random.default_rng(0)
    stations = rng.uniform(-5e3, 5e3, size=(40, ndim))
    survey = Survey(stations, ("x", "z"), rng.uniform(0.5, 2, 80), degree)
    noise = Noise.of(survey)
    n_powers = {(2, 0): 1, (2, 1): 2, (2, 2): 3, (3, 0): 1, (3, 1): 3, (3, 2): 6}
    k = 0 if degree is None else 2 * n_powers[ndim, degree]
    assert survey.trend_basis.shape == (80, k)
    assert len(survey.trend_names) == k
    trend = 1e3 * rng.normal(size=(5, k)) @ (survey.trend_basis / 5e3 ** (degree or 0)).T
    white = noise.whitening(trend)
    assert white.shape == (5, 80 - k)
    assert np.abs(white).max(initial=0) < 1e-9 * np.abs(trend).max(initial=1)
    # Orthonormal rows: noise of these standard deviations becomes white.
    rows = noise.whitening(np.diag(noise.whitening.weights))
    np.testing.assert_allclose(rows.T @ rows, np.eye(80 - k), atol=1e-13)
    g = rng.normal(size=(4, 80))
    np.testing.assert_allclose(
        np.linalg.norm(noise.whitening(g), axis=1),
        np.linalg.norm(noise.whitening.detrended(g) / noise.whitening.weights, axis=1),
    )


def test_whitening_has_an_adjoint():
    rng = np.random.default_rng(0)
    whitening = Whitening(rng.uniform(0.5, 2, 30), rng.normal(size=(30, 4)))
    data, white, A = rng.normal(size=(3, 30)), rng.normal(size=(3, 26)), rng.normal(size=(30, 7))
    np.testing.assert_allclose(
        np.sum(whitening(data) * white, axis=1), np.sum(data * whitening.adjoint(white), axis=1)
    )
    np.testing.assert_allclose(whitening.matrix(A), whitening(A.T).T)


def test_polynomials_of_each_component_are_named_by_rising_degree():
    line = Survey(LINE, ("x", "z"), trend=1)
    assert line.trend_names == ("gx", "gx x", "gz", "gz x")
    stations = np.random.default_rng(0).normal(size=(9, 3))
    assert Survey(stations, "z", trend=2).trend_names == (
        ("gz", "gz x", "gz y", "gz x^2", "gz y x", "gz y^2")
    )
    given = Survey(LINE, "z", trend=np.sin(X_LINE))
    assert given.trend_names == ("trend0",)
    assert given.trend_basis.shape == (31, 1)


def test_surveys_of_other_trends_differ():
    surveys = [Survey(LINE, "z", trend=t) for t in (None, 0, 1, np.ones(31), np.sin(X_LINE))]
    assert len(set(surveys)) == 5
    assert surveys[1] == Survey(LINE, "z", trend=0)
    assert repr(surveys[2]) == "Survey(31 stations, components z, trend of degree 1)"


@pytest.mark.parametrize(
    ("trend", "text"),
    [
        (3, r"'trend' is 3; it must be a degree of 0, 1 or 2, a basis of shape \(31, n_coeff"),
        (np.ones(30), r"'trend' has shape \(30, 1\); a basis has one row for each of 31 data"),
        (np.ones((31, 2)), "'trend' has 2 coefficients, but the stations determine only 1"),
        (np.eye(31), "'trend' has 31 coefficients, .* Take a lower degree or fewer columns"),
        ("plane", "'trend' cannot be used: .*'plane'.* is text"),
        (np.full(31, np.nan), "'trend' contains NaN"),
    ],
)
def test_bad_trends_are_refused(trend, text):
    with pytest.raises((ValueError, TypeError), match=text):
        Survey(LINE, "z", trend=trend)


def test_stations_must_determine_the_trend():
    across = np.column_stack([np.zeros(9), np.zeros(9), np.arange(9.0)])
    with pytest.raises(ValueError, match=r"'trend' has 3 coefficients, but .* determine only 2"):
        Survey(across, "z", trend=1)


@pytest.mark.parametrize("trend", [0, 2, np.sin(X_LINE)])
def test_trends_are_kept_with_labelled_data(trend, tmp_path):
    survey = Survey(LINE, "z", 0.1, trend)
    dataset = survey.to_xarray(np.zeros(31))
    assert Survey.from_xarray(dataset) == survey
    dataset.to_netcdf(tmp_path / "g.nc")
    xarray = pytest.importorskip("xarray")
    assert Survey.from_xarray(xarray.load_dataset(tmp_path / "g.nc")) == survey


# Standard deviations


def test_levels_are_relative_to_data_without_their_trend():
    operator = surveyed(trend=1, uncertainty=None)
    noise = Noise.of(operator, 0.05)
    g = operator.transform(RHO[:3])
    detrended = noise.whitening.detrended(g)
    expected = 0.05 * np.sqrt(np.mean(detrended**2, axis=1, keepdims=True))
    np.testing.assert_allclose(noise.std(g), np.broadcast_to(expected, g.shape))
    np.testing.assert_allclose(noise.std(g + 1e3), noise.std(g), rtol=1e-9)


def test_uncertainties_distribute_the_noise_of_a_level():
    g = surveyed().transform(RHO[:3])
    noise = Noise.of(surveyed(uncertainty=7 * UNEVEN), [0.01, 0.02, 0.03])
    std = noise.std(g)
    np.testing.assert_allclose(std / std[:, :1], np.tile(UNEVEN / UNEVEN[0], (3, 1)))
    rms = np.sqrt(np.mean(g**2, axis=1))
    np.testing.assert_allclose(np.sqrt(np.mean(std**2, axis=1)), [0.01, 0.02, 0.03] * rms)


def test_one_precedence():
    operator, g = surveyed(), surveyed().transform(RHO[:2])
    np.testing.assert_allclose(Noise.of(operator).std(g), np.tile(0.01 * UNEVEN, (2, 1)))
    assert Noise.of(operator, "auto").std(g) is None
    assert Noise.of(surveyed(uncertainty=None)).std(g) is None
    parameter = Noise.of(operator, 0.1)
    np.testing.assert_allclose(parameter.at(0.2).std(g), 2 * parameter.std(g))
    np.testing.assert_allclose(parameter.at(None).std(g), parameter.std(g))
    with pytest.raises(ValueError, match="'noise_level' and 'uncertainty' are both given"):
        Noise.of(operator, 0.1, uncertainty=1.0)


def test_chi_factor_is_one_at_the_truth_with_and_without_a_trend():
    for trend in (None, 2):
        operator = surveyed(trend)
        g = noisy(operator) + 50.0 * (trend is not None)
        chi = chi_factor(operator, RHO, g, multioutput="raw_values")
        assert chi.mean() == pytest.approx(1, abs=0.05)
        assert 0.14 < chi.std() < 0.23  # (2 / 56)**0.5


# The trend in every method


def inverters(operator):
    common = {"operator": operator}
    yield TikhonovInverter(**common)
    yield TikhonovInverter(order=1, depth_weighting="sensitivity", **common)
    yield TikhonovInverter(order=1, bounds=(-300.0, 300.0), **common)
    yield TikhonovInverter("gcv", noise_level="auto", **common)
    yield TikhonovInverter(noise_level=0.2, **common)
    yield SparseInverter(norms=1, depth_weighting="sensitivity", **common)
    yield AnalogueInverter(5, **common)
    yield BayesLinearInverter(**common)
    yield BayesLinearInverter("auto", **common)
    yield LatentInverter(PCA(20), **common)
    yield LatentInverter(PCA(20), projection=True, **common)
    for network in ({}, {"architecture": "paper"}, {"data_consistency": True}):
        settings = {"max_epochs": 2, "batch_size": 20, "training_noise": (0.0, 0.3)}
        yield CNNInverter(random_state=0, **settings, **network, **common)
    for solver in SOLVERS:
        yield Refiner(solver, init=BayesLinearInverter(**common), **common)
    yield Refiner("bayes", init=BayesLinearInverter(**common), random_state=0, **common)
    yield Refiner(Projection(bounds=(-300.0, 300.0)), init="zero", **common)


NAMES = [str(i).split("operator=")[0] for i in inverters(None)]


@pytest.mark.filterwarnings("ignore:.* did not converge within", "ignore:.* within 'bounds'")
@pytest.mark.filterwarnings("ignore:.* does not reproduce X from y")  # the level is not theirs
@pytest.mark.filterwarnings("ignore:'norms' is 1 and 'depth_weighting' is 'sensitivity' without")
@pytest.mark.parametrize("k", range(len(NAMES)), ids=NAMES)
def test_no_trend_changes_an_estimate(k):
    operator = surveyed(trend=1)
    g, new = noisy(operator), noisy(operator, seed=1)[:5]
    inverter = list(inverters(operator))[k].fit(g, RHO)
    rho = inverter.predict(new)
    basis = operator.survey_.trend_basis / np.abs(operator.survey_.trend_basis).max(axis=0)
    size = np.abs(new).max()
    for coefficients in ([10, 0, -10, 0], [-3, 20, 5, -20]):
        other = inverter.predict(new + size * np.array(coefficients) @ basis.T)
        assert np.abs(other - rho).max() < 1e-8 * np.abs(rho).max()
    # Nor one in the training data.
    again = list(inverters(operator))[k].fit(g + 30 * size, RHO).predict(new)
    assert np.abs(again - rho).max() < 1e-8 * np.abs(rho).max()


@pytest.mark.filterwarnings("ignore:.* have densities that no rock has")
@pytest.mark.filterwarnings("ignore:'norms' is 1 and 'depth_weighting' is 'sensitivity' without")
@pytest.mark.parametrize("inverter", [TikhonovInverter, partial(SparseInverter, norms=1)])
def test_noise_that_is_not_known_is_found(inverter):
    operator = surveyed(uncertainty=None)
    noisy_g = noisy(surveyed(uncertainty=0.05))
    result = inverter(depth_weighting="sensitivity", operator=operator).fit(noisy_g).invert(noisy_g)
    assert 0.8 < np.median(result.sigma) / 0.05 < 1.25
    known = inverter(operator=surveyed(uncertainty=0.05)).fit(noisy_g).invert(noisy_g)
    np.testing.assert_allclose(known.sigma, 0.05)
    number = inverter(1.0, operator=operator).fit(noisy_g[:2]).invert(noisy_g[:2])
    assert np.isnan(number.sigma).all()


@pytest.mark.parametrize("matrix_free", [False, True])
def test_solvers_leave_the_trend_alone_in_any_coordinates(matrix_free):
    operator = surveyed(trend=1)
    g = noisy(operator)[:5]
    for name in ("cgls", "lsmr", "lgmres"):
        solver = SOLVERS[name](engine="operator" if matrix_free else "svd")
        rho = solver.solve(operator, g).rho
        np.testing.assert_allclose(
            solver.solve(operator, g + 100.0).rho, rho, atol=1e-8 * np.abs(rho).max()
        )
        assert chi_factor(operator, rho, g) < 1.4


def test_matrix_free_tikhonov_knows_the_trend():
    stations = LINE[:, [0, 1]]
    survey = Survey(stations, "z", 0.02, trend=1)
    g = ForwardOperator(MESH, survey).fit().transform(RHO[:3])
    g += 0.02 * np.random.default_rng(0).normal(size=g.shape)
    dense, rows = (
        TikhonovInverter(order=1, tol=1e-8, operator=ForwardOperator(MESH, survey, method=method))
        for method in ("dense", "rows")
    )
    expected = dense.fit(g).predict(g)
    np.testing.assert_allclose(rows.fit(g).predict(g + 9.0), expected, atol=0.05)


def test_trend_is_found_within_its_standard_deviations():
    operator = surveyed(trend=1)
    added = np.array([0.5, 1e-3, -2.0, -2e-3])
    g = noisy(operator) + added @ operator.survey_.trend_basis.T
    inverter = BayesLinearInverter(operator=operator).fit(g, RHO)
    found = residual_trend(operator, RHO, g)
    assert found.names == ("gx", "gx x", "gz", "gz x")
    off = np.abs(found.coefficients - added) / found.std
    assert 0.9 < np.mean(off < 2) <= 1  # of the truth: the noise alone
    np.testing.assert_allclose(found.values, found.coefficients @ operator.survey_.trend_basis.T)
    residual = g - operator.transform(inverter.predict(g))
    assert np.abs(Noise.of(operator).trend(residual).coefficients - added).max() < 0.2


@pytest.fixture(scope="module")
def basins():
    """Give basins on a line of 20 km, their data, and the operators without and with a level."""
    x = np.linspace(0, 20e3, 81)
    mesh = Mesh([np.linspace(0, 5000, 26), np.linspace(-4e3, 24e3, 113)])
    z, along = np.meshgrid(*mesh.centers, indexing="ij")
    stations = np.column_stack([np.full(81, -1.0), x])
    known, unknown = (
        ForwardOperator(mesh, Survey(stations, "z", 0.1, trend)).fit() for trend in (None, 0)
    )
    rng = np.random.default_rng(0)
    middles = rng.uniform(6e3, 14e3, 10)
    depths = [2000 * np.exp(-(((along - x0) / 2e3) ** 2)) for x0 in middles]
    rho = np.array([np.where(z < depth, -300.0, 0.0).ravel() for depth in depths])
    g = known.transform(rho)
    return known, unknown, rho, g + 0.1 * rng.normal(size=g.shape)


def test_unknown_level_costs_next_to_nothing_where_it_is_a_trend(basins):
    known, unknown, rho, g = basins
    settings = {"order": 1, "depth_weighting": "sensitivity"}
    level = np.linspace(-20, 20, len(g))[:, None]
    exact = TikhonovInverter(operator=known, **settings).fit(g)
    result = TikhonovInverter(operator=unknown, **settings).fit(g).invert(g + level)
    error = relative_l2_error(rho, exact.predict(g))
    assert relative_l2_error(rho, result.rho) < 1.02 * error
    assert relative_l2_error(rho, exact.predict(g + level)) > 1.3 * error
    # What densities could explain of the level is part of its standard deviation.
    off = np.abs(result.trend.coefficients - level) / result.trend.std
    assert np.mean(off < 2) > 0.9
    assert (result.trend.std > 10 * 0.1 / 9).all()


@pytest.mark.filterwarnings("ignore:.*differ from 'reference' by less than their noise")
def test_trend_beside_the_reference_alone_has_no_standard_deviation():
    operator = surveyed(trend=0)
    g = 7.0 + 1e-3 * np.random.default_rng(0).normal(size=(1, operator.n_data_))
    result = TikhonovInverter(operator=operator).fit(g).invert(g)
    assert np.isinf(result.alpha).all()
    assert np.isnan(result.trend.std).all()


def test_outputs_hold_data_as_measured_and_the_trend():
    operator = surveyed(trend=0)
    g = noisy(operator) + 12.0
    result = TikhonovInverter(operator=operator).fit(g).invert(g)
    left = g - operator.transform(result.rho) - result.trend.values
    np.testing.assert_allclose(np.mean((left / (0.01 * UNEVEN)) ** 2) * 62 / 60, 1, atol=0.1)
    assert relative_data_misfit(operator, result.rho, g) < 0.1
    assert relative_data_misfit(surveyed(), result.rho, g) > 0.9


def test_trend_of_a_survey_without_one_is_refused():
    operator = surveyed()
    with pytest.raises(ValueError, match=r"whose survey has no trend; give Survey\(\.\.\., trend"):
        residual_trend(operator, RHO, operator.transform(RHO))


# Data that the mesh does not explain


@pytest.fixture(scope="module")
def understated():
    """Give 400 data with twice the noise that their survey states, and a mesh of 100 cells."""
    rng, x = np.random.default_rng(0), np.linspace(-2000, 2000, 400)
    survey = Survey(np.column_stack([np.full(400, -1.0), x]), ("z",), 0.05)
    mesh = Mesh([np.linspace(0, 1000, 6), np.linspace(-2000, 2000, 21)])
    operator = ForwardOperator(mesh, survey).fit()
    rho = np.zeros((5, 20))
    rho[1:3, 8:12] = 300
    rho = rho.reshape(1, -1)
    return operator, rho, operator.transform(rho) + 0.1 * rng.standard_normal((1, 400))


def methods(operator):
    yield TikhonovInverter(operator=operator)
    yield TikhonovInverter(order=1, operator=operator)
    yield SparseInverter(norms=1, operator=operator)
    for solver in (
        *SOLVERS,
        SOLVERS["cgls"](engine="operator"),
        SOLVERS["lsmr"](engine="operator"),
    ):
        if solver != "gd":  # the paper's step scarcely moves
            yield Refiner(solver, init="zero", operator=operator)


METHODS = [str(m).split("operator=F")[0] for m in methods(ForwardOperator())]


@pytest.mark.parametrize("k", range(len(METHODS)), ids=METHODS)
def test_more_noise_than_stated_is_warned_of_and_not_fitted(k, understated):
    operator, rho, g = understated
    method = list(methods(operator))[k].fit(g, rho)
    with pytest.warns(
        UserWarning, match=r"1 of 1 samples \(chi factor up to [34]\.\d.*more noise th"
    ):
        found = method.predict(g)
    assert -400 < found.min() < found.max() < 900


@pytest.mark.parametrize("name", ["cgls", "lsmr", "gmres", "lgmres"])
def test_noise_is_estimated_without_the_svd_as_with_it(name, understated):
    # Rounding repeats directions, so that there are more iterations than parameters.
    operator, rho, _ = understated
    noise = 0.1 * np.random.default_rng(1).standard_normal((8, 400))
    g = operator.transform(rho) + noise
    found = [SOLVERS[name](engine=e).solve(operator, g).rho for e in ("operator", "svd")]
    misfit = [np.mean((operator.transform(r) - g) ** 2, axis=1) for r in found]
    np.testing.assert_allclose(*misfit, rtol=0.1)


@pytest.mark.parametrize("k", range(len(METHODS)), ids=METHODS)
def test_mesh_that_explains_only_a_part_ends_near_least_squares(k):
    line = np.linspace(-2000, 2000, 41)
    survey = Survey(np.column_stack([np.zeros(41), line]), ("z",), 0.05)
    operator = ForwardOperator(Mesh([[0, 100], [0, 100]]), survey).fit()
    g = operator.transform([[1000.0]]) + 1.0
    method = list(methods(operator))[k].fit(operator.transform([[1000.0]]), [[1000.0]])
    with pytest.warns(UserWarning, match=r"correlated between neighb.*Refine or extend 'mesh', or"):
        found = method.predict(g)
    least = np.linalg.lstsq(operator.matrix_, g[0])[0]
    np.testing.assert_allclose(found[0], least, rtol=0.03)


def test_level_as_a_trend_gives_the_body_back():
    line = np.linspace(-2000, 2000, 41)
    survey = Survey(np.column_stack([np.zeros(41), line]), ("z",), 0.05, trend=0)
    operator = ForwardOperator(Mesh([[0, 100], [0, 100]]), survey).fit()
    g = operator.transform([[1000.0]]) + 1.0
    found = TikhonovInverter(alpha=1e-9, operator=operator).fit(g).predict(g)
    assert found == pytest.approx(1000, abs=1e-3)
