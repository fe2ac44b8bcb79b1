"""Random density volumes: any mesh, closed bodies, strikes of all directions, and their gravity."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import label

from skgrav import Mesh, Survey
from skgrav.datasets import make_density_models, make_gravity_dataset
from skgrav.datasets._families import FAMILIES

MESH = Mesh.regular((12, 24, 20), 50.0)
UNEVEN = Mesh([np.geomspace(10, 400, 9), np.linspace(0, 900, 7), np.geomspace(100, 2000, 12)])
NAMES = list(FAMILIES)


def volumes(family, n_samples=24, mesh=MESH, **options):
    rho = make_density_models(n_samples, mesh=mesh, families=family, random_state=2, **options)
    return mesh.unflatten(rho)


@pytest.mark.parametrize("family", NAMES)
@pytest.mark.parametrize("mesh", [MESH, UNEVEN, Mesh([[0, 1, 2], [0, 1], [0, 1]])])
def test_each_family_fills_its_range_on_any_mesh(family, mesh):
    rho = volumes(family, mesh=mesh)
    assert rho.shape == (24, *mesh.shape)
    assert np.isfinite(rho).all()
    assert rho.min() > 0
    assert rho.max() <= 12
    assert np.ptp(rho) > 6


def test_all_families_by_default_in_equal_shares():
    _, family = make_density_models(20, mesh=MESH, random_state=0, return_family=True)
    assert_array_equal(np.unique(family, return_counts=True)[1], [2] * len(NAMES))


@pytest.mark.parametrize("family", NAMES)
def test_same_seed_same_volumes_other_seed_others(family):
    first = make_density_models(4, mesh=MESH, families=family, random_state=7)
    again = make_density_models(4, mesh=MESH, families=family, random_state=7)
    assert_array_equal(first, again)
    other = make_density_models(4, mesh=MESH, families=family, random_state=8)
    assert not np.isclose(first, other).all(axis=1).any()
    assert len(np.unique(first, axis=0)) == 4


def test_volumes_of_several_blocks_differ():
    rho = make_density_models(40, mesh=MESH, families="blocks", random_state=0)
    assert len(np.unique(rho, axis=0)) == 40


@pytest.mark.parametrize("family", [f for f in NAMES if f != "flat_layers"])
def test_volumes_change_along_every_horizontal_axis(family):
    rho = volumes(family, 60)
    along_y, along_x = (np.ptp(rho, axis=axis).max(axis=(1, 2)) for axis in (2, 3))
    assert np.mean(along_y > 0.1) > 0.9
    assert np.mean(along_x > 0.1) > 0.9


@pytest.mark.parametrize("family", ["dipping_layers", "folded_layers", "faults", "dykes"])
def test_strikes_have_all_directions(family):
    rho = volumes(family, 90)
    gy, gx = (np.mean(np.abs(np.diff(rho, axis=axis)), axis=(1, 2, 3)) for axis in (2, 3))
    share = gy / (gx + gy)  # 0 for layers that strike along y, 1 along x
    assert share.min() < 0.3
    assert share.max() > 0.7
    assert abs(share.mean() - 0.5) < 0.1


@pytest.mark.parametrize("family", ["blocks", "random_walks"])
def test_bodies_are_closed(family):
    """The host is a few layers, so that cells apart from its densities are of bodies."""
    rho = volumes(family, 60)
    inside = []
    for volume in rho:
        # A body has one density, which the layers of the host do not have.
        values, counts = np.unique(volume.round(6), return_counts=True)
        for value in values[(counts > 20) & (counts < 0.03 * volume.size)]:
            cells = volume.round(6) == value
            if label(cells)[1] <= 2:
                inside.append(np.any(cells, axis=(0, 2)).mean())  # its extent along y
    assert len(inside) > 20
    assert np.median(inside) < 0.6


def test_finer_mesh_shows_the_same_volumes():
    fine = Mesh.regular((24, 48, 40), 25.0)
    coarse, detailed = (volumes("basins", 8, mesh) for mesh in (MESH, fine))
    blocks = detailed.reshape(8, 12, 2, 24, 2, 20, 2).mean(axis=(2, 4, 6))
    assert np.linalg.norm(blocks - coarse) < 0.1 * np.linalg.norm(coarse)


def test_inactive_cells_are_left_out():
    active = np.ones(MESH.shape, dtype=bool)
    active[:3, :, :10] = False
    mesh = Mesh(MESH.edges, active=active)
    rho = make_density_models(5, mesh=mesh, random_state=0)
    whole = make_density_models(5, mesh=MESH, random_state=0)
    assert_array_equal(rho, whole[:, active.ravel()])


def test_gravity_of_volumes_on_scattered_stations_over_active_cells():
    active = np.ones(MESH.shape, dtype=bool)
    active[0, :8] = False
    rng = np.random.default_rng(0)
    stations = np.column_stack([np.full(15, -20.0), rng.uniform(-400, 400, (15, 2))])
    data = make_gravity_dataset(
        6,
        mesh=Mesh(MESH.edges, active=active),
        survey=Survey(stations, ("z",)),
        density_range=(-500, 500),
        noise_level=0.02,
        units="mGal",
        random_state=0,
    )
    assert data.target.shape == (6, active.sum())
    exact = data.operator.transform(data.target)
    rms = np.sqrt(np.mean((data.data - exact) ** 2)) / np.sqrt(np.mean(exact**2))
    assert_allclose(rms, 0.02, rtol=0.5)


def test_gravity_of_volumes_by_default():
    data = make_gravity_dataset(3, mesh=MESH, families=["basins", "blocks"], random_state=0)
    assert data.data.shape == (3, 24 * 20)
    assert "480 data each" in data.DESCR
    assert set(data.family) == {"basins", "blocks"}
