"""Bounds: those that the data contradict are found out at once, and odd ones are refused."""

import warnings

import numpy as np
import pytest
from scipy.optimize import lsq_linear
from sklearn.exceptions import ConvergenceWarning

from skgrav import ForwardOperator, Mesh, SparseInverter, Survey, TikhonovInverter
from skgrav.solvers import Projection
from skgrav.solvers._bounded import BoundedProjection
from skgrav.solvers._bounded_cg import BoundedLeastSquares
from skgrav.solvers._feasible import least_misfit, misfit_bound
from skgrav.solvers._sparse import SparseLeastSquares
from skgrav.solvers._splitting import BoundedLeastNorm
from skgrav.solvers._status import Status

SIGMA = 0.1
CONTRADICTED = [(-600.0, 0.0), (-np.inf, 0.0), (0.0, np.inf), (-100.0, 60.0)]
POSSIBLE = [(-600.0, 600.0), (-np.inf, np.inf), (-300.0, np.inf), (-np.inf, 150.0)]


def two_bells(n_stations, shape):
    """Give an operator of a line, and gravity of a dense and a light body."""
    x = np.linspace(0, 20e3, n_stations)
    mesh = Mesh([np.linspace(0, 5000, shape[0] + 1), np.linspace(-2e3, 22e3, shape[1] + 1)])
    survey = Survey(np.column_stack([np.full(n_stations, -1.0), x]), ("z",), uncertainty=SIGMA)
    bells = [np.exp(-(((x - c) / 2e3) ** 2)) for c in (6e3, 14e3)]
    return ForwardOperator(mesh, survey).fit(), (8 * bells[0] - 15 * bells[1])[None]


@pytest.fixture(scope="module")
def line():
    return two_bells(81, (25, 96))


@pytest.fixture(scope="module")
def coarse():
    """Give the same with few cells, which a peer can solve."""
    return two_bells(41, (8, 24))


@pytest.fixture(scope="module")
def small():
    rng = np.random.default_rng(0)
    return rng.normal(size=(12, 30)), 5 * rng.normal(size=(8, 12))


# Whether data can be fitted


@pytest.mark.parametrize(("bounds", "possible"), [(b, False) for b in CONTRADICTED] + [
    (b, True) for b in POSSIBLE
])  # fmt: skip
def test_least_misfit_decides(bounds, possible, line):
    operator, g = line
    A, d = operator.matrix_ / SIGMA, g / SIGMA
    rho, misfit, least = least_misfit(A, d, *bounds, enough=np.array([9.0]))
    assert ((rho >= bounds[0]) & (rho <= bounds[1])).all()
    np.testing.assert_allclose(misfit, np.linalg.norm(d - rho @ A.T, axis=1))
    assert (misfit <= 9.0).all() == possible
    assert (least > 9.0).all() != possible


@pytest.mark.parametrize("bounds", [(-1.0, 1.0), (0.0, 0.5), (0.0, np.inf)])
def test_bound_of_the_misfit_holds_and_is_sharp_at_the_minimiser(bounds, small):
    A, data = small
    rng = np.random.default_rng(1)
    for d in data:
        best = lsq_linear(A, d, bounds=bounds, method="bvls", tol=1e-14)
        least = np.sqrt(2 * best.cost)
        for rho in (best.x, np.clip(rng.normal(size=30), *bounds), np.clip(np.ones(30), *bounds)):
            residual = d - A @ rho
            slope = residual[None] @ A
            bound = misfit_bound(slope, d[None], residual[None], rho[None], *bounds)
            assert bound <= least * (1 + 1e-9) + 1e-9
        residual = (d - A @ best.x)[None]
        sharp = misfit_bound(residual @ A, d[None], residual, best.x[None], *bounds)
        assert sharp == pytest.approx(least, rel=1e-5, abs=1e-5)


def test_cells_that_no_datum_sees_do_no_harm(small):
    A, d = small
    A = np.column_stack([A, np.zeros(12)])
    rho, misfit, _ = least_misfit(A, d, 1.0, np.inf, enough=np.full(8, 1e9))
    assert (rho >= 1.0).all()
    assert np.isfinite(misfit).all()


