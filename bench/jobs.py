"""Training jobs as the benchmarks start them: the command under a launcher, and what its folder holds afterwards."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fedcomloc_mpi.errors import UserError
from fedcomloc_mpi.metrics import RoundRecord, read_rounds
from fedcomloc_mpi.reporting import Point, curve

ROOT = Path(__file__).resolve().parent.parent
FINISHED, REFUSED, DIVERGED = 0, 2, 3  # exit codes; the first and the last have a result


class JobFailed(Exception):
    """A job ended without a result: `code` is what its launcher ended with."""

    def __init__(self, code: int, command: Sequence[str]) -> None:
        super().__init__(f"exit code {code}: {shlex.join(command)}")
        self.code = code


class Finished(NamedTuple):
    """summary.json, environment.json, round records and curve of a run that has come to its end."""

    summary: dict[str, Any]
    environment: dict[str, Any]
    records: list[RoundRecord]
    curve: list[Point]

    @property
    def diverged(self) -> bool:
        """Whether the model became NaN or infinite."""
        return bool(self.summary["status"] == "diverged")

    def source(self) -> dict[str, str]:
        """Return what made the run: commit, time of its start (UTC) and processor."""
        names = {"commit": "source_version", "started": "started", "cpu": "cpu"}
        return {column: self.environment[key] for column, key in names.items()}


def flags(options: Mapping[str, Any]) -> list[str]:
    """Return command-line arguments: {"batch_size": 32} becomes --batch-size=32."""
    return [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]


def environment_of_jobs() -> dict[str, str]:
    """Return the environment in which jobs import this checkout and find the launcher beside this Python."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return os.environ | {"PYTHONPATH": str(ROOT), "PATH": path}


def train(
    options: Mapping[str, Any], *, ranks: int, launcher: Sequence[str] = ("mpirun",), quiet: bool = False
) -> None:
    """Run one job to its end, diverged or not; raise JobFailed if it ends otherwise, UserError without launcher.

    options: of fedcomloc_mpi.train, by the names of config.toml, besides `out`, `data_dir` or `resume`. launcher: what
    stands before `-n RANKS`. quiet: the job's output is dropped, its errors are not.
    """
    command = [*launcher, "-n", str(ranks), sys.executable, "-m", "fedcomloc_mpi.train", *flags(options)]
    output = subprocess.DEVNULL if quiet else None
    try:
        done = subprocess.run(command, check=False, stdout=output, env=environment_of_jobs())
    except FileNotFoundError:
        raise UserError(f"there is no {launcher[0]}: install mpich, or name this site's launcher") from None
    if done.returncode not in (FINISHED, DIVERGED):
        raise JobFailed(done.returncode, command)


def read_run(folder: Path) -> Finished:
    """Return what a run left that finished or diverged; OSError or ValueError if it is not there."""
    records = read_rounds(folder / "rounds.jsonl").records
    return Finished(
        json.loads((folder / "summary.json").read_text(encoding="utf-8")),
        json.loads((folder / "environment.json").read_text(encoding="utf-8")),
        records,
        curve(records),
    )
