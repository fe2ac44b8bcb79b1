"""What every test may use."""

import hashlib
import os
import socket
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from scipy.ndimage import gaussian_filter
from solver_problems import TALL, TALL_G, TALL_START, WIDE, WIDE_G, WIDE_START, norms, operator_of

from skgrav import ForwardOperator, Survey
from skgrav.datasets import make_density_models

ROOT = Path(__file__).resolve().parents[1]

# Examples in docstrings draw, too, and no test opens a window.
os.environ.setdefault("MPLBACKEND", "agg")

# The same examples each time, and no test fails because a machine is busy.
settings.register_profile("skgrav", deadline=None, derandomize=True)
settings.load_profile("skgrav")


@pytest.fixture(scope="session")
def shared_data():
    """Give the folder of the local mirror of public data files, or skip the test."""
    path = ROOT.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip("needs the mirror of the public data files, ../shared/data beside the checkout")
    return path


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    """Fail a test that opens a connection to anything but this machine."""
    connect = socket.socket.connect

    def guarded(self, address):
        local = self.family == getattr(socket, "AF_UNIX", None) or (
            isinstance(address, tuple)
            and (address[0] in {"localhost", "::1"} or str(address[0]).startswith("127."))
        )
        if not local:
            raise OSError(f"tests do not touch the network, but this one connects to {address!r}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    # A proxy on this machine would let requests out.
    for name in list(os.environ):
        if name.lower() in {"http_proxy", "https_proxy", "all_proxy"}:
            monkeypatch.delenv(name)


@pytest.fixture
def close_figures():
    """Close all figures after a test that draws."""
    plt = pytest.importorskip("matplotlib.pyplot")
    yield
    plt.close("all")


def pytest_terminal_summary(terminalreporter):
    """Report what came of bad input: the sums, and each outcome if asked to be verbose."""
    reports = [r for group in terminalreporter.stats.values() for r in group]
    found = dict(
        value for r in reports for key, value in getattr(r, "user_properties", ())
        if key == "bad input"
    )  # fmt: skip
    if not found:
        return
    marks = {"answer": "+", "error": "e", "passed on": ".", "DEFECT": "X"}
    rows = {n: [o.partition(":")[0] for o in found[n].values()] for n in sorted(found)}
    cells = [outcome for row in rows.values() for outcome in row]
    terminalreporter.section("bad input")
    sums = ", ".join(f"{cells.count(o)} {o} ({mark})" for o, mark in marks.items())
    terminalreporter.write_line(
        f"{len(rows)} arguments x {len(cells) // len(rows)} kinds of input = {len(cells)}: {sums}"
    )
    if terminalreporter.config.get_verbosity() > 0:
        terminalreporter.write_line(
            "kinds, from the left: " + ", ".join(next(iter(found.values())))
        )
        for name, row in rows.items():
            terminalreporter.write_line(f"{''.join(marks[o] for o in row)}  {name}")


def dot_test_error(forward, adjoint, n_in, n_out, seed=0):
    """Give ``|<A u, v> - <u, A^T v>|`` relative to ``||A u|| ||v||`` for random u and v."""
    rng = np.random.default_rng(seed)
    u, v = rng.normal(size=(4, n_in)), rng.normal(size=(4, n_out))
    image = forward(u)
    left, right = np.sum(image * v, axis=1), np.sum(u * adjoint(v), axis=1)
    scale = np.linalg.norm(image, axis=1) * np.linalg.norm(v, axis=1)
    return float(np.max(np.abs(left - right) / scale))


def with_noise(g, level, seed=0):
    """Give data with noise of a level relative to the rms of each sample."""
    rms = np.sqrt(np.mean(g**2, axis=1, keepdims=True))
    return g + level * rms * np.random.default_rng(seed).normal(size=g.shape)


def surveyed(uncertainty, operator):
    """Give an operator whose survey knows its uncertainty."""
    survey = Survey(operator.survey_.stations, operator.survey_.components, uncertainty)
    return ForwardOperator(operator.mesh_, survey, units=operator.units)


def with_one(bad, values):
    """Give a copy of values, one of which is bad."""
    spoiled = values.copy()
    spoiled[3, -1] = bad
    return spoiled


def sections_near_truth(mesh, n_samples, error=0.05, smooth=1.2, seed=0):
    """Give density sections and starts that miss them by a smooth error of relative size `error`.

    Errors are white noise blurred by a Gaussian of `smooth` cells.
    """
    rho = make_density_models(n_samples, mesh=mesh, random_state=seed)
    white = np.random.default_rng(seed).normal(size=(n_samples, *mesh.shape))
    blurred = gaussian_filter(white, (0, smooth, smooth)).reshape(n_samples, -1)
    return rho, rho + error * (norms(rho) / norms(blurred))[:, None] * blurred


def files_in(folder):
    """Give the names of all files below a folder."""
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


def sha256(content):
    """Give the SHA-256 of bytes in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="session")
def small():
    """Give the paper's operator with 20 x 20 cells, densities, starts and data."""
    operator = operator_of(20)
    rho, start = sections_near_truth(operator.mesh_, 10)
    return operator, rho, start, operator.transform(rho)


@pytest.fixture(params=["forward", "wide", "tall"])
def problem(request, small):
    """Give an operator, data and starts: ill-conditioned, underdetermined, inconsistent."""
    operator, _, start, g = small
    return {
        "forward": (operator, g, start),
        "wide": (WIDE, WIDE_G, WIDE_START),
        "tall": (TALL, TALL_G, TALL_START),
    }[request.param]
