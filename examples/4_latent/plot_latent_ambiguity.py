"""
Non-uniqueness in latent space
==============================

Gravity alone does not determine a section: searches that start from different codes end in
different sections, which fit the data about equally well, as in Figure 9 of the paper [1]_. Here
the sections are split into the parts that the data do and do not determine.

.. [1] Negahdari et al. (2025), arXiv:2510.09632.
"""

import os
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator

from skgrav import LatentInverter, Mesh, VAEGenerator
from skgrav.datasets import make_gravity_dataset
from skgrav.metrics import relative_data_misfit, relative_l2_error
from skgrav.plotting import DensityDisplay

# %%
# Train a generator
# -----------------

mesh = Mesh.square(24)
dataset = make_gravity_dataset(2020, mesh=mesh, random_state=0)
operator = dataset.operator
X_train, X_test = dataset.data[:2000], dataset.data[2000:]
y_train, y_test = dataset.target[:2000], dataset.target[2000:]
vae = VAEGenerator(64, max_epochs=8, random_state=0).fit(y_train)

# %%
# Search from random codes
# ------------------------
# As in the paper, the search uses Adam without a prior of the codes, and fits the data as if the
# generator could represent every section. The searches end after 300 iterations, converged or not.
# Five of them start from different codes.

warnings.simplefilter("ignore", ConvergenceWarning)
paper = LatentInverter(
    FrozenEstimator(vae),
    operator=operator,
    solver="adam",
    init="random",
    prior=False,
    approximation_error=False,
    noise_level=0.0,
    learning_rate=0.1,
    max_iter=300,
    random_state=0,
)
result = paper.fit(X_train, y_train).set_params(n_starts=5).invert(X_test)
candidates = result.candidates

# %%
# The default has a prior of the codes, and takes the representation error of the generator into
# account.

default = LatentInverter(FrozenEstimator(vae), operator=operator, noise_level=0.0, random_state=0)
estimate = default.fit(X_train, y_train).predict(X_test)

estimates = {
    **{f"random start {i + 1}": rho for i, rho in enumerate(candidates)},
    "mean of the five": candidates.mean(axis=0),
    "default": estimate,
    "mean training section": y_train.mean(axis=0) + 0 * y_test,
}
print(f"{len(y_test)} unseen sections     misfit    error")
for name, rho in estimates.items():
    misfit = relative_data_misfit(operator, rho, X_test)
    print(f"{name:22s} {misfit:8.1e} {relative_l2_error(y_test, rho):8.3f}")

shown = 13
titled = {}
for name, rho in estimates.items():
    misfit = relative_data_misfit(operator, rho[[shown]], X_test[[shown]])
    titled[f"{name}\nmisfit {misfit:.1e}"] = rho
titled.popitem()  # the mean training section
display = DensityDisplay.from_predictions(
    y_test,
    titled,
    operator=operator,
    sample=shown,
    difference=False,
    image_kw={"vmin": 0, "vmax": 12},
)

output = Path(os.environ.get("SKGRAV_PICTURES", "."))
display.figure_.savefig(output / "latent_ambiguity.png", dpi=100)

# %%
# From all starts, the misfit decreases below a hundredth of the data, but each search ends in a
# different section, with bodies and layers at other places and depths. Their errors exceed that of
# the mean of the training sections, although they fit the data far better. The error of their mean
# is smaller, since arbitrary structure averages out. The default is smooth: it has the structure
# that the data require, and otherwise the mean of the prior. Its error is the smallest,
# although its body cannot be recognised in the picture.

# %%
# Split them
# ----------
# The singular vectors of the matrix are ordered by the size of their gravity. The range part of a
# section is its projection on those with large singular values, here above 0.03 of the largest. The
# rest is its null-space part, which hardly changes the data.

_, s, Vt = operator.svd_
seen = Vt[s > 0.03 * s[0]]
print(f"\n{operator.n_data_} data, {mesh.n_cells} cells, {len(seen)} in the range part")
print("                     range part   null-space part   relative to the norm of the truth")
norm = np.linalg.norm(y_test, axis=1)
spread = candidates - candidates.mean(axis=0)
for name, change in {
    "spread of the five": spread,
    "their errors": candidates - y_test,
    "error of the default": (estimate - y_test)[None],
}.items():
    fixed = change @ seen.T @ seen
    open_ = change - fixed
    row = [np.mean(np.linalg.norm(part, axis=2) / norm) for part in (fixed, open_)]
    print(f"{name:20s} {row[0]:11.3f} {row[1]:17.3f}")

figure, axis = plt.subplots(figsize=(6, 3.8), layout="constrained")
rank = int(np.sum(s > 1e-6 * s[0]))
along = np.sqrt(np.mean((spread @ Vt[:rank].T) ** 2, axis=(0, 1)))
of_training = ((y_train - y_train.mean(axis=0)) @ Vt[:rank].T).std(axis=0)
axis.semilogy(along / of_training, label="spread of the five / of training sections")
axis.semilogy(s[:rank] / s[0], "k--", label="singular value / the largest")
axis.axvline(len(seen) - 0.5, color="0.5", ls=":")
axis.set(xlabel="singular vector", ylabel="ratio")
axis.legend(fontsize="small")
axis.grid(alpha=0.3)
figure.savefig(output / "latent_ambiguity_spread.png", dpi=100)

# %%
# Effect of the null space on gravity inversion
# ---------------------------------------------
# The candidates agree in the direction of largest gravity to less than a thousandth of the spread
# of training sections, and agree less for smaller singular values. Beyond some thirty directions
# they differ as much as independent sections. Most of their spread, and of their errors, is
# therefore in the null-space part, and a better fit would not reduce it.
#
# In the paper's geometry there are 300 data for 2500 cells, here 144 for 576, and the singular
# values decrease so fast that the data determine only some tens of directions, within their noise.
# All others depend on the prior alone: on the training sections, on the generator, and on which of
# the codes that fit equally well the search finds. Without a prior, they depend on the start. The
# default takes the most probable code, which has a much smaller error in the null-space part. Most
# of its error is still in this part, which the data do not determine.
