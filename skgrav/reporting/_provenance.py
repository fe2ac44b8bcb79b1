"""What an inversion was made from and by: versions, options and a hash of the input."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

import skgrav
from skgrav._typing import Array
from skgrav.geometry import Survey

_PACKAGES = ("numpy", "scipy", "scikit-learn", "skorch", "torch")


def provenance(g: Array, surveys: Iterable[Survey], options: Mapping[str, Any]) -> dict[str, str]:
    """Return versions, options as JSON and a hash of the data of one sample and their stations."""
    return {
        "versions": json.dumps(_versions()),
        "options": json.dumps(dict(options), default=str),
        "input_sha256": _hash(g, surveys),
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "skgrav": skgrav.__version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _hash(g: Array, surveys: Iterable[Survey]) -> str:
    """Return the SHA-256 of data, and of stations, components and uncertainty of surveys."""
    digest = sha256(np.ascontiguousarray(g, dtype="<f8").tobytes())
    for survey in surveys:
        digest.update(",".join(survey.components).encode())
        for values in (survey.stations, survey.uncertainty):
            if values is not None:
                digest.update(np.ascontiguousarray(values, dtype="<f8").tobytes())
    return digest.hexdigest()
