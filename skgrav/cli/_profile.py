"""Gravity profiles in text tables, their columns and units named by options."""

from __future__ import annotations

import csv
import re
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skgrav.geometry import Survey

Array = NDArray[np.float64]

#: Metres, and mGal, in one unit of each name.
LENGTHS = {"m": 1.0, "km": 1e3}
GRAVITIES = {"mGal": 1.0, "uGal": 1e-3, "um/s2": 0.1, "m/s2": 1e5}

#: Gravity beyond this is no anomaly, but absolute, or in another unit.
_LARGEST_ANOMALY = 2000.0

#: A unit in a column's name, as in ``x_km``, ``gz [mGal]`` or ``gz(um/s2)``.
_UNIT = re.compile(r"(?:_|\[|\(| )\s*(km|m|mGal|uGal|µGal|um/s2|m/s2)\s*[\])]?$", re.IGNORECASE)


@dataclass(frozen=True)
class Profile:
    """Gravity along a line, in metres and mGal, component-major."""

    survey: Survey
    data: Array


def add_options(parser: ArgumentParser) -> None:
    """Add the options that name columns and units."""
    parser.add_argument("profile", type=Path, help="table with a header: comma, semicolon or tab")
    add_station_options(parser)
    columns = parser.add_argument_group("columns of data")
    columns.add_argument("--gz", default="gz", metavar="COLUMN", help="positive down (default: gz)")
    columns.add_argument("--gx", metavar="COLUMN", help="horizontal component, if measured")
    columns.add_argument("--sigma", metavar="COLUMN", help="standard deviation of each datum")
    parser.add_argument(
        "--remove",
        choices=["nothing", "mean", "trend"],
        default="nothing",
        help="level or regional trend to take from the data first (default: nothing)",
    )


def add_station_options(parser: ArgumentParser) -> None:
    """Add the options that tell where stations are, and in which units."""
    columns = parser.add_argument_group("columns of stations")
    columns.add_argument("--x", default="x", metavar="COLUMN", help="distance (default: x)")
    height = columns.add_mutually_exclusive_group()
    height.add_argument("--elevation", metavar="COLUMN", help="positive up")
    height.add_argument("--height", type=float, default=0.0, help="of all of them (default: 0)")
    units = parser.add_argument_group("units")
    units.add_argument("--length-unit", choices=LENGTHS, default="m", help="(default: m)")
    units.add_argument("--gravity-unit", choices=GRAVITIES, default="mGal", help="(default: mGal)")


def read_stations(path: Path, options: Namespace) -> Array:
    """Return stations (z, x) in metres."""
    names = {"--x": options.x} | ({"--elevation": options.elevation} if options.elevation else {})
    table = _read(path, names)
    for option, column in names.items():
        _check_unit(option, column, "--length-unit", options.length_unit)
    length = LENGTHS[options.length_unit]
    up = table.get("--elevation", options.height)
    return length * np.column_stack(np.broadcast_arrays(np.negative(up), table["--x"]))


def read_profile(options: Namespace, noise: float | None) -> Profile:
    """Read a profile; `noise` is the standard deviation in mGal where no column tells it."""
    stations = read_stations(options.profile, options)
    if not (np.diff(stations[:, 1]) > 0).all():
        raise ValueError(f"column '{options.x}' of {options.profile} does not increase. Sort it.")
    names = {"--gx": options.gx, "--gz": options.gz, "--sigma": options.sigma}
    names = {option: column for option, column in names.items() if column is not None}
    table = _read(options.profile, names)
    for option, column in names.items():
        _check_unit(option, column, "--gravity-unit", options.gravity_unit)
    unit = GRAVITIES[options.gravity_unit]
    components = [c for c in "xz" if f"--g{c}" in table]
    profiles = [unit * table[f"--g{c}"] for c in components]
    for component, g in zip(components, profiles, strict=True):
        if np.abs(g).max() > _LARGEST_ANOMALY:
            raise ValueError(
                f"g{component} reaches {np.abs(g).max():g} mGal: absolute gravity, or not in "
                f"{options.gravity_unit}. Reduce it to an anomaly, or name the --gravity-unit."
            )
    degree = {"nothing": None, "mean": 0, "trend": 1}[options.remove]
    if degree is not None:
        profiles = [
            g - np.polynomial.Polynomial.fit(stations[:, 1], g, degree)(stations[:, 1])
            for g in profiles
        ]
    sigma = noise if "--sigma" not in table else np.tile(unit * table["--sigma"], len(components))
    return Profile(Survey(stations, components, sigma), np.concatenate(profiles))


def write_profile(path: Path, survey: Survey, g: Array, length_unit: str, unit: str) -> None:
    """Write gravity in mGal to a table, in the units named."""
    columns = {"x": survey.stations[:, 1], "elevation": -survey.stations[:, 0]}
    table = {f"{name}_{length_unit}": c / LENGTHS[length_unit] for name, c in columns.items()}
    for component, values in zip(survey.components, survey.unflatten(g), strict=True):
        table[f"g{component}_{unit}"] = values / GRAVITIES[unit]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        writer.writerows([f"{v:.10g}" for v in row] for row in zip(*table.values(), strict=True))


def _read(path: Path, wanted: dict[str, str]) -> dict[str, Array]:
    """Return the columns that options name, by option."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        header = file.readline()
        delimiter = max(",;\t", key=header.count)
        file.seek(0)
        rows = list(csv.reader(file, delimiter=delimiter, skipinitialspace=True))
    names = [name.strip() for name in rows[0]] if rows else []
    columns = {}
    for option, name in wanted.items():
        if name not in names:
            raise ValueError(f"{path} has the columns {names}, not '{name}'. Name it by {option}.")
        place = names.index(name)
        values = []
        for line, row in enumerate(rows[1:], start=2):
            if not any(cell.strip() for cell in row):
                continue
            try:
                values.append(float(row[place]))
            except (IndexError, ValueError):
                cell = row[place] if place < len(row) else ""
                raise ValueError(
                    f"{path}, line {line}: '{cell}' in column '{name}' is no number. Correct it "
                    "or drop the line."
                ) from None
        columns[option] = np.array(values)
        if not values or not np.isfinite(values).all():
            raise ValueError(f"column '{name}' of {path} is empty, or holds NaN or infinity.")
    return columns


def _check_unit(option: str, column: str, name: str, unit: str) -> None:
    found = _UNIT.search(column)
    if found and found[1].lower().replace("µ", "u") != unit.lower():
        raise ValueError(f"{option} '{column}' says {found[1]}, but {name} is {unit}.")
