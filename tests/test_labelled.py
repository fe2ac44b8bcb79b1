"""Densities and gravity as labelled arrays, through files and back, and as grids in 3D."""

import sys

import numpy as np
import pytest

from skgrav import Mesh, Survey

xr = pytest.importorskip("xarray")

SECTION = Mesh([[0, 100, 300], [0, 500, 1000, 1500 + 1 / 3]])
VOLUME = Mesh([[-5, 1, 3], [0, 2, 4, 6], [0.1, 5, 10, 15, 20]])
LINE = Survey([[-1, 0], [-1, 2], [-3, 4]], ("z", "x"), [1, 2, 3, 4, 5, 6])
GRID = Survey([[-1, 0, 0.1], [-1, 2, 1e6]], ("x", "z"))
MESHES = pytest.mark.parametrize("mesh", [SECTION, VOLUME], ids=["2D", "3D"])
SURVEYS = pytest.mark.parametrize("survey", [LINE, GRID], ids=["2D", "3D"])
# SciPy writes the netCDF files of version 3 and comes with skgrav.
ENGINES = pytest.mark.parametrize("engine", ["scipy", "netcdf4"])


def density(mesh, n_samples=2):
    return np.random.default_rng(0).normal(size=(n_samples, mesh.n_cells))


def require(engine):
    if engine == "netcdf4":
        pytest.importorskip("netCDF4")


@MESHES
def test_density_has_coordinates_units_and_a_direction(mesh):
    rho = density(mesh)
    array = mesh.to_xarray(rho)
    axes = ("z", "x") if mesh.ndim == 2 else ("z", "y", "x")
    assert array.dims == ("sample", *axes)
    assert array.name == "density"
    assert array.attrs == {"long_name": "density", "units": "kg/m3"}
    assert array.z.attrs == {
        "long_name": "depth of cell centre",
        "units": "m",
        "positive": "down",
    }
    np.testing.assert_array_equal(array.values, mesh.unflatten(rho))
    for axis, centers, edges in zip(axes, mesh.centers, mesh.edges, strict=True):
        np.testing.assert_array_equal(array[axis], centers)
        np.testing.assert_array_equal(array[f"{axis}_min"], edges[:-1])
        np.testing.assert_array_equal(array[f"{axis}_max"], edges[1:])
        assert array[axis].attrs["units"] == "m"
    one = mesh.to_xarray(rho[0], name="contrast", units="normalized")
    assert one.dims == axes
    assert (one.name, one.attrs["units"]) == ("contrast", "normalized")


@MESHES
@ENGINES
def test_mesh_and_density_come_back_from_a_file(mesh, engine, tmp_path):
    require(engine)
    rho = density(mesh)
    mesh.to_xarray(rho).to_netcdf(tmp_path / "rho.nc", engine=engine)
    with xr.open_dataarray(tmp_path / "rho.nc", engine=engine) as array:
        assert Mesh.from_xarray(array) == mesh
        np.testing.assert_array_equal(mesh.flatten(array), rho)
        assert array.attrs["units"] == "kg/m3"
        assert array.z.attrs["positive"] == "down"
    with xr.open_dataset(tmp_path / "rho.nc", engine=engine) as dataset:
        assert Mesh.from_xarray(dataset) == mesh


@SURVEYS
@ENGINES
def test_survey_and_gravity_come_back_from_a_file(survey, engine, tmp_path):
    require(engine)
    g = np.random.default_rng(0).normal(size=(2, survey.n_data))
    survey.to_xarray(g).to_netcdf(tmp_path / "g.nc", engine=engine)
    with xr.open_dataset(tmp_path / "g.nc", engine=engine) as dataset:
        assert Survey.from_xarray(dataset) == survey
        np.testing.assert_array_equal(survey.flatten(dataset), g)
        assert dataset.gz.attrs["units"] == "mGal"


def test_gravity_has_stations_units_and_a_sign():
    g = np.arange(6.0)
    dataset = LINE.to_xarray(g, units="normalized")
    assert list(dataset.data_vars) == ["gz", "gx", "gz_uncertainty", "gx_uncertainty"]
    assert dataset.gz.dims == ("station",)
    np.testing.assert_array_equal(dataset.gx, [3, 4, 5])
    np.testing.assert_array_equal(dataset.gx_uncertainty, [4, 5, 6])
    np.testing.assert_array_equal(dataset.x, [0, 2, 4])
    assert dataset.gz.attrs == {
        "long_name": "gravity, z component",
        "units": "normalized",
        "positive": "down",
    }
    assert "positive" not in dataset.gx.attrs
    assert dataset.z.attrs["positive"] == "down"


