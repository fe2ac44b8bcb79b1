"""Scores, coverage and ranks of predicted distributions."""

import numpy as np
import pytest
from conftest import with_noise
from scipy.integrate import quad
from scipy.stats import norm
from sklearn.dummy import DummyRegressor
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skgrav import AnalogueInverter, BayesLinearInverter, Mesh
from skgrav.datasets import make_density_models, make_gravity_dataset
from skgrav.metrics import (
    PosteriorScorer,
    crps,
    energy_score,
    interface_spread,
    interval_coverage,
    rank_histogram,
    sbc_ranks,
)

RNG = np.random.default_rng(0)
#: Truths from a Gaussian of known means and widths, and draws from the same.
MEAN, STD = RNG.normal(size=(400, 24)), RNG.uniform(0.5, 2.0, size=(400, 24))
TRUE = MEAN + STD * RNG.normal(size=MEAN.shape)
DRAWS = MEAN[..., None] + STD[..., None] * RNG.normal(size=(*MEAN.shape, 39))
MESH = Mesh([[0.0, 10.0, 20.0, 40.0, 80.0], np.arange(7.0) * 10])
PROBABILITIES = np.linspace(0.005, 0.995, 100)
QUANTILES = MEAN[..., None] + STD[..., None] * norm.ppf(PROBABILITIES)


def test_crps_of_a_gaussian_is_the_integral_of_squared_differences_of_distributions():
    for mean, std, true in ((0.0, 1.0, 0.3), (2.0, 0.1, 1.5), (-1.0, 3.0, 9.0)):
        below = quad(lambda x, m=mean, s=std: norm.cdf(x, m, s) ** 2, mean - 40 * std, true)[0]
        above = quad(lambda x, m=mean, s=std: norm.sf(x, m, s) ** 2, true, true + 40 * std)[0]
        assert crps([true], [mean], [std]) == pytest.approx(below + above, rel=1e-6)


def test_crps_of_no_width_is_the_absolute_error():
    assert crps([[1.0, 2.0]], [[3.0, 2.0]], [[0.0, 0.0]]) == 1.0
    assert crps([[1.0]], [[3.0]], [[1e-200]]) == 2.0
    assert crps([[1.0]], [[[3.0, 3.0, 3.0]]]) == 2.0


def test_crps_of_draws_is_the_sum_over_pairs():
    true, drawn = TRUE[:3, :4], DRAWS[:3, :4, :7]
    pairs = np.abs(drawn[..., :, None] - drawn[..., None, :]).sum(axis=(2, 3)) / (2 * 7 * 6)
    expected = np.abs(drawn - true[..., None]).mean(axis=2) - pairs
    np.testing.assert_allclose(crps(true, drawn, multioutput="raw_values"), expected)


@pytest.mark.parametrize("n_draws", [2, 5, 39])
def test_scores_of_draws_do_not_depend_on_their_number(n_draws):
    drawn = DRAWS[..., :n_draws]
    assert crps(TRUE, drawn) == pytest.approx(crps(TRUE, MEAN, STD), rel=0.03)
    assert energy_score(TRUE, drawn) == pytest.approx(energy_score(TRUE, DRAWS), rel=0.01)


def test_crps_of_many_quantiles_is_that_of_their_distribution():
    score = crps(TRUE, QUANTILES, quantiles=PROBABILITIES)
    assert score == pytest.approx(crps(TRUE, MEAN, STD), rel=2e-3)


def test_crps_of_fifty_equally_likely_quantiles_is_that_of_their_distribution():
    # benchmarks/calibration.py takes these: 0.05, 0.25, 0.75 and 0.95 are among them.
    p = (np.arange(50) + 0.5) / 50
    score = crps(TRUE, MEAN[..., None] + STD[..., None] * norm.ppf(p), quantiles=p)
    assert score == pytest.approx(crps(TRUE, MEAN, STD), rel=1e-3)


def test_crps_of_few_quantiles_is_twice_their_pinball_loss():
    # The quantiles 0.1, 0.5 and 0.9 stand for probabilities up to 0.3, 0.7 and 1.
    score = crps([[2.0]], [[[0.0, 1.0, 4.0]]], quantiles=[0.1, 0.5, 0.9])
    assert score == pytest.approx(2 * (0.3 * 0.1 * 2 + 0.4 * 0.5 * 1 + 0.3 * 0.1 * 2))


def test_crps_is_least_for_the_true_distribution():
    best = crps(TRUE, MEAN, STD)
    for mean, std in ((MEAN + 0.3, STD), (MEAN, 1.3 * STD), (MEAN, 0.7 * STD)):
        assert crps(TRUE, mean, std) > best


