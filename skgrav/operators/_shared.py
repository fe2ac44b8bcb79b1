"""What equal operators and inverters hold once: matrices, spectra, decompositions."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")

_results: weakref.WeakValueDictionary[Hashable, Any] = weakref.WeakValueDictionary()
_locks: weakref.WeakValueDictionary[Hashable, _Lock] = weakref.WeakValueDictionary()
_guard = threading.Lock()


class _Lock:
    """A lock that is forgotten when nobody waits for it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()


def shared(key: Hashable, build: Callable[[], T]) -> T:
    """Return what was built for an equal key, or build it.

    It is kept for as long as anybody uses it, and must not be changed. The key of what is made
    from a fitted operator begins with its `identity_`, and holds all that enters besides: a
    decomposition depends on the weights of data and cells, too.

    Parameters
    ----------
    key : hashable
        What makes two results equal: hash arrays by their bytes.
    build : callable
        Builds the result, an object that can be referenced weakly: a class, not a tuple. It may
        call `shared` for another key.

    Returns
    -------
    result : object
        What was built, the same object for equal keys.
    """
    with _guard:
        lock = _locks.get(key)
        if lock is None:
            lock = _locks[key] = _Lock()
    # Threads of a worker start together and ask for the same: one builds it, others wait. Different
    # keys do not wait for each other.
    with lock.lock:
        found = _results.get(key)
        if found is None:
            found = _results[key] = build()
    return found
