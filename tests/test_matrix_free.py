"""Operators that store no matrix: FFTs on lattices, rows on the fly, and the choice among them."""

import logging
import pickle

import numpy as np
import pytest
from conftest import dot_test_error
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from test_operators import OFF_LATTICE, ON_LATTICE, SECTION, VOLUME

from skgrav import ForwardOperator, Mesh, Survey
from skgrav.operators import _plan, _rows, _shared

# Some stations lie between the layers, of which ForwardOperator warns.
pytestmark = pytest.mark.filterwarnings("ignore:.* of 'survey' lie inside 'mesh'")

TOLERANCE = {"float64": 1e-12, "float32": 1e-5}
BIG = Mesh.regular((40, 100, 100), 50.0)


def all_components(mesh):
    """Name the components of a mesh, not in the order of its axes."""
    return ("z", "x") if mesh.ndim == 2 else ("y", "x", "z")


def pair(mesh, stations, **params):
    """Give the operator of a geometry and the one that stores the matrix."""
    survey = Survey(stations, all_components(mesh))
    dense = ForwardOperator(mesh, survey, kernel=params.get("kernel", "cell"), method="dense")
    return ForwardOperator(mesh, survey, **params).fit(), dense.fit()


def assert_equal_to_dense(operator, dense, tolerance, n_samples=3):
    rng = np.random.default_rng(0)
    rho = rng.normal(size=(n_samples, dense.n_cells_))
    g = rng.normal(size=(n_samples, dense.n_data_))
    for found, expected in (
        (operator.transform(rho), rho @ dense.matrix_.T),
        (operator.adjoint(g), g @ dense.matrix_),
    ):
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())
    norms = np.linalg.norm(dense.matrix_, axis=0)
    # Squares of float32 and of FFTs lose half of the digits of the least sensitive cells.
    np.testing.assert_allclose(operator.column_norms_, norms, atol=20 * tolerance * norms.max())


@pytest.mark.parametrize("name", ON_LATTICE)
@pytest.mark.parametrize("kernel", ["cell", "point"])
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_fft_agrees_with_the_matrix(name, kernel, precision):
    operator, dense = pair(*ON_LATTICE[name], kernel=kernel, method="fft", precision=precision)
    assert operator.plan_.method == "fft"
    assert_equal_to_dense(operator, dense, TOLERANCE[precision])


@pytest.mark.parametrize("name", [*OFF_LATTICE, "3D grid"])
@pytest.mark.parametrize("kernel", ["cell", "point"])
def test_rows_on_the_fly_agree_with_the_matrix(name, kernel, monkeypatch):
    monkeypatch.setattr(_rows, "_BYTES", 20_000)  # several blocks
    geometry = (ON_LATTICE | OFF_LATTICE)[name]
    operator, dense = pair(*geometry, kernel=kernel, method="rows")
    assert_equal_to_dense(operator, dense, 1e-12)


@pytest.mark.parametrize("name", ["2D line", "3D grid"])
def test_float32_matrix_agrees_and_takes_half(name):
    operator, dense = pair(*ON_LATTICE[name], method="dense", precision="float32")
    assert operator.matrix_.dtype == np.float32
    assert 2 * operator.memory_usage() == dense.memory_usage()
    assert_equal_to_dense(operator, dense, 1e-5)
    assert operator.svd_.s.dtype == np.float64
    np.testing.assert_allclose(operator.svd_.s, dense.svd_.s, atol=1e-5 * dense.svd_.s[0])


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize(
    ("method", "name"),
    [("fft", name) for name in ON_LATTICE]
    + [(method, name) for method in ("rows", "dense") for name in ON_LATTICE | OFF_LATTICE],
)
def test_adjoint_is_an_adjoint_whatever_the_method(method, name, precision):
    mesh, stations = (ON_LATTICE | OFF_LATTICE)[name]
    survey = Survey(stations, all_components(mesh))
    operator = ForwardOperator(mesh, survey, method=method, precision=precision).fit()
    sizes = operator.n_cells_, operator.n_data_
    tolerance = 1e-13 if precision == "float64" else 1e-6
    assert dot_test_error(operator.transform, operator.adjoint, *sizes) < tolerance
    linear = operator.aslinearoperator()
    assert linear.shape == sizes[::-1]
    rho = np.random.default_rng(0).normal(size=sizes[0])
    np.testing.assert_allclose(linear @ rho, operator.transform(rho[None])[0], rtol=1e-12)
    forward, adjoint = (lambda u: linear.matmat(u.T).T), (lambda v: linear.rmatmat(v.T).T)
    assert dot_test_error(forward, adjoint, *sizes) < tolerance


