"""The Bushveld Complex: gravity over the largest layered intrusion, reduced to anomalies."""

from __future__ import annotations

import os

import numpy as np
from sklearn.utils import Bunch

from skgrav.datasets._download import fetch, github_file
from skgrav.datasets._geodesy import normal_gravity, transverse_mercator
from skgrav.geometry import Survey
from skgrav.operators import UNITS

_REPOSITORY = "fatiando/harmonica"
_COMMIT = "4e282a03ba06076f82bea0748d4f12b83d591ec4"
_FILE = "data/south-africa-gravity.ast.xz"
_SHA256 = "86401cb8d2142bca340b984469f3f36dd0b40362ba028b6989ed39964ee50f6e"

#: Region of the complex, south, north, west and east in degrees.
_REGION = (-27.0, -23.0, 25.0, 32.0)
#: Latitude and longitude of x = y = 0 in degrees.
_ORIGIN = (-25.0, 28.5)
#: Density of the slab in kg/m3.
_SLAB = 2670.0

_DESCR = """Gravity over the Bushveld Complex, South Africa.

3877 land stations between 25 and 32 degrees east, 27 and 23 degrees south, with a median spacing of
4.5 km, denser in the north.

data       simple Bouguer anomaly gz in mGal, positive toward a mass below: free_air minus the slab
           2 pi G rho H, with 2670 kg/m3 (0.1120 mGal/m)
free_air   free-air anomaly in mGal: gravity minus the normal gravity of GRS80 at the height, from
           Somigliana's closed form and the second-order expansion in height
gravity    absolute gravity in mGal as in the file, in IGSN 71
height     H in m above sea level, as in the file
latitude   in degrees; the file does not state the datum, which is assumed to be GRS80
longitude  in degrees
survey     stations: x east and y north of 28.5 E, 25 S, z = -height, in m, without uncertainties,
           which the file does not contain

Corrections not made, and their size:
- Heights are not ellipsoidal: the geoid height N was not added, so these are anomalies, not
  disturbances. They differ by 0.2 to 0.3 mGal per metre of N, a constant and a smooth trend.
- No terrain correction, and a flat slab: values in or near steep terrain, such as the escarpment,
  are several mGal too low; the Bullard B (curvature) correction is 1.5 mGal at most.
- No regional field was removed. Values are near -115 mGal, as over a plateau with a crustal root,
  and rise to 69 mGal at the eastern edge, at the Lebombo: give the survey a trend, or leave out the
  edge.

x and y are coordinates of a transverse Mercator projection with scale 1 on 28.5 E (Krueger's series
to the third order, within a millimetre). The projection is conformal and stretches lengths by x^2 /
2 R^2, 0.15 % at x = 350 km. z is height, without the Earth's curvature: at 350 km sea level is
10 km below the plane tangent to it at the origin.

Accepted interpretation: the western and the eastern limb, near 27.4 E and 29.9 E, are mafic layers
several kilometres thick with anomalies of some 40 mGal. There is none between them; in the model of
Webb et al. (2004) they are connected all the same, over a depressed Moho: Gravity
modeling of Bushveld Complex connectivity, South African Journal of Geology 107, 207-218.

Source: NOAA NCEI, land gravity of South Africa received in January 1986; file
data/south-africa-gravity.ast.xz of https://github.com/fatiando/harmonica at commit 4e282a03.
Density of the slab: Hinze (2003), Bouguer reduction density, why 2.67?, Geophysics 68, 1559-1560.
Licence: public domain.
"""


def fetch_bushveld(*, data_home: str | os.PathLike[str] | None = None) -> Bunch:
    """Load gravity measured over the Bushveld Complex, reduced to Bouguer anomalies, in 3D.

    3877 land stations in 700 km by 450 km, from a compilation for South Africa (140 kB),
    downloaded from GitHub at a pinned commit when first used.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder of the file; None takes the environment variable ``SKGRAV_DATA``, otherwise the
        user's cache folder. See `get_data_home`.

    Returns
    -------
    bushveld : Bunch
        With these attributes:

        survey : Survey
            The 3877 stations ``(z, y, x)`` in metres, x east and y north of 28.5 E, 25 S, z minus
            the height above sea level, with component gz only. Uncertainties are unknown.
        data : ndarray of shape (3877,)
            gz in mGal: the simple Bouguer anomaly, positive toward a positive mass below.
        free_air : ndarray of shape (3877,)
            The free-air anomaly in mGal.
        gravity : ndarray of shape (3877,)
            Absolute gravity in mGal, as measured.
        height : ndarray of shape (3877,)
            Heights in metres above sea level, not above the ellipsoid.
        latitude, longitude : ndarray of shape (3877,)
            Geographic coordinates in degrees.
        DESCR : str
            Source, licence, reductions made and not made, and the accepted interpretation.

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
    fetch_laguna_del_maule : Fewer stations, with uncertainties and a mesh.
    get_data_home : Folder of the files.

    Notes
    -----
    From gravity g at height H and latitude phi, the anomaly is

    ``g - gamma(phi) (1 - 2 (1 + f + m - 2 f sin^2 phi) H / a + 3 H^2 / a^2) - 2 pi G rho H``

    where gamma is Somigliana's closed form on the ellipsoid GRS80 [1]_ of radius a, flattening f
    and centrifugal ratio m, the bracket its expansion in height [2]_, and rho the 2670 kg/m3 of
    [3]_. Heights above sea level replace ellipsoidal heights; effects of terrain and curvature and
    the regional field remain. Coordinates are of a transverse Mercator projection, true to scale
    on 28.5 E and 0.15 % too long at the edges. `DESCR` gives the size of these effects.

    References
    ----------
    .. [1] Moritz (2000), Geodetic Reference System 1980, Journal of Geodesy,
       doi:10.1007/s001900050278.
    .. [2] Heiskanen and Moritz (1967), Physical Geodesy.
    .. [3] Hinze (2003), Bouguer reduction density, why 2.67?, Geophysics 68, 1559-1560.

    Examples
    --------
    >>> from skgrav.datasets import fetch_bushveld
    >>> bushveld = fetch_bushveld()  # doctest: +SKIP
    >>> bushveld.survey  # doctest: +SKIP
    Survey(3877 stations, components z)
    """
    url, relative_path = github_file(_REPOSITORY, _COMMIT, _FILE)
    # NumPy decompresses .xz files.
    stations = np.loadtxt(fetch(url, _SHA256, relative_path, data_home), dtype=np.float64)
    south, north, west, east = _REGION
    latitude, longitude = stations[:, 0], stations[:, 1]
    inside = (south <= latitude) & (latitude <= north) & (west <= longitude) & (longitude <= east)
    latitude, longitude, height, gravity = stations[inside].T.copy()
    x, y = transverse_mercator(latitude, longitude, _ORIGIN)
    free_air = gravity - normal_gravity(latitude, height)
    slab = 2 * np.pi * UNITS["mGal"][3] * _SLAB * height
    return Bunch(
        survey=Survey(np.column_stack([-height, y, x]), ("z",)),
        data=free_air - slab,
        free_air=free_air,
        latitude=latitude,
        longitude=longitude,
        height=height,
        gravity=gravity,
        DESCR=_DESCR,
    )
