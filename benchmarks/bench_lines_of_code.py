"""Lines of code from a table of stations and a topography to densities and a picture, by library.

The scripts in `same_job` do the same jobs on the files of SimPEG's tutorial on gravity, each in the
style of its library's own tutorials, with cells of 5 m and, for compact densities, the same powers
of the norm. Each one runs as it is, in a process and a folder of its own. Counted are lines with
code and, as these depend on how they are broken, the names, numbers and strings in them, without
the docstring. Fills doc/comparison.md.

    python benchmarks/bench_lines_of_code.py                # all of them, three CPU minutes
    python benchmarks/bench_lines_of_code.py skgrav_smooth  # one, beside earlier runs of others
"""

import ast
import json
import os
import runpy
import sys
import tarfile
import tempfile
import tokenize
import warnings
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
from _timing import OUTPUT, in_fresh_process, markdown, processor, put_into, report, versions
from threadpoolctl import threadpool_limits

from skgrav.datasets import fetch_two_bodies, get_data_home

FOLDER = Path(__file__).parent / "same_job"
FILES = (
    "upstream/simpeg/user-tutorials/a24c4d77d9b33648dc3b481c578eb2895b2568d5/assets/03-gravity/"
    "inv_gravity_anomaly_3d_files.tar.gz"
)

#: Scripts by job.
JOBS = {
    "smooth density": ("skgrav_smooth", "simpeg_smooth", "pygimli_smooth"),
    "compact density": ("skgrav_compact", "simpeg_compact"),
    "gravity of a model": ("skgrav_forward", "harmonica_forward"),
}
NAMES = {"skgrav": "skgrav", "simpeg": "SimPEG", "pygimli": "pyGIMLi", "harmonica": "Harmonica"}
HEADER = ["job", "library", "lines", "names and values", "cells", "error", "chi factor"]
HEADER += ["CPU s", "memory, MB"]


def counted(path):
    """Return the number of lines of code, and of names, numbers and strings in them."""
    docstring = ast.parse(path.read_text()).body[0].end_lineno
    kinds = {tokenize.NAME, tokenize.NUMBER, tokenize.STRING, tokenize.OP}
    with path.open("rb") as file:
        tokens = [t for t in tokenize.tokenize(file.readline) if t.type in kinds]
    tokens = [t for t in tokens if t.start[0] > docstring]
    return len({t.start[0] for t in tokens}), sum(t.type != tokenize.OP for t in tokens)


def found_by_skgrav(names):
    """Return centres (x, y, elevation), volumes, densities in kg/m3, and residuals over the noise.

    The other two do so for their libraries.
    """
    mesh, rho, operator = names["mesh"], names["rho"], names["inverter"].operator_
    residual = (operator.transform(rho[None])[0] - names["gz"]) / names["survey"].uncertainty
    return mesh.cell_centers[:, ::-1] * [1, 1, -1], mesh.volumes, rho, residual


def found_by_simpeg(names):
    mesh, active = names["mesh"], names["active"]
    rho = 1e3 * names["recovered_model"]
    residual = (names["inv_prob"].dpred - names["dobs"]) / names["uncertainties"]
    return mesh.cell_centers[active], mesh.cell_volumes[active], rho, residual


def found_by_pygimli(names):
    mesh = names["mesh"]
    residual = (np.array(names["inv"].response) - names["gz"]) / names["noise_level"]
    rho = np.array(mesh["density"])
    return np.array(mesh.cellCenters()), np.array(mesh.cellSizes()), rho, residual


FOUND = {"skgrav": found_by_skgrav, "simpeg": found_by_simpeg, "pygimli": found_by_pygimli}


def judged(library, names):
    """Return the number of cells, the error weighted by volume, and the chi factor, as text."""
    centers, volumes, rho, residual = FOUND[library](names)
    x, y, z = centers.T
    block = (np.abs(x + 35) < 15) & (np.abs(y) < 15) & (np.abs(z - 60) < 10)
    ball = (x - 35) ** 2 + y**2 + (z - 60) ** 2 < 14**2
    true = np.where(block, -200.0, 0.0) + np.where(ball, 200.0, 0.0)
    error = np.sqrt(np.sum(volumes * (rho - true) ** 2) / np.sum(volumes * true**2))
    return f"{len(rho):,}", f"{error:.3f}", f"{np.mean(residual**2):.2f}"


def prepared(name):
    """Return what runs a script in a folder with the files that it reads."""
    folder = Path(tempfile.mkdtemp())
    with tarfile.open(Path(get_data_home()) / FILES) as archive:
        for member in archive.getmembers():
            if member.isfile():
                (folder / Path(member.name).name).write_bytes(archive.extractfile(member).read())
    os.chdir(folder)
    if name.startswith("pygimli"):  # it keeps sensitivities from run to run below the home folder
        os.environ |= {"MPLCONFIGDIR": f"{Path.home()}/.cache/matplotlib", "HOME": str(folder)}
        (folder / ".cache" / "pygimli").mkdir(parents=True)

    def run():
        sys.argv = [name]
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            names = runpy.run_path(str(FOLDER / f"{name}.py"))
        if not (folder / f"{name}.png").exists():
            raise AssertionError(f"{name} has not drawn its picture")
        if name.endswith("forward"):
            return np.ravel(names["g"])
        return judged(name.split("_")[0], names)

    return run


def measured(name):
    """Return cells, error and chi factor of a script, its costs, and its gravity if it has one."""
    seconds, megabytes, result = in_fresh_process(prepared, name)
    gravity = result.tolist() if isinstance(result, np.ndarray) else None
    cells = ("-", "-", "-") if gravity else result
    return [*cells, f"{seconds:.3g}", f"{megabytes:.0f}"], gravity


def write(found):
    """Fill the table of the page; of scripts that were not run it has the lines alone."""
    rows = []
    for job, names in JOBS.items():
        for name in names:
            measures = found[name][0] if name in found else ["-"] * 5
            lines = counted(FOLDER / f"{name}.py")
            rows.append([job, NAMES[name.split("_")[0]], *lines, *measures])
    ours, theirs = (np.array(found[name][1]) for name in JOBS["gravity of a model"])
    footer = (
        "Imports and compilation are part of seconds and memory; a script without seconds was not "
        f"run. The two gravities differ by {np.abs(ours - theirs).max() / np.abs(ours).max():.0e} "
        f"of the largest. One thread; {processor()}; "
        f"{versions('skgrav', 'simpeg', 'pygimli', 'harmonica', 'numpy', 'scipy')}"
    )
    report("lines_of_code", HEADER, rows, footer)
    put_into("comparison.md", "lines of code", f"{markdown(HEADER, rows)}\n\n{footer}.")


def main():
    fetch_two_bodies()  # downloads the files if they are missing
    every = [name for names in JOBS.values() for name in names]
    OUTPUT.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[1:] or every:
        found = measured(name)
        print(name, *found[0], sep=" | ", flush=True)
        (OUTPUT / f"{name}.json").write_text(json.dumps(found))
    kept = {name: OUTPUT / f"{name}.json" for name in every}
    found = {name: json.loads(path.read_text()) for name, path in kept.items() if path.exists()}
    if set(JOBS["gravity of a model"]) <= set(found):
        write(found)


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
