"""Readers of files, fed what was spoilt: an answer that can be meant, or an error that names it."""

import json
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skgrav import BayesLinearInverter, Mesh
from skgrav.io import (
    read_stations,
    read_table,
    read_topography,
    read_ubc_active,
    read_ubc_mesh,
    read_ubc_model,
    read_ubc_survey,
)

MESH = Mesh.regular((2, 3, 4), 10.0)
DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Reader:
    """A reader, files that it takes, and the numbers in what it gives."""

    read: Callable[[Path], Any]
    seeds: tuple[bytes, ...]
    suffix: str
    numbers: Callable[[Any], list[np.ndarray]]
    #: Errors that name the file or say what is wrong with it.
    errors: tuple[type[Exception], ...] = (ValueError,)
    #: Whether blank cells may stay missing.
    missing: bool = False


def _texts(*texts: str) -> tuple[bytes, ...]:
    return tuple(text.encode() for text in texts)


TABLES = _texts(
    "x,gz\n0,1.5\n500,-2.25\n1000.5,3\n",
    "x;gz\n0;1,5\n500,0;-2,25\n1000,5;3\n",
    "/ Bouguer\nx gz\n/---\n0 1.5\n500 -2.25\n1000.5 3\n",
    "x_km,gz [uGal]\n0,1500\n0.5,-2250\n1.0005,3000\n",
    '"x","gz"\n"0","1.5"\n"500","-9999"\n"1000.5","*"\n"7","8"\n"9","1"\n',
    "/Line\nx gz\nLine 100\n0 1\n5 2\n9 3\n",
    "3\nx,gz\n0,1.5\n500,-2.25\n1000.5,3\n",
    "x,gz\nm,mGal\n0,1.5\n500,-2.25\n1000.5,3\n",
) + ("x\tgz [µGal]\n0\t1\n1\t2\n".encode("utf-16"), "x;gz\n0;1\n1;2\n".encode("utf-16-le"))

AREAS = _texts(
    "x,y,elevation\n0,0,1\n10,0,2\n0,10,3\n9,12,1\n",
    "x;y;elevation [m]\n0;0;1,5\n10;0;2\n0;10;*\n9;12;1\n",
    "4\n0 100 25.5\n50 100 27\n0 0 1\n50 0 2\n",
)
UBC_MESHES = _texts(
    "4 3 2\n0 0 0\n4*10\n3*10\n2*10\n", "2 2 2 ! cells\n0.5 -1e3 7D0\n1 2\n2*5.0\n1\n3\n"
)
UBC_SURVEYS = _texts(
    "3\n0 0 1 1.5 0.1\n10 0 1 2.5 0.1\n0 10 1 -1 0.1\n",
    "2\n0 0 1\n10 0 1\n",
    "datacomp=xx,xy,zz\n2\n0 0 1 1 .1 2 .1 3 .1\n10 0 1 1 .1 2 .1 3 .1\n",
)
UBC_MODELS = _texts(
    "\n".join(str(0.1 * k) for k in range(24)) + "\n", "0.5 1\n" * 6 + "1 2 3 4\n" * 3
)
UBC_ACTIVE = _texts("1\n0\n" * 12, "1 1 1 1 0 0\n" * 4)


def _stations(path: Path) -> Any:
    return read_stations(path)


def _of_survey(answer: Any) -> list[np.ndarray]:
    survey, data = answer
    assert data is None or len(data) == survey.n_data
    sigma = survey.uncertainty
    assert sigma is None or (np.asarray(sigma) > 0).all()
    return [survey.stations, *([] if data is None else [data])]


def _of_mesh(mesh: Any) -> list[np.ndarray]:
    assert all((np.diff(edges) > 0).all() for edges in mesh.edges)
    return list(mesh.edges)


def _of_model(rho: Any) -> list[np.ndarray]:
    assert rho.shape == (MESH.n_cells,)
    return [rho]


def _of_active(mesh: Any) -> list[np.ndarray]:
    assert 0 < mesh.n_cells <= MESH.n_cells
    return [np.asarray(mesh.cells, dtype=float)]


def _of_topography(found: Any) -> list[np.ndarray]:
    return [np.asarray(found, dtype=float)]


def _of_frame(frame: Any) -> list[np.ndarray]:
    assert frame.columns.is_unique
    return []


def estimator_file(header: bytes, tensors: bytes) -> bytes:
    """Give a file of safetensors whose header is made of an estimator's text."""
    outer = json.loads(tensors[8 : 8 + struct.unpack("<Q", tensors[:8])[0]])
    outer["__metadata__"] = {"skgrav": header.decode("utf-8", "replace")}
    text = json.dumps(outer).encode()
    body = tensors[8 + struct.unpack("<Q", tensors[:8])[0] :]
    return struct.pack("<Q", len(text)) + text + body


def _load(path: Path) -> Any:
    return BayesLinearInverter.load(path)


READERS = {
    "read_stations": Reader(_stations, TABLES, ".csv", _of_survey),
    "read_table": Reader(read_table, TABLES + AREAS, ".csv", _of_frame, missing=True),
    "read_topography": Reader(read_topography, AREAS, ".txt", _of_topography),
    "read_ubc_mesh": Reader(read_ubc_mesh, UBC_MESHES, ".msh", _of_mesh),
    "read_ubc_survey": Reader(read_ubc_survey, UBC_SURVEYS, ".obs", _of_survey),
    "read_ubc_model": Reader(lambda p: read_ubc_model(p, MESH), UBC_MODELS, ".den", _of_model),
    "read_ubc_active": Reader(lambda p: read_ubc_active(p, MESH), UBC_ACTIVE, ".act", _of_active),
    "load": Reader(_load, (), ".safetensors", lambda e: [e.predict(np.ones((1, e.n_features_in_)))],
                   errors=(ValueError, MemoryError)),
}  # fmt: skip


def feed(name: str, content: bytes, path: Path) -> bool:
    """Let a reader read some bytes; tell whether it gave an answer, or fail if neither will do."""
    reader = READERS[name]
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", UserWarning)
        try:
            answer = reader.read(path)
        except reader.errors as error:
            refusal = error
        else:
            numbers = reader.numbers(answer)
            assert all(np.isfinite(part).all() for part in numbers), "an answer that is not finite"
            return True
    text = f"{type(refusal).__name__}: {refusal}"
    assert not isinstance(refusal, UnicodeError), text
    # A message names the file, a column or an argument, and is one that can be read.
    assert path.name in text or "'" in text, text
    assert len(text) < 3000, text[:100]
    return False
