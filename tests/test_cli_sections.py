"""The command line: sections of profiles as they are, and what their files say."""

import json
import re
import warnings

import numpy as np
import pytest

import skgrav
from skgrav import CNNInverter, ForwardOperator, Mesh, Survey, TikhonovInverter
from skgrav.cli import main
from skgrav.datasets import make_gravity_dataset

xarray = pytest.importorskip("xarray")

X = np.linspace(0, 10e3, 101)
BODY = 5 * np.exp(-(((X - 4e3) / 1e3) ** 2))
NOISE = 0.05 * np.random.default_rng(0).standard_normal(101)


def written(folder, x, gz, **columns):
    """Write a profile in metres and mGal."""
    columns = {"x": x, "gz": gz, **columns}
    rows = zip(*columns.values(), strict=True)
    path = folder / "profile.csv"
    path.write_text("\n".join([",".join(columns), *(",".join(map(str, r)) for r in rows)]))
    return path


def inverted(path, *more, noise=0.05):
    """Invert a profile and return the section."""
    out = path.with_name("section.nc")
    stated = [] if noise is None else ["--noise", str(noise)]
    assert main(["invert", str(path), *stated, *more, "--out", str(out)]) == 0
    return xarray.load_dataset(out)


def below(section):
    """Return the density below the profile, without padding."""
    x, edge = section["station_x"].values, section["x"].values
    return section["density"].values[:, (edge > x.min()) & (edge < x.max())]


def test_files_hold_data_as_measured_their_trend_and_how_it_was_made(tmp_path, capsys):
    gz = BODY + NOISE - 30.0 + 0.002 * X
    path = written(tmp_path, X, gz)
    section = inverted(path, "--trend", "linear")
    np.testing.assert_allclose(section["gz"], gz, rtol=1e-12)
    np.testing.assert_allclose(section["gz_uncertainty"], 0.05)
    residual = section["gz"] - section["gz_predicted"] - section["gz_trend"]
    assert np.mean((residual / 0.05) ** 2) * 101 / 99 == pytest.approx(section.attrs["chi_factor"])
    # The trend is a line, and its coefficients say which one.
    assert section.attrs["trend_terms"] == "gz, gz x"
    level, slope = section.attrs["trend_coefficients"]
    np.testing.assert_allclose(section["gz_trend"], level + slope * (X - X.mean()))
    std = section.attrs["trend_std"]
    assert abs(slope - 0.002) < 2 * std[1]
    assert abs(level + 20.0) < 2 * std[0] < 20
    assert section.attrs["source"] == f"skgrav {skgrav.__version__}"
    assert section.attrs["history"].startswith(f"python -m skgrav invert {path} --noise 0.05")
    options = json.loads(section.attrs["options"])
    assert (options["trend"], options["noise"], options["cells"]) == ("linear", 0.05, None)
    # What is predicted is the gravity of the density in the file.
    mesh = Mesh.from_xarray(section["density"])
    survey = Survey(np.column_stack([section["station_z"], section["station_x"]]), "z")
    g = ForwardOperator(mesh, survey).fit().transform(mesh.flatten(section["density"])[None])
    np.testing.assert_allclose(section["gz_predicted"], g[0], rtol=1e-9)
    assert "trend gz x 0.00" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "trend"), [("level", 7.0), ("linear", 7 + 2e-3 * X), ("quadratic", 4e-7 * X**2)]
)
def test_trend_changes_no_density(tmp_path, name, trend):
    plain = inverted(written(tmp_path, X, BODY + NOISE), "--trend", name)
    tilted = inverted(written(tmp_path, X, BODY + NOISE + trend), "--trend", name)
    largest = abs(plain["density"]).max()
    assert abs(plain["density"] - tilted["density"]).max() < 1e-8 * largest
    np.testing.assert_allclose(tilted["gz_trend"] - plain["gz_trend"], trend, atol=1e-6)


def test_profile_that_ends_on_a_flank_has_moderate_densities(tmp_path, capsys):
    x = np.linspace(0, 7200, 160)
    path = written(tmp_path, x, (1.5 * np.sin(x / 1500) + 9 * np.exp((x - 7200) / 350)).round(3))
    for trend in ("none", "linear"):
        section = inverted(path, "--trend", trend)
        assert abs(section["density"]).max() < 300
        # The corner at the bottom is not what explains the flank.
        assert abs(below(section)[-5:, -5:]).max() < 150
    bounded = inverted(path, "--trend", "linear", "--bounds", "-200", "100")
    assert bounded.attrs["chi_factor"] == pytest.approx(1, rel=0.02)
    assert -200 <= bounded["density"].min() < bounded["density"].max() <= 100
    assert not capsys.readouterr().err