def test_a_part_of_the_array_has_a_part_of_the_mesh():
    rho = density(VOLUME)
    part = VOLUME.to_xarray(rho).sel(x=slice(0, 13), sample=1).isel(z=[1])
    mesh = Mesh.from_xarray(part)
    assert mesh == Mesh([[1, 3], [0, 2, 4, 6], [0.1, 5, 10, 15]])
    np.testing.assert_array_equal(mesh.flatten(part), VOLUME.unflatten(rho)[1, 1:, :, :3].ravel())


def test_dimensions_may_come_in_any_order():
    rho = density(VOLUME)
    array = VOLUME.to_xarray(rho).transpose("x", "sample", "z", "y")
    assert Mesh.from_xarray(array) == VOLUME
    np.testing.assert_array_equal(VOLUME.flatten(array), rho)
    dataset = GRID.to_xarray(np.ones((3, 4))).transpose("station", "sample")
    assert GRID.flatten(dataset).shape == (3, 4)


def test_arrays_of_others_need_evenly_spaced_centres():
    coords = {"z": [5.0, 15.0, 25.0], "x": [0.0, 2.0, 4.0]}
    array = xr.DataArray(np.zeros((3, 3)), coords, ("z", "x"))
    assert Mesh.from_xarray(array) == Mesh([[0, 10, 20, 30], [-1, 1, 3, 5]])
    with pytest.raises(ValueError, match="edges along 'x' do not follow from 3 centres"):
        Mesh.from_xarray(array.assign_coords(x=[0.0, 2.0, 5.0]))
    with pytest.raises(ValueError, match="Add the coordinates 'z_min' and 'z_max'"):
        Mesh.from_xarray(array.isel(z=[0]))


def test_two_centres_are_not_enough_for_edges():
    # Those of cells of 100 and 200 m; equal cells of 150 m would begin at -25 m.
    array = Mesh([[0, 100, 300], [0, 100, 200]]).to_xarray(np.arange(4.0))
    centres = array.drop_vars([c for c in array.coords if c not in ("z", "x")])
    with pytest.raises(ValueError, match=r"along 'z' do not follow from 2 centres.*'z_min' and"):
        Mesh.from_xarray(centres)


def test_decreasing_coordinates_are_to_be_sorted():
    array = VOLUME.to_xarray(density(VOLUME))
    turned = array.isel(z=slice(None, None, -1))
    for read in (Mesh.from_xarray, VOLUME.flatten):
        with pytest.raises(ValueError, match=r"sort them by array\.sortby\('z'\)"):
            read(turned)
    bare = turned.drop_vars([c for c in array.coords if c not in ("z", "y", "x")])
    with pytest.raises(ValueError, match=r"centres along 'z' decrease; sort them by array\.sortby"):
        Mesh.from_xarray(bare)
    assert Mesh.from_xarray(turned.sortby("z")) == VOLUME
    np.testing.assert_array_equal(VOLUME.flatten(turned.sortby("z")), VOLUME.flatten(array))


@pytest.mark.parametrize(
    ("units", "factor"),
    [
        ("kg/m3", 1),
        ("kg m-3", 1),
        ("kg m**-3", 1),
        ("kg/m³", 1),
        ("g/cm3", 1000),
        ("g cm^-3", 1000),
        ("g cm⁻³", 1000),
        ("G/CC", 1000),
        ("t / m3", 1000),
        ("normalized", 1),
    ],
)
def test_densities_come_back_in_kg_per_m3(units, factor):
    array = SECTION.to_xarray(density(SECTION), units=units)
    np.testing.assert_array_equal(SECTION.flatten(array), factor * density(SECTION))


