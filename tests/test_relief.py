"""Depth of an interface: its gravity, its recovery, what is known of it, and how sure it is."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

import skgrav.inverters
from skgrav import ForwardOperator, MatrixOperator, Mesh, ReliefInverter, Survey
from skgrav.operators import ContrastLaw, InterfaceModel, PhysicsWarning

LAWS = {
    "constant": ContrastLaw("constant"),
    "exponential": ContrastLaw("exponential", 1500.0),
    "growing": ContrastLaw("exponential", -3000.0),
    "parabolic": ContrastLaw("parabolic", 1500.0),
}
X_EDGES = np.linspace(-25e3, 25e3, 51)
SECTION = Mesh([np.linspace(0, 5000, 26), X_EDGES])
X = SECTION.centers[1]
BASIN = 3000 * np.exp(-((X / 9000) ** 2)) + 400 * np.exp(-(((X - 12e3) / 4000) ** 2))


def model(mesh, stations, law="constant", components=("z",), reference=None, contrast=-400.0):
    """Give the forward model of all columns of a mesh."""
    n = int(np.prod(mesh.shape[1:]))
    ground = np.full(n, mesh.edges[0][0])
    return InterfaceModel(
        mesh,
        Survey(stations, components),
        "mGal",
        np.arange(n),
        ground,
        ground if reference is None else np.full(n, reference),
        np.full(n, contrast),
        LAWS[law],
    )


def line(x, height=1.0):
    return np.column_stack([np.full(len(x), -height), x])


def inverter(uncertainty=0.3, trend=None, mesh=SECTION, **params):
    """Give a fitted inverter of a basin with an exponential contrast."""
    survey = Survey(line(mesh.centers[1]), "z", uncertainty=uncertainty, trend=trend)
    told = {"decay": "exponential", "decay_length": 3000.0} | params
    estimator = ReliefInverter(-500.0, operator=ForwardOperator(mesh, survey), **told)
    return estimator.fit(np.ones((1, survey.n_data)))


def gravity(estimator, depth):
    """Give the exact gravity of an interface."""
    return estimator._relief.model(estimator.operator_).gravity(depth)


def noisy(estimator, depth, seed=0, std=0.3, level=0.0):
    g = gravity(estimator, depth)
    return (g + level + std * np.random.default_rng(seed).normal(size=g.shape))[None]


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


# The gravity of an interface


@pytest.mark.parametrize("law", LAWS)
def test_a_wide_column_is_a_bouguer_slab(law):
    slab = Mesh([[0.0, 3000.0], [-1e8, 1e8]])
    z = np.linspace(0, 2000, 20001)
    factor = LAWS[law].factor(z)
    thickness = np.sum((factor[1:] + factor[:-1]) / 2 * np.diff(z))
    bouguer = 2e5 * np.pi * 6.6743e-11 * -400.0 * thickness
    section = model(slab, line(np.zeros(1)), law)
    g = section.gravity(np.array([2000.0]))
    np.testing.assert_allclose(g, bouguer, rtol=2e-4)
    np.testing.assert_allclose(section.slab_depth(g), 2000.0, rtol=2e-4)


@pytest.mark.parametrize("ndim", [2, 3])
def test_columns_of_whole_cells_have_the_gravity_of_the_operator(ndim):
    rng = np.random.default_rng(0)
    edges = [np.linspace(-4000, 4000, 13)] * (ndim - 1)
    mesh = Mesh([np.linspace(0, 3000, 7), *edges])
    stations = np.column_stack([-rng.uniform(0, 50, 20), rng.uniform(-6e3, 6e3, (20, ndim - 1))])
    components = ("z", "y", "x") if ndim == 3 else ("x", "z")
    columns = model(mesh, stations, components=components, reference=1500.0)
    depth = mesh.edges[0][rng.integers(0, 7, len(columns.columns))]
    operator = ForwardOperator(mesh, columns.survey).fit()
    expected = operator.transform(columns.densities(depth)[None])[0]
    np.testing.assert_allclose(
        columns.gravity(depth), expected, atol=1e-6 * np.abs(expected).max(), rtol=0
    )


@pytest.mark.parametrize("law", ["exponential", "growing", "parabolic"])
@pytest.mark.parametrize("reference", [None, 1000.0])
def test_contrast_that_changes_with_depth_is_that_of_thin_layers(law, reference):
    mesh = Mesh([np.linspace(0, 3000, 1201), np.linspace(-8000, 8000, 17)])
    columns = model(mesh, line(np.linspace(-9e3, 9e3, 25), 0.0), law, ("x", "z"), reference)
    depth = mesh.edges[0][np.random.default_rng(0).integers(1, 1200, 16)]
    layers = ForwardOperator(mesh, columns.survey).fit().transform([columns.densities(depth)])[0]
    # Layers of 2.5 m have their mean contrast, with an error of the square of their thickness.
    np.testing.assert_allclose(
        columns.gravity(depth), layers, atol=3e-6 * np.abs(layers).max(), rtol=0
    )


@pytest.mark.parametrize("law", LAWS)
def test_columns_aside_of_a_station_are_as_exact_as_close_ones(law, monkeypatch):
    rng = np.random.default_rng(0)
    edges = np.linspace(-15e3, 15e3, 31)
    mesh = Mesh([np.linspace(0, 4000, 3), edges, edges])
    stations = np.column_stack([np.zeros(12), rng.uniform(-15e3, 15e3, (12, 2))])
    columns, depth = model(mesh, stations, law), rng.uniform(10, 3900, 900)
    g = columns.gravity(depth)
    far = "skgrav.operators._columns._FAR"
    monkeypatch.setattr("skgrav.operators._columns._CLOSE_POINTS", 60)
    monkeypatch.setattr("skgrav.operators._columns._ACCURACY", 1e-30)
    monkeypatch.setattr(far, 1e9)
    exact = columns.gravity(depth)
    np.testing.assert_allclose(g, exact, atol=1e-6 * np.abs(exact).max(), rtol=0)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("reference", [None, 1000.0])
def test_derivative_is_that_of_finite_differences(ndim, law, reference):
    rng = np.random.default_rng(0)
    edges = [np.linspace(-6000, 6000, 13)] * (ndim - 1)
    mesh = Mesh([np.linspace(0, 3000, 3), *edges])
    stations = np.column_stack([-rng.uniform(1, 50, 8), rng.uniform(-6e3, 6e3, (8, ndim - 1))])
    components = ("z", "y", "x") if ndim == 3 else ("x", "z")
    columns = model(mesh, stations, law, components, reference)
    n = len(columns.columns)
    depth, direction = rng.uniform(300, 2900, n), rng.normal(size=n)
    g, jacobian = columns.linearised(depth)
    np.testing.assert_array_equal(g, columns.gravity(depth))
    ends = [columns.gravity(depth + s * direction) for s in (0.5, -0.5)]
    np.testing.assert_allclose(jacobian @ direction, ends[0] - ends[1], rtol=0, atol=1e-6)


# Recovery


@pytest.mark.parametrize("trend", [None, 0])
def test_basin_is_recovered(trend):
    estimator = inverter(trend=trend, bounds=(0.0, np.where(np.abs(X) > 22e3, 20.0, 5000.0)))
    found = estimator.invert(noisy(estimator, BASIN, level=7.0 if trend == 0 else 0.0))
    assert rms(found.depth - BASIN) < 80.0
    assert found.converged.all()
    assert found.chi_factor == pytest.approx(1.0, abs=0.03)
    assert found.n_iter[0] <= 6
    if trend == 0:
        assert abs(found.trend.coefficients[0, 0] - 7.0) < 3 * found.trend.std[0, 0]


def test_without_told_noise_cross_validation_finds_it():
    estimator = inverter(uncertainty=None)
    found = estimator.invert(noisy(estimator, BASIN))
    assert rms(found.depth - BASIN) < 80.0
    assert 0.15 < found.sigma[0] < 0.45
    assert np.isnan(found.chi_factor).all()
    assert np.isfinite(found.depth_std).all()


def test_curvature_may_be_the_roughness():
    estimator = inverter(order=2)
    found = estimator.invert(noisy(estimator, BASIN))
    assert rms(found.depth - BASIN) < 80.0


def test_basin_in_three_dimensions_is_recovered_from_scattered_stations():
    rng = np.random.default_rng(0)
    edges = np.linspace(-12e3, 12e3, 13)
    mesh = Mesh([np.linspace(0, 4000, 9), edges, edges])
    y, x = np.meshgrid(*mesh.centers[1:], indexing="ij")
    true = 2500 * np.exp(-((x / 5000) ** 2) - (y / 8000) ** 2).ravel()
    stations = np.column_stack([-np.ones(160), rng.uniform(-12e3, 12e3, (160, 2))])
    survey = Survey(stations, "z", uncertainty=0.1)
    estimator = ReliefInverter(
        -500.0, decay="parabolic", decay_length=4000.0, operator=ForwardOperator(mesh, survey)
    ).fit(np.ones((1, 160)))
    g = noisy(estimator, true, std=0.1)
    found = estimator.invert(g)
    assert rms(found.depth - true) < 60.0
    assert found.converged.all()
    # The densities compose with everything else: their gravity is that of the interface.
    cells = estimator.operator_.transform(estimator.predict(g))
    assert rms(cells - g) < 0.3


def test_densities_are_those_of_the_columns():
    estimator = inverter(decay="constant", decay_length=None)
    rho = SECTION.unflatten(estimator.predict(noisy(estimator, BASIN)))[0]
    depth = estimator.invert(noisy(estimator, BASIN)).depth[0]
    np.testing.assert_allclose(rho.sum(axis=0) * 200.0, -500.0 * depth)
    assert set(np.unique(np.sign(rho))) <= {-1.0, 0.0}


def test_moho_rises_above_and_sinks_below_its_reference():
    mesh = Mesh([np.linspace(0, 60e3, 31), np.linspace(-400e3, 400e3, 41)])
    x = mesh.centers[1]
    true = (
        35e3
        + 8e3 * np.exp(-(((x + 100e3) / 80e3) ** 2))
        - 8e3 * np.exp(-(((x - 150e3) / 80e3) ** 2))
    )
    estimator = inverter(2.0, mesh=mesh, decay="constant", reference=35e3)
    g = noisy(estimator, true, std=2.0)
    assert g[0, np.argmax(true)] < -50.0
    found = estimator.invert(g)
    assert rms(found.depth - true) < 1000.0
    rho = mesh.unflatten(found.rho)[0]
    assert rho.min() == pytest.approx(-500.0)
    assert rho.max() == pytest.approx(500.0)


def test_start_is_the_bouguer_slab():
    estimator = inverter(max_iter=1, alpha=1e-12, tol=1e9)
    flat = np.full(50, 1000.0)
    slab = -2e5 * np.pi * 6.6743e-11 * 500.0 * 3000.0 * -np.expm1(-1000.0 / 3000.0)
    start = skgrav.inverters._relief._slab_depths(
        estimator._relief.model(estimator.operator_), estimator._noise(None), np.full((1, 50), slab)
    )
    np.testing.assert_allclose(start[0], flat, rtol=1e-4)


# What is known of the interface


def test_wells_determine_a_level_that_is_not_known():
    wells = [[BASIN[k], X[k]] for k in (5, 25, 40)]
    errors = {}
    for name, known in {"none": None, "three": wells}.items():
        estimator = inverter(trend=0, wells=known, wells_std=5.0)
        found = estimator.invert(noisy(estimator, BASIN, level=7.0))
        errors[name] = rms(found.depth - BASIN)
        if known:
            np.testing.assert_allclose(found.depth[0, [5, 25, 40]], BASIN[[5, 25, 40]], atol=20.0)
            assert (found.depth_std[0, [5, 25, 40]] < 10.0).all()
    assert errors["three"] < 0.9 * errors["none"]


def test_wells_are_fitted_to_their_noise_where_data_ask_for_little():
    mesh = Mesh([np.linspace(0, 60e3, 4), np.linspace(-400e3, 400e3, 41)])
    true = 30e3 + 8e3 * np.tanh(mesh.centers[1] / 150e3)
    wells = np.column_stack([true, mesh.centers[1]])[[8, 30]]
    estimator = inverter(
        8.0, 0, mesh, decay="constant", reference=35e3, wells=wells, wells_std=500.0
    )
    found = estimator.invert(noisy(estimator, true, std=8.0, level=40.0))
    off = (found.depth[0] - true) / 500.0
    assert rms(off[[8, 30]]) < 1.1
    alone = inverter(8.0, 0, mesh, decay="constant", reference=35e3)
    std = alone.invert(noisy(alone, true, std=8.0, level=40.0)).depth_std
    assert (found.depth_std[0, [8, 30]] < 0.5 * std[0, [8, 30]]).all()
    assert found.converged.all()


def test_bounds_are_kept_and_equal_ones_fix_an_outcrop():
    upper = np.full(50, 1500.0)
    upper[:10] = 0.0
    estimator = inverter(bounds=(0.0, upper))
    with pytest.warns(ConvergenceWarning, match="cannot be fitted within 'bounds'"):
        found = estimator.invert(noisy(estimator, BASIN))
    assert (found.depth <= upper).all()
    assert (found.depth >= 0).all()
    assert (found.depth[:, :10] == 0).all()
    assert (found.depth_std[:, :10] == 0).all()
    assert found.status == 3


def test_gravity_of_the_wrong_sign_cannot_be_fitted():
    estimator = inverter()
    text = r"gz is .* to .*, but that of interfaces -.* to 0\. Check sign and size of 'contrast'"
    with pytest.warns(ConvergenceWarning, match=text):
        found = estimator.invert(-noisy(estimator, BASIN))
    assert found.depth.max() < 100.0


@pytest.mark.parametrize("trend", [None, 0])
def test_a_contrast_too_small_is_named(trend):
    estimator, weak = (inverter(trend=trend, decay_length=d) for d in (3000.0, 300.0))
    with (
        pytest.warns(
            ConvergenceWarning, match=r"at this contrast.* Check .*'contrast', .*decay"
        ) as w,
        pytest.warns(UserWarning, match="the interface runs into the bottom"),
    ):
        found = weak.invert(noisy(estimator, BASIN))
    assert not any("'bounds'" in str(each.message) for each in w)
    assert (found.depth_std <= 2500.0).all()  # half of the mesh


def test_a_well_that_contradicts_the_data_is_named():
    wells = [[BASIN[10], X[10]], [500.0, X[25]]]
    estimator = inverter(wells=wells, wells_std=5.0)
    g = noisy(estimator, BASIN)
    text = r"interface then lies at 2[89]\d\d m where well 1 has 500 m\. Correct that well"
    with (
        pytest.warns(ConvergenceWarning, match=text) as told,
        pytest.warns(UserWarning, match="the interface runs into the bottom"),
    ):
        estimator.invert(g)
    assert not any("more noise than stated" in str(each.message) for each in told)
    wells[1][0] = BASIN[25]
    assert inverter(wells=wells, wells_std=5.0).invert(g).converged.all()


def test_interface_in_the_bottom_of_the_mesh_is_told():
    estimator = inverter()
    with (
        pytest.warns(UserWarning, match="the interface runs into the bottom of 'mesh' at z = 5000"),
        pytest.warns(ConvergenceWarning),
    ):
        estimator.invert(10 * noisy(estimator, BASIN))


def test_noise_smaller_than_in_the_data_is_told():
    rng = np.random.default_rng(0)
    stations = np.repeat(line(X), 2, axis=0)  # two at each place, which no interface tells apart
    survey = Survey(stations, "z", uncertainty=0.01)
    estimator = ReliefInverter(-500.0, reference=2500.0, operator=ForwardOperator(SECTION, survey))
    estimator.fit(np.ones((1, 100)))
    g = gravity(estimator, 2500.0 + 0.2 * BASIN) + 0.3 * rng.normal(size=100)
    with pytest.warns(ConvergenceWarning, match="data at repeated stations"):
        found = estimator.invert(g[None])
    assert found.status[0] in (2, 3)


def test_columns_begin_at_the_ground():
    mesh = SECTION.below(lambda x: np.where(x > 0, 400.0, 0.0))
    stations = np.column_stack([np.where(X > 0, 399.0, -1.0), X])
    survey = Survey(stations, "z", uncertainty=0.1)
    estimator = ReliefInverter(-500.0, operator=ForwardOperator(mesh, survey))
    estimator.fit(np.ones((1, 50)))
    assert (estimator._relief.ground == np.where(X > 0, 400.0, 0.0)).all()
    true = np.maximum(estimator._relief.ground, BASIN)
    g = noisy(estimator, true, std=0.1)
    found = estimator.invert(g)
    assert (found.depth >= estimator._relief.ground).all()
    assert rms(found.depth - true) < 80.0
    assert found.rho.shape == (1, mesh.n_cells)
    air = Mesh(SECTION.edges, np.broadcast_to(X < 20e3, SECTION.shape))
    estimator = inverter(mesh=air)
    found = estimator.invert(noisy(estimator, BASIN[X < 20e3]))
    np.testing.assert_array_equal(np.isnan(found.depth[0]), X > 20e3)


# How sure


@pytest.mark.parametrize("trend", [None, 0])
def test_standard_deviations_cover_interfaces_drawn_from_the_prior(trend):
    mesh = Mesh([np.linspace(0, 70e3, 8), np.linspace(-400e3, 400e3, 41)])
    estimator = inverter(2.0, trend, mesh, decay="constant", reference=35e3)
    prior = np.linalg.inv(estimator._relief.roughness(mesh))
    rng = np.random.default_rng(0)
    draws = rng.multivariate_normal(np.zeros(40), prior, size=100)
    depth = 35e3 + 3000 * draws / rms(draws)
    g = np.vstack([noisy(estimator, d, seed=k, std=2.0) for k, d in enumerate(depth)])
    found = estimator.invert(g)
    z = (found.depth - depth) / found.depth_std
    assert np.mean(np.abs(z) < 1.0) == pytest.approx(0.68, abs=0.08)
    assert np.mean(np.abs(z) < 1.645) == pytest.approx(0.90, abs=0.06)
    assert found.converged.all()


# Manners


def test_noise_is_first_that_of_the_call_then_of_the_estimator_then_of_the_survey():
    estimator = inverter()
    g = noisy(estimator, BASIN)
    level = 0.3 / rms(g)
    plain = estimator.invert(g)
    assert plain.sigma == pytest.approx(0.3)
    other = inverter(noise_level=2 * level)
    np.testing.assert_allclose(other.invert(g).sigma, 0.6)
    np.testing.assert_allclose(other.invert(g, noise_level=level).depth, plain.depth, atol=0.1)
    unknown = inverter(uncertainty=None, alpha="discrepancy")
    with pytest.raises(ValueError, match=r"alpha='discrepancy' needs the noise .* alpha='auto'"):
        unknown.predict(g)


def test_a_number_as_alpha_needs_no_noise():
    estimator = inverter(uncertainty=None, alpha=50.0)
    found = estimator.invert(noisy(estimator, BASIN))
    assert found.alpha == 50.0
    assert np.isnan(found.depth_std).all()
    assert rms(found.depth - BASIN) < 150.0


def test_samples_are_inverted_one_by_one():
    estimator = inverter()
    g = np.vstack([noisy(estimator, BASIN), noisy(estimator, BASIN[::-1], seed=1)])
    both = estimator.predict(g)
    np.testing.assert_array_equal(both[1:], estimator.predict(g[1:]))


def test_data_without_signal_give_the_reference():
    estimator = inverter()
    found = estimator.invert(np.zeros((1, 50)))
    assert (found.depth == 0).all()
    assert (found.rho == 0).all()
    assert found.alpha == np.inf
    assert found.converged.all()
    assert (inverter(uncertainty=None).predict(np.zeros((1, 50))) == 0).all()


@pytest.mark.parametrize("n_stations", [1, 3])
def test_one_column(n_stations):
    mesh = Mesh([[0.0, 1000.0, 2000.0], [-1e6, 1e6]])
    stations = line(np.linspace(-1e5, 1e5, n_stations))
    operator = ForwardOperator(mesh, Survey(stations, "z", uncertainty=0.01))
    g = np.full((1, n_stations), -20.0)
    found = ReliefInverter(-500.0, operator=operator).fit(g).invert(g)
    np.testing.assert_allclose(found.depth, 20.0 / (2e5 * np.pi * 6.6743e-11 * 500), rtol=2e-3)


def test_too_few_iterations_are_told():
    estimator = inverter(max_iter=1)
    with pytest.warns(ConvergenceWarning, match="did not converge within 'max_iter'"):
        assert estimator.invert(noisy(estimator, BASIN)).status == 1


def test_geometry_that_is_not_given_is_assumed_with_a_warning():
    rng = np.random.default_rng(0)
    with pytest.warns(PhysicsWarning, match="'operator' is None: Mesh.* is assumed"):
        estimator = ReliefInverter(5.0).fit(rng.normal(size=(3, 12)), rng.normal(size=(3, 16)))
    assert estimator.n_columns_ == 4
    with pytest.warns(PhysicsWarning, match="the paper's geometry of 4 x 4 cells"):
        ReliefInverter(5.0).fit(rng.normal(size=(3, 24)))


def test_loaded_inverter_gives_the_same(tmp_path):
    estimator = inverter(wells=[[BASIN[25], X[25]]], bounds=(0.0, np.full(50, 4000.0)))
    g = noisy(estimator, BASIN)
    estimator.save(tmp_path / "relief")
    loaded = ReliefInverter.load(tmp_path / "relief")
    np.testing.assert_array_equal(loaded.invert(g).depth, estimator.invert(g).depth)


def test_parameters_set_after_fit_do_not_matter_until_the_next():
    estimator = inverter()
    g = noisy(estimator, BASIN)
    before = estimator.predict(g)
    estimator.set_params(contrast=-300.0, decay="constant", wells=[[100.0, 0.0]])
    np.testing.assert_array_equal(estimator.predict(g), before)


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"contrast": 0.0}, "'contrast' is 0.0; it must not be 0"),
        ({"contrast": [1.0, 2.0]}, r"'contrast' has shape \(2,\); .* each of the 50 columns"),
        ({"decay": "exponential"}, "'decay' is 'exponential', but 'decay_length' is None"),
        ({"decay": "exponential", "decay_length": 3.0}, "'decay_length' is 3.0 m in a mesh of"),
        ({"decay": "parabolic", "decay_length": -100.0}, "'decay_length' is -100.0, so that"),
        ({"decay": "linear"}, "'decay' parameter of ReliefInverter"),
        ({"reference": 9e3}, "'reference' is 9000 m in a column that reaches from 0 to 5000 m"),
        ({"bounds": (3.0, 1.0)}, "'bounds' of column 0 are 3 and 1 m"),
        ({"bounds": (1.0, 2.0, 3.0)}, "'bounds' has 3 parts"),
        ({"bounds": (6e3, 7e3)}, "its rock reaches from 0 to 5000 m"),
        ({"bounds": ([0.0, 1.0], 7e3)}, r"'bounds' has shape \(2,\)"),
        ({"wells": [[1.0, 2.0, 3.0]]}, r"'wells' has shape \(1, 3\); it must be \(n_wells, 2\)"),
        ({"wells": [[100.0, 9e9]]}, "which lies in no column"),
        ({"wells": [[-100.0, 0.0]]}, "beyond the bounds of its depth"),
        ({"wells": [[100.0, 0.0]], "wells_std": [1.0, 2.0]}, "'wells_std' is"),
        ({"wells": [[100.0, 0.0]], "wells_std": 0.0}, "'wells_std' parameter"),
        (
            {"wells": [[900.0, 0.0], [100.0, 9.0], [800.0, 9.0]], "wells_std": [1.0, 2.0, 3.0]},
            r"'wells' has the depths 100 and 800 m at one place, \(9.0,\), .* 2 and 3 m there",
        ),
        ({"alpha": "lcurve"}, "'alpha' parameter of ReliefInverter"),
        ({"order": 0}, "'order' parameter of ReliefInverter"),
        ({"operator": MatrixOperator(np.ones((50, 4)))}, "which has no mesh whose columns"),
    ],
)
def test_bad_parameters_are_refused(params, text):
    operator = ForwardOperator(SECTION, Survey(line(X), "z", uncertainty=0.3))
    with pytest.raises(ValueError, match=text):
        ReliefInverter(**{"operator": operator} | params).fit(np.ones((1, 50)))


def test_columns_with_gaps_are_refused():
    active = np.ones(SECTION.shape, dtype=bool)
    active[5, 7] = False
    with pytest.raises(ValueError, match="inactive cells between active ones in column 7"):
        inverter(mesh=Mesh(SECTION.edges, active))


def test_gradients_are_refused():
    survey = Survey(line(X), ("z", "zz"), uncertainty=np.repeat([0.3, 1.0], len(X)))
    estimator = ReliefInverter(-500.0, operator=ForwardOperator(SECTION, survey))
    with pytest.raises(ValueError, match=r"gradients \['zz'\]; .* components out of \('z', 'x'\)"):
        estimator.fit(np.ones((1, 2 * len(X))))


def test_gx_helps_gz():
    survey = Survey(line(X), ("x", "z"), uncertainty=0.3)
    estimator = ReliefInverter(-500.0, operator=ForwardOperator(SECTION, survey))
    estimator.fit(np.ones((1, 100)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = estimator.invert(noisy(estimator, BASIN))
    assert rms(found.depth - BASIN) < 60.0
