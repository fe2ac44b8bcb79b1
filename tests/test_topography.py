"""Active cells below a topography, and how files, labelled arrays and pictures show them."""

import pickle

import numpy as np
import pytest

from skgrav import ForwardOperator, Mesh, Survey
from skgrav.io import (
    read_ubc_active,
    read_ubc_model,
    write_ubc_active,
    write_ubc_model,
)
from skgrav.plotting import DensityDisplay, SampleGalleryDisplay

xr = pytest.importorskip("xarray")

SECTION = Mesh([np.arange(0.0, 50, 10), np.arange(0.0, 60, 10)])
VOLUME = Mesh([np.arange(0.0, 50, 10), np.arange(0.0, 50, 10), np.arange(0.0, 60, 10)])


def slope(x):
    return 40 - 0.8 * x


def plane(y, x):
    return 30 - 0.5 * x + 0.2 * y


#: Depth of the ground at each column, and the same as a function, points and a grid.
X = SECTION.centers[1]
DEPTH = slope(X)
Y2, X2 = np.meshgrid(*VOLUME.centers[1:], indexing="ij")
DEPTH2 = plane(Y2, X2)
CORNERS = np.array([[plane(y, x), y, x] for y in (0.0, 40.0) for x in (0.0, 50.0)])
GRID = xr.DataArray(
    plane(*np.meshgrid([0.0, 25, 40], [0.0, 20, 50], indexing="ij")),
    {"y": [0.0, 25, 40], "x": [0.0, 20, 50]},
    ("y", "x"),
)


@pytest.mark.parametrize(
    "topography",
    [
        DEPTH,
        DEPTH.tolist(),
        slope,
        [[40.0, 0.0], [0.0, 50.0]],
        [[0.0, 50.0], [20.0, 25.0], [40.0, 0.0], [20.0, 25.0]],
        Survey([[40.0, 0.0], [0.0, 50.0]]),
        xr.DataArray([40.0, 0.0], {"x": [0.0, 50]}, ("x",)),
        xr.DataArray([0.0, 40.0], {"x": [50.0, 0]}, ("x",)),
        xr.DataArray([-40.0, 0.0], {"x": [0.0, 50]}, ("x",), attrs={"positive": "up"}),
        xr.DataArray([40.0, np.nan, 0.0], {"x": [0.0, 11, 50]}, ("x",)),
    ],
)
def test_cells_below_a_section_of_the_ground(topography):
    mesh = SECTION.below(topography)
    expected = SECTION.centers[0][:, None] >= DEPTH
    np.testing.assert_array_equal(mesh.active, expected)
    assert mesh.n_cells == expected.sum() == len(mesh.cell_centers)
    assert (mesh.cell_centers[:, 0] >= slope(mesh.cell_centers[:, 1])).all()


@pytest.mark.parametrize(
    "topography",
    [
        DEPTH2,
        plane,
        CORNERS,
        CORNERS[[2, 0, 3, 1, 1]],
        GRID,
        GRID.T,
        GRID.isel(y=slice(None, None, -1), x=slice(None, None, -1)),
        (-GRID).assign_attrs(positive="up", units="m"),
        GRID.where(GRID.x != 20),
        GRID.rename(x="easting", y="northing"),
        GRID.to_dataset(name="ground"),
    ],
)
def test_cells_below_a_surface(topography):
    mesh = VOLUME.below(topography)
    np.testing.assert_array_equal(mesh.active, VOLUME.centers[0][:, None, None] >= DEPTH2)


def test_elevations_are_positive_up():
    for depths, elevations in ((DEPTH, -DEPTH), (slope, lambda x: -slope(x))):
        assert SECTION.below(depths) == SECTION.below(elevations, positive="up")
    assert VOLUME.below(CORNERS) == VOLUME.below(CORNERS * [-1, 1, 1], positive="up")
    up = GRID.assign_attrs(positive="down")
    assert VOLUME.below(up, positive="up") == VOLUME.below(GRID)
    with pytest.raises(ValueError, match="'positive' is 'upward'"):
        SECTION.below(DEPTH, positive="upward")


