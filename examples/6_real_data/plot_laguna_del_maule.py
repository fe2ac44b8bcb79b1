"""
A measured volume: the magma reservoir below Laguna del Maule
=============================================================

Gravity was measured at 191 stations around a lake in the Andes, where the ground rises by 20 cm a
year. A body of low density near 2 km depth was interpreted as the magma reservoir [1]_.

.. [1] Miller et al. (2017), Earth and Planetary Science Letters, doi:10.1016/j.epsl.2016.11.007
"""

import os
from pathlib import Path

from skgrav import ForwardOperator, Mesh, Survey, TikhonovInverter
from skgrav.datasets import fetch_laguna_del_maule
from skgrav.plotting import DensityDisplay

# %%
# The file states an error of 0.05 mGal, that of the instruments. The part of the data that cells of
# 350 m and 100 m cannot explain is larger: we assume 0.3 mGal. The authors removed a regional
# field. The remaining base level is estimated by the inversion, with its standard deviation.

maule = fetch_laguna_del_maule()
survey = Survey(maule.survey.stations, "z", uncertainty=0.3, trend=0)

# %%
# The topography is interpolated from the stations, which stand on the ground. Cells above it are
# air and not unknowns. The choices of the mesh and their reasons are printed.

mesh = Mesh.for_survey(survey, cell=(100.0, 350.0, 350.0), depth=6000.0, verbose=True)
print(mesh)

operator = ForwardOperator(mesh, survey)
data = maule.data[None]
inverter = TikhonovInverter(depth_weighting=2.0, operator=operator).fit(data)
result = inverter.invert(data)
print(inverter.operator_.plan_)

# %%
# The lowest density is below the lake, at the depth of the publication. Its contrast is that of a
# smooth estimate: a smaller body of larger contrast, up to the -600 kg/m3 that the authors allowed,
# fits as well.

rho = result.rho[0]
z, y, x = mesh.cell_centers[rho.argmin()]
print(f"chi factor {result.chi_factor[0]:.2f}")
print(f"level {result.trend.coefficients[0, 0]:.1f} +- {result.trend.std[0, 0]:.1f} mGal")
lowest = survey.stations[:, 0].max()
print(f"least density {rho.min():.0f} kg/m3, {z - lowest:.0f} m below the lowest station")

display = DensityDisplay.from_predictions(
    None, rho, mesh=mesh, survey=survey, at=(z, y, x), elevation=True
)
output = Path(os.environ.get("SKGRAV_PICTURES", "."))
display.figure_.savefig(output / "laguna_del_maule.png", dpi=100)
