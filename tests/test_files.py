"""Estimators in files: whatever is saved and loaded is the same, or is refused by its name."""

import copy
import json
import os
import pickle
import subprocess
import sys
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT
from saved_estimators import (
    CLEAN,
    ESTIMATORS,
    OPERATOR,
    UNCERTAIN,
    X,
    Y,
    again,
    cnn,
    fit,
    fitted,
    predict,
    read,
    vae,
    write,
)
from sklearn.base import BaseEstimator, clone
from sklearn.frozen import FrozenEstimator

import skgrav
from skgrav import (
    BayesLinearInverter,
    ForwardOperator,
    LatentInverter,
    Mesh,
    Refiner,
    TikhonovInverter,
    VAEGenerator,
)
from skgrav.generators import DensityGenerator
from skgrav.inverters._damping_krylov import KrylovLeastSquares
from skgrav.io import _registry
from skgrav.networks import PaperCNN
from skgrav.pipeline import Pipeline

# Tiny training ends before it converges, and GANs before they are varied.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:'noise_level' is None"),
    pytest.mark.filterwarnings("ignore:solver 'bayes' treats the starts"),
    pytest.mark.filterwarnings("ignore:'alpha' is"),  # that the data do not determine
]

KEPT = ROOT / "tests" / "data"

# ------------------------------------------------------- the contract of all that can be saved


@pytest.mark.parametrize("name", ESTIMATORS)
def test_loaded_estimator_is_the_same(name, tmp_path):
    estimator = fitted(name)
    expected = predict(estimator)
    loaded = again(estimator, tmp_path)
    np.testing.assert_array_equal(predict(loaded), expected)
    assert type(loaded) is type(estimator)
    assert repr(loaded) == repr(estimator)
    for field in _registry.kind_of(type(estimator)).fields:
        value = vars(estimator).get(field)
        if isinstance(value, int | float | str | tuple | list):
            assert getattr(loaded, field) == value
    if hasattr(estimator, "transform") and hasattr(estimator, "n_outputs_"):
        np.testing.assert_array_equal(loaded.transform(X[:5])[:, 64:], X[:5])
    # Smaller files: weights and components to 1e-7 of their size, or to 1e-3.
    for dtype, tolerance in (("float32", 1e-5), ("float16", 5e-3)):
        smaller = predict(again(estimator, tmp_path, dtype=dtype))
        assert np.linalg.norm(smaller - expected) < tolerance * np.linalg.norm(expected)
    pickled = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(predict(pickled), expected)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_unknown_attribute_is_refused(name, tmp_path):
    estimator = copy.copy(fitted(name))
    estimator.note = "mine"
    text = f"'note' is an attribute that is not saved.* of {type(estimator).__name__}, or"
    with pytest.raises(ValueError, match=text):
        estimator.save(tmp_path / "estimator")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["paper", "vae", "gan", "latent, vae", "pipeline"])
def test_loaded_estimator_is_cloned_set_and_fitted_again(name, tmp_path):
    estimator = fitted(name)
    loaded = again(estimator, tmp_path)
    anew = fit(clone(loaded))
    np.testing.assert_array_equal(predict(anew), predict(fit(clone(estimator))))
    name = next(n for n in loaded.get_params() if n.endswith("max_epochs"))
    loaded.set_params(**{name: 2})
    np.testing.assert_array_equal(predict(loaded), predict(estimator))
    assert np.abs(predict(fit(loaded)) - predict(estimator)).max() > 0


@pytest.mark.parametrize("name", ["paper", "vae", "gan", "refiner", "latent, vae"])
def test_default_dtype_of_torch_does_not_matter(name, tmp_path):
    estimator = fitted(name)
    expected = predict(estimator)
    estimator.save(tmp_path / "float32")
    torch.set_default_dtype(torch.float64)
    try:
        estimator.save(tmp_path / "float64")
        there = type(estimator).load(tmp_path / "float32")
        np.testing.assert_array_equal(predict(there), expected)
    finally:
        torch.set_default_dtype(torch.float32)
    assert (tmp_path / "float32").read_bytes() == (tmp_path / "float64").read_bytes()
    np.testing.assert_array_equal(
        predict(type(estimator).load(tmp_path / "float64")), predict(there)
    )


