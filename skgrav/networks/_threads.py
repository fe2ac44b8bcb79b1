"""What torch shares among the threads of a process, and what a fork makes of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import RLock

import torch


class Guard:
    """Lets one thread through at a time, the same one again and again."""

    def __init__(self) -> None:
        self._renew()
        # A thread that was inside when another forked never leaves in the child.
        _after_fork(self._renew)

    def _renew(self) -> None:
        self._lock = RLock()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            yield


def _after_fork(function: Callable[[], None]) -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)


def _one_thread() -> None:
    """Let torch work in one thread: those of OpenMP do not survive a fork, and are waited for."""
    if torch.get_num_threads() > 1:
        torch.set_num_threads(1)


_after_fork(_one_thread)

#: Torch has one random generator for all threads, and so one of them trains at a time.
one_generator = Guard()

#: Its forward derivatives count their levels for all threads together.
one_forward_derivative = Guard()