@pytest.mark.parametrize(
    ("units", "factor"),
    [
        ("mGal", 1),
        ("MGAL", 1),
        ("uGal", 1e-3),
        ("µGal", 1e-3),
        ("\u03bcGal", 1e-3),
        ("Gal", 1e3),
        ("gu", 0.1),
        ("g.u.", 0.1),
        ("um/s2", 0.1),
        ("µm/s²", 0.1),
        ("um s-2", 0.1),
        ("µm·s⁻²", 0.1),
        ("um/s^2", 0.1),
        ("um/sec**2", 0.1),
        ("nm/s2", 1e-4),
        ("m s^-2", 1e5),
        ("normalized", 1),
    ],
)
def test_gravity_and_uncertainty_come_back_in_mgal(units, factor):
    g = np.arange(6.0)
    dataset = LINE.to_xarray(g, units=units)
    assert dataset.gz.attrs["units"] == dataset.gz_uncertainty.attrs["units"] == units
    np.testing.assert_array_equal(LINE.flatten(dataset), factor * g)
    np.testing.assert_array_equal(
        Survey.from_xarray(dataset).uncertainty, factor * LINE.uncertainty
    )


def test_what_says_nothing_is_in_mgal_and_kg_per_m3():
    dataset = LINE.to_xarray(np.arange(6.0)).drop_attrs()
    np.testing.assert_array_equal(LINE.flatten(dataset), np.arange(6.0))
    array = SECTION.to_xarray(density(SECTION)).drop_attrs()
    np.testing.assert_array_equal(SECTION.flatten(array), density(SECTION))


def test_gz_that_is_positive_up_changes_its_sign():
    dataset = LINE.to_xarray(np.arange(6.0))
    dataset["gz"] = dataset.gz.assign_attrs(positive="up")
    np.testing.assert_array_equal(LINE.flatten(dataset), [0, -1, -2, 3, 4, 5])
    assert Survey.from_xarray(dataset) == LINE


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            lambda d: d.gz.assign_attrs(units="kGal"),
            r"variable 'gz' is in 'kGal'; units of gravity",
        ),
        (
            lambda d: d.gz.assign_attrs(units="g/cm3"),
            r"'gz' is in 'g/cm3'.*mGal, uGal.*Convert the",
        ),
        (lambda d: d.gz.assign_attrs(positive="north"), r"'gz' is positive 'north'; gz may be"),
    ],
)
def test_unknown_units_and_directions_are_refused(change, text):
    dataset = LINE.to_xarray(np.arange(6.0))
    dataset["gz"] = change(dataset)
    for read in (LINE.flatten, Survey.from_xarray):
        with pytest.raises(ValueError, match=text):
            read(dataset)


def test_other_unknown_units_are_refused():
    dataset = LINE.to_xarray(np.arange(6.0))
    with pytest.raises(ValueError, match=r"'gx' is positive 'west'.*gx and gy are positive toward"):
        LINE.flatten(dataset.assign(gx=dataset.gx.assign_attrs(positive="west")))
    sigma = dataset.gx_uncertainty.assign_attrs(units="%")
    with pytest.raises(ValueError, match="'gx_uncertainty' is in '%'; units of gravity are"):
        Survey.from_xarray(dataset.assign(gx_uncertainty=sigma))
    array = SECTION.to_xarray(density(SECTION))
    with pytest.raises(ValueError, match="'images' is in 'lb/ft3'; units of density are kg/m3, g"):
        SECTION.flatten(array.assign_attrs(units="lb/ft3"))
    with pytest.raises(ValueError, match="'units' is in 'mgal/s'; units of gravity are mGal"):
        LINE.to_xarray(np.arange(6.0), units="mgal/s")
    with pytest.raises(ValueError, match="'units' is in 'SI'; units of density are"):
        SECTION.to_xarray(density(SECTION), units="SI")


def test_flatten_is_the_inverse_of_unflatten():
    rho = density(VOLUME)
    np.testing.assert_array_equal(VOLUME.flatten(VOLUME.unflatten(rho)), rho)
    np.testing.assert_array_equal(VOLUME.flatten(VOLUME.unflatten(rho[0])), rho[0])
    g = np.arange(12.0).reshape(2, 6)
    np.testing.assert_array_equal(LINE.flatten(LINE.unflatten(g)), g)
    with pytest.raises(ValueError, match=r"'images' has shape \(3, 2\); its last 2 axes must be"):
        SECTION.flatten(np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"'profiles' has shape \(6,\); its last 2 axes must be"):
        LINE.flatten(np.zeros(6))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.rename(z="depth"), r"has dimensions \('depth', 'x'\).*array.rename"),
        (lambda a: a.isel(z=0), r"has dimensions \('x',\).*isel\(z=\[0\]\)"),
        (lambda a: a.drop_vars("z"), "coordinate 'z' is missing"),
        (lambda a: a.assign_coords(z=a.z.assign_attrs(units="km")), "'z' is in 'km'; it must be"),
        (lambda a: a.assign_coords(z=a.z.assign_attrs(positive="up")), "'z' is positive up; z"),
        (lambda a: a.isel(x=[0, 2]), "cells along 'x' do not touch"),
        (lambda a: a.isel(z=slice(None, None, -1)), "cells along 'z' do not touch"),
        (lambda a: a.values, "'array' is a ndarray; give a labelled xarray array"),
    ],
)
def test_arrays_that_are_no_mesh_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Mesh.from_xarray(change(SECTION.to_xarray(density(SECTION)[0])))


