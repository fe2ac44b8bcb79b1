"""Two bodies below a valley: synthetic gravity with topography, and a published truth."""

from __future__ import annotations

import os
import tarfile

import numpy as np
from sklearn.utils import Bunch

from skgrav._typing import Array
from skgrav.datasets._download import fetch, github_file
from skgrav.geometry import Mesh, Survey

_REPOSITORY = "simpeg/user-tutorials"
_COMMIT = "a24c4d77d9b33648dc3b481c578eb2895b2568d5"
_FILE = "assets/03-gravity/inv_gravity_anomaly_3d_files.tar.gz"
_SHA256 = "f4e2e7e7c39c8b24e4ebb1ab5ed25e6e92c913399b7075f673076d80bab87d4d"
_FOLDER = "inv_gravity_anomaly_3d_files"

#: Standard deviation of the noise, relative to the largest datum.
_NOISE = 0.02

_DESCR = """Two bodies below a valley, the 3D inversion tutorial of SimPEG.

289 stations on a grid of 10 m, about 3 m above ground that falls from an elevation of 100 m to
85 m. x is easting and y northing, z is minus the elevation, all in metres.

data        gz in mGal of density contrasts, positive toward a mass below, with noise
survey      the stations, with an uncertainty of 2 % of the largest datum
topography  1681 points of the ground, columns (z, y, x)
true_model  function of a mesh: a block of -200 kg/m3 where -50 < x < -20, |y| < 15 and
            -70 < z < -50, and a sphere of 200 kg/m3 of radius 14 m about (z, y, x) = (-60, 0, 35)

Source: SimPEG's user tutorials, https://github.com/simpeg/user-tutorials at commit a24c4d77, in
assets/03-gravity.
Licence: MIT.
"""


def fetch_two_bodies(*, data_home: str | os.PathLike[str] | None = None) -> Bunch:
    """Load synthetic gravity of two bodies below a valley, in 3D, with topography and truth.

    The data of SimPEG's tutorial on 3D inversion, an archive of 24 kB, downloaded from GitHub at a
    pinned commit when first used.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder of the file; None takes the environment variable ``SKGRAV_DATA``, otherwise the
        user's cache folder. See `get_data_home`.

    Returns
    -------
    bodies : Bunch
        With these attributes, x east and y north in metres, z positive down:

        survey : Survey
            The 289 stations ``(z, y, x)``, at elevations of 90 to 103 m (z is negative), with
            component gz only and an uncertainty of 2 % of the largest datum.
        data : ndarray of shape (289,)
            gz in mGal, positive toward a positive mass below.
        topography : ndarray of shape (1681, 3)
            Points of the ground ``(z, y, x)``, as `Mesh.below` takes them.
        true_model : callable
            Returns the true density contrasts in kg/m3 of a mesh, (n_cells,), by cell centres.
        DESCR : str
            Source, licence, units and the truth.

    Raises
    ------
    ImportError
        If the file must be downloaded and pooch, part of ``skgrav[data]``, is missing.
    OSError
        If the file is not there and cannot be downloaded.
    ValueError
        If the file has another hash than the one pinned.

    See Also
    --------
    fetch_laguna_del_maule : Measured gravity in mountains.
    skgrav.Mesh.below : The cells below the ground.

    Examples
    --------
    >>> from skgrav.datasets import fetch_two_bodies
    >>> bodies = fetch_two_bodies()  # doctest: +SKIP
    >>> bodies.survey  # doctest: +SKIP
    Survey(289 stations, components z)
    """
    url, relative_path = github_file(_REPOSITORY, _COMMIT, _FILE)
    path = fetch(url, _SHA256, relative_path, data_home)
    with tarfile.open(path) as archive:
        data, ground = (
            _columns(archive, name) for name in ("gravity_data.obs", "gravity_topo.txt")
        )
    # Columns are easting, northing, elevation and gz, which is positive up.
    gz = -data[:, 3]
    return Bunch(
        survey=Survey(_turned(data), "z", uncertainty=_NOISE * float(np.abs(gz).max())),
        data=gz,
        topography=_turned(ground),
        true_model=_true_model,
        DESCR=_DESCR,
    )


def _columns(archive: tarfile.TarFile, name: str) -> Array:
    stream = archive.extractfile(f"{_FOLDER}/{name}")
    assert stream is not None  # as the archive has the hash expected
    return np.loadtxt(stream)


def _turned(columns: Array) -> Array:
    """Return positions (easting, northing, elevation) as (z, y, x), z positive down."""
    return columns[:, 2::-1] * [-1.0, 1.0, 1.0]


def _true_model(mesh: Mesh) -> Array:
    z, y, x = mesh.cell_centers.T
    block = (np.abs(x + 35.0) < 15.0) & (np.abs(y) < 15.0) & (np.abs(z + 60.0) < 10.0)
    sphere = (x - 35.0) ** 2 + y**2 + (z + 60.0) ** 2 < 14.0**2
    return np.where(block, -200.0, 0.0) + np.where(sphere, 200.0, 0.0)
