"""GMRES and LGMRES on the normal equations, for all samples at once."""

from __future__ import annotations

from abc import abstractmethod
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np

from skgrav._constraints import POSITIVE, Interval, StrOptions
from skgrav._typing import Array
from skgrav.noise import Whitening
from skgrav.solvers._arnoldi import ArnoldiCycle
from skgrav.solvers._base import Problem, Progress, Solver, SolverResult
from skgrav.solvers._scipy import solve_with_scipy
from skgrav.solvers._weights import DEPTH_WEIGHTING

_EPS = np.finfo(np.float64).eps

#: Samples of a batch, whose bases then fit into the cache.
_BATCH = 350


class _RestartedKrylov(Solver):
    """Outer loop over restarts; subclasses give the length of a cycle and of its memory."""

    tol: float
    max_iter: int
    depth_weighting: float | Literal["sensitivity", "distance"] | None
    engine: Literal["auto", "svd", "operator", "scipy"]

    _parameter_constraints: dict[str, list[Any]] = {
        "tol": [Interval(Real, 0, 1, closed="neither")],
        "max_iter": [POSITIVE],
        "depth_weighting": DEPTH_WEIGHTING,
        "engine": [StrOptions({"auto", "svd", "operator", "scipy"})],
    }

    #: Name of the method in scipy.sparse.linalg.
    _scipy_name: str

    @property
    @abstractmethod
    def _lengths(self) -> tuple[int, int]:
        """Numbers of Krylov iterations of a cycle, and of past steps that augment it."""

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
                    "support. Use engine='auto'."
                )
            own = self.get_params().keys() - _RestartedKrylov._parameter_constraints.keys()
            options = {"rtol": self.tol, "atol": 0.0, "maxiter": self.max_iter}
            options |= {name: getattr(self, name) for name in own}
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
        n_krylov, n_past = self._lengths
        memory = np.zeros((len(c), 0, c.shape[1]))
        for _ in range(self.max_iter if active.any() else 0):
            # Where the Krylov space is exhausted, another cycle would find nothing new.
            step, broken = np.zeros_like(c), np.zeros(len(c), dtype=bool)
            for start in range(0, len(c), _BATCH):
                i = start + np.flatnonzero(active[start : start + _BATCH])
                # As in SciPy, the tolerance of a cycle is tightened where the last one met it, and
                # loosened where it did not.
                cycle = ArnoldiCycle(
                    system,
                    gradient[i],
                    residual[i],
                    n_krylov,
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
            if n_past:
                length = np.linalg.norm(step, axis=1, keepdims=True)
                newest = np.divide(step, length, out=np.zeros_like(step), where=length > 0)
                memory = np.concatenate([memory, newest[:, None]], axis=1)[:, -n_past:]
            # The residual is computed anew, since its update drifts by rounding.
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


class GMRES(_RestartedKrylov):
    """Restarted GMRES on the normal equations, the paper's first choice.

    Parameters
    ----------
    tol : float, default=1e-6
        Stop where ``||A^T (g - A rho)|| <= tol ||A^T g||`` or the data are fitted to their noise.
    restart : int, default=20
        Iterations of a cycle.
    max_iter : int, default=5000
        Largest number of cycles.
    depth_weighting : float, "sensitivity", "distance" or None, default=None
        Weights, falling with depth, of the norm in which corrections are smallest, as in
        `TikhonovInverter`: deep cells change as well, and the system is better conditioned.
    engine : {"auto", "svd", "operator", "scipy"}, default="auto"
        Coordinates of the iteration: of the thin SVD, or the operator's own; or SciPy's solver,
        sample by sample. ``"auto"`` takes the SVD where it is affordable.

    See Also
    --------
    LGMRES : The same with a memory of past cycles.

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
        "restart": [POSITIVE],
    }
    _scipy_name = "gmres"

    def __init__(
        self,
        *,
        tol: float = 1e-6,
        restart: int = 20,
        max_iter: int = 5000,
        depth_weighting: float | Literal["sensitivity", "distance"] | None = None,
        engine: Literal["auto", "svd", "operator", "scipy"] = "auto",
    ) -> None:
        self.tol = tol
        self.restart = restart
        self.max_iter = max_iter
        self.depth_weighting = depth_weighting
        self.engine = engine

    @property
    def _lengths(self) -> tuple[int, int]:
        return self.restart, 0


class LGMRES(_RestartedKrylov):
    """Loose GMRES on the normal equations: the steps of past cycles augment the next one.

    Parameters
    ----------
    tol : float, default=1e-6
        Stop where ``||A^T (g - A rho)|| <= tol ||A^T g||`` or the data are fitted to their noise.
    inner_m : int, default=30
        Krylov iterations of a cycle.
    outer_k : int, default=50
        Number of past steps in the memory.
    max_iter : int, default=5000
        Largest number of cycles.
    depth_weighting : float, "sensitivity", "distance" or None, default=None
        Weights, falling with depth, of the norm in which corrections are smallest, as in
        `TikhonovInverter`: deep cells change as well, and the system is better conditioned.
    engine : {"auto", "svd", "operator", "scipy"}, default="auto"
        Coordinates of the iteration: of the thin SVD, or the operator's own; or SciPy's solver,
        sample by sample. ``"auto"`` takes the SVD where it is affordable.

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
        "inner_m": [POSITIVE],
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
        depth_weighting: float | Literal["sensitivity", "distance"] | None = None,
        engine: Literal["auto", "svd", "operator", "scipy"] = "auto",
    ) -> None:
        self.tol = tol
        self.inner_m = inner_m
        self.outer_k = outer_k
        self.max_iter = max_iter
        self.depth_weighting = depth_weighting
        self.engine = engine

    @property
    def _lengths(self) -> tuple[int, int]:
        return self.inner_m, self.outer_k
