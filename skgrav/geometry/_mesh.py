"""Tensor meshes, whose cells are the unknowns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skgrav._checks import named, real_array
from skgrav._typing import Array
from skgrav.geometry import _pyvista, _xarray
from skgrav.geometry._values import AXES, ValueObject, frozen, whole_numbers


@dataclass(frozen=True, eq=False, repr=False)
class Mesh(ValueObject):
    """Tensor mesh of rectangular cells in 2D ``(z, x)`` or 3D ``(z, y, x)``.

    Densities on a mesh are vectors of `n_cells` values: the image of shape `shape` flattened in
    C order, so the top layer comes first. z is positive down.

    Parameters
    ----------
    edges : sequence of array-like of shape (n + 1,)
        Cell edges along each axis in metres, strictly increasing: ``(z, x)`` for a section of
        infinite strike, ``(z, y, x)`` for a volume. Layers may have any thickness.

    Attributes
    ----------
    ndim : int
        Number of axes, 2 or 3.
    shape : tuple of int
        Number of cells along each axis, ``(nz, nx)`` or ``(nz, ny, nx)``.
    n_cells : int
        Number of cells.
    centers : tuple of ndarray
        Cell centres along each axis in metres.
    widths : tuple of ndarray
        Cell widths along each axis in metres.
    volumes : ndarray of shape (n_cells,)
        Volume of each cell in m3; in 2D its area in m2.

    Raises
    ------
    ValueError
        If there are not two or three axes, or the edges of one do not increase.

    See Also
    --------
    Survey : The stations above a mesh.

    Examples
    --------
    >>> from skgrav import Mesh
    >>> mesh = Mesh([[0, 100, 300], [0, 500, 1000, 1500]])
    >>> mesh
    Mesh(2 x 3 cells, z 0 to 300 m, x 0 to 1500 m)
    >>> mesh.unflatten([1, 2, 3, 4, 5, 6])
    array([[1., 2., 3.],
           [4., 5., 6.]])
    """

    edges: tuple[Array, ...]

    def __init__(self, edges: Sequence[ArrayLike]) -> None:
        with named("edges"):
            edges = tuple(edges)
        if len(edges) not in AXES:
            raise ValueError(
                f"'edges' has {len(edges)} axes; a mesh needs one array of edges per axis, "
                "(z, x) in 2D or (z, y, x) in 3D."
            )
        arrays = []
        for name, values in zip(AXES[len(edges)], edges, strict=True):
            e = frozen(values, f"edges of axis {name}")
            if e.ndim != 1 or e.size < 2 or not (np.diff(e) > 0).all():
                raise ValueError(
                    f"'edges' of axis {name} must be at least two strictly increasing numbers, "
                    f"got {np.array2string(e, threshold=6)}. Sort them and drop repeated edges."
                )
            arrays.append(e)
        object.__setattr__(self, "edges", tuple(arrays))

    @classmethod
    def square(cls, n: int = 50, *, spacing: float = 0.8) -> Mesh:
        """Build the paper's section of `n` x `n` equal cells, centred on x = 0.

        Parameters
        ----------
        n : int, default=50
            Number of cells along each axis.
        spacing : float, default=0.8
            Cell size in metres.

        Returns
        -------
        mesh : Mesh
            Mesh of shape ``(n, n)`` with its top at z = 0.
        """
        return cls.regular((n, n), spacing)

    @classmethod
    def regular(
        cls, shape: Sequence[int], spacing: float | Sequence[float], *, top: float = 0.0
    ) -> Mesh:
        """Build a mesh of equal cells, centred horizontally on the origin.

        Parameters
        ----------
        shape : sequence of int
            Number of cells along each axis, ``(nz, nx)`` or ``(nz, ny, nx)``.
        spacing : float or sequence of float
            Cell size in metres, one number or one per axis.
        top : float, default=0.0
            Depth of the top in metres, positive down.

        Returns
        -------
        mesh : Mesh
            The mesh.
        """
        shape, steps = whole_numbers(shape, "shape"), real_array(spacing, "spacing")
        if steps.shape not in ((), (len(shape),)) or not (steps > 0).all():
            raise ValueError(
                f"'spacing' is {spacing!r}; it must be one positive number or one for each of the "
                f"{len(shape)} axes in 'shape'."
            )
        steps = np.broadcast_to(steps, (len(shape),))
        origins = [top] + [-n * h / 2 for n, h in zip(shape[1:], steps[1:], strict=True)]
        return cls(
            [o + h * np.arange(n + 1) for o, h, n in zip(origins, steps, shape, strict=True)]
        )

    @property
    def ndim(self) -> int:
        return len(self.edges)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(e.size - 1 for e in self.edges)

    @property
    def n_cells(self) -> int:
        return int(np.prod(self.shape))

    @property
    def centers(self) -> tuple[Array, ...]:
        return tuple((e[1:] + e[:-1]) / 2 for e in self.edges)

    @property
    def widths(self) -> tuple[Array, ...]:
        return tuple(np.diff(e) for e in self.edges)

    @property
    def volumes(self) -> Array:
        return reduce(np.multiply.outer, self.widths).ravel()

    def unflatten(self, rho: ArrayLike) -> Array:
        """Turn density vectors into images.

        Parameters
        ----------
        rho : array-like of shape (n_cells,) or (n_samples, n_cells)
            Densities, flattened in C order, top layer first.

        Returns
        -------
        images : ndarray of shape `shape` or (n_samples, *shape)
            The densities as sections or volumes, depth first.
        """
        rho = real_array(rho, "rho", finite=False)
        if rho.shape[-1:] != (self.n_cells,):
            raise ValueError(
                f"'rho' has shape {rho.shape}; its last axis must have the {self.n_cells} cells "
                f"of this mesh of shape {self.shape}."
            )
        return rho.reshape(*rho.shape[:-1], *self.shape)

    def flatten(self, images: ArrayLike) -> Array:
        """Turn images into density vectors, as estimators take them.

        Parameters
        ----------
        images : array-like of shape `shape` or (n_samples, *shape), or xarray DataArray
            Densities, depth first. The dimensions of a DataArray may be in any order; its
            coordinates must be the cell centres of this mesh, and its attribute ``units``, by
            default kg/m3, is converted to kg/m3.

        Returns
        -------
        rho : ndarray of shape (n_cells,) or (n_samples, n_cells)
            The densities, flattened in C order, top layer first.

        Raises
        ------
        ValueError
            If the shape or the coordinates do not match the mesh, or the unit is unknown.
        """
        if _xarray.is_labelled(images):
            images = _xarray.density_image(self.edges, images)
        images = _xarray.as_array(images, self.shape, "images", "the shape of this mesh")
        return images.reshape(*images.shape[: -self.ndim], self.n_cells)

    def to_xarray(self, rho: ArrayLike, *, name: str = "density", units: str = "kg/m3") -> Any:
        """Label densities with the coordinates of their cells.

        Parameters
        ----------
        rho : array-like of shape (n_cells,) or (n_samples, n_cells)
            Densities, flattened in C order, top layer first.
        name : str, default="density"
            Name of the array.
        units : str, default="kg/m3"
            Unit of the densities, stored as an attribute, from which `flatten` converts.

        Returns
        -------
        array : xarray.DataArray of dimensions (z, x) or (z, y, x)
            The densities; several samples have the first dimension `sample`. Coordinates are cell
            centres in metres, z positive down, and edges, ``z_min``, ``z_max`` and so on, from
            which `from_xarray` restores the mesh exactly, or the part of it that was selected.

        Raises
        ------
        ImportError
            If xarray, part of ``skgrav[io]``, is missing.
        """
        return _xarray.density_array(self.edges, self.unflatten(rho), name, units)

    @classmethod
    def from_xarray(cls, array: Any) -> Mesh:
        """Build the mesh of a labelled array; `flatten` gives the densities.

        Parameters
        ----------
        array : xarray.DataArray or Dataset of dimensions (z, x) or (z, y, x)
            Coordinates in metres, z positive down, increasing; edges as `to_xarray` writes them.
            Without edges, three or more equally spaced centres give equal cells.

        Returns
        -------
        mesh : Mesh
            The mesh.

        Raises
        ------
        ValueError
            If dimensions are missing, the attributes of a coordinate say that it is not in metres
            or not positive down, or the centres do not determine the edges.
        """
        return cls(_xarray.edges_of(array))

    def to_pyvista(self, rho: ArrayLike, *, name: str = "density") -> Any:
        """Convert densities to a pyvista grid, for views in 3D; no window is opened.

        Parameters
        ----------
        rho : array-like of shape (n_cells,)
            Densities, flattened in C order, top layer first.
        name : str, default="density"
            Name of the densities in the grid's cell data.

        Returns
        -------
        grid : pyvista.RectilinearGrid
            The cells with z positive up, as pyvista's cameras expect: a depth of 100 m is z = -100.
            A 2D mesh becomes a flat section at y = 0.

        Raises
        ------
        ImportError
            If pyvista, part of ``skgrav[plot3d]``, is missing.
        """
        return _pyvista.rectilinear_grid(self.edges, self.unflatten(rho), name)

    def _key(self) -> tuple[Any, ...]:
        return tuple(e.tobytes() for e in self.edges)

    def __repr__(self) -> str:
        cells = " x ".join(map(str, self.shape))
        spans = [
            f"{name} {e[0]:.{_digits(e)}g} to {e[-1]:.{_digits(e)}g} m"
            for name, e in zip(AXES[self.ndim], self.edges, strict=True)
        ]
        return f"Mesh({cells} cells, {', '.join(spans)})"


def _digits(edges: Array) -> int:
    # Six digits of the length of the mesh, however far it is from the origin.
    return 6 + max(0, int(np.log10(np.abs(edges).max() / (edges[-1] - edges[0]))))
