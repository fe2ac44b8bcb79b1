"""What each generator learns: where training starts, its loss, its samples and codes."""

import copy

import numpy as np
import pytest
import torch
from generator_cases import (  # noqa: F401
    MESH,
    PAPER_GAN_COLLAPSES,
    TINY,
    UNSEEN,
    X,
    gan,
    noting_weights,
    objective,
    reconstructed,
    slopes,
    small,
    weights,
)
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from torch import nn
from torch.distributions import Normal, kl_divergence

from skgrav import GANGenerator, VAEGenerator
from skgrav.datasets import make_density_models
from skgrav.generators._gan import AdversarialNet
from skgrav.generators._vae import VAELoss
from skgrav.metrics import relative_l2_error, sample_coverage
from skgrav.networks import (
    PaperDecoder,
    PaperEncoder,
    PaperGenerator,
)


def untrained(kind, **params):
    """Give a generator whose weights are those it starts with."""
    return small(kind, max_epochs=1, learning_rate=1e-12, **params)


# Where training starts


def test_vae_starts_as_whitened_principal_components():
    vae, pca = untrained(VAEGenerator).fit(X), PCA(6, whiten=True).fit(X)
    np.testing.assert_allclose(vae.transform(UNSEEN), pca.transform(UNSEEN), atol=1e-3)
    linear = pca.inverse_transform(pca.transform(UNSEEN))
    error = relative_l2_error(UNSEEN, reconstructed(vae, UNSEEN))
    assert error == pytest.approx(relative_l2_error(UNSEEN, linear), abs=1e-2)


def test_vae_starts_with_the_posterior_of_probabilistic_components():
    vae, pca = untrained(VAEGenerator).fit(X), PCA(6).fit(X / np.ptp(X))
    _, log_variance = vae._posterior(X)
    noise = pca.noise_variance_
    expected = noise / (pca.explained_variance_ + noise)
    np.testing.assert_allclose(log_variance.exp(), np.tile(expected, (100, 1)), rtol=1e-3)


def test_gan_starts_with_the_mean_and_covariance_of_the_principal_components():
    # Bounds far away don't cut the tails of the Gaussian off.
    gan, pca = untrained(GANGenerator, density_range=(-20, 30)).fit(X), PCA(6).fit(X)
    linear = pca.components_.T * pca.explained_variance_ @ pca.components_
    rho = gan.sample(4000, random_state=0)
    covariance = np.cov(rho, rowvar=False)
    assert np.linalg.norm(covariance - linear) < 0.2 * np.linalg.norm(linear)
    assert relative_l2_error(pca.mean_[None], rho.mean(axis=0)[None]) < 0.1


@pytest.fixture(scope="module")
def slope_vae():
    return VAEGenerator(4, max_epochs=30, random_state=0).fit(slopes(300, 0))


# The VAE


def test_vae_beats_principal_components_and_the_mean_on_unseen_sections(slope_vae):
    rho, pca = slopes(100, 1), PCA(4).fit(slopes(300, 0))
    error = relative_l2_error(rho, reconstructed(slope_vae, rho))
    mean = np.tile(slopes(300, 0).mean(axis=0), (100, 1))
    assert error < 0.4 * relative_l2_error(rho, pca.inverse_transform(pca.transform(rho)))
    assert error < 0.15 * relative_l2_error(rho, mean)


def test_vae_comes_near_principal_components_on_few_sections_of_all_families():
    rho = make_density_models(300, mesh=MESH, random_state=0)
    vae, pca = VAEGenerator(20, max_epochs=20, random_state=0).fit(rho), PCA(20).fit(rho)
    error = relative_l2_error(UNSEEN, reconstructed(vae, UNSEEN))
    assert error < 1.05 * relative_l2_error(UNSEEN, pca.inverse_transform(pca.transform(UNSEEN)))
    assert error < 0.6 * relative_l2_error(UNSEEN, np.tile(rho.mean(axis=0), (50, 1)))


def test_vae_samples_look_like_slopes(slope_vae):
    rho = slope_vae.sample(300, random_state=0)
    # Density falls nowhere with depth in a slope, and is 2 or 10 but for the interface.
    assert np.mean(np.diff(rho.reshape(-1, 12, 12), axis=1) > -0.5) > 0.98
    assert np.mean((rho < 3) | (rho > 9)) > 0.75
    assert rho.std(axis=0).sum() == pytest.approx(slopes(300, 0).std(axis=0).sum(), rel=0.25)


