"""Make the weights that CNNInverter.from_pretrained reads, and print their hash.

Draws every section anew: 60 chunks of 20,000 of all families in the paper's geometry, and their
mirror images.

    python benchmarks/pretrain.py          # some 15 minutes on one core made for bfloat16
"""

import argparse
import hashlib
import time
from functools import partial
from pathlib import Path

from skgrav import CNNInverter
from skgrav.datasets import make_gravity_dataset

FILE = Path(__file__).parents[1] / "skgrav" / "pretrained" / "paper.safetensors"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--epochs", type=int, default=60)
    options = parser.parse_args()
    start = time.process_time()
    network = CNNInverter(
        max_epochs=options.epochs,
        augment="mirror",
        density_range=(0.0, 12.0),
        precision="bfloat16",
        random_state=0,
        verbose=True,
    )
    network.fit(partial(make_gravity_dataset, 20_000))
    FILE.parent.mkdir(exist_ok=True)
    network.save(FILE, dtype="float16")
    print(f"{time.process_time() - start:.0f} CPU seconds, loss {network.loss_curve_[-1]:.4f}")
    print(f"{FILE.name} {hashlib.sha256(FILE.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
