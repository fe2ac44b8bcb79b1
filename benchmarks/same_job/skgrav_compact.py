"""Compact density below a topography from a table of stations, with skgrav."""

import numpy as np

from skgrav import ForwardOperator, Mesh, SparseInverter, Survey
from skgrav.io import read_stations, read_topography
from skgrav.plotting import DensityDisplay

names = ["x", "y", "elevation", "gz"]
survey, gz = read_stations(
    "gravity_data.obs", y="y", elevation="elevation", positive="up", names=names
)
topography = read_topography("gravity_topo.txt", names=names[:3])

survey = Survey(survey.stations, "z", uncertainty=0.02 * np.abs(gz).max())
mesh = Mesh.for_survey(survey, topography, cell=5.0)
operator = ForwardOperator(mesh, survey)

inverter = SparseInverter(norms=(0, 1, 1, 1), operator=operator)
rho = inverter.fit(gz[None]).predict(gz[None])[0]

display = DensityDisplay.from_predictions(None, rho, mesh=mesh, survey=survey)
display.figure_.savefig("skgrav_compact.png")