def test_columns_beyond_take_the_nearest():
    with pytest.warns(UserWarning, match=r"2 of 5 columns .* up to 5 m"):
        mesh = SECTION.below([[20.0, 10.0], [10.0, 40.0]])
    np.testing.assert_array_equal(mesh.active.sum(axis=0), [2, 2, 3, 3, 3])
    with pytest.warns(UserWarning, match="4 of 5 columns"):
        assert SECTION.below([[20.0, 25.0]]).active.sum() == 10
    on_a_line = [[20.0, y, 2 * y] for y in (5.0, 15.0, 25.0)]
    with pytest.warns(UserWarning, match="of 20 columns"):
        assert VOLUME.below(on_a_line).active.sum() == 40
    with pytest.warns(UserWarning, match="20 of 20 columns"):
        row = VOLUME.below(GRID.isel(y=[0]))
    np.testing.assert_array_equal(row.active, row.active[:, :1] & np.ones((4, 1), dtype=bool))
    with pytest.warns(UserWarning, match=r"5 of 20 columns .* beyond the grid .* up to 10 m"):
        VOLUME.below(GRID.sel(x=[0, 20]).assign_coords(x=[0.0, 50]).sel(y=[0, 25]))


def test_number_is_the_depth_of_flat_ground():
    assert SECTION.below(20.0) == SECTION.below(np.full(5, 20.0))
    assert VOLUME.below(-20.0, positive="up") == VOLUME.below(np.full(VOLUME.shape[1:], 20.0))
    mesh = SECTION.below(20.0)
    assert (mesh.fraction_below(15.0) == mesh.fraction_below(np.full(5, 15.0))).all()


def test_far_coordinates_such_as_utm_keep_their_digits():
    far = Mesh([e + s for e, s in zip(VOLUME.edges, (0.0, 7_123_456.0, 512_345.0), strict=True)])
    mesh = far.below(CORNERS + [0.0, 7_123_456.0, 512_345.0])
    np.testing.assert_array_equal(mesh.active, VOLUME.below(CORNERS).active)
    stations = np.column_stack([DEPTH2.ravel() - 30, Y2.ravel(), X2.ravel()])
    survey = Survey(stations + [0.0, 7_123_456.0, 512_345.0], "z")
    rho = np.ones((1, mesh.n_cells))
    near = ForwardOperator(VOLUME.below(CORNERS), Survey(stations, "z")).fit().transform(rho)
    np.testing.assert_allclose(ForwardOperator(mesh, survey).fit().transform(rho), near, 1e-6)


def test_columns_of_a_data_frame_are_taken_by_name():
    pandas = pytest.importorskip("pandas")
    mesh = Mesh.regular((4, 5), 100.0)
    points = pandas.DataFrame({"x": [-250.0, 250.0], "z": [50.0, 350.0]})
    assert mesh.below(points) == mesh.below(points[["z", "x"]].to_numpy())
    survey = Survey(np.column_stack([np.full(6, -10.0), np.linspace(-250, 250, 6)]), "z")
    ground = points[["z", "x"]].to_numpy()
    assert Mesh.for_survey(survey, points) == Mesh.for_survey(survey, ground)
    with pytest.raises(ValueError, match=r"'topography' has the columns \['x', 'elevation'\]"):
        mesh.below(points.rename(columns={"z": "elevation"}))


def test_stations_make_the_cells_above_them_air():
    survey = Survey([[11.0, 5.0], [10.0, 20.0], [-5.0, 45.0], [25.0, 99.0]])
    mesh = SECTION.below(np.zeros(5), survey=survey)
    # The first is in a cell, the second on a face, between columns and layers.
    np.testing.assert_array_equal(mesh.active.argmax(axis=0), [2, 1, 1, 0, 0])
    assert ForwardOperator(mesh, Survey(survey.stations[:3])).fit().n_data_ == 6
    with pytest.raises(ValueError, match="stations below all cells"):
        SECTION.below(np.zeros(5), survey=Survey(np.column_stack([np.full(5, 60.0), X])))


