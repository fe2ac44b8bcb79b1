"""The command line: what it writes, where it complains, and with which exit code."""

import csv
import re
import subprocess
import sys

import numpy as np
import pytest

from skgrav import ForwardOperator, Mesh, Survey
from skgrav.cli import main

MESH = Mesh.regular((6, 12), 500.0)
X = np.linspace(-2750, 2750, 20)


@pytest.fixture(scope="module")
def truth():
    """Give the gravity of a body of 300 kg/m3, 100 m above the mesh, in mGal."""
    rho = np.zeros(MESH.shape)
    rho[1:3, 5:8] = 300.0
    stations = np.column_stack([np.full(20, -100.0), X])
    return ForwardOperator(MESH, Survey(stations, "z")).fit().transform(rho.reshape(1, -1))[0]


@pytest.fixture
def profile(tmp_path, truth):
    """Write a profile in kilometres and micrometres per second squared."""
    path = tmp_path / "profile.csv"
    rows = zip(X / 1e3, [0.1] * 20, truth * 10, strict=True)
    path.write_text(
        "x_km; elevation_km; gz_um/s2\n" + "\n".join("; ".join(map(str, r)) for r in rows)
    )
    return path


NAMES = ["--x", "x_km", "--elevation", "elevation_km", "--gz", "gz_um/s2"]
UNITS = ["--length-unit", "km", "--gravity-unit", "um/s2"]


def invert(profile, *more):
    """Run the inversion of a profile."""
    out = profile.with_name("section.nc")
    return main(["invert", str(profile), *NAMES, *UNITS, "--out", str(out), *more])


def test_profile_is_inverted_to_a_section_and_a_picture(profile, truth, capsys):
    xarray = pytest.importorskip("xarray")
    picture = profile.with_name("section.png")
    assert invert(profile, "--noise", "0.1", "--plot", str(picture)) == 0
    told = capsys.readouterr()
    assert "chi factor 1.00" in told.out
    assert not told.err
    assert picture.stat().st_size > 20_000
    section = xarray.load_dataset(profile.with_name("section.nc"))
    assert section["density"].attrs["units"] == "kg/m3"
    mesh = Mesh.from_xarray(section["density"])
    # A column below each station, and layers that thicken; what was chosen is said.
    lines = told.out.splitlines()
    assert lines[0] == "--top is not given: the ground is at the lowest station, elevation 100 m"
    assert lines[1] == repr(mesh)
    assert lines[2].startswith("ground: flat at z = -100 m")
    half = (X[1] - X[0]) / 2
    columns = (mesh.centers[1] > X[0] - half) & (mesh.centers[1] < X[-1] + half)
    assert columns.sum() == len(X)
    np.testing.assert_allclose(mesh.widths[0][1:] / mesh.widths[0][:-1], 1.1)
    np.testing.assert_allclose(section["gz"], truth, rtol=1e-12)
    np.testing.assert_allclose(section["gz_predicted"], truth, atol=0.05)
    assert "gz_trend" not in section
    np.testing.assert_allclose(section["station_z"], -100.0)
    # The body is where it was, toward the right of the middle.
    column = section["density"].sum("z").argmax("x")
    assert 0 <= float(section["x"][column]) <= 1000


