"""
A simulation of SimPEG
======================

SimPEG [1]_ simulates and inverts many kinds of geophysical data, also on octree meshes, with an
object for each part of an inversion. `from_simpeg` converts a gravity simulation: its sensitivity
becomes an operator, and axes, order, signs and units of models and data are converted. The same
data are inverted with both packages.

.. [1] Cockett et al. (2015), SimPEG: An open source framework for simulation and gradient based
   parameter estimation in geophysical applications, Computers & Geosciences,
   doi:10.1016/j.cageo.2015.09.015.
"""

import contextlib
import io
import logging
import os
import time
import warnings
from pathlib import Path

import numpy as np
from discretize import TensorMesh
from simpeg import (
    data,
    data_misfit,
    directives,
    inverse_problem,
    inversion,
    maps,
    optimization,
    regularization,
)
from simpeg.potential_fields import gravity

from skgrav import ForwardOperator, TikhonovInverter
from skgrav.bridges import from_simpeg
from skgrav.plotting import DensityDisplay

# %%
# The problem in SimPEG's convention: z up, densities in g/cm3, gz the upward component, in mGal.

block = TensorMesh([[(100.0, 16)], [(100.0, 16)], [(80.0, 8)]], origin=[-800.0, -800.0, -640.0])
east, north = np.meshgrid(*[np.linspace(-750.0, 750.0, 16)] * 2)
locations = np.column_stack([east.ravel(), north.ravel(), np.full(256, 20.0)])
receivers = gravity.receivers.Point(locations, components=["gz"])
simulation = gravity.Simulation3DIntegral(
    survey=gravity.Survey(gravity.sources.SourceField([receivers])),
    mesh=block,
    active_cells=np.ones(block.n_cells, dtype=bool),
    rhoMap=maps.IdentityMap(nP=block.n_cells),
)
x, y, z = block.cell_centers.T
model = np.zeros(block.n_cells)
model[(abs(x + 300) < 200) & (abs(y) < 250) & (z < -80) & (z > -320)] = 0.3
model[(abs(x - 350) < 150) & (abs(y - 50) < 300) & (z < -160) & (z > -480)] = -0.4
clean = simulation.dpred(model)
sigma = 0.02 * np.abs(clean).max()
dobs = clean + sigma * np.random.default_rng(0).normal(size=clean.size)

# %%
# In the convention of skgrav, z is positive down, densities are in kg/m3 from the top layer down,
# and gz is positive above a positive mass. A tensor mesh is converted, too. For an octree mesh
# there is only the operator, with cells in SimPEG's order.

problem = from_simpeg(simulation)
print(problem)
X, truth = problem.from_data(dobs), problem.from_model(model)
ours = ForwardOperator(problem.mesh, problem.survey).fit()
largest = np.abs(ours.matrix_).max()
difference = np.abs(problem.operator.matrix_ - ours.matrix_).max() / largest
print(f"sensitivities differ by {difference:.0e} of the largest; SimPEG stores single precision")

# %%
# Invert with skgrav and SimPEG's sensitivity: the smallest model, weighted by sensitivity, that
# fits the data to their noise.

start = time.process_time()
level = sigma / np.sqrt(np.mean(X**2))
inverter = TikhonovInverter(
    depth_weighting="sensitivity", noise_level=level, operator=problem.operator
)
here = inverter.fit(X).predict(X)
seconds = {"skgrav": time.process_time() - start}

# %%
# Invert with SimPEG: smooth inversion as in its tutorial, with a penalty on slopes as well as on
# smallness. Its model is converted for the picture.

logging.getLogger("SimPEG").setLevel(logging.WARNING)
start = time.process_time()
observed = data.Data(simulation.survey, dobs=dobs, standard_deviation=sigma)
misfit = data_misfit.L2DataMisfit(data=observed, simulation=simulation)
norm = regularization.WeightedLeastSquares(
    block, length_scale_x=1.0, length_scale_y=1.0, length_scale_z=1.0
)
optimizer = optimization.InexactGaussNewton(maxIter=20, maxIterLS=10, cg_maxiter=10, cg_rtol=1e-2)
steps = [
    directives.UpdateSensitivityWeights(every_iteration=False),
    directives.UpdatePreconditioner(update_every_iteration=True),
    directives.BetaEstimate_ByEig(beta0_ratio=10, random_seed=0),
    directives.BetaSchedule(coolingFactor=2.0, coolingRate=1),
    directives.TargetMisfit(chifact=1.0),
]
with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
    warnings.simplefilter("ignore")
    search = inversion.BaseInversion(inverse_problem.BaseInvProblem(misfit, norm, optimizer), steps)
    there = problem.from_model(search.run(np.full(block.n_cells, 1e-6)))
seconds["SimPEG"] = time.process_time() - start

for name, rho in {"skgrav": here, "SimPEG": there}.items():
    chi = np.mean((problem.operator.transform(rho) - X) ** 2) / sigma**2
    error = np.linalg.norm(rho - truth) / np.linalg.norm(truth)
    print(f"{name}: chi factor {chi:.2f}, error {error:.2f}, {seconds[name]:.1f} s")

display = DensityDisplay.from_predictions(
    truth,
    {"skgrav": here, "SimPEG": there},
    mesh=problem.mesh,
    survey=problem.survey,
    difference=False,
    at=(280.0, 0.0, 300.0),
)
output = Path(os.environ.get("SKGRAV_PICTURES", "."))
display.figure_.savefig(output / "simpeg.png", dpi=100)

# %%
# Both models are smooth, have at most half the true contrast, and are too shallow. This is due to
# the norms, not to the packages. SimPEG halves the weight of its norm until the misfit is below its
# target, and stops at the first such weight; skgrav solves for the weight. SimPEG also has octree
# meshes, joint inversion with other data, and components that can be exchanged individually.
