"""Cells with the mass of rock up to the ground: nearer to a fine mesh, the same by all methods."""

import pickle

import numpy as np
import pytest
import torch
from conftest import dot_test_error
from saved_estimators import again
from sklearn.base import clone

from skgrav import (
    CellValues,
    CNNInverter,
    ForwardOperator,
    JointOperator,
    Mesh,
    Survey,
    TikhonovInverter,
)
from skgrav.networks._consistency import fast_physics
from skgrav.training import Mirror

RNG = np.random.default_rng(0)
METHODS = ("dense", "fft", "anywhere", "rows")


def hill(x, y=0.0):
    """Give the depth of a smooth hill of 20 m."""
    return -20.0 * np.exp(-((x / 60.0) ** 2) - (y / 50.0) ** 2)


def block(*steps):
    z = np.arange(-20.0 - steps[0], 20.0 + steps[0] / 2, steps[0])
    return Mesh([z, *(np.arange(-160.0, 160.0 + h / 2, h) for h in steps[1:])])


X_STATIONS = np.linspace(-100, 100, 41)
PROFILE = Survey(np.column_stack([hill(X_STATIONS) - 1.0, X_STATIONS]), "z")
SECTION = block(5.0, 10.0).below(hill)
FRACTION = SECTION.fraction_below(hill)
ABOVE = Survey.line(SECTION, height=0.5, components=("x", "z"))
VOLUME = block(5.0, 20.0, 20.0).below(lambda y, x: hill(x, y))
CASES = {
    "section": (SECTION, ABOVE, FRACTION),
    "volume": (
        VOLUME,
        Survey.grid(VOLUME, height=5.0, components=("z", "zz")),
        VOLUME.fraction_below(lambda y, x: hill(x, y)),
    ),
    "whole block": (SECTION.whole, ABOVE, RNG.uniform(0.5, 1.5, SECTION.whole.n_cells)),
}
EACH_CASE = pytest.mark.parametrize("case", CASES)
EACH_METHOD = pytest.mark.parametrize("method", METHODS)


def fitted(case, **parameters):
    mesh, survey, fraction = CASES[case]
    return ForwardOperator(mesh, survey, fraction=fraction, **parameters).fit()


def whole(case, **parameters):
    return ForwardOperator(*CASES[case][:2], **parameters).fit()


def in_a_file(operator, folder):
    """Give an operator that was saved and loaded as that of an inverter."""
    inverter = TikhonovInverter(1.0, operator=operator)
    return again(inverter.fit(np.ones((1, operator.n_data_))), folder).operator_


def densities(case, rows=3):
    return np.random.default_rng(1).normal(size=(rows, CASES[case][0].n_cells))


# The fraction that a ground gives


@pytest.mark.parametrize("steps", [(5.0, 10.0), (2.5, 5.0), (10.0, 20.0), (4.0, 20.0)])
def test_gravity_of_a_hill_is_nearer_to_that_of_a_fine_mesh(steps):
    def gravity(mesh, fraction=None):
        operator = ForwardOperator(mesh, PROFILE, fraction=fraction).fit()
        return operator.transform(np.full((1, mesh.n_cells), 2670.0))[0]

    fine = gravity(block(0.5, 1.25).below(hill, survey=PROFILE))
    mesh = block(*steps).below(hill, survey=PROFILE)
    assert mesh.edges[0][-1] == 20.0
    errors = [np.std(gravity(mesh, f) - fine) for f in (None, mesh.fraction_below(hill))]
    assert errors[1] < 0.6 * errors[0]


def test_columns_have_the_rock_up_to_the_ground():
    for survey in (None, PROFILE):
        mesh = block(4.0, 20.0).below(hill, survey=survey)
        rock = mesh.volumes * mesh.fraction_below(hill)
        columns = np.nansum(mesh.unflatten(rock), axis=0)
        np.testing.assert_allclose(columns, 20.0 * (20.0 - hill(mesh.centers[1])), rtol=1e-12)


def test_fraction_without_stations_is_between_half_and_three_halves():
    assert FRACTION.min() >= 0.5
    assert FRACTION.max() <= 1.5
    image = SECTION.unflatten(FRACTION)
    highest = np.argmax(np.isfinite(image), axis=0)
    below = np.arange(len(image))[:, None] > highest
    assert (image[below] == 1.0).all()
    assert (np.ptp(image[highest, np.arange(image.shape[1])])) > 0.5


