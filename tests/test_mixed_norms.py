"""Mixed norms: bodies that are found, the matrix of the norm, and what operators and samples do."""

import warnings

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning

from skgrav import (
    CellValues,
    ForwardOperator,
    JointOperator,
    MatrixOperator,
    Mesh,
    SparseInverter,
    Survey,
)
from skgrav.datasets import fetch_laguna_del_maule
from skgrav.metrics import relative_l2_error
from skgrav.solvers import FaceNorm, Scales

LEVEL = 0.01


def section(active=None):
    """Give an operator of a section with padding, a body in it, and noisy data."""
    widths = np.r_[40.0, 30.0, np.full(16, 20.0), 30.0, 40.0]
    x = np.r_[0.0, np.cumsum(widths)] - widths.sum() / 2
    mesh = Mesh([np.r_[np.linspace(0.0, 200.0, 11), 230.0, 280.0], x], active)
    stations = np.column_stack([np.full(25, -1.0), np.linspace(-160.0, 160.0, 25)])
    image = np.zeros(mesh.shape)
    image[4:7, 8:11] = 300.0
    rho = mesh.flatten(image)
    exact = ForwardOperator(mesh, Survey(stations, ("z",))).fit().transform(rho[None])[0]
    sigma = LEVEL * np.abs(exact).max()
    g = exact + sigma * np.random.default_rng(0).standard_normal((2, len(exact)))
    return ForwardOperator(mesh, Survey(stations, ("z",), sigma)).fit(), rho, g


@pytest.fixture(scope="module")
def line():
    return section()


@pytest.fixture(scope="module")
def volume():
    """Give the operator of a volume below a lattice of stations, a block, and noisy data."""
    mesh = Mesh.regular((7, 10, 10), 20.0)
    survey = Survey.grid(mesh, height=10.0)
    image = np.zeros(mesh.shape)
    image[2:4, 4:7, 3:6] = 300.0
    rho = image.ravel()
    g = ForwardOperator(mesh, survey).fit().transform(rho[None])
    sigma = LEVEL * g.max()
    g += sigma * np.random.default_rng(0).standard_normal(g.shape)
    return mesh, Survey(survey.stations, ("z",), sigma), rho, g


def dice(found, rho, contrast=300.0):
    """Give the overlap of the bodies beyond half the contrast."""
    body, true = found > contrast / 2, rho > contrast / 2
    return 2 * np.sum(body & true) / (np.sum(body) + np.sum(true))


# The norm


@pytest.mark.parametrize("isotropic", [True, False])
def test_matrix_is_that_of_differences_between_active_cells(isotropic):
    rng = np.random.default_rng(0)
    mesh = Mesh([np.r_[0.0, 1.0, 3.0, 4.0], np.r_[0.0, 2.0, 3.0, 5.0, 6.0]])
    active = rng.uniform(size=mesh.shape) > 0.2
    mesh = Mesh(mesh.edges, active)
    weights = rng.uniform(0.5, 1.0, mesh.n_cells)
    norm = FaceNorm.of(mesh, weights, (0.0, 1.0, 1.0), (2.0, 3.0, 5.0), isotropic)
    volumes = mesh.volumes / mesh.volumes.mean()
    number = mesh.unflatten(np.arange(mesh.n_cells), fill=-1.0).astype(int)
    expected = np.diag(2.0 * volumes * weights)
    for axis in (0, 1):
        low, high = (np.delete(number, k, axis).ravel() for k in (-1, 0))
        steps = np.broadcast_to(
            np.diff(mesh.centers[axis]).reshape((-1, 1) if axis == 0 else (1, -1)),
            np.delete(number, 0, axis).shape,
        ).ravel()
        for i, j, step in zip(low, high, steps, strict=True):
            if min(i, j) >= 0:
                share = (volumes[i] + volumes[j]) / 2 * (weights[i] + weights[j]) / 2
                row = np.zeros(mesh.n_cells)
                row[[i, j]] = -7.0 / step, 7.0 / step
                expected += (3.0, 5.0)[axis] * share * np.outer(row, row)
    stiffness = norm.quadratic(7.0)
    rho = rng.normal(size=mesh.n_cells)
    product = stiffness(mesh.unflatten(rho, fill=0.0))
    np.testing.assert_allclose(mesh.flatten(product), expected @ rho)
    np.testing.assert_allclose(mesh.flatten(stiffness.diagonal), np.diag(expected))
    assert (product[~active] == 0).all()


