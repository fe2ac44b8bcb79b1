"""Meshes with inactive cells: gravity is that of zero air, in every operator and estimator."""

import pickle

import numpy as np
import pytest
import torch
from conftest import dot_test_error, with_noise
from saved_estimators import ESTIMATORS, INVERTERS, again, fit
from scipy.optimize import lsq_linear
from sklearn.base import clone
from sklearn.decomposition import PCA

from skgrav import (
    AnalogueInverter,
    BayesLinearInverter,
    ForwardOperator,
    LatentInverter,
    MatrixOperator,
    Mesh,
    Refiner,
    SparseInverter,
    Survey,
    TikhonovInverter,
)
from skgrav.datasets import make_density_models, make_gravity_dataset, make_margin_models
from skgrav.generators import DensityGenerator
from skgrav.inverters._model_norm import ModelNorm
from skgrav.operators import PhysicsWarning, resolve_operator
from skgrav.solvers import SOLVERS

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:'noise_level' is None"),
    pytest.mark.filterwarnings("ignore:'alpha' is"),
]


def hill(x, y=0.0):
    """Give the depth of the ground of a hill, symmetric about 0."""
    return 2.6 - 2.6 * np.exp(-((x / 4.0) ** 2) - (y / 3.0) ** 2)


SECTION = Mesh([np.arange(9.0), np.linspace(-8, 8, 9)]).below(hill)
VOLUME = Mesh([[0, 1, 2, 3.5, 6], np.arange(-5.0, 6), np.arange(-6.0, 7, 2)]).below(
    lambda y, x: hill(x, y)
)
BLOCKS = {
    "section": (SECTION, Survey.line(SECTION, height=0.5)),
    "volume": (VOLUME, Survey.grid(VOLUME, height=0.5)),
    "one cell": (
        Mesh(SECTION.edges, np.arange(64).reshape(8, 8) == 37),
        Survey.line(SECTION, height=0.5),
    ),
    "one layer": (
        Mesh([[0.0, 2.0], np.linspace(-8, 8, 9)], [[1, 0, 0, 1, 1, 0, 1, 1]]),
        Survey.line(SECTION, height=0.5),
    ),
    "thin layers": (
        Mesh([np.r_[0, 1e-3, 1.0, 1.001, 5], np.linspace(-8, 8, 9)]).below(hill),
        Survey.line(SECTION, height=0.5),
    ),
}
EACH_BLOCK = pytest.mark.parametrize("block", BLOCKS)
METHODS = pytest.mark.parametrize("method", ["dense", "fft", "rows"])


def on_hill_and_block(block, rows=3, **parameters):
    """Give operators of the active cells and of the whole block, and densities of the first."""
    mesh, survey = BLOCKS[block]
    rho = np.random.default_rng(0).normal(size=(rows, mesh.n_cells))
    return *(ForwardOperator(m, survey, **parameters).fit() for m in (mesh, mesh.whole)), rho


# Gravity


@EACH_BLOCK
@METHODS
@pytest.mark.parametrize("kernel", ["cell", "point"])
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_gravity_is_that_of_the_block_with_zero_air(block, method, kernel, precision):
    options = {"method": method, "kernel": kernel, "precision": precision}
    operator, whole, rho = on_hill_and_block(block, **options)
    mesh = operator.mesh_
    tolerance = 1e-13 if precision == "float64" else 1e-6
    g = operator.transform(rho)
    expected = whole.transform(mesh.whole.flatten(mesh.unflatten(rho, fill=0.0)))
    np.testing.assert_allclose(g, expected, 0, tolerance * np.abs(expected).max())
    back = mesh.whole.unflatten(whole.products_.adjoint(g))
    found = operator.products_.adjoint(g)
    np.testing.assert_allclose(found, mesh.flatten(back), 0, tolerance * np.abs(found).max())
    weights = np.arange(1.0, operator.n_data_ + 1)
    norms = operator.products_.column_norms2(weights)
    expected = mesh.flatten(mesh.whole.unflatten(whole.products_.column_norms2(weights)))
    np.testing.assert_allclose(norms, expected, 0, 10 * tolerance * expected.max())


