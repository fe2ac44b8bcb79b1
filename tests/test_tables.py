"""Tables of stations as they are in the wild: read, or refused with the line and a remedy."""

import sys
import tarfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skgrav import Survey
from skgrav.io import read_stations, read_table, read_ubc_survey

LINE = Survey([[0.0, 0.0], [0.0, 500.0], [0.0, 1000.5]], ("z",))
DATA = [1.5, -2.25, 3.0]


@pytest.fixture
def table(tmp_path):
    """Give a function that writes a text and reads it."""

    def read(text, encoding="utf-8", **options):
        path = tmp_path / "profile.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
        return read_stations(path, **options)

    return read


KINDS = {
    "commas": "x,gz\n0,1.5\n500,-2.25\n1000.5,3\n",
    "semicolons": "x;gz\n0;1.5\n500;-2.25\n1000.5;3\n",
    "semicolons and decimal commas": "x;gz\n0;1,5\n500,0;-2,25\n1000,5;3\n",
    "tabs and decimal commas": "x\tgz\n0\t1,5\n500\t-2,25\n1000,5\t3,0E0\n",
    "blanks": "  x     gz\n  0.0   1.5\n500  -2.25\n 1000.5  3\n",
    "blanks and decimal commas": "x gz\n0 1,5\n500 -2,25\n1000,5 3\n",
    "bars": "x | gz\n0 | 1.5\n500 | -2.25\n1000.5 | 3\n",
    "comments of Geosoft": "/ Bouguer\nx gz\n/---\n0 1.5\n500 -2.25\n1000.5 3\n",
    "header in a comment": "# profile 7\n# x gz\n0 1.5\n500 -2.25\n1000.5 3\n",
    "header in a comment, commas": "# x, gz\n0,1.5\n500,-2.25\n1000.5,3\n",
    "comments after rows": "x gz ! in m and mGal\n0 1.5 # base\n500 -2.25\n1000.5 3\n",
    "names in capitals": "X,GZ\n0,1.5\n500,-2.25\n1000.5,3\n",
    "names with units": "x [m],gz_mGal\n0,1.5\n500,-2.25\n1000.5,3\n",
    "units of the table": "x_km,gz [uGal]\n0,1500\n0.5,-2250\n1.0005,3000\n",
    "titles": "Gravity of 1997\nProfile 7\nx,gz\n0,1.5\n500,-2.25\n1000.5,3\n",
    "exponents of Fortran": "x gz\n0.0D0 0.15D+01\n5.D2 -2.25\n1000.5 3.0\n",
    "quotes": '"x","gz"\n"0","1.5"\n"500","-2.25"\n"1000.5","3"\n',
    "comments": "# Bouguer\n! 2020\nx,gz\n% m,mGal\n0,1.5\n// old\n500,-2.25\n1000.5,3\n#end",
    "blank lines": "\n\nx,gz\n0,1.5\n\n500,-2.25\n  \n1000.5,3\n\n",
    "lines of delimiters": "x,gz\n0,1.5\n,\n500,-2.25\n1000.5,3\n,,\n",
    "index of pandas": ",x,gz\n0,0,1.5\n1,500,-2.25\n2,1000.5,3\n",
    "blank cells before tabs": "\tx\tgz\n\t0\t1.5\nA\t500\t-2.25\n\t1000.5\t3\n",
    "units row": "x,gz\nm,mGal\n0,1.5\n500,-2.25\n1000.5,3\n",
    "units row in brackets": "x;gz\n[m];[mGal]\n0;1,5\n500;-2,25\n1000,5;3\n",
    "count": "3\nx,gz\n0,1.5\n500,-2.25\n1000.5,3\n",
    "more columns": "name,x,gz,remark\nA,0,1.5,\nB,500,-2.25,rain\nC,1000.5,3,\n",
    "delimiters at the end": "x,gz,\n0,1.5,\n500,-2.25,\n1000.5,3,\n",
    "line ends of DOS": "x,gz\r\n0,1.5\r\n500,-2.25\r\n1000.5,3\r\n",
}


