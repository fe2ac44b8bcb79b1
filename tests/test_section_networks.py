"""The networks of the generators."""

import pytest
import torch

from skgrav.networks import (
    PaperDecoder,
    PaperDiscriminator,
    PaperEncoder,
    PaperGenerator,
    SectionCritic,
    SectionDecoder,
    SectionEncoder,
    SectionGenerator,
)
from skgrav.networks._sections import bounded

SHAPES = pytest.mark.parametrize("shape", [(10, 12), (7, 13), (51, 51), (1, 9), (9, 1), (1, 1)])
# Networks


@SHAPES
@pytest.mark.parametrize("network", [SectionEncoder, PaperEncoder])
def test_encoders_give_mean_and_log_variance_of_each_code(network, shape):
    posterior = network(shape, 3)(torch.rand(4, shape[0] * shape[1]))
    assert [tuple(part.shape) for part in posterior] == [(4, 3), (4, 3)]


@SHAPES
@pytest.mark.parametrize("size", [1, 1e3])
@pytest.mark.parametrize(
    "network", [SectionDecoder, SectionGenerator, PaperDecoder, PaperGenerator]
)
def test_decoders_give_all_cells_within_bounds(network, shape, size):
    torch.manual_seed(0)
    rho = network(shape, 3)(size * torch.randn(4, 3))
    assert rho.shape == (4, shape[0] * shape[1])
    assert 0 <= rho.min() <= rho.max() <= 1


@SHAPES
@pytest.mark.parametrize("network", [SectionCritic, PaperDiscriminator])
def test_critics_give_one_score_per_section(network, shape):
    assert network(shape)(torch.rand(4, shape[0] * shape[1])).shape == (4,)


def test_papers_generator_goes_over_7_13_and_26_cells_to_51():
    network, sizes = PaperGenerator((51, 51), 50), []
    for layer in network.upsample:
        layer.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].shape[1:]))
    assert network(torch.zeros(1, 50)).shape == (1, 51 * 51)
    assert sizes[::2] == [(128, 7, 7), (64, 13, 13), (32, 26, 26)]


def test_bounds_are_felt_near_them_alone():
    rho = torch.tensor([-9.0, 0.0, 0.1, 0.5, 0.9, 1.0, 9.0], dtype=torch.float64)
    expected = torch.tensor([0.0, 0.0139, 0.1, 0.5, 0.9, 0.9861, 1.0], dtype=torch.float64)
    torch.testing.assert_close(bounded(rho), expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize("network", [SectionDecoder, SectionGenerator])
def test_derivatives_by_the_codes_are_right(network):
    torch.manual_seed(0)
    module = network((5, 6), 3).double()
    with torch.no_grad():  # what starts at zero would hide its derivative
        for weight in module.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    z = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(module, z)


def test_critic_sees_that_samples_are_all_alike():
    torch.manual_seed(0)
    critic = SectionCritic((12, 12)).eval()
    one, others = torch.rand(1, 144), torch.rand(9, 144)
    alike, among_others = critic(one.expand(10, -1)), critic(torch.cat([one, others]))
    torch.testing.assert_close(alike, critic(one).expand(10))
    assert abs(alike[0] - among_others[0]) > 1e-4
