"""The 23,000 models of sparse bodies of Huang et al. (2021), in 3D, with gravity."""

from __future__ import annotations

import hashlib
import math
import os
import secrets
import zipfile
import zlib
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat
from scipy.io.matlab import MatReadError
from sklearn.utils import Bunch

from skgrav._typing import Array
from skgrav.datasets._download import fetch, get_data_home, progress
from skgrav.geometry import Mesh, Survey
from skgrav.operators import ForwardOperator

_COMMIT = "d243a05d476070f542a4b2be9523485baec59a47"
_URL = f"https://github.com/adarshjcreation/Grav-Inversion/archive/{_COMMIT}.zip"
_ARCHIVE = f"derived/Grav-Inversion-{_COMMIT}.zip"
_MODELS = "derived/huang2021-models.npz"

#: Of all models as bits, in the order of `_FOLDERS`.
_SHA256 = "081baceeb10414ec017baa4a8017bf8460b37dcab9475b99120da2584259a895"

#: Folders of the archive with their numbers of models, "data0.mat" and so on.
_FOLDERS = {"data/tra&val": 22_000, "data/syn": 1_000}

#: Rows of the subsets. GraviGNN and others draw their own validation set from the first 22,000.
_SUBSETS = {
    "train": slice(0, 20_000),
    "validation": slice(20_000, 22_000),
    "regular": slice(22_000, 23_000),
    "all": slice(0, 23_000),
}
_FAMILIES = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X")
_N_OF_FAMILY = 100

_SHAPE, _SIZE, _HEIGHT = (16, 32, 32), 50.0, 0.1
_DENSITY = 1000

#: Samples whose gravity is computed at once.
_BLOCK = 500

_DESCR = """Sparse bodies of 1000 kg/m3 in 3D, with noise-free gravity.

16 x 32 x 32 cells of 50 m; 32 x 32 stations 0.1 m above the centre of each column of cells.

data      gz in mGal of {n} samples, computed by `operator`: the files' times 6.6743 / 6.67, as the
          authors take 6.67e-11 for the constant of gravity, to 1e-12
bodies    which cells have 1000 kg/m3; the others have 0
density   function of rows: densities in kg/m3
family    "random walk", for training and validation, or one of ten families of regular bodies, "I"
          to "X", of a hundred models each

Rows 0 to 19999 of the authors' 22,000 random-walk models are "train" here, the rest "validation".

Source: Huang, Liu, Qi, Feng, Li, Jia, Deep learning 3D sparse inversion of gravity data, Journal of
Geophysical Research: Solid Earth 126, e2021JB022476 (2021), doi 10.1029/2021JB022476; files of
https://github.com/adarshjcreation/Grav-Inversion at commit d243a05d.
Licence: Apache-2.0.
"""


def fetch_huang2021(
    subset: str = "train", *, data_home: str | os.PathLike[str] | None = None
) -> Bunch:
    """Load the models of sparse bodies of Huang et al. (2021) in 3D, with gravity.

    22,000 bodies grown by random walks and 1,000 regular ones [1]_. When first used, an archive of
    some 200 MB with a file for each model is downloaded from GitHub at a pinned commit; its models
    are kept as bits, in 1.4 MB.

    Parameters
    ----------
    subset : {"train", "validation", "regular", "all"}, default="train"
        20,000 models of random walks, 2,000 others, ten families of 100 regular models each, or
        all 23,000 in this order.
    data_home : str or path-like, default=None
        Folder of the models; None takes the environment variable ``SKGRAV_DATA``, otherwise the
        user's cache folder. See `get_data_home`.

    Returns
    -------
    dataset : Bunch
        With these attributes:

        data : ndarray of shape (n_samples, 1024)
            gz in mGal, noise-free, positive toward a positive mass below.
        bodies : ndarray of shape (n_samples, 16384), bool
            Cells of 1000 kg/m3, flattened in C order, the top layer first; the others have 0.
        density : callable
            Returns the densities of some rows, all by default, in kg/m3 as float32: an array of
            shape (n_rows, 16384), of 65 kB per model.
        family : ndarray of shape (n_samples,)
            "random walk", or "I" to "X".
        operator : ForwardOperator
            The fitted operator that computed the data.
        mesh : Mesh
            16 x 32 x 32 cells of 50 m.
        survey : Survey
            32 x 32 stations 0.1 m above the mesh, with component gz.
        DESCR : str
            Source, licence and units.

    Raises
    ------
    ImportError
        If the archive must be downloaded and pooch, part of ``skgrav[data]``, is missing.
    OSError
        If the models are not there and the archive cannot be downloaded.
    ValueError
        If `subset` is none of these, the archive lacks a model or is damaged, or models are not
        the ones expected.

    See Also
    --------
    make_gravity_dataset : Simulated pairs of any number and geometry.
    fetch_negahdari2025 : The simulated sections of the paper.

    References
    ----------
    .. [1] Huang, Liu, Qi, Feng, Li, Jia (2021), Deep learning 3D sparse inversion of gravity data,
       Journal of Geophysical Research: Solid Earth 126.

    Examples
    --------
    >>> from skgrav.datasets import fetch_huang2021
    >>> dataset = fetch_huang2021("regular")  # doctest: +SKIP
    >>> dataset.data.shape, dataset.bodies.shape  # doctest: +SKIP
    ((1000, 1024), (1000, 16384))
    """
    if subset not in _SUBSETS:
        raise ValueError(
            f"'subset' is {subset!r}; it must be one of {', '.join(map(repr, _SUBSETS))}."
        )
    rows = _SUBSETS[subset]
    bodies = np.unpackbits(_models(data_home)[rows], axis=1).view(bool)
    mesh = Mesh.regular(_SHAPE, _SIZE)
    survey = Survey.grid(mesh, height=_HEIGHT)
    operator = ForwardOperator(mesh, survey).fit()
    n_random = _FOLDERS["data/tra&val"]
    family = np.array(["random walk"] * n_random + list(np.repeat(_FAMILIES, _N_OF_FAMILY)))
    return Bunch(
        data=np.vstack([operator.transform(_density(bodies, k)) for k in _blocks(len(bodies))]),
        bodies=bodies,
        density=partial(_density, bodies),
        family=family[rows],
        operator=operator,
        mesh=mesh,
        survey=survey,
        DESCR=_DESCR.format(n=len(bodies)),
    )


