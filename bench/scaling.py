"""What more clients cost: memory and seconds per round over the number of clients.

    python bench/scaling.py --data-dir DIR [--write docs/results/scaling.md]

runs FedMNIST with a cohort of 100 on 3 ranks (fixed 2 local steps, 5 rounds that do not count, then 20) for 100, 1 000
and 10 000 clients, each `--repeats` times in turn, and prints a row for each number of clients, of the job with the
median seconds per round:

    s/round     median wall-clock seconds of the counted rounds, checkpoints and evaluation aside
    CPU/round   CPU seconds of all ranks in those rounds, evaluation aside
    private     largest memory of a rank that it shares with no other (Pss of anonymous and file pages), MB
    took part   clients that took part in the 25 rounds
    state       memory of their control variates and of the uploads, shared by the ranks of the node, MB
    checkpoint  size of the files of the last checkpoint, MB

What a client that took part has to keep (control variates, 0.8 MB for this model) cannot shrink; with --state-dir it
lies in a file instead of memory. Everything else should not depend on the number of clients.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

WARM_UP, COUNTED = 5, 20
CLIENTS = (100, 1_000, 10_000)
COHORT, RANKS = 100, 3
COLUMNS = ("clients", "s/round", "CPU/round", "private", "took part", "state", "checkpoint")


def main() -> None:
    """Measure every number of clients; print the table, and write it down if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", required=True, help="folder with MNIST")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--write", metavar="FILE", help="write the table, and what it was measured on, to this file"
    )
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(json.loads(arguments.worker))
        return
    data = os.path.abspath(arguments.data_dir)
    jobs: dict[int, list[dict[str, float]]] = {clients: [] for clients in CLIENTS}
    for _ in range(arguments.repeats):  # in turn, so that another load on the machine meets all alike
        for clients in CLIENTS:
            jobs[clients].append(measure(clients, data))
    rows = []
    for clients, repeated in jobs.items():
        job = sorted(repeated, key=lambda job: job["s/round"])[len(repeated) // 2]
        rows.append(
            f"| {clients} | {job['s/round']:.3f} | {job['CPU/round']:.3f} | {job['private']:.0f} "
            f"| {job['took part']:.0f} | {job['state']:.0f} | {job['checkpoint']:.0f} |"
        )
    table = "\n".join([f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|", *rows])
    print(table)
    if arguments.write:
        Path(arguments.write).write_text(document(table, arguments.repeats), encoding="utf-8")


def measure(clients: int, data: str) -> dict[str, float]:
    """Run one job; return its row."""
    with tempfile.TemporaryDirectory() as folder:
        options = {
            "dataset": "mnist",
            "data_dir": data,
            "clients": clients,
            "cohort": COHORT,
            "partition": "iid",
            "local_steps": "fixed",
            "p": 0.5,
            "rounds": WARM_UP + COUNTED,
            "eval_every": WARM_UP + COUNTED,
            "checkpoint_every": 10,
            "out": f"{folder}/run",
        }
        command = ["mpirun", "-n", str(RANKS), sys.executable, __file__, "--data-dir", ""]
        subprocess.run([*command, "--worker", json.dumps(options)], check=True, stdout=subprocess.DEVNULL)
        run = Path(folder, "run")
        rounds = [json.loads(line) for line in (run / "rounds.jsonl").read_text().splitlines()]
        ranks = [json.loads(Path(folder, f"rank-{rank}.json").read_text()) for rank in range(RANKS)]
        newest = max(run.glob("checkpoints/*.state")).stem
        files = [*run.glob(f"checkpoints/{newest}*")]
        counted = [record["seconds"] for record in rounds[WARM_UP:]]
        return {
            "s/round": statistics.median(
                seconds["round"] - seconds["evaluate"] - seconds["checkpoint"] for seconds in counted
            ),
            "CPU/round": sum(rank["cpu"] for rank in ranks) / COUNTED,
            "private": max(rank["private"] for rank in ranks),
            "took part": len({client for record in rounds for client in record["cohort"]}),
            "state": sum(rank["shared"] for rank in ranks) - ranks[0]["data"],
            "checkpoint": sum(file.stat().st_size for file in files) / 1e6,
        }


def work(options: dict[str, Any]) -> None:
    """Be one rank of a job, and write down what it took."""
    from unittest.mock import patch

    from mpi4py import MPI

    from fedcomloc_mpi.config import make_config
    from fedcomloc_mpi.runtime import client, job, server
    from fedcomloc_mpi.runtime.setup import Setup

    rank = MPI.COMM_WORLD.rank
    facts = {"private": 0.0, "shared": 0.0, "data": 0.0, "cpu": 0.0}
    over = threading.Event()

    def watch() -> None:
        """Note the largest private memory."""
        while not over.wait(0.2):
            facts["private"] = max(facts["private"], memory()["private"])

    def timed(original: Any) -> Any:
        """Begin to count CPU time with the first round that counts."""

        def plan(setup: Any, number: int, *speeds: Any) -> Any:
            if number == WARM_UP + 1:
                facts["cpu"] = -time.process_time()
            return original(setup, number, *speeds)

        return plan

    def ended(original: Any) -> Any:
        """Stop counting when the rounds are over, and note the memory."""

        def run(self: Any) -> Any:
            result = original(self)
            facts["cpu"] += time.process_time()
            # Shares of shared pages add up only if all ranks look at the same time.
            facts["shared"] = memory()["shared"]
            return result

        return run

    with (
        patch.object(Setup, "plan", timed(Setup.plan)),
        patch.object(client.ClientRank, "run", ended(client.ClientRank.run)),
        patch.object(server.Server, "run", ended(server.Server.run)),
    ):
        thread = threading.Thread(target=watch)
        thread.start()
        try:
            job.run(MPI.COMM_WORLD, make_config(**options))
        finally:
            over.set()
            thread.join()
    # Training set, labels, and the partition's two arrays: what else the ranks share.
    facts["data"] = (60_000 * (784 * 4 + 8 + 8) + 8 * options["clients"]) / 1e6
    Path(options["out"]).with_name(f"rank-{rank}.json").write_text(json.dumps(facts))


def memory() -> dict[str, float]:
    """Return this process's memory in MB: private to it, and its part of what it shares by memory files."""
    kilobytes: dict[str, int] = {}
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]:
        name, value, *_ = line.split()
        kilobytes[name.rstrip(":")] = int(value)
    private = kilobytes["Pss_Anon"] + kilobytes["Pss_File"]
    return {"private": private * 1024 / 1e6, "shared": kilobytes["Pss_Shmem"] * 1024 / 1e6}


def document(table: str, repeats: int) -> str:
    """Return the contents of docs/results/scaling.md."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    columns = __doc__.partition("per round:\n\n")[2].partition("\n\n")[0]
    rest = __doc__.rpartition("MB\n\n")[2].strip()
    return (
        "# Cost of a round over the number of clients\n\n"
        f"`python bench/scaling.py --data-dir DIR --repeats {repeats} --write docs/results/scaling.md`, "
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit},\n{os.cpu_count()} cores ({platform.machine()}): "
        f"FedMNIST, {RANKS} ranks, cohort {COHORT}, 2 local steps, {WARM_UP} rounds that do not count and then "
        f"{COUNTED}.\n\n"
        f"{table}\n\n```text\n{columns}\n```\n\n{rest}\n"
    )


if __name__ == "__main__":
    main()
