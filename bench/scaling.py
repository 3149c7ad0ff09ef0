"""What more clients, more ranks and larger models cost: seconds, CPU time, memory and bytes of a round.

    python -m bench.scaling --data-dir DIR [--csv FILE --write PAGE]

runs FedMNIST jobs at density 0.1 with 10 local steps, each `--repeats` times in turn, and prints a row for each, of the
job with the median seconds per round:

    clients  cohort 100 of 100, 1 000 and 10 000 clients (iid), 3 ranks, minibatches of 6, all that one of 10 000 has
    ranks    cohort 10 of 100 clients on 2 to 11 ranks by both exchanges: the same work on more ranks
    size     cohort 10 of 20 clients, 3 ranks; hidden layers of 70 to 2 800 units, 0.06 to 10 million parameters

Columns, of the 20 rounds that follow 5 of warm-up; one more, with the evaluation and the checkpoint, ends the run:

    s/round     median wall-clock seconds
    CPU/round   CPU seconds of all ranks
    private     largest memory of a rank beside `state`: its own pages, and its part of libraries' and files' (Pss), MB
    took part   clients that took part in all 26 rounds, the last of which `state` does not hold yet
    state       memory of their control variates and of the uploads, shared by the ranks of the node, MB
    checkpoint  size of the files of the checkpoint, MB
    KB up, down mean payload of the uplink of a client and of the downlink to a rank

--csv keeps a row for each job, --write makes the page from the rows there of the commit that was measured last.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import rows
from bench.jobs import environment_of_jobs, read_run

WARM_UP, COUNTED = 5, 20
FIGURES = ("seconds", "cpu", "private", "took_part", "state", "checkpoint", "uplink_kb", "downlink_kb")
CASE = ("sweep", "clients", "cohort", "ranks", "exchange", "parameters")
ROW = (*CASE, *FIGURES, "commit", "started", "cpu_model")
HEADS = ("s/round", "CPU/round", "private", "took part", "state", "checkpoint", "KB up", "KB down")
# What a sweep varies, and the options that it fixes.
SWEEPS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "clients": (("clients",), {"cohort": 100, "partition": "iid", "batch_size": 6, "ranks": 3}),
    "ranks": (("ranks", "exchange"), {"clients": 100, "cohort": 10}),
    "size": (("parameters",), {"clients": 20, "cohort": 10, "ranks": 3}),
}
REMARKS = {
    "clients": """What a client that took part has to keep (control variates, 0.8 MB for this model) cannot shrink; with
`--state-dir` it lies in a file instead of memory. Time and private memory should not depend on the number of clients.
Bytes depend on the clients' data, which are fewer samples each.""",
    "ranks": """The sum of the work is the same; with more ranks than cores it cannot end sooner, and each further rank
costs its own memory and its part in the messages. With 2 ranks the one client rank computes on one core.""",
    "size": """Beside the state a rank's memory is that of torch itself and of its copies of the model.""",
}


def cases(sweep: str) -> Iterator[dict[str, Any]]:
    """Yield the options of each job of a sweep, `ranks` and the `width` of the model among them."""
    fixed = SWEEPS[sweep][1]
    if sweep == "clients":
        yield from (fixed | {"clients": clients} for clients in (100, 1_000, 10_000))
    elif sweep == "ranks":
        for ranks in (2, 3, 5, 11):
            yield from (fixed | {"ranks": ranks, "exchange": name} for name in ("collectives", "p2p"))
    else:
        yield from (fixed | {"model": "own", "width": width} for width in (70, 200, 700, 2_800))


