"""Training shared by several processes, each with one GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from skorch import NeuralNetRegressor
from skorch.callbacks import Callback
from torch import distributed

from skgrav.training._net import set_seed


class SharedTraining(Callback):
    """Callback with which the processes of a torch process group train one network.

    Each process takes its share of every batch, and all step by the mean gradient, as in torch's
    DistributedDataParallel. All need the same pairs and the same integer `random_state`, and end
    with the same weights. Without a process group it does nothing.

    See Also
    --------
    CNNInverter : Takes it in its `callbacks`.

    Notes
    -----
    Batches that cannot be divided evenly are padded with their first samples. Noise and dropout
    differ between processes. Losses are means over processes, so that all stop in the same epoch.

    Examples
    --------
    A script for ``torchrun --nproc-per-node=4 script.py``, one process per GPU:

    >>> import os
    >>> from skgrav import CNNInverter, Mesh
    >>> from skgrav.datasets import make_gravity_dataset
    >>> from skgrav.training import SharedTraining
    >>> if "RANK" in os.environ:  # set by torchrun
    ...     torch.distributed.init_process_group()
    >>> device = f"cuda:{os.environ['LOCAL_RANK']}" if "RANK" in os.environ else "cpu"
    >>> data = make_gravity_dataset(n_samples=60, mesh=Mesh.square(8), random_state=0)
    >>> inverter = CNNInverter(
    ...     operator=data.operator,
    ...     max_epochs=2,
    ...     callbacks=[SharedTraining()],
    ...     device=device,
    ...     random_state=0,
    ... ).fit(data.data, data.target)
    """

    def on_train_begin(
        self, net: NeuralNetRegressor, X: Any = None, y: Any = None, **kwargs: Any
    ) -> None:
        """Check that all processes start equally, and set the share of the iterator.

        Parameters
        ----------
        net : NeuralNetRegressor
            The net in training.
        X, y : ndarray
            Encoded pairs.
        **kwargs : Any
            Ignored, for skorch's interface.
        """
        self.active_ = distributed.is_available() and distributed.is_initialized()
        if not self.active_:
            vars(net).pop("iterator_train__share", None)  # left by a training that failed
            return
        self.seed_ = torch.initial_seed() % 2**31
        self._check_alike(net, X, y)
        net.iterator_train__share = distributed.get_rank(), distributed.get_world_size()

    def on_epoch_begin(self, net: NeuralNetRegressor, **kwargs: Any) -> None:
        """Seed the order of samples, which all processes share.

        Parameters
        ----------
        net : NeuralNetRegressor
            The net in training.
        **kwargs : Any
            Ignored, for skorch's interface.
        """
        if self.active_:
            self.starts_epoch_ = True
            set_seed(self.seed_ + len(net.history), net.device)

    def on_batch_begin(self, net: NeuralNetRegressor, training: bool, **kwargs: Any) -> None:
        """Seed noise and dropout differently in each process, once the order is drawn.

        Parameters
        ----------
        net : NeuralNetRegressor
            The net in training.
        training : bool
            Whether the batch is for training.
        **kwargs : Any
            Ignored, for skorch's interface.
        """
        if self.active_ and training and self.starts_epoch_:
            self.starts_epoch_ = False
            share = 1 + distributed.get_rank()
            set_seed(self.seed_ + len(net.history) + 2**31 * share, net.device)

    def on_grad_computed(self, net: NeuralNetRegressor, **kwargs: Any) -> None:
        """Replace gradients by their means over processes.

        Parameters
        ----------
        net : NeuralNetRegressor
            The net in training.
        **kwargs : Any
            Ignored, for skorch's interface.
        """
        if self.active_:
            grads = [p.grad for p in net.module_.parameters() if p.grad is not None]
            flat = _mean(torch.cat([grad.ravel() for grad in grads]))
            for grad, mean in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
                grad.copy_(mean.view_as(grad))

    def on_epoch_end(self, net: NeuralNetRegressor, **kwargs: Any) -> None:
        """Replace losses by their means over processes.

        Parameters
        ----------
        net : NeuralNetRegressor
            The net in training.
        **kwargs : Any
            Ignored, for skorch's interface.
        """
        if self.active_:
            names = [name for name in ("train_loss", "valid_loss") if name in net.history[-1]]
            losses = torch.tensor([net.history[-1, name] for name in names], device=net.device)
            for name, mean in zip(names, _mean(losses).tolist(), strict=True):
                net.history.record(name, mean)

    def on_train_end(self, net: NeuralNetRegressor, **kwargs: Any) -> None:
        """Remove the share, so that the net works in a single process.

        Parameters
        ----------
        net : NeuralNetRegressor
            The net in training.
        **kwargs : Any
            Ignored, for skorch's interface.
        """
        if self.active_:
            del net.iterator_train__share

    def _check_alike(self, net: NeuralNetRegressor, X: Any, y: Any) -> None:
        """Raise ValueError if seeds, sizes, weights or pairs differ between processes."""
        weights = next(net.module_.parameters()).detach().cpu().numpy()
        parts = [[self.seed_, len(X)], weights, X[0], y[0], X[-1], y[-1]]
        own = np.concatenate([np.ravel(part) for part in parts])
        gathered: list[Any] = [None] * distributed.get_world_size()
        distributed.all_gather_object(gathered, own)
        # Rounding may differ between machines.
        if not all(g.shape == own.shape and np.allclose(g, own, rtol=1e-3) for g in gathered):
            raise ValueError(
                "SharedTraining: the processes start from different pairs or weights. Give all the "
                "same 'X' and 'y', and the same integer as 'random_state'."
            )


def _mean(values: torch.Tensor) -> torch.Tensor:
    """Return the mean over processes."""
    distributed.all_reduce(values)
    return values / distributed.get_world_size()
