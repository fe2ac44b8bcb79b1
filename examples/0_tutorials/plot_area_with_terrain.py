"""
An area with topography: from stations to a volume
==================================================

For users with gravity data of an area with topography. 289 stations lie above a valley with two
buried bodies. The data are those of a tutorial of SimPEG [1]_, so that the true density is known
and the estimates can be compared with it.

.. [1] https://simpeg.xyz/user-tutorials/inv-gravity-anomaly-3d
"""

import os
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import skgrav
from skgrav import ForwardOperator, Mesh, SparseInverter, Survey, TikhonovInverter
from skgrav.datasets import fetch_two_bodies
from skgrav.plotting import GravityDisplay

output = Path(os.environ.get("SKGRAV_PICTURES", "."))

# %%
# Stations and topography
# -----------------------
# Positions are ``(z, y, x)`` in metres with z positive down; gz is in mGal, and positive above a
# positive mass. `read_stations` reads a table of your own, with the names of its columns in ``x=``,
# ``y=``, ``elevation=`` and ``gz=``. `read_topography` reads the topography, points or a grid.

bodies = fetch_two_bodies()
survey, data = bodies.survey, bodies.data[None]
print(survey, f"gz {data.min():.3f} to {data.max():.3f} mGal", sep=", ")

# %%
# A mesh below the ground
# -----------------------
# `Mesh.for_survey` chooses a mesh, and prints its choices and their reasons. The data constrain the
# depth least: the gravity of masses deeper than half the extent of the survey is hardly
# distinguishable from a trend.

print(Mesh.for_survey(survey, bodies.topography, verbose=True))

# %%
# Here the mesh of SimPEG's tutorial is used, so that errors can be compared: cells of 5 m, half
# the spacing of the stations, and padding cells that grow outward and downward. `Mesh.below` keeps
# the cells below the ground. Cells of air, and cells that would reach above a station, are left
# out.

padding = 5 * 1.3 ** np.arange(1, 6)
side = np.cumsum(np.r_[0, padding[::-1], np.full(40, 5.0), padding])
depth = np.cumsum(np.r_[bodies.topography[:, 0].min(), np.full(15, 5.0), padding])
block = Mesh([depth, side - side[-1] / 2, side - side[-1] / 2])
mesh = block.below(bodies.topography, survey=survey)
operator = ForwardOperator(mesh, survey, method="dense", precision="float32").fit()
print(mesh, operator.plan_, sep="\n")

# %%
# Noise and trend
# ---------------
# Here the uncertainty of each datum is 2 % of the largest datum. For data of your own, include
# everything that no density on this mesh explains: errors of the instrument and of the terrain
# correction, and structure smaller than a column. If the uncertainty is too small, noise is
# inverted as if it were gravity; if it is too large, bodies are missed.
#
# A survey with ``trend=0`` estimates a base level together with the density. Its standard deviation
# includes how well a level can be distinguished from broad densities. Here the level is zero to
# within its standard deviation, so that none is needed.

with_level = Survey(survey.stations, "z", uncertainty=survey.uncertainty, trend=0)
smooth = {"order": 1, "depth_weighting": "sensitivity"}
level_operator = ForwardOperator(mesh, with_level, method="dense", precision="float32")
trend = TikhonovInverter(**smooth, operator=level_operator).fit(data).invert(data).trend
print(f"level {trend.coefficients[0, 0]:.3f} +- {trend.std[0, 0]:.3f} mGal")

# %%
# Smooth and compact
# ------------------
# Both inversions fit the data to their noise. The smooth one penalises slopes, the compact one the
# number of cells with an anomalous density and the edges between them. Contrasts and shapes are not
# given. Errors are weighted by volume; those of SimPEG were computed with the settings of its
# tutorial: :doc:`/public_problems`.

