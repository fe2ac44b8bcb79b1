"""The dense sensitivity matrix: this library against SimPEG's compiled engine.

40 x 40 x 20 cells of a regular mesh, 32,000 in all, and 1,600 stations above their centres, gz.
SimPEG's choclo engine computes and stores the matrix in float32, and in float64 where asked; here
it is float64. Compilation is left out by a first run of each.
"""

import numpy as np
from _timing import median_seconds, report, versions
from discretize import TensorMesh
from simpeg import maps
from simpeg.potential_fields import gravity
from threadpoolctl import threadpool_limits

from skgrav import Mesh, Survey
from skgrav.operators._dense import sensitivity

SHAPE, SPACING, HEIGHT = (20, 40, 40), 100.0, 50.0


def simpeg_matrix(dtype):
    """Return a function that builds SimPEG's matrix on one thread."""
    nz, ny, nx = SHAPE
    mesh = TensorMesh(
        [np.full(n, SPACING) for n in (nx, ny, nz)],
        origin=[-nx * SPACING / 2, -ny * SPACING / 2, -nz * SPACING],
    )
    x, y = np.meshgrid(mesh.cell_centers_x, mesh.cell_centers_y)
    locations = np.column_stack([x.ravel(), y.ravel(), np.full(x.size, HEIGHT)])
    receivers = gravity.receivers.Point(locations, components=["gz"])
    survey = gravity.Survey(gravity.sources.SourceField([receivers]))

    def build():
        simulation = gravity.simulation.Simulation3DIntegral(
            survey=survey,
            mesh=mesh,
            rhoMap=maps.IdentityMap(nP=mesh.n_cells),
            store_sensitivities="ram",
            sensitivity_dtype=dtype,
            engine="choclo",
            numba_parallel=False,
        )
        return simulation.G

    return build


def main():
    mesh = Mesh.regular(SHAPE, SPACING)
    survey = Survey.grid(mesh, height=HEIGHT)
    lattice_free = Survey(survey.stations + [[0.0, 0.0, 1e-3]] * np.r_[0.0, np.ones(1599)][:, None])

    builds = {
        "skgrav, unique offsets, float64": lambda: sensitivity(mesh, survey, "cell", "mGal"),
        "skgrav, any stations, float64": lambda: sensitivity(mesh, lattice_free, "cell", "mGal"),
        "SimPEG choclo, ram, float32": simpeg_matrix(np.float32),
        "SimPEG choclo, ram, float64": simpeg_matrix(np.float64),
    }
    ours = builds["skgrav, unique offsets, float64"]()
    theirs = np.abs(
        builds["SimPEG choclo, ram, float64"]()
    )  # gz upward, g/cm3: mGal per 1000 kg/m3
    # SimPEG runs through x first and from the bottom up.
    theirs = theirs.reshape(1600, *SHAPE)[:, ::-1].reshape(1600, -1) / 1e3
    difference = np.abs(ours - theirs).max() / np.abs(ours).max()

    seconds = median_seconds(builds)
    first = seconds["skgrav, unique offsets, float64"]
    report(
        "sensitivity",
        ["engine", "seconds", "ratio"],
        [[name, f"{s:.2f}", f"{s / first:.1f}"] for name, s in seconds.items()],
        f"{mesh.n_cells} cells x {survey.n_data} stations, one thread, median CPU seconds of 5 "
        f"alternating runs; largest difference {difference:.1e} of the largest entry; "
        + versions("skgrav", "simpeg", "choclo", "numba", "numpy"),
    )


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
