"""The Pelotas profile: measured gravity over a published crustal section."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from skgrav._typing import Array
from skgrav.datasets._checks import check_section_mesh
from skgrav.datasets._download import fetch, github_file
from skgrav.geometry import Mesh, Survey

_REPOSITORY = "pinga-lab/paper-isostatic-grav2D"
_COMMIT = "4dbc0c0cadfee99fdb2e894dc7d01b6762eae54f"

#: File name and sha256 of each quantity.
_FILES = {
    "gz": (
        "pelotas-profile-gz.txt",
        "ad86eed5d23e46756f9447b37584356ec7685c2698ea353fc51d9589c2448184",
    ),
    "topography": (
        "etopo1-pelotas.txt",
        "7468987e134b457ba9eb18bb4f3eee7bee076ac714478a15053c46aeea2e3db5",
    ),
    "toi": (
        "pelotas-profile-interpreted-toi-surface.txt",
        "11a9b63d3d732976407ea6d7a9ff1f8adec24c5c53ee86e98000a94f1bccd222",
    ),
    "basement": (
        "pelotas-profile-interpreted-basement-surface.txt",
        "91cd734b81f49a371f7a8bcb576e3f7337e8775167b2341aaba542b2d9e02b3a",
    ),
    "moho": (
        "pelotas-profile-interpreted-moho-surface.txt",
        "e211d6266ea8b2b3e3aea8cfb9006bd254a6815649746d5b9bcdfc7a4fc70304",
    ),
}

_N_COLUMNS = 149
_WIDTH = 2570.47
_HEIGHT = 150.0
_REFERENCE_MOHO = 43200.0
_OCEANIC_FROM = 350e3

#: Densities of the published section in kg/m3.
_DENSITIES = {
    "water": 1030.0,
    "sediments": 2350.0,
    "volcanics": 2855.0,
    "continental_crust": 2870.0,
    "oceanic_crust": 2885.0,
    "mantle": 3240.0,
}

_DESCR = """Gravity over the Pelotas basin, off southern Brazil.

149 columns of 2570.47 m, from the shelf (x = 0) to the deep ocean (x = 383 km). Depths are in
metres, positive down.

data        gravity disturbance gz in mGal from the global model EIGEN-6C4, positive toward a mass
            below, 150 m above sea level
x           centres of the columns in m
topography  heights of ETOPO1 in m, negative below the sea
bathymetry  depth of water in m
toi         base of the sediments as interpreted
basement    top of the crust as interpreted; volcanics fill the space between toi and basement
moho        base of the crust as interpreted
densities   of the published section in kg/m3: water 1030, sediments 2350, volcanics 2855,
            continental crust 2870, oceanic crust 2885 beyond 350 km, mantle 3240

The published section is an accepted interpretation, not the truth. Its gravity, from contrasts to a
reference Earth (2870 above 43.2 km, 3240 below) with the outermost columns extended by 300 km, fits
the data with a correlation of 0.986 and 6.4 mGal RMS after subtracting a constant of 40.3 mGal. The
survey has a trend of degree 0, an unknown constant. The files give no uncertainty.

