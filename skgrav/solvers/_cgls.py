"""Conjugate gradients on the least-squares problem."""

from __future__ import annotations

import numpy as np

from skgrav._typing import Array
from skgrav.solvers._base import (
    LeastSquaresSolver,
    Problem,
    Progress,
    fraction_to_noise,
)


class CGLS(LeastSquaresSolver):
    """Conjugate gradients for least squares, never forming ``A^T A``.

    Parameters
    ----------
    tol : float, default=1e-6
        Stop where ``||A^T (g - A rho)|| <= tol ||A^T g||``. With noise the residual reaching
        the size of the noise stops earlier.
    max_iter : int, default=1000
        Largest number of iterations.
    depth_weighting : float, "sensitivity" or None, default=None
        Corrections are least in a norm with weights that fall with depth, as in
        `TikhonovInverter`: they condition the system, and move what is deep as well.
    engine : {"auto", "svd", "operator"}, default="auto"
        Coordinates to iterate in: those of the thin SVD or the operator's own. ``"auto"`` takes
        the SVD where it is affordable.

    See Also
    --------
    ICG : Weighted conjugate gradients with a vanishing damping.

    References
    ----------
    .. [1] Bjorck (1996), Numerical Methods for Least Squares Problems, SIAM, section 7.4.

    Examples
    --------
    >>> import numpy as np
    >>> from skgrav.solvers import CGLS
    >>> A = np.array([[1.0, 0.0, 1.0], [0.0, 2.0, 0.0]])
    >>> CGLS().solve(A, [[2.0, 2.0]]).rho.round(6) + 0.0
    array([[1., 1., 1.]])
    """

    def _iterate(self, problem: Problem) -> tuple[Array, Progress]:
        system = problem.system
        d = problem.residual.copy()
        gradient = system.adjoint(d)
        c, direction = np.zeros_like(gradient), gradient.copy()
        slope, d2 = np.sum(gradient**2, axis=1), np.sum(d**2, axis=1)
        limit = (self.tol * problem.gradient_norm) ** 2
        done = (slope <= limit) | problem.at_noise(d2)
        progress = Progress(d2, done)
        for _ in range(self.max_iter):
            i = np.flatnonzero(~done)
            if not i.size:
                break
            image = system.forward(direction[i])
            step = (slope[i] / np.sum(image**2, axis=1))[:, None]
            step *= fraction_to_noise(d[i], d[i] - step * image, problem.target2[i])[:, None]
            c[i] += step * direction[i]
            d[i] -= step * image
            gradient = system.adjoint(d[i])
            new_slope = np.sum(gradient**2, axis=1)
            direction[i] = gradient + (new_slope / slope[i])[:, None] * direction[i]
            slope[i], d2[i] = new_slope, np.sum(d[i] ** 2, axis=1)
            progress.record(i, d2[i])
            done = (slope <= limit) | problem.at_noise(d2)
        progress.converged = done
        return c, progress
