"""Inversion in the latent space of a generator."""

from __future__ import annotations

from math import isqrt
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state, check_scalar
from sklearn.utils.validation import check_is_fitted

from skgrav._checks import validate_data
from skgrav._constraints import COUNT, POSITIVE, WHOLE, HasMethods, Interval, StrOptions, checked
from skgrav._typing import Array
from skgrav._warnings import warn
from skgrav.inverters._base import InverterMixin, predicted_start, warn_unknown_noise
from skgrav.inverters._latent_search import LatentResult, LatentSearch
from skgrav.inverters._latent_space import (
    CodePrior,
    CodeRegression,
    DataError,
    LatentSpace,
    LinearDecoder,
    Starts,
)
from skgrav.inverters._plausible import warn_implausible
from skgrav.io import Estimator, Field, saved
from skgrav.metrics import relative_data_misfit
from skgrav.noise import Noise, noise_with_rounding
from skgrav.operators import (
    BaseOperator,
    CellValues,
    ForwardOperator,
    JointOperator,
    is_lazy,
    resolve_operator,
)
from skgrav.solvers import DecomposedSystem, LinearSystem, Projection, make_system

#: Training sections from which prior and errors are learned, with linear generators and others.
_N_LINEAR, _N_ENCODED = 10_000, 1000

#: Misfit in units of noise and approximation error, of which few training samples are beyond 3.
_UNEXPLAINED = 5.0

#: Training samples inverted in `fit`, for `n_iter_` and for the share of the change that is made.
_N_RECORDED = 100

#: Samples per datum that `_N_ENCODED` must be for prior and errors; else they are `_N_LINEAR`,
#: unless codes must be searched.
_PER_DATUM = 3

#: Training samples encoded and decoded together.
_BLOCK = 1000

_MAX_ITER = {"gauss-newton": 30, "lbfgs": 200, "adam": 5000}


