"""Improved conjugate gradients: weights, and a damping that falls while iterating."""

from __future__ import annotations

from numbers import Real
from typing import Any, Literal

import numpy as np

from skgrav._constraints import POSITIVE, Interval, StrOptions
from skgrav._typing import Array
from skgrav.noise import Whitening
from skgrav.solvers._base import (
    Problem,
    Progress,
    Solver,
    SolverResult,
    fraction_to_noise,
    make_problem,
    make_result,
)
from skgrav.solvers._system import Engine, make_system
from skgrav.solvers._weights import DEPTH_WEIGHTING, depth_weights


class ICG(Solver):
    """Improved conjugate gradients: Tikhonov damping that falls while iterating.

    Parameters
    ----------
    depth_weighting : float, "sensitivity", "distance" or None, default=None
        Weights `w_m` of the model norm that fall with depth, as in `TikhonovInverter`; the paper
        takes the decay of the kernel, 1 in 2D and 2 in 3D.
    reference : {"zero", "start"}, default="zero"
        Reference model of the damping.
    damping_factor : float, default=0.25
        Factor by which the damping is cut.
    cut : {"step", "stall"}, default="step"
        Cut after each iteration, as the paper does, or only when the misfit fell by less than
        1 % in an iteration.
    tol : float, default=1e-6
        Stop where ``||g - A rho|| <= tol ||g||`` or the data are fitted to their noise.
    max_iter : int, default=100
        Largest number of iterations.
    engine : {"auto", "svd", "operator"}, default="auto"
        Coordinates of the iteration: of the thin SVD of the weighted operator, or its own.
        ``"auto"`` takes the SVD where it is affordable.

    See Also
    --------
    CGLS : The same without damping.

    Notes
    -----
    Reconstructed from the paper's description: with ``m_w = w_m m`` and ``S_w = w_d S / w_m``,
    minimises ``||w_d (S m - g)||**2 + alpha ||m_w||**2`` by conjugate gradients from alpha =
    ``||e||**2 / ||m_w||**2`` at the start, where e is the residual. Data weights `w_d` follow the
    noise. The normal matrix is never formed.

    References
    ----------
    .. [1] Zhou et al. (2023), Applied Sciences 13(18), 10265.

    Examples
    --------
    >>> import numpy as np
    >>> from skgrav.solvers import ICG
    >>> A = np.array([[1.0, 0.0, 1.0], [0.0, 2.0, 0.0]])
    >>> solver = ICG(reference="start")
    >>> solver.solve(A, [[2.0, 2.0]], [[1.0, 0.5, 0.0]]).rho.round(3)
    array([[1.5, 1. , 0.5]])
    """

    _parameter_constraints: dict[str, list[Any]] = {
        "depth_weighting": DEPTH_WEIGHTING,
        "reference": [StrOptions({"zero", "start"})],
        "damping_factor": [Interval(Real, 0, 1, closed="both")],
        "cut": [StrOptions({"step", "stall"})],
        "tol": [Interval(Real, 0, 1, closed="neither")],
        "max_iter": [POSITIVE],
        "engine": Solver._engine_constraint,
    }

    def __init__(
        self,
        *,
        depth_weighting: float | Literal["sensitivity", "distance"] | None = None,
        reference: Literal["zero", "start"] = "zero",
        damping_factor: float = 0.25,
        cut: Literal["step", "stall"] = "step",
        tol: float = 1e-6,
        max_iter: int = 100,
        engine: Engine = "auto",
    ) -> None:
        self.depth_weighting = depth_weighting
        self.reference = reference
        self.damping_factor = damping_factor
        self.cut = cut
        self.tol = tol
        self.max_iter = max_iter
        self.engine = engine

    def _iterate(self, problem: Problem) -> tuple[Array, Progress]:
        raise AssertionError("ICG iterates on densities, not on corrections")

    def _solve(
        self, operator: Any, g: Array, rho0: Array, whitening: Whitening, sigma: Array
    ) -> SolverResult:
        weights = depth_weights(operator, self.depth_weighting, whitening)
        system = make_system(operator, self.engine, whitening, 1.0 / weights)
        start = rho0 * weights
        problem = make_problem(system, whitening(g), start, sigma)
        origin = start if self.reference == "start" else np.zeros_like(start)
        # Damping also shrinks the part of the model in the null space of A, by one factor for all
        # of it: one more coordinate, `share`.
        c = system.model_coordinates(start - origin)
        unseen = start - origin - system.model(c)
        c, share, progress = self._descend(problem, c, np.sum(unseen**2, axis=1), start)
        rho = (origin + system.model(c) + share[:, None] * unseen) / weights
        return make_result(problem, rho, progress)

    def _descend(
        self, problem: Problem, c: Array, unseen2: Array, start: Array
    ) -> tuple[Array, Array, Progress]:
        """Iterate on coordinates `c` and on the share left of the part in the null space."""
        system = problem.system
        e, share, share_p = problem.residual.copy(), np.ones(len(c)), np.zeros(len(c))
        e2 = np.sum(e**2, axis=1)
        limit2 = np.maximum(self.tol**2 * problem.data2 - problem.lost2, problem.target2)
        done = e2 <= limit2
        progress = Progress(e2, done)
        alpha = _initial_damping(problem, e2, np.sum(start**2, axis=1))
        p, old = np.zeros_like(c), np.full(len(c), np.inf)
        for _ in range(self.max_iter):
            i = np.flatnonzero(~done)
            if not i.size:
                break
            r, share_r = system.adjoint(e[i]) - alpha[i, None] * c[i], -alpha[i] * share[i]
            new = np.sum(r**2, axis=1) + share_r**2 * unseen2[i]
            ratio = np.divide(new, old[i], out=np.zeros_like(new), where=old[i] > 0)
            p[i], share_p[i] = r + ratio[:, None] * p[i], share_r + ratio * share_p[i]
            old[i] = new
            image = system.forward(p[i])
            p2 = np.sum(p[i] ** 2, axis=1) + share_p[i] ** 2 * unseen2[i]
            slope = np.sum(r * p[i], axis=1) + share_r * share_p[i] * unseen2[i]
            curvature = np.sum(image**2, axis=1) + alpha[i] * p2
            t = np.divide(slope, curvature, out=np.zeros_like(slope), where=curvature > 0)
            t *= fraction_to_noise(e[i], e[i] - t[:, None] * image, problem.target2[i])
            c[i] += t[:, None] * p[i]
            share[i] += t * share_p[i]
            e[i] -= t[:, None] * image
            before2, e2[i] = e2[i], np.sum(e[i] ** 2, axis=1)
            stalled = (self.cut == "stall") & (e2[i] > 0.99 * before2)
            alpha[i] *= np.where(stalled | (self.cut == "step"), self.damping_factor, 1.0)
            # A new damping is a new problem, to whose gradients old directions are not conjugate.
            old[i[stalled]] = np.inf
            progress.record(i, e2[i])
            done = e2 <= limit2 * (1 + 1e-9)
        progress.converged = done
        return c, share, progress


def _initial_damping(problem: Problem, e2: Array, start2: Array) -> Array:
    """Return ``||e||**2 / ||m_w||**2``; for a start at zero, ``||S_w^T e||**2 / ||e||**2``."""
    gradient2 = np.sum(problem.system.adjoint(problem.residual) ** 2, axis=1)
    gain = np.divide(gradient2, e2, out=np.zeros_like(e2), where=e2 > 0)
    return np.divide(e2 + problem.lost2, start2, out=gain, where=start2 > 0)
