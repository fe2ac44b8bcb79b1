"""Check built pages: links within them lead somewhere, and each example has printed and drawn.

    python doc/check_pages.py build/doc

Ends with an error that lists what is wrong.
"""

import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree as ET

DOC = Path(__file__).resolve().parent
#: Bytes that a picture has at least, seconds that an example may take on a busy machine.
LEAST_BYTES, MOST_SECONDS = 10_000, 240


class Page(HTMLParser):
    """Anchors and internal links of a page."""

    def __init__(self, path):
        super().__init__()
        self.anchors, self.links = {""}, []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        """Take down anchors and links."""
        for name, value in attrs:
            if name == "id" or (tag == "a" and name == "name"):
                self.anchors.add(value)
            elif name in {"href", "src"} and value and not urlsplit(value).scheme:
                self.links.append(value)


@cache
def page(path):
    """Return a page, parsed once."""
    return Page(path)


def broken_links(build):
    """Return the internal links that lead nowhere."""
    for path in sorted(p for p in build.rglob("*.html") if "_static" not in p.parts):
        for link in page(path).links:
            parts = urlsplit(link)
            if parts.netloc:
                continue
            target = path.parent / unquote(parts.path) if parts.path else path
            target = target.resolve()
            if not target.exists():
                yield f"{path.relative_to(build)}: {link} leads nowhere"
            elif target.suffix == ".html" and unquote(parts.fragment) not in page(target).anchors:
                yield f"{path.relative_to(build)}: {link} names no place of that page"


def silent_examples():
    """Return the examples that printed nothing, or drew no picture worth the name."""
    examples = DOC.parent / "examples"
    executed = {case.get("file") for case in cases() if case.find("skipped") is None}
    for script in sorted(examples.glob("*/plot_*.py")):
        name = script.relative_to(examples)
        if not any(Path(file).name == script.name for file in executed if file):
            continue
        rst = (DOC / "gallery" / name).with_suffix(".rst").read_text(encoding="utf-8")
        if "sphx-glr-script-out" not in rst:
            yield f"{name} prints nothing"
        pictures = (DOC / "gallery" / name.parent / "images").glob(f"sphx_glr_{script.stem}_0*.png")
        if not any(picture.stat().st_size >= LEAST_BYTES for picture in pictures):
            yield f"{name} draws no picture"


def cases():
    """Return what Sphinx-Gallery reports of each example."""
    return ET.parse(DOC.parent / "build" / "gallery.xml").getroot().iter("testcase")


def slow_examples():
    """Return the examples that take too long, and print what each took."""
    for case in cases():
        seconds = float(case.get("time", 0))
        print(f"{seconds:6.1f} s  {case.get('file') or case.get('classname')}")
        if seconds > MOST_SECONDS:
            yield f"{case.get('file')} takes {seconds:.0f} s"


def main():
    build = Path(sys.argv[1]).resolve()
    wrong = [*slow_examples(), *silent_examples(), *broken_links(build)]
    print(*wrong, sep="\n")
    sys.exit(1 if wrong else None)


if __name__ == "__main__":
    main()
