"""
A volume without a matrix
=========================

For 400,000 cells and 10,000 stations, the sensitivity matrix would take 32 GB. The blocks of its
layers are Toeplitz matrices, which FFTs apply without storing them, and Tikhonov's estimate needs
only such products.
"""

import os
from pathlib import Path

import numpy as np

from skgrav import ForwardOperator, Mesh, Survey, TikhonovInverter
from skgrav.plotting import DensityDisplay

# %%
# A dense and a light body lie below a grid of stations with the spacing of the columns.

mesh = Mesh.regular((40, 100, 100), 50.0)
truth = np.zeros(mesh.shape)
truth[6:16, 30:50, 30:60] = 300.0
truth[10:22, 60:75, 55:80] = -200.0
grid = Survey.grid(mesh, height=25.0)
operator = ForwardOperator(mesh, grid).fit()
print(operator.plan_)

# %%
# Data with noise of 1 % of their rms. The survey has this uncertainty, so that alpha follows from
# the discrepancy principle: a residual as large as the noise, with a chi factor of 1.

clean = operator.transform(truth.reshape(1, -1))
sigma = 0.01 * np.sqrt(np.mean(clean**2))
data = clean + sigma * np.random.default_rng(0).normal(size=clean.shape)
survey = Survey(grid.stations, "z", uncertainty=sigma)

# %%
# Gravity decreases with the square of the distance, so that without depth weighting all density
# would be at the top. With weights that decrease likewise, a body may be at any depth. Data in one
# plane nevertheless resolve its depth and thickness poorly.

inverter = TikhonovInverter(depth_weighting=2.0, operator=ForwardOperator(mesh, survey)).fit(data)
result = inverter.invert(data)
correlation = np.corrcoef(result.rho[0], truth.ravel())[0, 1]
chi = result.chi_factor[0]
print(f"chi factor {chi:.2f} after {result.n_iter[0]} iterations, correlation {correlation:.2f}")

# %%
# Slices through the dense body, with the same colours for truth and estimate.

display = DensityDisplay.from_predictions(
    truth.ravel(), result.rho[0], mesh=mesh, difference=False, at=(550.0, -500.0, -250.0)
)
output = Path(os.environ.get("SKGRAV_PICTURES", "."))
display.figure_.savefig(output / "volume.png", dpi=100)
