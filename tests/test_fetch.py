"""Data sets from files: the Pelotas profile, the paper's archive, and getting files at all.

No test leaves this machine: files come from the local mirror or from a server on 127.0.0.1.
"""

import io
import socket
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import requests
from conftest import files_in, sha256
from numpy.testing import assert_allclose, assert_array_equal

from skgrav import ForwardOperator, Mesh
from skgrav.datasets import (
    _download,
    fetch_negahdari2025,
    fetch_pelotas_profile,
    get_data_home,
    make_density_models,
    pelotas_section,
)
from skgrav.datasets._download import fetch

PELOTAS = "upstream/pinga-lab/paper-isostatic-grav2D/4dbc0c0cadfee99fdb2e894dc7d01b6762eae54f/data"
RELEASE = (
    "upstream/Vahid-Negahdari/Gravity_Inversion/releases/download/v1.0.0/Gravity_Inversion.zip"
)
N_TRAIN, N_TEST = 12, 5


class Server(ThreadingHTTPServer):
    """Serve `files`, a dict from path to content; the paths in `cut` break off half-way."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.cut, self.silent, self.requested = {}, set(), set(), []
        self.closing = threading.Event()

    def add(self, content, path="/Gravity_Inversion.zip"):
        self.files[path] = content
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requested.append(self.path)
        if self.path in self.server.silent:
            self.server.closing.wait(10)
            return
        content = self.server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if self.path in self.server.cut else content)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.closing.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def closed_port():
    """Give an address on this machine where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    return f"http://127.0.0.1:{port}/Gravity_Inversion.zip"


@pytest.fixture
def offline(monkeypatch):
    """Take the network away, before any name is looked up."""

    def get(url, **kwargs):
        raise requests.exceptions.ConnectionError("network is unreachable")

    monkeypatch.setattr(requests, "get", get)


class TestDataHome:
    def test_argument_beats_environment(self, monkeypatch, tmp_path):
        monkeypatch.setenv("SKGRAV_DATA", str(tmp_path / "environment"))
        assert get_data_home(tmp_path / "argument") == tmp_path / "argument"
        assert get_data_home() == tmp_path / "environment"

    @pytest.mark.parametrize("value", [None, ""])
    def test_cache_folder_is_the_last_resort(self, monkeypatch, value):
        monkeypatch.delenv("SKGRAV_DATA", raising=False)
        if value is not None:
            monkeypatch.setenv("SKGRAV_DATA", value)
        assert "skgrav" in get_data_home().name

    def test_home_directory_is_expanded(self):
        assert get_data_home("~/gravity") == Path("~/gravity").expanduser()

    def test_is_not_created(self, tmp_path):
        assert not get_data_home(tmp_path / "new").exists()

    def test_cache_folder_needs_pooch(self, monkeypatch):
        monkeypatch.delenv("SKGRAV_DATA", raising=False)
        monkeypatch.setitem(sys.modules, "pooch", None)
        with pytest.raises(ImportError, match=r"pip install 'skgrav\[data\]'"):
            get_data_home()


