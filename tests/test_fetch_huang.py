"""The sparse bodies of Huang et al. (2021): the original files, their archive, and the models."""

import hashlib
import pickle
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.io import savemat

from skgrav.datasets import _huang, fetch_huang2021

ORIGINALS = {
    "data/tra&val": (0, 1, 2, 19_999, 20_000, 21_999),
    "data/syn": (0, 100, 599, 999),
}


@pytest.fixture(scope="module")
def originals(shared_data):
    """Return the original files by folder."""
    home = shared_data / "upstream/adarshjcreation/Grav-Inversion" / _huang._COMMIT
    return {f: [home / f / f"data{i}.mat" for i in rows] for f, rows in ORIGINALS.items()}


@pytest.fixture(scope="module")
def regular(shared_data):
    return fetch_huang2021("regular", data_home=shared_data)


def test_original_files_are_models_with_their_gravity(shared_data, originals):
    with np.load(shared_data / _huang._MODELS) as file:
        bits = file["m"]
    operator = fetch_huang2021("regular", data_home=shared_data).operator
    for folder, start in (("data/tra&val", 0), ("data/syn", 22_000)):
        for i, path in zip(ORIGINALS[folder], originals[folder], strict=True):
            with path.open("rb") as stream:
                body, gravity = _huang._read_model(stream)
            assert_array_equal(np.packbits(body), bits[start + i])
            ours = operator.transform(1000.0 * body[None])[0] * 6.67 / 6.6743
            assert_allclose(ours, gravity, rtol=0, atol=1e-10 * gravity.max())


def test_regular_families(regular):
    assert regular.data.shape == (1000, 1024)
    assert regular.bodies.shape == (1000, 16_384)
    assert regular.bodies.dtype == bool
    assert regular.mesh.shape == (16, 32, 32)
    assert regular.survey.n_stations == 1024
    assert_array_equal(regular.family[[0, 99, 100, 999]], ["I", "I", "II", "X"])
    rho = regular.density([3, 5])
    assert rho.dtype == np.float32
    assert_array_equal(np.unique(rho), [0, 1000])
    assert_allclose(regular.operator.transform(rho), regular.data[[3, 5]], rtol=1e-12)
    copy = pickle.loads(pickle.dumps(regular))
    assert_array_equal(copy.density(7), regular.density(7))
    assert "Apache-2.0" in regular.DESCR


def test_validation_is_what_follows_training(shared_data, originals):
    validation = fetch_huang2021("validation", data_home=shared_data)
    assert set(validation.family) == {"random walk"}
    for row, i in ((0, 4), (-1, 5)):  # data20000 and data21999
        with originals["data/tra&val"][i].open("rb") as stream:
            assert_array_equal(validation.bodies[row], _huang._read_model(stream)[0])


def test_subset_that_is_none():
    with pytest.raises(ValueError, match=r"'subset' is 'test'; it must be one of 'train', 'val"):
        fetch_huang2021("test")


def test_other_models(tmp_path):
    path = tmp_path / _huang._MODELS
    path.parent.mkdir()
    np.savez(path, m=np.zeros((23_000, 2048), np.uint8))
    with pytest.raises(ValueError, match=r"do not hold the models expected: the sha256 of their"):
        fetch_huang2021(data_home=tmp_path)
    path.write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"cannot be read: .*Delete the file to download"):
        fetch_huang2021(data_home=tmp_path)


@pytest.fixture
def served(originals, tmp_path, monkeypatch):
    """Serve an archive of the original files, renumbered, as if it were the whole set."""
    folder = tmp_path / "served"
    folder.mkdir()
    with zipfile.ZipFile(folder / "models.zip", "w") as archive:
        for name, paths in originals.items():
            for i, path in enumerate(paths):
                archive.writestr(f"Grav-Inversion-1/{name}/data{i}.mat", path.read_bytes())
    monkeypatch.setattr(_huang, "_FOLDERS", {f: len(paths) for f, paths in originals.items()})
    monkeypatch.setattr(_huang, "_FAMILIES", ("I", "II", "VI", "X"))
    monkeypatch.setattr(_huang, "_N_OF_FAMILY", 1)
    monkeypatch.setattr(_huang, "_SUBSETS", {"train": slice(0, 4), "all": slice(0, 10)})
    handler = partial(SimpleHTTPRequestHandler, directory=folder)
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *args: None)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setattr(_huang, "_URL", f"http://127.0.0.1:{server.server_port}/models.zip")
        yield folder / "models.zip"
        server.shutdown()
        thread.join()


def test_archive_is_read_once_and_kept_as_bits(served, originals, tmp_path, monkeypatch):
    bodies = []
    for paths in originals.values():
        for path in paths:
            with path.open("rb") as stream:
                bodies.append(_huang._read_model(stream)[0])
    expected = np.packbits(bodies, axis=1)
    monkeypatch.setattr(_huang, "_SHA256", hashlib.sha256(expected.tobytes()).hexdigest())
    home = tmp_path / "home"
    dataset = fetch_huang2021("all", data_home=home)
    assert_array_equal(dataset.bodies, bodies)
    assert list(dataset.family[-4:]) == ["I", "II", "VI", "X"]
    assert [p.name for p in home.rglob("*") if p.is_file()] == ["huang2021-models.npz"]
    served.unlink()
    assert_array_equal(fetch_huang2021(data_home=home).bodies, bodies[:4])


def test_archive_of_other_models(served, tmp_path):
    with pytest.raises(ValueError, match=r"The models in .* do not hold the models expected"):
        fetch_huang2021(data_home=tmp_path / "home")


def test_archive_without_a_model(served, tmp_path):
    with zipfile.ZipFile(served, "w") as archive:
        archive.writestr("Grav-Inversion-1/data/syn/data0.mat", b"")
    with pytest.raises(ValueError, match=r"lacks 9 of 10 models, such as 'Grav-Inversion-1/data/s"):
        fetch_huang2021(data_home=tmp_path / "home")
    assert not any(p.is_file() for p in (tmp_path / "home").rglob("*"))


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"m": np.ones(5)}, "its 'm' has 5 numbers; it must have 16384, each 0 or 1000"),
        ({"m": np.full(16_384, 999)}, "each 0 or 1000"),
        ({"d": np.ones(1024)}, "its 'm' has 0 numbers"),
    ],
)
def test_file_that_is_no_model(content, match):
    stream = BytesIO()
    savemat(stream, content)
    stream.seek(0)
    with pytest.raises(ValueError, match=match):
        _huang._read_model(stream)


def test_file_that_is_none_of_matlab():
    with pytest.raises(ValueError, match=r"it is no MATLAB file of version 5 .*Unknown mat file"):
        _huang._read_model(BytesIO(b"no model" * 40))
