"""The examples of the gallery run, warn of nothing unexpected, and draw their pictures."""

import os
import subprocess
import sys

import pytest
from conftest import ROOT

# The main job and the real profile are run by `make demo`.
EXAMPLES = sorted(p.name for p in (ROOT / "examples").glob("plot_*.py"))
EXAMPLES.remove("plot_real_profile.py")


@pytest.mark.slow
@pytest.mark.parametrize("script", EXAMPLES)
def test_example_runs_and_draws(script, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", f"examples/{script}"],
        cwd=ROOT,
        env=os.environ | {"SKGRAV_PICTURES": str(tmp_path), "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    pictures = list(tmp_path.glob("*.png"))
    assert pictures
    assert all(p.stat().st_size > 10_000 for p in pictures)
