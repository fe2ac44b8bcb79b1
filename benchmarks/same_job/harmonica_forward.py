"""Gravity of a density model at the stations of a table, with Harmonica."""

import harmonica as hm
import matplotlib.pyplot as plt
import numpy as np

coordinates = np.loadtxt("gravity_data.obs", usecols=(0, 1, 2), unpack=True)
edges = np.arange(-100.0, 101.0, 5.0)
bottoms = np.arange(0.0, 85.0, 5.0)

bottom, south, west = (
    c.ravel() for c in np.meshgrid(bottoms, edges[:-1], edges[:-1], indexing="ij")
)
prisms = np.column_stack([west, west + 5, south, south + 5, bottom, bottom + 5])
x, y, z = west + 2.5, south + 2.5, bottom + 2.5
density = np.zeros(len(prisms))
density[(np.abs(x + 35) < 15) & (np.abs(y) < 15) & (np.abs(z - 60) < 10)] = -200.0
density[(x - 35) ** 2 + y**2 + (z - 60) ** 2 < 14**2] = 200.0
g = hm.prism_gravity(coordinates, prisms, density, field="g_z")

plt.tricontourf(coordinates[0], coordinates[1], g, levels=30, cmap="RdBu_r")
plt.colorbar(label="mGal")
plt.savefig("harmonica_forward.png")