truth = bodies.true_model(mesh)
inverters = {
    "smooth": TikhonovInverter(**smooth, operator=operator),
    "compact": SparseInverter(operator=operator),
}
published = {"smooth": 0.942, "compact": 0.801}
densities, errors, chi = {"truth": truth}, {}, {}
for name, inverter in inverters.items():
    start = time.process_time()
    result = inverter.fit(data).invert(data)
    seconds = time.process_time() - start
    rho = densities[name] = result.rho[0]
    norm = np.sum(mesh.volumes * truth**2)
    errors[name] = np.sqrt(np.sum(mesh.volumes * (rho - truth) ** 2) / norm)
    chi[name] = result.chi_factor[0]
    print(
        f"{name:8s} error {errors[name]:.3f} (SimPEG {published[name]}), chi factor "
        f"{chi[name]:.2f}, {rho.min():4.0f} to {rho.max():3.0f} kg/m3, {seconds:.1f} CPU s"
    )
    for sign, body in ((-1, "light"), (1, "dense")):
        found, true = (np.maximum(sign * r, 0) * mesh.volumes for r in (rho, truth))
        centres = [mass @ mesh.cell_centers / mass.sum() for mass in (found, true)]
        off = np.linalg.norm(centres[0] - centres[1])
        print(
            f"{'':8s} {body} mass {found.sum() / true.sum():.2f} of the true one, {off:.0f} m off"
        )

# %%
# A model of zeros has an error of 1, so the smooth volume hardly recovers the densities of the
# bodies. It shows their horizontal position, but its masses are spread and their centres too deep.

# %%
# Uncertainty
# -----------
# Posterior samples fit the data as well as the estimate does, and differ where the data have no
# resolution. Their differences depend on the prior. Samples of the smooth inversion vary
# everywhere, and more so at depth. Those of the compact inversion all contain the two bodies, and
# vary within them. Each describes the uncertainty within its own assumptions; the data do not
# decide between the two.

_, std = inverters["smooth"].predict(data, return_std=True)
densities["standard deviation, smooth"] = std[0]
for name, inverter in inverters.items():
    draws = inverter.sample_y(data, n_samples=2, random_state=0)[0]
    densities |= {f"draw {k}, {name}": draw for k, draw in enumerate(draws.T, start=1)}


def draw_section(panel, rho, title, limit=200.0):
    """Draw the section through both bodies, with the bodies, the ground and stations above it."""
    z, y, x = mesh.edges
    near = np.abs(y[:-1] + y[1:]).argmin()
    image = panel.pcolormesh(
        x, -z, mesh.unflatten(rho)[:, near], vmin=-limit, vmax=limit, cmap="coolwarm"
    )
    true_section = np.nan_to_num(mesh.unflatten(truth)[:, near])
    zc, _, xc = mesh.centers
    panel.contour(xc, -zc, np.abs(true_section), [100.0], colors="k", linewidths=0.8)
    along = survey.stations[np.abs(survey.stations[:, 1]) < 1]
    panel.plot(along[:, 2], -along[:, 0], "k.", markersize=2)
    panel.set(xlim=(-90, 90), ylim=(20, 105), aspect="equal", title=title)
    panel.set(xlabel="x (m)", ylabel="elevation (m)")
    return image


figure, axes = plt.subplots(4, 2, figsize=(9, 8.5), layout="constrained")
for panel, (name, rho) in zip(axes.flat, densities.items(), strict=True):
    image = draw_section(panel, rho, name)
    panel.label_outer()
figure.colorbar(image, ax=axes, label="density contrast (kg/m³)", shrink=0.5)
figure.savefig(output / "area_sections.png", dpi=80)

# %%
# Data and residual, as maps. If the residual still showed the bodies, the stated noise would be too
# large, or the mesh too coarse.

display = GravityDisplay.from_predictions(
    data, {"compact": densities["compact"]}, operator=operator
)
display.figure_.savefig(output / "area_data.png", dpi=80)
residual = data[0] - operator.transform(densities["compact"][None])[0]

# %%
# The report
# ----------
# One page for readers who did not compute the inversion: data, fit, slices, assumptions, and what
# to doubt.

report = skgrav.report(
    inverters["compact"], data, estimate=densities["compact"], uncertainty=False, title="Valley"
)
report.save(output / "valley.html")
print(report.markdown.splitlines()[2])
for finding in report.findings:
    print(f"{finding.severity}: {finding.what} ({finding.value})")

# %%
# What the data determine and what they do not
# --------------------------------------------
# - There are two bodies, a light one in the west and a dense one in the east, centred at y = 0.
#   Both inversions show them.
# - The compact volume has their masses to a few per cent and their centres to a few metres. The
#   masses in the smooth volume are not those of the bodies, since it spreads density to depths at
#   which the data have no resolution.
# - Shapes and contrasts of the compact volume are right only if the geology consists of compact
#   bodies. The data do not require them: the smooth volume fits as well.
# - The density below the bodies is not determined.
