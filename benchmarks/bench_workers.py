"""Workers and threads: a grid search of networks on two cores, by joblib's loky and by dask.

Each run has a process of its own, which starts its workers and searches once before it is timed.
It is the time of the wall, which workers are to save. The tables go into doc/how_to_cluster.md.
"""

import os
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context

import joblib
from _timing import markdown, put_into, report, versions
from joblib.externals.loky import get_reusable_executor

N_RUNS, N_JOBS = 5, 2
HEADER = ["workers", "processes x threads", "wall, s", "fastest", "slowest", "ratio"]
DRAWING = ["worker", "CPU s per 1,000 sections"]

#: Backend, number of jobs, threads of torch asked for (None is what comes by itself).
WAYS = {
    "none": ("sequential", 1, None),
    "none, one thread": ("sequential", 1, 1),
    "loky": ("loky", N_JOBS, None),
    "loky, two threads each": ("loky", N_JOBS, 2),
    "dask processes": ("dask", N_JOBS, None),
    "dask processes, two threads each": ("dask", N_JOBS, 2),
    "dask threads": ("dask threads", N_JOBS, None),
}

#: What libraries take their numbers of threads from.
VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

_state = {}


def start(backend, n_jobs, threads):
    """Start the workers of a way in this process, and return how many threads torch has there."""
    import torch

    if backend == "sequential" and threads:
        torch.set_num_threads(threads)
    context = ExitStack()
    if backend.startswith("dask"):
        from distributed import Client, LocalCluster

        cluster = LocalCluster(
            n_workers=n_jobs,
            threads_per_worker=1,
            processes=backend == "dask",
            dashboard_address=":0",
        )
        _state["client"] = context.enter_context(Client(context.enter_context(cluster)))
    inner = {"inner_max_num_threads": threads} if backend == "loky" and threads else {}
    _state["config"] = backend.split()[0], n_jobs, inner
    _state["context"] = context
    with parallel():
        return joblib.Parallel()(joblib.delayed(torch.get_num_threads)() for _ in range(1))[0]


@contextmanager
def parallel():
    """Switch joblib to the way of this process."""
    backend, n_jobs, inner = _state["config"]
    with joblib.parallel_config(backend, n_jobs=n_jobs, **inner):
        yield


def search():
    """Return the wall seconds of a grid search of four small networks."""
    from sklearn.model_selection import GridSearchCV

    from skgrav import CNNInverter, Mesh
    from skgrav.datasets import make_gravity_dataset
    from skgrav.metrics import relative_l2_scorer

    data = make_gravity_dataset(800, mesh=Mesh.square(16), random_state=0)
    inverter = CNNInverter(operator=data.operator, max_epochs=3, random_state=0)
    grid = {"learning_rate": [1e-3, 3e-4]}
    with parallel():
        begin = time.perf_counter()
        GridSearchCV(inverter, grid, scoring=relative_l2_scorer, cv=2, refit=False).fit(
            data.data, data.target
        )
        return time.perf_counter() - begin


def draw(n_runs=5):
    """Return the CPU seconds of drawing sections, the median of some runs after one warm-up."""
    from skgrav.datasets import make_density_models

    seconds = []
    for seed in range(1 + n_runs):
        begin = time.process_time()
        make_density_models(1000, random_state=seed)
        seconds.append(time.process_time() - begin)
    return statistics.median(seconds[1:])


def draw_in_worker(trim):
    """Return what `draw` takes in a dask worker, which trims memory or not."""
    import dask
    from distributed import Client, LocalCluster

    settings = {} if trim else {"distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None}
    with (
        dask.config.set(settings),
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        return client.submit(draw).result()


def stop():
    """Stop the workers of this process, which it would wait for at its end."""
    _state["context"].close()
    if _state["config"][0] == "loky":
        get_reusable_executor().shutdown(kill_workers=True)


def process(threads=None):
    """Give a process of its own; `threads` is what its environment asks for."""
    for name in [name for name in os.environ if name.endswith("_NUM_THREADS")]:
        del os.environ[name]
    if threads:  # all of them: torch follows MKL's before OpenMP's
        os.environ |= dict.fromkeys(VARIABLES, str(threads))
    executor = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    executor.submit(os.getpid).result()
    return executor


def main():
    load = os.getloadavg()[0]
    seconds, threads = {name: [] for name in WAYS}, {}
    for _ in range(N_RUNS):
        for name, (backend, n_jobs, wanted) in WAYS.items():
            # Workers of all ways at once would fill the memory.
            with process(wanted if backend == "dask" else None) as executor:
                threads[name] = executor.submit(start, backend, n_jobs, wanted).result()
                executor.submit(search).result()
                seconds[name].append(executor.submit(search).result())
                executor.submit(stop).result()
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    rows = [
        [
            name,
            f"{1 if WAYS[name][0] == 'dask threads' else WAYS[name][1]} x {threads[name]}",
            f"{medians[name]:.1f}",
            f"{min(values):.1f}",
            f"{max(values):.1f}",
            f"{medians['none'] / medians[name]:.2f}",
        ]
        for name, values in seconds.items()
    ]
    footer = (
        f"4 networks for 256 cells, 3 epochs on 400 sections each, {joblib.cpu_count()} cores, on "
        f"which others kept {load:.1f} processes busy when it began; "
        f"medians of {N_RUNS} alternating runs, ratio to no workers; "
        f"{versions('skgrav', 'torch', 'scikit-learn', 'joblib', 'distributed')}"
    )
    report("workers", HEADER, rows, footer)
    put_into("how_to_cluster.md", "table of workers", f"{markdown(HEADER, rows)}\n\n{footer}.")

    drawing = {
        "none": process(1).submit(draw).result(),
        "dask": process().submit(draw_in_worker, True).result(),
        "dask, MALLOC_TRIM_THRESHOLD_ unset": process().submit(draw_in_worker, False).result(),
    }
    rows = [[name, f"{value:.2f}"] for name, value in drawing.items()]
    footer = f"50 x 50 cells, medians of 5 runs; {versions('skgrav', 'numpy', 'distributed')}"
    report("workers_drawing", DRAWING, rows, footer)
    put_into("how_to_cluster.md", "table of drawing", f"{markdown(DRAWING, rows)}\n\n{footer}.")


if __name__ == "__main__":
    main()