@pytest.mark.parametrize("text", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_kinds_of_tables(table, text, encoding):
    survey, data = table(text, encoding)
    assert survey == LINE
    assert_array_equal(data, DATA)


@pytest.mark.parametrize("text", ["0,1.5\n500,-2.25\n1000.5,3", "3\n0 1.5\n500 -2.25\n1000.5 3"])
def test_without_a_header_columns_have_numbers(table, text):
    survey, data = table(text, x="1", gz="2")
    assert survey == LINE
    assert_array_equal(data, DATA)
    with pytest.raises(
        ValueError,
        match=r"has the columns \['1', '2'\], not 'x'. Without a header they have numbers, or "
        "names by 'names'; lines of a title begin with #. Name it by 'x'",
    ):
        table(text)


@pytest.mark.parametrize(
    ("encoding", "name"), [("cp1252", "Schwere gz [µGal]"), ("utf-16", "gz [µGal]")]
)
def test_headers_in_other_encodings(table, encoding, name):
    _, data = table(f"Ost;{name}\n1;2\n3;4,5\n", encoding, x="Ost", gz=name, gravity_unit="uGal")
    assert_allclose(data, [0.002, 0.0045])


def test_areas_have_three_coordinates(table):
    survey, data = table(
        "E_km,N_km,h_km,gz_um/s2,gx_um/s2,s\n1,2,0.1,30,40,5\n3,4,0,60,70,8\n",
        x="E_km",
        y="N_km",
        elevation="h_km",
        gx="gx_um/s2",
        gz="gz_um/s2",
        uncertainty="s",
        length_unit="km",
        gravity_unit="µm s⁻²",
    )
    assert survey.components == ("x", "z")
    assert_allclose(survey.stations, [[-100, 2000, 1000], [0, 4000, 3000]])
    assert_allclose(data, [4, 7, 3, 6])
    assert_allclose(survey.uncertainty, [0.5, 0.8, 0.5, 0.8])


def test_stations_alone_and_one_uncertainty(table):
    survey, data = table("x\n1\n2\n", gz=None, height=20.0)
    assert data is None
    assert_array_equal(survey.stations, [[-20, 1], [-20, 2]])
    kilometres = {"length_unit": "km", "elevation_unit": "m", "gz": None}
    for up in ({"height": 20.0}, {"elevation": "h_m"}):
        survey, _ = table("x,h_m\n1,20\n2,20\n", **kilometres, **up)
        assert_array_equal(survey.stations, [[-20, 1000], [-20, 2000]])
    survey, _ = table("x,gz\n0,1\n1,2", uncertainty=50, gravity_unit="uGal")
    assert_allclose(survey.uncertainty, 0.05)


@pytest.mark.parametrize(
    ("name", "unit", "size"),
    [
        ("gz_um/s2", "um/s2", 0.1),
        ("gz_µm/s2", "um/s2", 0.1),
        ("gz [µm/s²]", "um/s2", 0.1),
        ("gz_um/s^2", "um/s2", 0.1),
        ("gz_um s-2", "um/s2", 0.1),
        ("gz_um_s-2", "um/s2", 0.1),
        ("gz (µm·s⁻²)", "um/s2", 0.1),
        ("gz_nm/s2", "nm/s2", 1e-4),
        ("gz_gu", "gu", 0.1),
        ("gz mgal", "mGal", 1.0),
        ("gz/µGal", "uGal", 1e-3),
        ("gz/um/s2", "um/s2", 0.1),
        ("gz, uGal", "uGal", 1e-3),
        ("gz-nm/s2", "nm/s2", 1e-4),
        ("gz.uGal", "uGal", 1e-3),
        ("gz (uGal), corrected", "uGal", 1e-3),
        ("gz_obs", "uGal", 1e-3),
    ],
)
def test_units_in_names_of_columns(table, name, unit, size):
    text = f"x;{name}\n0;1\n1;2\n"
    assert_allclose(table(text, gz=name, gravity_unit=unit)[1], [size, 2 * size])
    if name != "gz_obs":
        assert_allclose(table(text)[1], [size, 2 * size])
    if name != "gz_obs":
        other = "mGal" if unit != "mGal" else "uGal"
        with pytest.raises(
            ValueError, match=rf"'gz' '.*' is in .*, but 'gravity_unit' is {other}\."
        ):
            table(text, gz=name, gravity_unit=other)


@pytest.mark.parametrize(
    "name",
    ["gz_kGal", "gz [arb. unit]", "gz_lb/ft3", "gz (m)", "gz_kg/m3", "gz_um_s2", "gz_ms-2"],
)
def test_unknown_units_are_refused(table, name):
    with pytest.raises(
        ValueError, match=r"column 'gz.* is in '.*'; units of gravity are mGal, uGal"
    ):
        table(f"x;{name}\n0;1\n1;2\n", gz=name)


def test_units_rows_count(table):
    text = "x,gz\nkm,um/s2\n0,1\n1,2\n"
    survey, data = table(text, length_unit="km", gravity_unit="um/s2")
    assert_allclose(survey.stations[:, 1], [0, 1000])
    assert_allclose(data, [0.1, 0.2])
    found, g = table(text)
    assert found == survey
    assert_array_equal(g, data)
    with pytest.raises(ValueError, match=r"'x' 'x' is in km, but 'length_unit' is m. Correct one"):
        table(text, length_unit="m")
    with pytest.raises(
        ValueError, match=r"column 'x' of .* is in 'mile'; units of length are m, km"
    ):
        table(text.replace("km", "mile"))
    with pytest.raises(ValueError, match="'gravity_unit' is in 'kGal'; units of gravity are"):
        table(text, length_unit="km", gravity_unit="kGal")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", r"profile.csv has the columns \[\], not 'x'"),
        ("x,gz\n", "column 'x' of .* is empty"),
        ("x,g\n0,1\n", r"has the columns \['x', 'g'\], not 'gz'. Name it by 'gz'"),
        (
            "x,gz\n\n# a\n0,1\n1,b\n",
            "line 5: 'b' in column 'gz' is not a finite number. Correct it",
        ),
        ("x,gz\n0,1\n1,inf\n", "line 3: 'inf' in column 'gz' is not"),
        (
            "x,gz\n0,1\n1,2,3\n",
            r"line 3: the row has more entries than the columns \['x', 'gz'\]. Check",
        ),
        ("x,gz\n0,1,5\n1,2,5\n", "line 2: the row has more entries than the columns"),
        (
            "3\nx,gz\n0,1\n1,2\n",
            "line 1: 3 rows should follow, but there are 2. The table is trunc",
        ),
        ('x,gz\n"0,1\n1",2\n', "has a quotation that does not end on its line"),
        ('x,gz\n0,1\n"1,2\n', "cannot be read as a table: .*EOF|quotation that does not end"),
        ("x,gz,gz\n0,1,5\n1,2,5\n", "has columns of the same name"),
        (b"\0\1\xdc\0", "profile.csv is no text and no sheet"),
    ],
)
def test_bad_tables_are_refused(table, text, match):
    with pytest.raises(ValueError, match=match):
        table(text)


