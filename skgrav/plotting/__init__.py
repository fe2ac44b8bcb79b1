"""Displays of estimators, by scikit-learn's Display protocol; they need matplotlib."""

from skgrav.plotting._calibration import CalibrationDisplay
from skgrav.plotting._convergence import ConvergenceDisplay
from skgrav.plotting._density import DensityDisplay
from skgrav.plotting._drawing import axis_label, set_ticks, units_along
from skgrav.plotting._estimators import one_row, operator_of, parts_of
from skgrav.plotting._gravity import GravityDisplay
from skgrav.plotting._lcurve import LCurveDisplay
from skgrav.plotting._posterior import PosteriorDisplay
from skgrav.plotting._samples import SampleGalleryDisplay
from skgrav.plotting._sections import has_elevations

__all__ = [
    "CalibrationDisplay",
    "ConvergenceDisplay",
    "DensityDisplay",
    "GravityDisplay",
    "LCurveDisplay",
    "PosteriorDisplay",
    "SampleGalleryDisplay",
]
