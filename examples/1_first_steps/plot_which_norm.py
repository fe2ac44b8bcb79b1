"""
Which norm for which geology
============================

Many densities have the same gravity, and an inversion returns the one of least model norm. The norm
therefore has to be small for the expected geology: smooth, compact, layered, with edges, or a
single interface. Here each of these is inverted with the norm that suits it and with others.
"""

import os
from pathlib import Path

import numpy as np

from skgrav import (
    CellValues,
    ForwardOperator,
    JointOperator,
    Mesh,
    ReliefInverter,
    SparseInverter,
    Survey,
    TikhonovInverter,
)
from skgrav.metrics import relative_l2_error
from skgrav.plotting import DensityDisplay

# %%
# A line of 61 stations, 50 m apart, over cells of 50 m. Widening columns extend the mesh beyond
# both ends. The noise is 0.02 mGal, about one per cent of the anomalies.

x = np.arange(-2000.0, 2001.0, 50.0)
padding = 2000 + 50 * np.cumsum(1.6 ** np.arange(1, 6))
mesh = Mesh([np.arange(0.0, 1501.0, 50.0), np.r_[-padding[::-1], x, padding]])
stations = np.arange(-1500.0, 1501.0, 50.0)
survey = Survey(np.column_stack([np.full_like(stations, -1.0), stations]), "z", uncertainty=0.02)
operator = ForwardOperator(mesh, survey).fit()
depth, position = mesh.cell_centers.T
output = Path(os.environ.get("SKGRAV_PICTURES", "."))


def data_of(truth):
    noise = np.random.default_rng(0).normal(scale=0.02, size=(1, stations.size))
    return operator.transform(truth[None]) + noise


def draw(truth, densities, name, **options):
    display = DensityDisplay.from_predictions(
        truth, densities, mesh=mesh, difference=False, **options
    )
    for panel in display.axes_.flat:
        panel.set_xlim(-2000, 2000)
    display.figure_.set_size_inches(7, 1.7 * display.axes_.size)
    display.figure_.savefig(output / f"norm_{name}.png", dpi=70, bbox_inches="tight")


def compare(truth, inverters, name):
    """Invert the data of a section by several inverters, print what is found, and draw it."""
    data, densities = data_of(truth), {}
    true_mass = truth * mesh.volumes
    print(f"\n{name:26s} error   mass   depth of the centre   largest")
    for title, inverter in inverters.items():
        rho = inverter.set_params(operator=operator).fit(data).predict(data)[0]
        densities[title] = rho
        mass = rho * mesh.volumes
        print(
            f"{title:26s} {relative_l2_error(truth[None], rho[None]):5.2f}  "
            f"{mass.sum() / true_mass.sum():5.2f}   {mass @ depth / mass.sum():4.0f} m, truly "
            f"{true_mass @ depth / true_mass.sum():4.0f} m   {np.abs(rho).max():4.0f} kg/m3"
        )
    draw(truth, densities, name)


# %%
# Smooth
# ------
# An intrusion whose contrast decreases gradually, as with alteration or porosity. Order 0 minimises
# departures, order 1 their slopes, and order 2 the change of slopes. Sensitivity weights prevent a
# concentration at the top. All three fit the data to their noise, and all spread the mass
# downwards, which the data do not exclude.

smooth = {"depth_weighting": "sensitivity"}
compare(
    200 * np.exp(-((position - 200) ** 2) / 500**2 - (depth - 500) ** 2 / 250**2),
    {f"order {k}": TikhonovInverter(order=k, **smooth) for k in (0, 1, 2)},
    "smooth",
)

# %%
# Compact
# -------
# An ore body. The default of `SparseInverter` favours few cells that depart from the reference, and
# short edges: round bodies, or boxes if edges are measured axis by axis.

body = np.where((np.abs(position + 300) < 200) & (np.abs(depth - 450) < 150), 400.0, 0.0)
compare(
    body,
    {
        "order 1": TikhonovInverter(order=1, **smooth),
        "compact": SparseInverter(),
        "compact, axis by axis": SparseInverter(isotropic=False),
    },
    "compact",
)

# %%
# What the data determine
# -----------------------
# The same data inverted with three assumed contrasts. Mass and centre of the body remain the same,
# its density and size do not. The contrast has to be known from rock samples or logs.

compare(
    body,
    {f"contrast {c} kg/m3": SparseInverter(contrast=(0, c)) for c in (200, 400, 800)},
    "ambiguity",
)

# %%
# Layered
# -------
# A sill. For an estimate that is smoother along x than along z, use larger `length_scales` along x
# in `TikhonovInverter`, or `norm_weights` in `SparseInverter`. Bounds exclude densities of the
# other sign, and thereby reduce the mass at depth. Thickness and density cannot be determined
# separately.

