"""Gradient descent on the data misfit."""

from __future__ import annotations

from numbers import Real
from typing import Any, Literal

import numpy as np

from skgrav._constraints import POSITIVE, Interval, StrOptions
from skgrav._typing import Array, Mask
from skgrav.solvers._base import Problem, Progress, Solver, fraction_to_noise
from skgrav.solvers._system import DecomposedSystem, Engine


class GradientDescent(Solver):
    """Gradient descent ``rho += step_size A^T (g - A rho)``, also called Landweber iteration.

    Parameters
    ----------
    step_size : float or "auto", default=1e-5
        Step, in units of 1 / singular value squared. The default is the paper's, far below the
        stable limit there, so that it changes little; ``"auto"`` takes ``1 / s_max**2``.
    tol : float, default=1e-6
        Stop where ``||A^T (g - A rho)|| <= tol ||A^T g||`` or the data are fitted to their noise.
    max_iter : int, default=100
        Largest number of iterations.
    engine : {"auto", "svd", "operator"}, default="auto"
        Coordinates of the iteration: of the thin SVD, where iterates have a closed form, or the
        operator's own. ``"auto"`` takes the SVD where it is affordable.

    Raises
    ------
    ValueError
        If the step exceeds the stable limit ``2 / s_max**2``.

    See Also
    --------
    CGLS : Conjugate gradients, which need far fewer iterations.

    Notes
    -----
    In SVD coordinates step k multiplies the residual by ``(1 - step_size s**2)**k``.

    References
    ----------
    .. [1] Landweber (1951), American Journal of Mathematics 73(3), 615-624.

    Examples
    --------
    >>> import numpy as np
    >>> from skgrav.solvers import GradientDescent
    >>> A = np.array([[1.0, 0.0, 1.0], [0.0, 2.0, 0.0]])
    >>> GradientDescent(step_size="auto").solve(A, [[2.0, 2.0]]).rho.round(5)
    array([[1., 1., 1.]])
    """

    _parameter_constraints: dict[str, list[Any]] = {
        "step_size": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "tol": [Interval(Real, 0, 1, closed="neither")],
        "max_iter": [POSITIVE],
        "engine": Solver._engine_constraint,
    }

    def __init__(
        self,
        *,
        step_size: float | Literal["auto"] = 1e-5,
        tol: float = 1e-6,
        max_iter: int = 100,
        engine: Engine = "auto",
    ) -> None:
        self.step_size = step_size
        self.tol = tol
        self.max_iter = max_iter
        self.engine = engine

    def _missed(self, problem: Problem, progress: Progress) -> Mask:
        # Where iterations ran out, most of the residual is what small steps have not fitted yet.
        return super()._missed(problem, progress) & progress.converged

    def _iterate(self, problem: Problem) -> tuple[Array, Progress]:
        if isinstance(problem.system, DecomposedSystem):
            return self._closed_form(problem, problem.system.s)
        return self._loop(problem)

    def _step_size(self, largest: float) -> float:
        if self.step_size == "auto":
            return 1.0 / largest**2
        if self.step_size > 2.0 / largest**2:
            raise ValueError(
                f"'step_size' is {self.step_size:g}, beyond the stable limit 2 / s_max**2 = "
                f"{2.0 / largest**2:.3g} of this operator: the iterates would diverge. Take a "
                "smaller step, or 'auto'."
            )
        return self.step_size

    def _closed_form(self, problem: Problem, s: Array) -> tuple[Array, Progress]:
        # Residuals after each number of iterations; the first that meets the stopping rule counts.
        factor = 1.0 - self._step_size(s[0]) * s**2
        powers = factor[:, None] ** (2 * np.arange(self.max_iter + 1))
        d2 = problem.residual**2
        history, slopes = (d2 @ powers).T, ((d2 * s**2) @ powers).T
        done = (slopes <= (self.tol * problem.gradient_norm) ** 2) | problem.at_noise(history)
        progress = Progress(history[0], np.any(done, axis=0))
        progress.n_iter = np.where(progress.converged, done.argmax(axis=0), self.max_iter)
        progress.residual2 = history
        # The last step is cut where it would fit noise, by its share `part`.
        before = factor ** np.maximum(progress.n_iter - 1, 0)[:, None]
        after = factor ** progress.n_iter[:, None]
        part = fraction_to_noise(
            before * problem.residual, after * problem.residual, problem.target2
        )[:, None]
        remaining = before + part * (after - before)
        last = np.sum((remaining * problem.residual) ** 2, axis=1)
        progress.residual2[progress.n_iter, np.arange(len(last))] = last
        return (1.0 - remaining) / s * problem.residual, progress

    def _loop(self, problem: Problem) -> tuple[Array, Progress]:
        system = problem.system
        d = problem.residual.copy()
        gradient = system.adjoint(d)
        step = self._step_size(_largest_singular_value(problem))
        c = np.zeros_like(gradient)
        d2, limit = np.sum(d**2, axis=1), self.tol * problem.gradient_norm
        done = (np.linalg.norm(gradient, axis=1) <= limit) | problem.at_noise(d2)
        progress = Progress(d2, done)
        for _ in range(self.max_iter):
            i = np.flatnonzero(~done)
            if not i.size:
                break
            image = step * system.forward(gradient[i])
            part = fraction_to_noise(d[i], d[i] - image, problem.target2[i])[:, None]
            c[i] += part * step * gradient[i]
            d[i] -= part * image
            gradient[i] = system.adjoint(d[i])
            d2[i] = np.sum(d[i] ** 2, axis=1)
            progress.record(i, d2[i])
            done = (np.linalg.norm(gradient, axis=1) <= limit) | problem.at_noise(d2)
        progress.converged = done
        return c, progress


def _largest_singular_value(problem: Problem) -> float:
    """Return s_max by power iteration, from a fixed start."""
    system = problem.system
    d = np.random.default_rng(0).normal(size=(1, problem.residual.shape[1]))
    for _ in range(50):
        d /= np.linalg.norm(d)
        c = system.adjoint(d)
        d = system.forward(c)
    return float(np.linalg.norm(c))
