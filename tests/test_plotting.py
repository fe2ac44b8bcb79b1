"""What the displays of densities, gravity, convergence and samples draw."""

import sys
import warnings
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pytest
from sklearn.dummy import DummyRegressor
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV

from skgrav import (
    BayesLinearInverter,
    CellValues,
    CNNInverter,
    ForwardOperator,
    JointOperator,
    LatentInverter,
    MatrixOperator,
    Mesh,
    Pipeline,
    Refiner,
    Survey,
    TikhonovInverter,
    VAEGenerator,
)
from skgrav.datasets import make_gravity_dataset
from skgrav.plotting import (
    CalibrationDisplay,
    ConvergenceDisplay,
    DensityDisplay,
    GravityDisplay,
    LCurveDisplay,
    SampleGalleryDisplay,
)

plt = pytest.importorskip("matplotlib.pyplot")
pytestmark = pytest.mark.usefixtures("close_figures")

LEVEL = 0.01


@pytest.fixture(scope="module")
def sections():
    return make_gravity_dataset(60, mesh=Mesh.square(10), noise_level=LEVEL, random_state=0)


@pytest.fixture(scope="module")
def linear(sections):
    inverter = BayesLinearInverter(LEVEL, operator=sections.operator, store_covariance=True)
    return inverter.fit(sections.data, sections.target)


@pytest.fixture(scope="module")
def volume():
    """A light body in 3D, 12 km wide, and the operator to stations above it."""
    mesh = Mesh([[0, 1e3, 3e3, 6e3], 2e3 * np.arange(5), 2e3 * np.arange(7)])
    rho = np.zeros(mesh.shape)
    rho[1, 2, 4] = -300.0
    survey = Survey.grid(mesh, height=10.0, components=("x", "z"))
    operator = ForwardOperator(mesh, survey).fit()
    return SimpleNamespace(mesh=mesh, rho=rho.ravel(), operator=operator)


def values(image):
    return np.asarray(image.get_array())


def titles(axes):
    return [ax.get_title() for ax in np.ravel(axes)]


# Densities


def test_density_beside_truth_difference_and_uncertainty(sections, linear):
    display = DensityDisplay.from_estimator(
        linear, sections.data, sections.target, sample=3, return_std=True
    )
    mesh, truth = sections.operator.mesh_, sections.target[3]
    rho, std = linear.predict(sections.data[[3]], return_std=True)
    for image, expected in zip(
        display.images_, (truth, rho[0], rho[0] - truth, std[0]), strict=True
    ):
        np.testing.assert_allclose(values(image), mesh.unflatten(expected))
    shown = titles(display.axes_)
    assert shown[0] == "truth"
    assert shown[1].startswith("estimate, error 0.")
    assert shown[2:] == ["estimate − truth", "standard deviation"]
    assert display.axes_.shape == display.images_.shape == (4,)
    assert display.figure_ is display.axes_[0].figure


def test_density_has_physical_axes_with_depth_down(sections, linear):
    display = DensityDisplay.from_estimator(linear, sections.data, sections.target)
    z, x = sections.operator.mesh_.edges
    for ax, image in zip(display.axes_, display.images_, strict=True):
        assert ax.get_xlim() == (x[0], x[-1])
        assert ax.get_ylim() == (z[-1], z[0])
        assert ax.get_aspect() == 1.0
        np.testing.assert_array_equal(image.get_coordinates()[0, :, 0], x)
        np.testing.assert_array_equal(image.get_coordinates()[:, 0, 1], z)
    assert [ax.get_xlabel() for ax in display.axes_] == ["x (m)"] * 3
    assert [ax.get_ylabel() for ax in display.axes_] == ["depth (m)", "", ""]


def test_colours_are_shared_and_differences_centred(sections, linear):
    display = DensityDisplay.from_estimator(linear, sections.data, sections.target)
    truth, estimate, difference = display.images_
    span = sections.target[0].min(), sections.target[0].max()
    assert truth.get_clim() == estimate.get_clim() == span
    assert truth.get_cmap().name == "viridis"
    low, high = difference.get_clim()
    assert low == -high
    assert high == pytest.approx(np.abs(values(difference)).max())
    assert difference.get_cmap().name == "coolwarm"
    assert display.colorbar_.ax.get_ylabel() == "density\n(normalized units)"
    assert display.difference_colorbar_.ax.get_ylabel() == "difference\n(normalized units)"
    assert display.std_colorbar_ is None
    # An estimate that leaves the range of the truth is told by an arrow.
    assert display.colorbar_.extend != "neither"