@pytest.mark.filterwarnings("always")
def test_report_is_a_page_with_warnings_and_provenance(profile, capsys):
    pytest.importorskip("matplotlib")
    xarray = pytest.importorskip("xarray")
    page = profile.with_name("page.html")
    assert invert(profile, "--noise", "0.1", "--report", str(page)) == 0
    text = page.read_text(encoding="utf-8")
    assert "<title>Inversion of profile.csv</title>" in text
    assert f"--report {page}" in text
    attributes = xarray.load_dataset(profile.with_name("section.nc")).attrs
    assert attributes["input_sha256"] in text
    assert "scikit-learn" in attributes["versions"]
    assert '"noise": 0.1' in attributes["options"]
    capsys.readouterr()
    out = profile.with_name("page.md")
    assert main(["report", str(profile), *NAMES, *UNITS, "--out", str(out)]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines()[-1].startswith(f"{out}: density ")
    warned = told.err.splitlines()[0].removeprefix("skgrav: warning: ")
    assert warned.partition(";")[0] in out.read_text(encoding="utf-8")


@pytest.mark.filterwarnings("always")
def test_report_that_takes_long_is_announced_and_can_be_quick(profile, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("skgrav.cli._inversion._LONG", 0.0)
    page = profile.with_name("page.md")
    announced = f"{page}: standard deviations"
    for more, quick in (([], False), (["--quick"], True)):
        assert invert(profile, "--noise", "0.1", "--report", str(page), *more) == 0
        assert (announced in capsys.readouterr().out) != quick
        text = page.read_text(encoding="utf-8")
        for computed in ("## Uncertainty", "standard deviation holds", "epth of investigation"):
            assert (computed in text) != quick, computed


@pytest.mark.parametrize(
    ("command", "more", "text"),
    [
        ("invert", ["--out", "a.nc", "--quick"], "--quick is for reports: give --report"),
        ("invert", ["--out", "a.nc", "--report", "a.pdf"], "--report is 'a.pdf'; end its name in"),
        ("report", ["--out", "a.pdf"], "--out is 'a.pdf'; end its name in '.html' or '.md'"),
    ],
)
def test_reports_of_other_kinds_are_refused(profile, command, more, text, capsys):
    assert main([command, str(profile), *NAMES, *UNITS, *more]) == 1
    assert text in capsys.readouterr().err


def test_gravity_of_the_section_is_what_was_predicted(profile, capsys):
    xarray = pytest.importorskip("xarray")
    assert invert(profile, "--noise", "0.1", "--cells", "10", "24", "--bounds", "-400", "400") == 0
    section, table = profile.with_name("section.nc"), profile.with_name("gravity.csv")
    stations = ["--stations", str(profile), *NAMES[:4], *UNITS]
    assert main(["forward", str(section), *stations, "--out", str(table)]) == 0
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert list(rows[0]) == ["x_km", "elevation_km", "gz_um/s2"]
    g = 0.1 * np.array([float(row["gz_um/s2"]) for row in rows])
    np.testing.assert_allclose(g, xarray.load_dataset(section)["gz_predicted"], rtol=1e-8)
    # Without stations they stand above the columns, whose top is 100 m above the datum.
    above = ["--height", "100", "--components", "x", "z"]
    assert main(["forward", str(section), "--out", str(table), *above]) == 0
    assert len(table.read_text().splitlines()) == 1 + 24
    capsys.readouterr()
    assert main(["info", str(section)]) == 0
    described = capsys.readouterr().out
    assert "10 x 24 cells" in described
    assert "14 columns of padding" in described


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (["--length-unit", "m"], "--x 'x_km' is in km, but --length-unit is m."),
        (["--gravity-unit", "mGal"], "--gz 'gz_um/s2' is in um/s2, but --gravity-unit is mGal."),
        (["--length-unit", "m", "--gz", "g"], "--x 'x_km' is in km, but --length-unit is m."),
        (["--gz", "g"], "not 'g'. Name it by --gz."),
        (["--cells", "0", "5", "--noise", "1"], "--cells is 0 5"),
        (["--bounds", "3", "1", "--noise", "1"], "--bounds is (3.0, 1.0)"),
        (["--model", "nowhere.safetensors"], "nowhere.safetensors"),
        (["--refine", "cgls", "--noise", "1"], "'tikhonov' fits the data without it"),
        (["--noise", "1", "--sigma", "gz_um/s2"], "--noise and --sigma are both given; give one"),
    ],
)
def test_errors_are_told_on_stderr_and_nothing_is_written(profile, more, text, capsys):
    assert invert(profile, *more) == 1
    told = capsys.readouterr()
    assert told.err.startswith("skgrav: error: ")
    assert text in told.err
    assert "section.nc" not in told.out
    assert not profile.with_name("section.nc").exists()


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ("", "has the columns []"),
        ("x,gz\n", "is empty"),
        ("x,gz\n0,1\n1,b\n", "line 3: 'b' in column 'gz' is not a finite number"),
        ("x,gz\n0,nan\n1\n", "has no row without missing values in the columns ['x', 'gz']"),
        ("lon,gz\n0,1\n1,3\n", "not 'x'. Name it by --x."),
        ("x_km,gz,s\n0,1,2\n", "--x 'x' is in km, but --depth 900.0 states no unit. Give --len"),
        ("/ x gz\nLine 1\n0 1\nLine 2\n2 3\n", "has the lines L1, L2. Choose one by --line"),
        (
            "X,y,gz\n0,0,1\n9,5,1\n",
            "has 'y' from 0 to 5 beside 'x' from 0 to 9. For a model below an",
        ),
        ("easting,northing,gz\n0,0,1\n9,5,1\n", "give --y northing. For a profile, name the dist"),
        ("x,gz\n0,978000\n1,978001\n", "absolute gravity, or in another unit"),
    ],
)
def test_bad_tables_are_refused(tmp_path, table, text, capsys):
    path = tmp_path / "profile.csv"
    path.write_text(table)
    options = ["--noise", "1", "--depth", "900", "--out", str(tmp_path / "section.nc")]
    options += ["--x", "easting"] if "easting" in table else []
    assert main(["invert", str(path), *options]) == 1
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(
    ("unit", "text"),
    [
        ("um/s2", "is in um/s2, but --gravity-unit is mGal"),
        ("µm/s2", "is in µm/s2, but --gravity-unit is mGal"),
        ("um/s^2", "is in um/s^2, but --gravity-unit is mGal"),
        ("nm/s2", "is in nm/s2, but --gravity-unit is mGal"),
        ("gu", "is in gu, but --gravity-unit is mGal"),
        ("kGal", "is in 'kGal'; units of gravity are mGal, uGal"),
    ],
)
def test_units_of_columns_are_known_or_refused(tmp_path, unit, text, capsys):
    path, name = tmp_path / "profile.csv", f"gz_{unit}"
    path.write_text(f"x,{name}\n" + "".join(f"{i},{i % 7}\n" for i in range(20)), "utf-8")
    options = ["--gravity-unit", "mGal", "--noise", "1", "--out", str(tmp_path / "section.nc")]
    assert main(["invert", str(path), "--gz", name, *options]) == 1
    assert text in capsys.readouterr().err


