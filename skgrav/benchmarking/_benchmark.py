"""The benchmark of an estimator of density from gravity."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_scalar

from skgrav._warnings import warn
from skgrav.benchmarking import _accuracy, _calibration, _public
from skgrav.benchmarking._accuracy import accuracy_records, accuracy_table
from skgrav.benchmarking._arguments import (
    TABLES,
    checked_families,
    checked_levels,
    checked_tables,
    checked_volumes,
    seed_of,
)
from skgrav.benchmarking._calibration import (
    calibration_records,
    calibration_table,
    how_to,
    with_ratios,
)
from skgrav.benchmarking._candidate import Candidate, checked_candidate, is_fitted
from skgrav.benchmarking._public import Absent, Volumes, absence, body_records, public_table
from skgrav.benchmarking._result import BenchmarkResult, BenchmarkTable
from skgrav.benchmarking._sections import HELD_OUT, SectionFits, Sections
from skgrav.geometry import Mesh, Survey

#: Distinct warnings of an estimator that are listed.
_LISTED = 3

#: Characters of a warning or an error that are listed.
_LONGEST = 200


def benchmark(
    inverter: Any,
    *,
    tables: str | Sequence[str] = TABLES,
    n_train: int = 5000,
    n_test: int = 200,
    noise_levels: Sequence[float] = (0.0, 0.001, 0.01, 0.05),
    held_out: Sequence[str] = HELD_OUT,
    n_calibrated: int = 100,
    n_draws: int = 49,
    n_volumes: Sequence[int] = (2000, 200, 20),
    mesh: Mesh | None = None,
    survey: Survey | None = None,
    references: bool = True,
    random_state: int | np.random.RandomState | None = 0,
    verbose: bool = False,
) -> BenchmarkResult:
    """Evaluate any estimator of density from gravity: accuracy, calibration, public problems.

    Parameters
    ----------
    inverter : estimator
        Any object with `fit` and `predict`, also of another library. Copies of it are fitted. To
        evaluate a fitted estimator without fitting it again, give ``FrozenEstimator(inverter)``.
    tables : str or sequence of str, default=("accuracy", "calibration", "public")
        Which tables to make.
    n_train : int, default=5000
        Number of training sections.
    n_test : int, default=200
        Number of unseen sections of the training families, and of the families left out.
    noise_levels : sequence of float, default=(0.0, 0.001, 0.01, 0.05)
        Standard deviations of the noise, relative to the rms of the data of each section.
    held_out : sequence of str, default=("faults", "salt_domes")
        Families of `make_density_models` that are left out of training. If empty, all families are
        in the training set, and none is unseen.
    n_calibrated : int, default=100
        Number of unseen sections whose predicted distributions are evaluated.
    n_draws : int, default=49
        Number of posterior samples of each section, at least 2.
    n_volumes : sequence of three int, default=(2000, 200, 20)
        Numbers of public volumes: for training, for validation, and of each of ten families.
    mesh : Mesh, default=None
        Mesh of the sections; None takes that of the paper, ``Mesh.square(50)``.
    survey : Survey, default=None
        Stations and components; None takes ``Survey.line(mesh)``.
    references : bool, default=True
        Whether the tables also contain the mean model, the minimum norm, the smoothest and the best
        linear estimate for the same data, and published results.
    random_state : int, RandomState instance or None, default=0
        Seed of sections, noise and posterior samples, and of each parameter `random_state` of the
        estimator that is None.
    verbose : bool, default=False
        Whether to print a line for each step.

    Returns
    -------
    result : BenchmarkResult
        The tables, as text, as HTML in notebooks, and by `to_markdown` and `to_frame`.

    Raises
    ------
    TypeError
        If `inverter` is a class, or has no `fit` or `predict`.
    ValueError
        If the estimator fails in all cases of the first table of sections, with its own error as
        the cause, or is frozen and its numbers of data and cells differ from those of all tables.

    Warns
    -----
    UserWarning
        If the estimator fails in some cases, which the notes of the tables list; if it is fitted
        already, since copies are fitted again; or if public data are missing.

    See Also
    --------
    skgrav.ConformalInverter : Intervals for estimators that have none.
    skgrav.report : Report on one inversion of your data.

    Notes
    -----
    If `predict` has a parameter `noise_level`, the estimator is fitted once, to data without noise,
    and the level is passed to `predict`. Otherwise it is fitted once for each level, to data with
    that noise. Parameters `operator` that are None are set to the operator of the data, unless a
    pipeline or a transformed target changes the data or densities that the estimator receives.

    Public problems are sparse bodies [1]_, with training volumes, and three problems of one survey,
    for estimators that need no training: those that have a parameter `operator` and whose `fit`
    needs no densities.

    Densities, CRPS and energy score are in the paper's unit; densities range from 0 to 12. CPU
    seconds are those of all threads. Decompositions of an operator are shared, and their time is
    counted for the first method that needs them.

    References
    ----------
    .. [1] Huang, Liu, Qi, Feng, Li, Jia (2021), Deep learning 3D sparse inversion of gravity data,
       Journal of Geophysical Research: Solid Earth 126.

    Examples
    --------
    >>> import skgrav
    >>> from sklearn.neighbors import KNeighborsRegressor
    >>> result = skgrav.benchmark(
    ...     KNeighborsRegressor(),
    ...     tables="accuracy",
    ...     mesh=skgrav.Mesh.square(8),
    ...     n_train=200,
    ...     n_test=20,
    ...     noise_levels=(0.01,),
    ... )
    >>> result.accuracy.rows[0][:2]
    ('KNeighborsRegressor', 'trained')
    """
    wanted = checked_tables(tables)
    sizes = {"n_train": n_train, "n_test": n_test, "n_calibrated": n_calibrated}
    for name, size in sizes.items():
        check_scalar(size, name, Integral, min_val=1)
    check_scalar(n_draws, "n_draws", Integral, min_val=2)
    counts = checked_volumes(n_volumes)
    levels = checked_levels(noise_levels)
    for name, value, kind in (("mesh", mesh, Mesh), ("survey", survey, Survey)):
        if not isinstance(value, kind | None):
            raise TypeError(f"'{name}' is {value!r}; it must be a {kind.__name__} or None.")
    held_out = checked_families(held_out, 2 if mesh is None else mesh.ndim)
    seed = seed_of(random_state)
    candidate = checked_candidate(inverter, seed)
    if not candidate.is_frozen and is_fitted(inverter):
        warn(
            "'inverter' is fitted already; copies of it are fitted again. To evaluate it as it is, "
            "give FrozenEstimator(inverter), of sklearn.frozen."
        )
    run = _Run(candidate, references, print if verbose else _silent)
    made: dict[str, BenchmarkTable] = {}
    if {"accuracy", "calibration"} & set(wanted):
        run.say("drawing sections")
        sections = Sections.draw(n_train, n_test, held_out, seed, mesh=mesh, survey=survey)
        made |= run.of_sections(sections, levels, wanted, n_calibrated, n_draws)
    if "public" in wanted:
        made["public"] = run.public(counts)
    run.close(made)
    return BenchmarkResult(" ".join(repr(inverter).split()), **made)


def _silent(text: str) -> None:
    """Print nothing."""


class _Run:
    """One benchmark of one estimator."""

    def __init__(self, candidate: Candidate, references: bool, say: Any) -> None:
        self.candidate, self.references, self.say = candidate, references, say
        self.failures: list[str] = []
        self.refusals: list[str] = []

    def of_sections(
        self,
        sections: Sections,
        levels: Sequence[float],
        wanted: Sequence[str],
        n_calibrated: int,
        n_draws: int,
    ) -> dict[str, BenchmarkTable]:
        """Return the tables of accuracy and calibration."""
        operator, seed = sections.train.operator, self.candidate.seed
        reason = self.candidate.mismatch(operator.n_data_, operator.n_cells_)
        fits = None if reason else SectionFits(self.candidate, sections)
        if reason:
            self.refusals.append(reason)
        found = {}
        if "accuracy" in wanted:
            records = list(accuracy_records(fits, levels, self.say)) if fits else []
            notes = self._notes(records, reason, all_may_fail=False)
            others = _accuracy.references(seed) if self.references else []
            for other in others:
                beside = list(accuracy_records(SectionFits(other, sections), levels, self.say))
                notes += _failed(beside)
                records += beside
            found["accuracy"] = accuracy_table(records, sections, notes)
        if "calibration" in wanted:
            n = min(n_calibrated, len(sections.tests["trained"].data))
            sizes = (levels, n, n_draws, self.say)
            records = list(calibration_records(fits, *sizes)) if fits else []
            # Those that need more training sections for it have been evaluated for accuracy.
            notes = self._notes(records, reason, all_may_fail="accuracy" in found)
            if not records and not reason:
                notes.append(how_to(self.candidate))
            elif self.references and records:
                gaussian = SectionFits(_calibration.reference(seed), sections)
                base = list(calibration_records(gaussian, *sizes))
                notes += _failed(base)
                records = with_ratios(records + base, base)
            found["calibration"] = calibration_table(records, n, notes)
        return found

    def public(self, n_volumes: tuple[int, int, int]) -> BenchmarkTable:
        """Return the table of public problems."""
        absent: list[str] = []
        records, reason = self._of_volumes(n_volumes, absent)
        bodies: list[dict] = []
        if self.candidate.takes_one_survey:
            bodies += body_records(self.candidate, self.references, self.say)
        absent += [record["absent"] for record in bodies if "absent" in record]
        refused = [record["refused"] for record in bodies if "refused" in record]
        records += [record for record in bodies if "method" in record]
        own = [record for record in records if record["method"] == self.candidate.name]
        notes = self._notes(own, None, all_may_fail=True)
        if any(record["problem"] == _public.VOLUMES for record in records):
            n_train, n_validation, n_family = n_volumes
            text = (
                f"{_public.VOLUMES.capitalize()}: fitted to {n_train} volumes of training, "
                f"evaluated on {n_validation} of validation and {n_family} of each family; "
                "published errors are those of all volumes."
            )
            notes.append(text)
        notes += _failed(record for record in records if record not in own)
        if reason:
            notes.append(
                f"{self.candidate.name} {reason}: it is not evaluated on {_public.VOLUMES}."
            )
        if refused or not self.candidate.takes_one_survey:
            notes.append(self._not_of_one_survey(refused))
        if absent:
            notes += [f"Data missing: {text}" for text in absent]
            warn(absence(absent))
        return public_table(records, notes)

    def _not_of_one_survey(self, refused: Sequence[str]) -> str:
        """State why an estimator is not evaluated on problems of one survey."""
        what = "is fitted already" if self.candidate.is_frozen else "is trained on densities"
        if refused:
            what = f"cannot be fitted to data alone ({_short(refused[0])})"
        return (
            f"{self.candidate.name} {what}, so it is not evaluated on problems of one survey "
            f"({', '.join(_public.PROBLEMS)}), which have no training pairs: these are for "
            "estimators with a parameter `operator` whose `fit` needs no densities."
        )

    def _of_volumes(
        self, n_volumes: tuple[int, int, int], absent: list[str]
    ) -> tuple[list[dict], str | None]:
        """Return figures of sparse bodies, or why a frozen estimator has none."""
        try:
            volumes = Volumes(*n_volumes)
        except Absent as error:
            absent.append(str(error))
            return [], None
        reason = self.candidate.mismatch(volumes.operator.n_data_, volumes.operator.n_cells_)
        if reason:
            self.refusals.append(reason)
            return [], reason
        records: list[dict] = list(volumes.records(self.candidate, self.say))
        if self.references:
            for other in _public.references(self.candidate.seed):
                records += volumes.records(other, self.say)
            records += volumes.published()
        return records, None

    def _notes(
        self, records: Sequence[dict], reason: str | None, *, all_may_fail: bool
    ) -> list[str]:
        """Return failures and warnings as notes; raise an error if all cases failed."""
        name = self.candidate.name
        if reason:
            return [f"{name} {reason}: it is not evaluated here."]
        failures = [record["failure"] for record in records if "failure" in record]
        if failures and len(failures) == len(records) and not all_may_fail:
            raise ValueError(
                f"'inverter' failed in all {len(records)} cases, first in {_short(failures[0])}"
            ) from self.candidate.error
        self.failures += failures
        self.failures += [r["failure of draws"] for r in records if "failure of draws" in r]
        notes = _failed(records)
        warned = self.candidate.warnings
        for text, count in list(warned.items())[:_LISTED]:
            notes.append(f"{name} warned ({count} x): {_short(text)}")
        if len(warned) > _LISTED:
            notes.append(f"{name} gave {len(warned) - _LISTED} other warnings.")
        warned.clear()
        return notes

    def close(self, made: Iterable[str]) -> None:
        """Warn of failures, and refuse an estimator that no table can evaluate."""
        geometries = {"volumes" if name == "public" else "sections" for name in made}
        if len(self.refusals) == len(geometries):
            raise ValueError(
                f"'inverter' {self.refusals[0]}. Give 'mesh' and 'survey' of the sections that it "
                "was fitted to, or an estimator that is not frozen."
            )
        if self.failures:
            warn(
                f"'inverter' failed in {len(self.failures)} cases, which the notes of the tables "
                f"name, first in {_short(self.failures[0])}"
            )


def _failed(records: Iterable[dict]) -> list[str]:
    """Return each failure once, with its place."""
    texts = [
        f"{record['method']} failed in {_short(record[key])}"
        for record in records
        for key in ("failure", "failure of draws")
        if key in record
    ]
    return list(dict.fromkeys(texts))


def _short(text: str) -> str:
    """Return a text without its middle if it is long: remedies stand at the end."""
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[:half]} ... {text[-half:]}"
