"""What is stated of the noise of data, and the trend that is found in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skgrav._typing import Array
from skgrav.geometry import component_unit


@dataclass(frozen=True)
class Trend:
    """The coherent part of residuals: a base level, a plane, a regional field.

    Parameters
    ----------
    coefficients : ndarray of shape (n_samples, n_coefficients)
        Coefficients of the columns of the basis. For a trend of given degree these are powers of
        the horizontal coordinates, in metres from the mean station, and the coefficients are in
        the unit of the data per metre to that power.
    std : ndarray of shape (n_samples, n_coefficients)
        Their standard deviations; NaN where the noise, or the uncertainty of the densities of
        which data are the residual, is not known.
    values : ndarray of shape (n_samples, n_data)
        The trend at each datum.
    names : tuple of str
        Name of each coefficient, such as ``"gz"``, the level, and ``"gz x"``, the slope.

    See Also
    --------
    Noise.trend : Fits a trend to residuals.
    skgrav.Survey : Its parameter `trend`.

    Examples
    --------
    >>> from skgrav import Survey
    >>> from skgrav.noise import Noise
    >>> survey = Survey([[0.0, 0.0], [0.0, 50.0], [0.0, 100.0]], ("z",), 0.1, trend=0)
    >>> trend = Noise.of(survey).trend([[4.0, 5.0, 6.0]])
    >>> trend.names, float(trend.coefficients[0, 0].round(6)), float(trend.std[0, 0].round(3))
    (('gz',), 5.0, 0.058)
    """

    coefficients: Array
    std: Array
    values: Array
    names: tuple[str, ...]


def trend_unit(name: str, units: str = "mGal") -> str:
    """Return the unit of a coefficient by its name, such as ``"operator0 gz x"``.

    Empty for the columns of a basis, whose unit is not known.
    """
    words = name.split()
    if words[0].startswith("operator"):
        return trend_unit(" ".join(words[1:]), units)
    component, *powers = words
    if not component.startswith("g"):
        return ""
    degree = sum(int(power.partition("^")[2] or 1) for power in powers)
    unit = component_unit(component[1:]) if units == "mGal" else units
    return unit + ("" if degree == 0 else "/m" if degree == 1 else f"/m{degree}")


def trend_texts(trend: Trend, units: str = "mGal", sign: str = "±") -> list[str]:
    """Return the coefficients of the first sample with units, and errors where these are known."""
    texts = []
    for name, value, std in zip(trend.names, trend.coefficients[0], trend.std[0], strict=True):
        spread = "" if np.isnan(std) else f" {sign} {float(f'{std:.2g}'):g}"
        texts.append(f"{name} {value:.4g}{spread} {trend_unit(name, units)}".rstrip())
    return texts


@dataclass(frozen=True)
class StatedNoise:
    """Noise that an operator states of its data; a Survey has the same attributes.

    Parameters
    ----------
    n_data : int
        Number of data.
    uncertainty : ndarray of shape (n_data,), float or None
        Standard deviation of each datum, in the unit of the data.
    trend_basis : ndarray of shape (n_data, n_coefficients) or None
        Basis of the trend.
    trend_names : tuple of str
        Name of each coefficient.
    units : tuple of str
        Kinds of data, each in a unit of its own: more than one where operators are joined.

    See Also
    --------
    Noise.of : Takes it from an operator.
    skgrav.JointOperator : Joins that of its parts.

    Examples
    --------
    >>> from skgrav import CellValues, Mesh
    >>> log = CellValues(Mesh.square(4), [5, 9], uncertainty=20.0).fit()
    >>> log.stated_noise.uncertainty.tolist()
    [20.0, 20.0]
    """

    n_data: int
    uncertainty: Array | float | None = None
    trend_basis: Array | None = None
    trend_names: tuple[str, ...] = ()
    units: tuple[str, ...] = ("gravity",)
