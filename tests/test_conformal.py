"""ConformalInverter: intervals of any inverter cover as much as they promise."""

import numpy as np
import pytest
from conftest import with_noise
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV

from skgrav import BayesLinearInverter, CNNInverter, ConformalInverter, Mesh, Pipeline, Refiner
from skgrav.datasets import make_gravity_dataset
from skgrav.metrics import interval_coverage

MESH = Mesh.square(8)
DATA = make_gravity_dataset(500, mesh=MESH, random_state=0)
UNSEEN = make_gravity_dataset(2000, mesh=MESH, random_state=1)
OPERATOR, X, Y = DATA.operator, DATA.data, DATA.target


def bayes(**params):
    return BayesLinearInverter(operator=OPERATOR, **params)


def cover(inverter, G, low, high, **options):
    ends = inverter.predict_quantiles(G, [low, high], **options)
    truth = UNSEEN.target[:, :, None]
    return np.mean((ends[:, :, :1] <= truth) & (truth <= ends[:, :, 1:]), axis=(0, 2))


@pytest.mark.filterwarnings("ignore:'noise_level' is")
@pytest.mark.filterwarnings("ignore:.* relative misfit 0.099 .* if this is noise:UserWarning")
@pytest.mark.parametrize("inverter", [Ridge(1e-6), bayes(noise_level=0.01)])
@pytest.mark.parametrize("noise", [0.0, 0.01, 0.1])
def test_intervals_cover_each_cell(inverter, noise):
    conformal = ConformalInverter(FrozenEstimator(clone(inverter).fit(X, Y)))
    more = make_gravity_dataset(500, mesh=MESH, random_state=2)
    conformal.fit(with_noise(more.data, noise), more.target)
    for coverage in (0.5, 0.9):
        tail = (1.0 - coverage) / 2
        found = cover(conformal, with_noise(UNSEEN.data, noise), tail, 1.0 - tail)
        assert found.mean() == pytest.approx(coverage, abs=0.02)
        assert np.abs(found - coverage).max() < 0.1  # of 500 residuals


def test_a_calibrated_spread_covers_where_that_of_the_inverter_does_not():
    linear = bayes(noise_level=0.01).fit(X, Y)
    G = with_noise(UNSEEN.data, 0.01)
    mean, std = linear.predict(G, return_std=True)
    gaussian = interval_coverage(UNSEEN.target, mean, std, levels=0.5)
    conformal = ConformalInverter(bayes(), noise_level=0.01, random_state=0)
    half = cover(conformal.fit(with_noise(X, 0.01), Y), G, 0.25, 0.75).mean()
    assert abs(half - 0.5) < 0.03 < abs(float(np.squeeze(gaussian)) - 0.5)


def test_ranks_are_those_of_finite_samples():
    conformal = ConformalInverter(Ridge(), calibration_fraction=0.2, random_state=0).fit(X, Y)
    n = len(conformal.scores_)
    assert n == 100
    rho = conformal.predict(X[:3])
    ends = conformal.predict_quantiles(X[:3], [0.05, 0.5, 0.95])
    width = conformal.scores_[90]  # of rank ceil(101 * 0.9)
    np.testing.assert_allclose(ends, np.stack([rho - width, rho, rho + width], axis=-1))
    widest = conformal.predict_quantiles(X[:3], 1.0 - 0.5 / (n + 1))
    np.testing.assert_allclose(widest[:, :, 0], rho + conformal.scores_[-1])
    with pytest.raises(ValueError, match=r"from 0\.00495 to 0\.995, .* of 100 sections"):
        conformal.predict_quantiles(X[:3], [0.004])


def test_held_out_pairs_calibrate_and_the_seed_chooses_them():
    first, again, other = (
        ConformalInverter(Ridge(), random_state=seed).fit(X, Y) for seed in (0, 0, 1)
    )
    assert np.array_equal(first.scores_, again.scores_)
    assert not np.array_equal(first.scores_, other.scores_)
    everything = Ridge().fit(X, Y)
    assert first.scores_.mean() > np.abs(Y - everything.predict(X)).mean()


def test_residuals_are_in_units_of_the_spread():
    linear = bayes(noise_level=0.01).fit(X, Y)
    g, truth = UNSEEN.data[:300], UNSEEN.target[:300]
    conformal = ConformalInverter(FrozenEstimator(linear)).fit(g, truth)
    rho, std = linear.predict(g, return_std=True)
    np.testing.assert_allclose(conformal.scores_, np.sort(np.abs(truth - rho) / std, axis=0))
    np.testing.assert_array_equal(conformal.predict(X[:2], return_std=True)[1], std_of(linear))