def test_cells_that_are_inactive_remain_so():
    cave = Mesh(SECTION.edges, np.arange(20).reshape(4, 5) != 17)
    mesh = cave.below(DEPTH)
    np.testing.assert_array_equal(mesh.active, cave.active & SECTION.below(DEPTH).active)
    assert SECTION.below(np.zeros(5)).active is None
    assert mesh.whole == SECTION


@pytest.mark.parametrize(
    ("topography", "message"),
    [
        (np.full(5, 1400.0), "z is positive down; take positive='up'"),
        (
            np.zeros(4),
            r"'topography' has shape \(4,\); it must be one depth, one for each column, \(5,\)",
        ),
        (np.zeros((3, 3)), r"points with columns \(z, x\)"),
        ([0.0, np.nan, 0, 0, 0], "'topography'"),
        (lambda x: x * np.nan, "'topography'"),
        (np.zeros((0, 2)), "has no points"),
        (lambda: 0.0, "'topography'"),
        (GRID, r"'topography' has dimensions \('y', 'x'\)"),
        (
            GRID.to_dataset(name="a").assign(b=GRID),
            r"Dataset with the variables \['a', 'b'\]; give",
        ),
        (
            [[20.0, 7000.0], [25.0, 9000.0]],
            r"'topography' lies at x = 7000 to 9000 m, but the mesh at 0 to 50 m, farther away",
        ),
        (xr.DataArray([0.0, 1], {"x": [7e3, 9e3]}, ("x",)), "lies at x = 7000 to 9000 m"),
        (Survey([[20.0, -9000.0], [25.0, -7e3]]), "lies at x = -9000 to -7000 m"),
        (xr.DataArray([0.0, 1], {"x": [0.0, 0]}, ("x",)), "repeats"),
        (xr.DataArray([0.0, 1], {"x": [0.0, 9]}, ("x",), attrs={"units": "km"}), "in 'km'"),
    ],
)
def test_what_is_no_topography_is_refused(topography, message):
    with pytest.raises((ValueError, TypeError), match=message):
        SECTION.below(topography)


@pytest.mark.parametrize(
    ("active", "message"),
    [
        (np.zeros((4, 5)), "no active cell"),
        (np.ones((5, 4)), r"has shape \(5, 4\)"),
        (np.full((4, 5), 2), "values from 2 to 2"),
        (np.full((4, 5), np.nan), "'active'"),
        ("all", "'active'"),
    ],
)
def test_what_is_no_mask_is_refused(active, message):
    with pytest.raises((ValueError, TypeError), match=message):
        Mesh(SECTION.edges, active)


def test_a_mesh_with_active_cells_is_a_value():
    mesh = SECTION.below(DEPTH)
    assert mesh == Mesh(SECTION.edges, mesh.active.astype(int).tolist())
    assert mesh != SECTION
    assert len({mesh, SECTION, pickle.loads(pickle.dumps(mesh))}) == 2
    assert not pickle.loads(pickle.dumps(mesh)).active.flags.writeable
    assert repr(mesh) == "Mesh(4 x 5 cells, 10 active, z 0 to 40 m, x 0 to 50 m)"
    rho = np.arange(20.0).reshape(2, 10)
    np.testing.assert_array_equal(mesh.flatten(mesh.unflatten(rho)), rho)
    assert np.isnan(mesh.unflatten(rho)).sum() == 20
    with pytest.raises(ValueError, match=r"10 cells of this mesh of shape \(4, 5\), 10 active"):
        mesh.unflatten(np.ones(20))


# Labelled arrays, VTK and UBC-GIF


