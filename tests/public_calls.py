"""A good call of every public callable that takes arrays, with its arguments by name."""

import re
import warnings
from copy import deepcopy
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import xarray as xr
from bad_kinds import Call
from matplotlib.figure import Figure
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge

import skgrav
from skgrav import (
    CellValues,
    ForwardOperator,
    JointOperator,
    MatrixOperator,
    Mesh,
    Survey,
    datasets,
    metrics,
    networks,
)
from skgrav.bridges import CodeSimulator, from_simpeg, to_simpeg
from skgrav.datasets import make_gravity_dataset
from skgrav.noise import Noise
from skgrav.plotting import (
    CalibrationDisplay,
    ConvergenceDisplay,
    DensityDisplay,
    GravityDisplay,
    LCurveDisplay,
    PosteriorDisplay,
    SampleGalleryDisplay,
)
from skgrav.solvers import SOLVERS

# No size occurs twice, so that nothing fits where it does not belong.
MESH, VOLUME = Mesh.regular((4, 6), 10.0), Mesh.regular((2, 3, 4), 10.0)
SURVEY = Survey.line(MESH)
DATA = make_gravity_dataset(
    30, mesh=MESH, survey=SURVEY, density_range=(100.0, 900.0), units="mGal", random_state=0
)
X, Y, OPERATOR = DATA.data, DATA.target, DATA.operator
FEW_X, FEW_Y = X[:3], Y[:3]
CODES = np.random.default_rng(0).normal(size=(7, 5))


def calls(name, run, *, only=None, **arrays):
    """Give one call for each array argument; the others stay as they are."""
    flags = {
        k: arrays.pop(k)
        for k in ("tensor", "layout", "tolerance", "aliases", "infinite")
        if k in arrays
    }

    def one(argument):
        return lambda value: run(**{**arrays, argument: value})

    return [
        Call(name, argument, np.asarray(good), one(argument), **flags)
        for argument, good in arrays.items()
        if only is None or argument in only
    ]


def pair(values):
    """Give numbers as the tuple that a parameter asks for; other containers as they are."""
    return tuple(values.tolist()) if isinstance(values, np.ndarray) else values


NETWORK = partial(networks.PaperCNN, filters=(8,), hidden_layer_sizes=(16,), dropout=0.0)

ESTIMATORS = {
    "AnalogueInverter": skgrav.AnalogueInverter(20, operator=OPERATOR),
    "BayesLinearInverter": skgrav.BayesLinearInverter(operator=OPERATOR, store_covariance=True),
    "ConformalInverter": skgrav.ConformalInverter(
        skgrav.BayesLinearInverter(operator=OPERATOR), random_state=0
    ),
    "TikhonovInverter": skgrav.TikhonovInverter(1.0, operator=OPERATOR),
    "TikhonovInverter discrepancy": skgrav.TikhonovInverter(
        noise_level=0.01, order=1, bounds=(0.0, 1e4), depth_weighting=2.0, operator=OPERATOR
    ),
    "SparseInverter": skgrav.SparseInverter(noise_level=0.05, operator=OPERATOR),
    "ReliefInverter": skgrav.ReliefInverter(500.0, noise_level=0.05, operator=OPERATOR),
    "CNNInverter": skgrav.CNNInverter(operator=OPERATOR, max_epochs=2, random_state=0),
    "CNNInverter unet": skgrav.CNNInverter("unet", operator=OPERATOR, max_epochs=1, random_state=0),
    "CNNInverter callable": skgrav.CNNInverter(NETWORK, max_epochs=2, random_state=0),
    "LatentInverter": skgrav.LatentInverter(PCA(5), operator=OPERATOR, noise_level=0.01),
    "Refiner": skgrav.Refiner("cgls", init="zero", operator=OPERATOR, noise_level=0.01),
    "Refiner bayes": skgrav.Refiner(
        "bayes",
        init=Ridge(),
        operator=OPERATOR,
        noise_level=0.01,
        store_covariance=True,
        random_state=0,
    ),
}

GENERATORS = {
    name: getattr(skgrav, name)(n_components=5, mesh=MESH, max_epochs=2, random_state=0)
    for name in ("VAEGenerator", "GANGenerator")
}


def drawn_curve(inverter, X):
    """Give the curve that a display draws."""
    figure = Figure()
    display = LCurveDisplay.from_estimator(inverter, X, ax=figure.add_subplot())
    return display.x, display.y


@cache
def fitted(name):
    """Give an estimator after a fit to good pairs, one for all tests."""
    if name in GENERATORS:
        return clone(GENERATORS[name]).fit(Y)
    return clone(ESTIMATORS[name]).fit(X, Y)


@cache
def fitted_to_many(name):
    """Give an inverter that has enough sections to know which data are usual."""
    many = make_gravity_dataset(
        2000, mesh=MESH, survey=SURVEY, density_range=(100.0, 900.0), units="mGal", random_state=1
    )
    return clone(ESTIMATORS[name]).fit(many.data, many.target)


