"""Lock for torch's settings that all threads of a process share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock


class Guard:
    """Reentrant lock, renewed in a forked process.

    There the thread that may have locked it in the parent does not exist, so the inherited lock
    would never be released.
    """

    def __init__(self) -> None:
        self._lock, self._process = RLock(), os.getpid()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        if self._process != os.getpid():
            self._lock, self._process = RLock(), os.getpid()
        with self._lock:
            yield
