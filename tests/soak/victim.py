"""Run `fedcomloc_mpi.train` so that SIGUSR2 makes this rank fail at whatever it is doing.

    mpirun -n 3 python -m tests.soak.victim FAULT FLAG...

FAULT is what happens to the rank that gets the signal: "exception", "exit", or "memory" (no more address space).
"""

import os
import resource
import signal
import sys
from types import FrameType

from fedcomloc_mpi import train

HOARD: list[bytearray] = []


class SoakError(Exception):
    """What a rank fails with."""


def fail(fault: str) -> None:
    """Have the fault now, from within a signal handler."""
    if fault == "exception":
        raise SoakError("on purpose")
    if fault == "exit":
        sys.exit(7)
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * os.sysconf("SC_PAGESIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used, used))
    # Memory that was freed would be used again for a long time.
    for size in (1 << 20, 1 << 16, 1 << 12):
        try:
            while True:
                HOARD.append(bytearray(size))
        except MemoryError:
            continue


def main(fault: str, *flags: str) -> int:
    def on_signal(number: int, frame: FrameType | None) -> None:
        fail(fault)

    signal.signal(signal.SIGUSR2, on_signal)
    return train.main(flags)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
