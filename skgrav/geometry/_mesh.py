"""Tensor meshes, whose cells are the unknowns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike

from skgrav._checks import named, real_array
from skgrav._constraints import ANY_NUMBER, COUNT, checked
from skgrav._typing import Array, Indices, Mask
from skgrav.geometry import _pyvista, _xarray
from skgrav.geometry._automatic import Sizes, automatic_mesh
from skgrav.geometry._topography import below, fraction_below
from skgrav.geometry._values import AXES, ValueObject, frozen, whole_numbers

if TYPE_CHECKING:
    from skgrav.geometry._survey import Survey


@dataclass(frozen=True, eq=False, repr=False)
class Mesh(ValueObject):
    """Tensor mesh of rectangular cells in 2D ``(z, x)`` or 3D ``(z, y, x)``.

    Densities on a mesh are vectors of `n_cells` values: the image of shape `shape` flattened in
    C order, so the top layer comes first. z is positive down. With `active`, the other cells of
    the block, such as air, are not unknowns, and the vectors leave them out.

    Parameters
    ----------
    edges : sequence of array-like of shape (n + 1,)
        Cell edges along each axis in metres, strictly increasing: ``(z, x)`` for a section of
        infinite strike, ``(z, y, x)`` for a volume. Layers may have any thickness.
    active : array-like of bool of shape `shape`, default=None
        Cells that are unknowns; None makes all cells active. `below` takes the cells below a
        topography.

    Attributes
    ----------
    ndim : int
        Number of axes, 2 or 3.
    shape : tuple of int
        Number of cells of the block along each axis, ``(nz, nx)`` or ``(nz, ny, nx)``.
    n_cells : int
        Number of active cells.
    cells : ndarray of shape (n_cells,)
        Index of each active cell in the flattened block.
    cell_centers : ndarray of shape (n_cells, ndim)
        Centre of each active cell in metres, with columns in the order of the axes.
    whole : Mesh
        The block with all its cells active.
    centers : tuple of ndarray
        Cell centres along each axis in metres.
    widths : tuple of ndarray
        Cell widths along each axis in metres.
    volumes : ndarray of shape (n_cells,)
        Volume of each active cell in m3; in 2D its area in m2.

    Raises
    ------
    ValueError
        If there are not two or three axes, the edges of one do not increase, or `active` has
        another shape or no active cell.

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

    Below a slope that rises to z = 0 at the right end:

    >>> mesh.below(lambda x: 150 - 0.1 * x)
    Mesh(2 x 3 cells, 4 active, z 0 to 300 m, x 0 to 1500 m)
    """

    edges: tuple[Array, ...]
    active: Mask | None = None

    def __init__(self, edges: Sequence[ArrayLike], active: ArrayLike | None = None) -> None:
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
        object.__setattr__(self, "active", None if active is None else self._mask(active))

    def _mask(self, active: ArrayLike) -> Mask | None:
        """Return a read-only mask of the block, None if all cells are active."""
        values = real_array(active, "active")
        if values.shape != self.shape or not np.isin(values, (0.0, 1.0)).all():
            span = f" and values from {values.min():g} to {values.max():g}" if values.size else ""
            raise ValueError(
                f"'active' has shape {values.shape}{span}; it must be True or False for each cell "
                f"of the block of shape {self.shape}."
            )
        mask = values == 1.0
        if not mask.any():
            raise ValueError("'active' has no active cell; at least one must be True.")
        mask.setflags(write=False)
        return None if mask.all() else mask

    @classmethod
    @checked(n=[COUNT])
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
    @checked(top=[ANY_NUMBER])
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

    @overload
    @classmethod
    def for_survey(
        cls,
        survey: Survey,
        topography: Any = ...,
        *,
        cell: ArrayLike | None = ...,
        depth: float | None = ...,
        padding: float | Literal["extent"] | None = ...,
        positive: Literal["down", "up"] = ...,
        max_cells: int | None = ...,
        verbose: bool = ...,
        return_fraction: Literal[False] = ...,
    ) -> Mesh: ...

    @overload
    @classmethod
    def for_survey(
        cls,
        survey: Survey,
        topography: Any = ...,
        *,
        cell: ArrayLike | None = ...,
        depth: float | None = ...,
        padding: float | Literal["extent"] | None = ...,
        positive: Literal["down", "up"] = ...,
        max_cells: int | None = ...,
        verbose: bool = ...,
        return_fraction: Literal[True],
    ) -> tuple[Mesh, Array]: ...

    @classmethod
    @checked(verbose=["verbose"], return_fraction=["boolean"])
    def for_survey(
        cls,
        survey: Survey,
        topography: Any = None,
        *,
        cell: ArrayLike | None = None,
        depth: float | None = None,
        padding: float | Literal["extent"] | None = "extent",
        positive: Literal["down", "up"] = "down",
        max_cells: int | None = None,
        verbose: bool = False,
        return_fraction: bool = False,
    ) -> Mesh | tuple[Mesh, Array]:
        """Choose a mesh for a survey.

        Equal columns lie below the stations, wider ones beside them, and layers thicken with depth.
        The choices and their reasons are logged at the level INFO; see Notes.

        Parameters
        ----------
        survey : Survey
            The stations, in 2D or 3D.
        topography : float, array-like, callable, DataArray or Survey, default=None
            The ground, as `below` takes it, but not by column; a number is the depth of flat
            ground. None takes it as high as the stations, linear between and constant beyond them.
        cell : float or sequence of ndim floats, default=None
            Width of the columns in metres, or thickness of the first layer and widths, ``(z, x)``
            or ``(z, y, x)``. None takes the spacing of the stations.
        depth : float, default=None
            Depth of the mesh below the lowest ground in metres; None takes half the extent of the
            survey.
        padding : float, "extent" or None, default="extent"
            Length of the padding on each side in metres, at least; None has no padding.
        positive : {"down", "up"}, default="down"
            Whether the values of `topography` are depths, or elevations, as in `below`.
        max_cells : int, default=None
            Largest number of cells of the block; None allows 50,000 in 2D and 250,000 in 3D.
        verbose : bool, default=False
            Whether to print what was chosen.
        return_fraction : bool, default=False
            Whether to return the fraction of the cells, too.

        Returns
        -------
        mesh : Mesh
            The mesh; where the ground is not flat, cells above it and above stations are inactive.
        fraction : ndarray of shape (n_cells,)
            As by `fraction_below`, with the ground continued into the padding as for the mesh; only
            if `return_fraction`.

        Raises
        ------
        ValueError
            If the stations have a single position and `cell` or `depth` is not given, coordinates
            are degrees, or `cell` makes more than `max_cells` cells.

        Warns
        -----
        UserWarning
            If columns are wider than the spacing of the stations because of `max_cells`, or
            stations lie far from all others, below the topography, or beyond it.

        See Also
        --------
        below : Cells below a topography, for a mesh of other edges.
        fraction_below : Mass of the highest cells up to the ground.
        ForwardOperator.plan : Memory for mesh and survey.

        Notes
        -----
        Columns are as wide as the median distance of stations to their nearest neighbour, where
        stations repeated some metres apart count as one. Where stations lie on a lattice, columns
        match it, so that, without padding, they stand at the same place of each column, as FFTs
        need. In 3D the columns reach at least as far across as the mesh is deep.

        The first layer is as thick as half a column, or half the height of the stations above the
        ground if that is more, but at most a tenth of the depth. Layers are equal through the
        relief of the ground, at most 20, and grow by 1.1 below. The default depth is half the
        longest extent of the survey: a mass at this depth has an anomaly as wide as the survey at
        half of its height, while that of a deeper one resembles a trend. Columns of padding grow by
        1.3: sources beside the stations are explained there, instead of at the ends.

        Stations that differ in height by up to a quarter of a column have flat ground at the lowest
        one. Those below others, as in a borehole, have flat ground at the highest.

        Examples
        --------
        >>> import numpy as np
        >>> from skgrav import Mesh, Survey
        >>> x = np.arange(0.0, 4001.0, 100.0)
        >>> survey = Survey(np.column_stack([np.zeros(41), x]), "z")
        >>> mesh = Mesh.for_survey(survey, verbose=True)
        Mesh(17 x 59 cells, z 0 to 2000 m, x -4211.95 to 8211.95 m)
        ground: flat at the height of the stations, z = 0 m; give 'topography' for another ground
        columns: 41 of 100 m; the stations are 100 m apart (median), on a lattice that they match
        layers: 17 growing by 1.1 from 49.33 to 226.7 m; the first is half a column
        depth: 2000 m below the ground, half the 4000 m of the survey
        padding: 9 columns on each side, growing by 1.3 to 1060 m, for sources up to 4162 m beyond
        """
        if not hasattr(survey, "stations"):
            raise TypeError(f"'survey' is of type {type(survey).__name__}; give a Survey.")
        sizes = Sizes.checked(survey.ndim, cell, depth, padding, max_cells)
        chosen = automatic_mesh(survey, topography, sizes, positive)
        mesh = cls(chosen.edges)
        if chosen.ground is not None:
            mesh = mesh.below(chosen.ground, survey=survey)
        if verbose:
            print(f"{mesh!r}\n{chosen.text}")  # noqa: T201, it is asked for
        if not return_fraction:
            return mesh
        ground = chosen.ground
        return mesh, np.ones(mesh.n_cells) if ground is None else mesh.fraction_below(ground)

    @property
    def ndim(self) -> int:
        return len(self.edges)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(e.size - 1 for e in self.edges)

    @property
    def n_cells(self) -> int:
        return int(np.prod(self.shape) if self.active is None else np.count_nonzero(self.active))

    @property
    def cells(self) -> Indices:
        if self.active is None:
            cells = np.arange(int(np.prod(self.shape)))
        else:
            cells = np.flatnonzero(self.active)
        cells.setflags(write=False)
        return cells

    @property
    def cell_centers(self) -> Array:
        indices = np.unravel_index(self.cells, self.shape)
        return np.column_stack([c[i] for c, i in zip(self.centers, indices, strict=True)])

    @property
    def whole(self) -> Mesh:
        return self if self.active is None else Mesh(self.edges)

    @property
    def centers(self) -> tuple[Array, ...]:
        return tuple((e[1:] + e[:-1]) / 2 for e in self.edges)

    @property
    def widths(self) -> tuple[Array, ...]:
        return tuple(np.diff(e) for e in self.edges)

    @property
    def volumes(self) -> Array:
        volumes = reduce(np.multiply.outer, self.widths)
        return volumes.ravel() if self.active is None else volumes[self.active]

    def below(
        self,
        topography: Any,
        *,
        survey: Survey | None = None,
        positive: Literal["down", "up"] = "down",
    ) -> Mesh:
        """Return the mesh with those active cells whose centre lies below the ground.

        Parameters
        ----------
        topography : float, array-like, callable, DataArray or Survey
            Depth of the ground in metres: a number for flat ground; an array with a value for each
            column, of shape ``shape[1:]``; points of shape (n_points, ndim) with columns ``(z, x)``
            or ``(z, y, x)``, or the stations of a survey; a function of arrays of the horizontal
            coordinates, ``f(x)`` or ``f(y, x)``; or an xarray grid with coordinates x, in 3D y
            and x, or easting and northing. Between points and nodes it is interpolated linearly.
            Beyond them, columns take the depth of the nearest, with a warning.
        survey : Survey, default=None
            Stations that are not underground: cells that reach above a station in their column
            are air, although their centre may lie below the ground.
        positive : {"down", "up"}, default="down"
            Whether the values of `topography` are depths, or elevations. The attribute
            ``positive`` of a DataArray comes first; stations of a survey are always depths.

        Returns
        -------
        mesh : Mesh
            The same block. Cells that are inactive already remain so.

        Raises
        ------
        ValueError
            If the topography has another shape, is not finite, or leaves no active cell.

        Warns
        -----
        UserWarning
            If columns lie beyond the points or nodes of the topography.

        See Also
        --------
        fraction_below : Mass of the highest cells up to the ground.
        """
        active = below(self.edges, topography, survey, positive)
        if self.active is not None:
            active &= self.active
        return Mesh(self.edges, active)

    def fraction_below(self, topography: Any, *, positive: Literal["down", "up"] = "down") -> Array:
        """Return the volume of rock that each active cell represents, relative to its own.

        Parameters
        ----------
        topography : float, array-like, callable, DataArray or Survey
            Depth of the ground in metres, as `below` took it.
        positive : {"down", "up"}, default="down"
            Whether the values of `topography` are depths, or elevations, as in `below`.

        Returns
        -------
        fraction : ndarray of shape (n_cells,)
            The parameter `fraction` of `ForwardOperator`: 1 except in the highest active cell of
            each column, which represents all rock of the column up to the ground: half a cell less
            or more, or all that `below` left out because of stations. Rock above the block is not
            counted.

        Raises
        ------
        ValueError
            If the ground is below the centre of the highest active cell of a column, as in the
            padding of `for_survey`, which gives the fraction for its mesh itself.

        Warns
        -----
        UserWarning
            If columns lie beyond the points or nodes of the topography.

        See Also
        --------
        below : The mesh of the cells below the ground.

        Examples
        --------
        >>> from skgrav import ForwardOperator, Mesh, Survey
        >>> ground = [70.0, 100.0, 120.0]
        >>> mesh = Mesh([[0, 100, 300], [0, 500, 1000, 1500]]).below(ground)
        >>> fraction = mesh.fraction_below(ground)
        >>> mesh.unflatten(fraction)
        array([[ nan,  nan,  nan],
               [1.15, 1.  , 0.9 ]])
        >>> operator = ForwardOperator(mesh, Survey.line(mesh), fraction=fraction).fit()
        """
        active = np.ones(self.shape, dtype=bool) if self.active is None else self.active
        return self.flatten(fraction_below(self.edges, active, topography, positive))

    @checked(fill=[Real])
    def unflatten(self, rho: ArrayLike, fill: float = np.nan) -> Array:
        """Turn density vectors into images.

        Parameters
        ----------
        rho : array-like of shape (n_cells,) or (n_samples, n_cells)
            Densities of the active cells, flattened in C order, top layer first.
        fill : float, default=nan
            Value of the inactive cells.

        Returns
        -------
        images : ndarray of shape `shape` or (n_samples, *shape)
            The densities as sections or volumes, depth first.
        """
        rho = real_array(rho, "rho", finite=False)
        if rho.shape[-1:] != (self.n_cells,):
            raise ValueError(
                f"'rho' has shape {rho.shape}; its last axis must have the {self.n_cells} cells "
                f"of this mesh of shape {self.shape}{self._active_text(', {} active')}."
            )
        if self.active is None:
            return rho.reshape(*rho.shape[:-1], *self.shape)
        images = np.full((*rho.shape[:-1], *self.shape), float(fill))
        images[..., self.active] = rho
        return images

    def flatten(self, images: ArrayLike) -> Array:
        """Turn images into density vectors, as estimators take them.

        Parameters
        ----------
        images : array-like of shape `shape` or (n_samples, *shape), or xarray DataArray
            Densities, depth first; those of inactive cells are left out. The dimensions of a
            DataArray may be in any order; its coordinates must be the cell centres of this mesh,
            and its attribute ``units``, by default kg/m3, is converted to kg/m3.

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
        if self.active is not None:
            return images[..., self.active]
        return images.reshape(*images.shape[: -self.ndim], self.n_cells)

    @checked(name=[str], units=[str])
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
            Densities of inactive cells are NaN, and the coordinate ``active`` says which these are.

        Raises
        ------
        ImportError
            If xarray, part of ``skgrav[io]``, is missing.
        """
        return _xarray.density_array(self.edges, self.unflatten(rho), name, units, self.active)

    @classmethod
    def from_xarray(cls, array: Any) -> Mesh:
        """Build the mesh of a labelled array; `flatten` gives the densities.

        Parameters
        ----------
        array : xarray.DataArray or Dataset of dimensions (z, x) or (z, y, x)
            Coordinates in metres, z positive down, increasing; edges as `to_xarray` writes them.
            Without edges, three or more equally spaced centres give equal cells. Active cells are
            those of a coordinate ``active``, as `to_xarray` writes it, otherwise those of a
            DataArray that are not NaN in all samples.

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
        return cls(_xarray.edges_of(array), _xarray.active_of(array))

    @checked(name=[str])
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
            A 2D mesh becomes a flat section at y = 0. Inactive cells are NaN, and 0 in the cell
            data ``active``: ``grid.threshold(0.5, scalars="active")`` leaves them out.

        Raises
        ------
        ImportError
            If pyvista, part of ``skgrav[plot3d]``, is missing.
        """
        return _pyvista.rectilinear_grid(self.edges, self.unflatten(rho), name, self.active)

    @classmethod
    def from_pyvista(cls, grid: Any) -> Mesh:
        """Build the mesh of a pyvista grid, as from a VTK file ``.vtr``.

        Parameters
        ----------
        grid : pyvista.RectilinearGrid
            Cells in metres, z positive up, as `to_pyvista` makes them; without extent along y it
            is a section. Its cell data ``active``, if there are any, say which cells are active.

        Returns
        -------
        mesh : Mesh
            The mesh, z positive down.

        Raises
        ------
        ValueError
            If the grid is not rectilinear.
        """
        return cls(*_pyvista.edges_and_active(grid))

    def _key(self) -> tuple[Any, ...]:
        active = None if self.active is None else self.active.tobytes()
        return *(e.tobytes() for e in self.edges), active

    def __repr__(self) -> str:
        cells = " x ".join(map(str, self.shape))
        spans = [
            f"{name} {e[0]:.{_digits(e)}g} to {e[-1]:.{_digits(e)}g} m"
            for name, e in zip(AXES[self.ndim], self.edges, strict=True)
        ]
        return f"Mesh({cells} cells{self._active_text(', {} active')}, {', '.join(spans)})"

    def _active_text(self, text: str) -> str:
        return "" if self.active is None else text.format(self.n_cells)


def _digits(edges: Array) -> int:
    # Six digits of the length of the mesh, however far it is from the origin.
    return 6 + max(0, int(np.log10(np.abs(edges).max() / (edges[-1] - edges[0]))))
