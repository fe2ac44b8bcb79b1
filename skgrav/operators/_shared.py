"""Cache of matrices, spectra and decompositions, shared by equal operators and inverters."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")

_results: weakref.WeakValueDictionary[Hashable, Any] = weakref.WeakValueDictionary()
_locks: weakref.WeakValueDictionary[Hashable, Any] = weakref.WeakValueDictionary()
_guard = threading.Lock()


def shared(key: Hashable, build: Callable[[], T]) -> T:
    """Return the result for a key, or build it.

    Results must not be modified, and are dropped when the last user is. The key of a result for a
    fitted operator begins with its `identity_` and contains all other inputs, with arrays as their
    bytes: a decomposition depends on the weights of data and cells, too. `build` returns an object
    that supports weak references, a class and not a tuple, and may call `shared` for another key.
    """
    with _guard:
        lock = _locks.get(key)
        if lock is None:
            lock = _locks[key] = threading.RLock()
    # Threads of a worker need the same result at the same time: one builds it, the others wait.
    # Different keys do not wait for each other.
    with lock:
        found = _results.get(key)
        if found is None:
            found = _results[key] = build()
    return found
