"""
Refining must stop at the noise
===============================

A network's estimate fits the data only roughly. Refining improves the fit, but for noisy data it
also fits the noise, unless it is stopped by the discrepancy principle, when the residual is as
large as the noise, instead of by a small tolerance.
"""

import os
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skgrav import CNNInverter, Mesh
from skgrav.datasets import make_gravity_dataset
from skgrav.metrics import chi_factor, relative_l2_error
from skgrav.solvers import CGLS

# %%
# A network's estimate as the start
# ---------------------------------
# The estimate of the paper's network, after a short training, for data with 1 % noise.

NOISE = 0.01
mesh = Mesh.square(24)
train = make_gravity_dataset(2000, mesh=mesh, random_state=0)
test = make_gravity_dataset(100, mesh=mesh, noise_level=NOISE, random_state=1)
operator = test.operator
network = CNNInverter(
    "paper",
    operator=operator,
    max_epochs=8,
    batch_size=50,
    training_noise=(0.0, 0.02),
    random_state=0,
)
start = network.fit(train.data, train.target).predict(test.data)

# %%
# Error and misfit after each iteration
# -------------------------------------
# Least squares by conjugate gradients, stopped after 1, 2, 3 ... iterations. The true density and
# the noise are known here, so that the error of the density can be compared with the chi factor:
# the mean square of the residuals over that of the noise.

warnings.simplefilter("ignore", ConvergenceWarning)  # iterations are cut short on purpose
iterations = np.unique(np.geomspace(1, 300, 24).astype(int))
errors, chis = [], []
for n in iterations:
    rho = CGLS(max_iter=int(n), tol=1e-12).solve(operator, test.data, start).rho
    errors.append(relative_l2_error(test.target, rho))
    chis.append(chi_factor(operator, rho, test.data, noise_level=NOISE))

# %%
# If the noise is stated, the solver stops automatically, in a different iteration for each sample.

sigma = NOISE * np.sqrt(np.mean(test.data**2, axis=1, keepdims=True))
told = CGLS().solve(operator, test.data, start, sigma=sigma)
error_start, error_told = (relative_l2_error(test.target, rho) for rho in (start, told.rho))
chi_start = chi_factor(operator, start, test.data, noise_level=NOISE)
chi_told = chi_factor(operator, told.rho, test.data, noise_level=NOISE)
print(f"start           error {error_start:6.3f}   chi factor {chi_start:5.2f}")
print(f"noise stated    error {error_told:6.3f}   chi factor {chi_told:5.2f}")
print(f"iteration {iterations[-1]:3d}   error {errors[-1]:6.3f}   chi factor {chis[-1]:5.2f}")

figure, axes = plt.subplots(2, 1, figsize=(6.5, 6), sharex=True, layout="constrained")
for axis, values, level, label in (
    (axes[0], errors, error_told, "relative L2 error of the density"),
    (axes[1], chis, chi_told, "chi factor of the data"),
):
    axis.loglog(iterations, values, "o-", label="stopped at this iteration")
    axis.axhline(level, color="C1", label="noise stated")
    axis.set_ylabel(label)
axes[0].axhline(error_start, color="0.5", ls=":", label="start")
axes[1].axhline(1, color="0.5", ls="--", label="residuals as large as the noise")
axes[1].set_xlabel("iteration")
for axis in axes:
    axis.legend(fontsize="small")

output = Path(os.environ.get("SKGRAV_PICTURES", "."))
figure.savefig(output / "stopping_at_the_noise.png", dpi=100)
