"""
Gravity by a matrix and by Fourier transforms
=============================================

Gravity is linear in density: it is a matrix with a row for each datum and a column for each cell,
times the densities. If all columns have one width and the stations have this spacing, the block of
each layer depends on offsets only, and Fourier transforms multiply by it without storing it.
"""

import os
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from skgrav import ForwardOperator, Mesh, Survey

# %%
# A volume and its gravity
# ------------------------
# A block of 300 kg/m³, twice as long as wide, at 100 to 400 m depth, and gz on the ground.

mesh = Mesh.regular((10, 40, 40), 50.0)
survey = Survey.grid(mesh, height=1.0)
z, y, x = (c.reshape(s) for c, s in zip(mesh.centers, ((-1, 1, 1), (-1, 1), (-1,)), strict=True))
rho = 300.0 * ((z > 100) & (z < 400) & (abs(y) < 400) & (abs(x) < 200)).reshape(1, -1)

gravity = {}
for method in ("dense", "fft"):
    operator = ForwardOperator(mesh, survey, method=method)
    print(f"{method:6s} {operator.memory_usage() / 1e6:7.1f} MB, known before it is built")
    start = time.perf_counter()
    gravity[method] = operator.fit().transform(rho)[0]
    print(f"{'':6s} {time.perf_counter() - start:7.3f} s for the first gravity")
difference = abs(gravity["fft"] - gravity["dense"]).max() / gravity["dense"].max()
print(f"largest difference: {difference:.0e} of the largest gravity")

# %%
# By default, the operator chooses the method and states its reasons. Stations off the lattice of
# the mesh need the matrix, interpolation, or rows that are computed when they are needed.

print(ForwardOperator(mesh, survey).plan())

# %%
# How memory grows
# ----------------
# The memory of the matrix grows with the product of cells and stations, that of the spectra with
# the number of cells. None of them is built here: the largest matrix would take 419 GB.

sizes = np.array([10, 20, 40, 80, 160])
megabytes = {"dense": [], "fft": []}
for n in sizes:
    larger = Mesh.regular((n // 2, n, n), 50.0)
    stations = Survey.grid(larger, height=1.0)
    megabytes["dense"].append(8e-6 * stations.n_data * larger.n_cells)
    megabytes["fft"].append(ForwardOperator(larger, stations, method="fft").memory_usage() / 1e6)

figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.8), layout="constrained")
y_edges, x_edges = mesh.edges[1:]
image = axes[0].pcolormesh(x_edges, y_edges, gravity["fft"].reshape(mesh.shape[1:]))
axes[0].set(aspect="equal", xlabel="x (m)", ylabel="y (m)", title="gz of a buried block")
figure.colorbar(image, ax=axes[0], label="gz (mGal)")
for method, values in megabytes.items():
    axes[1].loglog(sizes**3 // 2, values, "o-", label=method)
axes[1].set(xlabel="cells", ylabel="memory (MB)", title="what the operator stores")
axes[1].legend()

output = Path(os.environ.get("SKGRAV_PICTURES", "."))
figure.savefig(output / "matrix_and_fft.png", dpi=100)