@pytest.mark.parametrize(
    ("rows", "where"),
    [
        ("2,\n3,4\n", r"1 of 4 rows are left out, .*: 'gz' in line 4 \(blank\)\."),
        ("2\n3,4\n", r"'gz' in line 4 \(blank\)"),
        (
            "2,NaN\n3,n/a\n,5\n",
            r"3 of 5 .*'x' in line 6 \(blank\); 'gz' in lines 4, 5 \(NaN, n/a\)",
        ),
        ("2,*\n" * 7, r"7 of 9 .* in lines 4, 5, 6, 7, 8 and 2 more \(\*\)"),
        ("2,***\n3,-\n", r"in lines 4, 5 \(\*\*\*, -\)"),
        ("2,-9999\n3,-9999\n4,5\n", r"2 of 5 .*'gz' in lines 4, 5 \(-9999\)"),
        ("2,1e30\n3,-1.0e32\n4,-1e8\n", r"'gz' in lines 4, 5, 6 \(1e30, -1.0e32, -1e8\)"),
        ("99999,7\n3,6\n", r"'x' in line 4 \(99999\)"),
    ],
)
def test_rows_with_missing_values_are_left_out_and_said(table, rows, where):
    with pytest.warns(UserWarning, match=rf"profile.csv: .*{where}") as said:
        survey, data = table("x,gz\n0,1\n1,2\n" + rows)
    assert len(said) == 1
    assert_array_equal(survey.stations[:2, 1], [0, 1])
    assert_array_equal(data[:2], [1, 2])
    assert np.abs(data).max() < 10 > survey.stations[:, 1].max()


