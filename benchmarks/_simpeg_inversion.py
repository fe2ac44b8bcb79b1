"""SimPEG's smooth and sparse inversions, as in its user tutorial of gravity anomalies.

https://simpeg.xyz/user-tutorials/inv-gravity-anomaly-3d, with what its release 0.25 calls the
parameters. Engine and threads are those of `_peers.simpeg_simulation`, which is quicker than the
tutorial's default.
"""

import contextlib
import io
import time
import warnings

import numpy as np
from _peers import active_cells, simpeg_mesh, simpeg_simulation

#: What of the tutorial's sparse inversion is changed, by name: its norms of (0, 1, 1, 1) to those
#: of small bodies with smooth edges, slopes that count axis by axis, and bounds of +-1 g/cm3.
SPARSE = {
    "sparse": {},
    "sparse, norms 0, 2, 2, 2": {"norms": (0, 2, 2, 2)},
    "sparse, axis by axis": {"gradient_type": "components"},
    "sparse, bounds given": {"bounds": True},
}

#: Other changes that were tried: less and more smallness against smoothness, and the schedule of
#: SimPEG's own examples, in which thresholds fall faster and for longer at a closer fit.
TRIED = {
    "sparse, smallness / 4": {"smallness": 0.25},
    "sparse, smallness x 4": {"smallness": 4.0},
    "sparse, other schedule": {
        "irls": {"irls_cooling_factor": 1.5, "max_irls_iterations": 40, "misfit_tolerance": 1e-2}
    },
}


def invert(mesh, survey, g, sigma, contrast, variant="smooth"):
    """Return densities in kg/m3 in the order of this library, and CPU seconds of the set-up."""
    start = time.process_time()
    simulation = simpeg_simulation(mesh, survey)
    _ = simulation.G  # computed when first asked for
    seconds = time.process_time() - start
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        if variant == "smooth":
            found = _smooth(mesh, simulation, g, sigma)
        else:
            found = _sparse(mesh, simulation, g, sigma, contrast, **(SPARSE | TRIED)[variant])
    block = np.zeros(np.prod(mesh.shape))
    block[active_cells(mesh)] = 1e3 * found  # its densities are in g/cm3
    return mesh.flatten(block.reshape(mesh.shape)[::-1]), seconds


def _misfit(simulation, g, sigma):
    from simpeg import data, data_misfit

    observed = data.Data(simulation.survey, dobs=-g, standard_deviation=sigma)  # its z is up
    return data_misfit.L2DataMisfit(data=observed, simulation=simulation)


def _smooth(mesh, simulation, g, sigma):
    from simpeg import directives, inverse_problem, inversion, optimization, regularization

    start = np.full(mesh.n_cells, 1e-6)
    norm = regularization.WeightedLeastSquares(
        simpeg_mesh(mesh),
        active_cells=active_cells(mesh),
        length_scale_x=1.0,
        length_scale_y=1.0,
        length_scale_z=1.0,
        reference_model=np.zeros_like(start),
        reference_model_in_smooth=False,
    )
    optimizer = optimization.InexactGaussNewton(
        maxIter=100, maxIterLS=20, cg_maxiter=10, cg_rtol=1e-2
    )
    steps = [
        directives.UpdateSensitivityWeights(every_iteration=False),
        directives.UpdatePreconditioner(update_every_iteration=True),
        directives.BetaEstimate_ByEig(beta0_ratio=10, random_seed=0),
        directives.BetaSchedule(coolingFactor=2.0, coolingRate=1),
        directives.TargetMisfit(chifact=1.0),
    ]
    problem = inverse_problem.BaseInvProblem(_misfit(simulation, g, sigma), norm, optimizer)
    return inversion.BaseInversion(problem, steps).run(start)


def _sparse(
    mesh,
    simulation,
    g,
    sigma,
    contrast,
    norms=(0, 1, 1, 1),
    irls=None,
    gradient_type="total",
    smallness=1.0,
    bounds=False,
):
    from simpeg import directives, inverse_problem, inversion, optimization, regularization

    start = np.full(mesh.n_cells, 1e-6)
    norm = regularization.Sparse(
        simpeg_mesh(mesh),
        active_cells=active_cells(mesh),
        alpha_s=smallness * np.min(mesh.widths[-1]) ** -2,  # of the narrowest column
        alpha_x=1,
        alpha_y=1,
        alpha_z=1,
        reference_model=np.zeros_like(start),
        reference_model_in_smooth=False,
        norms=list(norms),
        gradient_type=gradient_type,
    )
    lower, upper = np.array(contrast) / 1e3 if bounds else (-1.0, 1.0)
    optimizer = optimization.ProjectedGNCG(
        maxIter=100, lower=lower, upper=upper, maxIterLS=20, cg_maxiter=10, cg_rtol=1e-2
    )
    steps = [
        directives.UpdateIRLS(
            **{
                "cooling_factor": 2,
                "cooling_rate": 1,
                "chifact_start": 1.0,
                "f_min_change": 1e-4,
                "max_irls_iterations": 25,
            }
            | (irls or {})
        ),
        directives.UpdateSensitivityWeights(every_iteration=False),
        directives.BetaEstimate_ByEig(beta0_ratio=10, random_seed=0),
        directives.UpdatePreconditioner(update_every_iteration=True),
    ]
    problem = inverse_problem.BaseInvProblem(_misfit(simulation, g, sigma), norm, optimizer)
    return inversion.BaseInversion(problem, steps).run(start)
