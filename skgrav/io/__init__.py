"""Files of fitted estimators: safetensors with a JSON header, numbers and text without code."""

from skgrav.io._estimators import SavedMixin
from skgrav.io._fields import FEATURES, Estimator, Field, Precision, Weights, sized
from skgrav.io._registry import saved

__all__ = ["Field", "SavedMixin", "saved"]