class TestFetch:
    def test_downloads_once(self, server, tmp_path):
        url = server.add(b"gravity")
        for _ in range(2):
            path = fetch(url, sha256(b"gravity"), "some/where/g.txt", tmp_path)
        assert path == tmp_path / "some" / "where" / "g.txt"
        assert path.read_bytes() == b"gravity"
        assert files_in(tmp_path) == ["g.txt"]
        assert len(server.requested) == 1

    def test_hash_in_other_spellings(self, server, tmp_path):
        url = server.add(b"gravity")
        assert fetch(url, f"SHA256:{sha256(b'gravity')}".upper(), "g", tmp_path).exists()

    @pytest.mark.parametrize("wrong", ["", "abc", "g" * 64])
    def test_what_is_no_hash(self, tmp_path, wrong):
        with pytest.raises(ValueError, match="'sha256' must be None or 64 hexadecimal digits"):
            fetch("http://127.0.0.1", wrong, "g", tmp_path)

    def test_download_with_another_hash_is_not_kept(self, server, tmp_path):
        url = server.add(b"levity")
        expected = sha256(b"gravity")
        with pytest.raises(ValueError, match="is not the one expected") as caught:
            fetch(url, expected, "g.txt", tmp_path)
        for part in ("g.txt", url, expected, sha256(b"levity"), "was not kept"):
            assert part in str(caught.value)
        assert files_in(tmp_path) == []

    def test_present_file_with_another_hash(self, server, tmp_path):
        url = server.add(b"gravity")
        (tmp_path / "g.txt").write_bytes(b"levity")
        with pytest.raises(ValueError, match="Delete the file to download it again") as caught:
            fetch(url, sha256(b"gravity"), "g.txt", tmp_path)
        for part in (str(tmp_path / "g.txt"), sha256(b"gravity"), sha256(b"levity")):
            assert part in str(caught.value)
        # It may be the user's own: nobody overwrites it.
        assert (tmp_path / "g.txt").read_bytes() == b"levity"
        assert server.requested == []

    def test_refused_by_check(self, server, tmp_path):
        def refuse(path):
            raise ValueError(f"It has {len(path.read_bytes())} bytes.")

        url = server.add(b"gravity")
        with pytest.raises(ValueError, match=r"cannot be used: It has 7 bytes\. It was not kept"):
            fetch(url, None, "g.txt", tmp_path, check=refuse)
        assert files_in(tmp_path) == []

    def test_broken_connection(self, server, tmp_path):
        url = server.add(b"gravity" * 1000)
        server.cut.add("/Gravity_Inversion.zip")
        with pytest.raises(OSError, match="Cannot download http"):
            fetch(url, None, "g.txt", tmp_path)
        assert files_in(tmp_path) == []

    def test_no_such_file_on_the_server(self, server, tmp_path):
        url = server.add(b"gravity")
        with pytest.raises(OSError, match="404"):
            fetch(f"{url}.old", None, "g.txt", tmp_path)
        assert files_in(tmp_path) == []

    def test_silent_server(self, server, tmp_path, monkeypatch):
        monkeypatch.setattr(_download, "_TIMEOUT", 0.2)
        url = server.add(b"gravity")
        server.silent.add("/Gravity_Inversion.zip")
        with pytest.raises(OSError, match="timed out"):
            fetch(url, None, "g.txt", tmp_path)
        assert files_in(tmp_path) == []

    def test_unreachable_server(self, closed_port, tmp_path):
        with pytest.raises(ConnectionError, match="Cannot download http") as caught:
            fetch(closed_port, None, "g.txt", tmp_path)
        for part in (closed_port, str(tmp_path / "g.txt"), "SKGRAV_DATA", "by hand"):
            assert part in str(caught.value)
        assert files_in(tmp_path) == []

    def test_interrupted(self, tmp_path, monkeypatch):
        def interrupted(url, output, pooch):
            Path(output).write_bytes(b"grav")
            raise KeyboardInterrupt

        monkeypatch.setattr(_download, "_downloader", lambda bar: interrupted)
        with pytest.raises(KeyboardInterrupt):
            fetch("http://127.0.0.1", None, "g.txt", tmp_path)
        assert files_in(tmp_path) == []

    def test_folder_that_cannot_be_written(self, server, tmp_path):
        url = server.add(b"gravity")
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(OSError, match=r"Cannot write .*Put the file at"):
            fetch(url, None, "g.txt", tmp_path / "file")

    def test_missing_pooch(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "pooch", None)
        with pytest.raises(ImportError, match=r"pip install 'skgrav\[data\]'"):
            fetch("http://127.0.0.1", None, "g.txt", tmp_path)

    @pytest.mark.parametrize("installed", [True, False])
    def test_progress_bar_where_tqdm_is(self, server, tmp_path, monkeypatch, capsys, installed):
        if installed:
            pytest.importorskip("tqdm")
        else:
            monkeypatch.setattr(_download, "find_spec", lambda name: None)
        fetch(server.add(b"gravity"), None, "g.txt", tmp_path, progressbar=True)
        assert ("100%" in capsys.readouterr().err) == installed


@pytest.fixture(scope="module")
def pelotas(shared_data):
    return fetch_pelotas_profile(data_home=shared_data)


def pelotas_mesh():
    """Give the profile's own columns, extended by 300 km, in layers of 400 m."""
    columns = 2570.47 * np.arange(150)
    return Mesh([np.linspace(0, 43200, 109), [-300e3, *columns, columns[-1] + 300e3]])


