"""The process that says which rank died first."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from mpi4py import MPI

from fedcomloc_mpi.transport import witness, witness_process

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


@pytest.mark.parametrize(("error", "said"), [(MPI.Exception(1), "rank 1 died"), (ValueError("its own"), "")])
def test_a_rank_that_learns_of_a_death_by_mpi_lets_it_be_named(
    sleepers: list[subprocess.Popen[bytes]],
    error: Exception,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The machine is busy: the witness runs again only when the server has left already."""
    world = SimpleNamespace(
        node_of=[0, 0, 0],
        is_server=True,
        processes=[each.pid for each in sleepers],
        name="rank {}".format,
        broadcast=lambda array: None,
    )
    witnesses: list[subprocess.Popen[bytes]] = []
    start = witness._start

    def noting(world: Any) -> subprocess.Popen[bytes]:
        witnesses.append(start(world))
        return witnesses[0]

    monkeypatch.setattr(witness, "_start", noting)
    with pytest.raises(type(error)), witness.witnessed(cast(Any, world)):
        time.sleep(1.0)
        witnesses[0].send_signal(signal.SIGSTOP)
        sleepers[1].kill()
        sleepers[1].wait()
        later = threading.Timer(0.3, witnesses[0].send_signal, [signal.SIGCONT])
        later.start()
        raise error
    later.join()
    assert witnesses[0].poll() is not None
    assert capfd.readouterr().err == (f"fedcomloc_mpi.train: {said}\n" if said else "")
