#!/usr/bin/env -S uv run --script

# /// script
# dependencies = ["nox>=2025.10.14"]
# ///
"""The tests on every supported Python that this machine has; `make test` needs no nox."""

import nox

nox.needs_version = ">=2025.10.14"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = False


@nox.session(python=["3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    """Run the tests and doctests; arguments after -- go to pytest."""
    session.install("-e", ".[test]", "-c", "constraints.txt")
    session.run("pytest", *(session.posargs or ["-n", "2"]), env={"OMP_NUM_THREADS": "1"})


if __name__ == "__main__":
    nox.main()
