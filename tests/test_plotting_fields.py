"""What fields look like: padding, robust colours, stations, elevations, ticks, several slices."""

from itertools import pairwise

import numpy as np
import pytest

from skgrav import ForwardOperator, Mesh, ReliefInverter, Survey, TikhonovInverter, report
from skgrav.cli import main
from skgrav.geometry import core_of, cut_to
from skgrav.plotting import (
    DensityDisplay,
    GravityDisplay,
    PosteriorDisplay,
    SampleGalleryDisplay,
)
from skgrav.plotting._drawing import robust_range, tick_offset

plt = pytest.importorskip("matplotlib.pyplot")
pytestmark = pytest.mark.usefixtures("close_figures")

LINE = Survey(np.column_stack([np.full(9, -2.0), np.arange(0.0, 801.0, 100.0)]), "z")
PADDED = Mesh.for_survey(LINE)


def values(image):
    return np.ma.filled(image.get_array(), np.nan)


def stations_of(ax):
    """Give the positions of the stations that are drawn."""
    (points,) = [c for c in ax.collections if type(c).__name__ == "PathCollection"]
    return points.get_offsets()


# Padding


def test_core_is_where_columns_are_as_wide_as_below_the_stations():
    (columns,) = core_of(PADDED)
    assert columns.stop - columns.start == 9
    assert cut_to(PADDED, (columns,)).edges[1][0] == pytest.approx(-50.0)
    # Columns with stations are no padding.
    far = np.array([[0.0, PADDED.edges[1][0] + 1.0]])
    assert core_of(PADDED, far)[0].start == 0
    assert core_of(PADDED, far)[0].stop == columns.stop


@pytest.mark.parametrize(
    "widths",
    [
        [1, 1, 1, 1],
        [1, 1, 1.3, 2],  # wider on one side
        [3, 1, 3, 1, 3],  # wide within
        [2, 3, 1, 1, 2],  # narrower outward
    ],
)
def test_meshes_without_padding_are_whole(widths):
    mesh = Mesh([[0.0, 1.0], np.cumsum([0.0, *widths])])
    assert core_of(mesh) == (slice(0, len(widths)),)


def test_padding_is_drawn_where_one_asks_for_it():
    rho = np.where(PADDED.cell_centers[:, 1] < -100, 900.0, 10.0)
    core = DensityDisplay({"a": rho}, mesh=PADDED).plot()
    np.testing.assert_allclose(core.axes_[0].get_xlim(), (-50, 850))
    assert core.images_[0].get_clim() == (9.5, 10.5)  # of what is drawn
    whole = DensityDisplay({"a": rho}, mesh=PADDED, padding=True).plot()
    assert whole.axes_[0].get_xlim() == (PADDED.edges[1][0], PADDED.edges[1][-1])
    assert np.nanmax(values(whole.images_[0])) == 900.0


def test_padding_of_a_volume_with_air_is_cut_on_all_sides():
    survey = Survey.grid(Mesh.regular((2, 4, 5), 100.0), height=1.0, components="z")
    mesh = Mesh.for_survey(survey, lambda y, x: 60.0 + 0.1 * x, depth=300.0)
    assert mesh.active is not None
    display = DensityDisplay.from_predictions(
        None, np.arange(mesh.n_cells), mesh=mesh, survey=survey
    )
    rows, columns = core_of(mesh, survey.stations)
    assert values(display.images_[0, 0]).shape == (4, 5)
    image = mesh.unflatten(np.arange(mesh.n_cells))[:, rows, columns]
    assert np.isin(values(display.images_[0, 1])[-1], image[-1]).all()


def test_posterior_is_drawn_without_padding():
    draws = np.random.default_rng(0).normal(size=(PADDED.n_cells, 20))
    display = PosteriorDisplay(draws, mesh=PADDED).plot()
    np.testing.assert_allclose(display.axes_[0, 0].get_xlim(), (-50, 850))
    display = PosteriorDisplay(draws, mesh=PADDED, padding=True).plot()
    assert display.axes_[0, 0].get_xlim()[0] < -50


