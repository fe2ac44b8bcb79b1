"""Kernels against closed forms, symmetries, potential theory and choclo's prism."""

import itertools

import numpy as np
import pytest
from choclo.constants import GRAVITATIONAL_CONST
from choclo.prism import gravity_e, gravity_n, gravity_u
from hypothesis import given
from hypothesis import strategies as st

from skgrav.kernels import NODE_FUNCTIONS, point, prism_node, rectangle_node
from skgrav.operators import UNITS

BOXES = {
    2: np.array([[3.0, 5.0], [-2.0, 4.0]]),
    3: np.array([[3.0, 5.0], [-1.0, 6.0], [-2.0, 4.0]]),
}
OUTSIDE = {2: [0.5, 1.0], 3: [0.5, 1.0, -3.0]}
NDIMS = pytest.mark.parametrize("ndim", [2, 3])


def attraction(box, station):
    """Give the attraction of a box, all components: node functions differenced over its corners."""
    offsets = np.meshgrid(
        *(edges - s for edges, s in zip(box, station, strict=True)), indexing="ij"
    )
    values = []
    for component in range(len(box)):
        nodes = NODE_FUNCTIONS[len(box)](offsets, component)
        for _ in box:
            nodes = np.diff(nodes, axis=0)[0]
        values.append(float(nodes))
    return np.array(values)


def points_attraction(centers, masses, station):
    """Give the attraction of many point masses, all components."""
    offsets = tuple(c - s for c, s in zip(centers, station, strict=True))
    return np.array([np.sum(masses * point(offsets, i)) for i in range(len(offsets))])


def gradient(field, station, step):
    """Give the matrix of central differences: row i holds the derivatives along axis i."""
    shifts = step * np.eye(len(station))
    return np.array([(field(station + s) - field(station - s)) / (2 * step) for s in shifts])


def special_points(box):
    """Give the corners, the middles of edges and faces, and the centre of a box."""
    return itertools.product(*((a, (a + b) / 2, b) for a, b in box))


def random_cases(ndim, n_cases):
    """Give boxes and stations outside them, neither slivers nor too far to resolve."""
    rng = np.random.default_rng(ndim)
    for _ in range(n_cases):
        low, width = rng.uniform(-100, 100, ndim), rng.uniform(10, 100, ndim)
        direction = rng.normal(size=ndim)
        station = low + width / 2 + direction / np.abs(direction).max() * rng.uniform(60, 300)
        yield np.column_stack([low, low + width]), station


def test_prism_is_choclos_to_1e_9():
    for box, station in random_cases(3, 500):
        (z0, z1), (y0, y1), (x0, x1) = box
        z, y, x = station
        # choclo: easting, northing, upward; ours: z down.
        arguments = x, y, -z, x0, x1, y0, y1, -z1, -z0, 1.0
        reference = [-gravity_u(*arguments), gravity_n(*arguments), gravity_e(*arguments)]
        g = GRAVITATIONAL_CONST * attraction(box, station)
        # Where a component nearly cancels, the whole attraction is the yardstick.
        floor = 0.05 * np.linalg.norm(reference)
        np.testing.assert_array_less(np.abs(g - reference), 1e-9 * np.maximum(floor, np.abs(g)))


def test_units_are_mgal_per_kg_per_m3_with_the_factor_2_of_infinite_strike():
    assert UNITS["mGal"][3] == pytest.approx(1e5 * GRAVITATIONAL_CONST, rel=1e-12)
    assert UNITS["mGal"][2] == 2 * UNITS["mGal"][3]


@NDIMS
def test_attraction_is_finite_and_continuous_at_corners_edges_faces_and_inside(ndim):
    box = BOXES[ndim]
    for station in special_points(box):
        g = attraction(box, station)
        assert np.isfinite(g).all()
        near = attraction(box, np.array(station) + 1e-9 * np.array([1.0, -2.0, 3.0][:ndim]))
        np.testing.assert_allclose(g, near, atol=1e-6)


