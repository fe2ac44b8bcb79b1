"""Scattered stations are projected onto a line, and what lies far off it is said."""

import warnings
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import skgrav
from skgrav import ForwardOperator, Mesh, Survey, project_onto_line

UTM = np.array([0.0, 7_200_000.0, 500_000.0])


def along_a_line(azimuth=30.0, n=40, off=0.0, seed=0, origin=UTM):
    """Give stations 100 m apart, off a line through the origin by some metres."""
    turn = np.radians(azimuth)
    rng = np.random.default_rng(seed)
    x, d = 100.0 * np.arange(n), off * rng.uniform(-1, 1, n)
    yx = np.outer(x, [np.cos(turn), np.sin(turn)]) + np.outer(d, [-np.sin(turn), np.cos(turn)])
    return np.column_stack([-rng.uniform(0, 50, n), yx]) + origin, x, d


def area(n=300, seed=0):
    return np.column_stack([np.zeros(n), np.random.default_rng(seed).uniform(0, 1e4, (n, 2))]) + UTM


@given(st.floats(1, 179), st.sampled_from([0.0, 20.0]))
def test_stations_along_a_line_keep_their_distances(azimuth, off):
    stations, x, d = along_a_line(azimuth, off=off)
    line = project_onto_line(stations, azimuth=azimuth)
    np.testing.assert_allclose(line.stations[:, 1], x, atol=1e-6)
    np.testing.assert_array_equal(line.stations[:, 0], stations[:, 0])
    np.testing.assert_allclose(line.distance, d - d.mean(), atol=1e-6)
    assert line.azimuth == pytest.approx(azimuth)
    assert line.selected.tolist() == list(range(40))


@given(st.floats(1, 179))
def test_least_squares_finds_the_line(azimuth):
    stations, x, d = along_a_line(azimuth, off=10.0)
    line = project_onto_line(stations)
    assert line.azimuth == pytest.approx(azimuth, abs=0.3)
    np.testing.assert_allclose(line.stations[:, 1], x, atol=1.0)
    assert (line.distance**2).sum() <= ((d - d.mean()) ** 2).sum() + 1e-6


@pytest.mark.parametrize(("azimuth", "found"), [(0, 0), (90, 90), (180, 0), (270, 90), (210, 30)])
def test_line_of_least_squares_runs_east_or_north(azimuth, found):
    line = project_onto_line(along_a_line(azimuth)[0])
    assert line.azimuth == pytest.approx(found, abs=1e-6)


@given(st.floats(0, 360))
def test_points_are_their_projection_and_their_distance(azimuth):
    stations = area(30)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        line = project_onto_line(stations, azimuth=azimuth)
    y, x = line.direction
    right = np.array([-x, y])  # of a direction north, +x
    again = line.origin + np.outer(line.stations[:, 1], [y, x]) + np.outer(line.distance, right)
    np.testing.assert_allclose(again, stations[:, 1:], atol=1e-6)
    assert line.stations[:, 1].min() == pytest.approx(0, abs=1e-6)


def test_distance_is_positive_to_the_right():
    line = project_onto_line([[0.0, 0, 0], [0, 500, 10], [0, 1000, 0]], ends=[(0, 0), (1000, 0)])
    assert line.azimuth == 0
    assert line.distance.tolist() == [0, 10, 0]


def test_ends_and_distance_select_and_keep_the_order():
    stations = area()
    ends = np.array([(1000.0, 1000.0), (9000.0, 4000.0)]) + UTM[1:]
    line = project_onto_line(stations, ends=ends, max_distance=400.0)
    length = np.linalg.norm(ends[1] - ends[0])
    t = (stations[:, 1:] - ends[0]) @ (ends[1] - ends[0]) / length
    foot = ends[0] + np.outer(t / length, ends[1] - ends[0])
    off = np.linalg.norm(stations[:, 1:] - foot, axis=1)
    expected = np.flatnonzero((t >= 0) & (t <= length) & (off <= 400))
    assert line.selected.tolist() == expected.tolist()
    np.testing.assert_allclose(line.stations[:, 1], t[expected], atol=1e-6)
    np.testing.assert_allclose(np.abs(line.distance), off[expected], atol=1e-6)
    np.testing.assert_allclose(line.origin, ends[0])
    backwards = project_onto_line(stations, ends=ends[::-1], max_distance=400.0)
    np.testing.assert_allclose(backwards.stations[:, 1], length - line.stations[:, 1], atol=1e-6)
    np.testing.assert_allclose(backwards.distance, -line.distance, atol=1e-6)


