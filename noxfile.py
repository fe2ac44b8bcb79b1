#!/usr/bin/env -S uv run --script

# /// script
# dependencies = ["nox>=2025.10.14"]
# ///
"""Tests and package on every supported Python that this machine has; `make test` needs no nox."""

import re
import tempfile
from pathlib import Path

import nox

nox.needs_version = ">=2025.10.14"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = False

PYTHONS = ["3.11", "3.12", "3.13"]
THREADS = {"OMP_NUM_THREADS": "1"}
#: Tests that are run with the wheel, of what differs most between versions of Python.
WHEEL_TESTS = ["test_cli.py", "test_estimators.py", "test_operators.py", "test_persistence.py"]


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests and doctests; arguments after -- go to pytest."""
    session.install("-e", ".[test]", "-c", "constraints.txt")
    session.run("pytest", *(session.posargs or ["-n", "2"]), env=THREADS)


@nox.session(python=PYTHONS)
def package(session: nox.Session) -> None:
    """Build sdist and wheel, install the wheel in an environment of its own, and try it."""
    root = Path.cwd()
    folder = Path(tempfile.mkdtemp(dir=session.create_tmp()))
    session.install("build", "-c", "constraints.txt")
    session.run("python", "-m", "build", "--outdir", str(folder), ".")
    (wheel,) = folder.glob("*.whl")
    tools = ["hypothesis", "pytest", "pytest-xdist"]
    session.install(f"{wheel}[io,plot]", *tools, "-c", "constraints.txt")
    readme = (root / "README.md").read_text(encoding="utf-8")
    first = re.search(r"^```python\n(.*?)^```", readme, re.DOTALL | re.MULTILINE)
    (folder / "quick_start.py").write_text(first[1], encoding="utf-8")
    session.chdir(folder)
    session.run("python", "-W", "error", "quick_start.py")
    session.run("python", "-m", "skgrav", "info")
    chosen = session.posargs or [str(root / "tests" / name) for name in WHEEL_TESTS]
    session.run("pytest", "-n", "2", "-c", str(root / "pyproject.toml"), *chosen, env=THREADS)


if __name__ == "__main__":
    nox.main()
