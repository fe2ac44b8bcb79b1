"""Download and cache files of public data sets."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# Seconds to wait for the server to answer or to send more.
_TIMEOUT = 30.0


def get_data_home(data_home: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder in which the `fetch_*` functions keep their files.

    Parameters
    ----------
    data_home : str or path-like, default=None
        The folder. None takes the environment variable ``SKGRAV_DATA`` if it is set and not
        empty, otherwise the user's cache folder, ``pooch.os_cache("skgrav")``.

    Returns
    -------
    path : Path
        The folder. The first download creates it. It may be read-only if the files exist.

    Raises
    ------
    ImportError
        If the cache folder is needed and pooch, part of ``skgrav[data]``, is missing.

    See Also
    --------
    fetch_pelotas_profile : A measured crustal profile.
    fetch_laguna_del_maule : Gravity measured over a magma reservoir, in 3D.
    fetch_block_halfspace : A block with its truth, in 3D.
    fetch_bushveld : Gravity measured over a layered intrusion, in 3D.
    fetch_huang2021 : Sparse bodies in 3D, the set that 3D networks are compared on.
    fetch_two_bodies : Gravity of two known bodies below a valley, in 3D.
    fetch_negahdari2025 : The simulated sections of the paper.

    Notes
    -----
    Files of a GitHub repository are stored as ``upstream/OWNER/REPO/COMMIT/PATH``, so a mirror
    of the files serves as a data home on a machine without a network.

    Examples
    --------
    >>> from skgrav.datasets import get_data_home
    >>> get_data_home("data/gravity").name
    'gravity'
    """
    if data_home is not None and not isinstance(data_home, str | os.PathLike):
        raise TypeError(f"'data_home' is {data_home!r}; give a folder as str or Path, or None.")
    folder = data_home or os.environ.get("SKGRAV_DATA") or _pooch().os_cache("skgrav")
    return Path(folder).expanduser()


def fetch(
    url: str,
    sha256: str | None,
    relative_path: str,
    data_home: str | os.PathLike[str] | None,
    *,
    check: Callable[[Path], object] | None = None,
    progressbar: bool = False,
) -> Path:
    """Return the path of a file in the data home, downloaded if it is not there yet.

    A download has a temporary name in the same folder until it has been checked, so that the
    data home never contains a partial file. A `sha256` of None accepts any file; `check` takes the
    path and raises ValueError if the content is wrong.
    """
    expected = _check_sha256(sha256)
    path = get_data_home(data_home).joinpath(*relative_path.split("/"))
    if path.is_file():
        remedy = "Delete the file to download it again, or set 'data_home' to another folder."
        _verify(path, expected, check, f"The file {path}", remedy)
        return path
    downloader = _downloader(progressbar)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        _receive(url, part, path, downloader)
        origin = f"The file {path.name} received from {url}"
        remedy = "It was not kept. Try again later; if this persists, the file changed upstream."
        _verify(part, expected, check, origin, remedy)
        part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink()
    return path


def github_file(repository: str, commit: str, path: str) -> tuple[str, str]:
    """Return the URL of a file of a GitHub repository and its path in the data home."""
    return (
        f"https://raw.githubusercontent.com/{repository}/{commit}/{path}",
        f"upstream/{repository}/{commit}/{path}",
    )


def progress(values: Sequence[str], description: str) -> Iterable[str]:
    """Return values, with a bar of how many are done where tqdm is installed."""
    if find_spec("tqdm") is None:
        return values
    from tqdm.auto import tqdm

    return tqdm(values, description)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _pooch() -> Any:
    try:
        import pooch
    except ImportError as error:
        raise ImportError(
            "Downloading data sets needs pooch: pip install 'skgrav[data]'. Files already in the "
            "folder 'data_home' or SKGRAV_DATA are read without it."
        ) from error
    return pooch


def _downloader(progressbar: bool) -> Callable[..., object]:
    """Return pooch's downloader for http, with a bar where tqdm is installed."""
    bar = progressbar and find_spec("tqdm") is not None
    return _pooch().HTTPDownloader(progressbar=bar, timeout=_TIMEOUT)


def _receive(url: str, part: Path, path: Path, downloader: Callable[..., object]) -> None:
    """Download to `part`; errors say how to provide the file otherwise."""
    from requests.exceptions import RequestException

    by_hand = (
        f"Put the file at {path} by hand, or set 'data_home' or the environment variable "
        "SKGRAV_DATA to a folder that contains it."
    )
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        downloader(url, str(part), None)
    # A subclass of OSError, so it is caught first.
    except RequestException as error:
        raise ConnectionError(f"Cannot download {url}: {error}. {by_hand}") from error
    except OSError as error:
        raise OSError(f"Cannot write {path}, downloaded from {url}: {error}. {by_hand}") from error


def _verify(
    path: Path,
    expected: str | None,
    check: Callable[[Path], object] | None,
    origin: str,
    remedy: str,
) -> None:
    """Raise ValueError unless the file has the hash expected and passes the check."""
    if expected is not None:
        actual = file_sha256(path)
        if actual != expected:
            raise ValueError(
                f"{origin} is not the one expected: its sha256 is {actual}, "
                f"it should be {expected}. {remedy}"
            )
    if check is not None:
        try:
            check(path)
        except ValueError as error:
            raise ValueError(f"{origin} cannot be used: {error} {remedy}") from error


def _check_sha256(sha256: str | None) -> str | None:
    if sha256 is None:
        return None
    digits = str(sha256).strip().lower().removeprefix("sha256:")
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise ValueError(
            f"'sha256' must be None or 64 hexadecimal digits, got {sha256!r}; "
            "`sha256sum FILE` or `certutil -hashfile FILE SHA256` prints them."
        )
    return digits
