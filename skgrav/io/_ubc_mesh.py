"""Tensor meshes and densities in files of UBC-GIF's GRAV3D."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from decimal import Context, Decimal
from itertools import accumulate, groupby, pairwise

import numpy as np
from numpy.typing import ArrayLike

from skgrav._checks import real_array
from skgrav._typing import Array
from skgrav.geometry import Mesh
from skgrav.io._ubc_text import UBCLines, finite_array, write_lines

# More digits than exact sums of doubles have.
_EXACT = Context(prec=1000)

# Marks of cells without rock in files of several programs, in g/cm3.
_MARKS = (-100.0, -1e8, -999.0, -9999.0, -99999.0, -999999.0)


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
        -z; successive equal widths are written as in ``20*25``.

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
    _check_mesh(mesh)
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


def read_ubc_model(
    path: str | os.PathLike[str],
    mesh: Mesh,
    *,
    inactive: float | Sequence[float] | None = None,
) -> Array:
    r"""Read densities on a mesh from a UBC-GIF file, usually ``.den`` or ``.mod``.

    Parameters
    ----------
    path : str or path-like
        The file: one density contrast in g/cm3 per cell, from the top south-west corner first
        down, then eastward, then northward. Everything from ``!`` or ``#`` to the end of a line
        is a comment.
    mesh : Mesh of three dimensions
        The mesh, from `read_ubc_mesh`.
    inactive : float or sequence of float, default=None
        Values in the file that mark cells of air or water, such as -100, -1e8 or ``nan``. These
        cells become NaN. None refuses the usual marks; ``()`` reads them as densities.

    Returns
    -------
    rho : ndarray of shape (n_cells,)
        Density contrasts in kg/m3, flattened in C order from ``(nz, ny, nx)``, top layer first,
        with NaN in inactive cells.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If the mesh is not three-dimensional, the number of values is not `n_cells`, or a value is
        not a number or a mark that `inactive` does not name. The message names the file and the
        line.

    See Also
    --------
    write_ubc_model : Its inverse.
    read_ubc_mesh : The mesh.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from skgrav import Mesh
    >>> from skgrav.io import read_ubc_model
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "density.den")
    ...     _ = path.write_text("-100\n0.2\n0.3\n0.4\n")
    ...     rho = read_ubc_model(path, Mesh.regular((2, 1, 2), 250.0), inactive=-100)
    >>> rho
    array([ nan, 300., 200., 400.])
    """
    _check_mesh(mesh)
    marks = None if inactive is None else np.atleast_1d(np.asarray(inactive, dtype=np.float64))
    lines, n_cells = UBCLines(path), mesh.n_cells
    values: list[float] = []
    while len(values) < n_cells:
        words = lines.words(f"cell {len(values) + 1} of the {n_cells} of the mesh")
        values += [_density(lines, word, marks) for word in words]
    if len(values) > n_cells:
        lines.fail(f"there are more values than the {n_cells} cells of {mesh!r}; check both.")
    lines.end(f"the {n_cells} cells of {mesh!r}")
    nz, ny, nx = mesh.shape
    return np.array(values).reshape(ny, nx, nz).transpose(2, 0, 1).ravel()


def write_ubc_model(
    path: str | os.PathLike[str], mesh: Mesh, rho: ArrayLike, *, inactive: float | None = None
) -> None:
    """Write densities on a mesh to a UBC-GIF file.

    Parameters
    ----------
    path : str or path-like
        The file, replaced if it exists.
    mesh : Mesh of three dimensions
        The mesh.
    rho : array-like of shape (n_cells,)
        Density contrasts in kg/m3, flattened in C order, top layer first; written in g/cm3.
    inactive : float, default=None
        Value in g/cm3, such as -100, written for inactive cells, whose density is NaN. None
        refuses NaN.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    ValueError
        If the mesh is not three-dimensional, the densities do not match it, cells are inactive and
        `inactive` is None, or a density equals the mark of an inactive cell.

    See Also
    --------
    read_ubc_model : Its inverse, which gives the same numbers.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from skgrav import Mesh
    >>> from skgrav.io import write_ubc_model
    >>> mesh = Mesh.regular((2, 1, 2), 250.0)
    >>> with TemporaryDirectory() as folder:
    ...     write_ubc_model(Path(folder, "density.den"), mesh, [100, 300, 200, 400])
    ...     print(Path(folder, "density.den").read_text().split())
    ['0.1000', '0.2000', '0.3000', '0.4000']
    """
    _check_mesh(mesh)
    rho = real_array(rho, "rho", finite=False)
    unknown = np.isnan(rho)
    if inactive is None and unknown.any() and rho.shape == (mesh.n_cells,):
        raise ValueError(
            f"'rho' is NaN in {np.count_nonzero(unknown)} of {rho.size} cells. Pass inactive=-100 "
            "to write them as inactive cells, or give them a density."
        )
    if inactive is not None and not np.isfinite(inactive):
        raise ValueError(f"'inactive' is {inactive!r}; it must be a finite number, such as -100.")
    finite_array(np.where(unknown, 0.0, rho), "rho", (mesh.n_cells,))
    columns = [Decimal(repr(v)) for v in mesh.unflatten(rho).transpose(1, 2, 0).ravel().tolist()]
    marks = _MARKS if inactive is None else (float(inactive),)
    for value in columns:
        if not value.is_nan() and float(value.scaleb(-3)) in marks:
            raise ValueError(
                f"'rho' contains {value} kg/m3, which would be read as the mark of an inactive "
                "cell. Pass another 'inactive', and NaN in cells that are inactive."
            )
    write_lines(path, (repr(inactive) if v.is_nan() else str(v.scaleb(-3)) for v in columns))


def _density(lines: UBCLines, word: str, marks: Array | None) -> float:
    """Return a density in kg/m3, or NaN for an inactive cell."""
    if word.lower() in {"nan", "+nan", "-nan"}:
        if marks is None or not np.isnan(marks).any():
            lines.fail(
                f"{word!r} marks an inactive cell. Pass inactive=float('nan') to get NaN there."
            )
        return np.nan
    value = lines.decimal(word)
    if float(value) in (_MARKS if marks is None else marks):
        if marks is None:
            lines.fail(
                f"{word!r} marks an inactive cell. Pass inactive={float(value):g} to get NaN "
                "there, or inactive=() if it is a density."
            )
        return np.nan
    # Shifting the decimal point rounds once: 1.001 g/cm3 become exactly 1001 kg/m3.
    return float(value.scaleb(3))


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


def _check_mesh(mesh: Mesh) -> None:
    if getattr(mesh, "ndim", None) != 3 or not isinstance(mesh, Mesh):
        raise ValueError(
            f"'mesh' must be a skgrav.Mesh of three dimensions (z, y, x), got {mesh!r}; build "
            "one with Mesh([z_edges, y_edges, x_edges])."
        )


def _plain(value: Decimal) -> str:
    """Return the text of a number without exponent or trailing zeros."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
