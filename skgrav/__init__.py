"""Gravity inversion with scikit-learn estimators: from gravity data to density sections.

Public names are loaded when first used (PEP 562), so importing the package loads neither torch
nor matplotlib.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.2.0"

_HOMES = {
    "Mesh": "geometry",
    "Survey": "geometry",
    "CellValues": "operators",
    "ForwardOperator": "operators",
    "JointOperator": "operators",
    "MatrixOperator": "operators",
    "AnalogueInverter": "inverters",
    "BayesLinearInverter": "inverters",
    "CNNInverter": "inverters",
    "ConformalInverter": "inverters",
    "GANGenerator": "generators",
    "LatentInverter": "inverters",
    "Refiner": "inverters",
    "ReliefInverter": "inverters",
    "SparseInverter": "inverters",
    "TikhonovInverter": "inverters",
    "VAEGenerator": "generators",
    "Pipeline": "pipeline",
    "make_pipeline": "pipeline",
    "benchmark": "benchmarking",
    "project_onto_line": "geometry",
    "report": "reporting",
}

_ROOMS = [
    "benchmarking",
    "bridges",
    "datasets",
    "generators",
    "geometry",
    "inverters",
    "io",
    "kernels",
    "metrics",
    "networks",
    "noise",
    "operators",
    "pipeline",
    "plotting",
    "reporting",
    "solvers",
    "training",
]

__all__ = sorted([*_HOMES, *_ROOMS])  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"skgrav.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(f"skgrav.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'skgrav' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