def test_powers_of_two_are_squares_whatever_the_densities():
    mesh = Mesh.regular((3, 4), 2.0)
    norm = FaceNorm.of(mesh, np.ones(12), (2.0, 2.0, 2.0), (1.0, 1.0, 1.0), True)
    rho = np.random.default_rng(0).normal(size=mesh.shape)
    found = norm.reweighted(rho, Scales(7.0, *[3.0] * 5, 0.1, 0.1))
    np.testing.assert_allclose(found(rho), norm.quadratic(7.0)(rho))


def test_sharp_body_costs_the_same_at_any_power():
    mesh = Mesh.regular((6, 6), 2.0)
    rho = np.zeros(mesh.shape)
    rho[2:4, 2:4] = 5.0
    costs = []
    for p in (0.0, 0.5, 1.0, 2.0):
        norm = FaceNorm.of(mesh, np.ones(36), (p, 0.0, 0.0), (1.0, 0.0, 0.0), False)
        matrix = norm.reweighted(rho, Scales(2.0, *[5.0] * 5, 1e-9, 1e-9))
        costs.append(np.sum(rho * matrix(rho)))
    np.testing.assert_allclose(costs, costs[0])


def test_isotropic_slope_of_a_plane_is_its_gradient():
    mesh = Mesh.regular((5, 6, 7), (1.0, 2.0, 3.0))
    z, y, x = mesh.cell_centers.T
    norm = FaceNorm.of(mesh, np.ones(mesh.n_cells), (0.0, 1.0, 1.0, 1.0), (1.0,) * 4, True)
    for slopes in norm.slopes(mesh.unflatten(2 * x - y + 0.5 * z)):
        np.testing.assert_allclose(slopes, np.sqrt(5.25))


# Bodies


@pytest.mark.parametrize(("isotropic", "overlap"), [(True, 0.7), (False, 0.4)])
def test_body_in_a_section_is_found(isotropic, overlap, line):
    operator, rho, g = line
    inverter = SparseInverter(contrast=300.0, isotropic=isotropic, operator=operator).fit(g)
    found = inverter.invert(g)
    np.testing.assert_allclose(found.chi_factor, 1.0, atol=0.1 if isotropic else 0.4)
    assert found.converged.all()
    for estimate in found.rho:
        assert dice(estimate, rho, estimate.max()) > overlap
        volumes = operator.mesh_.volumes
        assert volumes @ estimate == pytest.approx(volumes @ rho, rel=0.1)
    course = found.iterations[0]
    assert len(course.alpha) == len(course.change) == found.n_iter[0]
    assert course.chi_factor[-1] == pytest.approx(found.chi_factor[0], rel=0.01)


def test_block_in_a_volume_is_found_by_any_way_to_apply_the_operator(volume):
    mesh, survey, rho, g = volume

    def invert(method, max_iter):
        operator = ForwardOperator(mesh, survey, method=method)
        inverter = SparseInverter(contrast=300.0, max_iter=max_iter, operator=operator)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # few iterations do not reach the noise
            return inverter.fit(g).predict(g)[0]

    best = invert("fft", None)
    assert dice(best, rho) > 0.8
    assert relative_l2_error(rho[None], best[None]) < 0.5
    found = [invert(method, 2) for method in ("dense", "fft", "rows")]
    for other in found[1:]:
        assert np.linalg.norm(other - found[0]) < 0.02 * np.linalg.norm(found[0])


def test_default_expects_bodies_of_a_size_that_does_not_need_a_contrast(volume):
    mesh, survey, _, g = volume
    operator = ForwardOperator(mesh, survey)
    found = SparseInverter(operator=operator).fit(g).predict(g)
    assert 0.2 < found.max() / 300.0 < 2.0
    given = SparseInverter(norms=(0, 1, 1, 1), operator=operator).fit(g).predict(g)
    np.testing.assert_array_equal(found, given)


