"""Iterative and direct solvers of ``A rho = g``, on any operator, batched over samples."""

from __future__ import annotations

from typing import Any

from skgrav.io import saved
from skgrav.solvers._base import Solver, SolverResult
from skgrav.solvers._bounded_cg import BoundedLeastSquares
from skgrav.solvers._cgls import CGLS
from skgrav.solvers._face_norm import FaceNorm, Scales, Stiffness
from skgrav.solvers._gaussian import DataSpace
from skgrav.solvers._gradient_descent import GradientDescent
from skgrav.solvers._guard import Guard
from skgrav.solvers._icg import ICG
from skgrav.solvers._krylov import GMRES, LGMRES
from skgrav.solvers._lsmr import LSMR
from skgrav.solvers._mixed_norms import MixedNormLeastSquares
from skgrav.solvers._projection import (
    IN_REACH,
    Bounds,
    Projection,
    check_bounds,
    discrepancy_strength,
)
from skgrav.solvers._reweighting import Iterations
from skgrav.solvers._sparse import SparseLeastSquares
from skgrav.solvers._splitting import BoundedLeastNorm
from skgrav.solvers._status import (
    SIGNIFICANCE,
    Status,
    noise_in_data,
    warn_below_noise,
    warn_unfitted,
)
from skgrav.solvers._system import DecomposedSystem, LinearSystem, SVDSystem, make_system
from skgrav.solvers._weights import DEPTH_WEIGHTING, depth_weights, relative_volumes

#: Solvers by the names that `Refiner` accepts.
SOLVERS: dict[str, type[Solver]] = {
    "gd": GradientDescent,
    "gmres": GMRES,
    "lgmres": LGMRES,
    "icg": ICG,
    "cgls": CGLS,
    "lsmr": LSMR,
    "projection": Projection,
}
for _solver in SOLVERS.values():
    saved(_solver)

__all__ = [
    "CGLS",
    "GMRES",
    "ICG",
    "LGMRES",
    "LSMR",
    "SOLVERS",
    "GradientDescent",
    "Projection",
    "Solver",
    "SolverResult",
]

#: Nonlinear least squares, imported when first used, as it needs torch.
_NONLINEAR = {"NonlinearProblem", "Solution", "adam", "gauss_newton", "lbfgs"}


def __getattr__(name: str) -> Any:
    if name in _NONLINEAR:
        from skgrav.solvers import _gauss_newton

        return getattr(_gauss_newton, name)
    raise AttributeError(f"module 'skgrav.solvers' has no attribute {name!r}")
