"""A block in a half-space: synthetic gravity with its truth, from the validations of SimPEG."""

from __future__ import annotations

import os

from sklearn.utils import Bunch

from skgrav.datasets._download import fetch, github_file
from skgrav.io import read_ubc_mesh, read_ubc_model, read_ubc_survey

_REPOSITORY = "simpeg/validations"
_COMMIT = "e8a2864889a20e7250ac6ecf654821ffc105fab1"
_FOLDER = "assets/gravity/block_halfspace_gravity_inv_sparse_grav3d"

#: Name and sha256 of the files.
_FILES = {
    "survey": ("dobs.grv", "e17933181492f0e5ad24250c28f5537a2fefe5ae515b44f58fbe1b8a63d44477"),
    "mesh": ("mesh.txt", "a8456cb1385934aa9ffce7138b9b3c9a62c164984b7bb5ac419f0d228c6682f5"),
    "density": (
        "true_model.den",
        "c79cd5359f4c774aca6019272b3ce05d32b74282ff55eecb60c57d9ff24a1040",
    ),
}

_DESCR = """A block of 100 kg/m3 in a half-space.

Synthetic, from the validations of SimPEG against the UBC-GIF codes, to compare inversions with the
truth. x is east, y north, all in metres, z = 0 is the ground.

data     gz in mGal at 441 stations, with Gaussian noise of 0.002 mGal
survey   21 x 21 stations from -500 to 500 m, 1 m above the ground, with an uncertainty of
         0.002 mGal
mesh     34 x 68 x 68 cells: a core of columns of 25 m and padding that grows outward
density  the truth: 100 kg/m3 in the block, 200 x 200 m wide about x = y = 0 and from 200 to 400 m
         deep, and 0 elsewhere

Source: files of https://github.com/simpeg/validations at commit e8a28648, in
assets/gravity/block_halfspace_gravity_inv_sparse_grav3d.
Licence: MIT.
"""


def fetch_block_halfspace(*, data_home: str | os.PathLike[str] | None = None) -> Bunch:
    """Load synthetic gravity of a block in a half-space, with its truth, in 3D.

    Files of 2.7 MB of the validations of SimPEG [1]_, downloaded from GitHub at a pinned commit
    when first used.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder of the files; None takes the environment variable ``SKGRAV_DATA``, otherwise the
        user's cache folder. See `get_data_home`.

    Returns
    -------
    block : Bunch
        With these attributes, x east and y north in metres, z positive down:

        survey : Survey
            21 x 21 stations ``(z, y, x)`` 1 m above the ground, with component gz and an
            uncertainty of 0.002 mGal.
        data : ndarray of shape (441,)
            gz in mGal with noise.
        mesh : Mesh
            34 x 68 x 68 cells with padding.
        density : ndarray of shape (n_cells,)
            The truth in kg/m3.
        DESCR : str
            Source, licence and units.

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
    fetch_laguna_del_maule : Measured gravity in 3D.

    References
    ----------
    .. [1] https://github.com/simpeg/validations

    Examples
    --------
    >>> from skgrav.datasets import fetch_block_halfspace
    >>> block = fetch_block_halfspace()  # doctest: +SKIP
    >>> block.survey  # doctest: +SKIP
    Survey(441 stations, components z)
    """
    paths = {}
    for name, (file, sha256) in _FILES.items():
        url, relative_path = github_file(_REPOSITORY, _COMMIT, f"{_FOLDER}/{file}")
        paths[name] = fetch(url, sha256, relative_path, data_home)
    survey, data = read_ubc_survey(paths["survey"])
    mesh = read_ubc_mesh(paths["mesh"])
    return Bunch(
        survey=survey,
        data=data,
        mesh=mesh,
        density=read_ubc_model(paths["density"], mesh),
        DESCR=_DESCR,
    )
