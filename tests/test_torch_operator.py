"""The operator inside torch: equal to NumPy's, and differentiable as often as one likes."""

import pickle

import numpy as np
import pytest
import torch
from conftest import dot_test_error
from test_operators import OFF_LATTICE, ON_LATTICE, SECTION, VOLUME

from skgrav import (
    CellValues,
    CNNInverter,
    ForwardOperator,
    JointOperator,
    LatentInverter,
    MatrixOperator,
    Mesh,
    Survey,
    VAEGenerator,
)
from skgrav.datasets import make_gravity_dataset
from skgrav.operators._torch import TorchOperator

GEOMETRIES = {
    ("fft", "2D line"),
    ("fft", "2D, some stations, unordered, one twice"),
    ("fft", "2D, two heights"),
    ("fft", "3D, off the columns by a fraction"),
    ("fft", "3D, some stations, unordered"),
    ("dense", "2D line"),
    ("dense", "3D, stations anywhere"),
    ("anywhere", "2D, stations anywhere"),
    ("anywhere", "3D, stations anywhere"),
}


@pytest.fixture(params=sorted(GEOMETRIES), ids=" ".join)
def operator(request):
    """Give operators with a matrix or spectra, all components."""
    method, name = request.param
    mesh, stations = (ON_LATTICE | OFF_LATTICE)[name]
    components = ("z", "x") if mesh.ndim == 2 else ("y", "x", "z")
    return ForwardOperator(mesh, Survey(stations, components), method=method).fit()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_module_agrees_with_numpy(operator, dtype, tolerance):
    module = operator.to_torch(dtype=dtype)
    rng = np.random.default_rng(0)
    rho, g = rng.normal(size=(3, operator.n_cells_)), rng.normal(size=(3, operator.n_data_))
    for found, expected in (
        (module(torch.tensor(rho, dtype=dtype)), operator.transform(rho)),
        (module.adjoint(torch.tensor(g, dtype=dtype)), operator.adjoint(g)),
    ):
        assert found.dtype == dtype
        np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())


def test_adjoint_is_an_adjoint_and_backward_is_the_adjoint(operator):
    module = operator.to_torch(dtype=torch.float64)
    sizes = operator.n_cells_, operator.n_data_
    forward, adjoint = (
        (lambda u: module(torch.tensor(u)).numpy()),
        (lambda v: module.adjoint(torch.tensor(v)).numpy()),
    )
    assert dot_test_error(forward, adjoint, *sizes) < 1e-13
    rho = torch.randn(2, sizes[0], dtype=torch.float64, requires_grad=True)
    g = torch.randn(2, sizes[1], dtype=torch.float64)
    (module(rho) * g).sum().backward()
    np.testing.assert_array_equal(rho.grad, module.adjoint(g))


def test_gradients_of_first_and_second_order_are_right(operator):
    module = operator.to_torch(dtype=torch.float64)
    # Values of order one, or finite differences of second order drown in rounding.
    scale = 1.0 / np.abs(operator.matrix_).max()
    rho = torch.randn(2, operator.n_cells_, dtype=torch.float64, requires_grad=True)
    g = torch.randn(2, operator.n_data_, dtype=torch.float64, requires_grad=True)

    def curved(values, map_):
        return (scale * map_(values)).sin()

    for values, map_ in ((rho, module), (g, module.adjoint)):
        check = {"check_forward_ad": True, "fast_mode": True}
        assert torch.autograd.gradcheck(lambda v, m=map_: curved(v, m), values, **check)
        assert torch.autograd.gradgradcheck(
            lambda v, m=map_: curved(v, m), values, fast_mode=True, check_fwd_over_rev=True
        )


def test_functional_transforms_go_through(operator):
    from torch.func import jvp, vjp, vmap

    module = operator.to_torch(dtype=torch.float64)
    rho, change = torch.randn(2, 3, operator.n_cells_, dtype=torch.float64)
    g, tangent = jvp(module, (rho,), (change,))
    torch.testing.assert_close(g, module(rho))
    torch.testing.assert_close(tangent, module(change))
    torch.testing.assert_close(vjp(module, rho)[1](g)[0], module.adjoint(g))
    stacked = torch.stack([rho, change])
    torch.testing.assert_close(vmap(module)(stacked), torch.stack([g, tangent]))


def test_matrix_and_spectra_are_not_copied_for_a_call(operator, monkeypatch):
    module = operator.to_torch()
    before = {name: buffer.data_ptr() for name, buffer in module.named_buffers()}
    rho = torch.randn(1, operator.n_cells_, requires_grad=True)
    module(rho).sum().backward()
    assert {name: buffer.data_ptr() for name, buffer in module.named_buffers()} == before
    assert not module.state_dict()
    # Nor does the graph of a call hold more than references to them.
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        module(rho)
    assert not saved


def test_module_moves_to_another_precision_and_device(operator):
    module = operator.to_torch(device="meta")
    assert {buffer.device.type for buffer in module.buffers()} == {"meta"}
    single = operator.to_torch().to(torch.float64)
    rho = torch.randn(1, operator.n_cells_, dtype=torch.float64)
    exact = operator.to_torch(dtype=torch.float64)(rho)
    torch.testing.assert_close(single(rho), exact, atol=1e-5 * exact.abs().max().item(), rtol=0)


