"""Train the network of the public volumes, the pretrained "huang2021", and judge it.

    python benchmarks/train_volumes.py --seconds 2400 --seed 1       # 40 CPU minutes
    python benchmarks/train_volumes.py --seconds 2400 --ablate turns  # without turned volumes
    python benchmarks/train_volumes.py --epochs 30 --checkpoint build/huang2021 --save
    python benchmarks/train_volumes.py --epochs 7 --own 20000        # on volumes of skgrav as well
    python benchmarks/train_volumes.py --page                        # fills doc/public_problems.md

One network for all noise, of the 20,000 volumes of training alone. It is judged as in the table of
`public.py`, and on volumes of the families of `make_density_models`. If it is killed, the same
command with the same folder of checkpoints continues.
`--save` writes the weights that are shipped, and prints their hash for
`skgrav/inverters/_pretrained.py`. `--page` makes tables of what trainings with seed 0 have written:
of ablations, and of networks that were trained on volumes of skgrav as well.
"""

import argparse
import csv
import hashlib
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from _clock import Clock, epochs_within, fast_precision
from _public_volumes import BOUNDS, CLEAN_HEADER, NOISY_HEADER, WEIGHTS, Method, evaluate, row
from _timing import OUTPUT, markdown, processor, put_into, report, versions
from joblib import Parallel, delayed
from torch import nn

from skgrav import CNNInverter
from skgrav.datasets import fetch_huang2021, make_density_models
from skgrav.inverters import _image
from skgrav.inverters._shuffle import Analogues, DrawnSections
from skgrav.metrics import relative_l2_error
from skgrav.networks import ImageNetwork, UNet

#: Noise of training relative to the rms of each sample: 5 % of the largest gz is up to .5 of it.
TRAINING_NOISE = (0.0, 0.4)

#: Volumes of the epoch that is timed to find how many fit into the seconds.
TIMED = 2560

#: Seeds of volumes of skgrav to train on and to judge on, and the number of these.
OWN_TRAINING, OWN_UNSEEN, N_OWN = 1, 1_000_000, 400

#: Volumes for draws, and their seed.
N_ANALOGUES, OTHER = 2000, 2

OWN_CHANNELS = ImageNetwork.channels


class SquaredError(nn.Module):
    """Mean squared error of densities over the upper bound, from targets of `RelativeLoss`."""

    def forward(self, predicted, true):
        """Return the mean over samples and cells."""
        if isinstance(predicted, tuple):
            predicted = predicted[0]
        return ((predicted - true[:, :-2]) / BOUNDS[1]).square().mean()


def without_noise_input(network, x):
    """Return channels as if the noise of all samples were 1 % of their rms."""
    rms = x[:, :-1].square().mean(dim=1, keepdim=True).sqrt()
    return OWN_CHANNELS(network, torch.cat([x[:, :-1], torch.log10(0.01 * rms)], dim=1))


def without_layers(*args):
    """Return linear images without those of density: maps of gz alone."""
    frame = OWN_FRAME(*args)
    frame.gain[:, :-1] = 0.0
    return frame


OWN_FRAME = _image.image_frame


def without_share(*args, **params):
    """Return a U-Net that replaces the linear estimate, of which no share is added."""
    network = UNet(*args, **params)
    nn.init.zeros_(network.share).requires_grad_(False)
    return network


#: Parameters of an ablation, what it replaces and by what.
ABLATIONS = {
    "linear images": ({}, _image, "image_frame", without_layers),
    "dampings": ({}, _image, "LEVELS", _image.LEVELS[:1]),
    "share of the linear estimate": ({}, _image, "UNet", without_share),
    "noise input": ({}, ImageNetwork, "channels", without_noise_input),
    "loss": ({}, _image.ImageEncoding, "criterion", SquaredError),
    "turns": ({"augment": None}, None, None, None),
    "half size": ({}, _image, "UNet", partial(UNet, widths=(56, 88, 128))),
    "double size": ({}, _image, "UNet", partial(UNet, widths=(160, 248, 360))),
    "Muon": (
        {"learning_rate": 2e-3},
        _image.ImageEncoding,
        "optimizer",
        _image.ImageEncoding.optimizer | {"optimizer": torch.optim.AdamW},
    ),
}

