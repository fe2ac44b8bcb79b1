"""Compact density below a topography from a table of stations, with SimPEG, as in its tutorial."""

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
reg = regularization.Sparse(
    mesh,
    active_cells=active,
    alpha_s=dh**-2,
    alpha_x=1,
    alpha_y=1,
    alpha_z=1,
    reference_model=reference_model,
    reference_model_in_smooth=False,
    norms=[0, 1, 1, 1],
)
opt = optimization.ProjectedGNCG(
    maxIter=100, lower=-1.0, upper=1.0, maxIterLS=20, cg_maxiter=10, cg_rtol=1e-2
)
inv_prob = inverse_problem.BaseInvProblem(dmis, reg, opt)
directives_list = [
    directives.UpdateIRLS(
        cooling_factor=2,
        cooling_rate=1,
        chifact_start=1.0,
        f_min_change=1e-4,
        max_irls_iterations=25,
    ),
    directives.UpdateSensitivityWeights(every_iteration=False),
    directives.BetaEstimate_ByEig(beta0_ratio=10),
    directives.UpdatePreconditioner(update_every_iteration=True),
]
recovered_model = inversion.BaseInversion(inv_prob, directives_list).run(starting_model)

plotting_map = maps.InjectActiveCells(mesh, active, np.nan)
fig, ax = plt.subplots(figsize=(7, 3))
(image,) = mesh.plot_slice(plotting_map * recovered_model, normal="Y", ax=ax)
fig.colorbar(image, label="$g/cm^3$")
fig.savefig("simpeg_compact.png")