@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5)),
    counts=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    offset=st.tuples(st.floats(-9, 9), st.floats(-9, 9)),
    stride=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_any_lattice_of_stations_agrees_with_the_matrix(shape, counts, offset, stride, seed):
    rng = np.random.default_rng(seed)
    z = np.cumsum(rng.uniform(0.1, 3, shape[0] + 1))
    y, x = (h * np.arange(n + 1) + 1e5 for h, n in zip((2.0, 3.0), shape[1:], strict=True))
    grid = np.stack(np.meshgrid(*(stride * np.arange(n) for n in counts), indexing="ij"), -1)
    yx = 1e5 + np.array([2.0, 3.0]) * (grid.reshape(-1, 2) + offset)
    stations = np.column_stack([np.full(len(yx), -0.5), rng.permutation(yx)])
    mesh, survey = Mesh([z, y, x]), Survey(stations, ("x", "y", "z"))
    try:
        operator = ForwardOperator(mesh, survey, method="fft").fit()
    except ValueError:  # few stations far apart: a table would not pay
        assert np.prod(grid.max((0, 1)) + shape[1:]) > len(stations) * shape[1] * shape[2]
        return
    dense = ForwardOperator(mesh, survey, method="dense").fit()
    assert_equal_to_dense(operator, dense, 1e-11, n_samples=1)


def test_stations_halfway_between_lattice_points_are_one_lattice():
    # Half a step is rounded up here and down there.
    mesh = Mesh([np.arange(4.0), 0.1 * np.arange(31)])
    survey = Survey.line(mesh, n_stations=90)
    dense = ForwardOperator(mesh, survey, method="dense").fit()
    operator = ForwardOperator(mesh, survey, method="fft").fit()
    assert len(operator.products_.blocks) == 1
    assert_equal_to_dense(operator, dense, 1e-12)


def test_two_grids_of_different_offset_and_height_are_two_lattices():
    grid = Survey.grid(VOLUME, height=1.0).stations
    stations = np.concatenate([grid, grid + [-0.5, 0.3, 0.1]])
    operator, dense = pair(VOLUME, stations, method="fft")
    assert len(operator.products_.blocks) == 2
    assert_equal_to_dense(operator, dense, 1e-12)


def test_batches_larger_than_a_block_agree(monkeypatch):
    from skgrav.operators import _toeplitz

    operator, dense = pair(*ON_LATTICE["3D grid"], method="fft")
    monkeypatch.setattr(_toeplitz, "_BLOCK_SIZE", 100)  # one layer of one sample
    assert_equal_to_dense(operator, dense, 1e-12, n_samples=7)


@pytest.mark.parametrize("name", OFF_LATTICE)
def test_fft_off_a_lattice_is_refused_with_a_remedy(name):
    mesh, stations = OFF_LATTICE[name]
    with pytest.raises(ValueError, match=r"method='fft' needs columns of equal width .*'rows'"):
        ForwardOperator(mesh, Survey(stations), method="fft").fit()


def test_auto_takes_the_matrix_while_it_is_small_and_fft_beyond():
    assert ForwardOperator(Mesh.square(50)).plan().method == "dense"
    assert ForwardOperator(Mesh.square(300)).plan().method == "fft"
    assert ForwardOperator(VOLUME).plan().method == "dense"
    assert ForwardOperator(BIG).plan().method == "fft"


def test_auto_takes_the_matrix_for_batches_over_few_stations():
    operator = ForwardOperator(BIG, Survey.grid(BIG, height=25.0, shape=(12, 12)))
    assert operator.plan(n_samples=1).method == "fft"
    assert operator.plan(n_samples=100).method == "dense"


def test_auto_computes_rows_where_memory_does_not_allow_a_matrix():
    stations = np.random.default_rng(0).uniform(-900, 0, (400, 3))
    operator = ForwardOperator(Mesh.regular((10, 30, 30), 50.0), Survey(stations, "z"))
    assert operator.plan().method == "dense"
    limited = clone(operator).set_params(memory_limit=1_000_000)
    assert limited.plan().method == "rows"
    assert limited.memory_usage() <= 1_000_000
    rho = np.random.default_rng(0).normal(size=(2, 9000))
    np.testing.assert_allclose(limited.fit().transform(rho), operator.fit().transform(rho))


def test_rows_keep_to_a_limit_of_a_single_row_of_all_components():
    mesh, stations = OFF_LATTICE["3D, stations anywhere"]
    limit = 8 * 3 * mesh.n_cells
    params = {"method": "rows", "memory_limit": limit}
    operator, dense = pair(mesh, stations, **params)
    assert operator.memory_usage() == limit
    assert_equal_to_dense(operator, dense, 1e-12)
    # One that may take more is not shared with it.
    ample = ForwardOperator(mesh, operator.survey_, method="rows").fit()
    assert ample.products_._size > operator.products_._size == 1
    with pytest.raises(MemoryError, match="method='rows' needs"):
        operator.set_params(memory_limit=limit - 1).plan()


