"""Arguments that are no arrays: what is of another kind is refused by an error that names it.

A fault stands for its kind: these are the arguments at which ``benchmarks/bad_inputs.py`` met an
error of Python or NumPy, an answer without a meaning, or an error without the name of the argument.
"""

import re

import numpy as np
import pytest
from public_calls import FEW_X, FEW_Y, MESH, OPERATOR, SURVEY, VOLUME, X, Y, fitted

import skgrav
from skgrav import (
    CNNInverter,
    Mesh,
    ReliefInverter,
    Survey,
    TikhonovInverter,
    datasets,
    io,
    metrics,
    networks,
)
from skgrav.noise import Noise
from skgrav.operators import resolve_operator
from skgrav.plotting import (
    CalibrationDisplay,
    ConvergenceDisplay,
    DensityDisplay,
    GravityDisplay,
    LCurveDisplay,
    PosteriorDisplay,
    SampleGalleryDisplay,
)

PAIR = {"y_true": FEW_Y, "y_pred": FEW_Y + 1.0}
DRAWS = {"y_true": Y[:20], "y_pred": Y[:20, :, None] + np.linspace(-200.0, 300.0, 19)}
RESIDUAL = {"rho": FEW_Y, "g": FEW_X}
GRID = SURVEY.to_xarray(np.ones(SURVEY.n_data))

