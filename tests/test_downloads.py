"""Downloads that go wrong half-way: a clear error, and nothing half-written left.

Wrong hashes, truncated archives, paths out of an archive's folder and servers that never answer are
in tests/test_fetch.py.
"""

import errno
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import files_in, sha256

from skgrav.datasets import (
    _block,
    _bushveld,
    _download,
    _laguna,
    _pelotas,
    _two_bodies,
    fetch_block_halfspace,
    fetch_bushveld,
    fetch_laguna_del_maule,
    fetch_pelotas_profile,
    fetch_two_bodies,
)
from skgrav.datasets._download import fetch

CONTENT = b"gravity " * 50_000

LOADERS = {
    fetch_block_halfspace: _block,
    fetch_bushveld: _bushveld,
    fetch_laguna_del_maule: _laguna,
    fetch_pelotas_profile: _pelotas,
    fetch_two_bodies: _two_bodies,
}


class Handler(BaseHTTPRequestHandler):
    """Serve the content in the way that the path names."""

    def do_GET(self):
        manner = self.path.strip("/")
        self.send_response(200)
        if manner in {"whole", "stalled"}:
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        if manner == "whole":
            self.wfile.write(CONTENT)
            return
        # Without a length nobody but the hash can tell that the end is missing.
        self.wfile.write(CONTENT[: len(CONTENT) // 2])
        if manner == "stalled":
            self.wfile.flush()
            self.server.closing.wait(20)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def address():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.closing = threading.Event()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.closing.set()
        server.shutdown()
        thread.join()


def test_server_that_stalls_half_way(address, tmp_path, monkeypatch):
    monkeypatch.setattr(_download, "_TIMEOUT", 0.3)
    url = f"{address}/stalled"
    with pytest.raises(ConnectionError, match=r"Cannot download .*[Tt]imed out") as caught:
        fetch(url, sha256(CONTENT), "g.txt", tmp_path)
    for part in (url, str(tmp_path / "g.txt"), "by hand", "SKGRAV_DATA"):
        assert part in str(caught.value)
    assert files_in(tmp_path) == []


def test_truncated_file_of_unknown_length(address, tmp_path):
    url = f"{address}/truncated"
    with pytest.raises(ValueError, match="is not the one expected: its sha256 is") as caught:
        fetch(url, sha256(CONTENT), "g.txt", tmp_path)
    for part in (url, "g.txt", sha256(CONTENT), "It was not kept. Try again later"):
        assert part in str(caught.value)
    assert files_in(tmp_path) == []
    assert fetch(f"{address}/whole", sha256(CONTENT), "g.txt", tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("load", LOADERS, ids=lambda load: load.__name__)
@pytest.mark.parametrize("manner", ["whole", "truncated", "stalled"])
def test_every_loader_refuses_what_is_not_its_file(load, manner, address, tmp_path, monkeypatch):
    monkeypatch.setattr(_download, "_TIMEOUT", 0.3)
    url = f"{address}/{manner}"
    monkeypatch.setattr(LOADERS[load], "github_file", lambda *where: (url, where[-1]))
    expected = ConnectionError if manner == "stalled" else ValueError
    with pytest.raises(expected, match=rf"{url}.*"):
        load(data_home=tmp_path)
    assert files_in(tmp_path) == []


def test_disk_that_is_full(address, tmp_path, monkeypatch):
    def full(url, output, pooch):
        with open(output, "wb") as stream:  # noqa: PTH123
            stream.write(CONTENT[:1000])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_download, "_downloader", lambda bar: full)
    with pytest.raises(OSError, match=r"Cannot write .*No space left on device.*SKGRAV_DATA"):
        fetch(f"{address}/whole", sha256(CONTENT), "g.txt", tmp_path)
    assert files_in(tmp_path) == []


def test_eight_downloads_of_one_file_at_once(address, tmp_path):
    def run(i):
        return fetch(f"{address}/whole", sha256(CONTENT), "some/g.txt", tmp_path).read_bytes()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(run, range(8))) == {CONTENT}
    assert files_in(tmp_path) == ["g.txt"]
