"""The 28,000 simulated sections of Negahdari et al. (2025), from the authors' release archive."""

from __future__ import annotations

import hashlib
import os
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from itertools import product
from math import prod
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Bunch

from skgrav.datasets._download import fetch, file_sha256
from skgrav.geometry import Mesh, Survey
from skgrav.operators import ForwardOperator

Array = NDArray[np.float64]

_URL = (
    "https://github.com/Vahid-Negahdari/Gravity_Inversion/releases/download/v1.0.0/"
    "Gravity_Inversion.zip"
)
_MEMBERS = ("Density_Train.npy", "Density_Test.npy", "Gravity_Train.npy", "Gravity_Test.npy")

#: Sizes of the axes: n samples, z layers, x columns, c components, s stations.
_SIZES = {"z": 51, "x": 51, "c": 2, "s": 153}

# Ways in which the files might be stored. Which one is so, the physics decides.
_DENSITY_AXES = ("nzx", "nxz", "zxn", "xzn")
_GRAVITY_AXES = ("ncs", "nsc", "csn", "scn")
_COMPONENTS = (("x", "z"), ("z", "x"))
_SIGNS = ((1, 1), (1, -1), (-1, 1), (-1, -1))
_HEIGHTS = (1, 10)

#: Pairs that are compared, and the relative misfit below which a layout reproduces them.
_N_COMPARED = 20
_TOLERANCE = 1e-2

_DESCR = """Simulated gravity of {n_train} training and {n_test} test sections, noise-free.

data    gravity, {n_data} data per section, component-major: gx of the 153 stations, then gz;
        normalized units, gz positive toward a positive mass below
target  density in (0, 12], 51 x 51 cells of 0.8 m, flattened in C order, the top layer first

The stations stand {height} spacing(s) above the first layer of nodes and reach over three widths of
the section. This was not read from a file but found by computing gravity from density: `operator`
reproduces the pairs to a relative misfit of {misfit:.1g}.
Found in the files: {layout}.
sha256 of the archive: {sha256}

Source: Negahdari, Samadi Bahrami, Moghadasi, Razvan, Performance of Machine Learning Methods for
Gravity Inversion: Successes and Challenges, arXiv:2510.09632 (2025), with the sections of
arXiv:2406.05153. {url}
Licence: none is stated in the authors' repository.
"""


class _Layout(NamedTuple):
    """How densities and gravity are stored."""

    density_axes: str
    bottom_first: bool
    gravity_axes: str
    components: tuple[str, str]
    signs: tuple[int, int]
    height: int

    def __str__(self) -> str:
        first = "bottom" if self.bottom_first else "top"
        gravity = ", ".join(
            f"{'-' if sign < 0 else '+'}g{component}"
            for component, sign in zip(self.components, self.signs, strict=True)
        )
        return (
            f"density by axes {tuple(self.density_axes)}, {first} layer first; gravity by axes "
            f"{tuple(self.gravity_axes)}, components {gravity}; stations {self.height} "
            "spacing(s) above the first layer"
        )


def fetch_negahdari2025(
    *,
    data_home: str | os.PathLike[str] | None = None,
    url: str | None = None,
    sha256: str | None = None,
) -> Bunch:
    """Load the simulated sections and gravity of Negahdari et al. (2025), with their fixed split.

    27,000 training and 1,000 test pairs [1]_ on 51 x 51 cells, from the release archive of the
    authors, downloaded when first used. The arrays take some 650 MB of memory, up to twice as
    much while they are read. How the files order components, stations and samples is not
    documented: the layout under which the physics reproduces gravity from density is found
    here, and the arrays are handed over in skgrav's order.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder of the archive; None takes the environment variable ``SKGRAV_DATA``, otherwise
        the user's cache folder. See `get_data_home`.
    url : str, default=None
        Address of the archive, if it is not the authors' release v1.0.0 on GitHub.
    sha256 : str, default=None
        Hash that the archive must have. The authors publish none, so None takes what comes and
        warns with the hash received, which can be pinned here from then on.

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
            How the files turned out to be stored.
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
        If the archive has another hash than `sha256`, is damaged, lacks a file or holds unsafe
        names, or if no layout lets the physics reproduce gravity to a misfit below 0.01.

    Warns
    -----
    UserWarning
        If `sha256` is None: nobody can tell whether this is the authors' file.

    See Also
    --------
    make_gravity_dataset : Simulated pairs of any number and geometry.
    get_data_home : Where the archive lies.

    Notes
    -----
    Nothing is unpacked to disk, and arrays that would need pickle are refused.

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
        warnings.warn(
            f"The authors publish no hash of {address}: {path} was taken as it is. Its sha256 is "
            f"{received}; pass sha256={received!r} to accept this file only.",
            UserWarning,
            stacklevel=2,
        )
    density_train, density_test, gravity_train, gravity_test = _read_arrays(path)
    layout, operator = _find_layout(density_train, gravity_train, path)
    target_train, data_train = _arrange(layout, density_train, gravity_train)
    # The unarranged arrays are as large as the arranged ones.
    del density_train, gravity_train
    target_test, data_test, misfit = _arrange_test(
        layout, operator, density_test, gravity_test, path
    )
    description = _DESCR.format(
        n_train=len(data_train),
        n_test=len(data_test),
        n_data=operator.n_data_,
        height=layout.height,
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
        layout=str(layout),
        sha256=received,
        DESCR=description,
    )


def _place(url: str) -> str:
    """Return the archive's place in the data home, another one for each address."""
    if url == _URL:
        return url.replace("https://github.com/", "upstream/")
    return f"negahdari2025/{hashlib.sha256(url.encode()).hexdigest()[:12]}/Gravity_Inversion.zip"


