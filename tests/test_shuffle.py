"""Draws of networks: distributions in the order of similar training sections."""

import pickle

import numpy as np
import pytest
from conftest import with_noise

from skgrav import Mesh
from skgrav.datasets import make_gravity_dataset
from skgrav.inverters import _shuffle
from skgrav.inverters._marginals import Marginals
from skgrav.inverters._shuffle import Analogues, DrawnSections
from skgrav.metrics import chi_factor, interface_spread, relative_data_misfit

MESH = Mesh.square(12)
TRAIN = make_gravity_dataset(600, mesh=MESH, random_state=0)
TEST = make_gravity_dataset(30, mesh=MESH, random_state=1)
OPERATOR = TRAIN.operator


def gaussian(mean, std):
    return Marginals(np.ones_like(mean), mean, mean, std, std)


@pytest.fixture(scope="module")
def analogues():
    return Analogues.of(OPERATOR, TRAIN.target, 400, mirrored=True)


@pytest.fixture(scope="module")
def marginals():
    mean = TRAIN.target.mean(axis=0) + np.zeros((30, 1))
    return gaussian(mean, TRAIN.target.std(axis=0) + np.zeros((30, 1)))


def draws_of(analogues, marginals, level, n_draws=20, seed=0, low=-np.inf):
    g = with_noise(TEST.data, level, seed=1)
    sigma = max(level, 3e-8) * np.sqrt(np.mean(g**2, axis=1))
    rng = np.random.RandomState(seed)
    return g, analogues.draws(g, sigma, marginals, (low, np.inf), n_draws, rng)


@pytest.mark.parametrize("level", [0.0, 0.001, 0.05])
def test_draws_fit_the_data(analogues, marginals, level):
    g, draws = draws_of(analogues, marginals, level)
    assert draws.shape == (30, 144, 20)
    each = [draws[:, :, k] for k in range(20)]
    if level == 0:
        assert max(relative_data_misfit(OPERATOR, rho, g) for rho in each) < 5e-8
    else:
        chi = np.mean([chi_factor(OPERATOR, rho, g, noise_level=level) for rho in each])
        assert 0.95 < chi < 1.05


def test_cells_of_which_the_data_say_nothing_keep_their_distribution(analogues, marginals):
    # With ten times as much noise as signal.
    _, draws = draws_of(analogues, marginals, 10.0, n_draws=100)
    mean, std = marginals.mean, marginals.std
    away = (draws.mean(axis=2) - mean) / std
    assert np.abs(away).mean() < 0.15
    assert 0.8 < np.median(draws.std(axis=2) / std) < 1.05


def test_draws_have_the_interfaces_of_sections(analogues, marginals):
    _, draws = draws_of(analogues, marginals, 0.05)
    rng = np.random.default_rng(0)
    alone = marginals.mean + marginals.std * rng.normal(size=marginals.mean.shape)
    true, speckle = interface_spread(TEST.target, MESH), interface_spread(alone, MESH)
    assert interface_spread(draws[:, :, 0], MESH) < true + 0.8 * (speckle - true)


def test_more_draws_than_analogues_differ(marginals):
    few = Analogues.of(OPERATOR, TRAIN.target, 10, mirrored=False)
    _, draws = draws_of(few, marginals, 0.01, n_draws=25)
    gaps = np.abs(draws[..., None] - draws[:, :, None, :]).mean(axis=1)
    assert (gaps[:, ~np.eye(25, dtype=bool)] > 1e-3).all()


def test_quantiles_are_those_within_the_range(analogues, marginals):
    _, free = draws_of(analogues, marginals, 10.0)
    _, within = draws_of(analogues, marginals, 10.0, low=4.0)
    assert np.quantile(within, 0.02) > np.quantile(free, 0.02) + 0.5


def test_library_is_in_half_precision_and_evenly_chosen(analogues):
    assert analogues.sections.dtype == np.float16
    assert analogues.sections.shape == (400, 144)
    rows = np.linspace(0, 599, 400).astype(int)
    np.testing.assert_allclose(analogues.sections, TRAIN.target[rows], rtol=1e-3)
    heavy = Analogues.of(OPERATOR, 1e5 * TRAIN.target, 5, mirrored=False)
    restored = heavy.unit * heavy.sections.astype(np.float64)
    rows = np.linspace(0, 599, 5).astype(int)
    np.testing.assert_allclose(restored, 1e5 * TRAIN.target[rows], rtol=1e-3)


def test_what_follows_from_the_library_is_not_pickled(analogues, marginals):
    _, draws = draws_of(analogues, marginals, 0.01)  # computes it
    copy = pickle.loads(pickle.dumps(analogues))
    assert "_prepared" not in vars(copy)
    np.testing.assert_array_equal(draws_of(copy, marginals, 0.01)[1], draws)


def test_sections_that_are_drawn_again_are_as_those_kept(marginals):
    recipe = DrawnSections(300, 5, (0.0, 12.0))
    kept = Analogues.of(OPERATOR, recipe(OPERATOR), 300, mirrored=False)
    drawn = Analogues(OPERATOR, recipe)
    expected = draws_of(kept, marginals, 0.01)[1]
    np.testing.assert_array_equal(draws_of(drawn, marginals, 0.01)[1], expected)


def test_matrices_that_are_too_large_are_refused(marginals, monkeypatch):
    monkeypatch.setattr(_shuffle, "_MAX_SIZE", 144 * 72 - 1)
    few = Analogues.of(OPERATOR, TRAIN.target, 60, mirrored=False)
    with pytest.raises(ValueError, match=r"'sample_y' needs matrices of 144 cells by 72 data"):
        draws_of(few, marginals, 0.01)


def test_another_survey_on_the_same_mesh_keeps_the_sections(analogues):
    other = make_gravity_dataset(1, mesh=Mesh.square(12), random_state=0).operator
    assert analogues.for_operator(other).operator is other
    assert analogues.for_operator(make_gravity_dataset(1, mesh=Mesh.square(8)).operator) is None