@EACH_BLOCK
@METHODS
def test_adjoint_is_the_transpose(block, method):
    operator, _, rho = on_hill_and_block(block, method=method)
    products = operator.products_
    error = dot_test_error(products.forward, products.adjoint, rho.shape[1], operator.n_data_)
    assert error < 1e-14
    np.testing.assert_allclose(
        operator.transform(np.eye(rho.shape[1])), operator.matrix_.T, 1e-9, 1e-12
    )


@EACH_BLOCK
@pytest.mark.parametrize("method", ["dense", "fft"])
def test_in_torch_as_in_numpy(block, method):
    operator, _, rho = on_hill_and_block(block, method=method)
    module = operator.to_torch(dtype=torch.float64)
    x = torch.tensor(rho, requires_grad=True)
    g = module(x)
    expected = operator.transform(rho)
    np.testing.assert_allclose(g.detach(), expected, 0, 1e-13 * np.abs(expected).max())
    g.square().sum().backward()
    gradient = operator.products_.adjoint(2 * expected)
    np.testing.assert_allclose(x.grad, gradient, 0, 1e-12 * np.abs(gradient).max())
    assert torch.autograd.gradcheck(module, (x[:1],))
    assert torch.autograd.gradcheck(module.adjoint, (g[:1].detach().requires_grad_(),))


def test_scattered_stations_of_many_heights():
    x = np.sort(np.random.default_rng(0).uniform(-10, 10, 30))
    survey = Survey(np.column_stack([hill(x) - 0.1, x]), ("x", "z"))
    mesh = SECTION.below(survey, survey=survey)
    rho = np.random.default_rng(1).normal(size=(2, mesh.n_cells))
    whole = ForwardOperator(mesh.whole, Survey(survey.stations, ("x", "z")), method="dense")
    with pytest.warns(UserWarning, match="inside 'mesh'"):
        whole.fit()
    for method in ("dense", "rows"):
        g = ForwardOperator(mesh, survey, method=method).fit().transform(rho)
        expected = whole.transform(mesh.whole.flatten(mesh.unflatten(rho, 0.0)))
        np.testing.assert_allclose(g, expected, 0, 1e-13 * np.abs(expected).max())


def test_refit_to_another_mask_equals_a_fresh_fit(tmp_path):
    other = Mesh(SECTION.edges, ~np.eye(8, dtype=bool))
    survey = BLOCKS["section"][1]
    operator = ForwardOperator(SECTION, survey, method="fft").fit()
    before = operator.matrix_.copy()
    operator.set_params(mesh=other).fit()
    fresh = ForwardOperator(other, survey, method="fft").fit()
    np.testing.assert_array_equal(operator.matrix_, fresh.matrix_)
    assert operator.matrix_.shape != before.shape
    assert pickle.loads(pickle.dumps(operator)).mesh_ == other
    inverter = TikhonovInverter(1.0, operator=operator).fit(np.ones((1, operator.n_data_)))
    assert again(inverter, tmp_path).operator_.mesh_ == other


# Stations


def test_stations_in_active_rock_are_refused_by_name():
    survey = Survey([[-1.0, 0.0], [5.0, 1.0], [7.0, -7.0]])
    with pytest.raises(ValueError, match=r"2 of 3 stations .* stations 1, 2, the first at z = 5"):
        ForwardOperator(SECTION, survey).fit()


