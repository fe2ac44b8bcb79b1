"""Correction of estimates by the covariance of their own errors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skgrav.inverters._noise import noise_with_rounding
from skgrav.inverters._prior import GaussianPrior
from skgrav.solvers import SolverResult
from skgrav.solvers._base import split_noise

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ErrorCorrection:
    """Best linear estimate of a start's error from the data that the start leaves.

    With mean m and covariance C of the errors, ``m + C A^T (A C A^T + S)^-1 (r - A m)`` of the
    residual r, as if errors were independent of the noise. They are not where a start has fitted
    noise, or knows what to leave to it: each coordinate of the residual counts only by the share
    that has lowered the errors it was learned from. If one half of those errors does not lower the
    other half, a start is left alone.
    """

    prior: GaussianPrior
    #: Mean error, which is added whatever the data.
    offset: Array
    #: Share of each coordinate's correction that is made, between 0 and 1.
    share: Array
    #: Rms of usual data.
    data_rms: float

    @classmethod
    def learn(
        cls, operator: Any, start: Array, rho: Array, g: Array, sigma: Array | None
    ) -> ErrorCorrection:
        """Learn from starts that have not seen their pairs.

        Parameters
        ----------
        operator : BaseOperator
            The fitted operator.
        start, rho : ndarray of shape (n_samples, n_cells)
            Held-out estimates, and the truth.
        g : ndarray of shape (n_samples, n_data)
            Data of which the estimates were made.
        sigma : ndarray or None
            Noise of the data, as `noise_std` gives it.
        """
        learned = cls._learn(operator, start, rho, g, sigma)
        half = np.arange(len(g)) % 2 == 0
        before = after = 0.0
        for part in (half, ~half) if len(g) > 1 else ():
            here, there = (
                (start[k], rho[k], g[k], sigma if sigma is None or len(sigma) == 1 else sigma[k])
                for k in (part, ~part)
            )
            corrected = cls._learn(operator, *here).solve(
                operator, there[2], there[0], sigma=there[3]
            )
            before += np.linalg.norm(there[1] - there[0], axis=1).sum()
            after += np.linalg.norm(there[1] - corrected.rho, axis=1).sum()
        if after < before:
            return learned
        nothing = np.zeros_like(learned.share)
        return replace(learned, offset=np.zeros_like(learned.offset), share=nothing)

    @classmethod
    def _learn(
        cls, operator: Any, start: Array, rho: Array, g: Array, sigma: Array | None
    ) -> ErrorCorrection:
        rows, level = split_noise(sigma, g)
        error = rho - start
        prior = GaussianPrior.of(error, operator.matrix_ * np.reshape(rows, (-1, 1)))
        every = np.ones(g.shape[1])
        correction = cls(prior, prior.mean, every, float(np.sqrt(np.mean(g**2))) or 1.0)
        residual, weights = correction._weighed(operator, start, g, rows, level)
        weighed = weights * residual
        cross = prior.space.cross
        gain = np.sum(weighed * ((error - prior.mean) @ cross.T), axis=0)
        cost = np.sum(weighed**2, axis=0) * np.sum(cross**2, axis=1)
        share = np.divide(gain, cost, out=np.zeros_like(gain), where=cost > 0)
        return replace(correction, share=np.clip(share, 0.0, 1.0))

    def solve(self, operator: Any, g: Array, rho0: Array, *, sigma: Array | None) -> SolverResult:
        """Correct starts as solvers do."""
        rows, level = split_noise(sigma, g)
        residual, weights = self._weighed(operator, rho0, g, rows, level)
        rho = rho0 + self.offset + (self.share * weights * residual) @ self.prior.space.cross
        norm = np.linalg.norm(g * rows, axis=1)
        misfits = [np.linalg.norm((g - operator.transform(r)) * rows, axis=1) for r in (rho0, rho)]
        history = np.divide(misfits, norm, out=np.zeros((2, len(g))), where=norm > 0)
        n_iter = np.ones(len(g), dtype=int)
        return SolverResult(rho, n_iter, history, np.ones(len(g), dtype=bool))

    def std(self, g: Array, sigma: Array | None) -> Array:
        """Return the standard deviation of the error that is left in each cell."""
        _, level = split_noise(sigma, g)
        weights = self.prior.space.weights(self._variance(g, level))
        # Of a share f of the full gain, the error keeps (1 - f)^2 of what that would explain.
        kept = 1.0 - (1.0 - self.share) ** 2
        return self.prior.std((kept * weights) @ self.prior.space.cross**2)

    def _weighed(
        self, operator: Any, rho0: Array, g: Array, rows: Any, level: Array
    ) -> tuple[Array, Array]:
        """Return residuals in coordinates of their own, and one over their variances."""
        residual = (g - operator.transform(rho0)) * rows - self.prior.data_mean
        weights = self.prior.space.weights(self._variance(g * rows, level))
        return self.prior.space.coordinates(residual), weights

    def _variance(self, g: Array, level: Array) -> Array:
        return noise_with_rounding(level, g, self.data_rms) ** 2
