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
    array = xr.DataArray(np.zeros((2, 3)), {"z": [5.0, 15.0], "x": [0.0, 2.0, 4.0]}, ("z", "x"))
    assert Mesh.from_xarray(array) == Mesh([[0, 10, 20], [-1, 1, 3, 5]])
    with pytest.raises(ValueError, match="centres along 'x' do not tell the edges"):
        Mesh.from_xarray(array.assign_coords(x=[0.0, 2.0, 5.0]))
    with pytest.raises(ValueError, match="add the coordinates 'z_min' and 'z_max'"):
        Mesh.from_xarray(array.isel(z=[0]))


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
    with pytest.raises(ValueError, match="'z' of 'images' are not the cell centres of this mesh"):
        SECTION.flatten(array.isel(z=slice(None, None, -1)))
    with pytest.raises(ValueError, match="'images' must be one DataArray of dimensions"):
        VOLUME.flatten(array)
    with pytest.raises(ValueError, match="'rho' has shape"):
        SECTION.to_xarray(np.zeros((2, 2, 6)))


def test_datasets_that_are_no_survey_are_refused():
    dataset = LINE.to_xarray(np.arange(6.0))
    with pytest.raises(ValueError, match="gravity must be among them as gz, gx"):
        Survey.from_xarray(dataset[["gz_uncertainty"]])
    with pytest.raises(ValueError, match=r"has an uncertainty of components \['z'\] alone"):
        Survey.from_xarray(dataset.drop_vars("gx_uncertainty"))
    with pytest.raises(ValueError, match="coordinate 'x' is missing"):
        Survey.from_xarray(dataset.drop_vars("x"))
    with pytest.raises(ValueError, match="'profiles' lacks gx"):
        LINE.flatten(dataset.drop_vars("gx"))
    with pytest.raises(ValueError, match=r"other stations .* Survey.from_xarray\(profiles\)"):
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
