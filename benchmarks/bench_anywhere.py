"""Stations anywhere over terrain: against the lattice, stored matrices and rows, and with padding.

Stations are scattered over hills of some tens of metres, each 1 to 2 m above the ground, which the
mesh begins at. The lattice is what the same mesh costs with one level station above each column.
Matrices are timed on a share of the stations, one of 4, 32 and 512 by size, and what is computed
anew on a quarter of those, and scaled, as their work is proportional to them. The second table has
the sizes at which a matrix is faster, beside what `method="auto"` takes; the third an inversion on
a mesh with and without padding columns.
"""

import functools
import importlib.util

import numpy as np
from _peers import simpeg_simulation
from _timing import in_fresh_process, median_seconds, processor, report, versions
from threadpoolctl import threadpool_limits

from skgrav import ForwardOperator, Mesh, Survey, TikhonovInverter

SPACING = 100.0

#: Cells along each axis, stations, and the share of them that matrices are timed on.
SIZES = [((20, 40, 40), 1600, 4), ((40, 80, 80), 6400, 32), ((40, 160, 160), 25_000, 512)]

TOLS = (1e-4, 1e-6, 1e-8)

#: Cells along each axis, stations and samples.
CROSSOVER = [
    *(
        (shape, n, k)
        for shape, n in (
            ((10, 20, 20), 400),
            ((14, 28, 28), 300),
            ((14, 28, 28), 784),
            ((20, 40, 40), 400),
            ((20, 40, 40), 1600),
            ((50, 50), 150),
            ((50, 200), 200),
            ((50, 200), 600),
            ((100, 400), 1200),
        )
        for k in (1, 16)
    )
]


def hills(shape, n_stations, share=1):
    """Return a mesh and stations anywhere over it, or one of `share` of them."""
    mesh = Mesh.regular(shape, SPACING)
    rng = np.random.default_rng(0)
    ends = [e[-1] for e in mesh.edges[1:]]
    horizontal = rng.uniform([-end for end in ends], ends, (n_stations, len(ends)))
    relief = 30.0 * (1 + np.sin(horizontal / 600.0).prod(axis=1))
    heights = relief + rng.uniform(1, 2, n_stations)
    return mesh, Survey(np.column_stack([-heights, horizontal])[::share], "z")


def level(shape):
    """Return the mesh with a station above each column."""
    mesh = Mesh.regular(shape, SPACING)
    return mesh, Survey.grid(mesh, height=50.0)


def first_gravity(geometry, *args, **parameters):
    """Return what builds an operator and applies it and its adjoint once."""

    def run(mesh, survey):
        operator = ForwardOperator(mesh, survey, **parameters).fit().products_
        operator.adjoint(operator.forward(np.ones((1, mesh.n_cells))))
        return operator

    mesh, survey = geometry(*args)
    small = Mesh.regular((2,) + (4,) * (mesh.ndim - 1), SPACING)
    run(small, Survey.grid(small, height=1.0))
    return lambda: getattr(run(mesh, survey), "error", 0.0)


def applied(mesh, survey, **parameters):
    """Return what applies an operator and what applies its adjoint, to one vector."""
    operator = ForwardOperator(mesh, survey, **parameters).fit().products_
    rng = np.random.default_rng(0)
    rho, g = rng.uniform(-1, 1, (1, mesh.n_cells)), rng.normal(size=(1, survey.n_data))
    return functools.partial(operator.forward, rho), functools.partial(operator.adjoint, g)


def simpeg(mesh, survey, store):
    """Return the product and the adjoint of SimPEG's sensitivity, stored or not."""
    # What is not stored is computed in float64 whatever the type.
    dtype = np.float32 if store == "ram" else np.float64
    matrix = simpeg_simulation(mesh, survey, store, dtype).G
    rho = np.random.default_rng(0).uniform(-1, 1, mesh.n_cells).astype(dtype)
    g = np.ones(survey.n_data, dtype)
    return lambda: matrix @ rho, lambda: matrix.T @ g


def first_simpeg(geometry, *args, store):
    """Return what builds SimPEG's sensitivity and applies it and its adjoint once, compiled."""

    def run(mesh, survey):
        for apply in simpeg(mesh, survey, store):
            apply()

    mesh, survey = geometry(*args)
    small = Mesh.regular((2, 4, 4), SPACING)
    run(small, Survey.grid(small, height=1.0))
    return lambda: run(mesh, survey)


