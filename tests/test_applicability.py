"""Whether data are like the training data: p-values of usual and of odd data."""

import copy
import warnings
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from conftest import with_noise
from sklearn.metrics import roc_auc_score

from skgrav import (
    AnalogueInverter,
    BayesLinearInverter,
    CellValues,
    CNNInverter,
    ForwardOperator,
    JointOperator,
    Mesh,
    Survey,
)
from skgrav.datasets import fetch_huang2021, make_gravity_dataset
from skgrav.inverters import _typicality

MESH = Mesh.square(16)
TRAINING = make_gravity_dataset(3000, mesh=MESH, random_state=0)
UNSEEN = make_gravity_dataset(2000, mesh=MESH, random_state=1)
OPERATOR, X, Y = TRAINING.operator, TRAINING.data, TRAINING.target
G = UNSEEN.data

NAMES = ["bayes", "analogues", "residual", "unet"]
CONTRADICTED = pytest.mark.filterwarnings("ignore:'noise_level' is .* of the rms")
OTHER_NOISE = pytest.mark.filterwarnings("ignore:.* have relative noise that the network")


def inverter(name, **params):
    settings = {"operator": OPERATOR} | params
    if name == "bayes":
        return BayesLinearInverter(**settings)
    if name == "analogues":
        return AnalogueInverter(20, inflation=1.0, **settings)
    return CNNInverter(name, max_epochs=1, batch_size=1000, random_state=0, **settings)


@cache
def fitted(name):
    return inverter(name).fit(X, Y)


