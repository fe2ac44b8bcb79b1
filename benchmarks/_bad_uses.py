"""Good uses of every public callable, each argument of which bad_inputs.py spoils in turn."""

import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
from sklearn.base import clone

import skgrav
from skgrav import (
    CellValues,
    ForwardOperator,
    JointOperator,
    MatrixOperator,
    Mesh,
    Survey,
    datasets,
    io,
    metrics,
    networks,
    plotting,
)
from skgrav.noise import Noise
from skgrav.operators import resolve_operator
from skgrav.solvers import SOLVERS

# The good calls of arrays, which the tests hold, and their small estimators.
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from public_calls import (
    ESTIMATORS,
    FEW_X,
    FEW_Y,
    GENERATORS,
    MESH,
    OPERATOR,
    SURVEY,
    VOLUME,
    X,
    Y,
    fitted,
)

#: Arguments that hold what belongs to others: axes and keywords of matplotlib, and y by convention.
NOT_OURS = {"self", "ax", "kwargs", "plot_kw", "y", "callbacks", "transform_input", "memory"}

GRAVITY = ForwardOperator(MESH, Survey(SURVEY.stations, SURVEY.components, uncertainty=0.1))


@dataclass(frozen=True)
class Use:
    """A callable with good arguments by name, and the names of those to spoil."""

    room: str
    name: str
    run: Callable[..., Any]
    arguments: tuple[str, ...]
    good: dict[str, Any] = field(default_factory=dict)
    #: Bad values are texts of a command line, not objects.
    texts: bool = False


def use(room: str, function: Callable[..., Any], *, name: str = "", **good: Any) -> Use:
    """Use a function with all its arguments, those that are not given at their defaults."""
    signature = inspect.signature(function)
    keywords = [p.name for p in signature.parameters.values() if p.kind not in (2, 4)]
    keywords = [n for n in keywords if n not in NOT_OURS and not n.endswith("_kw")]
    return Use(room, name or function.__qualname__, function, tuple(keywords), good)


def uses() -> Iterator[Use]:
    """Give all uses."""
    yield from of_estimators()
    yield from of_methods()
    yield from of_operators()
    yield from of_geometry()
    yield from of_noise_and_metrics()
    yield from of_networks()
    yield from of_datasets()
    yield from of_files()
    yield from of_displays()
    yield from of_command_line()


# ----------------------------------------------------------------------------- estimators


def of_estimators() -> Iterator[Use]:
    """Give the parameters of estimators at a fit, which may set several for one to count."""
    others = {
        "JointOperator": JointOperator([GRAVITY, CellValues(MESH, [1, 5], uncertainty=10.0)]),
        "ForwardOperator": ForwardOperator(MESH, SURVEY),
        "MatrixOperator": MatrixOperator(OPERATOR.matrix_),
        "CellValues": CellValues(MESH, [1, 5, 9], uncertainty=10.0),
        "Pipeline": skgrav.Pipeline([ESTIMATORS["BayesLinearInverter"], ESTIMATORS["Refiner"]]),
        "CNNInverter unet with uncertainty": clone(ESTIMATORS["CNNInverter unet"]).set_params(
            uncertainty=True
        ),
        "LatentInverter VAE": skgrav.LatentInverter(
            GENERATORS["VAEGenerator"], operator=OPERATOR, noise_level=0.01, random_state=0
        ),
    }
    for name, estimator in {**ESTIMATORS, **GENERATORS, **others}.items():
        if name in GENERATORS or "Operator" in name or name == "CellValues":
            last = lambda e: e.fit(Y).transform(Y[:2])  # noqa: E731
        else:
            last = lambda e: e.fit(X, Y).predict(FEW_X)  # noqa: E731

        def run(estimator=estimator, last=last, **parameters):
            return last(clone(estimator).set_params(**parameters))

        room = {"G": "generators", "V": "generators"}.get(name[0], "inverters")
        room = "operators" if "Operator" in name or name == "CellValues" else room
        parameters = [p for p in estimator.get_params(deep=False) if p not in NOT_OURS]
        yield Use(room, name, run, tuple(parameters))
    for name, solver in SOLVERS.items():

        def solve(solver=solver, **parameters):
            return solver(**parameters).solve(OPERATOR, FEW_X).rho

        yield Use("solvers", name, solve, tuple(solver().get_params(deep=False)))


