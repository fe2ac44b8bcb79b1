"""The packages of skgrav[bridges], without the warnings of their own imports."""

import sys
import warnings

import pytest
import torch


def bridged(name):
    """Import a package that skgrav bridges to, or skip the tests of the module."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name == "deepinv" and "torchvision" not in sys.modules:
            _declare_operators()
        return pytest.importorskip(name, reason=f"needs {name}, skgrav[bridges]")


def _declare_operators():
    """Let torchvision of PyPI be imported beside a CPU build of torch, as CI has it.

    It is compiled for PyPI's own torch, and its import fails where operators are missing that
    deepinv does not need.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", schema)
    except ImportError:
        pass
