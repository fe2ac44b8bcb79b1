"""Networks of CNNInverter in files, those of older versions among them; and the pretrained one."""

import builtins
import copy
import gzip
import json
import os
import pickle
import stat
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
import torch
from conftest import ROOT
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback

from skgrav import CNNInverter, ForwardOperator, MatrixOperator, Mesh, Survey
from skgrav.datasets import make_gravity_dataset
from skgrav.inverters import _persistence
from skgrav.metrics import relative_l2_error
from skgrav.networks import PaperCNN
from skgrav.training import Trainer

OLD = ROOT / "tests" / "data"
MESH = Mesh.square(10)
DATA = make_gravity_dataset(200, mesh=MESH, random_state=0)
X, Y = DATA.data, DATA.target
SURVEY = DATA.operator.survey_
ABSOLUTE = Survey(SURVEY.stations, SURVEY.components, uncertainty=np.linspace(0.01, 0.02, 60))


def fitted(**parameters):
    settings = {"operator": DATA.operator, "max_epochs": 3, "random_state": 0}
    return CNNInverter(**settings | parameters).fit(X, Y)


@pytest.fixture(scope="module")
def inverter():
    return fitted()


@pytest.fixture(scope="module")
def first_layout(tmp_path_factory):
    """Give a file that skgrav 0.1.0 wrote before layout 2."""
    path = tmp_path_factory.mktemp("layout 1") / "network"
    path.write_bytes(gzip.decompress((OLD / "cnn_inverter_v1.safetensors.gz").read_bytes()))
    return path


def header_of(path):
    with safetensors.safe_open(path, framework="numpy") as file:
        return json.loads(file.metadata()["skgrav"])


def rewrite(path, **changes):
    """Change entries of a file's header."""
    write(path, header_of(path) | changes, safetensors.numpy.load_file(path))


def write(path, header, tensors):
    safetensors.numpy.save_file(tensors, path, metadata={"skgrav": json.dumps(header)})


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"augment": "mirror"},
        {"data_consistency": True},
        {"operator": MatrixOperator(DATA.operator.matrix_)},
        {"operator": ForwardOperator(MESH, ABSOLUTE, units="normalized")},
        {"training_noise": (0.0, 0.02), "n_components": 7},
    ],
    ids=["plain", "mirror", "null space", "matrix", "uncertainty", "parameters"],
)
def test_loaded_network_predicts_alike(parameters, tmp_path):
    inverter = fitted(**parameters)
    inverter.save(tmp_path / "network.safetensors")
    loaded = CNNInverter.load(tmp_path / "network.safetensors")
    np.testing.assert_array_equal(loaded.predict(X), inverter.predict(X))
    assert loaded.density_range_ == inverter.density_range_
    assert loaded.loss_curve_ == pytest.approx(inverter.loss_curve_)
    np.testing.assert_array_equal(loaded.transform(X)[:, 100:], X)


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
    inverter.save(tmp_path / "network", dtype="float16")
    half, single = (
        CNNInverter.load(tmp_path / "network").predict(1e6 * X),
        inverter.predict(1e6 * X),
    )
    assert np.linalg.norm(half - single) < 2e-3 * np.linalg.norm(single)


def test_weights_beyond_half_precision_are_refused(inverter, tmp_path):
    large = copy.deepcopy(inverter)
    with torch.no_grad():
        large.net_.module_.first.weight[0, 0] = 1e5
    text = r"'network.first.weight' reaches 100000, but 'dtype' is 'float16' .* up to 65504. Save"
    with pytest.raises(ValueError, match=text):
        large.save(tmp_path / "network", dtype="float16")
    assert not list(tmp_path.iterdir())
    large.save(tmp_path / "network")
    assert CNNInverter.load(tmp_path / "network").net_.module_.first.weight.max() == 1e5


@pytest.mark.parametrize("dtype", ["int8", np.float32, None])
def test_other_dtypes_are_refused(inverter, dtype, tmp_path):
    with pytest.raises(ValueError, match=r"'dtype' is .*; allowed are 'float64', 'float32' and"):
        inverter.save(tmp_path / "network", dtype=dtype)
    assert not list(tmp_path.iterdir())


