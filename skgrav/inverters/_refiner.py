"""Refining: correction of an estimate so that it fits the data."""

from __future__ import annotations

import warnings
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, Self, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import check_cv
from sklearn.utils import check_random_state, check_scalar
from sklearn.utils.validation import check_is_fitted

from skgrav._checks import validate_data
from skgrav._constraints import WHOLE, HasMethods, Interval, StrOptions, checked
from skgrav._typing import Array, Indices
from skgrav._warnings import warn
from skgrav.inverters._base import InverterMixin, predicted_start, warn_unknown_noise
from skgrav.inverters._error_model import ErrorCorrection
from skgrav.inverters._plausible import IMPLAUSIBLE, warn_implausible
from skgrav.inverters._regularized import RegularizedInverter
from skgrav.inverters._tikhonov import TikhonovInverter
from skgrav.io import Estimator, Field, saved
from skgrav.noise import Noise, Whitening
from skgrav.operators import BaseOperator, is_lazy, resolve_operator
from skgrav.solvers import SOLVERS, Solver, SolverResult, warn_unfitted

#: Median chi factor above which the errors that "bayes" learned do not explain the data.
_MISSED = 2.0

#: Training samples refined in `fit`, for `n_iter_` and `residual_history_`.
_N_RECORDED = 200


