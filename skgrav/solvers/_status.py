"""Whether data are fitted to their noise, why not, and the one warning that says so."""

from __future__ import annotations

import warnings
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri
from sklearn.exceptions import ConvergenceWarning

Array = NDArray[np.float64]

#: Probability with which noise of the stated size may look too large where no density reaches.
_CHANCE = 1e-6


class Status(IntEnum):
    """How the fit of a sample ended."""

    #: The stopping rule was met.
    REACHED = 0
    #: The iterations ran out before.
    MAX_ITER = 1
    #: No density fits the data to their noise: what is out of reach of the mesh exceeds it.
    OUT_OF_REACH = 2
    #: No density within the bounds fits the data to their noise.
    BOUNDS = 3


def noise_in_data(sigma: Array, lost2: Array, n_lost: int) -> tuple[Array, NDArray[np.bool_]]:
    """Return the noise of each sample, raised where the data show more than stated, and where.

    What data hold out of reach of all densities is noise, or what the mesh cannot explain. Where
    noise of the stated size would hardly ever be as large there, fitting the rest as closely as
    stated would turn noise, or a misfit of the mesh, into density.

    Parameters
    ----------
    sigma : ndarray of shape (n_samples,)
        Standard deviation of whitened noise as stated.
    lost2 : ndarray of shape (n_samples,)
        Squared norm of the whitened data that no density can change.
    n_lost : int
        Number of their coordinates.
    """
    if not n_lost:
        return sigma, np.zeros(len(sigma), dtype=bool)
    exceeds = (sigma > 0) & (lost2 > sigma**2 * chdtri(n_lost, _CHANCE))
    return np.where(exceeds, np.sqrt(lost2 / n_lost), sigma), exceeds


def warn_unfitted(
    status: NDArray[np.intp], chi: Array, coherent: NDArray[np.bool_] | None = None
) -> None:
    """Say in one warning which samples are not fitted to their noise, why, and what to do.

    Parameters
    ----------
    status : ndarray of shape (n_samples,)
        Status of each sample.
    chi : ndarray of shape (n_samples,)
        Chi factor of each sample.
    coherent : ndarray of shape (n_samples,), default=None
        Whether residuals of neighbouring stations are correlated; None where that is not known.
    """
    if not (status != Status.REACHED).any():
        return
    known = np.zeros(len(status), dtype=bool) if coherent is None else coherent
    out = status == Status.OUT_OF_REACH
    causes = {
        "hold what no density on this mesh explains, and their residuals are correlated between "
        "neighbouring stations: the mesh is too coarse or too small, or there is a regional field. "
        "Refine or extend 'mesh', or give the survey a 'trend'.": out & known,
        "hold more noise than stated. Give a larger 'noise_level' or 'uncertainty', or a finer "
        "'mesh' if this is signal.": out & ~known,
        "cannot be fitted within 'bounds'. Widen them, or check units and sign of the data.": (
            status == Status.BOUNDS
        ),
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
    warnings.warn(" ".join(texts), ConvergenceWarning, stacklevel=4)
