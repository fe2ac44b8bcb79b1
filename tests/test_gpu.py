"""What a GPU would find wrong, seen without one: the device "meta" has no values to wait for."""

import io
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from skgrav import CNNInverter, ForwardOperator, GANGenerator, Mesh, VAEGenerator
from skgrav.datasets import make_gravity_dataset
from skgrav.inverters import _image, _whitened
from skgrav.networks import AveragedWeights, PaperCNN, ResidualMLP, UNet
from skgrav.training import _checkpoint
from skgrav.training._muon import Muon

MESH = Mesh.square(8)
OPERATOR = ForwardOperator(MESH, method="fft", units="normalized").fit()
DATA = make_gravity_dataset(40, mesh=MESH, random_state=0)
SMALL_PAPER = partial(PaperCNN, filters=(8,), hidden_layer_sizes=(16,))


@pytest.fixture(autouse=True)
def _small_networks(monkeypatch):
    monkeypatch.setattr(_whitened, "ResidualMLP", partial(ResidualMLP, width=16))
    monkeypatch.setattr(_image, "UNet", partial(UNet, widths=(8,)))


def fitted(**params):
    defaults = {"operator": OPERATOR, "max_epochs": 2, "random_state": 0, "device": "cpu"}
    return CNNInverter(**defaults | params).fit(DATA.data, DATA.target)


INVERTERS = {
    "residual": {},
    "consistent": {"data_consistency": True},
    "unet": {"architecture": "unet"},
    "paper": {"architecture": "paper"},
    "paper, mirrored, noisy": {
        "architecture": SMALL_PAPER,
        "augment": "mirror",
        "training_noise": 0.1,
    },
}


class WithoutTensors(pickle.Pickler):
    """Refuses tensors, which unpickle on the device that they come from or not at all."""

    def reducer_override(self, value):
        assert not isinstance(value, torch.Tensor), "a tensor that skorch does not map to a device"
        return NotImplemented


@pytest.mark.parametrize("name", INVERTERS)
def test_pickles_can_be_read_without_the_gpu_that_trained(name):
    inverter = fitted(**INVERTERS[name])
    WithoutTensors(io.BytesIO()).dump(inverter)
    found = pickle.loads(pickle.dumps(inverter))
    np.testing.assert_array_equal(found.predict(DATA.data), inverter.predict(DATA.data))
    found.partial_fit(DATA.data, DATA.target)


@pytest.mark.parametrize("kind", [VAEGenerator, GANGenerator])
def test_generators_are_pickled_without_tensors(kind):
    generator = kind(8, mesh=MESH, max_epochs=1, device="cpu").fit(DATA.target)
    WithoutTensors(io.BytesIO()).dump(generator)


def test_networks_have_a_physics_of_their_own():
    inverter = fitted(data_consistency=True, max_epochs=1)
    before = inverter.predict(DATA.data)
    again = inverter.net_.module()  # as for a warm start
    again.to("meta")
    assert again.consistency.physics is not None
    np.testing.assert_array_equal(inverter.predict(DATA.data), before)
    assert next(inverter.net_.module().buffers()).device.type == "cpu"


def test_steps_wait_for_no_value():
    # A number made of a tensor on "meta" is an error, and on a GPU a stop.
    network = AveragedWeights(nn.Sequential(nn.Conv2d(2, 3, 3), nn.Conv2d(3, 2, 3))).to("meta")
    optimizer = Muon(network.live.parameters(), lr=1e-3)
    for _ in range(2):
        network(torch.ones(1, 2, 9, 9, device="meta")).square().mean().backward()
        optimizer.step()
        network.update()
    with pytest.raises(RuntimeError, match="meta"):
        int(network.n_steps)


def test_training_on_the_cpu_does_not_seed_gpus(monkeypatch):
    def seed_all(seed):
        raise AssertionError("the GPUs were seeded")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", seed_all)
    before = torch.get_rng_state()
    fitted(early_stopping=True)
    VAEGenerator(8, mesh=MESH, max_epochs=1, device="cpu").fit(DATA.target)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(AssertionError, match="GPUs were seeded"):
        torch.manual_seed(0)


def test_a_checkpoint_keeps_the_state_of_its_own_gpu(monkeypatch):
    class Net:
        device, run_, history = "cuda:3", None, []

    state, restored = torch.get_rng_state(), []
    monkeypatch.setattr(torch.cuda, "get_rng_state", {"cuda:3": state}.__getitem__)
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda *args: restored.append(args))
    seen = {}
    monkeypatch.setattr(_checkpoint.torch, "save", lambda state, buffer: seen.update(state))
    net = Net()
    net.run_ = type("Run", (), {"later_pairs": None})()
    net.module_, net.callbacks_ = nn.Linear(1, 1), []
    net.optimizer_ = torch.optim.SGD(net.module_.parameters())
    checkpoint = object.__new__(_checkpoint.Checkpoint)
    vars(checkpoint).update(kind={}, data={}, n_done_=1, n_written_=1)
    net.history = type("History", (), {"to_list": lambda self: []})()
    checkpoint._content(net)
    checkpoint._found = seen
    checkpoint.on_train_begin(net)
    assert restored == [(state, "cuda:3")]
