"""Train the network of the public volumes, the pretrained "huang2021", and judge it.

    python benchmarks/train_volumes.py --seconds 2400 --seed 1       # 40 CPU minutes
    python benchmarks/train_volumes.py --seconds 2400 --ablate turns  # without turned volumes
    python benchmarks/train_volumes.py --epochs 30 --checkpoint build/huang2021 --save

One network for all noise, of the 20,000 volumes of training alone. It is judged as in the table of
`public.py`. If it is killed, the same command with the same folder of checkpoints continues.
`--save` writes the weights that are shipped, and prints their hash for
`skgrav/inverters/_pretrained.py`.
"""

import argparse
import hashlib
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from _clock import Clock
from _public_volumes import BOUNDS, CLEAN_HEADER, NOISY_HEADER, WEIGHTS, Method, evaluate, row
from _timing import OUTPUT, processor, report, versions
from torch import nn

from skgrav import CNNInverter
from skgrav.datasets import fetch_huang2021
from skgrav.inverters import _image
from skgrav.networks import ImageNetwork, UNet

#: Noise of training relative to the rms of each sample: 5 % of the largest gz is up to .5 of it.
TRAINING_NOISE = (0.0, 0.4)

#: Volumes of the epoch that is timed to find how many fit into the seconds.
TIMED = 1280

OWN_CHANNELS = ImageNetwork.channels


class SquaredError(nn.Module):
    """Mean squared error of densities over the upper bound, from targets of `RelativeLoss`."""

    def forward(self, predicted, true):
        """Return the mean over samples and cells."""
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


def network(operator, **params):
    """Return the network that is trained, without its weights."""
    settings = {
        "operator": operator,
        "training_noise": TRAINING_NOISE,
        "augment": "turns",
        "density_range": BOUNDS,
        "precision": "bfloat16",
    }
    return CNNInverter("unet", **settings | params)


def n_epochs(seconds, train, **params):
    """Return how many epochs take the CPU seconds, after what comes before the first."""
    clock, start = Clock(), time.process_time()
    some = np.linspace(0, len(train.data) - 1, TIMED).astype(int)
    net = network(train.operator, max_epochs=1, callbacks=[clock], **params)
    net.fit(train.data[some], train.density(some))
    before = time.process_time() - start - clock.seconds
    each = clock.seconds * len(train.data) / TIMED
    return max(1, int((seconds - before) / each))


def main():
    options = parsed()
    params = {"random_state": options.seed}
    if options.ablate:
        further, place, name, instead = ABLATIONS[options.ablate]
        params |= further
        if place is not None:
            setattr(place, name, instead)
    train = fetch_huang2021("train")
    epochs = options.epochs or n_epochs(options.seconds, train, **params)
    clock, start, elapsed = Clock(), time.process_time(), time.perf_counter()
    net = network(
        train.operator,
        max_epochs=epochs,
        callbacks=[clock],
        checkpoint=options.checkpoint,
        **params,
    )
    net.fit(train.data[: options.volumes], train.density(slice(options.volumes)))
    seconds, elapsed = time.process_time() - start, time.perf_counter() - elapsed
    del train
    label = f"U-Net, seed {options.seed}" + (f", ablation: {options.ablate}" * bool(options.ablate))
    if options.save:
        WEIGHTS.parent.mkdir(exist_ok=True)
        net.save(WEIGHTS, dtype="float16")
        net = CNNInverter.load(WEIGHTS)
        digest = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
        print(f"{WEIGHTS.name}, {WEIGHTS.stat().st_size / 1e6:.1f} MB, {digest}")
    elif options.weights:
        net.save(options.weights)
    method = Method(None, n_volumes=tuple(options.judged), told=0.0)
    clean, noisy = row(label, evaluate(net, method.n_volumes, told=method.told), method, seconds, 0)
    footer = (
        f"{epochs} epochs of {options.volumes} volumes, {clock.seconds:.0f} CPU s, and "
        f"{seconds - clock.seconds:.0f} before and after them, {elapsed / 60:.1f} minutes on "
        f"{torch.get_num_threads()} threads; {processor()}; {versions('skgrav', 'numpy', 'torch')}"
    )
    name = f"{options.ablate or 'whole'}_{options.seed}".replace(" ", "_")
    report(f"train_volumes_{name}", CLEAN_HEADER[:-1], [clean[:-1]], footer)
    report(f"train_volumes_{name}_noise", NOISY_HEADER, [noisy], "With noise.")


def parsed():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--seconds", type=float, help="CPU seconds of training")
    length.add_argument("--epochs", type=int)
    parser.add_argument("--seed", type=int, default=0)
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
