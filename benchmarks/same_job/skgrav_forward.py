"""Gravity of a density model at the stations of a table, with skgrav."""

import numpy as np

from skgrav import ForwardOperator, Mesh
from skgrav.io import read_stations
from skgrav.plotting import GravityDisplay

survey, _ = read_stations(
    "gravity_data.obs", y="y", elevation="elevation", gz=None, names=["x", "y", "elevation", "gz"]
)
edges = np.arange(-100.0, 101.0, 5.0)
mesh = Mesh([np.arange(-85.0, 1.0, 5.0), edges, edges])

z, y, x = mesh.cell_centers.T
rho = np.zeros(mesh.n_cells)
rho[(np.abs(x + 35) < 15) & (np.abs(y) < 15) & (np.abs(z + 60) < 10)] = -200.0
rho[(x - 35) ** 2 + y**2 + (z + 60) ** 2 < 14**2] = 200.0
operator = ForwardOperator(mesh, survey).fit()
g = operator.transform(rho[None])

display = GravityDisplay.from_predictions(g, rho[None], operator=operator)
display.figure_.savefig("skgrav_forward.png")
