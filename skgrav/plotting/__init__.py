"""Pictures of estimators, by scikit-learn's Display protocol; they need matplotlib."""

from skgrav.plotting._lcurve import LCurveDisplay

__all__ = ["LCurveDisplay"]
