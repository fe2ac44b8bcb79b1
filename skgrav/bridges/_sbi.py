"""Codes of a generator as the parameters of sbi, simulation-based inference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.covariance import ledoit_wolf
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skgrav._checks import check_array
from skgrav._typing import Array
from skgrav.noise import Noise
from skgrav.operators import BaseOperator

if TYPE_CHECKING:
    import torch


class CodeSimulator:
    """Simulator for sbi, from codes of a generator to noisy gravity.

    It decodes codes to densities, computes their gravity and adds noise. `prior`, `pairs` and
    `observe` return the other inputs of sbi, and `sample_y` draws densities from its posterior.

    Parameters
    ----------
    generator : estimator
        Fitted generator, such as a `VAEGenerator` or PCA, with `transform` and
        `inverse_transform`.
    operator : ForwardOperator, JointOperator or MatrixOperator
        Fitted operator from density to data.
    noise_level : float, default=None
        Standard deviation of the noise, relative to the rms of the data of each sample. None takes
        the uncertainty of the operator's survey.

    Attributes
    ----------
    noise : Noise
        Noise of the data.

    Raises
    ------
    TypeError
        If `generator` or `operator` has another type.
    ValueError
        If no noise is known, or generator and operator have different cells.

    See Also
    --------
    skgrav.LatentInverter : A Gaussian posterior of codes, without training of a posterior.

    Notes
    -----
    Data are whitened, so that all have the same noise, and a trend of the survey is projected out.
    Therefore measured data must be converted by `observe`. Noise is drawn from torch's global
    generator, as sbi requires of a simulator, so that torch's seeds apply.

    A posterior trained with `__call__` assumes that some code explains the data up to noise. The
    data of `pairs` are those of the training densities themselves, so that the error of the
    generator is part of the noise of the posterior. This is appropriate for measured data.

    Examples
    --------
    >>> from sklearn.decomposition import PCA
    >>> from skgrav import Mesh
    >>> from skgrav.bridges import CodeSimulator
    >>> from skgrav.datasets import make_gravity_dataset
    >>> data = make_gravity_dataset(100, mesh=Mesh.square(10), random_state=0)
    >>> simulator = CodeSimulator(PCA(5).fit(data.target), data.operator, noise_level=0.05)
    >>> prior = simulator.prior(data.target)
    >>> simulator(prior.sample((7,))).shape
    torch.Size([7, 60])
    """

    def __init__(
        self, generator: Any, operator: BaseOperator, *, noise_level: float | None = None
    ) -> None:
        for name in ("transform", "inverse_transform"):
            if not hasattr(generator, name):
                raise TypeError(f"'generator' is {generator!r}, which has no method {name}.")
        if not isinstance(operator, BaseOperator):
            raise TypeError(f"'operator' is of type {type(operator).__name__}; give an operator.")
        check_is_fitted(generator)
        check_is_fitted(operator)
        n_cells = getattr(generator, "n_features_in_", operator.n_cells_)
        if n_cells != operator.n_cells_:
            raise ValueError(
                f"'generator' has densities of {n_cells} cells, but 'operator' of "
                f"{operator.n_cells_}. Give both the same mesh."
            )
        self.generator = generator
        self.operator = operator
        self.noise_level = noise_level
        self.noise = Noise.of(operator, noise_level)
        if not self.noise.is_known:
            raise ValueError(
                f"'noise_level' is {noise_level!r} and the survey has no uncertainty; a simulator "
                "needs the noise. Give a number."
            )

    def __call__(self, theta: torch.Tensor | Array) -> torch.Tensor:
        """Simulate the data of codes.

        Parameters
        ----------
        theta : torch.Tensor or ndarray of shape (n_samples, n_components)
            Codes.

        Returns
        -------
        x : torch.Tensor of shape (n_samples, n_white)
            Whitened data with noise.
        """
        import torch

        # With several workers, sbi passes arrays.
        given = theta.detach().cpu().numpy() if isinstance(theta, torch.Tensor) else theta
        codes = check_array(given, "theta")
        rho = np.asarray(self.generator.inverse_transform(codes), dtype=np.float64)
        white, sigma = self._white(self.operator.transform(rho))
        return _tensor(white) + _tensor(sigma)[:, None] * torch.randn(white.shape)

    def prior(self, y: ArrayLike) -> torch.distributions.MultivariateNormal:
        """Fit a Gaussian to the codes of densities.

        Parameters
        ----------
        y : array-like of shape (n_samples, n_cells)
            Densities, such as those of the training set.

        Returns
        -------
        prior : torch.distributions.MultivariateNormal
            Gaussian with their mean, and their covariance shrunk as by Ledoit and Wolf.
        """
        import torch

        codes = self._codes(y)
        mean, std = codes.mean(axis=0), codes.std(axis=0)
        if not (std > 0).all():
            raise ValueError(
                f"'y' has {len(codes)} densities whose codes do not vary; give more of them."
            )
        correlation, _ = ledoit_wolf((codes - mean) / std, assume_centered=True)
        covariance = correlation * np.outer(std, std)
        return torch.distributions.MultivariateNormal(_tensor(mean), _tensor(covariance))

    def pairs(
        self, y: ArrayLike, *, random_state: int | np.random.RandomState | None = 0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the codes of densities, and noisy data of these densities.

        Parameters
        ----------
        y : array-like of shape (n_samples, n_cells)
            Densities, such as those of the training set.
        random_state : int, RandomState instance or None, default=0
            Seed of the noise.

        Returns
        -------
        theta : torch.Tensor of shape (n_samples, n_components)
            Codes.
        x : torch.Tensor of shape (n_samples, n_white)
            Whitened data with noise, for ``append_simulations(theta, x)``.
        """
        codes = self._codes(y)
        white, sigma = self._white(self.operator.transform(y))
        errors = check_random_state(random_state).normal(size=white.shape)
        return _tensor(codes), _tensor(white + sigma[:, None] * errors)

    def observe(self, X: ArrayLike) -> torch.Tensor:
        """Convert measured data to the form of the simulated ones.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_data)
            Gravity, component-major.

        Returns
        -------
        x : torch.Tensor of shape (n_samples, n_white)
            Whitened data; each row is an observation for sbi.
        """
        X = check_array(X, "X")
        if X.shape[1] != self.operator.n_data_:
            raise ValueError(
                f"'X' has {X.shape[1]} data, but 'operator' has {self.operator.n_data_}."
            )
        return _tensor(self.noise.whitening(X))

    def sample_y(
        self,
        posterior: Any,
        X: ArrayLike,
        n_samples: int = 1,
        random_state: int | np.random.RandomState | None = 0,
    ) -> Array:
        """Draw densities from a posterior of codes.

        Parameters
        ----------
        posterior : sbi posterior
            Posterior trained with this simulator or its pairs, with ``sample((n_samples,), x=x)``.
        X : array-like of shape (n_samples_X, n_data)
            Gravity, component-major.
        n_samples : int, default=1
            Number of samples for each row of `X`.
        random_state : int, RandomState instance or None, default=0
            Seed of the samples; the state of torch's global generator is not changed.

        Returns
        -------
        rho : ndarray of shape (n_samples_X, n_cells, n_samples)
            Posterior samples, in the form of `LatentInverter.sample_y`.
        """
        import torch

        if not hasattr(posterior, "sample"):
            raise TypeError(f"'posterior' is {posterior!r}, which has no method sample.")
        x = self.observe(X)
        rho = np.empty((len(x), self.operator.n_cells_, n_samples))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(check_random_state(random_state).randint(2**31 - 1)))
            for i, observed in enumerate(x):
                codes = posterior.sample((n_samples,), x=observed, show_progress_bars=False)
                decoded = self.generator.inverse_transform(codes.cpu().double().numpy())
                rho[i] = np.asarray(decoded, dtype=np.float64).T
        return rho

    def _white(self, g: Array) -> tuple[Array, Array]:
        """Return whitened data and the standard deviation of their noise."""
        sigma = self.noise.scale(g)
        assert sigma is not None
        return self.noise.whitening(g), sigma

    def _codes(self, y: ArrayLike) -> Array:
        y = check_array(y, "y")
        if y.shape[1] != self.operator.n_cells_:
            raise ValueError(f"'y' has {y.shape[1]} cells, but there are {self.operator.n_cells_}.")
        return np.asarray(self.generator.transform(y), dtype=np.float64)


def _tensor(values: Array) -> torch.Tensor:
    """Return a tensor in single precision, the precision of sbi."""
    import torch

    return torch.from_numpy(np.array(values, dtype=np.float32, order="C"))
