"""Gravity of a hill by whole cells below the ground and by cells with the mass of its rock.

A smooth hill of 20 m of 2670 kg/m3 in 2D and 3D, stations above it, beside a fine mesh; and what an
inversion makes of the difference. Prints the tables and writes them to
doc/guide/mesh_and_survey.md.
"""

import time
import warnings

import numpy as np
from _timing import markdown, put_into, report, versions

from skgrav import ForwardOperator, Mesh, Survey, TikhonovInverter
from skgrav.metrics import chi_factor

DENSITY, SIGMA = 2670.0, 0.05

#: Depth of the bottom, and half the width, of the meshes.
BOTTOM, HALF = 40.0, {2: 400.0, 3: 160.0}

#: Layers and columns in metres.
FINE = {2: (0.5, 1.25), 3: (1.0, 2.5)}
COARSE = {
    2: [(2.5, 5.0), (2.5, 10.0), (5.0, 10.0), (4.0, 20.0), (10.0, 20.0)],
    3: [(2.5, 10.0), (5.0, 10.0), (4.0, 20.0), (10.0, 20.0)],
}


def hill(*horizontal):
    return -20.0 * np.exp(
        -sum((s / w) ** 2 for s, w in zip(horizontal, (60.0, 60.0), strict=False))
    )


def surveyed(ndim, height):
    """Return 81 stations across the hill, or 100 scattered over it, above the ground."""
    horizontal = np.linspace(-200, 200, 81)[:, None]
    if ndim == 3:
        horizontal = np.random.default_rng(0).uniform(-100, 100, (100, 2))
    return Survey(np.column_stack([hill(*horizontal.T) - height, horizontal]), "z", SIGMA)


def mesh_of(ndim, layer, column, survey):
    z = BOTTOM - np.arange(np.ceil((BOTTOM + 20.0) / layer) + 1)[::-1] * layer
    edges = [z, *[np.arange(-HALF[ndim], HALF[ndim] + column / 2, column)] * (ndim - 1)]
    return Mesh(edges).below(hill, survey=survey)


def gravity(mesh, survey, fraction=None):
    operator = ForwardOperator(mesh, survey, method="rows", fraction=fraction).fit()
    return operator.transform(np.full((1, mesh.n_cells), DENSITY))


def forward_errors(ndim, height):
    survey = surveyed(ndim, height)
    fine = gravity(mesh_of(ndim, *FINE[ndim], survey), survey)
    for layer, column in COARSE[ndim]:
        mesh = mesh_of(ndim, layer, column, survey)
        fraction = mesh.fraction_below(hill)
        errors = [
            np.sqrt(np.mean((gravity(mesh, survey, f) - fine) ** 2)) for f in (None, fraction)
        ]
        yield (
            f"{ndim}D",
            f"{height:g}",
            f"{layer:g} x {column:g}",
            *(f"{e:.3f}" for e in errors),
            f"{errors[0] / errors[1]:.1f}",
            f"{fraction.min():.2f} to {fraction.max():.2f}",
        )


def inversion(layer, column):
    """Return what the rock itself misses of its data, and what Tikhonov changes to fit them."""
    survey = surveyed(2, 1.0)
    g = gravity(mesh_of(2, *FINE[2], survey), survey)
    mesh = mesh_of(2, layer, column, survey)
    rock = np.full((1, mesh.n_cells), DENSITY)
    for name, fraction in (("whole cells", None), ("fraction", mesh.fraction_below(hill))):
        operator = ForwardOperator(mesh, survey, fraction=fraction).fit()
        inverter = TikhonovInverter(order=1, reference=rock[0], operator=operator)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".* differ from 'reference' by less")  # as intended
            change = inverter.fit(g).predict(g) - rock
        chi = float(chi_factor(operator, rock, g))
        yield name, f"{layer:g} x {column:g}", f"{chi:.2f}", f"{np.abs(change).max():.0f}"


def main():
    start = time.process_time()
    header = (
        "hill",
        "stations, m up",
        "layers x columns, m",
        "whole cells, mGal",
        "fraction, mGal",
        "ratio",
        "fraction of the highest cells",
    )
    errors = [row for case in ((2, 1), (2, 10), (3, 1)) for row in forward_errors(*case)]
    header_2 = ("cells", "layers x columns, m", "chi factor of the rock", "largest change, kg/m3")
    changes = [row for steps in COARSE[2][:3] for row in inversion(*steps)]
    footer = f"{time.process_time() - start:.0f} CPU seconds in all. {versions('skgrav', 'numpy')}."
    report("topography", header, errors, footer)
    report("topography_inverted", header_2, changes, footer)
    fine = " and ".join(f"{a:g} x {b:g} m in {n}D" for n, (a, b) in FINE.items())
    content = (
        f"{markdown(header, errors)}\n\nDifferences, rms over the stations, from the gravity of a "
        f"mesh of {fine}. Data of that mesh in 2D, 1 m up, with a noise of {SIGMA} mGal but none "
        "added, explained by the rock itself and, from the rock as reference, by Tikhonov:\n\n"
        f"{markdown(header_2, changes)}\n\n{footer}"
    )
    put_into("guide/mesh_and_survey.md", "topography", content)


if __name__ == "__main__":
    main()
