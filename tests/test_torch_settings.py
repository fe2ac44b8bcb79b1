"""Torch's global settings and devices: the user's settings change nothing and stay as they are."""

import pickle
from contextlib import contextmanager
from functools import cache, partial
from threading import Thread

import numpy as np
import pytest
import torch
from sklearn.base import clone

from skgrav import CNNInverter, GANGenerator, LatentInverter, Mesh, VAEGenerator
from skgrav.datasets import make_gravity_dataset
from skgrav.networks import PaperCNN, own_settings

DATA = make_gravity_dataset(40, mesh=Mesh.square(6), noise_level=0.01, random_state=0)
X, Y, OPERATOR = DATA.data, DATA.target, DATA.operator
SMALL = {"max_epochs": 2, "batch_size": 16, "random_state": 0}
PAPER = partial(PaperCNN, filters=(8,), hidden_layer_sizes=(16,))
VAE = VAEGenerator(4, **SMALL)
ESTIMATORS = {
    "residual": CNNInverter(operator=OPERATOR, n_components=8, early_stopping=True, **SMALL),
    "null space": CNNInverter(operator=OPERATOR, data_consistency=True, **SMALL),
    "unet": CNNInverter("unet", operator=OPERATOR, augment="mirror", early_stopping=True, **SMALL),
    "callable": CNNInverter(PAPER, operator=OPERATOR, augment="mirror", **SMALL),
    "vae": VAE,
    "paper vae": VAEGenerator(4, architecture="paper", early_stopping=True, **SMALL),
    "gan": GANGenerator(4, early_stopping=True, **SMALL),
    "latent": LatentInverter(VAE, operator=OPERATOR, noise_level=0.01),
    "latent adam": LatentInverter(
        VAE, operator=OPERATOR, noise_level=0.01, solver="adam", max_iter=5
    ),
}
NAMES = pytest.mark.parametrize("name", ESTIMATORS)


@contextmanager
def default(setter, value, before):
    setter(value)
    try:
        yield
    finally:
        setter(before)


SETTINGS = {
    "float64": lambda: default(torch.set_default_dtype, torch.float64, torch.float32),
    "bfloat16": lambda: default(torch.set_default_dtype, torch.bfloat16, torch.float32),
    "meta": lambda: default(torch.set_default_device, "meta", None),
    "cpu": lambda: default(torch.set_default_device, "cpu", None),
    "inference": torch.inference_mode,
    "no grad": torch.no_grad,
    "gradients off": lambda: torch.set_grad_enabled(False),
    "a device of a block": lambda: torch.device("meta"),
}
ALL = pytest.mark.parametrize("setting", SETTINGS)

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning", "ignore:.*torch.set_default_dtype:UserWarning"
)


def settings():
    return (
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_inference_mode_enabled(),
        torch.is_grad_enabled(),
        torch.get_num_threads(),
    )


def fitted(name):
    estimator = clone(ESTIMATORS[name])
    return estimator.fit(Y) if hasattr(estimator, "sample") else estimator.fit(X, Y)


fitted_once = cache(fitted)


def use(estimator):
    """Give all that a fitted estimator makes of data."""
    if not hasattr(estimator, "sample"):
        return [estimator.predict(X)]
    codes = estimator.transform(Y[:5])
    found = [codes, estimator.sample(5, random_state=0), estimator.inverse_transform(codes)]
    found.append(estimator.nearest_code(Y[:5]))
    if hasattr(estimator, "kl_divergence"):
        found.append(estimator.kl_divergence(Y[:5]))
    return found


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@ALL
@NAMES
def test_fit_and_use_are_those_of_torchs_own_settings(setting, name):
    expected = use(fitted_once(name))
    with SETTINGS[setting]():
        before = settings()
        estimator = fitted(name)
        found = use(estimator)
        assert settings() == before
    assert_same(found, expected)
    # What was trained under them is used under others.
    assert_same(use(estimator), expected)


