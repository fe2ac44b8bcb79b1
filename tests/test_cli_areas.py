"""The command line: models below areas, from stations and topography in files."""

import numpy as np
import pytest

from skgrav import ForwardOperator, Mesh, Survey
from skgrav.cli import main
from skgrav.io import read_ubc_mesh, read_ubc_model

xarray = pytest.importorskip("xarray")


def hill(y, x):
    """Give elevations of a hill of 40 m."""
    return 100 + 40 * np.exp(-((x - 500_000) ** 2 + (y - 4e6) ** 2) / 150.0**2)


@pytest.fixture(scope="module")
def area(tmp_path_factory):
    """Write stations on a hill with gravity of a body, and the ground as points."""
    folder = tmp_path_factory.mktemp("area")
    side = np.linspace(-200, 200, 9)
    y, x = (4e6 + side[:, None] + 0 * side).ravel(), (500_000 + side + 0 * side[:, None]).ravel()
    stations = np.column_stack([-hill(y, x) - 1, y, x])
    body = Mesh([[-50, 0], [4e6 - 50, 4e6 + 50], [500_000 - 100, 500_000]])
    g = ForwardOperator(body, Survey(stations, "z")).fit().transform([[400.0]])[0]
    g += 0.005 * np.random.default_rng(0).standard_normal(g.size)
    rows = zip(x / 1e3, y / 1e3, hill(y, x) + 1, g, strict=True)
    lines = [",".join(map(repr, map(float, row))) for row in rows]
    (folder / "stations.csv").write_text("x_km,y_km,elevation_m,gz\n" + "\n".join(lines))
    side = np.linspace(-600, 600, 41)
    y, x = (4e6 + side[:, None] + 0 * side).ravel(), (500_000 + side + 0 * side[:, None]).ravel()
    points = np.column_stack([x, y, hill(y, x)])
    np.savetxt(folder / "ground.xyz", points, header=str(len(points)), comments="")
    return folder, stations, g


def inverted(folder, name, *more):
    """Run the inversion of an area and return its file."""
    out = folder / name
    command = ["invert", str(folder / "stations.csv"), "--y", "y", "--elevation", "elevation"]
    assert main([*command, "--noise", "0.005", *more, "--out", str(out)]) == 0
    return out


def test_area_with_topography_is_inverted(area, capsys):
    folder, stations, g = area
    picture = folder / "model.png"
    command = ["--topography", str(folder / "ground.xyz"), "--depth", "0.2", "--cell", "0.05"]
    command += ["--length-unit", "km", "--elevation-unit", "m", "--trend", "level"]
    out = inverted(folder, "model.nc", *command, "--plot", str(picture))
    told = capsys.readouterr()
    assert "Mesh(" in told.out
    assert "columns:" in told.out
    assert "chi factor 1.0" in told.out
    assert not told.err
    assert picture.stat().st_size > 20_000
    model = xarray.load_dataset(out)
    np.testing.assert_allclose(model["gz"], g)
    np.testing.assert_allclose(model["station_y"], stations[:, 1])
    np.testing.assert_allclose(model["station_z"], stations[:, 0])
    density = model["density"]
    # Air above the ground has no density, and the body is where it was.
    ground = -hill(*np.meshgrid(density["y"], density["x"], indexing="ij"))
    air = density["z"].values[:, None, None] < ground - 30
    assert np.isnan(density.values[air]).all()
    assert np.isfinite(density.isel(z=-1)).all()
    largest = density.where(density == density.max(), drop=True)
    assert abs(float(largest["x"][0]) - 499_950) < 80
    assert abs(float(largest["y"][0]) - 4e6) < 80


def test_level_area_has_flat_ground(area, tmp_path, capsys):
    folder, _, _ = area
    lines = (folder / "stations.csv").read_text().splitlines()[1:]
    rows = [line.split(",") for line in lines]
    table = tmp_path / "level.csv"
    table.write_text("\n".join(f"{e},{n},{g}" for e, n, _, g in rows))
    options = ["--names", "x_km", "y_km", "gz", "--y", "y", "--noise", "0.02"]
    out = tmp_path / "model.nc"
    assert main(["invert", str(table), *options, "--top", "0", "--out", str(out)]) == 1
    assert "--x 'x' is in km, but --top 0.0 states no unit" in capsys.readouterr().err
    options += ["--length-unit", "km", "--top", "0", "--height", "0.001", "--cell", "0.1"]
    assert main(["invert", str(table), *options, "--out", str(out)]) == 0
    model = xarray.load_dataset(out)
    assert float(model["z_min"].min()) == 0
    np.testing.assert_allclose(model["station_z"], -1)
    assert np.isfinite(model["density"]).all()