#: What the page calls them.
LABELS = {
    "linear images": "linear images of density, with maps of gz alone",
    "dampings": "two of three dampings",
    "share of the linear estimate": "the linear estimate that the output is added to",
    "noise input": "noise input, as if noise were 1 % of the rms",
    "loss": "relative L2 loss, with mean squares instead",
    "turns": "flips and quarter turns",
    "half size": "half of the width, with 0.30 times the weights",
    "double size": "its width, with 1.4 times that, 1.9 times the weights",
    "Muon": "Muon, with AdamW instead",
}


def network(operator, **params):
    """Return the network that is trained, without its weights."""
    settings = {
        "operator": operator,
        "training_noise": TRAINING_NOISE,
        "augment": "turns",
        "density_range": BOUNDS,
        "n_analogues": 0,
    }
    return CNNInverter("unet", **settings | params)


def own_volumes(n_volumes, seed, operator, n_jobs=1):
    """Return volumes of the families of skgrav on the mesh of an operator, and their families."""
    sizes = [len(part) for part in np.array_split(np.arange(n_volumes), max(1, n_volumes // 500))]
    make = delayed(make_density_models)
    settings = {"mesh": operator.mesh_, "density_range": BOUNDS, "return_family": True}
    parts = Parallel(n_jobs)(
        make(size, random_state=seed + i, **settings) for i, size in enumerate(sizes)
    )
    volumes, families = zip(*parts, strict=True)
    return np.concatenate(volumes, dtype=np.float32), np.concatenate(families)


def judge_own(network, operator):
    """Return rows of the mean error on unseen volumes of each family of skgrav."""
    volumes, families = own_volumes(N_OWN, OWN_UNSEEN, operator)
    rho = network.predict(operator.transform(volumes), noise_level=1e-6)
    errors = relative_l2_error(volumes, rho, multioutput="raw_values")
    return [[name, f"{errors[families == name].mean():.3f}"] for name in np.unique(families)]


def written(name):
    """Return the figures that a training wrote, by column, and its errors on volumes of skgrav."""
    found = {}
    for part in ("", "_noise", "_own"):
        with (OUTPUT / f"train_volumes_{name}{part}.csv").open() as file:
            header, *rows, footer = csv.reader(file)
        if part == "_own":
            found["own"] = [float(error) for _, error in rows]
        else:
            found |= {
                f"{column}{part}": value for column, value in zip(header, rows[0], strict=True)
            }
            found.setdefault("footer", footer[0])
    return found


def fill_page():
    """Make tables of ablations, and of trainings on both kinds of volumes."""
    columns = ("validation", "mean of I-VI", "validation_noise")
    header = ["without", "validation", "mean of I-VI", "validation, noise", "fit, CPU s"]
    rows = []
    for name in (None, *ABLATIONS):
        if (OUTPUT / f"train_volumes_{run_name(name)}.csv").exists():
            found = written(run_name(name))
            figures = [found[column] for column in (*columns, "fit, CPU s")]
            rows.append([LABELS[name] if name else "nothing", *figures])
    length, _, made_by = found["footer"].partition(", ")
    content = f"{markdown(header, rows)}\n\nSeed 0, {length}; {made_by.partition('; ')[2]}."
    put_into("public_problems.md", "ablations of the U-Net", content)
    header = ["trained on", *header[1:-1], "ten families of skgrav, mean", "least and largest"]
    rows = []
    for path in sorted(OUTPUT.glob("train_volumes_whole_*_0_own.csv")):
        found = written(path.stem.removeprefix("train_volumes_").removesuffix("_own"))
        n_own = int(path.stem.split("_")[3])
        own = found["own"]
        epochs = found["footer"].split(",")[0].replace(" volumes", " public volumes")
        rows.append(
            [
                f"{epochs}" + f", and {n_own} of skgrav" * bool(n_own),
                *(found[column] for column in columns),
                f"{np.mean(own):.3f}",
                f"{min(own):.3f}, {max(own):.3f}",
            ]
        )
    put_into("public_problems.md", "trained on both", markdown(header, rows))


def run_name(ablation, own=0, seed=0):
    """Return the part of file names that stands for a training."""
    return f"{ablation or 'whole'}_{own}_{seed}".replace(" ", "_")


def main():
    options = parsed()
    if options.page:
        fill_page()
        return
    params = {
        "random_state": options.seed,
        "batch_size": options.batch_size,
        "device": options.device,
        "precision": fast_precision(options.device),
    }
    if options.ablate:
        further, place, name, instead = ABLATIONS[options.ablate]
        params |= further
        if place is not None:
            setattr(place, name, instead)
    train = fetch_huang2021("train")
    # Seconds are CPU seconds, but on a GPU those of the wall clock.
    clock = Clock(time.process_time if options.device in ("auto", "cpu") else time.perf_counter)
    net = network(train.operator, callbacks=[clock], **params)
    X, y = train.data[: options.volumes], train.density(slice(options.volumes))
    if options.own:
        own, _ = own_volumes(options.own, OWN_TRAINING, train.operator, options.jobs)
        X = np.concatenate([X, train.operator.transform(own)])
        y = np.concatenate([y, own.astype(y.dtype)])
    epochs = options.epochs or epochs_within(options.seconds, net, clock, X, y, TIMED)
    start, elapsed = time.process_time(), time.perf_counter()
    clock.begun, clock.ended = [], []
    net.set_params(max_epochs=epochs, checkpoint=options.checkpoint).fit(X, y)
    del X, y
    seconds, elapsed = time.process_time() - start, time.perf_counter() - elapsed
    operator = train.operator
    del train
    label = f"U-Net, seed {options.seed}" + (f", ablation: {options.ablate}" * bool(options.ablate))
    label += f", and {options.own} volumes of skgrav" * bool(options.own)
    if options.save:
        WEIGHTS.parent.mkdir(exist_ok=True)
        # Volumes for draws are drawn again, instead of being in the file.
        drawn_again = DrawnSections(N_ANALOGUES, OTHER, BOUNDS, ["random_walks"])
        net.set_params(n_analogues=N_ANALOGUES)
        net._analogues = Analogues(net.operator_, drawn_again)
        net.save(WEIGHTS, dtype="float16")
        net = CNNInverter.load(WEIGHTS)
        digest = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
        print(f"{WEIGHTS.name}, {WEIGHTS.stat().st_size / 1e6:.1f} MB, {digest}")
    elif options.weights:
        net.save(options.weights, dtype="float16")
    method = Method(None, n_volumes=tuple(options.judged), told=0.0)
    clean, noisy = row(label, evaluate(net, method.n_volumes, told=method.told), method, seconds, 0)
    footer = (
        f"{epochs} epochs of {options.volumes} volumes, {clock.seconds:.0f} CPU s, and "
        f"{seconds - clock.seconds:.0f} before and after them, {elapsed / 60:.1f} minutes on "
        f"{torch.get_num_threads()} threads; {processor()}; {versions('skgrav', 'numpy', 'torch')}"
    )
    name = run_name(options.ablate, options.own, options.seed)
    report(f"train_volumes_{name}", CLEAN_HEADER[:-1], [clean[:-1]], footer)
    report(f"train_volumes_{name}_noise", NOISY_HEADER, [noisy], "With noise.")
    report(f"train_volumes_{name}_own", ["family of skgrav", "error"], judge_own(net, operator), "")


def parsed():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--seconds", type=float, help="CPU seconds of training")
    length.add_argument("--epochs", type=int)
    length.add_argument("--page", action="store_true", help="fill the page of the docs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--own", type=int, default=0, help="volumes of skgrav to train on as well")
    parser.add_argument("--jobs", type=int, default=1, help="processes that draw them")
    parser.add_argument("--checkpoint", type=Path, help="folder of the state after each epoch")
    parser.add_argument("--ablate", choices=ABLATIONS, help="what is left out or replaced")
    parser.add_argument("--volumes", type=int, default=20_000, help="of training")
    parser.add_argument(
        "--judged",
        type=int,
        nargs=2,
        default=(2000, 100),
        metavar=("VALIDATION", "FAMILY"),
        help="volumes on which it is judged",
    )
    parser.add_argument("--save", action="store_true", help="write the weights that are shipped")
    parser.add_argument("--weights", type=Path, help="file for the weights otherwise")
    return parser.parse_args()


if __name__ == "__main__":
    OUTPUT.mkdir(parents=True, exist_ok=True)
    main()