@ALL
@NAMES
def test_fitted_estimators_are_used_pickled_saved_and_loaded(setting, name, tmp_path):
    estimator = fitted_once(name)
    expected = use(estimator)
    with SETTINGS[setting]():
        before = settings()
        assert_same(use(estimator), expected)
        copies = [pickle.loads(pickle.dumps(estimator))]
        if name != "callable":  # a function, which no file holds
            estimator.save(tmp_path / "estimator")
            copies.append(type(estimator).load(tmp_path / "estimator"))
        for copied in copies:
            assert_same(use(copied), expected)
        assert settings() == before
    for copied in copies:
        assert_same(use(copied), expected)


@ALL
@pytest.mark.parametrize("name", ["residual", "callable"])
def test_training_goes_on_from_a_copy_made_under_them(setting, name):
    expected = pickle.loads(pickle.dumps(fitted_once(name))).partial_fit(X, Y).predict(X)
    with SETTINGS[setting]():
        copied = pickle.loads(pickle.dumps(fitted_once(name)))
    np.testing.assert_array_equal(copied.partial_fit(X, Y).predict(X), expected)


@ALL
def test_pretrained_network_is_loaded(setting):
    data = make_gravity_dataset(3, random_state=0)
    expected = CNNInverter.from_pretrained().predict(data.data)
    with SETTINGS[setting]():
        network = CNNInverter.from_pretrained()
    np.testing.assert_array_equal(network.predict(data.data), expected)


@ALL
def test_checkpoint_is_written_and_gone_on_from(setting, tmp_path):
    with SETTINGS[setting]():
        fit = clone(ESTIMATORS["residual"]).set_params(checkpoint=tmp_path).fit(X, Y)
    np.testing.assert_array_equal(fit.predict(X), fitted_once("residual").predict(X))


def test_a_fit_that_fails_leaves_the_settings():
    with SETTINGS["float64"](), SETTINGS["meta"](), torch.no_grad():
        before = settings()
        with pytest.raises(FloatingPointError, match="lower 'learning_rate'"):
            clone(ESTIMATORS["callable"]).set_params(learning_rate=1e30, max_epochs=30).fit(X, Y)
        assert settings() == before


def test_dtype_comes_back_when_the_last_of_several_threads_is_done():
    inside, seen = own_settings(), []
    with SETTINGS["float64"]():
        inside.__enter__()
        other = Thread(target=lambda: seen.append(use(fitted_once("residual"))))
        other.start()
        other.join()
        assert torch.get_default_dtype() == torch.float32  # this thread still computes
        inside.__exit__(None, None, None)
        assert torch.get_default_dtype() == torch.float64
    assert_same(seen[0], use(fitted_once("residual")))


# Devices


@pytest.mark.parametrize("name", ["residual", "callable", "vae", "gan"])
@pytest.mark.parametrize("device", ["gpu", "cuda:7", "meta", "", torch.device("meta")])
def test_a_device_that_is_not_here_is_named(name, device):
    estimator = clone(ESTIMATORS[name]).set_params(device=device)
    text = rf"'device' is '{device}', which torch cannot use here; available are 'auto', 'cpu'"
    with pytest.raises(ValueError, match=text):
        estimator.fit(*((Y,) if hasattr(estimator, "sample") else (X, Y)))


@pytest.mark.parametrize(
    ("device", "available"),
    [("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available())],
)
def test_a_gpu_that_is_not_here_is_named(device, available):
    if available:
        pytest.skip(f"torch has {device} here")
    with pytest.raises(ValueError, match=f"'device' is '{device}', which torch cannot use here"):
        CNNInverter.from_pretrained(device=device)


@pytest.mark.parametrize("name", ["residual", "callable", "vae", "gan"])
def test_a_torch_device_will_do(name):
    estimator = clone(ESTIMATORS[name]).set_params(device=torch.device("cpu"))
    estimator.fit(*((Y,) if hasattr(estimator, "sample") else (X, Y)))
    assert estimator.net_.device == "cpu"
    assert_same(use(estimator), use(fitted_once(name)))
    assert estimator.get_params()["device"] == torch.device("cpu")


def test_what_is_no_device_is_refused():
    text = "'device' parameter of CNNInverter must be an instance of 'str' or"
    with pytest.raises(ValueError, match=text):
        clone(ESTIMATORS["residual"]).set_params(device=0).fit(X, Y)
