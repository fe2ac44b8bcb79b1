"""Random crustal sections of rifted margins."""

from __future__ import annotations

from numbers import Real

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state

from skgrav._checks import real_array
from skgrav._constraints import checked
from skgrav._typing import Array
from skgrav.datasets._checks import check_n_samples, check_section_mesh
from skgrav.datasets._pelotas import layer_means
from skgrav.geometry import Mesh

_CRUST, _MANTLE, _WATER = 2870.0, 3240.0, 1030.0


@checked(reference_moho=[Real], random_state=["random_state"])
def make_margin_models(
    n_samples: int = 100,
    *,
    mesh: Mesh,
    water_depth: ArrayLike | None = None,
    reference_moho: float = 43200.0,
    random_state: int | np.random.RandomState | None = None,
) -> Array:
    """Draw random crustal sections of a rifted margin, from land at the left to deep sea.

    Water, sediments, volcanics, continental and oceanic crust, and the relief of the mantle,
    which follows isostasy up to a smooth random deviation.

    Parameters
    ----------
    n_samples : int, default=100
        Number of sections.
    mesh : Mesh of two dimensions
        The cells, z positive down from sea level. Padding columns, far wider than the others,
        continue the section at both ends.
    water_depth : array-like of shape (nx,), default=None
        Known water depth of each column in metres; None draws it.
    reference_moho : float, default=43200.0
        Depth in metres of the Moho of the reference Earth.
    random_state : int, RandomState instance or None, default=None
        Seed of the sections.

    Returns
    -------
    rho : ndarray of shape (n_samples, n_cells)
        Density contrasts in kg/m3 to a reference Earth of 2870 above its Moho and 3240 below,
        averaged over each cell, flattened in C order, top layer first.

    Raises
    ------
    ValueError
        If the mesh is not two-dimensional or `water_depth` does not match its columns.

    See Also
    --------
    make_density_models : Sections of other geology.
    pelotas_section : A published section of such a margin.

    Notes
    -----
    Isostasy puts the Moho at the depth where each column has the mass of the reference. The
    deviation from it has a standard deviation of 0.5 to 3 km over lengths of 40 km and more.

    Examples
    --------
    >>> import numpy as np
    >>> from skgrav import Mesh
    >>> from skgrav.datasets import make_margin_models
    >>> mesh = Mesh([np.linspace(0, 43200, 31), np.linspace(0, 383e3, 61)])
    >>> make_margin_models(5, mesh=mesh, random_state=0).shape
    (5, 1800)
    """
    mesh, n_samples = check_section_mesh(mesh), check_n_samples(n_samples)
    if not 0 < reference_moho < np.inf:
        raise ValueError(
            f"'reference_moho' is {reference_moho}; it must be a finite depth above 0."
        )
    rng = np.random.default_rng(check_random_state(random_state).randint(2**31 - 1))
    x = _columns(mesh)
    t = (x - x[0]) / ((x[-1] - x[0]) or 1.0)

    def draw(low: float, high: float) -> Array:
        return rng.uniform(low, high, size=(n_samples, 1))

    hinge = draw(-0.2, 0.6)
    seaward = 1.0 / (1.0 + np.exp(-(t - hinge) / draw(0.04, 0.15)))
    if water_depth is None:
        water = seaward * draw(1500.0, 4500.0) * (1.0 + 0.1 * _relief(rng, n_samples, x))
    else:
        water = real_array(water_depth, "water_depth")
        if water.shape not in ((), (x.size,)) or not (water >= 0).all():
            raise ValueError(
                f"'water_depth' has shape {water.shape}; it must be a depth of at least 0 for each "
                f"of {x.size} columns."
            )
        water = np.broadcast_to(water, (n_samples, x.size))
    basin = np.exp(-(((t - hinge - draw(-0.05, 0.3)) / draw(0.1, 0.35)) ** 2))
    sediments = draw(0.0, 5000.0) * seaward + draw(0.0, 7500.0) * basin
    sediments *= np.clip(1.0 + draw(0.0, 0.3) * _relief(rng, n_samples, x), 0.0, None)
    wedge = np.exp(-(((t - hinge - draw(0.1, 0.4)) / draw(0.05, 0.25)) ** 2))
    volcanics = draw(-2000.0, 8000.0).clip(0.0) * wedge
    sediment_density = rng.normal(2350.0, 80.0, size=(n_samples, 1)).clip(2100.0, 2600.0)
    oceanic = t > hinge + draw(0.2, 0.8)
    crust = np.where(oceanic, 2885.0, _CRUST) + rng.normal(0.0, 10.0, size=(n_samples, 1))
    volcanic = np.full_like(crust, 2855.0) + rng.normal(0.0, 20.0, size=(n_samples, 1))

    top_of_crust = water + sediments + volcanics
    # Airy isostasy: the raised mantle replaces the mass that water and sediments lack.
    deficit = (_CRUST - _WATER) * water + (_CRUST - sediment_density) * sediments
    moho = reference_moho - deficit / (_MANTLE - _CRUST)
    moho += draw(500.0, 3000.0) * _relief(rng, n_samples, x)
    moho = np.maximum(moho, top_of_crust + 4000.0)

    tops = [np.zeros_like(water), water, water + sediments, top_of_crust, moho]
    layers = [_WATER, sediment_density + np.zeros_like(water), volcanic, crust, _MANTLE]
    reference = layer_means(
        mesh.edges[0], [np.zeros(1), np.full(1, reference_moho)], [_CRUST, _MANTLE]
    )
    section = layer_means(
        mesh.edges[0],
        [top.ravel() for top in tops],
        [np.ravel(rho) if np.ndim(rho) else rho for rho in layers],
    )
    contrast = (section - reference).reshape(-1, n_samples, x.size)
    return mesh.flatten(contrast.swapaxes(0, 1))


def _columns(mesh: Mesh) -> Array:
    """Return column positions, with padding columns moved next to the others."""
    edges, width = mesh.edges[1], float(np.median(mesh.widths[1]))
    return mesh.centers[1].clip(edges[1] - width, edges[-2] + width)


def _relief(rng: np.random.Generator, n_samples: int, x: Array) -> Array:
    """Return smooth random curves of unit variance, of wavelengths above 40 km."""
    n_waves = 12
    wavelength = np.exp(rng.uniform(np.log(40e3), np.log(500e3), size=(n_samples, n_waves, 1)))
    phase = rng.uniform(0.0, 2.0 * np.pi, size=(n_samples, n_waves, 1))
    # Relief grows with wavelength.
    weight = np.sqrt(wavelength)
    waves = np.sum(weight * np.cos(2.0 * np.pi * x / wavelength + phase), axis=1)
    return waves / np.sqrt(np.sum(weight**2, axis=1) / 2.0)
