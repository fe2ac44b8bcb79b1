"""Compact densities: the smallest absolute norm that fits the data."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import chdtri

from skgrav._constraints import Interval, StrOptions
from skgrav._typing import Array
from skgrav.inverters._damping import DampingCurves
from skgrav.inverters._model_norm import ModelNorm
from skgrav.inverters._regularized import Departure, RegularizedInverter
from skgrav.io import Field, saved
from skgrav.noise import Whitening
from skgrav.operators import BaseOperator
from skgrav.solvers import SparseLeastSquares, Status, noise_in_data, relative_volumes

#: Damping of the estimates that give the size of departures, relative to the largest s squared.
_FIRST = 1e-3

#: Singular values below this share of the largest are taken as zero.
_RCOND = 1e-8


@saved
class SparseInverter(RegularizedInverter):
    """Density that departs from a reference in few cells and fits the data.

    Minimises the sum of absolute departures instead of that of squares, which gives compact bodies
    with sharp edges. Needs no training sections, so `fit` works with data alone. Give `bounds` and
    `depth_weighting`: otherwise few very dense cells near the top fit as well.

    Parameters
    ----------
    alpha : "auto", "discrepancy", "gcv" or float, default="auto"
        Weight of the model norm; ``"discrepancy"`` chooses it for each sample so that the
        residual is as large as the noise. ``"gcv"`` does the same with the noise estimated by
        generalised cross-validation of least squares. ``"auto"`` is the discrepancy principle
        where the noise is known and ``"gcv"`` where it is not.
    depth_weighting : float, "sensitivity" or None, default=None
        Weights of departures that fall with depth, as in `TikhonovInverter`.
    reference : float, array-like of shape (n_cells,), "mean" or None, default=None
        Density from which departures are measured; ``"mean"`` is the mean of the training
        densities, None is zero.
    bounds : tuple of two floats, default=None
        Lowest and highest density, within which the norm is minimised; infinities are allowed.
    noise_level : float or "auto", default=None
        Standard deviation of the noise relative to the rms of each sample's own data without
        their trend. None takes the uncertainty of the operator's survey. Where it is not known,
        or ``"auto"``, alpha is chosen without it and refers to data in their unit.
    operator : ForwardOperator or MatrixOperator, default=None
        The physics. None takes the paper's geometry if it reproduces the training pairs; otherwise
        it identifies the operator from them or, without densities, assumes the paper's geometry,
        with a warning.
    max_iter : int, default=100
        Largest number of iterations.
    tol : float, default=1e-4
        Stop where the model norm exceeds its minimum by at most this share, as estimated from the
        last step.

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
        If alpha="discrepancy" and the noise is not known, `depth_weighting` needs a mesh, or the
        operator does not fit the data.

    Warns
    -----
    PhysicsWarning
        If the operator was identified or assumed, or reproduces the pairs only roughly.
    ConvergenceWarning
        If data are not fitted to their noise.
    UserWarning
        If estimates are beyond the densities of rocks, the alpha of ``"gcv"`` contradicts the
        stated noise tenfold, or the data differ from the reference by far less than their noise.

    See Also
    --------
    TikhonovInverter : Smooth densities, in closed form.

    Notes
    -----
    Minimises ``||(g - A rho) / sigma||^2 + alpha sum(v w |rho - reference|)`` with volumes v
    relative to their mean [1]_, or with the discrepancy principle the sum alone, subject to a
    bound of the misfit. Each iteration is a proximal point, whose dual has one entry per singular
    value and is minimised by semismooth Newton [2]_; few iterations suffice where splitting takes
    thousands, since the columns of neighbouring cells are almost parallel.

    References
    ----------
    .. [1] Last and Kubik (1983), Compact gravity inversion, Geophysics 48.
    .. [2] Li, Sun and Toh (2018), A highly efficient semismooth Newton augmented Lagrangian
       method for solving Lasso problems, SIAM Journal on Optimization 28.

    Examples
    --------
    >>> import numpy as np
    >>> from skgrav import ForwardOperator, Mesh, SparseInverter
    >>> operator = ForwardOperator(Mesh.square(8), units="normalized").fit()
    >>> rho = np.zeros((1, 64))
    >>> rho[0, 20] = 5.0
    >>> g = operator.transform(rho)
    >>> inverter = SparseInverter(depth_weighting=1.0, noise_level=0.001, operator=operator)
    >>> found = inverter.fit(g).predict(g)
    >>> int(np.argmax(found)), float(found.max().round())
    (20, 5.0)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **RegularizedInverter._parameter_constraints,
        "alpha": [
            StrOptions({"auto", "discrepancy", "gcv"}),
            Interval(Real, 0, None, closed="neither"),
        ],
    }
    _file_fields: ClassVar = (
        *RegularizedInverter._file_fields,
        Field("_weights", Array, ("n_outputs_",)),
        Field("_U", Array, ("n_white", "k")),
        Field("_s", Array, ("k",)),
        Field("_Vt", Array, ("k", "n_outputs_")),
    )

    def __init__(
        self,
        alpha: float | Literal["auto", "discrepancy", "gcv"] = "auto",
        *,
        depth_weighting: float | Literal["sensitivity"] | None = None,
        reference: ArrayLike | Literal["mean"] | None = None,
        bounds: tuple[float, float] | None = None,
        noise_level: float | Literal["auto"] | None = None,
        operator: BaseOperator | None = None,
        max_iter: int = 100,
        tol: float = 1e-4,
    ) -> None:
        self.alpha = alpha
        self.depth_weighting = depth_weighting
        self.reference = reference
        self.bounds = bounds
        self.noise_level = noise_level
        self.operator = operator
        self.max_iter = max_iter
        self.tol = tol

    def _prepare(self, whitening: Whitening) -> None:
        norm = ModelNorm.of(self.operator_, 0, self.depth_weighting, whitening)
        # The weights of the square norm include the root of the volume.
        self._weights = norm.weights * np.sqrt(relative_volumes(self.operator_))
        U, s, Vt = self.operator_.dense_.whitened(whitening, 1.0 / self._weights).svd
        kept = s >= max(_RCOND * s[0], np.finfo(float).tiny)
        if not kept.any():
            raise ValueError("'operator' maps every density to zero; give one with sensitivity.")
        self._U, self._s, self._Vt = U[:, kept], s[kept], Vt[kept]

    def _solve(self, white: Array, sigma: Array, choice: str | float) -> Departure:
        coordinates, s = white @ self._U, self._s
        n_data, rank = self._U.shape
        lost2 = np.maximum(np.sum(white**2, axis=1) - np.sum(coordinates**2, axis=1), 0.0)
        size = np.max(np.abs((coordinates * s / (s**2 + _FIRST * s[0] ** 2)) @ self._Vt), axis=1)
        size[size == 0] = 1.0
        lower, upper = (
            self._weights * (b - self.reference_) for b in self._bounds or (-np.inf, np.inf)
        )
        problem = SparseLeastSquares(
            self._Vt, s, lower, upper, max_iter=int(self.max_iter), tol=self.tol
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

    def _cross_validated_noise(self, coordinates: Array, lost2: Array) -> Array:
        """Return the noise estimated from the residuals of least squares damped by GCV."""
        # The part out of reach of densities is one more coordinate, of variance 0.
        c = np.column_stack([coordinates, np.sqrt(lost2)])
        n_data = len(self._U)
        curves = DampingCurves(np.append(self._s**2, 0.0), n_data)
        return curves.noise(c, curves.search(c, "gcv"))
