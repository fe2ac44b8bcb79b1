"""Where the unknowns and the data are: tensor meshes and surveys, frozen value objects."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import reduce
from operator import index
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skgrav._checks import named, real_array

__all__ = ["AXES", "Mesh", "Survey"]

#: Axis names by number of dimensions, in the order of mesh axes and station columns.
AXES = {2: ("z", "x"), 3: ("z", "y", "x")}


def _frozen(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """Return a read-only float64 copy of finite `values`."""
    array = real_array(values, name, copy=True)
    array.setflags(write=False)
    return array


def _counts(values: Sequence[int], name: str) -> tuple[int, ...]:
    """Return whole numbers of at least 1."""
    with named(name):
        counts = tuple(index(value) for value in values)
    if not counts or min(counts) < 1:
        raise ValueError(f"'{name}' is {values!r}; it must be whole numbers of at least 1.")
    return counts


class _ValueObject(ABC):
    """Equality, hash, copy and pickle by the bytes of the arrays of a frozen dataclass."""

    @abstractmethod
    def _key(self) -> tuple[Any, ...]:
        """Return what makes two objects equal."""

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self

    def __reduce__(self):
        # Through the constructor, since NumPy's pickles forget that an array is read-only.
        return type(self), tuple(getattr(self, f.name) for f in fields(self))  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False, repr=False)
class Mesh(_ValueObject):
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

    edges: tuple[NDArray[np.float64], ...]

    def __init__(self, edges: Sequence[ArrayLike]) -> None:
        with named("edges"):
            edges = tuple(edges)
        if len(edges) not in AXES:
            raise ValueError(
                f"'edges' has {len(edges)} axes; a mesh needs one array of edges per axis, "
                "(z, x) in 2D or (z, y, x) in 3D."
            )
        frozen = tuple(
            _frozen(e, f"edges of axis {name}")
            for e, name in zip(edges, AXES[len(edges)], strict=True)
        )
        for name, e in zip(AXES[len(edges)], frozen, strict=True):
            if e.ndim != 1 or e.size < 2 or not (np.diff(e) > 0).all():
                raise ValueError(
                    f"'edges' of axis {name} must be at least two strictly increasing numbers, "
                    f"got {np.array2string(e, threshold=6)}. Sort them and drop repeated edges."
                )
        object.__setattr__(self, "edges", frozen)

    @classmethod
    def square(cls, n: int = 50, *, spacing: float = 0.8) -> Mesh:
        """Build the square section of the paper: `n` x `n` equal cells, centred on x = 0.

        Parameters
        ----------
        n : int, default=50
            Number of cells along each axis.
        spacing : float, default=0.8
            Cell size in metres; the default makes the section of 50 x 50 cells 40 m wide.

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
        shape, steps = _counts(shape, "shape"), real_array(spacing, "spacing")
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
    def centers(self) -> tuple[NDArray[np.float64], ...]:
        return tuple((e[1:] + e[:-1]) / 2 for e in self.edges)

    @property
    def widths(self) -> tuple[NDArray[np.float64], ...]:
        return tuple(np.diff(e) for e in self.edges)

    @property
    def volumes(self) -> NDArray[np.float64]:
        return reduce(np.multiply.outer, self.widths).ravel()

    def unflatten(self, rho: ArrayLike) -> NDArray[np.float64]:
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
                f"'rho' has shape {rho.shape}; its last axis must hold the {self.n_cells} cells "
                f"of this mesh of shape {self.shape}."
            )
        return rho.reshape(*rho.shape[:-1], *self.shape)

    def _key(self) -> tuple[Any, ...]:
        return tuple(e.tobytes() for e in self.edges)

    def __repr__(self) -> str:
        cells = " x ".join(map(str, self.shape))
        spans = [
            f"{name} {e[0]:g} to {e[-1]:g} m"
            for name, e in zip(AXES[self.ndim], self.edges, strict=True)
        ]
        return f"Mesh({cells} cells, {', '.join(spans)})"


