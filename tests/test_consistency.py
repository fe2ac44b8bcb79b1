"""The layer that fits the data: gradients, its NumPy twin, geometry, precision, training."""

import copy
import pickle

import numpy as np
import pytest
import torch
from conftest import norms, sections_near_truth
from torch.autograd import gradcheck

from skgrav import Mesh
from skgrav.datasets import make_gravity_dataset
from skgrav.networks import DataConsistency, _consistency
from skgrav.solvers import Projection

MESH = Mesh.square(20)
N_SECTIONS = 60
SHAPES = {"wide": (6, 11), "tall": (11, 6), "deficient": (8, 9), "one station": (1, 4)}


def matrix_of(name):
    """Give a random matrix of condition below 100, of rank 4 if deficient."""
    rng = np.random.default_rng(1)
    A = rng.normal(size=SHAPES[name])
    if name == "deficient":
        U, s, Vt = np.linalg.svd(A, full_matrices=False)
        A = (U[:, :4] * s[:4]) @ Vt[:4]
    return A


def samples_of(A, sigma, seed=0):
    """Give starts far off, data with noise up to 0.5 and the noise told as float64 tensors."""
    rng = np.random.default_rng(seed)
    rho = rng.normal(size=(len(sigma), A.shape[1]))
    noise = np.minimum(sigma, 0.5)[:, None] * rng.normal(size=(len(sigma), A.shape[0]))
    g = rho @ A.T + noise
    start = rho + 3 * rng.normal(size=rho.shape)
    return torch.tensor(start), torch.tensor(g), torch.tensor(sigma, dtype=torch.float64)


def run(layer, *arrays):
    """Apply a layer to arrays in its own precision and give float64 back."""
    tensors = [torch.tensor(np.array(a), dtype=layer.s.dtype) for a in arrays]
    return layer(*tensors).double().numpy()


@pytest.fixture(scope="module")
def sections():
    """Give the matrix, sections, starts 5 % off and clean data."""
    operator = make_gravity_dataset(n_samples=1, mesh=MESH, random_state=0).operator
    rho, start = sections_near_truth(MESH, N_SECTIONS)
    return operator.matrix_, rho, start, operator.transform(rho)


def with_noise(g, level, seed=0):
    """Give data with noise of `level` times their rms, and its standard deviation."""
    sigma = level * np.sqrt(np.mean(g**2, axis=1))
    return g + sigma[:, None] * np.random.default_rng(seed).normal(size=g.shape), sigma


# Gradients


@pytest.mark.parametrize("name", SHAPES)
def test_gradients_for_clean_noisy_and_untouched_samples(name):
    A = matrix_of(name)
    layer = DataConsistency(A).double()
    rho, g, sigma = samples_of(A, [0.0, 0.05, 0.3, 50.0])
    moved = (layer(rho, g, sigma) != rho).any(dim=1)
    assert moved[:2].all()
    assert not moved[3]
    rho.requires_grad_()
    g.requires_grad_()
    assert gradcheck(layer, (rho, g, sigma), check_forward_ad=True)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("rcond", [None, 0.7])
def test_gradients_with_respect_to_the_noise_too(name, rcond):
    A = matrix_of(name)
    layer = DataConsistency(A, rcond=rcond).double()
    rho, g, sigma = samples_of(A, [0.02, 0.1, 0.3])
    g[0] += 0.5  # mostly where no density of a tall matrix reaches
    assert gradcheck(layer, [t.requires_grad_() for t in (rho, g, sigma)], check_forward_ad=True)


def test_alpha_without_derivatives_is_caught(monkeypatch):
    A = matrix_of("wide")
    layer = DataConsistency(A).double()
    rho, g, sigma = samples_of(A, [0.3])
    exact = _consistency._strength
    monkeypatch.setattr(_consistency, "_strength", lambda h, e2: exact(h, e2).detach())
    assert not gradcheck(layer, (rho.requires_grad_(), g, sigma), raise_exception=False)


