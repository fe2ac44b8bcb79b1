"""Nonlinear least squares in torch, many small problems at once: Gauss-Newton, Adam, L-BFGS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch.func import jvp, vjp

from skgrav.solvers._guard import Guard

Tensor = torch.Tensor

#: Threads share torch's level of forward-mode derivatives, so one at a time takes them.
one_forward_derivative = Guard()

#: Largest number of inner iterations of a Gauss-Newton step, and the relative residual at which
#: they end. Few suffice, since they are well conditioned and the map is nonlinear anyway.
_N_INNER, _INNER_TOLERANCE = 3, 0.1

#: Largest number of halvings of a step.
_N_HALVINGS = 12

#: Iterations of Adam between two tests of convergence.
_PATIENCE = 100

#: Pairs of steps and changes of gradient in the memory of L-BFGS.
_MEMORY = 10


@dataclass(frozen=True)
class NonlinearProblem:
    """Samples of ``|weights (f(u) - data)|**2 / 2 + prior |u - centre|**2 / 2``.

    In latent inversion u is the code, and f the decoder followed by the operator.
    """

    #: Map f from u (n_samples, k) to (n_samples, m), row by row.
    forward: Callable[[Tensor], Tensor]
    data: Tensor
    #: One over the standard deviation of each datum, (n_samples or 1, m).
    weights: Tensor
    #: Average Jacobian of f, (k, m), the preconditioner.
    jacobian: Tensor
    #: Mean of the prior, (n_samples or 1, k), whose covariance is the identity.
    centre: Tensor
    #: Weight of the prior; 0 leaves it out.
    prior: float = 1.0
    #: Weighted squared misfit at which a sample has converged.
    target: float = 0.0

    def take(self, rows: Tensor) -> NonlinearProblem:
        """Return the problem of some of the samples."""
        parts = {name: getattr(self, name) for name in ("data", "weights", "centre")}
        return replace(self, **{k: v[rows] if len(v) > 1 else v for k, v in parts.items()})

    def values(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return the objective and the squared misfit of each sample."""
        with torch.no_grad():
            return self._cost(u, self.weights * (self.forward(u) - self.data))

    def linearised(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor, Callable[[Tensor], Tensor]]:
        """Return objective, squared misfit, gradient, and products with the Hessian."""
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
        # Without a prior the Hessian may be singular in float32.
        diagonal += self.prior + 1e-5 * diagonal.mean(dim=1, keepdim=True) + 1e-30
        return torch.linalg.cholesky(hessian)

    def preconditioned(self, gradient: Tensor) -> Tensor:
        """Solve with the Hessian of the average linear map."""
        return torch.cholesky_solve(gradient[..., None], self.factor)[..., 0]

    def rounding(self, objective: Tensor) -> Tensor:
        """Return about the rounding errors of objectives, which add up at random."""
        sizes = (self.weights * self.data).square().mean(dim=1).sqrt()
        return 4.0 * torch.finfo(sizes.dtype).eps * sizes * (2.0 * objective).sqrt()

    def _cost(self, u: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        misfit2 = residual.square().sum(dim=1)
        return (misfit2 + self.prior * (u - self.centre).square().sum(dim=1)) / 2, misfit2


@dataclass
class Solution:
    """Minimisers of all samples, and the course of the iterations."""

    u: Tensor
    objective: Tensor
    misfit2: Tensor
    n_iter: Tensor
    converged: Tensor
    #: Samples whose last step did not lower the objective.
    stuck: Tensor

    @classmethod
    def start(cls, problem: NonlinearProblem, u: Tensor) -> Solution:
        """Return the solution before the first iteration."""
        objective, misfit2 = problem.values(u)
        zeros = torch.zeros(len(u), dtype=torch.int64, device=u.device)
        done = misfit2 <= problem.target
        return cls(u.clone(), objective, misfit2, zeros, done, torch.zeros_like(done))

    def open_samples(self) -> Tensor:
        """Return the rows that are neither converged nor stuck."""
        return torch.nonzero(~self.converged & ~self.stuck)[:, 0]


def gauss_newton(problem: NonlinearProblem, u: Tensor, max_iter: int, tol: float) -> Solution:
    """Minimise by damped Gauss-Newton steps.

    Each step solves the linearised problem roughly by conjugate gradients, preconditioned by the
    average Jacobian, and is halved until it lowers the objective. So only products with the
    Jacobian and its transpose are needed.
    """
    solution = Solution.start(problem, u)
    for _ in range(max_iter):
        rows = solution.open_samples()
        if not rows.numel():
            break
        part, codes = problem.take(rows), solution.u[rows]
        factor = problem.factor  # computed once for all samples and iterations
        part.__dict__["factor"] = factor[rows] if len(factor) > 1 else factor
        _, _, gradient, hessian = part.linearised(codes)
        step = _conjugate_gradients(part, gradient, hessian)
        _move(problem, solution, rows, step, gradient, tol)
    return solution


def _conjugate_gradients(
    problem: NonlinearProblem, gradient: Tensor, hessian: Callable[[Tensor], Tensor]
) -> Tensor:
    """Return the Gauss-Newton step of each sample, by few iterations."""
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
    """Take the steps of some samples, halved until they lower the objective (Armijo's rule)."""
    if problem.prior == 0:  # only this keeps codes where a decoder was trained
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
    # Converged are samples whose gain, or the gain of the linearised problem, is small; those that
    # did not move are judged by the latter, which may be below the rounding of the objective.
    gained, promised = before - solution.objective[rows], -slope / 2
    gained[left] = promised[left]
    least = tol * (1.0 + solution.objective[rows])
    least[left] = torch.maximum(least[left], problem.take(rows[left]).rounding(before[left]))
    small = torch.minimum(gained, promised) <= least
    solution.n_iter[rows] += 1
    solution.converged[rows] = small | (solution.misfit2[rows] <= problem.target)
    solution.stuck[rows[left]] = True


def adam(
    problem: NonlinearProblem, u: Tensor, max_iter: int, tol: float, *, learning_rate: float = 0.05
) -> Solution:
    """Minimise by Adam; each sample keeps its best iterate."""
    solution = Solution.start(problem, u)
    rows = solution.open_samples()
    codes = u[rows].clone()
    mean, square = torch.zeros_like(codes), torch.zeros_like(codes)
    marks = solution.objective.clone()
    for i in range(1, max_iter + 1):
        if not rows.numel():
            break
        objective, misfit2, gradient, _ = problem.take(rows).linearised(codes)
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
    gradient = problem.linearised(solution.u)[2]
    for _ in range(max_iter):
        rows = solution.open_samples()
        if not rows.numel():
            break
        step = -_two_loops(problem, memory, gradient)
        uphill = (step * gradient).sum(dim=1, keepdim=True) >= 0
        step = torch.where(uphill, -problem.preconditioned(gradient), step)
        before = solution.u.clone()
        _move(problem, solution, rows, step[rows], gradient[rows], tol)
        fresh = problem.linearised(solution.u)[2]
        memory = [*memory, (solution.u - before, fresh - gradient)][-_MEMORY:]
        gradient = fresh
    return solution


def _two_loops(
    problem: NonlinearProblem, memory: list[tuple[Tensor, Tensor]], gradient: Tensor
) -> Tensor:
    """Apply the inverse Hessian of L-BFGS to the gradient of each sample: Nocedal's recursion."""
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
