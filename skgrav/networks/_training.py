"""The training loop that inverters share: a skorch net with batches, noise and a memory."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from skorch import NeuralNetRegressor
from skorch.callbacks import Callback
from torch import nn

from skgrav.networks._threads import one_generator


class BatchIterator:
    """Batches cut whole out of arrays, without collating samples one by one.

    Arrays are looked up at each pass, since a data set may be renewed between epochs.

    Parameters
    ----------
    dataset : skorch Dataset or torch Subset of one
        Holder of `X` and `y`, arrays or what gives arrays of the rows it is asked for.
    batch_size : int
        Samples in a batch; -1 takes all at once.
    shuffle : bool, default=False
        Whether to draw a new order, from torch's generator, each time it is iterated.
    share : tuple of two int, default=(0, 1)
        Which share of each batch to cut out, and of how many; they are filled up to one size.
    """

    def __init__(
        self, dataset: Any, batch_size: int, shuffle: bool = False, share: Any = (0, 1)
    ) -> None:
        indices = np.arange(len(dataset))
        data: Any = dataset
        while isinstance(data, torch.utils.data.Subset):
            indices, data = np.asarray(data.indices)[indices], data.dataset
        self.data, self.indices = data, indices
        self.batch_size = batch_size if batch_size > 0 else max(1, len(indices))
        self.shuffle, self.share = shuffle, share

    def __len__(self) -> int:
        return math.ceil(len(self.indices) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        order = self.indices
        if self.shuffle:
            order = order[torch.randperm(len(order)).numpy()]
        which, n_shares = self.share
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            if n_shares > 1:
                rows = np.resize(rows, len(rows) + -len(rows) % n_shares)[which::n_shares]
            X, y = self.data.X, self.data.y
            X = torch.from_numpy(X[rows])
            y = torch.zeros(len(rows)) if y is None else torch.from_numpy(y[rows])
            yield X, y


class DensityLoss(nn.Module):
    """Mean squared error as if the density range were the paper's, 12 units wide."""

    def forward(self, predicted: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
        """Return ``144 mean((predicted - true)**2)`` of densities scaled to [0, 1]."""
        if predicted.shape != true.shape:
            raise ValueError(
                f"the network returned shape {tuple(predicted.shape)} for densities of shape "
                f"{tuple(true.shape)}; 'architecture' must end in one value per cell."
            )
        return 144.0 * nn.functional.mse_loss(predicted, true)


class ExponentialDecay(Callback):
    """Learning rate that shrinks smoothly, by a factor per 100 epochs counted over all calls.

    Without a state, unlike torch's schedulers, which hold the optimiser and fail without it.

    Parameters
    ----------
    factor : float
        Learning rate after 100 epochs relative to the first.
    """

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def on_epoch_begin(self, net: NeuralNetRegressor, **kwargs: Any) -> None:
        rate = net.lr * self.factor ** ((len(net.history) - 1) / 100)
        for group in net.optimizer_.param_groups:
            group["lr"] = rate
        net.history.record("lr", rate)


class OneCycle(Callback):
    """Learning rate that rises within the first twentieth of training and falls as a cosine.

    Parameters
    ----------
    warm_up : float, default=0.05
        Share of the steps in which the rate rises.
    """

    def __init__(self, warm_up: float = 0.05) -> None:
        self.warm_up = warm_up

    def on_batch_begin(self, net: NeuralNetRegressor, training: bool, **kwargs: Any) -> None:
        if not training:
            return
        done = net.progress
        share = min(1.0, (done + 0.01) / self.warm_up) * (1.0 + math.cos(math.pi * done)) / 2.0
        for group in net.optimizer_.param_groups:
            group["lr"] = group.setdefault("top_lr", group["lr"]) * max(share, 1e-3)


class OutOfPatience(KeyboardInterrupt):
    """Ends training as planned: skorch goes out of its loop for no other exception."""


class OutOfPairs(OutOfPatience):
    """Ends training because there is nothing left to train on."""


class KeepBest(Callback):
    """Remember the weights of the epoch with the lowest loss, and keep histories short.

    Parameters
    ----------
    monitor : str or None
        Loss that decides, "train_loss" or "valid_loss"; None takes the last epoch for the best.
    patience : int, default=None
        Epochs without a lower loss after which training ends; None goes on to the end.
    """

    #: Whether the weights that training starts from are worth keeping.
    going_on_ = False

    def __init__(self, monitor: str | None, patience: int | None = None) -> None:
        self.monitor = monitor
        self.patience = patience

    def on_train_begin(self, net: NeuralNetRegressor, **kwargs: Any) -> None:
        self.best_loss_, self.best_weights_, self.n_worse_ = math.inf, None, 0
        if self.going_on_:  # what was learned before must not be lost
            self.best_weights_ = copy.deepcopy(net.module_.state_dict())

    def on_epoch_end(self, net: NeuralNetRegressor, **kwargs: Any) -> None:
        name = self.monitor or "train_loss"
        loss = net.history[-1, name]
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"{name} became {loss} in epoch {len(net.history)}: lower 'learning_rate' "
                "or check X and y for extreme values."
            )
        if loss < self.best_loss_ or self.monitor is None:
            self.best_loss_ = loss
            self.best_weights_ = copy.deepcopy(net.module_.state_dict())
            self.n_worse_ = 0
        else:
            self.n_worse_ += 1
        net.history[-1]["batches"] = []
        if self.n_worse_ == self.patience:
            raise OutOfPatience

    def state_dict(self) -> dict[str, Any]:
        """Return what was remembered."""
        names = ("best_loss_", "best_weights_", "n_worse_")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Remember what another training remembered."""
        for name, value in state.items():
            setattr(self, name, value)

    def restore(self, net: NeuralNetRegressor) -> bool:
        """Load the best weights and forget them; return whether there were any."""
        found = self.best_weights_ is not None
        if found:
            net.module_.load_state_dict(self.best_weights_)
        self.forget()
        return found

    def forget(self) -> None:
        """Free the memory of the weights, which would ride along in pickles."""
        self.best_weights_ = None


class HoldOut:
    """Split that holds sections out together with their images.

    Parameters
    ----------
    fraction : float
        Share of the sections that is held out.
    n_images : int
        How often each section is there: all of them, then all images.
    seed : int
        Seed of the choice.
    """

    def __init__(self, fraction: float, n_images: int, seed: int) -> None:
        self.fraction, self.n_images, self.seed = fraction, n_images, seed

    def __call__(self, dataset: Any, y: Any = None, **kwargs: Any) -> tuple[Any, Any]:
        n_sections = len(dataset) // self.n_images
        n_valid = math.ceil(self.fraction * n_sections)
        if not 0 < n_valid < n_sections:
            raise ValueError(
                f"'validation_fraction' is {self.fraction}, which splits {n_sections} sections "
                "into nothing and all; give more sections or set early_stopping=False."
            )
        order = np.random.RandomState(self.seed).permutation(n_sections)
        valid, rest = (
            np.concatenate([part + k * n_sections for k in range(self.n_images)])
            for part in (order[:n_valid], order[n_valid:])
        )
        subset = torch.utils.data.Subset
        return subset(dataset, rest.tolist()), subset(dataset, valid.tolist())


class TrainingNet(NeuralNetRegressor):
    """Skorch net that augments batches and knows whether its training was interrupted.

    Parameters
    ----------
    *args, **kwargs : Any
        Parameters of skorch's NeuralNetRegressor.
    augment : callable or None, default=None
        Function of a batch ``(X, y)`` of tensors on the device that returns the batch to train
        on, called anew at each step. Where it has an attribute `always`, validation needs it, too.
    precision : {"float32", "bfloat16"}, default="float32"
        Numbers in which the network computes while it trains.
    """

    #: First epoch of the schedule, and its length.
    cycle = (0, 1)

    #: Pairs of the epochs after the first, if each trains on new ones.
    chunks: Any = None

    #: Epochs of this training that another process has done.
    n_resumed = 0

    def __init__(
        self, *args: Any, augment: Any = None, precision: str = "float32", **kwargs: Any
    ) -> None:
        self.augment = augment
        self.precision = precision
        super().__init__(*args, **kwargs)

    def train_step_single(self, batch: Any, **fit_params: Any) -> Any:
        if self.augment is not None:
            batch = self.augment(*(part.to(self.device) for part in batch))
        return super().train_step_single(batch, **fit_params)

    def validation_step(self, batch: Any, **fit_params: Any) -> Any:
        if hasattr(self.augment, "always"):
            with seeded(0, self.device):  # epochs are to differ in their weights, not their noise
                batch = self.augment(*(part.to(self.device) for part in batch))
        return super().validation_step(batch, **fit_params)

    def infer(self, x: Any, **fit_params: Any) -> Any:
        if self.precision == "float32" or not self.module_.training:
            return super().infer(x, **fit_params)
        with torch.autocast(torch.device(self.device).type, torch.bfloat16):
            return super().infer(x, **fit_params).float()

    @property
    def progress(self) -> float:
        """Share of the steps of the schedule that are done."""
        start, length = self.cycle
        n_done = len(self.history[-1]["batches"]) - 1
        return min(1.0, (len(self.history) - 1 - start + n_done / self.n_batches_) / length)

    def on_epoch_begin(self, net: NeuralNetRegressor, dataset_train: Any, **kwargs: Any) -> None:
        super().on_epoch_begin(net, dataset_train=dataset_train, **kwargs)
        if self.chunks is not None and len(self.history) > self.cycle[0] + 1:
            self._renew_pairs(dataset_train)
        self.n_batches_ = len(self.get_iterator(dataset_train, training=True))

    def _renew_pairs(self, dataset: Any) -> None:
        data = whole(dataset)
        try:
            X, y = next(self.chunks)
        except StopIteration:
            raise OutOfPairs from None
        if len(X) != len(data):
            raise ValueError(
                f"X drew {len(X)} pairs after chunks of {len(data)}; all must be of one size."
            )
        data.X, data.y = X, y

    def fit_loop(self, X: Any, y: Any = None, epochs: int | None = None, **fit_params: Any) -> Any:
        self.interrupted_ = self.ran_out_ = False
        epochs = self.max_epochs - self.n_resumed if epochs is None else epochs
        try:
            with flushed_denormals():
                return super().fit_loop(X, y, epochs=epochs, **fit_params)
        except KeyboardInterrupt as stop:  # skorch swallows it; the inverter tells
            self.interrupted_ = not isinstance(stop, OutOfPatience)
            self.ran_out_ = isinstance(stop, OutOfPairs)
            raise

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the optimiser, three times the size of the weights; training renews it."""
        bare = object.__new__(type(self))
        renewed: dict[str, Any] = {"optimizer_": None, "callbacks_": []}
        bare.__dict__.update(self.__dict__ | {k: v for k, v in renewed.items() if k in vars(self)})
        return super(TrainingNet, bare).__getstate__()

    def renew(self) -> None:
        """Make optimiser and callbacks again after unpickling."""
        if self.initialized_ and self.optimizer_ is None:
            self.initialize_callbacks()
            self._initialize_optimizer(reason="Continuing training of an unpickled net.")


