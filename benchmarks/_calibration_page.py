"""The page of the docs on calibration: tables of all methods, and what was promised against it."""

import csv
from dataclasses import dataclass

import numpy as np
from _timing import OUTPUT, markdown, put_into
from scipy.stats import chisquare

#: The method that others are compared to.
REFERENCE = "bayes"

FUNCTIONALS = {
    "lower_half": "lower half",
    "deep_block": "deep block",
    "std": "std",
    "mass": "mass",
    "centroid_depth": "centroid depth",
}

#: Least p-value of ranks that count as even.
LEAST_P = 0.01


@dataclass(frozen=True)
class Bar:
    """What posteriors should reach at each level of noise, None where nothing is asked."""

    text: str
    #: Value of a `Case` and of the reference.
    value: object
    #: Bounds for noise of 0, 0.1, 1 and 5 %.
    bounds: tuple
    families: str = "all"
    #: Whether values must be at least, and not at most, the bounds.
    least: bool = False


def ratio(key):
    return lambda case, reference: case[key] / reference[key]


def off(key, level):
    return lambda case, reference: abs(case[key] - level)


def furthest_family(case, reference):
    return max(abs(cover - 0.9) for cover in case.by_family().values())


BARS = (
    Bar("CRPS, ratio", ratio("crps"), (0.78, 0.85, 0.885, 0.935)),
    Bar("coverage of 50 %, absolute deviation from 0.5", off("cover 50", 0.5), (0.02,) * 4),
    Bar("coverage of 90 %, absolute deviation from 0.9", off("cover 90", 0.9), (0.015,) * 4),
    Bar("the same, worst family", furthest_family, (0.05, 0.05, None, 0.08)),
    Bar("energy score, ratio", ratio("energy"), (0.87, 0.91, 0.935, 0.97)),
    *(
        Bar(
            f"p of ranks, {text}",
            lambda case, _, key=key: case.p_value(key),
            (0.01,) * 4,
            least=True,
        )
        for key, text in FUNCTIONALS.items()
    ),
    Bar(
        "interface spread, ratio to that of the truth",
        lambda case, _: case["spread"] / case["spread of truth"],
        (1.6,) * 4,
    ),
    Bar(
        "coverage of 90 %, unseen families", lambda c, _: c["cover 90"], (0.81,) * 4, "unseen", True
    ),
    Bar("CRPS, ratio, unseen families", ratio("crps"), (1.0,) * 4, "unseen"),
    Bar(
        "coverage of 50 %, deviation from 0.5, volumes",
        off("cover 50", 0.5),
        (0.03,) * 4,
        "volumes",
    ),
    Bar(
        "coverage of 90 %, deviation from 0.9, volumes",
        off("cover 90", 0.9),
        (0.03,) * 4,
        "volumes",
    ),
    Bar("CRPS, ratio, volumes", ratio("crps"), (0.8,) * 4, "volumes"),
)


class Case:
    """Figures of a method in one case, one row for each seed."""

    def __init__(self, rows):
        self.rows = rows

    def __getitem__(self, key):
        return np.mean([float(row.get(key) or np.nan) for row in self.rows])

    def by_family(self):
        """Return the cover of 90 % of each family, by its name."""
        prefix = "cover 90 of "
        names = [key for key, value in self.rows[0].items() if key.startswith(prefix) and value]
        return {name.removeprefix(prefix): self[name] for name in names}

    def p_value(self, functional):
        """Return the p-value of the ranks of all seeds together."""
        counts = [(row.get(f"ranks {functional}") or "").split() for row in self.rows]
        # Exact data determine the mass, and ranks of what is known mean nothing.
        if not all(counts) or (functional == "mass" and self["noise"] == 0):
            return np.nan
        return chisquare(np.sum(np.array(counts, dtype=int), axis=0)).pvalue


def read(methods):
    """Return a `Case` by method, families, noise and how it was told."""
    found = {}
    for name in methods:
        for file in (name, f"{name}-3d"):
            path = OUTPUT / f"calibration_{file}.csv"
            if path.exists():
                with path.open() as lines:
                    for row in csv.DictReader(lines):
                        key = name, row["families"], float(row["noise"]), row["telling"]
                        found.setdefault(key, []).append(row)
    return {key: Case(rows) for key, rows in found.items()}


def make_page(methods):
    found = read(methods)
    for name, content in {
        "table of bars": bars(found),
        "table of methods": table_of_methods(found),
        "table of families": table_of_families(found),
        "table of tellings": table_of_tellings(found),
        "table of unseen families": table_of_others(found, "unseen"),
        "table of volumes": table_of_others(found, "volumes"),
        "sizes": sizes(found),
    }.items():
        put_into("calibration.md", name, content)


def those(found, families, telling=None):
    """Yield method, noise, telling, case and that of the reference."""
    for (name, of, noise, how), case in found.items():
        if of == families and telling in (None, how):
            yield name, noise, how, case, found.get((REFERENCE, of, noise, how))


def percent(noise):
    return f"{100 * noise:g} %"


def number(value, digits=2):
    return "-" if np.isnan(value) else f"{value:.{digits}f}"


def p_text(value):
    return "< 0.01" if value < LEAST_P else number(value)


def with_ratio(case, reference, key):
    if np.isnan(case[key]):
        return "-"
    return f"{case[key]:.3f} ({case[key] / reference[key]:.2f})"


