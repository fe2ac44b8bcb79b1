"""Fitted estimators in files that hold numbers and text alone: safetensors with a JSON header."""

from skgrav._files._saving import SavedMixin

__all__ = ["SavedMixin"]
