"""Draw the picture of the architecture page: how data flow, and the layers of subpackages.

    python doc/architecture.py

Writes doc/images/architecture.svg, the same file each time.
"""

from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams.update({"svg.hashsalt": "skgrav", "font.family": "sans-serif", "font.size": 9})

import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

FILE = Path(__file__).resolve().parent / "images" / "architecture.svg"

#: Subpackages by layer, from the top; within a layer the left ones may import the right ones.
FLOORS = [
    [("cli", "the command line")],
    [
        ("pipeline", "bare steps"),
        ("benchmarking", "tables"),
        ("reporting", "one page"),
        ("plotting", "Displays"),
        ("bridges", "other packages"),
        ("datasets", "drawn and measured"),
    ],
    [("inverters", "gravity to density"), ("generators", "densities with codes")],
    [("training", "Trainer, checkpoints"), ("networks", "torch modules")],
    [("metrics", "errors and misfits"), ("solvers", "of A rho = g")],
    [("operators", "density to gravity"), ("noise", "what is not gravity of the mesh")],
    [("io", "files"), ("geometry", "Mesh, Survey"), ("kernels", "closed forms")],
]
WITH_TORCH = {"generators", "training", "networks"}

GREY, BLUE, ORANGE, GREEN = "#f2f2f2", "#dbe8f5", "#fbe5cf", "#ddf0dc"


def box(ax, x, y, width, height, title, text="", colour=GREY):
    """Draw a box with a title, and a line of text below it."""
    style = "round,pad=0,rounding_size=0.08"
    ax.add_patch(
        FancyBboxPatch((x, y), width, height, boxstyle=style, fc=colour, ec="0.35", lw=0.9)
    )
    middle = x + width / 2, y + height / 2
    if not text:
        ax.text(*middle, title, ha="center", va="center", weight="bold")
        return
    ax.text(middle[0], middle[1] + 0.13, title, ha="center", va="center", weight="bold")
    ax.text(middle[0], middle[1] - 0.16, text, ha="center", va="center", fontsize=8)


def arrow(ax, start, end, text="", *, above=True, style="-|>", shape="arc3"):
    """Draw an arrow with a text at its middle."""
    ax.add_patch(
        FancyArrowPatch(
            start, end, arrowstyle=style, mutation_scale=11, lw=1.1, color="0.2",
            connectionstyle=shape, shrinkA=1, shrinkB=1,
        )
    )  # fmt: skip
    x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    ax.text(x, y + (0.11 if above else -0.13), text, ha="center", va="bottom" if above else "top")


def draw_flow(ax):
    """Draw densities and data as boxes, and what maps between them as arrows."""
    title = "Data: densities and gravity, and the estimators between them"
    ax.text(0, 9.35, title, fontsize=11, weight="bold")
    box(ax, 0.0, 7.75, 2.1, 0.8, "density y", "(n_samples, n_cells)", ORANGE)
    box(ax, 4.3, 7.75, 2.1, 0.8, "gravity X", "(n_samples, n_data)", BLUE)
    box(ax, 8.4, 7.75, 2.1, 0.8, "estimate", "(n_samples, n_cells)", ORANGE)
    box(ax, 12.0, 7.75, 2.3, 0.8, "refined estimate", "fits X to its noise", ORANGE)
    box(ax, 0.0, 6.15, 2.1, 0.8, "codes", "(n_samples, k)", GREY)
    box(ax, 4.3, 6.15, 2.1, 0.8, "Noise", "level or std, and trend", GREEN)
    arrow(ax, (2.1, 8.15), (4.3, 8.15), "ForwardOperator")
    arrow(ax, (6.4, 8.15), (8.4, 8.15), "inverter")
    arrow(ax, (10.5, 8.15), (12.0, 8.15), "Refiner")
    arrow(ax, (1.05, 7.75), (1.05, 6.95), style="<|-|>")
    ax.text(1.15, 7.34, "generator", va="center")
    arrow(ax, (5.35, 6.95), (5.35, 7.75))
    ax.text(5.45, 7.34, "adds to it", va="center")
    # What is whitened by the noise.
    arrow(ax, (6.4, 6.7), (7.4, 8.13), shape="arc3,rad=0.25")
    arrow(ax, (6.4, 6.4), (11.25, 8.13), shape="arc3,rad=0.3")
    ax.text(9.75, 6.45, "whitens data and operator", va="center")
    ax.plot([5.6, 5.6, 13.1], [8.55, 8.95, 8.95], color="0.2", lw=1.1)
    arrow(ax, (13.1, 8.95), (13.1, 8.55))
    ax.text(
        9.4, 9.0, "the data go along: transform(X) = [ predict(X) | X ]", ha="center", va="bottom"
    )


def draw_floors(ax):
    """Draw the subpackages in their layers."""
    ax.text(0, 5.55, "Rooms: imports only go down, and to the right", fontsize=11, weight="bold")
    height, gap, width = 0.62, 0.13, 12.0
    for i, floor in enumerate(FLOORS):
        y = 4.65 - i * (height + gap)
        each = (width - gap * (len(floor) - 1)) / len(floor)
        for j, (name, text) in enumerate(floor):
            colour = GREEN if name == "noise" else BLUE if name in WITH_TORCH else GREY
            box(ax, j * (each + gap), y, each, height, name, text, colour)
    arrow(ax, (12.45, 5.2), (12.45, 0.2))
    ax.text(12.6, 2.7, "imports", va="center", rotation=270)
    ax.text(13.05, 4.75, "need torch:", fontsize=8, va="center")
    for k, text in enumerate(["blue, and of", "inverters the", "CNNInverter"]):
        ax.text(13.05, 4.5 - 0.25 * k, text, fontsize=8, va="center")


def main():
    figure, ax = plt.subplots(figsize=(10.4, 7.1))
    ax.set(xlim=(-0.1, 14.5), ylim=(0.0, 9.75))
    ax.axis("off")
    draw_flow(ax)
    draw_floors(ax)
    figure.subplots_adjust(0, 0, 1, 1)
    figure.savefig(FILE, metadata={"Date": None})
    return figure


if __name__ == "__main__":
    main()
