"""Gravity profiles in tables, and the options for their columns and units."""

from __future__ import annotations

import re
from argparse import SUPPRESS, Action, ArgumentParser, ArgumentTypeError, Namespace
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from skgrav._typing import Array
from skgrav._warnings import warn
from skgrav.geometry import AXES, UNIT_SIZES, Survey, component_unit
from skgrav.io import Table, checked_path, open_table, stations_of, upward

#: Units of length in metres, of gravity in mGal and of its gradients in Eotvos.
LENGTHS = UNIT_SIZES["length"]
GRAVITIES, GRADIENTS = (
    {unit: size for unit, size in UNIT_SIZES[quantity].items() if unit != "normalized"}
    for quantity in ("gravity", "gradient")
)

GRADIENT_COMPONENTS = ("xx", "xy", "xz", "yy", "yz", "zz")

#: Degree of the trend by its name.
TRENDS = {"none": None, "level": 0, "linear": 1, "quadratic": 2}

#: Trends by what was removed from the data when the option was ``--remove``, until 0.4.0.
_FORMER_TRENDS = {"nothing": "none", "mean": "level", "trend": "linear"}

_UNITS = ("length_unit", "elevation_unit", "gravity_unit", "gradient_unit")

#: Arguments in Python that are options of the same name.
_ARGUMENTS = ("bounds", "cell", "depth", "max_cells", "topography", "trend")

#: What messages say of arguments in Python that have one option together, or none.
_OTHER_WORDS = {
    "from 'reference'": "from those of no density",
    "'noise_level' or 'uncertainty'": "'uncertainty'",
    "'depth' or 'padding'": "'depth'",
    ", or noise_level='auto'": "",
}

#: Columns of the northing by those of the easting.
_NORTHINGS = {"x": "y", "easting": "northing", "east": "north"}

#: Extent of the northing of a profile along x, in extents of x, that may be neglected: distances
#: along a line that deviates so far are 0.5 % longer.
_SHARE_ACROSS = 0.1

#: Largest anomaly in mGal; larger gravity is absolute, or in another unit.
_LARGEST_ANOMALY = 2000.0


@dataclass(frozen=True)
class Profile:
    """Gravity and its gradients along a line or over an area, in metres, mGal and Eotvos."""

    survey: Survey
    data: Array


class OneOrMore(Action):
    """Keep a single value as it is, and more as a list."""

    def __call__(self, parser: Any, options: Namespace, values: Any, option: Any = None) -> None:
        """Store the value or the values."""
        setattr(options, self.dest, values[0] if len(values) == 1 else values)


def add_options(parser: ArgumentParser) -> None:
    """Add the options that name columns and units, and the trend."""
    parser.add_argument("profile", type=Path, help="table of stations: text or sheet")
    add_station_options(parser)
    columns = parser.add_argument_group("columns of data")
    columns.add_argument(
        "--gz",
        metavar="COLUMN",
        help="positive down (default: gz, if no other component is named)",
    )
    for name in ("gx", "gy"):
        columns.add_argument(f"--{name}", metavar="COLUMN", help="horizontal component")
    for name in GRADIENT_COMPONENTS:
        columns.add_argument(f"--g{name}", metavar="COLUMN", help="gradient, if measured")
    columns.add_argument(
        "--sigma",
        nargs="+",
        action=OneOrMore,
        metavar="COLUMN",
        help="standard deviation of each datum, one column for all components or one for each",
    )
    columns.add_argument(
        "--positive",
        choices=["down", "up"],
        default="down",
        help="direction in which gz is positive in the table (default: down)",
    )
    parser.add_argument(
        "--trend",
        choices=TRENDS,
        help="coherent part of the data that is not gravity of the section: an unknown base level, "
        "or a regional field, linear or quadratic along the profile (default: that of the model, "
        "otherwise none)",
    )
    parser.add_argument("--remove", dest="trend", type=_former_trend, choices=TRENDS, help=SUPPRESS)


def _former_trend(name: str) -> str:
    trend = _FORMER_TRENDS.get(name, name)
    warn(
        f"--remove {name} is deprecated since 0.2.0 and will be removed in 0.4.0: give "
        f"--trend {trend}.",
        FutureWarning,
    )
    return trend


