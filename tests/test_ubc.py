"""Files of UBC-GIF: what is read, what is written, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from skgrav import ForwardOperator, Mesh, Survey
from skgrav.io import (
    read_ubc_mesh,
    read_ubc_model,
    read_ubc_survey,
    write_ubc_mesh,
    write_ubc_model,
    write_ubc_survey,
)

MAULE = (
    "upstream/simpeg/simpeg/eed7f1388fd66f380a28e75b5c1183719068cab4/"
    "examples/04-grav/Chile_GRAV_4_Miller"
)
GRADIENTS = (
    "upstream/simpeg/validations/e8a2864889a20e7250ac6ecf654821ffc105fab1/"
    "assets/gravity/block_halfspace_gradiometry_fwd_gg3d"
)
MESH = "3 2 2\n500 700 3000\n3*250\n2*250\n100 200\n"


@pytest.fixture
def file(tmp_path):
    """Give a function that writes a text to a file and gives its path."""

    def write(text):
        path = tmp_path / "file.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def refused(read, path, line, match):
    """Check that a file is refused with its name, this line and this message."""
    with pytest.raises(ValueError, match=match) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}, line {line}: ")


class TestSurvey:
    def test_real_file(self, shared_data):
        path = shared_data / MAULE / "LdM_grav_obs.grv"
        survey, data = read_ubc_survey(path)
        x, y, up, gz, error = np.loadtxt(path, skiprows=1).T
        assert_array_equal(survey.stations, np.column_stack([-up, y, x]))
        assert_array_equal(survey.uncertainty, error)
        assert_array_equal(data, gz)
        assert survey.components == ("z",)

    def test_real_file_and_back(self, shared_data, tmp_path):
        path = shared_data / MAULE / "LdM_grav_obs.grv"
        write_ubc_survey(tmp_path / "g.grv", *read_ubc_survey(path))
        original = [line.split() for line in path.read_text().splitlines()]
        written = [line.split() for line in (tmp_path / "g.grv").read_text().splitlines()]
        assert written[0] == original[0]
        assert_array_equal(np.float64(written[1:]), np.float64(original[1:]))

    @pytest.mark.parametrize("columns", [3, 4, 5])
    def test_missing_columns(self, file, columns):
        row = " ".join(["1", "2", "-3", "-4", "0.5"][:columns])
        survey, data = read_ubc_survey(file(f"2\n{row}\n{row}\n"))
        assert_array_equal(survey.stations, [[3, 2, 1], [3, 2, 1]])
        assert_array_equal(data, None if columns == 3 else [-4, -4])
        assert_array_equal(survey.uncertainty, None if columns < 5 else [0.5, 0.5])

    @pytest.mark.parametrize("with_error", [True, False])
    @pytest.mark.parametrize("with_data", [True, False])
    def test_round_trip(self, tmp_path, with_data, with_error):
        rng = np.random.default_rng(0)
        stations = np.vstack([rng.normal(size=(7, 3)) * 1e6, [0.0, 1e-7, 0.1 + 0.2]])
        data = rng.normal(size=8) if with_data else None
        error = rng.uniform(0.1, 1, size=8) if with_data and with_error else None
        survey = Survey(stations, ("z",), error)
        write_ubc_survey(tmp_path / "g.grv", survey, data)
        again, data_again = read_ubc_survey(tmp_path / "g.grv")
        assert again == survey
        assert_array_equal(data_again, data)

    def test_sea_level_has_one_sign(self, file):
        assert read_ubc_survey(file("1\n0 0 0"))[0] == Survey([[0.0, 0.0, 0.0]], ("z",))

    def test_comments_blanks_and_ends_of_lines(self, file):
        text = "\ufeff! Año\r\n\r\n1 ! one\r\n\t1 2\t3e0 +4. .5!6\r\n! end"
        survey, data = read_ubc_survey(file(text))
        assert survey == Survey([[-3, 2, 1]], ("z",), 0.5)
        assert_array_equal(data, [4])
        assert read_ubc_survey(file(text.encode("latin-1", "ignore")))[0] == survey

    @pytest.mark.parametrize("with_error", [True, False, None])
    def test_gradients_and_back(self, tmp_path, with_error):
        rng = np.random.default_rng(0)
        stations, components = rng.normal(size=(4, 3)), ("zz", "xz", "yy")
        data = None if with_error is None else rng.normal(size=12)
        survey = Survey(stations, components, rng.uniform(1, 2, 12) if with_error else None)
        write_ubc_survey(tmp_path / "g.gg", survey, data)
        text = (tmp_path / "g.gg").read_text().splitlines()
        assert text[:2] == ["datacomp=zz,yz,xx", "4"]
        assert len(text[2].split()) == {True: 9, False: 6, None: 3}[with_error]
        again, data_again = read_ubc_survey(tmp_path / "g.gg")
        assert again == survey
        assert_array_equal(data_again, data)

    def test_gradients_of_gg3d_have_x_north_and_y_east(self, file, tmp_path):
        path = file("datacomp= XX, xz yy !FTG\n1\n10 20 -30 1 .1 2 .2 3 .3\n")
        survey, data = read_ubc_survey(path)
        assert survey == Survey([[30, 20, 10]], ("yy", "yz", "xx"), [0.1, 0.2, 0.3])
        assert_array_equal(data, [1, 2, 3])
        # Mass in the north below a station.
        mesh = Mesh([[0, 100], [400, 500], [-50, 50]])
        survey = Survey([[-10, 0, 0]], ("yz", "xz"))
        g = ForwardOperator(mesh, survey).fit().transform([[1000.0]])[0]
        write_ubc_survey(tmp_path / "g.gg", survey, g)
        head, _, row = (tmp_path / "g.gg").read_text().splitlines()
        assert head == "datacomp=xz,yz"
        xz, yz = map(float, row.split()[3:])
        assert xz > 0.2
        assert abs(yz) < 1e-9

    def test_real_gradients(self, shared_data, tmp_path):
        folder = shared_data / GRADIENTS
        survey, data = read_ubc_survey(folder / "ggfor3d.gg")
        assert survey.components == ("yy", "xy", "yz", "xx", "xz", "zz")
        assert survey.n_stations == 441
        trace = survey.unflatten(data)[[0, 3, 5]].sum(axis=0)
        assert np.abs(trace).max() < 5e-6
        write_ubc_survey(tmp_path / "g.gg", survey, data)
        again, data_again = read_ubc_survey(tmp_path / "g.gg")
        assert again == survey
        assert_array_equal(data_again, data)
        assert read_ubc_survey(folder / "survey.loc") == (survey, None)

    def test_a_deficit_is_negative(self, tmp_path):
        mesh = Mesh.regular((2, 3, 3), 100.0)
        survey = Survey.grid(mesh, height=10.0)
        g = ForwardOperator(mesh, survey).fit().transform(np.full((1, mesh.n_cells), -500.0))[0]
        write_ubc_survey(tmp_path / "g.grv", survey, g)
        written = np.loadtxt(tmp_path / "g.grv", skiprows=1)
        assert (written[:, 2] == 10).all()
        assert (written[:, 3] < 0).all()

    @pytest.mark.parametrize(
        ("text", "line", "match"),
        [
            ("", 1, "ends before the number of stations. It is truncated"),
            ("! nothing\n\n", 3, "ends before the number of stations"),
            ("1 2 3 4 5\n", 1, "number of stations must be alone on the first line, which has 5"),
            ("0\n", 1, "'0' in the number of stations is not a count: give a whole number of at"),
            ("2.0\n", 1, "'2.0' in the number of stations"),
            (f"{'9' * 5000}\n", 1, "in the number of stations is not a count"),
            ("2\n1 2 3\n", 3, "ends before station 2 of 2. It is truncated, or the counts"),
            ("1\n1 2 3\n4 5 6\n", 3, "'4' follows after the end of the 1 stations. Correct the c"),
            ("1\n1 2\n", 2, "the station has 2 numbers; give easting, northing, elevation, then"),
            ("1\n1 2 3 4 5 6\n", 2, "the station has 6 numbers"),
            ("2\n1 2 3 4 5\n1 2 3 4\n", 3, "has 4 numbers but the first one has 5"),
            ("1\n! two\n1 b 3\n", 3, "'b' is not a finite number. Correct it; comments begin"),
            ("1\n1 2 nan\n", 2, "'nan' is not a finite number"),
            ("1\n1 2 1e999\n", 2, "'1e999' is not a finite number"),
            (f"1\n1 2 1e-{'9' * 30}\n", 2, "is not a finite number"),
            ("1\n1 2 1_0\n", 2, "'1_0' is not a finite number"),
            ("1\n1,2,3\n", 2, "'1,2,3' is not a finite number"),
            (b"1\n1 2 \xff\n", 2, "is not a finite number"),
            (
                "3\n1 2 3 4 1\n\n1 2 3 4 0\n1 2 3 4 0.0\n",
                4,
                "the uncertainty is 0, as in 2 of 3 lines; .* above 0, or pass 'uncertainty'",
            ),
            ("1\n1 2 3 4 -1\n", 2, "the uncertainty is -1"),
            ("1\n1 2 5D9999\n", 2, "'5D9999' is not a finite number"),
            ("1\n1 2 3D\n", 2, "'3D' is not a finite number"),
            ("datacomp=xx,ne\n1\n1 2 3\n", 1, "components are 'xx, ne'; give distinct ones out"),
            ("datacomp=zz,zz\n1\n1 2 3\n", 1, "the components are 'zz, zz'; give distinct"),
            ("datacomp=\n1\n1 2 3\n", 1, "the components are ''; give distinct ones out of xx"),
            ("datacomp=zz\n1 2\n", 2, "must be alone on the line below the components, which"),
            ("datacomp=xx,zz\n1\n1 2 3 4\n", 3, "4 numbers; give easting.* each gradient, foll"),
            ("datacomp=xz,zz\n1\n1 2 3 4 5 6 -7\n", 3, "the uncertainty is -7"),
            ("datacomp=xz,zz\n1\n1 2 3 4 5 6 0\n", 3, "the uncertainty is 0, as in 1 of 1"),
            (
                "5\n" + "".join(f"{i} 2 3 {g}\n" for i, g in enumerate([4, 5, -9999, 6, 7])),
                4,
                "'gravity' contains -9999, 1 times and far from all other values, which are 4 to 7",
            ),
            (
                "5\n" + "".join(f"{i} 2 {up} 3\n" for i, up in enumerate([4, 5, 6, 99999.9, 7])),
                5,
                "'elevation' contains -?99999.9",
            ),
        ],
    )
    def test_malformed(self, file, text, line, match):
        refused(read_ubc_survey, file(text), line, match)

    @pytest.mark.parametrize("zero", ["0", "0.0", "-0.0", "0.0E+00", "0D0", ""])
    def test_unknown_uncertainties(self, file, zero):
        path = file(f"2\n5 6 7 -0.2 {zero}\n5 6 8 0.3 {zero}\n")
        survey, data = read_ubc_survey(path)
        assert survey.uncertainty is None
        assert_array_equal(data, [-0.2, 0.3])
        assert_array_equal(read_ubc_survey(path, uncertainty=0.1)[0].uncertainty, [0.1, 0.1])

    def test_some_unknown_uncertainties(self, file):
        path = file("3\n5 6 7 -0.2 0\n5 6 8 0.3 0.5\n5 6 9 0.3 0\n")
        survey, _ = read_ubc_survey(path, uncertainty=0.1)
        assert_array_equal(survey.uncertainty, [0.1, 0.5, 0.1])

    @pytest.mark.parametrize("uncertainty", [0, -1, np.nan, np.inf])
    def test_other_uncertainties(self, file, uncertainty):
        with pytest.raises(
            ValueError, match=r"'uncertainty' is .* must be a positive number of mG"
        ):
            read_ubc_survey(file("1\n1 2 3 4\n"), uncertainty=uncertainty)

    def test_exponents_of_fortran_and_the_end_mark_of_dos(self, file):
        text = "1\r\n0.5D+03 6d0 7E0 -.2D-1 1.D-01 # Bouguer\r\n\x1a\r\n1 2 what ever"
        survey, data = read_ubc_survey(file(text))
        assert survey == Survey([[-7, 6, 500]], ("z",), 0.1)
        assert_array_equal(data, [-0.02])

    def test_no_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"none\.grv"):
            read_ubc_survey(tmp_path / "none.grv")

    @pytest.mark.parametrize(
        "survey",
        [
            None,
            Survey([[0, 0]], ("z",)),
            Survey([[0, 0, 0]], ("x",)),
            Survey([[0, 0, 0]]),
            Survey([[0, 0]], ("zz",)),
            Survey([[0, 0, 0]], ("z", "zz")),
        ],
    )
    def test_other_surveys_are_not_written(self, tmp_path, survey):
        with pytest.raises(ValueError, match=r"'survey' is .* has gz alone at stations"):
            write_ubc_survey(tmp_path / "g.grv", survey)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("data", [[1.0, 2.0], 1.0, [[1.0]], [np.nan]])
    def test_other_data_are_not_written(self, tmp_path, data):
        with pytest.raises(ValueError, match=r"'data' has shape .*; it must be finite numbers"):
            write_ubc_survey(tmp_path / "g.grv", Survey([[0, 0, 0]], ("z",)), data)

    def test_uncertainty_without_data(self, tmp_path):
        with pytest.raises(ValueError, match="'data' is None, but the survey has uncertainties"):
            write_ubc_survey(tmp_path / "g.grv", Survey([[0, 0, 0]], ("z",), 1.0))


def axes(n):
    """Give strategies of `n` strictly increasing edges of any size."""
    number = st.floats(-1e12, 1e12)
    return st.lists(number, min_size=2, max_size=n, unique=True).map(sorted)


class TestMesh:
    def test_real_file(self, shared_data):
        mesh = read_ubc_mesh(shared_data / MAULE / "LdM_mesh.mesh")
        assert mesh.shape == (40, 69, 69)
        z, y, x = mesh.edges
        assert_array_equal(x, 355000 + 250.0 * np.arange(70))
        assert_array_equal(y, 5999000 + 250.0 * np.arange(70))
        assert_array_equal(np.diff(z), np.repeat([100, 120, 145, 175, 210, 250, 300, 350], 5))
        assert z[0] == -3000

    def test_real_file_and_back(self, shared_data, tmp_path):
        path = shared_data / MAULE / "LdM_mesh.mesh"
        write_ubc_mesh(tmp_path / "mesh.msh", read_ubc_mesh(path))
        assert (tmp_path / "mesh.msh").read_text().split() == path.read_text().split()

    def test_against_discretize(self, shared_data, tmp_path):
        discretize = pytest.importorskip("discretize")
        theirs = discretize.TensorMesh.read_UBC(str(shared_data / MAULE / "LdM_mesh.mesh"))
        ours = read_ubc_mesh(shared_data / MAULE / "LdM_mesh.mesh")
        assert_array_equal(ours.edges[2], theirs.nodes_x)
        assert_array_equal(ours.edges[1], theirs.nodes_y)
        assert_array_equal(ours.edges[0], -theirs.nodes_z[::-1])
        x, y, up = theirs.cell_centers.T
        theirs.write_model_UBC(str(tmp_path / "rho.den"), 1e-6 * x + 1e-7 * y + 1e-4 * up)
        z, y, x = np.meshgrid(*ours.centers, indexing="ij")
        expected = 1e-3 * x + 1e-4 * y - 1e-1 * z
        rho = read_ubc_model(tmp_path / "rho.den", ours)
        np.testing.assert_allclose(ours.unflatten(rho), expected, rtol=1e-12)

    # Written beside one another, so that the folder of one test serves all examples.
    @given(edges=st.tuples(axes(6), axes(4), axes(5)))
    def test_round_trip(self, tmp_path_factory, edges):
        mesh = Mesh(edges)
        path = tmp_path_factory.getbasetemp() / "round_trip.msh"
        write_ubc_mesh(path, mesh)
        again = read_ubc_mesh(path)
        for axis, axis_again in zip(mesh.edges, again.edges, strict=True):
            assert_array_equal(axis_again, axis)

    def test_edges_are_rounded_once(self, file):
        z = read_ubc_mesh(file("1 1 10\n0 0 0\n1\n1\n10*0.1\n")).edges[0]
        assert_array_equal(z, [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])

    def test_top_at_zero_has_one_sign(self, file):
        mesh = read_ubc_mesh(file("1 1 1\n0 0 0\n1\n1\n1\n"))
        assert mesh == Mesh([[0.0, 1.0]] * 3)

    @pytest.mark.parametrize("widths", ["2 * 10", "2* 10", "2 *10", "2  *\t10", "10 1 * 10 #"])
    def test_blanks_around_the_star(self, file, widths):
        mesh = read_ubc_mesh(file(f"2 1 3 # cells\n0 0 0\n{widths}\n10\n 1D1 2 * 0.1D+02\n\x1a"))
        assert mesh == Mesh([[0, 10, 20, 30], [0, 10], [0, 10, 20]])

    def test_widths_over_several_lines(self, file):
        mesh = read_ubc_mesh(file("4 1 2\n0 0 0\n2*1\n ! more\n1 1.0\n1\n1\n1"))
        assert mesh.shape == (2, 1, 4)

    @pytest.mark.parametrize(
        ("text", "line", "match"),
        [
            ("", 1, "ends before the numbers of cells along x, y and z"),
            ("3 2\n", 1, "the numbers of cells along x, y and z must be alone on the first"),
            (MESH.replace("3 2 2", "3 -2 2"), 1, "'-2' in the numbers of cells"),
            (MESH.replace(" 3000", ""), 2, "the corner has 2 entries: give its easting"),
            (MESH.replace("3000", "top"), 2, "'top' is not a finite number"),
            (MESH.replace("3*250", "3*-250"), 3, "a cell along x is -250 m wide; give a width"),
            (MESH.replace("3*250", "250 0 250"), 3, "a cell along x is 0 m wide"),
            (MESH.replace("3*250", "3*"), 3, "'' is not a finite number"),
            (MESH.replace("3*250", "*250"), 3, "'' in '\\*250' before the '\\*'"),
            (MESH.replace("3*250", "1.5*250"), 3, "'1.5' in '1.5\\*250'"),
            (MESH.replace("3*250", "0*250"), 3, "'0' in '0\\*250'"),
            (MESH.replace("3*250", "2*3*250"), 3, "'2\\*3' in '2\\*3\\*250'"),
            (MESH.replace("3*250", "4*250"), 3, "more widths than the 3 cells along x of the"),
            (MESH.replace("3*250", "999999999*250"), 3, "999999999 up to '999999999\\*250'"),
            (MESH.replace("3*250", "2*250"), 4, "more widths than the 3 cells along x"),
            (MESH.replace("100 200", "100"), 6, "before the widths of all 2 cells along z; 1 are"),
            (MESH.replace("2*250\n100 200\n", ""), 4, "before the widths of all 2 cells along y"),
            (MESH.replace("100 200", "100 x"), 5, "'x' is not a finite number"),
            (f"{MESH}300\n", 6, "'300' follows after the end of the widths"),
        ],
    )
    def test_malformed(self, file, text, line, match):
        refused(read_ubc_mesh, file(text), line, match)

    def test_widths_too_small_for_the_coordinates(self, file):
        path = file(MESH.replace("3*250", "3*1e-300"))
        with pytest.raises(ValueError, match="the widths are invalid: 'edges' of axis x") as caught:
            read_ubc_mesh(path)
        assert str(caught.value).startswith(str(path))

    @pytest.mark.parametrize("mesh", [None, Mesh.square(3), Survey([[0, 0, 0]], ("z",))])
    def test_other_meshes(self, tmp_path, mesh):
        for call in (
            lambda: write_ubc_mesh(tmp_path / "m", mesh),
            lambda: write_ubc_model(tmp_path / "m", mesh, [1.0]),
            lambda: read_ubc_model(tmp_path / "m", mesh),
        ):
            with pytest.raises(ValueError, match=r"'mesh' must be a skgrav\.Mesh of three dim"):
                call()
        assert list(tmp_path.iterdir()) == []


class TestModel:
    mesh = Mesh([[0, 1, 3], [0, 1, 2, 3], [0, 1, 2, 3, 4]])

    def test_order(self, file):
        # z fastest, then x, then y: cell (z, y, x) stands on line x z-columns into row y.
        rho = read_ubc_model(file("\n".join(str(i) for i in range(24))), self.mesh)
        image = self.mesh.unflatten(rho)
        for z, y, x in np.ndindex(2, 3, 4):
            assert image[z, y, x] == 1000 * (z + 2 * (x + 4 * y))

    def test_several_values_on_a_line(self, file):
        assert_array_equal(
            read_ubc_model(file("! air\n" + 6 * "1 2 3 4 ! x\n"), self.mesh).sum(), 6e4
        )

    def test_round_trip(self, tmp_path):
        rho = np.random.default_rng(0).normal(size=24) * 10.0 ** np.arange(-12, 12)
        rho[:3] = 0.0, -1.1e5, 1001.0
        write_ubc_model(tmp_path / "rho.den", self.mesh, rho)
        assert_array_equal(read_ubc_model(tmp_path / "rho.den", self.mesh), rho)

    def test_values_are_rounded_once(self, file):
        assert read_ubc_model(file("1.001\n" * 24), self.mesh)[0] == 1001.0

    @pytest.mark.parametrize(
        ("text", "line", "match"),
        [
            ("", 1, "ends before cell 1 of the 24 of the mesh"),
            ("1\n" * 23, 24, "ends before cell 24 of the 24 of the mesh. It is truncated"),
            ("1\n" * 25, 25, "'1' follows after the end of the 24 cells of Mesh"),
            ("1 1 1 1 1\n" * 5, 5, "there are more values than the 24 cells of Mesh"),
            ("1\n2 ; two\n", 2, "';' is not a finite number"),
            ("1\n\n2 # two\nnan\n", 4, "'nan' marks an inactive cell. Pass inactive=float"),
            ("1\nNaN\n", 2, "'NaN' marks an inactive cell"),
            ("1\n-100\n", 2, "'-100' marks an inactive cell. Pass inactive=-100 to get NaN"),
            ("1\n-1.0D+08\n", 2, r"'-1.0D\+08' marks an inactive cell. Pass inactive=-1e\+08"),
            ("1\n-99999.0\n", 2, "'-99999.0' marks an inactive cell"),
            ("1\n1e306\n", 2, "'1e306' is not a finite number"),
        ],
    )
    def test_malformed(self, file, text, line, match):
        refused(lambda path: read_ubc_model(path, self.mesh), file(text), line, match)

    @pytest.mark.parametrize("mark", ["-100", "-1e8", "-1.0D+08", "nan", "NaN", "-7.5"])
    def test_inactive_cells(self, file, mark):
        path = file(f"{mark}\n" + "1\n" * 22 + f"{mark}\n")
        value = float(mark.replace("D", "e"))
        for inactive in (value, [-5.0, value]):
            rho = read_ubc_model(path, self.mesh, inactive=inactive)
            assert np.isnan(rho[[0, -1]]).all()
            assert_array_equal(rho[1:-1], 1000)

    def test_other_marks_stay_marks(self, file):
        refused(
            lambda p: read_ubc_model(p, self.mesh, inactive=-100),
            file("-100\nnan\n"),
            2,
            r"Pass inactive=float\('nan'\) to get NaN there",
        )
        rho = read_ubc_model(file("-100\n" + "1\n" * 23), self.mesh, inactive=())
        assert rho[0] == -1e5

    def test_round_trip_with_inactive_cells(self, tmp_path):
        rho = np.arange(24.0)
        rho[[0, 7]] = np.nan
        for mark in (-100, -1e8):
            write_ubc_model(tmp_path / "rho.den", self.mesh, rho, inactive=mark)
            again = read_ubc_model(tmp_path / "rho.den", self.mesh, inactive=mark)
            assert_array_equal(again, rho)

    @pytest.mark.parametrize(
        ("value", "inactive", "match"),
        [
            (np.nan, None, "'rho' is NaN in 1 of 24 cells. Pass inactive=-100 to write them as in"),
            (np.nan, np.nan, "'inactive' is nan; it must be a finite number, such as -100"),
            (
                -1e5,
                None,
                "'rho' contains -100000.0 kg/m3, which would be read as the mark of an in",
            ),
            (-500.0, -0.5, "'rho' contains -500.0 kg/m3, which would be read as the mark"),
        ],
    )
    def test_marks_that_would_be_mistaken_are_not_written(self, tmp_path, value, inactive, match):
        rho = np.arange(24.0)
        rho[3] = value
        with pytest.raises(ValueError, match=match):
            write_ubc_model(tmp_path / "rho.den", self.mesh, rho, inactive=inactive)
        assert list(tmp_path.iterdir()) == []

    def test_missing_folder_is_named(self, tmp_path):
        path = tmp_path / "nowhere" / "f.txt"
        for write in (
            lambda: write_ubc_model(path, self.mesh, np.zeros(24)),
            lambda: write_ubc_mesh(path, self.mesh),
            lambda: write_ubc_survey(path, Survey([[0, 0, 0]], ("z",))),
        ):
            with pytest.raises(FileNotFoundError, match=r"the folder '.*nowhere' does not"):
                write()

    @pytest.mark.parametrize("rho", [np.zeros(23), np.zeros((1, 24)), np.full(24, np.inf)])
    def test_other_densities_are_not_written(self, tmp_path, rho):
        with pytest.raises(ValueError, match=r"'rho' has shape .*; it must be finite numbers"):
            write_ubc_model(tmp_path / "rho.den", self.mesh, rho)
        assert list(tmp_path.iterdir()) == []