def _density(bodies: NDArray[np.bool_], rows: Any = slice(None)) -> NDArray[np.float32]:
    """Return the densities of some rows, in kg/m3."""
    return np.float32(_DENSITY) * bodies[rows]


def _blocks(n: int) -> Iterable[slice]:
    return (slice(i, i + _BLOCK) for i in range(0, n, _BLOCK))


def _models(data_home: str | os.PathLike[str] | None) -> NDArray[np.uint8]:
    """Return all models as bits, read from the archive if they are not in the data home yet."""
    path = get_data_home(data_home).joinpath(*_MODELS.split("/"))
    if path.is_file():
        return _read_bits(path)
    archive = fetch(_URL, None, _ARCHIVE, data_home, check=_members, progressbar=True)
    models = _read_archive(archive)
    _check_hash(models, f"The models in {archive}", "Delete the archive to download it again.")
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("wb") as stream:
            np.savez_compressed(stream, m=models)
        part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink()
    archive.unlink()
    return models


def _read_bits(path: Path) -> NDArray[np.uint8]:
    remedy = "Delete the file to download the models again, or set 'data_home' to another folder."
    try:
        with np.load(path, allow_pickle=False) as file:
            models = np.asarray(file["m"])
    except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"The file {path} cannot be read: {error}. {remedy}") from error
    _check_hash(models, f"The file {path}", remedy)
    return models


def _check_hash(models: NDArray, origin: str, remedy: str) -> None:
    actual = hashlib.sha256(np.ascontiguousarray(models).tobytes()).hexdigest()
    if actual != _SHA256:
        raise ValueError(
            f"{origin} do not hold the models expected: the sha256 of their bits is {actual}, it "
            f"should be {_SHA256}. {remedy}"
        )


def _members(path: Path) -> list[str]:
    """Return the names of all models in the archive; raise ValueError if some are missing."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (RuntimeError, zipfile.BadZipFile) as error:
        raise ValueError(f"It is not a zip archive, or truncated ({error}).") from error
    top = names[0].split("/")[0] if names else ""
    wanted = [f"{top}/{f}/data{i}.mat" for f, n in _FOLDERS.items() for i in range(n)]
    missing = set(wanted).difference(names)
    if missing:
        raise ValueError(
            f"It lacks {len(missing)} of {len(wanted)} models, such as {min(missing)!r}."
        )
    return wanted


def _read_archive(path: Path) -> NDArray[np.uint8]:
    """Return the models of the archive as bits."""
    names = _members(path)
    models = np.empty((len(names), math.prod(_SHAPE) // 8), dtype=np.uint8)
    with zipfile.ZipFile(path) as archive:
        for i, name in enumerate(progress(names, "Reading models")):
            try:
                body, _ = _read_model(BytesIO(archive.read(name)))
            except (ValueError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
                raise ValueError(
                    f"{name} in {path} cannot be read: {error}. Delete the archive to download it "
                    "again."
                ) from error
            models[i] = np.packbits(body)
    return models


def _read_model(stream: BinaryIO) -> tuple[NDArray[np.bool_], Array]:
    """Return the cells of a body and its gravity, of one file."""
    try:
        file = loadmat(stream, variable_names=("m", "d"))
    except (MatReadError, ValueError, NotImplementedError, TypeError, OSError) as error:
        raise ValueError(f"it is no MATLAB file of version 5 ({error})") from error
    m, d = (np.ravel(file.get(name, ())) for name in ("m", "d"))
    if m.size != math.prod(_SHAPE) or not np.isin(m, (0, _DENSITY)).all():
        raise ValueError(
            f"its 'm' has {m.size} numbers; it must have {math.prod(_SHAPE)}, each 0 or {_DENSITY}"
        )
    return m > 0, d.astype(float)
