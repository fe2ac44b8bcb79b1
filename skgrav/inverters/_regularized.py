"""Base class of inverters that weigh the misfit against a model norm."""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, Self, overload

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import Tags, check_random_state, check_scalar
from sklearn.utils.validation import check_is_fitted

from skgrav._checks import validate_data
from skgrav._constraints import WHOLE, Interval, StrOptions, checked
from skgrav._typing import Array
from skgrav.inverters._base import InverterMixin
from skgrav.inverters._parts import PartsFit
from skgrav.inverters._plausible import warn_implausible, warn_of_data
from skgrav.inverters._reference import checked_cell_weights, checked_reference
from skgrav.inverters._regularized_result import (
    Departure,
    Problem,
    RegularizedResult,
    warn_contradicted,
)
from skgrav.inverters._uncertainty import N_DRAWS, Resolution
from skgrav.io import Field
from skgrav.noise import Noise, Whitening, no_noise, noise_with_rounding
from skgrav.operators import BaseOperator, is_lazy, operator_of_data, resolve_operator
from skgrav.solvers import (
    DEPTH_WEIGHTING,
    Bounds,
    Projection,
    Status,
    check_bounds,
    warn_below_noise,
    warn_unfitted,
)


class RegularizedInverter(InverterMixin, BaseEstimator, ABC):
    """Base class of inverters that weigh the misfit against a model norm."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "depth_weighting": DEPTH_WEIGHTING,
        "reference": [StrOptions({"mean"}), Real, "array-like", None],
        "bounds": ["array-like", None],
        "cell_weights": ["array-like", None],
        "noise_level": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"}), None],
        "operator": [BaseOperator, None],
        "max_iter": [Interval(Real, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="neither")],
    }
    _file_fields: ClassVar[tuple[Field, ...]] = (
        *InverterMixin._file_fields,
        Field("operator_", BaseOperator),
        Field("reference_", Array, ("n_outputs_",)),
        Field("_bounds", Bounds | None, ("n_outputs_",)),
        Field("_cell_weights", Array | None, ("n_outputs_",), optional=True),
        Field("_data_rms", float),
        Field("n_iter_", int),
    )

    alpha: Any
    reference: Any
    bounds: Any
    cell_weights: Any
    noise_level: Any
    operator: Any
    _cell_weights: Array | None = None
    #: Whether draws are about the estimate, so that their misfit is larger.
    _about_estimate: ClassVar[bool] = False

    def fit(self, X: ArrayLike, y: ArrayLike | None = None) -> Self:
        """Prepare the inversion that `predict` performs.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_data)
            Gravity, component-major.
        y : array-like of shape (n_samples, n_cells) or (n_samples,), default=None
            Densities, against which the operator is checked. May be None if `operator` is given or
            the number of data is that of the paper's geometry.

        Returns
        -------
        self : object
            The fitted inverter.
        """
        self._validate_params()
        if y is None:
            X = validate_data(self, X)
            self._y_ndim, rho = 2, None
            self.operator_ = operator_of_data(self.operator, X.shape[1])
        else:
            X, y = validate_data(self, X, y)
            self._y_ndim, rho = y.ndim, y.reshape(len(y), -1)
            self.operator_ = resolve_operator(self.operator, rho, X, noise_level=self.noise_level)
        self.n_outputs_ = self.operator_.n_cells_
        self._bounds = check_bounds(self.bounds, self.n_outputs_)
        self._cell_weights = checked_cell_weights(self.cell_weights, self.n_outputs_)
        self.reference_ = checked_reference(self.reference, rho, self.n_outputs_)
        noise = self._noise(None)
        warn_of_data(X, self.operator_)
        self._data_rms = float(np.sqrt(np.mean(noise.rms(X) ** 2))) or 1.0
        self._prepare(noise.whitening)
        self.n_iter_ = 1
        return self

    @abstractmethod
    def _prepare(self, whitening: Whitening) -> None:
        """Prepare the inversion of data with a whitening."""

    @abstractmethod
    def _solve(self, white: Array, sigma: Array, choice: str | float) -> Departure:
        """Fit whitened data by departures from the reference.

        `choice` is alpha, or the name of its choice; damping is alpha times `sigma` squared.
        """

    def _trend_spread(self, damping: Array, sigma: Array, model_norm: Array) -> Array:
        """Return the covariance of the trend due to that of the densities, NaN if not known."""
        k = len(self._noise(None).trend_names)
        return np.full((len(sigma), k, k), np.nan)

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
            Relative noise of each sample; None takes the parameter of the estimator.

        Returns
        -------
        rho : ndarray of shape (n_samples, n_cells) or (n_samples,)
            Densities.
        std : ndarray of shape (n_samples, n_cells) or (n_samples,)
            Root mean square difference of the draws of `sample_y` from `rho`. Without bounds in
            closed form where the operator is decomposed, and to a few hundredths where it is not
            and there are at most 4,000 data; otherwise from 50 draws, right to about a tenth. Only
            if `return_std` is True.
        """
        if is_lazy(X):
            return self._lazily(self.predict, X, return_std=return_std, noise_level=noise_level)
        problem = self._solved(X, noise_level)
        rho = self._result(problem, spread=False).rho
        if not return_std:
            return self._as_fitted(rho)
        std = self._std(problem.white, self._sigma(problem), problem.solved, rho)
        return self._as_fitted(rho), self._as_fitted(std)

    @checked(n_samples=[WHOLE], random_state=["random_state"])
    def sample_y(
        self,
        X: ArrayLike,
        n_samples: int = 1,
        random_state: int | np.random.RandomState | None = 0,
        *,
        noise_level: ArrayLike | None = None,
    ) -> Array:
        """Draw densities that fit the data to their noise, from the posterior of the model norm.

        A draw from the prior whose logarithm is the model norm is corrected by the estimate from
        the misfit of its own noisy data: one solve each. Within bounds, perturbed data are fitted
        by departures from a perturbed reference.

        Parameters
        ----------
        X : array-like of shape (n_samples_X, n_data)
            Gravity, component-major.
        n_samples : int, default=1
            Number of draws for each row of `X`.
        random_state : int, RandomState instance or None, default=0
            Seed of the draws.
        noise_level : float or array-like of shape (n_samples_X,), default=None
            Relative noise of each sample; None takes the parameter of the estimator.

        Returns
        -------
        rho : ndarray of shape (n_samples_X, n_cells, n_samples) or (n_samples_X, n_samples)
            Draws. Their spread is the uncertainty of the densities if the model norm describes the
            geology, and not otherwise.
        """
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
        problem = self._solved(X, noise_level)
        self._result(problem, spread=False)  # warns of data that are not fitted
        rng = check_random_state(random_state)
        sigma = self._sigma(problem)
        departures = self._draws(problem.white, sigma, problem.solved, n_samples, rng)
        drawn = self._within_bounds(self.reference_ + np.moveaxis(departures, 1, 2))
        draws = np.moveaxis(self._fitted(problem, drawn), 2, 1)
        return draws[:, 0] if self._y_ndim == 1 else draws

    def resolution(self, X: ArrayLike, *, noise_level: ArrayLike | None = None) -> Resolution:
        """Compute the model resolution at the alpha of each sample.

        Without bounds, as if the estimate were linear in the data.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_data)
            Gravity, component-major.
        noise_level : float or array-like of shape (n_samples,), default=None
            Relative noise of each sample; None takes the parameter of the estimator.

        Returns
        -------
        resolution : Resolution
            The diagonal of the model resolution matrix, its columns, and the depth of
            investigation.
        """
        problem = self._solved(X, noise_level)
        self._result(problem, spread=False)  # warns of data that are not fitted
        # A copy, as another fit must not change what was found by this one.
        estimates = partial(copy(self)._estimates_of, problem.solved)
        # Estimates from two constant references at the same alpha differ by this share.
        doi = np.abs(1.0 - estimates(np.ones((1, self.n_outputs_)))[:, 0])
        return Resolution(self._resolved(problem.solved), doi, estimates)

    def invert(self, X: ArrayLike, *, noise_level: ArrayLike | None = None) -> RegularizedResult:
        """Estimate densities, with alpha, misfit and trend of each sample.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_data)
            Gravity, component-major.
        noise_level : float or array-like of shape (n_samples,), default=None
            Relative noise of each sample; None takes the parameter of the estimator.

        Returns
        -------
        result : RegularizedResult
            Densities `rho` of shape (n_samples, n_cells), and `alpha`, `misfit`, `model_norm`,
            `n_iter`, `status`, `chi_factor` and `trend` of each sample.
        """
        return self._invert(X, noise_level)

    def _invert(
        self,
        X: ArrayLike,
        noise_level: ArrayLike | None,
        *,
        spread: bool = True,
        start: Array | None = None,
    ) -> RegularizedResult:
        return self._result(self._solved(X, noise_level, start), spread=spread)

    def _solved(
        self, X: ArrayLike, noise_level: ArrayLike | None, start: Array | None = None
    ) -> Problem:
        """Fit data by departures from the reference, or from that of each sample, `start`."""
        check_is_fitted(self, "n_iter_")
        X = validate_data(self, X, reset=False)
        noise = self._noise(noise_level)
        sigma, choice = self._scale(noise, X), self.alpha
        if choice == "auto":
            choice = "discrepancy" if noise.is_known else "gcv"
        elif choice == "discrepancy" and not noise.is_known:
            raise ValueError(no_noise("alpha='discrepancy'", "alpha='auto'"))
        reference = self.reference_[None] if start is None else start
        white = noise.whitening(X - self.operator_.transform(reference))
        if choice == "discrepancy" and start is None:
            warn_below_noise(white, sigma)
        solved = self._solve_from(reference, white, sigma, choice)
        parts = PartsFit(self.operator_, noise)
        if choice == "discrepancy" and parts.applies:
            self._fit_parts(parts, reference, white, X, sigma, solved)
        return Problem(X, noise, reference, white, sigma, choice, solved)

    def _result(self, problem: Problem, *, spread: bool) -> RegularizedResult:
        """Return the estimates with their misfits, and warn of what is wrong with them."""
        X, noise, reference, _, sigma, choice, solved = problem
        departure, model_norm, damping, n_iter, status, found, iterations = solved
        rho = self._within_bounds(reference + departure)
        residual = X - self.operator_.transform(rho)
        misfit = np.linalg.norm(noise.whitening(residual), axis=1) / sigma
        chi = misfit**2 / noise.whitening.n_white
        warn_unfitted(status, chi, residual, noise, self.operator_)
        if noise.is_known and choice in ("gcv", "lcurve"):
            stated = noise.scale_or(X, 0.0) > 0  # noise of 0 counts as rounding
            warn_contradicted(choice, chi[stated & (status == Status.REACHED)])
        warn_implausible(rho, self.operator_)
        known = of_trend = None
        if noise.is_known and noise.has_trend:
            known = sigma
            # By products it takes as long as some inversions.
            if spread:
                of_trend = self._trend_spread(damping, sigma, model_norm)
                of_trend[np.isinf(damping)] = np.nan  # the reference shows no variance of the prior
        return RegularizedResult(
            rho=rho,
            alpha=damping / sigma**2,
            misfit=misfit,
            model_norm=model_norm,
            n_iter=n_iter,
            status=status,
            sigma=found if noise.is_known or isinstance(choice, str) else np.full(len(X), np.nan),
            chi_factor=chi if noise.is_known else np.full(len(X), np.nan),
            trend=noise.trend(residual, known, spread=of_trend),
            iterations=iterations,
        )

    def _within_bounds(self, rho: Array) -> Array:
        """Return densities, whose last axis is that of cells, without what rounding exceeds."""
        return rho if self._bounds is None else np.clip(rho, *self._bounds)

    def _sigma(self, problem: Problem) -> Array:
        """Return the noise of each sample as known, as found with alpha, or of the residuals."""
        if problem.noise.is_known or isinstance(problem.choice, str):
            return problem.solved.sigma
        return self._residual_noise(problem.white, problem.solved)

    def _residual_noise(self, white: Array, solved: Departure) -> Array:
        """Return the noise that residuals show where neither it nor a choice of alpha is known."""
        fitted = self._noise(None).whitening(self.operator_.products_.forward(solved.rho))
        return np.sqrt(np.mean((white - fitted) ** 2, axis=1))

    def _draws(
        self,
        white: Array,
        sigma: Array,
        solved: Departure,
        n_draws: int,
        rng: np.random.RandomState,
    ) -> Array:
        """Return draws of departures from the posterior, (n_samples, n_cells, n_draws).

        `sigma` is the noise of each sample, `solved` its estimate.
        """
        raise ValueError(
            f"{type(self).__name__} has no draws or standard deviations: its estimate does not "
            "determine the spread of densities that are as likely. Take TikhonovInverter, or "
            "SparseInverter with mixed norms."
        )

    def _fitted(self, problem: Problem, draws: Array) -> Array:
        """Return draws (n_samples, n_draws, n_cells) fitted to data that they miss.

        Those that state less noise than the rounding of stored data, with which they are inverted,
        and those of draws about an estimate whose misfit is that of the noise already.
        """
        X, noise, sigma = problem.X, problem.noise, problem.sigma
        if not noise.is_known:
            return draws
        stated = noise.scale_or(X, 0.0)
        projection = Projection(chi_factor=1.0, bounds=self._bounds)
        for k, rho in enumerate(draws):
            g = np.repeat(X[k : k + 1], len(rho), axis=0)
            white = noise.whitening(g - self.operator_.transform(rho))
            size2 = np.mean(white**2, axis=1)
            if stated[k] < sigma[k]:
                wanted = np.full(len(rho), stated[k])
            elif self._about_estimate and size2.mean() > stated[k] ** 2:
                wanted = stated[k] * np.sqrt(size2 / size2.mean())
            else:
                continue
            draws[k] = projection.solve_whitened(
                self.operator_, g, rho, noise.whitening, wanted
            ).rho
        return draws

    def _std(self, white: Array, sigma: Array, solved: Departure, rho: Array) -> Array:
        """Return the rms difference of draws from estimated densities."""
        std = np.empty_like(rho)
        for i in range(len(white)):
            one = slice(i, i + 1)
            # The same seed for each sample, so that none depends on the others.
            rng = np.random.RandomState(0)
            draws = self._draws(white[one], sigma[one], solved.of(i), N_DRAWS, rng)[0]
            std[i] = np.sqrt(
                np.mean((self._within_bounds(self.reference_ + draws.T) - rho[i]) ** 2, axis=0)
            )
        return std

    def _linear_estimate(self, solved: Departure, i: int, data: Array) -> Array:
        """Return the departures (n, n_cells) of whitened data (n, n_white).

        By the map of sample i, linear as it is at its solution.
        """
        raise ValueError(
            f"{type(self).__name__} has no resolution: its model norm weighs cells by their "
            "densities, so its estimate is not linear in the data. Take TikhonovInverter."
        )

    def _estimates_of(self, solved: Departure, rho: Array) -> Array:
        """Return the estimates of the data of densities (n, n_cells), (n_samples, n, n_cells)."""
        data = self._noise(None).whitening(self.operator_.products_.forward(rho))
        n = len(solved.rho)
        found = [self._linear_estimate(solved, i, data) for i in range(n)]
        return np.array(found).reshape(n, *rho.shape)

    def _resolved(self, solved: Departure) -> Array:
        """Return the diagonal of the model resolution matrix of each sample, cell by cell."""
        cells = np.eye(self.n_outputs_)
        found = [self._estimates_of(solved, cells[k : k + 1])[:, 0, k] for k in range(len(cells))]
        return np.transpose(found)

    def _solve_from(
        self, reference: Array, white: Array, sigma: Array, choice: str | float
    ) -> Departure:
        """Fit whitened data by departures from one reference, or from one of each sample."""
        if self._bounds is None or np.array_equal(reference, self.reference_[None]):
            return self._solve(white, sigma, choice)
        found = []
        for k in range(len(white)):
            one = copy(self)
            one.reference_ = reference[k]  # from which bounds are counted
            found.append(one._solve(white[k : k + 1], sigma[k : k + 1], choice))
        courses = [course for one in found for course in one.iterations or ()]
        rows = zip(*(one[:-1] for one in found), strict=True)
        columns: list[Any] = [np.concatenate(row) for row in rows]
        return Departure(*[*columns, courses or None])

    def _fit_parts(
        self,
        parts: PartsFit,
        reference: Array,
        white: Array,
        X: Array,
        sigma: Array,
        solved: Departure,
    ) -> None:
        """Lower alpha in `solved` where a part of a joint operator is not fitted to its noise."""
        reference = np.broadcast_to(reference, solved.rho.shape)

        def chi_of(departure: Array, k: Any) -> Array:
            rho = reference[k] + departure
            return parts.chi(X[k] - self.operator_.transform(rho), sigma[k])

        chi = chi_of(solved.rho, slice(None))
        searched = (solved.status == Status.REACHED) & np.isfinite(solved.damping)
        missed = parts.missed(chi) & searched[:, None]
        for k in np.flatnonzero(missed.any(axis=1)):
            one = slice(k, k + 1)

            def trial(alpha: float, one: slice = one) -> tuple[Any, float]:
                found = self._solve_from(reference[one], white[one], sigma[one], alpha)
                return found, float(chi_of(found.rho, one).max())

            found = parts.search(solved.damping[k] / sigma[k] ** 2, chi[k].max(), trial)
            if found is not None:
                solved.rho[one], solved.model_norm[one] = found.rho, found.model_norm
                solved.damping[one] = found.damping
                solved.n_iter[one] += found.n_iter
                if solved.iterations is not None:
                    solved.iterations[k] = found.iterations[0]
                missed[k] = False
        parts.warn(missed, chi)

    def _noise(self, noise_level: ArrayLike | None) -> Noise:
        return Noise.of(self.operator_, self.noise_level).at(noise_level)

    def _scale(self, noise: Noise, X: Array) -> Array:
        """Return the noise of each sample, at least its rounding; 1 where not known."""
        sigma = noise.scale_or(X, 1.0)
        if noise.is_relative:
            return noise_with_rounding(sigma, noise.rms(X), self._data_rms)
        return sigma

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        return tags
