"""Stations anywhere: the method against the matrix, wherever they are and whatever they measure."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from conftest import dot_test_error
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from skgrav import ForwardOperator, Mesh, Survey, TikhonovInverter
from skgrav.operators import _anywhere, _anywhere_far, _anywhere_lattice
from skgrav.operators._cells import Geometry
from skgrav.operators._stencil import Stencil

# Stations are underground, beside and below the mesh on purpose.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.* of 'survey' lie inside 'mesh'"),
    pytest.mark.filterwarnings("ignore::skgrav.operators.PhysicsWarning"),
]

GRAVITY = ("y", "x", "z")
GRADIENTS = ("xx", "xy", "xz", "yy", "yz", "zz")

VOLUME = Mesh(
    [np.cumsum([0, 60, 80, 100, 120, 300, 900.0]), *(100.0 * np.arange(-n, n + 1) for n in (10, 8))]
)
SECTION = Mesh([np.cumsum([0, 60, 80, 100, 120, 300, 900.0]), 100.0 * np.arange(-60, 61)])
ROW = Mesh([VOLUME.edges[0], [-50, 50.0], 100.0 * np.arange(-40, 41)])
HILL = VOLUME.below(lambda y, x: 150 + 100 * np.sin(x / 300) * np.cos(y / 400))


def padded(n, n_padding, width=100.0, factor=1.3):
    """Give edges of equal columns with wider and wider ones on both sides."""
    padding = width * np.cumsum(factor ** np.arange(1, n_padding + 1))
    core = width * np.arange(n + 1.0)
    return np.concatenate([-padding[::-1], core, core[-1] + padding]) - core[-1] / 2


def scattered(n, mesh, z=(-60, -1), extent=1.0, seed=0):
    """Give stations anywhere over a mesh, or over `extent` times as much."""
    rng = np.random.default_rng(seed)
    middles = [(e[0] + e[-1]) / 2 for e in mesh.edges[1:]]
    halves = [extent * (e[-1] - e[0]) / 2 for e in mesh.edges[1:]]
    horizontal = [m + rng.uniform(-h, h, n) for m, h in zip(middles, halves, strict=True)]
    return np.column_stack([rng.uniform(*z, n), *horizontal])


def _special():
    """Give stations with duplicates, on faces, edges and corners, far off and on a cliff."""
    stations = scattered(150, VOLUME)
    stations[:60, 1:] = 50 * np.rint(stations[:60, 1:] / 50)
    stations[:20, 0] = 0.0
    stations[20:40] = stations[:20]
    stations[40] = [-1e5, 0, 0]
    stations[41] = [-10, 1e5, 3e4]
    stations[100:, 0] -= 1500
    return stations


FAR_EAST = np.array([0.0, 7.2e6, 4.3e5])

PLACES = {
    "above": (VOLUME, scattered(150, VOLUME)),
    "hills": (VOLUME, scattered(150, VOLUME, z=(-900, -1))),
    "beyond": (VOLUME, scattered(150, VOLUME, extent=1.7)),
    "inside": (VOLUME, scattered(150, VOLUME, z=(1, 1500))),
    "below": (VOLUME, scattered(150, VOLUME, z=(1500, 1600))),
    "special": (VOLUME, _special()),
    "active cells": (HILL, scattered(150, HILL)),
    "wide columns": (
        Mesh([VOLUME.edges[0], 60.0 * np.arange(-15, 16), 100.0 * np.arange(-8, 9)]),
        scattered(150, VOLUME, extent=0.9),
    ),
    "thin layers": (
        Mesh([np.cumsum([0] + [4.0] * 10 + [300.0]), *VOLUME.edges[1:]]),
        scattered(150, VOLUME),
    ),
    "one layer": (Mesh([[0, 500.0], *VOLUME.edges[1:]]), scattered(150, VOLUME)),
    "one row": (ROW, scattered(150, ROW)),
    "far from the origin": (
        Mesh([e + s for e, s in zip(VOLUME.edges, FAR_EAST, strict=True)]),
        scattered(150, VOLUME) + FAR_EAST,
    ),
    "padding": (Mesh([VOLUME.edges[0], padded(20, 4), padded(16, 5)]), scattered(150, VOLUME)),
    "beyond padding": (
        Mesh([VOLUME.edges[0], padded(20, 4), padded(16, 5)]),
        scattered(150, VOLUME, extent=2.0),
    ),
    "2D": (SECTION, scattered(150, SECTION)),
    "2D, inside": (SECTION, scattered(150, SECTION, z=(-300, 1700), extent=1.2)),
    "2D, padding": (Mesh([SECTION.edges[0], padded(100, 8)]), scattered(150, SECTION)),
}


def pair(name, components=None, **params):
    """Give the operator of a geometry, of which nodes are used, and its matrix."""
    mesh, stations = PLACES[name]
    survey = Survey(stations, components or (("z", "x") if mesh.ndim == 2 else GRAVITY))
    kernel = params.get("kernel", "cell")
    operator = ForwardOperator(mesh, survey, method="anywhere", **params).fit()
    assert operator.products_.far is not None
    dense = ForwardOperator(mesh, survey, method="dense", kernel=kernel).fit()
    return operator, dense.matrix_


def errors(operator, matrix):
    """Give the errors of gravity and of the adjoint, relative to the largest value."""
    rng = np.random.default_rng(0)
    n_components = len(operator.survey_.components)
    rho = np.stack([rng.uniform(-1, 1, operator.n_cells_), np.ones(operator.n_cells_)])
    g = rng.normal(size=(2, operator.n_data_))
    found = []
    for values, expected, n in (
        (operator.transform(rho), rho @ matrix.T, n_components),
        (operator.adjoint(g), g @ matrix, 1),
    ):
        assert values.dtype == np.float64
        parts, exact = (v.reshape(2, n, -1) for v in (values, expected))
        found.append((np.abs(parts - exact).max(2) / np.abs(exact).max(2)).max())
    return found


@pytest.mark.parametrize("name", PLACES)
def test_agrees_with_the_matrix_wherever_the_stations_are(name):
    operator, matrix = pair(name)
    assert max(errors(operator, matrix)) < 1e-6
    sizes = operator.n_cells_, operator.n_data_
    assert dot_test_error(operator.transform, operator.adjoint, *sizes) < 1e-14
    assert operator.products_.n_bytes < matrix.nbytes


@pytest.mark.parametrize(
    ("tol", "name", "kernel"),
    [
        (t, n, k)
        for t in (1e-4, 1e-6, 1e-8)
        for n in ("above", "padding", "2D")
        for k in ("cell", "point")
        # The mass of a wide column at its centre is some 1e-8 off.
        if (t, n, k) != (1e-8, "padding", "point")
    ],
)
def test_error_follows_tol_with_both_kernels(tol, name, kernel):
    operator, matrix = pair(name, tol=tol, kernel=kernel)
    assert max(errors(operator, matrix)) < tol
    assert operator.products_.error < tol
    assert operator.plan_.error == tol


@pytest.mark.parametrize("name", ["above", "inside", "active cells", "2D, inside"])
def test_gradients_agree_with_the_matrix(name):
    components = ("xx", "xz", "zz") if name.startswith("2D") else GRADIENTS
    # Of constant density they are differences of large numbers, and an error may be missed.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'tol' is")
        operator, matrix = pair(name, (*components, "z"))
    assert max(errors(operator, matrix)) < 3e-6
    sizes = operator.n_cells_, operator.n_data_
    assert dot_test_error(operator.transform, operator.adjoint, *sizes) < 1e-14


def test_gradients_have_no_trace_outside_matter():
    operator, _ = pair("above", ("xx", "yy", "zz"))
    rho = np.random.default_rng(0).uniform(0, 300, (1, VOLUME.n_cells))
    xx, yy, zz = operator.survey_.unflatten(operator.transform(rho))[0]
    np.testing.assert_allclose(xx + yy + zz, 0, atol=2e-6 * np.abs(zz).max())


@pytest.mark.parametrize("name", ["above", "padding", "2D"])
def test_float32_agrees_and_takes_less(name):
    operator, matrix = pair(name, precision="float32")
    double, _ = pair(name)
    assert max(errors(operator, matrix)) < 3e-6
    assert operator.products_.n_bytes < 0.7 * double.products_.n_bytes
    sizes = operator.n_cells_, operator.n_data_
    assert dot_test_error(operator.transform, operator.adjoint, *sizes) < 1e-6


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("above", 2e-3), ("inside", 2e-3), ("active cells", 2e-3), ("2D", 2e-3), ("padding", 0.05)],
)
def test_column_norms_are_near_those_of_the_matrix(name, tolerance):
    operator, matrix = pair(name)
    norms = np.linalg.norm(matrix, axis=0)
    np.testing.assert_allclose(operator.column_norms_, norms, rtol=tolerance)
    weights = np.random.default_rng(0).uniform(0.5, 2, len(matrix))
    found = operator.products_.column_norms2(weights)
    np.testing.assert_allclose(found, weights @ matrix**2, rtol=2 * tolerance)


def test_batches_equal_single_samples_and_batches_of_all_sizes(monkeypatch):
    operator, _ = pair("above")
    rho = np.random.default_rng(0).normal(size=(5, operator.n_cells_))
    g = operator.transform(rho)
    for size in (1, 2**16, 2**40):
        monkeypatch.setattr(_anywhere, "_BLOCK_SIZE", size)
        np.testing.assert_allclose(operator.transform(rho), g, atol=1e-13 * np.abs(g).max())
        each = np.vstack([operator.adjoint(row[None]) for row in g])
        found = operator.adjoint(g)
        np.testing.assert_allclose(found, each, atol=1e-13 * np.abs(each).max())


@pytest.mark.parametrize("name", ["above", "padding", "2D"])
def test_matrices_and_ffts_transform_alike(name, monkeypatch):
    mesh, stations = PLACES[name]
    components = ("z", "x")
    geometry = Geometry(mesh, Survey(stations, components), "cell", "mGal")
    rng = np.random.default_rng(0)
    rho = rng.normal(size=(2, mesh.n_cells))
    g = rng.normal(size=(2, len(components) * len(stations)))
    found = []
    for limit in (10**6, 0):
        monkeypatch.setattr(_anywhere_far, "_MATRIX", limit)
        operator = _anywhere.AnywhereOperator(geometry, "float64", 1e-6)
        found.append((operator.forward(rho), operator.adjoint(g)))
        sizes = mesh.n_cells, g.shape[1]
        assert dot_test_error(operator.forward, operator.adjoint, *sizes) < 1e-13
    for by_matrix, by_fft in zip(*found, strict=True):
        np.testing.assert_allclose(by_fft, by_matrix, atol=1e-12 * np.abs(by_matrix).max())


def test_few_far_stations_are_stored_as_rows_and_make_no_giant_lattice():
    operator, matrix = pair("special")
    layout = operator.products_.far.nodes
    assert operator.products_.other_rows.shape[1] >= 2
    assert max(layout.lengths) < 150
    rows = operator.products_.other_rows.ravel()
    rho = np.random.default_rng(0).normal(size=(1, operator.n_cells_))
    np.testing.assert_allclose(operator.transform(rho)[:, rows], rho @ matrix[rows].T, rtol=1e-9)


@pytest.mark.parametrize("n", [1, 3])
def test_one_station_and_a_few_are_rows(n):
    survey = Survey(scattered(n, VOLUME), GRAVITY)
    operator = ForwardOperator(VOLUME, survey, method="anywhere").fit()
    dense = ForwardOperator(VOLUME, survey, method="dense").fit()
    assert max(errors(operator, dense.matrix_)) < 1e-12
    np.testing.assert_allclose(operator.column_norms_, dense.column_norms_)


def test_boreholes_keep_their_rows_where_planes_would_take_more():
    stations = scattered(200, VOLUME)
    stations[:4] = [[700, 10, 20], [1100, 30, 10], [1500, 3, 20], [-2, 5, 6]]
    survey = Survey(stations, "z")
    operator = ForwardOperator(VOLUME, survey, method="anywhere").fit()
    assert {0, 1, 2} == set(operator.products_.other_rows.ravel().tolist())
    assert len(operator.products_.far.nodes.planes) == 4


@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9)),
    n=st.integers(1, 60),
    low=st.floats(-30, 0),
    relief=st.floats(0, 20),
    extent=st.floats(0.1, 3),
    seed=st.integers(0, 99),
)
@settings(max_examples=25)
def test_any_stations_agree_with_the_matrix(shape, n, low, relief, extent, seed):
    rng = np.random.default_rng(seed)
    z = 9 + np.cumsum(rng.uniform(0.3, 9, shape[0] + 1))
    mesh = Mesh([z, *(h * np.arange(k + 1) for h, k in zip((3.0, 5.0), shape[1:], strict=True))])
    stations = scattered(n, mesh, z=(low, low + relief), extent=extent, seed=seed)
    # Not by `ForwardOperator`, which refuses what looks like swapped columns.
    geometry = Geometry(mesh, Survey(stations, ("z", "x")), "cell", "mGal")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'tol' is")
        operator = _anywhere.AnywhereOperator(geometry, "float64", 1e-6)
    matrix = geometry.rows(np.arange(n)).reshape(2 * n, -1)
    rho = rng.normal(size=(1, mesh.n_cells))
    g = operator.forward(rho).reshape(2, -1)
    exact = (rho @ matrix.T).reshape(2, -1)
    largest = np.abs(matrix).reshape(2, -1).max(axis=1) * np.linalg.norm(rho)
    assert (np.abs(g - exact).max(axis=1) < 2e-6 * largest).all()
    assert dot_test_error(operator.forward, operator.adjoint, mesh.n_cells, 2 * n) < 1e-13


def test_a_missed_tol_is_a_warning_with_error_and_remedy(monkeypatch):
    mesh, stations = PLACES["above"]
    poor = {1e-6: _anywhere.SETTINGS[1e-4], 1e-8: _anywhere.SETTINGS[1e-8]}
    monkeypatch.setattr(_anywhere, "SETTINGS", poor)
    operator = ForwardOperator(mesh, Survey(stations + 0.25), method="anywhere")
    message = r"'tol' is 1e-06, but .* off, at some stations .*Take a smaller 'tol', or method="
    with pytest.warns(UserWarning, match=message):
        operator.fit()
    assert 1e-6 < operator.products_.error < 1e-4


@pytest.mark.parametrize("tol", [0.0, 1e-9, 1.0, "small"])
def test_a_tol_that_cannot_be_met_is_refused(tol):
    mesh, stations = PLACES["above"]
    with pytest.raises(ValueError, match="'tol' parameter of ForwardOperator must be"):
        ForwardOperator(mesh, Survey(stations), method="anywhere", tol=tol).fit()


@pytest.mark.parametrize(
    ("edges", "reason"),
    [
        (np.cumsum(1.5 ** np.arange(12)), r"the columns along x are 1.5 to 86.* too few of them"),
        (padded(20, 14, factor=1.6), r"the columns along x are .* 100 m in all"),
    ],
)
def test_columns_of_too_many_widths_are_refused_with_a_reason(edges, reason):
    mesh = Mesh([VOLUME.edges[0], VOLUME.edges[1], edges])
    survey = Survey(scattered(50, mesh), "z")
    with pytest.raises(ValueError, match=rf"method='anywhere' needs .*{reason}.*'auto' or 'rows'"):
        ForwardOperator(mesh, survey, method="anywhere").fit()
    assert ForwardOperator(mesh, survey).plan().method == "dense"


def test_auto_takes_it_where_it_pays(monkeypatch):
    mesh = Mesh.regular((20, 40, 40), 100.0)
    scatter = ForwardOperator(mesh, Survey(scattered(1600, mesh), "z"))
    plan = scatter.plan()
    assert (plan.method, plan.error) == ("anywhere", 1e-6)
    assert plan.n_bytes < 0.05 * 8 * 1600 * mesh.n_cells
    assert 0 < plan.product_seconds < plan.build_seconds < 10
    assert "error up to 1e-06" in str(plan)
    assert "s per product" in str(plan)
    # On a lattice FFTs are exact and faster; few data are faster by a matrix.
    assert ForwardOperator(mesh, Survey.grid(mesh, height=50.0)).plan().method == "fft"
    assert ForwardOperator(mesh, Survey(scattered(50, mesh), "z")).plan().method == "dense"
    assert scatter.plan(n_samples=1000).method == "anywhere"
    section = Mesh.regular((50, 400), 100.0)
    line = ForwardOperator(section, Survey(scattered(1000, section), "z"))
    assert line.plan().method == "anywhere"
    assert clone(scatter).set_params(memory_limit=1e6).plan().method == "rows"


def test_plan_is_near_what_is_stored():
    for name in ("above", "inside", "padding", "thin layers", "active cells", "2D"):
        operator, _ = pair(name)
        assert 0.5 < operator.products_.n_bytes / operator.memory_usage() < 1.4


def test_operators_are_shared_by_tol_refitted_and_pickled_without_arrays():
    mesh, stations = PLACES["above"]
    operator = ForwardOperator(mesh, Survey(stations), method="anywhere").fit()
    rho = np.random.default_rng(0).normal(size=(2, mesh.n_cells))
    g = operator.transform(rho)
    assert clone(operator).fit().products_ is operator.products_
    coarse = clone(operator).set_params(tol=1e-4).fit()
    assert coarse.products_ is not operator.products_
    assert coarse.identity_ != operator.identity_
    again = coarse.set_params(tol=1e-6).fit()
    np.testing.assert_array_equal(again.transform(rho), g)
    data = pickle.dumps(operator)
    assert len(data) < 50_000
    np.testing.assert_array_equal(pickle.loads(data).transform(rho), g)
    # Parameters set after fit count at the next fit only.
    operator.set_params(tol=1e-4)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(operator)).transform(rho), g)


def test_inverters_keep_it_in_their_files(tmp_path):
    mesh, stations = PLACES["above"]
    operator = ForwardOperator(mesh, Survey(stations, "z"), method="anywhere", tol=1e-4)
    X = 1e-3 * np.random.default_rng(0).normal(size=(2, len(stations)))
    inverter = TikhonovInverter(operator=operator, noise_level=0.1).fit(X)
    inverter.save(tmp_path / "inverter.skgrav")
    loaded = TikhonovInverter.load(tmp_path / "inverter.skgrav")
    assert loaded.operator_.plan_ == inverter.operator_.plan_
    assert loaded.operator_.plan_.method == "anywhere"
    np.testing.assert_array_equal(loaded.predict(X), inverter.predict(X))
    inverter.operator_.set_params(tol=1e-6)
    with pytest.raises(ValueError, match=r"'precision' or 'tol' of"):
        inverter.save(tmp_path / "changed.skgrav")


TORCH = {
    "above": ("z", "xy"),
    "padding": ("z", "x"),
    "special": ("x",),
    "active cells": ("z",),
    "2D": ("z", "xz"),
}


@pytest.fixture(params=TORCH)
def module_pair(request):
    """Give operators and their torch modules."""
    operator, _ = pair(request.param, TORCH[request.param])
    return operator, operator.to_torch(dtype=torch.float64)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
def test_module_agrees_with_numpy(module_pair, dtype, tolerance):
    operator, module = module_pair
    module = module.to(dtype)
    rng = np.random.default_rng(0)
    rho, g = rng.normal(size=(3, operator.n_cells_)), rng.normal(size=(3, operator.n_data_))
    for found, expected in (
        (module(torch.tensor(rho, dtype=dtype)), operator.transform(rho)),
        (module.adjoint(torch.tensor(g, dtype=dtype)), operator.adjoint(g)),
    ):
        assert found.dtype == dtype
        np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())


def test_backward_is_the_adjoint_and_vmap_and_forward_derivatives_work(module_pair):
    operator, module = module_pair
    rho = torch.randn(2, operator.n_cells_, dtype=torch.float64, requires_grad=True)
    g = torch.randn(2, operator.n_data_, dtype=torch.float64)
    (module(rho) * g).sum().backward()
    np.testing.assert_array_equal(rho.grad, module.adjoint(g))
    batch = torch.randn(3, 2, operator.n_cells_, dtype=torch.float64)
    found = torch.vmap(module)(batch)
    expected = torch.stack([module(x) for x in batch])
    atol = 1e-13 * float(expected.abs().max())
    np.testing.assert_allclose(found, expected, atol=atol)
    _, tangent = torch.func.jvp(module, (batch[0],), (batch[1],))
    np.testing.assert_allclose(tangent, expected[1], atol=atol)


def test_inversions_agree_with_those_by_the_matrix():
    mesh, stations = PLACES["above"]
    survey = Survey(stations, "z")
    truth = np.zeros((1, *mesh.shape))
    truth[:, 1:3, 6:11, 5:9] = 400.0
    X = ForwardOperator(mesh, survey, method="dense").fit().transform(truth.reshape(1, -1))
    found = [
        TikhonovInverter(operator=ForwardOperator(mesh, survey, method=method), noise_level=0.01)
        .fit(X)
        .predict(X)
        for method in ("dense", "anywhere")
    ]
    np.testing.assert_allclose(found[1], found[0], atol=1e-3 * np.abs(found[0]).max())


def test_weights_interpolate_harmonic_fields_and_their_sum_is_one():
    stencil = Stencil(
        width=6, n_planes=4, reach=5, columns=(1.0, 0.6), n_points=10, cut=1e-11, shells=(1.0, 3.0)
    )
    place = np.random.default_rng(0).uniform(0, 1, (50, 3))
    weights = stencil.weights(place)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
    points = place * [1, 1, 0.6]
    # z**2 - x**2 and x y are harmonic, z**2 is not.
    for field, tolerance in ((lambda z, y, x: z * z - x * x, 1e-4), (lambda z, y, x: x * y, 1e-4)):
        found = weights @ field(*stencil.nodes.T)
        np.testing.assert_allclose(found, field(*points.T), atol=tolerance)


def test_ends_of_wide_columns_keep_their_moments():
    edges = padded(12, 4)
    axis = _anywhere_lattice.Axis.of(edges, 8)
    weights = axis.resampling()
    centers = axis.origin + axis.spacing * (np.arange(axis.count) + 0.5)
    np.testing.assert_allclose(weights.sum(axis=0) * axis.spacing, np.diff(edges))
    moments = centers @ weights * axis.spacing
    np.testing.assert_allclose(moments, np.diff(edges**2) / 2, atol=1e-6 * np.abs(edges**2).max())
