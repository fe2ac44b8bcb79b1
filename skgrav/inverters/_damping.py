"""Damped least squares of any strength, and the strength that fits each sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr
from scipy.special import chdtri

from skgrav.io import saved, sized
from skgrav.operators import decomposition_bytes, require
from skgrav.solvers import DataSpace, discrepancy_strength, noise_in_data

Array = NDArray[np.float64]

#: Decades of damping in which a criterion is looked for, relative to the largest eigenvalue,
#: and their steps.
_DECADES, _STEPS = (-12, 2), 113

#: Eigenvalues below this share of the largest are rounding, of a product and of singular values.
_ROUNDING, _ROUNDING_OF_SQUARES = 1e-14, 1e-20

#: Of corners at least this share as sharp as the sharpest, the one with most damping counts, and of
#: all if none has this curvature: where data hold little but noise, little damping fits the noise.
_SHARP, _FAINT = 0.25, 0.5

#: Those below this share are not counted on to fit data: how many there are is chance.
_IN_REACH = 1e-14

#: Step of log alpha to which the place of a minimum is rounded.
_FINE = 1e-3

#: Samples whose curves are computed together.
_BLOCK = 256


@dataclass(frozen=True)
class DampingCurves:
    """Residuals and estimates of damped least squares for any alpha, and alphas that fit a sample.

    Data have coordinates in which the operator times its transpose is diagonal.
    """

    #: Eigenvalues of the operator times its transpose, falling.
    variance: Array = field(metadata=sized("e"))
    #: Number of data.
    n_data: int

    def curve(self, c: Array, alpha: Array) -> tuple[Array, Array]:
        """Return squared norms of residuals and estimates at each alpha of coordinates.

        Both are (n_samples, n_alphas), for coordinates (n_samples, n_data) and alphas of shape
        (n_alphas,) or, for each sample its own, (n_samples, n_alphas).
        """
        h = self.variance
        left = 1.0 / (1.0 + h / alpha[..., None])
        kept = np.sqrt(h) / (alpha[..., None] + h)
        if alpha.ndim == 1:
            return c**2 @ (left**2).T, c**2 @ (kept**2).T
        return np.sum((c[:, None] * left) ** 2, axis=2), np.sum((c[:, None] * kept) ** 2, axis=2)

    def gcv(self, c: Array, alpha: Array) -> Array:
        """Return the generalised cross-validation function, shaped as by `curve`."""
        residual2, _ = self.curve(c, alpha)
        h = self.variance
        trace = self.n_data - np.sum(h / (h + alpha[..., None]), axis=-1)
        return self.n_data * residual2 / np.maximum(trace, np.finfo(float).tiny) ** 2

    def curvature(self, c: Array, alpha: Array) -> Array:
        """Return the curvature of log residual against log norm, shaped as by `curve`."""
        h, a = self.variance, alpha
        residual2, norm2 = self.curve(c, alpha)
        total = a[..., None] + h
        if alpha.ndim == 1:
            third, fourth = (c**2 @ (h / total**k).T for k in (3, 4))
        else:
            third, fourth = (np.sum(c[:, None] ** 2 * h / total**k, axis=2) for k in (3, 4))
        # Derivatives by log alpha, of the logarithms of both norms.
        with np.errstate(divide="ignore", invalid="ignore"):
            x1 = a**2 * third / residual2
            x2 = (2 * a**2 * third - 3 * a**3 * fourth) / residual2 - 2 * x1**2
            y1 = -a * third / norm2
            y2 = (-a * third + 3 * a**2 * fourth) / norm2 - 2 * y1**2
            curvature = (x1 * y2 - x2 * y1) / (x1**2 + y1**2) ** 1.5
        return np.where(np.isfinite(curvature), curvature, -np.inf)

    def grid(self) -> Array:
        """Return the alphas in which a criterion is looked for."""
        return np.logspace(*_DECADES, _STEPS) * (self.variance[0] or 1.0)

    def noise(self, c: Array, alpha: Array) -> Array:
        """Return the noise that residuals at the alpha of each sample show, (n_samples,)."""
        h = self.variance
        residual2, _ = self.curve(c, alpha[:, None])
        trace = self.n_data - np.sum(h / (h + alpha[:, None]), axis=1)
        return np.sqrt(residual2[:, 0] / np.maximum(trace, 1.0))

    def discrepancy(self, c: Array, sigma: Array) -> Array:
        """Return the alphas whose residuals are as large as the noise, infinity where less is left.

        What estimates can reach of the residual is never fitted closer than noise would be in
        one sample of twenty.
        """
        s, target2 = np.sqrt(self.variance), self.target2(c, sigma)
        strength = discrepancy_strength(s, c, target2)
        exceeds = self.exceeds(c, sigma)
        if exceeds.any():  # the floor of the target would leave what is in reach unfitted
            reached, lost2, _ = self._reach(c[exceeds])
            above2 = target2[exceeds] - lost2
            strength[exceeds] = discrepancy_strength(s[reached], c[exceeds][:, reached], above2)
        with np.errstate(divide="ignore"):
            return 1.0 / strength

    def target2(self, c: Array, sigma: Array) -> Array:
        """Return the squared residual of each sample that counts as fitted to its noise."""
        reached, lost2, n_lost = self._reach(c)
        noise, exceeds = noise_in_data(sigma, lost2, n_lost)
        least = lost2 + noise**2 * chdtri(max(1, np.count_nonzero(reached)), 0.95)
        return np.where(exceeds, least, np.maximum(self.n_data * sigma**2, least))

    def exceeds(self, c: Array, sigma: Array) -> NDArray[np.bool_]:
        """Return which samples hold more out of reach of all densities than their noise."""
        _, lost2, n_lost = self._reach(c)
        return noise_in_data(sigma, lost2, n_lost)[1]

    def _reach(self, c: Array) -> tuple[NDArray[np.bool_], Array, int]:
        """Return which coordinates densities reach, and the squared norm and number of others."""
        h = self.variance
        reached = h > _IN_REACH * h[0]
        n_lost = 0 if reached.all() else max(0, self.n_data - int(np.count_nonzero(reached)))
        return reached, np.sum(c[:, ~reached] ** 2, axis=1), n_lost

    def search(self, c: Array, criterion: str) -> Array:
        """Return the alphas of least "gcv", or at the corner of the "lcurve"."""
        chosen = [self._search(c[i : i + _BLOCK], criterion) for i in range(0, len(c), _BLOCK)]
        return np.concatenate(chosen)

    def _search(self, c: Array, criterion: str) -> Array:
        grid = self.grid()
        cost: Callable[[Array, Array], Array]
        if criterion == "gcv":
            cost = self.gcv
            best = np.argmin(cost(c, grid), axis=1)
        else:
            cost = lambda c, alpha: -self.curvature(c, alpha)  # noqa: E731
            best = _most_damped_corner(-cost(c, grid))
        best = np.clip(best, 1, len(grid) - 2)
        low, high = np.log(grid[best - 1]), np.log(grid[best + 1])
        log = _golden(lambda log: cost(c, np.exp(log)[:, None])[:, 0], low, high)
        # A minimum is flat: its place is known to the root of the rounding, and feels the rounding
        # of a trend that was taken from the data. On a fine grid it does not.
        return np.exp(_FINE * np.round(log / _FINE))


@saved
@dataclass(frozen=True)
class DampedLeastSquares(DampingCurves):
    """Minimisers of ``||d - A q||^2 + alpha sum(stiffness q^2)`` for any alpha, in closed form.

    They are diagonal in `space`, whose eigenvalues are those of ``A diag(1 / stiffness) A^T``.
    """

    space: DataSpace
    #: One over the stiffness of each coefficient.
    compliance: Array = field(metadata=sized("c"))

    @classmethod
    def of(cls, matrix: Array, stiffness: Array) -> DampedLeastSquares:
        """Prepare estimates for a matrix (n_data, n_cells), one stiffness per column."""
        (n_data, n_cells), root = matrix.shape, np.sqrt(stiffness)
        require(
            decomposition_bytes(n_data, n_cells),
            f"the decomposition of {n_data} data x {n_cells} cells",
            "Take a coarser 'mesh' or fewer stations in 'survey'.",
        )
        # The matrix may take most of the memory: its one copy is changed in place, until it is the
        # covariance of data and estimates.
        scaled = matrix / root
        if np.ptp(stiffness) == 0:
            gram = scaled @ scaled.T
            scaled /= root
            space, rounding = DataSpace.of(gram, scaled), _ROUNDING
        else:
            # Modes of little stiffness dwarf the others, which a squared matrix would lose.
            triangle = qr(scaled.T, mode="r", check_finite=False)[0][:n_data]
            rotation, s, _ = np.linalg.svd(triangle.T)
            s = np.append(s, np.zeros(n_data - len(s)))
            scaled /= root
            space = DataSpace(rotation, s**2, rotation.T @ scaled)
            rounding = _ROUNDING_OF_SQUARES
        # Where rounding alone is left, there is no estimate, however little damping.
        lost = space.variance <= rounding * space.variance[0]
        space.variance[lost] = 0.0
        space.cross[lost] = 0.0
        return cls(space.variance, n_data, space, 1.0 / stiffness)

    def coordinates(self, d: Array) -> Array:
        """Return data in coordinates of their own."""
        return self.space.coordinates(d)

    def estimate(self, d: Array, alpha: Array) -> Array:
        """Return the minimisers of data, (n_samples, n_cells), for the alpha of each."""
        return self.space.estimate(d, alpha)

    def covariance_of(self, maps: Array, damping: Array, sigma: Array, norm2: Array) -> Array:
        """Return the posterior covariance of linear functions of the coefficients.

        Their prior is Gaussian with a covariance of v times ``1 / stiffness``. The size of the
        estimate determines v, as its squared norm has an expectation of v times the effective
        number of parameters; alpha that leaves a chi factor of one damps more than that.

        Parameters
        ----------
        maps : ndarray of shape (k, n_coefficients)
            The functions, one a row.
        damping, sigma, norm2 : ndarray of shape (n_samples,)
            Alpha times the variance of the noise, its standard deviation, and the squared norm of
            the estimate.

        Returns
        -------
        covariance : ndarray of shape (n_samples, k, k)
            The covariances.
        """
        prior = (maps * self.compliance) @ maps.T
        explained = maps @ self.space.cross.T
        n_effective = np.sum(self.variance / (damping[:, None] + self.variance), axis=1)
        v = np.divide(norm2, n_effective, out=np.zeros_like(norm2), where=n_effective > 0)
        weights = v[:, None] / (sigma[:, None] ** 2 + v[:, None] * self.variance)
        left = prior - np.einsum("ik,nk,jk->nij", explained, weights, explained)
        return v[:, None, None] * left


def _most_damped_corner(curvature: Array) -> NDArray[np.intp]:
    """Return where each row has its last peak that is not far below its highest."""
    inner = curvature[:, 1:-1]
    peak = (inner >= curvature[:, :-2]) & (inner >= curvature[:, 2:]) & (inner > 0)
    highest = np.max(inner, axis=1, where=peak, initial=0.0)
    peak &= inner >= np.where(highest > _FAINT, _SHARP * highest, 0.0)[:, None]
    last = inner.shape[1] - np.argmax(peak[:, ::-1], axis=1)
    return np.where(peak.any(axis=1), last, np.argmax(curvature, axis=1))


def _golden(cost: Callable[[Array], Array], low: Array, high: Array, n_iter: int = 32) -> Array:
    """Return the minimiser of a function between bounds, for all samples at once."""
    ratio = (np.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = cost(left), cost(right)
    for _ in range(n_iter):
        lower = at_left <= at_right
        low, high = np.where(lower, low, left), np.where(lower, right, high)
        new = np.where(lower, high - ratio * (high - low), low + ratio * (high - low))
        at_new = cost(new)
        left, right = np.where(lower, new, right), np.where(lower, left, new)
        at_left, at_right = np.where(lower, at_new, at_right), np.where(lower, at_left, at_new)
    return (low + high) / 2
