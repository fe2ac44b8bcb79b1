"""
Bodies below a valley: inverting with topography
================================================

289 stations follow the topography of a valley, above a light block and a dense sphere. The mesh
extends above the ground, but only the cells below it are unknowns. Data and true densities are
those of SimPEG's tutorial [1]_.

.. [1] https://simpeg.xyz/user-tutorials/inv-gravity-anomaly-3d
"""

import os
from pathlib import Path

import numpy as np

from skgrav import ForwardOperator, Mesh, TikhonovInverter
from skgrav.datasets import fetch_two_bodies
from skgrav.plotting import DensityDisplay

# %%
# The topography is given at points. Layers begin above the highest point. Cells whose centre lies
# above the ground become inactive, as do cells that would reach above a station.

bodies = fetch_two_bodies()
layers, columns = np.arange(-102.5, 0.0, 2.5), np.arange(-100.0, 101.0, 5.0)
block = Mesh([layers, columns, columns])
mesh = block.below(bodies.topography, survey=bodies.survey)
print(mesh)

# %%
# The noise is 2 % of the largest datum, and is the uncertainty of the survey; alpha follows from
# it. Depth weights use the depth of a cell below the ground above it.

operator = ForwardOperator(mesh, bodies.survey)
data = bodies.data[None]
inverter = TikhonovInverter(depth_weighting=2.0, operator=operator).fit(data)
result = inverter.invert(data)

# %%
# A smooth inversion recovers the positions and signs of the bodies, but not their contrasts. The
# error, weighted by volume, is nearly that of a model of zeros, 1, although the data are fitted.

truth = bodies.true_model(mesh)
rho = result.rho[0]
error = np.sqrt(np.sum(mesh.volumes * (rho - truth) ** 2) / np.sum(mesh.volumes * truth**2))
print(f"chi factor {result.chi_factor[0]:.2f}, error {error:.3f} (SimPEG's smooth one: 0.942)")
for name, cell in (("least", rho.argmin()), ("largest", rho.argmax())):
    z, y, x = mesh.cell_centers[cell]
    print(f"{name} density {rho[cell]:.0f} kg/m3 at x = {x:.0f}, y = {y:.0f}, z = {z:.0f} m")

# %%
# Black lines are the ground; dashed grey lines are the true bodies.

display = DensityDisplay.from_predictions(None, rho, mesh=mesh, at=(-61.0, 1.0, -34.0))
z, y, x = mesh.centers
planes = [(x, y), (x, z), (y, z)]
k, j, i = (int(np.abs(c - v).argmin()) for c, v in zip((z, y, x), (-61.0, 1.0, -34.0), strict=True))
image = np.nan_to_num(mesh.unflatten(truth))
cuts = image[k], image[:, j], image[:, :, i]
for panel, plane, cut in zip(display.axes_[0], planes, cuts, strict=True):
    panel.contour(*plane, np.abs(cut), levels=[100.0], colors="0.3", linestyles="--")
output = Path(os.environ.get("SKGRAV_PICTURES", "."))
display.figure_.savefig(output / "two_bodies_below_topography.png", dpi=100)