def test_arrays_on_other_cells_are_refused():
    array = SECTION.to_xarray(density(SECTION)[0])
    with pytest.raises(ValueError, match="'z' of 'images' does not match the cell centres"):
        SECTION.flatten(array.isel(z=slice(None, None, -1)))
    with pytest.raises(ValueError, match="'images' must be one DataArray of dimensions"):
        VOLUME.flatten(array)
    with pytest.raises(ValueError, match="'rho' has shape"):
        SECTION.to_xarray(np.zeros((2, 2, 6)))


def test_datasets_that_are_no_survey_are_refused():
    dataset = LINE.to_xarray(np.arange(6.0))
    with pytest.raises(ValueError, match="gravity must be among them as gz, gx, gxx"):
        Survey.from_xarray(dataset[["gz_uncertainty"]])
    with pytest.raises(ValueError, match=r"has an uncertainty of components \['z'\] alone"):
        Survey.from_xarray(dataset.drop_vars("gx_uncertainty"))
    with pytest.raises(ValueError, match="coordinate 'x' is missing"):
        Survey.from_xarray(dataset.drop_vars("x"))
    with pytest.raises(ValueError, match="'profiles' lacks gx"):
        LINE.flatten(dataset.drop_vars("gx"))
    with pytest.raises(
        ValueError, match=r"do not match this survey; take Survey.from_xarray\(profiles\)"
    ):
        LINE.flatten(dataset.isel(station=[0, 2, 1]))
    grid = xr.Dataset({"gz": (("y", "x"), np.zeros((2, 3)))}, {"x": [0, 1, 2], "y": [0, 1]})
    with pytest.raises(ValueError, match=r"along one dimension of stations.*dataset.stack"):
        Survey.from_xarray(grid.assign_coords(z=("x", [0, 0, 0])))
    with pytest.raises(ValueError, match="'g' has shape"):
        LINE.to_xarray(np.zeros((1, 2, 6)))


@MESHES
def test_pyvista_grid_has_the_cells_where_they_are_with_z_up(mesh):
    pytest.importorskip("pyvista", exc_type=ImportError)
    rho = density(mesh)[0]
    grid = mesh.to_pyvista(rho, name="contrast")
    assert grid.n_cells == mesh.n_cells
    z, *_, x = np.meshgrid(*mesh.centers, indexing="ij")
    found = np.asarray(grid.cell_centers().points)
    for point, value in zip(found, grid.cell_data["contrast"], strict=True):
        near = np.isclose(x, point[0]) & np.isclose(z, -point[2])
        if mesh.ndim == 3:
            near &= np.isclose(mesh.centers[1], point[1])[None, :, None]
        assert mesh.unflatten(rho)[near] == pytest.approx([value])
    size = grid.compute_cell_sizes()
    total = size.cell_data["Volume" if mesh.ndim == 3 else "Area"].sum()
    assert total == pytest.approx(mesh.volumes.sum(), rel=1e-5)
    with pytest.raises(ValueError, match=r"a grid shows one density of shape .* Give one sample"):
        mesh.to_pyvista(density(mesh))


@pytest.mark.parametrize(
    ("module", "call", "extra"),
    [
        ("xarray", lambda: SECTION.to_xarray(np.zeros(6)), "io"),
        ("xarray", lambda: LINE.to_xarray(np.zeros(6)), "io"),
        ("pyvista", lambda: SECTION.to_pyvista(np.zeros(6)), "plot3d"),
    ],
)
def test_missing_packages_name_the_extra(module, call, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"pip install 'skgrav\[{extra}\]'"):
        call()
