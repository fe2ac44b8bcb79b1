"""Warnings of implausible data and densities."""

from __future__ import annotations

from typing import Any

import numpy as np

from skgrav._typing import Array
from skgrav._warnings import warn

#: Contrasts, in kg/m3, from a void in dense rock to native ore in light rock.
LIGHTEST, DENSEST = -3300.0, 5500.0

#: Least number of samples at which columns of mean 0 and variance 1 indicate a scaler.
_N_SCALED = 3


def warn_implausible(rho: Array, operator: Any) -> None:
    """Warn of densities in kg/m3 outside the range of rocks."""
    if getattr(operator, "units", None) != "mGal":
        return
    low, high = float(rho.min(initial=0.0)), float(rho.max(initial=0.0))
    if low >= LIGHTEST and high <= DENSEST:
        return
    n = int(np.sum(((rho < LIGHTEST) | (rho > DENSEST)).any(axis=1)))
    warn(
        f"{n} of {len(rho)} samples have densities that no rock has: the estimates range from "
        f"{low:.4g} to {high:.4g} kg/m3. Check the units of data, stations and mesh, the noise, "
        "and whether the mesh lies below the stations and extends beyond the sources; or give "
        "'bounds' if the inverter has them."
    )


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
