"""Warnings of implausible data and densities."""

from __future__ import annotations

from typing import Any

import numpy as np

from skgrav._typing import Array
from skgrav._warnings import warn
from skgrav.noise import Whitening
from skgrav.operators import CellValues

#: Densities, in kg/m3, from the contrast of a void in dense rock to massive ore.
_ROCKS = -3300.0, 5500.0

#: The same of cells that neither a void nor ore fills: from the contrast of water in dense rock to
#: eclogite.
_LARGE_ROCKS = -1900.0, 3500.0

#: Mean length of the sides of such cells, in m.
_LARGE = 100.0

#: Density, in kg/m3, that is hardly of a rock or a contrast that gravity sees, but is in g/cm3.
_LEAST_DENSITY = 8.0

#: Beginning of the text of the warning of densities.
IMPLAUSIBLE = "have densities"

#: Distance from the training densities, in widths of their range, that is far.
_FAR = 10.0

#: Share of the data below which densities explain none of them, and size of the data, in units of
#: their noise, from which it is not for the noise.
_UNEXPLAINED, _ABOVE_NOISE = 0.02, 2.0

#: Least number of samples at which columns of mean 0 and variance 1 indicate a scaler.
_N_SCALED = 3


def rock_range(operator: Any) -> tuple[Array, Array] | None:
    """Return the lowest and highest density of rocks, in kg/m3, for each cell of an operator.

    None if the operator has other units.
    """
    if getattr(operator, "units", None) != "mGal":
        return None
    mesh = operator.mesh_
    large = mesh.volumes >= (1 - 1e-9) * _LARGE**mesh.ndim
    lowest, highest = (np.where(large, *ends) for ends in zip(_LARGE_ROCKS, _ROCKS, strict=True))
    return lowest, highest


def warn_implausible(rho: Array, operator: Any, trained: tuple[float, float] | None = None) -> None:
    """Warn of densities in kg/m3 outside the range of rocks, or far from the training densities.

    `trained` is the range of the training densities, in any unit.
    """
    if not rho.size:
        return
    ranges: dict[str, tuple[Any, Any]] = {}
    if (rocks := rock_range(operator)) is not None:
        ranges["that no rock has"] = rocks
    if trained is not None and trained[0] < trained[1]:
        margin = _FAR * (trained[1] - trained[0])
        text = f"far from the training densities, {trained[0]:.4g} to {trained[1]:.4g}"
        ranges[text] = trained[0] - margin, trained[1] + margin
    for text, (lowest, highest) in ranges.items():
        n = int(np.sum(((rho < lowest) | (rho > highest)).any(axis=1)))
        if n:
            warn(
                f"{n} of {len(rho)} samples {IMPLAUSIBLE} {text}: the estimates range from "
                f"{rho.min():.4g} to {rho.max():.4g}{' kg/m3' * (rocks is not None)}. Check the "
                "units of data, stations and mesh, the noise, and whether the mesh lies below the "
                "stations and extends beyond the sources; or give 'bounds' if the inverter has "
                "them."
            )
            return


def warn_unexplained(
    rho: Array,
    white: Array,
    whitening: Whitening,
    sigma: Array,
    operator: Any,
    trained: tuple[float, float],
) -> None:
    """Warn of whitened data that estimates, within the training densities, do not explain at all.

    `sigma` is the standard deviation of their noise. Data of the other sign leave such estimates at
    one end of the training densities.
    """
    size2 = np.sum(white**2, axis=1)
    predicted = whitening(operator.products_.forward(np.clip(rho, *trained)))
    explained = np.sum(white * predicted, axis=1)
    seen = size2 > _ABOVE_NOISE**2 * whitening.n_white * sigma**2
    n = int(np.sum(seen & (explained < _UNEXPLAINED * size2)))
    if n:
        warn(
            f"{n} of {len(rho)} samples have data that no estimate within the training densities, "
            f"{trained[0]:.4g} to {trained[1]:.4g}, explains. Check the sign of the data, gz is "
            "positive above excess mass, and their units, or fit to sections like those expected."
        )


def warn_of_data(g: Array, operator: Any) -> None:
    """Warn of data that are zero or were scaled, and of measured densities in g/cm3."""
    if getattr(operator, "units", None) == "mGal":
        for values in (g[:, own] for part, own in operator.parts_ if isinstance(part, CellValues)):
            largest = float(np.abs(values).max(initial=0.0))
            if 0 < largest < _LEAST_DENSITY:
                warn(
                    f"the densities of CellValues in 'X' are at most {largest:.3g}, as in g/cm3. "
                    "With gravity in mGal they are in kg/m3: multiply them, and their uncertainty, "
                    "by 1000."
                )
    if not g.any():
        warn(
            "'X' is zero everywhere, as a single sample after a StandardScaler. Inverters need "
            "gravity in its own unit, so leave the scaler out."
        )
    elif len(g) >= _N_SCALED:
        varied = np.ptp(g, axis=0) > 0
        if not varied.any():
            return
        mean, std = g.mean(axis=0), g.std(axis=0)
        if np.allclose(mean, 0.0, atol=1e-6) and np.allclose(std[varied], 1.0, atol=1e-6):
            warn(
                "each column of 'X' has mean 0 and variance 1, as after a StandardScaler. "
                "Inverters need gravity in its own unit, so leave the scaler out."
            )
