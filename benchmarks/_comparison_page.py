"""Tables of doc/comparison.md that are put together from tables of other pages."""

import re

from _timing import DOC, markdown, put_into

PROBLEMS = "public_problems.md"
SMOOTH, COMPACT = "skgrav, smooth, order 1", "skgrav, compact"
SIMPEG = ("SimPEG, smooth", SMOOTH, "SimPEG, sparse", COMPACT)
PUBLISHED = tuple(
    f"{engine}, {norm}, as published"
    for norm in ("smooth", "sparse")
    for engine in ("GRAV3D", "SimPEG")
)
VOLUMES = (
    "GraviGNN, as published",
    "best linear, clipped",
    "smooth",
    "compact, contrast given",
    "U-Net",
)

#: Columns of error, mass, distance of centres, seconds and memory; None where there is none.
REGULARISED = ("error", "mass", "centre off, m", "in all, CPU s", "memory, MB")
CLEAN = ("mean of I-VI", None, None, "per volume, CPU s", "memory, MB")
NOISY = ("validation, noise", None, None, "per volume, CPU s", "memory, MB")
SECTIONS = ("1.0%, trained", None, None, "CPU seconds", None)

#: Problem, page, table, columns and methods of each block of the first table.
BLOCKS = (
    ("P1, bodies in 3D, seconds per volume", PROBLEMS, "public volumes", CLEAN, VOLUMES),
    ("P1, noise of 5 % of the largest", PROBLEMS, "public volumes", NOISY, VOLUMES),
    ("P2, a block", PROBLEMS, "public block", REGULARISED, PUBLISHED + SIMPEG),
    ("P3, two bodies below topography", PROBLEMS, "public bodies", REGULARISED, SIMPEG),
    (
        "P4, sections, noise of 1 %, seconds of training",
        "accuracy.md",
        "table of main",
        SECTIONS,
        (
            "paper's network",
            "paper's network + LGMRES",
            "Tikhonov, first order",
            "best linear",
            "default",
        ),
    ),
    ("P5, a slab and a ball", PROBLEMS, "public slab", REGULARISED, SIMPEG),
)

#: Job, table of doc/speed.md, the cells of its rows, columns of seconds or milliseconds and of
#: memory, and engines, ours first.
JOBS = (
    (
        "gravity of 256,000 cells at 6,400 stations of a grid, the first time",
        "forward",
        "80 x 80 x 40",
        ("first g, ms", "memory, MB"),
        ("skgrav, float64", "SimPEG, ram, float32", "SimPEG, forward_only", "harmonica"),
    ),
    (
        "... once more",
        "forward",
        "80 x 80 x 40",
        ("product, ms", None),
        ("skgrav, float64", "SimPEG, ram, float32", "SimPEG, forward_only", "harmonica"),
    ),
    (
        "the same at stations anywhere, the first time",
        "anywhere",
        "80 x 80 x 40",
        ("first g, s", "stored, MB"),
        ("anywhere, 1e-06", "SimPEG, ram, float32"),
    ),
    (
        "32,000 cells at 1,600 stations anywhere, the matrix",
        "sensitivity",
        None,
        ("seconds", None),
        ("skgrav, any stations, float64", "SimPEG, ram, float64"),
    ),
    (
        "a section of 200 x 200 cells, the matrix",
        "sections",
        "200 x 200",
        ("ms", None),
        ("skgrav, float64", "SimPEG, ram, float32", "pyGIMLi"),
    ),
    (
        "least depth-weighted norm, 108,000 cells, 3,600 data",
        "inversion",
        "60 x 60 x 30",
        ("CPU s", "memory, MB"),
        ("skgrav", "SimPEG"),
    ),
)


#: Names of engines where their tables have others.
ENGINES = {"anywhere, 1e-06": "skgrav, to 1e-6", "harmonica": "Harmonica"}


def section(page, name):
    """Return what stands between two comments of a page."""
    text = (DOC / page).read_text()
    found = re.search(f"<!-- {re.escape(name)} -->\n(.*?)<!-- end of ", text, re.DOTALL)
    if found is None:
        raise ValueError(f"doc/{page} has no table {name!r}")
    return found[1]


def table(text):
    """Return the rows of a table, by its header."""
    rows = [line for line in text.splitlines() if line.startswith("|")]
    header, _, *rows = ([cell.strip() for cell in row.strip("|").split("|")] for row in rows)
    return [dict(zip(header, row, strict=True)) for row in rows]


def problems():
    """Return the table of P1 to P5."""
    header = ["problem", "method", "error", "mass", "centre off, m", "CPU s", "memory, MB"]
    lines = []
    for problem, page, name, columns, methods in BLOCKS:
        text = section(page, name)
        found = {row["method"]: row for row in table(text)}
        simpeg = re.search(r"simpeg [\d.]+\d", text)
        for method in methods:
            cells = [found[method][c] or "-" if c else "-" for c in columns]
            lines.append(
                ["" if method != methods[0] else problem, labelled(method, simpeg), *cells]
            )
    return markdown(header, lines)


def labelled(method, simpeg):
    """Return a method with the name of its library, and the version of SimPEG that was run."""
    if method.startswith("SimPEG") and "published" not in method:
        return method.replace("SimPEG", simpeg[0].replace("simpeg", "SimPEG"))
    others = ("GraviGNN", "GRAV3D", "SimPEG", "skgrav")
    return method if method.startswith(others) else f"skgrav, {method}"


def speed():
    """Return the table of seconds and memory."""
    header = ["job", "library", "CPU s", "times as long", "memory, MB"]
    lines = []
    for job, name, size, (time, memory), engines in JOBS:
        rows = table(section("speed.md", f"benchmark {name}"))
        found = {row["engine"]: row for row in rows if size in (None, row.get("cells"))}
        unit = 1e-3 if "ms" in time else 1.0
        seconds = {e: unit * float(found[e][time].replace(",", "")) for e in engines}
        for engine in engines:
            times = seconds[engine] / seconds[engines[0]]
            lines.append(
                [
                    "" if engine != engines[0] else job,
                    ENGINES.get(engine, engine),
                    f"{seconds[engine]:.3g}",
                    f"{times:,.0f}" if times >= 10 else f"{times:.2g}",
                    f"{float(found[engine][memory].replace(',', '')):,.0f}" if memory else "-",
                ]
            )
    return markdown(header, lines)


def fill():
    """Put both tables into the page."""
    put_into("comparison.md", "public summary", problems())
    put_into("comparison.md", "speed summary", speed())


if __name__ == "__main__":
    fill()
