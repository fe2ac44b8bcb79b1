"""Hypothesis strategies: meshes, surveys, densities and gravity as users have them."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from skgrav import ForwardOperator, Mesh, Survey

KERNELS = st.sampled_from(["cell", "point"])
METHODS = st.sampled_from(["dense", "fft", "rows", "anywhere"])

#: Lengths from metres to tens of kilometres, of few digits, so that failures can be read.
LENGTHS = st.integers(1, 400).map(lambda n: n / 4)

COUNTS, STARTS, SAMPLES = st.integers(1, 5), st.integers(-50, 50), st.integers(1, 3)


def edges(counts=COUNTS, start=STARTS):
    """Strategy of uneven edges along one axis."""
    widths = counts.flatmap(lambda n: st.lists(LENGTHS, min_size=n, max_size=n))
    return st.builds(lambda first, w: first + np.cumsum([0.0, *w]), start, widths)


def even_edges(counts=COUNTS, start=STARTS):
    """Strategy of even edges along one axis."""
    return st.builds(lambda first, n, h: first + h * np.arange(n + 1), start, counts, LENGTHS)


def meshes(ndim=None, *, even=None, active=None):
    """Strategy of meshes with uneven layers; columns are even, uneven, or either.

    All cells are active, or any of them, or either.
    """

    def of(ndim, even):
        column = even_edges() if even else edges()
        return st.builds(lambda z, *yx: Mesh([z, *yx]), edges(), *[column] * (ndim - 1))

    ndims = st.sampled_from([2, 3]) if ndim is None else st.just(ndim)
    evens = st.booleans() if even is None else st.just(even)
    blocks = st.tuples(ndims, evens).flatmap(lambda chosen: of(*chosen))
    some = st.booleans() if active is None else st.just(active)
    return some.flatmap(lambda masked: blocks.flatmap(with_active) if masked else blocks)


def with_active(mesh):
    """Strategy of a mesh with any cells active, at least one."""
    masks = arrays(bool, mesh.shape).filter(np.any)
    return masks.map(lambda active: Mesh(mesh.edges, active))


@st.composite
def surveys(draw, mesh, *, on_lattice=None):
    """Strategy of surveys above and within a mesh, on a lattice of its columns or off any."""
    names = ("z", "y", "x")[-mesh.ndim :] if mesh.ndim == 3 else ("z", "x")
    components = draw(st.permutations(names).flatmap(_beginnings))
    if draw(st.booleans()) if on_lattice is None else on_lattice:
        height = draw(st.integers(0, 80)) / 4
        steps = [float(e[-1] - e[0]) / (e.size - 1) for e in mesh.edges[1:]]
        shifts = [draw(st.integers(0, 3)) / 4 * h for h in steps]
        # As far as the mesh reaches, so that a table of offsets pays.
        lines = [
            e[0] + s + h * np.arange(e.size + 2)
            for e, s, h in zip(mesh.edges[1:], shifts, steps, strict=True)
        ]
        grid = np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1).reshape(-1, mesh.ndim - 1)
        stations = np.column_stack([np.full(len(grid), mesh.edges[0][0] - height), grid])
    else:
        n = draw(st.integers(1, 6))
        place = st.integers(-400, 400).map(lambda k: k / 8)
        columns = [draw(arrays(float, n, elements=place)) for _ in range(mesh.ndim)]
        stations = np.column_stack(columns)
    return Survey(stations, components)


def _beginnings(names):
    return st.integers(1, len(names)).map(lambda n: tuple(names[:n]))


@st.composite
def operators(draw, *, ndim=None, even=None, on_lattice=None, units="mGal"):
    """Strategy of fitted operators, of all methods that their geometry allows and both kernels."""
    mesh = draw(meshes(ndim, even=even))
    survey = draw(surveys(mesh, on_lattice=on_lattice))
    operator = ForwardOperator(mesh, survey, kernel=draw(KERNELS), units=units)
    method = draw(METHODS)
    try:
        return operator.set_params(method=method).fit()
    except ValueError:
        assert method in {"fft", "anywhere"}
        return operator.set_params(method="dense").fit()


def densities(n_cells, n_samples=SAMPLES):
    """Strategy of densities or contrasts in kg/m3, zeros among them."""
    values = st.one_of(st.just(0.0), st.integers(-3300, 3300).map(float))
    return n_samples.flatmap(lambda n: arrays(float, (n, n_cells), elements=values))


def gravity(n_data, n_samples=SAMPLES):
    """Strategy of gravity in mGal."""
    values = st.integers(-4000, 4000).map(lambda k: k / 8)
    return n_samples.flatmap(lambda n: arrays(float, (n, n_data), elements=values))
