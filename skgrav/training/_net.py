"""The skorch net in training: its steps, its loop over epochs and its pickle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from skorch import NeuralNetRegressor

from skgrav.networks import own_settings, with_own_settings
from skgrav.solvers import Guard

#: Reasons to stop training before the last epoch.
Reason = Literal["patience", "callback", "pairs", "interrupt"]

#: Torch has one random generator for all threads, so only one of them may train at a time.
one_generator = Guard()


@dataclass
class TrainingRun:
    """Parameters of one call of `TrainingNet.run`."""

    #: Epochs of this training, including epochs before a checkpoint.
    n_epochs: int
    #: First epoch of the learning rate schedule, as in the history, and its length.
    cycle_start: int
    cycle_length: int
    #: Iterator of the encoded pairs of each epoch after the first; None repeats the first.
    later_pairs: Any = None
    #: Epochs of this training done by another process.
    n_resumed: int = 0


class TrainingNet(NeuralNetRegressor):
    """Skorch net that augments batches, renews its pairs and can be stopped by callbacks.

    Parameters
    ----------
    *args, **kwargs : Any
        Parameters of skorch's NeuralNetRegressor.
    augment : callable or None, default=None
        Function from a batch ``(X, y)`` of tensors on the device to the batch to train on,
        called at each step; in validation, too, if it has an attribute `always`.
    precision : {"float32", "bfloat16"}, default="float32"
        Precision of the network in training.

    Attributes
    ----------
    run_ : TrainingRun
        The training in progress.
    stopped_by_ : str or None
        Why the last training stopped early.
    """

    stopped_by_: Reason | None

    # Pickles of a training on a GPU load without one: skorch maps these attributes to the CPU.
    cuda_dependent_attributes_ = ["augment"]

    def __init__(
        self, *args: Any, augment: Any = None, precision: str = "float32", **kwargs: Any
    ) -> None:
        self.augment = augment
        self.precision = precision
        super().__init__(*args, **kwargs)

    def run(self, X: Any, y: Any, run: TrainingRun) -> None:
        """Train on encoded pairs; an interrupted epoch does not count."""
        self.run_ = run
        try:
            self.partial_fit(X, y)
        finally:
            del self.run_  # its pairs must not enter a pickle

    def stop(self, reason: Reason) -> None:
        """Stop training after the current epoch; for callbacks."""
        self.stopped_by_ = reason

    def fit_loop(self, X: Any, y: Any = None, epochs: int | None = None, **fit_params: Any) -> Any:
        """Train epoch by epoch until all are done or training is stopped."""
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
            if self.history and "train_loss" not in self.history[-1]:
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
            with seeded(0, self.device):  # the same noise in each epoch, to compare weights
                batch = self.augment(*(part.to(self.device) for part in batch))
        return super().validation_step(batch, **fit_params)

    def infer(self, x: Any, **fit_params: Any) -> Any:
        if self.precision == "float32" or not self.module_.training:
            return super().infer(x, **fit_params)
        with torch.autocast(torch.device(self.device).type, torch.bfloat16):
            found = super().infer(x, **fit_params)
        return tuple(part.float() for part in found) if isinstance(found, tuple) else found.float()

    @with_own_settings
    def predict(self, X: Any) -> Any:
        """Return the output of the network for encoded data."""
        return super().predict(X)

    @with_own_settings
    def mixtures(self, X: Any) -> list[Any]:
        """Return means and parameters of the distributions of all cells, (n_samples, n_cells)."""
        self.module_.eval()
        found = []
        with torch.inference_mode():
            for x, _ in self.get_iterator(self.get_dataset(X), training=False):
                of_batch = self.module_.mixtures(x.to(self.device))
                parts = of_batch.mean, *of_batch.parameters()
                found.append([values.double().cpu() for values in parts])
        return [torch.cat(parts).numpy() for parts in zip(*found, strict=True)]

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the optimiser, three times the size of the weights; see `renew`."""
        bare = object.__new__(type(self))
        renewed: dict[str, Any] = {"optimizer_": None, "callbacks_": []}
        bare.__dict__.update(self.__dict__ | {k: v for k, v in renewed.items() if k in vars(self)})
        return super(TrainingNet, bare).__getstate__()

    @with_own_settings
    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)

    def renew(self) -> None:
        """Restore optimiser and callbacks after unpickling."""
        if self.initialized_ and self.optimizer_ is None:
            self.initialize_callbacks()
            self._initialize_optimizer(reason="Continuing training of an unpickled net.")


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Treat denormal numbers as zero, as they make CPU epochs two to three times slower."""
    was_flushed = bool(torch.tensor(1e-40).mul(1.0) == 0)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(was_flushed)


@contextmanager
def seeded(seed: int, device: str) -> Iterator[None]:
    """Seed torch, then restore its state; other threads wait."""
    n_devices = torch.cuda.device_count() if torch.device(device).type == "cuda" else 0
    with own_settings(), one_generator(), torch.random.fork_rng(devices=range(n_devices)):
        set_seed(seed, device)
        yield


def set_seed(seed: int, device: str) -> None:
    """Seed torch on a device; GPUs keep their state if it is the CPU."""
    if torch.device(device).type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)
