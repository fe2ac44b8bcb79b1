"""Quantiles and draws of networks after calibration by pairs that they were not trained on."""

from copy import deepcopy

import numpy as np
import pytest
from conftest import with_noise
from scipy.special import ndtr

from skgrav import CNNInverter, Mesh
from skgrav.datasets import make_gravity_dataset
from skgrav.inverters._calibration import Calibration, calibrated_levels
from skgrav.inverters._marginals import CALIBRATION_SCORES, Marginals
from skgrav.metrics import interval_coverage
from skgrav.operators import PhysicsWarning

MESH = Mesh.square(12)
TRAIN = make_gravity_dataset(1000, mesh=MESH, families=["flat_layers", "basins"], random_state=0)
OTHERS = make_gravity_dataset(400, mesh=MESH, families=["blocks"], random_state=1)
NEW = make_gravity_dataset(400, mesh=MESH, families=["blocks"], random_state=2)
P = np.array([0.05, 0.25, 0.75, 0.95])


def coverage(network, level):
    """Return the coverage of 50 and 90 % on sections of a family that was not trained on."""
    X = with_noise(NEW.data, level, seed=3)
    q = network.predict_quantiles(X, P, noise_level=level)
    within = (q[..., :2] <= NEW.target[..., None]) & (NEW.target[..., None] <= q[..., :1:-1])
    return within.mean(axis=(0, 1))[::-1]


def trained(architecture="residual", **params):
    settings = {"operator": TRAIN.operator, "max_epochs": 4, "random_state": 0}
    return CNNInverter(architecture, **settings | params).fit(TRAIN.data, TRAIN.target)


@pytest.fixture(scope="module")
def networks():
    """Return networks as trained and, for each, one that was calibrated."""
    found = {}
    for name, epochs in (("residual", 4), ("unet", 2)):
        network = trained(name, max_epochs=epochs)
        found[name] = network, deepcopy(network).calibrate(OTHERS.data, OTHERS.target)
    return found


every = pytest.mark.parametrize("architecture", ["residual", "unet"])


@every
@pytest.mark.parametrize("level", [0.0, 0.003, 0.05])
@pytest.mark.filterwarnings("ignore:.*unlike the training data")
@pytest.mark.filterwarnings("ignore:'noise_level' is .* that no density like the training")
def test_stated_probabilities_hold_on_other_geology(networks, architecture, level):
    as_trained, calibrated = (coverage(network, level) for network in networks[architecture])
    assert np.abs(as_trained - [0.5, 0.9]).max() > 0.08
    np.testing.assert_allclose(calibrated, [0.5, 0.9], atol=0.03)


@pytest.mark.filterwarnings("ignore:.*unlike the training data")
@pytest.mark.filterwarnings("ignore:'noise_level' is .* that no density like the training")
def test_draws_spread_as_the_quantiles(networks):
    X = with_noise(NEW.data[:60], 0.05, seed=3)
    draws = [n.sample_y(X, 50, noise_level=0.05) for n in networks["residual"]]
    before, after = (interval_coverage(NEW.target[:60], d, levels=[0.9])[0] for d in draws)
    assert before < 0.8 < after < 0.95


def test_estimates_and_standard_deviations_stay(networks):
    for name, (as_trained, calibrated) in networks.items():
        for kept, again in zip(
            as_trained.predict(TRAIN.data[:5], return_std=True),
            calibrated.predict(TRAIN.data[:5], return_std=True),
            strict=True,
        ):
            np.testing.assert_array_equal(again, kept, err_msg=name)


@every
def test_calibration_is_kept_in_files_and_for_other_surveys(networks, architecture, tmp_path):
    as_trained, calibrated = networks[architecture]
    expected = calibrated.predict_quantiles(TRAIN.data[:5], P)
    effect = np.abs(as_trained.predict_quantiles(TRAIN.data[:5], P) - expected).mean()
    calibrated.save(tmp_path / "network.safetensors")
    others = [CNNInverter.load(tmp_path / "network.safetensors")]
    if architecture == "unet":
        others.append(calibrated.with_operator(TRAIN.operator))
    assert not as_trained.is_calibrated
    for other in others:
        assert other.is_calibrated
        assert np.abs(other.predict_quantiles(TRAIN.data[:5], P) - expected).mean() < 0.01 * effect


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_training_discards_the_calibration(method):
    network = trained(max_epochs=1).calibrate(OTHERS.data, OTHERS.target)
    again = trained(max_epochs=1)
    for each in (network, again):
        getattr(each, method)(TRAIN.data, TRAIN.target)
    some = [each.predict_quantiles(TRAIN.data[:5], P) for each in (network, again)]
    np.testing.assert_array_equal(*some)