def add_station_options(
    parser: ArgumentParser, height_default: float | None = 0.0, height_help: str = "0"
) -> None:
    """Add the options for the coordinates of stations, and units."""
    columns = parser.add_argument_group("columns of stations")
    columns.add_argument("--x", default="x", metavar="COLUMN", help="distance (default: x)")
    columns.add_argument("--y", metavar="COLUMN", help="northing, for an area; x is the easting")
    height = columns.add_mutually_exclusive_group()
    height.add_argument("--elevation", metavar="COLUMN", help="positive up")
    height.add_argument(
        "--height",
        type=float,
        default=height_default,
        help=f"elevation of all stations (default: {height_help})",
    )
    units = parser.add_argument_group("units")
    of_table = "(default: that of the table, otherwise {})"
    units.add_argument("--length-unit", choices=LENGTHS, help=of_table.format("m"))
    units.add_argument(
        "--elevation-unit",
        choices=LENGTHS,
        help="of --height, too (default: that of the column, otherwise --length-unit)",
    )
    units.add_argument("--gravity-unit", choices=GRAVITIES, help=of_table.format("mGal"))
    units.add_argument("--gradient-unit", choices=GRADIENTS, help=of_table.format("E"))
    layout = parser.add_argument_group("layout of the table, where it is not found")
    layout.add_argument(
        "--names", nargs="+", metavar="NAME", help="of all columns, in place of a header"
    )
    layout.add_argument("--delimiter", help="one character, 'tab' or 'blank'")
    layout.add_argument("--sheet", help="of a workbook")
    layout.add_argument(
        "--line", nargs="+", metavar="LINE", help="of the survey, from Geosoft XYZ or a column line"
    )


def length_unit(options: Namespace) -> str:
    """Return the unit of lengths in options and written tables."""
    return str(options.length_unit or "m")


def elevation_unit(options: Namespace) -> str:
    """Return the unit of elevations, which is often not that of distances."""
    return str(options.elevation_unit or length_unit(options))


def gravity_unit(options: Namespace) -> str:
    """Return the unit of gravity in options and written tables."""
    return str(options.gravity_unit or "mGal")


def data_unit(component: str, options: Namespace) -> tuple[str, float]:
    """Return the unit of a component in options and written tables, and its size in mGal or E."""
    if component_unit(component) == "mGal":
        unit = gravity_unit(options)
        return unit, GRAVITIES[unit]
    unit = str(options.gradient_unit or "E")
    return unit, GRADIENTS[unit]


#: Kinds of pictures that matplotlib writes; it adds one of its own to other names.
PICTURES = (".png", ".pdf", ".svg", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".eps", ".ps")


def check_output(path: Path | None, *suffixes: str, option: str = "--out") -> None:
    """Raise an error before the work, instead of after it, if a file cannot be written there."""
    if path is None:
        return
    if suffixes and path.suffix not in suffixes:
        kinds = " or ".join(f"'{suffix}'" for suffix in suffixes)
        raise ValueError(f"{option} is '{path}'; end its name in {kinds}, the kind of file it is.")
    checked_path(path)


def finite(text: str) -> float:
    """Convert the text of an option to a finite number."""
    value = float(text)
    if not -float("inf") < value < float("inf"):
        raise ArgumentTypeError(f"{text} is not a finite number")
    return value


