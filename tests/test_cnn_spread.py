"""The distribution of each density that networks learn: CRPS, intervals, what is refused."""

import numpy as np
import pytest
import torch
from conftest import with_noise
from scipy.integrate import quad
from scipy.stats import norm

from skgrav import BayesLinearInverter, CNNInverter, Mesh
from skgrav.datasets import make_gravity_dataset
from skgrav.metrics import crps, relative_l2_error
from skgrav.networks import CellMixtures, RelativeLoss, ResidualMLP, UNet

MESH = Mesh.square(12)
TRAIN = make_gravity_dataset(1500, mesh=MESH, random_state=0)
NEW = make_gravity_dataset(300, mesh=MESH, random_state=1)
LEVEL = 0.01
G = with_noise(NEW.data, LEVEL, seed=2)
LENGTHS = {"residual": 20, "unet": 4}
every = pytest.mark.parametrize("architecture", LENGTHS)


def make(architecture, **params):
    settings = {"operator": TRAIN.operator, "max_epochs": LENGTHS[architecture], "random_state": 0}
    return CNNInverter(architecture, **settings | params)


@pytest.fixture(scope="module")
def networks():
    return {name: make(name).fit(TRAIN.data, TRAIN.target) for name in LENGTHS}


# Distributions


@every
def test_intervals_cover_and_are_sharper_than_gaussian_ones(networks, architecture):
    network = networks[architecture]
    bounds = network.predict_quantiles(G, [0.05, 0.25, 0.75, 0.95], noise_level=LEVEL)
    assert bounds.shape == (300, 144, 4)
    assert (np.diff(bounds) >= 0).all()
    within = (bounds[..., :2] <= NEW.target[..., None]) & (
        NEW.target[..., None] <= bounds[..., :1:-1]
    )
    np.testing.assert_allclose(within.mean(axis=(0, 1)), [0.9, 0.5], atol=0.06)
    p = (np.arange(49) + 0.5) / 49
    quantiles = network.predict_quantiles(G, p, noise_level=LEVEL)
    linear = BayesLinearInverter(LEVEL, operator=TRAIN.operator).fit(TRAIN.data, TRAIN.target)
    gaussian = crps(NEW.target, *linear.predict(G, return_std=True))
    assert crps(NEW.target, quantiles) < 0.98 * gaussian


@every
def test_standard_deviation_tells_the_error(networks, architecture):
    network = networks[architecture]
    rho, std = network.predict(G, return_std=True, noise_level=LEVEL)
    assert std.shape == rho.shape == (300, 144)
    assert (std > 0).all()
    np.testing.assert_allclose(rho, network.predict(G, noise_level=LEVEL), atol=1e-5)
    errors = np.abs(rho - NEW.target).mean(axis=1)
    assert np.corrcoef(errors, std.mean(axis=1))[0, 1] > 0.2


def test_pretrained_intervals_hold_at_any_noise():
    network, spread = CNNInverter.from_pretrained(), []
    new = make_gravity_dataset(150, random_state=3)
    for level in (0.0, 0.001, 0.01, 0.05):
        g = with_noise(new.data, level, seed=4)
        told = max(level, 3e-8)
        bounds = network.predict_quantiles(g, [0.05, 0.25, 0.75, 0.95], noise_level=told)
        within = (bounds[..., :2] <= new.target[..., None]) & (
            new.target[..., None] <= bounds[..., :1:-1]
        )
        np.testing.assert_allclose(within.mean(axis=(0, 1)), [0.9, 0.5], atol=0.06)
        spread.append(network.predict(g, return_std=True, noise_level=told)[1].mean())
    assert (np.diff(spread) > 0.1).all()


@every
def test_quantiles_stay_within_the_range_in_any_order(networks, architecture):
    network = networks[architecture]
    low, high = network.density_range_
    p = np.array([0.999, 0.001, 0.5])
    found = network.predict_quantiles(G[:5], p, noise_level=0.1)
    assert found.min() >= low
    assert found.max() <= high
    np.testing.assert_array_equal(
        found[..., [1, 2, 0]], network.predict_quantiles(G[:5], p[[1, 2, 0]], noise_level=0.1)
    )
    single = network.predict_quantiles(G[:5], 0.5, noise_level=0.1)
    np.testing.assert_allclose(single[..., 0], found[..., 2], atol=1e-2)


