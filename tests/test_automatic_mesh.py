"""`Mesh.for_survey` fits the stations, says what it chose, and knows what it cannot choose."""

import logging
import re
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skgrav import ForwardOperator, Mesh, Survey
from skgrav.datasets import fetch_laguna_del_maule

UTM = np.array([0.0, 7_200_000.0, 500_000.0])
LINE = np.arange(0.0, 4001.0, 100.0)


def line(z=0.0, x=LINE):
    return Survey(np.column_stack(np.broadcast_arrays(np.asarray(z, float), x)), "z")


def grid(step=50.0, shape=(8, 12), origin=UTM, z=0.0):
    steps = np.broadcast_to(step, 2)
    y, x = np.meshgrid(
        *(h * np.arange(n) for h, n in zip(steps, shape, strict=True)), indexing="ij"
    )
    flat = np.column_stack([np.broadcast_to(z, y.shape).ravel(), y.ravel(), x.ravel()])
    return Survey(flat + origin, "z")


def scattered(n=60, seed=0, z=0.0):
    rng = np.random.default_rng(seed)
    yx = rng.uniform(0, 5000, (n, 2))
    return Survey(np.column_stack([np.broadcast_to(z, n), yx]) + UTM, "z")


def hill(y, x):
    return -300 * np.exp(-(((y - 2500 - UTM[1]) / 900) ** 2) - ((x - 2500 - UTM[2]) / 900) ** 2)


def on_hill(seed=0):
    flat = scattered(200, seed).stations
    return Survey(np.column_stack([hill(*flat.T[1:]), flat[:, 1:]]), "z")


def core(mesh, axis=-1):
    """Widths of the narrowest columns, which are those of the core."""
    widths = mesh.widths[axis]
    return widths[np.isclose(widths, widths.min(), rtol=1e-6)]


def test_line_gets_its_spacing_half_its_length_and_padding_as_long():
    mesh = Mesh.for_survey(line())
    np.testing.assert_allclose(core(mesh), 100.0)
    assert core(mesh).size == 41
    z, x = mesh.edges
    assert z[[0, -1]].tolist() == pytest.approx([0.0, 2000.0])
    thickness = mesh.widths[0]
    np.testing.assert_allclose(thickness[1:] / thickness[:-1], 1.1)
    assert 40 < thickness[0] <= 50
    assert x[0] <= -4000
    assert x[-1] >= 8000
    assert max(mesh.widths[1][1:] / mesh.widths[1][:-1]) < 1.3001
    assert mesh.active is None


@given(
    step=st.tuples(*[st.integers(700, 4000).map(lambda n: n / 7)] * 2),
    shape=st.tuples(st.integers(5, 7), st.integers(5, 7)),
    far=st.booleans(),
)
def test_columns_match_a_lattice_so_that_ffts_apply(step, shape, far):
    survey = grid(step, shape, UTM if far else np.zeros(3))
    mesh = Mesh.for_survey(survey, padding=None, cell=None)
    assert ForwardOperator(mesh, survey, method="fft").plan().method == "fft"
    for widths, h in zip(mesh.widths[1:], step, strict=True):
        ratio = max(widths[0], h) / min(widths[0], h)
        assert ratio == pytest.approx(round(ratio), abs=1e-6)


