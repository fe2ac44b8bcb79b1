"""Errors of densities, misfits of data, and scorers."""

from skgrav.metrics._errors import (
    chi_factor,
    relative_data_misfit,
    relative_l2_error,
    residual_trend,
)
from skgrav.metrics._samples import sample_coverage, sample_diversity
from skgrav.metrics._scorers import DataMisfitScorer, relative_l2_scorer

__all__ = [
    "DataMisfitScorer",
    "chi_factor",
    "relative_data_misfit",
    "relative_l2_error",
    "relative_l2_scorer",
    "residual_trend",
    "sample_coverage",
    "sample_diversity",
]
