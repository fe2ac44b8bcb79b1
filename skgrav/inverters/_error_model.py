"""Correction of estimates by the covariance of their own errors."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from skgrav._typing import Array
from skgrav.inverters._gaussian_prior import GaussianPrior
from skgrav.io import saved, sized
from skgrav.noise import Whitening, at_least_typical, with_visible_rounding
from skgrav.solvers import SolverResult


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
    #: Rms of typical whitened data.
    data_rms: float

    @classmethod
    def learn(
        cls,
        operator: Any,
        start: Array,
        rho: Array,
        g: Array,
        whitening: Whitening,
        sigma: Array,
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
        whitening : Whitening
            Makes the noise of the data white.
        sigma : ndarray of shape (n_samples,)
            Standard deviation of the whitened noise.
        """
        learned = cls._learn(operator, start, rho, g, whitening, sigma)
        half = np.random.RandomState(0).permutation(len(g)) % 2 == 0
        before = after = 0.0
        for part in (half, ~half):
            correction = cls._learn(
                operator, start[part], rho[part], g[part], whitening, sigma[part]
            )
            rho0, truth = start[~part], rho[~part]
            corrected, _ = correction.correct(operator, g[~part], rho0, whitening, sigma[~part])
            before += np.linalg.norm(truth - rho0, axis=1).sum()
            after += np.linalg.norm(truth - corrected, axis=1).sum()
        return learned if after < before else learned.none()

    @classmethod
    def _learn(
        cls,
        operator: Any,
        start: Array,
        rho: Array,
        g: Array,
        whitening: Whitening,
        sigma: Array,
    ) -> ErrorCorrection:
        error = rho - start
        prior = GaussianPrior.of(error, whitening.matrix(operator.matrix_))
        every = np.ones(whitening.n_white)
        data_rms = float(np.sqrt(np.mean(whitening(g) ** 2))) or 1.0
        whole = cls(prior, prior.mean, every, every, data_rms)
        residual, weights = whole._weighed(operator, g, start, whitening, sigma)
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

    def solve_whitened(
        self, operator: Any, g: Array, rho0: Array, whitening: Whitening, sigma: Array
    ) -> SolverResult:
        """Correct starts as solvers do."""
        rho, _ = self.correct(operator, g, rho0, whitening, sigma)
        norm = np.linalg.norm(whitening(g), axis=1)
        misfits = [
            np.linalg.norm(whitening(g - operator.transform(r)), axis=1) for r in (rho0, rho)
        ]
        history = np.divide(misfits, norm, out=np.zeros((2, len(g))), where=norm > 0)
        n_iter = np.ones(len(g), dtype=int)
        return SolverResult(rho, n_iter, history, np.zeros(len(g), dtype=int))

    def correct(
        self, operator: Any, g: Array, rho0: Array, whitening: Whitening, sigma: Array
    ) -> tuple[Array, Array]:
        """Return corrected starts, and the standard deviation of the error left in each cell."""
        residual, weights = self._weighed(operator, g, rho0, whitening, sigma)
        cross = self.prior.space.cross
        rho = rho0 + self.offset + (self.share * weights * residual) @ cross
        return rho, self.prior.std((self.explained * weights) @ cross**2)

    def _weighed(
        self, operator: Any, g: Array, rho0: Array, whitening: Whitening, sigma: Array
    ) -> tuple[Array, Array]:
        """Return residuals in coordinates of their own, and one over their variances."""
        space, typical = self.prior.space, self.data_rms
        rms = at_least_typical(np.sqrt(np.mean(whitening(g) ** 2, axis=1)), typical)
        residual = whitening(g - operator.transform(rho0)) - self.prior.data_mean
        visible = np.sqrt(space.noise_variance(residual))
        noise = with_visible_rounding(sigma, visible, rms, typical)
        return space.coordinates(residual), space.weights(noise**2)