class TestPelotas:
    def test_shapes(self, pelotas):
        for name in ("data", "x", "topography", "bathymetry", "toi", "basement", "moho"):
            assert pelotas[name].shape == (149,)
            assert pelotas[name].dtype == np.float64
        assert pelotas.survey.components == ("z",)
        assert pelotas.survey.n_data == 149
        assert pelotas.survey.trend == 0

    def test_stations(self, pelotas):
        assert_array_equal(pelotas.survey.stations[:, 0], -150)
        assert_array_equal(pelotas.survey.stations[:, 1], pelotas.x)
        assert_allclose(pelotas.x[[0, -1]], [1285.235, 383000.03 - 1285.235])

    def test_interfaces_are_in_order(self, pelotas):
        assert (pelotas.bathymetry >= 0).all()
        assert_array_equal(pelotas.bathymetry, -pelotas.topography)
        assert (pelotas.bathymetry <= pelotas.toi).all()
        assert (pelotas.toi <= pelotas.basement).all()
        assert (pelotas.basement < pelotas.moho).all()
        assert (pelotas.moho < pelotas.reference_moho).all()

    def test_needs_no_download(self, shared_data, pelotas, monkeypatch):
        monkeypatch.setitem(sys.modules, "pooch", None)
        monkeypatch.setenv("SKGRAV_DATA", str(shared_data))
        assert_array_equal(fetch_pelotas_profile().data, pelotas.data)

    def test_data_of_two_calls_are_independent(self, shared_data, pelotas):
        other = fetch_pelotas_profile(data_home=shared_data)
        other.densities["water"] = 0.0
        other.data[:] = 0.0
        assert pelotas.densities["water"] == 1030
        assert pelotas.data.any()

    def test_description(self, pelotas):
        for part in ("0.986", "6.4 mGal", "40.3 mGal", "BSD-3", "10.1190/geo2018-0772.1"):
            assert part in pelotas.DESCR

    def test_published_section_fits_as_published(self, pelotas):
        mesh = pelotas_mesh()
        rho = pelotas_section(pelotas, mesh)
        predicted = ForwardOperator(mesh, pelotas.survey, units="mGal").fit().transform([rho])[0]
        difference = predicted - pelotas.data
        assert np.corrcoef(predicted, pelotas.data)[0, 1] == pytest.approx(0.986, abs=5e-4)
        assert difference.mean() == pytest.approx(40.3, abs=0.05)
        assert difference.std() == pytest.approx(6.4, abs=0.05)

    def test_layers(self, pelotas):
        column = 100
        edges = pelotas.x[column] + np.array([-100.0, 100.0])
        interfaces = [pelotas[name][column] for name in ("bathymetry", "toi", "basement", "moho")]
        mesh = Mesh([[-1000, 0, *interfaces, 43200, 50000], edges])
        expected = [0, 1030 - 2870, 2350 - 2870, 2855 - 2870, 0, 3240 - 2870, 0]
        assert_allclose(pelotas_section(pelotas, mesh), expected, atol=1e-9)

    def test_oceanic_crust_and_the_ends(self, pelotas):
        mesh = Mesh([[8000, 16000], [340e3, 345e3, 351.5e3, 355e3, 383e3, 900e3]])
        rho = pelotas_section(pelotas, mesh)
        assert_allclose(rho[[0, 3, 4]], [0, 15, 15], atol=1e-9)
        left = Mesh([[3500, 8000], [-900e3, -800e3, 1000]])
        assert_allclose(pelotas_section(pelotas, left), 0, atol=1e-9)

    def test_mass_does_not_depend_on_the_mesh(self, pelotas):
        fine = pelotas_mesh()
        coarse = Mesh([[0, 7777, 20000, 43200], [fine.edges[1][0], 1e5, fine.edges[1][-1]]])
        masses = [m.volumes @ pelotas_section(pelotas, m) for m in (fine, coarse)]
        assert masses[1] == pytest.approx(masses[0], rel=1e-9)

    @pytest.mark.parametrize("mesh", [None, np.zeros((3, 3)), Mesh.regular((2, 2, 2), 1.0)])
    def test_section_needs_a_2d_mesh(self, pelotas, mesh):
        with pytest.raises(ValueError, match=r"'mesh' must be a .* of two dimensions"):
            pelotas_section(pelotas, mesh)

    def test_missing_file_without_network(self, tmp_path, offline):
        with pytest.raises(OSError, match="network is unreachable") as caught:
            fetch_pelotas_profile(data_home=tmp_path)
        path = f"{PELOTAS}/pelotas-profile-gz.txt"
        url = path.replace("upstream/", "https://raw.githubusercontent.com/")
        assert f"Cannot download {url}" in str(caught.value)
        assert str(tmp_path.joinpath(*path.split("/"))) in str(caught.value)
        assert files_in(tmp_path) == []

    def test_altered_file(self, tmp_path):
        path = tmp_path.joinpath(*PELOTAS.split("/"), "pelotas-profile-gz.txt")
        path.parent.mkdir(parents=True)
        path.write_text("3.5\n" * 149)
        with pytest.raises(ValueError, match="it should be ad86eed5d23e") as caught:
            fetch_pelotas_profile(data_home=tmp_path)
        assert str(path) in str(caught.value)


