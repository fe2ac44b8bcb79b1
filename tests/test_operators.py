"""The forward operator: its matrix, its ways to be built, its contract as a transformer."""

import copy
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from conftest import dot_test_error
from scipy.constants import gravitational_constant
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skgrav import ForwardOperator, MatrixOperator, Mesh, Survey
from skgrav.geometry import COMPONENTS
from skgrav.operators import _cells, _memory, _plan, _sensitivity, _shared, _ways

# Some stations lie between the layers, of which ForwardOperator warns.
pytestmark = pytest.mark.filterwarnings("ignore:.* of 'survey' lie inside 'mesh'")

SECTION = Mesh([[0, 1, 3, 6], np.arange(-3.0, 4.0)])  # layers thicken with depth
VOLUME = Mesh([[0, 1, 3, 6], np.arange(-2.0, 3.0), 2.0 * np.arange(-2, 4)])
UNEVEN = Mesh([[0, 1, 3], [-4, -1, 0, 2, 3]])
PAPER = Mesh.square(51)


def stations_2d(x, z=-1.0):
    """Give stations on a line, (z, x)."""
    return np.column_stack(np.broadcast_arrays(z, x)).astype(float)


def stations_3d(y, x, z=-1.0):
    """Give stations on a grid, (z, y, x)."""
    z, y, x = np.broadcast_arrays(z, *np.meshgrid(y, x, indexing="ij"))
    return np.column_stack([z.ravel(), y.ravel(), x.ravel()]).astype(float)


LINE = np.arange(-9.0, 9.0) + 0.5
GRID = stations_3d(np.arange(-4, 5), 2 * np.arange(-4, 5))
ON_LATTICE = {
    "2D line": (SECTION, stations_2d(LINE)),
    "2D, off the columns by a fraction": (SECTION, stations_2d(LINE + 0.3)),
    "2D, at the nodes, on the surface": (SECTION, stations_2d(np.arange(-9, 9), 0.0)),
    "2D, between the layers": (SECTION, stations_2d(LINE, 1.0)),
    "2D, every second column": (SECTION, stations_2d(np.arange(-12, 13, 2.0))),
    "2D, some stations, unordered, one twice": (
        SECTION,
        stations_2d([4.5, -2.5, 0.5, 0.5, -5.5, 7.5, -7.5, 1.5]),
    ),
    "2D, two heights": (SECTION, stations_2d(np.tile(LINE, 2), np.repeat([-1, -2.5], 18))),
    "3D grid": (VOLUME, GRID),
    "3D, off the columns by a fraction": (VOLUME, GRID + [0, 0.25, 0.6]),
    "3D, some stations, unordered": (VOLUME, GRID[np.random.default_rng(0).permutation(81)[:60]]),
    "3D, two heights": (VOLUME, np.concatenate([GRID, GRID - [2, 0, 0]])),
}
OFF_LATTICE = {
    "2D, stations anywhere": (SECTION, stations_2d([-3.1, 0.2, 0.9, 5.0])),
    "2D, columns of changing width": (UNEVEN, stations_2d(LINE)),
    "2D, a station of its own height each": (SECTION, stations_2d(LINE, -np.arange(1, 19.0))),
    "2D, few stations far apart": (SECTION, stations_2d([-100.0, 0.0, 100.0])),
    "3D, stations anywhere": (VOLUME, np.random.default_rng(0).uniform(-6, -1, (7, 3))),
}


def operators_of(geometry):
    """Give fitted operators of one geometry: all components, both kernels, both units."""
    mesh, stations = geometry
    components = ("z", "x", "xz") if mesh.ndim == 2 else ("y", "x", "z", "zz", "yz")
    for kernel in ("cell", "point"):
        for units in ("mGal", "normalized"):
            survey = Survey(stations, components)
            yield ForwardOperator(mesh, survey, kernel=kernel, units=units).fit()


@pytest.fixture(scope="module")
def paper():
    """Give the operator of the authors' scripts, n = 51."""
    return ForwardOperator(PAPER, Survey.line(PAPER), kernel="point", units="normalized").fit()


