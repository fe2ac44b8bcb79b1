"""Gradients of gravity: closed forms against choclo and potential theory, and in operators."""

import itertools

import numpy as np
import pytest
import torch
from choclo import prism as choclo_prism
from choclo.constants import GRAVITATIONAL_CONST
from conftest import dot_test_error

from skgrav import ForwardOperator, Mesh, Survey
from skgrav.geometry import COMPONENTS
from skgrav.io import read_ubc_mesh, read_ubc_model
from skgrav.kernels import NODE_FUNCTIONS, parity, point
from skgrav.operators import UNITS
from skgrav.training import Mirror

BOXES = {
    2: np.array([[3.0, 5.0], [-2.0, 4.0]]),
    3: np.array([[3.0, 5.0], [-1.0, 6.0], [-2.0, 4.0]]),
}
OUTSIDE = {2: [0.5, 1.0], 3: [0.5, 1.0, -3.0]}
NDIMS = pytest.mark.parametrize("ndim", [2, 3])
PAIRS = {n: tuple(itertools.combinations_with_replacement(range(n), 2)) for n in (2, 3)}
GRADIENTS = {n: COMPONENTS[n][n:] for n in (2, 3)}
SQUARED = {"zz": (0, 0), "yy": (1, 1), "xx": (2, 2)}

P2 = "upstream/simpeg/validations/e8a2864889a20e7250ac6ecf654821ffc105fab1/assets/gravity"


def attraction(box, station, component):
    """Give the attraction of a box: node functions differenced over its corners."""
    offsets = np.meshgrid(
        *(edges - s for edges, s in zip(box, station, strict=True)), indexing="ij"
    )
    nodes = NODE_FUNCTIONS[len(box)](offsets, component)
    for _ in box:
        nodes = np.diff(nodes, axis=0)[0]
    return float(nodes)


def choclos(box, station):
    """Give choclo's gradients of a box, whose axes point east, north and up."""
    (z0, z1), (y0, y1), (x0, x1) = box
    z, y, x = station
    arguments = x, y, -z, x0, x1, y0, y1, -z1, -z0, 1.0
    names = {(0, 0): "uu", (0, 1): "nu", (0, 2): "eu", (1, 1): "nn", (1, 2): "en", (2, 2): "ee"}
    values = {p: getattr(choclo_prism, f"gravity_{n}")(*arguments) for p, n in names.items()}
    return np.array([v * (-1) ** p.count(0) for p, v in values.items()])


def test_gradients_of_a_prism_are_choclos_to_1e_10():
    rng = np.random.default_rng(3)
    for _ in range(300):
        low, width = rng.uniform(-100, 100, 3), rng.uniform(10, 100, 3)
        direction = rng.normal(size=3)
        station = low + width / 2 + direction / np.abs(direction).max() * rng.uniform(60, 300)
        box = np.column_stack([low, low + width])
        found = GRAVITATIONAL_CONST * np.array([attraction(box, station, p) for p in PAIRS[3]])
        reference = choclos(box, station)
        largest = np.abs(reference).max()
        np.testing.assert_allclose(found, reference, atol=1e-10 * largest, rtol=0)
        assert abs(found[0] + found[3] + found[5]) < 1e-10 * largest  # Laplace


@NDIMS
def test_gradients_are_finite_differences_of_gravity_and_symmetric(ndim):
    box, station, h = BOXES[ndim], np.array(OUTSIDE[ndim]), 1e-4
    for i, j in PAIRS[ndim]:
        exact = attraction(box, station, (i, j))
        for of, along in ((i, j), (j, i)):
            step = h * np.eye(ndim)[along]
            slope = attraction(box, station + step, of) - attraction(box, station - step, of)
            assert slope / (2 * h) == pytest.approx(exact, abs=2e-8)


@NDIMS
def test_many_points_make_a_box(ndim):
    box, n = BOXES[ndim], 40
    axes = [low + (high - low) * (np.arange(n) + 0.5) / n for low, high in box]
    centers = np.meshgrid(*axes, indexing="ij")
    mass = np.prod(np.ptp(box, axis=1)) / n**ndim
    offsets = tuple(c - s for c, s in zip(centers, OUTSIDE[ndim], strict=True))
    for pair in PAIRS[ndim]:
        total = mass * point(offsets, pair).sum()
        assert total == pytest.approx(attraction(box, OUTSIDE[ndim], pair), abs=2e-3)


@NDIMS
def test_points_have_no_trace_and_no_gradient_at_themselves(ndim):
    offsets = tuple(np.random.default_rng(0).normal(size=(ndim, 20)))
    trace = sum(point(offsets, (i, i)) for i in range(ndim))
    np.testing.assert_allclose(trace, 0, atol=1e-9)
    assert [float(point(tuple(np.zeros(ndim)), p)) for p in PAIRS[ndim]] == [0.0] * len(PAIRS[ndim])


