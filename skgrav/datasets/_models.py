"""Random density sections and volumes of named geological families."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from skgrav._checks import check_range
from skgrav._constraints import checked
from skgrav._typing import Array
from skgrav.datasets._checks import check_mesh, check_n_samples
from skgrav.datasets._families import DEFAULTS, FAMILIES
from skgrav.datasets._stratigraphy import Draw, VolumeDraw
from skgrav.geometry import Mesh

# Samples drawn together, to bound memory. Each block has its own generator, so another size gives
# other sections for the same seed.
_BLOCK, _VOLUMES = 256, 16

# Lightest relative density: density stays strictly above its lower bound.
_FLOOR = 1e-3


@checked(random_state=["random_state"], return_family=["boolean"])
def make_density_models(
    n_samples: int = 100,
    *,
    mesh: Mesh | None = None,
    families: str | Sequence[str] | None = None,
    density_range: tuple[float, float] = (0.0, 12.0),
    random_state: int | np.random.RandomState | None = None,
    return_family: bool = False,
) -> Array | tuple[Array, NDArray[np.str_]]:
    """Draw random density sections or volumes of named geological families.

    Flat, folded, dipping and faulted layers, basins, and bodies in country rock: salt domes,
    intrusions, blocks, dykes and random walks. Density tends to grow with depth, with inversions.

    Parameters
    ----------
    n_samples : int, default=100
        Number of sections or volumes, at least 1.
    mesh : Mesh, default=None
        Mesh of two or three dimensions; None takes ``Mesh.square()``, 50 x 50 cells. Spacing may
        vary, and cells may be inactive.
    families : str or sequence of str, default=None
        Families to draw from, in equal shares (counts differ by one at most): "flat_layers",
        "folded_layers", "dipping_layers", "faults", "salt_domes", "intrusions", "basins",
        "blocks", "dykes", "random_walks". None takes all, in 2D without the last.
    density_range : tuple of two floats, default=(0.0, 12.0)
        Lower and upper bound of density, lower < upper: densities lie in (lower, upper], in
        any unit. The default is that of Negahdari et al. [1]_; a crustal section in kg/m3 might
        take (1800, 3300), or (-500, 500) for contrasts.
    random_state : int, RandomState instance or None, default=None
        Seed of the samples; an int gives the same each time. Another number of samples from the
        same seed repeats many of them: draw training and test samples from different seeds.
    return_family : bool, default=False
        Whether to return the name of each sample's family too.

    Returns
    -------
    rho : ndarray of shape (n_samples, n_cells), float64
        Densities of active cells, flattened in C order from ``mesh.shape``, the top layer first,
        in the unit of `density_range`.
    family : ndarray of shape (n_samples,) of str
        Name of each sample's family; only if `return_family` is True.

    Raises
    ------
    ValueError
        If `n_samples` isn't a positive integer, `mesh` isn't a Mesh, `families` has an unknown or
        repeated name or none, or `density_range` isn't finite and increasing.

    See Also
    --------
    make_gravity_dataset : Densities together with their gravity.
    fetch_huang2021 : Bodies in 3D on which networks are compared.

    Notes
    -----
    A family draws the geometry first: the depth :math:`s(x, z)` that the rock of each cell had
    before it was folded, faulted or dragged. A random stack of layers gives density as a function
    of :math:`s`; bodies replace the rock they intrude. The geometry does not depend on the cells,
    so a finer mesh shows nearly the same sections of a seed in finer detail, with true dips.

    In 3D the structure of a sample strikes in a random direction, along which it bends, fades and
    ends; bodies are closed, and faults and dykes are a little oblique to each other.

    References
    ----------
    .. [1] Negahdari, Samadi Bahrami, Moghadasi, Razvan, "Performance of Machine Learning Methods
       for Gravity Inversion: Successes and Challenges", arXiv:2510.09632, 2025.

    Examples
    --------
    >>> from skgrav.datasets import make_density_models
    >>> rho, family = make_density_models(
    ...     20, families=["faults", "salt_domes"], random_state=0, return_family=True
    ... )
    >>> rho.shape
    (20, 2500)
    >>> int((family == "faults").sum())
    10
    """
    n_samples = check_n_samples(n_samples)
    mesh = Mesh.square() if mesh is None else check_mesh(mesh)
    names = _check_families(families, mesh.ndim)
    low, high = _check_density_range(density_range)
    # One draw from the caller's generator; the stream of each family and block derives from it.
    entropy = int(check_random_state(random_state).randint(np.iinfo(np.int32).max))

    order = np.random.default_rng([entropy, 0]).permutation(n_samples)
    rows = zip(names, np.array_split(order, len(names)), strict=True)
    rho = np.empty((n_samples, mesh.n_cells))
    family = np.empty(n_samples, dtype=np.array(names).dtype)
    block = _BLOCK if mesh.ndim == 2 else _VOLUMES
    for name, members in rows:
        family[members] = name
        for start in range(0, len(members), block):
            some = members[start : start + block]
            rng = np.random.default_rng([entropy, crc32(name.encode()), start])
            rho[some] = _scale(_draw(name, len(some), mesh, rng), low, high)
    return (rho, family) if return_family else rho


def _draw(name: str, n_samples: int, mesh: Mesh, rng: np.random.Generator) -> Array:
    """Draw relative density of one family on a mesh, (n_samples, n_cells)."""
    depth, *widths = (edges[-1] - edges[0] for edges in mesh.edges)
    z, *plan = (c - edges[0] for c, edges in zip(mesh.centers, mesh.edges, strict=True))
    z = z[None, :, None] / depth
    spacing = [np.diff(c).max(initial=0) for c in plan]
    if mesh.ndim == 2:
        (x,), (width,) = plan, widths
        cell = spacing[0] / width or 1.0
        draw = Draw(rng, n_samples, x[None, None, :] / width, z, width / depth, cell)
        return mesh.flatten(FAMILIES[name](draw))
    y, x = ((c - w / 2) / depth for c, w in zip(plan, widths, strict=True))
    width = math.sqrt(math.prod(widths))
    draw = VolumeDraw.on(rng, n_samples, z, x, y, width / depth, max(spacing) / width)
    return mesh.flatten(FAMILIES[name](draw).reshape(n_samples, *mesh.shape))


def _scale(relative: Array, low: float, high: float) -> Array:
    """Map relative density to (low, high]; rounding must not carry it past the upper bound."""
    density = low + (high - low) * np.maximum(relative, _FLOOR)
    return np.minimum(density, high, out=density)


def _check_families(families: str | Sequence[str] | None, ndim: int) -> list[str]:
    known = list(FAMILIES)
    if families is None:
        return list(DEFAULTS[ndim])
    if not isinstance(families, Iterable):
        raise TypeError(f"'families' is {families!r}; give a name, a list of names out of {known}.")
    names = [families] if isinstance(families, str) else list(families)
    if not names:
        raise ValueError(
            f"'families' is empty; name at least one of {known}, or pass None for all of them."
        )
    for name in names:
        if name not in known:
            close = get_close_matches(str(name), known, n=1)
            hint = f"Did you mean {close[0]!r}? " if close else ""
            raise ValueError(f"'families' has {name!r}. {hint}Known families: {known}.")
    if len(set(names)) < len(names):
        raise ValueError(
            f"'families' names a family more than once, got {names}; shares are equal, "
            "name each once."
        )
    return names


def _check_density_range(density_range: tuple[float, float]) -> tuple[float, float]:
    try:
        return check_range(density_range, "density_range")
    except (TypeError, ValueError):
        raise ValueError(
            f"'density_range' must be two finite numbers (lower, upper) with lower < upper, "
            f"got {density_range!r}; the paper's is (0.0, 12.0)."
        ) from None
