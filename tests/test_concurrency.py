"""The same numbers in threads, processes and any number of threads, and nothing global changed."""

import multiprocessing as mp
import os
import pickle
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from threading import Barrier

import joblib
import numpy as np
import pytest
import torch
from conftest import ROOT
from public_calls import CODES, ESTIMATORS, FEW_X, FEW_Y, GENERATORS, MESH, SURVEY, X, Y, fitted
from sklearn.base import clone
from sklearn.neighbors import KNeighborsRegressor
from threadpoolctl import threadpool_limits

from skgrav import ForwardOperator, LatentInverter, Refiner
from skgrav.solvers._gauss_newton import one_forward_derivative
from skgrav.training import flushed_denormals, seeded

#: Largest difference between thread counts, relative to the largest density: sums in another
#: order, which training in single precision magnifies.
THREADS, TRAINED = 1e-10, 1e-3

N_THREADS = 8

NAMES = [*ESTIMATORS, *GENERATORS, "LatentInverter VAE"]


def estimate(name):
    """Give what a fitted estimator makes of the same data."""
    if name in GENERATORS:
        return np.concatenate([fitted(name).sample(50, random_state=0), decoded(name)])
    if name == "LatentInverter VAE":
        return latent().predict(FEW_X)
    return fitted(name).predict(X)


def decoded(name):
    generator = fitted(name)
    return generator.inverse_transform(generator.nearest_code(Y[:7], z0=CODES))


def latent(_made=[]):  # noqa: B006 - one for all tests
    if not _made:
        inverter = LatentInverter(GENERATORS["VAEGenerator"], noise_level=0.01, random_state=0)
        _made.append(inverter.set_params(operator=ESTIMATORS["Refiner"].operator).fit(X, Y))
    return _made[0]


def at_once(function, n_threads=N_THREADS):
    """Call a function from several threads at the same moment."""
    start = Barrier(n_threads)

    def run(i):
        start.wait(60)
        return function(i)

    with ThreadPoolExecutor(n_threads) as pool:
        return list(pool.map(run, range(n_threads)))


def assert_near(found, expected, tolerance):
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.fixture(autouse=True)
def _ready():
    """Import what estimators import when they are first used; it is not what is tested."""
    import skgrav.networks  # noqa: F401


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", NAMES)
def test_fitted_estimators_predict_the_same_from_eight_threads(name):
    expected = estimate(name)
    for found in at_once(lambda i: estimate(name)):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("method", ["dense", "fft", "rows"])
def test_operators_are_applied_the_same_from_eight_threads(method):
    operator = ForwardOperator(MESH, SURVEY, method=method).fit()
    expected = operator.transform(Y), operator.adjoint(X)
    for found in at_once(lambda i: (operator.transform(Y), operator.adjoint(X))):
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("method", ["dense", "fft", "rows"])
@pytest.mark.parametrize("attribute", ["matrix_", "svd_", "column_norms_"])
def test_what_is_computed_when_asked_for_is_the_same_whoever_asks_first(method, attribute):
    expected = getattr(ForwardOperator(MESH, SURVEY, method=method).fit(), attribute)
    operator = pickle.loads(pickle.dumps(ForwardOperator(MESH, SURVEY, method=method).fit()))
    for found in at_once(lambda i: getattr(operator, attribute)):
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", ["BayesLinearInverter", "CNNInverter", "Refiner"])
def test_clones_fitted_in_eight_threads_are_those_fitted_alone(name):
    expected = fitted(name).predict(FEW_X)
    for found in at_once(lambda i: clone(ESTIMATORS[name]).fit(X, Y).predict(FEW_X)):
        np.testing.assert_array_equal(found, expected)


