"""Smooth density below a topography from a table of stations, with SimPEG, as in its tutorial."""

import matplotlib.pyplot as plt
import numpy as np
from discretize import TensorMesh
from discretize.utils import active_from_xyz
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

topo_xyz = np.loadtxt("gravity_topo.txt")
dobs = np.loadtxt("gravity_data.obs")
receiver_locations, dobs = dobs[:, 0:3], dobs[:, -1]
uncertainties = 0.02 * np.max(np.abs(dobs)) * np.ones_like(dobs)

receiver_list = [gravity.receivers.Point(receiver_locations, components="gz")]
source_field = gravity.sources.SourceField(receiver_list=receiver_list)
survey = gravity.survey.Survey(source_field)
data_object = data.Data(survey, dobs=dobs, standard_deviation=uncertainties)

dh = 5.0
hx = [(dh, 5, -1.3), (dh, 40), (dh, 5, 1.3)]
hz = [(dh, 5, -1.3), (dh, 15)]
mesh = TensorMesh([hx, hx, hz], origin="CCN")
mesh.origin = mesh.origin + np.r_[0.0, 0.0, topo_xyz[:, 2].max()]

active = active_from_xyz(mesh, topo_xyz)
n_active = int(active.sum())
starting_model = 1e-6 * np.ones(n_active)
reference_model = np.zeros_like(starting_model)

simulation = gravity.simulation.Simulation3DIntegral(
    survey=survey,
    mesh=mesh,
    rhoMap=maps.IdentityMap(nP=n_active),
    active_cells=active,
    engine="choclo",
)
dmis = data_misfit.L2DataMisfit(data=data_object, simulation=simulation)
reg = regularization.WeightedLeastSquares(
    mesh,
    active_cells=active,
    length_scale_x=1.0,
    length_scale_y=1.0,
    length_scale_z=1.0,
    reference_model=reference_model,
    reference_model_in_smooth=False,
)
opt = optimization.InexactGaussNewton(maxIter=100, maxIterLS=20, cg_maxiter=10, cg_rtol=1e-2)
inv_prob = inverse_problem.BaseInvProblem(dmis, reg, opt)
directives_list = [
    directives.UpdateSensitivityWeights(every_iteration=False),
    directives.UpdatePreconditioner(update_every_iteration=True),
    directives.BetaEstimate_ByEig(beta0_ratio=10),
    directives.BetaSchedule(coolingFactor=2.0, coolingRate=1),
    directives.TargetMisfit(chifact=1.0),
]
recovered_model = inversion.BaseInversion(inv_prob, directives_list).run(starting_model)

plotting_map = maps.InjectActiveCells(mesh, active, np.nan)
fig, ax = plt.subplots(figsize=(7, 3))
(image,) = mesh.plot_slice(plotting_map * recovered_model, normal="Y", ax=ax)
fig.colorbar(image, label="$g/cm^3$")
fig.savefig("simpeg_smooth.png")
