"""The limit of the iterative solvers, in one step: projection onto the data, filtered by noise."""

from __future__ import annotations

from numbers import Real
from typing import Any, Literal

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from skgrav.solvers._base import Array, Problem, Progress, Solver
from skgrav.solvers._system import SVDSystem


class Projection(Solver):
    """Projection ``rho0 + A^+ (g - A rho0)`` onto the densities that fit the data.

    Noise-free data are fitted exactly, which never increases the distance to the true density
    (Pythagoras). With noise the pseudo-inverse is Tikhonov's, damped for each sample until its
    residual is as large as the noise (the discrepancy principle).

    Parameters
    ----------
    rcond : float, default=1e-8
        Singular values below `rcond` times the largest are taken as zero.
    engine : {"auto", "svd"}, default="auto"
        The projection is computed from the thin SVD; both names mean that.

    Raises
    ------
    ValueError
        If the operator is no matrix and so has no affordable SVD.

    See Also
    --------
    CGLS : The same limit by iteration, for operators without an SVD.

    Notes
    -----
    Correction ``V f(s) / s U^T r`` with ``f = 1`` or ``s**2 / (s**2 + alpha)``; alpha solves
    ``||(1 - f) U^T r|| = sigma sqrt(chi2)``, chi2 being the 95 % quantile for as many degrees of
    freedom as the rank, by Newton's method on the reciprocal of the norm, concave in
    ``1 / alpha``, so that it converges from below [1]_.

    References
    ----------
    .. [1] Hansen (1998), Rank-Deficient and Discrete Ill-Posed Problems, SIAM, section 7.2.

    Examples
    --------
    >>> import numpy as np
    >>> from skgrav.solvers import Projection
    >>> A = np.array([[1.0, 0.0, 1.0], [0.0, 2.0, 0.0]])
    >>> Projection().solve(A, [[2.0, 2.0]], [[4.0, 0.0, 2.0]]).rho.round(6)
    array([[2., 1., 0.]])
    """

    _parameter_constraints: dict[str, list[Any]] = {
        "rcond": [Interval(Real, 0, 1, closed="left")],
        "engine": [StrOptions({"auto", "svd"})],
    }

    def __init__(self, *, rcond: float = 1e-8, engine: Literal["auto", "svd"] = "auto") -> None:
        self.rcond = rcond
        self.engine = engine

    def _iterate(self, problem: Problem) -> tuple[Array, Progress]:
        system = problem.system
        if not isinstance(system, SVDSystem):
            raise ValueError(
                "solver 'projection' needs the SVD of 'operator', which is no matrix or too "
                "large. Use 'cgls', which has the same limit."
            )
        s, d = system.s, problem.residual
        d2 = np.sum(d**2, axis=1)
        kept = np.where(s > self.rcond * s[0], s, 0.0)
        noisy = problem.target2 > 0
        strength = np.full(len(d), np.inf)
        strength[noisy] = _discrepancy(kept, d[noisy], problem.target2[noisy])
        with np.errstate(invalid="ignore"):
            remaining = np.where(kept > 0, 1.0 / (1.0 + kept**2 * strength[:, None]), 1.0)
        correction = np.divide(1.0 - remaining, kept, out=np.zeros_like(d), where=kept > 0) * d
        moved = np.flatnonzero(strength > 0)
        progress = Progress(d2, np.ones(len(d), dtype=bool))
        progress.record(moved, np.sum((remaining * d)[moved] ** 2, axis=1))
        return correction, progress


def _discrepancy(s: Array, d: Array, target2: Array, max_iter: int = 100) -> Array:
    """Return ``1 / alpha`` at which the damped residual of each sample has its target norm."""
    h, target = s**2, np.sqrt(target2)
    strength = np.zeros(len(d))
    # What singular values taken as zero hold can't be fitted; half the noise is always in reach.
    floor2 = np.sum(np.where(h == 0, d, 0.0) ** 2, axis=1)
    target = np.sqrt(np.maximum(target2, floor2 + 0.25 * target2))
    for _ in range(max_iter):
        damped = d / (1.0 + h * strength[:, None])
        norm2 = np.sum(damped**2, axis=1)
        norm = np.sqrt(norm2)
        active = norm > target * (1.0 + 1e-10)
        if not active.any():
            break
        slope = np.sum(damped**2 * h / (1.0 + h * strength[:, None]), axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            newton = norm2 * (norm / target - 1.0) / slope
        strength = np.where(active, strength + newton, strength)
    return strength
