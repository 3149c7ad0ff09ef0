"""What can go wrong, how it is made to, and how a job must end then."""

import os
import random
import re
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.mpirun import Job

TIMEOUT = 4  # --round-timeout of all jobs
RANKS = 3
FILLER = "filler"


@dataclass(frozen=True)
class Fault:
    """One kind of failure.

    what: in words, "RANK" stands for the rank that has it. expected: how the job must end, in words, and `says` as a
    pattern that must be found in what the job writes, where {rank} stands for that rank, {process} for the id of its
    process and {clients} for those of all client ranks; codes: mpirun's exit codes. strike(process, disk): makes it
    happen to a rank's process, or to the `small_disk` that holds the "run" or the clients' "state".
    """

    name: str
    what: str
    expected: str
    says: str
    codes: range | tuple[int, ...]
    strike: Callable[[int, Path], None]
    victim: str = "exception"
    small_disk: str = ""


DIED = r"rank {rank}\b.* \(process {process} on .*\) died"
A_CLIENT_DIED = r"rank [1-9].* \(process ({clients}) on .*\) died"


def signalled(number: int) -> Callable[[int, Path], None]:
    def strike(process: int, disk: Path) -> None:
        os.kill(process, number)

    return strike


def fill(process: int, disk: Path) -> None:
    """Leave a few KB on the small disk."""
    with open(disk / FILLER, "wb", buffering=0) as file:
        block = b"x" * 4096
        try:
            while True:
                file.write(block)
        except OSError:
            pass
        file.truncate(max(0, os.fstat(file.fileno()).st_size - random.choice([0, 4096, 65536])))


FAULTS = [
    Fault(
        "kill",
        "SIGKILL",
        "mpirun kills the others; it is named",
        DIED,
        range(1, 256),
        signalled(signal.SIGKILL),
    ),
    Fault(
        "stop",
        "SIGSTOP",
        "a waiting rank names it and ends the job, exit code 4",
        r"waited \d+ s in vain for rank {rank}\b.*stopped by a signal",
        (4,),
        signalled(signal.SIGSTOP),
    ),
    Fault(
        "exception",
        "an exception",
        "its traceback and name, exit code 1",
        r"SoakError: on purpose[\s\S]*rank {rank} failed",
        (1,),
        signalled(signal.SIGUSR2),
    ),
    Fault(
        "exit",
        "sys.exit(7)",
        "its traceback and name, exit code 7",
        r"rank {rank} left the job",
        (7,),
        signalled(signal.SIGUSR2),
        victim="exit",
    ),
    Fault(
        "memory",
        "out of memory (RLIMIT_AS)",
        "its traceback and name, exit code 1, or killed by a signal, and named",
        rf"rank {{rank}} failed|{DIED}",
        range(1, 256),
        signalled(signal.SIGUSR2),
        victim="memory",
    ),
    Fault(
        "disk",
        "full disk (tmpfs)",
        "the file is named, exit code 2",
        r"rank 0: cannot write .*: No space left on device",
        (2,),
        fill,
        small_disk="run",
    ),
    Fault(
        "state-disk",
        "full --state-dir (tmpfs)",
        "SIGBUS; mpirun kills the others; it is named",
        A_CLIENT_DIED,
        range(1, 256),
        fill,
        small_disk="state",
    ),
]
"""`disk` strikes the server, which alone writes files; `state-disk` the client that next writes a new row."""

BY_NAME = {fault.name: fault for fault in FAULTS}


def problem(fault: Fault, rank: int, processes: Sequence[int], job: Job) -> str:
    """Return what is wrong with how a job with these `processes` [ranks] ended, or nothing."""
    if job.returncode not in fault.codes:
        return f"exit code {job.returncode}"
    says = fault.says.format(rank=rank, process=processes[rank], clients="|".join(map(str, processes[1:])))
    if not re.search(says, job.stdout + job.stderr):
        return f"not said: {says}"
    return ""