@pytest.mark.parametrize(
    ("span", "cmap", "limits", "label"),
    [
        ((1000, 3000), "viridis", (1000, 3000), "density\n(kg/m³)"),
        ((-400, 300), "coolwarm", (-400, 400), "density contrast\n(kg/m³)"),
        ((-400, 0), "viridis", (-400, 0), "density contrast\n(kg/m³)"),
        ((-1, 300), "viridis", (-1, 300), "density\n(kg/m³)"),
        ((5, 5), "viridis", (4.5, 5.5), "density\n(kg/m³)"),
    ],
)
def test_contrasts_have_colours_of_both_signs(span, cmap, limits, label):
    mesh = Mesh.regular((2, 3), 1.0)
    display = DensityDisplay({"a": np.linspace(*span, 6)}, mesh=mesh).plot()
    assert display.images_[0].get_cmap().name == cmap
    assert display.images_[0].get_clim() == limits
    assert display.colorbar_.ax.get_ylabel() == label


def test_several_estimates_stand_above_their_differences(sections, linear):
    estimates = {"linear": linear.predict(sections.data), "zero": 0 * sections.target}
    display = DensityDisplay.from_predictions(
        sections.target, estimates, operator=sections.operator, sample=1
    )
    display.figure_.canvas.draw()
    assert titles(display.axes_)[3:] == ["linear − truth", "zero − truth"]
    _, above_first, above_second, first, second = (ax.get_position() for ax in display.axes_)
    assert above_first.x0 == pytest.approx(first.x0)
    assert above_second.x0 == pytest.approx(second.x0)
    assert above_first.y0 > first.y1
    # The gap below the truth takes no labels from it.
    assert display.axes_[0].get_xlabel() == "x (m)"
    assert display.axes_[1].get_xlabel() == ""


def test_unknown_truth_and_no_difference(sections, linear):
    alone = DensityDisplay.from_estimator(linear, sections.data)
    assert titles(alone.axes_) == ["estimate"]
    assert alone.difference_colorbar_ is None
    both = DensityDisplay.from_estimator(
        linear, sections.data, sections.target, difference=False, colorbar=False
    )
    assert len(both.axes_) == 2
    assert both.colorbar_ is None


def test_stretched_sections_are_stacked_in_kilometres_with_interfaces():
    mesh = Mesh.regular((4, 20), (1e3, 10e3))
    x = np.linspace(-100e3, 100e3, 5)
    known = {"sea floor": (x, 500 + 0 * x), "moho": (x, 3000 + 0 * x)}
    display = DensityDisplay.from_predictions(
        None, {"a": np.ones(80), "b": np.arange(80.0)}, mesh=mesh, interfaces=known
    )
    display.figure_.canvas.draw()
    upper, lower = display.axes_
    assert upper.get_position().y0 > lower.get_position().y1
    assert upper.get_aspect() == "auto"
    assert lower.get_xlabel() == "x (km)"
    assert lower.get_ylabel() == "depth (km)"
    assert lower.get_xlim() == (-100, 100)
    assert [[line.get_label() for line in panel] for panel in display.interface_lines_] == [
        ["sea floor", "moho"]
    ] * 2
    np.testing.assert_allclose(display.interface_lines_[1][1].get_ydata(), 3.0)
    np.testing.assert_allclose(display.interface_lines_[1][1].get_xdata(), x / 1e3)
    (legend,) = display.figure_.legends
    assert [text.get_text() for text in legend.get_texts()] == ["sea floor", "moho"]


def test_density_in_3d_is_cut_through_the_strongest_cell(volume):
    display = DensityDisplay.from_predictions(volume.rho, volume.rho / 2, mesh=volume.mesh)
    image = volume.mesh.unflatten(volume.rho)
    assert display.axes_.shape == (3, 3)
    plan, along_x, along_y = display.images_[0]
    np.testing.assert_array_equal(values(plan), image[1])
    np.testing.assert_array_equal(values(along_x), image[:, 2])
    np.testing.assert_array_equal(values(along_y), image[:, :, 4])
    assert titles(display.axes_[0]) == ["truth\ndepth 2 km", "y = 5 km", "x = 9 km"]
    assert [ax.get_xlabel() for ax in display.axes_[-1]] == ["x (km)", "x (km)", "y (km)"]
    assert [ax.get_ylabel() for ax in display.axes_[0]] == ["y (km)", "depth (km)", "depth (km)"]
    assert display.axes_[0, 0].get_ylim() == (0, 8)
    assert display.axes_[0, 1].get_ylim() == (6, 0)
    assert {line.get_xdata()[0] for line in display.axes_[0, 0].lines} == {9.0, 0.0}