def test_rectangle_is_a_prism_of_great_length():
    box, station = BOXES[2], OUTSIDE[2]
    long = np.array([box[0], [-1e5, 1e5], box[1]])
    for i, j in PAIRS[2]:
        three = attraction(long, [station[0], 0.0, station[1]], (2 * i, 2 * j))
        assert three / 2 == pytest.approx(attraction(box, station, (i, j)), abs=1e-9)


@NDIMS
def test_node_functions_are_odd_and_even_as_parity_says(ndim):
    offsets = np.random.default_rng(1).uniform(0.5, 3, (ndim, 30))
    for component in (*range(ndim), *PAIRS[ndim]):
        for axis in range(ndim):
            turned = offsets * np.where(np.arange(ndim) == axis, -1.0, 1.0)[:, None]
            sign = parity(component, axis)
            np.testing.assert_allclose(
                point(tuple(turned), component), sign * point(tuple(offsets), component)
            )


@NDIMS
def test_gradients_are_finite_on_faces_edges_and_corners_and_inside_have_poissons_trace(ndim):
    box = BOXES[ndim]
    for station in itertools.product(*((a, (a + b) / 2, b) for a, b in box)):
        assert np.isfinite([attraction(box, station, p) for p in PAIRS[ndim]]).all()
    inside = sum(attraction(box, box.mean(axis=1), (i, i)) for i in range(ndim))
    assert inside == pytest.approx(-(2 if ndim == 2 else 4) * np.pi)


@NDIMS
def test_zz_on_a_horizontal_face_is_that_just_above_and_xx_at_the_side_the_mean(ndim):
    box = BOXES[ndim]
    for depth in box[0]:
        on, above = (np.array([depth - e, *box[1:].mean(axis=1) + 0.3]) for e in (0, 1e-9))
        assert attraction(box, on, (0, 0)) == pytest.approx(
            attraction(box, above, (0, 0)), abs=1e-7
        )
    on, side = box.mean(axis=1) + 0.3, 1e-9 * np.eye(ndim)[-1]
    on[-1] = box[-1, 1]
    pair = (ndim - 1, ndim - 1)
    both = attraction(box, on - side, pair), attraction(box, on + side, pair)
    assert attraction(box, on, pair) == pytest.approx(np.mean(both), abs=1e-7)
    jump = (2 if ndim == 2 else 4) * np.pi
    assert both[1] - both[0] == pytest.approx(jump, abs=1e-7)


def test_a_station_on_the_line_of_an_edge_or_the_plane_of_a_face_outside_is_no_exception():
    box = BOXES[3]
    for station in ([3.0, 9.0, -2.0], [3.0, 9.0, 1.0], [9.0, 6.0, 4.0], [9.0, 1.0, 4.0]):
        near = np.array(station) + 1e-9 * np.array([1.0, -2.0, 3.0])
        for pair in PAIRS[3]:
            there = attraction(box, station, pair)
            assert there == pytest.approx(attraction(box, near, pair), abs=1e-7)


def test_off_diagonals_on_an_edge_are_about_those_a_metre_away():
    box = np.array([[0.0, 50.0], [-400.0, 400.0], [0.0, 300.0]])
    on, beside = (attraction(box, [-e, 0.0, -e], (0, 2)) for e in (0.0, 0.7))
    assert on == pytest.approx(beside, rel=0.05)


@pytest.mark.parametrize("component", [(1, 0), (0, 3), (0,), (0, 0, 0), "zz", 3])
def test_an_unknown_component_is_refused(component):
    with pytest.raises(ValueError, match=r"'component' is .* the smaller first"):
        point((np.ones(1),) * 3, component)


def test_units_are_eotvos_per_kg_per_m3():
    mesh = Mesh([[100.0, 110.0], [-5.0, 5.0], [-5.0, 5.0]])
    survey = Survey(np.vstack([np.diag([1.0, 300, 300]), np.zeros(3)])[::-1], ("z", "zz"))
    gz, zz = survey.unflatten(ForwardOperator(mesh, survey).fit().transform([[1000.0]]))[0]
    # 1 mGal is 1e-5 m/s2, 1 E is 1e-9 1/s2.
    assert zz[[0, 3]].mean() == pytest.approx(1e4 * (gz[3] - gz[0]), rel=1e-3)
    assert zz[0] == pytest.approx(2 * UNITS["mGal"][3] * 1e4 * 1e6 / 105**3, rel=1e-3)


# In surveys


