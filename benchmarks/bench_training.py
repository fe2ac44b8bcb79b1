"""Training: `CNNInverter.fit` against loops written by hand, and what it keeps in memory.

The paper's network and batches of 30. One loop has the same optimiser, the fused AdamW, and counts
denormal numbers as zero, so that what differs is the library around it; the other is the usual one,
Adam as torch makes it. Memory is that of a process of its own for each architecture: the peak of
what it allocates, over the libraries and the data set. The last table is the time of training on
fresh sections, drawn in turn with the training or ahead in a thread or a process.
"""

import gc
import multiprocessing
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import count
from pathlib import Path

import numpy as np
import torch
from _timing import median_seconds, report, versions
from threadpoolctl import threadpool_limits

from skgrav import CNNInverter, ForwardOperator
from skgrav.datasets import make_gravity_dataset
from skgrav.networks import PaperCNN
from skgrav.networks._training import flushed_denormals

N_TIMED, BATCH, N_HELD, N_FRESH, N_CHUNKS = 3000, 30, 27_000, 9000, 4
OPERATOR = ForwardOperator(units="normalized")
VERSIONS = versions("skgrav", "torch", "skorch", "numpy", "scikit-learn")


def loop(X, y, make_optimizer):
    """Return a function that trains the paper's network for an epoch, on scaled pairs."""
    inputs = torch.tensor((X - X.mean(axis=0)) / X.std(axis=0), dtype=torch.float32)
    targets = torch.tensor(y / 12.0, dtype=torch.float32)
    network = PaperCNN(300, 2500, 2).train()
    optimizer = make_optimizer(network.parameters())

    def epoch():
        for rows in torch.randperm(len(inputs)).split(BATCH):
            optimizer.zero_grad()
            loss = 144.0 * torch.nn.functional.mse_loss(network(inputs[rows]), targets[rows])
            loss.backward()
            optimizer.step()
            loss.item()

    return epoch


def speed():
    """Compare an epoch of each."""
    data = make_gravity_dataset(N_TIMED, random_state=0)
    X, y = data.data, data.target
    inverter = CNNInverter(
        "paper", operator=OPERATOR, batch_size=BATCH, density_range=(0, 12), random_state=0
    )
    fused = loop(X, y, lambda w: torch.optim.AdamW(w, 1e-3, weight_decay=1e-4, fused=True))
    usual = loop(X, y, lambda w: torch.optim.Adam(w, 1e-3))

    def by_hand():
        with flushed_denormals():
            fused()

    peers = {
        "fit": lambda: inverter.partial_fit(X, y),
        "loop by hand, fused AdamW": by_hand,
        "loop by hand, default Adam": usual,
    }
    seconds = median_seconds(peers, n_runs=7)
    report(
        "training",
        ["training", "CPU s", "time relative to fit"],
        [[name, f"{s:.2f}", f"{s / seconds['fit']:.2f}"] for name, s in seconds.items()],
        f"An epoch of {N_TIMED} pairs in batches of {BATCH}, the paper's network; one thread, "
        f"medians of 7 alternating runs. {VERSIONS}",
    )


def allocated():
    """Return the memory that the process has allocated, in MB, without files that are mapped."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1024


def peak_of_fit(architecture, augment):
    """Print the peak of a fit over libraries and data, and the size of the data, in MB."""
    inverter = CNNInverter(
        architecture, operator=OPERATOR, max_epochs=2, augment=augment or None, random_state=0
    )
    few = make_gravity_dataset(60, random_state=0)
    inverter.fit(few.data, few.target)  # loads what is loaded once
    data = make_gravity_dataset(N_HELD, random_state=0)
    gc.collect()
    before, peak, done = allocated(), [0.0], threading.Event()

    def watch():
        while not done.wait(0.005):
            peak[0] = max(peak[0], allocated())

    watcher = threading.Thread(target=watch)
    watcher.start()
    inverter.fit(data.data, data.target)
    done.set()
    watcher.join()
    print(peak[0] - before, (data.data.nbytes + data.target.nbytes) / 2**20)


def memory():
    """Measure the memory of each architecture, with and without mirror images."""
    rows = []
    for architecture in ("residual", "paper"):
        for augment in ("", "mirror"):
            command = [sys.executable, __file__, architecture, augment]
            printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            peak, size = map(float, printed.split())
            rows.append([architecture, augment or "none", f"{size:.0f}", f"{peak:.0f}"])
    report(
        "training_memory",
        ["architecture", "augment", "data, MB", "peak beside them, MB"],
        rows,
        f"Two epochs of {N_HELD} pairs of 300 data and 2500 cells. {VERSIONS}",
    )


def drawn(random_state):
    """Return fresh pairs."""
    data = make_gravity_dataset(N_FRESH, random_state=random_state)
    return data.data, data.target


def ahead(pool):
    """Yield pairs for each epoch, each drawn by the pool while the last is trained on."""
    coming = pool.submit(drawn, 0)
    for k in count(1):
        pair = coming.result()
        if k < N_CHUNKS:
            coming = pool.submit(drawn, k)
        yield pair
        if k == N_CHUNKS:
            return


def fresh():
    """Measure the wall time of training on fresh pairs."""
    rows = []
    spawn = multiprocessing.get_context("spawn")
    for architecture in ("residual", "paper"):
        inverter = CNNInverter(
            architecture,
            operator=OPERATOR,
            max_epochs=N_CHUNKS,
            density_range=(0, 12),
            random_state=0,
        )
        with ThreadPoolExecutor(1) as thread, ProcessPoolExecutor(1, mp_context=spawn) as process:
            process.submit(drawn, 0).result()  # loads the libraries
            ways = {
                "in turn": lambda: map(drawn, range(N_CHUNKS)),
                "ahead, in a thread": lambda pool=thread: ahead(pool),
                "ahead, in a process": lambda pool=process: ahead(pool),
            }
            seconds = {name: [] for name in ways}
            for _ in range(5):
                for name, pairs in ways.items():
                    start = time.perf_counter()
                    inverter.fit(iter(pairs()))
                    seconds[name].append(time.perf_counter() - start)
        median = {name: np.median(values) for name, values in seconds.items()}
        for name, s in median.items():
            rows.append([architecture, name, f"{s:.1f}", f"{median['in turn'] / s:.2f}"])
    report(
        "training_fresh",
        ["architecture", "pairs are drawn", "wall s", "times faster"],
        rows,
        f"{N_CHUNKS} epochs, each of {N_FRESH} fresh pairs; training on one thread, medians of 5 "
        f"alternating runs. {VERSIONS}",
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    with threadpool_limits(1):
        if len(sys.argv) > 1:
            peak_of_fit(*sys.argv[1:])
        else:
            speed()
            memory()
            fresh()
