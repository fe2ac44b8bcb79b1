"""What of generators is kept in files."""

from __future__ import annotations

from math import prod
from typing import Any, ClassVar

from sklearn.base import BaseEstimator

from skgrav._files import SavedMixin
from skgrav.networks import check_weights, put_weights, weights_of
from skgrav.training import Trainer


class SavedGenerator(SavedMixin, BaseEstimator):
    """Part of a generator that deals with its file; the parameters are those of the generator."""

    _file_forms: ClassVar[dict[str, str]] = {
        "n_features_in_": "int",
        "feature_names_in_": "names?",
        "n_components_": "int",
        "density_range_": "pair",
        "loss_curve_": "floats",
        "validation_loss_curve_": "floats",
        "n_epochs_": "int",
        "shape_": "shape",
        "network": "weights",
    }
    _file_left_out: ClassVar = {"net_"}

    net_: Any
    architecture: Any
    device: Any
    n_components_: int
    n_features_in_: int
    _defaults: dict[str, Any]
    _make_net: Any

    def _decoding(self, module: Any) -> Any:
        """Leave of a module what decodes and encodes."""
        return module

    def _file_parameters(self) -> dict[str, Any]:
        parameters = {name: getattr(self, name) for name in self._get_param_names()}
        if hasattr(self, "net_"):  # that of the network, whatever it is now
            paper = self.net_.module.keywords["paper"]
            parameters["architecture"] = "paper" if paper else "default"
        return parameters

    def _file_state(self) -> dict[str, Any]:
        shape, _ = self.net_.module.args
        return vars(self) | {"shape_": shape, "network": weights_of(self.net_.module_)}

    def _restore(self, state: dict[str, Any]) -> None:
        shape, weights = state.pop("shape_"), state.pop("network")
        self.__dict__.update(state)
        if prod(shape) != self.n_features_in_:
            raise ValueError(f"its sections of {shape} have no {self.n_features_in_} cells")
        sizes = self._defaults[self.architecture]._replace(n_components=self.n_components_)
        trainer = Trainer(self, seed=0, resumable=False)
        net = self._make_net(trainer, shape, sizes)
        check_weights(lambda: self._decoding(net.module()), weights)
        trainer.initialize(net)
        put_weights(self._decoding(net.module_), weights)
        net.optimizer_ = None  # as after unpickling: it holds what does not decode
        self.net_ = net