# Every method that takes bounds


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("bounds", CONTRADICTED)
def test_tikhonov_says_that_bounds_contradict(order, bounds, coarse):
    operator, g = coarse
    inverter = TikhonovInverter(
        order=order, depth_weighting="sensitivity", bounds=bounds, operator=operator
    )
    with pytest.warns(ConvergenceWarning, match="bounds"):
        found = inverter.fit(g).invert(g)
    assert_next_to_least(operator, found.rho, g, bounds, share=0.01)


@pytest.mark.parametrize("bounds", CONTRADICTED)
def test_sparse_says_that_bounds_contradict(bounds, coarse):
    operator, g = coarse
    inverter = SparseInverter(
        norms=1, depth_weighting="sensitivity", bounds=bounds, operator=operator, max_iter=10
    )
    with pytest.warns(ConvergenceWarning, match="bounds"):
        found = inverter.fit(g).invert(g)
    assert found.n_iter == 1
    assert_next_to_least(operator, found.rho, g, bounds, share=0.01)


@pytest.mark.parametrize("bounds", CONTRADICTED)
def test_projection_says_that_bounds_contradict(bounds, coarse):
    operator, g = coarse
    found = Projection(bounds=bounds).solve(operator, g, sigma=np.full((1, 41), SIGMA))
    assert not found.converged
    assert_next_to_least(operator, found.rho, g, bounds, share=0.01)


@pytest.mark.parametrize("bounds", POSSIBLE)
def test_bounds_that_can_be_met_are(bounds, line):
    operator, g = line
    common = {"depth_weighting": "sensitivity", "bounds": bounds, "operator": operator}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # The least sum concentrates density in single cells where bounds allow it.
        warnings.filterwarnings("ignore", ".* have densities that no rock has")
        for inverter in (TikhonovInverter(**common), SparseInverter(norms=1, **common)):
            found = inverter.fit(g).invert(g)
            assert found.misfit**2 / 81 == pytest.approx(1, rel=0.01)


def assert_next_to_least(operator, rho, g, bounds, share):
    best = lsq_linear(operator.matrix_, g[0], bounds=bounds, tol=1e-10)
    misfit = np.linalg.norm(g - operator.transform(rho))
    assert misfit <= (1 + share) * np.sqrt(2 * best.cost)
    assert rho.min() >= bounds[0]
    assert rho.max() <= bounds[1]


@pytest.mark.parametrize("max_iter", [1, 2000])
def test_status_tells_bounds_from_iterations(max_iter, small):
    A, d = small
    U, s, Vt = np.linalg.svd(A, full_matrices=False)
    cells = np.ones(30)
    ones = {"lower": -0.5 * cells, "upper": 0.5 * cells}
    radius = np.full(8, 0.1)
    expected = np.full(8, Status.BOUNDS)
    split = BoundedLeastNorm(
        A, cells, lambda q: q, lambda u: u, ones["lower"], ones["upper"], max_iter=max_iter
    )
    np.testing.assert_array_equal(split.solve(d, 0 * d @ A, radius=radius)[3], expected)
    start = {"start": 0 * d @ A, "alpha": cells[:8], "radius": radius}
    maps = [lambda u: u @ A.T, lambda d: d @ A, lambda u: u, lambda u: u]
    damped = BoundedLeastSquares(*maps, **ones, max_iter=max_iter)
    if max_iter > 1:
        np.testing.assert_array_equal(damped.solve(d, **start)[3], expected)
    sparse = SparseLeastSquares(Vt, s, **ones, max_iter=max_iter)
    np.testing.assert_array_equal(sparse.solve(d @ U, cells[:8], radius=radius)[3], expected)
    nearest = BoundedProjection(
        Vt=Vt, s=s, lower=-0.5, upper=0.5, rho0=np.zeros((8, 30)), d=d @ U, radius=radius,
        tolerance=1e-6 * radius,
    )  # fmt: skip
    np.testing.assert_array_equal(nearest.solve(d @ U / s)[1], expected)
    # Bounds that can be met, but not in one step.
    wide = BoundedLeastNorm(
        A, cells, lambda q: q, lambda u: u, -4 * cells, 4 * cells, max_iter=max_iter
    )
    by_products = BoundedLeastSquares(*maps, -4 * cells, 4 * cells, max_iter=max_iter)
    for status in (wide.solve(d, 0 * d @ A, radius=radius)[3], by_products.solve(d, **start)[3]):
        assert (status == (Status.REACHED if max_iter > 1 else Status.MAX_ITER)).all()


