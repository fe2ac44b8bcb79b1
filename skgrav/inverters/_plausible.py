"""Warnings of implausible data and densities."""

from __future__ import annotations

from typing import Any

import numpy as np

from skgrav._typing import Array
from skgrav._warnings import warn

#: Densities, in kg/m3, from the contrast of a void in dense rock to massive ore.
_ROCKS = -3300.0, 5500.0

#: The same of cells that neither a void nor ore fills: from the contrast of water in dense rock to
#: eclogite.
_LARGE_ROCKS = -1900.0, 3500.0

#: Mean length of the sides of such cells, in m.
_LARGE = 100.0

#: Beginning of the text of the warning of densities.
IMPLAUSIBLE = "have densities"

#: Distance from the training densities, in widths of their range, that is far.
_FAR = 10.0

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


def warn_not_gravity(g: Array) -> None:
    """Warn of data that are zero, and of data that were scaled."""
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
