"""Files of networks: precision, further training, the file itself, and the shipped network."""

import copy
import os
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
import safetensors.numpy
import torch
from saved_estimators import again
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback

from skgrav import CNNInverter, Mesh
from skgrav.datasets import fetch_huang2021, make_gravity_dataset
from skgrav.inverters import _pretrained
from skgrav.metrics import relative_l2_error
from skgrav.training import Trainer

DATA = make_gravity_dataset(200, mesh=Mesh.square(10), random_state=0)
X, Y = DATA.data, DATA.target


@pytest.fixture(scope="module")
def inverter():
    return CNNInverter(operator=DATA.operator, max_epochs=3, random_state=0).fit(X, Y)


# ------------------------------------------------------------------------------- precision


def test_half_precision_halves_the_weights_and_keeps_the_estimate(inverter, tmp_path):
    for dtype in ("float32", "float16"):
        inverter.save(tmp_path / dtype, dtype=dtype)
    sizes = [(tmp_path / dtype).stat().st_size for dtype in ("float32", "float16")]
    assert sizes[1] < 0.6 * sizes[0]
    half = CNNInverter.load(tmp_path / "float16").predict(X)
    assert np.linalg.norm(half - inverter.predict(X)) < 2e-3 * np.linalg.norm(half)


@pytest.mark.parametrize(
    "parameters", [{}, {"data_consistency": True}], ids=["plain", "null space"]
)
def test_half_precision_holds_densities_in_a_small_unit(parameters, tmp_path):
    inverter = CNNInverter(operator=DATA.operator, max_epochs=1, random_state=0, **parameters)
    inverter.fit(1e6 * X, 1e6 * Y)
    assert inverter._encoding.scale.max() > np.finfo(np.float16).max
    half = again(inverter, tmp_path, dtype="float16").predict(1e6 * X)
    single = inverter.predict(1e6 * X)
    assert np.linalg.norm(half - single) < 2e-3 * np.linalg.norm(single)


def test_weights_beyond_half_precision_are_refused(inverter, tmp_path):
    large = copy.deepcopy(inverter)
    with torch.no_grad():
        large.net_.module_.first.weight[0, 0] = 1e5
    text = r"'network.first.weight' reaches 100000, but 'dtype' is 'float16' .* up to 65504. Save"
    with pytest.raises(ValueError, match=text):
        large.save(tmp_path / "network", dtype="float16")
    assert not list(tmp_path.iterdir())
    assert again(large, tmp_path).net_.module_.first.weight.max() == 1e5


@pytest.mark.parametrize("dtype", ["int8", np.float32, None])
def test_other_dtypes_are_refused(inverter, dtype, tmp_path):
    with pytest.raises(ValueError, match=r"'dtype' is .*; allowed are 'float64', 'float32' and"):
        inverter.save(tmp_path / "network", dtype=dtype)
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------ further training


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_training_that_diverges_leaves_the_loaded_network(method, inverter, tmp_path):
    loaded = again(inverter, tmp_path)
    before = loaded.predict(X)
    loaded.set_params(warm_start=True, learning_rate=1e30, weight_decay=1e10, max_epochs=20)
    if method == "partial_fit":
        loaded._renew_net(Trainer(loaded, seed=0))  # which alone takes the learning rate of now
    with pytest.raises(FloatingPointError, match="in epoch 1: lower 'learning_rate'"):
        getattr(loaded, method)(X, Y)
    np.testing.assert_array_equal(loaded.predict(X), before)
    loaded.set_params(learning_rate=1e-4, weight_decay=0.0, max_epochs=1).fit(X, Y)
    assert loaded.n_epochs_ == len(loaded.loss_curve_) == 1


class Interrupt(Callback):
    """Press Ctrl-C after the first step, which spoils the weights."""

    def on_batch_end(self, net, training=False, **kwargs):
        with torch.no_grad():
            net.module_.last.weight.fill_(1e3)
        raise KeyboardInterrupt


def test_interrupt_in_the_first_epoch_leaves_the_loaded_network(inverter, tmp_path):
    loaded = again(inverter, tmp_path)
    before = loaded.predict(X)
    loaded.set_params(warm_start=True, callbacks=[Interrupt()])
    with pytest.warns(ConvergenceWarning, match="stopped by the user after 0 of 3 epochs"):
        loaded.fit(X, Y)
    np.testing.assert_array_equal(loaded.predict(X), before)
    assert dict(loaded.net_.callbacks_)["keep_best"].best_weights_ is None


def test_loaded_network_goes_on_training(inverter, tmp_path):
    loaded = again(inverter, tmp_path).set_params(max_epochs=2, warm_start=True)
    before = loaded.predict(X)
    loaded.fit(X, Y)
    assert loaded.n_epochs_ == 2
    assert np.abs(loaded.predict(X) - before).max() > 0
    assert relative_l2_error(Y, loaded.predict(X)) < 1.01 * relative_l2_error(Y, before)


# ------------------------------------------------------------------------- the file itself


def test_file_holds_no_training_data(inverter, tmp_path):
    inverter.save(tmp_path / "network")
    content = (tmp_path / "network").read_bytes()
    encoded = inverter._encoding.encode(X, Y)
    rows = [*X, *Y, *encoded[0], *encoded[1], *Y.astype(np.float32)]
    assert not any(row.tobytes() in content for row in rows)


