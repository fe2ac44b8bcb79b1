"""GMRES and LGMRES on the normal equations, for all samples at once."""

from __future__ import annotations

from collections.abc import Iterator
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

#: Share of samples still iterating below which the others are left out of the arrays.
_CROWDED = 0.75

#: Samples whose bases are held at once, so that they stay in the cache.
_BATCH = 350


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
        residual2, norm = np.sum(residual**2, axis=1), np.linalg.norm(gradient, axis=1)
        atol = self.rtol * problem.gradient_norm
        active = (norm > atol) & ~problem.at_noise(residual2)
        progress = Progress(residual2, ~active)
        tightening = np.ones(len(c))
        memory = np.zeros((len(c), 0, c.shape[1]))
        for _ in range(self.max_iter if active.any() else 0):
            step, broken = np.zeros_like(c), np.zeros(len(c), dtype=bool)
            for start in range(0, len(c), _BATCH):
                i = start + np.flatnonzero(active[start : start + _BATCH])
                cycle = _Cycle(system, gradient[i], residual[i], self._cycle_length(), memory[i])
                tolerance = norm[i] * np.minimum(tightening[i], atol[i] / norm[i])
                for live, reached2 in cycle.run(tolerance, problem.target2[i]):
                    progress.record(i[live], reached2)
                step[i], broken[i] = cycle.step, cycle.broken
                tightening[i] *= np.where(cycle.reached, 0.25, 1.5)
            i = np.flatnonzero(active)
            np.clip(tightening, _EPS, 1.0, out=tightening)
            memory = self._remember(memory, step)
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
    """One cycle of (flexible) Arnoldi for a batch, from which samples retire when they are done.

    The data residual of every iterate follows from small products alone: with directions Z,
    Gram matrix ``Z^T B Z`` and slope ``Z^T gradient``, ``||d - A Z y||^2 = ||d||^2 - 2 y.slope +
    y.Gram.y``. The rotated Hessenberg matrix is inverted column by column, since the leading
    block of a triangular inverse is the inverse of the leading block.
    """

    #: Arrays with a row for each sample that still iterates.
    _per_sample = (
        "rows",
        "beta",
        "last",
        "residual",
        "residual2",
        "memory",
        "basis",
        "cos",
        "sin",
        "inverse",
        "gram",
        "slope",
        "rhs",
        "y",
        "tolerance",
        "target2",
    )

    def __init__(
        self, system: LinearSystem, gradient: Array, residual: Array, n_krylov: int, memory: Array
    ) -> None:
        n, size = gradient.shape
        self.n_krylov = min(n_krylov, size)
        total = self.n_krylov + memory.shape[1]
        self.system = system
        # Of all samples, as they came: the step, and why it ended.
        self.step = np.zeros((n, size))
        self.reached, self.broken = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
        self.rows, self.live = np.arange(n), np.ones(n, dtype=bool)
        self.residual, self.memory = residual, memory
        self.residual2 = np.sum(residual**2, axis=1)
        self.beta = self.last = np.linalg.norm(gradient, axis=1)
        self.basis = np.empty((n, total + 1, size))
        self.basis[:, 0] = gradient / self.beta[:, None]
        self.cos, self.sin = np.zeros((n, total)), np.zeros((n, total))
        self.inverse = np.zeros((n, total, total))
        self.gram = np.zeros((n, total, total))
        self.slope = np.zeros((n, total))
        self.rhs = np.zeros((n, total + 1))
        self.rhs[:, 0] = self.beta
        self.y = np.zeros((n, total))

    def run(self, tolerance: Array, target2: Array) -> Iterator[tuple[NDArray[np.intp], Array]]:
        """Iterate until each sample meets its tolerance; yield who iterated, and its misfit."""
        self.tolerance, self.target2 = tolerance, target2
        total = self.slope.shape[1]
        for j in range(total):
            broken = self._expand(j)
            before = self.y[:, : j + 1].copy()
            self.y[:, : j + 1] += self.rhs[:, j, None] * self.inverse[:, : j + 1, j]
            reached2 = self._misfit2(j + 1)
            yield self.rows[self.live], reached2[self.live]
            reached = np.abs(self.rhs[:, j + 1]) <= self.tolerance
            done = reached | broken | (reached2 <= self.target2) | (j == total - 1)
            self._retire(done & self.live, before, reached, broken)
            if not self.live.any():
                return
            if self.live.mean() < _CROWDED:  # go on with the others alone
                for name in self._per_sample:
                    setattr(self, name, getattr(self, name)[self.live])
                self.live = np.ones(len(self.rows), dtype=bool)

    def _retire(
        self,
        done: NDArray[np.bool_],
        before: Array,
        reached: NDArray[np.bool_],
        broken: NDArray[np.bool_],
    ) -> None:
        """Note the steps of samples that are done; `before` led to the last but one iterate."""
        rows, size = self.rows[done], before.shape[1]
        directions = self._directions(size)
        if not done.all():
            directions = directions[done]
        step = (self.y[done, None, :size] @ directions)[:, 0]
        target2 = self.target2[done]
        if target2.any():  # of the last iteration take only what the noise allows
            last = (before[done, None] @ directions)[:, 0]
            residual, forward = self.residual[done], self.system.forward
            part = fraction_to_noise(residual - forward(last), residual - forward(step), target2)
            step = last + part[:, None] * (step - last)
        self.step[rows], self.reached[rows], self.broken[rows] = step, reached[done], broken[done]
        self.live &= ~done

    def _directions(self, size: int) -> Array:
        krylov = self.basis[:, : min(size, self.n_krylov)]
        if size <= self.n_krylov:
            return krylov
        return np.concatenate([krylov, self.memory[:, : size - self.n_krylov]], axis=1)

    def _expand(self, j: int) -> NDArray[np.bool_]:
        """Add direction j; return where the space is exhausted."""
        basis = self.basis[:, : j + 1]
        augmented = j >= self.n_krylov
        z = self.memory[:, j - self.n_krylov] if augmented else basis[:, j]
        w = self.system.normal(z)
        column = np.zeros((len(w), j + 2))
        if augmented:  # basis and directions differ: their products must be taken anew
            directions = self._directions(j + 1)
            self.gram[:, : j + 1, j] = (directions @ w[:, :, None])[:, :, 0]
            self.slope[:, j] = self.beta * np.sum(z * self.basis[:, 0], axis=1)
        passes = 2  # since one pass of Gram-Schmidt loses orthogonality
        if not augmented:  # B is symmetric: in exact arithmetic only the last two overlap
            passes = 1
            column[:, j] = np.einsum("ij,ij->i", w, z)
            w -= column[:, j, None] * z
            if j:
                column[:, j - 1] = self.last
                w -= self.last[:, None] * basis[:, j - 1]
        for _ in range(passes):
            h = (basis @ w[:, :, None])[:, :, 0]
            w -= (h[:, None, :] @ basis)[:, 0]
            column[:, : j + 1] += h
        if not augmented:
            self.gram[:, : j + 1, j] = column[:, : j + 1]
            self.slope[:, j] = self.beta if j == 0 else 0.0
        self.gram[:, j, :j] = self.gram[:, :j, j]
        after = np.sqrt(np.einsum("ij,ij->i", w, w))
        before2 = np.einsum("ij,ij->i", column, column)  # Pythagoras spares the norm of w
        broken = after <= 10 * _EPS * np.sqrt(before2)
        after[broken] = 0.0
        column[:, j + 1] = self.last = after
        np.divide(w, np.where(broken, 1.0, after)[:, None], out=self.basis[:, j + 1])
        self._rotate(column, j)
        return broken

    def _rotate(self, column: Array, j: int) -> None:
        """Bring column j to triangular form, and append a column to the inverse."""
        first = 0
        if j < self.n_krylov:  # B is symmetric: what stands above the tridiagonal is rounding
            first = max(0, j - 2)
            column[:, : max(0, j - 1)] = 0.0
        for k in range(first, j):
            cos, sin = self.cos[:, k], self.sin[:, k]
            above = column[:, k].copy()
            column[:, k] = cos * above + sin * column[:, k + 1]
            column[:, k + 1] = cos * column[:, k + 1] - sin * above
        pivot = np.hypot(column[:, j], column[:, j + 1])
        usable = pivot > 0
        scale = np.divide(1.0, pivot, out=np.zeros_like(pivot), where=usable)
        cos, sin = np.where(usable, column[:, j] * scale, 1.0), column[:, j + 1] * scale
        self.cos[:, j], self.sin[:, j] = cos, sin
        known = self.inverse[:, :j, :j] @ column[:, :j, None]
        self.inverse[:, :j, j] = -known[:, :, 0] * scale[:, None]
        self.inverse[:, j, j] = scale
        self.rhs[:, j + 1] = -sin * self.rhs[:, j]
        self.rhs[:, j] *= cos

    def _misfit2(self, size: int) -> Array:
        y = self.y[:, :size]
        curvature = (self.gram[:, :size, :size] @ y[:, :, None])[:, :, 0]
        return self.residual2 + np.einsum("ij,ij->i", y, curvature - 2 * self.slope[:, :size])
