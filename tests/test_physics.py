"""Which operator `resolve_operator` finds, and what it says about pairs that do not fit."""

import warnings

import numpy as np
import pytest
from conftest import with_noise
from sklearn.base import clone

from skgrav import ForwardOperator, MatrixOperator, Mesh, Survey
from skgrav.datasets import make_density_models, make_gravity_dataset
from skgrav.operators import PhysicsWarning, resolve_operator
from skgrav.operators._identification import _looks_like_noise, relative_misfit

MESH = Mesh.square(6)
RHO = make_density_models(300, mesh=MESH, random_state=0)
GIVEN = ForwardOperator(MESH, Survey.line(MESH)).fit()
G = GIVEN.transform(RHO)
LONG = Mesh.regular((4, 9), 0.8)  # as many cells, but transposing it is not mirroring it
LOW = ForwardOperator(LONG).fit()


def with_drift(g, level):
    """Add noise of `level` times the rms of each sample that neighbouring stations share."""
    noise = with_noise(g, level) - g
    return g + (noise + np.roll(noise, 1, axis=1)) / np.sqrt(2)


def resolve_silently(*args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return resolve_operator(*args, **kwargs)


@pytest.mark.parametrize("kernel", ["cell", "point"])
@pytest.mark.parametrize("units", ["normalized", "mGal"])
@pytest.mark.parametrize("n_samples", [300, 2, 1])
def test_default_geometry_is_found_silently(kernel, units, n_samples):
    hidden = ForwardOperator(kernel=kernel, units=units).fit(RHO)
    found = resolve_silently(None, RHO[:n_samples], hidden.transform(RHO[:n_samples]))
    assert (found.kernel, found.units) == (kernel, units)
    assert found.mesh_ == MESH
    assert found.matrix_ is hidden.matrix_


@pytest.mark.parametrize("level", [0.01, 0.05])
def test_default_geometry_is_found_silently_in_noise_of_known_level(level):
    found = resolve_silently(None, RHO, with_noise(G, level), noise_level=level)
    assert isinstance(found, ForwardOperator)
    assert (found.kernel, found.units) == ("cell", "mGal")


def test_default_geometry_is_kept_with_a_warning_where_what_remains_is_not_white():
    text = r"paper's geometry reproduces X from y only to .*misfit of 0\.049.* Give 'operator', or"
    with pytest.warns(PhysicsWarning, match=text):
        found = resolve_operator(None, RHO, with_drift(G, 0.05))
    assert isinstance(found, ForwardOperator)
    assert found.units == "mGal"


def test_default_that_explains_nothing_is_no_operator():
    with pytest.warns(PhysicsWarning, match="identified .* That explains little of X: check that"):
        found = resolve_operator(None, RHO[:60] - RHO.mean(), 1e6 * G[:60][::-1])
    assert isinstance(found, MatrixOperator)


@pytest.mark.parametrize(
    "hidden",
    [
        ForwardOperator(MESH, Survey.line(MESH, height=3.0)),
        ForwardOperator(MESH, Survey.line(MESH, n_stations=7)),
        ForwardOperator(LONG),
    ],
    ids=["other height", "fewer stations", "no square section"],
)
def test_other_geometry_is_identified_and_its_held_out_error_reported(hidden):
    g = hidden.fit().transform(RHO)
    text = (
        r"identified from 240 of them by ridge regression, with a relative error of (\S+) on held"
    )
    with pytest.warns(PhysicsWarning, match=text) as caught:
        found = resolve_operator(None, RHO, g)
    assert isinstance(found, MatrixOperator)
    assert found.matrix_.shape == hidden.matrix_.shape
    reported = float(str(caught[0].message).split("relative error of ")[1].split()[0])
    assert 0 < reported < 1e-3
    assert reported == pytest.approx(relative_misfit(found, RHO[:60], g[:60]), rel=0.1)


def test_identified_operator_knows_what_noise_does_not_explain():
    hidden = ForwardOperator(MESH, Survey.line(MESH, height=3.0)).fit()
    g = hidden.transform(RHO)
    with pytest.warns(PhysicsWarning, match=r"relative error of 0\.\d+ on held-out"):
        poor = resolve_operator(None, RHO[:40], g[:40])
    assert poor.held_out_error_ == relative_misfit(poor, RHO[:8], g[:8]) > 1e-4
    with pytest.warns(PhysicsWarning, match=r"relative error of 0\.05\d on held-out"):
        noisy = resolve_operator(None, RHO, with_noise(g, 0.05))
    assert noisy.held_out_error_ == 0.0
    with pytest.warns(PhysicsWarning):
        shifted = resolve_operator(None, RHO[:40], g[:40] + 10 * g.max(), offset=True)
    norms = [np.linalg.norm(data) for data in (g[:8], g[:8] + 10 * g.max())]
    ratio = shifted.held_out_error_ / poor.held_out_error_
    assert ratio == pytest.approx(norms[0] / norms[1], rel=0.5)
    assert not hasattr(poor.fit(RHO, g), "held_out_error_")


def test_too_few_pairs_give_a_poor_operator_and_the_report_says_so():
    hidden = ForwardOperator(MESH, Survey.line(MESH, height=3.0)).fit()
    with pytest.warns(PhysicsWarning, match=r"identified from 8 of them .* error of 0\.\d+ on"):
        resolve_operator(None, RHO[:10], hidden.transform(RHO[:10]))


def test_one_pair_of_unknown_geometry_still_gives_an_operator():
    with pytest.warns(PhysicsWarning, match="identified from 1 of them"):
        found = resolve_operator(None, RHO[:1], G[:1, :7])
    assert found.matrix_.shape == (7, 36)


@pytest.mark.parametrize("operator", [GIVEN, MatrixOperator(GIVEN.matrix_)])
def test_given_operator_that_fits_is_returned_as_a_fitted_clone(operator):
    found = resolve_silently(operator, RHO, G)
    assert found is not operator
    assert type(found) is type(operator)
    np.testing.assert_array_equal(found.matrix_, GIVEN.matrix_)


def test_given_operator_is_silent_in_noise_of_known_level_and_warns_otherwise():
    g = with_drift(G, 0.05)
    resolve_silently(GIVEN, RHO, g, noise_level=0.05)
    text = r"relative misfit 0\.05 over 300 .* Check mesh, survey and units; if this is noise, give"
    with pytest.warns(PhysicsWarning, match=text):
        resolve_operator(GIVEN, RHO, g)


def test_noise_far_above_the_known_level_is_told_though_it_is_white():
    with pytest.warns(PhysicsWarning, match=r"relative misfit 0\.05 over 300"):
        resolve_operator(GIVEN, RHO, with_noise(G, 0.05), noise_level=0.001)


@pytest.mark.parametrize("operator", [None, GIVEN, MatrixOperator(GIVEN.matrix_)])
@pytest.mark.parametrize("level", [0.002, 0.01, 0.05, 0.2])
@pytest.mark.parametrize("n_samples", [300, 40])
def test_what_looks_like_noise_is_taken_for_it(operator, level, n_samples):
    found = resolve_silently(operator, RHO[:n_samples], with_noise(G, level)[:n_samples])
    # A station away, cells hardly differ from points, which is not seen in much noise.
    np.testing.assert_allclose(found.matrix_, GIVEN.matrix_, atol=0.02 * GIVEN.matrix_.max())


@pytest.mark.parametrize("n_samples", [5, 30])
@pytest.mark.parametrize("level", [0.01, 0.05])
def test_few_noisy_sections_of_the_papers_size_are_recognised(n_samples, level):
    data = make_gravity_dataset(n_samples, noise_level=level, random_state=0)
    found = resolve_silently(None, data.target, data.data)
    assert isinstance(found, ForwardOperator)
    assert found.units == "normalized"


def test_too_few_numbers_do_not_tell_noise():
    with pytest.warns(PhysicsWarning, match="if this is noise, give 'noise_level'"):
        resolve_operator(GIVEN, RHO[:20], with_noise(G, 0.05)[:20])  # of 36 data


def test_noise_that_differs_between_samples_and_between_data_is_noise():
    noise = np.random.default_rng(0).normal(size=G.shape)
    noise *= np.geomspace(0.1, 10, len(G))[:, None] * np.geomspace(0.2, 5, G.shape[1])
    assert _looks_like_noise(noise)
    both = np.random.default_rng(1).normal(size=(len(G), 18))  # of gx and gz at each station
    assert not _looks_like_noise(np.hstack([both, both + noise[:, :18]]))
    line = np.random.default_rng(2).normal(size=(1, 1201))
    assert _looks_like_noise(line)
    assert not _looks_like_noise(line[:, 1:] + line[:, :-1])  # in a single sample


def test_noise_is_rarely_taken_for_physics():
    rng = np.random.default_rng(0)
    taken = [_looks_like_noise(rng.normal(size=(30, 60))) for _ in range(300)]
    assert np.mean(taken) > 0.98


LINE, LOW_LINE = Survey.line(MESH), Survey.line(MESH, height=0.1)
WRONG = {
    "higher": (ForwardOperator(MESH, Survey.line(MESH, height=2.0)), GIVEN, 1.0),
    "shifted": (ForwardOperator(MESH, Survey(LINE.stations + [0, 0.3], ("x", "z"))), GIVEN, 1.0),
    "points": (ForwardOperator(MESH, LOW_LINE, kernel="point"), ForwardOperator(MESH, LOW_LINE), 1),
    "units": (GIVEN, GIVEN, 1.03),
    "other units": (ForwardOperator(MESH, units="normalized"), GIVEN, 1.0),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("level", [0.0, 0.002, 0.02])
def test_noise_does_not_hide_the_wrong_physics(wrong, level):
    hidden, given, factor = WRONG[wrong]
    g = with_noise(factor * hidden.fit(RHO).transform(RHO), level)
    refused = relative_misfit(given.fit(RHO), RHO, g) > 0.5
    told = pytest.raises(ValueError, match="does not reproduce X") if refused else None
    assert refused == (wrong == "other units")
    with told or pytest.warns(PhysicsWarning, match="does not reproduce X from y"):
        resolve_operator(given, RHO, g)


@pytest.mark.parametrize("wrong", ["higher", "shifted", "units"])
@pytest.mark.parametrize("level", [0.0, 0.002, 0.02])
def test_default_geometry_is_not_taken_for_another_in_noise(wrong, level):
    hidden, _, factor = WRONG[wrong]
    with pytest.warns(PhysicsWarning, match="'operator' is None and the paper's geometry"):
        resolve_operator(None, RHO, with_noise(factor * hidden.fit(RHO).transform(RHO), level))


def test_offset_of_standardised_densities_is_no_obstacle_to_identify_the_rest():
    centre, spread = RHO.mean(axis=0), RHO.std(axis=0)
    standard = (RHO - centre) / spread
    with pytest.warns(PhysicsWarning, match="identified from 240 of them"):
        found = resolve_operator(None, standard, G, offset=True)
    np.testing.assert_allclose(
        found.matrix_, GIVEN.matrix_ * spread, atol=1e-5 * np.abs(GIVEN.matrix_).max()
    )


@pytest.mark.parametrize("components", ["x", "z"])
def test_noise_on_one_component_is_not_taken_for_a_wrong_order(components):
    operator = ForwardOperator(MESH, Survey.line(MESH, components=components)).fit()
    with pytest.warns(PhysicsWarning, match="Check mesh, survey and units; if this is noise, give"):
        resolve_operator(operator, RHO, with_drift(operator.transform(RHO), 0.03))


def stations_first(g):
    return g.reshape(len(g), 2, -1).swapaxes(1, 2).reshape(len(g), -1)


def other_component_first(g):
    return np.roll(g, g.shape[1] // 2, axis=1)


def image(rho, change):
    return change(LONG.unflatten(rho)).reshape(len(rho), -1)


MISTAKES = {
    "reverse order": (RHO, other_component_first(LOW.transform(RHO))),
    "station-major": (RHO, stations_first(LOW.transform(RHO))),
    "sign of X is reversed": (RHO, -LOW.transform(RHO)),
    "upside down": (image(RHO, lambda y: y[:, ::-1]), LOW.transform(RHO)),
    "mirrored": (image(RHO, lambda y: y[:, :, ::-1]), LOW.transform(RHO)),
    "transposed": (image(RHO, lambda y: y.swapaxes(1, 2)), LOW.transform(RHO)),
    r"X is 1000 times the operator's gravity: check the 'units'": (RHO, 1e3 * LOW.transform(RHO)),
    r"X is 0\.9 times the operator's gravity": (RHO, 0.9 * LOW.transform(RHO)),
}


@pytest.mark.parametrize("text", MISTAKES)
@pytest.mark.parametrize("level", [0.0, 0.02])
@pytest.mark.filterwarnings("always::skgrav.operators.PhysicsWarning")
def test_the_usual_mistake_is_named(text, level):
    rho, g = MISTAKES[text]
    g = with_noise(g, level)
    misfit = relative_misfit(LOW, rho, g)
    text = rf"'operator' does not reproduce X from y: relative misfit {misfit:.2g} over.*{text}"
    if misfit > 0.5:
        with pytest.raises(ValueError, match=text):
            resolve_operator(LOW, rho, g, noise_level=level)
    else:
        with pytest.warns(PhysicsWarning, match=text):
            resolve_operator(LOW, rho, g, noise_level=level)


def test_physics_that_no_usual_mistake_explains_is_refused():
    g = np.random.default_rng(0).normal(size=G.shape)
    with pytest.raises(ValueError, match=r"relative misfit \S+ over 300 .*Check mesh, survey"):
        resolve_operator(GIVEN, RHO, g)


def test_matrix_has_no_geometry_to_diagnose_but_a_factor():
    operator = MatrixOperator(GIVEN.matrix_)
    with pytest.raises(ValueError, match="X is -1 times the operator's gravity"):
        resolve_operator(operator, RHO, -G)
    with pytest.raises(ValueError, match="Check mesh, survey and units"):
        resolve_operator(operator, RHO, G[:, ::-1])


@pytest.mark.parametrize(
    ("operator", "rho", "g", "text"),
    [
        (GIVEN, RHO, G[:, 1:], r"'operator' maps 36 cells to 36 data, .* 36 cells and 35 data"),
        (GIVEN, RHO[:, 1:], G, r"'X' has 35 columns, but 'mesh' of shape \(6, 6\) has 36 cells"),
        (MatrixOperator(GIVEN.matrix_), RHO[:, 1:], G, r"'X' has 35 columns, but 'matrix' of"),
    ],
)
def test_sizes_that_do_not_match_are_refused(operator, rho, g, text):
    with pytest.raises(ValueError, match=text):
        resolve_operator(operator, rho, g)


def test_zero_gravity_of_zero_density_is_reproduced():
    assert relative_misfit(GIVEN, 0 * RHO, 0 * G) == 0
    assert relative_misfit(GIVEN, RHO, 0 * G) == 1
    resolve_silently(clone(GIVEN), 0 * RHO, 0 * G)
