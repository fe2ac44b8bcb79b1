"""Statistics of the residuals of a report: correlation of neighbours, trend, chi factor."""

import numpy as np
import pytest

from skgrav.reporting._statistics import Residuals


def residuals(values, x, sigma=None):
    places = np.column_stack([np.zeros(len(x)), x]) if np.ndim(x) == 1 else x
    return Residuals("gz", "mGal", values, values, sigma, places)


def test_statistics_of_residuals():
    rng = np.random.default_rng(0)
    x, white = np.arange(400.0), rng.normal(size=400)
    r = residuals(white, x, np.full(400, 2.0))
    assert abs(r.lag_correlation[0]) < 0.15
    assert r.chi_factor == pytest.approx(np.mean(white**2) / 4)
    share, chance = r.linear_trend
    assert share < 0.02
    assert chance > 1e-3
    order = rng.permutation(400)
    walk = np.convolve(rng.normal(size=403), np.ones(4) / 4, "valid")
    assert residuals(walk[order], x[order]).lag_correlation[0] == pytest.approx(0.75, abs=0.1)
    share, chance = residuals(x + white, x).linear_trend
    assert share > 0.99
    assert chance < 1e-10
    assert residuals(white, x).largest == np.abs(white).argmax()


def test_correlation_over_an_area_is_that_of_nearest_stations():
    y, x = np.mgrid[:12.0, :12.0]
    stations = np.column_stack([0 * x.ravel(), y.ravel(), x.ravel()])
    bump = np.exp(-((x - 6) ** 2 + (y - 6) ** 2) / 20).ravel()
    assert residuals(bump, stations).lag_correlation[0] > 0.8
    noise = np.random.default_rng(1).normal(size=144)
    assert abs(residuals(noise, stations).lag_correlation[0]) < 0.35
    assert residuals(bump, stations).place(13) == "station 13, x = 1 m, y = 1 m"


@pytest.mark.parametrize("ndim", [2, 3])
def test_repeated_stations_are_no_neighbours_of_one_another(ndim):
    rng = np.random.default_rng(0)
    once = np.column_stack([np.zeros(400), rng.uniform(size=(400, ndim - 1))])
    twice = np.vstack([once, once + np.r_[-1.0, np.zeros(ndim - 1)]])  # at another height
    correlation, spread = residuals(rng.normal(size=800), twice).lag_correlation
    assert spread == pytest.approx(0.05)
    assert abs(correlation) < 0.15
    # What is common to both occupations is not what neighbours have in common.
    assert abs(residuals(np.tile(rng.normal(size=400), 2), twice).lag_correlation[0]) < 0.15
    wave = np.tile(np.sin(9 * once[:, 1]), 2)
    assert residuals(wave, twice).lag_correlation[0] > 0.9
    assert np.isnan(residuals(wave[::100], twice[::100]).lag_correlation).all()  # of four places


def test_share_of_a_trend_is_never_negative():
    lines = [np.linspace(-3000, 3000, n) for n in range(12, 40)]
    assert min(residuals(x**2, x).linear_trend[0] for x in lines) == 0


def test_few_data_and_data_without_stations_have_no_correlation():
    few = residuals(np.ones(3), np.arange(3.0))
    assert np.isnan(few.lag_correlation).all()
    assert np.isnan(few.linear_trend).all()
    alone = Residuals("data", "", np.arange(9.0), np.arange(9.0), None, None)
    assert np.isnan(alone.lag_correlation).all()
    assert alone.place(2) == "datum 2"
