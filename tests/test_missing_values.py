"""Missing values are refused wherever they come in, however they are marked, with a remedy."""

import numpy as np
import pandas as pd
import pytest

from skgrav import ForwardOperator, MatrixOperator, Mesh, Refiner, Survey, TikhonovInverter
from skgrav._checks import check_array, check_range, real_array
from skgrav.metrics import chi_factor, relative_l2_error
from skgrav.solvers import CGLS

MESH = Mesh.regular((3, 6), 100.0)
SURVEY = Survey(np.column_stack([np.full(6, -1.0), MESH.centers[1]]), ("z",), 0.05)
OPERATOR = ForwardOperator(MESH, SURVEY).fit()
RHO = 100 * np.random.default_rng(0).normal(size=(2, 18))
G = OPERATOR.transform(RHO)


def masked(values, dummy=None):
    """Mask the last value, under which an innocent number may stand."""
    array = np.ma.array(np.array(values, dtype=float))
    array[(-1,) * array.ndim] = np.ma.masked
    if dummy is not None:
        array.data[(-1,) * array.ndim] = dummy
    return array


DOORS = {
    "X of fit": lambda m: TikhonovInverter(operator=OPERATOR).fit(m(G)),
    "X of predict": lambda m: TikhonovInverter(operator=OPERATOR).fit(G).predict(m(G)),
    "X of Refiner": lambda m: Refiner("cgls", init="zero", operator=OPERATOR).fit(m(G), RHO),
    "y": lambda m: Refiner("cgls", init="zero", operator=OPERATOR).fit(G, m(RHO)),
    "X of transform": lambda m: OPERATOR.transform(m(RHO)),
    "X of inverse_transform": lambda m: OPERATOR.inverse_transform(m(G)),
    "matrix": lambda m: MatrixOperator(m(np.eye(6))).fit(G),
    "stations": lambda m: Survey(m(SURVEY.stations)),
    "uncertainty": lambda m: Survey(SURVEY.stations, ("z",), m(np.ones(6))),
    "edges": lambda m: Mesh([MESH.edges[0], m(MESH.edges[1])]),
    "spacing": lambda m: Mesh.regular((2, 2), m([1.0, 1.0])),
    "rho of unflatten": lambda m: MESH.unflatten(m(RHO)),
    "images": lambda m: MESH.flatten(m(MESH.unflatten(RHO))),
    "g of unflatten": lambda m: SURVEY.unflatten(m(G)),
    "profiles": lambda m: SURVEY.flatten(m(SURVEY.unflatten(G))),
    "rho of to_xarray": lambda m: MESH.to_xarray(m(RHO)),
    "g of to_xarray": lambda m: SURVEY.to_xarray(m(G)),
    "g of a solver": lambda m: CGLS().solve(OPERATOR, m(G)),
    "rho0": lambda m: CGLS().solve(OPERATOR, G, m(RHO)),
    "sigma": lambda m: CGLS().solve(OPERATOR, G, sigma=m(np.ones(6))),
    "reference": lambda m: TikhonovInverter(reference=m(np.ones(18)), operator=OPERATOR).fit(G),
    "alpha": lambda m: (
        TikhonovInverter(operator=OPERATOR).fit(G).alpha_curve(G, alphas=m([1.0, 2.0]))
    ),
    "bounds": lambda m: TikhonovInverter(bounds=m([0.0, 1.0]), operator=OPERATOR).fit(G),
    "noise_level": lambda m: (
        TikhonovInverter(operator=OPERATOR).fit(G).predict(G, noise_level=m([0.1, 0.1]))
    ),
    "y_pred": lambda m: relative_l2_error(RHO, m(RHO)),
    "uncertainty of a metric": lambda m: chi_factor(OPERATOR, RHO, G, uncertainty=m(np.ones(6))),
}


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
@pytest.mark.parametrize("wrap", [lambda a: a, list], ids=["array", "list"])
def test_masked_values_are_refused(door, wrap):
    with pytest.raises(ValueError, match=r"'.*' is masked in 1 of \d+ places, first at \[|a value"):
        door(lambda values: wrap(masked(values)))


def test_the_message_names_place_and_remedy():
    with pytest.raises(ValueError, match=r"'X' is masked in 1 of 12 places, first at \[1, 5\]: "):
        TikhonovInverter(operator=OPERATOR).fit(masked(G))
    with pytest.raises(ValueError, match=r"Leave missing values out, with their station"):
        Survey(masked(SURVEY.stations))
    with pytest.raises(
        ValueError, match=r"'bounds' cannot be used: a value is masked|'bounds' is mas"
    ):
        check_range([0.0, np.ma.masked], "bounds")
    with pytest.raises(ValueError, match="'rho' cannot be used: a value is masked: it is missing"):
        real_array(np.array([1.0, np.ma.masked], dtype=object), "rho")


