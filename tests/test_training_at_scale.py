"""Training sets in blocks: on disk, larger than memory, with mirror images, same numbers."""

import os
import subprocess
import sys
import textwrap
import tracemalloc
import weakref
from functools import partial

import numpy as np
import pytest

from skgrav import BayesLinearInverter, CNNInverter, Mesh, Survey
from skgrav.datasets import make_gravity_dataset
from skgrav.inverters import _checked_operator, _rows, _typicality, _whitened
from skgrav.inverters._gaussian_prior import GaussianPrior
from skgrav.inverters._rows import Encoded, Rows
from skgrav.metrics import relative_l2_error
from skgrav.networks import PaperCNN
from skgrav.training import Mirror

MESH = Mesh.square(12)
DATA = make_gravity_dataset(600, mesh=MESH, random_state=0)
OPERATOR, X, RHO = DATA.operator, DATA.data, DATA.target
MIRROR = Mirror.of(OPERATOR.mesh_, OPERATOR.survey_)

SMALL_PAPER = partial(PaperCNN, filters=(8,), hidden_layer_sizes=(64,))
KINDS = [
    {},
    {"augment": "mirror", "early_stopping": True},
    {"data_consistency": True, "augment": "mirror"},
    {"architecture": SMALL_PAPER, "augment": "mirror", "training_noise": 0.01},
]
IDS = ["residual", "mirror", "null space", "paper"]


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(_rows, "_BLOCK", 128)


def unfitted(**params):
    return CNNInverter(**{"operator": OPERATOR, "max_epochs": 2, "random_state": 0} | params)


def on_disk(folder, *arrays, dtype=np.float64):
    """Write arrays to files and give them back memory-mapped."""
    mapped = []
    for i, array in enumerate(arrays):
        np.save(folder / f"{i}.npy", array.astype(dtype))
        mapped.append(np.load(folder / f"{i}.npy", mmap_mode="r"))
    return mapped


