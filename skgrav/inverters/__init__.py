"""Estimators from gravity to density."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from skgrav.inverters._alpha_curve import AlphaCurve
from skgrav.inverters._analogue import AnalogueInverter
from skgrav.inverters._base import InverterMixin, has_std, takes_noise_level
from skgrav.inverters._bayes_linear import BayesLinearInverter
from skgrav.inverters._conformal import ConformalInverter
from skgrav.inverters._latent import LatentInverter
from skgrav.inverters._latent_search import LatentResult
from skgrav.inverters._plausible import rock_range
from skgrav.inverters._refiner import Refiner
from skgrav.inverters._regularized_result import RegularizedResult
from skgrav.inverters._relief import ReliefInverter, ReliefResult
from skgrav.inverters._sparse import SparseInverter
from skgrav.inverters._tikhonov import TikhonovInverter
from skgrav.inverters._uncertainty import Resolution

if TYPE_CHECKING:
    from skgrav.inverters._cnn import CNNInverter

__all__ = [
    "AlphaCurve",
    "AnalogueInverter",
    "BayesLinearInverter",
    "CNNInverter",
    "ConformalInverter",
    "InverterMixin",
    "LatentInverter",
    "LatentResult",
    "Refiner",
    "RegularizedResult",
    "ReliefInverter",
    "ReliefResult",
    "Resolution",
    "SparseInverter",
    "TikhonovInverter",
]


def __getattr__(name: str) -> Any:
    if name == "CNNInverter":  # imported when first used, as it needs torch
        from skgrav.inverters._cnn import CNNInverter

        return CNNInverter
    raise AttributeError(f"module 'skgrav.inverters' has no attribute {name!r}")
