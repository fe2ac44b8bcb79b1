"""Displays of posteriors: what they draw, and what they refuse."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.linear_model import Ridge

from skgrav import AnalogueInverter, Mesh
from skgrav.datasets import make_gravity_dataset
from skgrav.metrics import interval_coverage, rank_histogram
from skgrav.plotting import CalibrationDisplay, PosteriorDisplay

pytestmark = pytest.mark.usefixtures("close_figures")

MESH = Mesh.regular((6, 9), 10.0)
DATA = make_gravity_dataset(
    400, mesh=MESH, noise_level=0.01, density_range=(0.0, 900.0), units="mGal", random_state=0
)
INVERTER = AnalogueInverter(
    39, operator=DATA.operator, noise_level=0.01, inflation=1.0
).fit(DATA.data[60:], DATA.target[60:])  # fmt: skip
X, Y = DATA.data[:60], DATA.target[:60]
DRAWS = INVERTER.sample_y(X, 39)


def colours(image):
    return np.ravel(image.get_array())


def test_posterior_draws_moments_probability_truth_and_draws():
    display = PosteriorDisplay.from_estimator(
        INVERTER, X, Y, sample=2, n_samples=39, threshold=500.0, x=12.0
    )
    draws = INVERTER.sample_y(X[2:3], 39)[0]
    expected = [
        draws.mean(axis=1),
        draws.std(axis=1, ddof=1),
        np.mean(draws > 500.0, axis=1),
        Y[2],
        *draws.T[:3],
    ]
    assert len(display.images_) == 7
    for image, values in zip(display.images_, expected, strict=True):
        np.testing.assert_allclose(colours(image), values)
    titles = [ax.get_title() for ax in display.axes_.ravel()]
    assert titles[2:5] == ["P(density > 500)", "at x = 10 m", "truth"]
    # The median and the truth in the column of the profile, at the top and bottom of each cell.
    column = int(np.argmin(np.abs(MESH.centers[1] - 10.0)))
    median, truth = display.axes_[0, 3].lines
    cells = MESH.unflatten(np.median(draws, axis=1))[:, column]
    np.testing.assert_allclose(median.get_xdata(), np.repeat(cells, 2))
    np.testing.assert_allclose(truth.get_xdata(), np.repeat(MESH.unflatten(Y[2])[:, column], 2))
    assert truth.get_ydata()[[0, 1, -1]].tolist() == [0.0, 10.0, 60.0]
    assert display.axes_[0, 3].get_ylim() == (60.0, 0.0)


def test_posterior_of_predictions_without_truth_has_more_draws():
    display = PosteriorDisplay.from_predictions(None, DRAWS, sample=-1, operator=DATA.operator)
    np.testing.assert_allclose(colours(display.images_[-1]), DRAWS[-1, :, 3])
    assert [ax.get_title() for ax in display.axes_[1]] == [f"draw {k}" for k in range(1, 5)]


def test_posterior_of_active_cells_leaves_air_blank():
    mesh = MESH.below(lambda x: 15.0 + 0 * x)
    draws = np.random.default_rng(0).normal(size=(mesh.n_cells, 19))
    display = PosteriorDisplay(draws, mesh=mesh).plot()
    assert np.ma.is_masked(display.images_[0].get_array())


def test_calibration_draws_coverage_and_ranks():
    display = CalibrationDisplay.from_predictions(
        Y, {"analogues": DRAWS, "wide": 3 * DRAWS - 2 * DRAWS.mean(axis=2)[..., None]},
        mesh=MESH, functionals=["std", "mass"],
    )  # fmt: skip
    levels = display.lines_[0].get_xdata()
    found = interval_coverage(Y, DRAWS, levels=levels)
    np.testing.assert_allclose(display.lines_[0].get_ydata(), found)
    assert (display.lines_[1].get_ydata() > found).all()
    counts = rank_histogram(Y, DRAWS, "mass", mesh=MESH).counts
    assert [bar.get_height() for bar in display.bars_[1]] == counts.tolist()
    assert [t.get_text() for t in display.axes_[0].get_legend().get_texts()] == [
        "analogues",
        "wide",
    ]
    assert display.axes_[2].get_title().startswith("mass, p ")


def test_few_draws_reach_few_levels():
    display = CalibrationDisplay.from_predictions(Y, DRAWS[..., :9], mesh=MESH, functionals=[])
    assert display.lines_[0].get_xdata().max() == pytest.approx(0.8)


def test_calibration_of_an_estimator_on_given_axes():
    figure = Figure()
    axes = figure.subplots(1, 2)
    display = CalibrationDisplay.from_estimator(
        INVERTER, X, Y, n_samples=39, functionals=[lambda rho: rho[:, 30]], ax=axes
    )
    assert display.figure_ is figure
    np.testing.assert_allclose(
        display.lines_[0].get_ydata()[-1], interval_coverage(Y, DRAWS, levels=0.95)[0]
    )


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: PosteriorDisplay(DRAWS[0, :, :18], mesh=MESH).plot(), "at least 19 draws"),
        (lambda: PosteriorDisplay(DRAWS[0], mesh=MESH, x=99.0).plot(), "'x' is 99, but the mesh"),
        (
            lambda: PosteriorDisplay(DRAWS[0], mesh=Mesh.regular((2, 3, 9), 1.0)).plot(),
            "'mesh' has 3 axes",
        ),
        (
            lambda: PosteriorDisplay(DRAWS[0], mesh=MESH, truth=Y[0, 1:]).plot(),
            r"'truth' has shape \(53,\)",
        ),
        (
            lambda: PosteriorDisplay.from_predictions(Y, DRAWS, sample=60, mesh=MESH),
            "'sample' is 60, but 'y_pred' has 60 rows",
        ),
        (
            lambda: PosteriorDisplay.from_predictions(Y, DRAWS[0], mesh=MESH),
            r"'y_pred' has shape \(54, 39\)",
        ),
        (
            lambda: CalibrationDisplay([0.5, 0.9], {"a": [0.5]}, {}).plot(),
            r"'coverage' has shape \(1,\), but 'levels' \(2,\)",
        ),
    ],
)
def test_errors_name_the_argument(call, text):
    with pytest.raises(ValueError, match=text):
        call()


def test_estimators_without_draws_are_refused():
    for display in (PosteriorDisplay, CalibrationDisplay):
        with pytest.raises(ValueError, match="cannot draw samples"):
            display.from_estimator(Ridge().fit(X, Y), X, Y)