def test_energy_score_is_the_sum_over_pairs_and_the_crps_of_a_single_cell():
    true, drawn = TRUE[:3], DRAWS[:3, :, :7]
    for rho, draws, score in zip(
        true, drawn, energy_score(true, drawn, multioutput="raw_values"), strict=True
    ):
        rms = lambda a: np.sqrt(np.mean(a**2, axis=0))  # noqa: E731
        pairs = sum(rms(draws[:, [i]] - draws) for i in range(7)).sum() / (2 * 7 * 6)
        assert score == pytest.approx(rms(draws - rho[:, None]).mean() - pairs)
    assert energy_score(TRUE[:, 0], DRAWS[:, 0]) == pytest.approx(crps(TRUE[:, 0], DRAWS[:, 0]))


def test_energy_score_sees_dependence_between_cells_which_crps_does_not():
    layers = np.repeat(RNG.normal(size=(600, 1)), 24, axis=1)
    dependent = np.repeat(RNG.normal(size=(600, 1, 20)), 24, axis=1)
    alone = RNG.normal(size=(600, 24, 20))
    assert crps(layers, dependent) == pytest.approx(crps(layers, alone), abs=0.05)
    assert energy_score(layers, dependent) < energy_score(layers, alone) - 0.05


@pytest.mark.parametrize("n_draws", [19, 30, 39])
def test_coverage_of_draws_is_nominal_however_few_they_are(n_draws):
    found = interval_coverage(TRUE, DRAWS[..., :n_draws], levels=[0.5, 0.9])
    np.testing.assert_allclose(found, [0.5, 0.9], atol=0.015)


def test_coverage_of_gaussians_and_of_quantiles():
    levels = [0.2, 0.5, 0.9]
    np.testing.assert_allclose(interval_coverage(TRUE, MEAN, STD, levels=levels), levels, atol=0.02)
    found = interval_coverage(TRUE, QUANTILES, quantiles=PROBABILITIES, levels=levels)
    np.testing.assert_allclose(found, levels, atol=0.02)
    half = norm.cdf(norm.ppf(0.95) / 2) - norm.cdf(-norm.ppf(0.95) / 2)
    assert interval_coverage(TRUE, MEAN, STD / 2, levels=0.9)[0] == pytest.approx(half, abs=0.02)


def test_coverage_by_layer_and_by_family():
    std = STD.copy()
    std[:, MESH.unflatten(np.arange(24))[2].astype(int)] *= 10  # the third layer
    std[:100] *= 1e-6
    labels = np.where(np.arange(400) < 100, "narrow", "others")
    found = interval_coverage(TRUE, MEAN, std, levels=[0.5], mesh=MESH, labels=labels)
    assert found["narrow"].shape == (4, 1)
    assert found["narrow"].max() < 0.01
    np.testing.assert_allclose(found["others"][[0, 1, 3], 0], 0.5, atol=0.05)
    assert found["others"][2, 0] > 0.9
    pooled = interval_coverage(TRUE, MEAN, std, levels=[0.5])
    by_family = interval_coverage(TRUE, MEAN, std, levels=[0.5], labels=labels)
    assert pooled == pytest.approx(0.25 * by_family["narrow"] + 0.75 * by_family["others"])


def test_layers_count_active_cells_only():
    active = np.ones(MESH.shape, dtype=bool)
    active[0], active[1, :5] = False, False
    mesh = Mesh(MESH.edges, active)
    n = mesh.n_cells
    std = STD[:, :n].copy()
    std[:, 0] = 1e-9  # the only cell of the second layer
    found = interval_coverage(TRUE[:, :n], MEAN[:, :n], std, levels=[0.5], mesh=mesh)[:, 0]
    assert np.isnan(found[0])
    assert found[1] < 0.01
    np.testing.assert_allclose(found[2:], 0.5, atol=0.05)


@pytest.mark.parametrize("functional", ["mass", "lower_half", "centroid_depth", "std", "top"])
def test_ranks_of_draws_from_the_truth_are_uniform(functional):
    sections = make_density_models(200 * 25, mesh=MESH, random_state=0).reshape(200, 25, 24)
    true, drawn = sections[:, 0], np.moveaxis(sections[:, 1:], 1, 2)
    found = rank_histogram(true, drawn, functional, mesh=MESH)
    assert found.p_value > 0.01
    assert found.counts.sum() == 200
    assert found.expected.sum() == pytest.approx(200)
    # 25 ranks in 10 bins: two in one, three in the next.
    assert found.expected.max() == pytest.approx(1.5 * found.expected.min())


