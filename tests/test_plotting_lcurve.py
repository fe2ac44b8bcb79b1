"""What the display of a curve of alphas draws."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skgrav import Mesh, SparseInverter, TikhonovInverter
from skgrav.datasets import make_gravity_dataset
from skgrav.plotting import LCurveDisplay

plt = pytest.importorskip("matplotlib.pyplot")
pytestmark = pytest.mark.usefixtures("close_figures")

LEVEL = 0.01


@pytest.fixture(scope="module")
def sections():
    return make_gravity_dataset(
        n_samples=4, mesh=Mesh.square(12), noise_level=LEVEL, random_state=0
    )


def inverter(sections, alpha, **params):
    params = {"noise_level": LEVEL, "operator": sections.operator} | params
    return TikhonovInverter(alpha, **params).fit(sections.data)


@pytest.mark.parametrize("alpha", ["lcurve", 0.5])
def test_l_curve_shows_the_estimate_on_it(alpha, sections):
    fitted = inverter(sections, alpha)
    display = LCurveDisplay.from_estimator(fitted, sections.data, sample=2)
    found = fitted.invert(sections.data)
    x, y = display.point_.get_data()
    assert (x[0], y[0]) == pytest.approx((found.misfit[2], found.model_norm[2]))
    curve = fitted.alpha_curve(sections.data)
    np.testing.assert_allclose(display.line_.get_xdata(), curve.misfit[:, 2])
    np.testing.assert_allclose(display.line_.get_ydata(), curve.model_norm[:, 2])
    near = np.interp(np.log(x[0]), np.log(curve.misfit[:, 2]), np.log(curve.model_norm[:, 2]))
    assert near == pytest.approx(np.log(y[0]), abs=0.05)
    ax = display.ax_
    assert "misfit" in ax.get_xlabel()
    assert "model norm" in ax.get_ylabel()
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert ax.get_legend_handles_labels()[1] == [rf"$\alpha$ = {found.alpha[2]:.3g}"]
    assert display.point_.get_marker() == "o"


@pytest.mark.parametrize("criterion", ["lcurve", "gcv", "discrepancy"])
def test_computed_curve_is_drawn_as_by_the_estimator(criterion, sections):
    fitted = inverter(sections, 0.5)
    curve, alpha = fitted.alpha_curve(sections.data), fitted.invert(sections.data).alpha[1]
    drawn = LCurveDisplay.from_predictions(curve, alpha, sample=1, criterion=criterion)
    known = LCurveDisplay.from_estimator(fitted, sections.data, sample=1, criterion=criterion)
    # A batch is rounded otherwise than one sample.
    np.testing.assert_allclose(drawn.line_.get_xydata(), known.line_.get_xydata(), rtol=1e-9)
    np.testing.assert_allclose(drawn.point_.get_xydata(), known.point_.get_xydata(), rtol=0.02)
    assert drawn.ax_.get_ylabel() == known.ax_.get_ylabel()


def test_computed_curve_is_asked_for_what_it_has(sections):
    curve = inverter(sections, 0.5).alpha_curve(sections.data)
    with pytest.raises(ValueError, match="'sample' is 4, but 'curve' has 4 columns"):
        LCurveDisplay.from_predictions(curve, 0.5, sample=4)
    with pytest.raises(ValueError, match="'alpha' is 0; it must be positive"):
        LCurveDisplay.from_predictions(curve, 0)


def test_gcv_is_marked_at_its_least(sections):
    fitted = inverter(sections, "gcv", order=1)
    display = LCurveDisplay.from_estimator(fitted, sections.data, sample=1)
    x, y = display.point_.get_data()
    assert x[0] == pytest.approx(fitted.invert(sections.data).alpha[1])
    assert y[0] <= np.min(display.line_.get_ydata()) * (1 + 1e-9)
    assert display.ax_.get_ylabel() == "generalised cross-validation"


@pytest.mark.parametrize("bounds", [None, (0.0, 12.0)])
def test_discrepancy_is_marked_at_a_chi_factor_of_one(bounds, sections):
    fitted = inverter(sections, "discrepancy", bounds=bounds)
    display = LCurveDisplay.from_estimator(fitted, sections.data)
    x, y = display.point_.get_data()
    assert x[0] == pytest.approx(fitted.invert(sections.data).alpha[0])
    assert y[0] == pytest.approx(1, abs=2e-3)
    others = [line for line in display.ax_.lines if line not in (display.line_, display.point_)]
    assert [set(line.get_ydata()) for line in others] == [{1.0}]
    assert display.ax_.get_ylabel() == "chi factor"


@pytest.mark.parametrize("noise_level", [LEVEL, None])
def test_automatic_alpha_shows_the_criterion_in_use(noise_level, sections):
    fitted = inverter(sections, "auto", noise_level=noise_level)
    display = LCurveDisplay.from_estimator(fitted, sections.data)
    assert display.criterion == ("gcv" if noise_level is None else "discrepancy")
    assert display.point[0] == pytest.approx(fitted.invert(sections.data).alpha[0])


def test_chi_factor_counts_a_trend(sections):
    operator = clone(sections.operator)
    line = operator.set_params(survey=replace(sections.operator.survey_, trend=1)).fit()
    fitted = inverter(sections, "discrepancy", operator=line, noise_level=0.1)
    display = LCurveDisplay.from_estimator(fitted, sections.data)
    assert display.point[1] == pytest.approx(1, abs=1e-6)


def test_other_criteria_of_the_same_alpha(sections):
    fitted = inverter(sections, "discrepancy")
    display = LCurveDisplay.from_estimator(fitted, sections.data, criterion="gcv")
    assert display.point[0] == pytest.approx(fitted.invert(sections.data).alpha[0])
    assert display.criterion == "gcv"


@pytest.mark.parametrize("criterion", ["lcurve", "gcv", "discrepancy"])
def test_alphas_beyond_the_curve_are_shown(criterion, sections):
    tiny = LCurveDisplay.from_estimator(
        inverter(sections, 1e-15), sections.data, criterion=criterion
    )
    assert np.min(tiny.x) * 0.999 <= tiny.point[0] <= np.max(tiny.x)
    fits = inverter(sections, "discrepancy", reference=sections.target[0], noise_level=0.1)
    with pytest.warns(UserWarning, match="by less than their noise"):
        infinite = LCurveDisplay.from_estimator(fits, sections.data[:1], criterion=criterion)
    assert np.isfinite(infinite.point).all()
    assert infinite.ax_.get_legend_handles_labels()[1] == [r"$\alpha$ = inf"]


def test_axes_and_keywords_are_taken(sections):
    fitted = inverter(sections, "lcurve")
    figure, ax = plt.subplots()
    display = LCurveDisplay.from_estimator(
        fitted, sections.data, ax=ax, line_kw={"color": "k"}, point_kw={"marker": "s"}
    )
    assert display.ax_ is ax
    assert display.figure_ is figure
    assert display.line_.get_color() == "k"
    assert display.point_.get_marker() == "s"
    again = display.plot(line_kw={"linestyle": ":"})
    assert again is display
    assert display.ax_ is not ax
    assert display.line_.get_linestyle() == ":"


def test_plain_constructor_draws():
    display = LCurveDisplay([1, 10], [10, 1], point=(3.0, 3.0), alpha=2.0).plot()
    np.testing.assert_array_equal(display.line_.get_xdata(), [1, 10])
    assert display.point_.get_xdata()[0] == 3.0
    with pytest.raises(ValueError, match="'criterion' is 'knee'; allowed are 'lcurve', 'gcv', "):
        LCurveDisplay([1], [1], point=(1, 1), alpha=1.0, criterion="knee").plot()


def test_wrong_arguments_are_refused(sections):
    fitted = inverter(sections, "lcurve")
    with pytest.raises(ValueError, match="'sample' is 4, but 'X' has 4 rows; give one of them"):
        LCurveDisplay.from_estimator(fitted, sections.data, sample=4)
    with pytest.raises(ValueError, match="'criterion' is 'knee'"):
        LCurveDisplay.from_estimator(fitted, sections.data, criterion="knee")
    with pytest.raises(NotFittedError):
        LCurveDisplay.from_estimator(TikhonovInverter("gcv"), sections.data)
    sparse = SparseInverter(1.0, operator=sections.operator).fit(sections.data)
    with pytest.raises(ValueError, match="has no curve of alphas; give a fitted TikhonovInverter"):
        LCurveDisplay.from_estimator(sparse, sections.data)
