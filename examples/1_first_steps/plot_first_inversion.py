"""
A first inversion, without training
===================================

A profile of gravity in mGal is inverted for the density section of least norm that fits it. No
training is needed, only stations, data and their noise.
"""

import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import skgrav
from skgrav import ForwardOperator, Mesh, Survey, TikhonovInverter
from skgrav.metrics import chi_factor

# %%
# Stations and data
# -----------------
# 41 stations over 4 km, on the ground, measure gz to 0.05 mGal. The data are simulated: a body with
# a density contrast of 400 kg/m³ lies between 200 and 600 m depth. For a measured profile, read
# `stations` and `data` from your file.

UNCERTAINTY = 0.05
x = np.linspace(-2000, 2000, 41)
stations = np.column_stack([np.zeros(41), x])  # z, positive down, and x
survey = Survey(stations, components=("z",), uncertainty=UNCERTAINTY)

mesh = Mesh([np.linspace(0, 1500, 31), np.linspace(-3000, 3000, 61)])
operator = ForwardOperator(mesh, survey).fit()

truth = np.zeros(mesh.shape)
z_centres, x_centres = mesh.centers
truth[np.ix_((z_centres > 200) & (z_centres < 600), abs(x_centres) < 400)] = 400
data = operator.transform(truth.reshape(1, -1))
data += UNCERTAINTY * np.random.default_rng(0).normal(size=data.shape)

# %%
# Invert
# ------
# The discrepancy principle chooses the strongest regularisation that the noise allows. The least
# norm alone places density where its gravity is largest, near the top. Depth weighting compensates
# for this, and bounds limit the contrast.

prior = {"depth_weighting": "sensitivity", "operator": operator}
inverters = {
    "least norm": TikhonovInverter(operator=operator),
    "with depth weighting": TikhonovInverter(**prior),
    "within bounds, too": TikhonovInverter(bounds=(0, 400), **prior),
}
estimates = {name: inverter.fit(data).predict(data)[0] for name, inverter in inverters.items()}
for name, rho in estimates.items():
    chi = chi_factor(operator, rho[None], data)
    print(f"{name:22s} chi factor {chi:.2f}, density {rho.min():4.0f} to {rho.max():4.0f} kg/m³")

# %%
# Data and sections
# -----------------

figure, axes = plt.subplots(5, 1, figsize=(7, 9), sharex=True, layout="constrained")
axes[0].errorbar(x, data[0], UNCERTAINTY, fmt="k.", ms=4, label="measured")
for (name, rho), style in zip(estimates.items(), ("C1--", "C0-", "C2:"), strict=True):
    axes[0].plot(x, operator.transform(rho[None])[0], style, label=name)
axes[0].set(ylabel="gz (mGal)")
axes[0].legend(loc="upper left", fontsize="small")
sections = {"truth": truth.ravel(), **estimates}
for axis, (name, rho) in zip(axes[1:], sections.items(), strict=True):
    image = axis.pcolormesh(*mesh.edges[::-1], mesh.unflatten(rho), vmin=0, vmax=400)
    axis.contour(x_centres, z_centres, truth, [200], colors="w", linewidths=1)
    axis.set(ylim=(1500, 0), xlim=(-2000, 2000), ylabel="depth (m)", title=name)
axes[-1].set_xlabel("x (m)")
figure.colorbar(image, ax=axes[1:], label="density contrast (kg/m³)")

output = Path(os.environ.get("SKGRAV_PICTURES", "."))
figure.savefig(output / "first_inversion.png", dpi=100)

# %%
# All three sections fit the data to their noise: their chi factor is near 1. The true section and
# many others fit as well. The data do not determine which of them the inversion returns; the norm,
# the weights and the bounds do. None of the estimates has the contrast or the edges of the body,
# which gravity does not resolve.
#
# A report collects data, section and assumptions on one page, and lists what to doubt.

report = skgrav.report(inverters["with depth weighting"], data, title="A first inversion")
report.save(output / "first_inversion.html")
for finding in report.findings:
    print(f"{finding.severity}: {finding.what} ({finding.value})")
