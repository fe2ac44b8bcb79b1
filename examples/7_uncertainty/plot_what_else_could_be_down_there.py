"""
What else could be down there
=============================

An inversion returns one section, and many others fit the data as well. Here they are drawn:
sections of plausible geology, each of which has the measured gravity, beside the true one. Together
they answer what a single section cannot: how sure a density is, and what a borehole would meet.
"""

import os
from pathlib import Path

import numpy as np

from skgrav import AnalogueInverter, BayesLinearInverter, Mesh, Survey
from skgrav.datasets import make_gravity_dataset
from skgrav.metrics import chi_factor, crps, interval_coverage, relative_l2_error
from skgrav.plotting import CalibrationDisplay, PosteriorDisplay, SampleGalleryDisplay

# %%
# What is known before
# --------------------
# The prior is a library of 20,000 random sections of nine families: layers, folds, faults, basins,
# salt domes, intrusions. Densities are contrasts of -300 to 300 kg/m3 to those of the rock around
# the section, which is 4 km long and 2 km deep. gz is measured every 62.5 m, over three times that
# length, with noise of 1 % of its rms.

NOISE = 0.01
mesh = Mesh.regular((32, 64), 62.5)
survey = Survey.line(mesh, components="z")
geology = {"mesh": mesh, "survey": survey, "density_range": (-300, 300), "units": "mGal"}
library = make_gravity_dataset(20_000, random_state=0, **geology)
test = make_gravity_dataset(300, noise_level=NOISE, random_state=1, **geology)

# %%
# The inverter takes the sections of the library, and their mirror images, whose gravity is nearest
# to the data, and corrects each so that it fits them to their noise.

inverter = AnalogueInverter(
    100, noise_level=NOISE, operator=library.operator, augment="mirror", precision="float16"
).fit(library.data, library.target)

# %%
# One section
# -----------
# The truth is a salt dome, which the inverter does not know. Mean and standard deviation are those
# of a hundred draws. The third panel asks a question of them: with which probability is the rock
# denser than the rock around? The last is what a hole at x = 700 m is expected to meet: the bands
# hold the true density in one cell of two, and in nine of ten.

SAMPLE, HOLE = 25, 700.0
g, truth = test.data[[SAMPLE]], test.target[[SAMPLE]]
draws = inverter.sample_y(g, n_samples=100)
output = Path(os.environ.get("SKGRAV_PICTURES", "."))
display = PosteriorDisplay.from_predictions(
    truth, draws, operator=library.operator, threshold=0.0, x=HOLE
)
display.figure_.savefig(output / "posterior.png", dpi=100)

errors = relative_l2_error(np.repeat(truth, 100, axis=0), draws[0].T, multioutput="raw_values")
chi = chi_factor(
    library.operator,
    draws[0].T,
    np.repeat(g, 100, axis=0),
    noise_level=NOISE,
    multioutput="raw_values",
)
print(f"chi factors of 100 draws  {chi.min():.2f} to {chi.max():.2f}")
print(f"errors of 100 draws       {errors.min():.2f} to {errors.max():.2f}")
print(f"error of their mean       {relative_l2_error(truth, draws.mean(axis=2)):.2f}")

# %%
# Any question of the section is answered by asking it of each draw. Rock between 700 and 1300 m is
# denser than the surroundings unless it is salt: where is a hole likely to find lighter one?

at_depth = (mesh.centers[0] > 700) & (mesh.centers[0] < 1300)
light = (mesh.unflatten(draws[0].T)[:, at_depth] < -50).any(axis=1).mean(axis=0)
best = mesh.centers[1][light.argmax()]
print(f"light rock                with probability {light.max():.2f} at x = {best:.0f} m,")
print(f"                          {light[0]:.2f} and {light[-1]:.2f} at the ends of the profile")

# %%
# More of them
# ------------
# All of these have the gravity of the first, to its noise. What they share is what the data tell:
# light rock above dense rock, and less mass around x = 600 m. Whether that is a dome, a basin, a
# fold or a change within a layer they do not tell. Some draws are nearly mirror images of others:
# the library has both, and the correction moves the mass to where the data want it. It is smooth,
# since nothing in the data is sharp. So flat layers fit by a change of density along them, and keep
# their bounds.

shown = np.vstack([truth, draws[0].T[:11]])
titles = ["truth", *(f"draw {k + 1}" for k in range(11))]
rows = {"truth and draws": slice(6), "further draws": slice(6, 12)}
gallery = SampleGalleryDisplay(
    {name: shown[some] for name, some in rows.items()},
    mesh=mesh,
    titles={name: titles[some] for name, some in rows.items()},
    limits=(-300.0, 300.0),
).plot()
gallery.figure_.savefig(output / "posterior_draws.png", dpi=100)

# %%
# Do the bands hold?
# ------------------
# On 200 other sections, as always with posteriors: intervals of any level should contain as many of
# the true densities as they promise, and the ranks of the truth among the draws should be even. The
# posterior of a Gaussian with the mean and covariance of the library is the yardstick.

linear = BayesLinearInverter(NOISE, operator=library.operator, store_covariance=True)
linear.fit(library.data, library.target)
some = slice(100, 300)
X, y = test.data[some], test.target[some]
drawn = {"analogues": inverter.sample_y(X, 49), "Gaussian": linear.sample_y(X, 49)}
for name, samples in drawn.items():
    half, most = interval_coverage(y, samples)
    score = crps(y, samples)
    print(f"{name:10s} CRPS {score:.1f} kg/m3, cover of 50 % {half:.2f}, of 90 % {most:.2f}")
calibration = CalibrationDisplay.from_predictions(y, drawn, mesh=mesh)
calibration.figure_.savefig(output / "posterior_calibration.png", dpi=100)

# %%
# Bands of 90 % hold for both. Those of 50 % are too wide for the Gaussian, whose draws are speckle
# besides, as `PosteriorDisplay` shows of it: rock has few densities, with sharp bounds. The
# histograms are those of the analogues. Intervals that hold for all sections together need not hold
# for each kind of geology, and nothing is promised for kinds that the library does not have.
