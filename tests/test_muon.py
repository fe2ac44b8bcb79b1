"""The optimiser Muon."""

import copy

import pytest
import torch
from torch import nn

from skgrav.training._muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(20, 50), (50, 20), (30, 30)])
def test_updates_are_nearly_orthogonal(shape):
    torch.manual_seed(0)
    matrix = torch.randn(shape) @ torch.diag(torch.logspace(0, -2, shape[1]))
    U, _, Vt = torch.linalg.svd(matrix, full_matrices=False)
    turned = U.mT @ orthogonal([matrix])[0] @ Vt.mT
    s = torch.diagonal(turned)
    assert (s[: len(s) // 2] > 0.6).all()
    assert (s < 1.3).all()
    # It has the singular vectors of the matrix.
    torch.testing.assert_close(turned, torch.diag(s), atol=1e-3, rtol=0)


def test_the_size_of_a_gradient_does_not_matter_and_zero_stays():
    matrix = torch.randn(4, 7, generator=torch.Generator().manual_seed(0))
    small, same, zero = orthogonal([1e-12 * matrix, matrix, torch.zeros(4, 7)])
    torch.testing.assert_close(small, same)
    assert not zero.any()


def test_vectors_are_updated_as_by_adamw():
    weights = [nn.Parameter(torch.arange(5.0)) for _ in range(2)]
    settings = {"lr": 0.1, "betas": (0.9, 0.99), "weight_decay": 0.01}
    optimizers = [Muon(weights[:1], **settings), torch.optim.AdamW(weights[1:], **settings)]
    for _ in range(5):
        for w, optimizer in zip(weights, optimizers, strict=True):
            optimizer.zero_grad()
            (w - 2).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(*weights)


@pytest.mark.parametrize("convolution", [nn.Conv1d, nn.Conv2d])
def test_convolutions_are_matrices_of_outputs_by_inputs(convolution):
    layer = convolution(3, 4, 3, bias=False)
    before = layer.weight.detach().clone()
    layer.weight.grad = torch.randn_like(layer.weight)
    gradient = layer.weight.grad.flatten(1)
    Muon(layer.parameters(), lr=0.5, weight_decay=0.0).step()
    update = (before - layer.weight.detach()).flatten(1) / 0.5
    # Nesterov's momentum of the first step is parallel to the gradient.
    torch.testing.assert_close(update, 0.2 * gradient.shape[1] ** 0.5 * orthogonal([gradient])[0])


def test_training_goes_on_from_a_state():
    torch.manual_seed(0)
    X = torch.randn(64, 6)
    y = X[:, :3]

    def train(network, optimizer, n_steps):
        for _ in range(n_steps):

            def loss():
                optimizer.zero_grad()
                value = (network(X) - y).square().mean()
                value.backward()
                return value

            value = optimizer.step(loss)
        return value.item()

    network = nn.Sequential(nn.Linear(6, 20), nn.GELU(), nn.Linear(20, 3))
    optimizer = Muon(network.parameters(), lr=0.01)
    first = train(network, optimizer, 1)
    half = copy.deepcopy([network.state_dict(), optimizer.state_dict()])
    other = nn.Sequential(nn.Linear(6, 20), nn.GELU(), nn.Linear(20, 3))
    other.load_state_dict(half[0])
    resumed = Muon(other.parameters(), lr=0.01)
    resumed.load_state_dict(half[1])
    assert train(network, optimizer, 60) == train(other, resumed, 60) < 0.5 * first