def test_elevations_are_not_called_depths(volume):
    z, y, x = volume.mesh.edges
    mesh = Mesh([z - 2e3, y, x])
    display = DensityDisplay.from_predictions(None, volume.rho, mesh=mesh)
    assert titles(display.axes_.flat) == ["estimate\nz = 0 km", "y = 5 km", "x = 9 km"]
    assert [ax.get_ylabel() for ax in display.axes_.flat] == ["y (km)", "z (km)", "z (km)"]
    assert display.axes_.flat[1].get_ylim() == (4, -2)


def test_density_in_3d_is_cut_where_one_says(volume):
    display = DensityDisplay({"a": volume.rho}, mesh=volume.mesh, at=(6e3, 0.0, 2e3)).plot()
    assert titles(display.axes_) == ["a\ndepth 4.5 km", "y = 1 km", "x = 3 km"]
    with pytest.raises(ValueError, match="'at' is 7000 along z, but the mesh extends"):
        DensityDisplay({"a": volume.rho}, mesh=volume.mesh, at=(7e3, 0, 0)).plot()


def test_titles_tell_metres_at_utm_coordinates():
    edges = [np.arange(4) * 10.0, 4_930_000.0 + np.arange(6) * 10, 5e5 + np.arange(5) * 10]
    mesh = Mesh(edges)
    display = DensityDisplay({"a": np.arange(mesh.n_cells) * 1.0}, mesh=mesh).plot()
    titles = [axis.get_title() for axis in display.axes_.flat]
    assert "y = 4930005 m" in titles
    assert "x = 500005 m" in titles
    with pytest.raises(ValueError, match=r"'at' is 4930099 along y, .* 4930000 to 4930050 m"):
        DensityDisplay({"a": np.zeros(mesh.n_cells)}, mesh=mesh, at=(5, 4930099, 5e5)).plot()


def test_air_is_left_blank(volume):
    rho = np.where(np.arange(volume.rho.size) < 24, np.nan, volume.rho)
    display = DensityDisplay.from_predictions(rho, rho, mesh=volume.mesh)
    assert np.ma.getmaskarray(display.images_[0, 1].get_array())[0].all()
    assert display.images_[0, 0].get_clim() == (-300, 0)


def test_density_takes_axes_and_keywords(sections, linear):
    figure, axes = plt.subplots(1, 3)
    display = DensityDisplay.from_estimator(
        linear,
        sections.data,
        sections.target,
        ax=axes,
        image_kw={"cmap": "magma", "vmin": 0, "vmax": 12},
        difference_kw={"vmax": 1},
    )
    assert list(display.axes_) == list(axes)
    assert display.figure_ is figure
    assert display.images_[0].get_cmap().name == "magma"
    assert display.images_[1].get_clim() == (0, 12)
    assert display.images_[2].get_clim()[1] == 1
    assert [ax.get_ylabel() for ax in axes] == ["depth (m)"] * 3
    norm = mpl.colors.LogNorm(1, 12)
    again = display.plot(image_kw={"norm": norm})
    assert again is display
    assert display.axes_[0] is not axes[0]
    assert display.images_[0].norm is norm
    with pytest.raises(ValueError, match=r"'ax' has 1 axes, but 3 are needed, one for each sec"):
        display.plot(axes[0])


def test_estimators_inside_others_are_asked_for_their_geometry(sections, linear):
    refiner = Refiner(
        "cgls", init=FrozenEstimator(linear), operator=sections.operator, noise_level=LEVEL
    )
    pipeline = Pipeline([FrozenEstimator(linear), Refiner("cgls", noise_level=LEVEL)])
    search = GridSearchCV(TikhonovInverter(1.0, operator=sections.operator), {"alpha": [1.0]}, cv=2)
    for estimator in (FrozenEstimator(linear), refiner, search):
        estimator.fit(sections.data, sections.target)
        display = DensityDisplay.from_estimator(estimator, sections.data, sections.target)
        assert display.mesh == sections.operator.mesh_
        assert display.units == "normalized"
    pipeline.set_params(refiner__operator=sections.operator)
    pipeline.fit(sections.data, sections.target)
    assert DensityDisplay.from_estimator(pipeline, sections.data).mesh == sections.operator.mesh_
    GravityDisplay.from_estimator(pipeline, sections.data)
    start = np.hstack([sections.target, sections.data])
    GravityDisplay.from_estimator(pipeline[-1], start)


