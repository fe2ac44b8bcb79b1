"""Generators of volumes, their networks, and inversion in their latent space."""

import pickle
import tracemalloc
from functools import cache

import numpy as np
import pytest
import torch
from conftest import with_noise
from saved_estimators import again
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator

from skgrav import (
    ForwardOperator,
    GANGenerator,
    LatentInverter,
    Mesh,
    Survey,
    VAEGenerator,
)
from skgrav.datasets import make_density_models
from skgrav.inverters import _latent
from skgrav.metrics import relative_l2_error
from skgrav.networks import SectionCritic, SectionDecoder, SectionEncoder, SectionGenerator
from skgrav.operators import _base, _sensitivity

MESH = Mesh.regular((4, 7, 9), 100.0)
HILL = MESH.below(lambda y, x: 90.0 + 0.3 * np.abs(x - 450.0))
SHAPES = pytest.mark.parametrize("shape", [(4, 7, 9), (1, 6, 6), (5, 1, 8), (3, 1, 1)])
SLOW_GAN = pytest.mark.filterwarnings("ignore:the samples have only")


def volumes(mesh=MESH, n=120, seed=0):
    return make_density_models(n, mesh=mesh, random_state=seed)


def vae(mesh=MESH, **parameters):
    settings = {"max_epochs": 3, "batch_size": 20, "random_state": 0} | parameters
    return VAEGenerator(12, mesh=mesh, **settings)


# Networks


@SHAPES
def test_networks_of_volumes_give_the_right_sizes_within_bounds(shape):
    torch.manual_seed(0)
    n = int(np.prod(shape))
    mean, log_variance = SectionEncoder(shape, 3)(torch.rand(5, n))
    assert mean.shape == log_variance.shape == (5, 3)
    assert SectionCritic(shape)(torch.rand(5, n)).shape == (5,)
    for network in (SectionDecoder, SectionGenerator):
        rho = network(shape, 3)(100.0 * torch.randn(5, 3))
        assert rho.shape == (5, n)
        assert 0 <= rho.min() <= rho.max() <= 1


def perturbed(network):
    """Change weights that start at zero, which would hide what they multiply."""
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return network.double()


@pytest.mark.parametrize("network", [SectionDecoder, SectionGenerator])
def test_derivatives_of_volumes_by_codes_are_right(network):
    torch.manual_seed(0)
    z = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(perturbed(network((2, 3, 4), 3)), z)


def test_layers_are_channels_and_convolutions_move_along_the_map():
    torch.manual_seed(0)
    sharpen = perturbed(SectionDecoder((3, 40, 40), 2)).sharpen
    image = torch.zeros(1, 3, 40, 40, dtype=torch.float64)
    image[..., 14:24, 14:24] = torch.randn(3, 10, 10)
    inside = (..., slice(12, 28), slice(12, 28))  # beyond the reach of the padding
    expected = sharpen(image).roll((2, 4), dims=(2, 3))
    torch.testing.assert_close(sharpen(image.roll((2, 4), dims=(2, 3)))[inside], expected[inside])
    mixed = sharpen(image.roll(1, dims=1))
    assert not torch.allclose(mixed[inside], sharpen(image).roll(1, dims=1)[inside])


def test_shapes_of_other_numbers_of_axes_are_refused():
    for shape in ((12,), (2, 2, 2, 2)):
        with pytest.raises(ValueError, match=r"it must be \(nz, nx\) of a section or \(nz, ny, nx"):
            SectionEncoder(shape, 3)


# Generators


@cache
def fitted(kind="VAE", hill=False):
    mesh = HILL if hill else MESH
    if kind == "VAE":
        return vae(mesh, max_epochs=12).fit(volumes(mesh))
    return GANGenerator(12, mesh=mesh, max_epochs=12, batch_size=20, random_state=0).fit(
        volumes(mesh)
    )


def test_vae_represents_unseen_volumes_far_better_than_their_mean():
    rho, unseen = volumes(), volumes(seed=1, n=40)
    generator = fitted()
    mean = relative_l2_error(unseen, np.broadcast_to(rho.mean(axis=0), unseen.shape))
    assert -generator.score(unseen) < 0.6 * mean
    low, high = generator.density_range_
    samples = generator.sample(30, random_state=0)
    assert samples.shape == (30, MESH.n_cells)
    assert low <= samples.min() <= samples.max() <= high


@SLOW_GAN
@pytest.mark.parametrize("kind", ["VAE", "GAN"])
@pytest.mark.parametrize("hill", [False, True])
def test_saved_and_pickled_generators_of_volumes_are_the_same(kind, hill, tmp_path):
    generator = fitted(kind, hill)
    rho = volumes(HILL if hill else MESH, 5, seed=1)
    z = generator.transform(rho)
    expected = generator.inverse_transform(z)
    assert expected.shape == rho.shape
    for other in (again(generator, tmp_path), pickle.loads(pickle.dumps(generator))):
        np.testing.assert_array_equal(other.transform(rho), z)
        np.testing.assert_array_equal(other.inverse_transform(z), expected)


def test_same_seed_gives_the_same_volumes_and_another_seed_others():
    first, second, third = (vae(random_state=k).fit(volumes(n=40)) for k in (0, 0, 1))
    z = np.random.default_rng(0).normal(size=(3, 12))
    np.testing.assert_array_equal(first.inverse_transform(z), second.inverse_transform(z))
    assert np.abs(first.inverse_transform(z) - third.inverse_transform(z)).max() > 1e-3