@pytest.mark.parametrize("name", ON_LATTICE)
@pytest.mark.parametrize("kernel", ["cell", "point"])
def test_matrix_from_the_table_equals_the_one_built_in_blocks(name, kernel, monkeypatch):
    mesh, stations = ON_LATTICE[name]
    survey = Survey(stations, COMPONENTS[mesh.ndim])
    geometry = _cells.Geometry(mesh, survey, kernel, "normalized")
    assert geometry.lattices.found
    assert geometry.lattices.obstacle == ""
    from_table = _sensitivity.sensitivity(geometry)
    geometry.__dict__["lattices"] = _cells.Lattices([], "not asked for")
    in_one_block = _sensitivity.sensitivity(geometry)
    monkeypatch.setattr(_cells, "_BLOCK_NODES", 50)
    in_blocks = _sensitivity.sensitivity(geometry)
    np.testing.assert_allclose(from_table, in_one_block, atol=1e-13 * np.abs(from_table).max())
    np.testing.assert_array_equal(in_blocks, in_one_block)


@pytest.mark.parametrize("name", OFF_LATTICE)
def test_table_is_left_where_there_is_no_lattice_or_it_would_not_pay(name):
    mesh, stations = OFF_LATTICE[name]
    assert _cells.find_lattices(mesh, Survey(stations, "z")).found == []


@pytest.mark.parametrize("geometry", [*ON_LATTICE.values(), *OFF_LATTICE.values()])
def test_each_entry_is_the_attraction_of_one_cell_on_one_station(geometry):
    mesh, stations = geometry
    for operator in operators_of(geometry):
        rng = np.random.default_rng(0)
        for _ in range(5):
            station, cell = rng.integers(len(stations)), rng.integers(mesh.n_cells)
            index = np.unravel_index(cell, mesh.shape)
            single = Mesh([e[[i, i + 1]] for e, i in zip(mesh.edges, index, strict=True)])
            survey = Survey(stations[[station]], operator.survey_.components)
            alone = _sensitivity.sensitivity(
                _cells.Geometry(single, survey, operator.kernel, operator.units)
            )
            rows = operator.survey_.unflatten(operator.matrix_[:, cell])[:, station]
            scale = np.abs(operator.matrix_).max()
            np.testing.assert_allclose(rows, alone[:, 0], atol=1e-12 * scale)


def test_point_masses_reproduce_the_authors_matrix_entry_by_entry(paper):
    # 51 x 51 nodes from -20 to 20, first row one spacing below the stations, row-major.
    n, h = 51, 0.8
    node_x, node_y = np.meshgrid(-20 + h * np.arange(n), h * np.arange(1, n + 1))
    expected = np.empty((306, n * n))
    for i in range(153):
        dx, dy = node_x.ravel() - (-20 - 51 * h + i * h), node_y.ravel()
        expected[i] = h**2 * dx / (dx**2 + dy**2)
        expected[153 + i] = h**2 * dy / (dx**2 + dy**2)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(paper.matrix_, expected, rtol=1e-12, atol=1e-13 * scale)


@pytest.mark.parametrize(
    ("n_stations", "spacings_above", "ranks"),
    [(51, 1, (53, 55, 101, 102)), (153, 1, (57, 61, 112, 122)), (153, 10, (11, 17, 23, 37))],
)
def test_rank_is_the_papers(n_stations, spacings_above, ranks):
    survey = Survey.line(PAPER, n_stations=n_stations, height=0.8 * (spacings_above - 0.5))
    s = ForwardOperator(PAPER, survey, kernel="point", units="normalized").fit().svd_.s
    assert tuple(np.sum(s > level * s[0]) for level in (1e-2, 1e-3, 1e-4, 1e-6)) == ranks


@pytest.mark.parametrize("geometry", [ON_LATTICE["2D line"], ON_LATTICE["3D grid"]])
@pytest.mark.parametrize("kernel", ["cell", "point"])
def test_mgal_is_g_times_1e5_and_in_2d_the_factor_2_of_infinite_strike(geometry, kernel):
    mesh, stations = geometry
    survey = Survey(stations, ("x", "z"))
    mgal = ForwardOperator(mesh, survey, kernel=kernel).fit().matrix_
    normalized = ForwardOperator(mesh, survey, kernel=kernel, units="normalized").fit().matrix_
    factor = (2 if mesh.ndim == 2 else 1) * gravitational_constant * 1e5
    np.testing.assert_allclose(mgal, factor * normalized, rtol=1e-14)


