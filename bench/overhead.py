"""What the runtime costs beside the training itself, in CPU time of all ranks.

    python bench/overhead.py --data-dir DIR

starts FedMNIST jobs (fixed 10 local steps, 5 rounds of warm-up, then 50 that count) with 3 and 11 ranks, density 1 and
0.1, by both exchanges, and prints for each the CPU time of all ranks, without start-up and evaluation, over the CPU
time inside the clients' steps (minibatch gradients and model updates); then what the excess consists of, in the same
unit:

    select   choosing and gathering what is kept         sum    averaging, and the server's new model
    codec    encoding and decoding, adding to the sum    MPI    exchanging messages, and waiting for them
    update   of the control variates                     other  everything else in the round loop

CPU time is that of each process (CLOCK_PROCESS_CPUTIME_ID), so foreign load disturbs it far less than wall-clock time.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

WARM_UP, COUNTED = 5, 50
GROUP_OF = {
    "compute": "steps",
    "select": "select",
    "encode": "codec",
    "decode": "codec",
    "update": "update",
    "aggregate": "sum",
    "wait": "MPI",
    "receive": "MPI",
    "broadcast": "MPI",
    "checkpoint": "other",
    "other": "other",
}
COLUMNS = ("select", "codec", "update", "sum", "MPI", "other")


def main() -> None:
    """Measure every combination of ranks and densities; print a row for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", required=True, help="folder with MNIST")
    parser.add_argument("--ranks", type=int, nargs="+", default=[3, 11])
    parser.add_argument("--density", type=float, nargs="+", default=[1.0, 0.1])
    parser.add_argument("--exchange", nargs="+", default=["collectives", "p2p"])
    parser.add_argument(
        "--repeats", type=int, default=3, help="jobs per row; the row with the median total counts"
    )
    parser.add_argument(
        "--options", nargs="*", default=[], metavar="NAME=VALUE", help="further options of the job"
    )
    parser.add_argument("--csv", help="append a line for every job to this file")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(json.loads(arguments.worker))
        return
    print(
        f"{'ranks':>5} {'density':>7} {'exchange':>11} {'total':>6} "
        + " ".join(f"{name:>6}" for name in COLUMNS)
        + "  step CPU s"
    )
    given: dict[str, Any] = dict(option.split("=", 1) for option in arguments.options)
    given["data_dir"] = os.path.abspath(arguments.data_dir)
    for ranks, density, exchange in product(arguments.ranks, arguments.density, arguments.exchange):
        options = given | {"density": density, "exchange": exchange}
        jobs = sorted(
            (measure(ranks, options) for _ in range(arguments.repeats)), key=lambda job: job["total"]
        )
        for job in jobs:
            if arguments.csv:
                record(Path(arguments.csv), ranks, options, job)
        job = jobs[len(jobs) // 2]
        shares = " ".join(f"{job[name]:6.3f}" for name in COLUMNS)
        print(
            f"{ranks:>5} {density:>7} {exchange:>11} {job['total']:6.3f} {shares}  {job['steps']:10.2f}",
            flush=True,
        )


def measure(ranks: int, options: dict[str, Any]) -> dict[str, float]:
    """Run one job; return the seconds inside the steps, and in units of them the total and the parts of the excess."""
    with tempfile.TemporaryDirectory() as folder:
        job = options | {"out": f"{folder}/run"}
        command = [
            "mpirun",
            "-n",
            str(ranks),
            sys.executable,
            __file__,
            "--data-dir",
            "",
            "--worker",
            json.dumps(job),
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        lines = Path(job["out"], "rounds.jsonl").read_text().splitlines()
    seconds: Counter[str] = Counter()
    for line in lines[WARM_UP:]:
        parts = json.loads(line)["seconds"]
        clients = parts.pop("clients")
        del parts["round"]
        for part, value in [*parts.items(), *((part, value["sum"]) for part, value in clients.items())]:
            if part != "evaluate":
                seconds[GROUP_OF[part]] += value
    steps = seconds.pop("steps")
    return {"steps": steps, "total": 1 + seconds.total() / steps} | {
        name: seconds[name] / steps for name in COLUMNS
    }


def work(options: dict[str, Any]) -> None:
    """Be one rank of a job whose clock is the CPU time of its process."""
    from mpi4py import MPI

    from fedcomloc_mpi.config import OPTIONS, make_config
    from fedcomloc_mpi.runtime.job import run

    values = {
        name: OPTIONS[name].parse(value, name) if isinstance(value, str) else value
        for name, value in options.items()
    }
    base = {"dataset": "mnist", "local_steps": "fixed", "rounds": WARM_UP + COUNTED}
    run(MPI.COMM_WORLD, make_config(**base | values), clock=time.process_time_ns)


def record(path: Path, ranks: int, options: dict[str, Any], job: dict[str, float]) -> None:
    """Append a job to a CSV file, with a header if the file is new."""
    named = {name: value for name, value in options.items() if name != "data_dir"}
    row = {"ranks": ranks, **named, **{name: f"{value:.5f}" for name, value in job.items()}}
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, row)
        if not file.tell():
            writer.writeheader()
        writer.writerow(row)


if __name__ == "__main__":
    main()