def test_contrast_sets_the_largest_density(volume):
    mesh, survey, _, g = volume
    operator = ForwardOperator(mesh, survey)
    for contrast in (200.0, (-200.0, 400.0)):
        found = SparseInverter(contrast=contrast, operator=operator).fit(g).predict(g)
        assert found.max() == pytest.approx(np.max(contrast), rel=0.4)


def test_axes_are_in_the_order_of_the_field(volume):
    """Bodies are long where slopes cost more."""
    mesh, survey, _, g = volume
    widths = []
    for weights in ((1, 3, 1, 1), (1, 1, 3, 1)):
        inverter = SparseInverter(
            norm_weights=weights, isotropic=False, operator=ForwardOperator(mesh, survey)
        )
        image = np.abs(mesh.unflatten(inverter.fit(g).predict(g)[0])).sum(axis=0)
        centers = np.meshgrid(mesh.centers[1], mesh.centers[2], indexing="ij")
        widths.append([np.sqrt(np.average(c**2, weights=image)
                               - np.average(c, weights=image) ** 2) for c in centers])  # fmt: skip
    along_y, along_x = np.transpose(widths)
    assert along_x[0] > along_x[1]
    assert along_y[1] > along_y[0]


def test_smooth_norm_is_smoother_than_the_default(volume):
    mesh, survey, rho, g = volume
    operator = ForwardOperator(mesh, survey)
    smooth = SparseInverter(norms=(2, 2, 2, 2), operator=operator).fit(g).predict(g)
    assert smooth.max() < 0.5 * rho.max()


def test_cells_that_are_not_active_are_no_unknowns():
    active = np.ones((12, 20), dtype=bool)
    active[:2, 10:] = False
    operator, rho, g = section(active)
    found = SparseInverter(contrast=300.0, operator=operator).fit(g).predict(g)
    assert found.shape == (2, np.count_nonzero(active))
    assert dice(found[0], rho) > 0.7


@pytest.mark.parametrize(
    ("norms", "weights"),
    [((2, 1, 1), (0.01, 1, 1)), ((1, 1, 1), (1, 0, 0))],
    ids=["variation", "L1"],
)
def test_convex_norms_reach_the_minimum_that_scipy_finds(norms, weights, line):
    """Total variation and the sum of absolute departures, by a quasi-Newton method."""
    operator, _, g = line
    alpha = 1e-3
    inverter = SparseInverter(
        alpha, norms=norms, norm_weights=weights, isotropic=False, max_iter=100, tol=1e-4,
        operator=operator,
    ).fit(g)  # fmt: skip
    found = inverter.invert(g[:1])
    scales, mesh = found.iterations[0].scales, operator.mesh_
    norm = inverter._mixed._on(mesh)
    matrix, sigma = operator.matrix_, operator.survey_.uncertainty[0]

    def cost(rho):
        image = rho.reshape(mesh.shape)
        residual = (matrix @ rho - g[0]) / sigma
        value, gradient = residual @ residual, 2 * matrix.T @ residual / sigma
        terms = [(norm.cells, image, 1.0, scales.least_density, norms[0])]
        for axis, (face, step) in enumerate(zip(norm.faces, norm.steps, strict=True)):
            terms.append((face, step * np.diff(image, axis=axis), scales.length, 0.0, 1))
        for axis, (weight, values, unit, _, p) in enumerate(terms, start=-1):
            least = scales.least_slope if axis >= 0 else scales.least_density
            if p == 2:
                cells, slope = weight * values**2, 2 * weight * values
            else:
                size = unit * (scales.size if axis >= 0 else scales.positive)
                root = np.sqrt(values**2 + least**2)
                cells, slope = 2 * size * weight * (root - least), 2 * size * weight * values / root
            value += alpha * cells.sum()
            if axis < 0:
                gradient = gradient + alpha * slope.ravel()
            else:
                flow = slope * norm.steps[axis]
                pads = [[(int(k == axis), 0), (0, int(k == axis))] for k in (0, 1)]
                before, after = (np.pad(flow, [pads[k][side] for k in (0, 1)]) for side in (0, 1))
                gradient = gradient + alpha * (before - after).ravel()
        return value, gradient

    start = np.zeros(mesh.n_cells)
    best = minimize(cost, start, jac=True, method="L-BFGS-B", options={"maxiter": 500})
    assert cost(found.rho[0])[0] < 1.02 * best.fun