bounds = (0, 250)
compare(
    np.where((np.abs(position + 200) < 800) & (np.abs(depth - 350) < 75), 250.0, 0.0),
    {
        "order 1": TikhonovInverter(order=1, bounds=bounds, **smooth),
        "order 1, long along x": TikhonovInverter(
            order=1, length_scales=(1000, 100), bounds=bounds, **smooth
        ),
        "compact, long along x": SparseInverter(
            norm_weights=(1, 5, 0.2), isotropic=False, bounds=bounds
        ),
    },
    "layered",
)

# %%
# Dipping
# -------
# A dyke. Weights along the axes cannot represent a dip. Compact bodies can, as far as the data
# resolve it.

compare(
    np.where((np.abs(position - depth + 450) < 110) & (np.abs(depth - 450) < 300), 250.0, 0.0),
    {
        "order 1": TikhonovInverter(order=1, **smooth),
        "order 1, within bounds": TikhonovInverter(order=1, bounds=bounds, **smooth),
        "compact": SparseInverter(),
    },
    "dipping",
)

# %%
# Edges
# -----
# A wide block of light rock at a fault. It is not compact, and the compact norm makes it too thin.
# Total variation, here with hardly any weight of the departures themselves, preserves the edge. The
# least sum of absolute densities within bounds also uses the known density.

compare(
    np.where((np.abs(position + 900) < 900) & (depth < 1000), -300.0, 0.0),
    {
        "order 1": TikhonovInverter(order=1, **smooth),
        "compact": SparseInverter(),
        "total variation": SparseInverter(norms=(2, 1, 1), norm_weights=(0.01, 1, 1)),
        "L1 within bounds": SparseInverter(norms=1, bounds=(-300, 0)),
    },
    "edges",
)

# %%
# One interface
# -------------
# Sediments on a basement, with a known contrast. The unknown is then the depth of the interface,
# one number for each column, and it has a standard deviation.

columns = mesh.centers[1]
basement = 600 * np.exp(-(((columns + 200) / 700) ** 4))
basement = np.maximum(basement, 150 * (np.abs(columns) < 1100))
top, bottom = mesh.edges[0][:-1, None], mesh.edges[0][1:, None]
basin = -300 * np.clip((basement - top) / (bottom - top), 0, 1).ravel()
data = data_of(basin)
result = ReliefInverter(-300.0, operator=operator).fit(data).invert(data)
below = np.abs(columns) < 1500
off = (result.depth[0] - basement)[below]
print(
    f"\nBasement: off by {np.sqrt(np.mean(off**2)):.0f} m (rms), stated standard deviation "
    f"{np.sqrt(np.mean(result.depth_std[0, below] ** 2)):.0f} m"
)
draw(
    basin,
    {
        "order 1": TikhonovInverter(order=1, operator=operator, **smooth)
        .fit(data)
        .predict(data)[0],
        "L1 within bounds": SparseInverter(norms=1, bounds=(-300, 0), operator=operator)
        .fit(data)
        .predict(data)[0],
        "relief": result.rho[0],
    },
    "relief",
    interfaces={"basement": (columns, basement)},
)

# %%
# A borehole, and the uncertainty of a smooth model
# -------------------------------------------------
# A log through the ore body, with errors of 20 kg/m3, is a second kind of data. The standard
# deviation and the samples of `sample_y` assume that the model norm describes the geology: they are
# right for densities that are as smooth as this, and too small for an ore body.

samples = np.arange(5.0, 800.0, 10.0)
log, values = CellValues.along(
    mesh,
    samples,
    values=np.where(np.abs(samples - 450) < 150, 400.0, 0.0),
    at=-310.0,
    uncertainty=20.0,
)
joint = JointOperator([operator, log]).fit()
data = data_of(body)
stds = {}
for title, physics, X in (
    ("gravity", operator, data),
    ("gravity and borehole", joint, np.hstack([data, values[None]])),
):
    inverter = TikhonovInverter(order=1, operator=physics, **smooth).fit(X)
    rho, std = inverter.predict(X, return_std=True)
    stds[title] = std[0]
    around = np.hypot(position + 310, depth - 450) < 150
    missed = np.mean(np.abs(rho - body)[0, around] > 1.645 * std[0, around])
    print(
        f"{title:26s} in the body {rho[0, body > 0].mean():3.0f} +- "
        f"{std[0, body > 0].mean():.0f} kg/m3; truth outside 90 % interval in {missed:.0%} of cells"
    )
draw(body, {"gravity and borehole": rho[0]}, "borehole", std=std[0])
