"""CNNInverter: the paper's network and training, and what a scikit-learn user expects of it.

The default architecture has tests of its own, in test_residual_inverter.py.
"""

import pickle
from functools import partial

import numpy as np
import pytest
import torch
from cnn_cases import ASIDE, DATA, SMALL_NETWORK, Idle, X, Y, _seed, recording, small  # noqa: F401
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.dummy import DummyRegressor
from sklearn.preprocessing import StandardScaler
from torch import nn
from training_cases import Observer, same_weights, weights

from skgrav import CNNInverter, ForwardOperator, MatrixOperator, Mesh, Survey
from skgrav.datasets import make_density_models, make_gravity_dataset
from skgrav.metrics import relative_l2_error
from skgrav.networks import PaperCNN

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


LAYERED = Mesh([[0, 1, 3, 7], np.linspace(-4, 4, 6)])
# Sizes


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


@pytest.fixture(scope="module")
def paper_sized():
    """Give the paper's network after a short training in the paper's geometry."""
    data = make_gravity_dataset(n_samples=10, random_state=0)
    inverter = CNNInverter("paper", max_epochs=2, early_stopping=True, random_state=0)
    return inverter.fit(data.data, data.target)


# Pickles


def test_pickle_is_as_large_as_the_weights(paper_sized):
    n_bytes = sum(w.nbytes for w in weights(paper_sized))
    assert n_bytes > 25e6
    assert len(pickle.dumps(paper_sized)) < 1.01 * n_bytes


@pytest.mark.parametrize("early_stopping", [False, True])
def test_data_never_become_attributes_or_ride_along_in_pickles(early_stopping):
    inverter = small(early_stopping=early_stopping).fit(X, Y)
    for values in [vars(inverter), vars(inverter._encoding), vars(inverter.net_)]:
        arrays = [v for v in values.values() if isinstance(v, np.ndarray | torch.Tensor)]
        # One number for each datum, and the basis of a trend that is not there.
        assert all(np.shape(array) in ((72,), (72, 0)) for array in arrays)
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


def test_fit_leaves_the_parameters_alone():
    inverter = small(operator=ForwardOperator(), augment="mirror", callbacks=[Observer()])
    before = inverter.get_params()
    after = inverter.fit(X, Y).get_params()
    assert all(after[name] is value for name, value in before.items())
    assert not hasattr(clone(inverter), "net_")
    assert not hasattr(inverter.operator, "mesh_")


# Prediction


def test_weights_are_float32():
    assert {w.dtype for w in small(max_epochs=1).fit(X, Y).net_.module_.parameters()} == {
        torch.float32
    }


def test_standardised_densities_work_through_transformed_target_regressor():
    regressor = TransformedTargetRegressor(small(max_epochs=30), transformer=StandardScaler())
    rho = regressor.fit(X, Y).predict(X)
    mean = DummyRegressor().fit(X, Y).predict(X)
    assert relative_l2_error(Y, rho) < relative_l2_error(Y, mean)


# Other parameters


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
        ({"architecture": "net"}, "'architecture' parameter of CNNInverter must be a str among"),
        ({"max_epochs": 0}, "'max_epochs' parameter of CNNInverter must be an int in the range"),
        (
            {"architecture": lambda n_data, n_cells, n_components: nn.Linear(n_data, 5)},
            r"the network returned shape \(25, 5\) for densities of shape \(25, 144\);",
        ),
    ],
)
def test_bad_parameters_are_refused(params, text):
    with pytest.raises(ValueError, match=text):
        small(**params).fit(X, Y)


def test_density_models_of_other_units_are_scaled_back():
    rho = make_density_models(30, mesh=Mesh.square(6), density_range=(2000, 3300), random_state=0)
    g = ForwardOperator(Mesh.square(6)).fit().transform(rho)
    estimate = small(max_epochs=40).fit(g, rho).predict(g)
    assert relative_l2_error(rho, estimate) < 0.2
    assert rho.min() <= estimate.min() < estimate.max() <= rho.max()
