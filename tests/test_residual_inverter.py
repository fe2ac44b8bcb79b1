"""CNNInverter with its default architecture: a linear estimate, and what a network adds to it."""

import copy
import pickle
import threading
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.dummy import DummyRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback

from skgrav import (
    BayesLinearInverter,
    CNNInverter,
    ForwardOperator,
    MatrixOperator,
    Mesh,
    Refiner,
    Survey,
)
from skgrav.datasets import make_gravity_dataset
from skgrav.inverters._whitened import WhitenedEncoding
from skgrav.metrics import relative_data_misfit, relative_l2_error, relative_l2_scorer
from skgrav.networks import PaperCNN, RelativeLoss, ResidualMLP
from skgrav.operators import PhysicsWarning
from skgrav.pipeline import Pipeline
from skgrav.training import LEAST_NOISE, HoldOut, Mirror

MESH = Mesh.square(12)
TRAIN = make_gravity_dataset(2000, mesh=MESH, random_state=0)
TEST = make_gravity_dataset(300, mesh=MESH, random_state=1)
OPERATOR = TRAIN.operator
X, RHO = TRAIN.data, TRAIN.target  # 72 data, 144 cells
G, UNSEEN = TEST.data, TEST.target
FEW, FEW_RHO = X[:150], RHO[:150]

SMALL_PAPER = partial(PaperCNN, filters=(16, 32), hidden_layer_sizes=(256, 256))
LEVELS = [0.0, 0.001, 0.01, 0.05]


def with_noise(g, level, seed=0):
    rms = np.sqrt(np.mean(g**2, axis=1, keepdims=True))
    return g + level * rms * np.random.default_rng(seed).normal(size=g.shape)


def unfitted(**params):
    return CNNInverter(**{"operator": OPERATOR, "max_epochs": 3, "random_state": 0} | params)


def fitted(x=FEW, y=FEW_RHO, **params):
    return unfitted(**params).fit(x, y)


def untrained(x=X, y=RHO, **params):
    """Give an inverter whose last layer is as it started, zero."""
    inverter = fitted(x, y, max_epochs=1, learning_rate=1e-35, **params)
    assert inverter.net_.module_.last.weight.abs().max() < 1e-30
    return inverter


def weights(inverter):
    return [w.detach().numpy().copy() for w in inverter.net_.module_.parameters()]


