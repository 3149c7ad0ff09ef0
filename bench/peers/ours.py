"""The job in this project, with the options of fedcomloc_mpi.train that are left after FOLDER ROUNDS.

Minibatches are drawn in the same way as in bench/peers/job.py, not the same ones. The partition is the same.
"""

import json
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from bench.peers.job import BATCH, CLIENTS, COHORT, RATE, SEED, STEPS, RoundClock
from fedcomloc_mpi import train
from fedcomloc_mpi.runtime.setup import Setup

FLAGS = (
    *("--dataset=mnist", "--model=mlp", f"--clients={CLIENTS}", f"--cohort={COHORT}", f"--seed={SEED}"),
    *("--local-steps=fixed", f"--p={1 / STEPS}", f"--batch-size={BATCH}", f"--lr={RATE}"),
)


def main() -> int:
    """Be one rank; return the job's exit code. Rank 0 watches the clock, and writes the result."""
    folder, rounds, *options = sys.argv[1:]
    run, clock, is_server = Path(folder, "run"), RoundClock(), False
    original = Setup.plan

    def plan(setup: Setup, number: int, *speeds: Any) -> Any:
        nonlocal is_server
        is_server = setup.world.rank == 0
        if is_server:
            clock.tick()
        return original(setup, number, *speeds)

    # One round more, without an end: the last one evaluates and writes the last checkpoint.
    number = int(rounds) + 1
    flags = [*FLAGS, f"--rounds={number}", f"--eval-every={number}", f"--checkpoint-every={number}"]
    with patch.object(Setup, "plan", plan):
        code = train.main([*flags, f"--out={run}", *options])
    if is_server and not code:
        with np.load(run / "partition.npz") as mine, np.load(Path(folder, "partition.npz")) as given:
            assert all(np.array_equal(mine[client], given[client]) for client in given), "another partition"
        summary = json.loads((run / "summary.json").read_text())
        clock.write(Path(folder), summary["last_accuracy"])
    return code


if __name__ == "__main__":
    sys.exit(main())