def main() -> None:
    """Measure every case of the chosen sweeps; print a row for each, and make the page if asked to."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.scaling",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data-dir", required=True, help="folder with MNIST")
    parser.add_argument("--sweep", nargs="+", choices=SWEEPS, default=list(SWEEPS))
    parser.add_argument("--repeats", type=int, default=3, help="jobs per row")
    parser.add_argument("--csv", type=Path, help="append a line for every job to this file")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="make this page from the rows of --csv")
    arguments = parser.parse_args()
    if arguments.write and not arguments.csv:
        parser.error("--write makes the page from the rows of --csv, which is missing")
    data = os.path.abspath(arguments.data_dir)
    for sweep in arguments.sweep:
        measured: list[dict[str, Any]] = []
        for _ in range(arguments.repeats):  # in turn, so that another load on the machine meets all alike
            for case in cases(sweep):
                measured.append({"sweep": sweep} | measure(case, data))
                if arguments.csv:
                    rows.append(arguments.csv, ROW, measured[-1:])
        print(table(sweep, measured), flush=True)
    if arguments.csv and arguments.write:
        page = document(rows.read(arguments.csv), arguments.csv.name, arguments.repeats)
        arguments.write.write_text(page, encoding="utf-8")


def measure(case: Mapping[str, Any], data: str) -> dict[str, Any]:
    """Run one job; return its row."""
    base: dict[str, Any] = {
        "dataset": "mnist",
        "data_dir": data,
        "density": 0.1,
        "local_steps": "fixed",
        "rounds": WARM_UP + COUNTED + 1,
        "eval_every": WARM_UP + COUNTED + 1,
        "checkpoint_every": 0,
        "counted": [WARM_UP + 1, WARM_UP + COUNTED],
        "width": None,
    }
    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = base | dict(case) | {"out": f"{folder}/run"}
        ranks = options.pop("ranks")
        command = [
            "mpirun",
            "-n",
            str(ranks),
            sys.executable,
            "-m",
            "bench.scaling_rank",
            json.dumps(options),
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment_of_jobs())
        path = Path(options["out"])
        run = read_run(path)
        facts = [json.loads(Path(folder, f"rank-{rank}.json").read_text()) for rank in range(ranks)]
        newest = max(path.glob("checkpoints/*.state")).stem
        checkpoint = sum(file.stat().st_size for file in path.glob(f"checkpoints/{newest}*"))
    # Training set, labels, and the partition's two arrays: what else the ranks share.
    shared_data = (60_000 * (784 * 4 + 8 + 8) + 8 * options["clients"]) / 1e6
    counted = run.records[WARM_UP : WARM_UP + COUNTED]
    made = run.source()
    return {
        "clients": options["clients"],
        "cohort": options["cohort"],
        "ranks": ranks,
        "exchange": options.get("exchange", ""),
        "parameters": run.summary["uplink"]["dense_bytes"] // (4 * options["cohort"] * len(run.records)),
        "seconds": statistics.median(record.seconds for record in counted),
        "cpu": sum(rank["cpu"] for rank in facts) / COUNTED,
        "private": max(rank["private"] for rank in facts),
        "took_part": len({client for record in run.records for client in record.cohort}),
        "state": sum(rank["shared"] for rank in facts) - shared_data,
        "checkpoint": checkpoint / 1e6,
        # Either sum is over the clients of the cohort.
        "uplink_kb": sum(record.uplink.payload_bytes for record in counted)
        / len(counted)
        / options["cohort"]
        / 1e3,
        "downlink_kb": sum(record.downlink.payload_bytes for record in counted)
        / len(counted)
        / options["cohort"]
        / 1e3,
        "commit": made["commit"],
        "started": made["started"],
        "cpu_model": made["cpu"],
    }


def table(sweep: str, measured: Sequence[Mapping[str, Any]]) -> str:
    """Return a sweep's rows as a Markdown table: of each case the job with the median seconds per round."""
    varied = SWEEPS[sweep][0]
    jobs: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in measured:
        if row["sweep"] == sweep:
            jobs.setdefault(tuple(str(row[name]) for name in varied), []).append(row)
    lines = [f"| {' | '.join([*varied, *HEADS])} |", "|---" * (len(varied) + len(HEADS)) + "|"]
    for case, same in jobs.items():
        row = sorted(same, key=lambda row: float(row["seconds"]))[len(same) // 2]
        seconds, cpu, *rest = (float(row[name]) for name in FIGURES)
        figures = [f"{seconds:.3f}", f"{cpu:.3f}", *(f"{value:.0f}" for value in rest)]
        lines.append(f"| {' | '.join([*case, *figures])} |")
    return "\n".join(lines)


def document(found: Sequence[Mapping[str, str]], file: str, repeats: int) -> str:
    """Return the page."""
    found = [row for row in found if row["commit"] == found[-1]["commit"]]
    made = {name: ", ".join(sorted({row[name] for row in found})) for name in ("commit", "cpu_model")}
    days = " to ".join(sorted({row["started"][:10] for row in found}))
    sweeps = __doc__.partition("per round:\n\n")[2].partition("\n\nColumns")[0]
    columns = __doc__.partition("Columns")[2].partition("\n\n--csv")[0]
    lines = [
        "# Cost of a round over clients, ranks and size of the model\n",
        f"`python -m bench.scaling --data-dir DIR --repeats {repeats}`, {days}, commit {made['commit']},"
        f" {os.cpu_count()} cores of {made['cpu_model']}: FedMNIST at density 0.1, 10 local steps. Every job is a row"
        f" of [{file}]({file}); a line here is the job with the median seconds per round.\n",
        f"```text\n{sweeps}\n```\n\nColumns{columns.partition('    s/round')[0].rstrip()}\n",
        f"```text\n    s/round{columns.partition('    s/round')[2]}\n```",
    ]
    for sweep, remark in REMARKS.items():
        lines.append(f"\n## {sweep.capitalize()}\n\n{table(sweep, found)}\n\n{remark}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
