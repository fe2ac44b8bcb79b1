"""Conjugate gradients on the least-squares problem."""

from __future__ import annotations

import numpy as np

from skgrav._typing import Array
from skgrav.solvers._base import LeastSquaresSolver, Problem, Progress, fraction_to_noise


class CGLS(LeastSquaresSolver):
    """Conjugate gradients for least squares, never forming ``A^T A``.

    Parameters
    ----------
    tol : float, default=1e-6
        Stop where ``||A^T (g - A rho)|| <= tol ||A^T g||`` or the data are fitted to their noise.
    max_iter : int, default=1000
        Largest number of iterations.
    depth_weighting : float, "sensitivity", "distance" or None, default=None
        Weights, falling with depth, of the norm in which corrections are smallest, as in
        `TikhonovInverter`: deep cells change as well, and the system is better conditioned.
    engine : {"auto", "svd", "operator"}, default="auto"
        Coordinates of the iteration: of the thin SVD, or the operator's own. ``"auto"`` takes the
        SVD where it is affordable.

    See Also
    --------
    ICG : Conjugate gradients with weights and damping.

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
            # The step that minimises the misfit along the direction, cut where it would fit noise.
            step = (slope[i] / np.sum(image**2, axis=1))[:, None]
            step *= fraction_to_noise(d[i], d[i] - step * image, problem.target2[i])[:, None]
            c[i] += step * direction[i]
            d[i] -= step * image
            gradient = system.adjoint(d[i])
            new_slope = np.sum(gradient**2, axis=1)
            # Conjugate to the directions before, so that none of their gain is lost.
            direction[i] = gradient + (new_slope / slope[i])[:, None] * direction[i]
            slope[i], d2[i] = new_slope, np.sum(d[i] ** 2, axis=1)
            progress.record(i, d2[i])
            done = (slope <= limit) | problem.at_noise(d2)
        progress.converged = done
        return c, progress
