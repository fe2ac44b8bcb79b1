"""CPU seconds of the epochs of a training."""

import time

from skorch.callbacks import Callback


class Clock(Callback):
    """When each epoch began and ended, in CPU seconds."""

    def __init__(self):
        self.begun, self.ended = [], []

    def on_epoch_begin(self, net, **kwargs):
        self.begun.append(time.process_time())

    def on_epoch_end(self, net, **kwargs):
        self.ended.append(time.process_time())
        loss = net.history[-1, "train_loss"]
        seconds = self.ended[-1] - self.begun[-1]
        print(f"epoch {len(net.history)}: loss {loss:.4f}, {seconds:.1f} CPU s", flush=True)

    @property
    def seconds(self):
        """Seconds of all epochs, without what comes between them."""
        return sum(self.ended) - sum(self.begun)
