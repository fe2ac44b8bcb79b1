"""The commands `invert`, `report` and `train`, from a profile to a section."""

from __future__ import annotations

import time
import warnings
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

import skgrav
from skgrav._typing import Array
from skgrav._warnings import warn
from skgrav.cli._profile import (
    PICTURES,
    TRENDS,
    Profile,
    check_output,
    data_unit,
    read_profile,
)
from skgrav.cli._section import (
    Section,
    below_survey,
    check_mesh_options,
    columns_below,
    core_below,
    draw_section,
    make_mesh,
    write_model,
)
from skgrav.geometry import Survey, component_unit
from skgrav.metrics import chi_factor, residual_trend
from skgrav.noise import Noise, Trend, trend_texts
from skgrav.operators import ForwardOperator

#: Chi factor above which an estimate misses the data: residuals of twice the noise.
_MISSED = 4.0

#: Seconds of an inversion from which on it is said that a report takes many times longer.
_LONG = 30.0

#: Number of sections from which `--refine bayes` learns the errors of a network.
_N_HELD_OUT = 1000


def train(options: Namespace) -> None:
    """Train a network for the stations of a profile."""
    check_output(options.out, ".safetensors")
    if options.y is not None:
        raise ValueError("--y is for areas; networks are trained for profiles. Leave it out.")
    check_mesh_options(options)
    survey = read_profile(options).survey
    operator = ForwardOperator(make_mesh(options, survey), survey).fit()
    rho = _training_sections(
        options.sections, operator, tuple(options.densities), random_state=options.seed
    )
    model = skgrav.CNNInverter(
        operator=operator,
        max_epochs=options.epochs,
        training_noise=tuple(options.training_noise),
        random_state=options.seed,
        verbose=1,
    )
    model.fit(operator.transform(rho), rho).save(options.out)
    print(f"{options.out}: {operator.mesh_}, {operator.survey_}")


def _training_sections(
    n_sections: int,
    operator: ForwardOperator,
    density_range: tuple[float, float],
    random_state: int,
) -> Array:
    """Return random sections below the profile, whose outer columns extend into the padding."""
    from skgrav.datasets import make_density_models

    mesh = operator.mesh_
    columns = columns_below(mesh, operator.survey_.stations[:, 1])
    core = core_below(mesh, columns)
    rho = make_density_models(
        n_sections, mesh=core, density_range=density_range, random_state=random_state
    )
    beyond = columns.start, mesh.shape[1] - columns.stop
    images = np.pad(core.unflatten(rho), ((0, 0), (0, 0), beyond), mode="edge")
    return mesh.flatten(images)  # without the air of a mesh that a model brings


def invert(options: Namespace) -> None:
    """Invert a profile or an area, and write and draw the density."""
    check_output(options.out, *([".nc"] if options.y is None else [".nc", ".vtr", ".den"]))
    check_output(options.plot, *PICTURES, option="--plot")
    check_output(options.report, ".html", ".md", option="--report")
    if options.quick and options.report is None:
        raise ValueError("--quick is for reports: give --report, or leave it out.")
    section, seconds = _inverted(options)
    write_model(options.out, section, options)
    print(f"{options.out}: {_summary(section)}")
    if options.plot is not None:
        draw_section(options.plot, section)
    if options.report is not None:
        _report(options.report, section, options, seconds)


def write_report(options: Namespace) -> None:
    """Invert a profile or an area, and write the report."""
    check_output(options.out, ".html", ".md")
    section, seconds = _inverted(options)
    _report(options.out, section, options, seconds)
    print(f"{options.out}: {_summary(section)}")


def _inverted(options: Namespace) -> tuple[Section, float]:
    """Return the inverted section, and the seconds that it took."""
    check_mesh_options(options)
    profile = read_profile(options, options.noise)
    start = time.perf_counter()
    method = _smoothest if options.model == "tikhonov" else _estimated
    return method(options, profile), time.perf_counter() - start


def _report(path: Path, section: Section, options: Namespace, seconds: float) -> None:
    """Write the report of an inversion that took some seconds."""
    if seconds > _LONG and not options.quick:
        print(
            f"{path}: standard deviations, draws, depth of investigation and the curve of alpha "
            f"may take about ten times the {seconds:.0f} s of the inversion; --quick leaves "
            "them out",
            flush=True,
        )
    notes = {"command": options.command}
    if options.refine is not None:
        notes["refining"] = (
            f"by {options.refine}, which fits the estimate of the method to the data"
        )
    skgrav.report(
        section.inverter,
        section.profile.data[None],
        operator=section.operator,
        estimate=section.rho if section.result is None else section.result,
        # After refining it would be that of the network alone.
        uncertainty=options.refine is None and not options.quick,
        title=f"Inversion of {options.profile.name}",
        notes=notes,
        warnings=options.warnings,
    ).save(path)