def of_inverters():
    """Give the calls of the methods of all inverters."""
    for name, estimator in ESTIMATORS.items():
        room = f"inverters.{name}"
        loose = 1e-3 if "CNN" in name else 1e-6

        def fit(X, y, estimator=estimator, method="fit"):
            return getattr(clone(estimator), method)(X, y).predict(FEW_X)

        def method(verb, name=name):
            return getattr(fitted(name), verb)

        yield from calls(f"{room}.fit", fit, X=X, y=Y, tolerance=loose)
        for verb in ("predict", "transform"):
            yield from calls(f"{room}.{verb}", method(verb), X=FEW_X, tolerance=loose)
        for verb in {"invert", "refine"} & set(dir(estimator)):
            yield from calls(f"{room}.{verb}", method(verb), X=FEW_X, tolerance=loose)
        if "CNN" in name:
            partial_fit = partial(fit, method="partial_fit")
            yield from calls(f"{room}.partial_fit", partial_fit, X=X, y=Y, tolerance=loose)
    levels = np.array([0.01, 0.02, 0.03])
    for name in (n for n in ESTIMATORS if " " not in n):
        for verb in ("predict", "invert", "refine"):
            if hasattr(ESTIMATORS[name], verb):
                at = lambda noise_level, name=name, verb=verb: (  # noqa: E731
                    getattr(fitted(name), verb)(FEW_X, noise_level=noise_level)
                )
                room = f"inverters.{name}.{verb}"
                yield from calls(room, at, noise_level=levels, tolerance=1e-4)
    bayes = lambda **arrays: fitted("BayesLinearInverter").sample_y(**arrays)  # noqa: E731
    yield from calls("inverters.BayesLinearInverter.sample_y", bayes, X=FEW_X, noise_level=levels)
    for name in (
        "AnalogueInverter",
        "CNNInverter",
        "LatentInverter",
        "Refiner bayes",
        "TikhonovInverter",
        "SparseInverter",
    ):
        drawn = lambda name=name, **arrays: fitted(name).sample_y(**arrays)  # noqa: E731
        room, loose = f"inverters.{name}.sample_y", 1e-3 if "CNN" in name else 1e-6
        yield from calls(room, drawn, X=FEW_X, noise_level=levels, tolerance=loose)
    told = fitted("AnalogueInverter").predict_quantiles
    arrays = {"X": FEW_X, "quantiles": np.array([0.1, 0.5, 0.8, 0.9]), "noise_level": levels}
    yield from calls("inverters.AnalogueInverter.predict_quantiles", told, **arrays)
    for name in ("BayesLinearInverter", "AnalogueInverter", "CNNInverter"):
        tested = lambda name=name, **arrays: fitted_to_many(name).applicability(**arrays)  # noqa: E731
        room = f"inverters.{name}.applicability"
        yield from calls(room, tested, X=FEW_X, noise_level=levels, tolerance=1e-4)
    told = fitted("CNNInverter").predict_quantiles
    arrays = {"X": FEW_X, "quantiles": np.array([0.1, 0.5, 0.8, 0.9]), "noise_level": levels}
    yield from calls("inverters.CNNInverter.predict_quantiles", told, **arrays, tolerance=1e-3)
    calibrated = lambda X, y: (  # noqa: E731
        deepcopy(fitted("CNNInverter")).calibrate(X, y).predict_quantiles(FEW_X, [0.1, 0.9])
    )
    room = "inverters.CNNInverter.calibrate"
    yield from calls(room, calibrated, X=X, y=Y, tolerance=1e-3)
    told = fitted("ConformalInverter").predict_quantiles
    arrays = {"X": FEW_X, "quantiles": np.array([0.1, 0.5, 0.8, 0.9]), "noise_level": levels}
    yield from calls("inverters.ConformalInverter.predict_quantiles", told, **arrays)
    resolved = lambda **a: fitted("TikhonovInverter").resolution(**a).diagonal  # noqa: E731
    yield from calls("inverters.TikhonovInverter.resolution", resolved, X=FEW_X, noise_level=levels)
    others = fitted("TikhonovInverter").leave_one_out
    room = "inverters.TikhonovInverter.leave_one_out"
    yield from calls(room, others, X=FEW_X, noise_level=levels)
    spread = fitted("TikhonovInverter").resolution(FEW_X).point_spread
    yield from calls("inverters.Resolution.point_spread", spread, cells=np.array([1.0, 3.0, 20.0]))
    curve = lambda X, **a: fitted("TikhonovInverter").alpha_curve(X, **a).misfit  # noqa: E731
    arrays = {"X": FEW_X, "alphas": np.array([1e-3, 1e-2, 0.1, 1.0]), "noise_level": levels}
    yield from calls("inverters.TikhonovInverter.alpha_curve", curve, **arrays)
    drawn = lambda X: drawn_curve(fitted("TikhonovInverter"), X)  # noqa: E731
    yield from calls("plotting.LCurveDisplay.from_estimator", drawn, X=FEW_X)
    for name in ("TikhonovInverter", "SparseInverter"):
        estimator = ESTIMATORS[name]

        def told(estimator=estimator, **params):
            return clone(estimator).set_params(**params).fit(X).predict(FEW_X[:1])

        reference, bounds = Y[0], np.array([0.0, 2000.0])
        yield from calls(f"inverters.{name}", told, reference=reference)
        within = lambda bounds, told=told: told(bounds=pair(bounds))  # noqa: E731
        yield from calls(f"inverters.{name}", within, bounds=bounds)
        weights = np.linspace(0.5, 2.0, MESH.n_cells)
        yield from calls(f"inverters.{name}", told, cell_weights=weights)
    slopes = ESTIMATORS["TikhonovInverter discrepancy"]
    axes = {"norm_weights": np.array([1.0, 2.0, 0.5]), "length_scales": np.array([300.0, 200.0])}
    for axis, values in axes.items():
        weighted = lambda told=told, **params: told(slopes, **params)  # noqa: E731
        yield from calls("inverters.TikhonovInverter", weighted, **{axis: values})
    bodies = lambda contrast, told=told: told(contrast=pair(contrast))  # noqa: E731
    yield from calls("inverters.SparseInverter", bodies, contrast=np.array([-300.0, 800.0]))
    yield from of_relief()
    for name, good in {"training_noise": [0.0, 0.1], "density_range": [0.0, 1000.0]}.items():

        def told(name=name, **params):
            params = {name: pair(value) for name, value in params.items()}
            return clone(ESTIMATORS["CNNInverter"]).set_params(**params).fit(X, Y).predict(FEW_X)

        yield from calls("inverters.CNNInverter", told, **{name: np.array(good)}, tolerance=1e-3)