@pytest.mark.parametrize("name", ["pipeline", "latent, gan"])
def test_fresh_process_finds_the_classes(name, tmp_path):
    fitted(name).save(tmp_path / "estimator")
    code = (
        "import sys; from skgrav.io import SavedMixin\n"
        "assert 'skgrav.inverters' not in sys.modules\n"
        "print(type(SavedMixin.load(sys.argv[1])).__name__)"
    )
    command = [sys.executable, "-c", code, tmp_path / "estimator"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == type(fitted(name)).__name__, done.stderr


# ----------------------------------------------------------------- what belongs to an estimator


def test_frozen_generator_is_written_and_read_once(tmp_path):
    frozen = FrozenEstimator(fitted("vae"))
    inverter = LatentInverter(frozen, **CLEAN).fit(X, Y)
    loaded = again(inverter, tmp_path)
    assert loaded.generator_ is loaded.generator
    once = (tmp_path / "estimator").stat().st_size
    frozen.estimator.save(tmp_path / "generator")
    assert once < 2 * (tmp_path / "generator").stat().st_size
    np.testing.assert_array_equal(loaded.predict(X), inverter.predict(X))


def test_generator_of_a_loaded_gan_takes_derivatives_and_new_starts(tmp_path):
    generator = fitted("gan")
    loaded = again(generator, tmp_path)
    np.testing.assert_array_equal(
        loaded.sample(3, random_state=0), generator.sample(3, random_state=0)
    )
    np.testing.assert_array_equal(loaded.nearest_code(Y[:3]), generator.nearest_code(Y[:3]))


def test_device_is_that_of_load(tmp_path):
    pipeline = Pipeline([cnn(device="cpu"), Refiner("lgmres", **CLEAN)]).fit(X, Y)
    pipeline.save(tmp_path / "pipeline")
    assert b"cpu" not in (tmp_path / "pipeline").read_bytes()
    for device in ("auto", "cpu"):
        loaded = Pipeline.load(tmp_path / "pipeline", device=device)
        assert loaded.named_steps["cnninverter"].device == device


def test_global_seeds_stay_untouched(tmp_path):
    before = torch.get_rng_state(), np.random.get_state()[1]  # noqa: NPY002
    again(fitted("vae"), tmp_path)
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def test_operator_is_kept_with_all_that_it_was_given(tmp_path):
    operator = ForwardOperator(
        Mesh.square(8),
        UNCERTAIN.survey,
        kernel="point",
        method="fft",
        units="normalized",
        precision="float32",
        memory_limit=1e9,
    ).fit()
    refiner = Refiner("cgls", init="zero", operator=operator).fit(operator.transform(Y), Y)
    loaded = again(refiner, tmp_path).operator_
    assert str(loaded.get_params()) == str(operator.get_params())
    assert (loaded.plan_.method, loaded.mesh_) == ("fft", Mesh.square(8))
    assert loaded.survey_ == UNCERTAIN.survey
    np.testing.assert_array_equal(loaded.transform(Y), operator.transform(Y))


def test_identified_operator_keeps_its_error(tmp_path):
    matrix = np.random.default_rng(0).normal(size=(7, 64))
    refiner = Refiner("cgls", init="zero", noise_level=0.0)
    with pytest.warns(UserWarning, match="identified"):
        refiner.fit(Y @ matrix.T, Y)
    loaded = again(refiner, tmp_path)
    assert loaded.operator_.held_out_error_ == refiner.operator_.held_out_error_
    np.testing.assert_array_equal(loaded.operator_.matrix_, refiner.operator_.matrix_)
    assert not loaded.operator_.matrix_.flags.writeable


def test_random_state_goes_on_where_it_was(tmp_path):
    generator = vae(random_state=np.random.RandomState(3)).fit(Y)
    loaded = again(generator, tmp_path)
    np.testing.assert_array_equal(loaded.random_state.rand(3), generator.random_state.rand(3))


@pytest.mark.parametrize("order", [0, 1])
def test_large_tikhonov_is_kept_without_a_decomposition(order, tmp_path, monkeypatch):
    monkeypatch.setattr(skgrav.operators._base, "SVD_SIZE", 10)
    inverter = TikhonovInverter(order=order, noise_level=0.01, operator=OPERATOR).fit(X, Y)
    assert isinstance(inverter._system, KrylovLeastSquares)
    expected = inverter.predict(X[:3])
    np.testing.assert_array_equal(again(inverter, tmp_path).predict(X[:3]), expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(inverter)).predict(X[:3]), expected)