def test_ground_is_taken_as_below_takes_it():
    depth = hill(SECTION.centers[1])
    for topography in (depth, np.column_stack([depth, SECTION.centers[1]])):
        np.testing.assert_allclose(SECTION.fraction_below(topography), FRACTION, rtol=1e-12)
    up = SECTION.fraction_below(lambda x: -hill(x), positive="up")
    np.testing.assert_array_equal(up, FRACTION)
    with pytest.warns(UserWarning, match=r"columns of the mesh lie beyond the points"):
        SECTION.fraction_below(PROFILE)


def test_rock_above_the_block_is_not_counted():
    mesh = Mesh([[0.0, 10, 20], [0.0, 10, 20]])
    np.testing.assert_array_equal(mesh.fraction_below([-50.0, 2.0]), [1.0, 0.8, 1.0, 1.0])


def test_columns_without_active_cells_are_left_out():
    mesh = Mesh([[0.0, 10, 20], [0.0, 10, 20]], [[0, 0], [0, 1]])
    np.testing.assert_array_equal(mesh.fraction_below([90.0, 8.0]), [1.2])


def test_ground_below_the_cells_is_refused():
    with pytest.raises(ValueError, match=r"'topography' .* highest active cell in 3 of 32 columns"):
        SECTION.fraction_below(hill(SECTION.centers[1]) + 8.0 * (np.arange(32) < 3))
    with pytest.raises(ValueError, match=r"'positive' is 'east'"):
        SECTION.fraction_below(hill, positive="east")


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("ground", [None, lambda *s: 5 * hill(s[-1] / 2)])
def test_mesh_for_a_survey_gives_its_fraction(ndim, ground):
    horizontal = np.random.default_rng(0).uniform(-200, 200, (80, ndim - 1))
    survey = Survey(np.column_stack([5 * hill(horizontal[:, -1] / 2) - 1.0, horizontal]), "z")
    mesh, fraction = Mesh.for_survey(survey, ground, return_fraction=True)
    assert mesh == Mesh.for_survey(survey, ground)
    assert fraction.min() >= 0.5
    assert np.count_nonzero(fraction != 1.0) > 0.9 * np.prod(mesh.shape[1:])
    if ground is not None and ndim == 2:  # in the padding it is that of the outermost column
        with pytest.raises(ValueError, match=r"highest active cell .* return_fraction=True"):
            mesh.fraction_below(ground)
    assert ForwardOperator(mesh, survey, fraction=fraction).fit().fraction_ is not None


def test_mesh_for_a_flat_survey_has_whole_cells():
    survey = Survey(Survey.line(SECTION).stations, "z")
    mesh, fraction = Mesh.for_survey(survey, return_fraction=True)
    np.testing.assert_array_equal(fraction, np.ones(mesh.n_cells))


# Operators


@EACH_CASE
@EACH_METHOD
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_gravity_is_that_of_the_fraction_of_the_densities(case, method, precision):
    operator = fitted(case, method=method, precision=precision, tol=1e-5)
    exact, rho = whole(case, method="dense"), densities(case)
    fraction = CASES[case][2]
    tolerance = 1e-12 if precision == "float64" else 2e-6
    if method == "anywhere":
        tolerance = 1e-5
    g, expected = operator.transform(rho), exact.transform(rho * fraction)
    scales = exact.data_scales_
    error = np.abs((g - expected) / scales).max() / np.abs(expected / scales).max()
    assert error < tolerance
    products, weights = operator.products_, np.arange(1.0, operator.n_data_ + 1)
    norms = exact.products_.column_norms2(weights) * fraction**2
    np.testing.assert_allclose(
        products.column_norms2(weights), norms, 0, 10 * tolerance * norms.max()
    )
    assert products.shape == operator.matrix_.shape


@EACH_CASE
@EACH_METHOD
def test_adjoint_is_the_transpose(case, method):
    products = fitted(case, method=method).products_
    n_data, n_cells = products.shape
    assert dot_test_error(products.forward, products.adjoint, n_cells, n_data) < 1e-13


