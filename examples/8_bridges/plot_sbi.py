"""
A posterior with sbi
====================

sbi [1]_ estimates a posterior from simulations, by a network whose output for given data is a
distribution of the parameters, of any shape. Here the parameters are codes of a generator, and the
posterior is compared with the Gaussian one of `LatentInverter`, which uses the operator and needs
no training.

.. [1] Boelts et al. (2025), sbi reloaded: a toolkit for simulation-based inference workflows,
   Journal of Open Source Software, doi:10.21105/joss.07754.
"""

import os
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import torch
from sbi.inference import NPE
from sbi.utils.tracking import TensorBoardTracker
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from torch.utils.tensorboard import SummaryWriter

from skgrav import LatentInverter, Mesh, Survey
from skgrav.bridges import CodeSimulator
from skgrav.datasets import make_gravity_dataset
from skgrav.metrics import crps, energy_score, interval_coverage

# %%
# Sections, their gravity with noise of 2 %, and a generator with codes of 12 components.

mesh = Mesh.square(16)
survey = Survey.line(mesh, n_stations=32, components=("z",))
dataset = make_gravity_dataset(2060, mesh=mesh, survey=survey, noise_level=0.02, random_state=0)
operator = dataset.operator
X_train, X_test = dataset.data[:2000], dataset.data[2000:]
y_train, y_test = dataset.target[:2000], dataset.target[2000:]
pca = PCA(12).fit(y_train)

# %%
# The simulator decodes codes, computes their gravity and adds noise. `pairs` returns the codes of
# training sections with the data of the sections themselves. The part of a section that 12
# components cannot represent is thus an error of the data, as in `LatentInverter`.

simulator = CodeSimulator(pca, operator, noise_level=0.02)
prior = simulator.prior(y_train)
theta, x = simulator.pairs(y_train, random_state=0)

# %%
# sbi trains a masked autoregressive flow, here for a few seconds only. More sections and epochs
# would improve it.

torch.manual_seed(0)
logs = TemporaryDirectory()  # otherwise they would remain in the working directory
tracker = TensorBoardTracker(SummaryWriter(logs.name))
trainer = NPE(prior, density_estimator="maf", tracker=tracker, show_progress_bars=False)
trainer.append_simulations(theta, x)
warnings.filterwarnings("ignore", message="Maximum number of epochs")
trainer.train(max_num_epochs=25, training_batch_size=100, learning_rate=1e-3)
posterior = trainer.build_posterior()

# %%
# Draw densities for unseen data from both posteriors. The posterior of `LatentInverter` is Gaussian
# in the codes, and its samples are corrected to fit the data to their noise.

draws = {"sbi": simulator.sample_y(posterior, X_test, 100)}
latent = LatentInverter(FrozenEstimator(pca), operator=operator, noise_level=0.02)
draws["LatentInverter"] = latent.fit(X_train, y_train).sample_y(X_test, 100)

print("                coverage of 50 %  90 %   CRPS   energy score")
for name, rho in draws.items():
    shares = interval_coverage(y_test, rho)
    scores = crps(y_test, rho), energy_score(y_test, rho)
    print(f"{name:15s} {shares[0]:16.2f} {shares[1]:5.2f} {scores[0]:6.3f} {scores[1]:10.3f}")

# %%
# The true density of one of the sections, with mean, standard deviation and three samples of both
# posteriors.

shown = 4
figure, axes = plt.subplots(2, 6, figsize=(13, 4.6), layout="constrained")
edges = mesh.edges[1], mesh.edges[0]
low, high = y_train.min(), y_train.max()


def draw(axis, rho, title, **limits):
    """Draw a section, depth down."""
    image = axis.pcolormesh(*edges, mesh.unflatten(rho), **limits)
    axis.set(title=title, aspect="equal", xticks=[], yticks=[])
    axis.invert_yaxis()
    return image


for row, (name, rho) in zip(axes, draws.items(), strict=True):
    one = rho[shown]
    draw(row[0], y_test[shown], "truth", vmin=low, vmax=high)
    draw(row[1], one.mean(axis=1), "mean", vmin=low, vmax=high)
    spread = draw(row[2], one.std(axis=1), "standard deviation", cmap="magma", vmin=0, vmax=3)
    for axis, k in zip(row[3:], range(3), strict=True):
        density = draw(axis, one[:, k], f"draw {k + 1}", vmin=low, vmax=high)
    row[0].set_ylabel(name)
figure.colorbar(spread, ax=axes[:, 2], location="bottom", label="standard deviation")
figure.colorbar(density, ax=axes[:, 3:], location="bottom", label="density")
output = Path(os.environ.get("SKGRAV_PICTURES", "."))
figure.savefig(output / "sbi.png", dpi=100)

# %%
# Both means show the dense block in the upper left, the Gaussian one more clearly. The samples of
# `LatentInverter` also fit the data to their noise, since the smallest change of density that fits
# is added to the decoded sections; samples of sbi are decoded sections without such a change.
# Intervals of both are too narrow, for the same reason: the variation that 12 components cannot
# represent is missing.
#
# If generator and operator are linear and the noise is Gaussian, as here, the Gaussian posterior is
# exact for a Gaussian prior of codes, and needs no training. sbi needs only simulations, but no
# derivatives and no likelihood. For a nonlinear generator, noise with outliers, or a simulation by
# another program, only the simulator changes.
