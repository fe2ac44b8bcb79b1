"""Laguna del Maule: gravity over a magma reservoir, with the mesh of a published inversion."""

from __future__ import annotations

import os

from sklearn.utils import Bunch

from skgrav.datasets._download import fetch, github_file
from skgrav.io import read_ubc_mesh, read_ubc_survey

_REPOSITORY = "simpeg/simpeg"
_COMMIT = "eed7f1388fd66f380a28e75b5c1183719068cab4"
_FOLDER = "examples/04-grav/Chile_GRAV_4_Miller"

#: Name and sha256 of the files.
_FILES = {
    "survey": (
        "LdM_grav_obs.grv",
        "4754d0966de2aecbcd222567b15cd2d1b50b27a3dde81cd0a844d26bd0e27b29",
    ),
    "mesh": (
        "LdM_mesh.mesh",
        "84e53344c146519e7b5dded5c137490020bcd8768c1360f6e92dfde210699fde",
    ),
}

#: Bounds in LdM_input_file.inp in the same folder, -0.6 and 0.3 g/cm3.
_DENSITY_RANGE = (-600.0, 300.0)

_DESCR = """Gravity over the volcanic field of Laguna del Maule, Chile.

191 stations around a lake in the Andes. x is UTM easting and y northing (zone 19 south), z is minus
the elevation, all in metres.

data           Bouguer anomaly gz in mGal, -18.6 to 9.9, positive toward a mass below: the negative
               values in the middle mean a mass deficit. A constant or a regional field has been
               removed already, as values scatter about 0, but it is unknown how: a survey with
               trend=0, or 1, leaves it open
survey         stations at elevations of 2155 to 2865 m, z from -2865 to -2155, with an uncertainty
               of 0.05 mGal each, as in the file
mesh           69 x 69 columns of 250 m and 40 layers of 100 to 350 m, from an elevation of 3000 m
               (z = -3000) down to 5250 m below the sea (z = 5250)
density_range  bounds of density contrasts in kg/m3, -600 to 300, of the inversion that the files
               belong to

The top of the mesh is above all stations. Cells above the ground are air: an inversion must leave
them out, by mesh.below(survey, survey=survey). The files contain no topography; the ground is known
at the stations only.

Accepted interpretation: a low-density body near 2 km depth, the magma reservoir.

Source: Miller et al. (2017), 3D gravity inversion and thermodynamic modelling reveal properties of
shallow silicic magma reservoir beneath Laguna del Maule, Chile, Earth and Planetary Science
Letters, doi:10.1016/j.epsl.2016.11.007; files of https://github.com/simpeg/simpeg at commit
eed7f138, in examples/04-grav/Chile_GRAV_4_Miller.
Licence: MIT.
"""


def fetch_laguna_del_maule(*, data_home: str | os.PathLike[str] | None = None) -> Bunch:
    """Load gravity measured over the magma reservoir of Laguna del Maule, in 3D.

    191 stations [1]_ and the mesh of their inversion, two UBC-GIF files of 8 kB, downloaded from
    GitHub at a pinned commit when first used.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder of the files; None takes the environment variable ``SKGRAV_DATA``, otherwise the
        user's cache folder. See `get_data_home`.

    Returns
    -------
    maule : Bunch
        With these attributes, x east and y north in metres (UTM 19S), z positive down:

        survey : Survey
            The 191 stations ``(z, y, x)``, at elevations of 2155 to 2865 m (z is negative), with
            component gz only and an uncertainty of 0.05 mGal.
        data : ndarray of shape (191,)
            gz in mGal: the Bouguer anomaly, positive toward a positive mass below.
        mesh : Mesh
            40 x 69 x 69 cells from z = -3000 m to 5250 m. Cells above the ground are air.
        density_range : tuple of two floats
            Bounds of density contrasts in kg/m3 in the published inversion.
        DESCR : str
            Source, licence, units and the accepted interpretation.

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
    fetch_bushveld : More stations over a larger body.
    skgrav.io.read_ubc_survey : Reads the stations.
    skgrav.io.read_ubc_mesh : Reads the mesh.

    References
    ----------
    .. [1] Miller et al. (2017), 3D gravity inversion and thermodynamic modelling reveal
       properties of shallow silicic magma reservoir beneath Laguna del Maule, Chile, Earth and
       Planetary Science Letters, doi:10.1016/j.epsl.2016.11.007.

    Examples
    --------
    >>> from skgrav.datasets import fetch_laguna_del_maule
    >>> maule = fetch_laguna_del_maule()  # doctest: +SKIP
    >>> maule.survey  # doctest: +SKIP
    Survey(191 stations, components z)
    """
    paths = {}
    for name, (file, sha256) in _FILES.items():
        url, relative_path = github_file(_REPOSITORY, _COMMIT, f"{_FOLDER}/{file}")
        paths[name] = fetch(url, sha256, relative_path, data_home)
    survey, data = read_ubc_survey(paths["survey"])
    return Bunch(
        survey=survey,
        data=data,
        mesh=read_ubc_mesh(paths["mesh"]),
        density_range=_DENSITY_RANGE,
        DESCR=_DESCR,
    )