@every
def test_spread_costs_no_accuracy(networks, architecture):
    without = make(architecture, uncertainty=False).fit(TRAIN.data, TRAIN.target)
    errors = [
        relative_l2_error(NEW.target, network.predict(G, noise_level=LEVEL))
        for network in (networks[architecture], without)
    ]
    assert errors[0] < 1.02 * errors[1]


@every
def test_files_keep_the_spread(networks, architecture, tmp_path):
    network = networks[architecture]
    network.save(tmp_path / "network")
    again = CNNInverter.load(tmp_path / "network")
    for a, b in zip(
        *(n.predict(G, True, noise_level=LEVEL) for n in (network, again)), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_single_cells_have_a_spread():
    g, rho = TRAIN.data[:60], TRAIN.target[:60]
    network = make("residual", max_epochs=1).partial_fit(g, rho)
    network.partial_fit(g, rho)
    assert (network.predict(g, return_std=True)[1] > 0).all()
    one = make_gravity_dataset(30, mesh=Mesh.square(1), random_state=0)
    network = CNNInverter(operator=one.operator, max_epochs=1).fit(one.data, one.target)
    assert np.isfinite(network.predict_quantiles(one.data, 0.9)).all()


# What is refused


@pytest.mark.parametrize(
    "params", [{"uncertainty": False}, {"data_consistency": True}, {"architecture": "paper"}]
)
def test_networks_without_spread_name_the_remedy(params):
    settings = {"architecture": "residual"} | params
    network = (
        make(settings.pop("architecture"), **settings)
        if "architecture" not in params
        else (CNNInverter("paper", operator=TRAIN.operator, max_epochs=1))
    )
    network.set_params(max_epochs=1).fit(TRAIN.data[:60], TRAIN.target[:60])
    for ask in (
        lambda: network.predict(G[:2], return_std=True),
        lambda: network.predict_quantiles(G[:2], 0.5),
    ):
        with pytest.raises(ValueError, match="Fit 'residual' or 'unet' with uncertainty=True"):
            ask()


@pytest.mark.parametrize("quantiles", [0.0, 1.0, [0.5, 1.5], [], [[0.5]], np.nan, [np.inf]])
def test_probabilities_are_checked(networks, quantiles):
    with pytest.raises(ValueError, match="'quantiles'"):
        networks["residual"].predict_quantiles(G[:2], quantiles)


# Mixtures and their loss


def mixtures(n_samples=4, n_cells=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(n_samples, 5, n_cells, generator=generator, dtype=torch.float64)
    mean = torch.randn(n_samples, n_cells, generator=generator, dtype=torch.float64)
    return CellMixtures(raw, mean, 2.0)


def test_crps_is_the_integral_over_the_distribution():
    found, true = mixtures(), torch.linspace(-3, 3, 12, dtype=torch.float64).reshape(4, 3)
    expected = []
    for w, a, b, s, t, y in zip(
        *(v.ravel().tolist() for v in (*found.parameters(), true)), strict=True
    ):

        def squared(x, w=w, a=a, b=b, s=s, t=t, y=y):
            below = w * norm.cdf(x, a, s) + (1 - w) * norm.cdf(x, b, t)
            return (below - float(x >= y)) ** 2

        low, high = float(min(a, b)) - 40, float(max(a, b)) + 40
        expected.append(quad(squared, low, float(y))[0] + quad(squared, float(y), high)[0])
    assert float(found.crps(true)) == pytest.approx(np.mean(expected) / 2.0, rel=1e-4)


def test_loss_is_the_error_and_its_gradient_that_of_both():
    found, true = mixtures(), torch.randn(4, 3, dtype=torch.float64)
    predicted = found.mean.clone().requires_grad_()
    raw = found.raw.clone().requires_grad_()
    targets = torch.cat([true, torch.zeros(4, 1), torch.ones(4, 1)], dim=1)
    spread = CellMixtures(raw, predicted.detach(), 2.0)
    both, error = RelativeLoss()((predicted, spread), targets), RelativeLoss()(predicted, targets)
    assert float(both.detach()) == pytest.approx(float(error.detach()))
    both.backward()
    assert raw.grad.abs().sum() > 0
    (gradient,) = torch.autograd.grad(error, predicted)
    torch.testing.assert_close(predicted.grad, gradient)


def test_networks_without_spread_have_no_distribution():
    with pytest.raises(ValueError, match="give 'components'"):
        ResidualMLP(4, [1.0]).mixtures(torch.zeros(2, 5))
    with pytest.raises(ValueError, match="give 'spread'"):
        UNet(3, 2, widths=(4,))(torch.zeros(1, 3, 4, 4), with_spread=True)