def of_relief():
    """Give the calls of what is known of an interface."""
    wells = np.column_stack([np.linspace(12.0, 28.0, 5), np.linspace(-28.0, 24.0, 5)])
    known = {
        "contrast": np.linspace(400.0, 600.0, MESH.shape[1]),
        "reference": np.linspace(5.0, 10.0, MESH.shape[1]),
        "bounds": np.array([0.0, 30.0]),
        "wells": wells,
        "wells_std": np.linspace(1.0, 2.0, 5),
    }

    def told(**params):
        params = {name: pair(v) if name == "bounds" else v for name, v in params.items()}
        params = {"wells": wells, **params}
        return clone(ESTIMATORS["ReliefInverter"]).set_params(**params).fit(X).predict(FEW_X[:1])

    for name, good in known.items():
        yield from calls("inverters.ReliefInverter", told, **{name: good}, tolerance=1e-4)


def of_generators():
    """Give the calls of the methods of all generators."""
    for name, estimator in GENERATORS.items():
        room = f"generators.{name}"

        def fit(X, estimator=estimator, **params):
            return clone(estimator).set_params(**params).fit(X).inverse_transform(CODES)

        def method(verb, name=name):
            return getattr(fitted(name), verb)

        yield from calls(f"{room}.fit", fit, X=Y, tolerance=1e-3)
        range_ = np.array([0.0, 1000.0])
        within = lambda density_range, fit=fit: fit(Y, density_range=pair(density_range))  # noqa: E731
        yield from calls(room, within, density_range=range_, tolerance=1e-3)
        for verb in ("transform", "score", "kl_divergence"):
            if hasattr(estimator, verb):
                yield from calls(f"{room}.{verb}", method(verb), X=Y[:7], tolerance=1e-3)
        nearest = method("nearest_code")
        yield from calls(f"{room}.nearest_code", nearest, X=Y[:7], z0=CODES, tolerance=1e-2)
        yield from calls(f"{room}.inverse_transform", method("inverse_transform"), X=CODES)
        yield from calls(f"{room}.decode", method("decode"), z=CODES, tensor=True, tolerance=1e-5)


def of_operators():
    """Give the calls of the methods of all operators, applied in all ways."""
    for method in ("dense", "fft", "rows", "anywhere"):
        operator = ForwardOperator(MESH, SURVEY, method=method).fit()
        room = f"operators.ForwardOperator {method}"
        yield from calls(f"{room}.transform", operator.transform, X=FEW_Y)
        yield from calls(f"{room}.adjoint", operator.adjoint, X=FEW_X)
        yield from calls(f"{room}.inverse_transform", operator.inverse_transform, X=FEW_X)
        again = lambda X, operator=operator: clone(operator).fit(X).transform(FEW_Y)  # noqa: E731
        yield from calls(f"{room}.fit", again, X=Y)
    yield from of_logs()
    part = lambda fraction: ForwardOperator(MESH, SURVEY, fraction=fraction).fit().matrix_  # noqa: E731
    share = np.linspace(0.5, 1.5, MESH.n_cells)
    yield from calls("operators.ForwardOperator", part, fraction=share)
    given = MatrixOperator(OPERATOR.matrix_).fit(Y)
    for verb in ("transform", "adjoint", "inverse_transform"):
        good = FEW_Y if verb == "transform" else FEW_X
        yield from calls(f"operators.MatrixOperator.{verb}", getattr(given, verb), X=good)
    identify = lambda X, y: MatrixOperator().fit(X, y).transform(FEW_Y)  # noqa: E731
    # Fewer pairs than cells would magnify rounding.
    yield from calls("operators.MatrixOperator.fit", identify, X=Y, y=X, tolerance=1e-5)
    take = lambda matrix: MatrixOperator(matrix).fit(FEW_Y).transform(FEW_Y)  # noqa: E731
    yield from calls("operators.MatrixOperator", take, matrix=OPERATOR.matrix_)
    resolve = lambda rho, g: skgrav.operators.resolve_operator(OPERATOR, rho, g).matrix_  # noqa: E731
    # Its errors speak of the X and y of estimators.
    room = "operators.resolve_operator"
    yield from calls(room, resolve, rho=Y, g=X, aliases=("X", "y"))
    for name, solver in SOLVERS.items():
        solve = lambda solver=solver, operator=OPERATOR, **a: solver().solve(operator, **a)  # noqa: E731
        arrays = {"g": FEW_X, "rho0": 1.01 * FEW_Y, "sigma": np.full((3, 1), 1e-3)}
        room = f"solvers.{solver.__name__}.solve"
        yield from calls(room, solve, **arrays, tolerance=1e-4)
        on_matrix = lambda operator, solve=solve: solve(operator=operator, g=FEW_X)  # noqa: E731
        yield from calls(room, on_matrix, operator=OPERATOR.matrix_, tolerance=1e-4)
        if name == "projection":
            within = lambda bounds: SOLVERS["projection"](bounds=pair(bounds)).solve(OPERATOR, X)  # noqa: E731
            yield from calls("solvers.Projection", within, bounds=np.array([0.0, 2000.0]))


