"""Depth of one interface: the basement of a basin, or the Moho."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial import KDTree
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from skgrav._checks import validate_data
from skgrav._constraints import POSITIVE, Interval, Options, StrOptions
from skgrav._typing import Array, Indices, Mask
from skgrav._warnings import warn
from skgrav.geometry import Survey
from skgrav.inverters._base import InverterMixin
from skgrav.inverters._plausible import warn_implausible, warn_of_data
from skgrav.inverters._relief_setup import Relief, make_relief
from skgrav.inverters._relief_steps import ReliefProblem, Roughness, fit_relief
from skgrav.io import Field, saved
from skgrav.noise import Noise, Trend, no_noise, noise_with_rounding
from skgrav.operators import (
    BaseOperator,
    ForwardOperator,
    InterfaceModel,
    PhysicsWarning,
    is_lazy,
    operator_of_data,
    require,
    resolve_operator,
)
from skgrav.solvers import Status, warn_unfitted

#: Distance of data from those of any interface, in their noise, that is not noise.
_BEYOND = 5.0

#: Where an interface lies without bounds, and what to do if none there fits the data.
_WITHIN = "by an interface between the ground and the bottom of 'mesh' at this contrast"
_FREE = f"{_WITHIN}. Check 'contrast', its decay, and units, sign and level of the data."

#: Square matrices of columns, and matrices of data and columns, in memory at a time.
_SQUARES, _RECTANGLES = 6, 4


@dataclass(frozen=True)
class ReliefResult:
    """Depth of the interface of each sample, with alpha, misfit and trend.

    Parameters
    ----------
    depth : ndarray of shape (n_samples, n_columns)
        Depth of the interface in metres, positive down, for each column of the mesh in C order;
        NaN in columns without active cells.
    depth_std : ndarray of shape (n_samples, n_columns)
        Standard deviation of the depth, at most half of what ground, bottom and bounds leave; 0
        where bounds fix it, NaN where the noise is not known or the reference already fits the
        data.
    rho : ndarray of shape (n_samples, n_cells)
        Density contrasts of the cells.
    alpha : ndarray of shape (n_samples,)
        Weight of the roughness; infinite where the reference already fits the data to their noise.
    misfit : ndarray of shape (n_samples,)
        Norm of the whitened residual in units of the noise, or of the data where the noise is not
        known.
    model_norm : ndarray of shape (n_samples,)
        Root of the roughness.
    n_iter : ndarray of shape (n_samples,)
        Number of Gauss-Newton iterations.
    status : ndarray of shape (n_samples,)
        0 where the data are fitted as requested, 1 where `max_iter` was reached, 2 where no
        interface fits the data to their noise, 3 where none within the bounds does.
    sigma : ndarray of shape (n_samples,)
        Standard deviation of the noise, given or estimated by cross-validation; NaN where alpha is
        a number and the noise is not known.
    chi_factor : ndarray of shape (n_samples,)
        Mean square of the residual in units of the noise; NaN where the noise is not known.
    trend : Trend
        Trend of the residual.

    See Also
    --------
    ReliefInverter : Returns it.

    Examples
    --------
    >>> import numpy as np
    >>> from skgrav import ForwardOperator, Mesh, ReliefInverter, Survey
    >>> mesh = Mesh.regular((10, 20), 500.0)
    >>> survey = Survey.line(mesh, n_stations=20, height=1.0, components="z")
    >>> operator = ForwardOperator(mesh, survey)
    >>> inverter = ReliefInverter(-400.0, noise_level=0.05, operator=operator)
    >>> g = [-20.0 * np.exp(-(np.linspace(-2, 2, 20) ** 2))]
    >>> inverter.fit(g).invert(g).depth.shape
    (1, 20)
    """

    depth: Array
    depth_std: Array
    rho: Array
    alpha: Array
    misfit: Array
    model_norm: Array
    n_iter: Indices
    status: Indices
    sigma: Array
    chi_factor: Array
    trend: Trend

    @property
    def converged(self) -> Mask:
        """Whether the data are fitted as requested, (n_samples,)."""
        return self.status == Status.REACHED


@saved
class ReliefInverter(InverterMixin, BaseEstimator):
    """Depth of one interface below the stations, such as a basement or the Moho.

    The rock above the interface differs from that below by a known contrast, and fills the columns
    of the mesh. Smooth depths are preferred; known depths and bounds are kept to. Needs no training
    sections, so `fit` works with data alone.

    Parameters
    ----------
    contrast : float or array-like of shape (n_columns,), default=-400.0
        Density above the interface minus density below it, at the ground: negative for sediments
        on a basement, and for crust on the mantle.
    decay : {"constant", "exponential", "parabolic"}, default="constant"
        How the contrast changes with the depth d below the ground, by the factor
        ``exp(-d / decay_length)`` [1]_ or ``(1 + d / decay_length)**-2`` [2]_.
    decay_length : float, default=None
        Depth in metres over which the contrast decays; negative where it grows.
    reference : float or array-like of shape (n_columns,), default=None
        Depth of the interface in the reference Earth, whose gravity is not part of the data, such
        as the normal Moho. None takes the ground, the top of the highest active cell of each
        column: without sediments there is no anomaly.
    bounds : tuple of two, each float or array-like of shape (n_columns,), default=None
        Least and largest depth of the interface in metres, infinities allowed. Equal ones fix it,
        as at an outcrop. It always stays between the ground and the bottom of the mesh.
    wells : array-like of shape (n_wells, ndim), default=None
        Points of the interface, with columns ``(z, x)`` or ``(z, y, x)`` like stations. They hold
        for the mean depth of their column.
    wells_std : float or array-like of shape (n_wells,), default=10.0
        Standard deviation of their depths in metres.
    alpha : "auto", "discrepancy", "gcv" or float, default="auto"
        Weight of the roughness, or how it is chosen for each sample. ``"discrepancy"`` leaves a
        residual as large as the noise, ``"gcv"`` minimises robust generalised cross-validation of
        the linearised problem, without bounds and wells. ``"auto"`` is ``"discrepancy"`` where the
        noise is known and ``"gcv"`` where it is not.
    order : {1, 2}, default=1
        Whether the roughness is the mean square of the slope or of the curvature of the interface.
        A term of equal weight at the extent of the mesh draws depths weakly to the reference.
    noise_level : float or "auto", default=None
        Standard deviation of the noise relative to the rms of each sample's own data without
        their trend. None takes the uncertainty of the operator's survey. Where it is not known,
        or ``"auto"``, alpha is chosen without it and refers to data in their unit.
    operator : ForwardOperator, default=None
        Mesh and stations. None takes the paper's geometry if it has as many data; otherwise it
        assumes a station per datum over the default mesh for the cells of y, with a warning.
        ``method="rows"`` spares its matrix, which is not used.
    max_iter : int, default=30
        Largest number of Gauss-Newton iterations.
    tol : float, default=1e-3
        Stop where no depth changes by more than this share of the greatest distance from the
        reference.

    Attributes
    ----------
    operator_ : ForwardOperator
        The fitted operator in use.
    n_columns_ : int
        Number of columns of the mesh.
    n_iter_ : int
        Always 1, as `fit` does not iterate; `invert` returns the number of each sample.
    n_outputs_ : int
        Number of cells.
    n_features_in_ : int
        Number of data.

    Raises
    ------
    ValueError
        If contrast, reference, bounds or wells do not match the mesh, alpha="discrepancy" and the
        noise is not known, or the operator has no mesh or does not fit the data.

    Warns
    -----
    PhysicsWarning
        If the geometry was assumed, or the operator reproduces the pairs only roughly.
    ConvergenceWarning
        If data are not fitted to their noise.
    UserWarning
        If the interface runs into the bottom of the mesh, densities are beyond those of rocks, or
        the data do not determine alpha.

    See Also
    --------
    TikhonovInverter : Densities instead of depths.

    Notes
    -----
    Gravity is that of columns between reference and interface: for the contrast of their upper end
    in closed form, to which quadrature adds its change with depth. In 3D distant columns are
    integrated over their depth with the second moments of their width. Errors are below 1e-6 of
    the largest datum where the contrast decays over at least a third of the thickness. The
    derivative is the attraction of the thin sheet at the interface.

    With departures from the reference m and the roughness R, each iteration minimises
    ``||(g - J m) / sigma||^2 + ||(m_wells - wells) / wells_std||^2 + alpha m R m`` within the
    bounds by an active set, at the alpha at which the linear misfit is the noise, and halves
    the step until the function itself decreases [3]_. Where such an alpha would leave wells more
    than their own misfit, their weight is raised. It starts from the depths of infinite
    Bouguer slabs under the nearest stations [4]_. Dense matrices of data times columns and the
    square of columns are needed.

    The standard deviation is that of a linear problem whose prior precision is R over the
    square slope that the estimate shows. It holds for interfaces like that: errors of the
    contrast, of bounds that hold, and of rock that is not in the model come in addition.

    `predict` gives the mean contrast of each cell, for a cell that is cut by the interface its
    share. That is no longer the same body, so its gravity differs slightly from that of the
    interface, most under stations close to it: refine the layers where this matters.

    References
    ----------
    .. [1] Cordell (1973), Gravity analysis using an exponential density-depth function, San
       Jacinto Graben, California, Geophysics 38.
    .. [2] Chakravarthi and Sundararajan (2007), 3D gravity inversion of basement relief - a
       depth-dependent density approach, Geophysics 72.
    .. [3] Constable, Parker and Constable (1987), Occam's inversion, Geophysics 52.
    .. [4] Bott (1960), The use of rapid digital computing methods for direct gravity
       interpretation of sedimentary basins, Geophysical Journal International 3.

    Examples
    --------
    >>> import numpy as np
    >>> from skgrav import ForwardOperator, Mesh, ReliefInverter, Survey
    >>> mesh = Mesh.regular((20, 40), (200.0, 1000.0))
    >>> survey = Survey.line(mesh, n_stations=40, height=1.0, components="z")
    >>> operator = ForwardOperator(mesh, survey)
    >>> inverter = ReliefInverter(
    ...     -500.0, decay="exponential", decay_length=3000.0, noise_level=0.01, operator=operator
    ... )
    >>> g = -25.0 * np.exp(-(np.linspace(-2, 2, 40) ** 2))[None]
    >>> result = inverter.fit(g).invert(g)
    >>> bool(result.converged[0]), float(result.chi_factor[0].round(1))
    (True, 1.0)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "contrast": [Real, "array-like"],
        "decay": [StrOptions({"constant", "exponential", "parabolic"})],
        "decay_length": [Real, None],
        "reference": [Real, "array-like", None],
        "bounds": ["array-like", None],
        "wells": ["array-like", None],
        "wells_std": [Interval(Real, 0, None, closed="neither"), "array-like"],
        "alpha": [
            StrOptions({"auto", "discrepancy", "gcv"}),
            Interval(Real, 0, None, closed="neither"),
        ],
        "order": [Options(int, {1, 2})],
        "noise_level": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"}), None],
        "operator": [BaseOperator, None],
        "max_iter": [POSITIVE],
        "tol": [Interval(Real, 0, None, closed="neither")],
    }
    _file_fields: ClassVar[tuple[Field, ...]] = (
        *InverterMixin._file_fields,
        Field("operator_", BaseOperator),
        Field("n_columns_", int),
        Field("n_iter_", int),
        Field("_relief", Relief),
        Field("_data_rms", float),
    )

    operator_: ForwardOperator

    def __init__(
        self,
        contrast: ArrayLike = -400.0,
        *,
        decay: Literal["constant", "exponential", "parabolic"] = "constant",
        decay_length: float | None = None,
        reference: ArrayLike | None = None,
        bounds: tuple[ArrayLike, ArrayLike] | None = None,
        wells: ArrayLike | None = None,
        wells_std: ArrayLike = 10.0,
        alpha: float | Literal["auto", "discrepancy", "gcv"] = "auto",
        order: Literal[1, 2] = 1,
        noise_level: float | Literal["auto"] | None = None,
        operator: ForwardOperator | None = None,
        max_iter: int = 30,
        tol: float = 1e-3,
    ) -> None:
        self.contrast = contrast
        self.decay = decay
        self.decay_length = decay_length
        self.reference = reference
        self.bounds = bounds
        self.wells = wells
        self.wells_std = wells_std
        self.alpha = alpha
        self.order = order
        self.noise_level = noise_level
        self.operator = operator
        self.max_iter = max_iter
        self.tol = tol

    def fit(self, X: ArrayLike, y: ArrayLike | None = None) -> Self:
        """Prepare the inversion that `predict` performs.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_data)
            Gravity, component-major.
        y : array-like of shape (n_samples, n_cells) or (n_samples,), default=None
            Density contrasts, against which the operator is checked.

        Returns
        -------
        self : object
            The fitted inverter.
        """
        self._validate_params()
        if y is None:
            X = validate_data(self, X)
            self._y_ndim, operator = 2, operator_of_data(self.operator, X.shape[1])
        else:
            X, y = validate_data(self, X, y)
            self._y_ndim, rho = y.ndim, y.reshape(len(y), -1)
            if self.operator is None:
                operator = _assumed(rho, X)
            else:
                operator = resolve_operator(self.operator, rho, X, noise_level=self.noise_level)
        self._relief = make_relief(
            operator,
            contrast=self.contrast,
            decay=self.decay,
            decay_length=self.decay_length,
            reference=self.reference,
            bounds=self.bounds,
            wells=self.wells,
            wells_std=self.wells_std,
            order=self.order,
        )
        self.operator_ = operator
        self.n_outputs_ = operator.n_cells_
        self.n_columns_ = int(np.prod(operator.mesh_.shape[1:]))
        n = len(self._relief.columns)
        require(
            8 * n * (_SQUARES * n + _RECTANGLES * X.shape[1]),
            f"the inversion of {X.shape[1]} data x {n} columns",
            "Take wider columns in 'mesh' or fewer stations in 'survey'.",
        )
        noise = self._noise(None)
        warn_of_data(X, self.operator_)
        self._data_rms = float(np.sqrt(np.mean(noise.rms(X) ** 2))) or 1.0
        self.n_iter_ = 1
        return self

    def predict(self, X: ArrayLike, *, noise_level: ArrayLike | None = None) -> Array:
        """Estimate density contrasts.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_data)
            Gravity, component-major.
        noise_level : float or array-like of shape (n_samples,), default=None
            Relative noise of each sample; None takes the parameter of the estimator.

        Returns
        -------
        rho : ndarray of shape (n_samples, n_cells) or (n_samples,)
            Mean density contrast of each cell to the reference Earth.
        """
        if is_lazy(X):
            return self._lazily(self.predict, X, noise_level=noise_level)
        return self._as_fitted(self._invert(X, noise_level, with_std=False).rho)

    def invert(self, X: ArrayLike, *, noise_level: ArrayLike | None = None) -> ReliefResult:
        """Estimate the depth of the interface, with its standard deviation, misfit and trend.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_data)
            Gravity, component-major.
        noise_level : float or array-like of shape (n_samples,), default=None
            Relative noise of each sample; None takes the parameter of the estimator.

        Returns
        -------
        result : ReliefResult
            Depths `depth` and `depth_std` of shape (n_samples, n_columns), densities `rho`, and
            `alpha`, `misfit`, `n_iter`, `status`, `chi_factor` and `trend` of each sample.
        """
        return self._invert(X, noise_level, with_std=True)

    def _invert(
        self, X: ArrayLike, noise_level: ArrayLike | None, *, with_std: bool
    ) -> ReliefResult:
        check_is_fitted(self, "n_iter_")
        X = validate_data(self, X, reset=False)
        noise, relief, operator = self._noise(noise_level), self._relief, self.operator_
        choice = self.alpha
        if choice == "auto":
            choice = "discrepancy" if noise.is_known else "gcv"
        elif choice == "discrepancy" and not noise.is_known:
            raise ValueError(no_noise("alpha='discrepancy'", "alpha='auto'"))
        sigma = noise.scale_or(X, 1.0)
        if noise.is_relative:
            sigma = noise_with_rounding(sigma, noise.rms(X), self._data_rms)
        model, rough = relief.model(operator), Roughness(relief.roughness(operator.mesh_))
        starts = _slab_depths(model, noise, X)
        of_sample: dict[str, list[Any]] = {k: [] for k in ("alpha", "n_iter", "status", "sigma")}
        depths, stds = (np.full((len(X), self.n_columns_), np.nan) for _ in range(2))
        gravity, rho = np.empty_like(X), np.empty((len(X), self.n_outputs_))
        spread = np.full((len(X), *[len(noise.trend_names)] * 2), np.nan)
        norms, alone = np.empty(len(X)), np.full_like(depths, np.nan)
        limit = (relief.upper - relief.lower) / 2  # no depth between bounds varies more
        for i, (g, start, s) in enumerate(zip(X, starts, sigma, strict=True)):
            problem = ReliefProblem(
                model, noise.whitening, g, float(s), rough, relief.lower, relief.upper,
                relief.wells,
            )  # fmt: skip
            fit = fit_relief(problem, start, choice, int(self.max_iter), self.tol)
            if fit.status != Status.REACHED and relief.well_depths.size:
                other = fit_relief(
                    problem.without_wells(), start, choice, int(self.max_iter), self.tol
                )
                if other.status == Status.REACHED:
                    alone[i, relief.columns] = other.linear.depth
            depth, gravity[i] = fit.linear.depth, fit.linear.gravity
            depths[i, relief.columns], norms[i] = depth, np.sqrt(problem.norm2(depth))
            rho[i] = model.densities(depth)
            of_sample["alpha"].append(fit.alpha)
            of_sample["n_iter"].append(fit.n_iter)
            of_sample["status"].append(int(fit.status))
            of_sample["sigma"].append(fit.sigma)
            if with_std and (noise.is_known or choice == "gcv"):
                errors = fit.covariance()
                if errors is not None:
                    std = np.sqrt(np.maximum(np.diagonal(errors), 0.0))
                    stds[i, relief.columns] = np.minimum(std, limit)
                    share = np.divide(limit, std, out=np.ones_like(std), where=std > limit)
                    errors = share[:, None] * errors * share
                    maps = noise.whitening.coefficients(fit.linear.derivatives.T).T
                    spread[i] = maps @ errors @ maps.T
        found = {name: np.array(values) for name, values in of_sample.items()}
        residual, status = X - gravity, found["status"]
        misfit = np.linalg.norm(noise.whitening(residual), axis=1) / sigma
        chi = misfit**2 / noise.whitening.n_white
        told = self._warn_wells(alone, status)
        left = np.where(told, Status.REACHED, status)
        told = self._warn_contrast(X, model, noise, sigma, left)
        left = np.where(told, Status.REACHED, left)
        options = {"within": _FREE} if self.bounds is None else {}
        warn_unfitted(left, chi, residual, noise, operator, **options)
        self._warn_bottom(depths)
        warn_implausible(rho, operator)
        unknown = np.full(len(X), np.nan)
        return ReliefResult(
            depth=depths,
            depth_std=stds,
            rho=rho,
            alpha=found["alpha"],
            misfit=misfit,
            model_norm=norms,
            n_iter=found["n_iter"],
            status=status,
            sigma=found["sigma"] if noise.is_known or isinstance(choice, str) else unknown,
            chi_factor=chi if noise.is_known else unknown,
            trend=noise.trend(
                residual, sigma if noise.is_known else None, spread=spread if with_std else None
            ),
        )

    def _warn_wells(self, alone: Array, status: Indices) -> Mask:
        """Warn of samples that are fitted `alone`, without wells, and return which."""
        column, known, std = self._relief.wells
        told: Mask = np.any(np.isfinite(alone), axis=1)
        if told.any():
            depths = alone[np.argmax(told), self._relief.columns][column]
            k = int(np.argmax(np.abs(depths - known) / std))
            warn(
                f"{told.sum()} of {len(status)} samples are not fitted with the depths of 'wells', "
                f"but are without them: the interface then lies at {depths[k]:.4g} m where well "
                f"{k} has {known[k]:.4g} m. Correct that well or raise 'wells_std', or check "
                "'contrast' and the level of the data, which a 'trend' of the survey leaves free.",
                ConvergenceWarning,
            )
        return told

    def _warn_contrast(
        self, X: Array, model: InterfaceModel, noise: Noise, sigma: Array, status: Indices
    ) -> Mask:
        """Warn of gz that no interface in the mesh has at this contrast, and return of which."""
        missed = status != Status.REACHED
        if not missed.any() or noise.has_trend or "z" not in model.survey.components:
            return np.zeros(len(X), dtype=bool)
        deepest = np.full(len(model.ground), model.mesh.edges[0][-1])
        ends = np.stack([model.gravity(model.ground), model.gravity(deepest)])
        # Below the stations gravity grows or falls with each depth.
        room = _BEYOND * sigma[:, None] * noise.whitening.weights
        lowest, highest = ends.min(axis=0) - room, ends.max(axis=0) + room
        k, parts = model.survey.components.index("z"), model.survey.unflatten
        told: Mask = missed & parts((lowest > X) | (highest < X))[:, k].any(axis=1)
        if told.any():
            data, possible = parts(X[told])[:, k], parts(ends)[:, k]
            law = "" if self.decay == "constant" else ", 'decay_length'"
            warn(
                f"{told.sum()} of {len(X)} samples cannot be fitted {_WITHIN}: gz is "
                f"{data.min():.4g} to {data.max():.4g}, but that of interfaces "
                f"{possible.min():.4g} to {possible.max():.4g}. Check sign and size of 'contrast'"
                f"{law} and of the data, or give a deeper mesh.",
                ConvergenceWarning,
            )
        return told

    def _warn_bottom(self, depths: Array) -> None:
        """Warn where the interface runs into the bottom of the mesh, and is not told to."""
        relief = self._relief
        bottom = float(self.operator_.mesh_.edges[0][-1])
        open_ = (relief.upper >= bottom) & (relief.lower < bottom)
        reached = depths[:, relief.columns[open_]] >= bottom
        n = int(np.count_nonzero(reached.any(axis=1)))
        if n:
            warn(
                f"the interface runs into the bottom of 'mesh' at z = {bottom:.7g} m in {n} of "
                f"{len(depths)} samples, below up to {reached.sum(axis=1).max()} of "
                f"{len(relief.columns)} columns. Give a deeper mesh, or check 'contrast', in "
                "kg/m3, its decay, and the level of the data, which a 'trend' of the survey leaves "
                "free."
            )

    def _noise(self, noise_level: ArrayLike | None) -> Noise:
        return Noise.of(self.operator_, self.noise_level).at(noise_level)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        tags.regressor_tags.poor_score = True  # the physics is given, not learned
        return tags


