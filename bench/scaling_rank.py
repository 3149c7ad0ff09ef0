"""One rank of a job of `bench.scaling`: it trains, and writes down what that took.

`mpirun -n RANKS python -m bench.scaling_rank OPTIONS`, where OPTIONS is a JSON object of the job's options, besides
`counted`, the first and the last round that count, and `width`, of the hidden layers of the network, or null for the
model of the options. Every rank leaves `rank-N.json` beside the run's folder; the figures are in MB and seconds.
"""

import json
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from mpi4py import MPI

from fedcomloc_mpi.config import make_config
from fedcomloc_mpi.runtime import job
from fedcomloc_mpi.runtime.setup import Setup


def main(options: dict[str, Any]) -> None:
    """Run the job; write the facts down."""
    width, (first, last) = options.pop("width"), options.pop("counted")
    facts = {"private": 0.0, "shared": 0.0, "cpu": 0.0}
    over = threading.Event()

    def watch() -> None:
        """Note the largest private memory."""
        while not over.wait(0.2):
            facts["private"] = max(facts["private"], memory()["private"])

    def timed(original: Any) -> Any:
        """Count CPU time of the rounds that count: each is planned when the one before is over."""

        def plan(setup: Any, number: int, *speeds: Any) -> Any:
            if number == first:
                facts["cpu"] = -time.process_time()
            if number == last + 1:
                facts["cpu"] += time.process_time()
                # Shares of shared pages add up only if all ranks look at the same time, as none has left yet.
                facts["shared"] = memory()["shared"]
            return original(setup, number, *speeds)

        return plan

    with patch.object(Setup, "plan", timed(Setup.plan)):
        thread = threading.Thread(target=watch)
        thread.start()
        try:
            job.run(
                MPI.COMM_WORLD, make_config(**options), model=None if width is None else lambda: mlp(width)
            )
        finally:
            over.set()
            thread.join()
    Path(options["out"]).with_name(f"rank-{MPI.COMM_WORLD.rank}.json").write_text(json.dumps(facts))


def mlp(width: int) -> torch.nn.Module:
    """Return the network of the package's `mlp` for MNIST, with another width of its two hidden layers."""
    sizes = (784, width, width, 10)
    layers: list[torch.nn.Module] = [torch.nn.Flatten()]
    for inputs, outputs in pairwise(sizes):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def memory() -> dict[str, float]:
    """Return this process's memory in MB: private to it, and its part of what it shares by memory files."""
    kilobytes: dict[str, int] = {}
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]:
        name, value, *_ = line.split()
        kilobytes[name.rstrip(":")] = int(value)
    private = kilobytes["Pss_Anon"] + kilobytes["Pss_File"]
    return {"private": private * 1024 / 1e6, "shared": kilobytes["Pss_Shmem"] * 1024 / 1e6}


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