def bars(found):
    """Return what was promised against what each method reaches, misses in bold."""
    names = [name for name in dict.fromkeys(key[0] for key in found) if name != REFERENCE]
    rows, missed = [], dict.fromkeys(names, 0)
    for bar in BARS:
        sign = "≥" if bar.least else "≤"
        asked = ["-" if bound is None else f"{bound:g}" for bound in bar.bounds]
        asked = asked[:1] if len(set(asked)) == 1 else asked
        row = [bar.text, f"{sign} {', '.join(asked)}"]
        for name in names:
            values = {
                noise: bar.value(case, reference)
                for method, noise, _, case, reference in those(found, bar.families, "told")
                if method == name
            }
            texts = []
            for bound, value in zip(bar.bounds, values.values(), strict=False):
                text = p_text(value) if bar.text.startswith("p of") else number(value, 3)
                if bound is not None and (value < bound if bar.least else value > bound):
                    text, missed[name] = f"**{text}**", missed[name] + 1
                texts.append(text)
            row.append(", ".join(texts) or "-")
        rows.append(row)
    rows.append(["targets missed", "", *(str(count) for count in missed.values())])
    return markdown(["at noise of 0, 0.1, 1 and 5 %", "target", *names], rows)


def table_of_methods(found):
    header = ["method", "noise", "error of the mean", "CRPS", "coverage of 50 %", "of 90 %"]
    header += ["energy score", "chi factor", "interface spread"]
    header += [f"p, {text}" for text in FUNCTIONALS.values()]
    header += ["ms of marginals", "of 100 draws"]
    rows = []
    for name, noise, _, case, reference in those(found, "all", "told"):
        row = [name, percent(noise), number(case["error"], 3), with_ratio(case, reference, "crps")]
        row += [number(case["cover 50"]), number(case["cover 90"])]
        row += [with_ratio(case, reference, "energy")]
        # Exact data leave no residual to compare with noise.
        row += ["-" if noise == 0 else number(case["chi"]), number(case["spread"])]
        row += [p_text(case.p_value(key)) for key in FUNCTIONALS]
        row += [number(case["ms of marginals"], 1), number(case["ms of 100 draws"], 0)]
        rows.append(row)
    return markdown(header, rows)


def table_of_families(found):
    rows = []
    for name, noise, _, case, _ in those(found, "all", "told"):
        covers = case.by_family()
        rows.append([name, percent(noise), *(number(cover) for cover in covers.values())])
    labels = [name.replace("_", " ") for name in covers]
    return markdown(["method", "noise", *labels], rows)


def table_of_tellings(found):
    """Return CRPS, as ratio to that with the noise told, and covers."""
    kinds = ("told", "estimated", "half", "twice")
    header = [
        "method",
        "noise",
        *(f"{what}, {kind}" for what in ("CRPS", "coverage of 50 %", "of 90 %") for kind in kinds),
    ]
    header = [title.replace("told", "stated") for title in header]
    rows = []
    for name, noise, _, told, _ in those(found, "all", "told"):
        cases = [found.get((name, "all", noise, kind)) for kind in kinds]
        row = [name, percent(noise)]
        row += ["-" if case is None else number(case["crps"] / told["crps"]) for case in cases]
        for key in ("cover 50", "cover 90"):
            row += ["-" if case is None else number(case[key]) for case in cases]
        rows.append(row)
    return markdown(header, rows)


def table_of_others(found, families):
    header = ["method", "noise", "error of the mean", "CRPS", "coverage of 50 %", "of 90 %"]
    header += ["energy score"] * (families == "unseen")
    rows = []
    for name, noise, _, case, reference in those(found, families, "told"):
        row = [name, percent(noise), number(case["error"], 3), with_ratio(case, reference, "crps")]
        row += [number(case["cover 50"]), number(case["cover 90"])]
        row += [with_ratio(case, reference, "energy")] * (families == "unseen")
        rows.append(row)
    return markdown(header, rows)


def sizes(found):
    first = found[REFERENCE, "all", 0.0, "told"]
    seeds = len(first.rows)
    fits, exact = [], []
    for name, noise, _, case, _ in those(found, "all", "told"):
        if noise == 0:
            fits.append(f"{name} {case['fit seconds']:.0f}")
            exact.append(f"{name} {case['misfit']:.0e}")
    spread = []
    for name, _, _, case, reference in those(found, "all", "told"):
        if name != REFERENCE:
            pairs = zip(case.rows, reference.rows, strict=True)
            ratios = [float(row["crps"]) / float(base["crps"]) for row, base in pairs]
            spread.append(max(ratios) - min(ratios))
    between = (
        f" Ratios of CRPS differ by at most {max(spread):.3f} between seeds."
        if seeds > 1 and spread
        else ""
    )
    volumes = found.get((REFERENCE, "volumes", 0.0, "told"))
    in_3d = (
        ""
        if volumes is None
        else (
            f" In 3D, {volumes['sections']:.0f} volumes and {volumes['library']:.0f} training "
            "volumes."
        )
    )
    return (
        f"{first['library']:.0f} training sections, and {first['sections']:.0f} unseen sections "
        f"for each of {seeds} seed{'s' * (seeds > 1)}.{in_3d} P-values are computed from "
        f"the ranks of all seeds. Ratios to {REFERENCE} are in parentheses.{between} "
        f"CPU seconds of `fit`: {', '.join(fits)}. "
        f"Largest mean misfit of samples for data without noise: {', '.join(exact)}."
    )
