"""How a sensitivity is applied, and what that needs, told before anything is built."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path

import numpy as np

from skgrav.operators._cells import Geometry, lattices
from skgrav.operators._dense import DenseMatrix, sensitivity
from skgrav.operators._rows import RowOperator
from skgrav.operators._svd import Products
from skgrav.operators._toeplitz import ToeplitzOperator

#: Bytes up to which a matrix is faster than FFTs: in the cache, and for sections, which come in
#: batches, a little beyond. Measured by benchmarks/bench_scaling.py, as are the next two.
_DENSE_BYTES = {2: 2**24, 3: 2**22}

#: Samples and data from which on, and up to which, a matrix is faster for batches of volumes.
_BATCH, _BATCH_DATA = 16, 150


@dataclass(frozen=True)
class OperatorPlan:
    """The way in which an operator is applied, and why.

    Parameters
    ----------
    method : {"dense", "fft", "rows"}
        The way.
    n_bytes : int
        Memory that the operator needs, without that of data and densities.
    reason : str
        What is held, and what a matrix would take where there is none.

    See Also
    --------
    ForwardOperator : Makes one.

    Examples
    --------
    >>> from skgrav import ForwardOperator, Mesh
    >>> ForwardOperator(Mesh.regular((40, 100, 100), 50.0)).plan().method
    'fft'
    """

    method: str
    n_bytes: int
    reason: str

    def __str__(self) -> str:
        return f"{self.method}, {_readable(self.n_bytes)}: {self.reason}"


def make_plan(
    geometry: Geometry,
    method: str,
    *,
    precision: str = "float64",
    memory_limit: float | None = None,
    n_samples: int = 1,
) -> tuple[OperatorPlan, Callable[[], Products]]:
    """Choose how to apply a sensitivity, or check the way asked for, and return how to build it."""
    available = available_bytes()
    limit = available / 2 if memory_limit is None else memory_limit
    found = None if method in {"dense", "rows"} else lattices(geometry.mesh, geometry.survey)
    n_data, n_cells = geometry.shape
    sizes = f"{n_data} data x {n_cells} cells"
    dense = n_data * n_cells * np.dtype(precision).itemsize
    fft = inf if found is None else ToeplitzOperator.required_bytes(geometry, found, precision)
    if method == "auto":
        small = dense <= _DENSE_BYTES[geometry.mesh.ndim]
        batch = n_samples >= _BATCH and n_data <= _BATCH_DATA
        if dense <= limit and (small or batch or found is None):
            method = "dense"
        else:
            method = "fft" if fft <= limit else "rows"
    elif method == "fft" and found is None:
        raise ValueError(
            "method='fft' needs columns of equal width and stations that differ by whole columns, "
            f"not too far apart; 'mesh' is {geometry.mesh!r} and 'survey' {geometry.survey!r}. "
            "Take method='auto' or 'rows'."
        )
    if method == "dense":
        plan = OperatorPlan(method, dense, f"a matrix of {sizes}")
        build: Callable[[], Products] = lambda: DenseMatrix(sensitivity(geometry, precision))  # noqa: E731
    elif method == "fft" and found is not None:
        reason = f"spectra of {sizes}; a matrix would take {_readable(dense)}"
        plan = OperatorPlan(method, int(fft), reason)
        build = lambda: ToeplitzOperator(geometry, found, precision)  # noqa: E731
    else:
        reason = f"rows of {sizes}, anew for each product; a matrix would take {_readable(dense)}"
        plan = OperatorPlan(method, RowOperator.required_bytes(geometry, limit), reason)
        build = lambda: RowOperator(geometry, limit)  # noqa: E731
    allowed = min(available, memory_limit or available)
    if plan.n_bytes > allowed:
        raise MemoryError(
            f"method={method!r} needs {_readable(plan.n_bytes)} for {sizes}, but "
            f"{_readable(allowed)} are free or allowed. Take "
            + (
                "a coarser 'mesh' or fewer stations in 'survey'."
                if method == "rows"
                else "method='auto', which never needs that much."
            )
        )
    return plan, build


#: Clones of an operator share what they hold, for as long as one of them lives.
_shared: weakref.WeakValueDictionary[tuple[object, ...], Products] = weakref.WeakValueDictionary()
_sharing = threading.Lock()


def shared(key: tuple[object, ...], build: Callable[[], Products]) -> Products:
    """Return what an equal operator holds already, or build it."""
    with _sharing:  # the threads of a worker start together, and one matrix is enough
        found = _shared.get(key)
        if found is None:
            found = _shared[key] = build()
    return found


def available_bytes() -> float:
    """Return the memory that can be had without swapping; infinity where nobody tells."""
    with suppress(OSError):  # Linux counts caches in, which make room when asked
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    with suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return float("inf")


def _readable(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.1f} MB"
