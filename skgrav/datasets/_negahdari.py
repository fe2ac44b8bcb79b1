"""The 28,000 simulated sections of Negahdari et al. (2025), from the authors' release archive."""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Bunch

from skgrav._constraints import checked
from skgrav._typing import Array
from skgrav._warnings import warn
from skgrav.datasets._download import fetch, file_sha256
from skgrav.geometry import Mesh, Survey
from skgrav.operators import ForwardOperator

_URL = (
    "https://github.com/Vahid-Negahdari/Gravity_Inversion/releases/download/v1.0.0/"
    "Gravity_Inversion.zip"
)
_MEMBERS = ("Density_Train.npy", "Density_Test.npy", "Gravity_Train.npy", "Gravity_Test.npy")

_N_CELLS, _N_COMPONENTS, _N_STATIONS = 51, 2, 153

#: Orders of gravity in the authors' scripts: A rho is all gx, then all gz, but their network reads
#: gx and gz of each station in turn. Densities are row-major, the top layer first.
_ORDERS = ("component-major", "station-major")

#: Heights of the stations above the first nodes in the authors' scripts, in spacings.
_HEIGHTS = (1, 10)

#: Pairs compared, and the relative misfit below which a layout reproduces them.
_N_COMPARED = 20
_TOLERANCE = 1e-2

_DESCR = """Simulated gravity of {n_train} training and {n_test} test sections, noise-free.

data    gravity, {n_data} data per section, component-major: gx of the 153 stations, then gz;
        normalized units, gz positive toward a positive mass below
target  density in (0, 12], 51 x 51 cells of 0.8 m, flattened in C order, the top layer first

The stations are {height} spacing(s) above the first layer of nodes and cover three widths of the
section. The files do not state this; it was found by computing gravity from density: `operator`
reproduces the pairs to a relative misfit of {misfit:.1g}.
Layout of the files: {layout}.
sha256 of the archive: {sha256}

Source: Negahdari, Samadi Bahrami, Moghadasi, Razvan, Performance of Machine Learning Methods for
Gravity Inversion: Successes and Challenges, arXiv:2510.09632 (2025), with the sections of
arXiv:2406.05153. {url}
Licence: none is stated in the authors' repository.
"""


@checked(url=[str, None], sha256=[str, None])
def fetch_negahdari2025(
    *,
    data_home: str | os.PathLike[str] | None = None,
    url: str | None = None,
    sha256: str | None = None,
) -> Bunch:
    """Load the simulated sections and gravity of Negahdari et al. (2025), with their fixed split.

    27,000 training and 1,000 test pairs [1]_ on 51 x 51 cells, from the release archive of the
    authors, downloaded when first used. The arrays take some 650 MB of memory, up to twice as
    much while they are read. The authors' scripts order gravity by components or by stations,
    and put the stations one or ten spacings above the first layer: of these four layouts, the
    one that reproduces gravity from density is used, and arrays are returned component-major.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder of the archive; None takes the environment variable ``SKGRAV_DATA``, otherwise
        the user's cache folder. See `get_data_home`.
    url : str, default=None
        URL of the archive; None takes the authors' release v1.0.0 on GitHub.
    sha256 : str, default=None
        Hash that the archive must have. The authors publish none, so None accepts any archive
        and warns with its hash, which can then be given here.

    Returns
    -------
    dataset : Bunch
        With these attributes:

        data_train, data_test : ndarray of shape (n_samples, 306)
            Gravity in normalized units, noise-free, component-major: gx of the 153 stations,
            then gz, positive toward a positive mass below.
        target_train, target_test : ndarray of shape (n_samples, 2601)
            Densities in (0, 12], flattened in C order, the top layer first.
        operator : ForwardOperator
            The fitted operator that reproduces the pairs.
        layout : str
            Order of gravity in the files, and height of the stations.
        sha256 : str
            Hash of the archive.
        DESCR : str
            Source, licence and units.

    Raises
    ------
    ImportError
        If the archive must be downloaded and pooch, part of ``skgrav[data]``, is missing.
    OSError
        If the archive is not there and cannot be downloaded.
    ValueError
        If the archive has another hash than `sha256`, is damaged, lacks a file or has unsafe
        names, or if no layout reproduces gravity to a relative misfit below 0.01.

    Warns
    -----
    UserWarning
        If `sha256` is None, so that the archive cannot be verified.

    See Also
    --------
    make_gravity_dataset : Simulated pairs of any number and geometry.
    get_data_home : Folder of the archive.

    Notes
    -----
    Nothing is unpacked to disk, and pickled arrays are refused.

    References
    ----------
    .. [1] Negahdari, Samadi Bahrami, Moghadasi, Razvan, "Performance of Machine Learning Methods
       for Gravity Inversion: Successes and Challenges", arXiv:2510.09632, 2025.

    Examples
    --------
    >>> from skgrav.datasets import fetch_negahdari2025
    >>> dataset = fetch_negahdari2025()  # doctest: +SKIP
    >>> dataset.data_train.shape, dataset.target_train.shape  # doctest: +SKIP
    ((27000, 306), (27000, 2601))
    """
    address = _URL if url is None else url
    path = fetch(address, sha256, _place(address), data_home, check=_find_members, progressbar=True)
    received = file_sha256(path)
    if sha256 is None:
        warn(
            f"The authors publish no hash of {address}: {path} is used without verification. Its "
            f"sha256 is {received}; pass sha256={received!r} to accept this file only.",
            UserWarning,
        )
    density_train, density_test, gravity_train, gravity_test = _read_arrays(path)
    target_train, target_test = _densities(density_train), _densities(density_test)
    order, height, operator = _find_layout(target_train, gravity_train, path)
    data_train, data_test = _gravity(gravity_train, order), _gravity(gravity_test, order)
    misfit = _misfit(operator, target_test, data_test)
    layout = f"{order} gravity, stations {height} spacing(s) above the first layer"
    if not misfit < _TOLERANCE:
        raise ValueError(
            f"The test pairs in {path}, Density_Test.npy of shape {density_test.shape} and "
            f"Gravity_Test.npy of shape {gravity_test.shape}, do not follow the training pairs: "
            f"{layout}. Their relative misfit is {misfit:.2g}."
        )
    description = _DESCR.format(
        n_train=len(data_train),
        n_test=len(data_test),
        n_data=operator.n_data_,
        height=height,
        misfit=misfit,
        layout=layout,
        sha256=received,
        url=address,
    )
    return Bunch(
        data_train=data_train,
        target_train=target_train,
        data_test=data_test,
        target_test=target_test,
        operator=operator,
        layout=layout,
        sha256=received,
        DESCR=description,
    )