def test_section_in_another_unit_has_the_same_gravity(tmp_path):
    pytest.importorskip("xarray")
    mesh, gravity = Mesh([[0, 100, 200], [0, 100]]), []
    for units, value in (("kg/m3", 300.0), ("g/cm3", 0.3), ("g cm-3", 0.3)):
        array = mesh.to_xarray([value, value], units=units)
        array.to_dataset(name="density").to_netcdf(tmp_path / "s.nc")
        out = tmp_path / "g.csv"
        assert main(["forward", str(tmp_path / "s.nc"), "--out", str(out), "--height", "1"]) == 0
        gravity.append(float(next(csv.DictReader(out.read_text().splitlines()))["gz_mGal"]))
    assert gravity == pytest.approx([0.9492] * 3, abs=5e-5)


def test_distances_in_km_and_elevations_in_m(profile, truth, capsys):
    xarray = pytest.importorskip("xarray")
    rows = zip(X / 1e3, [100.0] * 20, truth, strict=True)
    profile.write_text("x_km,h_m,gz\n" + "\n".join(",".join(map(str, r)) for r in rows))
    out = str(profile.with_name("section.nc"))
    command = ["invert", str(profile), "--x", "x_km", "--length-unit", "km", "--noise", "0.1"]
    column, unit = ["--elevation", "h_m"], ["--elevation-unit", "m"]
    assert main([*command, *column, "--elevation-unit", "km", "--out", out]) == 1
    assert "--elevation 'h_m' is in m, but --elevation-unit is km" in capsys.readouterr().err
    assert main([*command, *column, "--top", "0.1", "--out", out]) == 1
    said = capsys.readouterr().err
    assert "'h_m' is in m, but --top 0.1 in km, by --length-unit. Give --elevation-unit" in said
    more = ["--depth", "2"], [*unit, "--top", "90"], unit
    for elevation in (*([*column, *m] for m in more), ["--height", "100", *unit]):
        assert main([*command, *elevation, "--out", out]) == 0
        section = xarray.load_dataset(out)
        np.testing.assert_allclose(section["station_z"], -100.0)
        np.testing.assert_allclose(section["station_x"], X)


def test_gravity_is_by_default_that_at_the_top_of_the_section(tmp_path, capsys):
    pytest.importorskip("xarray")
    mesh = Mesh([[-150.0, 0.0, 200.0], [0.0, 100.0, 200.0]])
    mesh.to_xarray(np.ones(4)).to_dataset(name="density").to_netcdf(tmp_path / "s.nc")
    out = tmp_path / "g.csv"
    assert main(["forward", str(tmp_path / "s.nc"), "--out", str(out)]) == 0
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [float(row["elevation_m"]) for row in rows] == [150.0, 150.0]
    assert not capsys.readouterr().err


