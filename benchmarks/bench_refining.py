"""Refining 1,000 sections: batched solvers against the paper's loop over SciPy.

The paper runs SciPy's gmres and lgmres for one sample after the other on the dense normal matrix
of 2500 x 2500, gradient descent and ICG on the dense matrix; CGLS is PyLops's. The loops are timed
on a few samples and scaled to 1,000; the batched solvers run on all 1,000, the SVD of the operator
included where said.
"""

import numpy as np
from _starts import starts
from _timing import median_seconds, report, versions
from pylops import MatrixMult
from pylops.optimization.basic import cgls
from scipy.sparse import linalg
from threadpoolctl import threadpool_limits

from skgrav import MatrixOperator
from skgrav.datasets import make_gravity_dataset
from skgrav.metrics import relative_data_misfit, relative_l2_error
from skgrav.solvers import CGLS, GMRES, ICG, LGMRES, GradientDescent, Projection

N_SAMPLES, N_LOOP = 1000, 4


def main():
    data = make_gravity_dataset(n_samples=N_SAMPLES, random_state=0)
    A, g, rho = data.operator.matrix_, data.data, data.target
    rho0 = starts(rho, data.operator.mesh_.shape, level=0.05, blur=6.0)
    normal = A.T @ A

    def scipy_loop(solver, **options):
        def run():
            found = [
                solver(normal, A.T @ d, x0=start, rtol=1e-6, atol=0.0, **options)[0]
                for d, start in zip(g[:N_LOOP], rho0[:N_LOOP], strict=True)
            ]
            return np.array(found)

        return run

    def pylops_loop():
        found = []
        for d, start in zip(g[:N_LOOP], rho0[:N_LOOP], strict=True):
            limit = (1e-6 * np.linalg.norm(A.T @ d)) ** 2  # it looks at the square
            found.append(cgls(MatrixMult(A), d, x0=start.copy(), niter=5000, tol=limit)[0])
        return np.array(found)

    def descent_loop():
        found = rho0[:N_LOOP].copy()
        for i, d in enumerate(g[:N_LOOP]):
            for _ in range(100):
                found[i] += 1e-5 * (A.T @ (d - A @ found[i]))
        return found

    def icg_loop():
        solver = ICG(engine="operator")
        pairs = zip(g[:N_LOOP, None], rho0[:N_LOOP, None], strict=True)
        return np.concatenate([solver.solve(A, d, start).rho for d, start in pairs])

    loops = {
        "GMRES": scipy_loop(linalg.gmres, restart=20, maxiter=5000),
        "LGMRES": scipy_loop(linalg.lgmres, inner_m=30, outer_k=50, maxiter=5000),
        "CGLS": pylops_loop,
        "gradient descent": descent_loop,
        "ICG": icg_loop,
    }
    batched = {
        "GMRES": GMRES(),
        "LGMRES": LGMRES(),
        "CGLS": CGLS(),
        "gradient descent": GradientDescent(),
        "ICG": ICG(),
        "projection": Projection(),
    }
    solved = {}

    def with_svd(solver):
        def run():
            operator = MatrixOperator(A).fit(rho[:1])  # holds no SVD yet
            solved[solver] = solver.solve(operator, g, rho0).rho

        return run

    peers = {("loop", name): run for name, run in loops.items()}
    peers |= {
        ("batched", name): (lambda s=s: s.solve(data.operator, g, rho0))
        for name, s in batched.items()
    }
    peers |= {("with SVD", name): with_svd(s) for name, s in batched.items()}
    seconds = median_seconds(peers)
    paper = seconds["loop", "GMRES"] * N_SAMPLES / N_LOOP

    rows = []
    for name, solver in batched.items():
        own = seconds.get(("loop", name))
        own = own * N_SAMPLES / N_LOOP if own else None
        alone, counted = seconds["batched", name], seconds["with SVD", name]
        rows.append(
            [
                name,
                f"{own:.1f}" if own else "-",
                f"{alone:.3f}",
                f"{own / alone:,.0f}" if own else "-",
                f"{own / counted:,.0f}" if own else "-",
                f"{paper / counted:,.0f}",
                f"{relative_data_misfit(data.operator, solved[solver], g):.1e}",
                f"{relative_l2_error(rho, solved[solver]):.4f}",
            ]
        )
    report(
        "refining",
        [
            "solver",
            "loop, s",
            "batched, s",
            "ratio",
            "ratio with SVD",
            "to paper's GMRES, with SVD",
            "misfit",
            "error",
        ],
        rows,
        f"{N_SAMPLES} sections of 50 x 50, start with 5 % smooth error; one thread, median CPU "
        f"seconds of 5 alternating runs; {versions('numpy', 'scipy', 'pylops', 'skgrav')}",
    )


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