def of_methods() -> Iterator[Use]:
    """Give the methods of fitted estimators."""
    verbs = (
        "predict", "transform", "sample_y", "predict_quantiles", "invert", "refine", "resolution",
        "alpha_curve", "leave_one_out", "applicability", "sample", "inverse_transform",
        "nearest_code", "score", "kl_divergence", "get_feature_names_out", "with_operator", "save",
    )  # fmt: skip
    folder = Path(mkdtemp())
    for name in (*ESTIMATORS, *GENERATORS):
        room = "generators" if name in GENERATORS else "inverters"
        for verb in verbs:
            owner = GENERATORS[name] if name in GENERATORS else ESTIMATORS[name]
            if not hasattr(type(owner), verb) or (verb == "sample_y" and name == "Refiner"):
                continue

            def run(name=name, verb=verb, **given):
                return getattr(fitted(name), verb)(**given)

            signature = inspect.signature(getattr(type(owner), verb))
            names = [n for n in signature.parameters if n not in NOT_OURS]
            data = FEW_Y if name in GENERATORS else FEW_X
            if verb == "inverse_transform":
                data = np.zeros((2, 5))
            good = {"X": data, "quantiles": [0.1, 0.9], "operator": OPERATOR}
            good["path"] = folder / "estimator"
            good = {k: v for k, v in good.items() if k in names}
            yield Use(room, f"{name}.{verb}", run, tuple(names), good)
    for cls in (skgrav.CNNInverter, skgrav.TikhonovInverter):
        path = folder / cls.__name__
        made = ESTIMATORS[cls.__name__]
        clone(made).fit(X, Y).save(path)
        yield use("inverters", cls.load, path=path)
    yield use("inverters", skgrav.CNNInverter.from_pretrained)
    spread = fitted("TikhonovInverter").resolution(FEW_X).point_spread
    yield use("inverters", spread, cells=[1, 2])


def of_operators() -> Iterator[Use]:
    """Give the methods of operators."""
    gravity = clone(GRAVITY).fit()
    cells = CellValues(MESH, [1, 5, 9], uncertainty=10.0).fit()
    joint = JointOperator([GRAVITY, cells]).fit()
    matrix = MatrixOperator(OPERATOR.matrix_).fit(Y)
    for operator in (gravity, cells, joint, matrix):
        data = operator.transform(FEW_Y)
        for verb, good in {
            "transform": {"X": FEW_Y},
            "adjoint": {"X": data},
            "inverse_transform": {"X": data},
            "fit": {"X": Y},
            "plan": {},
            "truncated_svd": {"rank": 2},
            "get_feature_names_out": {},
            "to_torch": {},
            "split": {"X": data},
        }.items():
            if hasattr(operator, verb):
                of = clone(operator) if verb == "fit" else operator
                name = f"{type(operator).__name__}.{verb}"
                yield use("operators", getattr(of, verb), name=name, **good)
    hole = {"start": [2.0, 9.0, 15.0], "values": [500.0, 510.0, 520.0], "at": [25.0]}
    yield use("operators", CellValues.along, mesh=MESH, **hole)
    pair = {"operator": OPERATOR, "rho": Y, "g": X}
    yield use("operators", resolve_operator, **pair)


# ----------------------------------------------------------------------------- geometry


