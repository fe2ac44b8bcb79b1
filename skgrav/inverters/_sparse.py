"""Compact densities: the least absolute norm that fits the data."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtri
from sklearn.utils._param_validation import Interval, StrOptions

from skgrav.inverters._model_norm import ModelNorm
from skgrav.inverters._regularized import RegularizedInverter
from skgrav.operators._base import BaseOperator
from skgrav.solvers._sparse import SparseLeastSquares
from skgrav.solvers._status import Status
from skgrav.solvers._weights import relative_volumes

Array = NDArray[np.float64]

#: Damping of the estimates that tell the size of departures, relative to the largest s squared.
_FIRST = 1e-3

#: Singular values below this share of the largest are taken as zero.
_RCOND = 1e-8


class SparseInverter(RegularizedInverter):
    """Density that departs from a reference in few cells and fits the data.

    The sum of absolute departures is kept small instead of that of squares, which gives compact
    bodies with sharp edges. It needs no training sections: `fit` on data alone works. Give `bounds`
    and `depth_weighting`: without them few very dense cells near the top fit as well.

    Parameters
    ----------
    alpha : "discrepancy" or float, default="discrepancy"
        Weight of the model norm; ``"discrepancy"`` chooses it for each sample so that the
        residual is as large as the noise.
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
    noise_level : float, default=None
        Standard deviation of the noise relative to the rms of each sample's own data. None takes
        the uncertainty of the operator's survey; without one, sigma is 1 in the unit of the data.
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
    alpha_ : ndarray of shape (n_recorded,)
        Alpha of each of the first 200 training samples.
    n_iter_ : int
        Most iterations that one of them took.
    n_outputs_ : int
        Number of cells.
    n_features_in_ : int
        Number of data.

    Raises
    ------
    ValueError
        If no noise is known to the discrepancy principle, depths are asked of an operator without
        a mesh, or the operator does not fit the data.

    Warns
    -----
    PhysicsWarning
        If the operator was identified or assumed, or reproduces the pairs only roughly.
    ConvergenceWarning
        If bounds contradict the data, or the iterations ran out.

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
        "alpha": [StrOptions({"discrepancy"}), Interval(Real, 0, None, closed="neither")],
    }
    _file_forms: ClassVar = {
        **RegularizedInverter._file_forms,
        "_weights": "[n_outputs_]",
        "_U": "[n_features_in_ k]",
        "_s": "[k]",
        "_Vt": "[k n_outputs_]",
    }
    _without_noise: ClassVar[str] = ", or a number as 'alpha'"

    def __init__(
        self,
        alpha: float | Literal["discrepancy"] = "discrepancy",
        *,
        depth_weighting: float | Literal["sensitivity"] | None = None,
        reference: ArrayLike | Literal["mean"] | None = None,
        bounds: tuple[float, float] | None = None,
        noise_level: float | None = None,
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

    def _prepare(self, rows: Array | float) -> None:
        norm = ModelNorm.of(self.operator_, 0, self.depth_weighting, rows)
        # The square norm's weights hold the root of the volume.
        self._weights = norm.weights * np.sqrt(relative_volumes(self.operator_))
        U, s, Vt = self.operator_._dense.scaled(rows, 1.0 / self._weights).svd
        kept = s >= max(_RCOND * s[0], np.finfo(float).tiny)
        self._U, self._s, self._Vt = U[:, kept], s[kept], Vt[kept]

    def _solve(self, d: Array, sigma: Array) -> tuple[Array, Array, Any, Any]:
        coordinates, s = d @ self._U, self._s
        if not s.size:
            raise ValueError("'operator' maps every density to zero; give one that sees cells.")
        size = np.max(np.abs((coordinates * s / (s**2 + _FIRST * s[0] ** 2)) @ self._Vt), axis=1)
        size[size == 0] = 1.0
        lower, upper = (
            self._weights * (b - self.reference_) for b in self._bounds or (-np.inf, np.inf)
        )
        problem = SparseLeastSquares(
            self._Vt, s, lower, upper, max_iter=int(self.max_iter), tol=self.tol
        )
        if self.alpha == "discrepancy":
            lost2 = np.maximum(np.sum(d**2, axis=1) - np.sum(coordinates**2, axis=1), 0.0)
            # As much as all data's noise, but never closer than noise of one sample in twenty.
            least = chdtri(len(s), 0.95)
            radius = sigma * np.sqrt(np.maximum(d.shape[1] - lost2 / sigma**2, least))
            u, found, n_iter, status = problem.solve(coordinates, size, radius=radius)
        else:
            alpha = self.alpha * sigma**2
            u, found, n_iter, status = problem.solve(coordinates, size, alpha=alpha)
        return u / self._weights, found / sigma**2, n_iter, status == Status.REACHED

    def _model_norm(self, departure: Array) -> Array:
        return np.sum(np.abs(departure * self._weights), axis=1)
