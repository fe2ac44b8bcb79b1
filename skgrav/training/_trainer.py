"""Trainer of an estimator: composes its net, trains it, and resumes after an interruption."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sklearn.callback import with_callbacks
from sklearn.utils import check_random_state

from skgrav.networks import resolve_device
from skgrav.training._batches import BatchIterator
from skgrav.training._callbacks import EpochBar, EpochTasks, KeepBest
from skgrav.training._checkpoint import Checkpoint
from skgrav.training._net import Reason, TrainingNet, TrainingRun, seeded


@dataclass(frozen=True)
class Outcome:
    """Outcome of a training."""

    #: Epochs finished, including epochs before a checkpoint.
    n_epochs: int
    #: Reason to stop before the last epoch.
    stopped_by: Reason | None


class Trainer:
    """Trains the net of an estimator: batches, best weights, early stopping, checkpoint, progress.

    Parameters
    ----------
    estimator : CallbackSupportMixin
        The estimator, with the parameters `random_state`, `device`, `verbose`, `early_stopping`,
        `n_iter_no_change` and `checkpoint`.
    seed : int, default=None
        Seed of the training to continue; None begins one, with a seed from `random_state`.
    resumable : bool, default=True
        Whether to use `checkpoint`.

    Attributes
    ----------
    seed : int
        Seed of the training, from the checkpoint if `random_state` is None.
    device : str
        Device of the net.

    Raises
    ------
    ValueError
        If torch cannot use the device, or the checkpoint belongs to another training.
    OSError
        If `checkpoint` is not writable.
    """

    def __init__(self, estimator: Any, *, seed: int | None = None, resumable: bool = True) -> None:
        self.estimator = estimator
        self.device = resolve_device(estimator.device)
        self.seed = draw_seed(estimator.random_state) if seed is None else seed
        self._checkpoint: Checkpoint | None = None
        if resumable and estimator.checkpoint is not None:
            self._checkpoint = Checkpoint(estimator, self.seed, fresh=seed is None)
            self.seed = self._checkpoint.seed

    def check_data(self, **arrays: Any) -> None:
        """Raise ValueError if the checkpoint belongs to a training on other data."""
        if self._checkpoint is not None:
            self._checkpoint.check_data(**arrays)

    def compose(
        self,
        module: Callable[[], Any],
        *,
        callbacks: Sequence[Any],
        monitor: str | None,
        split: Any,
        kind: type[TrainingNet] = TrainingNet,
        **parameters: Any,
    ) -> TrainingNet:
        """Return a net of a class `kind`, not yet initialised, with further parameters of skorch.

        The `monitor` is the loss whose minimum is the best epoch, None the last epoch; `split`
        splits off a validation set, if the estimator stops early.
        """
        estimator, callbacks = self.estimator, list(callbacks)
        if estimator.verbose:
            callbacks.append(("bar", EpochBar()))
        patience = estimator.n_iter_no_change if estimator.early_stopping else None
        callbacks.append(("keep_best", KeepBest(monitor, patience)))
        defaults: dict[str, Any] = {
            "optimizer__fused": True,
            "iterator_train": BatchIterator,
            "iterator_train__shuffle": True,
            "iterator_train__ahead": self.device != "cpu",
            "iterator_valid": BatchIterator,
            "iterator_valid__batch_size": 1024,
            "callbacks__print_log": None,
            "verbose": 0,
        }
        return kind(
            module,
            train_split=split if estimator.early_stopping else None,
            callbacks=callbacks,
            device=self.device,
            **defaults | parameters,
        )

    def initialize(self, net: TrainingNet) -> TrainingNet:
        """Draw the weights of a net from the seed."""
        with seeded(self.seed, net.device):
            net.initialize()
        return net

    def train(
        self,
        net: TrainingNet,
        X: Any,
        y: Any,
        n_epochs: int,
        *,
        seed: int,
        cycle: tuple[int, int] | None = None,
        later_pairs: Iterator[tuple[Any, Any]] | None = None,
    ) -> Outcome:
        """Train for some epochs, less those before the checkpoint.

        The final weights are of the last epoch, or of the best one if training was interrupted
        or the estimator stops early. A loss that is not finite raises FloatingPointError and
        restores the best weights, before the first epoch the initial ones.

        Parameters
        ----------
        net : TrainingNet
            The net, which is initialised if necessary.
        X, y : ndarray
            Encoded pairs; `later_pairs` yields those of the epochs after the first.
        n_epochs : int
            Epochs of this training.
        seed : int
            Seed of weights, order of samples, dropout and noise.
        cycle : tuple of two int, default=None
            First epoch of the learning rate schedule and its length; None takes this training.

        Raises
        ------
        KeyboardInterrupt
            If the user stopped a training that has a checkpoint to resume from.
        """
        checkpoint = self._checkpoint
        train = with_callbacks(
            lambda estimator: self._train(net, X, y, n_epochs, seed, cycle, later_pairs)
        )
        try:
            outcome = train(self.estimator)
        except FloatingPointError:
            if checkpoint is not None:  # resuming from it would fail again
                checkpoint.remove()
            raise
        if checkpoint is not None:
            if outcome.stopped_by == "interrupt":
                raise KeyboardInterrupt(
                    "training was stopped by the user; the same fit resumes from "
                    f"{checkpoint.path}."
                )
            checkpoint.remove()
        return outcome

    def _train(
        self,
        net: TrainingNet,
        X: Any,
        y: Any,
        n_epochs: int,
        seed: int,
        cycle: tuple[int, int] | None,
        later_pairs: Iterator[tuple[Any, Any]] | None,
    ) -> Outcome:
        with seeded(seed, net.device):
            if not net.initialized_:
                net.initialize()
            net.renew()
            n_before = len(net.history)
            run = TrainingRun(n_epochs, *(cycle or (n_before, n_epochs)), later_pairs)
            own = net.callbacks_
            keep_best: KeepBest = dict(own)["keep_best"]
            net.callbacks_ = [*own, ("tasks", EpochTasks(self.estimator))]
            if self._checkpoint is not None:
                run.n_resumed = self._checkpoint.resume(net, X, y)
                net.callbacks_.append(("checkpoint", self._checkpoint))
            try:
                net.run(X, y, run)
            except FloatingPointError:
                keep_best.restore(net)
                raise
            finally:
                net.callbacks_ = own
            if net.stopped_by_ == "interrupt" or keep_best.patience is not None:
                keep_best.restore(net)
            keep_best.forget()
            net.module_.eval()
        return Outcome(len(net.history) - n_before, net.stopped_by_)


def draw_seed(random_state: Any) -> int:
    """Return the seed of a training."""
    return int(check_random_state(random_state).randint(2**31 - 1))
