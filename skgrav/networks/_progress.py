"""Long training of an estimator: its progress, its checkpoint and its end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.utils import check_random_state
from skorch import NeuralNetRegressor
from skorch.callbacks import Callback

from skgrav.networks._checkpoint import Checkpoint
from skgrav.networks._training import OutOfPatience, TrainingNet, train


class EpochBar(Callback):
    """Progress bar over epochs with the last losses."""

    def on_train_begin(self, net: NeuralNetRegressor, **kwargs: Any) -> None:
        from tqdm.auto import tqdm

        self.bar_ = tqdm(total=net.max_epochs, initial=net.n_resumed, unit="epoch", leave=True)

    def on_epoch_end(self, net: NeuralNetRegressor, **kwargs: Any) -> None:
        last = net.history[-1]
        losses = {k: f"{last[k]:.4g}" for k in ("train_loss", "valid_loss") if k in last}
        self.bar_.set_postfix(losses)
        self.bar_.update()

    def on_train_end(self, net: NeuralNetRegressor, **kwargs: Any) -> None:
        self.bar_.close()
        del self.bar_  # holds a lock, which no pickle takes


class EpochTasks(Callback):
    """Tells the scikit-learn callbacks of an estimator of each epoch, a task of its fit.

    Parameters
    ----------
    estimator : CallbackSupportMixin
        The estimator in training.
    """

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def on_train_begin(self, net: NeuralNetRegressor, **kwargs: Any) -> None:
        n_epochs = net.max_epochs - net.n_resumed
        self.fit_ = self.estimator._init_callback_context(max_subtasks=n_epochs)
        self.fit_.call_on_fit_task_begin(estimator=self.estimator)

    def on_epoch_begin(self, net: NeuralNetRegressor, **kwargs: Any) -> None:
        self.epoch_ = self.fit_.subcontext(task_name="epoch")
        self.epoch_.call_on_fit_task_begin(estimator=self.estimator)

    def on_epoch_end(self, net: NeuralNetRegressor, **kwargs: Any) -> None:
        if self.epoch_.call_on_fit_task_end(estimator=self.estimator):
            raise OutOfPatience

    def on_train_end(self, net: NeuralNetRegressor, **kwargs: Any) -> None:
        self.fit_.call_on_fit_task_end(estimator=self.estimator)


class LongTraining(CallbackSupportMixin):
    """Part of an estimator that trains a net, with its `checkpoint` and its callbacks."""

    checkpoint: str | os.PathLike[str] | None
    random_state: Any

    def _draw_seed(self) -> int:
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _open_checkpoint(self, seed: int, *, fresh: bool = True) -> Checkpoint | None:
        """Return the checkpoint, which may know another seed to go on with."""
        return None if self.checkpoint is None else Checkpoint(self, seed, fresh=fresh)

    @with_callbacks
    def _train_net(
        self,
        net: TrainingNet,
        X: Any,
        y: Any,
        n_epochs: int,
        seed: int,
        cycle: tuple[int, int] | None = None,
        chunks: Iterator[tuple[Any, Any]] | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> list[dict[str, Any]]:
        """Train as `train`, to the end of the checkpoint, too."""
        watchers = [("tasks", EpochTasks(self))]
        try:
            finished = train(net, X, y, n_epochs, seed, cycle, chunks, checkpoint, watchers)
        except FloatingPointError:
            if checkpoint is not None:  # going on from it would end here again
                checkpoint.remove()
            raise
        if checkpoint is None:
            return finished
        if net.interrupted_:
            raise KeyboardInterrupt(
                f"training was stopped by the user; the same fit goes on from {checkpoint.path}."
            )
        checkpoint.remove()
        return finished