def same_weights(one, other):
    return all(np.array_equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


def surveyed(uncertainty):
    """Give the operator with a survey that knows its uncertainty."""
    survey = Survey(OPERATOR.survey_.stations, OPERATOR.survey_.components, uncertainty)
    return ForwardOperator(MESH, survey, units="normalized")


def worst_deviation(estimate, expected):
    deviation = np.linalg.norm(estimate - expected, axis=1)
    return float(np.max(deviation / np.linalg.norm(expected, axis=1)))


class Interrupt(Callback):
    """Press Ctrl-C in some epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_batch_end(self, net, training=False, **kwargs):
        if training and len(net.history) == self.epoch:
            raise KeyboardInterrupt


class Observer(Callback):
    """Notes learning rates, and the weights after each epoch."""

    def initialize(self):
        if not hasattr(self, "rates_"):
            self.rates_, self.states_ = [], []
        return self

    def on_batch_end(self, net, training=False, **kwargs):
        if training:
            self.rates_.append(net.optimizer_.param_groups[0]["lr"])

    def on_epoch_end(self, net, **kwargs):
        self.states_.append(copy.deepcopy(net.module_.state_dict()))


# The linear estimate, where training starts


@pytest.fixture(scope="module")
def start():
    return untrained()


@pytest.fixture(scope="module")
def bayes():
    return BayesLinearInverter(operator=OPERATOR).fit(X, RHO)


@pytest.mark.parametrize("level", [1e-5, 0.001, 0.01, 0.05])
@pytest.mark.parametrize("told", [True, False])
@pytest.mark.filterwarnings("ignore:'noise_level' is 0.001 of the rms of the data, but 1 of 300")
def test_untrained_network_gives_the_linear_estimate(start, bayes, level, told):
    g = with_noise(G, level)
    announced = level if told else None
    expected = np.clip(bayes.predict(g, noise_level=announced), *start.density_range_)
    found = start.predict(g, noise_level=announced)
    # Coordinates far below the least noise are left out.
    np.testing.assert_allclose(found, expected, rtol=0, atol=max(1e-4, 1e-8 / level))


def test_no_data_count_as_better_than_float32_holds_them(start, bayes):
    expected = np.clip(bayes.predict(G, noise_level=LEAST_NOISE), *start.density_range_)
    assert worst_deviation(start.predict(G), expected) < 0.03
    np.testing.assert_array_equal(start.predict(G, noise_level=0.0), start.predict(G))
    error = relative_l2_error(UNSEEN, start.predict(G))
    assert error == pytest.approx(relative_l2_error(UNSEEN, expected), rel=5e-3)
    # Beyond float32, exact data tell more, which a network in float32 does not see.
    assert relative_l2_error(UNSEEN, bayes.predict(G)) < 0.95 * error


def test_noise_of_each_datum_weights_it():
    uncertainty = np.sqrt(np.mean(X**2)) * np.geomspace(0.001, 0.01, X.shape[1])
    operator = surveyed(uncertainty)
    g = G + uncertainty * np.random.default_rng(0).normal(size=G.shape)
    inverter = untrained(operator=operator)
    expected = BayesLinearInverter(operator=operator).fit(X, RHO).predict(g)
    found = inverter.predict(g)
    np.testing.assert_allclose(found, np.clip(expected, *inverter.density_range_), atol=1e-4)
    assert worst_deviation(found, untrained().predict(g)) > 0.05  # the weights act
    sizes = inverter._encoding.encode(X, RHO)[0][:, -1]  # to which noise is relative, in training
    encoding = inverter._encoding
    np.testing.assert_allclose(encoding.rms(encoding.noise.whitening(X)), sizes, rtol=1e-5)
    # A level goes before the size of the uncertainties, which still distribute the noise.
    other = untrained(operator=surveyed(7 * uncertainty)).predict(g, noise_level=0.01)
    np.testing.assert_allclose(inverter.predict(g, noise_level=0.01), other, atol=1e-4)


def test_mirror_gives_the_linear_estimate_of_all_sections_and_their_images():
    mirror = Mirror.of(MESH, OPERATOR.survey_)
    images = X[:, mirror.data] * mirror.sign, RHO[:, mirror.cells]
    both = [np.concatenate(pair) for pair in zip((X, RHO), images, strict=True)]
    inverter, g = untrained(augment="mirror"), with_noise(G, 0.01)
    expected = BayesLinearInverter(operator=OPERATOR).fit(*both).predict(g, noise_level=0.01)
    found = inverter.predict(g, noise_level=0.01)
    np.testing.assert_allclose(found, np.clip(expected, *inverter.density_range_), atol=1e-4)
    image = inverter.predict(g[:, mirror.data] * mirror.sign, noise_level=0.01)
    np.testing.assert_allclose(image, found[:, mirror.cells], atol=0.05)


def test_network_starts_with_zero_and_ends_in_one_number_per_component():
    network = ResidualMLP(20, np.ones(7))
    output = network(torch.randn(5, 21))
    assert output.shape == (5, 7)
    assert not output.any()
    output.sum().backward()
    assert network.last.weight.grad.any()


# What training adds


@pytest.fixture(scope="module")
def trained():
    return fitted(X, RHO, max_epochs=15)


@pytest.fixture(scope="module")
def rivals(bayes):
    paper = CNNInverter(
        SMALL_PAPER, operator=OPERATOR, training_noise=(0, 0.1), max_epochs=20, random_state=0
    )
    return {"bayes": bayes, "paper": paper.fit(X, RHO), "mean": DummyRegressor().fit(X, RHO)}


@pytest.mark.parametrize("level", LEVELS)
def test_one_network_beats_its_rivals_at_any_noise(trained, rivals, level):
    g = with_noise(G, level).astype(np.float32)  # no data are better, see above
    error = relative_l2_error(UNSEEN, trained.predict(g))
    errors = {name: relative_l2_error(UNSEEN, r.predict(g)) for name, r in rivals.items()}
    assert error < 0.997 * errors["bayes"]
    assert error < (0.98 if level < 0.05 else 1.0) * errors["paper"]
    assert error < 0.7 * errors["mean"]


def test_training_lowers_the_loss_to_that_of_unseen_sections(trained):
    assert len(trained.loss_curve_) == trained.n_epochs_ == 15
    assert trained.loss_curve_[-1] < trained.loss_curve_[0]
    levels = 0.1 * (LEAST_NOISE / 0.1) ** (np.random.default_rng(0).uniform(size=300) ** 2)
    levels[:90] = 0.0
    g = with_noise(G, levels[:, None])
    assert relative_l2_error(UNSEEN, trained.predict(g)) == pytest.approx(
        trained.loss_curve_[-1], rel=0.1
    )


def test_ten_samples_are_overfitted():
    inverter = fitted(X[:10], RHO[:10], training_noise=0.0, max_epochs=60)
    assert relative_l2_error(RHO[:10], inverter.predict(X[:10])) < 0.03
    assert inverter.loss_curve_[-1] < 0.5 * inverter.loss_curve_[0]


# Noise


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.filterwarnings("ignore:'noise_level' is 0.001 of the rms of the data, but 1 of 300")
def test_noise_costs_no_more_where_it_is_estimated(trained, level):
    g = with_noise(G, level, seed=1)
    told = relative_l2_error(UNSEEN, trained.predict(g, noise_level=level))
    assert relative_l2_error(UNSEEN, trained.predict(g)) == pytest.approx(told, rel=0.02)


def test_error_grows_slowly_with_noise_and_never_explodes(trained):
    levels = [0.0, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1]
    errors = [relative_l2_error(UNSEEN, trained.predict(with_noise(G, v))) for v in levels]
    assert errors == sorted(errors)
    assert errors[-1] < 0.75 * relative_l2_error(UNSEEN, np.tile(RHO.mean(axis=0), (300, 1)))


def test_data_that_contradict_the_noise_told_are_named_and_the_estimate_stays_in_range(trained):
    with pytest.warns(UserWarning, match="of 300 samples hold more that no density") as caught:
        rho = trained.predict(with_noise(G, 0.01), noise_level=0.0)
    assert [warning.filename for warning in caught] == [__file__]
    low, high = trained.density_range_
    assert low <= rho.min() < rho.max() <= high


def test_each_sample_may_be_told_its_own_noise(trained):
    levels = np.array([0.0, 0.002, 0.03, 0.1])
    g = with_noise(G[:4], levels[:, None])
    together = trained.predict(g, noise_level=levels)
    for k, level in enumerate(levels):
        alone = trained.predict(g[k : k + 1], noise_level=level)
        np.testing.assert_allclose(alone[0], together[k], atol=1e-4)
    assert worst_deviation(together[3:], trained.predict(g[3:], noise_level=0.05)) > 0.01


@pytest.mark.parametrize("told", [True, False])
def test_noise_beyond_the_range_of_training_is_told(trained, told):
    g = np.vstack([with_noise(G[:3], 0.6), with_noise(G[3:6], 0.01)])
    level = np.array([0.6] * 3 + [0.01] * 3) if told else None
    text = r"3 of 6 samples have relative noise .* not trained for, such as 0\.\d+; .* 0 to 0\.1\."
    with pytest.warns(UserWarning, match=text) as caught:
        rho = trained.predict(g, noise_level=level)
    assert [warning.filename for warning in caught] == [__file__]
    assert np.isfinite(rho).all()


def test_noise_below_the_range_of_training_is_told():
    inverter = fitted(training_noise=(0.02, 0.05))
    with pytest.warns(UserWarning, match=r"such as 0\.001; it was trained for 0\.02 to 0\.05"):
        inverter.predict(with_noise(FEW, 0.001), noise_level=0.001)
    inverter.set_params(training_noise=(0.0, 0.05))  # which training did not know
    with pytest.warns(UserWarning, match=r"it was trained for 0\.02 to 0\.05"):
        inverter.predict(with_noise(FEW, 0.001), noise_level=0.001)


@pytest.mark.parametrize("level", [0.0, 1e-6, 1e-3, 0.01, 0.1])
def test_nothing_is_told_of_noise_within_the_range(trained, level):
    g = with_noise(G, level)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained.predict(g)
        if level != 1e-3:  # at which one of these sections looks like noisier data
            trained.predict(g, noise_level=level)


@pytest.mark.parametrize("level", [-0.1, np.nan, np.inf, [0.1, 0.1], "loud", [[0.1]]])
def test_bad_levels_are_refused(trained, level):
    with pytest.raises(ValueError, match=r"'noise_level' (is|has) .* number of at least 0 or"):
        trained.predict(G, noise_level=level)


def test_other_networks_cannot_be_told_the_noise():
    inverter = CNNInverter("paper", max_epochs=1, random_state=0).fit(FEW, FEW_RHO)
    with pytest.raises(ValueError, match=r"'noise_level' is 0\.01, but only .*'residual'"):
        inverter.predict(FEW, noise_level=0.01)


@pytest.mark.parametrize("scale", [0.0, 1e-12, 1e-3, 1e3])
@pytest.mark.parametrize("told", [None, 0.0, 0.1])
@pytest.mark.filterwarnings("ignore")  # that these are no data of the training kind
def test_estimate_stays_finite_and_in_range_at_any_size(trained, scale, told):
    rho = trained.predict(scale * with_noise(G, 0.01), noise_level=told)
    low, high = trained.density_range_
    assert low <= rho.min() <= rho.max() <= high


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


# Noise while training


def drawn(pairs, noise_level, inputs, targets, seed=0):
    """Give a batch as training sees it."""
    torch.manual_seed(seed)
    augment = pairs.augmentation(noise_level, "cpu")
    x, y = augment(torch.tensor(inputs), torch.tensor(targets))
    return x.numpy().astype(np.float64), y.numpy().astype(np.float64)


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


# Fresh pairs


class Source:
    """Draws pairs, and remembers how often and with which seeds."""

    def __init__(self, n_samples=100, pair=False):
        self.n_samples, self.pair = n_samples, pair
        self.seeds, self.drawn = [], []

    def __call__(self, *, random_state):
        data = make_gravity_dataset(self.n_samples, mesh=MESH, random_state=random_state)
        self.seeds.append(random_state)
        self.drawn.append(data.target)
        return (data.data, data.target) if self.pair else data


def test_callable_draws_other_sections_for_each_epoch():
    source = Source()
    inverter = unfitted(density_range=(0, 12)).fit(source)
    assert inverter.n_epochs_ == len(source.seeds) == len(set(source.seeds)) == 3
    assert all(isinstance(seed, int) for seed in source.seeds)
    assert not np.array_equal(source.drawn[0], source.drawn[1])
    assert not np.array_equal(source.drawn[1], source.drawn[2])
    assert np.isfinite(inverter.predict(G)).all()


def test_fresh_pairs_are_those_trained_on():
    # A rate of nearly zero leaves the linear estimate, whose loss is that of the sections.
    source = Source(400)
    inverter = unfitted(training_noise=0.0, learning_rate=1e-35, density_range=(0, 12)).fit(source)
    losses = []
    for rho in source.drawn:
        g = with_noise(OPERATOR.transform(rho), LEAST_NOISE)
        _, linear = inverter._encoding.inputs(g, LEAST_NOISE * inverter._encoding.rms(g))
        losses.append(relative_l2_error(rho, linear))
    assert np.ptp(losses) > 1e-3 * losses[0]
    np.testing.assert_allclose(inverter.loss_curve_, losses, rtol=5e-3)


def test_fresh_pairs_follow_the_seed():
    first, second, third = Source(), Source(pair=True), Source()
    one = unfitted(density_range=(0, 12)).fit(first)
    assert same_weights(one, unfitted(density_range=(0, 12)).fit(second))
    assert first.seeds == second.seeds
    other = unfitted(density_range=(0, 12), random_state=1).fit(third)
    assert not set(first.seeds) & set(third.seeds)
    assert not same_weights(one, other)


def test_warm_start_draws_new_pairs():
    source = Source()
    inverter = unfitted(warm_start=True, density_range=(0, 12)).fit(source)
    inverter.fit(source)
    assert inverter.n_epochs_ == len(set(source.seeds)) == 6


def chunks(*sizes):
    for k, size in enumerate(sizes):
        yield X[200 * k : 200 * k + size], RHO[200 * k : 200 * k + size]


def test_iterator_yields_a_chunk_for_each_epoch():
    params = {"density_range": (0, 12)}
    one = unfitted(**params).fit(chunks(200, 200, 200))
    assert one.n_epochs_ == 3
    assert not same_weights(one, fitted(X[:200], RHO[:200], **params))


def test_iterator_that_ends_early_leaves_a_model_and_says_so():
    text = "X held pairs for 2 of 3 epochs, .* the weights of the last epoch are kept. Set 'max_ep"
    with pytest.warns(ConvergenceWarning, match=text) as caught:
        inverter = unfitted(density_range=(0, 12)).fit(chunks(200, 200))
    assert caught[0].filename == __file__
    assert inverter.n_epochs_ == len(inverter.loss_curve_) == 2
    assert relative_l2_error(UNSEEN, inverter.predict(G)) < 0.3
    inverter.partial_fit(X[:200], RHO[:200])
    assert inverter.n_epochs_ == 3


def test_bad_chunks_are_refused():
    with pytest.raises(ValueError, match="X drew 100 pairs after 200; each epoch must have"):
        unfitted(density_range=(0, 12)).fit(chunks(200, 100, 200))
    with pytest.raises(ValueError, match="'X' is an iterator without a pair left"):
        unfitted().fit(iter([]))
    wider = iter([(FEW, FEW_RHO), (FEW[:, :-1], FEW_RHO), (FEW, FEW_RHO)])
    with pytest.raises(ValueError, match="X has 71 features, but CNNInverter is expecting 72"):
        unfitted().fit(wider)
    with pytest.raises(ValueError, match="requires y to be passed, but the target y is None"):
        unfitted().fit(FEW)


def test_fresh_pairs_and_early_stopping_go_together():
    source = Source(200)
    inverter = unfitted(early_stopping=True, density_range=(0, 12), max_epochs=4).fit(source)
    assert len(inverter.validation_loss_curve_) == inverter.n_epochs_ == len(source.seeds) == 4


# The cycle of learning rates


def test_rate_rises_and_falls_in_one_cycle():
    observer = Observer()
    fitted(X[:640], RHO[:640], max_epochs=10, learning_rate=1e-3, callbacks=[observer])
    rates = np.array(observer.rates_)
    assert len(rates) == 50
    top = int(np.argmax(rates))
    assert 1 <= top <= 4
    assert 0.9e-3 < rates[top] <= 1e-3
    assert np.all(np.diff(rates[:top]) > 0)
    assert np.all(np.diff(rates[top:]) < 0)
    assert rates[0] < 0.3 * rates[top] > 30 * rates[-1]


def test_chunks_of_partial_fit_go_through_one_cycle():
    whole, parts = Observer(), Observer()
    fitted(max_epochs=6, batch_size=50, callbacks=[whole])
    inverter = unfitted(max_epochs=6, batch_size=50, callbacks=[parts])
    for _ in range(6):
        inverter.partial_fit(FEW, FEW_RHO)
    np.testing.assert_allclose(parts.rates_, whole.rates_)
    inverter.partial_fit(FEW, FEW_RHO)
    assert inverter.n_epochs_ == 7


@pytest.mark.parametrize("max_epochs", [1, 2])
def test_warm_start_begins_another_cycle(max_epochs):
    observer = Observer()
    inverter = unfitted(max_epochs=max_epochs, batch_size=15, warm_start=True, callbacks=[observer])
    inverter.fit(FEW, FEW_RHO).fit(FEW, FEW_RHO)
    first, second = np.array_split(observer.rates_, 2)
    np.testing.assert_allclose(second, first)
    assert inverter.n_epochs_ == 2 * max_epochs


def test_warm_start_goes_on_from_the_weights(trained):
    inverter = copy.deepcopy(trained).set_params(warm_start=True, max_epochs=1)
    inverter.set_params(learning_rate=1e-35).fit(X, RHO)
    for old, new in zip(weights(trained), weights(inverter), strict=True):
        np.testing.assert_allclose(new, old, atol=1e-7)
    assert inverter.n_epochs_ == 16
    with pytest.raises(ValueError, match="'augment' is now 'mirror', but the network was"):
        inverter.set_params(augment="mirror").fit(X, RHO)


# Training that ends otherwise


def test_early_stopping_stops_in_time_and_keeps_the_best_weights():
    observer = Observer()
    inverter = fitted(
        early_stopping=True,
        validation_fraction=0.2,
        n_iter_no_change=3,
        max_epochs=60,
        learning_rate=0.02,
        callbacks=[observer],
    )
    best = int(np.argmin(inverter.validation_loss_curve_))
    assert inverter.n_epochs_ == best + 4 < 60
    kept = inverter.net_.module_.state_dict()
    assert all(torch.equal(kept[name], value) for name, value in observer.states_[best].items())


def test_interrupt_keeps_the_best_weights_and_says_so():
    observer = Observer()
    with pytest.warns(ConvergenceWarning, match="stopped by the user after 3 of 9 epochs") as told:
        inverter = fitted(max_epochs=9, callbacks=[observer, Interrupt(4)])
    assert told[0].filename == __file__
    best = int(np.argmin(inverter.loss_curve_))
    kept = inverter.net_.module_.state_dict()
    assert all(torch.equal(kept[name], value) for name, value in observer.states_[best].items())
    assert relative_l2_error(UNSEEN, inverter.predict(G)) < 0.3


def test_diverging_loss_is_an_error_that_names_the_learning_rate():
    with pytest.raises(FloatingPointError, match=r"became nan in epoch .*: lower 'learning_rate'"):
        fitted(learning_rate=1e30, weight_decay=1e10, max_epochs=20)


# Physics


def test_wrong_physics_is_refused_and_the_mistake_is_named():
    upside_down = MESH.unflatten(FEW_RHO)[:, ::-1].reshape(FEW_RHO.shape)
    with pytest.warns(PhysicsWarning, match="y is upside down: the top layer comes first"):
        fitted(y=upside_down)
    with pytest.raises(ValueError, match="The sign of X is reversed"):
        fitted(-FEW)
    with pytest.raises(ValueError, match="'operator' maps 144 cells to 8 data, but the training"):
        fitted(operator=ForwardOperator(MESH, Survey([[-1, -3], [-1, 0], [-1, 3], [-1, 4]])))
    with pytest.raises(ValueError, match="does not reproduce X from y"):
        fitted(operator=MatrixOperator(np.ones((72, 144))))


def test_operator_that_is_not_given_is_found_or_identified():
    inverter = fitted(operator=None)
    np.testing.assert_array_equal(inverter.operator_.matrix_, OPERATOR.matrix_)
    far = ForwardOperator(MESH, Survey.line(MESH, height=3.0), units="normalized").fit()
    with pytest.warns(PhysicsWarning, match="identified from 1600 of them"):
        inverter = fitted(far.transform(RHO), RHO, operator=None, max_epochs=1)
    exact = fitted(far.transform(RHO), RHO, operator=far, max_epochs=1)
    g = with_noise(far.transform(UNSEEN), 0.01)
    errors = [relative_l2_error(UNSEEN, i.predict(g)) for i in (inverter, exact)]
    assert errors[0] == pytest.approx(errors[1], rel=0.01)


def test_error_of_an_identified_operator_counts_as_noise():
    far = ForwardOperator(MESH, Survey.line(MESH, height=3.0), units="normalized").fit()
    g, unseen = far.transform(RHO[:60]), far.transform(UNSEEN)
    with pytest.warns(PhysicsWarning, match="identified from 48 of them"):
        inverter = fitted(g, RHO[:60], operator=None)
    # As if the operator were exact: what it gets wrong is then fitted as signal.
    with pytest.warns(PhysicsWarning, match="does not reproduce X from y"):
        trusting = fitted(g, RHO[:60], operator=MatrixOperator(inverter.operator_.matrix_))
    errors = [relative_l2_error(UNSEEN, i.predict(unseen)) for i in (inverter, trusting)]
    mean = relative_l2_error(UNSEEN, np.tile(RHO[:60].mean(axis=0), (300, 1)))
    assert errors[0] < 0.7 * mean
    assert errors[0] < 0.95 * errors[1]


@pytest.mark.parametrize("n_samples", [60, 1000])
def test_standardised_densities_are_estimated_sanely(n_samples):
    network = TransformedTargetRegressor(unfitted(operator=None), transformer=StandardScaler())
    with pytest.warns(PhysicsWarning, match=rf"identified from {n_samples * 4 // 5} of them"):
        network.fit(X[:n_samples], RHO[:n_samples])
    plain = fitted(X[:n_samples], RHO[:n_samples])
    g = with_noise(G, 0.01)
    errors = [relative_l2_error(UNSEEN, i.predict(g)) for i in (network, plain)]
    mean = relative_l2_error(UNSEEN, np.tile(RHO[:n_samples].mean(axis=0), (300, 1)))
    assert errors[0] < 0.75 * mean
    assert errors[0] < 1.1 * errors[1]


@pytest.mark.parametrize("level", [0.01, 0.05])
def test_noisy_pairs_of_the_papers_sizes_need_no_operator(level):
    inverter = fitted(with_noise(X, level), RHO, operator=None, max_epochs=1)
    np.testing.assert_allclose(inverter.operator_.matrix_, OPERATOR.matrix_, rtol=1e-12)
    # The frame knows the noise-free physics, whatever the noise of the pairs.
    np.testing.assert_allclose(inverter._encoding.variance, untrained()._encoding.variance)


@pytest.mark.parametrize("mirror", [None, "mirror"])
def test_constant_part_of_the_data_is_no_signal(mirror):
    offset = 0.001 * np.random.default_rng(0).normal(size=72) * np.abs(X).max()
    params = {"augment": mirror, "training_noise": (0, 0.1)}
    with pytest.warns(PhysicsWarning, match="does not reproduce X from y: relative misfit 0.00"):
        shifted = untrained(X + offset, RHO, **params)
    plain = untrained(X, RHO, **params)
    g = with_noise(G, 0.01)
    told = {"noise_level": 0.01}
    odd = 0.0
    if mirror:  # a mirror sees but the even part
        images = Mirror.of(MESH, OPERATOR.survey_)
        odd = (offset - offset[images.data] * images.sign) / 2
        assert worst_deviation(plain.predict(g + odd, **told), plain.predict(g, **told)) > 0.02
    expected = plain.predict(g + odd, **told)
    assert worst_deviation(shifted.predict(g + offset, **told), expected) < 0.01
    assert worst_deviation(plain.predict(g + offset, **told), expected) > 0.03


LAYERED = Mesh([[0, 1, 3, 7], np.linspace(-4, 4, 6)])


@pytest.mark.parametrize(
    "operator",
    [
        ForwardOperator(LAYERED, Survey.line(LAYERED, components="z")),
        ForwardOperator(LAYERED, Survey.line(LAYERED, n_stations=2)),
        ForwardOperator(LAYERED, Survey.line(LAYERED, n_stations=1, components="z")),
        ForwardOperator(Mesh.regular((2, 3, 4), 1.0)),
        ForwardOperator(Mesh([[0, 1], [0, 1]]), Survey([[-1, 0], [-1, 1]])),
    ],
    ids=["gz alone", "two stations", "one datum", "3D", "one cell"],
)
@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("n_samples", [20, 1])
def test_any_mesh_survey_and_number_of_samples_will_do(operator, told, n_samples):
    rho = np.random.default_rng(0).uniform(0, 12, (n_samples, operator.mesh.n_cells))
    g = operator.fit().transform(rho)
    inverter = unfitted(operator=operator if told else None, max_epochs=5)
    if told:
        inverter.fit(g, rho)
    else:
        with pytest.warns(PhysicsWarning, match="identified from"):
            inverter.fit(g, rho)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # an identified operator may look like noise
        estimate = inverter.predict(g)
        other = inverter.predict(with_noise(2 * g, 0.05))
    assert estimate.shape == rho.shape
    assert np.isfinite(estimate).all()
    assert np.isfinite(other).all()
    assert np.isfinite(inverter.loss_curve_).all()
    mean = np.tile(rho.mean(axis=0), (n_samples, 1))
    if told:
        assert relative_l2_error(rho, estimate) < relative_l2_error(rho, mean) + 1e-6


def test_densities_given_as_a_vector_come_back_as_one():
    mesh = Mesh([[0, 1], [0, 1]])
    operator = ForwardOperator(mesh, Survey([[-1, 0], [-1, 1]])).fit()
    rho = np.random.default_rng(0).uniform(0, 12, 50)
    g = operator.transform(rho[:, None])
    found = fitted(g, rho, operator=operator).predict(g)
    assert found.shape == (50,)
    np.testing.assert_allclose(found, rho, rtol=1e-3)


# Precision


def test_bfloat16_trains_to_about_the_same_error(trained):
    short = fitted(X, RHO, max_epochs=5)
    half = fitted(X, RHO, max_epochs=5, precision="bfloat16")
    assert not same_weights(short, half)
    assert half.net_.module_.last.weight.dtype == torch.float32
    for level in [0.0, 0.01]:
        g = with_noise(G, level)
        errors = [relative_l2_error(UNSEEN, i.predict(g)) for i in (half, short)]
        assert errors[0] == pytest.approx(errors[1], rel=5e-3)


def test_float32_in_float64_out(trained):
    rho = trained.predict(with_noise(G, 0.01).astype(np.float32))
    assert rho.dtype == np.float64
    np.testing.assert_allclose(rho, trained.predict(with_noise(G, 0.01)), atol=1e-3)
    single = fitted(FEW.astype(np.float32), FEW_RHO.astype(np.float32))
    assert single.net_.module_.last.weight.dtype == torch.float32
    g = with_noise(G, 0.01)
    np.testing.assert_allclose(single.predict(g), fitted().predict(g), atol=0.02)


# Manners


@pytest.mark.parametrize("level", LEVELS)
def test_samples_do_not_know_one_another(trained, level):
    g = with_noise(G, level)
    together = trained.predict(g)
    alone = np.concatenate([trained.predict(row[None]) for row in g[:30]])
    assert worst_deviation(alone, together[:30]) < 1e-5
    parts = np.concatenate([trained.predict(part) for part in np.array_split(g[::-1], 7)])
    assert worst_deviation(parts[::-1], together) < 1e-5
    many = trained.predict(np.tile(g, (5, 1)))  # more than a batch
    assert worst_deviation(many[-300:], together) < 1e-5


def test_same_seed_same_result_other_seed_other_result():
    first = fitted(augment="mirror", early_stopping=True)
    torch.manual_seed(123)
    assert same_weights(first, fitted(augment="mirror", early_stopping=True))
    assert not same_weights(first, fitted(augment="mirror", early_stopping=True, random_state=1))
    assert not same_weights(fitted(random_state=None), fitted(random_state=None))


def test_global_generators_stay_untouched():
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    fitted(augment="mirror", early_stopping=True).partial_fit(FEW, FEW_RHO).predict(FEW)
    unfitted(density_range=(0, 12)).fit(Source())
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert np.array_equal(np.random.get_state()[1], numpy_before[1])  # noqa: NPY002


def test_clone_and_copies():
    inverter = fitted(callbacks=[Observer()])
    before = inverter.get_params()
    assert not hasattr(clone(inverter), "net_")
    assert all(before[name] is value for name, value in inverter.get_params().items())
    old = weights(inverter)
    copy.deepcopy(inverter).partial_fit(FEW, FEW_RHO)
    assert all(map(np.array_equal, weights(inverter), old))


def test_pickle_holds_weights_and_frame_and_nothing_of_the_training_set(trained):
    dump = pickle.dumps(trained)
    frame = [v for v in vars(trained._encoding).values() if isinstance(v, np.ndarray)]
    n_bytes = sum(a.nbytes for a in [*weights(trained), *frame])
    assert len(dump) < 1.02 * n_bytes
    u, targets = trained._encoding.encode(X[::50], RHO[::50])
    rows = [*X[::50], *RHO[::50], *u, *targets, *X.astype(np.float32), *RHO.astype(np.float32)]
    assert not any(row.tobytes() in dump for row in rows)
    restored = pickle.loads(dump)
    g = with_noise(G, 0.01)
    np.testing.assert_array_equal(restored.predict(g), trained.predict(g))
    restored.set_params(max_epochs=20).partial_fit(FEW, FEW_RHO)
    assert restored.n_epochs_ == 16
    assert not same_weights(restored, trained)


def test_grid_search_over_architecture_and_noise_in_processes():
    grid = {"architecture": ["residual", SMALL_PAPER], "training_noise": [None, (0.0, 0.01)]}
    search = GridSearchCV(
        unfitted(max_epochs=1), grid, scoring=relative_l2_scorer, cv=2, n_jobs=2
    ).fit(FEW, FEW_RHO)
    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores).all()
    assert search.best_params_["architecture"] == "residual"
    again = GridSearchCV(unfitted(max_epochs=1), grid, scoring=relative_l2_scorer, cv=2)
    np.testing.assert_allclose(
        again.fit(FEW, FEW_RHO).cv_results_["mean_test_score"], scores, rtol=1e-3
    )


def test_refiner_fits_the_estimate_to_the_data():
    pipeline = Pipeline([unfitted(), Refiner("lgmres", operator=OPERATOR, noise_level=1e-4)])
    pipeline.fit(FEW, FEW_RHO)
    g = with_noise(G[:20], 1e-4)
    rho = pipeline.predict(g)
    estimate = pipeline[0].predict(g)
    assert relative_data_misfit(OPERATOR, estimate, g) > 2e-4
    assert relative_data_misfit(OPERATOR, rho, g) < 1.3e-4
    assert relative_l2_error(UNSEEN[:20], rho) < 1.02 * relative_l2_error(UNSEEN[:20], estimate)


def test_pandas_in_and_out():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(FEW, columns=OPERATOR.get_feature_names_out())
    inverter = unfitted().set_output(transform="pandas").fit(frame, FEW_RHO)
    both = inverter.transform(frame)
    assert list(both.columns[[0, 143, 144, 215]]) == ["rho0", "rho143", "gx0", "gz35"]
    np.testing.assert_array_equal(both, np.hstack([inverter.predict(frame), FEW]))
    levels = pd.Series(np.full(150, 0.01))
    np.testing.assert_array_equal(
        inverter.predict(frame, noise_level=levels), inverter.predict(frame, noise_level=0.01)
    )


def test_eight_threads_may_predict_at_once(trained):
    many, results = with_noise(np.tile(G, (4, 1)), 0.01), {}

    def predict(i):
        results[i] = trained.predict(many)

    threads = [threading.Thread(target=predict, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = trained.predict(many)
    assert all(np.array_equal(results[i], expected) for i in range(8))


def test_what_is_none_is_that_of_the_residual_network():
    inverter = CNNInverter(operator=OPERATOR)
    assert inverter._parameter("max_epochs") == 50
    net = inverter.set_params(max_epochs=1).fit(FEW, FEW_RHO).net_
    assert (net.lr, net.optimizer__weight_decay, net.batch_size) == (1e-3, 1e-2, 128)
    assert net.augment.noise_level == (0.0, 0.1)


def test_density_range_bounds_the_estimate():
    low, high = np.quantile(FEW_RHO, [0.25, 0.75])
    with pytest.warns(UserWarning, match="Give a wider 'density_range'"):
        inverter = fitted(density_range=(low, high))
    rho = inverter.predict(FEW)
    assert (rho.min(), rho.max()) == (low, high)


# What a review found


def test_null_space_network_leaves_a_constant_part_of_the_data_alone():
    level = 0.05 * np.sqrt(np.mean(X**2)) * np.linspace(-1, 1, X.shape[1])
    settings = {"max_epochs": 3, "random_state": 0, "training_noise": (0.0, 0.1)}
    errors = []
    for data_consistency in (False, True):
        inverter = CNNInverter(operator=OPERATOR, data_consistency=data_consistency, **settings)
        with pytest.warns(PhysicsWarning, match="does not reproduce X from y"):
            inverter.fit(X + level, RHO)
        errors.append(relative_l2_error(RHO, inverter.predict(X + level)))
    assert errors[1] < 1.05 * errors[0]


def test_validation_noise_is_the_same_in_each_epoch():
    inverter = unfitted(max_epochs=4, early_stopping=True, learning_rate=1e-12)
    losses = inverter.fit(FEW, FEW_RHO).validation_loss_curve_
    np.testing.assert_allclose(losses, losses[0], rtol=1e-5)


def test_mirror_images_are_held_out_with_their_sections():
    split = HoldOut(0.2, 2, seed=0)
    train, valid = split(np.arange(200))
    sections = [{i % 100 for i in part.indices} for part in (train, valid)]
    assert not sections[0] & sections[1]
    assert [len(part) for part in (train, valid)] == [160, 40]
    with pytest.raises(ValueError, match="splits 1 sections into nothing and all"):
        split(np.arange(2))


@pytest.mark.parametrize(
    ("name", "value"),
    [("architecture", "paper"), ("n_components", 3), ("data_consistency", True)],
)
def test_warm_start_refuses_what_the_network_was_not_made_with(name, value):
    inverter = unfitted(max_epochs=1, warm_start=True).fit(FEW, FEW_RHO)
    with pytest.raises(ValueError, match=f"'{name}' is now {value!r}, but the network was made"):
        inverter.set_params(**{name: value}).fit(FEW, FEW_RHO)


def test_partial_fit_after_fit_begins_a_new_cycle():
    inverter = unfitted(max_epochs=3).fit(FEW, FEW_RHO)
    before = inverter.predict(FEW)
    inverter.partial_fit(FEW, FEW_RHO)
    assert np.abs(inverter.predict(FEW) - before).max() > 1e-3


def test_failed_fit_leaves_what_was_fitted():
    inverter = unfitted(max_epochs=1).fit(FEW, FEW_RHO)
    before = inverter.predict(FEW)
    with pytest.raises(ValueError, match="'operator' does not reproduce X from y"):
        inverter.fit(FEW, -FEW_RHO)
    np.testing.assert_array_equal(inverter.predict(FEW), before)


def test_auto_estimates_the_noise_where_one_level_was_trained():
    inverter = unfitted(max_epochs=1, training_noise=0.05).fit(FEW, FEW_RHO)
    rms = np.sqrt(np.mean(FEW**2, axis=1, keepdims=True))
    noisy = FEW + 0.05 * rms * np.random.default_rng(0).normal(size=FEW.shape)
    told, estimated = inverter.predict(noisy), inverter.predict(noisy, noise_level="auto")
    np.testing.assert_array_equal(inverter.predict(noisy, noise_level=0.05), told)
    assert np.abs(told - estimated).max() > 1e-3
    assert relative_l2_error(told, estimated) < 0.05