def test_galleries_are_drawn_without_padding():
    operator = ForwardOperator(PADDED, LINE).fit()
    g = np.ones((1, 9))
    inverter = TikhonovInverter(noise_level=0.01, operator=operator).fit(g)
    rho = np.where(PADDED.cell_centers[:, 1] < -100, 900.0, 10.0)[None]
    for padding, left in ((False, -50.0), (True, PADDED.edges[1][0])):
        drawn = SampleGalleryDisplay.from_estimator(inverter, g, n_samples=1, padding=padding)
        given = SampleGalleryDisplay.from_predictions(None, rho, mesh=PADDED, padding=padding)
        for display in (drawn, given):
            assert display.axes_[0, 0].get_xlim()[0] == pytest.approx(left)
        assert np.nanmax(values(given.images_[0, 0])) == (900.0 if padding else 10.0)


# Colours


def test_one_cell_does_not_wash_out_a_picture():
    rho = np.linspace(-100.0, 300.0, 400)
    assert robust_range([rho]) == (-100.0, 300.0)
    rho[17] = 1e5
    mesh = Mesh.regular((20, 20), 1.0)
    display = DensityDisplay({"a": rho}, mesh=mesh).plot()
    low, high = display.images_[0].get_clim()
    assert (-low, high) == pytest.approx((300, 300), rel=0.02)
    assert display.colorbar_.extend == "max"
    full = DensityDisplay({"a": rho}, mesh=mesh, limits="full").plot()
    assert full.images_[0].get_clim()[1] == 1e5
    assert full.colorbar_.extend == "neither"


def test_a_few_strong_cells_of_many_leave_contrast_to_the_others():
    rho = np.random.default_rng(0).normal(0.0, 300.0, 20_000).clip(-900, 900)
    rho[:3] = -2700.0, -1900.0, 2500.0
    low, high = robust_range([rho])
    assert low == pytest.approx(-900)
    assert high == pytest.approx(900)


def test_ground_near_a_slice_and_many_stations_do_not_hide_densities():
    def drawn(ground, n_stations):
        height = 60.0 + 20.0 * ground(np.arange(20)[:, None], np.arange(20))
        mesh = Mesh.regular((4, 20, 20), 50.0)
        mesh = Mesh(mesh.edges, active=mesh.centers[0][:, None, None] > height)
        places = np.random.default_rng(0).uniform(-500, 500, (n_stations, 2))
        survey = Survey(np.column_stack([np.full(n_stations, -1.0), places]), ("z",))
        rho = np.zeros(mesh.n_cells)
        ax = (
            DensityDisplay({"a": rho}, mesh=mesh, survey=survey, depths=[75.0]).plot().axes_.flat[0]
        )
        lines, dots = ax.collections[-2:]
        return lines.get_linewidth()[0], dots.get_sizes()[0]

    width, size = drawn(lambda j, i: np.where(i < 10, 1.0, -1.0) + 0 * j, 50)
    assert (width, size) == (1.0, 6.0)
    width, size = drawn(lambda j, i: (-1.0) ** (i + j), 6000)
    assert width < 0.5
    assert size < 1.0


def test_a_body_in_nothing_is_no_outlier():
    rho = np.zeros(400)
    rho[[7, 8]] = 300.0
    assert robust_range([rho]) == (0.0, 300.0)
    rho[8] = 0.0
    assert robust_range([rho]) == (0.0, 300.0)


def test_one_station_does_not_wash_out_a_map():
    stations = [(-1.0, y, x) for y in range(8) for x in range(8)]
    g = np.linspace(1.0, 2.0, 64)
    g[9] = 50.0
    display = GravityDisplay(g, survey=Survey(stations, "z")).plot()
    assert display.observed_[0].get_clim()[1] < 2.1
    assert display.colorbars_[0].extend == "max"


def test_standard_deviations_are_drawn_from_zero_on():
    mesh = Mesh.square(4)
    for std in (0.0, 5.0):
        display = DensityDisplay({"a": np.zeros(16)}, mesh=mesh, std=np.full(16, std)).plot()
        assert display.images_[1].get_clim() == (0.0, std or 1.0)
    display = PosteriorDisplay(np.zeros((16, 20)), mesh=mesh).plot()
    assert display.images_[1].get_clim() == (0.0, 1.0)