@EACH_METHOD
def test_matrix_and_svd_have_the_fraction(method):
    operator, exact = fitted("section", method=method), whole("section", method="dense")
    np.testing.assert_allclose(operator.matrix_, exact.matrix_ * FRACTION, 1e-12)
    assert not operator.matrix_.flags.writeable
    U, s, Vt = operator.svd_
    np.testing.assert_allclose((U * s) @ Vt, operator.matrix_, 0, 1e-9 * s[0])
    np.testing.assert_allclose(operator.column_norms_, exact.column_norms_ * FRACTION, 1e-4)


@EACH_CASE
@pytest.mark.parametrize("method", ["dense", "fft", "anywhere"])
def test_torch_module_has_the_fraction_and_its_gradient(case, method):
    operator, rho = fitted(case, method=method), densities(case, rows=2)
    module = operator.to_torch(dtype=torch.float64)
    x = torch.tensor(rho, requires_grad=True)
    g = module(x)
    expected = operator.transform(rho)
    np.testing.assert_allclose(g.detach(), expected, 0, 1e-12 * np.abs(expected).max())
    g.square().sum().backward()
    gradient = operator.products_.adjoint(2 * expected)
    np.testing.assert_allclose(x.grad, gradient, 0, 1e-11 * np.abs(gradient).max())
    back = module.adjoint(g.detach())
    np.testing.assert_allclose(back, gradient / 2, 0, 1e-11 * np.abs(gradient).max())
    assert module.to(torch.float32)(x.float()).dtype == torch.float32


def test_rows_are_still_refused_by_torch():
    with pytest.raises(ValueError, match="method='rows' computes rows"):
        fitted("section", method="rows").to_torch()


@pytest.mark.parametrize("method", ["fft", "anywhere"])
def test_networks_apply_it_by_ffts(method):
    operator, rho = fitted("section", method=method), densities("section")
    rotation = np.random.default_rng(2).normal(size=(operator.n_data_, 3))
    physics = fast_physics(operator, rotation)
    found = physics(torch.tensor(rho, dtype=torch.get_default_dtype()))
    expected = operator.transform(rho) @ rotation
    np.testing.assert_allclose(found, expected, 0, 1e-5 * np.abs(expected).max())


def test_operators_with_and_without_share_what_is_equal():
    plain, first, second = (
        ForwardOperator(SECTION, ABOVE, method="fft", fraction=f).fit()
        for f in (None, FRACTION, FRACTION.tolist())
    )
    assert first.products_ is second.products_
    assert first.products_.whole is plain.products_
    assert first.identity_ == second.identity_ != plain.identity_
    ones = ForwardOperator(SECTION, ABOVE, method="fft", fraction=np.ones(SECTION.n_cells)).fit()
    assert ones.products_ is plain.products_
    assert ones.fraction_ is None
    for method in METHODS:
        plans = [
            ForwardOperator(SECTION, ABOVE, method=method, fraction=f).plan()
            for f in (None, FRACTION)
        ]
        assert plans[0] == plans[1]


@EACH_METHOD
def test_refit_to_another_fraction_equals_a_fresh_fit(method, tmp_path):
    operator = fitted("section", method=method)
    rho, other = densities("section"), 1.5 - FRACTION / 2
    before = operator.transform(rho)
    operator.set_params(fraction=other)
    np.testing.assert_array_equal(operator.transform(rho), before)
    fresh = ForwardOperator(SECTION, ABOVE, method=method, fraction=other).fit().transform(rho)
    np.testing.assert_array_equal(operator.fit().transform(rho), fresh)
    assert np.abs(fresh - before).max() > 1e-3 * np.abs(before).max()
    for copy in (
        pickle.loads(pickle.dumps(operator)),
        in_a_file(operator, tmp_path),
        clone(operator).fit(),
    ):
        np.testing.assert_array_equal(copy.fraction_, other)
        np.testing.assert_array_equal(copy.transform(rho), fresh)
    operator.set_params(fraction=None).fit()
    np.testing.assert_array_equal(
        operator.transform(rho), whole("section", method=method).transform(rho)
    )
    assert in_a_file(operator, tmp_path).fraction_ is None


