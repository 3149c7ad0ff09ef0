"""What the runtime costs beside the training itself, in CPU time of all ranks.

    python -m bench.overhead --data-dir DIR [--csv FILE --write PAGE]

starts FedMNIST jobs (fixed 10 local steps, 5 rounds of warm-up, then 50 that count) with 3 and 11 ranks, density 1 and
0.1, by both exchanges, and prints for each the CPU time of all ranks, without start-up and evaluation, over the CPU
time inside the clients' steps (minibatch gradients and model updates); then what the excess consists of, in the same
unit:

    select   choosing and gathering what is kept         sum    averaging, and the server's new model
    codec    encoding and decoding, adding to the sum    MPI    exchanging messages, and waiting for them
    update   of the control variates                     other  everything else in the round loop

CPU time is that of each process (CLOCK_PROCESS_CPUTIME_ID), so foreign load disturbs it far less than wall-clock time.
`seconds` are the median wall-clock time of a round, which foreign load does disturb. --csv keeps a row for each job,
--write makes docs/results/overhead.md from them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise, product
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

from bench import rows
from bench.jobs import environment_of_jobs, read_run

WARM_UP, COUNTED = 5, 50
BEGINNINGS = "beginnings.txt"  # monotonic seconds at which the server's rounds began, in the run's folder
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
ROW = (
    "ranks",
    "density",
    "exchange",
    "options",
    "total",
    *COLUMNS,
    "steps",
    "seconds",
    "commit",
    "started",
    "cpu",
)


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
    parser.add_argument("--csv", type=Path, help="append a line for every job to this file")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="make this page from the rows of --csv")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(json.loads(arguments.worker))
        return
    print(
        f"{'ranks':>5} {'density':>7} {'exchange':>11} {'total':>6} "
        + " ".join(f"{name:>6}" for name in COLUMNS)
        + "  step CPU s  s/round"
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
                rows.append(arguments.csv, ROW, [row_of(ranks, options, job)])
        job = jobs[len(jobs) // 2]
        shares = " ".join(f"{job[name]:6.3f}" for name in COLUMNS)
        print(
            f"{ranks:>5} {density:>7} {exchange:>11} {job['total']:6.3f} {shares}"
            f"  {job['steps']:10.2f}  {job['seconds']:7.4f}",
            flush=True,
        )
    if arguments.csv and arguments.write:
        arguments.write.write_text(document(rows.read(arguments.csv), arguments.csv.name), encoding="utf-8")


def measure(ranks: int, options: dict[str, Any]) -> dict[str, Any]:
    """Run one job; return the seconds inside the steps, and in units of them the total and the parts of the excess.

    And the median length of a round in seconds, and what made the run.
    """
    with tempfile.TemporaryDirectory() as folder:
        job = options | {"out": f"{folder}/run"}
        worker = [sys.executable, "-m", "bench.overhead", "--data-dir", "", "--worker", json.dumps(job)]
        command = ["mpirun", "-n", str(ranks), *worker]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment_of_jobs())
        run = read_run(Path(job["out"]))
        began = [float(line) for line in Path(job["out"], BEGINNINGS).read_text().split()][WARM_UP:]
    seconds: dict[str, float] = defaultdict(float)
    for record in run.records[WARM_UP:]:
        parts = [
            *record.server_seconds.items(),
            *((part, value.sum) for part, value in record.client_seconds.items()),
        ]
        for part, value in parts:
            if part != "evaluate":
                seconds[GROUP_OF[part]] += value
    steps = seconds.pop("steps")
    lengths = [later - earlier for earlier, later in pairwise(began)]
    return (
        {"steps": steps, "total": 1 + sum(seconds.values()) / steps, "seconds": median(lengths)}
        | {name: seconds[name] / steps for name in COLUMNS}
        | run.source()
    )


def work(options: dict[str, Any]) -> None:
    """Be one rank of a job whose clock is the CPU time of its process."""
    from mpi4py import MPI

    from fedcomloc_mpi.config import OPTIONS, make_config
    from fedcomloc_mpi.runtime.job import run
    from fedcomloc_mpi.runtime.setup import Setup

    values = {
        name: OPTIONS[name].parse(value, name) if isinstance(value, str) else value
        for name, value in options.items()
    }
    base = {"dataset": "mnist", "local_steps": "fixed", "rounds": WARM_UP + COUNTED}
    config = make_config(**base | values)
    began: list[float] = []
    plan = Setup.plan

    def noting(setup: Setup, *arguments: Any) -> Any:
        began.append(time.monotonic())
        return plan(setup, *arguments)

    with patch.object(Setup, "plan", noting):
        run(MPI.COMM_WORLD, config, clock=time.process_time_ns)
    if MPI.COMM_WORLD.rank == 0:
        Path(options["out"], BEGINNINGS).write_text("\n".join(map(str, began)), encoding="utf-8")


def row_of(ranks: int, options: Mapping[str, Any], job: Mapping[str, Any]) -> dict[str, Any]:
    """Return a job as a row."""
    further = (
        f"{name}={value}"
        for name, value in options.items()
        if name not in ("data_dir", "density", "exchange")
    )
    figures = {name: f"{job[name]:.5f}" for name in ("total", *COLUMNS, "steps", "seconds")}
    made = {name: job[name] for name in ("commit", "started", "cpu")}
    named = {"ranks": ranks, "density": options["density"], "exchange": options["exchange"]}
    return named | {"options": " ".join(further)} | figures | made


def document(found: Sequence[Mapping[str, str]], file: str) -> str:
    """Return the page: of each configuration the job with the median total."""
    jobs: dict[tuple[str, ...], list[Mapping[str, str]]] = {}
    for row in found:
        jobs.setdefault((row["ranks"], row["density"], row["exchange"], row["options"]), []).append(row)
    made = {name: ", ".join(sorted({row[name] for row in found})) for name in ("commit", "cpu")}
    repeats = max(map(len, jobs.values()))
    days = " to ".join(sorted({row["started"][:10] for row in found}))
    lines = [
        "# What a round costs beside the training\n",
        f"`python -m bench.overhead --data-dir DIR --repeats {repeats}`, with `--options` as below,"
        f" commit {made['commit']}, {days}, 2 cores of {made['cpu']}. Every job is a row of [{file}]({file}).\n",
        "FedMNIST, FedComLoc-Com, 10 clients with 10 local steps, 50 rounds. Total: CPU time of all ranks over that"
        " inside the clients' steps; then what the excess is made of. Codec holds all encoding and decoding, MPI all"
        " waiting; select is choosing and gathering what is kept, update that of the control variates, sum the"
        " averaging and the server's new model. s/round: median wall-clock time. A line is the"
        " job with the median total.\n",
        f"| ranks | density | exchange | options | total | {' | '.join(COLUMNS)} | s/round |",
        "|---" * (6 + len(COLUMNS)) + "|",
    ]
    for (ranks, density, exchange, options), same in jobs.items():
        row = sorted(same, key=lambda row: float(row["total"]))[len(same) // 2]
        shares = " | ".join(f"{float(row[name]):.3f}" for name in COLUMNS)
        total, seconds = float(row["total"]), float(row["seconds"])
        lines.append(
            f"| {ranks} | {density} | {exchange} | {options or '-'} | {total:.3f} | {shares} | {seconds:.3f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
