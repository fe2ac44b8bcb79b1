"""What to doubt of an inversion, each doubt with its value and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.special import chdtr, chdtrc

from skgrav._typing import Array
from skgrav.geometry import in_cells
from skgrav.inverters import Refiner, ReliefInverter, rock_range
from skgrav.plotting import parts_of
from skgrav.reporting._case import PRIOR, Case
from skgrav.reporting._statistics import Residuals
from skgrav.solvers import Status

Severity = Literal["problem", "caution", "note"]

#: Chi factors beyond which data are missed badly or at all, and below which noise is fitted, if
#: their probability is below the last number, as it is not for few data.
_MISSED_BADLY, _MISSED, _OVERFITTED, _CHANCE = 4.0, 1.5, 0.5, 1e-4

#: Residual, as a share of the rms of data without noise, beyond which they are missed.
_MISSED_EXACT = 0.01

#: Residual in units of its noise that is no noise, for Gaussian noise of a million data.
_OUTLIER = 5.0

#: Distance of a datum from what the others predict of it, in standard deviations, and its share of
#: all such squares, if these are few.
_UNPREDICTED, _SHARE = 5.5, 0.8

#: Correlation with the next station, at least and in standard deviations of it.
_CORRELATED = 0.3, 4.0

#: Share of the residual's variance in a linear trend, and its probability by chance.
_TREND = 0.1, 1e-3

#: Probabilities of the data among the training data.
_UNLIKE, _UNUSUAL = 0.01, 0.05

#: Share of the mass in cells where the prior outweighs the data.
_UNSEEN = 0.5

#: Share of cells at a bound.
_BOUND = 0.25

#: Mean of data, in their standard deviations, beyond which few anomalies of bodies are.
_LEVEL = 3.0

#: Density, in kg/m3, from which on it is absolute, not a contrast.
_ABSOLUTE = 900.0

#: Size of data, in units of their noise, below which they hold little else.
_LITTLE = 2.0


#: By status, why data are not fitted and what to do.
_UNFITTED = {
    Status.MAX_ITER: ("iterations ran out", "Raise 'max_iter'."),
    Status.OUT_OF_REACH: (
        "no density on the mesh does",
        (
            "Check units, signs and outliers of the data, the place of the mesh below the "
            "stations, a missing trend, and whether the noise is understated."
        ),
    ),
    Status.BOUNDS: (
        "no density within the bounds does",
        (
            "Widen 'bounds', or check the level of the data: a contrast that is only positive "
            "cannot fit negative data. A free level is trend=0 of the survey."
        ),
    ),
}


@dataclass(frozen=True)
class Finding:
    """A reason to doubt an inversion.

    Parameters
    ----------
    severity : {"problem", "caution", "note"}
        A problem makes the densities unfit for use, a caution restricts their interpretation, a
        note states an assumption.
    what : str
        What was found.
    value : str
        The number behind it.
    remedy : str
        What to do.

    See Also
    --------
    report : Lists them.

    Examples
    --------
    >>> from skgrav.reporting import Finding
    >>> Finding("caution", "Residuals have a trend.", "40 % of their variance", "Add a trend.")
    Finding(severity='caution', what='Residuals have a trend.', ...)
    """

    severity: Severity
    what: str
    value: str
    remedy: str


def find_noise(case: Case) -> Iterator[Finding]:
    """Find noise that was not stated, and data of little but noise."""
    if case.is_exact:
        yield Finding(
            "note",
            "The data are taken as exact.",
            "noise of 0",
            "Give their noise if they were measured: without it, underfitted data and fitted noise "
            "cannot be distinguished.",
        )
        return
    if case.sigma is None:
        yield Finding(
            "caution",
            "The noise of the data is not known.",
            "none stated",
            "Give the survey an 'uncertainty', or 'noise_level': without it, underfitted data and "
            "fitted noise cannot be distinguished.",
        )
        return
    if not case.noise.is_known:
        unit = f" {case.residuals()[0].unit}"
        yield Finding(
            "caution",
            "The noise was not stated but estimated from the data, with alpha.",
            f"{np.sqrt(np.mean(case.sigma**2)):.3g}{unit} assumed",
            "Give the survey an 'uncertainty' if you know it. The estimate is too small for data "
            "that were smoothed or gridded, and it determines how much detail is shown.",
        )
    size = np.sqrt(np.mean(case.noise.whitening.detrended(case.g[None]) ** 2 / case.sigma**2))
    if size < _LITTLE:
        yield Finding(
            "caution",
            "The data contain little but noise.",
            f"rms of {size:.2g} times the noise",
            "Check that the noise is not overstated. If it is right, the densities are mostly "
            "those of the reference.",
        )


def find_level(case: Case) -> Iterator[Finding]:
    """Find a base level, as of Bouguer anomalies, that contrasts of density have to explain."""
    for r in _with_level(case):
        mean, std = float(r.data.mean()), float(r.data.std())
        if abs(mean) > _LEVEL * std:
            yield Finding(
                "caution",
                "The mean of the data is large compared to their variation, and contrasts of "
                "density have to explain it.",
                f"mean {mean:.3g} mGal, standard deviation {std:.3g} mGal",
                "If it is a base level, or of sources deeper or wider than the mesh, as in Bouguer "
                "anomalies of a region, give the survey trend=0, or trend=1 for a gradient.",
            )


def _with_level(case: Case) -> list[Residuals]:
    """Return the data whose level contrasts of density have to explain."""
    if case.trend is not None or case.rho.min() > _ABSOLUTE:
        return []
    return [r for r in case.residuals() if r.name.endswith("gz") and r.unit == "mGal"]


def find_fit(case: Case) -> Iterator[Finding]:
    """Find data that are missed, or fitted to less than their noise."""
    chi = case.chi_factor
    status = getattr(case.result, "status", np.zeros(1, dtype=int))[0]
    value = "chi factor not known" if chi is None else f"chi factor {chi:.3g}, requested 1"
    if status != Status.REACHED:
        reason, remedy = _UNFITTED[Status(status)]
        what = f"The estimate does not fit the data as requested: {reason}."
        yield Finding("problem", what, value, remedy)
        return
    if case.is_exact:
        residual, data = (case.noise.rms(g[None])[0] for g in (case.g - case.predicted, case.g))
        if residual > _MISSED_EXACT * data:
            yield Finding(
                "caution",
                "The estimate misses the data.",
                f"residual of {100 * residual / data:.2g} % of their rms, noise of 0",
                "Fit the estimate to the data by a Refiner, or state the noise that they have.",
            )
        return
    if chi is None:
        return
    n = case.noise.whitening.n_white
    value = f"chi factor {chi:.3g}; 1 fits the data to their noise"
    if _is_missed(chi, n):
        yield Finding(
            "problem" if chi > _MISSED_BADLY else "caution",
            "The estimate misses the data.",
            value,
            "See where the residuals are large. Fit a network's estimate to the data by a Refiner; "
            "otherwise check units, outliers and the stated noise, or add a trend.",
        )
    elif _is_overfitted(chi, n):
        if not _is_largest(case):
            yield Finding(
                "caution",
                "The data are fitted better than their noise allows: noise was fitted.",
                value,
                f"State less noise if that is right, or {_less_fitted(case)}.",
            )
    else:
        yield from _find_unequal_fit(case)


def _find_unequal_fit(case: Case) -> Iterator[Finding]:
    """Find components of which some are missed, or fitted to less than their noise."""
    parts = case.residuals()
    missed = [r for r in parts if _is_missed(r.chi_factor, r.n_free)]
    over = [r for r in parts if _is_overfitted(r.chi_factor, r.n_free)]
    if len(parts) == 1 or not (missed or (over and not _is_largest(case))):
        return
    low = min(over or parts, key=lambda r: r.chi_factor)
    high = max(missed or parts, key=lambda r: r.chi_factor)
    said = [f"{low.name} is fitted better than its noise allows"] * bool(over)
    said += [f"{high.name} is missed"] * bool(missed)
    yield Finding(
        "caution",
        f"All data together are fitted to their noise, but {' and '.join(said)}.",
        f"chi factor {low.chi_factor:.3g} of {low.name}, {high.chi_factor:.3g} of {high.name}; 1 "
        "fits data to their noise",
        f"Check the noise of {low.name} and of {high.name} relative to each other: it determines "
        "how closely each is fitted.",
    )


def _is_missed(chi: float, n: float) -> bool:
    """Return whether a chi factor of n degrees of freedom is too large, and not by chance."""
    return bool(chi > _MISSED and chdtrc(n, n * chi) < _CHANCE)


def _is_overfitted(chi: float, n: float) -> bool:
    """Return whether a chi factor of n degrees of freedom is too small, and not by chance."""
    return bool(chi < _OVERFITTED and chdtr(n, n * chi) < _CHANCE)


def _less_fitted(case: Case) -> str:
    """Return what leaves the noise of the data as their residual."""
    for part in reversed([*parts_of(case.estimator)]):
        if hasattr(getattr(part, "solver_", part), "alpha"):
            return "take alpha='discrepancy' or a larger alpha"
        if isinstance(part, Refiner):
            return "take Refiner('tikhonov'), which leaves it as the residual"
    return "fit an inverter with alpha='discrepancy', such as TikhonovInverter"


def _is_largest(case: Case) -> bool:
    """Return whether alpha is the largest that leaves no more than the noise in any part."""
    has_alpha = getattr(case.result, "alpha", None) is not None
    is_joint = case.criterion == "discrepancy" and len(case.parts) > 1
    return _is_reference(case) or (has_alpha and is_joint)


def _is_reference(case: Case) -> bool:
    """Return whether the reference fits the data, so that it is the estimate."""
    alpha = getattr(case.result, "alpha", None)
    return alpha is not None and bool(np.isinf(alpha[0]))


def find_alpha(case: Case) -> Iterator[Finding]:
    """Find an alpha at an end of its range."""
    alpha = getattr(case.result, "alpha", None)
    if alpha is None:
        return
    if _is_reference(case):
        yield Finding(
            "caution",
            "The reference already fits the data: alpha is infinite.",
            "no density was needed",
            "State a smaller noise if the anomaly is more than noise, and check its trend: one "
            "that is too flexible explains the anomaly.",
        )
    elif case.curve is not None:
        known = np.isfinite(case.curve.misfit[:, 0])
        alphas = case.curve.alpha[known, 0]
        at = [end for end, which in (("lower", 0), ("upper", -1)) if _near(alpha[0], alphas[which])]
        if at and case.criterion is not None:
            yield Finding(
                "caution",
                f"Alpha is at the {at[0]} end of its range: the data do not determine it.",
                f"alpha {alpha[0]:.3g}, range {alphas[0]:.3g} to {alphas[-1]:.3g}",
                "State the noise and take alpha='discrepancy', or give a number.",
            )


def _near(alpha: float, end: float) -> bool:
    return bool(abs(np.log(alpha / end)) < np.log(1.5))


def find_density(case: Case) -> Iterator[Finding]:
    """Find densities that no rock has."""
    if _no_rock(case.rho, case):
        low, high = float(case.rho.min()), float(case.rho.max())
        yield Finding(
            "problem",
            "Densities are outside the range of rocks.",
            f"{low:.4g} to {high:.4g} kg/m³",
            "Check the units of data, stations and mesh, the noise, and whether the mesh lies "
            "below the stations and reaches beyond the sources; or give 'bounds'.",
        )
    elif case.draws is not None and _no_rock(case.draws, case):
        low, high = float(case.draws.min()), float(case.draws.max())
        yield Finding(
            "caution",
            "Draws have densities outside the range of rocks: the prior varies more than geology.",
            f"{low:.4g} to {high:.4g} kg/m³",
            "Do not interpret draws and standard deviations: they are those of the model "
            "norm. Give 'bounds' or a smoother norm, or an inverter that is trained on sections.",
        )


def _bounds(case: Case) -> Any:
    """Return the bounds of the densities, None without any."""
    part = case.part_with("bounds")
    # Those of an interface are depths, and a target that is transformed has other units.
    other = isinstance(part, ReliefInverter) or case.part_with("regressor_") is not None
    return None if other else getattr(part, "bounds", None)


def find_bounds(case: Case) -> Iterator[Finding]:
    """Find many densities at a bound."""
    bounds = _bounds(case)
    if bounds is None:
        return
    at = np.zeros(case.rho.shape, dtype=bool)
    lowest, highest = (np.broadcast_to(b, at.shape) for b in bounds)
    free, room = lowest < highest, 1e-6 * np.maximum(np.abs(case.rho), 1.0)
    at = free & ((case.rho <= lowest + room) | (case.rho >= highest - room))
    moved = at & (np.abs(case.rho) > room)
    share = moved.sum() / max(1, free.sum())
    if share > _BOUND:
        yield Finding(
            "caution",
            "Many cells are at a bound, which determines their density instead of the data.",
            f"{100 * share:.0f} % of the cells",
            "Check 'bounds' against measured densities, and compare an estimate without them.",
        )


def _no_rock(rho: Array, case: Case) -> bool:
    rocks = rock_range(case.operator)
    return rocks is not None and bool(((rho < rocks[0]) | (rho > rocks[1])).any())


def find_padding(case: Case) -> Iterator[Finding]:
    """Find density piled up in the padding."""
    core = case.core
    if case.mesh is None or core.all():
        return
    departure = np.abs(case.rho - np.median(case.rho))
    beside, below = float(departure[~core].max()), float(departure[core].max())
    if beside > below > 0:
        yield Finding(
            "caution",
            "The largest densities lie in the padding, where there are no stations.",
            f"contrast {beside:.3g} beside the core, {below:.3g} below the stations",
            "Sources beside the survey, or a regional field, are mapped into the padding: give the "
            "survey a trend, or extend the core. Do not interpret what lies there.",
        )


def find_stations(case: Case) -> Iterator[Finding]:
    """Find stations inside cells, and off the mesh."""
    mesh, stations = case.mesh, case.stations
    if mesh is None or stations is None:
        return
    off = np.zeros(len(stations), dtype=bool)
    for edges, along in zip(mesh.edges[1:], stations.T[1:], strict=True):
        off |= (along < edges[0]) | (along > edges[-1])
    if off.any():
        yield Finding(
            "caution",
            "Stations lie beside the mesh, where there are no cells below them.",
            f"{off.sum()} of {len(off)} stations",
            "Extend the mesh beyond the stations, as Mesh.for_survey does, or leave these out, "
            "unless there are no sources below them.",
        )
    active = np.ones(mesh.shape, dtype=bool) if mesh.active is None else mesh.active
    inside = in_cells(mesh.edges, active, stations)
    if inside.any():
        yield Finding(
            "caution",
            "Stations lie inside cells: those above them count as rock.",
            f"{inside.sum()} of {len(inside)} stations",
            "Check that z is positive down, and make the cells above the stations inactive by "
            "mesh.below(topography, survey=survey), unless they are underground.",
        )


def find_outliers(case: Case) -> Iterator[Finding]:
    """Find residuals that stand out.

    A smooth estimate may fit an outlier, whose residual is then small.
    """
    for r in case.residuals():
        scaled = np.abs(r.scaled)
        scale = 1.0 if r.sigma is not None else float(np.sqrt(np.mean(scaled**2)) or 1.0)
        worst, of = scaled[r.largest] / scale, "the noise" if r.sigma is not None else "their rms"
        if worst > _OUTLIER:
            yield Finding(
                "caution",
                f"A datum of {r.name} stands out from its neighbours.",
                f"residual {r.values[r.largest]:.3g} {r.unit}, {worst:.1f} times {of}, at "
                f"{r.place(r.largest)}",
                "Check this station, its height and its terrain correction; leave it out, or give "
                "it a larger uncertainty.",
            )


def find_unpredicted(case: Case) -> Iterator[Finding]:
    """Find data that differ from what all others predict, though the estimate may fit them."""
    for r in case.residuals():
        if r.left_out is None:
            continue
        k = int(np.argmax(np.abs(r.left_out)))
        # The square is at most the number of data, as these determine the variance of the prior.
        if abs(r.left_out[k]) > min(_UNPREDICTED, np.sqrt(_SHARE * case.noise.whitening.n_white)):
            yield Finding(
                "caution",
                f"A datum of {r.name} is not what the others predict.",
                f"{r.data[k]:.4g} {r.unit}, {abs(r.left_out[k]):.1f} standard deviations away, at "
                f"{r.place(k)}",
                "Check this station, its height and its terrain correction. The density below it "
                "was changed to fit it: leave it out, or give it a larger uncertainty.",
            )


def find_patterns(case: Case) -> Iterator[Finding]:
    """Find residuals that are no noise, as they are correlated or have a trend."""
    if case.is_exact:  # what is left of them is signal in any case
        return
    for r in case.residuals():
        correlation, spread = r.lag_correlation
        if correlation > max(_CORRELATED[0], _CORRELATED[1] * spread):
            yield Finding(
                "caution",
                f"Residuals of {r.name} at neighbouring stations are alike: signal is left in "
                "them, or the noise is correlated.",
                f"correlation {correlation:.2f}, {spread:.2f} by chance",
                "State a smaller noise if the data are that good: more detail will be resolved. "
                "Otherwise errors are not independent, and a larger one is safer.",
            )
        share, chance = r.linear_trend
        if share > _TREND[0] and chance < _TREND[1]:
            yield Finding(
                "caution",
                f"Residuals of {r.name} have a linear trend.",
                f"{100 * share:.0f} % of their variance",
                "Give the survey trend=1: the data hold a regional field that the mesh does not "
                "explain.",
            )


def find_training(case: Case) -> Iterator[Finding]:
    """Find data unlike those of the training."""
    p = case.applicability
    if p is None or p >= _UNUSUAL:
        return
    yield Finding(
        "problem" if p < _UNLIKE else "caution",
        "The data are unlike those that the inverter was trained on.",
        f"{100 * p:.2g} % of the training data are as unusual",
        "Do not trust densities or intervals: train on sections of this geology, noise and "
        "geometry, or take an inverter without training, such as TikhonovInverter.",
    )


def find_depth(case: Case) -> Iterator[Finding]:
    """Find mass where the prior outweighs the data."""
    if case.investigation is None or case.mesh is None:
        return
    if _is_reference(case):  # another check says so
        return
    least = float(case.investigation[case.core].min())
    if least >= PRIOR:
        cause = "Noise that is large compared to the data leaves"
        if case.noise.has_trend:
            cause = "A free level, and a mesh that is wide compared to its depth, leave"
        elif all(len(c) > 1 for survey in case.surveys for c in survey.components) and case.surveys:
            cause = "Gradients, and a mesh that is wide compared to its depth, leave"
        yield Finding(
            "note",
            "The data do not determine a density common to all cells: densities are relative.",
            f"index of the depth of investigation at least {least:.2f}",
            f"Interpret contrasts, not absolute values. {cause} it to 'reference'.",
        )
        return
    assert case.investigated is not None
    mass = np.abs(case.rho) * case.mesh.volumes * case.core
    share = np.where(case.investigation >= PRIOR, mass, 0.0) / (mass.sum() or 1.0)
    depth = np.broadcast_to(case.investigated, case.mesh.shape).ravel()[case.mesh.cells]
    is_above = case.mesh.cell_centers[:, 0] < depth
    above, below = float(share[is_above].sum()), float(share[~is_above].sum())
    if above + below > _UNSEEN:
        total, deep = round(100 * (above + below)), round(100 * below)
        value = f"{total} %: {deep} % below the depth of investigation, {total - deep} % above"
        remedy = "Interpret only what lies above that depth. What lies below"
        if above > below:
            remedy = "Interpret only cells with an index, of `resolution`, below 0.5. The rest"
        yield Finding(
            "caution",
            "Most of the mass lies where the prior outweighs the data.",
            value,
            f"{remedy} follows 'reference', the model norm and 'depth_weighting'.",
        )


#: Checks by what they are about.
CHECKS: dict[str, Callable[[Case], Iterator[Finding]]] = {
    "noise": find_noise,
    "level of the data": find_level,
    "fit of the data": find_fit,
    "choice of alpha": find_alpha,
    "densities of rocks": find_density,
    "cells at bounds": find_bounds,
    "padding": find_padding,
    "places of the stations": find_stations,
    "large residuals": find_outliers,
    "data that the others do not predict": find_unpredicted,
    "correlation and trend of residuals": find_patterns,
    "likeness to the training data": find_training,
    "depth of investigation": find_depth,
}


def findings_of(case: Case) -> tuple[list[Finding], list[str]]:
    """Return the findings, the severest first, and what was checked without any."""
    found: list[Finding] = []
    clear = []
    for name, check in CHECKS.items():
        new = [*check(case)]
        found += new
        if not new and _applies(name, case):
            clear.append(name)
    order = ["problem", "caution", "note"]
    return sorted(found, key=lambda finding: order.index(finding.severity)), clear


def _applies(name: str, case: Case) -> bool:
    """Return whether the case has what a check looks at."""
    correlations, mesh = [r.lag_correlation[0] for r in case.residuals()], case.mesh
    needed = {
        "level of the data": bool(_with_level(case)),
        "fit of the data": case.chi_factor is not None or case.is_exact,
        "choice of alpha": case.curve is not None and case.criterion is not None,
        "densities of rocks": rock_range(case.operator) is not None,
        "cells at bounds": _bounds(case) is not None,
        "padding": mesh is not None and not case.core.all(),
        "places of the stations": mesh is not None and case.stations is not None,
        "data that the others do not predict": case.left_out is not None,
        "correlation and trend of residuals": not case.is_exact
        and bool(np.isfinite(correlations).any()),
        "likeness to the training data": case.applicability is not None,
        "depth of investigation": case.investigation is not None
        and mesh is not None
        and not _is_reference(case),
    }
    return needed.get(name, True)
