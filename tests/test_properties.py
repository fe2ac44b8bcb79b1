"""Properties that gravity has, whatever the mesh, the survey, the kernel and the method."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.constants import gravitational_constant
from sklearn.base import clone
from strategies import KERNELS, densities, gravity, meshes, operators, surveys

from skgrav import ForwardOperator, MatrixOperator, Mesh, Survey
from skgrav.kernels import point
from skgrav.metrics import chi_factor, relative_data_misfit, relative_l2_error
from skgrav.operators import UNITS, _geometry

pytestmark = pytest.mark.filterwarnings("ignore:'tol' is .* by method='anywhere':UserWarning")

#: Each example builds an operator.
fewer = settings(max_examples=60)

ANY = operators()


@pytest.fixture(autouse=True, scope="module")
def _any_arrangement():
    """Take stations anywhere, below the mesh and far from it, too: physics holds there as well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_geometry, "_CHECKS", ())
        yield


def size(operator, *, axis=None):
    """Give what rounding is relative to: the largest gravity that densities of one can have."""
    return np.abs(operator.matrix_).sum(axis=axis).max(initial=0.0)


def error_of(operator, tolerance=1e-11):
    """Give the error that an operator may have beside rounding, relative to its size."""
    return 10 * operator.tol if operator.plan_.method == "anywhere" else tolerance


def assert_close(found, expected, scale, tolerance=1e-11):
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale + 1e-300)


def other_geometry(operator, mesh, stations):
    """Give the same operator of another geometry."""
    survey = Survey(stations, operator.survey_.components)
    return clone(operator).set_params(mesh=mesh, survey=survey)


def fit_or_dense(operator):
    """Fit an operator, without FFTs where rounding has taken its stations off the lattice."""
    try:
        return operator.fit()
    except ValueError:
        return operator.set_params(method="dense").fit()


@fewer
@given(operator=ANY, data=st.data(), a=st.integers(-9, 9), b=st.integers(-9, 9))
def test_linearity(operator, data, a, b):
    rho = data.draw(densities(operator.n_cells_, st.just(2)))
    one, other = operator.transform(rho)
    both = operator.transform(a * rho[:1] + b * rho[1:])[0]
    assert_close(both, a * one + b * other, 18 * 3300 * size(operator))
    assert (operator.transform(np.zeros((1, operator.n_cells_))) == 0).all()


@fewer
@given(operator=ANY, data=st.data())
def test_adjoint(operator, data):
    rho = data.draw(densities(operator.n_cells_, st.just(1)))
    g = data.draw(gravity(operator.n_data_, st.just(1)))
    forward = np.sum(operator.transform(rho) * g)
    back = np.sum(rho * operator.adjoint(g))
    assert_close(forward, back, size(operator) * 3300 * 500 * operator.n_data_)


@fewer
@given(operator=ANY, data=st.data())
def test_all_methods_agree(operator, data):
    rho = data.draw(densities(operator.n_cells_))
    dense = clone(operator).set_params(method="dense").fit()
    rows = clone(operator).set_params(method="rows").fit()
    scale = 3300 * size(operator)
    assert_close(operator.transform(rho), dense.transform(rho), scale, error_of(operator))
    assert_close(rows.transform(rho), dense.transform(rho), scale)


@given(
    a=st.tuples(*[st.integers(-80, 80)] * 3),
    b=st.tuples(*[st.integers(-80, 80)] * 3),
    component=st.integers(0, 2),
)
def test_reciprocity_of_points(a, b, component):
    # What one mass does to another, that does to it with the opposite sign.
    assume(a != b)
    there = tuple(np.array(float(q - p)) for p, q in zip(a, b, strict=True))
    back = tuple(-d for d in there)
    assert point(there, component) == -point(back, component)


