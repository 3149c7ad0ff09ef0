"""Which rank was killed: a launcher that ends the others at once may no longer know which was the first.

MPICH's mpirun then names the lowest rank that has not ended well, which may be one that it has killed itself; and the
ranks are killed before they could say anything. So a small process beside them does.
"""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from mpi4py import MPI

from fedcomloc_mpi.transport.world import World

_LAST_WORDS_SECONDS = 1
_PROGRAM = Path(__file__).with_name("witness_process.py")


@contextmanager
def witnessed(world: World, wanted: bool = True) -> Iterator[None]:
    """Within the block, a rank that dies is named on the server's standard error output; all ranks enter it.

    Whoever leaves the block, by an exception too, silences the witness first: what ends in order, or says itself why it
    ends, is nobody's loss. But an error of MPI's may be how a rank learns of another's death, before the witness has
    come to say so: then it has a second left. Only for jobs on one host, of which one process can see all others, and
    on Linux: else, and where it is not `wanted`, nothing is started. Needs the system calls pidfd_open and
    pidfd_send_signal.
    """
    if not wanted or len(set(world.node_of)) > 1 or not hasattr(os, "pidfd_open"):
        yield
        return
    started = _start(world) if world.is_server else None
    process = np.array([started.pid if started is not None else 0], dtype=np.int64)
    world.broadcast(process)
    # A number may be another process's one day, a descriptor never.
    descriptor: int | None = None
    with suppress(OSError):
        descriptor = os.pidfd_open(int(process[0]))
    try:
        yield
    except MPI.Exception:
        if descriptor is not None:
            ended = select.poll()
            ended.register(descriptor, select.POLLIN)
            ended.poll(1000 * _LAST_WORDS_SECONDS)
        raise
    finally:
        if descriptor is not None:
            with suppress(OSError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            os.close(descriptor)
        if started is not None:
            started.kill()
            started.wait()


def _start(world: World) -> subprocess.Popen[bytes]:
    ranks = (f"{process}={world.name(rank)}" for rank, process in enumerate(world.processes))
    # A session of its own: what ends the job's processes together, Ctrl-C too, leaves it the moment that it needs.
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(_PROGRAM), *ranks],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
