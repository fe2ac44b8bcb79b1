"""GMRES and LGMRES on the normal equations, for all samples at once."""

from __future__ import annotations

from abc import abstractmethod
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np

from skgrav._constraints import Interval, StrOptions
from skgrav._typing import Array
from skgrav.noise import Whitening
from skgrav.solvers._arnoldi import ArnoldiCycle
from skgrav.solvers._base import (
    Problem,
    Progress,
    Solver,
    SolverResult,
)
from skgrav.solvers._scipy import solve_with_scipy
from skgrav.solvers._weights import DEPTH_WEIGHTING

_EPS = np.finfo(np.float64).eps

#: Samples whose bases are held at once, so that they stay in the cache.
_BATCH = 350


class _RestartedKrylov(Solver):
    """Outer loop over restarts; subclasses say how long a cycle is and what it remembers."""

    tol: float
    max_iter: int
    depth_weighting: float | Literal["sensitivity"] | None
    engine: Literal["auto", "svd", "operator", "scipy"]

    _parameter_constraints: dict[str, list[Any]] = {
        "tol": [Interval(Real, 0, 1, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "depth_weighting": DEPTH_WEIGHTING,
        "engine": [StrOptions({"auto", "svd", "operator", "scipy"})],
    }

    #: Name in scipy.sparse.linalg of the same method.
    _scipy_name: str

    @abstractmethod
    def _cycle_length(self) -> int:
        """Return the number of Krylov iterations of a cycle."""

    def _n_augmented(self) -> int:
        return 0

    @abstractmethod
    def _scipy_options(self) -> dict[str, Any]:
        """Return the parameters that SciPy's solver takes beside the shared ones."""

    def _solve(
        self, operator: Any, g: Array, rho0: Array, whitening: Whitening, sigma: Array
    ) -> SolverResult:
        if self.engine == "scipy":
            if sigma.any() or not whitening.is_identity:
                raise ValueError(
                    "engine='scipy' is the paper's noise-free reference and cannot stop at the "
                    "noise; use engine='auto' or leave 'sigma' out."
                )
            if self.depth_weighting is not None:
                raise ValueError(
                    f"'depth_weighting' is {self.depth_weighting!r}, which engine='scipy' does not "
                    "know. Use engine='auto'."
                )
            options = {"rtol": self.tol, "atol": 0.0, "maxiter": self.max_iter}
            options |= self._scipy_options()
            return solve_with_scipy(self._scipy_name, options, operator, g, rho0)
        return super()._solve(operator, g, rho0, whitening, sigma)

    def _iterate(self, problem: Problem) -> tuple[Array, Progress]:
        system = problem.system
        residual = problem.residual.copy()
        gradient = system.adjoint(residual)
        c = np.zeros_like(gradient)
        residual2, norm = np.sum(residual**2, axis=1), np.linalg.norm(gradient, axis=1)
        atol = self.tol * problem.gradient_norm
        active = (norm > atol) & ~problem.at_noise(residual2)
        progress = Progress(residual2, ~active)
        tightening = np.ones(len(c))
        memory = np.zeros((len(c), 0, c.shape[1]))
        for _ in range(self.max_iter if active.any() else 0):
            # A cycle is broken where its space is exhausted: another one would find nothing new.
            step, broken = np.zeros_like(c), np.zeros(len(c), dtype=bool)
            for start in range(0, len(c), _BATCH):
                i = start + np.flatnonzero(active[start : start + _BATCH])
                # As in SciPy, a cycle need not reach the end at once: its aim is tightened where
                # the last one met it, and loosened where it did not.
                cycle = ArnoldiCycle(
                    system,
                    gradient[i],
                    residual[i],
                    self._cycle_length(),
                    memory[i],
                    tolerance=norm[i] * np.minimum(tightening[i], atol[i] / norm[i]),
                    target2=problem.target2[i],
                )
                for live, reached2 in cycle.run():
                    progress.record(i[live], reached2)
                step[i], broken[i] = cycle.step, cycle.broken
                tightening[i] *= np.where(cycle.reached, 0.25, 1.5)
            i = np.flatnonzero(active)
            np.clip(tightening, _EPS, 1.0, out=tightening)
            memory = self._remember(memory, step)
            # The residual is taken anew by the operator: that of the small problem has drifted.
            c[i] += step[i]
            residual[i] -= system.forward(step[i])
            residual2[i] = np.sum(residual[i] ** 2, axis=1)
            progress.residual2[progress.n_iter[i], i] = residual2[i]
            gradient[i] = system.adjoint(residual[i])
            norm[i] = np.linalg.norm(gradient[i], axis=1)
            done = (norm <= atol) | problem.at_noise(residual2)
            progress.converged[i] = done[i]
            active &= ~(done | broken)
            if not active.any():
                break
        return c, progress

    def _remember(self, memory: Array, step: Array) -> Array:
        """Keep the last steps, normalised, as vectors that augment the next cycle."""
        kept = self._n_augmented()
        if not kept:
            return memory
        length = np.linalg.norm(step, axis=1, keepdims=True)
        newest = np.divide(step, length, out=np.zeros_like(step), where=length > 0)
        return np.concatenate([memory, newest[:, None]], axis=1)[:, -kept:]


class GMRES(_RestartedKrylov):
    """Restarted GMRES on the normal equations, the paper's first choice.

    Parameters
    ----------
    tol : float, default=1e-6
        Stop where ``||A^T (g - A rho)|| <= tol ||A^T g||``. With noise the residual reaching
        the size of the noise stops earlier.
    restart : int, default=20
        Iterations of a cycle.
    max_iter : int, default=5000
        Largest number of cycles, as SciPy counts.
    depth_weighting : float, "sensitivity" or None, default=None
        Corrections are least in a norm with weights that fall with depth, as in
        `TikhonovInverter`: they condition the system, and move what is deep as well.
    engine : {"auto", "svd", "operator", "scipy"}, default="auto"
        Coordinates to iterate in: those of the thin SVD, the operator's own, or SciPy's solver
        for one sample after the other. ``"auto"`` takes the SVD where it is affordable.

    See Also
    --------
    LGMRES : The same with a memory over restarts.

    Notes
    -----
    In the coordinates of ``A = U S V^T`` the normal equations are ``diag(S^2)``, of at most
    n_data unknowns, with the same iterates in exact arithmetic.

    References
    ----------
    .. [1] Saad and Schultz (1986), SIAM J. Sci. Stat. Comput. 7(3), 856-869.

    Examples
    --------
    >>> import numpy as np
    >>> from skgrav.solvers import GMRES
    >>> A = np.array([[1.0, 0.0, 1.0], [0.0, 2.0, 0.0]])
    >>> result = GMRES().solve(A, [[2.0, 2.0]])
    >>> result.rho.round(6) + 0.0
    array([[1., 1., 1.]])
    """

    _parameter_constraints: dict[str, list[Any]] = {
        **_RestartedKrylov._parameter_constraints,
        "restart": [Interval(Integral, 1, None, closed="left")],
    }
    _scipy_name = "gmres"

    def __init__(
        self,
        *,
        tol: float = 1e-6,
        restart: int = 20,
        max_iter: int = 5000,
        depth_weighting: float | Literal["sensitivity"] | None = None,
        engine: Literal["auto", "svd", "operator", "scipy"] = "auto",
    ) -> None:
        self.tol = tol
        self.restart = restart
        self.max_iter = max_iter
        self.depth_weighting = depth_weighting
        self.engine = engine

    def _cycle_length(self) -> int:
        return self.restart

    def _scipy_options(self) -> dict[str, Any]:
        return {"restart": self.restart}


class LGMRES(_RestartedKrylov):
    """Loose GMRES on the normal equations: the steps of past cycles augment the next.

    Parameters
    ----------
    tol : float, default=1e-6
        Stop where ``||A^T (g - A rho)|| <= tol ||A^T g||``. With noise the residual reaching
        the size of the noise stops earlier.
    inner_m : int, default=30
        Krylov iterations of a cycle.
    outer_k : int, default=50
        Number of past steps that are kept.
    max_iter : int, default=5000
        Largest number of cycles.
    depth_weighting : float, "sensitivity" or None, default=None
        Corrections are least in a norm with weights that fall with depth, as in
        `TikhonovInverter`: they condition the system, and move what is deep as well.
    engine : {"auto", "svd", "operator", "scipy"}, default="auto"
        Coordinates to iterate in: those of the thin SVD, the operator's own, or SciPy's solver
        for one sample after the other. ``"auto"`` takes the SVD where it is affordable.

    See Also
    --------
    GMRES : The same without the memory.

    References
    ----------
    .. [1] Baker, Jessup and Manteuffel (2005), SIAM J. Matrix Anal. Appl. 26(4), 962-984.

    Examples
    --------
    >>> import numpy as np
    >>> from skgrav.solvers import LGMRES
    >>> A = np.array([[1.0, 0.0, 1.0], [0.0, 2.0, 0.0]])
    >>> result = LGMRES(inner_m=30, outer_k=50).solve(A, [[2.0, 2.0]])
    >>> result.rho.round(6) + 0.0
    array([[1., 1., 1.]])
    """

    _parameter_constraints: dict[str, list[Any]] = {
        **_RestartedKrylov._parameter_constraints,
        "inner_m": [Interval(Integral, 1, None, closed="left")],
        "outer_k": [Interval(Integral, 0, None, closed="left")],
    }
    _scipy_name = "lgmres"

    def __init__(
        self,
        *,
        tol: float = 1e-6,
        inner_m: int = 30,
        outer_k: int = 50,
        max_iter: int = 5000,
        depth_weighting: float | Literal["sensitivity"] | None = None,
        engine: Literal["auto", "svd", "operator", "scipy"] = "auto",
    ) -> None:
        self.tol = tol
        self.inner_m = inner_m
        self.outer_k = outer_k
        self.max_iter = max_iter
        self.depth_weighting = depth_weighting
        self.engine = engine

    def _cycle_length(self) -> int:
        return self.inner_m

    def _n_augmented(self) -> int:
        return self.outer_k

    def _scipy_options(self) -> dict[str, Any]:
        return {"inner_m": self.inner_m, "outer_k": self.outer_k}
