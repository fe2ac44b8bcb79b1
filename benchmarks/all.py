"""Run the benchmarks against peers one after the other, say what each takes, and fill the pages.

    python benchmarks/all.py              # all of bench_*.py, hours
    python benchmarks/all.py noise logs   # some

Those that fail are named at the end; the others run all the same.
"""

import argparse
import csv
import os
import subprocess
import sys
import time
from pathlib import Path

import page
from _timing import OUTPUT, processor, report

HERE = Path(__file__).parent
NAMES = [path.stem.removeprefix("bench_") for path in sorted(HERE.glob("bench_*.py"))]
HEADER = ["benchmark", "minutes", "CPU minutes", "on"]


def measured(name):
    """Return minutes, CPU minutes and day of a run as text, or None if it failed."""
    start, before = time.perf_counter(), sum(os.times()[2:4])
    print(f"{time.strftime('%H:%M')} bench_{name}.py", flush=True)
    done = subprocess.run([sys.executable, HERE / f"bench_{name}.py"], check=False)
    spent = time.perf_counter() - start, sum(os.times()[2:4]) - before
    return None if done.returncode else [*(f"{s / 60:.1f}" for s in spent), time.strftime("%F")]


def known():
    """Return what earlier runs took, by name."""
    path = OUTPUT / "times.csv"
    if not path.exists():
        return {}
    with path.open() as file:
        _, *rows, _ = csv.reader(file)
    return {name: rest for name, *rest in rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(NAMES))
    names = parser.parse_args().names or NAMES
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}")
    failed = []
    for name in names:
        taken = measured(name)
        if taken is None:
            failed.append(name)
            continue
        times = known() | {name: taken}
        rows = [[n, *times[n]] for n in NAMES if n in times]
        report("times", HEADER, rows, f"One thread, beside other processes; {processor()}")
        page.main()
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
