"""Put what the benchmarks have written into doc/speed.md and doc/comparison.md.

`make bench` runs it at the end. Tables of benchmarks that have not been run stay as they are.
"""

import csv

from _comparison_page import fill
from _timing import OUTPUT, markdown, put_into

TABLES = [
    "forward",
    "scaling",
    "crossover",
    "anywhere",
    "anywhere-crossover",
    "anywhere-padding",
    "sensitivity",
    "sections",
    "inversion",
    "refining",
    "times",
]


def main():
    for name in TABLES:
        path = OUTPUT / f"{name}.csv"
        if not path.exists():
            continue
        with path.open() as file:
            header, *rows, footer = csv.reader(file)
        put_into("speed.md", f"benchmark {name}", f"{markdown(header, rows)}\n\n{footer[0]}.")
    fill()


if __name__ == "__main__":
    main()
