"""
Total variation by deepinv
==========================

deepinv [1]_ is a library of image reconstruction: iterative algorithms, priors from total variation
to denoising networks, and unfolded networks that are trained with the physics inside.
`ForwardOperator.to_deepinv` gives it the physics of gravity. Here it looks for blocks with sharp
sides, beside a smooth inversion of this library.

.. [1] Tachella et al. (2025), DeepInverse: A Python package for solving imaging inverse problems
   with deep learning, arXiv:2505.20160.
"""

import os
from pathlib import Path

import deepinv
import numpy as np
import torch

from skgrav import ForwardOperator, Mesh, Survey, TikhonovInverter
from skgrav.plotting import DensityDisplay

# %%
# A basin of two blocks, denser than their surroundings, below 64 stations; gz has noise of 1 %.

mesh = Mesh.regular((12, 32), 50.0)
survey = Survey.line(mesh, n_stations=64, components="z")
operator = ForwardOperator(mesh, survey).fit()
truth = np.zeros(mesh.shape)
truth[1:5, 5:11] = 300.0
truth[2:6, 20:26] = 400.0
truth = truth.reshape(1, -1)
g = operator.transform(truth)
sigma = 0.01 * np.sqrt(np.mean(g**2))
g += sigma * np.random.default_rng(0).normal(size=g.shape)

# %%
# The smooth estimate, whose weight is chosen so that the data are fitted to their noise.

tikhonov = TikhonovInverter(depth_weighting="sensitivity", noise_level=0.01, operator=operator)
smooth = tikhonov.fit(g).predict(g)

# %%
# deepinv's physics maps images to data. It knows nothing of depth: alone, total variation would
# gather density at the top. Physics of deepinv can be multiplied, and so images are weighted by
# depth, as in the smooth inversion. They are scaled, too: step lengths and tolerances of deepinv
# suppose a physics of norm 1, and the one here is far smaller.

sensitivity = operator.column_norms_.reshape(mesh.shape).mean(axis=1)
weights = torch.tensor(1.0 / np.sqrt(sensitivity), dtype=torch.float32)[None, None, :, None]
# So far that deepinv's power method, whose tolerance is absolute, finds the norm.
weights /= float(np.linalg.norm(operator.column_norms_.reshape(mesh.shape) * weights[0, 0].numpy()))
by_depth = deepinv.physics.LinearPhysics(A=lambda m: weights * m, A_adjoint=lambda m: weights * m)
gravity = operator.to_deepinv()
physics = gravity * by_depth
norm = physics.compute_sqnorm(torch.zeros(1, 1, *mesh.shape), verbose=False).sqrt()
weights /= norm
print(f"error of the adjoint {gravity.adjointness_test():.0e}")

# %%
# ADMM alternates between fitting the data and lowering the total variation; its first step solves
# with the physics, which gravity needs, since steps along the gradient hardly move what is deep.
# The weight of the total variation is lowered until the data are fitted to their noise, as the
# discrepancy principle says. Each search starts at the result before.

y = torch.tensor(g, dtype=torch.float32)
m = torch.zeros(1, 1, *mesh.shape)
prior = deepinv.optim.TVPrior(n_it_max=30)
for strength in 1e-4 * float(y.norm() ** 2) * 2.0 ** (-0.5 * np.arange(10)):
    search = deepinv.optim.ADMM(
        data_fidelity=deepinv.optim.L2(),
        prior=prior,
        lambda_reg=strength,
        stepsize=300.0,
        max_iter=60,
    )
    with torch.no_grad():
        m = search(y, physics, init=(m, m))
    misfit = float((physics.A(m) - y).square().mean()) / sigma**2
    if misfit <= 1.0:
        break
blocks = (weights * m).double().numpy().reshape(1, -1)

estimates = {"smooth, skgrav": smooth, "total variation, deepinv": blocks}
for name, rho in estimates.items():
    chi = np.mean((operator.transform(rho) - g) ** 2) / sigma**2
    error = np.linalg.norm(rho - truth) / np.linalg.norm(truth)
    print(f"{name:25s} chi factor {chi:.2f}, error {error:.2f}, at most {rho.max():.0f} kg/m3")

display = DensityDisplay.from_predictions(
    truth, estimates, operator=operator, difference=False, limits=(0.0, 400.0)
)
output = Path(os.environ.get("SKGRAV_PICTURES", "."))
display.figure_.savefig(output / "deepinv.png", dpi=100)

# %%
# Total variation gathers more density in the blocks, and their sides are steeper; below, where
# gravity sees little, it leaves a broad slab that the smooth estimate has as well. The errors
# differ little: gravity decides where the mass is, the norm how it is spread. In this library
# `SparseInverter` asks for compact bodies. What deepinv brings is what lies beyond such norms:
# denoising networks as priors, networks trained with the physics inside, and its losses without
# known truth, to all of which this physics can be given.
