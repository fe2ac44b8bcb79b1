"""Smooth density below a topography from a table of stations, with pyGIMLi, as in its example."""

import matplotlib.pyplot as plt
import numpy as np
import pygimli as pg
from pygimli.physics.gravimetry import GravityModelling
from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator

topo = np.loadtxt("gravity_topo.txt")
data = np.loadtxt("gravity_data.obs")
points, gz = data[:, :3], -data[:, 3] / 6.674e-6  # its response is in units of G times kg/m3
noise_level = 0.02 * np.abs(gz).max()

dx = 5.0
padding = dx * np.cumsum(1.3 ** np.arange(1, 6))
core = np.arange(-100.0, 100.1, dx)
x = np.r_[core[0] - padding[::-1], core, core[-1] + padding]
z = topo[:, 2].max() - np.r_[np.arange(0.0, 75.1, dx), 75.0 + padding]
grid = pg.createGrid(x, x, np.sort(z))

centers = np.array(grid.cellCenters())
ground = LinearNDInterpolator(topo[:, :2], topo[:, 2])(centers[:, :2])
nearest = NearestNDInterpolator(topo[:, :2], topo[:, 2])(centers[:, :2])
ground = np.where(np.isnan(ground), nearest, ground)
grid.setCellMarkers(np.where(centers[:, 2] < ground, 1, 0))
mesh = grid.createSubMesh(grid.cells(grid.cellMarkers() == 1))
mesh.createNeighborInfos()

fop = GravityModelling(mesh, points)
depth = points[:, 2].mean() - np.array(
    [b.center().z() for b in mesh.boundaries() if not b.outside()]
)
z0, beta = 15.0, 2.0
inv = pg.Inversion(fop=fop, verbose=True)
inv.modelTrans = pg.trans.TransCotLU(-1000, 1000)
inv.setConstraintWeights((z0 / (np.abs(depth) + z0)) ** (beta / 2))
mesh["density"] = inv.run(gz, absoluteError=noise_level, lam=1e5, lambdaFactor=0.5, startModel=0.1)

section = pg.meshtools.extract2dSlice(mesh, origin=[0, 0, 0], normal=[0, 1, 0])
ax, _ = pg.show(section, "density", label="kg/m³")
plt.savefig("pygimli_smooth.png")
