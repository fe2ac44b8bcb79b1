"""The commands `info`, `forward`, `train`, `invert` and `report`."""

from __future__ import annotations

import shlex
import sys
import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

import skgrav
from skgrav.cli._inversion import invert, train, write_report
from skgrav.cli._profile import (
    LENGTHS,
    OneOrMore,
    add_options,
    add_station_options,
    check_output,
    data_unit,
    elevation_unit,
    positive,
    read_places,
    spelled,
    write_profile,
)
from skgrav.cli._section import add_mesh_options, below_profile, read_section
from skgrav.geometry import COMPONENTS, Survey
from skgrav.operators import ForwardOperator

#: Errors of input or missing packages, printed without a traceback; others are defects.
_EXPECTED = (ValueError, OSError, ImportError, MemoryError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments : sequence of str, default=None
        Arguments after the name of the program; None takes ``sys.argv``.

    Returns
    -------
    code : int
        0, or 1 after an error, which is printed to stderr. Wrong usage exits with 2.

    See Also
    --------
    skgrav.TikhonovInverter : Inverts without a trained model.
    skgrav.CNNInverter : Trained by `train`.

    Examples
    --------
    >>> from skgrav.cli import main
    >>> main(["info"])  # doctest: +ELLIPSIS
    skgrav 0...
    0
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    command = shlex.join(["python", "-m", "skgrav", *arguments])
    options = Namespace(command=command, warnings=[])
    with warnings.catch_warnings():
        warnings.showwarning = partial(_show_warning, options)
        _parser().parse_args(arguments, options)
        try:
            options.run(options)
        except _EXPECTED as error:
            text = spelled(str(error), options)
            if isinstance(error, FileNotFoundError) and error.filename is not None:
                text = f"there is no file {error.filename}; check its name and folder."
            print(f"skgrav: error: {text}", file=sys.stderr)
            return 1
    return 0


def _show_warning(options: Namespace, message: Warning | str, *_: Any, **__: Any) -> None:
    options.warnings.append(str(message))
    print(f"skgrav: warning: {spelled(str(message), options)}", file=sys.stderr)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="python -m skgrav",
        description="Gravity profiles to density sections, and back. Lengths are metres, z is "
        "positive down, densities are contrasts in kg/m3, gz is positive toward a mass below.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_info(commands)
    _add_forward(commands)
    _add_train(commands)
    _add_invert(commands)
    _add_report(commands)
    return parser


def _add_info(commands: Any) -> None:
    info = commands.add_parser("info", help="versions, or contents of a model or section")
    info.add_argument("file", nargs="?", type=Path, help="model (.safetensors) or section (.nc)")
    info.set_defaults(run=_info)


def _add_forward(commands: Any) -> None:
    forward = commands.add_parser("forward", help="gravity of a density section")
    forward.add_argument("section", type=Path, help="netCDF file, as `invert` writes it")
    forward.add_argument("--out", type=Path, required=True, help="table of gravity to write")
    forward.add_argument(
        "--stations", type=Path, help="table (default: above each column except padding)"
    )
    forward.add_argument("--components", nargs="+", choices=COMPONENTS[3], default=["z"])
    add_station_options(forward, None, "that of the top of the section")
    forward.set_defaults(run=_forward)


def _add_train(commands: Any) -> None:
    parser = commands.add_parser("train", help="train a network for the stations of a profile")
    add_options(parser)
    add_mesh_options(parser)
    parser.add_argument("--out", type=Path, required=True, help="model to write (.safetensors)")
    parser.add_argument("--sections", type=int, default=5000, help="to draw (default: 5000)")
    parser.add_argument("--epochs", type=int, default=30, help="(default: 30)")
    parser.add_argument(
        "--densities",
        nargs=2,
        type=float,
        default=[-500, 500],
        metavar=("LOWER", "UPPER"),
        help="contrasts, in kg/m3 (default: -500 500)",
    )
    parser.add_argument(
        "--training-noise",
        nargs=2,
        type=float,
        default=[0.0, 0.1],
        metavar=("LEAST", "MOST"),
        help="relative to the rms of the data (default: 0 0.1)",
    )
    parser.add_argument("--seed", type=int, default=0, help="(default: 0)")
    parser.set_defaults(run=train)


def _add_invert(commands: Any) -> None:
    parser = commands.add_parser("invert", help="density below a profile or an area")
    _add_inversion_options(parser)
    parser.add_argument(
        "--out", type=Path, required=True, help="density to write (.nc; of areas also .vtr, .den)"
    )
    parser.add_argument("--plot", type=Path, help="picture to draw")
    parser.add_argument("--report", type=Path, help="report to write (.html, .md)")
    parser.set_defaults(run=invert)


def _add_report(commands: Any) -> None:
    parser = commands.add_parser("report", help="page on an inversion, with what to doubt")
    _add_inversion_options(parser)
    parser.add_argument("--out", type=Path, required=True, help="report to write (.html, .md)")
    parser.set_defaults(run=write_report)


def _add_inversion_options(parser: ArgumentParser) -> None:
    add_options(parser)
    add_mesh_options(parser)
    parser.add_argument(
        "--model",
        default="tikhonov",
        help="'tikhonov', which needs no training, or a file of `train` (default: tikhonov)",
    )
    parser.add_argument(
        "--noise",
        nargs="+",
        action=OneOrMore,
        type=positive,
        metavar="SIGMA",
        help="standard deviation in the unit of the data, one for all components or one for each",
    )
    parser.add_argument(
        "--bounds",
        nargs=2,
        type=float,
        metavar=("LOWER", "UPPER"),
        help="of the density contrast, in kg/m3 (tikhonov)",
    )
    parser.add_argument("--refine", metavar="SOLVER", help="fit a network's estimate to the data")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="report without standard deviations, draws, depth of investigation and curve of alpha",
    )
    parser.add_argument(
        "--topography", type=Path, help="ground of an area, a table of points or a grid (.nc, .tif)"
    )