def paper_gravity(rho, height):
    """Sum point masses, station by station as the paper does: (n, 2, 153), gx then gz."""
    nodes = 0.8 * (np.arange(51) - 25)
    depth = 0.8 * (np.arange(51) + height)
    stations = 0.8 * (np.arange(153) - 76)
    dz, dx = np.broadcast_arrays(depth[:, None, None], nodes[:, None] - stations)
    weights = 0.64 / (dx**2 + dz**2)
    gx, gz = ((d * weights).reshape(2601, 153) for d in (dx, dz))
    return np.stack([rho @ gx, rho @ gz], axis=1)


@pytest.fixture(scope="module")
def sections():
    rho = make_density_models(N_TRAIN + N_TEST, mesh=Mesh.square(51), random_state=0)
    rho.setflags(write=False)
    return rho


def archive(rho, g, folder="Gravity_Inversion/", n_train=N_TRAIN, axis=0, **replaced):
    """Zip four files; `replaced` gives other content, or None for no file, by name."""
    content = {}
    for name, array in (("Density", rho), ("Gravity", g)):
        parts = np.split(array, [n_train], axis=axis)
        for part, stored in zip(("Train", "Test"), parts, strict=True):
            stream = io.BytesIO()
            np.save(stream, stored)
            content[f"{name}_{part}"] = stream.getvalue()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as target:
        target.writestr("README.md", "sections")
        for name, data in (content | replaced).items():
            if data is not None:
                target.writestr(f"{folder}{name}.npy", data)
    return out.getvalue()


# How files might be stored, from rho (n, 2601) and g (n, 2, 153); the axis that counts samples.
STORED = {
    "component-major": lambda rho, g: (rho, g.reshape(len(g), -1), 0),
    "components as an axis": lambda rho, g: (rho, g, 0),
    "interleaved": lambda rho, g: (rho, g.swapaxes(1, 2).reshape(len(g), -1), 0),
    "stations by components": lambda rho, g: (rho, g.swapaxes(1, 2), 0),
    "component-major under the shape of interleaved": (
        lambda rho, g: (rho, g.reshape(-1, 153, 2), 0)
    ),
    "images": lambda rho, g: (rho.reshape(-1, 51, 51, 1), g, 0),
    "single precision": lambda rho, g: (rho.astype("f4"), g.astype("f4"), 0),
    "Fortran order": lambda rho, g: (np.asfortranarray(rho), np.asfortranarray(g), 0),
    "big-endian": lambda rho, g: (rho.astype(">f8"), g.astype(">f8"), 0),
}


