"""Topography of tables and grids: the same ground from each, or an error with the remedy."""

import sys
import tarfile

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skgrav.io import read_topography

xarray = pytest.importorskip("xarray")

X, Y = np.array([0.0, 100.0, 200.0]), np.array([5000.0, 5100.0])
UP = np.array([[10.0, 20.0, 30.0], [-5.0, 0.0, 7.5]])
POINTS = np.column_stack([-UP.ravel(), np.repeat(Y, 3), np.tile(X, 2)])


def text(delimiter=" ", points=POINTS):
    return "".join(delimiter.join(map(str, (x, y, -z))) + "\n" for z, y, x in points)


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ("6 ! points\n" + text(), {}),
        ("X,Y,Z\n" + text(","), {}),
        ("Easting (m) \tNorthing\tDEM [m]\n" + text("\t"), {}),
        (text(), {}),
        ("x,y,elevation\n" + text(","), {}),
        ("X [m];Y [m];H [m]\n" + text(";").replace(".", ","), {"elevation": "H"}),
        (
            "h,a,b,n\n" + "".join(f"{-z},{x},{y},7\n" for z, y, x in POINTS),
            {"x": "a", "y": "b", "elevation": "h"},
        ),
        (
            "id,x,y,Z\n" + "".join(f"7,{x},{y},{-z}\n" for z, y, x in POINTS),
            {},
        ),
        ("N E h\n" + text(), {"names": ["x", "y", "elevation"]}),
        (text(points=POINTS / 1e3), {"length_unit": "km"}),
        ("x_km y_km elevation_m\n" + text(points=POINTS / [1, 1e3, 1e3]), {}),
        (text(points=POINTS / [0.3048, 1, 1]), {"elevation_unit": "ft"}),
    ],
)
def test_tables_give_points(tmp_path, content, options):
    path = tmp_path / "ground.xyz"
    path.write_text(content)
    assert_allclose(read_topography(path, **options), POINTS, rtol=1e-13)


def test_lines_give_points_of_two_coordinates(tmp_path):
    path = tmp_path / "ground.csv"
    path.write_text("0,10\n100,20\n")
    assert_array_equal(read_topography(path, y=None), [[-10, 0], [-20, 100]])
    path.write_text("d,h\n0,10\n")
    assert_array_equal(read_topography(path, x="d", y=None, elevation="h"), [[-10, 0]])


@pytest.mark.parametrize(
    ("head", "match"),
    [
        ("x,y,depth", r"'depth' of .* is a depth by its name, but elevations are positive up"),
        ("x,y,h,n", r"has the columns \['x', 'y', 'h', 'n'\], not 'elevation'. Name it by 'elev"),
        ("a,b,h", r"has the columns \['a', 'b', 'h'\], not 'x'. Name it by 'x'"),
    ],
)
def test_columns_are_not_guessed(tmp_path, head, match):
    path = tmp_path / "ground.xyz"
    path.write_text(head + "\n" + "1,2,3,4\n"[: 2 * len(head.split(","))].rstrip(",") + "\n")
    with pytest.raises(ValueError, match=match):
        read_topography(path)


@pytest.mark.parametrize("mark", ["-9999", "*", "99999", "-32768", "1e30"])
def test_missing_elevations_are_left_out_and_said(tmp_path, mark):
    path = tmp_path / "ground.xyz"
    # Mountains, from which -9999 is less than ten times their range.
    path.write_text("x y elevation\n" + text() + f"0 9 4000\n5 6 {mark}\n")
    with pytest.warns(UserWarning, match=r"1 of 8 rows .*'elevation' in line 9 \(.*\)"):
        assert len(read_topography(path)) == 7


def grid(**coords):
    return xarray.DataArray(UP, {"y": Y, "x": X, **coords}, ("y", "x"), name="elevation")


