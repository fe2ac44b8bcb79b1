"""Names of columns: what they say of units and of geographic coordinates."""

from __future__ import annotations

import re

from skgrav.geometry import UNIT_SIZES, unit_name

#: A unit at the end of a column's name, as in ``gz [mGal]`` or ``gz (um/s2)``.
_IN_BRACKETS = re.compile(r"[\[(]([^\[\]()]*)[\])]\s*$")

#: Text that looks like a unit after a blank or ``_``, known or not: ``lb/ft3``, ``kGal``.
_LIKE_A_UNIT = re.compile(
    r"^(\S*[/^²³⁻]\S*|\S*gals?|\S+ s-?2|[unmµμ]?m[_.*·]?s-?2|mi|miles?|yd|inch|usft|deg)$",
    re.IGNORECASE,
)

#: Names and units of geographic coordinates.
_GEOGRAPHIC = re.compile(r"(?:^|[^a-z])(lon|long|lng|longitude|lat|latitude)(?![a-z])")
_DEGREES = re.compile(r"(decimal )?(deg(ree)?s?|°|º|arc(min|sec).*|rad(ian)?s?)([ _]?[ensw].*)?")


def is_geographic(name: str, unit: str) -> bool:
    """Return whether a name or a unit is that of longitudes or latitudes."""
    if unit_name(unit) in UNIT_SIZES["length"]:
        return False
    in_degrees = _DEGREES.fullmatch(unit.lower().replace("_", " "))
    return bool(in_degrees or _GEOGRAPHIC.search(name.lower()))


def split_unit(name: str, quantity: str = "") -> tuple[str, str | None]:
    """Return a column's name without its unit, and the unit or None."""
    bracketed = _IN_BRACKETS.search(name)
    if bracketed:
        return name[: bracketed.start()].strip(), bracketed[1].strip()
    for inner in re.finditer(r"[\[(]([^\[\]()]*)[\])]", name):
        if _is_unit(inner[1].strip()):
            return name[: inner.start()].strip(), inner[1].strip()
    for separator in re.finditer(r"[_\s/.,:;-]+", name):
        end = name[separator.end() :].strip()
        # UTM_E is an easting.
        if _is_unit(end) and (end.upper() != "E" or quantity == "gradient"):
            return name[: separator.start()], end
    return name, None


def _is_unit(text: str) -> bool:
    return bool(unit_name(text) or _LIKE_A_UNIT.search(text))


def bare_name(name: str) -> str:
    """Return a column's name without its unit."""
    return split_unit(name, "gradient")[0]