def _find_members(path: Path) -> dict[str, str]:
    """Return the names in the archive of the four files, or say what is wrong with it."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (RuntimeError, zipfile.BadZipFile) as error:
        raise ValueError(f"It is no zip archive or a truncated one ({error}).") from error
    for name in names:
        parts = name.replace("\\", "/").split("/")
        if parts[0] == "" or parts[0].endswith(":") or ".." in parts:
            raise ValueError(
                f"Its member {name!r} has an absolute path or '..', which a harmless archive "
                "does not."
            )
    members = {}
    for wanted in _MEMBERS:
        found = [name for name in names if PurePosixPath(name.replace("\\", "/")).name == wanted]
        if len(found) != 1:
            raise ValueError(
                f"It must hold {wanted!r} once, but holds it {len(found)} times. Its members: "
                f"{', '.join(names[:20]) or 'none'}."
            )
        members[wanted] = found[0]
    return members


def _read_arrays(path: Path) -> Iterator[NDArray]:
    """Yield the four arrays, read one after the other straight from the archive."""
    members = _find_members(path)
    with zipfile.ZipFile(path) as archive:
        for wanted in _MEMBERS:
            try:
                with archive.open(members[wanted]) as stream:
                    # NumPy reads from such a stream in pieces, into the array itself.
                    array = np.lib.format.read_array(stream, allow_pickle=False)
                    # Reading to the end is what makes zipfile compare the checksum.
                    rest = stream.read(1)
            except (ValueError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
                raise ValueError(
                    f"{wanted} in {path} cannot be read: {error}. Delete the archive to download "
                    "it again."
                ) from error
            if rest or array.dtype.kind not in "fiu":
                raise ValueError(
                    f"{wanted} in {path} must be one array of real numbers, got dtype "
                    f"{array.dtype}{' and something after it' if rest else ''}."
                )
            if not np.isfinite(array).all():
                raise ValueError(f"{wanted} in {path} contains NaN or infinity.")
            yield array


def _find_layout(density: NDArray, gravity: NDArray, path: Path) -> tuple[_Layout, ForwardOperator]:
    """Return the layout under which the physics reproduces gravity, and its operator."""
    best, best_misfit = None, np.inf
    likest, likeness, scale = None, -np.inf, np.nan
    for layout, operator, predicted, g in _candidates(density, gravity):
        misfit = _misfit(predicted, g)
        if best is None or misfit < best_misfit:
            best, best_misfit = (layout, operator), misfit
        # How far the predicted gravity has the right shape, whatever its unit.
        size, predicted_size = np.linalg.norm(g), np.linalg.norm(predicted)
        cosine = np.sum(predicted * g) / (size * predicted_size or np.inf)
        if cosine > likeness:
            likest, likeness, scale = layout, cosine, size / (predicted_size or np.inf)
    if best is not None and best_misfit < _TOLERANCE:
        return best
    outcome = "None of them fits these shapes."
    if best is not None:
        outcome = f"The best left a relative misfit of {best_misfit:.2g}: {best[0]}."
    if likeness > 0.9:
        outcome += (
            f" Gravity is {scale:.4g} times the predicted one, with a correlation of "
            f"{likeness:.4f}, for {likest}."
        )
    raise ValueError(
        f"The gravity in {path} does not follow from its densities: Density_Train.npy of shape "
        f"{density.shape} and Gravity_Train.npy of shape {gravity.shape}. Tried were axes of "
        f"density {_DENSITY_AXES}, top or bottom layer first; axes of gravity {_GRAVITY_AXES}, "
        f"components {_COMPONENTS}, signs {_SIGNS}; stations {_HEIGHTS} spacings above the first "
        f"layer (n samples; sizes of the other axes {_SIZES}). {outcome}"
    )


def _candidates(
    density: NDArray, gravity: NDArray
) -> Iterator[tuple[_Layout, ForwardOperator, Array, Array]]:
    """Yield each layout that fits the shapes, its operator, and gravity predicted and stored."""
    operators = {height: _operator(height) for height in _HEIGHTS}
    for density_axes, gravity_axes in product(_DENSITY_AXES, _GRAVITY_AXES):
        n_samples = _n_samples(density, density_axes)
        if not n_samples or n_samples != _n_samples(gravity, gravity_axes):
            continue
        rows = np.unique(np.linspace(0, n_samples - 1, _N_COMPARED).astype(int))
        some_density = density.take(rows, axis=_sample_axis(density_axes))
        some_gravity = gravity.take(rows, axis=_sample_axis(gravity_axes))
        for bottom_first, height in product((False, True), _HEIGHTS):
            rho = _arrange_density(some_density, density_axes, bottom_first)
            predicted = operators[height].transform(rho)
            for components, signs in product(_COMPONENTS, _SIGNS):
                layout = _Layout(
                    density_axes, bottom_first, gravity_axes, components, signs, height
                )
                g = _arrange_gravity(some_gravity, gravity_axes, components, signs)
                yield layout, operators[height], predicted, g


def _operator(height: int) -> ForwardOperator:
    """Return the paper's operator with the stations so many spacings above the first nodes."""
    mesh = Mesh.square(_SIZES["x"])
    spacing = float(mesh.widths[0][0])
    survey = Survey.line(mesh, height=height * spacing - spacing / 2)
    return ForwardOperator(mesh, survey, kernel="point", units="normalized").fit()


