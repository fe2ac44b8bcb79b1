"""The table of errors, misfits and CPU seconds, by noise and geology."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sklearn.dummy import DummyRegressor
from sklearn.utils import Bunch

from skgrav._typing import Array
from skgrav.benchmarking._candidate import Candidate, EstimatorFailure
from skgrav.benchmarking._result import BenchmarkTable, number, percent
from skgrav.benchmarking._sections import DENSITIES, SectionFits, Sections, told
from skgrav.inverters import BayesLinearInverter, Refiner, TikhonovInverter
from skgrav.metrics import chi_factor, relative_data_misfit, relative_l2_error

Record = dict[str, Any]
Say = Callable[[str], None]


def references(seed: int) -> list[Candidate]:
    """Return the reference methods."""
    return [
        Candidate("mean model", DummyRegressor(), seed),
        Candidate("minimum norm", Refiner("projection", init="zero"), seed),
        Candidate("smoothest", TikhonovInverter(order=1), seed),
        Candidate("best linear, clipped", BayesLinearInverter(), seed, clip=DENSITIES),
    ]


def errors(data: Bunch, X: Array, rho: Array, level: float) -> Record:
    """Return error of the density, misfit of the data, and chi factor for the noise level."""
    return {
        "error": relative_l2_error(data.target, rho),
        "misfit": relative_data_misfit(data.operator, rho, X),
        "chi factor": chi_factor(data.operator, rho, X, noise_level=told(level)),
    }


def accuracy_records(fits: SectionFits, levels: Sequence[float], say: Say) -> Iterator[Record]:
    """Yield the figures of an estimator."""
    name = fits.candidate.name
    for level in levels:
        say(f"accuracy: {name}, noise of {percent(level)}")
        for geology, data in fits.sections.tests.items():
            record: Record = {"method": name, "geology": geology, "noise": level}
            X, where = fits.sections.noisy(geology, level), _where(geology, level)
            try:
                fitted = fits.at(level)
                start = time.process_time()
                rho = fitted.predict(X, told(level), where)
                seconds = time.process_time() - start
            except EstimatorFailure as failure:
                yield record | {"failure": str(failure)}
                continue
            costs = {"fit, CPU s": fitted.seconds, "predict, CPU ms": 1e3 * seconds / len(X)}
            yield record | errors(data, X, rho, level) | costs


def _where(geology: str, level: float) -> str:
    return f"of {geology} families with noise of {percent(level)}"


def accuracy_table(records: Sequence[Record], sections: Sections, notes: list[str]) -> Any:
    """Return the table, a row for each method and geology."""
    levels = list(dict.fromkeys(record["noise"] for record in records))
    noisy = [level for level in levels if level > 0]
    header = ["method", "geology", *(f"error, {percent(level)}" for level in levels)]
    header += [f"misfit, {percent(level)}" for level in levels[:1]]
    header += [f"chi, {percent(level)}" for level in noisy]
    header += ["fit, CPU s", "predict, CPU ms"]
    rows = []
    for method, geology in dict.fromkeys((r["method"], r["geology"]) for r in records):
        own = {r["noise"]: r for r in records if (r["method"], r["geology"]) == (method, geology)}
        row = [method, geology]
        row += [
            "failed" if "failure" in own[level] else number(own[level]["error"], ".4f")
            for level in levels
        ]
        row += [number(own[level].get("misfit"), ".1e") for level in levels[:1]]
        row += [number(own[level].get("chi factor"), ".3g") for level in noisy]
        last = own[levels[-1]]
        row += [number(last.get("fit, CPU s"), ".2f"), number(last.get("predict, CPU ms"), ".2f")]
        rows.append(tuple(row))
    n_train, n_test = len(sections.train.data), len(sections.tests["trained"].data)
    title = f"Accuracy: relative L2 errors of {n_test} unseen sections, {n_train} training sections"
    return BenchmarkTable(title, tuple(header), tuple(rows), tuple(notes), tuple(records))