def of_geometry() -> Iterator[Use]:
    """Give meshes, surveys and what is made of them."""
    block = Mesh.regular((4, 6), 10.0)
    ground = np.linspace(0.0, 9.0, 6)
    mask = np.arange(24).reshape(4, 6) > 2
    yield use("geometry", Mesh, edges=[[0.0, 10.0, 20.0], [0.0, 5.0, 10.0]])
    yield use("geometry", Mesh, name="Mesh active", edges=block.edges, active=mask)
    yield use("geometry", Mesh.regular, shape=(3, 5), spacing=10.0)
    yield use("geometry", Mesh.square)
    yield use("geometry", Mesh.for_survey, survey=SURVEY)
    yield use("geometry", block.below, topography=ground)
    yield use("geometry", block.fraction_below, topography=ground)
    yield use("geometry", block.flatten, images=np.ones((2, 4, 6)))
    yield use("geometry", block.unflatten, rho=np.ones((2, 24)))
    yield use("geometry", block.to_xarray, rho=np.ones(24))
    yield use("geometry", VOLUME.to_pyvista, rho=np.ones(24))
    yield use("geometry", Mesh.from_xarray, array=block.to_xarray(np.ones(24)))
    yield use("geometry", Mesh.from_pyvista, grid=VOLUME.to_pyvista(np.ones(24)))
    yield use("geometry", Survey, stations=SURVEY.stations)
    yield use("geometry", Survey.line, mesh=MESH)
    yield use("geometry", Survey.grid, mesh=VOLUME, height=1.0)
    g = np.ones(SURVEY.n_data)
    yield use("geometry", SURVEY.to_xarray, g=g)
    yield use("geometry", SURVEY.unflatten, g=g)
    yield use("geometry", SURVEY.flatten, profiles=SURVEY.unflatten(g))
    yield use("geometry", Survey.from_xarray, dataset=SURVEY.to_xarray(g))
    places = np.column_stack([np.zeros(9), np.arange(9) * 10.0, np.arange(9) * 14.0])
    yield use("geometry", skgrav.project_onto_line, stations=places)


def of_noise_and_metrics() -> Iterator[Use]:
    """Give noise and metrics."""
    yield use("noise", Noise, n_data=36)
    yield use("noise", Noise.of, source=OPERATOR)
    noise = Noise(36, level=0.1, trend=np.ones((36, 1)))
    yield use("noise", noise.at, level=0.1)
    yield use("noise", noise.std, g=FEW_X)
    yield use("noise", noise.trend, residual=FEW_X)
    pair = {"y_true": FEW_Y, "y_pred": FEW_Y + 1.0}
    draws = {"y_true": Y[:20], "y_pred": Y[:20, :, None] + np.linspace(-200.0, 300.0, 19)}
    sets = {"y_true": Y[:20], "y_sampled": Y[20:] + 1.0}
    residual = {"operator": OPERATOR, "rho": FEW_Y + 1.0, "g": FEW_X}
    ranked = {**draws, "functional": "std", "mesh": MESH}
    for metric, good in {
        metrics.relative_l2_error: pair,
        metrics.relative_data_misfit: residual,
        metrics.chi_factor: {**residual, "noise_level": 0.01},
        metrics.residual_trend: residual,
        metrics.sample_diversity: sets,
        metrics.sample_coverage: sets,
        metrics.crps: draws,
        metrics.energy_score: draws,
        metrics.interval_coverage: draws,
        metrics.sbc_ranks: ranked,
        metrics.rank_histogram: ranked,
        metrics.interface_spread: {"rho": Y, "mesh": MESH},
    }.items():
        yield use("metrics", metric, **good)

    def data_misfit(**given):
        scorer = metrics.DataMisfitScorer(**{"operator": OPERATOR, **given})
        return scorer(fitted("BayesLinearInverter"), FEW_X)

    def posterior(**given):
        return metrics.PosteriorScorer(**given)(fitted("BayesLinearInverter"), FEW_X, FEW_Y)

    names = ("operator", "noise_level", "metric")
    yield Use("metrics", "DataMisfitScorer", data_misfit, names)
    names = ("metric", "n_samples", "random_state")
    yield Use("metrics", "PosteriorScorer", posterior, names)


def of_networks() -> Iterator[Use]:
    """Give the constructors of torch modules."""
    for name, good in {
        "PaperCNN": {"n_data": 36, "n_cells": 24, "n_components": 2, "filters": (8,)},
        "PaperDecoder": {"shape": (4, 6), "n_components": 5},
        "PaperGenerator": {"shape": (4, 6), "n_components": 5},
        "PaperEncoder": {"shape": (4, 6), "n_components": 5},
        "PaperDiscriminator": {"shape": (4, 6)},
        "SectionDecoder": {"shape": (4, 6), "n_components": 5},
        "SectionGenerator": {"shape": (4, 6), "n_components": 5},
        "SectionEncoder": {"shape": (4, 6), "n_components": 5},
        "SectionCritic": {"shape": (4, 6)},
        "ResidualMLP": {"n_data": 36, "scale": np.ones(5), "width": 16},
        "UNet": {"n_in": 3, "n_out": 2, "widths": (4, 4)},
        "DataConsistency": {"matrix": OPERATOR.matrix_},
    }.items():
        yield use("networks", getattr(networks, name), **good)