def test_columns_of_stations_are_those_of_a_table(tmp_path, capsys):
    pytest.importorskip("xarray")
    mesh = Mesh([[0.0, 200.0], [0.0, 100.0, 200.0]])
    mesh.to_xarray(np.ones(2)).to_dataset(name="density").to_netcdf(tmp_path / "s.nc")
    (tmp_path / "p.csv").write_text("x,h_ft\n0,10\n100,20\n")
    command = ["forward", str(tmp_path / "s.nc"), "--out", str(tmp_path / "g.csv")]
    command += ["--elevation", "h_ft", "--length-unit", "m"]
    assert main(command) == 1
    assert "--elevation is of a table: give --stations, or leave" in capsys.readouterr().err
    assert main([*command, "--stations", str(tmp_path / "p.csv")]) == 0
    found = np.loadtxt(tmp_path / "g.csv", delimiter=",", skiprows=1)
    np.testing.assert_allclose(found[:, 1], [3.048, 6.096])


@pytest.mark.filterwarnings("default::UserWarning")
def test_messages_name_options_instead_of_arguments_in_python(profile, capsys):
    assert invert(profile, "--noise", "0.1", "--max-cells", "200") == 0
    said = capsys.readouterr()
    assert "more than the 200 of --max-cells; give --max-cells, or --cell, to" in said.err
    assert "more than the 200 of --max-cells" in said.out
    assert invert(profile, "--noise", "0.1", "--max-cells", "200", "--cell", "0.01") == 1
    said = capsys.readouterr().err
    assert "--cell makes" in said
    assert "take larger cells, less --depth, or more --max-cells." in said
    assert invert(profile, "--noise", "500") == 0
    said = capsys.readouterr().err
    assert "differ from those of no density by less than their noise" in said
    assert "or give a smaller --noise." in said
    assert invert(profile, "--max-cells", "200", "--cells", "3", "4") == 1
    assert "--max-cells and --cells are both given" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "name", "suffix"),
    [("invert", "section.png", ".nc"), ("train", "model.nc", ".safetensors")],
)
def test_file_of_another_kind_is_refused_before_the_work(profile, command, name, suffix, capsys):
    out = str(profile.with_name(name))
    assert main([command, str(profile), *NAMES, *UNITS, "--out", out]) == 1
    assert f"--out is '{out}'; end its name in '{suffix}'" in capsys.readouterr().err


def test_table_instead_of_a_section_is_refused(profile, capsys):
    pytest.importorskip("xarray")
    out = str(profile.with_name("gravity.csv"))
    assert main(["forward", str(profile), "--out", out]) == 1
    assert "is no netCDF file; give one that `invert` wrote" in capsys.readouterr().err


def test_folder_of_the_picture_is_checked_before_the_work(profile, capsys):
    assert invert(profile, "--noise", "0.1", "--plot", str(profile.parent / "no" / "s.png")) == 1
    assert "does not exist. Create it" in capsys.readouterr().err
    assert not profile.with_name("section.nc").exists()


def test_missing_folder_is_named(profile, capsys):
    pytest.importorskip("xarray")
    nowhere = profile.parent / "nowhere"
    assert invert(profile, "--noise", "0.1", "--out", str(nowhere / "s.nc")) == 1
    assert f"the folder '{nowhere}' does not exist. Create it" in capsys.readouterr().err


def test_wrong_usage_ends_with_two():
    for arguments in (["invert"], ["melt"], [], ["invert", "p.csv", "--noise", "0", "--out", "s"]):
        with pytest.raises(SystemExit) as exit_:
            main(arguments)
        assert exit_.value.code == 2


