"""What of a CNNInverter is kept in files, files of layout 1, and the pretrained network."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skgrav.geometry import Mesh, Survey
from skgrav.inverters._standardised import StandardisedEncoding
from skgrav.inverters._whitened import WhitenedEncoding
from skgrav.networks import check_weights
from skgrav.operators import BaseOperator, ForwardOperator, MatrixOperator
from skgrav.training import Mirror

_PRETRAINED = Path(__file__).parents[1] / "pretrained"

#: File of each pretrained network and its SHA-256; benchmarks/pretrain.py makes them.
PRETRAINED = {
    "paper": (
        "paper.safetensors",
        "3132409bdf113e2bdb7f938e60f63f903bab0a2cb5ed7bc448880b9cb58bca4e",
    )
}

#: Arrays of a frame in files of layout 1.
_FRAME = (
    "rows",
    "mean",
    "data_mean",
    "rotation",
    "variance",
    "components",
    "regression",
    "scale",
)

#: Parameters of the fit, which every file of layout 1 tells, and those that the first ones lack.
_FITTED = ("n_components", "augment", "precision", "data_consistency", "noise_level")
_TRAINING = ("learning_rate", "batch_size", "weight_decay", "max_epochs")


def fitted_parameters(inverter: Any) -> dict[str, Any]:
    """Return the parameters, but those that made the network as they were then."""
    parameters = {name: getattr(inverter, name) for name in inverter._get_param_names()}
    if not hasattr(inverter, "net_"):
        return parameters
    net = inverter.net_
    parameters |= inverter._made_with | {"precision": net.precision}
    trained = (0.0, 0.0) if net.augment is None else net.augment.noise_level
    if tuple(np.ravel(inverter._parameter("training_noise"))[[0, -1]]) != trained:
        parameters["training_noise"] = trained
    return parameters


def restore_network(inverter: Any, state: dict[str, Any]) -> None:
    """Give an inverter what its file holds, and make its network."""
    weights, encoding = state.pop("network"), state["_encoding"]
    sizes = inverter_sizes = state["n_features_in_"], state["n_outputs_"]
    vars(inverter).update(state)
    inverter.n_epochs_ = 0
    if not isinstance(encoding, inverter._encoding_class):
        name = type(encoding).__name__
        raise ValueError(f"its {name} is not that of {inverter.architecture!r}")
    if isinstance(encoding, StandardisedEncoding):
        sizes = len(encoding.mean), inverter.n_outputs_
        check_weights(encoding.network(inverter.architecture, inverter.n_outputs_), weights)
    else:
        sizes = len(encoding.data_weights), len(encoding.mean)
        if state["operator_"] is not encoding.operator:
            raise ValueError("its operators differ")
    if sizes != inverter_sizes:
        raise ValueError(f"its sizes are {inverter_sizes}, but {sizes} in its network")
    inverter._take_weights(weights)


def of_first_layout(
    cls: Any, header: dict[str, Any], tensors: dict[str, NDArray[Any]], device: str
) -> Any:
    """Return the inverter of a file of layout 1."""
    kept = header["parameters"]
    parameters = {name: kept[name] for name in _FITTED}
    parameters |= {name: kept[name] for name in _TRAINING if name in kept}
    parameters["training_noise"] = tuple(parameters.pop("noise_level"))
    operator = _operator(header["operator"], tensors)
    inverter = cls(operator=operator, device=device, **parameters)
    inverter.operator_ = fitted = operator.fit(np.zeros((1, len(tensors["frame.mean"]))))
    if header["operator"].get("held_out_error") is not None:
        fitted.held_out_error_ = header["operator"]["held_out_error"]
    frame: dict[str, Any] = {name: tensors[f"frame.{name}"].astype(np.float64) for name in _FRAME}
    mirror = Mirror.of(fitted.mesh_, fitted.survey_) if header["mirror"] else None
    inverter._encoding = WhitenedEncoding(
        operator=fitted,
        data_weights=frame.pop("rows"),
        data_rms=header["data_rms"],
        mirror=mirror,
        data_consistent=parameters["data_consistency"],
        survey_noise=header["sigma"],
        **frame,
    )
    inverter.density_range_ = tuple(header["density_range"])
    inverter.n_features_in_, inverter.n_outputs_ = len(frame["data_mean"]), len(frame["mean"])
    if header.get("feature_names") is not None:
        inverter.feature_names_in_ = np.array(header["feature_names"], dtype=object)
    inverter._y_ndim, inverter._seed = header["y_ndim"], 0
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