def test_lattice_with_gaps_and_of_any_order_is_one():
    stations = grid().stations
    order = np.random.default_rng(0).permutation(len(stations))[: len(stations) * 3 // 4]
    assert Mesh.for_survey(Survey(stations[order], "z")) == Mesh.for_survey(grid())


def test_centimetres_that_are_rounded_away_leave_the_columns():
    survey = grid(33.333)
    rounded = Survey(survey.stations.round(2), "z")
    mesh, exact = Mesh.for_survey(rounded), Mesh.for_survey(survey)
    assert mesh.shape == exact.shape
    np.testing.assert_allclose(core(mesh), 33.333, rtol=1e-3)


@pytest.mark.parametrize("copies", [2, 3, 4])
def test_repeated_stations_count_once(copies):
    stations = np.repeat(line().stations, copies, axis=0)
    same = Survey(stations, "z")
    assert Mesh.for_survey(same) == Mesh.for_survey(line())
    # Occupied again some decimetres away.
    moved = stations + np.random.default_rng(0).uniform(-0.3, 0.3, stations.shape) * [0, 1]
    mesh = Mesh.for_survey(Survey(moved, "z"))
    assert core(mesh)[0] == pytest.approx(100, rel=0.02)


def test_order_of_stations_does_not_matter():
    survey = scattered()
    order = np.random.default_rng(1).permutation(survey.n_stations)
    assert Mesh.for_survey(Survey(survey.stations[order], "z")) == Mesh.for_survey(survey)


@given(shift=st.integers(-40, 40))
def test_shift_of_the_stations_shifts_the_mesh(shift):
    by = shift * 1000.0
    mesh, shifted = Mesh.for_survey(line()), Mesh.for_survey(line(x=LINE + by))
    np.testing.assert_allclose(shifted.edges[1], mesh.edges[1] + by, atol=1e-6)
    assert shifted.edges[0].tolist() == mesh.edges[0].tolist()


@settings(max_examples=40)
@given(
    seed=st.integers(0, 1000),
    n=st.integers(2, 40),
    ndim=st.sampled_from([2, 3]),
    relief=st.sampled_from([0.0, 1.0, 300.0, 5000.0]),
)
def test_any_stations_lie_above_rock_and_within_the_core(seed, n, ndim, relief):
    rng = np.random.default_rng(seed)
    stations = np.column_stack([-relief * rng.random(n), 1e4 * rng.random((n, ndim - 1))])
    survey = Survey(stations, "z")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The columns are")
        mesh = Mesh.for_survey(survey)
    ForwardOperator(mesh, survey, method="rows").fit()  # neither an error nor a warning
    assert mesh.n_cells <= {2: 50_000, 3: 250_000}[ndim]
    for axis in range(1, ndim):
        widths, e = core(mesh, axis), mesh.edges[axis]
        np.testing.assert_allclose(widths, widths[0])
        padding = (mesh.shape[axis] - widths.size) // 2
        low, high = e[padding], e[e.size - 1 - padding]
        assert low <= stations[:, axis].min() - widths[0] / 2.001
        assert high >= stations[:, axis].max() + widths[0] / 2.001


def test_clusters_are_resolved_and_joined():
    x = np.r_[LINE[:10] / 10, LINE[:10] / 10 + 3000]
    mesh = Mesh.for_survey(line(x=x))
    np.testing.assert_allclose(core(mesh), 10.0)
    assert mesh.edges[1][0] < 0
    assert mesh.edges[1][-1] > 3090


def test_station_far_away_is_said_and_left_out():
    stations = np.vstack([line().stations, [0.0, 1e5]])
    with pytest.warns(UserWarning, match="1 of 42 stations .*station 41, at z = 0, x = 100000 m"):
        mesh = Mesh.for_survey(Survey(stations, "z"))
    assert mesh == Mesh.for_survey(line())


def test_line_in_3d_has_width_across():
    for direction in ((0.0, 1.0), (1.0, 0.0), (0.6, 0.8)):
        stations = np.column_stack([np.zeros(41), LINE[:, None] * direction]) + UTM
        mesh = Mesh.for_survey(Survey(stations, "z"))
        depth = mesh.edges[0][-1]
        for axis in (1, 2):
            assert core(mesh, axis).sum() >= depth - 1e-6
        along = Survey(stations, "z")
        assert ForwardOperator(mesh, along).fit().n_data_ == 41


def single(*heights):
    return Survey(np.column_stack([heights, np.full(len(heights), 7.2e6)]), "z")


@pytest.mark.parametrize("survey", [single(0.0), single(0.0, 10.0, 500.0)], ids=["one", "borehole"])
def test_single_position_needs_cell_and_depth(survey):
    for given_ in ({}, {"cell": 10.0}, {"depth": 100.0}):
        with pytest.raises(ValueError, match=r"same horizontal position.*'cell' and 'depth'"):
            Mesh.for_survey(survey, **given_)
    mesh = Mesh.for_survey(survey, cell=10.0, depth=100.0)
    assert core(mesh).size >= 10
    assert mesh.edges[0][[0, -1]].tolist() == pytest.approx([0.0, 100.0])
    assert mesh.edges[1][0] < 7.2e6 - 200
    assert mesh.active is None


def test_borehole_beside_a_line_has_flat_ground():
    hole = np.column_stack([np.arange(50.0, 500.0, 50.0), np.full(9, 2000.0)])
    survey = Survey(np.vstack([line().stations, hole]), "z")
    mesh = Mesh.for_survey(survey)
    assert mesh.active is None
    assert mesh.edges[0][0] == 0
    with pytest.warns(UserWarning, match="unless the stations are underground"):
        ForwardOperator(mesh, survey).fit()


def test_ground_is_as_high_as_the_stations():
    survey = on_hill()
    mesh = Mesh.for_survey(survey)
    assert mesh.edges[0][0] < -150
    assert mesh.active is not None
    ForwardOperator(mesh, survey).fit()  # no station is in rock
    # Cells below the lowest station are active, and the top of the mesh is not air all over.
    assert mesh.active[mesh.edges[0][:-1] >= 0].all()
    assert mesh.active[0].any()
    # The surface of the active cells follows the stations, but for a layer.
    top = mesh.edges[0][mesh.active.argmax(axis=0)]
    y, x = np.meshgrid(*mesh.centers[1:], indexing="ij")
    inside = (np.abs(y - 2500 - UTM[1]) < 1500) & (np.abs(x - 2500 - UTM[2]) < 1500)
    assert np.abs(top - hill(y, x))[inside].mean() < 2 * mesh.widths[0][0]


@pytest.mark.parametrize("relief", [0.0, 5.0, 20.0])
def test_small_differences_of_height_are_no_terrain(relief):
    z = -relief * np.sin(LINE / 300) ** 2
    mesh = Mesh.for_survey(line(z))
    assert mesh.active is None
    assert mesh.edges[0][0] == z.max()


def test_cliff_takes_few_layers():
    z = np.where(LINE < 2000, -3000.0, 0.0)
    mesh = Mesh.for_survey(line(z))
    assert mesh.shape[0] < 50
    assert mesh.edges[0][[0, -1]].tolist() == pytest.approx([-3000.0, 2000.0])
    ForwardOperator(mesh, line(z)).fit()


def test_topography_of_any_kind_gives_the_same_ground():
    xarray = pytest.importorskip("xarray")
    survey = on_hill()
    axes = [np.linspace(-1000, 6000, 71) + o for o in UTM[1:]]
    y, x = np.meshgrid(*axes, indexing="ij")
    points = np.column_stack([hill(y, x).ravel(), y.ravel(), x.ravel()])
    dem = xarray.DataArray(-hill(y, x), dict(zip("yx", axes, strict=True)), ["y", "x"])
    by_function = Mesh.for_survey(survey, hill)
    for mesh in (
        Mesh.for_survey(survey, points),
        Mesh.for_survey(survey, points * [-1, 1, 1], positive="up"),
        Mesh.for_survey(survey, dem, positive="up"),
        Mesh.for_survey(survey, Survey(points, "z")),
    ):
        assert mesh.shape == by_function.shape
        assert (mesh.active != by_function.active).mean() < 5e-3
        np.testing.assert_allclose(mesh.edges[0], by_function.edges[0], atol=4.0)


def test_airborne_stations_over_flat_ground_get_layers_by_their_height():
    high = Mesh.for_survey(line(-300.0), topography=0.0)
    assert high.edges[0][0] == 0
    assert 130 < high.widths[0][0] <= 150
    elevation = Mesh.for_survey(line(-500.0), topography=200.0, positive="up")
    assert elevation.edges[0][0] == -200
    assert elevation.widths[0].tolist() == pytest.approx(high.widths[0].tolist())


def test_stations_below_or_beyond_the_topography_are_said():
    with pytest.warns(UserWarning, match="41 of 41 stations .* below the ground .* up to 600 m"):
        Mesh.for_survey(line(600.0), topography=0.0)
    points = np.column_stack([np.zeros(5), np.linspace(0, 400, 5)])
    with pytest.warns(UserWarning, match="lie beyond 'topography', up to 3600 m"):
        Mesh.for_survey(line(), topography=points)
    with pytest.raises(ValueError, match="lies at x = 500000 to 504000 m, but the mesh at -50 to"):
        Mesh.for_survey(line(), topography=points * [1, 10] + [0, 5e5])


def test_too_many_cells_are_coarsened_with_a_message():
    with pytest.warns(UserWarning, match="instead of 100 m, for .* 'max_cells'") as caught:
        mesh = Mesh.for_survey(line(), max_cells=300)
    assert mesh.n_cells <= 300
    assert caught[0].filename == __file__
    with pytest.raises(ValueError, match=r"'cell' makes .* more than the 300 of 'max_cells'"):
        Mesh.for_survey(line(), cell=50.0, max_cells=300)
    with pytest.raises(ValueError, match="'max_cells' is 5, too few"):
        Mesh.for_survey(line(), max_cells=5)


def test_coarser_columns_keep_the_lattice():
    survey = grid(shape=(40, 40))
    with pytest.warns(UserWarning, match="columns are"):
        mesh = Mesh.for_survey(survey, padding=None, max_cells=5000)
    assert ForwardOperator(mesh, survey, method="fft").plan().method == "fft"


def test_cell_depth_and_padding_are_taken_as_given():
    mesh = Mesh.for_survey(line(), cell=(20.0, 80.0), depth=777.0, padding=500.0)
    np.testing.assert_allclose(core(mesh), 80.0)
    assert mesh.edges[0][-1] == pytest.approx(777.0)
    assert 18 < mesh.widths[0][0] <= 20
    assert -500 - 80 * 10 < mesh.edges[1][0] <= -540
    bare = Mesh.for_survey(line(), padding=None)
    assert bare.shape[1] == 41
    assert bare == Mesh.for_survey(line(), padding=0)


def test_depth_of_less_than_a_column_is_said():
    with pytest.warns(UserWarning, match=r"'depth' is 3 m, less than half the width of the col"):
        Mesh.for_survey(line(), depth=3.0)
    Mesh.for_survey(line(), depth=3.0, cell=5.0)


def test_it_says_what_it_chose(capsys, caplog):
    with caplog.at_level(logging.INFO, logger="skgrav"):
        mesh = Mesh.for_survey(line())
    assert not capsys.readouterr().out
    assert Mesh.for_survey(line(), verbose=True) == mesh
    said = capsys.readouterr().out
    assert said.startswith(f"{mesh!r}\n")
    assert caplog.messages[0] == said.partition("\n")[2].rstrip("\n")
    starts = ["ground", "columns", "layers", "depth", "padding"]
    assert [row.partition(":")[0] for row in caplog.messages[0].splitlines()] == starts
    assert "41 of 100 m; the stations are 100 m apart" in said
    assert "half the 4000 m of the survey" in said


@pytest.mark.parametrize(("z", "said"), [(-300.0, True), (-20.0, False)])
def test_it_says_how_high_stations_are_above_a_given_ground(z, said, capsys):
    Mesh.for_survey(line(z), topography=0.0, verbose=True)
    text = "; half of the stations are 300 m or more above it"
    assert (text in capsys.readouterr().out) is said


def test_repr_and_edges_tell_metres_at_utm_coordinates():
    mesh = Mesh.for_survey(grid(5.0))
    low, high = re.search(r"y ([\d.]+) to ([\d.]+) m", repr(mesh)).groups()
    assert float(low) == pytest.approx(mesh.edges[1][0], abs=0.1)
    assert float(high) > float(low) + 35


BAD = {
    "cell of 0": ({"cell": 0.0}, "'cell' is 0.0"),
    "cells of another dimension": ({"cell": [1.0, 2.0, 3.0]}, "'cell' is .* one for each of"),
    "negative depth": ({"depth": -5.0}, "'depth' is -5.0"),
    "depth of NaN": ({"depth": np.nan}, "'depth' contains NaN"),
    "padding by name": ({"padding": "wide"}, "'padding' is 'wide'; it must be 'extent', metres"),
    "negative padding": ({"padding": -1.0}, "'padding' is -1.0"),
    "half a cell": ({"max_cells": 0.5}, "'max_cells' cannot be used"),
    "sideways": ({"positive": "left"}, "'positive' is 'left'"),
    "topography of columns": ({"topography": np.zeros(41)}, "'topography' has shape"),
    "no topography": ({"topography": np.zeros((0, 2))}, "'topography' has shape"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_values_are_refused_by_name(name):
    params, text = BAD[name]
    with pytest.raises((ValueError, TypeError), match=text):
        Mesh.for_survey(line(), **params)


def test_stations_alone_are_no_survey():
    with pytest.raises(TypeError, match="'survey' is of type ndarray; give a Survey"):
        Mesh.for_survey(line().stations)


def test_degrees_are_refused_with_the_way_to_metres():
    rng = np.random.default_rng(0)
    chile = np.column_stack([rng.uniform(-2800, -2100, 50), rng.uniform(-36.2, -35.9, 50),
                             rng.uniform(-70.7, -70.3, 50)])  # fmt: skip
    with pytest.raises(ValueError, match=r"'survey' has .* degrees.*pyproj.*'EPSG:32719'"):
        Mesh.for_survey(Survey(chile, "z"))
    wide = chile * [1, 10, 10] + [0, 361, 640]  # half a degree apart, at heights in metres
    with pytest.raises(ValueError, match="degrees"):
        Mesh.for_survey(Survey(wide, "z"))
    with pytest.raises(ValueError, match="degrees, or kilometres"):
        Mesh.for_survey(line(x=LINE / 1e5))
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(chile, columns=["z", "latitude", "longitude"])
    with pytest.raises(ValueError, match=r"columns \['z', 'latitude', 'longitude'\].*pyproj"):
        Survey(frame)


@pytest.mark.parametrize("spacing", [0.5, 0.8, 5.0])
def test_small_surveys_in_metres_are_no_degrees(spacing):
    small = grid(spacing, origin=np.zeros(3))
    assert core(Mesh.for_survey(small))[0] == pytest.approx(spacing)
    assert core(Mesh.for_survey(line(x=np.arange(-20, 20) * spacing)))[0] == pytest.approx(spacing)


def test_laguna_del_maule_has_its_terrain(shared_data, monkeypatch):
    monkeypatch.setenv("SKGRAV_DATA", str(shared_data))
    survey = fetch_laguna_del_maule().survey
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mesh = Mesh.for_survey(survey)
        ForwardOperator(mesh, survey).plan()
    assert core(mesh)[0] == 490.0
    assert mesh.edges[0][0] == pytest.approx(-2865, abs=30)
