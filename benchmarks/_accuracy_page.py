"""Page of the docs about accuracy, made of the files that accuracy.py writes."""

import csv
import json

import numpy as np
from _clock import fast_precision
from _timing import DOC, OUTPUT, markdown, processor, put_into, versions

LEVELS = (0.0, 0.001, 0.01, 0.05)
MINUTES = OUTPUT / "accuracy_minutes.json"


def minutes():
    """Return the CPU minutes that each part took."""
    return json.loads(MINUTES.read_text()) if MINUTES.exists() else {}


def note_minutes(part, taken):
    """Keep the CPU minutes of a part for its table."""
    MINUTES.write_text(json.dumps(minutes() | {part: taken}))


def read(part):
    """Return the rows of a part's file, numbers as numbers; none if it has not been run."""
    path = OUTPUT / f"accuracy_{part}.csv"
    if not path.exists():
        return []
    with path.open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        for name in ("noise", "error", "misfit", "chi factor", "cpu seconds"):
            row[name] = float(row[name])
    return rows


def over_seeds(rows, name="error"):
    """Return mean and standard deviation over the seeds."""
    values = np.array([row[name] for row in rows])
    spread = np.std(values, ddof=1) if len(values) > 1 else 0.0
    return np.mean(values), spread


def table(rows, by="method", geologies=("trained", "unseen"), beside=()):
    """Return errors in Markdown: a row a method, a column a noise level and geology."""
    names = list(dict.fromkeys(row[by] for row in rows))
    columns = [(g, level) for g in geologies for level in LEVELS]
    columns = [c for c in columns if any((r["geology"], r["noise"]) == c for r in rows)]
    both = len({geology for geology, _ in columns}) > 1
    header = [by, *(f"{level:.1%}{', ' + g if both else ''}" for g, level in columns)]
    lines = []
    for name in names:
        mine = [row for row in rows if row[by] == name]
        line = [name]
        for column in columns:
            mean, spread = over_seeds(
                [row for row in mine if (row["geology"], row["noise"]) == column]
            )
            line.append(f"{mean:.4f}" + (f" ± {spread:.4f}" if spread else ""))
        for title, value in beside:
            line.append(value(mine))
            header = [*header, title] if title not in header else header
        lines.append(line)
    return markdown(header, lines)


def seconds_of(rows):
    seconds = max(row["cpu seconds"] for row in rows)
    return f"{seconds:.0f}" if seconds else "-"


def at(name, level, form):
    return lambda rows: form.format(
        over_seeds([r for r in rows if r["noise"] == level and r["geology"] == "trained"], name)[0]
    )


def ratios(rows):
    """Return the default's error relative to the paper's network, the best linear, the better."""
    lines = []
    for geology in ("trained", "unseen"):
        for level in LEVELS:
            found = {}
            for method in ("default", "paper's network", "best linear"):
                chosen = [
                    row
                    for row in rows
                    if (row["method"], row["geology"], row["noise"]) == (method, geology, level)
                ]
                found[method] = np.array([row["error"] for row in chosen])
            ours = found.pop("default")
            better = np.minimum(*found.values())
            cells = [ours / found["paper's network"], ours / found["best linear"], ours / better]
            lines.append(
                [
                    geology,
                    f"{level:.1%}",
                    *(f"{np.mean(c):.3f} ± {np.ptp(c) / 2:.3f}" for c in cells),
                ]
            )
    header = ["geology", "noise", "to paper's network", "to best linear", "to the better"]
    return markdown(header, lines)


def picture(rows):
    """Draw errors over noise."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    shown = ["mean model", "Tikhonov, first order", "best linear", "paper's network"]
    shown += ["paper's network + bayes", "default"]
    places = np.arange(len(LEVELS))
    for axis, geology in zip(axes, ("trained", "unseen"), strict=True):
        for name in shown:
            values = [
                over_seeds(
                    [
                        row
                        for row in rows
                        if (row["method"], row["geology"], row["noise"]) == (name, geology, level)
                    ]
                )
                for level in LEVELS
            ]
            mean, spread = np.transpose(values)
            axis.errorbar(places, mean, spread, marker="o", markersize=4, capsize=3, label=name)
        axis.set(title=f"{geology} families", xlabel="noise, relative to the rms of the data")
        axis.set_xticks(places, ["0", *(f"{level:.1%}" for level in LEVELS[1:])])
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("relative L2 error of density")
    axes[1].legend(fontsize="small")
    figure.savefig(DOC / "images" / "accuracy.png", dpi=90)


def make_page(options):
    """Make the page of the docs and its picture out of the files of the other parts.

    Tables of parts that have not been run stay as they are.
    """
    fits = [
        ("misfit, 0%", at("misfit", 0.0, "{:.1e}")),
        ("chi factor, 1%", at("chi factor", 0.01, "{:.2f}")),
        ("CPU seconds", seconds_of),
    ]
    took = {"beside": [("CPU seconds", seconds_of)]}
    forms = {
        "main": {"beside": fits},
        "ablation": took,
        "consistency": {"beside": fits, "geologies": ["trained"]},
        "heads": took,
        "sections": took | {"geologies": ["trained"]},
        "seconds": took | {"geologies": ["trained"]},
        "geometry": took | {"by": "survey and method"},
    }
    known = f"{processor()}; {versions('skgrav', 'torch', 'numpy', 'scikit-learn')}."
    for part, form in forms.items():
        if not (rows := read(part)):
            continue
        if part == "geometry":
            for row in rows:
                row["survey and method"] = f"{row['geology']}: {row['method']}"
                row["geology"] = "trained"
        note = f"{minutes()[part]:.0f} CPU minutes, {fast_precision()}; {known}"
        put_into("accuracy.md", f"table of {part}", f"{table(rows, **form)}\n\n{note}")
        if part == "main":
            put_into("accuracy.md", "table of ratios", f"{ratios(rows)}\n\n{note}")
            picture(rows)
