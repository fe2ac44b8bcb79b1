"""Damped least squares for operators too large to decompose, with a Krylov space for all alphas."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.linalg import eigh_tridiagonal

from skgrav._typing import Array, Indices
from skgrav.inverters._damping import DampingCurves
from skgrav.solvers import Status

Map = Callable[[Array], Array]
Choice = Callable[[DampingCurves, Array, Array], Array]

#: Iterations between two choices of alpha: at least this many, or this share of the number so far.
_STRIDE, _SHARE = 10, 0.1


class KrylovLeastSquares:
    """Minimisers of ``||d - A q||^2 + alpha q^T K q`` by products with A and the inverse of K.

    Lanczos iterations on ``A K^-1 A^T`` build from the data of each sample a space in which that
    matrix is tridiagonal. It serves all alphas, which change only the
    diagonal [1]_, so alpha is chosen anew as the space grows. The vectors have the size of the
    data, not of the model, and are reorthogonalised.

    References
    ----------
    .. [1] Frommer and Maass (1999), Fast CG-based methods for Tikhonov-Phillips regularization,
       SIAM Journal on Scientific Computing 20.
    """

    def __init__(
        self,
        forward: Map,
        adjoint: Map,
        compliance: Map,
        *,
        n_data: int,
        max_iter: int,
        tol: float,
    ) -> None:
        self.forward, self.adjoint = forward, adjoint
        self.n_data, self.max_iter, self.tol = n_data, max_iter, tol
        #: Product of rows with the inverse of K.
        self.compliance = compliance

    def solve(
        self, d: Array, sigma: Array, choose: Choice
    ) -> tuple[Array, Array, Indices, Indices]:
        """Return minimisers, alphas, iterations and status, by sample."""
        found = [self._solve(d[i], sigma[i : i + 1], choose) for i in range(len(d))]
        q, alpha, n_iter, status = (np.array(values) for values in zip(*found, strict=True))
        return q, alpha, n_iter, status

    def covariance_of(self, maps: Array, damping: Array, sigma: Array, norm2: Array) -> Array:
        """Return posterior covariances as `DampedLeastSquares.covariance_of`, by products.

        The effective number of parameters is estimated from one random vector, to about its root,
        so standard deviations are right to about a tenth.
        """
        prior = self.compliance(maps) @ maps.T
        explained = self.forward(self.compliance(maps))
        signs = np.random.default_rng(0).choice([-1.0, 1.0], self.n_data)
        covariances = np.zeros((len(damping), len(maps), len(maps)))
        for i in np.flatnonzero(np.isfinite(damping) & (norm2 > 0)):
            q = self._damped(signs, damping[i])
            v = norm2[i] / max(float(signs @ self.forward(q[None])[0]), 1.0)
            left = np.array([self._damped(column, sigma[i] ** 2 / v) for column in explained])
            covariances[i] = v * (prior - maps @ left.T)
        return covariances

    def _damped(self, d: Array, alpha: float) -> Array:
        """Return the minimiser for one alpha."""
        return self._solve(d, np.ones(1), lambda *_: np.array([alpha]))[0]

    def _solve(self, d: Array, sigma: Array, choose: Choice) -> tuple[Array, float, int, Status]:
        norm = float(np.linalg.norm(d))
        size = min(self.max_iter, self.n_data)
        basis = np.zeros((size + 1, self.n_data))
        diagonal, off = np.zeros(size), np.zeros(size)
        basis[0] = d / (norm or 1.0)
        w, alpha, k, look, converged = np.zeros(self.n_data), np.inf, 0, _STRIDE, norm == 0
        exceeds = False
        while k < size and not converged:
            image = self._normal(basis[k])
            diagonal[k] = basis[k] @ image
            for _ in range(2):  # one pass of Gram-Schmidt would lose orthogonality
                image -= (basis[: k + 1] @ image) @ basis[: k + 1]
            off[k] = np.linalg.norm(image)
            exhausted = off[k] <= 1e-14 * np.abs(diagonal[: k + 1]).max()
            basis[k + 1] = image / (off[k] or 1.0)
            k += 1
            if k < min(look, size) and not exhausted:
                continue
            look = k + max(_STRIDE, int(_SHARE * k))
            # The eigenvectors of the tridiagonal matrix give the coordinates of `DampingCurves`;
            # the data are the first vector of the basis, times their norm.
            values, vectors = eigh_tridiagonal(diagonal[:k], off[: k - 1])
            values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
            curves = DampingCurves(values, self.n_data)
            c = norm * vectors[:1]
            alpha = float(choose(curves, c, sigma)[0])
            exceeds = bool(curves.exceeds(c, sigma)[0])
            if np.isinf(alpha):
                converged = True  # zero already fits the data to their noise
                break
            y = vectors @ (c[0] / (values + alpha))
            # The residual of the damped system is parallel to the next vector; the residual of the
            # data in the space is alpha y.
            left = off[k - 1] * abs(y[-1])
            converged = bool(exhausted or left <= self.tol * alpha * np.linalg.norm(y))
        if np.isfinite(alpha):
            w = y @ basis[:k]
        # ``K^-1 A^T (A K^-1 A^T + alpha)^-1 d``
        q = self.compliance(self.adjoint(w[None]))[0]
        status = Status.REACHED if converged else Status.MAX_ITER
        if exceeds:
            status = Status.OUT_OF_REACH
        return q, alpha, max(k, 1), status

    def _normal(self, w: Array) -> Array:
        return self.forward(self.compliance(self.adjoint(w[None])))[0]
