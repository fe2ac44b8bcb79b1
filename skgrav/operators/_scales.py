"""Typical sizes of data in different units, gravity beside gradients."""

from __future__ import annotations

import numpy as np

from skgrav._typing import Array, Indices
from skgrav.kernels import point
from skgrav.operators._cells import Geometry

#: Numbers of depths and of places of the masses from which sizes are taken, and of stations.
_N_DEPTHS, _N_PLACES, _N_STATIONS = 8, 16, 256


def data_scales(geometry: Geometry) -> Array:
    """Return the size of each datum, (n_data,): 1 for gravity, and for gradients relative to it.

    For a mass below the stations it is the ratio of the rms of its gradients to that of its
    gravity; the geometric mean is over all depths of the mesh, down to the length of the survey.
    """
    stations = geometry.survey.stations
    axes = geometry.axes
    is_gravity = np.array([isinstance(c, int) for c in axes])
    scales = np.ones(len(axes))
    if is_gravity.any() and not is_gravity.all():
        chosen = stations[_evenly(len(stations), _N_STATIONS)]
        offsets = tuple((_masses(geometry)[:, None] - chosen).transpose(2, 0, 1))
        square = np.array(
            [np.mean((geometry.factor(c) * point(offsets, c)) ** 2, axis=1) for c in axes]
        )
        gravity2, gradient2 = (np.mean(square[kind], axis=0) for kind in (is_gravity, ~is_gravity))
        seen = (gravity2 > 0) & (gradient2 > 0)
        if seen.any():
            ratio = np.exp(np.mean(np.log(gradient2[seen] / gravity2[seen])) / 2)
            scales[~is_gravity] = ratio
    return np.repeat(scales, len(stations))


def _masses(geometry: Geometry) -> Array:
    """Return places of masses below the stations, (n_masses, ndim)."""
    stations, depth = geometry.survey.stations, geometry.mesh.edges[0]
    length = float(np.ptp(stations[:, 1:], axis=0).max())
    thickness = float(depth[-1] - depth[0])
    thickness = min(thickness, length or thickness)
    depths = depth[0] + thickness * (np.arange(_N_DEPTHS) + 0.5) / _N_DEPTHS
    masses = np.repeat(stations[_evenly(len(stations), _N_PLACES)], _N_DEPTHS, axis=0)
    depths = np.tile(depths, len(masses) // _N_DEPTHS)
    # Aside of the station, since straight below it only some components are nonzero.
    masses[:, 1:] += 0.5 * (depths - masses[:, 0])[:, None]
    masses[:, 0] = depths
    return masses


def _evenly(n: int, n_chosen: int) -> Indices:
    return np.unique(np.linspace(0, n - 1, n_chosen).astype(int))