def _place(url: str) -> str:
    """Return the archive's path in the data home, which depends on the address."""
    if url == _URL:
        return url.replace("https://github.com/", "upstream/")
    return f"negahdari2025/{hashlib.sha256(url.encode()).hexdigest()[:12]}/Gravity_Inversion.zip"


def _find_members(path: Path) -> dict[str, str]:
    """Return the names of the four files in the archive; raise ValueError if it is unsuitable."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (RuntimeError, zipfile.BadZipFile) as error:
        raise ValueError(f"It is not a zip archive, or truncated ({error}).") from error
    for name in names:
        parts = name.replace("\\", "/").split("/")
        if parts[0] == "" or parts[0].endswith(":") or ".." in parts:
            raise ValueError(
                f"Its member {name!r} has an absolute path or '..', which is unsafe to extract."
            )
    members = {}
    for wanted in _MEMBERS:
        found = [name for name in names if PurePosixPath(name.replace("\\", "/")).name == wanted]
        if len(found) != 1:
            raise ValueError(
                f"It must contain {wanted!r} once, but has it {len(found)} times. Its members: "
                f"{', '.join(names[:20]) or 'none'}."
            )
        members[wanted] = found[0]
    return members


def _read_arrays(path: Path) -> Iterator[NDArray]:
    """Yield the four arrays, read one by one from the archive."""
    members = _find_members(path)
    with zipfile.ZipFile(path) as archive:
        for wanted in _MEMBERS:
            try:
                with archive.open(members[wanted]) as stream:
                    # NumPy reads from a stream in pieces, without a second copy.
                    array = np.lib.format.read_array(stream, allow_pickle=False)
                    # zipfile checks the checksum at the end of the stream.
                    rest = stream.read(1)
            except (ValueError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
                raise ValueError(
                    f"{wanted} in {path} cannot be read: {error}. Delete the archive to download "
                    "it again."
                ) from error
            if rest or array.dtype.kind not in "fiu":
                raise ValueError(
                    f"{wanted} in {path} must be one array of real numbers, got dtype "
                    f"{array.dtype}{' followed by other data' if rest else ''}."
                )
            if not np.isfinite(array).all():
                raise ValueError(f"{wanted} in {path} contains NaN or infinity.")
            yield array


def _find_layout(rho: Array, gravity: NDArray, path: Path) -> tuple[str, int, ForwardOperator]:
    """Return the order and height that reproduce gravity, and their operator."""
    misfits = {}
    for height in _HEIGHTS:
        operator = _operator(height)
        for order in _ORDERS:
            misfit = _misfit(operator, rho, _gravity(gravity, order))
            if misfit < _TOLERANCE:
                return order, height, operator
            misfits[f"{order}, stations {height} spacing(s) above the first layer"] = misfit
    tried = "; ".join(f"{layout}: {misfit:.2g}" for layout, misfit in misfits.items())
    raise ValueError(
        f"The gravity in {path} does not follow from its densities: Density_Train.npy has "
        f"{rho.shape[1]} numbers per sample and Gravity_Train.npy has shape {gravity.shape}. "
        f"Needed are {_N_CELLS**2}, the top layer first, and {_N_COMPONENTS * _N_STATIONS}; "
        f"relative misfits are {tried}."
    )


def _operator(height: int) -> ForwardOperator:
    """Return the paper's operator, with stations `height` spacings above the first nodes."""
    mesh = Mesh.square(_N_CELLS)
    spacing = float(mesh.widths[0][0])
    survey = Survey.line(mesh, height=height * spacing - spacing / 2)
    return ForwardOperator(mesh, survey, kernel="point", units="normalized").fit()


def _densities(stored: NDArray) -> Array:
    """Return one row per sample."""
    return np.ascontiguousarray(stored, dtype=np.float64).reshape(len(stored), -1)


def _gravity(stored: NDArray, order: str) -> Array:
    """Return gravity component-major."""
    g = _densities(stored)
    if order == "station-major" and g.shape[1] == _N_COMPONENTS * _N_STATIONS:
        g = g.reshape(-1, _N_STATIONS, _N_COMPONENTS).swapaxes(1, 2).reshape(len(g), -1)
    return g


def _misfit(operator: ForwardOperator, rho: Array, g: Array) -> float:
    """Return the relative misfit of some samples, infinite where it is undefined."""
    if rho.shape != (len(g), operator.n_cells_) or g.shape[1] != operator.n_data_:
        return np.inf
    rows = np.unique(np.linspace(0, len(g) - 1, _N_COMPARED).astype(int))
    norm = np.linalg.norm(g[rows])
    misfit = np.linalg.norm(operator.transform(rho[rows]) - g[rows]) / (norm or np.nan)
    return float(misfit) if np.isfinite(misfit) else np.inf
