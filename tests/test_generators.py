"""VAEGenerator and GANGenerator: their networks, training and codes, and scikit-learn's ways."""

import copy
import pickle
import random

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.special import expit
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from torch import nn
from torch.distributions import Normal, kl_divergence

from skgrav import GANGenerator, Mesh, VAEGenerator
from skgrav.datasets import make_density_models
from skgrav.generators import _base
from skgrav.generators._gan import AdversarialNet
from skgrav.generators._vae import VAELoss
from skgrav.metrics import relative_l2_error
from skgrav.networks import (
    PaperDecoder,
    PaperDiscriminator,
    PaperEncoder,
    PaperGenerator,
    SectionCritic,
    SectionDecoder,
    SectionEncoder,
    SectionGenerator,
)
from skgrav.networks._sections import bounded
from skgrav.solvers import Solution
from skgrav.training import OneCycle
from skgrav.training._callbacks import KeepBest

MESH = Mesh.square(12)
X = make_density_models(100, mesh=MESH, random_state=0)
UNSEEN = make_density_models(50, mesh=MESH, random_state=1)
TINY = make_density_models(100, mesh=Mesh.square(6), random_state=0)
CODES = np.random.default_rng(0).normal(size=(30, 6))

BOTH = pytest.mark.parametrize("kind", [VAEGenerator, GANGenerator])
PAPER_GAN_COLLAPSES = pytest.mark.filterwarnings("ignore:the samples have only")


def small(kind=VAEGenerator, **params):
    """Give a generator that trains in a moment."""
    defaults = {"n_components": 6, "max_epochs": 3, "batch_size": 25, "random_state": 0}
    return kind(**defaults | params)


def untrained(kind, **params):
    """Give a generator whose weights are those it starts with."""
    return small(kind, max_epochs=1, learning_rate=1e-12, **params)


def slopes(n_samples, seed):
    """Give dense rock below an interface of random depth and dip: two numbers make a section."""
    rng = np.random.default_rng(seed)
    depth, dip = rng.uniform([3, -0.4], [9, 0.4], (n_samples, 2)).T[:, :, None, None]
    z, x = np.mgrid[:12, :12]
    return (2 + 8 * expit(3 * (z + 0.5 - depth - dip * (x - 5.5)))).reshape(n_samples, -1)


def reconstructed(generator, rho):
    return generator.inverse_transform(generator.transform(rho))


def objective(generator, z, rho):
    """Give what the nearest code minimises, for each sample."""
    low, high = generator.density_range_
    misfit = (generator.inverse_transform(z) - rho) / (_base._CLOSENESS * (high - low))
    return np.sum(misfit**2, axis=1) + np.sum(z**2, axis=1)


def weights(generator):
    return copy.deepcopy(generator.net_.module_.state_dict())


def same_weights(one, other):
    one, other = weights(one), weights(other)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def stop_by_user(monkeypatch, epoch):
    """Press Ctrl-C at the end of some epoch."""
    on_epoch_end = KeepBest.on_epoch_end

    def interrupt(self, net, **kwargs):
        on_epoch_end(self, net, **kwargs)
        if len(net.history) == epoch:
            raise KeyboardInterrupt

    monkeypatch.setattr(KeepBest, "on_epoch_end", interrupt)


def noting_weights(monkeypatch):
    """Note the weights that decode at the end of each epoch."""
    on_epoch_end, states = KeepBest.on_epoch_end, []

    def note(self, net, **kwargs):
        states.append(copy.deepcopy(net.module_.state_dict()))
        on_epoch_end(self, net, **kwargs)

    monkeypatch.setattr(KeepBest, "on_epoch_end", note)
    return states


@pytest.fixture(scope="module", params=[VAEGenerator, GANGenerator])
def fitted(request):
    return small(request.param).fit(X)


@pytest.fixture(scope="module")
def gan():
    return small(GANGenerator, n_components=20, max_epochs=20).fit(X)


# Networks

SHAPES = pytest.mark.parametrize("shape", [(10, 12), (7, 13), (51, 51), (1, 9), (9, 1), (1, 1)])


