"""Run `fedcomloc_mpi.train` with something that goes wrong on one rank in one round.

    mpirun -n 3 python tests/jobs/faults.py FAULT RANK ROUND FLAG...

The product is not touched: the algorithm's functions are replaced before `main` is called. Client ranks have their
fault at the start of their first client's local steps, rank 0 when it has gathered the round's uploads. Just before, a
rank writes into ./mapped.txt which files of /dev/shm it has mapped, for a test to see that none is left.
"""

import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from fedcomloc_mpi import train
from fedcomloc_mpi.transport.launcher import launched_rank


def raise_error() -> None:
    raise LookupError("a fault for the test")


def disk_full() -> None:
    """Make every later write to a file fail; pipes, as stderr is under mpirun, still take theirs."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def stuck() -> None:
    """Compute without ever coming to the end of the round."""
    print("stuck", flush=True)
    while True:
        time.sleep(0.01)


FAULTS: dict[str, Callable[[], object]] = {
    "none": lambda: None,
    "raise": raise_error,
    "exit-0": lambda: sys.exit(0),
    "exit-7": lambda: sys.exit(7),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "terminate": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "disk-full": disk_full,
    "stuck": stuck,
}


def slow_commit() -> None:
    """Make this rank late with what it owes the next round."""
    time.sleep(0.2)


def note_shared_memory() -> None:
    lines = Path("/proc/self/maps").read_text().splitlines()
    names = {line.split(maxsplit=5)[5].removesuffix(" (deleted)") for line in lines if "/dev/shm/" in line}
    Path("mapped.txt").write_text("\n".join(sorted(names)))


def install(fault: Callable[[], object], function: str, round: int) -> None:
    """Call `fault` before the algorithm's `function` in round number `round`, or in every round if that is 0."""
    from fedcomloc_mpi.algorithms import ALGORITHMS

    struck: set[int] = set()
    for algorithm in ALGORITHMS.values():
        original = getattr(algorithm, function)

        def with_fault(self, numbers, *arguments, original=original):
            if round in (0, numbers.number) and numbers.number not in struck:
                struck.add(numbers.number)  # once a round, however many clients this rank runs
                note_shared_memory()
                fault()
            return original(self, numbers, *arguments)

        setattr(algorithm, function, with_fault)


def main(name: str, rank: str, round: str, *flags: str) -> int:
    if launched_rank() == int(rank):
        if name == "slow-commit":
            install(slow_commit, "commit", int(round))
        else:
            install(FAULTS[name], "local" if launched_rank() else "aggregate", int(round))
    return train.main(flags)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
