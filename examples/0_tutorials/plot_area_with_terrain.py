"""
An area with terrain: from stations and ground to a volume
==========================================================

For whoever has gravity of an area and its terrain. 289 stations stand above a valley in which two
bodies are hidden. The data are those of SimPEG's tutorial [1]_, so the truth is known, and what one
would believe of the inversion can be compared with it at the end.

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
# Stations and ground
# -------------------
# Positions are ``(z, y, x)`` in metres with z positive down, gz is in mGal and positive toward a
# mass below. A table of your own becomes the same by `read_stations`, with the names of its columns
# in ``x=``, ``y=``, ``elevation=`` and ``gz=``, and the terrain, points or a grid, by
# `read_topography`.

bodies = fetch_two_bodies()
survey, data = bodies.survey, bodies.data[None]
print(survey, f"gz {data.min():.3f} to {data.max():.3f} mGal", sep=", ")

# %%
# A mesh below the ground
# -----------------------
# `Mesh.for_survey` makes a mesh, and says what it takes and why. Depth is what a survey knows
# least: half of its extent is as deep as a mass can lie and still look different from a trend.

print(Mesh.for_survey(survey, bodies.topography, verbose=True))

# %%
# Here the mesh of SimPEG's tutorial is taken, so that errors can be compared: cells of 5 m, half
# the distance of the stations, and padding that grows outward and downward. `Mesh.below` takes the
# cells below the ground. Those above are air, and no unknowns, and so are those that would reach
# above a station.

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
# Each datum has an uncertainty of 2 % of the largest one here. With your data, write down what no
# density on this mesh explains: the instrument, the terrain correction, what is smaller than a
# column. Too small a number makes structure out of noise, too large a one hides bodies.
#
# Does a base level have to be left open? A survey with ``trend=0`` finds out. The standard
# deviation says how well level and broad densities are told apart; zero is well within it, so none
# is needed.

with_level = Survey(survey.stations, "z", uncertainty=survey.uncertainty, trend=0)
smooth = {"order": 1, "depth_weighting": "sensitivity"}
level_operator = ForwardOperator(mesh, with_level, method="dense", precision="float32")
trend = TikhonovInverter(**smooth, operator=level_operator).fit(data).invert(data).trend
print(f"level {trend.coefficients[0, 0]:.3f} +- {trend.std[0, 0]:.3f} mGal")

# %%
# Smooth and compact
# ------------------
# Both fit the data to their noise. The smooth one prefers small slopes, the compact one few cells
# and short edges. Nothing is told of contrasts or shapes. Errors are weighted by volume; those of
# SimPEG are by the settings of its tutorial: :doc:`/public_problems`.

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
# A model of zeros has an error of 1, so the smooth volume hardly has the densities of the bodies.
# In plan it says where they are; its masses are spread, and their centres too deep.

# %%
# How sure
# --------
# Draws fit the data as well as the estimate does, and differ where the data are silent. What may
# differ is up to the prior: about the smooth estimate density varies everywhere, the more the
# deeper; about the compact one the bodies stay, and only their insides vary. Each is sure of its
# own geology, and the data do not choose between them.

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
# Data and residual, as maps. A residual that still shows the bodies would say that the noise was
# taken too large, or the mesh too coarse.

display = GravityDisplay.from_predictions(
    data, {"compact": densities["compact"]}, operator=operator
)
display.figure_.savefig(output / "area_data.png", dpi=80)
residual = data[0] - operator.transform(densities["compact"][None])[0]

# %%
# The report
# ----------
# One page for whoever was not there: data, fit, slices, what was assumed, and what to doubt.

report = skgrav.report(
    inverters["compact"], data, estimate=densities["compact"], uncertainty=False, title="Valley"
)
report.save(output / "valley.html")
print(report.markdown.splitlines()[2])
for finding in report.findings:
    print(f"{finding.severity}: {finding.what} ({finding.value})")

# %%
# What to believe
# ---------------
# - There are two bodies, a light one in the west and a dense one in the east, centred at y = 0:
#   both inversions say so, and so would any that fits the data.
# - Their masses and centres, of the compact volume, to some per cent and metres. Those of the
#   smooth one are no masses of bodies, since it spreads density down to where the data are silent.
# - Their shapes and contrasts only if bodies are what geology expects. The data do not ask for
#   them: the smooth volume fits as well.
# - Nothing below the bodies.
