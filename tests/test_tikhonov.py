"""Tikhonov's estimates: against dense algebra, each rule for alpha, bounds, manners."""

import warnings

import numpy as np
import pytest
from conftest import norms
from scipy.optimize import lsq_linear
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV

from skgrav import (
    ForwardOperator,
    MatrixOperator,
    Mesh,
    Pipeline,
    Refiner,
    Survey,
    TikhonovInverter,
)
from skgrav.datasets import make_gravity_dataset
from skgrav.metrics import chi_factor, relative_l2_error, relative_l2_scorer
from skgrav.operators import PhysicsWarning

LEVEL = 0.01
RULES = ["discrepancy", "gcv", "lcurve"]


def irregular(shape, seed=0):
    rng = np.random.default_rng(seed)
    return Mesh([np.cumsum(rng.uniform(0.5, 2.0, n + 1)) for n in shape])


MESHES = [irregular((6, 7)), irregular((4, 3, 5)), Mesh.regular((1, 9), 0.5)]


def explicit_rows(mesh, order, weight=None):
    """Give the matrix whose square norm is that of the docs, built entry by entry."""
    weight = np.ones(mesh.n_cells) if weight is None else weight
    share = (mesh.volumes / mesh.volumes.mean() * weight**2).reshape(mesh.shape)
    if order == 0:
        return np.diag(np.sqrt(share.ravel()))
    length = max(np.ptp(mesh.edges[0]) / 4, 3 * max(np.median(h) for h in mesh.widths))
    rows = [np.sqrt(np.diag(share.ravel())) / length]
    for axis, (x, h) in enumerate(zip(mesh.centers, mesh.widths, strict=True)):
        for cell in np.ndindex(mesh.shape):
            k = cell[axis]
            if k + 1 == mesh.shape[axis]:
                continue
            after = cell[:axis] + (k + 1,) + cell[axis + 1 :]
            near = [np.ravel_multi_index(c, mesh.shape) for c in (cell, after)]
            row, step = np.zeros(mesh.n_cells), x[k + 1] - x[k]
            row[near] = np.array([-1, 1]) / step
            volume = (share[cell] / h[k] + share[after] / h[k + 1]) / 2 * step
            rows.append((np.sqrt(volume) * row)[None])
    rows = np.vstack(rows)
    return rows if order == 1 else rows.T @ rows / np.sqrt(share.reshape(-1, 1))


def problem(mesh, n_samples=4, seed=0):
    """Give an operator with an uncertainty for each datum, its sigma and noisy data."""
    rng = np.random.default_rng(seed)
    bare = ForwardOperator(mesh, units="normalized").fit()
    rho = np.clip(rng.uniform(-2, 5, size=(n_samples, mesh.n_cells)), 0, 3)
    clean = bare.transform(rho)
    sigma = np.sqrt(np.mean(clean**2)) * rng.uniform(0.01, 0.03, clean.shape[1])
    survey = Survey(bare.survey_.stations, bare.survey_.components, sigma)
    operator = ForwardOperator(mesh, survey, units="normalized").fit()
    return operator, sigma, clean + sigma * rng.normal(size=clean.shape)


@pytest.fixture(scope="module")
def sections():
    return make_gravity_dataset(
        n_samples=30, mesh=Mesh.square(14), noise_level=LEVEL, random_state=0
    )


@pytest.fixture(scope="module")
def pairs(sections):
    """Give data of which a few are harmless to any rule."""
    return sections.operator, sections.data, sections.target


# Closed form