def mixed(**kwargs):
    """Give a survey of gravity and gradients in 3D."""
    return Survey([[-1, 0, 0.1], [-1, 2, 1e6], [-2, 1, 7]], ("z", "zz", "xz"), **kwargs)


def test_gravity_and_gradients_come_back_from_a_labelled_dataset():
    pytest.importorskip("xarray")
    survey = mixed(uncertainty=np.arange(1.0, 10.0), trend=0)
    assert survey.trend_names == ("gz", "gzz", "gxz")
    g = np.random.default_rng(0).normal(size=(2, 9))
    dataset = survey.to_xarray(g)
    assert [dataset[n].attrs["units"] for n in ("gz", "gzz", "gxz")] == ["mGal", "E", "E"]
    assert dataset.gzz_uncertainty.attrs["units"] == "E"
    assert dataset.gzz.attrs["long_name"] == "gradient, zz component"
    assert Survey.from_xarray(dataset) == survey
    np.testing.assert_array_equal(survey.flatten(dataset), g)
    np.testing.assert_array_equal(survey.unflatten(g)[:, 1], dataset.gzz)
    for names in (("gz", "gzz"), ("gxz",)):
        change = {n: dataset[n].assign_attrs(positive="up") for n in names}
        signs = {"gz": -1, "gxz": -1, "gzz": 1}
        found = survey.unflatten(survey.flatten(dataset.assign(change)))
        expected = survey.unflatten(g) * [
            [signs[n] if n in names else 1] for n in ("gz", "gzz", "gxz")
        ]
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("units", "factor"),
    [("E", 1), ("eotvos", 1), ("Eötvös", 1), ("s^-2", 1e9), ("1/s2", 1e9), ("mGal/m", 1e4)],
)
def test_gradients_come_back_in_eotvos(units, factor):
    pytest.importorskip("xarray")
    survey = mixed(uncertainty=np.arange(1.0, 10.0))
    dataset = survey.to_xarray(np.arange(9.0), units=units)
    assert (dataset.gz.attrs["units"], dataset.gxz.attrs["units"]) == ("mGal", units)
    scale = np.repeat([1, factor, factor], 3)
    np.testing.assert_allclose(survey.flatten(dataset), scale * np.arange(9.0))
    np.testing.assert_allclose(Survey.from_xarray(dataset).uncertainty, scale * survey.uncertainty)


def test_units_of_gravity_and_gradients_are_not_exchanged():
    pytest.importorskip("xarray")
    survey = mixed()
    dataset = survey.to_xarray(np.arange(9.0), units="normalized")
    assert {v.attrs["units"] for v in dataset.values()} == {"normalized"}
    for name, unit, quantity in (
        ("gzz", "mGal", "gradient are E,"),
        ("gz", "E", "gravity are mGal"),
    ):
        wrong = dataset.assign({name: dataset[name].assign_attrs(units=unit)})
        for read in (survey.flatten, Survey.from_xarray):
            with pytest.raises(ValueError, match=f"'{name}' is in '{unit}'; units of {quantity}"):
                read(wrong)
    gradients = Survey([[0.0, 0.0]], ("zz",))
    assert gradients.to_xarray([1.0]).gzz.attrs["units"] == "E"
    with pytest.raises(ValueError, match="'units' is in 'uGal'; units of gradient are E"):
        gradients.to_xarray([1.0], units="uGal")
    with pytest.raises(ValueError, match="'units' is in 'E'; units of gravity are mGal"):
        Survey([[0.0, 0.0]], ("z",)).to_xarray([1.0], units="E")


# In operators


def surveys():
    """Give meshes, and surveys of all components on and off a lattice."""
    section, volume = Mesh.regular((5, 14), 50.0), Mesh.regular((3, 6, 5), 50.0)
    for mesh in (section, volume):
        components = COMPONENTS[mesh.ndim]
        line = Survey.line(section) if mesh.ndim == 2 else Survey.grid(volume, height=0.0)
        for shift in (0.0, 37.0, 25.0):
            stations = line.stations.copy()
            stations[:, 1:] += shift
            yield mesh, Survey(stations, components)