def same(found):
    assert found.dims == ("y", "x")
    assert_allclose(found["x"], X)
    assert_allclose(found["y"], Y)
    assert_allclose(found, UP)
    assert found.attrs["units"] == "m"
    assert found.attrs["positive"] == "up"


@pytest.mark.parametrize(
    "variant",
    [
        lambda g: g,
        lambda g: g.sortby("y", ascending=False).transpose("x", "y"),
        lambda g: g.rename("Band1").rename(x="easting", y="northing"),
        lambda g: g.expand_dims("time"),
        lambda g: (-g).assign_attrs(positive="down"),
        lambda g: (g * 100).assign_attrs(units="cm"),
    ],
)
@pytest.mark.parametrize("suffix", ["nc", "grd"])
def test_netcdf_gives_a_grid(tmp_path, variant, suffix):
    path = tmp_path / f"ground.{suffix}"
    variant(grid()).to_netcdf(path, engine="scipy")
    same(read_topography(path))


def test_units_of_a_grid(tmp_path):
    path = tmp_path / "ground.nc"
    far = grid().assign_coords(x=X / 1e3, y=Y / 1e3)
    far.to_netcdf(path, engine="scipy")
    same(read_topography(path, length_unit="km", elevation_unit="m"))
    for axis in "xy":
        far[axis].attrs["units"] = "km"
    far.to_netcdf(path, engine="scipy")
    same(read_topography(path, elevation_unit="m"))
    with pytest.raises(ValueError, match=r"not the unit of the elevation\. Give 'elevation_unit'"):
        read_topography(path)
    with pytest.raises(ValueError, match=r"y of .* is in units of 1000 m, but 'length_unit' is m"):
        read_topography(path, length_unit="m")
    far.attrs["units"] = "fathom"
    far.to_netcdf(path, engine="scipy")
    with pytest.raises(ValueError, match="is in 'fathom'; units of length are m, km"):
        read_topography(path)


@pytest.mark.parametrize(
    ("variant", "options", "match"),
    [
        (lambda g: g.rename(x="lon", y="lat"), {}, r"is in degrees; .*\n +rio warp .*EPSG:32719"),
        (lambda g: g.assign_coords(x=("x", X, {"units": "degrees_east"})), {}, "is in degrees"),
        (lambda g: g.rename(x="u", y="v"), {}, r"dimensions \['v', 'u'\], not 'y'. Name it by 'y'"),
        (lambda g: g.isel(x=0), {}, r"has the grids \[\], not 'elevation'. Name that of"),
        (lambda g: xarray.Dataset({"a": g, "b": g}), {}, r"has the grids \['a', 'b'\], not"),
        (lambda g: g, {"y": None}, "'y' is None, but .* is a grid"),
        (lambda g: g, {"names": ["x", "y"]}, r"'names' is \['x', 'y'\], but .* is a grid. Leave"),
        (lambda g: g * np.nan, {}, "has no elevation: all its values are missing"),
    ],
)
def test_grids_that_cannot_be_meant_are_refused(tmp_path, variant, options, match):
    path = tmp_path / "ground.nc"
    variant(grid()).to_netcdf(path, engine="scipy")
    with pytest.raises(ValueError, match=match):
        read_topography(path, **options)


def test_marks_in_a_grid_are_missing_and_said(tmp_path):
    path = tmp_path / "ground.nc"
    up = UP.copy()
    up[0, 1], up[1, 0] = -9999, np.nan
    (0 * grid() + up).rename("elevation").to_netcdf(path, engine="scipy")
    with pytest.warns(UserWarning, match="1 of 6 nodes are taken as missing, since they are -9999"):
        found = read_topography(path)
    assert np.isnan(found.values).tolist() == [[False, True, False], [True, False, False]]


