"""The process that says which rank died first."""

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from fedcomloc_mpi.transport import witness_process

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture
def sleepers() -> Iterator[list[subprocess.Popen[bytes]]]:
    started = [subprocess.Popen(SLEEPER) for _ in range(3)]
    yield started
    for each in started:
        each.kill()
        each.wait()


@pytest.mark.parametrize("victim", range(3))
def test_the_first_of_several_is_named(sleepers: list[subprocess.Popen[bytes]], victim: int) -> None:
    """All are dead before it looks: it is stopped meanwhile, as if the machine were busy."""
    ranks = [f"{each.pid}=rank {rank} (=)" for rank, each in enumerate(sleepers)]
    witness = subprocess.Popen(
        [sys.executable, "-I", "-S", witness_process.__file__, *ranks], stderr=subprocess.PIPE, text=True
    )
    time.sleep(1.0)
    subprocess.run(["kill", "-STOP", str(witness.pid)], check=True)
    for rank in [victim, *{0, 1, 2} - {victim}]:
        sleepers[rank].kill()
        sleepers[rank].wait()
    subprocess.run(["kill", "-CONT", str(witness.pid)], check=True)
    _, said = witness.communicate(timeout=30)
    assert (witness.returncode, said) == (0, f"fedcomloc_mpi.train: rank {victim} (=) died\n")


def test_a_process_that_cannot_be_seen_ends_it(sleepers: list[subprocess.Popen[bytes]]) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert witness_process.main([f"{sleepers[0].pid}=rank 0", f"{gone.pid}=rank 1"]) == 1