def test_ranks_show_bias_and_width():
    bias = rank_histogram(TRUE, DRAWS + 0.5, "mass", mesh=MESH)
    assert bias.counts[0] > 2 * bias.counts[-1]
    narrow = rank_histogram(TRUE, MEAN[..., None] + 0.3 * (DRAWS - MEAN[..., None]), "mass",
                            mesh=MESH)  # fmt: skip
    assert narrow.counts[[0, -1]].min() > 3 * narrow.counts[4:6].max()
    assert max(bias.p_value, narrow.p_value) < 1e-6


def test_functionals_are_what_they_are_called():
    sections = make_density_models(100 * 21, mesh=MESH, random_state=1).reshape(100, 21, 24)
    true, drawn = sections[:, 0], np.moveaxis(sections[:, 1:], 1, 2)
    thickness = np.array([10.0, 10.0, 20.0, 40.0])
    z = np.array([5.0, 15.0, 30.0, 60.0])

    def layers(rho):
        return rho.reshape(-1, 4, 6).mean(axis=2)

    def top(rho):
        departure = np.abs(rho - np.median(rho, axis=1)[:, None]).reshape(-1, 4, 6).max(axis=2)
        return [z[np.argmax(d > d.max() / 2)] for d in departure]

    def std(rho):
        each = np.repeat(rho.reshape(-1, 4, 6), [1, 1, 2, 4], axis=1)
        return each.std(axis=(1, 2))

    for name, function in {
        "mass": lambda rho: layers(rho) @ thickness,
        "lower_half": lambda rho: layers(rho)[:, 3],
        "centroid_depth": lambda rho: layers(rho) @ (thickness * z) / (layers(rho) @ thickness),
        "std": std,
        "top": top,
    }.items():
        # Rounding of a value does not change its rank, but may break a tie.
        rounded = lambda rho, f=function: np.round(f(rho), 9)  # noqa: E731
        different = sbc_ranks(true, drawn, name, mesh=MESH) != sbc_ranks(true, drawn, rounded)
        assert different.mean() < 0.05, name


def test_ties_are_broken_at_random_and_by_seed():
    true, drawn = np.ones((4000, 1)), np.ones((4000, 1, 3))
    value = lambda rho: rho[:, 0]  # noqa: E731
    ranks = sbc_ranks(true, drawn, value)
    np.testing.assert_allclose(np.bincount(ranks), 1000, atol=120)
    assert (ranks == sbc_ranks(true, drawn, value)).all()
    assert (ranks != sbc_ranks(true, drawn, value, random_state=1)).any()


def test_ranks_of_what_the_data_determine_are_warned_of():
    drawn = 1e3 + 1e-8 * DRAWS
    with pytest.warns(UserWarning, match="'functional' is 'mass', which draws .* but for rounding"):
        sbc_ranks(1e3 + 1e-8 * TRUE, drawn, "mass", mesh=MESH)


def test_interface_spread():
    rho = np.zeros((1, 24))
    assert interface_spread(rho, MESH) == 0.0
    rho[0, 9] = 1.0  # 4 neighbours of 18 + 20 pairs
    assert interface_spread(rho, MESH) == pytest.approx(4 / 38 / np.sqrt(4 / 38))
    noise = RNG.normal(size=(20, 2500))
    assert interface_spread(noise, Mesh.square(50)) == pytest.approx(np.sqrt(2 / np.pi), rel=0.01)
    active = np.ones(MESH.shape, dtype=bool)
    active[:2] = False
    mesh = Mesh(MESH.edges, active)
    rho = np.r_[np.ones(6), np.zeros(6)][None]
    assert interface_spread(rho, mesh) == pytest.approx(np.sqrt(6 / 16))


def test_scorers_prefer_the_right_noise():
    data = make_gravity_dataset(300, mesh=Mesh.square(6), random_state=0)
    X = np.r_[data.data[:200], with_noise(data.data[200:], 0.1)]
    learnt_and_scored = [(np.arange(200), np.arange(200, 300))]
    inverter = BayesLinearInverter(operator=data.operator, store_covariance=True)
    for scorer in (PosteriorScorer(n_samples=None), PosteriorScorer("energy", n_samples=20)):
        levels = {"noise_level": [0.1, 0.05]}
        search = GridSearchCV(inverter, levels, scoring=scorer, cv=learnt_and_scored, refit=False)
        search.fit(X, data.target)
        right, wrong = search.cv_results_["mean_test_score"]
        assert wrong < right < 0


