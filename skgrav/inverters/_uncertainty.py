"""How sure densities are under the Gaussian prior of a model norm, and how well resolved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.exceptions import ConvergenceWarning

from skgrav._checks import real_array
from skgrav._typing import Array
from skgrav._warnings import warn
from skgrav.inverters._damping import DampedLeastSquares
from skgrav.inverters._damping_krylov import KrylovLeastSquares
from skgrav.noise import Whitening
from skgrav.operators import BaseOperator

#: Draws of standard deviations without a closed form.
N_DRAWS = 50


@dataclass(frozen=True)
class Resolution:
    """Model resolution of an estimate, and its depth of investigation.

    The model resolution matrix maps the departures of true densities from the reference to those
    of their estimate from exact data.

    Parameters
    ----------
    diagonal : ndarray of shape (n_samples, n_cells)
        Share of the departure of a cell that is recovered in this cell; to a few hundredths for
        operators too large to decompose.
    depth_of_investigation : ndarray of shape (n_samples, n_cells)
        Index of Oldenburg and Li [1]_: the difference of estimates from two constant references at
        the same alpha, relative to that of the references. 0 where the data alone determine the
        density, about 1 where they do not affect it.
    estimates : callable
        Map from densities (n, n_cells) to the estimates of their data, (n_samples, n, n_cells).

    See Also
    --------
    TikhonovInverter : Its method `resolution` returns it.

    References
    ----------
    .. [1] Oldenburg and Li (1999), Estimating depth of investigation in DC resistivity and IP
       surveys, Geophysics 64.

    Examples
    --------
    >>> from skgrav import Mesh, TikhonovInverter
    >>> from skgrav.datasets import make_gravity_dataset
    >>> data = make_gravity_dataset(5, mesh=Mesh.square(8), noise_level=0.01, random_state=0)
    >>> inverter = TikhonovInverter(noise_level=0.01, operator=data.operator).fit(data.data)
    >>> resolution = inverter.resolution(data.data)
    >>> resolution.diagonal.shape, resolution.point_spread([3, 60]).shape
    ((5, 64), (5, 64, 2))
    """

    diagonal: Array
    depth_of_investigation: Array
    estimates: Callable[[Array], Array] = field(repr=False, compare=False)

    def point_spread(self, cells: ArrayLike) -> Array:
        """Compute columns of the model resolution matrix, one solve for each cell and sample.

        Parameters
        ----------
        cells : array-like of shape (n_chosen,)
            Indices of cells.

        Returns
        -------
        spread : ndarray of shape (n_samples, n_cells, n_chosen)
            Estimates of a density of 1 in one cell and 0 in all others.
        """
        n_cells = self.diagonal.shape[1]
        index = real_array(cells, "cells")
        whole = index.ndim == 1 and (index == np.round(index)).all()
        if not (whole and (index >= 0).all() and (index < n_cells).all()):
            raise ValueError(
                f"'cells' is {cells!r}; it must be a vector of indices of cells, whole numbers "
                f"from 0 to {n_cells - 1}."
            )
        unit = np.zeros((len(index), n_cells))
        unit[np.arange(len(index)), index.astype(int)] = 1.0
        return np.moveaxis(self.estimates(unit), 1, 2)


@dataclass(frozen=True)
class GaussianPosterior:
    """The posterior of departures whose prior is Gaussian with the inverse matrix of a norm.

    The prior covariance is ``v K^-1``, with the v of each sample under which its data are most
    likely, given their noise.
    """

    operator: BaseOperator
    norm: Any
    whitening: Whitening
    system: DampedLeastSquares | KrylovLeastSquares
    sigma: Array
    #: The variance of the noise over v.
    damping: Array

    @classmethod
    def of(
        cls,
        operator: BaseOperator,
        norm: Any,
        whitening: Whitening,
        system: Any,
        white: Array,
        sigma: Array,
    ) -> GaussianPosterior:
        """Find the variance of the prior from whitened data, and warn where there is none."""
        damping, is_noise, settled = system.most_likely(white, np.where(sigma > 0, sigma, 1.0))
        if not settled.all():
            warn(
                f"The variance of the prior of {np.sum(~settled)} of {len(white)} samples did not "
                "converge within 'max_iter'. Raise it.",
                ConvergenceWarning,
            )
        if is_noise.any():
            warn(
                f"{is_noise.sum()} of {len(white)} samples differ from 'reference' by no more than "
                "noise would, so their variance of the prior is not known. It is taken as that of "
                "densities whose data are as large as the noise. Give a smaller 'noise_level' or "
                "'uncertainty'."
            )
        return cls(operator, norm, whitening, system, sigma, damping)

    def prior_draws(self, i: int, n_draws: int, rng: Any) -> tuple[Array, Array]:
        """Return departures and coefficients of draws from the prior of one sample, in rows."""
        q = self.sigma[i] / np.sqrt(self.damping[i]) * self.norm.draw(rng, n_draws)
        return self.norm.weighted(q) / self.norm.weights, q

    def perturbed(self, white: Array, rho: Array, sigma: float, rng: Any) -> Array:
        """Return noisy data of one sample less those of departures, (n_draws, n_white)."""
        noise = sigma * rng.standard_normal((len(rho), white.shape[-1]))
        return white + noise - self.whitening(self.operator.products_.forward(rho))

    def draws(self, white: Array, n_draws: int, rng: Any) -> Array:
        """Return draws of departures, (n_samples, n_cells, n_draws), one solve each."""
        drawn = np.empty((len(white), len(self.norm.weights), n_draws))
        for i in range(len(white)):
            rho, q = self.prior_draws(i, n_draws, rng)
            data = self.perturbed(white[i], rho, self.sigma[i], rng)
            q = q + self.system.estimate(data, np.full(n_draws, self.damping[i]))
            drawn[i] = (self.norm.weighted(q) / self.norm.weights).T
        return drawn

    def std(self, white: Array, departure: Array) -> Array | None:
        """Return the rms difference of draws from given departures, None if not in closed form."""
        prior, norm = self.norm.variance, self.norm
        if prior is None:
            return None
        explained = np.zeros_like(departure)
        for variance, _, cross in self.system.coordinates_by_blocks(self.damping):
            kept = 1.0 / (variance + self.damping[:, None])
            explained += kept @ (norm.weighted(cross) / norm.weights) ** 2
        v = (self.sigma**2 / self.damping)[:, None]
        mean = norm.weighted(self.system.estimate(white, self.damping)) / norm.weights
        # By rounding, what is known exactly would have a negative variance.
        return np.sqrt(v * np.maximum(prior - explained, 0.0) + (departure - mean) ** 2)

    def left_out(self, white: Array) -> Array:
        """Return data less what all others predict of them, in standard deviations of that.

        The inverse covariance of the data, times the data, over the root of its diagonal.
        """
        noise = np.where(self.sigma > 0, self.sigma, 1.0)[:, None]
        fitted, share = np.zeros_like(white), 0.0
        for variance, rotation, _ in self.system.coordinates_by_blocks(self.damping):
            kept = variance / (variance + self.damping[:, None])
            fitted += (kept * (white @ rotation.T)) @ rotation
            share = share + kept @ self.whitening.adjoint(rotation) ** 2
        left = np.maximum(self.whitening.adjoint_norms2 - share, np.finfo(float).tiny)
        return np.asarray(self.whitening.adjoint(white - fitted) / (noise * np.sqrt(left)))


def resolved(
    operator: BaseOperator,
    norm: Any,
    whitening: Whitening,
    system: DampedLeastSquares | KrylovLeastSquares,
    damping: Array,
) -> Array:
    """Return the diagonal of the model resolution matrix for each damping, by blocks of data."""
    diagonal = np.zeros((len(damping), len(norm.weights)))
    for variance, rotation, cross in system.coordinates_by_blocks(damping):
        kept = 1.0 / (variance + damping[:, None])
        data = operator.products_.adjoint(whitening.adjoint(rotation))
        diagonal += kept @ (norm.weighted(cross) / norm.weights * data)
    return diagonal
