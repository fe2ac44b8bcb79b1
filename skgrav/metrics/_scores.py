"""Proper scores of predicted distributions, and how sharp the interfaces of sections are."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.distance import pdist
from scipy.special import ndtr

from skgrav._checks import check_array
from skgrav._constraints import checked
from skgrav._typing import Array
from skgrav.geometry import Mesh
from skgrav.metrics._forecasts import Forecast, draws_of, truth_of

Output = Literal["uniform_average", "raw_values"]


def crps(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    std: ArrayLike | None = None,
    *,
    quantiles: ArrayLike | None = None,
    multioutput: Output = "uniform_average",
) -> float | Array:
    """Compute the continuous ranked probability score of predicted distributions of each cell.

    It is in the unit of density, small for distributions that are narrow and right, and least on
    average for the true one. For a distribution without width it is the absolute error.

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
        Probabilities of the quantiles in `y_pred`, increasing.
    multioutput : {"uniform_average", "raw_values"}, default="uniform_average"
        The mean over samples and cells, or the score of each cell.

    Returns
    -------
    score : float or ndarray of shape (n_samples, n_cells)
        The score; 0 is perfect.

    See Also
    --------
    energy_score : The same for whole sections, which depends on correlations between cells.
    interval_coverage : Whether intervals are as wide as they should be.

    Notes
    -----
    For M draws x of a cell of density y it is the fair estimator [1]_ ::

        mean |x_i - y| - sum_ij |x_i - x_j| / (2 M (M - 1)),

    whose expectation does not depend on M, so that methods with different numbers of draws can be
    compared. For quantiles it is twice the pinball loss, integrated over probabilities with each
    quantile taken as far as halfway to its neighbours. For a Gaussian it is in closed form [2]_.

    References
    ----------
    .. [1] Ferro (2014), Fair scores for ensemble forecasts, Quarterly Journal of the Royal
       Meteorological Society 140.
    .. [2] Gneiting and Raftery (2007), Strictly proper scoring rules, prediction, and estimation,
       Journal of the American Statistical Association 102.

    Examples
    --------
    >>> import numpy as np
    >>> from skgrav.metrics import crps
    >>> rho = np.random.default_rng(0).normal(size=(500, 20))
    >>> mean, std = np.zeros_like(rho), np.ones_like(rho)
    >>> round(crps(rho, mean, std), 2), round(crps(rho, mean, 3 * std), 2)
    (0.56, 0.83)
    """
    forecast = Forecast.of(y_true, y_pred, std, quantiles)
    scores = np.empty(forecast.y_true.shape)
    for block in forecast.blocks():
        true, pred = forecast.y_true[block], forecast.y_pred[block]
        if forecast.std is not None:
            scores[block] = _of_gaussian(true - pred, forecast.std[block])
        elif forecast.probabilities is not None:
            scores[block] = _of_quantiles(true[..., None] - pred, forecast.probabilities)
        else:
            scores[block] = _of_draws(pred - true[..., None])
    return _average(scores, multioutput)


def energy_score(
    y_true: ArrayLike, y_pred: ArrayLike, *, multioutput: Output = "uniform_average"
) -> float | Array:
    """Compute the energy score of draws of whole sections.

    The continuous ranked probability score of vectors: draws whose cells depend on one another as
    those of real sections score better than draws that are right in each cell alone.

    Parameters
    ----------
    y_true : array-like of shape (n_samples, n_cells) or (n_samples,)
        True densities.
    y_pred : array-like of shape (n_samples, n_cells, n_draws)
        Draws, as `sample_y` returns them.
    multioutput : {"uniform_average", "raw_values"}, default="uniform_average"
        The mean over samples, or the score of each.

    Returns
    -------
    score : float or ndarray of shape (n_samples,)
        The score, in the unit of density; 0 is perfect. Single samples may have negative ones.

    See Also
    --------
    crps : The score of each cell.
    rank_histogram : Whether a property of sections, such as their mass, is right.

    Notes
    -----
    The fair estimator, as for `crps`, with the root mean square difference over cells in place of
    absolute differences: the Euclidean distance over the root of the number of cells, which does
    not grow with the mesh.

    Examples
    --------
    >>> import numpy as np
    >>> from skgrav.metrics import energy_score
    >>> rng = np.random.default_rng(0)
    >>> rho, draws = rng.normal(size=(300, 20)), rng.normal(size=(300, 20, 30))
    >>> energy_score(rho, draws) < energy_score(rho, 2 * draws)
    True
    """
    true = truth_of(y_true)
    draws = draws_of(y_pred, true)
    scores = np.empty(len(true))
    for i, (rho, drawn) in enumerate(zip(true, draws, strict=True)):
        off = (drawn - rho[:, None]).T  # (n_draws, n_cells)
        # The mean distance of pairs, each counted once, is twice what is subtracted.
        scores[i] = np.linalg.norm(off, axis=1).mean() - pdist(off).mean() / 2
    return _average(scores / np.sqrt(true.shape[1]), multioutput)


@checked(mesh=[Mesh])
def interface_spread(
    rho: ArrayLike, mesh: Mesh, *, multioutput: Output = "uniform_average"
) -> float | Array:
    """Compute how spread out the changes of density are: mean over rms of neighbours' differences.

    Small where density changes at few sharp interfaces, as in most geology; 0.8 for Gaussian noise
    and 1 for a steady gradient. Draws that look like geology have that of real sections.

    Parameters
    ----------
    rho : array-like of shape (n_samples, n_cells)
        Densities.
    mesh : Mesh
        The cells; differences of active neighbours along all axes count.
    multioutput : {"uniform_average", "raw_values"}, default="uniform_average"
        The mean over samples, or the value of each.

    Returns
    -------
    spread : float or ndarray of shape (n_samples,)
        Between 0 and 1; 0 for a density without changes.

    See Also
    --------
    sample_diversity : How different sections are from one another.

    Examples
    --------
    >>> import numpy as np
    >>> from skgrav import Mesh
    >>> from skgrav.datasets import make_density_models
    >>> from skgrav.metrics import interface_spread
    >>> mesh = Mesh.square(20)
    >>> rho = make_density_models(50, mesh=mesh, random_state=0)
    >>> noise = np.random.default_rng(0).normal(size=rho.shape)
    >>> interface_spread(rho, mesh) < 0.4 < interface_spread(noise, mesh)
    True
    """
    values = check_array(rho, "rho")
    if values.shape[1] != mesh.n_cells:
        raise ValueError(
            f"'rho' has {values.shape[1]} cells, but 'mesh' {mesh.n_cells}; give their mesh."
        )
    images = mesh.unflatten(values)
    n_pairs, total, square = 0, np.zeros(len(values)), np.zeros(len(values))
    for axis in range(1, images.ndim):
        step = np.abs(np.diff(images, axis=axis)).reshape(len(values), -1)
        step = step[:, ~np.isnan(step[0])]  # cells of air have no density
        n_pairs += step.shape[1]
        total += step.sum(axis=1)
        square += (step**2).sum(axis=1)
    rms = np.sqrt(square * max(n_pairs, 1))
    return _average(np.divide(total, rms, out=np.zeros_like(total), where=rms > 0), multioutput)


def _of_gaussian(error: Array, std: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # Beyond a hundred standard deviations the score is the error less a part of the width.
        z = np.clip(np.where(std > 0, np.abs(error) / std, 100.0), 0.0, 100.0)
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    # The first part is |error| less what the tails take off, which does not cancel.
    return np.abs(error) * (1 - 2 * ndtr(-z)) + std * (2 * density - 1 / np.sqrt(np.pi))


def _of_quantiles(error: Array, p: Array) -> Array:
    edges = np.r_[0.0, (p[1:] + p[:-1]) / 2, 1.0]
    return np.asarray(np.maximum(p * error, (p - 1.0) * error) @ (2 * np.diff(edges)))


def _of_draws(off: Array) -> Array:
    n_draws = off.shape[-1]
    ordered = np.sort(off, axis=-1)
    # The sum of the differences of all pairs, in terms of the ordered draws.
    factors = np.arange(1 - n_draws, n_draws, 2) / (n_draws * (n_draws - 1))
    return np.asarray(np.abs(off).mean(axis=-1) - ordered @ factors)


def _average(values: Array, multioutput: Output) -> float | Array:
    if str(multioutput) not in ("raw_values", "uniform_average"):
        raise ValueError(
            f"'multioutput' is {multioutput!r}; allowed are 'uniform_average' and 'raw_values'."
        )
    return values if multioutput == "raw_values" else float(np.mean(values))
