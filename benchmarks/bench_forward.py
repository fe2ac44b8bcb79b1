"""Gravity of 3D models without a matrix: this library against SimPEG, harmonica and a matrix.

One station above each column of 40 x 40 x 20 and 80 x 80 x 40 cubes, gz. First gravity is building
the operator and one product; then come repeated products, the adjoint, and the memory that all
three take over import, in a process of its own. What keeps no matrix in SimPEG, and harmonica, is
proportional to the stations: it runs on some of them and is scaled. Compilation is left out by a
run on a tiny model.
"""

import functools

import numpy as np
from _peers import from_simpeg, harmonica, simpeg, skgrav
from _timing import in_fresh_process, median_seconds, processor, report, versions
from threadpoolctl import threadpool_limits

SHAPES = {"40 x 40 x 20": (20, 40, 40), "80 x 80 x 40": (40, 80, 80)}
TINY = (2, 3, 4)
OURS = "skgrav, float64"

#: What builds each engine, and on one of how many stations it runs in each size.
ENGINES = {
    OURS: (functools.partial(skgrav, method="fft"), {}),
    "skgrav, float32": (functools.partial(skgrav, method="fft", precision="float32"), {}),
    "skgrav, matrix, float64": (functools.partial(skgrav, method="dense"), {}),
    "skgrav, matrix, float32": (
        functools.partial(skgrav, method="dense", precision="float32"),
        {},
    ),
    "SimPEG, ram, float32": (simpeg, {}),
    "SimPEG, forward_only": (
        functools.partial(simpeg, store="forward_only"),
        {"80 x 80 x 40": 32},
    ),
    "harmonica": (harmonica, {"40 x 40 x 20": 8, "80 x 80 x 40": 128}),
}
SMALL_ONLY = {"skgrav, matrix, float64", "skgrav, matrix, float32"}


def builder(engine, size):
    """Return what builds an engine for a size, and what its seconds count for."""
    make, shares = ENGINES[engine]
    share = shares.get(size, 1)
    return make(SHAPES[size], **({"share": share} if share > 1 else {})), share


def first_use(engine, size):
    """Return what builds an engine and uses it once; what is compiled has been."""
    apply(*ENGINES[engine][0](TINY)(), np.ones(np.prod(TINY)))
    build, _ = builder(engine, size)
    rho = np.ones(np.prod(SHAPES[size]))

    def run():
        apply(*build(), rho)

    return run


def apply(forward, adjoint, rho):
    g = forward(rho)
    if adjoint:
        adjoint(g)


def measure(size):
    """Return the seconds of each engine's first gravity, product and adjoint."""
    engines = [e for e in ENGINES if size == "40 x 40 x 20" or e not in SMALL_ONLY]
    rho = np.random.default_rng(0).uniform(0.0, 1.0, np.prod(SHAPES[size]))
    held, shares, first, given = {}, {}, {}, {}
    for engine in engines:
        build, shares[engine] = builder(engine, size)
        given[engine] = from_simpeg(rho, SHAPES[size]) if engine.startswith("SimPEG") else rho
        if "float32" in engine:
            given[engine] = given[engine].astype(np.float32)

        def run(engine=engine, build=build):
            held[engine] = None  # two matrices would not fit
            held[engine] = build()
            held[engine][0](given[engine])

        first[engine] = run
        apply(*ENGINES[engine][0](TINY)(), np.ones(np.prod(TINY)))
    seconds = {"first": median_seconds(first, warm_up=False)}
    gravity = {e: forward(given[e]) for e, (forward, _) in held.items()}
    seconds["product"] = median_seconds(
        {e: functools.partial(forward, given[e]) for e, (forward, _) in held.items()},
        at_least=0.05,
    )
    seconds["adjoint"] = median_seconds(
        {e: functools.partial(adj, gravity[e]) for e, (_, adj) in held.items() if adj},
        at_least=0.05,
    )
    for engine, share in shares.items():
        # Of the first gravity only the product grows with the stations, not the set-up.
        seconds["first"][engine] += (share - 1) * seconds["product"][engine]
        for kind in ("product", "adjoint"):
            if engine in seconds[kind]:
                seconds[kind][engine] *= share
    return seconds, disagreement(gravity, shares)


def disagreement(gravity, shares):
    """Return the largest difference from ours, relative to the largest value, of each engine."""
    ours, found = gravity[OURS], {}
    for engine, g in gravity.items():
        factor = -1e-3 if engine.startswith("SimPEG") else 1.0  # z up, densities in g/cm3
        difference = np.abs(factor * g - ours[:: shares[engine]]).max()
        found[engine] = difference / np.abs(ours).max()
    return found


def row(size, engine, seconds, megabytes, difference):
    """Return a line of the table: each figure, and how many times ours it is."""
    cells = [size, engine]
    for kind in ("first", "product", "adjoint"):
        if engine in seconds[kind]:
            value, ours = seconds[kind][engine], seconds[kind][OURS]
            cells += [f"{1e3 * value:,.3g}", times(value / ours)]
        else:
            cells += ["-", "-"]
    value, ours = megabytes[engine], megabytes[OURS]
    return [*cells, f"{value:,.3g}", times(value / ours), f"{difference[engine]:.0e}"]


def times(ratio):
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2g}"


def main():
    rows = []
    for size in SHAPES:
        seconds, difference = measure(size)
        # Stations that are left out would have taken memory, but next to none.
        megabytes = {e: in_fresh_process(first_use, e, size)[1] for e in seconds["first"]}
        rows += [row(size, e, seconds, megabytes, difference) for e in seconds["first"]]
    report(
        "forward",
        ["cells", "engine", "first g, ms", "ratio", "product, ms", "ratio", "adjoint, ms", "ratio"]
        + ["memory, MB", "ratio", "difference"],
        rows,
        f"One thread, median CPU time of 5 alternating runs; {processor()}; "
        + versions("skgrav", "simpeg", "harmonica", "choclo", "numba", "numpy", "scipy"),
    )


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
