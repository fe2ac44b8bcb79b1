"""Nonlinear least squares of many small problems: Gauss-Newton, L-BFGS and Adam."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

from skgrav.solvers import NonlinearProblem, adam, gauss_newton, lbfgs


def bent(u):
    """Map two codes to three data, not linearly, and not alike in both."""
    return torch.stack([10 * (u[:, 1] - u[:, 0] ** 2), 1 - u[:, 0], torch.sin(u).sum(dim=1)], dim=1)


def problem(forward=bent, n_samples=6, prior=1.0, target=0.0, seed=0):
    """Give a problem with a weight for each datum of each sample, and a start."""
    rng = np.random.default_rng(seed)
    jacobian = torch.tensor([[0.0, -1.0, 1.0], [10.0, 0.0, 1.0]], dtype=torch.float64)
    made = NonlinearProblem(
        forward=forward,
        data=torch.tensor(rng.normal(size=(n_samples, 3))),
        weights=torch.tensor(rng.uniform(0.5, 2, size=(n_samples, 3))),
        jacobian=jacobian,
        centre=torch.tensor(rng.normal(size=(n_samples, 2))),
        prior=prior,
        target=target,
    )
    return made, torch.tensor(rng.normal(size=(n_samples, 2)))


def cost(made, u):
    residual = made.weights * (made.forward(u) - made.data)
    return (residual.square().sum(1) + made.prior * (u - made.centre).square().sum(1)) / 2


MINIMISE = pytest.mark.parametrize(
    ("minimise", "max_iter"),
    [(gauss_newton, 100), (lbfgs, 300), (partial(adam, learning_rate=0.05), 20_000)],
    ids=["gauss-newton", "lbfgs", "adam"],
)
# Least squares of small problems, in float64


@pytest.mark.parametrize("prior", [0.0, 2.0])
def test_gradient_is_that_of_autograd(prior):
    made, u = problem(prior=prior)
    u.requires_grad_()
    expected = cost(made, u)
    (slope,) = torch.autograd.grad(expected.sum(), u)
    value, misfit2, gradient, _ = made.linearised(u.detach())
    torch.testing.assert_close(value, expected.detach())
    torch.testing.assert_close(gradient, slope)
    distance2 = prior * (u - made.centre).square().sum(1)
    torch.testing.assert_close(misfit2, (2 * expected - distance2).detach())
    for one, other in zip(made.values(u), (value, misfit2), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("prior", [0.0, 2.0])
def test_hessian_is_that_of_gauss_and_newton(prior):
    made, u = problem(prior=prior)
    step = 1e-6
    columns = [
        (made.forward(u + step * e) - made.forward(u - step * e)) / (2 * step)
        for e in torch.eye(2, dtype=torch.float64)
    ]
    weighted = made.weights[..., None] * torch.stack(columns, dim=2)
    expected = weighted.mT @ weighted + prior * torch.eye(2, dtype=torch.float64)
    direction = torch.tensor(np.random.default_rng(1).normal(size=(6, 2)))
    hessian = made.linearised(u)[3]
    torch.testing.assert_close(
        hessian(direction), (expected @ direction[..., None])[..., 0], rtol=1e-6, atol=1e-6
    )


def test_one_newton_step_solves_a_linear_problem():
    made, u = problem(lambda u: u @ made.jacobian + 3.0)
    found = gauss_newton(made, u, 1, 0.0)
    for i in range(len(u)):
        equations = torch.cat(
            [made.weights[i][:, None] * made.jacobian.T, torch.eye(2, dtype=torch.float64)]
        )
        right = torch.cat([made.weights[i] * (made.data[i] - 3.0), made.centre[i]])
        expected = torch.linalg.lstsq(equations, right[:, None]).solution[:, 0]
        torch.testing.assert_close(found.u[i], expected, rtol=1e-3, atol=1e-3)
    assert (found.n_iter == 1).all()
    assert not torch.allclose(found.u, u, atol=0.1)


@MINIMISE
@pytest.mark.parametrize("prior", [0.0, 1.0])
def test_solvers_find_the_minima_that_scipy_finds(minimise, max_iter, prior):
    made, u = problem(prior=prior)
    found = minimise(made, u, max_iter, 1e-12)
    for i, start in enumerate(u.numpy()):
        one = made.take(torch.tensor([i]))

        def residual(u, one=one):
            row = torch.tensor(u)[None]
            away = np.sqrt(prior) * (row - one.centre)
            return torch.cat([one.weights * (bent(row) - one.data), away], dim=1)[0].numpy()

        # From the solution scipy goes on to a better point, if there is one near.
        polished = least_squares(residual, found.u[i].numpy(), xtol=1e-15, ftol=1e-15, gtol=1e-15)
        assert found.objective[i].item() == pytest.approx(polished.cost, rel=1e-5, abs=1e-9)
        np.testing.assert_allclose(found.u[i], polished.x, atol=1e-2)
        own = least_squares(residual, start)
        assert found.objective[i].item() < 1.01 * own.cost + 1e-9 or own.cost < 0.01
    assert found.converged.all()
    torch.testing.assert_close(found.objective, cost(made, found.u))


@MINIMISE
def test_samples_stop_at_their_target_and_others_go_on(minimise, max_iter):
    free, u = problem(prior=0.0, n_samples=20)
    before = free.values(u)[1]
    target = before.quantile(0.3).item()
    made = replace(free, target=target)
    found, best = (minimise(p, u, max_iter, 1e-6) for p in (made, free))
    already = before <= target
    assert (found.n_iter[already] == 0).all()
    torch.testing.assert_close(found.u[already], u[already], rtol=0, atol=0)
    stopped = ~already & (best.misfit2 < 0.1 * target)
    assert stopped.sum() > 5
    assert (found.misfit2[stopped] <= target).all()
    assert (found.n_iter[stopped] < best.n_iter[stopped]).all()
    assert found.misfit2[stopped].mean() > 2 * best.misfit2[stopped].mean()
    assert (best.n_iter > 0).all()


@MINIMISE
def test_iterations_that_run_out_are_told_of(minimise, max_iter):
    made, u = problem()
    found = minimise(made, u, 1, 1e-12)
    assert (found.n_iter == 1).all()
    assert not found.converged.any()
    assert (found.objective <= cost(made, u)).all()


@MINIMISE
def test_rows_of_a_problem_are_solved_as_in_the_whole(minimise, max_iter):
    made, u = problem()
    rows = torch.tensor([4, 1])
    whole, part = minimise(made, u, 20, 1e-9), minimise(made.take(rows), u[rows], 20, 1e-9)
    torch.testing.assert_close(part.u, whole.u[rows])
    torch.testing.assert_close(part.n_iter, whole.n_iter[rows])


# Manners


def test_a_sample_that_no_step_improves_is_stuck_and_not_converged():
    # A derivative of the wrong sign: every step promises much and none keeps it.
    class Wrong(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(u):
            return -u

        @staticmethod
        def setup_context(ctx, inputs, output):
            pass

        @staticmethod
        def backward(ctx, gradient):
            return gradient

        @staticmethod
        def jvp(ctx, direction):
            return direction

    problem = NonlinearProblem(
        forward=Wrong.apply,
        data=torch.ones(1, 2),
        weights=torch.ones(1, 2),
        jacobian=torch.eye(2),
        centre=torch.zeros(1, 2),
    )
    for minimise in (gauss_newton, lbfgs):
        solution = minimise(problem, torch.ones(1, 2), 30, 1e-3)
        assert solution.stuck.all()
        assert not solution.converged.any()
        assert solution.n_iter.item() == 1