@NDIMS
def test_attraction_vanishes_at_the_centre_of_a_cell(ndim):
    box = BOXES[ndim]
    np.testing.assert_allclose(attraction(box, box.mean(axis=1)), 0, atol=1e-12)


@NDIMS
def test_point_attracts_nothing_at_itself_and_like_one_over_r_elsewhere(ndim):
    zero = tuple(np.zeros(ndim))
    assert [float(point(zero, i)) for i in range(ndim)] == [0.0] * ndim
    offsets = np.array([1.0, 2.0, 2.0][:ndim])
    g = np.array([point(tuple(offsets), i) for i in range(ndim)])
    np.testing.assert_allclose(g, offsets / np.linalg.norm(offsets) ** ndim)


@NDIMS
def test_two_points_attract_one_another_equally(ndim):
    offsets = tuple(np.random.default_rng(0).normal(size=(ndim, 20)))
    for component in range(ndim):
        there, back = point(offsets, component), point(tuple(-o for o in offsets), component)
        np.testing.assert_array_equal(there, -back)


@pytest.mark.parametrize("depth", [0.0, 5.0, 300.0])
@NDIMS
def test_wide_slab_is_bouguers_plate_at_any_depth(ndim, depth):
    thickness, density = 100.0, 2670.0
    box = [[depth, depth + thickness]] + [[-5e8, 5e8]] * (ndim - 1)
    gz = UNITS["mGal"][ndim] * density * attraction(np.array(box), [0.0] * ndim)[0]
    plate = 2 * np.pi * GRAVITATIONAL_CONST * 1e5 * density * thickness
    assert plate == pytest.approx(11.197, abs=0.001)
    assert gz == pytest.approx(plate, rel=2e-6)


def test_cylinder_attracts_like_a_line_mass_along_its_axis():
    radius, (axis_z, axis_x) = 3.0, (7.0, 1.0)
    x = radius * np.cos(np.linspace(np.pi, 0, 401))  # narrow strips where the rim is steep
    middle = (x[1:] + x[:-1]) / 2
    half = np.sqrt(radius**2 - middle**2)
    strips = [
        np.array([[axis_z - h, axis_z + h], [axis_x + a, axis_x + b]])
        for h, a, b in zip(half, x[:-1], x[1:], strict=True)
    ]
    for station in ([0.0, 0.0], [3.5, -4.0], [9.0, 6.0]):
        g = sum(attraction(strip, station) for strip in strips)
        line = points_attraction((axis_z, axis_x), np.pi * radius**2, station)
        np.testing.assert_allclose(g, line, atol=1e-4 * np.linalg.norm(line))


@NDIMS
def test_cell_is_the_integral_of_the_point_kernel(ndim):
    nodes, weights = np.polynomial.legendre.leggauss(20)
    for box, station in random_cases(ndim, 30):
        middle, half = box.mean(axis=1), np.diff(box, axis=1)[:, 0] / 2
        centers = np.meshgrid(*(m + h * nodes for m, h in zip(middle, half, strict=True)))
        masses = np.multiply.reduce(np.meshgrid(*(h * weights for h in half)))
        g = attraction(box, station)
        integral = points_attraction(centers, masses, station)
        np.testing.assert_allclose(g, integral, atol=1e-9 * np.linalg.norm(g))


@NDIMS
def test_cell_is_a_point_from_far_away(ndim):
    box = BOXES[ndim]
    station = -1e3 * np.array([1.0, 0.7, 0.4][:ndim])
    mass = np.prod(np.diff(box, axis=1))
    g = points_attraction(box.mean(axis=1), mass, station)
    np.testing.assert_allclose(attraction(box, station), g, rtol=1e-4)


