"""Jobs of `python -m fedcomloc_mpi.train` for tests: one command line as one job, or many in one job."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.mpirun import Job, RunningJob, mpirun, start

Arguments = Sequence[str | Path]

TRAIN = ["-m", "fedcomloc_mpi.train"]
BATCH = Path(__file__).with_name("batch.py")
FAULTS = Path(__file__).with_name("faults.py")

# Six clients, four of them a round, about two local steps: a round takes some milliseconds.
SMALL = ["--device", "cpu", "--clients", "6", "--cohort", "4", "--p", "0.5"]


def train(ranks: int, *flags: str | Path, cwd: Path, timeout: float = 60.0) -> Job:
    """Run one training job in folder `cwd` and wait for its end."""
    return mpirun(ranks, [*TRAIN, *flags], cwd=cwd, timeout=timeout)


def train_alone(*flags: str, cwd: Path, env: Mapping[str, str] | None = None) -> Job:
    """Run one process of the program without mpirun."""
    with RunningJob([sys.executable, *TRAIN, *flags], env, cwd) as job:
        return job.wait(60.0)


def start_with_fault(
    ranks: int, fault: str, rank: int, round: int, *flags: str | Path, cwd: Path
) -> RunningJob:
    """Start a small training job in which `fault` (see faults.py) happens on `rank` in `round`."""
    return start(ranks, [FAULTS, fault, str(rank), str(round), *SMALL, *flags], cwd=cwd)


class RankResult(NamedTuple):
    """What one rank made of one command line: its exit code, and what it printed."""

    code: int
    stdout: str
    stderr: str


def train_batch(
    ranks: int, command_lines: Sequence[Arguments], results: Path, cwd: Path
) -> list[list[RankResult]]:
    """Run many command lines one after the other in one job, which spares all but one start-up.

    `results` is a folder to be made. Returns for each command line what each rank made of it. A command line that ends
    the whole job fails the calling test.
    """
    results.mkdir()
    lines = [[os.fspath(argument) for argument in line] for line in command_lines]
    (results / "lines.json").write_text(json.dumps(lines))
    job = mpirun(ranks, [BATCH, results], cwd=cwd, timeout=100.0)
    assert job.returncode == 0, job
    return [
        [
            RankResult(
                int((results / f"{number}.{rank}.code").read_text()),
                (results / f"{number}.{rank}.out").read_text(),
                (results / f"{number}.{rank}.err").read_text(),
            )
            for rank in range(ranks)
        ]
        for number in range(len(lines))
    ]


def files_below(folder: Path) -> dict[str, tuple[int, int]]:
    """Return every path below `folder` with its size and its time of modification in ns."""
    paths = sorted(folder.rglob("*"))
    return {
        str(path.relative_to(folder)): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in paths
        if not path.is_dir()
    } | {f"{path.relative_to(folder)}/": (0, 0) for path in paths if path.is_dir()}