@pytest.mark.parametrize("geometry", [*ON_LATTICE.values(), *OFF_LATTICE.values()])
def test_adjoint_is_an_adjoint(geometry):
    for operator in operators_of(geometry):
        linear = operator.aslinearoperator()
        assert linear.shape == (operator.n_data_, operator.n_cells_)
        error = dot_test_error(
            lambda u, A=linear: A.matmat(u.T).T,
            lambda v, A=linear: A.rmatmat(v.T).T,
            operator.n_cells_,
            operator.n_data_,
        )
        assert error < 1e-13


def test_dot_test_catches_a_wrong_adjoint():
    A = ForwardOperator(SECTION, Survey(stations_2d([-3.1, 0.2, 5.0]))).fit().matrix_
    wrong = A.copy()
    wrong[0, 0] *= 1.001
    assert dot_test_error(lambda u: u @ A.T, lambda v: v @ A, *A.T.shape) < 1e-13
    assert dot_test_error(lambda u: u @ A.T, lambda v: v @ wrong, *A.T.shape) > 1e-6
    assert dot_test_error(lambda u: u @ A.T, lambda v: -(v @ A), *A.T.shape) > 1e-2


@pytest.mark.parametrize("mesh", [SECTION, VOLUME], ids=["2D", "3D"])
@pytest.mark.parametrize("kernel", ["cell", "point"])
def test_positive_density_below_gives_positive_gz_and_gx_toward_it(mesh, kernel):
    stations = np.zeros((2, mesh.ndim)) - 1.0
    stations[:, -1] = [-20.0, 20.0]
    operator = ForwardOperator(mesh, Survey(stations, ("x", "z")), kernel=kernel).fit()
    gx, gz = operator.survey_.unflatten(operator.transform(np.full((1, mesh.n_cells), 300.0)))[0]
    assert (gz > 0).all()
    assert gx[0] > 0 > gx[1]


@pytest.mark.parametrize("kernel", ["cell", "point"])
def test_mirrored_density_mirrors_gz_and_gx_turns(kernel):
    mesh = Mesh.square(8)
    operator = ForwardOperator(mesh, kernel=kernel).fit()
    rho = np.random.default_rng(0).normal(size=(3, 64))
    mirrored = mesh.unflatten(rho)[..., ::-1].reshape(3, 64)
    g, turned = (operator.survey_.unflatten(operator.transform(r)) for r in (rho, mirrored))
    scale = np.abs(g).max()
    np.testing.assert_allclose(turned[:, 0], -g[:, 0, ::-1], atol=1e-12 * scale)
    np.testing.assert_allclose(turned[:, 1], g[:, 1, ::-1], atol=1e-12 * scale)


def test_default_geometry_is_the_papers_for_square_numbers_of_cells():
    operator = ForwardOperator().fit(np.ones((2, 144)))
    assert operator.mesh_ == Mesh.square(12)
    assert operator.survey_ == Survey.line(Mesh.square(12))
    assert (operator.n_cells_, operator.n_data_, operator.n_features_in_) == (144, 72, 144)


def test_other_numbers_of_cells_get_the_most_square_grid_and_a_warning():
    with pytest.warns(
        UserWarning, match="'mesh' is None and 24 cells do not make a square .* 4 x 6"
    ):
        operator = ForwardOperator().fit(np.ones((1, 24)))
    assert operator.mesh_.shape == (4, 6)


def test_default_survey_of_a_volume_is_gz_above_each_column():
    operator = ForwardOperator(VOLUME).fit()
    assert operator.survey_ == Survey.grid(VOLUME, height=0.5)


@pytest.mark.parametrize("n_samples", [1, 3])
def test_one_station_and_one_sample_are_enough(n_samples):
    operator = ForwardOperator(SECTION, Survey([[-1, 0]], ("z",))).fit()
    rho = np.ones((n_samples, SECTION.n_cells))
    assert operator.transform(rho).shape == (n_samples, 1)
    assert operator.inverse_transform(operator.transform(rho)).shape == rho.shape