@pytest.mark.parametrize("make", [BayesLinearInverter, cnn], ids=["bayes", "residual"])
def test_names_and_output_are_kept(make, tmp_path):
    names = [f"d{i}" for i in range(X.shape[1])]
    frame = pd.DataFrame(X, columns=names)
    inverter = make(operator=OPERATOR).set_output(transform="pandas").fit(frame, Y)
    loaded = again(inverter, tmp_path)
    pd.testing.assert_frame_equal(loaded.transform(frame), inverter.transform(frame))
    assert list(loaded.feature_names_in_) == names
    with pytest.raises(ValueError, match="feature names should match"):
        loaded.predict(frame[names[::-1]])
    assert not hasattr(again(fitted("residual"), tmp_path), "feature_names_in_")


def test_what_is_of_a_machine_is_left_out(tmp_path):
    pipeline = Pipeline(
        [cnn(callbacks=[]), Refiner("cgls", **CLEAN)], memory=str(tmp_path / "memory")
    )
    pipeline.fit(X, Y)
    pipeline.save(tmp_path / "estimator")
    assert str(tmp_path).encode() not in (tmp_path / "estimator").read_bytes()
    assert Pipeline.load(tmp_path / "estimator").memory is None


def test_no_file_names_a_place_on_the_disk(tmp_path):
    for name in [*_registry._registered, *(f"sklearn.{name}" for name in _registry._SKLEARN)]:
        constraints = getattr(_registry.kind_named(name).cls, "_parameter_constraints", {})
        for parameter, allowed in constraints.items():
            assert os.PathLike not in allowed or parameter in _registry.LEFT_OUT
    generator = vae(checkpoint=tmp_path / "checkpoint").fit(Y)
    assert again(generator, tmp_path).checkpoint is None
    for parameter in ("checkpoint", "device"):
        header, tensors = read(tmp_path / "estimator")
        header["estimator"]["parameters"][parameter] = "../../.profile"
        write(tmp_path / "changed", header, tensors)
        with pytest.raises(ValueError, match=f"holds '{parameter}' of VAEGenerator"):
            VAEGenerator.load(tmp_path / "changed")


def test_architecture_is_that_of_the_fit(tmp_path):
    generator = vae().fit(Y).set_params(architecture="paper", n_components=3)
    loaded = again(generator, tmp_path)
    assert loaded.architecture == "default"
    np.testing.assert_array_equal(predict(loaded), predict(generator))


def test_parameters_that_made_a_network_are_those_of_the_fit(tmp_path):
    inverter = cnn(augment="mirror", n_components=7).fit(X, Y)
    expected = inverter.predict(X)
    inverter.set_params(
        data_consistency=True,
        n_components=9,
        augment=None,
        training_noise=0.5,
        precision="bfloat16",
    )
    loaded = again(inverter, tmp_path)
    np.testing.assert_allclose(loaded.predict(X), expected, rtol=1e-5, atol=1e-5)
    kept = loaded.data_consistency, loaded.n_components, loaded.augment, loaded.precision
    assert kept == (False, 7, "mirror", "float32")
    assert loaded.training_noise is None
    assert loaded.net_.augment.noise_level == (0.0, 0.1)


