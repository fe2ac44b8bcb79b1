"""Put into the docs what the examples print and draw, and make the pictures of the README.

python doc/figures.py  # all
python doc/figures.py "which norm"
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "doc" / "images"

#: Page that holds what a script prints, or None, the script, and its pictures.
EXAMPLES = {
    "demo": ("doc/demo.md", "demo.py", ["demo"]),
    "area with terrain": (
        "doc/demo.md",
        "0_tutorials/plot_area_with_terrain.py",
        ["area_sections"],
    ),
    "real profile": ("doc/demo.md", "6_real_data/plot_real_profile.py", ["real_profile"]),
    "front page": (
        None,
        "../doc/front_page.py",
        ["front_section", "front_survey", "front_speed"],
    ),
    "which norm": (
        "doc/norms.md",
        "1_first_steps/plot_which_norm.py",
        [
            "norm_smooth",
            "norm_compact",
            "norm_ambiguity",
            "norm_layered",
            "norm_dipping",
            "norm_edges",
            "norm_relief",
            "norm_borehole",
        ],
    ),
    "null space": (None, "2_forward/plot_null_space.py", ["null_space"]),
    "latent ambiguity": (None, "4_latent/plot_latent_ambiguity.py", ["latent_ambiguity"]),
}


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


def main(names):
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    PICTURES.mkdir(exist_ok=True)
    for name in names or EXAMPLES:
        page, script, pictures = EXAMPLES[name]
        printed = run(script)
        if page is not None:
            path = ROOT / page
            content = f"```text\n{printed}\n```"
            path.write_text(replaced(path.read_text(), f"output of the {name}", content))
        for picture in pictures:
            shutil.copy(build / f"{picture}.png", PICTURES / f"{picture}.png")


if __name__ == "__main__":
    main(sys.argv[1:])
