"""Bridges to SimPEG, Harmonica and sbi; that to deepinv is the method `to_deepinv` of operators.

Axes, order of cells, signs and units are converted here and nowhere else. The packages are those of
``skgrav[bridges]``, and each is imported when a function needs it.
"""

from skgrav.bridges._harmonica import from_equivalent_sources, from_harmonica, to_harmonica
from skgrav.bridges._sbi import CodeSimulator
from skgrav.bridges._simpeg import SimPEGProblem, from_simpeg, to_simpeg

__all__ = [
    "CodeSimulator",
    "SimPEGProblem",
    "from_equivalent_sources",
    "from_harmonica",
    "from_simpeg",
    "to_harmonica",
    "to_simpeg",
]