def test_program_runs_by_its_name():
    done = subprocess.run(
        [sys.executable, "-m", "skgrav", "info"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("skgrav 0.")
    assert "torch 2." in done.stdout
    failed = subprocess.run(
        [sys.executable, "-m", "skgrav", "info", "nowhere.nc"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert failed.returncode == 1
    assert failed.stderr.startswith("skgrav: error: ")


@pytest.mark.filterwarnings("default::UserWarning")
def test_tables_as_they_are_give_the_same_section(profile, truth, capsys):
    """Unsorted rows in Geosoft's format, in units of its comment, of lines of which one is read."""
    xarray = pytest.importorskip("xarray")
    cells = ["--cells", "8", "20"]
    assert invert(profile, "--noise", "0.1", *cells) == 0  # in um/s2
    expected = xarray.load_dataset(profile.with_name("section.nc"))
    rows = [f"{x} {y} {g}" for x, y, g in zip(X / 1e3, [0.1] * 20, -truth, strict=True)]
    table = profile.with_name("lines.xyz")
    head = ["/ x_km elevation_km gz_mGal", "Line 7", "0 0 50", "Line 8"]
    table.write_text("\n".join([*head, *rows[::-1], "1 0 *"]))
    out = ["--elevation", "elevation", "--positive", "up", "--out", str(profile.with_name("s.nc"))]
    capsys.readouterr()
    assert main(["invert", str(table), "--line", "8", "--noise", "0.01", *cells, *out]) == 0
    warned = capsys.readouterr().err
    assert (
        "lines.xyz: 1 of 21 rows are left out, since values are missing: 'gz' in line 25 (*)"
        in warned
    )
    found = xarray.load_dataset(profile.with_name("s.nc"))
    for name in ("density", "gz", "station_x", "station_z"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-9)


def test_noise_and_lengths_are_in_units_that_are_not_guessed(profile, capsys):
    out = ["--out", str(profile.with_name("s.nc"))]
    command = ["invert", str(profile), "--elevation", "elevation", *out]
    assert main([*command, "--noise", "1"]) == 1
    said = capsys.readouterr().err
    assert "--gz 'gz' is in um/s2, but --noise 1.0 states no unit. Give --gravity-unit" in said
    more = ["--noise", "1", "--gravity-unit", "um/s2"]
    assert main([*command, *more, "--top", "0.1"]) == 1
    said = capsys.readouterr().err
    assert "--x 'x' is in km, but --top 0.1 states no unit. Give --elevation-unit" in said
    assert (
        main([*command, *more, "--top", "0.1", "--elevation-unit", "km", "--cells", "4", "9"]) == 0
    )


@pytest.mark.parametrize(
    ("option", "text", "said"),
    [
        ("--plot", "section", "--plot is 'section'; end its name in '.png' or"),
        ("--plot", "", "--plot is '.'; end its name in '.png' or"),
        ("--plot", "/", "--plot is '/'; end its name in '.png' or"),
        ("--top", "nan", "argument --top: nan is not a finite number"),
    ],
)
def test_names_of_pictures_and_elevations_are_checked_before_the_work(
    profile, capsys, option, text, said
):
    command = ["invert", str(profile), "--out", str(profile.with_name("s.nc")), option, text]
    try:
        code = main(command)
    except SystemExit as stop:
        code = stop.code
    assert code in {1, 2}
    assert said in capsys.readouterr().err
    assert not profile.with_name("s.nc").exists()


def test_written_gravity_is_said_in_its_unit(tmp_path, capsys):
    pytest.importorskip("xarray")
    mesh = Mesh([[0.0, 200.0], [0.0, 100.0, 200.0]])
    mesh.to_xarray(np.ones(2)).to_dataset(name="density").to_netcdf(tmp_path / "s.nc")
    command = ["forward", str(tmp_path / "s.nc"), "--out"]
    out = tmp_path / "g.csv"
    assert main([*command, str(out), "--gravity-unit", "uGal"]) == 0
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["elevation_m"] for row in rows] == ["0", "0"]
    least = min(float(row["gz_uGal"]) for row in rows)
    assert re.search(rf", {least:.4g} to [\d.]+ uGal$", capsys.readouterr().out.strip())
    assert main([*command, str(tmp_path / "g.nc")]) == 1
    assert "g.nc'; end its name in '.csv' or '.txt'" in capsys.readouterr().err


def test_missing_file_and_zero_data_are_told(tmp_path, capsys):
    out = ["--noise", "0.1", "--out", str(tmp_path / "section.nc")]
    assert main(["invert", str(tmp_path / "none.csv"), *out]) == 1
    assert f"there is no file {tmp_path / 'none.csv'}; check" in capsys.readouterr().err
    zero = tmp_path / "zero.csv"
    zero.write_text("x,gz\n" + "".join(f"{100 * i},0\n" for i in range(9)))
    assert main(["invert", str(zero), *out]) == 1
    assert "zero.csv has gz = 0 at all stations" in capsys.readouterr().err


@pytest.mark.filterwarnings("default::UserWarning")
def test_depth_in_another_unit_is_warned_of(profile, capsys):
    assert invert(profile, "--noise", "0.1", "--depth", "0.001") == 0
    said = capsys.readouterr().err
    assert re.search(r"warning: --depth is 1 m, less than half the width of the columns, \d+", said)
