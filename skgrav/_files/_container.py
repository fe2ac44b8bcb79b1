"""The files themselves: arrays by name, and a header of JSON; written whole or not at all."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: What the files call themselves, and the version of their layout. Files of layout 1 held a
#: CNNInverter alone, and called themselves after it.
FORMAT, VERSION = "skgrav", 2
FIRST_FORMAT = "skgrav.CNNInverter"

#: What reading a header or arrays that are not as they should be ends in.
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
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    # Opened as any new file is, so that its mode follows the umask; tempfile's are its owner's own.
    os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        mode = unfinished.stat().st_mode
        safetensors.save_file(tensors, unfinished, metadata=metadata)
        unfinished.chmod(mode)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def read_file(path: Path) -> tuple[dict[str, Any], Tensors]:
    """Return the header and the arrays of a file that this version understands."""
    safetensors = _safetensors()
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
        header = json.loads(metadata.get("skgrav", "{}"), parse_constant=_refuse_constant)
        if not isinstance(header, dict):
            raise TypeError(f"its header is a {type(header).__name__}, not a dict")
        format_ = header.get("format")
        known = format_ in (FORMAT, FIRST_FORMAT)
        newer = known and header["version"] > (VERSION if format_ == FORMAT else 1)
        tensors = safetensors.load_file(path) if known and not newer else {}
    except (SafetensorError, *MALFORMED) as error:
        raise ValueError(damaged(path, error)) from error
    if not known:
        raise ValueError(f"{path} holds no estimator of skgrav; it was not written by its save.")
    if newer:
        raise ValueError(
            f"{path} has layout {header['version']}, but this version of skgrav reads up to "
            f"{VERSION}. Update skgrav."
        )
    return header, tensors


def damaged(path: Path, error: Exception) -> str:
    """Return the text of an error about a file that cannot be understood."""
    reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error).rstrip(".")
    return f"{path} is no file of skgrav, or damaged: {reason}."


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
