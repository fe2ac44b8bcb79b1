"""Errors of densities, misfits of data, scores of predicted distributions, and scorers."""

from skgrav.metrics._coverage import interval_coverage
from skgrav.metrics._errors import (
    chi_factor,
    relative_data_misfit,
    relative_l2_error,
    residual_trend,
)
from skgrav.metrics._ranks import RankHistogram, rank_histogram, sbc_ranks
from skgrav.metrics._samples import sample_coverage, sample_diversity
from skgrav.metrics._scorers import DataMisfitScorer, PosteriorScorer, relative_l2_scorer
from skgrav.metrics._scores import crps, energy_score, interface_spread

__all__ = [
    "DataMisfitScorer",
    "PosteriorScorer",
    "RankHistogram",
    "chi_factor",
    "crps",
    "energy_score",
    "interface_spread",
    "interval_coverage",
    "rank_histogram",
    "relative_data_misfit",
    "relative_l2_error",
    "relative_l2_scorer",
    "residual_trend",
    "sample_coverage",
    "sample_diversity",
    "sbc_ranks",
]