def test_codes_that_a_vae_draws_are_spread_as_those_of_sections(slope_vae, tmp_path):
    codes = slope_vae.transform(slopes(2000, 1))
    drawn = slope_vae._drawn_codes(2000, np.random.RandomState(0))
    np.testing.assert_allclose(drawn.std(axis=0), codes.std(axis=0), rtol=0.2, atol=0.05)
    covered = sample_coverage(slopes(500, 2), slope_vae.sample(500, random_state=0))
    normal = np.random.default_rng(0).normal(size=(500, slope_vae.n_components_))
    assert covered > 0.8
    assert covered > sample_coverage(slopes(500, 2), slope_vae.inverse_transform(normal))
    assert len(np.unique(drawn, axis=0)) == 2000
    slope_vae.save(tmp_path / "vae")
    loaded = VAEGenerator.load(tmp_path / "vae")
    samples = (vae.sample(3, random_state=0) for vae in (slope_vae, loaded))
    np.testing.assert_array_equal(*samples)


def test_vae_loss_falls(slope_vae):
    curve = slope_vae.loss_curve_
    assert len(curve) == slope_vae.n_epochs_ == 30
    assert slope_vae.validation_loss_curve_ == []
    assert np.mean(curve[-5:]) < np.mean(curve[10:15]) < curve[0] - 0.5


def test_codes_are_the_mean_of_the_posterior_and_not_drawn(slope_vae):
    rho = slopes(20, 1)
    for again in [slope_vae.transform(rho), slope_vae._posterior(rho)[0]]:
        np.testing.assert_allclose(slope_vae.transform(rho), again, atol=1e-5)


def test_divergence_is_that_of_gaussians(slope_vae):
    rho = slopes(400, 1)  # more than a chunk
    mean, log_variance = slope_vae._posterior(rho)
    posterior, prior = Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)
    expected = kl_divergence(posterior, prior).sum(dim=1)
    found = slope_vae.kl_divergence(rho)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert found.shape == (400,)
    assert found.min() > 0


def noted_losses(monkeypatch):
    """Note what the loss of a VAE is made of, in training and validation."""
    forward, seen = VAELoss.forward, []

    def note(self, output, rho):
        loss = forward(self, output, rho)
        posterior = Normal(output[1], (output[2] / 2).exp())
        kl = kl_divergence(posterior, Normal(0.0, 1.0)).sum(dim=1).mean()
        mse = (output[0] - rho).square().mean()
        seen.append((self.training, self.weight, loss.item(), mse.item(), kl.item()))
        return loss

    monkeypatch.setattr(VAELoss, "forward", note)
    return seen


def test_divergence_gains_its_weight_in_a_quarter_of_training_and_has_all_of_it_in_validation(
    monkeypatch,
):
    seen = noted_losses(monkeypatch)
    small(max_epochs=8, batch_size=10, early_stopping=True, n_iter_no_change=8).fit(X)
    training, weight, loss, mse, kl = np.array(seen).T
    train = training == 1
    assert (train.sum(), (~train).sum()) == (8 * 9, 8)
    np.testing.assert_allclose(weight[train], np.minimum(1, np.arange(72) / 18))
    full = np.where(train, weight, 1.0)
    np.testing.assert_allclose(loss, np.log(mse + 1e-7) / 2 + full * kl / 144, rtol=1e-5)
    assert weight[~train][0] < 0.5  # or the full weight would show nothing


def test_papers_vae_loss_is_1000_mse_of_12_units_and_the_whole_divergence(monkeypatch):
    seen = noted_losses(monkeypatch)
    small(architecture="paper", max_epochs=2).fit(TINY)
    _, _, loss, mse, kl = np.array(seen).T
    np.testing.assert_allclose(loss, 144e3 * mse + kl, rtol=1e-5)


def test_ten_sections_are_overfitted():
    vae = VAEGenerator(3, max_epochs=300, batch_size=10, learning_rate=1e-2, random_state=0)
    pca = PCA(3).fit(X[:10])
    error = relative_l2_error(X[:10], reconstructed(vae.fit(X[:10]), X[:10]))
    assert error < 0.3 * relative_l2_error(X[:10], pca.inverse_transform(pca.transform(X[:10])))
    assert error < 0.05


# The GAN


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_samples_have_the_mean_and_spread_of_the_training_sections(seed):
    gan = GANGenerator(20, max_epochs=20, random_state=seed).fit(X)
    rho = gan.sample(500, random_state=seed)
    assert 0.7 < gan.diversity_ < 1.3
    assert relative_l2_error(X.mean(axis=0)[None], rho.mean(axis=0)[None]) < 0.08
    spread = rho.std(axis=0) / X.std(axis=0)
    assert 0.6 < spread.min() < spread.max() < 1.4


def test_diversity_is_the_spread_relative_to_that_of_the_training_sections(gan):
    spread = np.sqrt(gan.sample(5000, random_state=1).var(axis=0).sum())
    assert gan.diversity_ == pytest.approx(spread / np.sqrt(X.var(axis=0).sum()), rel=0.05)


def test_collapse_is_told():
    text = r"samples have only 0\.\d\d of the spread of the training sections"
    with pytest.warns(ConvergenceWarning, match=text) as caught:
        gan = small(GANGenerator, architecture="paper", max_epochs=1).fit(X)
    assert caught[0].filename == __file__
    assert gan.diversity_ < 0.5


