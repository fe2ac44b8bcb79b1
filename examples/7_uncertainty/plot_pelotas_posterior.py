"""
A measured profile: which other sections have its gravity
=========================================================

Gravity over the Pelotas margin was published with a section of the crust [1]_. Which other sections
of such a margin have the same gravity? Where do the published interfaces lie among theirs, and what
would a borehole change?

.. [1] Bastos and Oliveira Jr. (2020), Geophysics, doi:10.1190/geo2018-0772.1
"""

import os
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import gaussian_filter1d

from skgrav import AnalogueInverter, CellValues, ForwardOperator, JointOperator, Mesh, Survey
from skgrav.datasets import fetch_pelotas_profile, pelotas_section
from skgrav.plotting import SampleGalleryDisplay

# %%
# Data and geometry
# -----------------
# 149 stations, whose gz has an unknown level, a trend of degree 0. The published section leaves a
# residual of 6.4 mGal, so that much is granted here to what a section of four rocks cannot explain.
# Columns are 5.1 km wide, and the outermost go on for 300 km.

NOISE = 6.4
profile = fetch_pelotas_profile()
columns = np.linspace(0, 383e3, 76)
x = (columns[:-1] + columns[1:]) / 2
x_edges = columns + np.r_[-300e3, np.zeros(74), 300e3]
z_edges = np.r_[np.arange(0, 10_000, 500), np.linspace(10_000, 43_200, 21)]
mesh = Mesh([z_edges, x_edges])
survey = Survey(profile.survey.stations, "z", uncertainty=NOISE, trend=0)
gravity = ForwardOperator(mesh, survey).fit()

# %%
# The prior
# ---------
# What we take for possible before we look at gravity, in words: the water is known. Below are
# sediments of one density, 2350 kg/m3 give or take 60, on average 0.5 to 7.5 km thick, with changes
# along the profile over some 30 km. The crust has 2870 give or take 15, volcanics included, whose
# density is nearly the same. The Moho is where isostasy puts it, up to a smooth deviation of 0.5 to
# 4 km; but how deep it is below land without sediments is only known to within 34 and 44 km.
# Densities are contrasts to the reference Earth of the published section.
#
# `make_margin_models` puts that depth at the published 43.2 km. Most of the published Moho, up to
# 9 km above where isostasy then has it, would be impossible: a posterior holds under its prior.

WATER, CRUST, MANTLE = 1030.0, 2870.0, 3240.0
water = np.interp(x, profile.x, profile.bathymetry)


def below(depth):
    """Return the share of each cell below an interface, (n, nz, nx)."""
    top, bottom = z_edges[:-1, None], z_edges[1:, None]
    return np.clip((bottom - depth[:, None]) / (bottom - top), 0, 1)


def make_margins(n, seed):
    """Draw density contrasts of n sections."""
    rng = np.random.default_rng(seed)

    def uniform(low, high):
        return rng.uniform(low, high, size=(n, 1))

    def smooth(length):
        curves = gaussian_filter1d(rng.normal(size=(n, 3 * x.size)), length / 5.1e3, axis=1)
        return curves[:, x.size : -x.size] / curves.std()

    sediments = uniform(500, 7500) * np.clip(1 + uniform(0.1, 0.6) * smooth(30e3), 0.05, None)
    sediment, crust = rng.normal(2350, 60, size=(n, 1)), rng.normal(CRUST, 15, size=(n, 1))
    base = water + sediments
    deficit = (CRUST - WATER) * water + (CRUST - sediment) * sediments
    moho = uniform(34e3, 44e3) - deficit / (MANTLE - CRUST) + uniform(500, 4000) * smooth(50e3)
    moho = np.maximum(moho, base + 4000)
    rho = (
        (WATER - CRUST)
        + (sediment - WATER)[:, None] * below(np.broadcast_to(water, base.shape))
        + (crust - sediment)[:, None] * below(base)
        + (MANTLE - crust)[:, None] * below(moho)
    )
    return rho.reshape(n, -1).astype(np.float32)


library, others = make_margins(30_000, 0), make_margins(100, 1)

# %%
# With and without a hole
# -----------------------
# Nobody drilled it: a hole on the shelf, at x = 62 km and 4.5 km deep. Its log is what the
# published section has there, sediments down to 3.6 km and volcanics below. A cell of 5 km is not
# the rock at the wall of a hole, so its density is believed to 50 kg/m3 only. Gravity and log are
# data of one operator, and the library is the same for both.

HOLE = 62e3
published = pelotas_section(profile, mesh)
depth = np.arange(250.0, 4500.0, 50.0)
there = mesh.unflatten(published)[:, np.searchsorted(x_edges, HOLE) - 1]
values = there[np.searchsorted(z_edges, depth) - 1]
log, averages = CellValues.along(mesh, depth, values=values, at=HOLE, uncertainty=50.0)
joint = JointOperator([gravity, log]).fit()
data = {
    "gravity": (gravity, profile.data),
    "gravity and hole": (joint, np.concatenate([profile.data, averages])),
}

# %%
# Interfaces are read from a section by the density half way between those of the layers: below is
# nothing lighter. Between the centres of cells they are interpolated.

THRESHOLDS = {"base of the sediments": -260.0, "Moho": 185.0}
known = {
    "base of the sediments": np.interp(x, profile.x, profile.toi) / 1e3,
    "Moho": np.interp(x, profile.x, profile.moho) / 1e3,
}


