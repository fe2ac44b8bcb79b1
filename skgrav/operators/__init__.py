"""The physical operator from density to gravity, and the ways to apply it."""

from skgrav.operators._cells import UNITS
from skgrav.operators._forward import ForwardOperator
from skgrav.operators._matrix import MatrixOperator
from skgrav.operators._physics import PhysicsWarning, resolve_operator
from skgrav.operators._plan import OperatorPlan
from skgrav.operators._svd import SVD

__all__ = [
    "SVD",
    "UNITS",
    "ForwardOperator",
    "MatrixOperator",
    "OperatorPlan",
    "PhysicsWarning",
    "resolve_operator",
]
