"""The physical operator from density to gravity, and the ways to apply it."""

from skgrav.operators._dense import SVD, UNITS
from skgrav.operators._forward import ForwardOperator
from skgrav.operators._matrix import MatrixOperator
from skgrav.operators._physics import PhysicsWarning, resolve_operator

__all__ = [
    "SVD",
    "UNITS",
    "ForwardOperator",
    "MatrixOperator",
    "PhysicsWarning",
    "resolve_operator",
]
