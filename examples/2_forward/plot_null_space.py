"""
The null space: sections with the same gravity
==============================================

Two sections that differ everywhere have the same gravity. The singular value decomposition of the
operator splits any section into a part that the data determine and a part that has no effect on
them.
"""

import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from skgrav import ForwardOperator, Mesh
from skgrav.datasets import make_density_models

# %%
# Split a section
# ---------------
# The paper's geometry: 50 x 50 cells, and gx and gz at 150 stations, so 300 data for 2500 unknowns.
# With noise of about 1 %, only combinations with singular values above a hundredth of the largest
# are determined.

mesh = Mesh.square(50)
operator = ForwardOperator(mesh, units="normalized").fit()
_, s, Vt = operator.svd_
for level in (1e-2, 1e-3, 1e-4, 1e-6):
    print(f"{np.sum(s > level * s[0]):4d} singular values above {level:.0e} of the largest")

truth = make_density_models(1, mesh=mesh, families="salt_domes", random_state=0)[0]
other = make_density_models(1, mesh=mesh, families="folded_layers", random_state=3)[0]
seen = Vt[s > 1e-6 * s[0]]


def visible(rho):
    """Return the part of a section that the data see."""
    return rho @ seen.T @ seen


# %%
# Exchange the null-space part
# ----------------------------
# The range part of the first section plus the null-space part of the second is another section with
# the gravity of the first, to seven digits.

swapped = visible(truth) + (other - visible(other))
g = operator.transform([truth, swapped, other])
misfit = np.linalg.norm(g[1:] - g[0], axis=1) / np.linalg.norm(g[0])
print(f"gravity of the swapped section differs by {misfit[0]:.0e}, of the other by {misfit[1]:.2f}")
error = np.linalg.norm(swapped - truth) / np.linalg.norm(truth)
print(f"yet its density differs by {error:.2f}")

figure, axes = plt.subplots(2, 3, figsize=(11, 7), layout="constrained")
pictures = {
    "a section": truth,
    "what the data see of it": visible(truth),
    "the same, with an invisible part\nof another section": swapped,
}
z, x = mesh.edges
for axis, (name, rho) in zip(axes[0], pictures.items(), strict=True):
    image = axis.pcolormesh(x, z, mesh.unflatten(rho), vmin=0, vmax=12)
    axis.set(ylim=(z[-1], z[0]), aspect="equal", title=name, xlabel="x (m)")
axes[0, 0].set_ylabel("depth (m)")
figure.colorbar(image, ax=axes[0], label="density")

along = operator.survey_.stations[:, 1]
for row, style, label in ((0, "C0-", "a section"), (1, "C1--", "swapped")):
    gz = operator.survey_.unflatten(g[row])[1]
    axes[1, 0].plot(along, gz, style, label=label)
axes[1, 0].set(xlabel="x (m)", ylabel="gz (normalised)", title="their gravity")
axes[1, 0].legend()

axes[1, 1].semilogy(s / s[0])
axes[1, 1].set(xlabel="number", ylim=(1e-15, 2), title="singular values / the largest")
for level in (1e-2, 1e-6):
    axes[1, 1].axhline(level, color="0.6", lw=1, ls=":")

# Share of each cell in the range part: 1 if the data determine it, 0 if they have no information.
share = np.sum(Vt[s > 1e-2 * s[0]] ** 2, axis=0)
image = axes[1, 2].pcolormesh(x, z, mesh.unflatten(share), cmap="magma", vmin=0)
axes[1, 2].set(ylim=(z[-1], z[0]), aspect="equal", title="resolved share of a cell, 1 %")
axes[1, 2].set(xlabel="x (m)")
figure.colorbar(image, ax=axes[1, 2], label="share")

output = Path(os.environ.get("SKGRAV_PICTURES", "."))
figure.savefig(output / "null_space.png", dpi=100)

# %%
# Of the layers and the body in the section, the data determine only lateral changes near the top.
# Everything else in an estimate comes from the method: zero for the least norm, the smoothest
# continuation for a smooth inversion, and the mean of similar training sections for a network. With
# noise, the range part is even smaller.
