"""What inversions take of memory, and what there is."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

#: Float64 copies of the matrix, beside the matrix itself, and squares of the data that are held at
#: the peak of a decomposition. Measured: Tikhonov's takes 3.2 and 6.5, an SVD 2.2 and less.
_COPIES, _SQUARES = 3.2, 6.5

#: Densities and data that are held at the peak of an inversion by products alone, where vectors of
#: about this many iterations are kept. Measured over one sample: solvers take 7 densities, Tikhonov
#: 9 without and 13 with derivatives.
_DENSITIES, _DATA = 10, 64


def decomposition_bytes(n_data: int, n_cells: int) -> int:
    """Return the peak of inverting with a decomposition, without the matrix that is decomposed."""
    return int(8 * n_data * (_COPIES * n_cells + _SQUARES * n_data))


def iteration_bytes(n_data: int, n_cells: int) -> int:
    """Return the peak of inverting one sample by products alone, without what they need."""
    return 8 * (_DENSITIES * n_cells + min(_DATA, n_data) * n_data)


def require(n_bytes: float, what: str, remedy: str) -> None:
    """Refuse what would not fit into memory before it is begun."""
    available = available_bytes()
    if n_bytes > available:
        raise MemoryError(
            f"{what} needs {readable(n_bytes)}, but {readable(available)} are free. {remedy}"
        )


def available_bytes() -> float:
    """Return the memory that can be had without swapping; infinity where it is not known."""
    with suppress(OSError):  # Linux counts caches in, which make room when asked
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    with suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return float("inf")


def readable(n_bytes: float) -> str:
    """Return bytes as text, in GB or MB."""
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.1f} MB"