def _assumed(rho: Array, X: Array) -> ForwardOperator:
    """Return the operator of a default geometry, with a warning unless it reproduces the pairs."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = resolve_operator(None, rho, X)
    if isinstance(found, ForwardOperator) and not caught:
        return found
    n_data = X.shape[1]
    operator = ForwardOperator(units="normalized").fit(rho)
    if operator.n_data_ != n_data:
        mesh = operator.mesh_
        survey = Survey.line(mesh, n_stations=n_data, components=("z",))
        operator = ForwardOperator(mesh, survey, units="normalized").fit(rho)
    warn(
        f"'operator' is None: {operator.mesh_!r} with {operator.survey_!r} in normalised units is "
        "assumed. Give 'operator', a ForwardOperator with its mesh and survey.",
        PhysicsWarning,
    )
    return operator


def _slab_depths(model: InterfaceModel, noise: Noise, X: Array) -> Array:
    """Return the depths of infinite slabs with the gravity of the nearest stations."""
    survey = model.survey
    if "z" not in survey.components:
        return np.tile(model.reference, (len(X), 1))
    gz = survey.unflatten(noise.whitening.detrended(X))[:, survey.components.index("z")]
    centres = np.column_stack([(low + high) / 2 for low, high in model.edges])
    _, nearest = KDTree(survey.stations[:, 1:]).query(centres)
    gz = gz[:, nearest]
    if noise.has_trend and np.array_equal(model.reference, model.ground):
        # The level is free, so the thinnest sediments are none.
        sign = np.sign(model.contrast)
        gz = gz - sign * np.min(sign * gz, axis=1, keepdims=True)
    deepest = model.mesh.edges[0][-1]
    return np.stack([np.minimum(model.slab_depth(row), deepest) for row in gz])
