"""Scores, coverage and ranks against independent implementations."""

import numpy as np
import pytest

from skgrav.metrics import crps, energy_score, interval_coverage, rank_histogram, sbc_ranks

WHY = "is not installed; it is part of skgrav[test]"
scoring = pytest.importorskip("scoringrules", reason=f"scoringrules {WHY}")
arviz = pytest.importorskip("arviz_stats.base", reason=f"arviz-stats {WHY}").array_stats

RNG = np.random.default_rng(0)
MEAN, STD = RNG.normal(size=(60, 8)), RNG.uniform(0.5, 2.0, size=(60, 8))
TRUE = MEAN + STD * RNG.normal(size=MEAN.shape)
#: Too narrow, so that no score is that of a calibrated forecast.
DRAWS = MEAN[..., None] + 0.6 * STD[..., None] * RNG.normal(size=(*MEAN.shape, 39))


def test_crps_of_gaussians_and_of_draws_are_those_of_scoringrules():
    raw = {"multioutput": "raw_values"}
    np.testing.assert_allclose(crps(TRUE, MEAN, STD, **raw), scoring.crps_normal(TRUE, MEAN, STD))
    expected = scoring.crps_ensemble(TRUE, DRAWS, estimator="fair")
    np.testing.assert_allclose(crps(TRUE, DRAWS, **raw), expected, rtol=1e-10, atol=1e-12)


def test_crps_of_quantiles_is_that_of_scoringrules_for_a_regular_grid():
    p = (np.arange(50) + 0.5) / 50
    values = np.quantile(DRAWS, p, axis=2).transpose(1, 2, 0)
    found = crps(TRUE, values, quantiles=p, multioutput="raw_values")
    np.testing.assert_allclose(found, scoring.crps_quantile(TRUE, values, p), rtol=1e-10)


def test_energy_score_is_that_of_scoringrules_over_the_root_of_the_number_of_cells():
    expected = scoring.es_ensemble(TRUE, DRAWS.transpose(0, 2, 1), estimator="fair")
    found = energy_score(TRUE, DRAWS, multioutput="raw_values")
    np.testing.assert_allclose(found, expected / np.sqrt(TRUE.shape[1]), rtol=1e-10)


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_coverage_of_draws_is_that_of_the_equal_tailed_intervals_of_arviz(level):
    low, high = np.moveaxis(arviz.eti(DRAWS, prob=level, method="weibull"), -1, 0)
    expected = np.mean((low <= TRUE) & (high >= TRUE))
    assert interval_coverage(TRUE, DRAWS, levels=level)[0] == pytest.approx(expected, rel=1e-12)


def test_ranks_are_those_of_arviz():
    def total(rho):
        return rho.sum(axis=1)

    both = np.concatenate([TRUE.sum(axis=1)[:, None], DRAWS.sum(axis=1)], axis=1)
    expected = [arviz.compute_ranks(row)[0] - 1 for row in both]
    np.testing.assert_array_equal(sbc_ranks(TRUE, DRAWS, total), expected)


def test_p_value_is_the_share_of_random_ranks_that_are_as_uneven():
    histogram = rank_histogram(TRUE, DRAWS, lambda rho: rho.sum(axis=1), n_bins=6)
    counts = np.random.default_rng(1).multinomial(len(TRUE), histogram.expected / len(TRUE), 20_000)
    uneven = ((counts - histogram.expected) ** 2 / histogram.expected).sum(axis=1)
    observed = ((histogram.counts - histogram.expected) ** 2 / histogram.expected).sum()
    assert histogram.p_value == pytest.approx(np.mean(uneven >= observed), abs=0.02)
