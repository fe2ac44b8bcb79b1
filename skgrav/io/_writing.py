"""Where files are written."""

from __future__ import annotations

import os
from pathlib import Path


def checked_path(path: str | os.PathLike[str]) -> Path:
    """Return a path to write to, once its folder exists.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"the folder {path.parent} of {path.name} does not exist; create it, or correct 'path'."
        )
    return path