def test_stations_on_faces_edges_and_corners_of_the_ground_are_kept():
    # Steps of the ground: the top of a column, the foot and the face of a cliff, and its corner.
    cliff = Mesh([[0.0, 1, 2, 3], [0.0, 1, 2, 3]], [[0, 0, 1], [0, 0, 1], [1, 1, 1]])
    survey = Survey([[2.0, 0.5], [2.0, 1.0], [2.0, 2.0], [1.0, 2.0], [0.5, 2.0], [0.0, 2.0]])
    g = ForwardOperator(cliff, survey).fit().transform(np.ones((1, 5)))
    assert np.isfinite(g).all()
    for inside in ([0.5, 2.5], [2.5, 1.0], [2.5, 2.0], [1.0, 2.5]):
        with pytest.raises(ValueError, match="inside active cells"):
            ForwardOperator(cliff, Survey([inside])).fit()


def test_stations_in_caves_above_the_ground_and_far_away_are_kept():
    cave = np.ones((4, 5), dtype=bool)
    cave[1:3, 2] = False
    mesh = Mesh([np.arange(5.0), np.arange(6.0)], cave)
    survey = Survey([[2.0, 2.5], [3.0, 2.5], [-1e5, 0.0], [-1.0, 45.0]])
    assert ForwardOperator(mesh, survey).fit().n_data_ == 8


# Estimators

HILL = make_gravity_dataset(50, mesh=SECTION, random_state=0)
X, Y, OPERATOR = HILL.data, HILL.target, HILL.operator
NOISY = with_noise(X[:5], 0.01)


def on_hill(name):
    """Give an estimator of `ESTIMATORS`, with the operator and the mesh of the hill."""
    estimator = clone(ESTIMATORS[name])
    given = estimator.get_params()
    others = {}
    for key, value in given.items():
        part = key.rpartition("__")[2]
        if isinstance(value, MatrixOperator):
            others[key] = MatrixOperator(OPERATOR.matrix_)
        elif isinstance(value, ForwardOperator):
            sigma = value.survey and value.survey.uncertainty
            survey = Survey(OPERATOR.survey_.stations, uncertainty=None if sigma is None else 0.01)
            others[key] = ForwardOperator(SECTION, survey, units="normalized")
        elif part == "reference" and isinstance(value, np.ndarray):
            others[key] = Y.mean(axis=0)
        elif isinstance(value, DensityGenerator):
            others[f"{key}__mesh"] = SECTION
    if isinstance(estimator, DensityGenerator):
        others["mesh"] = SECTION
    # Parts of an operator that is replaced are none of the new one.
    kept = {k: v for k, v in others.items() if k.rpartition("__")[0] not in others}
    return estimator.set_params(**kept)


def estimate(estimator):
    if isinstance(estimator, DensityGenerator):
        return estimator.inverse_transform(estimator.transform(Y[:5]))
    return estimator.predict(X[:5])


@pytest.mark.filterwarnings("ignore::skgrav.operators.PhysicsWarning")
@pytest.mark.filterwarnings("ignore:the samples have only")
@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_estimates_the_active_cells_alone(name, tmp_path):
    estimator = fit(on_hill(name), X, Y)
    rho = estimate(estimator)
    assert rho.shape == (5, SECTION.n_cells)
    assert rho.dtype == np.float64
    assert np.isfinite(rho).all()
    np.testing.assert_allclose(estimate(again(estimator, tmp_path)), rho, 1e-10, 1e-10)
    np.testing.assert_allclose(estimate(pickle.loads(pickle.dumps(estimator))), rho, 1e-10, 1e-10)
    np.testing.assert_allclose(estimate(fit(on_hill(name), X, Y)), rho, 1e-10, 1e-10)
    if isinstance(estimator, DensityGenerator):
        assert estimator.sample(3, random_state=0).shape == (3, SECTION.n_cells)
    elif not name.startswith(("paper", "sparse", "relief")):  # whose densities others exceed
        error = np.linalg.norm(rho - Y[:5]) / np.linalg.norm(Y[:5])
        assert error < 1.0