def _info(options: Namespace) -> None:
    if options.file is None:
        print(f"skgrav {skgrav.__version__}")
        for package in ("numpy", "scipy", "scikit-learn", "skorch", "torch"):
            print(f"{package} {version(package)}")
        for package in ("matplotlib", "safetensors", "xarray"):
            try:
                print(f"{package} {version(package)}")
            except PackageNotFoundError:
                print(f"{package} is not installed")
    elif options.file.suffix == ".nc":
        _describe_section(options.file)
    else:
        model = skgrav.CNNInverter.load(options.file)
        operator = getattr(model, "operator_", None)
        print(f"{type(model).__name__}: {model.n_features_in_} data to {model.n_outputs_} cells")
        for name in ("mesh_", "survey_", "units"):
            print(f"{name.rstrip('_')}: {getattr(operator, name, 'unknown')}")
        low, high = model.density_range_
        print(f"trained on densities {low:g} to {high:g}, relative noise {model.training_noise}")


def _describe_section(path: Path) -> None:
    mesh, rho, x, _ = read_section(path)
    print(mesh)
    if x is not None and mesh.ndim == 2:
        core, below = below_profile(mesh, x, rho)
        n_padding = mesh.shape[1] - core.shape[1]
        print(f"below the profile: {core}, {n_padding} columns of padding")
        print(f"density below the profile {below.min():g} to {below.max():g} kg/m3")
    print(f"density {rho.min():g} to {rho.max():g} kg/m3")


def _forward(options: Namespace) -> None:
    check_output(options.out, ".csv", ".txt")
    mesh, rho, x, fraction = read_section(options.section)
    if (mesh.ndim == 3) != (options.y is not None):
        raise ValueError(
            f"{options.section} has {mesh.ndim} axes; stations of a model of three need --y, those "
            "of a section have none."
        )
    if mesh.ndim == 3 and options.stations is None:
        raise ValueError(f"{options.section} is a model below an area; give --stations.")
    of_table = ("elevation", "names", "delimiter", "sheet", "line")
    given = [name for name in of_table if getattr(options, name) is not None]
    given += ["x"] if options.x != "x" else []
    if given and options.stations is None:
        raise ValueError(f"--{given[0]} is of a table: give --stations, or leave it out.")
    size = LENGTHS[elevation_unit(options)]
    if options.height is None and options.elevation is None:
        options.height = -mesh.edges[0][0] / size
        options.elevation_unit = elevation_unit(options)
    if options.stations is None:
        up = size * options.height
        above = mesh if x is None else below_profile(mesh, x, rho)[0]
        stations = np.column_stack([np.full(above.shape[1], -up), above.centers[1]])
    else:
        stations = read_places(options.stations, options).stations
    survey = Survey(stations, options.components)
    g = ForwardOperator(mesh, survey, fraction=fraction).fit().transform(rho[None])[0]
    write_profile(options.out, survey, g, options)
    ranges = []
    for component, values in zip(survey.components, survey.unflatten(g), strict=True):
        unit, size = data_unit(component, options)
        ranges.append(f"{values.min() / size:.4g} to {values.max() / size:.4g} {unit}")
    print(f"{options.out}: {survey}, {', '.join(ranges)}")
