"""Simulated pairs of gravity and density."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Literal

import numpy as np
from sklearn.utils import Bunch, check_random_state

from skgrav._constraints import checked
from skgrav._typing import Array
from skgrav.datasets._models import make_density_models
from skgrav.geometry import Mesh, Survey, component_unit
from skgrav.operators import ForwardOperator

_DESCR = """Simulated gravity of {n_samples} random density models.

data    gravity, {n_data} data each, component-major: all stations of {components}; {unit}
target  density, {n_cells} cells each, flattened from {shape}, top layer first
        within {density_range}
noise   Gaussian, {noise_level:g} times the rms of each sample's data{apart}
"""

#: How the noise of data of two units is meant.
_APART = ", that of gravity and of gradients apart"


@checked(noise_level=[Real], random_state=["random_state"])
def make_gravity_dataset(
    n_samples: int = 1000,
    *,
    mesh: Mesh | None = None,
    survey: Survey | None = None,
    families: str | Sequence[str] | None = None,
    density_range: tuple[float, float] = (0.0, 12.0),
    noise_level: float = 0.0,
    kernel: Literal["cell", "point"] = "cell",
    units: Literal["mGal", "normalized"] = "normalized",
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    """Simulate pairs of gravity and density, by default in the paper's geometry.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of sections, or of volumes.
    mesh : Mesh, default=None
        A mesh in 2D or 3D; None takes ``Mesh.square(50)``, 50 x 50 cells.
    survey : Survey, default=None
        Stations and components; None takes gx and gz at ``Survey.line(mesh)``, three stations
        per column over three model widths, and in 3D gz above each column.
    families : str or sequence of str, default=None
        Geological families, as in `make_density_models`.
    density_range : tuple of two floats, default=(0.0, 12.0)
        Range of densities. The default is the paper's, in its units.
    noise_level : float, default=0.0
        Standard deviation of Gaussian noise added to the data, relative to the rms of each
        sample; that of gravity and of gradients to their own.
    kernel : {"cell", "point"}, default="cell"
        Closed form of a cell, as in `ForwardOperator`.
    units : {"mGal", "normalized"}, default="normalized"
        ``"normalized"`` is the paper's; ``"mGal"`` needs densities in kg/m3 and a mesh in
        metres.
    random_state : int, RandomState instance or None, default=None
        Seed of sections and noise.

    Returns
    -------
    dataset : Bunch
        `data` of shape (n_samples, n_data), `target` of shape (n_samples, n_cells), the fitted
        `operator`, `family` of each sample, `noise_level` and `DESCR`.

    See Also
    --------
    make_density_models : Densities only.

    Examples
    --------
    >>> from skgrav.datasets import make_gravity_dataset
    >>> data = make_gravity_dataset(n_samples=10, random_state=0)
    >>> data.data.shape, data.target.shape
    ((10, 300), (10, 2500))
    """
    if not 0 <= noise_level < np.inf:
        raise ValueError(f"'noise_level' is {noise_level}; it must be finite and at least 0.")
    rng = check_random_state(random_state)
    mesh = Mesh.square() if mesh is None else mesh
    operator = ForwardOperator(mesh, survey, kernel=kernel, units=units).fit()
    target, family = make_density_models(
        n_samples,
        mesh=mesh,
        families=families,
        density_range=density_range,
        random_state=rng,
        return_family=True,
    )
    data = operator.transform(target)
    if noise_level > 0:
        data += noise_level * _rms(operator.survey_, data) * rng.normal(size=data.shape)
    description = _DESCR.format(
        n_samples=n_samples,
        n_data=operator.n_data_,
        components=", then ".join(f"g{c}" for c in operator.survey_.components),
        unit=_unit(operator.survey_) if units == "mGal" else "normalized units",
        n_cells=mesh.n_cells,
        shape=mesh.shape,
        density_range=density_range,
        noise_level=noise_level,
        apart=_APART if len(set(map(component_unit, operator.survey_.components))) > 1 else "",
    )
    return Bunch(
        data=data,
        target=target,
        operator=operator,
        family=family,
        noise_level=noise_level,
        DESCR=description,
    )


def _rms(survey: Survey, g: Array) -> Array:
    """Return the rms of the data of the same unit at each datum, (n_samples, n_data)."""
    unit = np.repeat([component_unit(c) for c in survey.components], survey.n_stations)
    rms = np.empty_like(g)
    for of in np.unique(unit):
        rms[:, unit == of] = np.sqrt(np.mean(g[:, unit == of] ** 2, axis=1, keepdims=True))
    return rms


def _unit(survey: Survey) -> str:
    return " and ".join(sorted({component_unit(c) for c in survey.components}, reverse=True))
