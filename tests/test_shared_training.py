"""Processes that train one network together, here two on CPUs."""

import os
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from conftest import ROOT
from skorch.callbacks import Callback
from torch import distributed, multiprocessing

from skgrav import CNNInverter, Mesh
from skgrav.datasets import make_gravity_dataset
from skgrav.networks import PaperCNN
from skgrav.training import BatchIterator, SharedTraining
from skgrav.training._checkpoint import Checkpoint

mesh = Mesh.square(8)
SMALL = partial(PaperCNN, filters=(8,), hidden_layer_sizes=(64,))


def whole_batches(**params):
    """Give a network that takes all 64 samples in one step, and draws nothing meanwhile."""
    network = partial(SMALL, dropout=0.0)
    return CNNInverter(network, max_epochs=4, batch_size=64, random_state=0, **params)


class Interrupt(Callback):
    """Press Ctrl-C in the third epoch, once."""

    pressed = False

    def on_batch_end(self, net, training=False, **kwargs):
        if len(net.history) == 3 and not Interrupt.pressed:
            Interrupt.pressed = True
            raise KeyboardInterrupt


def interrupted(inverter, data):
    """Train until Ctrl-C and then to the end."""
    with pytest.raises(KeyboardInterrupt, match="the same fit resumes"):
        inverter.fit(data.data, data.target)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoint, "remove", lambda self: None)  # before the other has ended
        return inverter.fit(data.data, data.target)


def train(rank, folder):
    """Train in one of two processes, and write down what comes out."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    data = make_gravity_dataset(64, mesh=mesh, random_state=0)
    shared = {"operator": data.operator, "callbacks": [SharedTraining()]}
    many = {"max_epochs": 4, "batch_size": 16, "random_state": 0}
    inverters = {
        "whole": whole_batches(**shared).fit(data.data, data.target),
        "many": CNNInverter(early_stopping=True, **many, **shared).fit(data.data, data.target),
        "fresh": CNNInverter(SMALL, **many, **shared).fit(
            partial(make_gravity_dataset, 61, mesh=mesh)
        ),
    }
    kept = shared | {"callbacks": [SharedTraining(), Interrupt()], "checkpoint": f"{folder}/kept"}
    again = CNNInverter(early_stopping=True, **many, **kept)
    inverters["interrupted"] = interrupted(again, data)
    found = {name: inverter.predict(data.data) for name, inverter in inverters.items()}
    found |= {f"{name} loss": inverter.loss_curve_ for name, inverter in inverters.items()}
    inverters["many"].partial_fit(data.data, data.target)
    found["going on"] = inverters["many"].predict(data.data)
    alone = CNNInverter(random_state=rank, **shared)
    try:
        alone.fit(data.data, data.target)
    except ValueError as error:
        found["error"] = str(error)
    np.savez(f"{folder}/{rank}.npz", **found)
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_learn_as_one(tmp_path):
    multiprocessing.spawn(train, (tmp_path,), nprocs=2)
    one, other = (dict(np.load(tmp_path / f"{rank}.npz")) for rank in (0, 1))
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])
    assert "SharedTraining: the processes start from different pairs" in str(one["error"])
    data = make_gravity_dataset(64, mesh=mesh, random_state=0)
    alone = whole_batches(operator=data.operator).fit(data.data, data.target)
    np.testing.assert_allclose(one["whole loss"], alone.loss_curve_, rtol=1e-5)
    np.testing.assert_allclose(one["whole"], alone.predict(data.data), atol=1e-4)
    np.testing.assert_array_equal(one["interrupted"], one["many"])
    for name in ("whole", "many", "fresh"):
        assert one[f"{name} loss"][-1] < one[f"{name} loss"][0]


@pytest.mark.slow
def test_example_runs_on_two_processes(tmp_path):
    path = tmp_path / "network.safetensors"
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, "examples/train_together.py", str(path)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error::UserWarning:skgrav"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "2 processes: error 0.2" in done.stdout
    assert CNNInverter.load(path).operator_.n_cells_ == 256


def test_without_a_process_group_nothing_changes():
    data = make_gravity_dataset(30, mesh=mesh, random_state=0)
    network = CNNInverter(operator=data.operator, max_epochs=2, random_state=0)
    expected = network.fit(data.data, data.target).predict(data.data)
    network.set_params(callbacks=[SharedTraining()])
    rho = network.fit(data.data, data.target).predict(data.data)
    np.testing.assert_array_equal(rho, expected)


@pytest.mark.parametrize(("n_samples", "n_shares"), [(24, 2), (23, 2), (25, 3), (3, 4)])
def test_shares_of_batches_are_equal_and_together_the_batches(n_samples, n_shares):
    class Data:
        X = y = np.arange(float(n_samples))[:, None]

        def __len__(self):
            return n_samples

    def batches(**params):
        torch.manual_seed(0)
        return [X[:, 0].tolist() for X, _ in BatchIterator(Data(), 8, shuffle=True, **params)]

    shares = [batches(share=(which, n_shares)) for which in range(n_shares)]
    for whole, *parts in zip(batches(), *shares, strict=True):
        assert {len(part) for part in parts} == {-(-len(whole) // n_shares)}
        assert set(whole) == {row for part in parts for row in part}