def test_estimates_of_a_constant_truth_have_their_own_range():
    truth, estimate = np.zeros((1, 16)), np.linspace(0.0, 250.0, 16)[None]
    mesh = Mesh.square(4)
    for kind in (DensityDisplay, SampleGalleryDisplay):
        display = kind.from_predictions(truth, estimate, mesh=mesh)
        assert display.images_.flat[0].get_clim() == (0.0, 250.0)
    draws = np.repeat(estimate.T, 20, axis=1)
    display = PosteriorDisplay(draws, mesh=mesh, truth=truth[0] - 50.0).plot()
    assert display.images_[0].get_clim() == pytest.approx((-250.0, 250.0))


# Stations and elevations


def test_stations_stand_on_the_section_or_in_it():
    survey = Survey([[-50.0, 10.0], [30.0, 20.0], [0.0, 900.0]], "z")
    mesh = Mesh.regular((4, 6), 50.0)
    display = DensityDisplay({"a": np.arange(24.0)}, mesh=mesh, survey=survey).plot()
    np.testing.assert_array_equal(stations_of(display.axes_[0]), [[10, 0], [20, 30]])


def test_stations_of_an_operator_are_drawn_in_maps_and_near_cuts():
    mesh = Mesh.regular((2, 3, 4), 100.0)
    operator = ForwardOperator(mesh, Survey.grid(mesh, height=5.0, components="z")).fit()
    rho = np.arange(24.0)
    display = DensityDisplay.from_predictions(None, rho, operator=operator, at=(50, 0, 50))
    plan, along_x, along_y = display.axes_[0]
    assert len(stations_of(plan)) == 12
    assert len(stations_of(along_x)) == 4
    assert len(stations_of(along_y)) == 3


def test_elevations_point_up():
    mesh = Mesh([[-200.0, -100.0, 100.0], [0.0, 100.0, 200.0, 300.0]])
    line = {"moho": ([0.0, 300.0], [50.0, 50.0])}
    display = DensityDisplay(
        {"a": np.arange(6.0)}, mesh=mesh, elevation=True, interfaces=line, survey=LINE
    ).plot()
    (ax,) = display.axes_
    assert ax.get_ylim() == (-100, 200)
    assert ax.get_ylabel() == "elevation (m)"
    np.testing.assert_array_equal(display.interface_lines_[0][0].get_ydata(), [-50, -50])
    np.testing.assert_array_equal(display.images_[0].get_coordinates()[:, 0, 1], [200, 100, -100])
    assert values(display.images_[0])[0, 2] == 2.0
    assert set(stations_of(ax)[:, 1]) == {2.0}
    volume = Mesh([[-200.0, -100.0, 100.0], [0.0, 100.0, 200.0], [0.0, 100.0, 200.0]])
    display = DensityDisplay({"a": np.arange(8.0)}, mesh=volume, elevation=True).plot()
    assert display.axes_[0, 0].get_title() == "a\nelevation 150 m"
    assert display.axes_[0, 1].get_ylim() == (-100, 200)


def test_air_is_outlined_by_elevation():
    mesh = Mesh([[-200.0, -100.0, 0.0], [0.0, 100.0, 200.0]], [[False, True], [True, True]])
    (ax,) = DensityDisplay({"a": [1.0, 2.0, 3.0]}, mesh=mesh, elevation=True).plot().axes_
    (lines,) = [c for c in ax.collections if type(c).__name__ == "LineCollection"]
    ends = np.vstack(lines.get_segments())
    assert set(ends[:, 1]) == {100.0, 200.0}


# Ticks, slices, titles and figures


def labels(axis):
    return [text.get_text() for text in axis.get_ticklabels()]


