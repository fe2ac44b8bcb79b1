"""Damped least squares for any alpha, and the choice of alpha for each sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import numpy as np
from scipy.special import chdtri

from skgrav._typing import Array, Indices, Mask
from skgrav.inverters._alpha_search import Choice, most_damped_corner, refined, warn_open
from skgrav.io import saved, sized
from skgrav.operators import decomposition_bytes, require
from skgrav.solvers import DataSpace, discrepancy_strength, noise_in_data

#: Search grid of alpha: decades relative to the largest eigenvalue, and number of values.
_DECADES, _STEPS = (-14, 2), 129

#: Alphas are searched that leave at least this share of the data as degrees of freedom of the
#: residual, and fit at least one parameter: beyond, criteria are unreliable.
_LEFT = 0.1

#: Weight of plain cross-validation in its robust form; the rest penalises the noise that is fitted.
_ROBUST = 0.1

#: Corners of the L-curve are searched where cross-validation is within this factor of its minimum.
_PLAUSIBLE = 2.0

#: Of curves known only above some alpha, the minimum of cross-validation is taken as that of all if
#: it rises by this factor toward that alpha.
_RISE = 1.1

#: The data do not determine alpha if alphas about as good by cross-validation have squared misfits
#: that differ by this factor.
_UNDETERMINED = 10.0

#: The likelihood of a prior variance is known where it is searched down to this far below its
#: maximum, in its logarithm.
_UNLIKELY = 5.0

#: Eigenvalues below this share of the largest are rounding: of a product, and of squared singular
#: values.
_ROUNDING, _ROUNDING_OF_SQUARES = 1e-14, 1e-20

#: Eigenvalues above this share of the largest span the part of the data that densities can fit.
_IN_REACH = 1e-14

#: Columns in a block of the triangular decomposition.
_COLUMNS = 4096

#: Coordinates in a block.
_ROWS = 64

#: Samples whose curves are computed together.
_BLOCK = 256


@dataclass(frozen=True)
class DampingCurves:
    """Norms of residuals and estimates for any alpha, and criteria by which alpha is chosen.

    Data are in coordinates in which the operator times its transpose is diagonal.
    """

    #: Eigenvalues of the operator times its transpose, in descending order.
    variance: Array = field(metadata=sized("e"))
    #: Number of data.
    n_data: int

    def curve(self, c: Array, alpha: Array) -> tuple[Array, Array]:
        """Return squared norms of residuals and estimates, (n_samples, n_alphas).

        Coordinates are (n_samples, n_data), alphas (n_alphas,) or (n_samples, n_alphas).
        """
        h = self.variance
        left = 1.0 / (1.0 + h / alpha[..., None])
        kept = np.sqrt(h) / (alpha[..., None] + h)
        if alpha.ndim == 1:
            return c**2 @ (left**2).T, c**2 @ (kept**2).T
        return np.sum((c[:, None] * left) ** 2, axis=2), np.sum((c[:, None] * kept) ** 2, axis=2)

    def effective_parameters(self, alpha: Array) -> Array:
        """Return the trace of the matrix that maps data to predictions, shaped as alpha."""
        return self._trace(alpha, 1)

    @property
    def least(self) -> float:
        """Smallest alpha at which curves are known."""
        return 0.0

    def _trace(self, alpha: Array, power: int) -> Array:
        """Return the trace of a power of the matrix that maps data to predictions."""
        h = self.variance
        return np.sum((h / (h + alpha[..., None])) ** power, axis=-1)

    def _log_determinant(self, alpha: Array) -> Array:
        """Return the logarithm of the determinant of ``1 + A K^-1 A^T / alpha``."""
        return np.sum(np.log1p(self.variance / alpha[..., None]), axis=-1)

    @property
    def _mean_variance(self) -> float:
        """Mean eigenvalue of the operator times its transpose."""
        return float(self.variance.sum() / self.n_data) or 1.0

    def gcv(self, c: Array, alpha: Array) -> Array:
        """Return robust generalised cross-validation, shaped as by `curve`.

        The plain function may have chance minima at very small alphas, which leave few degrees of
        freedom. The robust one grows with the share of the noise that the estimate fits.
        """
        residual2, _ = self.curve(c, alpha)
        n = self.n_data
        left = n - self.effective_parameters(alpha)
        fitted = self._trace(alpha, 2) / n
        plain = n * residual2 / np.maximum(left, np.finfo(float).tiny) ** 2
        return plain * (_ROBUST + (1 - _ROBUST) * fitted)

    def curvature(self, c: Array, alpha: Array) -> Array:
        """Return the curvature of log residual against log norm, shaped as by `curve`."""
        h, a = self.variance, alpha
        residual2, norm2 = self.curve(c, alpha)
        total = a[..., None] + h
        if alpha.ndim == 1:
            third, fourth = (c**2 @ (h / total**k).T for k in (3, 4))
        else:
            third, fourth = (np.sum(c[:, None] ** 2 * h / total**k, axis=2) for k in (3, 4))
        # First and second derivatives, by log alpha, of the logarithms of both squared norms.
        with np.errstate(divide="ignore", invalid="ignore"):
            x1 = a**2 * third / residual2
            x2 = (2 * a**2 * third - 3 * a**3 * fourth) / residual2 - 2 * x1**2
            y1 = -a * third / norm2
            y2 = (-a * third + 3 * a**2 * fourth) / norm2 - 2 * y1**2
            curvature = (x1 * y2 - x2 * y1) / (x1**2 + y1**2) ** 1.5
        return np.where(np.isfinite(curvature), curvature, -np.inf)

    def grid(self) -> Array:
        """Return the alphas of the search grid."""
        return np.logspace(*_DECADES, _STEPS) * (self.variance[0] or 1.0)

    def noise(self, c: Array, alpha: Array) -> Array:
        """Return the noise estimated from the residuals at the alpha of each sample."""
        residual2, _ = self.curve(c, alpha[:, None])
        left = self.n_data - self.effective_parameters(alpha)
        return np.sqrt(residual2[:, 0] / np.maximum(left, 1.0))

    def unlikelihood(self, c: Array, sigma: Array, alpha: Array) -> Array:
        """Return -2 log likelihood, but for a constant, of data under the prior of an alpha.

        It is Gaussian with the covariance ``sigma^2 / alpha K^-1``. Shaped as by `curve`.
        """
        total = self.variance + alpha[..., None]
        if alpha.ndim == 1:
            misfit = c**2 @ (alpha[:, None] / total).T
        else:
            misfit = np.sum(c[:, None] ** 2 * (alpha[..., None] / total), axis=2)
        return misfit / sigma[:, None] ** 2 + self._log_determinant(alpha)

    def choose(self, choice: str | float, c: Array, sigma: Array) -> Choice:
        """Return alpha times the variance of the noise of each sample, chosen by coordinates.

        `choice` is alpha, "discrepancy", a criterion of `search`, or "likelihood", which gives the
        alpha of the most likely variance of a Gaussian prior.
        """
        n = len(c)
        never, always = np.zeros(n, dtype=bool), np.ones(n, dtype=bool)
        if not isinstance(choice, str):
            return Choice(choice * sigma**2, never, always)
        if choice == "discrepancy":
            return Choice(self.discrepancy(c, sigma), never, always)
        search = self._most_likely if choice == "likelihood" else self._search
        blocks = [slice(i, i + _BLOCK) for i in range(0, n, _BLOCK)]
        parts = [search(c[block], choice, sigma[block]) for block in blocks]
        return Choice(*(np.concatenate(values) for values in zip(*parts, strict=True)))

    def discrepancy(self, c: Array, sigma: Array) -> Array:
        """Return the alphas whose residuals are as large as the noise; infinity if zero fits.

        The part of the residual that densities can fit is never reduced below the 5 % quantile of
        its noise.
        """
        s, target2 = np.sqrt(self.variance), self.target2(c, sigma)
        strength = discrepancy_strength(s, c, target2)
        exceeds = self.exceeds(c, sigma)
        if exceeds.any():  # so large a part out of reach would keep the rest from being fitted
            reached, lost2, _ = self._reach(c[exceeds])
            above2 = target2[exceeds] - lost2
            strength[exceeds] = discrepancy_strength(s[reached], c[exceeds][:, reached], above2)
        with np.errstate(divide="ignore"):
            return 1.0 / strength

    def target2(self, c: Array, sigma: Array) -> Array:
        """Return the squared residual at which each sample is fitted to its noise."""
        reached, lost2, n_lost = self._reach(c)
        noise, exceeds = noise_in_data(sigma, lost2, n_lost)
        least = lost2 + noise**2 * chdtri(max(1, np.count_nonzero(reached)), 0.95)
        return np.where(exceeds, least, np.maximum(self.n_data * sigma**2, least))

    def exceeds(self, c: Array, sigma: Array) -> Mask:
        """Return which samples have more noise than stated where no density can fit it."""
        _, lost2, n_lost = self._reach(c)
        return noise_in_data(sigma, lost2, n_lost)[1]

    def _reach(self, c: Array) -> tuple[Mask, Array, int]:
        """Return which coordinates densities can fit, and squared norm and number of the others."""
        h = self.variance
        reached = h > _IN_REACH * h[0]
        n_lost = 0 if reached.all() else max(0, self.n_data - int(np.count_nonzero(reached)))
        return reached, np.sum(c[:, ~reached] ** 2, axis=1), n_lost

    def search(self, c: Array, criterion: str) -> Array:
        """Return the alphas of least "gcv", or at the corner of the "lcurve".

        Warns where the data do not determine alpha.
        """
        found = self.choose(criterion, c, np.ones(len(c)))
        warn_open(criterion, found.is_open)
        return found.alpha

    def _search(self, c: Array, criterion: str, sigma: Array) -> Choice:
        grid = self.grid()
        used = self.effective_parameters(grid)
        inside = used <= (1 - _LEFT) * self.n_data
        inside &= used >= min(1.0, used.max() / 2)
        determined = np.flatnonzero(inside)[:1]
        inside &= grid >= self.least
        if not inside.any():  # the curves are known where data are hardly fitted, as yet
            return Choice(grid[-1:].repeat(len(c)), *np.zeros((2, len(c)), dtype=bool))
        value = np.where(inside, self.gcv(c, grid), np.inf)
        rows, best = np.arange(len(c)), np.asarray(np.argmin(value, axis=1))
        cost: Callable[[Array, Array], Array] = self.gcv
        open_ = self._is_open(c, grid, value, best)
        first = np.argmax(inside)
        rise = _PLAUSIBLE if criterion == "lcurve" else _RISE
        settled = (first == determined) | (value[:, first] > rise * value[rows, best])
        if criterion == "lcurve":
            cost = lambda c, alpha: -self.curvature(c, alpha)  # noqa: E731
            plausible = value <= _PLAUSIBLE * value[rows, best][:, None]
            best, found = most_damped_corner(-cost(c, grid), plausible, best)
            open_ |= ~found & np.any(c != 0, axis=1)
        return Choice(refined(cost, c, grid, best), open_, settled)

    def _most_likely(self, c: Array, choice: str, sigma: Array) -> Choice:
        grid = self.grid()
        cost = self.unlikelihood(c, sigma, grid)
        first = min(int(np.searchsorted(grid, self.least)), len(grid) - 1)
        cost[:, :first] = np.inf
        rows, best = np.arange(len(c)), np.asarray(np.argmin(cost, axis=1))
        settled = (cost[:, first] - cost[rows, best] > 2 * _UNLIKELY) | (self.least == 0)
        finest = lambda c, alpha: self.unlikelihood(c, sigma, alpha)  # noqa: E731
        alpha = refined(finest, c, grid, np.maximum(best, first + 1))
        # Where the largest alpha is the most likely one, the data show nothing but noise, which
        # would hide a prior whose data are about as large.
        is_open = best == len(grid) - 1
        alpha[is_open] = self._mean_variance
        return Choice(alpha, is_open, settled)

    def _is_open(self, c: Array, grid: Array, value: Array, best: Indices) -> Mask:
        """Return for which samples alphas of very different misfit are about as good."""
        residual2, _ = self.curve(c, grid)
        rows = np.arange(len(c))
        left = self.n_data - self.effective_parameters(grid)[best]
        # Two standard deviations of the sum of squared noise, relative to the sum.
        share = 2 * np.sqrt(2 / np.maximum(left, 1.0))
        good = value <= (value[rows, best] * (1 + share))[:, None]
        largest = np.max(residual2, axis=1, where=good, initial=0.0)
        least = np.min(residual2, axis=1, where=good, initial=np.inf)
        # At the least alpha searched the criterion may still fall, unless it is zero there.
        first = np.argmax(np.isfinite(value), axis=1)
        at_end = (best == first) & (value[rows, best] > 0)
        return np.asarray(
            ((largest > _UNDETERMINED * least) | at_end) & (residual2.max(axis=1) > 0)
        )


class Coordinates(NamedTuple):
    """Some of the coordinates of data in which the operator times its transpose is diagonal."""

    #: Their eigenvalues.
    variance: Array
    #: Eigenvectors as rows, (n, n_data).
    rotation: Array
    #: Covariances with coefficients under the inverse of K, (n, n_coefficients).
    cross: Array


@saved
@dataclass(frozen=True)
class DampedLeastSquares(DampingCurves):
    """Minimisers of ``||d - A q||^2 + alpha sum(stiffness q^2)`` for any alpha, in closed form.

    They are diagonal in `space`, in the eigenvectors of ``A diag(1 / stiffness) A^T``.
    """

    space: DataSpace
    #: One over the stiffness of each coefficient.
    compliance: Array = field(metadata=sized("c"))
    has_eigenvectors: ClassVar[bool] = True

    @classmethod
    def of(cls, matrix: Array, stiffness: Array) -> DampedLeastSquares:
        """Prepare estimates for a matrix (n_data, n_cells), one stiffness per column."""
        (n_data, n_cells), root = matrix.shape, np.sqrt(stiffness)
        require(
            decomposition_bytes(n_data, n_cells),
            f"the decomposition of {n_data} data x {n_cells} cells",
            "Take a coarser 'mesh' or fewer stations in 'survey'.",
        )
        # The matrix may take most of the memory, so a single copy is scaled in place, at last to
        # the covariance of data and estimates.
        scaled = matrix / root
        if np.ptp(stiffness) == 0:
            gram = scaled @ scaled.T
            scaled /= root
            space, rounding = DataSpace.of(gram, scaled), _ROUNDING
        else:
            # Modes of little stiffness dominate, and the product would lose the others by rounding.
            rotation, s, _ = np.linalg.svd(_triangle(scaled).T)
            s = np.append(s, np.zeros(n_data - len(s)))
            scaled /= root
            space = DataSpace(rotation, s**2, rotation.T @ scaled)
            rounding = _ROUNDING_OF_SQUARES
        # Coordinates of rounding alone must not be estimated, however small alpha is.
        lost = space.variance <= rounding * space.variance[0]
        space.variance[lost] = 0.0
        space.cross[lost] = 0.0
        return cls(space.variance, n_data, space, 1.0 / stiffness)

    def coordinates(self, d: Array) -> Array:
        """Return data in the coordinates of `space`."""
        return self.space.coordinates(d)

    def estimate(self, d: Array, alpha: Array) -> Array:
        """Return the minimisers, (n_samples, n_cells), for the alpha of each sample."""
        return self.space.estimate(d, alpha)

    def coordinates_by_blocks(self, alpha: Array) -> Iterator[Coordinates]:
        """Iterate over blocks of all coordinates that matter at alphas."""
        for start in range(0, len(self.variance), _ROWS):
            rows = slice(start, start + _ROWS)
            yield Coordinates(
                self.variance[rows], self.space.rotation[:, rows].T, self.space.cross[rows]
            )

    def all_curves(self, d: Array, alpha: Array | None) -> tuple[Array, Array, Array, Array]:
        """Return alphas, squared norms of residuals and estimates, and cross-validation of data.

        Alphas are (n_samples, n_alphas), None for the grid.
        """
        c = self.coordinates(d)
        alpha = np.tile(self.grid(), (len(d), 1)) if alpha is None else alpha
        return alpha, *self.curve(c, alpha), self.gcv(c, alpha)

    def residual_noise(self, d: Array, alpha: Array) -> Array:
        """Return the noise that residuals show at the alpha of each sample."""
        return self.noise(self.coordinates(d), alpha)

    def most_likely(self, d: Array, sigma: Array) -> Choice:
        """Return the alphas of the most likely prior variance."""
        return self.choose("likelihood", self.coordinates(d), sigma)

    def covariance_of(self, maps: Array, damping: Array, sigma: Array, norm2: Array) -> Array:
        """Return posterior covariances of linear functions of the coefficients, the rows of `maps`.

        Their prior is Gaussian with the covariance ``v / stiffness``. v follows from the squared
        norm of the estimate, whose expectation is v times the effective number of parameters; from
        alpha it would come out too small, as the discrepancy principle damps more than a posterior
        mean. `damping` is alpha times the variance of the noise, `norm2` the squared norm of the
        estimate.
        """
        prior = (maps * self.compliance) @ maps.T
        explained = maps @ self.space.cross.T
        n_effective = np.sum(self.variance / (damping[:, None] + self.variance), axis=1)
        v = np.divide(norm2, n_effective, out=np.zeros_like(norm2), where=n_effective > 0)
        return posterior_covariances(prior, explained, self.variance, v, sigma)


def posterior_covariances(
    prior: Array, explained: Array, variance: Array, v: Array, sigma: Array
) -> Array:
    """Return v times the covariances, under the inverse of K, that data leave of linear functions.

    `explained` are covariances with coordinates of the eigenvalues `variance`.
    """
    weights = v[:, None] / (sigma[:, None] ** 2 + v[:, None] * variance)
    left = prior - np.einsum("ik,nk,jk->nij", explained, weights, explained)
    return v[:, None, None] * left


def _triangle(matrix: Array) -> Array:
    """Return R of ``matrix.T = Q R``, computed by blocks of columns."""
    triangle = np.zeros((0, len(matrix)))
    for start in range(0, matrix.shape[1], _COLUMNS):
        block = matrix[:, start : start + _COLUMNS]
        triangle = np.asarray(np.linalg.qr(np.vstack([triangle, block.T]), mode="r"))
    return triangle