def _n_samples(stored: NDArray, axes: str) -> int:
    """Return the number of samples of an array with these axes, 0 if its shape does not fit."""
    n_samples, rest = divmod(stored.size, prod(_SIZES.get(axis, 1) for axis in axes))
    fits = stored.ndim >= 2 and not rest and stored.shape[_sample_axis(axes)] == n_samples
    return n_samples if fits else 0


def _sample_axis(axes: str) -> int:
    return 0 if axes[0] == "n" else -1


def _arrange(layout: _Layout, density: NDArray, gravity: NDArray) -> tuple[Array, Array]:
    """Return density and gravity in skgrav's order, float64."""
    return (
        _arrange_density(density, layout.density_axes, layout.bottom_first),
        _arrange_gravity(gravity, layout.gravity_axes, layout.components, layout.signs),
    )


def _arrange_density(density: NDArray, axes: str, bottom_first: bool) -> Array:
    rho = _ordered(density, axes, "nzx")
    return _flat(rho[:, ::-1] if bottom_first else rho)


def _arrange_gravity(
    gravity: NDArray, axes: str, components: tuple[str, str], signs: tuple[int, int]
) -> Array:
    g = _ordered(gravity, axes, "ncs")
    # The signs are those of the components as stored.
    if signs != (1, 1):
        g = g * np.array(signs, dtype=np.float64)[:, None]
    return _flat(g[:, ::-1] if components == ("z", "x") else g)


def _flat(array: NDArray) -> Array:
    return np.ascontiguousarray(array, dtype=np.float64).reshape(len(array), -1)


def _ordered(stored: NDArray, axes: str, wanted: str) -> NDArray:
    """Split the axes of an array by name and put them in the order wanted."""
    shape = [_SIZES.get(axis, -1) for axis in axes]
    return stored.reshape(shape).transpose([axes.index(axis) for axis in wanted])


def _misfit(predicted: Array, g: Array) -> float:
    """Return the relative misfit, infinite where it is not defined."""
    norm = np.linalg.norm(g)
    misfit = np.linalg.norm(predicted - g) / norm if norm > 0 else np.inf
    return float(misfit) if np.isfinite(misfit) else np.inf


def _arrange_test(
    layout: _Layout, operator: ForwardOperator, density: NDArray, gravity: NDArray, path: Path
) -> tuple[Array, Array, float]:
    """Return the test pairs arranged as the training pairs, with the misfit of some of them."""
    n_samples = _n_samples(density, layout.density_axes)
    misfit = np.inf
    if n_samples and n_samples == _n_samples(gravity, layout.gravity_axes):
        rho, g = _arrange(layout, density, gravity)
        rows = np.unique(np.linspace(0, n_samples - 1, _N_COMPARED).astype(int))
        misfit = _misfit(operator.transform(rho[rows]), g[rows])
        if misfit < _TOLERANCE:
            return rho, g, misfit
    raise ValueError(
        f"The test pairs in {path}, Density_Test.npy of shape {density.shape} and Gravity_Test.npy "
        f"of shape {gravity.shape}, do not follow the training pairs: {layout}. Their relative "
        f"misfit is {misfit:.2g}."
    )