#: Each callable with its good arguments, and those of them that are spoilt.
USES = [
    (Mesh.square, {}, "n"),
    (Mesh.regular, {"shape": (3, 5), "spacing": 10.0}, "top"),
    (Mesh.for_survey, {"survey": SURVEY}, "survey verbose return_fraction positive"),
    (MESH.below, {"topography": 5.0, "survey": SURVEY}, "survey positive"),
    (MESH.unflatten, {"rho": FEW_Y}, "fill"),
    (MESH.to_xarray, {"rho": FEW_Y[0]}, "name units"),
    (VOLUME.to_pyvista, {"rho": np.ones(24)}, "name"),
    (Survey, {"stations": SURVEY.stations}, "components"),
    (Survey.line, {"mesh": MESH}, "mesh n_stations height components"),
    (Survey.grid, {"mesh": VOLUME, "height": 1.0}, "mesh height"),
    (SURVEY.to_xarray, {"g": np.ones(SURVEY.n_data)}, "units"),
    (Survey.from_xarray, {"dataset": GRID}, "dataset"),
    (Noise, {"n_data": 5}, "n_data"),
    (Noise.of, {"source": OPERATOR}, "source"),
    (metrics.relative_l2_error, PAIR, "multioutput"),
    (metrics.relative_data_misfit, {"operator": OPERATOR, **RESIDUAL}, "operator multioutput"),
    (metrics.chi_factor, {"operator": OPERATOR, **RESIDUAL, "noise_level": 0.1}, "operator"),
    (metrics.residual_trend, {"operator": OPERATOR, **RESIDUAL}, "operator"),
    (metrics.DataMisfitScorer, {"operator": OPERATOR}, "operator metric"),
    (metrics.PosteriorScorer, {}, "metric"),
    (metrics.crps, DRAWS, "multioutput"),
    (metrics.interval_coverage, DRAWS, "mesh"),
    (metrics.interface_spread, {"rho": Y, "mesh": MESH}, "mesh"),
    (
        metrics.rank_histogram,
        {**DRAWS, "functional": "std", "mesh": MESH},
        "functional mesh n_bins random_state",
    ),
    (metrics.sample_coverage, {"y_true": Y[:20], "y_sampled": Y[20:]}, "n_neighbors"),
    (datasets.make_density_models, {"mesh": MESH}, "n_samples families random_state return_family"),
    (datasets.make_gravity_dataset, {"mesh": MESH}, "noise_level random_state"),
    (datasets.make_margin_models, {"mesh": MESH}, "reference_moho random_state"),
    (datasets.fetch_two_bodies, {}, "data_home"),
    (datasets.fetch_negahdari2025, {}, "url sha256 data_home"),
    (io.read_table, {"path": "table.csv"}, "path line names delimiter sheet"),
    (io.read_topography, {"path": "table.csv"}, "path x y elevation names length_unit"),
    (
        io.read_stations,
        {"path": "table.csv"},
        "path x y elevation height gz gxx uncertainty names delimiter length_unit gravity_unit",
    ),
    (io.read_ubc_mesh, {"path": "mesh.msh"}, "path"),
    (io.read_ubc_survey, {"path": "data.obs"}, "path uncertainty"),
    (io.read_ubc_model, {"path": "model.den", "mesh": VOLUME}, "path mesh inactive"),
    (io.read_ubc_active, {"path": "model.act", "mesh": VOLUME}, "path inactive"),
    (
        io.write_ubc_model,
        {"path": "model.den", "mesh": VOLUME, "rho": np.ones(24)},
        "path inactive",
    ),
    (TikhonovInverter.load, {"path": "file"}, "path"),
    (
        DensityDisplay,
        {"densities": {"one": Y[0]}, "mesh": MESH},
        "densities mesh differences interfaces survey units",
    ),
    (GravityDisplay, {"observed": X[0], "survey": SURVEY}, "predicted survey units"),
    (SampleGalleryDisplay, {"sections": {"a": FEW_Y}, "mesh": MESH}, "sections mesh titles units"),
    (PosteriorDisplay, {"draws": DRAWS["y_pred"][0], "mesh": MESH}, "mesh threshold x units"),
    (ConvergenceDisplay, {"losses": {"a": [2.0, 1.0]}}, "losses residuals noise_level"),
    (
        LCurveDisplay,
        {"x": [1.0, 2.0], "y": [2.0, 1.0], "point": (1.5, 1.5), "alpha": 1.0},
        "point alpha criterion",
    ),
    (
        CalibrationDisplay,
        {"levels": [0.5], "coverage": {"a": [0.5]}, "histograms": {}},
        "coverage histograms errors",
    ),
    (DensityDisplay.from_predictions, {**PAIR, "mesh": MESH}, "sample mesh"),
    (SampleGalleryDisplay.from_predictions, {**PAIR, "mesh": MESH}, "n_samples titles"),
    (
        LCurveDisplay.from_predictions,
        {"curve": fitted("TikhonovInverter").alpha_curve(FEW_X, alphas=[0.1, 1.0]), "alpha": 0.5},
        "curve alpha sample criterion",
    ),
    (
        CalibrationDisplay.from_predictions,
        {**DRAWS, "mesh": MESH, "functionals": ["std"]},
        "functionals mesh",
    ),
    (PosteriorDisplay.from_predictions, {**DRAWS, "mesh": MESH}, "sample threshold x mesh"),
    (
        skgrav.report,
        {"inverter": fitted("TikhonovInverter"), "X": FEW_X},
        "sample notes title random_state uncertainty",
    ),
    *(
        (fitted(name).sample_y, {"X": FEW_X}, "n_samples random_state")
        for name in ("AnalogueInverter", "BayesLinearInverter", "TikhonovInverter")
    ),
    (OPERATOR.inverse_transform, {"X": FEW_X}, "rcond"),
    (OPERATOR.plan, {}, "n_samples"),
    (OPERATOR.truncated_svd, {"rank": 2}, "rank n_power_iter random_state"),
    (resolve_operator, {"operator": OPERATOR, "rho": Y, "g": X}, "operator"),
    (
        networks.PaperCNN,
        {"n_data": 36, "n_cells": 24, "n_components": 2},
        "n_data n_cells n_components filters hidden_layer_sizes dropout",
    ),
    (networks.PaperDecoder, {"shape": (4, 6), "n_components": 2}, "shape n_components"),
    (networks.SectionDecoder, {"shape": (4, 6), "n_components": 2}, "shape n_components width"),
    (networks.SectionCritic, {"shape": (4, 6)}, "shape filters"),
    (networks.ResidualMLP, {"n_data": 36, "scale": np.ones(5)}, "n_data width n_blocks"),
    (networks.UNet, {"n_in": 3, "n_out": 2}, "n_in n_out ndim widths spread"),
    (networks.DataConsistency, {"matrix": OPERATOR.matrix_}, "rcond chi_factor"),
    (GravityDisplay.from_predictions, {"X": FEW_X, "y_pred": FEW_Y}, "operator"),
]

#: Of no kind that any of these arguments may have.
WRONG = {"complex": 1 + 2j, "bytes": b"z", "object": object(), "class": Mesh, "function": len}

CASES = [
    pytest.param(function, good, argument, id=f"{function.__qualname__}-{argument}")
    for function, good, arguments in USES
    for argument in arguments.split()
]


@pytest.mark.parametrize(("function", "good", "argument"), CASES)
def test_argument_of_another_kind_is_refused_by_name(function, good, argument):
    for kind, value in WRONG.items():
        if (argument, kind) in {("functional", "function"), ("functional", "class")}:
            continue  # what can be called is a functional
        with pytest.raises((TypeError, ValueError)) as caught:
            function(**{**good, argument: value})
        assert re.search(rf"\b{argument}\b", str(caught.value)), (kind, str(caught.value))