def true_error(operator_of, shape, n_stations):
    """Return the largest error at sixty stations, of random and of constant density."""
    mesh, survey = hills(shape, n_stations)
    operator = ForwardOperator(mesh, survey, **operator_of).fit().products_
    rng = np.random.default_rng(1)
    rho = np.stack([rng.uniform(-1, 1, mesh.n_cells), np.ones(mesh.n_cells)])
    g = operator.forward(rho)
    checked = rng.permutation(n_stations)[:60]
    exact = ForwardOperator(mesh, Survey(survey.stations[checked], "z"), method="rows").fit()
    off = np.abs(g[:, checked] - exact.transform(rho)).max(axis=1)
    return float((off / np.abs(g).max(axis=1)).max()), operator.n_bytes


def compared(shape, n_stations, share):
    """Return the lines of one size."""
    engines = {"lattice, level stations": (level(shape), {"method": "fft"}, 1)}
    for tol in TOLS:
        engines[f"anywhere, {tol:.0e}"] = (
            hills(shape, n_stations),
            {"method": "anywhere", "tol": tol},
            1,
        )
    engines["anywhere, 1e-06, float32"] = (
        hills(shape, n_stations),
        {"method": "anywhere", "precision": "float32"},
        1,
    )
    engines["matrix"] = (hills(shape, n_stations, share), {"method": "dense"}, share)
    engines["rows"] = (hills(shape, n_stations, 4 * share), {"method": "rows"}, 4 * share)
    runs = {name: applied(*geometry, **p) for name, (geometry, p, _) in engines.items()}
    shares = {name: k for name, (_, _, k) in engines.items()}
    if importlib.util.find_spec("simpeg"):  # its own environment has it
        for store, few in (("ram", share), ("forward_only", 4 * share)):
            name = f"SimPEG, {store}" + (", float32" if store == "ram" else "")
            runs[name] = simpeg(*hills(shape, n_stations, few), store)
            shares[name] = few
    products, adjoints = (
        {
            name: seconds * shares[name]
            for name, seconds in median_seconds(
                {name: run[i] for name, run in runs.items()}, at_least=0.05
            ).items()
        }
        for i in (0, 1)
    )
    base = "lattice, level stations"
    rows = []
    for name in runs:
        memory, stored, error = "-", "-", "-"
        if name == base:
            geometry = level, shape
        else:
            geometry = hills, shape, n_stations, shares[name]
        if name.startswith("SimPEG"):
            store = "ram" if "ram" in name else "forward_only"
            prepare = functools.partial(first_simpeg, store=store)
        else:
            prepare = functools.partial(first_gravity, **engines[name][1])
        seconds, megabytes, _ = in_fresh_process(prepare, *geometry)
        first = seconds * shares[name]
        if shares[name] == 1:
            memory = f"{megabytes:,.0f}"
        if name.startswith("anywhere"):
            off, n_bytes = true_error(engines[name][1], shape, n_stations)
            stored, error = f"{n_bytes / 1e6:,.0f}", f"{off:.0e}"
        elif name == "matrix" or "ram" in name:
            n_bytes = (8 if name == "matrix" else 4) * n_stations * np.prod(shape)
            stored = f"{n_bytes / 1e6:,.0f}"
        rows.append(
            [
                " x ".join(map(str, shape[::-1])),
                f"{n_stations:,}",
                name,
                error,
                f"{first:.3g}",
                f"{1e3 * products[name]:.3g}",
                f"{products[name] / products[base]:.3g}",
                f"{1e3 * adjoints[name]:.3g}",
                f"{adjoints[name] / adjoints[base]:.3g}",
                stored,
                memory,
            ]
        )
    return rows


