"""LSMR, in which the norm of the gradient falls with each iteration."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from skgrav._typing import Array, Mask
from skgrav.solvers._base import LeastSquaresSolver, Problem, Progress, fraction_to_noise
from skgrav.solvers._system import LinearSystem


class LSMR(LeastSquaresSolver):
    """Least squares with minimal residual, by Golub-Kahan bidiagonalisation.

    Equivalent to MINRES on ``A^T A``, which is never formed: the norm of ``A^T (g - A rho)``
    falls with each iteration, so stopping early is safer than with `CGLS`.

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
    CGLS : The residual falls with each iteration, the gradient need not.

    References
    ----------
    .. [1] Fong and Saunders (2011), LSMR: an iterative algorithm for sparse least-squares
       problems, SIAM Journal on Scientific Computing 33.

    Examples
    --------
    >>> import numpy as np
    >>> from skgrav.solvers import LSMR
    >>> A = np.array([[1.0, 0.0, 1.0], [0.0, 2.0, 0.0]])
    >>> LSMR().solve(A, [[2.0, 2.0]]).rho.round(6) + 0.0
    array([[1., 1., 1.]])
    """

    def _iterate(self, problem: Problem) -> tuple[Array, Progress]:
        residual = problem.residual.copy()
        residual2 = np.sum(residual**2, axis=1)
        state = _Bidiagonalisation.start(problem.system, residual)
        gradient, limit = np.abs(state.zeta), self.tol * problem.gradient_norm
        c = np.zeros_like(state.v)
        done = (gradient <= limit) | problem.at_noise(residual2)
        progress = Progress(residual2, done)
        i = np.arange(len(c))
        for _ in range(self.max_iter):
            state, i = state.take(~done[i]), i[~done[i]]
            if not i.size:
                break
            step, image = state.advance(problem.system)
            fraction = fraction_to_noise(residual[i], residual[i] - image, problem.target2[i])
            c[i] += fraction[:, None] * step
            residual[i] -= fraction[:, None] * image
            residual2[i], gradient[i] = np.sum(residual[i] ** 2, axis=1), np.abs(state.zeta)
            progress.record(i, residual2[i])
            done = (gradient <= limit) | problem.at_noise(residual2)
        progress.converged = done
        return c, progress


@dataclass
class _Bidiagonalisation:
    """State of the recurrences of section 3 in [1]_, with names as there."""

    u: Array
    v: Array
    alpha: Array
    #: Norm of the gradient, with a sign.
    zeta: Array
    alpha_bar: Array
    rho: Array
    rho_bar: Array
    cosine: Array
    sine: Array
    h: Array
    h_bar: Array
    #: Images of `h` and `h_bar`, from which the residual is updated.
    h_image: Array
    h_bar_image: Array
    #: Factor of the old `h` in the next one.
    theta: Array

    @classmethod
    def start(cls, system: LinearSystem, residual: Array) -> _Bidiagonalisation:
        u, beta = _normalised(residual)
        v, alpha = _normalised(system.adjoint(u))
        one, zero = np.ones(len(u)), np.zeros(len(u))
        return cls(
            u=u,
            v=v,
            alpha=alpha,
            zeta=alpha * beta,
            alpha_bar=alpha,
            rho=one,
            rho_bar=one,
            cosine=one,
            sine=zero,
            h=np.zeros_like(v),
            h_bar=np.zeros_like(v),
            h_image=np.zeros_like(u),
            h_bar_image=np.zeros_like(u),
            theta=zero,
        )

    def take(self, rows: Mask) -> _Bidiagonalisation:
        """Return the state of some of the samples."""
        return type(self)(*(getattr(self, f.name)[rows] for f in fields(self)))

    def advance(self, system: LinearSystem) -> tuple[Array, Array]:
        """Return the step of one iteration and its image."""
        image = system.forward(self.v)
        self.h = self.v - self.theta[:, None] * self.h
        self.h_image = image - self.theta[:, None] * self.h_image
        self.u, beta = _normalised(image - self.alpha[:, None] * self.u)
        self.v, self.alpha = _normalised(system.adjoint(self.u) - beta[:, None] * self.v)

        # Two rotations: the first makes the bidiagonal matrix upper bidiagonal, the second its
        # transpose, whose right-hand side, zeta, is the norm of the gradient.
        rho = np.hypot(self.alpha_bar, beta)
        cosine, sine = self.alpha_bar / rho, beta / rho
        theta = sine * self.alpha
        self.alpha_bar = cosine * self.alpha
        theta_bar, reduced = self.sine * rho, self.cosine * rho
        rho_bar = np.hypot(reduced, theta)
        back = (theta_bar * rho / (self.rho * self.rho_bar))[:, None]
        self.h_bar = self.h - back * self.h_bar
        self.h_bar_image = self.h_image - back * self.h_bar_image
        self.cosine, self.sine = reduced / rho_bar, theta / rho_bar
        length = (self.cosine * self.zeta / (rho * rho_bar))[:, None]
        self.zeta = -self.sine * self.zeta
        self.theta, self.rho, self.rho_bar = theta / rho, rho, rho_bar
        return length * self.h_bar, length * self.h_bar_image


def _normalised(vectors: Array) -> tuple[Array, Array]:
    """Return unit vectors and lengths; zero stays zero."""
    length = np.linalg.norm(vectors, axis=1)
    return vectors / np.where(length > 0, length, 1.0)[:, None], length
