"""Density sections below a profile and models below an area: mesh, files and pictures."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

import skgrav
from skgrav._checks import import_optional
from skgrav._typing import Array, Mask
from skgrav.cli._profile import (
    LENGTHS,
    Profile,
    elevation_unit,
    finite,
    length_unit,
    positive,
    spelled,
)
from skgrav.geometry import AXES, Mesh, Survey, core_of, cut_to
from skgrav.io import checked_path, read_topography, write_ubc_mesh, write_ubc_model
from skgrav.noise import Trend
from skgrav.operators import ForwardOperator

#: Growth from one column of padding to the next.
_GROWTH = 1.3

#: Density of inactive cells in files of UBC-GIF, in g/cm3.
_AIR = -100.0


@dataclass(frozen=True)
class Section:
    """Density below a profile, in kg/m3, and its fit to the data, in mGal and Eotvos."""

    inverter: Any
    operator: ForwardOperator
    profile: Profile
    rho: Array
    #: Gravity of the density, and the trend of the data, if there is one.
    predicted: Array
    trend: Trend | None
    #: None if the noise is not known.
    chi_factor: float | None
    #: What `invert` of the inverter returned, if it has it.
    result: Any = None

    @property
    def residual(self) -> Array:
        """Data less predicted gravity and trend."""
        left = self.profile.data - self.predicted
        return left if self.trend is None else left - self.trend.values[0]


def add_mesh_options(parser: ArgumentParser) -> None:
    """Add the options of the mesh."""
    mesh = parser.add_argument_group("mesh; a network has that of its training")
    mesh.add_argument(
        "--cells",
        nargs=2,
        type=int,
        metavar=("NZ", "NX"),
        help="below a profile; columns of padding are added (default: as wide as stations are "
        "apart, and layers that thicken from half of it)",
    )
    mesh.add_argument(
        "--cell",
        type=positive,
        help="width of the columns, in --length-unit (default: that of the stations)",
    )
    mesh.add_argument("--depth", type=positive, help="in --length-unit (default: half the length)")
    mesh.add_argument(
        "--max-cells",
        type=int,
        help="most cells, above which columns are wider than stations are apart (default: 50000 "
        "below a profile, 250000 below an area)",
    )
    mesh.add_argument(
        "--top",
        type=finite,
        metavar="ELEVATION",
        help="of the ground below airborne or marine data (default: that of the lowest station)",
    )


def check_mesh_options(options: Namespace) -> None:
    """Raise ValueError about options that do not go together."""
    names = ("cells", "cell", "max_cells", "topography", "top")
    given = {name for name in names if getattr(options, name, None) is not None}
    if options.y is not None:
        if "cells" in given:
            raise ValueError("--cells is for profiles: give --cell for the width of the columns.")
        if {"topography", "top"} <= given:
            raise ValueError("--top and --topography are both given; give one of them.")
        return
    if "topography" in given:
        raise ValueError("--topography is for areas: give --y, or leave it out.")
    for other in ("cell", "max_cells"):
        if {other, "cells"} <= given:
            option = other.replace("_", "-")
            raise ValueError(f"--{option} and --cells are both given; give one of them.")


def make_mesh(options: Namespace, survey: Survey) -> Mesh:
    """Return a mesh below a profile or an area."""
    if survey.ndim == 2:
        return profile_mesh(options, survey)
    ground: Any = None if options.topography is None else read_topography(options.topography)
    if options.top is not None:
        ground = -LENGTHS[elevation_unit(options)] * options.top
    return _chosen_mesh(options, survey, ground)


def _chosen_mesh(options: Namespace, survey: Survey, ground: Any) -> Mesh:
    """Return the mesh of `Mesh.for_survey`, and print what it chose."""
    size = LENGTHS[length_unit(options)]
    cell, depth = (None if v is None else size * v for v in (options.cell, options.depth))
    with redirect_stdout(StringIO()) as said:
        mesh = Mesh.for_survey(
            survey, ground, cell=cell, depth=depth, max_cells=options.max_cells, verbose=True
        )
    print(spelled(said.getvalue(), options), end="")
    return mesh


def profile_mesh(options: Namespace, survey: Survey) -> Mesh:
    """Return a mesh of layers that thicken with depth, padded by a profile length on either side.

    Masses beyond the ends contribute to the gravity of the profile. Without padding, they would be
    explained by excess density at the ends. Without --cells, what was chosen is printed.
    """
    z, x = survey.stations.T
    length = float(np.ptp(x))
    if length == 0:
        raise ValueError("the stations of the profile have one position; a section needs more.")
    # No rock lies above a station.
    top = z.max() if options.top is None else -LENGTHS[elevation_unit(options)] * options.top
    if options.cells is None:
        if options.top is None:
            at = f"elevation {0.0 - top:g} m"  # never -0
            print(f"--top is not given: the ground is at the lowest station, {at}")
        return _chosen_mesh(options, survey, top)
    nz, nx = options.cells
    if nz < 1 or nx < 1:
        raise ValueError(f"--cells is {nz} {nx}; give two positive numbers.")
    half = length / (len(x) - 1) / 2
    core = np.linspace(x.min() - half, x.max() + half, nx + 1)
    width = core[1] - core[0]
    n_padding = int(np.ceil(np.log1p(length / width * (1 - 1 / _GROWTH)) / np.log(_GROWTH)))
    padding = np.cumsum(width * _GROWTH ** np.arange(1, n_padding + 1))
    depth = length / 2
    if options.depth is not None:
        depth = LENGTHS[length_unit(options)] * options.depth
    share = np.linspace(0, 1, nz + 1)
    layers = top + depth * (share + share**2) / 2
    return Mesh([layers, np.r_[core[0] - padding[::-1], core, core[-1] + padding]])


def columns_below(mesh: Mesh, x: Array) -> slice:
    """Return the columns below stations at x; all others are padding."""
    half = np.ptp(x) / max(1, len(x) - 1) / 2
    return _within(mesh.centers[1], x, half)


def _within(centers: Array, x: Array, margin: float) -> slice:
    inside = np.flatnonzero((centers > x.min() - margin) & (centers < x.max() + margin))
    if not inside.size:
        return slice(0, len(centers))
    return slice(int(inside[0]), int(inside[-1]) + 1)


def below_profile(mesh: Mesh, x: Array, rho: Array) -> tuple[Mesh, Array]:
    """Return the section without padding."""
    columns = columns_below(mesh, x)
    core = core_below(mesh, columns, mesh.active)
    return core, core.flatten(mesh.unflatten(rho)[..., columns])


def core_below(mesh: Mesh, columns: slice, active: Mask | None = None) -> Mesh:
    """Return some columns of a section, and which cells of the section are active there."""
    edges = mesh.edges[1][columns.start : columns.stop + 1]
    return Mesh([mesh.edges[0], edges], None if active is None else active[:, columns])


def below_survey(mesh: Mesh, stations: Array, rho: Array) -> Array:
    """Return the densities of the active cells below a survey, without padding."""
    if mesh.ndim == 2:
        return below_profile(mesh, stations[:, 1], rho)[1]
    rows, columns = (
        _within(centers, along, 0.0)
        for centers, along in zip(mesh.centers[1:], stations.T[1:], strict=True)
    )
    image = mesh.unflatten(rho)[:, rows, columns]
    return image[np.isfinite(image)]


def read_section(path: Path) -> tuple[Mesh, Array, Array | None, Array | None]:
    """Return mesh and density of a file, and if it has them x of the stations and the fraction."""
    xarray = import_optional("xarray", str(path), "io")
    with path.open("rb") as stream:
        start = stream.read(4)
    if start[:3] != b"CDF" and start[1:] != b"HDF":
        raise ValueError(f"{path} is no netCDF file; give one that `invert` wrote.")
    dataset = xarray.load_dataset(path)
    if "density" not in dataset:
        raise ValueError(f"{path} has the variables {list(dataset)}; 'density' must be among them.")
    mesh = Mesh.from_xarray(dataset["density"])
    x = dataset["station_x"].values if "station_x" in dataset.coords else None
    image = mesh.unflatten(mesh.flatten(dataset["density"]))
    mesh = Mesh(mesh.edges, np.isfinite(image))  # the others are air
    fraction = None
    if "fraction" in dataset:
        values = dataset["fraction"].transpose(*dataset["density"].dims).values
        fraction = mesh.flatten(mesh.whole.unflatten(values.ravel()))
    return mesh, mesh.flatten(image), x, fraction


def write_model(path: Path, section: Section, options: Namespace) -> None:
    """Write densities, to netCDF with the data, to VTK, or in the format of UBC-GIF."""
    mesh, rho = section.operator.mesh_, section.rho
    if path.suffix == ".nc":
        write_section(path, section, options)
        return
    whole, image = mesh.whole, mesh.unflatten(rho).ravel()
    if path.suffix == ".vtr":
        whole.to_pyvista(image).save(checked_path(path))
        return
    write_ubc_model(path, whole, image, inactive=None if mesh.active is None else _AIR)
    write_ubc_mesh(path.with_suffix(".msh"), whole)


def write_section(path: Path, section: Section, options: Namespace) -> None:
    """Write densities, the data as measured, and the options to netCDF."""
    mesh, survey = section.operator.mesh_, section.operator.survey_
    places = Survey(survey.stations, survey.components)
    parts = [survey.to_xarray(section.profile.data)]
    parts.append(_renamed(places.to_xarray(section.predicted), "predicted", "of the density"))
    if section.trend is not None:
        trend = places.to_xarray(section.trend.values[0])
        parts.append(_renamed(trend, "trend", "trend of the data"))
    dataset = mesh.to_xarray(section.rho).to_dataset()
    if section.operator.fraction_ is not None:
        meaning = {"long_name": "mass of the cell relative to that of a full one"}
        dataset["fraction"] = AXES[mesh.ndim], mesh.unflatten(section.operator.fraction_), meaning
    for part in parts:
        dataset.update(part.rename({axis: f"station_{axis}" for axis in AXES[mesh.ndim]}))
    dataset.attrs.update(_attributes(section, options))
    dataset.to_netcdf(checked_path(path))


def _renamed(part: Any, suffix: str, meaning: str) -> Any:
    """Return gravity with a suffix to the names of its variables, and a meaning."""
    for variable in part.values():
        variable.attrs["long_name"] += f", {meaning}"
    return part.rename({name: f"{name}_{suffix}" for name in part})


def _attributes(section: Section, options: Namespace) -> dict[str, Any]:
    """Return the options and the fit of a section as attributes of a netCDF file."""
    from skgrav.reporting import provenance

    given = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in vars(options).items()
        if name not in ("run", "command", "warnings")
    }
    attributes: dict[str, Any] = {
        "source": f"skgrav {skgrav.__version__}",
        "history": options.command,
        **provenance(section.profile.data, [section.operator.survey_], given),
    }
    if section.chi_factor is not None:
        attributes["chi_factor"] = section.chi_factor
    if section.trend is not None:
        attributes["trend_terms"] = ", ".join(section.trend.names)
        attributes["trend_coefficients"] = section.trend.coefficients[0]
        if np.isfinite(section.trend.std).all():
            attributes["trend_std"] = section.trend.std[0]
        attributes["trend_units"] = "mGal per metre from the mean station, to the power of x"
    return attributes


def draw_section(path: Path, section: Section) -> None:
    """Draw data, residuals, and the density below them without padding."""
    from matplotlib.figure import Figure

    from skgrav.plotting import DensityDisplay, GravityDisplay, has_elevations

    operator, predictions = section.operator, {"predicted": section.rho}
    mesh, survey = operator.mesh_, operator.survey_
    core = cut_to(mesh, core_of(mesh, survey.stations))
    z, *_, x = (float(np.ptp(edges)) for edges in core.edges)
    n = len(survey.components)
    below: dict[str, Any] = {"operator": operator, "elevation": has_elevations(mesh)}
    data = section.profile.data
    if mesh.ndim == 3:
        y = float(np.ptp(core.edges[1]))
        # A map is 3 inches wide, a slice and two sections are 10.
        maps = n * (3.0 * np.clip(y / x, 0.4, 2.0) + 0.9)
        sections = np.clip(10.0 * max(y, z) / (2 * x + y), 1.5, 6.0) + 1.2
        figure = Figure(figsize=(13, maps + sections), layout="constrained")
        rows = figure.add_gridspec(2, 1, height_ratios=[maps, sections])
        top, bottom = figure.add_subfigure(rows[0]), figure.add_subfigure(rows[1])
        panels = GravityDisplay.from_predictions(data, predictions, operator=operator, ax=top).axes_
        plan = DensityDisplay.from_predictions(None, section.rho, ax=bottom, **below).axes_[0, 0]
        panels[0, 0].set_ylim(plan.get_ylim())
    else:
        width = 9.0 if n == 1 else 4.2 * n
        height = (width - 2.2) * np.clip(z / x, 0.2, 1.0)
        figure = Figure(figsize=(width, height + 5.6), layout="constrained")
        grid = figure.add_gridspec(3, n, height_ratios=[2.6, 1.3, height])
        lower = [figure.add_subplot(grid[1, k]) for k in range(n)]
        upper = [figure.add_subplot(grid[0, k], sharex=lower[k]) for k in range(n)]
        for panel in upper:
            panel.tick_params(labelbottom=False)
        panels = np.array([upper, lower])
        GravityDisplay.from_predictions(data, predictions, operator=operator, ax=panels)
        plan = figure.add_subplot(grid[2, :])
        DensityDisplay.from_predictions(None, section.rho, ax=plan, **below)
    for panel in panels.flat:
        panel.set_xlim(plan.get_xlim())
    figure.savefig(checked_path(path), dpi=150)
