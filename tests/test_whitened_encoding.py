"""The encoding of the residual network: coordinates, targets, the noise of training, the loss."""

import numpy as np
import pytest
import torch
from conftest import with_noise
from residual_cases import FEW, FEW_RHO, OPERATOR, RHO, X, fitted, start, unfitted, untrained  # noqa: F401

from skgrav.inverters._whitened import WhitenedEncoding
from skgrav.metrics import relative_l2_error
from skgrav.networks import RelativeLoss
from skgrav.training import LEAST_NOISE

# The frame


def test_coordinates_have_unit_covariance(start):
    inputs, _ = start._encoding.encode(X, RHO)
    assert inputs.dtype == np.float32
    u = inputs[:, :-1].astype(np.float64)
    covariance = np.cov(u.T, bias=True)
    np.testing.assert_allclose(covariance, np.eye(u.shape[1]), atol=0.05)
    np.testing.assert_allclose(u.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(inputs[:, -1], np.sqrt(np.mean(X**2, axis=1)), rtol=1e-5)


def test_targets_tell_the_error_of_the_linear_estimate(start):
    pairs = start._encoding
    inputs, targets = pairs.encode(X[:50], RHO[:50])
    missed = RHO[:50] - pairs.mean - inputs[:, :-1].astype(np.float64) @ pairs.regression
    inside = missed @ pairs.components.T
    beyond2 = np.sum((missed - inside @ pairs.components) ** 2, axis=1)
    components = (RHO[:50] - pairs.mean) @ pairs.components.T
    np.testing.assert_allclose(targets[:, :-2], components, atol=1e-4)
    np.testing.assert_allclose(targets[:, -2], beyond2, atol=1e-4)
    np.testing.assert_allclose(targets[:, -1], np.linalg.norm(RHO[:50], axis=1), rtol=1e-6)
    total = np.sum(inside**2, axis=1) + targets[:, -2]
    np.testing.assert_allclose(total, np.sum(missed**2, axis=1), rtol=1e-4)


def test_few_components_leave_the_rest_to_the_linear_estimate():
    inverter = untrained(FEW, FEW_RHO, n_components=5)
    pairs = inverter._encoding
    inputs, targets = pairs.encode(FEW, FEW_RHO)
    assert targets.shape == (150, 7)
    batch = pairs.augmentation((0, 0), "cpu")(*map(torch.from_numpy, (inputs, targets)))
    loss = RelativeLoss()(torch.zeros(150, 5), batch[1]).item()
    linear = pairs.mean + inputs[:, :-1] @ pairs.regression
    # What lies beyond the components is that without noise, so that noise adds a little less.
    assert loss == pytest.approx(relative_l2_error(FEW_RHO, linear), rel=0.02)
    inside = np.linalg.norm((FEW_RHO - linear) @ pairs.components.T, axis=1)
    assert loss > 1.2 * np.mean(inside / np.linalg.norm(FEW_RHO, axis=1))


def test_mirrored_pairs_are_the_physical_images():
    pairs = untrained(FEW, FEW_RHO, augment="mirror")._encoding
    mirror = pairs.mirror
    inputs, targets = pairs.encode(FEW, FEW_RHO)
    assert len(inputs) == len(targets) == 300
    images = FEW_RHO[:, mirror.cells]
    expected = WhitenedEncoding.encode(pairs, OPERATOR.transform(images), images)
    np.testing.assert_allclose(inputs[150:], expected[0][:150], atol=1e-3)
    np.testing.assert_allclose(targets[150:], expected[1][:150], rtol=1e-4, atol=1e-3)
    _, linear = pairs.inputs(FEW[:, mirror.data] * mirror.sign, 0.01 * pairs.rms(FEW))
    np.testing.assert_allclose(
        linear[:, mirror.cells], pairs.inputs(FEW, 0.01 * pairs.rms(FEW))[1], atol=0.05
    )


def drawn(pairs, noise_level, inputs, targets, seed=0):
    """Give a batch as training sees it."""
    torch.manual_seed(seed)
    augment = pairs.augmentation(noise_level, "cpu")
    x, y = augment(torch.tensor(inputs), torch.tensor(targets))
    return x.numpy().astype(np.float64), y.numpy().astype(np.float64)


# Noise while training


@pytest.mark.parametrize("level", [1e-4, 0.01, 0.1])
def test_training_noise_has_the_moments_of_posterior_means(start, level):
    pairs = start._encoding
    inputs, targets = (np.repeat(part, 20_000, axis=0) for part in pairs.encode(X[:1], RHO[:1]))
    z = drawn(pairs, (level, level), inputs, targets)[0][:, :-1]
    sigma = level * np.sqrt(np.mean(X[0] ** 2))
    shrunk = pairs.variance[: z.shape[1]] / (pairs.variance[: z.shape[1]] + sigma**2)
    std = np.sqrt(shrunk * (1 - shrunk))
    u = inputs[0, :-1]
    assert np.all(np.abs(z.mean(axis=0) - shrunk * u) < 5 * std / np.sqrt(20_000) + 1e-5)
    np.testing.assert_allclose(z.std(axis=0), std, rtol=0.03, atol=1e-5)
    correlation = np.corrcoef(z[:, std > 1e-3].T)
    assert np.abs(correlation - np.eye(len(correlation))).max() < 0.04


def test_training_data_are_distributed_as_noisy_data_of_the_operator(start):
    pairs, level = start._encoding, 0.02
    z = drawn(pairs, (level, level), *pairs.encode(X, RHO))[0]
    noisy = with_noise(OPERATOR.transform(RHO), level, seed=5)
    sigma = level * np.sqrt(np.mean(X**2, axis=1))
    expected = pairs.inputs(noisy, sigma)[0]
    np.testing.assert_allclose(z[:, -1], expected[:, -1], atol=1e-5)
    np.testing.assert_allclose(np.cov(z[:, :-1].T), np.cov(expected[:, :-1].T), atol=0.04)


def test_targets_are_what_the_linear_estimate_of_the_noisy_data_misses(start):
    pairs, level = start._encoding, 0.02
    x, y = drawn(pairs, (level, level), *pairs.encode(X[:20], RHO[:20]))
    z, sigma = x[:, :-1], level * np.sqrt(np.mean(X[:20] ** 2, axis=1))
    # The data of which z is the posterior mean.
    u = z * (pairs.std**2 + sigma[:, None] ** 2) / pairs.std**2
    noisy = pairs.data_mean + (u * pairs.std) @ pairs.rotation[:, : len(pairs.std)].T
    noise = noisy - OPERATOR.transform(RHO[:20])
    live = noise @ pairs.rotation[:, : len(pairs.std)]
    assert np.sqrt(np.mean((live / sigma[:, None]) ** 2)) == pytest.approx(1, rel=0.1)
    seen, linear = pairs.inputs(noisy, sigma)
    np.testing.assert_allclose(seen, x, atol=1e-5)
    missed = (RHO[:20] - linear) @ pairs.components.T
    np.testing.assert_allclose(y[:, :-2], missed, atol=2e-3)


@pytest.mark.parametrize(
    ("noise_level", "low", "clean"),
    [((0.0, 0.1), LEAST_NOISE, 0.3), ((0.01, 0.05), 0.01, 0.0), ((0.02, 0.02), 0.02, 1.0)],
)
def test_levels_lie_between_the_bounds(start, noise_level, low, clean):
    pairs = start._encoding
    inputs, targets = (np.tile(part, (3, 1)) for part in pairs.encode(X, RHO))
    x, _ = drawn(pairs, noise_level, inputs, targets)
    level = 10 ** x[:, -1] * pairs.data_rms / inputs[:, -1]
    assert level.min() > low * (1 - 1e-4)
    assert level.max() < noise_level[1] * (1 + 1e-4)
    at_low = level < low * (1 + 1e-4)
    assert np.mean(at_low) == pytest.approx(clean, abs=0.03)
    if noise_level == (0.0, 0.1):
        assert np.mean(level[~at_low] > 1e-4) == pytest.approx(0.68, abs=0.03)
    assert not np.array_equal(x, drawn(pairs, noise_level, inputs, targets, seed=1)[0])


def test_validation_data_are_noisy_too():
    clean = fitted(training_noise=0.0, early_stopping=True, max_epochs=1, learning_rate=1e-35)
    noisy = fitted(training_noise=0.1, early_stopping=True, max_epochs=1, learning_rate=1e-35)
    assert noisy.validation_loss_curve_[0] > 1.1 * clean.validation_loss_curve_[0]


# The loss


def test_loss_is_the_mean_relative_error():
    rng = np.random.default_rng(0)
    found, true, beyond, norm = rng.normal(size=(2, 6, 4)), None, rng.uniform(size=6), 7.0
    found, true = found
    targets = np.column_stack([true, beyond**2, np.full(6, norm)])
    loss = RelativeLoss()(*map(torch.tensor, (found, targets))).item()
    expected = np.mean(np.sqrt(np.sum((found - true) ** 2, axis=1) + beyond**2) / norm)
    assert loss == pytest.approx(expected, rel=1e-9)


def test_loss_has_a_gradient_where_the_error_is_zero():
    found = torch.ones(3, 4, requires_grad=True)
    targets = torch.cat([torch.ones(3, 4), torch.zeros(3, 1), torch.ones(3, 1)], dim=1)
    RelativeLoss()(found, targets).backward()
    assert found.grad.isfinite().all()
    assert not found.grad.any()
    with pytest.raises(ValueError, match=r"returned shape \(3, 4\) for targets of shape \(3, 4\)"):
        RelativeLoss()(found, torch.ones(3, 4))


def test_sections_of_zero_density_are_no_trouble():
    rho = np.where(np.arange(150)[:, None] % 3 == 0, 0.0, FEW_RHO)
    inverter = fitted(OPERATOR.transform(rho), rho, max_epochs=5)
    assert np.isfinite(inverter.loss_curve_).all()
    assert np.isfinite(inverter.predict(0 * FEW)).all()


# Oddments


def test_validation_noise_is_the_same_in_each_epoch():
    inverter = unfitted(max_epochs=4, early_stopping=True, learning_rate=1e-12)
    losses = inverter.fit(FEW, FEW_RHO).validation_loss_curve_
    np.testing.assert_allclose(losses, losses[0], rtol=1e-5)
