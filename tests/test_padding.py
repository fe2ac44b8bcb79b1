"""Estimates on meshes with growing padding: no order and no depth weighting fills it with mass."""

import numpy as np
import pytest

from skgrav import ForwardOperator, Mesh, SparseInverter, Survey, TikhonovInverter
from skgrav.inverters._damping import DampedLeastSquares
from skgrav.inverters._model_norm import ModelNorm
from skgrav.solvers import CGLS

SIGMA = 0.1
ORDERS = [0, 1, 2]
WEIGHTINGS = [None, 1.0, 2.0, "sensitivity"]
N_PADDING = 10


def padded(start, stop, step, n_padding=N_PADDING):
    """Give edges of even cells with padding that grows by 1.4 on either side."""
    growing = np.cumsum(step * 1.4 ** np.arange(1, n_padding + 1))
    even = np.arange(start - step / 2, stop + step, step)
    return np.r_[even[0] - growing[::-1], even, even[-1] + growing]


@pytest.fixture(scope="module")
def line():
    """Give an operator of a line of 10 km over a padded mesh, and a bell of 5 mGal with noise."""
    x = np.linspace(0, 10e3, 101)
    mesh = Mesh([np.r_[0, np.cumsum(50 * 1.08 ** np.arange(25))], padded(0, 10e3, 100.0)])
    survey = Survey(np.column_stack([np.full(101, -1.0), x]), ("z",), uncertainty=SIGMA)
    noise = SIGMA * np.random.default_rng(0).standard_normal(101)
    return ForwardOperator(mesh, survey).fit(), x, 5 * np.exp(-(((x - 5e3) / 1e3) ** 2)) + noise


@pytest.fixture(scope="module")
def area():
    """Give an operator of 9 x 9 stations over a padded mesh in 3D, and gravity of a block."""
    y = np.linspace(-400, 400, 9)
    lateral = padded(-400, 400, 100.0, 5)
    mesh = Mesh([np.r_[0, np.cumsum(50 * 1.2 ** np.arange(9))], lateral, lateral])
    Y, X = np.meshgrid(y, y, indexing="ij")
    survey = Survey(np.column_stack([np.full(81, -1.0), Y.ravel(), X.ravel()]), ("z",), 0.02)
    operator = ForwardOperator(mesh, survey).fit()
    z, y, x = np.meshgrid(*mesh.centers, indexing="ij")
    rho = 300.0 * ((np.abs(z - 200) < 100) & (np.abs(y) < 160) & (np.abs(x) < 160))
    noise = 0.02 * np.random.default_rng(0).standard_normal(81)
    return operator, (operator.transform(rho.reshape(1, -1))[0] + noise)


def assert_tame(mesh, rho, n_padding, largest):
    image = np.abs(mesh.unflatten(rho))
    inside = (slice(None), *[slice(n_padding, -n_padding)] * (mesh.ndim - 1))
    assert image.max() == image[inside].max()
    # Where the density is largest, it lies under the anomaly, and is one of rock.
    assert image.max() < largest


@pytest.mark.parametrize("trend", ["none", "mean", "line"])
@pytest.mark.parametrize("depth_weighting", WEIGHTINGS)
@pytest.mark.parametrize("order", ORDERS)
def test_line_has_its_mass_under_the_stations(order, depth_weighting, trend, line):
    operator, x, g = line
    if trend != "none":
        g = g - np.polyval(np.polyfit(x, g, {"mean": 0, "line": 1}[trend]), x)
    inverter = TikhonovInverter(order=order, depth_weighting=depth_weighting, operator=operator)
    found = inverter.fit(g[None]).invert(g[None])
    assert found.misfit**2 / 101 == pytest.approx(1, rel=0.05)
    assert_tame(operator.mesh_, found.rho[0], N_PADDING, 450)
    weighed = depth_weighting in (1.0, "sensitivity")
    if weighed:
        centre = np.argmax(np.max(operator.mesh_.unflatten(found.rho[0]), axis=0))
        assert abs(operator.mesh_.centers[1][centre] - 5e3) < 500
        assert found.rho.max() < 180