def test_strong_regional_field_leaves_the_body(tmp_path):
    alone = below(inverted(written(tmp_path, X, BODY + NOISE), "--trend", "level"))
    path = written(tmp_path, X, BODY + NOISE - 80.0 + 0.01 * X)
    with_trend = below(inverted(path, "--trend", "linear"))
    assert np.linalg.norm(with_trend - alone) < 0.2 * np.linalg.norm(alone)
    # Without a trend the regional field becomes density.
    assert np.linalg.norm(below(inverted(path)) - alone) > 2 * np.linalg.norm(alone)


def test_stations_on_a_hill_lie_above_the_section(tmp_path):
    elevation = 300 * np.exp(-(((X - 5e3) / 2e3) ** 2)) + 100
    section = inverted(written(tmp_path, X, BODY + NOISE, up=elevation), "--elevation", "up")
    np.testing.assert_allclose(section["station_z"], -elevation)
    assert float(section["z_min"].min()) == pytest.approx(-elevation.min())
    assert section.attrs["chi_factor"] == pytest.approx(1, rel=0.02)
    density = below(section).max(axis=0)
    assert abs(density.argmax() / density.size * 10e3 - 4e3) < 500


def test_airborne_profile_has_air_above_its_ground(tmp_path):
    body = Mesh([[500.0, 1500.0], [3e3, 5e3]])
    air = Survey(np.column_stack([np.full(101, -2e3), X]), "z")
    gz = ForwardOperator(body, air).fit().transform([[300.0]])[0] + NOISE
    profile = written(tmp_path, X, gz)
    section = inverted(profile, "--height", "2000", "--top", "0", "--depth", "3000")
    assert section["density"]["z"].values[0] > 0
    assert Mesh.from_xarray(section["density"]).edges[0][[0, -1]].tolist() == [0, 3000]
    np.testing.assert_allclose(section["station_z"], -2000)
    assert section.attrs["chi_factor"] == pytest.approx(1, rel=0.02)


def test_gap_between_stations_leaves_no_body_below_it(tmp_path):
    measured = (X < 6e3) | (X > 8e3)
    full = below(inverted(written(tmp_path, X, BODY + NOISE)))
    section = inverted(written(tmp_path, X[measured], (BODY + NOISE)[measured]))
    assert below(section).shape == full.shape
    gap = slice(round(0.62 * full.shape[1]), round(0.8 * full.shape[1]))
    assert abs(below(section)[:, gap]).max() < 2 * abs(full[:, gap]).max()
    assert abs(below(section)[:, gap]).max() < 0.3 * below(section).max()


def test_noise_of_each_datum_is_that_of_its_column(tmp_path):
    sigma = np.where(X < 5e3, 0.05, 0.5)
    section = inverted(
        written(tmp_path, X, BODY + NOISE * sigma / 0.05, error=sigma),
        *("--sigma", "error", "--trend", "level"),
        noise=None,
    )
    np.testing.assert_allclose(section["gz_uncertainty"], sigma)
    assert section.attrs["chi_factor"] == pytest.approx(1, rel=0.02)


@pytest.mark.filterwarnings("default::UserWarning")
def test_noise_that_is_not_given_is_estimated_and_said(tmp_path, capsys):
    section = inverted(written(tmp_path, X, BODY + NOISE), "--trend", "level", noise=None)
    said = capsys.readouterr().err
    assert said.count("warning") == 1
    assert "the noise of the data is not given; generalised cross-validation assumes" in said
    assumed = float(said.split("assumes ")[1].split(" mGal")[0])
    assert assumed == pytest.approx(0.05, rel=0.2)
    assert "gz_uncertainty" not in section
    assert "chi_factor" not in section.attrs


@pytest.mark.filterwarnings("default::UserWarning")
def test_smooth_data_without_noise_are_warned_of_once(tmp_path, capsys):
    # Two bodies of different width leave alpha open.
    inverted(written(tmp_path, X, BODY - 3 * np.exp(-(((X - 8e3) / 4e2) ** 2))), noise=None)
    said = capsys.readouterr().err
    assert said.count("warning") == 1
    assert "give it by --noise" in said


def test_profile_is_inverted_once(tmp_path, monkeypatch):
    calls = []
    invert = TikhonovInverter._invert
    monkeypatch.setattr(TikhonovInverter, "_invert", lambda *args: calls.append(1) or invert(*args))
    inverted(written(tmp_path, X, BODY + NOISE), "--plot", str(tmp_path / "section.png"))
    assert len(calls) == 1