def of_datasets() -> Iterator[Use]:
    """Give data sets, of which those to be fetched meet no network."""
    mesh = Mesh.square(6)
    margin = Mesh([np.linspace(0, 43200, 11), np.linspace(0, 383e3, 9)])
    yield use("datasets", datasets.make_density_models, n_samples=3, mesh=mesh)
    volumes = datasets.make_density_models
    yield use("datasets", volumes, name="make_density_models 3D", n_samples=3, mesh=VOLUME)
    yield use("datasets", datasets.make_gravity_dataset, n_samples=3, mesh=mesh)
    yield use("datasets", datasets.make_margin_models, n_samples=3, mesh=margin)
    for name in ("huang2021", "two_bodies", "block_halfspace", "negahdari2025", "pelotas_profile"):
        yield use("datasets", getattr(datasets, f"fetch_{name}"))


# ----------------------------------------------------------------------------- files


def of_files() -> Iterator[Use]:
    """Give readers and writers."""
    folder = Path(mkdtemp())
    table = folder / "area.csv"
    table.write_text("x,y,h,gz,gx\n0,0,1,1,2\n10,0,2,2,3\n0,10,3,3,4\n9,12,1,2,2\n", "utf-8")
    columns = {"path": table, "y": "y", "elevation": "h"}
    yield use("io", io.read_stations, **columns)
    yield use("io", io.read_table, path=table)
    yield use("io", io.read_topography, path=table, elevation="h")
    mesh, rho = VOLUME, np.arange(1.0, 25.0)
    survey = Survey.grid(mesh, height=1.0)
    files = {kind: folder / f"ubc.{kind}" for kind in ("msh", "den", "act", "obs")}
    written = {
        io.write_ubc_mesh: {"path": files["msh"], "mesh": mesh},
        io.write_ubc_model: {"path": files["den"], "mesh": mesh, "rho": rho},
        io.write_ubc_active: {"path": files["act"], "mesh": mesh},
        io.write_ubc_survey: {"path": files["obs"], "survey": survey},
    }
    for write, good in written.items():
        write(**good)
        yield use("io", write, **good)
    for read, kind in {
        io.read_ubc_mesh: "msh",
        io.read_ubc_model: "den",
        io.read_ubc_active: "act",
        io.read_ubc_survey: "obs",
    }.items():
        good = {"path": files[kind]}
        yield use("io", read, **good | ({"mesh": mesh} if kind in ("den", "act") else {}))


def of_displays() -> Iterator[Use]:
    """Give displays, drawn on a figure of their own."""
    noise = np.random.default_rng(0).normal(size=(20, 24, 19))
    draws = Y[:20, :, None] + 100.0 * noise
    shape = {"mesh": MESH}
    curve = fitted("TikhonovInverter").alpha_curve(FEW_X, alphas=[0.01, 0.1, 1.0])
    levels = [0.2, 0.5, 0.8]
    made = {
        plotting.DensityDisplay: {"densities": {"one": Y[0]}, **shape},
        plotting.GravityDisplay: {"observed": X[0], "survey": SURVEY},
        plotting.SampleGalleryDisplay: {"sections": {"row": FEW_Y}, **shape},
        plotting.PosteriorDisplay: {"draws": draws[0], **shape},
        plotting.ConvergenceDisplay: {"losses": {"one": [3.0, 2.0]}},
        plotting.LCurveDisplay: {"x": [1.0, 2.0], "y": [2.0, 1.0], "point": (1.5, 1.5), "alpha": 1},
        plotting.CalibrationDisplay: {
            "levels": levels,
            "coverage": {"one": levels},
            "histograms": {},
        },
    }
    for display, good in made.items():

        def draw(display=display, **given):
            return display(**given).plot() and None

        names = inspect.signature(display).parameters
        yield Use("plotting", display.__name__, draw, tuple(names), good)
    few = {"y_true": FEW_Y, "y_pred": FEW_Y + 1.0, **shape}
    many = {"y_true": Y[:20], "y_pred": draws, **shape}
    data = {"X": FEW_X}
    for bound, good in {
        plotting.DensityDisplay.from_predictions: few,
        plotting.SampleGalleryDisplay.from_predictions: few,
        plotting.GravityDisplay.from_predictions: {**data, "y_pred": FEW_Y, "operator": OPERATOR},
        plotting.PosteriorDisplay.from_predictions: many,
        plotting.CalibrationDisplay.from_predictions: {**many, "functionals": ["std"]},
        plotting.LCurveDisplay.from_predictions: {"curve": curve, "alpha": 0.1},
        plotting.ConvergenceDisplay.from_predictions: {
            "y_pred": {"one": fitted("Refiner").refine(FEW_X)}
        },
    }.items():
        yield drawn(bound, good)
    bayes = {"estimator": fitted("BayesLinearInverter"), **data}
    for display, good in {
        plotting.DensityDisplay: bayes,
        plotting.GravityDisplay: bayes,
        plotting.SampleGalleryDisplay: bayes,
        plotting.PosteriorDisplay: {**bayes, "n_samples": 19},
        plotting.CalibrationDisplay: {**bayes, "X": X[:20], "y": Y[:20], "n_samples": 9},
        plotting.LCurveDisplay: {"estimator": fitted("TikhonovInverter"), **data},
        plotting.ConvergenceDisplay: {"estimator": fitted("CNNInverter")},
    }.items():
        yield drawn(display.from_estimator, good)
    inverter = {"inverter": fitted("TikhonovInverter"), "X": FEW_X}
    yield use("reporting", skgrav.report, **inverter, uncertainty=False)


