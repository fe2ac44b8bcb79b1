"""How a sensitivity is applied, and what that needs, known before anything is built."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from skgrav.operators._cells import Geometry
from skgrav.operators._ways import WAYS, Dense, Way


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
        return f"{self.method}, {readable(self.n_bytes)}: {self.reason}"


def make_plan(
    geometry: Geometry,
    method: str,
    *,
    precision: str = "float64",
    memory_limit: float | None = None,
    n_samples: int = 1,
) -> tuple[OperatorPlan, Way]:
    """Choose how to apply a sensitivity, or check the way asked for."""
    available = available_bytes()
    limit = available / 2 if memory_limit is None else memory_limit
    ways = {name: way(geometry, precision, limit) for name, way in WAYS.items()}
    if method == "auto":
        pay = (way for way in ways.values() if way.pays(n_samples) and way.n_bytes <= limit)
        way = next(pay, ways["rows"])
    else:
        way = ways[method]
    if not way.fits:
        raise ValueError(
            "method='fft' needs columns of equal width and stations that differ by whole columns, "
            f"but {geometry.lattices.obstacle}; 'mesh' is {geometry.mesh!r} and 'survey' "
            f"{geometry.survey!r}. Take method='auto' or 'rows'."
        )
    plan = OperatorPlan(way.name, way.n_bytes, _reason(way, asked_for=method))
    allowed = min(available, memory_limit or available)
    if plan.n_bytes > allowed:
        raise MemoryError(
            f"method={way.name!r} needs {readable(plan.n_bytes)} for {way.sizes}, but "
            f"{readable(allowed)} are free or allowed. Take "
            + (
                "a coarser 'mesh' or fewer stations in 'survey'."
                if way.name == "rows"
                else "method='auto', which never needs that much."
            )
        )
    return plan, way


def _reason(way: Way, asked_for: str) -> str:
    reason = way.holds
    if way.name != "dense":
        matrix = Dense(way.geometry, way.precision, way.limit)
        reason += f"; a matrix would take {readable(matrix.n_bytes)}"
    if asked_for == "auto" and way.name != "fft" and way.geometry.lattices.obstacle:
        reason += f"; no FFT, since {way.geometry.lattices.obstacle}"
    return reason


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
