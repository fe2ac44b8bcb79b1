"""Callbacks of training: learning rates, best weights and progress."""

from __future__ import annotations

import copy
import math
from typing import Any

from skorch import NeuralNetRegressor
from skorch.callbacks import Callback

from skgrav.networks import AveragedWeights

#: Share of the steps in which the rate of `OneCycle` rises.
_WARM_UP = 0.05


class ExponentialDecay(Callback):
    """Learning rate that decays with the epochs of all calls, by a factor in each hundred.

    It has no state, unlike torch's schedulers, which fail without their optimiser.
    """

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def on_epoch_begin(self, net: NeuralNetRegressor, **kwargs: Any) -> None:
        rate = net.lr * self.factor ** ((len(net.history) - 1) / 100)
        for group in net.optimizer_.param_groups:
            group["lr"] = rate
        net.history.record("lr", rate)


class OneCycle(Callback):
    """Learning rate that rises at first and then falls as a cosine."""

    def on_batch_begin(self, net: NeuralNetRegressor, training: bool, **kwargs: Any) -> None:
        if not training:
            return
        done = net.progress
        share = min(1.0, (done + 0.01) / _WARM_UP) * (1.0 + math.cos(math.pi * done)) / 2.0
        for group in net.optimizer_.param_groups:
            group["lr"] = group.setdefault("top_lr", group["lr"]) * max(share, 1e-3)


class AverageWeights(Callback):
    """Update the parts of the network that average their weights, after each step."""

    def on_batch_end(self, net: NeuralNetRegressor, training: bool, **kwargs: Any) -> None:
        if training:
            for part in net.module_.modules():
                if isinstance(part, AveragedWeights):
                    part.update()


class KeepBest(Callback):
    """Keep the weights of the epoch with the lowest loss, at first the initial ones.

    The loss is the `monitor`, "train_loss" or "valid_loss"; None keeps the last epoch. Training
    stops after `patience` epochs without a lower loss. Batches are dropped from the history.
    """

    def __init__(self, monitor: str | None, patience: int | None = None) -> None:
        self.monitor = monitor
        self.patience = patience

    def on_train_begin(self, net: NeuralNetRegressor, **kwargs: Any) -> None:
        self.best_loss_, self.n_worse_ = math.inf, 0
        self.best_weights_ = copy.deepcopy(net.module_.state_dict())

    def on_epoch_end(self, net: NeuralNetRegressor, **kwargs: Any) -> None:
        name = self.monitor or "train_loss"
        loss = net.history[-1, name]
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"{name} became {loss} in epoch {len(net.history)}: lower 'learning_rate' "
                "or check X and y for extreme values."
            )
        self._check_weights(net)
        if loss < self.best_loss_ or self.monitor is None:
            self.best_loss_ = loss
            self.best_weights_ = copy.deepcopy(net.module_.state_dict())
            self.n_worse_ = 0
        else:
            self.n_worse_ += 1
        net.history[-1]["batches"] = []
        if self.n_worse_ == self.patience:
            net.stop("patience")

    def _check_weights(self, net: NeuralNetRegressor) -> None:
        """Raise FloatingPointError if the last steps of an epoch of finite loss overflowed."""
        weights = net.module_.state_dict().values()
        if not all(w.isfinite().all() for w in weights if w.is_floating_point()):
            raise FloatingPointError(
                f"weights became infinite in epoch {len(net.history)}: lower 'learning_rate' or "
                "'weight_decay', or check X and y for extreme values."
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the best loss and weights, and the epochs since."""
        names = ("best_loss_", "best_weights_", "n_worse_")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the state of another training."""
        for name, value in state.items():
            setattr(self, name, value)

    def restore(self, net: NeuralNetRegressor) -> None:
        """Load the best weights."""
        net.module_.load_state_dict(self.best_weights_)

    def forget(self) -> None:
        """Drop the weights, so that pickles do not contain them."""
        self.best_weights_ = None


class EpochBar(Callback):
    """Progress bar over epochs with the last losses."""

    def on_train_begin(self, net: NeuralNetRegressor, **kwargs: Any) -> None:
        from tqdm.auto import tqdm

        run = net.run_
        self.bar_ = tqdm(total=run.n_epochs, initial=run.n_resumed, unit="epoch", leave=True)

    def on_epoch_end(self, net: NeuralNetRegressor, **kwargs: Any) -> None:
        last = net.history[-1]
        losses = {k: f"{last[k]:.4g}" for k in ("train_loss", "valid_loss") if k in last}
        self.bar_.set_postfix(losses)
        self.bar_.update()

    def on_train_end(self, net: NeuralNetRegressor, **kwargs: Any) -> None:
        self.bar_.close()
        del self.bar_  # its lock cannot be pickled


class EpochTasks(Callback):
    """Report each epoch as a task of the fit to the scikit-learn callbacks of an estimator."""

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def on_train_begin(self, net: NeuralNetRegressor, **kwargs: Any) -> None:
        n_epochs = net.run_.n_epochs - net.run_.n_resumed
        self.fit_ = self.estimator._init_callback_context(max_subtasks=n_epochs)
        self.fit_.call_on_fit_task_begin(estimator=self.estimator)

    def on_epoch_begin(self, net: NeuralNetRegressor, **kwargs: Any) -> None:
        self.epoch_ = self.fit_.subcontext(task_name="epoch")
        self.epoch_.call_on_fit_task_begin(estimator=self.estimator)

    def on_epoch_end(self, net: NeuralNetRegressor, **kwargs: Any) -> None:
        if self.epoch_.call_on_fit_task_end(estimator=self.estimator):
            net.stop("callback")

    def on_train_end(self, net: NeuralNetRegressor, **kwargs: Any) -> None:
        self.fit_.call_on_fit_task_end(estimator=self.estimator)