def test_gradients_of_untouched_samples_are_passed_on_and_finite():
    A = matrix_of("wide")
    layer = DataConsistency(A).double()
    rho, g, _ = samples_of(A, [0.0, 0.0])
    rho[1], g[1] = 0.0, 0.0
    rho.requires_grad_()
    g.requires_grad_()
    layer(rho, g, torch.tensor([50.0, 0.1], dtype=torch.float64)).sum().backward()
    assert (rho.grad == 1).all()
    assert (g.grad == 0).all()


def test_gradients_of_clean_samples_lie_in_the_null_space():
    A = matrix_of("wide")
    rho, g, sigma = samples_of(A, [0.0, 0.0])
    DataConsistency(A).double()(rho.requires_grad_(), g, sigma).square().sum().backward()
    assert norms(rho.grad.numpy()).min() > 0.1
    np.testing.assert_allclose(rho.grad.numpy() @ A.T, 0, atol=1e-12)


# The same as Projection


@pytest.mark.parametrize("level", [0.0, 1e-3, 1e-2, 5e-2])
def test_sections_become_what_projection_makes_of_them(level, sections):
    A, truth, start, clean = sections
    g, sigma = with_noise(clean, level)
    for rho in (start, np.zeros_like(start), truth):
        found = run(DataConsistency(A).double(), rho, g, sigma)
        twin = Projection(chi_factor=1.0).solve(A, g, rho, sigma=sigma[:, None]).rho
        np.testing.assert_allclose(found, twin, atol=1e-6)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("factor", [1e-3, 1.0, 3.0])
@pytest.mark.parametrize("rcond", [1e-8, 0.7])
def test_any_matrix_factor_and_cut_agree_with_projection(name, factor, rcond):
    A = matrix_of(name)
    start, g, sigma = samples_of(A, [0.0, 0.01, 0.02, 0.1, 0.5, 50.0])
    g[3] += 0.5
    found = DataConsistency(A, rcond=rcond, chi_factor=factor).double()(start, g, sigma)
    solver = Projection(rcond=rcond, chi_factor=factor)
    twin = solver.solve(A, g.numpy(), start.numpy(), sigma=sigma.numpy()[:, None]).rho
    np.testing.assert_allclose(found, twin, atol=1e-6)


def test_a_matrix_that_sees_nothing_moves_nothing():
    start, g, sigma = samples_of(np.zeros((2, 3)), [0.0, 0.1])
    assert torch.equal(DataConsistency(np.zeros((2, 3))).double()(start, g, sigma), start)


# Geometry