def of_logs():
    """Give the calls of densities of cells, alone and joined with gravity."""
    indices = np.array([1, 5, 9, 14, 20])
    averages = np.zeros((5, MESH.n_cells))
    averages[np.arange(5), indices] = 0.75
    averages[np.arange(5), indices + 3] = 0.25
    take = lambda **a: CellValues(MESH, **a).fit().transform(FEW_Y)  # noqa: E731
    yield from calls("operators.CellValues", take, cells=indices)
    yield from calls("operators.CellValues matrix", take, cells=averages)
    sigma = np.linspace(10.0, 20.0, 5)
    stated = lambda **a: CellValues(MESH, indices, **a).fit().stated_noise.uncertainty  # noqa: E731
    yield from calls("operators.CellValues", stated, uncertainty=sigma)
    survey = Survey(SURVEY.stations, SURVEY.components, uncertainty=0.1)
    gravity, log = ForwardOperator(MESH, survey), CellValues(MESH, indices, uncertainty=20.0)
    for operator in (log.fit(), JointOperator([gravity, log]).fit()):
        room, data = f"operators.{type(operator).__name__}", operator.transform(FEW_Y)
        yield from calls(f"{room}.transform", operator.transform, X=FEW_Y)
        yield from calls(f"{room}.adjoint", operator.adjoint, X=data)
        yield from calls(f"{room}.inverse_transform", operator.inverse_transform, X=data)
        again = lambda X, operator=operator: clone(operator).fit(X).transform(FEW_Y)  # noqa: E731
        yield from calls(f"{room}.fit", again, X=Y)
        if hasattr(operator, "split"):
            yield from calls(f"{room}.split", operator.split, X=data)

    def along(values, uncertainty=None, **places):
        made, data = CellValues.along(MESH, values=values, uncertainty=uncertainty, **places)
        return made.fit().transform(FEW_Y), data, made.uncertainty

    vertical = {"start": np.array([2.0, 9.0, 15.0, 21.0, 33.0]), "values": 500.0 + sigma}
    hole = {"at": np.array([25.0]), "uncertainty": sigma}
    yield from calls("operators.CellValues.along", along, **vertical, **hole)
    ends = {"start": np.column_stack([vertical["start"], np.linspace(-20.0, 24.0, 5)])}
    ends["end"] = ends["start"] + [4.0, 1.0]
    room, more = "operators.CellValues points.along", {"values": 500.0 + sigma}
    yield from calls(room, along, **ends, **more, only=("start", "end"))


def of_geometry():
    """Give the calls of meshes, surveys and kernels."""
    z, x = np.array([0.0, 10.0, 30.0]), np.array([-20.0, 0.0, 10.0, 40.0])
    yield from calls("geometry.Mesh", lambda edges: Mesh([edges, x]).edges, edges=z)
    block = Mesh([z, x])
    masked = lambda active: Mesh([z, x], active).cells  # noqa: E731
    active = np.arange(block.n_cells).reshape(block.shape) > 2
    yield from calls("geometry.Mesh", masked, active=active.astype(float), layout=True)
    below = lambda topography: block.below(topography).cells  # noqa: E731
    ground = np.linspace(z[0], z[1], block.shape[1])
    yield from calls("geometry.Mesh.below", below, topography=ground, layout=True)
    shallow, filled = ground / 3, block.fraction_below
    yield from calls("geometry.Mesh.fraction_below", filled, topography=shallow, layout=True)
    regular = lambda **params: Mesh.regular(**params).edges  # noqa: E731
    sizes = {"shape": np.array([3, 5]), "spacing": np.array([10.0, 20.0])}
    yield from calls("geometry.Mesh.regular", regular, **sizes)
    yield from calls("geometry.Mesh.unflatten", MESH.unflatten, rho=FEW_Y, layout=True)
    arrays = {"stations": SURVEY.stations[:5], "uncertainty": np.linspace(0.1, 1.0, 10)}

    def survey(**arrays):
        made = Survey(components=("x", "z"), **arrays)
        return made.stations, made.uncertainty

    yield from calls("geometry.Survey", survey, **arrays)
    basis = np.column_stack([np.ones(10), np.linspace(-1.0, 1.0, 10)])
    trend = lambda trend: Survey(SURVEY.stations[:5], trend=trend).trend_basis  # noqa: E731
    yield from calls("geometry.Survey", trend, trend=basis)
    yield from calls("geometry.Survey.unflatten", SURVEY.unflatten, g=FEW_X, layout=True)
    grid = lambda shape: Survey.grid(VOLUME, height=1.0, shape=shape).stations  # noqa: E731
    yield from calls("geometry.Survey.grid", grid, shape=np.array([3, 5]))
    chosen = lambda topography: Mesh.for_survey(SURVEY, topography).edges  # noqa: E731
    yield from calls("geometry.Mesh.for_survey", chosen, topography=SURVEY.stations)
    line = lambda **params: skgrav.project_onto_line(**params).stations  # noqa: E731
    ends = np.array([[0.0, 0.0], [80.0, 110.0]])
    places = np.column_stack([np.zeros(9), np.arange(9) * 10.0, np.arange(9) * 14.0])
    yield from calls("geometry.project_onto_line", line, stations=places, ends=ends)
    for name, ndim in {"point": 3, "rectangle_node": 2, "prism_node": 3}.items():
        node = getattr(skgrav.kernels, name)
        rest = tuple(np.full(4, 2.0) for _ in range(ndim - 1))
        for component in (0, (0, 0), (0, 1)):
            run = lambda offsets, at=(node, rest, component): at[0]((offsets, *at[1]), at[2])  # noqa: E731
            yield from calls(f"kernels.{name}", run, offsets=np.array([1.0, 2.0, 3.0, 4.0]))