@SHAPES
@pytest.mark.parametrize("network", [SectionEncoder, PaperEncoder])
def test_encoders_give_mean_and_log_variance_of_each_code(network, shape):
    posterior = network(shape, 3)(torch.rand(4, shape[0] * shape[1]))
    assert [tuple(part.shape) for part in posterior] == [(4, 3), (4, 3)]


@SHAPES
@pytest.mark.parametrize("size", [1, 1e3])
@pytest.mark.parametrize(
    "network", [SectionDecoder, SectionGenerator, PaperDecoder, PaperGenerator]
)
def test_decoders_give_all_cells_within_bounds(network, shape, size):
    torch.manual_seed(0)
    rho = network(shape, 3)(size * torch.randn(4, 3))
    assert rho.shape == (4, shape[0] * shape[1])
    assert 0 <= rho.min() <= rho.max() <= 1


@SHAPES
@pytest.mark.parametrize("network", [SectionCritic, PaperDiscriminator])
def test_critics_give_one_score_per_section(network, shape):
    assert network(shape)(torch.rand(4, shape[0] * shape[1])).shape == (4,)


def test_papers_generator_goes_over_7_13_and_26_cells_to_51():
    network, sizes = PaperGenerator((51, 51), 50), []
    for layer in network.upsample:
        layer.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].shape[1:]))
    assert network(torch.zeros(1, 50)).shape == (1, 51 * 51)
    assert sizes[::2] == [(128, 7, 7), (64, 13, 13), (32, 26, 26)]