@pytest.mark.parametrize("name", SHAPES)
def test_clean_data_leave_the_null_space_alone_to_the_start(name):
    A = matrix_of(name)
    layer = DataConsistency(A).double()
    rho, g, sigma = samples_of(A, np.zeros(5))
    B = np.linalg.pinv(A, rcond=1e-8)
    expected = g.numpy() @ B.T + rho.numpy() @ (np.eye(A.shape[1]) - B @ A).T
    np.testing.assert_allclose(layer(rho, g, sigma), expected, atol=1e-10)
    seen = torch.tensor(np.random.default_rng(3).normal(size=g.shape) @ B.T)
    np.testing.assert_allclose(layer(rho + seen, g, sigma), expected, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_never_farther_from_a_truth_that_fits(dtype, sections):
    A, truth, start, g = sections
    found = run(DataConsistency(A).to(dtype), start, g, np.zeros(len(g)))
    before, after = norms(start - truth), norms(found - truth)
    assert (after <= before).all()
    moved = norms(found - start)
    slack = {torch.float32: 0.1, torch.float64: 1e-6}[dtype]  # rounding, next to starts 5 % off
    np.testing.assert_allclose(after**2 + moved**2, before**2, rtol=slack)


@pytest.mark.parametrize("level", [0.0, 0.01])
def test_a_second_time_changes_nothing(level, sections):
    A, _, start, clean = sections
    g, sigma = with_noise(clean, level)
    layer = DataConsistency(A).double()
    once = run(layer, start, g, sigma)
    assert norms(once - start).min() > 1e-3
    np.testing.assert_allclose(run(layer, once, g, sigma), once, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noisy_data_are_fitted_to_their_chi_factor(dtype, sections):
    A, _, start, clean = sections
    g, sigma = with_noise(clean, 0.01)
    found = run(DataConsistency(A).to(dtype), start, g, sigma)
    chi = np.mean(((g - found @ A.T) / sigma[:, None]) ** 2, axis=1)
    assert ((chi > 0.9) & (chi < 1.1)).all()
    loose = run(DataConsistency(A, chi_factor=3.0).to(dtype), start, g, sigma)
    chi = np.mean(((g - loose @ A.T) / sigma[:, None]) ** 2, axis=1)
    moved = norms(loose - start) > 1e-5
    assert 0 < moved.sum() < len(moved)
    np.testing.assert_allclose(chi[moved], 3.0, rtol=1e-3)
    assert (chi[~moved] < 3).all()


# Precision


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_float32_fits_clean_data_without_blowing_rounding_up(unit, sections):
    A, truth, start, g = sections
    layer, zero = DataConsistency(unit * A), np.zeros(len(g))
    assert layer.s.dtype == torch.float32
    for rho in (start, np.zeros_like(start), np.broadcast_to(truth.mean(axis=0), truth.shape)):
        found = run(layer, rho, unit * g, zero)
        exact = Projection(rcond=1e-5).solve(A, g, rho).rho
        assert (norms(found @ A.T - g) <= 1e-5 * norms(g)).all()
        assert (norms(found - exact) <= 1e-2 * norms(exact)).all()
    careless = run(DataConsistency(A, rcond=1e-8), start, g, zero)
    assert norms(careless - start).max() > 3 * norms(start - truth).max()


@pytest.mark.parametrize("level", [1e-20, 1e-12, 1e-5, 0.01])
def test_float32_with_noise_stays_near_float64(level, sections):
    A, _, start, clean = sections
    g, sigma = with_noise(clean, level)
    single = run(DataConsistency(A), start, g, sigma)
    double = run(DataConsistency(A, rcond=1e-5).double(), start, g, sigma)
    assert (norms(single - double) <= 1e-2 * norms(double)).all()


def test_double_after_float_is_exact(sections):
    A, _, start, g = sections
    sigma = np.zeros(len(g))
    exact = run(DataConsistency(A).double(), start, g, sigma)
    again = DataConsistency(A).double().float().double()
    np.testing.assert_array_equal(run(again, start, g, sigma), exact)
    assert (norms(exact @ A.T - g) <= 1e-8 * norms(g)).all()


# Manners


def test_samples_do_not_know_one_another():
    A = matrix_of("wide")
    layer = DataConsistency(A).double()
    rho, g, sigma = samples_of(A, [0.0, 1e-6, 0.02, 0.3, 50.0])
    together = layer(rho, g, sigma)
    for i in range(len(rho)):
        alone = layer(rho[i : i + 1], g[i : i + 1], sigma[i : i + 1])[0]
        np.testing.assert_allclose(alone, together[i], atol=1e-9)
    assert layer(rho[:0], g[:0], sigma[:0]).shape == (0, 11)


def test_the_state_is_that_of_the_network_alone_and_survives_copies():
    A = matrix_of("wide")
    layer = DataConsistency(A, chi_factor=1.5).double()
    rho, g, sigma = samples_of(A, [0.0, 0.02, 0.3])
    expected = layer(rho, g, sigma)
    assert not layer.state_dict()
    assert not list(layer.parameters())
    assert {name for name, _ in layer.named_buffers()} == {"U", "s", "Vt"}
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(rho, g, sigma), expected)


def test_the_layer_finds_its_matrix_again_on_another_device():
    A = matrix_of("wide")
    layer = DataConsistency(A).double()
    samples = samples_of(A, [0.0, 0.3])
    elsewhere = copy.deepcopy(layer).to("meta")
    assert {b.device.type for b in elsewhere.buffers()} == {"meta"}
    assert torch.equal(elsewhere.to_empty(device="cpu")(*samples), layer(*samples))


def test_the_matrix_is_copied_and_stays_writeable():
    A = matrix_of("wide")
    layer = DataConsistency(A).double()
    samples = samples_of(A, [0.0, 0.3])
    before = layer(*samples)
    A[:] = 0
    assert torch.equal(layer(*samples), before)


@pytest.mark.parametrize("level", [0.0, 0.01])
def test_a_network_learns_the_null_space_while_data_stay_fitted(level):
    data = make_gravity_dataset(n_samples=50, mesh=Mesh.square(8), random_state=0)
    A, truth = data.operator.matrix_, data.target
    noisy, deviation = with_noise(data.data, level)
    rho, g, sigma = (torch.tensor(v, dtype=torch.float32) for v in (truth, noisy, deviation))
    inputs = (g - g.mean(dim=0)) / g.std(dim=0)
    layer, losses = DataConsistency(A), []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torch.nn.Sequential(
            torch.nn.Linear(g.shape[1], 64), torch.nn.GELU(), torch.nn.Linear(64, rho.shape[1])
        )
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(400):
        found = layer(network(inputs), g, sigma)
        loss = torch.mean((found - rho) ** 2)
        residual = norms(found.detach().double().numpy() @ A.T - noisy)
        asked = deviation * np.sqrt(len(A))
        assert (np.abs(residual - asked) <= 0.05 * asked + 1e-5 * norms(noisy)).all()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    least = Projection(chi_factor=1.0).solve(A, noisy, sigma=deviation[:, None]).rho
    assert losses[-1] < 0.7 * min(losses[0], np.mean((least - truth) ** 2))


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"rcond": 1.0}, r"'rcond' is 1\.0; it must be at least 0 and below 1, or None"),
        ({"rcond": np.nan}, "'rcond' is nan"),
        ({"chi_factor": 0.0}, r"'chi_factor' is 0\.0; it must be positive .* 'sigma' of 0"),
        ({"chi_factor": np.inf}, "'chi_factor' is inf"),
        ({"matrix": np.ones(3)}, "Expected 2D array"),
        ({"matrix": [[1.0, np.nan]]}, "Input matrix contains NaN"),
    ],
)
def test_bad_parameters_are_refused(params, text):
    with pytest.raises(ValueError, match=text):
        DataConsistency(**{"matrix": np.eye(2), **params})


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"rho": torch.ones(3, 6)}, r"'rho' has shape \(3, 6\); .* it must be \(3, 11\)"),
        ({"g": torch.ones(2, 6)}, r"'g' has shape \(2, 6\); .* it must be \(3, 6\)"),
        ({"sigma": torch.ones(3, 1)}, r"'sigma' has shape \(3, 1\); .* it must be \(3,\)"),
        ({"g": torch.ones(3, 6).double()}, r"'g' is torch.float64, but the layer is torch.float32"),
        ({"sigma": torch.tensor([0.1, -0.2, 0.0])}, r"'sigma' has minimum -0\.2 and maximum 0\.1"),
        ({"sigma": torch.tensor([0.1, np.nan, 0.0])}, "finite and at least 0. Give 0"),
    ],
)
def test_bad_inputs_are_refused(change, text):
    inputs = {"rho": torch.ones(3, 11), "g": torch.ones(3, 6), "sigma": torch.ones(3), **change}
    with pytest.raises(ValueError, match=text):
        DataConsistency(matrix_of("wide"))(**inputs)
