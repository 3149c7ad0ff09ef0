"""Train a model and a data set of one's own: mpirun -n 4 python -m mpi4py examples/own_model.py

`-m mpi4py` ends the whole job when one rank fails.
"""

import numpy as np
import torch
from mpi4py import MPI

from fedcomloc_mpi import Dataset, make_config, run


def spirals(samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return points of two interleaved spirals, float32 [samples, 2], and which spiral they are on, int64."""
    random = np.random.default_rng(seed)
    labels, angle = random.integers(2, size=samples), 1 + 6 * random.random(samples)
    turned = angle + np.pi * labels
    points = angle[:, None] * np.stack([np.cos(turned), np.sin(turned)], axis=1) / 3
    return points.astype(np.float32) + 0.03 * random.standard_normal((samples, 2), dtype=np.float32), labels


dataset = Dataset("spirals", *spirals(4000, seed=0), *spirals(1000, seed=1), classes=2, input_shape=(2,))
model = torch.nn.Sequential(
    torch.nn.Linear(2, 64), torch.nn.Tanh(), torch.nn.Linear(64, 64), torch.nn.Tanh(), torch.nn.Linear(64, 2)
)
config = make_config(dataset="own", lr=0.2, density=0.5, rounds=60)
ending = run(MPI.COMM_WORLD, config, model=model, dataset=dataset)
if ending.folder is not None:  # on rank 0, where `model` now holds the final parameters, as final.pt does
    print(ending.status.value, "after", ending.rounds, "rounds:", ending.folder / "final.pt")