def of_noise():
    """Give the calls of noise, and of the trend that residuals hold."""
    levels, sigma = np.array([0.01, 0.02, 0.03]), np.linspace(0.1, 1.0, X.shape[1])
    basis = np.column_stack([np.ones(X.shape[1]), np.linspace(-1.0, 1.0, X.shape[1])])

    def std(make, **arrays):
        return make(**arrays).std(FEW_X)

    makers = {
        "Noise": (partial(Noise, X.shape[1]), {"level": levels, "uncertainty": sigma}),
        "Noise.of": (partial(Noise.of, OPERATOR), {"level": levels, "uncertainty": sigma}),
        "Noise.at": (Noise(X.shape[1]).at, {"level": levels}),
    }
    for name, (make, arrays) in makers.items():
        for argument, good in arrays.items():
            run = partial(std, make)
            names = ("noise_level",) if argument == "level" else ()
            yield from calls(f"noise.{name}", run, **{argument: good}, aliases=names)
    with_trend = lambda trend: Noise(X.shape[1], trend=trend).whitening(FEW_X)  # noqa: E731
    yield from calls("noise.Noise", with_trend, trend=basis)
    scaled = lambda scales: Noise(X.shape[1], level=0.1, scales=scales).std(FEW_X)  # noqa: E731
    yield from calls("noise.Noise", scaled, scales=sigma)
    noise = Noise(X.shape[1], uncertainty=sigma, trend=basis)
    yield from calls("noise.Noise.std", noise.std, g=FEW_X)
    found = lambda residual, sigma: noise.trend(residual, sigma).values  # noqa: E731
    yield from calls("noise.Noise.trend", found, residual=FEW_X, sigma=np.array([0.1, 0.2, 0.3]))


def of_labelled():
    """Give the calls of what labels numbers and takes labels off."""
    labelled = lambda rho: MESH.to_xarray(rho).values  # noqa: E731
    yield from calls("geometry.Mesh.to_xarray", labelled, rho=FEW_Y, layout=True)
    flat = {"images": MESH.unflatten(FEW_Y)}
    yield from calls("geometry.Mesh.flatten", MESH.flatten, **flat, layout=True)
    grid = lambda rho: MESH.to_pyvista(rho).cell_data["density"]  # noqa: E731
    yield from calls("geometry.Mesh.to_pyvista", grid, rho=Y[0], layout=True)
    variables = lambda g: [v.values for v in SURVEY.to_xarray(g).data_vars.values()]  # noqa: E731
    yield from calls("geometry.Survey.to_xarray", variables, g=FEW_X, layout=True)
    flat = {"profiles": SURVEY.unflatten(FEW_X)}
    yield from calls("geometry.Survey.flatten", SURVEY.flatten, **flat, layout=True)

    def mesh(array):
        coords = {"z": array, "x": [10.0, 20.0, 30.0]}
        return Mesh.from_xarray(
            made("array", lambda: xr.DataArray(np.zeros((len(array), 3)), coords, ["z", "x"]))
        ).edges

    def survey(dataset):
        def line():
            along = {"gz": ("i", np.ones(len(dataset))), "z": ("i", np.zeros(len(dataset)))}
            return xr.Dataset({**along, "x": ("i", dataset)}).set_coords(["x", "z"])

        return Survey.from_xarray(made("dataset", line)).stations

    # Errors name the coordinate, which is what is wrong.
    names = ("coordinate", "coordinates", "edges", "stations", "centres")
    steps = np.array([5.0, 15.0, 25.0])
    yield from calls("geometry.Mesh.from_xarray", mesh, array=steps, aliases=names)
    yield from calls("geometry.Survey.from_xarray", survey, dataset=steps, aliases=names)


def made(argument, make):
    """Give what xarray makes of values; those that it refuses never come to the library."""
    try:
        return make()
    except Exception as error:
        raise TypeError(f"'{argument}' is nothing for xarray") from error


def on_axes(n, draw):
    """Give a function that returns the numbers in the picture that a function draws."""
    blank = []  # axes are made once: they are slow, and most calls are refused before they draw

    def run(**arrays):
        if not blank:
            figure = Figure()
            blank.extend(figure.add_subplot(1, n, 1 + i) for i in range(n))
        axes = list(blank)
        blank.clear()
        try:
            draw(ax=list(axes), **arrays)
            drawn = axes[0].figure.axes
            lines = [line.get_ydata() for ax in drawn for line in ax.lines]
            cells = [c.get_array() for ax in drawn for c in ax.collections]
            return [np.ma.filled(part, np.nan) for part in (*lines, *cells) if part is not None]
        finally:
            for artist in [a for ax in axes for a in (*ax.lines, *ax.collections, *ax.images)]:
                artist.remove()
            # Logarithms keep to limits of what was drawn before.
            if axes[0].figure.axes == axes and all(ax.get_yscale() == "linear" for ax in axes):
                blank.extend(axes)

    return run


