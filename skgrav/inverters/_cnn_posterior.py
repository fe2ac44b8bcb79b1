"""The posterior that a network learns: distributions of single densities, and draws."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state, check_scalar, gen_batches
from sklearn.utils.validation import check_is_fitted

from skgrav._checks import real_array, validate_data
from skgrav._constraints import WHOLE, checked
from skgrav._typing import Array
from skgrav.inverters._calibration import Calibration, calibrated_levels
from skgrav.inverters._encoding import Encoding, Numbers
from skgrav.inverters._linear_encoding import LinearEncoding
from skgrav.inverters._marginals import Marginals
from skgrav.inverters._plausible import warn_implausible
from skgrav.inverters._shuffle import Analogues
from skgrav.training import LEAST_NOISE, TrainingNet

#: Least number of pairs for calibration.
_LEAST_PAIRS = 20

#: Densities whose probabilities are computed together.
_BLOCK = 4_000_000


class NetworkPosterior:
    """Quantiles and draws of a `CNNInverter`, whose parameters and attributes it has."""

    architecture: Any
    data_consistency: bool
    uncertainty: bool
    n_analogues: int
    net_: TrainingNet
    density_range_: tuple[float, float]
    _encoding: Encoding
    _y_ndim: int
    _checked: Callable[..., tuple[Numbers, Numbers]]
    _analogues: Analogues | None = None
    _calibration: Calibration | None = None

    @checked(random_state=["random_state"])
    def calibrate(
        self, X: ArrayLike, y: ArrayLike, random_state: int | np.random.RandomState | None = 0
    ) -> Self:
        """Calibrate quantiles and draws by pairs that the network was not trained on.

        The probabilities that the network states are replaced by the shares of these densities
        that they held for, at several levels of the noise of training [1]_. The estimates and
        standard deviations of `predict` stay the same. `fit` and `partial_fit` discard it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_data)
            Gravity without noise, component-major, as in `fit`; of a few hundred sections, at least
            20, like those to invert. Noise is added.
        y : array-like of shape (n_samples, n_cells) or (n_samples,)
            Densities.
        random_state : int, RandomState instance or None, default=0
            Seed of the noise.

        Returns
        -------
        self : CNNInverter
            The calibrated inverter.

        Raises
        ------
        ValueError
            If the operator does not reproduce the pairs, they are too few, or the network gives no
            distributions.

        See Also
        --------
        ConformalInverter : Calibrates intervals of any inverter.

        Notes
        -----
        Probabilities hold on average over cells and sections like these, not for each kind of
        geology. Where a density occurs in many cells and quantiles are clipped to it at an end of
        `density_range_`, intervals contain it more often than stated.

        References
        ----------
        .. [1] Kuleshov, Fenner and Ermon (2018), Accurate uncertainties for deep learning using
           calibrated regression, International Conference on Machine Learning 35.

        Examples
        --------
        >>> from skgrav import CNNInverter, Mesh
        >>> from skgrav.datasets import make_gravity_dataset
        >>> mesh = Mesh.square(8)
        >>> data = make_gravity_dataset(300, mesh=mesh, random_state=0)
        >>> others = make_gravity_dataset(100, mesh=mesh, random_state=1)
        >>> network = CNNInverter(operator=data.operator, max_epochs=5, random_state=0)
        >>> network = network.fit(data.data, data.target).calibrate(others.data, others.target)
        >>> network.predict_quantiles(others.data[:3], [0.05, 0.95]).shape
        (3, 64, 2)
        """
        check_is_fitted(self)
        X, y = self._checked(X, y)
        if len(X) < _LEAST_PAIRS:
            raise ValueError(
                f"'X' has {len(X)} samples, but calibration needs at least {_LEAST_PAIRS}, better a"
                " few hundred. Give more pairs that the network was not trained on."
            )
        encoding, rng = self._of_distributions(), check_random_state(random_state)
        encoding.check_pairs(X, y)
        levels = calibrated_levels(*self.net_.augment.noise_level)
        size, stated = max(1, _BLOCK // y.shape[1]), []
        for level in np.maximum(levels, LEAST_NOISE):
            noise: Any = encoding.noise.at(level).std(X)
            noisy = X + noise * rng.standard_normal(X.shape)
            parts = []
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # `predict` warns of other geology
                for rows in gen_batches(len(X), size):
                    _, marginals, _ = encoding.distributions(self.net_, noisy[rows], level)
                    parts.append(marginals.cdf(y[rows]).ravel())
            stated.append(np.concatenate(parts))
        self._calibration = Calibration.of(levels, stated)
        return self

    def predict_quantiles(
        self, X: ArrayLike, quantiles: ArrayLike, *, noise_level: ArrayLike | None = None
    ) -> Array:
        """Estimate quantiles of the density of each cell.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_data)
            Gravity, component-major.
        quantiles : float or array-like of shape (n_quantiles,)
            Probabilities between 0 and 1.
        noise_level : float, array-like of shape (n_samples,) or "auto", default=None
            Relative noise of each sample, as of `predict`.

        Returns
        -------
        rho : ndarray of shape (n_samples, n_cells, n_quantiles) or (n_samples, n_quantiles)
            Quantiles, within `density_range_`.
        """
        p = np.atleast_1d(real_array(quantiles, "quantiles"))
        if p.ndim != 1 or not p.size or not ((p > 0) & (p < 1)).all():
            raise ValueError(
                f"'quantiles' is {quantiles!r}; it must be probabilities above 0 and below 1."
            )
        _, marginals, _ = self._posterior(X, noise_level)
        order = np.argsort(p)
        rho = np.empty((*marginals.weight.shape, len(p)))
        rho[..., order] = marginals.quantiles(p[order])
        np.clip(rho, *self.density_range_, out=rho)
        return rho[:, 0] if self._y_ndim == 1 else rho

    @checked(n_samples=[WHOLE], random_state=["random_state"])
    def sample_y(
        self,
        X: ArrayLike,
        n_samples: int = 1,
        random_state: int | np.random.RandomState | None = 0,
        *,
        noise_level: ArrayLike | None = None,
    ) -> Array:
        """Draw densities from the posterior, as GaussianProcessRegressor does.

        Quantiles of the distribution of each cell are put into the order of that cell in the
        training sections with the most similar gravity, and corrected to fit the data.

        Parameters
        ----------
        X : array-like of shape (n_samples_X, n_data)
            Gravity, component-major.
        n_samples : int, default=1
            Number of draws for each row of `X`.
        random_state : int, RandomState instance or None, default=0
            Seed of the draws.
        noise_level : float, array-like of shape (n_samples_X,) or "auto", default=None
            Relative noise of each sample, as of `predict`.

        Returns
        -------
        rho : ndarray of shape (n_samples_X, n_cells, n_samples) or (n_samples_X, n_samples)
            Draws, each of which fits the data to their noise; they may leave `density_range_`.
        """
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
        check_is_fitted(self)
        encoding: Any = self._encoding
        if (analogues := self._analogues) is None:
            raise ValueError(
                f"'n_analogues' is {self.n_analogues} and 'architecture' {self.architecture!r}, "
                "but draws need training sections of this mesh and the distribution of each cell. "
                "Fit 'residual' or 'unet' with uncertainty=True and 'n_analogues' above 0."
            )
        *_, marginals, sigma = self._posterior(X, noise_level)
        g = validate_data(self, X, reset=False) - encoding.data_offset
        rng = check_random_state(random_state)
        draws = analogues.draws(g, sigma, marginals, self.density_range_, n_samples, rng)
        return draws[:, 0] if self._y_ndim == 1 else draws

    @property
    def is_calibrated(self) -> bool:
        """Whether quantiles and draws are calibrated."""
        return self._calibration is not None

    @property
    def _has_std(self) -> bool:
        """Whether the network has learned the spread of densities."""
        encoding = self._encoding
        return isinstance(encoding, LinearEncoding) and encoding.uncertainty

    def _posterior(
        self, X: ArrayLike, noise_level: ArrayLike | None
    ) -> tuple[Array, Marginals, Array]:
        """Return estimates, distributions, and the whitened noise of each sample."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False)
        encoding = self._of_distributions()
        rho, marginals, sigma = encoding.distributions(self.net_, X, noise_level)
        if self._calibration is not None:
            level = sigma / encoding.rms(encoding.noise.whitening(X))
            marginals = replace(marginals, scores=self._calibration.at(level))
        np.clip(rho, *self.density_range_, out=rho)
        warn_implausible(rho, encoding.operator, self.density_range_)
        encoding.warn_unexplained(X, sigma, rho, self.density_range_)
        return rho, marginals, sigma

    def _of_distributions(self) -> LinearEncoding:
        """Return the encoding of a network that gives distributions, else raise ValueError."""
        encoding = self._encoding
        if isinstance(encoding, LinearEncoding) and encoding.uncertainty:
            return encoding
        raise ValueError(
            f"The network was trained without the spread of densities: 'architecture' is "
            f"{self.architecture!r}, 'data_consistency' {self.data_consistency} and "
            f"'uncertainty' {self.uncertainty}. Fit 'residual' or 'unet' with uncertainty=True "
            "and data_consistency=False."
        )