def test_missing_values_in_other_columns_do_not_count(table):
    _, data = table("x,gz,remark,depth\n0,1,,*\n1,2,wet,-9999\n")
    assert_array_equal(data, [1, 2])
    with pytest.raises(
        ValueError, match=r"has no row without missing values in .*\['x', 'depth'\]"
    ):
        table("x,gz,depth\n0,1,*\n1,2,nan\n", gz="depth")


def test_a_row_is_left_out_with_its_uncertainty(table):
    with pytest.warns(UserWarning, match=r"'s' in line 3 \(\*\)"):
        survey, data = table("x,gx,gz,s\n0,1,2,.5\n1,3,4,*\n2,5,6,.7\n", gx="gx", uncertainty="s")
    assert_array_equal(data, [1, 5, 2, 6])
    assert_array_equal(survey.uncertainty, [0.5, 0.7, 0.5, 0.7])


@pytest.mark.parametrize("wrong", ["0", "-0.5"])
def test_uncertainties_are_positive(table, wrong):
    with pytest.raises(ValueError, match=rf"line 3: '{wrong}' in column 's' is no standard devia"):
        table(f"x,gz,s\n0,1,0.1\n1,2,{wrong}\n", uncertainty="s")


def test_uncertainty_of_each_component(table):
    text = "x,gx,gz,s\n0,1,2,.5\n1,3,4,.6\n"
    survey, _ = table(text, gx="gx", uncertainty={"z": "s", "x": 0.1})
    assert_array_equal(survey.uncertainty, [0.1, 0.1, 0.5, 0.6])
    with pytest.raises(ValueError, match=r"'uncertainty' has the components \['z'\]; give one for"):
        table(text, gx="gx", uncertainty={"z": "s"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "x,gz\n0,1\n7,2\n0,1\n",
            "in 1 of 3 rows, first in line 4, which repeats line 2, with the s",
        ),
        (
            "x,gz\n0,1\n#\n0,2\n0,3\n",
            "in 2 of 3 rows, .* line 4, which repeats line 2, with different",
        ),
    ],
)
def test_repeated_stations_are_kept_and_said(table, text, said):
    with pytest.warns(UserWarning, match=rf"profile.csv: stations are repeated {said}"):
        survey, data = table(text)
    assert survey.n_stations == len(data) == 3


def test_rows_keep_their_order(table):
    survey, data = table("x,gz\n5,1\n0,2\n3,4\n")
    assert_array_equal(survey.stations[:, 1], [5, 0, 3])
    assert_array_equal(data, [1, 2, 4])


