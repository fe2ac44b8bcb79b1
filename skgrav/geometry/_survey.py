"""Surveys: stations and the components of gravity and its gradients measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skgrav._checks import check_basis, check_dummies, check_uncertainty, real_array
from skgrav._constraints import ANY_NUMBER, WHOLE, checked
from skgrav._typing import Array
from skgrav.geometry import _xarray
from skgrav.geometry._mesh import Mesh
from skgrav.geometry._stations import by_axis_names
from skgrav.geometry._values import (
    AXES,
    COMPONENTS,
    ValueObject,
    frozen,
    single_component,
    whole_numbers,
)


@dataclass(frozen=True, eq=False, repr=False)
class Survey(ValueObject):
    """Stations and the components of gravity measured at each of them.

    Data of a survey are vectors of `n_data` values, component-major: all stations of the first
    component, then all stations of the second, as in ``[gx | gz]``. z is positive down, so a
    station 10 m above the datum has z = -10, and gz is positive toward a positive mass below.
    Gravity is in mGal. Gradients are in Eotvos, 1e-9 s^-2 or 1e-4 mGal per metre; zz is the
    derivative of gz with respect to depth z, positive above a positive mass.

    Parameters
    ----------
    stations : array-like of shape (n_stations, ndim)
        Coordinates in metres, with columns ``(z, x)`` or ``(z, y, x)``. The columns of a data
        frame are taken by these names, in any order.
    components : str or sequence of str, default=("x", "z")
        Components measured at each station, in the order of the data: gravity ``"x"``, ``"y"`` and
        ``"z"``, and gradients ``"xx"``, ``"xy"``, ``"xz"``, ``"yy"``, ``"yz"`` and ``"zz"``; in 2D
        those without y.
    uncertainty : float or array-like of shape (n_data,), default=None
        Standard deviation of the noise of each datum, in the unit of the data; a number for all
        of them only where all have the same unit.
    trend : {0, 1, 2}, array-like of shape (n_data, n_coefficients) or None, default=None
        Coherent part of the data that is not gravity of the mesh: a polynomial of this degree in
        the horizontal coordinates for each component (an unknown base level, a planar or quadratic
        regional field), or a basis with one column for each coefficient. The coefficients are
        free: no density is estimated from what the trend explains.

    Attributes
    ----------
    ndim : int
        Number of coordinates, 2 or 3.
    n_stations : int
        Number of stations.
    n_data : int
        Number of data, stations times components.
    trend_basis : ndarray of shape (n_data, n_coefficients)
        Basis of the trend: powers of the horizontal distance from the mean station in metres, for
        each component; without a trend it has no columns.
    trend_names : tuple of str
        Name of each coefficient, such as ``"gz"`` and ``"gz x"``.

    Raises
    ------
    ValueError
        If the coordinates are not finite, a component is unknown or repeated, the uncertainty is
        not positive, or the stations do not determine the trend.

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

    stations: Array
    components: tuple[str, ...]
    uncertainty: Array | None
    trend: int | Array | None

    def __init__(
        self,
        stations: ArrayLike,
        components: str | Sequence[str] = ("x", "z"),
        uncertainty: ArrayLike | None = None,
        trend: ArrayLike | None = None,
    ) -> None:
        stations = frozen(by_axis_names(stations, "stations"), "stations")
        if stations.ndim != 2 or stations.shape[1] not in AXES or stations.shape[0] == 0:
            raise ValueError(
                f"'stations' has shape {stations.shape}; it must be (n_stations, 2) with columns "
                "(z, x) or (n_stations, 3) with columns (z, y, x)."
            )
        for axis, column in zip(AXES[stations.shape[1]], stations.T, strict=True):
            check_dummies(column, f"stations, {axis}")
        if not isinstance(components, Iterable):
            raise TypeError(
                f"'components' is {components!r}; it must be a sequence of names, as ('x', 'z')."
            )
        allowed = COMPONENTS[stations.shape[1]]
        if isinstance(components, str):
            components = single_component(components, allowed)
        components = tuple(components)
        distinct = set(components)
        if not distinct or not distinct <= set(allowed) or len(distinct) < len(components):
            raise ValueError(
                f"'components' is {components!r}; allowed are distinct names out of {allowed!r} "
                f"for stations with {stations.shape[1]} coordinates."
            )
        n_data = len(stations) * len(components)
        if uncertainty is not None:
            sigma = check_uncertainty(uncertainty, n_data)
            if np.ndim(uncertainty) == 0 and len({len(c) for c in components}) > 1:
                raise ValueError(
                    f"'uncertainty' is {uncertainty!r} for the components {components}, of gravity "
                    f"in mGal and of gradients in E; give one for each of {n_data} data, as by "
                    "np.repeat([of each component], n_stations)."
                )
            uncertainty = frozen(sigma, "uncertainty")
        if isinstance(trend, Integral) and not isinstance(trend, bool):
            trend = int(trend)
            if trend not in (0, 1, 2):
                raise ValueError(
                    f"'trend' is {trend}; it must be a degree of 0, 1 or 2, a basis of shape "
                    f"({n_data}, n_coefficients), or None."
                )
        elif trend is not None:
            trend = frozen(check_basis(trend, n_data), "trend")
        object.__setattr__(self, "stations", stations)
        object.__setattr__(self, "components", components)
        object.__setattr__(self, "uncertainty", uncertainty)
        object.__setattr__(self, "trend", trend)
        if isinstance(trend, int):
            check_basis(self.trend_basis, n_data)

    @classmethod
    @checked(mesh=[Mesh], n_stations=[WHOLE, None], height=[ANY_NUMBER, None])
    def line(
        cls,
        mesh: Mesh,
        *,
        n_stations: int | None = None,
        height: float | None = None,
        components: str | Sequence[str] = ("x", "z"),
    ) -> Survey:
        """Lay a line of stations above a 2D mesh, at the spacing of its columns.

        Parameters
        ----------
        mesh : Mesh
            A 2D mesh. Station spacing is the mean width of its columns.
        n_stations : int, default=None
            Number of stations, centred on the mesh; None takes three per column, so that the
            line extends one mesh width beyond either side.
        height : float, default=None
            Height of the stations above the top of the mesh in metres; None puts them one
            station spacing above the centres of the first layer.
        components : str or sequence of str, default=("x", "z")
            Components measured, as in `Survey`.

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
    @checked(mesh=[Mesh], height=[ANY_NUMBER])
    def grid(
        cls,
        mesh: Mesh,
        *,
        height: float,
        shape: Sequence[int] | None = None,
        components: str | Sequence[str] = ("z",),
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
        components : str or sequence of str, default=("z",)
            Components measured, as in `Survey`.

        Returns
        -------
        survey : Survey
            The grid, stations in C order of (y, x).
        """
        if mesh.ndim != 3:
            raise ValueError(
                f"'mesh' has {mesh.ndim} axes; Survey.grid needs 3. Use Survey.line in 2D."
            )
        counts = mesh.shape[1:] if shape is None else whole_numbers(shape, "shape")
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

    @property
    def trend_basis(self) -> Array:
        if self.trend is None:
            return np.zeros((self.n_data, 0))
        if not isinstance(self.trend, int):
            return self.trend
        # From the mean station, since powers of UTM coordinates are nearly collinear.
        away = self.stations[:, 1:] - self.stations[:, 1:].mean(axis=0)
        powers = np.column_stack([np.prod(away**p, axis=1) for p in self._powers()])
        return np.kron(np.eye(len(self.components)), powers)

    @property
    def trend_names(self) -> tuple[str, ...]:
        if not isinstance(self.trend, int):
            n_columns = 0 if self.trend is None else self.trend.shape[1]
            return tuple(f"trend{i}" for i in range(n_columns))
        axes = AXES[self.ndim][1:]
        powers = [
            " ".join(a if k == 1 else f"{a}^{k}" for a, k in zip(axes, p, strict=True) if k)
            for p in self._powers()
        ]
        return tuple(f"g{c} {power}".rstrip() for c in self.components for power in powers)

    def _powers(self) -> list[tuple[int, ...]]:
        """Return the exponents of the horizontal coordinates in the trend, by rising degree."""
        degree = int(self.trend) if isinstance(self.trend, int) else -1
        every = product(range(degree + 1), repeat=self.ndim - 1)
        return sorted((p for p in every if sum(p) <= degree), key=lambda p: (sum(p), p))

    def unflatten(self, g: ArrayLike) -> Array:
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
                f"'g' has shape {g.shape}; its last axis must have the {self.n_data} data of "
                f"this survey, {self.n_stations} stations times components {self.components}."
            )
        return g.reshape(*g.shape[:-1], len(self.components), self.n_stations)

    def flatten(self, profiles: ArrayLike) -> Array:
        """Turn one row of stations per component into data vectors, as estimators take them.

        Parameters
        ----------
        profiles : array-like of shape (n_components, n_stations) or (n_samples, ...), or Dataset
            The data of each component. A Dataset has the variables gx, gzz and so on, at the
            stations of this survey; by their attributes, ``units`` are converted to mGal and
            Eotvos, and a gz, gxz or gyz that is ``positive`` up changes its sign. The defaults are
            mGal, Eotvos and positive down.

        Returns
        -------
        g : ndarray of shape (n_data,) or (n_samples, n_data)
            Gravity, component-major.

        Raises
        ------
        ValueError
            If a component is missing, the stations differ, or a unit or a direction is unknown.
        """
        if _xarray.is_labelled(profiles):
            profiles = _xarray.gravity_profiles(self.stations, self.components, profiles)
        shape = len(self.components), self.n_stations
        profiles = _xarray.as_array(profiles, shape, "profiles", "components and stations")
        return profiles.reshape(*profiles.shape[:-2], self.n_data)

    @checked(units=[str])
    def to_xarray(self, g: ArrayLike, *, units: str = "mGal") -> Any:
        """Label gravity with its components and stations.

        Parameters
        ----------
        g : array-like of shape (n_data,) or (n_samples, n_data)
            Gravity, component-major.
        units : str, default="mGal"
            Unit of the data and the uncertainty, stored as an attribute, from which `flatten` and
            `from_xarray` convert. A unit of gravity leaves gradients in E and the reverse, while
            ``"normalized"`` applies to all.

        Returns
        -------
        dataset : xarray.Dataset of dimensions (station,) or (sample, station)
            Variables ``gx``, ``gzz`` and so on, and if known ``gx_uncertainty``. The trend is the
            attribute ``trend_degree``, or variables ``gx_trend0`` and so on. Coordinates are
            in metres, z positive down. `from_xarray` restores the survey exactly.

        Raises
        ------
        ImportError
            If xarray, part of ``skgrav[io]``, is missing.
        """
        return _xarray.gravity_dataset(
            self.stations,
            self._by_component(g),
            None if self.uncertainty is None else self._by_component(self.uncertainty),
            self._labelled_trend(),
            units,
        )

    @classmethod
    def from_xarray(cls, dataset: Any) -> Survey:
        """Build the survey of a labelled dataset; `flatten` gives the data.

        Parameters
        ----------
        dataset : xarray.Dataset
            Gravity as `to_xarray` writes it: variables ``gx``, ``gy``, ``gz`` and gradients such
            as ``gzz`` along one dimension of stations, with coordinates x, z and in 3D y in metres,
            z positive down. The uncertainty is converted to mGal or Eotvos by its attribute
            ``units``.

        Returns
        -------
        survey : Survey
            Stations, components in the order of the variables, uncertainty and trend.

        Raises
        ------
        ValueError
            If gravity or a coordinate is missing, a coordinate is not in metres, a unit or a
            direction is unknown, or only some components have an uncertainty.
        """
        return cls(*_xarray.survey_arguments(dataset))

    def _labelled_trend(self) -> int | list[dict[str, Array]] | None:
        """Return the degree of the trend, or its basis by coefficient and component."""
        if self.trend is None or isinstance(self.trend, int):
            return self.trend
        return [self._by_component(column) for column in self.trend.T]

    def _by_component(self, g: ArrayLike) -> dict[str, Array]:
        profiles = np.moveaxis(self.unflatten(g), -2, 0)
        return dict(zip(self.components, profiles, strict=True))

    def _key(self) -> tuple[Any, ...]:
        noise = (
            None if v is None else np.asarray(v).tobytes() for v in (self.uncertainty, self.trend)
        )
        return self.stations.shape, self.stations.tobytes(), self.components, *noise

    def __repr__(self) -> str:
        trend = ""
        if isinstance(self.trend, int):
            trend = f", trend of degree {self.trend}"
        elif self.trend is not None:
            trend = f", trend of {self.trend.shape[1]} coefficients"
        return f"Survey({self.n_stations} stations, components {', '.join(self.components)}{trend})"