def test_survey_and_its_stations_are_the_same():
    stations = along_a_line()[0]
    by_survey, by_array = project_onto_line(Survey(stations, "z")), project_onto_line(stations)
    np.testing.assert_array_equal(by_survey.stations, by_array.stations)
    assert "40 stations over 3900 m, azimuth 30.0" in repr(by_array)
    with pytest.raises(FrozenInstanceError):
        by_array.stations = None
    assert type(by_array) is skgrav.geometry.ProjectedLine


def test_line_becomes_a_section():
    stations, x, _ = along_a_line(off=20.0)
    line = project_onto_line(stations)
    survey = Survey(line.stations, "z")
    mesh = Mesh.for_survey(survey)
    below = (mesh.edges[1] > x[0] - 200) & (mesh.edges[1] < x[-1] + 200)
    assert 35 < below.sum() < 50
    assert ForwardOperator(mesh, survey).fit().n_data_ == 40


def test_order_and_repeats_are_kept():
    stations, x, _ = along_a_line()
    order = np.r_[np.random.default_rng(0).permutation(40), 3, 3]
    line = project_onto_line(stations[order], azimuth=30.0)
    np.testing.assert_allclose(line.stations[:, 1], x[order], atol=1e-6)


def test_long_distances_are_said():
    with pytest.warns(UserWarning, match=r"of 300 stations lie farther from the line than 4 times"):
        project_onto_line(area(), azimuth=45.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        project_onto_line(area(), azimuth=45.0, max_distance=500.0)


def test_stations_without_a_direction_are_said():
    with pytest.warns(UserWarning, match="hardly determine one") as caught:
        project_onto_line(area(), max_distance=500.0)
    assert caught[0].filename == __file__


def test_one_station_has_an_azimuth_only():
    line = project_onto_line(UTM[None], azimuth=30.0)
    assert line.stations.tolist() == [[0.0, 0.0]]
    for same in (UTM[None], np.repeat(UTM[None], 3, axis=0)):
        with pytest.raises(ValueError, match="'stations' have one position: give the 'azimuth'"):
            project_onto_line(same)


BAD = {
    "2D": ({"stations": np.zeros((3, 2))}, r"'stations' has shape \(3, 2\).* a line already"),
    "both": ({"azimuth": 0.0, "ends": [(0, 0), (1, 1)]}, "'ends' and 'azimuth' = 0.0 are both"),
    "a point": ({"ends": [(5, 5), (5, 5)]}, "'ends' are the same point"),
    "three ends": ({"ends": [(5, 5)] * 3}, r"'ends' has shape \(3, 2\)"),
    "azimuth of NaN": ({"azimuth": np.nan}, "'azimuth' contains NaN"),
    "azimuths": ({"azimuth": [1, 2]}, r"'azimuth' is \[1, 2\]; it must be one number"),
    "negative": ({"max_distance": -1.0}, "'max_distance' is -1.0"),
    "none left": ({"ends": [(0, 0), (0, 9)]}, "no station is left: of 40 the nearest"),
    "degrees": (
        {"stations": along_a_line()[0] * [1, 1e-5, 1e-5]},
        "'stations' has .* degrees.*pyproj",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_values_are_refused_by_name(name):
    params, text = BAD[name]
    with pytest.raises(ValueError, match=text):
        project_onto_line(**{"stations": along_a_line()[0], **params})
