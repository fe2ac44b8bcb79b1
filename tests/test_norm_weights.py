"""Weights of smallness and of slopes along each axis, and lengths, in Tikhonov's norm."""

import numpy as np
import pytest
from test_tikhonov import irregular, problem

from skgrav import MatrixOperator, SparseInverter, TikhonovInverter
from skgrav.inverters._model_norm import ModelNorm

MESHES = [irregular((6, 7)), irregular((4, 3, 5))]
ORDERS = pytest.mark.parametrize("order", [1, 2])


def explicit(mesh, order, weights, lengths):
    """Give the matrix of the squared norm of the docs, built face by face."""
    volumes = mesh.volumes / mesh.volumes.mean()
    mean = np.prod(lengths) ** (1 / mesh.ndim)
    D = np.diag(weights[0] / mean**2 * volumes)
    shape = mesh.shape
    for axis, (x, h) in enumerate(zip(mesh.centers, mesh.widths, strict=True)):
        # Axes of the mesh are (z, y, x), the weights' (x, y, z).
        own = weights[mesh.ndim - axis] * (lengths[mesh.ndim - 1 - axis] / mean) ** 2
        for cell in np.ndindex(shape):
            k = cell[axis]
            if k + 1 == shape[axis]:
                continue
            after = (*cell[:axis], k + 1, *cell[axis + 1 :])
            i, j = (np.ravel_multi_index(c, shape) for c in (cell, after))
            area = volumes[i] / h[k]
            step = x[k + 1] - x[k]
            row = np.zeros(mesh.n_cells)
            row[[i, j]] = -1 / step, 1 / step
            D += own * area * step * np.outer(row, row)
    return D if order == 1 else D @ np.diag(1 / volumes) @ D


@pytest.mark.parametrize("mesh", MESHES, ids=str)
@ORDERS
def test_norm_is_that_of_the_docs(mesh, order):
    operator = problem(mesh)[0]
    weights = (0.5, 2.0, 0.1, 3.0)[: mesh.ndim + 1]
    lengths = (4.0, 1.0, 2.5)[: mesh.ndim]
    norm = ModelNorm.of(operator, order, None, norm_weights=weights, length_scales=lengths)
    K = norm.product(np.eye(mesh.n_cells))
    expected = explicit(mesh, order, weights, lengths)
    np.testing.assert_allclose(K, expected, atol=1e-9 * np.abs(expected).max())
    np.testing.assert_allclose(norm.inverse(K), np.eye(mesh.n_cells), atol=1e-7)


@ORDERS
def test_ones_and_the_default_length_change_nothing(order):
    mesh = MESHES[0]
    operator, _, g = problem(mesh)
    length = max(np.ptp(mesh.edges[0]) / 4, 3 * max(np.median(h) for h in mesh.widths))
    found = [
        TikhonovInverter(1.0, order=order, operator=operator, **params).fit(g).predict(g)
        for params in ({}, {"norm_weights": (1, 1, 1)}, {"length_scales": length})
    ]
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_allclose(found[2], found[0])


def test_lengths_are_weights():
    operator, _, g = problem(MESHES[0])
    lengths = np.array([6.0, 1.5])
    mean = np.sqrt(np.prod(lengths))
    found = [
        TikhonovInverter(1.0, order=1, operator=operator, **params).fit(g).predict(g)
        for params in (
            {"length_scales": lengths},
            {"length_scales": mean, "norm_weights": (1, *(lengths / mean) ** 2)},
        )
    ]
    np.testing.assert_allclose(found[0], found[1])


def test_densities_are_smoothest_along_the_longest_length():
    mesh = irregular((8, 10))
    operator, _, g = problem(mesh)

    def roughness(lengths):
        inverter = TikhonovInverter(order=1, length_scales=lengths, operator=operator).fit(g)
        rho = inverter.predict(g).reshape(-1, *mesh.shape)
        slopes = [
            np.mean((np.diff(rho, axis=axis) / np.diff(x).reshape(shape)) ** 2)
            for axis, x, shape in ((2, mesh.centers[1], (1, -1)), (1, mesh.centers[0], (-1, 1)))
        ]
        return slopes[0] / slopes[1]

    assert roughness((20.0, 2.0)) < 0.5 * roughness((2.0, 20.0))


def test_refit_forgets_weights():
    operator, _, g = problem(MESHES[0])
    inverter = TikhonovInverter(1.0, order=1, operator=operator)
    first = inverter.fit(g).predict(g)
    other = inverter.set_params(norm_weights=(1, 10, 0)).fit(g).predict(g)
    assert np.abs(other - first).max() > 1e-3 * np.abs(first).max()
    again = inverter.set_params(norm_weights=None).fit(g).predict(g)
    np.testing.assert_array_equal(again, first)


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"norm_weights": (1, 1)}, r"'norm_weights' is \(1, 1\); it must have 3 numbers, not neg"),
        ({"norm_weights": (1, -1, 1)}, "it must have 3 numbers, not negative: for departures"),
        ({"norm_weights": (0, 1, 1)}, "a constant density does not count; the first weight must"),
        ({"norm_weights": (1, np.nan, 1)}, "'norm_weights'"),
        (
            {"length_scales": 0.0},
            r"'length_scales' is 0.0; it must be a number of metres, or one for",
        ),
        ({"length_scales": (1, 2, 3)}, "for each of the axes x, z, from 0.000"),
        ({"length_scales": (1, np.inf)}, "'length_scales'"),
        ({"length_scales": 5.0, "order": 0}, "'length_scales' is 5.0, but 'order' is 0"),
        ({"norm_weights": (1, 1, 1), "order": 0}, "'norm_weights' is .*, but 'order' is 0"),
    ],
    ids=str,
)
def test_odd_weights_are_refused(params, text):
    operator, _, g = problem(MESHES[0])
    with pytest.raises(ValueError, match=text):
        TikhonovInverter(**{"order": 1, "operator": operator} | params).fit(g)


def test_words_are_those_of_the_sparse_inverter():
    operator, _, g = problem(MESHES[0])
    errors = []
    for inverter in (TikhonovInverter(order=1), SparseInverter()):
        inverter.set_params(norm_weights=(1, 2), operator=operator)
        with pytest.raises(ValueError, match="norm_weights") as raised:
            inverter.fit(g)
        errors.append(str(raised.value))
    assert errors[0] == errors[1]


def test_weights_need_a_mesh():
    operator, _, g = problem(MESHES[0])
    bare = MatrixOperator(operator.matrix_)
    with pytest.raises(ValueError, match="has no mesh to take derivatives on"):
        TikhonovInverter(1.0, order=1, norm_weights=(1, 1, 1), operator=bare).fit(g)
    every = np.ones(operator.n_cells_)
    with pytest.raises(ValueError, match="has no mesh to take derivatives on"):
        TikhonovInverter(1.0, order=1, cell_weights=every, operator=bare).fit(g)
