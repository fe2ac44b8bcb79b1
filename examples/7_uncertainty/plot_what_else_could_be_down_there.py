"""
Posterior samples: other sections that fit the data
===================================================

An inversion returns one section, but many others fit the data as well. This example draws
geologically plausible sections, each with the measured gravity, and compares them with the true
one. Their distribution gives the uncertainty of the density, and the profile that a borehole is
expected to find.
"""

import os
from pathlib import Path

import numpy as np

from skgrav import AnalogueInverter, BayesLinearInverter, Mesh, Survey
from skgrav.datasets import make_gravity_dataset
from skgrav.metrics import chi_factor, crps, interval_coverage, relative_l2_error
from skgrav.plotting import CalibrationDisplay, PosteriorDisplay, SampleGalleryDisplay

# %%
# The prior
# ---------
# The prior is a library of 20,000 random sections of nine families: layers, folds, faults, basins,
# salt domes, intrusions. Densities are contrasts of -300 to 300 kg/m3 to the rock around the
# section, which is 4 km long and 2 km deep. gz is measured every 62.5 m, over three times that
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
# The true section is a salt dome that is not one of those in the library. Mean and standard
# deviation are those of a hundred samples. The third panel shows the probability that the rock is
# denser than its surroundings. The last is the expected profile of a hole at x = 700 m: the bands
# should contain the true density in one cell of two, and in nine of ten.

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
# The probability of any property of the section is its frequency among the samples. Rock between
# 700 and 1300 m is denser than the surroundings unless it is salt. Where is a hole likely to find
# light rock?

at_depth = (mesh.centers[0] > 700) & (mesh.centers[0] < 1300)
light = (mesh.unflatten(draws[0].T)[:, at_depth] < -50).any(axis=1).mean(axis=0)
best = mesh.centers[1][light.argmax()]
print(f"light rock                with probability {light.max():.2f} at x = {best:.0f} m,")
print(f"                          {light[0]:.2f} and {light[-1]:.2f} at the ends of the profile")

# %%
# The samples
# -----------
# All of these sections have the gravity of the first, to within the noise. The features that they
# share are determined by the data: light rock above dense rock, and less mass around x = 600 m. The
# data do not distinguish between a dome, a basin, a fold and a change within a layer. Some samples
# are nearly mirror images of others: the library has both, and the correction shifts the mass to
# fit the data. It is smooth, since the data do not resolve sharp structure. Flat layers therefore
# fit by a change of density along them, and keep their interfaces.

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
# Calibration
# -----------
# Calibration is tested on 200 other sections: intervals of any level should contain their nominal
# share of the true densities, and the ranks of the truth among the samples should be uniform. The
# posterior of a Gaussian with the mean and covariance of the library is shown for comparison.

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
# Bands of 90 % are calibrated for both. Those of 50 % are too wide for the Gaussian, whose samples
# are also rough, as `PosteriorDisplay` shows, whereas geology has few densities with sharp
# interfaces. The histograms are those of the analogues. Intervals that are calibrated for all
# sections together need not be calibrated for each kind of geology, and are not valid for kinds
# that are not in the library.
