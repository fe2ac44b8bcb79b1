"""The skorch net that is trained: its steps, its loop over epochs and its pickle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from skorch import NeuralNetRegressor

from skgrav.networks import own_settings, with_own_settings
from skgrav.solvers import Guard

#: What ends a training before its last epoch.
Reason = Literal["patience", "callback", "pairs", "interrupt"]

#: Torch has one random generator for all threads, and so one of them trains at a time.
one_generator = Guard()


@dataclass
class TrainingRun:
    """What one call of `TrainingNet.run` is to do.

    Parameters
    ----------
    n_epochs : int
        Epochs of this training, with those that a checkpoint has behind it.
    cycle_start, cycle_length : int
        First epoch of the schedule of learning rates, as counted in the history, and its length.
    later_pairs : iterator of encoded pairs, default=None
        The pairs of each epoch after the first; None trains on the same ones again.
    n_resumed : int, default=0
        Epochs of this training that another process has done.
    """

    n_epochs: int
    cycle_start: int
    cycle_length: int
    later_pairs: Any = None
    n_resumed: int = 0


class TrainingNet(NeuralNetRegressor):
    """Skorch net that augments batches, renews its pairs and ends when a callback stops it.

    Parameters
    ----------
    *args, **kwargs : Any
        Parameters of skorch's NeuralNetRegressor.
    augment : callable or None, default=None
        Function of a batch ``(X, y)`` of tensors on the device that returns the batch to train
        on, called anew at each step. Where it has an attribute `always`, validation needs it, too.
    precision : {"float32", "bfloat16"}, default="float32"
        Numbers in which the network computes while it trains.

    Attributes
    ----------
    run_ : TrainingRun
        The training in progress.
    stopped_by_ : str or None
        Why the last training ended before its last epoch.
    """

    stopped_by_: Reason | None

    def __init__(
        self, *args: Any, augment: Any = None, precision: str = "float32", **kwargs: Any
    ) -> None:
        self.augment = augment
        self.precision = precision
        super().__init__(*args, **kwargs)

    def run(self, X: Any, y: Any, run: TrainingRun) -> None:
        """Train on encoded pairs; those of an interrupted epoch count as not seen."""
        self.run_ = run
        try:
            self.partial_fit(X, y)
        finally:
            del self.run_  # it may hold pairs, which no pickle is to take along

    def stop(self, reason: Reason) -> None:
        """End the training after the epoch in progress; for callbacks."""
        self.stopped_by_ = reason

    def fit_loop(self, X: Any, y: Any = None, epochs: int | None = None, **fit_params: Any) -> Any:
        """Train epoch by epoch, until all are done or something stops it."""
        run, self.stopped_by_ = self.run_, None
        train, valid = self.get_split_datasets(X, y)
        batches = self.get_iterator(train, training=True)
        valid_batches = None if valid is None else self.get_iterator(valid, training=False)
        self.n_batches_ = len(batches)
        data = {"dataset_train": train, "dataset_valid": valid}
        try:
            with flushed_denormals():
                for epoch in range(run.n_resumed, run.n_epochs):
                    if epoch and run.later_pairs is not None:
                        pairs = next(run.later_pairs, None)
                        if pairs is None:
                            self.stop("pairs")
                            break
                        batches.renew(*pairs)
                    self.notify("on_epoch_begin", **data)
                    self.run_single_epoch(batches, True, "train", self.train_step)
                    self.run_single_epoch(valid_batches, False, "valid", self.validation_step)
                    self.notify("on_epoch_end", **data)
                    if self.stopped_by_ is not None:
                        break
        except KeyboardInterrupt:
            self.stop("interrupt")
        except FloatingPointError:
            self.history.pop()
            raise
        finally:
            if self.history and "train_loss" not in self.history[-1]:  # it was not finished
                self.history.pop()
        return self

    @property
    def progress(self) -> float:
        """Share of the steps of the schedule that are done."""
        run = self.run_
        n_steps = len(self.history[-1]["batches"]) - 1
        n_epochs = len(self.history) - 1 - run.cycle_start + n_steps / self.n_batches_
        return min(1.0, n_epochs / run.cycle_length)

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

    @with_own_settings
    def predict(self, X: Any) -> Any:
        """Return what the network makes of encoded data."""
        return super().predict(X)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the optimiser, three times the size of the weights; training renews it."""
        bare = object.__new__(type(self))
        renewed: dict[str, Any] = {"optimizer_": None, "callbacks_": []}
        bare.__dict__.update(self.__dict__ | {k: v for k, v in renewed.items() if k in vars(self)})
        return super(TrainingNet, bare).__getstate__()

    @with_own_settings
    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)

    def renew(self) -> None:
        """Make optimiser and callbacks again after unpickling."""
        if self.initialized_ and self.optimizer_ is None:
            self.initialize_callbacks()
            self._initialize_optimizer(reason="Continuing training of an unpickled net.")


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
    with own_settings(), one_generator(), torch.random.fork_rng(devices=range(n_devices)):
        torch.manual_seed(seed)
        yield
