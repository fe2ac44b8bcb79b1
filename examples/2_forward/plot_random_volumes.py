"""
Random volumes and their gravity
================================

Networks for 3D surveys are trained on simulated volumes. `make_density_models` draws ten families
of them: layers that are flat, folded, dipping or faulted, basins, and bodies in country rock. Each
volume has its own strike, along which structures bend, fade and end.
"""

import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from skgrav import Mesh
from skgrav.datasets import make_gravity_dataset

# %%
# Draw
# ----
# Forty cells of 50 m along both horizontal axes, twenty layers, and gz at one station above each
# column. Densities are contrasts in kg/m3.

mesh = Mesh.regular((20, 40, 40), 50.0)
data = make_gravity_dataset(20, mesh=mesh, density_range=(-300, 300), units="mGal", random_state=3)
families = np.unique(data.family)
rows = [np.flatnonzero(data.family == family)[0] for family in families]
print(data.DESCR)

# %%
# Sections, maps and gravity
# --------------------------
# Below each name are a vertical section, a map at the stated depth, and gravity. Section and map
# cut the volume where it differs most from flat layers.

z, y, x = mesh.edges
figure, axes = plt.subplots(
    len(rows), 3, figsize=(8, 2.1 * len(rows)), width_ratios=(2, 1, 1), layout="constrained"
)
for row, family, panels in zip(rows, families, axes, strict=True):
    rho = mesh.unflatten(data.target[row])
    gz = data.operator.survey_.unflatten(data.data[row]).reshape(40, 40)
    departure = np.abs(rho - np.median(rho, axis=(1, 2), keepdims=True))
    layer, along = (np.argmax(departure.sum(axis=axes)) for axes in ((1, 2), (0, 2)))
    panels[0].pcolormesh(x, z, rho[:, along], vmin=-300, vmax=300, cmap="RdBu_r")
    panels[0].invert_yaxis()
    panels[1].pcolormesh(x, y, rho[layer], vmin=-300, vmax=300, cmap="RdBu_r")
    panels[2].pcolormesh(x, y, gz, cmap="viridis")
    panels[0].set_ylabel("depth, m")
    panels[0].set_title(family.replace("_", " "), loc="left")
    panels[1].set_title(f"at {mesh.centers[0][layer]:g} m", fontsize=9)
    for panel in panels:
        panel.set_aspect("equal")
        panel.tick_params(labelsize=7)
axes[0, 2].set_title("gz")
for panel in axes[-1]:
    panel.set_xlabel("x, m")

output = Path(os.environ.get("SKGRAV_PICTURES", "."))
figure.savefig(output / "random_volumes.png", dpi=80)

# %%
# Mesh and survey can be those of a measured survey, with active cells below its topography.
