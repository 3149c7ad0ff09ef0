"""Rounds per second on a GPU against the CPU, by whole jobs.

    python -m bench.device --data-dir DIR [--ranks 2 5] [--csv gpu-rounds.csv]

FedMNIST and FedCIFAR10 (FedComLoc-Com at density 0.1, 10 clients a round with 10 local steps) with every number of
ranks on every device, each `--repeats` times in turn: the median wall-clock time of the rounds after 5 of warm-up,
evaluation and checkpoints aside. On a GPU the clients of a rank are trained together, as --client-batch has it there.
Without a GPU `--device cpu` measures the CPU alone.
"""

import argparse
import os
import sys
import tempfile
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

from bench import rows
from bench.jobs import JobFailed, read_run, train
from fedcomloc_mpi.errors import UserError

WARM_UP = 5
ROW = ("dataset", "ranks", "device", "seconds", "rounds", "torch", "commit", "started", "cpu")


def main() -> int:
    """Measure every combination; print a line for each, and keep a row for each job."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.device",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data-dir", help="folder with MNIST and CIFAR-10")
    parser.add_argument("--dataset", nargs="+", default=["mnist", "cifar10"])
    parser.add_argument("--device", nargs="+", default=["cpu", "cuda"])
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 5])
    parser.add_argument("--rounds", type=int, default=30, help="timed rounds")
    parser.add_argument("--repeats", type=int, default=3, help="jobs of each kind; the median one counts")
    parser.add_argument("--csv", type=Path, help="append a line for every job to this file")
    chosen = parser.parse_args()
    kinds = list(product(chosen.dataset, chosen.ranks, chosen.device))
    jobs: dict[tuple[Any, ...], list[float]] = {kind: [] for kind in kinds}
    try:
        for _ in range(chosen.repeats):  # in turn, so that another load on the machine meets all alike
            for kind in kinds:
                row = measure(*kind, chosen.rounds, chosen.data_dir)
                jobs[kind].append(row["seconds"])
                if chosen.csv:
                    rows.append(chosen.csv, ROW, [row])
    except (JobFailed, UserError) as error:
        print(f"bench.device: {error}", file=sys.stderr)
        return 2
    print(f"{'dataset':>8} {'ranks':>5} {'device':>6} {'s/round':>8} {'rounds/s':>8}")
    for (dataset, ranks, device), seconds in jobs.items():
        usual = median(seconds)
        print(f"{dataset:>8} {ranks:>5} {device:>6} {usual:>8.4f} {1 / usual:>8.2f}")
    return 0


def measure(dataset: str, ranks: int, device: str, rounds: int, data_dir: str | None) -> dict[str, Any]:
    """Run one job; return its row."""
    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {
            "dataset": dataset,
            "device": device,
            "local_steps": "fixed",
            "rounds": WARM_UP + rounds,
            "eval_every": WARM_UP + rounds,
            "checkpoint_every": 0,
            "out": f"{folder}/run",
        }
        if data_dir is not None:
            options["data_dir"] = os.path.abspath(data_dir)
        train(options, ranks=ranks, quiet=True)
        run = read_run(Path(options["out"]))
    seconds = [
        record.seconds - record.server_seconds["evaluate"] - record.server_seconds["checkpoint"]
        for record in run.records[WARM_UP:]
    ]
    named = {"dataset": dataset, "ranks": ranks, "device": device, "rounds": rounds}
    return named | {"seconds": median(seconds), "torch": run.environment["packages"]["torch"]} | run.source()


if __name__ == "__main__":
    sys.exit(main())
