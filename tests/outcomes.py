"""One process of one tier: run pytest and write every outcome down as it happens, so that a crash loses none.

`python -m tests.outcomes FOLDER RANKS PYTEST-ARGUMENT...`, started once or, for RANKS > 1, by mpirun on each rank.
Rank r writes FOLDER/rank-r.jsonl: one object per event, with `test`, `event` ("start", "setup", "call", "teardown",
"collect"), `outcome` ("passed", "failed", "skipped"; absent for "start") and, for a failure, its `text`. Only rank 0
writes to the terminal; what the others print goes to FOLDER/rank-r.txt.
"""

import json
import os
import signal
import sys
from pathlib import Path

import pytest


class Recorder:
    """A pytest plugin that appends one line per event and flushes it."""

    def __init__(self, path: Path):
        self._file = path.open("a", encoding="utf-8")

    def _write(self, **event: str) -> None:
        self._file.write(json.dumps(event) + "\n")
        self._file.flush()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._write(test=nodeid, event="start")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        text = report.longreprtext if report.failed else ""
        self._write(test=report.nodeid, event=report.when or "", outcome=report.outcome, text=text)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._write(test=report.nodeid, event="collect", outcome="failed", text=report.longreprtext)


def main(arguments: list[str]) -> int:
    folder, ranks, pytest_arguments = Path(arguments[0]), int(arguments[1]), arguments[2:]
    rank = 0
    # As Ctrl-C does: pytest leaves the test, whose `with` blocks end the jobs that it started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if ranks > 1:
        from mpi4py import MPI

        if MPI.COMM_WORLD.size != ranks:
            sys.exit(
                f"{ranks} ranks were started but MPI sees {MPI.COMM_WORLD.size}: mpirun is of another MPI library"
            )
        rank = MPI.COMM_WORLD.rank
    if rank > 0:
        os.dup2(os.open(folder / f"rank-{rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666), 1)
    # Each rank has its own temporary folders (with a space in their path); tests share one by mpi_tmp_path.
    pytest_arguments = [f"--basetemp={folder / f'rank {rank}'}", *pytest_arguments]
    code = pytest.main(pytest_arguments, plugins=[Recorder(folder / f"rank-{rank}.jsonl")])
    return 0 if code == pytest.ExitCode.NO_TESTS_COLLECTED else int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
