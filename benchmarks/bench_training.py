"""Training: `CNNInverter.fit` against loops written by hand, and what it keeps in memory.

The paper's network and batches of 30. One loop has the same optimiser, the fused AdamW, and counts
denormal numbers as zero, so that what differs is the library around it; the other is the usual one,
Adam with the same decay as torch makes it. For the U-Net on volumes the loop also encodes the data
by the library, whose network, loss and optimiser it takes. Memory is that of a process of its own
for each architecture: the peak of what it allocates, over the imported libraries and the data set.
"""

import math
import subprocess
import sys
import tempfile
import threading
from itertools import product
from pathlib import Path

import numpy as np
import torch
from _clock import fast_precision
from _timing import median_seconds, report, versions
from threadpoolctl import threadpool_limits
from train_volumes import TRAINING_NOISE, network

from skgrav import CNNInverter, ForwardOperator
from skgrav.datasets import fetch_huang2021, make_gravity_dataset
from skgrav.inverters._image import ImageEncoding, NoisyData
from skgrav.networks import PaperCNN, RelativeLoss
from skgrav.training import Muon, flushed_denormals

N_TIMED, N_EPOCHS, BATCH, N_HELD = 1500, 4, 30, 27_000
N_VOLUMES, VOLUME_EPOCHS, VOLUME_BATCH = 1280, 2, 32
OPERATOR = ForwardOperator(units="normalized")
VERSIONS = versions("skgrav", "torch", "skorch", "numpy", "scikit-learn")


def loop(X, y, make_optimizer):
    """Train the paper's network, from scratch."""
    inputs = torch.tensor((X - X.mean(axis=0)) / X.std(axis=0), dtype=torch.float32)
    targets = torch.tensor(y / 12.0, dtype=torch.float32)
    network = PaperCNN(300, 2500, 2).train()
    optimizer = make_optimizer(network.parameters())
    for _ in range(N_EPOCHS):
        for rows in torch.randperm(len(inputs)).split(BATCH):
            optimizer.zero_grad()
            loss = 144.0 * torch.nn.functional.mse_loss(network(inputs[rows]), targets[rows])
            loss.backward()
            optimizer.step()
            loss.item()


def speed():
    """Compare trainings from scratch."""
    data = make_gravity_dataset(N_TIMED, random_state=0)
    X, y = data.data, data.target
    inverter = CNNInverter(
        "paper", operator=OPERATOR, batch_size=BATCH, max_epochs=N_EPOCHS, random_state=0
    )

    def by_hand():
        with flushed_denormals():
            loop(X, y, lambda w: torch.optim.AdamW(w, 1e-3, weight_decay=1e-4, fused=True))

    def usual():
        loop(X, y, lambda w: torch.optim.Adam(w, 1e-3, weight_decay=1e-4))

    peers = {
        "fit": lambda: inverter.fit(X, y),
        "loop by hand, fused AdamW": by_hand,
        "loop by hand, default Adam": usual,
    }
    of = f"{N_EPOCHS} epochs of {N_TIMED} pairs in batches of {BATCH}, the paper's network"
    compare("training", peers, 7, of)


def compare(name, peers, n_runs, of):
    """Report the time of each peer, alone and relative to `fit`."""
    seconds = median_seconds(peers, n_runs=n_runs)
    report(
        name,
        ["training", "CPU s", "time relative to fit"],
        [[peer, f"{s:.2f}", f"{s / seconds['fit']:.3f}"] for peer, s in seconds.items()],
        f"{of}; one thread, medians of {n_runs} alternating runs. {VERSIONS}",
    )


def volume_loop(inverter, X, y):
    """Train the U-Net on volumes, from scratch."""
    encoding = ImageEncoding.learn(X, y, inverter, 0)
    inputs, targets = encoding.encode(X, y)
    inputs, noisy = torch.tensor(inputs), NoisyData(TRAINING_NOISE)
    module, criterion = encoding.network("unet", y.shape[1])().train(), RelativeLoss()
    optimizer = Muon(module.parameters(), lr=4e-3, weight_decay=1e-2)
    n_steps, step = VOLUME_EPOCHS * math.ceil(len(X) / VOLUME_BATCH), 0
    for _ in range(VOLUME_EPOCHS):
        for rows in torch.randperm(len(inputs)).split(VOLUME_BATCH):
            done = step / n_steps
            share = min(1.0, (done + 0.01) / 0.05) * (1.0 + math.cos(math.pi * done)) / 2.0
            optimizer.param_groups[0]["lr"] = 4e-3 * max(share, 1e-3)
            x, true = noisy(inputs[rows], torch.tensor(targets[rows.numpy()]))
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=inverter.precision == "bfloat16"):
                rho, mixtures = module(x)
            loss = criterion((rho.float(), mixtures.float()), true)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()
            module.body.update()
            loss.item()
            step += 1


def volumes():
    """Compare trainings of the U-Net on the public volumes."""
    train = fetch_huang2021("train")
    X, y = train.data[:N_VOLUMES], train.density(slice(N_VOLUMES))
    params = {"precision": fast_precision(), "max_epochs": VOLUME_EPOCHS, "random_state": 0}
    inverter = network(train.operator, **params)

    def by_hand():
        with flushed_denormals():
            volume_loop(inverter, X, y)

    peers = {"fit": lambda: inverter.fit(X, y), "loop by hand": by_hand}
    of = f"{VOLUME_EPOCHS} epochs of {N_VOLUMES} volumes in batches of {VOLUME_BATCH}, the U-Net in"
    compare("training_volumes", peers, 5, f"{of} {inverter.precision}")


def allocated():
    """Return the memory that the process has allocated, in MB, without files that are mapped."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1024


def peak_of_fit(folder, architecture, augment):
    """Print the peak of a fit over libraries and data, and the size of the data, in MB."""
    X, y = (np.load(Path(folder) / f"{name}.npy") for name in ("data", "target"))
    inverter = CNNInverter(
        architecture, operator=OPERATOR, max_epochs=2, augment=augment or None, random_state=0
    )
    before, peak, done = allocated(), [0.0], threading.Event()

    def watch():
        while not done.wait(0.005):
            peak[0] = max(peak[0], allocated())

    watcher = threading.Thread(target=watch)
    watcher.start()
    inverter.fit(X, y)
    done.set()
    watcher.join()
    print(peak[0] - before, (X.nbytes + y.nbytes) / 2**20)


def memory():
    """Measure the memory of each architecture, with and without mirror images."""
    data, rows = make_gravity_dataset(N_HELD, random_state=0), []
    with tempfile.TemporaryDirectory() as folder:
        for name in ("data", "target"):
            np.save(Path(folder) / f"{name}.npy", data.pop(name))
        for architecture, augment in product(("residual", "paper"), ("", "mirror")):
            command = [sys.executable, __file__, folder, architecture, augment]
            printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            peak, size = map(float, printed.split())
            rows.append([architecture, augment or "none", f"{size:.0f}", f"{peak:.0f}"])
    report(
        "training_memory",
        ["architecture", "augment", "data, MB", "peak beside them, MB"],
        rows,
        f"Two epochs of {N_HELD} pairs of 300 data and 2500 cells; {VERSIONS}",
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    with threadpool_limits(1):
        if len(sys.argv) > 1:
            peak_of_fit(*sys.argv[1:])
        else:
            speed()
            volumes()
            memory()
