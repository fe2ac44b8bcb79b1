"""Calibration of stated probabilities by those that hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import ndtr, ndtri

from skgrav._typing import Array
from skgrav.inverters._marginals import CALIBRATION_SCORES, LARGEST_SCORE
from skgrav.io import saved, sized
from skgrav.training import LEAST_NOISE

#: Relative noise at which probabilities are calibrated, if it is within that of training.
_LEVELS = 1e-3, 1e-2, 1e-1


def calibrated_levels(low: float, high: float) -> Array:
    """Return the increasing levels of noise of a calibration, of which the ends are given."""
    return np.unique([low, *(level for level in _LEVELS if low < level < high), high])


@saved
@dataclass(frozen=True)
class Calibration:
    """Standard scores of the probabilities that a network states for those that hold [1]_.

    References
    ----------
    .. [1] Kuleshov, Fenner and Ermon (2018), Accurate uncertainties for deep learning using
       calibrated regression, International Conference on Machine Learning 35.
    """

    #: Increasing relative noise.
    levels: Array = field(metadata=sized("n"))
    #: Scores at each level for the probabilities of `CALIBRATION_SCORES`.
    scores: Array = field(metadata=sized("n", "k"))

    def __post_init__(self) -> None:
        n_scores, n_levels = self.scores.shape[1], len(self.levels)
        if n_scores != len(CALIBRATION_SCORES) or not n_levels:
            raise ValueError(f"its Calibration has {n_scores} scores for {n_levels} levels")
        if not ((np.diff(self.levels) > 0).all() and (np.diff(self.scores) >= 0).all()):
            raise ValueError("levels or scores of its Calibration do not increase")

    @classmethod
    def of(cls, levels: Array, stated: Sequence[Array]) -> Calibration:
        """Learn it from the probabilities, stated at each level, of densities below the true."""
        scores = [ndtri(np.quantile(p, ndtr(CALIBRATION_SCORES))) for p in stated]
        return cls(levels, np.clip(scores, -LARGEST_SCORE, LARGEST_SCORE))

    def at(self, level: Array) -> Array:
        """Return the scores of samples with relative noise (n_samples,), (n_samples, k)."""
        known, level = (np.log(np.maximum(x, LEAST_NOISE)) for x in (self.levels, level))
        return np.stack([np.interp(level, known, scores) for scores in self.scores.T], axis=1)
