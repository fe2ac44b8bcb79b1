"""How a sensitivity is applied, and its memory, known before anything is built."""

from __future__ import annotations

from dataclasses import dataclass

from skgrav.operators._base import decomposable
from skgrav.operators._cells import Geometry
from skgrav.operators._memory import available_bytes, decomposition_bytes, iteration_bytes, readable
from skgrav.operators._ways import WAYS, Dense, Way


@dataclass(frozen=True)
class OperatorPlan:
    """How an operator is applied, and why.

    Parameters
    ----------
    method : str
        The method, ``"dense"``, ``"fft"``, ``"anywhere"`` or ``"rows"``; ``"sparse"`` of
        `CellValues`, and those of all parts of a `JointOperator`.
    n_bytes : int
        Memory that the operator needs, without that of data and densities.
    inversion_bytes : int
        Peak memory of an inversion with this operator, estimated to a factor of about 1.5: with a
        decomposition of the matrix if that is affordable, otherwise by products alone, one sample
        at a time.
    reason : str
        What is stored, and the size of the matrix if that is not.
    error : float
        Error of gravity that the method accepts, relative to the largest datum; 0 for rounding.
    build_seconds, product_seconds : float
        Seconds to build the operator and to apply it to one density, on one core, estimated to a
        factor of about 3.

    See Also
    --------
    ForwardOperator : Its attribute `plan_`.

    Examples
    --------
    >>> from skgrav import ForwardOperator, Mesh
    >>> ForwardOperator(Mesh.regular((40, 100, 100), 50.0)).plan().method
    'fft'
    """

    method: str
    n_bytes: int
    inversion_bytes: int
    reason: str
    error: float = 0.0
    build_seconds: float = 0.0
    product_seconds: float = 0.0

    def __str__(self) -> str:
        parts = [self.method, readable(self.n_bytes)]
        parts.append(f"in an inversion up to {readable(self.inversion_bytes)}")
        if self.error:
            parts.append(f"error up to {self.error:g}")
        if self.product_seconds:
            parts.append(
                f"about {self.build_seconds:.2g} s to build and {self.product_seconds:.2g} s per "
                "product"
            )
        return f"{', '.join(parts)}: {self.reason}"


def make_plan(
    geometry: Geometry,
    method: str,
    *,
    precision: str = "float64",
    memory_limit: float | None = None,
    n_samples: int = 1,
    tol: float = 1e-6,
) -> tuple[OperatorPlan, Way]:
    """Choose how to apply a sensitivity, or check the method that is given."""
    available = available_bytes()
    limit = available / 2 if memory_limit is None else memory_limit
    ways = {name: way(geometry, precision, limit, tol) for name, way in WAYS.items()}
    if method == "auto":
        fast = (way for way in ways.values() if way.pays(n_samples) and way.n_bytes <= limit)
        rest = "dense" if ways["dense"].n_bytes <= limit else "rows"
        way = next(fast, ways[rest])
    else:
        way = ways[method]
    if way.obstacle:
        needed = "columns of equal width"
        if way.name == "fft":
            needed += " and stations that differ by whole columns"
        raise ValueError(
            f"method={way.name!r} needs {needed}, but {way.obstacle}; 'mesh' is "
            f"{geometry.mesh!r} and 'survey' {geometry.survey!r}. Take method='auto' or 'rows'."
        )
    # The limit of "auto", half of the free memory, leaves room for data and densities; a method
    # that is given may take all of it.
    plan = OperatorPlan(
        way.name, way.n_bytes, _inversion_bytes(way), _reason(way, method), way.error, *way.seconds
    )
    allowed = min(available, memory_limit or available)
    if plan.n_bytes > allowed:
        raise MemoryError(
            f"method={way.name!r} needs {readable(plan.n_bytes)} for {way.sizes}, but "
            f"{readable(allowed)} are free or allowed; an inversion takes up to "
            f"{readable(plan.inversion_bytes)}. Take "
            + (
                "a coarser 'mesh' or fewer stations in 'survey'."
                if way.name == "rows"
                else "method='auto', which needs less memory."
            )
        )
    return plan, way


def _inversion_bytes(way: Way) -> int:
    n_data, n_cells = way.geometry.shape
    held = way.name == "dense"
    if not decomposable(n_data, n_cells, held=held):
        return way.n_bytes + iteration_bytes(n_data, n_cells)
    matrix = 0 if held else Dense(way.geometry, way.precision, way.limit, way.tol).n_bytes
    return way.n_bytes + matrix + decomposition_bytes(n_data, n_cells)


def inversion_bytes(n_data: int, n_cells: int, n_bytes: int) -> int:
    """Return the peak memory of an inversion with products that take some bytes."""
    if not decomposable(n_data, n_cells, held=False):
        return n_bytes + iteration_bytes(n_data, n_cells)
    return n_bytes + 8 * n_data * n_cells + decomposition_bytes(n_data, n_cells)


def _reason(way: Way, asked_for: str) -> str:
    reason = way.contents.format(way.sizes)
    if way.name != "dense":
        matrix = Dense(way.geometry, way.precision, way.limit, way.tol)
        reason += f"; a matrix would take {readable(matrix.n_bytes)}"
    if asked_for == "auto" and way.name != "fft" and way.geometry.lattices.obstacle:
        reason += f"; no FFT, since {way.geometry.lattices.obstacle}"
    return reason