def of_displays():
    """Give the calls of displays, which leave gaps where numbers are missing."""

    def entries(name, n, draw, **arrays):
        yield from calls(f"plotting.{name}", on_axes(n, draw), layout=True, **arrays)

    def density(ax, densities, differences, std, interfaces, limits):
        interfaces = {"moho": (np.linspace(-20.0, 20.0, 5), interfaces)}
        densities, differences = {"one": densities}, {"off": differences}
        display = DensityDisplay(
            densities,
            mesh=MESH,
            differences=differences,
            std=std,
            interfaces=interfaces,
            limits=pair(limits),
        )
        return display.plot(ax, colorbar=False)

    depth, limits = np.linspace(5.0, 20.0, 5), np.array([0.0, 1000.0])
    arrays = {"densities": Y[0], "differences": Y[1] - Y[0], "std": np.linspace(1.0, 2.0, 24)}
    yield from entries("DensityDisplay", 3, density, **arrays, interfaces=depth, limits=limits)

    def estimated(ax, X, y, interfaces):
        interfaces = {"moho": (np.linspace(-20.0, 20.0, 5), interfaces)}
        options = {"difference": False, "colorbar": False, "ax": ax, "interfaces": interfaces}
        return DensityDisplay.from_estimator(fitted("BayesLinearInverter"), X, y, **options)

    estimates = {"X": FEW_X, "y": FEW_Y}
    yield from entries("DensityDisplay.from_estimator", 2, estimated, **estimates, interfaces=depth)

    def predicted(ax, y_true, y_pred, std, interfaces, limits):
        interfaces = {"moho": (np.linspace(-20.0, 20.0, 5), interfaces)}
        options = {"mesh": MESH, "colorbar": False, "ax": ax, "interfaces": interfaces}
        options["limits"] = pair(limits)
        return DensityDisplay.from_predictions(y_true, y_pred, std=std, **options)

    predictions = {"y_true": FEW_Y, "y_pred": FEW_Y + 1.0}
    arrays = {**predictions, "std": np.ones_like(FEW_Y), "interfaces": depth, "limits": limits}
    yield from entries("DensityDisplay.from_predictions", 4, predicted, **arrays)

    def gravity(ax, observed, predicted, uncertainty):
        predicted = {"one": predicted}
        display = GravityDisplay(observed, predicted, survey=SURVEY, uncertainty=uncertainty)
        return display.plot(ax)

    arrays = {"observed": X[0], "predicted": X[1], "uncertainty": np.linspace(0.1, 1.0, 36)}
    yield from entries("GravityDisplay", 4, gravity, **arrays)
    of = partial(GravityDisplay.from_estimator, fitted("BayesLinearInverter"))
    yield from entries("GravityDisplay.from_estimator", 4, of, **estimates)
    of = partial(GravityDisplay.from_predictions, operator=OPERATOR)
    yield from entries("GravityDisplay.from_predictions", 4, of, X=FEW_X, y_pred=FEW_Y)

    def gallery(ax, sections, limits):
        display = SampleGalleryDisplay({"row": sections}, mesh=MESH, limits=pair(limits))
        return display.plot(ax, colorbar=False)

    yield from entries("SampleGalleryDisplay", 3, gallery, sections=FEW_Y, limits=limits)
    options = {"mesh": MESH, "n_samples": 2, "colorbar": False}
    of = partial(SampleGalleryDisplay.from_estimator, fitted("BayesLinearInverter"), **options)
    yield from entries("SampleGalleryDisplay.from_estimator", 4, of, **estimates)
    of = partial(SampleGalleryDisplay.from_estimator, fitted("VAEGenerator"), **options)
    yield from entries("SampleGalleryDisplay.from_estimator generator", 4, of, X=FEW_Y)
    of = partial(SampleGalleryDisplay.from_predictions, **options)
    yield from entries("SampleGalleryDisplay.from_predictions", 4, of, **predictions)

    yield from of_posterior_displays(entries)

    def convergence(ax, losses, residuals):
        return ConvergenceDisplay({"one": losses}, {"two": residuals}).plot(ax)

    arrays = {"losses": np.array([9.0, 5.0, 3.0, 2.0]), "residuals": np.geomspace(1.0, 0.1, 10)}
    arrays["residuals"] = arrays["residuals"].reshape(5, 2)
    yield from entries("ConvergenceDisplay", 2, convergence, **arrays)
    of = partial(ConvergenceDisplay.from_estimator, fitted("Refiner"))
    yield from entries("ConvergenceDisplay.from_estimator", 1, of, X=FEW_X)


def of_posterior_displays(entries):
    """Give the calls of displays of posteriors, by what makes the entries."""
    many, noise = Y[:20], np.random.default_rng(0).normal(size=(20, MESH.n_cells, 19))
    drawn = many[..., None] + 100.0 * noise

    def posterior(ax, draws, truth):
        return PosteriorDisplay(draws, mesh=MESH, truth=truth).plot(ax, colorbar=False)

    yield from entries("PosteriorDisplay", 8, posterior, draws=drawn[0], truth=Y[0])
    levels = np.array([0.2, 0.5, 0.8, 0.9])

    def calibration(ax, levels, coverage, errors):
        display = CalibrationDisplay(levels, {"one": coverage}, {}, errors={"one": errors})
        return display.plot(ax)

    arrays = {"levels": levels, "coverage": levels + 0.05, "errors": levels / 20}
    yield from entries("CalibrationDisplay", 1, calibration, **arrays)
    for display, n, options in (
        (PosteriorDisplay, 8, {"mesh": MESH, "colorbar": False}),
        (CalibrationDisplay, 2, {"mesh": MESH, "functionals": ["std"]}),
    ):
        room, of = f"{display.__name__}.from", partial(display.from_predictions, **options)
        yield from entries(f"{room}_predictions", n, of, y_true=many, y_pred=drawn)
        inverter = fitted("AnalogueInverter")
        of = partial(display.from_estimator, inverter, n_samples=19, **options)
        yield from entries(f"{room}_estimator", n, of, X=X[:20], y=many, aliases=("y_true",))


