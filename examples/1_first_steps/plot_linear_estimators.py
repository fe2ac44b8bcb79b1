"""
Linear estimates: trade-off parameter and uncertainty
=====================================================

Two linear estimates with which to compare every network. That of Tikhonov needs no training
sections, and chooses its trade-off parameter for each sample: by the noise, by generalised
cross-validation, or at the corner of the L-curve. The best linear estimate uses the mean and
covariance of the training densities, and has a posterior standard deviation.
"""

import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from skgrav import BayesLinearInverter, Mesh, TikhonovInverter
from skgrav.datasets import make_gravity_dataset
from skgrav.metrics import relative_l2_error
from skgrav.plotting import DensityDisplay, LCurveDisplay

# %%
# Data with 1 % noise
# -------------------

mesh = Mesh.square(24)
NOISE = 0.01
train = make_gravity_dataset(2000, mesh=mesh, random_state=0)
test = make_gravity_dataset(100, mesh=mesh, noise_level=NOISE, random_state=1)
section = int(np.flatnonzero(test.family == "intrusions")[0])

# %%
# Three ways to choose alpha
# --------------------------

# sphinx_gallery_defer_figures

figure, axes = plt.subplots(2, 3, figsize=(13, 7.5), layout="constrained")
for axis, criterion in zip(axes[0], ("discrepancy", "gcv", "lcurve"), strict=True):
    tikhonov = TikhonovInverter(criterion, order=1, noise_level=NOISE, operator=test.operator)
    rho = tikhonov.fit(test.data).predict(test.data)
    LCurveDisplay.from_estimator(tikhonov, test.data, sample=section, ax=axis)
    error = relative_l2_error(test.target, rho)
    axis.set_title(f"{criterion}, error {error:.3f} over 100 sections")
    print(f"Tikhonov, first order, by {criterion:12s} error {error:.3f}")

# %%
# Mean and uncertainty
# --------------------
# The standard deviation is the uncertainty that remains under this prior: small at the top, and
# nearly that of the prior at depth.

linear = BayesLinearInverter(NOISE, operator=test.operator).fit(train.data, train.target)
rho, std = linear.predict(test.data, return_std=True)
inside = np.mean(np.abs(test.target - rho) < 1.645 * std)
print(f"Best linear estimate{'':20s} error {relative_l2_error(test.target, rho):.3f}")
print(f"Share of cells within the 90 % interval: {inside:.3f}")

DensityDisplay.from_predictions(
    test.target,
    {"best linear estimate": rho},
    std=std,
    operator=test.operator,
    sample=section,
    difference=False,
    ax=axes[1],
)

output = Path(os.environ.get("SKGRAV_PICTURES", "."))
figure.savefig(output / "linear_estimators.png", dpi=80)