def interface(rho, name):
    """Return the depth in km of an interface in each column of sections, (..., nx)."""
    images, threshold = mesh.unflatten(rho), THRESHOLDS[name]
    n_layers = len(mesh.centers[0])
    last = n_layers - 1 - np.argmax(images[..., ::-1, :] < threshold, axis=-2)
    last = np.minimum(last, n_layers - 2)[..., None, :]
    above, under = (np.take_along_axis(images, k, axis=-2)[..., 0, :] for k in (last, last + 1))
    z, step = mesh.centers[0][last[..., 0, :]], np.diff(mesh.centers[0])[last[..., 0, :]]
    return (z + step * np.clip((threshold - above) / (under - above + 1e-9), 0, 1)) / 1e3


def band(sections, name):
    """Return the quantiles 0.05, 0.5 and 0.95 of the depth of an interface among sections."""
    return np.quantile(interface(sections, name), [0.05, 0.5, 0.95], axis=-2, method="weibull")


def inside(depths, found):
    """Return the share of depths within bands."""
    return np.mean((found[0] <= depths) & (depths <= found[2]))


# %%
# Draws of the posterior are the sections of the library whose data are nearest, corrected to fit.
# Whether bands hold is measured on a hundred other sections of the prior, each with its own gravity
# and log. Those of densities are made to hold; depths of interfaces are another matter.
#
# The measured data are unusual for this prior, which has no volcanics of their own density and no
# structure along the margin: `applicability` says how unusual, and `sample_y` would warn. Bands
# hold for data that are not.

near = np.abs(x - HOLE) < 20e3
draws = {"prior": library[:1000]}
bands = {("prior", name): band(draws["prior"], name) for name in THRESHOLDS}
covers = {}
for source, (operator, observed) in data.items():
    inverter = AnalogueInverter(operator=operator, precision="float16")
    inverter.fit(operator.transform(library), library)
    p_value = inverter.applicability(observed[None])[0]
    print(f"{source}: p-value of the measured data {p_value:.2g}")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*unlike the training data")
        draws[source] = inverter.sample_y(observed[None], 49)[0].T
    noise = np.full(len(observed), NOISE)
    noise[len(profile.data) :] = 50.0
    X = operator.transform(others)
    X += noise * np.random.default_rng(2).normal(size=X.shape)
    of_others = inverter.sample_y(X, 49).swapaxes(1, 2)
    for name in THRESHOLDS:
        bands[source, name] = band(draws[source], name)
        covers[source, name] = inside(interface(others, name), band(of_others, name))

print("bands of 90 %: mean width in km, within 20 km of the hole, and share of depths inside")
print("                                         width  near   published   other sections")
for (source, name), found in bands.items():
    width = found[2] - found[0]
    cover = f"{covers[source, name]:.2f}" if source in data else "-"
    print(
        f"{source:16s} {name:22s} {width.mean():6.1f} {width[near].mean():5.1f} "
        f"{inside(known[name], found):11.2f} {cover:>16s}"
    )

# %%
# Look
# ----
# Black: published. Colours: medians and bands of 90 %.

figure, axes = plt.subplots(2, 1, figsize=(9, 7.5), sharex=True, sharey=True, layout="constrained")
for axis, source in zip(axes, data, strict=True):
    axis.fill_between(x / 1e3, 0, water / 1e3, color="0.85", label="water")
    for name, colour in zip(THRESHOLDS, ("C1", "C2"), strict=True):
        low, middle, high = bands[source, name]
        axis.fill_between(x / 1e3, low, high, color=colour, alpha=0.3, linewidth=0)
        axis.plot(x / 1e3, middle, color=colour, label=name)
        axis.plot(x / 1e3, known[name], "k", linewidth=1)
    axis.set(title=source, ylabel="depth (km)", ylim=(43.2, 0), xlim=(0, 383))
axes[1].plot([HOLE / 1e3] * 2, [water[near].mean() / 1e3, 4.5], "k", linewidth=3)
axes[1].set_xlabel("x (km)")
axes[0].legend(loc="lower right", fontsize="small")
output = Path(os.environ.get("SKGRAV_PICTURES", "."))
figure.savefig(output / "pelotas_bands.png", dpi=100)

shown = {"prior": np.vstack([published, library[:3]])}
shown |= {source: draws[source][:4] for source in data}
display = SampleGalleryDisplay(
    shown, mesh=mesh, titles={"prior": ["published", *["drawn"] * 3]}, limits=(-600.0, 600.0)
).plot()
for axis in filter(None, display.axes_.ravel()):
    axis.set_xlim(0, 383)
display.figure_.savefig(output / "pelotas_draws.png", dpi=100)

# %%
# What it tells
# -------------
# The published interfaces lie within the bands of gravity alone almost everywhere, and so do many
# others: gravity takes a fifth off what was known of the sediments and of the Moho before. Each
# hides behind the other, and the unknown level of the data behind both. The exception is the Moho
# near x = 140 km, which rises more steeply than any of these sections.
#
# The hole tells the base of the sediments to within a kilometre for 20 km around it, far beyond its
# wall, since it varies over some 30 km, and by gravity narrows it along the whole profile. It
# hardly tells the Moho. Between 120 and 170 km the published sediments are now too thick: they
# deepen there by more than changes over 30 km, a single density and near isostasy allow. Either
# that part of the prior is wrong, or the published base is. Of the other sections, for which the
# prior is right, the bands hold.
#
# The correction that makes a section fit is smooth: where it has much to do, clouds appear in the
# crust. A larger library would leave less to it.
