"""Sections through scattered stations: their projection onto a line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skgrav._checks import real_array
from skgrav._typing import Array, Indices
from skgrav._warnings import warn
from skgrav.geometry._stations import Layout, degrees

#: Distance from the line, in median distances between nearest stations, above which they lie
#: off it: about twice the mean spacing of scattered stations.
_OFF = 4.0

#: Ratio of the scatter of stations across and along the line of least squares, above which they
#: have no direction.
_ROUND = 0.7


@dataclass(frozen=True, eq=False)
class ProjectedLine:
    """Stations projected onto a line, as by `project_onto_line`.

    Parameters
    ----------
    stations : ndarray of shape (n_selected, 2)
        Coordinates ``(z, x)`` in metres, x along the line from its origin, in the order of the
        stations given.
    distance : ndarray of shape (n_selected,)
        Distance of each station from the line in metres, positive to the right of its direction.
    selected : ndarray of shape (n_selected,)
        Index of each station among those given; ``data[selected]`` are its data.
    origin : ndarray of shape (2,)
        The point ``(y, x)`` of x = 0 along the line, in metres.
    direction : ndarray of shape (2,)
        Unit vector ``(y, x)`` along the line.

    See Also
    --------
    project_onto_line : Makes it.

    Examples
    --------
    >>> from skgrav import project_onto_line
    >>> stations = [[0, 0, 0], [-5, 300, 390], [0, 600, 800]]
    >>> line = project_onto_line(stations, ends=[(0, 0), (600, 800)])
    >>> line.stations[:, 1].round(), line.distance.round()
    (array([   0.,  492., 1000.]), array([ 0., -6.,  0.]))
    """

    stations: Array
    distance: Array
    selected: Indices
    origin: Array
    direction: Array

    @property
    def azimuth(self) -> float:
        """Direction of the line in degrees, clockwise from +y, which is north."""
        return float(np.degrees(np.arctan2(self.direction[1], self.direction[0])) % 360)

    def __repr__(self) -> str:
        length = float(np.ptp(self.stations[:, 1]))
        return (
            f"ProjectedLine({len(self.stations)} stations over {length:.6g} m, azimuth "
            f"{self.azimuth:.1f}, up to {np.abs(self.distance).max():.4g} m off the line)"
        )


def project_onto_line(
    stations: Any,
    *,
    ends: ArrayLike | None = None,
    azimuth: float | None = None,
    max_distance: float | None = None,
) -> ProjectedLine:
    """Project stations of an area onto a line, for a 2D section.

    Parameters
    ----------
    stations : array-like of shape (n_stations, 3) or Survey
        Coordinates in metres, with columns ``(z, y, x)``.
    ends : array-like of shape (2, 2), default=None
        The ends of the line, ``(y, x)`` in metres. Stations beyond them are left out.
    azimuth : float, default=None
        Direction of a line through the mean station, in degrees clockwise from +y, which is north.
        Without `ends` and `azimuth` it is the line of least squared distances, toward +x.
    max_distance : float, default=None
        Largest distance from the line in metres; stations farther away are left out.

    Returns
    -------
    line : ProjectedLine
        Coordinates along the line, distances from it, and the index of each station.

    Raises
    ------
    ValueError
        If the stations or the ends have a single position, coordinates are degrees, or no station
        is left.

    Warns
    -----
    UserWarning
        If stations lie farther from the line than four times the median distance to the
        nearest neighbour, or without `ends` and `azimuth` are scattered about as far across as
        along the line.

    See Also
    --------
    Survey : Takes the coordinates.
    Mesh.for_survey : A mesh for them.

    Notes
    -----
    A 2D section is infinite across the line. A station at a distance d off the line measures the
    structure below itself: what is shallower than about d need not be that below the line.

    Examples
    --------
    >>> import numpy as np
    >>> from skgrav import Survey, project_onto_line
    >>> rng = np.random.default_rng(0)
    >>> y, x = rng.uniform(0, 10_000, (2, 400))
    >>> stations = np.column_stack([np.zeros(400), y, x])
    >>> line = project_onto_line(stations, ends=[(0, 0), (8000, 6000)], max_distance=500)
    >>> line
    ProjectedLine(27 stations over 9491.42 m, azimuth 36.9, up to 452.6 m off the line)
    >>> Survey(line.stations, "z")
    Survey(27 stations, components z)
    """
    places = real_array(getattr(stations, "stations", stations), "stations")
    if places.ndim != 2 or places.shape[1] != 3 or not len(places):
        raise ValueError(
            f"'stations' has shape {places.shape}; it must be (n_stations, 3) with columns "
            "(z, y, x). Stations (z, x) lie on a line already."
        )
    if ends is not None and azimuth is not None:
        raise ValueError(f"'ends' and 'azimuth' = {azimuth!r} are both given; give one of them.")
    seems = degrees(places)
    if seems is not None:
        raise ValueError(f"'stations' {seems}")
    centre = places[:, 1:].mean(axis=0)
    away = places[:, 1:] - centre
    length = np.inf
    if ends is not None:
        origin, direction, length = _between(ends, centre)
    elif azimuth is not None:
        turn = np.radians(_finite(azimuth, "azimuth"))
        origin, direction = np.zeros(2), np.array([np.cos(turn), np.sin(turn)])
    else:
        origin, direction = np.zeros(2), _along(away)
    along = (away - origin) @ direction
    off = (away - origin) @ np.array([-direction[1], direction[0]])
    kept = np.ones(len(along), dtype=bool)
    if ends is not None:
        rounding = 1e-9 * length
        kept = (along >= -rounding) & (along <= length + rounding)
    if max_distance is not None:
        if _finite(max_distance, "max_distance") < 0:
            raise ValueError(f"'max_distance' is {max_distance!r}; it must not be negative.")
        kept &= np.abs(off) <= max_distance
    selected = np.flatnonzero(kept)
    if not selected.size:
        raise ValueError(
            f"no station is left: of {len(along)} the nearest lies {np.abs(off).min():.4g} m off "
            f"the line, {along.min():.4g} to {along.max():.4g} m along it. Give a larger "
            "'max_distance', or other 'ends'."
        )
    along, off = along[selected], off[selected]
    if ends is None:  # from the first station
        origin, along = origin + along.min() * direction, along - along.min()
    _warn_off(places, off)
    return ProjectedLine(
        np.column_stack([places[selected, 0], along]), off, selected, centre + origin, direction
    )


def _finite(value: float, name: str) -> float:
    number = real_array(value, name)
    if number.shape != ():
        raise ValueError(f"'{name}' is {value!r}; it must be one number.")
    return float(number)


def _between(ends: ArrayLike, centre: Array) -> tuple[Array, Array, float]:
    """Return the first end from the centre, the direction to the second, and their distance."""
    points = real_array(ends, "ends")
    if points.shape != (2, 2):
        raise ValueError(f"'ends' has shape {points.shape}; it must be two points (y, x), (2, 2).")
    length = float(np.linalg.norm(points[1] - points[0]))
    if length <= 1e-9 * float(np.abs(points).max()):
        raise ValueError("'ends' are the same point; a line needs two.")
    return points[0] - centre, (points[1] - points[0]) / length, length


def _along(away: Array) -> Array:
    """Return the direction in which stations extend most, toward +x, or +y."""
    _, sizes, directions = np.linalg.svd(away, full_matrices=False)
    if len(away) < 2 or not sizes[0]:
        raise ValueError("'stations' have one position: give the 'azimuth' of the line.")
    if len(sizes) > 1 and sizes[1] > _ROUND * sizes[0]:
        warn(
            "The stations are scattered across the line of least squares by "
            f"{sizes[1] / sizes[0]:.2f} of their scatter along it: they hardly determine one. Give "
            "'ends' or 'azimuth'."
        )
    y, x = directions[0]
    return directions[0] * (1.0 if (x > 1e-9 or (abs(x) <= 1e-9 and y > 0)) else -1.0)


def _warn_off(places: Array, off: Array) -> None:
    """Warn of stations farther off the line than their spacing."""
    spacing, farthest = Layout(places).spacing, float(np.abs(off).max())
    if farthest > _OFF * spacing:
        warn(
            f"{np.count_nonzero(np.abs(off) > _OFF * spacing)} of {len(off)} stations lie farther "
            f"from the line than {_OFF:g} times the {spacing:.4g} m between stations, up to "
            f"{farthest:.4g} m: structure shallower than that need not be that below the line. "
            "Give 'max_distance' to leave them out, or invert in 3D."
        )
