"""Pages of the public names, and links to them from wherever a name stands as code.

A name is documented under the shortest path by which it can be imported, `skgrav.Refiner` rather
than `skgrav.inverters.Refiner`, once.
"""

import importlib
import inspect
import re

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms import SphinxTransform

import skgrav

#: From the data to the estimate; rooms that are not named here come last.
ORDER = [
    "geometry",
    "io",
    "noise",
    "operators",
    "kernels",
    "datasets",
    "inverters",
    "solvers",
    "generators",
    "networks",
    "training",
    "metrics",
    "plotting",
    "reporting",
    "benchmarking",
    "pipeline",
    "bridges",
]
ROOMS = sorted(skgrav._ROOMS, key=lambda room: (*ORDER, room).index(room))


def public_names():
    """Return the documented path of each public name, by all names that it goes by."""
    top = {id(getattr(skgrav, name)): f"skgrav.{name}" for name in skgrav.__all__}
    paths = {}
    for room in ROOMS:
        module = importlib.import_module(f"skgrav.{room}")
        paths[f"skgrav.{room}"] = f"module-skgrav.{room}"
        for name in module.__all__:
            path = top.get(id(getattr(module, name)), f"skgrav.{room}.{name}")
            paths |= dict.fromkeys((name, f"skgrav.{name}", f"skgrav.{room}.{name}", path), path)
    return paths


NAMES = public_names()


def kind(room, name):
    """Return under which heading a public name stands."""
    thing = getattr(importlib.import_module(f"skgrav.{room}"), name)
    if inspect.isclass(thing):
        return "Warnings" if issubclass(thing, BaseException) else "Classes"
    return "Functions" if callable(thing) and not hasattr(thing, "_score_func") else "Objects"


def write(folder):
    """Write a page for each room."""
    folder.mkdir(parents=True, exist_ok=True)
    for room in ROOMS:
        module = importlib.import_module(f"skgrav.{room}")
        title = f"skgrav.{room}"
        lines = [title, "=" * len(title), "", f".. py:module:: {title}", "", inspect.getdoc(module)]
        for heading in ("Classes", "Functions", "Objects", "Warnings"):
            names = [name for name in module.__all__ if kind(room, name) == heading]
            if not names:
                continue
            lines += ["", heading, "-" * len(heading), "", ".. py:currentmodule:: None", ""]
            lines += [".. autosummary::", "   :toctree: ../objects", "   :nosignatures:", ""]
            lines += [f"   ~{NAMES[f'skgrav.{room}.{name}']}" for name in names]
        text = "\n".join(lines) + "\n"
        page = folder / f"{room}.rst"
        if not page.exists() or page.read_text() != text:
            page.write_text(text)


class LinkNames(SphinxTransform):
    """Link code that is a public name, and nothing else, to its page."""

    default_priority = 50

    def apply(self, **kwargs):
        """Replace such code by references."""
        for literal in list(self.document.findall(nodes.literal)):
            name = re.sub(r"\(.*\)$", "", literal.astext())
            target = NAMES.get(name)
            if target is None or _within_link(literal):
                continue
            if target.startswith("module-"):
                target = name
            reference = addnodes.pending_xref(
                "",
                refdomain="py",
                reftype="obj",
                reftarget=target,
                refdoc=self.env.docname,
                refexplicit=True,
                refwarn=True,
            )
            literal.replace_self(reference)
            reference += literal


def _within_link(node):
    while node is not None:
        if isinstance(node, (nodes.reference, addnodes.pending_xref, nodes.title)):
            return True
        node = node.parent
    return False


def resolve_short_name(app, env, node, contnode):
    """Find the page of a name that See Also gives without its path."""
    target = NAMES.get(node.get("reftarget", ""))
    if node.get("refdomain") != "py" or target in (None, node["reftarget"]):
        return None
    return env.domains["py"].resolve_xref(
        env, node["refdoc"], app.builder, "obj", target, node, contnode
    )


def skip_member(app, what, name, thing, skip, options):
    """Leave out what scikit-learn, torch and Python add to a class, and the fields of tuples."""
    home = getattr(thing, "__module__", None) or ""
    routing = re.fullmatch(r"set_\w+_request", name) is not None
    foreign = inspect.isroutine(thing) and not home.startswith("skgrav")
    alias = (inspect.getdoc(thing) or "").startswith("Alias for field number")
    return True if routing or foreign or alias else None


def escape_shapes(app, what, name, thing, options, lines):
    """Keep `n_components_` in a shape from being read as a reference, and `*shape` as emphasis."""
    for i, line in enumerate(lines):
        if " : " in line and "shape" in line:
            lines[i] = re.sub(r"(?<=\w)_(?=[,)])|\*(?=\w)", r"\\\g<0>", line)


def setup(app):
    """Register links and the choice of members."""
    app.setup_extension("sphinx.ext.autodoc")
    app.add_transform(LinkNames)
    app.connect("missing-reference", resolve_short_name)
    # Before numpydoc, which takes types as they are.
    app.connect("autodoc-process-docstring", escape_shapes, priority=100)
    app.connect("autodoc-skip-member", skip_member)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