def plain(operator):
    """Give inverters that know no mesh, by name."""
    return {
        "analogue": AnalogueInverter(5, noise_level=0.01, operator=operator),
        "bayes": BayesLinearInverter(0.01, operator=operator),
        "sparse": SparseInverter(norms=1, noise_level=0.01, operator=operator),
        "tikhonov": TikhonovInverter(noise_level=0.01, operator=operator),
        "latent": LatentInverter(PCA(8), noise_level=0.01, operator=operator),
        **{
            name: Refiner(name, init="zero", noise_level=0.01, operator=operator)
            for name in SOLVERS
        },
    }


@pytest.mark.parametrize("name", plain(None))
def test_as_with_the_columns_of_the_active_cells(name):
    operator = ForwardOperator(SECTION, OPERATOR.survey_, units="normalized")
    expected = plain(MatrixOperator(OPERATOR.matrix_))[name].fit(X, Y).predict(NOISY)
    found = plain(operator)[name].fit(X, Y).predict(NOISY)
    np.testing.assert_allclose(found, expected, 0, 1e-6 * np.abs(expected).max())


def prior(mesh, order, layers=None):
    """Give the covariance of the smooth prior on a mesh by dense matrices."""
    operator = ForwardOperator(mesh.whole, OPERATOR.survey_).fit()
    norm = ModelNorm.of(operator, order, None)
    modes = norm.synthesis(np.eye(len(norm.stiffness))).T
    covariance = modes / norm.stiffness @ modes.T
    return covariance[np.ix_(mesh.cells, mesh.cells)]


@pytest.mark.parametrize("order", [1, 2])
def test_smooth_densities_have_the_prior_of_the_block(order):
    alpha = 3.0
    inverter = TikhonovInverter(alpha, order=order, operator=OPERATOR)
    found = inverter.fit(X[:3]).invert(X[:3])
    K, A = prior(SECTION, order), OPERATOR.matrix_
    gram = A @ K @ A.T + alpha * np.eye(len(A))
    expected = np.linalg.solve(gram, X[:3].T).T @ A @ K
    np.testing.assert_allclose(found.rho, expected, 1e-7, 1e-8 * np.abs(expected).max())
    norm = np.sqrt(np.sum(expected * np.linalg.solve(K, expected.T).T, axis=1))
    np.testing.assert_allclose(found.model_norm, norm, 1e-6)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_krylov_iterations_find_the_same(order, monkeypatch):
    inverter = TikhonovInverter(1e-2, order=order, noise_level=0.01, operator=OPERATOR, tol=1e-8)
    expected = inverter.fit(X).invert(NOISY)
    monkeypatch.setattr(TikhonovInverter, "_decomposes", False)
    found = clone(inverter).fit(X).invert(NOISY)
    np.testing.assert_allclose(found.rho, expected.rho, 0, 1e-4 * np.abs(expected.rho).max())
    np.testing.assert_allclose(found.model_norm, expected.model_norm, 1e-4)


@pytest.mark.parametrize("order", [1, 2])
def test_bounds_hold_in_active_cells_alone(order):
    low, high, alpha = 4.0, 8.0, 0.1
    inverter = TikhonovInverter(
        alpha, order=order, bounds=(low, high), operator=OPERATOR, tol=1e-7, max_iter=20000
    )
    found = inverter.fit(X).invert(X[:3])
    root = np.linalg.cholesky(np.linalg.inv(prior(SECTION, order))).T
    stacked = np.vstack([OPERATOR.matrix_, np.sqrt(alpha) * root])
    assert (found.rho == high).any()
    for rho, g, norm in zip(found.rho, X, found.model_norm, strict=False):
        target = np.append(g, np.zeros(len(root)))
        expected = lsq_linear(stacked, target, (low, high), tol=1e-12).x
        np.testing.assert_allclose(rho, expected, 0, 2e-3)
        np.testing.assert_allclose(norm, np.linalg.norm(root @ expected), 1e-4)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_data_are_fitted_to_their_noise_within_bounds(order):
    inverter = TikhonovInverter(
        order=order, bounds=(2.0, 11.0), noise_level=0.05, operator=OPERATOR
    ).fit(X)
    noisy = with_noise(X[:4], 0.05)
    free = clone(inverter).set_params(bounds=None).fit(X).invert(noisy)
    found = inverter.invert(noisy)
    assert found.rho.min() >= 2
    assert found.rho.max() <= 11
    np.testing.assert_allclose(found.chi_factor, 1.0, 0.05)
    assert (found.model_norm >= free.model_norm * (1 - 1e-3)).all()