def test_utm_coordinates_have_ticks_that_can_be_read():
    edges = [np.arange(4) * 10.0, 4_930_000.0 + np.arange(6) * 100, 5e5 + np.arange(5) * 100]
    display = DensityDisplay({"a": np.arange(60.0)}, mesh=Mesh(edges)).plot()
    display.figure_.canvas.draw()
    plan = display.axes_[0, 0]
    assert plan.get_xlabel() == display.axes_[0, 1].get_xlabel() == "x − 500000 (m)"
    assert plan.get_ylabel() == display.axes_[0, 2].get_xlabel() == "y − 4930000 (m)"
    assert set(labels(plan.xaxis)) <= {"0", "100", "200", "300", "400"}
    assert plan.get_xlim() == (5e5, 500_400)  # positions are what they are
    for panel in display.axes_.flat:
        for axis in (panel.xaxis, panel.yaxis):
            assert axis.get_offset_text().get_text() == ""
            assert max(map(len, labels(axis))) <= 5
    survey = Survey([[-1.0, y, x] for y in edges[1] for x in edges[2]], "z")
    ax = GravityDisplay(np.arange(30.0), survey=survey).plot().axes_[0, 0]
    assert ax.get_xlabel() == "x − 500000 (m)"
    assert ax.get_ylabel() == "y − 4930000 (m)"


@pytest.mark.parametrize(
    ("low", "high", "offset"),
    [
        (0.0, 100.0, 0.0),
        (352.0, 390.0, 0.0),
        (5980.3, 6034.8, 5980.0),
        (4930000.0, 4930500.0, 4930000.0),
        (-7050.0, -7010.0, -7050.0),
        (349906.25, 353093.75, 350000.0),  # cells of stations from 350000 on
        (3.0, 3.0, 0.0),
    ],
)
def test_offset_is_left_out_of_coordinates_far_from_the_origin(low, high, offset):
    assert tick_offset(np.array([low, high])) == offset


def test_titles_of_slices_have_plain_numbers_that_tell_cells_apart():
    edges = [np.arange(4) * 500.0, 7_123_000.0 + np.arange(18) * 500, 512e3 + np.arange(9) * 2.5]
    mesh = Mesh(edges)
    a, b = (
        DensityDisplay({"a": np.zeros(mesh.n_cells)}, mesh=mesh, at=np.array(at)).plot().axes_[0]
        for at in ([600.0, 7_126_800.0, 512_001.0], [0.0, 7_127_100.0, 512_004.0])
    )
    titles = [ax.get_title() for ax in (*a, *b)]
    assert titles[:3] == ["a\ndepth 750 m", "y = 7126750 m", "x = 512001.25 m"]
    assert titles[3:] == ["a\ndepth 250 m", "y = 7127250 m", "x = 512003.75 m"]
    section = Mesh(edges[::2])
    draws = np.zeros((section.n_cells, 20))
    display = PosteriorDisplay(draws, mesh=section, x=512_001.0).plot()
    assert display.axes_[0, 3].get_title() == "at x = 512001.25 m"


def test_cuts_outside_the_mesh_are_told_its_whole_extent():
    survey = Survey.grid(Mesh.regular((2, 4, 5), 100.0), height=1.0, components="z")
    mesh = Mesh.for_survey(survey)
    rho = np.zeros(mesh.n_cells)
    first, last = mesh.edges[2][[0, -1]]
    with pytest.raises(
        ValueError, match=f"'at' is 10000000 along x, .* {first:.10g} to {last:.10g}"
    ):
        DensityDisplay({"a": rho}, mesh=mesh, at=(0, 0, 1e7)).plot()
    with pytest.raises(ValueError, match=r"'at' is \(0, 0\); give \(z, y, x\) in metres"):
        DensityDisplay({"a": rho}, mesh=mesh, at=(0, 0)).plot()


def test_sections_have_the_unit_and_offset_of_their_data():
    # With 2D and 3D, of stations whose mesh begins below a round number and is longer than 10 km.
    x = 412_000.0 + np.linspace(-400.0, 9500.0, 34)
    line = Survey(np.column_stack([np.full(34, -1.0), x]), "z")
    area = Survey([[-1.0, y, at] for y in 5_799_700.0 + np.arange(3) * 300 for at in x], "z")
    for survey in (line, area):
        mesh = Mesh.for_survey(survey, 0.0, depth=900.0)
        data = GravityDisplay(np.zeros(survey.n_data), survey=survey).plot().axes_[-1, 0]
        for padding in (False, True):
            display = DensityDisplay(
                {"a": np.zeros(mesh.n_cells)}, mesh=mesh, survey=survey, padding=padding
            ).plot()
            assert display.axes_.flat[0].get_xlabel() == data.get_xlabel() == "x − 411000 (m)"
            if survey is area:
                assert display.axes_[0, 0].get_ylabel() == data.get_ylabel()


