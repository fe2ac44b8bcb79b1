"""Pretrained networks shipped with the package."""

from __future__ import annotations

import hashlib
from pathlib import Path

_FOLDER = Path(__file__).parents[1] / "pretrained"

#: File of each network and its SHA-256; benchmarks/pretrain.py and train_volumes.py make them.
PRETRAINED = {
    "paper": (
        "paper.safetensors",
        "57357536b760b021e75ea2b772be2c066ef4bfbdb8c98e76326d002a2526310b",
    ),
    "huang2021": (
        "huang2021.safetensors",
        "00391019cabf2087cea864078edb8eed4f095bd4d2d7a4c3deda9bca750eb7eb",
    ),
}


def pretrained_file(name: str) -> Path:
    """Return the checked file of a pretrained network."""
    if str(name) not in PRETRAINED:
        raise ValueError(
            f"'name' is {name!r}; allowed are {', '.join(map(repr, PRETRAINED))}. Read other files "
            "by CNNInverter.load."
        )
    filename, sha256 = PRETRAINED[name]
    path = _FOLDER / filename
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing. Install skgrav again.")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise ValueError(
            f"{path} has SHA-256 {found}, not {sha256}: it was damaged or changed. Install skgrav "
            "again."
        )
    return path