def test_module_learns_a_density_that_fits():
    operator = ForwardOperator(SECTION, method="fft").fit()
    module = operator.to_torch(dtype=torch.float64)
    g = module(torch.rand(1, SECTION.n_cells, dtype=torch.float64))
    rho = torch.zeros(1, SECTION.n_cells, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([rho], max_iter=200, line_search_fn="strong_wolfe")
    scale = 1 / g.square().sum()

    def loss():
        optimizer.zero_grad()
        value = scale * (module(rho) - g).square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    assert loss() < 1e-6


def test_batches_larger_than_a_block_agree(operator, monkeypatch):
    from skgrav.operators import _toeplitz

    module = operator.to_torch(dtype=torch.float64)
    rho, g = (torch.randn(7, n, dtype=torch.float64) for n in (module.n_cells, module.n_data))
    whole = module(rho), module.adjoint(g)
    monkeypatch.setattr(_toeplitz, "_BLOCK_SIZE", 100)
    torch.testing.assert_close((module(rho), module.adjoint(g)), whole)


def test_module_is_pickled_with_nothing_but_its_buffers(operator):
    module = operator.to_torch(dtype=torch.float64)
    size = sum(buffer.nbytes for buffer in module.buffers())
    pickled = pickle.dumps(module)
    assert len(pickled) < 1.1 * size + 10_000
    rho = torch.ones(1, module.n_cells, dtype=torch.float64)
    torch.testing.assert_close(pickle.loads(pickled)(rho), module(rho), rtol=0, atol=0)


def test_given_matrix_has_a_module_too():
    operator = MatrixOperator(np.arange(6.0).reshape(2, 3)).fit(np.ones((1, 3)))
    assert operator.to_torch()(torch.ones(1, 3)).tolist() == [[3.0, 12.0]]


@pytest.fixture(scope="module")
def sections():
    """Give sections, their noisy gravity, and the survey."""
    mesh = Mesh.square(12)
    data = make_gravity_dataset(60, mesh=mesh, noise_level=0.01, random_state=0)
    return data.data, data.target, mesh


def by_both(mesh, sections, estimate):
    """Give what comes of an operator with FFTs, the calls of its module, and of one without."""
    g, rho = sections
    calls = []
    forward = TorchOperator.forward
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TorchOperator, "forward", lambda *a: calls.append(1) or forward(*a))
        found = [
            estimate(ForwardOperator(mesh, method=method, units="normalized"), g, rho)
            for method in ("fft", "dense")
        ]
    return *found, len(calls)


def test_latent_inverter_differentiates_through_it(sections):
    def estimate(operator, g, rho):
        vae = VAEGenerator(n_components=6, max_epochs=5, random_state=0)
        inverter = LatentInverter(vae, operator=operator, noise_level=0.01, random_state=0)
        return inverter.fit(g, rho).invert(g[:5])

    *pairs, mesh = sections
    fast, dense, n_calls = by_both(mesh, pairs, estimate)
    assert n_calls > 5
    np.testing.assert_allclose(fast.rho, dense.rho, atol=2e-3 * dense.rho.max())
    np.testing.assert_allclose(fast.misfit, dense.misfit, rtol=1e-2)


def test_null_space_network_trains_through_it(sections):
    def estimate(operator, g, rho):
        inverter = CNNInverter(
            operator=operator, data_consistency=True, max_epochs=2, random_state=0
        )
        return inverter.fit(g, rho).predict(g[:5])

    *pairs, mesh = sections
    fast, dense, n_calls = by_both(mesh, pairs, estimate)
    assert n_calls > 2
    np.testing.assert_allclose(fast, dense, atol=1e-2 * dense.max())


def test_bad_input_is_refused():
    module = ForwardOperator(VOLUME, method="fft").fit().to_torch()
    with pytest.raises(ValueError, match=r"'rho' has shape \(7,\); it must be \(n_samples, 60\)"):
        module(torch.ones(7))
    with pytest.raises(ValueError, match=r"'g' has shape \(1, 7\); it must be \(n_samples, 20\)"):
        module.adjoint(torch.ones(1, 7))
    with pytest.raises(ValueError, match=r"method='rows' computes rows by NumPy"):
        ForwardOperator(VOLUME, method="rows").fit().to_torch()


def joined():
    mesh = Mesh.regular((2, 3), 10.0)
    survey = Survey(Survey.line(mesh).stations, ("z",), uncertainty=0.1)
    return JointOperator([ForwardOperator(mesh, survey), CellValues(mesh, [1], uncertainty=9.0)])


@pytest.mark.parametrize("part", [joined(), *joined().operators], ids=lambda p: type(p).__name__)
def test_devices_that_torch_cannot_use_are_refused(part):
    for device in ("gpu", "auto", torch.device("cuda", 99)):
        with pytest.raises(ValueError, match=r"'device' is '(gpu|auto|cuda:99)', which torch"):
            part.fit().to_torch(device=device)


@pytest.mark.parametrize("part", [joined(), *joined().operators], ids=lambda p: type(p).__name__)
def test_torchs_default_device_does_not_matter(part):
    with torch.device("meta"):
        module = part.fit().to_torch()
    assert module(torch.ones(1, 6)).device.type == "cpu"
