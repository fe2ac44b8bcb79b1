"""
Equivalent sources of Harmonica
===============================

The stations of a ground survey are scattered and have different heights. Harmonica [1]_ fits point
masses to their data, and predicts the field on a lattice at one height, for which FFTs can be used,
and which is easier to map. Here this is done for the 191 stations of Laguna del Maule, and both
data sets are inverted.

.. [1] Fatiando a Terra Project et al. (2024), Harmonica, doi:10.5281/zenodo.3628741.
"""

import os
from pathlib import Path

import harmonica
import matplotlib.pyplot as plt
import numpy as np
import verde

from skgrav import ForwardOperator, Mesh, Survey, TikhonovInverter
from skgrav.bridges import from_equivalent_sources, to_harmonica
from skgrav.datasets import fetch_laguna_del_maule

# %%
# Fit the sources. Their depth and damping are chosen by cross-validation of Verde over blocks of
# stations, since the data of neighbouring stations are correlated.

maule = fetch_laguna_del_maule()
survey, data = maule.survey, maule.data
coordinates = to_harmonica(survey)
folds = verde.BlockKFold(spacing=4000.0, n_splits=5, shuffle=True, random_state=0)
scores = {}
for depth in (2000.0, 4000.0, 8000.0):
    for damping in (1e-3, 1e-1, 10.0):
        sources = harmonica.EquivalentSources(damping=damping, depth=depth, parallel=False)
        scores[depth, damping] = verde.cross_val_score(
            sources, coordinates, data, cv=folds, scoring="neg_root_mean_squared_error"
        ).mean()
depth, damping = max(scores, key=scores.get)
best = -scores[depth, damping]
print(
    f"sources {depth:.0f} m deep, damping {damping:g}: {best:.2f} mGal where stations are left out"
)
sources = harmonica.EquivalentSources(damping=damping, depth=depth, parallel=False)
sources.fit(coordinates, data)
left = data - sources.predict(coordinates)
print(f"rms of what they do not fit {np.sqrt(np.mean(left**2)):.2f} mGal")

# %%
# Both inversions have the same mesh. The lattice has a node above each column, 50 m above the
# highest station, within the extent of the measured stations.

mesh = Mesh.for_survey(survey, cell=(150.0, 500.0, 500.0), depth=6000.0, padding=None)
top = -survey.stations[:, 0].min()
nodes = Survey.grid(mesh, height=top + 50.0 + mesh.edges[0][0]).stations
lowest, highest = survey.stations.min(axis=0), survey.stations.max(axis=0)
inside = ((nodes[:, 1:] >= lowest[1:]) & (nodes[:, 1:] <= highest[1:])).all(axis=1)
lattice = Survey(nodes[inside], "z")
grid = from_equivalent_sources(sources, lattice)
print(mesh, lattice)

# %%
# Invert both with the same settings. The uncertainty of 0.3 mGal is the gravity that cells of this
# size do not explain. The errors of the nodes are not independent, since there are many more nodes
# than the 191 data: their misfit is a weak test, and standard deviations of the density would be
# far too small.

results = {}
for name, (places, X) in {
    "191 stations": (survey, data[None]),
    f"lattice of {lattice.n_stations}": (lattice, grid),
}.items():
    measured = Survey(places.stations, "z", uncertainty=0.3, trend=0)
    operator = ForwardOperator(mesh, measured)
    inverter = TikhonovInverter(depth_weighting=2.0, operator=operator).fit(X)
    rho = results[name] = inverter.predict(X)[0]
    low = mesh.cell_centers[rho.argmin()]
    below = low[0] - survey.stations[:, 0].max()
    print(f"{name}: {inverter.operator_.plan_.method}, {rho.min():.0f} kg/m3 at {below:.0f} m")

difference = np.linalg.norm(np.subtract(*results.values())) / np.linalg.norm(rho)
print(f"densities differ by {difference:.2f} of their norm")

# %%
# Gravity as measured and on the lattice, and the densities 2 km below the lowest station.

figure, axes = plt.subplots(2, 2, figsize=(9, 8), layout="constrained", sharex=True, sharey=True)
km = 1e-3
x, y = survey.stations[:, 2] * km, survey.stations[:, 1] * km
limits = {"vmin": data.min(), "vmax": data.max()}
axes[0, 0].scatter(x, y, c=data, s=14, **limits)
shape = mesh.shape[1:]
edges = mesh.edges[2] * km, mesh.edges[1] * km
map_of_grid = np.full(inside.size, np.nan)
map_of_grid[inside] = grid[0]
drawn = axes[0, 1].pcolormesh(*edges, map_of_grid.reshape(shape), **limits)
figure.colorbar(drawn, ax=axes[0], label="gz (mGal)")
layer = np.argmin(np.abs(mesh.centers[0] - survey.stations[:, 0].max() - 2000.0))
images = {name: mesh.unflatten(rho)[layer] for name, rho in results.items()}
largest = max(np.nanmax(np.abs(image)) for image in images.values())
for axis, (name, image) in zip(axes[1], images.items(), strict=True):
    drawn = axis.pcolormesh(*edges, image, cmap="coolwarm", vmin=-largest, vmax=largest)
    axis.set(title=f"density from {name}", xlabel="easting (km)")
figure.colorbar(drawn, ax=axes[1], label="density contrast (kg/m³)")
axes[0, 0].set(title="gz at the stations", ylabel="northing (km)", aspect="equal")
axes[0, 1].set(title=f"by equivalent sources, {lattice.n_stations} nodes", aspect="equal")
axes[1, 0].set(ylabel="northing (km)", aspect="equal")
axes[1, 1].set(aspect="equal")
output = Path(os.environ.get("SKGRAV_PICTURES", "."))
figure.savefig(output / "harmonica.png", dpi=100)

# %%
# The body below the lake is at the same position and depth in both. From the lattice, its contrast
# is smaller, and the density around it smoother. The sources are deep, since such sources predict
# the left-out stations best, and their residual is more than twice the uncertainty of the data. The
# height of the lattice attenuates short wavelengths further. A lattice is useful for maps, filters,
# and methods that need one, such as a network trained for it. For an inversion like this one, use
# the stations themselves; if the matrix would be too large, ``method="anywhere"`` needs no lattice.
