"""
A line over scattered stations: the limbs of the Bushveld Complex
=================================================================

Gravity of an area is measured where people can go; a section needs a line. Here one runs from west
to east over the largest layered intrusion on Earth, whose two limbs are mafic layers several
kilometres thick, with anomalies of some 40 mGal. Whether they are connected below the granite
between them has been argued for decades [1]_.

.. [1] Webb et al. (2004), South African Journal of Geology 107, 207-218.
"""

import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from skgrav import ForwardOperator, Mesh, Survey, TikhonovInverter, project_onto_line
from skgrav.datasets import fetch_bushveld
from skgrav.metrics import chi_factor
from skgrav.plotting import DensityDisplay, GravityDisplay

# %%
# From the area to the line
# -------------------------
# The limbs strike north here, so that the line crosses them. Of 3877 stations we take those within
# 6 km of it: of structure shallower than that, the section cannot tell whether it is below the line
# or beside it.

WEST, EAST = -210e3, 220e3  # from 28.5 E, in metres
bushveld = fetch_bushveld()
line = project_onto_line(bushveld.survey, ends=[(-30e3, WEST), (-30e3, EAST)], max_distance=6e3)
observed = bushveld.data[line.selected]
print(line)

# %%
# The mesh
# --------
# By itself, `Mesh.for_survey` would take columns as wide as neighbours along the line are apart,
# 1.1 km; but in the area stations are 4.5 km apart, and we take about half of that. It would go
# down to half the length of the line, 200 km; we put in that what we look for lies above 15 km, and
# that all else is a linear trend. The ground is taken as flat, at the lowest station.
#
# The file has no uncertainties. We grant 5 mGal, since neighbours along the line, up to 12 km apart
# across it, differ by as much.

survey = Survey(line.stations, "z", uncertainty=5.0, trend=1)
ground = survey.stations[:, 0].max()
mesh = Mesh.for_survey(survey, topography=ground, cell=2e3, depth=15e3, verbose=True)

# %%
# The smoothest section
# ---------------------

inverter = TikhonovInverter(
    order=1, depth_weighting="sensitivity", operator=ForwardOperator(mesh, survey)
).fit(observed[None])
result = inverter.invert(observed[None])
smoothest = result.rho[0]
print(f"density {smoothest.min():.0f} to {smoothest.max():.0f} kg/m3")

# %%
# What the data know
# ------------------
# The excess of mass below each column is known better than the density: we express it by the
# thickness of a sheet of 300 kg/m3, about the contrast of the mafic layers. With all of it at the
# ground, the data are fitted nearly as well, without any further adjustment but that of the trend.

CONTRAST = 300.0
thickness = mesh.widths[0] @ mesh.unflatten(smoothest) / CONTRAST
x = mesh.centers[1] + WEST
for limb, (low, high) in {"western": (-140e3, -80e3), "eastern": (100e3, 160e3)}.items():
    there = np.flatnonzero((low < x) & (x < high))
    most = there[thickness[there].argmax()]
    print(
        f"{limb} limb: {thickness[most] / 1e3:.1f} km of {CONTRAST:g} kg/m3, {x[most] / 1e3:.0f} km"
    )

above = (mesh.edges[0][:-1] - ground)[:, None]
filled = np.clip((np.abs(thickness) - above) / mesh.widths[0][:, None], 0, 1)
sheet = (CONTRAST * np.sign(thickness) * filled).ravel()
sections = {"smoothest": smoothest, "sheet at the ground": sheet}
for name, rho in sections.items():
    print(f"{name}: chi factor {chi_factor(inverter.operator_, rho[None], observed[None]):.2f}")

# %%
# Look
# ----

heights = [4, 2, 1, 2, 2]
figure, axes = plt.subplots(5, 1, figsize=(9, 13), layout="constrained", height_ratios=heights)
_, y_all, x_all = bushveld.survey.stations.T / 1e3
points = axes[0].scatter(x_all, y_all, c=bushveld.data, s=4)
axes[0].plot(x_all[line.selected], y_all[line.selected], "r.", ms=3)
axes[0].set(xlabel="x (km east of 28.5 E)", ylabel="y (km north of 25 S)", aspect="equal")
figure.colorbar(points, ax=axes[0], label="Bouguer anomaly (mGal)")
GravityDisplay.from_predictions(observed, sections, operator=inverter.operator_, ax=axes[1:3])
DensityDisplay.from_predictions(None, sections, mesh=mesh, ax=axes[3:])
for axis in axes[1:]:
    axis.set_xlim(0, (EAST - WEST) / 1e3)
output = Path(os.environ.get("SKGRAV_PICTURES", "."))
figure.savefig(output / "line_over_scattered_stations.png", dpi=100)

# %%
# Recovered: where along the line mass is in excess, and how much: both limbs, each as much as 4 km
# of mafic rocks, several kilometres as they are known, and a deficit between them. Not recovered:
# the depth, and with it the answer to the question. The smoothest section fills the 15 km that it
# was given, the sheet 4 km of it, and both fit. The deficit may be granite in place of mafic rocks,
# or hide their connection below, if the Moho is deeper there, as in [1]_. Nor can a section show
# what lies off its line: at 110 km, where the western limb ends, neighbours differ by 20 mGal.
