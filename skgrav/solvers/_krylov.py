"""GMRES and LGMRES on the normal equations, for all samples at once."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval, StrOptions

from skgrav.solvers._base import (
    Array,
    Problem,
    Progress,
    Solver,
    SolverResult,
    fraction_to_noise,
)
from skgrav.solvers._scipy import solve_with_scipy
from skgrav.solvers._system import LinearSystem

_EPS = np.finfo(np.float64).eps


class _RestartedKrylov(Solver):
    """Outer loop over restarts; subclasses say how long a cycle is and what it remembers."""

    rtol: float
    max_iter: int
    engine: Literal["auto", "svd", "operator", "scipy"]

    _parameter_constraints: dict[str, list[Any]] = {
        "rtol": [Interval(Real, 0, 1, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "engine": [StrOptions({"auto", "svd", "operator", "scipy"})],
    }

    #: Name in scipy.sparse.linalg of the same method.
    _scipy_name: str

    def _cycle_length(self) -> int:
        raise NotImplementedError

    def _n_augmented(self) -> int:
        return 0

    def _scipy_options(self) -> dict[str, Any]:
        raise NotImplementedError

    def _solve(
        self, operator: Any, g: Array, rho0: Array, rows: Array | float, noise: Array
    ) -> SolverResult:
        if self.engine == "scipy":
            if noise.any():
                raise ValueError(
                    "engine='scipy' is the paper's noise-free reference and cannot stop at the "
                    "noise; use engine='auto' or leave 'sigma' out."
                )
            options = {"rtol": self.rtol, "atol": 0.0, "maxiter": self.max_iter}
            options |= self._scipy_options()
            return solve_with_scipy(self._scipy_name, options, operator, g, rho0)
        return super()._solve(operator, g, rho0, rows, noise)

    def _iterate(self, problem: Problem) -> tuple[Array, Progress]:
        system = problem.system
        residual = problem.residual.copy()
        gradient = system.adjoint(residual)
        c = np.zeros_like(gradient)
        residual2 = np.sum(residual**2, axis=1)
        atol = self.rtol * problem.gradient_norm
        norm = np.linalg.norm(gradient, axis=1)
        active = (norm > atol) & ~problem.at_noise(residual2)
        progress = Progress(residual2, ~active)
        tightening = np.ones(len(c))
        memory = np.zeros((len(c), 0, c.shape[1]))
        for _ in range(self.max_iter):
            i = np.flatnonzero(active)
            if not i.size:
                break
            cycle = _Cycle(system, gradient[i], residual2[i], self._cycle_length(), memory[i])
            tolerance = norm[i] * np.minimum(tightening[i], atol[i] / norm[i])
            step = cycle.run(residual[i], tolerance, problem.target2[i])
            for k, reached2 in enumerate(cycle.history):
                progress.record(i[k < cycle.used], reached2[k < cycle.used])
            c[i] += step
            residual[i] -= system.forward(step)
            residual2[i] = np.sum(residual[i] ** 2, axis=1)
            gradient[i] = system.adjoint(residual[i])
            norm[i] = np.linalg.norm(gradient[i], axis=1)
            memory = self._remember(memory, i, step)
            tightening[i] = np.clip(tightening[i] * np.where(cycle.reached, 0.25, 1.5), _EPS, 1.0)
            done = (norm <= atol) | problem.at_noise(residual2)
            progress.converged[i] = done[i]
            active[i] = ~(done[i] | cycle.broken)
        return c, progress

    def _remember(self, memory: Array, i: NDArray[np.intp], step: Array) -> Array:
        """Keep the last steps, normalised, as vectors that augment the next cycle."""
        kept = self._n_augmented()
        if not kept:
            return memory
        newest = np.zeros((len(memory), 1, memory.shape[2]))
        length = np.linalg.norm(step, axis=1, keepdims=True)
        newest[i, 0] = np.divide(step, length, out=np.zeros_like(step), where=length > 0)
        return np.concatenate([memory, newest], axis=1)[:, -kept:]


class GMRES(_RestartedKrylov):
    """Restarted GMRES on the normal equations, the paper's first choice.

    Parameters
    ----------
    rtol : float, default=1e-6
        Stop where ``||A^T (g - A rho)|| <= rtol ||A^T g||``. With noise the residual reaching
        the size of the noise stops earlier.
    restart : int, default=20
        Iterations of a cycle.
    max_iter : int, default=5000
        Largest number of cycles, as SciPy counts.
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
        rtol: float = 1e-6,
        restart: int = 20,
        max_iter: int = 5000,
        engine: Literal["auto", "svd", "operator", "scipy"] = "auto",
    ) -> None:
        self.rtol = rtol
        self.restart = restart
        self.max_iter = max_iter
        self.engine = engine

    def _cycle_length(self) -> int:
        return self.restart

    def _scipy_options(self) -> dict[str, Any]:
        return {"restart": self.restart}