@pytest.mark.parametrize("n_samples", [None, 3])
@pytest.mark.parametrize("whole", [SECTION, VOLUME])
def test_through_xarray_and_netcdf(whole, n_samples, tmp_path):
    mesh = whole.below(DEPTH if whole is SECTION else DEPTH2)
    size = (mesh.n_cells,) if n_samples is None else (n_samples, mesh.n_cells)
    rho = np.random.default_rng(0).normal(size=size)
    array = mesh.to_xarray(rho)
    array.to_netcdf(tmp_path / "density.nc", engine="scipy")
    with xr.open_dataarray(tmp_path / "density.nc", engine="scipy") as file:
        read = file.load()
    for found in (array, read, read.transpose(..., "x", "z")):
        assert Mesh.from_xarray(found) == mesh
        np.testing.assert_array_equal(mesh.flatten(found), rho)
    assert array.coords["active"].dtype == bool
    assert Mesh.from_xarray(array.to_dataset()) == mesh
    # Without the coordinate, cells that are NaN in all samples are inactive.
    assert Mesh.from_xarray(array.drop_vars("active")) == mesh
    part = array.isel(x=slice(2, None))
    assert Mesh.from_xarray(part).active.shape == part.shape[-mesh.ndim :]


def test_cells_that_are_nan_in_some_samples_are_active():
    array = SECTION.to_xarray(np.ones((2, 20)))
    assert Mesh.from_xarray(array.copy(data=array.values)).active is None
    array[0, 1, 1] = np.nan
    array[:, 0, 0] = np.nan
    assert Mesh.from_xarray(array).n_cells == 19
    with pytest.raises(ValueError, match="coordinate 'active' of 'array' has dimensions"):
        Mesh.from_xarray(array.assign_coords(active=("x", np.ones(5, dtype=bool))))


@pytest.mark.parametrize("whole", [SECTION, VOLUME])
def test_through_vtk(whole, tmp_path):
    pyvista = pytest.importorskip("pyvista")
    mesh = whole.below(DEPTH if whole is SECTION else DEPTH2)
    rho = np.arange(1.0, mesh.n_cells + 1)
    grid = mesh.to_pyvista(rho)
    grid.save(tmp_path / "density.vtr")
    for found in (grid, pyvista.read(tmp_path / "density.vtr")):
        assert Mesh.from_pyvista(found) == mesh
        left = found.threshold(0.5, scalars="active")
        assert left.n_cells == mesh.n_cells
        np.testing.assert_array_equal(np.sort(left.cell_data["density"]), rho)
    assert Mesh.from_pyvista(whole.to_pyvista(np.ones(whole.n_cells))) == whole
    with pytest.raises(ValueError, match="give a pyvista"):
        Mesh.from_pyvista(pyvista.ImageData(dimensions=(2, 2, 2)))


def test_through_ubc_files(tmp_path):
    mesh, path = VOLUME.below(DEPTH2), tmp_path / "file"
    write_ubc_active(path, mesh)
    assert read_ubc_active(path, VOLUME) == mesh
    path.write_text(path.read_text().replace("0", "-1"))
    assert read_ubc_active(path, VOLUME) == mesh
    rho = np.arange(mesh.n_cells) * 0.5
    for mark in (None, -1e8, -7.0):
        write_ubc_model(path, mesh, rho, inactive=mark)
        np.testing.assert_array_equal(read_ubc_model(path, mesh), rho)
        assert read_ubc_active(path, VOLUME, inactive=mark) == mesh
    path.write_text(path.read_text().replace("-7.0", "nan"))
    np.testing.assert_array_equal(read_ubc_model(path, mesh), rho)
    assert read_ubc_active(path, VOLUME) == mesh
    write_ubc_active(path, VOLUME)
    assert read_ubc_active(path, VOLUME) == VOLUME
    assert read_ubc_active(path, mesh) == mesh


