"""Batches of training pairs, and the split of a validation set."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch

from skgrav._typing import Indices

#: Batches that are read ahead.
_N_AHEAD = 3


class BatchIterator:
    """Batches sliced from arrays, without collating single samples.

    The dataset is skorch's or a torch Subset of it, of arrays or objects that return arrays for
    rows. They are looked up at each pass, as `renew` may replace them between epochs. A batch size
    of -1 takes all samples; `share` is the index of the share of each batch to take, and the number
    of shares, all of one size. Read `ahead`, the next batches are read in another thread while a
    GPU computes.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        shuffle: bool = False,
        share: Any = (0, 1),
        ahead: bool = False,
    ) -> None:
        indices = np.arange(len(dataset))
        data: Any = dataset
        while isinstance(data, torch.utils.data.Subset):
            indices, data = np.asarray(data.indices)[indices], data.dataset
        self.data, self.indices = data, indices
        self.batch_size = batch_size if batch_size > 0 else max(1, len(indices))
        self.shuffle, self.share, self.ahead = shuffle, share, ahead

    def __len__(self) -> int:
        return math.ceil(len(self.indices) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        order = self.indices
        if self.shuffle:
            order = order[torch.randperm(len(order)).numpy()]
        starts = range(0, len(order), self.batch_size)
        batches = (self._batch(order[start : start + self.batch_size]) for start in starts)
        yield from _read_ahead(batches) if self.ahead else batches

    def _batch(self, rows: Indices) -> tuple[torch.Tensor, torch.Tensor]:
        which, n_shares = self.share
        if n_shares > 1:
            rows = np.resize(rows, len(rows) + -len(rows) % n_shares)[which::n_shares]
        X, y = self.data.X, self.data.y
        of_data = torch.from_numpy(X[rows])
        return of_data, torch.zeros(len(rows)) if y is None else torch.from_numpy(y[rows])

    def renew(self, X: Any, y: Any) -> None:
        """Replace the pairs of the data set by as many others."""
        if len(X) != len(self.data):
            raise ValueError(
                f"'X' drew {len(X)} pairs after {len(self.data)}; draw as many in each epoch as "
                "in the first."
            )
        self.data.X, self.data.y = X, y


def _read_ahead(batches: Iterator[Any]) -> Iterator[Any]:
    """Yield batches that are read in another thread, some ahead."""
    with ThreadPoolExecutor(1) as thread:
        read = partial(next, batches, None)
        ahead = deque(thread.submit(read) for _ in range(_N_AHEAD))
        while (batch := ahead.popleft().result()) is not None:
            ahead.append(thread.submit(read))
            yield batch


class HoldOut:
    """Split that holds out a fraction of the sections together with their images.

    The data set has all first images, then all second.
    """

    def __init__(self, fraction: float, n_images: int, seed: int) -> None:
        self.fraction, self.n_images, self.seed = fraction, n_images, seed

    def __call__(self, dataset: Any, y: Any = None, **kwargs: Any) -> tuple[Any, Any]:
        n_sections = len(dataset) // self.n_images
        n_valid = math.ceil(self.fraction * n_sections)
        if not 0 < n_valid < n_sections:
            raise ValueError(
                f"'validation_fraction' is {self.fraction}, which leaves the training or the "
                f"validation set of {n_sections} sections empty; give more sections or set "
                "early_stopping=False."
            )
        order = np.random.RandomState(self.seed).permutation(n_sections)
        valid, rest = (
            np.concatenate([part + k * n_sections for k in range(self.n_images)])
            for part in (order[:n_valid], order[n_valid:])
        )
        subset = torch.utils.data.Subset
        return subset(dataset, rest.tolist()), subset(dataset, valid.tolist())
