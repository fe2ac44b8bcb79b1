"""The files themselves: arrays by name, and a header of JSON; written whole or not at all."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: What the files call themselves, and the version of their layout.
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
    """Write a file, which replaces one of that name when all is written."""
    safetensors = _safetensors()
    header = {"format": FORMAT, "version": VERSION, **header}
    metadata = {"skgrav": json.dumps(header, allow_nan=False)}
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"'path' is {str(path)!r}, but the folder {str(path.parent)!r} does not exist. Create "
            "it first."
        )
    _refuse_folder(path)
    unfinished = path.with_name(f".{path.name[:40]}.{secrets.token_hex(8)}")
    try:
        # As any new file is opened, so that its mode follows the umask; those of tempfile can be
        # read by their owner alone.
        os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        mode = unfinished.stat().st_mode
        safetensors.save_file(tensors, unfinished, metadata=metadata)
        unfinished.chmod(mode)
        unfinished.replace(path)
    except OSError as error:  # which names the unfinished file, if any
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        unfinished.unlink(missing_ok=True)


def read_file(path: Path) -> tuple[dict[str, Any], Tensors]:
    """Return the header and the arrays of a file that this version understands."""
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
    """Return the text of an error about a file that cannot be understood."""
    reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error).rstrip(".")
    return f"{path} is not a file of skgrav, or is damaged: {reason}."


def cast(name: str, values: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Return an array in other numbers, all of them finite that were."""
    with np.errstate(over="ignore"):
        found = values.astype(dtype, order="C")
    if (np.isfinite(found) != np.isfinite(values)).any():
        remedy = "Save with dtype='float32'" if dtype == "float16" else "Save with dtype='float64'"
        raise ValueError(
            f"{name!r} reaches {np.abs(values).max():g}, but 'dtype' is {dtype!r} for it, which "
            f"holds finite numbers up to {np.finfo(dtype).max:g}. {remedy}."
        )
    return found


def _refuse_folder(path: Path) -> None:
    if path.is_dir():
        raise IsADirectoryError(
            f"'path' is {str(path)!r}, which is a folder. Give the name of a file in it."
        )


def _refuse_constant(name: str) -> float:
    raise ValueError(f"its header holds {name}")


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(
            "Estimators are saved and loaded by safetensors; install it with "
            "`pip install 'skgrav[io]'`."
        ) from error
    return safetensors.numpy
