"""The command line, a thin layer over the estimators: ``python -m skgrav``."""

from skgrav.cli._main import main

__all__ = ["main"]