def test_expected_contrast_is_told(line):
    operator, _, g = line
    found = SparseInverter(contrast=(-1, 300), operator=operator).fit(g).invert(g)
    np.testing.assert_array_equal(found.iterations[0].contrast, [1.0, 300.0])
    found = SparseInverter(operator=operator).fit(g).invert(g)
    low, high = found.iterations[1].contrast
    assert low == high == pytest.approx(found.rho[1].max(), rel=0.5)


@pytest.mark.parametrize("bounds", [None, (0.0, 300.0)])
def test_draws_have_the_covariance_of_the_last_quadratic(bounds, line):
    operator, _, g = line
    g = g[:1]
    inverter = SparseInverter(bounds=bounds, operator=operator).fit(g)
    noise = inverter._noise(None)
    sigma = noise.scale_or(g, 1.0)
    white = noise.whitening(g)
    solved = inverter._solve(white, sigma, "discrepancy")
    drawn = inverter._draws(white, sigma, solved, 300, np.random.default_rng(0))
    assert drawn.shape == (*solved.rho.shape, 300)
    fit = noise.whitening(operator.transform(drawn[0].T)) - white[0]
    assert 0.9 < np.mean((fit / sigma[0]) ** 2) < 1.2
    if bounds is not None:
        assert drawn.min() >= 0
        assert drawn.max() <= 300.0
        return
    mesh = operator.mesh_
    stiffness = inverter._mixed._on(mesh).reweighted(
        solved.rho[0].reshape(mesh.shape), solved.iterations[0].scales
    )
    basis = np.eye(mesh.n_cells)
    matrix = noise.whitening(operator.transform(basis)) / sigma[0]
    squares = np.array([stiffness(one.reshape(mesh.shape)).ravel() for one in basis])
    covariance = np.linalg.inv(matrix @ matrix.T + solved.damping[0] / sigma[0] ** 2 * squares)
    assert np.linalg.norm(drawn[0].mean(axis=1) - solved.rho[0]) < 0.05 * np.linalg.norm(
        solved.rho[0]
    )
    np.testing.assert_allclose(drawn[0].std(axis=1), np.sqrt(np.diag(covariance)), rtol=0.2)


# Bounds, references, samples


def test_bounds_hold_and_help(line):
    operator, rho, g = line
    free = SparseInverter(operator=operator).fit(g).predict(g)
    inverter = SparseInverter(bounds=(0.0, 300.0), operator=operator).fit(g)
    found = inverter.invert(g)
    assert found.rho.min() >= 0
    assert found.rho.max() <= 300
    np.testing.assert_allclose(found.chi_factor, 1.0, atol=0.11)
    assert np.mean(relative_l2_error([rho, rho], found.rho)) < 1.05 * np.mean(
        relative_l2_error([rho, rho], free)
    )


def test_bounds_that_contradict_are_told(line):
    operator, _, g = line
    inverter = SparseInverter(bounds=(0.0, 1.0), operator=operator).fit(g)
    with pytest.warns(UserWarning, match="cannot be fitted within 'bounds'"):
        found = inverter.invert(g)
    assert (found.status == 3).all()


def test_known_cells_keep_their_density(line, monkeypatch):
    """Equal bounds of a cell fix it, in the body and beside it."""
    operator, rho, g = line
    lower, upper = np.full(len(rho), -np.inf), np.full(len(rho), np.inf)
    known = operator.mesh_.unflatten(np.arange(len(rho)))[:, 9].astype(int)
    lower[known] = upper[known] = rho[known]
    inverter = SparseInverter(operator=operator).fit(g)
    monkeypatch.setattr(inverter, "_bounds", (lower, upper))
    found = inverter.invert(g)
    np.testing.assert_allclose(found.rho[:, known], [rho[known]] * 2)
    np.testing.assert_allclose(found.chi_factor, 1.0, atol=0.1)
    free = SparseInverter(operator=operator).fit(g).predict(g)
    assert np.mean(relative_l2_error([rho, rho], found.rho)) < np.mean(
        relative_l2_error([rho, rho], free)
    )


