"""Pretrained networks shipped with the package."""

from __future__ import annotations

import hashlib
from pathlib import Path

_FOLDER = Path(__file__).parents[1] / "pretrained"

#: File of each network and its SHA-256; benchmarks/pretrain.py and train_volumes.py make them.
PRETRAINED = {
    "paper": (
        "paper.safetensors",
        "a701bfb60d1a6e1a6fb193ed98c75dad564140149039fb5e9a76abb9f9c45f63",
    ),
    "huang2021": (
        "huang2021.safetensors",
        "04e0fc365b368a1b0e5ff924e2ddde56fb367c0055c5d469e5fb593096642bcb",
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