def test_nothing_masked_passes():
    free = np.ma.array(G)
    expected = TikhonovInverter(operator=OPERATOR).fit(G).predict(G)
    found = TikhonovInverter(operator=OPERATOR).fit(free).predict(free)
    np.testing.assert_array_equal(found, expected)
    assert not isinstance(found, np.ma.MaskedArray)
    assert Survey(
        np.ma.array(SURVEY.stations), ("z",), np.ma.masked_equal(np.ones(6), 9)
    ) == Survey(SURVEY.stations, ("z",), 1.0)
    np.testing.assert_array_equal(MESH.flatten(list(np.ma.array(MESH.unflatten(RHO)))), RHO)


@pytest.mark.parametrize("value", [pd.NA, None, np.nan])
@pytest.mark.parametrize("dtype", ["Float64", "object", "float64"])
def test_pandas_missing_values_are_named_by_column(value, dtype):
    frame = pd.DataFrame(G.copy(), columns=[f"gz{i}" for i in range(6)])
    if dtype != "float64":
        frame = frame.astype(dtype)
    frame.loc[1, "gz4"] = np.nan if dtype == "float64" else value
    with pytest.raises(
        ValueError, match=r"X contains NaN or NA, first at \[1, 4\] in column 'gz4'"
    ):
        TikhonovInverter(operator=OPERATOR).fit(frame)
    with pytest.raises(ValueError, match=r"sigma contains NaN or NA, first at \[1\]. Leave miss"):
        real_array(frame["gz4"], "sigma")


def test_first_nan_is_named():
    g = G.copy()
    g[1, 2:] = np.nan
    with pytest.raises(
        ValueError, match=r"Input X contains NaN, first at \[1, 2\]. Leave"
    ) as caught:
        TikhonovInverter(operator=OPERATOR).fit(g)
    assert "imputer" not in str(caught.value)
    assert "HistGradientBoosting" not in str(caught.value)
    g[0, 3] = -np.inf
    g[1] = 0
    with pytest.raises(ValueError, match=r"Input X contains infinity, first at \[0, 3\]."):
        TikhonovInverter(operator=OPERATOR).fit(g)


@pytest.mark.parametrize("dummy", [-9999, 9999.0, -99999, -99999.9, 9999.99, -999, 999999, -32768])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_dummy_values_are_refused(dummy, dtype):
    g = np.random.default_rng(0).uniform(-30, 30, size=(3, 40)).astype(dtype)
    check_array(g, "X")
    g[1, ::7] = dummy
    with pytest.raises(
        ValueError, match=r"'X' contains .*9.*, 6 times and far from|'X' contains -3"
    ):
        check_array(g, "X", dtype=[np.float64, np.float32])
    g[2, 3] = 99999  # two kinds of marks do not hide each other
    with pytest.raises(ValueError, match=r"it marks missing values\. Leave missing values out"):
        check_array(g, "X")


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((3, 40)),
        np.full((3, 40), 9999.0),
        np.full((3, 40), -99999.0),
        9999.0 * np.eye(40),
        np.linspace(-9999, 9999, 40)[None],
        np.r_[np.linspace(0, 2000, 39), 9999.0][None],
        np.r_[np.linspace(-30, 30, 39), 9998.0][None],
        978000 + np.linspace(0, 50, 40)[None],
        [[1.0, 9999.0]],
    ],
)
def test_numbers_that_may_be_meant_pass(values):
    np.testing.assert_array_equal(check_array(values, "X"), values)


def test_dummy_values_in_coordinates_are_refused():
    stations = np.column_stack([np.full(6, -20.0), np.arange(6.0)])
    stations[2:4, 0] = -9999
    with pytest.raises(ValueError, match="'stations, z' contains -9999, 2 times and far from all"):
        Survey(stations)


def test_columns_of_a_frame_are_taken_by_name():
    frame = pd.DataFrame({"x": [1.0, 2.0], "z": [-5.0, -6.0]})
    assert Survey(frame) == Survey([[-5, 1], [-6, 2]])
    wide = pd.DataFrame({"y": [3, 4], "x": [1, 2], "z": [-5, -6]})
    assert Survey(wide, ("z",)) == Survey([[-5, 3, 1], [-6, 4, 2]], ("z",))
    assert Survey(pd.DataFrame([[-5.0, 1.0]])) == Survey([[-5, 1]])
    for wrong in (frame.rename(columns={"z": "depth"}), wide[["y", "x"]], frame[["x", "x"]]):
        with pytest.raises(ValueError, match=r"'stations' has the columns .* must be z, x or z, y"):
            Survey(wrong)


@pytest.mark.parametrize("dummy", [-9999.0, 99999.0])
def test_dummies_among_stations_at_height_zero_are_refused(dummy):
    stations = np.column_stack([np.zeros(6), MESH.centers[1]])
    stations[2, 0] = dummy
    with pytest.raises(ValueError, match=f"'stations, z' contains {dummy:.10g}, 1 times"):
        Survey(stations, ("z",))


def test_dummies_of_well_logs_are_refused():
    g = np.array(G)
    g[0, 3] = -999.25
    with pytest.raises(ValueError, match=r"'X' contains -999\.25, 1 times"):
        TikhonovInverter(operator=OPERATOR).fit(g)