@pytest.mark.parametrize("mesh", MESHES, ids=str)
@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("beta", [None, 1.5])
@pytest.mark.parametrize("reference", [None, 2.0])
def test_estimate_solves_the_normal_equations(mesh, order, beta, reference):
    operator, sigma, g = problem(mesh)
    alpha = 0.3
    inverter = TikhonovInverter(
        alpha, order=order, depth_weighting=beta, reference=reference, operator=operator
    ).fit(g)
    depth = np.repeat(mesh.centers[0], mesh.n_cells // mesh.shape[0])
    weight = (depth - operator.survey_.stations[:, 0].mean()) ** (-(beta or 0) / 2)
    weight /= np.sqrt(np.average(weight**2, weights=mesh.volumes))
    A, W = operator.matrix_ / sigma[:, None], explicit_rows(mesh, order, weight)
    rho0 = np.full(mesh.n_cells, reference or 0.0)
    # QR of the stacked system is better conditioned than its normal equations.
    stacked = np.vstack([A, np.sqrt(alpha) * W])
    data = np.hstack([(g / sigma - A @ rho0), np.zeros((len(g), len(W)))])
    expected = rho0 + np.linalg.lstsq(stacked, data.T, rcond=1e-13)[0].T
    found = inverter.invert(g)
    np.testing.assert_allclose(found.rho, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.misfit, norms(g / sigma - found.rho @ A.T), rtol=1e-9)
    np.testing.assert_allclose(found.model_norm, norms((found.rho - rho0) @ W.T), rtol=1e-7)
    normal = A.T @ A + alpha * W.T @ W
    residual = (found.rho - rho0) @ normal - (g / sigma - A @ rho0) @ A
    assert norms(residual).max() < 1e-9 * norms(g / sigma @ A).max()


def test_curve_is_that_of_the_estimates(pairs):
    operator, g, _ = pairs
    for order in (0, 1, 2):
        inverter = TikhonovInverter(1.0, order=order, noise_level=LEVEL, operator=operator).fit(g)
        curve = inverter.alpha_curve(g, alphas=[0.01, 1.0, 30.0])
        for k, alpha in enumerate([0.01, 1.0, 30.0]):
            found = clone(inverter).set_params(alpha=alpha).fit(g).invert(g)
            np.testing.assert_allclose(curve.alpha[k], alpha)
            np.testing.assert_allclose(curve.misfit[k], found.misfit, rtol=1e-6)
            np.testing.assert_allclose(curve.model_norm[k], found.model_norm, rtol=1e-6)
            np.testing.assert_allclose(curve.chi_factor[k], found.misfit**2 / g.shape[1], rtol=1e-6)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_small_alpha_fits_exact_data_exactly(order):
    rng = np.random.default_rng(0)
    mesh = Mesh.square(6)
    operator = ForwardOperator(mesh, Survey.line(mesh, n_stations=5), units="normalized").fit()
    g = operator.transform(rng.uniform(0, 3, size=(3, 36)))
    rho = TikhonovInverter(1e-12, order=order, operator=operator).fit(g).predict(g)
    assert norms(operator.transform(rho) - g).max() < 1e-6 * norms(g).min()
    if order == 0:
        np.testing.assert_allclose(rho, g @ np.linalg.pinv(operator.matrix_).T, atol=1e-4)


@pytest.mark.parametrize("order", [1, 2])
def test_constants_cost_their_smallness_alone(order):
    mesh = irregular((6, 7))
    operator = ForwardOperator(mesh, units="normalized").fit()
    rho = np.full((1, 42), 3.0)
    inverter = TikhonovInverter(1e-2, order=order, operator=operator)
    found = inverter.fit(operator.transform(rho)).invert(operator.transform(rho))
    np.testing.assert_allclose(found.rho, rho, rtol=1e-2)
    length = max(np.ptp(mesh.edges[0]) / 4, 3 * max(np.median(h) for h in mesh.widths))
    assert found.model_norm == pytest.approx(3 * np.sqrt(42) / length**order, rel=1e-2)
    # A length that grows with the mesh, so that the same mesh in other metres weighs the same.
    large = inverter.set_params(alpha=1e9).fit(operator.transform(rho))
    assert np.abs(large.predict(operator.transform(rho))).max() < 1e-2


def test_alpha_has_the_unit_that_the_docs_say(pairs):
    operator, g, _ = pairs
    # With relative noise, data and densities scale together at the same alpha only if it does.
    inverter = TikhonovInverter(0.5, order=1, noise_level=LEVEL, operator=operator).fit(g)
    scaled = TikhonovInverter(0.5 / 100.0, order=1, noise_level=LEVEL, operator=operator).fit(g)
    np.testing.assert_allclose(scaled.predict(10 * g), 10 * inverter.predict(g), rtol=1e-6)
    unknown = TikhonovInverter(0.5 * 0.2**2, order=1, operator=operator).fit(g)
    sigma = np.full(g.shape[1], 0.2)
    survey = Survey(operator.survey_.stations, operator.survey_.components, sigma)
    known = clone(operator).set_params(mesh=operator.mesh_, survey=survey)
    absolute = TikhonovInverter(0.5, order=1, operator=known).fit(g)
    np.testing.assert_allclose(absolute.predict(g), unknown.predict(g), rtol=1e-6)
    # Ten times longer metres make first derivatives ten times smaller.
    mesh = Mesh([10 * e for e in operator.mesh_.edges])
    stations = 10 * operator.survey_.stations
    stretched = ForwardOperator(mesh, Survey(stations), units="normalized").fit()
    far = TikhonovInverter(0.5 * 100, order=1, noise_level=LEVEL, operator=stretched)
    np.testing.assert_allclose(far.fit(g).predict(10 * g), inverter.predict(g), rtol=1e-5)


# Alpha


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("depth_weighting", [None, 1.0, "sensitivity"])
def test_discrepancy_leaves_the_noise(order, depth_weighting, pairs):
    operator, g, _ = pairs
    inverter = TikhonovInverter(
        order=order, depth_weighting=depth_weighting, noise_level=LEVEL, operator=operator
    ).fit(g)
    found = inverter.invert(g)
    chi = chi_factor(operator, found.rho, g, noise_level=LEVEL, multioutput="raw_values")
    assert np.mean(np.abs(chi - 1) < 1e-6) > 0.6
    # What no density reaches may hold more than its share; the rest is not fitted to it.
    assert chi.max() < 1.1
    assert chi.mean() == pytest.approx(1, abs=0.02)


def test_discrepancy_takes_the_uncertainty_of_the_survey():
    operator, sigma, g = problem(Mesh.square(8), n_samples=20)
    found = TikhonovInverter(operator=operator).fit(g).invert(g)
    chi = chi_factor(operator, found.rho, g, multioutput="raw_values")
    np.testing.assert_allclose(found.misfit**2, chi * len(sigma))
    assert chi.mean() == pytest.approx(1, abs=0.03)


def test_reference_that_fits_is_left_alone(pairs):
    operator, g, truth = pairs
    inverter = TikhonovInverter(
        reference=truth[0], noise_level=1.05 * LEVEL, operator=operator
    ).fit(g[:1])
    found = inverter.invert(g[:1])
    np.testing.assert_allclose(found.rho, truth[:1], atol=1e-12)
    assert found.alpha == np.inf
    assert found.model_norm == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_gcv_is_least_by_brute_force(order, pairs):
    operator, g, _ = pairs
    g, A = g[:8], operator.matrix_
    W = explicit_rows(operator.mesh_, order)
    found = TikhonovInverter("gcv", order=order, operator=operator).fit(g).invert(g).alpha
    curve = TikhonovInverter("gcv", order=order, operator=operator).fit(g).alpha_curve(g)

    def gcv(alpha):
        stacked = np.vstack([A, np.sqrt(alpha) * W])
        influence = A @ np.linalg.pinv(stacked, rcond=1e-13)[:, : len(A)]
        left = np.eye(len(A)) - influence
        robust = 0.1 + 0.9 * np.trace(influence @ influence) / len(A)
        return robust * len(A) * np.sum((g @ left.T) ** 2, axis=1) / np.trace(left) ** 2

    top = curve.alpha[-1, 0] / 100
    grid = top * np.logspace(-9, 2, 45)
    values = np.array([gcv(a) for a in grid])
    kept = found > 1e-9 * top
    assert kept.sum() >= 5
    for i in np.flatnonzero(kept):
        own = gcv(found[i])[i]
        assert own <= values[:, i].min() * (1 + 1e-6)
        assert own == pytest.approx(values[:, i].min(), rel=0.02)
        shown = np.exp(
            np.interp(np.log(found[i]), np.log(curve.alpha[:, i]), np.log(curve.gcv[:, i]))
        )
        assert own == pytest.approx(shown, rel=1e-2)


def test_corner_is_where_the_curve_bends_most(pairs):
    operator, g, _ = pairs
    g = g[:6]
    inverter = TikhonovInverter("lcurve", noise_level=LEVEL, operator=operator).fit(g)
    A, sigma = operator.matrix_, LEVEL * np.sqrt(np.mean(g**2, axis=1))
    U, s, _ = np.linalg.svd(A, full_matrices=False)
    for i, alpha in enumerate(inverter.invert(g).alpha):
        grid = s[0] ** 2 * np.logspace(-9, 1, 4001)
        c = U.T @ g[i]
        lost2 = g[i] @ g[i] - c @ c
        misfit = np.sqrt(np.sum((c / (1 + s**2 / grid[:, None])) ** 2, axis=1) + lost2)
        size = norms(c * s / (s**2 + grid[:, None]))
        x, y, t = np.log(misfit), np.log(size), np.log(grid)
        x1, y1 = np.gradient(x, t), np.gradient(y, t)
        x2, y2 = np.gradient(x1, t), np.gradient(y1, t)
        curvature = (x1 * y2 - x2 * y1) / (x1**2 + y1**2) ** 1.5
        best = grid[np.argmax(curvature)]
        assert np.log(alpha * sigma[i] ** 2 / best) == pytest.approx(0, abs=0.02)


def test_curve_without_a_corner_is_damped_most(pairs):
    operator, _, _ = pairs
    # All that these data hold is a density that second derivatives do not see, and noise.
    rng = np.random.default_rng(0)
    clean = operator.transform(np.full((20, 196), 5.0))
    g = clean + LEVEL * np.sqrt(np.mean(clean**2)) * rng.normal(size=clean.shape)
    inverter = TikhonovInverter("lcurve", order=2, operator=operator).fit(g)
    error = norms(inverter.predict(g) - 5.0) / norms(np.full(196, 5.0))
    assert error.max() < 3.0
    assert np.median(error) < 0.1


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_beats_the_mean_model(rule, pairs):
    operator, g, truth = pairs
    inverter = TikhonovInverter(rule, order=1, noise_level=LEVEL, operator=operator).fit(g)
    own, mean = norms(inverter.predict(g) - truth), norms(truth.mean(axis=0) - truth)
    # The median, since cross-validation takes far too small an alpha now and then.
    assert np.median(own / mean) < 0.7


@pytest.mark.parametrize("bounds", [None, (0.0, 12.0)])
@pytest.mark.parametrize("rule", RULES)
def test_samples_do_not_know_one_another(rule, bounds, pairs):
    operator, g, _ = pairs
    inverter = TikhonovInverter(
        rule, order=1, bounds=bounds, noise_level=LEVEL, operator=operator
    ).fit(g)
    together = inverter.invert(g)
    for part in (slice(3, 4), slice(None, None, -1), slice(5, 9)):
        alone = inverter.invert(g[part])
        np.testing.assert_allclose(alone.rho, together.rho[part], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(alone.alpha, together.alpha[part], rtol=1e-6)


# Depth weighting


@pytest.mark.parametrize("depth_weighting", [1.0, 2.0, "sensitivity"])
def test_depth_weighting_moves_mass_down(depth_weighting):
    mesh = Mesh.square(12)
    operator = ForwardOperator(mesh, units="normalized").fit()
    rho = np.zeros((12, 12))
    rho[6:8, 5:7] = 5.0
    g = operator.transform(rho.reshape(1, -1))

    def mean_depth(weighting):
        inverter = TikhonovInverter(
            depth_weighting=weighting, noise_level=LEVEL, operator=operator
        ).fit(g)
        layers = np.sum(inverter.predict(g).reshape(12, 12) ** 2, axis=1)
        return np.average(mesh.centers[0], weights=layers)

    assert mean_depth(depth_weighting) > mean_depth(None) + mesh.widths[0][0] / 4


def test_depth_weighting_of_zero_changes_nothing(pairs):
    operator, g, _ = pairs
    found = [
        TikhonovInverter(depth_weighting=w, noise_level=LEVEL, operator=operator).fit(g).predict(g)
        for w in (None, 0.0)
    ]
    np.testing.assert_allclose(*found)


# Bounds


@pytest.mark.parametrize("mesh", MESHES[:2], ids=str)
@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("rule", [0.3, "discrepancy"])
@pytest.mark.parametrize("reference", [None, 1.0])
def test_bounded_estimate_is_that_of_a_peer(mesh, order, rule, reference):
    operator, sigma, g = problem(mesh, seed=4)
    # Second derivatives smooth so much that only these leave cells at a bound.
    bounds = (0.0, 3.0) if order < 2 else (0.0, 2.5)
    inverter = TikhonovInverter(
        rule,
        order=order,
        depth_weighting=1.0,
        reference=reference,
        bounds=bounds,
        operator=operator,
        max_iter=20_000,
        tol=1e-7,
    ).fit(g)
    free = clone(inverter).set_params(bounds=None).fit(g).predict(g)
    found = inverter.invert(g)
    assert ((free < bounds[0]) | (free > bounds[1])).any()
    assert found.converged.all()
    A = operator.matrix_ / sigma[:, None]
    depth = np.repeat(mesh.centers[0], mesh.n_cells // mesh.shape[0])
    weight = (depth - operator.survey_.stations[:, 0].mean()) ** -0.5
    weight /= np.sqrt(np.average(weight**2, weights=mesh.volumes))
    W, rho0 = explicit_rows(mesh, order, weight), np.full(mesh.n_cells, reference or 0.0)
    for rho, alpha, data in zip(found.rho, found.alpha, g / sigma, strict=True):
        if not np.isfinite(alpha):
            continue
        stacked = np.vstack([A, np.sqrt(alpha) * W])
        target = np.concatenate([data, np.sqrt(alpha) * W @ rho0])
        peer = lsq_linear(stacked, target, bounds=bounds, method="bvls", tol=1e-14, max_iter=1000)
        np.testing.assert_allclose(rho, peer.x, atol=2e-4)
    if rule == "discrepancy":
        assert np.isfinite(found.alpha).any()
        chi = found.misfit**2 / len(sigma)
        assert (np.abs(chi - 1) < 1e-3).all()


@pytest.mark.parametrize("order", [0, 1])
def test_sections_are_fitted_to_their_noise_within_bounds(order, pairs):
    operator, g, _ = pairs
    free = TikhonovInverter(order=order, noise_level=LEVEL, operator=operator).fit(g).invert(g)
    inverter = TikhonovInverter(
        order=order, bounds=(0.0, 12.0), noise_level=LEVEL, operator=operator
    ).fit(g)
    found = inverter.invert(g)
    assert (free.rho < -1e-3).any()
    assert found.rho.min() >= 0
    assert found.rho.max() <= 12
    assert found.converged.all()
    np.testing.assert_allclose(found.misfit, free.misfit, rtol=2e-3)
    clipped = norms(g - operator.transform(np.clip(free.rho, 0, 12)))
    own = norms(g - operator.transform(found.rho))
    assert np.max(clipped / own) > 1.05
    assert (found.model_norm >= free.model_norm * (1 - 1e-3)).all()


def test_bounds_that_contradict_the_data_are_told(pairs):
    operator, g, _ = pairs
    inverter = TikhonovInverter(
        bounds=(0.0, 0.1), noise_level=LEVEL, operator=operator, max_iter=50
    )
    inverter.fit(g)
    with pytest.warns(ConvergenceWarning, match=r"30 of 30 samples .* within 'bounds'\. Widen"):
        assert inverter.invert(g).n_iter.max() == 50
    inverter.set_params(max_iter=2000)
    with pytest.warns(ConvergenceWarning):
        found = inverter.fit(g[:4]).invert(g[:4])
    assert ((found.rho >= 0) & (found.rho <= 0.1)).all()
    for rho, data in zip(found.rho, g[:4], strict=True):
        best = lsq_linear(operator.matrix_, data, bounds=(0.0, 0.1))
        misfit = np.linalg.norm(data - operator.matrix_ @ rho)
        assert misfit <= 1.001 * np.sqrt(2 * best.cost)


@pytest.mark.parametrize("bounds", [(12, 0), (1, 1), (0, np.nan), (0, 1, 2)])
def test_bounds_that_are_none_are_refused(bounds, pairs):
    operator, g, _ = pairs
    with pytest.raises(ValueError, match=r"'bounds' is .*, the lower below the upper"):
        TikhonovInverter("gcv", bounds=bounds, operator=operator).fit(g)


# Fitting on data alone, and with densities


def test_fit_needs_no_densities(pairs):
    operator, g, truth = pairs
    alone = TikhonovInverter(noise_level=LEVEL, operator=operator).fit(g)
    taught = TikhonovInverter(noise_level=LEVEL, operator=operator).fit(g, truth)
    np.testing.assert_array_equal(alone.predict(g), taught.predict(g))
    assert alone.n_outputs_ == 196
    matrix = TikhonovInverter(noise_level=LEVEL, operator=MatrixOperator(operator.matrix_)).fit(g)
    # Where noise leaves next to nothing to damp, alpha feels the rounding of volumes.
    assert relative_l2_error(alone.predict(g), matrix.predict(g)) < 1e-4


def test_the_papers_geometry_is_assumed_aloud(pairs):
    operator, g, truth = pairs
    with pytest.warns(PhysicsWarning, match="14 x 14 cells in normalised units is assumed"):
        alone = TikhonovInverter(noise_level=LEVEL).fit(g)
    given = TikhonovInverter(noise_level=LEVEL, operator=operator).fit(g)
    np.testing.assert_allclose(alone.predict(g), given.predict(g))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        units = ForwardOperator(units="normalized")
        default = TikhonovInverter(noise_level=LEVEL, operator=units).fit(g)
        checked = TikhonovInverter(noise_level=LEVEL).fit(g, truth)
    for inverter in (default, checked):
        np.testing.assert_allclose(inverter.predict(g), given.predict(g))


@pytest.mark.parametrize(
    ("operator", "n_data", "text"),
    [
        (None, 83, "'operator' is None and y is None, but 83 data are not the 6n"),
        (ForwardOperator(), 83, "83 data are not the 6n of the paper's geometry. Give 'operator'"),
        (MatrixOperator(), 84, "whose cells are unknown, and y is None. Give its mesh or"),
        (ForwardOperator(Mesh.square(5)), 84, "'operator' has 30 data, but X has 84. Give the"),
    ],
    ids=str,
)
def test_operators_that_data_do_not_tell_are_refused(operator, n_data, text):
    with pytest.raises(ValueError, match=text):
        TikhonovInverter("gcv", operator=operator).fit(np.ones((2, n_data)))


def test_mean_reference_needs_densities(pairs):
    operator, g, truth = pairs
    inverter = TikhonovInverter("gcv", reference="mean", operator=operator)
    with pytest.raises(ValueError, match=r"'reference' is 'mean', but y is None. Give densities"):
        inverter.fit(g)
    inverter.set_params(noise_level=LEVEL).fit(g, truth)
    np.testing.assert_allclose(inverter.reference_, truth.mean(axis=0))


def test_discrepancy_needs_the_noise(pairs):
    operator, g, _ = pairs
    inverter = TikhonovInverter("discrepancy", operator=operator).fit(g)
    with pytest.raises(ValueError, match=r"alpha='discrepancy' needs the noise .* alpha='auto'"):
        inverter.predict(g)
    assert inverter.predict(g, noise_level=LEVEL).shape == (len(g), operator.n_cells_)


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"alpha": "gvc"}, "'alpha' parameter of TikhonovInverter must be .* Got 'gvc'"),
        ({"alpha": 0.0}, "'alpha' parameter of TikhonovInverter must be .* Got 0.0"),
        ({"order": 3}, "'order' parameter of TikhonovInverter must be .* Got 3"),
        ({"reference": [1.0, 2.0]}, r"'reference' has shape \(2,\); it must be a finite number"),
        ({"reference": np.nan}, "'reference' contains NaN"),
    ],
)
def test_bad_parameters_are_refused(params, text, pairs):
    operator, g, _ = pairs
    with pytest.raises(ValueError, match=text):
        TikhonovInverter(**{"alpha": "gcv", "operator": operator} | params).fit(g)