def drawn(method: Callable[..., Any], good: dict[str, Any]) -> Use:
    """Use a method that draws, and close what it drew."""

    def run(**given):
        import matplotlib.pyplot as plt

        try:
            method(**given)
        finally:
            plt.close("all")

    whole = use("plotting", method)
    return Use("plotting", whole.name, run, whole.arguments, good)


# ----------------------------------------------------------------------------- the command line


def of_command_line() -> Iterator[Use]:
    """Give the options of the commands."""
    folder = Path(mkdtemp())
    rows = [f"{x},{x / 7:.1f},1" for x in range(0, 1000, 100)]
    profile, area = folder / "profile.csv", folder / "area.csv"
    profile.write_text("x,gz,h\n" + "\n".join(rows) + "\n", encoding="utf-8")
    points = [f"{x},{y},{x / 7 + y / 9:.1f},1" for x in range(0, 400, 100) for y in (0, 90, 180)]
    area.write_text("x,y,gz,h\n" + "\n".join(points) + "\n", encoding="utf-8")
    section = folder / "section.nc"
    commands = {
        "invert": ([str(profile), "--elevation", "h"], section),
        "invert area": ([str(area), "--y", "y", "--elevation", "h"], folder / "area.nc"),
        "report": ([str(profile)], folder / "report.html"),
        "forward": ([str(section)], folder / "again.csv"),
        "train": ([str(profile), "--sections", "20", "--epochs", "1"], folder / "n.safetensors"),
        "info": ([str(section)], None),
    }
    for name, (arguments, out) in commands.items():
        command = name.split()[0]
        tail = ["--out", str(out)] if out else []

        def run(command=command, arguments=arguments, tail=tail, **given):
            [(option, text)] = given.items() or [("", "")]
            if option == "file":
                return command_line([command, text, *arguments[1:], *tail])
            more = text if isinstance(text, list) else [text]
            return command_line([command, *arguments, *tail, *([option, *more] if option else [])])

        yield Use("cli", f"main {name}", run, ("file", *options_of(command)), texts=True)


@cache
def options_of(command: str) -> tuple[str, ...]:
    """Give the options of a command that take values, from its help."""
    import contextlib
    import io as text_io
    import re

    from skgrav.cli import main

    said = text_io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        main([command, "--help"])
    found = re.findall(r"^  (?:-\w, )?(--[\w-]+) \S", said.getvalue(), re.MULTILINE)
    return tuple(dict.fromkeys(found))


def command_line(arguments: list[str]) -> None:
    """Run a command; raise what it prints if it fails."""
    import contextlib
    import io as text_io

    from skgrav.cli import main

    said = text_io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(text_io.StringIO()):
        try:
            code = main(arguments)
        except SystemExit as stop:
            code = stop.code
    if code:
        raise ValueError(said.getvalue()[-600:])