def test_models_of_other_formats_hold_the_same_density(area, capsys):
    folder, _, _ = area
    options = ["--topography", str(folder / "ground.xyz"), "--elevation-unit", "m"]
    options += ["--depth", "0.2", "--cell", "0.1", "--length-unit", "km"]
    density = xarray.load_dataset(inverted(folder, "coarse.nc", *options))["density"].values
    out = inverted(folder, "coarse.den", *options)
    mesh = read_ubc_mesh(out.with_suffix(".msh"))
    rho = mesh.whole.unflatten(read_ubc_model(out, mesh.whole, inactive=-100.0))
    np.testing.assert_allclose(rho, density, rtol=1e-12)
    pyvista = pytest.importorskip("pyvista")
    grid = pyvista.read(inverted(folder, "coarse.vtr", *options))
    values = grid.cell_data[grid.cell_data.keys()[0]].reshape(density.shape)[::-1]
    np.testing.assert_allclose(values, density)


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (["--y", "y", "--cells", "3", "4"], "--cells is for profiles: give --cell for the width"),
        (["--y", "y", "--topography", "ground.xyz", "--top", "3"], "are both given; give one"),
        (["--y", "y", "--model", "m.safetensors"], "is a network, which is trained for profiles"),
        (["--y", "y", "--depth", "3"], "--x 'x' is in km, but --depth 3.0 states no unit"),
        (["--topography", "ground.xyz"], "--topography is for areas: give --y"),
        (
            ["--cell", "3", "--cells", "3", "4", "--length-unit", "km"],
            "--cell and --cells are both",
        ),
        (["--y", "y", "--out", "model.png"], "end its name in '.nc' or '.vtr' or '.den'"),
        (["--y", "lat"], "not 'lat'. Name it by --y"),
    ],
)
def test_what_does_not_fit_an_area_is_refused(area, tmp_path, more, text, capsys, monkeypatch):
    folder, _, _ = area
    monkeypatch.chdir(folder)
    command = ["invert", "stations.csv", "--noise", "1", "--out", str(tmp_path / "model.nc")]
    assert main([*command, *more]) == 1
    assert text in capsys.readouterr().err


def test_networks_are_for_profiles(area, tmp_path, capsys):
    folder, _, _ = area
    command = ["train", str(folder / "stations.csv"), "--y", "y"]
    assert main([*command, "--out", str(tmp_path / "m.safetensors")]) == 1
    assert "--y is for areas; networks are trained for profiles" in capsys.readouterr().err


def test_gravity_of_a_model_is_what_was_predicted(area, capsys):
    folder, _, _ = area
    model = inverted(
        folder,
        "flat.nc",
        "--cell",
        "0.1",
        "--depth",
        "0.2",
        "--length-unit",
        "km",
        "--elevation-unit",
        "m",
    )
    out = folder / "g.csv"
    command = ["forward", str(model), "--out", str(out)]
    stations = ["--stations", str(folder / "stations.csv"), "--elevation", "elevation"]
    assert main([*command, *stations, "--y", "y"]) == 0
    assert out.read_text().startswith("x_m,y_m,elevation_m,gz_mGal\n")
    found = np.loadtxt(out, delimiter=",", skiprows=1)[:, 3]
    np.testing.assert_allclose(found, xarray.load_dataset(model)["gz_predicted"], rtol=1e-8)
    capsys.readouterr()
    assert main([*command, *stations]) == 1
    assert "has 3 axes; stations of a model of three need --y" in capsys.readouterr().err
    assert main([*command, "--y", "y"]) == 1
    assert "is a model below an area; give --stations" in capsys.readouterr().err
    assert main(["info", str(model)]) == 0
    assert "density -" in capsys.readouterr().out
