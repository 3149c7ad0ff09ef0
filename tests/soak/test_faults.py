"""How the soak judges the end of a job."""

import pytest

from tests.mpirun import Job
from tests.soak.faults import BY_NAME, problem

PROCESSES = [100, 101, 102]


@pytest.mark.parametrize(
    ("name", "code", "text", "right"),
    [
        ("kill", 9, "rank 1 (process 101 on host) died", True),
        ("kill", 9, "rank 2 (process 102 on host) died", False),
        ("kill", 9, "=   PID 101 RUNNING AT host", False),
        ("kill", 9, "", False),
        ("kill", 0, "rank 1 (process 101 on host) died", False),
        ("memory", 9, "rank 1 (process 101 on host) died", True),
        ("memory", 1, "fedcomloc_mpi.train: rank 1 failed", True),
        ("memory", 1, "MemoryError", False),
        ("state-disk", 7, "rank 2 (process 102 on host) died", True),
        ("state-disk", 7, "rank 0, the server (process 100 on host) died", False),
    ],
)
def test_problem(name: str, code: int, text: str, right: bool) -> None:
    assert (problem(BY_NAME[name], 1, PROCESSES, Job(code, "", text)) == "") == right
