"""
Bodies in 3D by a pretrained network
====================================

Smooth inversion spreads a compact body over ten times its volume. A network that was trained on
20,000 winding bodies of Huang et al. (2021) returns compact bodies. Here it inverts two boxes,
which were not in its training set, and is compared with smooth inversion and compact inversion.
"""

import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from skgrav import CNNInverter, ForwardOperator, Mesh, SparseInverter, Survey, TikhonovInverter
from skgrav.metrics import chi_factor, relative_l2_error

# %%
# Two boxes in an area of another size
# ------------------------------------
# The network was trained on 32 x 32 columns of 50 m with 16 layers. It takes any number of columns,
# since it consists of convolutions over them: here 48 along x. Bodies have 1000 kg/m3, and noise is
# 2 % of the largest gz.

mesh = Mesh.regular((16, 32, 48), 50.0)
operator = ForwardOperator(mesh, Survey(Survey.grid(mesh, height=0.1).stations, "z")).fit()
rho = np.zeros(mesh.shape)
rho[3:8, 8:14, 8:15] = 1000.0
rho[5:12, 17:24, 30:36] = 1000.0
truth = rho.reshape(1, -1)
g = operator.transform(truth)
sigma = 0.02 * g.max()
g += sigma * np.random.default_rng(0).normal(size=g.shape)
noise_level = sigma / np.sqrt(np.mean(g**2))

# %%
# Invert
# ------

network = CNNInverter.from_pretrained("huang2021").with_operator(operator)
smooth = TikhonovInverter(order=1, depth_weighting="sensitivity", operator=operator).fit(g)
compact = SparseInverter(contrast=(0, 1000), operator=operator).fit(g)
estimates = {"truth": truth}
for name, inverter in {"smooth": smooth, "compact": compact, "network": network}.items():
    estimates[name] = inverter.predict(g, noise_level=noise_level)
for name, found in estimates.items():
    print(
        f"{name:8s} error {relative_l2_error(truth, found):.3f}, chi factor "
        f"{chi_factor(operator, found, g, noise_level=noise_level):5.2f}, "
        f"largest {found.max():5.0f} kg/m3"
    )

# %%
# Maps and sections
# -----------------
# A map at 375 m and a section through both bodies, along the line between them. Compact inversion
# is given both densities, and its norm suits boxes: here its error is smaller than that of the
# network. For winding bodies it is larger: :doc:`/public_problems`. The network needs no settings
# and takes milliseconds, but does not fit the data to their noise; a `Refiner` would.

z, y, x = mesh.edges
figure, axes = plt.subplots(4, 2, figsize=(9.5, 9), layout="constrained", sharex=True)
for (name, found), (plan, section) in zip(estimates.items(), axes, strict=True):
    volume = mesh.unflatten(found[0])
    style = {"vmin": 0, "vmax": 1000, "cmap": "inferno_r"}
    image = plan.pcolormesh(x, y, volume[7], **style)
    rows = np.rint(np.interp(mesh.centers[2], [-625, 450], [10, 20])).astype(int)
    cut = volume[:, rows, np.arange(48)]
    section.pcolormesh(x, z, cut, **style)
    section.invert_yaxis()
    plan.set_title(name, loc="left")
    plan.set_ylabel("y, m")
    section.set_ylabel("depth, m")
    for panel in (plan, section):
        panel.set_aspect("equal")
axes[-1, 0].set_xlabel("x, m")
axes[-1, 1].set_xlabel("x, m")
figure.colorbar(image, ax=axes, label="density, kg/m$^3$", shrink=0.5)

output = Path(os.environ.get("SKGRAV_PICTURES", "."))
figure.savefig(output / "bodies_in_3d.png", dpi=150)