class TestNegahdari:
    @pytest.mark.parametrize("height", [1, 10])
    @pytest.mark.parametrize("stored", STORED)
    def test_every_layout_arrives_in_the_contracts_order(
        self, tmp_path, server, sections, stored, height
    ):
        g = paper_gravity(sections, height)
        rho_stored, g_stored, axis = STORED[stored](sections, g)
        content = archive(rho_stored, g_stored, axis=axis)
        dataset = fetch_negahdari2025(
            data_home=tmp_path, url=server.add(content), sha256=sha256(content)
        )
        rtol = 1e-6 if stored == "single precision" else 1e-12
        g = g.reshape(len(g), -1)
        for part, rows in (("train", slice(N_TRAIN)), ("test", slice(N_TRAIN, None))):
            data, target = dataset[f"data_{part}"], dataset[f"target_{part}"]
            assert_allclose(target, sections[rows], rtol=rtol)
            assert_allclose(data, g[rows], rtol=rtol, atol=1e-9)
            assert data.dtype == target.dtype == np.float64
            assert data.flags.c_contiguous
            assert target.flags.c_contiguous
            assert_allclose(dataset.operator.transform(target), data, rtol=1e-5, atol=1e-4)
        first_station = dataset.operator.survey_.stations[0]
        assert_allclose(first_station, [0.4 - 0.8 * height, -60.8], atol=1e-12)
        assert f"stations {height} spacing(s)" in dataset.layout

    def test_unknown_hash_is_said(self, tmp_path, server, sections):
        content = archive(sections, paper_gravity(sections, 1))
        url = server.add(content)
        for _ in range(2):
            with pytest.warns(UserWarning, match=f"pass sha256='{sha256(content)}'") as record:
                dataset = fetch_negahdari2025(data_home=tmp_path, url=url)
            assert record[0].filename == __file__
        assert dataset.sha256 == sha256(content)
        assert sha256(content) in dataset.DESCR
        assert "12 training and 5 test sections" in dataset.DESCR
        assert files_in(tmp_path) == ["Gravity_Inversion.zip"]
        assert len(server.requested) == 1

    def test_archives_of_two_addresses_are_two_files(self, tmp_path, server, sections):
        content = archive(sections, paper_gravity(sections, 1))
        for path in ("/one.zip", "/two.zip"):
            fetch_negahdari2025(
                data_home=tmp_path, url=server.add(content, path), sha256=sha256(content)
            )
        assert len(server.requested) == len(files_in(tmp_path)) == 2

    def test_release_put_there_by_hand(self, tmp_path, sections, offline):
        content = archive(sections, paper_gravity(sections, 1), folder="")
        path = tmp_path.joinpath(*RELEASE.split("/"))
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        dataset = fetch_negahdari2025(data_home=tmp_path, sha256=sha256(content))
        assert dataset.data_train.shape == (N_TRAIN, 306)

    def test_release_without_network(self, tmp_path, offline):
        with pytest.raises(OSError, match=r"releases/download/v1\.0\.0/Gravity_Inversion\.zip"):
            fetch_negahdari2025(data_home=tmp_path)
        assert files_in(tmp_path) == []

    def test_unreachable_server(self, tmp_path, closed_port):
        with pytest.raises(ConnectionError, match="Cannot download http://127"):
            fetch_negahdari2025(data_home=tmp_path, url=closed_port)
        assert files_in(tmp_path) == []

    def test_silent_server(self, tmp_path, server, monkeypatch):
        monkeypatch.setattr(_download, "_TIMEOUT", 0.2)
        url = server.add(b"")
        server.silent.add("/Gravity_Inversion.zip")
        with pytest.raises(ConnectionError, match="timed out"):
            fetch_negahdari2025(data_home=tmp_path, url=url)
        assert files_in(tmp_path) == []

    def test_another_hash(self, tmp_path, server, sections):
        content = archive(sections, paper_gravity(sections, 1))
        with pytest.raises(ValueError, match=sha256(content)) as caught:
            fetch_negahdari2025(data_home=tmp_path, url=server.add(content), sha256="0" * 64)
        assert "it should be 0000" in str(caught.value)
        assert files_in(tmp_path) == []

    def refused(self, tmp_path, server, content, match, kept=False):
        """Check that an archive is refused with this message, and whether it is kept."""
        url = server.add(content)
        with pytest.raises(ValueError, match=match) as caught:
            fetch_negahdari2025(data_home=tmp_path, url=url, sha256=sha256(content))
        assert files_in(tmp_path) == (["Gravity_Inversion.zip"] if kept else [])
        return str(caught.value)

    @pytest.mark.parametrize("folder", ["../", "/etc/", "a/../../", "C:/", "..\\", "\\\\host\\"])
    def test_hostile_names(self, tmp_path, server, sections, folder):
        content = archive(sections, paper_gravity(sections, 1), folder=folder)
        self.refused(tmp_path, server, content, r"has an absolute path or '\.\.'")

    def test_truncated_archive(self, tmp_path, server, sections):
        content = archive(sections, paper_gravity(sections, 1))
        self.refused(tmp_path, server, content[:-500], "not a zip archive, or truncated")

    def test_connection_that_breaks_off(self, tmp_path, server, sections):
        url = server.add(archive(sections, paper_gravity(sections, 1)))
        server.cut.add("/Gravity_Inversion.zip")
        with pytest.raises(ConnectionError, match="Cannot download"):
            fetch_negahdari2025(data_home=tmp_path, url=url)
        assert files_in(tmp_path) == []

    def test_page_instead_of_an_archive(self, tmp_path, server):
        self.refused(tmp_path, server, b"<html>Log in</html>", "not a zip archive")

    def test_missing_member(self, tmp_path, server, sections):
        content = archive(sections, paper_gravity(sections, 1), Gravity_Test=None)
        message = self.refused(tmp_path, server, content, r"must contain 'Gravity_Test\.npy' once")
        assert "Gravity_Inversion/Gravity_Train.npy" in message

    def test_member_that_is_there_twice(self, tmp_path, server, sections):
        extra = {"old/Gravity_Test": b""}
        content = archive(sections, paper_gravity(sections, 1), **extra)
        self.refused(tmp_path, server, content, "but has it 2 times")

    def test_damaged_member(self, tmp_path, server, sections):
        content = bytearray(archive(sections, paper_gravity(sections, 1)))
        # A byte in the middle of the first array, which is stored as it is.
        content[1000] ^= 0xFF
        match = r"Density_Train\.npy in .* cannot be read: Bad CRC-32"
        self.refused(tmp_path, server, bytes(content), match, kept=True)

    @pytest.mark.parametrize(
        ("array", "match"),
        [
            (np.array([{}]), "Object arrays cannot be loaded"),
            (np.array(["rock"]), "must be one array of real numbers, got dtype <U4"),
            (np.array([[1.0, np.nan]]), "contains NaN or infinity"),
        ],
    )
    def test_member_that_is_no_data(self, tmp_path, server, sections, array, match):
        stream = io.BytesIO()
        np.save(stream, array)
        replaced = {"Gravity_Train": stream.getvalue()}
        content = archive(sections, paper_gravity(sections, 1), **replaced)
        self.refused(tmp_path, server, content, rf"Gravity_Train\.npy in .*{match}", kept=True)

    @pytest.mark.parametrize("end", [-8, 40, 3])
    def test_member_that_ends_early(self, tmp_path, server, sections, end):
        stream = io.BytesIO()
        np.save(stream, np.zeros((N_TRAIN, 306)))
        replaced = {"Gravity_Train": stream.getvalue()[:end]}
        content = archive(sections, paper_gravity(sections, 1), **replaced)
        self.refused(tmp_path, server, content, r"Gravity_Train\.npy in .* cannot be read", True)

    def test_member_with_something_after_the_array(self, tmp_path, server, sections):
        stream = io.BytesIO()
        np.save(stream, np.zeros((N_TRAIN, 306)))
        replaced = {"Gravity_Train": stream.getvalue() + b"more"}
        content = archive(sections, paper_gravity(sections, 1), **replaced)
        self.refused(tmp_path, server, content, "followed by other data", kept=True)

    def test_gravity_in_another_unit(self, tmp_path, server, sections):
        content = archive(sections, 6.674 * paper_gravity(sections, 1))
        message = self.refused(tmp_path, server, content, "does not follow from its dens", True)
        for order in ("component-major", "station-major"):
            for height in (1, 10):
                assert f"{order}, stations {height} spacing(s) above the first layer" in message

    @pytest.mark.parametrize(
        "store",
        [
            lambda rho, g: (rho, -g),
            lambda rho, g: (rho, g[:, ::-1]),
            lambda rho, g: (rho.reshape(-1, 51, 51).swapaxes(1, 2), g),
            lambda rho, g: (rho.reshape(-1, 51, 51)[:, ::-1], g),
        ],
        ids=["gz up", "gz first", "columns of rock", "bottom layer first"],
    )
    def test_layouts_that_nobody_documents_are_refused(self, tmp_path, server, sections, store):
        content = archive(*store(sections, paper_gravity(sections, 1)))
        self.refused(tmp_path, server, content, "does not follow from its densities", kept=True)

    def test_gravity_of_other_sections(self, tmp_path, server, sections):
        content = archive(sections, paper_gravity(sections[::-1], 1))
        self.refused(tmp_path, server, content, "relative misfits are component-major", kept=True)

    def test_zeros(self, tmp_path, server, sections):
        content = archive(sections, np.zeros((len(sections), 306)))
        message = self.refused(tmp_path, server, content, "does not follow from its dens", True)
        assert message.count(": inf") == 4

    @pytest.mark.parametrize("shape", [(17, 300), (17,), (10, 306)])
    def test_shapes_that_fit_no_layout(self, tmp_path, server, sections, shape):
        content = archive(sections, np.zeros(shape))
        self.refused(tmp_path, server, content, "Needed are 2601, the top layer.*and 306", True)

    @pytest.mark.parametrize("change", ["sign", "shape"])
    def test_test_pairs_of_another_layout(self, tmp_path, server, sections, change):
        g = paper_gravity(sections, 1).reshape(-1, 306)
        stream = io.BytesIO()
        np.save(stream, -g[N_TRAIN:] if change == "sign" else g[N_TRAIN:, :300])
        content = archive(sections, g, Gravity_Test=stream.getvalue())
        self.refused(tmp_path, server, content, "do not follow the training pairs", kept=True)
