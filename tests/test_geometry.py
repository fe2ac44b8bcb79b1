"""Meshes and surveys: what lies where, in which order, and that nothing can change it."""

import copy
import pickle
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from skgrav import Mesh, Survey

SECTION = Mesh([[0, 100, 300], [0, 500, 1000, 1500]])
VOLUME = Mesh([[0, 1, 3], [0, 2, 4, 6], [0, 5, 10, 15, 20]])
SURVEY = Survey([[-1, 0], [-1, 2], [-3, 4]], uncertainty=[1, 2, 3, 4, 5, 6])


def test_repr_of_a_mesh_far_from_the_origin_has_all_digits():
    mesh = Mesh([[0, 10.5], [7200000, 7200050], [5e5, 5e5 + 0.125]])
    text = "Mesh(1 x 1 x 1 cells, z 0 to 10.5 m, y 7200000 to 7200050 m, x 500000 to 500000.125 m)"
    assert repr(mesh) == text
    assert repr(Mesh([[0, 1 / 3], [0, 1]])) == "Mesh(1 x 1 cells, z 0 to 0.333333 m, x 0 to 1 m)"


def test_square_is_the_papers_section():
    mesh = Mesh.square(50)
    z, x = mesh.edges
    assert mesh.shape == (50, 50)
    np.testing.assert_allclose(z, 0.8 * np.arange(51))
    np.testing.assert_allclose(x, np.linspace(-20, 20, 51), atol=1e-13)
    assert mesh == Mesh.regular((50, 50), 0.8)


def test_regular_has_one_spacing_per_axis_and_a_top():
    mesh = Mesh.regular((2, 3, 4), (10, 20, 30), top=5)
    z, y, x = mesh.edges
    np.testing.assert_array_equal(z, [5, 15, 25])
    np.testing.assert_array_equal(y, [-30, -10, 10, 30])
    np.testing.assert_array_equal(x, [-60, -30, 0, 30, 60])


@pytest.mark.parametrize(
    ("mesh", "shape", "volumes"),
    [
        (SECTION, (2, 3), [5e4] * 3 + [1e5] * 3),
        (VOLUME, (2, 3, 4), [10] * 12 + [20] * 12),
    ],
    ids=["2D", "3D"],
)
def test_layers_of_any_thickness_have_centres_widths_and_volumes(mesh, shape, volumes):
    assert (mesh.ndim, mesh.shape, mesh.n_cells) == (len(shape), shape, np.prod(shape))
    np.testing.assert_array_equal(mesh.volumes, volumes)
    for edges, centers, widths in zip(mesh.edges, mesh.centers, mesh.widths, strict=True):
        np.testing.assert_allclose(centers - widths / 2, edges[:-1])
        np.testing.assert_allclose(centers + widths / 2, edges[1:])


@pytest.mark.parametrize("mesh", [SECTION, VOLUME], ids=["2D", "3D"])
def test_density_is_flattened_top_layer_first_and_x_fastest(mesh):
    indices = np.indices(mesh.shape)
    assert (mesh.unflatten(indices[0].ravel())[0] == 0).all()
    assert (mesh.unflatten(indices[-1].ravel())[..., -1] == mesh.shape[-1] - 1).all()
    batch = np.arange(2.0 * mesh.n_cells).reshape(2, -1)
    images = mesh.unflatten(batch)
    assert images.shape == (2, *mesh.shape)
    np.testing.assert_array_equal(images.reshape(2, -1), batch)


def test_line_reaches_one_width_beyond_the_section_one_spacing_above_the_first_centres():
    mesh = Mesh.square(50)
    z, x = Survey.line(mesh).stations.T
    assert x.size == 150
    np.testing.assert_allclose(np.diff(x), 0.8)
    np.testing.assert_allclose(x[50:100], mesh.centers[1], atol=1e-13)
    np.testing.assert_allclose([x[0] - 0.4, x[-1] + 0.4], [-60, 60])
    np.testing.assert_allclose(mesh.centers[0][0] - z, 0.8)


@pytest.mark.parametrize("n_stations", [1, 2, 7])
def test_line_is_centred_at_its_height_above_the_top(n_stations):
    mesh = Mesh([[100, 250, 500], [10, 20, 25, 40]])
    line = Survey.line(mesh, n_stations=n_stations, height=150, components=("z",))
    z, x = line.stations.T
    np.testing.assert_array_equal(z, -50)
    np.testing.assert_allclose(x.mean(), 25)
    np.testing.assert_allclose(np.diff(x), 10)
    assert (line.components, line.n_data) == (("z",), n_stations)