def whole(dataset: Any) -> Any:
    """Return the data set that a subset, or a subset of one, is part of."""
    return whole(dataset.dataset) if isinstance(dataset, torch.utils.data.Subset) else dataset


def train(
    net: TrainingNet,
    X: Any,
    y: Any,
    n_epochs: int,
    seed: int,
    cycle: tuple[int, int] | None = None,
    chunks: Iterator[tuple[Any, Any]] | None = None,
    checkpoint: Any = None,
    watchers: Sequence[tuple[str, Callback]] = (),
) -> list[dict[str, Any]]:
    """Train for some epochs, and return the history of all that were finished.

    `cycle` tells the first epoch of the schedule of learning rates and its length, by default
    those of the call. `chunks` holds the pairs of the epochs after the first. A `checkpoint` keeps
    the state and goes on from what it found; `watchers` are callbacks of this training alone.

    The weights stay those of the last epoch, or of the best one if training was interrupted or
    ran out of patience. A loss that is not finite raises FloatingPointError and leaves the best
    weights there were. Those of a net that was initialised before the call are the first of them.
    """
    keep_best: KeepBest
    with seeded(seed, net.device):
        going_on = net.initialized_
        if not going_on:
            net.initialize()
        net.renew()
        keep_best = dict(net.callbacks_)["keep_best"]
        keep_best.going_on_ = going_on
        net.set_params(max_epochs=n_epochs)
        net.cycle = cycle or (len(net.history), n_epochs)
        net.chunks = chunks
        own = net.callbacks_
        net.callbacks_ = [*own, *watchers]
        if checkpoint is not None:
            net.n_resumed = checkpoint.resume(net, X, y)
            net.callbacks_.append(("checkpoint", checkpoint))
        try:
            net.partial_fit(X, y)
        except FloatingPointError:
            net.history.pop()
            keep_best.restore(net)
            raise
        finally:
            net.chunks, net.n_resumed, net.callbacks_ = None, 0, own
    if net.interrupted_ or keep_best.patience is not None:
        keep_best.restore(net)
    keep_best.forget()
    net.module_.eval()
    return finished_epochs(net.history)


def finished_epochs(history: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the epochs of a history that came to their end."""
    return [epoch for epoch in history if "train_loss" in epoch]


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Treat denormal numbers as zero meanwhile: they make CPU epochs two to three times slower."""
    was_flushed = bool(torch.tensor(1e-40).mul(1.0) == 0)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(was_flushed)


@contextmanager
def seeded(seed: int, device: str) -> Iterator[None]:
    """Seed torch meanwhile, and give it its own state back; other threads wait for that."""
    n_devices = 0 if device == "cpu" else torch.cuda.device_count()
    with one_generator(), torch.random.fork_rng(devices=range(n_devices)):
        torch.manual_seed(seed)
        yield


def resolve_device(device: str) -> str:
    """Return the device that "auto" stands for here: a GPU where there is one."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"
