"""
What a generator can represent
==============================

An inversion in the latent space of a generator returns one of its sections. The error of the
estimate is therefore at least that of the generator's nearest section to the truth, as in Figure 7
of the paper [1]_. It is measured here for principal components, a VAE and a GAN, on sections
outside their training set.

.. [1] Negahdari et al. (2025), arXiv:2510.09632.
"""

import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import PCA

from skgrav import GANGenerator, Mesh, VAEGenerator
from skgrav.datasets import make_density_models
from skgrav.metrics import relative_l2_error
from skgrav.plotting import SampleGalleryDisplay

# %%
# Train
# -----
# Codes of 64 numbers for each generator.

mesh = Mesh.square(24)
rho, family = make_density_models(2200, mesh=mesh, random_state=0, return_family=True)
train, test, test_family = rho[:2000], rho[2000:], family[2000:]
pca = PCA(64, svd_solver="full").fit(train)
vae = VAEGenerator(64, max_epochs=8, random_state=0).fit(train)
gan = GANGenerator(64, max_epochs=8, random_state=0).fit(train)

# %%
# Find the nearest sections
# -------------------------
# For principal components, the code of the nearest section is a projection. For the networks,
# `nearest_code` searches for it, since the encoder of a VAE is only an approximation, and a GAN has
# none.

nearest = {
    "PCA": pca.inverse_transform(pca.transform(test)),
    "VAE": vae.inverse_transform(vae.nearest_code(test, z0=vae.transform(test))),
    "GAN": gan.inverse_transform(gan.nearest_code(test)),
}
encoded = vae.inverse_transform(vae.transform(test))
print(f"{'mean section':14s} error {relative_l2_error(test, 0 * test + train.mean(axis=0)):.3f}")
for name, sections in nearest.items():
    print(f"{name:14s} error {relative_l2_error(test, sections):.3f}")
print(f"{'VAE, encoder':14s} error {relative_l2_error(test, encoded):.3f}")

families = "faults", "intrusions", "folded layers"
shown = [np.flatnonzero(test_family == f.replace(" ", "_"))[0] for f in families]
display = SampleGalleryDisplay.from_predictions(
    test[shown],
    {name: sections[shown] for name, sections in nearest.items()},
    mesh=mesh,
    titles=families,
    units="normalized",
    image_kw={"vmin": 0, "vmax": 12},
)

output = Path(os.environ.get("SKGRAV_PICTURES", "."))
display.figure_.savefig(output / "what_a_generator_represents.png", dpi=100)

# %%
# All three represent the large layers and bodies. Thin layers and sharp edges are blurred, since
# codes of this length cannot describe them. The VAE corrects principal components by convolutions,
# and its error is somewhat smaller than theirs. The GAN, which is trained to draw and not to
# represent sections, has the largest errors, much of them noise from cell to cell; its training
# here is short. The codes of the VAE's encoder are a little worse than those of the search.

# %%
# How many components?
# --------------------
# The components are ordered, so that one fit suffices for all numbers of components.

numbers = [4, 8, 16, 32, 64, 128, 256]
pca = PCA(256, svd_solver="full").fit(train)
codes = pca.transform(test)
errors = {"PCA": [], "VAE": []}
for n in numbers:
    sections = pca.mean_ + codes[:, :n] @ pca.components_[:n]
    errors["PCA"].append(relative_l2_error(test, sections))
    print(f"PCA of {n:3d} components: error {errors['PCA'][-1]:.3f}")
smaller = VAEGenerator(16, max_epochs=8, random_state=0).fit(train)
sections = smaller.inverse_transform(smaller.nearest_code(test, z0=smaller.transform(test)))
errors["VAE"] = [relative_l2_error(test, sections), relative_l2_error(test, nearest["VAE"])]
print(f"VAE of  16 components: error {errors['VAE'][0]:.3f}")

figure, axis = plt.subplots(figsize=(5, 3.5), layout="constrained")
axis.plot(numbers, errors["PCA"], "o-", label="PCA")
axis.plot([16, 64], errors["VAE"], "s--", label="VAE")
axis.plot(64, relative_l2_error(test, nearest["GAN"]), "^", label="GAN")
axis.set(
    xscale="log",
    ylim=(0, None),
    xlabel="numbers in the code",
    ylabel="error of the nearest section",
)
axis.set_xticks(numbers, numbers)
axis.minorticks_off()
axis.grid(alpha=0.3)
axis.legend()
figure.savefig(output / "error_against_code_length.png", dpi=100)

# %%
# Errors decrease slowly with the length of the code, since sections with sharp interfaces at any
# place cannot be described by a few smooth patterns. The error of a VAE is somewhat smaller than
# that of as many principal components, and larger than that of twice as many. This is a lower
# bound for the error of any inversion in the latent space of the generator, unless the part that
# the generator cannot represent is kept from the estimate of another inverter, as `LatentInverter`
# does. With gravity data, the error is usually larger.
