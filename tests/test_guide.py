"""The code of the user guide runs, and returns what the pages say."""

import doctest
import re

import pytest
from conftest import ROOT

PAGES = sorted(page for page in (ROOT / "doc").rglob("*.md") if "```pycon" in page.read_text())
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def sessions(text):
    """Return the interactive sessions of a page, and empty lines elsewhere to keep its numbers."""
    kept, inside = [], False
    for line in text.splitlines():
        inside = line != "```" and (inside or line == "```pycon")
        kept.append(line if inside and line != "```pycon" else "")
    return "\n".join(kept) + "\n"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page(page):
    text = page.read_text(encoding="utf-8")
    test = doctest.DocTestParser().get_doctest(sessions(text), {}, page.name, str(page), 0)
    complaints = []
    doctest.DocTestRunner(optionflags=FLAGS).run(test, out=complaints.append)
    assert not complaints, "".join(complaints)
    assert len(test.examples) == len(re.findall(r"^>>> ", text, re.MULTILINE))


def test_there_are_pages():
    assert PAGES