@saved
class Refiner(InverterMixin, BaseEstimator):
    """Meta-estimator that fits another inverter's estimate to the data.

    The start is the estimate of the previous step of a Pipeline, or of `init`. Solvers correct it
    within the range of A^T and keep its part in the null space of A; ``"bayes"`` corrects that part
    as well, as far as it is correlated with the data, and a `Projection` with bounds as far as
    these require. `TikhonovInverter` and `SparseInverter` add the departure of least model norm
    that fits the data to their noise, smooth or compact, with the start as reference.

    Parameters
    ----------
    solver : str, Solver, TikhonovInverter or SparseInverter, default="lgmres"
        Name out of ``"gd"``, ``"gmres"``, ``"lgmres"``, ``"icg"``, ``"cgls"``, ``"lsmr"``,
        ``"projection"``, ``"tikhonov"``, ``"bayes"``, or a solver with other parameters, such as
        ``LGMRES(inner_m=30, outer_k=50)`` or ``TikhonovInverter(order=1, bounds=(0, 300))``, whose
        bounds hold for densities. ``"bayes"`` corrects by the covariance of the errors of the
        start, learned from held-out estimates.
    init : estimator, "zero" or None, default=None
        The start: an inverter, which is cloned and fitted inside; zero; or, with None, the columns
        before the data in X, from the previous step of a Pipeline.
    operator : ForwardOperator or MatrixOperator, default=None
        The physics. None takes the paper's geometry if it reproduces the training pairs, and
        otherwise identifies the operator from them, with a warning.
    noise_level : float, default=None
        Standard deviation of the noise relative to the rms of each sample's own data without their
        trend, to which the data are fitted. None takes the uncertainty of the operator's survey;
        without one, data are fitted as if noise-free, with a warning. Give 0 for noise-free data.
    cv : int, cross-validation splitter or "prefit", default=5
        Folds of the held-out estimates of `init` for ``"bayes"``, as in StackingRegressor. With
        ``"prefit"`` or a frozen `init` nothing is fitted, and the pairs must not be its training
        pairs.
    store_covariance : bool, default=False
        Whether to keep a factor of the covariance of errors, up to n_cells**2 numbers, for
        `sample_y` with ``"bayes"``.
    random_state : int, RandomState instance or None, default=None
        Seed of the noise added to training data for ``"bayes"`` where they have less than stated.

    Attributes
    ----------
    operator_ : BaseOperator
        The fitted operator in use.
    init_ : estimator
        The fitted start, if `init` is an estimator.
    solver_ : Solver, TikhonovInverter, SparseInverter or ErrorCorrection
        The solver in use, or the correction learned by ``"bayes"``.
    n_iter_ : ndarray of shape (n_recorded,)
        Number of iterations of the first 200 training samples.
    residual_history_ : ndarray of shape (max(n_iter_) + 1, n_recorded)
        Their relative data misfit at the start and after each iteration.
    n_outputs_ : int
        Number of cells.
    n_features_in_ : int
        Number of columns of X.

    Raises
    ------
    ValueError
        If the solver is unknown or has parameters that the refiner sets, X has no start before the
        data, or the operator does not fit the pairs.

    Warns
    -----
    ConvergenceWarning
        If data are not fitted to their noise.
    PhysicsWarning
        If the operator was identified, or reproduces the pairs only roughly.
    UserWarning
        If no noise level is given, or if ``"bayes"`` treats the starts in X as held-out ones.

    See Also
    --------
    CNNInverter : Start in the paper.
    skgrav.solvers : The solvers and their parameters.

    Notes
    -----
    ``"bayes"`` adds ``m + C A^T (A C A^T + S)^-1 (g - A (rho0 + m))`` with mean m and covariance C
    of the errors of held-out starts and covariance S of the noise. Each coordinate of the residual
    is multiplied by the share that reduces those errors most, so that a start without errors that
    the data could correct stays unchanged.

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
        "solver": [str, Solver, RegularizedInverter],
        "init": [HasMethods(["fit", "predict"]), StrOptions({"zero"}), None],
        "operator": [BaseOperator, None],
        "noise_level": [Interval(Real, 0, None, closed="left"), None],
        "cv": ["cv_object", StrOptions({"prefit"})],
        "store_covariance": ["boolean"],
        "random_state": ["random_state"],
    }
    _file_fields: ClassVar = (
        *InverterMixin._file_fields,
        Field("operator_", BaseOperator),
        Field("init_", Estimator, optional=True),
        Field("solver_", Solver | ErrorCorrection | RegularizedInverter),
        Field("n_iter_", Indices, ("n_samples",)),
        Field("residual_history_", Array, ("n_iterations", "n_samples")),
    )

    def __init__(
        self,
        solver: str | Solver | RegularizedInverter = "lgmres",
        *,
        init: BaseEstimator | Literal["zero"] | None = None,
        operator: BaseOperator | None = None,
        noise_level: float | None = None,
        cv: Any = 5,
        store_covariance: bool = False,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.solver = solver
        self.init = init
        self.operator = operator
        self.noise_level = noise_level
        self.cv = cv
        self.store_covariance = store_covariance
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit the start, and check the operator against the training pairs.

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
        least = 1 if solver else 2  # one start has no variance of errors
        X, y = validate_data(self, X, y, ensure_min_samples=least)
        self._y_ndim = y.ndim
        rho = y.reshape(len(y), -1)
        self.n_outputs_ = rho.shape[1]
        self._check_start(X)
        g = self._data(X)
        self.operator_ = resolve_operator(self.operator, rho, g, noise_level=self.noise_level)
        self.__dict__.pop("init_", None)  # of an earlier fit
        if self.init not in (None, "zero"):
            init: Any = self.init
            self.init_ = init if self.cv == "prefit" else clone(init).fit(g, y)
        if not isinstance(solver, RegularizedInverter) or solver.alpha in ("auto", "discrepancy"):
            warn_unknown_noise(Noise.of(self.operator_, self.noise_level))
        self.solver_: Solver | ErrorCorrection | RegularizedInverter
        if solver is None:
            self.solver_ = self._learn_errors(X, g, y)
        elif isinstance(solver, RegularizedInverter):
            self.solver_ = self._fitted(solver, g)
        else:
            self.solver_ = solver
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
        self, X: ArrayLike, return_std: bool = False, *, noise_level: ArrayLike | None = None
    ) -> Array | tuple[Array, Array]:
        """Estimate densities, and with ``"bayes"`` their standard deviations.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features_in_)
            Gravity as in `fit`, with the start before it where `init` is None.
        return_std : bool, default=False
            Whether to return the standard deviation of the error of each cell as well.
        noise_level : float or array-like of shape (n_samples,), default=None
            Relative noise of each sample; None takes the parameter of the estimator. Passed on to
            an `init` whose `predict` has this argument.

        Returns
        -------
        rho : ndarray of shape (n_samples, n_cells) or (n_samples,)
            Refined densities.
        std : ndarray of shape (n_samples, n_cells) or (n_samples,)
            Standard deviation of the remaining errors. Only if `return_std` is True.
        """
        if is_lazy(X):
            return self._lazily(self.predict, X, return_std=return_std, noise_level=noise_level)
        if not return_std:
            return self._as_fitted(self.refine(X, noise_level=noise_level).rho)
        correction = self._error_correction("return_std=True")
        rho, std = correction.correct(self.operator_, *self._starting(X, noise_level))
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
        """Draw refined densities with ``"bayes"``, as GaussianProcessRegressor does.

        A draw of the errors of the start is corrected from the residual of its own noisy data
        (Matheron's rule). Needs ``store_covariance=True``.

        Parameters
        ----------
        X : array-like of shape (n_samples_X, n_features_in_)
            Gravity as in `fit`, with the start before it where `init` is None.
        n_samples : int, default=1
            Number of draws for each row of `X`.
        random_state : int, RandomState instance or None, default=0
            Seed of the draws.
        noise_level : float or array-like of shape (n_samples_X,), default=None
            Relative noise of each sample; None takes the parameter of the estimator.

        Returns
        -------
        rho : ndarray of shape (n_samples_X, n_cells, n_samples) or (n_samples_X, n_samples)
            Draws, each of which fits the data to their noise. Their errors are Gaussian.
        """
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
        correction = self._error_correction("sample_y")
        if correction.prior.factor is None:
            raise ValueError(
                "'store_covariance' is False, but draws need the covariance of errors. Set it to "
                "True and fit again."
            )
        rng = check_random_state(random_state)
        start = self._starting(X, noise_level)
        draws = correction.draws(self.operator_, *start, n_samples, rng)
        return draws[:, 0] if self._y_ndim == 1 else draws

    @property
    def _has_std(self) -> bool:
        """Whether the solver estimates errors."""
        return isinstance(self.solver_, ErrorCorrection)

    def _error_correction(self, wanted: str) -> ErrorCorrection:
        """Return the correction learned by "bayes", or refuse what needs it."""
        check_is_fitted(self, "residual_history_")
        if not self._has_std:
            raise ValueError(
                f"{wanted}, but solver {self.solver!r} does not estimate errors. Use "
                "Refiner('bayes')."
            )
        return self.solver_

    def _starting(
        self, X: ArrayLike, noise_level: ArrayLike | None
    ) -> tuple[Array, Array, Whitening, Array]:
        """Return valid data, their start, and their noise."""
        X = validate_data(self, X, reset=False)
        g = self._data(X)
        return g, self._start(X, g, noise_level), *self._noise(g, noise_level)

    def refine(self, X: ArrayLike, *, noise_level: ArrayLike | None = None) -> SolverResult:
        """Estimate densities, with the iterations, misfits and status of the solver.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features_in_)
            Gravity as in `fit`, with the start before it where `init` is None.
        noise_level : float or array-like of shape (n_samples,), default=None
            Relative noise of each sample; None takes the parameter of the estimator.

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
        noise = Noise.of(self.operator_, self.noise_level).at(noise_level, estimable=False)
        residual = g - self.operator_.transform(result.rho)
        chi = noise.chi_factor(residual, g)
        chi = np.zeros(len(g)) if chi is None else chi  # is not reported
        warn_unfitted(result.status, chi, residual, noise, self.operator_)
        if isinstance(self.solver_, ErrorCorrection) and _MISSED < np.median(chi) < np.inf:
            warn(
                f"solver 'bayes' leaves a chi factor of {np.median(chi):.2g}: the errors of the "
                "start that 'fit' learned are too small for these data. Give 'init' as an "
                "estimator that is cross-fitted, or fit to pairs that it was not trained on."
            )
        warn_implausible(result.rho, self.operator_)
        return result

    def _refine(self, X: Array, noise_level: ArrayLike | None = None) -> SolverResult:
        g = self._data(X)
        start, noise = self._start(X, g, noise_level), self._noise(g, noise_level)
        if isinstance(self.solver_, RegularizedInverter):
            return self._depart(self.solver_, g, start, noise[0], noise_level)
        return self.solver_.solve_whitened(self.operator_, g, start, *noise)

    def _fitted(self, inverter: RegularizedInverter, g: Array) -> RegularizedInverter:
        """Return the inverter of departures, fitted with the operator and the noise level."""
        for name in ("operator", "noise_level", "reference"):
            if getattr(inverter, name) is not None:
                raise ValueError(
                    f"'solver' is a {type(inverter).__name__} with {name!r}; its reference is the "
                    "start, and operator and noise level are those of the Refiner. Give these to "
                    "the Refiner."
                )
        level = self.noise_level
        if inverter.alpha in ("auto", "discrepancy"):
            known = Noise.of(self.operator_, level).is_known
            level = level if known else 0.0  # as other solvers do
        return inverter.set_params(operator=self.operator_, noise_level=level).fit(g)

    def _depart(
        self,
        inverter: RegularizedInverter,
        g: Array,
        start: Array,
        whitening: Whitening,
        noise_level: ArrayLike | None,
    ) -> SolverResult:
        """Add departures of least model norm to the start."""
        with warnings.catch_warnings():
            # `refine` tells these in the words of all solvers.
            warnings.simplefilter("ignore", ConvergenceWarning)
            warnings.filterwarnings("ignore", f".*{IMPLAUSIBLE}")
            found = inverter._invert(g, noise_level, spread=False, start=start)
        norm = np.linalg.norm(whitening(g), axis=1)
        misfits = [
            np.linalg.norm(whitening(g - self.operator_.transform(rho)), axis=1)
            for rho in (start, found.rho)
        ]
        history = np.divide(misfits, norm, out=np.zeros((2, len(g))), where=norm > 0)
        return SolverResult(found.rho, found.n_iter, history, found.status)

    def _noise(self, g: Array, noise_level: ArrayLike | None = None) -> tuple[Whitening, Array]:
        """Return the whitening, and the whitened noise of each sample, 0 if not known."""
        noise = Noise.of(self.operator_, self.noise_level).at(noise_level, estimable=False)
        return noise.whitening, noise.scale_or(g, 0.0)

    def _start(self, X: Array, g: Array, noise_level: ArrayLike | None = None) -> Array:
        """Return the starting densities, (n_samples, n_cells)."""
        if self.init is None:
            return X[:, : self.n_outputs_]
        if self.init == "zero":
            return np.zeros((len(X), self.n_outputs_))
        return predicted_start(self.init_, g, noise_level)

    def _learn_errors(self, X: Array, g: Array, y: Array) -> ErrorCorrection:
        """Learn the errors of starts from held-out estimates."""
        rho = y.reshape(len(y), -1)
        if self.init is None:
            warn(
                "solver 'bayes' treats the starts in 'X' as held-out ones. In a Pipeline the "
                "previous step was fitted to these pairs, so that its errors seem too small. Give "
                "the inverter as 'init', which is cross-fitted."
            )
            start = self._start(X, g)
        else:
            rng = check_random_state(self.random_state)
            noise = Noise.of(self.operator_, self.noise_level)
            missing, _ = noise.missing(g - self.operator_.transform(rho), g)
            noisy = g + missing * rng.normal(size=g.shape)
            start, g = self._held_out_start(g, y, noisy), noisy
        return ErrorCorrection.learn(
            self.operator_, start, rho, g, *self._noise(g), drawable=self.store_covariance
        )

    def _held_out_start(self, g: Array, y: Array, noisy: Array) -> Array:
        """Return starts of noisy data by estimators that were not fitted to these pairs.

        They are fitted to the data without added noise, as `init_` is.
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
                "never or more than once. Give a number of folds, or a splitter that partitions "
                "the pairs, such as KFold."
            )
        return start

    def _check_start(self, X: Array) -> None:
        if self.init is not None:
            return
        n_data = X.shape[1] - self.n_outputs_
        known = getattr(self.operator, "stated_noise", None)
        if n_data < 1 or (known is not None and X.shape[1] == known.n_data):
            raise ValueError(
                f"init=None, but X with {X.shape[1]} feature(s) has no start of "
                f"{self.n_outputs_} cells before the data. Put an inverter before the Refiner in a "
                "Pipeline, or give 'init', an estimator or 'zero'."
            )

    def _data(self, X: NDArray) -> NDArray:
        return X[:, self.n_outputs_ :] if self.init is None else X


def make_solver(solver: str | Solver | RegularizedInverter) -> Any:
    """Return the solver of a name, or a copy of a given one."""
    if not isinstance(solver, str):
        return clone(solver)
    solvers: dict[str, Any] = {**SOLVERS, "tikhonov": TikhonovInverter}
    if solver not in solvers:
        names = [*solvers, "bayes"]
        close = get_close_matches(solver.lower(), names, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"'solver' is {solver!r}.{hint} Allowed are {', '.join(map(repr, names))}."
        )
    return solvers[solver]()