def test_plan_says_what_was_chosen_what_it_needs_and_why(caplog):
    operator = ForwardOperator(BIG)
    plan = operator.plan()
    assert plan.n_bytes == operator.memory_usage()
    text = (
        f"fft, 12.9 MB, in an inversion up to 50.0 MB, about {plan.build_seconds:.2g} s to build "
        f"and {plan.product_seconds:.2g} s per product: spectra of 10000 data x 400000 cells; "
        "a matrix would take 32.0 GB"
    )
    assert 0 < plan.product_seconds < plan.build_seconds < 1
    assert str(plan) == text
    small = ForwardOperator(VOLUME, method="fft")
    with caplog.at_level(logging.INFO, logger="skgrav"):
        small.fit()
    assert small.plan_ == small.plan()
    assert str(small.plan_) in caplog.text
    blocks = small.products_.blocks
    assert sum(block.spectra.nbytes for block in blocks) == small.plan_.n_bytes


@pytest.mark.parametrize("method", ["dense", "fft", "rows"])
def test_what_does_not_fit_is_a_memory_error_before_it_is_built(method, monkeypatch):
    monkeypatch.setattr(_plan, "available_bytes", lambda: 1e6)
    with pytest.raises(MemoryError, match=rf"method='{method}' needs .* but 1.0 MB are free"):
        ForwardOperator(BIG, method=method).fit()
    monkeypatch.setattr(_plan, "available_bytes", lambda: 1e12)
    with pytest.raises(MemoryError, match=rf"method='{method}' needs .* but 2.0 MB are free"):
        ForwardOperator(BIG, method=method, memory_limit=2e6).fit()


def test_clones_share_spectra_and_pickles_leave_them_behind(monkeypatch):
    operator = ForwardOperator(Mesh.regular((10, 20, 20), 50.0), method="fft").fit()
    assert clone(operator).fit().products_ is operator.products_
    pickled = pickle.dumps(operator)
    assert len(pickled) < 50_000 < operator.memory_usage()
    monkeypatch.setattr(_shared, "_results", {})  # as in another process
    again = pickle.loads(pickled)
    rho = np.random.default_rng(0).normal(size=(1, 4000))
    np.testing.assert_array_equal(again.transform(rho), operator.transform(rho))
    assert again.plan_ == operator.plan_


def test_matrix_and_svd_of_an_operator_without_matrix_are_built_when_asked_for():
    operator, dense = pair(*ON_LATTICE["3D grid"], method="fft")
    np.testing.assert_array_equal(operator.matrix_, dense.matrix_)
    np.testing.assert_array_equal(operator.svd_.s, dense.svd_.s)


def test_truncated_svd_finds_the_leading_singular_values_and_vectors():
    operator, dense = pair(*ON_LATTICE["3D grid"], method="fft")
    U, s, Vt = operator.truncated_svd(12, n_power_iter=4)
    np.testing.assert_allclose(s, dense.svd_.s[:12], rtol=1e-6)
    overlap = np.abs(np.sum(Vt * dense.svd_.Vt[:12], axis=1))
    np.testing.assert_allclose(overlap[:6], 1.0, atol=1e-6)
    np.testing.assert_allclose(U.T @ U, np.eye(12), atol=1e-12)
    np.testing.assert_allclose((U * s) @ Vt, dense.matrix_, atol=2 * dense.svd_.s[12])


def test_truncated_svd_has_a_seed_and_a_rank_that_fits():
    operator = ForwardOperator(VOLUME, method="fft").fit()
    one, same, other = (operator.truncated_svd(3, random_state=seed).Vt for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    with pytest.raises(ValueError, match=r"'rank' is 0; it must be between 1 and 20"):
        operator.truncated_svd(0)


def test_svd_of_a_large_operator_is_its_leading_part(monkeypatch):
    from skgrav.operators import _base

    monkeypatch.setattr(_base, "SVD_SIZE", 10)
    monkeypatch.setattr(_base, "_RANK", 15)
    operator = ForwardOperator(VOLUME, method="fft").fit()
    assert operator.svd_.s.shape == (15,)
    assert operator.svd_ is operator.svd_
    g = operator.transform(np.ones((1, VOLUME.n_cells)))
    with pytest.warns(UserWarning, match=r"'rcond' is 1e-05, but only the 15 largest singular"):
        operator.inverse_transform(g, rcond=1e-5)


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"precision": "half"}, "The 'precision' parameter"),
        ({"memory_limit": 0}, "The 'memory_limit' parameter"),
    ],
)
def test_bad_parameters_are_refused(params, text):
    with pytest.raises(ValueError, match=text):
        ForwardOperator(SECTION, **params).fit()


def test_adjoint_refuses_what_is_no_data():
    operator = ForwardOperator(SECTION, method="fft").fit()
    with pytest.raises(ValueError, match=r"'X' has 7 data, but this operator has 36"):
        operator.adjoint(np.ones((1, 7)))