@pytest.mark.parametrize(
    ("module", "good", "argument"),
    [
        (networks.PaperCNN, {"n_data": 36, "n_cells": 24, "n_components": 2}, "filters"),
        (networks.PaperCNN, {"n_data": 36, "n_cells": 24, "n_components": 2}, "hidden_layer_sizes"),
        (networks.PaperEncoder, {"n_components": 2}, "shape"),
        (networks.PaperDiscriminator, {}, "shape"),
        (networks.SectionEncoder, {"shape": (4, 6), "n_components": 2}, "filters"),
        (networks.SectionGenerator, {"shape": (4, 6), "n_components": 2}, "filters"),
        (networks.SectionCritic, {"shape": (4, 6)}, "filters"),
        (networks.UNet, {"n_in": 3, "n_out": 2}, "widths"),
    ],
)
@pytest.mark.parametrize("sizes", [(0.5, 2), (4, -5), (4, 0), ("rock", "salt"), ()])
def test_sizes_of_layers_are_positive_integers(module, good, argument, sizes):
    if module is networks.PaperCNN and sizes == ():
        module(**{**good, argument: sizes})  # dense layers, or convolutions, alone
        return
    with pytest.raises(ValueError, match=rf"'{argument}' is {re.escape(repr(sizes))}; it must be"):
        module(**{**good, argument: sizes})


@pytest.mark.parametrize("point", [[], [1.0], np.ones((2, 2))])
def test_point_of_a_curve_has_two_coordinates(point):
    display = LCurveDisplay([1.0, 2.0], [2.0, 1.0], point=point, alpha=1.0)
    with pytest.raises(ValueError, match=r"(?s)'point' is .* two coordinates"):
        display.plot()


def test_other_objects_are_no_curve_and_no_histogram():
    with pytest.raises(TypeError, match=r"'curve' is TikhonovInverter.* must be an AlphaCurve"):
        LCurveDisplay.from_predictions(TikhonovInverter(), 1.0)
    display = CalibrationDisplay([0.5], {"a": [0.5]}, {"b": [1, 2]})
    with pytest.raises(TypeError, match=r"'histograms' has .* as 'b'; it must be a RankHistogram"):
        display.plot()


@pytest.mark.parametrize("column", ["x", "gz", "elevation"])
def test_number_of_a_column_is_not_taken_for_its_values(column, tmp_path):
    (tmp_path / "table.csv").write_text("0,1,5\n1,2,5\n", encoding="utf-8")
    with pytest.raises(ValueError, match=rf"'{column}' parameter of read_stations must be .*str"):
        io.read_stations(tmp_path / "table.csv", **{"x": "1", "gz": "2", column: 3})


@pytest.mark.parametrize("estimator", [TikhonovInverter(), ReliefInverter()])
def test_bounds_without_a_length_are_refused(estimator):
    estimator.set_params(bounds=MESH, operator=OPERATOR, noise_level=0.1)
    with pytest.raises(ValueError, match="'bounds'"):
        estimator.fit(X, Y).predict(FEW_X)


def test_network_that_cannot_be_made_says_why():
    def broken(n_data, n_cells, n_components):
        raise RuntimeError("my network is broken")

    with pytest.raises(RuntimeError, match="my network is broken"):
        CNNInverter(broken, max_epochs=1).fit(X, Y)


def test_weights_that_overflow_in_the_last_step_are_no_network():
    inverter = CNNInverter("unet", operator=OPERATOR, max_epochs=1)
    inverter.set_params(learning_rate=1e10, weight_decay=1e30)
    with pytest.raises(FloatingPointError, match="'weight_decay'"):
        inverter.fit(X, Y)


def test_mesh_of_more_cells_than_memory_is_refused_before_it_is_made(tmp_path):
    path = tmp_path / "huge.msh"
    path.write_text("999999999 2 2\n0 0 0\n999999999*10\n2*10\n2*10\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"huge.msh, line 1: there are 999999999 cells along"):
        io.read_ubc_mesh(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [("|", "has the columns"), ('""x","gz\n"0","1.5"\n', "cannot be read as a table")],
)
def test_delimiters_alone_and_lost_entries_are_no_table(content, said, tmp_path):
    path = tmp_path / "odd.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=rf"odd\.csv {said}"):
        io.read_stations(path)


def test_half_a_character_of_utf_16_is_no_text(tmp_path):
    path = tmp_path / "odd.csv"
    path.write_bytes("x,gz\n0,1\n".encode("utf-16")[:-1])
    with pytest.raises(ValueError, match=r"odd\.csv is no text and no sheet"):
        io.read_stations(path)
