"""Gravity profiles in tables, and the options for their columns and units."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skgrav._typing import Array
from skgrav.geometry import UNIT_SIZES, Survey
from skgrav.io import Table, checked_path, read_table

#: Units of length in metres, and of gravity in mGal.
LENGTHS = UNIT_SIZES["length"]
GRAVITIES = {unit: size for unit, size in UNIT_SIZES["gravity"].items() if unit != "normalized"}

#: Degree of the trend by its name.
TRENDS = {"none": None, "level": 0, "linear": 1, "quadratic": 2}

#: Trends by what was removed from the data when the option was ``--remove``.
_FORMER_TRENDS = {"nothing": "none", "mean": "level", "trend": "linear"}

#: Largest anomaly in mGal; larger gravity is absolute, or in another unit.
_LARGEST_ANOMALY = 2000.0


@dataclass(frozen=True)
class Profile:
    """Gravity along a line, in metres and mGal, component-major."""

    survey: Survey
    data: Array


def add_options(parser: ArgumentParser) -> None:
    """Add the options that name columns and units, and the trend."""
    parser.add_argument("profile", type=Path, help="table of stations: text or sheet")
    add_station_options(parser)
    columns = parser.add_argument_group("columns of data")
    columns.add_argument("--gz", default="gz", metavar="COLUMN", help="positive down (default: gz)")
    columns.add_argument("--gx", metavar="COLUMN", help="horizontal component, if measured")
    columns.add_argument("--sigma", metavar="COLUMN", help="standard deviation of each datum")
    parser.add_argument(
        "--trend",
        "--remove",  # its former name, with the values of `_FORMER_TRENDS`
        type=lambda name: _FORMER_TRENDS.get(name, name),
        choices=TRENDS,
        help="coherent part of the data that is not gravity of the section: an unknown base level, "
        "or a regional field, linear or quadratic along the profile (default: that of the model, "
        "otherwise none)",
    )


def add_station_options(
    parser: ArgumentParser, height_default: float | None = 0.0, height_help: str = "0"
) -> None:
    """Add the options for the coordinates of stations, and units."""
    columns = parser.add_argument_group("columns of stations")
    columns.add_argument("--x", default="x", metavar="COLUMN", help="distance (default: x)")
    height = columns.add_mutually_exclusive_group()
    height.add_argument("--elevation", metavar="COLUMN", help="positive up")
    height.add_argument(
        "--height",
        type=float,
        default=height_default,
        help=f"elevation of all stations (default: {height_help})",
    )
    units = parser.add_argument_group("units")
    units.add_argument("--length-unit", choices=LENGTHS, default="m", help="(default: m)")
    units.add_argument(
        "--elevation-unit", choices=LENGTHS, help="also of --height (default: --length-unit)"
    )
    units.add_argument("--gravity-unit", choices=GRAVITIES, default="mGal", help="(default: mGal)")


def elevation_unit(options: Namespace) -> str:
    """Return the unit of elevations, which is often not that of distances."""
    return str(options.elevation_unit or options.length_unit)


def check_output(path: Path | None, suffix: str | None = None) -> None:
    """Raise an error before the work, instead of after it, if a file cannot be written there."""
    if path is None:
        return
    if suffix is not None and path.suffix != suffix:
        raise ValueError(f"--out is '{path}'; end its name in '{suffix}', the kind of file it is.")
    checked_path(path)


def positive(text: str) -> float:
    """Convert the text of an option to a positive number."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise ArgumentTypeError(f"{text} is not a positive number")
    return value


def read_survey(
    path: Path, options: Namespace, gravity: dict[str, Any], sigma: Any = None
) -> tuple[Table, Survey, Any]:
    """Return a table, its survey and its data, with columns of gravity by axis."""
    table = read_table(path, _spelled)
    places = {"x": options.x, "elevation": options.elevation}
    units = options.length_unit, options.elevation_unit, options.gravity_unit
    return table, *table.survey(places, gravity, sigma, options.height, *units)


def read_profile(options: Namespace, noise: float | None = None) -> Profile:
    """Read a profile; `noise` is its standard deviation in --gravity-unit, in place of --sigma."""
    if noise is not None and options.sigma is not None:
        raise ValueError("--noise and --sigma are both given; give one of them.")
    gravity = {"x": options.gx, "z": options.gz}
    sigma = options.sigma if noise is None else noise
    table, survey, g = read_survey(options.profile, options, gravity, sigma)
    back = np.diff(survey.stations[:, 1]) < 0
    if back.any():
        table.fail(int(np.argmax(back)) + 1, f"column '{options.x}' does not increase. Sort it.")
    for component, profile in zip(survey.components, survey.unflatten(g), strict=True):
        largest = np.abs(profile).max()
        if largest > _LARGEST_ANOMALY:
            raise ValueError(
                f"g{component} reaches {largest:g} mGal: absolute gravity, or not in "
                f"{options.gravity_unit}. Reduce it to an anomaly, or name the --gravity-unit."
            )
    trend = TRENDS[options.trend or "none"]
    return Profile(Survey(survey.stations, survey.components, survey.uncertainty, trend), g)


def _spelled(name: str) -> str:
    """Return the option of an argument of `skgrav.io.read_stations`."""
    return "--sigma" if name == "uncertainty" else f"--{name.replace('_', '-')}"


def write_profile(path: Path, survey: Survey, g: Array, length_unit: str, unit: str) -> None:
    """Write gravity in mGal to a table, in these units."""
    columns = {"x": survey.stations[:, 1], "elevation": -survey.stations[:, 0]}
    table = {f"{name}_{length_unit}": c / LENGTHS[length_unit] for name, c in columns.items()}
    for component, values in zip(survey.components, survey.unflatten(g), strict=True):
        table[f"g{component}_{unit}"] = values / GRAVITIES[unit]
    header, values = ",".join(table), np.column_stack(list(table.values()))
    np.savetxt(checked_path(path), values, "%.10g", ",", header=header, comments="")