def test_file_tells_the_fit_whatever_the_parameters_are_now(tmp_path):
    inverter = fitted(augment="mirror", n_components=7)
    expected = inverter.predict(X)
    inverter.set_params(
        data_consistency=True,
        n_components=9,
        augment=None,
        training_noise=0.5,
        precision="bfloat16",
    )
    inverter.save(tmp_path / "network")
    loaded = CNNInverter.load(tmp_path / "network")
    np.testing.assert_allclose(loaded.predict(X), expected, rtol=1e-5, atol=1e-5)
    kept = loaded.data_consistency, loaded.n_components, loaded.augment, loaded.precision
    assert kept == (False, 7, "mirror", "float32")
    assert loaded.training_noise == (0.0, 0.1)


def test_parameters_may_be_numbers_of_numpy(tmp_path):
    numbers = {
        "n_components": np.int64(20),
        "data_consistency": np.True_,
        "learning_rate": np.float32(0.5),
        "batch_size": np.int32(50),
        "weight_decay": np.float64(0.25),
        "max_epochs": np.int64(1),
    }
    fitted(**numbers).save(tmp_path / "network")
    loaded = CNNInverter.load(tmp_path / "network").get_params()
    assert {name: loaded[name] for name in numbers} == numbers
    assert not any(isinstance(loaded[name], np.generic) for name in numbers)


def test_training_parameters_may_be_left_to_the_architecture(inverter, tmp_path):
    inverter.save(tmp_path / "network")
    loaded = CNNInverter.load(tmp_path / "network")
    assert (loaded.batch_size, loaded.weight_decay, loaded.max_epochs) == (None, None, 3)
    assert loaded.learning_rate == 1e-3


def test_names_of_data_are_kept(tmp_path):
    names = [f"g{i}" for i in range(X.shape[1])]
    frame = pd.DataFrame(X, columns=names)
    inverter = CNNInverter(operator=DATA.operator, max_epochs=1, random_state=0).fit(frame, Y)
    inverter.save(tmp_path / "network")
    loaded = CNNInverter.load(tmp_path / "network")
    assert list(loaded.feature_names_in_) == names
    np.testing.assert_allclose(loaded.predict(frame), inverter.predict(frame), rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="feature names should match"):
        loaded.predict(frame[names[::-1]])


def test_unnamed_data_stay_unnamed(inverter, tmp_path):
    inverter.save(tmp_path / "network")
    assert not hasattr(CNNInverter.load(tmp_path / "network"), "feature_names_in_")


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_training_that_diverges_leaves_the_loaded_network(method, inverter, tmp_path):
    inverter.save(tmp_path / "network")
    loaded = CNNInverter.load(tmp_path / "network")
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
    inverter.save(tmp_path / "network")
    loaded = CNNInverter.load(tmp_path / "network")
    before = loaded.predict(X)
    loaded.set_params(warm_start=True, callbacks=[Interrupt()])
    with pytest.warns(ConvergenceWarning, match="stopped by the user after 0 of 3 epochs"):
        loaded.fit(X, Y)
    np.testing.assert_array_equal(loaded.predict(X), before)
    assert dict(loaded.net_.callbacks_)["keep_best"].best_weights_ is None


def test_loaded_network_goes_on_training(inverter, tmp_path):
    inverter.save(tmp_path / "network")
    loaded = CNNInverter.load(tmp_path / "network").set_params(max_epochs=2, warm_start=True)
    before = loaded.predict(X)
    loaded.fit(X, Y)
    assert loaded.n_epochs_ == 2
    assert np.abs(loaded.predict(X) - before).max() > 0
    assert relative_l2_error(Y, loaded.predict(X)) < 1.01 * relative_l2_error(Y, before)


