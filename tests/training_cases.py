"""What tests of training share: callbacks that watch or disturb it, and the weights it leaves."""

import copy

import torch
from skorch.callbacks import Callback


class Observer(Callback):
    """Notes batches, learning rates, and weights and denormals after each epoch."""

    def initialize(self):
        if not hasattr(self, "rates_"):
            self.rates_, self.batch_sizes_, self.states_, self.flushed_ = [], [], [], []
        return self

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        if training:
            self.batch_sizes_.append(len(batch[0]))

    def on_batch_end(self, net, training=False, **kwargs):
        if training:
            self.rates_.append(net.optimizer_.param_groups[0]["lr"])

    def on_epoch_end(self, net, **kwargs):
        self.states_.append(copy.deepcopy(net.module_.state_dict()))
        self.flushed_.append(denormals_are_flushed())


class Interrupt(Callback):
    """Press Ctrl-C in some epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_batch_end(self, net, training=False, **kwargs):
        if training and len(net.history) == self.epoch:
            raise KeyboardInterrupt


class Spoil(Callback):
    """Spoil the weights before some epoch, so that its loss is surely not the best."""

    def __init__(self, epoch, factor=100.0):
        self.epoch, self.factor = epoch, factor

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == self.epoch:
            with torch.no_grad():
                for weights in net.module_.parameters():
                    weights.mul_(self.factor)


def denormals_are_flushed():
    return bool(torch.tensor(1e-40).mul(1.0) == 0)


def weights(estimator):
    """Give copies of what was trained."""
    return [w.detach().numpy().copy() for w in estimator.net_.module_.parameters()]


def same_weights(one, other):
    one, other = (estimator.net_.module_.state_dict() for estimator in (one, other))
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
