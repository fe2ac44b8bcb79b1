"""Compact densities: the least absolute norm that fits the data."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import chdtri

from skgrav._constraints import Interval, StrOptions
from skgrav._typing import Array, Indices
from skgrav.inverters._damping import DampingCurves
from skgrav.inverters._model_norm import ModelNorm
from skgrav.inverters._regularized import RegularizedInverter
from skgrav.io import Field, saved
from skgrav.noise import Whitening
from skgrav.operators import BaseOperator
from skgrav.solvers import SparseLeastSquares, Status, noise_in_data, relative_volumes

#: Damping of the estimates that tell the size of departures, relative to the largest s squared.
_FIRST = 1e-3

#: Singular values below this share of the largest are taken as zero.
_RCOND = 1e-8


@saved
class SparseInverter(RegularizedInverter):
    """Density that departs from a reference in few cells and fits the data.

    The sum of absolute departures is kept small instead of that of squares, which gives compact
    bodies with sharp edges. It needs no training sections: `fit` on data alone works. Give `bounds`
    and `depth_weighting`: without them few very dense cells near the top fit as well.

    Parameters
    ----------
    alpha : "auto", "discrepancy", "gcv" or float, default="auto"
        Weight of the model norm; ``"discrepancy"`` chooses it for each sample so that the
        residual is as large as the noise. ``"gcv"`` does the same with the noise that generalised
        cross-validation of the estimate of least squares finds. ``"auto"`` is the discrepancy
        principle where the noise is known and ``"gcv"`` where it is not.
    depth_weighting : float, "sensitivity" or None, default=None
        Departures are multiplied by a weight that falls with depth as the data's sensitivity
        does, so that they need not stay at the top. A number is the beta of
        ``(z + z0)**(-beta / 2)``, with the depth z + z0 below the mean station;
        ``"sensitivity"`` takes the decay from
        the operator: the square root of the norm of a column per volume, averaged over each layer
        with these norms as weights, or for each cell where there is no mesh. Weights have a mean
        square of 1.
    reference : float, array-like of shape (n_cells,), "mean" or None, default=None
        Density from which departures count; ``"mean"`` is that of the training densities, None
        is zero.
    bounds : tuple of two floats, default=None
        Lowest and highest density; infinities are allowed. The estimate is the minimiser within
        them.
    noise_level : float or "auto", default=None
        Standard deviation of the noise relative to the rms of each sample's own data without
        their trend. None takes the uncertainty of the operator's survey. Where it is not known,
        or ``"auto"``, alpha is chosen without it and counts in the unit of the data.
    operator : ForwardOperator or MatrixOperator, default=None
        The physics. None takes the paper's geometry for these sizes if it reproduces the
        training pairs, and otherwise identifies the operator from them, with a warning; without
        densities it takes the paper's geometry, with a warning.
    max_iter : int, default=100
        Most iterations.
    tol : float, default=1e-4
        They stop once the model norm is at most this much above its least, relatively, as far as
        the last step tells.

    Attributes
    ----------
    operator_ : BaseOperator
        The fitted operator in use.
    reference_ : ndarray of shape (n_cells,)
        Density from which departures count.
    n_iter_ : int
        Always 1: `fit` prepares the inversion in one step. `invert` gives the iterations.
    n_outputs_ : int
        Number of cells.
    n_features_in_ : int
        Number of data.

    Raises
    ------
    ValueError
        If alpha="discrepancy" and the noise is not known, depths are asked of an operator without
        a mesh, or the operator does not fit the data.

    Warns
    -----
    PhysicsWarning
        If the operator was identified or assumed, or reproduces the pairs only roughly.
    ConvergenceWarning
        If data are not fitted to their noise: since no density on the mesh or within bounds can,
        or since the iterations ran out.
    UserWarning
        If densities result that no rock has.

    See Also
    --------
    TikhonovInverter : Smooth densities, in closed form.

    Notes
    -----
    Minimises ``||(g - A rho) / sigma||^2 + alpha sum(v w |rho - reference|)`` with volumes v
    relative to their mean [1]_, or the sum alone where the misfit is bounded by the discrepancy
    principle. Each iteration is a proximal point, whose dual has one entry per singular value and
    is minimised by semismooth Newton [2]_; few steps suffice where splitting takes thousands,
    since gravity tells neighbouring cells scarcely apart.

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
        # The square norm's weights hold the root of the volume.
        self._weights = norm.weights * np.sqrt(relative_volumes(self.operator_))
        U, s, Vt = self.operator_.dense_.whitened(whitening, 1.0 / self._weights).svd
        kept = s >= max(_RCOND * s[0], np.finfo(float).tiny)
        if not kept.any():
            raise ValueError("'operator' maps every density to zero; give one that sees cells.")
        self._U, self._s, self._Vt = U[:, kept], s[kept], Vt[kept]

    def _solve(
        self, white: Array, sigma: Array, choice: str | float
    ) -> tuple[Array, Array, Indices, Indices, Array]:
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
            # As much as all data's noise, but never closer than noise of one sample in twenty;
            # close to least squares where the mesh does not explain the data.
            least = noise**2 * chdtri(rank, 0.95)
            above2 = np.where(exceeds, least, np.maximum(n_data * sigma**2 - lost2, least))
            u, found, n_iter, status = problem.solve(coordinates, size, radius=np.sqrt(above2))
        else:
            alpha = choice * sigma**2
            u, found, n_iter, status = problem.solve(coordinates, size, alpha=alpha)
        status = np.where(exceeds, Status.OUT_OF_REACH, status)
        return u / self._weights, found, n_iter, status, sigma

    def _cross_validated_noise(self, coordinates: Array, lost2: Array) -> Array:
        """Return the noise that the residuals of the smallest estimates show, by their GCV."""
        # What no density reaches is one more coordinate, with its norm and without variance.
        c = np.column_stack([coordinates, np.sqrt(lost2)])
        n_data = len(self._U)
        curves = DampingCurves(np.append(self._s**2, 0.0), n_data)
        return curves.noise(c, curves.search(c, "gcv"))

    def _model_norm(self, departure: Array) -> Array:
        return np.sum(np.abs(departure * self._weights), axis=1)