@pytest.mark.parametrize(
    ("params", "text"),
    [
        (
            {"order": 1},
            "'order' is 1, but a MatrixOperator of 3 data and 4 cells has no mesh to take",
        ),
        (
            {"depth_weighting": 1.0},
            "'depth_weighting' is 1.0, but a MatrixOperator has no mesh to define depths",
        ),
    ],
)
def test_derivatives_and_depths_need_a_mesh(params, text):
    g = np.ones((2, 3))
    with pytest.raises(ValueError, match=text):
        TikhonovInverter("gcv", operator=MatrixOperator(np.eye(3, 4)), **params).fit(g)


@pytest.mark.filterwarnings("ignore:.* lie inside 'mesh'")
def test_depth_below_stations_only():
    mesh = Mesh.square(6)
    survey = Survey(Survey.line(mesh).stations + [2.0, 0.0])
    inverter = TikhonovInverter("gcv", depth_weighting=2.0, operator=ForwardOperator(mesh, survey))
    with pytest.raises(
        ValueError, match=r"the mesh begins .* m above the mean station.* Take 'sens"
    ):
        inverter.fit(np.ones((1, 36)))


@pytest.mark.parametrize("alphas", [[1.0, -1.0], [[1.0]], [0.0]])
def test_alphas_of_a_curve_are_positive(alphas, pairs):
    operator, g, _ = pairs
    with pytest.raises(
        ValueError, match=r"'alphas' has shape .* give a vector of positive numbers"
    ):
        TikhonovInverter("gcv", operator=operator).fit(g).alpha_curve(g, alphas=alphas)