def of_metrics():
    """Give the calls of metrics and data sets."""
    weights = np.array([1.0, 2.0, 3.0])
    pairs = {"y_true": FEW_Y, "y_pred": FEW_Y + 1.0, "sample_weight": weights}
    yield from calls("metrics.relative_l2_error", metrics.relative_l2_error, **pairs, infinite=True)
    misfit = partial(metrics.relative_data_misfit, OPERATOR)
    pairs = {"rho": FEW_Y + 1.0, "g": FEW_X, "sample_weight": weights}
    yield from calls("metrics.relative_data_misfit", misfit, **pairs, infinite=True)
    pairs = {"rho": FEW_Y + 1.0, "g": FEW_X, "uncertainty": np.linspace(0.1, 1.0, X.shape[1])}
    chi = partial(metrics.chi_factor, OPERATOR)
    yield from calls("metrics.chi_factor", chi, **pairs, infinite=True)
    at = lambda noise_level: chi(FEW_Y + 1.0, FEW_X, noise_level=noise_level)  # noqa: E731
    yield from calls("metrics.chi_factor", at, noise_level=weights / 100, infinite=True)
    moving = ForwardOperator(MESH, Survey(SURVEY.stations, SURVEY.components, trend=0)).fit()
    trend = lambda **a: metrics.residual_trend(moving, **a).values  # noqa: E731
    yield from calls("metrics.residual_trend", trend, rho=FEW_Y, g=FEW_X + 1.0)

    def spread(noise_level):
        return metrics.residual_trend(moving, FEW_Y, FEW_X, noise_level=noise_level).std

    yield from calls("metrics.residual_trend", spread, noise_level=weights / 100)
    score = lambda X: metrics.DataMisfitScorer(OPERATOR)(fitted("BayesLinearInverter"), X)  # noqa: E731
    yield from calls("metrics.DataMisfitScorer.__call__", score, X=FEW_X, infinite=True)
    draws = {"y_true": Y[:20], "y_sampled": Y[20:] + 1.0}
    yield from calls("metrics.sample_diversity", metrics.sample_diversity, **draws)
    coverage = partial(metrics.sample_coverage, labels=None)
    yield from calls("metrics.sample_coverage", coverage, **draws)
    labelled = lambda labels: metrics.sample_coverage(**draws, labels=labels)  # noqa: E731
    yield from calls("metrics.sample_coverage", labelled, labels=np.repeat([1.0, 2.0], 10))
    margin = Mesh([np.linspace(0, 43200, 11), np.linspace(0, 383e3, 9)])
    for name, run, good in (
        ("make_density_models", partial(datasets.make_density_models, mesh=MESH), [0.0, 12.0]),
        ("make_gravity_dataset", partial(make_gravity_dataset, mesh=MESH), [0.0, 12.0]),
    ):

        def drawn(density_range, run=run):
            made = run(5, density_range=density_range, random_state=0)
            return getattr(made, "target", made)

        yield from calls(f"datasets.{name}", drawn, density_range=np.array(good))
    deep = lambda water_depth: datasets.make_margin_models(  # noqa: E731
        3, mesh=margin, water_depth=water_depth, random_state=0
    )
    yield from calls("datasets.make_margin_models", deep, water_depth=np.linspace(10.0, 5e3, 8))

    def model(rho):
        with TemporaryDirectory() as folder:
            path = Path(folder, "model.den")
            skgrav.io.write_ubc_model(path, VOLUME, rho)
            return skgrav.io.read_ubc_model(path, VOLUME)

    def survey(data):
        with TemporaryDirectory() as folder:
            path = Path(folder, "survey.obs")
            skgrav.io.write_ubc_survey(path, Survey.grid(VOLUME, height=1.0), data)
            return skgrav.io.read_ubc_survey(path)[1]

    yield from calls("io.write_ubc_model", model, rho=np.arange(1.0, 25.0))
    yield from calls("io.write_ubc_survey", survey, data=np.arange(1.0, 13.0))
    yield from of_posteriors()


def of_posteriors():
    """Give the calls of metrics of predicted distributions."""
    many = Y[:20]
    drawn = many[..., None] + 100.0 * np.random.default_rng(0).normal(size=(*many.shape, 19))
    pair, probabilities = {"y_true": many, "y_pred": drawn}, np.linspace(0.05, 0.95, 19)
    gaussian = {"y_true": many, "y_pred": many + 100.0, "std": np.full(many.shape, 150.0)}
    for name in ("crps", "interval_coverage"):
        metric = getattr(metrics, name)
        yield from calls(f"metrics.{name}", metric, **gaussian)
        yield from calls(f"metrics.{name} draws", metric, **pair, only=("y_pred",))
        of_quantiles = partial(metric, many, np.sort(drawn))
        yield from calls(f"metrics.{name}", of_quantiles, quantiles=probabilities)
    covered = partial(metrics.interval_coverage, many, drawn)
    yield from calls("metrics.interval_coverage", covered, levels=np.array([0.5, 0.7, 0.8]))
    yield from calls("metrics.interval_coverage", covered, labels=np.repeat([1.0, 2.0], 10))
    yield from calls("metrics.energy_score", metrics.energy_score, **pair)
    options = {"functional": "std", "mesh": MESH}
    yield from calls("metrics.sbc_ranks", partial(metrics.sbc_ranks, **options), **pair)
    counts = lambda **a: metrics.rank_histogram(**a, **options).counts  # noqa: E731
    yield from calls("metrics.rank_histogram", counts, **pair)
    yield from calls(
        "metrics.interface_spread", partial(metrics.interface_spread, mesh=MESH), rho=Y
    )
    score = partial(metrics.PosteriorScorer(n_samples=None), fitted("BayesLinearInverter"))
    room = "metrics.PosteriorScorer.__call__"
    yield from calls(room, score, X=FEW_X, y=FEW_Y, aliases=("y_true",))