def test_wrong_arguments_of_densities_are_refused(sections, linear, volume):
    mesh, X, y = sections.operator.mesh_, sections.data, sections.target
    with pytest.raises(NotFittedError):
        DensityDisplay.from_estimator(BayesLinearInverter(), X)
    with pytest.raises(ValueError, match="'mesh' is None, and no operator was given or found"):
        DensityDisplay.from_estimator(DummyRegressor().fit(X, y), X)
    with pytest.raises(ValueError, match="'mesh' is None, and the MatrixOperator has no mesh"):
        DensityDisplay.from_predictions(y, y, operator=MatrixOperator(np.eye(100)).fit(y))
    with pytest.raises(ValueError, match="'sample' is 60, but 'X' has 60 rows; give one of them"):
        DensityDisplay.from_estimator(linear, X, sample=60)
    with pytest.raises(ValueError, match=r"'X' has shape \(60,\); it must be \(n_samples, n_data"):
        DensityDisplay.from_estimator(linear, X[0])
    with pytest.raises(ValueError, match=r"'y_pred' has shape \(60, 60\); it must be \(100,\) or"):
        DensityDisplay.from_predictions(None, X, mesh=mesh)
    with pytest.raises(ValueError, match=r"'y' has shape"):
        DensityDisplay.from_estimator(linear, X, X)
    with pytest.raises(ValueError, match="'return_std' is True, but LinearRegression has no stand"):
        DensityDisplay.from_estimator(LinearRegression().fit(X, y), X, return_std=True, mesh=mesh)
    with pytest.raises(ValueError, match="'units' is 'g/cc'; allowed are 'mGal', 'normalized'"):
        DensityDisplay.from_predictions(None, y, mesh=mesh, units="g/cc")
    known = {"moho": ([0, 1], [0, 1])}
    with pytest.raises(ValueError, match="'interfaces' are lines of a 2D section"):
        DensityDisplay({"a": volume.rho}, mesh=volume.mesh, interfaces=known).plot()


# Gravity


def test_gravity_of_each_component_with_residuals_and_noise(sections, linear):
    display = GravityDisplay.from_estimator(
        linear, sections.data, sections.target, sample=2, noise_level=LEVEL
    )
    operator, g = sections.operator, sections.data[2]
    survey, sigma = operator.survey_, LEVEL * np.sqrt(np.mean(g**2))
    found = operator.transform(linear.predict(sections.data[[2]]))[0]
    residual = survey.unflatten(g - found)
    assert display.axes_.shape == (2, 2)
    for k, component in enumerate(("x", "z")):
        top, bottom = display.axes_[:, k]
        assert top.get_ylabel() == f"g{component} (normalized units)"
        assert bottom.get_ylabel() == "residual\n(normalized units)"
        assert bottom.get_xlabel() == "x (m)"
        np.testing.assert_array_equal(display.observed_[k].get_ydata(), survey.unflatten(g)[k])
        np.testing.assert_array_equal(display.observed_[k].get_xdata(), survey.stations[:, 1])
        predicted = display.predicted_["estimate"][k]
        np.testing.assert_allclose(predicted.get_ydata(), survey.unflatten(found)[k])
        np.testing.assert_allclose(display.residuals_["estimate"][k].get_ydata(), residual[k])
        assert predicted.get_color() == display.residuals_["estimate"][k].get_color()
        assert predicted.get_color() != display.predicted_["truth"][k].get_color()
        band = display.bands_[k].get_paths()[0].vertices[:, 1]
        assert (band.min(), band.max()) == pytest.approx((-sigma, sigma))
    labels = display.axes_[0, 0].get_legend_handles_labels()[1]
    chi = np.mean(residual**2) / sigma**2
    assert labels[:2] == ["observed", f"estimate, chi factor {chi:.2g}"]
    assert labels[2].startswith("truth, chi factor ")


def test_gravity_takes_the_uncertainty_of_the_survey_in_any_order_of_stations():
    survey = Survey([[0, 20e3], [0, 0], [0, 10e3]], ("z",), [3, 1, 2])
    display = GravityDisplay([7, 5, 6], {"a": [7, 5, 5]}, survey=survey).plot()
    np.testing.assert_array_equal(display.observed_[0].get_xdata(), [0, 10, 20])
    np.testing.assert_array_equal(display.observed_[0].get_ydata(), [5, 6, 7])
    np.testing.assert_array_equal(display.residuals_["a"][0].get_ydata(), [0, 1, 0])
    band = display.bands_[0].get_paths()[0].vertices
    assert {tuple(p) for p in band} >= {(0, 1), (10, 2), (20, 3), (0, -1), (10, -2), (20, -3)}
    assert display.axes_[0, 0].get_ylabel() == "gz (mGal)"
    assert display.axes_[1, 0].get_xlabel() == "x (km)"


