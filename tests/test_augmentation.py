"""Fresh noise and mirror images of training batches."""

import numpy as np
import pytest
import torch
from cnn_cases import ASIDE, DATA, X, Y, _seed, recording, small  # noqa: F401
from training_cases import same_weights

from skgrav import ForwardOperator, MatrixOperator, Mesh, Survey
from skgrav.training import Augmentation, Mirror


@pytest.fixture
def augmentation():
    """Give standardised samples of very different size and what makes a noisy batch of them."""
    rng = np.random.default_rng(0)
    g = np.array([[0.1], [1.0], [50.0]]) * rng.normal(3, 1, (3, 4000))
    mean, scale = g.mean(axis=0), g.std(axis=0)

    def noise_of(level):
        augment = Augmentation(level, mean, scale, None, "cpu")
        batch = torch.tensor((g - mean) / scale, dtype=torch.float32)
        noisy, _ = augment(batch, torch.zeros(3, 1))
        return noisy.numpy() * scale + mean - g, np.sqrt(np.mean(g**2, axis=1))

    return noise_of


# Noise and mirror images


def test_noise_is_relative_to_the_rms_of_each_samples_own_data(augmentation):
    noise, rms = augmentation((0.02, 0.02))
    np.testing.assert_allclose(noise.std(axis=1) / rms, 0.02, rtol=0.05)
    assert np.all(np.abs(noise.mean(axis=1)) < 0.002 * rms)


def test_a_pair_draws_a_noise_level_for_each_sample(augmentation):
    draws = [augmentation((0.01, 0.05)) for _ in range(100)]
    levels = np.concatenate([noise.std(axis=1) / rms for noise, rms in draws])
    assert levels.min() > 0.009
    assert levels.max() < 0.0525  # as 4000 data tell it
    # Denser near the upper bound: the share of the decades below it is squared.
    expected = 0.05 * 0.2 ** ((1 - np.array([0.25, 0.5, 0.75])) ** 2)
    np.testing.assert_allclose(np.quantile(levels, [0.25, 0.5, 0.75]), expected, atol=4e-3)


@pytest.mark.parametrize(("noise", "fresh"), [(0.0, False), (0.05, True), ((0, 0.05), True)])
def test_noise_is_drawn_afresh_each_epoch(noise, fresh):
    seen = []
    small(architecture=recording(seen), training_noise=noise, max_epochs=2).fit(X[:1], Y[:1])
    assert np.array_equal(*seen) == (not fresh)


def test_noise_acts_on_training_alone():
    inverter = small(training_noise=0.5).fit(X, Y)
    assert not same_weights(inverter, small().fit(X, Y))
    np.testing.assert_array_equal(inverter.predict(X), inverter.predict(X))


SHIFTED = Mesh([[0, 1, 3, 7], 100 + np.array([0, 3, 4, 6, 8, 9, 12])])
VOLUME = Mesh.regular((2, 3, 4), 1.0)


@pytest.mark.parametrize(
    ("mesh", "survey"),
    [
        (Mesh.square(7), None),
        (Mesh.square(8), Survey.line(Mesh.square(8), components="z")),
        (Mesh.square(8), Survey.line(Mesh.square(8), components=("z", "x"))),
        (SHIFTED, Survey.line(SHIFTED, n_stations=5)),
        (SHIFTED, Survey([[-1, 107], [-2, 103], [-1, 105], [-2, 109]])),
        (VOLUME, Survey.grid(VOLUME, height=0.5, components=("x", "y", "z"))),
    ],
    ids=["paper", "gz alone", "gz first", "uneven columns", "unordered stations", "3D"],
)
def test_gravity_of_the_mirrored_section_is_the_mirrored_gravity(mesh, survey):
    operator = ForwardOperator(mesh, survey).fit()
    mirror = Mirror.of(mesh, operator.survey_)
    rho = np.random.default_rng(0).normal(size=(3, mesh.n_cells))
    g = operator.transform(rho)
    scale = np.abs(g).max()
    mirrored = operator.transform(rho[:, mirror.cells])
    np.testing.assert_allclose(mirrored, g[:, mirror.data] * mirror.sign, atol=1e-12 * scale)
    assert not np.allclose(mirrored, g)
    np.testing.assert_array_equal(mirror.data[mirror.data], np.arange(g.shape[1]))


def test_half_of_the_batch_is_mirrored_and_stays_physical():
    seen, targets = [], []
    inverter = small(augment="mirror", max_epochs=1).fit(X, Y)
    augment = inverter.net_.augment
    mean, scale = inverter._encoding.mean, inverter._encoding.scale
    for seed in range(5):
        torch.manual_seed(seed)
        batch = torch.tensor((X - mean) / scale, dtype=torch.float32)
        g, rho = augment(batch, torch.tensor(Y, dtype=torch.float32))
        seen.append(g.numpy() * scale + mean)
        targets.append(rho.numpy())
    g, rho = np.concatenate(seen), np.concatenate(targets)
    np.testing.assert_allclose(DATA.operator.transform(rho), g, atol=1e-4 * np.abs(X).max())
    flipped = np.any(rho != np.tile(Y.astype(np.float32), (5, 1)), axis=1)
    assert 0.3 < flipped.mean() < 0.7


def test_standardisation_commutes_with_the_mirror():
    inverter = small(augment="mirror").fit(X, Y)
    mirror = Mirror.of(DATA.operator.mesh_, DATA.operator.survey_)
    image = inverter._encoding.inputs(X[:, mirror.data] * mirror.sign)
    np.testing.assert_allclose(
        image, inverter._encoding.inputs(X)[:, mirror.data] * mirror.sign, atol=1e-6
    )


UNEVEN = Mesh([np.arange(13.0), np.r_[0:12, 13]])


@pytest.mark.parametrize(
    ("operator", "n_data", "text"),
    [
        (None, 71, r"augment='mirror' needs 'operator', a ForwardOperator .*71 data and 144 cells"),
        (MatrixOperator(np.ones((72, 144))), 72, "needs 'operator', a ForwardOperator with mesh"),
        (ForwardOperator(UNEVEN), 72, "a mesh whose columns are symmetric about its centre"),
        (
            ForwardOperator(Mesh.square(12), ASIDE),
            8,
            r"stations symmetric .* x = 0 m, but 1 of 4 have no mirror image; use augment=None",
        ),
    ],
    ids=["no operator", "matrix", "uneven mesh", "uneven stations"],
)
def test_mirror_refuses_what_is_not_symmetric(operator, n_data, text):
    with pytest.raises(ValueError, match=text):
        small(operator=operator, augment="mirror").fit(X[:, :n_data], Y)
