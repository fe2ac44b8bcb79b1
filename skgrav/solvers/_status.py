"""Status of a fit, and the warning of data that are not fitted to their noise."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np
from scipy.spatial import KDTree
from scipy.special import chdtri
from sklearn.exceptions import ConvergenceWarning

from skgrav._typing import Array, Indices, Mask
from skgrav._warnings import warn
from skgrav.geometry import Survey
from skgrav.noise import Noise

#: Probability at which the part of the data out of reach is too large to be noise as stated.
SIGNIFICANCE = 1e-6


class Status(IntEnum):
    """How the fit of a sample ended."""

    #: The stopping rule was met.
    REACHED = 0
    #: It was not met within `max_iter`.
    MAX_ITER = 1
    #: No density on the mesh fits the data to their noise.
    OUT_OF_REACH = 2
    #: No density within the bounds fits the data to their noise.
    BOUNDS = 3


def noise_in_data(sigma: Array, lost2: Array, n_lost: int) -> tuple[Array, Mask]:
    """Return the noise of each sample, raised where the data show more than stated, and where.

    The part of the data outside the range of A is noise, or signal that the mesh cannot explain.
    If it is significantly larger than noise as stated, fitting the rest to the stated noise would
    turn noise, or errors of the mesh, into density. `lost2` is the squared norm of that part of
    the whitened data, `n_lost` its dimension.
    """
    if not n_lost:
        return sigma, np.zeros(len(sigma), dtype=bool)
    exceeds = (sigma > 0) & (lost2 > sigma**2 * chdtri(n_lost, SIGNIFICANCE))
    return np.where(exceeds, np.sqrt(lost2 / n_lost), sigma), exceeds


def warn_unfitted(
    status: Indices,
    chi: Array,
    residual: Array,
    noise: Noise,
    operator: Any,
    *,
    within: str = "within 'bounds'. Widen them, or check units and sign of the data.",
) -> None:
    """Warn once of samples that are not fitted to their noise, with causes and remedies.

    `chi` has their chi factors, 0 where not known; `operator` gives neighbouring stations; `within`
    says what the bounds are.
    """
    if not (status != Status.REACHED).any():
        return
    differ = (status != Status.REACHED) & _differ_where_repeated(residual, chi, noise, operator)
    status = np.where(differ, Status.REACHED, status)  # no other cause is looked for
    out, coherent = status == Status.OUT_OF_REACH, _coherent(residual, noise, operator)
    causes = {
        "have data at repeated stations of 'survey' that differ by more than their noise. Average "
        "them, or give them a larger 'uncertainty'.": differ,
        "contain signal that no density on this mesh explains, and their residuals are correlated "
        "between neighbouring stations: the mesh is too coarse or too small, or there is a "
        "regional field. Refine or extend 'mesh', or give the survey a 'trend'.": out & coherent,
        "have more noise than stated. Give a larger 'noise_level' or 'uncertainty', or a finer "
        "'mesh' if this is signal.": out & ~coherent,
        f"cannot be fitted {within}": status == Status.BOUNDS,
        "did not converge within 'max_iter'. Raise it, or loosen 'tol'.": (
            status == Status.MAX_ITER
        ),
    }
    texts = []
    for text, which in causes.items():
        if which.any():
            worst = float(np.max(chi[which], initial=0.0))
            factor = f" (chi factor up to {worst:.3g})" if 0 < worst < np.inf else ""
            texts.append(f"{which.sum()} of {len(status)} samples{factor} {text}")
    warn(" ".join(texts), ConvergenceWarning)


def warn_below_noise(white: Array, sigma: Array) -> None:
    """Warn of whitened data that differ from a reference by far less than their noise."""
    size2, n_white = np.sum(white**2, axis=1), white.shape[1]
    below = (size2 > 0) & (size2 < sigma**2 * chdtri(n_white, 1.0 - SIGNIFICANCE))
    if below.any():
        chi = size2[below] / (sigma[below] ** 2 * n_white)
        warn(
            f"{below.sum()} of {len(white)} samples differ from 'reference' by less than their "
            f"noise (chi factor down to {chi.min():.2g}), so that it is their estimate. Check the "
            "unit of the data, or give a smaller 'noise_level' or 'uncertainty'."
        )


def _differ_where_repeated(residual: Array, chi: Array, noise: Noise, operator: Any) -> Mask:
    """Return in which samples data at the same station differ by more than their noise."""
    differ = np.zeros(len(residual), dtype=bool)
    if len(residual) == 0:
        return differ
    variance = np.mean(noise.whitening(residual) ** 2, axis=1) / np.where(chi > 0, chi, np.inf)
    for survey, data in getattr(operator, "surveys_", []):
        weights = noise.whitening.weights[data]
        differ |= _repeats_differ(survey, residual[:, data], weights, variance)
    return differ & (chi > 0)


def _repeats_differ(survey: Survey, residual: Array, weights: Array, variance: Array) -> Mask:
    """Return in which samples data of one survey at the same station differ."""
    _, group = np.unique(survey.stations, axis=0, return_inverse=True)
    n_groups, n_repeated = group.max() + 1, survey.n_stations - group.max() - 1
    if not n_repeated:
        return np.zeros(len(residual), dtype=bool)
    shifts = n_groups * np.arange(len(survey.components))
    groups = np.add.outer(shifts, group.ravel()).ravel()
    sums = np.zeros((groups.max() + 1, len(residual)))
    np.add.at(sums, groups, (residual / weights**2).T)
    means = sums.T / np.bincount(groups, weights**-2)
    within = (residual - means[:, groups]) / weights
    limit = chdtri(n_repeated * len(survey.components), SIGNIFICANCE)
    return np.sum(within**2, axis=1) > variance * limit


def _coherent(residual: Array, noise: Noise, operator: Any) -> Mask:
    """Return in which samples residuals are correlated between neighbouring stations.

    For white noise the correlation over n pairs of neighbours has a standard deviation of about
    ``n**-0.5``.
    """
    surveys = getattr(operator, "surveys_", [])
    weighted = noise.whitening.detrended(residual) / noise.whitening.weights
    if surveys:
        pairs = [np.add(_neighbours(survey), data.start) for survey, data in surveys]
        first, second = np.hstack(pairs)
    else:
        first, second = np.arange(weighted.shape[1] - 1), np.arange(1, weighted.shape[1])
    if len(first) < 4:
        return np.zeros(len(residual), dtype=bool)
    products = np.sum(weighted[:, first] * weighted[:, second], axis=1)
    squares = np.sum(weighted[:, first] ** 2, axis=1) * np.sum(weighted[:, second] ** 2, axis=1)
    correlation = np.divide(
        products, np.sqrt(squares), out=np.zeros(len(residual)), where=squares > 0
    )
    return correlation > 4.0 / np.sqrt(len(first))


def _neighbours(survey: Survey) -> tuple[Indices, Indices]:
    """Return pairs of data of one component at neighbouring stations."""
    horizontal = survey.stations[:, 1:]
    if survey.ndim == 2:
        order = np.argsort(horizontal[:, 0], kind="stable")
        pairs = order[:-1], order[1:]
    else:
        each = np.arange(len(horizontal))
        _, nearest = KDTree(horizontal).query(horizontal, k=min(2, len(horizontal)))
        first, second = np.reshape(nearest, (len(each), -1)).T[[0, -1]]
        pairs = each, np.where(second == each, first, second)  # repeated stations have no order
    shifts = survey.n_stations * np.arange(len(survey.components))
    first, second = (np.add.outer(shifts, side).ravel() for side in pairs)
    return first, second
