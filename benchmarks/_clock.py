"""Seconds of the epochs of a training."""

import time

import numpy as np
from skorch.callbacks import Callback

from skgrav.networks import has_bfloat16, resolve_device


class Clock(Callback):
    """When each epoch began and ended, in CPU seconds or those of another clock."""

    def __init__(self, clock=time.process_time):
        self.clock = clock
        self.begun, self.ended = [], []

    def on_epoch_begin(self, net, **kwargs):
        self.begun.append(self.clock())

    def on_epoch_end(self, net, **kwargs):
        self.ended.append(self.clock())
        loss = net.history[-1, "train_loss"]
        seconds = self.ended[-1] - self.begun[-1]
        print(f"epoch {len(net.history)}: loss {loss:.4f}, {seconds:.1f} s", flush=True)

    @property
    def seconds(self):
        """Seconds of all epochs, without what comes between them."""
        return sum(self.ended) - sum(self.begun)


def epochs_within(seconds, network, clock, X, y, n_timed):
    """Return how many epochs a network trains in some seconds, by those of a part of the pairs.

    The callback `clock` of the network measures them, after an epoch in which all is warmed up.
    """
    some = np.linspace(0, len(X) - 1, min(n_timed, len(X))).astype(int)
    start = clock.clock()
    network.set_params(max_epochs=2).fit(X[some], y[some])
    each = clock.ended[-1] - clock.begun[-1]
    before = clock.clock() - start - clock.seconds
    return max(1, int((seconds - before) * len(some) / len(X) / each))


def fast_precision(device="cpu"):
    """Return the precision of training that is fast on a device."""
    return "bfloat16" if has_bfloat16(resolve_device(device)) else "float32"