@dataclass(frozen=True, eq=False, repr=False)
class Survey(_ValueObject):
    """Stations and the components of gravity measured at each of them.

    Data of a survey are vectors of `n_data` values, component-major: all stations of the first
    component, then all stations of the second, as in ``[gx | gz]``. z is positive down, so a
    station 10 m above the datum has z = -10, and gz is positive toward a positive mass below.

    Parameters
    ----------
    stations : array-like of shape (n_stations, ndim)
        Coordinates in metres, with columns ``(z, x)`` or ``(z, y, x)``.
    components : sequence of {"x", "y", "z"}, default=("x", "z")
        Components measured at each station, in the order of the data.
    uncertainty : float or array-like of shape (n_data,), default=None
        Standard deviation of the noise of each datum, in the unit of the data.

    Attributes
    ----------
    ndim : int
        Number of coordinates, 2 or 3.
    n_stations : int
        Number of stations.
    n_data : int
        Number of data, stations times components.

    Raises
    ------
    ValueError
        If the coordinates are not finite, a component is unknown or repeated, or the uncertainty
        is not positive.

    See Also
    --------
    Mesh : The cells below a survey.

    Examples
    --------
    >>> from skgrav import Mesh, Survey
    >>> survey = Survey.line(Mesh.square(50))
    >>> survey
    Survey(150 stations, components x, z)
    >>> survey.n_data
    300
    """

    stations: NDArray[np.float64]
    components: tuple[str, ...]
    uncertainty: NDArray[np.float64] | None

    def __init__(
        self,
        stations: ArrayLike,
        components: Sequence[str] = ("x", "z"),
        uncertainty: ArrayLike | None = None,
    ) -> None:
        stations = _frozen(stations, "stations")
        if stations.ndim != 2 or stations.shape[1] not in AXES or stations.shape[0] == 0:
            raise ValueError(
                f"'stations' has shape {stations.shape}; it must be (n_stations, 2) with columns "
                "(z, x) or (n_stations, 3) with columns (z, y, x)."
            )
        components = tuple(components)
        allowed = AXES[stations.shape[1]]
        if (
            not components
            or not set(components) <= set(allowed)
            or len(set(components)) < len(components)
        ):
            raise ValueError(
                f"'components' is {components!r}; allowed are distinct names out of {allowed!r} "
                f"for stations with {stations.shape[1]} coordinates."
            )
        n_data = len(stations) * len(components)
        if uncertainty is not None:
            uncertainty = _frozen(uncertainty, "uncertainty")
            if uncertainty.shape not in ((), (n_data,)) or not (uncertainty > 0).all():
                least = uncertainty.min(initial=np.inf)
                raise ValueError(
                    f"'uncertainty' has shape {uncertainty.shape} and minimum {least:g}; it must "
                    "be one positive number or one per datum, "
                    f"({n_data},)."
                )
            uncertainty = _frozen(np.broadcast_to(uncertainty, n_data), "uncertainty")
        object.__setattr__(self, "stations", stations)
        object.__setattr__(self, "components", components)
        object.__setattr__(self, "uncertainty", uncertainty)

    @classmethod
    def line(
        cls,
        mesh: Mesh,
        *,
        n_stations: int | None = None,
        height: float | None = None,
        components: Sequence[str] = ("x", "z"),
    ) -> Survey:
        """Lay a line of stations above a 2D mesh, at the spacing of its columns.

        Parameters
        ----------
        mesh : Mesh
            A 2D mesh. Station spacing is the mean width of its columns.
        n_stations : int, default=None
            Number of stations, centred on the mesh; None takes three per column, so that the
            line reaches one model width beyond either side.
        height : float, default=None
            Height of the stations above the top of the mesh in metres; None puts them one
            spacing above the centres of the first layer.
        components : sequence of {"x", "z"}, default=("x", "z")
            Components measured.

        Returns
        -------
        survey : Survey
            The line.
        """
        if mesh.ndim != 2:
            raise ValueError(
                f"'mesh' has {mesh.ndim} axes; Survey.line needs 2. Use Survey.grid in 3D."
            )
        z, x = mesh.edges
        n = 3 * mesh.shape[1] if n_stations is None else n_stations
        if n < 1:
            raise ValueError(f"'n_stations' is {n}; it must be at least 1.")
        spacing = (x[-1] - x[0]) / mesh.shape[1]
        if height is None:
            height = spacing - (z[1] - z[0]) / 2
        along = (x[0] + x[-1]) / 2 + spacing * (np.arange(n) - (n - 1) / 2)
        return cls(np.column_stack([np.full(n, z[0] - height), along]), components)

    @classmethod
    def grid(
        cls,
        mesh: Mesh,
        *,
        height: float,
        shape: Sequence[int] | None = None,
        components: Sequence[str] = ("z",),
    ) -> Survey:
        """Lay a grid of stations above a 3D mesh, at the spacing of its columns.

        Parameters
        ----------
        mesh : Mesh
            A 3D mesh.
        height : float
            Height of the stations above the top of the mesh in metres.
        shape : sequence of two int, default=None
            Number of stations along y and x, centred on the mesh; None takes one per column.
        components : sequence of {"x", "y", "z"}, default=("z",)
            Components measured.

        Returns
        -------
        survey : Survey
            The grid, stations in C order of (y, x).
        """
        if mesh.ndim != 3:
            raise ValueError(
                f"'mesh' has {mesh.ndim} axes; Survey.grid needs 3. Use Survey.line in 2D."
            )
        counts = mesh.shape[1:] if shape is None else _counts(shape, "shape")
        if len(counts) != 2:
            raise ValueError(
                f"'shape' is {shape!r}; it must be two positive numbers of stations, (ny, nx)."
            )
        axes = [
            (e[0] + e[-1]) / 2 + (e[-1] - e[0]) / n_columns * (np.arange(n) - (n - 1) / 2)
            for e, n_columns, n in zip(mesh.edges[1:], mesh.shape[1:], counts, strict=True)
        ]
        y, x = np.meshgrid(*axes, indexing="ij")
        z = np.full(y.size, mesh.edges[0][0] - height)
        return cls(np.column_stack([z, y.ravel(), x.ravel()]), components)

    @property
    def ndim(self) -> int:
        return int(self.stations.shape[1])

    @property
    def n_stations(self) -> int:
        return len(self.stations)

    @property
    def n_data(self) -> int:
        return self.n_stations * len(self.components)

    def unflatten(self, g: ArrayLike) -> NDArray[np.float64]:
        """Turn data vectors into one row of stations per component.

        Parameters
        ----------
        g : array-like of shape (n_data,) or (n_samples, n_data)
            Gravity, component-major.

        Returns
        -------
        profiles : ndarray of shape (n_components, n_stations) or (n_samples, ...)
            The data of each component.
        """
        g = real_array(g, "g", finite=False)
        if g.shape[-1:] != (self.n_data,):
            raise ValueError(
                f"'g' has shape {g.shape}; its last axis must hold the {self.n_data} data of "
                f"this survey, {self.n_stations} stations times components {self.components}."
            )
        return g.reshape(*g.shape[:-1], len(self.components), self.n_stations)

    def _key(self) -> tuple[Any, ...]:
        uncertainty = None if self.uncertainty is None else self.uncertainty.tobytes()
        return self.stations.shape, self.stations.tobytes(), self.components, uncertainty

    def __repr__(self) -> str:
        return f"Survey({self.n_stations} stations, components {', '.join(self.components)})"