def random_blocks(n_samples, size):
    rng = np.random.default_rng(2)
    blocks = rng.uniform(0, 12, (n_samples, 16 // size, 16 // size))
    return OPERATOR.transform(np.kron(blocks, np.ones((size, size))).reshape(n_samples, -1))


def in_order(g, order):
    return g.reshape(len(g), 2, -1)[:, :, order].reshape(len(g), -1)


@CONTRADICTED
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("level", [0.0, 0.01, 0.05])
def test_p_values_of_unseen_sections_are_uniform(name, level):
    p = fitted(name).applicability(with_noise(G, level), noise_level=level)
    assert p.shape == (2000,)
    assert ((p > 0) & (p <= 1)).all()
    for alarm in (0.5, 0.1, 0.05):  # within sampling errors of 2000 sections and of the table
        assert np.mean(p < alarm) == pytest.approx(alarm, rel=0.3)
    assert np.mean(p < 0.01) < 0.025
    assert np.sum(p < 1e-3) <= 8


@pytest.mark.parametrize("level", [3e-4, 0.02])
def test_p_values_are_uniform_for_estimated_and_for_absolute_noise(level):
    bayes, rng = fitted("bayes"), np.random.default_rng(0)
    noisy = with_noise(G, level)
    absolute = level * np.sqrt(np.mean(X**2))
    survey = Survey(OPERATOR.survey_.stations, OPERATOR.survey_.components, uncertainty=absolute)
    surveyed = ForwardOperator(MESH, survey, units="normalized")
    stated = BayesLinearInverter(operator=surveyed).fit(X, Y)
    for p in (
        bayes.applicability(noisy),
        stated.applicability(G + absolute * rng.normal(size=G.shape)),
    ):
        assert np.mean(p < 0.05) == pytest.approx(0.05, rel=0.4)
        assert np.sum(p < 1e-3) <= 8


ODD = {
    "too large": lambda g: 20.0 * g,
    "too small": lambda g: 1e-3 * g,
    "stations reversed": lambda g: in_order(g, slice(None, None, -1)),
    "stations shuffled": lambda g: in_order(g, np.random.default_rng(0).permutation(48)),
    "gx of the wrong sign": lambda g: g * np.repeat([-1.0, 1.0], 48),
    "a level": lambda g: g + 0.2 * np.sqrt(np.mean(g**2, axis=1, keepdims=True)),
    "rough": lambda g: with_noise(g, 0.2),
}


@CONTRADICTED
@OTHER_NOISE
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ODD)
def test_odd_data_are_found(name, kind):
    g = with_noise(ODD[kind](G[:100]), 0.01)
    assert np.mean(fitted(name).applicability(g, noise_level=0.01) < 1e-3) > 0.9


@CONTRADICTED
@pytest.mark.parametrize("level", [0.0, 0.01])
@pytest.mark.parametrize("size", [2, 4])
def test_random_blocks_rank_below_unseen_sections(size, level):
    bayes = fitted("bayes")
    usual = bayes.applicability(with_noise(G[:500], level), noise_level=level)
    odd = bayes.applicability(with_noise(random_blocks(500, size), level), noise_level=level)
    score = roc_auc_score(np.repeat([1, 0], 500), np.concatenate([usual, odd]))
    assert score > 0.95


@CONTRADICTED
@pytest.mark.parametrize("name", NAMES)
def test_predict_warns_once_at_the_line_of_the_user(name):
    odd = np.vstack([G[:3], 20.0 * G[3:5]])
    with pytest.warns(UserWarning, match="2 of 5 samples are unlike the training data") as found:
        fitted(name).predict(odd, noise_level=0.01)
    unlike = [w for w in found if "unlike" in str(w.message)]
    assert len(unlike) == 1
    assert unlike[0].filename == __file__
    assert "p-values down to" in str(unlike[0].message)


@pytest.mark.parametrize("name", NAMES)
def test_usual_data_do_not_warn(name):
    usual = with_noise(G[:50], 0.01)
    assert fitted(name).applicability(usual, noise_level=0.01).min() > 1e-3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted(name).predict(usual, noise_level=0.01)


def test_one_sample_has_the_p_value_that_it_has_among_others():
    level = np.linspace(0.01, 0.1, 40)
    g, bayes = with_noise(G[:40], 0.01), fitted("bayes")
    together = bayes.applicability(g, noise_level=level)
    alone = [bayes.applicability(g[i : i + 1], noise_level=level[i])[0] for i in range(40)]
    np.testing.assert_allclose(together, alone, rtol=1e-3)


def test_few_small_p_values_among_many_are_chance():
    bayes, g = fitted("bayes"), with_noise(G, 0.02)
    p = bayes.applicability(g, noise_level=0.02)
    assert 0 < np.sum(p < 1e-3) < 6
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bayes.predict(g, noise_level=0.02)
    with pytest.warns(UserWarning, match="1 of 1 samples are unlike"):
        bayes.predict(g[[np.argmin(p)]], noise_level=0.02)


def test_overstated_noise_is_no_oddity():
    p = fitted("bayes").applicability(with_noise(G, 0.01), noise_level=0.02)
    assert np.mean(p < 1e-3) < 0.005


def test_p_values_do_not_depend_on_the_signs_of_eigenvectors():
    # A pretrained network computes them anew, and on another processor they had other signs.
    network = copy.deepcopy(fitted("unet"))
    expected = network.applicability(G[:200], noise_level=0.01)
    frame = network._encoding.frame
    signs = np.random.default_rng(0).choice([-1.0, 1.0], frame.rotation.shape[1])
    vars(network._encoding)["frame"] = replace(frame, rotation=frame.rotation * signs)
    found = network.applicability(G[:200], noise_level=0.01)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@CONTRADICTED
@pytest.mark.parametrize("name", ["paper", "huang2021"])
def test_pretrained_networks_raise_false_alarms_at_the_stated_rate(name, request):
    network = CNNInverter.from_pretrained(name)
    if name == "paper":
        g = make_gravity_dataset(1000, random_state=123).data
    else:
        folder = request.getfixturevalue("shared_data")
        g = fetch_huang2021("train", data_home=folder).data[::20]
    p = network.applicability(g, noise_level=0.0)
    assert 0.02 < np.mean(p < 0.05) < 0.08
    assert np.mean(p < 0.001) < 0.005


@pytest.mark.parametrize("name", NAMES)
def test_files_keep_p_values(name, tmp_path):
    saved = fitted(name)
    saved.save(tmp_path / "inverter")
    loaded = type(saved).load(tmp_path / "inverter")
    usual = with_noise(G[:20], 0.01)
    expected = saved.applicability(usual, noise_level=0.01)
    assert np.array_equal(loaded.applicability(usual, noise_level=0.01), expected)


def test_joint_data_have_p_values():
    log = CellValues(MESH, np.arange(8, 16 * 16, 16), uncertainty=0.1)
    size = 0.02 * np.sqrt(np.mean(X**2))
    survey = Survey(OPERATOR.survey_.stations, OPERATOR.survey_.components, uncertainty=size)
    operator = JointOperator([ForwardOperator(MESH, survey, units="normalized"), log]).fit()
    bayes = BayesLinearInverter(operator=operator).fit(operator.transform(Y), Y)
    g, rng = operator.transform(UNSEEN.target), np.random.default_rng(0)
    noise = np.concatenate([np.full(96, size), np.full(16, 0.1)])
    noisy = g + noise * rng.normal(size=g.shape)
    p = bayes.applicability(noisy)
    assert np.mean(p < 0.05) == pytest.approx(0.05, rel=0.5)
    noisy[:, 96:] += 60.0  # the log in another unit
    with pytest.warns(UserWarning, match="contain more that no density"):
        assert np.mean(bayes.applicability(noisy[:100]) < 1e-3) > 0.9


NONE = "compares data with at least 2000 training sections, but the inverter has none"


@CONTRADICTED
@pytest.mark.parametrize("name", NAMES)
def test_few_sections_are_refused(name):
    few = inverter(name).fit(X[:200], Y[:200])
    few.predict(G[:2] * 20.0, noise_level=0.05)
    with pytest.raises(ValueError, match=NONE):
        few.applicability(G[:2])


def test_a_refit_on_few_sections_forgets_the_others():
    refitted = inverter("bayes").fit(X, Y).fit(X[:200], Y[:200])
    with pytest.raises(ValueError, match=NONE):
        refitted.applicability(G[:2])


@CONTRADICTED
def test_other_surveys_and_files_without_it_are_refused():
    other = fitted("unet").with_operator(OPERATOR)
    with pytest.raises(ValueError, match=r"made for another survey by `with_operator`"):
        other.applicability(G[:2])
    older = copy.copy(fitted("unet"))
    older._encoding = replace(older._encoding, typicality=None)
    with pytest.raises(ValueError, match="read from a file that lacks them"):
        older.applicability(G[:2], noise_level=0.01)


def test_other_architectures_are_refused():
    paper = CNNInverter("paper", operator=OPERATOR, max_epochs=1).fit(X[:50], Y[:50])
    with pytest.raises(ValueError, match="architecture='residual' or 'unet'"):
        paper.applicability(G[:2])


def test_p_values_decrease_with_the_statistic_and_reach_the_tail():
    quantiles = np.sort(np.random.default_rng(0).gumbel(size=100_000))
    table = np.quantile(quantiles, 1.0 - _typicality._EXCEEDED)
    tail = _typicality._tail(quantiles, table[-1])
    statistic = np.linspace(-3.0, 12.0, 200)
    each = (np.tile(part, (200, 1)) for part in (table, tail))
    p = _typicality._exceedance(statistic, *each)
    assert (np.diff(p) <= 0).all()
    beyond = statistic > 4.0  # of a Gumbel distribution
    true = -np.expm1(-np.exp(-statistic))
    np.testing.assert_allclose(np.log(p[beyond]), np.log(true[beyond]), atol=0.5)


def unexplained(network, g, **options):
    """Return how many samples `predict` says that no estimate within the densities explains."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        network.predict(g, **options)
    texts = [str(w.message) for w in caught]
    return sum(int(t.split()[0]) for t in texts if "no estimate within the training" in t)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("level", [0.0, 0.01, 0.05])
def test_data_of_the_other_sign_are_told_and_usual_ones_never(name, level):
    network, g = fitted(name), with_noise(G[:500], level, seed=5)
    for noise_level in (level, "auto"):
        assert unexplained(network, g, noise_level=noise_level) == 0
        assert unexplained(network, -g, noise_level=noise_level) == 500


@pytest.mark.parametrize("name", NAMES)
@CONTRADICTED
@OTHER_NOISE
def test_few_dense_bodies_of_either_sign_are_explained(name):
    rng = np.random.default_rng(3)
    rho = np.where(rng.uniform(size=(1500, 256)) < 0.01, rng.uniform(200, 500, (1500, 256)), 0.0)
    rho[np.arange(1500), rng.integers(256, size=1500)] = 300.0
    for sign, n_told in ((1, 0), (-1, 300)):
        g = OPERATOR.transform(sign * rho)
        network = inverter(name).fit(OPERATOR.transform(rho), rho)
        assert unexplained(network, with_noise(g[1200:], 0.05), noise_level=0.05) == n_told
    both = rho * np.where(np.arange(1500) % 2, 1, -1)[:, None]
    g = OPERATOR.transform(both)
    network = inverter(name).fit(g, both)
    assert unexplained(network, with_noise(g[1200:], 0.05), noise_level=0.05) == 0
    assert unexplained(network, np.random.default_rng(4).normal(size=g[:50].shape)) == 0


@pytest.mark.parametrize("name", ["bayes", "analogues"])
@pytest.mark.filterwarnings("ignore:.*unlike the training data")
def test_draws_tell_of_the_other_sign_too(name):
    linear = inverter(name, **({"store_covariance": True} if name == "bayes" else {})).fit(X, Y)
    with pytest.warns(match=r"1 of 1 samples have data that no estimate .* Check the sign"):
        linear.sample_y(-G[:1], 2)


@pytest.mark.parametrize("name", ["residual", "unet"])
@pytest.mark.filterwarnings("ignore:.*unlike the training data")
def test_quantiles_tell_of_the_other_sign_too(name):
    with pytest.warns(match=r"1 of 1 samples have data that no estimate .* Check the sign"):
        fitted(name).predict_quantiles(-G[:1], [0.5], noise_level=0.0)