def in_child(pipe, name):
    warnings.simplefilter("ignore")
    n_threads = torch.get_num_threads()
    pipe.send(estimate(name))
    pipe.send((n_threads, torch.get_num_threads()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("name", NAMES)
def test_forked_processes_predict_the_same(name):
    expected = estimate(name)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        # OpenMP's threads are there and will be missing in the child.
        torch.randn(500, 500) @ torch.randn(500, 500)
        reader, writer = mp.Pipe(duplex=False)
        child = mp.get_context("fork").Process(target=in_child, args=(writer, name))
        child.start()
        try:
            assert reader.poll(60), "the forked process hangs"
            assert_near(reader.recv(), expected, 1e-6 if "CNN" in name else THREADS)
            assert reader.recv() == (2, 2)  # it computed in one thread, and changed nothing
        finally:
            child.kill()
            child.join()
    finally:
        torch.set_num_threads(threads)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_process_forked_while_another_thread_trains_does_not_wait_for_it():
    expected = clone(ESTIMATORS["CNNInverter"]).fit(X, Y).predict(FEW_X)

    def fit_in_child(pipe):
        pipe.send(clone(ESTIMATORS["CNNInverter"]).fit(X, Y).predict(FEW_X))

    inside, done = Barrier(2), Barrier(2)

    def train():
        with seeded(0, "cpu"), one_forward_derivative():
            inside.wait(60)
            done.wait(120)

    with ThreadPoolExecutor(1) as pool:
        training = pool.submit(train)
        inside.wait(60)
        reader, writer = mp.Pipe(duplex=False)
        child = mp.get_context("fork").Process(target=fit_in_child, args=(writer,))
        child.start()
        try:
            assert reader.poll(60), "the forked process hangs"
            np.testing.assert_array_equal(reader.recv(), expected)
        finally:
            child.kill()
            child.join()
            done.wait(60)
        training.result(60)


def test_importing_sets_no_hook_for_the_process():
    code = """if True:
        import os, torch, skorch, sklearn.decomposition, sklearn.callback
        hooks = []
        os.register_at_fork = lambda **functions: hooks.append(functions)
        import skgrav.networks, skgrav.training, skgrav.generators, skgrav.solvers
        from skgrav import CNNInverter, LatentInverter
        assert not hooks, hooks
    """
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


SPAWNED = """
import pickle, sys, warnings
warnings.simplefilter("ignore")
estimators, X = pickle.load(sys.stdin.buffer)
found = [
    e.predict(X) if hasattr(e, "predict") else e.sample(50, random_state=0) for e in estimators
]
sys.stdout.buffer.write(pickle.dumps(found))
"""


def test_new_processes_predict_the_same_with_another_number_of_threads():
    names = [name for name in NAMES if name != "LatentInverter VAE"]
    estimators = [fitted(name) for name in names]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = [
            e.predict(X) if hasattr(e, "predict") else e.sample(50, random_state=0)
            for e in estimators
        ]
    variables = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = os.environ | dict.fromkeys(variables, "2") | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", SPAWNED],
        input=pickle.dumps((estimators, X)),
        capture_output=True,
        env=environment,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    for name, one, other in zip(names, pickle.loads(done.stdout), expected, strict=True):
        network = "CNN" in name or name in GENERATORS
        assert_near(one, other, 1e-5 if network else THREADS)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", NAMES[:-1])
def test_fits_with_one_and_two_threads_agree(name):
    def fit(n_threads):
        before = torch.get_num_threads()
        torch.set_num_threads(n_threads)
        try:
            with threadpool_limits(n_threads):
                if name in GENERATORS:
                    return clone(GENERATORS[name]).fit(Y).inverse_transform(CODES)
                return clone(ESTIMATORS[name]).fit(X, Y).predict(X)
        finally:
            torch.set_num_threads(before)

    network = "CNN" in name or name in GENERATORS
    # What converges to a tolerance keeps to it, not to the last digit.
    assert_near(fit(2), fit(1), TRAINED if network else 1e-6)


@pytest.mark.parametrize("method", ["dense", "fft", "rows"])
def test_products_do_not_depend_on_the_number_of_jobs(method):
    operator = ForwardOperator(MESH, SURVEY, method=method).fit()
    found = []
    for n_jobs in (1, 2):
        with joblib.parallel_config("threading", n_jobs=n_jobs), threadpool_limits(n_jobs):
            found.append((operator.transform(Y), operator.adjoint(X)))
    for one, other in zip(*found, strict=True):
        assert_near(one, other, 1e-12)


def global_state():
    """Give all that a library could change behind its user's back."""
    return {
        "numpy": pickle.dumps(np.random.get_state()),  # noqa: NPY002
        "numpy errors": np.geterr(),
        "numpy printing": str(np.get_printoptions()),
        "torch": torch.get_rng_state().numpy().tobytes(),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
        "matmul": torch.get_float32_matmul_precision(),
        "denormals": denormals_are_flushed(),
        "warnings": list(warnings.filters),
        "environment": dict(os.environ),
    }


def denormals_are_flushed():
    return bool(torch.tensor(1e-40).mul(1.0) == 0)


def use(name):
    """Fit an estimator, and call what it can do."""
    if name in GENERATORS:
        generator = clone(GENERATORS[name]).fit(Y)
        generator.sample(3, random_state=1)
        return generator.nearest_code(generator.inverse_transform(CODES))
    if name == "LatentInverter VAE":
        return clone(latent()).set_params(solver="adam", max_iter=5).fit(X, Y).predict(FEW_X)
    inverter = clone(ESTIMATORS[name]).fit(X, Y)
    if hasattr(inverter, "sample_y") and getattr(inverter, "_has_std", True):
        inverter.sample_y(FEW_X, 2)
    return inverter.transform(FEW_X)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("name", "flushed"), list(product(NAMES, [False, True])))
def test_nothing_global_changes(name, flushed):
    latent()
    torch.set_flush_denormal(flushed)
    try:
        before = global_state()
        use(name)
        assert {k: v for k, v in global_state().items() if v != before[k]} == {}
    finally:
        torch.set_flush_denormal(False)


@pytest.mark.parametrize("method", ["dense", "fft", "rows"])
def test_operators_change_nothing_global(method):
    before = global_state()
    operator = ForwardOperator(MESH, SURVEY, method=method).fit()
    operator.inverse_transform(operator.transform(FEW_Y))
    operator.truncated_svd(3)
    assert {k: v for k, v in global_state().items() if v != before[k]} == {}


def test_a_fit_that_fails_changes_nothing_global():
    before = global_state()
    inverter = clone(ESTIMATORS["CNNInverter callable"]).set_params(learning_rate=1e30)
    with pytest.raises(FloatingPointError):
        inverter.set_params(max_epochs=30).fit(X, Y)
    assert {k: v for k, v in global_state().items() if v != before[k]} == {}


def test_denormals_of_other_threads_stay_as_they_are():
    entered, done = Barrier(2), Barrier(2)

    def elsewhere(i):
        if i:
            entered.wait(60)
            flushed = denormals_are_flushed()
            done.wait(60)
            return flushed
        with flushed_denormals():
            entered.wait(60)
            assert denormals_are_flushed()
            done.wait(60)
        return denormals_are_flushed()

    assert at_once(elsewhere, 2) == [False, False]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_fits_at_once_leave_warnings_and_denormals_as_they_were():
    before = global_state()
    at_once(lambda i: clone(ESTIMATORS["CNNInverter"]).fit(X, Y))
    assert {k: v for k, v in global_state().items() if v != before[k]} == {}


def test_refiner_in_parallel_folds_is_the_one_of_serial_folds():
    refiner = Refiner("bayes", init=KNeighborsRegressor(n_jobs=2), noise_level=0.01, random_state=0)
    refiner.set_params(operator=ESTIMATORS["Refiner"].operator)
    alone = clone(refiner).set_params(init__n_jobs=1).fit(X, Y).predict(FEW_X)
    np.testing.assert_allclose(refiner.fit(X, Y).predict(FEW_X), alone, rtol=1e-9)