@fewer
@given(mesh=meshes(), kernel=KERNELS, data=st.data())
def test_reciprocity_of_cells_of_equal_size(mesh, kernel, data):
    """Exchange a cell and a station: gravity turns its sign.

    The attraction of a cell on a station depends on their offset alone and is odd in it, so a
    cell moved to where the station was, with the station where the centre of the cell was, gives
    the opposite.
    """
    survey = data.draw(surveys(mesh, on_lattice=False))
    cell = tuple(data.draw(st.integers(0, n - 1)) for n in mesh.shape)
    centre = np.array([c[i] for c, i in zip(mesh.centers, cell, strict=True)])
    station = survey.stations[0]
    half = np.array([w[i] / 2 for w, i in zip(mesh.widths, cell, strict=True)])

    def attraction(centre, station):
        alone = Mesh([[c - h, c + h] for c, h in zip(centre, half, strict=True)])
        survey_ = Survey([station], survey.components)
        return ForwardOperator(alone, survey_, kernel=kernel).fit().matrix_[:, 0]

    found, exchanged = attraction(centre, station), attraction(station, centre)
    # The farther apart the two, the more of the corners' values cancels.
    reach = np.linalg.norm(centre - station) + np.linalg.norm(half)
    scale = UNITS["mGal"][mesh.ndim] * reach * (1 + np.log1p(reach))
    assert_close(exchanged, -found, scale, 1e-11)


@fewer
@given(operator=ANY, data=st.data(), shift=st.lists(st.integers(-64, 64), min_size=3, max_size=3))
def test_shift_invariance(operator, data, shift):
    mesh = operator.mesh_
    moved = np.array(shift[: mesh.ndim], dtype=float)
    there = other_geometry(
        operator,
        Mesh([e + m for e, m in zip(mesh.edges, moved, strict=True)], mesh.active),
        operator.survey_.stations + moved,
    )
    rho = data.draw(densities(operator.n_cells_))
    found, error = fit_or_dense(there).transform(rho), error_of(operator, 1e-9)
    assert_close(found, operator.transform(rho), 3300 * size(operator), error)


@fewer
@given(operator=ANY, data=st.data(), axis=st.integers(0, 2))
def test_mirror_symmetry(operator, data, axis):
    """Turn an axis round: its component turns its sign, and the others stay."""
    mesh, survey = operator.mesh_, operator.survey_
    axis %= mesh.ndim
    sign = np.where(np.arange(mesh.ndim) == axis, -1.0, 1.0)
    edges = [-e[::-1] if i == axis else e for i, e in enumerate(mesh.edges)]
    active = None if mesh.active is None else np.flip(mesh.active, axis)
    there = Mesh(edges, active)
    mirrored = fit_or_dense(other_geometry(operator, there, survey.stations * sign))
    rho = data.draw(densities(operator.n_cells_, st.just(1)))
    turned = there.flatten(np.flip(mesh.unflatten(rho), axis + 1))
    name = {2: "zx", 3: "zyx"}[mesh.ndim][axis]
    signs = np.array([-1.0 if c == name else 1.0 for c in survey.components])
    expected = survey.unflatten(operator.transform(rho))[0] * signs[:, None]
    found = survey.unflatten(mirrored.transform(turned))[0]
    assert_close(found, expected, 3300 * size(operator), error_of(operator, 1e-9))


@fewer
@given(operator=ANY, data=st.data(), factor=st.sampled_from([1e-3, 0.5, 2.0, 1000.0]))
def test_units_of_length_and_density(operator, data, factor):
    """Stretch all lengths: gravity grows as much, since volume over distance squared does."""
    mesh = Mesh([factor * e for e in operator.mesh_.edges], operator.mesh_.active)
    stretched = fit_or_dense(other_geometry(operator, mesh, factor * operator.survey_.stations))
    rho = data.draw(densities(operator.n_cells_))
    scale = 3300 * factor * size(operator)
    error = error_of(operator, 1e-9)
    assert_close(stretched.transform(rho), factor * operator.transform(rho), scale, error)
    assert_close(operator.transform(factor * rho), factor * operator.transform(rho), scale)


@fewer
@given(operator=ANY, data=st.data())
def test_units_of_gravity(operator, data):
    rho = data.draw(densities(operator.n_cells_))
    normalized = clone(operator).set_params(units="normalized").fit()
    factor = gravitational_constant * 1e5 * (2 if operator.mesh_.ndim == 2 else 1)
    expected = factor * normalized.transform(rho)
    assert_close(operator.transform(rho), expected, 3300 * size(operator))


