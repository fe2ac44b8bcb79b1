"""Densities and active cells of tensor meshes in files of UBC-GIF's GRAV3D."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skgrav._checks import real_array
from skgrav._constraints import SEVERAL, checked
from skgrav._typing import Array
from skgrav.geometry import Mesh
from skgrav.io._ubc_mesh import check_mesh
from skgrav.io._ubc_text import UBCLines, finite_array, write_lines

# Marks of cells without rock in files of several programs, in g/cm3.
_MARKS = (-100.0, -1e8, -999.0, -9999.0, -99999.0, -999999.0)

_NAN = {"nan", "+nan", "-nan"}


@checked(inactive=[Real, *SEVERAL, None])
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
        The mesh, from `read_ubc_mesh`. Of a mesh with inactive cells, such as from
        `read_ubc_active`, the values of these are left out, whatever they are.
    inactive : float or sequence of float, default=None
        Values in the file that mark further cells of air or water, such as -100, -1e8 or ``nan``.
        These become NaN. None refuses the usual marks; ``()`` reads them as densities.

    Returns
    -------
    rho : ndarray of shape (n_cells,)
        Density contrasts in kg/m3, flattened in C order from ``(nz, ny, nx)``, top layer first,
        with NaN in cells that are marked.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If the mesh is not three-dimensional, the number of values is not that of its block, or a
        value is not a number or a mark that `inactive` does not name. The message names the file
        and the line.

    See Also
    --------
    write_ubc_model : Its inverse.
    read_ubc_mesh, read_ubc_active : The mesh.

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
    check_mesh(mesh)
    marks = _marks(inactive)
    if mesh.active is None:
        return mesh.flatten(_image(path, mesh, lambda lines, word, i: _density(lines, word, marks)))
    active, any_mark = _in_file(mesh.active), np.array([*_MARKS, np.nan])

    def density(lines: UBCLines, word: str, i: int) -> float:
        return _density(lines, word, marks if i >= active.size or active[i] else any_mark)

    return mesh.flatten(_image(path, mesh, density))


@checked(inactive=[Real, *SEVERAL, None])
def read_ubc_active(
    path: str | os.PathLike[str],
    mesh: Mesh,
    *,
    inactive: float | Sequence[float] | None = None,
) -> Mesh:
    r"""Read which cells of a mesh are active from a UBC-GIF file.

    Parameters
    ----------
    path : str or path-like
        An active model, of 1 for active cells and 0 or -1 for the others, in the order of
        `read_ubc_model`; or a density model, in which inactive cells are marked.
    mesh : Mesh of three dimensions
        The mesh, from `read_ubc_mesh`.
    inactive : float or sequence of float, default=None
        Marks of inactive cells in a density model, in g/cm3. None takes ``nan`` and the usual ones:
        -100, -1e8, -999 and -9999 up to -999999.

    Returns
    -------
    mesh : Mesh
        The mesh with these cells active; those that are inactive already remain so.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If the mesh is not three-dimensional, the number of values is not that of its block, a
        value is not a number, or no cell is active, or marked as inactive in a density model.

    See Also
    --------
    write_ubc_active : Its inverse.
    skgrav.Mesh.below : Active cells from a topography.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from skgrav import Mesh
    >>> from skgrav.io import read_ubc_active
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "active.txt")
    ...     _ = path.write_text("0\n1\n1\n1\n")
    ...     mesh = read_ubc_active(path, Mesh.regular((2, 1, 2), 250.0))
    >>> mesh.n_cells
    3
    """
    check_mesh(mesh)
    values = _image(path, mesh, _number_or_nan)
    if inactive is None and np.isin(values, (-1.0, 0.0, 1.0)).all():
        active = values == 1.0
    else:
        named = _marks(inactive)
        marks = np.array([*_MARKS, np.nan]) if named is None else named
        active = ~(np.isin(values, marks) | (np.isnan(values) & np.isnan(marks).any()))
        if active.all():
            raise ValueError(
                f"{os.fspath(path)} is neither an active model of 0 and 1 nor a density model with "
                "marks of inactive cells. Name the mark of this file by 'inactive'."
            )
    if mesh.active is not None:
        active &= mesh.active
    if not active.any():
        raise ValueError(f"{os.fspath(path)} leaves no cell of {mesh!r} active; check both.")
    return Mesh(mesh.edges, active)


def write_ubc_active(path: str | os.PathLike[str], mesh: Mesh) -> None:
    """Write which cells of a mesh are active to a UBC-GIF file, as 1 and 0.

    Parameters
    ----------
    path : str or path-like
        The file, replaced if it exists.
    mesh : Mesh of three dimensions
        The mesh.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    ValueError
        If the mesh is not three-dimensional.

    See Also
    --------
    read_ubc_active : Its inverse.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from skgrav import Mesh
    >>> from skgrav.io import write_ubc_active
    >>> mesh = Mesh.regular((2, 1, 2), 250.0).below([[250.0, 0.0]])
    >>> with TemporaryDirectory() as folder:
    ...     write_ubc_active(Path(folder, "active.txt"), mesh)
    ...     print(Path(folder, "active.txt").read_text().split())
    ['0', '1', '1', '1']
    """
    check_mesh(mesh)
    active = np.ones(mesh.shape, dtype=bool) if mesh.active is None else mesh.active
    write_lines(path, (str(int(v)) for v in _in_file(active)))


@checked(inactive=[Real, None])
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
        Value in g/cm3 written for inactive cells of the mesh, and for cells whose density is NaN.
        None takes -100 for the first and refuses the second.

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
    check_mesh(mesh)
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
    columns = [Decimal(repr(v)) for v in _in_file(mesh.unflatten(rho)).tolist()]
    mark = _MARKS[0] if inactive is None else inactive
    marks = _MARKS if inactive is None else (float(inactive),)
    for value in columns:
        if not value.is_nan() and float(value.scaleb(-3)) in marks:
            raise ValueError(
                f"'rho' contains {value} kg/m3, which would be read as the mark of an inactive "
                "cell. Pass another 'inactive', and NaN in cells that are inactive."
            )
    write_lines(path, (repr(mark) if v.is_nan() else str(v.scaleb(-3)) for v in columns))


def _image(
    path: str | os.PathLike[str], mesh: Mesh, read: Callable[[UBCLines, str, int], float]
) -> Array:
    """Return the values of all cells of the block; `read` gets each word and its position."""
    lines, n_cells = UBCLines(path), mesh.whole.n_cells
    values: list[float] = []
    while len(values) < n_cells:
        words = lines.words(f"cell {len(values) + 1} of the {n_cells} of the mesh")
        values += [read(lines, word, len(values) + i) for i, word in enumerate(words)]
    if len(values) > n_cells:
        lines.fail(f"there are more values than the {n_cells} cells of {mesh!r}; check both.")
    lines.end(f"the {n_cells} cells of {mesh!r}")
    nz, ny, nx = mesh.shape
    return np.array(values).reshape(ny, nx, nz).transpose(2, 0, 1)


def _marks(inactive: float | Sequence[float] | None) -> Array | None:
    """Return the marks of inactive cells, which may be NaN."""
    if inactive is None:
        return None
    return np.atleast_1d(real_array(inactive, "inactive", finite=False)).ravel()


def _in_file(image: NDArray[Any]) -> NDArray[Any]:
    """Return the values of a block in the order of the file: down, then eastward."""
    return image.transpose(1, 2, 0).ravel()


def _number_or_nan(lines: UBCLines, word: str, i: int) -> float:
    return np.nan if word.lower() in _NAN else float(lines.decimal(word))


def _density(lines: UBCLines, word: str, marks: Array | None) -> float:
    """Return a density in kg/m3, or NaN for an inactive cell."""
    if word.lower() in _NAN:
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