def test_scorer_is_the_negative_metric_also_of_a_pipeline():
    data = make_gravity_dataset(60, mesh=Mesh.square(6), noise_level=0.1, random_state=0)
    X, y = data.data, data.target
    inverter = BayesLinearInverter(0.1, operator=data.operator, store_covariance=True).fit(X, y)
    expected = -crps(y, *inverter.predict(X, return_std=True))
    assert PosteriorScorer(n_samples=None)(inverter, X, y) == expected
    assert PosteriorScorer(n_samples=None)(make_pipeline(inverter), X, y) == expected
    drawn = inverter.sample_y(X, 20, random_state=3)
    assert PosteriorScorer(n_samples=20, random_state=3)(inverter, X, y) == -crps(y, drawn)
    off = np.abs(interval_coverage(y, drawn) - [0.5, 0.9]).mean()
    assert PosteriorScorer("coverage", 20, random_state=3)(inverter, X, y) == pytest.approx(-off)
    piped = make_pipeline(make_pipeline(inverter))
    assert PosteriorScorer(n_samples=20, random_state=3)(piped, X, y) == -crps(y, drawn)
    with pytest.raises(ValueError, match="cannot draw densities"):
        PosteriorScorer()(make_pipeline(DummyRegressor().fit(X, y)), X, y)


@pytest.mark.parametrize("scorer", [PosteriorScorer("energy", 19), PosteriorScorer(n_samples=None)])
def test_search_scores_the_last_step_of_a_pipeline_on_what_the_others_make_of_the_data(scorer):
    data = make_gravity_dataset(300, mesh=Mesh.square(6), noise_level=0.1, random_state=0)
    shift = FunctionTransformer(lambda X: X - 5.0)
    analogues = AnalogueInverter(20, operator=data.operator, noise_level=0.1)
    search = GridSearchCV(
        make_pipeline(shift, analogues),
        {"analogueinverter__noise_level": [0.1, 1.0]},
        scoring=scorer,
        cv=2,
    )
    search.fit(data.data + 5.0, data.target)
    right, wrong = search.cv_results_["mean_test_score"]
    assert wrong < right < 0
    fitted = search.best_estimator_[-1]
    assert search.score(data.data + 5.0, data.target) == pytest.approx(
        scorer(fitted, data.data, data.target)
    )


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: crps(TRUE, MEAN), r"'y_pred' has shape \(400, 24\); it must be \(400, 24, 'n'\)"),
        (lambda: crps(TRUE, MEAN[:, 1:], STD), r"'y_pred' has shape \(400, 23\), but 'y_true'"),
        (lambda: crps(TRUE, MEAN, -STD), "'std' has a minimum of -1.99"),
        (lambda: crps(TRUE, MEAN, STD, quantiles=[0.5]), "'std' and 'quantiles' are both given"),
        (lambda: crps(TRUE, DRAWS, quantiles=[0.5, 0.6]), "'quantiles' has 2 probabilities"),
        (lambda: crps(TRUE, DRAWS, quantiles=[0.6, 0.5]), "at least two increasing"),
        (lambda: crps(TRUE, DRAWS, multioutput="all"), "'multioutput' is 'all'; allowed are"),
        (lambda: energy_score(TRUE, DRAWS[..., :1]), "n of at least 2"),
        (
            lambda: interval_coverage(TRUE, DRAWS, levels=0.99),
            "'levels' has .* 39 draws reach",
        ),
        (
            lambda: interval_coverage(TRUE, QUANTILES, quantiles=PROBABILITIES, levels=0.999),
            "'quantiles' extend from 0.005 to 0.995",
        ),
        (lambda: interval_coverage(TRUE, DRAWS, levels=90), "'levels' is 90; it must be a number"),
        (lambda: interval_coverage(TRUE, DRAWS, mesh=Mesh.square(4)), "24 cells, but 'mesh' 16"),
        (lambda: interval_coverage(TRUE, DRAWS, labels=[1]), "inconsistent numbers of samples"),
        (lambda: sbc_ranks(TRUE, DRAWS, "depth"), "'functional' is 'depth'; allowed are 'mass'"),
        (lambda: sbc_ranks(TRUE, DRAWS, "mass"), "'mesh' is None, but 'mass' needs"),
        (lambda: sbc_ranks(TRUE, DRAWS, np.sum), r"'functional' returns an array of shape \(\)"),
        (lambda: rank_histogram(TRUE[:9], DRAWS[:9], "std", mesh=MESH), "'y_true' has 9 samples"),
        (lambda: rank_histogram(TRUE, DRAWS, "std", mesh=MESH, n_bins=50), "'n_bins' is 50"),
        (lambda: interface_spread(TRUE, Mesh.square(4)), "'rho' has 24 cells, but 'mesh' 16"),
        (lambda: PosteriorScorer("mse"), "'metric' is 'mse'; allowed are"),
        (lambda: PosteriorScorer("energy", n_samples=None), "'n_samples' is None"),
    ],
)
def test_errors_name_the_argument(call, text):
    with pytest.raises(ValueError, match=text):
        call()
