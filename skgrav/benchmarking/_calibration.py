"""The table of the calibration of predicted distributions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from skgrav._typing import Array
from skgrav.benchmarking._candidate import Candidate, EstimatorFailure, Fitted
from skgrav.benchmarking._result import BenchmarkTable, number, percent
from skgrav.benchmarking._sections import SectionFits, told
from skgrav.geometry import Mesh
from skgrav.inverters import BayesLinearInverter
from skgrav.metrics import (
    RankHistogram,
    chi_factor,
    crps,
    energy_score,
    interface_spread,
    interval_coverage,
    rank_histogram,
    relative_data_misfit,
    relative_l2_error,
)

Record = dict[str, Any]
Say = Callable[[str], None]

#: Number of samples of each section whose interfaces and fit are measured.
N_LOOKED_AT = 5

#: Least number of sections for a histogram of ranks.
_LEAST_RANKED = 10

#: With p-values of ranks below this, the samples are not from the posterior.
_LEAST_P = 0.01

REFERENCE = "best linear"


def deep_block(mesh: Mesh) -> Callable[[Array], Array]:
    """Return the function that computes the mean density of a block below the middle."""
    depth, *across = (
        (centres - edges[0]) / (edges[-1] - edges[0])
        for centres, edges in zip(mesh.cell_centers.T, mesh.edges, strict=True)
    )
    inside = (depth > 0.6) & (depth < 0.8)
    for place in across:
        inside &= (place > 0.4) & (place < 0.6)
    return lambda rho: rho[:, inside].mean(axis=1)


def functionals(mesh: Mesh) -> dict[str, Any]:
    """Return the properties of sections that are ranked, by name."""
    names = ("lower_half", "std", "mass", "centroid_depth")
    return {name: name for name in names} | {"deep_block": deep_block(mesh)}


def of_marginals(data: Bunch, mean: Array, forecast: tuple[Array, ...], keywords: Any) -> Record:
    """Return error of the mean, CRPS and coverages, those of families included."""
    half, most = interval_coverage(data.target, *forecast, **keywords)
    by_family = interval_coverage(
        data.target, *forecast, **keywords, levels=0.9, labels=data.family
    )
    assert isinstance(by_family, dict)
    return {
        "error": relative_l2_error(data.target, mean),
        "crps": crps(data.target, *forecast, **keywords),
        "cover 50": half,
        "cover 90": most,
        **{f"cover 90 of {name}": cover[0] for name, cover in by_family.items()},
    }


def of_draws(data: Bunch, X: Array, level: float, draws: Array) -> Record:
    """Return energy score, misfit and sharpness of interfaces of samples and of the truth."""
    operator, true, mesh = data.operator, data.target, data.operator.mesh_
    looked_at = [draws[:, :, k] for k in range(min(N_LOOKED_AT, draws.shape[2]))]
    return {
        "energy": energy_score(true, draws),
        "chi": np.mean([chi_factor(operator, rho, X, noise_level=level) for rho in looked_at]),
        "misfit": np.max([relative_data_misfit(operator, rho, X) for rho in looked_at]),
        "spread": np.mean([interface_spread(rho, mesh) for rho in looked_at]),
        "spread of truth": interface_spread(true, mesh),
    }


def ranks(data: Bunch, draws: Array, n_bins: int | None = None) -> dict[str, RankHistogram]:
    """Return the ranks of the truth among posterior samples, by property."""
    mesh = data.operator.mesh_
    return {
        name: rank_histogram(data.target, draws, functional, mesh=mesh, n_bins=n_bins)
        for name, functional in functionals(mesh).items()
    }


def calibration_records(
    fits: SectionFits, levels: Sequence[float], n_sections: int, n_draws: int, say: Say
) -> Iterator[Record]:
    """Yield the figures of an estimator; none if it predicts no distributions."""
    name = fits.candidate.name
    for level in levels:
        say(f"calibration: {name}, noise of {percent(level)}")
        for geology, data in fits.sections.tests.items():
            record: Record = {"method": name, "geology": geology, "noise": level}
            where = f"of {geology} families with noise of {percent(level)}"
            some = Bunch(
                target=data.target[:n_sections],
                family=data.family[:n_sections],
                operator=data.operator,
            )
            X = fits.sections.noisy(geology, level)[:n_sections]
            try:
                found = _of(fits.at(level), some, X, level, n_draws, where)
            except EstimatorFailure as failure:
                yield record | {"failure": str(failure)}
                continue
            if found is None:
                return
            yield record | found


def _of(
    fitted: Fitted, data: Bunch, X: Array, level: float, n_draws: int, where: str
) -> Record | None:
    """Return all figures of a fitted estimator, with the failure of its samples if any."""
    draws, missing = None, {}
    if fitted.has_draws:
        try:
            draws = fitted.sample(X, told(level), n_draws, where)
        except EstimatorFailure as failure:
            missing = {"failure of draws": str(failure)}
    marginals = fitted.marginals(X, told(level), draws, where)
    if marginals is None:
        if missing:
            raise EstimatorFailure(missing["failure of draws"])
        return None
    forecast, keywords = marginals
    mean = forecast[0] if len(forecast) == 2 else fitted.predict(X, told(level), where)
    with fitted.candidate.named_errors(f"metrics {where}"):  # such as of negative deviations
        found = of_marginals(data, mean, forecast, keywords) | missing
        if draws is None:
            return found
        found |= of_draws(data, X, told(level), draws)
        if len(X) >= _LEAST_RANKED:
            for name, histogram in ranks(data, draws).items():
                # Exact data determine the mass, so that its ranks have no meaning.
                known = name == "mass" and level == 0
                found[f"p of {name}"] = None if known else histogram.p_value
    return found


def with_ratios(records: list[Record], reference: Sequence[Record]) -> list[Record]:
    """Return records with CRPS and energy score relative to the reference's of the same data."""
    base = {(r["geology"], r["noise"]): r for r in reference}
    found = []
    for record in records:
        other = base.get((record["geology"], record["noise"]), {})
        ratios = {
            f"{key} ratio": record[key] / other[key]
            for key in ("crps", "energy")
            if key in record and key in other
        }
        found.append(record | ratios)
    return found