def test_gravity_without_noise_or_predictions():
    survey = Survey([[0, 0], [0, 1]], ("z",))
    alone = GravityDisplay([1, 2], survey=survey).plot()
    assert alone.axes_.shape == (1, 1)
    assert alone.predicted_ == alone.residuals_ == {}
    assert alone.axes_[0, 0].get_legend() is None
    display = GravityDisplay([1, 2], {"a": [1, 1]}, survey=survey).plot()
    assert display.bands_ == []
    assert display.axes_[0, 0].get_legend_handles_labels()[1] == ["observed", "a"]


def test_gravity_in_3d_is_mapped(volume):
    survey = volume.operator.survey_
    observed = volume.operator.transform([volume.rho])
    display = GravityDisplay.from_predictions(
        observed, volume.rho / 2, operator=volume.operator, noise_level=0.1
    )
    assert display.axes_.shape == (2, 3)
    half = survey.unflatten(observed[0] / 2)
    for k, component in enumerate(("x", "z")):
        shown = display.observed_[k], display.predicted_["estimate"][k]
        offsets = np.asarray(shown[0].get_offsets())
        np.testing.assert_allclose(offsets, survey.stations[:, [2, 1]] / 1e3)
        np.testing.assert_allclose(values(shown[1]), half[k])
        np.testing.assert_allclose(values(display.residuals_["estimate"][k]), half[k])
        assert shown[0].get_clim() == shown[1].get_clim()
        low, high = display.residuals_["estimate"][k].get_clim()
        assert low == -high
        bars = display.colorbars_[2 * k : 2 * k + 2]
        assert [b.ax.get_ylabel() for b in bars] == [f"g{component} (mGal)", "residual (mGal)"]
    assert titles(display.axes_[0]) == ["observed", "estimate", "residual, chi factor 25"]
    assert display.axes_[1, 0].get_xlabel() == "x (km)"
    assert display.axes_[1, 0].get_ylabel() == "y (km)"
    assert display.axes_[0, 0].get_aspect() == 1.0
    several = GravityDisplay(observed[0], {"a": observed[0], "b": observed[0]}, survey=survey).plot(
        colorbar=False
    )
    assert titles(several.axes_[0]) == ["observed", "a", "b", "residual of a", "residual of b"]
    assert several.colorbars_ == []


def test_gravity_takes_axes_and_keywords(sections, linear):
    _, axes = plt.subplots(2, 2)
    display = GravityDisplay.from_estimator(
        linear,
        sections.data,
        noise_level=LEVEL,
        ax=axes,
        observed_kw={"color": "g"},
        predicted_kw={"linestyle": ":"},
        residual_kw={"marker": "x"},
        band_kw={"color": "r"},
    )
    assert (display.axes_ == axes).all()
    assert display.observed_[0].get_color() == "g"
    assert display.predicted_["estimate"][1].get_linestyle() == ":"
    assert display.residuals_["estimate"][1].get_marker() == "x"
    np.testing.assert_array_equal(display.bands_[0].get_facecolor()[0], [1, 0, 0, 1])
    with pytest.raises(ValueError, match="'ax' has 2 axes, but 4 are needed, one for each panel"):
        display.plot(axes[0])


def test_an_operator_without_a_survey_is_given_one(sections, linear):
    matrix = MatrixOperator(sections.operator.matrix_).fit(sections.target)
    with pytest.raises(ValueError, match="'survey' is None, and the MatrixOperator has no survey"):
        GravityDisplay.from_predictions(sections.data, sections.target, operator=matrix)
    survey = sections.operator.survey_
    display = GravityDisplay.from_estimator(linear, sections.data, operator=matrix, survey=survey)
    assert display.survey == survey
    assert display.units == "mGal"


def test_wrong_arguments_of_gravity_are_refused(sections, linear):
    X, y, survey = sections.data, sections.target, sections.operator.survey_
    with pytest.raises(NotFittedError):
        GravityDisplay.from_estimator(BayesLinearInverter(), X)
    with pytest.raises(ValueError, match="'operator' is None, and the estimator has no fitted one"):
        GravityDisplay.from_estimator(DummyRegressor().fit(X, y), X)
    operator = ForwardOperator(sections.operator.mesh_)
    with pytest.raises(NotFittedError):
        GravityDisplay.from_predictions(X, y, operator=operator)
    with pytest.raises(ValueError, match=r"'X' has shape \(60, 59\); it must be \(60,\) or"):
        GravityDisplay.from_predictions(X[:, 1:], y, operator=sections.operator)
    for level in (0, "auto"):
        with pytest.raises(ValueError, match=f"'noise_level' is {level}; it must be positive"):
            GravityDisplay.from_estimator(linear, X, noise_level=level)
    with pytest.raises(ValueError, match=r"'predicted\['a'\]' has shape \(3,\)"):
        GravityDisplay(X[0], {"a": [1, 2, 3]}, survey=survey).plot()
    with pytest.raises(ValueError, match=r"'uncertainty' has shape \(2,\) .* one for each of 60"):
        GravityDisplay(X[0], {"a": X[0]}, survey=survey, uncertainty=[1, 2]).plot()
    with pytest.raises(ValueError, match="'units' is 'gu'; allowed are 'mGal', 'normalized'"):
        GravityDisplay(X[0], survey=survey, units="gu").plot()


