"""Correction of estimates by the covariance of their errors."""

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
    """Best linear estimate of the error of a start from its data residual.

    With mean m and covariance C of the errors and covariance S of the noise, it is ``m + C A^T (A C
    A^T + S)^-1 (r - A m)`` for the residual r, if errors are independent of the noise. They are not
    where a start has fitted noise or is damped, so each coordinate of the residual is multiplied by
    the share that reduces training errors most. If a correction learned from one half of the pairs
    does not reduce the errors of the other half, no correction is made.
    """

    prior: GaussianPrior
    #: Mean error, added independently of the data.
    offset: Array = field(metadata=sized("c"))
    #: Share of each coordinate's correction that is made, between 0 and 1.
    share: Array = field(metadata=sized("d"))
    #: Variance explained by each coordinate, as a share of that for independent errors.
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
        *,
        drawable: bool = False,
    ) -> ErrorCorrection:
        """Learn from held-out starts, true densities, and the data of the starts."""
        learned = cls._learn(operator, start, rho, g, whitening, sigma, drawable)
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
        drawable: bool = False,
    ) -> ErrorCorrection:
        error = rho - start
        prior = GaussianPrior.of(error, whitening.matrix(operator.matrix_), drawable=drawable)
        every = np.ones(whitening.n_white)
        data_rms = float(np.sqrt(np.mean(whitening(g) ** 2))) or 1.0
        whole = cls(prior, prior.mean, every, every, data_rms)
        residual, weights, _ = whole._weighed(operator, g, start, whitening, sigma)
        weighed, cross = weights * residual, prior.space.cross
        size = np.sum(cross**2, axis=1)
        # For a share t of the corrections of a coordinate the squared error falls by 2 t gain -
        # t^2 cost, most at t = gain / cost.
        gain = np.sum(weighed * ((error - prior.mean) @ cross.T), axis=0)
        cost = np.sum(weighed**2, axis=0) * size
        share = np.divide(gain, cost, out=np.zeros_like(gain), where=cost > 0).clip(0.0, 1.0)
        least = np.sum(weights, axis=0) * size
        explained = share * (2.0 * gain - share * cost)
        explained = np.divide(explained, least, out=np.zeros_like(gain), where=least > 0)
        return replace(whole, share=share, explained=explained.clip(0.0, 1.0))

    def none(self) -> ErrorCorrection:
        """Return the correction that leaves starts unchanged."""
        prior = replace(self.prior, variance=self.prior.variance + self.offset**2)
        offset, zeros = np.zeros_like(self.offset), np.zeros_like(self.share)
        return replace(self, prior=prior, offset=offset, share=zeros, explained=zeros)

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
        """Return corrected starts, and the standard deviations of their remaining errors."""
        residual, weights, _ = self._weighed(operator, g, rho0, whitening, sigma)
        cross = self.prior.space.cross
        rho = rho0 + self.offset + (self.share * weights * residual) @ cross
        return rho, self.prior.std((self.explained * weights) @ cross**2)

    def draws(
        self,
        operator: Any,
        g: Array,
        rho0: Array,
        whitening: Whitening,
        sigma: Array,
        n_draws: int,
        rng: np.random.RandomState,
    ) -> Array:
        """Draw corrected starts whose remaining errors are Gaussian, (n_samples, n_cells, n_draws).

        By Matheron's rule, with the part of each coordinate's variance that is explained. Where
        errors depend on the noise, what they leave of the residual is replaced by draws for
        independent errors, as far as it is more.
        """
        space, cross, variance = self.prior.space, self.prior.space.cross, self.prior.space.variance
        residual, weights, noise2 = self._weighed(operator, g, rho0, whitening, sigma)
        mean = rho0 + self.offset + (self.share * weights * residual) @ cross
        matrix = whitening.matrix(operator.matrix_)

        def errors_of(rho: Array) -> Array:
            return space.coordinates((rho - rho0) @ matrix.T - self.prior.data_mean)

        gain = variance * weights
        likely, likely2 = gain * residual, gain * noise2[:, None]
        found2 = variance * (1.0 - self.explained * gain) + (errors_of(mean) - likely) ** 2
        larger = found2 > likely2
        replaced = 1.0 - np.divide(likely2, found2, out=np.ones_like(gain), where=larger)
        removed = (1.0 - np.sqrt(1.0 - self.explained)) * weights
        regression = np.divide(cross.T, variance, out=0 * cross.T, where=variance > 0).T
        draws = np.empty((*mean.shape, n_draws))
        for k in range(n_draws):
            deviation = self.prior.draw(len(mean), rng)
            data = deviation @ matrix.T
            data += np.sqrt(noise2)[:, None] * rng.normal(size=data.shape)
            rho = mean + deviation - (removed * space.coordinates(data)) @ cross
            change = replaced * (likely - errors_of(rho))
            change += np.sqrt(replaced * likely2) * rng.normal(size=change.shape)
            draws[:, :, k] = rho + change @ regression
        return draws

    def _weighed(
        self, operator: Any, g: Array, rho0: Array, whitening: Whitening, sigma: Array
    ) -> tuple[Array, Array, Array]:
        """Return residuals in coordinates of the prior, their weights, and the noise variance."""
        space, typical = self.prior.space, self.data_rms
        rms = at_least_typical(np.sqrt(np.mean(whitening(g) ** 2, axis=1)), typical)
        residual = whitening(g - operator.transform(rho0)) - self.prior.data_mean
        visible = np.sqrt(space.noise_variance(residual))
        noise = with_visible_rounding(sigma, visible, rms, typical)
        return space.coordinates(residual), space.weights(noise**2), noise**2
