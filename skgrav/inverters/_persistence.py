"""Fitted networks in files that hold numbers and text alone: safetensors with a JSON header."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
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

#: Arrays of a frame, and the numbers in which they are kept: None stands for those of the weights.
#: The estimate needs some only roughly; those in the unit of density may exceed half precision.
_FRAME = {
    "rows": "float64",
    "mean": "float64",
    "data_mean": "float64",
    "rotation": "float64",
    "variance": "float64",
    "components": None,
    "regression": "float32",
    "scale": "float32",
}

#: Parameters of the fit, which every file tells.
_FITTED = ("n_components", "augment", "precision", "data_consistency", "noise_level")

#: Parameters of further training, which the first files lack.
_TRAINING = {"learning_rate": float, "batch_size": int, "weight_decay": float, "max_epochs": int}

#: What reading a header or arrays that are not as they should be ends in.
_MALFORMED = (AttributeError, IndexError, KeyError, TypeError, ValueError)


def save_inverter(inverter: Any, path: str | os.PathLike[str], dtype: str) -> None:
    """Write a fitted residual network to a file, all of it or nothing."""
    if dtype not in ("float32", "float16"):
        raise ValueError(f"'dtype' is {dtype!r}; allowed are 'float32' and 'float16'.")
    safetensors = _safetensors()
    pairs: WhitenedPairs = inverter._pairs
    tensors = {}
    for name, values in inverter.net_.module_.state_dict().items():
        # Sizes of components are in the unit of density, and may exceed half precision.
        kept = "float32" if name.rpartition(".")[2] == "scale" else dtype
        tensors[f"network.{name}"] = _cast(f"network.{name}", values.cpu().numpy(), kept)
    for name, exact in _FRAME.items():
        tensors[f"frame.{name}"] = _cast(f"frame.{name}", getattr(pairs, name), exact or dtype)
    operator, arrays = _described(inverter.operator_)
    tensors |= {f"operator.{name}": np.ascontiguousarray(a) for name, a in arrays.items()}
    header = {
        "format": _FORMAT,
        "version": _VERSION,
        "parameters": _parameters(inverter),
        "operator": operator,
        "data_rms": pairs.data_rms,
        "mirror": pairs.mirror is not None,
        "sigma": inverter._sigma,
        "density_range": inverter.density_range_,
        "y_ndim": inverter._y_ndim,
        "feature_names": _names(inverter),
        "loss_curve": [float(loss) for loss in inverter.loss_curve_],
    }
    path = Path(path)
    metadata = {"skgrav": json.dumps(header)}
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as reserved:
        unfinished = Path(reserved.name)
    try:
        safetensors.save_file(tensors, unfinished, metadata=metadata)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def load_inverter(cls: Any, path: str | os.PathLike[str], device: str) -> Any:
    """Return the fitted inverter that a file holds."""
    path = Path(path)
    header, tensors = _read(path)
    try:
        return _rebuilt(cls, header, tensors, device)
    except _MALFORMED as error:
        raise ValueError(_damaged(path, error)) from error


def _rebuilt(
    cls: Any, header: dict[str, Any], tensors: dict[str, NDArray[Any]], device: str
) -> Any:
    kept = header["parameters"]
    parameters = {name: kept[name] for name in _FITTED}
    parameters |= {name: kept[name] for name in _TRAINING if name in kept}
    parameters["noise_level"] = tuple(parameters["noise_level"])
    operator = _operator(header["operator"], tensors)
    inverter = cls(operator=operator, device=device, **parameters)
    inverter.operator_ = fitted = operator.fit(np.zeros((1, len(tensors["frame.mean"]))))
    if header["operator"].get("held_out_error") is not None:
        fitted.held_out_error_ = header["operator"]["held_out_error"]
    frame: dict[str, Any] = {name: tensors[f"frame.{name}"].astype(np.float64) for name in _FRAME}
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
    if header.get("feature_names") is not None:
        inverter.feature_names_in_ = np.array(header["feature_names"], dtype=object)
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
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing. Install skgrav anew.")
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
        if not isinstance(header, dict):
            raise TypeError(f"its header is a {type(header).__name__}, not a dict")
        tensors = safetensors.load_file(path)
        format_ = header.get("format")
        newer = format_ == _FORMAT and header["version"] > _VERSION
    except (SafetensorError, *_MALFORMED) as error:
        raise ValueError(_damaged(path, error)) from error
    if format_ != _FORMAT:
        raise ValueError(f"{path} holds no network of CNNInverter; it was not written by its save.")
    if newer:
        raise ValueError(
            f"{path} has layout {header['version']}, but this version of skgrav reads up to "
            f"{_VERSION}. Update skgrav."
        )
    return header, tensors


def _damaged(path: Path, error: Exception) -> str:
    """Return the text of an error about a file that cannot be understood."""
    reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error).rstrip(".")
    return f"{path} is no file of skgrav, or damaged: {reason}."


def _cast(name: str, values: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Return an array in other numbers, all of them finite."""
    with np.errstate(over="ignore"):
        cast = np.ascontiguousarray(values.astype(dtype))
    if not np.isfinite(cast).all():
        remedy = "Save with dtype='float32'" if dtype == "float16" else "Fit in a larger unit"
        raise ValueError(
            f"{name!r} reaches {np.abs(values).max():g}, but 'dtype' is {dtype!r} for it, which "
            f"holds finite numbers up to {np.finfo(dtype).max:g}. {remedy}."
        )
    return cast


def _parameters(inverter: Any) -> dict[str, Any]:
    """Return the parameters that were fitted, whatever they are now, and those of training."""
    pairs, net = inverter._pairs, inverter.net_
    training = {name: getattr(inverter, name) for name in _TRAINING}
    return {
        "n_components": len(pairs.components),
        "augment": None if pairs.mirror is None else "mirror",
        "precision": net.precision,
        "data_consistency": bool(pairs.whole),
        "noise_level": net.augment.noise_level,
    } | {n: None if value is None else _TRAINING[n](value) for n, value in training.items()}


def _names(inverter: Any) -> list[str] | None:
    names = getattr(inverter, "feature_names_in_", None)
    return None if names is None else [str(name) for name in names]


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