def test_fitted_fraction_is_not_that_of_a_changed_array():
    fraction = FRACTION.copy()
    operator = ForwardOperator(SECTION, ABOVE, fraction=fraction).fit()
    fraction[:] = 9.0
    np.testing.assert_array_equal(operator.fraction_, FRACTION)
    with pytest.raises(ValueError, match="read-only"):
        operator.fraction_[0] = 1.0


@pytest.mark.parametrize(
    ("fraction", "message"),
    [
        (
            np.ones(3),
            r"'fraction' has shape \(3,\); it must have one number for each of the \d+ ac",
        ),
        (np.ones(SECTION.whole.n_cells), r"'fraction' has shape"),
        (np.ones((1, SECTION.n_cells)), r"'fraction' has shape \(1, "),
        (np.r_[0.0, FRACTION[1:]], r"'fraction' has values from 0 to .* must be positive"),
        (-FRACTION, r"'fraction' has values from -"),
        (np.r_[np.nan, FRACTION[1:]], r"'fraction' contains NaN"),
        (100 * FRACTION, r"'fraction' has values from .* to .* these seem to be percent"),
        ("most", r"'fraction'"),
        (0.5, r"'fraction'"),
    ],
)
def test_wrong_fractions_are_refused_by_name(fraction, message):
    operator = ForwardOperator(SECTION, ABOVE, fraction=fraction)
    for call in (operator.fit, operator.plan):
        with pytest.raises(ValueError, match=message):
            call()


def test_files_of_wrong_fractions_are_refused(tmp_path):
    inverter = TikhonovInverter(1.0, operator=fitted("section"))
    inverter.fit(np.ones((1, inverter.operator.n_data_)))
    inverter.operator_.fraction_ = -FRACTION
    with pytest.raises(ValueError, match="must be positive"):
        again(inverter, tmp_path)


# Estimators


def test_joint_operator_has_the_fraction_of_its_part_and_logs_have_none():
    survey = Survey(ABOVE.stations, ABOVE.components, uncertainty=0.01)
    part = ForwardOperator(SECTION, survey, fraction=FRACTION)
    log = CellValues(SECTION, [0, 5], uncertainty=20.0)
    joint, rho = JointOperator([part, log]).fit(), densities("section")
    g, values = joint.split(joint.transform(rho))
    np.testing.assert_allclose(g, fitted("section").transform(rho), rtol=1e-12)
    np.testing.assert_array_equal(values, rho[:, [0, 5]])
    np.testing.assert_allclose(
        joint.to_torch(dtype=torch.float64)(torch.tensor(rho)), joint.transform(rho), 1e-9, 1e-9
    )
    np.testing.assert_array_equal(joint.get_params()["operator0__fraction"], FRACTION)


def test_rock_of_a_hill_fits_its_gravity():
    survey = Survey(PROFILE.stations, "z", uncertainty=0.05)
    fine = block(0.5, 1.25).below(hill, survey=PROFILE)
    g = ForwardOperator(fine, survey).fit().transform(np.full((1, fine.n_cells), 2670.0))
    mesh = block(5.0, 10.0).below(hill, survey=PROFILE)
    rock = np.full(mesh.n_cells, 2670.0)
    found = {}
    for name, fraction in (("whole", None), ("fraction", mesh.fraction_below(hill))):
        operator = ForwardOperator(mesh, survey, fraction=fraction)
        inverter = TikhonovInverter(order=1, reference=rock, operator=operator).fit(g)
        found[name] = np.abs(inverter.predict(g) - rock).max()
    assert found["whole"] > 300
    assert found["fraction"] < 1


def test_mirror_images_need_a_symmetric_fraction():
    mirror = Mirror.of(SECTION, ABOVE, FRACTION)
    operator, rho = fitted("section"), densities("section")
    g = operator.transform(rho)
    np.testing.assert_allclose(
        operator.transform(rho[:, mirror.cells]), g[:, mirror.data] * mirror.sign, 0, 1e-9
    )
    uneven = np.linspace(0.9, 1.1, SECTION.n_cells)
    lopsided = ForwardOperator(SECTION, ABOVE, fraction=uneven)
    model = CNNInverter(operator=lopsided, augment="mirror", max_epochs=1, random_state=0)
    with pytest.raises(ValueError, match="needs a 'fraction' that is symmetric"):
        model.fit(lopsided.fit().transform(rho), rho)