Source: Bastos & Oliveira Jr. (2020), Isostatic constraint for 2D nonlinear gravity inversion on
rifted margins, Geophysics, doi:10.1190/geo2018-0772.1; files of
https://github.com/pinga-lab/paper-isostatic-grav2D at commit 4dbc0c0c.
Licence: BSD-3-Clause; the topography is NOAA's ETOPO1.
"""


def fetch_pelotas_profile(*, data_home: str | os.PathLike[str] | None = None) -> Bunch:
    """Load measured gravity over the Pelotas basin, with its published interpretation.

    A profile of 383 km from the shelf to the deep ocean [1]_, five text files of 18 kB,
    downloaded from GitHub at a pinned commit when first used.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder of the files; None takes the environment variable ``SKGRAV_DATA``, otherwise the
        user's cache folder. See `get_data_home`.

    Returns
    -------
    profile : Bunch
        With these attributes, depths in metres and positive down:

        survey : Survey
            The 149 stations, 150 m above sea level (z = -150), with component gz only and a
            trend of degree 0.
        data : ndarray of shape (149,)
            gz in mGal: the gravity disturbance, positive toward a positive mass below.
        x : ndarray of shape (149,)
            Centres of the columns, and stations, in metres, 2570.47 m apart.
        topography : ndarray of shape (149,)
            Heights in metres, negative below the sea.
        bathymetry : ndarray of shape (149,)
            Depth of water in metres, at least 0.
        toi, basement, moho : ndarray of shape (149,)
            Interpreted depths of the base of the sediments, the top and the base of the crust.
        densities : dict
            Densities of the published section in kg/m3, by layer.
        oceanic_from : float
            The x in metres beyond which the crust is oceanic.
        reference_moho : float
            Depth in metres of the Moho of the reference Earth.
        DESCR : str
            Source, licence, units and the fit of the published section.

    Raises
    ------
    ImportError
        If a file must be downloaded and pooch, part of ``skgrav[data]``, is missing.
    OSError
        If a file is not there and cannot be downloaded.
    ValueError
        If a file has another hash than the one pinned.

    See Also
    --------
    pelotas_section : The published section on a mesh.
    get_data_home : Folder of the files.

    References
    ----------
    .. [1] Bastos & Oliveira Jr. (2020), Isostatic constraint for 2D nonlinear gravity inversion
       on rifted margins, Geophysics, doi:10.1190/geo2018-0772.1.

    Examples
    --------
    >>> from skgrav.datasets import fetch_pelotas_profile
    >>> profile = fetch_pelotas_profile()  # doctest: +SKIP
    >>> profile.survey  # doctest: +SKIP
    Survey(149 stations, components z)
    """
    columns = {name: _read(*entry, data_home) for name, entry in _FILES.items()}
    x = _WIDTH * (np.arange(_N_COLUMNS) + 0.5)
    stations = np.column_stack([np.full(_N_COLUMNS, -_HEIGHT), x])
    return Bunch(
        survey=Survey(stations, ("z",), trend=0),
        data=columns["gz"],
        x=x,
        topography=columns["topography"],
        bathymetry=np.maximum(-columns["topography"], 0.0),
        toi=columns["toi"],
        basement=columns["basement"],
        moho=columns["moho"],
        densities=dict(_DENSITIES),
        oceanic_from=_OCEANIC_FROM,
        reference_moho=_REFERENCE_MOHO,
        DESCR=_DESCR,
    )


def pelotas_section(profile: Bunch, mesh: Mesh) -> Array:
    """Put the published section of the Pelotas profile on a mesh.

    Parameters
    ----------
    profile : Bunch
        The profile, from `fetch_pelotas_profile`.
    mesh : Mesh of two dimensions
        The cells, z positive down from sea level, x in metres along the profile. The outermost
        columns of the profile extend beyond its ends.

    Returns
    -------
    rho : ndarray of shape (n_cells,)
        Density contrasts in kg/m3 to a reference Earth of 2870 above 43.2 km and 3240 below,
        flattened in C order, the top layer first; 0 above sea level.

    Raises
    ------
    ValueError
        If the mesh is not two-dimensional.

    See Also
    --------
    fetch_pelotas_profile : The profile.

    Notes
    -----
    Columns have layers of constant density. The contrast of a cell is the exact mean over it, so
    the mass does not depend on the mesh.

    Examples
    --------
    >>> import numpy as np
    >>> from skgrav import ForwardOperator, Mesh
    >>> from skgrav.datasets import fetch_pelotas_profile, pelotas_section
    >>> profile = fetch_pelotas_profile()  # doctest: +SKIP
    >>> x = [-300e3, *np.linspace(0, 383e3, 150), 683e3]
    >>> mesh = Mesh([np.linspace(0, 43200, 109), x])
    >>> rho = pelotas_section(profile, mesh)  # doctest: +SKIP
    >>> gz = ForwardOperator(mesh, profile.survey).fit().transform([rho])[0]  # doctest: +SKIP
    """
    mesh = check_section_mesh(mesh)
    section = _column_means(profile, mesh.edges[0]) @ _column_shares(profile, mesh.edges[1])
    return mesh.flatten(section)


def _column_means(profile: Bunch, z: Array) -> Array:
    """Return the mean contrast between the edges `z` in each column, (nz, n_columns)."""
    rho = profile.densities
    oceanic = profile.x >= profile.oceanic_from
    crust = np.where(oceanic, rho["oceanic_crust"], rho["continental_crust"])
    sea_level = np.zeros_like(profile.x)
    tops = [sea_level, profile.bathymetry, profile.toi, profile.basement, profile.moho]
    layers = [rho["water"], rho["sediments"], rho["volcanics"], crust, rho["mantle"]]
    section = layer_means(z, tops, layers)
    reference = layer_means(
        z,
        [sea_level, np.full_like(profile.x, profile.reference_moho)],
        [rho["continental_crust"], rho["mantle"]],
    )
    return section - reference


def layer_means(z: Array, tops: list[Any], rho: list[Any]) -> Array:
    """Return mean densities between the edges `z`, (nz, n_columns), of layers with given tops."""
    # A layer whose top is above that of an overlying one has no thickness there.
    top = np.maximum.accumulate(np.stack(tops))
    bottom = np.concatenate([top[1:], np.full_like(top[:1], np.inf)])
    mass = np.zeros((z.size - 1, top.shape[1]))
    for upper, lower, density in zip(top, bottom, rho, strict=True):
        overlap = np.minimum(z[1:, None], lower) - np.maximum(z[:-1, None], upper)
        mass += density * np.maximum(overlap, 0.0)
    return mass / np.diff(z)[:, None]


def _column_shares(profile: Bunch, x: Array) -> Array:
    """Return the share of each column in the widths between the edges `x`, (n_columns, nx)."""
    bounds = np.concatenate([[-np.inf], (profile.x[1:] + profile.x[:-1]) / 2, [np.inf]])
    overlap = np.minimum(x[1:], bounds[1:, None]) - np.maximum(x[:-1], bounds[:-1, None])
    return np.asarray(np.maximum(overlap, 0.0) / np.diff(x))


def _read(name: str, sha256: str, data_home: str | os.PathLike[str] | None) -> Array:
    url, relative_path = github_file(_REPOSITORY, _COMMIT, f"data/{name}")
    return np.loadtxt(fetch(url, sha256, relative_path, data_home), dtype=np.float64)