# Damped least squares within bounds, by products


@pytest.mark.parametrize("fixed", [False, True])
def test_damped_least_squares_are_those_of_a_peer(fixed, small):
    A, d = small
    rng = np.random.default_rng(2)
    root = np.eye(30) + np.triu(rng.normal(size=(30, 30)), 1) / 5
    lower, upper = np.full(30, -0.3), np.full(30, 0.4)
    if fixed:
        lower[:5], upper[:5], upper[5:9], lower[9:12] = 0.2, 0.2, np.inf, -np.inf
    K = root.T @ root
    problem = BoundedLeastSquares(
        lambda u: u @ A.T, lambda d: d @ A, lambda u: u @ K, lambda u: np.linalg.solve(K, u.T).T,
        lower, upper, tol=1e-8,
    )  # fmt: skip
    alpha = np.geomspace(0.01, 10, 8)
    u, found, n_iter, status = problem.solve(d, 0 * d @ A, alpha=alpha)
    free = lower < upper
    for data, a, row in zip(d, alpha, u, strict=True):
        stacked = np.vstack([A, np.sqrt(a) * root])
        rest = np.r_[data, np.zeros(30)] - stacked @ np.where(free, 0.0, lower)
        within = lower[free], upper[free]
        peer = lsq_linear(stacked[:, free], rest, bounds=within, method="bvls", tol=1e-15)
        np.testing.assert_allclose(row[free], peer.x, atol=1e-6)
    np.testing.assert_array_equal(found, alpha)
    assert (status == Status.REACHED).all()
    assert (n_iter > 0).all()
    # The misfit of each as the radius gives its alpha again, from any other one.
    radius = np.linalg.norm(d - u @ A.T, axis=1)
    again, found, _, _ = problem.solve(d, 0 * u, alpha=100 * alpha, radius=radius)
    np.testing.assert_allclose(again, u, atol=1e-4)
    np.testing.assert_allclose(found, alpha, rtol=0.02)


def test_least_norm_within_bounds_fits_data_of_much_noise(small):
    A, d = small
    K = np.diag(np.arange(1.0, 31.0)) + 0.5
    lower = np.where(np.arange(30) < 3, 1.0, -np.inf)
    problem = BoundedLeastSquares(
        lambda u: u @ A.T, lambda d: d @ A, lambda u: u @ K, lambda u: np.linalg.solve(K, u.T).T,
        lower, np.full(30, np.inf), tol=1e-8,
    )  # fmt: skip
    u, alpha, _, _ = problem.solve(d, 0 * d @ A, alpha=np.ones(8), radius=np.full(8, 1e3))
    expected = np.r_[np.ones(3), -np.linalg.solve(K[3:, 3:], K[3:, :3] @ np.ones(3))]
    np.testing.assert_allclose(u, np.tile(expected, (8, 1)), atol=1e-6)
    assert np.isinf(alpha).all()


@pytest.mark.parametrize("order", [0, 1])
def test_bounds_hold_in_a_volume_by_ffts(order):
    mesh = Mesh.regular((8, 12, 12), 50.0)
    truth = np.zeros(mesh.shape)
    truth[3:5, 4:8, 5:9] = 300.0
    survey = Survey.grid(mesh, height=1.0)
    g = ForwardOperator(mesh, survey, method="fft").fit().transform(truth.reshape(1, -1))
    sigma = 0.02 * np.abs(g).max()
    g = g + sigma * np.random.default_rng(0).normal(size=g.shape)
    survey = Survey(survey.stations, survey.components, uncertainty=sigma)
    operator = ForwardOperator(mesh, survey, method="fft").fit()
    upper = np.full(mesh.shape, 300.0)
    upper[:2] = 0.0  # the top is known
    bounds = (np.zeros(mesh.n_cells), upper.ravel())
    found = TikhonovInverter(order=order, bounds=bounds, operator=operator).fit(g).invert(g)
    assert found.chi_factor == pytest.approx(1.0, abs=0.01)
    assert (found.rho >= 0).all()
    assert (found.rho <= upper.ravel()).all()
    free = TikhonovInverter(order=order, operator=operator).fit(g).predict(g)
    errors = [np.linalg.norm(rho - truth.ravel()) for rho in (found.rho[0], free[0])]
    assert errors[0] < 0.95 * errors[1]
    narrow = TikhonovInverter(order=order, bounds=(-1.0, 3.0), operator=operator).fit(g)
    with pytest.warns(ConvergenceWarning, match="cannot be fitted within 'bounds'"):
        assert narrow.invert(g).status == Status.BOUNDS