def test_names_stand_in_for_a_header(table):
    text = "# of 1997\n0,100,7,1.5\n500,110,8,-2.25\n1000.5,120,9,3\n"
    names = ["x", "up", "point", "gz"]
    survey, data = table(text, names=names, elevation="up")
    assert_array_equal(survey.stations, [[-100, 0], [-110, 500], [-120, 1000.5]])
    assert_array_equal(data, DATA)
    assert (
        table("E;h;id;g\n" + text[10:].replace(",", ";"), names=names, elevation="up")[0] == survey
    )
    with pytest.raises(
        ValueError, match=r"'names' is \['x', 'gz'\], but .* has 4 columns. Name eac"
    ):
        table(text, names=["x", "gz"])
    # Columns named by a comment have their numbers, too.
    assert table("# x gz\n0 1\n2 3\n", x="1", gz="2")[0].n_stations == 2


def test_a_delimiter_can_be_named(table):
    for text, delimiter in [
        ("x:gz\n0:1\n", ":"),
        ("x;y,gz;y\n0,1\n", ","),
        ("x gz\n0 1\n", "blank"),
    ]:
        gz = "gz;y" if ";" in text else "gz"
        assert_array_equal(
            table(text, x=text.split(delimiter)[0].split(" ")[0], gz=gz, delimiter=delimiter)[1],
            [1],
        )
    with pytest.raises(
        ValueError, match="'delimiter' is '::'; it must be one character, 'tab' or 'blank'"
    ):
        table("x,gz\n0,1\n", delimiter="::")


def test_decimal_commas_between_blanks_without_a_header(table):
    survey, data = table("0,5 1,5\n500 -2,25\n", x="1", gz="2")
    assert_array_equal(survey.stations[:, 1], [0.5, 500])
    assert_array_equal(data, [1.5, -2.25])


def test_minus_signs_of_typesetters(table):
    assert_array_equal(table("x,gz\n0,−2.25\n1,3\n")[1], [-2.25, 3])


def test_depths_are_no_elevations(table):
    with pytest.raises(ValueError, match=r"'depth' of .* is a depth by its name, but elevations"):
        table("x,depth,gz\n0,5,1\n", elevation="depth")


def test_empty_columns_keep_their_numbers(table):
    assert_array_equal(table("0,,1.5\n1,,2\n", x="1", gz="3")[1], [1.5, 2])


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("x;gz\n0;1,234\n1;999.5\n", r"line 2: '1,234' has a comma, but '999.5' in line 3 a point"),
        (
            "x gz s\n0 1 2\n1 2\n",
            r"line 3: the row has 2 entries for the columns .*Write NaN for it",
        ),
        (
            "X,x_km,gz\n0,0,1\n",
            "has the columns .*'X', 'x_km'.*, which may all be 'x'. Name it by 'x'",
        ),
        (
            "x_km,gz\n0,1\n",
            r"'x' 'x' is in km, but 'height' 20.0 states no unit. Give 'elevation_u",
        ),
        (
            "x,gz_uGal\n0,1\n",
            r"'gz' 'gz' is in uGal, but 'uncertainty of gz' 0.1 states no unit. Gi",
        ),
        ("lon,gz\n0,1\n", "'x' 'lon' of .* is a geographic coordinate in degrees; .*pyproj import"),
        ("x,gz\ndeg,mGal\n0,1\n", "'x' 'x' of .* is a geographic coordinate in degrees"),
        ("x [°],gz\n0,1\n", "'x' 'x' of .* is a geographic coordinate in degrees"),
        ("Longitude_WGS84,gz\n0,1\n", "is a geographic coordinate in degrees"),
    ],
)
def test_what_may_be_misread_is_refused(table, text, match):
    x = next((name for name in ("lon", "Longitude_WGS84") if text.startswith(name)), "x")
    with pytest.raises(ValueError, match=f"(?s){match}"):
        table(text, x=x, height=20.0, uncertainty=0.1)


