"""Training pairs, and unseen pairs of the same families and of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from skgrav._typing import Array
from skgrav.benchmarking._candidate import Candidate, EstimatorFailure, Fitted
from skgrav.benchmarking._result import percent
from skgrav.datasets import DEFAULTS, make_gravity_dataset

#: Families that are left out of training.
HELD_OUT = ("faults", "salt_domes")

#: Range of the densities that are drawn.
DENSITIES = (0.0, 12.0)

#: Relative rounding of float32, which is the noise of data without other noise.
ROUNDING = 3e-8

#: Distance of the seeds of unseen pairs from that of training.
_UNSEEN = 1_000_000


def pairs(
    n_samples: int, seed: int, families: Sequence[str] | None = None, **geometry: Any
) -> Bunch:
    """Draw densities and their data, rounded to float32."""
    data = make_gravity_dataset(n_samples, families=families, random_state=seed, **geometry)
    data.data = data.data.astype(np.float32).astype(np.float64)
    return data


def told(level: float) -> float:
    """Return the noise level to pass on: the rounding of float32 counts as noise."""
    return max(level, ROUNDING)


@dataclass(frozen=True)
class Sections:
    """Training pairs, and test pairs of "trained" and of "unseen" families."""

    train: Bunch
    tests: dict[str, Bunch]
    seed: int

    @classmethod
    def draw(
        cls, n_train: int, n_test: int, held_out: Sequence[str], seed: int, **geometry: Any
    ) -> Sections:
        """Draw all pairs."""
        mesh = geometry.get("mesh")
        known = DEFAULTS[2 if mesh is None else mesh.ndim]
        trained = [name for name in known if name not in held_out]
        geometry["density_range"] = DENSITIES
        unseen = (seed + _UNSEEN) % 2**32
        tests = {"trained": pairs(n_test, unseen, trained, **geometry)}
        if held_out:
            tests["unseen"] = pairs(n_test, unseen, list(held_out), **geometry)
        return cls(pairs(n_train, seed, trained, **geometry), tests, seed)

    def noisy(self, geology: str, level: float) -> Array:
        """Return data of unseen pairs with noise, the same for all estimators."""
        return _with_noise(self.tests[geology].data, level, self.seed)

    def training_data(self, level: float) -> Array:
        """Return data of training pairs with noise."""
        return _with_noise(self.train.data, level, (self.seed + 1) % 2**32)


def _with_noise(g: Array, level: float, seed: int) -> Array:
    if level == 0:
        return g
    rms = np.sqrt(np.mean(g**2, axis=1, keepdims=True))
    return g + level * rms * np.random.default_rng(seed).normal(size=g.shape)


@dataclass
class SectionFits:
    """An estimator fitted to training pairs, once or for each level of noise."""

    candidate: Candidate
    sections: Sections
    _found: dict[float, Fitted | EstimatorFailure] = field(default_factory=dict)

    def at(self, level: float) -> Fitted:
        """Return the estimator for data of a noise level, or raise the failure of its fit."""
        needs = self.candidate.needs_noise
        key = level if needs else 0.0
        if key not in self._found:
            train = self.sections.train
            noise = f" with noise of {percent(level)}" if needs else ""
            where = f"to {len(train.data)} pairs{noise}"
            X = self.sections.training_data(key)
            try:
                fitted = self.candidate.fit(X, train.target, where, train.operator)
            except EstimatorFailure as failure:
                self._found[key] = failure
            else:
                self._found[key] = fitted
        found = self._found[key]
        if isinstance(found, EstimatorFailure):
            raise found
        return found
