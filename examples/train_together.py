"""Train one network on several GPUs, or on several CPU processes.

``torchrun --nproc-per-node=4 examples/train_together.py network.safetensors`` starts one process
per GPU. Each draws the same pairs from the same seed, takes its share of every batch, and steps by
the mean gradient of all.
"""

import os
import sys

import torch
from torch import distributed

from skgrav import CNNInverter, Mesh
from skgrav.datasets import make_gravity_dataset
from skgrav.metrics import relative_l2_error
from skgrav.training import SharedTraining

distributed.init_process_group()
device = "cpu"
if torch.cuda.is_available():
    device = f"cuda:{os.environ['LOCAL_RANK']}"
    torch.cuda.set_device(device)

data = make_gravity_dataset(2000, mesh=Mesh.square(16), random_state=0)
inverter = CNNInverter(
    operator=data.operator,
    max_epochs=5,
    early_stopping=True,
    callbacks=[SharedTraining()],
    device=device,
    random_state=0,
).fit(data.data, data.target)

if distributed.get_rank() == 0:
    new = make_gravity_dataset(200, mesh=Mesh.square(16), noise_level=0.01, random_state=1)
    error = relative_l2_error(new.target, inverter.predict(new.data))
    print(f"{distributed.get_world_size()} processes: error {error:.4f}")
    inverter.save(sys.argv[1])
distributed.destroy_process_group()
