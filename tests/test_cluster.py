"""A dask cluster, here of two processes or threads, gives what one process gives."""

import os
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from threading import Thread
from unittest import mock

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_predict

from skgrav import CNNInverter, ForwardOperator, Mesh, Pipeline, Refiner
from skgrav.datasets import make_gravity_dataset
from skgrav.metrics import relative_l2_scorer
from skgrav.operators import _ways

distributed = pytest.importorskip("distributed", reason="needs dask, skgrav[dask]")

draw = partial(make_gravity_dataset, 60, mesh=Mesh.square(8), noise_level=0.01)
data = draw(random_state=0)
X, y, op = data.data, data.target, data.operator

search = GridSearchCV(
    Pipeline(
        [
            CNNInverter(operator=op, max_epochs=2, n_components=20, random_state=0),
            Refiner(operator=op, noise_level=0.01),
        ]
    ),
    {"refiner__solver": ["gmres", "projection"], "cnninverter__learning_rate": [1e-3, 1e-2]},
    scoring=relative_l2_scorer,
    cv=2,
    n_jobs=2,
)


@pytest.fixture(scope="module", params=["processes", "threads"])
def client(request):
    """Give a client of a cluster of two workers with one thread each."""
    # Starting one leaves variables of the environment behind, which come before dask's own.
    others = {key: value for key, value in os.environ.items() if "_NUM_THREADS" not in key}
    with (
        mock.patch.dict(os.environ, others, clear=True),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=request.param == "processes",
            dashboard_address=":0",
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def fitted_on_cluster(n_tries=2, seconds=300):
    """Fit the search; joblib may wait for ever for a result that workers have sent long ago."""

    def fit(found):
        try:
            with joblib.parallel_config("dask"):
                found.set_result(clone(search).set_params(n_jobs=2).fit(X, y))
        except Exception as error:  # of the test, which another thread reports
            found.set_exception(error)

    for _ in range(n_tries):
        found = Future()
        Thread(target=fit, args=[found], daemon=True).start()
        with suppress(TimeoutError):
            return found.result(seconds)
    raise TimeoutError(f"no result of {n_tries} searches within {seconds} seconds each")


@pytest.mark.slow
def test_grid_search_finds_the_same(client):
    here = search.set_params(n_jobs=1).fit(X, y)
    expected, rho = here.cv_results_["mean_test_score"], here.predict(X)
    state = torch.get_rng_state()
    there = fitted_on_cluster()
    np.testing.assert_allclose(there.cv_results_["mean_test_score"], expected, rtol=1e-5)
    np.testing.assert_allclose(there.predict(X), rho, atol=1e-4 * y.max())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.slow
def test_workers_take_one_core_each_and_build_one_matrix(client):
    def prepare():
        os.environ["BUILT"] = "0"
        built, sensitivity = [], _ways.sensitivity

        def counted(*args):
            built.append(args)
            os.environ["BUILT"] = str(len(built))
            return sensitivity(*args)

        _ways.sensitivity = counted

    import dask.array as da

    operator = ForwardOperator(Mesh.square(20)).fit()
    expected = operator.matrix_.sum(axis=1)
    if client.cluster.processes:
        assert set(client.run(torch.get_num_threads).values()) == {1}
        client.run(prepare)
    g = operator.transform(da.ones((200, 400), chunks=(5, 400)))
    np.testing.assert_allclose(g.mean(axis=0).compute(), expected, atol=1e-9)
    if client.cluster.processes:
        assert set(client.run(os.getenv, "BUILT").values()) <= {"0", "1"}


@pytest.mark.slow
def test_network_learns_from_pairs_that_workers_draw(client):
    network = CNNInverter(operator=op, max_epochs=3, random_state=0)
    seeds = [5, 6, 7]
    futures = client.map(lambda seed: draw(random_state=seed), seeds)
    there = network.fit(future.result() for future in futures).predict(X)
    here = network.fit(draw(random_state=seed) for seed in seeds).predict(X)
    np.testing.assert_array_equal(there, here)


def test_threads_of_one_process_train_one_after_the_other():
    network = CNNInverter(operator=op, max_epochs=2, random_state=0)
    expected = cross_val_predict(network, X, y, cv=4)
    state = torch.get_rng_state()
    with joblib.parallel_config("threading", n_jobs=4):
        found = cross_val_predict(network, X, y, cv=4)
    np.testing.assert_array_equal(found, expected)
    assert torch.equal(torch.get_rng_state(), state)
