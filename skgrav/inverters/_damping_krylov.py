"""Damped least squares for operators too large to decompose, with a Krylov space for all alphas."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Self

import numpy as np
from scipy.linalg import eigh_tridiagonal
from sklearn.exceptions import ConvergenceWarning

from skgrav._typing import Array, Indices, Mask
from skgrav._warnings import warn
from skgrav.inverters._alpha_search import Choice
from skgrav.inverters._damping import Coordinates, DampingCurves, posterior_covariances
from skgrav.inverters._krylov_block import LARGEST, block_spaces, solved_together
from skgrav.inverters._krylov_spectrum import Spectrum
from skgrav.noise import Whitening
from skgrav.operators import BaseOperator
from skgrav.solvers import Status

Map = Callable[[Array], Array]

#: Iterations between two choices of alpha: at least this many, or this share of the number so far.
_STRIDE, _SHARE = 10, 0.1

#: Curves are known at alphas where they change by at most this share from one choice to the next.
_SETTLED = 2e-3

#: Size of the space of random vectors, in which there are several, relative to that of the data.
_NODES = 2

#: Vectors that are solved together, and how many need the leading eigenvectors first.
_TOGETHER, _MANY = 50, 8

#: Relative change of variances, and of the variance of the prior, from one space to a larger one at
#: which both are known. They drift slowly and in opposite directions while a space is small.
_KNOWN = 1e-3

#: Choices of alpha that need traces.
_OF_TRACES = ("gcv", "lcurve", "likelihood")


@dataclass(frozen=True)
class KrylovCurves(DampingCurves):
    """Curves by Gaussian quadrature in the Krylov space of the data.

    The squared norms of the data's own space say nothing of traces, which are those of `nodes`,
    eigenvalues with `weights` whose sum is the number of data.
    """

    nodes: Array
    weights: Array
    #: Smallest alpha at which the curves are settled.
    settled_from: float = 0.0

    @property
    def least(self) -> float:
        """Smallest alpha at which curves are known."""
        return self.settled_from

    def _trace(self, alpha: Array, power: int) -> Array:
        h = self.nodes
        return (h / (h + alpha[..., None])) ** power @ self.weights

    def _log_determinant(self, alpha: Array) -> Array:
        return np.log1p(self.nodes / alpha[..., None]) @ self.weights

    @property
    def _mean_variance(self) -> float:
        return float(self.nodes @ self.weights / self.n_data)

    def change(self, c: Array, other: KrylovCurves, other_c: Array, alpha: Array) -> Array:
        """Return the largest relative change from other curves at alphas, (n_alphas,)."""
        pairs = [
            *zip(self.curve(c, alpha), other.curve(other_c, alpha), strict=True),
            *(
                (self.n_data - self._trace(alpha, power), self.n_data - other._trace(alpha, power))
                for power in (1, 2)
            ),
            (self._trace(alpha, 2), other._trace(alpha, 2)),
        ]
        tiny = np.finfo(float).tiny
        return np.max(
            [np.abs(a - b).ravel() / (np.abs(a).ravel() + tiny) for a, b in pairs], axis=0
        )


class Space(NamedTuple):
    """A Krylov space of one datum vector, with the coordinates of `DampingCurves`."""

    curves: KrylovCurves
    c: Array
    #: Orthonormal rows, and in these the eigenvectors of the matrix, as columns.
    basis: Array
    vectors: Array
    #: Size of the part of the image of the last row that is out of the space.
    beyond: float
    is_whole: bool


class Solutions(NamedTuple):
    """Minimisers for the chosen alpha of each sample."""

    q: Array
    alpha: Array
    n_iter: Indices
    status: Indices
    #: Noise estimated from the residual; NaN where alpha is chosen without traces.
    noise: Array
    is_open: Mask


class KrylovLeastSquares:
    """Minimisers of ``||d - A q||^2 + alpha q^T K q`` by products with A and the inverse of K.

    Lanczos iterations on ``A K^-1 A^T`` build from the data of each sample a space in which that
    matrix is tridiagonal. It serves all alphas, which change only the
    diagonal [1]_, so alpha is chosen anew as the space grows. The vectors have the size of the
    data, not of the model, and are reorthogonalised: one sample takes n_data times the number of
    iterations numbers.

    Squared norms of residual and estimate follow for all alphas from Gaussian quadrature in the
    same space [2]_; traces of the matrix that maps data to predictions, for cross-validation and
    likelihood, from that in the spaces of few random vectors. Iterations go on until neither
    changes near the chosen alpha. Too small a space has too small residuals, and traces from the
    data's own would drive alpha to 0.

    References
    ----------
    .. [1] Frommer and Maass (1999), Fast CG-based methods for Tikhonov-Phillips regularization,
       SIAM Journal on Scientific Computing 20.
    .. [2] Golub and Meurant (2010), Matrices, Moments and Quadrature with Applications, Princeton.
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
        self._spectrum = Spectrum(self._normal, n_data)

    @classmethod
    def of(
        cls, operator: BaseOperator, norm: Any, whitening: Whitening, *, max_iter: int, tol: float
    ) -> Self:
        """Prepare estimates for whitened data of an operator and a model norm."""
        # Bound to the operator, not to its products, which are not pickled.
        products = operator, norm, whitening
        return cls(
            partial(_modal_forward, *products),
            partial(_modal_adjoint, *products),
            norm.compliance,
            n_data=whitening.n_white,
            max_iter=max_iter,
            tol=tol,
        )

    def solve(self, d: Array, sigma: Array, choice: str | float) -> Solutions:
        """Return minimisers for alphas of a choice of `DampingCurves.choose`."""
        found = [self._solve(d[i], sigma[i : i + 1], choice) for i in range(len(d))]
        return Solutions(*(np.array(values) for values in zip(*found, strict=True)))

    def estimate(self, d: Array, alpha: Array) -> Array:
        """Return the minimisers, (n_samples, n_coefficients), for the alpha of each sample."""
        w, converged = np.zeros_like(d), np.ones(len(d), dtype=bool)
        for value in np.unique(alpha):
            those, start = np.flatnonzero(alpha == value), None
            if self.has_eigenvectors and len(those) >= _MANY:
                start, _ = self._spectrum.space(float(value), self.max_iter)
            for rows in _blocks(those):
                w[rows], converged[rows] = solved_together(
                    self._normal, d[rows], float(value), self.max_iter, self.tol, start
                )
        self._warn(converged)
        return self.compliance(self.adjoint(w))

    @property
    def has_eigenvectors(self) -> bool:
        """Whether a space can hold all eigenvectors, however small alpha is."""
        return self.n_data <= LARGEST

    def choose(self, choice: str, d: Array, sigma: Array) -> tuple[Choice, Array]:
        """Return the choices of `DampingCurves.choose`, and the noise of the residuals there."""
        found, noise = [], np.empty(len(d))
        for i in range(len(d)):
            for space in self.spaces(d[i], traces=True):
                chosen = space.curves.choose(choice, space.c, sigma[i : i + 1])
                if chosen.is_settled[0]:
                    break
            found.append(chosen)
            noise[i] = space.curves.noise(space.c, chosen.alpha)[0]
        return Choice(*(np.concatenate(values) for values in zip(*found, strict=True))), noise

    def most_likely(self, d: Array, sigma: Array) -> Choice:
        """Return the alphas of the most likely prior variance."""
        return self.choose("likelihood", d, sigma)[0]

    def all_curves(self, d: Array, alpha: Array | None) -> tuple[Array, Array, Array, Array]:
        """Return curves as `DampedLeastSquares.all_curves`, NaN where they are not known."""
        known = [self._known(row, None if alpha is None else alpha[i]) for i, row in enumerate(d)]
        if alpha is None:
            # The grid of the largest eigenvalue, as far as it is known for all samples.
            grid = max((space.curves.grid() for space in known), key=lambda grid: float(grid[0]))
            grid = grid[grid >= max(space.curves.least for space in known)]
            alpha = np.tile(grid, (len(d), 1))
        found = np.full((3, *alpha.shape), np.nan)
        for i, (space, a) in enumerate(zip(known, alpha, strict=True)):
            ok = a >= space.curves.least
            residual2, norm2 = space.curves.curve(space.c, a[ok])
            found[:, i, ok] = residual2[0], norm2[0], space.curves.gcv(space.c, a[ok])[0]
        missing = np.isnan(found[0]).sum()
        if missing or not alpha.size:
            warn(
                f"Curves did not converge within 'max_iter' at {missing} of {alpha.size} alphas. "
                "Raise it, or give larger 'alphas'.",
                ConvergenceWarning,
            )
        return alpha, *found

    def residual_noise(self, d: Array, alpha: Array) -> Array:
        """Return the noise that residuals show at the alpha of each sample."""
        noise = np.empty(len(d))
        for i in range(len(d)):
            space = self._known(d[i], alpha[i : i + 1])
            noise[i] = space.curves.noise(space.c, alpha[i : i + 1])[0]
        return noise

    def coordinates_by_blocks(self, alpha: Array) -> Iterator[Coordinates]:
        """Iterate over coordinates as `DampedLeastSquares.coordinates_by_blocks`.

        Of the eigenvectors that have nearly the whole trace of the matrix from data to predictions,
        in the space of random vectors.
        """
        least = float(alpha.min(initial=np.inf))
        if np.isinf(least):
            return
        space, explained = self._spectrum.space(least, self.max_iter)
        self._warn(np.array([explained]))
        values, vectors = np.linalg.eigh(space.matrix)
        for start in range(0, len(values), _TOGETHER):
            rows = slice(start, start + _TOGETHER)
            rotation = vectors[:, rows].T @ space.basis
            cross = self.compliance(self.adjoint(rotation))
            yield Coordinates(np.maximum(values[rows], 0.0), rotation, cross)

    def _warn(self, converged: Mask) -> None:
        if not converged.all():
            warn(
                f"{np.sum(~converged)} of {len(converged)} solutions of draws or of resolution did "
                f"not converge within 'max_iter' and {LARGEST} vectors. Raise 'max_iter', loosen "
                "'tol', or give a larger 'noise_level' or 'uncertainty'.",
                ConvergenceWarning,
            )

    def _known(self, d: Array, alpha: Array | None) -> Space:
        """Return a space where curves are known at alphas, or at all that criteria may choose."""
        for space in self.spaces(d, traces=True):
            if alpha is None:
                if space.curves.choose("lcurve", space.c, np.ones(1)).is_settled[0]:
                    break
            elif space.curves.least <= alpha.min():
                break
        return space

    def covariance_of(self, maps: Array, damping: Array, sigma: Array, norm2: Array) -> Array:
        """Return posterior covariances as `DampedLeastSquares.covariance_of`, by products.

        The effective number of parameters is estimated from one random vector, to about its root,
        so standard deviations are right to about a tenth.
        """
        prior = self.compliance(maps) @ maps.T
        covariances = np.zeros((len(damping), *prior.shape))
        i = np.flatnonzero(np.isfinite(damping) & (norm2 > 0))
        if not i.size:
            return covariances
        signs = np.random.default_rng(0).choice([-1.0, 1.0], (1, self.n_data))
        rows = np.concatenate([self.forward(self.compliance(maps)), signs])
        last: Array | float = np.inf
        for space in block_spaces(self._normal, rows, self.max_iter):
            values, vectors = np.linalg.eigh(space.matrix)
            values = np.maximum(values, 0.0)
            # All rows lie in the space, so these are quadratures, as `KrylovCurves` has them.
            *explained, c = (rows @ space.basis.T) @ vectors
            n_effective = (values / (damping[i, None] + values)) @ c**2
            v = norm2[i] / np.maximum(n_effective, 1.0)
            found = posterior_covariances(prior, np.array(explained), values, v, sigma[i])
            now = np.column_stack([np.diagonal(found, axis1=1, axis2=2), v])
            converged = (np.abs(now - last) <= _KNOWN * now).all(axis=1) | space.is_whole
            last = now
            if converged.all():
                break
        self._warn(np.asarray(converged))
        covariances[i] = found
        return covariances

    def spaces(self, d: Array, *, traces: bool) -> Iterator[Space]:
        """Iterate over growing spaces of one datum vector; without `traces`, curves have none."""
        norm = float(np.linalg.norm(d)) or 1.0
        size = min(self.max_iter, self.n_data)
        basis = np.zeros((size + 1, self.n_data))
        diagonal, off = np.zeros(size), np.zeros(size)
        basis[0] = d / norm
        look, last = _STRIDE, None
        for k in range(1, size + 1):
            image = self._normal(basis[k - 1 : k])[0]
            diagonal[k - 1] = basis[k - 1] @ image
            for _ in range(2):  # one pass of Gram-Schmidt would lose orthogonality
                image -= (basis[:k] @ image) @ basis[:k]
            off[k - 1] = np.linalg.norm(image)
            exhausted = off[k - 1] <= 1e-14 * np.abs(diagonal[:k]).max()
            basis[k] = image / (off[k - 1] or 1.0)
            if k < min(look, size) and not exhausted:
                continue
            look = k + max(_STRIDE, int(_SHARE * k))
            # The eigenvectors of the tridiagonal matrix give the coordinates of `DampingCurves`;
            # the data are the first vector of the basis, times their norm.
            values, vectors = eigh_tridiagonal(diagonal[:k], off[: k - 1])
            values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
            whole = bool(exhausted or k == self.n_data)
            c = norm * vectors[:1]
            curves = self._curves(values, c, k, last, whole) if traces else None
            if curves is None:
                curves = KrylovCurves(values, self.n_data, values, np.ones(k))
            yield Space(curves, c, basis[:k], vectors, off[k - 1], whole)
            if exhausted:
                return
            last = curves, c

    def _curves(
        self, values: Array, c: Array, k: int, last: tuple[KrylovCurves, Array] | None, whole: bool
    ) -> KrylovCurves:
        """Return curves with traces, and from which alpha they hardly differ from the last."""
        # A space of the data that cannot grow says nothing of those of random vectors.
        nodes, weights = self._spectrum.quadrature(_NODES * (self.max_iter if whole else k))
        curves = KrylovCurves(values, self.n_data, nodes, weights)
        if whole:
            return curves
        if last is None:
            return KrylovCurves(values, self.n_data, nodes, weights, np.inf)
        grid = curves.grid()
        moved = np.flatnonzero(curves.change(c, *last, grid) > _SETTLED)
        start = moved[-1] + 1 if moved.size else 0
        least = 0.0 if start == 0 else np.inf if start == len(grid) else float(grid[start])
        return KrylovCurves(values, self.n_data, nodes, weights, least)

    def _solve(
        self, d: Array, sigma: Array, choice: str | float
    ) -> tuple[Array, float, int, Status, float, bool]:
        traces = choice in _OF_TRACES
        alpha, converged, exceeds, noise, is_open = np.inf, not d.any(), False, np.nan, False
        w, k = np.zeros(self.n_data), 0
        for space in [] if converged else self.spaces(d, traces=traces):
            curves, c, k = space.curves, space.c, len(space.basis)
            chosen = curves.choose(choice, c, sigma)
            alpha, is_open = float(chosen.alpha[0]), bool(chosen.is_open[0])
            exceeds = choice == "discrepancy" and bool(curves.exceeds(c, sigma)[0])
            if np.isinf(alpha):
                w, converged = np.zeros(self.n_data), True  # zero already fits data to their noise
                break
            if traces:
                noise = float(curves.noise(c, chosen.alpha)[0])
            y = space.vectors @ (c[0] / (curves.variance + alpha))
            # The residual of the damped system is parallel to the next vector; the residual of the
            # data in the space is alpha y.
            left = space.beyond * abs(y[-1])
            close = space.is_whole or left <= self.tol * alpha * np.linalg.norm(y)
            w, converged = y @ space.basis, bool(close and chosen.is_settled[0])
            if converged:
                break
        # ``K^-1 A^T (A K^-1 A^T + alpha)^-1 d``
        q = self.compliance(self.adjoint(w[None]))[0]
        status = Status.REACHED if converged else Status.MAX_ITER
        if exceeds:
            status = Status.OUT_OF_REACH
        return q, alpha, max(k, 1), status, noise, is_open

    def _normal(self, w: Array) -> Array:
        """Return the product of rows with ``A K^-1 A^T``."""
        return self.forward(self.compliance(self.adjoint(w)))


def _blocks(rows: Indices) -> list[Indices]:
    """Return rows in blocks that are solved together."""
    return [rows[i : i + _TOGETHER] for i in range(0, len(rows), _TOGETHER)]


def _modal_forward(operator: BaseOperator, norm: Any, whitening: Whitening, q: Array) -> Array:
    """Return the whitened gravity of coefficients of modes."""
    return whitening(operator.products_.forward(norm.weighted(q) / norm.weights))


def _modal_adjoint(operator: BaseOperator, norm: Any, whitening: Whitening, d: Array) -> Array:
    return np.asarray(norm.operator_modes(operator.products_.adjoint(whitening.adjoint(d))))
