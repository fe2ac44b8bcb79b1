"""What inverters that weigh the misfit against a model norm find for each sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from skgrav._typing import Array, Indices, Mask
from skgrav._warnings import warn
from skgrav.noise import Noise, Trend
from skgrav.solvers import Iterations, Status

#: Chi factor, or its inverse, at which a choice of alpha contradicts the stated noise.
_CONTRADICTED = 10.0


@dataclass(frozen=True)
class RegularizedResult:
    """Densities of each sample, with alpha, misfit and trend.

    Parameters
    ----------
    rho : ndarray of shape (n_samples, n_cells)
        The densities.
    alpha : ndarray of shape (n_samples,)
        Weight of the model norm; infinite where the reference already fits the data to their noise.
    misfit : ndarray of shape (n_samples,)
        Norm of the whitened residual ``(g - A rho - trend) / sigma``, in the unit of the data
        where the noise is not known.
    model_norm : ndarray of shape (n_samples,)
        Norm of ``W (rho - reference)``.
    n_iter : ndarray of shape (n_samples,)
        Number of iterations; 1 for a closed form.
    status : ndarray of shape (n_samples,)
        0 where the data are fitted as requested, 1 where `max_iter` was reached, 2 where no density
        fits the data to their noise, 3 where no density within the bounds does.
    sigma : ndarray of shape (n_samples,)
        Standard deviation of the noise, given or estimated by cross-validation; NaN where alpha is
        a number and the noise is not known. For data with uncertainties, their rms.
    chi_factor : ndarray of shape (n_samples,)
        Mean square of the residual in units of the noise; NaN where the noise is not known.
    trend : Trend
        Trend of the residual. Its `std` includes the uncertainty of the densities; it is NaN where
        that or the noise is not known, as of SparseInverter.
    iterations : list of Iterations, default=None
        Course of the iteration of each sample with mixed norms: arrays `chi_factor`, `alpha`,
        `change` and `largest`, of shape (n_iter,), and `contrast`, the magnitudes of negative and
        positive departures that were expected.

    See Also
    --------
    TikhonovInverter, SparseInverter : Return it.

    Examples
    --------
    >>> from skgrav import Mesh, TikhonovInverter
    >>> from skgrav.datasets import make_gravity_dataset
    >>> data = make_gravity_dataset(5, mesh=Mesh.square(8), noise_level=0.01, random_state=0)
    >>> inverter = TikhonovInverter("gcv", operator=data.operator).fit(data.data)
    >>> inverter.invert(data.data).alpha.shape
    (5,)
    """

    rho: Array
    alpha: Array
    misfit: Array
    model_norm: Array
    n_iter: Indices
    status: Indices
    sigma: Array
    chi_factor: Array
    trend: Trend
    iterations: list[Iterations] | None = None

    @property
    def converged(self) -> Mask:
        """Whether the data are fitted as requested, (n_samples,)."""
        return self.status == Status.REACHED


class Departure(NamedTuple):
    """Departures from the reference that fit whitened data."""

    #: (n_samples, n_cells).
    rho: Array
    model_norm: Array
    #: Alpha times the squared noise `sigma`.
    damping: Array
    n_iter: Indices
    status: Indices
    #: The noise of each sample, as given or as estimated by the choice of alpha.
    sigma: Array
    #: The course of each sample, for methods that iterate.
    iterations: list[Iterations] | None = None

    def of(self, i: int) -> Departure:
        """Return that of one sample."""
        parts: Any = (v if v is None else v[i : i + 1] for v in self)
        return Departure(*parts)


class Problem(NamedTuple):
    """Data of samples, and the departures from the reference that fit them."""

    X: Array
    noise: Noise
    #: Densities from which departures are measured, one row or one for each sample.
    reference: Array
    #: Whitened departures of the data from those of the reference.
    white: Array
    #: The noise in whose square damping is measured, 1 where it is not known.
    sigma: Array
    choice: str | float
    solved: Departure


def warn_contradicted(choice: str, chi: Array) -> None:
    """Warn where an alpha chosen without the stated noise leaves a misfit of another order."""
    apart = np.maximum(chi, 1.0 / np.maximum(chi, np.finfo(float).tiny))
    wrong = apart > _CONTRADICTED
    if wrong.any():
        warn(
            f"'alpha' is {choice!r}, which leaves a chi factor of {chi[np.argmax(apart)]:.2g} in "
            f"the worst of {wrong.sum()} of {len(chi)} samples: the noise that the data show is "
            "not the one stated, or they do not determine alpha. Take alpha='discrepancy' if the "
            "stated noise is right, otherwise correct 'noise_level' or 'uncertainty'."
        )