def test_log_beside_gravity_helps_and_is_fitted(volume):
    """Logged cells are far larger than others at the start, which must not set the sizes."""
    mesh, survey, rho, g = volume
    gravity, g = ForwardOperator(mesh, survey), g[:1]
    alone = SparseInverter(operator=gravity).fit(g).predict(g)
    hole = mesh.unflatten(np.arange(mesh.n_cells))[:6, 5, 4].astype(int)
    sigma = 20.0
    log = rho[hole] + sigma * np.random.default_rng(0).standard_normal(len(hole))
    joint = JointOperator([gravity, CellValues(mesh, hole, uncertainty=sigma)])
    data = np.hstack([g, log[None]])
    found = SparseInverter(operator=joint).fit(data).invert(data)
    assert relative_l2_error(rho[None], found.rho) < relative_l2_error(rho[None], alone)
    assert np.mean((found.rho[0, hole] - log) ** 2) < 2 * sigma**2
    assert 0.7 < found.chi_factor[0] < 1.1


def test_reference_moves_the_estimate(line):
    operator, _, g = line
    shift = operator.transform(np.full((1, operator.n_cells_), 50.0))
    common = {"norms": (0, 1, 1), "operator": operator}
    plain = SparseInverter(**common).fit(g).predict(g)
    moved = SparseInverter(reference=50.0, **common).fit(g).predict(g + shift)
    np.testing.assert_allclose(moved - 50.0, plain, atol=0.02 * plain.max())


def test_samples_do_not_know_of_each_other(line):
    operator, _, g = line
    inverter = SparseInverter(operator=operator).fit(g)
    together = inverter.predict(g)
    apart = np.vstack([inverter.predict(row[None]) for row in g])
    np.testing.assert_allclose(together, apart, rtol=1e-6, atol=1e-6)


def test_data_within_their_noise_give_the_reference(line):
    operator, _, g = line
    inverter = SparseInverter(reference=3.0, operator=operator).fit(g)
    exact = operator.transform(np.full((1, operator.n_cells_), 3.0))
    with pytest.warns(UserWarning, match="differ from 'reference' by less"):
        found = inverter.invert(exact + 1e-9)
    np.testing.assert_array_equal(found.rho, 3.0)
    assert np.isinf(found.alpha).all()


def test_noise_that_is_understated_is_warned_of_and_not_fitted(line):
    operator, rho, g = line
    few = Mesh([[0.0, 100.0, 200.0], np.linspace(-200.0, 200.0, 5)])
    operator = ForwardOperator(few, operator.survey_).fit()
    inverter = SparseInverter(operator=operator).fit(g)
    with pytest.warns(UserWarning, match="2 of 2 samples .*have more noise than stated"):
        found = inverter.invert(g)
    assert (found.status == 2).all()
    assert np.abs(found.rho).max() < 3 * rho.max()


def test_alpha_may_be_given_or_found_without_the_noise(line):
    operator, _, g = line
    chosen = SparseInverter(operator=operator).fit(g).invert(g)
    given = SparseInverter(chosen.alpha[0], operator=operator).fit(g).invert(g)
    assert given.chi_factor[0] == pytest.approx(1.0, abs=0.5)
    unknown = ForwardOperator(operator.mesh_, Survey(operator.survey_.stations, ("z",)))
    found = SparseInverter(operator=unknown).fit(g).invert(g)
    np.testing.assert_allclose(found.sigma, operator.survey_.uncertainty[0], rtol=0.4)


