"""How the operator grows: seconds and memory up to 4 million cells, and where a matrix is faster.

One station above each column. The exponent in the number of cells is fitted to the products of all
sizes. The second table compares a product and an adjoint by matrix with those by FFT, for one
sample and for batches, beside what `method="auto"` takes.
"""

import functools

import numpy as np
from _timing import DOC, in_fresh_process, median_seconds, processor, report, versions
from threadpoolctl import threadpool_limits

from skgrav import ForwardOperator, Mesh, Survey

COUNTS = (20, 28, 40, 56, 80, 112, 160, 200)
PRECISIONS = ("float64", "float32")

#: Cells along each axis, stations along each horizontal axis, and samples.
CROSSOVER = [
    *(((n // 2, n, n), None, k) for n in (8, 12, 14, 16, 20, 28) for k in (1, 16, 64)),
    *(((20, 40, 40), (m, m), k) for m in (6, 12, 20) for k in (1, 16, 64)),
    *(((n, n), None, k) for n in (25, 50, 65, 80, 120) for k in (1, 16, 256)),
]


def volume(n):
    """Return n x n x n/2 cells with a station above each column."""
    mesh = Mesh.regular((n // 2, n, n), 100.0)
    return mesh, Survey.grid(mesh, height=50.0)


def first_use(n, precision):
    """Return what builds an operator and applies it and its adjoint once."""

    def run(n=n):
        mesh, survey = volume(n)
        operator = ForwardOperator(mesh, survey, method="fft", precision=precision).fit()
        operator.aslinearoperator().rmatvec(
            operator.aslinearoperator().matvec(np.ones(mesh.n_cells))
        )

    run(4)
    return run


def scaling():
    """Measure products of all sizes in turn; set-up and memory in a process of each."""
    products, adjoints = {}, {}
    for key in [(n, precision) for n in COUNTS for precision in PRECISIONS]:
        mesh, survey = volume(key[0])
        held = ForwardOperator(mesh, survey, method="fft", precision=key[1]).fit()
        operator = held.aslinearoperator()
        rho = np.random.default_rng(0).uniform(0, 1, mesh.n_cells)
        products[key] = functools.partial(operator.matvec, rho)
        adjoints[key] = functools.partial(operator.rmatvec, operator.matvec(rho))
    seconds = median_seconds(products, at_least=0.05), median_seconds(adjoints, at_least=0.05)
    return *seconds, {key: in_fresh_process(first_use, *key)[:2] for key in products}


def report_scaling(product, adjoint, fresh):
    """Write the table and the picture of growth."""
    cells = {n: n * n * (n // 2) for n in COUNTS}
    slopes = {
        p: np.polyfit(np.log(list(cells.values())), np.log([product[n, p] for n in COUNTS]), 1)[0]
        for p in PRECISIONS
    }
    rows = [
        [
            f"{n} x {n} x {n // 2}",
            f"{cells[n]:,}",
            precision,
            f"{1e3 * product[n, precision]:.3g}",
            f"{1e3 * adjoint[n, precision]:.3g}",
            f"{fresh[n, precision][0]:.3g}",
            f"{fresh[n, precision][1]:,.0f}",
            f"{cells[n] * n * n * np.dtype(precision).itemsize / 1e9:,.2f}",
        ]
        for n in COUNTS
        for precision in PRECISIONS
    ]
    report(
        "scaling",
        ["cells", "number", "precision", "product, ms", "adjoint, ms", "first use, s"]
        + ["memory, MB", "matrix, GB"],
        rows,
        "Product time grows as the number of cells to the power of "
        + " and ".join(f"{slope:.2f} ({precision})" for precision, slope in slopes.items())
        + ". First use is set-up, a product and an adjoint, memory what they take over import, in "
        "a process of their own. One thread, median CPU time of 5 alternating runs; "
        f"{processor()}; {versions('skgrav', 'numpy', 'scipy')}",
    )
    picture(cells, product, {key: megabytes for key, (_, megabytes) in fresh.items()}, slopes)


def picture(cells, product, megabytes, slopes):
    """Draw seconds and memory over cells."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    x = np.array(list(cells.values()))
    for precision, marker in zip(PRECISIONS, "os", strict=True):
        label = f"{precision}, $N^{{{slopes[precision]:.2f}}}$"
        taken = [1e3 * product[n, precision] for n in COUNTS]
        axes[0].loglog(x, taken, marker=marker, markersize=5, label=label)
        taken = [megabytes[n, precision] for n in COUNTS]
        axes[1].loglog(x, taken, marker=marker, markersize=5, label=precision)
    axes[0].loglog(x, 1e3 * product[COUNTS[0], "float64"] * x / x[0], "k:", label="$N$")
    matrix = [4e-6 * cells[n] * n * n for n in COUNTS]
    axes[1].loglog(x, matrix, "k--", label="matrix in float32, stored")
    axes[0].set(ylabel="one product, ms", title="time")
    axes[1].set(ylabel="over import, MB", title="memory of set-up, product and adjoint")
    for axis in axes:
        axis.set_xlabel("cells $N$, one station above each column")
        axis.grid(alpha=0.3)
        axis.legend(fontsize="small")
    figure.savefig(DOC / "images" / "scaling.png", dpi=90)


def crossover():
    """Compare matrices with FFTs, and report beside what is taken automatically."""
    rows = []
    for shape, stations, n_samples in CROSSOVER:
        mesh = Mesh.regular(shape, 100.0)
        survey = (
            Survey.line(mesh)
            if mesh.ndim == 2
            else Survey.grid(mesh, height=50.0, shape=stations or shape[1:])
        )
        rng = np.random.default_rng(0)
        rho = rng.uniform(0, 1, (n_samples, mesh.n_cells))
        g = rng.uniform(0, 1, (n_samples, survey.n_data))
        peers = {}
        for method in ("dense", "fft"):
            applied = ForwardOperator(mesh, survey, method=method).fit().products_
            peers[method] = lambda a=applied, rho=rho, g=g: (a.forward(rho), a.adjoint(g))
        seconds = median_seconds(peers, at_least=0.02)
        rows.append(
            [
                " x ".join(map(str, shape[::-1])),
                survey.n_data,
                f"{8 * survey.n_data * mesh.n_cells / 1e6:.1f}",
                n_samples,
                *(f"{1e3 * s:.3g}" for s in seconds.values()),
                f"{seconds['dense'] / seconds['fft']:.2f}",
                ForwardOperator(mesh, survey).plan(n_samples).method,
            ]
        )
    report(
        "crossover",
        ["cells", "data", "matrix, MB", "samples", "matrix, ms", "FFT, ms", "ratio", "auto takes"],
        rows,
        "A product and an adjoint, float64. One thread, median CPU time of 5 alternating runs; "
        f"{processor()}; {versions('skgrav', 'numpy', 'scipy')}",
    )


def main():
    report_scaling(*scaling())
    crossover()


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