def positive(text: str) -> float:
    """Convert the text of an option to a positive number."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise ArgumentTypeError(f"{text} is not a positive number")
    return value


def read_places(path: Path, options: Namespace) -> Survey:
    """Return the stations of a table, without data."""
    return _survey(_table(path, options), options, {}, None)[0]


def read_profile(options: Namespace, noise: float | list[float] | None = None) -> Profile:
    """Read a profile or an area; `noise` is its standard deviation, in place of --sigma."""
    if noise is not None and options.sigma is not None:
        raise ValueError("--noise and --sigma are both given; give one of them.")
    table = _table(options.profile, options)
    names = {c: getattr(options, f"g{c}") for c in ("x", "y", "z", *GRADIENT_COMPONENTS)}
    if not any(names.values()):
        names["z"] = "gz"
    components = {component: name for component, name in names.items() if name is not None}
    sigma: Any = options.sigma if noise is None else noise
    if isinstance(sigma, list):
        if len(sigma) != len(components):
            raise ValueError(
                f"{'--sigma' if noise is None else '--noise'} has {len(sigma)} values for the "
                f"components {', '.join(f'g{c}' for c in components)}; give one for each."
            )
        sigma = dict(zip(components, sigma, strict=True))
    survey, g = _survey(table, options, components, sigma)
    if survey.ndim == 2:
        _refuse_area(table, options)
    for component, profile in zip(survey.components, survey.unflatten(g), strict=True):
        largest = np.abs(profile).max()
        if component_unit(component) == "mGal" and largest > _LARGEST_ANOMALY:
            raise ValueError(
                f"g{component} reaches {largest:g} mGal: absolute gravity, or in another unit. "
                "Reduce it to an anomaly, or name the --gravity-unit."
            )
        if not largest:
            raise ValueError(
                f"{table.path} has g{component} = 0 at all stations: there is nothing to invert. "
                "Check which column is named."
            )
    trend = TRENDS[options.trend or "none"]
    if survey.ndim == 3:
        survey = Survey(survey.stations, survey.components, survey.uncertainty, trend)
        return Profile(survey, g)
    along = np.argsort(survey.stations[:, 1], kind="stable")
    g = survey.unflatten(g)[:, along].ravel()
    sigma = survey.uncertainty
    if sigma is not None:
        sigma = survey.unflatten(sigma)[:, along].ravel()
    return Profile(Survey(survey.stations[along], survey.components, sigma, trend), g)


def _refuse_area(table: Table, options: Namespace) -> None:
    """Raise ValueError if stations taken for a profile have a northing that varies."""
    northing = _NORTHINGS.get(options.x.casefold())
    if northing is None or not table.has(northing):
        return
    x, y = (table.numbers(name, "--x") for name in (options.x, northing))
    across = float(np.nanmax(y) - np.nanmin(y))
    if across > _SHARE_ACROSS * float(np.nanmax(x) - np.nanmin(x)):
        raise ValueError(
            f"{table.path} has '{northing}' from {np.nanmin(y):.7g} to {np.nanmax(y):.7g} beside "
            f"'{options.x}' from {np.nanmin(x):.7g} to {np.nanmax(x):.7g}. For a model below an "
            f"area, give --y {northing}. For a profile, name the distance along it by --x, as "
            "skgrav.project_onto_line finds it."
        )


def _table(path: Path, options: Namespace) -> Table:
    layout = {name: getattr(options, name) for name in ("names", "delimiter", "sheet", "line")}
    return open_table(path, partial(_spelled, error=_error(options)), **layout)


def _survey(
    table: Table, options: Namespace, components: dict[str, str], sigma: Any
) -> tuple[Survey, Any]:
    """Return the survey of a table and its data."""
    units = {name: getattr(options, name) for name in _UNITS}
    # Lengths among the options are in the unit of the table, which may state it by itself.
    names = ("x", "elevation", "depth", "cell", "top")
    lengths = {name: getattr(options, name, None) for name in names}
    lengths = {name: length for name, length in lengths.items() if length is not None}
    table.length_sizes(lengths, units["length_unit"], units["elevation_unit"])
    places = {"x": options.x, "y": options.y} | upward(options.elevation, options.height)
    positive = getattr(options, "positive", "down")
    return stations_of(table, places, components, sigma, positive, units)[1:]


def _error(options: Namespace) -> str:
    """Return the option of the noise."""
    return "--noise" if getattr(options, "sigma", None) is None else "--sigma"


def spelled(text: str, options: Namespace) -> str:
    """Return a message with the options of the command in place of arguments in Python."""
    table = getattr(options, "profile", None) or getattr(options, "stations", None)
    if text.startswith("--") or (table is not None and str(table) in text):
        return text  # what it quotes are columns
    for words, others in _OTHER_WORDS.items():
        text = text.replace(words, others)
    names = {name: f"--{name.replace('_', '-')}" for name in _ARGUMENTS}
    names |= dict.fromkeys(("noise_level", "uncertainty"), _error(options))
    return re.sub(r"'(\w+)'", lambda found: names.get(found[1], found[0]), text)


def _spelled(name: str, error: str) -> str:
    """Return the option of an argument of `skgrav.io.read_stations`, `error` that of its noise."""
    if name.startswith("uncertainty"):
        return error
    return f"--{name.replace('_', '-')}"


def write_profile(path: Path, survey: Survey, g: Array, options: Namespace) -> None:
    """Write gravity in mGal and gradients in Eotvos to a table, in the units of the options."""
    length = length_unit(options)
    z, *horizontal = survey.stations.T
    columns = dict(zip(AXES[survey.ndim][:0:-1], horizontal[::-1], strict=True))
    columns["elevation"] = 0.0 - z  # never -0
    table = {f"{name}_{length}": c / LENGTHS[length] for name, c in columns.items()}
    for component, values in zip(survey.components, survey.unflatten(g), strict=True):
        unit, size = data_unit(component, options)
        table[f"g{component}_{unit}"] = values / size
    header, values = ",".join(table), np.column_stack(list(table.values()))
    np.savetxt(checked_path(path), values, "%.10g", ",", header=header, comments="")
