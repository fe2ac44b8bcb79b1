"""SciPy's GMRES and LGMRES on the normal equations, one sample after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import linalg

from skgrav._typing import Array
from skgrav.solvers._base import SolverResult
from skgrav.solvers._status import Status
from skgrav.solvers._system import as_linear_operator


def solve_with_scipy(
    name: str, options: dict[str, Any], operator: Any, g: Array, rho0: Array
) -> SolverResult:
    """Run ``scipy.sparse.linalg.<name>`` on ``A^T A rho = A^T g`` for each sample."""
    A = as_linear_operator(operator)
    n_iter = np.zeros(len(g), dtype=np.intp)
    status = np.zeros(len(g), dtype=np.intp)
    rho = np.empty_like(rho0)
    for i, (data, start) in enumerate(zip(g, rho0, strict=True)):
        products = 0

        def normal(x: Array) -> Array:
            nonlocal products
            products += 1
            return A.rmatvec(A.matvec(x))

        B = linalg.LinearOperator((A.shape[1],) * 2, matvec=normal, dtype=np.float64)
        rho[i], info = getattr(linalg, name)(B, A.rmatvec(data), x0=start.copy(), **options)
        # SciPy also takes a product for the first and for the last residual.
        n_iter[i] = max(0, products - 2)
        status[i] = Status.REACHED if info == 0 else Status.MAX_ITER
    residuals = [np.linalg.norm(g - A.matmat(x.T).T, axis=1) for x in (rho0, rho)]
    norm = np.linalg.norm(g, axis=1)
    history = np.array([np.divide(r, norm, out=np.zeros_like(r), where=r > 0) for r in residuals])
    return SolverResult(rho, n_iter, history, status)