def test_inverse_transform_fits_data_with_the_density_of_least_norm(paper):
    rho = np.random.default_rng(0).uniform(0, 12, (4, paper.n_cells_))
    g = paper.transform(rho)
    found = paper.inverse_transform(g, rcond=1e-10)
    assert np.linalg.norm(paper.transform(found) - g) < 1e-9 * np.linalg.norm(g)
    assert (np.linalg.norm(found, axis=1) < np.linalg.norm(rho, axis=1)).all()
    # It lies in the range of A^T and is where rho itself is projected.
    Vt = paper.svd_.Vt[paper.svd_.s > 1e-10 * paper.svd_.s[0]]
    np.testing.assert_allclose(found, rho @ Vt.T @ Vt, atol=1e-4)


def test_inverse_transform_cuts_singular_values_off(paper):
    noise = np.random.default_rng(0).normal(size=(20, paper.n_data_))
    norms = [np.linalg.norm(paper.inverse_transform(noise, rcond=r)) for r in (1e-1, 1e-2, 1e-4)]
    assert norms[0] < norms[1] < norms[2]
    gain = np.linalg.norm(paper.inverse_transform(noise), axis=1) / np.linalg.norm(noise, axis=1)
    assert (gain <= 1 / (1e-2 * paper.svd_.s[0])).all()


def test_svd_is_computed_once_and_shared_by_clones():
    operator = ForwardOperator(Mesh.square(7)).fit()
    U, s, Vt = operator.svd_
    np.testing.assert_allclose(U * s @ Vt, operator.matrix_, atol=1e-15)
    again = clone(operator).fit()
    assert again.matrix_ is operator.matrix_
    assert again.svd_ is operator.svd_
    other = ForwardOperator(Mesh.square(7), units="normalized").fit()
    assert other.matrix_ is not operator.matrix_


def test_uncertainty_of_the_survey_does_not_build_the_matrix_again():
    mesh = Mesh.square(7)
    survey = Survey.line(mesh)
    one = ForwardOperator(mesh, survey).fit()
    other = ForwardOperator(mesh, Survey(survey.stations, uncertainty=0.1)).fit()
    assert other.matrix_ is one.matrix_


def test_matrix_is_released_with_the_last_operator():
    mesh = Mesh.square(9, spacing=0.123)
    operator = ForwardOperator(mesh).fit()
    n_shared = len(_shared._results)
    del operator
    # The matrix, and the mark that its geometry was checked.
    assert len(_shared._results) == n_shared - 2


@pytest.mark.parametrize(
    "operator",
    [
        ForwardOperator(Mesh.square(7)).fit(),
        MatrixOperator(np.arange(6.0).reshape(2, 3)).fit(np.ones((1, 3))),
    ],
    ids=["forward", "matrix"],
)
@pytest.mark.parametrize("pickled", [False, True])
def test_matrix_and_svd_are_read_only(operator, pickled):
    if pickled:
        operator = pickle.loads(pickle.dumps(operator))
    for array in (operator.matrix_, *operator.svd_):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_pickle_leaves_the_matrix_behind_and_is_equal_after(monkeypatch):
    operator = ForwardOperator(Mesh.square(40)).fit()
    expected = operator.matrix_.copy()
    assert operator.svd_.s.size == 240
    pickled = pickle.dumps(operator)
    assert len(pickled) < 20_000 < operator.matrix_.nbytes
    monkeypatch.setattr(_shared, "_results", {})  # as in another process
    again = pickle.loads(pickled)
    np.testing.assert_array_equal(again.matrix_, expected)
    assert again.mesh_ == operator.mesh_
    assert again.survey_ == operator.survey_


def test_pickle_of_a_given_matrix_leaves_the_svd_behind():
    matrix = np.random.default_rng(0).normal(size=(100, 300))
    operator = MatrixOperator().fit(np.eye(300), matrix.T)
    before = len(pickle.dumps(operator))
    assert operator.svd_.s.size == 100
    assert len(pickle.dumps(operator)) == before < 1.1 * matrix.nbytes
    again = pickle.loads(pickle.dumps(operator))
    np.testing.assert_array_equal(again.matrix_, operator.matrix_)


