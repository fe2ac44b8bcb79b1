"""Units of length, gravity, its gradient and density: their spellings, and conversion factors."""

from __future__ import annotations

import re
import unicodedata

#: Size of each unit in metres, mGal, Eotvos and kg/m3.
UNIT_SIZES: dict[str, dict[str, float]] = {
    "length": {"m": 1.0, "km": 1e3, "cm": 1e-2, "ft": 0.3048},
    "gravity": {
        "mGal": 1.0,
        "uGal": 1e-3,
        "Gal": 1e3,
        "gu": 0.1,
        "um/s2": 0.1,
        "nm/s2": 1e-4,
        "mm/s2": 1e2,
        "m/s2": 1e5,
        "normalized": 1.0,
    },
    "gradient": {"E": 1.0, "1/s2": 1e9, "mGal/m": 1e4, "uGal/m": 10.0, "normalized": 1.0},
    "density": {"kg/m3": 1.0, "g/cm3": 1e3, "t/m3": 1e3, "normalized": 1.0},
}

_OTHER_NAMES = {
    "metre": "m",
    "meter": "m",
    "kilometre": "km",
    "kilometer": "km",
    "foot": "ft",
    "feet": "ft",
    "milligal": "mGal",
    "microgal": "uGal",
    "g.u.": "gu",
    "eotvo": "E",  # without its s, as plurals
    "eötvö": "E",
    "/s2": "1/s2",
    "g/cc": "g/cm3",
    "g/ccm": "g/cm3",
    "gcc": "g/cm3",
    "kg/cbm": "kg/m3",
}

_BY_NAME = {name.lower(): name for names in UNIT_SIZES.values() for name in names} | _OTHER_NAMES

#: A power with a negative exponent, as in ``m s-2``, ``um_s-2``, ``g cm^-3`` or ``kg*m**-3``.
_DIVISOR = re.compile(r"[ _.*·]*(?<![a-z])(s|m|cm)-([23])$")


def unit_name(text: str) -> str | None:
    """Return the usual spelling of a unit, as in ``um/s2`` for ``µm s⁻²``, or None."""
    # NFKC gives both letters mu the same code, and turns superscripts into digits.
    plain = unicodedata.normalize("NFKC", text).replace("−", "-").replace("μ", "u")
    plain = plain.strip().lower().replace("**", "").replace("^", "")
    plain = _DIVISOR.sub(r"/\1\2", plain)
    plain = re.sub(r"\s*/\s*", "/", plain).replace("sec", "s")
    # Plurals are of words: "ms" are not metres.
    return _BY_NAME.get(plain.removesuffix("s") if len(plain) > 4 else plain)


def unit_size(quantity: str, text: object, where: str) -> float:
    """Return the size of a unit of `quantity` in metres, mGal, Eotvos or kg/m3.

    `where` names its source.

    Raises
    ------
    ValueError
        If the unit is unknown, or a unit of another quantity.
    """
    sizes = UNIT_SIZES[quantity]
    name = unit_name(str(text))
    if name not in sizes:
        raise ValueError(
            f"{where} is in {text!r}; units of {quantity} are {', '.join(sizes)}. Convert the "
            "values, or correct the unit."
        )
    return sizes[name]
