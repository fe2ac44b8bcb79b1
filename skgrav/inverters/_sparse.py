"""Compact densities: norms of mixed powers, and the exact least absolute norm."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import chdtri

from skgrav._checks import real_array
from skgrav._constraints import Interval, StrOptions
from skgrav._typing import Array
from skgrav._warnings import warn
from skgrav.inverters._damping import DampingCurves
from skgrav.inverters._mixed import MixedNorms
from skgrav.inverters._model_norm import ModelNorm, check_per_axis
from skgrav.inverters._regularized import Departure, RegularizedInverter
from skgrav.io import Field, saved
from skgrav.noise import Whitening
from skgrav.operators import BaseOperator
from skgrav.solvers import SparseLeastSquares, Status, noise_in_data, relative_volumes

#: Damping of the estimates that give the size of departures, relative to the largest s squared.
_FIRST = 1e-3

#: Largest number of iterations and tolerance, with mixed norms and of the exact minimum.
_MIXED_ITER, _MIXED_TOL = 30, 2e-3
_EXACT_ITER, _EXACT_TOL = 100, 1e-4

#: Singular values below this share of the largest are taken as zero.
_RCOND = 1e-8


@saved
class SparseInverter(RegularizedInverter):
    """Density of compact bodies that fits the data.

    With mixed norms, bodies have about constant density and sharp edges: departures from a
    reference count by a power near 0, slopes between cells by a power near 1. Otherwise the sum
    of absolute departures is minimised exactly. Needs no training sections, so `fit` works with
    data alone.

    Parameters
    ----------
    alpha : "auto", "discrepancy", "gcv" or float, default="auto"
        Weight of the model norm; ``"discrepancy"`` chooses it for each sample so that the
        residual is as large as the noise, in each part of a JointOperator at most. ``"gcv"`` does
        the same with the noise estimated by generalised cross-validation of least squares.
        ``"auto"`` is the discrepancy principle where the noise is known and ``"gcv"`` where it is
        not.
    norms : tuple of float, 1 or None, default=None
        Powers from 0 to 2 of departures and of their slopes along each axis, ``(p_s, p_x, p_y,
        p_z)``, in 2D ``(p_s, p_x, p_z)``: 2 is smooth, 1 allows edges, so that ``(2, 1, 1, 1)`` is
        nearly total variation, and 0 counts cells or faces that are not zero. 1 is the exact
        minimum of the sum of absolute departures, without slopes. None takes 0 for departures and
        1 for slopes; and 1 alone for operators without a mesh.
    norm_weights : tuple of float, default=None
        Weights of the same sums, not negative; None is 1 for all. A larger first weight makes
        bodies smaller and denser.
    isotropic : bool, default=True
        Whether slopes count by the norm of the gradient at each face. Otherwise they count axis by
        axis, which favours boxes along the axes.
    contrast : float or tuple of two floats, default=None
        Expected departure of bodies, a magnitude or the lowest and highest one, 0 for a sign that
        is not expected; bodies of another size than assumed deviate from it. None expects bodies
        whose radius is 1.4 times the geometric mean of their depth and of the size of cells, so
        that smaller cells give smaller and denser bodies. Data hardly determine it; the
        expected values are in `iterations` of the result.
    depth_weighting : float, "sensitivity", "distance" or None, default=None
        Weights of departures that fall with depth, as in `TikhonovInverter`. With mixed norms,
        ``"sensitivity"`` weighs each cell by its own sensitivity per volume, and None does so, too.
    reference : float, array-like of shape (n_cells,), "mean" or None, default=None
        Density from which departures are measured, also those of slopes; ``"mean"`` is the mean of
        the training densities, None is zero.
    bounds : tuple of two floats or of two arrays of shape (n_cells,), default=None
        Lowest and highest density, of all cells or of each one, within which the norm is minimised;
        infinities are allowed, and equal ones fix the density of a cell.
    cell_weights : array-like of shape (n_cells,), default=None
        Positive weight of each cell, which multiplies its departure in the model norm: a large one
        holds the density near the reference, a small one lets it depart.
    noise_level : float or "auto", default=None
        Standard deviation of the noise relative to the rms of each sample's own data without
        their trend. None takes the uncertainty of the operator's survey. Where it is not known,
        or ``"auto"``, alpha is chosen without it and refers to data in their unit.
    operator : ForwardOperator, JointOperator or MatrixOperator, default=None
        The physics. None takes the paper's geometry if it reproduces the training pairs; otherwise
        it identifies the operator from them or, without densities, assumes the paper's geometry,
        with a warning.
    max_iter : int, default=None
        Largest number of iterations; None takes 30 with mixed norms, otherwise 100.
    tol : float, default=None
        With mixed norms, stop where densities change by at most this share of their norm; None is
        2e-3. Otherwise stop where the model norm exceeds its minimum by at most this share, as
        estimated from the last step; None is 1e-4.

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
        If alpha="discrepancy" and the noise is not known, `norms` or `depth_weighting` need a
        mesh, `norms` and `norm_weights` do not have one number for departures and one for each
        axis, or the operator does not fit the data.

    Warns
    -----
    PhysicsWarning
        If the operator was identified or assumed, or reproduces the pairs only roughly.
    ConvergenceWarning
        If data are not fitted to their noise.
    UserWarning
        If estimates are beyond the densities of rocks, the alpha of ``"gcv"`` contradicts the
        stated noise tenfold, the data differ from the reference by far less than their noise, or
        norms=1 meets weights by sensitivity without bounds.

    See Also
    --------
    TikhonovInverter : Smooth densities, in closed form.

    Notes
    -----
    Minimises ``||(g - A rho) / sigma||^2 + alpha R(m)`` with departures m and, for mixed norms,
    ``R = sum(v w C^2 |m / C|^p_s) + sum(v w C^2 |L dm/dx / C|^p_x) + ...``, over cells and over
    faces between active cells, with volumes v relative to their mean, weights w, density C and
    length L. Iterations replace each power by a square weighted with the last densities [3]_,
    from a smooth start, with magnitudes below which a density or slope counts as zero that fall
    in each iteration. alpha changes along with them, so that the residual remains the noise.

    Gravity determines mass and centre of a body, but hardly its radius and density, which C and L
    choose: L is proportional to the radius of a ball of density C with the mass of the last
    densities. C is the `contrast`, or follows from this mass and the expected radius. Beyond C,
    departures count as squares. Cells with measured densities do not count for C and L.

    With norms=1, R is ``sum(v w |m|)`` [1]_, or with the discrepancy principle the sum alone is
    minimised, subject to a bound of the misfit. Each iteration is a proximal point, whose dual has
    one entry per singular value and is minimised by semismooth Newton [2]_; few iterations suffice
    where splitting takes thousands, since the columns of neighbouring cells are almost parallel.
    It concentrates mass in few cells unless there are bounds.

    References
    ----------
    .. [1] Last and Kubik (1983), Compact gravity inversion, Geophysics 48.
    .. [2] Li, Sun and Toh (2018), A highly efficient semismooth Newton augmented Lagrangian
       method for solving Lasso problems, SIAM Journal on Optimization 28.
    .. [3] Fournier and Oldenburg (2019), Inversion using spatially variable mixed l_p norms,
       Geophysical Journal International 218.

    Examples
    --------
    >>> import numpy as np
    >>> from skgrav import ForwardOperator, Mesh, SparseInverter
    >>> operator = ForwardOperator(Mesh.square(8), units="normalized").fit()
    >>> rho = np.zeros((8, 8))
    >>> rho[2:4, 3:5] = 5.0
    >>> g = operator.transform(rho.reshape(1, -1))
    >>> g += 0.01 * np.std(g) * np.random.default_rng(0).normal(size=g.shape)
    >>> inverter = SparseInverter(contrast=5.0, noise_level=0.01, operator=operator).fit(g)
    >>> found = inverter.predict(g).reshape(8, 8)
    >>> bool(((found > 2.5) == (rho > 0)).all())
    True
    """

    _about_estimate: ClassVar[bool] = True
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **RegularizedInverter._parameter_constraints,
        "alpha": [
            StrOptions({"auto", "discrepancy", "gcv"}),
            Interval(Real, 0, None, closed="neither"),
        ],
        "norms": ["array-like", Real, None],
        "norm_weights": ["array-like", None],
        "isotropic": ["boolean"],
        "contrast": ["array-like", Interval(Real, 0, None, closed="neither"), None],
        "max_iter": [Interval(Real, 1, None, closed="left"), None],
        "tol": [Interval(Real, 0, None, closed="neither"), None],
    }
    _file_fields: ClassVar = (
        *RegularizedInverter._file_fields,
        Field("_mixed", MixedNorms | None, optional=True),
        Field("_weights", Array | None, ("n_outputs_",)),
        Field("_U", Array | None, ("n_white", "k")),
        Field("_s", Array | None, ("k",)),
        Field("_Vt", Array | None, ("k", "n_outputs_")),
    )

    def __init__(
        self,
        alpha: float | Literal["auto", "discrepancy", "gcv"] = "auto",
        *,
        norms: Sequence[float] | float | None = None,
        norm_weights: Sequence[float] | None = None,
        isotropic: bool = True,
        contrast: float | tuple[float, float] | None = None,
        depth_weighting: float | Literal["sensitivity", "distance"] | None = None,
        reference: ArrayLike | Literal["mean"] | None = None,
        bounds: tuple[ArrayLike, ArrayLike] | None = None,
        cell_weights: ArrayLike | None = None,
        noise_level: float | Literal["auto"] | None = None,
        operator: BaseOperator | None = None,
        max_iter: int | None = None,
        tol: float | None = None,
    ) -> None:
        self.alpha = alpha
        self.norms = norms
        self.norm_weights = norm_weights
        self.isotropic = isotropic
        self.contrast = contrast
        self.depth_weighting = depth_weighting
        self.reference = reference
        self.bounds = bounds
        self.cell_weights = cell_weights
        self.noise_level = noise_level
        self.operator = operator
        self.max_iter = max_iter
        self.tol = tol

    #: None where the sum of absolute departures is minimised exactly.
    _mixed: MixedNorms | None = None

    def _prepare(self, whitening: Whitening) -> None:
        self._mixed = None
        self._weights: Any = None
        self._U: Any = None
        self._s: Any = None
        self._Vt: Any = None
        norms = self._checked_norms()
        if norms is not None:
            _check_contrast(self.contrast)
            given = np.ones(len(norms)) if self.norm_weights is None else self.norm_weights
            weights = check_per_axis(given, "norm_weights", len(norms) - 1)
            if not any(weights):
                raise ValueError(
                    f"'norm_weights' is {self.norm_weights!r}, so that no density counts; at least "
                    "one weight must be positive."
                )
            self._mixed = MixedNorms.of(
                self.operator_,
                whitening,
                norms,
                weights,
                self.isotropic,
                self.depth_weighting,
                self._cell_weights,
            )
            return
        if self.depth_weighting == "sensitivity" and self.bounds is None:
            warn(
                f"{self._why_exact} and 'depth_weighting' is 'sensitivity' without 'bounds': the "
                "least sum of absolute departures concentrates mass in single cells. "
                f"{'Give' if self.norms is None else 'Take norms=None, or give'} 'bounds'."
            )
        norm = ModelNorm.of(self.operator_, 0, self.depth_weighting, whitening)
        # The weights of the square norm include the root of the volume.
        self._weights = norm.weights * np.sqrt(relative_volumes(self.operator_))
        if self._cell_weights is not None:
            self._weights = self._weights * self._cell_weights
        U, s, Vt = self.operator_.dense_.whitened(whitening, 1.0 / self._weights).svd
        kept = s >= max(_RCOND * s[0], np.finfo(float).tiny)
        if not kept.any():
            raise ValueError("'operator' maps every density to zero; give one with sensitivity.")
        self._U, self._s, self._Vt = U[:, kept], s[kept], Vt[kept]

    def _solve(self, white: Array, sigma: Array, choice: str | float) -> Departure:
        if self._mixed is not None:
            whitening = self._noise(None).whitening
            departure, damping, n_iter, status, noise, courses = self._mixed.solve(
                self.operator_,
                whitening,
                white,
                sigma,
                choice,
                contrast=_check_contrast(self.contrast),
                bounds=self._departures_within(),
                max_iter=int(self.max_iter or _MIXED_ITER),
                tol=self.tol or _MIXED_TOL,
            )
            norms = self._mixed.value(self.operator_, departure)
            return Departure(departure, norms, damping, n_iter, status, noise, courses)
        coordinates, s = white @ self._U, self._s
        n_data, rank = self._U.shape
        lost2 = np.maximum(np.sum(white**2, axis=1) - np.sum(coordinates**2, axis=1), 0.0)
        size = np.max(np.abs((coordinates * s / (s**2 + _FIRST * s[0] ** 2)) @ self._Vt), axis=1)
        size[size == 0] = 1.0
        lower, upper = (self._weights * b for b in self._departures_within())
        problem = SparseLeastSquares(
            self._Vt,
            s,
            lower,
            upper,
            max_iter=int(self.max_iter or _EXACT_ITER),
            tol=self.tol or _EXACT_TOL,
        )
        exceeds = np.zeros(len(white), dtype=bool)
        if isinstance(choice, str):
            if choice == "gcv":
                sigma = self._cross_validated_noise(coordinates, lost2)
            noise, exceeds = noise_in_data(sigma, lost2, n_data - rank)
            # The noise of all data minus the part out of reach, and at least the 5 % quantile of
            # the noise in reach, which is taken where the mesh does not explain the data.
            least = noise**2 * chdtri(rank, 0.95)
            above2 = np.where(exceeds, least, np.maximum(n_data * sigma**2 - lost2, least))
            u, found, n_iter, status = problem.solve(coordinates, size, radius=np.sqrt(above2))
        else:
            alpha = choice * sigma**2
            u, found, n_iter, status = problem.solve(coordinates, size, alpha=alpha)
        status = np.where(exceeds, Status.OUT_OF_REACH, status)
        norm = np.sum(np.abs(u), axis=1)
        return Departure(u / self._weights, norm, found, n_iter, status, sigma)

    def _draws(
        self,
        white: Array,
        sigma: Array,
        solved: Departure,
        n_draws: int,
        rng: np.random.RandomState,
    ) -> Array:
        """Return draws of departures, (n_samples, n_cells, n_draws)."""
        if self._mixed is None:
            remedy = "norms=None, or a tuple of powers"
            if self.norms is None:
                remedy = "TikhonovInverter, or give a ForwardOperator with its mesh"
            raise ValueError(
                f"{self._why_exact}, about whose exact minimum there are no draws. Take {remedy}."
            )
        whitening = self._noise(None).whitening
        bounds = self._departures_within()
        return self._mixed.draws(self.operator_, whitening, solved, n_draws, rng, bounds=bounds)

    @property
    def _why_exact(self) -> str:
        """Return in words why the sum of absolute departures is minimised exactly."""
        without = " (as it is without a mesh in 'operator')" if self.norms is None else ""
        return f"'norms' is 1{without}"

    def _cross_validated_noise(self, coordinates: Array, lost2: Array) -> Array:
        """Return the noise estimated from the residuals of least squares damped by GCV."""
        # The part out of reach of densities is one more coordinate, of variance 0.
        c = np.column_stack([coordinates, np.sqrt(lost2)])
        n_data = len(self._U)
        curves = DampingCurves(np.append(self._s**2, 0.0), n_data)
        return curves.noise(c, curves.search(c, "gcv"))

    def _departures_within(self) -> tuple[Array, Array]:
        """Return the bounds of departures, (n_cells,) each."""
        lower, upper = self._bounds or (-np.inf, np.inf)
        return lower - self.reference_, upper - self.reference_

    def _checked_norms(self) -> tuple[float, ...] | None:
        """Return the powers of a mixed norm, None for the exact sum of absolute departures."""
        mesh = getattr(self.operator_, "mesh_", None)
        if self.norms is None:
            return None if mesh is None else (0.0, *[1.0] * mesh.ndim)
        if np.ndim(self.norms) == 0:
            if self.norms != 1:
                raise ValueError(
                    f"'norms' is {self.norms!r}; it must be 1, the exact sum of absolute "
                    "departures, or a tuple such as (0, 1, 1, 1), with a power for departures and "
                    "one for each axis."
                )
            return None
        if mesh is None:
            raise ValueError(
                f"'norms' is {self.norms!r}, but a {type(self.operator_).__name__} of "
                f"{self.operator_.n_data_} data and {self.operator_.n_cells_} cells has no mesh to "
                "take slopes on. Give 'operator', a ForwardOperator with its mesh, or take norms=1."
            )
        return check_per_axis(self.norms, "norms", mesh.ndim, 2.0)


def _check_contrast(contrast: Any) -> tuple[float, float] | None:
    """Return the magnitudes of negative and positive departures."""
    if contrast is None:
        return None
    values = real_array(contrast, "contrast")
    if values.ndim == 0:
        values = np.array([-values, values])
    if values.shape != (2,) or not (values[0] <= 0 <= values[1] and values[0] < values[1]):
        raise ValueError(
            f"'contrast' is {contrast!r}; it must be a positive number, or two, the lowest "
            "departure, not above 0, and the highest, not below 0."
        )
    largest = float(np.max(np.abs(values)))
    if largest < 1e-100:
        raise ValueError(f"'contrast' is {contrast!r}, whose powers overflow; check its unit.")
    least = 1e-3 * largest
    return max(-float(values[0]), least), max(float(values[1]), least)
