"""
Sections that generators draw
=============================

A generator maps a random code to a density section. This example shows whether its sections
resemble those of the training set, and whether it draws all kinds of them, as in Figures 5 and 6 of
the paper [1]_.

.. [1] Negahdari et al. (2025), arXiv:2510.09632.
"""

import os
from pathlib import Path

import numpy as np

from skgrav import GANGenerator, Mesh, VAEGenerator
from skgrav.datasets import make_density_models
from skgrav.metrics import sample_coverage, sample_diversity
from skgrav.plotting import SampleGalleryDisplay

# %%
# Train
# -----
# Two VAEs and a GAN are trained on 2000 sections of nine families: one VAE with codes of 160
# numbers, the default, and one with 16. All trainings are short; applications need longer training
# on more sections.

mesh = Mesh.square(16)
rho, family = make_density_models(2900, mesh=mesh, random_state=0, return_family=True)
train, test = rho[:2000], rho[2000:]
vae = VAEGenerator(max_epochs=10, random_state=0).fit(train)
small = VAEGenerator(16, max_epochs=10, random_state=0).fit(train)
gan = GANGenerator(max_epochs=10, random_state=0).fit(train)

# %%
# Draw
# ----

drawn = {
    "training": train[:900],
    "VAE": vae.sample(900, random_state=1),
    "VAE of 16": small.sample(900, random_state=1),
    "GAN": gan.sample(900, random_state=1),
}

shown = [np.flatnonzero(family == f)[0] for f in np.unique(family)[::-1][:6]]
rows = {name: sections[:6] for name, sections in drawn.items()} | {"training": train[shown]}
titles = {"training": [family[i].replace("_", " ") for i in shown]}
display = SampleGalleryDisplay(
    rows, mesh=mesh, titles=titles, limits=(0, 12), units="normalized"
).plot()

output = Path(os.environ.get("SKGRAV_PICTURES", "."))
display.figure_.savefig(output / "generator_samples.png", dpi=100)

# %%
# The VAE draws smooth patches with few sharp boundaries, mixtures of layers and bodies that belong
# to no family. With 16 numbers they are even smoother, like blurred pictures of real sections. The
# sections of the GAN have strong contrasts, but also noise from cell to cell that real sections do
# not have, which is smaller after longer training on more sections. Some of them have the highest
# density over much of the section. None of the three draws the sharp interfaces, flat layers or
# thin dykes of the first row.

# %%
# Measure
# -------
# Coverage is the share of unseen sections that have a drawn one among their neighbours. The value
# of the training sections is the best that can be expected. Diversity is the spread of the drawn
# sections relative to that of the unseen ones.

coverage = {
    name: sample_coverage(test, sections, labels=family[2000:]) for name, sections in drawn.items()
}
print(f"{'coverage':16s}" + "".join(f"{name:>10s}" for name in drawn))
for label in np.unique(family):
    print(f"{label:16s}" + "".join(f"{coverage[name][label]:10.2f}" for name in drawn))
for name, sections in drawn.items():
    print(
        f"{name:10s} coverage {sample_coverage(test, sections):.2f}, "
        f"diversity {sample_diversity(test, sections):.2f}"
    )

# %%
# Diversity does not distinguish the generators here: the spread of each is about that of real
# sections, or somewhat less. Coverage does. Blocks, intrusions and salt domes are covered more
# often than layers, whose straight or parallel interfaces random codes seldom produce. A longer
# code represents a given section better, as another example shows, but random codes are then more
# often combinations that no real section has. Of the two VAEs, the one with fewer numbers covers
# far more, in part because blurred sections are near to many. No family is missed altogether: none
# of the generators has collapsed.