def test_file_holds_no_training_data(inverter, tmp_path):
    inverter.save(tmp_path / "network")
    content = (tmp_path / "network").read_bytes()
    encoded = inverter._encoding.encode(X, Y)
    rows = [*X, *Y, *encoded[0], *encoded[1], *Y.astype(np.float32)]
    assert not any(row.tobytes() in content for row in rows)


class Hostile:
    """Runs code when it is unpickled."""

    ran = False

    def __reduce__(self):
        return setattr, (Hostile, "ran", True)


def test_file_of_layout_1_predicts_as_it_did(first_layout):
    expected = json.loads((OLD / "cnn_inverter_v1.json").read_text(encoding="utf-8"))
    loaded = CNNInverter.load(first_layout)
    # The same machine gives the same digits; another one sums in another order.
    np.testing.assert_allclose(loaded.predict(expected["X"]), expected["rho"], rtol=1e-5, atol=1e-5)
    assert (loaded.augment, loaded.n_components, loaded.training_noise) == (
        "mirror",
        10,
        (0.0, 0.02),
    )
    assert loaded.operator_.mesh_ == Mesh.square(8)


def test_file_of_layout_1_is_saved_anew(first_layout, tmp_path):
    old = CNNInverter.load(first_layout)
    old.save(tmp_path / "network")
    expected = json.loads((OLD / "cnn_inverter_v1.json").read_text(encoding="utf-8"))
    new = CNNInverter.load(tmp_path / "network")
    np.testing.assert_array_equal(new.predict(expected["X"]), old.predict(expected["X"]))
    assert header_of(tmp_path / "network")["version"] == 2


def test_kept_files_are_small():
    assert sum(path.stat().st_size for path in OLD.iterdir()) < 200_000


def test_hostile_file_is_refused_and_runs_nothing(tmp_path):
    (tmp_path / "network").write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(ValueError, match="no file of skgrav, or damaged"):
        CNNInverter.load(tmp_path / "network")
    assert not Hostile.ran


def test_damaged_foreign_and_newer_files_are_refused(inverter, tmp_path):
    path = tmp_path / "network"
    inverter.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="no file of skgrav, or damaged"):
        CNNInverter.load(path)
    path.write_bytes(whole)
    rewrite(path, version=99)
    with pytest.raises(ValueError, match=r"layout 99, but this version of skgrav reads up to 2"):
        CNNInverter.load(path)
    rewrite(path, format="other.Estimator")
    with pytest.raises(ValueError, match="holds no estimator of skgrav"):
        CNNInverter.load(path)
    safetensors.numpy.save_file({"a": np.ones(2)}, path)
    with pytest.raises(ValueError, match="holds no estimator of skgrav"):
        CNNInverter.load(path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        CNNInverter.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "header", [[1, 2], "text", 7, None], ids=["list", "text", "number", "null"]
)
def test_header_that_is_no_dict_is_refused(header, inverter, tmp_path):
    inverter.save(tmp_path / "network")
    write(tmp_path / "network", header, safetensors.numpy.load_file(tmp_path / "network"))
    text = r"network is no file of skgrav, or damaged: its header is a \w+, not a dict\."
    with pytest.raises(ValueError, match=text):
        CNNInverter.load(tmp_path / "network")


@pytest.mark.parametrize(
    "lacking",
    [
        *("version", "parameters", "operator", "data_rms", "mirror", "sigma", "density_range"),
        *("y_ndim", "loss_curve", "parameters.n_components", "parameters.augment"),
        *("parameters.noise_level", "parameters.data_consistency", "parameters.precision"),
        *("operator.kind", "operator.kernel", "operator.units", "operator.components"),
    ],
)
def test_header_that_lacks_something_is_refused(lacking, first_layout, tmp_path):
    header = header_of(first_layout)
    *folder, name = lacking.split(".")
    del (header[folder[0]] if folder else header)[name]
    write(tmp_path / "network", header, safetensors.numpy.load_file(first_layout))
    text = f"network is no file of skgrav, or damaged: it lacks '{name}'"
    with pytest.raises(ValueError, match=text):
        CNNInverter.load(tmp_path / "network")


