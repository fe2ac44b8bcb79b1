"""Correction of estimates by the covariance of their own errors."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skgrav.inverters._noise import noise_with_visible_rounding, usual_rms
from skgrav.inverters._prior import GaussianPrior
from skgrav.io import saved, sized
from skgrav.solvers import SolverResult
from skgrav.solvers._base import split_noise

Array = NDArray[np.float64]


@saved
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
    offset: Array = field(metadata=sized("c"))
    #: Share of each coordinate's correction that is made, between 0 and 1.
    share: Array = field(metadata=sized("d"))
    #: Share of the variance that each coordinate would explain of errors independent of the noise.
    explained: Array = field(metadata=sized("d"))
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
        half = np.random.RandomState(0).permutation(len(g)) % 2 == 0
        before = after = 0.0
        for part in (half, ~half):
            here, there = (
                (start[k], rho[k], g[k], sigma if sigma is None or len(sigma) == 1 else sigma[k])
                for k in (part, ~part)
            )
            correction, (rho0, truth, data, noise) = cls._learn(operator, *here), there
            corrected, _ = correction.correct(operator, data, rho0, noise)
            before += np.linalg.norm(truth - rho0, axis=1).sum()
            after += np.linalg.norm(truth - corrected, axis=1).sum()
        return learned if after < before else learned.none()

    @classmethod
    def _learn(
        cls, operator: Any, start: Array, rho: Array, g: Array, sigma: Array | None
    ) -> ErrorCorrection:
        rows, _ = split_noise(sigma, g)
        error = rho - start
        prior = GaussianPrior.of(error, operator.matrix_ * np.reshape(rows, (-1, 1)))
        every = np.ones(g.shape[1])
        data_rms = float(np.sqrt(np.mean((g * rows) ** 2))) or 1.0
        whole = cls(prior, prior.mean, every, every, data_rms)
        residual, weights = whole._weighed(operator, g, start, sigma)
        weighed, cross = weights * residual, prior.space.cross
        size = np.sum(cross**2, axis=1)
        gain = np.sum(weighed * ((error - prior.mean) @ cross.T), axis=0)
        cost = np.sum(weighed**2, axis=0) * size
        share = np.divide(gain, cost, out=np.zeros_like(gain), where=cost > 0).clip(0.0, 1.0)
        least = np.sum(weights, axis=0) * size
        explained = share * (2.0 * gain - share * cost)
        explained = np.divide(explained, least, out=np.zeros_like(gain), where=least > 0)
        return replace(whole, share=share, explained=explained.clip(0.0, 1.0))

    def none(self) -> ErrorCorrection:
        """Return the correction that leaves starts alone, with their mean error."""
        nothing = np.zeros_like(self.share)
        variance = self.prior.variance + self.offset**2
        return replace(
            self,
            prior=replace(self.prior, variance=variance),
            offset=np.zeros_like(self.offset),
            share=nothing,
            explained=nothing,
        )

    def solve(self, operator: Any, g: Array, rho0: Array, *, sigma: Array | None) -> SolverResult:
        """Correct starts as solvers do."""
        rho, _ = self.correct(operator, g, rho0, sigma)
        rows, _ = split_noise(sigma, g)
        norm = np.linalg.norm(g * rows, axis=1)
        misfits = [np.linalg.norm((g - operator.transform(r)) * rows, axis=1) for r in (rho0, rho)]
        history = np.divide(misfits, norm, out=np.zeros((2, len(g))), where=norm > 0)
        n_iter = np.ones(len(g), dtype=int)
        return SolverResult(rho, n_iter, history, np.ones(len(g), dtype=bool))

    def correct(
        self, operator: Any, g: Array, rho0: Array, sigma: Array | None
    ) -> tuple[Array, Array]:
        """Return corrected starts, and the standard deviation of the error left in each cell."""
        residual, weights = self._weighed(operator, g, rho0, sigma)
        cross = self.prior.space.cross
        rho = rho0 + self.offset + (self.share * weights * residual) @ cross
        return rho, self.prior.std((self.explained * weights) @ cross**2)

    def _weighed(
        self, operator: Any, g: Array, rho0: Array, sigma: Array | None
    ) -> tuple[Array, Array]:
        """Return residuals in coordinates of their own, and one over their variances."""
        rows, level = split_noise(sigma, g)
        space, rms = self.prior.space, usual_rms(g * rows, self.data_rms)
        residual = (g - operator.transform(rho0)) * rows - self.prior.data_mean
        visible = np.sqrt(space.noise_variance(residual))
        noise = noise_with_visible_rounding(level, visible, rms, self.data_rms)
        return space.coordinates(residual), space.weights(noise**2)