def test_parameters_may_be_numbers_of_numpy(tmp_path):
    numbers = {
        "n_components": np.int64(20),
        "data_consistency": np.True_,
        "learning_rate": np.float32(0.5),
        "batch_size": np.int32(50),
        "weight_decay": np.float64(0.25),
        "max_epochs": np.int64(1),
    }
    loaded = again(cnn(**numbers).fit(X, Y), tmp_path).get_params()
    assert {name: loaded[name] for name in numbers} == numbers
    assert not any(isinstance(loaded[name], np.generic) for name in numbers)


def test_training_parameters_may_be_left_to_the_architecture(tmp_path):
    loaded = again(fitted("residual"), tmp_path)
    assert (loaded.batch_size, loaded.weight_decay, loaded.max_epochs) == (None, None, 1)
    assert loaded.learning_rate is None


def test_subclass_reads_what_its_base_wrote(tmp_path):
    class Own(VAEGenerator):
        pass

    fitted("vae").save(tmp_path / "estimator")
    assert type(Own.load(tmp_path / "estimator")) is Own
    assert type(DensityGenerator.load(tmp_path / "estimator")) is VAEGenerator
    text = r"'the estimator' is a Own, which .* Register Own by the decorator skgrav\.io\.saved"
    with pytest.raises(ValueError, match=text):
        Own(6, max_epochs=1).fit(Y).save(tmp_path / "own")


def test_kept_file_predicts_as_it_did():
    expected = json.loads((KEPT / "pipeline.json").read_text(encoding="utf-8"))
    loaded = Pipeline.load(KEPT / "pipeline.safetensors")
    # The search stops within its tolerance, which differs by the machine's rounding.
    np.testing.assert_allclose(loaded.predict(expected["X"]), expected["rho"], rtol=0, atol=1e-3)
    assert sum(path.stat().st_size for path in KEPT.iterdir()) < 200_000


# ------------------------------------------------------------------------- what is refused


class Start(BaseEstimator):
    """An estimator that is not registered."""

    def fit(self, X, y):
        self.mean_ = y.mean(axis=0)
        return self

    def predict(self, X):
        return np.tile(self.mean_, (len(X), 1))


def small_network(n_data, n_cells, n_components):
    return PaperCNN(n_data, n_cells, n_components, filters=(4,), hidden_layer_sizes=(8,))


REFUSED = {
    r"'steps\.0\.1\.init' is a Start, which cannot be saved .* Register Start by .* skgrav"
    r"\.io\.saved, replace it by a class of skgrav, or pickle": Pipeline(
        [Refiner("cgls", init=Start(), **CLEAN)]
    ),
    r"'architecture' is a partial, which cannot be saved .*\. .* code\. .*pickle .*weights": cnn(
        partial(small_network)
    ),
}


@pytest.mark.parametrize("text", REFUSED, ids=["own estimator", "own network"])
def test_what_no_file_can_hold_is_refused_by_its_place(text, tmp_path):
    estimator = clone(REFUSED[text]).fit(X, Y)
    with pytest.raises(ValueError, match=text):
        estimator.save(tmp_path / "estimator")
    assert not list(tmp_path.iterdir())


def test_invalid_parameter_is_refused(tmp_path):
    inverter = cnn("paper").fit(X, Y).set_params(augment="turn")
    with pytest.raises(ValueError, match="'augment' parameter of CNNInverter"):
        inverter.save(tmp_path / "estimator")
    assert not list(tmp_path.iterdir())


def test_unfitted_estimator_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="not fitted yet"):
        vae().save(tmp_path / "estimator")


def test_file_of_another_class_names_who_reads_it(tmp_path):
    fitted("vae").save(tmp_path / "estimator")
    text = r"estimator holds a VAEGenerator, not a Refiner; read it by VAEGenerator\.load"
    with pytest.raises(ValueError, match=text):
        Refiner.load(tmp_path / "estimator")
    header, tensors = read(tmp_path / "estimator")
    header |= {"estimator": {"object": "Mesh", "state": {}}}
    write(tmp_path / "estimator", header, tensors)
    with pytest.raises(ValueError, match=r"holds a Mesh, not a VAEGenerator\.$"):
        VAEGenerator.load(tmp_path / "estimator")
