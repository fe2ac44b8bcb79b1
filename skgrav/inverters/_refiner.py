"""Refining: start from an estimate and solve for what the data still tell."""

from __future__ import annotations

import warnings
from difflib import get_close_matches
from numbers import Real
from typing import Any, ClassVar, Literal, Self, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import check_cv
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skgrav._checks import validate_data
from skgrav._constraints import HasMethods, Interval, StrOptions
from skgrav._typing import Array, Indices
from skgrav.inverters._base import InverterMixin, predicted_start
from skgrav.inverters._error_model import ErrorCorrection
from skgrav.inverters._plausible import warn_implausible
from skgrav.io import Estimator, Field, saved
from skgrav.noise import Noise, Whitening
from skgrav.operators import BaseOperator, is_lazy, resolve_operator
from skgrav.solvers import SOLVERS, Solver, SolverResult, warn_unfitted

#: Training samples that are refined in `fit` to record iterations and histories.
_N_RECORDED = 200


@saved
class Refiner(InverterMixin, BaseEstimator):
    """Meta-estimator that fits another inverter's estimate to the data.

    The start is the estimate that the previous step of a Pipeline passed on, or that of `init`.
    Solvers correct it within the range of A^T, so what the data cannot see stays as the start has
    it; only ``"bayes"`` corrects that, too, as far as it goes with what they see, and a
    `Projection` with bounds as far as these need.

    Parameters
    ----------
    solver : str or Solver, default="lgmres"
        Name out of ``"gd"``, ``"gmres"``, ``"lgmres"``, ``"icg"``, ``"cgls"``, ``"lsmr"``,
        ``"projection"``, ``"bayes"``, or a solver with parameters of its own, such as
        ``LGMRES(inner_m=30, outer_k=50)``. ``"bayes"`` weighs the correction by the covariance
        of the start's own errors, learned from estimates of sections that the start has not
        seen.
    init : estimator, "zero" or None, default=None
        Where the start comes from: an inverter that is cloned and fitted inside, zero everywhere,
        or the columns of X that a previous inverter put before the data.
    operator : ForwardOperator or MatrixOperator, default=None
        The physics. None takes the paper's geometry for these sizes if it reproduces the
        training pairs, and otherwise identifies the operator from them, with a warning.
    noise_level : float, default=None
        Standard deviation of the noise relative to the rms of each sample's own data without their
        trend: solvers stop, and the projection is filtered, at that misfit. None takes the
        uncertainty of the operator's survey; without one, data are fitted as if noise-free, with a
        warning. Give 0 for noise-free data.
    cv : int, cross-validation splitter or "prefit", default=5
        How held-out estimates are made of `init` for ``"bayes"``, as in StackingRegressor:
        clones are fitted to all folds but one and predict that. With ``"prefit"`` or a frozen
        `init` nothing is fitted, and the pairs must not be those it was trained on.
    random_state : int, RandomState instance or None, default=None
        Seed of the noise that training data get for ``"bayes"`` where they have less than is
        announced.

    Attributes
    ----------
    operator_ : BaseOperator
        The fitted operator in use.
    init_ : estimator
        The fitted start, if `init` is an estimator.
    solver_ : Solver or ErrorCorrection
        The solver in use, or what ``"bayes"`` has learned.
    n_iter_ : ndarray of shape (n_recorded,)
        Iterations of the first 200 training samples.
    residual_history_ : ndarray of shape (max(n_iter_) + 1, n_recorded)
        Their relative data misfit at the start and after each iteration.
    n_outputs_ : int
        Number of cells.
    n_features_in_ : int
        Number of columns of X.

    Raises
    ------
    ValueError
        If the solver is unknown, X holds no start, or the operator does not fit the pairs.

    Warns
    -----
    ConvergenceWarning
        If data are not fitted to their noise: since no density on the mesh or within bounds can,
        or since the iterations ran out.
    PhysicsWarning
        If the operator was identified, or reproduces the pairs only roughly.
    UserWarning
        If nothing tells the noise, or if ``"bayes"`` has to take the starts in X for held-out ones.

    See Also
    --------
    CNNInverter : The paper's start.
    skgrav.solvers : The solvers and their parameters.

    Notes
    -----
    ``"bayes"`` adds ``m + C A^T (A C A^T + S)^-1 (g - A (rho0 + m))`` with mean m and covariance C
    of the errors of held-out starts and covariance S of the noise. Each coordinate of the
    residual counts only by the share that lowers those errors, so that a start which has used the
    data up stays as it is.

    References
    ----------
    .. [1] Negahdari et al. (2025), arXiv:2510.09632, section III.

    Examples
    --------
    >>> from skgrav import Mesh, Refiner
    >>> from skgrav.datasets import make_gravity_dataset
    >>> from skgrav.metrics import relative_data_misfit
    >>> data = make_gravity_dataset(n_samples=20, mesh=Mesh.square(10), random_state=0)
    >>> refiner = Refiner("cgls", init="zero", operator=data.operator, noise_level=0.0)
    >>> rho = refiner.fit(data.data, data.target).predict(data.data)
    >>> relative_data_misfit(data.operator, rho, data.data) < 1e-3
    True
    """

    _parameter_constraints: dict[str, list[Any]] = {
        "solver": [str, Solver],
        "init": [HasMethods(["fit", "predict"]), StrOptions({"zero"}), None],
        "operator": [BaseOperator, None],
        "noise_level": [Interval(Real, 0, None, closed="left"), None],
        "cv": ["cv_object", StrOptions({"prefit"})],
        "random_state": ["random_state"],
    }
    _file_fields: ClassVar = (
        *InverterMixin._file_fields,
        Field("operator_", BaseOperator),
        Field("init_", Estimator, optional=True),
        Field("solver_", Solver | ErrorCorrection),
        Field("n_iter_", Indices, ("n_samples",)),
        Field("residual_history_", Array, ("n_iterations", "n_samples")),
    )

    def __init__(
        self,
        solver: str | Solver = "lgmres",
        *,
        init: BaseEstimator | Literal["zero"] | None = None,
        operator: BaseOperator | None = None,
        noise_level: float | None = None,
        cv: Any = 5,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.solver = solver
        self.init = init
        self.operator = operator
        self.noise_level = noise_level
        self.cv = cv
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit the start and check the physics against the training pairs.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_data) or (n_samples, n_cells + n_data)
            Gravity, component-major; where `init` is None, with the start before it.
        y : array-like of shape (n_samples, n_cells) or (n_samples,)
            Densities.

        Returns
        -------
        self : Refiner
            The fitted refiner.
        """
        self._validate_params()
        solver = None if self.solver == "bayes" else make_solver(self.solver)
        X, y = validate_data(
            self,
            X,
            y,
            ensure_min_samples=1 if solver else 2,  # one start has no spread of errors
        )
        self._y_ndim = y.ndim
        rho = y.reshape(len(y), -1)
        self.n_outputs_ = rho.shape[1]
        self._check_start(X)
        g = self._data(X)
        stated = Noise.of(self.operator, self.noise_level, n_data=g.shape[1]).relative(g)
        self.operator_ = resolve_operator(self.operator, rho, g, noise_level=stated)
        self.__dict__.pop("init_", None)  # of an earlier fit
        if self.init not in (None, "zero"):
            init: Any = self.init
            self.init_ = init if self.cv == "prefit" else clone(init).fit(g, y)
        if not Noise.of(self.operator_, self.noise_level).is_known:
            warnings.warn(
                "'noise_level' is None and the survey of 'operator' has no uncertainty: the data "
                "are fitted as if noise-free, and noise would become density. Give the noise "
                "relative to the rms of a sample's data, or 0 if there is none.",
                stacklevel=2,
            )
        self.solver_ = self._learn_errors(X, g, y) if solver is None else solver
        result = self._refine(X[:_N_RECORDED])
        self.n_iter_, self.residual_history_ = result.n_iter, result.residual_history
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
        self,
        X: ArrayLike,
        return_std: bool = False,
        *,
        noise_level: ArrayLike | None = None,
    ) -> Array | tuple[Array, Array]:
        """Estimate densities, and with ``"bayes"`` how uncertain they are.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features_in_)
            Gravity as in `fit`, with the start before it where `init` is None.
        return_std : bool, default=False
            Whether to return the standard deviation of the error of each cell, too.
        noise_level : float or array-like of shape (n_samples,), default=None
            Relative noise of each sample; None takes that of the estimator. An `init` whose
            `predict` has this argument gets it, too.

        Returns
        -------
        rho : ndarray of shape (n_samples, n_cells) or (n_samples,)
            Refined densities.
        std : ndarray of shape (n_samples, n_cells) or (n_samples,)
            Standard deviation of the errors that the correction leaves. Only if `return_std` is
            True.
        """
        if is_lazy(X):
            return self._lazily(self.predict, X, return_std=return_std, noise_level=noise_level)
        if not return_std:
            return self._as_fitted(self.refine(X, noise_level=noise_level).rho)
        check_is_fitted(self, "residual_history_")
        if not isinstance(self.solver_, ErrorCorrection):
            raise ValueError(
                f"return_std=True, but solver {self.solver!r} does not estimate the errors of the "
                "start; use Refiner('bayes')."
            )
        X = validate_data(self, X, reset=False)
        g = self._data(X)
        rho, std = self.solver_.correct(
            self.operator_, g, self._start(X, g, noise_level), *self._noise(g, noise_level)
        )
        return self._as_fitted(rho), self._as_fitted(std)

    def refine(self, X: ArrayLike, *, noise_level: ArrayLike | None = None) -> SolverResult:
        """Estimate densities, with the iterations, misfits and status of the solver.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features_in_)
            Gravity as in `fit`, with the start before it where `init` is None.
        noise_level : float or array-like of shape (n_samples,), default=None
            Relative noise of each sample; None takes that of the estimator.

        Returns
        -------
        result : SolverResult
            Densities `rho` of shape (n_samples, n_cells), `n_iter`, `residual_history` and
            `status` of each sample.
        """
        check_is_fitted(self, "operator_")
        X = validate_data(self, X, reset=False)
        result = self._refine(X, noise_level)
        g = self._data(X)
        noise = Noise.of(self.operator_, self.noise_level).at(noise_level)
        residual = g - self.operator_.transform(result.rho)
        chi = noise.chi_factor(residual, g)
        chi = np.zeros(len(g)) if chi is None else chi
        warn_unfitted(result.status, chi, residual, noise, self.operator_)
        warn_implausible(result.rho, self.operator_)
        return result

    def _refine(self, X: Array, noise_level: ArrayLike | None = None) -> SolverResult:
        g = self._data(X)
        return self.solver_.solve_whitened(
            self.operator_, g, self._start(X, g, noise_level), *self._noise(g, noise_level)
        )

    def _noise(self, g: Array, noise_level: ArrayLike | None = None) -> tuple[Whitening, Array]:
        """Return what whitens data, and the noise of each sample after it, 0 if not known."""
        noise = Noise.of(self.operator_, self.noise_level).at(noise_level)
        sigma = noise.scale(g)
        return noise.whitening, np.zeros(len(g)) if sigma is None else sigma

    def _start(self, X: Array, g: Array, noise_level: ArrayLike | None = None) -> Array:
        """Return the densities that refining starts from, (n_samples, n_cells)."""
        if self.init is None:
            return X[:, : self.n_outputs_]
        if self.init == "zero":
            return np.zeros((len(X), self.n_outputs_))
        return predicted_start(self.init_, g, noise_level)

    def _learn_errors(self, X: Array, g: Array, y: Array) -> ErrorCorrection:
        """Learn the errors of starts from estimates that have not seen their sections."""
        rho = y.reshape(len(y), -1)
        if self.init is None:
            warnings.warn(
                "solver 'bayes' takes the starts in X for held-out ones. A previous step of a "
                "Pipeline has seen these pairs, and its errors look smaller than they are: give "
                "the inverter as 'init', which is cross-fitted.",
                stacklevel=3,
            )
            start = self._start(X, g)
        else:
            rng = check_random_state(self.random_state)
            noise = Noise.of(self.operator_, self.noise_level)
            missing, _ = noise.missing(g - self.operator_.transform(rho), g)
            noisy = g + missing * rng.normal(size=g.shape)
            start, g = self._held_out_start(g, y, noisy), noisy
        return ErrorCorrection.learn(self.operator_, start, rho, g, *self._noise(g))

    def _held_out_start(self, g: Array, y: Array, noisy: Array) -> Array:
        """Return starts of noisy data from estimators that have not seen these pairs.

        They are fitted to the data as they came, since so is the one whose errors they stand for.
        """
        if self.init == "zero" or self.cv == "prefit":
            return self._start(noisy, noisy)
        start = np.empty((len(g), self.n_outputs_))
        n_seen = np.zeros(len(g), dtype=int)
        for train, test in check_cv(self.cv, y).split(g, y):
            fold = clone(self.init).fit(g[train], y[train])
            start[test] = np.reshape(fold.predict(noisy[test]), (len(test), -1))
            n_seen[test] += 1
        if (n_seen != 1).any():
            raise ValueError(
                f"'cv' is {self.cv!r}, which holds {np.sum(n_seen != 1)} of {len(g)} pairs out "
                "never or more than once; give a number of folds or a splitter into parts, such "
                "as KFold."
            )
        return start

    def _check_start(self, X: Array) -> None:
        if self.init is not None:
            return
        n_data = X.shape[1] - self.n_outputs_
        known = getattr(self.operator, "survey", None)
        if n_data < 1 or (known is not None and X.shape[1] == known.n_data):
            raise ValueError(
                f"init=None, but X with {X.shape[1]} feature(s) holds no start of "
                f"{self.n_outputs_} cells beside the data. Put an inverter before the Refiner in a "
                "Pipeline, or give 'init', an estimator or 'zero'."
            )

    def _data(self, X: NDArray) -> NDArray:
        return X[:, self.n_outputs_ :] if self.init is None else X


def make_solver(solver: str | Solver) -> Solver:
    """Return a solver of that name with its defaults, or a copy of the one given."""
    if isinstance(solver, Solver):
        return clone(solver)
    if solver not in SOLVERS:
        names = [*SOLVERS, "bayes"]
        close = get_close_matches(solver.lower(), names, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"'solver' is {solver!r}.{hint} Allowed are {', '.join(map(repr, names))}."
        )
    return SOLVERS[solver]()