def test_copies_share_the_matrix_and_unfitted_pickles_stay_unfitted():
    operator = ForwardOperator(Mesh.square(7)).fit()
    assert copy.deepcopy(operator).matrix_ is operator.matrix_
    with pytest.raises(NotFittedError):
        _ = pickle.loads(pickle.dumps(clone(operator))).matrix_


def test_building_is_deterministic():
    survey = Survey.line(SECTION)
    one, other = (
        _sensitivity.sensitivity(_cells.Geometry(SECTION, survey, "cell", "mGal")) for _ in range(2)
    )
    np.testing.assert_array_equal(one, other)


def test_fitting_and_transforming_leave_parameters_as_they_are():
    operator = ForwardOperator(SECTION, Survey.line(SECTION), kernel="point")
    params = operator.get_params()
    operator.fit().transform(np.ones((1, SECTION.n_cells)))
    assert operator.get_params() == params
    assert clone(operator).get_params() == params


def test_transform_is_linear_float64_and_takes_integers_and_float32():
    operator = ForwardOperator(SECTION).fit()
    rho = np.random.default_rng(0).integers(0, 12, (5, SECTION.n_cells))
    g = operator.transform(rho)
    assert g.dtype == np.float64
    np.testing.assert_allclose(operator.transform(rho.astype(np.float32)), g, rtol=1e-14)
    np.testing.assert_allclose(operator.transform(3 * rho[:1] - rho[1:]), 3 * g[:1] - g[1:])


def test_output_as_pandas_has_the_names_of_components_and_stations():
    operator = ForwardOperator(SECTION, Survey([[-1, 0], [-1, 1]])).fit()
    rho = np.ones((2, SECTION.n_cells))
    frame = clone(operator).set_output(transform="pandas").fit(rho).transform(rho)
    assert list(frame.columns) == ["gx0", "gx1", "gz0", "gz1"]
    np.testing.assert_array_equal(frame.to_numpy(), operator.transform(rho))
    given = MatrixOperator(operator.matrix_).set_output(transform="pandas").fit(rho)
    assert list(given.transform(rho).columns) == ["g0", "g1", "g2", "g3"]


def test_operator_is_a_step_of_a_pipeline():
    operator = ForwardOperator(SECTION)
    rho = np.random.default_rng(0).uniform(0, 12, (6, SECTION.n_cells))
    pipeline = make_pipeline(operator, StandardScaler()).fit(rho)
    np.testing.assert_allclose(
        pipeline.inverse_transform(pipeline.transform(rho)),
        operator.fit().inverse_transform(operator.transform(rho)),
        atol=1e-9,
    )


def test_memory_is_known_before_building():
    assert ForwardOperator(PAPER).memory_usage() == 306 * 2601 * 8
    with pytest.raises(ValueError, match="'mesh' is None, and the memory depends on it"):
        ForwardOperator().memory_usage()


def test_too_large_a_matrix_is_a_memory_error_before_anything_is_built(monkeypatch):
    monkeypatch.setattr(_plan, "available_bytes", lambda: 4e6)
    monkeypatch.setattr(_ways, "sensitivity", None)
    mesh = Mesh.square(53, spacing=0.7)
    text = r"method='dense' needs 7.1 MB for 318 data x 2809 cells, but 4.0 MB are free or allowed"
    with pytest.raises(MemoryError, match=text):
        ForwardOperator(mesh, method="dense").fit()


@pytest.mark.parametrize("error", [OSError, ValueError, AttributeError])
def test_unknown_memory_is_no_obstacle(monkeypatch, error):
    def unknown(*args):
        raise error

    assert 1e6 < _memory.available_bytes() < 1e15
    monkeypatch.setattr(Path, "read_text", lambda path: "SomethingElse: 1 kB")
    monkeypatch.setattr(os, "sysconf", unknown)
    assert _memory.available_bytes() == np.inf