def of_networks():
    """Give the calls of torch modules."""
    torch.manual_seed(0)
    shape, n_cells = MESH.shape, MESH.n_cells
    matrix = OPERATOR.matrix_
    rng = np.random.default_rng(0)
    unit = rng.uniform(size=(7, n_cells))
    modules = {
        "PaperCNN": (networks.PaperCNN(36, n_cells, 2), {"g": rng.normal(size=(7, 36))}),
        "PaperDecoder": (networks.PaperDecoder(shape, 5), {"z": CODES}),
        "PaperGenerator": (networks.PaperGenerator(shape, 5), {"z": CODES}),
        "SectionDecoder": (networks.SectionDecoder(shape, 5), {"z": CODES}),
        "SectionGenerator": (networks.SectionGenerator(shape, 5), {"z": CODES}),
        "PaperEncoder": (networks.PaperEncoder(shape, 5), {"rho": unit}),
        "PaperDiscriminator": (networks.PaperDiscriminator(shape), {"rho": unit}),
        "SectionEncoder": (networks.SectionEncoder(shape, 5), {"rho": unit}),
        "SectionCritic": (networks.SectionCritic(shape), {"rho": unit}),
        "ResidualMLP": (networks.ResidualMLP(36, np.ones(5)), {"x": rng.normal(size=(7, 37))}),
        "UNet": (networks.UNet(3, 2, widths=(4, 4)), {"x": rng.normal(size=(7, 3, 4, 4))}),
    }
    frame = {
        "components": rng.normal(size=(5, n_cells)),
        "regression": rng.normal(size=(36, n_cells)),
        "matrix": matrix,
        "std": np.linspace(1.0, 2.0, 36),
    }
    network, x = modules["ResidualMLP"][0], rng.normal(size=(7, 37))
    null_space = partial(networks.NullSpaceNetwork, network, data_rms=1.0)
    modules["NullSpaceNetwork"] = null_space(**frame), {"x": x}
    for name, (module, arrays) in modules.items():
        module.eval()
        room = f"networks.{name}.forward"
        # The last column of a null-space network's input is the noise.
        aliases = ("sigma",) if name == "NullSpaceNetwork" else ()
        yield from calls(room, module, **arrays, tensor=True, tolerance=1e-5, aliases=aliases)
    batch = torch.tensor(x, dtype=torch.float32)
    made = lambda **arrays: null_space(**arrays).eval()(batch)  # noqa: E731
    yield from calls("networks.NullSpaceNetwork", made, **frame, tolerance=1e-3)
    spread = networks.ResidualMLP(36, np.ones(5), components=frame["components"])
    x = rng.normal(size=(7, 37))
    yield from calls(
        "networks.ResidualMLP.mixtures", lambda x: spread.mixtures(x).mean, x=x, tensor=True
    )
    made = partial(networks.ResidualMLP, 36, np.ones(5))
    kept = lambda components: made(components=components).components  # noqa: E731
    yield from calls("networks.ResidualMLP", kept, components=frame["components"])
    scaled = lambda scale: networks.ResidualMLP(36, scale).scale  # noqa: E731
    yield from calls("networks.ResidualMLP", scaled, scale=np.linspace(1.0, 2.0, 5))
    arrays = {"rho": FEW_Y, "g": FEW_X, "sigma": np.full(3, 1e-3)}
    tensors = {name: torch.tensor(value, dtype=torch.float32) for name, value in arrays.items()}
    layer = networks.DataConsistency(matrix)
    for name, value in arrays.items():
        run = lambda value, name=name: layer(**{**tensors, name: value})  # noqa: E731
        yield Call("networks.DataConsistency.forward", name, value, run, True, tolerance=1e-4)
    consistent = lambda matrix: networks.DataConsistency(matrix)(**tensors)  # noqa: E731
    yield from calls("networks.DataConsistency", consistent, matrix=matrix, tolerance=1e-3)


def of_reports():
    """Give the calls of reports, whose numbers are the hash of the data and a residual."""
    operator = MatrixOperator(OPERATOR.matrix_).fit(FEW_Y)  # without pictures of densities
    inverter = skgrav.TikhonovInverter(1.0, operator=operator).fit(FEW_X)

    def reported(X, estimate):
        report = skgrav.report(inverter, X, estimate=estimate, uncertainty=False)
        residual = re.search(r"rms of residual \| ([^ ]*) \|", report.markdown)[1]
        return [float(int(report.provenance["input_sha256"][:8], 16)), float(residual)]

    yield from calls("reporting.report", reported, X=FEW_X, estimate=FEW_Y[0])


@cache
def simpeg_problem():
    """Give a simulation of SimPEG in the words of this library."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own imports
        return from_simpeg(to_simpeg(ForwardOperator(VOLUME).fit()))


class CodesOfNothing:
    """A posterior that does not depend on the data."""

    def sample(self, shape, x, show_progress_bars):
        return torch.zeros(*shape, 5)


def of_bridges():
    """Give the calls of what other packages take and give."""
    simulator = CodeSimulator(PCA(5).fit(Y), OPERATOR, noise_level=0.05)
    room = "bridges.CodeSimulator"

    def codes(y):
        return simulator.prior(y).mean.numpy()

    def data(y):
        return simulator.pairs(y)[1].numpy()

    def observed(X):
        return simulator.observe(X).numpy()

    def draws(X):
        return simulator.sample_y(CodesOfNothing(), X, 2)

    yield from calls(f"{room}.prior", codes, y=FEW_Y, tolerance=1e-4)
    yield from calls(f"{room}.pairs", data, y=FEW_Y, tolerance=1e-4)
    yield from calls(f"{room}.observe", observed, X=FEW_X, tolerance=1e-4)
    yield from calls(f"{room}.sample_y", draws, X=FEW_X)
    models, values = np.arange(72.0).reshape(3, 24), np.arange(36.0).reshape(3, 12)
    for verb, argument, good in (
        ("from_model", "model", models),
        ("to_model", "rho", models),
        ("from_data", "dobs", values),
        ("to_data", "X", values),
    ):

        def convert(verb=verb, **arrays):
            return getattr(simpeg_problem(), verb)(**arrays)

        yield from calls(f"bridges.SimPEGProblem.{verb}", convert, **{argument: good})


CALLS = [
    *of_inverters(),
    *of_generators(),
    *of_operators(),
    *of_geometry(),
    *of_noise(),
    *of_labelled(),
    *of_displays(),
    *of_metrics(),
    *of_networks(),
    *of_reports(),
    *of_bridges(),
]
