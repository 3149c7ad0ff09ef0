"""The job that every system is given: FedMNIST, from a folder that bench/peers/run.py has filled.

Drivers run in environments of their own: numpy and torch is all that this module asks for.

    FOLDER/train_inputs.npy   float32 [60000, 784], normalised     train_labels.npy  int64 [60000]
    FOLDER/test_inputs.npy    float32 [10000, 784]                 test_labels.npy   int64 [10000]
    FOLDER/partition.npz      one int64 array for each client: positions in the training set
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

CLIENTS, COHORT, STEPS, BATCH, RATE, SEED = 100, 10, 10, 64, 0.05, 0


class Job:
    """The data, and where the result goes. `rounds` are run, the first ones as warm-up."""

    def __init__(self, arguments: list[str]) -> None:
        """arguments: FOLDER ROUNDS."""
        torch.set_num_threads(1)
        self.folder, self.rounds = Path(arguments[0]), int(arguments[1])
        self.inputs = self._read("train_inputs")
        self.labels = self._read("train_labels")
        with np.load(self.folder / "partition.npz") as parts:
            self.parts = [parts[str(client)] for client in range(CLIENTS)]
        self._random = np.random.default_rng(SEED)

    @classmethod
    def from_command_line(cls) -> "Job":
        """Return the job that `python DRIVER FOLDER ROUNDS` names."""
        return cls(sys.argv[1:3])

    def batches(self, client: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the minibatches of a round: distinct samples of the client, drawn afresh for each step."""
        part = self.parts[client]
        for _ in range(STEPS):
            drawn = torch.from_numpy(self._random.choice(part, min(BATCH, part.size), replace=False))
            yield self.inputs[drawn], self.labels[drawn]

    def cohort(self) -> list[int]:
        """Draw the clients of a round."""
        return [int(client) for client in self._random.choice(CLIENTS, COHORT, replace=False)]

    def accuracy(self, model: nn.Module) -> float:
        """Return the part of the test set that a model gets right."""
        with torch.no_grad():
            found = model(self._read("test_inputs")).argmax(1)
        return float((found == self._read("test_labels")).float().mean())

    def _read(self, name: str) -> Tensor:
        return torch.from_numpy(np.load(self.folder / f"{name}.npy", mmap_mode="c"))


class RoundClock:
    """Time and bytes at the end of every round, as one process sees them.

    Bytes are what the kernel has counted on the loopback interface: all that the job's processes send to each other,
    if they use TCP and run in a network namespace of their own.
    """

    def __init__(self) -> None:
        self._ticks: list[tuple[float, int]] = []

    def tick(self) -> None:
        """Note the end of a round (and, before the first, its begin)."""
        lines = Path("/proc/self/net/dev").read_text().splitlines()
        loopback = next(line for line in lines if line.strip().startswith("lo:"))
        self._ticks.append((time.monotonic(), int(loopback.partition(":")[2].split()[8])))

    def write(self, folder: Path, accuracy: float) -> None:
        """Write what each round took to FOLDER/result.json."""
        times, counts = (
            np.array([time for time, _ in self._ticks]),
            np.array([sent for _, sent in self._ticks]),
        )
        result = {
            "seconds": np.diff(times).tolist(),
            "bytes": np.diff(counts).tolist(),
            "accuracy": accuracy,
        }
        (folder / "result.json").write_text(json.dumps(result))


def network() -> nn.Sequential:
    """Return the MLP 784-200-200-10, with the same weights in every process."""
    torch.manual_seed(SEED)
    return nn.Sequential(nn.Linear(784, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 10))


def train(model: nn.Module, job: Job, client: int) -> None:
    """Run a client's local steps on a model that holds the server's."""
    optimizer = torch.optim.SGD(model.parameters(), RATE)
    for inputs, labels in job.batches(client):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