def test_grid_stands_over_the_columns_in_c_order():
    mesh = Mesh.regular((2, 3, 4), (10, 20, 30), top=5)
    grid = Survey.grid(mesh, height=7)
    z, y, x = grid.stations.T
    np.testing.assert_array_equal(z, -2)
    np.testing.assert_allclose(y, np.repeat(mesh.centers[1], 4))
    np.testing.assert_allclose(x, np.tile(mesh.centers[2], 3))
    assert (grid.ndim, grid.n_stations, grid.components) == (3, 12, ("z",))


def test_grid_of_another_size_is_centred_at_the_same_spacing():
    mesh = Mesh.regular((2, 3, 4), (10, 20, 30))
    grid = Survey.grid(mesh, height=7, shape=(1, 2), components=("y", "z"))
    np.testing.assert_allclose(grid.stations, [[-7, 0, -15], [-7, 0, 15]])
    assert grid.n_data == 4


def test_data_are_component_major():
    x, z = SURVEY.unflatten([1, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(x, [1, 2, 3])
    np.testing.assert_array_equal(z, [4, 5, 6])
    assert SURVEY.unflatten(np.zeros((5, 6))).shape == (5, 2, 3)


def test_one_uncertainty_holds_for_all_data():
    survey = Survey([[0, 0], [0, 1]], ("z",), uncertainty=0.3)
    np.testing.assert_array_equal(survey.uncertainty, [0.3, 0.3])
    assert Survey([[0, 0]]).uncertainty is None


ROUND_TRIPS = [lambda v: pickle.loads(pickle.dumps(v)), copy.copy, copy.deepcopy]


@pytest.mark.parametrize("value", [SECTION, VOLUME, SURVEY], ids=["section", "volume", "survey"])
@pytest.mark.parametrize("trip", ROUND_TRIPS, ids=["pickle", "copy", "deepcopy"])
def test_a_copy_is_equal_with_the_same_hash_and_as_frozen(value, trip):
    again = trip(value)
    assert again == value
    assert hash(again) == hash(value)
    arrays = again.edges if isinstance(again, Mesh) else (again.stations, again.uncertainty)
    assert not any(a.flags.writeable for a in arrays)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (SECTION, Mesh([[0, 100, 300], [0, 500, 1000, 1501]])),
        (Mesh([[0, 1, 2], [0, 1]]), Mesh([[0, 1], [0, 1, 2]])),
        (SURVEY, Survey(SURVEY.stations)),
        (Survey([[0, 1]], ("x", "z")), Survey([[0, 1]], ("z", "x"))),
        (Survey([[0, 1, 2], [3, 4, 5]], "z"), Survey([[0, 1], [2, 3], [4, 5]], "z")),
        (Mesh([[0, 1], [0, 1]]), Survey([[0, 1]])),
    ],
)
def test_other_geometry_is_not_equal(one, other):
    assert one != other


def test_meshes_and_surveys_are_frozen_and_keep_copies_of_what_they_are_given():
    edges, stations = np.arange(3.0), np.zeros((1, 2))
    mesh, survey = Mesh([edges, edges]), Survey(stations)
    edges[0], stations[0, 0] = -5, -5
    assert mesh.edges[0][0] == 0
    assert survey.stations[0, 0] == 0
    with pytest.raises(FrozenInstanceError):
        mesh.edges = ()
    with pytest.raises(FrozenInstanceError):
        survey.components = ("z",)
    with pytest.raises(ValueError, match="read-only"):
        mesh.edges[0][0] = 1
    with pytest.raises(ValueError, match="read-only"):
        survey.stations[0, 0] = 1


def test_repr_says_sizes_and_extent():
    assert repr(VOLUME) == "Mesh(2 x 3 x 4 cells, z 0 to 3 m, y 0 to 6 m, x 0 to 20 m)"
    assert repr(SURVEY) == "Survey(3 stations, components x, z)"


