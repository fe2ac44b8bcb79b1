"""Fitted networks in files that hold numbers and text alone: safetensors with a JSON header."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skgrav.geometry import Mesh, Survey
from skgrav.inverters._pairs import WhitenedPairs
from skgrav.networks._augmentation import Mirror
from skgrav.operators import ForwardOperator, MatrixOperator
from skgrav.operators._base import BaseOperator

#: What the files call themselves, and the version of their layout.
_FORMAT, _VERSION = "skgrav.CNNInverter", 1

_PRETRAINED = Path(__file__).parents[1] / "pretrained"

#: File of each pretrained network and its SHA-256; benchmarks/pretrain.py makes them.
PRETRAINED = {
    "paper": (
        "paper.safetensors",
        "3132409bdf113e2bdb7f938e60f63f903bab0a2cb5ed7bc448880b9cb58bca4e",
    )
}

#: Arrays of a frame that a network's estimate needs only roughly.
_ROUGH = ("components", "regression", "scale")


def save_inverter(inverter: Any, path: str | os.PathLike[str], dtype: str) -> None:
    """Write a fitted residual network to a file, all of it or nothing."""
    safetensors = _safetensors()
    pairs: WhitenedPairs = inverter._pairs
    weights = inverter.net_.module_.state_dict()
    tensors = {
        f"network.{name}": np.ascontiguousarray(values.cpu().numpy().astype(dtype))
        for name, values in weights.items()
    }
    frame = ("rows", "mean", "data_mean", "rotation", "variance", *_ROUGH)
    for name in frame:
        values = getattr(pairs, name)
        rough = np.float32 if dtype == "float16" and name == "regression" else dtype
        kept = rough if name in _ROUGH else np.float64
        tensors[f"frame.{name}"] = np.ascontiguousarray(values.astype(kept))
    operator, arrays = _described(inverter.operator_)
    tensors |= {f"operator.{name}": np.ascontiguousarray(a) for name, a in arrays.items()}
    header = {
        "format": _FORMAT,
        "version": _VERSION,
        "parameters": {
            name: getattr(inverter, name)
            for name in ("n_components", "augment", "precision", "data_consistency")
        }
        | {"noise_level": inverter.net_.augment.noise_level},
        "operator": operator,
        "data_rms": pairs.data_rms,
        "mirror": pairs.mirror is not None,
        "sigma": inverter._sigma,
        "density_range": inverter.density_range_,
        "y_ndim": inverter._y_ndim,
        "loss_curve": [float(loss) for loss in inverter.loss_curve_],
    }
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        safetensors.save_file(tensors, unfinished, metadata={"skgrav": json.dumps(header)})
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def load_inverter(cls: Any, path: str | os.PathLike[str], device: str) -> Any:
    """Return the fitted inverter that a file holds."""
    header, tensors = _read(Path(path))
    parameters = header["parameters"]
    parameters["noise_level"] = tuple(parameters["noise_level"])
    operator = _operator(header["operator"], tensors)
    inverter = cls(operator=operator, device=device, **parameters)
    inverter.operator_ = fitted = operator.fit(np.zeros((1, len(tensors["frame.mean"]))))
    if header["operator"].get("held_out_error") is not None:
        fitted.held_out_error_ = header["operator"]["held_out_error"]
    frame = {
        name.removeprefix("frame."): values.astype(np.float64)
        for name, values in tensors.items()
        if name.startswith("frame.")
    }
    mirror = Mirror.of(fitted.mesh_, fitted.survey_) if header["mirror"] else None
    inverter._pairs = WhitenedPairs(
        operator=fitted,
        data_rms=header["data_rms"],
        mirror=mirror,
        whole=parameters["data_consistency"],
        **frame,
    )
    inverter.density_range_ = tuple(header["density_range"])
    inverter.n_features_in_, inverter.n_outputs_ = len(frame["rows"]), len(frame["mean"])
    inverter._sigma, inverter._y_ndim, inverter._seed = header["sigma"], header["y_ndim"], 0
    inverter.loss_curve_, inverter.validation_loss_curve_ = header["loss_curve"], []
    # Training goes on from these weights, but as a new history.
    inverter.n_epochs_ = 0
    weights = {
        name.removeprefix("network."): values.astype(np.float32)
        for name, values in tensors.items()
        if name.startswith("network.")
    }
    inverter._take_weights(weights)
    return inverter


def pretrained_file(name: str) -> Path:
    """Return the checked file of a pretrained network."""
    if name not in PRETRAINED:
        raise ValueError(
            f"'name' is {name!r}; allowed are {', '.join(map(repr, PRETRAINED))}. A file of your "
            "own is read by CNNInverter.load."
        )
    filename, sha256 = PRETRAINED[name]
    path = _PRETRAINED / filename
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise ValueError(
            f"{path} has SHA-256 {found}, not {sha256}: it was damaged or changed. Install skgrav "
            "anew."
        )
    return path


def _read(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    safetensors = _safetensors()
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
        header = json.loads(metadata.get("skgrav", "{}"))
        tensors = safetensors.load_file(path)
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no file of skgrav, or damaged: {error}.") from error
    if header.get("format") != _FORMAT:
        raise ValueError(f"{path} holds no network of CNNInverter; it was not written by its save.")
    if header["version"] > _VERSION:
        raise ValueError(
            f"{path} has layout {header['version']}, but this version of skgrav reads up to "
            f"{_VERSION}. Update skgrav."
        )
    return header, tensors


def _described(operator: BaseOperator) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return what makes an operator again: text, and arrays."""
    if not isinstance(operator, ForwardOperator):
        missed = getattr(operator, "held_out_error_", None)
        return {"kind": "matrix", "held_out_error": missed}, {"matrix": operator.matrix_}
    mesh, survey = operator.mesh_, operator.survey_
    text = {
        "kind": "forward",
        "kernel": operator.kernel,
        "units": operator.units,
        "components": list(survey.components),
    }
    arrays = {f"edges.{axis}": edges for axis, edges in enumerate(mesh.edges)}
    arrays["stations"] = survey.stations
    if survey.uncertainty is not None:
        arrays["uncertainty"] = np.asarray(survey.uncertainty, dtype=np.float64)
    return text, arrays


def _operator(text: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> BaseOperator:
    if text["kind"] == "matrix":
        return MatrixOperator(tensors["operator.matrix"])
    axes = sorted(name for name in tensors if name.startswith("operator.edges."))
    survey = Survey(
        tensors["operator.stations"],
        components=tuple(text["components"]),
        uncertainty=tensors.get("operator.uncertainty"),
    )
    mesh = Mesh([tensors[name] for name in axes])
    return ForwardOperator(mesh, survey, kernel=text["kernel"], units=text["units"])


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(
            "Networks are saved and loaded by safetensors; install it with "
            "`pip install 'skgrav[io]'`."
        ) from error
    return safetensors.numpy
