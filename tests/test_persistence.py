"""Networks in files: complete, without code, refused when foreign; and the pretrained one."""

import builtins
import json
import pickle

import numpy as np
import pytest
import safetensors.numpy

from skgrav import CNNInverter, ForwardOperator, MatrixOperator, Mesh, Survey
from skgrav.datasets import make_gravity_dataset
from skgrav.inverters import _persistence
from skgrav.metrics import relative_l2_error

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


def header_of(path):
    with safetensors.safe_open(path, framework="numpy") as file:
        return json.loads(file.metadata()["skgrav"])


def rewrite(path, **changes):
    """Change entries of a file's header."""
    header = header_of(path) | changes
    tensors = safetensors.numpy.load_file(path)
    safetensors.numpy.save_file(tensors, path, metadata={"skgrav": json.dumps(header)})


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"augment": "mirror"},
        {"data_consistency": True},
        {"operator": MatrixOperator(DATA.operator.matrix_)},
        {"operator": ForwardOperator(MESH, ABSOLUTE, units="normalized")},
        {"noise_level": (0.0, 0.02), "n_components": 7},
    ],
    ids=["plain", "mirror", "null space", "matrix", "uncertainty", "parameters"],
)
def test_loaded_network_predicts_alike(parameters, tmp_path):
    inverter = fitted(**parameters)
    inverter.save(tmp_path / "network.safetensors")
    loaded = CNNInverter.load(tmp_path / "network.safetensors")
    np.testing.assert_allclose(loaded.predict(X), inverter.predict(X), rtol=1e-5, atol=1e-5)
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
    encoded = inverter._pairs.encode(X, Y)
    rows = [*X, *Y, *encoded[0], *encoded[1], *Y.astype(np.float32)]
    assert not any(row.tobytes() in content for row in rows)


class Hostile:
    """Runs code when it is unpickled."""

    ran = False

    def __reduce__(self):
        return setattr, (Hostile, "ran", True)


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
    with pytest.raises(ValueError, match=r"layout 99, but this version of skgrav reads up to 1"):
        CNNInverter.load(path)
    rewrite(path, format="other.Estimator")
    with pytest.raises(ValueError, match="holds no network of CNNInverter"):
        CNNInverter.load(path)
    safetensors.numpy.save_file({"a": np.ones(2)}, path)
    with pytest.raises(ValueError, match="holds no network of CNNInverter"):
        CNNInverter.load(path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        CNNInverter.load(tmp_path / "nowhere")


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


def test_other_architectures_are_pickled(tmp_path):
    paper = CNNInverter("paper", max_epochs=1, operator=DATA.operator).fit(X, Y)
    with pytest.raises(ValueError, match="only networks of 'residual' are saved so; pickle"):
        paper.save(tmp_path / "network")


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