def tif(path, values=UP[::-1], crs="EPSG:32719", step=100.0, **profile):
    rasterio = pytest.importorskip("rasterio")
    affine = pytest.importorskip("affine")
    place = affine.Affine(step, 0, X[0] - step / 2, 0, -step, Y[-1] + step / 2)
    shape = {"height": values.shape[-2], "width": values.shape[-1], "count": 1}
    with rasterio.open(
        path, "w", driver="GTiff", dtype="float32", crs=crs, transform=place, **shape, **profile
    ) as raster:
        raster.write(values.astype(np.float32), 1)
    return path


@pytest.mark.parametrize("profile", [{}, {"compress": "lzw", "predictor": 3}, {"crs": None}])
def test_geotiff_gives_a_grid(tmp_path, profile):
    same(read_topography(tif(tmp_path / "ground.tif", **profile)))


def test_nodata_of_geotiff_is_missing(tmp_path):
    up = UP[::-1].copy()
    up[0, 0] = -12345
    found = read_topography(tif(tmp_path / "ground.tif", up, nodata=-12345))
    assert np.isnan(found.values).tolist() == [[False] * 3, [True, False, False]]


def test_geotiff_in_feet_and_in_degrees(tmp_path):
    path = tif(tmp_path / "ground.tif", crs="EPSG:2225")  # in US survey feet
    with pytest.raises(ValueError, match=r"x is in units of 0.3048.* Give 'elevation_unit'"):
        read_topography(path)
    found = read_topography(path, elevation_unit="m")
    assert_allclose(found["x"], X * 1200 / 3937)
    with pytest.raises(ValueError, match=r"y of .* 0.3048.*, but 'length_unit' is m"):
        read_topography(path, length_unit="m")
    with pytest.raises(ValueError, match=r"ground.tif is in degrees; meshes need metres"):
        read_topography(tif(path, crs="EPSG:4326"))


def test_missing_rasterio_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rasterio", None)
    (tmp_path / "ground.tif").write_bytes(b"II")
    with pytest.raises(ImportError, match=r"ground.tif needs rasterio; .*'skgrav\[geotiff\]'"):
        read_topography(tmp_path / "ground.tif")


def test_broken_geotiff_is_named(tmp_path):
    path = tif(tmp_path / "ground.tif", np.arange(90_000.0).reshape(300, 300))
    content = path.read_bytes()
    path.write_bytes(content[:5000])
    with pytest.raises(OSError, match=r"ground.tif cannot be read"):
        read_topography(path)
    path.write_bytes(b"II*\0" + bytes(9))
    with pytest.raises(OSError, match=r"ground.tif cannot be read as a raster: "):
        read_topography(path)
    with pytest.raises(FileNotFoundError, match=r"none.tif does not exist"):
        read_topography(tmp_path / "none.tif")


def test_ascii_grid_of_esri(tmp_path):
    pytest.importorskip("rasterio")
    path = tmp_path / "ground.asc"
    head = "ncols 3\nnrows 2\nxllcenter 0\nyllcenter 5000\ncellsize 100\nnodata_value -9999\n"
    path.write_text(head + "\n".join(" ".join(map(str, row)) for row in UP[::-1]))
    same(read_topography(path))


def test_tables_in_degrees_are_refused(tmp_path):
    path = tmp_path / "ground.csv"
    path.write_text("longitude,latitude,elevation\n-70.5,-36.1,2100\n")
    with pytest.raises(ValueError, match="is a geographic coordinate in degrees; "):
        read_topography(path, x="longitude", y="latitude")


def test_topography_of_two_bodies(shared_data, tmp_path):
    [archive] = shared_data.glob(
        "upstream/simpeg/user-tutorials/*/assets/03-gravity/inv_gravity_anomaly_3d_files.tar.gz"
    )
    with tarfile.open(archive) as tar:
        [member] = [m for m in tar if m.name.endswith("/gravity_topo.txt")]
        (tmp_path / "topo.txt").write_bytes(tar.extractfile(member).read())
    points = read_topography(tmp_path / "topo.txt")
    assert points.shape == (1681, 3)
    assert_array_equal(points[0], [-100.35, -200, -200])
