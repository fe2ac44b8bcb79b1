"""A network of volumes with its spread keeps what sections keep: files, pickles, threads, fits.

`test_files.py`, `test_pickles.py`, `test_concurrency.py`, `test_refit.py` and `test_checkpoint.py`
hold all other estimators to the same.
"""

import os
import pickle
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import saved_estimators
from conftest import ROOT
from sklearn.base import clone

from skgrav import CNNInverter, Mesh
from skgrav.datasets import make_gravity_dataset

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

DATA = make_gravity_dataset(24, mesh=Mesh.regular((3, 4, 4), 10.0), random_state=0)
X, Y = DATA.data, DATA.target
VOLUMES = CNNInverter("unet", operator=DATA.operator, max_epochs=1, batch_size=8, random_state=0)


def outputs(inverter):
    """Give all that a network with its spread says of four volumes."""
    mean, std = inverter.predict(X[:4], return_std=True)
    draws = inverter.sample_y(X[:4], 3, random_state=0)
    return [mean, std, inverter.predict_quantiles(X[:4], [0.1, 0.9]), draws]


@pytest.fixture(scope="module")
def fitted():
    return clone(VOLUMES).fit(X, Y)


@pytest.fixture(scope="module")
def expected(fitted):
    return outputs(fitted)


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_file_and_pickle_say_the_same(fitted, expected, tmp_path):
    fitted.save(tmp_path / "volumes")
    assert_same(outputs(CNNInverter.load(tmp_path / "volumes")), expected)
    pickled = pickle.dumps(fitted)
    assert_same(outputs(pickle.loads(pickled)), expected)
    rows = [*X, *Y, *X.astype(np.float32), *Y.astype(np.float32)]
    assert not any(row.tobytes() in pickled for row in rows)


def test_fit_again_after_other_volumes_equals_a_fresh_fit(expected):
    other = make_gravity_dataset(16, mesh=Mesh.regular((4, 3, 5), 5.0), random_state=1)
    inverter = clone(VOLUMES).set_params(operator=other.operator, uncertainty=False)
    inverter.fit(other.data, other.target)
    inverter.set_params(operator=DATA.operator, uncertainty=True).fit(X, Y)
    assert_same(outputs(inverter), expected)


def test_eight_threads_say_the_same(fitted, expected):
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: outputs(fitted), range(8)):
            assert_same(found, expected)


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import saved_estimators
from skgrav.io import _container

def killed(*arguments, **options):
    written = original(*arguments, **options)
    os.kill(os.getpid(), signal.SIGKILL)

safetensors = _container._safetensors()
original, safetensors.save_file = safetensors.save_file, killed
saved_estimators.fitted(sys.argv[2]).save(sys.argv[3])
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="nothing kills here")
def test_save_that_is_killed_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "estimator"
    before = saved_estimators.fitted("bayes")
    arguments = [sys.executable, "-W", "ignore", "-c", KILLED, str(Path(__file__).parent)]
    for exists in (False, True):
        if exists:
            before.save(path)
        done = subprocess.run(
            [*arguments, "tikhonov", str(path)],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            timeout=300,
            check=False,
        )
        assert done.returncode == -signal.SIGKILL
        assert path.exists() == exists
    loaded = type(before).load(path)
    np.testing.assert_array_equal(
        saved_estimators.predict(loaded), saved_estimators.predict(before)
    )