@fewer
@given(operator=ANY, data=st.data())
def test_split_cells_of_equal_density_attract_as_one(operator, data):
    assume(operator.kernel == "cell")
    mesh, rho = operator.mesh_, data.draw(densities(operator.n_cells_, st.just(1)))
    image, active = mesh.unflatten(rho), np.ones(mesh.shape, bool)
    active = active if mesh.active is None else mesh.active
    for axis in range(mesh.ndim):
        image, active = np.repeat(image, 2, axis=axis + 1), np.repeat(active, 2, axis=axis)
    edges = [np.sort(np.concatenate([e, (e[1:] + e[:-1]) / 2])) for e in mesh.edges]
    split = Mesh(edges, active)
    fine = other_geometry(operator, split, operator.survey_.stations).set_params(method="dense")
    found, error = fine.fit().transform(split.flatten(image)), error_of(operator, 1e-9)
    assert_close(found, operator.transform(rho), 3300 * size(operator), error)


@fewer
@given(operator=ANY, data=st.data())
def test_mass_below_pulls_down(operator, data):
    mesh, survey = operator.mesh_, operator.survey_
    assume("z" in survey.components and (survey.stations[:, 0] < mesh.edges[0][0]).all())
    rho = np.abs(data.draw(densities(operator.n_cells_)))
    gz = survey.unflatten(operator.transform(rho))[:, survey.components.index("z")]
    assert (gz >= -error_of(operator, 1e-9) * 3300 * size(operator)).all()


@fewer
@given(operator=ANY, data=st.data())
def test_minimum_norm_density_explains_gravity(operator, data):
    rho = data.draw(densities(operator.n_cells_, st.just(1)))
    assume(operator.svd_.s[0] > 0)
    g = operator.transform(rho)
    found = operator.inverse_transform(g, rcond=1e-9)
    assert np.linalg.norm(found) <= np.linalg.norm(rho) * (1 + 1e-6) + 1e-300
    assert_close(operator.transform(found), g, 3300 * size(operator), error_of(operator, 1e-8))


@fewer
@given(operator=ANY, data=st.data())
def test_a_matrix_operator_of_the_same_matrix_is_the_same(operator, data):
    rho = data.draw(densities(operator.n_cells_))
    given_ = MatrixOperator(operator.matrix_).fit(rho)
    scale = 3300 * size(operator)
    assert_close(given_.transform(rho), operator.transform(rho), scale, error_of(operator))


@fewer
@given(operator=ANY, data=st.data(), factor=st.sampled_from([1e-6, 0.5, 3.0, 1e6]))
def test_relative_errors_have_no_unit(operator, data, factor):
    rho = data.draw(densities(operator.n_cells_, st.just(2)))
    other = data.draw(densities(operator.n_cells_, st.just(2)))
    assume(np.linalg.norm(rho, axis=1).all())
    error = relative_l2_error(rho, other)
    assert relative_l2_error(factor * rho, factor * other) == pytest.approx(error, rel=1e-9)
    g = operator.transform(rho)
    assume((np.abs(g).max(axis=1) > 1e-6 * 3300 * size(operator)).all())
    misfit = relative_data_misfit(operator, other, g)
    scaled = relative_data_misfit(operator, factor * other, factor * g)
    assert scaled == pytest.approx(misfit, rel=1e-9, abs=1e-9)
    chi = chi_factor(operator, other, g, noise_level=0.1)
    scaled = chi_factor(operator, factor * other, factor * g, noise_level=0.1)
    assert scaled == pytest.approx(chi, rel=1e-9, abs=1e-9)


@given(mesh=meshes(), data=st.data())
def test_images_and_vectors_are_the_same_numbers(mesh, data):
    rho = data.draw(densities(mesh.n_cells))
    images = mesh.unflatten(rho)
    assert images.shape == (len(rho), *mesh.shape)
    np.testing.assert_array_equal(mesh.flatten(images), rho)
    whole = images.reshape(len(rho), -1)
    np.testing.assert_array_equal(whole[:, mesh.cells], rho)
    assert np.isnan(whole).sum() == len(rho) * (whole.shape[1] - mesh.n_cells)
    survey = data.draw(surveys(mesh))
    g = data.draw(gravity(survey.n_data))
    np.testing.assert_array_equal(survey.unflatten(g).reshape(g.shape), g)
    volumes = mesh.whole.volumes
    assert volumes.sum() == pytest.approx(np.prod([e[-1] - e[0] for e in mesh.edges]))
    np.testing.assert_array_equal(mesh.volumes, volumes.ravel()[mesh.cells])