@pytest.mark.parametrize(
    ("operator", "rho", "text"),
    [
        (ForwardOperator(SECTION), np.ones((2, 5)), r"'X' has 5 columns, but 'mesh' of shape \(3"),
        (ForwardOperator(SECTION, Survey.grid(VOLUME, height=1)), None, r"'survey' has 3 coord"),
        (ForwardOperator(), None, r"'X' is None and so is 'mesh': give densities to fit"),
        (ForwardOperator(kernel="sphere"), np.ones((1, 4)), r"The 'kernel' parameter .*'sphere'"),
        (ForwardOperator(units="Gal"), np.ones((1, 4)), r"The 'units' parameter .*'Gal'"),
        (ForwardOperator(method="magic"), np.ones((1, 4)), r"The 'method' parameter .*'magic'"),
        (ForwardOperator(mesh=[[0, 1]] * 2), np.ones((1, 1)), r"The 'mesh' parameter .*Mesh'"),
        (ForwardOperator(SECTION), np.full((1, 18), np.nan), "Input X contains NaN"),
        (ForwardOperator(SECTION), np.ones(18), "Expected 2D array"),
        (MatrixOperator(np.ones((3, 4))), np.ones((2, 5)), r"'X' has 5 columns, but 'matrix' of"),
        (MatrixOperator([[1, np.inf]]), np.ones((2, 2)), "Input matrix contains infinity"),
        (MatrixOperator(), np.ones((2, 2)), r"requires y to be passed.*'matrix' is None too"),
        (MatrixOperator(alpha=0.0), np.ones((2, 2)), r"The 'alpha' parameter"),
    ],
)
def test_bad_input_to_fit_is_refused(operator, rho, text):
    with pytest.raises(ValueError, match=text):
        operator.fit(rho)


def test_bad_input_to_a_fitted_operator_is_refused():
    operator = ForwardOperator(SECTION).fit()
    with pytest.raises(ValueError, match=r"X has 7 features, but ForwardOperator is expecting 18"):
        operator.transform(np.ones((1, 7)))
    with pytest.raises(ValueError, match=r"'X' has 7 data, but this operator has 36"):
        operator.inverse_transform(np.ones((1, 7)))
    with pytest.raises(ValueError, match=r"'rcond' is 1; it must be at least 0 and below 1"):
        operator.inverse_transform(np.ones((1, 36)), rcond=1)
    with pytest.raises(ValueError, match="Input X contains infinity"):
        operator.inverse_transform(np.full((1, 36), np.inf))
    with pytest.raises(NotFittedError):
        ForwardOperator(SECTION).transform(np.ones((1, 18)))


def test_given_matrix_is_copied_and_applied():
    matrix = np.random.default_rng(0).normal(size=(3, 5))
    operator = MatrixOperator(matrix).fit(np.ones((1, 5)))
    rho, expected = np.arange(10.0).reshape(2, 5), np.arange(10.0).reshape(2, 5) @ matrix.T
    matrix[...] = 0
    np.testing.assert_allclose(operator.transform(rho), expected)
    np.testing.assert_allclose(operator.transform(operator.inverse_transform(expected)), expected)
    assert (operator.n_cells_, operator.n_data_) == (5, 3)


@pytest.mark.parametrize("n_data", [1, 7, 30])
def test_matrix_is_identified_from_more_pairs_than_cells(n_data):
    rng = np.random.default_rng(0)
    rho, matrix = rng.uniform(0, 12, (50, 20)), rng.normal(size=(n_data, 20))
    g = rho @ matrix.T
    operator = MatrixOperator().fit(rho, g)
    np.testing.assert_allclose(operator.matrix_, matrix, atol=1e-5)
    if n_data == 1:
        assert MatrixOperator().fit(rho, g[:, 0]).matrix_.shape == (1, 20)


def test_matrix_identified_from_fewer_pairs_than_cells_explains_them():
    rng = np.random.default_rng(0)
    rho, matrix = rng.uniform(0, 12, (10, 20)), rng.normal(size=(4, 20))
    operator = MatrixOperator().fit(rho, rho @ matrix.T)
    np.testing.assert_allclose(operator.transform(rho), rho @ matrix.T, rtol=1e-4)


def test_identification_does_not_depend_on_the_unit_of_density():
    rng = np.random.default_rng(0)
    rho, matrix = rng.uniform(0, 12, (10, 20)), rng.normal(size=(4, 20))
    one, other = (MatrixOperator().fit(c * rho, rho @ matrix.T).matrix_ for c in (1.0, 1e3))
    np.testing.assert_allclose(1e3 * other, one, rtol=1e-6, atol=1e-8)
