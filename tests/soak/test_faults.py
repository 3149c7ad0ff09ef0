"""How the soak judges the end of a job."""

import pytest

from tests.mpirun import Job
from tests.soak.faults import BY_NAME, problem

PROCESSES = [100, 101, 102]


@pytest.mark.parametrize(
    ("name", "code", "text", "right"),
    [
        ("kill", 9, "=   PID 101 RUNNING AT host", True),
        ("kill", 9, "=   PID 100 RUNNING AT host", True),
        ("kill", 9, "=   PID 103 RUNNING AT host", False),
        ("kill", 9, "", False),
        ("kill", 0, "=   PID 101 RUNNING AT host", False),
        ("memory", 9, "=   PID 101 RUNNING AT host", True),
        ("memory", 1, "fedcomloc_mpi.train: rank 1 failed", True),
        ("memory", 1, "MemoryError", False),
        ("state-disk", 7, "=   PID 102 RUNNING AT host", True),
        ("state-disk", 7, "=   PID 10 RUNNING AT host", False),
    ],
)
def test_problem(name: str, code: int, text: str, right: bool) -> None:
    assert (problem(BY_NAME[name], 1, PROCESSES, Job(code, "", text)) == "") == right
