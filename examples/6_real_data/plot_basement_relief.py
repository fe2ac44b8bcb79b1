"""
Depth of an interface: the Moho below a margin
==============================================

If sediments overlie a basement, or crust the mantle, the unknown is not a density in each cell but
the depth of one interface. Here it is the Moho below the measured profile of the Pelotas margin,
for which a section was published [1]_. Water, sediments and volcanics are taken from that section;
the Moho is estimated.

.. [1] Bastos and Oliveira Jr. (2020), Geophysics, doi:10.1190/geo2018-0772.1
"""

import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.utils import Bunch

from skgrav import ForwardOperator, Mesh, ReliefInverter, Survey
from skgrav.datasets import fetch_pelotas_profile, pelotas_section

# %%
# Gravity of what is known
# ------------------------
# With the Moho at its reference depth everywhere, the published section consists of water,
# sediments, volcanics and the oceanic crust. Their gravity is subtracted. The remaining data are
# the gravity of the Moho, an unknown base level, and errors, which we estimate as 4 mGal. Columns
# of 300 km beyond both ends represent the rest of the Earth.

profile = fetch_pelotas_profile()
x_edges = np.r_[-300e3, np.linspace(0, 383e3, 150), 683e3]
mesh = Mesh([np.linspace(0, 60e3, 121), x_edges])
survey = Survey(profile.survey.stations, "z", uncertainty=4.0, trend=0)
operator = ForwardOperator(mesh, survey).fit()

flat = np.full_like(profile.moho, profile.reference_moho)
stripped = Bunch(**{**profile, "moho": flat})
without_moho = operator.transform(pelotas_section(stripped, mesh)[None])
observed = profile.data[None] - without_moho

density = profile.densities
oceanic = mesh.centers[1] >= profile.oceanic_from
crust = np.where(oceanic, density["oceanic_crust"], density["continental_crust"])

# %%
# Invert
# ------
# The contrast is the density of the rock above less that of the rock below, crust less mantle. The
# initial interface is computed from Bouguer slabs about the reference; the result is the smoothest
# interface that fits the data. Two depths of the published Moho are used as if they were known to 1
# km, for example from seismic refraction.

known = np.searchsorted(profile.x, [40e3, 360e3])
points = np.column_stack([profile.moho, profile.x])[known]
results = {}
for name, wells in {"gravity alone": None, "with two known depths": points}.items():
    inverter = ReliefInverter(
        crust - density["mantle"],
        reference=profile.reference_moho,
        wells=wells,
        wells_std=1e3,
        operator=operator,
    ).fit(observed)
    results[name] = inverter.invert(observed)
    depth, std = (v[0, 1:-1] for v in (results[name].depth, results[name].depth_std))
    off = depth - profile.moho
    print(
        f"{name:22s} {results[name].n_iter[0]} iterations, chi {results[name].chi_factor[0]:.2f}, "
        f"deeper than published by {-off.mean() / 1e3:+.1f} +- {off.std() / 1e3:.1f} km, "
        f"stated std {std.mean() / 1e3:.1f} km"
    )

# %%
# Data and depths
# ---------------
# Top: the data without the gravity of the known rock, and the gravity of the Moho. Bottom: the Moho
# with one standard deviation, and the published Moho in black.

figure, axes = plt.subplots(
    2, 1, figsize=(8, 7), sharex=True, layout="constrained", height_ratios=(2, 3)
)
x = profile.x / 1e3
axes[0].plot(x, observed[0], "k.", markersize=3, label="observed, without the known rock")
for (name, result), colour in zip(results.items(), ("tab:orange", "tab:blue"), strict=True):
    predicted = operator.transform(result.rho)[0] + result.trend.values[0]
    depth, std = (v[0, 1:-1] / 1e3 for v in (result.depth, result.depth_std))
    axes[0].plot(x, predicted, color=colour, label=name)
    axes[1].plot(x, depth, color=colour, label=name)
    if name != "gravity alone":
        axes[1].fill_between(x, depth - std, depth + std, color=colour, alpha=0.2, linewidth=0)
axes[0].set_ylabel("gz [mGal]")
axes[1].plot(x, profile.moho / 1e3, "k", label="published")
axes[1].plot(x[known], points[:, 0] / 1e3, "kD", markersize=5, label="known depths")
axes[1].fill_between(x, profile.bathymetry / 1e3, color="lightblue", linewidth=0)
axes[1].fill_between(
    x, profile.bathymetry / 1e3, profile.basement / 1e3, color="wheat", linewidth=0
)
axes[1].axhline(profile.reference_moho / 1e3, color="grey", linestyle=":", label="reference")
axes[1].set(xlabel="x [km]", ylabel="depth [km]", xlim=(0, 383), ylim=(48, 0))
for axis in axes:
    axis.legend(fontsize="small")

output = Path(os.environ.get("SKGRAV_PICTURES", "."))
figure.savefig(output / "basement_relief.png", dpi=100)

# %%
# What gravity determines of the Moho
# -----------------------------------
# The data determine its shape: the rise by 17 km from the shelf to the ocean, within 1.3 km of the
# published Moho. With an uncertainty of 4 mGal, the data do not require the undulations of the
# latter. They do not determine the mean depth, which trades off with the free base level and is
# uncertain by kilometres, as the standard deviation shows; two known depths fix it. Errors of the
# subtracted sediments cause errors of the Moho.
