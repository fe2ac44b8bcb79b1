"""Nonlinear least squares: many small problems at once, in torch, by Gauss-Newton and others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch.func import jvp, vjp

from skgrav.solvers._guard import Guard

Tensor = torch.Tensor

#: Torch counts the levels of its forward derivatives for all threads together.
one_forward_derivative = Guard()

#: Inner iterations of a Gauss-Newton step at most, and the share of the residual that ends them
#: before. Few suffice, since they are conditioned well and the map is not linear anyway.
_N_INNER, _INNER_TOLERANCE = 3, 0.1

#: Halvings of a step before it is given up.
_N_HALVINGS = 12

#: Iterations over which Adam must have gained something.
_PATIENCE = 100

#: Pairs of steps and gradients that L-BFGS remembers.
_MEMORY = 10


@dataclass(frozen=True)
class NonlinearProblem:
    """Samples of ``|weights (f(u) - data)|**2 / 2 + prior |u - centre|**2 / 2``.

    For inversion in a latent space u are codes, and f is decoder and operator.

    Parameters
    ----------
    forward : callable
        Map f from u (n_samples, k) to (n_samples, m), row by row.
    data : Tensor of shape (n_samples, m)
        What f should reach.
    weights : Tensor of shape (n_samples, m) or (1, m)
        One over the standard deviation of each datum.
    jacobian : Tensor of shape (k, m)
        Average derivative of f, which conditions the steps.
    centre : Tensor of shape (n_samples, k) or (1, k)
        Mean of the prior, whose covariance is one.
    prior : float
        Weight of the prior; 0 is none.
    target : float
        Weighted squared misfit at which a sample is fitted well enough.
    """

    forward: Callable[[Tensor], Tensor]
    data: Tensor
    weights: Tensor
    jacobian: Tensor
    centre: Tensor
    prior: float = 1.0
    target: float = 0.0

    def take(self, rows: Tensor) -> NonlinearProblem:
        """Return the problem of some of the samples."""
        parts = {name: getattr(self, name) for name in ("data", "weights", "centre")}
        return replace(self, **{k: v[rows] if len(v) > 1 else v for k, v in parts.items()})

    def values(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return the objective and the squared misfit of each sample."""
        with torch.no_grad():
            return self._cost(u, self.weights * (self.forward(u) - self.data))

    def gradient(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return objective, squared misfit and gradient of each sample."""
        objective, misfit2, gradient, _ = self.linearised(u)
        return objective, misfit2, gradient

    def linearised(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor, Callable[[Tensor], Tensor]]:
        """Return objective, squared misfit, gradient, and the Gauss-Newton Hessian as a map."""
        with torch.no_grad():
            predicted, pull = vjp(self.forward, u)[:2]
            residual = self.weights * (predicted - self.data)
            gradient = pull(self.weights * residual)[0] + self.prior * (u - self.centre)

        def hessian(direction: Tensor) -> Tensor:
            with torch.no_grad(), one_forward_derivative():
                change = jvp(self.forward, (u,), (direction,))[1]
                return pull(self.weights**2 * change)[0] + self.prior * direction

        return (*self._cost(u, residual), gradient, hessian)

    @cached_property
    def factor(self) -> Tensor:
        """Cholesky factor of the Hessian of the average linear map, (n_samples or 1, k, k)."""
        weighted = self.jacobian * self.weights[:, None]
        hessian = weighted @ weighted.mT
        diagonal = hessian.diagonal(dim1=1, dim2=2)
        ridge = self.prior + 1e-5 * diagonal.mean(dim=1, keepdim=True) + 1e-30
        diagonal += ridge
        return torch.linalg.cholesky(hessian)

    def preconditioned(self, gradient: Tensor) -> Tensor:
        """Solve with the Hessian of the average linear map."""
        return torch.cholesky_solve(gradient[..., None], self.factor)[..., 0]

    def _cost(self, u: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        misfit2 = residual.square().sum(dim=1)
        return (misfit2 + self.prior * (u - self.centre).square().sum(dim=1)) / 2, misfit2


@dataclass
class Solution:
    """The u of all samples, and how they were found."""

    u: Tensor
    objective: Tensor
    misfit2: Tensor
    n_iter: Tensor
    converged: Tensor
    #: Samples for which no step lowers the objective any more.
    stuck: Tensor

    @classmethod
    def start(cls, problem: NonlinearProblem, u: Tensor) -> Solution:
        """Return the solution before the first iteration."""
        objective, misfit2 = problem.values(u)
        zeros = torch.zeros(len(u), dtype=torch.int64, device=u.device)
        done = misfit2 <= problem.target
        return cls(u.clone(), objective, misfit2, zeros, done, torch.zeros_like(done))

    def open_samples(self) -> Tensor:
        """Return the rows that may still gain something."""
        return torch.nonzero(~self.converged & ~self.stuck)[:, 0]


def gauss_newton(problem: NonlinearProblem, u: Tensor, max_iter: int, tol: float) -> Solution:
    """Minimise by damped Gauss-Newton steps.

    Each step solves the linearised problem by conjugate gradients, conditioned by the average
    Jacobian, so that products with the Jacobian and its transpose suffice; it is halved until it
    lowers the objective.
    """
    solution = Solution.start(problem, u)
    for _ in range(max_iter):
        rows = solution.open_samples()
        if not rows.numel():
            break
        part, codes = problem.take(rows), solution.u[rows]
        factor = problem.factor  # computed once; parts of it serve the samples still open
        part.__dict__["factor"] = factor[rows] if len(factor) > 1 else factor
        _, _, gradient, hessian = part.linearised(codes)
        step = _conjugate_gradients(part, gradient, hessian)
        _move(problem, solution, rows, step, gradient, tol)
    return solution


def _conjugate_gradients(
    problem: NonlinearProblem, gradient: Tensor, hessian: Callable[[Tensor], Tensor]
) -> Tensor:
    """Return the Gauss-Newton step of each sample, solved for roughly."""
    step, residual = torch.zeros_like(gradient), -gradient
    conditioned = problem.preconditioned(residual)
    direction = conditioned
    before = first = (residual * conditioned).sum(dim=1)
    for _ in range(_N_INNER):
        going = before > _INNER_TOLERANCE**2 * first
        if not going.any():
            break
        image = hessian(direction)
        curvature = (direction * image).sum(dim=1)
        length = torch.where(going & (curvature > 0), before / curvature, 0.0)[:, None]
        step = step + length * direction
        residual = residual - length * image
        conditioned = problem.preconditioned(residual)
        after = (residual * conditioned).sum(dim=1)
        direction = conditioned + (after / before.clamp(min=1e-30))[:, None] * direction
        before = torch.where(going, after, before)
    return step


def _move(
    problem: NonlinearProblem,
    solution: Solution,
    rows: Tensor,
    step: Tensor,
    gradient: Tensor,
    tol: float,
) -> None:
    """Go along the step of some samples as far as it lowers their objective."""
    if problem.prior == 0:  # nothing else keeps a step from leaving what a decoder knows
        norm = step.norm(dim=1, keepdim=True).clamp(min=1e-30)
        step = step * (step.shape[1] ** 0.5 / norm).clamp(max=1.0)
    slope = (step * gradient).sum(dim=1)
    before = solution.objective[rows].clone()
    length = torch.ones_like(before)
    left = torch.arange(len(rows), device=rows.device)
    for _ in range(_N_HALVINGS):
        u = solution.u[rows[left]] + length[left, None] * step[left]
        objective, misfit2 = problem.take(rows[left]).values(u)
        good = objective <= before[left] + 1e-4 * length[left] * slope[left]
        done = rows[left[good]]
        solution.u[done], solution.objective[done] = u[good], objective[good]
        solution.misfit2[done] = misfit2[good]
        left = left[~good]
        if not left.numel():
            break
        length[left] /= 2
    gained, promised = before - solution.objective[rows], -slope / 2
    gained[left] = promised[left]
    small = torch.minimum(gained, promised) <= tol * (1.0 + solution.objective[rows])
    solution.n_iter[rows] += 1
    solution.converged[rows] = small | (solution.misfit2[rows] <= problem.target)
    solution.stuck[rows[left]] = True


def adam(
    problem: NonlinearProblem, u: Tensor, max_iter: int, tol: float, *, learning_rate: float = 0.05
) -> Solution:
    """Minimise by Adam; each sample keeps the best codes that it met."""
    solution = Solution.start(problem, u)
    rows = solution.open_samples()
    codes = u[rows].clone()
    mean, square = torch.zeros_like(codes), torch.zeros_like(codes)
    marks = solution.objective.clone()
    for i in range(1, max_iter + 1):
        if not rows.numel():
            break
        objective, misfit2, gradient = problem.take(rows).gradient(codes)
        _keep_better(solution, rows, codes, objective, misfit2)
        mean, square = mean.lerp(gradient, 0.1), square.lerp(gradient.square(), 0.001)
        scaled = (mean / (1 - 0.9**i)) / ((square / (1 - 0.999**i)).sqrt() + 1e-8)
        codes = codes - learning_rate * scaled
        solution.n_iter[rows] += 1
        solution.converged[rows] = solution.misfit2[rows] <= problem.target
        if i % _PATIENCE == 0:
            best = solution.objective[rows]
            solution.converged[rows] |= marks[rows] - best <= tol * (1.0 + best)
            marks[rows] = best
        open_ = ~solution.converged[rows]
        if not open_.all():
            rows, codes, mean, square = rows[open_], codes[open_], mean[open_], square[open_]
    if rows.numel():
        _keep_better(solution, rows, codes, *problem.take(rows).values(codes))
    return solution


def _keep_better(
    solution: Solution, rows: Tensor, u: Tensor, objective: Tensor, misfit2: Tensor
) -> None:
    better = objective < solution.objective[rows]
    done = rows[better]
    solution.u[done], solution.objective[done] = u[better], objective[better]
    solution.misfit2[done] = misfit2[better]


def lbfgs(problem: NonlinearProblem, u: Tensor, max_iter: int, tol: float) -> Solution:
    """Minimise by L-BFGS from the Hessian of the average linear map."""
    solution = Solution.start(problem, u)
    memory: list[tuple[Tensor, Tensor]] = []
    gradient = problem.gradient(solution.u)[2]
    for _ in range(max_iter):
        rows = solution.open_samples()
        if not rows.numel():
            break
        step = -_two_loops(problem, memory, gradient)
        uphill = (step * gradient).sum(dim=1, keepdim=True) >= 0
        step = torch.where(uphill, -problem.preconditioned(gradient), step)
        before = solution.u.clone()
        _move(problem, solution, rows, step[rows], gradient[rows], tol)
        fresh = problem.gradient(solution.u)[2]
        memory = [*memory, (solution.u - before, fresh - gradient)][-_MEMORY:]
        gradient = fresh
    return solution


def _two_loops(
    problem: NonlinearProblem, memory: list[tuple[Tensor, Tensor]], gradient: Tensor
) -> Tensor:
    """Apply the inverse Hessian of L-BFGS to the gradient of each sample."""
    q, stack = gradient, []
    for s, y in reversed(memory):
        curvature = (s * y).sum(dim=1, keepdim=True)
        rho = torch.where(curvature > 0, 1.0 / curvature, 0.0)
        alpha = rho * (s * q).sum(dim=1, keepdim=True)
        q = q - alpha * y
        stack.append((s, y, rho, alpha))
    q = problem.preconditioned(q)
    for s, y, rho, alpha in reversed(stack):
        beta = rho * (y * q).sum(dim=1, keepdim=True)
        q = q + (alpha - beta) * s
    return q