def test_offset_of_a_posterior_does_not_depend_on_padding():
    survey = Survey(LINE.stations + [[0.0, 412_000.0]], "z")
    mesh = Mesh.for_survey(survey)
    draws = np.zeros((mesh.n_cells, 20))
    for padding in (False, True):
        display = PosteriorDisplay(draws, mesh=mesh, padding=padding).plot()
        assert display.axes_[0, 0].get_xlabel() == "x − 411900 (m)"


def test_tick_labels_of_small_sections_do_not_meet():
    mesh = Mesh([np.linspace(0.0, 1000.0, 5), np.linspace(-1000.0, 1000.0, 11)])
    figure, ax = plt.subplots(figsize=(1.9, 1.6), layout="constrained")
    display = DensityDisplay({"a": np.zeros(mesh.n_cells)}, mesh=mesh).plot(ax, colorbar=False)
    figure.canvas.draw()
    assert labels(ax.xaxis) == ["−1000", "0", "1000"]
    boxes = [text.get_window_extent() for text in display.axes_[0].get_xticklabels()]
    assert all(a.x1 < b.x0 for a, b in pairwise(boxes))


def test_depths_of_thin_sections_do_not_meet():
    mesh = Mesh.regular((1, 5, 5), 100.0)
    display = DensityDisplay.from_predictions(None, np.arange(25.0), mesh=mesh)
    display.figure_.canvas.draw()
    for ax in display.axes_.flat:
        shown = [text for text in ax.get_yticklabels() if text.get_text()]
        assert len(shown) >= 2
        boxes = sorted((text.get_window_extent() for text in shown), key=lambda box: box.y0)
        assert all(a.y1 <= b.y0 for a, b in pairwise(boxes))


def test_each_given_panel_of_data_is_labelled():
    x = 412_000.0 + 100.0 * np.arange(9)
    line = Survey(np.column_stack([np.full(9, -1.0), x]), "z")
    axes = plt.subplots(3, 1)[1]
    GravityDisplay(np.ones(9), {"a": np.ones(9)}, survey=line).plot(axes[:2])
    plt.gcf().canvas.draw()
    for ax in axes[:2]:
        assert ax.get_xlabel() == "x − 412000 (m)"
        assert max(map(len, labels(ax.xaxis))) <= 4
    area = Survey([[-1.0, y, at] for y in (0.0, 100.0) for at in x], "z")
    axes = plt.subplots(2, 3)[1]
    GravityDisplay(np.ones(18), {"a": np.ones(18)}, survey=area).plot(axes[0])
    assert {ax.get_xlabel() for ax in axes[0]} == {"x − 412000 (m)"}


def test_legend_of_data_covers_no_curve():
    x = np.linspace(-1.0, 1.0, 21)
    line = Survey(np.column_stack([np.full(21, -1.0), 1e3 * x]), ("z", "xz", "zz"))
    g = np.concatenate([np.exp(-((3 * x) ** 2))] * 3)
    display = GravityDisplay(g, {"estimate": g, "other": g / 2}, survey=line).plot()
    display.figure_.canvas.draw()
    ax = display.axes_[0, 0]
    assert ax.get_legend().get_window_extent().y0 >= ax.get_window_extent().y1


@pytest.mark.parametrize("apart", [0.0, 3.0])
def test_stations_that_share_their_x_are_drawn_as_dots(apart):
    x = np.linspace(0.0, 2000.0, 21)
    ground = np.column_stack([np.full(21, -1.0), x])
    both = Survey(np.vstack([ground, ground[::-1] + [-20.0, apart]]), "z")
    g = np.arange(42.0)
    display = GravityDisplay(g, {"a": g + 1}, survey=both).plot()
    for line in (display.predicted_["a"][0], display.residuals_["a"][0]):
        assert line.get_linestyle() == "None"
        assert line.get_marker() == "."
    # Uneven stations of one line are joined.
    uneven = np.column_stack([np.full(40, -1.0), np.random.default_rng(0).uniform(0, 2e3, 40)])
    display = GravityDisplay(g[:40], {"a": g[:40]}, survey=Survey(uneven, "z")).plot()
    assert display.residuals_["a"][0].get_linestyle() == "-"