@saved
class LatentInverter(InverterMixin, BaseEstimator):
    """Inversion in the latent space of a generator, the paper's second method.

    Finds the code whose section fits the data of each sample, for all samples at once. No
    generator represents the true density exactly, and a fit closer than its approximation error
    increases the error of the density. By default, approximation errors are therefore part of the
    data errors, and codes have a prior.

    Parameters
    ----------
    generator : estimator
        `VAEGenerator`, `GANGenerator`, or a transformer with a linear `inverse_transform` such
        as PCA, whose solution has a closed form. It is cloned and fitted to the densities of the
        training pairs; wrap a fitted one in ``sklearn.frozen.FrozenEstimator``.
    operator : ForwardOperator or MatrixOperator, default=None
        The physics. None takes the paper's geometry if it reproduces the training pairs, and
        otherwise identifies the operator from them, with a warning.
    solver : {"gauss-newton", "adam", "lbfgs"}, default="gauss-newton"
        Minimisation method; ``"adam"`` is the paper's. Not used with a linear generator.
    init : "auto", "regression", "prior-mean", "random", estimator or None, default="auto"
        Start of the search: a linear estimate of the codes from the data, learned in `fit`; the
        mean of the codes; a random code, as in the paper; or the code nearest to the estimate of
        an inverter, which is cloned and fitted inside, or, with None, comes before the data in X
        from the previous step of a Pipeline. The part of such an estimate that the generator
        cannot represent is kept, and only the share of the change is made that reduces the error
        of training pairs most, which is too small for an inverter that overfits them. ``"auto"``
        takes the estimate where X has one, and otherwise ``"regression"``.
    prior : bool, default=True
        Whether to weigh the misfit against the distance from the mean of the codes, in units of
        their covariance. Where the search starts from an estimate, both are conditional on it.
        Without a prior, iterations stop once the data are fitted to their errors.
    approximation_error : bool, default=True
        Whether the misfit of the best codes of training sections counts as an error of the data.
    noise_level : float, default=None
        Standard deviation of the noise relative to the rms of each sample's own data. None takes
        the uncertainty of the operator's survey; without one, data count as noise-free, with a
        warning. Give 0 for noise-free data.
    projection : bool, default=False
        Whether to remove the remaining misfit by the projection onto the densities that fit the
        data to their noise.
    n_starts : int, default=1
        Number of searches; the second and later ones start at random codes. The result with the
        lowest objective is kept.
    max_iter : int, default=None
        Largest number of iterations; None takes 30, 5000 for Adam and 200 for L-BFGS.
    tol : float, default=1e-3
        A sample has converged when an iteration, or 100 of Adam, lowers its objective J by less
        than ``tol (1 + J)``.
    learning_rate : float, default=0.05
        Step of Adam, in standard deviations of the codes.
    random_state : int, RandomState instance or None, default=None
        Seed of random starts, and of the noise added to training data for `init` where they have
        less than stated. With an int each `predict` has the same starts.

    Attributes
    ----------
    generator_ : estimator
        The fitted generator.
    operator_ : BaseOperator
        The fitted operator in use.
    init_ : estimator
        The fitted start, if `init` is an estimator.
    n_iter_ : int
        Largest number of iterations among the first 100 training samples; `invert` returns the
        number of each sample.
    n_components_ : int
        Length of a code.
    n_outputs_ : int
        Number of cells.
    n_features_in_ : int
        Number of columns of X.

    Raises
    ------
    ValueError
        If the generator is neither linear nor differentiable, X has no start before the data, or
        the operator does not fit the pairs.

    Warns
    -----
    ConvergenceWarning
        If samples did not converge.
    PhysicsWarning
        If the operator was identified, or reproduces the pairs only roughly.
    UserWarning
        If no noise level is given, data contain more than noise and generator explain, or
        estimates are beyond the densities of rocks, or far from the training densities.

    See Also
    --------
    skgrav.generators : Generators.
    Refiner : Corrections outside the range of a generator.

    Notes
    -----
    With data errors S, the noise and the approximation error [2]_, and codes ``N(m, C)``, it
    minimises ``|S^(-1/2) (A G(z) - g)|**2 + |C^(-1/2) (z - m)|**2``, eq. 9 of [1]_ with a prior.

    References
    ----------
    .. [1] Negahdari et al. (2025), arXiv:2510.09632, section II.
    .. [2] Kaipio and Somersalo (2005), Statistical and Computational Inverse Problems, Springer,
       section 5.8.

    Examples
    --------
    >>> from sklearn.decomposition import PCA
    >>> from skgrav import LatentInverter, Mesh
    >>> from skgrav.datasets import make_gravity_dataset
    >>> data = make_gravity_dataset(n_samples=100, mesh=Mesh.square(10), random_state=0)
    >>> inverter = LatentInverter(PCA(30), operator=data.operator, noise_level=0.0)
    >>> inverter.fit(data.data, data.target).predict(data.data).shape
    (100, 100)
    """

    _parameter_constraints: dict[str, list[Any]] = {
        "generator": [HasMethods(["fit", "transform", "inverse_transform"])],
        "operator": [BaseOperator, None],
        "solver": [StrOptions(set(_MAX_ITER))],
        "init": [
            StrOptions({"auto", "regression", "prior-mean", "random"}),
            HasMethods(["fit", "predict"]),
            None,
        ],
        "prior": ["boolean"],
        "approximation_error": ["boolean"],
        "noise_level": [Interval(Real, 0, None, closed="left"), None],
        "projection": ["boolean"],
        "n_starts": [COUNT],
        "max_iter": [POSITIVE, None],
        "tol": [Interval(Real, 0, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "random_state": ["random_state"],
    }
    _file_fields: ClassVar = (
        *InverterMixin._file_fields,
        Field("operator_", BaseOperator),
        Field("generator_", Estimator),
        Field("init_", Estimator, optional=True),
        Field("n_components_", int),
        Field("n_iter_", int),
        Field("_start_in_X", bool),
        Field("_share", float),
        Field("_space", LatentSpace),
    )

    def __init__(
        self,
        generator: BaseEstimator,
        *,
        operator: BaseOperator | None = None,
        solver: Literal["gauss-newton", "adam", "lbfgs"] = "gauss-newton",
        init: Any = "auto",
        prior: bool = True,
        approximation_error: bool = True,
        noise_level: float | None = None,
        projection: bool = False,
        n_starts: int = 1,
        max_iter: int | None = None,
        tol: float = 1e-3,
        learning_rate: float = 0.05,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.generator = generator
        self.operator = operator
        self.solver = solver
        self.init = init
        self.prior = prior
        self.approximation_error = approximation_error
        self.noise_level = noise_level
        self.projection = projection
        self.n_starts = n_starts
        self.max_iter = max_iter
        self.tol = tol
        self.learning_rate = learning_rate
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit the generator, and learn its prior and its errors from training pairs.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_data) or (n_samples, n_cells + n_data)
            Gravity, component-major, optionally with an estimate of the density before it.
        y : array-like of shape (n_samples, n_cells) or (n_samples,)
            Densities.

        Returns
        -------
        self : LatentInverter
            The fitted inverter.
        """
        self._validate_params()
        # One sample has no variance. Densities given in single precision stay in it, which halves
        # the memory of large sets of volumes.
        both = np.float64, np.float32
        X, y = validate_data(self, X, y, ensure_min_samples=2, y_dtype=both)
        self._y_ndim = y.ndim
        rho = y.reshape(len(y), -1)
        self.n_outputs_ = rho.shape[1]
        self._start_in_X = self._has_start(X.shape[1])
        g = self._data(X)
        self.operator_ = resolve_operator(self.operator, rho, g, noise_level=self.noise_level)
        noise = self._noise()
        warn_unknown_noise(noise)
        self.generator_ = clone(self.generator).fit(rho, None)
        self.__dict__.pop("init_", None)
        if hasattr(self.init, "fit"):
            self.init_ = clone(self.init).fit(g, y)
        # The errors of starts are learned from data with the stated noise.
        missing, share = noise.missing(g - self.operator_.transform(rho), g)
        if self._start_in_X and share > 0.9:
            warn(
                "the estimates in 'X' were made from data with less noise than 'noise_level', so "
                "their errors on noisy data are unknown. Fit the Pipeline to noisy data."
            )
        elif hasattr(self, "init_") and share:
            rng = check_random_state(self.random_state)
            X = g = g + missing * rng.normal(size=g.shape)
        self._learn(X, rho)
        self._share = 1.0
        recorded = self._invert(X[:_N_RECORDED], None)
        self.n_iter_ = int(recorded.n_iter.max())
        starts = self._starts(X[:_N_RECORDED], g[:_N_RECORDED])
        if starts is not None:
            self._share = starts.best_share(recorded.rho, rho[:_N_RECORDED])
        return self

    def predict(
        self, X: ArrayLike, *, return_candidates: bool = False, noise_level: ArrayLike | None = None
    ) -> Array | tuple[Array, Array]:
        """Estimate densities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features_in_)
            Gravity as in `fit`.
        return_candidates : bool, default=False
            Whether to return the densities of all starts as well.
        noise_level : float or array-like of shape (n_samples,), default=None
            Relative noise of each sample; None takes the parameter of the estimator.

        Returns
        -------
        rho : ndarray of shape (n_samples, n_cells) or (n_samples,)
            Densities of the best starts.
        candidates : ndarray of shape (n_starts, n_samples, n_cells)
            Densities of all starts, only with `return_candidates`.
        """
        if is_lazy(X) and not return_candidates:
            return self._lazily(self.predict, X, noise_level=noise_level)
        result = self.invert(X, noise_level=noise_level)
        rho = self._as_fitted(result.rho)
        return (rho, result.candidates) if return_candidates else rho

    def invert(self, X: ArrayLike, *, noise_level: ArrayLike | None = None) -> LatentResult:
        """Estimate densities, with their codes and the course of the search.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features_in_)
            Gravity as in `fit`.
        noise_level : float or array-like of shape (n_samples,), default=None
            Relative noise of each sample; None takes the parameter of the estimator.

        Returns
        -------
        result : LatentResult
            Densities, codes, misfits, iterations and candidates of each sample.
        """
        check_is_fitted(self, "operator_")
        result = self._invert(validate_data(self, X, reset=False), noise_level)
        self._warn_unexplained(2.0 * result.objective.min(axis=0))
        trained = getattr(self.generator_, "density_range_", None)
        warn_implausible(result.rho, self.operator_, trained)
        return result

    @checked(n_samples=[WHOLE], random_state=["random_state"])
    def sample_y(
        self,
        X: ArrayLike,
        n_samples: int = 1,
        random_state: int | np.random.RandomState | None = 0,
        *,
        noise_level: ArrayLike | None = None,
    ) -> Array:
        """Draw densities from the posterior of the codes, one search each.

        Codes are those found from perturbed data and a perturbed prior mean (randomised maximum
        likelihood [1]_): draws from the posterior of a linear generator, and about those of others.
        The part of the misfit of their sections that is approximation error is then removed by the
        smallest change of density.

        Parameters
        ----------
        X : array-like of shape (n_samples_X, n_features_in_)
            Gravity as in `fit`.
        n_samples : int, default=1
            Number of draws for each row of `X`.
        random_state : int, RandomState instance or None, default=0
            Seed of the draws.
        noise_level : float or array-like of shape (n_samples_X,), default=None
            Relative noise of each sample; None takes the parameter of the estimator.

        Returns
        -------
        rho : ndarray of shape (n_samples_X, n_cells, n_samples) or (n_samples_X, n_samples)
            Draws, which fit the data to their noise where `approximation_error` is True. Their
            spread does not include densities that the generator cannot represent.

        References
        ----------
        .. [1] Oliver, He and Reynolds (1996), Conditioning permeability fields to pressure data,
           5th European Conference on the Mathematics of Oil Recovery.
        """
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
        check_is_fitted(self, "operator_")
        if not self.prior:
            raise ValueError(
                "'prior' is False, but draws need the distribution of codes. Set it to True."
            )
        X = validate_data(self, X, reset=False)
        g, noise, rng = self._data(X), self._noise(noise_level), check_random_state(random_state)
        found = self._invert(X, noise_level)
        search = self._search(g, self._starts(X, g, noise_level), noise)
        first = self._space.prior.whitened(found.codes)
        decoded = self.generator_.inverse_transform(found.codes)
        draws, missed = np.empty((*found.rho.shape, n_samples)), 0
        for k in range(n_samples):
            codes, _, _, converged = search.perturbed(rng).run(first)
            missed += int(np.sum(~converged))
            rho = found.rho + (self.generator_.inverse_transform(codes) - decoded)
            fitted = self.operator_.transform(rho) + search.errors_of(rho, g, noise, rng)
            exact = noise.whitening, np.zeros(len(g))
            draws[:, :, k] = Projection().solve_whitened(self.operator_, fitted, rho, *exact).rho
        if missed:
            warn(
                f"{missed} of {len(g) * n_samples} draws did not converge; raise 'max_iter' or "
                "'tol'.",
                ConvergenceWarning,
            )
        return draws[:, 0] if self._y_ndim == 1 else draws

    def _warn_unexplained(self, size2: Array) -> None:
        """Warn of data that neither noise nor errors of the generator explain.

        `size2` are the squared misfits in units of these errors, with the squared departures from
        the prior: chi-squared numbers with a mean of the number of data.
        """
        # Searches with nonlinear generators may end in a local minimum, which is no error of data.
        if not (self.prior and self.approximation_error and self._space.is_linear):
            return
        ratio = np.sqrt(size2 / len(self._space.error.variance))
        unexplained = ratio > _UNEXPLAINED
        if unexplained.any():
            warn(
                f"{unexplained.sum()} of {len(ratio)} samples contain more than the noise and the "
                f"errors of 'generator' explain, up to {ratio.max():.3g} times: they have more "
                "noise than stated, or are unlike the data of the training densities. Give a "
                "larger 'noise_level' or 'uncertainty', or check the unit of the data."
            )

    def _invert(self, X: Array, noise_level: ArrayLike | None) -> LatentResult:
        g = self._data(X)
        noise = self._noise(noise_level)
        starts = self._starts(X, g, noise_level)
        search = self._search(g, starts, noise)
        rng = check_random_state(self.random_state)
        found = [search.run(self._first_codes(search, i, rng)) for i in range(self.n_starts)]
        codes, objective, n_iter, converged = map(np.stack, zip(*found, strict=True))
        best = objective.argmin(axis=0), np.arange(len(g))
        if not converged[best].all():
            warn(
                f"{np.sum(~converged[best])} of {len(g)} samples did not converge; raise "
                "'max_iter' or 'tol'.",
                ConvergenceWarning,
            )
        candidates = np.stack([self._densities(z, g, starts, noise) for z in codes])
        rho = candidates[best]
        misfit = relative_data_misfit(self.operator_, rho, g, multioutput="raw_values")
        return LatentResult(
            rho=rho,
            codes=codes[best],
            misfit=np.asarray(misfit),
            objective=objective,
            n_iter=n_iter[best],
            converged=converged[best],
            candidates=candidates,
        )

    def _learn(self, X: Array, rho: Array) -> None:
        """Learn decoder, prior, errors and regression of codes from training sections."""
        self.n_components_ = int(self.generator_.transform(rho[:1]).shape[1])
        linear = None
        if not hasattr(self.generator_, "decode"):
            linear = LinearDecoder.of(self.generator_, self.n_components_)
            if linear is None:
                raise ValueError(
                    f"'generator' is {self.generator}, which is not linear and has no 'decode' of "
                    "torch tensors. Give VAEGenerator, GANGenerator or a linear transformer such "
                    "as PCA."
                )
        system, _ = self._coordinates(self._noise())
        limit = _N_LINEAR
        if linear is None:
            # A covariance of as many data as samples would be useless.
            few = _PER_DATUM * system.n_data <= _N_ENCODED
            searched = not getattr(self.generator_, "has_encoder", True)
            limit = _N_ENCODED if few or searched else _N_LINEAR
        rows = np.linspace(0, len(rho) - 1, min(len(rho), limit)).astype(int)
        X, rho = X[rows], rho[rows]
        g = self._data(X)
        # Densities of all samples together would take most of the memory.
        parts = [self._encoded(X[k], rho[k], system) for k in _blocks(len(rho))]
        z, data, unexplained, starts = map(_joined, zip(*parts, strict=True))
        error = DataError.none(system.n_data)
        if self.approximation_error:
            error = DataError.of(unexplained)
        self._space = LatentSpace(
            decoder=linear or self._linearised(z),
            is_linear=linear is not None,
            prior=CodePrior.of(z, starts),
            error=error,
            regression=CodeRegression.of(data, z),
            data_rms=float(np.sqrt(np.mean(self._noise().rms(g) ** 2))) or 1.0,
        )

    def _linearised(self, z: Array) -> LinearDecoder:
        """Return the least-squares map from some of the codes to densities."""
        some = z[:: max(1, len(z) // _N_ENCODED)]
        return LinearDecoder.fitted(some, self.generator_.inverse_transform(some))

    def _encoded(
        self, X: Array, rho: Array, system: LinearSystem
    ) -> tuple[Array, Array, Array, Array | None]:
        """Return codes, data, data that codes leave unexplained, and codes of starts, if any."""
        rho = rho.astype(np.float64)
        z = np.asarray(self.generator_.transform(rho), dtype=np.float64)
        decoded = np.asarray(self.generator_.inverse_transform(z), dtype=np.float64)
        starts = self._starts(X, self._data(X))
        unexplained = rho - decoded if starts is None else rho - decoded - starts.remainder
        return (
            z,
            system.forward(system.model_coordinates(rho)),
            system.forward(system.model_coordinates(unexplained)),
            None if starts is None else starts.codes,
        )

    def _search(self, g: Array, starts: Starts | None, noise: Noise) -> LatentSearch:
        """Prepare the search for the codes of data."""
        system, to_coordinates = self._coordinates(noise)
        data, sigma = g @ to_coordinates, noise.scale_or(g, 0.0)
        if starts is not None:  # the generator cannot represent the remainder, which is kept
            data = data - system.forward(system.model_coordinates(starts.remainder))
        return LatentSearch(
            space=self._space,
            generator=self.generator_,
            system=system,
            operator=self.operator_,
            to_coordinates=to_coordinates,
            data=data,
            sigma=noise_with_rounding(sigma, noise.rms(g), self._space.data_rms),
            is_noisy=bool(sigma.any()),
            centre=self._space.prior.centre(None if starts is None else starts.codes),
            prior=float(self.prior),
            solver=self.solver,
            max_iter=self.max_iter or _MAX_ITER[self.solver],
            tol=float(self.tol),
            learning_rate=self.learning_rate,
        )

    def _first_codes(self, search: LatentSearch, i: int, rng: np.random.RandomState) -> Array:
        """Return the whitened codes at which the i-th search starts."""
        n_samples = len(search.data)
        init = self.init if isinstance(self.init, str) else "estimate"
        if i > 0 or init == "random":
            return search.centre + rng.normal(size=(n_samples, self.n_components_))
        if init == "regression" or (init == "auto" and not self._start_in_X):
            codes = self._space.regression(search.data, search.sigma)
            return self._space.prior.whitened(codes)
        return np.broadcast_to(search.centre, (n_samples, self.n_components_)).copy()

    def _noise(self, noise_level: ArrayLike | None = None) -> Noise:
        return Noise.of(self.operator_, self.noise_level).at(noise_level, estimable=False)

    def _coordinates(self, noise: Noise) -> tuple[LinearSystem, Array]:
        """Return the whitened system, and the matrix from data to its coordinates.

        Coordinates of a decomposition leave out what no density explains; where none is affordable,
        they are the whitened data.
        """
        system = make_system(self.operator_, "auto", noise.whitening)
        left = system.U.T if isinstance(system, DecomposedSystem) else np.eye(system.n_data)
        return system, noise.whitening.adjoint(left).T

    def _densities(self, codes: Array, g: Array, starts: Starts | None, noise: Noise) -> Array:
        rho = np.asarray(self.generator_.inverse_transform(codes), dtype=np.float64)
        if starts is not None:
            rho = starts.rho + self._share * (rho + starts.remainder - starts.rho)
        if not self.projection:
            return rho
        stated = noise.whitening, noise.scale_or(g, 0.0)
        return Projection().solve_whitened(self.operator_, g, rho, *stated).rho

    def _starts(self, X: Array, g: Array, noise_level: ArrayLike | None = None) -> Starts | None:
        """Encode the estimates at which the search starts, or return None."""
        if self._start_in_X:
            rho = X[:, : self.n_outputs_]
        elif hasattr(self, "init_"):
            rho = predicted_start(self.init_, g, noise_level)
        else:
            return None
        encode = getattr(self.generator_, "nearest_code", self.generator_.transform)
        codes = np.asarray(encode(rho), dtype=np.float64)
        return Starts(rho, codes, rho - self.generator_.inverse_transform(codes))

    def _has_start(self, n_columns: int) -> bool:
        """Return whether X has an estimate before the data."""
        n_data = n_columns - self.n_outputs_
        known = self._known_n_data()
        if self.init is None:
            if n_data < 1 or known == n_columns:
                raise ValueError(
                    f"init=None, but X with {n_columns} feature(s) has no start of "
                    f"{self.n_outputs_} cells before the data. Put an inverter before the "
                    "LatentInverter in a Pipeline, or give another 'init'."
                )
            return True
        return isinstance(self.init, str) and self.init == "auto" and 0 < n_data == known

    def _known_n_data(self) -> int | None:
        """Return the number of data of the operator, or of the paper's geometry, if known."""
        if isinstance(self.operator, ForwardOperator | JointOperator | CellValues):
            return clone(self.operator).fit(np.zeros((1, self.n_outputs_))).n_data_
        if self.operator is not None:
            matrix = getattr(self.operator, "matrix", None)
            return None if matrix is None else len(matrix)
        n = isqrt(self.n_outputs_)
        return 6 * n if n * n == self.n_outputs_ else None

    def _data(self, X: NDArray) -> NDArray:
        return X[:, self.n_outputs_ :] if self._start_in_X else X


def _blocks(n_samples: int) -> list[slice]:
    """Return slices of samples that bound the memory of their densities."""
    return [slice(i, i + _BLOCK) for i in range(0, n_samples, _BLOCK)]


def _joined(parts: tuple[Any, ...]) -> Any:
    """Return the rows of all parts, or None where parts have none."""
    return None if parts[0] is None else np.concatenate(parts)
