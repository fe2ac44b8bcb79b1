"""The net of a CNNInverter: how it is composed, trained, renewed and filled."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import GradientNormClipping

from skgrav._checks import check_range, real_array, validate_data
from skgrav.inverters._drawn import DrawnPairs, LaterPairs
from skgrav.inverters._noise import relative_noise
from skgrav.inverters._pairs import ScaledPairs, WhitenedPairs, row_weights
from skgrav.inverters._rows import Rows
from skgrav.networks._augmentation import Mirror
from skgrav.networks._checkpoint import Checkpoint
from skgrav.networks._paper import PaperCNN
from skgrav.networks._progress import EpochBar, LongTraining
from skgrav.networks._residual import RelativeLoss
from skgrav.networks._training import (
    BatchIterator,
    DensityLoss,
    ExponentialDecay,
    HoldOut,
    KeepBest,
    OneCycle,
    TrainingNet,
    finished_epochs,
    resolve_device,
    seeded,
)
from skgrav.networks._weights import put_weights
from skgrav.operators import BaseOperator, ForwardOperator, MatrixOperator, resolve_operator

#: Numbers of any kind: what is computed from them is float64.
Numbers = NDArray[Any]

#: Pairs that tell the physics.
_N_TELLING = 6000

#: Learning rate after 100 epochs relative to the first, as the paper's.
_DECAY = 0.8

NO_MIRROR = (
    "augment='mirror' needs 'operator', a ForwardOperator with mesh and survey: {n_data} data and "
    "{n_cells} cells are not the paper's geometry."
)


#: Parameters that a warm start must not change.
_FIXED = ("architecture", "operator", "n_components", "data_consistency", "augment")

#: Parameters of the fit that made the weights, which files keep as they were then.
_MADE_WITH = (*_FIXED, "noise_level", "precision")


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


class NetTraining(LongTraining, BaseEstimator):
    """Part of a CNNInverter that deals with its net; the parameters are those of the inverter."""

    _pairs: ScaledPairs | WhitenedPairs
    _seed: int
    _n_components: int
    #: Parameters that the net was made with.
    _made_with: dict[str, Any]
    _y_ndim: int
    _sigma: float | None
    net_: TrainingNet
    operator_: BaseOperator
    n_outputs_: int
    n_epochs_: int
    density_range_: tuple[float, float]

    def _train(
        self, X: Any, y: Any, n_epochs: int, *, fresh: bool, resumable: bool = False
    ) -> Self:
        self._validate_params()
        fresh = fresh or not hasattr(self, "net_")
        seed = self._draw_seed() if fresh else self._seed
        checkpoint = self._open_checkpoint(seed, fresh=fresh) if resumable else None
        self._seed = seed if checkpoint is None else checkpoint.seed
        chunks: DrawnPairs | None = None
        if y is None and (callable(X) or hasattr(X, "__next__")):
            chunks = DrawnPairs(X, self._seed + (0 if fresh else self.n_epochs_))
            X, y = next(chunks, (None, None))
            if X is None:
                raise ValueError("'X' is an iterator without a pair left; make it anew.")
        X, y = self._checked(X, y, reset=fresh)
        if checkpoint is not None:
            checkpoint.check_data(X=X, y=y)
        if fresh:
            self._prepare(X, y)
        later = None if chunks is None else LaterPairs(chunks, self._encoded_later, self)
        encoded = self._encoded(X, y)
        del X, y  # no pair that was drawn stays beside the next
        self._run(*encoded, n_epochs, later, checkpoint)
        return self

    def _checked(self, X: Any, y: Any, *, reset: bool) -> tuple[Numbers, Numbers]:
        """Return valid pairs as two matrices, whose sizes are those of the first if not `reset`.

        They are no copies of float arrays, so that those on disk stay there.
        """
        X, y = validate_data(self, X, y, reset=reset, dtype=(np.float64, np.float32))
        if not reset and y.size // len(y) != self.n_outputs_:
            raise ValueError(
                f"'y' has {y.size // len(y)} cells, but the network was trained for "
                f"{self.n_outputs_}; fit anew with warm_start=False."
            )
        self._y_ndim = y.ndim
        return X, y.reshape(len(y), -1)

    def _encoded(self, X: Numbers, y: Numbers) -> tuple[Any, Any]:
        """Return pairs as the network sees them, after a look at their range."""
        low, high = self.density_range_
        if self.density_range is None and isinstance(self._pairs, WhitenedPairs):
            self.density_range_ = min(low, float(y.min())), max(high, float(y.max()))
        elif y.min() < low or y.max() > high:
            warnings.warn(
                f"'y' ranges from {y.min():g} to {y.max():g}, beyond density_range=({low:g}, "
                f"{high:g}), which the network cannot leave. Give a wider 'density_range'.",
                stacklevel=4,
            )
        return self._pairs.encode(X, y)

    def _encoded_later(self, X: Any, y: Any) -> tuple[Any, Any]:
        return self._encoded(*self._checked(X, y, reset=False))

    def _prepare(self, X: Numbers, y: Numbers) -> None:
        """Fix everything that training must not change: scales, ranges and net."""
        self._check_noise_level()
        density_range = float(y.min()), float(y.max())
        if self.density_range is not None:
            density_range = check_range(self.density_range, "density_range")
        pairs: ScaledPairs | WhitenedPairs
        if self.architecture == "residual":
            pairs = self._whitened(X, y)
        else:
            self._n_components, operator = self._geometry(X.shape[1], y.shape[1])
            mirror = None
            if self.augment == "mirror" and operator is not None:
                mirror = Mirror.of(operator.mesh_, operator.survey_)
            pairs = ScaledPairs.of(X, density_range, mirror)
        # A fit that fails before leaves what was fitted whole.
        self._pairs, self.density_range_, self.n_outputs_ = pairs, density_range, y.shape[1]
        self.net_ = self._make_net()
        self._take_history()

    def _whitened(self, X: Numbers, y: Numbers) -> WhitenedPairs:
        """Check the physics and learn the frame of the residual network."""
        # Only an operator that is learned from the pairs may need them all.
        learned = isinstance(self.operator, MatrixOperator) and self.operator.matrix is None
        n_telling = len(y) if learned else min(len(y), _N_TELLING)
        telling = np.linspace(0, len(y) - 1, n_telling).astype(int)
        g, rho = Rows(X)[telling], Rows(y)[telling]
        known = relative_noise(self.operator, g, None)  # 'noise_level' is what training adds
        # The frame knows offsets: a TransformedTargetRegressor may have standardised y.
        self.operator_ = resolve_operator(self.operator, rho, g, noise_level=known, offset=True)
        del g, rho
        rows, self._sigma = row_weights(self.operator_, X.shape[1])
        mirror = None
        if self.augment == "mirror":
            if not isinstance(self.operator_, ForwardOperator):
                raise ValueError(NO_MIRROR.format(n_data=X.shape[1], n_cells=y.shape[1]))
            mirror = Mirror.of(self.operator_.mesh_, self.operator_.survey_)
        return WhitenedPairs.of(
            X,
            y,
            self.operator_,
            rows=rows,
            mirror=mirror,
            whole=self.data_consistency,
            n_components=self.n_components,
            seed=self._seed,
        )

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
        for name in _FIXED:
            value, fitted = getattr(self, name), self._made_with[name]
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
        put_weights(self.net_.module_, weights)

    def _make_net(self) -> TrainingNet:
        """Compose the skorch net; its weights are drawn when training starts."""
        self._made_with = {name: getattr(self, name) for name in _MADE_WITH}
        device, pairs = resolve_device(self.device), self._pairs
        schedule: list[Any] = [("decay", ExponentialDecay(_DECAY))]
        clip: list[Any] = []
        settings: dict[str, Any] = {"criterion": DensityLoss, "optimizer__eps": 1e-7}
        if isinstance(pairs, WhitenedPairs):
            module = pairs.network()
            schedule, clip = [("one_cycle", OneCycle())], [("clip", GradientNormClipping(1.0))]
            settings = {"criterion": RelativeLoss, "optimizer__betas": (0.9, 0.99)}
        else:
            architecture: Any = PaperCNN if self.architecture == "paper" else self.architecture
            sizes = self.n_features_in_, self.n_outputs_, self._n_components
            module = partial(architecture, *sizes)
        # What is clipped is the gradient that callbacks leave.
        callbacks = [*schedule, *(self.callbacks or []), *clip]
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

    def _run(
        self,
        X: Any,
        y: Any,
        n_epochs: int,
        chunks: Iterator[Any] | None,
        checkpoint: Checkpoint | None,
    ) -> None:
        """Train for some epochs with a seed that follows from those before."""
        net, done = self.net_, self.n_epochs_
        had_weights = net.initialized_
        length = self._settings("max_epochs")
        # Single epochs go through a cycle together, and through the next when it is over.
        cycle = (done if n_epochs == length else done // length * length, length)
        try:
            seed = self._seed + done
            self._train_net(net, X, y, n_epochs, seed, cycle, chunks, checkpoint)
        except FloatingPointError:
            if not (had_weights or net.history):  # there are no good weights yet
                del self.net_
            raise
        finally:
            self._take_history(net.history)
        n_finished = self.n_epochs_ - done
        if net.interrupted_:
            warnings.warn(
                f"training was stopped by the user after {n_finished} of {n_epochs} "
                "epochs; the weights of the best of them are kept.",
                ConvergenceWarning,
                stacklevel=4,
            )
        elif net.ran_out_ and not self.early_stopping:
            warnings.warn(
                f"X held pairs for {n_finished} of {n_epochs} epochs, so that the learning rate "
                "ended high; set 'max_epochs' to the number of chunks.",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _take_history(self, history: Any = ()) -> None:
        """Tell of the epochs that were finished."""
        finished = finished_epochs(history)
        self.loss_curve_ = [epoch["train_loss"] for epoch in finished]
        self.validation_loss_curve_ = [e["valid_loss"] for e in finished if "valid_loss" in e]
        self.n_epochs_ = len(finished)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "net_")