def test_calibration_is_repeatable_and_takes_a_seed():
    network = trained(max_epochs=1)
    first, same, other = (
        network.calibrate(OTHERS.data, OTHERS.target, seed).predict_quantiles(NEW.data[:5], P)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, same)
    assert np.abs(first - other).max() > 0


@pytest.mark.parametrize(
    ("network", "pairs", "message"),
    [
        ({"uncertainty": False}, slice(None), "trained without the spread"),
        ({}, slice(19), "'X' has 19 samples, but calibration needs at least 20"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(network, pairs, message):
    network = trained(max_epochs=1, **network)
    with pytest.raises(ValueError, match=message):
        network.calibrate(OTHERS.data[pairs], OTHERS.target[pairs])


def test_densities_of_another_mesh_are_refused():
    with pytest.raises(ValueError, match="'y' has 100 cells, but the network was trained for 144"):
        trained(max_epochs=1).calibrate(OTHERS.data, OTHERS.target[:, :100])


@pytest.mark.parametrize(
    ("architecture", "method"),
    [("residual", "calibrate"), ("residual", "partial_fit"), ("unet", "calibrate")],
)
def test_pairs_after_the_fit_are_checked_as_in_it(architecture, method):
    learn = getattr(trained(architecture, max_epochs=1), method)
    with pytest.raises(ValueError, match="X is 1000 times the operator's gravity"):
        learn(OTHERS.data, OTHERS.target / 1000)
    with pytest.warns(PhysicsWarning, match="does not reproduce X from y"):
        learn(OTHERS.data, OTHERS.target[::-1])
    learn(with_noise(OTHERS.data, 0.05, seed=3), OTHERS.target)


def test_an_identified_operator_is_not_identified_again_from_pairs_that_calibrate():
    others = make_gravity_dataset(
        400, mesh=MESH, families=["flat_layers", "basins"], random_state=3
    )
    some = slice(30)  # of the data, so that the geometry is not the paper's
    with pytest.warns(PhysicsWarning, match="was identified"):
        network = CNNInverter(max_epochs=1, random_state=0).fit(TRAIN.data[:, some], TRAIN.target)
    network.calibrate(others.data[:, some], others.target)
    with pytest.raises(ValueError, match="X is 1000 times the operator's gravity"):
        network.calibrate(others.data[:, some], others.target / 1000)


@pytest.mark.parametrize(
    ("levels", "scores", "message"),
    [
        ([0.0], np.zeros((1, 7)), "7 scores for 1 levels"),
        ([], np.zeros((0, len(CALIBRATION_SCORES))), "scores for 0 levels"),
        ([0.1, 0.0], np.zeros((2, len(CALIBRATION_SCORES))), "do not increase"),
        ([0.0], -CALIBRATION_SCORES[None], "do not increase"),
        ([0.0], np.full((1, len(CALIBRATION_SCORES)), np.nan), "do not increase"),
    ],
)
def test_files_with_other_calibrations_are_refused(levels, scores, message):
    with pytest.raises(ValueError, match=message):
        Calibration(np.array(levels), scores)


def test_levels_are_those_within_training():
    np.testing.assert_array_equal(calibrated_levels(0.0, 0.1), [0, 1e-3, 1e-2, 1e-1])
    np.testing.assert_array_equal(calibrated_levels(0.005, 0.4), [0.005, 1e-2, 1e-1, 0.4])
    np.testing.assert_array_equal(calibrated_levels(0.0, 0.0), [0.0])


def test_a_distribution_that_is_too_narrow_is_widened_by_its_factor():
    # Densities spread twice as much as stated, so a score s is that of 2 s.
    rng = np.random.default_rng(0)
    stated = ndtr(2 * rng.standard_normal(1_000_000))
    calibration = Calibration.of(np.array([0.01, 0.1]), [stated, ndtr(rng.standard_normal(10**6))])
    one = np.ones((3, 4))
    cells = Marginals(one, 5 * one, 0 * one, one, one, calibration.at(np.array([0.001, 0.01, 0.1])))
    found = cells.quantiles(np.array([0.025, 0.5, 0.975, 1 - 1e-5]))
    scores = np.array([-1.96, 0.0, 1.96, 4.2649])
    for i in (0, 1):
        np.testing.assert_allclose(found[i, 0, :3], 5 + 2 * scores[:3], atol=0.02)
        # Beyond the table a score is shifted, not scaled.
        assert found[i, 0, 3] == pytest.approx(5 + 2 * CALIBRATION_SCORES[-1] + 1.2649, abs=0.05)
    np.testing.assert_allclose(found[2, 0], 5 + scores, atol=0.05)
    np.testing.assert_array_equal(
        cells.of(1).quantiles(np.array([0.2]))[0, 0], cells.quantiles(np.array([0.2]))[1, 0]
    )