def test_volumes_in_single_precision_train_the_same_weights_in_half_the_memory():
    mesh = Mesh.regular((8, 16, 16), 10.0)
    rho = np.float32(1000) * (np.random.default_rng(0).random((400, mesh.n_cells)) < 0.1)
    settings = {"mesh": mesh, "n_components": 4, "max_epochs": 1, "random_state": 0}
    tracemalloc.start()
    single = VAEGenerator(**settings).fit(rho)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    double = VAEGenerator(**settings).fit(rho.astype(np.float64))
    np.testing.assert_array_equal(
        single.sample(3, random_state=0), double.sample(3, random_state=0)
    )
    # The scaled densities and their centred copy in the PCA, but no copy in double precision.
    assert peak < 3.5 * rho.nbytes


def test_mesh_of_other_cells_is_refused_and_the_paper_has_no_volumes():
    rho = volumes(n=10)
    with pytest.raises(ValueError, match="give the mesh of the densities, 2D of sections or 3D"):
        vae(Mesh.regular((4, 7, 8), 100.0)).fit(rho)
    with pytest.raises(ValueError, match=r"'paper' is of sections.*Take architecture='default'"):
        vae(architecture="paper").fit(rho)


def test_without_a_mesh_cells_are_square_sections():
    rho = np.random.default_rng(0).random((20, 64))
    assert vae(None, max_epochs=1).fit(rho).net_.module_.decoder.shape == (8, 8)


# Inversion in the latent space

LEVEL = 0.02
GENERATORS = {"PCA": lambda: PCA(40, random_state=0), "VAE": lambda: vae(max_epochs=12)}
EACH_GENERATOR = pytest.mark.parametrize("kind", GENERATORS)


@cache
def pairs(method="fft"):
    survey = Survey.grid(MESH, height=10.0)
    operator = ForwardOperator(MESH, survey, method=method, units="normalized").fit()
    rho = volumes(n=150)
    return operator, with_noise(operator.transform(rho), LEVEL), rho


@cache
def inverted(kind, method="fft", **parameters):
    operator, X, y = pairs(method)
    settings = {"noise_level": LEVEL, "random_state": 0} | parameters
    inverter = LatentInverter(GENERATORS[kind](), operator=operator, **settings)
    inverter.fit(X[:120], y[:120])
    return inverter, inverter.invert(X[120:])


@EACH_GENERATOR
def test_volumes_are_estimated_better_than_by_their_mean(kind):
    y = pairs()[2]
    _, result = inverted(kind)
    mean = relative_l2_error(y[120:], np.broadcast_to(y[:120].mean(axis=0), y[120:].shape))
    assert result.converged.all()
    assert relative_l2_error(y[120:], result.rho) < 0.85 * mean
    _, dense = inverted(kind, "dense")
    scale = np.abs(dense.rho).max()
    np.testing.assert_allclose(result.rho, dense.rho, 0, (1e-6 if kind == "PCA" else 0.02) * scale)


@EACH_GENERATOR
def test_projected_estimates_of_volumes_fit_the_data_to_their_noise(kind):
    operator, X, _ = pairs()
    _, result = inverted(kind, projection=True)
    sigma2 = LEVEL**2 * np.mean(X[120:] ** 2, axis=1)
    chi = np.mean((X[120:] - operator.transform(result.rho)) ** 2, axis=1) / sigma2
    assert 0.3 < chi.min() <= chi.max() < 1.35  # a start below its noise is kept


def no_matrix(monkeypatch):
    """Let no operator be decomposed, nor its matrix be built."""

    def refused(*args, **kwargs):
        raise AssertionError("a matrix was built")

    monkeypatch.setattr(_base, "SVD_SIZE", 10)
    monkeypatch.setattr(_sensitivity.DenseMatrix, "__init__", refused)


@EACH_GENERATOR
def test_operators_too_large_to_decompose_are_applied_by_fft_alone(kind, monkeypatch):
    inverted(kind)
    no_matrix(monkeypatch)
    operator, X, y = pairs.__wrapped__()
    inverter = LatentInverter(GENERATORS[kind](), operator=operator, noise_level=LEVEL)
    result = inverter.fit(X[:120], y[:120]).invert(X[120:])
    expected = relative_l2_error(y[120:], inverted(kind)[1].rho)
    assert relative_l2_error(y[120:], result.rho) == pytest.approx(expected, rel=0.02)


def test_noise_of_each_sample_is_inverted_in_blocks(monkeypatch):
    _, X, _ = pairs()
    inverter, _ = inverted("PCA")
    levels = np.linspace(0.01, 0.1, 30)
    together = inverter.predict(X[120:], noise_level=levels)
    monkeypatch.setattr("skgrav.inverters._latent_search._BYTES", 1)
    np.testing.assert_allclose(inverter.predict(X[120:], noise_level=levels), together, 1e-9, 1e-9)


@pytest.mark.parametrize(("n_data", "expected"), [(63, 120), (20, 100)])
def test_where_data_are_many_errors_are_learned_from_more_samples(n_data, expected, monkeypatch):
    _, X, y = pairs()
    survey = Survey(Survey.grid(MESH, height=10.0).stations[:n_data], "z")
    operator = ForwardOperator(MESH, survey, units="normalized")
    n_seen, learn = [], _latent.CodePrior.of
    monkeypatch.setattr(_latent, "_N_ENCODED", 100)
    monkeypatch.setattr(
        _latent.CodePrior, "of", lambda z, starts: n_seen.append(len(z)) or learn(z, starts)
    )
    generator = FrozenEstimator(fitted())
    LatentInverter(generator, operator=operator, noise_level=LEVEL).fit(X[:120, :n_data], y[:120])
    assert n_seen == [expected]


@EACH_GENERATOR
def test_saved_inverter_of_volumes_is_the_same(kind, tmp_path):
    inverter, result = inverted(kind)
    rho = again(inverter, tmp_path).predict(pairs()[1][120:])
    np.testing.assert_allclose(rho, result.rho, 1e-9, 1e-9)
