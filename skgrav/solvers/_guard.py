"""One thread at a time through what torch shares among all threads of a process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock


class Guard:
    """Lock of one process, which a thread that holds it may take again.

    In a forked process it is a new lock: a thread of the parent that held the old one does not
    exist there and would never release it.
    """

    def __init__(self) -> None:
        self._lock, self._process = RLock(), os.getpid()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        if self._process != os.getpid():
            self._lock, self._process = RLock(), os.getpid()
        with self._lock:
            yield