def test_several_slices_at_once():
    mesh = Mesh.regular((4, 3, 5), 100.0)
    rho = {"a": np.arange(60.0), "b": -np.arange(60.0)}
    display = DensityDisplay(rho, mesh=mesh, depths=[50.0, 250.0]).plot()
    assert display.axes_.shape == display.images_.shape == (2, 2)
    np.testing.assert_array_equal(values(display.images_[1, 1]), mesh.unflatten(rho["b"])[2])
    assert [ax.get_title() for ax in display.axes_[0]] == ["a\ndepth 50 m", "a\ndepth 250 m"]
    with pytest.raises(ValueError, match="'depths' is 900 along z, but the mesh extends"):
        DensityDisplay(rho, mesh=mesh, depths=[900.0]).plot()
    with pytest.raises(ValueError, match="'depths' are those of slices in 3D, but 'at' is given"):
        DensityDisplay(rho, mesh=mesh, depths=[50.0], at=(50, 0, 0)).plot()
    with pytest.raises(ValueError, match="'depths' are those of slices in 3D, but 'mesh' has 2"):
        DensityDisplay({"a": np.zeros(4)}, mesh=Mesh.square(2), depths=[1.0]).plot()


def test_long_rows_of_a_gallery_continue_below():
    mesh = Mesh.square(2)
    rho = np.arange(40.0).reshape(10, 4)
    display = SampleGalleryDisplay.from_predictions(rho, {"a": rho + 100}, mesh=mesh, n_samples=10)
    assert display.axes_.shape == display.images_.shape == (4, 8)
    first = [[values(image)[0, 0] for image in row if image is not None] for row in display.images_]
    assert first == [[*rho[:8, 0]], [*rho[:8, 0] + 100], [*rho[8:, 0]], [*rho[8:, 0] + 100]]
    names = [ax.get_ylabel().split("\n")[0] for ax in display.axes_[:, 0]]
    assert names == ["truth", "a"] * 2
    assert display.axes_[1, 2].get_xlabel() == display.axes_[3, 1].get_xlabel() == "x (m)"
    assert display.axes_[1, 1].get_xlabel() == ""


def test_titles_of_neighbours_do_not_overlap():
    mesh = Mesh.regular((4, 4), 10.0)
    names = ["a network that was trained on faults and folds", "a smooth inversion of the same"]
    rho = dict.fromkeys(names, np.arange(16.0))
    display = DensityDisplay.from_predictions(None, rho, mesh=mesh)
    display.figure_.canvas.draw()
    first, second = (ax.title.get_window_extent() for ax in display.axes_)
    assert not first.overlaps(second)


@pytest.mark.parametrize("kind", ["density", "gravity", "posterior"])
def test_a_given_figure_is_filled(kind):
    from matplotlib.figure import Figure

    before, figure = plt.get_fignums(), Figure()
    operator = ForwardOperator(PADDED, LINE).fit()
    g = operator.transform(np.ones((1, PADDED.n_cells)))
    inverter = TikhonovInverter(noise_level=0.01, operator=operator).fit(g)
    kinds = {"density": DensityDisplay, "gravity": GravityDisplay, "posterior": PosteriorDisplay}
    display = kinds[kind].from_estimator(inverter, g, ax=figure)
    assert display.figure_ is figure
    assert set(display.axes_.flat) <= set(figure.axes)
    assert plt.get_fignums() == before


# Pictures of reports and of the command line


@pytest.fixture
def saved(monkeypatch):
    """Give the figures that are saved."""
    from matplotlib.figure import Figure

    figures, save = [], Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda f, *a, **k: figures.append(f) or save(f, *a, **k))
    return figures


