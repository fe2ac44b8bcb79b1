"""The net of a CNNInverter: how it is composed, trained, renewed and filled."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import GradientNormClipping

from skgrav._checks import real_array
from skgrav.inverters._pairs import ScaledPairs, WhitenedPairs
from skgrav.networks._paper import PaperCNN
from skgrav.networks._residual import RelativeLoss
from skgrav.networks._training import (
    BatchIterator,
    DensityLoss,
    EpochBar,
    ExponentialDecay,
    HoldOut,
    KeepBest,
    OneCycle,
    TrainingNet,
    resolve_device,
    seeded,
    train,
)
from skgrav.operators._forward import ForwardOperator

#: Learning rate after 100 epochs relative to the first, as the paper's.
_DECAY = 0.8

NO_MIRROR = (
    "augment='mirror' needs 'operator', a ForwardOperator with mesh and survey: {n_data} data and "
    "{n_cells} cells are not the paper's geometry."
)


#: Parameters that a warm start must not change.
_FIXED = ("architecture", "operator", "n_components", "data_consistency", "augment")


@dataclass(frozen=True)
class Settings:
    """What an architecture takes where a parameter is None."""

    max_epochs: int
    batch_size: int
    weight_decay: float
    noise_level: tuple[float, float]


#: Settings of each architecture; callables are trained as the paper's.
SETTINGS = {
    "residual": Settings(50, 128, 1e-2, (0.0, 0.1)),
    "paper": Settings(100, 25, 1e-4, (0.0, 0.0)),
}


class NetTraining(BaseEstimator):
    """Part of a CNNInverter that deals with its net; the parameters are those of the inverter."""

    _pairs: ScaledPairs | WhitenedPairs
    _seed: int
    _n_components: int
    #: Parameters that the net was made with and must keep.
    _made_with: dict[str, Any]
    net_: TrainingNet
    n_epochs_: int
    density_range_: tuple[float, float]

    def _geometry(self, n_data: int, n_cells: int) -> tuple[int, ForwardOperator | None]:
        """Return the number of components and the operator that knows about symmetry."""
        operator = self.operator
        if operator is None and n_data**2 == 36 * n_cells:
            operator = ForwardOperator()
        if isinstance(operator, ForwardOperator):
            operator = clone(operator).fit(np.zeros((1, n_cells)))
            if operator.n_data_ != n_data:
                raise ValueError(
                    f"'operator' has {operator.n_data_} data, but X has {n_data} columns. Give the "
                    "operator of the survey that measured X."
                )
            return len(operator.survey_.components), operator
        if self.augment == "mirror":
            raise ValueError(NO_MIRROR.format(n_data=n_data, n_cells=n_cells))
        return 1, None

    def _settings(self, name: str) -> Any:
        """Return a parameter, or what the architecture takes where it is None."""
        value = getattr(self, name)
        if value is not None:
            return value
        architecture = self.architecture if isinstance(self.architecture, str) else "paper"
        return getattr(SETTINGS[architecture], name)

    def _check_noise_level(self) -> tuple[float, float]:
        """Return the bounds of the relative noise of training data."""
        noise_level = self._settings("noise_level")
        levels = real_array(noise_level, "noise_level")
        low, high = levels.min(initial=np.inf), levels.max(initial=0.0)
        if levels.shape not in ((), (2,)) or not 0 <= low <= high or levels.ravel()[0] > low:
            raise ValueError(
                f"'noise_level' is {noise_level}; it must be a number of at least 0 or an "
                "increasing pair of them."
            )
        return float(low), float(high)

    def _renew_net(self) -> None:
        """Put the weights and the history into a net with the training parameters of now."""
        self._validate_params()
        for name, fitted in self._made_with.items():
            value = getattr(self, name)
            if value is not fitted and value != fitted:
                raise ValueError(
                    f"'{name}' is now {value!r}, but the network was made with {fitted!r}; fit "
                    "anew with warm_start=False."
                )
        old, self.net_ = self.net_, self._make_net()
        with seeded(self._seed, self.net_.device):
            self.net_.initialize()
        self.net_.module_.load_state_dict(old.module_.state_dict())
        self.net_.history_ = old.history_

    def _take_weights(self, weights: dict[str, NDArray[Any]]) -> None:
        """Make the net with weights that were learned elsewhere."""
        self.net_ = self._make_net()
        with seeded(self._seed, self.net_.device):
            self.net_.initialize()
        module = self.net_.module_
        wanted = {name: tuple(values.shape) for name, values in module.state_dict().items()}
        found = {name: values.shape for name, values in weights.items()}
        wrong = sorted(n for n in wanted | found if wanted.get(n) != found.get(n))
        if wrong:
            raise ValueError(
                f"weights are missing, foreign or of another shape: {', '.join(wrong)}"
            )
        module.load_state_dict({name: torch.from_numpy(w) for name, w in weights.items()})
        module.eval()

    def _make_net(self) -> TrainingNet:
        """Compose the skorch net; its weights are drawn when training starts."""
        self._made_with = {name: getattr(self, name) for name in _FIXED}
        device, pairs = resolve_device(self.device), self._pairs
        schedule: list[Any] = [("decay", ExponentialDecay(_DECAY))]
        settings: dict[str, Any] = {"criterion": DensityLoss, "optimizer__eps": 1e-7}
        if isinstance(pairs, WhitenedPairs):
            module = pairs.network()
            schedule = [("one_cycle", OneCycle()), ("clip", GradientNormClipping(1.0))]
            settings = {"criterion": RelativeLoss, "optimizer__betas": (0.9, 0.99)}
        else:
            architecture: Any = PaperCNN if self.architecture == "paper" else self.architecture
            sizes = self.n_features_in_, self.n_outputs_, self._n_components
            module = partial(architecture, *sizes)
        callbacks = [*schedule, *(self.callbacks or [])]
        if self.verbose:
            callbacks.append(("bar", EpochBar()))
        monitor = "valid_loss" if self.early_stopping else "train_loss"
        patience = self.n_iter_no_change if self.early_stopping else None
        callbacks.append(("keep_best", KeepBest(monitor, patience)))
        n_images = 2 if isinstance(pairs, WhitenedPairs) and pairs.mirror is not None else 1
        split = HoldOut(self.validation_fraction, n_images, self._seed)
        return TrainingNet(
            module,
            optimizer=torch.optim.AdamW,
            optimizer__weight_decay=self._settings("weight_decay"),
            optimizer__fused=True,
            lr=self.learning_rate,
            batch_size=self._settings("batch_size"),
            iterator_train=BatchIterator,
            iterator_train__shuffle=True,
            iterator_valid=BatchIterator,
            iterator_valid__batch_size=1024,
            train_split=split if self.early_stopping else None,
            callbacks=callbacks,
            callbacks__print_log=None,
            augment=pairs.augmentation(self._check_noise_level(), device),
            precision=self.precision,
            device=device,
            verbose=0,
            **settings,
        )

    def _run(self, X: Any, y: Any, n_epochs: int, chunks: Iterator[Any] | None) -> None:
        """Train for some epochs with a seed that follows from those before."""
        net, done = self.net_, self.n_epochs_
        had_weights = net.initialized_
        length = self._settings("max_epochs")
        # Single epochs go through a cycle together, and through the next when it is over.
        cycle = (done if n_epochs == length else done // length * length, length)
        try:
            finished = train(net, X, y, n_epochs, self._seed + done, cycle, chunks)
        except FloatingPointError:
            if not (had_weights or net.history):  # there are no good weights yet
                del self.net_
            raise
        n_finished = len(finished) - done
        if net.interrupted_:
            warnings.warn(
                f"training was stopped by the user after {n_finished} of {n_epochs} "
                "epochs; the weights of the best of them are kept.",
                ConvergenceWarning,
                stacklevel=4,
            )
        elif n_finished < n_epochs and chunks is not None and not self.early_stopping:
            warnings.warn(
                f"X held pairs for {n_finished} of {n_epochs} epochs, so that the learning rate "
                "ended high; set 'max_epochs' to the number of chunks.",
                ConvergenceWarning,
                stacklevel=4,
            )
        self.loss_curve_ = [epoch["train_loss"] for epoch in finished]
        self.validation_loss_curve_ = [e["valid_loss"] for e in finished if "valid_loss" in e]
        self.n_epochs_ = len(finished)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "net_")
