"""
What a network learns beyond the linear estimate
================================================

The best linear estimate uses the mean and the covariance of the training sections. The default
network starts from it and adds a nonlinear correction, which depends on the kind of section that
the data indicate.
"""

import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from skgrav import BayesLinearInverter, CNNInverter, Mesh
from skgrav.datasets import make_gravity_dataset
from skgrav.metrics import relative_l2_error

# %%
# Both estimates
# --------------
# The network that comes with the library was trained on 600,000 sections of nine families and their
# mirror images, in the paper's geometry, with noise of all levels up to a tenth. The linear
# estimate takes mean and covariance from 5000 sections.

mesh = Mesh.square(50)
train = make_gravity_dataset(5000, mesh=mesh, random_state=0)
linear = BayesLinearInverter(operator=train.operator).fit(train.data, train.target)
network = CNNInverter.from_pretrained()

# %%
# Compare on sections outside both training sets
# ----------------------------------------------

NOISE = 0.001
test = make_gravity_dataset(900, mesh=mesh, noise_level=NOISE, random_state=1)
estimates = {
    "mean section": np.broadcast_to(train.target.mean(axis=0), test.target.shape),
    "linear": linear.predict(test.data, noise_level=NOISE),
    "network": network.predict(test.data, noise_level=NOISE),
}
families = np.unique(test.family)
errors = {
    name: relative_l2_error(test.target, rho, multioutput="raw_values")
    for name, rho in estimates.items()
}
print(f"{'error':16s}" + "".join(f"{name:>14s}" for name in estimates))
for family in families:
    row = [error[test.family == family].mean() for error in errors.values()]
    print(f"{family:16s}" + "".join(f"{value:14.3f}" for value in row))
print(f"{'all':16s}" + "".join(f"{error.mean():14.3f}" for error in errors.values()))

# %%
# What the network adds
# ---------------------
# The last column is the difference between the estimate of the network and the linear one.

figure, axes = plt.subplots(
    3, 4, figsize=(10.5, 7.5), sharex=True, sharey=True, layout="compressed"
)
z, x = mesh.edges
for row, family in zip(axes, ("dykes", "salt_domes", "faults"), strict=True):
    gain = np.where(test.family == family, errors["linear"] - errors["network"], -np.inf)
    i = np.argsort(gain)[-3]  # among the clear ones
    sections = {
        f"truth, {family.replace('_', ' ')}": test.target[i],
        f"linear, error {errors['linear'][i]:.2f}": estimates["linear"][i],
        f"network, error {errors['network'][i]:.2f}": estimates["network"][i],
    }
    for axis, (name, rho) in zip(row, sections.items(), strict=False):
        image = axis.pcolormesh(x, z, mesh.unflatten(rho), vmin=0, vmax=12)
        axis.set(ylim=(z[-1], z[0]), aspect="equal", title=name)
    added = mesh.unflatten(estimates["network"][i] - estimates["linear"][i])
    change = row[3].pcolormesh(x, z, added, vmin=-3, vmax=3, cmap="RdBu_r")
    row[3].set(aspect="equal", title="what it adds")
    row[0].set_ylabel("depth (m)")
figure.colorbar(image, ax=axes[:, 2], label="density", shrink=0.6)
figure.colorbar(change, ax=axes[:, 3], label="density", shrink=0.6)

output = Path(os.environ.get("SKGRAV_PICTURES", "."))
figure.savefig(output / "beyond_the_linear_estimate.png", dpi=100)
