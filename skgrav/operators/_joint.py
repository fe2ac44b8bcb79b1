"""Several operators over one mesh as one operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import block_diag
from sklearn.base import clone
from sklearn.utils.metaestimators import _BaseComposition

from skgrav._checks import validate_data
from skgrav._constraints import WHOLE, checked
from skgrav._typing import Array
from skgrav.geometry import Mesh
from skgrav.io import FEATURES, Field, saved
from skgrav.noise import StatedNoise
from skgrav.operators._base import BaseOperator, Held, decomposable
from skgrav.operators._cell_values import CellValues, SparseMatrix
from skgrav.operators._forward import ForwardOperator
from skgrav.operators._plan import OperatorPlan
from skgrav.operators._sensitivity import DenseMatrix
from skgrav.operators._shared import shared
from skgrav.operators._svd import Products

if TYPE_CHECKING:
    from skgrav.operators._torch import TorchOperator


class JointProducts:
    """Products of stacked operators, with the methods of `Products`."""

    def __init__(self, parts: Sequence[Products]) -> None:
        self.parts = list(parts)
        self.edges = np.cumsum([0, *(part.shape[0] for part in self.parts)])

    @property
    def shape(self) -> tuple[int, int]:
        return int(self.edges[-1]), self.parts[0].shape[1]

    @property
    def slices(self) -> list[slice]:
        """The data of each part."""
        return [slice(int(a), int(b)) for a, b in zip(self.edges, self.edges[1:], strict=False)]

    def forward(self, rho: Array) -> Array:
        return np.hstack([part.forward(rho) for part in self.parts])

    def adjoint(self, g: Array) -> Array:
        pairs = zip(self.parts, self.slices, strict=True)
        return sum((part.adjoint(g[:, data]) for part, data in pairs), start=np.zeros(()))

    def column_norms2(self, weights: Array) -> Array:
        pairs = zip(self.parts, self.slices, strict=True)
        return sum((part.column_norms2(weights[data]) for part, data in pairs), start=np.zeros(()))


@saved
class JointOperator(_BaseComposition, BaseOperator):
    """Operators over one mesh, stacked: gravity and logs, or several surveys.

    The data are those of the parts side by side, ``[g | log | ...]``, and so is their noise. Every
    estimator takes it as its `operator`.

    Parameters
    ----------
    operators : list of ForwardOperator or CellValues, default=None
        The parts, with equal meshes. None takes the gravity of the paper's section alone.

    Attributes
    ----------
    operators_ : list of BaseOperator
        The fitted parts.
    mesh_ : Mesh
        The mesh in use.
    plan_ : OperatorPlan
        How the parts are applied, and their memory together.
    matrix_ : ndarray of shape (n_data, n_cells)
        Sensitivity matrix, read-only, built at first use.
    svd_ : SVD
        Thin singular value decomposition of the matrix, as for `ForwardOperator`; of data in
        their units.
    n_cells_, n_features_in_ : int
        Number of cells.
    n_data_ : int
        Number of data.

    Raises
    ------
    ValueError
        If meshes or units of density differ, or data of several units, such as mGal and kg/m3, do
        not all have an uncertainty.

    See Also
    --------
    CellValues : Densities measured in cells.
    ForwardOperator : Gravity.

    Notes
    -----
    Each datum has the uncertainty of its own part, and a trend of one survey is free in its own
    data only. A relative `noise_level`, of an estimator or a method, is relative to the rms of all
    data and therefore refused where these have several units; ``"auto"`` estimates one factor of
    all uncertainties. Depth weighting takes account of the gravity alone. Names of the data are
    those of the parts, with ``operator0__`` and so on before them if they would repeat.

    Examples
    --------
    >>> import numpy as np
    >>> import skgrav
    >>> from skgrav import CellValues, ForwardOperator, JointOperator, Mesh, Survey
    >>> mesh = Mesh.regular((10, 20), 50.0)
    >>> survey = Survey(Survey.line(mesh).stations, ("z",), uncertainty=0.01)
    >>> log = CellValues(mesh, [30, 50, 70], uncertainty=20.0)
    >>> joint = JointOperator([ForwardOperator(mesh, survey), log]).fit()
    >>> rho = np.zeros((1, 200))
    >>> rho[0, 70] = 400.0
    >>> X = joint.transform(rho)
    >>> g, densities = joint.split(X)
    >>> densities
    array([[  0.,   0., 400.]])
    >>> skgrav.TikhonovInverter(operator=joint).fit(X).predict(X).shape
    (1, 200)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {"operators": [list, tuple, None]}
    _file_fields: ClassVar = (*FEATURES, Field("operators_", list[BaseOperator]))
    _file_left_out: ClassVar = {"_held", "plan_"}

    operators_: list[Any]
    _held: Held | None

    def __init__(self, operators: Sequence[BaseOperator] | None = None) -> None:
        self.operators = operators

    def fit(self, X: ArrayLike | None = None, y: object = None) -> Self:
        """Fit the parts, and check that they fit together.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_cells), default=None
            Densities, of which only the shape is used; optional if the parts have meshes.
        y : object, default=None
            Ignored, for scikit-learn's interface.

        Returns
        -------
        self : JointOperator
            The fitted operator.
        """
        self._validate_params()
        parts = [ForwardOperator()] if self.operators is None else list(self.operators)
        for i, part in enumerate(parts):
            if not isinstance(part, ForwardOperator | CellValues | JointOperator):
                raise TypeError(
                    f"'operators' has {part!r} as part {i}; parts are ForwardOperator or "
                    "CellValues, which have a mesh."
                )
        if not parts:
            raise ValueError("'operators' is empty; give at least one operator.")
        if X is not None:
            X = validate_data(self, X)
        fitted = [clone(part).fit(X) for part in parts]
        _check_fit_together(fitted)
        if X is None:
            self.n_features_in_ = fitted[0].n_cells_
            self.__dict__.pop("feature_names_in_", None)  # of an earlier fit
        self.operators_, self._held = fitted, None
        self._kept()
        self.plan_ = _planned([part.plan_ for part in fitted])
        return self

    @checked(n_samples=[WHOLE])
    def plan(self, n_samples: int = 1) -> OperatorPlan:
        """Plan how the parts are applied and what they need, before they are built.

        Parameters
        ----------
        n_samples : int, default=1
            Number of densities passed to `transform` at a time.

        Returns
        -------
        plan : OperatorPlan
            The methods, their memory together and the reasons.
        """
        parts = getattr(self, "operators_", self.operators) or [ForwardOperator()]
        return _planned([part.plan(n_samples) for part in parts])

    def memory_usage(self) -> int:
        """Return the memory that the parts need together, before they are built.

        Returns
        -------
        n_bytes : int
            Size in bytes.
        """
        return self.plan().n_bytes

    def split(self, X: ArrayLike) -> list[Array]:
        """Split data into those of the parts.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_data)
            Data of all parts.

        Returns
        -------
        parts : list of ndarray
            The data of each part, (n_samples, n_data of the part).
        """
        X = self._checked_data(X)
        return [X[:, data] for data in self._products.slices]

    @property
    def mesh_(self) -> Mesh:
        return self.operators_[0].mesh_

    @property
    def units(self) -> str:
        """Units of density and gravity, "mGal" or "normalized", of the parts."""
        parts = getattr(self, "operators_", self.operators) or []
        return next((p.units for p in parts if hasattr(p, "units")), "mGal")

    @property
    def parts_(self) -> list[tuple[BaseOperator, slice]]:
        parts = []
        for operator, data in zip(self.operators_, self._products.slices, strict=True):
            for part, own in operator.parts_:
                parts.append((part, slice(data.start + own.start, data.start + own.stop)))
        return parts

    @property
    def stated_noise(self) -> StatedNoise | None:
        if not hasattr(self, "operators_"):
            return None
        stated = [operator.stated_noise for operator in self.operators_]
        uncertainty = None
        if all(s.uncertainty is not None for s in stated):
            uncertainty = np.hstack([np.broadcast_to(s.uncertainty, s.n_data) for s in stated])
        names = [s.trend_names for s in stated]
        repeated = len({n for part in names for n in part}) < sum(map(len, names))
        return StatedNoise(
            n_data=sum(s.n_data for s in stated),
            uncertainty=uncertainty,
            trend_basis=block_diag(*(_basis(s) for s in stated)),
            trend_names=tuple(
                f"operator{i} {n}" if repeated else n for i, part in enumerate(names) for n in part
            ),
            units=tuple(dict.fromkeys(u for s in stated for u in _units(s))),
        )

    @property
    def is_decomposable_(self) -> bool:
        stored = all(isinstance(p, DenseMatrix | SparseMatrix) for p in self._products.parts)
        return decomposable(*self._products.shape, held=stored)

    @property
    def identity_(self) -> tuple[object, ...]:
        return "joint", *(operator.identity_ for operator in self.operators_)

    def to_torch(self, *, device: Any = "cpu", dtype: Any = None) -> TorchOperator:
        from skgrav.operators._torch import TorchJoint

        return TorchJoint([part.to_torch(device=device, dtype=dtype) for part in self.operators_])

    to_torch.__doc__ = BaseOperator.to_torch.__doc__

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Get parameters, with those of the parts as ``operator0__mesh`` and so on.

        Parameters
        ----------
        deep : bool, default=True
            Whether to include the parts and their parameters.

        Returns
        -------
        params : dict
            Parameters by name.
        """
        return self._get_params("_named", deep=deep)

    def set_params(self, **params: Any) -> Self:
        """Set parameters, of the parts as ``operator0__mesh`` and so on.

        Parameters
        ----------
        **params : dict
            Parameters by name.

        Returns
        -------
        self : JointOperator
            The operator.
        """
        self._set_params("_named", **params)
        return self

    @property
    def _named(self) -> list[tuple[str, BaseOperator]]:
        if not isinstance(self.operators, list | tuple):
            return []
        return [(f"operator{i}", part) for i, part in enumerate(self.operators)]

    @_named.setter
    def _named(self, named: list[tuple[str, BaseOperator]]) -> None:
        self.operators = [part for _, part in named]

    @property
    def _products(self) -> JointProducts:
        return self._kept().products  # type: ignore[return-value]

    def _kept(self) -> Held:
        # Not pickled, since the parts rebuild theirs.
        if self._held is None:
            products = JointProducts([operator.products_ for operator in self.operators_])
            self._held = Held(products, self._build_dense)
        return self._held

    def _build_dense(self) -> DenseMatrix:
        return shared(self.identity_, self._stacked)

    def _stacked(self) -> DenseMatrix:
        matrix = np.empty(self._products.shape)
        for operator, data in zip(self.operators_, self._products.slices, strict=True):
            matrix[data] = operator.matrix_
        return DenseMatrix(matrix)

    def _data_names(self) -> list[str]:
        parts = [operator._data_names() for operator in self.operators_]
        names = [name for part in parts for name in part]
        if len(set(names)) == len(names):
            return names
        return [f"operator{i}__{name}" for i, part in enumerate(parts) for name in part]

    def _file_restore(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _held=None)
        _check_fit_together(self.operators_)
        if self.operators_[0].n_cells_ != self.n_features_in_:
            raise ValueError(f"its operators do not have {self.n_features_in_} cells")
        self.plan_ = _planned([operator.plan_ for operator in self.operators_])

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "operators_")

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        return state | dict.fromkeys({"_held"} & state.keys())


def _planned(plans: list[OperatorPlan]) -> OperatorPlan:
    return OperatorPlan(
        " + ".join(plan.method for plan in plans),
        sum(plan.n_bytes for plan in plans),
        sum(plan.inversion_bytes for plan in plans),
        "; ".join(plan.reason for plan in plans),
        max(plan.error for plan in plans),
        sum(plan.build_seconds for plan in plans),
        sum(plan.product_seconds for plan in plans),
    )


def _check_fit_together(operators: list[Any]) -> None:
    """Raise ValueError unless operators have one mesh and one unit, and their noise compares."""
    first = operators[0]
    for i, other in enumerate(operators[1:], start=1):
        if other.mesh_ != first.mesh_:
            raise ValueError(
                f"'operators' have different meshes: part 0 has {first.mesh_!r}, part {i} has "
                f"{other.mesh_!r}. Give all the same mesh, with the same active cells."
            )
    units = list(dict.fromkeys(op.units for op in operators if hasattr(op, "units")))
    if len(units) > 1:
        raise ValueError(f"'operators' have units {' and '.join(map(repr, units))}; give one.")
    stated = [operator.stated_noise for operator in operators]
    lacking = [i for i, s in enumerate(stated) if s.uncertainty is None]
    several = len({unit for s in stated for unit in _units(s)}) > 1
    if lacking and (several or len(lacking) < len(stated)):
        i = lacking[0]
        what = (
            "'uncertainty'" if isinstance(operators[i], CellValues) else "survey an 'uncertainty'"
        )
        raise ValueError(
            f"part {i} of 'operators', a {type(operators[i]).__name__}, states no noise, without "
            "which its data cannot be weighed against those of the other parts. Give "
            f"{'its ' if 'survey' in what else ''}{what}, a standard deviation in the unit of its "
            "data."
        )


def _units(stated: Any) -> tuple[str, ...]:
    """Return the kinds of data of an operator or survey, each in a unit of its own."""
    kinds = {1: "gravity", 2: "gradients"}
    components = getattr(stated, "components", ())
    return getattr(stated, "units", ()) or tuple(dict.fromkeys(kinds[len(c)] for c in components))


def _basis(stated: Any) -> Array:
    basis = stated.trend_basis
    return np.zeros((stated.n_data, 0)) if basis is None else basis
