"""Independence of torch's global settings, which belong to the user.

These are the default dtype, the default device and the gradient mode; and in a forked process the
number of threads, since OpenMP's threads do not survive a fork and torch would wait for them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any, TypeVar

import torch

from skgrav.solvers import Guard

Function = TypeVar("Function", bound=Callable[..., Any])

#: The process that OpenMP's threads belong to.
_PROCESS = os.getpid()


class _ProcessSettings:
    """Settings that all threads share: the first thread changes them, the last restores them."""

    def __init__(self) -> None:
        self._guard, self._process = Guard(), _PROCESS
        self._n_inside, self._before = 0, (torch.float32, 1)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._guard():
            if self._process != os.getpid():  # forked: threads inside stayed behind
                self._process, self._n_inside = os.getpid(), 0
            if self._n_inside == 0:
                self._before = torch.get_default_dtype(), torch.get_num_threads()
            self._n_inside += 1
            if torch.get_default_dtype() != torch.float32:
                torch.set_default_dtype(torch.float32)
            if self._process != _PROCESS and self._before[1] > 1:
                torch.set_num_threads(1)
        try:
            yield
        finally:
            with self._guard():
                self._n_inside -= 1
                if self._n_inside == 0:
                    dtype, n_threads = self._before
                    if dtype != torch.float32:
                        torch.set_default_dtype(dtype)
                    if self._process != _PROCESS and n_threads > 1:
                        torch.set_num_threads(n_threads)


_process_settings = _ProcessSettings()


@contextmanager
def own_settings() -> Iterator[None]:
    """Use float32, the CPU and gradients by default, then restore the user's settings."""
    with ExitStack() as stack:
        stack.enter_context(_process_settings())
        # A default device makes torch slower, even if it is the CPU.
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        # Tensors made in inference mode cannot be trained later.
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        yield


def with_own_settings(function: Function) -> Function:
    """Run a function, such as a method of an estimator, within `own_settings`."""

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with own_settings():
            return function(*args, **kwargs)

    return wrapped  # type: ignore[return-value]


def resolve_device(device: str | torch.device) -> str:
    """Return a device that torch can use; for "auto" a GPU if there is one.

    Raises
    ------
    ValueError
        If torch does not know the device, or it is not available.
    """
    if isinstance(device, str) and device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.device(device)
        with own_settings():
            torch.zeros(1, device=found).cpu()  # fails for missing devices and "meta"
    except Exception as error:  # the class depends on the device
        available = ["auto", "cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        if torch.backends.mps.is_available():
            available.append("mps")
        raise ValueError(
            f"'device' is {str(device)!r}, which torch cannot use here; available are "
            f"{', '.join(map(repr, available))}."
        ) from error
    return str(found)


def has_bfloat16(device: str) -> bool:
    """Return whether a processor computes with bfloat16, as far as torch says."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    supports = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return kind != "cpu" or supports is None or bool(supports())
