"""Memory that inversions need, and free memory."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

#: Peak memory of a decomposition, in float64 copies of the matrix, the matrix itself not counted,
#: and in squares of the number of data. Measured: Tikhonov takes 3.2 and 6.5, an SVD at most 2.2.
_COPIES, _SQUARES = 3.2, 6.5

#: Peak memory of an inversion of one sample by products alone, in vectors of densities, and in data
#: vectors, which are kept for about this many iterations. Measured: solvers take 7 densities,
#: Tikhonov 9 without and 13 with derivatives.
_DENSITIES, _DATA = 10, 64


def decomposition_bytes(n_data: int, n_cells: int) -> int:
    """Return the peak memory of an inversion by decomposition, without the matrix itself."""
    return int(8 * n_data * (_COPIES * n_cells + _SQUARES * n_data))


def iteration_bytes(n_data: int, n_cells: int) -> int:
    """Return the peak memory of inverting one sample by products, without the operator's own."""
    return 8 * (_DENSITIES * n_cells + min(_DATA, n_data) * n_data)


def require(n_bytes: float, what: str, remedy: str) -> None:
    """Raise MemoryError if something does not fit into free memory."""
    available = available_bytes()
    if n_bytes > available:
        raise MemoryError(
            f"{what} needs {readable(n_bytes)}, but {readable(available)} are free. {remedy}"
        )


def available_bytes() -> float:
    """Return the memory available without swapping; infinity if it is not known."""
    with suppress(OSError):  # on Linux, including caches, which the kernel can free
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    with suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return float("inf")


def readable(n_bytes: float) -> str:
    """Return bytes as text, in GB or MB."""
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.1f} MB"
