"""Timing side by side, alternating runs of peers on one thread, and what is made of the figures."""

import csv
import platform
import statistics
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

OUTPUT = Path("build/benchmarks")
DOC = Path(__file__).parents[1] / "doc"


def median_seconds(peers, n_runs=5):
    """Return the median CPU seconds of each callable, run in turn after one warm-up each."""
    for run in peers.values():
        run()
    seconds = {name: [] for name in peers}
    for _ in range(n_runs):
        for name, run in peers.items():
            start = time.process_time()
            run()
            seconds[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def versions(*packages):
    """Return the versions of packages as text."""
    found = [f"Python {platform.python_version()}"]
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} not installed")
    return ", ".join(found)


def report(name, header, rows, footer):
    """Print a table and write it as CSV."""
    widths = [max(len(str(r[i])) for r in [header, *rows]) for i in range(len(header))]
    for row in [header, *rows]:
        cells = [
            str(c).ljust(w) if i == 0 else str(c).rjust(w)
            for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells))
    print(footer)
    OUTPUT.mkdir(parents=True, exist_ok=True)
    with (OUTPUT / f"{name}.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows, [footer]])


def put_into(page, name, content):
    """Replace what stands between the two comments of that name in a page of the documentation."""
    path = DOC / page
    text = path.read_text()
    start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    path.write_text(f"{text.split(start)[0]}{start}\n\n{content}\n\n{end}{text.split(end)[1]}")


def markdown(header, rows):
    """Return a table as lines of Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