def test_zero_data_among_others_have_zero_density_without_the_noise(line):
    operator, _, g = line
    unknown = ForwardOperator(operator.mesh_, Survey(operator.survey_.stations, ("z",)))
    inverter = SparseInverter(operator=unknown).fit(g)
    found = inverter.invert(np.vstack([g[:1], 0 * g[:1]]))
    np.testing.assert_array_equal(found.rho[0], inverter.predict(g)[0])
    np.testing.assert_array_equal(found.rho[1], 0.0)
    assert not np.isnan(found.alpha).any()


def test_saved_inverter_predicts_the_same(line, tmp_path):
    operator, _, g = line
    inverter = SparseInverter(norms=(0, 1, 1), contrast=(-1, 300), operator=operator).fit(g)
    inverter.save(tmp_path / "inverter.skgrav")
    loaded = SparseInverter.load(tmp_path / "inverter.skgrav")
    np.testing.assert_array_equal(loaded.predict(g), inverter.predict(g))


# What is refused, and warned of


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"norms": (0, 1)}, r"'norms' is \(0, 1\); it must have 3 numbers, from 0 to 2"),
        ({"norms": (0, 1, 3)}, r"'norms' is \(0, 1, 3\); it must have 3 numbers, from 0 to 2"),
        ({"norms": 2}, "'norms' is 2; it must be 1, the exact sum"),
        ({"norm_weights": (1, 1, -1)}, "'norm_weights' is .*; it must have 3 numbers, not neg"),
        ({"norm_weights": (0, 0, 0)}, "'norm_weights' is .*; at least one weight must be pos"),
        ({"contrast": (5.0, -5.0)}, r"'contrast' is \(5.0, -5.0\); it must be a positive number"),
        ({"contrast": -5.0}, "'contrast' parameter"),
    ],
)
def test_odd_norms_are_refused(params, text, line):
    operator, _, g = line
    with pytest.raises(ValueError, match=text):
        SparseInverter(operator=operator, **params).fit(g)


def test_slopes_need_a_mesh():
    operator = MatrixOperator(np.eye(3))
    with pytest.raises(ValueError, match="a MatrixOperator of 3 data and 3 cells has no mesh to"):
        SparseInverter(1.0, norms=(0, 1, 1), operator=operator).fit(np.ones((1, 3)))


def test_least_sum_by_sensitivity_warns(line):
    operator, _, g = line
    inverter = SparseInverter(norms=1, depth_weighting="sensitivity", operator=operator)
    with pytest.warns(UserWarning, match="concentrates mass in single cells"):
        inverter.fit(g)


def test_cells_beside_stations_take_no_mass_in_a_measured_survey(shared_data):
    """Scattered stations stand within a metre of some cells, and far from others."""
    maule = fetch_laguna_del_maule(data_home=shared_data)
    survey = Survey(maule.survey.stations, "z", uncertainty=0.5)
    operator = ForwardOperator(Mesh.for_survey(survey), survey).fit()
    found = SparseInverter(operator=operator).fit([maule.data]).invert([maule.data])
    assert found.chi_factor == pytest.approx(1.0, abs=0.1)
    assert np.abs(found.rho).max() < 2500


@pytest.mark.parametrize("level", [-0.5, 1.0, 3.0])
@pytest.mark.parametrize("edges", [[0.0, 100.0], [0.0, 100.0, 250.0]])
def test_what_can_be_fitted_is_fitted_beside_a_level_that_cannot(level, edges):
    x = np.linspace(-2000, 2000, 41)
    survey = Survey(np.column_stack([np.zeros(41), x]), ("z",), 0.05)
    operator = ForwardOperator(Mesh([[0.0, 100.0], edges]), survey).fit()
    g = operator.transform(np.full((1, len(edges) - 1), 1000.0)) + level
    inverter = SparseInverter(operator=operator).fit(g)
    with pytest.warns(ConvergenceWarning, match="signal that no density on this mesh explains"):
        rho = inverter.predict(g)
    least = np.linalg.lstsq(operator.matrix_, g[0])[0]
    before, after, reachable = (
        np.sum((g[0] - operator.matrix_ @ r) ** 2) for r in (0 * least, rho[0], least)
    )
    assert after - reachable < 0.1 * (before - reachable)
