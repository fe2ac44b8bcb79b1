"""Rows of training data, read in blocks or batches since they may exceed the memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skgrav._typing import Array, Array32, Indices

#: Rows in a block.
_BLOCK = 512


class Rows:
    """Rows of an array, read as `dtype`, followed by mirror images if `order` is given.

    A mirror image has the columns in this order, times `sign`. A memory-mapped array stays on disk.
    """

    ndim = 2

    def __init__(
        self,
        array: NDArray[Any],
        order: Indices | None = None,
        sign: Any = 1.0,
        dtype: type[np.floating[Any]] = np.float64,
    ) -> None:
        self.array, self.order, self.sign, self.dtype = array, order, sign, dtype

    def __len__(self) -> int:
        return len(self.array) * (1 if self.order is None else 2)

    def __getitem__(self, rows: Indices) -> Array:
        if self.order is None:
            return self.array[rows].astype(self.dtype, copy=False)
        found = self.array[rows % len(self.array)].astype(self.dtype, copy=False)
        images = rows >= len(self.array)
        found[images] = self._mirrored(found[images])
        return found

    def blocks(self) -> Iterator[tuple[slice, Array]]:
        """Yield slices of rows and these, which may be views that must not be changed."""
        n_rows = len(self.array)
        for start in range(0, n_rows, _BLOCK):
            block = self.array[start : start + _BLOCK].astype(self.dtype, copy=False)
            yield slice(start, start + len(block)), block
            if self.order is not None:
                image = start + n_rows
                yield slice(image, image + len(block)), self._mirrored(block)

    def mean(self) -> Array:
        """Return the mean row."""
        return sum(block.sum(axis=0) for _, block in self.blocks()) / len(self)

    def square(self, centre: Array | float = 0.0) -> Array:
        """Return the mean squared deviation of each column from a centre."""
        return sum(((block - centre) ** 2).sum(axis=0) for _, block in self.blocks()) / len(self)

    def _mirrored(self, block: Array) -> Array:
        return block[:, self.order] * self.sign


class Encoded:
    """Rows that `encode` computes from the rows of each of `parts` when a batch is read."""

    ndim = 2

    def __init__(self, encode: Callable[..., Array32], *parts: Any) -> None:
        self.encode, self.parts = encode, parts

    def __len__(self) -> int:
        return len(self.parts[0])

    def __getitem__(self, rows: Indices) -> Array32:
        return self.encode(*(part[rows] for part in self.parts))