def test_names_of_eastings_are_no_units(table):
    survey, _ = table("UTM_E,UTM (N),gz\n5,6,1\n", x="UTM_E", y="UTM (N)")
    assert_array_equal(survey.stations, [[0, 6, 5]])
    assert table("along_m,gz\n5,1\n", x="along")[0].n_stations == 1


def test_data_that_are_positive_up_change_their_sign(table):
    text = "x,gx,gz\n0,1,2\n1,3,4\n"
    assert_array_equal(table(text, gx="gx", positive="up")[1], [1, 3, -2, -4])
    with pytest.raises(ValueError, match="'positive' is 'z'; it must be 'down' or 'up'"):
        table(text, positive="z")


GRADIENTS = {"gzz": "gzz", "gxz": "gxz"}


@pytest.mark.parametrize(
    ("header", "unit", "size"),
    [
        ("x,gz,gxz,gzz", None, 1.0),
        ("x,gz_mGal,gxz_E,gzz [Eotvos]", None, 1.0),
        ("x,gz,gxz (1/s2),gzz s^-2", None, 1e9),
        ("x,gz,gxz,gzz", "mGal/m", 1e4),
    ],
)
def test_gradients_beside_gravity(table, header, unit, size):
    text = f"{header}\n0,1,2,3\n1,4,5,6\n"
    options = {**GRADIENTS, "gradient_unit": unit}
    sigma = {"z": 0.1, "xz": 2, "zz": 3} if size == 1 else None
    survey, data = table(text, uncertainty=sigma, **options)
    assert survey.components == ("z", "xz", "zz")
    assert_allclose(data, np.r_[1, 4, size * np.array([2, 5, 3, 6])])
    if sigma:
        assert_array_equal(survey.uncertainty, [0.1, 0.1, 2, 2, 3, 3])
    assert_allclose(table(text, positive="up", **options)[1][[0, 2, 4]], [-1, -2 * size, 3 * size])


@pytest.mark.parametrize(
    ("header", "options", "match"),
    [
        (
            "x,gz,gxz,gzz_mGal",
            {},
            r"column 'gzz' of .* is in 'mGal'; units of gradient are E, 1/s2",
        ),
        ("x,gz [E],gxz,gzz", {}, r"column 'gz' of .* is in 'E'; units of gravity are mGal"),
        (
            "x,gz,gxz,gzz",
            {"uncertainty": 0.1},
            r"'uncertainty' is 0.1 for the components \['z', 'xz'",
        ),
        (
            "x,gz,gxz_E,gzz_E",
            {"gradient_unit": "mGal/m"},
            "'gxz' 'gxz' is in E, but 'gradient_unit' i",
        ),
        (
            "x,gz,gxz,gzz [1/s2]",
            {},
            "'gzz' 'gzz' is in 1/s2, but 'gxz' 'gxz' states no unit. Give 'gra",
        ),
    ],
)
def test_units_of_gradients_are_not_guessed(table, header, options, match):
    with pytest.raises(ValueError, match=match):
        table(f"{header}\n0,1,2,3\n1,4,5,6\n", **GRADIENTS, **options)


XYZ = """/ Written by a processing package
/      X       Y      Z     GZ
/---------------------------------
Line 100
 1000.0 5000.0  120.0    1.5
 1250.0 5000.0  121.5   *
 1500.0 5000.0  119.0   -2.25
LINE  110
 1000.0 5250.0  118.0    0.5
Tie 20
 1250.0 4900.0  117.0    0.75
"""


