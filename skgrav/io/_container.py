"""Files of named arrays with a JSON header, written completely or not at all."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skgrav._checks import import_optional

#: Name of the format, and version of its layout.
FORMAT, VERSION = "skgrav", 1

#: Errors that a malformed header or array may cause while it is read.
MALFORMED = (
    ArithmeticError,
    AttributeError,
    IndexError,
    KeyError,
    RuntimeError,  # recursion too deep, or sizes that torch refuses
    TypeError,
    ValueError,
)

Tensors = dict[str, NDArray[Any]]


def write_file(path: Path, header: dict[str, Any], tensors: Tensors) -> None:
    """Write a file under a temporary name and rename it, replacing any previous file."""
    safetensors = _safetensors()
    header = {"format": FORMAT, "version": VERSION, **header}
    metadata = {"skgrav": json.dumps(header, allow_nan=False)}
    _refuse_folder(checked_path(path))
    unfinished = path.with_name(f".{path.name[:40]}.{secrets.token_hex(8)}")
    try:
        # The mode follows the umask, unlike that of safetensors and tempfile.
        unfinished.touch(exist_ok=False)
        mode = unfinished.stat().st_mode
        safetensors.save_file(tensors, unfinished, metadata=metadata)
        unfinished.chmod(mode)
        unfinished.replace(path)
    except OSError as error:  # its own text would name the temporary file
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        unfinished.unlink(missing_ok=True)


def read_file(path: Path) -> tuple[dict[str, Any], Tensors]:
    """Return the header and the arrays of a file whose layout this version reads."""
    safetensors = _safetensors()
    from safetensors import SafetensorError, safe_open

    _refuse_folder(path)
    if not path.exists():
        raise FileNotFoundError(f"'path' is {str(path)!r}, but there is no such file.")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
        header = json.loads(metadata.get("skgrav", "{}"), parse_constant=_refuse_constant)
        if not isinstance(header, dict):
            raise TypeError(f"its header is a {type(header).__name__}, not a dict")
        known = header.get("format") == FORMAT
        newer = known and header["version"] > VERSION
        tensors = safetensors.load_file(path) if known and not newer else {}
    except (SafetensorError, *MALFORMED) as error:
        raise ValueError(damaged(path, error)) from error
    if not known:
        raise ValueError(f"{path} is not a file of skgrav: `save` has not written it.")
    if newer:
        raise ValueError(
            f"{path} has layout {header['version']}, but this version of skgrav reads up to "
            f"{VERSION}. Update skgrav."
        )
    return header, tensors


def damaged(path: Path, error: Exception) -> str:
    """Return the error text for a file that cannot be read."""
    reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error).rstrip(".")
    return f"{path} is not a file of skgrav, or is damaged: {reason}."


def cast(name: str, values: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Convert an array, or raise ValueError if a finite number overflows."""
    with np.errstate(over="ignore"):
        found = values.astype(dtype, order="C")
    if (np.isfinite(found) != np.isfinite(values)).any():
        remedy = "Save with dtype='float32'" if dtype == "float16" else "Save with dtype='float64'"
        raise ValueError(
            f"{name!r} reaches {np.abs(values).max():g}, but 'dtype' is {dtype!r} for it, with "
            f"finite numbers up to {np.finfo(dtype).max:g}. {remedy}."
        )
    return found


def file_path(path: str | os.PathLike[str]) -> Path:
    """Return the path of a file, or raise TypeError if it is none."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"'path' is {path!r}; give the name of a file, a str or a Path.")
    return Path(path)


def checked_path(path: str | os.PathLike[str]) -> Path:
    """Return a path to write to, or raise FileNotFoundError if its folder does not exist."""
    path = file_path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"'path' is {str(path)!r}, but the folder {str(path.parent)!r} does not exist. Create "
            "it first."
        )
    return path


def _refuse_folder(path: Path) -> None:
    if path.is_dir():
        raise IsADirectoryError(
            f"'path' is {str(path)!r}, which is a folder. Give the name of a file in it."
        )


def _refuse_constant(name: str) -> float:
    raise ValueError(f"its header contains {name}")


def _safetensors() -> Any:
    return import_optional("safetensors.numpy", "A file of an estimator", "io")