class LGMRES(_RestartedKrylov):
    """Loose GMRES on the normal equations: the steps of past cycles augment the next.

    Parameters
    ----------
    rtol : float, default=1e-6
        Stop where ``||A^T (g - A rho)|| <= rtol ||A^T g||``. With noise the residual reaching
        the size of the noise stops earlier.
    inner_m : int, default=30
        Krylov iterations of a cycle.
    outer_k : int, default=50
        Number of past steps that are kept.
    max_iter : int, default=5000
        Largest number of cycles.
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
        rtol: float = 1e-6,
        inner_m: int = 30,
        outer_k: int = 50,
        max_iter: int = 5000,
        engine: Literal["auto", "svd", "operator", "scipy"] = "auto",
    ) -> None:
        self.rtol = rtol
        self.inner_m = inner_m
        self.outer_k = outer_k
        self.max_iter = max_iter
        self.engine = engine

    def _cycle_length(self) -> int:
        return self.inner_m

    def _n_augmented(self) -> int:
        return self.outer_k

    def _scipy_options(self) -> dict[str, Any]:
        return {"inner_m": self.inner_m, "outer_k": self.outer_k}


class _Cycle:
    """One cycle of (flexible) Arnoldi for a batch: orthonormal basis, Givens rotations, step.

    The data residual of every iterate follows from small products alone: with directions Z,
    Gram matrix ``Z^T B Z`` and slope ``Z^T gradient``, ``||d - A Z y||^2 = ||d||^2 - 2 y.slope +
    y.Gram.y``.
    """

    def __init__(
        self, system: LinearSystem, gradient: Array, residual2: Array, n_krylov: int, memory: Array
    ) -> None:
        n, size = gradient.shape
        n_krylov = min(n_krylov, size)
        total = n_krylov + memory.shape[1]
        self.system, self.residual2, self.n_krylov, self.memory = (
            system,
            residual2,
            n_krylov,
            memory,
        )
        beta = np.linalg.norm(gradient, axis=1)
        self.basis = np.empty((n, total + 1, size))
        self.basis[:, 0] = gradient / beta[:, None]
        self.triangle = np.zeros((n, total, total))
        self.gram = np.zeros((n, total, total))
        self.slope = np.zeros((n, total))
        self.rhs = np.zeros((n, total + 1))
        self.rhs[:, 0] = self.beta = beta
        self.rotations: list[tuple[Array, Array]] = []
        self.used = np.zeros(n, dtype=np.intp)
        self.broken = np.zeros(n, dtype=bool)
        self.reached = np.zeros(n, dtype=bool)
        self.history: list[Array] = []

    def run(self, residual: Array, tolerance: Array, target2: Array) -> Array:
        """Iterate until each sample meets its tolerance; return the steps."""
        n, total = self.slope.shape
        live = np.ones(n, dtype=bool)
        y, before = np.zeros((n, total)), np.zeros((n, total))
        current2 = self.residual2
        for j in range(total):
            broken = self._expand(j)
            trial = self._back_substitute(j + 1)
            trial2 = self._residual2(trial)
            before[live] = y[live]
            y[live, : j + 1] = trial[live]
            current2 = np.where(live, trial2, current2)
            self.history.append(current2)
            self.used[live] = j + 1
            self.reached |= live & (np.abs(self.rhs[:, j + 1]) <= tolerance)
            self.broken |= live & broken
            live &= ~(self.reached | self.broken | (trial2 <= target2))
            if not live.any():
                break
        directions = self._directions(len(self.history))
        step = self._combine(y, directions)
        if target2.any():
            step = self._stop_at_noise(self._combine(before, directions), step, residual, target2)
        return step

    def _stop_at_noise(self, before: Array, after: Array, residual: Array, target2: Array) -> Array:
        """Take of the last iteration only what the noise allows."""
        forward = self.system.forward
        part = fraction_to_noise(residual - forward(before), residual - forward(after), target2)
        step = before + part[:, None] * (after - before)
        cut = np.flatnonzero(part < 1)
        last2 = np.sum((residual[cut] - forward(step[cut])) ** 2, axis=1)
        for row, sample, value in zip(self.used[cut] - 1, cut, last2, strict=True):
            self.history[row][sample] = value
        return step

    @staticmethod
    def _combine(y: Array, directions: Array) -> Array:
        return (y[:, None, : directions.shape[1]] @ directions)[:, 0]

    def _directions(self, n_used: int) -> Array:
        if n_used <= self.n_krylov:
            return self.basis[:, :n_used]
        return np.concatenate(
            [self.basis[:, : self.n_krylov], self.memory[:, : n_used - self.n_krylov]], axis=1
        )

    def _expand(self, j: int) -> NDArray[np.bool_]:
        """Add direction j; return where the space is exhausted."""
        basis = self.basis[:, : j + 1]
        augmented = j >= self.n_krylov
        z = self.memory[:, j - self.n_krylov] if augmented else basis[:, j]
        w = self.system.adjoint(self.system.forward(z))
        before = np.linalg.norm(w, axis=1)
        column = np.zeros((len(w), j + 2))
        if augmented:  # basis and directions differ: their products must be taken anew
            directions = self._directions(j + 1)
            self.gram[:, : j + 1, j] = (directions @ w[:, :, None])[:, :, 0]
            self.slope[:, j] = self.beta * np.sum(z * self.basis[:, 0], axis=1)
        for _ in range(2):  # once more, since one pass of Gram-Schmidt loses orthogonality
            h = (basis @ w[:, :, None])[:, :, 0]
            w = w - (h[:, None, :] @ basis)[:, 0]
            column[:, : j + 1] += h
        if not augmented:
            self.gram[:, : j + 1, j] = column[:, : j + 1]
            self.slope[:, j] = self.beta if j == 0 else 0.0
        self.gram[:, j, :j] = self.gram[:, :j, j]
        after = np.linalg.norm(w, axis=1)
        broken = after <= 10 * _EPS * before
        after[broken] = 0.0
        column[:, j + 1] = after
        self.basis[:, j + 1] = w / np.where(broken, 1.0, after)[:, None]
        self._rotate(column, j)
        return broken

    def _rotate(self, column: Array, j: int) -> None:
        for k, (cos, sin) in enumerate(self.rotations):
            above, below = column[:, k].copy(), column[:, k + 1]
            column[:, k] = cos * above + sin * below
            column[:, k + 1] = cos * below - sin * above
        length = np.hypot(column[:, j], column[:, j + 1])
        safe = np.where(length > 0, length, 1.0)
        cos, sin = np.where(length > 0, column[:, j] / safe, 1.0), column[:, j + 1] / safe
        self.rotations.append((cos, sin))
        column[:, j] = length
        self.triangle[:, : j + 1, j] = column[:, : j + 1]
        self.rhs[:, j + 1] = -sin * self.rhs[:, j]
        self.rhs[:, j] *= cos

    def _back_substitute(self, size: int) -> Array:
        y = np.zeros((len(self.rhs), size))
        for k in range(size - 1, -1, -1):
            row = self.rhs[:, k] - np.sum(self.triangle[:, k, k + 1 : size] * y[:, k + 1 :], axis=1)
            pivot = self.triangle[:, k, k]
            usable = pivot > _EPS * self.triangle[:, 0, 0]
            y[:, k] = np.where(usable, row, 0.0) / np.where(usable, pivot, 1.0)
        return y

    def _residual2(self, y: Array) -> Array:
        size = y.shape[1]
        curvature = (self.gram[:, :size, :size] @ y[:, :, None])[:, :, 0]
        return self.residual2 + np.sum(y * (curvature - 2 * self.slope[:, :size]), axis=1)
