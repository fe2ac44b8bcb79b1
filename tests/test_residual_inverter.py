"""CNNInverter with its default architecture: a linear estimate, and what a network adds to it."""

import copy
import pickle
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from conftest import surveyed, with_noise
from residual_cases import (  # noqa: F401
    FEW,
    FEW_RHO,
    MESH,
    OPERATOR,
    RHO,
    UNSEEN,
    G,
    Source,
    X,
    fitted,
    start,
    trained,
    unfitted,
    untrained,
)
from sklearn.compose import TransformedTargetRegressor
from sklearn.dummy import DummyRegressor
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler
from training_cases import same_weights, weights

from skgrav import (
    BayesLinearInverter,
    CNNInverter,
    ForwardOperator,
    MatrixOperator,
    Mesh,
    Refiner,
    Survey,
)
from skgrav.metrics import relative_data_misfit, relative_l2_error, relative_l2_scorer
from skgrav.networks import PaperCNN, ResidualMLP
from skgrav.operators import PhysicsWarning
from skgrav.pipeline import Pipeline
from skgrav.training import LEAST_NOISE, Mirror

SMALL_PAPER = partial(PaperCNN, filters=(16, 32), hidden_layer_sizes=(256, 256))
LEVELS = [0.0, 0.001, 0.01, 0.05]


def worst_deviation(estimate, expected):
    deviation = np.linalg.norm(estimate - expected, axis=1)
    return float(np.max(deviation / np.linalg.norm(expected, axis=1)))


@pytest.fixture(scope="module")
def bayes():
    return BayesLinearInverter(operator=OPERATOR).fit(X, RHO)


# The linear estimate, where training starts


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
    operator = surveyed(uncertainty, OPERATOR)
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
    other = untrained(operator=surveyed(7 * uncertainty, OPERATOR)).predict(g, noise_level=0.01)
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


@pytest.fixture(scope="module")
def rivals(bayes):
    paper = CNNInverter(
        SMALL_PAPER, operator=OPERATOR, training_noise=(0, 0.1), max_epochs=20, random_state=0
    )
    return {"bayes": bayes, "paper": paper.fit(X, RHO), "mean": DummyRegressor().fit(X, RHO)}


# What training adds


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


@pytest.mark.filterwarnings("ignore:300 of 300 samples are unlike the training data")
def test_data_that_contradict_the_noise_told_are_named_and_the_estimate_stays_in_range(trained):
    with pytest.warns(UserWarning, match="of 300 samples contain more that no density") as caught:
        rho = trained.predict(with_noise(G, 0.01), noise_level=0.0)
    assert [warning.filename for warning in caught] == [__file__] * 2
    assert "samples are unlike the training data" in str(caught[1].message)
    low, high = trained.density_range_
    assert low <= rho.min() < rho.max() <= high


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


# Physics


def test_wrong_physics_is_refused_and_the_mistake_is_named():
    upside_down = MESH.unflatten(FEW_RHO)[:, ::-1].reshape(FEW_RHO.shape)
    with pytest.warns(PhysicsWarning, match="y is upside down: the top layer comes first"):
        fitted(y=upside_down)
    with pytest.raises(ValueError, match="'operator' maps 144 cells to 8 data, but the training"):
        fitted(operator=ForwardOperator(MESH, Survey([[-1, -3], [-1, 0], [-1, 3], [-1, 4]])))
    with pytest.raises(ValueError, match="does not reproduce X from y"):
        fitted(operator=MatrixOperator(np.ones((72, 144))))


def test_advice_for_few_noisy_pairs_is_of_use():
    few, rho = with_noise(X[:10], 0.05), RHO[:10]
    advice = (
        r"if this is noise, give X = operator.transform\(y\), to which 'training_noise' is added"
    )
    with pytest.warns(PhysicsWarning, match=advice):
        fitted(few, rho, max_epochs=1)
    # A warning would be an error.
    fitted(OPERATOR.transform(rho), rho, max_epochs=1, training_noise=0.05)


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


# Precision


@pytest.mark.parametrize("has", [True, False])
def test_a_precision_that_the_processor_does_not_have_is_warned_of(has, monkeypatch):
    monkeypatch.setattr("skgrav.inverters._cnn.has_bfloat16", lambda device: has)
    few = X[:64], RHO[:64]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted(*few, precision="bfloat16", max_epochs=1)
    said = [w for w in caught if "takes several times as long" in str(w.message)]
    assert len(said) == (not has)
    assert all(
        w.filename.endswith(("residual_cases.py", "test_residual_inverter.py")) for w in said
    )


@pytest.mark.filterwarnings("ignore:'precision' is 'bfloat16'")
def test_bfloat16_trains_to_about_the_same_error():
    few = X[:256], RHO[:256]
    linear, short = untrained(*few), fitted(*few)
    half = fitted(*few, precision="bfloat16")
    assert not same_weights(short, half)
    assert half.net_.module_.last.weight.dtype == torch.float32
    for level in [0.0, 0.01]:
        g = with_noise(G, level)
        started, full, rounded = (
            relative_l2_error(UNSEEN, i.predict(g)) for i in (linear, short, half)
        )
        assert full < 0.998 * started
        assert rounded == pytest.approx(full, rel=2e-4)


# Manners


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


def test_pickle_holds_weights_and_frame_and_nothing_of_the_training_set(trained):
    trained = copy.copy(trained)
    trained._analogues = None  # which are sections of the training set
    dump = pickle.dumps(trained)
    encoding = trained._encoding
    kept = [*vars(encoding).values(), *vars(encoding.typicality).values()]
    frame = [v for v in kept if isinstance(v, np.ndarray)]
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


def test_grid_search_over_architecture_and_noise():
    grid = {"architecture": ["residual", SMALL_PAPER], "training_noise": [None, (0.0, 0.01)]}
    search = GridSearchCV(unfitted(max_epochs=1), grid, scoring=relative_l2_scorer, cv=2)
    search.fit(FEW, FEW_RHO)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_params_["architecture"] == "residual"


def test_refiner_fits_the_estimate_to_the_data():
    pipeline = Pipeline([unfitted(), Refiner("lgmres", operator=OPERATOR, noise_level=1e-4)])
    pipeline.fit(FEW, FEW_RHO)
    g = with_noise(G[:20], 1e-4)
    rho = pipeline.predict(g)
    estimate = pipeline[0].predict(g)
    assert relative_data_misfit(OPERATOR, estimate, g) > 2e-4
    assert relative_data_misfit(OPERATOR, rho, g) < 1.3e-4
    assert relative_l2_error(UNSEEN[:20], rho) < 1.02 * relative_l2_error(UNSEEN[:20], estimate)


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


# Oddments


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


def test_auto_estimates_the_noise_where_one_level_was_trained():
    inverter = unfitted(max_epochs=1, training_noise=0.05).fit(FEW, FEW_RHO)
    rms = np.sqrt(np.mean(FEW**2, axis=1, keepdims=True))
    noisy = FEW + 0.05 * rms * np.random.default_rng(0).normal(size=FEW.shape)
    told, estimated = inverter.predict(noisy), inverter.predict(noisy, noise_level="auto")
    np.testing.assert_array_equal(inverter.predict(noisy, noise_level=0.05), told)
    assert np.abs(told - estimated).max() > 1e-3
    assert relative_l2_error(told, estimated) < 0.05
