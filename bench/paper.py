"""The study of the paper, run from a grid: each configuration with each seed, a row as each run ends.

    python -m bench.paper --data-dir DIR
    python -m bench.paper --data-dir DIR --part fedmnist --only "Com, density 0.1, 32 bits" FedAvg --seeds 0
    python -m bench.paper --list

Appends a row for each run to RESULTS/runs.csv and writes its evaluated rounds to RESULTS/curves/PART/RUN.csv; run
folders stay in RUNS/PART/RUN, without their checkpoints. A run that has a row is left out; an interrupted one goes on
from its last checkpoint. The work can be shared: --task I --of N takes every N-th run, as do the tasks of a SLURM
array by themselves.
"""

import argparse
import os
import shlex
import shutil
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import curves, rows
from bench.grid import Cell, Part, read_grid
from bench.jobs import REFUSED, ROOT, Finished, JobFailed, flags, read_run, train
from fedcomloc_mpi.errors import UserError

BYTES = ("payload_bytes", "paper_bytes", "bound_bytes", "mpi_bytes", "dense_bytes")
COLUMNS = (
    *("part", "name", "seed", "options"),
    *("status", "rounds", "local_steps", "accuracy", "accuracy_compressed", "best_accuracy"),
    *(f"{direction}_{kind}" for direction in ("uplink", "downlink") for kind in BYTES),
    *("device_bytes", "total_cost", "seconds", "startup_seconds", "ranks", "resumed"),
    *("command", "commit", "started", "cpu", "cpus"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what has no row yet; return 1 if a run failed, else 0."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.paper",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data-dir", type=Path, help="folder with MNIST and CIFAR-10")
    parser.add_argument("--grid", type=Path, default=ROOT / "bench" / "paper.toml")
    parser.add_argument("--results", type=Path, default=ROOT / "docs" / "results" / "paper")
    parser.add_argument("--runs", type=Path, default=Path("runs", "paper"), help="for run folders")
    parser.add_argument("--part", nargs="+", metavar="PART", help="default: all that are not optional")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these configurations")
    parser.add_argument("--seeds", type=int, nargs="+", help="these seeds of the grid's")
    parser.add_argument("--rounds", type=int, help="of every run, for a small version of the study")
    parser.add_argument("--task", type=int, metavar="I", help="0 to N - 1")
    parser.add_argument("--of", type=int, metavar="N", help="tasks that share the work")
    parser.add_argument("--ranks", type=int, default=3)
    parser.add_argument(
        "--launcher", default="mpirun", help='what stands before -n, such as "srun --mpi=pmi2"'
    )
    parser.add_argument("--list", action="store_true", help="say what would run, and run nothing")
    chosen = parser.parse_args(arguments)
    try:
        grid = read_grid(chosen.grid, chosen.rounds, chosen.seeds)
        cells = share(select(grid, chosen.part, chosen.only), *task(chosen))
    except UserError as error:
        parser.error(str(error))
    left = [cell for cell in cells if not has_row(chosen.results, cell)]
    print(f"{len(cells)} runs, {len(cells) - len(left)} of them have rows", flush=True)
    if chosen.list:
        print("\n".join(f"{cell.folder}: {cell.shown}" for cell in left))
        return 0
    failed = []
    for number, cell in enumerate(left, start=1):
        print(f"[{number}/{len(left)}] {cell.part}: {cell.name}, seed {cell.seed}", flush=True)
        try:
            run(cell, chosen)
        except UserError as error:
            parser.error(str(error))
        except JobFailed as error:
            print(f"bench.paper: {cell.folder}: {error}", file=sys.stderr, flush=True)
            if error.code < 0 or error.code > 128:  # ended by a signal: so is the series
                return 1
            failed.append(cell)
    for cell in failed:
        print(f"bench.paper: failed: {cell.folder}", file=sys.stderr)
    return 1 if failed else 0


def select(
    parts: dict[str, Part],
    names: Sequence[str] | None,
    only: Sequence[str] | None,
) -> list[Cell]:
    """Return the chosen runs, part by part and seed by seed. UserError: a name that the grid does not have."""
    for name in names or ():
        if name not in parts:
            raise UserError(f"--part {name}: the grid has {', '.join(parts)}")
    taken = (
        [parts[name] for name in names] if names else [part for part in parts.values() if not part.optional]
    )
    cells = [cell for part in taken for cell in part.cells()]
    for name in only or ():
        if all(cell.name != name for cell in cells):
            known = ", ".join(dict.fromkeys(repr(cell.name) for cell in cells))
            raise UserError(f"--only {name!r}: the chosen parts have {known}")
    return [cell for cell in cells if not only or cell.name in only]


def task(chosen: argparse.Namespace) -> tuple[int, int]:
    """Return (I, N) from --task and --of, or from the task of a SLURM array; (0, 1) without either."""
    if (chosen.task is None) != (chosen.of is None):
        raise UserError("--task and --of belong together")
    if chosen.task is not None:
        index, count = chosen.task, chosen.of
    elif "SLURM_ARRAY_TASK_ID" in os.environ:
        first, last, step = (
            int(os.environ.get(f"SLURM_ARRAY_TASK_{name}", default))
            for name, default in (("MIN", "0"), ("MAX", "0"), ("STEP", "1"))
        )
        index = (int(os.environ["SLURM_ARRAY_TASK_ID"]) - first) // step
        count = (last - first) // step + 1
    else:
        return 0, 1
    if not 0 <= index < count:
        raise UserError(f"task {index} of {count}: tasks are numbered 0 to {count - 1}")
    return index, count


def share(cells: Sequence[Cell], index: int, count: int) -> list[Cell]:
    """Return the runs of one task: which they are does not depend on what has been done."""
    return list(cells[index::count])


def has_row(results: Path, cell: Cell) -> bool:
    """Say whether the run has a row, with the options that the grid gives it now."""
    key = {"part": cell.part, "name": cell.name, "seed": cell.seed, "options": cell.shown}
    return rows.find(results / "runs.csv", key) is not None


def run(cell: Cell, chosen: argparse.Namespace) -> None:
    """Run one cell to its end, from where an interrupted run of it stands; write its curve and its row."""
    folder = chosen.runs / cell.folder
    options = dict(cell.options)
    if chosen.data_dir is not None:
        options["data_dir"] = chosen.data_dir.absolute()
    if not is_run_of(folder, cell):
        # The folder of a run whose options have changed since, or that ended before it had begun.
        shutil.rmtree(folder, ignore_errors=True)
    ended = folder / "summary.json"
    if not ended.exists() or read_run(folder).summary["status"] == "interrupted":
        begun = {"resume": folder} | ({"data_dir": options["data_dir"]} if "data_dir" in options else {})
        job = begun if folder.exists() else options | {"out": folder}
        try:
            train(job, ranks=chosen.ranks, launcher=shlex.split(chosen.launcher))
        except JobFailed as error:
            if error.code != REFUSED or "resume" not in job:
                raise
            # Nothing in the folder can be gone on from: its checkpoints are damaged or another version's.
            shutil.rmtree(folder)
            train(options | {"out": folder}, ranks=chosen.ranks, launcher=shlex.split(chosen.launcher))
    finished = read_run(folder)
    curves.write(chosen.results / "curves" / cell.curve, finished.curve)
    rows.append(chosen.results / "runs.csv", COLUMNS, [row_of(cell, finished, chosen)])
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def is_run_of(folder: Path, cell: Cell) -> bool:
    """Say whether a folder holds a run with the cell's options."""
    try:
        config = tomllib.loads((folder / "config.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return all(config.get(name) == value for name, value in cell.options.items())


def row_of(cell: Cell, finished: Finished, chosen: argparse.Namespace) -> dict[str, Any]:
    """Return the row of runs.csv. A diverged run has no accuracy: what it reached before is not what it is worth."""
    summary = finished.summary
    last = finished.curve[-1] if finished.curve else None
    figures = ("last_accuracy", "last_accuracy_compressed", "best_accuracy")
    accuracies = {
        name.removeprefix("last_"): None
        if summary[name] is None or finished.diverged
        else round(summary[name], 6)
        for name in figures
    }
    command = [*shlex.split(chosen.launcher), "-n", str(chosen.ranks), "python", "-m", "fedcomloc_mpi.train"]
    command += flags(cell.options)
    if chosen.data_dir is not None:
        command.append("--data-dir=DIR")
    return {
        "part": cell.part,
        "name": cell.name,
        "seed": cell.seed,
        "options": cell.shown,
        "status": summary["status"],
        "rounds": summary["rounds"],
        "local_steps": last and last.local_steps,
        **accuracies,
        **{
            f"{side}_{kind}": number(summary[side].get(kind))
            for side in ("uplink", "downlink")
            for kind in BYTES
        },
        "device_bytes": summary["downlink"].get("device_bytes"),
        "total_cost": last and round(last.total_cost, 2),
        "seconds": round(summary["seconds"]["total"], 2),
        "startup_seconds": round(summary["seconds"]["startup"], 2),
        "ranks": finished.environment["ranks"],
        "resumed": len(finished.environment.get("resumed", [])),
        "command": shlex.join(command),
        **finished.source(),
        "cpus": finished.environment["cpus_available"],
    }


def number(value: float | None) -> float | int | None:
    """Return whole bytes as an integer."""
    return int(value) if value is not None and value == int(value) else value


if __name__ == "__main__":
    sys.exit(main())