def test_bounds_are_felt_near_them_alone():
    rho = torch.tensor([-9.0, 0.0, 0.1, 0.5, 0.9, 1.0, 9.0], dtype=torch.float64)
    expected = torch.tensor([0.0, 0.0139, 0.1, 0.5, 0.9, 0.9861, 1.0], dtype=torch.float64)
    torch.testing.assert_close(bounded(rho), expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize("network", [SectionDecoder, SectionGenerator])
def test_derivatives_by_the_codes_are_right(network):
    torch.manual_seed(0)
    module = network((5, 6), 3).double()
    with torch.no_grad():  # what starts at zero would hide its derivative
        for weight in module.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    z = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(module, z)


def test_critic_sees_that_samples_are_all_alike():
    torch.manual_seed(0)
    critic = SectionCritic((12, 12)).eval()
    one, others = torch.rand(1, 144), torch.rand(9, 144)
    alike, among_others = critic(one.expand(10, -1)), critic(torch.cat([one, others]))
    torch.testing.assert_close(alike, critic(one).expand(10))
    assert abs(alike[0] - among_others[0]) > 1e-4


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


# Settings


@pytest.mark.parametrize(
    ("kind", "architecture", "expected"),
    [
        (VAEGenerator, "default", (160, 20, 64, 2e-3)),
        (VAEGenerator, "paper", (15, 25, 25, 1e-4)),
        (GANGenerator, "default", (64, 40, 64, 1e-3)),
        (GANGenerator, "paper", (50, 45, 25, 5e-4)),
    ],
)
def test_none_takes_the_settings_of_the_architecture(kind, architecture, expected):
    generator = kind(architecture=architecture)
    assert generator._resolved(1000, 144 * 2) == expected
    assert generator.set_params(max_epochs=7)._resolved(1000, 288).max_epochs == 7


@pytest.mark.parametrize(("n_samples", "n_cells", "expected"), [(30, 144, 30), (50, 36, 36)])
@BOTH
def test_default_code_is_as_long_as_samples_and_cells_allow(kind, n_samples, n_cells, expected):
    generator = small(kind, n_components=None, max_epochs=1).fit(X[:n_samples, :n_cells])
    assert generator.n_components_ == expected
    assert generator.transform(X[:2, :n_cells]).shape == (2, expected)


@PAPER_GAN_COLLAPSES
@BOTH
def test_papers_code_may_be_longer_than_there_are_samples(kind):
    generator = small(kind, n_components=20, architecture="paper", max_epochs=1).fit(X[:10])
    assert generator.transform(X[:2]).shape == (2, 20)


@PAPER_GAN_COLLAPSES
@pytest.mark.parametrize(
    ("kind", "rate", "n_epochs"), [(VAEGenerator, 1e-4, 2), (GANGenerator, 5e-4, 5)]
)
def test_papers_rate_is_halved_every_few_epochs(kind, rate, n_epochs):
    generator = small(kind, architecture="paper", max_epochs=7, batch_size=10).fit(TINY[:10])
    expected = rate * 0.5 ** (np.arange(7) / n_epochs)
    np.testing.assert_allclose(generator.net_.history[:, "lr"], expected)


@BOTH
def test_rate_rises_in_the_first_twentieth_and_falls_as_a_cosine(kind, monkeypatch):
    on_batch_begin, rates = OneCycle.on_batch_begin, []

    def note(self, net, training, **kwargs):
        on_batch_begin(self, net, training, **kwargs)
        if training:
            rates.append(net.optimizer_.param_groups[0]["lr"])

    monkeypatch.setattr(OneCycle, "on_batch_begin", note)
    small(
        kind,
        learning_rate=0.01,
        max_epochs=40,
        batch_size=5,
        early_stopping=True,
        validation_fraction=0.5,
        n_iter_no_change=40,
    ).fit(TINY[:20])
    done = np.arange(80) / 80
    assert len(rates) == 80
    assert np.all(np.diff(rates[:5]) > 0)
    np.testing.assert_allclose(rates[4:-2], 0.005 * (1 + np.cos(np.pi * done[4:-2])), rtol=1e-6)
    assert 1e-5 <= rates[-1] < 3e-5


# The VAE


@pytest.fixture(scope="module")
def slope_vae():
    return VAEGenerator(4, max_epochs=30, random_state=0).fit(slopes(300, 0))


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


# Early stopping


@BOTH
def test_early_stopping_stops_in_time_and_keeps_the_best_weights(kind, monkeypatch):
    states = noting_weights(monkeypatch)
    generator = small(
        kind, early_stopping=True, n_iter_no_change=3, max_epochs=100, learning_rate=0.02
    ).fit(X)
    curve = generator.validation_loss_curve_
    best = int(np.argmin(curve))
    assert generator.n_epochs_ == len(curve) == len(generator.loss_curve_) == best + 4 < 100
    kept = weights(generator)
    assert kept
    assert all(torch.equal(states[best][name], value) for name, value in kept.items())
    assert not all(torch.equal(states[-1][name], value) for name, value in kept.items())


@BOTH
def test_without_early_stopping_the_last_weights_count(kind, monkeypatch):
    states = noting_weights(monkeypatch)
    generator = small(kind).fit(X)
    assert len(states) == generator.n_epochs_ == 3
    assert generator.validation_loss_curve_ == []
    kept = weights(generator)
    assert all(torch.equal(states[-1][name], value) for name, value in kept.items())


def test_validation_share_is_left_out_of_training(monkeypatch):
    step, seen = AdversarialNet.train_step, []

    def note(self, batch, **kwargs):
        seen.append(batch[0].numpy())
        return step(self, batch, **kwargs)

    monkeypatch.setattr(AdversarialNet, "train_step", note)
    params = {"early_stopping": True, "validation_fraction": 0.4, "max_epochs": 2}
    small(GANGenerator, **params).fit(X)
    assert len(np.unique(np.concatenate(seen), axis=0)) == 60


# Training that does not end well


@pytest.mark.parametrize("early_stopping", [False, True])
@BOTH
def test_keyboard_interrupt_leaves_a_generator_of_the_epochs_done(
    kind, early_stopping, monkeypatch
):
    stop_by_user(monkeypatch, 2)
    kept = "best" if early_stopping else "last"
    text = f"training was stopped by the user after 2 of 9 epochs; the weights of the {kept} of"
    with pytest.warns(ConvergenceWarning, match=text) as caught:
        generator = small(kind, max_epochs=9, early_stopping=early_stopping).fit(X)
    assert caught[0].filename == __file__
    assert generator.n_epochs_ == len(generator.loss_curve_) == 2
    assert len(generator.validation_loss_curve_) == (2 if early_stopping else 0)
    mean = np.tile(X.mean(axis=0), (100, 1))
    assert -generator.score(X) < 0.7 * relative_l2_error(X, mean)
    pickle.dumps(generator)


@BOTH
def test_interrupt_in_the_first_epoch_leaves_the_start(kind, monkeypatch):
    def interrupt(self, net, training, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(OneCycle, "on_batch_begin", interrupt)
    with pytest.warns(ConvergenceWarning, match="after 0 of 3 epochs"):
        generator = small(kind).fit(X)
    assert generator.loss_curve_ == []
    assert np.isfinite(generator.sample(5, random_state=0)).all()


@BOTH
def test_loss_that_is_no_number_is_an_error_and_leaves_nothing_fitted(kind):
    generator = small(kind).fit(X)
    text = r"train_loss became nan in epoch \d+: lower 'learning_rate' or check X and y"
    with pytest.raises(FloatingPointError, match=text):
        generator.set_params(learning_rate=1e30, max_epochs=9).fit(X)
    for use in [generator.sample, lambda: generator.transform(X), lambda: generator.score(X)]:
        with pytest.raises(NotFittedError):
            use()
    assert generator.set_params(learning_rate=1e-3).fit(X).sample().shape == (1, 144)


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


# Densities and codes


@BOTH
def test_densities_stay_within_their_range(kind):
    generator = small(kind, density_range=(0, 16), learning_rate=0.01).fit(X)
    assert generator.density_range_ == (0, 16)
    far = generator.inverse_transform(1e3 * CODES)
    for rho in [generator.sample(100, random_state=0), far]:
        assert rho.min() >= 0
        assert rho.max() <= 16
    assert (far.min(), far.max()) == (0, 16)


@BOTH
def test_range_is_that_of_the_training_densities(kind):
    generator = small(kind, max_epochs=1).fit(X)
    assert generator.density_range_ == (X.min(), X.max())


@BOTH
def test_densities_of_other_units_are_scaled_back(kind):
    generator = small(kind).fit(1800 + 125 * X)
    expected = 1800 + 125 * small(kind).fit(X).sample(10, random_state=0)
    np.testing.assert_allclose(generator.sample(10, random_state=0), expected, rtol=1e-3)


@BOTH
def test_densities_beyond_the_range_are_told(kind):
    text = r"'X' ranges from .* beyond density_range=\(1, 11\), .* Give a wider 'density_range'"
    with pytest.warns(UserWarning, match=text) as caught:
        small(kind, max_epochs=1, density_range=(1, 11)).fit(X)
    assert caught[0].filename == __file__


@BOTH
def test_constant_densities_are_no_trouble_to_the_papers_architectures(kind):
    rho = np.full_like(X[:20], 3.0)
    generator = small(kind, architecture="paper", max_epochs=1).fit(rho)
    np.testing.assert_array_equal(generator.sample(5, random_state=0), rho[:5])
    assert np.isfinite(generator.transform(rho)).all()
    assert generator.score(rho) == 0


def test_codes_are_spread_about_like_the_prior(fitted):
    z = fitted.transform(X)
    assert np.all(np.abs(z.mean(axis=0)) < 0.3)
    assert 0.6 < z.std(axis=0).min() < z.std(axis=0).max() < 1.7


def test_score_is_minus_the_mean_relative_error_of_what_comes_back(fitted):
    expected = -relative_l2_error(UNSEEN, reconstructed(fitted, UNSEEN))
    assert fitted.score(UNSEEN) == pytest.approx(expected)
    assert -1 < expected < 0


def test_decoding_in_torch_equals_that_in_numpy(fitted):
    rho = fitted.decode(torch.tensor(CODES, dtype=torch.float32))
    np.testing.assert_allclose(rho.detach(), fitted.inverse_transform(CODES), rtol=1e-5, atol=1e-5)


def test_decoding_has_derivatives_by_the_codes(fitted):
    z = torch.tensor(CODES, dtype=torch.float32, requires_grad=True)
    (gradient,) = torch.autograd.grad(fitted.decode(z).mean(), z)
    step = 1e-2 * np.random.default_rng(1).normal(size=CODES.shape)
    ahead, behind = (fitted.inverse_transform(CODES + s * step).mean() for s in (1, -1))
    change = np.sum(gradient.numpy() * step)
    assert (ahead - behind) / 2 == pytest.approx(change, rel=0.02, abs=1e-6)
    assert abs(change) > 1e-5


def test_codes_of_parts_are_those_of_the_whole(fitted):
    rho = np.concatenate([X, UNSEEN, X, UNSEEN])  # more than a chunk
    together = fitted.transform(rho)
    for i in [0, 120, 249, 250, 299]:
        np.testing.assert_allclose(fitted.transform(rho[i : i + 1])[0], together[i], atol=1e-5)


def test_sections_of_many_codes_are_those_of_each(fitted):
    many = np.tile(CODES, (10, 1))
    expected = np.tile(fitted.inverse_transform(CODES), (10, 1))
    np.testing.assert_allclose(fitted.inverse_transform(many), expected, atol=1e-5)


def test_nearest_code_is_at_least_as_near_as_the_encoded_one(fitted):
    encoded, nearest = fitted.transform(UNSEEN), fitted.nearest_code(UNSEEN)
    lowest = objective(fitted, nearest, UNSEEN)
    assert np.all(lowest <= 1.001 * objective(fitted, encoded, UNSEEN))
    assert lowest.mean() < 0.7 * objective(fitted, np.zeros((50, 6)), UNSEEN).mean()
    if isinstance(fitted, GANGenerator):
        np.testing.assert_allclose(encoded, nearest, atol=1e-5)


def test_nearest_code_starts_at_zero_or_where_it_is_told(fitted, monkeypatch):
    nearest = fitted.nearest_code(UNSEEN[:30])
    found = fitted.nearest_code(UNSEEN[:30], z0=nearest + 0.1 * CODES)
    lowest = objective(fitted, nearest, UNSEEN[:30])
    np.testing.assert_allclose(objective(fitted, found, UNSEEN[:30]), lowest, rtol=0.05)

    def stay(problem, u, *_):
        return Solution.start(problem, u)

    for solver in ["gauss_newton", "lbfgs"]:  # whichever it is
        monkeypatch.setattr(_base, solver, stay, raising=False)
    np.testing.assert_allclose(fitted.nearest_code(X[:30], z0=CODES), CODES, atol=1e-6)
    np.testing.assert_array_equal(fitted.nearest_code(X[:3]), np.zeros((3, 6)))


# Seeds and states


@pytest.mark.parametrize("early_stopping", [False, True])
@BOTH
def test_same_seed_same_weights_and_samples_other_seed_others(kind, early_stopping):
    first = small(kind, early_stopping=early_stopping).fit(X)
    torch.manual_seed(123)
    again = small(kind, early_stopping=early_stopping).fit(X)
    other = small(kind, early_stopping=early_stopping, random_state=1).fit(X)
    assert same_weights(first, again)
    assert first.loss_curve_ == again.loss_curve_
    assert not same_weights(first, other)
    samples = [generator.sample(5, random_state=0) for generator in (first, again, other)]
    np.testing.assert_array_equal(samples[0], samples[1])
    assert not np.allclose(samples[0], samples[2])


def test_samples_follow_their_seed(fitted):
    rho = fitted.sample(7, random_state=3)
    assert rho.shape == (7, 144)
    np.testing.assert_array_equal(fitted.sample(7, random_state=3), rho)
    assert not np.allclose(fitted.sample(7, random_state=4), rho)
    assert not np.allclose(*fitted.sample(2, random_state=3))
    rng = np.random.RandomState(3)
    np.testing.assert_array_equal(fitted.sample(7, random_state=rng), rho)
    assert not np.allclose(fitted.sample(7, random_state=rng), rho)
    assert fitted.sample().shape == (1, 144)


def test_samples_are_decoded_normal_codes(fitted):
    z = np.random.RandomState(3).normal(size=(7, 6))
    np.testing.assert_array_equal(fitted.sample(7, random_state=3), fitted.inverse_transform(z))


@BOTH
def test_global_generators_stay_untouched(kind):
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    python_before = random.getstate()
    generator = small(kind, early_stopping=True).fit(X)
    generator.sample(3, random_state=0)
    generator.nearest_code(X[:3])
    generator.score(X[:3])
    assert torch.equal(torch.get_rng_state(), torch_before)
    numpy_after = np.random.get_state()  # noqa: NPY002
    assert np.array_equal(numpy_after[1], numpy_before[1])
    assert numpy_after[2:] == numpy_before[2:]
    assert random.getstate() == python_before


# Pickles and scikit-learn's ways


@pytest.mark.parametrize("early_stopping", [False, True])
@BOTH
def test_pickle_decodes_alike_and_holds_no_training_data(kind, early_stopping):
    params = {"early_stopping": early_stopping, "batch_size": 20, "n_iter_no_change": 3}
    few, many = small(kind, **params).fit(X[:25]), small(kind, **params).fit(X)
    dumps = [pickle.dumps(few), pickle.dumps(many)]
    assert abs(len(dumps[0]) - len(dumps[1])) < 300  # a section takes 576 bytes in float32
    assert len(dumps[1]) < 1.3 * sum(w.nbytes for w in weights(many).values())
    rows = [*X, *many._scaled(X)]
    assert not any(row.tobytes() in dumps[1] for row in rows)
    restored = pickle.loads(dumps[1])
    np.testing.assert_array_equal(restored.inverse_transform(CODES), many.inverse_transform(CODES))
    np.testing.assert_allclose(restored.transform(UNSEEN), many.transform(UNSEEN), atol=1e-5)
    assert restored.loss_curve_ == many.loss_curve_


@BOTH
def test_verbose_generator_shows_a_bar_and_can_be_pickled(kind, capsys):
    pickle.dumps(small(kind, verbose=True).fit(X))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "3/3 [" in printed.err
    assert "train_loss=" in printed.err
    small(kind).fit(X)
    assert capsys.readouterr().err == ""


@BOTH
def test_fit_leaves_the_parameters_alone(kind):
    generator = small(kind, mesh=MESH, density_range=(0, 16))
    before = generator.get_params()
    after = generator.fit(X).get_params()
    assert all(after[name] is value for name, value in before.items())
    copied = clone(generator)
    assert not hasattr(copied, "net_")
    assert same_weights(copied.fit(X), generator)


@BOTH
def test_grid_search_goes_by_the_generators_own_score(kind):
    grid = {"n_components": [1, 8], "learning_rate": [1e-4, 1e-3]}
    search = GridSearchCV(small(kind, max_epochs=2), grid, cv=2).fit(X[:60])
    assert search.best_params_["n_components"] == 8
    assert search.best_score_ == search.cv_results_["mean_test_score"].max() < 0
    assert search.transform(UNSEEN).shape == (50, 8)
    assert search.score(UNSEEN) == pytest.approx(search.best_estimator_.score(UNSEEN))


def test_grid_search_in_processes_equals_that_in_one():
    def scores(n_jobs):
        search = GridSearchCV(small(max_epochs=2), {"n_components": [2, 8]}, cv=2, n_jobs=n_jobs)
        return search.fit(X[:60]).cv_results_["mean_test_score"]

    np.testing.assert_allclose(scores(2), scores(1), rtol=1e-4)


def test_frozen_generator_is_not_fitted_again(fitted):
    before = fitted.transform(UNSEEN)
    chain = make_pipeline(FunctionTransformer(), FrozenEstimator(fitted)).fit(slopes(30, 0))
    for frozen in [chain, clone(FrozenEstimator(fitted))]:
        np.testing.assert_allclose(frozen.transform(UNSEEN), before, atol=1e-5)


@BOTH
def test_generator_works_alone_or_last_in_a_pipeline(kind):
    alone = make_pipeline(small(kind)).fit(X)
    codes = small(kind).fit(X).transform(UNSEEN)
    np.testing.assert_allclose(alone.transform(UNSEEN), codes, atol=1e-5)
    chain = make_pipeline(FunctionTransformer(np.log1p, np.expm1), small(kind)).fit(X)
    back = chain.inverse_transform(chain.transform(X))
    mean = np.tile(X.mean(axis=0), (100, 1))
    assert relative_l2_error(X, back) < 0.8 * relative_l2_error(X, mean)
    assert chain.score(X) == pytest.approx(chain[-1].score(np.log1p(X)))


@BOTH
def test_pandas_output_names_codes(kind):
    generator = small(kind).set_output(transform="pandas").fit(X)
    frame = generator.transform(UNSEEN)
    names = [f"{kind.__name__.lower()}{i}" for i in range(6)]
    assert list(frame.columns) == list(generator.get_feature_names_out()) == names
    np.testing.assert_allclose(frame, small(kind).fit(X).transform(UNSEEN), atol=1e-5)
    assert generator.inverse_transform(frame).shape == UNSEEN.shape
    assert generator.score(UNSEEN) == pytest.approx(small(kind).fit(X).score(UNSEEN))


@BOTH
def test_names_of_a_data_frame_are_kept(kind):
    pd = pytest.importorskip("pandas")
    cells = [f"rho{i}" for i in range(144)]
    generator = small(kind).fit(pd.DataFrame(X, columns=cells))
    assert list(generator.feature_names_in_) == cells
    bare, frame = small(kind).fit(X), pd.DataFrame(UNSEEN, columns=cells)
    # A frame lies otherwise in memory, so sums differ in their last digits.
    codes = generator.nearest_code(frame)
    np.testing.assert_allclose(codes, bare.nearest_code(UNSEEN), atol=1e-2)


@BOTH
def test_fit_transform_gives_codes_of_the_training_sections(kind):
    codes = small(kind).fit(X).transform(X)
    np.testing.assert_allclose(small(kind).fit_transform(X), codes, atol=1e-5)


# Meshes and what is refused


@pytest.mark.parametrize(
    "mesh",
    [
        Mesh.regular((5, 9), 1.0),
        Mesh.regular((9, 4), (2.0, 1.0)),
        Mesh([[0, 1, 3, 7], np.linspace(-4, 4, 8)]),
        Mesh.regular((1, 12), 1.0),
        Mesh.regular((12, 1), 1.0),
    ],
    ids=["wide", "deep", "uneven", "one layer", "one column"],
)
@BOTH
def test_any_2d_mesh_will_do(kind, mesh):
    rho = np.random.default_rng(0).uniform(0, 12, (40, mesh.n_cells))
    generator = small(kind, mesh=mesh).fit(rho)
    assert generator.sample(3, random_state=0).shape == (3, mesh.n_cells)
    assert generator.transform(rho).shape == (40, 6)


@PAPER_GAN_COLLAPSES
@pytest.mark.parametrize("architecture", ["default", "paper"])
def test_layers_and_columns_are_not_confused(architecture):
    def coarse(shape):
        params = {"architecture": architecture, "max_epochs": 1}
        gan = small(GANGenerator, mesh=Mesh.regular(shape, 1.0), **params).fit(X)
        return gan.net_.module_.average.coarse[1:]

    assert coarse((8, 18)) == (1, 3)
    assert coarse((18, 8)) == (3, 1)
    wide = small(mesh=Mesh.regular((8, 18), 1.0)).fit(X).net_.module_
    assert wide.encoder.shape == wide.decoder.shape == (8, 18)


def test_mesh_of_a_square_is_not_needed():
    assert same_weights(small(mesh=MESH).fit(X), small().fit(X))


@BOTH
def test_cells_that_are_no_square_need_a_mesh(kind):
    text = "'mesh' is None and 132 cells are no square: they are taken as one layer"
    with pytest.warns(UserWarning, match=text) as caught:
        generator = small(kind, max_epochs=1).fit(X[:, :132])
    assert caught[0].filename == __file__
    assert generator.sample(2, random_state=0).shape == (2, 132)


@pytest.mark.parametrize(
    ("params", "text"),
    [
        (
            {"mesh": Mesh.regular((4, 6, 6), 1.0)},
            r"'mesh' has shape \(4, 6, 6\), but X has 144 cells",
        ),
        (
            {"mesh": Mesh.square(11)},
            r"'mesh' has shape \(11, 11\), but X has 144 cells; give the 2D",
        ),
        (
            {"n_components": 101},
            "'n_components' is 101; it must be at most 100, the smaller of 100",
        ),
        (
            {"n_components": 0},
            "'n_components' parameter of .*Generator must be an int in the range",
        ),
        (
            {"density_range": (6, 3)},
            r"'density_range' is \(6, 3\); it must be two finite numbers, the lower first",
        ),
        (
            {"density_range": (6, 6)},
            r"'density_range' is \(6, 6\); it must be two finite numbers, the lower first",
        ),
        ({"architecture": "unet"}, "'architecture' parameter of .*Generator must be a str among"),
        ({"learning_rate": 0.0}, "'learning_rate' parameter of .*Generator must be a float in the"),
        ({"max_epochs": 0}, "'max_epochs' parameter of .*Generator must be an int in the range"),
    ],
)
@BOTH
def test_bad_parameters_are_refused(kind, params, text):
    with pytest.raises(ValueError, match=text):
        small(kind, **params).fit(X)


@pytest.mark.parametrize(
    ("rho", "text"),
    [
        (np.where(X[3, 3] == X, np.nan, X), "Input X contains NaN"),
        (np.where(X[3, 3] == X, np.inf, X), "Input X contains infinity"),
        (X[:1], r"Found array with 1 sample\(s\)"),
        (X[0], "Expected 2D array, got 1D array"),
    ],
    ids=["NaN", "infinity", "one section", "vector"],
)
@BOTH
def test_bad_densities_are_refused(kind, rho, text):
    with pytest.raises(ValueError, match=text):
        small(kind).fit(rho)


def test_other_widths_and_bad_values_are_refused_once_fitted(fitted):
    name = type(fitted).__name__
    for use in [fitted.transform, fitted.nearest_code, fitted.score]:
        with pytest.raises(ValueError, match=f"X has 143 features, but {name} is expecting 144"):
            use(X[:, 1:])
        with pytest.raises(ValueError, match="Input X contains NaN"):
            use(np.where(X[3, 3] == X, np.nan, X))
    text = f"'X' has 7 columns, but codes of this {name} have 6 components"
    with pytest.raises(ValueError, match=text):
        fitted.inverse_transform(np.zeros((2, 7)))
    with pytest.raises(ValueError, match="Input X contains NaN"):
        fitted.inverse_transform(np.full((2, 6), np.nan))


@BOTH
def test_generators_need_a_fit(kind):
    generator = small(kind)
    uses = [generator.transform, generator.nearest_code, generator.score]
    for use in [*uses, generator.inverse_transform]:
        with pytest.raises(NotFittedError):
            use(X)
    with pytest.raises(NotFittedError):
        generator.sample()


@BOTH
def test_constant_densities_are_learned(kind):
    rho = np.full((20, 144), 3.0)
    generator = small(kind, max_epochs=2, density_range=(0, 6)).fit(rho)
    assert_allclose(generator.sample(3, random_state=0), 3.0, atol=0.1)


@BOTH
def test_data_frames_are_known_again(kind):
    frame = pd.DataFrame(X[:60], columns=[f"cell{i}" for i in range(X.shape[1])])
    generator = small(kind, max_epochs=1).fit(frame)  # a warning about names would be an error
    generator.score(frame)
    generator.nearest_code(frame[:3])
    assert generator.transform(frame[:3]).shape == (3, generator.n_components_)


@BOTH
def test_start_codes_are_checked(kind):
    generator = small(kind, max_epochs=1).fit(X[:60])
    with pytest.raises(ValueError, match=r"'z0' has shape \(3, 1\); it must be one code for each"):
        generator.nearest_code(X[:3], z0=np.zeros((3, 1)))


@BOTH
@pytest.mark.parametrize("density_range", [(0, 6, 12), (0, np.inf)])
def test_ranges_that_are_none_are_refused(kind, density_range):
    with pytest.raises(ValueError, match=r"'density_range' is .*; it must be two finite numbers"):
        small(kind, density_range=density_range).fit(X)