def test_losses_of_both_adversaries_are_kept_for_each_epoch(gan):
    assert gan.n_epochs_ == len(gan.loss_curve_) == len(gan.generator_loss_curve_) == 20
    assert np.isfinite([gan.loss_curve_, gan.generator_loss_curve_]).all()
    assert gan.loss_curve_ != gan.generator_loss_curve_
    # A critic that tells nothing apart has a hinge loss of 2.
    assert 0 < min(gan.loss_curve_) < 2


def test_generator_is_averaged_over_the_steps(monkeypatch):
    step, seen = AdversarialNet.train_step, []

    def note(self, batch, **kwargs):
        result = step(self, batch, **kwargs)
        seen.append(self.module_.generator.linear.bias.detach().clone())
        return result

    monkeypatch.setattr(AdversarialNet, "train_step", note)
    gan = small(GANGenerator, learning_rate=0.01).fit(X)
    assert len(seen) == 12
    mean = torch.stack(seen).mean(dim=0)
    torch.testing.assert_close(gan.net_.module_.average.linear.bias, mean)
    assert (mean - seen[-1]).abs().max() > 1e-4


@PAPER_GAN_COLLAPSES
def test_papers_gan_has_the_last_weights(monkeypatch):
    states = noting_weights(monkeypatch)
    kept = weights(small(GANGenerator, architecture="paper").fit(TINY))
    for name, value in kept.items():
        torch.testing.assert_close(value, states[-1][name.replace("average", "generator")])


def test_code_of_a_section_is_nearer_than_any_random_one(gan):
    error = relative_l2_error(UNSEEN, reconstructed(gan, UNSEEN), multioutput="raw_values")
    drawn = gan.sample(500, random_state=0)
    distance = np.linalg.norm(UNSEEN[:, None] - drawn, axis=2).min(axis=1)
    assert np.all(error < distance / np.linalg.norm(UNSEEN, axis=1))


@pytest.mark.parametrize("size", [0.01, 0.1, 1.0])
def test_no_code_around_the_nearest_is_nearer(gan, size):
    z, rng = gan.transform(UNSEEN), np.random.default_rng(0)
    lowest = objective(gan, z, UNSEEN)
    for _ in range(20):
        moved = z + size * rng.normal(size=z.shape)
        assert np.all(objective(gan, moved, UNSEEN) > (1 - 2e-3) * lowest)


def test_sections_of_the_generator_are_found_again(gan):
    rho = gan.sample(50, random_state=0)
    assert relative_l2_error(rho, reconstructed(gan, rho)) < 0.015


class Returns(nn.Module):
    """Generator that returns sections it was given, in another order."""

    def __init__(self, rho):
        super().__init__()
        self.rho = rho
        self.weight = nn.Parameter(torch.zeros(1))  # tells the device

    def forward(self, z):
        return self.rho[torch.randperm(len(z))]


def test_validation_loss_is_zero_for_the_sections_themselves_and_largest_for_noise(gan):
    net = copy.deepcopy(gan.net_)
    real = torch.from_numpy(gan._scaled(X))

    def distance(rho):
        net.module_.average = Returns(rho)
        torch.manual_seed(0)
        return net.validation_step((real, real))["loss"].item()

    others = torch.from_numpy(gan._scaled(make_density_models(100, mesh=MESH, random_state=2)))
    noise = torch.rand(100, 144)
    assert distance(real) == pytest.approx(0, abs=1e-6)
    assert 0.01 < distance(others) < 0.3 * distance(noise)
    # Relative to the density range: a shift by 0.1 in all cells is one of 0.1 * sqrt(144) along
    # the diagonal, of which a random direction sees sqrt(2 / pi / 144) on average.
    assert distance(real + 0.1) == pytest.approx(0.1 * np.sqrt(2 / np.pi), rel=0.2)


# The paper's architectures


def test_papers_vae_learns():
    vae = small(architecture="paper", learning_rate=3e-3, max_epochs=8, batch_size=10).fit(TINY)
    assert vae.loss_curve_[-1] < 0.7 * vae.loss_curve_[0]
    assert isinstance(vae.net_.module_.encoder, PaperEncoder)
    assert isinstance(vae.net_.module_.decoder, PaperDecoder)


@PAPER_GAN_COLLAPSES
def test_papers_gan_learns():
    params = {"architecture": "paper", "batch_size": 10}
    gan = small(GANGenerator, max_epochs=10, **params).fit(TINY)
    assert gan.loss_curve_[-1] < 0.9 * gan.loss_curve_[0]
    assert gan.diversity_ > 2 * untrained(GANGenerator, architecture="paper").fit(TINY).diversity_
    assert isinstance(gan.net_.module_.average, PaperGenerator)
