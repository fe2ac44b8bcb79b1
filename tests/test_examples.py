"""The examples are where the gallery looks for them; `make doc` runs and checks them."""

import ast

import pytest
from conftest import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*/plot_*.py"))


def test_each_folder_is_numbered_and_has_a_header_and_an_example():
    folders = sorted({example.parent for example in EXAMPLES})
    assert [folder.name[0] for folder in folders] == [str(k) for k in range(len(folders))]
    assert all((folder / "GALLERY_HEADER.rst").exists() for folder in folders)


def test_no_example_lies_outside_of_the_folders():
    assert not list((ROOT / "examples").glob("plot_*.py"))


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda script: script.stem)
def test_example_has_a_title_and_saves_its_pictures(script):
    text = script.read_text(encoding="utf-8")
    title, underline = ast.get_docstring(ast.parse(text)).splitlines()[:2]
    assert set(underline) == {"="}
    assert len(underline) == len(title)
    # `make gallery` and doc/figures.py say where pictures go.
    assert 'os.environ.get("SKGRAV_PICTURES", ".")' in text
    assert "print(" in text