@pytest.mark.parametrize("weighting", [None, 1.0, "sensitivity"])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_layers_without_active_cells(order, weighting):
    mesh = Mesh(
        SECTION.edges, np.isin(np.arange(8), (0, 1, 4, 7), invert=True)[:, None] * np.ones(8)
    )
    operator = ForwardOperator(mesh, OPERATOR.survey_, units="normalized").fit()
    g = operator.transform(np.ones((2, mesh.n_cells)))
    inverter = TikhonovInverter(
        order=order, depth_weighting=weighting, noise_level=0.001, operator=operator
    )
    result = inverter.fit(g).invert(g)
    assert np.isfinite(result.rho).all()
    np.testing.assert_allclose(result.chi_factor, 1.0, 0.02)


def test_depth_is_below_the_ground_of_each_column():
    # Two plateaus, and stations at the same height above each.
    x = np.linspace(-8, 8, 9)
    mesh = Mesh([np.arange(13.0), x]).below(np.where(x[:-1] < 0, 0.0, 6.0))
    stations = np.column_stack([np.where(x[:-1] + 1 < 0, 0.0, 6.0) - 0.5, x[:-1] + 1])
    operator = ForwardOperator(mesh, Survey(stations)).fit()
    norm = ModelNorm.of(operator, 0, 2.0)
    weights = mesh.unflatten(norm.weights)
    np.testing.assert_allclose(weights[:6, 0], weights[6:12, -1], 1e-12)
    np.testing.assert_allclose(weights[:, 0] / weights[0, 0], 1.0 / (np.arange(12) + 1), 1e-12)


# Training sections


def test_drawn_sections_are_those_of_the_block():
    found = make_density_models(20, mesh=SECTION, random_state=3)
    whole = make_density_models(20, mesh=SECTION.whole, random_state=3)
    np.testing.assert_array_equal(found, whole[:, SECTION.cells])
    mesh = Mesh([np.linspace(0, 43200, 11), np.linspace(0, 383e3, 13)])
    active = Mesh(mesh.edges, np.arange(120).reshape(10, 12) > 7)
    found, whole = (make_margin_models(5, mesh=m, random_state=0) for m in (active, mesh))
    np.testing.assert_array_equal(found, whole[:, active.cells])


def test_mirror_images_of_a_hill():
    inverter = on_hill("paper, mirror")
    uneven = Mesh(SECTION.edges, np.arange(64).reshape(8, 8) > 3)
    operator = ForwardOperator(uneven, OPERATOR.survey_, units="normalized").fit()
    rho = make_density_models(20, mesh=uneven, random_state=0)
    inverter.set_params(operator=operator)
    with pytest.raises(ValueError, match="4 of 60 have an inactive mirror image"):
        inverter.fit(operator.transform(rho), rho)


@pytest.mark.parametrize(
    ("advice", "change"),
    [
        ("y is mirrored", lambda images: images[..., ::-1]),
        ("Check mesh, survey and units", lambda images: images[..., np.r_[1:8, 0]]),
    ],
)
def test_pairs_of_another_order_are_named(advice, change):
    rho = SECTION.flatten(np.nan_to_num(change(SECTION.unflatten(Y))))
    with pytest.warns(PhysicsWarning, match=advice):
        resolve_operator(OPERATOR, rho, X)


def test_a_generator_refuses_sections_of_the_whole_block():
    with pytest.raises(ValueError, match=r"'mesh' has shape .* active cells, but X has 64"):
        on_hill("vae").fit(np.ones((5, 64)))


def test_inverters_are_tested_all():
    assert set(INVERTERS) < set(ESTIMATORS)
