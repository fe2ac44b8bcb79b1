"""Sections with similar gravity, fitted to the data: draws of the posterior without training."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, Self, overload

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state, check_scalar
from sklearn.utils.validation import check_is_fitted

from skgrav._checks import real_array, validate_data
from skgrav._constraints import WHOLE, Interval, StrOptions, checked
from skgrav._typing import Array
from skgrav.inverters._applicability import PriorApplicability, warn_atypical
from skgrav.inverters._base import InverterMixin
from skgrav.inverters._checked_operator import checked_operator
from skgrav.inverters._data_posterior import DataPosterior
from skgrav.inverters._gaussian_prior import GaussianPrior
from skgrav.inverters._inflation import Inflation
from skgrav.inverters._plausible import warn_implausible, warn_unexplained
from skgrav.inverters._rows import Rows
from skgrav.inverters._section_library import SectionLibrary, kept, mirrored_cells
from skgrav.inverters._typicality import Typicality, training_data
from skgrav.io import Field, saved
from skgrav.noise import Noise, at_least_typical
from skgrav.operators import (
    BaseOperator,
    is_lazy,
)

#: Standard deviations on either side of the mean that count as the range of training densities.
_SPREAD = 3.0


@saved
class AnalogueInverter(PriorApplicability, InverterMixin, BaseEstimator):
    """Sections of a library whose gravity is nearest to the data, corrected to fit them.

    Needs no training, and takes any geometry. Each analogue is a geologically plausible section
    that fits the data to their noise, and together they are draws from the posterior. Their mean is
    about as accurate as `BayesLinearInverter`. Their distribution is closer to the truth: it is not
    Gaussian, and keeps interfaces sharp.

    Parameters
    ----------
    n_neighbors : int, default=50
        Number of analogues of each sample. Fewer resemble the data more.
    noise_level : float, "auto" or None, default=None
        Standard deviation of the noise relative to the rms of each sample's own data without their
        trend. ``"auto"`` estimates it for each sample by maximum likelihood. None takes the
        uncertainty of the operator's survey, and without one ``"auto"``.
    operator : ForwardOperator or MatrixOperator, default=None
        The physics. None takes the paper's geometry if it reproduces the training pairs, and
        otherwise identifies the operator from them, with a warning.
    augment : {"mirror"} or None, default=None
        ``"mirror"`` adds the mirror image of each section to the library, without storing it. Mesh
        and stations must be symmetric about the centre of the mesh.
    inflation : "auto" or float, default="auto"
        Factor of the deviations of analogues from their mean, which are too small since the same
        data choose them. ``"auto"`` determines it in `fit` for several levels of noise, so that
        intervals of sections that are left out of the library have their nominal coverage. 1
        takes sections as they are.
    precision : {"float16", "float32", "float64"}, default="float32"
        Precision in which the library is kept, which the fit to the data does not depend on.
        Memory-mapped arrays of floats stay on disk as they are.
    random_state : int, RandomState instance or None, default=None
        Seed with which a callable draws the library.

    Attributes
    ----------
    operator_ : BaseOperator
        The fitted operator in use.
    n_neighbors_ : int
        Number of analogues in use.
    n_sections_ : int
        Number of sections in the library, mirror images included.
    n_outputs_ : int
        Number of cells.
    n_features_in_ : int
        Number of data.

    Raises
    ------
    ValueError
        If there are fewer sections than `n_neighbors`, the operator does not fit the pairs, the
        geometry has no mirror images, or densities are too large for the precision.

    Warns
    -----
    PhysicsWarning
        If the operator was identified, or reproduces the pairs only roughly.
    UserWarning
        If the data of `predict` show far more noise than stated or are unlike the training data,
        see `applicability`, or no density within the training densities explains them, as with
        data of the wrong sign; or estimates are beyond the densities of rocks, or far from the
        training densities.

    See Also
    --------
    BayesLinearInverter : The exact posterior of a Gaussian with the mean and covariance of the
        library.
    CNNInverter : More accurate estimates, by training.
    skgrav.metrics.crps, skgrav.metrics.interval_coverage : Evaluate predicted distributions.

    Notes
    -----
    The library's mean and covariance give coordinates u in which its noise-free data are
    independent and of unit variance, and in which r is the noise of the sample's data d. Analogues
    [2]_ are the sections with the least ``|k w (k d - u_j)|``, where ``k = 1 / (1 + r^2)`` is the
    share of signal and w a power of the effect of a coordinate on density. An analogue rho_j
    becomes a draw by the best linear estimate R of density from coordinates, as in Matheron's rule
    [1]_, where ``c = k`` and ``s = k r``::

        rho_j + R (c (d - u_j) + s n)

    Here n is standard Gaussian, and c and s are such that residuals of all analogues together are
    as large as those of the posterior in each coordinate: by Matheron's factors analogues that are
    near to noisy data already would fit the noise. Exact data are fitted exactly.

    The smaller the library, the less its sections resemble the truth; `inflation` corrects
    intervals for this on average. Files and pickles contain the library.

    References
    ----------
    .. [1] Journel and Huijbregts (1978), Mining Geostatistics, Academic Press, section VII.A.
    .. [2] Delle Monache, Eckel, Rife, Nagarajan and Searight (2013), Probabilistic weather
       prediction with an analog ensemble, Monthly Weather Review 141.

    Examples
    --------
    >>> from skgrav import AnalogueInverter, Mesh
    >>> from skgrav.datasets import make_gravity_dataset
    >>> mesh = Mesh.square(8)
    >>> library = make_gravity_dataset(2000, mesh=mesh, random_state=0)
    >>> data = make_gravity_dataset(5, mesh=mesh, noise_level=0.01, random_state=1)
    >>> inverter = AnalogueInverter(noise_level=0.01, operator=data.operator)
    >>> inverter = inverter.fit(library.data, library.target)
    >>> rho, std = inverter.predict(data.data, return_std=True)
    >>> inverter.sample_y(data.data, n_samples=3).shape
    (5, 64, 3)
    """

    _parameter_constraints: dict[str, list[Any]] = {
        "n_neighbors": [Interval(Integral, 2, None, closed="left")],
        "noise_level": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left"), None],
        "operator": [BaseOperator, None],
        "augment": [StrOptions({"mirror"}), None],
        "inflation": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "precision": [StrOptions({"float16", "float32", "float64"})],
        "random_state": ["random_state"],
    }
    _file_fields: ClassVar = (
        *InverterMixin._file_fields,
        Field("operator_", BaseOperator),
        Field("n_neighbors_", int),
        Field("n_sections_", int),
        Field("_prior", GaussianPrior),
        Field("_library", SectionLibrary),
        Field("_inflation", Inflation),
        Field("_data_rms", float),
        Field("_typicality", Typicality | None, optional=True),
        Field("_density_range", tuple[float, float], optional=True),
    )

    #: That of the training densities; of files without it, which are not compared.
    _density_range = -np.inf, np.inf

    def __init__(
        self,
        n_neighbors: int = 50,
        *,
        noise_level: float | Literal["auto"] | None = None,
        operator: BaseOperator | None = None,
        augment: Literal["mirror"] | None = None,
        inflation: float | Literal["auto"] = "auto",
        precision: Literal["float16", "float32", "float64"] = "float32",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.noise_level = noise_level
        self.operator = operator
        self.augment = augment
        self.inflation = inflation
        self.precision = precision
        self.random_state = random_state

    def fit(self, X: Any, y: ArrayLike | None = None) -> Self:
        """Keep the library, compute its data, and check the operator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_data) or callable
            Gravity, component-major, used only to check or identify the operator. A callable draws
            the library: called with `random_state`, an int, it returns gravity and density, as
            `make_gravity_dataset` or as a pair of arrays.
        y : array-like of shape (n_samples, n_cells) or (n_samples,), default=None
            Densities of the library; memory-mapped arrays of floats stay on disk. None if X draws
            them.

        Returns
        -------
        self : AnalogueInverter
            The fitted inverter.
        """
        self._validate_params()
        if y is None and callable(X):
            seed = check_random_state(self.random_state).randint(2**31 - 1)
            drawn = X(random_state=seed)
            X, y = (drawn.data, drawn.target) if hasattr(drawn, "target") else drawn
        X, y = validate_data(self, X, y, dtype=(np.float64, np.float32, np.float16))
        rho = kept(y.reshape(len(y), -1), self.precision)
        # Whatever is refused below leaves the attributes of an earlier fit.
        operator = checked_operator(X, rho, self.operator, noise_level=self.noise_level)
        cells = None if self.augment is None else mirrored_cells(operator)
        n_sections = len(rho) * (1 if cells is None else 2)
        if n_sections < self.n_neighbors:
            raise ValueError(
                f"'n_neighbors' is {self.n_neighbors}, but the library has n_samples={n_sections} "
                "sections, mirror images included; give more, or fewer neighbours."
            )
        matrix = Noise.of(operator, self.noise_level).whitening.matrix(operator.matrix_)
        prior = GaussianPrior.of(Rows(rho, cells), matrix)
        self._y_ndim, self.n_outputs_, self.n_sections_ = y.ndim, rho.shape[1], n_sections
        self.operator_, self._prior, self.n_neighbors_ = operator, prior, int(self.n_neighbors)
        self._library = library = SectionLibrary.of(rho, cells, prior, matrix)
        if self.inflation == "auto":
            self._inflation = Inflation.learn(library, prior, matrix, self.n_neighbors)
        else:
            self._inflation = Inflation.constant(self.inflation)
        data2 = np.mean(prior.data_mean**2) + np.mean(prior.space.variance)
        self._data_rms = float(np.sqrt(data2)) or 1.0
        data = training_data(Rows(rho), matrix)
        self._density_range = float(rho.min()), float(rho.max())
        self._typicality = Typicality.learn(prior.space, data, prior.data_mean, self._data_rms)
        return self

    @overload
    def predict(
        self,
        X: ArrayLike,
        return_std: Literal[False] = False,
        *,
        noise_level: ArrayLike | None = None,
    ) -> Array: ...

    @overload
    def predict(
        self, X: ArrayLike, return_std: Literal[True], *, noise_level: ArrayLike | None = None
    ) -> tuple[Array, Array]: ...

    def predict(
        self, X: ArrayLike, return_std: bool = False, *, noise_level: ArrayLike | None = None
    ) -> Array | tuple[Array, Array]:
        """Estimate densities, and their standard deviations.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_data)
            Gravity, component-major.
        return_std : bool, default=False
            Whether to return the standard deviation of each cell as well.
        noise_level : float or array-like of shape (n_samples,), default=None
            Relative noise of each sample, or ``"auto"``; None takes the parameter of the estimator.

        Returns
        -------
        rho : ndarray of shape (n_samples, n_cells) or (n_samples,)
            Mean of the analogues.
        std : ndarray of shape (n_samples, n_cells) or (n_samples,)
            Standard deviation of the draws. Only if `return_std` is True.
        """
        if is_lazy(X):
            return self._lazily(self.predict, X, return_std=return_std, noise_level=noise_level)
        posterior, analogues = self._analogues(X, noise_level)
        rho = np.empty((len(posterior.mean), self.n_outputs_))
        variance = np.empty_like(rho)
        for i, sections in enumerate(analogues):
            rho[i], variance[i] = posterior.moments(i, sections)
        self._warn_implausible(rho)
        if not return_std:
            return self._as_fitted(rho)
        return self._as_fitted(rho), self._as_fitted(np.sqrt(variance))

    def predict_quantiles(
        self, X: ArrayLike, quantiles: ArrayLike, *, noise_level: ArrayLike | None = None
    ) -> Array:
        """Estimate quantiles of the density of each cell.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_data)
            Gravity, component-major.
        quantiles : float or array-like of shape (n_quantiles,)
            Probabilities, within ``1 / (n_neighbors + 1)`` and one minus that.
        noise_level : float or array-like of shape (n_samples,), default=None
            Relative noise of each sample, or ``"auto"``; None takes the parameter of the estimator.

        Returns
        -------
        rho : ndarray of shape (n_samples, n_cells, n_quantiles) or (n_samples, n_quantiles)
            Quantiles of one draw from each analogue.
        """
        check_is_fitted(self, "_library")
        p = np.atleast_1d(real_array(quantiles, "quantiles"))
        least = 1.0 / (self.n_neighbors_ + 1)
        if p.ndim != 1 or not p.size or p.min() < least - 1e-9 or p.max() > 1.0 - least + 1e-9:
            raise ValueError(
                f"'quantiles' is {quantiles!r}; it must be probabilities from {least:.4g} to "
                f"{1 - least:.4g}, which {self.n_neighbors_} draws reach. Give more 'n_neighbors'."
            )
        draws = self._draws(X, self.n_neighbors_, 0, noise_level)
        # Other definitions of quantiles make intervals of few draws too short.
        rho = np.stack([np.quantile(d, p, axis=0, method="weibull").T for d in draws])
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

        Parameters
        ----------
        X : array-like of shape (n_samples_X, n_data)
            Gravity, component-major.
        n_samples : int, default=1
            Number of draws for each row of `X`, of analogues in random order. More draws than
            `n_neighbors` repeat analogues, with other noise.
        random_state : int, RandomState instance or None, default=0
            Seed of the draws.
        noise_level : float or array-like of shape (n_samples_X,), default=None
            Relative noise of each sample, or ``"auto"``; None takes the parameter of the estimator.

        Returns
        -------
        rho : ndarray of shape (n_samples_X, n_cells, n_samples) or (n_samples_X, n_samples)
            Draws, each of which fits the data to their noise.
        """
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
        found = [draws.T for draws in self._draws(X, n_samples, random_state, noise_level)]
        rho = np.stack(found)
        self._warn_implausible(rho.transpose(0, 2, 1).reshape(-1, self.n_outputs_))
        return rho[:, 0] if self._y_ndim == 1 else rho

    def _draws(
        self, X: ArrayLike, n_draws: int, random_state: Any, noise_level: ArrayLike | None
    ) -> Iterator[Array]:
        """Yield draws for each sample, (n_draws, n_cells)."""
        posterior, analogues = self._analogues(X, noise_level)
        rng = check_random_state(random_state)
        for i, sections in enumerate(analogues):
            rounds = -(-n_draws // len(sections))
            order = np.concatenate([rng.permutation(len(sections)) for _ in range(rounds)])
            yield posterior.draws(i, sections, order[:n_draws], rng)

    def _analogues(
        self, X: ArrayLike, noise_level: ArrayLike | None
    ) -> tuple[DataPosterior, Iterator[Array]]:
        """Return what the data say, and the nearest sections with their deviations inflated."""
        check_is_fitted(self, "_library")
        X = validate_data(self, X, reset=False)
        tested = self._tested(X, noise_level)
        warn_atypical(self._typicality, *tested)
        space, white, mean, sigma, _ = tested
        whitening, linear = self._noise().whitening, self._prior.mean
        linear = linear + space.estimate(white - mean, sigma**2)
        warn_unexplained(linear, white, whitening, sigma, self.operator_, self._density_range)
        rms = at_least_typical(np.sqrt(np.mean(white**2, axis=1)), self._data_rms)
        matrix = whitening.matrix(self.operator_.matrix_)
        posterior = DataPosterior.of(self._prior, matrix, white - mean, sigma)
        nearest = self._library.nearest(posterior, self.n_neighbors_)
        factors = self._inflation.at(sigma / rms)
        return posterior, (
            _spread(self._library[indices], factor)
            for indices, factor in zip(nearest, factors, strict=True)
        )

    def _warn_implausible(self, rho: Array) -> None:
        spread = _SPREAD * np.sqrt(self._prior.variance)
        mean = self._prior.mean
        trained = float(np.min(mean - spread)), float(np.max(mean + spread))
        warn_implausible(rho, self.operator_, trained)


def _spread(sections: Array, factor: float) -> Array:
    """Return sections with their deviations from their mean times a factor."""
    mean = sections.mean(axis=0)
    return mean + factor * (sections - mean)
