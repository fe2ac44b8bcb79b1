"""Ranks of the truth among draws, by which calibration of properties of sections is checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import chisquare
from sklearn.utils import check_random_state

from skgrav._checks import real_array
from skgrav._constraints import WHOLE, checked
from skgrav._typing import Array, Indices
from skgrav._warnings import warn
from skgrav.geometry import Mesh
from skgrav.metrics._forecasts import draws_of, truth_of

#: Ranks are counted in this many bins unless there are too few samples, and samples expected in a
#: bin at least, for the distribution of chi-squared to hold.
_N_BINS, _LEAST_EXPECTED = 10, 5

#: Relative spread of a property among draws below which it is known but for rounding.
_ROUNDING = 1e-6

Functional = (
    Literal["mass", "lower_half", "centroid_depth", "std", "top"] | Callable[[Array], ArrayLike]
)


@dataclass(frozen=True)
class RankHistogram:
    """Numbers of samples whose rank among the draws falls into each bin.

    Parameters
    ----------
    counts : ndarray of shape (n_bins,)
        Number of samples in each bin.
    expected : ndarray of shape (n_bins,)
        Number that is expected if the draws are from the same distribution as the truth.
    p_value : float
        Probability of counts that are at least as uneven by chance, by the chi-squared test.
    n_draws : int
        Number of draws; ranks are 0 to `n_draws`.

    See Also
    --------
    rank_histogram : Makes it.

    Examples
    --------
    >>> import numpy as np
    >>> from skgrav import Mesh
    >>> from skgrav.metrics import rank_histogram
    >>> rng = np.random.default_rng(0)
    >>> rho, draws = rng.normal(size=(100, 16)), rng.normal(size=(100, 16, 49))
    >>> rank_histogram(rho, draws, "mass", mesh=Mesh.square(4)).n_draws
    49
    """

    counts: Indices
    expected: Array
    p_value: float
    n_draws: int


@checked(
    mesh=[Mesh, None],
    n_bins=[WHOLE, None],
    random_state=["random_state"],
)
def rank_histogram(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    functional: Functional,
    *,
    mesh: Mesh | None = None,
    n_bins: int | None = None,
    random_state: int | np.random.RandomState | None = 0,
) -> RankHistogram:
    """Count the ranks of a property of the truth among its values for draws.

    For draws from the true posterior all ranks are equally likely. A hump in the middle shows draws
    that spread too widely, high ends draws that spread too little, and a slope a bias.

    Parameters
    ----------
    y_true : array-like of shape (n_samples, n_cells)
        True densities.
    y_pred : array-like of shape (n_samples, n_cells, n_draws)
        Draws, as `sample_y` returns them.
    functional : {"mass", "lower_half", "centroid_depth", "std", "top"} or callable
        The property, as in `sbc_ranks`.
    mesh : Mesh, default=None
        The cells; needed unless `functional` is a callable.
    n_bins : int, default=None
        Number of bins; None takes 10, or fewer if less than 5 samples were expected in one.
    random_state : int, RandomState instance or None, default=0
        Seed by which ties are broken.

    Returns
    -------
    histogram : RankHistogram
        Counts, what is expected, and the p-value.

    Raises
    ------
    ValueError
        If there are fewer than 10 samples.

    Warns
    -----
    UserWarning
        If all draws have the same value but for rounding, so that ranks mean nothing.

    See Also
    --------
    sbc_ranks : The ranks.
    skgrav.plotting.CalibrationDisplay : Draws the histogram with its band.

    Examples
    --------
    >>> import numpy as np
    >>> from skgrav import Mesh
    >>> from skgrav.metrics import rank_histogram
    >>> rng = np.random.default_rng(0)
    >>> rho, draws = rng.normal(size=(200, 16)), rng.normal(size=(200, 16, 49))
    >>> rank_histogram(rho, draws, "std", mesh=Mesh.square(4)).p_value > 0.01
    True
    >>> rank_histogram(rho, 3 * draws, "std", mesh=Mesh.square(4)).p_value > 0.01
    False
    """
    ranks, n_draws = _ranks(y_true, y_pred, functional, mesh, random_state)
    n = len(ranks)
    if n < 2 * _LEAST_EXPECTED:
        raise ValueError(
            f"'y_true' has {n} samples; a histogram needs at least {2 * _LEAST_EXPECTED}, and "
            "100 and more to find errors."
        )
    if n_bins is None:
        n_bins = min(_N_BINS, n // _LEAST_EXPECTED, n_draws + 1)
    if not 2 <= n_bins <= n_draws + 1:
        raise ValueError(
            f"'n_bins' is {n_bins}; it must be at least 2 and at most {n_draws + 1}, the number of "
            "ranks."
        )
    # Where ranks cannot be divided evenly, bins differ by one rank, and so does what is expected.
    expected = np.bincount(np.arange(n_draws + 1) * n_bins // (n_draws + 1)) * n / (n_draws + 1)
    counts = np.bincount(ranks * n_bins // (n_draws + 1), minlength=n_bins)
    p_value = float(chisquare(counts, expected).pvalue)
    return RankHistogram(counts, expected, p_value, n_draws)


@checked(mesh=[Mesh, None], random_state=["random_state"])
def sbc_ranks(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    functional: Functional,
    *,
    mesh: Mesh | None = None,
    random_state: int | np.random.RandomState | None = 0,
) -> Indices:
    """Rank a property of each true density among its values for draws.

    This is simulation-based calibration [1]_, where truths are drawn from the training
    distribution.

    Parameters
    ----------
    y_true : array-like of shape (n_samples, n_cells)
        True densities.
    y_pred : array-like of shape (n_samples, n_cells, n_draws)
        Draws, as `sample_y` returns them.
    functional : {"mass", "lower_half", "centroid_depth", "std", "top"} or callable
        The property: the mass; the mean density of the cells below the middle of the mesh; the
        mean depth of the mass, with densities as weights irrespective of their sign; the standard
        deviation over the section; the depth of the highest cell whose density departs from the
        median by more than half the largest such departure. A callable takes densities,
        (n, n_cells), and returns n numbers.
    mesh : Mesh, default=None
        The cells, whose volumes are weights; needed unless `functional` is a callable.
    random_state : int, RandomState instance or None, default=0
        Seed by which ties are broken: a truth that equals k draws has one of k + 1 ranks.

    Returns
    -------
    ranks : ndarray of shape (n_samples,)
        Number of draws with a smaller value, 0 to n_draws.

    Warns
    -----
    UserWarning
        If all draws have the same value but for rounding, so that ranks mean nothing: for instance
        the mass, which exact data determine.

    See Also
    --------
    rank_histogram : Counts them, with a p-value.

    References
    ----------
    .. [1] Talts, Betancourt, Simpson, Vehtari and Gelman (2018), Validating Bayesian inference
       algorithms with simulation-based calibration, arXiv:1804.06788.

    Examples
    --------
    >>> import numpy as np
    >>> from skgrav.metrics import sbc_ranks
    >>> draws = np.arange(10.0).reshape(1, 1, 10)
    >>> sbc_ranks([[3.5]], draws, lambda rho: rho[:, 0])
    array([4])
    """
    return _ranks(y_true, y_pred, functional, mesh, random_state)[0]


def _ranks(
    y_true: ArrayLike, y_pred: ArrayLike, functional: Functional, mesh: Mesh | None, seed: Any
) -> tuple[Indices, int]:
    true = truth_of(y_true)
    draws = draws_of(y_pred, true)
    n, _, n_draws = draws.shape
    value_of = _function(functional, mesh, true.shape[1])
    of_true = value_of(true)
    of_draws = np.stack([value_of(np.ascontiguousarray(rho.T, dtype=float)) for rho in draws])
    spread = np.ptp(of_draws, axis=1)
    size = np.maximum(np.abs(of_draws).max(axis=1), np.abs(of_true))
    constant = spread <= _ROUNDING * size
    # Draws that are equal to the last digit are no rounding but a property with few values.
    if np.mean(constant & (spread > 0)) > 1 / 2:
        warn(
            f"'functional' is {functional!r}, which draws of most samples share but for rounding: "
            "the data determine it, and its ranks mean nothing. Take another property."
        )
    below = np.sum(of_draws < of_true[:, None], axis=1)
    ties = np.sum(of_draws == of_true[:, None], axis=1)
    return below + check_random_state(seed).randint(ties + 1, size=n), n_draws


def _function(functional: Any, mesh: Mesh | None, n_cells: int) -> Callable[[Array], Array]:
    if callable(functional):
        return lambda rho: _checked(functional(rho), len(rho))
    if not isinstance(functional, str) or functional not in _FUNCTIONS:
        raise ValueError(
            f"'functional' is {functional!r}; allowed are {', '.join(map(repr, _FUNCTIONS))} and "
            "callables."
        )
    if mesh is None or mesh.n_cells != n_cells:
        given = "None" if mesh is None else f"one of {mesh.n_cells} cells"
        raise ValueError(
            f"'mesh' is {given}, but {functional!r} needs that of the densities, which have "
            f"{n_cells} cells."
        )
    return lambda rho: _FUNCTIONS[functional](rho, mesh)


def _checked(values: Any, n: int) -> Array:
    array = real_array(values, "functional")
    if array.shape != (n,):
        raise ValueError(
            f"'functional' returns an array of shape {array.shape} for {n} densities; it must "
            "return one number for each."
        )
    return array


def _mass(rho: Array, mesh: Mesh) -> Array:
    return rho @ mesh.volumes


def _lower_half(rho: Array, mesh: Mesh) -> Array:
    z = mesh.cell_centers[:, 0]
    volumes = np.where(z > (z.min() + z.max()) / 2, mesh.volumes, 0.0)
    if not volumes.any():  # a single layer
        volumes = mesh.volumes
    return rho @ (volumes / volumes.sum())


def _centroid_depth(rho: Array, mesh: Mesh) -> Array:
    weight = np.abs(rho) * mesh.volumes
    total = weight.sum(axis=1)
    moment = weight @ mesh.cell_centers[:, 0]
    return np.divide(moment, total, out=np.zeros_like(total), where=total > 0)


def _std(rho: Array, mesh: Mesh) -> Array:
    share = mesh.volumes / mesh.volumes.sum()
    return np.sqrt((rho - (rho @ share)[:, None]) ** 2 @ share)


def _top(rho: Array, mesh: Mesh) -> Array:
    departure = np.abs(rho - np.median(rho, axis=1, keepdims=True))
    body = departure > departure.max(axis=1, keepdims=True) / 2
    top = np.where(body, mesh.cell_centers[:, 0], np.inf).min(axis=1)
    return np.where(np.isfinite(top), top, mesh.cell_centers[:, 0].min())


_FUNCTIONS: dict[str, Callable[[Array, Mesh], Array]] = {
    "mass": _mass,
    "lower_half": _lower_half,
    "centroid_depth": _centroid_depth,
    "std": _std,
    "top": _top,
}
