"""Tables of stations as they are in the wild: read, or refused with the line and a remedy."""

import sys

import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skgrav import Survey
from skgrav.io import read_stations

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
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_kinds_of_tables(table, text, encoding):
    survey, data = table(text, encoding)
    assert survey == LINE
    assert_array_equal(data, DATA)


@pytest.mark.parametrize("text", ["0,1.5\n500,-2.25\n1000.5,3", "3\n0 1.5\n500 -2.25\n1000.5 3"])
def test_without_a_header_columns_have_numbers(table, text):
    survey, data = table(text, x="1", gz="2")
    assert survey == LINE
    assert_array_equal(data, DATA)
    with pytest.raises(ValueError, match=r"has the columns \['1', '2'\], not 'x'. Name it by 'x'"):
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
        ("gz_obs", "uGal", 1e-3),
    ],
)
def test_units_in_names_of_columns(table, name, unit, size):
    text = f"x;{name}\n0;1\n1;2\n"
    assert_allclose(table(text, gz=name, gravity_unit=unit)[1], [size, 2 * size])
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
    with pytest.raises(ValueError, match=r"'x' 'x' is in km, but 'length_unit' is m. Correct one"):
        table(text)
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
        ("x,gz\n0,1\n1\n", "line 3: '' in column 'gz' is not a finite number"),
        ("x,gz\n0,1\n1,nan\n", "line 3: 'nan' in column 'gz' is not a finite number"),
        ("x,gz\n0,1\n1,NA\n", "line 3: 'NA' in column 'gz' is not"),
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
        (
            "x,gz\n0,1\n7,2\n0,1\n",
            "line 4: this station repeats line 2, with the same data. D",
        ),
        (
            "x,gz\n0,1\n#\n0,2\n",
            "line 4: this station repeats line 2, with different data. D",
        ),
        (
            "x,gz\n0,1\n1,2\n2,-9999\n3,4\n",
            "line 4: 'column gz' contains -9999, 1 times and far from all other values",
        ),
        ("x,gz\n0,1\n1,2\n2,5\n-99999.9,4\n", "line 5: 'column x' contains -99999.9, 1 times"),
    ],
)
def test_bad_tables_are_refused(table, text, match):
    with pytest.raises(ValueError, match=match):
        table(text)


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


def test_what_sheets_need_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    (tmp_path / "profile.xlsx").write_bytes(b"PK")
    with pytest.raises(ImportError, match=r"profile.xlsx: .*openpyxl.* Or save the sheet as CSV"):
        read_stations(tmp_path / "profile.xlsx")