def test_lines_of_a_survey_in_geosoft_format(table):
    options = {"y": "Y", "elevation": "Z", "gz": "GZ"}
    with pytest.warns(UserWarning, match=r"1 of 5 rows .*'GZ' in line 6 \(\*\)"):
        survey, data = table(XYZ, **options)
    assert_array_equal(data, [1.5, -2.25, 0.5, 0.75])
    assert_array_equal(survey.stations[-1], [-117, 4900, 1250])
    for line, found in {
        110: [0.5],
        "L110": [0.5],
        "Tie 20": [0.75],
        "T20": [0.75],
        ("line 110", "t20"): [0.5, 0.75],
    }.items():
        assert_array_equal(table(XYZ, line=line, **options)[1], found)
    for line in (20, "L1", ["110", "120"]):
        with pytest.raises(
            ValueError, match=r"'line' is '.*0?', but .* has the lines L100, L110, T20. Ch"
        ):
            table(XYZ, line=line, **options)
    with pytest.raises(
        ValueError, match=r"has the lines L100, L110, T20\. Choose one by 'line', or"
    ):
        table(XYZ)


def test_lines_of_a_survey_in_a_column(table):
    text = "Line,x,gz\n7,0,1\n8,1,2\n7,2,3\n"
    assert_array_equal(table(text, line=7)[1], [1, 3])
    assert_array_equal(table(text, line=["8"])[1], [2])
    text = "line,x,y,gz\n7,0,0,1\n7,9,0,2\n8,0,5,3\n8,9,5,4\n"
    assert_array_equal(table(text, line=[7, 8], y="y")[1], [1, 2, 3, 4])
    for several in (None, [7, 8]):
        with pytest.raises(ValueError, match=r"has the lines 7, 8\. .* read the area by 'y'"):
            table(text, line=several)
    records = "line,x,gz\n1,0,1\n2,9,2\n"
    in_turn = "line,x,gz\n7,0,1\n7,9,2\n8,9,3\n8,20,4\n"
    for whole in (records, in_turn.replace("8,9,", "8,10,")):
        assert len(table(whole)[1]) == whole.count("\n") - 1
    with pytest.raises(ValueError, match=r"not 'line'. Name it by 'line'"):
        table("x,gz\n0,1\n", line=7)


def test_all_columns_with_lines_and_units(tmp_path):
    path = tmp_path / "area.xyz"
    path.write_text(XYZ)
    frame = read_table(path)
    assert list(frame) == ["line", "X", "Y", "Z", "GZ"]
    assert list(frame["line"]) == ["L100"] * 3 + ["L110", "T20"]
    assert list(frame.index) == [5, 6, 7, 9, 11]
    assert_array_equal(frame["GZ"], [1.5, np.nan, -2.25, 0.5, 0.75])
    assert list(read_table(path, line=110)["X"]) == [1000]
    path.write_text("name;x;gz\n;m;mGal\nA;0,5;1\nB;1;\n")
    frame = read_table(path)
    assert list(frame["name"]) == ["A", "B"]
    assert_array_equal(frame[["x", "gz"]], [[0.5, 1], [1, np.nan]])
    assert frame.attrs["units"] == {"name": "", "x": "m", "gz": "mGal"}


NUMBERS = st.floats(-800, 800, allow_subnormal=False)


