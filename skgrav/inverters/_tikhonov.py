"""Tikhonov regularisation: smooth densities in closed form, without training sections."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from functools import partial
from numbers import Real
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from skgrav._checks import check_array, validate_data
from skgrav._constraints import Interval, Options, StrOptions
from skgrav._typing import Array
from skgrav.inverters._alpha_curve import AlphaCurve
from skgrav.inverters._alpha_search import CRITERIA, warn_open
from skgrav.inverters._cell_norm import CellNorm
from skgrav.inverters._damping import DampedLeastSquares
from skgrav.inverters._damping_krylov import KrylovLeastSquares
from skgrav.inverters._model_norm import ModelNorm
from skgrav.inverters._regularized import Departure, RegularizedInverter
from skgrav.inverters._uncertainty import GaussianPosterior, resolved
from skgrav.io import Field, saved
from skgrav.noise import Whitening
from skgrav.operators import BaseOperator, DenseMatrix, shared
from skgrav.solvers import BoundedLeastNorm, BoundedLeastSquares, Status

#: Largest n_data**2 * n_cells at which an operator without a stored matrix is decomposed. It takes
#: less than a second, in which tens of samples are inverted by products.
_DECOMPOSED = 2e9


@saved
class TikhonovInverter(RegularizedInverter):
    """Density of smallest norm, or smallest derivative, that fits the data.

    In closed form without `bounds`. Needs no training sections, so `fit` works with data alone.

    Parameters
    ----------
    alpha : "auto", "discrepancy", "gcv", "lcurve" or float, default="auto"
        Weight of the model norm, or how it is chosen for each sample. ``"discrepancy"`` leaves a
        residual as large as the noise, in each part of a JointOperator at most that. ``"gcv"``
        minimises robust generalised cross-validation. ``"lcurve"`` takes the corner of misfit
        against model norm where cross-validation is not much above its minimum; of several about as
        sharp, or all faint, the one with most damping.
        These two need no noise level, ignore bounds, and warn where the data do not determine
        alpha, as exact data do not. ``"auto"`` is ``"discrepancy"`` where the noise is known and
        ``"gcv"`` where it is not.
    order : {0, 1, 2}, default=0
        Derivative whose mean square over volume is minimised: the departure from the reference
        itself, its gradient, or its Laplacian with a vanishing slope at the edges of the mesh. The
        last two have a smallness term, without which a constant would not be damped; see
        `norm_weights`.
    norm_weights : tuple of float, default=None
        Weights ``(a_s, a_x, a_y, a_z)``, in 2D ``(a_s, a_x, a_z)``, of squared departures and of
        squared slopes along each axis, for orders 1 and 2; None is 1 for all. Not negative, the
        first positive. Slopes are per length of `length_scales`, so these weights have no unit.
        In UBC's and SimPEG's words ``alpha_x / alpha_s = a_x L_x**2 / a_s``, a squared length.
    length_scales : float or tuple of float, default=None
        Length L in metres at which smallness and slopes have equal weight, for orders 1 and 2: one,
        or one for each axis, ``(L_x, L_y, L_z)``, in 2D ``(L_x, L_z)``; densities are smoothest
        along the longest. None is a quarter of the thickness of the mesh, at least three cells.
    depth_weighting : float, "sensitivity", "distance" or None, default=None
        Weights of departures that fall with depth as the sensitivity does, so that these are not
        confined to the top. A number is the beta of ``(z + z0)**(-beta / 2)``, with the depth
        z + z0 below the mean station; the kernel decays with exponent 1 in 2D and 2 in 3D.
        ``"sensitivity"`` takes the decay from the operator: the square root of the norm of a column
        per volume, averaged over each layer with these norms as weights, or for each cell without
        a mesh. ``"distance"`` weights each cell by its distances from all stations [7]_. The mean
        square of weights is 1.
    reference : float, array-like of shape (n_cells,), "mean" or None, default=None
        Density from which departures are measured; ``"mean"`` is the mean of the training
        densities, None is zero.
    bounds : tuple of two floats or of two arrays of shape (n_cells,), default=None
        Lowest and highest density, of all cells or of each one, within which the norm is minimised;
        infinities are allowed, and equal ones fix the density of a cell.
    cell_weights : array-like of shape (n_cells,), default=None
        Positive weight of each cell, which multiplies its squared departure in the model
        norm and, as the mean of two cells, squared slopes across faces: a large one holds the
        density near the reference, a small one lets it depart.
    noise_level : float or "auto", default=None
        Standard deviation of the noise relative to the rms of each sample's own data without
        their trend. None takes the uncertainty of the operator's survey. Where it is not known,
        or ``"auto"``, alpha is chosen without it and refers to data in their unit.
    operator : ForwardOperator, JointOperator or MatrixOperator, default=None
        The physics. None takes the paper's geometry if it reproduces the training pairs; otherwise
        it identifies the operator from them or, without densities, assumes the paper's geometry,
        with a warning.
    max_iter : int, default=2000
        Largest number of iterations, with bounds or with operators too large to decompose.
    tol : float, default=1e-4
        Stop where the relative residuals of the iteration are below it.

    Attributes
    ----------
    operator_ : BaseOperator
        The fitted operator in use.
    reference_ : ndarray of shape (n_cells,)
        Density from which departures are measured.
    n_iter_ : int
        Always 1, as `fit` does not iterate; `invert` returns the number of each sample.
    n_outputs_ : int
        Number of cells.
    n_features_in_ : int
        Number of data.

    Raises
    ------
    ValueError
        If alpha="discrepancy" and the noise is not known, `order` or `depth_weighting` needs a
        mesh, or the operator does not fit the data.

    Warns
    -----
    PhysicsWarning
        If the operator was identified or assumed, or reproduces the pairs only roughly.
    ConvergenceWarning
        If data are not fitted to their noise.
    UserWarning
        If estimates are beyond the densities of rocks, the data do not determine alpha, the alpha
        of ``"gcv"`` or ``"lcurve"`` contradicts the stated noise tenfold, or the data differ from
        the reference by far less than their noise.

    See Also
    --------
    BayesLinearInverter : Learns the model norm from training sections.
    SparseInverter : Compact bodies instead of smooth ones.
    skgrav.plotting.LCurveDisplay : Shows how alpha was chosen.

    Notes
    -----
    Minimises ``||(g - A rho) / sigma||^2 + alpha ||W (rho - reference)||^2`` [1]_. With departures
    m, weights w [2]_, the geometric mean L of `length_scales` L_i, and ``<f>`` the mean of f over
    volume times the number of cells, the square of the second norm is ``<(w m)^2>`` for order 0 and
    ``a_s <(w m)^2> / L^2 + sum_i a_i (L_i / L)^2 <(w dm/dx_i)^2>`` for 1, where a face has the mean
    of the squared weights of its two cells; for 2 it is ``<(w D m)^2>``, with D such that the norm
    of order 1 is ``<w^2 m D m>``. Slopes are those of departures, so a reference keeps its edges.

    One eigendecomposition of ``A (W^T W)^-1 A^T`` serves all alphas of all samples. Where the
    matrix would not fit into memory, or its decomposition would take longer than inverting several
    samples, Lanczos iterations build a Krylov space for each sample, which serves all alphas. It
    takes ``n_data`` times the number of iterations numbers, and where alpha is chosen without the
    noise, that of random vectors, for the traces, twice as many.

    Generalised cross-validation [3]_ is multiplied by ``0.1 + 0.9 tr(H^2) / n``, where H maps n
    data to predictions [5]_, which excludes chance minima at very small alphas; alphas that leave
    less than a tenth of the data as degrees of freedom are excluded. The corner is the point of
    largest curvature [4]_. Within bounds, conjugate gradients solve for the cells that are not at a
    bound, by products alone, and the discrepancy principle chooses alpha anew.

    Norms of orders 1 and 2 with ``"distance"`` or `cell_weights` end at inactive cells, others
    continue into them. On large meshes they are inverted by conjugate gradients.

    Standard deviations and draws are those of a posterior [6]_: the prior is Gaussian about the
    reference with the covariance ``v (W^T W)^-1``, and v is found from the data of each sample, as
    that under which they are most likely given their noise. Of models drawn from this prior,
    intervals have their nominal coverage to 0.02, and somewhat less where few data determine v
    poorly. They are not valid for other geology: in most of the model, the norm alone and not the
    data determines how much densities vary and over which distance, and bodies of constant density
    with sharp edges are improbable under it. The resolution at an alpha does not depend on v.

    References
    ----------
    .. [1] Tikhonov and Arsenin (1977), Solutions of Ill-Posed Problems, Winston.
    .. [2] Li and Oldenburg (1998), 3-D inversion of gravity data, Geophysics 63.
    .. [3] Golub, Heath and Wahba (1979), Generalized cross-validation as a method for choosing a
       good ridge parameter, Technometrics 21.
    .. [4] Hansen (1992), Analysis of discrete ill-posed problems by means of the L-curve, SIAM
       Review 34.
    .. [5] Lukas (2006), Robust generalized cross-validation for choosing the regularization
       parameter, Inverse Problems 22.
    .. [6] Tarantola (2005), Inverse Problem Theory and Methods for Model Parameter Estimation,
       SIAM, section 3.2.
    .. [7] Li and Oldenburg (2000), Joint inversion of surface and three-component borehole
       magnetic data, Geophysics 65.

    Examples
    --------
    >>> from skgrav import Mesh, TikhonovInverter
    >>> from skgrav.datasets import make_gravity_dataset
    >>> data = make_gravity_dataset(5, mesh=Mesh.square(8), noise_level=0.01, random_state=0)
    >>> inverter = TikhonovInverter(order=1, noise_level=0.01, operator=data.operator)
    >>> rho, std = inverter.fit(data.data).predict(data.data, return_std=True)
    >>> rho.shape, std.shape
    ((5, 64), (5, 64))
    >>> inverter.sample_y(data.data, n_samples=3).shape
    (5, 64, 3)
    >>> inverter.resolution(data.data).depth_of_investigation.shape
    (5, 64)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **RegularizedInverter._parameter_constraints,
        "alpha": [
            StrOptions({"auto", "discrepancy", "gcv", "lcurve"}),
            Interval(Real, 0, None, closed="neither"),
        ],
        "order": [Options(int, {0, 1, 2})],
        "norm_weights": ["array-like", None],
        "length_scales": ["array-like", Real, None],
    }
    _file_fields: ClassVar = (
        *RegularizedInverter._file_fields,
        Field("_norm", ModelNorm | CellNorm),
        Field("_system", DampedLeastSquares | None),
        Field("_modal", Array | None, ("n_white", "n_modes")),
    )

    def __init__(
        self,
        alpha: float | Literal["auto", "discrepancy", "gcv", "lcurve"] = "auto",
        *,
        order: Literal[0, 1, 2] = 0,
        norm_weights: Sequence[float] | None = None,
        length_scales: Sequence[float] | float | None = None,
        depth_weighting: float | Literal["sensitivity", "distance"] | None = None,
        reference: ArrayLike | Literal["mean"] | None = None,
        bounds: tuple[ArrayLike, ArrayLike] | None = None,
        cell_weights: ArrayLike | None = None,
        noise_level: float | Literal["auto"] | None = None,
        operator: BaseOperator | None = None,
        max_iter: int = 2000,
        tol: float = 1e-4,
    ) -> None:
        self.alpha = alpha
        self.order = order
        self.norm_weights = norm_weights
        self.length_scales = length_scales
        self.depth_weighting = depth_weighting
        self.reference = reference
        self.bounds = bounds
        self.cell_weights = cell_weights
        self.noise_level = noise_level
        self.operator = operator
        self.max_iter = max_iter
        self.tol = tol

    def alpha_curve(
        self, X: ArrayLike, *, alphas: ArrayLike | None = None, noise_level: ArrayLike | None = None
    ) -> AlphaCurve:
        """Compute misfit, model norm and criteria of estimates without bounds for many alphas.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_data)
            Gravity, component-major.
        alphas : array-like of shape (n_alphas,), default=None
            Positive alphas; None takes the grid on which criteria are searched. Of operators too
            large to decompose it is only that part of the grid where curves are known after the
            iterations that criteria need, and for alphas that would take more than `max_iter`
            curves are NaN, with a warning.
        noise_level : float or array-like of shape (n_samples,), default=None
            Relative noise of each sample; None takes the parameter of the estimator.

        Returns
        -------
        curve : AlphaCurve
            Arrays of shape (n_alphas, n_samples).
        """
        check_is_fitted(self, "n_iter_")
        X = validate_data(self, X, reset=False)
        noise = self._noise(noise_level)
        sigma = self._scale(noise, X)
        if alphas is not None:
            alphas = check_array(alphas, "alphas", ensure_2d=False)
            if alphas.ndim != 1 or not (alphas > 0).all():
                raise ValueError(
                    f"'alphas' has shape {alphas.shape} and minimum {alphas.min():g}; give a "
                    "vector of positive numbers."
                )
            alphas = alphas * sigma[:, None] ** 2
        white = noise.whitening(X - self.operator_.transform(self.reference_[None]))
        system = self._system
        if (
            isinstance(system, KrylovLeastSquares)
            and self.operator_.is_decomposable_
            and self._norm.is_factored
        ):
            system = self._decomposition(noise.whitening)
        damping, residual2, norm2, gcv = system.all_curves(white, alphas)
        chi = residual2.T / sigma**2
        return AlphaCurve(
            alpha=damping.T / sigma**2,
            misfit=np.sqrt(chi),
            model_norm=np.sqrt(norm2).T,
            gcv=gcv.T / sigma**2,
            chi_factor=chi / noise.whitening.n_white,
        )

    def leave_one_out(self, X: ArrayLike, *, noise_level: ArrayLike | None = None) -> Array:
        """Compare each datum with its prediction by all others.

        Predictions are those of the posterior of `sample_y`, in closed form and without bounds: the
        cross-validation of kriging [1]_. A smooth density may fit an outlier, which then has no
        large residual, but is not predicted by its neighbours.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_data)
            Gravity, component-major.
        noise_level : float or array-like of shape (n_samples,), default=None
            Relative noise of each sample; None takes the parameter of the estimator.

        Returns
        -------
        difference : ndarray of shape (n_samples, n_data)
            Datum less prediction, in standard deviations of this difference, which include the
            noise of the datum. At most about the root of `n_data`, as the data also determine the
            variance of the prior.

        References
        ----------
        .. [1] Dubrule (1983), Cross validation of kriging in a unique neighborhood, Mathematical
           Geology 15.
        """
        problem = self._solved(X, noise_level)
        posterior = self._posterior(problem.white, self._sigma(problem))
        return posterior.left_out(problem.white)

    def _prepare(self, whitening: Whitening) -> None:
        for name in ("norm_weights", "length_scales"):
            if self.order == 0 and getattr(self, name) is not None:
                raise ValueError(
                    f"{name!r} is {getattr(self, name)!r}, but 'order' is 0, a norm without "
                    "slopes. Take order=1 or 2, or None."
                )
        self._norm = self._norm_of(whitening)
        self._modal: Any = None
        self._system: DampedLeastSquares | KrylovLeastSquares
        if not self._decomposes:
            self._prepare_krylov(whitening)
            return
        self._system = self._decomposition(whitening)
        if self._bounds is not None and isinstance(self._norm, ModelNorm):
            self._modal = self._modal_matrix(whitening)

    def _norm_of(self, whitening: Whitening) -> ModelNorm | CellNorm:
        """Return the norm, by cells where these have weights of their own."""
        by_cell = self._cell_weights is not None or self.depth_weighting == "distance"
        has_mesh = getattr(self.operator_, "mesh_", None) is not None
        build = CellNorm.of if self.order and by_cell and has_mesh else ModelNorm.of
        return build(
            self.operator_,
            self.order,
            self.depth_weighting,
            whitening,
            self._cell_weights,
            self.norm_weights,
            self.length_scales,
        )

    @property
    def _decomposes(self) -> bool:
        """Whether the decomposition is affordable, and needed or cheaper than products."""
        operator = self.operator_
        if not self._norm.is_factored:
            return False
        unknown = self.alpha == "auto" and not self._noise(None).is_known
        # Traces of the operator, which these choices of alpha need, take many products.
        if self.alpha in CRITERIA or unknown:
            return operator.is_decomposable_
        cheap = operator.n_data_**2 * operator.n_cells_ <= _DECOMPOSED
        return operator.is_decomposable_ and (cheap or isinstance(operator.products_, DenseMatrix))

    def _decomposition(self, whitening: Whitening) -> DampedLeastSquares:
        """Return the decomposition, shared by inverters of the same operator and norm."""
        weights = None if self._cell_weights is None else self._cell_weights.tobytes()
        axes = [
            None if v is None else np.asarray(v, float).tobytes()
            for v in (self.norm_weights, self.length_scales)
        ]
        norm = "tikhonov", self.order, self.depth_weighting, weights, *axes
        return shared(
            (*self.operator_.identity_, *whitening.key, *norm),
            lambda: DampedLeastSquares.of(self._modal_matrix(whitening), self._norm.stiffness),
        )

    def _modal_matrix(self, whitening: Whitening) -> Array:
        """Return the matrix from coefficients of modes to whitened data."""
        return self._norm.operator_modes(whitening.matrix(self.operator_.matrix_))

    def _prepare_krylov(self, whitening: Whitening) -> None:
        """Prepare the inversion by products with the operator."""
        self._system = KrylovLeastSquares.of(
            self.operator_, self._norm, whitening, max_iter=int(self.max_iter), tol=self.tol
        )

    def _file_state(self) -> dict[str, Any]:
        # `_file_restore` makes the solver by products again.
        system = self._system if isinstance(self._system, DampedLeastSquares) else None
        return vars(self) | {"_system": system}

    def _file_restore(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if state["_system"] is None:
            self._prepare_krylov(self._noise(None).whitening)

    def _solve(self, white: Array, sigma: Array, choice: str | float) -> Departure:
        if isinstance(self._system, KrylovLeastSquares):
            q, damping, n_iter, status, found, is_open = self._system.solve(white, sigma, choice)
        else:
            c = self._system.coordinates(white)
            damping, is_open, _ = self._system.choose(choice, c, sigma)
            q, found = self._system.estimate(white, damping), self._system.noise(c, damping)
            n_iter, status = np.ones(len(white), dtype=int), np.zeros(len(white), dtype=int)
            if choice == "discrepancy":
                status[self._system.exceeds(c, sigma)] = Status.OUT_OF_REACH
        if choice in CRITERIA:
            warn_open(str(choice), is_open)
        else:
            found = sigma
        solved = Departure(*self._departure(q), damping, n_iter, status, found)
        if self._bounds is not None:
            self._restrict(solved, choice, q, white, sigma)
        return solved

    def _departure(self, q: Array) -> tuple[Array, Array]:
        """Return the departures from the reference of coefficients, and their norms."""
        return self._norm.weighted(q) / self._norm.weights, self._norm.norm(q)

    def _trend_spread(self, damping: Array, sigma: Array, model_norm: Array) -> Array:
        whitening = self._noise(None).whitening
        # The trend that is fitted to the gravity of densities, as a map of these.
        of_densities = self.operator_.products_.adjoint(whitening.coefficient_matrix)
        return self._system.covariance_of(
            self._norm.operator_modes(of_densities),
            damping,
            sigma,
            model_norm**2,
        )

    def _residual_noise(self, white: Array, solved: Departure) -> Array:
        return self._system.residual_noise(white, solved.damping)

    def _posterior(self, white: Array, sigma: Array) -> GaussianPosterior:
        whitening = self._noise(None).whitening
        return GaussianPosterior.of(
            self.operator_, self._norm, whitening, self._system, white, sigma
        )

    def _draws(
        self,
        white: Array,
        sigma: Array,
        solved: Departure,
        n_draws: int,
        rng: np.random.RandomState,
    ) -> Array:
        posterior = self._posterior(white, sigma)
        if self._bounds is None:
            return posterior.draws(white, n_draws, rng)
        drawn = np.empty((*solved.rho.shape, n_draws))
        perturbed = copy(self)
        for i in range(len(white)):
            prior, _ = posterior.prior_draws(i, n_draws, rng)
            data = posterior.perturbed(white[i], prior, sigma[i], rng)
            unit = sigma[i : i + 1] if sigma[i] > 0 else np.ones(1)
            alpha = float(posterior.damping[i] / unit[0] ** 2)
            for k, rho in enumerate(prior):
                perturbed.reference_ = self.reference_ + rho
                found = perturbed._solve(data[k : k + 1], unit, alpha)
                drawn[i, :, k] = rho + found.rho[0]
        return drawn

    def _std(self, white: Array, sigma: Array, solved: Departure, rho: Array) -> Array:
        if self._bounds is None and self._system.has_eigenvectors:
            std = self._posterior(white, sigma).std(white, rho - self.reference_)
            if std is not None:
                return std
        return super()._std(white, sigma, solved, rho)

    def _linear_estimate(self, solved: Departure, i: int, data: Array) -> Array:
        if np.isinf(solved.damping[i]):
            return np.zeros((len(data), self.n_outputs_))
        q = self._system.estimate(data, np.full(len(data), solved.damping[i]))
        return self._departure(q)[0]

    def _resolved(self, solved: Departure) -> Array:
        whitening = self._noise(None).whitening
        return resolved(self.operator_, self._norm, whitening, self._system, solved.damping)

    def _restrict(
        self, solved: Departure, choice: str | float, q: Array, white: Array, sigma: Array
    ) -> None:
        """Replace departures beyond bounds by those of least cost within."""
        norm: Any = self._norm
        low, high = self._bounds or (-np.inf, np.inf)
        u = norm.synthesis(q)
        lower = norm.on_block(norm.weights * (low - self.reference_), -np.inf)
        upper = norm.on_block(norm.weights * (high - self.reference_), np.inf)
        i = np.flatnonzero(np.any((u < lower) | (u > upper), axis=1))
        if not i.size:
            return
        data, alpha = white[i], solved.damping[i]
        settings: Any = {"max_iter": int(self.max_iter), "tol": self.tol}
        if self._modal is None:
            problem = self._by_products(lower, upper, settings)
            radius = None
            if choice == "discrepancy":
                # Without bounds the misfit is the target, unless zero fits better than that.
                misfit = np.linalg.norm(data - problem.forward(u[i]), axis=1)
                radius = np.maximum(misfit, np.sqrt(data.shape[1]) * sigma[i])
            found = problem.solve(data, u[i], alpha=alpha, radius=radius)
        else:
            split = BoundedLeastNorm(
                self._modal,
                norm.stiffness,
                norm.synthesis,
                norm.coefficients,
                lower,
                upper,
                norm.block_masses,
                **settings,
            )
            if choice == "discrepancy":
                assert isinstance(self._system, DampedLeastSquares)  # as there is the matrix
                target2 = self._system.target2(self._system.coordinates(data), sigma[i])
                found = split.solve(data, u[i], radius=np.sqrt(target2))
            else:
                found = split.solve(data, u[i], alpha=alpha)
        u[i], solved.damping[i], n_iter, status = found
        solved.rho[i], solved.model_norm[i] = self._departure(norm.coefficients(u[i]))
        solved.n_iter[i] = n_iter if self._modal is not None else solved.n_iter[i] + n_iter
        solved.status[i] = np.where(status == Status.REACHED, solved.status[i], status)

    def _by_products(
        self, lower: Array, upper: Array, settings: dict[str, Any]
    ) -> BoundedLeastSquares:
        """Return least squares by products within bounds of weighted densities of the block."""
        products = self.operator_, self._norm, self._noise(None).whitening
        return BoundedLeastSquares(
            partial(_block_forward, *products),
            partial(_block_adjoint, *products),
            self._norm.product,
            self._norm.inverse,
            lower,
            upper,
            **settings,
        )


def _block_forward(
    operator: BaseOperator, norm: ModelNorm | CellNorm, whitening: Whitening, u: Array
) -> Array:
    """Return the whitened gravity of weighted densities of the block."""
    return whitening(operator.products_.forward(norm.on_cells(u) / norm.weights))


def _block_adjoint(
    operator: BaseOperator, norm: ModelNorm | CellNorm, whitening: Whitening, d: Array
) -> Array:
    return norm.on_block(operator.products_.adjoint(whitening.adjoint(d)) / norm.weights, 0.0)
