"""The table of public problems, with published results."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.dummy import DummyRegressor
from sklearn.utils import Bunch

from skgrav._typing import Array
from skgrav.benchmarking._bodies import PROBLEMS, Problem, measures, published
from skgrav.benchmarking._candidate import Candidate, EstimatorFailure, Fitted
from skgrav.benchmarking._result import BenchmarkTable, number
from skgrav.benchmarking._volumes import (
    BOUNDS,
    COMPARED,
    FAMILIES,
    GRAVIGNN,
    NOISE,
    NOISY,
    TOLD,
    Predict,
    evaluate,
    with_noise,
)
from skgrav.datasets import fetch_huang2021
from skgrav.inverters import BayesLinearInverter, TikhonovInverter

Record = dict[str, Any]
Say = Callable[[str], None]

VOLUMES = "sparse bodies"

#: Means of families of sparse bodies, by name.
_MEANS = {"I to VI": COMPARED, "VII to X": FAMILIES[len(COMPARED) :]}

#: Errors raised if data are missing and cannot be downloaded.
_ABSENT = (OSError, ImportError)

_REMEDY = (
    "Public data are downloaded when first used, which needs skgrav[data] and a network; or set "
    "the environment variable SKGRAV_DATA to a folder that has them."
)


class Absent(Exception):
    """Public data are missing."""


def smooth(seed: int) -> Candidate:
    """Return smooth inversion, which needs no training."""
    inverter = TikhonovInverter(order=1, depth_weighting="sensitivity")
    return Candidate("smooth", inverter, seed)


def references(seed: int) -> list[Candidate]:
    """Return the reference methods for volumes."""
    linear = BayesLinearInverter()
    return [
        Candidate("mean model", DummyRegressor(), seed),
        smooth(seed),
        Candidate("best linear, clipped", linear, seed, clip=BOUNDS),
    ]


class Volumes:
    """Sparse bodies of Huang et al. (2021), to train on and to evaluate on."""

    def __init__(self, n_train: int, n_validation: int, n_family: int) -> None:
        try:
            data = fetch_huang2021("train")
            self.subsets: Mapping[str, Bunch] = {
                name: fetch_huang2021(name) for name in ("validation", "regular")
            }
        except _ABSENT as error:
            raise Absent(f"{VOLUMES} of Huang et al. (2021): {error}") from error
        rows = np.linspace(0, len(data.data) - 1, n_train).astype(int)
        self.operator, self.n_volumes = data.operator, (n_validation, n_family)
        self.X, self.y = data.data[rows], data.density(rows)

    def records(self, candidate: Candidate, say: Say) -> Iterator[Record]:
        """Yield errors by family, without noise and with it."""
        kinds = {"": self.X, NOISY: with_noise(self.X, candidate.seed)[0]}
        fitted: Fitted | None = None
        for kind, X in kinds.items():
            noise = NOISE if kind else 0.0
            record = {"method": candidate.name, "problem": VOLUMES, "noise": noise}
            say(f"public: {candidate.name}, {VOLUMES}{kind}")
            try:
                if fitted is None or candidate.needs_noise:
                    where = f"to {len(X)} volumes{kind}"
                    fitted = candidate.fit(X, self.y, where, self.operator)
                found = evaluate({kind: _predict(fitted, kind)}, self.n_volumes, TOLD, self.subsets)
            except EstimatorFailure as failure:
                yield record | {"part": "validation", "failure": str(failure)}
                continue
            costs = {
                "fit, CPU s": fitted.seconds,
                "predict, CPU s": found["seconds"],
            }
            for part in ("validation", *FAMILIES):
                figures = {
                    "error": found[part + kind],
                    "R²": found[f"R² of {part}{kind}"],
                    "chi factor": found[f"chi of {part}{kind}"],
                }
                yield record | {"part": part} | figures | costs

    @staticmethod
    def published() -> Iterator[Record]:
        """Yield the errors of the graph network."""
        name = "GraviGNN, as published"
        record = {"method": name, "problem": VOLUMES}
        for part, error in zip(("validation", *COMPARED), GRAVIGNN["errors"], strict=True):
            yield record | {"noise": 0.0, "part": part, "error": error}
        yield record | {"noise": NOISE, "part": "validation", "error": GRAVIGNN["noisy"]}


def _predict(fitted: Fitted, kind: str) -> Predict:
    def predict(g: Array, level: Array) -> Array:
        return fitted.predict(g, level, f"of {VOLUMES}{kind}")

    return predict


def means(records: Sequence[Record]) -> list[Record]:
    """Return records with those of single families replaced by their means."""
    found = [r for r in records if r.get("part") not in FAMILIES]
    keys = ("method", "noise")
    for key in dict.fromkeys(tuple(r[k] for k in keys) for r in records if "part" in r):
        own = {r.get("part"): r for r in records if tuple(r.get(k) for k in keys) == key}
        for part, families in _MEANS.items():
            if all(family in own for family in families):
                first = own[families[0]]
                figures = {
                    name: float(np.mean([own[family][name] for family in families]))
                    for name in ("error", "R²", "chi factor")
                    if name in first
                }
                found.append(first | {"part": part} | figures)
    return found


def body_records(candidate: Candidate, references: bool, say: Say) -> Iterator[Record]:
    """Yield measures of the bodies inverted from one survey, and of reference methods.

    If the candidate cannot be fitted without densities, the last record states the reason.
    """
    for name, make in PROBLEMS.items():
        say(f"public: {candidate.name}, {name}")
        try:
            problem = make()
        except _ABSENT as error:
            yield {"problem": name, "absent": f"{name}: {error}"}
            continue
        operator = problem.operator()
        try:
            fitted = candidate.fit(problem.g[None], None, "to one survey", operator, anew=True)
        except EstimatorFailure as failure:
            yield {"problem": name, "refused": str(failure)}
            return
        methods = [fitted]
        if references:
            other = smooth(candidate.seed)
            methods.append(other.fit(problem.g[None], None, "", operator, anew=True))
        for method in methods:
            found = _inverted(method, problem, operator)
            yield {"method": method.candidate.name, "problem": name} | found
        if references and name == next(iter(PROBLEMS)):
            for label, rho in published().items():
                found = measures(problem, operator, rho)
                yield {"method": label, "problem": name} | found


def _inverted(fitted: Fitted, problem: Problem, operator: Any) -> Record:
    """Return measures and CPU seconds of one inversion."""
    start = time.process_time()
    try:
        rho = fitted.predict(problem.g[None], None, "of one survey")[0]
    except EstimatorFailure as failure:
        return {"failure": str(failure)}
    seconds = time.process_time() - start
    costs = {"fit, CPU s": fitted.seconds, "predict, CPU s": seconds}
    return measures(problem, operator, rho) | costs


def public_table(records: Sequence[Record], notes: list[str]) -> BenchmarkTable:
    """Return the table, a row for each problem, noise and method."""
    shown = means(records)
    order = {part: k for k, part in enumerate(("validation", *_MEANS))}
    shown.sort(key=lambda r: (order.get(r.get("part", ""), len(order)), r.get("noise", 1.0)))
    header = ["problem", "method", "error", "chi factor"]
    bodies = ["mass", "centre off, m", "Dice"]
    forms = {"mass": ".2f", "centre off, m": ".1f", "Dice": ".2f"}
    has_bodies = any("mass" in r for r in shown)
    header += bodies * has_bodies + ["fit, CPU s", "predict, CPU s"]
    rows = []
    for r in shown:
        kind = NOISY if r.get("noise") else ""
        problem = f"{r['problem']}, {r['part']}{kind}" if "part" in r else r["problem"]
        error = "failed" if "failure" in r else number(r.get("error"), ".3f")
        row = [problem, r["method"], error, number(r.get("chi factor"), ".3g")]
        row += [number(r.get(key), forms[key]) for key in bodies * has_bodies]
        row += [number(r.get(key), ".2g") for key in ("fit, CPU s", "predict, CPU s")]
        rows.append(tuple(row))
    title = "Public problems: relative L2 errors, and published ones"
    return BenchmarkTable(title, tuple(header), tuple(rows), tuple(notes), tuple(records))


def absence(texts: Sequence[str]) -> str:
    """Return the warning of missing data."""
    return f"Public problems are left out, as their data are missing: {'; '.join(texts)} {_REMEDY}"
