"""The process that watches the ranks of one host: `python witness_process.py PROCESS=NAME...`, started by `witness`.

It waits until one of them is gone, says which, and ends. It imports nothing of the program, so that it starts at once
and stays small.
"""

import os
import select
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Write the name of the process that is gone first to the standard error output."""
    names: dict[int, str] = {}
    gone = select.epoll()
    for argument in arguments:
        process, _, name = argument.partition("=")
        try:
            descriptor = os.pidfd_open(int(process))
        except OSError:  # of another namespace, or the kernel has no such call
            return 1
        names[descriptor] = name
        gone.register(descriptor, select.EPOLLIN)
    # Events come in the order in which they happened, also where several have by the time that this process runs.
    first, _ = gone.poll()[0]
    os.write(sys.stderr.fileno(), f"fedcomloc_mpi.train: {names[first]} died\n".encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
