"""Best linear estimate of density: the posterior mean under a Gaussian prior."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar, Literal, Self, overload

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state, check_scalar
from sklearn.utils.validation import check_is_fitted

from skgrav._checks import validate_data
from skgrav._constraints import WHOLE, Interval, StrOptions, checked
from skgrav._typing import Array
from skgrav.inverters._applicability import PriorApplicability, warn_atypical
from skgrav.inverters._base import InverterMixin
from skgrav.inverters._checked_operator import checked_operator
from skgrav.inverters._gaussian_prior import GaussianPrior
from skgrav.inverters._plausible import warn_implausible, warn_unexplained
from skgrav.inverters._rows import Rows
from skgrav.inverters._typicality import Typicality, training_data
from skgrav.io import Field, saved
from skgrav.operators import BaseOperator, is_lazy

#: Standard deviations on either side of the mean that count as the range of training densities.
_SPREAD = 3.0


@saved
class BayesLinearInverter(PriorApplicability, InverterMixin, BaseEstimator):
    """Posterior mean of density, with the mean and covariance of the training densities as prior.

    The estimate has a closed form and, of all estimates linear in the data, the least mean squared
    error: it is the reference for networks. It depends on the noise level of each sample.

    Parameters
    ----------
    noise_level : float, "auto" or None, default=None
        Standard deviation of the noise relative to the rms of each sample's own data without their
        trend. ``"auto"`` estimates it for each sample by maximum likelihood. None takes the
        uncertainty of the operator's survey, and without one ``"auto"``.
    operator : ForwardOperator or MatrixOperator, default=None
        The physics. None takes the paper's geometry if it reproduces the training pairs, and
        otherwise identifies the operator from them, with a warning.
    shrinkage : "auto" or float, default="auto"
        Shrinkage of the prior covariance toward a multiple of the identity; ``"auto"`` takes the
        estimate of Ledoit and Wolf.
    store_covariance : bool, default=False
        Whether to keep a factor of the prior covariance, up to n_cells**2 numbers, for `sample_y`.

    Attributes
    ----------
    operator_ : BaseOperator
        The fitted operator in use.
    mean_ : ndarray of shape (n_cells,)
        Mean of the training densities.
    variance_ : ndarray of shape (n_cells,)
        Prior variance of each cell.
    shrinkage_ : float
        Shrinkage of the prior covariance.
    n_outputs_ : int
        Number of cells.
    n_features_in_ : int
        Number of data.

    Raises
    ------
    ValueError
        If the operator does not fit the pairs, or a noise level is not a number of at least 0.

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
    TikhonovInverter : Needs no training sections.
    CNNInverter : Its default network adds to this estimate.

    Notes
    -----
    With mean m and covariance C of density and noise of variance s2 the estimate is
    ``m + C A^T (A C A^T + s2 I)^-1 (g - A m)`` [1]_, and its variance that of the prior minus the
    part explained by the data. One singular value decomposition serves all noise levels. Stated
    levels below 1e-6, the rounding of data in single precision, are raised to the rounding that a
    sample shows, so that a level of 0 is safe for noise-free data of any precision.

    References
    ----------
    .. [1] Tarantola (2005), Inverse Problem Theory and Methods for Model Parameter Estimation,
       SIAM, section 3.2.

    Examples
    --------
    >>> from skgrav import BayesLinearInverter, Mesh
    >>> from skgrav.datasets import make_gravity_dataset
    >>> data = make_gravity_dataset(n_samples=100, mesh=Mesh.square(8), random_state=0)
    >>> inverter = BayesLinearInverter(store_covariance=True).fit(data.data, data.target)
    >>> rho, std = inverter.predict(data.data, return_std=True)
    >>> rho.shape, std.shape
    ((100, 64), (100, 64))
    >>> inverter.sample_y(data.data[:2], n_samples=3).shape
    (2, 64, 3)
    """

    _parameter_constraints: dict[str, list[Any]] = {
        "noise_level": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left"), None],
        "operator": [BaseOperator, None],
        "shrinkage": [StrOptions({"auto"}), Interval(Real, 0, 1, closed="both")],
        "store_covariance": ["boolean"],
    }
    _file_fields: ClassVar = (
        *InverterMixin._file_fields,
        Field("operator_", BaseOperator),
        Field("_prior", GaussianPrior),
        Field("mean_", Array, ("n_outputs_",)),
        Field("variance_", Array, ("n_outputs_",)),
        Field("shrinkage_", float),
        Field("_data_rms", float),
        Field("_typicality", Typicality | None, optional=True),
        Field("_density_range", tuple[float, float], optional=True),
    )

    #: That of the training densities; of files without it, which are not compared.
    _density_range = -np.inf, np.inf

    def __init__(
        self,
        noise_level: float | Literal["auto"] | None = None,
        *,
        operator: BaseOperator | None = None,
        shrinkage: float | Literal["auto"] = "auto",
        store_covariance: bool = False,
    ) -> None:
        self.noise_level = noise_level
        self.operator = operator
        self.shrinkage = shrinkage
        self.store_covariance = store_covariance

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Learn mean and covariance of the densities, and check the operator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_data)
            Gravity, component-major, used only to check or identify the operator.
        y : array-like of shape (n_samples, n_cells) or (n_samples,)
            Densities. Arrays of floats are not copied; memory-mapped ones stay on disk.

        Returns
        -------
        self : BayesLinearInverter
            The fitted inverter.
        """
        self._validate_params()
        X, y = validate_data(self, X, y, dtype=(np.float64, np.float32))
        self._y_ndim = y.ndim
        rho = y.reshape(len(y), -1)
        self.n_outputs_ = rho.shape[1]
        self.operator_ = checked_operator(X, rho, self.operator, noise_level=self.noise_level)
        shrinkage = None if self.shrinkage == "auto" else float(self.shrinkage)
        prior = GaussianPrior.of(rho, self._matrix(), shrinkage, drawable=self.store_covariance)
        self._prior = prior
        self.mean_, self.variance_, self.shrinkage_ = prior.mean, prior.variance, prior.shrinkage
        data2 = np.mean(prior.data_mean**2) + np.mean(prior.space.variance)
        self._data_rms = float(np.sqrt(data2)) or 1.0
        data = training_data(Rows(rho), self._matrix())
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
            Posterior mean.
        std : ndarray of shape (n_samples, n_cells) or (n_samples,)
            Posterior standard deviation under a Gaussian prior. Only if `return_std` is True.
        """
        if is_lazy(X):
            return self._lazily(self.predict, X, return_std=return_std, noise_level=noise_level)
        rho, sigma = self._posterior(X, noise_level)
        if not return_std:
            return self._as_fitted(rho)
        explained = self._prior.space.explained(sigma**2)
        return self._as_fitted(rho), self._as_fitted(self._prior.std(explained))

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

        A draw from the prior is corrected by the estimate from the misfit of its own noisy data
        (Matheron's rule). Needs ``store_covariance=True``.

        Parameters
        ----------
        X : array-like of shape (n_samples_X, n_data)
            Gravity, component-major.
        n_samples : int, default=1
            Number of draws for each row of `X`.
        random_state : int, RandomState instance or None, default=0
            Seed of the draws.
        noise_level : float or array-like of shape (n_samples_X,), default=None
            Relative noise of each sample, or ``"auto"``; None takes the parameter of the estimator.

        Returns
        -------
        rho : ndarray of shape (n_samples_X, n_cells, n_samples) or (n_samples_X, n_samples)
            Draws from the posterior, which is Gaussian: without the sharp bodies of the training
            sections.
        """
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
        mean, sigma = self._posterior(X, noise_level)
        if self._prior.factor is None:
            raise ValueError(
                "'store_covariance' is False, but draws need the prior covariance. Set it to True "
                "and fit again."
            )
        rng, matrix = check_random_state(random_state), self._matrix()
        draws = np.empty((*mean.shape, n_samples))
        for k in range(n_samples):
            deviation = self._prior.draw(len(mean), rng)
            data = deviation @ matrix.T  # whitened
            data += sigma[:, None] * rng.normal(size=data.shape)
            draws[:, :, k] = mean + deviation - self._prior.space.estimate(data, sigma**2)
        return draws[:, 0] if self._y_ndim == 1 else draws

    def _posterior(self, X: ArrayLike, noise_level: ArrayLike | None) -> tuple[Array, Array]:
        """Return the posterior mean, and the standard deviation of the whitened noise."""
        check_is_fitted(self, "mean_")
        tested = self._tested(validate_data(self, X, reset=False), noise_level)
        space, white, mean, sigma, _ = tested
        warn_atypical(self._typicality, *tested)
        rho = self.mean_ + space.estimate(white - mean, sigma**2)
        spread = _SPREAD * np.sqrt(self.variance_)
        trained = float(np.min(self.mean_ - spread)), float(np.max(self.mean_ + spread))
        warn_implausible(rho, self.operator_, trained)
        whitening = self._noise().whitening
        warn_unexplained(rho, white, whitening, sigma, self.operator_, self._density_range)
        return rho, sigma

    def _matrix(self) -> Array:
        """Return the matrix from densities to whitened data."""
        return self._noise().whitening.matrix(self.operator_.matrix_)
