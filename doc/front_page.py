"""Draw the three pictures of the README and of the front page of the docs, into build/.

python doc/front_page.py  # all
python doc/front_page.py speed

"section" and "survey" run an example and draw its results; "speed" draws tables of doc/speed.md.
"""

import os
import runpy
import sys
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator

from skgrav.plotting import DensityDisplay

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = Path(os.environ.get("SKGRAV_PICTURES", ROOT / "build"))
#: Inches of the width, and dots per inch: 1800 pixels, which stay sharp at half of that.
WIDTH, DPI = 9.0, 200


def section():
    """Draw a section, its estimate and standard deviation, and posterior samples."""
    found = runpy.run_path(
        str(ROOT / "examples/7_uncertainty/plot_what_else_could_be_down_there.py")
    )
    draws, truth = found["draws"][0], found["truth"][0]
    shown = [0, 2, 4, 6, 9]  # five kinds of geology among the first ten
    densities = {"estimate": draws.mean(axis=1)}
    densities |= {f"draw {k}": draws[:, i] for k, i in enumerate(shown, start=1)}
    figure, axes = plt.subplots(2, 4, figsize=(WIDTH, 3.0), layout="constrained")
    display = DensityDisplay.from_predictions(
        truth,
        densities,
        mesh=found["mesh"],
        std=draws.std(axis=1),
        difference=False,
        limits=(-300.0, 300.0),
        ax=[axes.flat[k] for k in (0, 1, 3, 4, 5, 6, 7, 2)],
        colorbar=False,
    )
    for axis in axes.flat:
        axis.set_title(axis.get_title().split(",")[0], fontsize="medium")
        axis.set_xticks([-1000, 1000])
        axis.tick_params(labelsize="small")
        axis.label_outer()
    for image, label in ((0, "density contrast (kg/m³)"), (-1, "standard deviation (kg/m³)")):
        bar = figure.colorbar(display.images_[image], ax=axes, aspect=30)
        bar.set_label(label, fontsize="small")
        bar.ax.tick_params(labelsize="small")
    figure.savefig(OUTPUT / "front_section.png", dpi=DPI)


def survey():
    """Draw data, residual, truth and estimate of a survey over topography, and its report."""
    found = runpy.run_path(str(ROOT / "examples/0_tutorials/plot_area_with_terrain.py"))
    figure = plt.figure(figsize=(WIDTH, 5.2), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=(1.1, 1))
    maps, words = upper.subfigures(1, 2, width_ratios=(1.45, 1))
    _draw_maps(maps, found)
    _write_report(words, found["report"])
    axes = lower.subplots(1, 2, sharey=True)
    titles = {
        "truth": "true density, through both bodies",
        "compact": f"compact inversion, error {found['errors']['compact']:.2f}",
    }
    for axis, (name, title) in zip(axes, titles.items(), strict=True):
        image = found["draw_section"](axis, found["densities"][name], title)
        axis.set_title(title, fontsize="medium")
        axis.label_outer()
    lower.colorbar(image, ax=axes, label="density contrast (kg/m³)", shrink=0.9)
    figure.savefig(OUTPUT / "front_survey.png", dpi=DPI)


def _draw_maps(figure, found):
    """Draw maps of data and residual over the contours of the ground."""
    _, y, x = found["survey"].stations.T
    ground = found["bodies"].topography
    residual = f"residual, chi factor {found['chi']['compact']:.2f}"
    axes = figure.subplots(1, 2, sharey=True)
    for axis, values, title in zip(
        axes,
        (found["data"][0], found["residual"]),
        ("gravity over a valley", residual),
        strict=True,
    ):
        limit = np.abs(values).max()
        image = axis.scatter(x, y, 12, values, vmin=-limit, vmax=limit, cmap="coolwarm")
        axis.tricontour(*ground[:, :0:-1].T, -ground[:, 0], colors="0.5", linewidths=0.6)
        axis.set(xlim=(-88, 88), ylim=(-88, 88), aspect="equal", xlabel="x (m)", ylabel="y (m)")
        axis.set_title(title, fontsize="medium")
        axis.label_outer()
        bar = figure.colorbar(image, ax=axis, label="mGal", location="bottom", shrink=0.9)
        bar.locator = MaxNLocator(4)


