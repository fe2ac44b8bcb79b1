"""Whether data are fitted to their noise, and why not."""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """How the fit of a sample ended."""

    #: The stopping rule was met.
    REACHED = 0
    #: The iterations ran out before.
    MAX_ITER = 1
    #: No density fits the data to their noise: what is out of reach of the mesh exceeds it.
    OUT_OF_REACH = 2
    #: No density within the bounds fits the data to their noise.
    BOUNDS = 3
