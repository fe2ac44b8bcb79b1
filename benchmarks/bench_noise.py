"""Refining noisy data: what each solver does to a start with 5 % error, told the noise or not.

The geometry is the paper's scripts': 51 x 51 point masses, 153 stations over three widths, gx and
gz. Prints the table and writes it to doc/refining_under_noise.md.
"""

import numpy as np
from _starts import starts
from _timing import markdown, put_into, report, versions

from skgrav import Mesh
from skgrav.datasets import make_gravity_dataset
from skgrav.metrics import relative_data_misfit, relative_l2_error
from skgrav.solvers import GMRES, LGMRES, SOLVERS

N_SAMPLES = 1000
LEVELS = (0.0, 0.001, 0.01, 0.05)


def main():
    data = make_gravity_dataset(
        n_samples=N_SAMPLES, mesh=Mesh.square(51), kernel="point", random_state=0
    )
    operator, rho = data.operator, data.target
    rho0 = starts(rho, operator.mesh_.shape, level=0.05, blur=1.2)
    rng = np.random.default_rng(1)
    rms = np.sqrt(np.mean(data.data**2, axis=1, keepdims=True))
    noise = rng.normal(size=data.data.shape)
    rows = {"start": []} | {name: [] for name in SOLVERS}
    # Uncut, the paper's stopping rule takes hundreds of cycles to fit noise: cut short here.
    untold = {
        "gmres, noise not stated": GMRES(max_iter=50),
        "lgmres, noise not stated": LGMRES(max_iter=20),
    }
    rows |= {name: [] for name in untold}
    misfits = {name: [] for name in rows}
    worst = 0.0
    for level in LEVELS:
        g = data.data + level * rms * noise
        estimates = {"start": rho0}
        for name, solver in SOLVERS.items():
            estimates[name] = solver().solve(operator, g, rho0, sigma=level * rms).rho
        for name, solver in untold.items():
            estimates[name] = solver.solve(operator, g, rho0).rho
        for name, estimate in estimates.items():
            error = relative_l2_error(rho, estimate)
            rows[name].append(f"{error:.4f}")
            misfits[name].append(f"{relative_data_misfit(operator, estimate, g):.1e}")
            if name in SOLVERS:
                worst = max(worst, error / relative_l2_error(rho, rho0))
    header = ["solver", *(f"{level:.1%} noise" for level in LEVELS)]
    header += [f"misfit, {level:.1%}" for level in LEVELS]
    table = [[name, *errors, *misfits[name]] for name, errors in rows.items()]
    footer = (
        f"Mean relative L2 error of the density over {N_SAMPLES} sections, and relative misfit of "
        f"the data. If the noise is stated, no solver leaves the error more than {worst - 1:.1%} "
        f"above its start. {versions('skgrav', 'numpy', 'scipy')}."
    )
    report("noise", header, table, footer)
    put_into("refining_under_noise.md", "table", f"{markdown(header, table)}\n\n{footer}")


if __name__ == "__main__":
    main()
