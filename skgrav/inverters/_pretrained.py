"""Pretrained networks shipped with the package."""

from __future__ import annotations

import hashlib
from pathlib import Path

_FOLDER = Path(__file__).parents[1] / "pretrained"

#: File of each network and its SHA-256; benchmarks/pretrain.py and train_volumes.py make them.
PRETRAINED = {
    "paper": (
        "paper.safetensors",
        "7f4cf06b09b7f7ad1dcdeb40c20ee85f80fa4a6d3de5fc54284a05f3b400d12f",
    ),
    "huang2021": (
        "huang2021.safetensors",
        "9f0581bd1979f066f626c6dd36c7a6a25145ab83dc1de18a0d13c8d47f344efb",
    ),
}


def pretrained_file(name: str) -> Path:
    """Return the checked file of a pretrained network."""
    if name not in PRETRAINED:
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