# What bounds may be


@pytest.mark.parametrize("bounds", [np.array([0, 500]), [0, 500], (0, np.float32(500))])
def test_two_numbers_are_bounds_however_they_come(bounds, line):
    operator, g = line
    inverter = TikhonovInverter(1.0, bounds=bounds, operator=operator).fit(g)
    assert inverter.predict(g).min() >= 0
    assert Projection(bounds=bounds).solve(operator, g).rho.min() >= 0


@pytest.mark.parametrize("bounds", [(-600.0, 600.0), (0.0, np.inf)])
@pytest.mark.parametrize("inverter", [TikhonovInverter, SparseInverter, Projection])
def test_equal_bounds_of_all_cells_are_those_of_each(inverter, bounds, coarse):
    operator, g = coarse
    each = tuple(np.full(operator.n_cells_, b) for b in bounds)
    found = [_invert(inverter, operator, g + 20.0, b) for b in (bounds, each, np.array(each))]
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])


@pytest.mark.parametrize("inverter", [TikhonovInverter, SparseInverter, Projection])
def test_bounds_of_each_cell_hold_and_fix(inverter, coarse):
    operator, g = coarse
    lower, upper = np.full((2, operator.n_cells_), 600.0)
    lower -= 1200.0
    lower[:24], upper[:24] = 0.0, 0.0  # the top layer is known
    lower[24:36], upper[60:90] = -np.inf, 20.0
    found = _invert(inverter, operator, g, (lower, upper))
    assert (found >= lower).all()
    assert (found <= upper).all()
    assert not found[:24].any()
    assert found[24:].any()
    residual = (g - operator.transform(found[None])) / SIGMA
    assert np.mean(residual**2) < 1.5
    if inverter is Projection:
        # SciPy solves the same for the least misfit; the nearest of those that fit is ours.
        free = lower < upper
        least = lsq_linear(operator.matrix_[:, free], g[0], (lower[free], upper[free]))
        assert np.linalg.norm(found[free]) < np.linalg.norm(least.x)


def _invert(inverter, operator, g, bounds):
    if inverter is Projection:
        return Projection(bounds=bounds).solve(operator, g).rho[0]
    return inverter(bounds=bounds, operator=operator).fit(g).predict(g)[0]


@pytest.mark.parametrize("estimator", [TikhonovInverter, SparseInverter])
@pytest.mark.parametrize(
    ("bounds", "text"),
    [
        ((500, 0), r"'bounds' is \(500, 0\); it must be two numbers, the lower below the upper"),
        (np.array([5.0, 5.0]), r"'bounds' is array\(\[5., 5.\]\); .*the lower below the upper"),
        (np.zeros(2400), r"'bounds' is ndarray of 2400; it must be two numbers"),
        ((0.0, np.ones(7)), r"arrays of shapes \(\) and \(7,\); .* for each of 2400 cells"),
        (np.zeros((2, 2400)), "'bounds' are equal in all cells, which fixes every density"),
        (
            (np.ones(2400), 0.0),
            r"'bounds' of 2400 of 2400 cells are wrong, first of cell 0: 1 to 0",
        ),
        ((np.full(2400, np.nan), 1.0), r"of 2400 of 2400 cells are wrong, first of cell 0: nan"),
        ((np.inf, np.full(2400, np.inf)), r"of 2400 of 2400 cells are wrong, first of cell 0: inf"),
        ("ab", "The 'bounds' parameter"),
    ],
    ids=str,
)
def test_odd_bounds_are_refused(estimator, bounds, text, line):
    operator, g = line
    with pytest.raises(ValueError, match=text) as raised:
        estimator(1.0, bounds=bounds, operator=operator).fit(g)
    assert len(str(raised.value)) < 250
