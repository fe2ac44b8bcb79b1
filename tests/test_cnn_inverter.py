"""CNNInverter: the paper's network and training, and what a scikit-learn user expects of it.

The default architecture has tests of its own, in test_residual_inverter.py.
"""

import copy
import pickle
import random
import threading
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.dummy import DummyRegressor
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import cross_val_score
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback
from torch import nn

from skgrav import CNNInverter, ForwardOperator, MatrixOperator, Mesh, Survey
from skgrav.datasets import make_density_models, make_gravity_dataset
from skgrav.metrics import relative_l2_error, relative_l2_scorer
from skgrav.networks import PaperCNN
from skgrav.training import Augmentation, Mirror

SMALL_NETWORK = partial(PaperCNN, filters=(8,), hidden_layer_sizes=(64,))
DATA = make_gravity_dataset(n_samples=60, mesh=Mesh.square(12), random_state=0)
X, Y = DATA.data, DATA.target  # 72 data, 144 cells


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def small(**params):
    """Give an inverter that trains in a moment."""
    defaults = {"architecture": SMALL_NETWORK, "max_epochs": 3, "random_state": 0}
    return CNNInverter(**defaults | params)


def weights(inverter):
    return [w.detach().numpy().copy() for w in inverter.net_.module_.parameters()]


def same_weights(one, other):
    return all(np.array_equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


class Idle(nn.Module):
    """Network with a weight that never sees a gradient other than zero."""

    def __init__(self, n_data, n_cells, n_components):
        super().__init__()
        self.n_cells = n_cells
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, g):
        return 0 * self.weight * g[:, :1].expand(len(g), self.n_cells)


class Observer(Callback):
    """Notes what training goes through."""

    def initialize(self):
        self.batch_sizes_, self.states_, self.flushed_ = [], [], []
        return self

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        if training:
            self.batch_sizes_.append(len(batch[0]))

    def on_epoch_end(self, net, **kwargs):
        self.states_.append(copy.deepcopy(net.module_.state_dict()))
        self.flushed_.append(denormals_are_flushed())


