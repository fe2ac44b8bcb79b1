"""Put what the benchmarks have written into doc/speed.md, doc/comparison.md and the README.

`make bench` runs it at the end. Tables of benchmarks that have not been run stay as they are.
"""

import csv

from _comparison_page import fill
from _timing import OUTPUT, markdown, put_into

PAGES = {
    "speed.md": [
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
    ],
    "../README.md": ["inversion", "refining"],
}


def main():
    for page, names in PAGES.items():
        for name in names:
            path = OUTPUT / f"{name}.csv"
            if not path.exists():
                continue
            with path.open() as file:
                header, *rows, footer = csv.reader(file)
            put_into(page, f"benchmark {name}", f"{markdown(header, rows)}\n\n{footer[0]}.")
    fill()


if __name__ == "__main__":
    main()