def crossover():
    """Compare with matrices, and report beside what is taken automatically."""
    rows = []
    for shape, n_stations, n_samples in CROSSOVER:
        mesh, survey = hills(shape, n_stations)
        rng = np.random.default_rng(0)
        rho = rng.uniform(0, 1, (n_samples, mesh.n_cells))
        g = rng.uniform(0, 1, (n_samples, survey.n_data))
        peers = {}
        for method in ("dense", "anywhere"):
            held = ForwardOperator(mesh, survey, method=method).fit().products_
            peers[method] = lambda a=held, rho=rho, g=g: (a.forward(rho), a.adjoint(g))
        seconds = median_seconds(peers, at_least=0.02)
        rows.append(
            [
                " x ".join(map(str, shape[::-1])),
                survey.n_data,
                f"{8 * survey.n_data * mesh.n_cells / 1e6:.1f}",
                n_samples,
                *(f"{1e3 * s:.3g}" for s in seconds.values()),
                f"{seconds['dense'] / seconds['anywhere']:.2f}",
                ForwardOperator(mesh, survey).plan(n_samples).method,
            ]
        )
    report(
        "anywhere-crossover",
        ["cells", "data", "matrix, MB", "samples", "matrix, ms", "anywhere, ms", "ratio"]
        + ["auto takes"],
        rows,
        "A product and an adjoint, float64, error 1e-6. One thread, median CPU time of 5 "
        f"alternating runs; {processor()}; {versions('skgrav', 'numpy', 'scipy')}",
    )


def padded(n_padding):
    """Return 34 layers of 48 x 48 columns and padding columns, and 441 stations at nodes."""
    widths = 50.0 * 1.3 ** np.arange(1, n_padding + 1)
    core = 50.0 * np.arange(49.0)
    edges = np.concatenate([-np.cumsum(widths)[::-1], core, core[-1] + np.cumsum(widths)])
    edges = edges - core[-1] / 2
    mesh = Mesh([50.0 * np.arange(35.0), edges, edges])
    line = np.linspace(-1000, 1000, 21)
    y, x = np.meshgrid(line, line, indexing="ij")
    return mesh, Survey(np.column_stack([np.full(441, -1.0), y.ravel(), x.ravel()]), "z")


def inversion(n_padding, method):
    """Return what fits an inversion and inverts, set-up included."""
    mesh, survey = padded(n_padding)
    z, y, x = np.meshgrid(*mesh.centers, indexing="ij")
    block = (np.abs(z - 300) < 150) & (np.abs(y) < 200) & (np.abs(x) < 200)
    rho = 100.0 * block.reshape(1, -1)
    X = ForwardOperator(mesh, survey, method="rows").fit().transform(rho)
    X += 0.002 * np.random.default_rng(0).normal(size=X.shape)
    survey = Survey(survey.stations, "z", uncertainty=0.002)

    def run():
        operator = ForwardOperator(mesh, survey, method=method)
        inverter = TikhonovInverter(operator=operator, order=1).fit(X)
        return f"{operator.plan().method}, {len(inverter.predict(X)[0])} cells"

    return run


def report_padding():
    """Report an inversion with and without padding columns."""
    rows, base = [], None
    for n_padding, method in ((0, "auto"), (0, "anywhere"), (10, "anywhere"), (10, "dense")):
        seconds, megabytes, text = in_fresh_process(inversion, n_padding, method)
        base = base or seconds
        rows.append(
            [f"{48 + 2 * n_padding} x {48 + 2 * n_padding} x 34", n_padding, text.split(",")[0]]
            + [f"{seconds:.3g}", f"{seconds / base:.2f}", f"{megabytes:,.0f}"]
        )
    report(
        "anywhere-padding",
        ["cells", "padding columns per side", "method", "CPU s", "ratio", "memory, MB"],
        rows,
        "441 stations 1 m above the top, gz; padding grows by 1.3. Set-up, alpha and prediction, "
        "order=1, in a process of each; "
        f"one thread; {processor()}; {versions('skgrav', 'numpy', 'scipy')}",
    )


def main():
    report(
        "anywhere",
        ["cells", "stations", "engine", "error", "first g, s", "product, ms", "ratio"]
        + ["adjoint, ms", "ratio", "stored, MB", "peak, MB"],
        [row for size in SIZES for row in compared(*size)],
        "Error is the largest of gravity at sixty stations, relative to the largest datum, of "
        "random cells and of constant density. First g is set-up, a product and an adjoint, peak "
        "the memory that takes over import, in a process of its own. One thread, median CPU time "
        f"of 5 alternating runs; {processor()}; "
        f"{versions('skgrav', 'simpeg', 'choclo', 'numba', 'numpy', 'scipy')}",
    )
    crossover()
    report_padding()


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