@pytest.mark.filterwarnings("default::UserWarning")
def test_densities_that_no_rock_has_are_said(tmp_path, capsys):
    # Kilometres that pass for metres: a profile of 10 m.
    small = written(tmp_path, X / 1e3, BODY + NOISE)
    inverted(small, "--trend", "level", "--cells", "30", "60")
    said = capsys.readouterr().err
    assert said.count("warning") == 1
    assert "1 of 1 samples have densities that no rock has" in said
    assert "Check the units of data, stations and mesh" in said


SMALL = ["--cells", "6", "12", "--depth", "3000", "--sections", "200", "--epochs", "3"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Train a small network for a profile with an unknown level, and return both paths."""
    folder = tmp_path_factory.mktemp("network")
    profile = written(folder, X, BODY + NOISE + 12.0)
    model = folder / "model.safetensors"
    ranges = ["--training-noise", "0", "0.2", "--densities", "-300", "300"]
    train = ["train", str(profile), "--trend", "level", *SMALL, *ranges, "--out", str(model)]
    assert main(train) == 0
    return profile, model


def test_network_is_trained_below_its_profile_and_beyond(trained, capsys):
    _, model = trained
    assert main(["info", str(model)]) == 0
    described = capsys.readouterr().out
    assert "101 data to 144 cells" in described
    assert "trend of degree 0" in described
    loaded = CNNInverter.load(model)
    assert loaded.training_noise == (0.0, 0.2)
    mesh = loaded.operator_.mesh_
    assert mesh.shape == (6, 12 + 2 * 6)
    assert mesh.edges[1][0] < X[0] - 10e3
    assert mesh.edges[1][-1] > X[-1] + 10e3


def test_network_knows_the_trend_it_was_trained_with(trained, tmp_path, capsys):
    profile, model = trained
    network = ["--model", str(model)]
    section = inverted(profile, *network)
    other = inverted(written(tmp_path, X, BODY + NOISE - 500.0), *network, "--trend", "level")
    largest = abs(section["density"]).max()
    assert abs(section["density"] - other["density"]).max() < 1e-6 * largest
    np.testing.assert_allclose(section["gz_trend"] - other["gz_trend"], 512.0, atol=1e-3)
    assert section.attrs["trend_coefficients"] == pytest.approx(section["gz_trend"][0])
    assert "trend_std" not in section.attrs  # how uncertain the density is, is not known
    out = ["--out", str(tmp_path / "section.nc")]
    assert main(["invert", str(profile), *network, "--trend", "linear", *out]) == 1
    said = capsys.readouterr().err
    assert f"--trend is linear, but that of {model} is level. Leave it out" in said


@pytest.mark.filterwarnings("default::UserWarning")
def test_network_that_misses_the_data_says_so(trained, capsys):
    profile, model = trained
    section = inverted(profile, "--model", str(model), noise=0.001)
    said = capsys.readouterr().err
    assert section.attrs["chi_factor"] > 1000
    assert said.count("misses the data, with a chi factor of") == 1
    assert "Fit its estimate to the data by --refine projection" in said


@pytest.mark.parametrize("solver", ["cgls", "projection", "bayes"])
def test_estimate_of_a_network_is_fitted_to_the_data(trained, solver, capsys):
    profile, model = trained
    network = ["--model", str(model)]
    rough = inverted(profile, *network, noise=0.2).attrs["chi_factor"]
    capsys.readouterr()
    section = inverted(profile, *network, "--refine", solver, noise=0.2)
    assert section.attrs["chi_factor"] < (rough if solver == "bayes" else 1.5)
    assert not capsys.readouterr().err
    assert abs(section["gz_trend"]).max() > 1


def test_report_of_a_refined_estimate_says_so(trained, tmp_path):
    pytest.importorskip("matplotlib")
    profile, model = trained
    network, page = ["--model", str(model), "--noise", "0.2"], tmp_path / "page.md"
    for more in ([], ["--refine", "cgls"]):
        assert main(["report", str(profile), *network, *more, "--out", str(page)]) == 0
        text = page.read_text(encoding="utf-8")
        assert ("| refining | by cgls, which fits" in text) == bool(more)
        # Its 200 training sections are too few to say it.
        assert "- likeness to the training data: " in text


def test_network_of_a_hill_has_its_air_and_the_fraction_of_its_cells(tmp_path, capsys):
    x = np.linspace(-1000, 1000, 31)
    ground = lambda x: -150 * np.exp(-((x / 400) ** 2))  # noqa: E731
    stations = np.column_stack([ground(x) - 1.0, x])
    survey = Survey(stations, "z", uncertainty=0.2)
    mesh = Mesh.for_survey(survey, ground, cell=200.0, depth=500.0)
    assert mesh.active is not None
    operator = ForwardOperator(mesh, survey, fraction=mesh.fraction_below(ground)).fit()
    rho = np.random.default_rng(0).uniform(-300, 300, (60, mesh.n_cells))
    g, options = operator.transform(rho), {"training_noise": (0.0, 1.0), "random_state": 0}
    model = CNNInverter(operator=operator, max_epochs=1, **options)
    model.fit(g, rho).save(tmp_path / "model.safetensors")
    path = written(tmp_path, x, g[0], elevation=-stations[:, 0])
    network = ["--elevation", "elevation", "--model", str(tmp_path / "model.safetensors")]
    picture = tmp_path / "section.png"
    section = inverted(path, *network, "--refine", "bayes", "--plot", str(picture), noise=0.2)
    np.testing.assert_array_equal(np.isfinite(section["density"]), mesh.active)
    density = mesh.flatten(section["density"])
    np.testing.assert_allclose(section["gz_predicted"], operator.transform(density[None])[0], 1e-9)
    assert picture.stat().st_size > 20_000
    said = capsys.readouterr().out
    assert "nan" not in said
    places, again = tmp_path / "places.csv", tmp_path / "again.csv"
    places.write_text(path.read_text())
    forward = ["forward", str(tmp_path / "section.nc"), "--stations", str(places)]
    assert main([*forward, "--elevation", "elevation", "--out", str(again)]) == 0
    gz = np.genfromtxt(again, delimiter=",", skip_header=1)[:, -1]
    np.testing.assert_allclose(gz, section["gz_predicted"], rtol=1e-5)
    assert main(["info", str(tmp_path / "section.nc")]) == 0
    assert "nan" not in capsys.readouterr().out


def test_network_inverts_its_profile_alone(trained, tmp_path, capsys):
    profile, model = trained
    out = ["--out", str(tmp_path / "section.nc"), "--model", str(model)]
    shorter = tmp_path / "shorter.csv"
    shorter.write_text("\n".join(profile.read_text().splitlines()[:-3]))
    assert main(["invert", str(shorter), *out]) == 1
    assert "was trained for 101 stations, but" in capsys.readouterr().err
    assert main(["invert", str(profile), *out, "--height", "90"]) == 1
    said = capsys.readouterr().err
    assert re.search(r"station 0 at elevation .* m, but .* has station 0 at elevation 90 m", said)
    assert main(["invert", str(profile), *out, "--refine", "lgmress"]) == 1
    assert "--refine is 'lgmress'; allowed are gd" in capsys.readouterr().err
    assert main(["invert", str(profile), *out, "--refine", "cgls"]) == 1
    assert "fits the data to their noise: give --noise or --sigma" in capsys.readouterr().err
    assert main(["invert", str(profile), *out, "--bounds", "0", "1"]) == 1
    assert "--bounds is for --model tikhonov" in capsys.readouterr().err
    for mesh in (
        ["--cells", "5", "5"],
        ["--cell", "50"],
        ["--max-cells", "9"],
        ["--depth", "900"],
        ["--top", "0"],
    ):
        assert main(["invert", str(profile), *out, "--noise", "1", *mesh]) == 1
        said = capsys.readouterr().err
        assert f"{mesh[0]} would change the mesh, but {model} estimates densities" in said
    assert not (tmp_path / "section.nc").exists()


def test_network_without_a_survey_is_refused(tmp_path, capsys):
    data = make_gravity_dataset(20, mesh=Mesh.square(8), random_state=0)
    model = tmp_path / "paper.safetensors"
    CNNInverter("paper", max_epochs=1, random_state=0).fit(data.data, data.target).save(model)
    assert main(["info", str(model)]) == 0
    assert "survey: unknown" in capsys.readouterr().out
    profile = written(tmp_path, X, BODY)
    out = ["--out", str(tmp_path / "section.nc")]
    assert main(["invert", str(profile), "--model", str(model), *out]) == 1
    assert "was not trained in metres and mGal. Train it anew." in capsys.readouterr().err


def test_former_name_of_the_trend_is_read_with_a_warning(tmp_path, capsys):
    path = written(tmp_path, X, BODY + NOISE)
    for former, name in {"nothing": "none", "mean": "level", "trend": "linear"}.items():
        with warnings.catch_warnings():
            warnings.simplefilter("default", FutureWarning)
            former_section = inverted(path, "--remove", former)
        shown = capsys.readouterr().err
        assert f"--remove {former} is deprecated since 0.2.0 and will be removed in 0.4.0" in shown
        assert f"give --trend {name}." in shown
        np.testing.assert_array_equal(below(former_section), below(inverted(path, "--trend", name)))


def test_gradients_beside_gravity(tmp_path, capsys):
    mesh = Mesh([[500.0, 1500.0], [3e3, 5e3]])
    survey = Survey(np.column_stack([np.full(101, -50.0), X]), ("z", "xz", "zz"))
    g = ForwardOperator(mesh, survey).fit().transform([[300.0]])[0]
    noise = np.random.default_rng(1).standard_normal(303) * np.repeat([0.05, 0.5, 0.5], 101)
    gz, gxz, gzz = survey.unflatten(g + noise)
    path = written(tmp_path, X, gz, **{"gxz_E": gxz, "gzz [1/s2]": gzz * 1e-9})
    out = tmp_path / "section.nc"
    command = ["invert", str(path), "--height", "50", "--gz", "gz", "--gxz", "gxz", "--gzz", "gzz"]
    command += ["--out", str(out)]
    for wrong, said in {
        (): "the noise of the components z, xz, zz, in mGal and E, is not given",
        ("--noise", "0.05"): "--noise is 0.05 for the components ['z', 'xz', 'zz'], in mGal and in",
        ("--noise", "0.05", "1"): "--noise has 2 values for the components gz, gxz, gzz; give one",
        ("--sigma", "s", "s", "s"): "not 's'. Name it by --sigma",
    }.items():
        assert main([*command, *wrong]) == 1
        assert said in capsys.readouterr().err
    told = ["--trend", "level", "--noise", "0.05", "0.5", "0.5", "--gradient-unit", "E"]
    assert main([*command, *told]) == 1
    assert "--gzz 'gzz' is in 1/s2, but --gradient-unit is E" in capsys.readouterr().err
    path = written(tmp_path, X, gz, gxz_E=gxz, gzz_E=gzz)
    assert main([*command, *told[:-2]]) == 0
    said = capsys.readouterr().out
    assert "chi factor 1.0" in said
    assert "mGal and 0." in said
    assert " E, chi" in said
    assert ", trend gzz " in said
    section = xarray.load_dataset(out)
    np.testing.assert_allclose(section["gzz"], gzz)
    np.testing.assert_allclose(section["gzz_uncertainty"], 0.5)
    assert section["gxz"].attrs["units"] == "E"
    other = tmp_path / "other.nc"
    alone = ["invert", str(path), "--height", "50", "--gzz", "gzz", "--out", str(other)]
    assert main([*alone, "--noise", "0.5"]) == 0
    assert "gz" not in xarray.load_dataset(other)
    table = tmp_path / "g.csv"
    more = ["--components", "z", "zz", "--gradient-unit", "mGal/m", "--height", "50"]
    assert main(["forward", str(out), "--stations", str(path), *more, "--out", str(table)]) == 0
    assert table.read_text().startswith("x_m,elevation_m,gz_mGal,gzz_mGal/m\n")
    found = np.loadtxt(table, delimiter=",", skiprows=1)[:, 3]
    np.testing.assert_allclose(found * 1e4, section["gzz_predicted"], rtol=1e-6)


def test_gradients_alone(tmp_path, capsys):
    mesh = Mesh([[500.0, 1500.0], [3e3, 5e3]])
    survey = Survey(np.column_stack([np.full(101, -50.0), X]), ["zz"])
    gzz = ForwardOperator(mesh, survey).fit().transform([[300.0]])[0]
    gzz += 0.5 * np.random.default_rng(1).standard_normal(101)
    path, out = tmp_path / "profile.csv", tmp_path / "section.nc"
    path.write_text("x,gzz_E\n" + "\n".join(f"{x},{g}" for x, g in zip(X, gzz, strict=True)))
    command = ["invert", str(path), "--height", "50", "--gzz", "gzz", "--out", str(out)]
    assert main([*command, "--noise", "0.5"]) == 0
    names = {"density", "gzz", "gzz_uncertainty", "gzz_predicted"}
    assert set(xarray.load_dataset(out)) == names
    assert " E, chi factor 1.0" in capsys.readouterr().out
