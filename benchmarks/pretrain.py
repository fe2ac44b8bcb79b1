"""Make the weights that CNNInverter.from_pretrained("paper") reads, and print their hash.

A U-Net on sections of all families in the paper's geometry, and their mirror images, judged on
1,000 sections of another seed. If it is killed, the same command with the same folder of
checkpoints continues.

    python benchmarks/pretrain.py --device cuda --jobs 8       # eight minutes on an NVIDIA H200
    python benchmarks/pretrain.py --sections 20000 --epochs 8 --batch-size 32   # ten, on one core
    python benchmarks/pretrain.py --calibrate      # the network of the file, which is not trained

The shipped weights are those of the first command, which took 25 epochs by `--seconds 385`.
"""

import argparse
import hashlib
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from _clock import Clock, epochs_within, fast_precision
from _timing import OUTPUT, processor, report, versions
from joblib import Parallel, delayed

import skgrav
from skgrav import CNNInverter, ForwardOperator
from skgrav.datasets import make_gravity_dataset
from skgrav.inverters._section_library import mirrored_cells
from skgrav.inverters._shuffle import Analogues, DrawnSections
from skgrav.metrics import crps, relative_l2_error

FILE = Path(skgrav.__file__).parent / "pretrained" / "paper.safetensors"

#: Batches of the epoch that is timed.
TIMED = 40

#: Sections that are drawn with one seed, and the seed of those it is judged on.
CHUNK, UNSEEN = 10_000, 1_000_000

#: Sections that calibrate the probabilities, and their seed.
N_CALIBRATING, CALIBRATING = 3000, 2_000_000

#: Sections for draws, and their seed.
N_ANALOGUES, OTHER = 20_000, 2

LEVELS = (0.0, 0.001, 0.01, 0.05)
#: Relative rounding of float32, the noise of data without other noise.
ROUNDING = 3e-8


def draw(folder, chunk, n_sections):
    """Draw a chunk of sections into the files of all."""
    data = make_gravity_dataset(CHUNK, random_state=chunk)
    for name, values in (("X", data.data), ("y", data.target)):
        shape = (n_sections, values.shape[1])
        file = np.memmap(Path(folder) / name, dtype=np.float32, mode="r+", shape=shape)
        file[chunk * CHUNK : (chunk + 1) * CHUNK] = values


def drawn(folder, n_sections, n_jobs):
    """Return gravity and density of training sections, in files."""
    sizes = {"X": 300, "y": 2500}
    for name, size in sizes.items():
        np.memmap(Path(folder) / name, dtype=np.float32, mode="w+", shape=(n_sections, size))
    chunks = range(n_sections // CHUNK)
    Parallel(n_jobs)(delayed(draw)(folder, chunk, n_sections) for chunk in chunks)
    return (
        np.memmap(Path(folder) / name, dtype=np.float32, mode="r", shape=(n_sections, size))
        for name, size in sizes.items()
    )


def judge(network):
    """Return rows of errors, CRPS and cover of intervals on unseen sections, by noise."""
    data = make_gravity_dataset(1000, random_state=UNSEEN)
    rms = np.sqrt(np.mean(data.data**2, axis=1, keepdims=True))
    noise = np.random.default_rng(1).normal(size=data.data.shape)
    p = (np.arange(99) + 0.5) / 99
    for level in LEVELS:
        X = data.data.astype(np.float32) + level * rms * noise
        told = max(level, ROUNDING)
        rho = network.predict(X, noise_level=told)
        bounds = network.predict_quantiles(X, [0.05, 0.25, 0.75, 0.95], noise_level=told)
        some = slice(200)
        draws = network.predict_quantiles(X[some], p, noise_level=told)
        inside = (data.target[..., None] >= bounds[..., :2]) & (
            data.target[..., None] <= bounds[..., :1:-1]
        )
        yield [
            f"{100 * level:g} %",
            f"{relative_l2_error(data.target, rho):.4f}",
            f"{crps(data.target[some], draws):.4f}",
            *(f"{share:.3f}" for share in inside.mean(axis=(0, 1))[::-1]),
        ]


def calibrate(file):
    """Calibrate the network of a file, whose weights are those in half precision."""
    network = CNNInverter.load(file)
    data = make_gravity_dataset(N_CALIBRATING, random_state=CALIBRATING)
    network.calibrate(data.data, data.target).save(file, dtype="float16")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    print(f"{file.name}, {file.stat().st_size / 1e6:.1f} MB, {digest}")


def train(options):
    """Train a network, save it, and say how."""
    start, begun = time.process_time(), time.perf_counter()
    clock = Clock(time.perf_counter)
    network = CNNInverter(
        "unet",
        operator=ForwardOperator(units="normalized").fit(np.zeros((1, 2500))),
        callbacks=[clock],
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        augment="mirror",
        density_range=(0.0, 12.0),
        precision=fast_precision(options.device),
        random_state=options.seed,
        device=options.device,
        n_analogues=0,
    )
    with TemporaryDirectory() as folder:
        X, y = drawn(folder, options.sections, options.jobs)
        print(f"{options.sections} sections after {time.perf_counter() - begun:.0f} s", flush=True)
        epochs = options.epochs
        if options.seconds:
            timed = TIMED * options.batch_size
            epochs = epochs_within(options.seconds, network, clock, X, y, timed)
            print(f"{epochs} epochs", flush=True)
        network.set_params(max_epochs=epochs, checkpoint=options.checkpoint).fit(X, y)
    seconds = f"{time.process_time() - start:.0f} CPU s, {time.perf_counter() - begun:.0f} s"
    options.file.parent.mkdir(exist_ok=True)
    # Sections for draws are drawn again, instead of being in the file.
    drawn_again = DrawnSections(N_ANALOGUES, OTHER, network.density_range_)
    cells = mirrored_cells(network.operator_)
    network.set_params(n_analogues=N_ANALOGUES)
    network._analogues = Analogues(network.operator_, drawn_again, cells)
    network.save(options.file, dtype="float16")
    return (
        f"{epochs} epochs of {options.sections} sections in batches of "
        f"{options.batch_size}, seed {options.seed}, {seconds} on {network.net_.device}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--sections", type=int, default=600_000)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=int, default=25)
    length.add_argument("--seconds", type=float, help="of training, which is timed before")
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--learning-rate", type=float, default=4e-3)
    parser.add_argument("--jobs", type=int, default=1, help="processes that draw sections")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint", type=Path, help="folder of the state after each epoch")
    parser.add_argument("--file", type=Path, default=FILE, help="file of the weights")
    parser.add_argument("--calibrate", action="store_true", help="the network of --file, untrained")
    options = parser.parse_args()
    footer = versions("skgrav", "numpy", "torch")
    if not options.calibrate:
        footer = f"{train(options)}; {processor()}; {footer}"
    calibrate(options.file)
    header = ["noise", "error", "CRPS of 200", "cover of 50 %", "of 90 %"]
    report("pretrain", header, list(judge(CNNInverter.load(options.file))), footer)


if __name__ == "__main__":
    OUTPUT.mkdir(parents=True, exist_ok=True)
    main()
