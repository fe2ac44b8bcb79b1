"""Linear operators from density to gravity and other data, and the ways to apply them."""

from skgrav.operators._anywhere import AnywhereOperator
from skgrav.operators._base import SVD_SIZE, BaseOperator
from skgrav.operators._cell_values import CellValues
from skgrav.operators._cells import UNITS, Geometry
from skgrav.operators._columns import ContrastLaw, InterfaceModel
from skgrav.operators._forward import ForwardOperator
from skgrav.operators._fraction import whole_cells
from skgrav.operators._geometry import PhysicsWarning
from skgrav.operators._gram import decomposed_gram
from skgrav.operators._identification import (
    N_CHECKED,
    check_pairs,
    operator_of_data,
    relative_misfit,
    resolve_operator,
)
from skgrav.operators._joint import JointOperator
from skgrav.operators._lazy import is_lazy, lazily
from skgrav.operators._matrix import MatrixOperator
from skgrav.operators._memory import decomposition_bytes, readable, require
from skgrav.operators._plan import OperatorPlan
from skgrav.operators._sensitivity import DenseMatrix, sensitivity
from skgrav.operators._shared import shared
from skgrav.operators._svd import SVD, Products, thin_svd
from skgrav.operators._toeplitz import ToeplitzOperator

__all__ = [
    "SVD",
    "UNITS",
    "CellValues",
    "ForwardOperator",
    "JointOperator",
    "MatrixOperator",
    "OperatorPlan",
    "PhysicsWarning",
    "resolve_operator",
]