# Manners


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("order", [0, 1, 2])
def test_data_without_signal_give_nothing(rule, order, pairs):
    operator, g, _ = pairs
    inverter = TikhonovInverter(rule, order=order, noise_level=LEVEL, operator=operator).fit(g)
    assert np.abs(inverter.predict(np.zeros((1, g.shape[1])))).max() < 1e-9


def test_noise_level_of_zero_fits_exactly(pairs):
    operator, _, truth = pairs
    g = operator.transform(truth)
    rho = TikhonovInverter(noise_level=0.0, operator=operator).fit(g).predict(g)
    assert (norms(operator.transform(rho) - g) / norms(g)).max() < 1e-5


def test_grid_search_over_alpha_and_order(pairs):
    operator, g, truth = pairs
    search = GridSearchCV(
        TikhonovInverter(noise_level=LEVEL, operator=operator),
        {"alpha": ["discrepancy", "gcv", 1e3], "order": [0, 1]},
        scoring=relative_l2_scorer,
        cv=2,
    ).fit(g, truth)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_params_["alpha"] != 1e3


def test_pipeline_with_a_refiner(pairs):
    operator, g, truth = pairs
    pipeline = Pipeline(
        [
            TikhonovInverter(1e3, order=1, noise_level=LEVEL, operator=operator),
            Refiner("projection", operator=operator, noise_level=LEVEL),
        ]
    ).fit(g, truth)
    start = pipeline[0].predict(g)
    chi = [chi_factor(operator, r, g, noise_level=LEVEL) for r in (start, pipeline.predict(g))]
    assert chi[1] < 1.3 < chi[0]
    refiner = Refiner("cgls", init=pipeline[0], operator=operator, noise_level=LEVEL).fit(g, truth)
    assert chi_factor(operator, refiner.predict(g), g, noise_level=LEVEL) < 1.3


def test_inverters_of_one_operator_share_their_decomposition(pairs):
    operator, g, _ = pairs
    first, second = (
        TikhonovInverter(order=1, noise_level=level, operator=operator).fit(g)
        for level in (LEVEL, 2 * LEVEL)
    )
    assert first._system is second._system
    other = TikhonovInverter(order=2, noise_level=LEVEL, operator=operator).fit(g)
    assert other._system is not first._system
