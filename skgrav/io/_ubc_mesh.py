"""Tensor meshes in files of UBC-GIF's GRAV3D."""

from __future__ import annotations

import os
import re
from decimal import Context, Decimal
from itertools import accumulate, groupby, pairwise

from skgrav.geometry import Mesh
from skgrav.io._ubc_text import UBCLines, write_lines

# More digits than exact sums of doubles have.
_EXACT = Context(prec=1000)

#: Cells along an axis beyond which a count is taken for an error: it could fill the memory.
_MOST_CELLS = 1_000_000


def read_ubc_mesh(path: str | os.PathLike[str]) -> Mesh:
    r"""Read a 3D tensor mesh from a UBC-GIF file, usually ``.msh`` or ``.mesh``.

    Parameters
    ----------
    path : str or path-like
        The file: numbers of cells along easting, northing and depth; easting, northing and
        elevation of the top south-west corner in metres; then widths of cells eastward,
        northward and downward, ``20*25.0`` for twenty of 25 m. Widths may take several lines.
        Everything from ``!`` or ``#`` to the end of a line is a comment.

    Returns
    -------
    mesh : Mesh
        The mesh with axes ``(z, y, x)``, of shape (depth, northing, easting); an elevation e,
        positive up, becomes z = -e.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If a count, a width or a number is wrong. The message names the file and the line.

    See Also
    --------
    write_ubc_mesh : Its inverse.
    read_ubc_model : Densities on the mesh.

    Notes
    -----
    Edges are sums of the decimal numbers of the file, rounded once.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from skgrav.io import read_ubc_mesh
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "mesh.msh")
    ...     _ = path.write_text("3 2 4\n500 700 3000\n3*250\n2*250\n2*100 2*200\n")
    ...     mesh = read_ubc_mesh(path)
    >>> mesh
    Mesh(4 x 2 x 3 cells, z -3000 to -2400 m, y 700 to 1200 m, x 500 to 1250 m)
    """
    lines = UBCLines(path)
    counts = lines.counts(3, "the numbers of cells along x, y and z")
    if max(counts) > _MOST_CELLS:
        lines.fail(
            f"there are {max(counts)} cells along an axis, more than {_MOST_CELLS}. Correct it."
        )
    words = lines.words("the top south-west corner")
    if len(words) != 3:
        lines.fail(
            f"the corner has {len(words)} entries: give its easting, northing and elevation, in "
            "metres."
        )
    east, north, up = (lines.decimal(word) for word in words)
    edges = []
    for axis, n, start in zip("xyz", counts, [east, north, _EXACT.minus(up)], strict=True):
        widths = _read_widths(lines, n, axis)
        edges.append([float(edge) for edge in accumulate([start, *widths], _EXACT.add)])
    lines.end("the widths")
    try:
        return Mesh(edges[::-1])
    except ValueError as error:
        raise ValueError(f"{path}: the widths are invalid: {error}") from error


def write_ubc_mesh(path: str | os.PathLike[str], mesh: Mesh) -> None:
    """Write a 3D tensor mesh to a UBC-GIF file.

    Parameters
    ----------
    path : str or path-like
        The file, replaced if it exists.
    mesh : Mesh of three dimensions
        The mesh with axes ``(z, y, x)``. The z of its top, positive down, becomes the elevation
        -z; successive equal widths are written as in ``20*25``. Its active cells are left to
        `write_ubc_active`.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    ValueError
        If the mesh is not three-dimensional.

    See Also
    --------
    read_ubc_mesh : Its inverse, which gives the same edges.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from skgrav import Mesh
    >>> from skgrav.io import write_ubc_mesh
    >>> with TemporaryDirectory() as folder:
    ...     write_ubc_mesh(Path(folder, "mesh.msh"), Mesh.regular((4, 2, 3), 250.0, top=-3000.0))
    ...     print(Path(folder, "mesh.msh").read_text())
    3 2 4
    -375 -250 3000
    3*250
    2*250
    4*250
    """
    check_mesh(mesh)
    # Differences of the shortest decimals of the edges are exact, so that reading restores the
    # edges; floating-point differences do not always sum up to them.
    z, y, x = ([Decimal(repr(e)) for e in axis.tolist()] for axis in mesh.edges)
    corner = [x[0], y[0], _EXACT.minus(z[0])]
    widths = [[_EXACT.subtract(b, a) for a, b in pairwise(e)] for e in (x, y, z)]
    runs = [[(len(list(run)), width) for width, run in groupby(axis)] for axis in widths]
    write_lines(
        path,
        [
            " ".join(str(len(axis)) for axis in widths),
            " ".join(map(_plain, corner)),
            *(" ".join(f"{n}*{_plain(w)}" if n > 1 else _plain(w) for n, w in a) for a in runs),
        ],
    )


def _read_widths(lines: UBCLines, n: int, axis: str) -> list[Decimal]:
    """Return the widths of `n` cells, which may take several lines."""
    widths: list[Decimal] = []
    while len(widths) < n:
        words = lines.words(f"the widths of all {n} cells along {axis}; {len(widths)} are there")
        # Some programs put blanks around the star.
        for word in re.sub(r" ?\* ?", "*", " ".join(words)).split():
            times, star, width = word.rpartition("*")
            count = lines.count(times, f"{word!r} before the '*'") if star else 1
            value = lines.decimal(width)
            if not float(value) > 0:
                lines.fail(f"a cell along {axis} is {width} m wide; give a width above 0.")
            # Checked before the list is built, since a count may be huge.
            if len(widths) + count > n:
                lines.fail(
                    f"there are more widths than the {n} cells along {axis} of the first line, "
                    f"{len(widths) + count} up to {word!r}; correct one or the other."
                )
            widths += [value] * count
    return widths


def check_mesh(mesh: Mesh) -> None:
    """Raise ValueError unless the mesh has three dimensions."""
    if getattr(mesh, "ndim", None) != 3 or not isinstance(mesh, Mesh):
        raise ValueError(
            f"'mesh' must be a skgrav.Mesh of three dimensions (z, y, x), got {mesh!r}; build "
            "one with Mesh([z_edges, y_edges, x_edges])."
        )


def _plain(value: Decimal) -> str:
    """Return the text of a number without exponent or trailing zeros."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