# Convergence


@pytest.fixture(scope="module")
def pipeline(sections):
    cnn = CNNInverter(
        max_epochs=2,
        n_components=20,
        early_stopping=True,
        operator=sections.operator,
        random_state=0,
    )
    refiner = Refiner("cgls", operator=sections.operator, noise_level=LEVEL)
    return Pipeline([cnn, refiner]).fit(sections.data, sections.target)


def test_losses_and_residuals_of_a_pipeline(pipeline):
    display = ConvergenceDisplay.from_estimator(pipeline)
    cnn, refiner = pipeline[0], pipeline[1]
    loss, residual = display.axes_
    assert set(display.loss_lines_) == {"training", "validation"}
    np.testing.assert_array_equal(display.loss_lines_["training"].get_ydata(), cnn.loss_curve_)
    np.testing.assert_array_equal(display.loss_lines_["training"].get_xdata(), [1, 2])
    history = refiner.residual_history_
    line = display.residual_lines_["cgls"]
    np.testing.assert_array_equal(line.get_ydata(), np.median(history, axis=1))
    np.testing.assert_array_equal(line.get_xdata(), np.arange(len(history)))
    assert list(display.residual_bands_) == ["cgls"]
    assert set(display.noise_line_.get_ydata()) == {LEVEL}
    assert (loss.get_xlabel(), loss.get_ylabel()) == ("epoch", "loss")
    assert residual.get_xlabel() == "iteration"
    assert residual.get_ylabel() == "relative data misfit"
    labels = [text.get_text() for text in residual.get_legend().get_texts()]
    assert labels == ["cgls", "noise"]


def test_residuals_of_the_data_that_are_given(pipeline, sections):
    display = ConvergenceDisplay.from_estimator(pipeline, sections.data[:5])
    start = pipeline[0].transform(sections.data[:5])
    history = pipeline[1].refine(start).residual_history
    line = display.residual_lines_["refined"]
    np.testing.assert_allclose(line.get_ydata(), np.median(history, axis=1))
    frozen = ConvergenceDisplay.from_estimator(FrozenEstimator(pipeline[1]), start)
    np.testing.assert_allclose(frozen.residual_lines_["refined"].get_ydata(), line.get_ydata())
    with pytest.raises(ValueError, match="'X' is given, but CNNInverter does not refine; leave"):
        ConvergenceDisplay.from_estimator(pipeline[0], sections.data)