def _summary(section: Section) -> str:
    """Return the text of densities, misfit and trend."""
    survey = section.operator.survey_
    rho = below_survey(section.operator.mesh_, survey.stations, section.rho)
    squares = dict.fromkeys(map(component_unit, survey.components), np.empty(0))
    for component, left in zip(survey.components, survey.unflatten(section.residual), strict=True):
        unit = component_unit(component)
        squares[unit] = np.append(squares[unit], left**2)
    residuals = " and ".join(f"{np.sqrt(s.mean()):.3g} {unit}" for unit, s in squares.items())
    low, high = rho.min() + 0.0, rho.max() + 0.0  # never -0
    parts = [f"density {low:.4g} to {high:.4g} kg/m3 below the stations", f"residual {residuals}"]
    if section.chi_factor is not None:
        parts.append(f"chi factor {section.chi_factor:.2f}")
    if section.trend is not None:
        parts += [f"trend {text}" for text in trend_texts(section.trend, sign="+-")]
    return ", ".join(parts)


def _smoothest(options: Namespace, profile: Profile) -> Section:
    """Return the smoothest section that fits the data to their noise."""
    if options.refine is not None:
        raise ValueError(
            f"--refine is {options.refine}, but 'tikhonov' fits the data without it. Leave it out."
        )
    survey = profile.survey
    units = {component_unit(component) for component in survey.components}
    if survey.uncertainty is None and len(units) > 1:
        raise ValueError(
            f"the noise of the components {', '.join(survey.components)}, in mGal and E, is not "
            "given: give one --noise or --sigma for each."
        )
    operator = ForwardOperator(make_mesh(options, survey), survey)
    inverter = skgrav.TikhonovInverter(
        order=1,
        depth_weighting="sensitivity",
        bounds=None if options.bounds is None else tuple(options.bounds),
        operator=operator,
    )
    g = profile.data[None]
    with warnings.catch_warnings():
        # The warning of the noise that is assumed says the same, by the options of this command.
        warnings.filterwarnings("ignore", "'alpha' is 'gcv'")
        result = inverter.fit(g).invert(g)
    if survey.uncertainty is None:
        _warn_assumed(options, survey.components[0], float(result.sigma[0]))
    section = _section(inverter, inverter.operator_, profile, result.rho, result.trend)
    return replace(section, result=result)


def _warn_assumed(options: Namespace, component: str, sigma: float) -> None:
    """Warn of the noise of a component, in mGal or E, that cross-validation assumes."""
    unit, size = data_unit(component, options)
    warn(
        "the noise of the data is not given; generalised cross-validation assumes "
        f"{sigma / size:.2g} {unit}, too little for smoothed or gridded data. The noise "
        "determines the resolution: give it by --noise, or its column by --sigma."
    )


def _estimated(options: Namespace, profile: Profile) -> Section:
    """Return the section estimated by a trained network, with --refine fitted to the data."""
    model, operator = _trained(options, profile)
    g = profile.data[None]
    level = Noise.of(operator).relative(g)
    if options.refine is not None:
        rho = _refined(options.refine, model, operator, g, level)
        return _section(model, operator, profile, rho)
    section = _section(model, operator, profile, model.predict(g, noise_level=level))
    if section.chi_factor is not None and section.chi_factor > _MISSED:
        warn(
            f"the estimate of {options.model} misses the data, with a chi factor of "
            f"{section.chi_factor:.3g}: a network fits data only roughly. Fit its estimate to "
            "the data by --refine projection, or train on more sections of similar densities."
        )
    return section