@pytest.mark.parametrize("kernel", ["cell", "point"])
def test_matrix_fft_rows_and_torch_agree(kernel):
    for mesh, survey in surveys():
        rho = np.random.default_rng(0).normal(size=(3, mesh.n_cells))
        weights = np.random.default_rng(1).random(survey.n_data)
        operators = [
            ForwardOperator(mesh, survey, kernel=kernel, method=m).fit()
            for m in ("dense", "fft", "rows")
        ]
        profiles = survey.unflatten(operators[0].transform(rho))
        scale = np.abs(profiles).max(axis=(0, 2), keepdims=True)
        norms = operators[0].products_.column_norms2(weights)
        for operator in operators:
            found = operator.transform(rho)
            assert np.all(np.abs(survey.unflatten(found) - profiles) < 1e-13 * scale)
            assert dot_test_error(operator.transform, operator.adjoint, *_sizes(operator)) < 1e-14
            np.testing.assert_allclose(operator.products_.column_norms2(weights), norms, rtol=1e-11)
            if operator.method == "rows":
                continue
            module = operator.to_torch(dtype=torch.float64)
            again = survey.unflatten(module(torch.tensor(rho)).numpy())
            assert np.all(np.abs(again - profiles) < 1e-13 * scale)
        if mesh.ndim == 3:
            trace = profiles[:, [survey.components.index(c) for c in SQUARED]].sum(axis=1)
            assert np.abs(trace).max() < 1e-13 * scale.max()


def _sizes(operator):
    return operator.n_cells_, operator.n_data_


def test_data_are_named_by_component_and_station():
    survey = Survey([[-1.0, 0.0], [-1.0, 10.0]], ("z", "xz"))
    operator = ForwardOperator(Mesh.regular((2, 2), 10.0), survey).fit()
    assert operator.get_feature_names_out().tolist() == ["gz0", "gz1", "gxz0", "gxz1"]


@NDIMS
def test_mirror_turns_components_odd_in_x(ndim):
    mesh = Mesh.regular((3, 4) if ndim == 2 else (3, 2, 4), 10.0)
    lay = Survey.line if ndim == 2 else Survey.grid
    survey = lay(mesh, height=5.0, components=COMPONENTS[ndim])
    operator, mirror = ForwardOperator(mesh, survey).fit(), Mirror.of(mesh, survey)
    rho = np.random.default_rng(0).normal(size=(2, mesh.n_cells))
    g = operator.transform(rho)
    np.testing.assert_allclose(
        operator.transform(rho[:, mirror.cells]),
        g[:, mirror.data] * mirror.sign,
        atol=1e-12 * np.abs(g).max(),
    )


def test_gradients_of_a_block_in_a_half_space_are_gg3ds_to_its_digits(shared_data):
    folder = shared_data / P2
    model = folder / "block_halfspace_gravity_inv_sparse_grav3d"
    mesh = read_ubc_mesh(model / "mesh.txt")
    rho = read_ubc_model(model / "true_model.den", mesh)
    path = folder / "block_halfspace_gradiometry_fwd_gg3d" / "ggfor3d.gg"
    table = np.loadtxt(path, skiprows=2)[::20]
    # Its x is north and its y east.
    stations = table[:, [2, 1, 0]] * [-1.0, 1.0, 1.0]
    survey = Survey(stations, ("yy", "xy", "yz", "xx", "xz", "zz"))
    block = np.flatnonzero(rho.ravel())
    operator = ForwardOperator(mesh, survey, method="rows").fit()
    assert np.ptp(rho.ravel()[block]) == 0
    found = survey.unflatten(operator.transform(rho.reshape(1, -1)))[0]
    # GG3D takes an older gravitational constant, and writes seven digits.
    found *= 6.67384e-11 / GRAVITATIONAL_CONST
    printed = table[:, 3:].T
    assert np.all(np.abs(found - printed) < 2e-6 * np.abs(printed) + 1e-9)


# Elsewhere


@NDIMS
def test_displays_name_the_unit_of_each_component(ndim, close_figures):
    pytest.importorskip("matplotlib")
    from skgrav.plotting import GravityDisplay

    mesh = Mesh.regular((2, 4) if ndim == 2 else (2, 3, 4), 10.0)
    lay = Survey.line if ndim == 2 else Survey.grid
    survey = lay(mesh, height=5.0, components=("z", "zz"))
    operator = ForwardOperator(mesh, survey).fit()
    rho = np.full(mesh.n_cells, 100.0)
    g = operator.transform(rho[None])
    display = GravityDisplay.from_predictions(g, rho, operator=operator)
    if ndim == 2:
        labels = [ax.get_ylabel() for ax in display.axes_.ravel()]
        assert labels == ["gz (mGal)", "gzz (E)", "residual\n(mGal)", "residual\n(E)"]
    else:
        labels = [bar.ax.get_ylabel() for bar in display.colorbars_]
        assert labels == ["gz (mGal)", "residual (mGal)", "gzz (E)", "residual (E)"]
    for units, label in (("mGal", "gzz (E)"), ("normalized", "gzz (normalized units)")):
        drawn = GravityDisplay(g[0], survey=survey, units=units).plot()
        shown = drawn.axes_[0, 1].get_ylabel() if ndim == 2 else drawn.colorbars_[1].ax.get_ylabel()
        assert shown == label