def test_solvers_side_by_side(sections):
    results = {}
    for solver in ("gd", "cgls"):
        refiner = Refiner(solver, init="zero", operator=sections.operator, noise_level=LEVEL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results[solver] = refiner.fit(sections.data, sections.target).refine(sections.data)
    display = ConvergenceDisplay.from_predictions(results, noise_level=LEVEL)
    assert list(display.residual_lines_) == ["gd", "cgls"]
    assert len(display.axes_) == 1
    assert display.axes_[0].get_yscale() == "log"
    one = ConvergenceDisplay.from_predictions(results["cgls"])
    assert list(one.residual_lines_) == ["residual"]
    assert one.noise_line_ is None
    with pytest.raises(ValueError, match="'y_pred' has no residual_history for 'a'; give the Solv"):
        ConvergenceDisplay.from_predictions({"a": results["gd"].rho})


def test_losses_of_any_sign(sections):
    vae = VAEGenerator(4, max_epochs=1, random_state=0).fit(sections.target)
    display = ConvergenceDisplay.from_estimator(vae)
    assert list(display.loss_lines_) == ["training"]
    display = ConvergenceDisplay({"a": [-1.0, -2.0], "b": [3.0, 1.0]}).plot()
    assert display.axes_[0].get_yscale() == "linear"
    assert ConvergenceDisplay({"a": [9.0, 1.0]}).plot().axes_[0].get_yscale() == "log"


def test_losses_of_several_networks_are_told_apart(pipeline, sections):
    vae = VAEGenerator(4, max_epochs=1, random_state=0).fit(sections.target)
    latent = LatentInverter(
        FrozenEstimator(vae), operator=sections.operator, noise_level=LEVEL, random_state=0
    )
    both = Pipeline([FrozenEstimator(pipeline[0]), latent]).fit(sections.data, sections.target)
    display = ConvergenceDisplay.from_estimator(both)
    names = ["CNNInverter, training", "CNNInverter, validation", "VAEGenerator, training"]
    assert list(display.loss_lines_) == names


def test_convergence_takes_axes_and_keywords():
    _, axes = plt.subplots(1, 2)
    display = ConvergenceDisplay({"a": [2.0, 1.0]}, {"b": np.ones((3, 4))}).plot(
        axes, loss_kw={"color": "r"}, residual_kw={"linestyle": ":"}, band_kw={"alpha": 0.5}
    )
    assert list(display.axes_) == list(axes)
    assert display.loss_lines_["a"].get_color() == "r"
    assert display.residual_lines_["b"].get_linestyle() == ":"
    assert display.residual_bands_["b"].get_alpha() == 0.5
    with pytest.raises(ValueError, match="'ax' has 1 axes, but 2 are needed"):
        display.plot(axes[0])


def test_wrong_arguments_of_convergence_are_refused(linear):
    with pytest.raises(ValueError, match="which recorded neither losses nor residuals; give a CNN"):
        ConvergenceDisplay.from_estimator(linear)
    with pytest.raises(NotFittedError):
        ConvergenceDisplay.from_estimator(Refiner())
    with pytest.raises(ValueError, match="'losses' and 'residuals' are empty"):
        ConvergenceDisplay().plot()
    with pytest.raises(ValueError, match=r"losses\['a'\] has shape \(1, 2\)"):
        ConvergenceDisplay({"a": [[1, 2]]}).plot()
    with pytest.raises(ValueError, match=r"residuals\['a'\] has shape \(\)"):
        ConvergenceDisplay(residuals={"a": 1.0}).plot()


# Samples


def test_samples_of_a_generator_below_its_training_set(sections):
    mesh = sections.operator.mesh_
    vae = VAEGenerator(4, mesh=mesh, max_epochs=1, random_state=0).fit(sections.target)
    display = SampleGalleryDisplay.from_estimator(
        vae, sections.target, n_samples=3, random_state=7, units="normalized"
    )
    assert display.axes_.shape == (2, 3)
    drawn = vae.sample(3, random_state=7)
    for j in range(3):
        above, below = display.images_[:, j]
        np.testing.assert_allclose(values(above), mesh.unflatten(sections.target[j]))
        np.testing.assert_allclose(values(below), mesh.unflatten(drawn[j]))
    assert display.axes_[0, 0].get_ylabel() == "given\ndepth (m)"
    assert display.axes_[1, 0].get_ylabel() == "drawn\ndepth (m)"
    assert display.axes_[1, 2].get_xlabel() == "x (m)"
    assert display.axes_[0, 2].get_xlabel() == display.axes_[1, 2].get_ylabel() == ""
    z = mesh.edges[0]
    assert display.axes_[1, 1].get_ylim() == (z[-1], z[0])
    assert display.colorbar_.ax.get_ylabel() == "density (normalized units)"
    clim = sections.target[:3].min(), sections.target[:3].max()
    assert {image.get_clim() for image in display.images_.flat} == {clim}


def test_draws_of_a_posterior_below_its_mean(sections, linear):
    display = SampleGalleryDisplay.from_estimator(
        linear, sections.data, sections.target, n_samples=4, sample=2, random_state=3
    )
    assert display.axes_.shape == (2, 4)
    assert titles(display.axes_[0, :2]) == ["truth", "estimate"]
    assert display.axes_[0, 2] is display.images_[0, 3] is None
    draws = linear.sample_y(sections.data[[2]], 4, random_state=3)[0]
    mesh = sections.operator.mesh_
    np.testing.assert_allclose(values(display.images_[1, 3]), mesh.unflatten(draws[:, 3]))
    assert display.axes_[0, 0].get_ylabel() == "sample 2\ndepth (m)"


def test_samples_and_their_estimates_in_rows(sections, linear):
    display = SampleGalleryDisplay.from_predictions(
        sections.target,
        {"linear": linear.predict(sections.data), "zero": 0 * sections.target},
        operator=sections.operator,
        n_samples=2,
        titles=["a", "b"],
        image_kw={"cmap": "cividis"},
    )
    assert titles(display.axes_[0]) == ["a", "b"]
    assert titles(display.axes_[2]) == ["error 1.00", "error 1.00"]
    assert display.images_[0, 0].get_cmap().name == "cividis"
    _, axes = plt.subplots(1, 3)
    drawn = display.from_predictions(
        None, sections.target[:3], operator=sections.operator, ax=axes, colorbar=False
    )
    assert list(drawn.axes_[0]) == list(axes)
    assert drawn.colorbar_ is None


def test_wrong_arguments_of_galleries_are_refused(sections, linear, volume):
    y, mesh = sections.target, sections.operator.mesh_
    with pytest.raises(ValueError, match="which cannot draw samples; give a generator, or an"):
        SampleGalleryDisplay.from_estimator(LinearRegression().fit(sections.data, y), mesh=mesh)
    with pytest.raises(ValueError, match="'X' is None; give the gravity to sample"):
        SampleGalleryDisplay.from_estimator(linear)
    vae = VAEGenerator(4, max_epochs=1, random_state=0).fit(y)
    with pytest.raises(ValueError, match="'mesh' is None, and no operator was"):
        SampleGalleryDisplay.from_estimator(vae)
    with pytest.raises(ValueError, match="'y_true' has 2 rows to draw and 'y_pred' 3; give as"):
        SampleGalleryDisplay.from_predictions(y[:2], y[:3], mesh=mesh)
    with pytest.raises(ValueError, match=r"'y_pred' has shape \(100,\); it must be \(n_sections"):
        SampleGalleryDisplay.from_predictions(None, y[0], mesh=mesh)
    with pytest.raises(ValueError, match="'titles' has 1 for 'a', which has 2 sections"):
        SampleGalleryDisplay({"a": y[:2]}, mesh=mesh, titles={"a": ["b"]}).plot()
    with pytest.raises(ValueError, match=r"'mesh' has 3 axes; a gallery shows sections. Use Dens"):
        SampleGalleryDisplay({"a": [volume.rho]}, mesh=volume.mesh).plot()


@pytest.mark.parametrize(
    "display",
    [
        DensityDisplay({"a": np.ones(4)}, mesh=Mesh.square(2)),
        GravityDisplay([1.0], survey=Survey([[0, 0]], ("z",))),
        ConvergenceDisplay({"a": [1.0]}),
        LCurveDisplay([1, 10], [10, 1], point=(3.0, 3.0), alpha=2.0),
        SampleGalleryDisplay({"a": np.ones((1, 4))}, mesh=Mesh.square(2)),
    ],
    ids=lambda display: type(display).__name__,
)
def test_missing_matplotlib_names_the_extra(display, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    name = type(display).__name__
    with pytest.raises(ImportError, match=rf"{name} needs matplotlib.*pip install 'skgrav\[plot\]"):
        display.plot()


def test_part_of_a_joint_operator_is_drawn_by_its_survey():
    mesh = Mesh.regular((4, 8), 50.0)
    stations = Survey.line(mesh).stations
    ground = ForwardOperator(mesh, Survey(stations, "z", uncertainty=0.1))
    flight = ForwardOperator(mesh, Survey(stations - [80.0, 0.0], "z", uncertainty=0.1))
    log = CellValues(mesh, [3], uncertainty=20.0)
    one, two = JointOperator([log, ground]).fit(), JointOperator([ground, log, flight]).fit()
    rho = np.full((1, 32), 100.0)
    display = GravityDisplay.from_predictions(one.transform(rho), rho, operator=one)
    np.testing.assert_allclose(display.observed, ground.fit().transform(rho)[0])
    X = two.transform(rho)
    display = GravityDisplay.from_predictions(X, rho, operator=two, survey=flight.survey)
    np.testing.assert_allclose(display.observed, X[0, -len(stations) :])
    np.testing.assert_allclose(display.predicted["estimate"], display.observed)
    with pytest.raises(ValueError, match=r"'survey' is None; give one of those of 'operator': Sur"):
        GravityDisplay.from_predictions(X, rho, operator=two)


def test_noise_of_the_survey_is_drawn_with_refined_residuals():
    mesh = Mesh.regular((4, 8), 50.0)
    operator = ForwardOperator(mesh, Survey(Survey.line(mesh).stations, "z", uncertainty=0.1))
    rho = np.full((1, 32), 100.0)
    X = operator.fit().transform(rho)
    refiner = Refiner("cgls", init="zero", operator=operator).fit(X, rho)
    display = ConvergenceDisplay.from_estimator(refiner, X)
    assert display.noise_level == pytest.approx(0.1 / np.sqrt(np.mean(X**2)))
    assert display.noise_line_ is not None


def test_calibration_of_one_sample_is_refused():
    with pytest.raises(ValueError, match="'y_true' has 1 sample"):
        CalibrationDisplay.from_predictions(
            np.ones((1, 16)), np.ones((1, 16, 30)), mesh=Mesh.square(4)
        )
