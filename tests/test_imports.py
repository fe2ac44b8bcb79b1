"""`import skgrav` is light, and so are the floors that need no network."""

import importlib
import subprocess
import sys
import tomllib

import pytest
from conftest import ROOT

import skgrav

HEAVY = {"torch", "skorch", "matplotlib", "xarray", "pyvista"}
LIGHT_ROOMS = [
    "datasets",
    "geometry",
    "io",
    "kernels",
    "metrics",
    "noise",
    "operators",
    "plotting",
    "solvers",
]


def run_python(code):
    """Run `code` in a fresh interpreter and give its last line of output."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize("name", ["skgrav", *(f"skgrav.{room}" for room in LIGHT_ROOMS)])
def test_import_loads_nothing_heavy(name):
    code = f"import sys, {name}; print('loaded:', *sorted(sys.modules.keys() & {HEAVY!r}))"
    assert run_python(code) == "loaded:"


def test_import_is_quick():
    code = (
        "from time import process_time as now; start = now(); import skgrav; print(now() - start)"
    )
    # The best of three: a busy machine may slow one of them.
    assert min(float(run_python(code)) for _ in range(3)) < 0.5


def test_dir_lists_the_public_names_before_they_are_loaded():
    assert run_python("import skgrav; print(set(skgrav.__all__) <= set(dir(skgrav)))") == "True"


@pytest.mark.parametrize("name", skgrav.__all__)
def test_public_name_resolves(name):
    assert getattr(skgrav, name) is not None


@pytest.mark.parametrize("room", LIGHT_ROOMS)
def test_public_folder_declares_its_names(room):
    module = importlib.import_module(f"skgrav.{room}")
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="NoSuchName"):
        _ = skgrav.NoSuchName


def test_version_is_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert skgrav.__version__ == project["version"]
    assert f"\nversion: {project['version']}\n" in citation