class Interrupt(Callback):
    """Press Ctrl-C in some epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_batch_end(self, net, training=False, **kwargs):
        if training and len(net.history) == self.epoch:
            raise KeyboardInterrupt


class Spoil(Callback):
    """Spoil the weights before some epoch, so that its loss is surely not the best."""

    def __init__(self, epoch, factor=100):
        self.epoch, self.factor = epoch, factor

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == self.epoch:
            with torch.no_grad():
                for weights in net.module_.parameters():
                    weights.mul_(self.factor)


def denormals_are_flushed():
    return bool(torch.tensor(1e-40).mul(1.0) == 0)


def recording(seen):
    """Give an architecture that notes what it is trained on."""

    class Recorder(PaperCNN):
        def forward(self, g):
            if self.training:
                seen.append(g.numpy().copy())
            return super().forward(g)

    return partial(Recorder, filters=(8,), hidden_layer_sizes=(16,))


# The paper's network


def test_paper_network_is_layer_by_layer_the_papers():
    network = PaperCNN(306, 2601, 2)
    leaky = "LeakyReLU(negative_slope=0.3)"
    expected = []
    for n_in, n_out in [(2, 32), (32, 64), (64, 128)]:
        expected += [f"Conv1d({n_in}, {n_out}, kernel_size=(3,), stride=(2,))", leaky]
    for n_in, n_out in [(18 * 128, 250), (250, 500), (500, 1000), (1000, 1500)]:
        dense = f"Linear(in_features={n_in}, out_features={n_out}, bias=True)"
        expected += [dense, leaky, "Dropout(p=0.1, inplace=False)"]
    expected += ["Linear(in_features=1500, out_features=2601, bias=True)", "Sigmoid()"]
    assert [str(layer) for layer in [*network.convolutions, *network.dense]] == expected


def test_paper_network_has_6_64_million_parameters():
    assert sum(w.numel() for w in PaperCNN(306, 2601, 2).parameters()) == 6_639_487


def test_paper_by_name_is_the_papers_network_with_the_sizes_seen_in_fit(paper_sized):
    assert str(paper_sized.net_.module_) == str(PaperCNN(300, 2500, 2))


def test_first_channel_is_gx_of_all_stations_and_the_second_gz():
    network, seen = PaperCNN(8, 5, 2), []
    network.convolutions[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(torch.arange(8.0)[None])
    assert seen[0].tolist() == [[[0, 1, 2, 3], [4, 5, 6, 7]]]


@pytest.mark.parametrize(
    ("n_stations", "n_convolutions"), [(1, 0), (2, 0), (3, 1), (6, 1), (7, 2), (14, 2), (15, 3)]
)
def test_short_line_gets_as_many_convolutions_as_fit(n_stations, n_convolutions):
    network = PaperCNN(2 * n_stations, 5, 2)
    assert sum(isinstance(layer, nn.Conv1d) for layer in network.convolutions) == n_convolutions
    assert network(torch.zeros(3, 2 * n_stations)).shape == (3, 5)


def test_weights_start_as_keras_draws_them():
    network = PaperCNN(306, 2601, 2)
    for layer in [*network.convolutions, *network.dense]:
        if isinstance(layer, nn.Linear | nn.Conv1d):
            taps = 3 if isinstance(layer, nn.Conv1d) else 1
            limit = np.sqrt(6 / (taps * (layer.weight.shape[0] + layer.weight.shape[1])))
            assert 0.95 * limit < layer.weight.abs().max().item() < 1.000001 * limit
            assert not layer.bias.any()


def test_estimate_stays_within_the_range_of_the_training_densities():
    rho = small(learning_rate=0.1).fit(X, Y).predict(100 * X)
    assert Y.min() <= rho.min() < rho.max() <= Y.max()


# The paper's training


@pytest.mark.parametrize("architecture", ["paper", SMALL_NETWORK])
def test_what_is_none_is_the_papers(architecture):
    assert CNNInverter(architecture)._parameter("max_epochs") == 100
    net = CNNInverter(architecture, max_epochs=1).fit(X, Y).net_
    assert (net.lr, net.optimizer__weight_decay, net.batch_size) == (1e-3, 1e-4, 25)
    assert net.train_split is None
    assert net.augment is None  # data are taken for noise-free


def test_optimiser_is_adam_with_the_papers_rate_and_decay():
    net = small(max_epochs=1).fit(X, Y).net_
    (group,) = net.optimizer_.param_groups
    assert type(net.optimizer_) is torch.optim.AdamW
    assert (group["lr"], group["weight_decay"], group["betas"]) == (1e-3, 1e-4, (0.9, 0.999))


@pytest.mark.parametrize("warm_start", [False, True])
def test_decay_is_decoupled_and_the_rate_falls_smoothly_by_0_8_per_100_epochs(warm_start):
    rates = 1e-2 * 0.8 ** (np.arange(250) / 100)
    inverter = CNNInverter(
        Idle, learning_rate=1e-2, weight_decay=0.5, max_epochs=250, warm_start=warm_start
    )
    if warm_start:
        inverter.set_params(max_epochs=125).fit(X, Y).fit(X, Y)
    else:
        inverter.fit(X, Y)
    np.testing.assert_allclose([epoch["lr"] for epoch in inverter.net_.history], rates)
    # Coupled decay would be a gradient, which Adam turns into a step of the size of the rate.
    n_batches = 3
    shrunk = np.prod(1 - 0.5 * rates) ** n_batches
    assert inverter.net_.module_.weight.item() == pytest.approx(shrunk, rel=1e-3)


def test_each_epoch_takes_all_samples_once_in_batches_and_a_new_order():
    seen, observer = [], Observer()
    CNNInverter(recording(seen), max_epochs=2, random_state=0, callbacks=[observer]).fit(X, Y)
    assert observer.batch_sizes_ == 2 * [25, 25, 10]
    epochs = [np.concatenate(seen[:3]), np.concatenate(seen[3:])]
    assert not np.array_equal(*epochs)
    np.testing.assert_array_equal(*(np.sort(epoch, axis=0) for epoch in epochs))


def test_data_are_standardised_inside():
    seen = []
    small(architecture=recording(seen), batch_size=60, max_epochs=1).fit(5e4 + 1e3 * X, Y)
    np.testing.assert_allclose(seen[0].mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(seen[0].std(axis=0), 1, rtol=1e-3)


def test_loss_is_the_mean_squared_error_of_densities_12_units_wide():
    y = np.where(Y > 6, 12.0, 0.0)
    inverter = CNNInverter(Idle, max_epochs=1, batch_size=60).fit(X, y)
    assert inverter.loss_curve_ == [pytest.approx(np.mean(y**2), rel=1e-6)]


def test_ten_samples_are_overfitted():
    inverter = CNNInverter("paper", max_epochs=150, batch_size=10, random_state=0)
    inverter.fit(X[:10], Y[:10])
    assert relative_l2_error(Y[:10], inverter.predict(X[:10])) < 0.05
    assert inverter.loss_curve_[-1] < 0.05 * inverter.loss_curve_[0]


def test_mean_model_and_minimum_norm_are_beaten_at_1_percent_noise():
    mesh = Mesh.square(12)
    train = make_gravity_dataset(2000, mesh=mesh, random_state=1)
    test = make_gravity_dataset(300, mesh=mesh, noise_level=0.01, random_state=2)
    network = partial(PaperCNN, filters=(16, 32), hidden_layer_sizes=(256, 256))
    inverter = CNNInverter(network, training_noise=0.01, max_epochs=20, random_state=0)
    inverter.fit(train.data, train.target)
    error = relative_l2_error(test.target, inverter.predict(test.data))
    mean = DummyRegressor().fit(train.data, train.target).predict(test.data)
    linear = [
        relative_l2_error(test.target, test.operator.inverse_transform(test.data, rcond=rcond))
        for rcond in np.logspace(-4, -0.5, 15)
    ]
    assert error < 0.65 * relative_l2_error(test.target, mean)
    assert error < 0.9 * min(linear)


# Sizes


LAYERED = Mesh([[0, 1, 3, 7], np.linspace(-4, 4, 6)])


@pytest.mark.parametrize(
    "operator",
    [
        ForwardOperator(LAYERED, Survey.line(LAYERED, components="z")),
        ForwardOperator(LAYERED, Survey.line(LAYERED, n_stations=2)),
        ForwardOperator(LAYERED, Survey.line(LAYERED, n_stations=1)),
        ForwardOperator(LAYERED, Survey.line(LAYERED, n_stations=1, components="z")),
        ForwardOperator(Mesh.regular((2, 3, 4), 1.0)),
        ForwardOperator(Mesh([[0, 1], [0, 1]]), Survey([[-1, 0], [-1, 1]])),
    ],
    ids=["gz alone", "two stations", "one station", "one datum", "3D", "one cell"],
)
@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("n_samples", [20, 1])
def test_any_mesh_survey_and_number_of_samples_will_do(operator, told, n_samples):
    mesh = operator.mesh
    rho = np.random.default_rng(0).uniform(0, 12, (n_samples, mesh.n_cells))
    g = operator.fit().transform(rho)
    operator = operator if told else None
    inverter = CNNInverter("paper", operator=operator, max_epochs=10, random_state=0)
    estimate = inverter.fit(g, rho).predict(g)
    assert estimate.shape == rho.shape
    assert np.isfinite(estimate).all()
    assert inverter.loss_curve_[-1] < inverter.loss_curve_[0]


def test_densities_given_as_a_vector_come_back_as_one():
    assert small().fit(X, Y[:, 0]).predict(X).shape == (60,)


def test_components_follow_the_operator_and_without_one_the_papers_sizes():
    def channels(inverter, n_data):
        return inverter.fit(X[:, :n_data], Y).net_.module_.n_components

    gz = ForwardOperator(Mesh.square(12), Survey.line(Mesh.square(12), components="z"))
    assert channels(small(), 72) == 2
    assert channels(small(), 71) == 1
    assert channels(small(operator=gz), 36) == 1
    assert channels(small(operator=MatrixOperator(DATA.operator.matrix_)), 72) == 1


# Noise and mirror images


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
        (Mesh.square(8), Survey.line(Mesh.square(8), components="zx")),
        (SHIFTED, Survey.line(SHIFTED, n_stations=5)),
        (SHIFTED, Survey([[-1, 107], [-2, 103], [-1, 105], [-2, 109]])),
        (VOLUME, Survey.grid(VOLUME, height=0.5, components="xyz")),
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
ASIDE = Survey([[-1, -3], [-1, 0], [-1, 3], [-1, 4]])


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


# Early stopping


def test_early_stopping_holds_out_a_share_stops_in_time_and_keeps_the_best_weights():
    observer = Observer()
    inverter = small(
        early_stopping=True,
        validation_fraction=0.2,
        n_iter_no_change=4,
        max_epochs=500,
        learning_rate=0.02,
        callbacks=[observer],
    ).fit(X, Y)
    assert sum(observer.batch_sizes_) == 48 * inverter.n_epochs_
    best = int(np.argmin(inverter.validation_loss_curve_))
    assert inverter.n_epochs_ == best + 5 < 500
    kept = inverter.net_.module_.state_dict()
    assert all(torch.equal(kept[name], value) for name, value in observer.states_[best].items())
    assert not torch.equal(kept["dense.0.weight"], observer.states_[-1]["dense.0.weight"])


def test_without_early_stopping_all_samples_and_the_last_weights_count():
    observer = Observer()
    inverter = small(callbacks=[observer]).fit(X, Y)
    assert sum(observer.batch_sizes_) == 60 * 3
    assert inverter.validation_loss_curve_ == []
    last = observer.states_[-1].values()
    assert all(map(torch.equal, inverter.net_.module_.state_dict().values(), last))


# Pickles


@pytest.fixture(scope="module")
def paper_sized():
    """Give the paper's network after a short training in the paper's geometry."""
    data = make_gravity_dataset(n_samples=10, random_state=0)
    inverter = CNNInverter("paper", max_epochs=2, early_stopping=True, random_state=0)
    return inverter.fit(data.data, data.target)


def test_pickle_is_as_large_as_the_weights(paper_sized):
    n_bytes = sum(w.nbytes for w in weights(paper_sized))
    assert n_bytes > 25e6
    assert len(pickle.dumps(paper_sized)) < 1.01 * n_bytes


@pytest.mark.parametrize("early_stopping", [False, True])
def test_data_never_become_attributes_or_ride_along_in_pickles(early_stopping):
    inverter = small(early_stopping=early_stopping).fit(X, Y)
    for values in [vars(inverter), vars(inverter._encoding), vars(inverter.net_)]:
        arrays = [v for v in values.values() if isinstance(v, np.ndarray | torch.Tensor)]
        assert all(np.shape(array) == (72,) for array in arrays)
    dump = pickle.dumps(inverter)
    scaled = ((Y - Y.min()) / (Y.max() - Y.min())).astype(np.float32)
    rows = [*X, *inverter._encoding.inputs(X), *Y, *scaled]
    assert not any(row.tobytes() in dump for row in rows)


def test_unpickled_inverter_predicts_alike_and_can_go_on():
    inverter = small(early_stopping=True).fit(X, Y)
    restored = pickle.loads(pickle.dumps(inverter))
    np.testing.assert_array_equal(restored.predict(X), inverter.predict(X))
    restored.partial_fit(X, Y)
    assert restored.n_epochs_ == 4
    assert restored.net_.history[-1, "lr"] == pytest.approx(1e-3 * 0.8**0.03)
    assert not same_weights(restored, inverter)


def test_deep_copy_shares_nothing():
    inverter = small().fit(X, Y)
    before = weights(inverter)
    copy.deepcopy(inverter).partial_fit(X, Y)
    assert all(map(np.array_equal, weights(inverter), before))


def test_fit_leaves_the_parameters_alone():
    inverter = small(operator=ForwardOperator(), augment="mirror", callbacks=[Observer()])
    before = inverter.get_params()
    after = inverter.fit(X, Y).get_params()
    assert all(after[name] is value for name, value in before.items())
    assert not hasattr(clone(inverter), "net_")
    assert not hasattr(inverter.operator, "mesh_")


# Going on


def test_partial_fit_goes_on_by_one_epoch():
    inverter = small()
    for _ in range(20):
        inverter.partial_fit(X, Y)
    assert inverter.n_epochs_ == len(inverter.loss_curve_) == 20
    assert inverter.loss_curve_[-1] < 0.8 * inverter.loss_curve_[0]


def test_partial_fit_takes_scales_from_the_first_chunk():
    inverter = small(density_range=(0, 12)).partial_fit(X[:30], Y[:30])
    mean = inverter._encoding.mean.copy()
    inverter.partial_fit(X[30:], Y[30:])
    np.testing.assert_array_equal(inverter._encoding.mean, mean)
    np.testing.assert_allclose(mean, X[:30].mean(axis=0))
    assert inverter.density_range_ == (0, 12)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_warm_start_and_partial_fit_are_reproducible(method):
    def run():
        inverter = small(warm_start=True, training_noise=0.01)
        for _ in range(2):
            getattr(inverter, method)(X, Y)
        return inverter

    assert same_weights(run(), run())


def test_warm_start_goes_on_and_a_cold_one_begins_again():
    warm, cold = small(warm_start=True), small()
    once = weights(warm.fit(X, Y))
    warm.fit(X, Y)
    assert warm.n_epochs_ == len(warm.loss_curve_) == 6
    assert warm.loss_curve_[3] < warm.loss_curve_[0]
    cold.fit(X, Y).fit(X, Y)
    assert cold.n_epochs_ == 3
    assert all(map(np.array_equal, weights(cold), once))


def test_warm_start_takes_the_training_parameters_of_now():
    inverter = small(warm_start=True).fit(X, Y)
    before = weights(inverter)
    inverter.set_params(max_epochs=1, learning_rate=1e-12, batch_size=7, training_noise=0.1)
    inverter.fit(X, Y)
    assert inverter.net_.optimizer_.param_groups[0]["lr"] < 1e-11
    assert (inverter.net_.batch_size, inverter.net_.augment.noise_level) == (7, (0.1, 0.1))
    assert inverter.n_epochs_ == 4
    for old, new in zip(before, weights(inverter), strict=True):
        np.testing.assert_allclose(new, old, atol=1e-6)
    with pytest.raises(ValueError, match="'augment' is now 'mirror', but the network was"):
        inverter.set_params(augment="mirror").fit(X, Y)


def test_a_loss_that_is_no_number_costs_nothing_that_was_learned():
    inverter = small(warm_start=True)
    with pytest.raises(FloatingPointError):
        inverter.set_params(learning_rate=1e30, weight_decay=1e10, max_epochs=20).fit(X * 1.0, Y)
    inverter.set_params(learning_rate=1e-3, weight_decay=0.0, max_epochs=3).fit(X, Y)
    good, density = inverter.n_epochs_, inverter.predict(X)
    inverter.set_params(learning_rate=1e30, weight_decay=1e10, max_epochs=20)
    with pytest.raises(FloatingPointError):
        inverter.fit(X, Y)
    assert np.isfinite(inverter.predict(X)).all()
    if inverter.net_.history[-1]["epoch"] == good:  # the first epoch failed: all as before
        np.testing.assert_array_equal(inverter.predict(X), density)
    inverter.set_params(learning_rate=1e-3, weight_decay=0.0, max_epochs=1).fit(X, Y)
    assert np.isfinite(inverter.loss_curve_).all()


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_going_on_with_other_sizes_is_refused(method):
    inverter = small(warm_start=True).fit(X, Y)
    with pytest.raises(ValueError, match="'y' has 143 cells, but the network was trained for 144"):
        getattr(inverter, method)(X, Y[:, 1:])
    with pytest.raises(ValueError, match="X has 71 features, but CNNInverter is expecting 72"):
        getattr(inverter, method)(X[:, 1:], Y)


def test_densities_beyond_the_range_are_told():
    text = r"'y' ranges from .* beyond density_range=\(3, 6\), .* Give a wider 'density_range'"
    with pytest.warns(UserWarning, match=text) as caught:
        small(density_range=(3, 6)).fit(X, Y)
    assert caught[0].filename == __file__
    inverter = small().partial_fit(X, Y)
    with pytest.warns(UserWarning, match="which the network cannot leave"):
        inverter.partial_fit(X, Y + 1)


# Training that does not end well


@pytest.mark.parametrize("early_stopping", [False, True])
def test_keyboard_interrupt_keeps_the_best_weights_and_says_so(early_stopping):
    observer = Observer()
    inverter = small(
        max_epochs=40,
        early_stopping=early_stopping,
        n_iter_no_change=40,
        callbacks=[Spoil(30), observer, Interrupt(31)],
    )
    text = r"training was stopped by the user after 30 of 40 epochs; the weights of the best of"
    with pytest.warns(ConvergenceWarning, match=text) as caught:
        inverter.fit(X, Y)
    assert caught[0].filename == __file__
    curve = inverter.validation_loss_curve_ if early_stopping else inverter.loss_curve_
    best = int(np.argmin(curve))
    assert best < 29 == len(curve) - 1
    kept = inverter.net_.module_.state_dict()
    assert all(torch.equal(kept[name], value) for name, value in observer.states_[best].items())
    assert np.isfinite(inverter.predict(X)).all()


def test_interrupted_inverter_can_go_on():
    interrupt = Interrupt(2)
    inverter = small(callbacks=[interrupt])
    with pytest.warns(ConvergenceWarning, match="after 1 of 3 epochs"):
        inverter.fit(X, Y)
    assert len(inverter.net_.history) == 1  # an epoch that was not finished does not count
    interrupt.epoch = None
    inverter.partial_fit(X, Y)
    assert inverter.n_epochs_ == len(inverter.loss_curve_) == 2
    interrupt.epoch = 2
    with pytest.warns(ConvergenceWarning, match="after 1 of 3 epochs"):
        inverter.fit(X, Y)


def test_interrupt_in_the_first_epoch_leaves_an_estimator_that_predicts():
    inverter = small(callbacks=[Interrupt(1)])
    with pytest.warns(ConvergenceWarning, match="after 0 of 3 epochs"):
        inverter.fit(X, Y)
    assert inverter.predict(X).shape == Y.shape


def test_diverging_loss_is_an_error_that_names_the_learning_rate():
    text = r"train_loss became nan in epoch \d+: lower 'learning_rate' or check X and y"
    with pytest.raises(FloatingPointError, match=text):
        small(learning_rate=1e30, weight_decay=1e10, max_epochs=20).fit(X, Y)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_diverged_fit_tells_of_the_epochs_it_finished(early_stopping):
    inverter = small(max_epochs=5, early_stopping=early_stopping).fit(X, Y)
    inverter.set_params(callbacks=[Spoil(3, factor=np.nan)])
    with pytest.raises(FloatingPointError, match=r"_loss became nan in epoch 3"):
        inverter.fit(X, Y)
    assert inverter.n_epochs_ == len(inverter.loss_curve_) == 2
    assert len(inverter.validation_loss_curve_) == (2 if early_stopping else 0)
    assert np.isfinite(inverter.predict(X)).all()


def test_fit_that_diverges_at_once_leaves_no_curves():
    inverter = small().fit(X, Y)
    inverter.set_params(callbacks=[Spoil(1, factor=np.nan)])
    with pytest.raises(FloatingPointError):
        inverter.fit(X, Y)
    assert (inverter.n_epochs_, inverter.loss_curve_) == (0, [])
    with pytest.raises(NotFittedError):
        inverter.predict(X)


# Seeds and states


def test_same_seed_same_result_other_seed_other_result():
    params = {"training_noise": 0.01, "augment": "mirror", "early_stopping": True}
    first = small(**params).fit(X, Y)
    torch.manual_seed(123)
    assert same_weights(first, small(**params).fit(X, Y))
    assert not same_weights(first, small(**params, random_state=1).fit(X, Y))


def test_no_seed_means_another_result_each_time():
    assert not same_weights(*(small(random_state=None).fit(X, Y) for _ in range(2)))


def test_global_generators_stay_untouched():
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    python_before = random.getstate()
    inverter = small(training_noise=0.01, augment="mirror", early_stopping=True).fit(X, Y)
    inverter.partial_fit(X, Y).predict(X)
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert np.array_equal(np.random.get_state()[1], numpy_before[1])  # noqa: NPY002
    assert random.getstate() == python_before


@pytest.fixture(params=[False, True], ids=["kept", "flushed"])
def flush_before(request):
    """Set how the user treats denormal numbers."""
    torch.set_flush_denormal(request.param)
    yield request.param
    torch.set_flush_denormal(False)


def test_denormals_are_flushed_while_training_and_treated_as_before_afterwards(flush_before):
    observer = Observer()
    small(callbacks=[observer]).fit(X, Y)
    assert observer.flushed_ == [True, True, True]
    assert denormals_are_flushed() == flush_before


def test_denormals_are_treated_as_before_after_an_error_too():
    with pytest.raises(FloatingPointError):
        small(learning_rate=1e30, weight_decay=1e10, max_epochs=20).fit(X, Y)
    assert not denormals_are_flushed()


class Dying(Idle):
    """Network whose weight sees a tiny gradient once, and then none."""

    def forward(self, g):
        scale = 0.0 if hasattr(self, "dead") else 1e-34
        if self.training:
            self.dead = True
        return (scale * self.weight + 0 * g[:, :1]).expand(len(g), self.n_cells)


@pytest.mark.parametrize("flush", [True, False])
def test_moments_of_dead_units_do_not_become_denormal(flush, monkeypatch):
    if not flush:  # shows that they would
        monkeypatch.setattr(torch, "set_flush_denormal", lambda mode: None)
    inverter = CNNInverter(Dying, max_epochs=150, batch_size=60).fit(X, Y)
    (state,) = inverter.net_.optimizer_.state.values()
    moment = float(state["exp_avg"].abs())
    assert (moment == 0) if flush else (0 < moment < np.finfo(np.float32).tiny)


# Prediction


@pytest.fixture(scope="module")
def fitted():
    return small().fit(X, Y)


def test_float32_data_give_float64_densities():
    inverter = small().fit(X.astype(np.float32), Y.astype(np.float32))
    assert inverter.predict(X.astype(np.float32)).dtype == np.float64
    assert next(inverter.net_.module_.parameters()).dtype == torch.float32


def test_prediction_in_batches_equals_that_of_parts(fitted):
    many = np.random.default_rng(0).normal(size=(2500, 72)) * X.std(axis=0) + X.mean(axis=0)
    parts = np.concatenate([fitted.predict(part) for part in np.array_split(many, 7)])
    np.testing.assert_allclose(fitted.predict(many), parts, rtol=1e-5)


def test_threads_may_predict_at_once(fitted):
    many, results = np.tile(X, (20, 1)), {}

    def predict(i):
        results[i] = fitted.predict(many)

    threads = [threading.Thread(target=predict, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = fitted.predict(many)
    assert all(np.array_equal(results[i], expected) for i in range(4))


def test_transform_puts_the_estimate_beside_the_data(fitted):
    np.testing.assert_array_equal(fitted.transform(X), np.hstack([fitted.predict(X), X]))


def test_pandas_output_names_cells_and_data():
    frame = small().set_output(transform="pandas").fit(X, Y).transform(X)
    assert list(frame.columns) == [*(f"rho{i}" for i in range(144)), *(f"x{i}" for i in range(72))]


def test_names_of_a_data_frame_are_kept():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=DATA.operator.get_feature_names_out())
    names = small().fit(frame, Y).get_feature_names_out()
    assert list(names[[0, 143, 144, 215]]) == ["rho0", "rho143", "gx0", "gz35"]


def test_standardised_densities_work_through_transformed_target_regressor():
    regressor = TransformedTargetRegressor(small(max_epochs=30), transformer=StandardScaler())
    rho = regressor.fit(X, Y).predict(X)
    mean = DummyRegressor().fit(X, Y).predict(X)
    assert relative_l2_error(Y, rho) < relative_l2_error(Y, mean)


def test_cross_validation_in_processes_equals_that_in_one():
    def scores(n_jobs):
        return cross_val_score(small(), X, Y, cv=2, scoring=relative_l2_scorer, n_jobs=n_jobs)

    np.testing.assert_allclose(scores(2), scores(1), rtol=1e-4)


# Other parameters


def test_callbacks_are_used():
    bare, named = Observer(), Observer()
    inverter = small(callbacks=[bare, ("mine", named)]).fit(X, Y)
    assert len(bare.states_) == len(named.states_) == 3
    assert dict(inverter.net_.callbacks_)["mine"] is named


@pytest.mark.parametrize("verbose", [True, False])
def test_verbose_shows_a_bar_on_stderr_and_nothing_else(verbose, capsys):
    small(verbose=verbose, early_stopping=True, n_iter_no_change=1, max_epochs=9).fit(X, Y)
    printed = capsys.readouterr()
    assert printed.out == ""
    if verbose:
        assert "/9 [" in printed.err
        assert "epoch" in printed.err
        assert "train_loss=" in printed.err
        assert "valid_loss=" in printed.err
    else:
        assert printed.err == ""


def test_verbose_inverter_can_be_pickled():
    pickle.loads(pickle.dumps(small(verbose=True).fit(X, Y))).partial_fit(X, Y)


def test_architecture_is_told_the_sizes():
    sizes = []

    def architecture(*args):
        sizes.append(args)
        return SMALL_NETWORK(*args)

    CNNInverter(architecture, max_epochs=1).fit(X, Y)
    assert sizes == [(72, 144, 2)]


def test_constant_data_and_densities_are_no_trouble():
    inverter = small().fit(np.ones_like(X), np.full_like(Y, 3.0))
    np.testing.assert_allclose(inverter.predict(X), 3.0)


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"density_range": (6, 3)}, r"'density_range' is \(6, 3\); it must be two finite numbers"),
        (
            {"training_noise": -0.1},
            r"'training_noise' parameter of CNNInverter must be a float .* -0\.1",
        ),
        ({"training_noise": (0.1, 0.0)}, r"'training_noise' is \(0\.1, 0\.0\); .* increasing pair"),
        (
            {"training_noise": (-0.1, 0.1)},
            "it must be a number of at least 0 or an increasing pair",
        ),
        (
            {"training_noise": (0, 0.1, 0.2)},
            r"'training_noise' is \(0, 0\.1, 0\.2\); .* increasing pair",
        ),
        ({"architecture": "unet"}, "'architecture' parameter of CNNInverter must be a str among"),
        ({"max_epochs": 0}, "'max_epochs' parameter of CNNInverter must be an int in the range"),
        (
            {"architecture": lambda n_data, n_cells, n_components: nn.Linear(n_data, 5)},
            r"the network returned shape \(25, 5\) for densities of shape \(25, 144\);",
        ),
        (
            {"operator": ForwardOperator(Mesh.square(12), ASIDE)},
            "'operator' has 8 data, but X has 72 columns. Give the operator of the survey that",
        ),
        (
            {"operator": ForwardOperator(Mesh.square(11))},
            r"144 columns, but 'mesh' of shape \(11, 11\) has 121 cells",
        ),
    ],
)
def test_bad_parameters_are_refused(params, text):
    with pytest.raises(ValueError, match=text):
        small(**params).fit(X, Y)


def with_one(bad, values):
    spoiled = values.copy()
    spoiled[3, -1] = bad
    return spoiled


@pytest.mark.parametrize(
    ("x", "y", "text"),
    [
        (np.where(X[3, 3] == X, np.nan, X), Y, "Input X contains NaN"),
        (np.where(X[3, 3] == X, np.inf, X), Y, "Input X contains infinity"),
        (X, np.where(Y[3, 3] == Y, np.nan, Y), "Input y contains NaN"),
        (X.T, Y.T, r"inconsistent numbers of samples: \[72, 144\]"),
        (X[:30], Y, r"inconsistent numbers of samples: \[30, 60\]"),
        (X[:0], Y[:0], r"0 sample\(s\)"),
        (X[0], Y[:1], "Expected 2D array, got 1D array"),
    ],
)
def test_bad_data_are_refused(x, y, text):
    with pytest.raises(ValueError, match=text):
        small().fit(x, y)


def test_prediction_needs_a_fit_and_the_same_width(fitted):
    with pytest.raises(NotFittedError):
        small().predict(X)
    with pytest.raises(ValueError, match="X has 60 features, but CNNInverter is expecting 72"):
        fitted.predict(X.T)


def test_density_models_of_other_units_are_scaled_back():
    rho = make_density_models(30, mesh=Mesh.square(6), density_range=(2000, 3300), random_state=0)
    g = ForwardOperator(Mesh.square(6)).fit().transform(rho)
    estimate = small(max_epochs=40).fit(g, rho).predict(g)
    assert relative_l2_error(rho, estimate) < 0.2
    assert rho.min() <= estimate.min() < estimate.max() <= rho.max()
