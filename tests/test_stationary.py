"""The prior that is the same in all columns: against brute force, in 2D and 3D, and its limits."""

from itertools import product

import numpy as np
import pytest

from skgrav import Mesh
from skgrav.inverters._stationary import StationaryCovariance, StationaryPrior

SECTION = Mesh([[0, 10, 30, 70], np.arange(0, 301, 50.0)])
VOLUME = Mesh([[0, 20, 50], np.arange(0, 201, 50.0), np.arange(-100, 151, 50.0)])
CUBE = Mesh([[0, 20, 50], np.arange(0, 201, 50.0), np.arange(0, 201, 50.0)])
MESHES = [
    SECTION,
    VOLUME,
    CUBE,
    Mesh(SECTION.edges, np.arange(18).reshape(3, 6) > 1),
    Mesh(VOLUME.edges, np.arange(40).reshape(2, 4, 5) % 7 > 0),
]


def densities(mesh, n=30, seed=0):
    """Give densities of layers that are correlated with each other and across columns."""
    rng = np.random.default_rng(seed)
    rho = mesh.unflatten(rng.normal(size=(n, mesh.n_cells)), fill=0.0)
    rho = rho + np.roll(rho, 1, axis=-1) + 0.5 * np.cumsum(rho, axis=1)
    return mesh.flatten(100.0 + 7.0 * rho)


def symmetries(mesh, turns):
    """Give all mirror images, and those with y and x exchanged."""
    axes = range(2, mesh.ndim + 1)
    for flips in product([False, True], repeat=mesh.ndim - 1):
        for turn in {False, turns}:
            flipped = [axis for axis, flip in zip(axes, flips, strict=True) if flip]

            def image(rho, flipped=flipped, turn=turn):
                rho = np.flip(rho, flipped)
                return np.swapaxes(rho, -1, -2) if turn else rho

            yield image


def brute_force(rho, mesh, turns=False):
    """Give mean and covariance matrix of the whole block, pair of cells by pair of cells."""
    inside = mesh.unflatten(np.ones(mesh.n_cells), fill=0.0)
    n_active = inside.reshape(len(inside), -1).sum(axis=1)
    images = mesh.unflatten(rho, fill=0.0)
    mean = images.mean(axis=0).reshape(len(inside), -1).sum(axis=1) / n_active
    deviation = (images - mean.reshape(-1, *[1] * (mesh.ndim - 1))) * inside
    images = [image(deviation) for image in symmetries(mesh, turns)]
    products = sum(
        np.einsum("nc,nd->cd", i.reshape(len(i), -1), i.reshape(len(i), -1)) for i in images
    ) / (len(images) * len(rho))
    index = np.array(np.unravel_index(np.arange(inside.size), mesh.shape)).T
    covariance = np.zeros_like(products)
    offsets = {}
    for a, b in product(range(inside.size), repeat=2):
        key = index[a, 0], index[b, 0], *(index[b, 1:] - index[a, 1:])
        offsets.setdefault(key, []).append((a, b))
    for (i, j, *_), cells in offsets.items():
        total = sum(products[a, b] for a, b in cells) / np.sqrt(n_active[i] * n_active[j])
        for a, b in cells:
            covariance[a, b] = total
    return mean, covariance


@pytest.mark.parametrize("mesh", MESHES)
def test_covariance_equals_that_of_all_pairs_of_cells(mesh):
    rho = densities(mesh)
    prior = StationaryPrior.of(rho, mesh)
    mean, covariance = brute_force(rho, mesh)
    np.testing.assert_allclose(prior.mean, mean, rtol=1e-12)
    found = StationaryCovariance(prior, mesh)(np.eye(mesh.n_cells))
    expected = covariance[np.ix_(mesh.cells, mesh.cells)]
    np.testing.assert_allclose(found, expected, atol=1e-5 * expected.max())
    means = np.broadcast_to(mean.reshape(-1, *[1] * (mesh.ndim - 1)), mesh.shape)
    np.testing.assert_allclose(prior.means(mesh), mesh.flatten(means), rtol=1e-12)


def test_turns_average_over_both_axes():
    rho = densities(CUBE)
    found = StationaryCovariance(StationaryPrior.of(rho, CUBE, turns=True), CUBE)
    turned = brute_force(rho, CUBE, turns=True)[1]
    np.testing.assert_allclose(found(np.eye(32)), turned, atol=1e-5 * turned.max())
    assert np.abs(turned - brute_force(rho, CUBE)[1]).max() > 0.01 * turned.max()


@pytest.mark.parametrize("mesh", MESHES)
@pytest.mark.parametrize("n_more", [0, 3, 40])
def test_no_variance_is_negative_on_any_number_of_columns(mesh, n_more):
    prior = StationaryPrior.of(densities(mesh, n=2), mesh)
    y = [mesh.edges[1]] if mesh.ndim == 3 else []
    x = mesh.edges[-1][0] + 50.0 * np.arange(mesh.shape[-1] + n_more + 1)
    wider = Mesh([mesh.edges[0], *y, x])
    covariance = StationaryCovariance(prior, wider)(np.eye(wider.n_cells))
    np.testing.assert_allclose(covariance, covariance.T, atol=1e-9 * covariance.max())
    assert np.linalg.eigvalsh(covariance).min() > -1e-5 * covariance.max()


def test_offsets_that_training_did_not_have_count_as_zero():
    prior = StationaryPrior.of(densities(SECTION), SECTION)
    wide = Mesh([SECTION.edges[0], 50.0 * np.arange(21)])
    found = StationaryCovariance(prior, wide)(np.eye(60)).reshape(3, 20, 3, 20)
    narrow = StationaryCovariance(prior, SECTION)(np.eye(18)).reshape(3, 6, 3, 6)
    np.testing.assert_allclose(found[:, 7:13, :, 7:13], narrow, atol=1e-9 * narrow.max())
    assert np.abs(found[:, 5, :, 11:]).max() < 1e-9 * narrow.max()
    assert np.abs(found[:, 5, :, 10]).max() > 1e-3 * narrow.max()
    few = Mesh([SECTION.edges[0], 50.0 * np.arange(3)])
    np.testing.assert_allclose(
        StationaryCovariance(prior, few)(np.eye(6)).reshape(3, 2, 3, 2),
        narrow[:, :2, :, :2],
        atol=1e-9 * narrow.max(),
    )


def test_constant_densities_have_no_covariance():
    prior = StationaryPrior.of(np.full((3, 18), 5.0), SECTION)
    assert prior.scale == 1.0
    assert not StationaryCovariance(prior, SECTION)(np.eye(18)).any()


@pytest.mark.parametrize(
    ("mesh", "text"),
    [
        (VOLUME, "it has 3 axes, and the network is for 2"),
        (Mesh([[0, 10, 30], SECTION.edges[1]]), "it has 2 layers, and the network is for 3"),
        (Mesh([[0, 10, 30, 60], SECTION.edges[1]]), "its layers are 10., 20., 30. m thick, and"),
        (Mesh([SECTION.edges[0], [0, 60, 120]]), "its columns are 60. m wide, and"),
    ],
)
def test_other_layers_and_columns_are_told(mesh, text):
    prior = StationaryPrior.of(densities(SECTION), SECTION)
    assert text in prior.difference(mesh)
    assert prior.difference(Mesh([SECTION.edges[0] + 7.0, [0, 50, 100]])) == ""
    with pytest.raises(ValueError, match=r"along y are 10 to 20 m wide; take .*'residual'"):
        prior.of(np.zeros((1, 4)), Mesh([[0, 1], [0, 10, 30], [0, 5, 10]]))