@settings(deadline=None, max_examples=60)
@given(
    rows=st.lists(
        st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=7, unique_by=lambda row: row[0]
    ),
    delimiter=st.sampled_from([",", ";", "\t", "|", " ", "  "]),
    header=st.sampled_from([["x", "h", "gz"], ["X [m]", "H (m)", "gz/mGal"], None]),
    comma=st.booleans(),
    layout=st.sampled_from(["{}", "# of the year\n\n{}", "{n}\n{}", "{}\n\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
)
def test_what_is_written_is_read(
    tmp_path_factory, rows, delimiter, header, comma, layout, encoding
):
    if header and delimiter.isspace() and delimiter != "\t":
        header = [name.replace(" ", "_") for name in header]
    words = [[repr(value) for value in row] for row in rows]
    if comma and delimiter != ",":
        words = [[word.replace(".", ",") for word in row] for row in words]
    lines = [delimiter.join(row) for row in ([header] if header else []) + words]
    path = tmp_path_factory.mktemp("tables") / "table.txt"
    path.write_bytes(layout.format("\n".join(lines), n=len(rows)).encode(encoding))
    x, up, gz = header or ["1", "2", "3"]
    survey, data = read_stations(path, x=x, elevation=up, gz=gz)
    written = np.array(rows)
    assert_array_equal(survey.stations, np.column_stack([0 - written[:, 1], written[:, 0]]))
    assert_array_equal(data, written[:, 2])


def test_files_of_ubc_and_simpeg_are_tables(shared_data, tmp_path):
    [path] = shared_data.glob("upstream/simpeg/simpeg/*/examples/04-grav/*/LdM_grav_obs.grv")
    names = ["x", "y", "up", "gz", "std"]
    survey, data = read_stations(path, names=names, y="y", elevation="up", uncertainty="std")
    expected, g = read_ubc_survey(path)
    assert survey == expected
    assert_array_equal(data, g)
    archives = (
        "upstream/simpeg/user-tutorials/*/assets/03-gravity/inv_gravity_anomaly_3d_files.tar.gz"
    )
    [archive] = shared_data.glob(archives)
    with tarfile.open(archive) as tar:
        [member] = [m for m in tar if m.name.endswith("/gravity_data.obs")]
        (tmp_path / "gravity_data.obs").write_bytes(tar.extractfile(member).read())
    names = ["x", "y", "up", "gz"]
    survey, data = read_stations(
        tmp_path / "gravity_data.obs", names=names, y="y", elevation="up", positive="up"
    )
    assert_array_equal(survey.stations[0], [-103.35, -80, -80])
    assert (survey.n_stations, data[0]) == (289, -7.0008e-4)


def test_missing_pandas_is_named(table, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"profile.csv needs pandas; .*'skgrav\[io\]'"):
        table(KINDS["commas"])


def test_sheets(tmp_path):
    pd = pytest.importorskip("pandas")
    pytest.importorskip("openpyxl")
    path = tmp_path / "profile.xlsx"
    pd.DataFrame({"x": LINE.stations[:, 1], "gz": DATA}).to_excel(path, index=False)
    survey, data = read_stations(path)
    assert survey == LINE
    assert_array_equal(data, DATA)


def test_sheets_as_they_are(tmp_path):
    pd = pytest.importorskip("pandas")
    pytest.importorskip("openpyxl")
    path = tmp_path / "profile.xlsx"
    rows = [
        ["# Bouguer", None],
        [None, None],
        ["x", "gz"],
        ["km", "mGal"],
        ["0", "1.5"],
        [0.5, None],
    ]
    with pd.ExcelWriter(path) as writer:
        for name, table in {"notes": [["a"], ["b"]], "line": [*rows, [1, -2.25]]}.items():
            pd.DataFrame(table).to_excel(writer, sheet_name=name, index=False, header=False)
    with pytest.raises(
        ValueError, match=r"more than one sheet; choose one of \['notes', 'line'\] by"
    ):
        read_stations(path)
    for sheet in ("line", 1):
        with pytest.warns(UserWarning, match=r"1 of 3 rows .*'gz' in line 6 \(blank\)"):
            survey, data = read_stations(path, sheet=sheet)
        assert_array_equal(survey.stations, [[0, 0], [0, 1000]])
        assert_array_equal(data, [1.5, -2.25])
    with pytest.raises(ValueError, match=r"has no sheet 'area'; choose one of"):
        read_stations(path, sheet="area")
    with pytest.raises(ValueError, match=r"'delimiter' is ',', but .* is a sheet. Leave it out"):
        read_stations(path, delimiter=",")


def test_what_sheets_need_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    (tmp_path / "profile.xlsx").write_bytes(b"PK")
    with pytest.raises(ImportError, match=r"profile.xlsx needs openpyxl; .*'skgrav\[xlsx\]'"):
        read_stations(tmp_path / "profile.xlsx")
