"""Grids and equivalent sources of Harmonica and Verde, against its prisms."""

import sys

import numpy as np
import pytest
from bridged import bridged

from skgrav import ForwardOperator, Mesh, Survey
from skgrav.bridges import from_equivalent_sources, from_harmonica, to_harmonica

harmonica = bridged("harmonica")
verde = bridged("verde")
xr = bridged("xarray")

MESH = Mesh(
    [[0, 40, 100.0], [-150, -50, 0, 100.0], [10, 60, 160, 200, 300.0]],
    np.arange(24).reshape(2, 3, 4) > 3,
)
RHO = np.random.default_rng(0).normal(scale=300.0, size=(1, MESH.n_cells))
# Each field takes numba seconds to compile: one of each kind of sign.
FIELDS = {"g_z": "z", "g_ez": "xz"}


def grid_of(fields, upward=30.0):
    """Give a grid of what Harmonica's prisms make, as Verde and Harmonica make grids."""
    coordinates = verde.grid_coordinates((0, 300, -100, 100), shape=(3, 5), extra_coords=upward)
    data = tuple(
        harmonica.prism_gravity(coordinates, to_harmonica(MESH), RHO[0], field=f, parallel=False)
        for f in fields
    )
    return verde.make_xarray_grid(coordinates, data, list(fields), extra_coords_names="upward")


def test_gravity_and_gradients_are_those_of_prisms():
    survey, X = from_harmonica(grid_of(FIELDS))
    assert survey.components == tuple(FIELDS.values())
    np.testing.assert_array_equal(survey.stations[0], [-30.0, -100.0, 0.0])
    np.testing.assert_array_equal(survey.stations[1], [-30.0, -100.0, 75.0])  # easting first
    g = ForwardOperator(MESH, survey).fit().transform(RHO)
    np.testing.assert_allclose(X, g, atol=1e-11 * np.abs(g).max())


def test_units_names_and_nodes_without_values():
    grid = grid_of(["g_z", "g_ez"])
    survey, X = from_harmonica(grid)
    other = grid.rename(g_z="disturbance", g_ez="gradient")
    other["disturbance"] = other.disturbance * 1e-5
    other.disturbance.attrs["units"] = "m/s^2"
    other["gradient"] = other.gradient * 1e-9
    other.gradient.attrs["units"] = "1/s2"
    other = other.assign_coords(easting=other.easting / 1e3)
    other.easting.attrs["units"] = "km"
    other.gradient[1, 2] = np.nan
    known, Z = from_harmonica(other, {"disturbance": "z", "gradient": "xz"})
    kept = np.arange(15) != 7
    np.testing.assert_allclose(known.stations, survey.stations[kept])
    np.testing.assert_allclose(known.unflatten(Z)[0], survey.unflatten(X)[0][:, kept])


def test_one_array_and_scattered_stations():
    array = grid_of(["g_z"]).g_z
    survey, X = from_harmonica(array)
    stacked = array.stack(station=("northing", "easting")).reset_index("station")
    again, Z = from_harmonica(stacked)
    assert again == survey
    np.testing.assert_array_equal(Z, X)
    flat, _ = from_harmonica(array.drop_vars("upward"), upward=12.0)
    assert set(flat.stations[:, 0]) == {-12.0}


def test_grids_that_cannot_be_meant_are_refused_by_name():
    grid = grid_of(["g_z"])
    with pytest.raises(TypeError, match="'grid' is of type ndarray"):
        from_harmonica(np.zeros((3, 5)))
    with pytest.raises(ValueError, match=r"'grid' lacks the coordinates upward.*give 'upward'"):
        from_harmonica(grid.drop_vars("upward"))
    degrees = grid.rename(easting="longitude", northing="latitude")
    with pytest.raises(ValueError, match=r"Project it from degrees to metres"):
        from_harmonica(degrees)
    with pytest.raises(ValueError, match=r"has the variables scalars.*\{'scalars': 'z'\}"):
        from_harmonica(grid.rename(g_z="scalars"))
    with pytest.raises(ValueError, match="'components' has 'up'"):
        from_harmonica(grid, {"g_z": "up"})
    with pytest.raises(ValueError, match="no node with values"):
        from_harmonica(grid * np.nan)
    grid.g_z.attrs["units"] = "kg/m3"
    with pytest.raises(ValueError, match="variable 'g_z' is in 'kg/m3'"):
        from_harmonica(grid)


def test_scattered_data_become_a_lattice_by_equivalent_sources():
    rng = np.random.default_rng(0)
    places = rng.uniform([-60, -500, -500], [-40, 500, 500], size=(300, 3))
    mesh = Mesh.regular((4, 6, 5), 100.0, top=100.0)
    rho = np.zeros((1, mesh.n_cells))
    rho[0, 50:60] = 500.0
    survey = Survey(places, "z")
    g = ForwardOperator(mesh, survey).fit().transform(rho)
    sources = harmonica.EquivalentSources(depth=200.0, damping=1e-4, parallel=False)
    sources.fit(to_harmonica(survey), g[0])
    lattice = Survey.grid(mesh, height=160.0)
    X = from_equivalent_sources(sources, lattice)
    operator = ForwardOperator(mesh, lattice, method="fft").fit()
    np.testing.assert_allclose(X, operator.transform(rho), atol=0.02 * g.max())
    with pytest.warns(UserWarning, match=r"30 of 30 stations lie beyond the data"):
        from_equivalent_sources(sources, Survey(lattice.stations + [0.0, 5e3, 0.0], "z"))
    with pytest.raises(ValueError, match="'survey' has stations down to upward = -900 m"):
        from_equivalent_sources(sources, Survey(lattice.stations + [960.0, 0, 0], "z"))
    with pytest.raises(ValueError, match=r"'survey' has the components \('x', 'z'\)"):
        from_equivalent_sources(sources, Survey(lattice.stations))
    with pytest.raises(ValueError, match="'sources' is not fitted"):
        from_equivalent_sources(harmonica.EquivalentSources(), lattice)
    with pytest.raises(TypeError, match="'sources' is of type Spline"):
        from_equivalent_sources(verde.Spline(), lattice)


def test_geometry_in_2d_or_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="'geometry' is a Mesh in 2D"):
        to_harmonica(Mesh.square(4))
    with pytest.raises(ValueError, match="'geometry' is a Survey in 2D"):
        to_harmonica(Survey.line(Mesh.square(4)))
    with pytest.raises(TypeError, match="'geometry' is of type tuple"):
        to_harmonica((1, 2))


def test_import_errors_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "harmonica", None)
    with pytest.raises(ImportError, match=r"needs harmonica; .*'skgrav\[bridges\]'"):
        from_equivalent_sources(None, None)
