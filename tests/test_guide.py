"""The code of the user guide runs, and returns what the pages say."""

import ast
import doctest
import re

import pytest
from conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
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


def test_links_and_pictures_of_the_readme_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert len(links) > 15
    assert not [link for link in links if not (ROOT / link.split("#")[0]).exists()]


def test_front_page_of_the_docs_is_a_part_of_the_readme():
    index = (ROOT / "doc" / "index.md").read_text(encoding="utf-8")
    start, end = (re.search(rf":{name}: (.*)", index)[1] for name in ("start-after", "end-before"))
    front = README.split(start)[1].split(end)[0]
    assert front.count("```python") == front.count("![") == 3
    for code in re.findall(r"```python\n(.*?)```", front, re.DOTALL):
        ast.parse(code)


def test_readme_is_short():
    assert len(README.splitlines()) <= 100
