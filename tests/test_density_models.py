"""Random density sections: range, shares, seeds, meshes, errors, and whether they look right."""

import numpy as np
import pytest
from sklearn.utils import check_random_state

from skgrav import Mesh
from skgrav.datasets import make_density_models
from skgrav.datasets._families import DEFAULTS, FAMILIES
from skgrav.datasets._models import _BLOCK

NAMES = list(FAMILIES)
DEFAULT_NAMES = list(DEFAULTS[2])

# Layers that thicken with depth, wider than deep, columns of changing width.
UNEVEN = Mesh([np.cumsum(np.r_[0, np.geomspace(50, 400, 17)]), np.r_[0:3000:13j, 3500:9000:12j]])
MESHES = {
    "square": Mesh.square(24),
    "wide": Mesh([np.linspace(0, 43e3, 15), np.linspace(-50e3, 333e3, 41)]),
    "tall": Mesh([np.linspace(100, 2100, 31), np.linspace(0, 500, 11)]),
    "uneven": UNEVEN,
    "one column": Mesh([np.linspace(0, 1, 9), [0, 1]]),
    "one layer": Mesh([[0, 1], np.linspace(0, 1, 9)]),
}


def sections(family, n_samples=150, random_state=0):
    """Sections of one family on the default mesh, as images."""
    rho = make_density_models(n_samples, families=family, random_state=random_state)
    return Mesh.square().unflatten(rho)


def test_default_is_100_sections_of_the_papers_geometry():
    rho = make_density_models(random_state=0)
    assert rho.shape == (100, 2500)
    assert rho.dtype == np.float64
    assert rho.flags.c_contiguous


@pytest.mark.parametrize("family", NAMES)
@pytest.mark.parametrize("mesh", MESHES.values(), ids=MESHES.keys())
def test_each_family_fills_its_range_on_any_mesh(family, mesh):
    rho = make_density_models(40, mesh=mesh, families=family, random_state=3)
    assert rho.shape == (40, mesh.n_cells)
    assert np.isfinite(rho).all()
    assert rho.min() > 0
    assert rho.max() <= 12
    assert np.ptp(rho) > 6


@pytest.mark.parametrize(("low", "high"), [(1800.0, 3300.0), (-500, 500), (0.1, 0.3)])
def test_density_range_is_open_below_and_closed_above(low, high):
    rho = make_density_models(300, density_range=(low, high), random_state=0)
    assert rho.min() > low
    assert rho.max() <= high
    unit = make_density_models(300, density_range=(0, 1), random_state=0)
    np.testing.assert_allclose((rho - low) / (high - low), unit, atol=1e-12)


@pytest.mark.parametrize("family", [None, *NAMES])
def test_same_seed_same_sections_other_seed_others(family):
    first = make_density_models(18, families=family, random_state=7)
    np.testing.assert_array_equal(first, make_density_models(18, families=family, random_state=7))
    other = make_density_models(18, families=family, random_state=8)
    assert not np.isclose(first, other).all(axis=1).any()


def test_random_state_instance_is_advanced_and_the_global_one_left_alone():
    before = check_random_state(None).get_state()[1].copy()
    rng = np.random.RandomState(0)
    first, second = (make_density_models(9, random_state=rng) for _ in range(2))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(check_random_state(None).get_state()[1], before)
    np.testing.assert_array_equal(first, make_density_models(9, random_state=0))


def test_none_draws_other_sections_each_time():
    assert not np.array_equal(make_density_models(9), make_density_models(9))


def test_blocks_are_drawn_apart():
    mesh = Mesh.square(8)
    n_samples = _BLOCK + 10
    rho = make_density_models(n_samples, mesh=mesh, families="dykes", random_state=0)
    assert len(np.unique(rho, axis=0)) == n_samples
    alone = make_density_models(_BLOCK, mesh=mesh, families="dykes", random_state=0)
    assert set(map(bytes, alone)) <= set(map(bytes, rho))


@pytest.mark.parametrize("n_samples", [1, 8, 9, 31, 90])
def test_families_have_equal_shares(n_samples):
    rho, family = make_density_models(n_samples, random_state=0, return_family=True)
    assert family.shape == (n_samples,)
    assert len(rho) == n_samples
    counts = [np.sum(family == name) for name in DEFAULT_NAMES]
    assert sum(counts) == n_samples
    assert max(counts) - min(counts) <= 1


def test_families_are_shuffled_and_named_rightly():
    rho, family = make_density_models(
        60, families=("flat_layers", "salt_domes"), random_state=0, return_family=True
    )
    assert np.sum(family[:-1] != family[1:]) > 10
    flat = np.ptp(Mesh.square().unflatten(rho), axis=2).max(axis=1) == 0
    np.testing.assert_array_equal(flat, family == "flat_layers")


def test_one_name_is_a_family():
    _, family = make_density_models(3, families="basins", return_family=True)
    assert family.tolist() == ["basins"] * 3


