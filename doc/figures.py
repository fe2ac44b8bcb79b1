"""Put into README and docs what the examples print and draw: the main job and the real profile."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "doc" / "images"
EXAMPLES = {"demo": "demo.py", "real profile": "6_real_data/plot_real_profile.py"}


def replaced(text, name, content):
    """Return the text with the content between its two comments of that name replaced."""
    start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    return f"{text.split(start)[0]}{start}\n\n{content}\n\n{end}{text.split(end)[1]}"


def run(script):
    """Run an example and return what it prints."""
    done = subprocess.run(
        [sys.executable, f"examples/{script}"],
        cwd=ROOT,
        env=os.environ | {"SKGRAV_PICTURES": "build", "MPLBACKEND": "agg"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def main():
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    PICTURES.mkdir(exist_ok=True)
    readme = ROOT / "README.md"
    text = readme.read_text()
    for name, script in EXAMPLES.items():
        text = replaced(text, f"output of the {name}", f"```text\n{run(script)}\n```")
    run("2_forward/plot_null_space.py")
    run("4_latent/plot_latent_ambiguity.py")
    readme.write_text(text)
    for picture in ("demo.png", "real_profile.png", "latent_ambiguity.png", "null_space.png"):
        shutil.copy(build / picture, PICTURES / picture)


if __name__ == "__main__":
    main()