@pytest.mark.parametrize("place", ["outside", "inside"])
@NDIMS
def test_divergence_is_laplaces_outside_and_poissons_inside_and_curl_vanishes(ndim, place):
    box = BOXES[ndim]
    station = np.array(OUTSIDE[ndim] if place == "outside" else box.mean(axis=1) + 0.3)
    slopes = gradient(lambda s: attraction(box, s), station, step=1e-4)
    # 2 G times 2 pi in 2D and G times 4 pi in 3D: Poisson's 4 pi G either way.
    source = 0.0 if place == "outside" else -2 * np.pi * (ndim - 1)
    assert np.trace(slopes) == pytest.approx(source, abs=1e-6)
    np.testing.assert_allclose(slopes, slopes.T, atol=1e-6)


@pytest.mark.parametrize("node", [rectangle_node, prism_node])
def test_point_field_and_cell_field_share_one_potential_sign(node):
    ndim = 2 if node is rectangle_node else 3
    below = np.array([[1.0, 2.0]] + [[-0.5, 0.5]] * (ndim - 1))
    assert attraction(below, [0.0] * ndim)[0] > 0
    assert point((1.0,) + (0.0,) * (ndim - 1), 0) > 0


def test_rectangle_is_the_limit_of_long_prisms():
    section = BOXES[2]
    volume = np.array([section[0], [-1e5, 1e5], section[1]])
    for station in ([0.5, 1.0], [0.0, -7.0], [4.0, 9.0], [4.0, 1.5]):
        gz, gx = attraction(section, station)
        long = attraction(volume, [station[0], 0.0, station[1]])
        np.testing.assert_allclose(
            UNITS["mGal"][3] * long, UNITS["mGal"][2] * np.array([gz, 0.0, gx]), atol=1e-11
        )


@NDIMS
def test_only_offsets_count(ndim):
    box, shift = BOXES[ndim], np.array([10.0, -20.0, 30.0][:ndim])
    np.testing.assert_allclose(
        attraction(box + shift[:, None], OUTSIDE[ndim] + shift),
        attraction(box, OUTSIDE[ndim]),
        rtol=1e-11,
    )


@NDIMS
def test_mirror_keeps_gz_and_turns_gx(ndim):
    box, station = BOXES[ndim], np.array(OUTSIDE[ndim])
    flip = np.array([1.0] * (ndim - 1) + [-1.0])
    mirrored = np.sort(box * flip[:, None], axis=1)
    np.testing.assert_allclose(
        attraction(mirrored, station * flip), attraction(box, station) * flip, rtol=1e-12
    )


@NDIMS
def test_axes_are_treated_alike(ndim):
    box, station = BOXES[ndim], np.array(OUTSIDE[ndim])
    turned = attraction(box[::-1], station[::-1])
    np.testing.assert_allclose(turned[::-1], attraction(box, station), rtol=1e-12)


@NDIMS
def test_parts_of_a_cell_add_up_to_it(ndim):
    box = BOXES[ndim]
    halves = [np.array([[a, (a + b) / 2], [(a + b) / 2, b]]) for a, b in box]
    parts = sum(attraction(np.array(p), OUTSIDE[ndim]) for p in itertools.product(*halves))
    np.testing.assert_allclose(parts, attraction(box, OUTSIDE[ndim]), rtol=1e-12)


coordinate = st.floats(-100, 100)
length = st.floats(1, 100)


@NDIMS
@given(data=st.data())
def test_mass_below_pulls_down_and_twice_the_size_twice_as_hard(ndim, data):
    low = np.array([data.draw(length), *(data.draw(coordinate) for _ in range(ndim - 1))])
    box = np.column_stack([low, low + [data.draw(length) for _ in range(ndim)]])
    g = attraction(box, [0.0] * ndim)
    assert g[0] > 0
    # Corner terms of the size of the box's distance cancel: that is what bounds the accuracy.
    np.testing.assert_allclose(
        attraction(2 * box, [0.0] * ndim), 2 * g, atol=1e-14 * np.abs(box).max() ** ndim
    )
