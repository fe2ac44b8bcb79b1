"""`import skgrav` is light, and so are the floors that need no network."""

import ast
import importlib
import subprocess
import sys
import tomllib
from collections import defaultdict

import pytest
from conftest import ROOT

import skgrav

HEAVY = {"torch", "skorch", "matplotlib", "xarray", "pyvista"}
#: Private attributes of other packages.
OF_OTHERS = {"_fields", "_init_callback_context", "_replace", "_validate_params"}
LIGHT_ROOMS = [
    "bridges",
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


def test_import_loads_next_to_nothing():
    # Of the package itself and the standard library; 30 when this was written.
    code = "import sys; n = len(sys.modules); import skgrav; print(len(sys.modules) - n)"
    assert int(run_python(code)) < 100


def test_dir_lists_the_public_names_before_they_are_loaded():
    assert run_python("import skgrav; print(set(skgrav.__all__) <= set(dir(skgrav)))") == "True"


@pytest.mark.parametrize("name", skgrav.__all__)
def test_public_name_resolves(name):
    assert getattr(skgrav, name) is not None


@pytest.mark.parametrize("room", LIGHT_ROOMS)
def test_public_folder_declares_its_names(room):
    module = importlib.import_module(f"skgrav.{room}")
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


def test_private_names_stay_in_their_room():
    """Imports of private files are import-linter's; these are private names and attributes."""
    own, used = defaultdict(set), defaultdict(set)
    for path in (ROOT / "skgrav").rglob("*.py"):
        room = path.relative_to(ROOT / "skgrav").parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(node, "name", None) or getattr(node, "attr", None)
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("skgrav."):
                if node.module.split(".")[1] != room:
                    assert [a.name for a in node.names if a.name.startswith("_")] == [], path
            elif isinstance(node, ast.Attribute) and is_private(name):
                place = own if is_self(node.value) else used
                place[room].add(name)
            elif isinstance(node, ast.FunctionDef | ast.ClassDef) and is_private(name):
                own[room].add(name)
            elif isinstance(node, ast.AnnAssign | ast.Assign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                own[room].update(t.id for t in targets if isinstance(t, ast.Name))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                own[room].add(node.value)  # names of attributes that are set by name
    foreign = {room: sorted(names - own[room] - OF_OTHERS) for room, names in used.items()}
    assert {room: names for room, names in foreign.items() if names} == {}


def is_private(name):
    return isinstance(name, str) and name.startswith("_") and not name.startswith("__")


def is_self(node):
    return isinstance(node, ast.Name) and node.id in {"self", "cls"}


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="NoSuchName"):
        _ = skgrav.NoSuchName


def test_version_is_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert skgrav.__version__ == project["version"]
    assert f"\nversion: {project['version']}\n" in citation