def std_of(linear):
    return linear.predict(X[:2], return_std=True)[1]


def test_frozen_networks_are_not_fitted_again_and_all_pairs_calibrate():
    network = CNNInverter(operator=OPERATOR, max_epochs=2, random_state=0).fit(X, Y)
    before = network.predict(X[:3], noise_level=0.01)
    G = with_noise(UNSEEN.data[:400], 0.01)
    conformal = ConformalInverter(FrozenEstimator(network), noise_level=0.01)
    conformal.fit(G, UNSEEN.target[:400])
    assert len(conformal.scores_) == 400
    np.testing.assert_allclose(conformal.predict(X[:3]), before, atol=1e-6)
    levelled = conformal.predict(X[:3], noise_level=0.05)
    np.testing.assert_allclose(levelled, network.predict(X[:3], noise_level=0.05), atol=1e-6)


def test_pairs_of_frozen_inverters_are_checked_against_their_operator():
    conformal = ConformalInverter(FrozenEstimator(bayes().fit(X, Y)), noise_level=0.05)
    G, target = with_noise(UNSEEN.data[:100], 0.05), UNSEEN.target[:100]
    conformal.fit(G, target)
    with pytest.raises(ValueError, match="X is 1000 times the operator's gravity"):
        conformal.fit(G, target / 1000)


def test_any_regressor_with_a_spread():
    process = GaussianProcessRegressor(RBF(1.0, "fixed"), alpha=1e-3, normalize_y=True)
    g = X / np.abs(X).max()
    conformal = ConformalInverter(process, random_state=0).fit(g, Y)
    rho, std = conformal.predict(g[:3], return_std=True)
    assert rho.shape == std.shape == (3, 64)


def test_one_cell():
    conformal = ConformalInverter(Ridge(), random_state=0).fit(X, Y[:, 5])
    assert conformal.predict(X[:3]).shape == (3,)
    assert conformal.predict_quantiles(X[:3], [0.1, 0.9]).shape == (3, 2)


def test_steps_of_pipelines_searches_and_files(tmp_path):
    conformal = ConformalInverter(bayes(), noise_level=0.01, random_state=0)
    pipeline = Pipeline([conformal, Refiner("cgls", operator=OPERATOR, noise_level=0.01)])
    assert pipeline.fit(X, Y).predict(X[:3]).shape == (3, 64)
    grid = {"inverter__shrinkage": [0.0, 0.1]}
    assert GridSearchCV(conformal, grid, cv=2).fit(X, Y).predict(X[:3]).shape == (3, 64)
    conformal.fit(X, Y).save(tmp_path / "conformal")
    loaded = ConformalInverter.load(tmp_path / "conformal")
    expected = conformal.predict_quantiles(X[:3], [0.1, 0.9])
    assert np.array_equal(loaded.predict_quantiles(X[:3], [0.1, 0.9]), expected)


def test_what_an_inverter_lacks_is_named():
    conformal = ConformalInverter(Ridge(), random_state=0).fit(X, Y)
    with pytest.raises(ValueError, match="'return_std' is True, but `predict` of Ridge has no"):
        conformal.predict(X[:2], return_std=True)
    with pytest.raises(
        ValueError, match=r"'noise_level' is 0.1, but `predict` of Ridge takes none"
    ):
        conformal.predict(X[:2], noise_level=0.1)
    with pytest.raises(ValueError, match="takes none"):
        ConformalInverter(Ridge(), noise_level=0.1).fit(X, Y)
    with pytest.raises(ValueError, match="'inverter' returns 64 cells, but 'y' has 9"):
        ConformalInverter(FrozenEstimator(Ridge().fit(X, Y))).fit(X, Y[:, :9])


@pytest.mark.parametrize(
    "inverter",
    [
        CNNInverter("paper", operator=OPERATOR, max_epochs=1, random_state=0),
        CNNInverter(operator=OPERATOR, uncertainty=False, max_epochs=1, random_state=0),
        Refiner("lgmres", operator=OPERATOR, noise_level=0.01),
    ],
)
def test_predictions_without_standard_deviations_will_do(inverter):
    init = [] if isinstance(inverter, CNNInverter) else [bayes(noise_level=0.01)]
    conformal = ConformalInverter(Pipeline([*init, inverter])).fit(X, Y)
    assert conformal.predict_quantiles(X[:3], [0.1, 0.9]).shape == (3, 64, 2)
