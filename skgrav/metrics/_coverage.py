"""How often predicted intervals contain the truth."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_consistent_length, column_or_1d

from skgrav._checks import named, refuse_missing
from skgrav._constraints import checked
from skgrav._typing import Array
from skgrav.geometry import Mesh
from skgrav.metrics._forecasts import Forecast, probabilities_of


@checked(mesh=[Mesh, None])
def interval_coverage(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    std: ArrayLike | None = None,
    *,
    quantiles: ArrayLike | None = None,
    levels: ArrayLike = (0.5, 0.9),
    mesh: Mesh | None = None,
    labels: ArrayLike | None = None,
) -> Array | dict[str, Array]:
    """Compute the share of cells whose true density lies in the predicted central intervals.

    Parameters
    ----------
    y_true : array-like of shape (n_samples, n_cells) or (n_samples,)
        True densities.
    y_pred : array-like of shape (n_samples, n_cells, n_draws)
        Draws, as `sample_y` returns them. With `std` means, of the shape of `y_true`; with
        `quantiles` these quantiles, one for each entry of the last axis.
    std : array-like of shape (n_samples, n_cells), default=None
        Standard deviations of a Gaussian, as ``predict(X, return_std=True)`` returns them.
    quantiles : array-like of shape (n_quantiles,), default=None
        Probabilities of the quantiles in `y_pred`, increasing; between them quantiles are
        interpolated linearly.
    levels : float or array-like of shape (n_levels,), default=(0.5, 0.9)
        Nominal coverages. The interval of level 0.9 is that between the quantiles 0.05 and 0.95.
    mesh : Mesh, default=None
        The cells. With it coverages are those of each layer, the top one first.
    labels : array-like of shape (n_samples,), default=None
        Family of each sample. With it coverages are those of each family: pooled ones can be
        right where those of families are not.

    Returns
    -------
    coverage : ndarray of shape (n_levels,) or (n_layers, n_levels), or dict of such arrays
        Share of true densities within the closed intervals, for each level; by name of the
        family with `labels`. It is NaN for layers without active cells.

    Raises
    ------
    ValueError
        If there are too few draws for a level: 90 % needs 19, 99 % needs 199.

    See Also
    --------
    crps : A score that is best for the true distribution, unlike the coverage.
    sample_coverage : Whether a generator draws all kinds of sections.
    skgrav.plotting.CalibrationDisplay : Draws coverages against levels.

    Notes
    -----
    The k-th of M ordered draws is the quantile ``k / (M + 1)``, so that intervals of draws from
    the true posterior have their nominal coverage for any M.

    Examples
    --------
    >>> import numpy as np
    >>> from skgrav.metrics import interval_coverage
    >>> rng = np.random.default_rng(0)
    >>> rho = rng.normal(size=(500, 20))
    >>> interval_coverage(rho, np.zeros_like(rho), np.ones_like(rho)).round(2)
    array([0.5, 0.9])
    >>> interval_coverage(rho, rng.normal(size=(500, 20, 39))).round(2)
    array([0.5, 0.9])
    """
    forecast = Forecast.of(y_true, y_pred, std, quantiles)
    levels = probabilities_of(levels, "levels")
    n, n_cells = forecast.y_true.shape
    if mesh is not None and mesh.n_cells != n_cells:
        raise ValueError(
            f"'y_true' has {n_cells} cells, but 'mesh' {mesh.n_cells}; give the mesh of the "
            "densities."
        )
    inside = np.empty((len(levels), n, n_cells), dtype=bool)
    p = np.concatenate([(1.0 - levels) / 2, (1.0 + levels) / 2])
    for block, bounds in forecast.quantiles(p, "levels"):
        lower, upper = np.split(bounds, 2)
        true = forecast.y_true[block]
        inside[:, block] = (lower <= true) & (true <= upper)
    if labels is None:
        return _shares(inside, mesh)
    refuse_missing(labels, "labels")
    with named("labels"):
        names = column_or_1d(labels)
        check_consistent_length(forecast.y_true, names)
        if (names != names).any():  # noqa: PLR0124 - NaN of any type
            raise ValueError("it contains NaN; give each sample its family.")
    return {str(name): _shares(inside[:, names == name], mesh) for name in np.unique(names)}


def _shares(inside: Array, mesh: Mesh | None) -> Array:
    """Return the share of each level, of all cells or in each layer."""
    share = inside.mean(axis=1)  # (n_levels, n_cells)
    if mesh is None:
        return np.asarray(share.mean(axis=1))
    layer = np.unravel_index(mesh.cells, mesh.shape)[0]
    sums = np.stack([np.bincount(layer, s, mesh.shape[0]) for s in share], axis=1)
    counts = np.bincount(layer, minlength=mesh.shape[0])[:, None]
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
