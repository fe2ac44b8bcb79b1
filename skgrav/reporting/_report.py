"""The report of an inversion."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from inspect import signature
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_scalar

from skgrav._constraints import WHOLE, checked
from skgrav._typing import Array
from skgrav.geometry import core_of
from skgrav.io import checked_path, file_path
from skgrav.noise import trend_texts
from skgrav.plotting import parts_of
from skgrav.reporting._case import Case, case_of
from skgrav.reporting._document import (
    Block,
    Bullets,
    Heading,
    Paragraph,
    Table,
    to_html,
    to_markdown,
)
from skgrav.reporting._figures import (
    picture_of_alpha,
    picture_of_density,
    picture_of_interface,
    picture_of_slices,
    pictures_of_data,
    pictures_of_doubt,
)
from skgrav.reporting._findings import Finding, findings_of
from skgrav.reporting._provenance import provenance

#: Longest text of an option.
_LONGEST = 300


@dataclass(frozen=True)
class Report:
    """A report of one inversion, as a page and as text.

    Parameters
    ----------
    title : str
        The title.
    html : str
        The page, which needs no other file.
    markdown : str
        The same in Markdown, with the pictures as data at its end.
    findings : tuple of Finding
        What to doubt, the severest first.
    warnings : tuple of str
        Texts of the warnings of the inversion.
    provenance : dict of str to str
        Versions and options as JSON, and the SHA-256 of data and stations.

    See Also
    --------
    report : Makes it.

    Examples
    --------
    >>> import skgrav
    >>> from skgrav.datasets import make_gravity_dataset
    >>> data = make_gravity_dataset(5, mesh=skgrav.Mesh.square(8), random_state=0)
    >>> inverter = skgrav.TikhonovInverter(noise_level=0.01, operator=data.operator)
    >>> report = skgrav.report(inverter.fit(data.data), data.data, uncertainty=False)
    >>> report.html[:15]
    '<!DOCTYPE html>'
    """

    title: str
    html: str = field(repr=False)
    markdown: str = field(repr=False)
    findings: tuple[Finding, ...]
    warnings: tuple[str, ...]
    provenance: dict[str, str] = field(repr=False)

    def save(self, path: str | Path) -> None:
        """Write the report to a file.

        Parameters
        ----------
        path : str or Path
            ``.html`` or ``.md``.
        """
        path = file_path(path)
        texts = {".html": self.html, ".md": self.markdown}
        if path.suffix not in texts:
            raise ValueError(f"'path' is {str(path)!r}; its name must end in .html or .md.")
        checked_path(path).write_text(texts[path.suffix], encoding="utf-8")

    def _repr_html_(self) -> str:
        """Return the page in a frame, which keeps its style from a notebook."""
        return (
            f'<iframe srcdoc="{escape(self.html)}" title="{escape(self.title)}" '
            'style="width: 100%; height: 50em; border: 0"></iframe>'
        )


@checked(
    sample=[WHOLE],
    uncertainty=["boolean"],
    notes=[Mapping, None],
    warnings=[Iterable],
    title=[str, None],
    random_state=["random_state"],
)
def report(
    inverter: Any,
    X: ArrayLike,
    *,
    sample: int = 0,
    noise_level: float | None = None,
    operator: Any = None,
    estimate: Any = None,
    uncertainty: bool = True,
    n_draws: int = 4,
    random_state: Any = 0,
    title: str | None = None,
    notes: Mapping[str, str] | None = None,
    warnings: Iterable[str] = (),
) -> Report:
    """Report the inversion of one row of data: fit, density, findings and assumptions.

    Parameters
    ----------
    inverter : estimator
        A fitted inverter, a Pipeline or search with one, or any fitted estimator with `predict`.
    X : array-like of shape (n_samples, n_data)
        Gravity, component-major.
    sample : int, default=0
        Row of `X` to report.
    noise_level : float, default=None
        Noise of this row relative to the rms of its data, also for methods of the inverter that
        take it; None takes the parameter of the inverter, or the uncertainty of the survey.
    operator : ForwardOperator, JointOperator or MatrixOperator, default=None
        Fitted operator from density to data; None takes the inverter's.
    estimate : array-like of shape (n_cells,), or result of `invert` for this row, default=None
        What was estimated already; None inverts.
    uncertainty : bool, default=True
        Whether to compute standard deviation, quantiles, draws, depth of investigation and the
        curve of alpha where the inverter has them. With operators too large to decompose this
        takes as long as about ten inversions.
    n_draws : int, default=4
        Number of draws, of which four are shown.
    random_state : int, RandomState instance or None, default=0
        Seed of the draws.
    title : str, default=None
        Title; None names the inverter.
    notes : mapping of str to str, default=None
        Further lines of what was assumed, such as the area or the training families.
    warnings : iterable of str, default=()
        Texts of warnings that were raised before, as while fitting, to be listed with those of the
        inversion.

    Returns
    -------
    report : Report
        The report; ``report.save("report.html")`` writes it, and notebooks show it.

    Raises
    ------
    ValueError
        If `X` has another size than the data of the operator, or there is no fitted operator.
    TypeError
        If `X` is a dask array, or `inverter` has no `predict`.
    ImportError
        If matplotlib, part of ``skgrav[plot]``, is missing.

    See Also
    --------
    skgrav.plotting.DensityDisplay : The pictures alone.
    skgrav.reporting.Finding : What to doubt.

    Notes
    -----
    Warnings that the inversion raises are listed in the report instead of being shown. The depth of
    investigation is where the index of Oldenburg and Li exceeds one half: below it, estimates from
    two constant references differ by more than half of what these do. Equal input gives an equal
    report, but for the date.

    Examples
    --------
    >>> import skgrav
    >>> from skgrav.datasets import make_gravity_dataset
    >>> data = make_gravity_dataset(5, mesh=skgrav.Mesh.square(8), noise_level=0.01, random_state=0)
    >>> inverter = skgrav.TikhonovInverter(noise_level=0.01, operator=data.operator)
    >>> report = skgrav.report(inverter.fit(data.data), data.data, title="Test line")
    >>> report.markdown.splitlines()[0]
    '# Test line'
    """
    check_scalar(n_draws, "n_draws", Integral, min_val=0)
    if isinstance(warnings, str):
        raise TypeError(f"'warnings' is {warnings!r}; give a list of texts, as [{warnings!r}].")
    case = case_of(
        inverter,
        X,
        sample=sample,
        noise_level=noise_level,
        operator=operator,
        estimate=estimate,
        uncertainty=uncertainty,
        n_draws=n_draws,
        random_state=random_state,
    )
    told = tuple(dict.fromkeys([*map(str, warnings), *case.warnings]))
    findings, clear = findings_of(case)
    made = provenance(case.g, case.surveys, _options(inverter))
    title = f"Inversion by {_name(inverter)}" if title is None else str(title)
    blocks = [
        *_summary(case, findings, clear, told),
        *_data(case),
        *_density(case),
        *_doubt(case),
        *_alpha(case),
        *_assumed(case, dict(notes or {})),
        *_made(made),
    ]
    return Report(
        title,
        to_html(title, blocks),
        to_markdown(title, blocks),
        tuple(findings),
        told,
        made,
    )


def _summary(
    case: Case, findings: list[Finding], clear: list[str], told: tuple[str, ...]
) -> Iterator[Block]:
    inside = case.rho[case.core]
    chi = case.chi_factor
    parts = [f"{case.g.size} data, {case.rho.size} cells."]
    where = "" if case.core.all() else ", without the padding"
    low, high = inside.min() + 0.0, inside.max() + 0.0  # never -0
    parts.append(f"Density {low:.4g} to {high:.4g} {case.density_unit}{where}.")
    if chi is not None:
        parts.append(f"Chi factor {chi:.3g}.")
    counts = [(s, sum(f.severity == s for f in findings)) for s in ("problem", "caution")]
    names = {"problem": "problems", "caution": "cautions"}
    said = [f"{n} {s if n == 1 else names[s]}" for s, n in counts if n]
    if told:
        said.append(f"{len(told)} {'warning' if len(told) == 1 else 'warnings'}")
    *first, last = said or [""]
    text = f"{', '.join(first)}{' and ' * bool(first)}{last} below."
    parts.append(text if said else "No check found a problem.")
    yield Paragraph(" ".join(parts))
    yield Heading("What to doubt")
    if findings:
        rows = [(f.severity, f.what, f.value, f.remedy) for f in findings]
        yield Table(("", "finding", "value", "what to do"), rows, cards=True)
    if clear:
        yield Paragraph(f"Checked without a finding: {', '.join(clear)}.")
    if told:
        yield Paragraph("Warnings of the inversion:")
        yield Bullets(told)


def _data(case: Case) -> Iterator[Block]:
    yield Heading("Data and residuals")
    yield from pictures_of_data(case)
    header = ("", "rms of data", "rms of residual", "chi factor", "largest residual", "at")
    header = (*header, "neighbours' correlation", "linear trend")
    rows = []
    for r in case.residuals():
        share, chance = r.linear_trend
        trend = "" if np.isnan(share) else f"{100 * share:.0f} % of variance (p = {chance:.2g})"
        rows.append(
            (
                f"{r.name} ({r.unit})" if r.unit else r.name,
                _number(float(np.sqrt(np.mean(r.data**2)))),
                _number(r.rms),
                _number(r.chi_factor),
                _number(float(r.values[r.largest])),
                r.place(r.largest),
                _number(r.lag_correlation[0], 2),
                trend,
            )
        )
    # One column for each component, which is narrow.
    columns = list(zip(header, *rows, strict=True))
    yield Table(columns[0], columns[1:])
    if case.trend is not None:
        texts = "; ".join(trend_texts(case.trend, case.units))
        yield Paragraph(f"Trend of the data, from the mean station: {texts}.")


def _density(case: Case) -> Iterator[Block]:
    yield Heading("Density")
    if case.mesh is None:
        yield Paragraph("The operator has no mesh, so the density cannot be drawn.")
        return
    yield picture_of_density(case)
    if case.mesh.ndim == 3:
        yield picture_of_slices(case)
    if hasattr(case.result, "depth"):
        yield from _interface(case)
    depth = case.investigated
    if depth is None:
        return
    below = case.mesh.unflatten(case.core, fill=0.0).any(axis=0)
    depth = depth[below]
    known = depth[np.isfinite(depth)]
    n_open, n_none = int(np.isinf(depth).sum()), int(np.isnan(depth).sum())
    if n_none == depth.size:  # a finding says so
        return
    texts = []
    if known.size:
        texts.append(_depths(case, known))
    if n_open:
        share = "" if n_open == depth.size else f" in {n_open} of {depth.size} columns"
        texts.append(f"not reached within the mesh{share}")
    if n_none:
        texts.append(f"nowhere do the data outweigh it in {n_none} of {depth.size} columns")
    yield Paragraph(
        f"Depth of investigation, below which the prior outweighs the data: {'; '.join(texts)}."
    )


def _interface(case: Case) -> Iterator[Block]:
    """Return the depth of an estimated interface below the stations."""
    assert case.mesh is not None
    if case.mesh.ndim == 3:
        yield picture_of_interface(case)
    inside = np.zeros(case.mesh.shape[1:], dtype=bool)
    inside[core_of(case.mesh, case.stations)] = True
    depth, std = (v[0][inside.ravel()] for v in (case.result.depth, case.result.depth_std))
    known = depth[np.isfinite(depth)]
    if not known.size:
        return
    spread = std[np.isfinite(std)]
    spread = f", with a standard deviation of {np.median(spread):.2g} m" if spread.size else ""
    yield Paragraph(f"Interface {_depths(case, known)}{spread}.")


def _depths(case: Case, z: Array) -> str:
    """Return the median and the range of depths in the columns of the mesh."""
    name, sign = ("an elevation", -1.0) if case.has_elevations else ("a depth", 1.0)
    low, middle, high = np.quantile(sign * z, [0, 0.5, 1]) + 0.0  # never -0
    return f"at {name} of {middle:.4g} m in the median of the columns, {low:.4g} to {high:.4g} m"


def _doubt(case: Case) -> Iterator[Block]:
    shown = [] if case.mesh is None else [*pictures_of_doubt(case)]
    if not shown and not case.absent and case.applicability is None:
        return
    yield Heading("Uncertainty")
    yield from shown
    if case.applicability is not None:
        yield Paragraph(
            f"Of the training data, {100 * case.applicability:.2g} % are as unusual as these data."
        )
    if case.absent:
        yield Paragraph("Not available:")
        yield Bullets([f"{name}: {text}" for name, text in case.absent.items()])


def _alpha(case: Case) -> Iterator[Block]:
    alpha = getattr(case.result, "alpha", None)
    if alpha is None:
        return
    yield Heading("Choice of alpha")
    how = getattr(case.part_with("alpha"), "alpha", None)
    how = f", chosen by {how!r}" if isinstance(how, str) else ""
    yield Paragraph(f"Alpha is {alpha[0]:.4g}{how}.")
    picture = picture_of_alpha(case)
    if picture is not None:
        yield picture


def _assumed(case: Case, notes: dict[str, str]) -> Iterator[Block]:
    yield Heading("Assumptions")
    rows = [("method", _name(case.estimator))]
    if case.mesh is not None:
        beside = int(case.rho.size - case.core.sum())
        padding = f", of which {beside} cells are padding" if beside else ", no padding"
        rows.append(("mesh", f"{case.mesh!r}{padding}"))
    rows += [("survey", repr(survey)) for survey in case.surveys]
    rows += [("noise", _noise(case)), ("trend", ", ".join(case.noise.trend_names) or "none")]
    for name in ("bounds", "reference", "depth_weighting", "contrast", "decay", "decay_length"):
        part = case.part_with(name)
        if part is not None:
            value = getattr(part, name)
            of = "" if part is case.estimator else f" of {type(part).__name__}"
            title = f"{name.replace('_', ' ')}{of}"
            rows.append((title, "none" if value is None else _short(value)))
    for part in parts_of(case.estimator):
        if hasattr(part, "density_range_"):
            low, high = part.density_range_
            trained = f"densities {low:.4g} to {high:.4g}"
            noise = getattr(part, "training_noise", None)
            rows.append(("training", trained if noise is None else f"{trained}, noise {noise}"))
    rows += [(str(name), str(text)) for name, text in notes.items()]
    yield Table(("", "assumed"), rows)


def _noise(case: Case) -> str:
    if case.is_exact:
        return "0, the data are taken as exact"
    if case.sigma is None:
        return "not known"
    low, high = float(case.sigma.min()), float(case.sigma.max())
    unit = {r.unit for r in case.residuals()}
    size = f"{low:.3g}" if np.isclose(low, high) else f"{low:.3g} to {high:.3g}"
    size = f"standard deviation {size} {unit.pop()}" if len(unit) == 1 else f"σ {size}"
    return size if case.noise.is_known else f"{size}, estimated from the data"


def _made(made: dict[str, str]) -> Iterator[Block]:
    yield Heading("Provenance")
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    versions, options = json.loads(made["versions"]), json.loads(made["options"])
    rows = [
        ("date", now),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("options", ", ".join(f"{k}={v}" for k, v in options.items()) or "all defaults"),
        ("SHA-256 of data and stations", made["input_sha256"]),
    ]
    yield Table(("", "value"), rows)


def _options(estimator: Any) -> dict[str, str]:
    """Return the parameters that differ from their defaults, nested ones by their parts."""
    if not hasattr(estimator, "get_params"):
        return {}
    defaults = {k: p.default for k, p in signature(type(estimator).__init__).parameters.items()}
    given = {}
    for name, value in estimator.get_params(deep=False).items():
        if _short(value) != _short(defaults.get(name)):
            given[name] = _short(value)
    return given


def _short(value: Any) -> str:
    """Return the text of an option on one line, without addresses."""
    text = re.sub(r" at 0x[0-9a-f]+", "", " ".join(repr(value).split()))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


def _name(estimator: Any) -> str:
    """Return the names of the classes of an estimator and its parts."""
    names = [type(part).__name__ for part in parts_of(estimator)]
    return names[0] if len(names) == 1 else f"{names[-1]} of {', '.join(names[:-1])}"


def _number(value: float, digits: int = 3) -> str:
    return "" if np.isnan(value) else f"{value + 0.0:.{digits}g}"  # never -0