def reference(seed: int) -> Candidate:
    """Return the inverter with a Gaussian prior."""
    return Candidate(REFERENCE, BayesLinearInverter(store_covariance=True), seed)


def how_to(candidate: Candidate) -> str:
    """State that an estimator predicts no distributions, and how to add intervals."""
    return (
        f"{candidate.name} estimates densities without their uncertainty: it has neither "
        "`predict(X, return_std=True)` nor `predict_quantiles` nor `sample_y`. "
        "skgrav.ConformalInverter(inverter) adds calibrated intervals to any estimator; this table "
        "then has their coverage and CRPS."
    )


def calibration_table(records: Sequence[Record], n_sections: int, notes: list[str]) -> Any:
    """Return the table, a row for each method, geology and noise."""
    header = ["method", "geology", "noise", "cover of 50 %", "of 90 %"]
    header += ["CRPS", "CRPS ratio", "energy score", "energy ratio", "chi of draws"]
    names = list(
        dict.fromkeys(key for record in records for key in record if key.startswith("p of "))
    )
    header += [name.replace("_", " ") for name in names]
    rows = []
    for r in records:
        row = [r["method"], r["geology"], percent(r["noise"])]
        row += [number(r.get(key), ".2f") for key in ("cover 50", "cover 90")]
        for key in ("crps", "energy"):
            row += [number(r.get(key), ".3f"), number(r.get(f"{key} ratio"), ".2f")]
        # Exact data leave no residual to compare with noise.
        row.append("-" if r["noise"] == 0 else number(r.get("chi"), ".2f"))
        row += [_p_text(r.get(name)) for name in names]
        rows.append(tuple("failed" if "failure" in r and k == 3 else c for k, c in enumerate(row)))
    title = f"Calibration: {n_sections} unseen sections; ratios to the Gaussian of {REFERENCE}"
    return BenchmarkTable(title, tuple(header), tuple(rows), tuple(notes), tuple(records))


def _p_text(value: float | None) -> str:
    return f"< {_LEAST_P}" if value is not None and value < _LEAST_P else number(value, ".2f")
