"""Checks of tensors that modules receive."""

from __future__ import annotations

from collections.abc import Container, Sequence
from numbers import Integral
from typing import Any

import torch


def check_sizes(
    sizes: Sequence[int],
    name: str,
    wanted: str = "positive integers, at least one",
    lengths: Container[int] = range(1, 1000),
) -> None:
    """Raise ValueError unless `sizes` are positive integers, and as many as one of `lengths`."""
    if len(sizes) not in lengths or not all(isinstance(n, Integral) and n > 0 for n in sizes):
        raise ValueError(f"'{name}' is {sizes!r}; it must be {wanted}.")


def check_tensor(values: Any, name: str, width: int, like: Any = None, ndim: int = 0) -> None:
    """Raise unless `values` are rows of real numbers, in the precision of the weights `like`.

    With `ndim` axes of images, the width is their number of channels. NaN is not checked, as this
    would synchronise a GPU at every step; it stays in its row.
    """
    axes = "".join(f", {axis}" for axis in ("ny", "nx")[2 - ndim :])
    wanted = f"a torch.Tensor of real numbers and of shape (n_samples, {width}{axes})"
    if not isinstance(values, torch.Tensor):
        raise TypeError(f"'{name}' is a {type(values).__name__}; it must be {wanted}.")
    if values.ndim != 2 + ndim or values.shape[1] != width or not values.numel():
        raise ValueError(
            f"'{name}' has shape {tuple(values.shape)}; it must be {wanted}, at least one."
        )
    if not values.is_floating_point():
        raise TypeError(f"'{name}' is {values.dtype}; it must be {wanted}.")
    if (
        like is not None
        and values.dtype != like.dtype
        and not torch.is_autocast_enabled(values.device.type)
    ):
        raise TypeError(
            f"'{name}' is {values.dtype}, but the module is {like.dtype}. Convert it with "
            f".to({like.dtype}), or the module with .to({values.dtype})."
        )
