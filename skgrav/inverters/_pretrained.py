"""Pretrained networks shipped with the package."""

from __future__ import annotations

import hashlib
from pathlib import Path

_FOLDER = Path(__file__).parents[1] / "pretrained"

#: File of each network and its SHA-256; benchmarks/pretrain.py and train_volumes.py make them.
PRETRAINED = {
    "paper": (
        "paper.safetensors",
        "23236f2e3c1abcb194b6c5a632dcec42bee1b8625815496816186147ca58ab9e",
    ),
    "huang2021": (
        "huang2021.safetensors",
        "b918539335f47e39c1a219c80c0f29cb515b5eb43b90974f1d631b9732c7949e",
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