# Rows


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int16])
def test_rows_are_those_of_the_array_and_then_of_its_images(dtype):
    array = (100 * RHO[:300]).astype(dtype)
    expected = np.concatenate([array, array[:, MIRROR.cells]]).astype(np.float64)
    rows, order = Rows(array, MIRROR.cells), np.random.default_rng(0).permutation(600)
    assert len(rows) == 600
    assert rows[order].dtype == np.float64
    np.testing.assert_array_equal(rows[order], expected[order])
    found = np.full_like(expected, np.nan)
    for place, block in rows.blocks():
        assert len(block) <= 128
        found[place] = block
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(rows.mean(), expected.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(rows.square(expected.mean(axis=0)), expected.var(axis=0), rtol=1e-12)
    assert array.dtype == dtype


def test_rows_have_the_signs_of_mirrored_gravity():
    rows = Rows(X, MIRROR.data, MIRROR.sign)
    images = OPERATOR.transform(RHO[:, MIRROR.cells])
    np.testing.assert_allclose(rows[600 + np.arange(600)], images, atol=1e-12 * np.abs(X).max())


def test_rows_are_encoded_when_they_are_asked_for():
    seen = []
    encoded = Encoded(lambda a, b: seen.append(len(a)) or a + b, X, 2 * X)
    assert len(encoded) == 600
    assert not seen
    np.testing.assert_array_equal(encoded[np.array([5, 3])], 3 * X[[5, 3]])
    assert seen == [2]


@pytest.mark.parametrize("drawable", [False, True])
def test_prior_does_not_depend_on_the_blocks(monkeypatch, drawable):
    matrix, found = OPERATOR.matrix_, []
    for block in (1, 100, 10_000):
        monkeypatch.setattr(_rows, "_BLOCK", block)
        found.append(GaussianPrior.of(RHO[:300], matrix, drawable=drawable))
    for other in found[:2]:
        np.testing.assert_allclose(other.variance, found[2].variance, rtol=1e-12)
        # Down to the last digits of the largest: no covariance was squared.
        std = np.sqrt(found[2].space.variance)
        np.testing.assert_allclose(np.sqrt(other.space.variance), std, rtol=0, atol=1e-13 * std[0])
        level = np.full(300, (1e-4 * std[0]) ** 2)
        data = (RHO[:300] - other.mean) @ matrix.T
        estimates = [prior.space.estimate(data, level) for prior in (other, found[2])]
        np.testing.assert_allclose(*estimates, atol=1e-9)
        if drawable:
            covariances = [prior.factor.T @ prior.factor for prior in (other, found[2])]
            np.testing.assert_allclose(*covariances, atol=1e-10)


# Training sets on disk


@pytest.mark.parametrize("params", KINDS, ids=IDS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_set_on_disk_trains_as_in_memory(tmp_path, params, dtype):
    arrays = X.astype(dtype), RHO.astype(dtype)
    memory = unfitted(**params).fit(*arrays)
    disk = unfitted(**params).fit(*on_disk(tmp_path, *arrays, dtype=dtype))
    assert disk.loss_curve_ == memory.loss_curve_
    assert disk.validation_loss_curve_ == memory.validation_loss_curve_
    np.testing.assert_array_equal(disk.predict(X), memory.predict(X))


@pytest.mark.parametrize("params", KINDS, ids=IDS)
def test_float32_costs_no_more_than_its_rounding(tmp_path, params):
    single = unfitted(**params).fit(*on_disk(tmp_path, X, RHO, dtype=np.float32))
    double = unfitted(**params).fit(X, RHO)
    np.testing.assert_allclose(single.loss_curve_, double.loss_curve_, rtol=1e-3)
    noisy = X * (1 + 0.01 * np.random.default_rng(0).normal(size=X.shape))
    assert relative_l2_error(double.predict(noisy), single.predict(noisy)) < 1e-3


@pytest.mark.parametrize("params", KINDS, ids=IDS)
def test_blocks_on_disk_train_as_in_memory(tmp_path, params):
    mapped = on_disk(tmp_path, X, RHO)
    memory, disk = (unfitted(**params, density_range=(0, 12)) for _ in range(2))
    for start in (0, 200, 400):
        block = slice(start, start + 200)
        memory.partial_fit(X[block], RHO[block])
        disk.partial_fit(*(part[block] for part in mapped))
    assert disk.n_epochs_ == 3
    np.testing.assert_array_equal(disk.predict(X), memory.predict(X))


def test_whole_numbers_are_densities_too():
    rho = np.rint(RHO).astype(np.int8)
    g = OPERATOR.transform(rho)
    whole, real = (unfitted().fit(g, y) for y in (rho, rho.astype(float)))
    np.testing.assert_array_equal(whole.predict(g), real.predict(g))


def test_operator_is_identified_from_the_pairs_that_tell_the_physics(monkeypatch):
    monkeypatch.setattr(_checked_operator, "_N_PHYSICS_PAIRS", 250)
    with pytest.warns(UserWarning, match="identified from 200 of them"):
        unfitted(operator=None, max_epochs=1).fit(1.5 * X, RHO)


# Memory


@pytest.mark.parametrize("params", KINDS, ids=IDS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_training_copies_no_set_as_a_whole(monkeypatch, params, dtype):
    for module, name in (
        (_checked_operator, "N_CHECKED"),
        (_whitened, "_N_COMPONENT_SECTIONS"),
    ):
        monkeypatch.setattr(module, name, 300)
    g, rho = (np.tile(part, (15, 1)).astype(dtype) for part in (X, RHO))
    inverter = unfitted(**params, n_components=5, max_epochs=1, batch_size=250)
    unfitted(**params, max_epochs=1).fit(X, RHO)  # loads what is loaded once
    tracemalloc.start()
    try:
        inverter.fit(g, rho)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Inputs of the residual network are held, half as many as cells here and twice with mirrors.
    held = 0 if "architecture" in params else 4 * 9000 * (73 + 7)
    held *= 2 if "augment" in params else 1
    # Sections for draws are kept in half precision.
    held += 0 if "architecture" in params else 2 * 2000 * rho.shape[1]
    assert peak < held + 0.35 * rho.astype(np.float64).nbytes


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_best_linear_estimate_copies_no_set_as_a_whole(monkeypatch, dtype):
    monkeypatch.setattr(_checked_operator, "N_CHECKED", 300)
    monkeypatch.setattr(_typicality, "N_USED", 300)
    g, rho = (np.tile(part, (25, 1)).astype(dtype) for part in (X, RHO))
    inverter = BayesLinearInverter(0.01, operator=OPERATOR, shrinkage=0.01)
    expected = inverter.fit(X, RHO).predict(X)  # loads what is loaded once
    tracemalloc.start()
    try:
        found = inverter.fit(g, rho).predict(X)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.35 * rho.astype(np.float64).nbytes
    rounding = 1e-7 if dtype == np.float64 else 1e-3
    np.testing.assert_allclose(found, expected, atol=rounding * np.abs(expected).max())


@pytest.mark.parametrize(
    ("params", "n_kept"),
    [
        ({"architecture": "residual", "uncertainty": False}, 0),
        ({"architecture": "residual"}, 2),
        ({"architecture": SMALL_PAPER}, 2),
    ],
)
def test_fresh_pairs_do_not_pile_up(params, n_kept):
    drawn, alive = [], []

    def source(random_state):
        alive.append(sum(ref() is not None for ref in drawn))
        rho = RHO[random_state % 500 :][:100].copy()
        drawn.append(weakref.ref(rho))
        return OPERATOR.transform(rho), rho

    # The loop keeps the first pair of those that are encoded batch by batch, and the last.
    unfitted(**params, max_epochs=4, density_range=(0, 12)).fit(source)
    assert len(alive) == 4
    assert max(alive) == n_kept


CAPPED = """
    import re, resource, sys
    from functools import partial
    from pathlib import Path
    import numpy as np
    from skgrav import BayesLinearInverter, CNNInverter, Mesh, Survey
    from skgrav.datasets import make_gravity_dataset
    from skgrav.inverters import _gaussian_prior, _whitened
    from skgrav.networks import PaperCNN

    folder, architecture, augment = Path(sys.argv[1]), sys.argv[2], sys.argv[3] or None
    if architecture == "paper":
        architecture = partial(PaperCNN, filters=(8,), hidden_layer_sizes=(64,))
    _whitened._N_COMPONENT_SECTIONS = _gaussian_prior._N_SHRUNK = 1000
    mesh = Mesh.square(50)
    few = make_gravity_dataset(600, survey=Survey.line(mesh, n_stations=30), random_state=0)
    inverter = CNNInverter(
        architecture,
        operator=few.operator,
        augment=augment,
        n_components=50,
        max_epochs=1,
        batch_size=500,
        density_range=(0, 12),
        random_state=0,
    )
    inverter.fit(few.data, few.target)  # loads what is loaded once
    X, y = (np.load(folder / f"{i}.npy", mmap_mode="r") for i in range(2))
    taken = int(re.search(r"VmData:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
    cap = 120 << 20
    assert y.nbytes > 1.4 * cap
    resource.setrlimit(resource.RLIMIT_DATA, ((taken << 10) + cap,) * 2)
    try:
        np.ones(y.shape)
    except MemoryError:
        print("capped")
    print(inverter.fit(X, y).n_epochs_)
    for block in np.array_split(np.arange(len(y)), 8)[:2]:
        inverter.partial_fit(X[block[0] : block[-1]], y[block[0] : block[-1]])
    print(inverter.n_epochs_, np.isfinite(inverter.predict(few.data)).all())
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is capped as Linux does it")
@pytest.mark.parametrize(
    ("dtype", "copies", "augment"), [(np.float64, 15, "mirror"), (np.float32, 30, "")]
)
def test_set_larger_than_the_memory_is_trained_on(tmp_path, dtype, copies, augment):
    survey = Survey.line(Mesh.square(50), n_stations=30)
    data = make_gravity_dataset(600, survey=survey, random_state=1)
    on_disk(tmp_path, *(np.tile(v, (copies, 1)) for v in (data.data, data.target)), dtype=dtype)
    for architecture in ("residual", "paper"):
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(CAPPED), tmp_path, architecture, augment],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == ["capped", "1", "3", "True"]