@pytest.mark.parametrize("layout", [1, 2])
def test_file_that_lacks_a_tensor_is_refused(layout, inverter, first_layout, tmp_path):
    inverter.save(tmp_path / "network")
    if layout == 1:
        (tmp_path / "network").write_bytes(first_layout.read_bytes())
    header = header_of(tmp_path / "network")
    tensors = safetensors.numpy.load_file(tmp_path / "network")
    for name in tensors:
        rest = {other: values for other, values in tensors.items() if other != name}
        write(tmp_path / "network", header, rest)
        with pytest.raises(ValueError, match="network is no file of skgrav, or damaged: "):
            CNNInverter.load(tmp_path / "network")


@pytest.mark.parametrize(
    "changes",
    [
        {"version": "1"},
        {"parameters": []},
        {"density_range": None},
        {"operator": {"kind": "forward"}},
        {"mirror": None, "parameters": {"noise_level": 3}},
    ],
)
def test_header_with_entries_of_another_kind_is_refused(changes, first_layout, tmp_path):
    (tmp_path / "network").write_bytes(first_layout.read_bytes())
    rewrite(tmp_path / "network", **changes)
    with pytest.raises(ValueError, match="network is no file of skgrav, or damaged: "):
        CNNInverter.load(tmp_path / "network")


def test_weights_of_another_shape_are_refused_by_name(inverter, tmp_path):
    inverter.save(tmp_path / "network")
    tensors = safetensors.numpy.load_file(tmp_path / "network")
    tensors["network.first.bias"] = tensors["network.first.bias"][:-1]
    write(tmp_path / "network", header_of(tmp_path / "network"), tensors)
    with pytest.raises(ValueError, match=r"damaged: weights are missing.*shape: first\.bias\."):
        CNNInverter.load(tmp_path / "network")


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
    with pytest.raises(OSError, match="No space left"):
        inverter.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["network"]


def test_architectures_of_the_user_are_refused(tmp_path):
    small = partial(PaperCNN, filters=(4,), hidden_layer_sizes=(8,))
    inverter = CNNInverter(small, max_epochs=1, operator=DATA.operator).fit(X, Y)
    text = r"'architecture' is a partial, which files .* do not hold\. .* code\. .*pickle .*weights"
    with pytest.raises(ValueError, match=text):
        inverter.save(tmp_path / "network")
    assert not list(tmp_path.iterdir())


def test_new_file_follows_the_umask(inverter, tmp_path):
    before = os.umask(0o027)
    try:
        inverter.save(tmp_path / "network")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "network").stat().st_mode) == 0o640


def test_missing_safetensors_is_told(inverter, tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("safetensors"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"skgrav\[io\]"):
        inverter.save(tmp_path / "network")


def test_pretrained_network_inverts_without_training():
    network = CNNInverter.from_pretrained()
    unseen = make_gravity_dataset(300, random_state=12345)
    rng = np.random.default_rng(0)
    rms = np.sqrt(np.mean(unseen.data**2, axis=1, keepdims=True))
    for level, bound in ((0.0, 0.18), (0.001, 0.21), (0.01, 0.225), (0.05, 0.245)):
        g = unseen.data + level * rms * rng.normal(size=unseen.data.shape)
        rho = network.predict(g)
        assert relative_l2_error(unseen.target, rho) < bound
        assert 0 <= rho.min() <= rho.max() <= 12


def test_unknown_and_changed_pretrained_networks_are_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"'name' is 'papper'; allowed are 'paper'"):
        CNNInverter.from_pretrained("papper")
    name, _ = _persistence.PRETRAINED["paper"]
    monkeypatch.setitem(_persistence.PRETRAINED, "paper", (name, "0" * 64))
    with pytest.raises(ValueError, match=r"has SHA-256 .*, not 0000.*damaged or changed"):
        CNNInverter.from_pretrained()


def test_missing_pretrained_network_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(_persistence, "_PRETRAINED", tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"paper.safetensors is missing.*Install skgrav anew"
    ):
        CNNInverter.from_pretrained()