def test_ubc_files_without_active_cells_are_refused(tmp_path):
    path = tmp_path / "file"
    write_ubc_model(path, VOLUME, np.full(VOLUME.n_cells, 300.0))
    with pytest.raises(ValueError, match="Name the mark of this file by 'inactive'"):
        read_ubc_active(path, VOLUME)
    with pytest.raises(ValueError, match="leaves no cell"):
        read_ubc_active(path, VOLUME, inactive=0.3)
    path.write_text("0\n" * VOLUME.n_cells)
    with pytest.raises(ValueError, match="leaves no cell"):
        read_ubc_active(path, VOLUME)
    path.write_text("1\n" * (VOLUME.n_cells - 1))
    with pytest.raises(ValueError, match="the file ends before cell 80 of the 80"):
        read_ubc_active(path, VOLUME)
    mesh = VOLUME.below(DEPTH2)
    path.write_text("air\n" + "0.3\n" * (VOLUME.n_cells - 1))
    with pytest.raises(ValueError, match="line 1: 'air' is not a finite number"):
        read_ubc_model(path, mesh)
    rho = np.ones(mesh.n_cells)
    rho[0] = np.nan
    with pytest.raises(ValueError, match="'rho' is NaN in 1 of"):
        write_ubc_model(path, mesh, rho)


# Pictures


def ground_of(panel):
    """Give the faces that were drawn as the ground, as an array of their ends."""
    from matplotlib.collections import LineCollection

    lines = [c for c in panel.collections if isinstance(c, LineCollection)]
    return np.concatenate([np.array(line.get_segments()) for line in lines]) if lines else None


@pytest.mark.usefixtures("close_figures")
def test_displays_leave_air_blank_and_draw_the_ground():
    mesh = SECTION.below(DEPTH)
    rho = np.linspace(100, 200, mesh.n_cells)
    display = DensityDisplay({"model": rho}, mesh=mesh).plot()
    image = display.images_[0].get_array()
    np.testing.assert_array_equal(np.ma.getmaskarray(image), ~mesh.active)
    assert display.images_[0].norm.vmin == 100
    assert display.axes_[0].get_ylabel() == "z (m)"
    ground = ground_of(display.axes_[0])
    flat = ground[ground[:, 0, 1] == ground[:, 1, 1]]
    tops = dict(zip(flat[:, :, 0].min(axis=1), flat[:, 0, 1], strict=True))
    expected = {10.0 * j: 10.0 * (4 - n) for j, n in enumerate(mesh.active.sum(axis=0)) if n % 4}
    assert tops == expected
    assert ground_of(DensityDisplay({"model": np.ones(20)}, mesh=SECTION).plot().axes_[0]) is None
    gallery = SampleGalleryDisplay({"drawn": np.stack([rho, rho])}, mesh=mesh).plot()
    assert all(ground_of(panel) is not None for panel in gallery.axes_.ravel())


@pytest.mark.usefixtures("close_figures")
def test_displays_of_a_volume_cut_through_its_strongest_cell():
    mesh = VOLUME.below(DEPTH2)
    rho = np.ones(mesh.n_cells)
    rho[17] = 500.0
    display = DensityDisplay({"model": rho}, mesh=mesh).plot()
    z, y, x = mesh.cell_centers[17]
    assert [f"{v:g} m" in a.get_title() for v, a in zip((z, y, x), display.axes_[0], strict=True)]
    k, j, i = np.unravel_index(mesh.cells[17], mesh.shape)
    slices = mesh.active[k], mesh.active[:, j], mesh.active[:, :, i]
    for image, panel, active in zip(display.images_[0], display.axes_[0], slices, strict=True):
        np.testing.assert_array_equal(np.ma.getmaskarray(image.get_array()), ~active)
        steps = np.count_nonzero(np.diff(active, axis=0)) + np.count_nonzero(
            np.diff(active, axis=1)
        )
        found = ground_of(panel)
        assert (0 if found is None else len(found)) == steps
        assert image.get_array().max() == 500.0
