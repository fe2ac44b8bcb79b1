"""`to_deepinv`: the physics of an operator in the words of deepinv, by deepinv's own tests."""

import sys

import numpy as np
import pytest
import torch
from bridged import bridged

from skgrav import CellValues, ForwardOperator, JointOperator, MatrixOperator, Mesh, Survey

deepinv = bridged("deepinv")

MESH = Mesh.regular((3, 4), 10.0)
VOLUME = Mesh.regular((2, 3, 4), 10.0)
ACTIVE = Mesh(MESH.edges, np.arange(12).reshape(3, 4) > 2)
GIVEN = MatrixOperator(np.random.default_rng(0).normal(size=(5, 6))).fit(np.zeros((1, 6)))
OPERATORS = {
    "dense": ForwardOperator(MESH, method="dense").fit(),
    "fft": ForwardOperator(MESH, method="fft").fit(),
    "volume": ForwardOperator(VOLUME, method="fft").fit(),
    "active": ForwardOperator(ACTIVE, Survey.line(MESH)).fit(),
    "joint": JointOperator(
        [
            ForwardOperator(MESH, Survey(Survey.line(MESH).stations, "z", uncertainty=0.1)),
            CellValues(MESH, [3, 5], uncertainty=1.0),
        ]
    ).fit(),
    "matrix": GIVEN,
}


def image_shape(operator):
    """Give the shape of an image without its channel."""
    return operator.mesh_.shape if hasattr(operator, "mesh_") else (operator.n_cells_,)


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_images_to_data_and_back(name, dtype):
    operator, shape = OPERATORS[name], image_shape(OPERATORS[name])
    physics = operator.to_deepinv(dtype=dtype)
    assert isinstance(physics, deepinv.physics.LinearPhysics)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    assert physics.adjointness_test(img_size=(1, *shape), num_samples=3, dtype=dtype) < tolerance
    x = torch.rand(2, 1, *shape, dtype=dtype)
    block = x.double().numpy().reshape(2, -1)
    rho = block[:, operator.mesh_.cells] if hasattr(operator, "mesh_") else block
    y = physics(x)
    assert y.dtype == dtype
    largest = np.abs(operator.transform(rho)).max()
    np.testing.assert_allclose(y.numpy(), operator.transform(rho), atol=tolerance * largest)
    back = physics.A_adjoint(y)
    assert back.shape == x.shape


def test_pseudo_inverse_is_that_of_inverse_transform():
    operator = OPERATORS["active"]
    g = np.random.default_rng(1).normal(size=(2, operator.n_data_))
    for rcond in (1e-2, 0.3):
        physics = operator.to_deepinv(rcond=rcond, dtype=torch.float64)
        found = physics.A_dagger(torch.tensor(g)).numpy()[:, 0]
        expected = ACTIVE.unflatten(operator.inverse_transform(g, rcond=rcond), fill=0.0)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


def test_gradients_and_second_derivatives():
    physics = OPERATORS["active"].to_deepinv(dtype=torch.float64)
    x = torch.rand(2, 1, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(physics.A, x)
    assert torch.autograd.gradgradcheck(lambda v: physics.A(v).square(), x)
    physics.A(x).square().sum().backward()
    torch.testing.assert_close(x.grad, 2 * physics.A_adjoint(physics.A(x.detach())))
    y = physics.A(x.detach()).requires_grad_()
    assert torch.autograd.gradcheck(physics.A_dagger, y)


def test_noise_models():
    operator = OPERATORS["dense"]
    x = torch.zeros(400, 1, 3, 4)
    torch.manual_seed(0)
    assert 1.9 < operator.to_deepinv(noise_model=2.0)(x).std() < 2.1
    assert operator.to_deepinv()(x).abs().max() == 0
    model = deepinv.physics.UniformNoise(a=0.5)
    assert operator.to_deepinv(noise_model=model).noise_model is model
    for wrong in (-1.0, [1.0, 2.0]):
        with pytest.raises(ValueError, match="'noise_model' is"):
            operator.to_deepinv(noise_model=wrong)


def test_deepinv_uses_it():
    operator = ForwardOperator(MESH, units="normalized").fit()
    physics = operator.to_deepinv(dtype=torch.float64)
    x = torch.rand(1, 1, 3, 4, dtype=torch.float64)
    norm2 = physics.compute_sqnorm(x[0], tol=1e-9, max_iter=1000, verbose=False)
    assert norm2 == pytest.approx(operator.svd_.s[0] ** 2, rel=1e-4)
    # argmin gamma / 2 |A x - y|^2 + |x - z|^2 / 2, in closed form; theirs iterates
    y, A = physics.A(x), torch.tensor(operator.matrix_)
    z = torch.zeros_like(x)
    prox = physics.prox_l2(z, y, gamma=3.0, tol=1e-10, max_iter=200)
    exact = torch.linalg.solve(3.0 * A.T @ A + torch.eye(12), 3.0 * (A.T @ y[0]))
    assert (prox.flatten() - exact).abs().max() < 5e-3 * exact.abs().max()
    scaled = physics * deepinv.physics.LinearPhysics(A=lambda x: 2 * x, A_adjoint=lambda x: 2 * x)
    torch.testing.assert_close(scaled.A(x), 2 * y)


def test_clone_and_conversion():
    physics = OPERATORS["active"].to_deepinv()
    x = torch.rand(1, 1, 3, 4, dtype=torch.float64)
    other = physics.clone().to(torch.float64)
    assert other(x).dtype == torch.float64
    assert physics(x.float()).dtype == torch.float32
    with pytest.raises(TypeError, match=r"'x' is of torch.float64, but this physics of"):
        physics(x)


def test_shapes_are_checked_by_name():
    physics = GIVEN.to_deepinv(shape=(2, 3))
    assert physics(torch.zeros(4, 1, 2, 3)).shape == (4, 5)
    with pytest.raises(ValueError, match=r"'x' has shape \(4, 1, 6\)"):
        physics(torch.zeros(4, 1, 6))
    with pytest.raises(ValueError, match=r"'y' has shape \(4, 6\)"):
        physics.A_adjoint(torch.zeros(4, 6))
    with pytest.raises(ValueError, match=r"'shape' is \(4, 2\); it must be of 6 cells"):
        GIVEN.to_deepinv(shape=(4, 2))
    with pytest.raises(ValueError, match=r"'shape' is \(4, 3\); it must be \(3, 4\)"):
        OPERATORS["dense"].to_deepinv(shape=(4, 3))
    with pytest.raises(ValueError, match=r"'rcond' is 1"):
        GIVEN.to_deepinv(rcond=1)
    with pytest.raises(ValueError, match="method='rows'"):
        ForwardOperator(MESH, method="rows").fit().to_deepinv()


def test_import_errors_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "deepinv.physics", None)
    with pytest.raises(ImportError, match=r"to_deepinv needs deepinv; .*'skgrav\[bridges\]'"):
        GIVEN.to_deepinv()

    def fail(*_):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr("skgrav.operators._deepinv.import_optional", fail)
    with pytest.raises(ImportError, match="Install torch and torchvision from the same index"):
        GIVEN.to_deepinv()