@pytest.mark.parametrize("depth_weighting", WEIGHTINGS)
@pytest.mark.parametrize("order", ORDERS)
def test_area_has_its_mass_under_the_stations(order, depth_weighting, area):
    operator, g = area
    inverter = TikhonovInverter(order=order, depth_weighting=depth_weighting, operator=operator)
    found = inverter.fit(g[None]).invert(g[None])
    assert_tame(operator.mesh_, found.rho[0], 5, 450)


def test_second_order_is_as_tame_as_the_first(line):
    operator, _, g = line
    largest = [
        np.abs(TikhonovInverter(order=k, operator=operator).fit(g[None]).predict(g[None])).max()
        for k in (1, 2)
    ]
    assert largest[1] == pytest.approx(largest[0], rel=0.2)


@pytest.mark.parametrize("degree", [0, 1])
@pytest.mark.parametrize("depth_weighting", WEIGHTINGS)
@pytest.mark.parametrize("order", ORDERS)
def test_trend_beside_the_densities_lets_none_run_away(order, depth_weighting, degree, line):
    operator, x, g = line
    columns = np.vander((x - x.mean()) / 5e3, degree + 1)
    rest = np.linalg.qr(columns, mode="complete")[0][:, degree + 1 :].T
    norm = ModelNorm.of(operator, order, depth_weighting)
    system = DampedLeastSquares.of(
        norm.operator_modes(rest @ operator.matrix_ / SIGMA), norm.stiffness
    )
    # A level and a slope of many times the anomaly, which only the trend may take.
    d = (g + columns @ np.full(degree + 1, 300.0))[None] @ rest.T / SIGMA
    alpha = system.discrepancy(system.coordinates(d), np.ones(1))
    rho = norm.weighted(system.estimate(d, alpha)) / norm.weights
    assert_tame(operator.mesh_, rho[0], N_PADDING, 450)


@pytest.mark.parametrize("order", ORDERS)
def test_gap_between_stations_attracts_no_mass(order):
    x = np.arange(-6000.0, 6001.0, 100.0)
    x = x[np.abs(x) > 1000]
    mesh = Mesh([np.linspace(0, 3000, 31), np.linspace(-8000, 8000, 161)])
    survey = Survey(np.column_stack([np.full(len(x), -1.0), x]), ("z",), uncertainty=0.05)
    operator = ForwardOperator(mesh, survey).fit()
    g = 1.0 + 0.05 * np.random.default_rng(0).standard_normal((5, len(x)))
    inverter = TikhonovInverter(order=order, depth_weighting="sensitivity", operator=operator)
    image = np.abs(inverter.fit(g).predict(g)).reshape(-1, *mesh.shape).mean(axis=0).max(axis=0)
    gap, beside = np.abs(mesh.centers[1]) < 800, np.abs(mesh.centers[1]) > 1200
    assert image[gap].max() < 1.1 * image[beside & (np.abs(mesh.centers[1]) < 5000)].max()


# The least sum concentrates density in single cells where no bounds forbid it.
@pytest.mark.filterwarnings("ignore:.* have densities that no rock has")
@pytest.mark.parametrize("estimate", ["sparse", "cgls"])
def test_other_methods_share_the_weights(estimate, line):
    operator, _, g = line
    if estimate == "sparse":
        inverter = SparseInverter(operator=operator)
        rho = inverter.fit(g[None]).predict(g[None])
    else:
        solver = CGLS(depth_weighting="sensitivity")
        rho = solver.solve(operator, g[None], sigma=np.full((1, 101), SIGMA)).rho
    image = np.abs(operator.mesh_.unflatten(rho[0]))
    assert image.max() == image[:, N_PADDING:-N_PADDING].max()


@pytest.mark.parametrize("inverter", [SparseInverter, TikhonovInverter])
@pytest.mark.parametrize("beta", [100, 1e6])
def test_steep_depth_weighting_is_refused(inverter, beta, line):
    operator, _, g = line
    with pytest.raises(ValueError, match=rf"'depth_weighting' is {beta!r}, which makes .* 0 to 4"):
        inverter(depth_weighting=beta, operator=operator).fit(g[None])
