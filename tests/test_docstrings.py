"""Public docstrings are valid numpydoc; pyproject.toml lists the codes that are not asked for."""

import importlib
import inspect
import pkgutil
import tomllib

import pytest
from conftest import ROOT
from numpydoc.validate import validate

import skgrav

CHECKS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
    "numpydoc_validation"
]["checks"]
NOT_ASKED = set(CHECKS) - {"all"}
# Classes and functions, unlike their methods, show how they are used and what is near.
ASKED_ON_TOP = {"EX01", "SA01"}


def public_modules():
    """Give skgrav's public modules, the deepest first."""
    rooms = [info.name for info in pkgutil.iter_modules(skgrav.__path__)]
    names = [f"skgrav.{room}" for room in rooms if not room.startswith("_")]
    return [importlib.import_module(name) for name in [*names, "skgrav"]]


def public_objects():
    """Give the dotted name of each public class and function once."""
    names = {}
    for module in public_modules():
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isclass(thing) or inspect.isroutine(thing):
                names.setdefault(id(thing), f"{module.__name__}.{name}")
    return sorted(names.values())


def public_methods(dotted):
    """Give the dotted names of the public methods that a skgrav class defines or inherits here."""
    module, name = dotted.rsplit(".", 1)
    cls = getattr(importlib.import_module(module), name)
    if not inspect.isclass(cls):
        return []
    return [
        f"{dotted}.{attribute}"
        for attribute, thing in inspect.getmembers(cls, inspect.isroutine)
        if not attribute.startswith("_")
        and (getattr(thing, "__module__", None) or "").startswith("skgrav")
    ]


OBJECTS = public_objects()
METHODS = [method for dotted in OBJECTS for method in public_methods(dotted)]


def resolved(dotted):
    """Give what a dotted name of `OBJECTS` or `METHODS` stands for."""
    _, room, *names = dotted.split(".")
    thing = importlib.import_module(f"skgrav.{room}")
    for name in names:
        thing = getattr(thing, name)
    return thing


def is_exception(dotted):
    """Tell whether a public name is an exception or a warning."""
    thing = resolved(dotted)
    return inspect.isclass(thing) and issubclass(thing, BaseException)


def complaints(dotted, not_asked):
    """Give numpydoc's complaints about one docstring."""
    found = validate(dotted)
    if not found["docstring"].strip():
        return ["GL08: there is no docstring"]
    return [f"{code}: {text}" for code, text in found["errors"] if code not in not_asked]


@pytest.mark.parametrize("dotted", OBJECTS)
def test_class_or_function(dotted):
    # Exceptions and warnings are met, not used.
    not_asked = NOT_ASKED if is_exception(dotted) else NOT_ASKED - ASKED_ON_TOP
    assert complaints(dotted, not_asked) == []


@pytest.mark.parametrize("dotted", METHODS)
def test_method(dotted):
    assert complaints(dotted, NOT_ASKED) == []


def test_something_was_found():
    assert OBJECTS
    assert METHODS
