"""The dense sensitivity matrix: this library against SimPEG's compiled engine and pyGIMLi.

In 3D 40 x 40 x 20 cubes and 1,600 stations, gz: above the centres of the columns, where the table
of unique offsets serves, and anywhere, where each row is computed for itself. SimPEG computes every
row in either case. In 2D square sections with a station above each column: SimPEG has one long cell
along strike, pyGIMLi sums over boundaries in Python; it runs for a few stations and is scaled.
Compilation is left out by a first run of each.
"""

from importlib.util import find_spec

import numpy as np
from _peers import HEIGHT, SPACING, geometry, simpeg_simulation
from _timing import median_seconds, processor, report, versions
from threadpoolctl import threadpool_limits

from skgrav import Mesh, Survey
from skgrav.operators import Geometry, sensitivity

SHAPE, SECTIONS = (20, 40, 40), (50, 200)

#: Half the length of SimPEG's cell along strike, in metres: a thousand times the largest section.
STRIKE = 1e7

#: Stations that pyGIMLi runs on.
N_SLOW = 2


def matrix(mesh, survey, precision="float64"):
    """Return what builds this library's matrix."""
    return lambda: sensitivity(Geometry(mesh, survey, "cell", "mGal"), precision)


def simpeg_matrix(mesh, survey, dtype):
    """Return what builds SimPEG's."""
    return lambda: simpeg_simulation(mesh, survey, dtype=dtype).G


def difference(ours, simpeg, shape):
    """Return the largest difference relative to the largest entry; SimPEG's is z up, in g/cm3."""
    simpeg = simpeg.reshape(len(ours), *shape)[:, ::-1].reshape(len(ours), -1)
    return np.abs(ours + simpeg / 1e3).max() / np.abs(ours).max()


def volumes():
    mesh, survey = geometry(SHAPE)
    shift = np.random.default_rng(0).uniform(-0.4, 0.4, survey.stations.shape) * SPACING
    anywhere = Survey(survey.stations + shift, "z")
    builds = {
        "skgrav, unique offsets, float64": matrix(mesh, survey),
        "skgrav, unique offsets, float32": matrix(mesh, survey, "float32"),
        "skgrav, any stations, float64": matrix(mesh, anywhere),
        "SimPEG, ram, float32": simpeg_matrix(mesh, anywhere, np.float32),
        "SimPEG, ram, float64": simpeg_matrix(mesh, anywhere, np.float64),
    }
    apart = difference(
        builds["skgrav, any stations, float64"](), builds["SimPEG, ram, float64"](), SHAPE
    )
    seconds = median_seconds(builds)
    n_nodes = survey.n_stations * np.prod([n + 1 for n in SHAPE])
    ours = seconds["skgrav, any stations, float64"]
    report(
        "sensitivity",
        ["engine", "seconds", "ns per node", "ratio to any stations"],
        [
            [
                name,
                f"{s:.3f}",
                "-" if "unique" in name else f"{1e9 * s / n_nodes:.1f}",
                f"{s / ours:.2f}",
            ]
            for name, s in seconds.items()
        ],
        f"{mesh.n_cells} cells x {survey.n_data} stations, one thread, median CPU seconds of 5 "
        f"alternating runs; largest difference {apart:.0e} of the largest entry; {processor()}; "
        + versions("skgrav", "simpeg", "choclo", "numba", "numpy"),
    )


def pygimli_matrix(n):
    """Return what builds some rows of pyGIMLi's matrix of a section."""
    import pygimli
    from pygimli.physics.gravimetry import solveGravimetry

    edges = np.arange(n + 1) * SPACING
    grid = pygimli.createGrid(x=edges, y=-edges[::-1])
    stations = [[x, HEIGHT] for x in (edges[1:] - SPACING / 2)[:N_SLOW]]
    return lambda: solveGravimetry(grid, pnts=stations)


def section(n):
    """Return lines of the table for a section of n x n cells, and the largest difference."""
    edges = np.arange(n + 1) * SPACING
    mesh = Mesh([edges, edges])
    x = mesh.centers[1]
    survey = Survey(np.column_stack([np.full(n, -HEIGHT), x]), "z")
    long_mesh = Mesh([edges, [-STRIKE, STRIKE], edges])
    in_3d = Survey(np.column_stack([np.full(n, -HEIGHT), np.zeros(n), x]), "z")
    builds = {
        "skgrav, float64": matrix(mesh, survey),
        "SimPEG, ram, float32": simpeg_matrix(long_mesh, in_3d, np.float32),
    }
    ours = builds["skgrav, float64"]()
    apart = difference(ours, simpeg_matrix(long_mesh, in_3d, np.float64)(), mesh.shape)
    seconds = median_seconds(builds, at_least=0.05)
    if find_spec("pygimli"):
        slow = pygimli_matrix(n)
        rows = np.abs(slow()).reshape(N_SLOW, n, n)[:, ::-1].reshape(N_SLOW, -1)
        apart = max(apart, np.abs(ours[:N_SLOW] - rows).max() / ours.max())
        seconds["pyGIMLi"] = median_seconds({"": slow}, n_runs=3)[""] * n / N_SLOW
    first = seconds["skgrav, float64"]
    lines = [
        [f"{n} x {n}", name, f"{1e3 * s:,.3g}", f"{s / first:,.0f}"] for name, s in seconds.items()
    ]
    return lines, apart


def main():
    volumes()
    lines, apart = zip(*(section(n) for n in SECTIONS), strict=True)
    report(
        "sections",
        ["cells", "engine", "ms", "ratio"],
        [line for part in lines for line in part],
        "One thread, median CPU time of 5 alternating runs; largest difference "
        f"{max(apart):.0e} of the largest entry; {processor()}; "
        + versions("skgrav", "simpeg", "pygimli", "choclo", "numba", "numpy"),
    )


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