def test_pictures_of_a_report_have_one_offset(saved):
    edges = [np.arange(5) * 1e3, 5_800_000.0 + np.arange(6) * 1e3, 349_500 + np.arange(6) * 1e3]
    mesh = Mesh(edges)
    survey = Survey.grid(mesh, height=1.0, components="z")
    survey = Survey(survey.stations, "z", uncertainty=0.1)
    middle = survey.stations[:, 1:].mean(axis=0)
    g = -9.0 * np.exp(-np.sum((survey.stations[:, 1:] - middle) ** 2, axis=1) / 4e6)[None]
    inverter = ReliefInverter(-450.0, operator=ForwardOperator(mesh, survey)).fit(g)
    report(inverter, g)
    found = {ax.get_xlabel() for figure in saved for ax in figure.axes}
    assert {label for label in found if label[:1] == "x"} == {"x − 350000 (m)"}
    assert {label for label in found if label[:1] == "y"} == {"y − 5800000 (m)"}


def picture_of(folder, figures, stations, components):
    """Invert noise by `invert`, and give the figure that it writes."""
    pytest.importorskip("xarray")
    names = ["elevation", "y", "x"] if stations.shape[1] == 3 else ["elevation", "x"]
    names += [f"g{component}" for component in components]
    noise = 0.1 * np.random.default_rng(0).standard_normal((len(stations), len(components)))
    table = np.column_stack([-stations[:, 0], stations[:, 1:], noise])
    np.savetxt(folder / "t.csv", table, delimiter=",", header=",".join(names), comments="")
    given = [word for name in names for word in (f"--{name}", name)]
    paths = ["--out", str(folder / "t.nc"), "--plot", str(folder / "t.png")]
    noises = ["--noise", *["0.1"] * len(components)]
    assert main(["invert", str(folder / "t.csv"), *given, *noises, *paths]) == 0
    (figure,) = figures
    return figure


def test_picture_of_a_profile_has_one_offset_and_fills_the_page(tmp_path, saved):
    x = 412_000.0 + 200.0 * np.arange(16)
    stations = np.column_stack([-200.0 - 10.0 * np.sin(x / 500.0), x])
    figure = picture_of(tmp_path, saved, stations, ["z", "zz", "xz"])
    *panels, section, bar = figure.axes
    assert section.get_ylabel() == "elevation (m)"
    assert {ax.get_xlabel() for ax in panels} <= {"", "x − 412000 (m)"}
    assert section.get_xlabel() == "x − 412000 (m)"
    for panel in panels:
        assert panel.get_xlim() == section.get_xlim()
        assert panel.get_xlabel() or not any(labels(panel.xaxis))
    # Nothing is cut off, the section is as wide as the data, and its colour bar as high.
    page, drawn = figure.bbox_inches, figure.get_tightbbox()
    assert page.x0 <= drawn.x0 < drawn.x1 <= page.x1
    left, right = (f([ax.get_position().bounds[0] for ax in panels]) for f in (min, max))
    assert section.get_position().width > right - left
    assert bar.get_position().height < 1.1 * section.get_position().height


def test_picture_of_an_area_has_one_offset_range_and_vertical(tmp_path, saved):
    y, x = np.meshgrid(5_800_000.0 + 200.0 * np.arange(6), 350_000.0 + 200.0 * np.arange(8))
    stations = np.column_stack([-300.0 - y.ravel() % 7, y.ravel(), x.ravel()])
    figure = picture_of(tmp_path, saved, stations, ["z"])
    data = [ax for ax in figure.axes if ax.get_title()][:3]
    plan, section = [ax for ax in figure.axes if ax.get_title()][3:5]
    assert plan.get_title().startswith("estimate\nelevation ")
    assert section.get_ylabel() == "elevation (m)"
    assert plan.get_ylabel() == data[0].get_ylabel() == "y − 5800000 (m)"
    for ax in data:
        assert ax.get_xlabel() == plan.get_xlabel() == "x − 350000 (m)"
        assert (ax.get_xlim(), ax.get_ylim()) == (plan.get_xlim(), plan.get_ylim())
        assert any(labels(ax.xaxis))