def test_threads_may_save_to_one_file(inverter, tmp_path, monkeypatch):
    save_file, together, names = safetensors.numpy.save_file, Barrier(2, timeout=30), []

    def meet(tensors, filename, metadata):
        names.append(filename)
        together.wait()
        save_file(tensors, filename, metadata=metadata)
        together.wait()

    monkeypatch.setattr(safetensors.numpy, "save_file", meet)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(inverter.save, [tmp_path / "network"] * 2))
    assert len(set(names)) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["network"]
    loaded = CNNInverter.load(tmp_path / "network")
    np.testing.assert_allclose(loaded.predict(X), inverter.predict(X), rtol=1e-5, atol=1e-5)


def test_failed_save_keeps_what_was_there(inverter, tmp_path, monkeypatch):
    path = tmp_path / "network"
    inverter.save(path)
    before = path.read_bytes()

    def full(tensors, filename, metadata):
        filename.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.numpy, "save_file", full)
    with pytest.raises(OSError, match="No space left") as caught:
        inverter.save(path)
    assert caught.value.filename == str(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["network"]


UNWRITABLE = {
    "no folder/a": (
        FileNotFoundError,
        "'path' is '.*/a', but the folder '.*no folder' does not",
    ),
    "file/a": (
        FileNotFoundError,
        "'path' is '.*/a', but the folder '.*file' does not exist",
    ),
    "": (IsADirectoryError, "'path' is .*, which is a folder. Give the name of a file in it"),
    "a" * 300: (OSError, f"File name too long: '.*{'a' * 300}'$"),
}


@pytest.mark.parametrize("name", UNWRITABLE, ids=["folder", "file", "a folder", "long name"])
def test_path_that_cannot_be_written_is_named(name, inverter, tmp_path):
    error, text = UNWRITABLE[name]
    (tmp_path / "file").touch()
    with pytest.raises(error, match=text):
        inverter.save(tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_new_file_follows_the_umask(inverter, tmp_path):
    before = os.umask(0o027)
    try:
        inverter.save(tmp_path / "network")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "network").stat().st_mode) == 0o640


def test_missing_safetensors_is_named(inverter, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match=r"skgrav\[io\]"):
        inverter.save(tmp_path / "network")


# ----------------------------------------------------------------------- the shipped network


def test_pretrained_network_estimates_as_it_did_when_it_was_trained():
    network = CNNInverter.from_pretrained()
    rho = np.ones((50, 50))
    rho[10:20, 20:30] = 9.0
    found = network.predict(network.operator_.transform(rho.reshape(1, -1))).reshape(50, 50)
    estimates = [0.85195321, 8.90147591, 1.06422162, 0.95487982]
    np.testing.assert_allclose(found[[2, 15, 15, 40], [25, 25, 10, 25]], estimates, rtol=1e-4)


def test_pretrained_network_inverts_without_training():
    network = CNNInverter.from_pretrained()
    unseen = make_gravity_dataset(300, random_state=12345)
    rng = np.random.default_rng(0)
    rms = np.sqrt(np.mean(unseen.data**2, axis=1, keepdims=True))
    for level, bound in ((0.0, 0.165), (0.001, 0.20), (0.01, 0.22), (0.05, 0.24)):
        g = unseen.data + level * rms * rng.normal(size=unseen.data.shape)
        rho = network.predict(g)
        assert relative_l2_error(unseen.target, rho) < bound
        assert 0 <= rho.min() <= rho.max() <= 12


def test_pretrained_network_of_volumes_finds_a_body():
    network = CNNInverter.from_pretrained("huang2021")
    rho = np.zeros((16, 32, 32))
    rho[4:9, 12:18, 10:20] = 1000.0
    rho = rho.reshape(1, -1)
    g = network.operator_.transform(rho)
    found = network.predict(g, noise_level=0.0)
    assert relative_l2_error(rho, found) < 0.5
    assert 0 <= found.min() <= found.max() <= 1000
    assert found.sum() == pytest.approx(rho.sum(), rel=0.1)


def test_pretrained_network_of_volumes_inverts_the_public_set(shared_data):
    volumes = fetch_huang2021("validation", data_home=shared_data)
    network = CNNInverter.from_pretrained("huang2021")
    g, rho = volumes.data[:100], volumes.density(slice(100))
    assert relative_l2_error(rho, network.predict(g, noise_level=0.0)) < 0.57
    sigma = 0.05 * g.max(axis=1)
    noise = sigma[:, None] * np.random.default_rng(0).normal(size=g.shape)
    level = sigma / np.sqrt(np.mean(g**2, axis=1))
    assert relative_l2_error(rho, network.predict(g + noise, noise_level=level)) < 0.75


def test_unknown_and_changed_pretrained_networks_are_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"'name' is 'papper'; allowed are 'paper', 'huang2021'"):
        CNNInverter.from_pretrained("papper")
    name, _ = _pretrained.PRETRAINED["paper"]
    monkeypatch.setitem(_pretrained.PRETRAINED, "paper", (name, "0" * 64))
    with pytest.raises(ValueError, match=r"has SHA-256 .*, not 0000.*damaged or changed"):
        CNNInverter.from_pretrained()


def test_missing_pretrained_network_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(_pretrained, "_FOLDER", tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"paper.safetensors is missing.*Install skgrav again"
    ):
        CNNInverter.from_pretrained()
