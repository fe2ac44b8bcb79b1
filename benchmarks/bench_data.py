"""Data: drawing pairs at once against one by one, and batches from disk against memory."""

import tempfile
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from _timing import median_seconds, report, versions
from threadpoolctl import threadpool_limits

from skgrav import CNNInverter, ForwardOperator
from skgrav.datasets import make_density_models, make_gravity_dataset
from skgrav.inverters._standardised import StandardisedEncoding
from skgrav.training import BatchIterator

N_PAIRS, N_ALONE, BATCH, N_BATCHES = 27_000, 270, 30, 300
VERSIONS = versions("skgrav", "torch", "numpy")


def drawing():
    """Compare all pairs at once with loops over them, of which a hundredth is timed."""
    rho = make_density_models(N_PAIRS, random_state=0)
    operator = ForwardOperator(units="normalized").fit(rho[:1])
    matrix = operator.matrix_
    some = rho[:: N_PAIRS // N_ALONE]

    def products():
        for section in some:
            matrix @ section

    def transforms():
        for section in some:
            operator.transform(section[None])

    def pairs():
        for seed in range(N_ALONE):
            matrix @ make_density_models(1, random_state=seed)[0]

    def calls():
        for seed in range(N_ALONE):
            make_gravity_dataset(1, random_state=seed)

    share = N_ALONE / N_PAIRS
    peers = {
        "gravity: operator.transform(rho)": (lambda: operator.transform(rho), 1.0),
        "gravity: loop of matrix @ section": (products, share),
        "gravity: loop of operator.transform(section)": (transforms, share),
        "pairs: make_gravity_dataset(27000)": (
            lambda: make_gravity_dataset(N_PAIRS, random_state=0),
            1.0,
        ),
        "pairs: loop of make_density_models(1), matrix @ section": (pairs, share),
        "pairs: loop of make_gravity_dataset(1)": (calls, share),
    }
    seconds = median_seconds({name: run for name, (run, _) in peers.items()})
    rows, first = [], {}
    for name, (_, done) in peers.items():
        whole = seconds[name] / done
        ratio = whole / first.setdefault(name.split(":")[0], whole)
        rows.append([name, f"{whole:.2f}", f"{ratio:.1f}"])
    report(
        "data_drawing",
        ["pairs", "CPU s", "times as long"],
        rows,
        f"{N_PAIRS} sections of 50 x 50 cells and 300 data, loops from {N_ALONE} of them; one "
        f"thread, medians of 5 alternating runs. {VERSIONS}",
    )


def batches():
    """Compare shuffled batches, as training on the paper's network takes them."""
    data = make_gravity_dataset(N_PAIRS, random_state=0)
    arrays, rows = {"memory": (data.data, data.target)}, []
    with tempfile.TemporaryDirectory() as folder:
        for dtype in (np.float64, np.float32):
            kept = []
            for i, array in enumerate(arrays["memory"]):
                path = Path(folder) / f"{i}_{np.dtype(dtype)}.npy"
                np.save(path, array.astype(dtype))
                kept.append(np.asarray(np.load(path, mmap_mode="r")))
            arrays[f"disk, {np.dtype(dtype)}"] = tuple(kept)
        encoding = StandardisedEncoding.learn(data.data, data.target, CNNInverter("paper"), 0)

        def reader(X, y):
            X, y = encoding.encode(X, y)
            dataset = type("Pairs", (SimpleNamespace,), {"__len__": lambda self: N_PAIRS})(X=X, y=y)

            def read():
                torch.manual_seed(0)
                for batch in islice(BatchIterator(dataset, BATCH, shuffle=True), N_BATCHES):
                    assert len(batch[1]) == BATCH

            return read

        seconds = median_seconds({name: reader(*pair) for name, pair in arrays.items()}, n_runs=9)
    for name, s in seconds.items():
        rows.append([name, f"{1e6 * s / N_BATCHES:.0f}", f"{s / seconds['memory']:.2f}"])
    report(
        "data_batches",
        ["pairs stand in", "CPU us per batch", "times as long"],
        rows,
        f"Shuffled batches of {BATCH} out of {N_PAIRS} pairs, scaled for the paper's network, the "
        f"files in the page cache; one thread, medians of 9 alternating runs. {VERSIONS}",
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    with threadpool_limits(1):
        drawing()
        batches()
