"""Timing side by side, alternating runs of peers on one thread, and what is made of the figures."""

import csv
import math
import platform
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path

from threadpoolctl import threadpool_limits

OUTPUT = Path("build/benchmarks")
DOC = Path(__file__).parents[1] / "doc"


def median_seconds(peers, n_runs=5, at_least=0.0, warm_up=True):
    """Return the median CPU seconds of each callable, run in turn after one warm-up each.

    What is quicker than `at_least` seconds is repeated so often in each run, as a solver would: one
    call alone would find the caches full of what its peers left there.
    """
    repeats = dict.fromkeys(peers, 1)
    if warm_up:
        for name, run in peers.items():
            taken = _seconds(run, 1)
            if taken < at_least:
                repeats[name] = math.ceil(at_least / max(_seconds(run, 1), 1e-5))
    seconds = {name: [] for name in peers}
    for _ in range(n_runs):
        for name, run in peers.items():
            seconds[name].append(_seconds(run, repeats[name]))
    return {name: statistics.median(values) for name, values in seconds.items()}


def _seconds(run, repeats):
    start = time.process_time()
    for _ in range(repeats):
        run()
    return (time.process_time() - start) / repeats


def in_fresh_process(prepare, *args):
    """Return CPU seconds, megabytes and result of `prepare(*args)()` in a process of its own.

    Neither seconds nor megabytes count what `prepare` does, such as importing and compiling.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measured, prepare, args).result()


def _measured(prepare, args):
    with threadpool_limits(1):
        run = prepare(*args)
        Path("/proc/self/clear_refs").write_text("5")  # the peak of memory starts anew
        before, start = _peak_megabytes(), time.process_time()
        result = run()
        return time.process_time() - start, _peak_megabytes() - before, result


def _peak_megabytes():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError("memory is measured on Linux only")


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


def processor():
    """Return the kind of processor, and what it is able to compute at once."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    name = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "")
    flags = next((x for x in lines if x.startswith("flags")), "")
    width = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else ""
    return ", ".join(filter(None, [name or platform.machine(), width]))