@pytest.mark.parametrize(
    ("edges", "text"),
    [
        ([[0, 1]], r"'edges' has 1 axes; .* \(z, x\) in 2D or \(z, y, x\) in 3D"),
        ([[0, 1]] * 4, r"'edges' has 4 axes"),
        ([[0, 1], [0, 2, 1]], r"'edges' of axis x must be .*increasing.*got \[0. 2. 1.\]. Sort"),
        ([[0, 1], [0, 1], [1, 1]], r"'edges' of axis x must be .*got \[1. 1.\].*drop repeated"),
        ([[1, 0], [0, 1]], r"'edges' of axis z must be"),
        ([[0, 1], [3]], r"'edges' of axis x must be at least two"),
        ([[[0, 1]], [0, 1]], r"'edges' of axis z must be"),
        ([[0, np.nan], [0, 1]], r"'edges of axis z' contains NaN or infinity; .*finite number"),
        ([[0, 1], [0, np.inf]], r"'edges of axis x' contains NaN or infinity"),
    ],
)
def test_bad_edges_are_refused(edges, text):
    with pytest.raises(ValueError, match=text):
        Mesh(edges)


@pytest.mark.parametrize("name", ["z", "zz"])
def test_string_is_one_component(name):
    assert Survey([[0, 1]], name) == Survey([[0, 1]], (name,))
    assert Survey.line(SECTION, components=name).components == (name,)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (([0, 1],), r"'stations' has shape \(2,\); it must be \(n_stations, 2\)"),
        (([[0, 1, 2, 3]],), r"'stations' has shape \(1, 4\)"),
        ((np.empty((0, 2)),), r"'stations' has shape \(0, 2\)"),
        (([[0, np.nan]],), r"'stations' contains NaN or infinity"),
        (([[0, 1]], ("y",)), r"'components' is \('y',\); allowed are .*\('z', 'x', 'xx'.*2 coord"),
        (([[0, 1]], ("zz", "xy")), "'components' is .*allowed are .*'xx', 'xz', 'zz'"),
        (([[0, 1, 2]], ("zx",)), "'components' is .*allowed are .*'xz', 'yy', 'yz', 'zz'"),
        (([[0, 1]], ("z", "zz"), 0.1), "'uncertainty' is 0.1 .*in mGal and of gradients in E"),
        (([[0, 1]], ("z", "z")), r"'components' is \('z', 'z'\); allowed are distinct"),
        (([[0, 1]], ()), r"'components' is \(\)"),
        (([[0, 1]], "xz"), r"is 'xz', .*give \('xz',\) for the gradient, or \('x', 'z'\) for gr"),
        (([[0, 1, 2]], "zyx"), r"a string is one component: give \('z', 'y', 'x'\) for gravity"),
        (([[0, 1]], "yy"), r"'components' is \('yy',\); allowed are"),
        (
            ([[0, 1]], ("x", "z"), [1, 2, 3]),
            r"'uncertainty' has shape \(3,\).*one for each of 2 data",
        ),
        (([[0, 1]], ("x", "z"), 0), r"'uncertainty' has shape \(\) and minimum 0; .*one positive"),
        (([[0, 1]], ("x", "z"), [1, -2]), r"'uncertainty' has shape \(2,\) and minimum -2"),
        (([[0, 1]], ("x", "z"), np.nan), r"'uncertainty' contains NaN"),
    ],
)
def test_bad_surveys_are_refused(arguments, text):
    with pytest.raises(ValueError, match=text):
        Survey(*arguments)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: Survey.line(VOLUME), r"'mesh' has 3 axes; Survey.line needs 2. Use Survey.grid"),
        (lambda: Survey.grid(SECTION, height=1), r"'mesh' has 2 axes; Survey.grid needs 3. Use"),
        (lambda: Survey.line(SECTION, n_stations=0), r"'n_stations' is 0; .*at least 1"),
        (lambda: Survey.grid(VOLUME, height=1, shape=(3,)), r"'shape' is \(3,\); .*\(ny, nx\)"),
        (lambda: Survey.grid(VOLUME, height=1, shape=(3, 0)), r"'shape' is \(3, 0\)"),
        (lambda: SECTION.unflatten(np.zeros(7)), r"'rho' has shape \(7,\).*6 cells.*\(2, 3\)"),
        (lambda: SURVEY.unflatten(np.zeros((6, 2))), r"'g' has shape \(6, 2\).*6 data.*3 stations"),
    ],
)
def test_wrong_dimensions_and_sizes_are_refused(call, text):
    with pytest.raises(ValueError, match=text):
        call()