def _write_report(figure, report):
    """Write the statistics of the fit, the findings and the checks of a report."""
    text = report.markdown.replace("\\", "")
    summary = text.split("\n\n")[1]
    checked = [line for line in text.splitlines() if line.startswith("Checked without")]
    table = text.split("## Data and residuals")[1].split("\n|  | ")[1].split("\n\n")[0]
    header, _, *rows = [line.strip("| ") for line in table.splitlines()]
    statistics = [header, *(": ".join(row.split(" | ")) for row in rows)]
    findings = [f"{f.severity}: {f.what} ({f.value})" for f in report.findings]
    lines = ["from the report:", ""]
    for line in [summary, "", *statistics, "", *findings, *checked]:
        lines += textwrap.wrap(line, 46, subsequent_indent="  ") or [""]
    axis = figure.subplots()
    axis.axis("off")
    axis.text(0, 1, "\n".join(lines), va="top", fontsize=8.5, transform=axis.transAxes)


def table(name):
    """Return a table of doc/speed.md as rows, each a dict by column."""
    text = (ROOT / "doc/speed.md").read_text()
    lines = text.split(f"<!-- benchmark {name} -->")[1].split("<!-- end of")[0].splitlines()
    header, _, *rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("|")]
    return [dict(zip(header, row, strict=True)) for row in rows]


def number(text):
    """Return a number of a table, or NaN if there is none."""
    return float("nan") if text == "-" else float(text.replace(",", ""))


def cells(text):
    """Return the number of cells of `40 x 40 x 20`."""
    return int(np.prod([int(n) for n in text.split(" x ")]))


def speed():
    """Draw seconds and memory over the number of cells, and of an inversion."""
    forward, scaling = table("forward"), table("scaling")
    figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 3.1), layout="constrained")
    own = [row for row in scaling if row["precision"] == "float64"]
    peers = {
        "SimPEG, matrix stored": "SimPEG, ram, float32",
        "SimPEG, nothing stored": "SimPEG, forward_only",
        "harmonica": "harmonica",
    }
    for axis, column, label in (
        (axes[0], "product, ms", "gravity of one model (CPU ms)"),
        (axes[1], "memory, MB", "memory (MB)"),
    ):
        # The memory of small meshes was too small to be measured.
        points = [(cells(r["cells"]), number(r[column])) for r in own if number(r[column]) > 0]
        axis.loglog(*zip(*points, strict=True), "o-", ms=3, label="skgrav")
        for marker, (name, engine) in zip("sd^", peers.items(), strict=True):
            rows = [row for row in forward if row["engine"] == engine]
            points = [(cells(r["cells"]), number(r[column])) for r in rows]
            axis.loglog(*zip(*points, strict=True), f"{marker}--", ms=5, lw=0.8, label=name)
        axis.set_xlabel("number of cells, with one station per column", fontsize="small")
        axis.set_title(label, fontsize="small")
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=4, fontsize="small")
    _draw_inversion(axes[2])
    for axis in axes:
        axis.grid(alpha=0.3, which="major")
        axis.tick_params(labelsize="small")
    figure.savefig(OUTPUT / "front_speed.png", dpi=DPI)


def _draw_inversion(axis):
    """Draw the seconds and the memory of an inversion as bars."""
    rows = [row for row in table("inversion") if row["engine"] in ("skgrav", "SimPEG")]
    largest = next(row["cells"] for row in rows if row["engine"] == "SimPEG")
    pair = {row["engine"]: row for row in rows if row["cells"] == largest}
    columns = {"CPU seconds": "CPU s", "memory (MB)": "memory, MB"}
    place = np.arange(len(columns))
    for k, engine in enumerate(("skgrav", "SimPEG")):
        values = [number(pair[engine][column]) for column in columns.values()]
        bars = axis.bar(place + 0.4 * k - 0.2, values, 0.4, color=f"C{k}")
        labels = [f"{engine}\n{value:,g}" for value in values]
        axis.bar_label(bars, labels, fontsize="x-small")
    axis.set_yscale("log")
    axis.set_xticks(place, columns)
    axis.margins(y=0.2)
    title = f"inversion of {cells(largest):,} cells, {pair['skgrav']['data']} data"
    axis.set_title(title, fontsize="small")


PICTURES = {"section": section, "survey": survey, "speed": speed}


if __name__ == "__main__":
    OUTPUT.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[1:] or PICTURES:
        PICTURES[name]()
        print(f"Picture: {OUTPUT / f'front_{name}.png'}")