def _trained(options: Namespace, profile: Profile) -> tuple[Any, ForwardOperator]:
    """Return a network that was trained for these stations, and an operator with their noise."""
    if options.y is not None:
        raise ValueError("--model is a network, which is trained for profiles. Leave out --y.")
    if options.bounds is not None:
        raise ValueError("--bounds is for --model tikhonov; a network has no bounds. Leave it out.")
    names = ("cells", "cell", "max_cells", "depth", "top")
    given = [f"--{n.replace('_', '-')}" for n in names if getattr(options, n) is not None]
    if given:
        raise ValueError(
            f"{' and '.join(given)} would change the mesh, but {options.model} estimates densities "
            "of the mesh that it was trained with. Leave them out, or train a model with them."
        )
    model = skgrav.CNNInverter.load(options.model)
    operator, own = getattr(model, "operator_", None), profile.survey
    survey = getattr(operator, "survey_", None)
    if operator is None or survey is None or operator.units != "mGal":
        raise ValueError(f"{options.model} was not trained in metres and mGal. Train it anew.")
    if differences := _differences(survey, own):
        raise ValueError(
            f"{options.model} was trained for {differences[0]}, but {options.profile} has "
            f"{differences[1]}. Train a model for this profile."
        )
    names = {degree: name for name, degree in TRENDS.items()}
    is_basis = isinstance(survey.trend, np.ndarray)
    trained = "a basis" if is_basis else names[survey.trend]
    if options.trend not in (None, trained):
        raise ValueError(
            f"--trend is {options.trend}, but that of {options.model} is {trained}. Leave it out, "
            "or train a model with it."
        )
    sigma = survey.uncertainty if own.uncertainty is None else own.uncertainty
    survey = Survey(survey.stations, survey.components, sigma, survey.trend)
    # With the kernel and the fraction of the cells for which the network was trained.
    own_operator = clone(operator).set_params(mesh=operator.mesh_, survey=survey)
    return model, own_operator.set_params(fraction=operator.fraction_).fit()


def _differences(survey: Survey, other: Survey) -> list[str]:
    """Return in what stations or components two surveys differ, once for each; empty if in none."""
    both = survey, other
    if survey.n_stations != other.n_stations:
        return [f"{s.n_stations} stations" for s in both]
    if survey.components != other.components:
        return [", ".join(f"g{c}" for c in s.components) for s in both]
    distance = np.abs(survey.stations - other.stations)
    i, axis = np.unravel_index(np.argmax(distance), distance.shape)
    if distance[i, axis] <= 1e-3:
        return []
    name, sign = ("x", 1.0) if axis else ("elevation", -1.0)
    return [f"station {i} at {name} {sign * s.stations[i, axis] + 0.0:.8g} m" for s in both]


def _refined(
    solver: str, model: Any, operator: ForwardOperator, g: Array, level: float | None
) -> Array:
    """Return the estimate of a network, fitted to the data by a Refiner."""
    from skgrav.solvers import SOLVERS

    allowed = [*SOLVERS, "bayes"]
    if solver not in allowed:
        raise ValueError(f"--refine is '{solver}'; allowed are {', '.join(allowed)}.")
    if level is None:
        raise ValueError("--refine fits the data to their noise: give --noise or --sigma.")
    if solver == "bayes":
        # Errors are learned at the relative noise of the profile, since sections vary in size.
        refiner = skgrav.Refiner(
            solver,
            init=FrozenEstimator(model),
            operator=operator,
            noise_level=level,
            cv="prefit",
            random_state=0,
        )
        # Another seed draws sections that the network has not seen.
        seed = model.random_state + 1 if isinstance(model.random_state, int) else 0
        held_out = _training_sections(
            _N_HELD_OUT, operator, model.density_range_, random_state=seed
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of random sections, not of the profile
            refiner.fit(operator.transform(held_out), held_out)
        return refiner.predict(g, noise_level=level)
    rho = model.predict(g, noise_level=level)
    # Solvers do not learn from pairs, so the estimate and its gravity serve as one.
    refiner = skgrav.Refiner(solver, operator=operator)
    refiner.fit(np.hstack([rho, operator.transform(rho)]), rho)
    return refiner.predict(np.hstack([rho, g]))


def _section(
    inverter: Any,
    operator: ForwardOperator,
    profile: Profile,
    rho: Array,
    trend: Trend | None = None,
) -> Section:
    """Return a section with its gravity, its trend and its chi factor."""
    g, survey = profile.data[None], operator.survey_
    if survey.trend is None:
        trend = None
    elif trend is None:
        trend = residual_trend(operator, rho, g)
        # The standard deviations would hold only for an exact density.
        trend = replace(trend, std=np.full_like(trend.std, np.nan))
    chi = None if survey.uncertainty is None else float(chi_factor(operator, rho, g))
    return Section(inverter, operator, profile, rho[0], operator.transform(rho)[0], trend, chi)
