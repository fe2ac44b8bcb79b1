"""Training of networks: batches, schedules, best weights, checkpoints, progress, fresh pairs."""

from skgrav.training._augmentation import (
    LEAST_NOISE,
    Augmentation,
    Mirror,
    check_turns,
    draw_levels,
)
from skgrav.training._batches import BatchIterator, HoldOut
from skgrav.training._callbacks import AverageWeights, ExponentialDecay, OneCycle
from skgrav.training._distributed import SharedTraining
from skgrav.training._fresh_pairs import EncodedPairs, FreshPairs
from skgrav.training._net import TrainingNet, flushed_denormals, seeded
from skgrav.training._trainer import Outcome, Trainer

__all__ = ["SharedTraining"]