@pytest.mark.parametrize("n_samples", [0, -3, 2.0, "10", None, True])
def test_n_samples_is_checked(n_samples):
    with pytest.raises(ValueError, match=r"'n_samples' must be a positive integer, got .*; ask"):
        make_density_models(n_samples)


@pytest.mark.parametrize(
    "density_range", [(12, 0), (1, 1), (0, np.inf), (np.nan, 1), 12, (1, 2, 3), ("a", "b"), None]
)
def test_density_range_is_checked(density_range):
    with pytest.raises(ValueError, match=r"'density_range' must be two finite .* got .*paper's"):
        make_density_models(2, density_range=density_range)


def test_unknown_family_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"'salt_dome'\. Did you mean 'salt_domes'\? Known.*dykes"):
        make_density_models(2, families=["faults", "salt_dome"])
    with pytest.raises(ValueError, match=r"'families' has 'xyz'\. Known families: \['flat_layers'"):
        make_density_models(2, families="xyz")
    with pytest.raises(ValueError, match=r"'families' has 3\. Known"):
        make_density_models(2, families=[3])


def test_empty_or_repeated_families_are_refused():
    with pytest.raises(ValueError, match=r"'families' is empty; name at least one"):
        make_density_models(2, families=[])
    with pytest.raises(ValueError, match=r"'families' names a family more than once"):
        make_density_models(2, families=["faults", "faults"])


def test_mesh_is_checked():
    with pytest.raises(ValueError, match=r"'mesh' must be a skgrav.Mesh, got \(50, 50\)"):
        make_density_models(2, mesh=(50, 50))


@pytest.mark.parametrize("family", NAMES)
def test_sections_of_a_family_differ_strongly(family):
    rho = sections(family).reshape(150, -1)
    norm = np.linalg.norm(rho, axis=1)
    squared = norm[:, None] ** 2 + norm**2 - 2 * rho @ rho.T
    relative = np.sqrt(np.maximum(squared, 0)) / np.sqrt(norm[:, None] * norm)
    pairs = relative[np.triu_indices(150, 1)]
    assert np.median(pairs) > 0.35
    assert np.quantile(pairs, 0.01) > 0.1
    assert pairs.min() > 0.03


def test_mean_model_is_a_poor_model():
    rho = make_density_models(1800, random_state=0)
    error = np.linalg.norm(rho - rho.mean(axis=0), axis=1) / np.linalg.norm(rho, axis=1)
    assert 0.35 < error.mean() < 0.5


@pytest.mark.parametrize("family", NAMES)
def test_density_grows_with_depth_on_the_whole_with_inversions(family):
    images = sections(family, 300)
    profile = images.mean(axis=(0, 2))
    assert profile[-10:].mean() > 1.3 * profile[:10].mean()
    downward = images[:, -10:].mean(axis=(1, 2)) > images[:, :10].mean(axis=(1, 2))
    assert downward.mean() > 0.7
    inverted = (np.diff(images, axis=1) < -0.2).any(axis=(1, 2))
    assert inverted.mean() > 0.4


def test_only_flat_layers_are_the_same_in_each_column():
    for family in NAMES:
        changes = np.ptp(sections(family), axis=2).max(axis=1)
        if family == "flat_layers":
            assert changes.max() == 0
        else:
            assert np.mean(changes > 0.1) > 0.97, family


def test_numbers_of_layers_vary():
    jumps = (np.abs(np.diff(sections("flat_layers")[:, :, 0], axis=1)) > 0.25).sum(axis=1)
    assert jumps.min() <= 2
    assert jumps.max() >= 8


def test_salt_is_lighter_than_what_lies_beside_it():
    images = sections("salt_domes")
    # The lightest column stretch of each section's middle depths is salt nearly everywhere.
    middle = images[:, 15:35]
    assert np.mean(middle.min(axis=(1, 2)) < 0.6 * np.median(middle, axis=(1, 2))) > 0.6


def test_dykes_are_dense_thin_and_steep():
    images = sections("dykes")
    dense = images > 0.5 * (images.max(axis=(1, 2)) + images.mean(axis=(1, 2)))[:, None, None]
    across = np.abs(np.diff(dense, axis=2)).sum(axis=(1, 2))
    down = np.abs(np.diff(dense, axis=1)).sum(axis=(1, 2))
    assert np.mean(across > down) > 0.6
    assert np.median(dense.mean(axis=(1, 2))) < 0.25


def test_basin_fill_is_lighter_than_basement():
    images = sections("basins")
    assert np.mean(images[:, 0].mean(axis=1) < images[:, -1].mean(axis=1)) > 0.95


def test_finer_mesh_shows_the_same_geology():
    coarse = sections("basins", 30)
    fine = make_density_models(30, mesh=Mesh.square(100), families="basins", random_state=0)
    fine = Mesh.square(100).unflatten(fine).reshape(30, 50, 2, 50, 2).mean(axis=(2, 4))
    error = np.linalg.norm(fine - coarse, axis=(1, 2)) / np.linalg.norm(coarse, axis=(1, 2))
    assert np.median(error) < 0.08
